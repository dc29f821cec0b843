"""Tokens: what is taken, and everything else is refused."""

from __future__ import annotations

import contextlib
import itertools
import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from service.identity.oidc import group_roles, jws
from service.identity.oidc.claims import ExpectedClaims, TokenClaims, access_token, half_hash, id_token
from service.identity.oidc.group_roles import GrantChanges, GroupGrant, GroupMapping
from service.identity.oidc.jws import Header, PublicKey, TokenRefusedError, UnknownKeyError
from tests.issuers import b64, forged, public, signed

Json = dict[str, Any]
NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
EXPECTED = ExpectedClaims("https://issuer.test", "https://outbound.test", timedelta(seconds=60), timedelta(hours=24))
RSA = RSAKey.generate_key(2048)
EC = ECKey.generate_key("P-256")
ED = OKPKey.generate_key("Ed25519")
KEYS = jws.keys_in(json.dumps({"keys": [public(RSA, "r"), public(EC, "e"), public(ED, "o")]}).encode())
SIGNERS: dict[str, tuple[str, Any]] = {
    "RS256": ("r", RSA),
    "ES256": ("e", EC),
    "EdDSA": ("o", ED),
    "Ed25519": ("o", ED),
}


def claims(**more: Any) -> Json:
    now = int(NOW.timestamp())
    usual = {
        "iss": EXPECTED.issuer,
        "aud": EXPECTED.audience,
        "sub": "s-1",
        "client_id": "cli",
        "iat": now,
        "exp": now + 300,
        "jti": "1",
    }
    return {name: value for name, value in (usual | more).items() if value is not None}


def token(body: Json | bytes | None = None, alg: str = "RS256", **header: Any) -> str:
    kid, key = SIGNERS[alg]
    named = {"alg": alg, "typ": "at+jwt", "kid": kid} | header
    return signed(
        claims() if body is None else body, key, {name: value for name, value in named.items() if value is not None}
    )


def read(text: str, keys: tuple[PublicKey, ...] = KEYS, now: datetime = NOW) -> TokenClaims:
    header = jws.header_of(text)
    return access_token(header, jws.claims_in(text, header, jws.key_for(header, keys)), EXPECTED, now)


def unsigned(header: Json | bytes, body: Json | bytes = b"{}") -> str:
    parts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, body)]
    return f"{b64(parts[0])}.{b64(parts[1])}.{b64(bytes(64))}"


@pytest.mark.parametrize("alg", SIGNERS)
def test_a_token_of_each_algorithm_is_taken(alg: str) -> None:
    told = read(token(alg=alg))
    assert (told.subject, told.client, told.is_system, told.name, told.groups) == ("s-1", "cli", False, None, None)


def test_a_token_may_have_the_longer_type_and_members_that_do_not_matter() -> None:
    told = read(token(typ="application/AT+JWT", x5c=["AA"], cty="x", ours=1))
    assert told.issued_at == NOW


def test_a_client_on_its_own_account_is_a_system() -> None:
    assert read(token(claims(sub="cli"))).is_system


def test_name_and_groups_are_where_the_settings_say() -> None:
    told = read(token(claims(name="Invented Person", groups=["legal", "all"])))
    assert (told.name, told.groups) == ("Invented Person", {"legal", "all"})
    deep = ExpectedClaims("i", "a", timedelta(), timedelta(days=1), name_claim="a.b", groups_claim="realm.roles")
    header = Header("RS256", "at+jwt", None)
    body = claims(iss="i", aud=["a", "b"], **{"a.b": "Named", "realm": {"roles": ["x"]}})
    assert access_token(header, body, deep, NOW).groups == {"x"}
    assert access_token(header, body | {"realm": "x"}, deep, NOW).groups is None
    assert access_token(header, body | {"a.b": 7}, deep, NOW).name is None


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "typ": "at+jwt"},
        {"alg": "None", "typ": "at+jwt"},
        {"alg": "HS256", "typ": "at+jwt"},
        {"alg": "RS512", "typ": "at+jwt"},
        {"alg": ["RS256"], "typ": "at+jwt"},
        {"alg": None, "typ": "at+jwt"},
        {"typ": "at+jwt"},
        {"alg": "RS256", "crit": ["exp"], "exp": 1},
        {"alg": "RS256", "b64": False},
        {"alg": "RSA-OAEP", "enc": "A128GCM"},
        {"alg": "RS256", "enc": "A128GCM"},
        {"alg": "RS256", "zip": "DEF"},
        {"alg": "RS256", "kid": ""},
        {"alg": "RS256", "kid": 7},
        {"alg": "RS256", "kid": "k" * 256},
        {"alg": "RS256", "typ": ["at+jwt"]},
        ["RS256"],
        b'{"alg": "RS256", "alg": "none"}',
        b'{"alg": NaN}',
        b"\xff",
        b"no JSON",
    ],
)
def test_a_header_that_asks_for_something_else_is_refused(header: Any) -> None:
    with pytest.raises(TokenRefusedError):
        jws.header_of(unsigned(header))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b",
        "aa.bb.",
        ".aa.bb",
        "aa..bb",
        "aaaa.bbbb.cccc.dddd.eeee",  # five parts: an encrypted token
        "aa.bb.cc=",
        "aa .bb.cc",
        "aa.bb.cc\n",
        "aa.bb.c+",
        "ää.bb.cc",
        "a" * jws.MAX_TOKEN_CHARACTERS + ".bb.cc",
    ],
)
def test_what_has_not_the_form_of_a_token_is_none(text: str) -> None:
    assert not jws.is_token(text)
    with pytest.raises(TokenRefusedError):
        jws.header_of(text)


def test_a_public_key_is_never_taken_for_a_shared_secret() -> None:
    for pem in (RSA.as_pem(private=False), RSA.as_der(private=False), json.dumps(public(RSA, "r")).encode()):
        for alg in ("HS256", "RS256"):
            with pytest.raises(TokenRefusedError):
                read(forged(claims(), pem, {"alg": alg, "typ": "at+jwt", "kid": "r"}))


def test_a_key_is_used_with_its_own_algorithm_alone() -> None:
    """The kid of one key and the algorithm of another: signed with the latter, by somebody who has it."""
    with pytest.raises(UnknownKeyError):
        read(token(alg="ES256", kid="r"))
    with pytest.raises(UnknownKeyError):
        read(token(alg="RS256", kid="nobody"))


def test_a_signature_of_another_key_or_over_another_text_is_not_true() -> None:
    other = signed(claims(), RSAKey.generate_key(2048), {"alg": "RS256", "typ": "at+jwt", "kid": "r"})
    head, body, seal = token().split(".")
    swapped = f"{head}.{b64(json.dumps(claims(sub='root')).encode())}.{seal}"
    for text in (other, swapped, f"{head}.{body}.{b64(bytes(256))}", f"{head}.{body}.AAA", f"{head}.{body}.AAAAA"):
        with pytest.raises(TokenRefusedError, match="signature is not true"):
            read(text)


def test_a_key_in_the_header_is_not_looked_at() -> None:
    own = RSAKey.generate_key(2048)
    header = {"alg": "RS256", "typ": "at+jwt", "kid": "r", "jwk": public(own, "r"), "jku": "https://evil.test/keys"}
    with pytest.raises(TokenRefusedError, match="signature is not true"):
        read(signed(claims(), own, header))


def test_a_kid_is_needed_where_there_are_several_keys() -> None:
    with pytest.raises(TokenRefusedError, match="kid"):
        read(token(kid=None))
    assert read(token(kid=None), KEYS[:1]).subject == "s-1"
    with pytest.raises(UnknownKeyError):
        read(token(kid=None), KEYS[1:2])
    with pytest.raises(TokenRefusedError, match="several keys"):
        read(token(), (KEYS[0], KEYS[0]))


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"sub": "a", "sub": "b"}', b'{"exp": NaN}', b"\xff", b"{"])
def test_signed_claims_that_are_no_proper_object_are_refused(body: bytes) -> None:
    with pytest.raises(TokenRefusedError, match="payload"):
        read(token(body))


@pytest.mark.parametrize("typ", [None, "JWT", "jwt", "id+jwt", "outbound-permit+jwt", "logout+jwt", "at+jwt "])
def test_a_token_of_another_type_is_no_access_token(typ: str | None) -> None:
    with pytest.raises(TokenRefusedError, match="typ"):
        read(token(typ=typ))


@pytest.mark.parametrize("name", ["iss", "aud", "sub", "client_id", "iat", "exp", "jti"])
@pytest.mark.parametrize("value", [None, "", 7, True, [7], {}, "\x00", "a\nb", "x" * 3000, -1, 1e300])
def test_every_claim_of_the_profile_is_needed_and_of_its_type(name: str, value: Any) -> None:
    if name in {"iat", "exp"} and value == 7:
        value = "7"
    with pytest.raises(TokenRefusedError):
        read(token(claims(**{name: value})))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"iss": "https://issuer.test/"}, "another issuer"),
        ({"iss": "https://ISSUER.test"}, "another issuer"),
        ({"aud": "https://other.test"}, "another audience"),
        ({"aud": []}, "another audience"),
        ({"aud": ["https://outbound.test/"]}, "another audience"),
        ({"groups": {"legal": True}}, "groups"),
        ({"groups": 7}, "groups"),
        ({"groups": [["legal"]]}, "groups"),
        ({"nbf": "soon"}, "nbf"),
    ],
)
def test_a_token_for_somebody_else_is_refused(body: Json, why: str) -> None:
    with pytest.raises(TokenRefusedError, match=why):
        read(token(claims(**body)))


def test_a_token_holds_from_its_first_second_to_its_last_and_a_minute_for_clocks() -> None:
    at = int(NOW.timestamp())
    for body, holds in (
        ({"exp": at - 59}, True),
        ({"exp": at - 60}, False),
        ({"iat": at + 60}, True),
        ({"iat": at + 61}, False),
        ({"nbf": at + 60}, True),
        ({"nbf": at + 61}, False),
        ({"nbf": at - 5000}, True),
        ({"iat": at + 61, "nbf": at}, False),
        ({"iat": at - 24 * 3600 - 59, "exp": at + 99999}, True),
        ({"iat": at - 24 * 3600 - 60, "exp": at + 99999}, False),
        ({"exp": at + 0.5}, True),
    ):
        if holds:
            assert read(token(claims(**body))).subject == "s-1"
        else:
            with pytest.raises(TokenRefusedError):
                read(token(claims(**body)))


def key_set(*keys: Any) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


def test_of_a_key_set_only_what_checks_signatures_is_used() -> None:
    whole = public(RSA, "r")
    left_out = [
        7,
        {},
        {"kty": "RSA", "kid": "x"},
        {"kty": ["RSA"]},
        OctKey.generate_key(256).as_dict() | {"kid": "h"},
        RSA.as_dict(private=True) | {"kid": "private"},
        whole | {"use": "enc"},
        whole | {"key_ops": ["encrypt"]},
        whole | {"key_ops": "verify"},
        whole | {"alg": "RS512"},
        whole | {"alg": "HS256"},
        whole | {"alg": 7},
        whole | {"kid": 7},
        whole | {"n": "AQAB"},
        whole | {"n": "*"},
        whole | {"n": 7},
        whole | {"e": ""},
        public(EC, "e") | {"x": "AA"},
        public(ED, "o") | {"x": "AA"},
        public(ECKey.generate_key("P-384"), "p384"),
        public(ECKey.generate_key("P-521"), "p521"),
        public(OKPKey.generate_key("X25519"), "x25519"),
        public(OKPKey.generate_key("Ed448"), "ed448"),
        public(RSAKey.generate_key(1024), "short"),
    ]
    fine = [whole | {"use": "sig", "alg": "RS256", "key_ops": ["verify"], "x5c": ["?"]}, public(ED, None, alg="EdDSA")]
    found = jws.keys_in(key_set(*left_out, *fine))
    assert [(key.kid, key.algorithms) for key in found] == [("r", {"RS256"}), (None, {"EdDSA"})]


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": []}', b'{"keys": [], "keys": []}', key_set(*[{}] * 101)]
)
def test_what_is_no_key_set_is_refused(document: bytes) -> None:
    with pytest.raises(TokenRefusedError):
        jws.keys_in(document)


ID_EXPECTED = ExpectedClaims("https://issuer.test", "console", timedelta(seconds=60), timedelta(hours=24))


def signed_in(
    body: Json, *, typ: str | None = "JWT", alg: str = "RS256", nonce: str = "n", access: str | None = None
) -> TokenClaims:
    header = Header(alg, typ, None)
    whole = claims(aud="console", client_id=None, nonce="n") | body
    return id_token(header, whole, ID_EXPECTED, NOW, nonce=nonce, access=access)


def test_an_id_token_tells_who_signed_in() -> None:
    for typ, body in ((None, {}), ("JWT", {"azp": "console"}), ("jwt", {"aud": ["console", "x"], "azp": "console"})):
        told = signed_in(body, typ=typ)
        assert (told.subject, told.client, told.is_system) == ("s-1", "console", False)


@pytest.mark.parametrize("alg", ["RS256", "EdDSA"])
def test_an_access_token_is_bound_to_its_id_token(alg: str) -> None:
    bound = {"at_hash": half_hash(alg, "opaque")}
    assert signed_in(bound, alg=alg, access="opaque").subject == "s-1"
    assert signed_in(bound, alg=alg).subject == "s-1"
    assert signed_in({}, alg=alg, access="opaque").subject == "s-1"
    for at_hash in (bound, {"at_hash": ""}, {"at_hash": 7}):
        with pytest.raises(TokenRefusedError, match="at_hash"):
            signed_in(at_hash, alg=alg, access="another")


def test_the_half_hash_is_that_of_the_specification() -> None:
    """OpenID Connect Core 1.0, appendix A.3."""
    assert half_hash("RS256", "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y") == "77QmUPtjPfzWtF2AnpK9RQ"


@pytest.mark.parametrize(
    ("body", "typ"),
    [
        ({}, "at+jwt"),
        ({}, "logout+jwt"),
        ({"nonce": "other"}, "JWT"),
        ({"nonce": 7}, "JWT"),
        ({"nonce": "nönce"}, "JWT"),
        ({"azp": "other"}, "JWT"),
        ({"azp": 7}, "JWT"),
        ({"aud": ["console", "other"]}, "JWT"),
        ({"aud": "other"}, "JWT"),
        ({"iss": "https://other.test"}, "JWT"),
        ({"exp": int(NOW.timestamp()) - 60}, "JWT"),
    ],
)
def test_an_id_token_of_another_sort_sign_in_or_client_is_refused(body: Json, typ: str) -> None:
    with pytest.raises(TokenRefusedError):
        signed_in(body, typ=typ)


# The parser


def judged(text: str) -> None:
    """Read a text as a token of either sort: it is taken or refused, and nothing else can happen."""
    try:
        header = jws.header_of(text)
        found = jws.claims_in(text, header, jws.key_for(header, KEYS))
        id_token(header, found, ID_EXPECTED, NOW, nonce="n", access="a")
        access_token(header, found, EXPECTED, NOW)
    except TokenRefusedError:
        pass


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["alg", "typ", "kid", "crit", "jwk", "jku", "x5u", "x5c", "b64", "enc", "zip", "cty"])
CLAIMS = st.sampled_from(
    ["iss", "aud", "sub", "exp", "iat", "nbf", "jti", "client_id", "groups", "name", "azp", "nonce"]
)


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")) | st.from_regex(r"[\w-]+\.[\w-]+\.[\w-]+"))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(TokenRefusedError):
        read(text)


@given(st.binary(), st.binary(), st.binary())
def test_any_three_parts_are_refused(header: bytes, body: bytes, seal: bytes) -> None:
    with pytest.raises(TokenRefusedError):
        read(f"{b64(header)}.{b64(body)}.{b64(seal)}")


@given(st.dictionaries(NAMES, VALUES | st.sampled_from(["RS256", "at+jwt", "r"])), st.binary(max_size=300))
def test_any_header_is_refused_without_a_signature(header: Json, seal: bytes) -> None:
    with pytest.raises(TokenRefusedError):
        read(f"{b64(json.dumps({'alg': 'RS256', 'typ': 'at+jwt', 'kid': 'r'} | header).encode())}.e30.{b64(seal)}")


@given(st.integers(0, 5000), st.integers(0, 255))
@example(0, ord("."))
def test_a_changed_byte_is_refused(place: int, byte: int) -> None:
    whole = TOKEN.encode()
    at = place % len(whole)
    changed = whole[:at] + bytes([byte]) + whole[at + 1 :]
    if changed != whole:
        with pytest.raises(TokenRefusedError):
            read(changed.decode("latin-1"))


TOKEN = token()


@given(st.dictionaries(CLAIMS, VALUES | st.just(claims()["iat"]) | st.just("n")), st.sampled_from(["at+jwt", "JWT"]))
def test_any_signed_claims_are_taken_or_refused(body: Json, typ: str) -> None:
    judged(token(json.dumps(claims() | body).encode(), typ=typ))


@given(st.binary() | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_signed_bytes_are_taken_or_refused(body: bytes) -> None:
    judged(token(body))


@given(VALUES.map(lambda value: json.dumps({"keys": [value, public(RSA, "r")]}).encode()) | st.binary())
def test_any_key_set_is_read_or_refused(document: bytes) -> None:
    with contextlib.suppress(TokenRefusedError):
        assert jws.keys_in(document)


@given(st.dictionaries(st.sampled_from(["n", "e", "x", "y", "crv", "kty", "use", "key_ops", "alg", "kid"]), VALUES))
def test_any_change_to_a_key_is_read_or_refused(change: Json) -> None:
    for key in (RSA, EC, ED):
        with contextlib.suppress(TokenRefusedError):
            assert jws.keys_in(key_set(public(key, "k") | change, public(RSA, "r")))[-1].kid == "r"


# Groups


def test_one_group_as_a_text_is_a_list_of_one() -> None:
    assert read(token(claims(groups="legal"))).groups == {"legal"}


@pytest.mark.parametrize(
    "more",
    [
        {"_claim_names": {"groups": "src1"}},
        {"_claim_names": {"groups": "src1"}, "groups": ["legal"]},
        {"hasgroups": True},
        {"hasgroups": "true", "groups": []},
    ],
)
def test_groups_that_are_elsewhere_are_not_known_and_not_none(more: Json) -> None:
    told = read(token(claims(**more)))
    assert (told.groups, told.has_more_groups) == (None, True)


@pytest.mark.parametrize("more", [{}, {"_claim_names": {"roles": "src1"}}, {"_claim_names": "x"}, {"hasgroups": False}])
def test_what_says_nothing_of_groups_is_no_overage(more: Json) -> None:
    told = read(token(claims(**more)))
    assert (told.groups, told.has_more_groups) == (None, False)


def test_groups_within_an_object_that_is_elsewhere_are_not_known() -> None:
    deep = ExpectedClaims("i", "a", timedelta(), timedelta(days=1), groups_claim="realm.roles")
    body = claims(iss="i", aud="a", _claim_names={"realm": "src1"})
    assert access_token(Header("RS256", "at+jwt", None), body, deep, NOW).has_more_groups


def test_the_party_serves_as_the_client_where_that_is_not_named() -> None:
    assert read(token(claims(client_id=None, azp="console"))).client == "console"


def test_groups_stand_for_the_roles_of_the_mapping() -> None:
    stands = [
        GroupMapping("law", "reviewer:legal", None),
        GroupMapping("etl", "exporter", "hd_1"),
        GroupMapping("etl", "reviewer:legal", "hd_1"),
    ]
    assert group_roles.roles_for({"law", "else"}, stands, kind="person") == {("reviewer:legal", None)}
    assert group_roles.roles_for({"etl"}, stands, kind="person") == {("exporter", "hd_1"), ("reviewer:legal", "hd_1")}
    assert group_roles.roles_for({"law", "etl"}, stands, kind="system") == {("exporter", "hd_1")}
    assert group_roles.roles_for(set(), stands, kind="person") == frozenset()


TODAY = date(2026, 11, 27)


def test_a_role_is_granted_prolonged_and_withdrawn_with_its_group() -> None:
    held = [
        GroupGrant("gr_1", "auditor", None, TODAY + timedelta(days=2)),
        GroupGrant("gr_2", "exporter", "hd_1", TODAY + timedelta(days=1)),
        GroupGrant("gr_3", "exporter", "hd_2", TODAY + timedelta(days=1)),
    ]
    wanted = frozenset({("auditor", None), ("exporter", "hd_1"), ("exporter", None), ("auditor", "hd_9")})
    found = group_roles.plan_changes(wanted, held, TODAY, issued_at=NOW, last_issued_at=None)
    assert found == GrantChanges([("auditor", "hd_9"), ("exporter", None)], ["gr_2"], ["gr_3"])
    assert found
    assert not group_roles.plan_changes(frozenset(), [], TODAY, issued_at=NOW, last_issued_at=None)


def test_what_was_told_earlier_changes_nothing_and_in_the_same_moment_only_takes() -> None:
    held = [GroupGrant("gr_1", "auditor", None, TODAY)]
    for ahead, expected in (
        (-1, GrantChanges((), (), ())),
        (0, GrantChanges((), (), ["gr_1"])),
        (1, GrantChanges([("exporter", None)], [], ["gr_1"])),
    ):
        issued_at = NOW + timedelta(seconds=ahead)
        wanted = frozenset({("exporter", None)})
        assert group_roles.plan_changes(wanted, held, TODAY, issued_at=issued_at, last_issued_at=NOW) == expected


def test_whatever_order_tokens_come_in_the_newest_decides() -> None:
    told = [(0, {"auditor"}), (1, set[str]()), (2, {"exporter"}), (3, {"auditor", "exporter"}), (4, {"exporter"})]
    for order in itertools.permutations(told):
        has: set[str] = set()
        last: datetime | None = None
        for second, roles in order:
            at = NOW + timedelta(seconds=second)
            held = [GroupGrant(role, role, None, TODAY) for role in has]
            wanted = frozenset((role, None) for role in roles)
            found = group_roles.plan_changes(wanted, held, TODAY, issued_at=at, last_issued_at=last)
            has = (has | {role for role, _ in found.granted}) - set(found.withdrawn)
            last = at if last is None else max(last, at)
        assert has == {"exporter"}
