"""`outbound sample`."""

import typer

from service.commands.database_access import in_transaction
from service.law.loader import load_rule_book
from service.sample import loader as sample
from service.settings import Settings

samples = typer.Typer(no_args_is_help=True, help="The invented sample company.")


@samples.command("load")
def load_sample() -> None:
    """Load the invented company; without effect if it is loaded already."""
    book = load_rule_book(Settings().policy_file)
    loaded = in_transaction(lambda tx: sample.load(tx, book))
    typer.echo("The sample company is loaded." if loaded else "The sample company was loaded already.")
