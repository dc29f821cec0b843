"""The `outbound` command."""

import sys
from importlib import import_module
from typing import Any, Final, NoReturn

import typer
from typer.core import TyperGroup

COMMANDS: Final = {
    "serve": "serving:serve",
    "migrate": "schema:migrate",
    "login-link": "access:login_link",
    "review": "approvals:review",
    "remind": "approvals:remind",
    "import": "register:import_file",
    "determine": "law:determine",
    "witness": "proofs:witness",
    "verify": "proofs:verify",
    "openapi": "serving:openapi",
    "archive": "log:archives",
    "audit": "log:audits",
    "keys": "access:keys",
    "ledger": "ledgers:ledgers",
    "policy": "policies:policies",
    "sample": "samples:samples",
}
"""Where in `service.commands` each is: a function, or a group of more commands. What nobody asks for is not loaded, and costs no time."""
HIDDEN: Final = {"openapi"}


class Commands(TyperGroup):
    """All commands, each loaded when it is asked for."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # noqa: ARG002
        """Return a command, or None."""
        place = COMMANDS.get(cmd_name)
        return None if place is None else _loaded(cmd_name, *place.split(":"))


def _loaded(name: str, module: str, member: str) -> Any:
    found = getattr(import_module(f"service.commands.{module}"), member)
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name = name
        return group
    single = typer.Typer(add_completion=False)
    single.command(name, hidden=name in HIDDEN)(found)
    return typer.main.get_command(single)


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)


@app.callback()
def _commands() -> None:
    """The `outbound` command."""


def main() -> None:
    """Run the command; whatever goes wrong is told in one sentence."""
    try:
        app()
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        _fail(told)


def _told(error: Exception) -> str | None:
    """Return what is to be told of an error; None: it is a fault of the program.

    What a command has raised is loaded by then; to load it here beforehand would cost every command its time.
    """
    from service.database import DatabaseAwayError  # noqa: PLC0415
    from service.embedded import EmbeddedServerError  # noqa: PLC0415
    from service.http.problems import Problem  # noqa: PLC0415
    from service.law.rules import RuleFileError  # noqa: PLC0415
    from service.roles import UnboundError  # noqa: PLC0415

    if isinstance(error, Problem):
        return "\n".join([error.detail, *(_line(one) for one in error.errors)])
    if isinstance(error, DatabaseAwayError):
        return "The database does not answer. Check OUTBOUND_DATABASE_URL, or that the embedded server can start."
    if isinstance(error, EmbeddedServerError | RuleFileError | UnboundError | ValueError | OSError):
        return str(error)
    return None


def _line(error: dict[str, Any]) -> str:
    place = f"line {error['line']}, " if "line" in error else ""
    return f"  {place}{error['pointer'] or '-'}: {error['detail']}"


def _fail(message: str) -> NoReturn:
    sys.stderr.write(message + "\n")
    raise SystemExit(1)


if __name__ == "__main__":
    main()
