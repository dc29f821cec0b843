"""What the law asks of given facts as the year's count grows: the same answers as `determine`, found again in no time.

What is asked can only change where a count meets one of the day's limits; between two limits the answer is one, and is kept. So nothing is
remembered here that anybody could revoke: only what the law says of facts.
"""

from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache
from typing import Final, Literal

from service.law.determination import (
    Headroom,
    Mechanism,
    Requirement,
    State,
    covers,
    determine,
    mechanism_rules,
    strongest,
)
from service.law.facts import NOBODY, Count, DatasetFacts, Facts, HandlerFacts, RecipientFacts, Route, TransferFacts
from service.law.rules import Limit, RuleBook

Kind = Literal["persons", "sensitive_persons"]
_KINDS: Final[tuple[Kind, Kind]] = ("persons", "sensitive_persons")
_NOBODY_MORE: Final = Limit(lambda _: 0, 1)
REMEMBERED: Final = 16_384
"""Sets of facts at most that are kept; a register has far fewer that differ in what the law looks at."""


@dataclass(frozen=True, slots=True)
class Verdict:
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


class _Counted:
    """What the measures of a day's limits look at."""

    __slots__ = ("facts", "persons", "sensitive_persons")

    def __init__(self, facts: Facts, count: Count) -> None:
        self.facts = facts
        self.persons = count.persons
        self.sensitive_persons = count.sensitive_persons


class LawByCount:
    """The law on facts, for any count of the handler's year.

    Args:
        facts: what the law is asked about; their persons, and those of this year's ledger, are left out of account.
        book: the law.
        route: the instrument that was chosen; the first offered, if None.
    """

    def __init__(self, facts: Facts, book: RuleBook, route: Route | None = None) -> None:
        transfer = replace(facts.transfer, persons=0, sensitive_persons=0)
        self._facts = replace(facts, transfer=transfer, ledger=replace(facts.ledger, this_year=NOBODY))
        self._book = book
        self._route = route
        self._edition = book.edition(facts.as_of)
        self._limits = [(limit.measure, limit.least) for limit in self._edition.limits]
        self._verdicts: dict[tuple[bool, ...], Verdict] = {}
        self._lines: dict[tuple[tuple[bool, ...], frozenset[Mechanism]], tuple[Limit | None, Limit | None]] = {}
        self._has_one_order = all(len({line.measure for line in self._growing(NOBODY, kind)}) <= 1 for kind in _KINDS)
        self.at_nobody = self.at(NOBODY)
        """What is asked for whatever the count."""

    def at(self, count: Count) -> Verdict:
        """Return what the law asks for once the year's count, with what is asked about, is this."""
        band = self._band(_Counted(self._facts, count))
        return self._verdicts.get(band) or self._asked(band, count)

    def headroom(self, count: Count, held: frozenset[Mechanism]) -> Headroom:
        """Return how many persons can be added to a count before the law asks for more than the mechanisms that were obtained."""
        counted = _Counted(self._facts, count)
        key = (self._band(counted), held)
        lines = self._lines.get(key)
        if lines is None:
            lines = self._first_lines(count, held)
            if self._has_one_order:
                self._lines[key] = lines
        persons, sensitive = lines
        return Headroom(
            persons=None if persons is None else max(0, persons.least - 1 - persons.measure(counted)),
            sensitive_persons=None if sensitive is None else max(0, sensitive.least - 1 - sensitive.measure(counted)),
        )

    def _band(self, counted: _Counted) -> tuple[bool, ...]:
        """Return which of the day's limits a count has reached: what is asked depends on nothing else of it."""
        return tuple([measure(counted) >= least for measure, least in self._limits])

    def _asked(self, band: tuple[bool, ...], count: Count) -> Verdict:
        ledger = replace(self._facts.ledger, this_year=count)
        law = determine(replace(self._facts, ledger=ledger), self._book, self._route)
        export = (
            []
            if law.mechanism is Mechanism.NOT_CROSS_BORDER
            else mechanism_rules(State(self._facts, self._edition, count))
        )
        found = self._verdicts[band] = Verdict(
            mechanism=law.mechanism,
            exemption=law.exemption,
            requirements=law.requirements,
            routes=law.routes,
            papers=law.papers,
            counts_toward_ledger=law.counts_toward_ledger,
            strictness=max((Mechanism(rule.mechanism).strictness for rule in export), default=-1),
        )
        return found

    def _first_lines(self, count: Count, held: frozenset[Mechanism]) -> tuple[Limit | None, Limit | None]:
        """Return for each kind of persons the line from which more is asked for than was obtained; None: there is none.

        Which one it is depends on nothing of the count but its band, as long as the lines of one kind are on one measure; where they
        are not (before 2024-03-22), which is met first depends on the count itself.
        """
        law = self.at(count)
        if law.mechanism is Mechanism.NOT_CROSS_BORDER:
            return None, None
        if not law.is_met_by(held):
            return _NOBODY_MORE, _NOBODY_MORE
        limit = strongest(held)
        persons, sensitive = (self._first_line(count, limit, kind) for kind in _KINDS)
        return persons, sensitive

    def _first_line(self, count: Count, limit: int, kind: Kind) -> Limit | None:
        now = _Counted(self._facts, count)
        for line in sorted(self._growing(count, kind), key=lambda line: line.least - line.measure(now)):
            if self.at(_more(count, kind, line.least - line.measure(now))).strictness > limit:
                return line
        return None

    def _growing(self, count: Count, kind: Kind) -> list[Limit]:
        """Return the lines that more persons of a kind come nearer to, and that are not reached yet."""
        now, one_more = _Counted(self._facts, count), _Counted(self._facts, _more(count, kind, 1))
        return [line for line in self._edition.limits if line.measure(one_more) > line.measure(now) < line.least]


def _more(count: Count, kind: Kind, number: int) -> Count:
    if kind == "persons":
        return Count(count.persons + number, count.sensitive_persons)
    return Count(count.persons, count.sensitive_persons + number)


@lru_cache(maxsize=REMEMBERED)
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
