"""Keys of one handler that are spellings of one thing are one thing, until two persons say otherwise."""

from __future__ import annotations

import asyncio
from functools import partial

import asyncpg
import httpx
import pytest

from tests.api.test_facts import both, status
from tests.world import Json, Person, World


def keys(world: World) -> tuple[str, str]:
    name = world.name("customers")
    return f"snowflake://acme-cn1/CRM.PUBLIC.{name.upper()}", f"snowflake://acme-cn1/crm.public.{name}"


def body(handler: Json, key: str, **more: object) -> Json:
    return {"key": key, "handler": handler["id"], "title": "T", "owner": "O", "fields": [], **more}


def reason(world: World, dataset: Json, recipient: Json) -> str:
    told: str = world.ask(dataset, recipient, persons=0)["context"]["reason"]
    return told


def tags(world: World, dataset: Json) -> object:
    return world.auditor.get(f"/v1/datasets/{dataset['id']}").json()["tags"]


class Twins:
    """Two spellings of one key, the second registered as something else that nobody has confirmed."""

    def __init__(self, world: World) -> None:
        self.handler, self.recipient = world.handler(), world.recipient()
        upper, lower = keys(world)
        self.first = world.dataset(self.handler, graded=False, key=upper)
        said = {"distinct_from": upper, "reason": "A copy without persons"}
        self.second = world.registrar.made("/v1/datasets", body(self.handler, lower, **said))
        self.change = next(iter(self.second["pending_facts"].values()))["change"]


def test_the_second_spelling_is_refused_with_the_first(world: World) -> None:
    handler, (upper, lower) = world.handler(), keys(world)
    first = world.dataset(handler, graded=False, key=upper)
    refused = world.registrar.post("/v1/datasets", body(handler, lower))
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/twin-exists")
    assert refused.json()["twin"] == {"id": first["id"], "key": upper}
    assert world.registrar.post("/v1/datasets", body(world.handler(), lower)).status_code == 201
    again = world.registrar.post("/v1/datasets", body(handler, upper))
    assert (again.status_code, again.json()["type"]) == (409, "/problems/already-exists")


@pytest.mark.parametrize(
    ("more", "status_code", "pointer"),
    [
        ({"distinct_from": "elsewhere", "reason": "Because"}, 422, "/distinct_from"),
        ({"distinct_from": "elsewhere"}, 422, ""),
        ({"reason": "Because"}, 422, ""),
    ],
)
def test_what_is_distinct_is_named_with_a_reason(world: World, more: Json, status_code: int, pointer: str) -> None:
    handler, (upper, lower) = world.handler(), keys(world)
    world.dataset(handler, graded=False, key=upper)
    refused = world.registrar.post("/v1/datasets", body(handler, lower, **more))
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (status_code, pointer)


def test_the_stricter_grading_holds_for_both_until_a_second_person_parts_them(world: World) -> None:
    pair = Twins(world)
    world.grade(pair.first, "personal")
    assert tags(world, pair.second) is None
    assert reason(world, pair.second, pair.recipient) == "dataset_ungraded"
    world.grade(pair.second)
    assert (tags(world, pair.first), tags(world, pair.second)) == (["personal"], ["personal"])
    assert reason(world, pair.second, pair.recipient) == "no_permit"
    world.grade(pair.second, "important")
    assert tags(world, pair.first) == ["important", "personal"]
    shown = world.auditor.get(f"/v1/datasets/{pair.second['id']}").json()
    assert (shown["twins"], shown["distinct_from"]) == ([pair.first["id"]], [])
    at = f"/v1/fact-changes/{pair.change}/confirm"
    assert world.registrar.post(at).status_code == 403
    assert world.second_registrar.made(at, None)["stated_reason"] == "A copy without persons"
    assert tags(world, pair.first) == ["personal"]
    shown = world.auditor.get(f"/v1/datasets/{pair.first['id']}").json()
    assert (shown["twins"], shown["distinct_from"]) == ([], [pair.second["id"]])


def test_what_was_parted_answers_by_its_own_grading(world: World) -> None:
    pair = Twins(world)
    world.grade(pair.first, "personal")
    world.grade(pair.second)
    world.second_registrar.made(f"/v1/fact-changes/{pair.change}/confirm", None)
    assert (reason(world, pair.first, pair.recipient), reason(world, pair.second, pair.recipient)) == (
        "no_permit",
        "general_data",
    )
    assert tags(world, pair.second) == []


def test_a_permit_ends_where_a_twin_turns_out_to_be_stricter(world: World) -> None:
    pair = Twins(world)
    world.grade(pair.first, "personal")
    permit = world.approved(pair.handler, [pair.first], pair.recipient, persons=10)["permit"]
    assert world.ask(pair.first, pair.recipient, persons=1)["context"]["permit"] == permit
    world.grade(pair.second, "personal", "important")
    assert reason(world, pair.first, pair.recipient) == "grading_changed"


def test_many_graded_at_once_are_held_to_their_twins_as_well(world: World) -> None:
    pair = Twins(world)
    world.grade(pair.first, "core")
    one = {"tags": [], "reason": "Looked", "basis": "Catalogue", "datasets": [pair.second["id"]]}
    world.registrar.made("/v1/gradings", one)
    assert tags(world, pair.second) == ["core"]


def test_a_lowering_that_is_confirmed_lowers_no_twin(world: World) -> None:
    pair = Twins(world)
    world.grade(pair.first, "personal")
    world.grade(pair.second, "personal")
    low = world.grade(pair.first)
    assert low["state"] == "pending"
    world.second_registrar.made(f"/v1/datasets/{pair.first['id']}/gradings/{low['number']}/confirm", None)
    assert tags(world, pair.first) == ["personal"]


def test_a_file_registers_no_second_spelling(world: World) -> None:
    handler, (upper, lower) = world.handler(), keys(world)
    first = world.dataset(handler, "personal", key=upper)

    def send(by: Person, text: str) -> httpx.Response:
        head = {"Authorization": f"Bearer {by.secret}", "Content-Type": "text/csv"}
        return by.http.post("/v1/datasets/import", content=text.encode(), headers=head)

    columns = "key,handler,title,owner,distinct_from,reason\n"
    refused = send(world.registrar, f"{columns}{lower},{handler['key']},T,O,,\n")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "key")
    assert upper in refused.json()["errors"][0]["detail"]
    inside = send(world.registrar, f"{columns}a/{lower},{handler['key']},T,O,,\na/{lower}/,{handler['key']},T,O,,\n")
    assert (inside.status_code, inside.json()["errors"][0]["field"]) == (422, "key")
    wrong = send(world.registrar, f"{columns}b/{lower},{handler['key']},T,O,{upper},Because\n")
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "distinct_from")
    said = f"{columns}{lower},{handler['key']},T,O,{upper},A copy\n{upper},{handler['key']},T,O,,\n"
    assert send(world.registrar, said).json()["created"] == 1
    second = world.auditor.get("/v1/datasets", key=lower).json()["items"][0]
    assert (second["twins"], len(second["pending_facts"])) == ([first["id"]], 1)
    world.grade(second)
    assert tags(world, second) == ["personal"]
    assert send(world.registrar, said).status_code == 200
    assert world.auditor.get("/v1/datasets", key=lower).json()["items"][0]["pending_facts"] == second["pending_facts"]


def test_recipients_and_handlers_have_one_spelling_too(world: World) -> None:
    for path, more in (("/v1/recipients", {"country": "SG"}), ("/v1/handlers", {"facts": {"ciio": False}})):
        key = world.name("harbour")
        first = world.registrar.made(path, {"key": key, "name": "Harbour", **more})
        refused = world.registrar.post(path, {"key": key.upper(), "name": "Harbour", **more})
        assert (refused.status_code, refused.json()["twin"]) == (409, {"id": first["id"], "key": key})
        said = {"distinct_from": first["id"], "reason": "Another company"}
        assert world.registrar.post(path, {"key": key.upper(), "name": "Harbour", **more, **said}).status_code == 201


def test_of_two_spellings_registered_at_once_one_is_refused(world: World) -> None:
    handler = world.handler()
    for _ in range(6):
        upper, lower = keys(world)
        statuses = both(
            *[partial(status, world.registrar, "POST", "/v1/datasets", body(handler, key)) for key in (upper, lower)]
        )
        assert sorted(statuses) == [201, 409]


def test_twins_that_the_version_before_registers_are_held_to_each_other(world: World, database_url: str) -> None:
    """It knows no folded keys: they are folded when somebody registers a dataset of the same handler."""
    handler, recipient, (upper, lower) = world.handler(), world.recipient(), keys(world)
    first, second = world.dataset(handler, "personal", key=upper), world.dataset(handler, key=f"{lower}-later")

    async def name_it(key: str) -> None:
        connection = await asyncpg.connect(database_url)
        await connection.execute("update datasets set folded_key = null, key = $2 where id = $1", second["id"], key)
        await connection.close()

    asyncio.run(name_it(lower))
    assert reason(world, second, recipient) == "general_data"
    world.dataset(handler, graded=False)
    assert reason(world, second, recipient) == "no_permit"
    asked = {"distinct_from": first["id"], "reason": "A copy"}
    shown = world.registrar.patch(f"/v1/datasets/{second['id']}", asked).json()
    (waiting,) = shown["pending_facts"].values()
    world.second_registrar.made(f"/v1/fact-changes/{waiting['change']}/confirm", None)
    assert reason(world, second, recipient) == "general_data"
    asyncio.run(name_it(f"{lower}-later"))
