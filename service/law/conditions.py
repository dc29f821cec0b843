"""The closed vocabulary of conditions in rules."""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, get_args

from service.law.facts import COUNTRIES, Facts, FtzList, LegalBasis, Necessity, RecipientKind, Route, Tag
from service.law.mechanisms import Mechanism
from service.law.rule_files import Exemption

# What a condition can see


class LawInForce(Protocol):
    """What conditions read of the law in force on a day."""

    @property
    def exemptions(self) -> Container[str]:
        """Codes of the exemptions that it knows."""


class Situation(Protocol):
    """The facts of one determination and what its earlier steps found; conditions read it."""

    facts: Facts
    persons: int
    sensitive_persons: int
    exemption: str | None
    mechanisms: set[str]
    routes: set[str]
    offered: set[str]
    duties: set[str]
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
"""Measures that are the year's count itself."""

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
    "duty": (None, lambda code: lambda s: code in s.duties),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A comparison of a count with a threshold, kept apart so that headroom can be reckoned from it."""

    measure: Measure
    least: int
    """The least count for which it holds."""


class Condition:
    """A list of lines, all of which must hold, compiled against the thresholds of one day."""

    def __init__(self, lines: Sequence[str], thresholds: Mapping[str, int]) -> None:
        self.limits: list[Limit] = []
        self.lines: list[tuple[str, str, int]] = []
        self._thresholds = thresholds
        self._alternatives = [[self._term(term) for term in line.split(" or ")] for line in lines]
        self.holds: Test = _all([_any(terms) for terms in self._alternatives])

    def _term(self, term: str) -> Test:
        words = term.split()
        match words:
            case ["not", word]:
                test = _predicate(word)
                return lambda s: not test(s)
            case ["near", measure, threshold]:
                return self._near(_measure(measure), self._value(threshold), self._value("near"))
            case [measure, ">=" | ">" as comparison, threshold]:
                least = self._value(threshold) + (comparison == ">")
                if measure in _YEAR_MEASURES:
                    self.lines.append((measure, threshold, least))
                return self._reached(_measure(measure), least)
            case [word]:
                return _predicate(word)
        raise ValueError(f"the condition {term!r} is not of the vocabulary")

    def _value(self, threshold: str) -> int:
        if threshold not in self._thresholds:
            raise ValueError(f"no threshold {threshold!r} is in force during the whole of its time")
        return self._thresholds[threshold]

    def _reached(self, measure: Measure, least: int) -> Test:
        self.limits.append(Limit(measure, least))
        return lambda s: measure(s) >= least

    def _near(self, measure: Measure, limit: int, percent: int) -> Test:
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
    """Return every count that a text may name."""
    return {name: measure(situation) for name, measure in MEASURES.items()}
