"""Memoised `determine` per band of the year's count: between two thresholds the answer is constant.

Only answers of the law to given facts are kept, none of which anybody could revoke.
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
"""How many limits are reached by persons, by those whose sensitive information goes, and by both together."""
Kind = Literal["persons", "sensitive_persons"]
_KINDS: Final[tuple[Kind, Kind]] = ("persons", "sensitive_persons")
_UNIT_COUNTS: Final = (NO_PERSONS, Count(1, 0), Count(0, 1))
MAX_CACHED_FACTS: Final = 16_384
"""Sets of facts at most that are kept; a register has far fewer that differ in what the law looks at."""


@dataclass(frozen=True, slots=True)
class LegalOutcome:
    """What a decision needs of a determination, for every count between two limits."""

    mechanism: Mechanism
    exemption: str | None
    requirements: tuple[Requirement, ...]
    routes: tuple[Route, ...]
    papers: frozenset[str]
    """Kinds of evidence that are asked for."""
    counts_toward_ledger: bool
    strictness: int
    """Of the mechanism of export (Step C) alone; -1 where none is asked for."""
    _met: dict[frozenset[Mechanism], bool] = field(default_factory=dict, compare=False, repr=False)

    def is_met_by(self, held: frozenset[Mechanism]) -> bool:
        """Tell whether what was obtained answers all that is asked for (see `covers`)."""
        is_met = self._met.get(held)
        if is_met is None:
            is_met = self._met[held] = covers(held, self)
        return is_met


@dataclass(frozen=True, slots=True)
class _MeasureInput:
    """What the measures of a day's limits look at."""

    facts: Facts
    persons: int
    sensitive_persons: int


@dataclass(frozen=True, slots=True)
class _CountLimit:
    """A limit as a sum of the count: it is reached from `least` on. Whatever else its measure adds is taken off already."""

    persons: int
    """How often a person is counted: once or not at all."""
    sensitive_persons: int
    least: int

    def headroom(self, count: Count) -> int:
        """Return how many more of whoever is counted do not reach it."""
        rest = self.least - 1 - self.persons * count.persons - self.sensitive_persons * count.sensitive_persons
        return max(0, rest)

    def is_ahead(self, count: Count, kind: Kind) -> bool:
        """Tell whether more persons of a kind come nearer to it, and have not reached it yet."""
        counted = self.persons * count.persons + self.sensitive_persons * count.sensitive_persons
        return bool(getattr(self, kind)) and counted < self.least


_NO_HEADROOM: Final = _CountLimit(0, 0, 1)


class LawByCount:
    """The law on facts, for any count of the handler's year.

    Args:
        facts: what the law is asked about; their persons, and those of this year's ledger, are left out of account.
        book: the law.
        route: the instrument that was chosen; the first offered, if None.
    """

    def __init__(self, facts: Facts, book: RuleBook, route: Route | None = None) -> None:
        transfer = replace(facts.transfer, persons=0, sensitive_persons=0)
        self.facts = replace(facts, transfer=transfer, ledger=replace(facts.ledger, this_year=NO_PERSONS))
        self._book = book
        self._route = route
        self._edition = book.edition(facts.as_of)
        self._limits = self._lines_of_day()
        self._persons, self._sensitive, self._both = (
            sorted({line.least for line in self._limits if (line.persons, line.sensitive_persons) == kinds})
            for kinds in ((1, 0), (0, 1), (1, 1))
        )
        self._verdicts: dict[Band, LegalOutcome] = {}
        self._lines: dict[tuple[Band, frozenset[Mechanism]], tuple[_CountLimit | None, _CountLimit | None]] = {}
        self._has_one_order = all(
            len({(line.persons, line.sensitive_persons) for line in self._limits if getattr(line, kind)}) <= 1
            for kind in _KINDS
        )
        self.at_nobody = self.at(NO_PERSONS)
        """What is asked for whatever the count."""

    def at(self, count: Count) -> LegalOutcome:
        """Return what the law asks for once the year's count, with what is asked about, is this."""
        band = self._band(count)
        return self._verdicts.get(band) or self._asked(band, count)

    def claiming(
        self,
        transfer: TransferFacts,
        route: Route | None,
        handler: HandlerFacts | None = None,
        dataset: DatasetFacts | None = None,
    ) -> "LawByCount":
        """Return the law with what a transfer claims, by the instrument that it chose, on the same facts.

        Where facts of the handler or the dataset are given, of each fact the stricter value counts: theirs or the present one.
        """
        facts = self.facts
        handler = facts.handler if handler is None else merge_handlers_strictly(facts.handler, handler)
        dataset = facts.dataset if dataset is None else merge_datasets_strictly(facts.dataset, dataset)
        return law_by_count(facts.as_of, handler, dataset, facts.recipient, transfer, route, self._book)

    def headroom(self, count: Count, held: frozenset[Mechanism]) -> tuple[int | None, int | None]:
        """Return how many persons can be added to a count before the law asks for more than the mechanisms that were obtained.

        The first number is of persons, the second of those whose sensitive information goes; None: as many as there are.
        """
        key = (self._band(count), held)
        lines = self._lines.get(key)
        if lines is None:
            lines = self._first_lines(count, held)
            if self._has_one_order:
                self._lines[key] = lines
        persons, sensitive = lines
        return (
            None if persons is None else persons.headroom(count),
            None if sensitive is None else sensitive.headroom(count),
        )

    def _lines_of_day(self) -> list[_CountLimit]:
        """Return the day's limits. A measure grows by one with every person of the kinds that it counts, or with none of them."""
        lines: list[_CountLimit] = []
        for limit in self._edition.limits:
            nobody, person, sensitive = (
                limit.measure(_MeasureInput(self.facts, count.persons, count.sensitive_persons))
                for count in _UNIT_COUNTS
            )
            lines.append(_CountLimit(person - nobody, sensitive - nobody, limit.least - nobody))
        return lines

    def _band(self, count: Count) -> Band:
        """Return which of the day's limits a count has reached: what is asked depends on nothing else of it."""
        persons, sensitive = count.persons, count.sensitive_persons
        return (
            bisect_right(self._persons, persons),
            bisect_right(self._sensitive, sensitive),
            bisect_right(self._both, persons + sensitive),
        )

    def _asked(self, band: Band, count: Count) -> LegalOutcome:
        ledger = replace(self.facts.ledger, this_year=count)
        law = determine(replace(self.facts, ledger=ledger), self._book, self._route)
        export = (
            []
            if law.mechanism is Mechanism.NOT_CROSS_BORDER
            else select_mechanism_rules(State(self.facts, self._edition, count))
        )
        found = self._verdicts[band] = LegalOutcome(
            mechanism=law.mechanism,
            exemption=law.exemption,
            requirements=law.requirements,
            routes=law.routes,
            papers=law.papers,
            counts_toward_ledger=law.counts_toward_ledger,
            strictness=max((rule.mechanism.strictness for rule in export), default=-1),
        )
        return found

    def _first_lines(self, count: Count, held: frozenset[Mechanism]) -> tuple[_CountLimit | None, _CountLimit | None]:
        """Return for each kind of persons the line from which more is asked for than was obtained; None: there is none.

        Which one it is depends on nothing of the count but its band, as long as the lines of one kind are on one measure; where they
        are not (before 2024-03-22), which is met first depends on the count itself.
        """
        law = self.at(count)
        if law.mechanism is Mechanism.NOT_CROSS_BORDER:
            return None, None
        if not law.is_met_by(held):
            return _NO_HEADROOM, _NO_HEADROOM
        limit = max_strictness(held)
        persons, sensitive = (self._first_line(count, limit, kind) for kind in _KINDS)
        return persons, sensitive

    def _first_line(self, count: Count, limit: int, kind: Kind) -> _CountLimit | None:
        ahead = [line for line in self._limits if line.is_ahead(count, kind)]
        for line in sorted(ahead, key=lambda line: line.headroom(count)):
            if self.at(_add_persons(count, kind, line.headroom(count) + 1)).strictness > limit:
                return line
        return None


def _add_persons(count: Count, kind: Kind, number: int) -> Count:
    if kind == "persons":
        return Count(count.persons + number, count.sensitive_persons)
    return Count(count.persons, count.sensitive_persons + number)


@lru_cache(maxsize=MAX_CACHED_FACTS)
def law_by_count(
    as_of: date,
    handler: HandlerFacts,
    dataset: DatasetFacts,
    recipient: RecipientFacts,
    transfer: TransferFacts,
    route: Route | None,
    book: RuleBook,
) -> LawByCount:
    """Return the law on facts, made once for facts that are the same; give `transfer` without persons, so that they are."""
    return LawByCount(Facts(as_of, handler, dataset, recipient, transfer), book, route)
