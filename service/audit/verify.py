"""`outbound verify PACK`: checks an evidence pack offline, with no database and no network, and gives a verdict for each claim.

It stands alone: besides the standard library it takes `cryptography` for signatures, the tree (`merkle`), the notes (`notes`) and the law.
It shares nothing with what made the pack, so that a fault there is not repeated here.

1. The entries are read once, in the order of the log. Their hashes and those of the subtrees between them are folded into the root,
   which must be that of the signed checkpoint; and what they say is replayed: who wrote, who decided, what each permit allowed, what went.
2. Each record that the pack shows is then held against what the entries said.
3. Each file is held against the manifest while it is read, and the manifest against its own signature.

The entries are in an order that can be relied on: whatever stops a permit waits for the gate's lock, and whatever takes from a quota for
the permit's row, so an entry that was decided on another one always has the higher leaf.
"""

import argparse
import base64
import hashlib
import json
import sys
import tempfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from service.audit import merkle, notes
from service.law import explanation, policy, rules
from service.law.calendar import day_in_shanghai
from service.law.determination import determine
from service.law.facts import Count, Facts, Ledger, LegalBasis, Method, Necessity, Route, Tag, TransferFacts, union
from service.law.rules import RuleBook
from service.law.schemas import HandlerFactsIn, OriginFactsIn, RecipientFactsIn

Json = dict[str, Any]

FORMAT: Final = 1
SIGNED: Final = ("manifest.json", "manifest.note")
ENTRY_START: Final = b'{"leaf":'
CHUNK: Final = 1 << 18
MAX_LINE: Final = 1 << 26
MAX_SHOWN: Final = 10
UNREADABLE: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading something else than was written can come to; none of it may end in anything but a verdict."""

CLAIMS: Final = {
    "files": "Every file is the one that the manifest names; none is missing, added or there twice.",
    "manifest": "The manifest was signed by the log's key.",
    "checkpoint": "The checkpoint was signed by the log's key.",
    "witnesses": "Witnesses have cosigned the checkpoint.",
    "inclusion": "Every entry stands in the log at its place, under the checkpoint.",
    "records": "What the pack shows is what the entries of the log say.",
    "evidence": "Each evidence file is the one that was added then.",
    "reviews": "Each review was given for its revision, by the hash of what was submitted.",
    "separation": "Whoever decided a stage was a person, no author of the request, in no other stage, and had not stood back.",
    "approval": "Every stage had approved the very revision when its permit was issued.",
    "law": "The law of the day gives the determination that was stored.",
    "standing": "Each permit stood and covered what went when it was used.",
    "quota": "No permit let more persons go than it allowed.",
    "permits": "The record of each permit is signed by the service.",
}


class PackError(Exception):
    """The file cannot be read as an evidence pack at all."""


@dataclass(slots=True)
class Claim:
    """What was found about one claim."""

    text: str
    checked: int = 0
    faults: list[str] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    """What could not be checked."""

    @property
    def verdict(self) -> str:
        """`held`, `broken` or `cannot be checked`."""
        return "broken" if self.faults else "cannot be checked" if self.gaps else "held"


def canonical(value: object) -> bytes:
    """Return the RFC 8785 bytes of a value without fractions, whose names are ASCII: all that is hashed here is so."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest(*parts: object) -> bytes:
    """Return 16 bytes that stand for some values."""
    return hashlib.sha256(canonical(parts)).digest()[:16]


class Pack:
    """The file: its members, each hashed while it is read."""

    def __init__(self, path: Path) -> None:
        try:
            self.zip = zipfile.ZipFile(path)
            self.manifest_bytes = self._read("manifest.json")
            self.manifest: Json = json.loads(self.manifest_bytes)
            self.named = {str(one["name"]): one for one in self.manifest["members"]}
            made_by = self.manifest["format"]
        except UNREADABLE as error:
            raise PackError(f"{path} is not an evidence pack: {error!r}") from error
        if made_by != FORMAT:
            raise PackError(f"The pack has the format {made_by!r}; this verifier knows {FORMAT}.")
        self.hashes: dict[str, tuple[int, str]] = {}

    def _read(self, name: str) -> bytes:
        if self.zip.getinfo(name).file_size > MAX_LINE:
            raise PackError(f"{name} is larger than anything that is read at once.")
        return self.zip.read(name)

    def chunks(self, name: str) -> Iterator[bytes]:
        """Return the bytes of a member piece by piece."""
        found, size = hashlib.sha256(), 0
        with self.zip.open(name) as file:
            while chunk := file.read(CHUNK):
                found.update(chunk)
                size += len(chunk)
                yield chunk
        self.hashes[name] = (size, found.hexdigest())

    def content(self, name: str) -> bytes:
        """Return a small member."""
        if self.zip.getinfo(name).file_size > MAX_LINE:
            raise ValueError(f"{name} is larger than anything that is read at once.")
        return b"".join(self.chunks(name))

    def lines(self, name: str) -> Iterator[bytes]:
        """Return the lines of a member, without their ends."""
        rest = b""
        for chunk in self.chunks(name):
            *whole, rest = (rest + chunk).split(b"\n")
            yield from whole
            if len(rest) > MAX_LINE:
                raise ValueError(f"{name} has a line that is too long.")
        if rest:
            raise ValueError(f"{name} does not end with its last line.")

    def records(self, name: str) -> Iterator[Json]:
        """Return the records of a member, a line each."""
        for line in self.lines(f"records/{name}.ndjson"):
            yield json.loads(line)


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


@dataclass(slots=True)
class Permit:
    """What a permit allows at one place of the log, and what it holds."""

    scope: Json
    status: str = "active"
    sent: Count = field(default_factory=Count)
    by_hash: bool = False
    """Whether persons were reported by hash: the same ones may be in several reports, so that `sent` is a bound from above."""
    live: dict[str, tuple[datetime, Count]] = field(default_factory=dict)

    def used(self, now: datetime) -> Count:
        """Return what has been reported and is reserved at a moment; what has lapsed is given back."""
        for export in [one for one, (end, _) in self.live.items() if end <= now]:
            del self.live[export]
        held = [count for _, count in self.live.values()]
        return Count(
            self.sent.persons + sum(count.persons for count in held),
            self.sent.sensitive_persons + sum(count.sensitive_persons for count in held),
        )


def count_of(document: Json) -> Count:
    """Return the persons that a document tells, none where it tells none."""
    return Count(document.get("persons") or 0, document.get("sensitive_persons") or 0)


class Replay:
    """What the entries say, taken in one after the other."""

    def __init__(self, claims: dict[str, Claim]) -> None:
        self.claims = claims
        self.withheld = 0
        self.authors: defaultdict[str, set[str]] = defaultdict(set)
        self.recused: defaultdict[str, set[str]] = defaultdict(set)
        self.submitted: dict[tuple[str, int], Json] = {}
        self.last: dict[str, int] = {}
        self.reviews: dict[str, Given] = {}
        self.standing: defaultdict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        """Of a revision the standing approval of each stage."""
        self.taken_back: set[str] = set()
        self.evidence: dict[str, str | None] = {}
        self.permits: dict[str, Permit] = {}
        self.exports: dict[str, bytes] = {}
        self.export_permits: dict[str, str] = {}
        self.gradings: dict[tuple[str, int], list[str]] = {}
        self._acts: dict[str, Callable[[str, str, datetime, Json], None]] = {
            "transfer.created": self._written,
            "transfer.changed": self._written,
            "transfer.submitted": self._submitted,
            "transfer.terms_accepted": self._written,
            "transfer.renewal_begun": self._written,
            "transfer.recused": self._recused,
            "transfer.reviewed": self._reviewed,
            "transfer.approval_taken_back": self._taken_back,
            "transfer.evidence_added": self._evidence_added,
            "permit.issued": self._issued,
            "permit.amended": self._amended,
            "permit.superseded": self._shortened,
            "permit.evidence_replaced": self._shortened,
            "permit.suspended": self._stopped,
            "permit.resumed": self._stopped,
            "permit.revoked": self._stopped,
            "export.reserved": self._reserved,
            "export.completed": self._completed,
            "export.cancelled": self._cancelled,
            "dataset.graded": self._graded,
        }

    def take(self, body: Json) -> None:
        """Take in one entry."""
        act = self._acts.get(body["action"])
        if act is not None:
            act(body["subject"], body["actor"], datetime.fromisoformat(body["at"]), body["details"])

    def _written(self, subject: str, actor: str, _: datetime, details: Json) -> None:
        self.authors[subject].add(actor)

    def _submitted(self, subject: str, actor: str, at: datetime, details: Json) -> None:
        self._written(subject, actor, at, details)
        self.submitted[subject, details["revision"]] = details
        self.last[subject] = details["revision"]

    def _recused(self, subject: str, actor: str, _: datetime, details: Json) -> None:
        self.recused[subject].add(actor)

    def _reviewed(self, subject: str, actor: str, _: datetime, details: Json) -> None:
        given = Given(
            subject,
            details["revision"],
            details["stage"],
            details["decision"],
            details["hash"],
            actor,
            details.get("on_behalf_of"),
        )
        self.reviews[details["review"]] = given
        asked = self.submitted.get((subject, given.revision))
        if asked is None:
            self.claims["reviews"].gaps.append(f"{details['review']}: the entry of its revision is not to be read here.")
        elif asked["hash"] != given.hash:
            self.claims["reviews"].faults.append(f"{details['review']} is of another content than was submitted.")
        self.claims["reviews"].checked += 1
        self._separate(details["review"], given)
        if given.decision == "approve":
            self.standing[subject, given.revision][given.stage] = details["review"]

    def _separate(self, review: str, given: Given) -> None:
        """Separation of duties, for the reviewer and for whoever lent the role."""
        others = [
            self.reviews[one]
            for stage, one in self.standing[given.transfer, given.revision].items()
            if stage != given.stage
        ]
        decided = {party for one in others for party in (one.reviewer, one.behalf) if party is not None}
        for party in {given.reviewer, given.behalf} - {None}:
            why = [
                reason
                for reason, barred in (
                    ("an author of the request", self.authors[given.transfer]),
                    ("in another stage of it", decided),
                    ("one who had stood back from it", self.recused[given.transfer]),
                )
                if party in barred
            ]
            self.claims["separation"].faults.extend(f"{review}: {party} was {reason}." for reason in why)
        self.claims["separation"].checked += 1

    def _taken_back(self, subject: str, actor: str, _: datetime, details: Json) -> None:
        self.taken_back.add(details["review"])
        self.standing[subject, details["revision"]].pop(details["stage"], None)

    def _evidence_added(self, subject: str, actor: str, _: datetime, details: Json) -> None:
        self.evidence[details["evidence"]] = details["document"]

    def _graded(self, subject: str, actor: str, _: datetime, details: Json) -> None:
        self.gradings[subject, details["number"]] = details["tags"]

    # Permits

    def _issued(self, subject: str, actor: str, _: datetime, details: Json) -> None:
        self.permits[subject] = Permit(dict(details))
        claim, transfer = self.claims["approval"], details["transfer"]
        claim.checked += 1
        revision = self.last.get(transfer, 0)
        asked = self.submitted.get((transfer, revision))
        if asked is None:
            claim.gaps.append(f"{subject}: the entry of the revision is not to be read here.")
            return
        if asked["hash"] != details["revision"]:
            claim.faults.append(f"{subject} was issued on another revision than the last one.")
        given = self.standing[transfer, revision]
        for stage in asked["stages"]:
            if stage not in given or self.reviews[given[stage]].hash != details["revision"]:
                (claim.gaps if self.withheld else claim.faults).append(f"{subject}: no approval of the stage {stage}.")

    def _amended(self, subject: str, actor: str, _: datetime, details: Json) -> None:
        if subject in self.permits:
            self.permits[subject].scope |= details["after"]

    def _shortened(self, subject: str, actor: str, _: datetime, details: Json) -> None:
        if subject in self.permits:
            self.permits[subject].scope["valid_until"] = details["valid_until"]

    def _stopped(self, subject: str, actor: str, _: datetime, details: Json) -> None:
        pass

    # Exports
