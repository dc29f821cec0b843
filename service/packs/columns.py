"""Finds, for every cell that the records of a pack show, the entry whose act set it last, and the salt that opens its commitment.

The effects that an entry commits to (`service.audit.effects`) go into the pack unchanged: salted hashes of columns, which reveal no value
without the salt. The pack has the salts of shown columns alone. For an obligation that an act of the pack wrote but the pack does not
show, it also has the salt of the column that names its owner.
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
from service.audit.pack_columns import CellWrites, cells_of, hash_value
from service.database.session import Transaction
from service.packs.scope import ENTRIES, Scope

Json = dict[str, Any]
Place = tuple[str, str, str]

MAX_EFFECTS_DISTANCE: Final = 300_000
"""Greatest distance, in sequence numbers, between an entry and the entry of its transaction that commits to the effects."""

_REPORTED_ACTIONS: Final = (
    "action not like 'gate.%' and action not like 'export.%' and action not like 'evidence_pack.%'"
)
_EFFECTS_OF_PACK: Final = f"""
  with wanted as materialized ({ENTRIES}), acts as materialized (
    select e.seq, e.at, e.body from wanted w join entries e on e.seq = w.seq and e.at = w.at where {_REPORTED_ACTIONS}
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
    where seq > s.seq and seq <= s.seq + {MAX_EFFECTS_DISTANCE} and pointer = '{POINTER}' and at = s.at
  ) o
"""  # noqa: S608 - no caller's text is in it  # nosec B608
_EFFECTS_OF_OBLIGATIONS: Final = f"""
  with acts as materialized (
    select seq, at, body from entries where subject = any(array(select json_array_elements_text(cast(:rows as json))))
  )
  select o.seq, o.at, o.salt, o.value from acts a join openings o on o.seq = a.seq and o.pointer = '{POINTER}'
  union
  select o.seq, o.at, o.salt, o.value from (
    select at, min(seq) as seq from acts where strpos(body, '"{effects.MEMBER}"\\:null') > 0 group by at
  ) s cross join lateral (
    select seq, at, salt, value from openings
    where seq > s.seq and seq <= s.seq + {MAX_EFFECTS_DISTANCE} and pointer = '{POINTER}' and at = s.at
  ) o
"""  # noqa: S608 - no caller's text is in it  # nosec B608
_OBLIGATION_OWNERS: Final = "select id, handler, transfer from obligations where id = any(:ids) order by id"
_EFFECTS_OF_LEDGER: Final = f"""
  select o.seq, o.at, o.salt, o.value from (
    select seq from entries where handler = :handler and action like 'export.%' and action <> 'export.reserved'
    order by seq desc limit 200
  ) e join openings o on o.seq = e.seq and o.pointer = '{POINTER}'
"""  # noqa: S608 - nor in this  # nosec B608
_EFFECTS_BY_ROW: Final = text(f"""
  select seq, at, salt, value from openings o
  where pointer = '{POINTER}' and exists (
    select from json_array_elements_text(cast(:rows as json)) r(row) where strpos(o.value, '"' || r.row || '"') > 0
  )
""").bindparams(bindparam("rows", type_=Text))  # noqa: S608 - nor in this  # nosec B608


@dataclass(frozen=True, slots=True)
class CommittedEffects:
    """Committed effects of an entry, as they are stored."""

    seq: int
    at: datetime
    salt: bytes
    value: str

    @property
    def line(self) -> Json:
        """Line of the pack."""
        return {"seq": self.seq, "salt": self.salt.hex(), "value": self.value}


class ColumnSources:
    """Collects the cells of written records, and finds the entry that set each of them."""

    def __init__(self, tx: Transaction, scope: Scope) -> None:
        self._tx, self._scope = tx, scope
        self._cells: dict[Place, bytes] = {}
        self._documents: dict[int, CommittedEffects] = {}
        self._own: set[int] = set()
        """Entries of the pack with effects. All of their effects are shown, so that a later write cannot be hidden."""
        self._written = CellWrites()
        self._others: dict[Place, str | None] = {}
        """Owner columns of obligations that the pack does not show, with their values."""
        self._key = b""

    def add_record(self, kind: str, record: Json) -> None:
        """Add the cells of a record."""
        for cell in cells_of(kind, record):
            self._cells[cell.place] = cell.content

    async def find(self, actors: Iterable[str]) -> Sequence[int]:
        """Find the entry that set each cell; return the numbers of the entries that the pack needs for it.

        Args:
            actors: principals that the pack shows.
        """
        subjects = {"subjects": self._scope.subjects, "actors": json.dumps(sorted(actors))}
        own = text(_EFFECTS_OF_PACK).bindparams(bindparam("actors", type_=Text))
        await self._load(own, self._scope.parameters | subjects)
        self._own = set(self._documents)
        await self._load(text(_EFFECTS_OF_LEDGER), {"handler": self._scope.handler})
        self._key = await recording.load_column_key(self._tx)
        await self._prove()
        done: set[str] = set()
        while others := self._written_obligations() - {*self._scope.obligations, *done}:
            done |= others
            await self._add_owners(others)
        self._documents = {seq: self._documents[seq] for seq in self._needed()}
        return sorted(self._documents)

    async def _prove(self) -> None:
        if unproved := {place[1] for place in self._cells if not self._is_proved(place)}:
            await self._load(_EFFECTS_BY_ROW, {"rows": json.dumps(sorted(unproved))})

    def _needed(self) -> set[int]:
        sources = {source.seq for place in self._cells if (source := self._written.cells.get(place)) is not None}
        return sources | self._own

    def _written_obligations(self) -> set[str]:
        """Return the obligations that acts of the pack have written."""
        groups = (group for seq in self._needed() for group in json.loads(self._documents[seq].value))
        return {row for group in groups if group["table"] == "obligations" for row in group["rows"]}

    async def _add_owners(self, obligations: Collection[str]) -> None:
        """Add the owner columns of obligations that are not in the pack: they prove that the obligations belong to others."""
        for row in await self._tx.execute(text(_OBLIGATION_OWNERS), {"ids": sorted(obligations)}):
            is_own = row.handler == self._scope.handler
            place = ("obligations", row.id, "transfer" if is_own else "handler")
            self._others[place] = row.transfer if is_own else row.handler
            self._cells[place] = effects.canonical(self._others[place])
        await self._load(
            text(_EFFECTS_OF_OBLIGATIONS).bindparams(bindparam("rows", type_=Text)),
            {"rows": json.dumps(sorted(obligations))},
        )
        await self._prove()

    async def _load(self, query: Any, parameters: Json) -> None:
        rows = {place[1] for place in self._cells}
        openings = (await self._tx.execute(query, parameters)).all()
        self._documents |= {row.seq: CommittedEffects(row.seq, row.at, bytes(row.salt), row.value) for row in openings}
        self._written = CellWrites()
        for seq in sorted(self._documents):
            groups = json.loads(self._documents[seq].value)
            kept = [
                group | {"rows": {key: group["rows"][key] for key in group["rows"].keys() & rows}} for group in groups
            ]
            self._written.take(seq, seq, kept)

    def _is_proved(self, place: Place) -> bool:
        source = self._written.cells.get(place)
        if source is None:
            return False
        salt = effects.column_salt(self._key, self._documents[source.seq].salt, *place)
        return hash_value(salt, self._cells[place]) == source.hash

    async def effects(self) -> AsyncIterator[Json]:
        """Return the committed effects, in the order of their entries."""
        for seq in sorted(self._documents):
            yield self._documents[seq].line

    async def salts(self) -> AsyncIterator[Json]:
        """Return for each cell its source entry and its salt, and its value if no record shows it; cells of one act and row together."""
        by_row: defaultdict[tuple[str, str, int], dict[str, str]] = defaultdict(dict)
        for place in self._cells:
            source = self._written.cells.get(place)
            if source is not None:
                table, row, column = place
                salt = effects.column_salt(self._key, self._documents[source.seq].salt, *place)
                by_row[table, row, source.seq][column] = salt.hex()
        for (table, row, seq), columns in sorted(by_row.items()):
            values = {name: self._others[table, row, name] for name in columns if (table, row, name) in self._others}
            yield {"table": table, "row": row, "seq": seq, "salts": columns} | ({"values": values} if values else {})
