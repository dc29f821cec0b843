"""Parses uploaded files of datasets, by media type."""

from collections.abc import Iterator
from typing import Final, Literal

from service.registry.import_csv import csv_rows
from service.registry.import_fides import fides_rows
from service.registry.import_rows import ImportRefused, Row
from service.validation.problems import UnsupportedMediaType

Format = Literal["csv", "fides"]
_MEDIA_TYPES: Final[dict[str, Format]] = {
    "text/csv": "csv",
    "application/yaml": "fides",
    "application/x-yaml": "fides",
    "text/yaml": "fides",
}


def format_of(content_type: str) -> Format:
    """Return the format of a media type.

    Raises:
        UnsupportedMediaType: neither CSV nor YAML.
    """
    format_name = _MEDIA_TYPES.get(content_type.partition(";")[0].strip().lower())
    if format_name is None:
        raise UnsupportedMediaType("Send text/csv, or Fides datasets as application/yaml.")
    return format_name


def rows_of(content: bytes, kind: Format) -> Iterator[Row]:
    """Yield the datasets of a file.

    Example:
        for row in rows_of(content, format_of("text/csv")):
            DatasetNewIn.model_validate(row.body)

    Raises:
        ImportRefused: the file cannot be parsed, with the line; at the end, if rows have faults.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ImportRefused([(line, "", "The file is not UTF-8.")]) from error
    if "\x00" in text:
        raise ImportRefused([(text[: text.index("\x00")].count("\n") + 1, "", "The file holds a NUL.")])
    is_empty = True
    for row in csv_rows(text) if kind == "csv" else fides_rows(text):
        is_empty = False
        yield row
    if is_empty:
        raise ImportRefused([(1, "", "The file holds no dataset.")])
