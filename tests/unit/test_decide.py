"""The gate's decision, without a database: every reason, in order, and what takes precedence."""

from collections.abc import Collection
from datetime import date
from typing import Any

import pytest
from msgspec.structs import replace

from service.gate.decide import (
    Ask,
    Contradiction,
    DatasetState,
    Decision,
    DecisionInputs,
    Growth,
    PermitState,
    Reason,
    Terms,
    decide,
)
from service.gate.reason_texts import REASONS
from service.law.facts import (
    Count,
    DatasetFacts,
    HandlerFacts,
    LegalBasis,
    Necessity,
    Origin,
    RecipientFacts,
    RecipientKind,
    Route,
    Tag,
    TransferFacts,
)
from service.law.mechanisms import Mechanism
from service.registry.fields import NO_FIELDS, Field, compare_fields
from tests.law.strategies import BOOK

DAY = date(2026, 11, 24)
PERSONAL, SENSITIVE, IMPORTANT = frozenset({Tag.PERSONAL}), frozenset({Tag.SENSITIVE}), frozenset({Tag.IMPORTANT})
FIELDS = compare_fields(
    [Field("city", "text"), Field("amount", "int")], [Field("city", "text"), Field("amount", "int")], None
)
EXEMPT = frozenset({Mechanism.EXEMPT})
CONTRACT = frozenset({Mechanism.STANDARD_CONTRACT_OR_CERTIFICATION})
ASSESSED = frozenset({Mechanism.SECURITY_ASSESSMENT})


def ask(persons: int | None = 10, **more: Any) -> Ask:
    told = {"system": "crm", "purpose": "analytics", "sensitive_persons": None, "fields": None, "permit": None}
    return Ask(persons=persons, **told | more)


def permit(ident: str = "pm_1", **more: Any) -> PermitState:
    told: dict[str, Any] = {
        "status": "active",
        "valid_from": date(2026, 1, 1),
        "valid_until": date(2026, 12, 31),
        "purpose": "analytics",
        "fields": None,
        "systems": None,
        "quota": Count(1000, 0),
        "used": Count(),
        "registered": ["city", "amount"],
        "is_overdue": False,
        "has_evidence": True,
    }
    terms: dict[str, Any] = {
        "tags": PERSONAL,
        "requirements": EXEMPT,
        "route": None,
        "transfer": TransferFacts(),
        "recipient": None,
        "evidence_kinds": None,
    }
    terms = {name: more.pop(name, value) for name, value in terms.items()}
    return PermitState(id=ident, terms=Terms(**terms), **told | more)


def known(
    *permits: PermitState,
    tags: Collection[Tag] = PERSONAL,
    country: str = "SG",
    year: Count = Count(),  # noqa: B008 - immutable
    handler: HandlerFacts = HandlerFacts(ciio=False),  # noqa: B008 - immutable
    **recipient: Any,
) -> DecisionInputs:
    dataset = DatasetState(handler, DatasetFacts(frozenset(tags)), FIELDS)
    return DecisionInputs(DAY, dataset, RecipientFacts(country, **recipient), permits, year)


def of(
    *permits: PermitState,
    tags: Collection[Tag] = PERSONAL,
    now: Collection[str] = ("city", "amount"),
    graded: Collection[str] | None = ("city", "amount"),
    sensitive: Collection[str] | None = None,
    **facts: Any,
) -> DecisionInputs:
    """Return what is known where a dataset has some fields, a grading looked at some, and took some for sensitive."""
    looked_at = None if graded is None else [Field(name, "text") for name in graded]
    fields = compare_fields([Field(name, "text") for name in now], looked_at, sensitive)
    dataset = DatasetState(HandlerFacts(ciio=False), DatasetFacts(frozenset(tags), **facts), fields)
    return replace(known(*permits), dataset=dataset)


def answered(question: Ask, facts: DecisionInputs) -> Decision:
    return decide(question, facts, BOOK)


YEAR = Count(100_000, 0)
FOREIGN = DatasetFacts(PERSONAL, origin=Origin.FOREIGN, domestic_data_added=False)
COURT = {"kind": RecipientKind.JUDICIAL_OR_ENFORCEMENT}
CASES: list[tuple[str, Ask, DecisionInputs]] = [
    ("dataset_unknown", ask(), replace(known(), dataset=None)),
    ("dataset_ungraded", ask(), replace(known(), dataset=DatasetState(HandlerFacts(ciio=False), None, NO_FIELDS))),
    ("recipient_unknown", ask(), replace(known(), recipient=None)),
    ("not_cross_border", ask(), known(country="CN")),
    ("tags_contradicted", ask(), known(tags=())),
    ("tags_contradicted", ask(0, sensitive_persons=1), known(tags=())),
    ("tags_contradicted", ask(1), known(permit(tags=IMPORTANT), tags=IMPORTANT)),
    ("tags_contradicted", ask(0, sensitive_persons=1), known(permit(tags=IMPORTANT), tags=IMPORTANT)),
    ("tags_contradicted", ask(1, sensitive_persons=1), known(permit())),
    ("tags_contradicted", ask(None, sensitive_persons=1), known()),
    ("tags_contradicted", ask(1), of(tags=SENSITIVE)),
    ("tags_contradicted", ask(0), of(tags=SENSITIVE)),
    ("tags_contradicted", ask(None, sensitive_persons=0), of(tags=SENSITIVE)),
    ("tags_contradicted", ask(1, fields=["city"]), of(tags=SENSITIVE)),
    ("tags_contradicted", ask(1), of(tags=SENSITIVE, sensitive=["amount"])),
    ("tags_contradicted", ask(1, fields=["amount"]), of(tags=SENSITIVE, sensitive=["amount"])),
    ("tags_contradicted", ask(1, fields=["city", "phone"]), of(tags=SENSITIVE, sensitive=["amount"])),
    ("tags_contradicted", ask(1, fields=[]), of(tags=SENSITIVE, sensitive=["amount"])),
    ("no_permit", ask(1, fields=["city"]), of(tags=SENSITIVE, sensitive=["amount"])),
    ("no_permit", ask(1, sensitive_persons=1), of(tags=SENSITIVE)),
    ("no_permit", ask(0, sensitive_persons=1, fields=["amount"]), of(tags=SENSITIVE, sensitive=["amount"])),
    ("no_permit", ask(None), of(tags=SENSITIVE)),
    ("tags_contradicted", ask(1, fields=["city"]), of(tags=SENSITIVE, sensitive=["amount"], contains_minors=True)),
    ("tags_contradicted", ask(None), of(permit(), contains_minors=True)),
    ("tags_contradicted", ask(None), of(tags=(), contains_minors=True)),
    ("no_permit", ask(None), of(tags=SENSITIVE, contains_minors=True)),
    ("grading_outdated", ask(), of(permit(), now=["city", "amount", "face"])),
    ("grading_outdated", ask(fields=["city", "face"]), of(permit(), now=["city", "amount", "face"])),
    ("grading_outdated", ask(None), of(tags=(), now=["city", "amount", "face"])),
    ("grading_outdated", ask(None, fields=["face"]), of(tags=())),
    ("grading_outdated", ask(None, fields=["city"]), of(tags=(), graded=None)),
    ("grading_outdated", ask(None), of(tags=(), graded=())),
    ("grading_outdated", ask(None, fields=["face"]), of(tags=(), now=["city"], graded=())),
    ("tags_contradicted", ask(1), of(tags=(), graded=None)),
    ("permitted", ask(fields=["city"]), of(permit(), now=["city", "amount", "face"])),
    ("general_data", ask(None, fields=["city"]), of(tags=(), now=["city", "face"])),
    ("general_data", ask(None, fields=["amount"]), of(tags=(), now=["city"])),
    ("general_data", ask(None, fields=["anything"]), of(tags=(), now=(), graded=())),
    ("not_cross_border", ask(1), replace(of(tags=(), graded=None), recipient=RecipientFacts("CN"))),
    ("general_data", ask(None), known(tags=())),
    ("general_data", ask(0, sensitive_persons=0), known(tags=())),
    ("prohibited", ask(), known(permit(), restricted=True)),
    ("no_permit", ask(), known()),
    ("no_permit", ask(None), known(tags=(), **COURT)),
    ("permit_not_begun", ask(), known(permit(valid_from=date(2026, 11, 25)))),
    ("permit_suspended", ask(), known(permit(valid_from=date(2026, 11, 25), status="suspended"))),
    ("permit_revoked", ask(), known(permit(valid_from=date(2026, 11, 25), status="revoked"))),
    ("no_permit", ask(permit="pm_2"), known(permit())),
    ("permit_suspended", ask(), known(permit(status="suspended"))),
    ("permit_revoked", ask(), known(permit(status="revoked"))),
    ("permit_expired", ask(), known(permit(valid_until=date(2026, 11, 23)))),
    ("grading_changed", ask(), known(permit(), tags=(Tag.PERSONAL, Tag.IMPORTANT))),
    ("permit_suspended", ask(), known(permit(is_overdue=True))),
    ("permit_revoked", ask(), known(permit(is_overdue=True, status="revoked"))),
    ("evidence_lapsed", ask(), known(permit(has_evidence=False))),
    ("evidence_lapsed", ask(), known(permit(), handler=HandlerFacts(ciio=True))),
    ("evidence_lapsed", ask(), known(permit(), **COURT)),
    ("evidence_lapsed", ask(), known(permit(recipient=RecipientFacts("HK")))),
    ("permitted", ask(), known(permit(recipient=RecipientFacts("SG")))),
    ("evidence_lapsed", ask(), known(permit(evidence_kinds=frozenset()))),
    ("permitted", ask(), known(permit(evidence_kinds=frozenset({"impact_assessment_report", "consent_record"})))),
    (
        "permitted",
        ask(),
        replace(
            known(permit(evidence_kinds=frozenset())),
            dataset=DatasetState(HandlerFacts(ciio=False), FOREIGN, FIELDS),
        ),
    ),
    ("evidence_lapsed", ask(), known(permit(requirements=CONTRACT, route=Route.GBA_STANDARD_CONTRACT), year=YEAR)),
    ("permitted", ask(), known(permit(requirements=CONTRACT, route=Route.GBA_STANDARD_CONTRACT))),
    ("permitted", ask(), known(permit(requirements=CONTRACT, route=Route.CERTIFICATION), year=YEAR)),
    ("purpose_not_covered", ask(purpose="advertising"), known(permit())),
    ("purpose_not_covered", ask(purpose=None), known(permit())),
    ("fields_not_covered", ask(fields=["amount"]), known(permit(fields=["city"]))),
    ("fields_not_covered", ask(), known(permit(fields=["city"]))),
    ("fields_not_covered", ask(fields=["phone"]), known(permit())),
    ("fields_not_covered", ask(), known(permit(registered=["city"]))),
    ("fields_not_covered", ask(fields=["amount"]), known(permit(registered=["city"], fields=["amount"]))),
    ("permitted", ask(fields=["city"]), known(permit(registered=["city"]))),
    ("fields_not_covered", ask(), known(permit(registered=[]))),
    ("fields_not_covered", ask(fields=["city"]), known(permit(registered=[]))),
    ("fields_not_covered", ask(fields=["phone"]), known(permit(registered=[]))),
    ("permitted", ask(), of(permit(registered=[]), now=(), graded=())),
    ("permitted", ask(fields=["phone"]), of(permit(registered=[]), now=(), graded=())),
    ("fields_not_covered", ask(), of(permit(registered=[], fields=["phone"]), now=(), graded=())),
    ("permitted", ask(fields=["phone"]), of(permit(registered=[], fields=["phone"]), now=(), graded=())),
    ("fields_not_covered", ask(fields=["city"]), of(permit(registered=[], fields=["phone"]), now=(), graded=())),
    ("system_not_covered", ask(), known(permit(systems=["other"]))),
    ("quota_exceeded", ask(1001), known(permit())),
    ("quota_exceeded", ask(1), known(permit(used=Count(1000, 0)))),
    ("quota_exceeded", ask(1, sensitive_persons=1), of(permit(tags=SENSITIVE), tags=SENSITIVE)),
    ("quota_exceeded", ask(None), known(permit(used=Count(1000, 0)))),
    (
        "permitted",
        ask(0),
        known(permit(tags=frozenset({Tag.IMPORTANT}), requirements=ASSESSED, quota=Count()), tags={Tag.IMPORTANT}),
    ),
    ("ledger_threshold", ask(1), known(permit(), year=Count(99_999, 0))),
    ("ledger_threshold", ask(None), known(permit(), year=Count(100_000, 0))),
    ("permitted", ask(1000), known(permit())),
    ("permitted", ask(None), known(permit())),
    ("permitted", ask(1), known(permit(), year=Count(99_998, 0))),
    ("permitted", ask(1), known(permit(requirements=CONTRACT), year=Count(999_998, 0))),
    ("permitted", ask(fields=["city"]), known(permit(fields=["city"]))),
    ("permitted", ask(fields=["city"]), known(permit())),
    ("permitted", ask(), known(permit(systems=["crm"]))),
    (
        "permitted",
        ask(),
        known(
            permit(transfer=TransferFacts(necessity=Necessity.HR, legal_basis=LegalBasis.HR)), year=Count(5_000_000, 0)
        ),
    ),
    (
        "permitted",
        ask(0),
        known(
            permit(
                tags=frozenset({Tag.IMPORTANT}), quota=Count(), requirements=frozenset({Mechanism.SECURITY_ASSESSMENT})
            ),
            tags=(Tag.IMPORTANT,),
        ),
    ),
]


@pytest.mark.parametrize(("reason", "question", "facts"), CASES, ids=[f"{n}-{c[0]}" for n, c in enumerate(CASES)])
def test_reason(reason: str, question: Ask, facts: DecisionInputs) -> None:
    decision = answered(question, facts)
    assert decision.reason == reason
    assert decision.allowed == (reason in {"permitted", "general_data", "not_cross_border"})


def test_every_reason_has_a_case_and_two_texts() -> None:
    assert {case[0] for case in CASES} == set(Reason)
    assert all(set(text) == {"en", "zh"} for text in REASONS.values())
    assert set(REASONS) == set(Reason)


def test_of_permits_that_allow_the_first_to_end_is_taken() -> None:
    early, late = permit("pm_2", valid_until=date(2026, 11, 30)), permit("pm_1")
    assert answered(ask(), known(late, early)).permit == "pm_2"


def test_of_permits_that_do_not_the_reason_furthest_down_is_told() -> None:
    for first, second in (("pm_1", "pm_2"), ("pm_2", "pm_1")):  # whichever is looked at first
        revoked, other = permit(first, status="revoked"), permit(second, purpose="other")
        assert answered(ask(), known(revoked, other)).reason == "purpose_not_covered"


def test_headroom_is_what_quota_and_year_both_allow() -> None:
    assert answered(ask(), known(permit(used=Count(400, 0)))).headroom == Count(600, 0)
    assert answered(ask(), known(permit(), year=Count(99_900, 0))).headroom == Count(99, 0)
    assert answered(ask(), known()).headroom is None


def test_an_answer_by_permit_names_the_mechanism_and_whether_it_counts() -> None:
    decision = answered(ask(), known(permit()))
    assert (decision.mechanism, decision.counts) == (Mechanism.EXEMPT, True)
    staff = permit(transfer=TransferFacts(necessity=Necessity.HR))
    assert answered(ask(), known(staff)).counts is False


# Who is announced


def announced(persons: int, *, year: int, **permits: int) -> Ask:
    """Return an ask for persons of whom so many are new to the year and to each permit."""
    grown = {ident: Count(new, 0) for ident, new in permits.items()}
    return ask(persons, growth=Growth(Count(year, 0), grown))


def test_of_persons_who_are_announced_the_quota_takes_who_is_new_to_the_permit() -> None:
    full = known(permit(used=Count(990, 0)))
    assert answered(announced(1000, year=0, pm_1=10), full).reason == "permitted"
    assert answered(announced(1000, year=0, pm_1=11), full).reason == "quota_exceeded"


def test_of_persons_who_are_announced_the_law_counts_who_is_new_to_the_year() -> None:
    near = known(permit(), year=Count(99_990, 0))
    assert answered(announced(1000, year=9, pm_1=1000), near).reason == "permitted"
    assert answered(announced(1000, year=10, pm_1=0), near).reason == "ledger_threshold"


def test_each_permit_is_asked_for_who_is_new_to_it_and_one_without_growth_for_everybody() -> None:
    first, second = permit(used=Count(1000, 0)), permit("pm_2", valid_until=date(2027, 1, 1))
    question = announced(1000, year=0, pm_1=1, pm_2=1000)
    assert answered(question, known(first, second)).permit == "pm_2"
    assert answered(announced(1000, year=0), known(permit(used=Count(1, 0)))).reason == "quota_exceeded"


def test_data_about_nobody_allows_nobody_however_well_known() -> None:
    nobody = permit(tags=IMPORTANT, requirements=ASSESSED, quota=Count())
    assert answered(announced(1, year=0, pm_1=0), known(nobody, tags=IMPORTANT)).reason == "tags_contradicted"


def test_a_contradiction_is_named_and_so_is_the_first_day_of_a_permit() -> None:
    told = {
        "persons_of_general_data": (ask(1), known(tags=())),
        "sensitive_persons_without_tag": (ask(1, sensitive_persons=1), known()),
        "no_sensitive_persons": (ask(1), of(tags=SENSITIVE)),
        "minors_without_tag": (ask(None), of(contains_minors=True)),
    }
    assert set(told) == set(Contradiction)
    assert {name: answered(*case).contradiction for name, case in told.items()} == {name: name for name in told}
    tomorrow = date(2026, 11, 25)
    begun = [answered(ask(), known(permit(valid_from=day))).valid_from for day in (tomorrow, DAY)]
    assert begun == [tomorrow, None]


def test_what_is_taken_is_the_growth_of_each_total_or_everybody() -> None:
    question = announced(1000, year=3, pm_1=7)
    assert (question.of_year, question.of_permit("pm_1")) == (Count(3, 0), Count(7, 0))
    assert question.of_permit(None) == question.of_permit("pm_2") == Count(1000, 0)
    assert ask(5).of_year == ask(5).of_permit("pm_1") == Count(5, 0)


def test_a_permit_of_which_more_is_used_is_the_same_in_all_else() -> None:
    before = permit(used=Count(3, 1))
    assert before.using(Count(4, 2)) == replace(before, used=Count(7, 3))
