"""Writes structured log lines to standard error, as text for people or JSON for machines, never with a value that a caller sent.

A fault is told by its types and places, never by its message: drivers and validators put into theirs what they were working on.
What libraries say by `logging`, `warnings` or an uncaught exception goes the same way.
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
"""Characters of one value of a line at most."""
_MAX_FRAMES: Final = 40
_MAX_FAULTS: Final = 8
_HOUSE: Final = ("uvicorn", "asyncio", "concurrent", "alembic", "sqlalchemy", "asyncpg", "httpx", "httpcore")
"""Libraries whose words are known not to begin with values."""
_WORDS: Final = re.compile(r"[A-Za-z][A-Za-z ,.'-]*")
_PLAIN_ID: Final = re.compile(
    r"rq_[0-9a-z]{26}-[0-9a-f]{1,16}"
    r"|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
    r"|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"
)
"""Our own, a UUID, a `traceparent`."""


def configure(style: Literal["text", "json"], level: str, to: TextIO | None = None) -> None:
    """Set up logging for this process.

    Args:
        style: `text` for a person at a terminal, `json` for a collector.
        level: the least level that is written.
        to: where to; standard error, if None.
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
    _take_over()


def told_id(request_id: str) -> str:
    """Return how a request's id is told in a log: as it is where a machine made it, else by its SHA-256.

    A caller may send any text as an id, and has it back as it was; what a person made up has no place in a log.
    """
    if _PLAIN_ID.fullmatch(request_id):
        return request_id
    return "sha256:" + hashlib.sha256(request_id.encode("latin-1", "replace")).hexdigest()[:16]


def faults_of(error: BaseException) -> list[dict[str, Any]]:
    """Return an error, and what it came of, outermost first: for each its type, its places, and the state that PostgreSQL told."""
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
    told: dict[str, Any] = {"type": f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")}
    for name in ("sqlstate", "constraint_name", "table_name"):
        value = getattr(error, name, None)
        if isinstance(value, str):
            told[name] = value
    return told | {"at": [f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]}


def _short(path: str) -> str:
    parts = PurePath(path).parts
    for root in ("site-packages", "service", "tests"):
        if root in parts:
            return "/".join(parts[parts.index(root) + (root == "site-packages") :])
    return parts[-1] if parts else path


def _with_fault(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    given = line.pop("exc_info", None)
    error = given[1] if isinstance(given, tuple) else sys.exc_info()[1] if given is True else given
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
    """Write what could end the line or steer a terminal by its number."""
    return {name: _visible(value) if isinstance(value, str) else value for name, value in line.items()}


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _take_over() -> None:
    """Have everything that others would write told by us."""
    root = logging.getLogger()
    kept = [handler for handler in root.handlers if type(handler) not in {logging.StreamHandler, Others}]
    root.handlers = [*kept, Others()]
    root.setLevel(logging.WARNING)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "asyncio"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.raiseExceptions = False
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda given: _uncaught(given.exc_type, given.exc_value, given.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, _: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    structlog.get_logger("outbound").critical("uncaught fault", error=kind.__name__, exc_info=error)


class Others(logging.Handler):
    """What libraries say, told by logger, place and the words before the first thing that may be a value."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        error = record.exc_info[1] if record.exc_info else None
        structlog.get_logger(record.name).log(
            record.levelno,
            words_of(record),
            logger=record.name,
            at=f"{_short(record.pathname)}:{record.lineno} {record.funcName}",
            **({} if error is None else {"exc_info": error}),
        )


def words_of(record: logging.LogRecord) -> str:
    """Return what of a library's line can hold no value: its template's first words."""
    if isinstance(record.msg, OSError) and record.msg.strerror:
        return record.msg.strerror.split("(")[0].strip()
    found = _WORDS.match(str(record.msg)) if isinstance(record.msg, str) and record.name.startswith(_HOUSE) else None
    return found[0].strip() if found else "something is said by a library"
