"""What the entries of the audit log say, and nothing else: transfers, permits and datasets recomputed from the acts that were recorded.

Whatever stands in the service without an entry that explains it, or differs from what its entries amount to, is found by comparing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

Json = dict[str, Any]

UNDECIDED = {"draft", "in_review", "returned"}
BLOCKING = {"file_standard_contract", "annual_risk_report", "catalogue_refiling"}
"""Duties that suspend a permit when they are overdue."""

WEIGHTY = {"important", "core"}
REQUEST = ("purpose", "persons", "sensitive_persons", "fields", "systems", "route", "valid_from", "valid_until")
PERMIT = (
    "status",
    "valid_from",
    "valid_until",
    "persons",
    "sensitive_persons",
    "fields",
    "systems",
    "evidence",
    "sent",
    "reserved",
    "overdue",
    "lost_evidence",
    "superseded_by",
    "supersedes",
    "revision",
)


class Told:
    """The state of one handler's things, as its entries tell it."""

    def __init__(self) -> None:
        self.heard: set[int] = set()
        self.transfers: dict[str, Json] = {}
        self.permits: dict[str, Json] = {}
        self.datasets: dict[str, list[str] | None] = {}
        self.duties: dict[str, Json] = {}
        self.ended: set[str] = set()
        """Papers that no longer count."""
        self.exports: dict[str, Json] = {}

    def hear(self, entries: Iterable[Json]) -> None:
        """Add entries, oldest first; one that was heard before says nothing new."""
        for entry in entries:
            if entry["seq"] not in self.heard:
                self.heard.add(entry["seq"])
                room, _, act = entry["action"].partition(".")
                hearing = getattr(self, f"_{room}", None)
                if hearing is not None:
                    hearing(act, entry["subject"], entry["details"], entry["actor"])

    # Each kind of thing

    def _dataset(self, act: str, subject: str, details: Json, _: str) -> None:
        if act == "created":
            self.datasets[subject] = None
        elif act == "grading_confirmed" or (act == "graded" and details["state"] == "effective"):
            self.datasets[subject] = details["tags"]

    def _transfer(self, act: str, subject: str, details: Json, actor: str) -> None:
        if act == "created":
            self.transfers[subject] = {
                **{name: details[name] for name in REQUEST},
                "status": "draft",
                "revision": None,
                "approvals": {},
                "renews": None,
                "recused": set(),
                "evidence": set(),
            }
            return
        told = self.transfers[subject]
        told["status"] = {"withdrawn": "withdrawn"}.get(act, details.get("status", told["status"]))
        match act:
            case "changed":
                told |= {name: value for name, value in details["after"].items() if name in REQUEST}
            case "submitted":
                told |= {"revision": details["hash"], "approvals": {}}
            case "reviewed" if details["decision"] == "approve":
                told["approvals"][details["stage"]] = actor
            case "approval_taken_back":
                del told["approvals"][details["stage"]]
            case "recused":
                told["recused"].add(actor)
            case "renewal_begun":
                told["renews"] = details["renews"]
                told["evidence"] |= set(details["reused"])
            case "evidence_added":
                told["evidence"].add(details["evidence"])
            case "evidence_withdrawn" | "evidence_replaced":
                self.ended.add(details["evidence"])

    def _permit(self, act: str, subject: str, details: Json, _: str) -> None:
        if act == "issued":
            self.permits[subject] = details | {"stored": "active"}
            return
        told = self.permits[subject]
        match act:
            case "amended":
                told |= details["after"]
            case "superseded":
                told |= {"superseded_by": details["by"], "valid_until": details["valid_until"]}
            case "evidence_replaced":
                renamed = [details["by"] if one == details["replaced"] else one for one in told["evidence"]]
                told |= {"evidence": renamed, "valid_until": details["valid_until"]}
            case "suspended" | "revoked":
                told["stored"] = act
            case "resumed":
                told["stored"] = "active"

    def _obligation(self, act: str, subject: str, details: Json, _: str) -> None:
        state = {"opened": "open", "reopened": "open", "done": "done", "void": "void"}.get(act)
        before = self.duties.get(subject, {})
        self.duties[subject] = details | {"state": state or before["state"]}

    def _export(self, act: str, subject: str, details: Json, _: str) -> None:
        match act:
            case "reserved":
                asked = {kind: details["question"][kind] or 0 for kind in ("persons", "sensitive_persons")}
                until = datetime.fromisoformat(details["expires_at"])
                self.exports[subject] = {"permit": details["permit"], "held": asked, "sent": None, "until": until}
            case "completed":
                self.exports[subject] |= {"sent": details["sent"], "held": None}
            case "cancelled":
                self.exports[subject]["held"] = None

    # What they amount to

    def transfer(self, ident: str, today: date) -> Json:
        """Return what the API should show of a transfer on a day."""
        told = self.transfers[ident]
        expired = told["status"] in UNDECIDED and today > date.fromisoformat(told["valid_until"])
        permit = next((one["id"] for one in self.permits.values() if one["transfer"] == ident), None)
        return told | {"status": "expired" if expired else told["status"], "permit": permit}

    def permit(self, ident: str, now: datetime, today: date) -> Json:
        """Return what the API should show of a permit at a moment of a day."""
        told = self.permits[ident]
        of_it = [one for one in self.exports.values() if one["permit"] == ident]
        sent = _sum(one["sent"] for one in of_it if one["sent"] is not None)
        reserved = _sum(one["held"] for one in of_it if one["held"] is not None and one["until"] > now)
        overdue = sorted(duty for duty, one in self.duties.items() if self._stops(one, told, today))
        lost = [paper for paper in told["evidence"] if paper in self.ended]
        found = told | {"sent": sent, "reserved": reserved, "overdue": overdue, "lost_evidence": lost}
        return {name: found[name] for name in PERMIT} | {"status": self._standing(found, today)}

    def _stops(self, duty: Json, permit: Json, today: date) -> bool:
        is_open = duty["state"] == "open" and (
            duty["settles_on"] is None or date.fromisoformat(duty["settles_on"]) > today
        )
        is_overdue = is_open and duty["code"] in BLOCKING and date.fromisoformat(duty["due_on"]) < today
        tags = {tag for dataset in permit["datasets"] for tag in dataset["tags"]}
        return is_overdue and (duty["permit"] == permit["id"] or (duty["permit"] is None and bool(tags & WEIGHTY)))

    def _standing(self, permit: Json, today: date) -> str:
        if permit["stored"] == "revoked":
            return "revoked"
        if today > date.fromisoformat(permit["valid_until"]):
            return "expired"
        if permit["stored"] == "suspended" or permit["overdue"] or permit["lost_evidence"]:
            return "suspended"
        kinds = ("persons", "sensitive_persons")
        used_up = any(permit[kind] for kind in kinds) and all(permit["sent"][kind] >= permit[kind] for kind in kinds)
        return "exhausted" if used_up else "active"


def _sum(counts: Iterable[Json]) -> Json:
    total = {"persons": 0, "sensitive_persons": 0}
    for count in counts:
        for kind in total:
            total[kind] += count[kind]
    return total
