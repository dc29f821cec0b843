"""The program as an operator runs it: commands, the embedded server shared and joined, a kill in mid-request."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from service.database.embedded import MIB, SHARED_BUFFERS, EmbeddedServer, memory
from service.verifier import pack
from tests.waiting import seen

OUTBOUND = str(Path(sys.executable).with_name("outbound"))


def environment(data: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OUTBOUND_")}
    return kept | {"OUTBOUND_DATA_DIR": str(data), "OUTBOUND_DANGEROUSLY_ALLOW_FSYNC_OFF": "true"} | more


def run(data: Path, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    env = environment(data, **more.pop("env", {}))
    return subprocess.run(
        [OUTBOUND, *arguments], env=env, capture_output=True, text=True, timeout=120, check=False, **more
    )


@contextmanager
def serving(data: Path, *arguments: str, **env: str) -> Iterator[tuple[str, subprocess.Popen[str], Path]]:
    """Serve on any free port, as the output tells it."""
    output = data.parent / f"output-{secrets.token_hex(4)}"
    with output.open("w") as file:
        process = subprocess.Popen(
            [OUTBOUND, "serve", "--port", "0", *arguments],
            env=environment(data, **env),
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
        )

        def ready_address() -> str | None:
            assert process.poll() is None, output.read_text()
            line = re.search(r"^Outbound serves (http://127\.0\.0\.1:[1-9]\d*) ", output.read_text(), re.MULTILINE)
            with suppress(httpx.HTTPError):
                if line is not None:
                    httpx.get(f"{line[1]}/readyz", timeout=5).raise_for_status()
                    return line[1]
            return None

        try:
            yield seen(ready_address, 180, pause=0.05), process, output
        finally:
            process.terminate()
            process.wait(60)


def test_a_newcomers_first_minutes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data, "--sample") as (address, _, output):
        text = output.read_text()
        lines = re.findall(r"^curl .*$", text, re.MULTILINE)
        assert len(lines) == 3
        answers = [json.loads(subprocess.check_output(["bash", "-c", line], text=True)) for line in lines]
        assert answers[0]["mechanism"] == "standard_contract_or_certification"
        assert [answer["decision"] for answer in answers[1:]] == [True, False]
        assert "invented" in text

        loaded = run(data, "sample", "load")
        assert (loaded.returncode, "already" in loaded.stdout) == (0, True)
        made = run(data, "keys", "create", "--principal", "visitor", "--role", "auditor")
        secret = made.stdout.splitlines()[-1]
        http = httpx.Client(base_url=address, headers={"Authorization": f"Bearer {secret}"})
        states = {item["status"] for item in http.get("/v1/transfers?limit=200").json()["items"]}
        assert states == {"draft", "in_review", "approved", "rejected", "returned", "withdrawn", "expired"}
        assert len(http.get("/v1/datasets?limit=200").json()["items"]) >= 40
        assert len({item["country"] for item in http.get("/v1/recipients").json()["items"]}) == 8
        assert len(http.get("/v1/handlers").json()["items"]) == 3

        for permit in http.get("/v1/permits").json()["items"]:
            assert verified(http, tmp_path / f"{permit['id']}.zip", permit=permit["id"]) == {}


def verified(http: httpx.Client, path: Path, **about: str) -> dict[str, list[str]]:
    """Have a pack made, and return what its verifier says against it, by claim."""
    asked = http.post("/v1/evidence-packs", json=about)
    assert asked.status_code == 202, asked.text

    def ready_pack() -> dict[str, str] | None:
        shown: dict[str, str] = http.get(asked.headers["Location"]).json()
        assert shown["state"] != "failed", shown
        return shown if shown["state"] == "ready" else None

    shown = seen(ready_pack, pause=0.05)
    path.write_bytes(http.get(shown["content"]).content)
    return {name: claim.sentences for name, claim in pack.verify(path).claims.items() if claim.faults}


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_service_and_its_embedded_server(tmp_path: Path, number: int, workers: str) -> None:
    data = tmp_path / "data"
    with serving(data, "--workers", workers) as (_, process, _):
        assert (data / "postgres" / "postmaster.pid").exists()
        process.send_signal(number)
        process.wait(30)
    assert not (data / "postgres" / "postmaster.pid").exists()


def test_an_empty_database_gets_one_admin_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as (address, _, output):
        secret = re.search(r"ob_live_\S+", output.read_text())
        assert secret is not None
        me = httpx.get(f"{address}/v1/me", headers={"Authorization": f"Bearer {secret[0]}"}).json()
        assert me["roles"] == {"admin": "*"}
    with serving(data) as (_, _, output):
        assert "ob_live_" not in output.read_text()


def test_two_processes_share_one_embedded_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with serving(data) as (first, _, _), serving(data, "--workers", "2") as (second, _, _):
        secret = run(data, "keys", "create", "--principal", "r", "--role", "registrar").stdout.splitlines()[-1]
        headers = {"Authorization": f"Bearer {secret}"}
        body = {"key": "one", "name": "One", "facts": {"ciio": False}}
        made = httpx.post(f"{first}/v1/handlers", json=body, headers=headers)
        assert httpx.get(f"{second}/v1/handlers/{made.json()['id']}", headers=headers).json() == made.json()


def test_server_processes_may_take_their_time_to_start(tmp_path: Path) -> None:
    """Where a machine has much to do they say nothing for long: one that was killed for that would never get to its end."""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, time\nif 'multiprocessing.spawn' in ' '.join(sys.orig_argv): time.sleep(8)\n"
    )
    with serving(tmp_path / "data", "--workers", "2", PYTHONPATH=str(tmp_path)) as (address, _, output):
        assert httpx.get(f"{address}/readyz").status_code == 200, output.read_text()


def test_an_embedded_server_is_set_by_its_machine_once_and_keeps_what_its_operator_changed(tmp_path: Path) -> None:
    def shared_buffers() -> str:
        with EmbeddedServer(tmp_path) as server:
            return asyncio.run(_asked(server.url, "show shared_buffers"))

    expected = min(memory() // 4, SHARED_BUFFERS) // MIB
    assert shared_buffers() in {f"{expected}MB", f"{expected // 1024}GB"}
    settings = tmp_path / "postgres" / "outbound.conf"
    settings.write_text("shared_buffers = 16MB\n")
    assert shared_buffers() == "16MB"


async def _asked(url: str, query: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval(query))
    finally:
        await connection.close()


def test_a_directory_that_cannot_be_used_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = run(tmp_path / "file" / "data", "migrate")
    assert told.returncode == 1
    assert "OUTBOUND_DATA_DIR" in told.stderr
    assert "Traceback" not in told.stderr


def test_an_external_database_that_is_behind_stops_the_start(tmp_path: Path, postgres: str) -> None:
    from tests.conftest import database_named, run_sql  # noqa: PLC0415 - needed here alone

    run_sql(postgres, "drop database if exists behind", "create database behind")
    env = {"OUTBOUND_DATABASE_URL": database_named(postgres, "behind")}
    refused = run(tmp_path, "serve", "--port", "0", env=env)
    assert (refused.returncode, "outbound migrate" in refused.stderr) == (1, True)
    assert run(tmp_path, "migrate", env=env).returncode == 0
    made = run(tmp_path, "keys", "create", "--principal", "x", "--system", "--role", "exporter", env=env)
    assert made.stdout.splitlines()[-1].startswith("ob_live_")


def test_an_external_database_that_is_away_is_told_in_a_sentence(tmp_path: Path) -> None:
    told = run(tmp_path, "serve", env={"OUTBOUND_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"})
    assert (told.returncode, "does not answer" in told.stderr, "Traceback" in told.stderr) == (1, True, False)


def test_a_key_for_a_handler_that_is_not_there_is_refused(tmp_path: Path) -> None:
    told = run(tmp_path, "keys", "create", "--principal", "x", "--role", "auditor", "--handler", "nowhere")
    assert (told.returncode, told.stdout) == (1, "")
    assert run(tmp_path, "keys", "create", "--principal", "x", "--role", "king").returncode == 2


def test_facts_are_determined_from_a_file_without_a_database(tmp_path: Path) -> None:
    facts = {"handler": {"ciio": False}, "dataset": {"tags": ["important"]}, "recipient": {"country": "SG"}}
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(facts))
    told = run(tmp_path, "determine", str(file))
    assert json.loads(told.stdout)["mechanism"] == "security_assessment"
    assert json.loads(run(tmp_path, "determine", "-", input=json.dumps(facts)).stdout) == json.loads(told.stdout)
    for wrong in ("{", "{}", json.dumps(facts | {"recipient": {"country": "XX"}})):
        refused = run(tmp_path, "determine", "-", input=wrong)
        assert (refused.returncode, "Traceback" in refused.stderr) == (1, False)
    assert "/recipient/country" in refused.stderr
    assert run(tmp_path, "determine", str(tmp_path / "nothing.json")).returncode == 1
    assert not (tmp_path / "postgres").exists()


def test_files_are_imported_from_the_command_line(tmp_path: Path) -> None:
    with serving(tmp_path / "data", "--sample"):
        good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
        good.write_text("key,title,owner\na/b,Title,Team\n")
        bad.write_text("key,title,owner\na/c,,Team\n")
        told = run(tmp_path / "data", "import", str(good), "--handler", "lanting-ride", "--dry-run")
        assert "1 would be created" in told.stdout
        assert "1 created" in run(tmp_path / "data", "import", str(good), "--handler", "lanting-ride").stdout
        refused = run(tmp_path / "data", "import", str(bad), "--handler", "lanting-ride")
        assert (refused.returncode, "line 2, /title" in refused.stderr) == (1, True)


def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path) -> None:
    data = tmp_path / "data"
    acknowledged: list[str] = []
    for _ in range(3):
        with serving(data, "--sample") as (address, process, output):
            secret = re.search(r"ride-export\s+(ob_live_\S+)", output.read_text())
            assert secret is not None
            question = {
                "subject": {"type": "system", "id": "a"},
                "action": {"name": "export"},
                "resource": {"type": "dataset", "id": "hive://warehouse.sample.internal/ads.public_timetable"},
                "context": {"recipient": "harbour-analytics"},
            }
            with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {secret[1]}"}) as http:
                for number in range(30):
                    answer = http.post("/access/v1/evaluation", json=question).json()
                    acknowledged.append(answer["context"]["id"])
                    if number == 20:
                        os.kill(process.pid, signal.SIGKILL)
                        break
    with serving(data) as (address, _, _):
        secret_line = run(data, "keys", "create", "--principal", "a", "--role", "auditor").stdout.splitlines()[-1]
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {secret_line}"}) as http:
            for evaluation in acknowledged:
                assert len(http.get(f"/v1/audit/entries?subject={evaluation}").json()["items"]) == 1
    assert not (data / "postgres" / "postmaster.pid").exists(), (
        "the last one to go stops the server, whoever was killed before"
    )
