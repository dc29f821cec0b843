"""Access tokens of an identity provider: who comes in by them, as whom, with which roles, and how soon that ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.settings import Settings
from tests.conftest import Clock, Served
from tests.issuers import ALGORITHMS, AUDIENCE, Issuer, b64, signed
from tests.world import Person, World

Json = dict[str, Any]
GROUPS = [
    {"group": "auditors", "role": "auditor"},
    {"group": "lawyers", "role": "reviewer:legal"},
    {"group": "feeds", "role": "exporter", "handler": "handler-of-groups"},
    {"group": "nowhere", "role": "auditor", "handler": "no-such-handler"},
]


def provided(issuer: Issuer, data: Path, **more: Any) -> Settings:
    """Settings of a service that takes an issuer's tokens."""
    given: Json = {
        "data_dir": data,
        "log_level": "error",
        "sequencer": False,
        "pack_worker": False,
        "oidc_issuer": issuer.url,
        "oidc_audience": AUDIENCE,
        "oidc_groups": GROUPS,
        "egress_allow": issuer.host,
    }
    return Settings(**given | more)


@pytest.fixture(scope="session")
def issuer() -> Iterator[Issuer]:
    found = Issuer()
    yield found
    found.close()


@pytest.fixture(scope="session")
def gate(
    issuer: Issuer, database_url: str, clock: Clock, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    """The service with the issuer set, on the database of all."""
    settings = provided(issuer, tmp_path_factory.mktemp("oidc"))
    with Served(settings, database_url, clock) as address, httpx.Client(base_url=address, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def group_handler(world: World) -> Json:
    return world.registrar.made(
        "/v1/handlers", {"key": "handler-of-groups", "name": "Of groups", "facts": {"ciio": False}}
    )


def bearer(
    client: httpx.Client, token: str, method: str = "GET", path: str = "/v1/me", body: Any = None
) -> httpx.Response:
    return client.request(method, path, json=body, headers={"Authorization": f"Bearer {token}"})


def linked(world: World, issuer: Issuer, person: Person, subject: str | None = None) -> str:
    """Link a subject to a person, and return it."""
    name = subject or world.name("subject")
    world.admin.made(f"/v1/principals/{person.id}/logins", {"issuer": issuer.url, "subject": name})
    return name


@pytest.mark.parametrize("alg", ALGORITHMS)
def test_a_linked_person_comes_in_by_a_token_of_each_algorithm(
    world: World, gate: httpx.Client, issuer: Issuer, alg: str
) -> None:
    person = world.person("auditor")
    me = bearer(gate, issuer.token(linked(world, issuer, person), alg)).json()
    assert (me["id"], me["kind"], me["roles"]) == (person.id, "person", {"auditor": "*"})


def test_one_person_is_one_principal_over_keys_and_logins(world: World, gate: httpx.Client, issuer: Issuer) -> None:
    person = world.person("auditor")
    first, second = (linked(world, issuer, person) for _ in range(2))
    ids = {bearer(gate, token).json()["id"] for token in (issuer.token(first), issuer.token(second), person.secret)}
    assert ids == {person.id}


def test_a_subject_is_one_principals_for_good(world: World, gate: httpx.Client, issuer: Issuer) -> None:
    person, other = world.person(), world.person()
    subject = linked(world, issuer, person)
    body = {"issuer": issuer.url, "subject": subject}
    assert world.admin.post(f"/v1/principals/{other.id}/logins", body).json()["type"].endswith("already-exists")
    assert world.admin.post(f"/v1/principals/{person.id}/logins", body).status_code == 409
    login = world.admin.get(f"/v1/principals/{person.id}/logins").json()["items"][0]
    ended = world.admin.post(f"/v1/principals/{person.id}/logins/{login['id']}/end")
    assert ended.json()["ended_at"]
    assert world.admin.post(f"/v1/principals/{person.id}/logins/{login['id']}/end").status_code == 409
    assert bearer(gate, issuer.token(subject)).status_code == 401
    assert world.admin.post(f"/v1/principals/{other.id}/logins", body).status_code == 409
    assert world.admin.post(f"/v1/principals/{person.id}/logins", body).json()["id"] == login["id"]
    assert bearer(gate, issuer.token(subject)).json()["id"] == person.id


def test_a_login_is_read_where_it_belongs(world: World, gate: httpx.Client, issuer: Issuer) -> None:
    person, other = world.person(), world.person()
    linked(world, issuer, person)
    login = world.admin.get(f"/v1/principals/{person.id}/logins").json()["items"][0]
    assert world.admin.get(f"/v1/principals/{person.id}/logins/{login['id']}").json() == login
    assert world.admin.get(f"/v1/principals/{other.id}/logins/{login['id']}").status_code == 404
    assert world.admin.get(f"/v1/principals/{person.id}/logins/nothing").status_code == 404
    subject = {"subject": world.name("s")}
    assert world.admin.post(f"/v1/principals/{person.id}/logins", subject).json()["errors"][0]["pointer"] == "/issuer"
    assert bearer(gate, world.admin.secret, "POST", f"/v1/principals/{person.id}/logins", subject).status_code == 201
    world.admin.made(f"/v1/principals/{person.id}/disable", None)
    assert world.admin.post(f"/v1/principals/{person.id}/logins", {"issuer": "x", "subject": "y"}).status_code == 409


def test_only_an_admin_of_all_links_logins(world: World, issuer: Issuer) -> None:
    narrow = world.person("admin", handler=world.handler()["id"])
    body = {"issuer": issuer.url, "subject": world.name("s")}
    for person in (narrow, world.registrar, world.auditor):
        assert person.post(f"/v1/principals/{world.requester.id}/logins", body).status_code == 403


def test_linking_is_recorded_without_the_subject_in_clear(world: World, issuer: Issuer) -> None:
    person = world.person()
    subject = linked(world, issuer, person, f"invented-subject-{world.name('x')}")
    login = world.admin.get(f"/v1/principals/{person.id}/logins").json()["items"][0]
    entry = world.auditor.get("/v1/audit/entries", subject=login["id"]).json()["items"][0]
    assert (entry["action"], entry["details"]["principal"]) == ("login.linked", person.id)
    assert [one["pointer"] for one in entry["sealed"]] == ["/details/subject"]
    assert entry["details"]["subject"] == subject
    assert person.get("/v1/events", to_me="true").json()["items"][-1]["kind"] == "login.linked"


def test_whom_the_provider_alone_knows_is_told_to_ask_an_admin(gate: httpx.Client, issuer: Issuer) -> None:
    answer = bearer(gate, issuer.token("nobody-here"))
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]
    assert "ask an admin" in answer.json()["detail"]


def test_without_a_provider_tokens_are_not_taken(http: httpx.Client, issuer: Issuer) -> None:
    assert "No identity provider is set" in bearer(http, issuer.token()).json()["detail"]


def test_forged_and_foreign_tokens_are_refused(world: World, gate: httpx.Client, issuer: Issuer) -> None:
    subject = linked(world, issuer, world.person("auditor"))
    kid, key = issuer.key("RS256")
    now = int(time.time())
    head, body, _ = issuer.token(subject).split(".")
    bad = {
        "none": signed_none(issuer.claims(subject), kid),
        "confused": issuer.forged(subject),
        "stripped": f"{head}.{body}.AAAA",
        "typ": issuer.token(subject, header={"typ": "JWT"}),
        "no typ": issuer.token(subject, header={"typ": None}),
        "id token": issuer.id_token(subject, "n"),
        "crit": issuer.token(subject, header={"crit": ["kid"]}),
        "issuer": issuer.token(subject, iss="https://other.test"),
        "audience": issuer.token(subject, aud="https://other.test"),
        "expired": issuer.token(subject, exp=now - 61),
        "not yet": issuer.token(subject, nbf=now + 90),
        "old": issuer.token(subject, iat=now - 100_000),
        "no jti": issuer.token(subject, jti=None),
        "no client": issuer.token(subject, client_id=None),
        "alg of another key": signed(
            issuer.claims(subject), issuer.key("ES256")[1], {"alg": "ES256", "typ": "at+jwt", "kid": kid}
        ),
        "PS256": signed(issuer.claims(subject), key, {"alg": "PS256", "typ": "at+jwt", "kid": kid}),
        "permit": signed(issuer.claims(subject), key, {"alg": "RS256", "typ": "outbound-permit+jwt", "kid": kid}),
    }
    for name, token in bad.items():
        for method, path in (("GET", "/v1/me"), ("POST", "/access/v1/evaluation"), ("POST", "/v1/exports")):
            answer = bearer(gate, token, method, path, None if method == "GET" else {})
            assert answer.status_code == 401, (name, path, answer.text)
            assert answer.json()["type"].endswith("unauthenticated")
            assert token not in answer.text


def signed_none(claims: Json, kid: str) -> str:
    header = {"alg": "none", "typ": "at+jwt", "kid": kid}
    return f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}.{b64(bytes(8))}"


def test_a_header_with_both_or_neither_is_refused(gate: httpx.Client, world: World, issuer: Issuer) -> None:
    token = issuer.token(linked(world, issuer, world.person()))
    for value in (
        f"Bearer {token} {world.admin.secret}",
        f"Basic {token}",
        f"Bearer  {token}x.y",
        "Bearer",
        f"Bearer {token},",
    ):
        assert gate.get("/v1/me", headers={"Authorization": value}).status_code == 401
    assert gate.get("/v1/me", headers={"Authorization": f"bearer   {token}"}).status_code == 200


def test_a_token_ends_with_its_time(world: World, gate: httpx.Client, issuer: Issuer, days_ahead: Clock) -> None:
    token = issuer.token(linked(world, issuer, world.person()))
    assert bearer(gate, token).status_code == 200
    days_ahead.ahead = timedelta(seconds=300 + 61)
    assert bearer(gate, token).status_code == 401


def test_a_disabled_person_is_out_by_token_too(world: World, gate: httpx.Client, issuer: Issuer) -> None:
    person = world.person("auditor")
    token = issuer.token(linked(world, issuer, person))
    assert bearer(gate, token).status_code == 200
    world.admin.made(f"/v1/principals/{person.id}/disable", None)
    assert bearer(gate, token).status_code == 401
    world.admin.made(f"/v1/principals/{person.id}/enable", None)
    assert bearer(gate, token).status_code == 200


# Groups


def told(gate: httpx.Client, token: str) -> Json:
    roles: Json = bearer(gate, token).json()["roles"]
    return roles


@pytest.mark.usefixtures("group_handler")
def test_groups_give_roles_and_take_them_at_once(
    world: World, gate: httpx.Client, issuer: Issuer, group_handler: Json
) -> None:
    person = world.person("requester")
    subject = linked(world, issuer, person)
    now = int(time.time())
    roles = told(gate, issuer.token(subject, iat=now - 5, groups=["auditors", "feeds", "nowhere", "else"]))
    assert roles == {"auditor": "*", "exporter": [group_handler["id"]], "requester": "*"}
    assert told(gate, person.secret) == roles
    grants = [
        one for one in world.admin.get("/v1/grants", principal=person.id).json()["items"] if one["role"] == "auditor"
    ]
    assert [(one["granted_by"], one["withdrawn_at"]) for one in grants] == [("operator", None)]
    without = issuer.token(subject, iat=now - 4, groups=["feeds"])
    assert told(gate, without) == {"exporter": [group_handler["id"]], "requester": "*"}
    assert told(gate, issuer.token(subject, iat=now - 3)) == {
        "exporter": [group_handler["id"]],
        "requester": "*",
    }
    assert told(gate, issuer.token(subject, iat=now - 2, groups=[])) == {"requester": "*"}
    assert person.get("/v1/audit/entries").status_code == 403
    actions = [
        (entry["action"], entry["details"]["source"])
        for entry in world.auditor.get("/v1/audit/entries", subject=grants[0]["id"]).json()["items"]
    ]
    assert actions == [("grant.created", "group"), ("grant.withdrawn", "group")]


def test_a_change_of_group_between_two_stages_makes_nobody_another(
    world: World, gate: httpx.Client, issuer: Issuer
) -> None:
    """An author, and whoever has decided a stage, who comes into the group of the next stage's reviewers."""
    handler = world.handler()
    dataset, recipient = world.dataset(handler, "personal"), world.recipient()
    author, owner = world.person("requester"), world.person("reviewer:data_owner")
    draft = world.draft(handler, [dataset], recipient, persons=150_000)
    author.patch(f"/v1/transfers/{draft['id']}", {"description": "Weekly demand"})
    shown = world.requester.made(f"/v1/transfers/{draft['id']}/submit", None)
    review = {"decision": "approve", "revision": shown["revision"]["hash"], "comment": "Seen"}
    path = f"/v1/transfers/{shown['id']}/reviews"
    owner.made(path, review | {"stage": "data_owner"})
    assert world.review(shown, "privacy").status_code == 201
    for person in (author, owner):
        token = issuer.token(linked(world, issuer, person), groups=["lawyers"])
        assert told(gate, token)["reviewer:legal"] == "*"
        assert bearer(gate, token, "POST", path, review | {"stage": "legal"}).status_code == 403


def test_an_older_token_gives_nothing_back(world: World, gate: httpx.Client, issuer: Issuer) -> None:
    subject = linked(world, issuer, world.person())
    now = int(time.time())
    before = issuer.token(subject, iat=now - 10, groups=["auditors"])
    assert told(gate, before) == {"auditor": "*"}
    assert told(gate, issuer.token(subject, iat=now - 5, groups=[])) == {}
    assert told(gate, before) == {}
    assert told(gate, issuer.token(subject, iat=now - 6, groups=["auditors"])) == {}
    assert told(gate, issuer.token(subject, iat=now - 5, groups=["auditors"])) == {}
    assert told(gate, issuer.token(subject, iat=now - 4, groups=["auditors"])) == {"auditor": "*"}


def test_a_newer_token_is_remembered_even_where_it_changes_nothing(
    world: World, gate: httpx.Client, issuer: Issuer
) -> None:
    subject = linked(world, issuer, world.person())
    now = int(time.time())
    assert told(gate, issuer.token(subject, iat=now - 5, groups=[])) == {}
    assert told(gate, issuer.token(subject, iat=now - 9, groups=["auditors"])) == {}


def test_what_one_login_has_another_does_not_take_and_an_admins_grant_stays(
    world: World, gate: httpx.Client, issuer: Issuer
) -> None:
    person = world.person("auditor")
    first, second = (linked(world, issuer, person) for _ in range(2))
    assert told(gate, issuer.token(first, groups=["lawyers", "auditors"])) == {
        "auditor": "*",
        "reviewer:legal": "*",
    }
    assert "reviewer:legal" in told(gate, issuer.token(second, groups=[]))
    assert told(gate, issuer.token(first, iat=int(time.time()) + 5, groups=[])) == {"auditor": "*"}


def test_a_role_of_a_group_lapses_where_the_group_is_seen_no_more(
    world: World, gate: httpx.Client, issuer: Issuer, days_ahead: Clock
) -> None:
    person = world.person()
    subject = linked(world, issuer, person)
    assert told(gate, issuer.token(subject, groups=["auditors"])) == {"auditor": "*"}
    days_ahead.ahead = timedelta(days=1)
    later = int(time.time()) + 24 * 3600
    assert told(gate, issuer.token(subject, iat=later, exp=later + 300, groups=["auditors"])) == {"auditor": "*"}
    days_ahead.ahead = timedelta(days=3)
    assert told(gate, person.secret) == {"auditor": "*"}
    days_ahead.ahead = timedelta(days=4)
    assert told(gate, person.secret) == {}


def test_ending_a_login_takes_the_roles_of_its_groups(world: World, gate: httpx.Client, issuer: Issuer) -> None:
    person = world.person()
    subject = linked(world, issuer, person)
    assert told(gate, issuer.token(subject, groups=["auditors"])) == {"auditor": "*"}
    login = world.admin.get(f"/v1/principals/{person.id}/logins").json()["items"][0]
    world.admin.made(f"/v1/principals/{person.id}/logins/{login['id']}/end", None)
    assert told(gate, person.secret) == {}


def test_a_system_reviews_nothing_whatever_group_it_is_in_and_is_no_person(
    world: World, gate: httpx.Client, issuer: Issuer
) -> None:
    system = world.person(kind="system")
    subject = linked(world, issuer, system)
    token = issuer.token(subject, client_id=subject, groups=["lawyers", "auditors"])
    me = bearer(gate, token).json()
    assert (me["kind"], me["roles"]) == ("system", {"auditor": "*"})
    person = linked(world, issuer, world.person("auditor"))
    assert bearer(gate, issuer.token(person, client_id=person)).status_code == 401


def test_tokens_at_once_give_each_role_once(world: World, gate: httpx.Client, issuer: Issuer) -> None:
    person = world.person()
    subject = linked(world, issuer, person)
    now = int(time.time())
    for second, names in ((-3, ["auditors", "lawyers"]), (-2, []), (-1, ["lawyers"])):
        token = issuer.token(subject, iat=now + second, groups=names)
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: bearer(gate, token), range(16)))  # noqa: B023 - used up within the round
        assert {answer.status_code for answer in answers} == {200}
    grants = world.admin.get("/v1/grants", principal=person.id).json()["items"]
    standing = [one["role"] for one in grants if one["withdrawn_at"] is None]
    assert (len(grants), standing) == (3, ["reviewer:legal"])


# Provisioning


def test_somebody_new_becomes_one_principal_where_the_operator_wants_it(
    world: World, issuer: Issuer, database_url: str, clock: Clock, tmp_path: Path
) -> None:
    settings = provided(issuer, tmp_path, oidc_provision=True)
    with Served(settings, database_url, clock) as address, httpx.Client(base_url=address, timeout=30) as client:
        subject, name = world.name("subject"), world.name("Invented Person")
        token = issuer.token(subject, name=name, groups=["auditors"])
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: bearer(client, token), range(8)))
        assert {answer.status_code for answer in answers} == {200}
        (ident,) = {answer.json()["id"] for answer in answers}
        assert (answers[0].json()["name"], answers[0].json()["roles"]) == (name, {"auditor": "*"})
        twin = bearer(client, issuer.token(other := world.name("subject"), name=name)).json()
        assert twin["id"] != ident
        assert twin["name"] == f"{name} ({other})"
        odd = bearer(client, issuer.token(third := world.name("subject"), name="\u202eevil")).json()
        assert odd["name"] == third
        machine = bearer(client, issuer.token(fourth := world.name("feed"), client_id=fourth)).json()
        assert (machine["name"], machine["kind"], machine["roles"]) == (fourth, "system", {})
    entries = world.auditor.get("/v1/audit/entries", subject=ident).json()["items"]
    assert [(entry["action"], entry["actor"]) for entry in entries] == [("principal.created", "operator")]


def test_a_machine_is_no_person_and_nobody_is_provisioned_of_whom_nothing_is_certain(
    world: World, issuer: Issuer, database_url: str, clock: Clock, tmp_path: Path
) -> None:
    settings = provided(issuer, tmp_path, oidc_provision=True, oidc_machine_claims={"kind": ("robot",)})
    with Served(settings, database_url, clock) as address, httpx.Client(base_url=address, timeout=30) as client:
        for sign in ({"preferred_username": "service-account-feed"}, {"gty": "client-credentials"}, {"kind": "robot"}):
            token = issuer.token(world.name("machine"), name="Feed", groups=["lawyers", "auditors"], **sign)
            me = bearer(client, token).json()
            assert (me["kind"], me["roles"]) == ("system", {"auditor": "*"}), sign
        uncertain = world.name("uncertain")
        refused = bearer(client, issuer.token(uncertain, groups=["lawyers"]))
        assert (refused.status_code, "browser first" in refused.json()["detail"]) == (401, True)
        linked(world, issuer, person := world.person(), uncertain)
        assert bearer(client, issuer.token(uncertain)).json()["id"] == person.id
        machine = issuer.token(uncertain, preferred_username="service-account-feed")
        assert bearer(client, machine).status_code == 401
        by_party = issuer.token(world.name("subject"), client_id=None, azp="console", name=world.name("Zhao"))
        assert bearer(client, by_party).json()["kind"] == "person"


# The gate


def test_a_system_asks_and_exports_by_token(world: World, gate: httpx.Client, issuer: Issuer) -> None:
    handler, recipient = world.handler(), world.recipient()
    dataset = world.dataset(handler)
    system = world.person("exporter", kind="system", handler=handler["id"])
    subject = linked(world, issuer, system)
    token = issuer.token(subject, client_id=subject)
    question = {
        "subject": {"type": "system", "id": system.name},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": dataset["id"]},
        "context": {"recipient": recipient["id"], "purpose": "analytics"},
    }
    answer = bearer(gate, token, "POST", "/access/v1/evaluation", question)
    assert answer.json()["decision"] is True, answer.text
    entry = world.auditor.get("/v1/audit/entries", subject=answer.json()["context"]["id"]).json()["items"][0]
    assert entry["actor"] == system.id
    several = bearer(gate, token, "POST", "/access/v1/evaluations", {"evaluations": [question, question]})
    assert [one["decision"] for one in several.json()["evaluations"]] == [True, True]
    found = bearer(gate, token, "POST", "/access/v1/search/resource", {**question, "resource": {"type": "dataset"}})
    assert [one["id"] for one in found.json()["results"]] == [dataset["id"]]
    body = {
        "dataset": dataset["id"],
        "recipient": recipient["id"],
        "purpose": "analytics",
        "persons": 0,
        "sensitive_persons": 0,
    }
    made = bearer(gate, token, "POST", "/v1/exports", body)
    assert made.status_code == 201, made.text
    world.admin.made(f"/v1/principals/{system.id}/disable", None)
    for path, asked in (("/access/v1/evaluation", question), ("/v1/exports", body)):
        assert bearer(gate, token, "POST", path, asked).status_code == 401


@pytest.mark.parametrize("how", ["disable", "end", "group"])
def test_not_one_allow_comes_after_the_right_is_gone(
    world: World, gate: httpx.Client, issuer: Issuer, group_handler: Json, how: str
) -> None:
    dataset, recipient = world.dataset(group_handler), world.recipient()
    system = world.person(kind="system")
    subject = linked(world, issuer, system)
    now = int(time.time())
    token = issuer.token(subject, client_id=subject, iat=now - 5, groups=["feeds"])
    question = {
        "subject": {"type": "system", "id": system.name},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": dataset["id"]},
        "context": {"recipient": recipient["id"], "purpose": "analytics"},
    }
    assert bearer(gate, token, "POST", "/access/v1/evaluation", question).json()["decision"] is True
    login = world.admin.get(f"/v1/principals/{system.id}/logins").json()["items"][0]["id"]
    ended: list[float] = []
    allowed: list[float] = []

    def ask(_: int) -> None:
        asked = time.monotonic()
        answer = bearer(gate, token, "POST", "/access/v1/evaluation", question)
        if answer.status_code == 200 and answer.json()["decision"]:
            allowed.append(asked)

    def stop() -> None:
        if how == "group":
            bearer(gate, issuer.token(subject, client_id=subject, iat=now - 4, groups=[]))
        else:
            path = {"disable": "/disable", "end": f"/logins/{login}/end"}[how]
            world.admin.made(f"/v1/principals/{system.id}{path}", None)
        ended.append(time.monotonic())

    with ThreadPoolExecutor(12) as pool:
        asking = [pool.submit(ask, number) for number in range(60)]
        stopping = pool.submit(stop)
        asking += [pool.submit(ask, number) for number in range(60)]
        for job in [*asking, stopping]:
            job.result()
    assert allowed
    assert max(allowed) < ended[0], "an allow was given to a question that was asked after the right was gone"
