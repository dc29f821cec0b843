"""Replays the entries of a log one after the other, and finds contradictions among them: the core of `verify`.

The order of the log can be relied on: whatever stops a permit waits for the gate's lock, and whatever takes from a quota for the permit's
row, so an entry that was written in knowledge of another one always has the higher leaf.
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
    "inclusion": "Every entry stands in the log at its place, under the checkpoint.",
    "records": "Each act that the pack shows is what its entry in the log says, and none of a request that it shows is left out.",
    "columns": "Each column that the pack shows is what the last act wrote that set it.",
    "evidence": "Each evidence file is the one that was added then.",
    "reviews": "Each review was given for its revision, by the hash of what was submitted.",
    "separation": (
        "Whoever decided a stage, and whoever else had seen the key by which it was decided, was a person, no author of the request, in "
        "no other stage, had not stood back, and had filed nothing that the permit rests on."
    ),
    "approval": "Every stage had approved the very revision when its permit was issued.",
    "law": "The law of the day gives the determination that was stored.",
    "standing": "Each permit stood, and covered what went, when it was used.",
    "quota": "No permit let more persons go than it allowed.",
    "permits": "The record of each permit was signed by the service.",
}

MAX_TOLD: Final = 10
SHANGHAI: Final = timezone(timedelta(hours=8))
"""Asia/Shanghai since 1992, without a database of time zones."""


@dataclass(slots=True)
class Claim:
    """What was found about one claim."""

    text: str
    checked: int = 0
    faults: int = 0
    gaps: int = 0
    left_out: int = 0
    """Things that this verifier does not look at."""
    told: list[str] = field(default_factory=list)
    """The first faults and gaps, as sentences."""

    def fault(self, sentence: str) -> None:
        """Say why it does not hold."""
        self.faults += 1
        self._tell(sentence)

    def gap(self, sentence: str) -> None:
        """Say what of it cannot be checked."""
        self.gaps += 1
        self._tell(sentence)

    def leave_out(self, sentence: str) -> None:
        """Say once why this verifier does not look at it."""
        if not self.left_out:
            self._tell(sentence)
        self.left_out += 1

    def demand(self, truth: bool, sentence: str) -> None:  # noqa: FBT001 - what is demanded
        """Count one thing as looked at, and as a fault where it is not so."""
        self.checked += 1
        if not truth:
            self.fault(sentence)

    def _tell(self, sentence: str) -> None:
        if len(self.told) < MAX_TOLD:
            self.told.append(sentence)

    @property
    def verdict(self) -> str:
        """`held`, `broken`, `cannot be checked`, `not checked here`, or `nothing to check` where the pack holds nothing of the kind."""
        if self.faults:
            return "broken"
        if self.gaps:
            return "cannot be checked"
        if self.left_out:
            return "not checked here"
        return "held" if self.checked else "nothing to check"


def canonical(value: object) -> bytes:
    """Return the RFC 8785 bytes of a value without fractions whose names are ASCII: all that is hashed here is one."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


DIGEST: Final = 16


def digest(*parts: object) -> bytes:
    """Return `DIGEST` bytes that stand for some texts and numbers."""
    return hashlib.sha256(repr(parts).encode()).digest()[:DIGEST]


@dataclass(frozen=True, slots=True)
class By:
    """Who could have made an act: who is on record for it, who else has seen the credential, and who lent the role."""

    persons: frozenset[str]
    is_said: bool
    """Whether the entry says which credential was shown: those of before do not, nor do those of the command line."""

    def fits(self, shown: Sequence[str] | None) -> bool:
        """Tell whether a record shows the same."""
        return not self.is_said if shown is None else set(shown) == self.persons


@dataclass(slots=True)
class Given:
    """A review as its entry has it."""

    transfer: str
    revision: int
    stage: str
    decision: str
    hash: str
    reviewer: str
    behalf: str | None
    by: By
    taken_back: bool = False
    conditions: Json | None = field(default=None, compare=False)

    @property
    def said(self) -> tuple[Any, ...]:
        """What a record of it must say, but for the persons."""
        return (
            self.transfer,
            self.revision,
            self.stage,
            self.decision,
            self.hash,
            self.reviewer,
            self.behalf,
            self.taken_back,
        )


def by_of(body: Json) -> By:
    """Return who could have made the act of an entry; a list that is sealed for its length is not readable here."""
    details = body["details"]
    credential = details.get("credential")
    seen_by = () if credential is None or is_sealed(credential) else credential["seen_by"]
    named = {body["actor"], details.get("on_behalf_of"), *(() if is_sealed(seen_by) else seen_by)}
    return By(frozenset(one for one in named if isinstance(one, str)), credential is not None)


class Permit:
    """What a permit allows at one place of the log, and what is taken of it."""

    def __init__(self, scope: Json) -> None:
        self.scope = scope
        self.change()
        self.status = "active"
        self.by_hash = False
        """Whether persons were reported by hash: the same ones may be in several reports, so what was sent is a bound from above."""
        self._sent = [0, 0]
        self._held = [0, 0]
        self._live: dict[str, tuple[int, int]] = {}
        self._ends: list[tuple[datetime, str]] = []

    def reserve(self, export: str, persons: tuple[int, int], until: datetime) -> None:
        """Hold persons for an export until a moment."""
        self._live[export] = persons
        heapq.heappush(self._ends, (until, export))
        self._held = [held + more for held, more in zip(self._held, persons, strict=True)]

    def release(self, export: str) -> None:
        """Give back what an export holds; nothing, where it has lapsed."""
        persons = self._live.pop(export, (0, 0))
        self._held = [held - less for held, less in zip(self._held, persons, strict=True)]

    def report(self, export: str, persons: tuple[int, int]) -> None:
        """Count what went."""
        self.release(export)
        self._sent = [sent + more for sent, more in zip(self._sent, persons, strict=True)]

    @property
    def sent(self) -> Json:
        """The persons of each kind that were reported."""
        return {"persons": self._sent[0], "sensitive_persons": self._sent[1]}

    def used(self, now: datetime) -> tuple[int, int]:
        """Return the persons of each kind that were reported, and that reservations hold at a moment."""
        while self._ends and self._ends[0][0] <= now:
            self.release(heapq.heappop(self._ends)[1])
        return self._sent[0] + self._held[0], self._sent[1] + self._held[1]

    def change(self, **terms: Any) -> None:
        """Let it allow something else from here on."""
        self.scope |= terms
        fields, datasets = self.scope["fields"], self.scope["datasets"]
        lists = [fields, datasets, *(() if is_sealed(datasets) else (one["fields"] for one in datasets))]
        self.is_sealed = any(map(is_sealed, lists))
        """Whether its lists were so long that they are in the log as a hash only."""
        named = () if self.is_sealed else fields or [name for one in datasets for name in one["fields"]]
        self._fields = frozenset(named)
        self._datasets = frozenset(() if self.is_sealed else (one["id"] for one in datasets))
        self._from = _midnight(self.scope["valid_from"])
        self._until = _midnight(self.scope["valid_until"]) + timedelta(days=1)

    def uncovered(self, question: Json, details: Json, now: datetime) -> list[str]:
        """Return why an export could not go under it as it stood."""
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


def like_conditions(said: Json | None, shown: Json | None) -> bool:
    """Tell whether conditions are shown as an entry has them: of terms, which are free text, only how many there are."""
    if said is None or shown is None:
        return said is None and shown is None
    stated = {name: value for name, value in said.items() if value is not None}
    return stated.keys() == shown.keys() and all(
        is_sealed(value) or shown[name] == (len(value) if name == "terms" else value) for name, value in stated.items()
    )


def standing_of(permit: Json, duties: Iterable[Json], evidence: Mapping[str, Json], at: datetime) -> Json:
    """Return where a permit stands at a moment, as it is shown: `status`, `overdue` and `lost_evidence`.

    Args:
        permit: its record.
        duties: records of obligations.
        evidence: records of evidence by their ids.
        at: the moment.
    """
    today = at.astimezone(SHANGHAI).date()
    is_weighty = any({"important", "core"} & set(one["tags"]) for one in permit["datasets"])
    is_personal = any({"personal", "sensitive"} & set(one["tags"]) for one in permit["datasets"])
    overdue = [
        one["id"]
        for one in duties
        if (
            one["permit"] == permit["id"]
            or (one["permit"] is None and one["handler"] == permit["handler"] and is_weighty)
        )
        and one["blocks"]
        and one["state"] == "open"
        and date.fromisoformat(one["due_on"]) < today
        and (one["ended_at"] is None or datetime.fromisoformat(one["ended_at"]).astimezone(SHANGHAI).date() > today)
    ]
    lost = [one for one in permit["evidence"] if one in evidence and evidence[one]["ended_at"] is not None]
    quota, sent = persons_of(permit), persons_of(permit["sent"])
    is_used_up = (is_personal or sum(quota) > 0) and all(one >= most for one, most in zip(sent, quota, strict=True))
    if permit["stored_status"] == "revoked":
        status = "revoked"
    elif today > date.fromisoformat(permit["valid_until"]):
        status = "expired"
    elif permit["stored_status"] == "suspended" or overdue or lost:
        status = "suspended"
    else:
        status = "exhausted" if is_used_up else "active"
    return {"status": status, "overdue": overdue, "lost_evidence": lost}


def _midnight(day: str) -> datetime:
    return datetime.combine(date.fromisoformat(day), time(), SHANGHAI)


def is_sealed(value: object) -> bool:
    """Tell whether a value is in the log as a salted hash only."""
    return isinstance(value, dict) and value.keys() == {"sealed"}


def persons_of(document: Json) -> tuple[int, int]:
    """Return the persons of each kind that a document tells, none where it tells none."""
    return document.get("persons") or 0, document.get("sensitive_persons") or 0


class Replay:
    """Everything that the entries taken in so far say."""

    def __init__(self) -> None:
        self.claims = {name: Claim(text) for name, text in CLAIMS.items()}
        self.withheld = 0
        """Entries of which only the hash is there: what is not found may be in one of them."""
        self.archived: frozenset[str] = frozenset()
        """Months (UTC) whose entries the operator has moved to files, so that none of them is in the pack."""
        self.authors: defaultdict[str, set[str]] = defaultdict(set)
        self.recused: defaultdict[str, set[str]] = defaultdict(set)
        self.submitted: dict[tuple[str, int], Json] = {}
        self.last: dict[str, int] = {}
        self.reviews: dict[str, Given] = {}
        self.approvals: defaultdict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        """Of a revision, by stage, the approval that stands."""
        self.filed: dict[str, frozenset[str]] = {}
        """By record who could have filed it; of entries that say so."""
        self.by: dict[tuple[str | int, ...], By] = {}
        """Who could have made the acts on a record of evidence (`added`, `verified`) or a grading (`graded`, `confirmed`)."""
        self.evidence: dict[str, str | None] = {}
        """By record the SHA-256 of its file."""
        self.transfer_of: dict[str, str] = {}
        """By record of evidence the request that it was added to."""
        self.gradings: dict[tuple[str, int], list[str]] = {}
        self.permits: dict[str, Permit] = {}
        self.exports: dict[str, bytes] = {}
        """Of each export a digest of its beginning, and behind it one of what became of it, if anything has."""
        self.counts: dict[str, bool] = {}
        """Whether its persons add to the handler's year."""
        # What is not named here says nothing that a claim is about.
        self.acts: dict[str, Callable[[Json, Json, datetime], None]] = {
            "dataset.graded": self._graded,
            "dataset.grading_confirmed": self._grading_confirmed,
            "transfer.created": self._written,
            "transfer.changed": self._changed,
            "transfer.terms_accepted": self._written,
            "transfer.renewal_begun": self._renewed,
            "transfer.submitted": self._submitted,
            "transfer.recused": self._recused,
            "transfer.reviewed": self._reviewed,
            "transfer.approval_taken_back": self._taken_back,
            "transfer.evidence_added": self._evidence_added,
            "transfer.evidence_verified": self._evidence_verified,
            "permit.issued": self._issued,
            "permit.amended": self._amended,
            "permit.superseded": self._shortened,
            "permit.evidence_replaced": self._evidence_replaced,
            "permit.suspended": self._moved,
            "permit.resumed": self._moved,
            "permit.revoked": self._moved,
            "export.reserved": self._reserved,
            "export.completed": self._completed,
            "export.reported_late": self._reported_late,
            "export.cancelled": self._cancelled,
        }

    def take(self, body: Json) -> None:
        """Take in the next entry."""
        act = self.acts.get(body["action"])
        if act is not None:
            act(body, body["details"], datetime.fromisoformat(body["at"]))

    def missing(self, claim: str, sentence: str, at: str | None = None) -> None:
        """Say that an entry is not there: a fault, or a gap where it may be one of those that are withheld or archived.

        Args:
            claim: what would have been looked at.
            sentence: says what is missing.
            at: the moment of the entry, if it is known.
        """
        is_archived = bool(self.archived) if at is None else at[:7] in self.archived
        if self.withheld or is_archived:
            self.claims[claim].gap(sentence)
        else:
            self.claims[claim].fault(sentence)

    def _graded(self, body: Json, details: Json, _: datetime) -> None:
        self.gradings[body["subject"], details["number"]] = details["tags"]
        self.by[body["subject"], details["number"], "graded"] = by_of(body)

    def _grading_confirmed(self, body: Json, details: Json, _: datetime) -> None:
        self.by[body["subject"], details["number"], "confirmed"] = by_of(body)

    def _written(self, body: Json, _: Json, __: datetime) -> None:
        self.authors[body["subject"]] |= by_of(body).persons

    def _changed(self, body: Json, details: Json, at: datetime) -> None:
        if details["after"]:
            self._written(body, details, at)

    def _renewed(self, body: Json, details: Json, at: datetime) -> None:
        self._written(body, details, at)
        for record, repeated in zip(details.get("reused") or (), details.get("repeats") or (), strict=False):
            self.filed[record] = by_of(body).persons | self.filed.get(repeated, frozenset())

    def _submitted(self, body: Json, details: Json, at: datetime) -> None:
        self._written(body, details, at)
        self.submitted[body["subject"], details["revision"]] = details
        self.last[body["subject"]] = details["revision"]

    def _recused(self, body: Json, _: Json, __: datetime) -> None:
        self.recused[body["subject"]] |= by_of(body).persons

    def _reviewed(self, body: Json, details: Json, _: datetime) -> None:
        review, transfer, revision = details["review"], body["subject"], details["revision"]
        given = Given(
            transfer,
            revision,
            details["stage"],
            details["decision"],
            details["hash"],
            body["actor"],
            details.get("on_behalf_of"),
            by_of(body),
            conditions=details.get("conditions"),
        )
        asked = self.submitted.get((transfer, revision))
        if asked is None:
            self.missing("reviews", f"{review}: there is no entry of the revision that it is of.")
        else:
            same = asked["hash"] == given.hash and revision == self.last[transfer]
            self.claims["reviews"].demand(same, f"{review} is of another content than stood.")
        self._separate(review, given)
        self.reviews[review] = given
        if given.decision == "approve":
            self.approvals[transfer, revision][given.stage] = review

    def _separate(self, review: str, given: Given) -> None:
        """Look at the reviewer, and at whoever lent the role."""
        others = [
            self.reviews[one]
            for stage, one in self.approvals[given.transfer, given.revision].items()
            if stage != given.stage
        ]
        barred: dict[str, set[str | None]] = {
            "an author of the request": {*self.authors[given.transfer]},
            "in another stage of it": {party for one in others for party in one.by.persons},
            "somebody who had stood back from it": {*self.recused[given.transfer]},
        }
        wrong = [
            f"{party} was {reason}"
            for party in sorted(given.by.persons)
            for reason in barred
            if party in barred[reason]
        ]
        self.claims["separation"].demand(not wrong, f"{review}: {'; '.join(wrong)}.")

    def _taken_back(self, body: Json, details: Json, _: datetime) -> None:
        given = self.reviews.get(details["review"])
        if given is not None:
            given.taken_back = True
        self.approvals[body["subject"], details["revision"]].pop(details["stage"], None)

    def _evidence_added(self, body: Json, details: Json, _: datetime) -> None:
        self.evidence[details["evidence"]] = details["document"]
        self.transfer_of[details["evidence"]] = body["subject"]
        by = self.by[details["evidence"], "added"] = by_of(body)
        if by.is_said:
            self.filed[details["evidence"]] = by.persons

    def _evidence_verified(self, body: Json, details: Json, _: datetime) -> None:
        self.by[details["evidence"], "verified"] = by_of(body)

    def _evidence_replaced(self, body: Json, details: Json, at: datetime) -> None:
        permit = self.permits.get(body["subject"])
        if permit is not None:
            self._rests_on(body["subject"], permit.scope["transfer"], [details["by"]] if "by" in details else ())
        self._shortened(body, details, at)

    def _rests_on(self, permit: str, transfer: str, records: Iterable[str]) -> None:
        """Look at who filed what a permit rests on: nobody who decided a stage."""
        given = self.approvals[transfer, self.last.get(transfer, 0)].values()
        decided = {party for one in given for party in self.reviews[one].by.persons}
        for record in records:
            wrong = sorted(decided & self.filed.get(record, frozenset()))
            if record in self.filed:
                self.claims["separation"].demand(
                    not wrong, f"{permit} rests on {record}, filed by {', '.join(wrong)}, who decided a stage."
                )

    def _issued(self, body: Json, details: Json, _: datetime) -> None:
        permit, transfer = body["subject"], details["transfer"]
        self.permits[permit] = Permit(dict(details))
        revision = self.last.get(transfer, 0)
        asked = self.submitted.get((transfer, revision))
        if asked is None:
            self.missing("approval", f"{permit}: there is no entry of the revision that it was issued on.")
            return
        claim, given = self.claims["approval"], self.approvals[transfer, revision]
        claim.demand(
            asked["hash"] == details["revision"], f"{permit} was issued on another revision than the last one."
        )
        for stage in asked["stages"]:
            if stage not in given:
                self.missing("approval", f"{permit}: there is no approval of the stage {stage}.")
        evidence = details.get("evidence") or ()
        self._rests_on(permit, transfer, () if is_sealed(evidence) else evidence)

    def _amended(self, body: Json, details: Json, _: datetime) -> None:
        if body["subject"] in self.permits:
            self.permits[body["subject"]].change(**details["after"])

    def _shortened(self, body: Json, details: Json, _: datetime) -> None:
        if body["subject"] in self.permits:
            self.permits[body["subject"]].change(valid_until=details["valid_until"])

    def _moved(self, body: Json, _: Json, __: datetime) -> None:
        if body["subject"] in self.permits:
            verb = body["action"].removeprefix("permit.")
            self.permits[body["subject"]].status = "active" if verb == "resumed" else verb

    def _reserved(self, body: Json, details: Json, at: datetime) -> None:
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
            self.missing("standing", f"{export}: there is no entry that issued {details['permit']}.")
            return
        wrong = permit.uncovered(question, details, at)
        if permit.is_sealed:
            self.claims["standing"].gap(f"{export}: the lists of {details['permit']} are in the log as a hash only.")
        self.claims["standing"].demand(not wrong, f"{export}: {'; '.join(wrong)}.")
        taken = persons_of(details["announced"]["permit"]) if "announced" in details else persons
        used = permit.used(at)
        quota = persons_of(permit.scope)
        self.claims["quota"].checked += 1
        if any(one + more > most for one, more, most in zip(used, taken, quota, strict=True)):
            sentence = f"{export}: {used} and {taken} persons are more than the {quota} of {details['permit']}."
            if permit.by_hash:
                self.claims["quota"].gap(sentence + " Some were told by hash, and may be the same.")
            else:
                self.claims["quota"].fault(sentence)
        permit.reserve(export, taken, datetime.fromisoformat(details["expires_at"]))

    def _completed(self, body: Json, details: Json, _: datetime) -> None:
        sent = persons_of(details["sent"])
        self._ended(body, "completed", sent)
        permit = self.permits.get(details["permit"])
        if permit is not None:
            permit.by_hash |= set(details["told_by"].values()) != {"number"}
            permit.report(body["subject"], sent)

    def _reported_late(self, body: Json, details: Json, _: datetime) -> None:
        """Take in a report of an export that had ended; versions before wrote down that it came, and counted nothing."""
        if "sent" not in details:
            return
        self._ended(body, "completed", persons_of(details["sent"]))
        permit = self.permits.get(details["permit"])
        if permit is not None:
            permit.by_hash |= set(details["told_by"].values()) != {"number"}
            permit.report(body["subject"], persons_of(details["more"]))

    def _cancelled(self, body: Json, details: Json, _: datetime) -> None:
        self._ended(body, "cancelled", None)
        if details["permit"] in self.permits:
            self.permits[details["permit"]].release(body["subject"])

    def _ended(self, body: Json, status: str, sent: tuple[int, int] | None) -> None:
        began = self.exports.get(body["subject"])
        permit = body["details"].get("permit")
        if began is None and permit is not None and permit not in self.permits:
            return  # under another permit of the handler: it is here for what else its act wrote, such as the year's count
        if began is None:
            self.missing("records", f"{body['subject']} ended, and there is no entry of its beginning.")
            return
        began = began[:DIGEST]
        self.exports[body["subject"]] = began + ended(began, status, sent, body["at"])


def ended(began: bytes, status: str, sent: tuple[int, int] | None, at: str) -> bytes:
    """Return the digest of an export that has ended, from that of its beginning."""
    return digest(began.hex(), status, sent, at)
