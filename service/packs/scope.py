"""Scope of a pack: the ids of its records, and the queries for exports and entries, which are too many to list."""

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import text

from service.clock import SHANGHAI
from service.database.session import Transaction
from service.packs.tables import EvidencePack

BEGINNING: Final = datetime(1970, 1, 1, tzinfo=UTC)
END: Final = datetime(9999, 1, 1, tzinfo=UTC)

_IN_PERIOD: Final = """
  created_at < :ends and (
    updated_at >= :begins or exists (select from permits p where p.transfer = transfers.id and p.valid_until >= :since)
  )
"""
_TRANSFERS: Final = {
    "permit": "select transfer from permits where id = :subject",
    "transfer": "select id from transfers where id = :subject",
    "dataset": f"select id from transfers where handler = :handler and :subject = any(datasets) and {_IN_PERIOD} order by id",  # noqa: S608  # nosec B608
    "handler": f"select id from transfers where handler = :handler and {_IN_PERIOD} order by id",  # noqa: S608  # nosec B608
}

EXPORTS: Final = """
  select x.* from exports x where x.permit = any(:permits)
  union all
  select x.* from exports x
  where :loose and x.permit is null and x.handler = :handler and (cast(:dataset as text) is null or x.dataset = :dataset)
    and x.reserved_at >= :begins and x.reserved_at < :ends
"""
"""Exports under the permits in any period, since all of them count against a permit; and exports of the period without a permit."""

ENTRIES: Final = f"""
  select seq, at from entries where subject = any(:subjects)
  union
  select e.seq, e.at from ({EXPORTS}) x join entries e on e.subject = x.id
  union
  select seq, at from entries
  where :loose and handler = :handler and at >= :begins and at < :ends
    and (
      cast(:dataset as text) is null
      or action in ('gate.evaluated', 'export.refused') and cast(body as jsonb) -> 'details' ->> 'dataset' = :dataset
    )
"""  # noqa: S608 - no caller's text is in it  # nosec B608
"""Entries about the records and the exports; for a dataset or a handler also the gate's answers of the period."""


_PERMITS: Final = "select id from permits where transfer = any(:transfers) order by id"
_OBLIGATIONS: Final = """
  select id from obligations where transfer = any(:transfers)
  union select id from obligations where handler = :handler and permit is null and transfer is null order by 1
"""
"""Obligations of the transfers, and of the handler, which may suspend its permits for important or core data."""
_DATASETS: Final = f"""
  select distinct dataset from ({EXPORTS}) x
  union select unnest(datasets) from transfers where id = any(:transfers)
  union select unnest(cast(:own as text[])) order by 1
"""  # noqa: S608 - no caller's text is in it  # nosec B608
_RECIPIENTS: Final = f"""
  select distinct recipient from ({EXPORTS}) x union select recipient from transfers where id = any(:transfers) order by 1
"""  # noqa: S608 - no caller's text is in it  # nosec B608
_RENEWED: Final = """
  with recursive before as (
    select renews from transfers where id = any(:transfers) and renews is not null
    union select t.renews from before b join transfers t on t.id = b.renews where t.renews is not null
  )
  select renews from before order by 1
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """Ids of the records in a pack, and its period."""

    kind: str
    subject: str
    handler: str
    begins: datetime
    ends: datetime
    transfers: list[str]
    permits: list[str]
    datasets: list[str]
    recipients: list[str]
    obligations: list[str]
    renewed: list[str]
    """Transfers that those of the pack renew, directly or through others; repeated evidence was added there."""

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the queries `EXPORTS` and `ENTRIES`."""
        return {
            "permits": self.permits,
            "handler": self.handler,
            "dataset": self.subject if self.kind == "dataset" else None,
            "loose": self.kind in {"dataset", "handler"},
            "begins": self.begins,
            "ends": self.ends,
        }

    @property
    def subjects(self) -> list[str]:
        """Ids of all subjects of entries, without exports."""
        subjects = {
            self.handler,
            *self.transfers,
            *self.permits,
            *self.datasets,
            *self.recipients,
            *self.obligations,
            *self.renewed,
        }
        return sorted(subjects)


async def determine_scope(tx: Transaction, pack: EvidencePack) -> Scope:
    """Return the scope of a pack."""
    begins = BEGINNING if pack.since is None else _midnight(pack.since)
    ends = END if pack.until is None else _midnight(pack.until + timedelta(days=1))
    parameters = {
        "subject": pack.subject,
        "handler": pack.handler,
        "begins": begins,
        "ends": ends,
        "since": pack.since or date.min,
    }
    query = _TRANSFERS[pack.kind]
    transfers = await _ids(tx, query, **{name: value for name, value in parameters.items() if f":{name}" in query})
    permits = await _ids(tx, _PERMITS, transfers=transfers)
    obligations = await _ids(tx, _OBLIGATIONS, transfers=transfers, handler=pack.handler)
    renewed = await _ids(tx, _RENEWED, transfers=transfers)
    scope = Scope(pack.kind, pack.subject, pack.handler, begins, ends, transfers, permits, [], [], obligations, renewed)
    more = {"transfers": transfers, **scope.parameters}
    own = [pack.subject] if pack.kind == "dataset" else []
    datasets = await _ids(tx, _DATASETS, own=own, **more)
    return replace(scope, datasets=datasets, recipients=await _ids(tx, _RECIPIENTS, **more))


async def _ids(tx: Transaction, query: str, **parameters: Any) -> list[str]:
    return [str(row[0]) for row in await tx.execute(text(query), parameters)]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), SHANGHAI)
