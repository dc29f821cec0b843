"""Witness protocol of C2SP, pure: requests, cosignatures, and what an answer means to the log.

A witness remembers the largest checkpoint of a log that it has cosigned and cosigns another only if it is shown that it begins with that
one. So whoever has a cosigned checkpoint knows that the log was never cut or rewritten before it, as far as the witness was asked.

Source: C2SP tlog-witness.
"""

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias

from service.audit.tlog import merkle, signed_note
from service.audit.tlog.signed_note import Checkpoint, SignatureError, VerifiedNote, Verifier

MAX_BODY: Final = 128 * 1024
"""Bytes of a request or an answer at most."""
MAX_PROOF: Final = 63
SIZE_TYPE: Final = "text/x.tlog.size"
MAX_CLOCK_LEAD_SECONDS: Final = 300
"""Seconds by which the clock of a witness can be ahead of that of the log."""


@dataclass(frozen=True)
class Submission:
    """A checkpoint for a witness, with the proof that it begins with what the witness has cosigned before."""

    old: int
    """The size that the witness has cosigned before, 0 for none."""
    proof: tuple[bytes, ...]
    note: str

    @classmethod
    def of(cls, body: bytes) -> "Submission":
        """Read the body of a request.

        Raises:
            ValueError: it is none.
        """
        head, separator, note = body.decode().partition("\n\n")
        first, *hashes = head.split("\n")
        if not separator or not first.startswith("old "):
            raise ValueError("The body is `old <size>`, the lines of the proof, an empty line and the checkpoint.")
        if len(hashes) > MAX_PROOF:
            raise ValueError(f"A proof has at most {MAX_PROOF} lines.")
        return cls(
            signed_note.decimal(first.removeprefix("old ")), tuple(signed_note.hash_of(line) for line in hashes), note
        )

    def body(self) -> bytes:
        """Return the body of the request."""
        lines = [f"old {self.old}", *(base64.b64encode(each).decode() for each in self.proof), "", self.note]
        return "\n".join(lines).encode()


class Refusal(Exception):  # noqa: N818 - what a witness does, and says why
    """The witness does not cosign.

    Args:
        status: of the HTTP answer.
        detail: one sentence.
        size: what it has cosigned, where the log must begin from there.
        is_fork: the log has signed two trees of which neither begins with the other, and here they are.
    """

    def __init__(self, status: int, detail: str, *, size: int | None = None, is_fork: bool = False) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.size = size
        self.is_fork = is_fork


def verify_submission(
    submission: Submission, logs: Mapping[str, Collection[Verifier]], seen: Mapping[str, Checkpoint]
) -> tuple[Checkpoint, VerifiedNote]:
    """Return the checkpoint that may be cosigned and the note it came in, opened.

    Args:
        submission: what was asked.
        logs: the keys of each log that the witness knows, by origin.
        seen: the largest checkpoint of each log that it has cosigned, by origin.

    Raises:
        Refusal: it may not be cosigned.
    """
    try:
        checkpoint = Checkpoint.of(signed_note.parts_of(submission.note)[0])
    except ValueError as error:
        raise Refusal(400, f"What is to be cosigned is no checkpoint: {error}") from error
    if checkpoint.origin not in logs:
        raise Refusal(404, f"This witness knows no log {checkpoint.origin}.")
    try:
        verified_note = signed_note.open(submission.note, logs[checkpoint.origin])
    except SignatureError as error:
        raise Refusal(403, f"The checkpoint is not signed by {checkpoint.origin}: {error}") from error
    _require_consistent(submission, checkpoint, seen.get(checkpoint.origin))
    return checkpoint, verified_note


def _require_consistent(submission: Submission, new: Checkpoint, before: Checkpoint | None) -> None:
    old, old_root = (0, merkle.EMPTY) if before is None else (before.size, before.root)
    if submission.old > new.size:
        raise Refusal(400, f"A checkpoint of size {new.size} does not begin with one of size {submission.old}.")
    is_fork = new.size == old and new.root != old_root
    if submission.old != old:
        raise Refusal(409, f"This witness has cosigned {new.origin} at size {old}.", size=old, is_fork=is_fork)
    if is_fork:
        raise Refusal(422, f"FORK: {new.origin} has signed two roots of size {old}.", is_fork=True)
    if not merkle.verify_consistency(old, new.size, old_root, new.root, submission.proof):
        raise Refusal(
            422, f"It is not shown that {new.origin} at size {new.size} begins with what was cosigned at size {old}."
        )


@dataclass(frozen=True)
class Cosigned:
    """The witness has cosigned: its line, and when it did by its own clock (POSIX)."""

    line: str
    time: int


@dataclass(frozen=True)
class OtherSize:
    """The witness has cosigned another size before, and must be shown the proof from there."""

    size: int


Trouble: TypeAlias = Literal["away", "refused", "untrue", "forked", "shrunk"]
"""Why there is no cosignature: no answer; it will not cosign for this log; its answer is not signed by it; it says that the log was
rewritten; it says that the log was larger."""

ALARMS: Final[frozenset[str]] = frozenset({"forked", "shrunk"})
"""Troubles that say something about the log, not about the way to the witness."""


@dataclass(frozen=True)
class Failed:
    """There is no cosignature, and why."""

    trouble: Trouble
    detail: str


Reply: TypeAlias = Cosigned | OtherSize | Failed


def read_reply(status: int, content_type: str, body: bytes, note: str, witness: Verifier, now: int) -> Reply:
    """Return what a witness' answer means; nothing in it is believed that its key has not signed.

    Args:
        status: of the answer.
        content_type: of the answer.
        body: of the answer.
        note: the checkpoint that it was sent.
        witness: its key.
        now: POSIX time.
    """
    try:
        text = body.decode()
        if status == 200:  # noqa: PLR2004
            return _cosigned(text, note, witness, now)
        if status == 409 and content_type.partition(";")[0].strip() == SIZE_TYPE:  # noqa: PLR2004
            return OtherSize(signed_note.decimal(text.removesuffix("\n")))
    except ValueError as error:
        return Failed("untrue", f"The answer of {witness.name} cannot be used: {error}")
    if status == 422:  # noqa: PLR2004
        return Failed("forked", f"{witness.name} does not find that this log begins with what it has cosigned before.")
    if status in {400, 403, 404, 409, 413}:
        why = "it does not know the log or its key" if status in {403, 404} else "it does not take what it is sent"
        return Failed("refused", f"{witness.name} does not cosign: {why} (status {status}).")
    return Failed("away", f"{witness.name} answered with status {status}.")


def _cosigned(answer: str, note: str, witness: Verifier, now: int) -> Cosigned:
    text = signed_note.parts_of(note)[0]
    signed = [each for each in signed_note.signatures_of(f"{text}\n{answer}") if each.is_by(witness)]
    lines = [(signed_note.cosigned_at(f"{text}\n{each.line}", witness) or 0, each.line) for each in signed]
    if not lines:
        raise ValueError("there is no line of its key")
    time, line = max(lines)
    if time > now + MAX_CLOCK_LEAD_SECONDS:
        raise ValueError("its clock is ahead")
    return Cosigned(line, time)


def smaller_than_cosigned(witness: Verifier, theirs: int, ours: int) -> Failed:
    """Return what it means that a witness has cosigned a larger log than there is."""
    return Failed(
        "shrunk",
        f"{witness.name} has cosigned {theirs} entries, this log has {ours}: an older state of the database was restored.",
    )


def parse_log_keys(vkeys: Sequence[str]) -> dict[str, list[Verifier]]:
    """Return the keys of each log by its origin, which is their name; a log whose key was changed has several.

    Raises:
        ValueError: one is not the verifier key of a log.
    """
    logs: dict[str, list[Verifier]] = {}
    for vkey in vkeys:
        verifier = Verifier.of(vkey)
        if verifier.kind != signed_note.ED25519:
            raise ValueError(f"{vkey} is the key of a witness, not of a log.")
        logs.setdefault(verifier.name, []).append(verifier)
    return logs


@dataclass(frozen=True)
class NamedWitness:
    """A witness that the operator has named: its key, and the address in front of `/add-checkpoint`."""

    verifier: Verifier
    url: str

    @property
    def name(self) -> str:
        """The name that it signs by."""
        return self.verifier.name


def parse_witnesses(setting: str) -> tuple[NamedWitness, ...]:
    """Read the setting OUTBOUND_WITNESSES: `<verifier key> <address>`, several by comma.

    Raises:
        ValueError: one of them cannot be used.
    """
    witnesses: dict[str, NamedWitness] = {}
    for part in setting.split(",") if setting.strip() else ():
        vkey, _, url = part.strip().partition(" ")
        url = url.strip().rstrip("/")
        verifier = Verifier.of(vkey)
        if verifier.kind != signed_note.COSIGNATURE:
            raise ValueError(f"OUTBOUND_WITNESSES: {vkey} is not the key of a witness (kind 0x04).")
        if not url.startswith(("http://", "https://")) or " " in url:
            raise ValueError(f"OUTBOUND_WITNESSES: the address of {verifier.name} must begin with https:// or http://.")
        if vkey in witnesses:
            raise ValueError(f"OUTBOUND_WITNESSES: {verifier.name} is named twice.")
        witnesses[vkey] = NamedWitness(verifier, url)
    return tuple(witnesses.values())


@dataclass(frozen=True)
class WitnessStatus:
    """Where a witness stands with the log."""

    name: str
    vkey: str
    size: int | None
    """Entries of the largest log that it has cosigned, None for none."""
    cosigned_at: datetime | None
    """When it cosigned last, by its own clock."""
    trouble: Trouble | None
    detail: str | None
    """A sentence on the trouble."""
    since: datetime | None
    """When the trouble began."""

    def age(self, now: datetime) -> timedelta | None:
        """Return how old its newest cosignature is, never less than nothing."""
        return None if self.cosigned_at is None else max(now - self.cosigned_at, timedelta())


def list_complaints(standings: Sequence[WitnessStatus], now: datetime, max_age: timedelta | None) -> list[str]:
    """Return what the witnesses have to say against calling the log healthy; nothing, if all is well.

    Args:
        standings: of every witness that the operator has named.
        now: the present moment.
        max_age: how old the youngest cosignature may be; None where none is asked for.
    """
    complaints = [each.detail or each.trouble or "" for each in standings if each.trouble in ALARMS]
    if max_age is None:
        return complaints
    ages = [age for each in standings if (age := each.age(now)) is not None]
    if not ages:
        complaints.append("No witness has cosigned the log yet.")
    elif min(ages) > max_age:
        seconds = int(min(ages).total_seconds())
        complaints.append(
            f"The youngest cosignature is {seconds} seconds old; {int(max_age.total_seconds())} are allowed."
        )
    return complaints
