"""Persons by hash through HTTP: what a feed adds to the year and to the permit, in every way of telling it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import os
import random
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.database.row_security import EVERYWHERE
from service.database.session import Database
from service.exports.recount import Recount, rebuild
from tests.commands import outbound
from tests.conftest import Clock, run_sql
from tests.feed import OCTETS, Feed, digits, hashes, sketch
from tests.world import Json, World, day

# The three ways


def test_a_daily_feed_by_hash_stays_at_its_persons_and_by_number_grows(world: World) -> None:
    by_hash, by_number = Feed(world), Feed(world)
    everybody = hashes(100_000)
    for day_ in (1, 2, 3):
        order = digits(everybody)
        random.Random(day_).shuffle(order)  # noqa: S311 - repeatable, not secret
        assert by_hash.send({"person_hashes": order}, 100_000)["sent_persons"] == 100_000
        by_number.send({"persons": 100_000}, 100_000)
        assert (by_hash.year(), by_hash.permitted()) == ((100_000, 0), (100_000, 0))
        assert (by_number.year(), by_number.permitted()) == ((100_000 * day_, 0), (100_000 * day_, 0))


def test_array_stream_and_sketch_tell_the_same_persons(world: World) -> None:
    feed = Feed(world)
    content = hashes(1000)
    feed.send({"person_hashes": [one.upper() for one in digits(content)]}, 1000)
    assert feed.stream(feed.reserve(1000), content).json()["sent_persons"] == 1000
    feed.send({"sketch": sketch(content)}, 1000)
    feed.send({"sketch": sketch(content[: 16 * 300])}, 1000)
    assert (feed.year(), feed.permitted()) == ((1000, 0), (1000, 0))


def test_both_kinds_are_kept_apart(world: World) -> None:
    feed = Feed(world, persons=5000, sensitive=5000)
    feed.send({"person_hashes": digits(hashes(40)), "sensitive_person_hashes": digits(hashes(30))}, 50, 50)
    feed.send({"sketch": sketch(hashes(50)), "sensitive_person_hashes": digits(hashes(20))}, 50, 50)
    feed.send({"person_hashes": digits(hashes(10)), "sensitive_sketch": sketch(hashes(33))}, 50, 50)
    assert feed.year() == feed.permitted() == (50, 33)
    done = feed.stream(feed.reserve(9, 40), hashes(35), {"kind": "sensitive_persons", "persons": 9})
    assert (done.json()["sent_persons"], done.json()["sent_sensitive_persons"]) == (9, 35)
    done = feed.stream(feed.reserve(9, 40), hashes(9), {"sensitive_persons": 4})
    assert (done.json()["sent_persons"], done.json()["sent_sensitive_persons"]) == (9, 4)
    assert feed.year() == feed.permitted() == (59, 39)


def test_numbers_and_hashes_stand_side_by_side(world: World) -> None:
    feed = Feed(world)
    feed.send({"person_hashes": digits(hashes(70))}, 100)
    feed.send({"persons": 5}, 100)
    feed.reserve(11)
    shown = feed.ledger()["kinds"]["persons"]
    lines = shown.pop("thresholds")
    assert shown == {"plain": 5, "estimate": 70, "lower": 70, "upper": 70, "reserved": 11, "total": 86}
    assert {line["kind"] for line in lines} == {"persons"}
    assert {(line["value"], line["headroom"]) for line in lines} >= {(100_000, 99_913), (1_000_000, 999_913)}


def test_a_million_hashes_in_one_request_are_counted_within_their_bounds(world: World) -> None:
    feed = Feed(world, persons=999_999)
    content = hashes(999_999)
    export = feed.reserve(999_999)
    done = feed.stream(export, content)
    assert done.status_code == 200, done.text
    assert abs(done.json()["sent_persons"] - 999_999) < 10_000
    shown = feed.ledger()["kinds"]["persons"]
    assert shown["lower"] <= shown["estimate"] <= shown["upper"] <= 999_999, "never more than there were hashes"


def test_a_long_json_body_is_counted_like_a_short_one(world: World) -> None:
    feed = Feed(world)
    content = hashes(30_000)
    export = feed.reserve(30_000)
    body = json.dumps({"person_hashes": digits(content), "sensitive_persons": 0}, indent=1)
    sent = {"Authorization": f"Bearer {world.exporter.secret}", "Content-Type": "application/json"}
    done = world.http.post(f"/v1/exports/{export}/complete", content=body, headers=sent)
    assert done.json()["sent_persons"] == 30_000
    feed.send({"sketch": sketch(hashes(200_000))}, 250_000)
    assert feed.ledger()["kinds"]["persons"]["lower"] <= 200_000 <= feed.ledger()["kinds"]["persons"]["upper"]


# More than reserved, and late


@pytest.mark.parametrize("way", ["persons", "person_hashes", "sketch", "stream"])
@pytest.mark.parametrize(("quota", "status"), [(102, "active"), (100, "suspended")])
def test_more_than_reserved_counts_in_every_way(world: World, way: str, quota: int, status: str) -> None:
    feed = Feed(world, persons=quota)
    export, content = feed.reserve(100), hashes(101)
    if way == "stream":
        done = feed.stream(export, content)
    else:
        body = {"persons": 101, "person_hashes": digits(content), "sketch": sketch(content)}
        done = feed.complete(export, {way: body[way]})
    assert (done.status_code, done.json()["sent_persons"], done.json()["late"]) == (200, 101, False)
    assert (feed.year()[0], feed.permitted()[0]) == (101, 101)
    assert world.auditor.get(f"/v1/permits/{feed.permit}").json()["status"] == status


def test_what_may_be_within_the_reservation_is_taken(world: World) -> None:
    feed = Feed(world, persons=800_000)
    done = feed.stream(feed.reserve(150_000), hashes(150_000))
    assert done.status_code == 200, done.text
    assert done.json()["sent_persons"] <= 150_000
    assert feed.permitted()[0] <= 150_000, "one feed can never be more than its hashes"
    assert feed.stream(feed.reserve(150_000), hashes(160_000)).json()["sent_persons"] > 150_000


# What is refused


@pytest.fixture(scope="session")
def used(world: World) -> Feed:
    """A feed of many tests."""
    return Feed(world)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, ""),
        ({"persons": 1, "person_hashes": []}, "/person_hashes"),
        ({"persons": 1, "sketch": ""}, "/sketch"),
        ({"person_hashes": ["0" * 32], "sketch": "AQMDAAAezJM="}, "/sketch"),
        ({"sensitive_persons": 0, "sensitive_person_hashes": []}, "/sensitive_person_hashes"),
        ({"person_hashes": None}, "/person_hashes"),
        ({"person_hashes": "0" * 32}, "/person_hashes"),
        ({"person_hashes": ["0" * 31]}, "/person_hashes"),
        ({"person_hashes": ["0" * 33, "0" * 31]}, "/person_hashes"),
        ({"person_hashes": ["g" * 32]}, "/person_hashes"),
        ({"person_hashes": ["0" * 15 + "  " + "0" * 15]}, "/person_hashes"),
        ({"person_hashes": ["٣" * 32]}, "/person_hashes"),
        ({"person_hashes": [5]}, "/person_hashes"),
        ({"person_hashes": [["0" * 32]]}, "/person_hashes"),
        ({"sketch": None}, "/sketch"),
        ({"sketch": ""}, "/sketch"),
        ({"sketch": "*" * 12}, "/sketch"),
        ({"sketch": base64.b64encode(bytes(40)).decode()}, "/sketch"),
        ({"sensitive_sketch": "AQMDAAAezJ"}, "/sensitive_sketch"),
        ({"person_hashes": [], "hashes": []}, "/hashes"),
        ([], ""),
        (None, ""),
    ],
)
def test_what_cannot_be_read_is_told_by_field_and_nothing_is_counted(used: Feed, body: Any, pointer: str) -> None:
    export = used.reserve(10)
    before = (used.year(), used.permitted())
    refused = used.complete(export, body)
    assert refused.status_code == 422, refused.text
    assert pointer in {error["pointer"] for error in refused.json()["errors"]}
    assert (used.year(), used.permitted()) == before
    assert used.complete(export, {"persons": 1}).status_code == 200
    assert used.permitted() == (before[1][0] + 1, 0)


def long(*values: object, filler: int = 9000) -> str:
    return json.dumps({"person_hashes": ["0" * 32] * filler + list(values)})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (long("0" * 31), 422),
        (long(5), 422),
        (long(["0"]), 400),
        (long("a,b]"), 400),
        (long()[:-2] + ",]}", 400),
        (long()[:-2] + ",,]}", 400),
        (long()[:-2], 400),
        (long()[:-1] + ', "person_hashes": []}', 400),
        (long()[:-1] + ', "persons": 1}', 422),
        (long()[:-1] + ', "other": 1}', 422),
        ('{"x": ' + long() + "}", 422),
        ("[" + long() + "]", 422),
        (json.dumps({"person_hashes": ["0" * 32] * 1_000_001}), 422),
        (json.dumps({"persons": " " * 400_000}), 413),
        (json.dumps({"hashes": ["0" * 32] * 9000}), 413),
        (json.dumps({"sketch": "A" * 400_000}), 422),
        ('{"person_hashes": [' + " " * 400_000 + "]}", 400),
        ('{"person_hashes": [' + " " * 100_000 + "]" + " " * 100_000 + "}", 200),
        (long() + " ", 200),
    ],
)
def test_a_long_body_is_read_as_strictly(world: World, used: Feed, body: str, status: int) -> None:
    export = used.reserve(10)
    sent = {"Authorization": f"Bearer {world.exporter.secret}", "Content-Type": "application/json"}
    answer = world.http.post(f"/v1/exports/{export}/complete", content=body, headers=sent)
    assert answer.status_code == status, answer.text[:500]


@pytest.mark.parametrize(
    ("content", "params", "status", "pointer"),
    [
        (b"", {}, 422, ""),
        (b"0" * 15, {}, 422, ""),
        (b"0" * 17, {}, 422, ""),
        (b"0" * 16, {"kind": "all"}, 422, "/kind"),
        (b"0" * 16, {"persons": 1}, 422, "/persons"),
        (b"0" * 16, {"kind": "sensitive_persons", "sensitive_persons": 1}, 422, "/sensitive_persons"),
        (b"0" * 16, {"sensitive_persons": -1}, 422, "/sensitive_persons"),
        (b"0" * 16, {"other": 1}, 422, "/other"),
        (bytes(16_000_016), {}, 413, None),
    ],
)
def test_a_stream_that_cannot_be_read_is_refused(
    used: Feed, content: bytes, params: Json, status: int, pointer: str | None
) -> None:
    refused = used.stream(used.reserve(10), content, params)
    assert refused.status_code == status, refused.text
    if pointer is not None:
        assert refused.json()["errors"][0]["pointer"] == pointer


def test_the_query_is_for_streams_and_other_bodies_are_415(world: World) -> None:
    feed = Feed(world)
    export = feed.reserve(10)
    refused = world.exporter.post(f"/v1/exports/{export}/complete?kind=persons", {"persons": 1})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/kind")
    headers = {"Authorization": f"Bearer {world.exporter.secret}", "Content-Type": "text/plain"}
    path = f"/v1/exports/{export}/complete"
    assert world.http.post(path, content=b"{}", headers=headers).status_code == 415
    connection = http.client.HTTPConnection(world.http.base_url.host, world.http.base_url.port or 80, timeout=30)
    connection.request("POST", path, headers=headers | {"Content-Type": OCTETS, "Content-Length": "90000000"})
    assert connection.getresponse().status == 413, "before a byte of the body is read"
    connection.close()


def test_hostile_sketches_are_422_and_the_service_goes_on(world: World) -> None:
    feed = Feed(world)
    export = feed.reserve(1000)
    valid = base64.b64decode(sketch(hashes(20)))
    chance = random.Random(3)  # noqa: S311 - repeatable, not secret
    for _ in range(150):
        spoilt = bytearray(valid)
        spoilt[chance.choice((0, 1, 2, 6, 7, 8, 9, 10, 11))] ^= chance.randrange(1, 256)
        answer = feed.complete(export, {"sketch": base64.b64encode(bytes(spoilt)).decode()})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/sketch")
    assert feed.complete(export, {"sketch": base64.b64encode(valid).decode()}).status_code == 200


# Repeats, late reports, races


def test_a_repeat_of_a_stream_is_answered_the_same_and_another_body_is_refused(world: World) -> None:
    feed = Feed(world)
    export = feed.reserve(1000)
    first = feed.stream(export, hashes(1000), Idempotency_Key="k-1")
    again = feed.stream(export, hashes(1000), Idempotency_Key="k-1")
    assert (first.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (200, first.json(), "true")
    assert feed.stream(export, hashes(1000, seed=2), Idempotency_Key="k-1").status_code == 422
    other = feed.stream(export, hashes(1000), {"sensitive_persons": 0}, Idempotency_Key="k-1")
    assert other.json()["type"] == "/problems/idempotency-key-reused"
    assert feed.year() == (1000, 0)


def test_a_repeat_of_a_long_json_body_is_answered_the_same(world: World) -> None:
    feed = Feed(world)
    export = feed.reserve(10_000)
    body = {"person_hashes": digits(hashes(10_000))}
    first = feed.complete(export, body, Idempotency_Key="k-2")
    assert (first.status_code, feed.complete(export, body, Idempotency_Key="k-2").json()) == (200, first.json())
    assert feed.complete(export, {"person_hashes": []}, Idempotency_Key="k-2").status_code == 422


def test_a_late_report_by_hash_counts_each_person_once(world: World, days_ahead: Clock) -> None:
    feed = Feed(world)
    export = feed.reserve(50)
    days_ahead.ahead = timedelta(hours=2)
    late = feed.stream(export, hashes(40))
    assert (late.status_code, late.json()["late"], late.json()["sent_persons"]) == (200, True, 40)
    entry = world.auditor.get("/v1/audit/entries", subject=export).json()["items"][-1]
    assert entry["action"] == "export.reported_late"
    assert entry["details"]["sent"] == entry["details"]["more"] == {"persons": 40, "sensitive_persons": 0}
    assert (feed.year(), feed.permitted()) == ((40, 0), (40, 0))
    feed.send({"person_hashes": digits(hashes(40))}, 40)
    assert (feed.year(), feed.permitted()) == ((40, 0), (40, 0))


def test_completions_that_race_on_one_year_lose_nobody(world: World) -> None:
    feed = Feed(world)
    exports = [feed.reserve(1000) for _ in range(8)]
    everybody = hashes(5000)

    def report(number: int) -> int:
        if number % 4 == 3:
            return feed.complete(exports[number], {"persons": 7}).status_code
        start = 16 * 500 * number
        return feed.stream(exports[number], everybody[start : start + 16 * 1000]).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(report, range(8))) == {200}
    sent = {place for number in range(8) if number % 4 != 3 for place in range(500 * number, 500 * number + 1000)}
    assert feed.year() == feed.permitted() == (len(sent) + 14, 0)


# Thresholds and years


def test_ten_thousand_sensitive_persons_are_decided_to_the_person(world: World) -> None:
    feed = Feed(world, persons=0, sensitive=9_999)
    other = world.dataset(feed.handler, "sensitive")
    world.approved(feed.handler, [other], feed.recipient, persons=0, sensitive_persons=5)
    assert feed.stream(feed.reserve(0, 9_999), hashes(9_999), {"kind": "sensitive_persons"}).status_code == 200
    (line,) = (line for line in feed.ledger()["kinds"]["sensitive_persons"]["thresholds"] if line["value"] == 10_000)
    assert (line["reached"], line["headroom"]) == (False, 0)
    refused = world.export(other, feed.recipient, 0, sensitive_persons=1)
    assert (refused.status_code, refused.json()["reason"]) == (403, "ledger_threshold")


@pytest.mark.parametrize(("persons", "reached"), [(99_999, False), (100_000, True)])
def test_a_hundred_thousand_persons_are_decided_to_the_person(world: World, persons: int, *, reached: bool) -> None:
    feed = Feed(world, persons=300_000)
    for _ in range(2):
        assert feed.stream(feed.reserve(persons), hashes(persons)).status_code == 200
    (line,) = (line for line in feed.ledger()["kinds"]["persons"]["thresholds"] if line["value"] == 100_000)
    assert line["reached"] is reached


def test_a_new_year_counts_anew_and_the_permit_goes_on(world: World, days_ahead: Clock) -> None:
    feed = Feed(world, persons=5000, valid_until=day(500))
    everybody = digits(hashes(300))
    feed.send({"person_hashes": everybody}, 300)
    this = feed.ledger()["year"]
    days_ahead.ahead = timedelta(days=366)
    assert feed.year() == (0, 0)
    feed.send({"person_hashes": everybody[100:]}, 300)
    assert feed.year() == (200, 0)
    assert feed.ledger(year=this)["reported"]["persons"] == 300
    assert feed.permitted() == (300, 0)


def test_an_exempt_feed_is_in_the_permit_and_not_in_the_year(world: World) -> None:
    feed = Feed(world, persons=5000, necessity="hr", legal_basis="hr")
    for _ in range(2):
        feed.send({"person_hashes": digits(hashes(40))}, 50)
    assert (feed.year(), feed.permitted()) == ((0, 0), (40, 0))


# The key, and what is never kept


def test_exporters_get_the_key_of_their_handler_and_nobody_else(world: World) -> None:
    handler = world.handler()
    path = f"/v1/handlers/{handler['key']}/person-key"
    own = world.person("exporter", handler=handler["id"], kind="system")
    told = own.get(path).json()
    assert (told["algorithm"], told["bytes"], len(bytes.fromhex(told["key"]))) == ("HMAC-SHA-256", 16, 32)
    assert world.exporter.get(path).json() == told
    other = world.handler()
    assert world.exporter.get(f"/v1/handlers/{other['id']}/person-key").json()["key"] != told["key"]
    for role in ("registrar", "requester", "auditor", "admin", "reviewer:privacy"):
        assert world.person(role, handler=handler["id"]).get(path).status_code == 403
    mixed = world.person("auditor", handler=handler["id"])
    world.admin.made("/v1/grants", {"principal": mixed.id, "role": "exporter", "handler": other["id"]})
    assert mixed.get(path).status_code == 403
    assert world.person("exporter", handler=other["id"], kind="system").get(path).status_code == 404
    assert world.exporter.get("/v1/handlers/nobody/person-key").status_code == 404


def test_the_key_is_made_once_however_many_ask_and_is_in_no_entry(world: World) -> None:
    handler = world.handler()
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda _: world.exporter.get(f"/v1/handlers/{handler['id']}/person-key").json(), range(8)))
    assert len({one["key"] for one in told}) == 1
    entries = world.auditor.get("/v1/audit/entries", handler=handler["id"]).json()["items"]
    made = [entry for entry in entries if entry["action"] == "handler.person_key_made"]
    assert len(made) == 1
    assert told[0]["key"] not in json.dumps(entries)


def asked(url: str, query: str) -> str:
    async def run() -> str:
        connection = await asyncpg.connect(url)
        try:
            return str(await connection.fetchval(query))
        finally:
            await connection.close()

    return asyncio.run(run())


def everything_stored(url: str, since: int) -> str:
    """Return every row of every table but the keys' that this transaction or a later one has written, as text."""
    written = f"select t::text as row from %I t where xmin::text::bigint >= {since}"  # noqa: S608
    tables = asked(
        url,
        f"select string_agg(format('{written}', relname), ' union all ') from pg_class "  # noqa: S608
        "where relnamespace = 'public'::regnamespace and relkind = 'r' and relname <> 'person_keys'",
    )
    return asked(url, f"select string_agg(row, chr(10)) from ({tables}) every")  # noqa: S608


def test_no_identifier_and_no_hash_is_stored_or_logged(
    world: World, database_url: str, capfd: pytest.CaptureFixture[str]
) -> None:
    since = int(asked(database_url, "select pg_current_xact_id()::text"))
    feed = Feed(world, persons=5000, sensitive=5000)
    key = world.exporter.get(f"/v1/handlers/{feed.handler['id']}/person-key").json()["key"]
    persons = [f"11010519491231{number:04}" for number in range(30)]
    made = [hmac.digest(bytes.fromhex(key), person.encode(), hashlib.sha256)[:16] for person in persons]
    hexes = [one.hex() for one in made]
    feed.send({"person_hashes": hexes, "sensitive_sketch": sketch(b"".join(made))}, 50, 50)
    assert feed.stream(feed.reserve(50, 50), b"".join(made), Idempotency_Key="planted").status_code == 200
    export = feed.reserve(1, 1)
    answers = [
        feed.complete(export, {"person_hashes": [*hexes, persons[0]]}),
        feed.complete(export, {"person_hashes": persons}),
        feed.complete(export, {"persons": persons[0]}),
        feed.complete(export, {"sketch": persons[0]}),
        feed.stream(export, b"".join(made) + persons[0].encode()),
        feed.stream(export, b"".join(made), {"kind": persons[0]}),
        feed.complete(export, {"person_hashes": hexes}),
    ]
    assert [answer.status_code for answer in answers] == [422] * 6 + [200], "more than was reserved counts"
    kept = (
        everything_stored(database_url, since)
        + "".join(answer.text for answer in answers)
        + "".join(capfd.readouterr())
    )
    assert feed.handler["id"] in kept
    assert export in kept
    for planted in (*persons, *hexes, *(one[:8].hex() for one in made), key):
        assert planted not in kept


# The documentation is true

CALLERS = Path(__file__).parents[2] / "docs" / "callers.md"
IDENTIFIERS = ["11010519491231002X", "SG:E1234567A", "crm:10042"]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", CALLERS.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_documented_ways_of_hashing_tell_the_same_persons(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(world)
    key = world.exporter.get(f"/v1/handlers/{feed.handler['id']}/person-key").json()["key"]
    monkeypatch.setenv("PERSON_KEY", key)
    made: dict[str, Any] = {}
    hashing, sketching = blocks("python")
    exec(hashing, made)  # noqa: S102 - our own documentation
    assert made["identifiers"] == IDENTIFIERS
    assert feed.stream(feed.reserve(10), made["body"]).json()["sent_persons"] == 3
    feed.send({"person_hashes": made["hashes"]}, 10)
    exec(sketching, made)  # noqa: S102
    feed.send(made["body"], 10)
    assert (feed.year(), feed.permitted()) == ((3, 0), (3, 0))
    (shell,) = (line for block in blocks("sh") for line in block.splitlines() if "openssl" in line)
    if shutil.which("openssl"):
        told = subprocess.run(
            ["bash", "-c", shell], env=os.environ | {"PERSON_KEY": key}, capture_output=True, text=True, check=True
        )
        assert told.stdout.strip() == made["hashes"][0]


# Counting again


def counted_again(url: str, **options: Any) -> list[Recount]:
    async def run() -> list[Recount]:
        database = Database(url, pool=1, handlers=EVERYWHERE)
        try:
            return [counted async for counted in rebuild(database, **options)]
        finally:
            await database.close()

    return asyncio.run(run())


def test_counting_again_gives_the_same(world: World, database_url: str) -> None:
    feed = Feed(world, persons=500_000, sensitive=9_000)
    for number in range(20):
        start = 16 * 100 * number
        feed.send({"person_hashes": digits(hashes(5000)[start : start + 16 * 300]), "sensitive_persons": 3}, 300, 3)
    feed.send({"persons": 12, "sensitive_sketch": sketch(hashes(77))}, 12, 77)
    assert feed.stream(feed.reserve(150_000, 1), hashes(150_000)).status_code == 200
    feed.reserve(5, 1)
    found = counted_again(database_url, handler=feed.handler["key"])
    assert [one.is_same for one in found] == [True, True]
    assert all(one.totals == {"persons": feed.year()[0], "sensitive_persons": 137} for one in found)
    assert feed.year() == feed.permitted()
    assert counted_again(database_url, handler=feed.handler["id"], year=2021) == []
    unused = Feed(world)
    assert counted_again(database_url, handler=unused.handler["id"]) == []


@pytest.mark.parametrize(
    ("plant", "differing"),
    [
        ("update ledger_years set persons = persons - 1 where handler = '{handler}'", [False, True]),
        ("update ledger_years set plain_persons = plain_persons + 1 where handler = '{handler}'", [False, True]),
        ("delete from sketches where owner = '{handler}/{year}'", [False, True]),
        ("delete from ledger_years where handler = '{handler}'", [False, True]),
        ("update permits set sent_persons = 0 where id = '{permit}'", [True, False]),
        ("update sketches set at_most = at_most + 1 where owner = '{permit}'", [True, False]),
    ],
)
def test_a_difference_is_found_and_repaired_with_an_entry(
    world: World, database_url: str, plant: str, differing: list[bool]
) -> None:
    feed = Feed(world)
    feed.send({"person_hashes": digits(hashes(200))}, 200)
    feed.send({"persons": 9}, 10)
    run_sql(database_url, plant.format(handler=feed.handler["id"], permit=feed.permit, year=feed.ledger()["year"]))
    handler = feed.handler["id"]
    assert [one.is_same for one in counted_again(database_url, handler=handler)] == differing
    assert [one.is_same for one in counted_again(database_url, handler=handler)] == differing, "nothing was written"
    counted_again(database_url, handler=handler, repair=True)
    assert [one.is_same for one in counted_again(database_url, handler=handler)] == [True, True]
    assert feed.year() == feed.permitted() == (209, 0)
    entries = world.auditor.get("/v1/audit/entries", handler=handler, limit=200).json()["items"]
    (entry,) = (entry for entry in entries if entry["action"] == "ledger.rebuilt")
    assert (entry["actor"], entry["details"]["counted"]["persons"]["total"]) == ("operator", 209)


def command(database_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    return outbound(database_url, "ledger", "rebuild", *words)


def test_the_command_prints_a_line_each_and_ends_with_one_when_something_differs(
    world: World, database_url: str
) -> None:
    feed = Feed(world)
    feed.send({"person_hashes": digits(hashes(20))}, 20)
    only = ("--handler", feed.handler["key"], "--year", str(feed.ledger()["year"]))
    told = command(database_url, *only)
    assert (told.returncode, len(told.stdout.splitlines())) == (0, 3), told.stderr
    assert "persons 20 (0 plain, 20 by hash)" in told.stdout
    run_sql(database_url, f"update permits set sent_persons = 3 where id = '{feed.permit}'")  # noqa: S608 - our own id
    told = command(database_url, *only)
    assert (told.returncode, "but 3 (0 plain, 20 by hash) stored" in told.stdout) == (1, True)
    assert command(database_url, *only, "--repair").returncode == 0
    assert command(database_url, *only).returncode == 0
    assert "no such handler" in command(database_url, "--handler", "nobody").stderr
