"""The whole story, as a newcomer watches it: register, grade, ask, approve, export, prove."""

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
