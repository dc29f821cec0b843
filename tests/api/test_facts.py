"""Facts that free take two persons, by every way in; what protects takes one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.world import Json, Person, World

FOREIGN = {"origin": "foreign", "domestic_data_added": False}
Made = Callable[[World], tuple[str, Json]]


def a_handler(world: World) -> tuple[str, Json]:
    made = world.handler(ciio=True, in_ftz=False, listing_abroad=True, pi_subjects=9, platform_users=9)
    return f"/v1/handlers/{made['id']}", made


def a_dataset(world: World) -> tuple[str, Json]:
    made = world.dataset(
        world.handler(), "personal", "sensitive", facts={"ftz_list": "listed", "contains_minors": True}
    )
    return f"/v1/datasets/{made['id']}", made


def a_recipient(world: World) -> tuple[str, Json]:
    made = world.recipient("US", kind="judicial_or_enforcement", facts={"restricted": True})
    return f"/v1/recipients/{made['id']}", made


def shown(world: World, path: str) -> Json:
    read: Json = world.auditor.get(path).json()
    return {**read["facts"], **{name: read[name] for name in ("country", "kind") if name in read}}


def waiting(world: World, path: str) -> Json:
    read: Json = world.auditor.get(path).json()
    return {fact: told["value"] for fact, told in read["pending_facts"].items()}


def body_of(fact: str, value: Any) -> Json:
    return {fact: value} if fact in {"country", "kind"} else {"facts": {fact: value}}


FREED = [
    (a_handler, "ciio", True, False),
    (a_handler, "in_ftz", False, True),
    (a_handler, "in_gba", False, True),
    (a_handler, "listing_abroad", True, False),
    (a_handler, "pi_subjects", 9, 8),
    (a_handler, "pi_subjects", 9, None),
    (a_handler, "platform_users", 9, 0),
    (a_dataset, "origin", "domestic", "foreign"),
    (a_dataset, "domestic_data_added", True, False),
    (a_dataset, "ftz_list", "listed", "unlisted"),
    (a_dataset, "ftz_list", "listed", None),
    (a_dataset, "contains_minors", True, False),
    (a_recipient, "in_gba", False, True),
    (a_recipient, "restricted", True, False),
    (a_recipient, "kind", "judicial_or_enforcement", "company"),
    (a_recipient, "country", "US", "HK"),
]


@pytest.mark.parametrize(("make", "fact", "before", "after"), FREED)
def test_a_fact_is_freed_by_two_persons_and_put_back_by_one(
    world: World, make: Made, fact: str, before: Any, after: Any
) -> None:
    path, _ = make(world)
    asked = world.registrar.patch(path, body_of(fact, after))
    assert asked.status_code == 200
    assert (shown(world, path)[fact], waiting(world, path)) == (before, {fact: after})
    change = asked.json()["pending_facts"][fact]["change"]
    at = f"/v1/fact-changes/{change}"
    assert world.registrar.post(f"{at}/confirm", {}).status_code == 403
    confirmed = world.second_registrar.made(f"{at}/confirm", {"reason": "The notice says so"})
    assert (confirmed["state"], confirmed["before"], confirmed["after"]) == ("effective", before, after)
    assert (confirmed["asked_by"], confirmed["settled_by"]) == (world.registrar.id, world.second_registrar.id)
    assert (shown(world, path)[fact], waiting(world, path)) == (after, {})
    assert world.registrar.patch(path, body_of(fact, before)).status_code == 200
    assert (shown(world, path)[fact], waiting(world, path)) == (before, {})
    acts = [entry["action"].partition(".")[2] for entry in world.auditor.get(f"{path}/history").json()["items"]]
    assert [act for act in acts if "fact" in act][-2:] == ["facts_asked", "fact_confirmed"]


def test_one_statement_protects_at_once_and_frees_later(world: World) -> None:
    path, _ = a_dataset(world)
    world.free(path, {"contains_minors": False, "ftz_list": None})
    world.registrar.patch(path, {"facts": {"origin": "foreign", "contains_minors": True}, "title": "Trips abroad"})
    assert (shown(world, path)["contains_minors"], shown(world, path)["origin"]) == (True, "domestic")
    assert (waiting(world, path), world.auditor.get(path).json()["title"]) == ({"origin": "foreign"}, "Trips abroad")


@pytest.mark.parametrize("overtaking", ["domestic", "foreign"])
def test_a_later_statement_overtakes_what_waits(world: World, overtaking: str) -> None:
    path, _ = a_dataset(world)
    first = world.registrar.patch(path, {"facts": {"origin": "foreign"}}).json()["pending_facts"]["origin"]["change"]
    after = world.second_registrar.patch(path, {"facts": {"origin": overtaking}}).json()
    told = world.auditor.get(f"/v1/fact-changes/{first}").json()
    if overtaking == "foreign":
        assert (told["state"], after["pending_facts"]["origin"]["change"]) == ("pending", first)
        assert world.registrar.post(f"/v1/fact-changes/{first}/confirm").status_code == 403
    else:
        assert (told["state"], told["settled_by"], after["pending_facts"]) == (
            "overtaken",
            world.second_registrar.id,
            {},
        )
        assert world.second_registrar.post(f"/v1/fact-changes/{first}/confirm").status_code == 409
    assert shown(world, path)["origin"] == "domestic"


def test_what_waits_can_be_refused_also_by_whoever_stated_it(world: World) -> None:
    for refuser in (world.registrar, world.second_registrar):
        path, _ = a_dataset(world)
        change = world.registrar.patch(path, {"facts": {"origin": "foreign"}}).json()["pending_facts"]["origin"]
        refused = refuser.made(f"/v1/fact-changes/{change['change']}/refuse", {"reason": "Collected in Shanghai"})
        assert (refused["state"], refused["reason"]) == ("refused", "Collected in Shanghai")
        assert (shown(world, path)["origin"], waiting(world, path)) == ("domestic", {})
        assert world.second_registrar.post(f"/v1/fact-changes/{change['change']}/confirm").status_code == 409


def test_a_new_thing_is_as_strict_as_one_of_which_nothing_is_said(world: World) -> None:
    handler = world.handler()
    ways = (
        ("/v1/handlers", {"key": world.name("h"), "name": "Zone", "facts": {"ciio": False, "in_ftz": True}}, "in_ftz"),
        (
            "/v1/recipients",
            {"key": world.name("r"), "name": "Bay", "country": "HK", "facts": {"in_gba": True}},
            "in_gba",
        ),
        (
            "/v1/datasets",
            {
                "key": world.name("d/d"),
                "handler": handler["id"],
                "title": "T",
                "owner": "O",
                "fields": [],
                "facts": FOREIGN,
            },
            "origin",
        ),
    )
    for path, body, fact in ways:
        made = world.registrar.made(path, body)
        assert made["facts"][fact] in {False, "domestic"}
        assert made["pending_facts"][fact]["value"] == body["facts"][fact]
        done = world.confirmed(path, made)
        assert (done["facts"][fact], done["pending_facts"]) == (body["facts"][fact], {})


CSV = "key,handler,title,owner,origin,domestic_data_added,ftz_list,contains_minors\n"


def send(by: Person, text: str, kind: str = "text/csv", **query: str) -> Json:
    head = {"Authorization": f"Bearer {by.secret}", "Content-Type": kind}
    answer = by.http.post("/v1/datasets/import", content=text.encode(), headers=head, params=query)
    assert answer.status_code == 200, answer.text
    told: Json = answer.json()
    return told


def test_a_file_frees_nothing_by_itself(world: World) -> None:
    """New or there already; the same file every night asks once, and one that leaves a column out says nothing of the fact."""
    handler = world.handler()
    there = world.dataset(handler, "personal", "sensitive", facts={"contains_minors": True, "ftz_list": "listed"})
    new = f"s3://imported/{world.name('new')}"
    rows = [f"{key},{handler['key']},Orders,Team,foreign,false,unlisted,false\n" for key in (there["key"], new)]
    first = send(world.registrar, CSV + "".join(rows))
    assert (first["created"], first["updated"]) == (1, 1)
    wanted = {"origin": "foreign", "domestic_data_added": False, "ftz_list": "unlisted"}
    created = world.auditor.get("/v1/datasets", key=new).json()["items"][0]
    paths = f"/v1/datasets/{there['id']}", f"/v1/datasets/{created['id']}"
    assert [waiting(world, path) for path in paths] == [wanted | {"contains_minors": False}, wanted]
    assert shown(world, paths[0]) == {**there["facts"]}
    assert shown(world, paths[1])["origin"] == "domestic"
    assert send(world.second_registrar, CSV + "".join(rows))["unchanged"] == 2
    change = world.auditor.get(paths[0]).json()["pending_facts"]["origin"]["change"]
    assert world.auditor.get(f"/v1/fact-changes/{change}").json()["asked_by"] == world.registrar.id
    silent = f"key,handler,title,owner\n{there['key']},{handler['key']},Orders,Team\n"
    send(world.registrar, silent)
    assert waiting(world, paths[0]) == wanted | {"contains_minors": False}
    assert shown(world, paths[0])["contains_minors"] is True


def test_a_fides_file_says_nothing_of_facts(world: World) -> None:
    handler = world.handler()
    key = world.name("fides")
    made = world.dataset(handler, "personal", "sensitive", key=f"{key}/users", facts={"contains_minors": True})
    text = f"dataset:\n- fides_key: {key}\n  collections:\n  - name: users\n    fields:\n    - name: id\n"
    send(world.registrar, text, "application/yaml", handler=handler["key"], owner="Team")
    assert shown(world, f"/v1/datasets/{made['id']}")["contains_minors"] is True
    assert waiting(world, f"/v1/datasets/{made['id']}") == {}


def test_a_system_states_facts_and_confirms_none(world: World) -> None:
    path, _ = a_dataset(world)
    system = world.person("registrar", kind="system")
    change = system.patch(path, {"facts": {"origin": "foreign"}}).json()["pending_facts"]["origin"]["change"]
    other = world.person("registrar", kind="system")
    assert other.post(f"/v1/fact-changes/{change}/confirm").status_code == 403
    assert world.registrar.made(f"/v1/fact-changes/{change}/confirm", None)["state"] == "effective"


def test_whoever_made_the_key_is_no_second_person_in_either_order(world: World) -> None:
    """The facts are stated with a key that an admin made, and confirmed by that admin; and the other way round."""
    maker = world.person("registrar")
    world.grant(maker.id, "admin")
    colleague = world.person("registrar")
    lent = world.with_key(colleague, by=maker)
    for asker, other in ((maker, lent), (lent, maker)):
        path, _ = a_dataset(world)
        change = asker.patch(path, {"facts": {"origin": "foreign"}}).json()["pending_facts"]["origin"]["change"]
        assert other.post(f"/v1/fact-changes/{change}/confirm").status_code == 403
        assert world.second_registrar.post(f"/v1/fact-changes/{change}/confirm").status_code == 200


def test_a_registrar_of_one_handler_confirms_nothing_of_another_or_of_recipients(world: World) -> None:
    path, _ = a_dataset(world)
    mine = world.dataset(world.handler(), "personal")
    local = world.person("registrar", handler=mine["handler"])
    change = world.registrar.patch(path, {"facts": {"origin": "foreign"}}).json()["pending_facts"]["origin"]["change"]
    for act in ("confirm", "refuse"):
        assert local.post(f"/v1/fact-changes/{change}/{act}").status_code == 404
    assert local.get(f"/v1/fact-changes/{change}").status_code == 404
    path, _ = a_recipient(world)
    change = world.registrar.patch(path, {"facts": {"restricted": False}}).json()["pending_facts"]["restricted"]
    assert local.post(f"/v1/fact-changes/{change['change']}/confirm").status_code == 403
    assert local.get(f"/v1/fact-changes/{change['change']}").json()["handler"] is None


def test_what_waits_is_listed(world: World) -> None:
    path, made = a_dataset(world)
    asked = world.registrar.patch(path, {"facts": FOREIGN}).json()["pending_facts"]
    listed = world.second_registrar.get("/v1/fact-changes", subject=made["id"], state="pending").json()["items"]
    assert {one["fact"]: one["id"] for one in listed} == {fact: told["change"] for fact, told in asked.items()}
    mine = world.auditor.get("/v1/fact-changes", handler=made["handler"], state="pending").json()["items"]
    assert {one["id"] for one in mine} == {told["change"] for told in asked.values()}
    assert world.auditor.get("/v1/events", subject=made["id"], kind="dataset.facts_asked").json()["items"]


# Races


def both(*acts: Callable[[], int]) -> list[int]:
    """Do all of it at the same time; return the statuses in their order."""
    found: dict[int, int] = {}
    gun = threading.Barrier(len(acts))

    def run(place: int, act: Callable[[], int]) -> None:
        gun.wait()
        found[place] = act()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[place] for place in range(len(acts))]


def status(by: Person, *how: Any, **headers: str) -> int:
    return by.send(*how, **headers).status_code


def test_of_two_who_confirm_at_once_one_does(world: World) -> None:
    third = world.person("registrar")
    for _ in range(5):
        path, _ = a_dataset(world)
        change = world.registrar.patch(path, {"facts": {"origin": "foreign"}}).json()["pending_facts"]["origin"]
        at = f"/v1/fact-changes/{change['change']}/confirm"
        statuses = both(*[partial(status, by, "POST", at) for by in (world.second_registrar, third)])
        assert sorted(statuses) == [200, 409]
        assert shown(world, path)["origin"] == "foreign"


def test_a_confirmation_against_a_stricter_statement_ends_strict(world: World) -> None:
    """Whichever comes first: the stricter statement overtakes what waits, or puts back what was confirmed."""
    for _ in range(8):
        path, _ = a_dataset(world)
        change = world.registrar.patch(path, {"facts": {"origin": "foreign"}}).json()["pending_facts"]["origin"]
        at = f"/v1/fact-changes/{change['change']}"
        tag = world.registrar.get(path).headers["ETag"]
        confirmed, patched = both(
            partial(status, world.second_registrar, "POST", f"{at}/confirm"),
            partial(status, world.registrar, "PATCH", path, {"facts": {"origin": "domestic"}}, If_Match=tag),
        )
        state = world.auditor.get(at).json()["state"]
        assert (confirmed, patched, state) in {(200, 412, "effective"), (409, 200, "overtaken")}
        assert shown(world, path)["origin"] == ("foreign" if state == "effective" else "domestic")


def test_of_two_who_state_the_same_fact_at_once_one_asks(world: World) -> None:
    for _ in range(5):
        path, made = a_dataset(world)
        tag = world.registrar.get(path).headers["ETag"]
        statuses = both(
            *[
                partial(status, by, "PATCH", path, {"facts": {"origin": "foreign"}}, If_Match=tag)
                for by in (world.registrar, world.second_registrar)
            ]
        )
        assert sorted(statuses) == [200, 412]
        assert len(world.auditor.get("/v1/fact-changes", subject=made["id"], state="pending").json()["items"]) == 1
