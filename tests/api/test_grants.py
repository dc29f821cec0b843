"""Grants: days, a second admin's confirmation, and an admin who always remains; through HTTP, by people who try what they may not."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import httpx
import pytest

from service.settings import Settings
from tests.conftest import Clock, Served, admins, database_named, equipped, run_sql
from tests.world import STAGES, Json, Person, World, day, today

TWO = ["admin", *(f"reviewer:{stage}" for stage in STAGES)]


def key_of(world: World, person: Person, by: Person | None = None) -> Person:
    """Give somebody one more key, made by an admin."""
    secret = (by or world.admin).made("/v1/api-keys", {"principal": person.id})["secret"]
    return Person(world.http, secret, person.id, person.name)


@pytest.fixture
def an_admin(world: World, database_url: str) -> Callable[[], Person]:
    """Make an admin as the operator does: nobody else has seen the key."""
    return lambda: world.known(equipped(database_url, world.name("admin"), "admin"))


def asked(by: Person, whom: Person, role: str = "reviewer:legal", **more: str) -> httpx.Response:
    return by.post("/v1/grants", {"principal": whom.id, "role": role, **more})


def pending(by: Person, whom: Person, role: str = "reviewer:legal", **more: str) -> str:
    """Ask for a grant that waits, and return where it is confirmed."""
    made = asked(by, whom, role, **more)
    assert (made.status_code, made.json()["state"]) == (201, "pending"), made.text
    return f"/v1/grants/{made.json()['id']}"


def roles_of(person: Person) -> Json:
    found: Json = person.get("/v1/me").json()["roles"]
    return found


# Two admins


@pytest.mark.parametrize("role", TWO)
def test_a_role_that_takes_two_does_nothing_until_another_admin_confirms(world: World, role: str) -> None:
    person = world.person()
    at = pending(world.admin, person, role)
    assert roles_of(person) == {}
    confirmed = world.second_admin.made(f"{at}/confirm", None)
    assert (confirmed["state"], confirmed["confirmed_by"]) == ("standing", world.second_admin.id)
    assert (confirmed["granted_by"], confirmed["source"]) == (world.admin.id, "admin")
    assert roles_of(person) == {role: "*"}
    assert world.second_admin.post(f"{at}/confirm").status_code == 409


def test_other_roles_stand_at_once(world: World) -> None:
    made = asked(world.admin, world.person(), "auditor").json()
    assert (made["state"], made["confirmed_by"]) == ("standing", None)
    assert made["effective_at"] == made["granted_at"]


def test_whoever_asked_does_not_confirm_not_even_by_another_key(world: World) -> None:
    asking, person = world.person("admin"), world.person()
    at = pending(asking, person)
    for again in (asking, key_of(world, asking), key_of(world, asking, by=asking)):
        assert again.post(f"{at}/confirm").status_code == 403
    assert roles_of(person) == {}


def test_nobody_confirms_or_asks_for_a_role_of_their_own(world: World) -> None:
    other = world.person("admin")
    at = pending(world.admin, other)
    for key in (other, key_of(world, other)):
        assert key.post(f"{at}/confirm").status_code == 403
        assert asked(key, other, "auditor").status_code == 403
        assert key.post("/v1/grants", {"principal": other.name, "role": "auditor"}).status_code == 403


def test_a_key_that_the_asker_made_for_another_admin_confirms_nothing(
    world: World, an_admin: Callable[[], Person]
) -> None:
    asking, puppet, person = an_admin(), an_admin(), world.person()
    at = pending(asking, person)
    made_for_puppet = key_of(world, puppet, by=asking)
    refused = made_for_puppet.post(f"{at}/confirm")
    assert refused.status_code == 403
    assert "key was made by" in refused.json()["detail"]
    made_by_puppet = key_of(world, puppet, by=made_for_puppet)
    third = key_of(world, an_admin(), by=made_for_puppet)
    for laundered in (made_by_puppet, third):
        assert laundered.post(f"{at}/confirm").status_code == 403
    assert puppet.post(f"{at}/confirm").status_code == 200


def test_a_grant_asked_for_with_a_key_that_somebody_made_is_not_confirmed_by_that_one(
    world: World, an_admin: Callable[[], Person]
) -> None:
    victim, taker, person = an_admin(), an_admin(), world.person()
    at = pending(key_of(world, victim, by=taker), person)
    assert taker.post(f"{at}/confirm").status_code == 403


def test_a_system_that_is_an_admin_neither_asks_nor_confirms(world: World) -> None:
    machine = world.person("admin", kind="system")
    person = world.person()
    for role in TWO:
        assert asked(machine, person, role).status_code == 403
    assert asked(machine, person, "auditor").status_code == 201
    at = pending(world.admin, person)
    assert machine.post(f"{at}/confirm").status_code == 403
    assert machine.post(f"{at}/withdraw").status_code == 200


def test_only_admins_confirm(world: World) -> None:
    at = pending(world.admin, world.person())
    for person in (world.auditor, world.requester, world.exporter, *world.reviewers.values()):
        assert person.post(f"{at}/confirm").status_code == 403


def test_a_declined_grant_never_comes_to_stand(world: World) -> None:
    person = world.person()
    at = pending(world.admin, person)
    declined = world.second_admin.made(f"{at}/withdraw", None)
    assert (declined["state"], declined["effective_at"]) == ("withdrawn", None)
    assert world.second_admin.post(f"{at}/confirm").status_code == 409
    assert pending(world.admin, person) != at


def test_what_whoever_is_no_admin_any_more_has_asked_for_is_not_confirmed(world: World) -> None:
    for end in ("withdraw", "disable"):
        leaving, person = world.person("admin"), world.person()
        at = pending(leaving, person)
        if end == "disable":
            world.admin.made(f"/v1/principals/{leaving.id}/disable", None)
        else:
            grant = world.admin.get("/v1/grants", principal=leaving.id).json()["items"][0]
            world.admin.made(f"/v1/grants/{grant['id']}/withdraw", None)
        assert world.second_admin.post(f"{at}/confirm").status_code == 409
        assert roles_of(person) == {}


def test_a_pending_grant_lapses_after_a_week_and_is_asked_for_anew(world: World, days_ahead: Clock) -> None:
    person = world.person()
    at = pending(world.admin, person)
    days_ahead.ahead = timedelta(days=7, minutes=1)
    assert world.admin.get(at).json()["state"] == "lapsed"
    assert world.second_admin.post(f"{at}/confirm").status_code == 409
    again = pending(world.admin, person)
    ended = world.admin.get(at).json()
    assert ended["state"] == "lapsed"
    assert ended["withdrawn_at"] is not None
    assert world.auditor.get("/v1/audit/entries", subject=ended["id"], action="grant.lapsed").json()["items"]
    assert world.second_admin.made(f"{again}/confirm", None)["state"] == "standing"


def test_who_may_confirm_is_told_and_finds_what_waits(world: World) -> None:
    person = world.person()
    at = pending(world.admin, person)
    told = world.second_admin.get("/v1/events", to_me="true", subject=at.rpartition("/")[2]).json()["items"]
    assert [(event["kind"], event["where"]["href"]) for event in told] == [("grant.created", f"{at}/confirm")]
    assert not world.admin.get("/v1/events", to_me="true", subject=at.rpartition("/")[2]).json()["items"]
    waiting = world.second_admin.get("/v1/grants", pending="true", principal=person.id).json()["items"]
    assert [f"/v1/grants/{grant['id']}" for grant in waiting] == [at]
    world.second_admin.made(f"{at}/confirm", None)
    assert not world.second_admin.get("/v1/grants", pending="true", principal=person.id).json()["items"]
    assert world.second_admin.get("/v1/grants", pending="false", principal=person.id).json()["items"]
    actions = [
        (entry["action"], entry["actor"])
        for entry in world.auditor.get("/v1/audit/entries", subject=at.rpartition("/")[2]).json()["items"]
    ]
    assert actions == [("grant.created", world.admin.id), ("grant.confirmed", world.second_admin.id)]


# One person, one principal


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Li Wei {0}", "li wei {0}"),
        ("Li Wei {0}", "Li\u00a0Wei {0}"),
        ("Li Wei {0}", "Li\u3000Wei  {0}"),
        ("Li Wei {0}", "Ｌｉ　Ｗｅｉ {0}"),
        ("Straße {0}", "STRASSE {0}"),
        ("Zoe\u0308 {0}", "Zoë {0}"),
    ],
)
def test_names_that_read_the_same_are_one_principal(world: World, one: str, other: str) -> None:
    mark = world.name("n")
    world.admin.made("/v1/principals", {"name": one.format(mark)})
    twin = world.admin.post("/v1/principals", {"name": other.format(mark)})
    assert (twin.status_code, twin.json()["errors"][0]["pointer"]) == (409, "/name")
    assert unicodedata.normalize("NFC", one.format(mark)) in twin.json()["detail"]


def test_systems_do_not_review(world: World) -> None:
    machine = world.person(kind="system")
    for stage in STAGES:
        refused = asked(world.admin, machine, f"reviewer:{stage}")
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/role")


def test_a_system_with_a_reviewers_grant_of_before_reviews_nothing(world: World, database_url: str) -> None:
    handler, recipient = world.handler(), world.recipient()
    submitted = world.submitted(handler, [world.dataset(handler, "personal")], recipient, persons=10)
    machine, person = world.person("requester", kind="system"), world.person()
    was, planted = "requester", "reviewer:privacy"
    changed = f"update grants set role = '{{}}' where principal = '{machine.id}'"  # noqa: S608 - our own id
    run_sql(database_url, changed.format(planted))
    try:
        body = {"stage": "privacy", "decision": "approve", "revision": submitted["revision"]["hash"], "comment": "Fine"}
        assert machine.post(f"/v1/transfers/{submitted['id']}/reviews", body).status_code == 403
        offered = world.requester.get(f"/v1/transfers/{submitted['id']}/reviewers", stage="privacy").json()["items"]
        assert machine.id not in {one["principal"] for one in offered}
        lent = {"delegate": person.id, "valid_from": day(0), "valid_until": day(1), "reason": "Leave"}
        assert machine.post("/v1/delegations", lent).status_code == 403
        assert world.admin.post("/v1/delegations", lent | {"delegator": machine.id}).status_code == 422
    finally:
        run_sql(database_url, changed.format(was))


# Days


def test_a_grant_stands_from_its_first_day_to_its_last(world: World, days_ahead: Clock) -> None:
    person = world.person()
    made = asked(world.admin, person, "auditor", valid_from=day(2), valid_until=day(3)).json()
    assert (made["state"], made["valid_from"], made["valid_until"]) == ("upcoming", day(2), day(3))
    midnight = datetime.combine(today() + timedelta(days=2), time(), ZoneInfo("Asia/Shanghai"))
    ahead = midnight - datetime.now(UTC)
    for late, roles in ((-5, {}), (5, {"auditor": "*"}), (2 * 86400 - 60, {"auditor": "*"}), (2 * 86400 + 5, {})):
        days_ahead.ahead = ahead + timedelta(seconds=late)
        assert roles_of(person) == roles
    assert world.admin.get(f"/v1/grants/{made['id']}").json()["state"] == "lapsed"
    assert asked(world.admin, person, "auditor").json()["state"] == "standing"
    assert roles_of(person) == {"auditor": "*"}


def test_the_gate_knows_an_exporter_from_the_first_day_to_the_last(world: World, days_ahead: Clock) -> None:
    handler, recipient = world.handler(), world.recipient()
    dataset = world.dataset(handler, "personal")
    world.approved(handler, [dataset], recipient, persons=10)
    system = world.person(kind="system")
    asked(world.admin, system, "exporter", handler=handler["id"], valid_from=day(1), valid_until=day(1))
    question = {
        "subject": {"type": "system", "id": system.name},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": dataset["id"]},
        "context": {"recipient": recipient["id"], "purpose": "analytics"},
    }
    midnight = datetime.combine(today() + timedelta(days=1), time(), ZoneInfo("Asia/Shanghai"))
    ahead = midnight - datetime.now(UTC)
    for late, reason in ((-20, 403), (20, "permitted"), (86400 + 20, 403)):
        days_ahead.ahead = ahead + timedelta(seconds=late)
        answer = system.post("/access/v1/evaluation", question)
        if isinstance(reason, int):
            assert answer.status_code == reason or answer.json()["context"]["reason"] == "dataset_unknown"
        else:
            assert answer.json()["context"]["reason"] == reason


@pytest.mark.parametrize(
    ("days", "pointer"),
    [
        ({"valid_from": day(-1)}, "/valid_from"),
        ({"valid_from": day(400)}, "/valid_from"),
        ({"valid_until": day(-1)}, "/valid_until"),
        ({"valid_until": day(4000)}, "/valid_until"),
        ({"valid_from": day(5), "valid_until": day(4)}, "/valid_until"),
        ({"valid_from": "2026-02-30"}, "/valid_from"),
    ],
)
def test_days_that_do_not_fit_are_refused(world: World, days: Json, pointer: str) -> None:
    refused = asked(world.admin, world.person(), "auditor", **days)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)


def test_a_reviewer_whose_days_are_over_is_offered_nothing_and_decides_nothing(world: World, days_ahead: Clock) -> None:
    handler, recipient = world.handler(), world.recipient()
    submitted = world.submitted(handler, [world.dataset(handler, "personal")], recipient, persons=10)
    person = world.person()
    world.grant(person.id, "reviewer:privacy", valid_until=day(1))
    at = f"/v1/transfers/{submitted['id']}"

    def offered() -> set[str]:
        items = world.requester.get(f"{at}/reviewers", stage="privacy").json()["items"]
        return {one["principal"] for one in items}

    assert person.id in offered()
    days_ahead.ahead = timedelta(days=2)
    assert person.id not in offered()
    body = {"stage": "privacy", "decision": "approve", "revision": submitted["revision"]["hash"], "comment": "Fine"}
    assert person.post(f"{at}/reviews", body).status_code == 403
    mention = {"text": "See this", "mentions": [person.id]}
    assert world.requester.post(f"{at}/comments", mention).status_code == 422


# Delegation launders nothing


def absent(away: Person, stand_in: Person, by: Person | None = None, **more: str) -> httpx.Response:
    body = {"delegate": stand_in.id, "valid_from": day(0), "valid_until": day(5), "reason": "Leave", **more}
    return (by or away).post("/v1/delegations", body | ({"delegator": away.id} if by else {}))


def lent_to(person: Person) -> list[str]:
    return [one["role"] for one in person.get("/v1/me").json()["delegated"]]


def test_what_waits_or_is_over_cannot_be_lent(world: World, days_ahead: Clock) -> None:
    person, stand_in = world.person(), world.person()
    pending(world.admin, person)
    assert absent(person, stand_in).status_code == 403
    held = world.person()
    world.grant(held.id, "reviewer:legal", valid_until=day(1))
    assert absent(held, stand_in).status_code == 201
    assert lent_to(stand_in) == ["reviewer:legal"]
    days_ahead.ahead = timedelta(days=2)
    assert lent_to(stand_in) == []
    assert absent(held, stand_in, valid_until=day(3)).status_code == 403


def test_a_stand_in_lends_nothing_on(world: World) -> None:
    away, stand_in, third = world.person("reviewer:legal"), world.person(), world.person()
    absent(away, stand_in)
    assert absent(stand_in, third).status_code == 403
    assert lent_to(third) == []


def test_an_admin_alone_makes_nobody_a_stand_in_for_somebody_else(world: World, an_admin: Callable[[], Person]) -> None:
    away, stand_in, asking = world.person("reviewer:legal"), world.person(), an_admin()
    answer = absent(away, stand_in, by=asking)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert (made["in_force"], made["effective_at"]) == (False, None)
    assert lent_to(stand_in) == []
    at = f"/v1/delegations/{made['id']}/confirm"
    for nobody in (asking, key_of(world, asking), key_of(world, away, by=asking), stand_in):
        assert nobody.post(at).status_code in {403, 404}
    assert world.requester.post(at).status_code == 404
    assert away.post(at).json()["in_force"] is True
    assert lent_to(stand_in) == ["reviewer:legal"]
    assert away.post(at).status_code == 409
    again = absent(away, world.person(), by=asking).json()
    assert world.admin.post(f"/v1/delegations/{again['id']}/confirm").json()["confirmed_by"] == world.admin.id


def test_no_admin_makes_themselves_a_stand_in(world: World) -> None:
    away, asking = world.person("reviewer:legal"), world.person("admin")
    assert absent(away, asking, by=asking).status_code == 403
    assert absent(away, asking, by=key_of(world, asking)).status_code == 403


def test_a_stand_in_has_no_part_in_what_the_one_who_is_away_comes_to_have(world: World) -> None:
    away, stand_in = world.person("reviewer:legal", handler=world.handler()["id"]), world.person("admin")
    absent(away, stand_in)
    assert asked(stand_in, away).status_code == 403
    at = pending(world.admin, away)
    assert stand_in.post(f"{at}/confirm").status_code == 403
    assert asked(stand_in, away, "auditor").status_code == 201


def test_letting_somebody_in_again_gives_no_role_back_that_takes_two(world: World) -> None:
    person = world.person("reviewer:legal", "auditor")
    world.admin.made(f"/v1/principals/{person.id}/disable", None)
    assert person.get("/v1/me").status_code == 401
    world.admin.made(f"/v1/principals/{person.id}/enable", None)
    assert roles_of(person) == {"auditor": "*"}
    waiting = world.admin.get("/v1/grants", principal=person.id, pending="true").json()["items"]
    assert [(grant["role"], grant["granted_by"]) for grant in waiting] == [("reviewer:legal", world.admin.id)]
    assert world.admin.post(f"/v1/grants/{waiting[0]['id']}/confirm").status_code == 403
    world.second_admin.made(f"/v1/grants/{waiting[0]['id']}/confirm", None)
    assert roles_of(person) == {"auditor": "*", "reviewer:legal": "*"}


# Handlers


def test_an_admin_of_one_handler_keeps_to_its_grants(world: World) -> None:
    mine, other = world.handler()["id"], world.handler()["id"]
    narrow, person = world.person("admin", handler=mine), world.person()
    seen = asked(narrow, person, "auditor", handler=mine).json()
    for foreign in (
        asked(world.admin, person, "auditor", handler=other).json(),
        asked(world.admin, person, "registrar").json(),
    ):
        at = f"/v1/grants/{foreign['id']}"
        assert narrow.get(at).status_code == narrow.post(f"{at}/withdraw").status_code == 404
        assert narrow.post(f"{at}/confirm").status_code == 404
    assert asked(narrow, person, "auditor", handler=other).json()["errors"][0]["pointer"] == "/handler"
    assert narrow.get("/v1/grants", handler=other).status_code == 422
    assert asked(narrow, person, "auditor").status_code == 403
    listed = narrow.get("/v1/grants", limit=200).json()["items"]
    assert {grant["handler"] for grant in listed} == {mine}
    assert seen["id"] in {grant["id"] for grant in listed}
    known = {one["id"] for one in narrow.get("/v1/principals", limit=200).json()["items"]}
    assert known == {narrow.id, person.id}
    assert narrow.get(f"/v1/principals/{person.id}").status_code == 200
    assert narrow.get(f"/v1/principals/{world.auditor.id}").status_code == 404
    for path in ("/v1/api-keys", f"/v1/api-keys?principal={person.id}"):
        assert narrow.get(path).status_code == 403
    assert narrow.post(f"/v1/principals/{person.id}/disable").status_code == 403
    assert narrow.made(f"/v1/grants/{seen['id']}/withdraw", None)["state"] == "withdrawn"


def test_admins_of_one_handler_confirm_its_reviewers_and_no_admins(world: World) -> None:
    mine = world.handler()["id"]
    first, second = world.person("admin", handler=mine), world.person("admin", handler=mine)
    second = key_of(world, second, by=world.second_admin)
    elsewhere = world.person("admin", handler=world.handler()["id"])
    at = pending(first, world.person(), handler=mine)
    assert elsewhere.post(f"{at}/confirm").status_code == 404
    assert second.made(f"{at}/confirm", None)["state"] == "standing"
    at = pending(first, world.person(), "admin", handler=mine)
    assert second.post(f"{at}/confirm").status_code == 403
    assert world.second_admin.made(f"{at}/confirm", None)["state"] == "standing"


# The last admin


@pytest.fixture(scope="session")
def own(postgres: str) -> str:
    """A database with two admins and nobody else."""
    name = "last_admin_" + os.environ.get("PYTEST_XDIST_WORKER", "main")
    run_sql(postgres, f"create database {name} template template_outbound")
    return database_named(postgres, name)


def admin_grants(http: httpx.Client, key: str) -> list[Json]:
    found = http.get("/v1/grants", params={"limit": 200}, headers={"Authorization": f"Bearer {key}"}).json()["items"]
    return [grant for grant in found if grant["role"] == "admin" and grant["state"] == "standing"]


def test_two_admins_who_remove_each_other_at_once_leave_one(own: str, settings: Settings) -> None:
    """Many rounds: one of the two always remains, and can always go on."""
    clock = Clock()
    with Served(settings, own, clock) as address, httpx.Client(base_url=address, timeout=30) as http:
        for number in range(30):
            keys = admins(own)  # the operator gives back what the round before took
            people = [
                Person(http, key, http.get("/v1/me", headers={"Authorization": f"Bearer {key}"}).json()["id"], "")
                for key in keys
            ]
            grants = {grant["principal"]: grant["id"] for grant in admin_grants(http, keys[0])}

            def remove(
                place: int, people: list[Person] = people, grants: dict[str, str] = grants, n: int = number
            ) -> int:
                by, other = people[place], people[1 - place]
                path = f"/v1/grants/{grants[other.id]}/withdraw" if n % 2 else f"/v1/principals/{other.id}/disable"
                return by.post(path).status_code

            with ThreadPoolExecutor(2) as pool:
                answers = sorted(pool.map(remove, range(2)))
            assert answers[0] == 200
            assert answers[1] in {401, 403}
            left = [one for one in people if one.get("/v1/grants").status_code == 200]
            assert len(left) == 1
            last = grants[left[0].id]
            assert left[0].post(f"/v1/grants/{last}/withdraw").status_code == 409
            assert left[0].post(f"/v1/principals/{left[0].id}/disable").status_code == 409
            if not number % 2:
                gone = next(one for one in people if one is not left[0])
                left[0].made(f"/v1/principals/{gone.id}/enable", None)


def test_an_admin_with_a_last_day_or_of_another_kind_keeps_nobody_from_being_the_last(
    own: str, settings: Settings
) -> None:
    with Served(settings, own, Clock()) as address, httpx.Client(base_url=address, timeout=30) as http:
        world = World(http, admins(own))
        limited, machine = world.person(), world.person("admin", kind="system")
        world.grant(limited.id, "admin", valid_until=day(30))
        grants = {grant["principal"]: grant["id"] for grant in admin_grants(http, world.admin.secret)}
        world.admin.made(f"/v1/grants/{grants[world.second_admin.id]}/withdraw", None)
        mine = f"/v1/grants/{grants[world.admin.id]}/withdraw"
        for by in (world.admin, limited, machine):
            refused = by.post(mine)
            assert (refused.status_code, "last admin" in refused.json()["detail"]) == (409, True)
            assert by.post(f"/v1/principals/{world.admin.id}/disable").status_code == 409
        assert machine.post(f"/v1/grants/{grants[limited.id]}/withdraw").status_code == 200


def test_nobody_confirms_once_they_are_shut_out(world: World, an_admin: Callable[[], Person]) -> None:
    """Confirming and being shut out, at once: whichever is first, what was confirmed was so by somebody who was in."""
    for _ in range(15):
        leaving, person = an_admin(), world.person()
        at = pending(world.admin, person)
        with ThreadPoolExecutor(2) as pool:
            confirming = pool.submit(leaving.post, f"{at}/confirm")
            disabling = pool.submit(world.second_admin.post, f"/v1/principals/{leaving.id}/disable")
        confirmed, disabled = confirming.result(), disabling.result()
        assert disabled.status_code == 200
        assert confirmed.status_code in {200, 401}
        assert (roles_of(person) == {"reviewer:legal": "*"}) is (confirmed.status_code == 200)
        entries = world.auditor.get("/v1/audit/entries", actor=leaving.id, action="grant.confirmed").json()["items"]
        gone = world.auditor.get("/v1/audit/entries", subject=leaving.id, action="principal.disabled").json()["items"]
        assert all(entry["seq"] < gone[0]["seq"] for entry in entries)


def test_a_grant_is_confirmed_or_declined_and_never_both(world: World) -> None:
    for _ in range(15):
        person = world.person()
        at = pending(world.admin, person)
        paths = [f"{at}/confirm", f"{at}/withdraw", f"{at}/confirm"]
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(world.second_admin.post, paths))
        assert [answer.status_code for answer in answers].count(200) in {1, 2}
        assert answers[1].status_code == 200
        assert roles_of(person) == {}


def test_the_same_grant_is_asked_for_once_by_many_at_once(world: World) -> None:
    person = world.person()
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda by: asked(by, person), itertools.repeat(world.admin, 4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


# Keys that others have seen


def test_whoever_asked_does_not_review_by_a_key_that_they_made_for_the_reviewer(
    world: World, database_url: str, an_admin: Callable[[], Person]
) -> None:
    """An admin who files a request makes a key for the reviewer, to approve it, and one to resume its permit."""
    both = an_admin()
    world.grant(both.id, "requester")
    handler, recipient = world.handler(), world.recipient()
    dataset = world.dataset(handler, "personal")
    draft = {
        "handler": handler["id"],
        "datasets": [dataset["id"]],
        "recipient": recipient["id"],
        "purpose": "analytics",
        "description": "Figures",
        "fields": None,
        "persons": 10,
        "sensitive_persons": 0,
        "valid_from": day(0),
        "valid_until": day(20),
    }
    shown = both.made(f"/v1/transfers/{both.made('/v1/transfers', draft)['id']}/submit", None)
    world.add_evidence(shown)
    reviewer = world.reviewers["privacy"]
    body = {"stage": "privacy", "decision": "approve", "revision": shown["revision"]["hash"], "comment": "Fine"}
    refused = key_of(world, reviewer, by=both).post(f"/v1/transfers/{shown['id']}/reviews", body)
    assert refused.status_code == 403
    assert "key was made by" in refused.json()["detail"]
    assert not key_of(world, reviewer, by=both).get("/v1/queue", handler=handler["id"]).json()["items"]
    own = world.known(equipped(database_url, reviewer.name, "reviewer:privacy"))
    permit = own.made(f"/v1/transfers/{shown['id']}/reviews", body)["permit"]
    world.reviewers["legal"].made(f"/v1/permits/{permit}/suspend", {"reason": "Look"})
    by_key = key_of(world, world.reviewers["legal"], by=both)
    assert by_key.post(f"/v1/permits/{permit}/resume", {"reason": "Fine"}).status_code == 403
