"""Reservations: one lapses at the same instant in Python, in queries and at the gate, on generated rows."""

from __future__ import annotations

import asyncio
from datetime import datetime
from itertools import product
from typing import Any

import pytest
from sqlalchemy import insert, select

from service.clock import day_in_shanghai
from service.gate.batch_read import READ
from service.ledger.conditions import is_live, status_at
from service.ledger.reservation_rules import has_lapsed
from service.ledger.reservation_rules import status_at as status_in_python
from service.ledger.tables import Export, PermitReservations, YearReservations
from service.permits.tables import Permit, PermitDataset
from service.registry.tables import Dataset, Handler, Recipient
from tests.rules.rows import DAY, HOUR, INSTANTS, TICK, filled, written_and_taken_back

AROUND = [-DAY, -HOUR, -TICK, 0 * TICK, TICK, HOUR, DAY]


@pytest.mark.parametrize("now", INSTANTS)
def test_an_export_lapses_in_queries_when_it_does_in_python(empty_database: str, now: datetime) -> None:
    exports = [
        filled(Export, id=f"ex_{number:026}", status=status, expires_at=now + offset, fields=None, permit=None)
        for number, (status, offset) in enumerate(product(["reserved", "completed", "cancelled"], AROUND))
    ]

    async def run() -> dict[str, str]:
        async with written_and_taken_back(empty_database) as connection:
            await connection.execute(insert(Export), exports)
            return {row[0]: row[1] for row in await connection.execute(select(Export.id, status_at(now)))}

    wanted = {row["id"]: status_in_python(row["status"], row["expires_at"], now) for row in exports}
    assert asyncio.run(run()) == wanted
    assert set(wanted.values()) == {"reserved", "completed", "cancelled", "lapsed"}


@pytest.mark.parametrize("now", INSTANTS)
def test_what_is_reserved_counts_at_the_gate_until_it_lapses(empty_database: str, now: datetime) -> None:
    """Each reservation has another number of persons, a power of two: the sum names those that count."""
    today = day_in_shanghai(now)
    held = [
        {"expires_at": now + offset, "persons": 2**place, "sensitive_persons": 2**place}
        for place, offset in enumerate(AROUND)
    ]
    bound = {"permit": "pm_1", "dataset": "ds_1", "recipient": "rc_1", "tags": [], "fields": []}

    async def run() -> tuple[int, int, Any]:
        async with written_and_taken_back(empty_database) as connection:
            await connection.execute(insert(Handler), [filled(Handler, id="hd_1", key="one")])
            await connection.execute(insert(Dataset), [filled(Dataset, id="ds_1", key="one", handler="hd_1")])
            await connection.execute(insert(Recipient), [filled(Recipient, id="rc_1", key="one")])
            await connection.execute(insert(Permit), [filled(Permit, id="pm_1", handler="hd_1")])
            await connection.execute(insert(PermitDataset), [filled(PermitDataset, **bound)])
            await connection.execute(insert(PermitReservations), [row | {"permit": "pm_1"} for row in held])
            of_year = {"handler": "hd_1", "year": today.year}
            await connection.execute(insert(YearReservations), [row | of_year for row in held])
            of_permit, of_year_ = [
                sum((await connection.scalars(select(table.persons).where(is_live(table.expires_at, now)))).all())
                for table in (PermitReservations, YearReservations)
            ]
            raw = await connection.get_raw_connection()
            arguments = ("-", "ds_1", "", "rc_1", "", "", now, today, None, None)
            (row,) = await raw.driver_connection.fetch(READ, *arguments)
            return of_permit, of_year_, row

    wanted = sum(row["persons"] for row in held if not has_lapsed(row["expires_at"], now))
    of_permit, of_year, row = asyncio.run(run())
    assert (of_permit, of_year) == (wanted, wanted)
    assert [row[f"permit_used_{kind}"] for kind in ("persons", "sensitive_persons")] == [wanted, wanted]
    assert [row[f"year_{kind}"] for kind in ("persons", "sensitive_persons")] == [wanted, wanted]
