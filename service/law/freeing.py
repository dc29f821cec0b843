"""Which way each fact of the register frees: what two persons must say, where one person's word is enough to protect.

The direction of a fact is written here and nowhere else, beside the facts themselves; a fact that has none makes the tests fail.
Source: GB/T 43697-2024 (the stricter grade holds until somebody entitled records a lower one), taken over for every fact that frees.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal

from service.law.facts import DatasetFacts, FtzList, HandlerFacts, Origin, RecipientKind

FactSubject = Literal["handler", "dataset", "recipient"]
Facts = Mapping[str, Any]
Rank = Callable[[Any], int]
"""How strict a value is: the law asks for no less under a higher rank."""

_FTZ_LISTS: Final = (FtzList.UNLISTED, None, FtzList.LISTED)


def _yes_is_strict(value: Any) -> int:
    return int(bool(value))


def _yes_is_free(value: Any) -> int:
    return int(not value)


def _more_is_strict(value: Any) -> int:
    return int(value or 0)


def _country_rank(value: Any) -> int:
    """Nothing crosses the border to mainland China, and Hong Kong and Macao have a contract of their own."""
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
"""The rank of each fact's values, by the thing that it is a fact of."""

DEFAULTS: Final[Mapping[FactSubject, Facts]] = {
    "handler": {"pi_subjects": None, "in_ftz": False, "in_gba": False, "listing_abroad": False, "platform_users": 0},
    "dataset": {"origin": "domestic", "domestic_data_added": True, "ftz_list": None, "contains_minors": False},
    "recipient": {"in_gba": False, "restricted": False, "kind": "company"},
}
"""What holds of a new thing where nobody says anything. What must be said of each (`ciio`, a country) has no such value: the first word
on it takes one person."""


@dataclass(frozen=True, slots=True)
class FactChange:
    """What becomes of a thing's facts when somebody states some of them."""

    facts: Facts
    """What holds from now on: all that protects, and nothing that frees."""
    asked: Facts
    """What frees, and waits for a second person from now on."""
    overtaken: frozenset[str]
    """Facts whose value that waited waits no more: something else has been stated since."""


def frees(thing: FactSubject, fact: str, before: Any, after: Any) -> bool:
    """Tell whether a fact that goes from one value to another protects less."""
    rank = STRICTNESS[thing][fact]
    return rank(after) < rank(before)


def apply_statement(thing: FactSubject, held: Facts, waiting: Facts, stated: Facts) -> FactChange:
    """Return what one person's statement does: what protects holds at once, what frees waits.

    Args:
        thing: what the facts are of.
        held: the facts that hold.
        waiting: those that wait for a second person already.
        stated: the facts that are stated now; others stay, and go on waiting.
    """
    facts, asked, overtaken = dict(held), {}, set()
    for fact, value in stated.items():
        is_freeing = frees(thing, fact, held[fact], value)
        if is_freeing and fact in waiting and waiting[fact] == value:
            continue
        if fact in waiting:
            overtaken.add(fact)
        if is_freeing:
            asked[fact] = value
        else:
            facts[fact] = value
    return FactChange(facts, asked, frozenset(overtaken))


def apply_first_statement(thing: FactSubject, stated: Facts) -> FactChange:
    """Return what the facts of a new thing are: where they free, what holds of a thing of which nothing is said, until confirmed."""
    return apply_statement(thing, {**stated, **DEFAULTS[thing]}, {}, stated)


def merge_handlers_strictly(one: HandlerFacts, other: HandlerFacts) -> HandlerFacts:
    """Return the stricter of two readings of a handler, fact by fact."""
    return replace(one, **_stricter_values("handler", one, other))


def merge_datasets_strictly(one: DatasetFacts, other: DatasetFacts) -> DatasetFacts:
    """Return the stricter of two readings of a dataset, fact by fact; the tags are those of the first."""
    return replace(one, **_stricter_values("dataset", one, other))


def _stricter_values(thing: FactSubject, one: Any, other: Any) -> dict[str, Any]:
    ranks = STRICTNESS[thing]
    return {
        name: getattr(other, name)
        for name in (field.name for field in fields(one))
        if name in ranks and ranks[name](getattr(other, name)) > ranks[name](getattr(one, name))
    }
