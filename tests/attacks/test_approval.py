"""Whoever wants a transfer approved without those who must approve it."""

from __future__ import annotations

import pytest

from tests.attacks.companies import Company, review
from tests.world import Json, World, day


def submitted(world: World, **more: object) -> Json:
    handler = world.handler()
    return world.submitted(
        handler, [world.dataset(handler, "personal")], world.recipient(), **{"persons": 150_000} | more
    )


def test_an_insider_with_every_role_approves_nothing_of_their_own(world: World) -> None:
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    alone = world.person("requester", "reviewer:privacy", "reviewer:legal", "reviewer:security", handler=handler["id"])
    body = {
        "handler": handler["id"],
        "datasets": [dataset["id"]],
        "recipient": recipient["id"],
        "purpose": "analytics",
        "description": "Quick one",
        "persons": 10,
        "valid_from": day(0),
        "valid_until": day(30),
    }
    shown = alone.made("/v1/transfers", body)
    shown = alone.made(f"/v1/transfers/{shown['id']}/submit", None)
    assert [stage["name"] for stage in shown["stages"]] == ["privacy"]
    refused = review(alone, shown, "privacy")
    assert (refused.status_code, refused.json()["type"].rsplit("/", 1)[-1]) == (403, "forbidden")
    assert world.auditor.get(f"/v1/transfers/{shown['id']}").json()["status"] == "in_review"


def test_an_approved_request_is_not_changed_any_more(world: World, victim: Company) -> None:
    path = f"/v1/transfers/{victim.transfer['id']}"
    before = world.auditor.get(f"/v1/permits/{victim.permit}").json()
    assert world.requester.patch(path, {"persons": 900_000}).status_code == 409
    assert world.requester.patch(path, {"recipient": world.recipient()["id"]}).status_code == 409
    assert world.requester.post(f"{path}/submit").status_code == 409
    assert world.requester.post(f"{path}/withdraw", {"reason": "mine"}).status_code == 409
    assert world.auditor.get(f"/v1/permits/{victim.permit}").json() == before


def test_a_draft_is_not_approved_by_a_made_up_hash(world: World) -> None:
    handler = world.handler()
    draft = world.draft(handler, [world.dataset(handler, "personal")], world.recipient(), persons=10)
    body = {"stage": "privacy", "decision": "approve", "revision": "sha256:" + "0" * 64, "comment": "Seen"}
    assert world.reviewers["privacy"].post(f"/v1/transfers/{draft['id']}/reviews", body).status_code == 409
    assert world.auditor.get(f"/v1/transfers/{draft['id']}").json()["status"] == "draft"


def test_a_stage_that_the_law_does_not_ask_for_replaces_none_that_it_does(world: World) -> None:
    shown = submitted(world)
    assert world.review(shown, "executive").status_code == 409
    assert world.review(shown, "security").status_code == 409
    assert world.review(shown, "legal").status_code == 409
    assert [stage["status"] for stage in world.auditor.get(f"/v1/transfers/{shown['id']}").json()["stages"]] == [
        "open",
        "waiting",
        "waiting",
    ]


def test_a_withdrawn_request_is_not_approved_from_an_old_page(world: World) -> None:
    shown = submitted(world)
    world.requester.made(f"/v1/transfers/{shown['id']}/withdraw", {"reason": "Not needed"})
    assert world.review(shown, "data_owner").status_code == 409


def test_an_edit_between_two_stages_begins_the_stages_anew(world: World) -> None:
    """More persons after the first approval are another revision, which nobody has approved."""
    shown = submitted(world)
    world.review(shown, "data_owner")
    world.requester.patch(f"/v1/transfers/{shown['id']}", {"persons": 160_000})
    moved = world.auditor.get(f"/v1/transfers/{shown['id']}").json()
    assert moved["revision"]["number"] == 2
    assert [stage["status"] for stage in moved["stages"]] == ["open", "waiting", "waiting"]
    assert world.review(shown, "privacy").status_code == 409


@pytest.mark.parametrize(
    "member", ["status", "revision", "requester", "authors", "permit", "stages", "open_stage", "id"]
)
def test_nothing_is_assigned_that_a_request_does_not_ask_for(world: World, victim: Company, member: str) -> None:
    """Mass assignment: of a new request, and of one that is there."""
    body = {
        "handler": victim.handler["id"],
        "datasets": [victim.dataset["id"]],
        "recipient": victim.recipient["id"],
        "purpose": "analytics",
        "description": "With more than it should have",
        "persons": 10,
        "valid_from": day(0),
        "valid_until": day(30),
    }
    for answer in (
        world.requester.post("/v1/transfers", body | {member: "approved"}),
        world.requester.patch(f"/v1/transfers/{victim.transfer['id']}", {member: "approved"}),
    ):
        assert answer.status_code == 422
        assert [error["pointer"] for error in answer.json()["errors"]] == [f"/{member}"]


def test_a_request_does_not_take_in_another_companys_dataset(world: World, victim: Company) -> None:
    other = world.handler()
    mine = world.dataset(other, "personal")
    insider = world.person("requester", handler=other["id"])
    body = {
        "handler": other["id"],
        "datasets": [mine["id"], victim.dataset["id"]],
        "recipient": victim.recipient["id"],
        "purpose": "analytics",
        "description": "Theirs under our name",
        "persons": 10,
        "valid_from": day(0),
        "valid_until": day(30),
    }
    for person in (insider, world.requester):
        refused = person.post("/v1/transfers", body)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/datasets/1")


def test_a_permit_does_not_begin_before_it_was_approved(world: World) -> None:
    """Days in the past make nothing lawful that went before: only what a permit allows at the moment of asking goes."""
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    shown = world.submitted(handler, [dataset], recipient, persons=10, valid_from=day(-300))
    assert world.export(dataset, recipient, 1).json()["reason"] == "no_permit"
    permit = world.approve(shown)["permit"]
    told = world.auditor.get(f"/v1/permits/{permit}").json()
    assert told["issued_at"][:10] >= day(-1)
    assert world.export(dataset, recipient, 1).status_code == 201


def test_days_are_not_stretched_beyond_what_evidence_carries(world: World) -> None:
    """A paper that claims to be good for ever is good for as long as its law says."""
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    shown = world.submitted(handler, [dataset], recipient, persons=1_500_000, valid_until=day(5000))
    assert "security_assessment_result" in shown["missing_evidence"]
    world.add_evidence(shown, ["security_assessment_result"], valid_until=day(9000))
    world.add_evidence(shown, [kind for kind in shown["missing_evidence"] if kind != "security_assessment_result"])
    for stage in shown["stages"]:
        answer = world.review(shown, stage["name"])
        assert answer.status_code == 201, answer.text
    permit = world.auditor.get(f"/v1/permits/{answer.json()['permit']}").json()
    assert permit["valid_until"] <= day(3 * 366)


def test_whoever_changes_roles_between_two_stages_stays_what_they_were(world: World) -> None:
    """An author who is made a reviewer, and a reviewer who is given the next stage's role, decide nothing by that."""
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    author = world.person("requester", handler=handler["id"])
    owner = world.person("reviewer:data_owner", handler=handler["id"])
    body = {
        "handler": handler["id"],
        "datasets": [dataset["id"]],
        "recipient": recipient["id"],
        "purpose": "analytics",
        "description": "Weekly demand",
        "persons": 150_000,
        "valid_from": day(0),
        "valid_until": day(30),
    }
    draft = author.made("/v1/transfers", body)
    shown = author.made(f"/v1/transfers/{draft['id']}/submit", None)
    assert review(owner, shown, "data_owner").status_code == 201
    mine = world.admin.get("/v1/grants", principal=author.id).json()["items"][0]["id"]
    world.admin.made(f"/v1/grants/{mine}/withdraw", None)
    for person in (author, owner):
        world.grant(person.id, "reviewer:privacy", handler["id"])
        assert review(person, shown, "privacy").status_code == 403
    assert world.auditor.get(f"/v1/transfers/{shown['id']}").json()["stages"][1]["status"] == "open"
