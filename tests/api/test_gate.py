"""The gate through HTTP: answers, exports, quotas, the year's count, and what a mismatch denies; `test_authzen.py` has the protocol."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.conftest import Clock
from tests.world import Json, World, day


class Open:
    """A dataset with a permit for so many persons."""

    def __init__(self, world: World, persons: int = 1000, **more: Any) -> None:
        self.world = world
        self.handler = world.handler()
        self.dataset = world.dataset(self.handler, *more.pop("tags", ("personal",)))
        self.recipient = world.recipient()
        self.transfer = world.approved(self.handler, [self.dataset], self.recipient, persons=persons, **more)
        self.permit = self.transfer["permit"]

    def ask(self, **context: Any) -> Json:
        return self.world.ask(self.dataset, self.recipient, **context)

    def reason(self, **context: Any) -> str:
        reason: str = self.ask(**context)["context"]["reason"]
        return reason

    def export(self, persons: int, **more: Any) -> httpx.Response:
        return self.world.export(self.dataset, self.recipient, persons, **more)

    def used(self) -> tuple[int, int]:
        shown = self.world.auditor.get(f"/v1/permits/{self.permit}").json()
        return shown["sent"]["persons"], shown["reserved"]["persons"]


@pytest.fixture
def open_(world: World) -> Open:
    return Open(world)


# Answers


def question(open_: Open, **change: Any) -> Json:
    return {
        "subject": {"type": "system", "id": "crm-export"},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": open_.dataset["key"]},
        "context": {"recipient": open_.recipient["key"], "purpose": "analytics", "persons": 5},
    } | change


def test_an_answer_has_the_documented_members(world: World, open_: Open) -> None:
    told = world.exporter.post("/access/v1/evaluation", question(open_), X_Request_ID="r-1")
    assert told.headers["X-Request-ID"] == "r-1"
    body = told.json()
    assert body["decision"] is True
    assert body["context"].keys() == {
        *("id", "reason", "reason_user", "mechanism", "permit", "headroom", "next", "valid_from"),
        *("recipient", "purpose", "persons", "sensitive_persons", "fields"),
    }
    assert body["context"]["id"].startswith("ev_")
    assert body["context"]["reason_user"].keys() == {"en", "zh"}


def test_every_answer_is_on_record(world: World, open_: Open) -> None:
    for context in ({"persons": 5}, {"persons": 5000}):
        told = open_.ask(**context)
        entry = world.auditor.get("/v1/audit/entries", subject=told["context"]["id"]).json()["items"][0]
        assert entry["action"] == "gate.evaluated"
        assert entry["details"]["decision"] == told["decision"]
        assert entry["details"]["reason"] == told["context"]["reason"]
        assert entry["actor"] == world.exporter.id


# Reasons


def test_the_reasons_before_any_permit(world: World) -> None:
    handler, recipient = world.handler(), world.recipient()
    raw = world.dataset(handler, graded=False)
    general = world.dataset(handler)
    personal = world.dataset(handler, "personal")

    def reason(dataset: Json, abroad: Json = recipient, persons: int | None = 1) -> str:
        told: str = world.ask(dataset, abroad, persons=persons)["context"]["reason"]
        return told

    assert reason({"id": "nothing"}) == "dataset_unknown"
    assert reason(raw) == "dataset_ungraded"
    assert reason(personal, {"id": "nobody"}) == "recipient_unknown"
    assert reason(personal, world.recipient("CN")) == "not_cross_border"
    assert reason(general) == "tags_contradicted"
    assert reason(general, persons=None) == reason(general, persons=0) == "general_data"
    assert reason(general, world.recipient(kind="judicial_or_enforcement"), None) == "no_permit"
    assert reason(personal, world.recipient(facts={"restricted": True})) == "prohibited"
    assert reason(personal) == "no_permit"


def test_the_reasons_of_a_permit(world: World) -> None:
    open_ = Open(world, fields=["city"], systems=["other", world.exporter.name])
    assert open_.reason(persons=1, fields=["city"]) == "permitted"
    assert open_.reason(persons=1, fields=["city"], purpose="advertising") == "purpose_not_covered"
    assert open_.reason(persons=1, fields=["amount"]) == "fields_not_covered"
    assert open_.reason(persons=1) == "fields_not_covered"
    assert open_.reason(persons=1001, fields=["city"]) == "quota_exceeded"
    other = question(open_, context={"recipient": open_.recipient["id"], "purpose": "analytics", "fields": ["city"]})
    told = world.exporter.post("/access/v1/evaluation", other).json()
    assert told["context"]["reason"] == "system_not_covered"


def test_another_handlers_exporter_knows_no_dataset(world: World, open_: Open) -> None:
    stranger = world.person("exporter", handler=world.handler()["id"], kind="system")
    told = stranger.post("/access/v1/evaluation", question(open_)).json()
    assert told["context"]["reason"] == "dataset_unknown"
    body = {"dataset": open_.dataset["id"], "recipient": open_.recipient["id"], "purpose": "analytics", "persons": 1}
    assert stranger.post("/v1/exports", body).json()["reason"] == "dataset_unknown"
    assert world.requester.post("/access/v1/evaluation", question(open_)).status_code == 403


def test_a_raised_grade_denies_from_its_commit_on(world: World, open_: Open) -> None:
    assert open_.reason(persons=1) == "permitted"
    world.grade(open_.dataset, "personal", "sensitive")
    assert open_.reason(persons=1) == "tags_contradicted"
    assert open_.reason(persons=1, sensitive_persons=1) == "grading_changed"
    assert open_.export(1).json()["reason"] == "tags_contradicted"


def test_facts_that_move_deny(world: World, open_: Open) -> None:
    world.registrar.patch(f"/v1/handlers/{open_.handler['id']}", {"facts": {"ciio": True}})
    assert open_.reason(persons=1) == "evidence_lapsed"
    world.registrar.patch(f"/v1/recipients/{open_.recipient['id']}", {"facts": {"restricted": True}})
    assert open_.reason(persons=1) == "prohibited"


def test_a_permit_ends_with_its_last_day(world: World, days_ahead: Clock) -> None:
    open_ = Open(world, valid_until=day(3))
    days_ahead.ahead = timedelta(days=3)
    assert open_.reason(persons=1) == "permitted"
    days_ahead.ahead = timedelta(days=4)
    assert open_.reason(persons=1) == "permit_expired"


def test_a_contract_that_is_not_filed_in_time_denies_until_the_receipt_is_there(
    world: World, days_ahead: Clock
) -> None:
    open_ = Open(world, persons=150_000)
    assert open_.reason(persons=1) == "permitted"
    days_ahead.ahead = timedelta(days=30)
    assert open_.reason(persons=1) == "permit_suspended"
    days_ahead.ahead = timedelta()
    world.add_evidence(open_.transfer, ["filing_receipt"])
    days_ahead.ahead = timedelta(days=30)
    assert open_.reason(persons=1) == "permitted"


def test_of_two_permits_the_first_to_end_is_used_first(world: World, open_: Open) -> None:
    short = world.approved(open_.handler, [open_.dataset], open_.recipient, persons=10, valid_until=day(5))
    assert open_.ask(persons=1)["context"]["permit"] == short["permit"]
    assert open_.ask(persons=11)["context"]["permit"] == open_.permit
    assert open_.export(5, permit=open_.permit).json()["permit"] == open_.permit


def test_without_persons_it_is_answered_on_the_permit_alone(open_: Open) -> None:
    told = open_.ask()
    assert (told["decision"], told["context"]["headroom"]) == (True, {"persons": 1000, "sensitive_persons": 0})


# Exports


def test_reserve_and_complete_less(world: World, open_: Open) -> None:
    made = open_.export(100)
    export = made.json()
    assert (made.status_code, export["status"], open_.used()) == (201, "reserved", (0, 100))
    path = f"/v1/exports/{export['id']}"
    read = world.exporter.get(path)
    assert (made.headers["location"], made.headers["etag"]) == (path, read.headers["etag"])
    assert made.content == read.content
    done = world.exporter.post(f"{path}/complete", {"persons": 60, "sensitive_persons": 0}).json()
    assert (done["status"], done["sent_persons"], open_.used()) == ("completed", 60, (60, 0))
    again = world.exporter.post(f"{path}/complete", {"persons": 60})
    assert (again.status_code, again.json()) == (200, done)
    fewer = world.exporter.post(f"{path}/complete", {"persons": 59}).json()
    assert (fewer["type"], fewer["counted"], open_.used()) == ("/problems/reported-otherwise", False, (60, 0))
    assert world.exporter.post(f"{path}/cancel").status_code == 409
    assert world.auditor.get(path).json()["status"] == "completed"


def test_cancel_gives_back(world: World, open_: Open) -> None:
    export = open_.export(1000).json()
    assert open_.export(1).json()["reason"] == "quota_exceeded"
    assert world.exporter.made(f"/v1/exports/{export['id']}/cancel", None)["status"] == "cancelled"
    assert open_.used() == (0, 0)
    assert open_.export(1).status_code == 201


def test_what_is_never_reported_lapses_and_is_given_back(world: World, open_: Open, days_ahead: Clock) -> None:
    export = open_.export(1000).json()
    days_ahead.ahead = timedelta(seconds=3601)
    path = f"/v1/exports/{export['id']}"
    assert world.auditor.get(path).json()["status"] == "lapsed"
    assert open_.used() == (0, 0)
    assert world.exporter.post(f"{path}/cancel").json()["type"] == "/problems/export-ended"
    late = world.exporter.post(f"{path}/complete", {"persons": 10, "sensitive_persons": 0})
    assert (late.status_code, late.json()["status"], late.json()["late"]) == (200, "completed", True)
    entries = world.auditor.get("/v1/audit/entries", subject=export["id"]).json()["items"]
    assert entries[-1]["action"] == "export.reported_late"
    assert (entries[-1]["details"]["was"], entries[-1]["details"]["sent"]["persons"]) == ("lapsed", 10)
    assert open_.export(991).json()["reason"] == "quota_exceeded", "what went late counts"
    assert open_.export(990).status_code == 201


def test_a_refused_export_tells_why_and_is_on_record(world: World, open_: Open) -> None:
    refused = open_.export(1001)
    problem = refused.json()
    assert (refused.status_code, problem["type"]) == (403, "/problems/export-refused")
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert (problem["reason"], problem["headroom"]) == ("quota_exceeded", {"persons": 1000, "sensitive_persons": 0})
    entry = world.auditor.get("/v1/audit/entries", subject=problem["evaluation"]).json()["items"][0]
    assert (entry["action"], entry["details"]["reason"]) == ("export.refused", "quota_exceeded")


def test_an_export_is_found_by_its_evaluation(world: World, open_: Open) -> None:
    export = open_.export(1).json()
    entry = world.auditor.get("/v1/audit/entries", subject=export["evaluation"]).json()["items"][0]
    assert entry["details"]["export"] == export["id"]


def test_personal_data_states_its_persons(world: World, open_: Open) -> None:
    body = {"dataset": open_.dataset["id"], "recipient": open_.recipient["id"], "purpose": "analytics"}
    assert world.exporter.post("/v1/exports", body).json()["errors"][0]["pointer"] == "/persons"
    assert world.exporter.post("/v1/exports", body | {"persons": 5}).status_code == 201
    sensitive = world.dataset(open_.handler, "sensitive")
    answer = world.exporter.post("/v1/exports", body | {"dataset": sensitive["id"]})
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/persons", "/sensitive_persons"]
    answer = world.exporter.post("/v1/exports", body | {"dataset": sensitive["id"], "persons": 5})
    assert (answer.status_code, answer.json()["reason"]) == (403, "tags_contradicted")


def test_general_data_and_important_data_go_without_persons(world: World) -> None:
    handler, recipient = world.handler(), world.recipient()
    general = world.export(world.dataset(handler), recipient)
    assert (general.status_code, general.json()["permit"]) == (201, None)
    important = Open(world, persons=0, tags=("important",))
    assert important.export(0).status_code == 201


def test_an_export_with_a_key_happens_once(world: World, open_: Open) -> None:
    body = {"dataset": open_.dataset["id"], "recipient": open_.recipient["id"], "purpose": "analytics", "persons": 10}
    first = world.exporter.post("/v1/exports", body, Idempotency_Key="e-1")
    again = world.exporter.post("/v1/exports", body, Idempotency_Key="e-1")
    assert (first.status_code, again.json()) == (201, first.json())
    assert open_.used() == (0, 10)
    assert world.exporter.post("/v1/exports", body | {"persons": 11}, Idempotency_Key="e-1").status_code == 422
    refused = world.exporter.post("/v1/exports", body | {"persons": 5000}, Idempotency_Key="e-2")
    repeat = world.exporter.post("/v1/exports", body | {"persons": 5000}, Idempotency_Key="e-2")
    assert (repeat.status_code, repeat.json()) == (403, refused.json())


def test_the_last_of_a_quota_is_never_sold_twice(world: World) -> None:
    open_ = Open(world, persons=100)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: open_.export(15).status_code, range(32)))
    assert sorted(answers) == [201] * 6 + [403] * 26
    assert open_.used() == (0, 90)


def test_the_year_is_counted_to_the_person(world: World) -> None:
    handler, recipient = world.handler(), world.recipient()
    first, second = world.dataset(handler, "personal"), world.dataset(handler, "personal")
    for dataset in (first, second):
        world.approved(handler, [dataset], recipient, persons=60_000)
    assert world.export(first, recipient, 60_000).status_code == 201
    refused = world.export(second, recipient, 40_000)
    assert refused.json()["reason"] == "ledger_threshold"
    assert refused.json()["headroom"] == {"persons": 39_999, "sensitive_persons": 0}
    assert world.export(second, recipient, 39_999).status_code == 201
    ledger = world.auditor.get(f"/v1/handlers/{handler['id']}/ledger").json()
    assert (ledger["persons"], ledger["reserved"]["persons"], ledger["headroom"]["persons"]) == (99_999, 99_999, 0)


def test_the_threshold_holds_when_many_come_at_once(world: World) -> None:
    handler, recipient = world.handler(), world.recipient()
    datasets = [world.dataset(handler, "personal") for _ in range(4)]
    for dataset in datasets:
        world.approved(handler, [dataset], recipient, persons=90_000)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: world.export(datasets[n % 4], recipient, 10_000).status_code, range(16)))
    assert answers.count(201) == 9
    assert world.auditor.get(f"/v1/handlers/{handler['id']}/ledger").json()["persons"] == 90_000


def test_exempt_exports_are_not_counted(world: World) -> None:
    open_ = Open(world, persons=5000, necessity="hr", legal_basis="hr")
    assert open_.export(5000).json()["counts_toward_ledger"] is False
    assert world.auditor.get(f"/v1/handlers/{open_.handler['id']}/ledger").json()["persons"] == 0


def test_a_new_year_begins_at_nothing(world: World, days_ahead: Clock) -> None:
    open_ = Open(world, persons=90_000, valid_until=day(400))
    assert open_.export(90_000).status_code == 201
    days_ahead.ahead = timedelta(days=366)
    assert world.auditor.get(f"/v1/handlers/{open_.handler['id']}/ledger").json()["persons"] == 0
    last = world.auditor.get(f"/v1/handlers/{open_.handler['id']}/ledger", year=int(day(0)[:4])).json()
    assert last["persons"] == 0, "the reservation of last year has lapsed as well"


def test_revoking_and_exporting_at_once_leaves_nothing_after_the_revocation(world: World) -> None:
    for _ in range(5):
        open_ = Open(world)
        legal = world.reviewers["legal"]
        with ThreadPoolExecutor(9) as pool:
            exports = [pool.submit(open_.export, 1) for _ in range(8)]
            revoked = pool.submit(legal.made, f"/v1/permits/{open_.permit}/revoke", {"reason": "race"})
            allowed = [e.result().json()["id"] for e in exports if e.result().status_code == 201]
            revoked.result()
        entries = world.auditor.get("/v1/audit/entries", handler=open_.handler["id"], limit=200).json()["items"]
        order = [entry["action"] for entry in entries if entry["action"] in {"export.reserved", "permit.revoked"}]
        assert order == ["export.reserved"] * len(allowed) + ["permit.revoked"]
        assert open_.export(1).json()["reason"] == "permit_revoked"


def test_exports_are_listed_by_permit(world: World, open_: Open) -> None:
    made = [open_.export(1).json()["id"] for _ in range(3)]
    for wanted in ({"permit": open_.permit}, {"handler": open_.handler["key"]}, {"dataset": open_.dataset["key"]}):
        listed = world.auditor.get("/v1/exports", **wanted).json()["items"]
        assert [export["id"] for export in listed] == made


def test_who_sees_nothing_of_a_handler_sees_none_of_its_exports(world: World, open_: Open) -> None:
    export = open_.export(1).json()
    stranger = world.person("exporter", handler=world.handler()["id"], kind="system")
    assert stranger.get(f"/v1/exports/{export['id']}").status_code == 404
    assert stranger.post(f"/v1/exports/{export['id']}/complete", {"persons": 1}).status_code == 404
    assert stranger.post(f"/v1/exports/{export['id']}/cancel").status_code == 404
