"""Records of a pack, one a line: register, transfers, permits and exports as they are in the snapshot.

Records hold no free text about persons or between people (comments, reasons, notes, owners, file names). Of persons they name only
reviewers. See `docs/decisions/0020-evidence-packs.md`.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import LargeBinary, column, select, table, text

from service.access import directory
from service.audit.operations import to_json_types
from service.database.session import Transaction
from service.ledger.tables import LedgerYear
from service.obligations.tables import Obligation
from service.packs.scope import EXPORTS, Scope
from service.permits import presenter as permits_presenter
from service.permits import queries as permits_queries
from service.permits.tokens import Signer
from service.registry.tables import Dataset, Grading, Handler, Recipient
from service.transfers.file_types import FILE_EXTENSIONS
from service.transfers.tables import Evidence, Review, Revision, RevisionStage, Transfer

Json = dict[str, Any]
THINGS_PER_QUERY: Final = 100
"""Records that are read with one query."""
ROWS_PER_BATCH: Final = 500
"""Rows of a stream that are fetched at a time, so that other work need not wait long."""

FILES: Final = table("documents", column("sha256", LargeBinary), column("size"), column("media_type"))
"""Files of evidence, without their bytes."""

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
_REPEATED_EVIDENCE: Final = """
  with recursive before as (
    select id, reused_from from evidence where transfer = any(:transfers) and reused_from is not null
    union all select b.id, e.reused_from from before b join evidence e on e.id = b.reused_from
  )
  select b.id, e.id from before b join evidence e on e.id = b.reused_from and e.reused_from is null
"""
"""Maps each evidence record that a renewal repeats to the original record."""

_PERMIT_LEFT_OUT: Final = {
    *("reason", "conditions", "headroom", "reserved", "updated_at"),
    *("recipient_name", "handler_facts"),
}
"""Members of a permit that are left out: free text, and values that change with every export."""


def split_ids(ids: Sequence[str], limit: int = THINGS_PER_QUERY) -> Iterator[list[str]]:
    """Return ids in lists of at most `limit`."""
    for start in range(0, len(ids), limit):
        yield list(ids[start : start + limit])


def select_columns(row: object, names: Sequence[str]) -> Json:
    """Return some columns of a row as JSON has them."""
    record: Json = to_json_types({name: getattr(row, name) for name in names})
    return record


def without_terms(conditions: Json | None) -> Json | None:
    """Return conditions with the number of their terms, which are free text."""
    if conditions is None:
        return None
    return {name: len(value) if name == "terms" else value for name, value in conditions.items() if value is not None}


@dataclass
class Records:
    """Reads the records of one pack in one transaction.

    Args:
        tx: the snapshot.
        scope: scope of the pack.
        signer: signs the records of permits.
    """

    tx: Transaction
    scope: Scope
    signer: Signer
    actors: set[str] = field(default_factory=set)
    """Principals that the records name so far."""
    named: set[str] = field(default_factory=set)
    """Reviewers among them, whose names are shown."""
    files: dict[str, str] = field(default_factory=dict)
    """Members of evidence files, by SHA-256 in hexadecimal."""

    def kinds(self) -> dict[str, Callable[[], AsyncIterator[Json]]]:
        """Return the readers of each kind of record, in the order of the files."""
        return {
            "handlers": lambda: self._register(Handler, [self.scope.handler], _HANDLER),
            "datasets": lambda: self._register(Dataset, self.scope.datasets, _DATASET),
            "gradings": self._gradings,
            "recipients": lambda: self._register(Recipient, self.scope.recipients, _RECIPIENT),
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
        for some in split_ids(ids):
            for row in await self.tx.scalars(select(of).where(of.id.in_(some)).order_by(of.id)):
                yield select_columns(row, names)
            self.tx.expunge_all()

    async def _gradings(self) -> AsyncIterator[Json]:
        for some in split_ids(self.scope.datasets):
            query = select(Grading).where(Grading.dataset.in_(some)).order_by(Grading.dataset, Grading.number)
            for row in await self.tx.scalars(query):
                self.actors |= {row.graded_by, row.confirmed_by or row.graded_by}
                self.actors |= {*(row.graded_persons or ()), *(row.confirmed_persons or ())}
                yield select_columns(row, _GRADING)
            self.tx.expunge_all()

    async def _transfers(self) -> AsyncIterator[Json]:
        for some in split_ids(self.scope.transfers):
            for row in await self.tx.scalars(select(Transfer).where(Transfer.id.in_(some)).order_by(Transfer.id)):
                self.actors |= {row.requester, *row.authors}
                yield select_columns(row, _TRANSFER)
            self.tx.expunge_all()

    async def _revisions(self) -> AsyncIterator[Json]:
        for some in split_ids(self.scope.transfers):
            stages: defaultdict[tuple[str, int], list[Json]] = defaultdict(list)
            of = RevisionStage
            query = select(of).where(of.transfer.in_(some)).order_by(of.transfer, of.revision, of.place)
            for stage in await self.tx.scalars(query):
                stages[stage.transfer, stage.revision].append(select_columns(stage, ("place", "name", "status")))
            revisions = select(Revision).where(Revision.transfer.in_(some)).order_by(Revision.transfer, Revision.number)
            for row in await self.tx.scalars(revisions):
                self.actors.add(row.submitted_by)
                yield select_columns(row, _REVISION) | {"stages": stages[row.transfer, row.number]}
            self.tx.expunge_all()

    async def _reviews(self) -> AsyncIterator[Json]:
        for some in split_ids(self.scope.transfers):
            query = select(Review).where(Review.transfer.in_(some)).order_by(Review.transfer, Review.id)
            for row in await self.tx.scalars(query):
                self.named |= {row.reviewer, row.on_behalf_of or row.reviewer}
                self.actors |= {*(row.persons or ())}
                yield select_columns(row, _REVIEW) | {"conditions": without_terms(row.conditions)}
            self.tx.expunge_all()

    async def _evidence(self) -> AsyncIterator[Json]:
        for some in split_ids(self.scope.transfers):
            query = (
                select(Evidence, FILES.c.size, FILES.c.media_type)
                .join(FILES, FILES.c.sha256 == Evidence.document, isouter=True)
                .where(Evidence.transfer.in_(some))
                .order_by(Evidence.transfer, Evidence.id)
            )
            first = {row[0]: row[1] for row in await self.tx.execute(text(_REPEATED_EVIDENCE), {"transfers": some})}
            for row, size, media_type in await self.tx.execute(query):
                self.actors |= {row.added_by, *(row.added_persons or ()), *(row.verified_persons or ())}
                if row.verified_by is not None:
                    self.named.add(row.verified_by)
                sha256 = None if row.document is None else row.document.hex()
                member = None
                if sha256 is not None:
                    member = self.files[sha256] = f"evidence/{sha256}{FILE_EXTENSIONS.get(media_type, '')}"
                file = {"sha256": sha256, "size": size, "media_type": media_type, "member": member}
                yield select_columns(row, _EVIDENCE) | file | {"repeats": first.get(row.id)}
            self.tx.expunge_all()

    async def _permits(self) -> AsyncIterator[Json]:
        for some in split_ids(self.scope.permits):
            query = text("select id, status from permits where id = any(:ids)")
            stored = {row[0]: row[1] for row in await self.tx.execute(query, {"ids": some})}
            for permit in await permits_presenter.present(self.tx, await permits_queries.permits_by_id(self.tx, some)):
                values = permit.model_dump(mode="json", exclude=_PERMIT_LEFT_OUT)
                limits = [without_terms(conditions) for conditions in permit.conditions]
                record = values | {"conditions": limits, "stored_status": stored[permit.id]}
                yield record | {"signed": self.signer.record(record, at=self.tx.now)}
            self.tx.expunge_all()

    async def _obligations(self) -> AsyncIterator[Json]:
        for some in split_ids(self.scope.obligations):
            for row in await self.tx.scalars(select(Obligation).where(Obligation.id.in_(some)).order_by(Obligation.id)):
                yield select_columns(row, _OBLIGATION)
            self.tx.expunge_all()

    async def _ledger(self) -> AsyncIterator[Json]:
        query = select(LedgerYear).where(LedgerYear.handler == self.scope.handler).order_by(LedgerYear.year)
        for row in await self.tx.scalars(query):
            yield select_columns(row, ("handler", "year", "persons", "sensitive_persons"))

    async def _exports(self) -> AsyncIterator[Json]:
        rows = await self.tx.stream(
            text(_EXPORTS), self.scope.parameters, execution_options={"yield_per": ROWS_PER_BATCH}
        )
        async for row in rows.mappings():
            record = to_json_types(dict(row))
            persons, sensitive = record.pop("sent_persons"), record.pop("sent_sensitive_persons")
            self.actors.add(record["system"])
            yield record | {"sent": None if persons is None else {"persons": persons, "sensitive_persons": sensitive}}

    async def list_actors(self) -> AsyncIterator[Json]:
        """Return all principals of the records: systems and reviewers by name, others by id alone."""
        for some in split_ids(sorted({*self.actors, *self.named}), ROWS_PER_BATCH):
            principals = await directory.load_kinds_and_names(self.tx, some)
            for actor in some:
                kind, name = principals.get(actor, ("operator", actor))
                is_named = kind != "person" or actor in self.named
                yield {"id": actor, "kind": kind, "name": name if is_named else None}
