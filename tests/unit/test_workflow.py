"""The workflow, without a database: stages, separated duties, what a review leads to, which evidence is missing."""

from dataclasses import replace
from datetime import date
from itertools import product
from typing import Any

import pytest

from service.law.determination import determine
from service.law.stages import Stage
from service.transfers import workflow
from service.transfers.workflow import Decision, EarlierFiling, EvidenceItem, StageStatus, Status
from tests.law.builders import a_case
from tests.law.strategies import BOOK

DAY = date(2026, 11, 24)
COURT = {"kind": "judicial_or_enforcement"}


@pytest.mark.parametrize(
    ("parts", "stages"),
    [
        ({}, "privacy"),
        ({"dataset": {"tags": []}, "transfer": {"persons": 0}}, "privacy"),
        ({"transfer": {"persons": 1, "necessity": "hr"}}, "data_owner privacy"),
        ({"dataset": {"origin": "foreign", "domestic_data_added": False}}, "data_owner privacy"),
        ({"transfer": {"persons": 100_000}}, "data_owner privacy legal"),
        ({"transfer": {"persons": 1_000_000}}, "data_owner privacy legal security"),
        ({"dataset": {"tags": ["important"]}, "transfer": {"persons": 0}}, "data_owner privacy legal security"),
        ({"dataset": {"tags": ["core"]}, "transfer": {"persons": 0}}, "data_owner privacy legal security executive"),
        ({"dataset": {"tags": []}, "transfer": {"persons": 0}, "recipient": COURT}, "privacy legal security executive"),
        ({"transfer": {"persons": 100_000}, "recipient": COURT}, "data_owner privacy legal security executive"),
        ({"recipient": {"restricted": True}}, ""),
    ],
)
def test_stages_follow_the_requirements(parts: dict[str, Any], stages: str) -> None:
    assert " ".join(workflow.stages_for(determine(a_case(**parts), BOOK))) == stages


def test_a_stage_names_its_role() -> None:
    assert Stage.PRIVACY.role == "reviewer:privacy"


@pytest.mark.parametrize("status", list(Status))
def test_only_what_nobody_decided_expires(status: Status) -> None:
    undecided = status in {Status.DRAFT, Status.IN_REVIEW, Status.RETURNED, Status.EXPIRED}
    late = workflow.effective_status(status, date(2026, 11, 23), DAY)
    assert (late is Status.EXPIRED) == undecided
    assert workflow.effective_status(status, DAY, DAY) is status


@pytest.mark.parametrize(
    ("reviewer", "person", "barred"),
    [("a", True, True), ("b", True, True), ("c", True, False), ("c", False, True)],
)
def test_no_author_no_earlier_reviewer_and_no_system_reviews(reviewer: str, *, person: bool, barred: bool) -> None:
    bar = workflow.review_denial(reviewer, is_person=person, authors={"a"}, earlier={"b"})
    assert (bar is not None) == barred


@pytest.mark.parametrize(("decision", "length"), list(product(Decision, range(1, 6))))
def test_each_review_moves_one_stage(decision: Decision, length: int) -> None:
    stages = workflow.initial_stages(length)
    for place in range(length):
        assert stages.count(StageStatus.OPEN) == 1
        outcome = workflow.apply_decision(decision, place, stages)
        if decision is not Decision.APPROVE:
            assert outcome.status == {Decision.RETURN: Status.RETURNED, Decision.REJECT: Status.REJECTED}[decision]
            assert StageStatus.OPEN not in outcome.stages
            return
        last = place == length - 1
        assert outcome.status is (Status.APPROVED if last else Status.IN_REVIEW)
        stages = outcome.stages
    assert set(stages) == {StageStatus.APPROVED}


def test_nothing_is_open_of_what_is_not_in_review() -> None:
    assert workflow.effective_stage_status("open", Status.IN_REVIEW) is StageStatus.OPEN
    assert workflow.effective_stage_status("open", Status.WITHDRAWN) is StageStatus.WAITING
    assert workflow.effective_stage_status("approved", Status.WITHDRAWN) is StageStatus.APPROVED


def paper(ident: str = "1", kind: str = "contract", issued: int = 1, ends: date | None = None) -> EvidenceItem:
    return EvidenceItem(ident, kind, date(2026, 11, issued), ends)


@pytest.mark.parametrize(
    ("papers", "said"),
    [
        ([], "No evidence of this kind"),
        ([paper(kind="other")], "No evidence of this kind"),
        ([paper(issued=25)], "in the future"),
        ([paper(ends=date(2026, 11, 23))], "ended on 2026-11-23"),
        ([paper(ends=date(2026, 11, 30))], "before the transfer begins"),
    ],
)
def test_a_paper_that_does_not_count_is_missing_with_the_reason(papers: list[EvidenceItem], said: str) -> None:
    check = workflow.check_evidence(["contract"], papers, DAY, date(2026, 12, 1))
    assert said in check.missing["contract"]
    assert check.evidence == ()


def test_of_several_papers_the_one_that_lasts_longest_is_taken() -> None:
    short, long, endless = paper("1", ends=date(2026, 12, 5)), paper("2", ends=date(2027, 1, 1)), paper("3", kind="x")
    check = workflow.check_evidence(["contract", "x"], [short, long, endless], DAY, DAY)
    assert [found.id for found in check.evidence] == ["2", "3"]
    assert check.ends_on == date(2027, 1, 1)


def test_papers_without_an_end_end_nothing() -> None:
    assert workflow.check_evidence(["contract"], [paper()], DAY, DAY).ends_on is None


def test_a_paper_counts_on_its_last_day_and_on_its_first() -> None:
    today = EvidenceItem("1", "contract", DAY, DAY)
    assert workflow.check_evidence(["contract"], [today], DAY, DAY).evidence == (today,)


@pytest.mark.parametrize(
    ("more", "barred"),
    [
        ({}, False),
        ({"recused": {"c"}}, True),
        ({"filed": {"c"}}, True),
        ({"filed": {"d"}}, False),
        ({"behalf": "d", "filed": {"d"}}, True),
        ({"seen_by": {"d"}, "filed": {"d"}}, True),
        ({"behalf": "d"}, False),
        ({"behalf": "a"}, True),
        ({"behalf": "b"}, True),
        ({"behalf": "d", "recused": {"d"}}, True),
        ({"seen_by": {"d"}}, False),
        ({"seen_by": {"d", "a"}}, True),
        ({"seen_by": {"b"}}, True),
        ({"seen_by": {"d"}, "recused": {"d"}}, True),
    ],
)
def test_a_lent_role_and_a_key_that_others_have_seen_are_barred_where_these_are(
    more: dict[str, Any], *, barred: bool
) -> None:
    bar = workflow.review_denial("c", is_person=True, authors={"a"}, earlier={"b"}, **more)
    assert (bar is not None) == barred


def test_where_a_reviewer_withdrew_a_paper_another_counts_once_it_is_verified() -> None:
    unverified = replace(paper(), is_trusted=False)
    check = workflow.check_evidence(["contract"], [unverified], DAY, DAY)
    assert not check.evidence
    assert "verified" in check.missing["contract"]
    assert workflow.check_evidence(["contract"], [unverified, paper()], DAY, DAY).evidence == (paper(),)


def test_terms_keep_everything_closed_until_they_are_accepted() -> None:
    waiting = workflow.apply_decision(Decision.APPROVE, 0, workflow.initial_stages(2), has_terms=True)
    assert (waiting.status, waiting.stages) == (Status.IN_REVIEW, (StageStatus.APPROVED, StageStatus.WAITING))
    assert workflow.open_next_stage(waiting.stages, has_terms=False).stages[1] is StageStatus.OPEN
    last = workflow.apply_decision(Decision.APPROVE, 0, workflow.initial_stages(1), has_terms=True)
    assert last.status is Status.IN_REVIEW
    assert workflow.open_next_stage(last.stages, has_terms=False).status is Status.APPROVED


def test_an_approval_that_is_taken_back_opens_its_stage_and_leaves_the_others() -> None:
    stages = (StageStatus.APPROVED, StageStatus.APPROVED, StageStatus.OPEN)
    back = workflow.reopen_stage(0, stages, has_terms=False)
    assert back == workflow.Outcome(Status.IN_REVIEW, (StageStatus.OPEN, StageStatus.APPROVED, StageStatus.WAITING))
    again = workflow.apply_decision(Decision.APPROVE, 0, back.stages)
    assert again.stages == stages


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_decides_on_what_leaves_and_where_it_goes(stage: Stage) -> None:
    always = ["datasets", "recipient", "purpose", "fields", "persons", "determination", "handler", "valid_until"]
    assert workflow.affected_inputs(stage, always) == sorted(always)


def test_a_stage_is_not_touched_by_what_it_does_not_decide_on() -> None:
    assert workflow.affected_inputs(Stage.DATA_OWNER, ["systems", "route"]) == []
    assert workflow.affected_inputs(Stage.LEGAL, ["systems", "route"]) == ["route"]
    assert workflow.affected_inputs(Stage.EXECUTIVE, ["systems"]) == ["systems"]


SCOPE: dict[str, Any] = {
    "purpose": "analytics",
    "recipient": "rc_1",
    "method": "transmission",
    "datasets": ["ds_1", "ds_2"],
    "fields": ["city", "amount"],
    "is_sensitive": False,
}


@pytest.mark.parametrize(
    ("now", "outgrown"),
    [
        ({}, []),
        ({"purpose": "other"}, ["purpose"]),
        ({"recipient": "rc_2", "method": "remote_access"}, ["recipient", "method"]),
        ({"datasets": ["ds_1"]}, []),
        ({"datasets": ["ds_1", "ds_3"]}, ["datasets"]),
        ({"fields": ["city"]}, []),
        ({"fields": ["city", "phone"]}, ["fields"]),
        ({"fields": None}, ["fields"]),
        ({"is_sensitive": True}, ["sensitive_persons"]),
    ],
)
def test_a_report_serves_for_what_it_was_made_for_and_for_less(now: dict[str, Any], outgrown: list[str]) -> None:
    assert workflow.out_of_scope(SCOPE, SCOPE | now) == outgrown
    assert workflow.out_of_scope(None, SCOPE | now) == []
    assert workflow.out_of_scope(SCOPE | {"is_sensitive": True}, SCOPE) == []
    assert workflow.out_of_scope(SCOPE | {"fields": None}, SCOPE | now) == [one for one in outgrown if one != "fields"]


def test_a_report_for_another_purpose_is_missing_with_the_reason() -> None:
    report = EvidenceItem("1", "contract", DAY, None, SCOPE)
    wanted = SCOPE | {"purpose": "advertising"}
    assert "purpose" in workflow.check_evidence(["contract"], [report], DAY, DAY, wanted).missing["contract"]
    assert workflow.check_evidence(["contract"], [report], DAY, DAY, SCOPE).evidence == (report,)
    late = EvidenceItem("1", "contract", date(2026, 11, 25), None, SCOPE)
    assert "in the future" in workflow.check_evidence(["contract"], [late], DAY, DAY, wanted).missing["contract"]


@pytest.mark.parametrize(
    ("kind", "is_known"),
    [
        ("authority_approval", True),
        ("certificate", True),
        ("security_assessment_result", True),
        ("impact_assessment_report", False),
        ("standard_contract", False),
    ],
)
def test_only_an_authoritys_number_is_the_same_at_every_company(kind: str, *, is_known: bool) -> None:
    assert workflow.is_numbered_by_authority(kind) is is_known


@pytest.mark.parametrize(
    ("issuer", "reference", "number"),
    [
        ("CAC", "No. （2026） 17", "cac/no202617"),
        ("cac ", "no 2026-17", "cac/no202617"),
        ("Ｃ.A.C.", "NO２０２６·17", "cac/no202617"),
        ("CAC", "٣", "cac/3"),
        ("国家网信办", "第 5 号", "国家网信办/第5号"),
        ("CAC", "- / -", "cac/-/-"),
    ],
)
def test_a_number_is_the_same_however_it_is_written(issuer: str, reference: str, number: str) -> None:
    assert workflow.number_of(issuer, reference) == number


ONE_REQUEST = "It is valid for one request only, and has been filed with another one."
ONE_LINE = "It is valid for one request and its renewals, and has been filed with another request."
DISTRUSTED = "A reviewer has withdrawn it with another request."
OTHER_SCOPE = "It was made for another purpose or scope: have one made for this request."


@pytest.mark.parametrize(
    ("kind", "before", "bar"),
    [
        ("authority_approval", [], None),
        ("authority_approval", [EarlierFiling("tr_1", None, has_ended=False)], None),
        ("authority_approval", [EarlierFiling("tr_1", None, has_ended=True)], None),
        ("authority_approval", [EarlierFiling("tr_0", None, has_ended=False)], ONE_REQUEST),
        (
            "authority_approval",
            [EarlierFiling("tr_1", None, has_ended=True), EarlierFiling("tr_0", None, has_ended=True)],
            ONE_REQUEST,
        ),
        (
            "certificate",
            [EarlierFiling("tr_1", None, has_ended=False), EarlierFiling("tr_0", None, has_ended=False)],
            None,
        ),
        ("certificate", [EarlierFiling("tr_9", None, has_ended=False)], ONE_LINE),
        ("standard_contract", [EarlierFiling("tr_9", None, has_ended=False)], None),
        ("impact_assessment_report", [EarlierFiling("tr_9", SCOPE, has_ended=False)], None),
        (
            "impact_assessment_report",
            [EarlierFiling("tr_9", SCOPE | {"purpose": "other"}, has_ended=False)],
            OTHER_SCOPE,
        ),
        ("impact_assessment_report", [EarlierFiling("tr_1", SCOPE | {"purpose": "other"}, has_ended=True)], None),
        ("impact_assessment_report", [EarlierFiling("tr_0", SCOPE, has_ended=True)], None),
        ("impact_assessment_report", [EarlierFiling("tr_0", SCOPE, has_ended=True, is_distrusted=True)], DISTRUSTED),
        ("impact_assessment_report", [EarlierFiling("tr_1", SCOPE, has_ended=True, is_distrusted=True)], None),
        ("certificate", [EarlierFiling("tr_0", None, has_ended=True, is_distrusted=True)], DISTRUSTED),
    ],
)
def test_a_paper_is_filed_again_only_where_it_may_serve(
    kind: str, before: list[EarlierFiling], bar: str | None
) -> None:
    assert workflow.filing_denial(kind, "tr_1", SCOPE, before, {"tr_0"}) == bar
