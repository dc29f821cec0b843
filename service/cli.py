"""The `outbound` command."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

COMMANDS: Final = {
    "serve": "serving:serve",
    "migrate": "schema:migrate",
    "upgrade": "upgrades:upgrades",
    "login-link": "access:login_link",
    "review": "approvals:review",
    "remind": "approvals:remind",
    "import": "register:import_file",
    "determine": "law:determine",
    "witness": "proofs:witness",
    "verify": "proofs:verify",
    "verifier": "proofs:verifier",
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


@contextmanager
def _kept() -> Iterator[None]:
    """Look for no cycles in what is loaded meanwhile: it stays, and to go through it then and at the end is a third of a command's time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _loaded(name: str, module: str, member: str) -> Any:
    with _kept():
        found = getattr(import_module(f"service.commands.{module}"), member)
    if isinstance(found, typer.Typer):
        group = typer.main.get_group(found)
        group.name = name
        return group
    single = typer.Typer(add_completion=False)
    single.command(name, hidden=name in HIDDEN)(found)
    return typer.main.get_command(single)


def server() -> Any:
    """Return the application of one server process, which uvicorn loads."""
    with _kept():
        from service.commands.serving import server as made  # noqa: PLC0415 - in a process of its own nothing is loaded yet
    return made()


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _commands() -> None:
    """The `outbound` command."""


def main() -> None:
    """Run the command; whatever goes wrong is told in one sentence."""
    try:
        app()
    except Exception as error:
        from service.commands.exit_status import fail, told_of  # noqa: PLC0415 - what all goes well without is not loaded

        told = told_of(error)
        if told is None:
            raise
        fail(told)


if __name__ == "__main__":
    main()
