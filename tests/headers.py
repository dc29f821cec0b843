"""What the OpenAPI document says of response headers, held against the answers that the suite is given."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx

DOCUMENT = json.loads((Path(__file__).parents[1] / "openapi" / "openapi.json").read_text(encoding="utf-8"))
TELLING = {"ETag", "Location", "Retry-After", "WWW-Authenticate", "Content-Disposition", "Digest"}
"""What an answer is not to come with unless the document says so; of the others there are some on every answer."""


class AsTold:
    """Holds the headers of an answer against those that the document has for it."""

    def __init__(self, document: Any = DOCUMENT) -> None:
        self._headers = document["components"]["headers"]
        paths = sorted(document["paths"].items(), key=lambda path: path[0].count("{"))
        self._paths = [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), ways) for path, ways in paths]

    def __call__(self, answer: httpx.Response) -> None:
        """Demand those that are required, and of the telling ones no others; of what is not in the document nothing."""
        told = self._told(answer)
        if told is None:
            return
        has = {name for name in self._headers if name in answer.headers}
        required = {name for name in told if self._headers[name].get("required")}
        asked = f"{answer.request.method} {answer.request.url.path} {answer.status_code}"
        assert required - has == set(), asked
        assert (has & TELLING) - told == set(), asked

    def _told(self, answer: httpx.Response) -> set[str] | None:
        path = answer.request.url.raw_path.decode().partition("?")[0]
        ways: dict[str, Any] = next((ways for pattern, ways in self._paths if pattern.fullmatch(path)), {})
        answers = ways.get(answer.request.method.lower(), {}).get("responses", {})
        found = answers.get(str(answer.status_code))
        return None if found is None else set(found["headers"])
