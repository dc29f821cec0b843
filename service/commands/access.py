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
    """Make a key; the last line on standard output is the key alone. It is recorded as the operator's act, and takes no second admin."""
    if not Settings().keys_by_command:
        fail(
            "OUTBOUND_KEYS_BY_COMMAND is false: keys and roles are given by admins over the API. Set it to true to use this command."
        )
    made = in_transaction(lambda tx: identity.equip(tx, principal, "system" if system else "person", role, handler))
    sys.stderr.write(f"{principal} ({made.principal}) has the key {made.prefix}…; it is shown this once.\n")
    typer.echo(made.secret)


def login_link(
    principal: Annotated[str, typer.Option(help="Name or id of the person.")],
    minutes: Annotated[int, typer.Option(min=1, max=24 * 60, help="For how long it may be used.")] = 15,
) -> None:
    """Print a link by which a person signs in with a browser, once; recorded as the operator's act."""
    settings = Settings()
    if not settings.keys_by_command:
        fail("OUTBOUND_KEYS_BY_COMMAND is false: nobody comes in by command. Set it to true to use this command.")
    token = in_transaction(lambda tx: sessions.make_link(tx, principal, minutes))
    base = settings.base_url
    sys.stderr.write(f"For {principal}, once, within {minutes} minutes:\n")
    typer.echo(f"{base}/login/link?token={token}")
