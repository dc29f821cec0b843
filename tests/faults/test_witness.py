"""The witness as it runs: over HTTP, restarted, killed, its memory taken away, its log forked."""

from __future__ import annotations

import hashlib
import json
import signal
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from service.audit.tlog import signed_note
from service.audit.tlog.signed_note import Checkpoint
from service.audit.tlog.witness_protocol import MAX_BODY
from service.audit.tlog.witness_server import Memory, Witness
from service.clock import utc_now
from tests.faults.test_process import environment
from tests.logs import SmallLog, a_witness, pem
from tests.witnesses import Running, command, witnessing

LOG = SmallLog()
OTHER = SmallLog("example.com/other")
FORK = SmallLog(forked_at=3)
ORIGINS = [f"example.com/log{number}" for number in range(20)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One witness of many logs: each test takes logs that no other has used."""
    with witnessing(tmp_path_factory.mktemp("w"), *(SmallLog(origin).signer.vkey for origin in ORIGINS)) as running:
        yield running


@pytest.fixture(scope="module")
def origins() -> Iterator[str]:
    return iter(ORIGINS)


@pytest.fixture
def origin(origins: Iterator[str]) -> str:
    return next(origins)


def cosigned(running: Running, log: SmallLog, old: int, new: int) -> int:
    """Have a checkpoint cosigned; return the time that the witness tells."""
    answer = running.add(log.submission(old, new).body())
    assert answer.status_code == 200, answer.text
    time = signed_note.cosigned_at(f"{log.checkpoint(new).text()}\n{answer.text}", running.verifier)
    assert time is not None
    return time


def test_it_cosigns_as_its_logs_grow(running: Running, origins: Iterator[str]) -> None:
    log, other = SmallLog(next(origins)), SmallLog(next(origins))
    assert cosigned(running, log, 0, 3) > 1_700_000_000
    assert cosigned(running, other, 0, 9)
    assert cosigned(running, log, 3, 8)
    assert cosigned(running, log, 8, 8)


def test_it_tells_its_size_to_whoever_begins_elsewhere(running: Running, origin: str) -> None:
    log = SmallLog(origin)
    cosigned(running, log, 0, 5)
    for submission in (log.submission(0, 7), log.submission(3, 4)):
        answer = running.add(submission.body())
        assert (answer.status_code, answer.text, answer.headers["Content-Type"]) == (409, "5\n", "text/x.tlog.size")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"hello", 400),
        (SmallLog("example.com/unknown").submission(0, 3).body(), 404),
        (SmallLog(ORIGINS[-1], seed=b"another key").submission(0, 3).body(), 403),
        (LOG.submission(0, 3).body() + b" " * MAX_BODY, 413),
    ],
)
def test_it_refuses_with_the_status_of_the_specification(running: Running, body: bytes, status: int) -> None:
    answer = running.add(body)
    assert (answer.status_code, "\u2014" in answer.text) == (status, False)


def test_it_has_no_other_routes(running: Running) -> None:
    assert httpx.get(f"{running.url}/add-checkpoint").status_code == 405
    assert httpx.get(running.url).status_code == 404


def test_it_serves_monitors_what_it_cosigned(running: Running, origin: str) -> None:
    log = SmallLog(origin)
    of_log = f"{running.url}/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"
    assert httpx.get(of_log).status_code == 404
    cosigned(running, log, 0, 3)
    stranger = SmallLog("example.com/stranger").signer.line(log.checkpoint(5).text())
    assert running.add(log.submission(3, 5).body() + stranger.encode()).status_code == 200
    opened = signed_note.open(httpx.get(of_log).text, [log.signer.verifier, running.verifier])
    assert Checkpoint.of(opened.text).size == 5
    assert opened.keys == {log.signer.verifier, running.verifier}
    assert len(signed_note.signatures_of(httpx.get(of_log).text)) == 2


def test_a_fork_is_not_cosigned_and_both_sides_are_written_down(running: Running, origin: str) -> None:
    log, fork = SmallLog(origin), SmallLog(origin, forked_at=3)
    cosigned(running, log, 0, 5)
    answer = running.add(fork.submission(5, 5).body())
    assert answer.status_code == 422
    assert answer.text.startswith(f"FORK: {origin} has signed two roots of size 5")
    told = running.output.read_text()
    for side in (log, fork):
        assert side.note(5).splitlines()[2] in told


def test_a_rewritten_log_that_has_grown_is_not_cosigned(running: Running, origin: str) -> None:
    log, fork = SmallLog(origin), SmallLog(origin, forked_at=3)
    cosigned(running, log, 0, 5)
    assert running.add(fork.submission(5, 9).body()).status_code == 422
    cosigned(running, log, 5, 9)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_remembers_through_a_restart(tmp_path: Path, number: int) -> None:
    with witnessing(tmp_path, LOG.signer.vkey) as running:
        cosigned(running, LOG, 0, 5)
        running.process.send_signal(number)
        running.process.wait(300)
    with witnessing(tmp_path, LOG.signer.vkey) as again:
        assert again.verifier == running.verifier
        assert again.add(LOG.submission(0, 6).body()).text == "5\n"
        assert again.add(FORK.submission(5, 6).body()).status_code == 422
        cosigned(again, LOG, 5, 6)


def test_of_many_at_once_only_one_history_is_cosigned(running: Running, origin: str) -> None:
    histories = SmallLog(origin), SmallLog(origin, forked_at=5)
    cosigned(running, histories[0], 0, 5)
    asked = [log.submission(5, new).body() for new in range(6, 20) for log in histories]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(running.add, asked))
    assert sorted({answer.status_code for answer in answers}) == [200, 409]
    assert sum(answer.status_code == 200 for answer in answers) == 1


def test_a_key_is_made_for_its_owner_alone(running: Running) -> None:
    key = running.output.with_name("key.pem")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert running.verifier.name.startswith("outbound.local/witness/")
    assert "PRIVATE" not in running.output.read_text()


def failing(folder: Path, *vkeys: str) -> str:
    """Start a witness that must not come up; return what it says."""
    ended = subprocess.run(
        command(folder, *vkeys), env=environment(folder), capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 1
    return ended.stderr


def test_a_witness_without_its_memory_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(pem(b"a witness"))
    assert "a witness that has forgotten" in failing(tmp_path, LOG.signer.vkey)


def test_two_witnesses_do_not_share_a_memory(running: Running) -> None:
    assert running.process.poll() is None
    assert "Another witness uses" in failing(running.output.parent, LOG.signer.vkey)


@pytest.mark.parametrize("content", ["", "[]", "{", '{"example.com/log": 5}', '{"example.com/log": "hello"}'])
def test_a_memory_that_cannot_be_read_is_not_believed(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(ValueError, match="cannot be believed"), memory(tmp_path, LOG):
        pass


def memory(folder: Path, *logs: SmallLog) -> Memory:
    return Memory(folder / "state.json", {log.origin: [log.signer.verifier] for log in logs}, is_new=True)


def test_a_memory_that_was_turned_to_another_log_is_not_believed(tmp_path: Path) -> None:
    note = signed_note.sign(OTHER.checkpoint(3).text(), LOG.signer)
    (tmp_path / "state.json").write_text(json.dumps({LOG.origin: note}))
    with pytest.raises(ValueError, match=r"is one of example\.com/other"), memory(tmp_path, LOG):
        pass


def test_a_memory_keeps_the_logs_that_are_not_looked_after_now(tmp_path: Path) -> None:
    for log in (LOG, OTHER):
        with memory(tmp_path, log) as kept:
            kept.keep(log.checkpoint(3), log.note(3))
    with memory(tmp_path, LOG, OTHER) as kept:
        assert {origin: seen.size for origin, seen in kept.seen.items()} == {LOG.origin: 3, OTHER.origin: 3}


def test_a_witness_does_not_use_the_key_of_a_log(tmp_path: Path) -> None:
    signer = a_witness()
    own = {"example.com/log": [signed_note.Verifier("example.com/log", signer.verifier.public)]}
    with memory(tmp_path, LOG) as kept, pytest.raises(ValueError, match="needs a key of its own"):
        Witness(signer, own, kept, utc_now)


def test_what_cannot_be_written_down_is_not_cosigned(running: Running, origin: str) -> None:
    log = SmallLog(origin)
    in_the_way = running.output.with_name("state.json.draft")
    in_the_way.mkdir()
    answer = running.add(log.submission(0, 5).body())
    assert (answer.status_code, "\u2014" in answer.text) == (503, False)
    in_the_way.rmdir()
    cosigned(running, log, 0, 4)
