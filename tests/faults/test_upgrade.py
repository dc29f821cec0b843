"""`outbound upgrade check`: of a database of before, one of each that is answered otherwise is told, what is fine is not, nothing moves."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import asyncpg
import pytest
from sqlalchemy import select

from service.clock import day_in_shanghai
from service.database import migrate
from service.registry.outdated_fields import IS_OUTDATED
from service.registry.tables import Dataset
from service.upgrade.assessment import ADVICE, fields_then
from tests.commands import outbound
from tests.conftest import database_named, run_sql

Result = TypeVar("Result")

NOW = datetime.now(UTC)
GRADED, CHANGED = NOW - timedelta(days=2), NOW - timedelta(days=1)
LATER = date(2099, 12, 31)
MADE = f"upgrade_{os.environ.get('PYTEST_XDIST_WORKER', 'main')}"
"""The database that is made; others that are made of it begin with its name."""
ONE, OTHER = "hd_one", "hd_other"
FREE: Mapping[str, Any] = {"origin": "foreign", "domestic_data_added": True, "ftz_list": None, "contains_minors": False}
FACTS: Mapping[str, Any] = {**FREE, "origin": "domestic"}
MARKS: Mapping[str, Any] = {"in_gba": False, "restricted": False}
APPROVED: Mapping[str, Any] = {"country": "DE", "kind": "company", "facts": {**MARKS, "restricted": True}}


def field(name: str, type_: str = "text", category: str | None = None) -> dict[str, Any]:
    return {"name": name, "type": type_, "category": category}


NAME, HEALTH, ADDED = field("name"), field("health", category="biometric"), field("added")


class Filling:
    """Fills a database of before, row by row."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection
        self.count = 0

    async def insert(self, table: str, /, **columns: Any) -> None:
        names, places = ", ".join(columns), ", ".join(f"${place + 1}" for place in range(len(columns)))
        values = [json.dumps(value) if isinstance(value, dict) else value for value in columns.values()]
        await self.connection.execute(f"insert into {table} ({names}) values ({places})", *values)  # noqa: S608 - the test's own

    async def entry(self, action: str, subject: str, details: Any, at: datetime = CHANGED) -> int:
        body = json.dumps({"action": action, "details": details})
        sha256 = hashlib.sha256(body.encode()).digest()
        found: int = await self.connection.fetchval(
            "insert into entries (at, actor, action, subject, body, sha256) values ($1, 'pr_loader', $2, $3, $4, $5) returning seq",
            at,
            action,
            subject,
            body,
            sha256,
        )
        return found

    async def opening(self, seq: int, pointer: str, value: Any, at: datetime = CHANGED) -> None:
        await self.insert("openings", seq=seq, pointer=pointer, at=at, salt=b"", value=json.dumps(value))

    async def dataset(
        self,
        key: str,
        tags: Sequence[str] | None,
        *fields: dict[str, Any],
        handler: str = ONE,
        facts: Mapping[str, Any] = FACTS,
        at: datetime = GRADED,
        changed: Any = None,
    ) -> int:
        ident = f"ds_{key}"
        await self.insert(
            "datasets",
            id=ident,
            key=key,
            handler=handler,
            title=key,
            owner="Yu",
            fields=json.dumps(fields),
            facts=dict(facts),
            tags=tags,
            grading=None if tags is None else 1,
            created_at=at,
            updated_at=at if changed is None else CHANGED,
        )
        if tags is not None:
            await self.insert(
                "gradings",
                id=f"gd_{key}",
                dataset=ident,
                number=1,
                tags=tags,
                reason="r",
                basis="b",
                state="effective",
                graded_by="pr_loader",
                graded_at=at,
                effective_at=at,
            )
        return 0 if changed is None else await self.entry("dataset.changed", ident, {"before": changed})

    async def transfer(
        self,
        ident: str,
        dataset: str,
        status: str,
        *,
        sensitive: int = 0,
        fields: Sequence[str] | None = None,
        until: date = LATER,
        handler: str = ONE,
    ) -> None:
        await self.insert(
            "transfers",
            id=ident,
            handler=handler,
            datasets=[f"ds_{dataset}"],
            recipient="rc_de",
            purpose="p",
            description="d",
            fields=json.dumps(fields),
            persons=1,
            sensitive_persons=sensitive,
            method="transmission",
            legal_basis="consent",
            valid_from=NOW.date(),
            valid_until=until,
            status=status,
            revision=1,
            requester="pr_loader",
            authors=[],
            created_at=NOW,
            updated_at=NOW,
        )

    async def permit(
        self,
        name: str,
        dataset: str,
        tags: Sequence[str],
        *registered: str,
        status: str = "active",
        sensitive: int = 0,
        fields: Sequence[str] | None = None,
        until: date = LATER,
        handler: str = ONE,
        approved: Mapping[str, Any] | None = None,
    ) -> None:
        ident, transfer = f"pm_{name}", f"tr_of_{name}"
        await self.transfer(transfer, dataset, "approved", sensitive=sensitive, fields=fields, handler=handler)
        facts = approved or {"handler": {"ciio": False, "in_ftz": True}, "recipient": {**APPROVED, "facts": MARKS}}
        content = {
            "handler": {"facts": facts["handler"]},
            "datasets": [{"id": f"ds_{dataset}", "facts": facts.get("dataset", FACTS)}],
            "recipient": facts["recipient"],
        }
        await self.insert(
            "revisions",
            transfer=transfer,
            number=1,
            hash=name,
            content=content,
            determination={},
            ledger={},
            submitted_by="pr_loader",
            submitted_at=NOW,
        )
        await self.insert(
            "permits",
            id=ident,
            transfer=transfer,
            revision=name,
            handler=handler,
            recipient="rc_de",
            purpose="p",
            fields=json.dumps(fields),
            persons=1,
            sensitive_persons=sensitive,
            sent_persons=0,
            sent_sensitive_persons=0,
            valid_from=NOW.date(),
            valid_until=until,
            mechanism="exempt",
            requirements=[],
            claims={},
            evidence=[],
            status=status,
            issued_at=NOW,
            updated_at=NOW,
        )
        await self.insert(
            "permit_datasets",
            permit=ident,
            dataset=f"ds_{dataset}",
            recipient="rc_de",
            tags=tags,
            grading=1,
            fields=[*registered],
        )

    async def question(
        self, dataset: str, context: Any, *, allowed: bool = True, at: datetime = NOW, **details: Any
    ) -> int:
        self.count += 1
        asked = {"action": {"name": "export"}, "subject": {"type": "system", "id": "etl"}, "context": context}
        said = {"dataset": f"ds_{dataset}", "recipient": "rc_de", "decision": allowed, "reason": "permitted"}
        return await self.entry("gate.evaluated", f"ev_{self.count}", {**said, "question": asked, **details}, at)

    async def export(self, dataset: str, **asked: Any) -> int:
        self.count += 1
        said = {"dataset": f"ds_{dataset}", "recipient": "rc_de", "decision": True, "reason": "permitted"}
        return await self.entry("export.reserved", f"ex_{self.count}", {**said, "question": asked}, NOW)


async def fill(to: Filling) -> None:
    await to.insert("principals", id="pr_loader", name="loader", kind="system", folded="loader", created_at=NOW)
    for handler, free in ((ONE, False), (OTHER, True)):
        facts = {"ciio": False, "in_ftz": free}
        await to.insert("handlers", id=handler, key=handler, name="Yu", facts=facts, created_at=NOW, updated_at=NOW)
    recipient = {"country": "DE", "kind": "company", "facts": dict(MARKS)}
    await to.insert("recipients", id="rc_de", key="de", name="de", created_at=NOW, updated_at=NOW, **recipient)
    await fill_register(to)
    await fill_permits(to)
    await fill_transfers(to)
    await fill_questions(to)


async def fill_register(to: Filling) -> None:
    await to.dataset("crm", ["personal", "sensitive"], NAME, HEALTH)
    await to.dataset("general", [], NAME)
    await to.dataset("ungraded", None, NAME, facts={**FACTS, "contains_minors": True})
    await to.dataset("kids", ["personal"], NAME, facts={**FACTS, "contains_minors": True})
    await to.dataset("tagged kids", ["personal", "sensitive"], NAME, facts={**FACTS, "contains_minors": True})
    await to.dataset("grown", ["personal"], NAME, ADDED, changed={"fields": [NAME]})
    await to.dataset("steady", ["personal"], NAME, changed={"title": {"sealed": "sha256:0"}}, facts=FREE)
    seq = await to.dataset("retyped", ["personal"], field("name", "int"), changed={"fields": {"sealed": "sha256:0"}})
    await to.opening(seq, "/details/before/fields", [NAME])
    seq = await to.dataset("whole", ["personal"], NAME, changed={"sealed": "sha256:0"})
    await to.opening(seq, "/details/before", {"fields": [NAME], "title": "t"})
    await to.dataset("erased", ["personal"], NAME, changed={"fields": {"sealed": "sha256:0"}})
    await to.dataset("archived", ["personal"], NAME, at=NOW - timedelta(days=400), changed={"title": "t"})
    month = (NOW - timedelta(days=300)).date().replace(day=1)
    await to.insert("archives", month=month, file="f", sha256=b"", first_leaf=0, last_leaf=0, entries=1, at=CHANGED)
    await to.dataset("emptied", ["personal"], changed={"fields": [NAME]})
    await to.dataset("late", ["personal"], NAME)
    await to.dataset("Shop.Orders", [], NAME)
    await to.dataset("shop.orders/", ["personal"], NAME)
    await to.dataset("SHOP.ORDERS", [], NAME, handler=OTHER)


async def fill_permits(to: Filling) -> None:
    sensitive, yesterday = ["personal", "sensitive"], NOW.date() - timedelta(days=2)
    await to.permit("none", "crm", sensitive, "health", "name")
    await to.permit("plain", "crm", sensitive, "health", "name", fields=["name"])
    await to.permit("some", "crm", sensitive, "health", "name", sensitive=10)
    await to.permit("revoked", "crm", sensitive, "health", "name", status="revoked")
    await to.permit("ended", "crm", sensitive, "health", "name", until=yesterday)
    await to.permit("suspended", "crm", sensitive, "health", "name", status="suspended")
    await to.permit("kids", "kids", ["personal"], "name")
    await to.permit("new", "grown", ["personal"], "added", "name")
    await to.permit("old", "grown", ["personal"], "name")
    await to.permit("named", "grown", ["personal"], "added", "name", fields=["name"])
    await to.permit("late", "late", ["personal"])
    await to.permit("emptied", "emptied", ["personal"])
    await to.permit("twin", "Shop.Orders", [], "name")
    await to.permit("joined", "shop.orders/", ["personal"], "name")
    freer = {"handler": {"ciio": True, "in_ftz": False}, "recipient": APPROVED, "dataset": FACTS}
    await to.permit("freer", "steady", ["personal"], "name", handler=OTHER, approved=freer)
    same = {"handler": {"ciio": False, "in_ftz": True}, "recipient": {**APPROVED, "facts": MARKS}, "dataset": FREE}
    await to.permit("stricter", "steady", ["personal"], "name", approved=same)


async def fill_transfers(to: Filling) -> None:
    await to.transfer("tr_draft", "crm", "draft", fields=["name"])
    await to.transfer("tr_stated", "crm", "draft", sensitive=1)
    await to.transfer("tr_withdrawn", "crm", "withdrawn")
    await to.transfer("tr_ended", "crm", "draft", until=NOW.date() - timedelta(days=2))
    await to.transfer("tr_kids", "kids", "in_review")
    await to.transfer("tr_new", "grown", "returned", fields=["added"])
    await to.transfer("tr_old", "grown", "in_review", fields=["name"])


async def fill_questions(to: Filling) -> None:
    await to.question("general", {"persons": 5})
    await to.question("general", {"persons": 7, "sensitive_persons": 0}, allowed=False)
    await to.question("general", {"sensitive_persons": 7}, at=NOW - timedelta(days=40))
    await to.question("general", {"persons": 0})
    await to.question("general", {"persons": 5}, reason="not_cross_border")
    await to.question("general", {"persons": 5}, recipient=None)
    await to.question("general", None)
    await to.question("general", {"fields": []})
    await to.question("general", {"fields": ["unseen"]})
    await to.question("ungraded", {"persons": 5})
    await to.question("steady", {"sensitive_persons": 3})
    await to.question("steady", {"persons": 3, "fields": None})
    await to.question("crm", {"persons": 5, "sensitive_persons": 0, "fields": ["health"]})
    await to.question("crm", {"persons": 5, "sensitive_persons": 0, "fields": ["name"]})
    await to.question("crm", {})
    await to.question("grown", {"fields": ["added"]})
    await to.question("grown", {"fields": ["name"], "persons": 1})
    await to.question("kids", {})
    await to.question("kids", {}, question={"action": {"name": "read"}, "context": {}})
    await to.export("crm", persons=5)
    await to.export("crm", persons=5, sensitive_persons=5)
    for names in (["health"], ["name"]):
        seq = await to.export("crm", persons=5, fields={"sealed": "sha256:0"})
        await to.opening(seq, "/details/question/fields", names, NOW)


TODAY = day_in_shanghai(NOW)
TOLD: Sequence[tuple[str, str, Sequence[str]]] = (
    ("permit", "no_sensitive_persons", ["pm_none, crm", "pm_suspended, crm"]),
    ("permit", "minors_without_tag", ["pm_kids, kids"]),
    ("permit", "grading_outdated", ["pm_new, grown: added"]),
    ("permit", "no_fields_approved", ["pm_late, late"]),
    ("permit", "grading_changed", ["pm_twin, Shop.Orders: personal"]),
    (
        "permit",
        "facts_freer",
        ["pm_freer, handler: ciio, in_ftz", "pm_freer, recipient: restricted", "pm_freer, steady: origin"],
    ),
    ("transfer", "no_sensitive_persons", ["tr_draft (draft), crm"]),
    ("transfer", "minors_without_tag", ["tr_kids (in_review), kids"]),
    ("transfer", "grading_outdated", ["tr_new (returned), grown: added"]),
    ("dataset", "minors_without_tag", ["kids"]),
    ("dataset", "grading_outdated", ["grown: added", "retyped: name"]),
    ("dataset", "history_unknown", ["archived: name", "erased: name"]),
    ("dataset", "twin_keys", ["Shop.Orders = shop.orders/: personal", "shop.orders/ = Shop.Orders: personal"]),
    ("question", "persons_of_general_data", [f"etl, general: 2 (1 of them allowed), the last on {TODAY}"]),
    ("question", "sensitive_persons_without_tag", [f"etl, steady: 1 (1 of them allowed), the last on {TODAY}"]),
    (
        "question",
        "no_sensitive_persons",
        [
            f"etl, crm: 1 (1 of them allowed), the last on {TODAY}",
            f"loader, crm: 2 (2 of them allowed), the last on {TODAY}",
        ],
    ),
    ("question", "minors_without_tag", [f"etl, kids: 1 (1 of them allowed), the last on {TODAY}"]),
    (
        "question",
        "grading_outdated",
        [
            f"etl, general: 1 (1 of them allowed), the last on {TODAY}",
            f"etl, grown: 1 (1 of them allowed), the last on {TODAY}",
        ],
    ),
    ("question", "empty_fields", [f"etl, general: 1 (1 of them allowed), the last on {TODAY}"]),
)


def told() -> str:
    lines: list[str] = []
    for about, reason, found in TOLD:
        answer, advice = ADVICE[about, reason]  # type: ignore[index]
        lines += [answer, *(f"  {one}" for one in found), f"  -> {advice}"]
    return "\n".join([*lines, f"{sum(len(found) for *_, found in TOLD)} are answered otherwise.", ""])


def on(url: str, work: Callable[[asyncpg.Connection], Awaitable[Result]]) -> Result:
    async def run() -> Result:
        connection = await asyncpg.connect(url)
        try:
            return await work(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def empty(postgres: str) -> Iterator[str]:
    """A database as the version before makes it."""
    run_sql(postgres, f"drop database if exists {MADE}", f"create database {MADE}")
    url = database_named(postgres, MADE)
    migrate.upgrade(url, "0015")
    yield url
    run_sql(postgres, f"drop database {MADE}")


@pytest.fixture(scope="module")
def filled(postgres: str, empty: str) -> Iterator[str]:
    """A copy of it, with one of each."""
    assert MADE in empty
    name = f"{MADE}_filled"
    run_sql(postgres, f"drop database if exists {name}", f"create database {name} template {MADE}")
    url = database_named(postgres, name)
    on(url, lambda connection: fill(Filling(connection)))
    yield url
    run_sql(postgres, f"drop database {name}")


def test_one_of_each_is_told_and_what_is_fine_is_not(filled: str) -> None:
    done = outbound(filled, "upgrade", "check")
    assert (done.stdout, done.stderr, done.returncode) == (told(), "", 1)


def test_it_is_told_as_values_too(filled: str) -> None:
    done = outbound(filled, "upgrade", "check", "--json", "--days", "60")
    document = json.loads(done.stdout)
    assert (document["revision"], document["days"], done.returncode) == ("0015", 60, 1)
    found = document["findings"]
    expected = [(about, reason) for about, reason, those in TOLD for _ in those]
    assert [(one["about"], one["reason"]) for one in found] == expected
    assert all(one["answer"] and one["do"] for one in found)
    general = next(one for one in found if one["reason"] == "persons_of_general_data")
    assert {name: general[name] for name in ("id", "key", "system", "count", "allowed", "last_day")} == {
        "id": "ds_general",
        "key": "general",
        "system": "etl",
        "count": 3,
        "allowed": 2,
        "last_day": TODAY.isoformat(),
    }


def test_where_nothing_is_answered_otherwise_it_ends_with_0(empty: str) -> None:
    done = outbound(empty, "upgrade", "check")
    assert (done.stdout, done.returncode) == ("Nothing is answered otherwise.\n", 0)


async def contents(connection: asyncpg.Connection) -> dict[str, Any]:
    tables = await connection.fetch("select relname from pg_stat_user_tables order by relname")
    return {
        table: await connection.fetchval(f"select md5(string_agg(t::text, ',' order by t::text)) from {table} t")  # noqa: S608 - the test's own
        for (table,) in tables
    }


def test_it_changes_nothing_and_waits_for_nobody_nor_makes_anybody_wait(filled: str) -> None:
    """Beside locks that go with reading alone: whatever it held more, it would have to wait for them."""
    before = on(filled, contents)
    loop = asyncio.new_event_loop()
    other = loop.run_until_complete(asyncpg.connect(filled))
    try:
        loop.run_until_complete(other.execute("begin"))
        for table in before:
            loop.run_until_complete(other.execute(f"lock table {table} in exclusive mode"))
        assert outbound(filled, "upgrade", "check").returncode == 1
    finally:
        loop.run_until_complete(other.close())
        loop.close()
    assert on(filled, contents) == before


def test_there_is_nothing_to_check_once_migrated_and_before_that_version(database_url: str, postgres: str) -> None:
    done = outbound(database_url, "upgrade", "check")
    later = f"There is nothing to check: the database is at revision {migrate.head()}, beyond the version before."
    assert (done.stdout, done.stderr, done.returncode) == (later + "\n", "", 0)
    document = json.loads(outbound(database_url, "upgrade", "check", "--json").stdout)
    assert document == {"revision": migrate.head(), "note": later, "findings": []}
    name = f"{MADE}_bare"
    run_sql(postgres, f"drop database if exists {name}", f"create database {name}")
    bare = database_named(postgres, name)
    try:
        done = outbound(bare, "upgrade", "check")
        assert (done.returncode, "no tables" in done.stderr) == (1, True)
        run_sql(bare, "create table alembic_version (version_num text)", "insert into alembic_version values ('0014')")
        done = outbound(bare, "upgrade", "check")
        assert (done.returncode, "of the version before first" in done.stderr) == (1, True)
    finally:
        run_sql(postgres, f"drop database {name}")


def test_a_database_that_is_away_is_told_in_a_sentence() -> None:
    done = outbound("postgresql://nobody@127.0.0.1:9/none", "upgrade", "check")
    assert (done.returncode, "does not answer" in done.stderr) == (1, True)


def test_the_migration_comes_to_the_same(postgres: str, filled: str) -> None:
    found = json.loads(outbound(filled, "upgrade", "check", "--json").stdout)["findings"]
    name = f"{MADE}_after"
    run_sql(postgres, f"drop database if exists {name}", f"create database {name} template {MADE}_filled")
    after = database_named(postgres, name)
    try:
        migrate.upgrade(after)
        outdated = {row[0] for row in on(after, lambda c: c.fetch(str(select(Dataset.id).where(IS_OUTDATED))))}
        told_outdated = {
            one["id"]
            for one in found
            if one["about"] == "dataset" and one["reason"] in {"grading_outdated", "history_unknown"}
        }
        assert outdated == told_outdated
        twins = on(after, lambda c: c.fetch("select id, tags from datasets where twins <> '{}'"))
        assert dict(twins) == {one["id"]: one["tags"] for one in found if one["reason"] == "twin_keys"}
    finally:
        run_sql(postgres, f"drop database {name}")


@pytest.mark.parametrize(
    ("changes", "then"),
    [
        ([], [HEALTH]),
        ([({"title": "t"}, None, None)], [HEALTH]),
        ([({"fields": [NAME]}, None, None), ({"fields": []}, None, None)], [NAME]),
        ([({"title": "t"}, None, None), ({"fields": [NAME]}, None, None)], [NAME]),
        ([({"fields": {"sealed": "s"}}, None, json.dumps([NAME]))], [NAME]),
        ([({"fields": {"sealed": "s"}}, None, None)], None),
        ([({"sealed": "s"}, json.dumps({"fields": [NAME]}), None)], [NAME]),
        ([({"sealed": "s"}, json.dumps({"title": "t"}), None)], [HEALTH]),
        ([({"sealed": "s"}, None, None)], None),
    ],
)
def test_the_first_change_since_says_what_the_fields_were(changes: Any, then: Any) -> None:
    assert fields_then(changes, [HEALTH]) == then
