"""The replay of the log: what the entries say, and what of it cannot be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from service.verifier.replay import (
    MAX_SENTENCES,
    Claim,
    Permit,
    Replay,
    canonical,
    compute_standing,
    conditions_match,
    digest,
    digest_of_end,
    possible_actors_of,
)
from tests.world import Json

HASH = "sha256:1"
PERMIT: Json = {
    "id": "pm_1",
    "transfer": "tr_1",
    "revision": HASH,
    "recipient": "rc_1",
    "purpose": "analytics",
    "fields": None,
    "datasets": [{"id": "ds_1", "fields": ["city", "amount"]}],
    "persons": 100,
    "sensitive_persons": 10,
    "valid_from": "2026-01-01",
    "valid_until": "2026-12-31",
}


class Told:
    """A log, entry by entry, an hour between them."""

    def __init__(self) -> None:
        self.replay = Replay()
        self.hours = 0

    def tell(self, action: str, subject: str, actor: str = "pr_author", at: str | None = None, **details: Any) -> None:
        self.hours += 1
        moment = at or f"2026-03-{1 + self.hours // 24:02d}T{self.hours % 24:02d}:00:00Z"
        self.replay.apply({"action": action, "subject": subject, "actor": actor, "at": moment, "details": details})

    def submit(self, number: int = 1, hash_: str = HASH, stages: tuple[str, ...] = ("privacy", "legal")) -> None:
        self.tell("transfer.submitted", "tr_1", revision=number, hash=hash_, stages=list(stages))

    def review(self, stage: str, reviewer: str, decision: str = "approve", hash_: str = HASH, **more: Any) -> None:
        about = {"review": f"rv_{stage}", "stage": stage, "decision": decision, "revision": 1, "hash": hash_}
        self.tell("transfer.reviewed", "tr_1", reviewer, **about | more)

    def issue(self, **more: Any) -> None:
        self.tell("permit.issued", "pm_1", "pr_legal", **PERMIT | more)

    def approved(self, **more: Any) -> Told:
        self.submit()
        self.review("privacy", "pr_privacy")
        self.review("legal", "pr_legal")
        self.issue(**more)
        return self

    def reserve(self, export: str, persons: int, until: str = "2026-12-01T00:00:00Z", **more: Any) -> None:
        question = {"purpose": "analytics", "persons": persons, **more.pop("question", {})}
        about = {
            "evaluation": export.replace("ex_", "ev_"),
            "dataset": "ds_1",
            "recipient": "rc_1",
            "permit": "pm_1",
            "question": question,
            "expires_at": until,
        }
        self.tell("export.reserved", export, "pr_system", at=more.pop("at", None), **about | more)

    def complete(self, export: str, persons: int, way: str = "number") -> None:
        ways = {"persons": way, "sensitive_persons": "number"}
        sent = {"persons": persons, "sensitive_persons": 0}
        self.tell("export.completed", export, "pr_system", sent=sent, permit="pm_1", told_by=ways)

    def found(self, claim: str) -> str:
        return self.replay.claims[claim].verdict


@pytest.fixture
def log() -> Told:
    return Told()


def test_a_claim_is_broken_by_a_fault_open_by_a_gap_and_else_held_if_anything_was_looked_at() -> None:
    claim = Claim("Something is so.")
    verdicts = [claim.verdict]
    for act in (lambda: claim.check(True, ""), lambda: claim.add_gap("unknown"), lambda: claim.add_fault("wrong")):
        act()
        verdicts.append(claim.verdict)
    assert verdicts == ["nothing to check", "held", "cannot be checked", "broken"]


def test_a_claim_tells_its_first_faults_and_counts_all() -> None:
    claim = Claim("Something is so.")
    for number in range(25):
        claim.add_fault(str(number))
    assert (claim.faults, claim.sentences) == (25, [str(number) for number in range(MAX_SENTENCES)])


def test_what_is_properly_approved_and_used_is_held(log: Told) -> None:
    log.approved()
    log.reserve("ex_1", 60)
    log.complete("ex_1", 50)
    log.reserve("ex_2", 50)
    log.tell("export.cancelled", "ex_2", "pr_system", permit="pm_1")
    log.reserve("ex_3", 50)
    log.tell("transfer.commented", "tr_1", text={"sealed": HASH})
    claims = ("reviews", "separation", "approval", "standing", "quota")
    assert {log.found(claim) for claim in claims} == {"held"}


@pytest.mark.parametrize(
    ("reviewer", "more"),
    [("pr_author", {}), ("pr_privacy", {}), ("pr_legal", {"on_behalf_of": "pr_author"}), ("pr_recused", {})],
)
def test_an_author_somebody_of_another_stage_and_somebody_recused_may_not_review(
    log: Told, reviewer: str, more: Json
) -> None:
    log.tell("transfer.created", "tr_1")
    log.tell("transfer.recused", "tr_1", "pr_recused", reason={"sealed": HASH})
    log.submit()
    log.review("privacy", "pr_privacy")
    assert log.found("separation") == "held"
    log.review("legal", reviewer, **more)
    assert log.found("separation") == "broken"


def shown_key(*seen_by: str) -> Json:
    """What an entry says of the credential."""
    return {"credential": {"id": "ky_1", "seen_by": list(seen_by)}}


def test_two_keys_of_one_maker_are_one_hand_in_two_stages(log: Told) -> None:
    log.submit()
    log.review("privacy", "pr_privacy", **shown_key("pr_admin"))
    log.review("legal", "pr_legal", **shown_key("pr_admin"))
    assert "pr_admin was in another stage of it" in log.replay.claims["separation"].sentences[0]


@pytest.mark.parametrize("is_first", [True, False])
def test_whoever_made_a_key_and_acts_as_themselves_as_well_is_found_in_either_order(
    log: Told, *, is_first: bool
) -> None:
    log.submit()
    hands: list[tuple[str, Json]] = [("pr_admin", shown_key()), ("pr_legal", shown_key("pr_admin"))]
    for stage, (reviewer, key) in zip(("privacy", "legal"), hands if is_first else hands[::-1], strict=True):
        log.review(stage, reviewer, **key)
    assert log.found("separation") == "broken"


@pytest.mark.parametrize("action", ["transfer.created", "transfer.terms_accepted", "transfer.recused"])
def test_a_request_that_was_written_by_a_key_counts_as_that_of_its_maker(log: Told, action: str) -> None:
    log.tell(action, "tr_1", "pr_lin", **shown_key("pr_admin"))
    log.submit()
    log.review("privacy", "pr_admin", **shown_key())
    assert log.found("separation") == "broken"


def test_a_change_of_nothing_makes_nobody_an_author(log: Told) -> None:
    log.tell("transfer.changed", "tr_1", "pr_privacy", before={}, after={})
    log.submit()
    log.review("privacy", "pr_privacy")
    assert log.found("separation") == "held"
    log.tell("transfer.changed", "tr_1", "pr_legal", before={"persons": 1}, after={"persons": 2})
    log.review("legal", "pr_legal")
    assert log.found("separation") == "broken"


@pytest.mark.parametrize(
    ("filer", "key", "verdict"),
    [
        ("pr_lin", shown_key(), "held"),
        ("pr_legal", shown_key(), "broken"),
        ("pr_lin", shown_key("pr_legal"), "broken"),
        ("pr_legal", {}, "held"),  # before entries said so it was allowed
    ],
)
def test_whoever_filed_what_a_permit_rests_on_decided_no_stage(log: Told, filer: str, key: Json, verdict: str) -> None:
    log.tell("transfer.evidence_added", "tr_1", filer, evidence="ed_1", document=None, **key)
    log.approved(evidence=["ed_1"])
    assert log.found("separation") == verdict


def test_what_replaces_a_paper_later_was_filed_by_nobody_who_decided(log: Told) -> None:
    log.approved(evidence=[])
    log.tell("transfer.evidence_added", "tr_1", "pr_legal", evidence="ed_2", document=None, **shown_key())
    assert log.found("separation") == "held"
    log.tell("permit.evidence_replaced", "pm_1", replaced="ed_1", by="ed_2", valid_until="2026-12-31")
    assert log.found("separation") == "broken"


def test_what_a_renewal_repeats_was_filed_by_whoever_filed_it_first(log: Told) -> None:
    log.tell("transfer.evidence_added", "tr_0", "pr_legal", evidence="ed_0", document=None, **shown_key())
    log.tell("transfer.renewal_begun", "tr_1", "pr_lin", reused=["ed_1"], repeats=["ed_0"], **shown_key())
    log.approved(evidence=["ed_1"])
    assert log.found("separation") == "broken"


@pytest.mark.parametrize(
    ("details", "persons", "is_stated"),
    [
        ({}, {"pr_a"}, False),
        (shown_key(), {"pr_a"}, True),
        (shown_key("pr_b", "pr_c"), {"pr_a", "pr_b", "pr_c"}, True),
        ({**shown_key("pr_b"), "on_behalf_of": "pr_d"}, {"pr_a", "pr_b", "pr_d"}, True),
        ({"credential": {"sealed": "sha256:1"}}, {"pr_a"}, True),
        ({"credential": {"id": "ky_1", "seen_by": {"sealed": "sha256:1"}}}, {"pr_a"}, True),
    ],
)
def test_who_could_have_made_an_act_is_in_its_entry(details: Json, persons: set[str], *, is_stated: bool) -> None:
    by = possible_actors_of({"actor": "pr_a", "details": details})
    assert (by.persons, by.is_stated) == (persons, is_stated)
    assert by.fits(sorted(persons))
    assert not by.fits(["pr_x"])
    assert by.fits(None) is (not is_stated)


def test_who_could_have_graded_confirmed_added_and_verified_is_kept(log: Told) -> None:
    log.tell("dataset.graded", "ds_1", "pr_a", number=1, tags=[], **shown_key("pr_b"))
    log.tell("dataset.grading_confirmed", "ds_1", "pr_c", number=1, tags=[], **shown_key())
    log.tell("transfer.evidence_added", "tr_1", "pr_d", evidence="ed_1", document=None, **shown_key())
    log.tell("transfer.evidence_verified", "tr_1", "pr_e", evidence="ed_1", **shown_key("pr_b"))
    log.tell("permit.evidence_replaced", "pm_elsewhere", replaced="ed_0", by="ed_1", valid_until="2026-12-31")
    assert {act: set(by.persons) for act, by in log.replay.possible_actors.items()} == {
        ("ds_1", 1, "graded"): {"pr_a", "pr_b"},
        ("ds_1", 1, "confirmed"): {"pr_c"},
        ("ed_1", "added"): {"pr_d"},
        ("ed_1", "verified"): {"pr_b", "pr_e"},
    }


def test_the_same_person_may_decide_a_stage_again(log: Told) -> None:
    log.submit()
    log.review("privacy", "pr_privacy", "return")
    log.review("privacy", "pr_privacy")
    assert log.found("separation") == "held"


@pytest.mark.parametrize("more", [{"hash_": "sha256:2"}, {"revision": 1}])
def test_a_review_of_another_content_than_stands_is_found(log: Told, more: Json) -> None:
    log.submit()
    if "revision" in more:
        log.submit(2, "sha256:2")
    log.review("privacy", "pr_privacy", **more)
    assert log.found("reviews") == "broken"


def test_a_review_without_its_revision_is_found_unless_entries_are_withheld(log: Told) -> None:
    log.replay.withheld = 1
    log.review("privacy", "pr_privacy")
    assert log.found("reviews") == "cannot be checked"
    log.replay.withheld = 0
    log.review("privacy", "pr_privacy")
    assert log.found("reviews") == "broken"


def test_what_was_in_an_archived_month_cannot_be_checked(log: Told) -> None:
    log.replay.archived = frozenset({"2026-01"})
    log.replay.add_missing("records", "January", "2026-01-31T00:00:00Z")
    assert log.found("records") == "cannot be checked"
    log.replay.add_missing("approval", "any month")
    assert log.found("approval") == "cannot be checked"
    log.replay.add_missing("records", "February", "2026-02-01T00:00:00Z")
    assert log.found("records") == "broken"


def test_a_permit_without_a_stage_a_revision_or_on_another_one_is_found(log: Told) -> None:
    log.issue()
    assert log.found("approval") == "broken"
    for hash_, stages in ((HASH, ("privacy", "legal")), ("sha256:2", ("privacy",))):
        other = Told()
        other.submit(1, hash_, stages)
        other.review("privacy", "pr_privacy", hash_=hash_)
        other.issue()
        assert other.found("approval") == "broken"


def test_an_approval_that_was_taken_back_is_none(log: Told) -> None:
    log.submit(stages=("privacy",))
    log.review("privacy", "pr_privacy")
    log.tell("transfer.approval_taken_back", "tr_1", review="rv_privacy", stage="privacy", revision=1)
    log.tell("transfer.approval_taken_back", "tr_1", review="rv_unknown", stage="legal", revision=1)
    log.issue()
    assert log.replay.reviews["rv_privacy"].is_taken_back
    assert log.found("approval") == "broken"


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"dataset": "ds_2"}, "other datasets"),
        ({"recipient": "rc_2"}, "another recipient"),
        ({"question": {"purpose": "advertising"}}, "another purpose"),
        ({"question": {"fields": ["passport"]}}, "fewer fields"),
        ({"at": "2025-12-31T15:59:59Z"}, "good from"),
        ({"at": "2026-12-31T16:00:00Z"}, "good from"),
    ],
)
def test_a_use_that_the_permit_does_not_cover_is_found(log: Told, more: Json, why: str) -> None:
    log.approved()
    log.reserve("ex_1", 1, question={"fields": ["city"]})
    log.reserve("ex_2", 1, at="2025-12-31T16:00:00Z", until="2025-12-31T17:00:00Z")
    log.reserve("ex_3", 1, at="2026-12-31T15:59:59Z", until="2026-12-31T17:00:00Z")
    assert log.found("standing") == "held"
    log.reserve("ex_4", 1, **more)
    assert log.found("standing") == "broken"
    assert why in log.replay.claims["standing"].sentences[0]


@pytest.mark.parametrize("verb", ["suspended", "revoked"])
def test_a_use_while_the_permit_was_stopped_is_found(log: Told, verb: str) -> None:
    log.approved()
    log.tell(f"permit.{verb}", "pm_1", reason={"sealed": HASH})
    log.reserve("ex_1", 1)
    assert f"the permit was {verb}" in log.replay.claims["standing"].sentences[0]


def test_a_permit_that_was_resumed_stands_again(log: Told) -> None:
    log.approved()
    log.tell("permit.suspended", "pm_1", reason={"sealed": HASH})
    log.tell("permit.resumed", "pm_1", reason={"sealed": HASH})
    log.reserve("ex_1", 1)
    assert log.found("standing") == "held"


@pytest.mark.parametrize("action", ["permit.superseded", "permit.evidence_replaced"])
def test_a_permit_that_was_shortened_ends_then(log: Told, action: str) -> None:
    log.approved()
    log.tell(action, "pm_1", valid_until="2026-01-31")
    log.reserve("ex_1", 1)
    assert log.found("standing") == "broken"


def test_what_happens_to_a_permit_that_is_not_in_the_pack_is_passed_over(log: Told) -> None:
    for action in ("permit.amended", "permit.superseded", "permit.revoked"):
        log.tell(action, "pm_2", after={"persons": 1}, valid_until="2026-01-31")
    log.tell("export.reserved", "ex_1", evaluation="ev_1", dataset="ds_1", recipient="rc_1", permit=None,
             question={"purpose": "analytics"}, expires_at="2026-12-01T00:00:00Z")  # fmt: skip
    log.tell("export.cancelled", "ex_1", permit=None)
    assert log.replay.permits == {}
    assert log.found("standing") == "nothing to check"


def test_a_use_of_a_permit_that_nothing_issued_is_found(log: Told) -> None:
    log.reserve("ex_1", 1)
    log.complete("ex_1", 1)
    assert log.found("standing") == "broken"


def test_more_than_the_quota_is_found_in_what_was_sent_and_what_is_held(log: Told) -> None:
    log.approved()
    log.reserve("ex_1", 60)
    log.complete("ex_1", 40)
    log.reserve("ex_2", 60)
    assert log.found("quota") == "held"
    log.reserve("ex_3", 1)
    assert log.found("quota") == "broken"


def test_a_narrowed_quota_counts_from_then_on(log: Told) -> None:
    log.approved()
    log.reserve("ex_1", 60)
    log.tell("permit.amended", "pm_1", before={"persons": 100}, after={"persons": 70})
    log.reserve("ex_2", 10)
    assert log.found("quota") == "held"
    log.reserve("ex_3", 1)
    assert log.found("quota") == "broken"


def test_what_has_lapsed_is_given_back(log: Told) -> None:
    log.approved()
    log.reserve("ex_1", 100, until="2026-03-01T06:00:00Z")
    log.reserve("ex_2", 100, at="2026-03-01T06:00:00Z")
    assert log.found("quota") == "held"


def test_persons_who_were_announced_hold_what_they_add(log: Told) -> None:
    log.approved()
    log.reserve("ex_1", 100)
    log.complete("ex_1", 100)
    log.reserve("ex_2", 100, announced={"permit": {"persons": 0, "sensitive_persons": 0}})
    assert log.found("quota") == "held"


def test_persons_told_by_hash_may_be_the_same_so_more_of_them_cannot_be_checked(log: Told) -> None:
    log.approved()
    log.reserve("ex_1", 100)
    log.complete("ex_1", 100, "hash")
    log.reserve("ex_2", 1)
    assert log.found("quota") == "cannot be checked"


@pytest.mark.parametrize(
    "sealed",
    [
        {"datasets": {"sealed": HASH}},
        {"fields": {"sealed": HASH}},
        {"datasets": [{"id": "ds_1", "fields": {"sealed": HASH}}]},
    ],
)
def test_lists_that_are_in_the_log_as_a_hash_cannot_be_checked(log: Told, sealed: Json) -> None:
    log.approved(**sealed)
    log.reserve("ex_1", 1, question={"fields": ["passport"]})
    assert log.found("standing") == "cannot be checked"


def test_a_permit_for_named_fields_covers_these_alone() -> None:
    permit = Permit(PERMIT | {"fields": ["city"]})
    details, now = {"dataset": "ds_1", "recipient": "rc_1"}, datetime.fromisoformat("2026-05-01T00:00:00Z")
    assert permit.denials({"purpose": "analytics", "fields": ["city"]}, details, now) == []
    assert permit.denials({"purpose": "analytics", "fields": ["amount"]}, details, now) != []


def test_an_export_is_known_by_all_that_became_of_it(log: Told) -> None:
    log.approved()
    log.reserve("ex_1", 5, at="2026-03-02T00:00:00Z")
    began = digest("ev_1", "ds_1", "rc_1", "pm_1", "pr_system", "analytics", (5, 0), "2026-03-02T00:00:00Z",
                   "2026-12-01T00:00:00Z")  # fmt: skip
    assert log.replay.exports["ex_1"] == began
    log.tell("export.completed", "ex_1", sent={"persons": 4}, permit="pm_1", told_by={}, at="2026-03-03T00:00:00Z")
    assert log.replay.exports["ex_1"] == began + digest_of_end(began, "completed", (4, 0), "2026-03-03T00:00:00Z")
    assert digest_of_end(began, "completed", (4, 0), "") != digest_of_end(began, "cancelled", None, "")


def test_a_late_report_is_what_became_of_an_export_and_counts(log: Told) -> None:
    log.approved()
    log.reserve("ex_1", 60)
    began = log.replay.exports["ex_1"]
    log.tell("export.cancelled", "ex_1", "pr_system", permit="pm_1")
    log.tell("export.reported_late", "ex_1", reported={"persons": 7})
    assert log.replay.permits["pm_1"].count_used(datetime.fromisoformat("2026-05-01T00:00:00Z")) == (0, 0)
    ways, at = {"persons": "number", "sensitive_persons": "number"}, "2026-05-02T00:00:00Z"
    about = {"permit": "pm_1", "told_by": ways, "at": at}
    log.tell("export.reported_late", "ex_1", sent={"persons": 50}, more={"persons": 50}, was="cancelled", **about)
    log.tell("export.reported_late", "ex_1", sent={"persons": 70}, more={"persons": 20}, was="completed", **about)
    assert log.replay.exports["ex_1"] == began + digest_of_end(began, "completed", (70, 0), at)
    assert log.found("quota") == "held"
    log.reserve("ex_2", 40)
    assert log.found("quota") == "broken"
    log.tell("export.reported_late", "ex_2", sent={"persons": 1}, more={"persons": 1}, **about | {"permit": None})
    assert log.replay.permits["pm_1"].is_counted_by_hash is False


def test_an_end_without_a_beginning_is_found(log: Told) -> None:
    log.tell("export.cancelled", "ex_1", permit=None)
    assert log.found("records") == "broken"


def test_an_end_without_a_beginning_under_a_permit_of_the_pack_is_found(log: Told) -> None:
    log.approved()
    log.tell("export.cancelled", "ex_1", permit="pm_1")
    assert log.found("records") == "broken"


def test_an_end_under_a_permit_that_is_not_of_the_pack_is_left_to_others(log: Told) -> None:
    log.approved()
    before = log.found("records")
    log.tell("export.cancelled", "ex_1", permit="pm_other")
    assert log.found("records") == before != "broken"


def test_evidence_and_gradings_are_kept(log: Told) -> None:
    log.tell("transfer.evidence_added", "tr_1", evidence="ed_1", document="00")
    log.tell("dataset.graded", "ds_1", number=2, tags=["personal"])
    assert log.replay.evidence == {"ed_1": "00"}
    assert log.replay.gradings == {("ds_1", 2): ["personal"]}


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("abc_", max_size=3), inner),
)


@given(_VALUES)
def test_what_is_hashed_again_is_canonical(value: Any) -> None:
    assert canonical(value) == rfc8785.dumps(value)


def test_what_is_not_looked_at_here_is_said_once_and_counted() -> None:
    claim = Claim("Something is so.")
    for _ in range(3):
        claim.add_omission("Not here.")
    assert (claim.verdict, claim.omissions, claim.sentences) == ("not checked here", 3, ["Not here."])
    claim.add_gap("unknown")
    assert claim.verdict == "cannot be checked"


def test_what_a_record_of_a_review_must_say_is_in_its_entry(log: Told) -> None:
    log.submit()
    log.review("privacy", "pr_privacy", on_behalf_of="pr_lin")
    said = ("tr_1", 1, "privacy", "approve", HASH, "pr_privacy", "pr_lin")
    assert log.replay.reviews["rv_privacy"].stated == (*said, False)
    log.tell("transfer.approval_taken_back", "tr_1", "pr_privacy", review="rv_privacy", stage="privacy", revision=1)
    assert log.replay.reviews["rv_privacy"].stated == (*said, True)


def test_a_permit_knows_what_was_sent_of_it(log: Told) -> None:
    log.approved()
    assert log.replay.permits["pm_1"].sent == {"persons": 0, "sensitive_persons": 0}
    log.reserve("ex_1", 60)
    log.complete("ex_1", 50)
    log.reserve("ex_2", 7)
    assert log.replay.permits["pm_1"].sent == {"persons": 50, "sensitive_persons": 0}


def test_whether_an_export_counts_is_kept_where_its_entry_says_so(log: Told) -> None:
    log.reserve("ex_1", 5, permit=None, counts=True)
    log.reserve("ex_2", 5, permit=None, counts=False)
    log.reserve("ex_3", 5, permit=None)
    assert log.replay.counts == {"ex_1": True, "ex_2": False}
    assert log.found("standing") == "nothing to check"


def test_a_paper_of_a_permit_that_is_not_in_the_pack_is_passed_over(log: Told) -> None:
    log.tell("permit.evidence_replaced", "pm_9", replaced="ed_1", by="ed_2", valid_until="2026-12-31")
    assert (log.replay.permits, log.found("separation")) == ({}, "nothing to check")


@pytest.mark.parametrize(
    ("said", "shown", "alike"),
    [
        (None, None, True),
        (None, {}, False),
        ({}, None, False),
        ({"persons": 5, "fields": None}, {"persons": 5}, True),
        ({"persons": 5}, {"persons": 6}, False),
        ({"persons": 5}, {}, False),
        ({"terms": ["a", "b"]}, {"terms": 2}, True),
        ({"terms": ["a", "b"]}, {"terms": 1}, False),
        ({"fields": {"sealed": HASH}}, {"fields": ["city"]}, True),
        ({"fields": {"sealed": HASH}}, {}, False),
    ],
)
def test_conditions_are_shown_as_they_were_said(said: Json | None, shown: Json | None, *, alike: bool) -> None:
    assert conditions_match(said, shown) is alike


STANDS: Json = PERMIT | {
    "handler": "hd_1",
    "datasets": [{"id": "ds_1", "tags": ["personal"]}],
    "evidence": ["ed_1"],
    "sent": {"persons": 99, "sensitive_persons": 10},
    "stored_status": "active",
}
DUTY: Json = {
    "id": "ob_1",
    "permit": "pm_1",
    "handler": "hd_1",
    "blocks": True,
    "state": "open",
    "due_on": "2026-05-01",
    "ended_at": None,
}
WEIGHTY: Json = {"datasets": [{"id": "ds_1", "tags": ["important"]}], "persons": 0, "sensitive_persons": 0}
OF_ALL: Json = {"permit": None}
USED_UP: Json = {"sent": {"persons": 100, "sensitive_persons": 10}}


@pytest.mark.parametrize(
    ("permit", "duty", "status"),
    [
        ({}, {"due_on": "2026-05-02"}, "active"),
        ({}, {"blocks": False}, "active"),
        ({}, {"state": "done"}, "active"),
        ({}, {"permit": "pm_2"}, "active"),
        ({}, OF_ALL, "active"),
        ({}, {"ended_at": "2026-05-01T15:59:59Z"}, "active"),
        ({}, {"ended_at": "2026-05-02T16:00:00Z"}, "suspended"),
        ({}, {}, "suspended"),
        (WEIGHTY, OF_ALL, "suspended"),
        (WEIGHTY, OF_ALL | {"handler": "hd_2"}, "active"),
        (USED_UP, {}, "suspended"),
        (USED_UP, {"state": "done"}, "exhausted"),
        (WEIGHTY | USED_UP, {"state": "done"}, "active"),
        ({"stored_status": "suspended"}, {"state": "done"}, "suspended"),
        ({"stored_status": "revoked", "valid_until": "2026-05-01"}, {}, "revoked"),
        ({"stored_status": "suspended", "valid_until": "2026-05-01"}, {"state": "done"}, "expired"),
        ({"valid_until": "2026-05-02"}, {"state": "done"}, "active"),
    ],
)
def test_a_permit_stands_where_its_status_its_days_its_duties_and_its_quota_put_it(
    permit: Json, duty: Json, status: str
) -> None:
    late = datetime(2026, 5, 1, 16, tzinfo=UTC)  # the second of May in China
    stands = compute_standing(STANDS | permit, [DUTY | duty], {}, late)
    is_late = status == "suspended" and "stored_status" not in permit
    assert stands["status"] == status
    assert stands["lost_evidence"] == []
    assert stands["overdue"] == (["ob_1"] if is_late or status == "revoked" else [])


@pytest.mark.parametrize(("ended_at", "lost"), [(None, []), ("2026-04-01T00:00:00Z", ["ed_1"])])
def test_a_permit_is_suspended_where_a_paper_that_it_rests_on_has_ended(ended_at: str | None, lost: list[str]) -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    stands = compute_standing(STANDS, [], {"ed_1": {"ended_at": ended_at}}, now)
    assert stands == {"status": "suspended" if lost else "active", "overdue": [], "lost_evidence": lost}
