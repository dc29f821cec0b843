"""Principals, keys, grants: who may do what, at once and everywhere."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.conftest import Clock
from tests.world import STAGES, World


def test_me_tells_who_and_what(world: World) -> None:
    handler = world.handler()
    person = world.person("requester", handler=handler["id"])
    me = person.get("/v1/me").json()
    assert (me["id"], me["kind"], me["roles"]) == (person.id, "person", {"requester": [handler["id"]]})
    assert world.registrar.get("/v1/me").json()["roles"] == {"registrar": "*"}
    assert world.person().get("/v1/me").json()["roles"] == {}


def test_a_secret_is_shown_once(world: World) -> None:
    principal = world.person("auditor").id
    made = world.admin.post("/v1/api-keys", {"principal": principal}, Idempotency_Key="key-once")
    secret = made.json()["secret"]
    assert secret.startswith("ob_live_")
    again = world.admin.post("/v1/api-keys", {"principal": principal}, Idempotency_Key="key-once")
    assert again.json() == made.json() | {"secret": None}
    assert secret not in world.admin.get(f"/v1/api-keys/{made.json()['id']}").text
    assert secret not in world.auditor.get("/v1/audit/entries", subject=made.json()["id"]).text


def test_a_revoked_key_stops_at_once(world: World) -> None:
    person = world.person("auditor")
    key = world.admin.get("/v1/api-keys", principal=person.id).json()["items"][0]
    assert world.admin.post(f"/v1/api-keys/{key['id']}/revoke").json()["revoked_at"]
    assert person.get("/v1/me").status_code == 401
    assert world.admin.post(f"/v1/api-keys/{key['id']}/revoke").status_code == 409


def test_a_key_ends_when_it_was_said_to(world: World, days_ahead: Clock) -> None:
    person = world.person("auditor")
    ends = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    person.secret = world.admin.made("/v1/api-keys", {"principal": person.id, "expires_at": ends})["secret"]
    assert person.get("/v1/me").status_code == 200
    days_ahead.ahead = timedelta(hours=1)
    assert person.get("/v1/me").status_code == 401
    past = world.admin.post("/v1/api-keys", {"principal": person.id, "expires_at": ends})
    assert past.json()["errors"][0]["pointer"] == "/expires_at"


def test_what_happens_to_a_principal_and_its_keys_is_told(world: World) -> None:
    person = world.person("auditor")
    key = world.admin.made("/v1/api-keys", {"principal": person.id})
    world.admin.made(f"/v1/api-keys/{key['id']}/revoke", None)
    world.admin.made(f"/v1/principals/{person.id}/disable", None)
    world.admin.made(f"/v1/principals/{person.id}/enable", None)
    told = person.get("/v1/events", to_me="true", limit=200).json()["items"]
    kinds = ["principal.created", "grant.created", "api_key.created", "api_key.created", "api_key.revoked"]
    assert [event["kind"] for event in told] == [*kinds, "principal.disabled", "principal.enabled"]
    assert [event["subject"] for event in told[3:5]] == [key["id"], key["id"]]
    assert {event["who"]["name"] for event in told} == {"root", "operator"}
    assert key["secret"] not in str(told)
    of_one_handler = world.person("auditor", handler=world.handler()["id"])
    assert person.id not in of_one_handler.get("/v1/events", limit=200).text


def test_a_disabled_principal_is_out_with_all_of_its_keys(world: World) -> None:
    person = world.person("auditor")
    world.admin.made(f"/v1/principals/{person.id}/disable", None)
    assert person.get("/v1/me").status_code == 401
    assert world.admin.post("/v1/api-keys", {"principal": person.id}).status_code == 409
    world.admin.made(f"/v1/principals/{person.id}/enable", None)
    assert person.get("/v1/me").status_code == 200


def test_a_withdrawn_grant_ends_at_once_and_stays_on_record(world: World) -> None:
    person = world.person("auditor")
    grant = world.admin.get("/v1/grants", principal=person.id).json()["items"][0]
    world.admin.made(f"/v1/grants/{grant['id']}/withdraw", None)
    assert person.get("/v1/audit/entries").status_code == 403
    assert world.admin.get(f"/v1/grants/{grant['id']}").json()["withdrawn_at"]
    assert world.admin.post(f"/v1/grants/{grant['id']}/withdraw").status_code == 409


def test_the_same_grant_is_not_given_twice(world: World) -> None:
    person = world.person("auditor")
    assert world.admin.post("/v1/grants", {"principal": person.id, "role": "auditor"}).status_code == 409


def test_nobody_grants_to_themselves_and_the_last_admin_stays(world: World) -> None:
    other = world.person("admin")
    assert other.post("/v1/grants", {"principal": other.id, "role": "reviewer:legal"}).status_code == 403
    narrow = world.person("admin", handler=world.handler()["id"])
    assert narrow.post("/v1/principals", {"name": world.name("x")}).status_code == 403
    assert narrow.post("/v1/grants", {"principal": other.id, "role": "auditor"}).status_code == 403


def test_an_admin_keeps_keys_and_nothing_else(world: World) -> None:
    for path in ("/v1/handlers", "/v1/datasets", "/v1/transfers", "/v1/permits", "/v1/audit/entries", "/v1/exports"):
        assert world.admin.get(path).status_code == 403


@pytest.mark.parametrize("role", ["registrar", "requester", "exporter", "auditor", *(f"reviewer:{s}" for s in STAGES)])
def test_only_an_admin_makes_principals_keys_and_grants(world: World, role: str) -> None:
    person = world.person(role)
    assert person.post("/v1/principals", {"name": "x"}).status_code == 403
    assert person.post("/v1/api-keys", {"principal": person.id}).status_code == 403
    assert person.post("/v1/grants", {"principal": person.id, "role": "admin"}).status_code == 403


def test_an_unknown_role_handler_or_principal_is_named(world: World) -> None:
    person = world.person()
    for body, pointer in (
        ({"principal": person.id, "role": "king"}, "/role"),
        ({"principal": "nobody", "role": "auditor"}, "/principal"),
        ({"principal": person.id, "role": "auditor", "handler": "nowhere"}, "/handler"),
    ):
        assert world.admin.post("/v1/grants", body).json()["errors"][0]["pointer"] == pointer


def test_two_principals_do_not_share_a_name(world: World) -> None:
    name = world.name("twin")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: world.admin.post("/v1/principals", {"name": name}), range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


def test_an_auditor_of_one_handler_sees_its_entries_alone(world: World) -> None:
    mine, other = world.handler(), world.handler()
    auditor = world.person("auditor", handler=mine["id"])
    handlers = {entry["handler"] for entry in auditor.get("/v1/audit/entries", limit=200).json()["items"]}
    assert handlers == {mine["id"]}
    theirs = world.auditor.get("/v1/audit/entries", subject=other["id"]).json()["items"][0]
    assert auditor.get(f"/v1/audit/entries/{theirs['seq']}").status_code == 404
    assert world.auditor.get(f"/v1/audit/entries/{theirs['seq']}").json().items() >= theirs.items()
