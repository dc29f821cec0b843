"""`outbound policy`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from service.commands.database_access import in_transaction
from service.database.session import Transaction
from service.law import loader, policy
from service.law.loader import load_rule_book
from service.settings import Settings
from service.whatif import policy_impact

policies = typer.Typer(no_args_is_help=True, help="The company's own rules, which can only be stricter than the law.")


@policies.command("check")
def check_policy(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The company's own rules, in TOML.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object.")] = False,
) -> None:
    """Check a policy file, and list the open transfers and permits whose determination it would change. Changes nothing."""
    checked = policy.load(file)
    then = loader.load(policy=checked)
    now = load_rule_book(Settings().policy_file)

    async def work(tx: Transaction) -> tuple[list[policy_impact.Effect], list[str]]:
        return await policy_impact.compute_effects(tx, now, then), await policy_impact.unknown_recipients(tx, checked)

    effects, unknown = in_transaction(work)
    if as_json:
        documents = [{"id": effect.id, "status": effect.status, "changes": effect.changes} for effect in effects]
        document = {"hash": checked.hash, "unknown_recipients": unknown, "effects": documents}
        typer.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return
    typer.echo(f"The policy can be used: {checked.hash}")
    for key in unknown:
        typer.echo(f"No recipient of the register has the key {key}: a condition on it never applies.")
    for effect in effects:
        typer.echo(f"{effect.id} ({effect.status}):")
        for sentence in effect.sentences():
            typer.echo(f"  {sentence}")
    typer.echo(f"{len(effects)} would change." if effects else "Nothing would change.")
