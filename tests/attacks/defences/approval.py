"""Getting something approved."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Edit, one

WORKFLOW: Final = "service/transfers/workflow.py"
REVIEWS: Final = "service/transfers/reviews.py"
REQUESTS: Final = "service/transfers/requests.py"
EVIDENCE: Final = "service/transfers/evidence.py"
APPROVAL: Final = "tests/attacks/test_approval.py::"
PAPERS: Final = "tests/attacks/test_evidence.py::"
PEOPLE: Final = "tests/api/test_people.py::"
TRANSFERS: Final = "tests/api/test_transfers.py::"
GRANTS: Final = "tests/api/test_grants.py::"
TWO: Final = "tests/api/test_two_persons.py::"
READING: Final = "service/transfers/queries.py"
DELEGATIONS: Final = "service/identity/delegations.py"
DECIDE: Final = "service/gate/decide.py"
DUTIES: Final = "tests/api/test_duties.py::"
GRANTS: Final = "tests/api/test_grants.py::"

DEFENCES: Final = (
    one(
        "A01",
        "authors do not review",
        WORKFLOW,
        "    if not are_two({reviewer}, authors):\n",
        "    if False:\n",
        APPROVAL + "test_an_insider_with_every_role_approves_nothing_of_their_own",
    ),
    one(
        "A02",
        "a review is compared with principals, not with keys",
        WORKFLOW,
        "    if not are_two({reviewer}, earlier):\n",
        "    if False:\n",
        TRANSFERS + "test_two_keys_of_one_person_are_one_person",
    ),
    Defence(
        "A03",
        "whoever changes or submits a request becomes one of its authors",
        (
            Edit(
                REQUESTS,
                "        await add_author(tx, caller, transfer)\n    details =",
                "    details =",
            ),
            Edit(
                REQUESTS,
                "    transfer.revision += 1\n    await add_author(tx, caller, transfer)\n",
                "    transfer.revision += 1\n",
            ),
        ),
        TRANSFERS + "test_whoever_changed_the_request_does_not_review_it",
    ),
    one(
        "A04",
        "each stage takes another person",
        WORKFLOW,
        "    if not are_two({reviewer}, earlier):\n",
        "    if False:\n",
        TRANSFERS + "test_each_stage_takes_another_person",
    ),
    one(
        "A05",
        "a lent role is barred where its owner is",
        WORKFLOW,
        "    if behalf is not None and not are_two({behalf}, barred):\n",
        "    if False:\n",
        PEOPLE + "test_neither_the_delegate_nor_the_delegator_may_be_barred",
    ),
    Defence(
        "A08",
        "systems do not review: what they have of a reviewer's role is left out, and they are barred",
        (
            Edit(WORKFLOW, "    if not is_person:\n", "    if False:\n"),
            Edit(
                "service/identity/operations.py",
                "for role, handler in roles if role is None or is_fit(role, kind)])",
                "for role, handler in roles])",
            ),
        ),
        GRANTS + "test_a_system_with_a_reviewers_grant_of_before_reviews_nothing",
    ),
    one(
        "A09",
        "a review binds to the hash that was seen",
        REVIEWS,
        "    if seen != revision.hash:\n",
        "    if False:\n",
        TRANSFERS + "test_a_review_is_of_the_revision_that_was_seen",
    ),
    one(
        "A11",
        "what is decided is not changed",
        REQUESTS,
        "_CHANGEABLE = frozenset({Status.DRAFT, Status.RETURNED, Status.IN_REVIEW})\n",
        "_CHANGEABLE = frozenset(Status)\n",
        APPROVAL + "test_an_approved_request_is_not_changed_any_more",
    ),
    one(
        "A13",
        "only the open stage is decided",
        REVIEWS,
        "        if stage.status == StageStatus.OPEN and stage.name == wanted:\n",
        "        if stage.name == wanted:\n",
        APPROVAL + "test_a_stage_that_the_law_does_not_ask_for_replaces_none_that_it_does",
    ),
    one(
        "A15",
        "a change in review is another revision",
        REQUESTS,
        "    if status is Status.IN_REVIEW and changed:\n",
        "    if False:\n",
        APPROVAL + "test_an_edit_between_two_stages_begins_the_stages_anew",
    ),
    one(
        "A17",
        "a request names datasets of its own handler alone",
        REQUESTS,
        "select(Dataset).where(Dataset.handler == handler, or_(",
        "select(Dataset).where(or_(",
        APPROVAL + "test_a_request_does_not_take_in_another_companys_dataset",
    ),
    one(
        "A20",
        "whoever filed a paper does not verify it",
        EVIDENCE,
        '    if caller.kind != "person" or not persons.are_two(caller.acting(behalf), barred):\n',
        '    if caller.kind != "person":\n',
        PAPERS + "test_whoever_filed_a_paper_does_not_say_that_it_is_right",
    ),
    one(
        "A186",
        "the hand that made a key counts where a paper is verified, and so does whoever lent the role",
        EVIDENCE,
        "persons.are_two(caller.acting(behalf), barred)",
        "persons.are_two({caller.principal}, barred)",
        PAPERS + "test_a_paper_is_not_verified_through_somebody_else",
    ),
    one(
        "A23",
        "an author resumes nothing, by a lent role either",
        "service/permits/operations.py",
        "    if not persons.are_two(caller.acting(caller.behalf(RESTORERS, permit.handler)), await _behind(tx, permit)):\n",
        "    if False:\n",
        PEOPLE + "test_an_author_does_not_resume_the_permit_of_their_request_by_a_lent_role",
    ),
    Defence(
        "A06",
        "a stage that was decided for somebody counts as theirs",
        (
            Edit(READING, "for party in (row.reviewer, row.on_behalf_of)", "for party in (row.reviewer,)"),
            Edit("service/transfers/reviews.py", "persons=caller.acting(behalf)", "persons=caller.acting()"),
        ),
        PEOPLE + "test_no_two_stages_come_to_one_person_by_delegation",
    ),
    one(
        "A07",
        "nobody lends what they do not have",
        DELEGATIONS,
        "    if missing or not roles:\n",
        "    if not roles:\n",
        PEOPLE + "test_nobody_lends_what_they_do_not_have",
    ),
    one(
        "A10",
        "a review holds the row of the request, and is of what it read there",
        REVIEWS,
        "    transfer = await transfer_of(tx, caller, transfer_id, lock=True)\n    return await _decide(",
        "    transfer = await transfer_of(tx, caller, transfer_id)\n    return await _decide(",
        "tests/api/test_races.py::test_an_approval_against_an_edit",
    ),
    Defence(
        "A12",
        (
            "only what is in review is reviewed, and a draft has no revision; without both it is a fault "
            "and still no approval"
        ),
        (
            Edit(
                REVIEWS,
                '    require_status(transfer, tx, frozenset({Status.IN_REVIEW}), "reviewed")\n',
                "",
            ),
            Edit(
                REVIEWS,
                (
                    "    if revision is None:\n"
                    '        raise Conflict("This transfer is a draft; it must be submitted before it can be reviewed.")\n'
                    "    return revision\n"
                ),
                "    return revision\n",
            ),
        ),
        APPROVAL + "test_a_draft_is_not_approved_by_a_made_up_hash",
    ),
    one(
        "A14",
        "only what is in review is reviewed",
        REVIEWS,
        '    require_status(transfer, tx, frozenset({Status.IN_REVIEW}), "reviewed")\n',
        "",
        APPROVAL + "test_a_withdrawn_request_is_not_approved_from_an_old_page",
    ),
    one(
        "A18",
        "without a permit nothing goes",
        DECIDE,
        "    return told or Decision(allowed=False, reason=Reason.NO_PERMIT, mechanism=law.mechanism)\n",
        "    return told or Decision(allowed=True, reason=Reason.PERMITTED, mechanism=law.mechanism)\n",
        APPROVAL + "test_a_permit_does_not_begin_before_it_was_approved",
    ),
    one(
        "A19",
        "a paper ends by its law, whatever it says of itself",
        READING,
        "end for end in (evidence.valid_until, book.valid_until(evidence.kind, evidence.issued_on)) if",
        "end for end in (evidence.valid_until,) if",
        APPROVAL + "test_days_are_not_stretched_beyond_what_evidence_carries",
    ),
    one(
        "A21",
        "a report serves for what it was made for",
        WORKFLOW,
        "        good = [paper for paper in in_date if scope is None or not out_of_scope(paper.scope, scope)]\n",
        "        good = in_date\n",
        DUTIES + "test_a_report_does_not_serve_for_another_purpose",
    ),
    one(
        "A22",
        "an approval of an authority serves one request",
        EVIDENCE,
        "    if number is not None:\n",
        "    if False:\n",
        DUTIES + "test_an_approval_of_one_request_serves_no_other",
    ),
    one(
        "A24",
        "a condition only narrows",
        REVIEWS,
        '    if faults:\n        raise Invalid(\n            "A condition can only narrow',
        '    if False:\n        raise Invalid(\n            "A condition can only narrow',
        PEOPLE + "test_a_condition_that_widens_or_says_nothing_is_refused",
    ),
    one(
        "A25",
        "an approval is carried over to what its stage decided on, and to nothing else",
        REVIEWS,
        "    changed = changed_inputs(Stage(given.stage), then, now)\n    if changed:\n",
        "    changed = changed_inputs(Stage(given.stage), then, now)\n    if False:\n",
        PEOPLE + "test_an_approval_is_not_carried_over_what_it_decided_on",
    ),
    one(
        "A26",
        "a lent role stands as long as its owner has it",
        DELEGATIONS,
        "            Grant.standing(TODAY),\n            or_(Delegation",
        "            or_(Delegation",
        PEOPLE + "test_a_role_that_is_withdrawn_is_lent_no_longer",
    ),
    one(
        "A140",
        "the hand that made a reviewer's key counts",
        WORKFLOW,
        "    if not are_two(seen_by, barred):\n",
        "    if False:\n",
        GRANTS + "test_whoever_asked_does_not_review_by_a_key_that_they_made_for_the_reviewer",
    ),
    one(
        "A16",
        "a member that a new request does not have is refused",
        "service/transfers/schemas.py",
        'class _In(BaseModel):\n    model_config = ConfigDict(extra="forbid")\n',
        'class _In(BaseModel):\n    model_config = ConfigDict(extra="ignore")\n',
        APPROVAL + "test_nothing_is_assigned_that_a_request_does_not_ask_for",
    ),
    one(
        "A321",
        "what a stage leaves behind is everybody who could have decided it",
        "service/transfers/reviews.py",
        "persons=caller.acting(behalf)",
        "persons=[caller.principal]",
        TWO + "test_an_admin_alone_takes_no_second_stage_by_keys_that_they_made",
    ),
    one(
        "A322",
        "what a grading leaves behind is everybody who could have made it",
        "service/registry/grading.py",
        '"graded_persons": caller.acting(),',
        '"graded_persons": [caller.principal],',
        TWO + "test_whoever_made_the_key_of_the_first_act_does_not_do_the_second_as_themselves",
    ),
    one(
        "A322",
        "what writing leaves behind is everybody who could have written",
        READING,
        "    transfer.author_persons = sorted(before | caller.persons)\n",
        "    transfer.author_persons = transfer.authors\n",
        TWO + "test_whoever_made_the_key_of_the_first_act_does_not_do_the_second_as_themselves",
    ),
    one(
        "A323",
        "whoever filed what a stage rests on does not decide it",
        WORKFLOW,
        "    if not are_two({reviewer}, filed):\n",
        "    if False:\n",
        TWO + "test_whoever_filed_the_evidence_decides_no_stage_that_rests_on_it",
    ),
    one(
        "A323",
        "whoever decided a stage does not file what it rests on",
        EVIDENCE,
        "    await _require_may_file(tx, caller, transfer, wanted.kind)\n",
        "",
        TWO + "test_whoever_filed_the_evidence_decides_no_stage_that_rests_on_it",
    ),
    one(
        "A324",
        "what is repeated stays that of whoever filed it",
        EVIDENCE,
        "added_persons=sorted(filed | caller.persons)",
        "added_persons=caller.acting()",
        TWO + "test_what_a_renewal_repeats_is_still_that_of_whoever_filed_it",
    ),
    one(
        "A325",
        "what takes the place of a withdrawn paper waits to be verified",
        EVIDENCE,
        "    if old is not None and not waits:\n",
        "    if old is not None:\n",
        TWO + "test_what_a_reviewer_withdrew_is_replaced_by_what_was_verified",
    ),
    one(
        "A326",
        "papers of a kind that a reviewer withdrew count once they are verified",
        READING,
        "    is_trusted = row.verified_at is not None or row.kind not in distrusted\n",
        "    is_trusted = True\n",
        TWO + "test_in_review_another_paper_of_a_kind_that_a_reviewer_withdrew_counts_once_it_is_verified",
    ),
)
