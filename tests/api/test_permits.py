"""Permits over time: what they are bound to, how they follow each other, and what conditions and narrowing leave of them."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
import rfc8785

from service.settings import Settings
from tests.conftest import Clock, Served
from tests.jwt_check import verified
from tests.world import Json, World, day


class Case:
    """A handler with one dataset of personal data and a recipient in Singapore; few persons, so that privacy alone decides."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handler = world.handler()
        self.dataset = world.dataset(self.handler, "personal")
        self.recipient = world.recipient()

    def submitted(self, **more: Any) -> Json:
        return self.world.submitted(self.handler, [self.dataset], self.recipient, **{"persons": 100} | more)

    def approved(self, **more: Any) -> Json:
        return self.world.approve(self.submitted(**more))

    def renewal(self, old: Json, **more: Any) -> Json:
        """Submit the transfer that is to follow another, with its papers."""
        wanted = {"valid_from": day(0), "valid_until": day(300)} | more
        draft = self.world.requester.made(at(old, "renew"), wanted)
        shown = self.world.requester.made(at(draft, "submit"), None)
        self.world.add_evidence(shown)
        return shown

    def permit(self, transfer: Json) -> Json:
        found: Json = self.world.auditor.get(f"/v1/permits/{transfer['permit']}").json()
        return found

    def answer(self, **context: Any) -> tuple[str, str | None]:
        told = self.world.ask(self.dataset, self.recipient, **{"persons": 1} | context)["context"]
        return told["reason"], told["permit"]


@pytest.fixture
def case(world: World) -> Case:
    return Case(world)


def at(shown: Json, *rest: str) -> str:
    return "/".join(["/v1/transfers", shown["id"], *rest])


# What a permit is bound to


def test_a_field_that_is_registered_after_the_approval_is_not_covered(world: World, case: Case) -> None:
    approved = case.approved(fields=None)
    fields = [*case.dataset["fields"], {"name": "passport", "type": "text"}]
    world.registrar.patch(f"/v1/datasets/{case.dataset['id']}", {"fields": fields})
    assert case.answer(fields=["passport"])[0] == "grading_outdated"
    world.grade(case.dataset, "personal")
    assert case.answer(fields=["passport"])[0] == "fields_not_covered"
    assert case.answer()[0] == "fields_not_covered"
    assert case.answer(fields=["city", "amount"]) == ("permitted", approved["permit"])
    assert case.permit(approved)["datasets"][0]["fields"] == ["city", "amount"]
    assert world.auditor.get(f"/v1/permits/{approved['permit']}/outlook").json()["stands"] is True


def test_a_permit_holds_for_the_recipient_as_it_was_approved(world: World, case: Case) -> None:
    approved = case.approved()
    path = f"/v1/recipients/{case.recipient['id']}"
    world.registrar.patch(path, {"country": "US"})
    assert case.answer() == ("evidence_lapsed", approved["permit"])
    world.registrar.patch(path, {"country": "SG", "name": "Another name"})
    assert case.answer() == ("evidence_lapsed", approved["permit"])
    world.registrar.patch(path, {"name": case.recipient["name"], "group": "Invented Group"})
    assert case.answer() == ("permitted", approved["permit"])


def test_foreign_data_that_turns_out_to_be_domestic_needs_the_papers_that_it_was_spared(world: World) -> None:
    case = Case(world)
    path = f"/v1/datasets/{case.dataset['id']}"
    world.free(path, {"origin": "foreign", "domestic_data_added": False})
    approved = case.approved()
    assert [paper["kind"] for paper in approved["evidence"]] == ["origin_statement"]
    assert case.answer() == ("permitted", approved["permit"])
    world.registrar.patch(path, {"facts": {"origin": "domestic"}})
    assert case.answer() == ("evidence_lapsed", approved["permit"])


def test_a_contract_of_the_bay_area_ends_when_the_handler_leaves_it(world: World) -> None:
    handler = world.handler(in_gba=True)
    dataset, recipient = world.dataset(handler, "personal"), world.recipient("HK", facts={"in_gba": True})
    wanted = {"persons": 150_000, "route": "gba_standard_contract"}
    permit = world.approved(handler, [dataset], recipient, **wanted)["permit"]
    assert world.ask(dataset, recipient, persons=120_000)["context"]["permit"] == permit
    world.registrar.patch(f"/v1/handlers/{handler['id']}", {"facts": {"in_gba": False}})
    assert world.ask(dataset, recipient, persons=120_000)["context"]["reason"] == "evidence_lapsed"


def test_a_revision_stays_as_it_was_submitted(world: World, case: Case) -> None:
    shown = case.submitted()
    path = at(shown, "revisions", "1")
    before = world.auditor.get(path).json()
    content = rfc8785.dumps(before["content"])
    assert before["hash"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
    world.registrar.patch(f"/v1/handlers/{case.handler['id']}", {"facts": {"pi_subjects": 5}})
    world.grade(case.dataset, "personal", "sensitive")
    world.requester.patch(at(shown), {"purpose": "support", "sensitive_persons": 5})
    assert world.auditor.get(path).json() == before
    assert before["gradings"] == [{"dataset": case.dataset["id"], "number": 1, "tags": ["personal"]}]
    now = world.auditor.get(at(shown, "revisions", "2")).json()
    assert now["gradings"] == [{"dataset": case.dataset["id"], "number": 2, "tags": ["personal", "sensitive"]}]


# Conditions


def test_conditions_that_leave_nothing_together_are_refused(world: World, case: Case) -> None:
    shown = case.submitted(persons=150_000, systems=["crm", "erp"])
    nobody = world.review(shown, "data_owner", conditions={"persons": 0})
    assert (nobody.status_code, nobody.json()["errors"][0]["pointer"]) == (422, "/conditions/persons")
    assert world.review(shown, "data_owner", conditions={"fields": ["city"], "systems": ["crm"]}).status_code == 201
    other = world.review(shown, "privacy", conditions={"fields": ["amount"], "systems": ["erp"]})
    assert {one["pointer"] for one in other.json()["errors"]} == {"/conditions/fields", "/conditions/systems"}
    assert world.review(shown, "privacy", conditions={"persons": 7}).status_code == 201


def test_a_condition_whose_end_has_passed_issues_no_permit(world: World, case: Case, days_ahead: Clock) -> None:
    old = case.approved()
    shown = world.submitted(case.handler, [case.dataset], case.recipient, persons=150_000)
    world.add_evidence(shown)
    assert world.review(shown, "data_owner", conditions={"valid_until": day(5)}).status_code == 201
    assert world.review(shown, "privacy").status_code == 201
    days_ahead.ahead = timedelta(days=6)
    late = world.review(shown, "legal")
    assert (late.status_code, "valid_until" in late.json()["detail"]) == (409, True)
    assert case.answer() == ("permitted", old["permit"])


def test_an_approval_whose_conditions_no_longer_fit_is_not_carried_over(world: World, case: Case) -> None:
    shown = case.submitted(persons=150_000, systems=["crm"])
    given = world.review(shown, "data_owner", conditions={"systems": ["crm"]}).json()["reviews"][0]
    moved = world.requester.patch(at(shown), {"systems": ["erp"]}).json()
    path = at(shown, "reviews", given["id"], "carry-over")
    refused = world.reviewers["data_owner"].post(path, {"revision": moved["revision"]["hash"]})
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/inputs-changed")
    assert refused.json()["changed"] == ["systems"]
    back = world.requester.patch(at(shown), {"systems": ["crm", "erp"]}).json()
    kept = world.reviewers["data_owner"].post(path, {"revision": back["revision"]["hash"]}).json()
    assert kept["reviews"][-1]["conditions"] == {"systems": ["crm"], "terms": []}


def test_terms_of_an_approval_that_is_carried_over_are_accepted_anew(world: World, case: Case) -> None:
    shown = case.submitted(persons=150_000)
    given = world.review(shown, "data_owner", conditions={"terms": ["Delete after a year"]}).json()["reviews"][0]
    world.requester.made(at(shown, "terms", "accept"), {"revision": shown["revision"]["hash"]})
    moved = world.requester.patch(at(shown), {"systems": ["crm"]}).json()
    carried = world.reviewers["data_owner"].made(
        at(shown, "reviews", given["id"], "carry-over"), {"revision": moved["revision"]["hash"]}
    )
    assert carried["terms_pending"] == ["Delete after a year"]
    assert world.review(moved, "privacy").json()["type"] == "/problems/terms-pending"
    path = at(shown, "reviews", carried["reviews"][-1]["id"], "take-back")
    back = world.reviewers["data_owner"].made(path, {"reason": "A stray click"})
    assert ([stage["status"] for stage in back["stages"]], back["terms_pending"]) == (
        ["open", "waiting", "waiting"],
        [],
    )
    assert [one["allowed"] for one in back["carryable"]] == [True]


def test_a_permit_goes_to_the_named_recipients_alone(world: World, case: Case) -> None:
    other = world.recipient()
    shown = case.submitted()
    refused = world.review(shown, "privacy", conditions={"recipients": [other["key"]]})
    assert refused.json()["errors"][0]["pointer"] == "/conditions/recipients"
    world.add_evidence(shown)
    named = {"recipients": [case.recipient["key"], other["id"]]}
    approved = world.review(shown, "privacy", conditions=named).json()
    assert sorted(case.permit(approved)["conditions"][0]["recipients"]) == sorted([case.recipient["id"], other["id"]])
    assert case.answer() == ("permitted", approved["permit"])
    assert world.ask(case.dataset, other, persons=1)["context"]["reason"] == "no_permit"


# Narrowing


def test_a_permit_for_all_fields_is_narrowed_to_fields_that_were_approved(world: World, case: Case) -> None:
    approved = case.approved(fields=None)
    path = f"/v1/permits/{approved['permit']}/amend"
    ghost = world.requester.post(path, {"fields": ["city", "ghost"], "reason": "Less"})
    assert (ghost.status_code, ghost.json()["errors"][0]["pointer"]) == (409, "/fields")
    assert world.requester.post(path, {"fields": [], "reason": "Less"}).status_code == 422
    assert world.requester.made(path, {"fields": ["city"], "reason": "Less"})["fields"] == ["city"]
    assert case.answer(fields=["city"])[0] == "permitted"
    assert case.answer()[0] == "fields_not_covered"
    again = world.requester.post(path, {"fields": ["city", "amount"], "reason": "More"})
    assert again.json()["type"] == "/problems/wider-takes-a-new-transfer"


def test_a_permit_that_is_narrowed_to_nobody_is_exhausted(world: World, case: Case) -> None:
    approved = case.approved()
    path = f"/v1/permits/{approved['permit']}"
    assert world.requester.made(f"{path}/amend", {"persons": 0, "reason": "Stop"})["status"] == "exhausted"
    assert case.answer()[0] == "quota_exceeded"
    assert world.auditor.get(f"{path}/token").status_code == 409
    for status, found in (("exhausted", [approved["permit"]]), ("active", [])):
        listed = world.auditor.get("/v1/permits", handler=case.handler["id"], status=status).json()["items"]
        assert [one["id"] for one in listed] == found


def test_a_permit_is_not_made_to_have_ended_long_ago(world: World, case: Case) -> None:
    path = f"/v1/permits/{case.approved()['permit']}/amend"
    assert world.requester.post(path, {"valid_until": day(-2), "reason": "Over"}).status_code == 409
    assert world.requester.made(path, {"valid_until": day(-1), "reason": "Over"})["status"] == "expired"
    assert case.answer()[0] == "permit_expired"


# Renewing


def test_a_duty_that_suspends_a_permit_outlives_its_renewal(world: World, case: Case, days_ahead: Clock) -> None:
    old = case.approved(persons=150_000)
    world.approve(case.renewal(old, valid_from=day(100)))
    days_ahead.ahead = timedelta(days=30)
    assert case.answer() == ("permit_suspended", old["permit"])
    receipt = {"kind": "filing_receipt", "reference": "1", "issuer": "CAC", "issued_on": day(0)}
    world.requester.made(at(old, "evidence"), receipt)
    assert case.answer() == ("permitted", old["permit"])


def test_a_suspended_permit_is_followed_by_a_suspended_one(world: World, case: Case) -> None:
    old = case.approved()
    shown = case.renewal(old)
    world.reviewers["security"].made(f"/v1/permits/{old['permit']}/suspend", {"reason": "A leak"})
    new = world.review(shown, "privacy").json()
    permit = case.permit(new)
    assert (permit["status"], "A leak" in permit["reason"]) == ("suspended", True)
    assert case.answer()[0] in {"permit_suspended", "permit_expired"}
    world.reviewers["legal"].made(f"/v1/permits/{new['permit']}/resume", None)
    assert case.answer() == ("permitted", new["permit"])


@pytest.mark.parametrize(("verb", "past"), [("suspend", "suspended"), ("revoke", "revoked")])
def test_what_is_to_follow_a_stopped_permit_does_not_begin_by_itself(
    world: World, case: Case, days_ahead: Clock, verb: str, past: str
) -> None:
    old = case.approved(valid_until=day(100))
    new = world.approve(case.renewal(old, valid_from=day(10)))
    last = world.approve(case.renewal(new, valid_from=day(20)))
    world.reviewers["security"].made(f"/v1/permits/{old['permit']}/{verb}", {"reason": "A leak"})
    for transfer in (new, last):
        permit = case.permit(transfer)
        assert permit["status"] == "suspended"
        assert permit["reason"] == f"The permit {old['permit']}, which it follows, was {past}: A leak"
    days_ahead.ahead = timedelta(days=11)
    assert case.answer()[0] in {"permit_suspended", "permit_revoked"}
    world.reviewers["legal"].made(f"/v1/permits/{new['permit']}/resume", None)
    assert case.answer() == ("permitted", new["permit"])
    assert case.permit(last)["status"] == "suspended"


def test_a_permit_that_has_not_begun_has_no_token(world: World, case: Case, days_ahead: Clock) -> None:
    permit = case.permit(case.approved(valid_from=day(3)))
    path = f"/v1/permits/{permit['id']}/token"
    refused = world.auditor.get(path)
    assert (refused.status_code, day(3) in refused.json()["detail"]) == (409, True)
    days_ahead.ahead = timedelta(days=3)
    claims = verified(world.auditor.get(path).json()["token"], world.auditor.get("/.well-known/jwks.json").json())
    begins = datetime.fromisoformat(f"{day(3)}T00:00:00+08:00")
    assert claims["nbf"] == begins.timestamp()
    assert claims["nbf"] <= claims["iat"] < claims["exp"]


def test_a_token_names_the_service_as_its_operator_does_and_not_as_its_caller_does(
    world: World, case: Case, settings: Settings, database_url: str, clock: Clock
) -> None:
    path = f"/v1/permits/{case.permit(case.approved())['id']}/token"
    named = settings.model_copy(update={"public_url": "https://gate.example.com/"})
    with Served(named, database_url, clock) as other:
        for address, expected in ((str(world.http.base_url).rstrip("/"), None), (other, "https://gate.example.com")):
            for headers in (
                {},
                {"Host": "evil.example"},
                {"X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"},
            ):
                asked = {"Authorization": f"Bearer {world.auditor.secret}", **headers}
                told = httpx.get(address + path, headers=asked)
                claims = verified(told.json()["token"], world.auditor.get("/.well-known/jwks.json").json())
                assert claims["iss"] == (expected or address)


def test_nobody_approves_what_follows_a_permit_that_was_revoked_meanwhile(world: World, case: Case) -> None:
    old = case.approved()
    shown = case.renewal(old)
    world.reviewers["legal"].made(f"/v1/permits/{old['permit']}/revoke", {"reason": "A leak"})
    refused = world.review(shown, "privacy")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/predecessor-revoked")
    assert world.auditor.get(at(shown)).json()["permit"] is None
    world.review(shown, "privacy", "return", comment="The old permit was revoked")
    again = world.requester.made(at(shown, "submit"), None)
    approved = world.review(again, "privacy").json()
    assert case.answer() == ("permitted", approved["permit"])
    assert case.permit(old)["status"] == "revoked"


def test_a_renewal_starts_from_what_the_old_permit_was_narrowed_to_and_shows_its_conditions(
    world: World, case: Case
) -> None:
    shown = case.submitted()
    world.add_evidence(shown)
    tied = {"persons": 40, "terms": ["Report each month"]}
    world.review(shown, "privacy", conditions=tied)
    old = world.requester.made(at(shown, "terms", "accept"), {"revision": shown["revision"]["hash"]})
    amend = f"/v1/permits/{old['permit']}/amend"
    world.requester.made(amend, {"persons": 30, "fields": ["city"], "reason": "Less is needed"})
    days = {"valid_from": day(0), "valid_until": day(300)}
    draft = world.requester.made(at(old, "renew"), days)
    assert (draft["persons"], draft["fields"]) == (30, ["city"])
    follows = draft["follows"]
    assert (follows["permit"], follows["persons"], follows["fields"]) == (old["permit"], 30, ["city"])
    assert follows["conditions"] == [{"stage": "privacy", **tied}]
    assert follows["changes"] == []
    wider = world.requester.patch(at(draft), {"persons": 100, "fields": None}).json()
    told = {change["part"]: change["text"]["en"] for change in wider["follows"]["changes"]}
    assert told == {"persons": "Persons: from 30 to 100.", "fields": "Fields: from city to all."}
    assert old["follows"] is None


def test_a_renewal_does_not_take_in_fields_that_were_registered_since(world: World, case: Case) -> None:
    old = case.approved()
    fields = [{"name": name, "type": "text"} for name in ("city", "amount", "passport")]
    assert world.registrar.patch(f"/v1/datasets/{case.dataset['id']}", {"fields": fields}).status_code == 200
    draft = world.requester.made(at(old, "renew"), {"valid_from": day(0), "valid_until": day(300)})
    assert draft["fields"] == ["amount", "city"]


def test_only_the_last_of_a_line_of_permits_is_renewed(world: World, case: Case, days_ahead: Clock) -> None:
    first = case.approved(valid_until=day(100))
    second = world.approve(case.renewal(first, valid_from=day(50)))
    refused = world.requester.post(at(first, "renew"), {"valid_from": day(20), "valid_until": day(300)})
    assert (refused.status_code, refused.json()["next"]["href"]) == (409, at(second, "renew"))
    third = world.approve(case.renewal(second, valid_from=day(20)))
    ends = [case.permit(one)["valid_until"] for one in (first, second, third)]
    assert ends == [day(19), day(19), day(300)]
    for ahead, transfer in ((19, first), (20, third), (50, third)):
        days_ahead.ahead = timedelta(days=ahead)
        assert case.answer() == ("permitted", transfer["permit"])


def test_a_renewal_to_another_recipient_leaves_the_old_permit_alone(world: World, case: Case) -> None:
    old = case.approved()
    other = world.recipient()
    draft = world.requester.made(at(old, "renew"), {"valid_from": day(0), "valid_until": day(300)})
    world.requester.patch(at(draft), {"recipient": other["id"]})
    shown = world.requester.made(at(draft, "submit"), None)
    assert shown["missing_evidence"] == ["impact_assessment_report"]
    new = world.approve(shown)
    assert case.permit(new)["supersedes"] is None
    assert case.answer() == ("permitted", old["permit"])
    assert world.ask(case.dataset, other, persons=1)["context"]["permit"] == new["permit"]


def test_a_paper_that_is_withdrawn_no_longer_serves_for_what_renews(world: World, case: Case) -> None:
    old = case.approved()
    new = world.approve(case.renewal(old))
    paper = next(one for one in world.auditor.get(at(old)).json()["evidence"] if one["kind"] == "consent_record")
    world.requester.made(at(old, "evidence", paper["id"], "withdraw"), {"reason": "Forged"})
    assert case.answer() == ("evidence_lapsed", new["permit"])
    again = next(one for one in world.auditor.get(at(new)).json()["evidence"] if one["reused_from"] == paper["id"])
    assert (again["ended_reason"], case.permit(new)["lost_evidence"]) == ("Forged", [again["id"]])


def test_who_would_stop_a_permit_that_was_followed_is_shown_the_one_that_holds(world: World, case: Case) -> None:
    old = case.approved()
    new = world.approve(case.renewal(old))
    for act, reviewer in (("suspend", "security"), ("revoke", "legal")):
        refused = world.reviewers[reviewer].post(f"/v1/permits/{old['permit']}/{act}", {"reason": "A leak"})
        assert (refused.status_code, refused.json()["next"]["href"]) == (409, f"/v1/permits/{new['permit']}")
    assert world.reviewers["security"].post(f"/v1/permits/{new['permit']}/suspend", None).status_code == 200


# Closing


def test_a_report_is_closed_once_every_export_has_been_reported(world: World, case: Case) -> None:
    second = world.dataset(case.handler, "personal")
    approved = world.approved(case.handler, [case.dataset, second], case.recipient, persons=100)
    export = world.export(case.dataset, case.recipient, 10).json()
    path = f"/v1/permits/{approved['permit']}"
    world.requester.made(f"{path}/amend", {"persons": 50, "reason": "Less"})
    world.reviewers["legal"].made(f"{path}/revoke", {"reason": "Over"})
    assert world.auditor.get(f"{path}/report").json()["closed"] is False
    world.exporter.made(f"/v1/exports/{export['id']}/complete", {"persons": 10, "sensitive_persons": 0})
    report = world.auditor.get(f"{path}/report").json()
    assert report["closed"] is True
    assert [report[one]["persons"] for one in ("requested", "planned", "exported", "unused")] == [100, 50, 10, 40]
    assert [(one["name"], one["persons"]) for one in report["by_dataset"]] == sorted(
        [(case.dataset["id"], 10), (second["id"], 0)]
    )
