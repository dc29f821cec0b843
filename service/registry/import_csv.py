"""Parses datasets of a catalogue from CSV."""

import csv
import io
from collections.abc import Iterator
from typing import Any, Final

from service.registry.import_rows import Fault, ImportRefused, Row

_COLUMNS: Final = ("key", "handler", "title", "owner", "description", "fields", "distinct_from", "reason")
_FACTS: Final = ("origin", "domestic_data_added", "ftz_list", "contains_minors")
_REQUIRED: Final = ("key", "title")
_TRUTH: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_FIELD_PARTS: Final = 3


def csv_rows(text: str) -> Iterator[Row]:
    """Yield the datasets of a CSV text.

    Raises:
        ImportRefused: unknown or missing columns; at the end where some cells cannot be read.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    faults: list[Fault] = []
    try:
        faults += _header_faults(list(reader.fieldnames or []))
        for cells in reader if not faults else ():
            row, row_faults = _csv_row(reader.line_num, cells)
            faults += row_faults
            yield row
    except csv.Error as error:
        faults.append((reader.line_num, "", f"The file is not CSV: {error}."))
    if faults:
        raise ImportRefused(faults)


def _header_faults(columns: list[str]) -> Iterator[tuple[int, str, str]]:
    for column in columns:
        if column not in _COLUMNS + _FACTS:
            accepted = ", ".join(_COLUMNS + _FACTS)
            yield 1, f"/{column}", f"This column is not known; the columns are {accepted}."
        elif columns.count(column) > 1:
            yield 1, f"/{column}", "This column stands twice."
    for column in _REQUIRED:
        if column not in columns:
            yield 1, f"/{column}", "This column is required."


def _csv_row(line: int, cells: dict[str, Any]) -> tuple[Row, list[tuple[int, str, str]]]:
    faults: list[tuple[int, str, str]] = []
    if None in cells:
        faults.append((line, "", "This row has more cells than there are columns."))
    stated = {name: value.strip() for name, value in cells.items() if name is not None and value and value.strip()}
    body: dict[str, Any] = {name: stated.get(name) for name in _COLUMNS if name != "fields"}
    body["facts"], wrong = _csv_facts(stated)
    body["fields"], unread = _csv_fields(stated.get("fields", ""))
    faults += [(line, f"/facts/{name}", "Write true or false.") for name in wrong]
    faults += [
        (line, "/fields", f"Write name:type or name:type:category, not {len(part)} characters without.")
        for part in unread
    ]
    return Row(line, body), faults


def _csv_facts(stated: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    facts: dict[str, Any] = {}
    wrong: list[str] = []
    for name in _FACTS:
        if name not in stated:
            continue
        if name in {"origin", "ftz_list"}:
            facts[name] = stated[name]
        elif stated[name].lower() in _TRUTH:
            facts[name] = _TRUTH[stated[name].lower()]
        else:
            wrong.append(name)
    return facts, wrong


def _csv_fields(cell: str) -> tuple[list[dict[str, str]], list[str]]:
    fields: list[dict[str, str]] = []
    unread: list[str] = []
    for part in filter(None, (part.strip() for part in cell.split(";"))):
        parts = [piece.strip() for piece in part.split(":", _FIELD_PARTS - 1)]
        if len(parts) == 1:
            unread.append(part)
        else:
            fields.append(dict(zip(("name", "type", "category"), parts, strict=False)))
    return fields, unread
