"""Memoises `determine` per band of the year's count: between two thresholds the determination is constant.

The cache holds only pure functions of the facts, which no later act can invalidate.
"""

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from typing import Final, Literal

from service.law.determination import Requirement, State, covers, determine, max_strictness, select_mechanism_rules
from service.law.facts import NO_PERSONS, Count, DatasetFacts, Facts, HandlerFacts, RecipientFacts, Route, TransferFacts
from service.law.freeing import merge_datasets_strictly, merge_handlers_strictly
from service.law.mechanisms import Mechanism
from service.law.rule_book import RuleBook

Band = tuple[int, int, int]
"""Number of limits reached by persons, by persons with sensitive information, and by the sum of both."""
Kind = Literal["persons", "sensitive_persons"]
_KINDS: Final[tuple[Kind, Kind]] = ("persons", "sensitive_persons")
_UNIT_COUNTS: Final = (NO_PERSONS, Count(1, 0), Count(0, 1))
MAX_CACHED_FACTS: Final = 16_384
"""Maximum number of cached sets of facts; a register has far fewer that the law distinguishes."""


@dataclass(frozen=True, slots=True)
class LegalOutcome:
    """Part of a determination that the gate needs, for every count of a band."""

    mechanism: Mechanism
    exemption: str | None
    requirements: tuple[Requirement, ...]
    routes: tuple[Route, ...]
    evidence_kinds: frozenset[str]
    """Kinds of evidence that the law requires."""
    counts_toward_ledger: bool
    strictness: int
    """Strictness of the mechanism of Step C alone; -1 if there is none."""
    _met: dict[frozenset[Mechanism], bool] = field(default_factory=dict, compare=False, repr=False)

    def is_met_by(self, obtained: frozenset[Mechanism]) -> bool:
        """Return True if the obtained mechanisms meet all requirements (see `covers`)."""
        is_met = self._met.get(obtained)
        if is_met is None:
            is_met = self._met[obtained] = covers(obtained, self)
        return is_met


@dataclass(frozen=True, slots=True)
class _MeasureInput:
    """Input of the measures of a day's limits."""

    facts: Facts
    persons: int
    sensitive_persons: int


@dataclass(frozen=True, slots=True)
class _CountLimit:
    """Limit on a weighted sum of the count, reached from `least` on; constant parts of its measure are subtracted."""

    persons: int
    """Weight of a person: 0 or 1."""
    sensitive_persons: int
    """Weight of a person with sensitive information: 0 or 1."""
    least: int

    def headroom(self, count: Count) -> int:
        """Return the most persons that can be added without reaching the limit."""
        rest = self.least - 1 - self.persons * count.persons - self.sensitive_persons * count.sensitive_persons
        return max(0, rest)

    def is_ahead(self, count: Count, kind: Kind) -> bool:
        """Return True if the limit counts persons of a kind and is not reached."""
        counted = self.persons * count.persons + self.sensitive_persons * count.sensitive_persons
        return bool(getattr(self, kind)) and counted < self.least


_NO_HEADROOM: Final = _CountLimit(0, 0, 1)


class LawByCount:
    """Determines facts for any count of the handler's year, with one call of `determine` per band.

    Args:
        facts: the facts; persons of the transfer and of this year's ledger are ignored.
        book: the rule book.
        route: the chosen route; None: the first one offered.

    Example:
        law = LawByCount(facts, load_rule_book(None))
        outcome = law.at(Count(persons=99_999))
        persons, sensitive_persons = law.headroom(Count(persons=99_999), frozenset({outcome.mechanism}))
    """

    def __init__(self, facts: Facts, book: RuleBook, route: Route | None = None) -> None:
        transfer = replace(facts.transfer, persons=0, sensitive_persons=0)
        self.facts = replace(facts, transfer=transfer, ledger=replace(facts.ledger, this_year=NO_PERSONS))
        self._book = book
        self._route = route
        self._edition = book.edition(facts.as_of)
        self._limits = self._load_limits()
        self._persons, self._sensitive, self._both = (
            sorted({limit.least for limit in self._limits if (limit.persons, limit.sensitive_persons) == kinds})
            for kinds in ((1, 0), (0, 1), (1, 1))
        )
        self._outcomes: dict[Band, LegalOutcome] = {}
        self._next_limits: dict[tuple[Band, frozenset[Mechanism]], tuple[_CountLimit | None, _CountLimit | None]] = {}
        self._has_one_order = all(
            len({(limit.persons, limit.sensitive_persons) for limit in self._limits if getattr(limit, kind)}) <= 1
            for kind in _KINDS
        )
        self.at_zero = self.at(NO_PERSONS)
        """Outcome for a count of zero: the least that is required at any count."""

    def at(self, count: Count) -> LegalOutcome:
        """Return the outcome for a count of the year that includes the transfer."""
        band = self._band(count)
        return self._outcomes.get(band) or self._determine_band(band, count)

    def with_claims(
        self,
        transfer: TransferFacts,
        route: Route | None,
        handler: HandlerFacts | None = None,
        dataset: DatasetFacts | None = None,
    ) -> "LawByCount":
        """Return the law for the claims and the route of a transfer, on the same facts.

        Args:
            transfer: claims of the transfer.
            route: its route.
            handler: facts of the handler at the approval; the stricter value of each fact counts.
            dataset: facts of the dataset at the approval; the stricter value of each fact counts.
        """
        facts = self.facts
        handler = facts.handler if handler is None else merge_handlers_strictly(facts.handler, handler)
        dataset = facts.dataset if dataset is None else merge_datasets_strictly(facts.dataset, dataset)
        return get_law_by_count(facts.as_of, handler, dataset, facts.recipient, transfer, route, self._book)

    def headroom(self, count: Count, obtained: frozenset[Mechanism]) -> tuple[int | None, int | None]:
        """Return the most persons that can be added before the law requires more than the obtained mechanisms.

        The first number is for persons, the second for persons with sensitive information; None: no limit.
        """
        key = (self._band(count), obtained)
        limits = self._next_limits.get(key)
        if limits is None:
            limits = self._find_next_limits(count, obtained)
            if self._has_one_order:
                self._next_limits[key] = limits
        persons, sensitive = limits
        return (
            None if persons is None else persons.headroom(count),
            None if sensitive is None else sensitive.headroom(count),
        )

    def _load_limits(self) -> list[_CountLimit]:
        """Return the day's limits; the weights of each measure are derived from counts of zero and one."""
        limits: list[_CountLimit] = []
        for limit in self._edition.limits:
            constant, person, sensitive = (
                limit.measure(_MeasureInput(self.facts, count.persons, count.sensitive_persons))
                for count in _UNIT_COUNTS
            )
            limits.append(_CountLimit(person - constant, sensitive - constant, limit.least - constant))
        return limits

    def _band(self, count: Count) -> Band:
        """Return the band of a count; the determination depends on nothing else of the count."""
        persons, sensitive = count.persons, count.sensitive_persons
        return (
            bisect_right(self._persons, persons),
            bisect_right(self._sensitive, sensitive),
            bisect_right(self._both, persons + sensitive),
        )

    def _determine_band(self, band: Band, count: Count) -> LegalOutcome:
        ledger = replace(self.facts.ledger, this_year=count)
        law = determine(replace(self.facts, ledger=ledger), self._book, self._route)
        export = (
            []
            if law.mechanism is Mechanism.NOT_CROSS_BORDER
            else select_mechanism_rules(State(self.facts, self._edition, count))
        )
        outcome = self._outcomes[band] = LegalOutcome(
            mechanism=law.mechanism,
            exemption=law.exemption,
            requirements=law.requirements,
            routes=law.routes,
            evidence_kinds=law.evidence_kinds,
            counts_toward_ledger=law.counts_toward_ledger,
            strictness=max((rule.mechanism.strictness for rule in export), default=-1),
        )
        return outcome

    def _find_next_limits(
        self, count: Count, obtained: frozenset[Mechanism]
    ) -> tuple[_CountLimit | None, _CountLimit | None]:
        """Return for each kind of persons the limit from which more is required than was obtained; None: there is none."""
        # Cached by band only if all limits of a kind are on one measure. Before 2024-03-22 they were not, and the order in which
        # limits are reached depended on the count itself.
        law = self.at(count)
        if law.mechanism is Mechanism.NOT_CROSS_BORDER:
            return None, None
        if not law.is_met_by(obtained):
            return _NO_HEADROOM, _NO_HEADROOM
        strictness = max_strictness(obtained)
        persons, sensitive = (self._find_next_limit(count, strictness, kind) for kind in _KINDS)
        return persons, sensitive

    def _find_next_limit(self, count: Count, strictness: int, kind: Kind) -> _CountLimit | None:
        ahead = [limit for limit in self._limits if limit.is_ahead(count, kind)]
        for limit in sorted(ahead, key=lambda limit: limit.headroom(count)):
            if self.at(_add_persons(count, kind, limit.headroom(count) + 1)).strictness > strictness:
                return limit
        return None


def _add_persons(count: Count, kind: Kind, number: int) -> Count:
    if kind == "persons":
        return Count(count.persons + number, count.sensitive_persons)
    return Count(count.persons, count.sensitive_persons + number)


@lru_cache(maxsize=MAX_CACHED_FACTS)
def get_law_by_count(
    as_of: date,
    handler: HandlerFacts,
    dataset: DatasetFacts,
    recipient: RecipientFacts,
    transfer: TransferFacts,
    route: Route | None,
    book: RuleBook,
) -> LawByCount:
    """Return the cached law for facts; pass `transfer` without persons, so that equal facts share one object."""
    return LawByCount(Facts(as_of, handler, dataset, recipient, transfer), book, route)
