"""Two replicas, many clients, and somebody who takes a right away, or a quota that ends: nothing is allowed too late or too often."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest

from service.settings import Settings
from tests.conftest import Clock, Served
from tests.faults.racing import Clients, allows, connected, export, question, times
from tests.invariants import broken, require_exact
from tests.world import Json, Person, World, day


@pytest.fixture(scope="module")
def replicas(settings: Settings, database_url: str, clock: Clock, address: str) -> Iterator[list[str]]:
    """Two servers on one database."""
    with Served(settings, database_url, clock) as second:
        yield [address, second]


@dataclass
class Right:
    """Something that lets exports happen, and how it is taken away."""

    person: Person
    dataset: Json
    recipient: Json
    revoke: Callable[[], httpx.Response]
    subject: str
    """Whose entry tells of the revocation."""
    persons: int = 1


class Rights:
    """A fresh right of each kind, made from things that are made once."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handler = world.handler()
        self.recipient = world.recipient()
        self.open = world.dataset(self.handler)

    def _permitted(self) -> tuple[Json, Json]:
        dataset = self.world.dataset(self.handler, "personal")
        return dataset, self.world.approved(self.handler, [dataset], self.recipient, persons=5000)

    def permit(self) -> Right:
        dataset, transfer = self._permitted()
        path = f"/v1/permits/{transfer['permit']}/revoke"
        revoke = lambda: self.world.reviewers["legal"].post(path, {"reason": "Race"})  # noqa: E731 - a closure, told by its name
        return Right(self.world.exporter, dataset, self.recipient, revoke, transfer["permit"])

    def suspension(self) -> Right:
        dataset, transfer = self._permitted()
        path = f"/v1/permits/{transfer['permit']}/suspend"
        revoke = lambda: self.world.reviewers["privacy"].post(path, {"reason": "Race"})  # noqa: E731
        return Right(self.world.exporter, dataset, self.recipient, revoke, transfer["permit"])

    def evidence(self) -> Right:
        dataset, transfer = self._permitted()
        path = f"/v1/transfers/{transfer['id']}/evidence/{transfer['evidence'][0]['id']}/withdraw"
        revoke = lambda: self.world.requester.post(path, {"reason": "Race"})  # noqa: E731
        return Right(self.world.exporter, dataset, self.recipient, revoke, transfer["id"])

    def grading(self) -> Right:
        dataset, _ = self._permitted()
        raised = {"tags": ["personal", "sensitive"], "reason": "Race", "basis": "Catalogue"}
        path = f"/v1/datasets/{dataset['id']}/gradings"
        revoke = lambda: self.world.registrar.post(path, raised)  # noqa: E731
        return Right(self.world.exporter, dataset, self.recipient, revoke, dataset["id"])

    def key(self) -> Right:
        made = self.world.admin.made("/v1/api-keys", {"principal": self.world.exporter.id})
        person = Person(self.world.http, made["secret"], self.world.exporter.id, self.world.exporter.name)
        # The entries of one exporter are told apart by the dataset.
        dataset = self.world.dataset(self.handler)
        revoke = lambda: self.world.admin.post(f"/v1/api-keys/{made['id']}/revoke")  # noqa: E731
        return Right(person, dataset, self.recipient, revoke, made["id"], persons=0)

    def grant(self) -> Right:
        person = self.world.person(kind="system")
        grant = self.world.admin.made("/v1/grants", {"principal": person.id, "role": "exporter"})["id"]
        dataset = self.world.dataset(self.handler)
        revoke = lambda: self.world.admin.post(f"/v1/grants/{grant}/withdraw")  # noqa: E731
        return Right(person, dataset, self.recipient, revoke, grant, persons=0)

    def principal(self) -> Right:
        person = self.world.person("exporter", kind="system")
        dataset = self.world.dataset(self.handler)
        revoke = lambda: self.world.admin.post(f"/v1/principals/{person.id}/disable")  # noqa: E731
        return Right(person, dataset, self.recipient, revoke, person.id, persons=0)


ALLOWED_AFTER = """
  select count(*) from entries
  where handler = $1 and body::jsonb #>> '{details,dataset}' = $2 and body::jsonb #>> '{details,decision}' = 'true'
    and seq > (select max(seq) from entries where subject = $3)
"""
ALLOWED = """
  select count(*) from entries
  where handler = $1 and body::jsonb #>> '{details,dataset}' = $2 and body::jsonb #>> '{details,decision}' = 'true'
"""
KINDS = ["permit", "suspension", "evidence", "grading", "key", "grant", "principal"]
ASKERS = 8


async def race(replicas: list[str], right: Right, before: int) -> list[tuple[float, float, bool]]:
    """Return of each ask when it was sent, when the revocation had returned, and whether it was allowed.

    The revoker comes once `before` asks were answered; every client asks twice more after that.
    """
    asks: list[tuple[float, bool]] = []
    revoked: list[float] = []
    begun = asyncio.Event()

    async with Clients(replicas, right.person.secret) as clients:

        async def keep_asking(number: int) -> None:
            for turn in itertools.count(number):
                is_late, sent = bool(revoked), time.perf_counter()
                if turn % 2:
                    answer = await clients.post("/v1/exports", export(right.dataset, right.recipient, right.persons))
                else:
                    body = question(right.person, right.dataset, right.recipient, persons=right.persons)
                    answer = await clients.ask(body)
                asks.append((sent, allows(answer)))
                if len(asks) >= before:
                    begun.set()
                if is_late and turn % 2:
                    break

        async def revoke() -> None:
            await begun.wait()
            answer = await asyncio.to_thread(right.revoke)
            revoked.append(time.perf_counter())
            assert answer.status_code in {200, 201}, answer.text

        await asyncio.gather(revoke(), *(keep_asking(number) for number in range(ASKERS)))
    return [(sent, revoked[0], is_allowed) for sent, is_allowed in asks]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_allowed_after_a_revocation_returned(
    world: World, replicas: list[str], database_url: str, kind: str
) -> None:
    async def run() -> None:
        rights, allowed, denied = Rights(world), 0, 0
        for number in range(times(10, 450)):
            right: Right = getattr(rights, kind)()
            asks = await race(replicas, right, before=number % 24)
            late = [is_allowed for sent, revoked, is_allowed in asks if sent > revoked]
            assert len(late) >= ASKERS
            assert not any(late), "a question that was sent after the revocation had returned was allowed"
            handler, dataset = rights.handler["id"], right.dataset["id"]
            async with connected(database_url) as connection:
                assert await connection.fetchval(ALLOWED_AFTER, handler, dataset, right.subject) == 0
                # What was answered is what is on record: no more, no less.
                told = sum(is_allowed for _, _, is_allowed in asks)
                assert await connection.fetchval(ALLOWED, handler, dataset) == told
            allowed, denied = allowed + told, denied + len(asks) - told
        assert min(allowed, denied) > times(10, 450)

    asyncio.run(run())
    require_exact(database_url)


def test_the_last_of_a_quota_is_sold_once_whoever_races_for_it(
    world: World, replicas: list[str], database_url: str
) -> None:
    handler, recipient = world.handler(), world.recipient()
    dataset = world.dataset(handler, "personal")
    permit = world.approved(handler, [dataset], recipient, persons=50)["permit"]

    async def run() -> None:
        sold = 0
        async with Clients(replicas, world.exporter.secret) as clients, connected(database_url) as connection:
            for number in range(times(12, 200)):
                each = 1 + number % 4
                left = 50 - sold
                wanted = [clients.post("/v1/exports", export(dataset, recipient, each)) for _ in range(32)]
                answers = await asyncio.gather(*wanted)
                made = [answer.json()["id"] for answer in answers if answer.status_code == 201]
                assert len(made) == min(32, left // each)
                assert {answer.status_code for answer in answers} <= {201, 403}
                rows = "select coalesce(sum(persons), 0) from exports where permit = $1 and status = 'reserved'"
                assert await connection.fetchval(rows, permit) == len(made) * each
                shown = await asyncio.to_thread(world.auditor.get, f"/v1/permits/{permit}")
                assert shown.json()["reserved"]["persons"] == len(made) * each
                # All is given back at once: one of them went, some as reports of nobody, the others by cancelling.
                nobody = {"persons": 0, "sensitive_persons": 0}
                ended = await asyncio.gather(
                    *[clients.post(f"/v1/exports/{ident}/cancel") for ident in made[::2]],
                    *[clients.post(f"/v1/exports/{ident}/complete", nobody) for ident in made[1::2]],
                )
                assert [answer.status_code for answer in ended] == [200] * len(made)
                assert await broken(connection) == []

    asyncio.run(run())


def test_reserving_and_giving_back_at_once_stays_exact(world: World, replicas: list[str], database_url: str) -> None:
    handler, recipient = world.handler(), world.recipient()
    dataset = world.dataset(handler, "personal")
    permit = world.approved(handler, [dataset], recipient, persons=60)["permit"]

    async def come_and_go(clients: Clients, number: int) -> int:
        """Reserve, and report less, cancel or keep; return how many went."""
        sent = 0
        for turn in range(number, number + times(12, 200)):
            answer = await clients.post("/v1/exports", export(dataset, recipient, 1 + turn % 5))
            if answer.status_code != 201:
                continue
            ident, persons = answer.json()["id"], answer.json()["persons"]
            if turn % 7 == 0:
                report = {"persons": min(persons, 1), "sensitive_persons": 0}
                assert (await clients.post(f"/v1/exports/{ident}/complete", report)).status_code == 200
                sent += 1
            else:
                assert (await clients.post(f"/v1/exports/{ident}/cancel")).status_code == 200
        return sent

    async def run() -> None:
        async with Clients(replicas, world.exporter.secret) as clients, connected(database_url) as connection:
            comers = [asyncio.create_task(come_and_go(clients, number)) for number in range(16)]
            over = "select count(*) from permits p where id = $1 and sent_persons + (select coalesce(sum(persons), 0) \
                    from held_by_permits h where h.permit = p.id and expires_at > now()) > persons"
            while not all(comer.done() for comer in comers):
                assert await connection.fetchval(over, permit) == 0
                assert await broken(connection) == []
                await asyncio.sleep(0)
            sent = sum([await comer for comer in comers])
        shown = world.auditor.get(f"/v1/permits/{permit}").json()
        assert 0 < sent <= 60
        assert (shown["sent"]["persons"], shown["reserved"]["persons"]) == (sent, 0)

    asyncio.run(run())


LIMIT = 99_999
"""CBDF 7, 8: from 100,000 persons in a year on a contract or a certification is needed."""


def test_the_threshold_holds_to_the_person_when_many_come_at_once(
    world: World, replicas: list[str], database_url: str
) -> None:
    async def run() -> None:
        for number in range(times(3, 40)):
            handler, recipient = world.handler(), world.recipient()
            datasets = [world.dataset(handler, "personal") for _ in range(2)]
            for dataset in datasets:
                world.approved(handler, [dataset], recipient, persons=LIMIT)
            first = LIMIT - 10 + number % 3
            async with Clients(replicas, world.exporter.secret) as clients:
                assert (await clients.post("/v1/exports", export(datasets[0], recipient, first))).status_code == 201
                wanted = [clients.post("/v1/exports", export(datasets[n % 2], recipient, 1)) for n in range(24)]
                answers = await asyncio.gather(*wanted)
            assert [answer.status_code for answer in answers].count(201) == LIMIT - first
            reasons = {answer.json()["reason"] for answer in answers if answer.status_code == 403}
            assert "ledger_threshold" in reasons
            ledger = world.auditor.get(f"/v1/handlers/{handler['id']}/ledger").json()
            assert (ledger["persons"], ledger["headroom"]["persons"]) == (LIMIT, 0)

    asyncio.run(run())
    require_exact(database_url)


def test_a_year_ends_for_everybody_at_once_and_each_is_counted_by_itself(
    world: World, replicas: list[str], database_url: str, days_ahead: Clock
) -> None:
    async def run(turn: datetime) -> tuple[int, int]:
        handler, recipient = world.handler(), world.recipient()
        datasets = [world.dataset(handler, "personal") for _ in range(3)]
        for dataset in datasets:
            world.approved(handler, [dataset], recipient, persons=LIMIT, valid_until=day(300))
        async with Clients(replicas, world.exporter.secret) as clients:
            days_ahead.ahead = turn - datetime.now(UTC) - timedelta(minutes=2)
            # Under a permit of its own: what ends for the others is the year alone.
            body = export(datasets[2], recipient, LIMIT - 5)
            assert (await clients.post("/v1/exports", body)).status_code == 201
            made: list[Json] = []
            is_full = asyncio.Event()

            async def keep_exporting(number: int) -> None:
                """Export until the new year is one's own, however long the machine takes."""
                latest = ""
                while latest < turn.astimezone(UTC).isoformat():
                    answer = await clients.post("/v1/exports", export(datasets[number % 2], recipient, 1))
                    if answer.status_code == 201:
                        made.append(answer.json())
                        latest = made[-1]["reserved_at"]
                    else:
                        is_full.set()

            async def turn_the_year() -> None:
                await is_full.wait()
                days_ahead.ahead = turn - datetime.now(UTC) - timedelta(milliseconds=100)

            async with asyncio.timeout(300):  # a year that never turns must not hold the suite up
                await asyncio.gather(turn_the_year(), *(keep_exporting(number) for number in range(8)))
        last = [one for one in made if datetime.fromisoformat(one["reserved_at"]) < turn]
        assert len(last) == 5, "the last of the old year were taken, and none that belongs to the new one"
        async with connected(database_url) as connection:
            held = await connection.fetch(
                "select year, sum(persons)::int as persons from held_in_years where handler = $1 group by 1 order by 1",
                handler["id"],
            )
            assert await broken(connection) == []
        assert [row["persons"] for row in held] == [LIMIT, len(made) - 5]
        days_ahead.ahead = timedelta()
        return len(last), len(made) - len(last)

    zone = ZoneInfo("Asia/Shanghai")
    turn = datetime(datetime.now(zone).year + 1, 1, 1, tzinfo=zone)
    for _ in range(times(2, 30)):
        old, new = asyncio.run(run(turn))
        assert (old, new) == (5, 8), "of the new year one for each of those who asked"


def test_a_reservation_is_given_back_at_the_moment_that_it_names(
    world: World, replicas: list[str], days_ahead: Clock
) -> None:
    handler, recipient = world.handler(), world.recipient()
    dataset = world.dataset(handler, "personal")
    world.approved(handler, [dataset], recipient, persons=10)
    first = world.export(dataset, recipient, 10).json()
    ends = datetime.fromisoformat(first["expires_at"])
    days_ahead.ahead = ends - datetime.now(UTC) - timedelta(seconds=5)
    assert world.export(dataset, recipient, 1).json()["reason"] == "quota_exceeded"
    days_ahead.ahead = ends - datetime.now(UTC)

    async def run() -> list[int]:
        async with Clients(replicas, world.exporter.secret) as clients:
            wanted = [clients.post("/v1/exports", export(dataset, recipient, 1)) for _ in range(16)]
            return sorted(answer.status_code for answer in await asyncio.gather(*wanted))

    assert asyncio.run(run()) == [201] * 10 + [403] * 6
    late = world.exporter.post(f"/v1/exports/{first['id']}/complete", {"persons": 10, "sensitive_persons": 0})
    assert (late.status_code, late.json()["late"]) == (200, True)
    permit = world.auditor.get(f"/v1/permits/{first['permit']}").json()
    assert (permit["sent"]["persons"], permit["status"]) == (10, "exhausted"), "not above what it allows yet"
