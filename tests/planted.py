"""Invented persons and secrets that the suite sends in every field that there is, and the search for them in the logs of all servers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

PERSON = "Ouyang Zhenzhen-Planted"
PERSON_ZH = "欧阳贞贞"
PLANTED = {
    "person": PERSON,
    "person_zh": PERSON_ZH,
    "email": "zhenzhen.planted@example.invalid",
    "id_number": "330203199109078886",
    "mobile": "13900008886",
    "card": "6222020000000008886",
    "passport": "EP0008886",
    "address": "Planted Lane 8886",
    "password": "planted-correct-horse",
    "hash": "8886feedbeef8886feedbeef8886feed",
    "key": "ob_live_plantedkey00_" + "p1anted8886" * 4 + "00000000",
    "token": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJwbGFudGVkODg4NiJ9.cGxhbnRlZDg4ODY",
}
"""By kind; none of them belongs to anybody."""

_SECRETS = re.compile(
    r"ob_live_[0-9a-z]{12}_[0-9a-z]{8}"  # more of an API key than what it is found by
    r"|eyJ[\w-]{10,}\.eyJ[\w-]{10,}"  # a token
    r"|BEGIN [A-Z ]*PRIVATE KEY"
)
_LINE = re.compile(r"\s*(?:\{|\d{4}-\d\d-\d\dT)")
"""How a line of our logs begins; other lines of an output were printed for whoever started the program, keys among them."""


def logs_under(folder: Path) -> Iterator[Path]:
    """Find the logs of servers of this process and of its children, and those of the databases that they have embedded."""
    for pattern in ("served.log", "output-*", "errors-*", "log", "*.log"):
        yield from (path for path in folder.rglob(pattern) if path.is_file())


def found_in(path: Path) -> Iterator[str]:
    """Find what must not stand in a log: anything planted, however it is written, and secrets of any kind."""
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        spellings = " ".join({line, unquote(line), _unescaped(line)}).casefold()
        for kind, value in PLANTED.items():
            if value.casefold() in spellings:
                yield f"{path.name}:{number} holds a planted {kind}: {line[:300]}"
        if _LINE.match(line) and _SECRETS.search(line):
            yield f"{path.name}:{number} holds a secret"


def require_clean(folder: Path) -> None:
    """Demand that no log under a folder holds what it must not."""
    found = [one for path in sorted(set(logs_under(folder))) for one in found_in(path)]
    assert not found, "\n".join(found[:20])


def _unescaped(line: str) -> str:
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda escaped: str(json.loads(f'"{escaped[0]}"')), line)
