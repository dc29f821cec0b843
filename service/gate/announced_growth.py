"""Computes the growth of permits' and years' totals by persons announced by hash: persons already counted are not new.

Growth is relative to reported persons, not to reserved ones: two reservations that announce the same new persons both hold them, until
the first is reported.
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
from service.permits.standing import is_effective

AnnouncedPersons = Mapping[Kind, Report]
"""Announced persons of each kind: by hash, or as a number."""

SKETCHES: Final = """
  select owner, kind, content, at_most from unnest($1::text[], $2::text[]) as wanted(owner, kind)
  cross join lateral (
    select content, at_most from sketches where owner = wanted.owner and kind = wanted.kind limit 1
  ) held
"""


async def load_growths(
    connection: asyncpg.Connection, announcements: Sequence[tuple[Snapshot, AnnouncedPersons]], year: int
) -> Sequence[Growth]:
    """Compute the growth of each total that some reservations may take from, with one statement.

    Args:
        connection: in a transaction that has locked the rows of these permits and years.
        announcements: rows and announced persons of each reservation.
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
    """Owners of the totals that one reservation may take from."""

    year: str | None
    """None if the dataset is unknown, so that nothing is reserved."""
    permits: Sequence[str]

    @classmethod
    def of(cls, snapshot: Snapshot, year: int) -> "_Owners":
        permits = [permit.id for permit in snapshot.inputs.permits if _may_allow(permit, snapshot)]
        return cls(None if snapshot.handler is None else year_of(snapshot.handler, year), permits)

    @property
    def all(self) -> Sequence[str]:
        return [*([] if self.year is None else [self.year]), *self.permits]


def _may_allow(permit: PermitState, snapshot: Snapshot) -> bool:
    """Return False for permits that have ended, of which there may be many."""
    return is_effective(permit.status, permit.valid_from, permit.valid_until, snapshot.inputs.today)


async def _compute_growth(
    announced: AnnouncedPersons, owners: _Owners, tallies: Mapping[tuple[str, Kind], Tally]
) -> Growth:
    counts: dict[str, Count] = {}
    for owner in owners.all:
        grown = {kind: tallies.get((owner, kind), Tally()).growth(announced[kind]) for kind in KINDS}
        counts[owner] = Count(**grown)
        await asyncio.sleep(0)  # a full sketch takes milliseconds: yield to other tasks
    year = counts.pop(owners.year) if owners.year is not None else Count()
    return Growth(year, counts)
