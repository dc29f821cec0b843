"""The file of a month of entries, which stays provable by itself: against a signed checkpoint, without a database or a network.

NDJSON in gzip. The first line tells the month, the checkpoint and whole subtrees of the log's tree that hold all other leaves; then
there is a line for each entry, by rising leaf. Whoever hashes the bodies and puts the subtrees between them comes to the root that the
checkpoint signs, if every body is what it was and none is missing, added or moved.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from service.audit.tlog import merkle, signed_note
from service.audit.tlog.merkle import CompactRange, Node
from service.audit.tlog.signed_note import Checkpoint, Verifier

FORMAT: Final = "outbound-archive/1"
_GZIP_LEVEL: Final = 6
"""Level of gzip; higher levels gain little and take twice the time."""


class ArchiveError(ValueError):
    """A file is not the month of entries that it says it is."""


@dataclass(frozen=True, slots=True)
class Head:
    """First line of a file.

    Attributes:
        month: `YYYY-MM` in UTC.
        entries: how many there are.
        first: leaf of the first one.
        last: leaf of the last one.
        note: the checkpoint that covers them, with its signatures.
        covers: hashes of whole subtrees that hold all other leaves of the checkpoint's tree.
    """

    month: str
    entries: int
    first: int
    last: int
    note: str
    covers: Mapping[Node, bytes]


@dataclass(frozen=True, slots=True)
class Line:
    """An entry: its leaf, its number, and its body, which is what the leaf holds."""

    leaf: int
    seq: int
    body: str


def parse_month(text: str) -> date:
    """Return the first day of a month that is written as `YYYY-MM`.

    Raises:
        ValueError: it is not written so.
    """
    day = date.fromisoformat(f"{text}-01")
    if text != f"{day:%Y-%m}":
        raise ValueError(f"`{text}` is no month: write it as 2026-11.")
    return day


def month_at(at: datetime) -> date:
    """Return the first day of the month, in UTC, of a moment: the one in whose table its entries are."""
    return at.astimezone(UTC).date().replace(day=1)


def months_after(month: date, count: int) -> date:
    """Return the first day of the month so many months later, or earlier if `count` is negative."""
    year, place = divmod(month.year * 12 + month.month - 1 + count, 12)
    return date(year, place + 1, 1)


def first_month_to_keep(today: date, keep_months: int) -> date:
    """Return the first month of which something was written less than `keep_months` whole months ago; this month stays always.

    Source: PIPL art. 56 (three years for impact assessments and records of handling).
    """
    return months_after(today.replace(day=1), -keep_months)


def name_of(month: str) -> str:
    """Return the name of the file of a month."""
    return f"entries-{month}.ndjson.gz"


def covers_for(runs: Iterable[tuple[int, int]], size: int) -> list[Node]:
    """Return the fewest whole subtrees of a tree that hold all leaves but those of these runs (first and last leaf, rising)."""
    return merkle.covering((leaf for first, last in runs for leaf in range(first, last + 1)), size)


@contextmanager
def open_for_entries(path: Path, head: Head) -> Iterator[gzip.GzipFile]:
    """Open a file for the lines of its entries, the first line being written; equal entries make an equal file.

    Args:
        path: a file that is overwritten.
        head: what the first line tells.
    """
    covers = [[level, index, base64.b64encode(hash_).decode()] for (level, index), hash_ in head.covers.items()]
    members = {
        "format": FORMAT,
        "month": head.month,
        "entries": head.entries,
        "first_leaf": head.first,
        "last_leaf": head.last,
        "checkpoint": head.note,
        "covers": covers,
    }
    with path.open("wb") as raw, gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as file:
        file.write(_json(members))
        yield file


def encode_line(line: Line) -> bytes:
    """Return an entry as a line of a file."""
    return _json({"leaf": line.leaf, "seq": line.seq, "body": line.body})


def read_head(path: Path) -> Head:
    """Return what the first line of a file tells.

    Raises:
        ArchiveError: it is not such a file.
    """
    with _open_gzip(path) as file:
        return _head(file.readline())


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the entries of a file as they stand there; nothing is proved.

    Raises:
        ArchiveError: it is not such a file, or is cut off.
    """
    with _open_gzip(path) as file:
        _head(file.readline())
        for content in file:
            yield _line(content)


def check(path: Path) -> tuple[Head, Checkpoint]:
    """Prove that a file holds what it says: its entries are those of its checkpoint's tree at their leaves, and of its month.

    Who signed the checkpoint is for `find_signers` to tell. Reads line by line: memory does not grow with the file.

    Raises:
        ArchiveError: they are not; it says which is the first thing that is wrong.
    """
    head = read_head(path)
    checkpoint = _checkpoint(head.note)
    grown, covers = CompactRange(), sorted(head.covers.items(), key=lambda item: item[0][1] << item[0][0])
    first = last = None
    count = 0
    for line in read_lines(path):
        _grow(grown, covers, line.leaf)
        grown.add(merkle.leaf_hash(line.body.encode()))
        if not _is_in_month(head.month, line.body):
            raise ArchiveError(f"The entry of leaf {line.leaf} is not of {head.month}.")
        first, last, count = line.leaf if first is None else first, line.leaf, count + 1
    _grow(grown, covers, checkpoint.size)
    if (first, last, count) != (head.first, head.last, head.entries) or covers:
        raise ArchiveError(f"The entries are not the {head.entries} of the leaves {head.first} to {head.last}.")
    if grown.root() != checkpoint.root:
        raise ArchiveError("The entries and the subtrees between them do not come to the root of the checkpoint.")
    return head, checkpoint


def find_signers(
    note: str, verifiers: Sequence[Verifier], own: Checkpoint, consistency: Sequence[bytes] = ()
) -> frozenset[str]:
    """Return who has signed a checkpoint with which the tree of a file's own checkpoint agrees.

    Args:
        note: a checkpoint of the log: the file's own, or another one that was kept elsewhere.
        verifiers: whose signatures are believed.
        own: the checkpoint of the file.
        consistency: proof that the smaller of both trees is the beginning of the larger one, where their sizes differ.

    Raises:
        ArchiveError: nobody of them has signed it, or the trees do not agree.
    """
    try:
        verified = signed_note.open(note, verifiers)
        theirs = Checkpoint.of(verified.text)
    except ValueError as error:
        raise ArchiveError(str(error)) from error
    if theirs.origin != own.origin:
        raise ArchiveError(f"The checkpoint is of the log {theirs.origin}, the file is of {own.origin}.")
    old, new = sorted((own, theirs), key=lambda checkpoint: checkpoint.size)
    if not merkle.verify_consistency(old.size, new.size, old.root, new.root, consistency):
        raise ArchiveError(
            f"It is not proved that the trees of {old.size} and of {new.size} leaves agree: "
            f"give the proof of /v1/audit/proofs/consistency?from={old.size}&to={new.size}."
        )
    return verified.by


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _grow(grown: CompactRange, covers: list[tuple[Node, bytes]], until: int) -> None:
    """Add the subtrees that come before a leaf."""
    try:
        while grown.size < until:
            (level, _), hash_ = covers.pop(0)
            grown.add(hash_, level)
    except (IndexError, ValueError) as error:
        raise ArchiveError(f"Nothing tells what stands at leaf {grown.size}.") from error
    if grown.size != until:
        raise ArchiveError(f"Leaf {until} is out of order.")


def _is_in_month(month: str, body: str) -> bool:
    try:
        return str(json.loads(body)["at"]).startswith(f"{month}-")
    except (ValueError, KeyError, TypeError):
        return False


def _checkpoint(note: str) -> Checkpoint:
    try:
        return Checkpoint.of(signed_note.parts_of(note)[0])
    except ValueError as error:
        raise ArchiveError(f"The checkpoint of the file cannot be read: {error}") from error


@contextmanager
def _open_gzip(path: Path) -> Iterator[gzip.GzipFile]:
    try:
        with gzip.open(path, "rb") as file:
            yield file
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise ArchiveError(f"{path} cannot be read: {error}") from error


def _head(content: bytes) -> Head:
    members = _object(content)
    if members.get("format") != FORMAT:
        raise ArchiveError(f"The file is not of the format {FORMAT}.")
    try:
        covers = {(int(level), int(index)): signed_note.hash_of(hash_) for level, index, hash_ in members["covers"]}
        entries, first, last = (int(members[name]) for name in ("entries", "first_leaf", "last_leaf"))
        return Head(str(members["month"]), entries, first, last, str(members["checkpoint"]), covers)
    except (KeyError, TypeError, ValueError) as error:
        raise ArchiveError("The first line does not tell what the file holds.") from error


def _line(content: bytes) -> Line:
    members = _object(content)
    leaf, seq, body = members.get("leaf"), members.get("seq"), members.get("body")
    if not isinstance(leaf, int) or not isinstance(seq, int) or not isinstance(body, str):
        raise ArchiveError("A line is no entry.")
    return Line(leaf, seq, body)


def _object(content: bytes) -> dict[str, Any]:
    try:
        members = json.loads(content)
    except ValueError as error:
        raise ArchiveError("A line is not JSON.") from error
    if not isinstance(members, dict):
        raise ArchiveError("A line is no JSON object.")
    return members


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
