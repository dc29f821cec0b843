"""The records of a pack, a line each: what the register, the requests, the permits and the exports are at the snapshot's moment.

What people wrote about persons or to each other (comments, reasons, notes, owners, names of files) is in none of them, and of persons only
the reviewers' names: see `docs/decisions/0020-evidence-packs.md`.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import LargeBinary, column, select, table, text

from service.access import directory
from service.audit.operations import plain
from service.database.session import Transaction
from service.ledger.tables import LedgerYear
from service.obligations.tables import Obligation
from service.packs.scope import EXPORTS, Extent
from service.permits import operations as permits
from service.permits.tokens import Signer
from service.registry.tables import Dataset, Grading, Handler, Recipient
from service.transfers.file_types import ENDINGS
from service.transfers.tables import Evidence, Review, Revision, RevisionStage, Transfer

Json = dict[str, Any]
THINGS_PER_QUERY: Final = 100
"""Things that are read with one query."""
ROWS: Final = 500
"""Rows of a long list that are taken at a time, so that nothing else waits long."""

FILES: Final = table("documents", column("sha256", LargeBinary), column("size"), column("media_type"))
"""The files of evidence, without their bytes."""

_HANDLER: Final = ("id", "key", "name", "uscc", "group", "facts")
_DATASET: Final = ("id", "key", "handler", "title", "fields", "facts", "tags", "grading")
_GRADING: Final = (
    "dataset",
    "number",
    "tags",
    "basis",
    "catalogue",
    "review_by",
    "state",
    "graded_by",
    "graded_persons",
    "graded_at",
    "confirmed_by",
    "confirmed_persons",
    "effective_at",
    "ended_at",
)
_RECIPIENT: Final = ("id", "key", "name", "country", "kind", "group", "facts")
_TRANSFER: Final = (
    "id",
    "handler",
    "datasets",
    "recipient",
    "purpose",
    "status",
    "requester",
    "authors",
    "renews",
    "revision",
    "created_at",
)
_REVISION: Final = (
    "transfer",
    "number",
    "hash",
    "content",
    "determination",
    "gradings",
    "ledger",
    "submitted_by",
    "submitted_at",
)
_REVIEW: Final = (
    "id",
    "transfer",
    "revision",
    "hash",
    "stage",
    "decision",
    "conditions",
    "reviewer",
    "on_behalf_of",
    "persons",
    "carried_from",
    "at",
    "terms_accepted_at",
    "taken_back_at",
)
_EVIDENCE: Final = (
    "id",
    "transfer",
    "kind",
    "reference",
    "issuer",
    "issued_on",
    "valid_until",
    "added_by",
    "added_persons",
    "added_at",
    "verified_by",
    "verified_persons",
    "verified_at",
    "replaced_by",
    "ended_at",
    "reused_from",
)
_OBLIGATION: Final = (
    "id",
    "code",
    "handler",
    "transfer",
    "permit",
    "dataset",
    "due_on",
    "blocks",
    "state",
    "evidence",
    "ended_at",
)
_EXPORTS: Final = f"""
  select id, evaluation, dataset, recipient, permit, system, purpose, persons, sensitive_persons, counts, status, reserved_at,
    expires_at, ended_at, sent_persons, sent_sensitive_persons
  from ({EXPORTS}) x order by id
"""  # noqa: S608 - no caller's text is in it  # nosec B608
_FIRST: Final = """
  with recursive before as (
    select id, reused_from from evidence where transfer = any(:transfers) and reused_from is not null
    union all select b.id, e.reused_from from before b join evidence e on e.id = b.reused_from
  )
  select b.id, e.id from before b join evidence e on e.id = b.reused_from and e.reused_from is null
"""
"""Of each record that a renewal repeats the one that was added."""

_PERMIT_LEFT_OUT: Final = {
    *("reason", "conditions", "headroom", "reserved", "updated_at"),
    *("recipient_name", "handler_facts"),
}
"""What is not for a pack, or changes with every export."""


def portions(ids: Sequence[str], most: int = THINGS_PER_QUERY) -> Iterator[list[str]]:
    """Return ids in lists of at most so many."""
    for start in range(0, len(ids), most):
        yield list(ids[start : start + most])


def shown(row: object, names: Sequence[str]) -> Json:
    """Return some columns of a row as JSON has them."""
    made: Json = plain({name: getattr(row, name) for name in names})
    return made


def without_terms(conditions: Json | None) -> Json | None:
    """Return conditions without their terms, which are free text: only how many there are."""
    if conditions is None:
        return None
    return {name: len(value) if name == "terms" else value for name, value in conditions.items() if value is not None}


@dataclass
class Records:
    """Reads the records of one pack in one transaction.

    Args:
        tx: the snapshot.
        extent: what belongs to the pack.
        signer: signs the records of permits.
    """

    tx: Transaction
    extent: Extent
    signer: Signer
    actors: set[str] = field(default_factory=set)
    """Principals who have been met so far."""
    named: set[str] = field(default_factory=set)
    """Those of them who reviewed: they are named."""
    files: dict[str, str] = field(default_factory=dict)
    """Members that hold evidence files, by the SHA-256 of each in hexadecimal."""

    def kinds(self) -> dict[str, Callable[[], AsyncIterator[Json]]]:
        """Return what reads each kind of record, in the order in which they are written."""
        return {
            "handlers": lambda: self._register(Handler, [self.extent.handler], _HANDLER),
            "datasets": lambda: self._register(Dataset, self.extent.datasets, _DATASET),
            "gradings": self._gradings,
            "recipients": lambda: self._register(Recipient, self.extent.recipients, _RECIPIENT),
            "transfers": self._transfers,
            "revisions": self._revisions,
            "reviews": self._reviews,
            "evidence": self._evidence,
            "permits": self._permits,
            "obligations": self._obligations,
            "ledger": self._ledger,
            "exports": self._exports,
        }

    async def _register(
        self, of: type[Handler | Dataset | Recipient], ids: Sequence[str], names: Sequence[str]
    ) -> AsyncIterator[Json]:
        for some in portions(ids):
            for row in await self.tx.scalars(select(of).where(of.id.in_(some)).order_by(of.id)):
                yield shown(row, names)
            self.tx.expunge_all()

    async def _gradings(self) -> AsyncIterator[Json]:
        for some in portions(self.extent.datasets):
            query = select(Grading).where(Grading.dataset.in_(some)).order_by(Grading.dataset, Grading.number)
            for row in await self.tx.scalars(query):
                self.actors |= {row.graded_by, row.confirmed_by or row.graded_by}
                self.actors |= {*(row.graded_persons or ()), *(row.confirmed_persons or ())}
                yield shown(row, _GRADING)
            self.tx.expunge_all()

    async def _transfers(self) -> AsyncIterator[Json]:
        for some in portions(self.extent.transfers):
            for row in await self.tx.scalars(select(Transfer).where(Transfer.id.in_(some)).order_by(Transfer.id)):
                self.actors |= {row.requester, *row.authors}
                yield shown(row, _TRANSFER)
            self.tx.expunge_all()

    async def _revisions(self) -> AsyncIterator[Json]:
        for some in portions(self.extent.transfers):
            stages: defaultdict[tuple[str, int], list[Json]] = defaultdict(list)
            of = RevisionStage
            query = select(of).where(of.transfer.in_(some)).order_by(of.transfer, of.revision, of.place)
            for stage in await self.tx.scalars(query):
                stages[stage.transfer, stage.revision].append(shown(stage, ("place", "name", "status")))
            revisions = select(Revision).where(Revision.transfer.in_(some)).order_by(Revision.transfer, Revision.number)
            for row in await self.tx.scalars(revisions):
                self.actors.add(row.submitted_by)
                yield shown(row, _REVISION) | {"stages": stages[row.transfer, row.number]}
            self.tx.expunge_all()

    async def _reviews(self) -> AsyncIterator[Json]:
        for some in portions(self.extent.transfers):
            query = select(Review).where(Review.transfer.in_(some)).order_by(Review.transfer, Review.id)
            for row in await self.tx.scalars(query):
                self.named |= {row.reviewer, row.on_behalf_of or row.reviewer}
                self.actors |= {*(row.persons or ())}
                yield shown(row, _REVIEW) | {"conditions": without_terms(row.conditions)}
            self.tx.expunge_all()

    async def _evidence(self) -> AsyncIterator[Json]:
        for some in portions(self.extent.transfers):
            query = (
                select(Evidence, FILES.c.size, FILES.c.media_type)
                .join(FILES, FILES.c.sha256 == Evidence.document, isouter=True)
                .where(Evidence.transfer.in_(some))
                .order_by(Evidence.transfer, Evidence.id)
            )
            first = {row[0]: row[1] for row in await self.tx.execute(text(_FIRST), {"transfers": some})}
            for row, size, media_type in await self.tx.execute(query):
                self.actors |= {row.added_by, *(row.added_persons or ()), *(row.verified_persons or ())}
                if row.verified_by is not None:
                    self.named.add(row.verified_by)
                sha256 = None if row.document is None else row.document.hex()
                member = None
                if sha256 is not None:
                    member = self.files[sha256] = f"evidence/{sha256}{ENDINGS.get(media_type, '')}"
                file = {"sha256": sha256, "size": size, "media_type": media_type, "member": member}
                yield shown(row, _EVIDENCE) | file | {"repeats": first.get(row.id)}
            self.tx.expunge_all()

    async def _permits(self) -> AsyncIterator[Json]:
        for some in portions(self.extent.permits):
            query = text("select id, status from permits where id = any(:ids)")
            stored = {row[0]: row[1] for row in await self.tx.execute(query, {"ids": some})}
            for permit in await permits.present(self.tx, some):
                made = permit.model_dump(mode="json", exclude=_PERMIT_LEFT_OUT)
                limits = [without_terms(one) for one in permit.conditions]
                record = made | {"conditions": limits, "stored_status": stored[permit.id]}
                yield record | {"signed": self.signer.record(record, at=self.tx.now)}
            self.tx.expunge_all()

    async def _obligations(self) -> AsyncIterator[Json]:
        for some in portions(self.extent.obligations):
            for row in await self.tx.scalars(select(Obligation).where(Obligation.id.in_(some)).order_by(Obligation.id)):
                yield shown(row, _OBLIGATION)
            self.tx.expunge_all()

    async def _ledger(self) -> AsyncIterator[Json]:
        query = select(LedgerYear).where(LedgerYear.handler == self.extent.handler).order_by(LedgerYear.year)
        for row in await self.tx.scalars(query):
            yield shown(row, ("handler", "year", "persons", "sensitive_persons"))

    async def _exports(self) -> AsyncIterator[Json]:
        found = await self.tx.stream(text(_EXPORTS), self.extent.parameters, execution_options={"yield_per": ROWS})
        async for row in found.mappings():
            told = plain(dict(row))
            persons, sensitive = told.pop("sent_persons"), told.pop("sent_sensitive_persons")
            self.actors.add(told["system"])
            yield told | {"sent": None if persons is None else {"persons": persons, "sensitive_persons": sensitive}}

    async def actors_shown(self) -> AsyncIterator[Json]:
        """Who has been met: systems and reviewers by name, everybody else by id alone."""
        for some in portions(sorted({*self.actors, *self.named}), ROWS):
            known = await directory.known(self.tx, some)
            for actor in some:
                kind, name = known.get(actor, ("operator", actor))
                is_named = kind != "person" or actor in self.named
                yield {"id": actor, "kind": kind, "name": name if is_named else None}
