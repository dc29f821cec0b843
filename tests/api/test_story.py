"""The whole story, as a newcomer watches it: register, grade, ask, approve, export, prove."""

from datetime import timedelta

from tests.conftest import Clock
from tests.world import World, day


def test_personal_data_of_150000_persons_goes_by_standard_contract(world: World) -> None:
    handler = world.handler()
    dataset = world.dataset(handler, "personal")
    recipient = world.recipient("SG", kind="affiliate")

    refused = world.ask(dataset, recipient, persons=1200)
    assert (refused["decision"], refused["context"]["reason"]) == (False, "no_permit")
    assert refused["context"]["next"] == {"href": "/v1/transfers", "method": "POST"}

    transfer = world.submitted(handler, [dataset], recipient, persons=150_000)
    assert transfer["status"] == "in_review"
    assert transfer["determination"]["mechanism"] == "standard_contract_or_certification"
    assert {"instrument": "CBDF", "article": "8"} in transfer["determination"]["requirements"][0]["citations"]
    assert [stage["name"] for stage in transfer["stages"]] == ["data_owner", "privacy", "legal"]
    assert transfer["missing_evidence"] == ["standard_contract", "impact_assessment_report", "consent_record"]

    for stage in ("data_owner", "privacy"):
        assert world.review(transfer, stage).json()["status"] == "in_review"
    early = world.review(transfer, "legal")
    assert early.status_code == 409
    assert early.json()["missing_evidence"] == ["standard_contract", "impact_assessment_report", "consent_record"]

    world.add_evidence(transfer, valid_until=day(100))
    approved = world.review(transfer, "legal").json()
    assert approved["status"] == "approved"
    permit = world.auditor.get(f"/v1/permits/{approved['permit']}").json()
    assert (permit["status"], permit["valid_until"]) == ("active", day(100))

    allowed = world.ask(dataset, recipient, persons=1200)
    assert allowed["decision"] is True
    assert allowed["context"]["reason"] == "permitted"
    assert allowed["context"]["headroom"] == {"persons": 150_000, "sensitive_persons": 0}

    export = world.export(dataset, recipient, 1200)
    assert export.status_code == 201
    assert export.json()["permit"] == permit["id"]
    done = world.exporter.post(f"/v1/exports/{export.json()['id']}/complete", {"persons": 1000, "sensitive_persons": 0})
    assert done.json()["status"] == "completed"
    ledger = world.auditor.get(f"/v1/handlers/{handler['id']}/ledger").json()
    assert (ledger["persons"], ledger["reported"]["persons"]) == (1000, 1000)

    entries = world.auditor.get("/v1/audit/entries", handler=handler["id"], limit=200).json()["items"]
    assert [entry["action"] for entry in entries] == [
        "handler.created",
        "dataset.created",
        "dataset.graded",
        "gate.evaluated",
        "transfer.created",
        "transfer.submitted",
        "transfer.reviewed",
        "transfer.reviewed",
        "transfer.evidence_added",
        "transfer.evidence_added",
        "transfer.evidence_added",
        "transfer.reviewed",
        "permit.issued",
        "obligation.opened",
        "gate.evaluated",
        "export.reserved",
        "export.completed",
    ]


def test_a_transfer_is_returned_changed_approved_again_and_renewed(world: World, days_ahead: Clock) -> None:
    """The life of a transfer as a compliance team lives it, over more than a year."""
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient("SG", kind="affiliate")
    transfer = world.submitted(handler, [dataset], recipient, persons=150_000)
    path = f"/v1/transfers/{transfer['id']}"
    world.review(transfer, "data_owner")
    returned = world.review(transfer, "privacy", "return", comment="The amounts are not needed").json()
    assert (returned["status"], [one["decision"] for one in returned["reviews"]]) == ("returned", ["approve", "return"])

    world.requester.patch(path, {"fields": ["city"]})
    again = world.requester.made(f"{path}/submit", None)
    assert (again["status"], again["revision"]["number"]) == ("in_review", 2)
    diff = world.reviewers["data_owner"].get(f"{path}/revisions/2/diff").json()
    assert [change["text"]["en"] for change in diff["changes"]] == ["Fields: from all to city."]
    assert again["carryable"][0]["changed"] == ["fields"]

    world.add_evidence(again)
    world.review(again, "data_owner")
    world.review(again, "privacy", conditions={"persons": 120_000, "terms": ["Delete after 12 months"]})
    assert world.review(again, "legal").json()["type"] == "/problems/terms-pending"
    world.requester.made(f"{path}/terms/accept", {"revision": again["revision"]["hash"]})
    approved = world.review(again, "legal").json()
    assert approved["status"] == "approved"
    first = world.auditor.get(f"/v1/permits/{approved['permit']}").json()
    assert (first["persons"], first["fields"], first["revision"]) == (120_000, ["city"], again["revision"]["hash"])
    world.add_evidence(approved, ["filing_receipt"])

    export = world.export(dataset, recipient, 1000, fields=["city"]).json()
    world.exporter.post(f"/v1/exports/{export['id']}/complete", {"persons": 1000, "sensitive_persons": 0})
    days_ahead.ahead = timedelta(days=180)
    renewal = world.requester.made(f"{path}/renew", {"valid_from": day(201), "valid_until": day(500)})
    renewed = world.approve(world.requester.made(f"/v1/transfers/{renewal['id']}/submit", None))
    second = world.auditor.get(f"/v1/permits/{renewed['permit']}").json()
    assert (second["supersedes"], second["valid_from"]) == (first["id"], day(201))

    for ahead, permit in ((199, first), (201, second)):
        days_ahead.ahead = timedelta(days=ahead)
        answer = world.ask(dataset, recipient, persons=10, fields=["city"])["context"]
        assert (answer["reason"], answer["permit"]) == ("permitted", permit["id"])
    report = world.auditor.get(f"/v1/permits/{first['id']}/report").json()
    assert (report["closed"], report["planned"]["persons"], report["exported"]["persons"]) == (True, 120_000, 1000)
    told = world.requester.get("/v1/events", to_me="true", subject=transfer["id"], limit=200).json()["items"]
    assert [event["kind"] for event in told].count("transfer.reviewed") == 5
    found = world.auditor.get("/v1/transfers", handler=handler["id"]).json()["items"]
    assert [(one["id"], one["renewed_by"]) for one in found] == [(transfer["id"], [renewal["id"]]), (renewal["id"], [])]
