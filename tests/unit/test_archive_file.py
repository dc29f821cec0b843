"""The file of a month of entries: whoever has it and a signed checkpoint needs nothing else to prove it."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service.audit.tlog import archive_file, merkle, signed_note
from service.audit.tlog.archive_file import ArchiveError, Head, Line
from service.audit.tlog.signed_note import Checkpoint, Signer

Json = dict[str, Any]
ORIGIN = "outbound.test/log"


def signer(name: str = ORIGIN) -> Signer:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Signer(pem, name)


KEY = signer()


def body(leaf: int, month: str = "2023-01") -> str:
    return json.dumps({"at": f"{month}-10T00:00:00Z", "number": leaf, "text": "中\n\u2028"}, ensure_ascii=False)


class Log:
    """A log of so many entries, some of them of another month than January 2023."""

    def __init__(self, size: int, others: Sequence[int] = ()) -> None:
        self.bodies = [body(leaf, "2023-02" if leaf in others else "2023-01") for leaf in range(size)]
        self.hashes = [merkle.leaf_hash(one.encode()) for one in self.bodies]
        self.others = set(others)

    def node(self, level: int, index: int) -> bytes:
        return merkle.root_of(self.hashes[index << level : (index + 1) << level])

    def checkpoint(self, size: int | None = None) -> Checkpoint:
        size = len(self.bodies) if size is None else size
        return Checkpoint.at(ORIGIN, size, merkle.root_of(self.hashes[:size]), datetime(2026, 1, 1, tzinfo=UTC))

    def note(self, size: int | None = None, by: Signer = KEY) -> str:
        return signed_note.sign(self.checkpoint(size).text(), by)

    @property
    def month(self) -> list[int]:
        return [leaf for leaf in range(len(self.bodies)) if leaf not in self.others]

    def head(self) -> Head:
        runs = [(leaf, leaf) for leaf in self.month]
        covers = {node: self.node(*node) for node in archive_file.covers_for(runs, len(self.bodies))}
        return Head("2023-01", len(self.month), self.month[0], self.month[-1], self.note(), covers)

    def write(self, path: Path, head: Head | None = None) -> Path:
        with archive_file.open_for_entries(path, head or self.head()) as file:
            for leaf in self.month:
                file.write(archive_file.encode_line(Line(leaf, leaf + 100, self.bodies[leaf])))
        return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "entries-2023-01.ndjson.gz"


def rewritten(path: Path, change: Callable[[list[Json]], object]) -> Path:
    """Change what the lines of a file say."""
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    change(lines)
    path.write_bytes(gzip.compress(b"".join(json.dumps(line).encode() + b"\n" for line in lines)))
    return path


@pytest.mark.parametrize("size", [1, 2, 7, 8, 100, 700])
def test_a_file_of_a_whole_log_proves_itself(path: Path, size: int) -> None:
    log = Log(size)
    head, checkpoint = archive_file.check(log.write(path))
    assert (head, checkpoint) == (log.head(), log.checkpoint())
    assert [line.body for line in archive_file.read_lines(path)] == log.bodies


@pytest.mark.parametrize("seed", range(20))
def test_entries_of_other_months_may_stand_anywhere_between(path: Path, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a choice of cases
    size = chance.randint(2, 300)
    log = Log(size, chance.sample(range(size), chance.randint(0, size - 1)))
    head, _ = archive_file.check(log.write(path))
    assert [line.leaf for line in archive_file.read_lines(path)] == log.month
    assert head.covers.keys() == log.head().covers.keys()


def test_a_month_in_a_long_log_is_proved_by_a_few_hashes() -> None:
    assert len(archive_file.covers_for([(300_000, 700_000)], 1_000_003)) < 40


def test_equal_entries_make_an_equal_file(path: Path, tmp_path: Path) -> None:
    log = Log(50, [3])
    head = log.head()
    assert log.write(path, head).read_bytes() == log.write(tmp_path / "other.gz", head).read_bytes()
    assert archive_file.sha256_of(path) == archive_file.sha256_of(tmp_path / "other.gz")


CHANGES: dict[str, Callable[[list[Json]], object]] = {
    "a body": lambda lines: lines[5].update(body=lines[5]["body"].replace("number", "nmuber")),
    "a leaf": lambda lines: lines[5].update(leaf=lines[5]["leaf"] + 1),
    "bodies changed over": lambda lines: lines[5].update(body=lines[6]["body"]),
    "two lines changed over": lambda lines: lines.insert(5, lines.pop(6)),
    "two bodies changed over": lambda lines: (
        b := lines[5]["body"],
        lines[5].update(body=lines[6]["body"]),
        lines[6].update(body=b),
    ),
    "a line left out": lambda lines: lines.pop(5),
    "the first line of entries left out": lambda lines: lines.pop(1),
    "the last line left out": lambda lines: lines.pop(),
    "a line twice": lambda lines: lines.insert(5, lines[5]),
    "a line more": lambda lines: lines.append({"leaf": 60, "seq": 160, "body": lines[-1]["body"]}),
    "no entries": lambda lines: lines.__delitem__(slice(1, None)),
    "another month": lambda lines: lines[0].update(month="2023-03"),
    "another count": lambda lines: lines[0].update(entries=3),
    "a higher count": lambda lines: lines[0].update(entries=1000),
    "another first leaf": lambda lines: lines[0].update(first_leaf=1),
    "a cover left out": lambda lines: lines[0]["covers"].pop(),
    "a cover more": lambda lines: lines[0]["covers"].append([0, 61, lines[0]["covers"][0][2]]),
    "a cover of another hash": lambda lines: lines[0]["covers"][0].__setitem__(2, "A" * 43 + "="),
    "a cover that is no hash": lambda lines: lines[0]["covers"][0].__setitem__(2, "AAAA"),
    "a cover that is none": lambda lines: lines[0].update(covers=[[1, 2]]),
    "covers that are none": lambda lines: lines[0].update(covers=None),
    "another root": lambda lines: lines[0].update(checkpoint=Log(61).note()),
    "no checkpoint": lambda lines: lines[0].update(checkpoint="nothing"),
    "another format": lambda lines: lines[0].update(format="outbound-archive/2"),
    "no format": lambda lines: lines.__setitem__(0, []),
    "a line that is no entry": lambda lines: lines.__setitem__(5, {"leaf": "5", "seq": 1, "body": "x"}),
    "a body without a time": lambda lines: lines[5].update(body="{}"),
    "a body that is no JSON": lambda lines: lines[5].update(body="{"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_in_a_file_is_found(path: Path, change: str) -> None:
    log = Log(60, [2, 40, 41])
    archive_file.check(log.write(path))
    with pytest.raises(ArchiveError):
        archive_file.check(rewritten(path, CHANGES[change]))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"plain text",
        gzip.compress(b"", mtime=0),
        gzip.compress(b"no json\n", mtime=0),
        gzip.compress(b'{"format":1}\n', mtime=0)[:-9],
    ],
)
def test_what_is_no_such_file_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ArchiveError):
        archive_file.check(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_a_file_that_is_cut_off_is_refused(path: Path, kept: float) -> None:
    content = Log(300).write(path).read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ArchiveError):
        archive_file.check(path)


def test_its_own_checkpoint_tells_who_signed() -> None:
    log = Log(9)
    assert archive_file.find_signers(log.note(), [KEY.verifier], log.checkpoint()) == {ORIGIN}


def test_a_checkpoint_that_nobody_known_has_signed_is_refused() -> None:
    log = Log(9)
    with pytest.raises(ArchiveError, match="known keys"):
        archive_file.find_signers(log.note(by=signer()), [KEY.verifier], log.checkpoint())


def test_a_checkpoint_of_another_log_is_refused() -> None:
    other = signer("other.test/log")
    log = Log(9)
    text = Checkpoint("other.test/log", 9, log.checkpoint().root).text()
    with pytest.raises(ArchiveError, match=r"other\.test/log"):
        archive_file.find_signers(signed_note.sign(text, other), [other.verifier], log.checkpoint())


def test_another_root_of_the_same_size_is_refused() -> None:
    with pytest.raises(ArchiveError, match="agree"):
        archive_file.find_signers(Log(9, [1]).note(), [KEY.verifier], Log(9).checkpoint())


@pytest.mark.parametrize(("own", "kept"), [(9, 20), (20, 9)])
def test_a_checkpoint_of_another_size_takes_a_proof_that_the_trees_agree(own: int, kept: int) -> None:
    log = Log(20)
    proof = merkle.consistency_proof(9, 20, log.node)
    assert archive_file.find_signers(log.note(kept), [KEY.verifier], log.checkpoint(own), proof) == {ORIGIN}
    for wrong in ([], proof[:-1], [*proof, proof[0]]):
        with pytest.raises(ArchiveError, match=r"consistency\?from=9&to=20"):
            archive_file.find_signers(log.note(kept), [KEY.verifier], log.checkpoint(own), wrong)


@pytest.mark.parametrize(
    ("today", "keep", "first"),
    [
        (date(2026, 11, 25), 36, date(2023, 11, 1)),
        (date(2026, 1, 31), 36, date(2023, 1, 1)),
        (date(2026, 11, 25), 0, date(2026, 11, 1)),
        (date(2026, 1, 1), 1, date(2025, 12, 1)),
        (date(2026, 12, 31), 12, date(2025, 12, 1)),
    ],
)
def test_what_was_written_within_the_time_stays_and_this_month_always(today: date, keep: int, first: date) -> None:
    assert archive_file.first_month_to_keep(today, keep) == first


@pytest.mark.parametrize("told", ["2026-13", "2026", "2026-1", "26-01", "2026-01-01", "x", "2026-W0", ""])
def test_a_month_is_written_in_one_way(told: str) -> None:
    assert archive_file.parse_month("2026-01") == date(2026, 1, 1)
    with pytest.raises(ValueError, match=r".+"):
        archive_file.parse_month(told)


def test_an_entry_belongs_to_its_month_in_utc() -> None:
    shanghai = timezone(timedelta(hours=8))
    assert archive_file.month_at(datetime(2026, 3, 1, 7, 59, tzinfo=shanghai)) == date(2026, 2, 1)
    assert archive_file.month_at(datetime(2026, 3, 1, 8, 0, tzinfo=shanghai)) == date(2026, 3, 1)
