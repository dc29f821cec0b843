"""Break-glass access: an admin reads as an auditor, or stops permits, for some hours; everybody who watches hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest

from tests.conftest import Clock
from tests.world import STAGES, Json, Person, World, day


def broken(by: Person, role: str = "auditor", **more: object) -> httpx.Response:
    return by.post("/v1/break-glass", {"role": role, "reason": "Nobody else can be reached", "hours": 2, **more})


@pytest.fixture
def breaker(world: World) -> Iterator[Person]:
    """An admin, whose access is over after the test."""
    person = world.person("admin")
    yield person
    world.admin.post(f"/v1/principals/{person.id}/disable")


@pytest.fixture
def permit(world: World) -> Json:
    """A permit of a handler of its own, with what the gate is asked about it."""
    handler, recipient = world.handler(), world.recipient()
    dataset = world.dataset(handler, "personal")
    approved = world.approved(handler, [dataset], recipient, persons=100)
    return {"id": approved["permit"], "handler": handler, "dataset": dataset, "recipient": recipient}


def test_an_admin_reads_as_an_auditor_until_it_ends(world: World, breaker: Person, days_ahead: Clock) -> None:
    assert breaker.get("/v1/audit/entries").status_code == 403
    made = broken(breaker)
    assert (made.status_code, made.json()["open"]) == (201, True)
    assert made.headers["Location"] == f"/v1/break-glass/{made.json()['id']}"
    me = breaker.get("/v1/me").json()
    assert (me["roles"], me["break_glass"]) == ({"admin": "*", "auditor": "*"}, made.json()["id"])
    assert breaker.get("/v1/audit/entries").status_code == 200
    days_ahead.ahead = timedelta(hours=2, seconds=1)
    assert breaker.get("/v1/audit/entries").status_code == 403
    assert world.auditor.get(f"/v1/break-glass/{made.json()['id']}").json()["open"] is False


def test_access_to_one_handler_is_to_that_one(world: World, breaker: Person, permit: Json) -> None:
    other = world.handler()
    broken(breaker, handler=permit["handler"]["key"])
    handlers = {entry["handler"] for entry in breaker.get("/v1/audit/entries", limit=200).json()["items"]}
    assert handlers == {permit["handler"]["id"]}
    assert breaker.get(f"/v1/handlers/{other['id']}").status_code == 404


def test_it_is_told_to_those_who_watch_and_every_act_under_it_says_so(world: World, breaker: Person) -> None:
    access = broken(breaker, reason="The auditor is ill, and the authority is at the door").json()
    for watcher in (world.admin, world.second_admin, world.auditor):
        told = watcher.get("/v1/events", to_me="true", subject=access["id"]).json()["items"]
        assert [(event["kind"], event["why"]) for event in told] == [("break_glass.opened", access["reason"])]
        assert told[0]["how_much"]["until"]
    assert not world.requester.get("/v1/events", to_me="true", subject=access["id"]).json()["items"]
    entry = world.auditor.get("/v1/audit/entries", subject=access["id"]).json()["items"][0]
    assert (entry["action"], entry["details"]["reason"]) == ("break_glass.opened", access["reason"])
    principal = breaker.made("/v1/principals", {"name": world.name("during")})
    breaker.made(f"/v1/break-glass/{access['id']}/close", None)
    later = breaker.made("/v1/principals", {"name": world.name("after")})
    during, after = (
        world.auditor.get("/v1/audit/entries", subject=one["id"]).json()["items"][0] for one in (principal, later)
    )
    assert during["details"]["break_glass"] == access["id"]
    assert "break_glass" not in after["details"]


def test_the_reviewers_of_a_handler_hear_of_access_to_it(world: World, breaker: Person, permit: Json) -> None:
    access = broken(breaker, "stop", handler=permit["handler"]["id"]).json()
    for reviewer in world.reviewers.values():
        told = reviewer.get("/v1/events", to_me="true", subject=access["id"]).json()["items"]
        assert [event["kind"] for event in told] == ["break_glass.opened"]


def test_stopping_is_all_that_stopping_opens(world: World, breaker: Person, permit: Json) -> None:
    at = f"/v1/permits/{permit['id']}"
    stop = {"reason": "It leaks"}
    assert breaker.post(f"{at}/suspend", stop).status_code == 403
    access = broken(breaker, "stop").json()
    assert breaker.get(at).status_code == 403
    assert breaker.get("/v1/audit/entries").status_code == 403
    unsaid = breaker.post(f"{at}/suspend", {"reason": None})
    assert (unsaid.status_code, unsaid.json()["errors"][0]["pointer"]) == (422, "/reason")
    assert breaker.post(f"{at}/suspend", stop).json()["status"] == "suspended"
    assert world.ask(permit["dataset"], permit["recipient"])["context"]["reason"] == "permit_suspended"
    assert breaker.post(f"{at}/resume", stop).status_code == 403
    assert breaker.post(f"{at}/amend", {"persons": 1, "reason": "x"}).status_code == 403
    assert breaker.post(f"{at}/revoke", stop).json()["status"] == "revoked"
    for action in ("permit.suspended", "permit.revoked"):
        entry = world.auditor.get("/v1/audit/entries", subject=permit["id"], action=action).json()["items"][0]
        assert (entry["actor"], entry["details"]["break_glass"]) == (breaker.id, access["id"])
        assert entry["details"]["reason"] == "It leaks"


def test_stopping_at_one_handler_finds_no_permit_of_another(world: World, breaker: Person, permit: Json) -> None:
    broken(breaker, "stop", handler=world.handler()["id"])
    for verb in ("suspend", "revoke"):
        assert breaker.post(f"/v1/permits/{permit['id']}/{verb}", {"reason": "x"}).status_code == 404


@pytest.mark.parametrize("role", ["auditor", "stop"])
def test_it_opens_no_review_no_resumption_and_no_export(world: World, breaker: Person, permit: Json, role: str) -> None:
    submitted = world.submitted(permit["handler"], [permit["dataset"]], permit["recipient"], persons=10)
    world.reviewers["legal"].made(f"/v1/permits/{permit['id']}/suspend", {"reason": "Look"})
    broken(breaker, role)
    review = {"stage": "privacy", "decision": "approve", "revision": submitted["revision"]["hash"], "comment": "x"}
    export = {"dataset": permit["dataset"]["id"], "recipient": permit["recipient"]["id"], "purpose": "analytics"}
    for path, body in (
        (f"/v1/transfers/{submitted['id']}/reviews", review),
        (f"/v1/permits/{permit['id']}/resume", {"reason": "Fine"}),
        ("/v1/exports", export | {"persons": 1, "sensitive_persons": 0}),
        (f"/v1/datasets/{permit['dataset']['id']}/gradings", {"tags": [], "reason": "x", "basis": "y"}),
        ("/v1/transfers", export),
    ):
        assert breaker.post(path, body).status_code in {403, 422}, path
    offered = world.requester.get(f"/v1/transfers/{submitted['id']}/reviewers", stage="privacy").json()["items"]
    assert breaker.id not in {one["principal"] for one in offered}
    assert world.admin.post("/v1/delegations", _lent(breaker, world.person())).status_code == 403


def _lent(away: Person, to: Person) -> Json:
    return {
        "delegate": to.id,
        "delegator": away.id,
        "valid_from": day(0),
        "valid_until": day(1),
        "reason": "x",
    }


@pytest.mark.parametrize("role", ["registrar", "requester", "exporter", "auditor", *(f"reviewer:{s}" for s in STAGES)])
def test_only_admins_break_it(world: World, role: str) -> None:
    assert broken(world.person(role)).status_code == 403


def test_systems_and_admins_of_elsewhere_do_not(world: World, permit: Json) -> None:
    assert broken(world.person("admin", kind="system")).status_code == 403
    narrow = world.person("admin", handler=world.handler()["id"])
    assert broken(narrow).status_code == 403
    assert broken(narrow, handler=permit["handler"]["id"]).json()["errors"][0]["pointer"] == "/handler"


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"hours": 0}, "/hours"),
        ({"hours": 9}, "/hours"),
        ({"hours": 1.5}, "/hours"),
        ({"role": "admin"}, "/role"),
        ({"role": "reviewer:legal"}, "/role"),
        ({"reason": " "}, "/reason"),
        ({"principal": "root"}, "/principal"),
    ],
)
def test_what_it_is_for_and_for_how_long_is_limited(world: World, breaker: Person, more: Json, pointer: str) -> None:
    refused = broken(breaker, **more)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
    assert world.auditor.get("/v1/break-glass", principal=breaker.id).json()["items"] == []


def test_one_is_open_at_a_time_and_repeating_it_shows(world: World, breaker: Person) -> None:
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: broken(breaker), range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    first = next(answer.json() for answer in answers if answer.status_code == 201)
    closed = breaker.made(f"/v1/break-glass/{first['id']}/close", None)
    assert (closed["open"], closed["closed_by"]) == (False, breaker.id)
    assert breaker.post(f"/v1/break-glass/{first['id']}/close").status_code == 409
    second = broken(breaker, "stop").json()
    listed = world.auditor.get("/v1/break-glass", principal=breaker.id).json()["items"]
    assert [one["id"] for one in listed] == [first["id"], second["id"]]
    entry = world.auditor.get("/v1/audit/entries", subject=second["id"]).json()["items"][0]
    assert entry["details"]["earlier_in_30_days"] == 1


def test_another_admin_closes_it_and_others_do_not_see_it(world: World, breaker: Person) -> None:
    access = broken(breaker).json()
    at = f"/v1/break-glass/{access['id']}"
    narrow = world.person("admin", "auditor", handler=world.handler()["id"])
    assert narrow.get(at).status_code == narrow.post(f"{at}/close").status_code == 404
    assert narrow.get("/v1/break-glass").json()["items"] == []
    assert world.requester.get(at).status_code == 403
    assert world.auditor.post(f"{at}/close").status_code == 403
    assert world.second_admin.made(f"{at}/close", None)["closed_by"] == world.second_admin.id
    assert breaker.get("/v1/audit/entries").status_code == 403


def _disabled(world: World, person: Person) -> None:
    world.admin.made(f"/v1/principals/{person.id}/disable", None)
    world.admin.made(f"/v1/principals/{person.id}/enable", None)


def _withdrawn(world: World, person: Person) -> None:
    grant = world.admin.get("/v1/grants", principal=person.id).json()["items"][0]
    world.admin.made(f"/v1/grants/{grant['id']}/withdraw", None)


@pytest.mark.parametrize("lose", [_disabled, _withdrawn])
def test_whoever_is_no_admin_any_more_has_no_access(
    world: World, breaker: Person, lose: Callable[[World, Person], None]
) -> None:
    access = broken(breaker).json()
    lose(world, breaker)
    assert breaker.get("/v1/audit/entries").status_code == 403
    assert breaker.get("/v1/me").json()["roles"] == {}
    shown = world.auditor.get(f"/v1/break-glass/{access['id']}").json()
    assert (shown["open"], shown["closed_by"]) == (False, world.admin.id)
