"""Acts that two people race for, run at once on PostgreSQL, several times over: one of them wins, and what is left makes sense.

In every other round the calls are sent freely at the same moment; in the others PostgreSQL itself is the starter: a row, a table or
the gate that they all come to is held until every one of them waits there, each in its own transaction, and then let go.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import asyncpg
import httpx
import pytest

from service.database.locks import FINDINGS_LOCK, GATE_LOCK
from tests.faults.racing import times
from tests.waiting import until
from tests.world import Json, World, day

ROUNDS = range(times(4, 40))
LONGEST_START = 1.0
"""Seconds after which the starter lets go, whoever has not come (a call that is refused on the way never does)."""

Call = Callable[[], httpx.Response]
THE_GATE = f"select pg_advisory_xact_lock({GATE_LOCK})"


class Starter:
    """Lets calls run at once."""

    def __init__(self, url: str, number: int) -> None:
        self._url = url
        self._is_held = number % 2 == 1

    def __call__(self, held: str, *calls: Call, waiting: int | None = None) -> list[httpx.Response]:
        """Return the answers of calls that begin together.

        Args:
            held: the statement that takes what all of them need; used in every other round.
            calls: what is sent, each from a thread of its own.
            waiting: how many of them come to wait there; all of them, if None.
        """
        barrier = threading.Barrier(len(calls))

        def run(call: Call) -> httpx.Response:
            barrier.wait()
            return call()

        async def start() -> list[httpx.Response]:
            loop = asyncio.get_running_loop()
            with ThreadPoolExecutor(len(calls)) as pool:
                if not self._is_held:
                    return list(await asyncio.gather(*(loop.run_in_executor(pool, run, call) for call in calls)))
                holder, watcher = await asyncpg.connect(self._url), await asyncpg.connect(self._url)
                async with holder.transaction():
                    await holder.execute(held)
                    answers = [loop.run_in_executor(pool, run, call) for call in calls]
                    await _all_wait(watcher, len(calls) if waiting is None else waiting)
                await holder.close()
                await watcher.close()
                return list(await asyncio.gather(*answers))

        return asyncio.run(start())


async def _all_wait(watcher: asyncpg.Connection, calls: int) -> None:
    """Wait until so many transactions of this database wait for a lock, or until `LONGEST_START`: a refused call waits for none."""
    query = """
        select count(*) >= $1 from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'
    """
    with suppress(TimeoutError):
        await until(lambda: watcher.fetchval(query, calls), LONGEST_START, pause=0.005)


def the_row(table: str, ident: str) -> str:
    return f"select from {table} where id = '{ident}' for update"


@pytest.fixture(params=ROUNDS)
def at_once(request: pytest.FixtureRequest, database_url: str) -> Starter:
    return Starter(database_url, request.param)


class Case:
    def __init__(self, world: World) -> None:
        self.world = world
        self.handler = world.handler()
        self.dataset = world.dataset(self.handler, "personal")
        self.recipient = world.recipient()

    def ready(self, **more: Any) -> Json:
        """Return a request of which only the last approval is missing."""
        shown = self.world.submitted(self.handler, [self.dataset], self.recipient, **{"persons": 10} | more)
        self.world.add_evidence(shown)
        return shown

    def permits(self) -> list[Json]:
        items: list[Json] = self.world.auditor.get("/v1/permits", handler=self.handler["id"]).json()["items"]
        return items


@pytest.fixture
def case(world: World) -> Case:
    return Case(world)


def at(shown: Json, *rest: str) -> str:
    return "/".join(["/v1/transfers", shown["id"], *rest])


def read(world: World, shown: Json) -> Json:
    found: Json = world.auditor.get(at(shown)).json()
    return found


def statuses(answers: list[httpx.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


def test_two_last_approvals_issue_one_permit(world: World, case: Case, at_once: Starter) -> None:
    shown = case.ready()
    second = world.person("reviewer:privacy")
    body = {"stage": "privacy", "decision": "approve", "revision": shown["revision"]["hash"], "comment": "Seen"}
    answers = at_once(
        the_row("transfers", shown["id"]),
        lambda: world.review(shown, "privacy"),
        lambda: second.post(at(shown, "reviews"), body),
    )
    assert sorted(statuses(answers)) == [201, 409]
    assert len(case.permits()) == 1
    assert len(read(world, shown)["reviews"]) == 1


def test_an_approval_against_an_edit(world: World, case: Case, at_once: Starter) -> None:
    shown = case.ready()
    etag = world.requester.get(at(shown)).headers["ETag"]
    approve, edit = at_once(
        the_row("transfers", shown["id"]),
        lambda: world.review(shown, "privacy"),
        lambda: world.requester.send("PATCH", at(shown), {"persons": 20}, If_Match=etag),
    )
    after = read(world, shown)
    if approve.status_code == 201:
        assert edit.status_code in {409, 412}
        assert (after["status"], after["persons"]) == ("approved", 10)
        assert case.permits()[0]["persons"] == 10
    else:
        assert (approve.status_code, edit.status_code) == (409, 200)
        assert (after["status"], after["revision"]["number"], after["permit"]) == ("in_review", 2, None)


def test_an_approval_against_a_withdrawal(world: World, case: Case, at_once: Starter) -> None:
    shown = case.ready()
    approve, withdraw = at_once(
        the_row("transfers", shown["id"]),
        lambda: world.review(shown, "privacy"),
        lambda: world.requester.post(at(shown, "withdraw")),
    )
    after = read(world, shown)
    assert sorted([approve.status_code, withdraw.status_code]) in [[200, 409], [201, 409]]
    assert after["status"] == ("approved" if approve.status_code == 201 else "withdrawn")
    assert bool(case.permits()) == (approve.status_code == 201)


def test_a_last_approval_against_one_taken_back(world: World, case: Case, at_once: Starter) -> None:
    shown = case.ready(persons=150_000)
    given = world.review(shown, "data_owner").json()["reviews"][0]
    world.review(shown, "privacy")
    approve, back = at_once(
        the_row("transfers", shown["id"]),
        lambda: world.review(shown, "legal"),
        lambda: world.reviewers["data_owner"].post(at(shown, "reviews", given["id"], "take-back"), {"reason": "Oh"}),
    )
    after = read(world, shown)
    assert sorted([approve.status_code, back.status_code]) in [[200, 409], [201, 409]]
    assert (after["status"] == "approved") == (approve.status_code == 201) == bool(case.permits())


def test_a_revocation_against_exports(world: World, case: Case, at_once: Starter) -> None:
    permit = world.approve(case.ready(persons=1000))["permit"]
    legal = world.reviewers["legal"]
    revoked, *exports = at_once(
        THE_GATE,
        lambda: legal.post(f"/v1/permits/{permit}/revoke", {"reason": "Now"}),
        *[lambda: world.export(case.dataset, case.recipient, 1) for _ in range(4)],
    )
    assert revoked.status_code == 200
    assert set(statuses(exports)) <= {201, 403}
    entries = world.auditor.get("/v1/audit/entries", handler=case.handler["id"], limit=200).json()["items"]
    order = [entry["action"] for entry in entries]
    assert "export.reserved" not in order[order.index("permit.revoked") :]
    assert order.count("export.reserved") == statuses(exports).count(201)
    assert world.export(case.dataset, case.recipient, 1).json()["reason"] == "permit_revoked"


def test_a_grading_against_a_submission(world: World, case: Case, at_once: Starter) -> None:
    draft = world.draft(case.handler, [case.dataset], case.recipient, persons=10)
    raised = {"tags": ["personal", "important"], "reason": "Looked again", "basis": "Catalogue 2026"}
    submitted, graded = at_once(
        f"{the_row('transfers', draft['id'])}; {the_row('datasets', case.dataset['id'])}",
        lambda: world.requester.post(at(draft, "submit")),
        lambda: world.registrar.post(f"/v1/datasets/{case.dataset['id']}/gradings", raised),
    )
    assert (submitted.status_code, graded.status_code) == (200, 201)
    shown = submitted.json()
    world.add_evidence(shown)
    if shown["determination"]["mechanism"] == "exempt":  # the submission came first: nobody can approve it any more
        assert world.review(shown, "privacy").json()["type"] == "/problems/revision-moved"
    else:
        assert shown["determination"]["mechanism"] == "security_assessment"
    assert case.permits() == []


def test_a_grading_against_the_last_approval(world: World, case: Case, at_once: Starter) -> None:
    shown = case.ready()
    raised = {"tags": ["personal", "important"], "reason": "Looked again", "basis": "Catalogue 2026"}
    approved, graded = at_once(
        f"{the_row('transfers', shown['id'])}; {the_row('datasets', case.dataset['id'])}",
        lambda: world.review(shown, "privacy"),
        lambda: world.registrar.post(f"/v1/datasets/{case.dataset['id']}/gradings", raised),
    )
    assert graded.status_code == 201
    assert approved.status_code in {201, 409}
    told = world.ask(case.dataset, case.recipient, persons=1)
    assert told["decision"] is False
    assert told["context"]["reason"] == ("grading_changed" if approved.status_code == 201 else "no_permit")


def test_two_requests_with_one_idempotency_key_make_one_thing(world: World, case: Case, at_once: Starter) -> None:
    body = {
        "handler": case.handler["id"],
        "datasets": [case.dataset["id"]],
        "recipient": case.recipient["id"],
        "purpose": "analytics",
        "description": "Once",
        "persons": 10,
        "valid_from": day(0),
        "valid_until": day(10),
    }
    key = world.name("key")
    answers = at_once(
        "lock table transfers in share row exclusive mode",
        *[lambda: world.requester.post("/v1/transfers", body, Idempotency_Key=key) for _ in range(3)],
        waiting=1,
    )
    made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert len(made) == 1
    assert set(statuses(answers)) <= {201, 409}
    assert len(world.auditor.get("/v1/transfers", handler=case.handler["id"]).json()["items"]) == 1


def test_two_who_accept_the_same_terms(world: World, case: Case, at_once: Starter) -> None:
    shown = case.ready()
    world.review(shown, "privacy", conditions={"terms": ["Report"]})
    accept = {"revision": shown["revision"]["hash"]}
    answers = at_once(
        the_row("transfers", shown["id"]),
        *[lambda: world.requester.post(at(shown, "terms", "accept"), accept) for _ in range(2)],
    )
    assert sorted(statuses(answers)) == [200, 409]
    assert len(case.permits()) == 1


def test_two_renewals_of_one_transfer(world: World, case: Case, at_once: Starter) -> None:
    old = world.approve(case.ready())
    wanted = {"valid_from": day(1), "valid_until": day(300)}
    answers = at_once(
        the_row("transfers", old["id"]), *[lambda: world.requester.post(at(old, "renew"), wanted) for _ in range(2)]
    )
    assert sorted(statuses(answers)) == [201, 409]


def test_evidence_that_is_withdrawn_against_an_export(world: World, case: Case, at_once: Starter) -> None:
    approved = world.approve(case.ready())
    path = at(approved, "evidence", approved["evidence"][0]["id"], "withdraw")
    gone, *exports = at_once(
        THE_GATE,
        lambda: world.requester.post(path, {"reason": "Wrong paper"}),
        *[lambda: world.export(case.dataset, case.recipient, 1) for _ in range(3)],
    )
    assert gone.status_code == 200
    order = [
        entry["action"]
        for entry in world.auditor.get("/v1/audit/entries", handler=case.handler["id"], limit=200).json()["items"]
    ]
    assert "export.reserved" not in order[order.index("transfer.evidence_withdrawn") :]
    assert order.count("export.reserved") == statuses(exports).count(201)


def test_related_requests_that_are_submitted_at_once_are_found(world: World, case: Case, at_once: Starter) -> None:
    drafts = [world.draft(case.handler, [case.dataset], case.recipient, persons=60_000) for _ in range(2)]
    answers = at_once(
        f"select pg_advisory_xact_lock({FINDINGS_LOCK})",
        *[lambda shown=shown: world.requester.post(at(shown, "submit")) for shown in drafts],
    )  # type: ignore[misc]
    assert statuses(answers) == [200, 200]
    assert [len(read(world, shown)["findings"]) for shown in drafts] == [1, 1]


def test_a_renewal_against_exports_leaves_no_gap(world: World, case: Case, at_once: Starter) -> None:
    old = world.approve(case.ready(persons=1000))
    wanted = {"valid_from": day(0), "valid_until": day(300)}
    draft = world.requester.made(at(old, "renew"), wanted)
    shown = world.requester.made(at(draft, "submit"), None)
    approved, *exports = at_once(
        THE_GATE,
        lambda: world.review(shown, "privacy"),
        *[lambda: world.export(case.dataset, case.recipient, 1) for _ in range(4)],
    )
    assert statuses([approved, *exports]) == [201] * 5
    assert {export.json()["permit"] for export in exports} <= {old["permit"], approved.json()["permit"]}
    assert world.export(case.dataset, case.recipient, 1).json()["permit"] == approved.json()["permit"]


@pytest.mark.parametrize("act", ["suspend", "revoke"])
def test_a_renewal_against_the_end_of_what_it_follows(world: World, case: Case, act: str, at_once: Starter) -> None:
    old = world.approve(case.ready())
    draft = world.requester.made(at(old, "renew"), {"valid_from": day(0), "valid_until": day(300)})
    shown = world.requester.made(at(draft, "submit"), None)
    path, legal = f"/v1/permits/{old['permit']}/{act}", world.reviewers["legal"]
    approved, ended = at_once(
        THE_GATE, lambda: world.review(shown, "privacy"), lambda: legal.post(path, {"reason": "A leak"})
    )
    if ended.status_code == 200:  # it came first: nothing goes until somebody has looked at it
        assert approved.status_code == (201 if act == "suspend" else 409)
        assert world.export(case.dataset, case.recipient, 1).status_code == 403
    else:  # it came too late, and says which permit holds now
        assert (approved.status_code, ended.status_code) == (201, 409)
        assert ended.json()["next"]["href"] == f"/v1/permits/{approved.json()['permit']}"
