"""Ranks the values of each fact in the register, and decides which changes of facts a second person must confirm.

A change to a stricter value takes effect at once; a change to a freer value waits for confirmation.
Source: GB/T 43697-2024 (the stricter grade holds until an entitled person records a lower one), applied to every fact.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from service.law.facts import DatasetFacts, FtzList, HandlerFacts, Origin, RecipientKind

FactSubject = Literal["handler", "dataset", "recipient"]
Facts = Mapping[str, Any]
Rank = Callable[[Any], int]
"""Rank of a value; a higher rank never makes the law require less."""

_FTZ_LISTS: Final = (FtzList.UNLISTED, None, FtzList.LISTED)


def _yes_is_strict(value: Any) -> int:
    return int(bool(value))


def _yes_is_free(value: Any) -> int:
    return int(not value)


def _more_is_strict(value: Any) -> int:
    return int(value or 0)


def _country_rank(value: Any) -> int:
    """Rank mainland China below Hong Kong and Macao, which have a contract of their own, and these below all other countries."""
    return {"CN": 0, "HK": 1, "MO": 1}.get(value, 2)


STRICTNESS: Final[Mapping[FactSubject, Mapping[str, Rank]]] = {
    "handler": {
        "ciio": _yes_is_strict,
        "pi_subjects": _more_is_strict,
        "in_ftz": _yes_is_free,
        "in_gba": _yes_is_free,
        "listing_abroad": _yes_is_strict,
        "platform_users": _more_is_strict,
    },
    "dataset": {
        "origin": lambda value: int(value != Origin.FOREIGN),
        "domestic_data_added": _yes_is_strict,
        "ftz_list": lambda value: _FTZ_LISTS.index(None if value is None else FtzList(value)),
        "contains_minors": _yes_is_strict,
    },
    "recipient": {
        "in_gba": _yes_is_free,
        "restricted": _yes_is_strict,
        "kind": lambda value: int(value == RecipientKind.JUDICIAL_OR_ENFORCEMENT),
        "country": _country_rank,
    },
}
"""Rank function of each fact, by its subject. A test fails for a fact that has none."""

DEFAULTS: Final[Mapping[FactSubject, Facts]] = {
    "handler": {"pi_subjects": None, "in_ftz": False, "in_gba": False, "listing_abroad": False, "platform_users": 0},
    "dataset": {"origin": "domestic", "domestic_data_added": True, "ftz_list": None, "contains_minors": False},
    "recipient": {"in_gba": False, "restricted": False, "kind": "company"},
}
"""Values of facts that nobody has stated. Required facts (`ciio`, the country) have none: one person states their first value."""


@dataclass(frozen=True, slots=True)
class FactChange:
    """Effect of one person's statement on the facts of a subject."""

    facts: Facts
    """Facts in force after the statement, without its freer values."""
    pending: Facts
    """Freer values, which wait for a second person."""
    overtaken: frozenset[str]
    """Facts whose pending value was replaced by this statement."""


def frees(subject: FactSubject, fact: str, before: Any, after: Any) -> bool:
    """Return True if the change of a fact from one value to another makes it less strict."""
    rank = STRICTNESS[subject][fact]
    return rank(after) < rank(before)


def apply_statement(subject: FactSubject, current: Facts, pending: Facts, stated: Facts) -> FactChange:
    """Apply one person's statement: stricter values take effect, freer values wait for a second person.

    Args:
        subject: kind of the subject.
        current: facts in force.
        pending: values that already wait for a second person.
        stated: stated facts; all others stay as they are.

    Example:
        change = apply_statement("handler", {"in_ftz": False}, {}, {"in_ftz": True})
        assert change.facts == {"in_ftz": False}
        assert change.pending == {"in_ftz": True}
    """
    facts, freer, overtaken = dict(current), {}, set()
    for fact, value in stated.items():
        is_freeing = frees(subject, fact, current[fact], value)
        if is_freeing and fact in pending and pending[fact] == value:
            continue
        if fact in pending:
            overtaken.add(fact)
        if is_freeing:
            freer[fact] = value
        else:
            facts[fact] = value
    return FactChange(facts, freer, frozenset(overtaken))


def apply_first_statement(subject: FactSubject, stated: Facts) -> FactChange:
    """Apply the first statement on a new subject: its freer values wait, and the defaults are in force meanwhile."""
    return apply_statement(subject, {**stated, **DEFAULTS[subject]}, {}, stated)


def merge_handlers_strictly(left: HandlerFacts, right: HandlerFacts) -> HandlerFacts:
    """Merge two sets of facts of a handler; the stricter value of each fact counts."""
    return replace(left, **_stricter_values("handler", left, right))


def merge_datasets_strictly(left: DatasetFacts, right: DatasetFacts) -> DatasetFacts:
    """Merge two sets of facts of a dataset; the stricter value of each fact counts, with the tags of the first."""
    return replace(left, **_stricter_values("dataset", left, right))


def _stricter_values(subject: FactSubject, left: Any, right: Any) -> dict[str, Any]:
    ranks = STRICTNESS[subject]
    return {
        name: getattr(right, name)
        for name in (field.name for field in fields(left))
        if name in ranks and ranks[name](getattr(right, name)) > ranks[name](getattr(left, name))
    }
