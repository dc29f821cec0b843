"""Transfers: drafts, revisions, separated duties, evidence, and the ends that they can come to."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from tests import jwt_check
from tests.conftest import Clock
from tests.world import Json, Person, World, day


class Case:
    """A handler with one personal dataset and a recipient in Singapore."""

    def __init__(self, world: World, *tags: str, **recipient: Any) -> None:
        self.world = world
        self.handler = world.handler()
        self.dataset = world.dataset(self.handler, *(tags or ("personal",)))
        self.recipient = world.recipient(**recipient)

    def submitted(self, **more: Any) -> Json:
        return self.world.submitted(self.handler, [self.dataset], self.recipient, **more)

    def draft(self, **more: Any) -> Json:
        return self.world.draft(self.handler, [self.dataset], self.recipient, **more)


@pytest.fixture
def case(world: World) -> Case:
    return Case(world)


def read(world: World, transfer: Json) -> Json:
    shown: Json = world.auditor.get(f"/v1/transfers/{transfer['id']}").json()
    return shown


@pytest.mark.parametrize(
    ("tags", "recipient", "more", "mechanism", "stages"),
    [
        (["personal"], {}, {"persons": 10}, "exempt", "privacy"),
        (["personal"], {}, {"persons": 10, "necessity": "contract"}, "exempt", "data_owner privacy"),
        (["sensitive"], {}, {"sensitive_persons": 1}, "standard_contract_or_certification", "data_owner privacy legal"),
        (["important"], {}, {}, "security_assessment", "data_owner privacy legal security"),
        (["core"], {}, {}, "state_approval", "data_owner privacy legal security executive"),
        ([], {"kind": "judicial_or_enforcement"}, {}, "authority_approval", "privacy legal security executive"),
    ],
)
def test_each_mechanism_is_approved_by_its_stages(
    world: World, tags: list[str], recipient: Json, more: Json, mechanism: str, stages: str
) -> None:
    handler = world.handler()
    dataset, abroad = world.dataset(handler, *tags), world.recipient(**recipient)
    shown = world.submitted(handler, [dataset], abroad, **more)
    assert shown["determination"]["mechanism"] == mechanism
    assert " ".join(stage["name"] for stage in shown["stages"]) == stages
    assert shown["stages"][0]["status"] == "open"
    permit = world.auditor.get(f"/v1/permits/{world.approve(shown)['permit']}").json()
    assert permit["mechanism"] == mechanism
    assert permit["revision"] == shown["revision"]["hash"]


def test_core_data_needs_the_approval_of_the_state(world: World) -> None:
    case = Case(world, "core")
    shown = case.submitted()
    world.add_evidence(shown, ["security_assessment_result"])
    for stage in ("data_owner", "privacy", "legal", "security"):
        world.review(shown, stage)
    last = world.review(shown, "executive")
    assert (last.status_code, last.json()["missing_evidence"]) == (409, ["state_approval"])
    assert read(world, shown)["status"] == "in_review"


def test_what_is_prohibited_is_rejected_at_submission(world: World) -> None:
    case = Case(world, facts={"restricted": True})
    shown = case.submitted(persons=1)
    assert (shown["status"], shown["stages"]) == ("rejected", [])
    assert "PIPL art. 42" in shown["reason"]
    assert world.requester.post(f"/v1/transfers/{shown['id']}/submit").status_code == 409


def test_the_requester_does_not_review(world: World, case: Case) -> None:
    both = world.person("requester", "reviewer:privacy")
    draft = both.made("/v1/transfers", body_of(case))
    shown = both.made(f"/v1/transfers/{draft['id']}/submit", None)
    answer = both.post(f"/v1/transfers/{shown['id']}/reviews", review(shown, "privacy"))
    assert answer.status_code == 403


def test_whoever_changed_the_request_does_not_review_it(world: World, case: Case) -> None:
    shown = case.submitted(persons=10)
    editor = world.person("requester", "reviewer:privacy")
    path = f"/v1/transfers/{shown['id']}"
    changed = editor.patch(path, {"purpose": "other"}).json()
    assert editor.post(f"{path}/reviews", review(changed, "privacy")).status_code == 403


def test_each_stage_takes_another_person(world: World) -> None:
    case = Case(world, "personal")
    shown = case.submitted(persons=150_000)
    many = world.person("reviewer:data_owner", "reviewer:privacy", "reviewer:legal")
    path = f"/v1/transfers/{shown['id']}/reviews"
    assert many.post(path, review(shown, "data_owner")).status_code == 201
    assert many.post(path, review(shown, "privacy")).status_code == 403


def test_two_keys_of_one_person_are_one_person(world: World) -> None:
    case = Case(world, "personal")
    shown = case.submitted(persons=150_000)
    many = world.person("reviewer:data_owner", "reviewer:privacy")
    second = Person(world.http, world.admin.made("/v1/api-keys", {"principal": many.id})["secret"], many.id, many.name)
    path = f"/v1/transfers/{shown['id']}/reviews"
    assert many.post(path, review(shown, "data_owner")).status_code == 201
    assert second.post(path, review(shown, "privacy")).status_code == 403


def test_a_stage_is_reviewed_in_its_turn_and_by_its_role(world: World) -> None:
    shown = Case(world).submitted(persons=150_000)
    path = f"/v1/transfers/{shown['id']}/reviews"
    assert world.review(shown, "legal").status_code == 409
    assert world.review(shown, "executive").status_code == 409
    assert world.reviewers["legal"].post(path, review(shown, "data_owner")).status_code == 403
    assert world.requester.post(path, review(shown, "data_owner")).status_code == 403
    assert world.reviewers["legal"].post(path, review(shown, "nobody")).status_code == 422


def test_a_review_is_of_the_revision_that_was_seen(world: World, case: Case) -> None:
    shown = case.submitted(persons=10)
    changed = world.requester.patch(f"/v1/transfers/{shown['id']}", {"persons": 20}).json()
    assert changed["revision"]["number"] == 2
    refused = world.review(shown, "privacy")
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("revision-moved")
    assert world.review(changed, "privacy", "return").json()["status"] == "returned"


def test_a_change_that_changes_nothing_keeps_the_revision(world: World, case: Case) -> None:
    shown = case.submitted(persons=10)
    same = world.requester.patch(f"/v1/transfers/{shown['id']}", {"persons": 10}).json()
    assert same["revision"] == shown["revision"]


def test_a_route_that_a_new_year_no_longer_asks_for_does_not_stop_the_approval(
    world: World, case: Case, days_ahead: Clock
) -> None:
    first = world.approve(case.submitted(persons=60_000, purpose="first", valid_until=day(600)))
    assert (
        world.export(case.dataset, case.recipient, 60_000, purpose="first", permit=first["permit"]).status_code == 201
    )
    shown = case.submitted(persons=60_000, route="certification", valid_until=day(600))
    world.add_evidence(shown)
    for stage in ("data_owner", "privacy"):
        world.review(shown, stage)
    days_ahead.ahead = timedelta(days=400)
    approved = world.review(shown, "legal").json()
    assert approved["status"] == "approved"


def test_a_grading_after_submission_moves_the_content(world: World, case: Case) -> None:
    shown = case.submitted(persons=10)
    world.add_evidence(shown)
    world.grade(case.dataset, "personal", "important")
    assert world.review(shown, "privacy").status_code == 409
    again = world.requester.made(f"/v1/transfers/{shown['id']}/submit", None)
    assert again["determination"]["mechanism"] == "security_assessment"
    assert again["revision"]["hash"] != shown["revision"]["hash"]
    assert world.requester.post(f"/v1/transfers/{shown['id']}/submit").status_code == 409


def test_a_returned_request_is_changed_and_approved(world: World, case: Case) -> None:
    shown = case.submitted(persons=10)
    silent = world.review(shown, "privacy", "return", comment="")
    assert silent.json()["errors"][0]["pointer"] == "/comment"
    returned = world.review(shown, "privacy", "return", comment="Fewer fields, please").json()
    assert (returned["status"], returned["reviews"][0]["comment"]) == ("returned", "Fewer fields, please")
    world.requester.patch(f"/v1/transfers/{shown['id']}", {"fields": ["city"]})
    again = world.requester.made(f"/v1/transfers/{shown['id']}/submit", None)
    assert again["revision"]["number"] == 2
    approved = world.approve(again)
    assert [given["decision"] for given in approved["reviews"]] == ["return", "approve"]
    first = world.auditor.get(f"/v1/transfers/{shown['id']}/revisions/1").json()
    assert first["content"]["request"]["fields"] is None
    assert first["hash"] == shown["revision"]["hash"]


def test_a_rejected_request_is_over(world: World, case: Case) -> None:
    shown = case.submitted(persons=10)
    rejected = world.review(shown, "privacy", "reject", comment="No").json()
    assert (rejected["status"], rejected["reason"]) == ("rejected", "No")
    path = f"/v1/transfers/{shown['id']}"
    assert world.requester.patch(path, {"persons": 5}).status_code == 409
    assert world.requester.post(f"{path}/withdraw").status_code == 409
    assert world.requester.post(f"{path}/evidence", paper("consent_record")).status_code == 409


def test_a_request_is_withdrawn_until_it_is_decided(world: World, case: Case) -> None:
    shown = case.submitted(persons=10)
    path = f"/v1/transfers/{shown['id']}"
    assert world.requester.made(f"{path}/withdraw", {"reason": "Not needed"})["status"] == "withdrawn"
    assert world.review(shown, "privacy").status_code == 409
    approved = world.approve(case.submitted(persons=10))
    assert world.requester.post(f"/v1/transfers/{approved['id']}/withdraw").status_code == 409


def test_a_request_that_nobody_decided_expires(world: World, case: Case, days_ahead: Clock) -> None:
    shown = case.submitted(persons=10, valid_until=day(2))
    days_ahead.ahead = timedelta(days=3)
    assert read(world, shown)["status"] == "expired"
    assert world.review(shown, "privacy").status_code == 409
    found = world.auditor.get("/v1/transfers", status="expired", handler=case.handler["id"]).json()["items"]
    assert [item["id"] for item in found] == [shown["id"]]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"datasets": []}, "/datasets"),
        ({"datasets": ["nothing"]}, "/datasets/0"),
        ({"recipient": "nobody"}, "/recipient"),
        ({"handler": "nobody"}, "/handler"),
        ({"fields": ["phone"]}, "/fields/0"),
        ({"fields": []}, "/fields"),
        ({"purpose": ""}, "/purpose"),
        ({"route": "wish"}, "/route"),
        ({"necessity": "whim"}, "/necessity"),
        ({"valid_from": day(-9), "valid_until": day(-1)}, "/valid_until"),
        ({"valid_from": day(9), "valid_until": day(8)}, "/valid_until"),
        ({"status": "approved"}, "/status"),
        ({"requester": "pr_x"}, "/requester"),
    ],
)
def test_a_wrong_field_is_named(world: World, case: Case, change: Json, pointer: str) -> None:
    answer = world.requester.post("/v1/transfers", body_of(case) | change)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"persons": 0}, "/persons"),
        ({"sensitive_persons": 1}, "/sensitive_persons"),
        ({"route": "state_approval"}, "/route"),
    ],
)
def test_a_contradiction_is_named_at_submission(world: World, case: Case, change: Json, pointer: str) -> None:
    draft = world.requester.made("/v1/transfers", body_of(case) | change)
    answer = world.requester.post(f"/v1/transfers/{draft['id']}/submit")
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert read(world, draft)["status"] == "draft"


def test_nothing_ungraded_and_nothing_domestic_is_submitted(world: World) -> None:
    handler = world.handler()
    raw, graded = world.dataset(handler, graded=False), world.dataset(handler, "personal")
    draft = world.draft(handler, [graded, raw], world.recipient(), persons=1)
    refused = world.requester.post(f"/v1/transfers/{draft['id']}/submit")
    assert refused.json()["errors"][0]["pointer"] == "/datasets/1"
    inside = world.draft(handler, [graded], world.recipient("CN"), persons=1)
    assert world.requester.post(f"/v1/transfers/{inside['id']}/submit").json()["errors"][0]["pointer"] == "/recipient"


def test_several_datasets_are_determined_together(world: World) -> None:
    handler = world.handler()
    datasets = [world.dataset(handler, "personal"), world.dataset(handler, "important")]
    shown = world.submitted(handler, datasets, world.recipient(), persons=5)
    assert shown["determination"]["mechanism"] == "security_assessment"


def test_the_chosen_route_decides_the_evidence(world: World, case: Case) -> None:
    shown = case.submitted(persons=150_000, route="certification")
    assert shown["missing_evidence"] == ["certificate", "impact_assessment_report", "consent_record"]
    permit = world.auditor.get(f"/v1/permits/{world.approve(shown)['permit']}").json()
    assert (permit["route"], permit["receipt_due_on"]) == ("certification", None)


def test_evidence_out_of_date_does_not_count_and_the_permit_ends_with_it(world: World, case: Case) -> None:
    shown = case.submitted(persons=10)
    path = f"/v1/transfers/{shown['id']}/evidence"
    world.requester.made(path, paper("consent_record", issued_on=day(5)))
    world.requester.made(path, paper("impact_assessment_report", issued_on=day(-9), valid_until=day(-1)))
    refused = world.review(shown, "privacy").json()
    assert refused["missing_evidence"] == ["impact_assessment_report", "consent_record"]
    world.requester.made(path, paper("consent_record"))
    world.requester.made(path, paper("impact_assessment_report", valid_until=day(9)))
    approved = world.review(shown, "privacy").json()
    permit = world.auditor.get(f"/v1/permits/{approved['permit']}").json()
    assert permit["valid_until"] == day(9)
    assert len(permit["evidence"]) == 2


def test_an_assessment_result_lives_three_years(world: World) -> None:
    case = Case(world, "important")
    shown = case.submitted(valid_until=day(4000))
    world.add_evidence(shown)
    ends = {paper["kind"]: paper["ends_on"] for paper in read(world, shown)["evidence"]}
    assert ends["security_assessment_result"][:4] == str(int(day(0)[:4]) + 3)
    assert ends["legal_instrument"] is None
    permit = world.auditor.get(f"/v1/permits/{world.approve(shown)['permit']}").json()
    assert permit["valid_until"] == ends["security_assessment_result"]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"kind": "rumour"}, "/kind"),
        ({"issuer": ""}, "/issuer"),
        ({"valid_until": "2020-01-01"}, "/valid_until"),
        ({"file": "x"}, "/file"),
    ],
)
def test_wrong_evidence_is_named(world: World, case: Case, change: Json, pointer: str) -> None:
    answer = world.requester.post(
        f"/v1/transfers/{case.draft(persons=1)['id']}/evidence", paper("consent_record") | change
    )
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)


def test_the_last_approval_sees_the_law_and_the_count_of_that_moment(world: World, case: Case) -> None:
    shown = case.submitted(persons=60_000)
    world.add_evidence(shown)
    other = world.approve(case.submitted(persons=60_000, purpose="other"))
    assert (
        world.export(case.dataset, case.recipient, 50_000, purpose="other", permit=other["permit"]).status_code == 201
    )
    refused = world.review(shown, "privacy")
    assert refused.json()["type"].endswith("determination-moved")
    assert world.review(shown, "privacy", "return").json()["status"] == "returned"
    again = world.requester.made(f"/v1/transfers/{shown['id']}/submit", None)
    assert again["determination"]["mechanism"] == "standard_contract_or_certification"


def test_a_reviewers_queue_holds_what_waits_for_that_stage(world: World, case: Case) -> None:
    first, second = case.submitted(persons=10), case.submitted(persons=150_000)

    def queue(stage: str) -> list[str]:
        page = world.reviewers["privacy"].get("/v1/transfers", stage_role=stage, handler=case.handler["id"]).json()
        return [item["id"] for item in page["items"]]

    assert queue("privacy") == queue("reviewer:privacy") == [first["id"]]
    assert queue("data_owner") == [second["id"]]
    world.review(second, "data_owner")
    assert queue("privacy") == [first["id"], second["id"]]


def test_everything_that_happened_is_in_the_history(world: World, case: Case) -> None:
    approved = world.approve(case.submitted(persons=10))
    entries = world.auditor.get(f"/v1/transfers/{approved['id']}/history").json()["items"]
    assert [entry["action"].removeprefix("transfer.") for entry in entries] == [
        "created",
        "submitted",
        "evidence_added",
        "evidence_added",
        "reviewed",
    ]


def test_two_last_approvals_at_once_issue_one_permit(world: World, case: Case) -> None:
    for _ in range(5):
        shown = case.submitted(persons=10)
        world.add_evidence(shown)
        people = [world.reviewers["privacy"], world.person("reviewer:privacy")]
        path = f"/v1/transfers/{shown['id']}/reviews"

        def approve(person: Person, path: str = path, shown: Json = shown) -> int:
            return person.post(path, review(shown, "privacy")).status_code

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(approve, people)) in ([201, 403], [201, 409])
        assert len(world.auditor.get("/v1/permits", transfer=shown["id"]).json()["items"]) == 1


def test_approving_and_changing_at_once_never_approves_what_was_not_seen(world: World, case: Case) -> None:
    for _ in range(5):
        shown = case.submitted(persons=10)
        world.add_evidence(shown)
        with ThreadPoolExecutor(2) as pool:
            approve = pool.submit(world.review, shown, "privacy")
            change = pool.submit(world.requester.patch, f"/v1/transfers/{shown['id']}", {"persons": 99})
        now = read(world, shown)
        if approve.result().status_code == 201:
            assert (now["status"], now["persons"]) == ("approved", 10)
            assert change.result().status_code in {409, 412}
        else:
            assert (now["status"], now["persons"]) == ("in_review", 99)


def test_who_sees_nothing_of_a_handler_sees_none_of_its_transfers(world: World, case: Case) -> None:
    shown = case.submitted(persons=10)
    stranger = world.person("requester", "reviewer:privacy", handler=world.handler()["id"])
    path = f"/v1/transfers/{shown['id']}"
    assert stranger.get(path).status_code == 404
    assert stranger.post(f"{path}/reviews", review(shown, "privacy")).status_code == 404
    assert stranger.post(f"{path}/evidence", paper("consent_record")).status_code == 404
    assert stranger.get("/v1/transfers").json()["items"] == []


# Permits


def test_a_permit_is_suspended_resumed_and_revoked_by_those_who_may(world: World, case: Case) -> None:
    permit = f"/v1/permits/{world.approve(case.submitted(persons=10))['permit']}"
    privacy, legal = world.reviewers["privacy"], world.reviewers["legal"]
    assert world.requester.post(f"{permit}/suspend", {"reason": "x"}).status_code == 403
    assert privacy.made(f"{permit}/suspend", {"reason": "Complaint"})["status"] == "suspended"
    assert world.ask(case.dataset, case.recipient, persons=1)["context"]["reason"] == "permit_suspended"
    assert privacy.post(f"{permit}/resume").status_code == 403
    assert legal.made(f"{permit}/resume", None)["status"] == "active"
    assert privacy.post(f"{permit}/revoke", {"reason": "x"}).status_code == 403
    assert legal.post(f"{permit}/revoke", {}).status_code == 422
    assert legal.made(f"{permit}/revoke", {"reason": "Contract ended"})["status"] == "revoked"
    assert world.ask(case.dataset, case.recipient, persons=1)["context"]["reason"] == "permit_revoked"
    assert legal.post(f"{permit}/resume").status_code == 409
    actions = [e["action"] for e in world.auditor.get("/v1/audit/entries", subject=permit[12:]).json()["items"]]
    assert actions == ["permit.issued", "permit.suspended", "permit.resumed", "permit.revoked"]


def test_permits_are_found_by_where_they_stand(world: World, case: Case, days_ahead: Clock) -> None:
    permit = world.approve(case.submitted(persons=10, valid_until=day(5)))["permit"]

    def found(status: str) -> list[str]:
        page = world.auditor.get("/v1/permits", status=status, dataset=case.dataset["id"]).json()
        return [item["id"] for item in page["items"]]

    assert found("active") == [permit]
    export = world.export(case.dataset, case.recipient, 10).json()
    world.exporter.made(f"/v1/exports/{export['id']}/complete", {"persons": 10, "sensitive_persons": 0})
    assert (found("active"), found("exhausted")) == ([], [permit])
    days_ahead.ahead = timedelta(days=6)
    assert (found("exhausted"), found("expired")) == ([], [permit])


def test_a_token_is_checked_with_the_published_keys(world: World, case: Case) -> None:
    permit = world.approve(case.submitted(persons=10))["permit"]
    told = world.auditor.get(f"/v1/permits/{permit}/token").json()
    claims = jwt_check.verified(told["token"], world.http.get("/.well-known/jwks.json").json())
    assert claims["sub"] == permit
    assert claims["permit"]["persons"] == 10
    assert claims["exp"] - claims["iat"] <= 24 * 3600
    world.reviewers["legal"].made(f"/v1/permits/{permit}/suspend", None)
    assert world.auditor.get(f"/v1/permits/{permit}/token").status_code == 409


def body_of(case: Case) -> Json:
    return {
        "handler": case.handler["id"],
        "datasets": [case.dataset["key"]],
        "recipient": case.recipient["key"],
        "purpose": "analytics",
        "description": "Why",
        "persons": 10,
        "sensitive_persons": 0,
        "valid_from": day(0),
        "valid_until": day(10),
    }


def review(shown: Json, stage: str) -> Json:
    return {"stage": stage, "decision": "approve", "revision": shown["revision"]["hash"], "comment": "Seen"}


def paper(kind: str, **more: Any) -> Json:
    return {"kind": kind, "reference": uuid.uuid4().hex, "issuer": "I", "issued_on": day(0)} | more


def test_transfers_are_found_by_what_they_are_about(world: World, case: Case) -> None:
    shown = case.submitted(persons=10)
    for wanted in (
        {"dataset": case.dataset["id"]},
        {"dataset": case.dataset["key"]},
        {"recipient": case.recipient["id"]},
        {"recipient": case.recipient["key"]},
        {"handler": case.handler["id"], "requester": world.requester.id, "status": "in_review"},
    ):
        found = world.auditor.get("/v1/transfers", **wanted).json()["items"]
        assert [item["id"] for item in found] == [shown["id"]]
    assert world.auditor.get("/v1/transfers", dataset="nothing").json()["items"] == []


def test_permits_are_found_by_what_they_are_about(world: World, case: Case) -> None:
    approved = world.approve(case.submitted(persons=10))
    for wanted in (
        {"dataset": case.dataset["id"]},
        {"dataset": case.dataset["key"]},
        {"recipient": case.recipient["id"]},
        {"recipient": case.recipient["key"]},
        {"handler": case.handler["id"]},
        {"handler": case.handler["key"]},
        {"transfer": approved["id"]},
    ):
        found = world.auditor.get("/v1/permits", **wanted).json()["items"]
        assert [item["id"] for item in found] == [approved["permit"]]
