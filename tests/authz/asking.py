"""A connection to the service, and what an answer is without what differs from one request to the next."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.authz.things import Shown

ID = re.compile(r"\b[a-z]{2}_[0-7][0-9a-hjkmnp-tv-z]{25}\b")
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]+(Z|\+00:00)")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text) if self.text[:1] in {"{", "["} else {}

    @property
    def problem(self) -> str:
        """The last part of the problem's type."""
        return str(self.json.get("type", "")).rpartition("/")[2] if self.status >= 400 else ""

    def bare(self) -> tuple[int, str, tuple[tuple[str, str], ...]]:
        """Return the answer without what differs from one request to the next: ids, moments and the address that was asked."""
        passing = {"x-request-id", "date", "etag", "content-length"}
        headers = sorted((name, ID.sub("<id>", value)) for name, value in self.headers.items() if name not in passing)
        text = json.dumps(self.json | {"instance": ""}) if self.problem else self.text
        return self.status, MOMENT.sub("<moment>", ID.sub("<id>", text)), tuple(headers)

    def __str__(self) -> str:
        return f"{self.status} {self.text[:160]}"


class Line:
    """One connection to the service, kept open."""

    def __init__(self, address: str) -> None:
        place = urlsplit(address)
        self._connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)

    def ask(self, method: str, path: str, shown: Shown, body: bytes | None = None, media: str = "") -> Answer:
        headers = dict(shown)
        headers |= {"Content-Type": media} if body is not None else {}
        headers |= {"If-Match": "*"} if method == "PATCH" else {}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        told = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, told, answer.read().decode("utf-8", "replace"))
