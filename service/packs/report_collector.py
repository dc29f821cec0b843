"""Collects the data of a pack's report while its records and entries are written; exports are summed up by day."""

from collections import Counter, defaultdict, deque
from datetime import date, datetime
from typing import Any, Final

from service.audit.actions import AuditAction
from service.audit.tlog import signed_note
from service.clock import day_in_shanghai
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
from service.packs.scope import Scope
from service.packs.tables import EvidencePack

Json = dict[str, Any]

MAX_REPORTED_TRANSFERS: Final = 200
"""Transfers that a report shows in full, the newest ones. The records of the pack hold all of them."""
MAX_TIMELINE_ACTS: Final = 2000
MAX_REPORTED_THINGS: Final = 500
"""Datasets, gradings and recipients that a report lists."""

_OF_TRANSFER: Final = ("revisions", "reviews", "evidence")
_UNREPORTED_ACTIONS: Final = ("export.", "gate.", "evidence_pack.")
"""Prefixes of actions that the timeline leaves out: exports are summed up, and reads change nothing."""


class ReportCollector:
    """Collects records and entries record by record, and returns the data of the report."""

    def __init__(self, pack: EvidencePack, scope: Scope, version: str, made_at: datetime) -> None:
        self._pack, self._version, self._made_at = pack, version, made_at
        self._reported_transfers = set(scope.transfers[-MAX_REPORTED_TRANSFERS:])
        self._records: defaultdict[str, deque[Json]] = defaultdict(lambda: deque(maxlen=MAX_REPORTED_THINGS))
        self._of: dict[str, defaultdict[str, list[Json]]] = {kind: defaultdict(list) for kind in _OF_TRANSFER}
        self._permits: dict[str, Json] = {}
        self._actors: dict[str, Json] = {}
        self._counts: Counter[str] = Counter()
        self._acts: deque[tuple[int, Json]] = deque(maxlen=MAX_TIMELINE_ACTS)
        self._act_count = 0
        self._days: defaultdict[tuple[date, str | None, str, str], Counter[str]] = defaultdict(Counter)
        self._under: Counter[str] = Counter()
        self._log: ReportLog | None = None

    def add_record(self, kind: str, record: Json) -> None:
        """Add a record of a kind."""
        self._counts[kind] += 1
        if kind == "exports":
            self._export(record)
        elif kind == "actors":
            self._actors[record["id"]] = record
        elif kind in _OF_TRANSFER:
            if record["transfer"] in self._reported_transfers:
                self._of[kind][record["transfer"]].append(record)
        elif kind == "permits":
            if record["transfer"] in self._reported_transfers:
                self._permits[record["transfer"]] = record
        elif kind != "transfers" or record["id"] in self._reported_transfers:
            self._records[kind].append(record)

    def add_entry(self, leaf: int, body: Json) -> None:
        """Add an entry whose body is in the pack."""
        action, details = body["action"], body["details"]
        if action == AuditAction.EXPORT_REFUSED:
            day = day_in_shanghai(datetime.fromisoformat(body["at"]))
            self._days[day, details["permit"], details["dataset"] or "", details["recipient"] or ""]["refused"] += 1
            self._counts["refused"] += 1
        if not action.startswith(_UNREPORTED_ACTIONS):
            self._act_count += 1
            self._acts.append((leaf, body))

    def _export(self, record: Json) -> None:
        day = day_in_shanghai(datetime.fromisoformat(record["reserved_at"]))
        sums = self._days[day, record["permit"], record["dataset"], record["recipient"]]
        sums["exports"] += 1
        if record["permit"] is not None:
            self._under[record["permit"]] += 1
        if record["sent"] is not None:
            sums.update({"completed": 1, **record["sent"]})

    def set_checkpoint(self, note: str, vkeys: list[str]) -> None:
        """Set the checkpoint of the pack."""
        text, signatures = signed_note.parts_of(note)
        checkpoint = signed_note.Checkpoint.of(text)
        root = text.split("\n")[2]
        self._log = ReportLog(
            origin=checkpoint.origin,
            size=checkpoint.size,
            root=root,
            at=checkpoint.time or self._made_at,
            note=note,
            vkeys=tuple(vkeys),
            witnesses=tuple(sorted({signature.name for signature in signatures} - {checkpoint.origin})),
        )

    def set_entry_counts(self, entries: int, withheld: int) -> None:
        """Set the number of entries, and of those by hash alone."""
        self._counts.update({"entries": entries, "entries_withheld": withheld})

    def counts(self) -> Json:
        """Return the number of records of each kind, and of entries."""
        names = ("datasets", "transfers", "revisions", "reviews", "evidence", "permits", "exports", "refused")
        return {name: self._counts[name] for name in (*names, "entries", "entries_withheld")}

    def report_data(self) -> ReportData:
        """Return the data of the report."""
        pack = self._pack
        handler = self._records["handlers"][0]
        return ReportData(
            pack=pack.id,
            kind=pack.kind,
            subject=pack.subject,
            title=self._title(),
            since=pack.since,
            until=pack.until,
            made_at=self._made_at,
            version=self._version,
            handler=ReportHandler(handler["id"], handler["key"], handler["name"], handler["uscc"], handler["facts"]),
            datasets=tuple(_dataset(record) for record in self._records["datasets"]),
            gradings=tuple(self._grading(record) for record in self._records["gradings"]),
            recipients=tuple(
                ReportRecipient(**{name: record[name] for name in ("id", "key", "name", "country", "kind", "facts")})
                for record in self._records["recipients"]
            ),
            transfers=tuple(self._transfer(record) for record in self._records["transfers"]),
            ledger=tuple(
                ReportLedgerYear(record["year"], record["persons"], record["sensitive_persons"])
                for record in self._records["ledger"]
            ),
            exports=tuple(_day(key, sums) for key, sums in sorted(self._days.items(), key=lambda item: str(item[0]))),
            timeline=tuple(self._timeline_act(leaf, body) for leaf, body in self._acts),
            act_count=self._act_count,
            log=self._log,
            counts=Counts(**self.counts(), entries_waiting=0),
        )

    def _title(self) -> str:
        kinds = {"handler": ("handlers", "name"), "dataset": ("datasets", "key"), "transfer": ("transfers", "purpose")}
        of, name = kinds.get(self._pack.kind, ("transfers", "purpose"))
        record = next((record for record in self._records[of] if record["id"] == self._pack.subject), None)
        record = record or next(iter(self._records[of]), {})
        return str(record.get(name, self._pack.subject))

    def _actor(self, principal: str) -> Actor:
        actor = self._actors.get(principal, {"kind": "person", "name": None})
        return Actor(principal, actor["kind"], actor["name"])

    def _optional_actor(self, principal: str | None) -> Actor | None:
        return None if principal is None else self._actor(principal)

    def _others(self, record: Json, member: str, *holders: str) -> tuple[Actor, ...]:
        """Return the other persons who could have made an act, beside its actors on record."""
        actors = {record[name] for name in holders}
        return tuple(self._actor(person) for person in record[member] or () if person not in actors)

    def _grading(self, record: Json) -> ReportGrading:
        return ReportGrading(
            dataset=record["dataset"],
            number=record["number"],
            tags=tuple(record["tags"]),
            basis=record["basis"],
            state=record["state"],
            graded_by=self._actor(record["graded_by"]),
            confirmed_by=self._optional_actor(record["confirmed_by"]),
            graded_at=_parse_instant(record["graded_at"]),
            effective_at=_parse_optional_instant(record["effective_at"]),
            ended_at=_parse_optional_instant(record["ended_at"]),
            graded_seen_by=self._others(record, "graded_persons", "graded_by"),
            confirmed_seen_by=self._others(record, "confirmed_persons", "confirmed_by"),
        )

    def _transfer(self, record: Json) -> ReportTransfer:
        permit = self._permits.get(record["id"])
        return ReportTransfer(
            id=record["id"],
            status=record["status"],
            purpose=record["purpose"],
            datasets=tuple(record["datasets"]),
            recipient=record["recipient"],
            requester=self._actor(record["requester"]),
            created_at=_parse_instant(record["created_at"]),
            revisions=tuple(self._revision(revision) for revision in self._of["revisions"][record["id"]]),
            evidence=tuple(self._evidence(item) for item in self._of["evidence"][record["id"]]),
            permit=None if permit is None else self._permit(permit),
        )

    def _revision(self, record: Json) -> ReportRevision:
        content = record["content"]
        return ReportRevision(
            number=record["number"],
            hash=record["hash"],
            submitted_at=_parse_instant(record["submitted_at"]),
            submitted_by=self._actor(record["submitted_by"]),
            request=content["request"],
            datasets=tuple(content["datasets"]),
            recipient=content["recipient"],
            determination=record["determination"],
            persons_before=record["ledger"]["persons"],
            sensitive_persons_before=record["ledger"]["sensitive_persons"],
            stages=tuple((stage["name"], stage["status"]) for stage in record["stages"]),
            reviews=tuple(
                self._review(review)
                for review in self._of["reviews"][record["transfer"]]
                if review["revision"] == record["number"]
            ),
        )

    def _review(self, record: Json) -> ReportReview:
        return ReportReview(
            id=record["id"],
            stage=record["stage"],
            decision=record["decision"],
            reviewer=self._actor(record["reviewer"]),
            on_behalf_of=self._optional_actor(record["on_behalf_of"]),
            hash=record["hash"],
            conditions=record["conditions"],
            at=_parse_instant(record["at"]),
            carried_from=record["carried_from"],
            taken_back_at=_parse_optional_instant(record["taken_back_at"]),
            seen_by=self._others(record, "persons", "reviewer", "on_behalf_of"),
        )

    def _evidence(self, record: Json) -> ReportEvidence:
        return ReportEvidence(
            id=record["id"],
            kind=record["kind"],
            reference=record["reference"],
            issuer=record["issuer"],
            issued_on=date.fromisoformat(record["issued_on"]),
            valid_until=None if record["valid_until"] is None else date.fromisoformat(record["valid_until"]),
            member=record["member"],
            sha256=record["sha256"],
            size=record["size"],
            media_type=record["media_type"],
            added_at=_parse_instant(record["added_at"]),
            verified_by=self._optional_actor(record["verified_by"]),
            verified_at=_parse_optional_instant(record["verified_at"]),
            ended_at=_parse_optional_instant(record["ended_at"]),
            replaced_by=record["replaced_by"],
            verified_seen_by=self._others(record, "verified_persons", "verified_by"),
        )

    def _permit(self, record: Json) -> ReportPermit:
        return ReportPermit(
            id=record["id"],
            transfer=record["transfer"],
            revision=record["revision"],
            status=record["status"],
            datasets=tuple(dataset["id"] for dataset in record["datasets"]),
            recipient=record["recipient"],
            purpose=record["purpose"],
            fields=None if record["fields"] is None else tuple(record["fields"]),
            systems=None if record["systems"] is None else tuple(record["systems"]),
            persons=record["persons"],
            sensitive_persons=record["sensitive_persons"],
            sent_persons=record["sent"]["persons"],
            sent_sensitive_persons=record["sent"]["sensitive_persons"],
            valid_from=date.fromisoformat(record["valid_from"]),
            valid_until=date.fromisoformat(record["valid_until"]),
            mechanism=record["mechanism"],
            route=record["route"],
            evidence=tuple(record["evidence"]),
            issued_at=_parse_instant(record["issued_at"]),
            supersedes=record["supersedes"],
            superseded_by=record["superseded_by"],
            exports=self._under[record["id"]],
        )

    def _timeline_act(self, leaf: int, body: Json) -> TimelineAct:
        details = body["details"]
        revision = details.get("revision")
        return TimelineAct(
            at=_parse_instant(body["at"]),
            action=body["action"],
            subject=body["subject"],
            actor=self._actor(body["actor"]),
            leaf=leaf,
            stage=details.get("stage"),
            decision=details.get("decision"),
            revision=revision if isinstance(revision, int) else None,
        )


def _dataset(record: Json) -> ReportDataset:
    return ReportDataset(
        id=record["id"],
        key=record["key"],
        title=record["title"],
        tags=None if record["tags"] is None else tuple(record["tags"]),
        grading=record["grading"],
        fields=tuple(str(field["name"]) for field in record["fields"]),
        facts=record["facts"],
    )


def _day(key: tuple[date, str | None, str, str], sums: Counter[str]) -> ExportsOfDay:
    return ExportsOfDay(
        *key,
        exports=sums["exports"],
        completed=sums["completed"],
        refused=sums["refused"],
        persons=sums["persons"],
        sensitive_persons=sums["sensitive_persons"],
    )


def _parse_instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _parse_optional_instant(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
