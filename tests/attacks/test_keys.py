"""Whoever has no key, the wrong one, or another kind of proof than a key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from service.access import caller as callers
from service.settings import Settings
from tests.attacks.companies import Company
from tests.conftest import Clock, Served, admins, database_named, run_sql
from tests.jwt_check import verified
from tests.world import Json, Person, World


def me(http: httpx.Client, authorization: str) -> httpx.Response:
    return http.get("/v1/me", headers={"Authorization": authorization})


def told(answer: httpx.Response) -> tuple[int, Json]:
    """Return what an answer says, its own marks left aside."""
    return answer.status_code, {name: value for name, value in answer.json().items() if name != "instance"}


def test_a_forged_key_is_refused_in_the_words_in_which_an_unknown_one_is(world: World) -> None:
    """Right prefix and wrong secret, another prefix, a revoked key: nobody can tell which."""
    known = world.auditor.secret
    revoked = world.person("auditor")
    ident = world.admin.get("/v1/api-keys", principal=revoked.id).json()["items"][0]["id"]
    world.admin.made(f"/v1/api-keys/{ident}/revoke", None)
    disabled = world.person("auditor")
    world.admin.made(f"/v1/principals/{disabled.id}/disable", None)
    unknown = told(me(world.http, "Bearer ob_live_" + "0" * 12 + "_" + "0" * 52))
    forged = known[: -len("0000")] + ("0000" if not known.endswith("0000") else "1111")
    assert unknown[0] == 401
    for secret in (forged, revoked.secret, disabled.secret, known[:20] + "_" + "0" * 52):
        assert told(me(world.http, f"Bearer {secret}")) == unknown


def test_a_key_is_compared_in_constant_time_whether_it_is_known_or_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long a look-up takes must not tell how much of a key was right."""
    compared: list[tuple[int, int]] = []
    really = hmac.compare_digest

    def watched(left: bytes, right: bytes) -> bool:
        compared.append((len(left), len(right)))
        return really(left, right)

    monkeypatch.setattr(callers.hmac, "compare_digest", watched)
    for secret in (world.auditor.secret[:-4] + "zzzz", "ob_live_" + "0" * 12 + "_" + "0" * 52):
        compared.clear()
        assert me(world.http, f"Bearer {secret}").status_code == 401
        assert compared == [(32, 32)]


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Basic cm9vdDpyb290",
        "Bearer null",
        "Bearer ob_live_%' or '1'='1",
        "Bearer ob_test_" + "0" * 12 + "_" + "0" * 52,
        "Bearer ob_live_" + "0" * 12 + "_" + "0" * 51,
        "Bearer pr_01m8dnqh88ecw8snycx2e8hkae",
        "Bearer " + "a" * 5000,
        "Bearer ob_live_" + "0" * 12 + "_" + "0" * 52 + ", Bearer x",
    ],
)
def test_what_is_no_key_opens_nothing(world: World, authorization: str) -> None:
    assert me(world.http, authorization).status_code == 401
    body = {"dataset": "a", "recipient": "b", "purpose": "c", "persons": 1}
    headers = {"Authorization": authorization}
    assert world.http.post("/v1/exports", json=body, headers=headers).status_code == 401


@pytest.mark.parametrize(
    "around",
    ["Basic {}", "Bearer {}, Bearer x", "Bearer x, Bearer {}", "{}", "Key Bearer {}", "Bearer {}x", "Bearer\t{}"],
)
def test_a_key_within_something_else_opens_nothing(world: World, around: str) -> None:
    """Two readers of one header must not come to two answers."""
    assert me(world.http, around.format(world.auditor.secret)).status_code == 401
    headers = {"Authorization": around.format(world.exporter.secret)}
    question = {"subject": {"type": "system", "id": "a"}, "action": {"name": "x"}, "resource": {"type": "x", "id": "y"}}
    assert world.http.post("/access/v1/evaluation", json=question, headers=headers).status_code == 401


def test_a_principals_id_or_name_is_no_key(world: World) -> None:
    """Somebody vouched for is looked up by the id; nobody vouches for themselves."""
    system = world.person("exporter", kind="system")
    told = {"issuer": "https://issuer.test", "subject": system.name}
    login = world.admin.made(f"/v1/principals/{system.id}/logins", told)["id"]
    for secret in (world.auditor.id, world.auditor.name, world.admin.secret[:20], "operator", "outbound", login):
        assert me(world.http, f"Bearer {secret}").status_code == 401
    question = {"subject": {"type": "system", "id": "a"}, "action": {"name": "x"}, "resource": {"type": "x", "id": "y"}}
    for secret in (system.id, system.name, login, system.secret[:20]):
        headers = {"Authorization": f"Bearer {secret}"}
        assert world.http.post("/access/v1/evaluation", json=question, headers=headers).status_code == 401


def test_a_permits_token_is_no_key(world: World, victim: Company) -> None:
    """Another audience: a permit's token says that data may go, to whoever checks it; the service takes it for nothing."""
    token = world.auditor.get(f"/v1/permits/{victim.permit}/token").json()["token"]
    assert me(world.http, f"Bearer {token}").status_code == 401
    body = {"dataset": victim.dataset["id"], "recipient": victim.recipient["id"], "purpose": "analytics", "persons": 1}
    assert world.http.post("/v1/exports", json=body, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def parts(token: str) -> tuple[Json, Json]:
    head, body, _ = (base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in token.split("."))
    return json.loads(head), json.loads(body)


def test_a_permits_token_is_believed_by_its_signature_alone(world: World, victim: Company) -> None:
    token = world.auditor.get(f"/v1/permits/{victim.permit}/token").json()["token"]
    jwks = world.http.get("/.well-known/jwks.json").json()
    assert verified(token, jwks)["sub"] == victim.permit
    assert all(key.keys() & {"d", "p", "q", "k"} == set() for key in jwks["keys"])
    header, claims = parts(token)
    claims["permit"]["persons"] = 10**9
    mine = OKPKey.generate_key("Ed25519")
    public = json.dumps(jwks["keys"][0]).encode()
    forgeries = [
        jwt.encode(header, claims, mine, algorithms=["EdDSA"]),
        jwt.encode({"alg": "HS256", "kid": header["kid"]}, claims, OctKey.import_key(public), algorithms=["HS256"]),
        token.split(".")[0] + "." + _encoded(claims) + "." + token.split(".")[2],
        _encoded({"alg": "none", "kid": header["kid"]}) + "." + _encoded(claims) + ".",
    ]
    for forged in forgeries:
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever a verifier raises, it does not return claims
            verified(forged, jwks)


def _encoded(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def test_a_permit_that_no_longer_holds_has_no_token_and_lets_nothing_out(world: World) -> None:
    """A token that is about is good for a day at most; the gate, and not the token, lets things out."""
    company = Company(world)
    token = world.auditor.get(f"/v1/permits/{company.permit}/token").json()
    _, claims = parts(token["token"])
    assert claims["exp"] <= (datetime.now(UTC) + timedelta(hours=24, seconds=5)).timestamp()
    world.reviewers["legal"].made(f"/v1/permits/{company.permit}/suspend", {"reason": "Looked at again"})
    assert world.auditor.get(f"/v1/permits/{company.permit}/token").status_code == 409
    world.reviewers["legal"].made(f"/v1/permits/{company.permit}/revoke", {"reason": "Over"})
    assert world.auditor.get(f"/v1/permits/{company.permit}/token").status_code == 409
    assert company.export(1).json()["reason"] == "permit_revoked"
    assert company.export(1, permit=company.permit).status_code == 403


def test_the_log_and_lists_never_show_a_secret(world: World) -> None:
    """A key is stored as a hash, so that whoever reads the database cannot call; nor is it told again to whoever repeats."""
    wanted, key = {"principal": world.person("auditor").id}, world.name("key")
    made = world.admin.post("/v1/api-keys", wanted, Idempotency_Key=key).json()
    secret = made["secret"]
    seen = [
        world.admin.post("/v1/api-keys", wanted, Idempotency_Key=key).text,
        world.admin.get("/v1/api-keys", principal=made["principal"]).text,
        world.admin.get(f"/v1/api-keys/{made['id']}").text,
        world.auditor.get("/v1/audit/entries", subject=made["id"]).text,
    ]
    assert all(secret not in text and hashlib.sha256(secret.encode()).hexdigest() not in text for text in seen)
    assert all(made["id"] in text for text in seen)


def test_nobody_gives_themselves_a_role_by_any_member(world: World) -> None:
    insider = world.person("requester")
    grant = {"principal": insider.id, "role": "admin"}
    assert insider.post("/v1/grants", grant).status_code == 403
    assert (
        world.admin.post(
            "/v1/grants",
            {"principal": me(world.http, f"Bearer {world.admin.secret}").json()["id"], "role": "reviewer:legal"},
        ).status_code
        == 403
    )
    for more in ({"granted_by": "operator"}, {"source": "operator"}, {"effective_at": "2026-01-01T00:00:00Z"}):
        assert world.admin.post("/v1/grants", grant | {"role": "auditor"} | more).status_code == 422
    for member in ("roles", "grants", "id", "disabled_at"):
        assert (
            world.admin.post("/v1/principals", {"name": world.name("p"), "kind": "person", member: []}).status_code
            == 422
        )


def test_nobody_gives_themselves_a_role_by_a_key_that_they_made_for_another_admin(world: World) -> None:
    """Roles that take no second admin, too: the one who would have made the key is the one who acts."""
    admin, other = world.person("admin"), world.person("admin")
    secret = admin.made("/v1/api-keys", {"principal": other.id})["secret"]
    as_other = Person(world.http, secret, other.id, other.name)
    wanted = {"principal": admin.id, "role": "requester"}
    assert as_other.post("/v1/grants", wanted).status_code == 403
    assert as_other.post("/v1/grants", wanted | {"principal": world.person().id}).status_code == 201
    assert world.admin.post("/v1/grants", wanted).status_code == 201


def test_a_key_that_an_admin_makes_for_somebody_is_told_to_them(world: World) -> None:
    """Whoever can make keys could act as anybody: it cannot be done in silence."""
    reviewer: Person = world.person("reviewer:legal")
    made = world.admin.made("/v1/api-keys", {"principal": reviewer.id})
    events = reviewer.get("/v1/events", to_me="true", kind="api_key.created").json()["items"]
    assert made["id"] in json.dumps(events)
    entry = world.auditor.get("/v1/audit/entries", subject=made["id"]).json()["items"][0]
    assert (entry["action"], entry["details"]["principal"]) == ("api_key.created", reviewer.id)


def test_the_last_admin_is_not_removed(postgres: str, settings: Settings) -> None:
    """Neither by taking the role away nor by shutting the person out, by themselves or by whoever is left."""
    name = "one_admin_" + os.environ.get("PYTEST_XDIST_WORKER", "main")
    run_sql(postgres, f"create database {name} template template_outbound")
    url = database_named(postgres, name)
    own = settings.model_copy(update={"sequencer": False, "pack_worker": False})
    with Served(own, url, Clock()) as address, httpx.Client(base_url=address, timeout=30) as http:
        last, other = (Person(http, key, me(http, f"Bearer {key}").json()["id"], "") for key in admins(url))
        grants = {grant["principal"]: grant["id"] for grant in last.get("/v1/grants").json()["items"]}
        last.made(f"/v1/grants/{grants[other.id]}/withdraw", None)
        assert last.post(f"/v1/grants/{grants[last.id]}/withdraw").status_code == 409
        assert last.post(f"/v1/principals/{last.id}/disable").status_code == 409
        assert last.get("/v1/me").json()["roles"] == {"admin": "*"}
    run_sql(postgres, f"drop database {name} with (force)")
