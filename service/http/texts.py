"""Annotated types of texts that callers send, with their lengths: one place for what a key or a name may be."""

from typing import Annotated, Any

from pydantic import AfterValidator, StringConstraints


def _printable(value: str) -> str:
    if not value.isprintable():
        raise ValueError("Leave out control characters and line breaks.")
    return value


def _readable(value: str) -> str:
    if not all(character.isprintable() or character in "\n\r\t" for character in value):
        raise ValueError("Leave out control characters.")
    return value


def _no_id(value: str) -> str:
    if len(value) == len("hd_") + 26 and value[2] == "_":
        raise ValueError("A key must not look like an id.")
    return value


def without_defaults(schema: dict[str, Any]) -> None:
    """Take the defaults out of the schema of a patch: what is not sent stays as it is."""
    for told in schema["properties"].values():
        told.pop("default", None)


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
"""The same, and it may be empty."""

Key = Annotated[
    str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,99}$", strict=True), AfterValidator(_no_id)
]
"""What people and systems call a handler or a recipient: letters, digits and `._:-`, up to 100."""

DatasetKey = Annotated[
    str,
    StringConstraints(pattern=r"^\S+(?: \S+)*$", max_length=500, strict=True),
    AfterValidator(_printable),
    AfterValidator(_no_id),
]
"""A dataset's name in the data platform, `<namespace>/<name>` in OpenLineage naming, up to 500 characters."""

Reference = Annotated[str, StringConstraints(min_length=1, max_length=500, strict=True), AfterValidator(_printable)]
"""An id or a key."""
