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
from service.upgrade.assessment import ADVICE, Finding, judge
from service.upgrade.snapshot import read, revision_of

upgrades = typer.Typer(no_args_is_help=True, help="What changes with this version.")

BEFORE: Final = "0015"
"""The last revision of the version before."""
BOUNDS: Final = Bounds(statement=3600.0, silence=600.0)
"""Nobody waits for a view that is only read."""


@upgrades.callback()
def _upgrades() -> None:
    """What changes with this version."""


@upgrades.command("check")
def check(
    days: Annotated[
        int, typer.Option(min=0, max=3660, help="How many days back to look at questions and exports.")
    ] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """List what this version answers otherwise, before you migrate; nothing is changed, and it ends with 1 where there is any."""
    with database_url(Settings(), migrated=False) as url:
        revision, found = asyncio.run(_find_contradictions(url, days))
    if revision is None:
        fail("The database holds no tables of the service: there is nothing to check.")
    if found is None:
        _require_later(revision)
        told = f"There is nothing to check: the database is at revision {revision}, beyond the version before."
        typer.echo(json.dumps({"revision": revision, "note": told, "findings": []}, indent=2) if as_json else told)
        return
    if as_json:
        typer.echo(
            json.dumps(
                {"revision": revision, "days": days, "findings": [_document(one) for one in found]},
                ensure_ascii=False,
                indent=2,
            )
        )
    else:
        _show(found)
    if found:
        raise typer.Exit(1)


async def _find_contradictions(url: str, days: int) -> tuple[str | None, list[Finding] | None]:
    """Return the revision of a database and, where it is that of before, what is answered otherwise."""
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
    return revision, None if register is None else judge(register)


def _require_later(revision: str) -> None:
    """Refuse a database of which the migrations up to the version before are still to be made."""
    before = ScriptDirectory(str(migrate.DIRECTORY)).iterate_revisions(BEFORE, "base")
    if revision in {one.revision for one in before}:
        fail(
            f"The database is at revision {revision}, and this looks at {BEFORE}: run `outbound migrate` of the version before first."
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


def _show(found: list[Finding]) -> None:
    for what, findings in groupby(found, key=lambda one: (one.about, one.reason)):
        typer.echo(ADVICE[what][0])
        for finding in findings:
            typer.echo(f"  {finding.told}")
        typer.echo(f"  -> {ADVICE[what][1]}")
    typer.echo(f"{len(found)} are answered otherwise." if found else "Nothing is answered otherwise.")
