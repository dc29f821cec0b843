"""Grants, delegations and credentials: the rule in Python and its conditions in SQL agree on generated rows."""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from itertools import count, product
from typing import Any

import pytest
from sqlalchemy import insert, select

from service.access.conditions import (
    delegation_is_in_force,
    delegation_is_not_over,
    grant_is_pending,
    grant_is_standing,
)
from service.access.credential_rules import is_valid_credential
from service.access.grant_rules import (
    PENDING_PERIOD,
    GrantPeriod,
    GrantState,
    grant_state,
    is_delegation_in_force,
    is_delegation_over,
)
from service.access.tables import ApiKey, Delegation, Grant, LinkedIdentity, Principal
from service.clock import day_in_shanghai
from service.database.ids import new_id
from service.gate.batch_read import READ, SEPARATOR
from service.gate.search import _SYSTEMS
from tests.rules.rows import DAY, HOUR, INSTANTS, TICK, written_and_taken_back

Row = dict[str, Any]


def principal_row(number: int, now: datetime, *, kind: str = "system", disabled_at: datetime | None = None) -> Row:
    name = f"principal {number}"
    made = {"created_at": now - DAY, "disabled_at": disabled_at}
    return {"id": new_id("pr"), "name": name, "folded": name, "kind": kind, **made}


def key_row(principal: str, number: int, now: datetime, **more: Any) -> Row:
    made = {"label": None, "prefix": f"prefix{number}", "sha256": bytes(32), "created_at": now - DAY, "seen_by": []}
    return {"id": new_id("ky"), "principal": principal, "expires_at": None, "revoked_at": None, **made, **more}


def grant_rows(now: datetime) -> tuple[list[Row], list[Row]]:
    """Return grants with each combination of edges, and their principals: a grant for each."""
    today, numbers = day_in_shanghai(now), count()
    principals, grants = [], []
    for first, last, asked_at, effective_at, withdrawn_at, kind, disabled_at in product(
        [today - DAY, today, today + DAY],
        [None, today - DAY, today, today + DAY],
        [now, now - PENDING_PERIOD - TICK, now - PENDING_PERIOD, now - PENDING_PERIOD + TICK],
        [None, now - HOUR, now],
        [None, now - HOUR, now],
        ["person", "system"],
        [None, now],
    ):
        if last is not None and last < first:
            continue  # a constraint of the table
        principals.append(principal_row(next(numbers), now, kind=kind, disabled_at=disabled_at))
        days = {"valid_from": first, "valid_until": last, "granted_at": asked_at}
        marks = {"effective_at": effective_at, "withdrawn_at": withdrawn_at, "confirmed_by": None, "login": None}
        made = {"granted_by": "operator", "askers": [], "source": "admin", "handler": None, "role": "exporter"}
        grants.append({"id": new_id("gr"), "principal": principals[-1]["id"], **days, **marks, **made})
    return principals, grants


def state_of(grant: Row, now: datetime) -> GrantState:
    days = (grant["granted_at"], grant["valid_from"], grant["valid_until"])
    return grant_state(GrantPeriod(*days, grant["effective_at"], grant["withdrawn_at"]), now)


async def callers_of_the_gate(connection: Any, prefixes: list[str], now: datetime, today: date) -> dict[str, Any]:
    """Return what the gate reads of each caller, by prefix of the key or id of the linked identity."""
    nothing = SEPARATOR * (len(prefixes) - 1)
    raw = await connection.get_raw_connection()
    arguments = (SEPARATOR.join(prefixes), nothing, nothing, nothing, nothing, nothing, now, today, None, None)
    rows = await raw.driver_connection.fetch(READ, *arguments)
    return {prefixes[row["ask"] - 1]: row for row in rows if row["caller"] is not None}


@pytest.mark.parametrize("now", INSTANTS)
def test_a_grant_stands_and_waits_in_sql_when_it_does_in_python(empty_database: str, now: datetime) -> None:
    today = day_in_shanghai(now)
    principals, grants = grant_rows(now)
    prefixes = {grant["id"]: f"prefix{number}" for number, grant in enumerate(grants)}

    async def run() -> None:
        async with written_and_taken_back(empty_database) as connection:
            await connection.execute(insert(Principal), principals)
            await connection.execute(insert(Grant), grants)
            keys = [key_row(grant["principal"], number, now) for number, grant in enumerate(grants)]
            await connection.execute(insert(ApiKey), keys)
            conditions = (grant_is_standing(Grant, today), grant_is_pending(Grant, now))
            in_queries = {row[0]: row for row in await connection.execute(select(Grant.id, *conditions))}
            at_the_gate = await callers_of_the_gate(connection, list(prefixes.values()), now, today)
            page = {"after": "", "size": len(grants), "handler": "hd_any", "today": today}
            in_searches = {row.id: row.may_export for row in await connection.execute(_SYSTEMS, page)}
        seen = set()
        for principal, grant in zip(principals, grants, strict=True):
            wanted = state_of(grant, now)
            seen.add(wanted)
            stands = wanted is GrantState.STANDING
            assert tuple(in_queries[grant["id"]])[1:] == (stands, wanted is GrantState.PENDING), grant
            assert (at_the_gate[prefixes[grant["id"]]]["caller_reach"] == "*") is stands, grant
            may_export = stands and principal["kind"] == "system" and principal["disabled_at"] is None
            assert in_searches[principal["id"]] is may_export, grant
        assert seen == set(GrantState)

    asyncio.run(run())


@pytest.mark.parametrize("now", INSTANTS)
def test_a_delegation_lends_in_sql_when_it_does_in_python(empty_database: str, now: datetime) -> None:
    today = day_in_shanghai(now)
    days = [today - DAY, today, today + DAY]
    made = {"roles": ["reviewer:legal"], "handler": None, "reason": "leave", "made_by": "pr_1", "askers": []}
    delegations = [
        {"id": new_id("dg"), "delegator": new_id("pr"), "delegate": new_id("pr"), "made_at": now, "confirmed_by": None}
        | {"valid_from": first, "valid_until": last, "effective_at": effective_at, "ended_at": ended_at}
        | made
        for first, last, effective_at, ended_at in product(
            days, days, [None, now - DAY, now, now + TICK], [None, now - DAY, now, now + TICK]
        )
    ]

    async def run() -> dict[str, tuple[bool, bool]]:
        async with written_and_taken_back(empty_database) as connection:
            await connection.execute(insert(Delegation), delegations)
            conditions = (delegation_is_in_force(Delegation, today), delegation_is_not_over(Delegation, today))
            return {row[0]: (row[1], row[2]) for row in await connection.execute(select(Delegation.id, *conditions))}

    in_queries = asyncio.run(run())
    wanted = {
        row["id"]: (
            is_delegation_in_force(
                row["valid_from"],
                row["valid_until"],
                effective_at=row["effective_at"],
                ended_at=row["ended_at"],
                today=today,
            ),
            not is_delegation_over(row["valid_until"], row["ended_at"], today),
        )
        for row in delegations
    }
    assert in_queries == wanted
    assert set(wanted.values()) == {(True, True), (False, True), (False, False)}


@pytest.mark.parametrize("now", INSTANTS)
def test_a_credential_is_valid_at_the_gate_when_it_is_in_python(empty_database: str, now: datetime) -> None:
    around = [None, now - DAY, now - TICK, now, now + TICK, now + DAY]
    edges = list(product([None, now - DAY, now], around, around))
    linked = list(product([None, now - DAY, now], around))
    principals = [principal_row(number, now, disabled_at=edge[0]) for number, edge in enumerate([*edges, *linked])]

    async def run() -> dict[str, Any]:
        async with written_and_taken_back(empty_database) as connection:
            await connection.execute(insert(Principal), principals)
            keys = [
                key_row(principal["id"], number, now, revoked_at=ended_at, expires_at=expires_at)
                for number, (principal, (_, ended_at, expires_at)) in enumerate(
                    zip(principals[: len(edges)], edges, strict=True)
                )
            ]
            await connection.execute(insert(ApiKey), keys)
            identities = [
                {"id": f"lg_{number}", "principal": principal["id"], "issuer": "https://idp", "subject": str(number)}
                | {"made_by": "operator", "made_at": now, "seen_by": [], "told_at": None, "ended_at": ended_at}
                for number, (principal, (_, ended_at)) in enumerate(zip(principals[len(edges) :], linked, strict=True))
            ]
            await connection.execute(insert(LinkedIdentity), identities)
            names = [row["prefix"] for row in keys] + [row["id"] for row in identities]
            return await callers_of_the_gate(connection, names, now, day_in_shanghai(now))

    at_the_gate = {name: row["caller_stands"] for name, row in asyncio.run(run()).items()}
    wanted = {
        f"prefix{number}": is_valid_credential(
            ended_at=ended_at, expires_at=expires_at, disabled_at=disabled_at, now=now
        )
        for number, (disabled_at, ended_at, expires_at) in enumerate(edges)
    } | {
        f"lg_{number}": is_valid_credential(ended_at=ended_at, expires_at=None, disabled_at=disabled_at, now=now)
        for number, (disabled_at, ended_at) in enumerate(linked)
    }
    assert at_the_gate == wanted
    assert set(wanted.values()) == {True, False}
