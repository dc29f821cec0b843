"""Repeats the determination of a submitted revision, with the verifier's own law data or those of the pack."""

from datetime import date
from pathlib import Path
from typing import Any

from service.law import loader, policy
from service.law.determination import determine
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
    merge_datasets,
)
from service.law.rule_book import RuleBook
from service.law.schemas import HandlerFactsIn, OriginFactsIn, RecipientFactsIn

Json = dict[str, Any]


def book_of(folder: Path, version: str, own: str | None) -> RuleBook | str:
    """Return the rule book of a version with the company's policy; if it is not available, a sentence that says why.

    Args:
        folder: the law data of the pack, with the company's policy as `policy.toml`.
        version: hash of the law data; the verifier's own are used if they have it.
        own: hash of the company's policy; None: there was none.
    """
    company = None
    if own is not None:
        file = folder / "policy.toml"
        if not file.exists() or (company := policy.load(file)).hash != own:
            return "the company's policy that it was made with is not in the pack."
    for source in (loader.DATA_DIRECTORY, folder):
        if (source / "rules.toml").exists() and (book := loader.load(source, company)).version == version:
            return book
    return f"it was made with the law data {version[:15]}…, which are neither here nor in the pack."


def repeat_determination(revision: Json, recipient_key: str, book: RuleBook) -> Json:
    """Return the determination of a revision's content, in the form of the API."""
    facts, route = _facts_of(revision, recipient_key)
    return render_determination(facts, determine(facts, book, route), book)


def _facts_of(revision: Json, recipient_key: str) -> tuple[Facts, Route | None]:
    """Return the facts of a revision: its request, the register of its day, and the count of its year."""
    content, request = revision["content"], revision["content"]["request"]
    recipient = content["recipient"]
    recipient_facts = recipient["facts"] | {"country": recipient["country"], "kind": recipient["kind"]}
    facts = Facts(
        as_of=date.fromisoformat(revision["determination"]["as_of"]),
        handler=HandlerFactsIn.model_validate(content["handler"]["facts"]).facts(),
        dataset=merge_datasets(
            [
                OriginFactsIn.model_validate(dataset["facts"]).dataset(frozenset(Tag(tag) for tag in dataset["tags"]))
                for dataset in content["datasets"]
            ]
        ),
        recipient=RecipientFactsIn.model_validate(recipient_facts).facts(recipient_key),
        transfer=TransferFacts(
            method=Method(request["method"]),
            necessity=None if request["necessity"] is None else Necessity(request["necessity"]),
            legal_basis=LegalBasis(request["legal_basis"]),
            persons=request["persons"],
            sensitive_persons=request["sensitive_persons"],
            sensitive_left_out=request.get("sensitive_left_out", False),
        ),
        ledger=Ledger(this_year=Count(**revision["ledger"])),
    )
    return facts, None if request["route"] is None else Route(request["route"])
