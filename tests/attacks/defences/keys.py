"""Keys, grants and delegations."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Edit, one

WORKFLOW: Final = "service/transfers/workflow.py"
CALLER: Final = "service/access/caller.py"
APPROVAL: Final = "tests/attacks/test_approval.py::"
KEYS: Final = "tests/attacks/test_keys.py::"
GRANTS: Final = "tests/api/test_grants.py::"
TWO: Final = "tests/api/test_two_persons.py::"
OUTGOING: Final = "tests/faults/test_outgoing.py::"
FORM: Final = "service/identity/api_keys.py"
RULES: Final = "service/access/grant_rules.py"
PRINCIPALS: Final = "service/identity/operations.py"
GRANTING: Final = "service/identity/grants.py"
DELEGATIONS: Final = "service/identity/delegations.py"
BREAKING: Final = "service/identity/break_glass.py"
GLASS: Final = "tests/api/test_break_glass.py::"

DEFENCES: Final = (
    one(
        "A68",
        "a revoked key does not stand",
        "service/identity/operations.py",
        "    return key.revoked_at is None and principal",
        "    return principal",
        KEYS + "test_a_forged_key_is_refused_in_the_words_in_which_an_unknown_one_is",
    ),
    one(
        "A69",
        "keys are compared in constant time",
        CALLER,
        "        return stored is not None and hmac.compare_digest(stored, self.sha256)\n",
        "        return stored == self.sha256\n",
        KEYS + "test_a_key_is_compared_in_constant_time_whether_it_is_known_or_not",
    ),
    one(
        "A73",
        "the private key is not published",
        "service/permits/tokens.py",
        "        return {**self._key.as_dict(private=False), ",
        "        return {**self._key.as_dict(private=True), ",
        KEYS + "test_a_permits_token_is_believed_by_its_signature_alone",
    ),
    one(
        "A74",
        "there is no token for what does not hold",
        "service/permits/operations.py",
        (
            "    if shown.status != Standing.ACTIVE:\n"
            '        raise Conflict(f"The permit is {shown.status}; there is no token for it.")\n'
        ),
        "",
        KEYS + "test_a_permit_that_no_longer_holds_has_no_token_and_lets_nothing_out",
    ),
    one(
        "A75",
        "a repeat is not shown the secret again",
        "service/identity/routes.py",
        'kept=lambda made: made.model_copy(update={"secret": None}),',
        "",
        KEYS + "test_the_log_and_lists_never_show_a_secret",
    ),
    one(
        "A110",
        "authors and earlier reviewers stay what they are",
        WORKFLOW,
        "    if not are_two({reviewer}, authors):\n",
        "    if False:\n",
        APPROVAL + "test_whoever_changes_roles_between_two_stages_stays_what_they_were",
    ),
    Defence(
        "A112",
        "whoever asked does not confirm, by any key",
        (
            Edit("service/access/grant_rules.py", "    if not are_two({by.principal}, askers):\n", "    if False:\n"),
            Edit("service/access/grant_rules.py", "    if not are_two(by.seen_by, askers):\n", "    if False:\n"),
        ),
        GRANTS + "test_whoever_asked_does_not_confirm_not_even_by_another_key",
    ),
    one(
        "A113",
        "the hand that made a key counts",
        "service/access/grant_rules.py",
        "    if not are_two(by.seen_by, askers):\n",
        "    if False:\n",
        GRANTS + "test_a_key_that_the_asker_made_for_another_admin_confirms_nothing",
    ),
    one(
        "A115",
        "what an admin lends for somebody waits",
        "service/identity/delegations.py",
        "        effective_at=tx.now if is_own else None,\n",
        "        effective_at=tx.now,\n",
        GRANTS + "test_an_admin_alone_makes_nobody_a_stand_in_for_somebody_else",
    ),
    one(
        "A116",
        "nobody lends to themselves",
        "service/access/grant_rules.py",
        "    if not are_two(by.persons, {delegate}):\n",
        "    if False:\n",
        GRANTS + "test_no_admin_makes_themselves_a_stand_in",
    ),
    one(
        "A122",
        "one address inside bars a host",
        "service/http/egress_policy.py",
        "    if not target.is_trusted and not all(is_public(address) for address in addresses):\n",
        "    if not target.is_trusted and not any(is_public(address) for address in addresses):\n",
        OUTGOING + "test_nothing_is_sent_where_one_address_is_inside",
    ),
    one(
        "A123",
        "what was checked is what is called",
        "service/http/egress.py",
        "        target.url.copy_with(host=address),\n",
        "        target.url,\n",
        OUTGOING + "test_a_name_that_is_public_first_and_private_then_is_never_called_inside",
    ),
    one(
        "A124",
        "redirects are not followed",
        "service/http/egress.py",
        "trust_env=False, follow_redirects=False, timeout",
        "trust_env=False, follow_redirects=True, timeout",
        OUTGOING + "test_a_redirect_is_an_answer_and_is_not_followed",
    ),
    one(
        "A70",
        "a key is all of a header, and nothing else is in it",
        FORM,
        '_BEARER.fullmatch(authorization or "")',
        '_BEARER.search(authorization or "")',
        KEYS + "test_a_key_within_something_else_opens_nothing",
    ),
    Defence(
        "A71",
        "a key has its form, and all of it is compared",
        (
            Edit(
                FORM,
                '(ob_live_[0-9a-hjkmnp-tv-z]{12}_[0-9a-hjkmnp-tv-z]{52}) *")',
                '(\\S+) *")',
            ),
            Edit(
                CALLER,
                "        return stored is not None and hmac.compare_digest(stored, self.sha256)\n",
                "        return stored is not None\n",
            ),
        ),
        KEYS + "test_a_principals_id_or_name_is_no_key",
    ),
    one(
        "A72",
        "without a provider no token is taken; without this it is a fault, and still nobody",
        "service/identity/authentication.py",
        "        if self.provider is None:\n            raise Unauthenticated(",
        "        if self.provider is False:\n            raise Unauthenticated(",
        KEYS + "test_a_permits_token_is_no_key",
    ),
    Defence(
        "A76",
        "nobody grants to themselves, nor what they would have the use of",
        (
            Edit(
                RULES,
                "    if not are_two(by.persons, {ask.grantee}):\n        return (",
                "    if False:\n        return (",
            ),
            Edit(
                RULES,
                "    if not are_two(by.persons, ask.users):\n",
                "    if False:\n",
            ),
        ),
        KEYS + "test_nobody_gives_themselves_a_role_by_any_member",
    ),
    one(
        "A187",
        "the hand that made a key counts where a role is given",
        RULES,
        "    if not are_two(by.persons, {ask.grantee}):\n",
        "    if ask.grantee == by.principal:\n",
        KEYS + "test_nobody_gives_themselves_a_role_by_a_key_that_they_made_for_another_admin",
    ),
    one(
        "A77",
        "whom a key is for is told",
        PRINCIPALS,
        'handler=None, details=details, audience=[principal], href="/v1/me")',
        'handler=None, details=details, audience=[], href="/v1/me")',
        KEYS + "test_a_key_that_an_admin_makes_for_somebody_is_told_to_them",
    ),
    one(
        "A78",
        "the last admin stays",
        RULES,
        "    return bool(remaining) or not relied_on\n",
        "    return True\n",
        KEYS + "test_the_last_admin_is_not_removed",
    ),
    one(
        "A79",
        "a disabled principal's keys do not stand",
        PRINCIPALS,
        "key.revoked_at is None and principal.disabled_at is None and (key",
        "key.revoked_at is None and (key",
        "tests/api/test_identity.py::test_a_disabled_principal_is_out_with_all_of_its_keys",
    ),
    one(
        "A111",
        "what takes two waits for the second",
        GRANTING,
        "        effective_at=None if waits else tx.now,\n",
        "        effective_at=tx.now,\n",
        GRANTS + "test_a_role_that_takes_two_does_nothing_until_another_admin_confirms",
    ),
    one(
        "A114",
        "names are compared as they read, before the database refuses a second one",
        PRINCIPALS,
        "where(Principal.folded == folded(wanted.name))",
        "where(Principal.name == wanted.name)",
        GRANTS + "test_names_that_read_the_same_are_one_principal",
    ),
    one(
        "A117",
        "only a role of one's own is lent",
        DELEGATIONS,
        "    held = await _roles_of(tx, delegator, handler)\n",
        "    held = await _roles_of(tx, delegator, handler) | {lent.role for lent in caller.delegations}\n",
        GRANTS + "test_a_stand_in_lends_nothing_on",
    ),
    Defence(
        "A118",
        "whoever takes an admin away holds the gate",
        (
            Edit(
                GRANTING,
                "    await close_gate(tx)\n    grant = await granted(",
                "    grant = await granted(",
            ),
            Edit(
                PRINCIPALS,
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
                "        lambda tx, caller: grants.read_grant(tx, caller, grant_id, lock=True),\n"
                '        gate="close",\n',
                "        lambda tx, caller: grants.read_grant(tx, caller, grant_id, lock=True),\n",
            ),
        ),
        GRANTS + "test_two_admins_who_remove_each_other_at_once_leave_one",
    ),
    one(
        "A119",
        "roles that take two are asked for anew",
        PRINCIPALS,
        "    await ask_anew(tx, caller, principal)\n",
        "",
        GRANTS + "test_letting_somebody_in_again_gives_no_role_back_that_takes_two",
    ),
    one(
        "A120",
        "a grant ends with its last day",
        "service/access/directory.py",
        "        or_(grant.valid_until.is_(None), grant.valid_until >= today),\n",
        "",
        GRANTS + "test_a_reviewer_whose_days_are_over_is_offered_nothing_and_decides_nothing",
    ),
    one(
        "A121",
        "an admin sees the grants of their handlers alone",
        RULES,
        "    return handler is not None and handler in by.admin_of\n",
        "    return True\n",
        GRANTS + "test_an_admin_of_one_handler_keeps_to_its_grants",
    ),
    one(
        "A141",
        "break-glass access is the auditor's role, and no other",
        BREAKING,
        "grants={**caller.grants, Role.AUDITOR: wider})",
        "grants=dict.fromkeys(Role, reach))",
        GLASS + "test_it_opens_no_review_no_resumption_and_no_export",
    ),
    one(
        "A142",
        "whoever watches is told of it",
        BREAKING,
        "        audience={access.principal, *people},\n",
        "        audience={access.principal},\n",
        GLASS + "test_it_is_told_to_those_who_watch_and_every_act_under_it_says_so",
    ),
    one(
        "A142",
        "every act under it says so",
        "service/audit/operations.py",
        "    if caller.break_glass is not None:\n",
        "    if False:\n",
        GLASS + "test_it_is_told_to_those_who_watch_and_every_act_under_it_says_so",
    ),
    one(
        "A143",
        "it is for some hours",
        "service/identity/schemas.py",
        "Field(strict=True, ge=1, le=8)]\n",
        "Field(strict=True, ge=1)]\n",
        GLASS + "test_what_it_is_for_and_for_how_long_is_limited",
    ),
    one(
        "A143",
        "it ends by itself",
        "service/access/tables.py",
        "and_(cls.closed_at.is_(None), cls.ends_at > now)\n",
        "and_(cls.closed_at.is_(None), cls.ends_at > cls.opened_at)\n",
        GLASS + "test_an_admin_reads_as_an_auditor_until_it_ends",
    ),
    one(
        "A143",
        "it is to its handler",
        BREAKING,
        "    reach: Reach = EVERYWHERE if access.handler is None else frozenset({access.handler})\n",
        "    reach: Reach = EVERYWHERE\n",
        GLASS + "test_access_to_one_handler_is_to_that_one",
    ),
    Defence(
        "A144",
        "it is an admin's, who loses it with the role: it is closed then, and looked at each time",
        (
            Edit(
                PRINCIPALS,
                "    await break_glass.end_of(tx, caller, principal.id)\n",
                "",
            ),
            Edit(
                GRANTING,
                "        await break_glass.end_of(tx, caller, grant.principal)\n",
                "        pass\n",
            ),
            Edit(
                BREAKING,
                "    if access is None or grant_rules.break_denial(party(caller), access.handler) is not None:\n",
                "    if access is None:\n",
            ),
            Edit(
                PRINCIPALS,
                "await break_glass.opened(tx, caller) if caller.grants.get(Role.ADMIN) else caller",
                "await break_glass.opened(tx, caller)",
            ),
        ),
        GLASS + "test_whoever_is_no_admin_any_more_has_no_access",
    ),
    one(
        "A145",
        "the setting is looked at",
        "service/commands/access.py",
        "    if not Settings().keys_by_command:\n",
        "    if False:\n",
        "tests/api/test_commands.py::test_a_setting_forbids_keys_by_command",
    ),
    one(
        "A327",
        "an entry says which credential was shown, and who else has seen it",
        "service/audit/operations.py",
        "    if caller.credential is not None:\n",
        "    if False:\n",
        TWO + "test_every_entry_names_the_credential_and_who_else_has_seen_it",
    ),
    one(
        "A327",
        "the verifier compares everybody who could have decided",
        "service/verifier/replay.py",
        "for one in others for party in one.by.persons}",
        "for one in others for party in (one.reviewer, one.behalf)}",
        "tests/unit/test_replay.py::test_two_keys_of_one_maker_are_one_hand_in_two_stages",
    ),
    one(
        "A328",
        "somebody of other handlers alone is as good as nobody",
        DELEGATIONS,
        "        query = query.where(or_(mine.exists(), ~roles.exists()))\n",
        "",
        TWO + "test_a_name_of_other_handlers_alone_is_as_good_as_nobodys",
    ),
)
