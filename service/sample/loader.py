"""Loads the invented company through the operations that the API calls, in one transaction: all of it is there, or none."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from service.access.caller import Caller, Role
from service.clock import day_in_shanghai
from service.database.locks import SAMPLE_LOCK
from service.database.row_security import EVERYWHERE
from service.database.session import Transaction
from service.exports import completion
from service.exports import operations as gate
from service.gate import questions
from service.gate.batch_decisions import ReservedExport
from service.identity import operations as identity
from service.law.facts import Count
from service.law.rule_book import RuleBook
from service.law.stages import Stage
from service.permits.tables import Permit
from service.registry import fact_changes, gradings, imports
from service.registry import operations as registry
from service.registry.schemas import GradingIn, HandlerNewIn, RecipientNewIn, SettleIn
from service.registry.tables import Dataset, FactChange, Handler
from service.sample.access import SampleAccess, SampleKey
from service.transfers import evidence, reviews
from service.transfers import requests as transfers
from service.transfers.presenter import present
from service.transfers.queries import revision_of
from service.transfers.schemas import EvidenceIn, ReviewIn, TransferIn
from service.transfers.tables import Transfer
from service.transfers.workflow import Decision, Status

HERE = Path(__file__).parent
REGISTERED = timedelta(days=60)
LEASE = timedelta(hours=1)
KEY_LIFE = timedelta(days=7)
ROLES = {
    "registrar": Role.REGISTRAR,
    "second_registrar": Role.REGISTRAR,
    "requester": Role.REQUESTER,
    "auditor": Role.AUDITOR,
    "admin": Role.ADMIN,
    "data_owner": Role.DATA_OWNER,
    "privacy": Role.PRIVACY,
    "legal": Role.LEGAL,
    "security": Role.SECURITY,
    "executive": Role.EXECUTIVE,
}


async def load(tx: Transaction, book: RuleBook) -> bool:
    """Load the company; return False, and do nothing, when it is there already."""
    await tx.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": SAMPLE_LOCK})
    company = _company()
    if await tx.scalar(select(Handler.id).where(Handler.key == company["handlers"][0]["key"])):
        return False
    story = _Story(tx, book, company)
    with story.at(-REGISTERED):
        await story.register()
    for transfer in sorted(company["transfers"], key=lambda transfer: transfer.get("submitted", 0)):
        with story.at(timedelta(days=transfer.get("submitted", 0))):
            await story.act_out(transfer)
    for export in company["exports"]:
        await story.export(export)
    return True


async def issue_keys(tx: Transaction) -> SampleAccess:
    """Issue a fresh key to each person and system of the company, and look up the ids that commands need."""
    company = _company()
    ends = tx.now + KEY_LIFE
    keys: list[SampleKey] = []
    for part, name in company["people"].items():
        issued = await identity.issue_key(tx, name, "person", [ROLES[part]], expires_at=ends)
        keys.append(SampleKey(part.upper(), f"{part} ({name})", issued.secret or ""))
    for name, handler in company["systems"].items():
        issued = await identity.issue_key(tx, name, "system", [Role.EXPORTER], handler, expires_at=ends)
        keys.append(SampleKey(name.replace("-", "_").upper(), name, issued.secret or ""))
    export = company["exports"][0]
    newest = select(Permit.id).where(Permit.purpose == export["purpose"]).order_by(Permit.id.desc()).limit(1)
    permit = await tx.scalar(newest)
    return SampleAccess(
        company["notice"], KEY_LIFE.days, tuple(keys), {"PERMIT": permit} if permit is not None else {}, export
    )


def _company() -> dict[str, Any]:
    return tomllib.loads((HERE / "company.toml").read_text(encoding="utf-8"))


class _Story:
    """The people of the company, each acting as themselves."""

    def __init__(self, tx: Transaction, book: RuleBook, company: dict[str, Any]) -> None:
        self._tx = tx
        self._book = book
        self._company = company
        self._people: dict[str, Caller] = {}

    @contextmanager
    def at(self, since: timedelta) -> Iterator[None]:
        """Let what follows happen at another time."""
        now = self._tx.now
        self._tx.now = now + since
        yield
        self._tx.now = now

    @property
    def _today(self) -> date:
        return day_in_shanghai(self._tx.now)

    async def register(self) -> None:
        for part, name in self._company["people"].items():
            principal = await identity.ensure_principal(self._tx, name, "person", [ROLES[part]])
            self._people[part] = Caller(principal.id, name, "person", {ROLES[part]: EVERYWHERE})
        for handler in self._company["handlers"]:
            await registry.create_handler(self._tx, self._people["registrar"], HandlerNewIn.model_validate(handler))
        for name, handler in self._company["systems"].items():
            principal = await identity.ensure_principal(self._tx, name, "system", [Role.EXPORTER], handler)
            self._people[name] = Caller(principal.id, name, "system", {Role.EXPORTER: EVERYWHERE})
        for recipient in self._company["recipients"]:
            await registry.create_recipient(
                self._tx, self._people["registrar"], RecipientNewIn.model_validate(recipient)
            )
        content = (HERE / "datasets.csv").read_bytes()
        await imports.load_here(self._tx, self._people["registrar"], content, "csv")
        await self._confirm_facts()
        for grading in self._company["gradings"]:
            await self._grade(grading)

    async def _confirm_facts(self) -> None:
        """Have the second registrar confirm the facts that free."""
        mine = FactChange.asked_by == self._people["registrar"].principal
        waiting = select(FactChange.id).where(FactChange.state == "pending", mine).order_by(FactChange.id)
        for change in (await self._tx.scalars(waiting)).all():
            await fact_changes.confirm(self._tx, self._people["second_registrar"], change, SettleIn())

    async def _grade(self, grading: dict[str, Any]) -> None:
        review_by = self._today + timedelta(days=365)
        body = {name: grading[name] for name in ("tags", "reason", "basis")} | {"review_by": review_by}
        for key in grading["datasets"]:
            await gradings.grade(self._tx, self._people["registrar"], key, GradingIn.model_validate(body))

    async def act_out(self, transfer: dict[str, Any]) -> None:
        """Take one transfer through its acts, up to its end in `company.toml`."""
        end = transfer["ends"]
        requester = self._people["requester"]
        row = await transfers.create_transfer(self._tx, requester, await self._request(transfer))
        if end == "draft":
            return
        await transfers.submit(self._tx, requester, self._book, row.id)
        if end == "withdrawn":
            await transfers.withdraw(self._tx, requester, row.id, "No longer needed")
        elif end == "returned":
            await self._review(row, Decision.RETURN, "The remarks are not needed: leave the field out.")
        elif end == "approved":
            await self._approve(row)

    async def _request(self, transfer: dict[str, Any]) -> TransferIn:
        begins, ends = (self._today_of_loading(transfer) + timedelta(days=days) for days in transfer["days"])
        members = {name: value for name, value in transfer.items() if name not in {"days", "ends", "submitted"}}
        query = select(Dataset.id).where(Dataset.key.in_(transfer["datasets"]))
        datasets = (await self._tx.scalars(query)).all()
        days = {"valid_from": begins, "valid_until": ends}
        return TransferIn.model_validate(members | days | {"datasets": list(datasets)})

    def _today_of_loading(self, transfer: dict[str, Any]) -> date:
        return self._today - timedelta(days=transfer.get("submitted", 0))

    async def _approve(self, transfer: Transfer) -> None:
        requester = self._people["requester"]
        response = await present(self._tx, requester, transfer, self._book)
        for kind in response.missing_evidence:
            reference = f"Sample {kind} of {transfer.id}"
            body = EvidenceIn(kind=kind, reference=reference, issuer="Invented office", issued_on=self._today)
            await evidence.add_evidence(self._tx, requester, self._book, transfer.id, body)
        while transfer.status == Status.IN_REVIEW:
            await self._review(transfer, Decision.APPROVE, "Seen, in order.")

    async def _review(self, transfer: Transfer, decision: Decision, comment: str) -> None:
        revision = await revision_of(self._tx, transfer)
        if revision is None or transfer.open_stage is None:
            raise ValueError("A transfer in review has a revision and an open stage.")
        stage = Stage(transfer.open_stage)
        body = ReviewIn(stage=stage, decision=decision, revision=revision.hash, comment=comment)
        await reviews.review(self._tx, self._people[stage], self._book, transfer.id, body)

    async def export(self, export: dict[str, Any]) -> None:
        """Ask the gate, and report what went where the sample says so."""
        system = self._people[export["system"]]
        body = questions.Export(**{name: export[name] for name in ("dataset", "recipient", "purpose", "persons")})
        answer = await gate.reserve(self._tx, system, self._book, body, LEASE)
        if isinstance(answer, ReservedExport) and "sent" in export:
            completed = completion.completion_by_number(Count(export["sent"]))
            await completion.complete(self._tx, system, answer.id, completed)
