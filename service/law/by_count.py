"""What the law asks of given facts as the year's count grows: the same answers as `determine`, found again in no time.

What is asked can only change where a count meets one of the day's limits; between two limits the answer is one, and is kept. So nothing is
remembered here that anybody could revoke: only what the law says of facts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache

from service.law.determination import (
    Headroom,
    Mechanism,
    Requirement,
    State,
    covers,
    determine,
    mechanism_rules,
    room,
    strongest,
)
from service.law.facts import Count, DatasetFacts, Facts, HandlerFacts, RecipientFacts, Route, TransferFacts
from service.law.rules import RuleBook

NOBODY = Count()
REMEMBERED = 16_384
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


class LawByCount:
    """The law on facts, for any count of the handler's year.

    Args:
        facts: what the law is asked about; their persons, and those of this year's ledger, are left out of account.
        book: the law.
        route: the instrument that was chosen; the first offered, if None.
    """

    def __init__(self, facts: Facts, book: RuleBook, route: Route | None = None) -> None:
        self._route = route
        transfer = replace(facts.transfer, persons=0, sensitive_persons=0)
        self._facts = replace(facts, transfer=transfer, ledger=replace(facts.ledger, this_year=NOBODY))
        self._book = book
        self._edition = book.edition(facts.as_of)
        self._verdicts: dict[tuple[bool, ...], Verdict] = {}

    def at(self, count: Count) -> Verdict:
        """Return what the law asks for once the year's count, with what is asked about, is this."""
        return self._at(State(self._facts, self._edition, count), count)

    def headroom(self, count: Count, held: frozenset[Mechanism]) -> Headroom:
        """Return how many persons can be added to a count before the law asks for more than the mechanisms that were obtained."""
        law = self.at(count)
        if law.mechanism is Mechanism.NOT_CROSS_BORDER:
            return Headroom(None, None)
        if not covers(held, law):
            return Headroom(0, 0)
        if not self._facts.dataset.is_personal:
            return Headroom(None, None)
        limit = strongest(held)
        return Headroom(
            persons=self._room(count, limit, lambda n: Count(count.persons + n, count.sensitive_persons)),
            sensitive_persons=self._room(count, limit, lambda n: Count(count.persons, count.sensitive_persons + n)),
        )

    def _at(self, state: State, count: Count) -> Verdict:
        band = tuple([line.measure(state) >= line.least for line in self._edition.limits])
        found = self._verdicts.get(band)
        if found is None:
            found = self._verdicts[band] = self._asked(state, count)
        return found

    def _asked(self, state: State, count: Count) -> Verdict:
        ledger = replace(self._facts.ledger, this_year=count)
        law = determine(replace(self._facts, ledger=ledger), self._book, self._route)
        export = [] if law.mechanism is Mechanism.NOT_CROSS_BORDER else mechanism_rules(state)
        return Verdict(
            mechanism=law.mechanism,
            exemption=law.exemption,
            requirements=law.requirements,
            routes=law.routes,
            papers=law.papers,
            counts_toward_ledger=law.counts_toward_ledger,
            strictness=max((Mechanism(rule.mechanism).strictness for rule in export), default=-1),
        )

    def _room(self, count: Count, limit: int, added: Callable[[int], Count]) -> int | None:
        now = State(self._facts, self._edition, count)
        more = State(self._facts, self._edition, added(1))
        return room(self._edition, now, more, lambda step: self.at(added(step)).strictness > limit)


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
