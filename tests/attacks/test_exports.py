"""Whoever sends more, or elsewhere, or longer, than was allowed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest

from service.settings import Settings
from tests.attacks.companies import Company
from tests.conftest import Clock, Served
from tests.faults.racing import connected
from tests.waiting import until
from tests.world import Person, World, day


@pytest.fixture(scope="session")
def other_replica(settings: Settings, database_url: str, clock: Clock, address: str) -> str:  # type: ignore[misc]
    """Another server process on the same database, which was told nothing."""
    assert address
    with Served(settings, database_url, clock) as second:
        yield second


def test_the_last_of_a_quota_is_sold_once(world: World) -> None:
    company = Company(world, persons=10)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: company.export(4).status_code, range(8)))
    assert sorted(answers) == [201, 201, *([403] * 6)]
    assert company.export(3).json()["reason"] == "quota_exceeded"


def test_a_key_sent_again_takes_nothing_of_the_quota(world: World) -> None:
    company = Company(world, persons=10)
    body = {
        "dataset": company.dataset["id"],
        "recipient": company.recipient["id"],
        "purpose": "analytics",
        "persons": 6,
    }
    answers = [world.exporter.post("/v1/exports", body, Idempotency_Key="nightly") for _ in range(3)]
    assert {answer.json()["id"] for answer in answers} == {answers[0].json()["id"]}
    more = world.exporter.post("/v1/exports", body | {"persons": 1}, Idempotency_Key="nightly")
    assert more.status_code == 422
    assert company.export(5).json()["reason"] == "quota_exceeded"


def test_a_refusal_is_not_turned_by_sending_its_key_again_later(world: World) -> None:
    """Not even where the same would be allowed by now: whoever wants it asks anew."""
    company = Company(world, persons=10)
    body = {
        "dataset": company.dataset["id"],
        "recipient": company.recipient["id"],
        "purpose": "analytics",
        "persons": 6,
    }
    held = company.export(6).json()
    first = world.exporter.post("/v1/exports", body, Idempotency_Key="too-many")
    world.exporter.made(f"/v1/exports/{held['id']}/cancel", None)
    again = world.exporter.post("/v1/exports", body, Idempotency_Key="too-many")
    assert (first.status_code, again.status_code) == (403, 403)
    assert again.json()["evaluation"] == first.json()["evaluation"]
    assert world.exporter.post("/v1/exports", body).status_code == 201


def test_what_was_revoked_at_one_replica_is_denied_at_the_next(world: World, other_replica: str) -> None:
    company = Company(world)
    body = {
        "dataset": company.dataset["id"],
        "recipient": company.recipient["id"],
        "purpose": "analytics",
        "persons": 1,
    }
    head = {"Authorization": f"Bearer {world.exporter.secret}"}
    with httpx.Client(base_url=other_replica, timeout=30, headers=head) as other:
        assert other.post("/v1/exports", json=body).status_code == 201
        world.reviewers["legal"].made(f"/v1/permits/{company.permit}/revoke", {"reason": "Now"})
        assert other.post("/v1/exports", json=body).json()["reason"] == "permit_revoked"


def test_a_key_that_was_revoked_at_one_replica_is_dead_at_the_next(world: World, other_replica: str) -> None:
    system = world.person("exporter", kind="system")
    ident = world.admin.get("/v1/api-keys", principal=system.id).json()["items"][0]["id"]
    head = {"Authorization": f"Bearer {system.secret}"}
    question = {
        "subject": {"type": "system", "id": "a"},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": "a"},
    }
    with httpx.Client(base_url=other_replica, timeout=30, headers=head) as other:
        assert other.post("/access/v1/evaluation", json=question).status_code == 200
        world.admin.made(f"/v1/api-keys/{ident}/revoke", None)
        assert other.post("/access/v1/evaluation", json=question).status_code == 401
        assert other.get("/v1/me").status_code == 401


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("persons", -1),
        ("persons", 10**30),
        ("persons", 1.5),
        ("persons", "1"),
        ("persons", True),
        ("persons", [1]),
        ("sensitive_persons", -5),
        ("system", "another"),
        ("subject", {"type": "system", "id": "another"}),
        ("handler", "hd_elsewhere"),
        ("status", "completed"),
        ("expires_at", "2099-01-01T00:00:00Z"),
    ],
)
def test_a_number_that_is_none_or_a_member_that_is_not_asked_for_reserves_nothing(
    world: World, victim: Company, member: str, value: object
) -> None:
    """Negative persons would give quota back; the system is whoever holds the key, not whoever the body names."""
    before = world.auditor.get(f"/v1/permits/{victim.permit}").json()["reserved"]
    refused = victim.export(**{"persons": 1, member: value})
    assert refused.status_code in {400, 422}, refused.text
    assert world.auditor.get(f"/v1/permits/{victim.permit}").json()["reserved"] == before


def test_a_system_exports_under_no_other_systems_permit(world: World) -> None:
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    world.approved(handler, [dataset], recipient, persons=100, systems=["warehouse"])
    assert world.export(dataset, recipient, 1).json()["reason"] == "system_not_covered"


def test_personal_data_does_not_go_without_its_persons(world: World, victim: Company) -> None:
    body = {"dataset": victim.dataset["id"], "recipient": victim.recipient["id"], "purpose": "analytics"}
    assert world.exporter.post("/v1/exports", body).status_code == 422


def test_more_than_was_reserved_is_not_reported_away(world: World) -> None:
    """Reserving few and sending many goes round no quota: what went counts, and the permit is stopped."""
    company = Company(world, persons=10)
    export = company.export(5).json()["id"]
    path = f"/v1/exports/{export}/complete"
    for persons in (-1, 10**20):
        assert world.exporter.post(path, {"persons": persons, "sensitive_persons": 0}).status_code == 422
    assert world.exporter.post(path, {"persons": 11, "sensitive_persons": 0}).status_code == 200
    assert world.exporter.post(path, {"persons": 0, "sensitive_persons": 0}).status_code == 409
    permit = world.auditor.get(f"/v1/permits/{company.permit}").json()
    assert (permit["sent"]["persons"], permit["status"]) == (11, "suspended")
    assert company.export(1).json()["reason"] == "permit_suspended"


def test_an_export_that_was_reported_is_not_cancelled(world: World) -> None:
    """Cancelling after use would give its persons back."""
    company = Company(world, persons=10)
    export = company.export(10).json()["id"]
    world.exporter.made(f"/v1/exports/{export}/complete", {"persons": 10, "sensitive_persons": 0})
    assert world.exporter.post(f"/v1/exports/{export}/cancel").status_code == 409
    assert company.export(1).json()["reason"] == "quota_exceeded"


def test_many_small_exports_do_not_go_round_a_threshold(world: World) -> None:
    """Splitting: the gate counts what the handler has sent this year, whatever each export says of itself."""
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    world.approved(handler, [dataset], recipient, persons=99_000)
    other = world.dataset(handler, "personal")
    world.approved(handler, [other], world.recipient(), persons=99_000)
    assert world.export(dataset, recipient, 99_000).status_code == 201
    second = world.auditor.get("/v1/permits", dataset=other["id"]).json()["items"][0]
    where = {"id": second["recipient"]}
    assert world.export(other, where, 999).status_code == 201
    assert world.export(other, where, 1).json()["reason"] == "ledger_threshold"


def test_split_requests_are_found_together(world: World) -> None:
    """Structuring: each stays below the line, and together they reach it."""
    handler, recipient = world.handler(), world.recipient()
    for _ in range(2):
        world.submitted(handler, [world.dataset(handler, "personal")], recipient, persons=60_000)
    found = world.auditor.get("/v1/findings", handler=handler["id"]).json()["items"]
    assert len(found) == 2


def test_a_purpose_a_recipient_or_a_field_that_was_not_approved_goes_nowhere(world: World, victim: Company) -> None:
    assert victim.export(1, purpose="advertising").json()["reason"] == "purpose_not_covered"
    assert victim.export(1, purpose="Analytics").json()["reason"] == "purpose_not_covered"
    assert victim.export(1, recipient=world.recipient()["id"]).json()["reason"] == "no_permit"
    assert victim.export(1, fields=["id_card"]).json()["reason"] == "fields_not_covered"


def test_another_permit_is_not_used_by_naming_it(world: World, victim: Company) -> None:
    other = Company(world)
    refused = other.export(1, permit=victim.permit)
    assert refused.status_code == 403
    assert refused.json()["reason"] == "no_permit"
    assert other.export(1).status_code == 201


def test_a_permit_ends_by_the_services_clock_and_not_by_the_callers(world: World, days_ahead: Clock) -> None:
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    world.approved(handler, [dataset], recipient, persons=10, valid_until=day(2))
    days_ahead.ahead = timedelta(days=3)
    for more in ({}, {"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}):
        body = {"dataset": dataset["id"], "recipient": recipient["id"], "purpose": "analytics", "persons": 1}
        assert world.exporter.post("/v1/exports", body, **more).json()["reason"] == "permit_expired"


def _permit(world: World, company: Company, _: Person) -> httpx.Response:
    return world.reviewers["legal"].post(f"/v1/permits/{company.permit}/revoke", {"reason": "Now"})


def _key(world: World, _: Company, system: Person) -> httpx.Response:
    key = world.admin.get("/v1/api-keys", principal=system.id).json()["items"][0]["id"]
    return world.admin.post(f"/v1/api-keys/{key}/revoke")


def _grant(world: World, _: Company, system: Person) -> httpx.Response:
    grant = world.admin.get("/v1/grants", principal=system.id).json()["items"][0]["id"]
    return world.admin.post(f"/v1/grants/{grant}/withdraw")


def _principal(world: World, _: Company, system: Person) -> httpx.Response:
    return world.admin.post(f"/v1/principals/{system.id}/disable")


def _login(world: World, _: Company, system: Person) -> httpx.Response:
    told = {"issuer": "https://issuer.test", "subject": system.name}
    login = world.admin.made(f"/v1/principals/{system.id}/logins", told)["id"]
    return world.admin.post(f"/v1/principals/{system.id}/logins/{login}/end")


HELD_UP = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"


@pytest.mark.parametrize("take", [_permit, _key, _grant, _principal, _login])
def test_whatever_takes_a_right_away_waits_for_the_decisions_that_are_under_way(
    world: World, database_url: str, take: Callable[[World, Company, Person], httpx.Response]
) -> None:
    """A decision that has read what it decides by is held up before its commit: nobody is told meanwhile that the right is gone."""
    company = Company(world)
    system = company.insider("exporter", kind="system")
    wanted = {"dataset": company.dataset["id"], "recipient": company.recipient["id"], "purpose": "analytics"}

    async def race() -> tuple[httpx.Response, httpx.Response]:
        async with connected(database_url) as holder, connected(database_url) as watcher:
            async with holder.transaction():
                await holder.execute("lock table exports in share mode")
                export = asyncio.create_task(asyncio.to_thread(system.post, "/v1/exports", wanted | {"persons": 1}))
                await until(lambda: watcher.fetchval(f"select ({HELD_UP}) > 0"))
                taken = asyncio.create_task(asyncio.to_thread(take, world, company, system))

                async def is_held_up() -> bool:
                    return taken.done() or await watcher.fetchval(f"select ({HELD_UP}) > 1")

                await until(is_held_up)
                assert not taken.done(), "the right was gone before a decision that rests on it was committed"
            return await export, await taken

    export, taken = asyncio.run(race())
    assert (export.status_code, taken.status_code) == (201, 200)
    if take is not _login:
        assert system.post("/v1/exports", wanted | {"persons": 1}).status_code in {401, 403}
