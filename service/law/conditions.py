"""Compiles the conditions of rules, which are written in a closed vocabulary."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, get_args

from service.law.facts import COUNTRIES, Facts, FtzList, LegalBasis, Necessity, RecipientKind, Route, Tag
from service.law.mechanisms import Mechanism
from service.law.rule_files import Exemption

# Input of conditions


class LawInForce(Protocol):
    """Part of an edition of the law that conditions read."""

    @property
    def exemptions(self) -> Container[str]:
        """Codes of the exemptions in force."""


class Situation(Protocol):
    """Facts of a determination and results of its earlier steps, which conditions read."""

    facts: Facts
    persons: int
    sensitive_persons: int
    exemption: str | None
    mechanisms: set[str]
    routes: set[str]
    offered: set[str]
    obligations: set[str]
    routes_missing: bool

    @property
    def edition(self) -> LawInForce:
        """The law in force."""


Test = Callable[[Any], bool]
Measure = Callable[[Any], int]

MEASURES: Final[Mapping[str, Measure]] = {
    "persons": lambda s: s.persons,
    "sensitive_persons": lambda s: s.sensitive_persons,
    "sensitive_persons_two_years": lambda s: s.sensitive_persons + s.facts.ledger.previous_year.sensitive_persons,
    "all_persons_two_years": lambda s: (
        s.persons
        + s.sensitive_persons
        + s.facts.ledger.previous_year.persons
        + s.facts.ledger.previous_year.sensitive_persons
    ),
    "pi_subjects": lambda s: s.facts.handler.pi_subjects or 0,
    "platform_users": lambda s: s.facts.handler.platform_users,
}

_YEAR_MEASURES: Final = frozenset({"persons", "sensitive_persons"})
"""Measures that are a count of the year."""

_PREDICATES: Final[Mapping[str, Test]] = {
    "never": lambda _: False,
    "inside": lambda s: s.facts.recipient.country == "CN",
    "personal": lambda s: s.facts.dataset.is_personal,
    "untagged": lambda s: not s.facts.dataset.tags,
    "core": lambda s: Tag.CORE in s.facts.dataset.tags,
    "important": lambda s: Tag.IMPORTANT in s.facts.dataset.tags,
    "contains_minors": lambda s: s.facts.dataset.contains_minors,
    "foreign_origin": lambda s: s.facts.dataset.is_foreign_origin,
    "list_unlisted": lambda s: s.facts.dataset.ftz_list is FtzList.UNLISTED,
    "ftz_unlisted": lambda s: s.facts.handler.in_ftz and s.facts.dataset.ftz_list is FtzList.UNLISTED,
    "ciio": lambda s: s.facts.handler.ciio,
    "listing_abroad": lambda s: s.facts.handler.listing_abroad,
    "both_in_gba": lambda s: s.facts.handler.in_gba and s.facts.recipient.in_gba,
    "restricted_recipient": lambda s: s.facts.recipient.restricted,
    "foreign_authority": lambda s: s.facts.recipient.kind is RecipientKind.JUDICIAL_OR_ENFORCEMENT,
    "necessity_claimed": lambda s: s.facts.transfer.necessity is not None,
    "necessity_unknown": lambda s: (
        s.facts.transfer.necessity is not None and s.facts.transfer.necessity not in s.edition.exemptions
    ),
    "required": lambda s: not s.mechanisms <= {"exempt"},
    "routes_missing": lambda s: s.routes_missing,
}

_PREDICATE_FAMILIES: Final[Mapping[str, tuple[frozenset[str] | None, Callable[[str], Test]]]] = {
    "country": (COUNTRIES, lambda code: lambda s: s.facts.recipient.country == code),
    "necessity": (frozenset(Necessity), lambda claim: lambda s: s.facts.transfer.necessity == claim),
    "basis": (frozenset(LegalBasis), lambda basis: lambda s: s.facts.transfer.legal_basis == basis),
    "requires": (frozenset(Mechanism), lambda mechanism: lambda s: mechanism in s.mechanisms),
    "exempt": (frozenset(get_args(Exemption)), lambda exemption: lambda s: s.exemption == exemption),
    "route": (frozenset(Route), lambda route: lambda s: route in s.routes),
    "offered": (frozenset(Route), lambda route: lambda s: route in s.offered),
    "duty": (None, lambda code: lambda s: code in s.obligations),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """Comparison of a count with a threshold, kept separate to compute headroom."""

    measure: Measure
    least: int
    """Least count that meets the threshold."""


class Condition:
    """List of lines, all of which must hold, compiled with the thresholds of one day.

    Example:
        condition = Condition(["personal", "ciio or persons > assessment_persons"], thresholds)
        condition.holds(state)
    """

    def __init__(self, lines: Sequence[str], thresholds: Mapping[str, int]) -> None:
        self.limits: list[Limit] = []
        self.comparisons: list[tuple[str, str, int]] = []
        self._thresholds = thresholds
        self._alternatives = [[self._compile_term(term) for term in line.split(" or ")] for line in lines]
        self.holds: Test = _all([_any(terms) for terms in self._alternatives])

    def _compile_term(self, term: str) -> Test:
        words = term.split()
        match words:
            case ["not", word]:
                test = _predicate(word)
                return lambda s: not test(s)
            case ["near", measure, threshold]:
                return self._is_near(_measure(measure), self._threshold(threshold), self._threshold("near"))
            case [measure, ">=" | ">" as comparison, threshold]:
                least = self._threshold(threshold) + (comparison == ">")
                if measure in _YEAR_MEASURES:
                    self.comparisons.append((measure, threshold, least))
                return self._is_at_least(_measure(measure), least)
            case [word]:
                return _predicate(word)
        raise ValueError(f"the condition {term!r} is not of the vocabulary")

    def _threshold(self, threshold: str) -> int:
        if threshold not in self._thresholds:
            raise ValueError(f"no threshold {threshold!r} is in force during the whole of its time")
        return self._thresholds[threshold]

    def _is_at_least(self, measure: Measure, least: int) -> Test:
        self.limits.append(Limit(measure, least))
        return lambda s: measure(s) >= least

    def _is_near(self, measure: Measure, limit: int, percent: int) -> Test:
        return lambda s: measure(s) < limit and measure(s) * 100 >= limit * percent


def _all(tests: Sequence[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda s: all(test(s) for test in tests)


def _any(tests: Sequence[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda s: any(test(s) for test in tests)


def _measure(name: str) -> Measure:
    if name not in MEASURES:
        raise ValueError(f"the measure {name!r} is not of the vocabulary")
    return MEASURES[name]


def _predicate(word: str) -> Test:
    family, colon, member = word.partition(":")
    if not colon and word in _PREDICATES:
        return _PREDICATES[word]
    if colon and family in _PREDICATE_FAMILIES:
        members, test = _PREDICATE_FAMILIES[family]
        if member and (members is None or member in members):
            return test(member)
    raise ValueError(f"the word {word!r} is not of the vocabulary")


def evaluate_measures(situation: Situation) -> dict[str, int]:
    """Return all counts that a text may name."""
    return {name: measure(situation) for name, measure in MEASURES.items()}
