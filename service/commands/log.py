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
from service.audit.log.fsck_workers import WorkerPool, count_processors
from service.audit.log.log_key import LogKey
from service.audit.state import StateResult
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
"""Time-out in seconds of a statement that reads a month of entries."""


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
    """Check the whole log (fsck) against its signed checkpoints, and the tables against its entries; exit status 1 if they differ."""
    settings = Settings()
    remembered = [path.read_text(encoding="utf-8") for path in since or []]
    others: list[str] = []

    async def run(url: str) -> fsck.Result:
        connection = await connect(url, name=fsck.NAME, bounds=fsck.BOUNDS, settings=fsck.SETTINGS)
        try:
            trusted = [signed_note.Verifier.of(text) for text in vkey or []] or await _own_verifier(
                settings, connection
            )
            workers = WorkerPool(url, count_processors())
            checked = await fsck.check(connection, trusted, remembered, archives, workers, with_state=state)
            if state:
                others.extend(
                    await powers.find_changed_settings(connection, settings, load_rule_book(settings.policy_file))
                )
            return checked
        finally:
            await connection.close()

    with database_url(settings) as url:
        result = asyncio.run(run(url))
    for finding in result.findings:
        typer.echo(f"{finding.kind}: {finding.detail}")
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
            f"Settings of this command differ from those that the service wrote to the log last: {', '.join(others)}. Either the command "
            "runs without the service's settings, or the service was not started since they changed."
        )


def _show_state(state: StateResult) -> None:
    """Print how the tables compare with the log, without the verdict."""
    for difference in state.differences:
        typer.echo(f"{difference.kind}: {difference.detail}")
    for (kind, table), count in state.left_out().items():
        typer.echo(f"{kind}: {table}: {count} more.")
    for note in state.incomparable:
        typer.echo(f"not compared: {note}")
    typer.echo(f"{state.rows} rows were compared with what {state.documents} entries say was written.")


async def _own_verifier(settings: Settings, connection: asyncpg.Connection) -> list[signed_note.Verifier]:
    """Return the verifier of the key file; an empty list if the log has not begun.

    Raises:
        ValueError: the key file is missing.
    """
    path = settings.log_key
    origin: str | None = await connection.fetchval("select origin from log_state")
    if origin is None:
        return []
    if not path.exists():
        raise ValueError(f"There is no {path}: give the log's verifier key by --vkey, from a source that you trust.")
    return [LogKey(path).signer(origin).verifier]


@audits.command("baseline")
def baseline() -> None:
    """Write a baseline to the log, of rows that an earlier version wrote. Run it once all processes run this version."""
    with database_url(Settings()) as url:
        rows = write_baseline(url)
    typer.echo(f"The log has a baseline of {rows} more rows.")


@audits.command("rotate-key")
def rotate_key() -> None:
    """Replace the key that signs the log. Both keys sign the next checkpoint; the old key file is kept under another name."""
    settings = Settings()
    key = LogKey(settings.log_key)
    origin, vkey = in_transaction(lambda tx: key_rotation.rotate(tx, OPERATOR, key, settings.log_origin))
    key.replace(origin)
    typer.echo(f"A new key signs the log from now on; give its verifier key to everybody who checks the log:\n{vkey}")


@audits.command("erase-opening")
def erase_opening(
    seq: Annotated[int, typer.Argument(min=0, help="Number of the entry.")],
    pointer: Annotated[str, typer.Argument(help="JSON pointer of the committed value, such as /details/comment.")],
    reason: Annotated[str, typer.Option(help="Reason; recorded in the log behind a commitment.")],
) -> None:
    """Erase the opening of a commitment in an entry, for good: its text cannot be restored. The log does not change."""
    commitment = in_transaction(lambda tx: audit.erase_opening(tx, OPERATOR, seq, pointer, reason))
    typer.echo(f"Entry {seq} keeps the commitment {commitment} at {pointer}; its opening is erased.")


@archives.callback()
def archive_months(
    context: typer.Context,
    before: Annotated[str | None, typer.Option(help="YYYY-MM: archive the months before this one.")] = None,
    to: Annotated[Path | None, typer.Option(file_okay=False, exists=True, help="Folder of the files.")] = None,
    keep_months: Annotated[
        int, typer.Option(min=0, help="Whole months of entries to keep in the database.")
    ] = retention.KEEP_MONTHS,
) -> None:
    """Move entries to files, one for each month; counts, permits, proofs and checkpoints stay."""
    if context.invoked_subcommand is not None:
        return
    if before is None or to is None:
        fail("Name the months and the folder: `outbound archive --before 2023-11 --to FOLDER`.")
    month, folder = archive_file.parse_month(before), to

    async def run(database: Database) -> int:
        count = 0
        async for moved in retention.archive_months(database, month, folder, keep_months):
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
            help="Response of /v1/audit/proofs/consistency, if that checkpoint is of another size.",
        ),
    ] = None,
) -> None:
    """Verify offline that a file has the entries under a signed checkpoint."""
    head, own = archive_file.check(file)
    note = head.note if checkpoint is None else checkpoint.read_text(encoding="utf-8")
    steps = [] if proof is None else [signed_note.hash_of(step) for step in json.loads(proof.read_bytes())["proof"]]
    by = archive_file.find_signers(note, [signed_note.Verifier.of(text) for text in vkey], own, steps)
    typer.echo(
        f"{file}: {head.entries} entries of {head.month}, leaves {head.first} to {head.last} of {own.origin}, "
        f"as signed by {', '.join(sorted(by))}."
    )
