"""Two companies in one service: one with something to lose, and whoever is after it from the other."""

from __future__ import annotations

import json

import httpx

from tests.world import STAGES, Json, Person, World, day

PDF = b"%PDF-1.7\nInvented contract\n"
EVERY_ROLE = ("registrar", "requester", "exporter", "auditor", *(f"reviewer:{stage}" for stage in STAGES))


class Company:
    """A handler with a graded dataset, a request that was approved, its permit, an export and a paper with its file."""

    def __init__(self, world: World, *tags: str, persons: int = 1000) -> None:
        self.world = world
        self.handler = world.handler()
        self.dataset = world.dataset(self.handler, *(tags or ("personal",)))
        self.recipient = world.recipient()
        self.transfer = world.approved(self.handler, [self.dataset], self.recipient, persons=persons)
        self.permit: str = self.transfer["permit"]

    def export(self, persons: int = 1, **more: object) -> httpx.Response:
        wanted = {"dataset": self.dataset["id"], "recipient": self.recipient["id"], "purpose": "analytics"}
        return self.world.exporter.post("/v1/exports", wanted | {"persons": persons, "sensitive_persons": 0} | more)

    def reason(self, **context: object) -> str:
        told: str = self.world.ask(self.dataset, self.recipient, **context)["context"]["reason"]
        return told

    def insider(self, *roles: str, kind: str = "person") -> Person:
        """Somebody with roles for this handler alone."""
        return self.world.person(*roles, handler=self.handler["id"], kind=kind)


def upload(
    person: Person, transfer: Json, content: bytes, name: str = "contract.pdf", **paper: object
) -> httpx.Response:
    """Send a paper with its file."""
    record = {"kind": "standard_contract", "reference": "No. 7", "issuer": "Legal", "issued_on": day(0)} | paper
    parts = {
        "document": (None, json.dumps(record), "application/json"),
        "file": (name, content, "application/octet-stream"),
    }
    head = {"Authorization": f"Bearer {person.secret}"}
    return person.http.post(f"/v1/transfers/{transfer['id']}/evidence", files=parts, headers=head)


def review(person: Person, transfer: Json, stage: str, decision: str = "approve", **more: object) -> httpx.Response:
    """Decide a stage of the revision that is shown."""
    body = {"stage": stage, "decision": decision, "revision": transfer["revision"]["hash"], "comment": "Seen"} | more
    return person.post(f"/v1/transfers/{transfer['id']}/reviews", body)
