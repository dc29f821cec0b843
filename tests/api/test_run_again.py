"""A key that comes again: known by what the request says, and answered with the export as it is now."""

from __future__ import annotations

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.attacks.companies import Company
from tests.conftest import Clock
from tests.feed import digits, hashes
from tests.world import Json, World

WAYS = ("application/json", "application/json; charset=utf-8")
"""Of the type of a body: the fast path takes the first alone."""


class Run:
    """One export of a company under one key, sent as often as it is wanted."""

    def __init__(self, company: Company, way: str = WAYS[0], **more: Any) -> None:
        self.company, self.world, self.way = company, company.world, way
        self.key = str(uuid.uuid4())
        self.body: Json = {
            "dataset": company.dataset["id"],
            "recipient": company.recipient["id"],
            "purpose": "analytics",
            "persons": 10,
            "sensitive_persons": 0,
            **more,
        }

    def send(self, content: bytes | None = None) -> httpx.Response:
        head = {
            "Authorization": f"Bearer {self.world.exporter.secret}",
            "Content-Type": self.way,
            "Idempotency-Key": self.key,
        }
        body = json.dumps(self.body).encode() if content is None else content
        return self.world.http.post("/v1/exports", content=body, headers=head)

    def reserve(self) -> str:
        made = self.send()
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def used(self) -> tuple[int, int]:
        shown = self.world.auditor.get(f"/v1/permits/{self.company.permit}").json()
        return shown["sent"]["persons"], shown["reserved"]["persons"]

    def entries(self, subject: str) -> list[Json]:
        found: list[Json] = self.world.auditor.get("/v1/audit/entries", subject=subject).json()["items"]
        return found


@pytest.fixture(params=WAYS)
def run(request: pytest.FixtureRequest, world: World) -> Run:
    """An export of all that a permit allows: a second one would be one too many."""
    return Run(Company(world, persons=10), request.param)


def require_refused(answer: httpx.Response, reason: str, run: Run, export: str) -> None:
    problem = answer.json()
    assert (answer.status_code, problem["type"], problem["reason"]) == (403, "/problems/export-refused", reason)
    (entry,) = run.entries(problem["evaluation"])
    assert (entry["action"], entry["details"]["reason"]) == ("export.refused", reason)
    assert entry["details"]["export"] == problem["export"] == export


def test_while_it_holds_the_same_is_answered_and_nothing_more_is_taken(run: Run) -> None:
    first = run.send()
    again = [run.send() for _ in range(3)]
    assert {(one.status_code, one.content) for one in again} == {(201, first.content)}
    assert {one.headers["Idempotent-Replayed"] for one in again} == {"true"}
    assert run.used() == (0, 10)
    acts = [entry["action"] for entry in run.entries(first.json()["id"])]
    assert acts == ["export.reserved", *["export.repeated"] * 3]


@pytest.mark.parametrize("end", ["complete", "cancel"])
def test_what_has_ended_is_told_as_ended(run: Run, end: str) -> None:
    export = run.reserve()
    run.world.exporter.made(f"/v1/exports/{export}/{end}", {"persons": 7} if end == "complete" else None)
    before = run.used()
    answer = run.send()
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (409, "/problems/export-ended")
    assert (problem["export"], problem["state"]) == (export, {"complete": "completed", "cancel": "cancelled"}[end])
    assert run.used() == before


def test_what_has_lapsed_is_told_as_lapsed(run: Run, days_ahead: Clock) -> None:
    run.reserve()
    days_ahead.ahead = timedelta(hours=2)
    assert run.send().json()["state"] == "lapsed"
    assert run.used() == (0, 0)


@pytest.mark.parametrize(("act", "reason"), [("suspend", "permit_suspended"), ("revoke", "permit_revoked")])
def test_a_permit_that_was_taken_away_is_no_yes_any_more(run: Run, act: str, reason: str) -> None:
    export = run.reserve()
    run.world.reviewers["legal"].made(f"/v1/permits/{run.company.permit}/{act}", {"reason": "Looked at again"})
    require_refused(run.send(), reason, run, export)
    assert run.used() == (0, 10), "it is held until somebody ends it: what went may still be reported"
    run.world.exporter.made(f"/v1/exports/{export}/complete", {"persons": 4})
    assert run.used() == (4, 0)


def test_a_permit_that_is_resumed_is_a_yes_again(run: Run) -> None:
    first = run.send()
    permit = f"/v1/permits/{run.company.permit}"
    run.world.reviewers["legal"].made(f"{permit}/suspend", {"reason": "Looked at again"})
    require_refused(run.send(), "permit_suspended", run, first.json()["id"])
    run.world.reviewers["security"].made(f"{permit}/resume", {"reason": "All is well"})
    assert (run.send().status_code, run.send().content) == (201, first.content)


def test_whatever_else_denies_today_denies_the_repeat(run: Run) -> None:
    export = run.reserve()
    run.world.grade(run.company.dataset, "personal", "important")
    require_refused(run.send(), "grading_changed", run, export)


def test_a_permit_that_is_over_denies_the_repeat(world: World, days_ahead: Clock) -> None:
    """Its day ends while it is reserved."""
    run = Run(Company(world))
    days_ahead.ahead = timedelta(days=200, minutes=-5)
    export = run.send()
    days_ahead.ahead = timedelta(days=201, minutes=-5)
    assert export.status_code == 201
    assert run.send().json()["state"] == "lapsed"


def test_who_is_no_exporter_any_more_learns_nothing_of_its_export(world: World) -> None:
    company = Company(world)
    system = world.person("exporter", kind="system", handler=company.handler["id"])
    world.grant(system.id, "exporter", world.handler()["id"])
    body = Run(company).body
    export = system.post("/v1/exports", body, Idempotency_Key="first-run").json()["id"]
    grants = world.admin.get("/v1/grants", principal=system.id).json()["items"]
    grant = next(one["id"] for one in grants if one["handler"] == company.handler["id"])
    world.admin.made(f"/v1/grants/{grant}/withdraw", None)
    refused = system.post("/v1/exports", body, Idempotency_Key="first-run")
    assert (refused.status_code, refused.json()["reason"]) == (403, "dataset_unknown"), export


def test_a_reservation_without_a_permit_takes_none_that_came_since(world: World) -> None:
    """General data goes by itself; once it is personal, what was reserved for it rests on nothing."""
    handler, recipient = world.handler(), world.recipient()
    dataset = world.dataset(handler)
    body = {"dataset": dataset["id"], "recipient": recipient["id"], "purpose": "analytics"}
    key = str(uuid.uuid4())
    assert world.exporter.post("/v1/exports", body | {"persons": 0}, Idempotency_Key=key).status_code == 201
    world.grade(dataset, "important")
    world.approved(handler, [dataset], recipient)
    assert world.exporter.post("/v1/exports", body).status_code == 201
    again = world.exporter.post("/v1/exports", body | {"persons": 0}, Idempotency_Key=key)
    assert (again.status_code, again.json()["reason"]) == (403, "no_permit")


def test_who_was_announced_is_not_counted_against_themselves(world: World) -> None:
    company = Company(world, persons=300)
    body = {
        "dataset": company.dataset["id"],
        "recipient": company.recipient["id"],
        "purpose": "analytics",
        "person_hashes": digits(hashes(300)),
    }
    key = str(uuid.uuid4())
    first = world.exporter.post("/v1/exports", body, Idempotency_Key=key)
    again = world.exporter.post("/v1/exports", body, Idempotency_Key=key)
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)


def test_a_refusal_stays_one_for_its_key(run: Run) -> None:
    """Whoever wants to ask anew takes another key: a request of before that arrives late must reserve nothing."""
    held = run.company.export(10).json()["id"]
    first = run.send()
    run.world.exporter.made(f"/v1/exports/{held}/cancel", None)
    again = run.send()
    assert (first.status_code, again.status_code, again.content) == (403, 403, first.content)
    assert again.headers["Idempotent-Replayed"] == "true"


def test_of_many_repeats_at_once_none_takes_anything(run: Run) -> None:
    first = run.send()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: run.send(), range(24)))
    assert {one.status_code for one in answers} <= {201, 409}
    assert {one.content for one in answers if one.status_code == 201} <= {first.content}
    assert {one.json()["type"] for one in answers if one.status_code == 409} <= {"/problems/idempotency-key-in-flight"}
    assert run.used() == (0, 10)


@pytest.mark.parametrize("act", ["suspend", "cancel", "complete"])
def test_once_a_yes_is_taken_back_no_repeat_says_it(world: World, act: str) -> None:
    """Whoever is answered that it ended, or that the permit is suspended, hears no yes after it."""
    run = Run(Company(world, persons=10))
    export = run.reserve()

    def end() -> int:
        if act == "suspend":
            return (
                world.reviewers["legal"]
                .post(f"/v1/permits/{run.company.permit}/suspend", {"reason": "Now"})
                .status_code
            )
        return world.exporter.post(
            f"/v1/exports/{export}/{act}", {"persons": 1} if act == "complete" else None
        ).status_code

    def ask(after: Any) -> tuple[bool, int]:
        is_over = after.done()
        return is_over, run.send().status_code

    with ThreadPoolExecutor(5) as pool:
        ended = pool.submit(end)
        answers = [pool.submit(ask, ended) for _ in range(20)]
        assert ended.result() == 200
        told = [one.result() for one in answers]
    assert not [status for is_over, status in told if is_over and status == 201]
    assert run.send().status_code == (403 if act == "suspend" else 409)


# What makes two requests the same


@pytest.mark.parametrize(
    "write",
    [
        lambda body: json.dumps(dict(reversed(body.items()))),
        lambda body: json.dumps(body, indent=4),
        lambda body: json.dumps(body).replace("analytics", "anal\\u0079tics"),
        lambda body: json.dumps(body).replace('"purpose"', '"\\u0070urpose"'),
    ],
)
def test_the_same_written_otherwise_is_the_same(run: Run, write: Any) -> None:
    first = run.send()
    again = run.send(write(run.body).encode())
    assert (again.status_code, again.content) == (201, first.content), again.text
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize(
    "more",
    [{"persons": 9}, {"purpose": "Analytics"}, {"fields": ["city"]}, {"fields": ["amount", "city"]}, {"permit": None}],
)
def test_another_content_is_another_request(run: Run, more: Json) -> None:
    run.body |= {"fields": ["city", "amount"]} if "fields" in more else {}
    run.reserve()
    run.body |= more
    other = run.send()
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")


def test_every_route_that_takes_a_key_knows_a_request_by_its_content(world: World) -> None:
    body = {"key": world.name("recipient"), "name": "Partner Ö", "country": "SG", "kind": "company", "facts": {}}
    first = world.registrar.post("/v1/recipients", body, Idempotency_Key="r-1")
    head = {"Authorization": f"Bearer {world.registrar.secret}", "Content-Type": "application/json"}
    text = json.dumps(dict(reversed(body.items())), indent=1, ensure_ascii=False).encode()
    again = world.http.post("/v1/recipients", content=text, headers=head | {"Idempotency-Key": "r-1"})
    assert (first.status_code, again.status_code, again.content) == (201, 201, first.content)
    other = world.registrar.post("/v1/recipients", body | {"name": "Partner O"}, Idempotency_Key="r-1")
    assert other.json()["type"] == "/problems/idempotency-key-reused"


def test_the_order_of_what_the_query_says_makes_no_difference(world: World) -> None:
    company = Company(world)
    export = company.export(50).json()["id"]
    head = {
        "Authorization": f"Bearer {world.exporter.secret}",
        "Content-Type": "application/octet-stream",
        "Idempotency-Key": str(uuid.uuid4()),
    }
    stream = hashes(20)
    path = f"/v1/exports/{export}/complete"
    first = world.http.post(f"{path}?kind=persons&sensitive_persons=0", content=stream, headers=head)
    again = world.http.post(f"{path}?sensitive_persons=0&kind=pe%72sons", content=stream, headers=head)
    assert (first.status_code, again.content, again.headers["Idempotent-Replayed"]) == (200, first.content, "true")


def test_a_long_list_of_hashes_is_known_by_who_is_in_it(world: World) -> None:
    company = Company(world, persons=20_000)
    export = company.export(20_000).json()["id"]
    listed = digits(hashes(10_000))
    key = str(uuid.uuid4())
    path = f"/v1/exports/{export}/complete"
    first = world.exporter.post(path, {"person_hashes": listed}, Idempotency_Key=key)
    turned = [one.upper() for one in reversed(listed)]
    again = world.exporter.post(path, {"sensitive_persons": 0, "person_hashes": turned}, Idempotency_Key=key)
    assert (first.status_code, again.status_code) == (200, 422), "a member more is another content"
    again = world.exporter.post(path, {"person_hashes": turned}, Idempotency_Key=key)
    assert (again.content, again.headers["Idempotent-Replayed"]) == (first.content, "true")
    other = world.exporter.post(path, {"person_hashes": turned[1:]}, Idempotency_Key=key)
    assert other.json()["type"] == "/problems/idempotency-key-reused"


def test_an_answer_stored_by_the_version_before_goes_by_its_bytes(world: World, database_url: str) -> None:
    from tests.conftest import run_sql  # noqa: PLC0415

    run = Run(Company(world))
    first = run.send()
    run_sql(database_url, "update stored_answers set content = null")
    assert run.send().content == first.content
    assert run.send(json.dumps(run.body, indent=1).encode()).json()["type"] == "/problems/idempotency-key-reused"
