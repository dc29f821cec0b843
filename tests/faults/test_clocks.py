"""Server processes whose clocks differ, or are set forth and back: PostgreSQL's clock counts, and no quota is given away twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import httpx
import pytest

from service.settings import Settings
from tests.attacks.companies import Company
from tests.conftest import Clock, Served
from tests.faults.racing import connected
from tests.waiting import until
from tests.world import Json, World

SKEWS = (5, 70, 3700)


class Skewed(Clock):
    """The clock of a machine that is wrong: by so many seconds, or by what it is set to."""

    def __init__(self, right: Clock) -> None:
        self._right = right
        self.skew = timedelta()

    def __call__(self) -> datetime:
        return self._right() + self.skew

    @property
    def ahead(self) -> timedelta:  # type: ignore[override]
        return self._right.ahead


class Fleet:
    """Some server processes on one database, each with a clock of its own."""

    def __init__(self, clients: list[httpx.Client], clocks: list[Skewed]) -> None:
        self.clients, self.clocks = clients, clocks


@pytest.fixture(scope="module")
def fleet(world: World, settings: Settings, database_url: str, clock: Clock) -> Iterator[Fleet]:
    clocks = [Skewed(clock) for _ in range(2)]
    with Served(settings, database_url, clocks[0]) as one, Served(settings, database_url, clocks[1]) as other:
        head = {"Authorization": f"Bearer {world.exporter.secret}"}
        clients = [httpx.Client(base_url=address, headers=head, timeout=60) for address in (one, other)]
        yield Fleet(clients, clocks)
        for client in clients:
            client.close()


def wanted(company: Company, persons: int) -> Json:
    about = {"dataset": company.dataset["id"], "recipient": company.recipient["id"], "purpose": "analytics"}
    return {**about, "persons": persons, "sensitive_persons": 0}


def taken(company: Company) -> int:
    """Return what was sent under the permit, and what is alive in reservations."""
    shown = company.world.auditor.get(f"/v1/permits/{company.permit}").json()
    return int(shown["sent"]["persons"] + shown["reserved"]["persons"])


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("sign", [1, -1])
def test_processes_whose_clocks_differ_sell_a_quota_once(
    world: World, fleet: Fleet, days_ahead: Clock, skew: int, sign: int
) -> None:
    """By the clock that is wrong the reservation has lapsed, or will last for long; by PostgreSQL's it ends when it says."""
    company = Company(world, persons=400)
    right, wrong = fleet.clients
    fleet.clocks[0].skew, fleet.clocks[1].skew = timedelta(), sign * timedelta(seconds=skew)
    first = right.post("/v1/exports", json=wanted(company, 400)).json()
    ends = datetime.fromisoformat(first["expires_at"])
    days_ahead.ahead += ends - days_ahead() - timedelta(seconds=min(skew, 3600) / 2)
    again = wrong.post("/v1/exports", json=wanted(company, 400))
    assert (again.status_code, again.json()["reason"]) == (403, "quota_exceeded")
    assert taken(company) == 400
    done = wrong.post(f"/v1/exports/{first['id']}/complete", json={"persons": 400})
    assert (done.status_code, done.json()["late"]) == (200, False)
    assert taken(company) == 400


def test_a_clock_that_is_set_forth_and_back_gives_nothing_away(world: World, fleet: Fleet) -> None:
    company = Company(world, persons=400)
    client, clock = fleet.clients[0], fleet.clocks[0]
    made: list[Json] = []
    for skew in (0, 3700, 0, -3700, 0):
        clock.skew = timedelta(seconds=skew)
        answer = client.post("/v1/exports", json=wanted(company, 400))
        made += [answer.json()] if answer.status_code == 201 else []
    assert [one["status"] for one in made] == ["reserved"]
    clock.skew = timedelta(seconds=3700)
    done = client.post(f"/v1/exports/{made[0]['id']}/complete", json={"persons": 400}).json()
    clock.skew = timedelta()
    assert (done["late"], taken(company)) == (False, 400)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_the_clocks_do_no_more_is_granted_than_the_quota(
    world: World, fleet: Fleet, days_ahead: Clock, seed: int
) -> None:
    """Reservations, reports in time and cancellations at any process, several at once, while their clocks jump and time goes on."""
    chance = random.Random(seed)  # noqa: S311 - repeatable, not secret
    company = Company(world, persons=400)
    alive: dict[str, Json] = {}

    def reserve() -> None:
        answer = chance.choice(fleet.clients).post("/v1/exports", json=wanted(company, chance.choice([40, 100, 200])))
        assert answer.status_code in {201, 403}, answer.text
        if answer.status_code == 201:
            alive[answer.json()["id"]] = answer.json()

    def end(export: str) -> None:
        held = alive.pop(export)
        if datetime.fromisoformat(held["expires_at"]) <= days_ahead() + timedelta(seconds=60):
            return  # nobody reports what has lapsed, or is about to: that counts, whoever has got its persons since
        verb, body = chance.choice([("complete", {"persons": held["persons"] // 4}), ("cancel", None)])
        answer = chance.choice(fleet.clients).post(f"/v1/exports/{export}/{verb}", json=body)
        assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor(4) as pool:
        for _ in range(12):
            for clock in fleet.clocks:
                clock.skew = chance.choice([-1, 0, 1]) * timedelta(seconds=chance.choice(SKEWS))
            ending = chance.sample(sorted(alive), min(2, len(alive)))
            acts = [pool.submit(reserve) for _ in range(3)] + [pool.submit(end, export) for export in ending]
            for act in acts:
                act.result()
            assert taken(company) <= 400
            days_ahead.ahead += timedelta(seconds=chance.choice([0, 0, 600, 1800]))
            assert taken(company) <= 400
    shown = world.auditor.get(f"/v1/permits/{company.permit}").json()
    assert shown["status"] in {"active", "exhausted"}, "nothing went above it, so nothing stopped it"


def test_a_report_that_waits_past_the_lease_is_late(world: World, days_ahead: Clock, database_url: str) -> None:
    """It came in time, and waited for a row until its persons could be given to another."""
    company = Company(world, persons=400)
    export = company.export(400).json()
    held_up = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"

    async def race() -> httpx.Response:
        async with connected(database_url) as holder, connected(database_url) as watcher:
            async with holder.transaction():
                await holder.execute("select from ledger_years where handler = $1 for update", company.handler["id"])
                path = f"/v1/exports/{export['id']}/complete"
                report = asyncio.create_task(asyncio.to_thread(world.exporter.post, path, {"persons": 400}))
                await until(lambda: watcher.fetchval(f"select ({held_up}) > 0"))
                days_ahead.ahead += timedelta(hours=2)
            return await report

    late = asyncio.run(race())
    assert (late.status_code, late.json()["late"]) == (200, True)
