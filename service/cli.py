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
"""Module and member in `service.commands` of each command or group of commands; a module is loaded when its command is called."""
HIDDEN: Final = {"openapi"}


class Commands(TyperGroup):
    """Commands of `outbound`, each loaded on demand."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> Any:  # type: ignore[override]  # noqa: ARG002
        """Return a command, or None."""
        place = COMMANDS.get(cmd_name)
        return None if place is None else _load(cmd_name, *place.split(":"))


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Pause garbage collection, and exempt what was loaded meanwhile from it for good."""
    # Loaded modules stay; collecting among them takes a third of a command's time.
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _load(name: str, module: str, member: str) -> Any:
    with _without_garbage_collection():
        command = getattr(import_module(f"service.commands.{module}"), member)
    if isinstance(command, typer.Typer):
        group = typer.main.get_group(command)
        group.name = name
        return group
    single = typer.Typer(add_completion=False)
    single.command(name, hidden=name in HIDDEN)(command)
    return typer.main.get_command(single)


def server() -> Any:
    """Return the application of one server process, which uvicorn loads."""
    with _without_garbage_collection():
        from service.commands.serving import server as create_server  # noqa: PLC0415 - loaded without garbage collection
    return create_server()


app = typer.Typer(cls=Commands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _commands() -> None:
    """The `outbound` command."""


def main() -> None:
    """Run the command; print an expected error as one sentence."""
    try:
        app()
    except Exception as error:
        from service.commands.exit_status import describe_error, fail  # noqa: PLC0415 - loaded for errors alone

        message = describe_error(error)
        if message is None:
            raise
        fail(message)


if __name__ == "__main__":
    main()
