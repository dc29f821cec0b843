"""`outbound migrate`."""

import typer

from service import migrate as migrations
from service.commands.shared import database_url
from service.settings import Settings


def migrate() -> None:
    """Bring the database to the schema of this version."""
    with database_url(Settings(), migrated=False) as url:
        migrations.upgrade(url)
    typer.echo(f"The database is at revision {migrations.head()}.")
