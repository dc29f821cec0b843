"""`outbound ledger`."""

from typing import Annotated

import typer

from service.commands.database_access import with_database
from service.commands.exit_status import fail
from service.database.session import Database
from service.exports import recount

ledgers = typer.Typer(no_args_is_help=True, help="Counts of persons by handler and year.")


@ledgers.command("rebuild")
def rebuild_ledger(
    handler: Annotated[str | None, typer.Option(help="Id or key of the only handler to count.")] = None,
    year: Annotated[
        int | None, typer.Option(min=2021, max=9999, help="The only year, and the permits used in it.")
    ] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Store what differs; each is recorded in the log.")] = False,
) -> None:
    """Recount years and permits from the exports. Exit status 1 if stored counts differ and were not repaired."""

    async def run(database: Database) -> int:
        differing = above = 0
        async for counted in recount.rebuild(database, handler=handler, year=year, repair=repair):
            differing += not counted.is_same
            above += counted.is_above
            typer.echo(f"{counted.sentence()}: {_outcome(counted, repair=repair)}")
        if above:
            typer.echo(
                f"{above} permit(s) were used for more persons than they allow: see the lines above and the findings of the permits."
            )
        return differing

    differing = with_database(run)
    if differing == 0:
        typer.echo("All stored counts are those of the exports.")
    elif repair:
        typer.echo(f"{differing} differed and were repaired.")
    else:
        fail(f"{differing} differ. `--repair` stores the counts of the exports.")


def _outcome(counted: recount.Recount, *, repair: bool) -> str:
    if counted.is_same:
        return "the same"
    return "repaired" if repair else "differs"
