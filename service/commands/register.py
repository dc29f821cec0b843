"""`outbound import`."""

from pathlib import Path
from typing import Annotated

import typer

from service.access.caller import OPERATOR, Caller, Role
from service.commands.database_access import in_transaction
from service.registry import import_files, imports


def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV, or Fides datasets in YAML.")],
    handler: Annotated[str | None, typer.Option(help="Id or key, where a row names none.")] = None,
    owner: Annotated[str | None, typer.Option(help="Owner of the datasets, where a row names none.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, store nothing.")] = False,
) -> None:
    """Import datasets from a file: all of them, or none and a list of all bad rows."""
    content, kind = file.read_bytes(), _format_of(file)
    options = {"handler": handler, "owner": owner, "dry_run": dry_run}
    result = in_transaction(lambda tx: imports.load_here(tx, _everywhere(OPERATOR), content, kind, **options))
    would = "would be " if result.dry_run else ""
    typer.echo(f"{result.created} {would}created, {result.updated} {would}updated, {result.unchanged} unchanged")
    for key in result.keys:
        typer.echo(f"  {key}")


def _format_of(file: Path) -> import_files.Format:
    kinds: dict[str, import_files.Format] = {".csv": "csv", ".yml": "fides", ".yaml": "fides"}
    if file.suffix.lower() not in kinds:
        raise ValueError(f"{file}: the name must end in .csv, .yml or .yaml.")
    return kinds[file.suffix.lower()]


def _everywhere(caller: Caller) -> Caller:
    """Return the caller as a registrar of all handlers: who has the database's credentials may import for each."""
    return Caller(caller.principal, caller.name, caller.kind, {Role.REGISTRAR: "*"})
