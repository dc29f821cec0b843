"""A handler with a feed of persons, told by hash or as numbers."""

from __future__ import annotations

import base64
import random
from typing import Any

import datasketches
import httpx

from tests.world import Json, World

OCTETS = "application/octet-stream"


def hashes(count: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(16 * count)  # noqa: S311 - repeatable, not secret


def digits(content: bytes) -> list[str]:
    whole = content.hex()
    return [whole[start : start + 32] for start in range(0, len(whole), 32)]


def sketch(content: bytes, lg_k: int = 17) -> str:
    made = datasketches.update_theta_sketch(lg_k)
    for one in digits(content):
        made.update(one)
    return base64.b64encode(made.compact().serialize()).decode()


class Feed:
    """A handler with one dataset, and a permit with room for many exports of it."""

    def __init__(self, world: World, persons: int = 900_000, *, sensitive: int = 0, **more: Any) -> None:
        self.world = world
        self.handler = world.handler()
        self.dataset = world.dataset(self.handler, "sensitive" if sensitive else "personal")
        self.recipient = world.recipient()
        transfer = world.approved(
            self.handler, [self.dataset], self.recipient, persons=persons, sensitive_persons=sensitive, **more
        )
        self.permit = transfer["permit"]

    def reserve(self, persons: int, sensitive: int = 0) -> str:
        made = self.world.export(self.dataset, self.recipient, persons, sensitive_persons=sensitive)
        assert made.status_code == 201, made.text
        export: str = made.json()["id"]
        return export

    def announce(self, **body: Any) -> httpx.Response:
        """Reserve an export and tell by hash who will go."""
        about = {"dataset": self.dataset["id"], "recipient": self.recipient["id"], "purpose": "analytics"}
        headers = {name: body.pop(name) for name in list(body) if name == "Idempotency_Key"}
        return self.world.exporter.post("/v1/exports", about | body, **headers)

    def announced(self, content: bytes, **body: Any) -> str:
        made = self.announce(person_hashes=digits(content), **body)
        assert made.status_code == 201, made.text
        export: str = made.json()["id"]
        return export

    def complete(self, export: str, body: Any, **headers: str) -> httpx.Response:
        return self.world.exporter.post(f"/v1/exports/{export}/complete", body, **headers)

    def stream(self, export: str, content: bytes, params: Json | None = None, **headers: str) -> httpx.Response:
        sent = {
            "Authorization": f"Bearer {self.world.exporter.secret}",
            "Content-Type": OCTETS,
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        return self.world.http.post(f"/v1/exports/{export}/complete", content=content, params=params, headers=sent)

    def send(self, body: Json, persons: int, sensitive: int = 0) -> Json:
        done = self.complete(self.reserve(persons, sensitive), body)
        assert done.status_code == 200, done.text
        shown: Json = done.json()
        return shown

    def ledger(self, **params: Any) -> Json:
        shown: Json = self.world.auditor.get(f"/v1/handlers/{self.handler['id']}/ledger", **params).json()
        return shown

    def permitted(self) -> tuple[int, int]:
        sent = self.world.auditor.get(f"/v1/permits/{self.permit}").json()["sent"]
        return sent["persons"], sent["sensitive_persons"]

    def held(self) -> tuple[int, int]:
        """Return the persons that live reservations hold of the permit and of the year."""
        permit = self.world.auditor.get(f"/v1/permits/{self.permit}").json()["reserved"]["persons"]
        return permit, self.ledger()["kinds"]["persons"]["reserved"]

    def year(self) -> tuple[int, int]:
        shown = self.ledger()
        return shown["reported"]["persons"], shown["reported"]["sensitive_persons"]
