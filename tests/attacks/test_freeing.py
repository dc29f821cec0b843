"""Whoever frees data by what the register says of it, or has a permit serve somebody else than it was approved for."""

from __future__ import annotations

from tests.attacks.companies import Company
from tests.world import Json, World

FOREIGN = {"origin": "foreign", "domestic_data_added": False}


def counted(world: World, company: Company, persons: int) -> Json:
    made = world.export(company.dataset, company.recipient, persons)
    assert made.status_code == 201, made.text
    told: Json = made.json()
    return told


def test_one_registrar_takes_no_exports_out_of_the_count_of_the_year(world: World) -> None:
    company = Company(world)
    changed = world.registrar.patch(f"/v1/datasets/{company.dataset['id']}", {"facts": FOREIGN}).json()
    assert changed["facts"]["origin"] == "domestic"
    assert counted(world, company, 1)["counts_toward_ledger"] is True
    for waiting in changed["pending_facts"].values():
        assert world.registrar.post(f"/v1/fact-changes/{waiting['change']}/confirm").status_code == 403


def test_a_permit_counts_by_the_facts_that_it_was_approved_on(world: World) -> None:
    """Two registrars free the dataset after the approval: what was approved to be counted is counted all the same."""
    company = Company(world)
    world.free(f"/v1/datasets/{company.dataset['id']}", FOREIGN)
    assert counted(world, company, 1)["counts_toward_ledger"] is True
    world.free(f"/v1/datasets/{company.dataset['id']}", {"ftz_list": "unlisted"})
    world.free(f"/v1/handlers/{company.handler['id']}", {"in_ftz": True})
    assert counted(world, company, 1)["counts_toward_ledger"] is True


def test_a_permit_does_not_follow_its_recipient_to_another_name(world: World) -> None:
    company = Company(world)
    path = f"/v1/recipients/{company.recipient['id']}"
    world.registrar.patch(path, {"name": "Greyfield Brokers"})
    assert company.reason(persons=1) == "evidence_lapsed"
    world.registrar.patch(path, {"name": company.recipient["name"]})
    assert company.reason(persons=1) == "permitted"


def test_what_is_renamed_in_review_is_submitted_anew(world: World) -> None:
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    for path, change in (
        (f"/v1/recipients/{recipient['id']}", {"name": "Someone Else"}),
        (f"/v1/handlers/{handler['id']}", {"name": "Another Company"}),
        (f"/v1/datasets/{dataset['id']}", {"title": "Faces"}),
    ):
        shown = world.submitted(handler, [dataset], recipient, persons=5)
        world.add_evidence(shown)
        assert world.registrar.patch(path, change).status_code == 200
        stale = world.review(shown, shown["stages"][0]["name"])
        assert (stale.status_code, stale.json()["type"]) == (409, "/problems/revision-moved")
    shown = world.submitted(handler, [dataset], recipient, persons=5)
    content = world.auditor.get(f"/v1/transfers/{shown['id']}/revisions/1").json()["content"]
    assert (content["recipient"]["name"], content["handler"]["name"]) == ("Someone Else", "Another Company")
    assert content["datasets"][0]["title"] == "Faces"


def test_a_second_spelling_of_a_key_frees_nothing(world: World) -> None:
    handler, recipient = world.handler(), world.recipient()
    name = world.name("customers")
    first = world.dataset(handler, "personal", key=f"snowflake://acme/{name.upper()}")
    body = {"key": f"snowflake://acme/{name}", "handler": handler["id"], "title": "T", "owner": "O", "fields": []}
    assert world.registrar.post("/v1/datasets", body).status_code == 409
    said = {"distinct_from": first["id"], "reason": "Another table"}
    second = world.registrar.made("/v1/datasets", body | said)
    world.grade(second)
    told = world.ask(second, recipient, persons=0)
    assert (told["decision"], told["context"]["reason"]) != (True, "general_data")
    change = next(iter(second["pending_facts"].values()))["change"]
    assert world.registrar.post(f"/v1/fact-changes/{change}/confirm").status_code == 403
