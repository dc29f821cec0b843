"""Evidence with files, duties and clocks, gradings over time, findings, permits that are narrowed, renewed and reported on."""

from __future__ import annotations

import hashlib
import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import httpx
import pytest

from service.clock import SHANGHAI
from service.settings import Settings
from tests.conftest import Clock, Served, run_sql
from tests.world import Json, Person, World, day

PDF = b"%PDF-1.7 an invented contract"


class Case:
    """A handler with one dataset and a recipient in Singapore."""

    def __init__(self, world: World, *tags: str, **facts: Any) -> None:
        self.world = world
        self.handler = world.handler(**facts)
        self.dataset = world.dataset(self.handler, *(tags or ("personal",)))
        self.recipient = world.recipient()

    def submitted(self, **more: Any) -> Json:
        return self.world.submitted(self.handler, [self.dataset], self.recipient, **{"persons": 150_000} | more)

    def approved(self, **more: Any) -> Json:
        return self.world.approve(self.submitted(**more))

    def reason(self, **context: Any) -> str:
        told: str = self.world.ask(self.dataset, self.recipient, **{"persons": 1} | context)["context"]["reason"]
        return told


@pytest.fixture
def case(world: World) -> Case:
    return Case(world)


def at(shown: Json, *rest: str) -> str:
    return "/".join(["/v1/transfers", shown["id"], *rest])


def paper(kind: str = "standard_contract", **more: Any) -> Json:
    return {"kind": kind, "reference": uuid.uuid4().hex, "issuer": "Legal", "issued_on": day(0)} | more


def upload(
    person: Person,
    shown: Json,
    content: bytes = PDF,
    name: str = "contract.pdf",
    record: Json | None = None,
    **headers: str,
) -> httpx.Response:
    parts = {
        "document": (None, json.dumps(record or paper()), "application/json"),
        "file": (name, content, "application/octet-stream"),
    }
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return person.http.post(
        at(shown, "evidence"), files=parts, headers={"Authorization": f"Bearer {person.secret}", **named}
    )


# Evidence


def test_a_file_is_kept_by_its_hash_and_sent_back_as_an_attachment(world: World, case: Case) -> None:
    shown = case.submitted()
    made = upload(world.requester, shown, name="../合同 2026.pdf")
    assert made.status_code == 201, made.text
    document = made.json()["document"]
    assert document == {
        "sha256": hashlib.sha256(PDF).hexdigest(),
        "size": len(PDF),
        "media_type": "application/pdf",
        "name": "合同 2026.pdf",
    }
    path = at(shown, "evidence", made.json()["id"])
    assert made.headers["Location"] == path
    file = world.auditor.get(f"{path}/file")
    assert (file.content, file.headers["content-type"]) == (PDF, "application/pdf")
    assert file.headers["x-content-type-options"] == "nosniff"
    assert file.headers["content-disposition"].startswith("attachment; ")
    assert "filename*=UTF-8''%E5%90%88%E5%90%8C%202026.pdf" in file.headers["content-disposition"]
    assert world.auditor.get(path).json()["document"]["name"] == "合同 2026.pdf"
    assert world.exporter.get(f"{path}/file").status_code == 403
    bare = world.requester.made(at(shown, "evidence"), paper("consent_record"))
    assert world.auditor.get(at(shown, "evidence", bare["id"], "file")).status_code == 404


@pytest.mark.parametrize(
    ("content", "name", "status"),
    [
        (b"<html><script>x</script>", "a.pdf", 422),
        (b"MZ\x90\x00", "setup.pdf", 422),
        (b"", "empty.pdf", 422),
        (b"%PDF-" + bytes(20 * 1024 * 1024 - 4), "large.pdf", 413),
        (b"PK\x03\x04" + bytes(100), "broken.docx", 422),
    ],
)
def test_what_is_no_document_is_refused(world: World, case: Case, content: bytes, name: str, status: int) -> None:
    shown = case.submitted()
    refused = upload(world.requester, shown, content, name)
    assert refused.status_code == status, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    if status == 422:
        assert refused.json()["errors"][0]["pointer"] == "/file"
    assert world.auditor.get(at(shown)).json()["evidence"] == []


def test_twenty_mebibytes_are_taken(world: World, case: Case) -> None:
    content = b"%PDF-" + bytes(20 * 1024 * 1024 - 5)
    assert upload(world.requester, case.submitted(), content).status_code == 201


def test_parts_that_are_missing_unknown_or_wrong_are_named(world: World, case: Case) -> None:
    shown = case.submitted()
    head = {"Authorization": f"Bearer {world.requester.secret}"}

    def sent(**parts: Any) -> httpx.Response:
        return world.http.post(at(shown, "evidence"), files=parts, headers=head)

    file = ("a.pdf", PDF, "application/pdf")
    assert sent(file=file).json()["errors"][0]["pointer"] == "/document"
    record = (None, json.dumps(paper()), "application/json")
    assert sent(document=record, picture=file).json()["errors"][0]["pointer"] == "/picture"
    wrong = (None, json.dumps(paper() | {"issued_on": "yesterday"}), "application/json")
    assert sent(document=wrong, file=file).json()["errors"][0]["pointer"] == "/document/issued_on"
    assert sent(document=(None, "{", "application/json"), file=file).status_code == 400
    assert sent(document=(None, json.dumps(paper("handshake")), "application/json")).status_code == 422
    raw = {**head, "Content-Type": "multipart/form-data; boundary=x"}
    assert world.http.post(at(shown, "evidence"), content=b"--x\r\nnonsense", headers=raw).status_code in {400, 422}
    assert (
        world.http.post(at(shown, "evidence"), content=b"x", headers=head | {"Content-Type": "text/plain"}).status_code
        == 415
    )
    assert world.requester.post(at(shown, "evidence")).status_code == 422


def test_a_repeat_with_the_same_key_is_the_same_whatever_its_boundary(world: World, case: Case) -> None:
    shown = case.submitted()
    record = paper()
    first = upload(world.requester, shown, record=record, Idempotency_Key="once")
    again = upload(world.requester, shown, record=record, Idempotency_Key="once")
    assert (first.status_code, again.json()["id"]) == (201, first.json()["id"])
    assert upload(world.requester, shown, PDF + b".", record=record, Idempotency_Key="once").status_code == 422


def test_one_document_serves_several_transfers(world: World, case: Case) -> None:
    first, second = case.submitted(), case.submitted()
    sha256 = upload(world.requester, first).json()["document"]["sha256"]
    shared = world.requester.made(at(second, "evidence"), paper(document=f"sha256:{sha256}"))
    assert shared["document"]["sha256"] == sha256
    file = world.auditor.get(at(second, "evidence", shared["id"], "file"))
    assert file.content == PDF
    elsewhere = world.person("requester", handler=world.handler()["id"])
    assert elsewhere.post(at(second, "evidence"), paper(document=sha256)).status_code == 404
    unknown = world.requester.post(at(second, "evidence"), paper(document="0" * 64))
    assert unknown.json()["errors"][0]["pointer"] == "/document"


def test_who_only_exports_for_a_handler_has_none_of_its_files(world: World, case: Case) -> None:
    shown, other = case.submitted(), Case(world)
    made = upload(world.requester, shown, b"%PDF-1.7 a secret of one handler").json()
    both = world.person("requester", handler=other.handler["id"])
    for grant in (
        {"role": "exporter", "handler": case.handler["id"]},
        {"role": "auditor", "handler": other.handler["id"]},
    ):
        world.admin.made("/v1/grants", {"principal": both.id} | grant)
    assert both.get(at(shown, "evidence", made["id"])).json()["document"]["sha256"] == made["document"]["sha256"]
    assert both.get(at(shown, "evidence", made["id"], "file")).status_code == 403
    record = paper(document=made["document"]["sha256"])
    refused = both.post(at(other.submitted(), "evidence"), record)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/document")


def test_a_chinese_name_is_kept(world: World, case: Case) -> None:
    head = '--x\r\nContent-Disposition: form-data; name="'
    body = (
        f'{head}document"\r\n\r\n{json.dumps(paper())}\r\n{head}file"; filename="合同.pdf"\r\n\r\n'.encode()
        + PDF
        + b"\r\n--x--\r\n"
    )
    sent = {"Authorization": f"Bearer {world.requester.secret}", "Content-Type": "multipart/form-data; boundary=x"}
    made = world.http.post(at(case.submitted(), "evidence"), content=body, headers=sent)
    assert made.status_code == 201, made.text
    assert made.json()["document"]["name"] == "合同.pdf"


def test_a_body_that_breaks_off_leaves_no_record_without_its_file(world: World, case: Case) -> None:
    shown = case.submitted()
    head = '--x\r\nContent-Disposition: form-data; name="'
    body = f'{head}document"\r\n\r\n{json.dumps(paper())}\r\n{head}file"; filename="a.pdf"\r\n\r\n%PDF-1.7 x'
    sent = {"Authorization": f"Bearer {world.requester.secret}", "Content-Type": "multipart/form-data; boundary=x"}
    assert world.http.post(at(shown, "evidence"), content=body, headers=sent).status_code == 400
    assert world.auditor.get(at(shown)).json()["evidence"] == []


def test_uploads_of_one_file_at_once_keep_it_once(world: World, case: Case) -> None:
    shown, content = case.submitted(), b"%PDF-1.7" + bytes(2_000_000)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: upload(world.requester, shown, content), range(6)))
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.json()["document"]["sha256"] for answer in answers}) == 1


def test_a_life_follows_the_instrument_in_force_when_it_was_issued(world: World, case: Case) -> None:
    shown = case.submitted()

    def ends(issued: str, **more: Any) -> str:
        record = paper("security_assessment_result", issued_on=issued, **more)
        return str(world.requester.made(at(shown, "evidence"), record)["valid_until"])

    assert ends("2024-03-21") == "2026-03-20"
    assert ends("2024-03-22") == "2027-03-21"
    assert ends("2025-01-01", valid_until="2026-06-30") == "2026-06-30"
    report = world.requester.made(at(shown, "evidence"), paper("impact_assessment_report", issued_on="2024-03-21"))
    assert report["valid_until"] == "2024-03-21"
    assert "impact_assessment_report" in world.auditor.get(at(shown)).json()["missing_evidence"]


def test_an_approval_of_one_request_serves_no_other(world: World, case: Case) -> None:
    first, second = case.submitted(), case.submitted()
    record = paper("authority_approval")
    content = b"%PDF-1.7 approval of request 1"
    assert [upload(world.requester, first, content, record=record).status_code for _ in range(2)] == [201, 201]
    refused = upload(world.requester, second, content, record=record)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/reference")


def test_evidence_is_verified_by_a_reviewer_who_did_not_add_it(world: World, case: Case) -> None:
    shown = case.submitted()
    made = world.requester.made(at(shown, "evidence"), paper())
    path = at(shown, "evidence", made["id"], "verify")
    assert world.requester.post(path).status_code == 403
    both = world.person("requester", "reviewer:legal")
    own = both.made(at(shown, "evidence"), paper("consent_record"))
    assert both.post(at(shown, "evidence", own["id"], "verify")).status_code == 403
    verified = world.reviewers["legal"].post(path).json()
    assert verified["verified_by"] == world.reviewers["legal"].id
    assert world.reviewers["legal"].post(path).status_code == 409


def test_a_paper_that_is_withdrawn_denies_until_it_is_replaced(world: World, case: Case) -> None:
    approved = case.approved()
    assert case.reason() == "permitted"
    contract = next(one for one in approved["evidence"] if one["kind"] == "standard_contract")
    path = at(approved, "evidence", contract["id"], "withdraw")
    assert world.requester.post(path).status_code == 422
    gone = world.requester.post(path, {"reason": "The recipient ended it"}).json()
    assert gone["ended_reason"] == "The recipient ended it"
    assert case.reason() == "evidence_lapsed"
    assert world.requester.post(path, {"reason": "Again"}).status_code == 409
    wrong = world.requester.post(at(approved, "evidence"), paper("consent_record", replaces=contract["id"]))
    assert wrong.json()["errors"][0]["pointer"] == "/replaces"
    ahead = world.requester.post(at(approved, "evidence"), paper(replaces=contract["id"], issued_on=day(3)))
    assert ahead.json()["errors"][0]["pointer"] == "/issued_on"
    new = world.requester.made(at(approved, "evidence"), paper(replaces=contract["id"], valid_until=day(50)))
    permit = world.auditor.get(f"/v1/permits/{approved['permit']}").json()
    assert new["id"] in permit["evidence"]
    assert permit["valid_until"] == day(50)
    assert case.reason() == "permitted"


def test_a_report_does_not_serve_for_another_purpose(world: World, case: Case) -> None:
    shown = case.submitted()
    world.add_evidence(shown)
    changed = world.requester.patch(at(shown), {"purpose": "advertising"}).json()
    assert changed["missing_evidence"] == ["impact_assessment_report"]
    (duty,) = world.auditor.get("/v1/obligations", transfer=shown["id"]).json()["items"]
    assert (duty["code"], duty["state"], duty["settled_by"]) == (
        "renew_impact_assessment",
        "open",
        "impact_assessment_report",
    )
    world.add_evidence(changed)
    assert world.auditor.get(f"/v1/obligations/{duty['id']}").json()["state"] == "done"
    narrower = world.requester.patch(at(shown), {"fields": ["city"]}).json()
    assert narrower["missing_evidence"] == []


# Duties


def test_filing_the_contract_is_a_task_and_overdue_it_suspends_the_permit(
    world: World, case: Case, days_ahead: Clock
) -> None:
    approved = case.approved()
    (duty,) = world.auditor.get("/v1/obligations", permit=approved["permit"]).json()["items"]
    assert (duty["code"], duty["state"], duty["owner"]) == ("file_standard_contract", "open", world.requester.id)
    assert duty["citations"] == [{"instrument": "SCM", "article": "7"}]
    ids = [one["id"] for one in world.auditor.get("/v1/obligations", due_before=day(30), limit=200).json()["items"]]
    assert duty["id"] in ids
    assert world.auditor.get("/v1/obligations", due_before=day(1), permit=approved["permit"]).json()["items"] == []
    days_ahead.ahead = timedelta(days=25)
    assert case.reason() == "permit_suspended"
    permit = world.auditor.get(f"/v1/permits/{approved['permit']}").json()
    assert (permit["status"], permit["overdue"]) == ("suspended", [duty["id"]])
    assert world.auditor.get(f"/v1/obligations/{duty['id']}").json()["state"] == "overdue"
    assert world.auditor.get(f"/v1/permits/{approved['permit']}/token").status_code == 409
    listed = world.auditor.get("/v1/permits", handler=case.handler["id"], status="suspended").json()["items"]
    assert [one["id"] for one in listed] == [approved["permit"]]
    refused = world.requester.post(f"/v1/obligations/{duty['id']}/complete", {"note": "Filed"})
    assert (refused.status_code, "filing_receipt" in refused.json()["detail"]) == (409, True)
    receipt = world.requester.made(at(approved, "evidence"), paper("filing_receipt"))
    assert case.reason() == "permitted"
    done = world.auditor.get(f"/v1/obligations/{duty['id']}").json()
    assert (done["state"], done["evidence"]) == ("done", receipt["id"])
    world.requester.post(at(approved, "evidence", receipt["id"], "withdraw"), {"reason": "Of another contract"})
    assert case.reason() == "permit_suspended"


def test_a_duty_stays_settled_only_while_a_receipt_counts(world: World, case: Case, days_ahead: Clock) -> None:
    approved = case.approved()

    def receipt(**more: Any) -> str:
        return str(world.requester.made(at(approved, "evidence"), paper("filing_receipt", **more))["id"])

    def withdraw(evidence: str) -> None:
        world.requester.made(at(approved, "evidence", evidence, "withdraw"), {"reason": "Of another contract"})

    def duty() -> Json:
        (one,) = world.auditor.get("/v1/obligations", permit=approved["permit"]).json()["items"]
        return dict(one)

    early = receipt(issued_on=day(2))
    assert duty()["state"] == "open"
    first = receipt()
    second = receipt(replaces=first)
    assert (duty()["state"], duty()["evidence"]) == ("done", second)
    third = receipt()
    days_ahead.ahead = timedelta(days=1)
    withdraw(second)
    assert (duty()["state"], duty()["evidence"]) == ("done", third)
    withdraw(third)
    assert (duty()["state"], duty()["evidence"], duty()["settles_on"]) == ("open", early, day(2))
    withdraw(early)
    assert (duty()["state"], duty()["evidence"], duty()["settles_on"]) == ("open", None, None)
    days_ahead.ahead = timedelta(days=40)
    assert case.reason() == "permit_suspended"


def test_a_day_taken_strictly_is_reckoned_anew_once_the_holidays_are_known(
    world: World, case: Case, database_url: str, settings: Settings
) -> None:
    approved = case.approved()
    (duty,) = world.auditor.get("/v1/obligations", permit=approved["permit"]).json()["items"]
    strict = date.fromisoformat(paper("standard_contract")["issued_on"]) + timedelta(days=10)
    run_sql(
        database_url,
        f"update obligations set due_on = '{strict}', due_note = 'The holidays are not known.' where id = '{duty['id']}'",  # noqa: S608 - our own id
        f"update permits set receipt_due_on = '{strict}' where id = '{approved['permit']}'",  # noqa: S608 - our own id
    )
    with Served(settings, database_url, Clock()):  # as with a new version of the calendar
        shown = world.auditor.get(f"/v1/obligations/{duty['id']}").json()
    assert (shown["due_on"], shown["due_note"]) == (duty["due_on"], None)
    assert world.auditor.get(f"/v1/permits/{approved['permit']}").json()["receipt_due_on"] == duty["due_on"]
    last = world.auditor.get("/v1/audit/entries", subject=duty["id"]).json()["items"][-1]
    assert (last["action"], last["actor"]) == ("obligation.reckoned_anew", "operator")


def test_a_receipt_that_is_dated_ahead_settles_its_duty_when_its_day_comes(
    world: World, case: Case, days_ahead: Clock
) -> None:
    approved = case.approved()
    (duty,) = world.auditor.get("/v1/obligations", permit=approved["permit"]).json()["items"]
    receipt = world.requester.made(at(approved, "evidence"), paper("filing_receipt", issued_on=day(30)))

    def stands() -> tuple[str, str, bool]:
        shown = world.auditor.get(f"/v1/obligations/{duty['id']}").json()
        assert shown["evidence"] == receipt["id"]
        done = world.auditor.get("/v1/obligations", permit=approved["permit"], state="done").json()["items"]
        return shown["state"], case.reason(), [one["id"] for one in done] == [duty["id"]]

    assert stands() == ("open", "permitted", False)
    days_ahead.ahead = timedelta(days=29)
    assert stands() == ("overdue", "permit_suspended", False)
    days_ahead.ahead = timedelta(days=30)
    assert stands() == ("done", "permitted", True)
    assert (
        world.requester.post(f"/v1/obligations/{duty['id']}/assign", {"owner": world.requester.id}).status_code == 409
    )
    world.requester.made(at(approved, "evidence", receipt["id"], "withdraw"), {"reason": "Of another contract"})
    assert case.reason() == "permit_suspended"


def test_a_permit_that_is_to_be_followed_keeps_its_duties(world: World, case: Case, days_ahead: Clock) -> None:
    approved = case.approved()
    renewal = world.requester.made(at(approved, "renew"), {"valid_from": day(100), "valid_until": day(300)})
    world.approve(world.requester.made(at(renewal, "submit"), None))
    assert case.reason() == "permitted"
    days_ahead.ahead = timedelta(days=40)
    assert case.reason() == "permit_suspended"


def test_a_contract_that_takes_the_place_of_another_is_filed_too(world: World, case: Case, days_ahead: Clock) -> None:
    approved = case.approved()
    world.requester.made(at(approved, "evidence"), paper("filing_receipt"))
    contract = next(one for one in approved["evidence"] if one["kind"] == "standard_contract")
    days_ahead.ahead = timedelta(days=3)
    world.requester.made(at(approved, "evidence"), paper(replaces=contract["id"], issued_on=day(3)))
    duties = world.auditor.get("/v1/obligations", permit=approved["permit"]).json()["items"]
    assert [duty["state"] for duty in duties] == ["done", "open"]
    assert duties[1]["due_on"] > duties[0]["due_on"]
    days_ahead.ahead = timedelta(days=40)
    assert case.reason() == "permit_suspended"
    world.requester.made(at(approved, "evidence"), paper("filing_receipt", issued_on=day(30)))
    assert case.reason() == "permitted"


def test_the_day_turns_in_shanghai_for_a_duty(world: World, case: Case, days_ahead: Clock) -> None:
    approved = case.approved()
    (duty,) = world.auditor.get("/v1/obligations", permit=approved["permit"]).json()["items"]
    midnight = datetime.combine(date.fromisoformat(duty["due_on"]) + timedelta(days=1), time(), SHANGHAI)
    days_ahead.ahead = midnight - timedelta(seconds=20) - datetime.now(UTC)
    assert case.reason() == "permitted"
    days_ahead.ahead = midnight + timedelta(seconds=1) - datetime.now(UTC)
    assert case.reason() == "permit_suspended"
    assert case.world.export(case.dataset, case.recipient, 1).json()["reason"] == "permit_suspended"


def test_an_assessment_is_renewed_by_a_result_that_lasts_longer(world: World) -> None:
    case = Case(world, "important")
    approved = case.approved(persons=0)
    kind = "security_assessment_result"

    def open_ones() -> list[str]:
        query = {"permit": approved["permit"], "code": "renew_assessment", "state": "open"}
        return [one["due_on"] for one in world.auditor.get("/v1/obligations", **query).json()["items"]]

    (before,) = open_ones()
    world.requester.made(at(approved, "evidence"), paper(kind, valid_until=day(300)))
    assert open_ones() == [before]
    result = next(one for one in approved["evidence"] if one["kind"] == kind)
    shorter = world.requester.made(at(approved, "evidence"), paper(kind, replaces=result["id"], valid_until=day(400)))
    (sooner,) = open_ones()
    assert sooner < before
    world.requester.made(at(approved, "evidence"), paper(kind, replaces=shorter["id"]))
    assert open_ones() == [before]


def test_a_changed_purpose_is_assessed_anew_in_a_renewal_until_it_is_changed_back(world: World, case: Case) -> None:
    approved = case.approved()
    wanted = {"purpose": "advertising", "valid_from": day(100), "valid_until": day(300)}
    renewal = world.requester.made(at(approved, "renew"), wanted)
    world.requester.made(at(renewal, "submit"), None)
    (duty,) = world.auditor.get("/v1/obligations", transfer=renewal["id"]).json()["items"]
    assert (duty["code"], duty["state"]) == ("renew_impact_assessment", "open")
    world.requester.made(at(renewal, "withdraw"), {"reason": "Not needed"})
    assert world.auditor.get(f"/v1/obligations/{duty['id']}").json()["state"] == "void"
    shown = case.submitted()
    world.add_evidence(shown)
    world.requester.patch(at(shown), {"purpose": "advertising"})
    world.requester.patch(at(shown), {"purpose": "analytics"})
    (fallen,) = world.auditor.get("/v1/obligations", transfer=shown["id"]).json()["items"]
    assert fallen["state"] == "void"


def test_a_receipt_that_took_the_place_of_another_holds_the_duty_alone(
    world: World, case: Case, days_ahead: Clock
) -> None:
    approved = case.approved()
    first = world.requester.made(at(approved, "evidence"), paper("filing_receipt"))
    second = world.requester.made(at(approved, "evidence"), paper("filing_receipt", replaces=first["id"]))
    days_ahead.ahead = timedelta(days=25)
    assert case.reason() == "permitted"
    third = world.requester.made(at(approved, "evidence"), paper("filing_receipt"))
    world.requester.made(at(approved, "evidence", second["id"], "withdraw"), {"reason": "Of another contract"})
    duty = world.auditor.get("/v1/obligations", permit=approved["permit"]).json()["items"][0]
    assert (duty["state"], duty["evidence"], case.reason()) == ("done", third["id"], "permitted")
    world.requester.made(at(approved, "evidence", third["id"], "withdraw"), {"reason": "Of another contract too"})
    assert case.reason() == "permit_suspended"


def test_important_data_is_reported_on_every_year(world: World, days_ahead: Clock) -> None:
    case = Case(world, "important")
    approved = case.approved(persons=0, valid_until=day(1000))
    duties = {
        one["code"]: one for one in world.auditor.get("/v1/obligations", handler=case.handler["key"]).json()["items"]
    }
    assert set(duties) == {"annual_risk_report", "renew_assessment"}
    assert duties["renew_assessment"]["due_note"] is not None
    report = duties["annual_risk_report"]
    assert (report["due_on"], report["permit"], report["owner"]) == (day(365), None, world.requester.id)
    days_ahead.ahead = timedelta(days=400)
    assert case.reason(persons=0) == "permit_suspended"
    assert world.auditor.get(f"/v1/permits/{approved['permit']}").json()["overdue"] == [report["id"]]
    done = world.registrar.post(f"/v1/obligations/{report['id']}/complete", {"note": "Report 2027-1 sent"})
    assert done.json()["state"] == "done"
    assert case.reason(persons=0) == "permitted"
    following = world.auditor.get(
        "/v1/obligations", handler=case.handler["id"], code="annual_risk_report", state="open"
    )
    assert len(following.json()["items"]) == 1
    assert world.registrar.post(f"/v1/obligations/{report['id']}/complete", {"note": "x"}).status_code == 409
    again = world.reviewers["legal"].post(f"/v1/obligations/{report['id']}/reopen", {"reason": "Never sent"})
    assert again.json()["state"] == "overdue"
    assert case.reason(persons=0) == "permit_suspended"
    world.registrar.made(f"/v1/obligations/{report['id']}/complete", {"note": "Report 2027-2 sent"})
    still = world.auditor.get("/v1/obligations", handler=case.handler["id"], code="annual_risk_report", state="open")
    assert still.json()["items"] == following.json()["items"]


def test_a_change_of_scale_by_30_percent_is_filed_anew(world: World) -> None:
    case = Case(world, "important")
    path = f"/v1/datasets/{case.dataset['id']}"
    world.registrar.patch(path, {"scale": 1000})
    world.registrar.patch(path, {"scale": 1299})
    query = {"handler": case.handler["id"], "code": "catalogue_refiling"}
    assert world.auditor.get("/v1/obligations", **query).json()["items"] == []
    world.registrar.patch(path, {"scale": 1300})
    (duty,) = world.auditor.get("/v1/obligations", **query).json()["items"]
    assert (duty["dataset"], duty["settled_by"], duty["owner"]) == (case.dataset["id"], None, world.registrar.id)
    owner = world.registrar.post(f"/v1/obligations/{duty['id']}/assign", {"owner": world.registrar.name})
    assert owner.json()["owner"] == world.registrar.id
    assert world.registrar.post(f"/v1/obligations/{duty['id']}/assign", {"owner": "nobody"}).status_code == 422


def test_working_days_are_told_and_a_year_that_is_not_known_is_named(world: World) -> None:
    told = world.requester.get("/v1/law/working-days", start="2026-09-30", days=1)
    assert told.json()["end"] == "2026-10-08"
    unknown = world.requester.get("/v1/law/working-days", start="2099-01-01", days=1)
    assert unknown.status_code == 422
    assert "2099" in unknown.json()["detail"]


# Gradings


def test_many_datasets_are_graded_together_or_not_at_all(world: World) -> None:
    handler = world.handler()
    first, second = world.dataset(handler, graded=False), world.dataset(handler, graded=False)
    body = {"tags": ["personal"], "reason": "Looked at", "basis": "Catalogue 2026, entry 7"}
    refused = world.registrar.post("/v1/gradings", body | {"datasets": [first["id"], "nothing", second["key"]]})
    assert refused.json()["errors"] == [{"pointer": "/datasets/1", "detail": "There is no dataset of this id or key."}]
    twice = world.registrar.post("/v1/gradings", body | {"datasets": [first["id"], first["key"]]})
    assert twice.json()["errors"][0]["pointer"] == "/datasets/1"
    assert world.auditor.get(f"/v1/datasets/{first['id']}").json()["tags"] is None
    made = world.registrar.post("/v1/gradings", body | {"datasets": [second["key"], first["id"]]})
    assert (made.status_code, [one["dataset"] for one in made.json()["items"]]) == (201, [second["id"], first["id"]])
    assert {one["state"] for one in made.json()["items"]} == {"effective"}
    assert world.requester.post("/v1/gradings", body | {"datasets": [first["id"]]}).status_code == 403


def test_gradings_to_be_looked_at_again_are_listed(world: World, days_ahead: Clock) -> None:
    handler = world.handler()
    dataset = world.dataset(handler, graded=False)
    body = {"tags": [], "reason": "Plain", "basis": "Catalogue", "review_by": day(10)}
    world.registrar.made(f"/v1/datasets/{dataset['id']}/gradings", body)
    query = {"handler": handler["id"], "overdue": "true"}
    assert world.auditor.get("/v1/gradings", **query).json()["items"] == []
    assert len(world.auditor.get("/v1/gradings", handler=handler["key"], review_before=day(11)).json()["items"]) == 1
    days_ahead.ahead = timedelta(days=11)
    (late,) = world.auditor.get("/v1/gradings", **query).json()["items"]
    assert late["dataset"] == dataset["id"]
    assert len(world.auditor.get("/v1/gradings", handler=handler["id"], overdue="false").json()["items"]) == 0


def test_what_was_known_on_a_day_is_a_query(world: World, days_ahead: Clock) -> None:
    handler = world.handler()
    dataset = world.dataset(handler, "personal")
    days_ahead.ahead = timedelta(days=5)
    world.grade(dataset, "personal", "important")

    def known(ahead: int) -> list[list[str]]:
        items = world.auditor.get("/v1/gradings", handler=handler["id"], as_of=day(ahead)).json()["items"]
        same = world.auditor.get(f"/v1/datasets/{dataset['id']}/gradings", as_of=day(ahead)).json()["items"]
        assert items == same
        return [one["tags"] for one in items]

    assert known(-1) == []
    assert known(0) == [["personal"]]
    assert known(4) == [["personal"]]
    assert known(5) == [["important", "personal"]]


def test_nobody_having_notified_it_is_a_basis_with_its_articles(world: World) -> None:
    dataset = world.dataset(world.handler(), "important")
    path = f"/v1/datasets/{dataset['id']}/gradings"
    basis = {"reason": "Not on any list", "basis": "not_notified_as_important"}
    assert world.registrar.post(path, basis | {"tags": ["important"]}).json()["errors"][0]["pointer"] == "/basis"
    assert world.registrar.post(path, basis | {"tags": []}).json()["errors"][0]["pointer"] == "/catalogue"
    pending = world.registrar.made(path, basis | {"tags": [], "catalogue": "Regional catalogue 2026"})
    assert (pending["state"], pending["basis_code"]) == ("pending", "not_notified_as_important")
    assert {"instrument": "CBDF", "article": "2"} in pending["citations"]
    said = {"reason": "Looked as well", "catalogue": "Sector catalogue 2026"}
    confirmed = world.second_registrar.post(f"{path}/{pending['number']}/confirm", said).json()
    assert (confirmed["state"], confirmed["confirmed_reason"], confirmed["catalogue"]) == (
        "effective",
        "Looked as well",
        "Sector catalogue 2026",
    )


# Findings


def test_requests_that_cross_a_line_only_together_raise_a_finding_on_each(world: World) -> None:
    group = world.name("group")
    handlers = []
    for _ in range(2):
        body = {"key": world.name("handler"), "name": "Invented", "group": group, "facts": {"ciio": False}}
        handlers.append(world.registrar.made("/v1/handlers", body))
    recipient = world.recipient()
    first = world.submitted(handlers[0], [world.dataset(handlers[0], "personal")], recipient, persons=60_000)
    assert first["findings"] == []
    second = world.submitted(handlers[1], [world.dataset(handlers[1], "personal")], recipient, persons=60_000)
    (finding,) = second["findings"]
    assert (finding["total"], finding["state"], finding["transfers"]) == (
        120_000,
        "open",
        sorted([first["id"], second["id"]]),
    )
    assert world.auditor.get(at(first)).json()["findings"][0]["state"] == "open"
    assert world.reviewers["privacy"].get("/v1/queue", handler=handlers[1]["id"]).json()["items"][0]["findings"] == 1
    path = f"/v1/findings/{finding['id']}/answer"
    said = {"answer": "justified", "reason": "Two products that share nothing"}
    assert world.reviewers["privacy"].post(path, said).status_code == 403
    assert world.reviewers["legal"].post(path, {"answer": "fine", "reason": "x"}).status_code == 422
    answered = world.reviewers["legal"].post(path, said).json()
    assert (answered["state"], answered["answered_by"]) == ("answered", world.reviewers["legal"].id)
    assert world.reviewers["legal"].post(path, said).status_code == 409
    left = world.auditor.get("/v1/findings", state="open", handler=handlers[1]["id"]).json()["items"]
    assert left == []
    assert len(world.auditor.get("/v1/findings", state="open", transfer=first["id"]).json()["items"]) == 1


# Permits


def test_a_permit_is_narrowed_at_once_and_widened_only_by_a_new_transfer(world: World, case: Case) -> None:
    approved = case.approved(fields=["city", "amount"])
    path = f"/v1/permits/{approved['permit']}/amend"
    narrow = {"persons": 100, "fields": ["city"], "valid_until": day(20), "reason": "Less is needed"}
    amended = world.requester.post(path, narrow).json()
    assert (amended["persons"], amended["fields"], amended["valid_until"]) == (100, ["city"], day(20))
    assert case.reason(persons=101, fields=["city"]) == "quota_exceeded"
    assert case.reason(fields=["amount"]) == "fields_not_covered"
    wider = world.requester.post(path, {"persons": 101, "fields": ["amount"], "reason": "More"})
    assert (wider.status_code, {one["pointer"] for one in wider.json()["errors"]}) == (409, {"/persons", "/fields"})
    assert wider.json()["next"]["href"] == at(approved, "renew")
    assert world.requester.post(path, {"reason": "Nothing"}).status_code == 422
    assert world.exporter.post(path, narrow).status_code == 403
    actions = [one["action"] for one in world.auditor.get(f"/v1/permits/{approved['permit']}/history").json()["items"]]
    assert actions == ["permit.issued", "permit.amended"]


def test_a_renewal_reuses_what_still_serves_and_takes_over_without_a_gap(
    world: World, case: Case, days_ahead: Clock
) -> None:
    old = case.approved(valid_until=day(100))
    world.add_evidence(old, ["filing_receipt"])
    renewal = world.requester.post(at(old, "renew"), {"valid_from": day(50), "valid_until": day(400)})
    assert renewal.status_code == 201, renewal.text
    new = renewal.json()
    assert (new["status"], new["renews"], new["persons"]) == ("draft", old["id"], 150_000)
    assert {one["kind"] for one in new["evidence"]} >= {
        "standard_contract",
        "impact_assessment_report",
        "consent_record",
    }
    assert all(one["reused_from"] for one in new["evidence"])
    again = world.requester.post(at(old, "renew"), {"valid_from": day(50), "valid_until": day(400)})
    assert again.status_code == 409
    submitted = world.requester.made(at(new, "submit"), None)
    assert (submitted["missing_evidence"], submitted["findings"]) == ([], [])
    approved = world.approve(submitted)
    first = world.auditor.get(f"/v1/permits/{old['permit']}").json()
    second = world.auditor.get(f"/v1/permits/{approved['permit']}").json()
    assert (first["valid_until"], first["superseded_by"]) == (day(49), second["id"])
    assert (second["valid_from"], second["supersedes"]) == (day(50), first["id"])
    assert world.auditor.get(at(old)).json()["renewed_by"] == [new["id"]]
    for ahead, permit in ((0, first), (49, first), (50, second)):
        days_ahead.ahead = timedelta(days=ahead)
        told = world.ask(case.dataset, case.recipient, persons=1)["context"]
        assert (told["reason"], told["permit"]) == ("permitted", permit["id"])


def test_a_renewal_for_another_purpose_needs_a_new_report(world: World, case: Case) -> None:
    old = case.approved()
    wanted = {"valid_from": day(1), "valid_until": day(300), "purpose": "support"}
    new = world.requester.made(at(old, "renew"), wanted)
    assert "impact_assessment_report" not in {one["kind"] for one in new["evidence"]}
    submitted = world.requester.made(at(new, "submit"), None)
    assert submitted["missing_evidence"] == ["impact_assessment_report"]
    assert world.requester.post(at(submitted, "renew"), wanted).status_code == 409


def test_a_closing_report_compares_what_was_planned_with_what_went(world: World, case: Case) -> None:
    approved = case.approved()
    export = world.export(case.dataset, case.recipient, 1200).json()
    world.exporter.post(f"/v1/exports/{export['id']}/complete", {"persons": 1000, "sensitive_persons": 0})
    given_back = world.export(case.dataset, case.recipient, 5).json()
    world.exporter.post(f"/v1/exports/{given_back['id']}/cancel")
    report = world.auditor.get(f"/v1/permits/{approved['permit']}/report").json()
    assert report["closed"] is False
    assert (report["planned"]["persons"], report["exported"]["persons"], report["unused"]["persons"]) == (
        150_000,
        1000,
        149_000,
    )
    assert report["exports"] == {"completed": 1, "cancelled": 1, "reserved": 0, "lapsed": 0}
    assert report["by_dataset"] == [{"name": case.dataset["id"], "exports": 1, "persons": 1000, "sensitive_persons": 0}]
    world.reviewers["legal"].post(f"/v1/permits/{approved['permit']}/revoke", {"reason": "Over"})
    closed = world.auditor.get(f"/v1/permits/{approved['permit']}/report").json()
    assert closed["closed"] is True
    assert [one["action"] for one in closed["history"]] == ["permit.issued", "permit.revoked"]
    assert world.auditor.get(f"/v1/obligations/{closed['obligations'][0]}").json()["state"] == "void"


# Outlook


def test_an_outlook_tells_what_changes_when_and_why(world: World, case: Case) -> None:
    approved = case.approved(persons=90_000, valid_until=day(300))
    told = world.auditor.get(f"/v1/permits/{approved['permit']}/outlook", on=day(200), more_persons=100_000).json()
    assert (told["stands"], told["stands_later"], told["stands_with_more"]) == (True, True, False)
    assert told["why_not_with_more"][0]["reason"] == "ledger_threshold"
    assert told["now"]["determination"]["mechanism"] == "exempt"
    assert told["with_more"]["determination"]["mechanism"] == "standard_contract_or_certification"
    assert told["with_more"]["stages"] == ["data_owner", "privacy", "legal"]
    line = next(one for one in told["thresholds"] if one["id"] == "contract_persons")
    assert (line["near"], line["headroom"]) == (True, 9_999)
    assert {"permit_ends"} <= {change["kind"] for change in told["changes"]}
    same = world.requester.get(at(approved, "outlook")).json()
    assert (same["later"], same["with_more"]) == (None, None)
    assert world.auditor.get(at(approved, "outlook"), on=day(-1)).status_code == 422
    assert world.auditor.get(f"/v1/permits/{approved['permit']}/outlook", on=day(301)).json()["stands_later"] is False


def test_an_outlook_of_a_permit_whose_ground_moved_says_why_it_no_longer_stands(world: World, case: Case) -> None:
    approved = case.approved(persons=10)
    world.grade(case.dataset, "personal", "important")
    told = world.auditor.get(f"/v1/permits/{approved['permit']}/outlook").json()
    assert (told["stands"], told["why_not"][0]["reason"]) == (False, "grading_changed")


def test_what_has_gone_is_not_counted_twice(world: World, case: Case) -> None:
    approved = case.approved(persons=60_000)
    sent = world.export(case.dataset, case.recipient, 59_000).json()
    world.exporter.made(f"/v1/exports/{sent['id']}/complete", {"persons": 59_000, "sensitive_persons": 0})
    for path in (at(approved, "outlook"), f"/v1/permits/{approved['permit']}/outlook"):
        told = world.auditor.get(path).json()
        assert told["now"]["determination"]["mechanism"] == "exempt"
        line = next(one for one in told["thresholds"] if one["id"] == "contract_persons")
        assert (line["count"], line["headroom"], line["near"], line["law_value"]) == (60_000, 39_999, False, 100_000)
    assert world.auditor.get(f"/v1/permits/{approved['permit']}/outlook").json()["stands"] is True


def test_a_permit_stands_no_more_once_the_year_has_room_for_nobody(world: World, case: Case) -> None:
    approved = case.approved(persons=90_000)
    first = world.approved(case.handler, [case.dataset], world.recipient(), persons=99_999, purpose="billing")
    other = world.auditor.get(f"/v1/permits/{first['permit']}").json()["recipient"]
    body = {"dataset": case.dataset["id"], "recipient": other, "purpose": "billing", "sensitive_persons": 0}
    assert world.exporter.post("/v1/exports", body | {"persons": 99_998}).status_code == 201
    assert world.auditor.get(f"/v1/permits/{approved['permit']}/outlook").json()["stands"] is True
    assert world.exporter.post("/v1/exports", body | {"persons": 1}).status_code == 201
    told = world.auditor.get(f"/v1/permits/{approved['permit']}/outlook").json()
    assert (told["stands"], told["why_not"][0]["reason"]) == (False, "ledger_threshold")
    assert world.ask(case.dataset, case.recipient, persons=1)["decision"] is False


def test_an_outlook_is_told_where_the_register_contradicts_the_request(world: World, case: Case) -> None:
    approved = case.approved(persons=10)
    world.grade(case.dataset, "personal", "important")
    lowered = world.grade(case.dataset, "important")
    confirm = f"/v1/datasets/{case.dataset['id']}/gradings/{lowered['number']}/confirm"
    assert world.second_registrar.post(confirm).status_code == 200
    told = world.auditor.get(f"/v1/permits/{approved['permit']}/outlook").json()
    assert (told["now"], told["stands"], told["why_not"][0]["reason"]) == (None, False, "grading_changed")
    assert told["contradictions"][0]["pointer"] == "/persons"
    assert "permit_ends" in {change["kind"] for change in told["changes"]}
    ungraded = world.draft(case.handler, [world.dataset(case.handler, graded=False)], case.recipient)
    told = world.requester.get(at(ungraded, "outlook")).json()
    assert (told["now"], told["contradictions"][0]["pointer"]) == (None, "/datasets/0")


# What-if


def test_each_proposed_way_gives_what_it_says_when_its_facts_are_asked(world: World) -> None:
    asked = {
        "handler": {"ciio": False, "in_ftz": True, "in_gba": True},
        "dataset": {"tags": ["sensitive"], "contains_minors": True},
        "recipient": {"country": "HK", "in_gba": True},
        "transfer": {"persons": 1_200_000, "sensitive_persons": 12_000},
    }
    told = world.requester.made("/v1/plans", asked)
    assert {"reduce_persons", "drop_sensitive_fields+reduce_persons", "check_negative_list"} <= {
        p["code"] for p in told["plans"]
    }
    for plan in told["plans"]:
        again = world.requester.made("/v1/determinations", plan["facts"])
        assert (again["mechanism"], again["exemption"]) == (plan["mechanism"], plan["exemption"])
        assert all(paper["working_days"] > 0 for paper in plan["evidence"])
