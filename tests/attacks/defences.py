"""The list of defences, each with what takes it away and the test that must fail without it.

`removing.py` takes them away one by one; the ordinary suite checks that each original still stands once in its file, so that the
list cannot rot.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Edit:
    """A piece of a file that stands there once, and what takes its place."""

    file: str
    original: str
    replacement: str


@dataclass(frozen=True)
class Defence:
    """Something that stands between an attack of `docs/security.md` and its end."""

    attack: str
    what: str
    edits: tuple[Edit, ...]
    test: str


def _one(attack: str, what: str, file: str, original: str, replacement: str, test: str) -> Defence:
    return Defence(attack, what, (Edit(file, original, replacement),), test)


WORKFLOW: Final = "service/transfers/workflow.py"
REVIEWS: Final = "service/transfers/reviews.py"
REQUESTS: Final = "service/transfers/operations.py"
EVIDENCE: Final = "service/transfers/evidence.py"
FILES: Final = "service/transfers/files.py"
GRADINGS: Final = "service/registry/gradings.py"
REGISTER: Final = "service/registry/operations.py"
CALLER: Final = "service/http/caller.py"
DECIDE: Final = "service/gate/decide.py"

APPROVAL: Final = "tests/attacks/test_approval.py::"
REGISTERED: Final = "tests/attacks/test_register.py::"
TENANTS: Final = "tests/attacks/test_tenants.py::"
KEYS: Final = "tests/attacks/test_keys.py::"
EXPORTS: Final = "tests/attacks/test_exports.py::"
PAPERS: Final = "tests/attacks/test_evidence.py::"
TEXTS: Final = "tests/attacks/test_texts.py::"
GROUND: Final = "tests/attacks/test_ground.py::"
PEOPLE: Final = "tests/api/test_people.py::"
TRANSFERS: Final = "tests/api/test_transfers.py::"
GRANTS: Final = "tests/api/test_grants.py::"
LOGINS: Final = "tests/api/test_oidc.py::"
OUTGOING: Final = "tests/faults/test_outgoing.py::"

ALL_SEEN: Final = Edit(
    "service/http/exchange.py",
    "        await tx.look(View(reach, caller.principal))\n",
    '        await tx.look(View("*", caller.principal))\n',
)
"""The view of a transaction, by which both the query layer and the policies of PostgreSQL go."""

ALL_REACHED: Final = Edit(
    CALLER,
    "        reach = self.reach(roles)\n        return reach == EVERYWHERE or handler in reach\n",
    "        return True\n",
)

OF_APPROVAL: Final = (
    _one(
        "A01",
        "authors do not review",
        WORKFLOW,
        "    if reviewer in authors:\n",
        "    if False:\n",
        APPROVAL + "test_an_insider_with_every_role_approves_nothing_of_their_own",
    ),
    _one(
        "A02",
        "a review is compared with principals, not with keys",
        WORKFLOW,
        "    if reviewer in earlier:\n",
        "    if False:\n",
        TRANSFERS + "test_two_keys_of_one_person_are_one_person",
    ),
    Defence(
        "A03",
        "whoever changes or submits a request becomes one of its authors",
        (
            Edit(
                REQUESTS,
                "    transfer.updated_at = tx.now\n    transfer.authors = sorted({*transfer.authors, caller.principal})\n    details =",
                "    transfer.updated_at = tx.now\n    details =",
            ),
            Edit(
                REQUESTS,
                "    transfer.revision += 1\n    transfer.authors = sorted({*transfer.authors, caller.principal})\n",
                "    transfer.revision += 1\n",
            ),
        ),
        TRANSFERS + "test_whoever_changed_the_request_does_not_review_it",
    ),
    _one(
        "A04",
        "each stage takes another person",
        WORKFLOW,
        "    if reviewer in earlier:\n",
        "    if False:\n",
        TRANSFERS + "test_each_stage_takes_another_person",
    ),
    _one(
        "A05",
        "a lent role is barred where its owner is",
        WORKFLOW,
        "    if behalf is not None and behalf in {*authors, *earlier, *recused}:\n",
        "    if False:\n",
        PEOPLE + "test_neither_the_delegate_nor_the_delegator_may_be_barred",
    ),
    _one(
        "A08",
        "systems do not review",
        WORKFLOW,
        "    if not is_person:\n",
        "    if False:\n",
        GRANTS + "test_a_system_with_a_reviewers_grant_of_before_reviews_nothing",
    ),
    _one(
        "A09",
        "a review binds to the hash that was seen",
        REVIEWS,
        "    if seen != revision.hash:\n",
        "    if False:\n",
        TRANSFERS + "test_a_review_is_of_the_revision_that_was_seen",
    ),
    _one(
        "A11",
        "what is decided is not changed",
        REQUESTS,
        "_CHANGEABLE = frozenset({Status.DRAFT, Status.RETURNED, Status.IN_REVIEW})\n",
        "_CHANGEABLE = frozenset(Status)\n",
        APPROVAL + "test_an_approved_request_is_not_changed_any_more",
    ),
    _one(
        "A13",
        "only the open stage is decided",
        REVIEWS,
        "        if stage.status == StageStatus.OPEN and stage.name == wanted:\n",
        "        if stage.name == wanted:\n",
        APPROVAL + "test_a_stage_that_the_law_does_not_ask_for_replaces_none_that_it_does",
    ),
    _one(
        "A15",
        "a change in review is another revision",
        REQUESTS,
        "    if status is Status.IN_REVIEW and changed:\n",
        "    if False:\n",
        APPROVAL + "test_an_edit_between_two_stages_begins_the_stages_anew",
    ),
    _one(
        "A17",
        "a request names datasets of its own handler alone",
        REQUESTS,
        "select(Dataset).where(Dataset.handler == handler, or_(",
        "select(Dataset).where(or_(",
        APPROVAL + "test_a_request_does_not_take_in_another_companys_dataset",
    ),
    _one(
        "A20",
        "whoever filed a paper does not verify it",
        EVIDENCE,
        '    if caller.kind != "person" or caller.principal in {evidence.added_by, *transfer.authors}:\n',
        '    if caller.kind != "person":\n',
        PAPERS + "test_whoever_filed_a_paper_does_not_say_that_it_is_right",
    ),
    _one(
        "A23",
        "an author resumes nothing, by a lent role either",
        "service/permits/operations.py",
        "    if {*caller.persons, caller.behalf(RESTORERS, permit.handler)} & set(authors or ()):\n",
        "    if False:\n",
        PEOPLE + "test_an_author_does_not_resume_the_permit_of_their_request_by_a_lent_role",
    ),
)

OF_REGISTER: Final = (
    _one(
        "A27",
        "a lowering takes a second person",
        GRADINGS,
        '    if grading.graded_by in caller.persons or caller.kind != "person":\n',
        '    if caller.kind != "person":\n',
        REGISTERED + "test_tags_do_not_come_down_by_one_person_however_often_they_ask",
    ),
    _one(
        "A28",
        "a raise puts a pending lowering aside",
        GRADINGS,
        '    await _supersede(tx, dataset.id, "pending")\n    if held is None',
        "    if held is None",
        REGISTERED + "test_a_lowering_that_was_confirmed_too_late_does_not_undo_a_raise",
    ),
    _one(
        "A30",
        "unknown members are refused",
        "service/registry/schemas.py",
        '    model_config = ConfigDict(extra="forbid", json_schema_extra=without_defaults)\n',
        '    model_config = ConfigDict(extra="ignore", json_schema_extra=without_defaults)\n',
        REGISTERED + "test_a_dataset_is_not_given_what_only_an_act_gives",
    ),
    _one(
        "A33",
        "what nobody has graded goes nowhere",
        DECIDE,
        "    if known.dataset.facts is None:\n        return Decision(allowed=False, reason=Reason.DATASET_UNGRADED)\n",
        "    if known.dataset.facts is None:\n        return Decision(allowed=True, reason=Reason.GENERAL_DATA)\n",
        REGISTERED + "test_a_copy_of_core_data_under_another_name_goes_nowhere_before_it_is_graded",
    ),
    _one(
        "A35",
        "a review is of the register as it was submitted",
        REVIEWS,
        "    if case.hash != revision.hash:\n",
        "    if False:\n",
        REGISTERED + "test_a_handler_that_stops_being_critical_in_its_own_words_changes_no_permit",
    ),
    _one(
        "A36",
        "a recipient abroad does not come home by an edit",
        REGISTER,
        "    if patch.country == HOME and before.country != HOME:\n",
        "    if False:\n",
        REGISTERED + "test_a_recipient_abroad_does_not_come_to_be_at_home_by_an_edit",
    ),
    _one(
        "A37",
        "what all share takes a registrar of all",
        REGISTER,
        "    recipient = await recipient_of(tx, reference, lock=True)\n    caller.demand_everywhere(Role.REGISTRAR)\n",
        "    recipient = await recipient_of(tx, reference, lock=True)\n",
        REGISTERED + "test_a_shared_recipient_is_not_changed_by_a_registrar_of_one_handler",
    ),
    _one(
        "A38",
        "a permit is bound to its recipient as it was",
        DECIDE,
        "    is_other = terms.recipient is not None and terms.recipient != facts.recipient\n",
        "    is_other = False\n",
        REGISTERED + "test_a_permit_does_not_follow_its_recipient_to_another_country",
    ),
    _one(
        "A39",
        "a permit is bound to the fields that were there",
        DECIDE,
        "    if permit.registered and not wanted <= set(permit.registered):\n        return False\n",
        "",
        REGISTERED + "test_a_field_that_comes_later_is_not_in_an_old_permit",
    ),
    _one(
        "A40",
        "a permit is bound to tags",
        DECIDE,
        "    if terms.tags != facts.dataset.tags:\n",
        "    if False:\n",
        "tests/api/test_gate.py::test_a_raised_grade_denies_from_its_commit_on",
    ),
)

OF_EXPORTS: Final = (
    _one(
        "A41",
        "the permit's count is looked at",
        DECIDE,
        "    if used.persons + count.persons > quota.persons or (\n",
        "    if False or (\n",
        EXPORTS + "test_the_last_of_a_quota_is_sold_once",
    ),
    _one(
        "A42",
        "a key goes with one body",
        "service/http/idempotency.py",
        "        if request != self.request:\n",
        "        if False:\n",
        EXPORTS + "test_a_key_sent_again_takes_nothing_of_the_quota",
    ),
    _one(
        "A45",
        "the gate looks whether a key stands, at each decision",
        "service/gate/reading.py",
        "         k.revoked_at is null and p.disabled_at is null",
        "         p.disabled_at is null",
        EXPORTS + "test_a_key_that_was_revoked_at_one_replica_is_dead_at_the_next",
    ),
    _one(
        "A47",
        "persons are never fewer than none",
        "service/gate/wire.py",
        "Persons = Annotated[int, Meta(ge=0, le=MAX_PERSONS)]\n",
        "Persons = Annotated[int, Meta(le=MAX_PERSONS)]\n",
        EXPORTS + "test_a_number_that_is_none_or_a_member_that_is_not_asked_for_reserves_nothing",
    ),
    _one(
        "A48",
        "a permit for some systems is for those alone",
        DECIDE,
        "    if permit.systems is not None and ask.system not in permit.systems:\n",
        "    if False:\n",
        EXPORTS + "test_a_system_exports_under_no_other_systems_permit",
    ),
    Defence(
        "A50",
        "no more is reported than was reserved, nor others than were announced",
        (
            Edit(
                "service/gate/completion.py",
                "        if completion[kind].report.exceeds(getattr(export, kind))\n",
                "        if False\n",
            ),
            Edit("service/gate/completion.py", "            if new > room:\n", "            if False:\n"),
        ),
        EXPORTS + "test_more_than_was_reserved_is_not_reported_away",
    ),
    _one(
        "A51",
        "what has ended is not ended again",
        "service/gate/operations.py",
        '    if status != "reserved":\n',
        "    if False:\n",
        EXPORTS + "test_an_export_that_was_reported_is_not_cancelled",
    ),
    _one(
        "A52",
        "the year's count is looked at",
        DECIDE,
        "    return None if law.is_met_by(permit.terms.requirements) else Reason.LEDGER_THRESHOLD\n",
        "    return None\n",
        EXPORTS + "test_many_small_exports_do_not_go_round_a_threshold",
    ),
    _one(
        "A53",
        "related requests are looked for at submission",
        REQUESTS,
        "        await findings.look(tx, caller, book, transfer)\n",
        "        pass\n",
        EXPORTS + "test_split_requests_are_found_together",
    ),
    _one(
        "A54",
        "a permit is for its purpose",
        DECIDE,
        "    if ask.purpose != permit.purpose:\n",
        "    if False:\n",
        EXPORTS + "test_a_purpose_a_recipient_or_a_field_that_was_not_approved_goes_nowhere",
    ),
    _one(
        "A56",
        "a permit ends with its last day",
        DECIDE,
        "    return Reason.PERMIT_EXPIRED if today > permit.valid_until else None\n",
        "    return None\n",
        EXPORTS + "test_a_permit_ends_by_the_services_clock_and_not_by_the_callers",
    ),
)

OF_TENANTS: Final = (
    Defence(
        "A58",
        "whoever has no role on a handler sees nothing of it, by the query, by PostgreSQL, or by what is asked of the row",
        (ALL_SEEN, ALL_REACHED),
        TENANTS + "test_nothing_of_another_company_is_read_by_its_id",
    ),
    Defence(
        "A59",
        "whoever has no role on a handler acts on nothing of it",
        (ALL_SEEN, ALL_REACHED),
        TENANTS + "test_nothing_of_another_company_is_acted_upon_by_its_id",
    ),
    Defence(
        "A60",
        "a transaction sees what its caller reaches",
        (ALL_SEEN,),
        TENANTS + "test_no_list_holds_anything_of_another_company",
    ),
    Defence(
        "A62",
        "a file is had by a record that the caller may read",
        (ALL_SEEN, Edit(EVIDENCE, "        query = query.where(Transfer.handler.in_(reach))\n", "        pass\n")),
        TENANTS + "test_a_file_is_not_had_by_knowing_its_hash",
    ),
    _one(
        "A63",
        "a key is one caller's",
        "service/http/idempotency.py",
        '        scope = f"{principal}\\x00{method}\\x00{path}\\x00{key}"\n',
        '        scope = f"{method}\\x00{path}\\x00{key}"\n',
        TENANTS + "test_one_callers_idempotency_key_tells_nothing_to_another",
    ),
)

OF_KEYS: Final = (
    _one(
        "A68",
        "a revoked key does not stand",
        "service/identity/operations.py",
        "    return key.revoked_at is None and principal",
        "    return principal",
        KEYS + "test_a_forged_key_is_refused_in_the_words_in_which_an_unknown_one_is",
    ),
    _one(
        "A69",
        "keys are compared in constant time",
        CALLER,
        "        return stored is not None and hmac.compare_digest(stored, self.sha256)\n",
        "        return stored == self.sha256\n",
        KEYS + "test_a_key_is_compared_in_constant_time_whether_it_is_known_or_not",
    ),
    _one(
        "A73",
        "the private key is not published",
        "service/permits/signing.py",
        "        return {**self._key.as_dict(private=False), ",
        "        return {**self._key.as_dict(private=True), ",
        KEYS + "test_a_permits_token_is_believed_by_its_signature_alone",
    ),
    _one(
        "A74",
        "there is no token for what does not hold",
        "service/permits/operations.py",
        '    if shown.status != Standing.ACTIVE:\n        raise Conflict(f"The permit is {shown.status}; there is no token for it.")\n',
        "",
        KEYS + "test_a_permit_that_no_longer_holds_has_no_token_and_lets_nothing_out",
    ),
    _one(
        "A75",
        "a repeat is not shown the secret again",
        "service/identity/routes.py",
        'kept=lambda made: made.model_copy(update={"secret": None}),',
        "",
        KEYS + "test_the_log_and_lists_never_show_a_secret",
    ),
)

OF_FILES_AND_TEXTS: Final = (
    _one(
        "A80",
        "a package says what it unpacks to, and that has an end",
        FILES,
        "    if unpacked > MAX_UNPACKED:\n",
        "    if False:\n",
        PAPERS + "test_a_file_that_is_no_document_is_refused_whatever_it_is_called",
    ),
    Defence(
        "A81",
        "a name's path is cut off, and what is left of it taken out",
        (
            Edit(FILES, """.rsplit("/", 1)[-1]\n""", "\n"),
            Edit(FILES, """        "_" if _UNSAFE.match(character) else character\n""", "        character\n"),
        ),
        PAPERS + "test_a_name_leads_nowhere_and_ends_as_the_file_is",
    ),
    _one(
        "A82",
        "a file goes out as an attachment",
        "service/http/exchange.py",
        "attachment; filename=",
        "inline; filename=",
        PAPERS + "test_a_polyglot_goes_out_as_what_it_was_taken_for_and_never_as_a_page",
    ),
    _one(
        "A85",
        "wildcards are escaped",
        REGISTER,
        "column.icontains(words, autoescape=True)",
        "column.icontains(words)",
        TEXTS + "test_a_search_for_a_wildcard_finds_what_holds_it_and_not_everything",
    ),
    _one(
        "A87",
        "no browser guesses what an answer is",
        "service/http/middleware.py",
        '    "X-Content-Type-Options": "nosniff",\n',
        "",
        TEXTS + "test_nothing_that_callers_write_is_served_as_a_page",
    ),
    _one(
        "A88",
        "a page stands in no frame",
        "service/http/middleware.py",
        ', "X-Frame-Options": "DENY"',
        "",
        TEXTS + "test_a_page_of_the_service_runs_nothing_of_others_and_stands_in_no_frame",
    ),
    _one(
        "A89",
        "a body says that it is JSON",
        "service/http/router.py",
        '    if kind != "application/json" and not is_suffixed:\n',
        "    if False:\n",
        TEXTS + "test_another_site_reads_nothing_through_a_visitors_browser",
    ),
    _one(
        "A92",
        "a member stands once",
        "service/http/strict_json.py",
        "    if len(members) != len(pairs):\n",
        "    if False:\n",
        TEXTS + "test_a_body_that_two_readers_would_read_differently_is_refused",
    ),
    _one(
        "A93",
        "nothing invisible is in a name",
        "service/http/texts.py",
        "    if any(unicodedata.category(character) in _INVISIBLE for character in value):\n",
        "    if False:\n",
        TEXTS + "test_an_invisible_letter_makes_no_second_thing_of_a_name",
    ),
)

OF_THE_GROUND: Final = (
    _one(
        "A105",
        "the version of the law is the hash of its files",
        "service/law/rules.py",
        '        digest.update(name.encode() + b"\\x00" + (directory / name).read_bytes() + b"\\x00")\n',
        '        digest.update(name.encode() + b"\\x00")\n',
        GROUND + "test_an_edited_threshold_shows_in_every_determination",
    ),
    _one(
        "A106",
        "a rule cites its article",
        "service/law/rules.py",
        "        if bool(self.citations) == (self.uncited is not None):\n",
        "        if False:\n",
        GROUND + "test_nothing_starts_on_law_that_cannot_be_used",
    ),
)

OF_ROLES: Final = (
    _one(
        "A110",
        "authors and earlier reviewers stay what they are",
        WORKFLOW,
        "    if reviewer in authors:\n",
        "    if False:\n",
        APPROVAL + "test_whoever_changes_roles_between_two_stages_stays_what_they_were",
    ),
    Defence(
        "A112",
        "whoever asked does not confirm, by any key",
        (
            Edit("service/identity/grants.py", "    if by.principal in askers:\n", "    if False:\n"),
            Edit("service/identity/grants.py", "    if by.seen_by & askers:\n", "    if False:\n"),
        ),
        GRANTS + "test_whoever_asked_does_not_confirm_not_even_by_another_key",
    ),
    _one(
        "A113",
        "the hand that made a key counts",
        "service/identity/grants.py",
        "    if by.seen_by & askers:\n",
        "    if False:\n",
        GRANTS + "test_a_key_that_the_asker_made_for_another_admin_confirms_nothing",
    ),
    _one(
        "A115",
        "what an admin lends for somebody waits",
        "service/identity/delegations.py",
        "        effective_at=tx.now if is_own else None,\n",
        "        effective_at=tx.now,\n",
        GRANTS + "test_an_admin_alone_makes_nobody_a_stand_in_for_somebody_else",
    ),
    _one(
        "A116",
        "nobody lends to themselves",
        "service/identity/grants.py",
        "    if by.persons & {delegate}:\n",
        "    if False:\n",
        GRANTS + "test_no_admin_makes_themselves_a_stand_in",
    ),
    _one(
        "A122",
        "one address inside bars a host",
        "service/http/addresses.py",
        "    if not target.is_trusted and not all(is_public(address) for address in addresses):\n",
        "    if not target.is_trusted and not any(is_public(address) for address in addresses):\n",
        OUTGOING + "test_nothing_is_sent_where_one_address_is_inside",
    ),
    _one(
        "A123",
        "what was checked is what is called",
        "service/http/outgoing.py",
        "        target.url.copy_with(host=address),\n",
        "        target.url,\n",
        OUTGOING + "test_a_name_that_is_public_first_and_private_then_is_never_called_inside",
    ),
    _one(
        "A124",
        "redirects are not followed",
        "service/http/outgoing.py",
        "trust_env=False, follow_redirects=False, timeout",
        "trust_env=False, follow_redirects=True, timeout",
        OUTGOING + "test_a_redirect_is_an_answer_and_is_not_followed",
    ),
)

OF_LAYERS: Final = (
    _one(
        "A140",
        "the hand that made a reviewer's key counts",
        WORKFLOW,
        "    if {*authors, *earlier, *recused} & {*seen_by}:\n",
        "    if False:\n",
        GRANTS + "test_whoever_asked_does_not_review_by_a_key_that_they_made_for_the_reviewer",
    ),
    _one(
        "A147",
        "each query is kept within the view",
        "service/tenancy.py",
        "        state.statement = state.statement.options(_WITHIN)\n",
        "        pass\n",
        "tests/api/test_tenancy.py::test_without_policies_the_query_layer_still_shows_no_other_handler",
    ),
    _one(
        "A154",
        "a route admits its roles alone",
        "service/http/exchange.py",
        "if self._roles != ANYONE and not stops and not caller.has(self._roles):\n",
        "if False:\n",
        "tests/authz/test_matrix.py::test_everybody_is_answered_as_the_rules_say",
    ),
)

OF_TOKENS: Final = (
    _one(
        "A126",
        "a token is for its audience",
        "service/identity/tokens.py",
        "    if expected.audience not in _audience(claims):\n",
        "    if False:\n",
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    _one(
        "A126",
        "a token is of its type",
        "service/identity/tokens.py",
        "    if _kind(header) not in ACCESS_TYPES:\n",
        "    if False:\n",
        LOGINS + "test_forged_and_foreign_tokens_are_refused",
    ),
    _one(
        "A127",
        "a token ends",
        "service/identity/tokens.py",
        "    if expires + expected.skew <= now:\n",
        "    if False:\n",
        LOGINS + "test_a_token_ends_with_its_time",
    ),
    Defence(
        "A132",
        "what is older is not heard",
        (
            Edit(
                "service/identity/groups.py",
                "    if last_told_at is not None and told_at < last_told_at:\n",
                "    if False:\n",
            ),
            Edit(
                "service/identity/logins.py",
                "(login.told_at is None or told.issued_at > login.told_at)",
                "True",
            ),
        ),
        LOGINS + "test_an_older_token_gives_nothing_back",
    ),
    _one(
        "A137",
        "a provider's description is its own",
        "service/identity/provider.py",
        "        if metadata.issuer != self.expected.issuer:\n",
        "        if False:\n",
        "tests/faults/test_provider.py::test_a_description_of_somebody_else_or_with_other_addresses_is_not_used",
    ),
)

DEFENCES: Final[tuple[Defence, ...]] = (
    *OF_APPROVAL,
    *OF_REGISTER,
    *OF_EXPORTS,
    *OF_TENANTS,
    *OF_KEYS,
    *OF_FILES_AND_TEXTS,
    *OF_THE_GROUND,
    *OF_ROLES,
    *OF_LAYERS,
    *OF_TOKENS,
)
