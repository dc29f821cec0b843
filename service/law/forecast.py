"""When and why the law's answer will change, with nothing else changing. A pure function of the facts and the rule book."""

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
    """A day from which the law's answer is another."""

    on: date
    kind: Kind
    before: Determination
    after: Determination


@dataclass(frozen=True, slots=True)
class ThresholdDistance:
    """A line at which more is asked for of this transfer, and how far the year's count is from it once all of it has been sent."""

    id: str
    kind: Literal["persons", "sensitive_persons"]
    mechanism: str
    value: int
    law_value: int
    """As the law draws it: the company's own rules may draw it lower."""
    count: int
    headroom: int
    near: bool
    """Whether so much of the line is reached that the law data warns."""


def project_to(facts: Facts, day: date) -> Facts:
    """Return the facts as of another day: the count of a year to come begins with nothing."""
    if day.year == facts.as_of.year:
        return replace(facts, as_of=day)
    return replace(facts, as_of=day, ledger=Ledger(previous_year=facts.ledger.this_year))


def add_to_year(facts: Facts, more: Count) -> Facts:
    """Return the facts with a higher count of the year."""
    year = facts.ledger.this_year
    count = Count(year.persons + more.persons, year.sensitive_persons + more.sensitive_persons)
    return replace(facts, ledger=replace(facts.ledger, this_year=count))


def find_legal_changes(facts: Facts, book: RuleBook, until: date, route: Route | None = None) -> list[LegalChange]:
    """Return the days after the facts' own, up to a last one, from which the answer is another, the first first."""
    found: list[LegalChange] = []
    before = determine(facts, book, route)
    for day, kind in sorted(_change_days(facts, book, until)):
        after = determine(project_to(facts, day), book, route)
        if _answer_key(after) != _answer_key(before):
            found.append(LegalChange(day, kind, before, after))
        before = after
    return found


def find_threshold_distances(facts: Facts, book: RuleBook) -> list[ThresholdDistance]:
    """Return the lines that the year's count with this transfer does not reach yet, and that would change the answer if it did."""
    now = _answer_key(determine(facts, book))
    year, transfer = facts.ledger.this_year, facts.transfer
    count = Count(year.persons + transfer.persons, year.sensitive_persons + transfer.sensitive_persons)
    near = book.edition(facts.as_of).thresholds["near"]
    found: list[ThresholdDistance] = []
    for line in book.volume_lines(facts.as_of, count):
        beyond = add_to_year(facts, Count(**{line["kind"]: line["headroom"] + 1}))
        if not line["reached"] and _answer_key(determine(beyond, book)) != now:
            reached = int(getattr(count, line["kind"]))
            found.append(
                ThresholdDistance(
                    line["id"],
                    line["kind"],
                    line["mechanism"],
                    line["value"],
                    line["law_value"],
                    reached,
                    line["headroom"],
                    near=reached * 100 >= line["value"] * near,
                )
            )
    return found


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
