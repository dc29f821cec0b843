"""Annotated types of texts in requests: names, prose, keys and references, with their lengths and forms."""

import unicodedata
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints, ValidationInfo

from service.database.ids import is_any_id
from service.law.schemas import Day

_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of invisible characters, and of those that change the direction of text."""


def _printable(value: str) -> str:
    if any(unicodedata.category(character) in _INVISIBLE for character in value):
        raise ValueError("Leave out control characters, line breaks and invisible characters.")
    return unicodedata.normalize("NFC", value)


def _readable(value: str) -> str:
    if any(unicodedata.category(character) in _INVISIBLE for character in value if character not in "\n\r\t"):
        raise ValueError("Leave out control and invisible characters.")
    return unicodedata.normalize("NFC", value)


def fold_name(name: str) -> str:
    """Return the form of a name for comparison, without differences of case, compatibility forms and kinds of spaces."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return " ".join(unicodedata.normalize("NFKC", plain).split())


def _no_id(value: str) -> str:
    if is_any_id(value):
        raise ValueError("A key must not look like an id.")
    return value


def _require_rfc3339(value: object) -> object:
    if not isinstance(value, str | datetime):
        raise ValueError("Send a time as RFC 3339, for instance 2026-11-24T08:00:00Z.")  # noqa: TRY004 - pydantic reports a ValueError
    return value


def not_before(other: str) -> AfterValidator:
    """Return a validator: the day must not be before that of another field, which is declared above; either may be missing."""

    def check(day: date | None, info: ValidationInfo) -> date | None:
        begins = info.data.get(other)
        if day is not None and begins is not None and day < begins:
            raise ValueError(f"This must not come before `{other}`.")
        return day

    return AfterValidator(check)


def drop_defaults(schema: dict[str, Any]) -> None:
    """Remove defaults from the schema of a patch, since members that are not sent stay unchanged."""
    for member in schema["properties"].values():
        member.pop("default", None)


Name = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200, strict=True), AfterValidator(_printable)
]
"""A line of text of up to 200 characters."""

Prose = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000, strict=True), AfterValidator(_readable)
]
"""Text of up to 4,000 characters, line breaks allowed."""

OptionalProse = Annotated[
    str, StringConstraints(strip_whitespace=True, max_length=4000, strict=True), AfterValidator(_readable)
]
"""Text of up to 4,000 characters, which may be empty."""

Key = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$", strict=True), AfterValidator(_no_id)
]
"""Key of a handler or a recipient: letters, digits and `._:-`, up to 100 characters."""

DatasetKey = Annotated[
    str,
    StringConstraints(pattern=r"^\S+(?: \S+)*$", max_length=500, strict=True),
    AfterValidator(_printable),
    AfterValidator(_no_id),
]
"""A dataset's name in the data platform, `<namespace>/<name>` in OpenLineage naming, up to 500 characters."""

Reference = Annotated[str, StringConstraints(min_length=1, max_length=500, strict=True), AfterValidator(_printable)]
"""An id or a key."""

Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_require_rfc3339),
    Field(ge=datetime(1990, 1, 1, tzinfo=UTC), le=datetime(2200, 12, 31, tzinfo=UTC)),
]
"""An instant with its offset, from 1990 to 2200."""


NearDay = Annotated[Day, Field(ge=date(1990, 1, 1), le=date(2200, 12, 31))]
"""A day of evidence, a permit or a deadline, from 1990 to 2200."""
