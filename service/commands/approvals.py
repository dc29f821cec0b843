"""Commands that look after approved and waiting requests: `outbound review`, `outbound remind`."""

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
    """List every permit in force that no longer stands, and why; changes nothing, so it can run nightly."""
    book = load_rule_book(Settings().policy_file)
    found = in_transaction(lambda tx: outlook.find_invalidated_permits(tx, book))
    if as_json:
        typer.echo(json.dumps(outlook.documents_of(found), ensure_ascii=False, indent=2))
    else:
        for permit in found:
            typer.echo(f"{permit.permit} ({permit.purpose}, transfer {permit.transfer}) no longer stands:")
            for why in permit.why:
                typer.echo(f"  {why.dataset}: {why.reason}: {why.text.en}")
        typer.echo(f"{len(found)} permit(s) no longer stand." if found else "Every permit in force stands.")
    if found and exit_code:
        raise typer.Exit(3)


def remind() -> None:
    """Remind of every stage that is open past its service time, and escalate those open for twice as long; each once."""
    book = load_rule_book(Settings().policy_file)
    told = in_transaction(lambda tx: reviewers.remind(tx, OPERATOR, book))
    for transfer, stage, verb in told:
        typer.echo(f"{transfer}: the stage {stage} was {verb}.")
    typer.echo(f"{len(told)} stage(s) were past their time." if told else "No stage is past its time.")
