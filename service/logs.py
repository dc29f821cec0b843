"""Writes structured log lines to standard error, as text for people or JSON for machines, never with a value that a caller sent.

A fault is logged by its types and places, never by its message, since drivers and validators put values into their messages.
Messages of libraries (`logging`, `warnings`, uncaught exceptions) are logged by the same rule.
"""

import hashlib
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import PurePath
from types import TracebackType
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

MAX_TEXT: Final = 4000
"""Maximal length of one value of a line, in characters."""
_MAX_FRAMES: Final = 40
_MAX_FAULTS: Final = 8
_TRUSTED_LIBRARIES: Final = (
    "uvicorn",
    "asyncio",
    "concurrent",
    "alembic",
    "sqlalchemy",
    "asyncpg",
    "httpx",
    "httpcore",
)
"""Libraries whose messages do not begin with values."""
_WORDS: Final = re.compile(r"[A-Za-z][A-Za-z ,.'-]*")
_PLAIN_ID: Final = re.compile(
    r"rq_[0-9a-z]{26}-[0-9a-f]{1,16}"
    r"|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
    r"|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
)
"""Request ids of this service, UUIDs, and `traceparent` headers."""


def configure(style: Literal["text", "json"], level: str, to: TextIO | None = None) -> None:
    """Set up logging for this process.

    Args:
        style: `text` for a person at a terminal, `json` for a collector.
        level: the lowest level that is written.
        to: the stream; None: standard error.

    Example:
        Lines for a collector, from warnings upwards::

            configure("json", "warning")
            structlog.get_logger("outbound").warning("the feeder is late", seconds=12)
    """
    out = to or sys.stderr
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _with_fault,
            *_rendering(style, colors=out.isatty()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=to is None,
    )
    _capture_libraries()


def loggable_id(request_id: str) -> str:
    """Return a request's id as it may be logged: unchanged if a machine generated it, else its SHA-256.

    A caller can send any text as an id, also personal information.
    """
    if _PLAIN_ID.fullmatch(request_id):
        return request_id
    return "sha256:" + hashlib.sha256(request_id.encode("latin-1", "replace")).hexdigest()[:16]


def faults_of(error: BaseException) -> list[dict[str, Any]]:
    """Return an error and its causes, outermost first, each with its type, its places and PostgreSQL's error state."""
    return [_fault(each) for each, _ in zip(_chain(error), range(_MAX_FAULTS), strict=False)]


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
        cause = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
        if cause is not None:
            waiting.append(cause)


def _fault(error: BaseException) -> dict[str, Any]:
    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    fault: dict[str, Any] = {"type": f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")}
    for name in ("sqlstate", "constraint_name", "table_name"):
        value = getattr(error, name, None)
        if isinstance(value, str):
            fault[name] = value
    return fault | {"at": [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]}


def _short(path: str) -> str:
    parts = PurePath(path).parts
    for root in ("site-packages", "service", "tests"):
        if root in parts:
            return "/".join(parts[parts.index(root) + (root == "site-packages") :])
    return parts[-1] if parts else path


def _with_fault(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    exc_info = line.pop("exc_info", None)
    error = exc_info[1] if isinstance(exc_info, tuple) else sys.exc_info()[1] if exc_info is True else exc_info
    if isinstance(error, BaseException):
        line["fault"] = faults_of(error)
    return line


def _rendering(style: Literal["text", "json"], *, colors: bool) -> list[Processor]:
    if style == "json":
        return [_bounded, structlog.processors.JSONRenderer()]
    return [
        _as_text,
        _bounded,
        _on_one_line,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
    ]


def _as_text(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    if "fault" in line:
        line["fault"] = "; from ".join(f"{each.pop('type')} {_members(each)}" for each in line["fault"])
    return line


def _members(fault: dict[str, Any]) -> str:
    places = fault.pop("at")
    return " ".join([*fault.values(), "at", " < ".join(reversed(places))])


def _bounded(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    return {
        name: value[:MAX_TEXT] + "…" if isinstance(value, str) and len(value) > MAX_TEXT else value
        for name, value in line.items()
    }


def _on_one_line(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Escape control characters, which could end the line or control a terminal."""
    return {name: _visible(value) if isinstance(value, str) else value for name, value in line.items()}


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _capture_libraries() -> None:
    """Replace the handlers of libraries, so that their messages are written by `LibraryHandler`."""
    root = logging.getLogger()
    kept = [handler for handler in root.handlers if type(handler) not in {logging.StreamHandler, LibraryHandler}]
    root.handlers = [*kept, LibraryHandler()]
    root.setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "asyncio"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda hook_args: _uncaught(hook_args.exc_type, hook_args.exc_value, hook_args.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("outbound").critical("uncaught fault", error=kind.__name__, exc_info=error)


class LibraryHandler(logging.Handler):
    """Logs a library's message by its logger, its place and the words before the first possible value."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        error = record.exc_info[1] if record.exc_info else None
        structlog.get_logger(record.name).log(
            record.levelno,
            leading_words(record),
            logger=record.name,
            at=f"{_short(record.pathname)}:{record.lineno} {record.funcName}",
            **({} if error is None else {"exc_info": error}),
        )


def leading_words(record: logging.LogRecord) -> str:
    """Return the first words of a library's message template, which cannot hold a value."""
    if isinstance(record.msg, OSError) and record.msg.strerror:
        return record.msg.strerror.split("(")[0].strip()
    match = (
        _WORDS.match(str(record.msg))
        if isinstance(record.msg, str) and record.name.startswith(_TRUSTED_LIBRARIES)
        else None
    )
    return match[0].strip() if match else "something is said by a library"
