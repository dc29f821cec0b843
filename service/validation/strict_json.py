"""JSON as RFC 8259 and RFC 7493 mean it: no duplicate names, no NaN, no numbers or text that others read differently."""

import json
import re
from typing import Any, Final, NoReturn

from service.validation.problems import Malformed

MAX_DEPTH: Final = 32
MAX_DIGITS: Final = 64
MAX_VALUES: Final = 100_000
"""Values of a body at most, of every kind: each costs more than its bytes do. 5,000 fields of a dataset are some 30,000."""

_DIGITS: Final = bytes(ord("0") if byte in b"-0123456789" else ord(" ") for byte in range(256))
_MANY_DIGITS: Final = b"0" * (MAX_DIGITS + 1)
_UNUSABLE: Final = re.compile("[\x00\ud800-\udfff]")


def parse(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        Malformed: with the reason: not UTF-8, not JSON, a name given twice, NaN or an infinity, a number of more than
            `MAX_DIGITS` digits, a NUL or an unpaired surrogate in a text, deeper than `MAX_DEPTH`, or more than `MAX_VALUES` values.
    """
    # Most calls of ours for each value are spared where nothing in the bytes asks for them: callers choose how many values there are.
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
    """Refuse too many values: before each stands a comma, or the beginning of a list or an object.

    Those in texts are counted as well: of what is written by people they are far fewer.
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
    """Look at all values, one level after the other; in texts for what can only have come by an escape."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise Malformed(f"The body nests deeper than {MAX_DEPTH} levels.")
        kinds = set(map(type, level))
        objects = [one for one in level if type(one) is dict] if dict in kinds else []
        if has_escapes:
            _inspect_texts([one for one in level if type(one) is str])
            _inspect_texts([name for one in objects for name in one])
        if float in kinds and any(one in _INFINITE for one in level if type(one) is float):
            raise Malformed("A number is too large.")
        inner = [member for one in level if type(one) is list for member in one] if list in kinds else []
        level = inner + [member for one in objects for member in one.values()]
        depth += 1


_INFINITE: Final = (float("inf"), float("-inf"))


def _inspect_texts(texts: list[str]) -> None:
    if any(map(_UNUSABLE.search, texts)):
        raise Malformed("A text holds a NUL or an unpaired surrogate.")
