"""Strict JSON (RFC 8259, RFC 7493): refuses duplicate names, NaN, and numbers or text that other parsers read differently.

Example:
    value = parse(b'{"persons": 12}')
    parse(b'{"a": 1, "a": 2}')  # raises Malformed
"""

import json
import re
from typing import Any, Final, NoReturn

from service.validation.problems import Malformed

MAX_DEPTH: Final = 32
MAX_DIGITS: Final = 64
MAX_VALUES: Final = 100_000
"""Most values of a body, of every kind, since each costs more memory than its bytes. 5,000 fields of a dataset are some 30,000."""

_DIGITS: Final = bytes(ord("0") if byte in b"-0123456789" else ord(" ") for byte in range(256))
_MANY_DIGITS: Final = b"0" * (MAX_DIGITS + 1)
_UNUSABLE: Final = re.compile("[\x00\ud800-\udfff]")


def parse(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        Malformed: with the reason: not UTF-8, not JSON, a name given twice, NaN or an infinity, a number of more than
            `MAX_DIGITS` digits, a NUL or an unpaired surrogate in a text, deeper than `MAX_DEPTH`, or more than `MAX_VALUES` values.
    """
    # Checks of each value run only where the bytes can need them, since callers choose the number of values.
    _require_few_values(body)
    to_integer = _integer if _MANY_DIGITS in body.translate(_DIGITS) else None
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant, parse_int=to_integer
        )
    except UnicodeDecodeError as error:
        raise Malformed("The body is not UTF-8.") from error
    except RecursionError as error:
        raise Malformed(f"The body nests deeper than {MAX_DEPTH} levels.") from error
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    _inspect(value, has_escapes=b"\\u" in body)
    return value


def _require_few_values(body: bytes) -> None:
    """Refuse too many values, by the commas and opening brackets before them.

    Commas and brackets in texts count as well; real texts have far fewer.
    """
    if body.count(b",") + body.count(b"[") + body.count(b"{") > MAX_VALUES:
        raise Malformed(f"The body holds more than {MAX_VALUES} values.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("An object names the same member twice.")
    return members


def _constant(_: str) -> NoReturn:
    raise Malformed("NaN and infinities are not JSON.")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise Malformed(f"A number has more than {MAX_DIGITS} digits.")
    return int(digits)


def _inspect(value: object, *, has_escapes: bool) -> None:
    """Check all values, level by level; texts only for characters that need an escape."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise Malformed(f"The body nests deeper than {MAX_DEPTH} levels.")
        kinds = set(map(type, level))
        objects = [item for item in level if type(item) is dict] if dict in kinds else []
        if has_escapes:
            _inspect_texts([item for item in level if type(item) is str])
            _inspect_texts([name for item in objects for name in item])
        if float in kinds and any(item in _INFINITE for item in level if type(item) is float):
            raise Malformed("A number is too large.")
        inner = [member for item in level if type(item) is list for member in item] if list in kinds else []
        level = inner + [member for item in objects for member in item.values()]
        depth += 1


_INFINITE: Final = (float("inf"), float("-inf"))


def _inspect_texts(texts: list[str]) -> None:
    if any(map(_UNUSABLE.search, texts)):
        raise Malformed("A text holds a NUL or an unpaired surrogate.")
