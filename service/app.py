"""Composes the ASGI application of settings, database and law: the composition root, the only module that imports every package."""

import gc
import re
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from fastapi import FastAPI, Response
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from sqlalchemy import text
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from service.audit import powers
from service.audit.log import routes as audit
from service.audit.log import tlog_routes as tlog
from service.audit.log.feeder import Feeder
from service.audit.log.leader import Leader
from service.audit.log.log_key import LogKey
from service.audit.tlog.witness_protocol import parse_witnesses
from service.connections import LONG_SILENCE
from service.database import durability
from service.database.logins import Login, Logins, UnboundError
from service.database.row_security import EVERYWHERE, NOWHERE, HandlerScope
from service.database.session import Database, Time, Transaction
from service.events import routes as events
from service.exports import person_counts
from service.exports import routes as exports
from service.gate import routes as gate
from service.gate.fast_path.asgi import FastPathApp
from service.gate.group_commit import Gate
from service.gate.jobs import EVALUATION_PATH, EVALUATIONS_PATH, EXPORTS_PATH
from service.http import openapi
from service.http.egress import EgressClient
from service.http.middleware import RequestGuard
from service.http.openapi.document import complete_document
from service.http.rate_limits import RateLimiter
from service.http.router import REFUSALS
from service.http.token_bucket import TokenBucket
from service.identity import routes as identity
from service.identity import sign_in_routes
from service.identity.authentication import Authenticator, authenticator_of
from service.identity.operations import parse_api_key
from service.law.loader import load_rule_book
from service.law.rule_book import RuleBook
from service.obligations import routes as obligations
from service.packs import routes as packs
from service.packs.builder import Tools
from service.packs.worker import Worker
from service.permits import operations as permits
from service.permits import routes as permit_routes
from service.permits.tokens import Signer
from service.registry import routes as registry
from service.settings import Settings
from service.transfers import routes as transfers
from service.transfers.evidence_upload import MAX_BODY
from service.validation import problems
from service.validation.problems import REGISTRY
from service.verifier import single_file
from service.whatif import law_routes as law
from service.whatif import outlook_routes as outlooks
from service.whatif import plan_routes as plans
from service.workers import HelperPool

log = structlog.get_logger("outbound")

IMPORT_TIMES = 16
UNHURRIED = tuple(map(re.compile, ("/v1/datasets/import", "/v1/exports", "/v1/exports/[^/]+/complete")))
"""Paths without a time-out of the whole request, since their work grows with the body. Each statement and each batch has its own."""
GATE_PATHS = frozenset({EVALUATION_PATH, EVALUATIONS_PATH, EXPORTS_PATH})
CORS_HEADERS = ["Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "X-Request-ID"]
PACK_CONNECTIONS = 3
"""Connections of the worker of packs: its lock, its snapshot, and its reads of the log."""
PACK_STATEMENT_SECONDS = 3600.0
YOUNG_OBJECTS = 50_000
"""New objects before a garbage collection. A batch creates thousands, and nearly none of them is in a reference cycle."""
DOCS_FILES = Path(openapi.__file__).parent / "swagger_ui"

DESCRIPTION = """The gate that data passes before it leaves mainland China.

Every route but the public ones takes an API key (`Authorization: Bearer ob_live_…`) or, where the operator has set an identity provider,
one of its access tokens (`Authorization: Bearer …`, RFC 9068); all but those that decide take the session of a browser too. `x-roles` names
the roles that may call it.
Errors are problem documents (RFC 9457). What the service says of the law is not legal advice."""

DOCS_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Outbound API</title>
<link rel="stylesheet" href="/docs/files/swagger-ui.css"><link rel="icon" href="data:,"></head>
<body><div id="docs"></div>
<script src="/docs/files/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>
"""
DOCS_SCRIPT = """SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", deepLinking: true, validatorUrl: null});
"""


class Outbound(FastAPI):
    """Application: the fast path answers eligible requests and passes all others on to the routes."""

    fast_path: FastPathApp
    """Answers eligible requests without ASGI, for a connection that asks it (see `service.gate.fast_path.http_protocol`)."""

    async def by_routes(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request through the middleware and the routes."""
        await super().__call__(scope, receive, send)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self.fast_path(scope, receive, send)


def create_app(settings: Settings, database_url: str, *, clock: Time | None = None) -> Outbound:
    """Return the application.

    Args:
        settings: settings of the operator.
        database_url: address of the database, which may be an embedded one.
        clock: offset of PostgreSQL's clock, and this machine's clock.

    Raises:
        RuleFileError: a file of the law is invalid.
        ValueError: a setting is invalid, for instance a witness.

    Example:
        The application with settings from the environment::

            app = create_app(Settings(), "postgresql://outbound@localhost/outbound")
    """
    clock = clock or Time()
    logins = Logins.of(settings, database_url)
    database = _create_database(logins.app, settings, clock)
    book = load_rule_book(settings.policy_file)
    rates = _rates_of(settings)
    decisions = Gate(
        logins.gate,
        book,
        clock=clock,
        lease=timedelta(seconds=settings.export_lease_seconds),
        timeout=settings.database_timeout_seconds,
        batch_timeout=settings.request_timeout_seconds,
        queue=settings.gate_queue,
        limits=rates,
        silence=settings.database_silence_seconds,
    )
    egress = EgressClient(settings.egress_allowed)
    authenticator = authenticator_of(settings, database, egress, clock)
    witnesses = parse_witnesses(settings.witnesses)
    max_age = None if settings.witness_max_age_seconds is None else timedelta(seconds=settings.witness_max_age_seconds)
    log_key = LogKey(settings.log_key)
    sequencer = Leader(
        logins.log,
        clock=clock,
        key=log_key,
        origin=settings.log_origin,
        timeout=settings.database_timeout_seconds,
        feeder=Feeder(database, witnesses, max_age=max_age) if witnesses else None,
        silence=settings.database_silence_seconds,
    )

    workshop = HelperPool()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with _log_startup_failure():
            app.state.signer = signer = Signer.from_file(settings.signing_key)
            await logins.require_bound()
            await _publish_state(database, signer, settings, book)
            await decisions.open()
        maker = _pack_worker(settings, logins.app, signer, log_key, clock)
        if settings.pack_worker:
            maker.start()
        if settings.sequencer:
            sequencer.open()
        gc.collect()
        gc.freeze()  # loaded modules stay; collecting among them would delay decisions
        gc.set_threshold(YOUNG_OBJECTS)
        yield
        await workshop.close()
        await maker.stop()
        await sequencer.close()
        await decisions.close()
        await database.close()

    app = Outbound(
        title="Outbound",
        version=single_file.version(),
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect goes to the host that the caller named, and would take the key there
        generate_unique_id_function=lambda route: route.name,
    )
    _set_state(
        app,
        database=database,
        book=book,
        gate=decisions,
        witnesses=witnesses,
        witness_max_age=max_age,
        base_url=settings.base_url,
        packs_dir=settings.packs,
        workshop=workshop,
    )
    _add_authentication(app, authenticator, settings)
    problems.install(app)
    packages = (
        law,
        plans,
        registry,
        transfers,
        permit_routes,
        obligations,
        exports,
        outlooks,
        events,
        audit,
        tlog,
        packs,
        identity,
    )
    for package in packages:
        app.include_router(package.router)
    app.include_router(gate.authzen)
    _add_health(app, database)
    _add_docs(app)
    app.state.body_limit = limit = settings.body_limit_bytes
    limits = {
        re.compile("/v1/datasets/import"): limit * IMPORT_TIMES,
        re.compile("/v1/transfers/[^/]+/evidence"): max(limit, MAX_BODY),
        re.compile("/v1/exports"): limit + person_counts.MAX_BODY,
        re.compile("/v1/exports/[^/]+/complete"): max(limit, person_counts.MAX_BODY),
    }
    if settings.cors_allowed:
        _add_cors(app, settings.cors_allowed)
    is_https = (settings.public_url or "").startswith("https://")
    app.add_middleware(
        RequestGuard,
        limit=limit,
        limits=limits,
        rates=rates,
        seconds=settings.request_timeout_seconds,
        unhurried=UNHURRIED,
        is_https=is_https,
    )
    app.fast_path = FastPathApp(app.by_routes, gate=decisions, recognize=parse_api_key, limit=limit, rates=rates)
    return app


def _add_authentication(app: FastAPI, authenticator: Authenticator, settings: Settings) -> None:
    """Add the routes of sign-in, and provide authentication to all routes."""
    app.include_router(sign_in_routes.router)
    app.include_router(sign_in_routes.pages)
    app.state.authenticator = authenticator
    app.state.identify = authenticator.identify
    app.state.authenticate = authenticator.authenticate
    app.state.issuer = settings.oidc_issuer


def _set_state(app: FastAPI, **named: Any) -> None:
    """Provide objects to the routes by name, in `app.state`."""
    for name, value in named.items():
        setattr(app.state, name, value)


def _rates_of(settings: Settings) -> RateLimiter:
    return RateLimiter(
        keyed=TokenBucket.of(settings.rate_per_second),
        gate=TokenBucket.of(settings.gate_rate_per_second),
        public=TokenBucket.of(settings.public_rate_per_second),
        failed=TokenBucket.of(settings.failed_rate_per_second),
        gate_paths=GATE_PATHS,
    )


def _add_cors(app: FastAPI, origins: Collection[str]) -> None:
    """Allow pages of these origins to call the API with a key, never with a cookie (CORS)."""
    app.add_middleware(
        CORSMiddleware,
        allow_origins=sorted(origins),
        allow_credentials=False,
        allow_methods=["GET", "POST", "PATCH"],
        allow_headers=CORS_HEADERS,
        expose_headers=["ETag", "Location", "Retry-After", "X-Request-ID"],
    )


@contextmanager
def _log_startup_failure() -> Iterator[None]:
    """Log the reason if the service cannot start."""
    # Messages of our own errors are logged here, as no caller's value can be in them before the first request.
    try:
        yield
    except Exception as error:
        detail = str(error) if isinstance(error, ValueError | OSError | UnboundError) else None
        log.exception("cannot start", error=type(error).__name__, detail=detail)
        raise


async def _publish_state(database: Database, signer: Signer, settings: Settings, book: RuleBook) -> None:
    if not settings.dangerously_allow_fsync_off:
        await database.transaction(durability.require_durable, handlers=EVERYWHERE)
    await database.transaction(lambda tx: powers.record_powers(tx, settings, book), handlers=EVERYWHERE)
    await database.transaction(lambda tx: permits.publish(tx, signer), handlers=EVERYWHERE)
    await database.transaction(permits.reckon_anew, handlers=EVERYWHERE)


def _create_database(
    login: Login, settings: Settings, clock: Time, handlers: HandlerScope = NOWHERE, **overrides: float
) -> Database:
    usual = {"timeout": settings.database_timeout_seconds, "silence": settings.database_silence_seconds}
    pool = int(overrides.pop("pool", settings.database_pool))
    return Database(login.url, role=login.role, clock=clock, handlers=handlers, pool=pool, **usual | overrides)


def _pack_worker(settings: Settings, login: Login, signer: Signer, log_key: LogKey, clock: Time) -> Worker:
    """Return the worker that builds evidence packs of all handlers, with connections of its own and long statement timeouts."""
    tools = Tools(
        reader=_create_database(
            login,
            settings,
            clock,
            EVERYWHERE,
            pool=PACK_CONNECTIONS,
            timeout=PACK_STATEMENT_SECONDS,
            silence=LONG_SILENCE,
        ),
        signer=signer,
        log_key=log_key.signer,
        policy_file=settings.policy_file,
        version=single_file.version(),
    )
    database = _create_database(login, settings, clock, EVERYWHERE, pool=1)
    return Worker(database, tools, settings.packs, timedelta(days=settings.pack_keep_days))


def _add_health(app: FastAPI, database: Database) -> None:
    @app.get("/livez", tags=["health"], openapi_extra={"x-roles": "public"}, response_model=dict[str, str])
    async def livez() -> JSONResponse:
        """Report that the process runs."""
        return JSONResponse({"status": "alive"})

    async def ping(tx: Transaction) -> None:
        await tx.execute(text("select 1"))

    @app.get(
        "/readyz",
        tags=["health"],
        openapi_extra={"x-roles": "public"},
        response_model=dict[str, str],
        responses={503: REFUSALS[503]},
    )
    async def readyz() -> JSONResponse:
        """Report that the service can decide: the database answers."""
        await database.transaction(ping)
        return JSONResponse({"status": "ready"})


def _add_docs(app: FastAPI) -> None:
    complete_document(app)
    app.mount("/docs/files", StaticFiles(directory=DOCS_FILES))

    @app.get("/", include_in_schema=False)
    async def front() -> Response:
        return RedirectResponse("/docs")

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(DOCS_PAGE)

    @app.get("/docs/start.js", include_in_schema=False)
    async def docs_script() -> Response:
        return Response(DOCS_SCRIPT, media_type="text/javascript")

    @app.get("/problems/{slug}", include_in_schema=False)
    async def problem(slug: str) -> Response:
        """Explain a problem type: its `type` is this address."""
        kind = REGISTRY.get(slug)
        if kind is None:
            raise problems.NotFound("There is no such problem type.")
        return JSONResponse(
            {"type": f"/problems/{slug}", "title": kind.title, "status": kind.status, "meaning": kind.__doc__}
        )
