"""Builders with defaults, through HTTP: a test says what matters to it, and nothing else."""

from __future__ import annotations

import itertools
import uuid
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx

from tests.operator import AdminKeys, key_for

Json = dict[str, Any]
STAGES = ("data_owner", "privacy", "legal", "security", "executive")


def today() -> date:
    return datetime.now(ZoneInfo("Asia/Shanghai")).date()


def day(ahead: int) -> str:
    return (today() + timedelta(days=ahead)).isoformat()


class Person:
    """Somebody with a key."""

    def __init__(self, http: httpx.Client, secret: str, principal: str, name: str) -> None:
        self.http = http
        self.secret = secret
        self.id = principal
        self.name = name

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.request(method, path, json=body, headers={"Authorization": f"Bearer {self.secret}", **named})

    def get(self, path: str, **params: Any) -> httpx.Response:
        return self.http.get(path, params=params or None, headers={"Authorization": f"Bearer {self.secret}"})

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return self.send("POST", path, body, **headers)

    def patch(self, path: str, body: Any) -> httpx.Response:
        """Change what is there now, whatever it is."""
        return self.send("PATCH", path, body, If_Match=self.get(path).headers["ETag"])

    def made(self, path: str, body: Any) -> Json:
        """Post, and demand that it was made."""
        answer = self.post(path, body)
        assert answer.status_code in {200, 201}, answer.text
        made: Json = answer.json()
        return made


class World:
    def __init__(self, http: httpx.Client, admin_keys: AdminKeys) -> None:
        """Begin with the keys of two admins, both made by the operator: one asks for grants, the other confirms them."""
        self.http = http
        self.url = admin_keys.url
        self.count = itertools.count(1)
        self.admin, self.second_admin = (self.known(key) for key in admin_keys)
        self.registrar = self.person("registrar")
        self.second_registrar = self.person("registrar")
        self.requester = self.person("requester")
        self.auditor = self.person("auditor")
        self.exporter = self.person("exporter", kind="system")
        self.reviewers = {stage: self.person(f"reviewer:{stage}") for stage in STAGES}

    def known(self, secret: str) -> Person:
        """Return whose key it is."""
        me = self.http.get("/v1/me", headers={"Authorization": f"Bearer {secret}"}).json()
        return Person(self.http, secret, me["id"], me["name"])

    def name(self, kind: str) -> str:
        return f"{kind}-{next(self.count)}-{uuid.uuid4().hex[:6]}"

    def person(self, *roles: str, kind: str = "person", handler: str | None = None) -> Person:
        name = self.name((roles or ("nobody",))[0].replace(":", "-"))
        principal = self.admin.made("/v1/principals", {"name": name, "kind": kind})["id"]
        for role in roles:
            self.grant(principal, role, handler)
        return self.with_key(Person(self.http, "", principal, name))

    def with_key(self, person: Person, by: Person | None = None) -> Person:
        """Give somebody a key: by the operator, so that nobody else has seen it, or by an admin, who has."""
        secret = (
            key_for(self.url, person.id) if by is None else by.made("/v1/api-keys", {"principal": person.id})["secret"]
        )
        return Person(self.http, secret, person.id, person.name)

    def grant(self, principal: str, role: str, handler: str | None = None, **days: str) -> Json:
        """Give a role by one admin, and have it confirmed by the other where that is needed."""
        body = {"principal": principal, "role": role, "handler": handler, **days}
        made = self.admin.made("/v1/grants", body)
        return self.second_admin.made(f"/v1/grants/{made['id']}/confirm", None) if made["state"] == "pending" else made

    def handler(self, **facts: Any) -> Json:
        body = {"key": self.name("handler"), "name": "Invented Mobility", "facts": {"ciio": False, **facts}}
        return self.confirmed("/v1/handlers", self.registrar.made("/v1/handlers", body))

    def confirmed(self, path: str, made: Json) -> Json:
        """Have a second person confirm what of a thing's facts waits for one."""
        if not made["pending_facts"]:
            return made
        for waiting in made["pending_facts"].values():
            self.second_registrar.made(f"/v1/fact-changes/{waiting['change']}/confirm", None)
        shown: Json = self.registrar.get(f"{path}/{made['id']}").json()
        return shown

    def free(self, path: str, facts: Json) -> Json:
        """State facts that free, and have them confirmed."""
        patched = self.registrar.patch(path, {"facts": facts})
        assert patched.status_code == 200, patched.text
        return self.confirmed(path.rpartition("/")[0], patched.json())

    def dataset(self, handler: Json, *tags: str, graded: bool = True, **more: Any) -> Json:
        body = {
            "key": f"postgres://sample:5432/{self.name('dataset')}",
            "handler": handler["id"],
            "title": "Orders",
            "owner": "Order team",
            "fields": [{"name": "city", "type": "text"}, {"name": "amount", "type": "numeric"}],
            **more,
        }
        made = self.confirmed("/v1/datasets", self.registrar.made("/v1/datasets", body))
        if graded:
            self.grade(made, *tags)
        return made

    def grade(self, dataset: Json, *tags: str) -> Json:
        return self.registrar.made(
            f"/v1/datasets/{dataset['id']}/gradings",
            {"tags": list(tags), "reason": "Looked at each field", "basis": "Catalogue 2026, entry 7"},
        )

    def recipient(self, country: str = "SG", **more: Any) -> Json:
        body = {"key": self.name("recipient"), "name": "Invented Partner", "country": country, "kind": "company"}
        return self.confirmed("/v1/recipients", self.registrar.made("/v1/recipients", body | {"facts": {}} | more))

    def draft(self, handler: Json, datasets: list[Json], recipient: Json, **more: Any) -> Json:
        body = {
            "handler": handler["id"],
            "datasets": [dataset["id"] for dataset in datasets],
            "recipient": recipient["id"],
            "purpose": "analytics",
            "description": "Weekly demand figures for the regional team",
            "fields": None,
            "persons": 0,
            "sensitive_persons": 0,
            "valid_from": day(0),
            "valid_until": day(200),
            **more,
        }
        return self.requester.made("/v1/transfers", body)

    def submitted(self, handler: Json, datasets: list[Json], recipient: Json, **more: Any) -> Json:
        draft = self.draft(handler, datasets, recipient, **more)
        return self.requester.made(f"/v1/transfers/{draft['id']}/submit", None)

    def add_evidence(self, transfer: Json, kinds: list[str] | None = None, **more: Any) -> None:
        for kind in transfer["missing_evidence"] if kinds is None else kinds:
            paper = {"kind": kind, "reference": self.name("No."), "issuer": "Legal", "issued_on": day(0), **more}
            self.requester.made(f"/v1/transfers/{transfer['id']}/evidence", paper)

    def review(self, transfer: Json, stage: str, decision: str = "approve", **more: Any) -> httpx.Response:
        body = {
            "stage": stage,
            "decision": decision,
            "revision": transfer["revision"]["hash"],
            "comment": "Seen",
            **more,
        }
        return self.reviewers[stage].post(f"/v1/transfers/{transfer['id']}/reviews", body)

    def approve(self, transfer: Json) -> Json:
        """Add what is missing and take every stage."""
        self.add_evidence(transfer)
        shown = transfer
        for stage in transfer["stages"]:
            answer = self.review(transfer, stage["name"])
            assert answer.status_code in {200, 201}, answer.text
            shown = answer.json()
        assert shown["status"] == "approved", shown
        return shown

    def approved(self, handler: Json, datasets: list[Json], recipient: Json, **more: Any) -> Json:
        return self.approve(self.submitted(handler, datasets, recipient, **more))

    def ask(self, dataset: Json, recipient: Json, **context: Any) -> Json:
        body = {
            "subject": {"type": "system", "id": self.exporter.name},
            "action": {"name": "export"},
            "resource": {"type": "dataset", "id": dataset["id"]},
            "context": {"recipient": recipient["id"], "purpose": "analytics", **context},
        }
        answer = self.exporter.post("/access/v1/evaluation", body)
        assert answer.status_code == 200, answer.text
        told: Json = answer.json()
        return told

    def export(self, dataset: Json, recipient: Json, persons: int = 0, **more: Any) -> httpx.Response:
        body = {
            "dataset": dataset["id"],
            "recipient": recipient["id"],
            "purpose": "analytics",
            "persons": persons,
            "sensitive_persons": 0,
            **more,
        }
        return self.exporter.post("/v1/exports", body)
