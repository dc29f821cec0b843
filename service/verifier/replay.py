"""Replays the entries of a log in their order, and finds contradictions among them: the domain core of `outbound verify`.

An entry that depends on another one always has the higher leaf: an act that stops a permit waits for the gate's lock, and an act that
takes from a quota waits for the permit's row.

Example:
    replay = Replay()
    for body in entries:  # `{"action": "permit.issued", "subject": …, "actor": …, "at": …, "details": {…}}`, by rising leaf
        replay.apply(body)
    broken = [claim.text for claim in replay.claims.values() if claim.verdict == "broken"]
"""

import hashlib
import heapq
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, Final

Json = dict[str, Any]

CLAIMS: Final = {
    "files": "Every file is the one that the manifest names; none is missing, added or there twice.",
    "manifest": "The manifest was signed by the log's key.",
    "checkpoint": "The checkpoint was signed by the log's key.",
    "witnesses": "Witnesses have cosigned the checkpoint.",
    "inclusion": "Every entry is in the log at its place, under the checkpoint.",
    "records": "Each act in the pack is as its entry in the log states it, and the pack has every act of the requests in it.",
    "columns": "Each column in the pack has the value that the last act to set it wrote.",
    "evidence": "Each evidence file is the one that was added.",
    "reviews": "Each review is of its revision, by the hash of the submitted content.",
    "separation": (
        "Each person who decided a stage, or had seen the secret of the key that decided it, wrote no part of the request, decided no "
        "other stage, had not recused themselves, and filed no evidence of the permit."
    ),
    "approval": "Every stage had approved the last revision when its permit was issued.",
    "law": "The law of the day gives the stored determination.",
    "standing": "Each permit was active, and covered the export, at each use.",
    "quota": "No permit was used for more persons than it allowed.",
    "permits": "The record of each permit was signed by the service.",
}

MAX_SENTENCES: Final = 10
SHANGHAI: Final = timezone(timedelta(hours=8))
"""Asia/Shanghai since 1992, without a database of time zones."""


@dataclass(slots=True)
class Claim:
    """A claim about the pack, with the number of checks and the first faults and gaps."""

    text: str
    checked: int = 0
    faults: int = 0
    gaps: int = 0
    omissions: int = 0
    """Records that this verifier does not check."""
    sentences: list[str] = field(default_factory=list)
    """The first faults and gaps, as sentences."""

    def add_fault(self, sentence: str) -> None:
        """Record a reason why the claim does not hold."""
        self.faults += 1
        self._add_sentence(sentence)

    def add_gap(self, sentence: str) -> None:
        """Record a reason why a part of the claim cannot be checked."""
        self.gaps += 1
        self._add_sentence(sentence)

    def add_omission(self, sentence: str) -> None:
        """Record, once, a reason why this verifier does not check the claim."""
        if not self.omissions:
            self._add_sentence(sentence)
        self.omissions += 1

    def check(self, is_true: bool, sentence: str) -> None:  # noqa: FBT001 - the condition to check
        """Count one check, and record a fault if its condition is false."""
        self.checked += 1
        if not is_true:
            self.add_fault(sentence)

    def _add_sentence(self, sentence: str) -> None:
        if len(self.sentences) < MAX_SENTENCES:
            self.sentences.append(sentence)

    @property
    def verdict(self) -> str:
        """Verdict: `held`, `broken`, `cannot be checked`, `not checked here`, or `nothing to check` without a record to check."""
        if self.faults:
            return "broken"
        if self.gaps:
            return "cannot be checked"
        if self.omissions:
            return "not checked here"
        return "held" if self.checked else "nothing to check"


def canonical(value: object) -> bytes:
    """Return the RFC 8785 bytes of a JSON value that has no fractions and only ASCII names, as everything hashed here has."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


DIGEST_SIZE: Final = 16
"""Bytes."""


def digest(*parts: object) -> bytes:
    """Return a digest of `DIGEST_SIZE` bytes of some texts and numbers."""
    return hashlib.sha256(repr(parts).encode()).digest()[:DIGEST_SIZE]


@dataclass(frozen=True, slots=True)
class PossibleActors:
    """Principals who could have made an act: its actor, all who have seen the credential's secret, and the lender of the role."""

    persons: frozenset[str]
    is_stated: bool
    """True if the entry names the credential: entries of earlier versions and of the command line do not."""

    def fits(self, listed: Sequence[str] | None) -> bool:
        """Return True if a record lists the same persons; None is a record without a list."""
        return not self.is_stated if listed is None else set(listed) == self.persons


@dataclass(slots=True)
class Review:
    """A review as its entry states it."""

    transfer: str
    revision: int
    stage: str
    decision: str
    hash: str
    reviewer: str
    on_behalf_of: str | None
    possible_actors: PossibleActors
    is_taken_back: bool = False
    conditions: Json | None = field(default=None, compare=False)

    @property
    def stated(self) -> tuple[Any, ...]:
        """The members that a record of it must repeat, without the persons."""
        return (
            self.transfer,
            self.revision,
            self.stage,
            self.decision,
            self.hash,
            self.reviewer,
            self.on_behalf_of,
            self.is_taken_back,
        )


def possible_actors_of(body: Json) -> PossibleActors:
    """Return the possible actors of an entry; a list that is in the log as a commitment, for its length, counts as empty."""
    details = body["details"]
    credential = details.get("credential")
    seen_by = () if credential is None or is_commitment(credential) else credential["seen_by"]
    named = {body["actor"], details.get("on_behalf_of"), *(() if is_commitment(seen_by) else seen_by)}
    return PossibleActors(frozenset(name for name in named if isinstance(name, str)), credential is not None)


class Permit:
    """A permit at one place of the log: its scope, its status, and the persons sent and reserved under it."""

    def __init__(self, scope: Json) -> None:
        self.scope = scope
        self.amend()
        self.status = "active"
        self.is_counted_by_hash = False
        """True if persons were reported by hash. The same person may be in several reports, so their sum is an upper bound."""
        self._sent_persons = [0, 0]
        self._reserved_persons = [0, 0]
        self._reservations: dict[str, tuple[int, int]] = {}
        self._expiries: list[tuple[datetime, str]] = []

    def reserve(self, export: str, persons: tuple[int, int], until: datetime) -> None:
        """Reserve persons for an export until an instant."""
        self._reservations[export] = persons
        heapq.heappush(self._expiries, (until, export))
        self._reserved_persons = [old + more for old, more in zip(self._reserved_persons, persons, strict=True)]

    def release(self, export: str) -> None:
        """Release the persons reserved for an export; without effect if the reservation has expired."""
        persons = self._reservations.pop(export, (0, 0))
        self._reserved_persons = [old - less for old, less in zip(self._reserved_persons, persons, strict=True)]

    def report(self, export: str, persons: tuple[int, int]) -> None:
        """Add the persons that an export sent, and release its reservation."""
        self.release(export)
        self._sent_persons = [old + more for old, more in zip(self._sent_persons, persons, strict=True)]

    @property
    def sent(self) -> Json:
        """Reported persons of each kind."""
        return {"persons": self._sent_persons[0], "sensitive_persons": self._sent_persons[1]}

    def count_used(self, now: datetime) -> tuple[int, int]:
        """Return the persons of each kind that are reported, or reserved at an instant; expired reservations are released."""
        while self._expiries and self._expiries[0][0] <= now:
            self.release(heapq.heappop(self._expiries)[1])
        return self._sent_persons[0] + self._reserved_persons[0], self._sent_persons[1] + self._reserved_persons[1]

    def amend(self, **terms: Any) -> None:
        """Change members of the scope, from this place of the log on."""
        self.scope |= terms
        fields, datasets = self.scope["fields"], self.scope["datasets"]
        lists = [fields, datasets, *(() if is_commitment(datasets) else (dataset["fields"] for dataset in datasets))]
        self.has_committed_lists = any(map(is_commitment, lists))
        """True if its lists are so long that the log has only commitments to them."""
        named = (
            [] if self.has_committed_lists else fields or [name for dataset in datasets for name in dataset["fields"]]
        )
        self._fields = frozenset(named)
        self._datasets = frozenset(() if self.has_committed_lists else (dataset["id"] for dataset in datasets))
        self._from = _midnight(self.scope["valid_from"])
        self._until = _midnight(self.scope["valid_until"]) + timedelta(days=1)

    def denials(self, question: Json, details: Json, now: datetime) -> list[str]:
        """Return the reasons against an export under the permit at an instant; none: the permit covers it."""
        scope, wrong = self.scope, []
        if self.status != "active":
            wrong.append(f"the permit was {self.status}")
        if not self._from <= now < self._until:
            wrong.append(f"it was good from {scope['valid_from']} to {scope['valid_until']}")
        if self._datasets and details["dataset"] not in self._datasets:
            wrong.append("it is for other datasets")
        if details["recipient"] != scope["recipient"]:
            wrong.append("it is for another recipient")
        if question["purpose"] != scope["purpose"]:
            wrong.append("it is for another purpose")
        if self._fields and not self._fields.issuperset(question.get("fields") or ()):
            wrong.append("it is for fewer fields")
        return wrong


def conditions_match(entry: Json | None, record: Json | None) -> bool:
    """Return True if a record has the conditions of an entry; of terms, which are free text, it has only the number."""
    if entry is None or record is None:
        return entry is None and record is None
    stated = {name: value for name, value in entry.items() if value is not None}
    return stated.keys() == record.keys() and all(
        is_commitment(value) or record[name] == (len(value) if name == "terms" else value)
        for name, value in stated.items()
    )


def compute_standing(permit: Json, obligations: Iterable[Json], evidence: Mapping[str, Json], at: datetime) -> Json:
    """Return the standing of a permit at an instant, as a record has it: `status`, `overdue` and `lost_evidence`.

    Args:
        permit: record of the permit.
        obligations: records of obligations.
        evidence: records of evidence by their ids.
        at: the instant.
    """
    today = at.astimezone(SHANGHAI).date()
    tags = {tag for dataset in permit["datasets"] for tag in dataset["tags"]}
    is_important, is_personal = bool({"important", "core"} & tags), bool({"personal", "sensitive"} & tags)
    overdue = [
        obligation["id"]
        for obligation in obligations
        if (
            obligation["permit"] == permit["id"]
            or (obligation["permit"] is None and obligation["handler"] == permit["handler"] and is_important)
        )
        and obligation["blocks"]
        and obligation["state"] == "open"
        and date.fromisoformat(obligation["due_on"]) < today
        and (obligation["ended_at"] is None or _day_in_shanghai(obligation["ended_at"]) > today)
    ]
    ended = [item for item in permit["evidence"] if item in evidence and evidence[item]["ended_at"] is not None]
    quota, sent = persons_of(permit), persons_of(permit["sent"])
    is_used_up = (is_personal or sum(quota) > 0) and all(count >= most for count, most in zip(sent, quota, strict=True))
    if permit["stored_status"] == "revoked":
        status = "revoked"
    elif today > date.fromisoformat(permit["valid_until"]):
        status = "expired"
    elif permit["stored_status"] == "suspended" or overdue or ended:
        status = "suspended"
    else:
        status = "exhausted" if is_used_up else "active"
    return {"status": status, "overdue": overdue, "lost_evidence": ended}


def _day_in_shanghai(instant: str) -> date:
    return datetime.fromisoformat(instant).astimezone(SHANGHAI).date()


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), SHANGHAI)


def is_commitment(value: object) -> bool:
    """Return True if a value is a salted-hash commitment: the log has no more of it."""
    return isinstance(value, dict) and value.keys() == {"sealed"}


def persons_of(document: Json) -> tuple[int, int]:
    """Return the persons and the sensitive persons of a document; a missing or null number counts as 0."""
    return document.get("persons") or 0, document.get("sensitive_persons") or 0


class Replay:
    """State that follows from the entries so far, with the verdicts on the claims about them."""

    def __init__(self) -> None:
        self.claims = {name: Claim(text) for name, text in CLAIMS.items()}
        self.withheld = 0
        """Entries of which the pack has only the hash: a missing entry may be one of them."""
        self.archived: frozenset[str] = frozenset()
        """Months (UTC) whose entries the operator has archived, so that the pack has none of them."""
        self.authors: defaultdict[str, set[str]] = defaultdict(set)
        self.recused: defaultdict[str, set[str]] = defaultdict(set)
        self.submitted: dict[tuple[str, int], Json] = {}
        self.last_revisions: dict[str, int] = {}
        self.reviews: dict[str, Review] = {}
        self.approvals: defaultdict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        """Ids of the valid approvals by stage, for each revision (transfer, number)."""
        self.filed: dict[str, frozenset[str]] = {}
        """Persons who could have filed a record of evidence, where its entry names the credential."""
        self.possible_actors: dict[tuple[str | int, ...], PossibleActors] = {}
        """Possible actors of the acts on a record of evidence (`added`, `verified`) or a grading (`graded`, `confirmed`)."""
        self.evidence: dict[str, str | None] = {}
        """SHA-256 of the file of each record of evidence."""
        self.transfer_of: dict[str, str] = {}
        """Transfer that each record of evidence was added to."""
        self.gradings: dict[tuple[str, int], list[str]] = {}
        self.permits: dict[str, Permit] = {}
        self.exports: dict[str, bytes] = {}
        """Digest of each reservation, followed by that of the export's end, if it has ended."""
        self.counts: dict[str, bool] = {}
        """True for an export whose persons add to the handler's year."""
        # Entries of other actions state nothing that a claim is about.
        self.acts: dict[str, Callable[[Json, Json, datetime], None]] = {
            "dataset.graded": self._apply_grading,
            "dataset.grading_confirmed": self._apply_grading_confirmation,
            "transfer.created": self._add_authors,
            "transfer.changed": self._apply_change,
            "transfer.terms_accepted": self._add_authors,
            "transfer.renewal_begun": self._apply_renewal,
            "transfer.submitted": self._apply_submission,
            "transfer.recused": self._apply_recusal,
            "transfer.reviewed": self._apply_review,
            "transfer.approval_taken_back": self._withdraw_approval,
            "transfer.evidence_added": self._apply_evidence,
            "transfer.evidence_verified": self._apply_evidence_verification,
            "permit.issued": self._apply_issue,
            "permit.amended": self._apply_amendment,
            "permit.superseded": self._shorten_permit,
            "permit.evidence_replaced": self._apply_evidence_replacement,
            "permit.suspended": self._set_permit_status,
            "permit.resumed": self._set_permit_status,
            "permit.revoked": self._set_permit_status,
            "export.reserved": self._apply_reservation,
            "export.completed": self._apply_completion,
            "export.reported_late": self._apply_late_report,
            "export.cancelled": self._apply_cancellation,
        }

    def apply(self, body: Json) -> None:
        """Apply the next entry, given its body."""
        act = self.acts.get(body["action"])
        if act is not None:
            act(body, body["details"], datetime.fromisoformat(body["at"]))

    def add_missing(self, claim: str, sentence: str, at: str | None = None) -> None:
        """Record that an entry is missing: a gap if the entry may be withheld or archived, else a fault.

        Args:
            claim: name of the claim that depends on the entry.
            sentence: names the missing entry.
            at: instant of the entry, if known.
        """
        is_archived = bool(self.archived) if at is None else at[:7] in self.archived
        if self.withheld or is_archived:
            self.claims[claim].add_gap(sentence)
        else:
            self.claims[claim].add_fault(sentence)

    def _apply_grading(self, body: Json, details: Json, _: datetime) -> None:
        self.gradings[body["subject"], details["number"]] = details["tags"]
        self.possible_actors[body["subject"], details["number"], "graded"] = possible_actors_of(body)

    def _apply_grading_confirmation(self, body: Json, details: Json, _: datetime) -> None:
        self.possible_actors[body["subject"], details["number"], "confirmed"] = possible_actors_of(body)

    def _add_authors(self, body: Json, _: Json, __: datetime) -> None:
        self.authors[body["subject"]] |= possible_actors_of(body).persons

    def _apply_change(self, body: Json, details: Json, at: datetime) -> None:
        if details["after"]:
            self._add_authors(body, details, at)

    def _apply_renewal(self, body: Json, details: Json, at: datetime) -> None:
        self._add_authors(body, details, at)
        for record, repeated in zip(details.get("reused") or (), details.get("repeats") or (), strict=False):
            self.filed[record] = possible_actors_of(body).persons | self.filed.get(repeated, frozenset())

    def _apply_submission(self, body: Json, details: Json, at: datetime) -> None:
        self._add_authors(body, details, at)
        self.submitted[body["subject"], details["revision"]] = details
        self.last_revisions[body["subject"]] = details["revision"]

    def _apply_recusal(self, body: Json, _: Json, __: datetime) -> None:
        self.recused[body["subject"]] |= possible_actors_of(body).persons

    def _apply_review(self, body: Json, details: Json, _: datetime) -> None:
        ident, transfer, revision = details["review"], body["subject"], details["revision"]
        review = Review(
            transfer,
            revision,
            details["stage"],
            details["decision"],
            details["hash"],
            body["actor"],
            details.get("on_behalf_of"),
            possible_actors_of(body),
            conditions=details.get("conditions"),
        )
        submission = self.submitted.get((transfer, revision))
        if submission is None:
            self.add_missing("reviews", f"{ident}: there is no entry of the revision that it is of.")
        else:
            is_same = submission["hash"] == review.hash and revision == self.last_revisions[transfer]
            self.claims["reviews"].check(is_same, f"{ident} is not of the content that was under review.")
        self._check_separation(ident, review)
        self.reviews[ident] = review
        if review.decision == "approve":
            self.approvals[transfer, revision][review.stage] = ident

    def _check_separation(self, ident: str, review: Review) -> None:
        """Check that no possible actor of a review was excluded from it."""
        others = [
            self.reviews[approval]
            for stage, approval in self.approvals[review.transfer, review.revision].items()
            if stage != review.stage
        ]
        excluded: dict[str, set[str]] = {
            "an author of the request": {*self.authors[review.transfer]},
            "in another stage of it": {person for other in others for person in other.possible_actors.persons},
            "recused from it": {*self.recused[review.transfer]},
        }
        wrong = [
            f"{person} was {reason}"
            for person in sorted(review.possible_actors.persons)
            for reason in excluded
            if person in excluded[reason]
        ]
        self.claims["separation"].check(not wrong, f"{ident}: {'; '.join(wrong)}.")

    def _withdraw_approval(self, body: Json, details: Json, _: datetime) -> None:
        review = self.reviews.get(details["review"])
        if review is not None:
            review.is_taken_back = True
        self.approvals[body["subject"], details["revision"]].pop(details["stage"], None)

    def _apply_evidence(self, body: Json, details: Json, _: datetime) -> None:
        self.evidence[details["evidence"]] = details["document"]
        self.transfer_of[details["evidence"]] = body["subject"]
        actors = self.possible_actors[details["evidence"], "added"] = possible_actors_of(body)
        if actors.is_stated:
            self.filed[details["evidence"]] = actors.persons

    def _apply_evidence_verification(self, body: Json, details: Json, _: datetime) -> None:
        self.possible_actors[details["evidence"], "verified"] = possible_actors_of(body)

    def _apply_evidence_replacement(self, body: Json, details: Json, at: datetime) -> None:
        permit = self.permits.get(body["subject"])
        if permit is not None:
            self._check_filers(body["subject"], permit.scope["transfer"], [details["by"]] if "by" in details else ())
        self._shorten_permit(body, details, at)

    def _check_filers(self, permit: str, transfer: str, records: Iterable[str]) -> None:
        """Check that no person who decided a stage filed evidence that a permit rests on."""
        approvals = self.approvals[transfer, self.last_revisions.get(transfer, 0)].values()
        decided = {person for approval in approvals for person in self.reviews[approval].possible_actors.persons}
        for record in records:
            wrong = sorted(decided & self.filed.get(record, frozenset()))
            if record in self.filed:
                self.claims["separation"].check(
                    not wrong, f"{permit} rests on {record}, filed by {', '.join(wrong)}, who decided a stage."
                )

    def _apply_issue(self, body: Json, details: Json, _: datetime) -> None:
        permit, transfer = body["subject"], details["transfer"]
        self.permits[permit] = Permit(dict(details))
        revision = self.last_revisions.get(transfer, 0)
        submission = self.submitted.get((transfer, revision))
        if submission is None:
            self.add_missing("approval", f"{permit}: there is no entry of the revision that it was issued on.")
            return
        claim, approvals = self.claims["approval"], self.approvals[transfer, revision]
        claim.check(
            submission["hash"] == details["revision"], f"{permit} was issued on another revision than the last one."
        )
        for stage in submission["stages"]:
            if stage not in approvals:
                self.add_missing("approval", f"{permit}: there is no approval of the stage {stage}.")
        evidence = details.get("evidence") or ()
        self._check_filers(permit, transfer, () if is_commitment(evidence) else evidence)

    def _apply_amendment(self, body: Json, details: Json, _: datetime) -> None:
        if body["subject"] in self.permits:
            self.permits[body["subject"]].amend(**details["after"])

    def _shorten_permit(self, body: Json, details: Json, _: datetime) -> None:
        if body["subject"] in self.permits:
            self.permits[body["subject"]].amend(valid_until=details["valid_until"])

    def _set_permit_status(self, body: Json, _: Json, __: datetime) -> None:
        if body["subject"] in self.permits:
            verb = body["action"].removeprefix("permit.")
            self.permits[body["subject"]].status = "active" if verb == "resumed" else verb

    def _apply_reservation(self, body: Json, details: Json, at: datetime) -> None:
        export, question = body["subject"], details["question"]
        persons = persons_of(question)
        self.exports[export] = digest(
            details["evaluation"],
            details["dataset"],
            details["recipient"],
            details["permit"],
            body["actor"],
            question["purpose"],
            persons,
            body["at"],
            details["expires_at"],
        )
        if "counts" in details:
            self.counts[export] = details["counts"]
        if details["permit"] is None:
            return
        permit = self.permits.get(details["permit"])
        if permit is None:
            self.add_missing("standing", f"{export}: there is no entry that issued {details['permit']}.")
            return
        wrong = permit.denials(question, details, at)
        if permit.has_committed_lists:
            self.claims["standing"].add_gap(
                f"{export}: the lists of {details['permit']} are in the log as hashes only."
            )
        self.claims["standing"].check(not wrong, f"{export}: {'; '.join(wrong)}.")
        taken = persons_of(details["announced"]["permit"]) if "announced" in details else persons
        used = permit.count_used(at)
        quota = persons_of(permit.scope)
        self.claims["quota"].checked += 1
        if any(count + more > most for count, more, most in zip(used, taken, quota, strict=True)):
            sentence = f"{export}: {used} and {taken} persons are more than the {quota} of {details['permit']}."
            if permit.is_counted_by_hash:
                self.claims["quota"].add_gap(sentence + " Some were reported by hash, and may be the same persons.")
            else:
                self.claims["quota"].add_fault(sentence)
        permit.reserve(export, taken, datetime.fromisoformat(details["expires_at"]))

    def _apply_completion(self, body: Json, details: Json, _: datetime) -> None:
        sent = persons_of(details["sent"])
        self._end_export(body, "completed", sent)
        permit = self.permits.get(details["permit"])
        if permit is not None:
            permit.is_counted_by_hash |= set(details["told_by"].values()) != {"number"}
            permit.report(body["subject"], sent)

    def _apply_late_report(self, body: Json, details: Json, _: datetime) -> None:
        """Apply a report on an export that had ended; entries of earlier versions have no `sent`, and counted nothing."""
        if "sent" not in details:
            return
        self._end_export(body, "completed", persons_of(details["sent"]))
        permit = self.permits.get(details["permit"])
        if permit is not None:
            permit.is_counted_by_hash |= set(details["told_by"].values()) != {"number"}
            permit.report(body["subject"], persons_of(details["more"]))

    def _apply_cancellation(self, body: Json, details: Json, _: datetime) -> None:
        self._end_export(body, "cancelled", None)
        if details["permit"] in self.permits:
            self.permits[details["permit"]].release(body["subject"])

    def _end_export(self, body: Json, status: str, sent: tuple[int, int] | None) -> None:
        began = self.exports.get(body["subject"])
        permit = body["details"].get("permit")
        if began is None and permit is not None and permit not in self.permits:
            return  # under another permit of the handler: the pack has it for other rows of its act, such as the year's count
        if began is None:
            self.add_missing("records", f"{body['subject']} ended, and there is no entry of its beginning.")
            return
        began = began[:DIGEST_SIZE]
        self.exports[body["subject"]] = began + digest_of_end(began, status, sent, body["at"])


def digest_of_end(began: bytes, status: str, sent: tuple[int, int] | None, at: str) -> bytes:
    """Return the digest of an export that has ended, from that of its beginning."""
    return digest(began.hex(), status, sent, at)
