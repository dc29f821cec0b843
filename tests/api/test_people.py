"""The people around a request: absence, recusal, assignment, comments, conditions, approvals taken back and carried over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.conftest import Clock
from tests.world import Json, Person, World, day


class Case:
    """A handler with one personal dataset, a recipient in Singapore, and a request under a standard contract."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handler = world.handler()
        self.dataset = world.dataset(self.handler, "personal")
        self.recipient = world.recipient()

    def submitted(self, **more: Any) -> Json:
        return self.world.submitted(self.handler, [self.dataset], self.recipient, **{"persons": 150_000} | more)


@pytest.fixture
def case(world: World) -> Case:
    return Case(world)


def body(shown: Json, stage: str, **more: Any) -> Json:
    return {"stage": stage, "decision": "approve", "revision": shown["revision"]["hash"], "comment": "Seen"} | more


def at(shown: Json, *rest: str) -> str:
    return "/".join(["/v1/transfers", shown["id"], *rest])


def absent(away: Person, stand_in: Person, **more: Any) -> httpx.Response:
    wanted = {"delegate": stand_in.id, "valid_from": day(0), "valid_until": day(7), "reason": "On leave"}
    return away.post("/v1/delegations", wanted | more)


# Delegation


def test_somebody_stands_in_and_the_review_says_for_whom(world: World, case: Case) -> None:
    away, stand_in = world.person("reviewer:data_owner"), world.person()
    shown = case.submitted()
    assert stand_in.get(at(shown)).status_code == 403
    made = absent(away, stand_in)
    assert made.status_code == 201, made.text
    assert made.json()["roles"] == ["reviewer:data_owner"]
    assert stand_in.get("/v1/me").json()["delegated"][0]["delegator"] == away.id
    told = stand_in.get("/v1/events", to_me="true", kind="delegation.made").json()["items"][0]
    assert (told["who"]["id"], told["why"], told["how_much"]["until"]) == (away.id, "On leave", day(7))
    reviewed = stand_in.post(at(shown, "reviews"), body(shown, "data_owner")).json()
    assert (reviewed["reviews"][0]["reviewer"], reviewed["reviews"][0]["on_behalf_of"]) == (stand_in.id, away.id)
    entry = world.auditor.get("/v1/audit/entries", subject=shown["id"], action="transfer.reviewed").json()["items"][0]
    assert entry["details"]["on_behalf_of"] == away.id


def test_neither_the_delegate_nor_the_delegator_may_be_barred(world: World, case: Case) -> None:
    shown = case.submitted()
    away = world.reviewers["data_owner"]
    requester = world.requester
    lent = absent(away, requester).json()
    assert requester.post(at(shown, "reviews"), body(shown, "data_owner")).status_code == 403
    away.made(f"/v1/delegations/{lent['id']}/end", None)
    both = world.person("requester", "reviewer:privacy")
    stand_in = world.person()
    mine = both.made("/v1/transfers", _request(case))
    mine = both.made(at(mine, "submit"), None)
    assert absent(both, stand_in).status_code == 201
    world.review(mine, "data_owner")
    refused = stand_in.post(at(mine, "reviews"), body(mine, "privacy"))
    assert refused.status_code == 403
    assert "lent" in refused.json()["detail"]


def _request(case: Case) -> Json:
    return {
        "handler": case.handler["id"],
        "datasets": [case.dataset["id"]],
        "recipient": case.recipient["id"],
        "purpose": "analytics",
        "description": "Weekly demand",
        "persons": 150_000,
        "valid_from": day(0),
        "valid_until": day(100),
    }


def test_no_two_stages_come_to_one_person_by_delegation(world: World, case: Case) -> None:
    shown = case.submitted()
    owner, privacy = world.person("reviewer:data_owner"), world.person("reviewer:privacy")
    stand_in = world.person()
    absent(owner, stand_in)
    absent(privacy, stand_in)
    assert stand_in.post(at(shown, "reviews"), body(shown, "data_owner")).status_code == 201
    assert stand_in.post(at(shown, "reviews"), body(shown, "privacy")).status_code == 403
    two = world.person("reviewer:data_owner", "reviewer:privacy")
    other = case.submitted()
    absent(two, stand_in)
    assert two.post(at(other, "reviews"), body(other, "data_owner")).status_code == 201
    third = world.person()
    absent(two, third)
    assert third.post(at(other, "reviews"), body(other, "privacy")).status_code == 403
    again = case.submitted()
    assert third.post(at(again, "reviews"), body(again, "data_owner")).status_code == 201
    assert two.post(at(again, "reviews"), body(again, "privacy")).status_code == 403


def test_a_delegation_begins_ends_and_can_be_ended(world: World, case: Case, days_ahead: Clock) -> None:
    shown = case.submitted()
    away, stand_in = world.person("reviewer:data_owner"), world.person("reviewer:executive")
    made = absent(away, stand_in, valid_from=day(2), valid_until=day(3)).json()
    assert made["in_force"] is False
    path = at(shown, "reviews")
    assert stand_in.post(path, body(shown, "data_owner")).status_code == 403
    days_ahead.ahead = timedelta(days=2)
    assert stand_in.get("/v1/queue").json()["counts"]["data_owner"] >= 1
    days_ahead.ahead = timedelta(days=4)
    assert stand_in.post(path, body(shown, "data_owner")).status_code == 403
    days_ahead.ahead = timedelta(days=2)
    ended = away.post(f"/v1/delegations/{made['id']}/end")
    assert ended.json()["ended_at"] is not None
    assert away.post(f"/v1/delegations/{made['id']}/end").status_code == 409
    assert stand_in.post(path, body(shown, "data_owner")).status_code == 403
    assert made["id"] in [one["id"] for one in stand_in.get("/v1/delegations").json()["items"]]
    assert world.person("registrar").get(f"/v1/delegations/{made['id']}").status_code == 404


def test_nobody_lends_what_they_do_not_have(world: World) -> None:
    away, stand_in = world.person("reviewer:privacy"), world.person()
    assert absent(away, stand_in, roles=["reviewer:legal"]).status_code == 403
    assert absent(away, away).json()["errors"][0]["pointer"] == "/delegate"
    assert absent(away, world.exporter).json()["errors"][0]["pointer"] == "/delegate"
    assert (
        absent(away, stand_in, valid_from=day(-9), valid_until=day(-1)).json()["errors"][0]["pointer"] == "/valid_until"
    )
    assert (
        absent(away, stand_in, valid_from=day(5), valid_until=day(1)).json()["errors"][0]["pointer"] == "/valid_until"
    )
    assert absent(away, stand_in, handler="nobody").json()["errors"][0]["pointer"] == "/handler"
    assert absent(stand_in, away, delegator=away.id).status_code == 403
    assert absent(world.requester, stand_in).status_code == 403
    by_admin = absent(world.admin, stand_in, delegator=away.name)
    assert (by_admin.status_code, by_admin.json()["delegator"]) == (201, away.id)


def test_a_role_that_is_withdrawn_is_lent_no_longer(world: World, case: Case) -> None:
    shown = case.submitted()
    away, stand_in = world.person("reviewer:data_owner"), world.person()
    absent(away, stand_in)
    grant = world.admin.get("/v1/grants", principal=away.id).json()["items"][0]
    world.admin.post(f"/v1/grants/{grant['id']}/withdraw")
    assert stand_in.post(at(shown, "reviews"), body(shown, "data_owner")).status_code == 403


# Offers, assignment, recusal, queue


def test_the_reviewers_offered_are_those_entitled(world: World, case: Case) -> None:
    shown = case.submitted()
    elsewhere = world.person("reviewer:data_owner", handler=world.handler()["id"])
    both = world.person("reviewer:data_owner", "reviewer:privacy")
    away, stand_in = world.person("reviewer:data_owner"), world.person()
    absent(away, stand_in)

    def offered(stage: str) -> set[str]:
        items = world.requester.get(at(shown, "reviewers"), stage=stage).json()["items"]
        return {one["principal"] for one in items}

    assert {world.reviewers["data_owner"].id, both.id, away.id, stand_in.id} <= offered("data_owner")
    assert elsewhere.id not in offered("data_owner")
    assert both.post(at(shown, "reviews"), body(shown, "data_owner")).status_code == 201
    assert both.id not in offered("privacy")
    assert both.id in offered("data_owner")


def test_nobody_is_asked_to_review_what_they_may_not(world: World, case: Case) -> None:
    shown = case.submitted()
    wanted = {"stage": "data_owner", "reason": "She knows the data"}
    refused = world.requester.post(at(shown, "assign"), wanted | {"reviewer": world.requester.id})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/reviewer")
    chosen = world.person("reviewer:data_owner")
    assigned = world.requester.post(at(shown, "assign"), wanted | {"reviewer": chosen.name}).json()
    assert assigned["stages"][0]["assignee"] == chosen.id
    assert chosen.get("/v1/queue", assigned="true").json()["items"][0]["transfer"] == shown["id"]
    event = chosen.get("/v1/events", to_me="true", kind="stage.assigned").json()["items"][-1]
    assert event["why"] == "She knows the data"
    assert event["where"] == {"href": at(shown, "reviews"), "method": "POST"}
    assert event["how_much"]["persons"] == 150_000
    assert (
        world.requester.post(at(shown, "assign"), wanted | {"stage": "executive", "reviewer": chosen.id}).status_code
        == 409
    )


def test_whoever_stands_back_reviews_nothing_of_it(world: World, case: Case) -> None:
    shown = case.submitted()
    friend = world.person("reviewer:data_owner")
    world.requester.post(at(shown, "assign"), {"stage": "data_owner", "reviewer": friend.id, "reason": "Free"})
    recused = friend.post(at(shown, "recuse"), {"reason": "My brother works there"})
    assert recused.json()["recused"] == [friend.id]
    assert recused.json()["stages"][0]["assignee"] is None
    assert friend.post(at(shown, "reviews"), body(shown, "data_owner")).status_code == 403
    assert shown["id"] not in [item["transfer"] for item in friend.get("/v1/queue", limit=200).json()["items"]]
    assert friend.post(at(shown, "recuse"), {"reason": "Again"}).status_code == 409
    stand_in = world.person()
    absent(friend, stand_in)
    assert stand_in.post(at(shown, "reviews"), body(shown, "data_owner")).status_code == 403
    world.review(shown, "data_owner")
    assert world.reviewers["data_owner"].post(at(shown, "recuse"), {"reason": "x"}).status_code == 409


def test_the_queue_holds_what_the_caller_may_decide_with_counts_and_age(
    world: World, case: Case, days_ahead: Clock
) -> None:
    reviewer = world.person("reviewer:data_owner", "reviewer:privacy", handler=case.handler["id"])
    first, second = case.submitted(), case.submitted()
    queue = reviewer.get("/v1/queue").json()
    assert [item["transfer"] for item in queue["items"]] == [first["id"], second["id"]]
    assert (queue["counts"]["data_owner"], queue["counts"]["all"], queue["counts"]["overdue"]) == (2, 2, 0)
    page = reviewer.get("/v1/queue", limit=1).json()
    following = reviewer.get("/v1/queue", limit=1, cursor=page["next_cursor"]).json()
    assert ([page["items"][0]["transfer"], following["items"][0]["transfer"]], following["next_cursor"]) == (
        [first["id"], second["id"]],
        None,
    )
    assert reviewer.get("/v1/queue", cursor="nonsense").status_code == 422
    days_ahead.ahead = timedelta(hours=80)
    late = reviewer.get("/v1/queue", overdue="true", stage="data_owner", handler=case.handler["key"]).json()
    assert len(late["items"]) == 2
    assert late["items"][0]["age_hours"] >= 80
    assert late["items"][0]["overdue"] is True
    assert reviewer.post(at(first, "reviews"), body(first, "data_owner")).status_code == 201
    after = reviewer.get("/v1/queue").json()
    assert [item["transfer"] for item in after["items"]] == [second["id"]]


def test_comments_tell_those_who_are_mentioned(world: World, case: Case) -> None:
    shown = case.submitted()
    legal = world.reviewers["legal"]
    said = world.requester.post(at(shown, "comments"), {"text": "Is route A fine?", "mentions": [legal.name]})
    assert (said.status_code, said.json()["mentions"]) == (201, [legal.id])
    event = legal.get("/v1/events", to_me="true", subject=shown["id"], kind="transfer.commented").json()["items"][0]
    assert (event["who"]["id"], event["why"]) == (world.requester.id, "Is route A fine?")
    stranger = world.person()
    unknown = world.requester.post(at(shown, "comments"), {"text": "Hello", "mentions": [legal.id, stranger.id]})
    assert unknown.json()["errors"][0]["pointer"] == "/mentions/1"
    assert [one["text"] for one in legal.get(at(shown, "comments")).json()["items"]] == ["Is route A fine?"]
    assert world.exporter.post(at(shown, "comments"), {"text": "x"}).status_code == 403


def test_a_page_of_the_queue_follows_what_was_decided_meanwhile(world: World, case: Case) -> None:
    reviewer = world.person("reviewer:data_owner", handler=case.handler["id"])
    first, second = case.submitted(), case.submitted()
    page = reviewer.get("/v1/queue", limit=1).json()
    reviewer.made(at(first, "reviews"), body(first, "data_owner"))
    following = reviewer.get("/v1/queue", limit=1, cursor=page["next_cursor"]).json()
    assert [item["transfer"] for item in following["items"]] == [second["id"]]
    for cursor in ("bm8gZGF5", "MjAyNi0wMS0wMSBhYmM"):
        assert reviewer.get("/v1/queue", cursor=cursor).status_code == 422


def test_a_stand_in_is_offered_for_whichever_absent_one_may(world: World, case: Case) -> None:
    shown = case.submitted()
    stand_in = world.person()
    lenders = [world.person("reviewer:data_owner") for _ in range(2)]
    for lender in lenders:
        assert absent(lender, stand_in).status_code == 201
    for barred, able in (lenders, lenders[::-1]):
        other = case.submitted()
        barred.made(at(other, "recuse"), {"reason": "A relative"})
        items = world.requester.get(at(other, "reviewers"), stage="data_owner").json()["items"]
        assert {one["on_behalf_of"] for one in items if one["principal"] == stand_in.id} == {able.id}
    said = world.requester.post(at(shown, "comments"), {"text": "Please look", "mentions": [stand_in.name]})
    assert said.json()["mentions"] == [stand_in.id]


def test_nobody_is_offered_for_what_cannot_be_decided(world: World, case: Case) -> None:
    shown = case.submitted()
    assert world.requester.get(at(shown, "reviewers"), stage="executive").json()["items"] == []
    world.requester.made(at(shown, "withdraw"), {"reason": "Not needed"})
    assert world.requester.get(at(shown, "reviewers"), stage="data_owner").json()["items"] == []


def test_every_act_with_a_lent_role_says_for_whom(world: World, case: Case) -> None:
    shown = case.submitted()
    away, stand_in = world.person("reviewer:data_owner", "reviewer:legal"), world.person()
    absent(away, stand_in)
    paper = {"kind": "standard_contract", "reference": "No. 1", "issuer": "Legal", "issued_on": day(0)}
    evidence = world.requester.made(at(shown, "evidence"), paper)
    stand_in.made(at(shown, "evidence", evidence["id"], "verify"), None)
    chosen = {"stage": "data_owner", "reviewer": stand_in.id, "reason": "I am here"}
    stand_in.made(at(shown, "assign"), chosen)
    given = stand_in.made(at(shown, "reviews"), body(shown, "data_owner"))["reviews"][0]
    stand_in.made(at(shown, "reviews", given["id"], "take-back"), {"reason": "A stray click"})
    stand_in.made(at(shown, "evidence", evidence["id"], "withdraw"), {"reason": "Wrong paper"})
    entries = world.auditor.get("/v1/audit/entries", subject=shown["id"], limit=200).json()["items"]
    acts = [(entry["action"], entry["details"].get("on_behalf_of")) for entry in entries[3:]]
    assert acts == [
        ("transfer.evidence_verified", away.id),
        ("stage.assigned", away.id),
        ("transfer.reviewed", away.id),
        ("transfer.approval_taken_back", away.id),
        ("transfer.evidence_withdrawn", away.id),
    ]


def test_an_author_does_not_resume_the_permit_of_their_request_by_a_lent_role(world: World, case: Case) -> None:
    author = world.person("requester")
    mine = author.made(at(author.made("/v1/transfers", _request(case)), "submit"), None)
    permit = world.approve(mine)["permit"]
    legal = world.person("reviewer:legal")
    absent(legal, author)
    author.made(f"/v1/permits/{permit}/suspend", {"reason": "Look again"})
    assert author.post(f"/v1/permits/{permit}/resume", {"reason": "Fine"}).status_code == 403
    resumed = legal.made(f"/v1/permits/{permit}/resume", {"reason": "Fine"})
    assert resumed["status"] == "active"
    entry = world.auditor.get("/v1/audit/entries", subject=permit, action="permit.suspended").json()["items"][0]
    assert entry["details"]["on_behalf_of"] == legal.id


def test_whoever_has_left_a_handler_is_told_no_more_of_it(world: World, case: Case) -> None:
    leaving = world.person("requester", handler=case.handler["id"])
    world.admin.made("/v1/grants", {"principal": leaving.id, "role": "requester", "handler": world.handler()["id"]})
    mine = leaving.made(at(leaving.made("/v1/transfers", _request(case)), "submit"), None)
    grants = world.admin.get("/v1/grants", principal=leaving.id).json()["items"]
    for number, grant in enumerate(grants):
        world.admin.made(f"/v1/grants/{grant['id']}/withdraw", None)
        world.reviewers["privacy"].made(at(mine, "comments"), {"text": "Between us"})
        told = leaving.get("/v1/events", to_me="true", limit=200)
        assert mine["id"] not in told.text
        kinds = [event["kind"] for event in told.json()["items"]]
        assert kinds.count("grant.withdrawn") == number + 1
        assert mine["id"] not in leaving.get("/v1/events", limit=200).text


# Approvals taken back, grants withdrawn, outcomes told


def test_an_approval_is_taken_back_until_the_permit_is_issued(world: World, case: Case) -> None:
    shown = case.submitted()
    first = world.review(shown, "data_owner").json()["reviews"][0]
    world.review(shown, "privacy")
    path = at(shown, "reviews", first["id"], "take-back")
    assert world.reviewers["privacy"].post(path, {"reason": "Not mine"}).status_code == 403
    back = world.reviewers["data_owner"].post(path, {"reason": "A stray click"}).json()
    assert [stage["status"] for stage in back["stages"]] == ["open", "approved", "waiting"]
    assert back["reviews"][0]["standing"] == "taken_back"
    assert back["reviews"][0]["taken_back_reason"] == "A stray click"
    assert world.review(shown, "legal").status_code == 409
    assert world.reviewers["data_owner"].post(path, {"reason": "Again"}).status_code == 409
    world.add_evidence(shown)
    world.review(shown, "data_owner")
    approved = world.review(shown, "legal").json()
    assert approved["status"] == "approved"
    standing = [one["stage"] for one in approved["reviews"] if one["standing"] == "counts"]
    assert sorted(standing) == ["data_owner", "legal", "privacy"]
    late = world.reviewers["legal"].post(
        at(shown, "reviews", approved["reviews"][-1]["id"], "take-back"), {"reason": "x"}
    )
    assert late.status_code == 409
    suspended = world.reviewers["legal"].post(f"/v1/permits/{approved['permit']}/suspend", {"reason": "Look again"})
    assert suspended.json()["status"] == "suspended"


def test_a_grant_that_is_withdrawn_leaves_the_review_and_shows_it(world: World, case: Case) -> None:
    shown = case.submitted()
    leaving = world.person("reviewer:data_owner")
    reviewed = leaving.post(at(shown, "reviews"), body(shown, "data_owner")).json()
    assert reviewed["reviews"][0]["grant"] == "stands"
    grant = world.admin.get("/v1/grants", principal=leaving.id).json()["items"][0]
    world.admin.post(f"/v1/grants/{grant['id']}/withdraw")
    after = world.auditor.get(at(shown)).json()
    assert (after["reviews"][0]["grant"], after["reviews"][0]["standing"]) == ("withdrawn", "counts")
    world.person("reviewer:data_owner")
    assert world.auditor.get(at(shown)).json()["reviews"][0]["grant"] == "withdrawn"
    world.grant(leaving.id, "reviewer:data_owner")
    assert world.auditor.get(at(shown)).json()["reviews"][0]["grant"] == "regranted"
    world.admin.made(f"/v1/principals/{leaving.id}/disable", None)
    assert world.auditor.get(at(shown)).json()["reviews"][0]["grant"] == "disabled"


def test_a_lent_review_shows_that_whoever_gave_it_is_shut_out(world: World, case: Case) -> None:
    away, stand_in = world.person("reviewer:data_owner"), world.person()
    lent = {"delegate": stand_in.id, "valid_from": day(0), "valid_until": day(1), "reason": "Leave"}
    away.made("/v1/delegations", lent)
    shown = case.submitted()
    reviewed = stand_in.post(at(shown, "reviews"), body(shown, "data_owner")).json()
    assert (reviewed["reviews"][0]["on_behalf_of"], reviewed["reviews"][0]["grant"]) == (away.id, "stands")
    world.admin.made(f"/v1/principals/{stand_in.id}/disable", None)
    assert world.auditor.get(at(shown)).json()["reviews"][0]["grant"] == "disabled"


def test_the_requester_is_told_each_outcome_with_the_whole_context(world: World, case: Case) -> None:
    shown = case.submitted()
    world.review(shown, "data_owner", "return", comment="Fewer fields, please")
    world.requester.made(at(shown, "submit"), None)
    told = world.requester.get("/v1/events", to_me="true", subject=shown["id"], limit=200).json()["items"]
    assert [event["kind"] for event in told] == [
        "transfer.created",
        "transfer.submitted",
        "transfer.reviewed",
        "transfer.submitted",
    ]
    returned = told[2]
    assert returned["who"]["id"] == world.reviewers["data_owner"].id
    assert returned["why"] == "Fewer fields, please"
    assert returned["how_much"]["persons"] == 150_000
    assert returned["where"]["href"] == at(shown)
    opened = world.reviewers["data_owner"].get("/v1/events", to_me="true", subject=shown["id"]).json()["items"]
    assert [event["kind"] for event in opened].count("stage.opened") == 2
    assert world.requester.id not in opened[0]["audience"]


def test_nothing_vanishes(world: World, case: Case) -> None:
    mark = world.name("purpose")
    shown = case.submitted(purpose=mark)
    world.review(shown, "data_owner", "reject", comment=f"No, not for {mark}")
    for found in (
        world.auditor.get("/v1/transfers", text=mark).json()["items"],
        world.auditor.get("/v1/transfers", text=f"not for {mark}", status="rejected").json()["items"],
    ):
        assert [one["id"] for one in found] == [shown["id"]]
    history = world.auditor.get(at(shown, "history")).json()["items"]
    assert [entry["action"] for entry in history] == ["transfer.created", "transfer.submitted", "transfer.reviewed"]


# Conditions


def test_conditions_narrow_the_permit_and_the_gate_enforces_them(world: World, case: Case) -> None:
    shown = case.submitted(fields=["city", "amount"])
    world.add_evidence(shown)
    tied = {"persons": 1000, "fields": ["city"], "valid_days": 30, "recipients": [case.recipient["key"]]}
    assert world.review(shown, "data_owner", conditions=tied).status_code == 201
    world.review(shown, "privacy", conditions={"persons": 2000, "valid_until": day(60)})
    approved = world.review(shown, "legal").json()
    permit = world.auditor.get(f"/v1/permits/{approved['permit']}").json()
    assert (permit["persons"], permit["fields"], permit["valid_until"]) == (1000, ["city"], day(29))
    assert [one["stage"] for one in permit["conditions"]] == ["data_owner", "privacy"]
    assert permit["conditions"][0]["recipients"] == [case.recipient["id"]]
    assert (
        world.ask(case.dataset, case.recipient, persons=1001, fields=["city"])["context"]["reason"] == "quota_exceeded"
    )
    assert (
        world.ask(case.dataset, case.recipient, persons=1, fields=["amount"])["context"]["reason"]
        == "fields_not_covered"
    )
    assert world.ask(case.dataset, case.recipient, persons=1000, fields=["city"])["decision"] is True


@pytest.mark.parametrize(
    ("tied", "pointer"),
    [
        ({"persons": 150_001}, "/conditions/persons"),
        ({"fields": ["phone"]}, "/conditions/fields"),
        ({"valid_until": day(201)}, "/conditions/valid_until"),
        ({"recipients": ["nobody"]}, "/conditions/recipients/0"),
        ({}, "/conditions"),
        ({"price": 3}, "/conditions/price"),
    ],
)
def test_a_condition_that_widens_or_says_nothing_is_refused(world: World, case: Case, tied: Json, pointer: str) -> None:
    shown = case.submitted()
    refused = world.review(shown, "data_owner", conditions=tied)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
    assert world.review(shown, "data_owner", "return", conditions={"persons": 1}).status_code == 422


def test_terms_are_accepted_before_the_next_stage_opens(world: World, case: Case) -> None:
    shown = case.submitted()
    world.add_evidence(shown)
    waiting = world.review(shown, "data_owner", conditions={"terms": ["Report every month"]}).json()
    assert waiting["terms_pending"] == ["Report every month"]
    assert "open" not in [stage["status"] for stage in waiting["stages"]]
    closed = world.review(shown, "privacy")
    assert (closed.status_code, closed.json()["type"]) == (409, "/problems/terms-pending")
    accept = {"revision": shown["revision"]["hash"]}
    assert world.reviewers["privacy"].post(at(shown, "terms", "accept"), accept).status_code == 403
    assert world.requester.post(at(shown, "terms", "accept"), {"revision": "sha256:other"}).status_code == 409
    accepted = world.requester.post(at(shown, "terms", "accept"), accept).json()
    assert accepted["stages"][1]["status"] == "open"
    assert accepted["reviews"][0]["terms_accepted_by"] == world.requester.id
    assert world.requester.post(at(shown, "terms", "accept"), accept).status_code == 409
    world.review(shown, "privacy")
    last = world.review(shown, "legal", conditions={"terms": ["Delete after a year"]}).json()
    assert (last["status"], last["permit"]) == ("in_review", None)
    issued = world.requester.post(at(shown, "terms", "accept"), accept).json()
    assert issued["status"] == "approved"
    assert issued["permit"] is not None


# Revisions


def test_a_diff_says_in_words_what_changed_and_whom_it_touches(world: World, case: Case) -> None:
    shown = case.submitted()
    world.requester.patch(at(shown), {"persons": 1_200_000, "systems": ["crm"]})
    told = world.auditor.get(at(shown, "revisions", "2", "diff")).json()
    sentences = {
        change["part"]: change["text"]["en"] for change in told["changes"] if change["part"] != "determination"
    }
    assert sentences == {
        "persons": "Persons: from 150000 to 1200000.",
        "systems": "Systems: from every exporter to crm.",
    }
    law = [change["text"]["en"] for change in told["changes"] if change["part"] == "determination"]
    assert "What the law asks for: from standard_contract_or_certification to security_assessment." in law
    assert {stage["stage"]: "systems" in stage["changed"] for stage in told["stages"]} == {
        "data_owner": False,
        "privacy": False,
        "legal": False,
        "security": True,
    }
    first = world.auditor.get(at(shown, "revisions", "1", "diff")).json()
    assert (first["from_revision"], first["changes"]) == (None, [])
    assert world.auditor.get(at(shown, "revisions", "3", "diff")).status_code == 404
    assert world.auditor.get(at(shown, "revisions", "2", "diff"), since=2).status_code == 422
    numbers = [one["number"] for one in world.auditor.get(at(shown, "revisions")).json()["items"]]
    assert numbers == [1, 2]
    assert world.auditor.get(at(shown, "revisions", "1")).json()["gradings"][0]["tags"] == ["personal"]


def test_an_approval_is_carried_over_when_nothing_of_its_stage_changed(world: World, case: Case) -> None:
    shown = case.submitted()
    tied = {"persons": 120_000, "terms": ["Report every month"]}
    given = world.review(shown, "data_owner", conditions=tied).json()["reviews"][0]
    changed = world.requester.patch(at(shown), {"systems": ["crm"]}).json()
    assert changed["carryable"] == [
        {
            "review": given["id"],
            "stage": "data_owner",
            "reviewer": world.reviewers["data_owner"].id,
            "revision": 1,
            "changed": [],
            "allowed": True,
        }
    ]
    assert changed["reviews"][0]["standing"] == "earlier_revision"
    path = at(shown, "reviews", given["id"], "carry-over")
    assert world.person("reviewer:data_owner").post(path, {"revision": changed["revision"]["hash"]}).status_code == 403
    assert world.reviewers["data_owner"].post(path, {"revision": shown["revision"]["hash"]}).status_code == 409
    carried = world.reviewers["data_owner"].post(path, {"revision": changed["revision"]["hash"]}).json()
    assert carried["reviews"][-1]["carried_from"] == given["id"]
    assert carried["reviews"][-1]["conditions"]["persons"] == 120_000
    assert carried["terms_pending"] == ["Report every month"]


def test_an_approval_is_not_carried_over_what_it_decided_on(world: World, case: Case) -> None:
    shown = case.submitted()
    given = world.review(shown, "data_owner").json()["reviews"][0]
    changed = world.requester.patch(at(shown), {"purpose": "advertising"}).json()
    assert changed["carryable"][0]["allowed"] is False
    path = at(shown, "reviews", given["id"], "carry-over")
    refused = world.reviewers["data_owner"].post(path, {"revision": changed["revision"]["hash"]})
    assert (refused.status_code, refused.json()["changed"]) == (409, ["purpose"])
    assert refused.json()["type"] == "/problems/inputs-changed"
