"""Tokens of the identity provider."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Edit, one

LOGINS: Final = "tests/api/test_oidc.py::"
JOSE: Final = "service/identity/oidc/jws.py"
LOGINS_: Final = "service/identity/linked_identities.py"
DOOR: Final = "service/identity/authentication.py"
PROVIDER_: Final = "service/identity/oidc/provider.py"
EXPORTS: Final = "tests/attacks/test_exports.py::"
PROVIDED: Final = "tests/faults/test_provider.py::"

DEFENCES: Final = (
    one(
        "A126",
        "a token is for its audience",
        "service/identity/oidc/claims.py",
        "_token_claims",
        "expected.audience not in _audience(claims)",
        "False",
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    one(
        "A126",
        "a token is of its type",
        "service/identity/oidc/claims.py",
        "access_token",
        "_kind(header) not in ACCESS_TYPES",
        "False",
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    one(
        "A127",
        "a token ends",
        "service/identity/oidc/claims.py",
        "_token_claims",
        "expires + expected.skew <= now",
        "False",
        LOGINS + "test_a_token_ends_with_its_time",
    ),
    Defence(
        "A132",
        "what is older is not heard",
        (
            Edit(
                "service/identity/oidc/group_roles.py",
                "plan_changes",
                "last_issued_at is not None and issued_at < last_issued_at",
                "False",
            ),
            Edit(
                "service/identity/linked_identities.py",
                "find_principal",
                "linked.told_at is None or claims.issued_at > linked.told_at",
                "True",
            ),
        ),
        LOGINS + "test_an_older_token_gives_nothing_back",
    ),
    one(
        "A137",
        "a provider's description is its own",
        "service/identity/oidc/provider.py",
        "Provider._discover",
        "metadata.issuer != self.expected.issuer",
        "False",
        "tests/faults/test_provider.py::test_a_description_of_somebody_else_or_with_other_addresses_is_not_used",
    ),
    one(
        "A126",
        "a token is of its issuer",
        "service/identity/oidc/claims.py",
        "_token_claims",
        "_text(claims, 'iss', max_characters=2048) != expected.issuer",
        "False",
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    one(
        "A126",
        "a token is signed",
        JOSE,
        "claims_in",
        "jws.deserialize_compact(…)",
        "",
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    Defence(
        "A126",
        "`none` is no algorithm: it is on no list, no key has it, and it is no signature",
        (
            Edit(
                JOSE,
                "",
                "{'RS256', 'ES256', 'EdDSA', 'Ed25519'}",
                "{'RS256', 'ES256', 'EdDSA', 'Ed25519', 'none'}",
            ),
            Edit(
                JOSE,
                "key_for",
                "[key for key in named if header.alg in key.algorithms]",
                "named",
            ),
            Edit(
                JOSE,
                "claims_in",
                "jws.deserialize_compact(…)",
                'if header.alg != "none":\n            jws.deserialize_compact(token, key.key, registry=registry)',
            ),
        ),
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    Defence(
        "A126",
        "a public key is no shared secret: its algorithm is on no list, no key has it, and none is used for it",
        (
            Edit(
                JOSE,
                "",
                "{'RS256', 'ES256', 'EdDSA', 'Ed25519'}",
                "{'RS256', 'ES256', 'EdDSA', 'Ed25519', 'HS256'}",
            ),
            Edit(
                JOSE,
                "key_for",
                "[key for key in named if header.alg in key.algorithms]",
                "named",
            ),
            Edit(
                JOSE,
                "claims_in",
                "jws.deserialize_compact(…)",
                (
                    'if header.alg == "HS256":\n'
                    "            import hmac\n"
                    "\n"
                    '            head, _, seal = token.rpartition(".")\n'
                    '            made = hmac.digest(key.key.as_pem(private=False), head.encode(), "sha256")\n'
                    "            if made != urlsafe_b64decode(to_bytes(seal)):\n"
                    "                raise ValueError\n"
                    "        else:\n"
                    "            jws.deserialize_compact(token, key.key, registry=registry)"
                ),
            ),
        ),
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    Defence(
        "A128",
        "a disabled principal is nobody, when a token is looked up and when it is used",
        (
            Edit(
                LOGINS_,
                "_find_linked_identity",
                "principal.disabled_at is None",
                "",
            ),
            Edit(
                LOGINS_,
                "",
                "Principal.disabled_at.is_(None)",
                "",
            ),
        ),
        LOGINS + "test_a_disabled_person_is_out_by_token_too",
    ),
    one(
        "A129",
        "a login is that of the principal whom an admin names",
        LOGINS_,
        "link",
        "_add(…)",
        (
            "wider = PrincipalIn(name=body.subject, kind='person')\n"
            "        made = await operations.create_principal(tx, caller, wider)\n"
            "        linked = _add(tx, caller, made.id, provider, body.subject)"
        ),
        LOGINS + "test_one_person_is_one_principal_over_keys_and_logins",
    ),
    one(
        "A130",
        "a subject stays its principal's",
        LOGINS_,
        "link",
        "linked.principal != principal.id",
        "False",
        LOGINS + "test_a_subject_is_one_principals_for_good",
    ),
    one(
        "A131",
        "to link a login takes an admin of all handlers",
        LOGINS_,
        "link",
        "caller.require_everywhere(…)",
        "",
        LOGINS + "test_only_an_admin_of_all_links_logins",
    ),
    one(
        "A133",
        "a role goes with its group",
        "service/identity/oidc/group_roles.py",
        "plan_changes",
        "withdrawn = [grant.grant for grant in grants if (grant.role, grant.handler) not in roles]",
        "withdrawn: list[str] = []",
        LOGINS + "test_groups_give_roles_and_take_them_at_once",
    ),
    one(
        "A133",
        "a role lapses where its group is seen no more",
        "service/identity/oidc/group_roles.py",
        "last_day",
        "GRACE_DAYS",
        "365 * GRACE_DAYS",
        LOGINS + "test_a_role_of_a_group_lapses_where_the_group_is_seen_no_more",
    ),
    one(
        "A133",
        "an author stays one, whatever group they come into",
        "service/transfers/workflow.py",
        "review_denial",
        "not are_two({reviewer}, authors)",
        "False",
        LOGINS + "test_a_change_of_group_between_two_stages_makes_nobody_another",
    ),
    Defence(
        "A134",
        "a system has no reviewer's role, when a group gives it and when it is used",
        (
            Edit(
                "service/identity/oidc/group_roles.py",
                "roles_for",
                "is_role_possible(mapping.role, kind)",
                "",
            ),
            Edit(
                "service/identity/operations.py",
                "caller_of",
                "[(role, handler) for role, handler in roles if role is None or is_role_possible(role, kind)]",
                "[(role, handler) for role, handler in roles]",
            ),
        ),
        LOGINS + "test_a_system_reviews_nothing_whatever_group_it_is_in_and_is_no_person",
    ),
    Defence(
        "A135",
        "whatever ends a login or a principal closes the gate",
        (
            Edit(
                LOGINS_,
                "end",
                "close_gate(…)",
                "",
            ),
            Edit(
                "service/identity/operations.py",
                "disable_principal",
                "close_gate(…)",
                "",
            ),
            Edit(
                "service/identity/routes.py",
                "disable_principal",
                "gate=",
                "",
            ),
            Edit(
                "service/identity/routes.py",
                "end_login",
                "gate=",
                "",
            ),
        ),
        EXPORTS + "test_whatever_takes_a_right_away_waits_for_the_decisions_that_are_under_way",
    ),
    one(
        "A136",
        "a header holds one proof, and all of it",
        DOOR,
        "token_in",
        "rest.strip(' ')",
        "rest.strip(' ').partition(' ')[0]",
        LOGINS + "test_a_header_with_both_or_neither_is_refused",
    ),
    one(
        "A138",
        "the provider is asked for new keys once in a while",
        PROVIDER_,
        "Cached.get",
        "self._ticks() < self._tried_at + RETRY_SECONDS",
        "False",
        PROVIDED + "test_a_new_key_is_fetched_when_it_is_first_seen_and_forged_ones_make_one_call_in_a_while",
    ),
    one(
        "A139",
        "a token is judged outside of any transaction",
        "service/http/exchange.py",
        "Admission.__call__",
        "identify(…)",
        (
            "async def within(tx: Transaction) -> Credential:\n"
            "            await tx.connection()\n"
            "            return await identify(request, self.takes_session)\n"
            "        credential = await request.app.state.database.transaction(within)"
        ),
        PROVIDED + "test_a_slow_provider_holds_up_nobody_else",
    ),
    one(
        "A329",
        "the signs of providers' machines are known",
        "service/identity/oidc/machine_claims.py",
        "kind_of",
        "any((_matches(member(claims, name), patterns) for name, patterns in machine_claims))",
        "False",
        LOGINS + "test_a_machine_is_no_person_and_nobody_is_provisioned_of_whom_nothing_is_certain",
    ),
    one(
        "A329",
        "nobody is provisioned of whom nothing is certain",
        "service/identity/linked_identities.py",
        "provision",
        "raise uncertain_kind()",
        "claims = __import__('dataclasses').replace(claims, kind='person')",
        LOGINS + "test_a_machine_is_no_person_and_nobody_is_provisioned_of_whom_nothing_is_certain",
    ),
    one(
        "A330",
        "groups that are elsewhere are not none",
        "service/identity/oidc/authorization_code.py",
        "AuthorizationCodeFlow.finish",
        "claims.has_more_groups",
        "",
        "tests/api/test_sessions.py::test_groups_that_are_too_many_for_a_token_take_no_role",
    ),
)
