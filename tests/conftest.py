"""A real PostgreSQL and a real HTTP server for every test process, each with a database cloned from one migrated template."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import certifi
import fasteners
import httpx
import pytest
import uvicorn
from hypothesis import settings as hypothesis_settings

from service import logs
from service.app import create_app
from service.database import migrate
from service.database.embedded import EmbeddedServer
from service.database.session import Time
from service.gate.fast_path.http_protocol import FastPathProtocol
from service.http.server_protocol import TimeoutProtocol
from service.settings import Settings
from tests.headers import AsTold
from tests.invariants import require_exact, require_sealed, require_state
from tests.operator import AdminKeys, equipped
from tests.planted import require_clean
from tests.waiting import seen
from tests.world import World

__all__ = ["AdminKeys", "equipped"]

hypothesis_settings.register_profile("suite", derandomize=True, deadline=None, print_blob=True)
hypothesis_settings.load_profile("suite")


gc.disable()


def pytest_collection_finish() -> None:
    """Begin to look for cycles now that everything is loaded and collected, and not in that."""
    gc.freeze()
    gc.enable()


class Clock(Time):
    """The time of the tests: real, plus what a test has set it ahead."""


def run_sql(url: str, *statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def database_named(url: str, name: str) -> str:
    return url.replace("/postgres?", f"/{name}?")


@pytest.fixture(scope="session", autouse=True)
def logs_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Whatever the tests have sent to any server that they started, nothing of it stands in a log in the end."""
    base = tmp_path_factory.getbasetemp()
    with (base / "served.log").open("a", encoding="utf-8") as file:
        logs.configure("json", "debug", file)
        yield
        logs.configure("json", "critical")
    require_clean(base)


@pytest.fixture(scope="session", autouse=True)
def allowed_without_fsync() -> Iterator[None]:
    """The PostgreSQL that tests share writes nothing through to the disk: nobody needs what it keeps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OUTBOUND_DANGEROUSLY_ALLOW_FSYNC_OFF", "true")
        yield


@pytest.fixture(scope="session", autouse=True)
def one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Clients, of which tests make a thousand, trust one authority: to read all of the usual ones takes 20 ms each time."""
    first, end, _ = Path(certifi.where()).read_text("utf-8").partition("-----END CERTIFICATE-----")
    file = tmp_path_factory.mktemp("authorities") / "one.pem"
    file.write_text(f"{first}{end}\n", "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(file))
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a PostgreSQL shared by all test processes, with a migrated database named `template_outbound`."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with fasteners.InterProcessLock(shared / "template.lock"):
        if not (shared / "template.done").exists():
            with EmbeddedServer(shared / "server") as server:
                # Each test process has a service and two replicas; how many connections there may be is set by a start.
                run_sql(server.url, "alter system set fsync = off", "alter system set max_connections = 400")
            with EmbeddedServer(shared / "server") as server:
                run_sql(server.url, "create database template_outbound")
                migrate.upgrade(database_named(server.url, "template_outbound"))
            (shared / "template.done").touch()
    with EmbeddedServer(shared / "server") as server:
        yield server.url


@pytest.fixture(scope="session")
def database_url(postgres: str) -> Iterator[str]:
    """The address of this test process's own database.

    Whatever its tests have done, its sums must be exact in the end, and nothing that people wrote be in its log in clear.
    """
    name = "worker_" + os.environ.get("PYTEST_XDIST_WORKER", "main")
    run_sql(postgres, f"create database {name} template template_outbound")
    yield database_named(postgres, name)
    require_exact(database_named(postgres, name))
    require_sealed(database_named(postgres, name))
    require_state(database_named(postgres, name))


class Patient(FastPathProtocol):
    """A connection as `outbound serve` has it, that waits for tests which take long."""

    patience = 300


class Served(uvicorn.Server):
    """The service on a port of its own, in a thread of the test process."""

    def __init__(self, settings: Settings, url: str, clock: Clock, http: type[TimeoutProtocol] = Patient) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        port = self._socket.getsockname()[1]
        self.app = create_app(settings.model_copy(update={"port": port}), url, clock=clock)
        config = uvicorn.Config(
            self.app,
            log_config=None,
            log_level="warning",
            access_log=False,
            http=http,
            ws="none",
            proxy_headers=False,
            timeout_keep_alive=600,  # a client of a test that took long finds its connection as it left it
        )
        super().__init__(config)

    def __enter__(self) -> str:
        self._thread = threading.Thread(target=self.run, args=([self._socket],), daemon=True)
        self._thread.start()
        seen(lambda: self.started or not self._thread.is_alive(), pause=0.01)
        port = self.servers[0].sockets[0].getsockname()[1]  # there is none where it could not start
        return f"http://127.0.0.1:{port}"

    def __exit__(self, *_: object) -> None:
        self.should_exit = True
        self._thread.join(15)


@pytest.fixture(scope="session")
def clock() -> Clock:
    return Clock()


@pytest.fixture
def days_ahead(clock: Clock) -> Iterator[Clock]:
    """The clock, set right again after the test."""
    yield clock
    clock.ahead = timedelta()


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("data"), log_level="error")


def admins(url: str) -> AdminKeys:
    """Make the two admins of a world and return their keys."""
    return AdminKeys.of(url)


@pytest.fixture(scope="session")
def admin_keys(database_url: str) -> AdminKeys:
    return admins(database_url)


@pytest.fixture(scope="session")
def address(settings: Settings, database_url: str, clock: Clock) -> Iterator[str]:
    with Served(settings, database_url, clock) as served:
        yield served


@pytest.fixture(scope="session")
def http(address: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=address, timeout=30, event_hooks={"response": [AsTold()]}) as client:
        yield client


@pytest.fixture(scope="session")
def world(http: httpx.Client, admin_keys: AdminKeys) -> World:
    """People for every role, and builders with defaults, all through HTTP."""
    return World(http, admin_keys)


@contextmanager
def apart(postgres: str, name: str, folder: Path, **more: Any) -> Iterator[tuple[World, str]]:
    """A service with a database of its own, for what no act of the service does: the log of the shared one must stay right.

    Args:
        postgres: see the fixture.
        name: of the database, beside which stands that of the test process.
        folder: for what the service keeps.
        more: settings.
    """
    name += "_" + os.environ.get("PYTEST_XDIST_WORKER", "main")
    run_sql(
        postgres, f"drop database if exists {name} with (force)", f"create database {name} template template_outbound"
    )
    url = database_named(postgres, name)
    settings = Settings(data_dir=folder, **{"log_level": "error", "pack_worker": False, **more})
    with Served(settings, url, Clock()) as address, httpx.Client(base_url=address, timeout=60) as client:
        yield World(client, admins(url)), url


SAMPLES = Path(os.environ.get("OUTBOUND_SAMPLES", "../shared/samples"))


@pytest.fixture
def samples() -> Path:
    """Data that nobody here wrote; a test that needs it skips where the folder is absent."""
    if not SAMPLES.is_dir():
        pytest.skip(f"no samples at {SAMPLES}: set OUTBOUND_SAMPLES")
    return SAMPLES
