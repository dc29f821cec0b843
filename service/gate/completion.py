"""The end of an export: what really went, as a number or by hash, and what the year and the permit hold from then on.

1. The year's row and the export's are held, in the order in which a reservation holds them.
2. More than was reserved is refused, and so are others than were announced, as far as they are certainly more than what is held;
   so is a report after the lease, which is recorded.
3. A number is added; persons by hash are united with those of the year and of the permit, which grow by whoever is new.
4. The export keeps its own sketch, so that both can be counted again from the exports alone.
"""

from dataclasses import dataclass
from typing import Final, Literal

from msgspec import structs

from service.audit import operations as audit
from service.database import Transaction
from service.gate.decide import contradicted
from service.gate.operations import demand_reserved, held_export, shown, status_of
from service.gate.schemas import ExportOut
from service.http.caller import Caller
from service.http.problems import Conflict, Invalid
from service.law.facts import Count, Tag
from service.law.schemas import OriginFactsIn
from service.ledger import operations as ledger
from service.ledger.counting import KINDS, NOBODY, Kind, Report, Tally
from service.ledger.tables import Export
from service.permits.tables import Permit
from service.registry import contradictions
from service.registry.looking import fields_of
from service.registry.tables import Dataset

Way = Literal["number", "hashes", "sketch"]


class ExportLapsed(Conflict):
    """The report came after the reservation had lapsed; it is on record."""

    slug, title = "export-lapsed", "The reservation has lapsed"


@dataclass(frozen=True, slots=True)
class Told:
    """What a caller tells of one kind, in which way, and where in the request it stands."""

    report: Report
    way: Way
    pointer: str


Completion = dict[Kind, Told]


def by_number(sent: Count) -> Completion:
    """Return a completion that tells both kinds as numbers."""
    return {kind: Told(Report(number=getattr(sent, kind)), "number", f"/{kind}") for kind in KINDS}


async def complete(tx: Transaction, caller: Caller, export_id: str, completion: Completion) -> ExportOut | ExportLapsed:
    """Report what really went; what was reserved and did not go is given back.

    A report that comes after the reservation lapsed is refused, and recorded: the refusal is returned, not raised.

    Raises:
        Invalid: more persons than were reserved, or others than were announced.
        Conflict: completed or cancelled already.
    """
    export = await held_export(tx, caller, export_id)
    _demand_no_more(export, completion)
    sent = Count(**{kind: completion[kind].report.sent(getattr(export, kind)) for kind in KINDS})
    if status_of(export, tx) == "lapsed":
        details = {"reported": structs.asdict(sent), "expired_at": export.expires_at}
        audit.append(tx, caller, "export.reported_late", export.id, handler=export.handler, details=details)
        return ExportLapsed(
            f"The reservation lapsed at {audit.plain(export.expires_at)} and its persons were given back. Your report is on "
            "record; reserve a new export for what was sent, and tell the reviewers if that is refused."
        )
    demand_reserved(export, tx)
    permit = None
    if export.permit is not None:
        permit = await tx.get_one(Permit, export.permit, with_for_update=True, populate_existing=True)
    await _demand_announced(tx, export, completion)
    await ledger.release(tx, export)
    await _count(tx, export, permit, completion)
    export.status, export.ended_at = "completed", tx.now
    export.sent_persons, export.sent_sensitive_persons = sent.persons, sent.sensitive_persons
    ways = {kind: completion[kind].way for kind in KINDS}
    details = {"sent": structs.asdict(sent), "permit": export.permit, "told_by": ways}
    audit.append(tx, caller, "export.completed", export.id, handler=export.handler, details=details)
    await _look_at_tags(tx, caller, export, sent)
    await tx.flush()
    return shown(export, tx)


async def _look_at_tags(tx: Transaction, caller: Caller, export: Export, sent: Count) -> None:
    """Keep what a report says against the tags of the dataset: it went all the same, so that it is recorded, and found."""
    dataset = await tx.get_one(Dataset, export.dataset)
    if dataset.tags is None:
        return
    facts = OriginFactsIn.model_validate(dataset.facts).dataset(frozenset(map(Tag, dataset.tags)))
    kind = contradicted(facts, fields_of(dataset), export.fields, sent if sent != Count() else None)
    if kind is not None:
        stated = structs.asdict(sent) | {"kind": kind, "principal": caller.principal, "subject": export.id}
        await contradictions.record(tx, dataset, **stated)


def _demand_no_more(export: Export, completion: Completion) -> None:
    errors = [
        (
            completion[kind].pointer,
            f"At most {getattr(export, kind)} {kind} were reserved; what went beyond them needs an export of its own.",
        )
        for kind in KINDS
        if completion[kind].report.exceeds(getattr(export, kind))
    ]
    if errors:
        raise Invalid("More is reported than was reserved.", errors=errors)


async def _demand_announced(tx: Transaction, export: Export, completion: Completion) -> None:
    """Refuse persons who would make a total grow by certainly more than the export holds of it: others than were announced.

    Those who were announced never do: whoever has been reported since is not new any more.
    """
    owners: list[tuple[str, str, Count]] = []
    if export.permit is not None:
        owners.append(("the permit", export.permit, export.held_of_permit))
    if export.counts:
        owners.append(("the year", ledger.year_of(export.handler, export.year), export.held_in_year))
    errors: list[tuple[str, str]] = []
    for name, owner, held in owners:
        for kind in KINDS:
            told, room = completion[kind], getattr(held, kind)
            if not told.report.exceeds(room):
                continue
            new = (await ledger.tally(tx, owner, kind)).surely_new(told.report)
            if new > room:
                found = f"At least {new} {kind} are new to {name}, where room for {room} is held. "
                by_number = "A number is new in full: tell who went by hash, as they were announced."
                errors.append((told.pointer, found + (by_number if told.report.number else _ANNOUNCE)))
    if errors:
        raise Invalid("Others are reported than were announced.", errors=errors)


_ANNOUNCE: Final = "Announce who went in an export of their own, and complete that one."


async def _count(tx: Transaction, export: Export, permit: Permit | None, completion: Completion) -> None:
    """Add a report to everything that counts it, and keep the export's own sketches."""
    persons, sensitive = completion["persons"].report, completion["sensitive_persons"].report
    if export.counts:
        await ledger.add(tx, export.handler, export.year, persons, sensitive)
    if permit is not None:
        permit.sent_persons += await ledger.gain(tx, permit.id, "persons", persons)
        permit.sent_sensitive_persons += await ledger.gain(tx, permit.id, "sensitive_persons", sensitive)
        permit.plain_persons += persons.number
        permit.plain_sensitive_persons += sensitive.number
    for kind in KINDS:
        report = completion[kind].report
        if report.sketch != NOBODY:
            await ledger.keep(tx, export.id, kind, Tally().plus(report))
