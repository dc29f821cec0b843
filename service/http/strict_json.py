"""JSON as RFC 8259 and RFC 7493 mean it: no duplicate names, no NaN, no numbers or text that others read differently."""

import json
from typing import Any, Final, NoReturn

from service.http.problems import Malformed

MAX_DEPTH: Final = 32
MAX_DIGITS: Final = 64


def parse(body: bytes) -> Any:
    """Return the value of a JSON text.

    Raises:
        Malformed: with the reason: not UTF-8, not JSON, a name given twice, NaN or an infinity, a number of more than
            `MAX_DIGITS` digits, a NUL or an unpaired surrogate in a text, or deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer
        )
    except UnicodeDecodeError as error:
        raise Malformed("The body is not UTF-8.") from error
    except RecursionError as error:
        raise Malformed(f"The body nests deeper than {MAX_DEPTH} levels.") from error
    except json.JSONDecodeError as error:
        raise Malformed(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    _inspect(value, 0)
    return value


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


def _inspect(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise Malformed(f"The body nests deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str):
        _inspect_text(value)
    elif isinstance(value, float):
        if value in (float("inf"), float("-inf")):
            raise Malformed("A number is too large.")
    elif isinstance(value, dict):
        for name, member in value.items():
            _inspect_text(name)
            _inspect(member, depth + 1)
    elif isinstance(value, list):
        for member in value:
            _inspect(member, depth + 1)


def _inspect_text(value: str) -> None:
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise Malformed("A text holds a NUL or an unpaired surrogate.")
