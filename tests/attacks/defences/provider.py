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
        "    if expected.audience not in _audience(claims):\n",
        "    if False:\n",
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    one(
        "A126",
        "a token is of its type",
        "service/identity/oidc/claims.py",
        "    if _kind(header) not in ACCESS_TYPES:\n",
        "    if False:\n",
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    one(
        "A127",
        "a token ends",
        "service/identity/oidc/claims.py",
        "    if expires + expected.skew <= now:\n",
        "    if False:\n",
        LOGINS + "test_a_token_ends_with_its_time",
    ),
    Defence(
        "A132",
        "what is older is not heard",
        (
            Edit(
                "service/identity/oidc/group_roles.py",
                "    if last_told_at is not None and told_at < last_told_at:\n",
                "    if False:\n",
            ),
            Edit(
                "service/identity/linked_identities.py",
                "(login.told_at is None or told.issued_at > login.told_at)",
                "True",
            ),
        ),
        LOGINS + "test_an_older_token_gives_nothing_back",
    ),
    one(
        "A137",
        "a provider's description is its own",
        "service/identity/oidc/provider.py",
        "        if metadata.issuer != self.expected.issuer:\n",
        "        if False:\n",
        "tests/faults/test_provider.py::test_a_description_of_somebody_else_or_with_other_addresses_is_not_used",
    ),
    one(
        "A126",
        "a token is of its issuer",
        "service/identity/oidc/claims.py",
        '    if _text(claims, "iss", longest=2048) != expected.issuer:\n',
        "    if False:\n",
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    one(
        "A126",
        "a token is signed",
        JOSE,
        "        jws.deserialize_compact(token, key.key, registry=registry)\n",
        "        pass\n",
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    Defence(
        "A126",
        "`none` is no algorithm: it is on no list, no key has it, and it is no signature",
        (
            Edit(
                JOSE,
                'frozenset({"RS256", "ES256", "EdDSA", "Ed25519"})\n',
                'frozenset({"RS256", "ES256", "EdDSA", "Ed25519", "none"})\n',
            ),
            Edit(
                JOSE,
                "    fitting = [key for key in named if header.alg in key.algorithms]\n",
                "    fitting = named\n",
            ),
            Edit(
                JOSE,
                "        jws.deserialize_compact(token, key.key, registry=registry)\n",
                (
                    '        if header.alg != "none":\n'
                    "            jws.deserialize_compact(token, key.key, registry=registry)\n"
                ),
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
                'frozenset({"RS256", "ES256", "EdDSA", "Ed25519"})\n',
                'frozenset({"RS256", "ES256", "EdDSA", "Ed25519", "HS256"})\n',
            ),
            Edit(
                JOSE,
                "    fitting = [key for key in named if header.alg in key.algorithms]\n",
                "    fitting = named\n",
            ),
            Edit(
                JOSE,
                "        jws.deserialize_compact(token, key.key, registry=registry)\n",
                (
                    '        if header.alg == "HS256":\n'
                    "            import hmac\n"
                    "\n"
                    '            head, _, seal = token.rpartition(".")\n'
                    '            made = hmac.digest(key.key.as_pem(private=False), head.encode(), "sha256")\n'
                    "            if made != urlsafe_b64decode(to_bytes(seal)):\n"
                    "                raise ValueError\n"
                    "        else:\n"
                    "            jws.deserialize_compact(token, key.key, registry=registry)\n"
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
                "    stands = login.ended_at is None and principal.disabled_at is None\n",
                "    stands = login.ended_at is None\n",
            ),
            Edit(
                LOGINS_,
                "Login.ended_at.is_(None), Principal.disabled_at.is_(None))\n",
                "Login.ended_at.is_(None))\n",
            ),
        ),
        LOGINS + "test_a_disabled_person_is_out_by_token_too",
    ),
    one(
        "A129",
        "a login is that of the principal whom an admin names",
        LOGINS_,
        "        login = _add(tx, caller, principal.id, named, wanted.subject)\n",
        (
            '        wider = PrincipalIn(name=wanted.subject, kind="person")\n'
            "        made = await operations.create_principal(tx, caller, wider)\n"
            "        login = _add(tx, caller, made.id, named, wanted.subject)\n"
        ),
        LOGINS + "test_one_person_is_one_principal_over_keys_and_logins",
    ),
    one(
        "A130",
        "a subject stays its principal's",
        LOGINS_,
        "    elif login.principal != principal.id:\n",
        "    elif False:\n",
        LOGINS + "test_a_subject_is_one_principals_for_good",
    ),
    one(
        "A131",
        "to link a login takes an admin of all handlers",
        LOGINS_,
        "    caller.require_everywhere(Role.ADMIN)\n    named = ",
        "    named = ",
        LOGINS + "test_only_an_admin_of_all_links_logins",
    ),
    one(
        "A133",
        "a role goes with its group",
        "service/identity/oidc/group_roles.py",
        "    withdrawn = [one.grant for one in held if (one.role, one.handler) not in wanted]\n",
        "    withdrawn: list[str] = []\n",
        LOGINS + "test_groups_give_roles_and_take_them_at_once",
    ),
    one(
        "A133",
        "a role lapses where its group is seen no more",
        "service/identity/oidc/group_roles.py",
        "    return today + timedelta(days=DAYS)\n",
        "    return today + timedelta(days=365 * DAYS)\n",
        LOGINS + "test_a_role_of_a_group_lapses_where_the_group_is_seen_no_more",
    ),
    one(
        "A133",
        "an author stays one, whatever group they come into",
        "service/transfers/workflow.py",
        "    if not are_two({reviewer}, authors):\n",
        "    if False:\n",
        LOGINS + "test_a_change_of_group_between_two_stages_makes_nobody_another",
    ),
    Defence(
        "A134",
        "a system has no reviewer's role, when a group gives it and when it is used",
        (
            Edit(
                "service/identity/oidc/group_roles.py",
                (
                    "    return frozenset((one.role, one.handler) for one in stands if one.group in groups and "
                    "is_fit(one.role, kind))\n"
                ),
                "    return frozenset((one.role, one.handler) for one in stands if one.group in groups)\n",
            ),
            Edit(
                "service/identity/operations.py",
                "for role, handler in roles if role is None or is_fit(role, kind)])",
                "for role, handler in roles])",
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
                "    await close_gate(tx)\n    login = await _of(",
                "    login = await _of(",
            ),
            Edit(
                "service/identity/operations.py",
                "    await close_gate(tx)\n    principal = await principal_of(",
                "    principal = await principal_of(",
            ),
            Edit(
                "service/identity/routes.py",
                "operations.disable_principal(tx, caller, principal_id),\n"
                "        lambda tx, caller: operations.read_principal(tx, caller, principal_id, lock=True),\n"
                '        gate="close",\n',
                "operations.disable_principal(tx, caller, principal_id),\n"
                "        lambda tx, caller: operations.read_principal(tx, caller, principal_id, lock=True),\n",
            ),
            Edit(
                "service/identity/routes.py",
                "        lambda tx, caller: linked_identities.read_login(tx, caller, principal_id, login_id, lock=True),\n"
                '        gate="close",\n',
                "        lambda tx, caller: linked_identities.read_login(tx, caller, principal_id, login_id, lock=True),\n",
            ),
        ),
        EXPORTS + "test_whatever_takes_a_right_away_waits_for_the_decisions_that_are_under_way",
    ),
    one(
        "A136",
        "a header holds one proof, and all of it",
        DOOR,
        '    text = rest.strip(" ")\n',
        '    text = rest.strip(" ").partition(" ")[0]\n',
        LOGINS + "test_a_header_with_both_or_neither_is_refused",
    ),
    one(
        "A138",
        "the provider is asked for new keys once in a while",
        PROVIDER_,
        "            if self._ticks() < self._tried + PAUSE:\n",
        "            if False:\n",
        PROVIDED + "test_a_new_key_is_fetched_when_it_is_first_seen_and_forged_ones_make_one_call_in_a_while",
    ),
    one(
        "A139",
        "a token is judged outside of any transaction",
        "service/http/exchange.py",
        "        proof = await identify(request, self.takes_session)\n",
        (
            "\n"
            "        async def within(tx: Transaction) -> Proof:\n"
            "            await tx.connection()\n"
            "            return await identify(request, self.takes_session)\n"
            "\n"
            "        proof = await request.app.state.database.transaction(within)\n"
        ),
        PROVIDED + "test_a_slow_provider_holds_up_nobody_else",
    ),
    one(
        "A329",
        "the signs of providers' machines are known",
        "service/identity/oidc/machine_claims.py",
        "    if any(_is_like(member(claims, name), texts) for known in (KNOWN, signs.machine) for name, texts in known.items()):\n",
        "    if False:\n",
        LOGINS + "test_a_machine_is_no_person_and_nobody_is_provisioned_of_whom_nothing_is_certain",
    ),
    one(
        "A329",
        "nobody is provisioned of whom nothing is certain",
        "service/identity/linked_identities.py",
        "    if told.kind is None:\n        raise uncertain()\n",
        '    if told.kind is None:\n        told = replace(told, kind="person")\n',
        LOGINS + "test_a_machine_is_no_person_and_nobody_is_provisioned_of_whom_nothing_is_certain",
    ),
    one(
        "A330",
        "groups that are elsewhere are not none",
        "service/identity/oidc/authorization_code.py",
        "told.groups is not None or told.has_more_groups",
        "told.groups is not None",
        "tests/api/test_sessions.py::test_groups_that_are_too_many_for_a_token_take_no_role",
    ),
)
