"""Completes exports: counts the persons that were sent, as numbers or by hash, to the year and the permit.

1. Lock the rows of the year, the export and the permit, in the order of a reservation; then read the clock.
2. Count all persons sent, in the year of the reservation: in time or late, more than reserved or not.
3. Add numbers. Unite persons by hash with those of the year and the permit, which grow by the new ones.
4. Store the export's own sketch, so that both can be recounted from the exports alone.
5. Suspend a permit that is above its quota, and raise a finding.

A count above the reservation can turn an allow into a deny, so it needs the gate closed: the work is rolled back and repeated with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from msgspec import structs

from service.access.caller import Caller
from service.audit import operations as audit
from service.audit.actions import AuditAction
from service.database.session import Transaction
from service.exports.operations import lock_export, present, status_of
from service.exports.schemas import ExportOut
from service.gate.decide import contradicted
from service.law.facts import Count, Tag
from service.law.schemas import OriginFactsIn
from service.ledger import operations as ledger
from service.ledger.counting import KINDS, NOBODY, Kind, Report, Tally
from service.ledger.tables import Export
from service.permits import operations as permits
from service.permits.tables import Permit
from service.registry import contradictions
from service.registry.outdated_fields import fields_of
from service.registry.tables import Dataset
from service.transfers import structuring_findings
from service.validation.problems import Conflict

Way = Literal["number", "hashes", "sketch"]


class ReportedOtherwise(Conflict):
    """An export that was reported before, with other numbers."""

    slug, title = "reported-otherwise", "This export was reported with other numbers"


class GateNeededError(Exception):
    """Count that may turn an allow into a deny: repeat it with the gate closed."""


@dataclass(frozen=True, slots=True)
class KindReport:
    """Report of one kind of persons, with its form and its place in the request."""

    report: Report
    way: Way
    pointer: str


Completion = dict[Kind, KindReport]


def completion_by_number(sent: Count) -> Completion:
    """Return a completion with both kinds as numbers."""
    return {kind: KindReport(Report(number=getattr(sent, kind)), "number", f"/{kind}") for kind in KINDS}


@dataclass(frozen=True, slots=True)
class Counting:
    """One report that is about to be counted."""

    tx: Transaction
    caller: Caller
    export: Export
    permit: Permit | None
    completion: Completion
    is_gate_closed: bool

    def require_gate(self) -> None:
        """Require that the gate is closed.

        Raises:
            GateNeededError: it is not.
        """
        if not self.is_gate_closed:
            raise GateNeededError


async def complete(
    tx: Transaction, caller: Caller, export_id: str, completion: Completion, *, is_gate_closed: bool = False
) -> ExportOut | ReportedOtherwise:
    """Count the persons that were sent, and release the rest of the reservation.

    A repeat changes nothing. Other numbers than those of the first report are refused; persons beyond them are counted all the same, and
    the refusal is returned, not raised.

    Raises:
        GateNeededError: the gate must be closed first.

    Example:
        sent = completion_by_number(Count(persons=120, sensitive_persons=0))
        export = await complete(tx, caller, "ex_…", sent, is_gate_closed=True)
    """
    export = await lock_export(tx, caller, export_id)
    permit = None
    if export.permit is not None:
        permit = await tx.get_one(Permit, export.permit, with_for_update=True, populate_existing=True)
    counting = Counting(tx, caller, export, permit, completion, is_gate_closed)
    if status_of(export, tx) == "completed":
        return await _count_repeat(counting)
    return await _count_first(counting)


async def _count_first(counting: Counting) -> ExportOut:
    """Count the first report of an export, late or not."""
    tx, export, completion = counting.tx, counting.export, counting.completion
    was = status_of(export, tx)
    is_late = was != "reserved"
    if is_late or await _exceeds_reservation(tx, export, completion):
        counting.require_gate()
    if export.status == "reserved":
        await ledger.release_reservation(tx, export)
    reports = {kind: completion[kind].report for kind in KINDS}
    sent = Count(**{kind: reports[kind].sent(getattr(export, kind)) for kind in KINDS})
    await _add_reports(counting, reports)
    action, late = AuditAction.EXPORT_COMPLETED, dict[str, Any]()
    if is_late:
        action, late = AuditAction.EXPORT_REPORTED_LATE, {"was": was, "more": structs.asdict(sent)}
    return await _record_report(counting, action, sent, late)


async def _count_repeat(counting: Counting) -> ExportOut | ReportedOtherwise:
    """Answer a repeated report: the same one changes nothing, and further persons are counted."""
    tx, export, completion = counting.tx, counting.export, counting.completion
    before = Count(export.sent_persons or 0, export.sent_sensitive_persons or 0)
    tallies = {kind: await ledger.load_export_tally(tx, export, kind) for kind in KINDS}
    more = {kind: tallies[kind].more(completion[kind].report) for kind in KINDS}
    if all(more[kind] == NOTHING_MORE for kind in KINDS):
        stated = Count(**{kind: completion[kind].report.sent(getattr(before, kind)) for kind in KINDS})
        if stated == before:
            return present(export, tx)
        return _reported_otherwise(export, before, "It tells fewer persons, so the first report stands.")
    counting.require_gate()
    sketches = {kind: tallies[kind].plus(completion[kind].report) for kind in KINDS if more[kind].sketch != NOBODY}
    sent = Count(
        **{kind: _total_sent(sketches.get(kind, tallies[kind]), more[kind], getattr(before, kind)) for kind in KINDS}
    )
    await _add_reports(counting, more, sketches)
    grown = Count(sent.persons - before.persons, sent.sensitive_persons - before.sensitive_persons)
    await _record_report(
        counting, AuditAction.EXPORT_REPORTED_LATE, sent, {"was": "completed", "more": structs.asdict(grown)}
    )
    return _reported_otherwise(
        export, before, "Whoever went beyond it is on record now and counted: the export says how many.", sent
    )


NOTHING_MORE: Final = Report()


def _total_sent(tally: Tally, more: Report, before: int) -> int:
    return before if more == NOTHING_MORE else tally.plain + tally.estimate + more.number


def _reported_otherwise(
    export: Export, before: Count, explanation: str, sent: Count | None = None
) -> ReportedOtherwise:
    return ReportedOtherwise(
        f"The export {export.id} was reported as sent before, with {before.persons} persons and {before.sensitive_persons} "
        f"whose sensitive information went. {explanation}",
        export=export.id,
        state="completed",
        counted=sent is not None,
        sent=structs.asdict(sent or before),
    )


async def _record_report(counting: Counting, action: AuditAction, sent: Count, late: Mapping[str, Any]) -> ExportOut:
    """Record the report of an export, and compare its permit with the quota."""
    tx, export = counting.tx, counting.export
    export.status, export.ended_at = "completed", tx.now
    export.late = export.late or bool(late)
    export.sent_persons, export.sent_sensitive_persons = sent.persons, sent.sensitive_persons
    ways = {kind: counting.completion[kind].way for kind in KINDS}
    details = {"sent": structs.asdict(sent), "permit": export.permit, "told_by": ways, **late}
    audit.append(tx, counting.caller, action, export.id, handler=export.handler, details=details)
    await _record_contradiction(tx, counting.caller, export, sent)
    await tx.flush()
    await _suspend_above_quota(counting)
    return present(export, tx)


async def _record_contradiction(tx: Transaction, caller: Caller, export: Export, sent: Count) -> None:
    """Record a report that contradicts the tags of the dataset: the data was sent, so the registrar gets a finding."""
    dataset = await tx.get_one(Dataset, export.dataset)
    if dataset.tags is None:
        return
    facts = OriginFactsIn.model_validate(dataset.facts).dataset(frozenset(map(Tag, dataset.tags)))
    kind = contradicted(facts, fields_of(dataset), export.fields, sent if sent != Count() else None)
    if kind is not None:
        stated = structs.asdict(sent) | {"kind": kind, "principal": caller.principal, "subject": export.id}
        await contradictions.record(tx, dataset, **stated)


async def _exceeds_reservation(tx: Transaction, export: Export, completion: Completion) -> bool:
    """Return True if more persons were sent than reserved, or others than announced, so that a total grows by more than its reservation.

    Announced persons never do: those reported since are no longer new.
    """
    if any(completion[kind].report.exceeds(getattr(export, kind)) for kind in KINDS):
        return True
    owners: list[tuple[str, Count]] = []
    if export.permit is not None:
        owners.append((export.permit, export.reserved_of_permit))
    if export.counts:
        owners.append((ledger.year_of(export.handler, export.year), export.reserved_in_year))
    for owner, reserved in owners:
        for kind in KINDS:
            report, remaining = completion[kind].report, getattr(reserved, kind)
            if report.exceeds(remaining) and (await ledger.load_tally(tx, owner, kind)).surely_new(report) > remaining:
                return True
    return False


async def _suspend_above_quota(counting: Counting) -> None:
    """Suspend a permit that is above its quota, and raise a finding.

    Estimated persons count at their lower bound, so that no estimation error suspends a permit.
    """
    tx, permit = counting.tx, counting.permit
    if permit is None:
        return
    above: dict[Kind, int] = {}
    for kind in KINDS:
        quota = getattr(permit, kind)
        if getattr(permit, f"sent_{kind}") > quota:
            tally = await ledger.load_tally(tx, permit.id, kind, getattr(permit, f"plain_{kind}"))
            if tally.plain + tally.lower > quota:
                above[kind] = tally.plain + tally.lower
    if above:
        counting.require_gate()
        await permits.suspend_above_quota(tx, counting.caller, permit, counting.export.id, above)
        await structuring_findings.raise_above_quota(tx, counting.caller, permit, above)


async def _add_reports(
    counting: Counting, reports: Mapping[Kind, Report], sketches: Mapping[Kind, Tally] | None = None
) -> None:
    """Add reports to the totals of year and permit, and store the export's own sketches.

    Args:
        counting: the report.
        reports: the reports to add.
        sketches: the export's persons by hash from now on; by default those of the reports.
    """
    tx, export, permit = counting.tx, counting.export, counting.permit
    persons, sensitive = reports["persons"], reports["sensitive_persons"]
    if export.counts:
        await ledger.add_report(tx, export.handler, export.year, persons, sensitive)
    if permit is not None:
        permit.sent_persons += await ledger.add_by_hash(tx, permit.id, "persons", persons)
        permit.sent_sensitive_persons += await ledger.add_by_hash(tx, permit.id, "sensitive_persons", sensitive)
        permit.plain_persons += persons.number
        permit.plain_sensitive_persons += sensitive.number
    if sketches is None:
        sketches = {kind: Tally().plus(reports[kind]) for kind in KINDS if reports[kind].sketch != NOBODY}
    for kind, tally in sketches.items():
        await ledger.store_tally(tx, export.id, kind, tally)
