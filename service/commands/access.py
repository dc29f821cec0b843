"""Keys and one-time links, made with the database's own credentials."""

import sys
from typing import Annotated

import typer

from service.access.caller import Role
from service.commands.database_access import in_transaction
from service.commands.exit_status import fail
from service.identity import operations as identity
from service.identity import sessions
from service.settings import Settings

keys = typer.Typer(no_args_is_help=True, help="API keys, made with the database's own credentials.")


@keys.command("create")
def create_key(
    principal: Annotated[str, typer.Option(help="Name of the person or system; made when it is new.")],
    role: Annotated[list[Role], typer.Option(help="A role to grant; may be repeated.")],
    system: Annotated[bool, typer.Option("--system", help="It is a system, not a person.")] = False,
    handler: Annotated[str | None, typer.Option(help="Id or key of the handler; all handlers, if missing.")] = None,
) -> None:
    """Create an API key; the last line of standard output is the key alone.

    The entry of the log names the operator as its actor. No second admin confirms it.
    """
    if not Settings().keys_by_command:
        fail(
            "OUTBOUND_KEYS_BY_COMMAND is false: admins create keys and grant roles over the API. Set it to true to use this command."
        )
    key = in_transaction(lambda tx: identity.issue_key(tx, principal, "system" if system else "person", role, handler))
    sys.stderr.write(f"{principal} ({key.principal}) has the key {key.prefix}…; it is shown this once.\n")
    typer.echo(key.secret)


def login_link(
    principal: Annotated[str, typer.Option(help="Name or id of the person.")],
    minutes: Annotated[int, typer.Option(min=1, max=24 * 60, help="For how long it may be used.")] = 15,
) -> None:
    """Print a link that signs a person in with a browser, once; its entry in the log names the operator as the actor."""
    settings = Settings()
    if not settings.keys_by_command:
        fail(
            "OUTBOUND_KEYS_BY_COMMAND is false: sign-in links come from admins alone. Set it to true to use this command."
        )
    token = in_transaction(lambda tx: sessions.create_link(tx, principal, minutes))
    base = settings.base_url
    sys.stderr.write(f"For {principal}, once, within {minutes} minutes:\n")
    typer.echo(f"{base}/login/link?token={token}")
