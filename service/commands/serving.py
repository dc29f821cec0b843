"""`outbound serve` with the application of its server processes, and `outbound openapi`."""

import asyncio
import ipaddress
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
import uvicorn

from service import logs
from service.app import create_app
from service.audit.tlog.witness_protocol import parse_witnesses
from service.commands.database_access import database_url
from service.commands.listen_address import free_port
from service.database.logins import Logins
from service.database.row_security import EVERYWHERE
from service.database.session import Database
from service.http.connection_limits import ConnectionLimit
from service.http.rate_limits import exempt_networks
from service.identity import operations as identity
from service.law.loader import load_rule_book
from service.sample import loader as sample
from service.settings import Settings, describe_former_names
from service.validation.problems import Invalid

log = structlog.get_logger("outbound")

WORKER_SECONDS = 60
"""Time-out in seconds of a server process's health check: a process cannot answer while it starts."""

URL = "OUTBOUND_INTERNAL_DATABASE_URL"
"""Variable by which server processes get the address of the database from their parent."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (OUTBOUND_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="OUTBOUND_PORT.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Server processes (OUTBOUND_WORKERS).")] = None,
    with_sample: Annotated[bool, typer.Option("--sample", help="Load the invented company first.")] = False,
) -> None:
    """Serve the API; on an empty database, print the first admin's key."""
    options: dict[str, Any] = {"host": host, "port": port, "workers": workers}
    settings = Settings(**{name: value for name, value in options.items() if value is not None})
    if settings.port == 0:  # chosen here, since the address is printed before the server starts
        settings = settings.model_copy(update={"port": free_port(settings.host)})
    logs.configure(settings.log_format, settings.log_level)
    for warning in describe_former_names():
        log.warning(warning)
    load_rule_book(settings.policy_file)  # a rule file that cannot be used stops the start, before anything else
    parse_witnesses(settings.witnesses)  # and so do witnesses
    # uvicorn hands a signal on once it has stopped: then the embedded server must be let go as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if settings.public_url is None and not _is_loopback(settings.host):
        log.warning(
            "OUTBOUND_PUBLIC_URL is not set: permits and metadata name an address of this machine alone",
            address=settings.base_url,
        )
    with database_url(settings) as url:
        os.environ |= _variables(settings) | {URL: url}
        if borrowed := asyncio.run(Logins.of(settings, url).require_bound()):
            log.warning(
                "server processes log in as the owner of the database and act as lesser roles; logins of their own are stricter: "
                "OUTBOUND_DATABASE_APP_URL, OUTBOUND_DATABASE_GATE_URL, OUTBOUND_DATABASE_LOG_URL",
                roles=borrowed,
            )
        asyncio.run(_prepare(settings, url, with_sample=with_sample))
        uvicorn.run(
            "service.cli:server",
            factory=True,
            host=settings.host,
            port=settings.port,
            workers=settings.workers,
            loop="uvloop" if sys.platform != "win32" else "asyncio",
            http="service.gate.fast_path.http_protocol:FastPathProtocol" if sys.platform != "win32" else "auto",
            ws="none",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            # The client's address counts for limits alone; OUTBOUND_PUBLIC_URL has the address that callers use.
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies or None,
            timeout_graceful_shutdown=10,
            timeout_worker_healthcheck=WORKER_SECONDS,
        )


def _variables(settings: Settings) -> dict[str, str]:
    """Return the settings of the command line as variables for the server processes."""
    return {f"OUTBOUND_{name.upper()}": str(getattr(settings, name)) for name in ("host", "port", "workers")}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server() -> Any:
    """Return the application of one server process."""
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    if sys.platform != "win32":
        _bound(settings)
    return create_app(settings, os.environ[URL])


def _bound(settings: Settings) -> None:
    """Set the limits of this process's connections."""
    from service.http.server_protocol import TimeoutProtocol  # noqa: PLC0415 - needs httptools

    TimeoutProtocol.stall_seconds = settings.client_timeout_seconds
    TimeoutProtocol.limit = ConnectionLimit(settings.max_connections, settings.max_connections_per_address)
    TimeoutProtocol.exempt = exempt_networks(settings.trusted_proxies)


async def _prepare(settings: Settings, url: str, *, with_sample: bool) -> None:
    """Create the first admin, load the sample if requested, and print the first steps."""
    database = Database(url, pool=1, timeout=settings.database_timeout_seconds, handlers=EVERYWHERE)
    try:
        if with_sample:
            book = load_rule_book(settings.policy_file)
            await database.transaction(lambda tx: sample.load(tx, book))
        admin = await database.transaction(identity.create_first_admin)
        base = settings.base_url
        typer.echo(f"Outbound serves {base} (API documentation: {base}/docs)\nIts determinations are not legal advice.")
        if admin is not None:
            typer.echo(f"The first admin's key, shown this once: {admin.secret}")
        if with_sample:
            access = await database.transaction(sample.issue_keys)
            access.write_variables(settings.sample_file, base)
            typer.echo(access.welcome(base, settings.sample_file))
        sys.stdout.flush()
    finally:
        await database.close()


def openapi(
    check: Annotated[Path | None, typer.Option(help="Compare with this file instead of printing.")] = None,
) -> None:
    """Print the OpenAPI document, or check that a file is the current one."""
    document = create_app(Settings(), "postgresql://nowhere/none").openapi()
    produced = json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True)
    if check is None:
        typer.echo(produced)
    elif check.read_text(encoding="utf-8").strip() != produced:
        raise Invalid(f"{check} is not the document of this code; run `make openapi` and commit it.")
