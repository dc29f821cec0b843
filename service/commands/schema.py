"""`outbound migrate`."""

import typer

from service.commands.database_access import bring_up, database_url
from service.database import migrate as migrations
from service.settings import Settings


def migrate() -> None:
    """Migrate the database to the schema of this version."""
    with database_url(Settings(), migrated=False) as url:
        rows = bring_up(url)
    if rows is not None:
        typer.echo(f"The log has a baseline of {rows} rows of the version before.")
    typer.echo(f"The database is at revision {migrations.head()}.")
