"""`outbound upgrade`."""

import asyncio
import json
from itertools import groupby
from typing import Annotated, Final

import asyncpg
import typer
from alembic.script import ScriptDirectory

from service.commands.database_access import database_url
from service.commands.exit_status import fail
from service.connections import Bounds, connect
from service.database import migrate
from service.database.faults import DatabaseUnavailableError
from service.settings import Settings
from service.upgrade.assessment import ADVICE, Finding, assess
from service.upgrade.snapshot import read, revision_of

upgrades = typer.Typer(no_args_is_help=True, help="Answers that this version changes.")

BEFORE: Final = "0015"
"""The last revision of the version before."""
BOUNDS: Final = Bounds(statement=3600.0, silence=600.0)
"""Seconds: the snapshot is only read and blocks nobody, so its statements may take long."""


@upgrades.callback()
def _upgrades() -> None:
    """Answers that this version changes."""


@upgrades.command("check")
def check(
    days: Annotated[
        int, typer.Option(min=0, max=3660, help="How many days back to look at questions and exports.")
    ] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """List each answer that this version changes, before you migrate. Changes nothing; exit status 1 if there is any."""
    with database_url(Settings(), migrated=False) as url:
        revision, findings = asyncio.run(_assess_database(url, days))
    if revision is None:
        fail("The database holds no tables of the service: there is nothing to check.")
    if findings is None:
        _require_later(revision)
        note = f"There is nothing to check: the database is at revision {revision}, beyond the version before."
        typer.echo(json.dumps({"revision": revision, "note": note, "findings": []}, indent=2) if as_json else note)
        return
    if as_json:
        typer.echo(
            json.dumps(
                {"revision": revision, "days": days, "findings": [_document(finding) for finding in findings]},
                ensure_ascii=False,
                indent=2,
            )
        )
    else:
        _show(findings)
    if findings:
        raise typer.Exit(1)


async def _assess_database(url: str, days: int) -> tuple[str | None, list[Finding] | None]:
    """Return the revision of a database and, at revision `BEFORE`, the findings; None for any other revision."""
    try:
        connection = await connect(url, name="outbound upgrade", bounds=BOUNDS)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailableError(type(error).__name__) from error
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            revision = await revision_of(connection)
            register = await read(connection, days) if revision == BEFORE else None
    finally:
        await connection.close()
    return revision, None if register is None else assess(register)


def _require_later(revision: str) -> None:
    """Refuse a database that is older than revision `BEFORE`."""
    earlier = ScriptDirectory(str(migrate.DIRECTORY)).iterate_revisions(BEFORE, "base")
    if revision in {script.revision for script in earlier}:
        fail(
            f"The database is at revision {revision}, and this command reads {BEFORE}: run `outbound migrate` of the version before first."
        )


def _document(finding: Finding) -> dict[str, object]:
    answer, advice = ADVICE[finding.about, finding.reason]
    return {
        "about": finding.about,
        "reason": finding.reason,
        "id": finding.id,
        **finding.more,
        "answer": answer,
        "do": advice,
    }


def _show(findings: list[Finding]) -> None:
    for kind, alike in groupby(findings, key=lambda finding: (finding.about, finding.reason)):
        answer, advice = ADVICE[kind]
        typer.echo(answer)
        for finding in alike:
            typer.echo(f"  {finding.summary}")
        typer.echo(f"  -> {advice}")
    typer.echo(f"{len(findings)} are answered otherwise." if findings else "Nothing is answered otherwise.")
