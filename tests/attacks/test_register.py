"""Whoever makes data look freer than it is, by what the register says of it."""

from __future__ import annotations

import pytest

from tests.attacks.companies import Company
from tests.world import Json, World


def test_tags_do_not_come_down_by_one_person_however_often_they_ask(world: World) -> None:
    dataset = world.dataset(world.handler(), "important")
    path = f"/v1/datasets/{dataset['id']}/gradings"
    wanted = {"tags": [], "reason": "Nothing important in it", "basis": "Catalogue 2026, entry 9"}
    for _ in range(3):
        made = world.registrar.made(path, wanted)
        assert made["state"] == "pending"
        assert world.registrar.post(f"{path}/{made['number']}/confirm", {}).status_code == 403
    assert world.auditor.get(f"/v1/datasets/{dataset['id']}").json()["tags"] == ["important"]


def test_a_lowering_that_was_confirmed_too_late_does_not_undo_a_raise(world: World) -> None:
    handler = world.handler()
    dataset = world.dataset(handler, "personal")
    path = f"/v1/datasets/{dataset['id']}/gradings"
    lowered = world.registrar.made(path, {"tags": [], "reason": "Nobody in it", "basis": "Looked"})
    world.grade(dataset, "personal", "core")
    assert world.second_registrar.post(f"{path}/{lowered['number']}/confirm", {}).status_code == 409
    assert "core" in world.auditor.get(f"/v1/datasets/{dataset['id']}").json()["tags"]


@pytest.mark.parametrize("member", ["tags", "grading", "handler", "key", "id", "filed_scale", "created_at"])
def test_a_dataset_is_not_given_what_only_an_act_gives(world: World, victim: Company, member: str) -> None:
    """Mass assignment, and moving a dataset to a handler where more is free."""
    value: object = [] if member == "tags" else "hd_elsewhere"
    patched = world.registrar.patch(f"/v1/datasets/{victim.dataset['id']}", {member: value})
    assert (patched.status_code, patched.json()["errors"][0]["pointer"]) == (422, f"/{member}")


def test_an_import_sets_no_tags_and_takes_no_dataset_over(world: World, victim: Company) -> None:
    handler = world.handler()
    insider = world.person("registrar", handler=handler["id"])
    mine = world.dataset(handler, "personal")
    head = {"Authorization": f"Bearer {insider.secret}", "Content-Type": "text/csv"}
    before = world.auditor.get(f"/v1/datasets/{victim.dataset['id']}").json()
    for columns, line in (
        ("key,handler,title,owner,tags", f"{mine['key']},{handler['key']},Mine,Me,"),
        ("key,handler,title,owner", f"{victim.dataset['key']},{handler['key']},Mine,Me"),
        ("key,handler,title,owner", f"{victim.dataset['key']},{victim.handler['key']},Mine,Me"),
    ):
        refused = insider.http.post("/v1/datasets/import", content=f"{columns}\n{line}\n", headers=head)
        assert refused.status_code in {403, 409, 422}, refused.text
    assert world.auditor.get(f"/v1/datasets/{mine['id']}").json()["tags"] == ["personal"]
    assert world.auditor.get(f"/v1/datasets/{victim.dataset['id']}").json() == before


def test_core_data_hidden_among_harmless_data_is_core(world: World) -> None:
    """A transfer of several datasets is the union of them, and the gate looks at the very dataset that goes."""
    handler = world.handler()
    general, core, recipient = world.dataset(handler), world.dataset(handler, "core"), world.recipient()
    shown = world.submitted(handler, [general, core], recipient)
    assert shown["determination"]["mechanism"] == "state_approval"
    assert world.ask(core, recipient)["context"]["reason"] != "general_data"
    assert world.ask(core, recipient)["decision"] is False


def test_a_copy_of_core_data_under_another_name_goes_nowhere_before_it_is_graded(world: World) -> None:
    """What the register offers until lineage derives tags: a dataset that nobody has graded is never free."""
    handler = world.handler()
    copied = world.dataset(handler, graded=False, title="Summary of the core table")
    told = world.ask(copied, world.recipient(), persons=0)
    assert (told["decision"], told["context"]["reason"]) == (False, "dataset_ungraded")
    body = {"handler": handler["id"], "datasets": [copied["id"]], "recipient": world.recipient()["id"]}
    draft = world.draft(handler, [copied], world.recipient())
    assert world.requester.post(f"/v1/transfers/{draft['id']}/submit").status_code == 422, body


def test_foreign_data_mixed_with_domestic_data_is_domestic(world: World) -> None:
    handler = world.handler()
    pure = {"origin": "foreign", "domestic_data_added": False}
    foreign = world.dataset(handler, "personal", facts=pure)
    mixed = world.dataset(handler, "personal", facts={"origin": "foreign"})
    recipient = world.recipient()
    free = world.submitted(handler, [foreign], recipient, persons=150_000)
    both = world.submitted(handler, [foreign, mixed], recipient, persons=150_000)
    assert free["determination"]["mechanism"] == "exempt"
    assert both["determination"]["mechanism"] == "standard_contract_or_certification"


def test_a_handler_that_stops_being_critical_in_its_own_words_changes_no_permit(world: World) -> None:
    """`ciio: false` weakens the law; the request that was reviewed with it is another one."""
    handler = world.handler(ciio=True)
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    shown = world.submitted(handler, [dataset], recipient, persons=10)
    assert shown["determination"]["mechanism"] == "security_assessment"
    world.free(f"/v1/handlers/{handler['id']}", {"ciio": False})
    assert world.review(shown, shown["stages"][0]["name"]).status_code == 409
    world.registrar.patch(f"/v1/handlers/{handler['id']}", {"facts": {"ciio": True}})
    history = world.auditor.get(f"/v1/handlers/{handler['id']}/history").json()["items"]
    assert [entry["actor"] for entry in history if entry["action"] == "handler.changed"] == [world.registrar.id]


def test_a_recipient_abroad_does_not_come_to_be_at_home_by_an_edit(world: World) -> None:
    """Nothing crosses the border to a recipient in mainland China: who could say so alone could open the gate alone."""
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "core"), world.recipient()
    refused = world.registrar.patch(f"/v1/recipients/{recipient['id']}", {"country": "CN"})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/country")
    assert world.ask(dataset, recipient)["decision"] is False


def test_a_shared_recipient_is_not_changed_by_a_registrar_of_one_handler(world: World, victim: Company) -> None:
    """All handlers share it: one company's registrar would stop, or loosen, what another one sends there."""
    insider = world.person("registrar", handler=world.handler()["id"])
    for change in ({"country": "US"}, {"facts": {"restricted": True}}, {"name": "Another"}):
        refused = insider.patch(f"/v1/recipients/{victim.recipient['id']}", change)
        assert refused.status_code == 403
    assert victim.reason(persons=1) == "permitted"


def test_a_permit_does_not_follow_its_recipient_to_another_country(world: World) -> None:
    company = Company(world)
    assert company.reason(persons=1) == "permitted"
    world.registrar.patch(f"/v1/recipients/{company.recipient['id']}", {"country": "US"})
    assert company.reason(persons=1) == "evidence_lapsed"


def test_a_field_that_comes_later_is_not_in_an_old_permit(world: World) -> None:
    company = Company(world)
    fields: list[Json] = [*company.dataset["fields"], {"name": "id_card", "type": "text"}]
    world.registrar.patch(f"/v1/datasets/{company.dataset['id']}", {"fields": fields})
    assert company.reason(persons=1) == "grading_outdated"
    world.grade(company.dataset, "personal")
    assert company.reason(persons=1) == "fields_not_covered"
    assert company.reason(persons=1, fields=["city"]) == "permitted"
