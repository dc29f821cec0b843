"""Stories for reports, with defaults. Every company, person and number in them is invented."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from service.law.determination import determine
from service.law.explanation import render_determination
from service.packs.report_data import (
    Actor,
    Counts,
    ExportsOfDay,
    ReportData,
    ReportDataset,
    ReportEvidence,
    ReportGrading,
    ReportHandler,
    ReportLedgerYear,
    ReportLog,
    ReportPermit,
    ReportRecipient,
    ReportReview,
    ReportRevision,
    ReportTransfer,
    TimelineAct,
)
from tests.law.builders import a_case
from tests.law.strategies import BOOK

HASH = "sha256:" + "5f" * 32
REQUESTER = Actor("pr_01kb7y3m0000000000requester", "person")
OWNER = Actor("pr_01kb7y3m00000000000000owner", "person", "Qiao Wen 乔文")
PRIVACY = Actor("pr_01kb7y3m000000000000privacy", "person", "Bai Lu 白露")
LEGAL = Actor("pr_01kb7y3m00000000000000legal", "person", "Fang Zhao 方钊")
SYSTEM = Actor("pr_01kb7y3m0000000000000system", "system", "ride-export")


def at(month: int, day: int, hour: int = 9) -> datetime:
    return datetime(2026, month, day, hour, 30, 5, tzinfo=UTC)


def an_answer(**parts: Any) -> dict[str, Any]:
    facts = a_case(**({"transfer": {"persons": 150_000}} | parts))
    return render_determination(facts, determine(facts, BOOK), BOOK)


def a_dataset(number: int = 1, **changes: Any) -> ReportDataset:
    known: dict[str, Any] = {
        "id": f"ds_{number:026}",
        "key": f"postgres://crm.sample.internal/public.customers_{number}",
        "title": f"Customer master 客户主数据 {number}",
        "tags": ("personal",),
        "grading": 1,
        "fields": ("customer_id", "city", "amount"),
        "facts": {"origin": "domestic", "domestic_data_added": True, "ftz_list": None},
    }
    return ReportDataset(**(known | changes))


def a_recipient(number: int = 1, **changes: Any) -> ReportRecipient:
    known: dict[str, Any] = {
        "id": f"rc_{number:026}",
        "key": f"lanting-singapore-{number}",
        "name": f"Lanting Mobility Singapore {number} (invented)",
        "country": "SG",
        "kind": "affiliate",
        "facts": {},
    }
    return ReportRecipient(**(known | changes))


def a_review(stage: str = "privacy", reviewer: Actor = PRIVACY, **changes: Any) -> ReportReview:
    known: dict[str, Any] = {
        "id": f"rv_{stage}",
        "stage": stage,
        "decision": "approve",
        "reviewer": reviewer,
        "on_behalf_of": None,
        "hash": HASH,
        "conditions": None,
        "at": at(3, 5),
        "carried_from": None,
        "taken_back_at": None,
    }
    return ReportReview(**(known | changes))


REVIEWS = (a_review("data_owner", OWNER), a_review("privacy", PRIVACY), a_review("legal", LEGAL))


def a_revision(number: int = 1, **changes: Any) -> ReportRevision:
    known: dict[str, Any] = {
        "number": number,
        "hash": HASH,
        "submitted_at": at(3, 4),
        "submitted_by": REQUESTER,
        "request": {
            "purpose": "analytics",
            "description": "Fares by month.\nNo names leave. 每月客流分析。",
            "fields": ["city", "amount"],
            "systems": None,
            "persons": 150_000,
            "sensitive_persons": 0,
            "method": "transmission",
            "necessity": None,
            "legal_basis": "consent",
            "route": "standard_contract",
            "valid_from": "2026-04-01",
            "valid_until": "2027-03-31",
        },
        "datasets": ({"id": a_dataset().id, "key": a_dataset().key, "tags": ["personal"], "fields": [], "facts": {}},),
        "recipient": {"id": a_recipient().id, "country": "SG", "kind": "affiliate", "facts": {}},
        "determination": an_answer(),
        "persons_before": 1_000,
        "sensitive_persons_before": 20,
        "stages": (("data_owner", "approved"), ("privacy", "approved"), ("legal", "approved")),
        "reviews": REVIEWS,
    }
    return ReportRevision(**(known | changes))


def a_paper(number: int = 1, **changes: Any) -> ReportEvidence:
    known: dict[str, Any] = {
        "id": f"ee_{number:026}",
        "kind": "standard_contract",
        "reference": "SC-2026-014",
        "issuer": "Lanting Ride 法务部",
        "issued_on": date(2026, 3, 1),
        "valid_until": date(2028, 3, 1),
        "member": "evidence/ab",
        "sha256": "ab" * 32,
        "size": 182_331,
        "media_type": "application/pdf",
        "added_at": at(3, 2),
        "verified_by": LEGAL,
        "verified_at": at(3, 3),
        "ended_at": None,
        "replaced_by": None,
    }
    return ReportEvidence(**(known | changes))


def a_permit(number: int = 1, **changes: Any) -> ReportPermit:
    known: dict[str, Any] = {
        "id": f"pm_{number:026}",
        "transfer": f"tr_{number:026}",
        "revision": HASH,
        "status": "active",
        "datasets": (a_dataset().id,),
        "recipient": a_recipient().id,
        "purpose": "analytics",
        "fields": ("city", "amount"),
        "systems": None,
        "persons": 150_000,
        "sensitive_persons": 0,
        "sent_persons": 48_210,
        "sent_sensitive_persons": 0,
        "valid_from": date(2026, 4, 1),
        "valid_until": date(2027, 3, 31),
        "mechanism": "standard_contract_or_certification",
        "route": "standard_contract",
        "evidence": (a_paper().id,),
        "issued_at": at(3, 8),
        "supersedes": None,
        "superseded_by": None,
        "exports": 24,
    }
    return ReportPermit(**(known | changes))


def a_transfer(number: int = 1, **changes: Any) -> ReportTransfer:
    known: dict[str, Any] = {
        "id": f"tr_{number:026}",
        "status": "approved",
        "purpose": "analytics",
        "datasets": (a_dataset().id,),
        "recipient": a_recipient().id,
        "requester": REQUESTER,
        "created_at": at(3, 1),
        "revisions": (a_revision(),),
        "evidence": (a_paper(),),
        "permit": a_permit(number),
    }
    return ReportTransfer(**(known | changes))


def exports(day: date, **changes: Any) -> ExportsOfDay:
    known: dict[str, Any] = {
        "permit": a_permit().id,
        "dataset": a_dataset().id,
        "recipient": a_recipient().id,
        "exports": 12,
        "completed": 11,
        "refused": 1,
        "persons": 2_000,
        "sensitive_persons": 0,
    }
    return ExportsOfDay(day, **(known | changes))


def a_log(**changes: Any) -> ReportLog:
    known: dict[str, Any] = {
        "origin": "outbound.local/x7k2m9qa",
        "size": 1_204,
        "root": "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA=",
        "at": at(10, 2),
        "note": "outbound.local/x7k2m9qa\n1204\nq83vEjRWeJA=\ntime 2026-10-02T09:30:05Z\n\n— outbound.local/x7k2m9qa Az3grlgt\n",
        "vkeys": ("outbound.local/x7k2m9qa+033de0ae+Ac4fctda",),
        "witnesses": ("witness.example/w1",),
    }
    return ReportLog(**(known | changes))


def a_grading(**changes: Any) -> ReportGrading:
    known: dict[str, Any] = {
        "dataset": a_dataset().id,
        "number": 1,
        "tags": ("personal",),
        "basis": "GB/T 43697-2024 (invented sample)",
        "state": "effective",
        "graded_by": REQUESTER,
        "confirmed_by": None,
        "graded_at": at(2, 20),
        "effective_at": at(2, 20),
        "ended_at": None,
    }
    return ReportGrading(**(known | changes))


TIMELINE = (
    TimelineAct(at(2, 20), "dataset.graded", a_dataset().id, REQUESTER, 0),
    TimelineAct(at(3, 4), "transfer.submitted", "tr_" + "1".rjust(26, "0"), REQUESTER, 1, revision=1),
    TimelineAct(at(3, 5), "transfer.reviewed", "tr_" + "1".rjust(26, "0"), OWNER, 2, "data_owner", "approve", 1),
    TimelineAct(at(3, 8), "permit.issued", a_permit().id, LEGAL, 3),
)

NOTHING = Counts(
    datasets=0,
    transfers=0,
    revisions=0,
    reviews=0,
    evidence=0,
    permits=0,
    exports=0,
    refused=0,
    entries=0,
    entries_withheld=0,
    entries_waiting=0,
)


def a_story(transfers: Sequence[ReportTransfer] | None = None, **changes: Any) -> ReportData:
    """Return the story of one permit, save for what is said."""
    known: dict[str, Any] = {
        "pack": "ep_01kb7y3m00000000000000pack",
        "kind": "handler",
        "subject": "hd_01kb7y3m000000000000handler",
        "title": "lanting-ride",
        "since": date(2026, 1, 1),
        "until": date(2026, 9, 30),
        "made_at": at(10, 2, 10),
        "version": "0.2.0",
        "handler": ReportHandler(
            "hd_01kb7y3m000000000000handler",
            "lanting-ride",
            "Lanting Ride 兰汀出行 (invented sample)",
            "91310000MA1K00000X",
            {"ciio": False, "pi_subjects": 640_000, "in_gba": True},
        ),
        "datasets": (a_dataset(),),
        "gradings": (a_grading(),),
        "recipients": (a_recipient(),),
        "transfers": (a_transfer(),) if transfers is None else tuple(transfers),
        "ledger": (ReportLedgerYear(2026, 148_210, 300),),
        "exports": (exports(date(2026, 4, 2)), exports(date(2026, 4, 9)), exports(date(2026, 5, 1))),
        "timeline": TIMELINE,
        "act_count": len(TIMELINE),
        "log": a_log(),
        "counts": replace(
            NOTHING,
            datasets=1,
            transfers=1,
            revisions=1,
            reviews=3,
            evidence=1,
            permits=1,
            exports=36,
            refused=3,
            entries=180,
        ),
    }
    return ReportData(**(known | changes))


def an_empty_story(**changes: Any) -> ReportData:
    """Return a story of nothing at all."""
    nothing: dict[str, Any] = dict.fromkeys(("datasets", "gradings", "recipients", "ledger", "exports", "timeline"), ())
    return a_story((), **(nothing | {"act_count": 0, "log": None, "counts": NOTHING} | changes))
