"""Finds, for every cell that the records of a pack show, the entry whose act set it last, and the salt that opens this one hash.

What an entry seals of the rows that its act wrote (`service.audit.effects`) goes into the pack as it is: hashes that nobody can try values
against who has not been given the salt of the column. Given are the salts of shown columns alone, and of those that tell whose an
obligation is that an act of the pack wrote and the pack does not show.
"""

import json
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Text, bindparam, text

from service.audit import effects, recording
from service.audit.effects import POINTER
from service.audit.shown import Written, cells_of, hashed
from service.database.session import Transaction
from service.packs.scope import ENTRIES, Extent

Json = dict[str, Any]
Place = tuple[str, str, str]

NEAR: Final = 300_000
"""How far above an entry of a transaction the one that seals what it wrote is looked for, in numbers of the log."""

_QUIET: Final = "action not like 'gate.%' and action not like 'export.%' and action not like 'evidence_pack.%'"
_OWN: Final = f"""
  with wanted as materialized ({ENTRIES}), acts as materialized (
    select e.seq, e.at, e.body from wanted w join entries e on e.seq = w.seq and e.at = w.at where {_QUIET}
    union
    select seq, at, body from entries
    where subject = any(array(select json_array_elements_text(cast(:actors as json)))) and action like 'principal.%'
  ), silent as materialized (
    select at, min(seq) as seq from acts where strpos(body, '"{effects.MEMBER}"\\:null') > 0 group by at
  )
  select o.seq, o.at, o.salt, o.value from acts a join openings o on o.seq = a.seq and o.pointer = '{POINTER}'
  union
  select o.seq, o.at, o.salt, o.value from silent s cross join lateral (
    select seq, at, salt, value from openings
    where seq > s.seq and seq <= s.seq + {NEAR} and pointer = '{POINTER}' and at = s.at
  ) o
"""  # noqa: S608 - no caller's text is in it  # nosec B608
_OF_DUTIES: Final = f"""
  with acts as materialized (
    select seq, at, body from entries where subject = any(array(select json_array_elements_text(cast(:rows as json))))
  )
  select o.seq, o.at, o.salt, o.value from acts a join openings o on o.seq = a.seq and o.pointer = '{POINTER}'
  union
  select o.seq, o.at, o.salt, o.value from (
    select at, min(seq) as seq from acts where strpos(body, '"{effects.MEMBER}"\\:null') > 0 group by at
  ) s cross join lateral (
    select seq, at, salt, value from openings
    where seq > s.seq and seq <= s.seq + {NEAR} and pointer = '{POINTER}' and at = s.at
  ) o
"""  # noqa: S608 - no caller's text is in it  # nosec B608
_WHOSE: Final = "select id, handler, transfer from obligations where id = any(:duties) order by id"
_OF_YEARS: Final = f"""
  select o.seq, o.at, o.salt, o.value from (
    select seq from entries where handler = :handler and action like 'export.%' and action <> 'export.reserved'
    order by seq desc limit 200
  ) e join openings o on o.seq = e.seq and o.pointer = '{POINTER}'
"""  # noqa: S608 - nor in this  # nosec B608
_ANYWHERE: Final = text(f"""
  select seq, at, salt, value from openings o
  where pointer = '{POINTER}' and exists (
    select from json_array_elements_text(cast(:rows as json)) r(row) where strpos(o.value, '"' || r.row || '"') > 0
  )
""").bindparams(bindparam("rows", type_=Text))  # noqa: S608 - nor in this  # nosec B608


@dataclass(frozen=True, slots=True)
class Sealed:
    """What an entry seals, as it is kept."""

    seq: int
    at: datetime
    salt: bytes
    value: str

    @property
    def line(self) -> Json:
        """Its line in the pack."""
        return {"seq": self.seq, "salt": self.salt.hex(), "value": self.value}


class Columns:
    """Takes records as they are written, and finds what set each of their cells."""

    def __init__(self, tx: Transaction, extent: Extent) -> None:
        self._tx, self._extent = tx, extent
        self._cells: dict[Place, bytes] = {}
        self._documents: dict[int, Sealed] = {}
        self._own: set[int] = set()
        """Numbers of the entries of the pack that seal something: what they wrote is shown in full, so that nothing later can be hidden."""
        self._written = Written()
        self._others: dict[Place, str | None] = {}
        """Cells that tell whose an obligation is which the pack does not show, with their values."""
        self._key = b""

    def take(self, kind: str, record: Json) -> None:
        """Take a record of a kind."""
        for cell in cells_of(kind, record):
            self._cells[cell.place] = cell.content

    async def find(self, actors: Iterable[str]) -> Sequence[int]:
        """Find what set each cell; return the numbers of the entries that must be in the pack for it.

        Args:
            actors: principals whom the pack shows.
        """
        actors_told = json.dumps(sorted(actors))
        subjects = {"subjects": self._extent.subjects, "actors": actors_told}
        own = text(_OWN).bindparams(bindparam("actors", type_=Text))
        await self._load(own, self._extent.parameters | subjects)
        self._own = set(self._documents)
        await self._load(text(_OF_YEARS), {"handler": self._extent.handler})
        self._key = await recording.key(self._tx)
        await self._prove()
        looked: set[str] = set()
        while others := self._duties() - {*self._extent.obligations, *looked}:
            looked |= others
            await self._tell_whose(others)
        self._documents = {seq: self._documents[seq] for seq in self._needed()}
        return sorted(self._documents)

    async def _prove(self) -> None:
        if unproved := {place[1] for place in self._cells if not self._is_proved(place)}:
            await self._load(_ANYWHERE, {"rows": json.dumps(sorted(unproved))})

    def _needed(self) -> set[int]:
        setting = {found.seq for place in self._cells if (found := self._written.cells.get(place)) is not None}
        return setting | self._own

    def _duties(self) -> set[str]:
        """Return the obligations that the acts of the pack have written."""
        told = (group for seq in self._needed() for group in json.loads(self._documents[seq].value))
        return {row for group in told if group["table"] == "obligations" for row in group["rows"]}

    async def _tell_whose(self, duties: Collection[str]) -> None:
        """Find what says whose obligations are that the acts of the pack wrote beside its own: else they could have been left out."""
        for row in await self._tx.execute(text(_WHOSE), {"duties": sorted(duties)}):
            is_own = row.handler == self._extent.handler
            place = ("obligations", row.id, "transfer" if is_own else "handler")
            self._others[place] = row.transfer if is_own else row.handler
            self._cells[place] = effects.canonical(self._others[place])
        await self._load(
            text(_OF_DUTIES).bindparams(bindparam("rows", type_=Text)), {"rows": json.dumps(sorted(duties))}
        )
        await self._prove()

    async def _load(self, query: Any, parameters: Json) -> None:
        rows = {place[1] for place in self._cells}
        found = (await self._tx.execute(query, parameters)).all()
        self._documents |= {row.seq: Sealed(row.seq, row.at, bytes(row.salt), row.value) for row in found}
        self._written = Written()
        for seq in sorted(self._documents):
            told = json.loads(self._documents[seq].value)
            kept = [one | {"rows": {key: one["rows"][key] for key in one["rows"].keys() & rows}} for one in told]
            self._written.take(seq, seq, kept)

    def _is_proved(self, place: Place) -> bool:
        found = self._written.cells.get(place)
        if found is None:
            return False
        salt = effects.column_salt(self._key, self._documents[found.seq].salt, *place)
        return hashed(salt, self._cells[place]) == found.hash

    async def sealed(self) -> AsyncIterator[Json]:
        """Return the documents, by rising number of their entries."""
        for seq in sorted(self._documents):
            yield self._documents[seq].line

    async def salts(self) -> AsyncIterator[Json]:
        """Return of each cell what set it, and its salt, with the value where no record shows it; cells of one act on one row together."""
        found: defaultdict[tuple[str, str, int], dict[str, str]] = defaultdict(dict)
        for place in self._cells:
            setting = self._written.cells.get(place)
            if setting is not None:
                table, row, column = place
                salt = effects.column_salt(self._key, self._documents[setting.seq].salt, *place)
                found[table, row, setting.seq][column] = salt.hex()
        for (table, row, seq), columns in sorted(found.items()):
            values = {name: self._others[table, row, name] for name in columns if (table, row, name) in self._others}
            yield {"table": table, "row": row, "seq": seq, "salts": columns} | ({"values": values} if values else {})
