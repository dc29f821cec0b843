"""The `outbound` command."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import asyncpg
import structlog
import typer
import uvicorn
from pydantic import ValidationError

from service import logs, migrate
from service.app import book_of, create_app
from service.audit import archive, check, notes, retention, rotation, verify, witness_server
from service.audit import operations as audit
from service.audit.keys import read_or_make
from service.audit.log_key import LogKey
from service.audit.notes import COSIGNATURE, Signer
from service.audit.witness import known_logs, named
from service.database import Database, DatabaseAwayError, Transaction, utc_now
from service.embedded import EmbeddedServer, EmbeddedServerError
from service.gate import outlook, policy_check, rebuild
from service.http.caller import OPERATOR, Caller, Role
from service.http.problems import Invalid, Problem, invalid_from
from service.http.strict_json import parse
from service.identity import operations as identity
from service.identity import sessions
from service.law import policy, rules
from service.law.calendar import day_in_shanghai
from service.law.routes import determination_of
from service.law.rules import RuleFileError
from service.law.schemas import FactsIn
from service.registry import imports
from service.roles import Logins, UnboundError
from service.sample import loader as sample
from service.settings import Settings
from service.tenancy import EVERYWHERE
from service.transfers import people

Result = TypeVar("Result")

log = structlog.get_logger("outbound")

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
keys = typer.Typer(no_args_is_help=True, help="API keys, made with the database's own credentials.")
samples = typer.Typer(no_args_is_help=True, help="The invented sample company.")
policies = typer.Typer(no_args_is_help=True, help="The company's own rules, which can only be stricter than the law.")
ledgers = typer.Typer(no_args_is_help=True, help="The years' counts of persons.")
audits = typer.Typer(no_args_is_help=True, help="The log of entries.")
archives = typer.Typer(invoke_without_command=True, help="Old entries, moved to files that stay provable.")
app.add_typer(archives, name="archive")
app.add_typer(audits, name="audit")
app.add_typer(keys, name="keys")
app.add_typer(ledgers, name="ledger")
app.add_typer(policies, name="policy")
app.add_typer(samples, name="sample")

ARCHIVE_SECONDS = 3600
"""How long one statement may take that looks through a month of entries."""

WORKER_SECONDS = 60
"""How long one of several server processes may say nothing before another takes its place: while it starts it says nothing, and on a
machine with much to do that takes its time."""

URL = "OUTBOUND_INTERNAL_DATABASE_URL"
"""Tells server processes the address of the embedded database that their parent holds open."""


def main() -> None:
    """Run the command; whatever goes wrong is told in one sentence."""
    try:
        app()
    except Problem as problem:
        _fail("\n".join([problem.detail, *(_line(error) for error in problem.errors)]))
    except DatabaseAwayError:
        _fail("The database does not answer. Check OUTBOUND_DATABASE_URL, or that the embedded server can start.")
    except (EmbeddedServerError, RuleFileError, UnboundError, ValueError, OSError) as error:
        _fail(str(error))


def _line(error: dict[str, Any]) -> str:
    place = f"line {error['line']}, " if "line" in error else ""
    return f"  {place}{error['pointer'] or '-'}: {error['detail']}"


def _fail(message: str) -> NoReturn:
    sys.stderr.write(message + "\n")
    raise SystemExit(1)


@contextmanager
def _database_url(settings: Settings, *, migrated: bool = True) -> Iterator[str]:
    """Give the address of the database: the external one, or the embedded one for as long as it is needed."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        if migrated:
            _demand_current(url)
        yield url
        return
    with EmbeddedServer(settings.data_dir) as server:
        if migrated:
            migrate.upgrade(server.url)
        yield server.url


def _demand_current(url: str) -> None:
    try:
        current = migrate.current(url)
    except Exception as error:
        raise DatabaseAwayError(type(error).__name__) from error
    if current != migrate.head():
        _fail(
            f"The database is at revision {current or 'none'}, this version needs {migrate.head()}. Run `outbound migrate` first."
        )


def _in_transaction(work: Callable[[Transaction], Awaitable[Result]]) -> Result:
    return _with_database(lambda database: database.transaction(work))


def _with_database(work: Callable[[Database], Awaitable[Result]], timeout: float | None = None) -> Result:
    settings = Settings()

    async def run(url: str) -> Result:
        database = Database(url, pool=1, timeout=timeout or settings.database_timeout_seconds, reach=EVERYWHERE)
        try:
            return await work(database)
        finally:
            await database.close()

    with _database_url(settings) as url:
        return asyncio.run(run(url))


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (OUTBOUND_HOST).")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="OUTBOUND_PORT.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Server processes (OUTBOUND_WORKERS).")] = None,
    with_sample: Annotated[bool, typer.Option("--sample", help="Load the invented company first.")] = False,
) -> None:
    """Serve the API; on an empty database, print the first admin's key."""
    given: dict[str, Any] = {"host": host, "port": port, "workers": workers}
    settings = Settings(**{name: value for name, value in given.items() if value is not None})
    if settings.port == 0:  # any free one, but known before it is told
        settings = settings.model_copy(update={"port": _free_port(settings.host)})
    logs.configure(settings.log_format, settings.log_level)
    book_of(settings)  # a rule file that cannot be used stops the start, before anything else
    named(settings.witnesses)  # and so do witnesses
    # uvicorn hands a signal on once it has stopped: then the embedded server must be let go as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with _database_url(settings) as url:
        os.environ |= _told(settings) | {URL: url}
        if borrowed := asyncio.run(Logins.of(settings, url).demand_bound()):
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
            http="service.http.direct:Direct" if sys.platform != "win32" else "auto",
            ws="none",
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            # Who came counts for limits alone; OUTBOUND_PUBLIC_URL tells the address that callers use.
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies or None,
            timeout_graceful_shutdown=10,
            timeout_worker_healthcheck=WORKER_SECONDS,
        )


def _free_port(host: str) -> int:
    """Return a port of an address that nobody listens on."""
    family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as probe:
        probe.bind(address)
        port: int = probe.getsockname()[1]
        return port


def _base(settings: Settings) -> str:
    """Return the address that callers use."""
    return (settings.public_url or _address(settings.host, settings.port)).rstrip("/")


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _told(settings: Settings) -> dict[str, str]:
    """Tell server processes what the command line has set."""
    return {f"OUTBOUND_{name.upper()}": str(getattr(settings, name)) for name in ("host", "port", "workers")}


def server() -> Any:
    """Return the application of one server process."""
    settings = Settings()
    logs.configure(settings.log_format, settings.log_level)
    if sys.platform != "win32":
        _bound(settings)
    return create_app(settings, os.environ[URL])


def _bound(settings: Settings) -> None:
    """Set what a connection of this process may take."""
    from service.http.protocol import Bounded  # noqa: PLC0415 - needs httptools

    Bounded.patience = settings.patience_seconds
    Bounded.most = settings.connections


async def _prepare(settings: Settings, url: str, *, with_sample: bool) -> None:
    """Make the first admin, load the sample when it is asked for, and print how to begin."""
    database = Database(url, pool=1, timeout=settings.database_timeout_seconds, reach=EVERYWHERE)
    try:
        if with_sample:
            book = book_of(settings)
            await database.transaction(lambda tx: sample.load(tx, book))
        admin = await database.transaction(identity.first_admin)
        base = _base(settings)
        typer.echo(
            f"Outbound serves {base} (API documentation: {base}/docs)\nNothing that it says of the law is legal advice."
        )
        if admin is not None:
            typer.echo(f"The first admin's key, shown this once: {admin.secret}")
        if with_sample:
            typer.echo(await database.transaction(lambda tx: sample.welcome(tx, base)))
        sys.stdout.flush()
    finally:
        await database.close()


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database to the schema of this version."""
    with _database_url(Settings(), migrated=False) as url:
        migrate.upgrade(url)
    typer.echo(f"The database is at revision {migrate.head()}.")


@keys.command("create")
def create_key(
    principal: Annotated[str, typer.Option(help="Name of the person or system; made when it is new.")],
    role: Annotated[list[Role], typer.Option(help="A role to grant; may be repeated.")],
    system: Annotated[bool, typer.Option("--system", help="It is a system, not a person.")] = False,
    handler: Annotated[str | None, typer.Option(help="Id or key of the handler; all handlers, if missing.")] = None,
) -> None:
    """Make a key; the last line on standard output is the key alone. It is recorded as the operator's act, and takes no second admin."""
    if not Settings().keys_by_command:
        _fail(
            "OUTBOUND_KEYS_BY_COMMAND is false: keys and roles are given by admins over the API. Set it to true to use this command."
        )
    made = _in_transaction(lambda tx: identity.equip(tx, principal, "system" if system else "person", role, handler))
    sys.stderr.write(f"{principal} ({made.principal}) has the key {made.prefix}…; it is shown this once.\n")
    typer.echo(made.secret)


@app.command("login-link")
def login_link(
    principal: Annotated[str, typer.Option(help="Name or id of the person.")],
    minutes: Annotated[int, typer.Option(min=1, max=24 * 60, help="For how long it may be used.")] = 15,
) -> None:
    """Print a link by which a person signs in with a browser, once; recorded as the operator's act."""
    settings = Settings()
    if not settings.keys_by_command:
        _fail("OUTBOUND_KEYS_BY_COMMAND is false: nobody comes in by command. Set it to true to use this command.")
    token = _in_transaction(lambda tx: sessions.make_link(tx, principal, minutes))
    base = _base(settings)
    sys.stderr.write(f"For {principal}, once, within {minutes} minutes:\n")
    typer.echo(f"{base}/login/link?token={token}")


@samples.command("load")
def load_sample() -> None:
    """Load the invented company; a second time does no harm."""
    book = book_of(Settings())
    loaded = _in_transaction(lambda tx: sample.load(tx, book))
    typer.echo("The sample company is loaded." if loaded else "The sample company was there already.")


@app.command("review")
def review_permits(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one array.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 3 where a permit no longer stands.")
    ] = False,
) -> None:
    """List every permit in force that no longer stands, and why; changes nothing, so it can run nightly."""
    book = book_of(Settings())
    found = _in_transaction(lambda tx: outlook.fallen(tx, book))
    if as_json:
        typer.echo(json.dumps(outlook.told(found), ensure_ascii=False, indent=2))
    else:
        for permit in found:
            typer.echo(f"{permit.permit} ({permit.purpose}, transfer {permit.transfer}) no longer stands:")
            for why in permit.why:
                typer.echo(f"  {why.dataset}: {why.reason}: {why.text.en}")
        typer.echo(f"{len(found)} permit(s) no longer stand." if found else "Every permit in force stands.")
    if found and exit_code:
        raise typer.Exit(3)


@app.command("remind")
def remind() -> None:
    """Remind of every stage that is open past its service time, and escalate those open for twice as long; each once."""
    book = book_of(Settings())
    told = _in_transaction(lambda tx: people.remind(tx, OPERATOR, book))
    for transfer, stage, verb in told:
        typer.echo(f"{transfer}: the stage {stage} was {verb}.")
    typer.echo(f"{len(told)} stage(s) were past their time." if told else "No stage is past its time.")


@audits.command("check")
def check_log(
    since: Annotated[
        list[Path] | None,
        typer.Option(exists=True, dir_okay=False, help="A checkpoint that was kept elsewhere; may be repeated."),
    ] = None,
    vkey: Annotated[
        list[str] | None,
        typer.Option(help="Verifier key of the log that is known from elsewhere; that of the key file, if missing."),
    ] = None,
    archives: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Folder of the files of archived months, to check them too."),
    ] = None,
) -> None:
    """Hash the whole log again from its entries, and compare it with what was signed; ends with 1 where it was tampered with."""
    settings = Settings()
    remembered = [path.read_text(encoding="utf-8") for path in since or []]

    async def run(url: str) -> check.Result:
        connection = await asyncpg.connect(url, server_settings=check.SETTINGS)
        try:
            trusted = [notes.Verifier.of(one) for one in vkey or []] or await _own_verifier(settings, connection)
            return await check.check(connection, trusted, remembered, archives)
        finally:
            await connection.close()

    with _database_url(settings) as url:
        result = asyncio.run(run(url))
    for finding in result.findings:
        typer.echo(f"{finding.kind}: {finding.told}")
    newest = "nothing is signed yet" if result.newest is None else f"the newest checkpoint is of {result.newest.size}"
    typer.echo(
        f"{result.leaves} entries were checked ({result.archived} of them in archives, by their hashes) and "
        f"{result.checkpoints} checkpoints; {newest}; {result.waiting} entries wait for their place."
    )
    if result.findings:
        _fail(f"The log was tampered with: {len(result.findings) + result.left_out} findings.")
    typer.echo("The log is whole.")


async def _own_verifier(settings: Settings, connection: asyncpg.Connection) -> list[notes.Verifier]:
    """Return the verifier of the key file; none is made here."""
    path = settings.log_key
    origin: str | None = await connection.fetchval("select origin from log_state")
    if origin is None:
        return []
    if not path.exists():
        raise ValueError(
            f"There is no {path}: name the log's key by --vkey, as /tlog/vkey told it when you could trust it."
        )
    return [LogKey(path).signer(origin).verifier]


@audits.command("rotate-key")
def rotate_key() -> None:
    """Let another key sign the log from now on; the next checkpoint is signed by both, and the old key is kept beside the new one."""
    settings = Settings()
    key = LogKey(settings.log_key)
    origin, vkey = _in_transaction(lambda tx: rotation.rotate(tx, OPERATOR, key, settings.log_origin))
    key.replace(origin)
    typer.echo(f"The log is signed by another key from now on; give it to whoever checks the log:\n{vkey}")


@audits.command("erase-opening")
def erase_opening(
    seq: Annotated[int, typer.Argument(min=0, help="Number of the entry.")],
    pointer: Annotated[str, typer.Argument(help="Which of its sealed values, for instance /details/comment.")],
    reason: Annotated[str, typer.Option(help="Why; recorded, and sealed itself.")],
) -> None:
    """Erase what opens a sealed value of an entry, for good: nobody can tell any more what it was. The log does not change."""
    seal = _in_transaction(lambda tx: audit.erase_opening(tx, OPERATOR, seq, pointer, reason))
    typer.echo(f"Entry {seq} keeps {seal} at {pointer}; what it was is erased.")


@archives.callback()
def archive_months(
    context: typer.Context,
    before: Annotated[str | None, typer.Option(help="YYYY-MM: the months before this one go.")] = None,
    to: Annotated[Path | None, typer.Option(file_okay=False, exists=True, help="Folder of the files.")] = None,
    keep_months: Annotated[
        int, typer.Option(min=0, help="Whole months for which entries must stay.")
    ] = retention.KEEP_MONTHS,
) -> None:
    """Move whole months of entries to files, one a month; counts, permits, proofs and checkpoints stay as they are."""
    if context.invoked_subcommand is not None:
        return
    if before is None or to is None:
        _fail("Say which months, and where to: `outbound archive --before 2023-11 --to FOLDER`.")
    month, folder = archive.month_of(before), to

    async def run(database: Database) -> int:
        count = 0
        async for moved in retention.move(database, month, folder, keep_months):
            count += 1
            head = moved.head
            typer.echo(f"{moved.path}: {head.entries} entries of {head.month}, sha256 {moved.sha256}")
        return count

    count = _with_database(run, timeout=ARCHIVE_SECONDS)
    typer.echo(f"{count} month(s) were moved." if count else "There is nothing to move.")


@archives.command("check")
def check_archive(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A file that `outbound archive` wrote.")],
    vkey: Annotated[list[str], typer.Option(help="Verifier key of the log (/tlog/vkey); may be repeated.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A checkpoint kept elsewhere; the file's own, if missing."),
    ] = None,
    proof: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="What /v1/audit/proofs/consistency told, if that checkpoint is of another size.",
        ),
    ] = None,
) -> None:
    """Prove, offline, that a file holds the entries that the log promised by a signed checkpoint."""
    head, own = archive.check(file)
    note = head.note if checkpoint is None else checkpoint.read_text(encoding="utf-8")
    steps = [] if proof is None else [notes.hash_of(step) for step in json.loads(proof.read_bytes())["proof"]]
    by = archive.signed_by(note, [notes.Verifier.of(one) for one in vkey], own, steps)
    typer.echo(
        f"{file}: {head.entries} entries of {head.month}, leaves {head.first} to {head.last} of {own.origin}, "
        f"as signed by {', '.join(sorted(by))}."
    )


@ledgers.command("rebuild")
def rebuild_ledger(
    handler: Annotated[str | None, typer.Option(help="Id or key of the only handler to count.")] = None,
    year: Annotated[
        int | None, typer.Option(min=2021, max=9999, help="The only year, and the permits used in it.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Store what differs; each is recorded in the log.")] = False,
) -> None:
    """Count years and permits again from the exports alone; ends with 1 when what is stored differs and was not repaired."""

    async def run(database: Database) -> int:
        differing = 0
        async for counted in rebuild.rebuild(database, handler=handler, year=year, repair=repair):
            differing += not counted.is_same
            typer.echo(f"{counted.sentence()}: {_outcome(counted, repair=repair)}")
        return differing

    differing = _with_database(run)
    if differing == 0:
        typer.echo("Everything is as the exports add up.")
    elif repair:
        typer.echo(f"{differing} differed and were repaired.")
    else:
        _fail(f"{differing} differ. `--repair` stores what the exports add up to.")


def _outcome(counted: rebuild.Counted, *, repair: bool) -> str:
    if counted.is_same:
        return "the same"
    return "repaired" if repair else "differs"


@policies.command("check")
def check_policy(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The company's own rules, in TOML.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Check a policy file, and show which open transfers and permits it would change; nothing is changed."""
    checked = policy.load(file)
    then = rules.load(policy=checked)
    now = book_of(Settings())

    async def work(tx: Transaction) -> tuple[list[policy_check.Effect], list[str]]:
        return await policy_check.effects(tx, now, then), await policy_check.unknown_recipients(tx, checked)

    found, unknown = _in_transaction(work)
    if as_json:
        effects = [{"id": one.id, "status": one.status, "changes": one.changes} for one in found]
        told = {"hash": checked.hash, "unknown_recipients": unknown, "effects": effects}
        typer.echo(json.dumps(told, ensure_ascii=False, indent=2))
        return
    typer.echo(f"The policy can be used: {checked.hash}")
    for key in unknown:
        typer.echo(f"No recipient of the register has the key {key}: a condition on it fits nothing.")
    for one in found:
        typer.echo(f"{one.id} ({one.status}):")
        for sentence in one.sentences():
            typer.echo(f"  {sentence}")
    typer.echo(f"{len(found)} would change." if found else "Nothing would change.")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV, or Fides datasets in YAML.")],
    handler: Annotated[str | None, typer.Option(help="Id or key, where a row names none.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who owns the datasets, where a row names nobody.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, store nothing.")] = False,
) -> None:
    """Import datasets: all of them or, with every bad row told, none."""
    rows = imports.parse(file.read_bytes(), _format_of(file))
    wanted = imports.Import(rows=rows, handler=handler, owner=owner, dry_run=dry_run)
    told = _in_transaction(lambda tx: imports.load(tx, _everywhere(OPERATOR), wanted))
    would = "would be " if told.dry_run else ""
    typer.echo(f"{told.created} {would}created, {told.updated} {would}updated, {told.unchanged} unchanged")
    for key in told.keys:
        typer.echo(f"  {key}")


def _format_of(file: Path) -> imports.Format:
    kinds: dict[str, imports.Format] = {".csv": "csv", ".yml": "fides", ".yaml": "fides"}
    if file.suffix.lower() not in kinds:
        raise ValueError(f"{file}: the name must end in .csv, .yml or .yaml.")
    return kinds[file.suffix.lower()]


def _everywhere(caller: Caller) -> Caller:
    """Whoever holds the database's credentials keeps the register of all handlers."""
    return Caller(caller.principal, caller.name, caller.kind, {Role.REGISTRAR: "*"})


@app.command("determine")
def determine_file(
    file: Annotated[Path, typer.Argument(help="Facts as JSON; - reads them from standard input.")],
) -> None:
    """Determine what the law asks for, given facts; needs no database and stores nothing. Not legal advice."""
    content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    try:
        body = FactsIn.model_validate(parse(content))
    except ValidationError as error:
        raise invalid_from(error.errors()) from error
    told = determination_of(body, day_in_shanghai(datetime.now(UTC)), book_of(Settings()))
    typer.echo(json.dumps(told.model_dump(mode="json"), ensure_ascii=False, indent=2))


@app.command("witness")
def witness(
    log: Annotated[list[str], typer.Option(help="Verifier key of a log to look after (/tlog/vkey); may be repeated.")],
    state: Annotated[Path, typer.Option(help="File in which it remembers what it has cosigned; never lose it.")],
    key: Annotated[Path, typer.Option(help="Its Ed25519 key in PEM; made when it is not there.")],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8010,
    name: Annotated[str | None, typer.Option(help="Name that it signs by; made from its key, if missing.")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="The key was made elsewhere and has cosigned nothing yet.")
    ] = False,
) -> None:
    """Cosign checkpoints of a log that is never cut or rewritten; needs no database, and best runs in other hands."""
    logs.configure(Settings().log_format, Settings().log_level)
    is_new = new or not key.exists()
    pem = read_or_make(key)
    known = known_logs(log)
    public = Signer(pem, "none").verifier.public
    signer = Signer(pem, name or witness_server.name_of(public), COSIGNATURE)
    port = port or _free_port(host)
    with witness_server.Memory(state, known, is_new=is_new) as memory:
        cosigner = witness_server.Witness(signer, known, memory, utc_now)
        typer.echo(f"OUTBOUND_WITNESSES={signer.vkey} {_address(host, port)}")
        sys.stdout.flush()
        uvicorn.run(
            witness_server.application(cosigner),
            host=host,
            port=port,
            access_log=False,
            log_config=None,
            log_level="warning",
            server_header=False,
            limit_concurrency=100,
            timeout_graceful_shutdown=10,
        )


@app.command("verify")
def verify_pack(
    pack: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An evidence pack, a ZIP file.")],
    vkey: Annotated[list[str] | None, typer.Option(help="Verifier key of the log, from another source.")] = None,
    witness: Annotated[
        list[str] | None, typer.Option(help="Verifier key of a witness that must have cosigned; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Check an evidence pack, offline: 0 every claim held, 1 one is broken, 2 one cannot be checked or it is no pack."""
    keys = [*(f"--vkey={key}" for key in vkey or ()), *(f"--witness={key}" for key in witness or ())]
    raise typer.Exit(verify.main([str(pack), *keys, *(["--json"] if as_json else [])]))


@app.command("openapi", hidden=True)
def openapi(
    check: Annotated[Path | None, typer.Option(help="Compare with this file instead of printing.")] = None,
) -> None:
    """Print the OpenAPI document, or tell whether a file still is that document."""
    document = create_app(Settings(), "postgresql://nowhere/none").openapi()
    produced = json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True)
    if check is None:
        typer.echo(produced)
    elif check.read_text(encoding="utf-8").strip() != produced:
        raise Invalid(f"{check} is not what the code says; run `make openapi` and commit it.")


if __name__ == "__main__":
    main()
