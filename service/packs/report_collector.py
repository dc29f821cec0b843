"""Collects the data of a pack's report while its records and entries are written; exports are only added up."""

from collections import Counter, defaultdict, deque
from datetime import date, datetime
from typing import Any, Final

from service.audit.tlog import signed_note
from service.clock import day_in_shanghai
from service.packs.report_data import (
    Actor,
    Counts,
    DatasetShown,
    EvidenceShown,
    ExportsOfDay,
    GradingShown,
    HandlerShown,
    Happening,
    LedgerShown,
    LogShown,
    PermitShown,
    RecipientShown,
    ReviewShown,
    RevisionShown,
    Story,
    TransferShown,
)
from service.packs.scope import Extent
from service.packs.tables import EvidencePack

Json = dict[str, Any]

TOLD_TRANSFERS: Final = 200
"""Requests that a report tells in full; of a larger pack the newest. All of them are in its records."""
TOLD_ACTS: Final = 2000
TOLD_THINGS: Final = 500
"""Datasets, gradings and recipients that a report names."""

_OF_TRANSFER: Final = ("revisions", "reviews", "evidence")
_QUIET: Final = ("export.", "gate.", "evidence_pack.")
"""Acts that are no step of the story: exports are added up, and looking is not telling."""


class Telling:
    """Takes records and entries, one after the other, and gives the story."""

    def __init__(self, pack: EvidencePack, extent: Extent, version: str, moment: datetime) -> None:
        self._pack, self._version, self._moment = pack, version, moment
        self._told = set(extent.transfers[-TOLD_TRANSFERS:])
        self._records: defaultdict[str, deque[Json]] = defaultdict(lambda: deque(maxlen=TOLD_THINGS))
        self._of: dict[str, defaultdict[str, list[Json]]] = {kind: defaultdict(list) for kind in _OF_TRANSFER}
        self._permits: dict[str, Json] = {}
        self._actors: dict[str, Json] = {}
        self._counts: Counter[str] = Counter()
        self._acts: deque[tuple[int, Json]] = deque(maxlen=TOLD_ACTS)
        self._happenings = 0
        self._days: defaultdict[tuple[date, str | None, str, str], Counter[str]] = defaultdict(Counter)
        self._under: Counter[str] = Counter()
        self._log: LogShown | None = None

    def take(self, kind: str, record: Json) -> None:
        """Take a record of a kind."""
        self._counts[kind] += 1
        if kind == "exports":
            self._export(record)
        elif kind == "actors":
            self._actors[record["id"]] = record
        elif kind in _OF_TRANSFER:
            if record["transfer"] in self._told:
                self._of[kind][record["transfer"]].append(record)
        elif kind == "permits":
            if record["transfer"] in self._told:
                self._permits[record["transfer"]] = record
        elif kind != "transfers" or record["id"] in self._told:
            self._records[kind].append(record)

    def take_entry(self, leaf: int, body: Json) -> None:
        """Take an entry whose text is in the pack."""
        action, details = body["action"], body["details"]
        if action == "export.refused":
            day = day_in_shanghai(datetime.fromisoformat(body["at"]))
            self._days[day, details["permit"], details["dataset"] or "", details["recipient"] or ""]["refused"] += 1
            self._counts["refused"] += 1
        if not action.startswith(_QUIET):
            self._happenings += 1
            self._acts.append((leaf, body))

    def _export(self, record: Json) -> None:
        day = day_in_shanghai(datetime.fromisoformat(record["reserved_at"]))
        found = self._days[day, record["permit"], record["dataset"], record["recipient"]]
        found["exports"] += 1
        if record["permit"] is not None:
            self._under[record["permit"]] += 1
        if record["sent"] is not None:
            found.update({"completed": 1, **record["sent"]})

    def prove(self, note: str, vkeys: list[str]) -> None:
        """Take the checkpoint."""
        text, signatures = signed_note.parts_of(note)
        checkpoint = signed_note.Checkpoint.of(text)
        root = text.split("\n")[2]
        self._log = LogShown(
            origin=checkpoint.origin,
            size=checkpoint.size,
            root=root,
            at=checkpoint.time or self._moment,
            note=note,
            vkeys=tuple(vkeys),
            witnesses=tuple(sorted({one.name for one in signatures} - {checkpoint.origin})),
        )

    def count_entries(self, entries: int, withheld: int) -> None:
        """Take how many entries there are, and of how many only the hash."""
        self._counts.update({"entries": entries, "entries_withheld": withheld})

    def counts(self) -> Json:
        """Return how many of each are in the pack."""
        names = ("datasets", "transfers", "revisions", "reviews", "evidence", "permits", "exports", "refused")
        return {name: self._counts[name] for name in (*names, "entries", "entries_withheld")}

    def story(self) -> Story:
        """Return the story of everything that was taken."""
        pack = self._pack
        handler = self._records["handlers"][0]
        return Story(
            pack=pack.id,
            kind=pack.kind,
            subject=pack.subject,
            title=self._title(),
            since=pack.since,
            until=pack.until,
            made_at=self._moment,
            version=self._version,
            handler=HandlerShown(handler["id"], handler["key"], handler["name"], handler["uscc"], handler["facts"]),
            datasets=tuple(_dataset(one) for one in self._records["datasets"]),
            gradings=tuple(self._grading(one) for one in self._records["gradings"]),
            recipients=tuple(
                RecipientShown(**{name: one[name] for name in ("id", "key", "name", "country", "kind", "facts")})
                for one in self._records["recipients"]
            ),
            transfers=tuple(self._transfer(one) for one in self._records["transfers"]),
            ledger=tuple(
                LedgerShown(one["year"], one["persons"], one["sensitive_persons"]) for one in self._records["ledger"]
            ),
            exports=tuple(_day(key, found) for key, found in sorted(self._days.items(), key=lambda item: str(item[0]))),
            timeline=tuple(self._happening(leaf, body) for leaf, body in self._acts),
            happenings=self._happenings,
            log=self._log,
            counts=Counts(**self.counts(), entries_waiting=0),
        )

    def _title(self) -> str:
        kinds = {"handler": ("handlers", "name"), "dataset": ("datasets", "key"), "transfer": ("transfers", "purpose")}
        of, name = kinds.get(self._pack.kind, ("transfers", "purpose"))
        found = next((one for one in self._records[of] if one["id"] == self._pack.subject), None)
        found = found or next(iter(self._records[of]), {})
        return str(found.get(name, self._pack.subject))

    def _actor(self, principal: str) -> Actor:
        known = self._actors.get(principal, {"kind": "person", "name": None})
        return Actor(principal, known["kind"], known["name"])

    def _maybe(self, principal: str | None) -> Actor | None:
        return None if principal is None else self._actor(principal)

    def _others(self, one: Json, member: str, *holders: str) -> tuple[Actor, ...]:
        """Return who else could have made an act than those on record for it."""
        known = {one[name] for name in holders}
        return tuple(self._actor(person) for person in one[member] or () if person not in known)

    def _grading(self, one: Json) -> GradingShown:
        return GradingShown(
            dataset=one["dataset"],
            number=one["number"],
            tags=tuple(one["tags"]),
            basis=one["basis"],
            state=one["state"],
            graded_by=self._actor(one["graded_by"]),
            confirmed_by=self._maybe(one["confirmed_by"]),
            graded_at=_moment(one["graded_at"]),
            effective_at=_maybe_moment(one["effective_at"]),
            ended_at=_maybe_moment(one["ended_at"]),
            graded_seen_by=self._others(one, "graded_persons", "graded_by"),
            confirmed_seen_by=self._others(one, "confirmed_persons", "confirmed_by"),
        )

    def _transfer(self, one: Json) -> TransferShown:
        permit = self._permits.get(one["id"])
        return TransferShown(
            id=one["id"],
            status=one["status"],
            purpose=one["purpose"],
            datasets=tuple(one["datasets"]),
            recipient=one["recipient"],
            requester=self._actor(one["requester"]),
            created_at=_moment(one["created_at"]),
            revisions=tuple(self._revision(revision) for revision in self._of["revisions"][one["id"]]),
            evidence=tuple(self._evidence(paper) for paper in self._of["evidence"][one["id"]]),
            permit=None if permit is None else self._permit(permit),
        )

    def _revision(self, one: Json) -> RevisionShown:
        content = one["content"]
        return RevisionShown(
            number=one["number"],
            hash=one["hash"],
            submitted_at=_moment(one["submitted_at"]),
            submitted_by=self._actor(one["submitted_by"]),
            request=content["request"],
            datasets=tuple(content["datasets"]),
            recipient=content["recipient"],
            determination=one["determination"],
            persons_before=one["ledger"]["persons"],
            sensitive_persons_before=one["ledger"]["sensitive_persons"],
            stages=tuple((stage["name"], stage["status"]) for stage in one["stages"]),
            reviews=tuple(
                self._review(review)
                for review in self._of["reviews"][one["transfer"]]
                if review["revision"] == one["number"]
            ),
        )

    def _review(self, one: Json) -> ReviewShown:
        return ReviewShown(
            id=one["id"],
            stage=one["stage"],
            decision=one["decision"],
            reviewer=self._actor(one["reviewer"]),
            on_behalf_of=self._maybe(one["on_behalf_of"]),
            hash=one["hash"],
            conditions=one["conditions"],
            at=_moment(one["at"]),
            carried_from=one["carried_from"],
            taken_back_at=_maybe_moment(one["taken_back_at"]),
            seen_by=self._others(one, "persons", "reviewer", "on_behalf_of"),
        )

    def _evidence(self, one: Json) -> EvidenceShown:
        return EvidenceShown(
            id=one["id"],
            kind=one["kind"],
            reference=one["reference"],
            issuer=one["issuer"],
            issued_on=date.fromisoformat(one["issued_on"]),
            valid_until=None if one["valid_until"] is None else date.fromisoformat(one["valid_until"]),
            member=one["member"],
            sha256=one["sha256"],
            size=one["size"],
            media_type=one["media_type"],
            added_at=_moment(one["added_at"]),
            verified_by=self._maybe(one["verified_by"]),
            verified_at=_maybe_moment(one["verified_at"]),
            ended_at=_maybe_moment(one["ended_at"]),
            replaced_by=one["replaced_by"],
            verified_seen_by=self._others(one, "verified_persons", "verified_by"),
        )

    def _permit(self, one: Json) -> PermitShown:
        return PermitShown(
            id=one["id"],
            transfer=one["transfer"],
            revision=one["revision"],
            status=one["status"],
            datasets=tuple(dataset["id"] for dataset in one["datasets"]),
            recipient=one["recipient"],
            purpose=one["purpose"],
            fields=None if one["fields"] is None else tuple(one["fields"]),
            systems=None if one["systems"] is None else tuple(one["systems"]),
            persons=one["persons"],
            sensitive_persons=one["sensitive_persons"],
            sent_persons=one["sent"]["persons"],
            sent_sensitive_persons=one["sent"]["sensitive_persons"],
            valid_from=date.fromisoformat(one["valid_from"]),
            valid_until=date.fromisoformat(one["valid_until"]),
            mechanism=one["mechanism"],
            route=one["route"],
            evidence=tuple(one["evidence"]),
            issued_at=_moment(one["issued_at"]),
            supersedes=one["supersedes"],
            superseded_by=one["superseded_by"],
            exports=self._under[one["id"]],
        )

    def _happening(self, leaf: int, body: Json) -> Happening:
        details = body["details"]
        revision = details.get("revision")
        return Happening(
            at=_moment(body["at"]),
            action=body["action"],
            subject=body["subject"],
            actor=self._actor(body["actor"]),
            leaf=leaf,
            stage=details.get("stage"),
            decision=details.get("decision"),
            revision=revision if isinstance(revision, int) else None,
        )


def _dataset(one: Json) -> DatasetShown:
    return DatasetShown(
        id=one["id"],
        key=one["key"],
        title=one["title"],
        tags=None if one["tags"] is None else tuple(one["tags"]),
        grading=one["grading"],
        fields=tuple(str(field["name"]) for field in one["fields"]),
        facts=one["facts"],
    )


def _day(key: tuple[date, str | None, str, str], found: Counter[str]) -> ExportsOfDay:
    return ExportsOfDay(
        *key,
        exports=found["exports"],
        completed=found["completed"],
        refused=found["refused"],
        persons=found["persons"],
        sensitive_persons=found["sensitive_persons"],
    )


def _moment(told: str) -> datetime:
    return datetime.fromisoformat(told)


def _maybe_moment(told: str | None) -> datetime | None:
    return None if told is None else datetime.fromisoformat(told)
