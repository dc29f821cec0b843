"""A transfer's case as it is now: what it would be determined on, its content for the hash, and what the law says of it."""

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
from service.registry.looking import fields_of
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
    """A transfer with the register as it stands in this transaction."""

    transfer: Transfer
    handler: Handler
    datasets: Sequence[Dataset]
    recipient: Recipient
    count: Count

    @property
    def content(self) -> dict[str, Any]:
        """What a reviewer decides on: the request, and everything of the register that the law looks at."""
        return {
            "request": {name: getattr(self.transfer, name) for name in _REQUEST_MEMBERS} | self._stated(),
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

    def _stated(self) -> dict[str, Any]:
        """Return what a request may state beside; only where it does, so that the hash of others is what it has always been."""
        return {"sensitive_left_out": True} if self.transfer.sensitive_left_out else {}

    @property
    def recipient_facts(self) -> dict[str, Any]:
        """What the law looks at of the recipient."""
        return self.recipient.facts | {"country": self.recipient.country, "kind": self.recipient.kind}

    @property
    def hash(self) -> str:
        """`sha256:` over the canonical JSON of the content."""
        return _hash_of(self.content)

    def is_still(self, then: dict[str, Any], hash_of_then: str) -> bool:
        """Tell whether it is what was submitted; a revision from before said fewer names, and is compared by what it said."""
        return _hash_of(drop_names_not_in(self.content, then)) == hash_of_then


NAME_MEMBERS: Final = {"handler": ("name", "uscc"), "datasets": ("title",), "recipient": ("name",)}
"""What revisions have said since names are part of what is approved."""


def drop_names_not_in(now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """Return the content of now without the names that the content of then did not say."""
    return now | {
        part: [_drop_names(one, then[part], names) for one in now[part]]
        if isinstance(now[part], list)
        else _drop_names(now[part], [then[part]], names)
        for part, names in NAME_MEMBERS.items()
    }


def _drop_names(now: dict[str, Any], then: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    said = {name for one in then for name in one}
    return {name: value for name, value in now.items() if name in said or name not in names}


def _hash_of(content: dict[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(canonical(content)).hexdigest()}"


@dataclass(frozen=True, slots=True)
class CaseDetermination:
    """What the law says of a case on a day."""

    facts: Facts
    determination: Determination
    document: dict[str, Any]


async def case_of(tx: Transaction, transfer: Transfer) -> Case:
    """Read everything that a decision on a transfer looks at."""
    datasets = (await tx.scalars(select(Dataset).where(Dataset.id.in_(transfer.datasets)).order_by(Dataset.id))).all()
    handler = await tx.get_one(Handler, transfer.handler)
    recipient = await tx.get_one(Recipient, transfer.recipient)
    count = await ledger.total(tx, transfer.handler, day_in_shanghai(tx.now).year)
    return Case(transfer, handler, datasets, recipient, count)


def facts_of(case: Case, today: date) -> Facts:
    """Return what a determination of a case is made on, on a day.

    Raises:
        Invalid: an ungraded dataset, or facts that contradict each other; each field is named as in the transfer's body.
    """
    ungraded = [place for place, dataset in enumerate(_in_order(case)) if dataset.tags is None]
    if ungraded:
        raise Invalid(
            "Nobody has graded all of the datasets; a dataset that is not graded goes nowhere.",
            errors=[(f"/datasets/{place}", "This dataset has no grading.") for place in ungraded],
        )
    facts = _facts(case, today)
    wrong = [(fault.pointer.removeprefix("/transfer"), fault.detail) for fault in find_faults(facts)]
    wrong += _field_faults(case)
    if wrong:
        raise Invalid("The request contradicts the register.", errors=wrong)
    return facts


def _field_faults(case: Case) -> Iterator[tuple[str, str]]:
    """Hold the fields that are to go against those that the gradings of the datasets looked at."""
    asked = case.transfer.fields
    is_left_out = case.transfer.sensitive_left_out
    if is_left_out and asked is None:
        yield "/fields", "Name the fields that are to go: all of them are not without the sensitive ones."
    for place, dataset in enumerate(_in_order(case)):
        held = fields_of(dataset)
        going = [name for name in held.names if asked is None or name in asked]
        outdated = [name for name in going if name in held.outdated]
        if outdated:
            yield f"/datasets/{place}", f"No grading has looked at {', '.join(outdated[:10])}: have it graded again."
        sensitive = [name for name in going if name not in held.plain and name not in held.outdated]
        if is_left_out and asked is not None and sensitive and Tag.SENSITIVE in (dataset.tags or ()):
            yield "/fields", f"Sensitive by the grading of dataset {place + 1}: {', '.join(sensitive[:10])}."


def determine_case(case: Case, today: date, book: RuleBook) -> CaseDetermination:
    """Determine a case on a day.

    Raises:
        Invalid: an ungraded dataset, or facts that contradict each other; each field is named as in the transfer's body.
    """
    facts = facts_of(case, today)
    determination = determine(facts, book, route_of(case))
    return CaseDetermination(facts, determination, render_determination(facts, determination, book))


def require_route(case: Case, finding: CaseDetermination) -> None:
    """Refuse a route that the law does not offer.

    Raises:
        Invalid: naming the routes that are offered.
    """
    offered = [route for requirement in finding.determination.requirements for route in requirement.routes]
    if route_of(case) not in {None, *offered}:
        advice = f"Choose one of: {', '.join(offered)}." if offered else "No route is needed: leave it out."
        raise Invalid("The chosen route does not meet what the law asks for.", errors=[("/route", advice)])


def route_of(case: Case) -> Route | None:
    """Return the instrument that the requester chose; None: the first one offered."""
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
