"""Catalogues of datasets as files, and how they are sent."""

from __future__ import annotations

from typing import Any

import httpx

from tests.world import Person


def send(person: Person, content: str | bytes, kind: str = "text/csv", **params: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {person.secret}", "Content-Type": kind}
    body = content if isinstance(content, bytes) else content.encode()
    return person.http.post("/v1/datasets/import", content=body, headers=headers, params=params, timeout=120)


def rows(prefix: str, count: int, title: str = "Orders", fields: str = "id:bigint") -> str:
    return "key,title,owner,fields\n" + "".join(f"{prefix}/{n},{title},Team,{fields}\n" for n in range(count))
