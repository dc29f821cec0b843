"""Rows of files to import, and the problem that lists their faults."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from service.validation.problems import Invalid

MAX_LISTED: Final = 20_000
"""Faults that a problem lists. A small file can have very many, and the process that all requests share handles the list."""
Fault = tuple[int, str, str]
"""Line, JSON pointer of the field, and text of the fault."""


@dataclass(frozen=True, slots=True)
class Row:
    """A dataset of a file: its first line, and a body for `POST /v1/datasets`."""

    line: int
    body: dict[str, Any]


class ImportRefused(Invalid):
    """Signals rows with faults; nothing of the file has been stored."""

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
