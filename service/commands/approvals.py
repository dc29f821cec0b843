"""Commands for approved and waiting requests: `outbound review`, `outbound remind`."""

import json
from typing import Annotated

import typer

from service.access.caller import OPERATOR
from service.commands.database_access import in_transaction
from service.law.loader import load_rule_book
from service.settings import Settings
from service.transfers import reviewers
from service.whatif import outlook


def review(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one array.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 3 where a permit no longer stands.")
    ] = False,
) -> None:
    """List each permit in force that the law or its evidence no longer supports, with the reason. Changes nothing; may run nightly."""
    book = load_rule_book(Settings().policy_file)
    permits = in_transaction(lambda tx: outlook.find_invalidated_permits(tx, book))
    if as_json:
        typer.echo(json.dumps(outlook.documents_of(permits), ensure_ascii=False, indent=2))
    else:
        for permit in permits:
            typer.echo(f"{permit.permit} ({permit.purpose}, transfer {permit.transfer}) no longer stands:")
            for change in permit.why:
                typer.echo(f"  {change.dataset}: {change.reason}: {change.text.en}")
        typer.echo(f"{len(permits)} permit(s) no longer stand." if permits else "Every permit in force stands.")
    if permits and exit_code:
        raise typer.Exit(3)


def remind() -> None:
    """Remind reviewers of each stage past its service time, and escalate stages past twice that time; each once."""
    book = load_rule_book(Settings().policy_file)
    overdue = in_transaction(lambda tx: reviewers.remind(tx, OPERATOR, book))
    for transfer, stage, verb in overdue:
        typer.echo(f"{transfer}: the stage {stage} was {verb}.")
    typer.echo(f"{len(overdue)} stage(s) were past their time." if overdue else "No stage is past its time.")
