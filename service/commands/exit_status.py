"""Ends a failed command with exit status 1 and a sentence on standard error."""

import sys
from typing import Any, NoReturn

from service.database.faults import DatabaseUnavailableError, EmbeddedServerError, LockTimeoutError
from service.database.logins import UnboundError
from service.law.rule_files import RuleFileError
from service.validation.problems import Problem


def fail(message: str) -> NoReturn:
    """End the command with exit status 1, and print a message to standard error.

    Example:
        if not file.exists():
            fail(f"There is no {file}. Name a file that `outbound archive` wrote.")
    """
    sys.stderr.write(message + "\n")
    raise SystemExit(1)


def describe_error(error: Exception) -> str | None:
    """Return the message for an error; None: it is a fault of the program, and its traceback is useful."""
    if isinstance(error, Problem):
        return "\n".join([error.detail, *(_line(item) for item in error.errors)])
    if isinstance(error, DatabaseUnavailableError):
        return "The database does not answer. Check OUTBOUND_DATABASE_URL, or that the embedded server can start."
    if isinstance(error, LockTimeoutError):
        return "Another transaction holds a lock that this command needs; nothing was changed. Try again in a moment."
    if isinstance(error, EmbeddedServerError | RuleFileError | UnboundError | ValueError | OSError):
        return str(error)
    return None


def _line(error: dict[str, Any]) -> str:
    place = f"line {error['line']}, " if "line" in error else ""
    return f"  {place}{error['pointer'] or '-'}: {error['detail']}"
