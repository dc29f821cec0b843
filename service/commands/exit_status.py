"""Ends a command that cannot do what it was asked: with status 1, and a sentence on standard error."""

import sys
from typing import Any, NoReturn

from service.database.faults import DatabaseUnavailableError, EmbeddedServerError, LockTimeoutError
from service.database.logins import UnboundError
from service.law.rule_files import RuleFileError
from service.validation.problems import Problem


def fail(message: str) -> NoReturn:
    """End with 1, and tell why on standard error."""
    sys.stderr.write(message + "\n")
    raise SystemExit(1)


def told_of(error: Exception) -> str | None:
    """Return what is to be told of an error; None: it is a fault of the program."""
    if isinstance(error, Problem):
        return "\n".join([error.detail, *(_line(one) for one in error.errors)])
    if isinstance(error, DatabaseUnavailableError):
        return "The database does not answer. Check OUTBOUND_DATABASE_URL, or that the embedded server can start."
    if isinstance(error, LockTimeoutError):
        return "Others hold what this needs; nothing was changed. Try again in a moment."
    if isinstance(error, EmbeddedServerError | RuleFileError | UnboundError | ValueError | OSError):
        return str(error)
    return None


def _line(error: dict[str, Any]) -> str:
    place = f"line {error['line']}, " if "line" in error else ""
    return f"  {place}{error['pointer'] or '-'}: {error['detail']}"
