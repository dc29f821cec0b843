"""Whoever belongs to one company and reaches for what is another's."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from tests.attacks.companies import PDF, Company, review, upload
from tests.world import Json, Person, World, day


@pytest.fixture(scope="session")
def paper(world: World, victim: Company) -> Json:
    """A paper of the victim's, with its file."""
    made: Json = upload(world.requester, victim.transfer, PDF).json()
    return made


@pytest.fixture(scope="session")
def addresses(world: World, victim: Company, paper: Json) -> list[str]:
    """Every address of something of the victim's that can be read."""
    export = victim.export(1).json()
    transfer, permit = f"/v1/transfers/{victim.transfer['id']}", f"/v1/permits/{victim.permit}"
    things = [f"/v1/handlers/{victim.handler['id']}", f"/v1/datasets/{victim.dataset['id']}", transfer, permit]
    duties = world.auditor.get("/v1/obligations", handler=victim.handler["id"]).json()["items"]
    seq = world.auditor.get("/v1/audit/entries", handler=victim.handler["id"]).json()["items"][0]["seq"]
    return [
        *things,
        *(f"{thing}/history" for thing in things),
        f"/v1/handlers/{victim.handler['key']}",
        f"/v1/handlers/{victim.handler['id']}/ledger",
        f"/v1/handlers/{victim.handler['id']}/person-key",
        f"/v1/datasets/{victim.dataset['id']}/gradings",
        f"/v1/datasets/{victim.dataset['id']}/gradings/1",
        *(f"{transfer}/{part}" for part in ("comments", "evidence", "outlook", "reviewers?stage=privacy", "revisions")),
        f"{transfer}/revisions/1",
        f"{transfer}/revisions/1/diff",
        f"{transfer}/evidence/{paper['id']}",
        f"{transfer}/evidence/{paper['id']}/file",
        *(f"{permit}/{part}" for part in ("outlook", "report", "token")),
        f"/v1/exports/{export['id']}",
        *(f"/v1/obligations/{duty['id']}" for duty in duties),
        f"/v1/audit/entries/{seq}",
    ]


def test_nothing_of_another_company_is_read_by_its_id(world: World, thief: Person, addresses: list[str]) -> None:
    assert len(addresses) > 25
    assert [path for path in addresses if thief.get(path).status_code != 404] == []
    everywhere = world.person(
        "registrar", "requester", "exporter", "auditor", *(f"reviewer:{s}" for s in world.reviewers)
    )
    readable = [everywhere.get(path).status_code for path in addresses]
    assert set(readable) == {200}, list(zip(addresses, readable, strict=True))


def test_nothing_of_another_company_is_acted_upon_by_its_id(
    world: World, thief: Person, victim: Company, paper: Json
) -> None:
    transfer, permit = f"/v1/transfers/{victim.transfer['id']}", f"/v1/permits/{victim.permit}"
    export = victim.export(1).json()["id"]
    grading: Json = {"tags": ["core"], "reason": "Theirs", "basis": "Mine"}
    acts: list[tuple[str, object]] = [
        (f"{transfer}/submit", None),
        (f"{transfer}/withdraw", {"reason": "x"}),
        (f"{transfer}/renew", {"valid_from": day(201), "valid_until": day(300)}),
        (f"{transfer}/recuse", {"reason": "x"}),
        (f"{transfer}/comments", {"text": "x"}),
        (f"{transfer}/evidence", {"kind": "other", "reference": "1", "issuer": "x", "issued_on": day(0)}),
        (f"{transfer}/evidence/{paper['id']}/verify", None),
        (f"{transfer}/evidence/{paper['id']}/withdraw", {"reason": "x"}),
        (f"{permit}/suspend", {"reason": "x"}),
        (f"{permit}/resume", {"reason": "x"}),
        (f"{permit}/revoke", {"reason": "x"}),
        (f"{permit}/amend", {"persons": 0, "reason": "x"}),
        (f"/v1/exports/{export}/complete", {"persons": 0, "sensitive_persons": 0}),
        (f"/v1/exports/{export}/cancel", None),
        (f"/v1/datasets/{victim.dataset['id']}/gradings", grading),
    ]
    before = world.auditor.get(permit).json()
    answers = [(path, thief.post(path, body).status_code) for path, body in acts]
    assert [answer for answer in answers if answer[1] != 404] == []
    assert review(thief, victim.transfer, "privacy").status_code == 404
    listed = {"datasets": [victim.dataset["id"]], **grading}
    assert thief.post("/v1/gradings", listed).status_code == 422
    assert world.auditor.get(permit).json() == before


LISTS = (
    "/v1/handlers",
    "/v1/datasets",
    "/v1/transfers",
    "/v1/permits",
    "/v1/exports",
    "/v1/gradings",
    "/v1/obligations",
)


@pytest.mark.parametrize("path", [*LISTS, "/v1/audit/entries", "/v1/findings", "/v1/events", "/v1/queue"])
def test_no_list_holds_anything_of_another_company(thief: Person, victim: Company, path: str) -> None:
    for wanted in ({}, {"limit": 200}):
        told = thief.get(path, **wanted)
        assert told.status_code == 200
        for ident in (victim.handler["id"], victim.transfer["id"], victim.permit, victim.dataset["id"]):
            assert ident not in told.text


@pytest.mark.parametrize("path", LISTS)
def test_a_made_up_cursor_opens_no_other_list(thief: Person, victim: Company, path: str) -> None:
    """A cursor is a place, not a right: whoever makes one up gets a page of what they may see."""
    just_before = victim.handler["id"].split("_")[1][:-1]
    for prefix in ("hd_", "ds_", "tr_", "pm_", "ex_", "gd_", "ob_", ""):
        cursor = base64.urlsafe_b64encode((prefix + just_before).encode()).decode().rstrip("=")
        told = thief.get(path, cursor=cursor)
        assert told.status_code == 200
        assert victim.handler["id"] not in told.text
    assert thief.get(path, cursor="'; drop table handlers; --").status_code == 422


def test_a_file_is_not_had_by_knowing_its_hash(thief: Person, world: World, paper: Json) -> None:
    """Files are shared by their SHA-256; a record of one's own that names another's file would open it."""
    assert paper["document"]["sha256"] == hashlib.sha256(PDF).hexdigest()
    mine = world.auditor.get("/v1/transfers", handler=thief.get("/v1/handlers").json()["items"][0]["id"]).json()[
        "items"
    ][0]
    stolen = {
        "kind": "standard_contract",
        "reference": "No. 1",
        "issuer": "x",
        "issued_on": day(0),
        "document": f"sha256:{paper['document']['sha256']}",
    }
    refused = thief.post(f"/v1/transfers/{mine['id']}/evidence", stolen)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/document")


def test_one_callers_idempotency_key_tells_nothing_to_another(world: World, thief: Person) -> None:
    key, handler = "month-end-1", world.handler()
    body = {"key": world.name("recipient"), "name": "Invented", "country": "SG", "kind": "company", "facts": {}}
    mine = world.registrar.post("/v1/recipients", body, Idempotency_Key=key)
    theirs = thief.post("/v1/recipients", body | {"key": world.name("recipient")}, Idempotency_Key=key)
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert theirs.json()["id"] != mine.json()["id"]
    assert "Idempotent-Replayed" not in theirs.headers
    assert thief.post("/v1/recipients", body, Idempotency_Key=key).status_code == 422
    assert handler["id"] not in theirs.text


def test_a_replay_answers_nobody_whose_role_has_gone(world: World) -> None:
    company = Company(world)
    system = company.insider("exporter", kind="system")
    body = {
        "dataset": company.dataset["id"],
        "recipient": company.recipient["id"],
        "purpose": "analytics",
        "persons": 1,
    }
    first = system.post("/v1/exports", body, Idempotency_Key="once")
    assert first.status_code == 201
    grant = world.admin.get("/v1/grants", principal=system.id).json()["items"][0]["id"]
    world.admin.made(f"/v1/grants/{grant}/withdraw", None)
    again = system.post("/v1/exports", body, Idempotency_Key="once")
    assert again.status_code == 403
    assert first.json()["id"] not in again.text


def test_an_insider_learns_no_name_of_a_person_elsewhere(thief: Person, world: World) -> None:
    """Principals, keys and grants are for admins alone."""
    for path in ("/v1/principals", "/v1/api-keys", "/v1/grants", f"/v1/principals/{world.requester.id}"):
        assert thief.get(path).status_code == 403
    assert world.requester.name not in json.dumps(thief.get("/v1/me").json())


def test_a_dataset_of_another_company_cannot_be_told_from_none(thief: Person, victim: Company, world: World) -> None:
    def told(dataset: str) -> Json:
        body = {
            "subject": {"type": "system", "id": "crm-export"},
            "action": {"name": "export"},
            "resource": {"type": "dataset", "id": dataset},
            "context": {"recipient": victim.recipient["id"], "purpose": "analytics", "persons": 1},
        }
        answer: Json = thief.post("/access/v1/evaluation", body).json()
        answer["context"].pop("id")
        return answer

    assert told(victim.dataset["id"]) == told("ds_00000000000000000000000000")
    assert told(victim.dataset["key"]) == told(world.name("postgres://nothing"))
