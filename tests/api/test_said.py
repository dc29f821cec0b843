"""What is said of an export is held against what is registered: persons against tags, fields against what a grading looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.world import Json, Person, World

DIAGNOSIS = {"name": "diagnosis", "type": "text", "category": "user.health_and_medical"}
CITY = {"name": "city", "type": "text"}
FACE = {"name": "face", "type": "blob", "category": "user.biometric"}


def asked(world: World, dataset: Json, recipient: Json, **context: Any) -> Json:
    told: Json = world.ask(dataset, recipient, **context)
    return told


def reason(world: World, dataset: Json, recipient: Json, **context: Any) -> str:
    told: str = asked(world, dataset, recipient, **context)["context"]["reason"]
    return told


def export(world: World, dataset: Json, recipient: Json, **more: Any) -> tuple[int, str]:
    body = {"dataset": dataset["id"], "recipient": recipient["id"], "purpose": "analytics", **more}
    answer = world.exporter.post("/v1/exports", body)
    told = answer.json()
    return answer.status_code, told.get("reason") or told.get("status")


def graded(person: Person, dataset: Json, *tags: str, **more: Any) -> Any:
    body = {"tags": list(tags), "reason": "Looked at each field", "basis": "Catalogue 2026, entry 7", **more}
    return person.post(f"/v1/datasets/{dataset['id']}/gradings", body)


@pytest.fixture
def recipient(world: World) -> Json:
    return world.recipient()


# Persons against tags


def test_persons_of_general_data_contradict_it_and_none_do_not(world: World, recipient: Json) -> None:
    general = world.dataset(world.handler())
    assert reason(world, general, recipient) == reason(world, general, recipient, persons=0) == "general_data"
    for persons in ({"persons": 1}, {"sensitive_persons": 1}, {"persons": 50_000, "sensitive_persons": 10}):
        assert reason(world, general, recipient, **persons) == "tags_contradicted"
        assert export(world, general, recipient, **persons) == (403, "tags_contradicted")
    assert export(world, general, recipient) == (201, "reserved")


def test_what_a_question_was_read_as_is_in_its_answer(world: World, recipient: Json) -> None:
    general = world.dataset(world.handler())
    told = asked(world, general, recipient, persons=0, sensitive_persons=0, fields=["city"])["context"]
    read = {name: told[name] for name in ("persons", "sensitive_persons", "fields", "purpose", "recipient")}
    assert read == {
        "persons": 0,
        "sensitive_persons": 0,
        "fields": ["city"],
        "purpose": "analytics",
        "recipient": recipient["id"],
    }
    told = asked(world, general, recipient, person=999)["context"]
    assert (told["persons"], told["sensitive_persons"], told["fields"], told["reason"]) == (
        None,
        None,
        None,
        "general_data",
    )


def test_sensitive_data_wants_its_sensitive_persons_where_sensitive_fields_go(world: World, recipient: Json) -> None:
    data = world.dataset(world.handler(), graded=False, fields=[CITY, DIAGNOSIS])
    assert graded(world.registrar, data, "sensitive").status_code == 201
    for persons in ({"persons": 9}, {"persons": 9, "sensitive_persons": 0}, {"sensitive_persons": 0}):
        assert reason(world, data, recipient, **persons) == "tags_contradicted"
        assert reason(world, data, recipient, fields=["city", "diagnosis"], **persons) == "tags_contradicted"
        assert reason(world, data, recipient, fields=["unregistered"], **persons) == "tags_contradicted"
        assert reason(world, data, recipient, fields=["city"], **persons) == "no_permit"
        assert export(world, data, recipient, **persons) == (403, "tags_contradicted")
    assert reason(world, data, recipient) == "no_permit"
    assert reason(world, data, recipient, persons=9, sensitive_persons=1) == "no_permit"
    assert export(world, data, recipient, persons=9, fields=["city"]) == (403, "no_permit")
    assert export(world, data, recipient)[0] == export(world, data, recipient, persons=0, fields=["city"])[0] == 422


def test_sensitive_persons_of_data_without_the_tag_contradict_it(world: World, recipient: Json) -> None:
    data = world.dataset(world.handler(), "personal")
    assert reason(world, data, recipient, persons=9, sensitive_persons=1) == "tags_contradicted"
    assert export(world, data, recipient, sensitive_persons=1) == (403, "tags_contradicted")
    assert reason(world, data, recipient, persons=9, sensitive_persons=0) == "no_permit"


# What a grading looked at


def test_an_empty_list_of_fields_is_refused_everywhere(world: World, recipient: Json) -> None:
    data = world.dataset(world.handler())
    question = {
        "subject": {"type": "system", "id": world.exporter.name},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": data["id"]},
        "context": {"recipient": recipient["id"], "purpose": "analytics", "fields": []},
    }
    assert world.exporter.post("/access/v1/evaluation", question).status_code == 400
    assert world.exporter.post("/access/v1/evaluations", {**question, "evaluations": [{}]}).status_code == 400
    several = {**question, "context": None, "evaluations": [{"context": question["context"]}]}
    told = world.exporter.post("/access/v1/evaluations", several).json()
    assert told["evaluations"][0]["context"]["error"]["status"] == 400
    assert (
        world.exporter.post("/access/v1/search/resource", question | {"resource": {"type": "dataset"}}).status_code
        == 400
    )
    assert export(world, data, recipient, fields=[])[0] == 422


def test_a_field_that_comes_after_the_grading_goes_nowhere_until_somebody_looks(world: World, recipient: Json) -> None:
    data = world.dataset(world.handler())
    path = f"/v1/datasets/{data['id']}"
    later = [*data["fields"], FACE]
    assert world.registrar.patch(path, {"fields": later}).json()["outdated_fields"] == ["face"]
    assert reason(world, data, recipient) == "grading_outdated"
    assert reason(world, data, recipient, fields=["face"]) == "grading_outdated"
    assert reason(world, data, recipient, fields=["city"]) == "general_data"
    assert reason(world, data, recipient, fields=["unregistered"]) == "grading_outdated"
    assert export(world, data, recipient) == (403, "grading_outdated")
    event = world.registrar.get("/v1/events", kind="dataset.grading_outdated", subject=data["id"]).json()["items"][0]
    assert (event["details"]["outdated"], event["details"]["number"]) == (["face"], 1)
    told = graded(world.registrar, data).json()
    assert [field["name"] for field in told["fields"]] == ["city", "amount", "face"]
    assert reason(world, data, recipient) == "general_data"
    assert world.registrar.get(path).json()["outdated_fields"] == []


@pytest.mark.parametrize(
    ("field", "is_outdated"),
    [
        ({"name": "city", "type": "text"}, False),
        ({"name": "city", "type": "blob"}, True),
        ({"name": "city", "type": "text", "category": "user.biometric"}, True),
    ],
)
def test_another_type_or_category_outdates_and_another_title_or_a_removal_does_not(
    world: World,
    recipient: Json,
    field: Json,
    is_outdated: bool,  # noqa: FBT001
) -> None:
    data = world.dataset(world.handler())
    changed = world.registrar.patch(f"/v1/datasets/{data['id']}", {"fields": [field], "title": "Other"}).json()
    assert changed["outdated_fields"] == (["city"] if is_outdated else [])
    assert reason(world, data, recipient) == ("grading_outdated" if is_outdated else "general_data")


@pytest.mark.parametrize("kind", ["csv", "fides"])
def test_a_field_that_an_import_brings_outdates_the_grading(world: World, recipient: Json, kind: str) -> None:
    handler = world.handler()
    key = f"gen_{handler['key']}/cities"
    fides = f"dataset:\n- fides_key: gen_{handler['key']}\n  name: Gen\n  collections:\n  - name: cities\n    fields:\n    - name: city\n"
    more = "    - name: face\n      data_categories: [user.biometric]\n"
    table = "key,title,fields\n{},Gen,{}\n"
    first, then = (
        (table.format(key, "city:unknown"), table.format(key, "city:unknown;身份证号:char(18)"))
        if kind == "csv"
        else (fides, fides + more)
    )

    def load(text: str) -> Any:
        media = "text/csv" if kind == "csv" else "application/yaml"
        return world.http.post(
            "/v1/datasets/import",
            params={"handler": handler["id"], "owner": "Team"},
            content=text.encode(),
            headers={"Authorization": f"Bearer {world.registrar.secret}", "Content-Type": media},
        )

    assert load(first).json()["created"] == 1
    data = world.registrar.get("/v1/datasets", key=key).json()["items"][0]
    assert graded(world.registrar, data).status_code == 201
    assert reason(world, data, recipient) == "general_data"
    assert load(then).json()["updated"] == 1
    assert reason(world, data, recipient) == "grading_outdated"
    events = world.registrar.get("/v1/events", kind="dataset.grading_outdated", subject=data["id"]).json()["items"]
    assert [event["details"]["outdated"] for event in events] == [["face"] if kind == "fides" else ["身份证号"]]


def test_a_dataset_that_was_graded_without_fields_is_outdated_by_its_first(world: World, recipient: Json) -> None:
    data = world.dataset(world.handler(), fields=[])
    assert reason(world, data, recipient, fields=["anything"]) == "general_data"
    world.registrar.patch(f"/v1/datasets/{data['id']}", {"fields": [CITY]})
    assert reason(world, data, recipient) == reason(world, data, recipient, fields=["anything"]) == "grading_outdated"


# Which fields are sensitive


def test_a_grading_names_sensitive_fields_of_sensitive_data_only_and_those_that_there_are(world: World) -> None:
    data = world.dataset(world.handler(), graded=False)
    refused = {
        "without the tag": graded(world.registrar, data, "personal", sensitive_fields=["city"]),
        "none": graded(world.registrar, data, "sensitive", sensitive_fields=[]),
        "twice": graded(world.registrar, data, "sensitive", sensitive_fields=["city", "city"]),
        "unknown": graded(world.registrar, data, "sensitive", sensitive_fields=["city", "phone"]),
    }
    assert {name: answer.status_code for name, answer in refused.items()} == dict.fromkeys(refused, 422)
    assert refused["unknown"].json()["errors"][0]["pointer"] == "/sensitive_fields/1"
    assert graded(world.registrar, data, "sensitive", sensitive_fields=["amount"]).json()["sensitive_fields"] == [
        "amount"
    ]
    bulk = {"datasets": [data["id"]], "tags": ["sensitive"], "reason": "r", "basis": "b"}
    answer = world.registrar.post("/v1/gradings", bulk | {"sensitive_fields": ["phone"]})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/datasets/0")
    assert world.registrar.post("/v1/gradings", bulk | {"sensitive_fields": ["city", "amount"]}).status_code == 201


def test_to_name_fewer_sensitive_fields_takes_a_second_person(world: World, recipient: Json) -> None:
    data = world.dataset(world.handler(), "sensitive")
    assert reason(world, data, recipient, persons=1, fields=["city"]) == "tags_contradicted"
    pending = graded(world.registrar, data, "sensitive", sensitive_fields=["amount"]).json()
    assert pending["state"] == "pending"
    assert reason(world, data, recipient, persons=1, fields=["city"]) == "tags_contradicted"
    confirm = f"/v1/datasets/{data['id']}/gradings/{pending['number']}/confirm"
    assert world.registrar.post(confirm, {}).status_code == 403
    assert world.person("registrar").post(confirm, {}).status_code == 200
    assert reason(world, data, recipient, persons=1, fields=["city"]) == "no_permit"
    assert (
        graded(world.registrar, data, "sensitive", sensitive_fields=["city", "amount"]).json()["state"] == "effective"
    )


def test_a_field_that_comes_while_a_lowering_waits_is_not_among_those_that_were_looked_at(
    world: World, recipient: Json
) -> None:
    data = world.dataset(world.handler(), "important")
    pending = graded(world.registrar, data).json()
    world.registrar.patch(f"/v1/datasets/{data['id']}", {"fields": [*data["fields"], FACE]})
    assert (
        world.person("registrar")
        .post(f"/v1/datasets/{data['id']}/gradings/{pending['number']}/confirm", {})
        .status_code
        == 200
    )
    assert reason(world, data, recipient) == "grading_outdated"
    assert reason(world, data, recipient, fields=["city"]) == "general_data"


# Persons under 14


def test_data_about_minors_is_tagged_sensitive_in_either_order(world: World) -> None:
    handler = world.handler()
    marked = world.dataset(handler, graded=False, facts={"contains_minors": True})
    for tags in ((), ("personal",), ("core",)):
        answer = graded(world.registrar, marked, *tags)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/tags")
    assert graded(world.registrar, marked, "sensitive").status_code == 201
    assert graded(world.registrar, marked, "personal").status_code == 422
    tagged = world.dataset(handler, "personal")
    path = f"/v1/datasets/{tagged['id']}"
    answer = world.registrar.patch(path, {"facts": {"contains_minors": True}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/facts/contains_minors")
    table = f"key,title,fields,contains_minors\n{tagged['key']},Orders,city:text,true\n"
    answer = world.http.post(
        "/v1/datasets/import",
        params={"handler": handler["id"], "owner": "Team"},
        content=table.encode(),
        headers={"Authorization": f"Bearer {world.registrar.secret}", "Content-Type": "text/csv"},
    )
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/facts/contains_minors")
    graded(world.registrar, tagged, "sensitive")
    pending = graded(world.registrar, tagged, "personal").json()
    assert pending["state"] == "pending"
    assert world.registrar.patch(path, {"facts": {"contains_minors": True}}).status_code == 200
    assert world.person("registrar").post(f"{path}/gradings/{pending['number']}/confirm", {}).status_code == 422


# Requests, plans and determinations


def pointers(answer: Any) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["pointer"] for error in answer.json()["errors"]]


def submitted(world: World, data: Json, recipient: Json, **more: Any) -> Any:
    draft = world.draft({"id": data["handler"]}, [data], recipient, **more)
    return world.requester.post(f"/v1/transfers/{draft['id']}/submit")


def test_sensitive_data_is_not_submitted_with_nobody_sensitive_unless_the_sensitive_fields_are_left_out(
    world: World, recipient: Json
) -> None:
    data = world.dataset(world.handler(), graded=False, fields=[CITY, DIAGNOSIS])
    assert graded(world.registrar, data, "sensitive").status_code == 201
    assert pointers(submitted(world, data, recipient, persons=3000)) == ["/sensitive_persons"]
    assert pointers(submitted(world, data, recipient, persons=3000, fields=["city"])) == ["/sensitive_persons"]
    left_out = {"persons": 3000, "sensitive_left_out": True}
    assert pointers(submitted(world, data, recipient, **left_out)) == ["/fields"]
    assert pointers(submitted(world, data, recipient, fields=["city", "diagnosis"], **left_out)) == ["/fields"]
    assert pointers(submitted(world, data, recipient, fields=["city"], sensitive_persons=1, **left_out)) == [
        "/sensitive_left_out"
    ]
    done = submitted(world, data, recipient, fields=["city"], **left_out).json()
    assert (done["status"], done["sensitive_left_out"], done["determination"]["exemption"]) == (
        "in_review",
        True,
        "small_volume",
    )
    assert "its sensitive fields are stated to be left out" in done["determination"]["explanation"]["en"]
    world.approve(done)
    assert reason(world, data, recipient, persons=9, fields=["city"]) == "permitted"
    assert reason(world, data, recipient, persons=9, fields=["city", "diagnosis"]) == "tags_contradicted"
    assert reason(world, data, recipient) == "fields_not_covered"


def test_what_no_grading_has_looked_at_is_not_submitted(world: World, recipient: Json) -> None:
    data = world.dataset(world.handler(), "personal")
    world.registrar.patch(f"/v1/datasets/{data['id']}", {"fields": [*data["fields"], FACE]})
    assert pointers(submitted(world, data, recipient, persons=1)) == ["/datasets/0"]
    assert pointers(submitted(world, data, recipient, persons=1, fields=["face"])) == ["/datasets/0"]
    assert submitted(world, data, recipient, persons=1, fields=["city"]).json()["status"] == "in_review"


def test_a_permit_that_was_approved_without_any_field_covers_none_that_comes_later(
    world: World, recipient: Json
) -> None:
    data = world.dataset(world.handler(), "personal", fields=[])
    world.approve(submitted(world, data, recipient, persons=500).json())
    assert reason(world, data, recipient, persons=1) == "permitted"
    world.registrar.patch(f"/v1/datasets/{data['id']}", {"fields": [FACE]})
    assert reason(world, data, recipient, persons=1) == "grading_outdated"
    graded(world.registrar, data, "personal")
    assert reason(world, data, recipient, persons=1) == "fields_not_covered"
    assert reason(world, data, recipient, persons=1, fields=["face"]) == "fields_not_covered"
    assert export(world, data, recipient, persons=1, fields=["face"]) == (403, "fields_not_covered")


def test_a_permit_that_begins_tomorrow_says_so(world: World, recipient: Json) -> None:
    from tests.world import day  # noqa: PLC0415

    data = world.dataset(world.handler(), "personal")
    world.approve(submitted(world, data, recipient, persons=500, valid_from=day(1)).json())
    told = asked(world, data, recipient, persons=1)["context"]
    assert (told["reason"], told["valid_from"], told["next"]) == ("permit_not_begun", day(1), None)
    answer = world.exporter.post(
        "/v1/exports",
        {"dataset": data["id"], "recipient": recipient["id"], "purpose": "analytics", "persons": 1},
    ).json()
    assert (answer["reason"], answer["valid_from"]) == ("permit_not_begun", day(1))


def test_a_determination_of_sensitive_data_takes_the_statement(world: World) -> None:
    facts: Json = {
        "handler": {"ciio": False},
        "dataset": {"tags": ["sensitive"]},
        "recipient": {"country": "US"},
        "transfer": {"persons": 3000},
    }
    for path in ("/v1/determinations", "/v1/plans"):
        assert pointers(world.requester.post(path, facts)) == ["/transfer/sensitive_persons"]
        stated = facts | {"transfer": {"persons": 3000, "sensitive_left_out": True}}
        assert world.requester.post(path, stated).status_code == 200
        minors = {"dataset": {"tags": ["personal"], "contains_minors": True}}
        assert pointers(world.requester.post(path, facts | minors)) == ["/dataset/tags"]
        assert pointers(world.requester.post(path, {})) == ["/handler", "/recipient"]


def test_a_plan_takes_tags_facts_and_the_count_of_the_year_from_the_register(world: World, recipient: Json) -> None:
    handler = world.handler()
    data = world.dataset(handler, graded=False, fields=[CITY, DIAGNOSIS])
    graded(world.registrar, data, "sensitive")
    body: Json = {
        "handler": handler["key"],
        "datasets": [data["key"]],
        "recipient": recipient["key"],
        "purpose": "analytics",
    }
    made = world.requester.post("/v1/plans", body | {"persons": 10, "sensitive_persons": 20}).json()
    facts = next(plan["facts"] for plan in made["plans"] if plan["code"] == "as_is")
    assert (facts["dataset"]["tags"], facts["recipient"]["country"]) == (["sensitive"], "SG")
    assert (facts["transfer"]["persons"], facts["transfer"]["sensitive_persons"]) == (10, 20)
    assert made["determination"]["mechanism"] == "standard_contract_or_certification"
    assert pointers(world.requester.post("/v1/plans", body | {"persons": 10})) == ["/sensitive_persons"]
    left_out = body | {"persons": 10, "sensitive_left_out": True}
    assert pointers(world.requester.post("/v1/plans", left_out)) == ["/fields"]
    assert pointers(world.requester.post("/v1/plans", left_out | {"fields": ["diagnosis"]})) == ["/fields"]
    made = world.requester.post("/v1/plans", left_out | {"fields": ["city"]}).json()
    assert (made["determination"]["exemption"], made["lawful_as_is"]) == ("small_volume", True)
    for name, wrong in (
        ("handler", "nobody"),
        ("recipient", "nobody"),
        ("datasets", ["nothing"]),
        ("fields", ["phone"]),
    ):
        assert pointers(world.requester.post("/v1/plans", left_out | {name: wrong}))[0].startswith(f"/{name}")
    for name in ("datasets", "fields"):
        assert pointers(world.requester.post("/v1/plans", left_out | {name: []}))[0].startswith(f"/{name}")
    other = world.person("requester", handler=world.handler()["id"])
    assert pointers(other.post("/v1/plans", body | {"persons": 1}))[0] == "/handler"


# Lists for registrars


def contradictions(world: World, dataset: Json, **more: Any) -> list[Json]:
    found: list[Json] = world.registrar.get("/v1/contradictions", dataset=dataset["key"], **more).json()["items"]
    return found


def test_what_contradicts_the_tags_is_listed_once_a_day_until_somebody_grades_again(
    world: World, recipient: Json
) -> None:
    data = world.dataset(world.handler())
    first = asked(world, data, recipient, persons=50_000, sensitive_persons=10)["context"]["id"]
    for _ in range(3):
        assert reason(world, data, recipient, persons=1) == "tags_contradicted"
    assert export(world, data, recipient, persons=1) == (403, "tags_contradicted")
    assert reason(world, data, recipient) == "general_data"
    (found,) = contradictions(world, data)
    assert (found["kind"], found["subject"], found["grading"], found["is_open"]) == (
        "persons_of_general_data",
        first,
        1,
        True,
    )
    assert (found["persons"], found["sensitive_persons"], found["principal"]) == (50_000, 10, world.exporter.id)
    assert found["key"] == data["key"]
    graded(world.registrar, data, "personal")
    assert contradictions(world, data, open=True) == []
    assert [one["subject"] for one in contradictions(world, data, open=False)] == [first]
    assert reason(world, data, recipient, persons=1, sensitive_persons=1) == "tags_contradicted"
    assert [one["kind"] for one in contradictions(world, data, open=True)] == ["sensitive_persons_without_tag"]
    assert len(contradictions(world, data, kind="sensitive_persons_without_tag")) == 1
    several = {
        "subject": {"type": "system", "id": world.exporter.name},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": data["id"]},
        "evaluations": [{"context": {"recipient": recipient["id"], "sensitive_persons": 1}}] * 3,
    }
    assert world.exporter.post("/access/v1/evaluations", several).status_code == 200
    assert len(contradictions(world, data)) == 2
    stranger = world.person("registrar", handler=world.handler()["id"])
    assert stranger.get("/v1/contradictions").json()["items"] == []


def test_what_was_sent_against_the_tags_is_recorded_and_listed(world: World, recipient: Json) -> None:
    data = world.dataset(world.handler(), "sensitive")
    world.approve(submitted(world, data, recipient, persons=10, sensitive_persons=10).json())
    body = {
        "dataset": data["id"],
        "recipient": recipient["id"],
        "purpose": "analytics",
        "persons": 5,
        "sensitive_persons": 5,
    }
    made = world.exporter.made("/v1/exports", body)
    done = world.exporter.post(f"/v1/exports/{made['id']}/complete", {"persons": 5, "sensitive_persons": 0})
    assert (done.status_code, done.json()["status"]) == (200, "completed")
    assert [(one["kind"], one["subject"]) for one in contradictions(world, data)] == [
        ("no_sensitive_persons", made["id"])
    ]


def test_the_list_of_outdated_datasets_is_that_of_each_dataset(world: World) -> None:
    handler = world.handler()
    path = "/v1/datasets"
    changes: list[Any] = [
        None,
        [],
        [CITY],
        [{**CITY, "category": "user.biometric"}],
        [{**CITY, "type": "blob"}],
        [CITY, FACE],
        [CITY, {"name": "amount", "type": "numeric", "category": None}],
    ]
    for fields in changes:
        for is_graded in (True, False):
            data = world.dataset(handler, graded=is_graded)
            if fields is not None:
                world.registrar.patch(f"{path}/{data['id']}", {"fields": fields})
    everything = world.registrar.get(path, handler=handler["id"]).json()["items"]
    listed = {
        outdated: {
            one["id"] for one in world.registrar.get(path, handler=handler["id"], outdated=outdated).json()["items"]
        }
        for outdated in (True, False)
    }
    assert listed[True] == {one["id"] for one in everything if one["outdated_fields"]}
    assert listed[False] == {one["id"] for one in everything if not one["outdated_fields"]}
    assert len(listed[True]) == 3
