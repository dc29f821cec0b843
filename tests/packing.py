"""Packs through HTTP, and a permit with a story: returned once, approved, used, suspended and resumed."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import httpx

from tests.waiting import seen
from tests.world import Json, World, day

PDF = b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def ready(world: World, **about: Any) -> Json:
    """Ask for a pack, and wait until it is ready."""
    asked = world.auditor.post("/v1/evidence-packs", about)
    assert asked.status_code == 202, asked.text

    def look() -> Json | None:
        shown: Json = world.auditor.get(asked.headers["Location"]).json()
        return None if shown["state"] in {"waiting", "working"} else shown

    shown = seen(look)
    assert shown["state"] == "ready", shown
    return shown


def packed(world: World, folder: Path, **about: Any) -> Path:
    """Ask for a pack, and fetch its file."""
    shown = ready(world, **about)
    path = folder / f"{shown['id']}.zip"
    path.write_bytes(world.auditor.get(shown["content"]).content)
    return path


def add_file(world: World, transfer: Json, kind: str, content: bytes = PDF, name: str = "paper.pdf") -> httpx.Response:
    """Add evidence with a file."""
    document = {
        "kind": kind,
        "reference": f"No. {uuid.uuid4().hex}",
        "issuer": "Provincial office",
        "issued_on": day(0),
    }
    return world.http.post(
        f"/v1/transfers/{transfer['id']}/evidence",
        files={
            "document": (None, json.dumps(document), "application/json"),
            "file": (name, content, "application/pdf"),
        },
        headers={"Authorization": f"Bearer {world.requester.secret}"},
    )


class Used:
    """A permit with everything that a pack tells of: two revisions, a file, exports that ended each way, a stop and a new start."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handler = world.handler()
        self.dataset = world.dataset(self.handler, "personal")
        self.recipient = world.recipient()
        first = world.submitted(self.handler, [self.dataset], self.recipient, persons=250_000)
        assert world.review(first, "data_owner", "return").status_code == 201
        world.requester.patch(f"/v1/transfers/{first['id']}", {"persons": 200_000})
        again = world.requester.made(f"/v1/transfers/{first['id']}/submit", None)
        kind, *rest = again["missing_evidence"]
        made = add_file(world, again, kind)
        assert made.status_code == 201, made.text
        world.add_evidence(again, rest)
        self.transfer = world.approve(world.requester.get(f"/v1/transfers/{first['id']}").json())
        self.permit: str = self.transfer["permit"]
        self.use(70, 70)
        self.move("suspend")
        self.move("resume")
        self.use(30, 20)
        self.cancelled = self.reserve(5)
        assert world.exporter.post(f"/v1/exports/{self.cancelled}/cancel").status_code == 200
        self.reserved = self.reserve(3)

    def move(self, verb: str) -> None:
        answer = self.world.reviewers["legal"].post(f"/v1/permits/{self.permit}/{verb}", {"reason": "Looked at again"})
        assert answer.status_code == 200, answer.text

    def reserve(self, persons: int) -> str:
        made = self.world.export(self.dataset, self.recipient, persons)
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def use(self, persons: int, sent: int) -> None:
        body = {"persons": sent, "sensitive_persons": 0}
        done = self.world.exporter.post(f"/v1/exports/{self.reserve(persons)}/complete", body)
        assert done.status_code == 200, done.text
