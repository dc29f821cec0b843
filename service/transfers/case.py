"""Builds the case of a transfer from the register as it is now, hashes its content, and determines it by law."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from sqlalchemy import select

from service.audit.operations import canonical
from service.clock import day_in_shanghai
from service.database.session import Transaction
from service.law.determination import Determination, determine
from service.law.explanation import render_determination
from service.law.facts import (
    Count,
    Facts,
    Ledger,
    LegalBasis,
    Method,
    Necessity,
    Route,
    Tag,
    TransferFacts,
    find_faults,
    merge_datasets,
)
from service.law.rule_book import RuleBook
from service.law.schemas import HandlerFactsIn, OriginFactsIn, RecipientFactsIn
from service.ledger import operations as ledger
from service.registry.outdated_fields import fields_of
from service.registry.tables import Dataset, Handler, Recipient
from service.transfers.tables import Transfer
from service.validation.problems import Invalid

_REQUEST_MEMBERS = (
    "purpose",
    "description",
    "fields",
    "systems",
    "persons",
    "sensitive_persons",
    "method",
    "necessity",
    "legal_basis",
    "route",
    "valid_from",
    "valid_until",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A transfer with the rows of the register that it names, as this transaction reads them."""

    transfer: Transfer
    handler: Handler
    datasets: Sequence[Dataset]
    recipient: Recipient
    count: Count

    @property
    def content(self) -> dict[str, Any]:
        """The content that a reviewer decides on: the request, and the facts of the register that the law considers."""
        return {
            "request": {name: getattr(self.transfer, name) for name in _REQUEST_MEMBERS} | self._optional_statements(),
            "handler": {
                "id": self.handler.id,
                "name": self.handler.name,
                "uscc": self.handler.uscc,
                "facts": self.handler.facts,
            },
            "datasets": [
                {"id": d.id, "key": d.key, "title": d.title, "tags": d.tags, "fields": d.fields, "facts": d.facts}
                for d in self.datasets
            ],
            "recipient": {
                "id": self.recipient.id,
                "name": self.recipient.name,
                "country": self.recipient.country,
                "kind": self.recipient.kind,
                "facts": self.recipient.facts,
            },
        }

    def _optional_statements(self) -> dict[str, Any]:
        """Return the optional statements of a request."""
        # A statement that was not made is left out, so that hashes of revisions from before it existed stay valid.
        return {"sensitive_left_out": True} if self.transfer.sensitive_left_out else {}

    @property
    def recipient_facts(self) -> dict[str, Any]:
        """Facts of the recipient that the law considers."""
        return self.recipient.facts | {"country": self.recipient.country, "kind": self.recipient.kind}

    @property
    def hash(self) -> str:
        """`sha256:` over the canonical JSON of the content."""
        return _hash_of(self.content)

    def is_still(self, then: dict[str, Any], hash_of_then: str) -> bool:
        """True if the content equals that of a submitted revision.

        Older revisions hold fewer names; they are compared by the names that they hold.
        """
        return _hash_of(drop_names_not_in(self.content, then)) == hash_of_then


NAME_MEMBERS: Final = {"handler": ("name", "uscc"), "datasets": ("title",), "recipient": ("name",)}
"""Names in the content of a revision; revisions submitted before names were approved lack them."""


def drop_names_not_in(now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Return the current content without the names that the earlier content does not hold."""
    return now | {
        part: [_drop_names(member, then[part], names) for member in now[part]]
        if isinstance(now[part], list)
        else _drop_names(now[part], [then[part]], names)
        for part, names in NAME_MEMBERS.items()
    }


def _drop_names(now: dict[str, Any], then: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    said = {name for member in then for name in member}
    return {name: value for name, value in now.items() if name in said or name not in names}


def _hash_of(content: dict[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(canonical(content)).hexdigest()}"


@dataclass(frozen=True, slots=True)
class CaseDetermination:
    """The determination of a case on a day, with its facts and the document that the API returns."""

    facts: Facts
    determination: Determination
    document: dict[str, Any]


async def case_of(tx: Transaction, transfer: Transfer) -> Case:
    """Read the rows that a decision on a transfer depends on."""
    datasets = (await tx.scalars(select(Dataset).where(Dataset.id.in_(transfer.datasets)).order_by(Dataset.id))).all()
    handler = await tx.get_one(Handler, transfer.handler)
    recipient = await tx.get_one(Recipient, transfer.recipient)
    count = await ledger.total(tx, transfer.handler, day_in_shanghai(tx.now).year)
    return Case(transfer, handler, datasets, recipient, count)


def facts_of(case: Case, today: date) -> Facts:
    """Return the facts of a case from which the law is determined on a day.

    Raises:
        Invalid: an ungraded dataset, or facts that contradict each other; each field is named as in the transfer's body.
    """
    ungraded = [place for place, dataset in enumerate(_in_order(case)) if dataset.tags is None]
    if ungraded:
        raise Invalid(
            "Some datasets have no grading. Have them graded, then submit again.",
            errors=[(f"/datasets/{place}", "This dataset has no grading.") for place in ungraded],
        )
    facts = _facts(case, today)
    wrong = [(fault.pointer.removeprefix("/transfer"), fault.detail) for fault in find_faults(facts)]
    wrong += _field_faults(case)
    if wrong:
        raise Invalid("The request contradicts the register.", errors=wrong)
    return facts


def _field_faults(case: Case) -> Iterator[tuple[str, str]]:
    """Compare the requested fields with those that the gradings of the datasets cover."""
    requested = case.transfer.fields
    is_left_out = case.transfer.sensitive_left_out
    if is_left_out and requested is None:
        yield "/fields", "Name the fields that are to go: all of them are not without the sensitive ones."
    for place, dataset in enumerate(_in_order(case)):
        graded = fields_of(dataset)
        going = [name for name in graded.names if requested is None or name in requested]
        outdated = [name for name in going if name in graded.outdated]
        if outdated:
            yield f"/datasets/{place}", f"No grading has looked at {', '.join(outdated[:10])}: have it graded again."
        sensitive = [name for name in going if name not in graded.plain and name not in graded.outdated]
        if is_left_out and requested is not None and sensitive and Tag.SENSITIVE in (dataset.tags or ()):
            yield "/fields", f"Sensitive by the grading of dataset {place + 1}: {', '.join(sensitive[:10])}."


def determine_case(case: Case, today: date, book: RuleBook) -> CaseDetermination:
    """Determine the mechanism, evidence and obligations of a case on a day.

    Raises:
        Invalid: an ungraded dataset, or facts that contradict each other; each field is named as in the transfer's body.
    """
    facts = facts_of(case, today)
    determination = determine(facts, book, route_of(case))
    return CaseDetermination(facts, determination, render_determination(facts, determination, book))


def require_route(case: Case, legal: CaseDetermination) -> None:
    """Refuse a route that the determination does not offer.

    Raises:
        Invalid: naming the routes that are offered.
    """
    offered = [route for requirement in legal.determination.requirements for route in requirement.routes]
    if route_of(case) not in {None, *offered}:
        advice = f"Choose one of: {', '.join(offered)}." if offered else "No route is needed: leave it out."
        raise Invalid("The chosen route does not meet what the law asks for.", errors=[("/route", advice)])


def route_of(case: Case) -> Route | None:
    """Return the route that the requester chose; None: the first one offered."""
    return None if case.transfer.route is None else Route(case.transfer.route)


def _in_order(case: Case) -> list[Dataset]:
    by_id = {dataset.id: dataset for dataset in case.datasets}
    return [by_id[dataset] for dataset in case.transfer.datasets]


def _facts(case: Case, today: date) -> Facts:
    transfer = case.transfer
    return Facts(
        as_of=today,
        handler=HandlerFactsIn.model_validate(case.handler.facts).facts(),
        dataset=merge_datasets(
            [
                OriginFactsIn.model_validate(dataset.facts).dataset(frozenset(Tag(tag) for tag in dataset.tags or ()))
                for dataset in case.datasets
            ]
        ),
        recipient=RecipientFactsIn.model_validate(case.recipient_facts).facts(case.recipient.key, case.recipient.name),
        transfer=TransferFacts(
            method=Method(transfer.method),
            necessity=None if transfer.necessity is None else Necessity(transfer.necessity),
            legal_basis=LegalBasis(transfer.legal_basis),
            persons=transfer.persons,
            sensitive_persons=transfer.sensitive_persons,
            sensitive_left_out=bool(transfer.sensitive_left_out),
        ),
        ledger=Ledger(this_year=case.count),
    )
