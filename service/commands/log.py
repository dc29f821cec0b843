"""`outbound audit` and `outbound archive`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from service.access.caller import OPERATOR
from service.audit import operations as audit
from service.audit import powers
from service.audit.log import fsck, key_rotation, retention
from service.audit.log.fsck_workers import Processes, processors
from service.audit.log.log_key import LogKey
from service.audit.state import State
from service.audit.tlog import archive_file, signed_note
from service.commands.database_access import database_url, in_transaction, with_database, write_baseline
from service.commands.exit_status import fail
from service.connections import connect
from service.database.session import Database
from service.law.loader import load_rule_book
from service.settings import Settings

audits = typer.Typer(no_args_is_help=True, help="The log of entries.")
archives = typer.Typer(invoke_without_command=True, help="Old entries, moved to files that stay provable.")

ARCHIVE_SECONDS = 3600
"""How long one statement may take that looks through a month of entries."""


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
    state: Annotated[
        bool, typer.Option(help="Whether to compare the tables with what the entries say was written to them.")
    ] = True,
) -> None:
    """Hash the whole log again, compare it with what was signed and the tables with what it says; ends with 1 where either was changed."""
    settings = Settings()
    remembered = [path.read_text(encoding="utf-8") for path in since or []]
    others: list[str] = []

    async def run(url: str) -> fsck.Result:
        connection = await connect(url, name=fsck.NAME, bounds=fsck.BOUNDS, settings=fsck.SETTINGS)
        try:
            trusted = [signed_note.Verifier.of(one) for one in vkey or []] or await _own_verifier(settings, connection)
            helpers = Processes(url, processors())
            found = await fsck.check(connection, trusted, remembered, archives, helpers, with_state=state)
            if state:
                others.extend(await powers.compared(connection, settings, load_rule_book(settings.policy_file)))
            return found
        finally:
            await connection.close()

    with database_url(settings) as url:
        result = asyncio.run(run(url))
    for finding in result.findings:
        typer.echo(f"{finding.kind}: {finding.told}")
    newest = "nothing is signed yet" if result.newest is None else f"the newest checkpoint is of {result.newest.size}"
    typer.echo(
        f"{result.leaves} entries were checked ({result.archived} of them in archives, by their hashes) and "
        f"{result.checkpoints} checkpoints; {newest}; {result.waiting} entries wait for their place."
    )
    if result.state is not None:
        _show_state(result.state)
    if result.findings:
        fail(f"The log was tampered with: {len(result.findings) + result.left_out} findings.")
    typer.echo("The log is whole.")
    if result.state is None:
        return
    if result.state.differences:
        fail(f"The tables do not hold what the log says: {result.state.counts.total()} rows differ.")
    typer.echo("The tables hold what the log says.")
    if others:
        typer.echo(
            f"Settings here are others than those that the service stated last: {', '.join(others)}. Either this command runs without "
            "the service's settings, or the service has not been started since they were changed."
        )


def _show_state(found: State) -> None:
    """Tell how the tables compare with the log, but for the verdict."""
    for difference in found.differences:
        typer.echo(f"{difference.kind}: {difference.told}")
    for (kind, table), count in found.left_out().items():
        typer.echo(f"{kind}: {table}: {count} more.")
    for told in found.incomparable:
        typer.echo(f"not compared: {told}")
    typer.echo(f"{found.rows} rows were compared with what {found.documents} entries say was written.")


async def _own_verifier(settings: Settings, connection: asyncpg.Connection) -> list[signed_note.Verifier]:
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


@audits.command("baseline")
def baseline() -> None:
    """Say in the log what the tables hold where a version before this one wrote it: once all processes run this version."""
    with database_url(Settings()) as url:
        rows = write_baseline(url)
    typer.echo(f"The log says of {rows} rows what they hold.")


@audits.command("rotate-key")
def rotate_key() -> None:
    """Let another key sign the log from now on; the next checkpoint is signed by both, and the old key is kept beside the new one."""
    settings = Settings()
    key = LogKey(settings.log_key)
    origin, vkey = in_transaction(lambda tx: key_rotation.rotate(tx, OPERATOR, key, settings.log_origin))
    key.replace(origin)
    typer.echo(f"The log is signed by another key from now on; give it to whoever checks the log:\n{vkey}")


@audits.command("erase-opening")
def erase_opening(
    seq: Annotated[int, typer.Argument(min=0, help="Number of the entry.")],
    pointer: Annotated[str, typer.Argument(help="Which of its sealed values, for instance /details/comment.")],
    reason: Annotated[str, typer.Option(help="Why; recorded, and sealed itself.")],
) -> None:
    """Erase what opens a sealed value of an entry, for good: nobody can tell any more what it was. The log does not change."""
    seal = in_transaction(lambda tx: audit.erase_opening(tx, OPERATOR, seq, pointer, reason))
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
        fail("Say which months, and where to: `outbound archive --before 2023-11 --to FOLDER`.")
    month, folder = archive_file.month_of(before), to

    async def run(database: Database) -> int:
        count = 0
        async for moved in retention.move(database, month, folder, keep_months):
            count += 1
            head = moved.head
            typer.echo(f"{moved.path}: {head.entries} entries of {head.month}, sha256 {moved.sha256}")
        return count

    count = with_database(run, timeout=ARCHIVE_SECONDS)
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
    head, own = archive_file.check(file)
    note = head.note if checkpoint is None else checkpoint.read_text(encoding="utf-8")
    steps = [] if proof is None else [signed_note.hash_of(step) for step in json.loads(proof.read_bytes())["proof"]]
    by = archive_file.signed_by(note, [signed_note.Verifier.of(one) for one in vkey], own, steps)
    typer.echo(
        f"{file}: {head.entries} entries of {head.month}, leaves {head.first} to {head.last} of {own.origin}, "
        f"as signed by {', '.join(sorted(by))}."
    )
