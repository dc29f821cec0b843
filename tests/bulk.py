"""Exports in bulk: rows and entries as the gate writes them, without asking it a hundred thousand times."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from service.database.ids import new_id
from service.ledger.tables import Export
from tests.world import Json

COLUMNS = [column.name for column in Export.__table__.columns]


def _at(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


async def export_many(url: str, permit: Json, system: str, count: int, *, persons: int = 1) -> None:
    """Let a permit have been used so many times, completed each time, and its sums with it."""
    connection = await asyncpg.connect(url)
    try:
        rows, entries = [], []
        start = datetime.now(UTC) - timedelta(seconds=1)
        for place in range(count):
            row, told = _export(permit, system, persons, start + timedelta(microseconds=place))
            rows.append([row[name] for name in COLUMNS])
            entries += told
        await connection.copy_records_to_table("exports", records=rows, columns=COLUMNS)
        await connection.execute(
            "update permits set sent_persons = sent_persons + $2, plain_persons = plain_persons + $2 where id = $1",
            permit["id"],
            count * persons,
        )
        await connection.execute(
            "insert into entries (at, actor, action, subject, handler, body, sha256) select at, actor, action, subject, handler, body, "
            "sha256(convert_to(body, 'UTF8')) from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) "
            "as e(at, actor, action, subject, handler, body)",
            *[list(column) for column in zip(*entries, strict=True)],
        )
    finally:
        await connection.close()


def _export(permit: Json, system: str, persons: int, at: datetime) -> tuple[Json, list[tuple[Any, ...]]]:
    export = new_id("ex")
    evaluation, dataset = export.replace("ex_", "ev_"), permit["datasets"][0]["id"]
    until = at + timedelta(hours=1)
    ended = at + timedelta(microseconds=1)
    held = {"persons": persons, "sensitive_persons": 0}
    row = {
        "id": export,
        "evaluation": evaluation,
        "handler": permit["handler"],
        "dataset": dataset,
        "recipient": permit["recipient"],
        "permit": permit["id"],
        "system": system,
        "purpose": permit["purpose"],
        "fields": None,
        "year": at.year,
        "counts": True,
        "late": False,
        **held,
        "permit_persons": persons,
        "permit_sensitive_persons": 0,
        "year_persons": persons,
        "year_sensitive_persons": 0,
        "sent_persons": persons,
        "sent_sensitive_persons": 0,
        "status": "completed",
        "reserved_at": at,
        "expires_at": until,
        "ended_at": ended,
    }
    question = {"dataset": dataset, "recipient": permit["recipient"], "purpose": permit["purpose"], **held}
    reserved = {
        "dataset": dataset,
        "decision": True,
        "evaluation": evaluation,
        "expires_at": _at(until),
        "export": export,
        "mechanism": permit["mechanism"],
        "permit": permit["id"],
        "question": question,
        "reason": "permitted",
        "recipient": permit["recipient"],
        "year": held,
    }
    ways = {"persons": "number", "sensitive_persons": "number"}
    completed = {"sent": held, "permit": permit["id"], "told_by": ways}
    return row, [
        _entry(at, system, "export.reserved", export, permit["handler"], reserved),
        _entry(ended, system, "export.completed", export, permit["handler"], completed),
    ]


def _entry(at: datetime, actor: str, action: str, subject: str, handler: str, details: Json) -> tuple[Any, ...]:
    body = {"at": _at(at), "actor": actor, "action": action, "subject": subject, "handler": handler, "details": details}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return at, actor, action, subject, handler, text
