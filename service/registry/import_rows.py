"""Rows of files to import, and the problem that lists their faults."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.validation.problems import Invalid

MAX_LISTED: Final = 20_000
"""Faults that an answer lists: a small file can have very many, and what lists them goes through the hands of everybody's process."""
Fault = tuple[int, str, str]
"""The line, the pointer of the field, and what is wrong."""


@dataclass(frozen=True, slots=True)
class Row:
    """One dataset of a file: the line it begins at, and the body that `POST /v1/datasets` would take."""

    line: int
    body: dict[str, Any]


class ImportRefused(Invalid):
    """Rows of a file that cannot be taken; nothing of the file has been stored."""

    slug, title = "import-refused", "Nothing was imported: some rows need mending"

    def __init__(self, faults: Sequence[Fault], *, count: int | None = None, listed: str | None = None) -> None:
        number = len(faults) if count is None else count
        most = f" The first {MAX_LISTED:,} are listed." if number > MAX_LISTED else ""
        super().__init__(f"{number} fault(s) in the file; each names its line and field.{most} Nothing was imported.")
        self.faults = faults
        self.errors: list[dict[str, Any]] = errors_of(faults)
        self.listed = listed


def errors_of(faults: Sequence[Fault]) -> list[dict[str, Any]]:
    """Return the first faults as the problem lists them."""
    return [
        {"pointer": field, "line": line, "field": field.lstrip("/"), "detail": detail}
        for line, field, detail in faults[:MAX_LISTED]
    ]
