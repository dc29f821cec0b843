"""The embedded server and the pids that its files name: nobody is signalled but the folder's own server."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from service.database.embedded import EmbeddedServer
from service.database.faults import EmbeddedServerError
from service.database.postmaster import DoubtfulServerError, PidFile, discard_stale_file, server_of
from tests.conftest import run_sql


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster whose server is not running."""
    made = tmp_path_factory.mktemp("cluster")
    with EmbeddedServer(made):
        pass
    return made


@contextmanager
def another_process() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "600"])
    try:
        yield process.pid
        assert process.poll() is None, "it was ended"
    finally:
        process.kill()
        process.wait()


@contextmanager
def another_thread() -> Iterator[int]:
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    assert thread.native_id is not None
    try:
        yield thread.native_id
        assert thread.is_alive()
    finally:
        end.set()
        thread.join()


@contextmanager
def this_process() -> Iterator[int]:
    yield os.getpid()


@contextmanager
def nobody() -> Iterator[int]:
    process = subprocess.Popen(["true"])
    process.wait()
    yield process.pid


def noted(folder: Path, pid: int, **other: str) -> str:
    cluster = folder / "postgres"
    started = other.get("started", "1700000000")
    return f"{pid}\n{cluster}\n{started}\n5432\n{other.get('sockets', cluster)}\n\n  1234  0\nready   \n"


def write(folder: Path, text: str) -> None:
    file = folder / "postgres" / "postmaster.pid"
    file.write_text(text)
    owner = (folder / "postgres").stat()
    os.chown(file, owner.st_uid, owner.st_gid)


def is_served(folder: Path) -> bool:
    """Tell whether something is taken for the server of a folder, or for one that may be."""
    try:
        return server_of(folder / "postgres") is not None
    except DoubtfulServerError:
        return True


@pytest.mark.parametrize("who", [another_process, this_process, another_thread, nobody])
def test_a_pid_that_is_somebody_elses_by_now_is_left_alone(folder: Path, who: object) -> None:
    with who() as pid:  # type: ignore[operator]
        started = str(int(time.time())) if who is this_process else "1700000000"
        write(folder, noted(folder, pid, started=started))
        assert not is_served(folder)
        with EmbeddedServer(folder) as server:
            run_sql(server.url, "select 1")
            assert PidFile.of(folder / "postgres").pid != pid
    assert not (folder / "postgres" / "postmaster.pid").exists()


def test_a_server_serves_no_folder_but_its_own(tmp_path: Path, postgres: str) -> None:
    run_sql(postgres, "select 1")
    (tmp_path / "postgres").mkdir()
    assert not is_served(tmp_path)


def test_the_server_of_another_folder_is_left_alone(folder: Path, postgres: str) -> None:
    """It is a PostgreSQL, it is ready, and it listens at the socket that the file names."""
    cluster = Path(postgres.partition("?host=")[2])
    theirs = PidFile.of(cluster)
    assert theirs.pid is not None
    write(folder, noted(folder, theirs.pid, started=str(theirs.started), sockets=str(cluster)))
    assert not is_served(folder)
    with EmbeddedServer(folder) as server:
        assert server.url.partition("?host=")[2] == str(folder / "postgres")
    assert psutil.pid_exists(theirs.pid)
    run_sql(postgres, "select 1")


@pytest.mark.parametrize("length", [0, 3, 40, 60])
def test_a_torn_pid_file_hinders_no_start(folder: Path, length: int) -> None:
    with another_process() as pid:
        write(folder, noted(folder, pid)[:length])
        with EmbeddedServer(folder) as server:
            run_sql(server.url, "select 1")


def test_torn_handles_of_an_earlier_version_hinder_no_start(folder: Path) -> None:
    (folder / "postgres" / ".handle_pids.json").write_text("[12")
    with EmbeddedServer(folder) as server:
        run_sql(server.url, "select 1")
    assert server_of(folder / "postgres") is None


def test_a_server_whose_file_does_not_say_so_is_neither_joined_nor_ended(folder: Path) -> None:
    cluster = folder / "postgres"
    with EmbeddedServer(folder):
        ours = server_of(cluster)
        assert ours is not None
        kept = (cluster / "postmaster.pid").read_text()
        for spoilt in ("", noted(folder, os.getpid()), kept[:3]):
            write(folder, spoilt)
            with pytest.raises(DoubtfulServerError, match=str(ours.pid)):
                server_of(cluster)
            with pytest.raises(EmbeddedServerError, match=r"left alone"), EmbeddedServer(folder):
                pass
            assert ours.is_running()
        write(folder, kept)
        assert server_of(cluster) == ours


def test_a_clock_that_was_set_since_makes_no_stranger_of_a_server(folder: Path) -> None:
    cluster = folder / "postgres"
    with EmbeddedServer(folder):
        kept = (cluster / "postmaster.pid").read_text()
        lines = kept.splitlines()
        try:
            lines[2] = str(int(lines[2]) - 366 * 86400)
            write(folder, "\n".join(lines) + "\n")
            assert server_of(cluster) is not None, "it answers at its socket"
            lines[4] = "/nowhere"
            write(folder, "\n".join(lines) + "\n")
            with pytest.raises(DoubtfulServerError):
                server_of(cluster)
        finally:
            write(folder, kept)


def test_what_a_dead_server_has_left_is_waited_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.database.postmaster._START_TIMEOUT", 0.2)
    with EmbeddedServer(folder), pytest.raises(DoubtfulServerError, match="still there"):
        discard_stale_file(folder / "postgres")
