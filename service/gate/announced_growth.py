"""By how much the totals of permits and years would grow with persons who are announced by hash: who is counted already is not new.

Growth is told against what has been reported, not against what others have reserved: two that announce the same new persons at once
each hold them, until the first of them reports.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from service.gate.batch_read import Snapshot
from service.gate.decide import Growth, PermitState
from service.law.facts import Count
from service.ledger import counting
from service.ledger.counting import KINDS, NOBODY, Kind, Report, Tally
from service.ledger.operations import year_of

AnnouncedPersons = Mapping[Kind, Report]
"""Who will go, of each kind: by hash, or as a number."""

SKETCHES: Final = """
  select owner, kind, content, at_most from unnest($1::text[], $2::text[]) as wanted(owner, kind)
  cross join lateral (
    select content, at_most from sketches where owner = wanted.owner and kind = wanted.kind limit 1
  ) held
"""


async def load_growths(
    connection: asyncpg.Connection, announcements: Sequence[tuple[Snapshot, AnnouncedPersons]], year: int
) -> Sequence[Growth]:
    """Return the growth of every total that some reservations might take from, read with one statement.

    Args:
        connection: in a transaction that holds the rows of these permits and years.
        announcements: what there is for each reservation, and who is announced in it.
        year: the year of the ledger.
    """
    all_owners = [_Owners.of(snapshot, year) for snapshot, _ in announcements]
    keys = {
        (owner, kind)
        for (_, announced), owners in zip(announcements, all_owners, strict=True)
        for owner in owners.all
        for kind in KINDS
        if announced[kind].sketch != NOBODY
    }
    rows = await connection.fetch(SKETCHES, [owner for owner, _ in keys], [kind for _, kind in keys])
    tallies = {
        (row["owner"], row["kind"]): Tally(sketch=counting.load_sketch(row["content"]), at_most=row["at_most"])
        for row in rows
    }
    return [
        await _compute_growth(announced, owners, tallies)
        for (_, announced), owners in zip(announcements, all_owners, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Owners:
    """Whose totals one reservation might make grow."""

    year: str | None
    """None: there is no such dataset, so nothing will be taken."""
    permits: Sequence[str]

    @classmethod
    def of(cls, snapshot: Snapshot, year: int) -> "_Owners":
        permits = [permit.id for permit in snapshot.inputs.permits if _may_allow(permit, snapshot)]
        return cls(None if snapshot.handler is None else year_of(snapshot.handler, year), permits)

    @property
    def all(self) -> Sequence[str]:
        return [*([] if self.year is None else [self.year]), *self.permits]


def _may_allow(permit: PermitState, snapshot: Snapshot) -> bool:
    """Leave out those that are over, however many have come together."""
    return permit.status == "active" and permit.valid_from <= snapshot.inputs.today <= permit.valid_until


async def _compute_growth(
    announced: AnnouncedPersons, owners: _Owners, tallies: Mapping[tuple[str, Kind], Tally]
) -> Growth:
    counts: dict[str, Count] = {}
    for owner in owners.all:
        grown = {kind: tallies.get((owner, kind), Tally()).growth(announced[kind]) for kind in KINDS}
        counts[owner] = Count(**grown)
        await asyncio.sleep(0)  # a full sketch takes some milliseconds: let others have their turn
    year = counts.pop(owners.year) if owners.year is not None else Count()
    return Growth(year, counts)
