"""Forecasts changes of a determination: coming days of the law, the new year, and thresholds. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from typing import Literal

from service.law.determination import Determination, determine
from service.law.facts import Count, Facts, Ledger, Route
from service.law.rule_book import RuleBook

Kind = Literal["law_changes", "year_begins"]


@dataclass(frozen=True, slots=True)
class LegalChange:
    """Change of the determination on a day."""

    on: date
    kind: Kind
    before: Determination
    after: Determination


@dataclass(frozen=True, slots=True)
class ThresholdDistance:
    """Threshold with a stricter mechanism, and its distance from the year's count with the whole transfer."""

    id: str
    kind: Literal["persons", "sensitive_persons"]
    mechanism: str
    value: int
    law_value: int
    """Threshold of the law; that of the company's policy may be lower."""
    count: int
    headroom: int
    near: bool
    """True if the count has reached the percentage of the threshold at which the law data warns."""


def project_to(facts: Facts, day: date) -> Facts:
    """Return the facts as of a later day; in a later year the count begins with zero."""
    if day.year == facts.as_of.year:
        return replace(facts, as_of=day)
    return replace(facts, as_of=day, ledger=Ledger(previous_year=facts.ledger.this_year))


def add_to_year(facts: Facts, more: Count) -> Facts:
    """Return the facts with more persons in the year's count."""
    year = facts.ledger.this_year
    count = Count(year.persons + more.persons, year.sensitive_persons + more.sensitive_persons)
    return replace(facts, ledger=replace(facts.ledger, this_year=count))


def find_legal_changes(facts: Facts, book: RuleBook, until: date, route: Route | None = None) -> list[LegalChange]:
    """Find the changes of the determination after the day of the facts, up to a last day, in order."""
    changes: list[LegalChange] = []
    before = determine(facts, book, route)
    for day, kind in sorted(_change_days(facts, book, until)):
        after = determine(project_to(facts, day), book, route)
        if _answer_key(after) != _answer_key(before):
            changes.append(LegalChange(day, kind, before, after))
        before = after
    return changes


def find_threshold_distances(facts: Facts, book: RuleBook) -> list[ThresholdDistance]:
    """Find the thresholds that the year's count with this transfer has not reached, and that would change the determination."""
    now = _answer_key(determine(facts, book))
    year, transfer = facts.ledger.this_year, facts.transfer
    count = Count(year.persons + transfer.persons, year.sensitive_persons + transfer.sensitive_persons)
    near = book.edition(facts.as_of).thresholds["near"]
    distances: list[ThresholdDistance] = []
    for threshold in book.volume_thresholds(facts.as_of, count):
        exceeding = add_to_year(facts, Count(**{threshold["kind"]: threshold["headroom"] + 1}))
        if not threshold["reached"] and _answer_key(determine(exceeding, book)) != now:
            reached = int(getattr(count, threshold["kind"]))
            distances.append(
                ThresholdDistance(
                    threshold["id"],
                    threshold["kind"],
                    threshold["mechanism"],
                    threshold["value"],
                    threshold["law_value"],
                    reached,
                    threshold["headroom"],
                    near=reached * 100 >= threshold["value"] * near,
                )
            )
    return distances


def _change_days(facts: Facts, book: RuleBook, until: date) -> Iterator[tuple[date, Kind]]:
    for day in book.days:
        if facts.as_of < day <= until:
            yield day, "law_changes"
    new_year = date(facts.as_of.year + 1, 1, 1)
    if new_year <= until:
        yield new_year, "year_begins"


def _answer_key(law: Determination) -> object:
    return (
        law.mechanism,
        law.exemption,
        tuple((requirement.rule, requirement.routes) for requirement in law.requirements),
        tuple(item.code for item in law.obligations),
        tuple(item.code for item in law.evidence),
    )
