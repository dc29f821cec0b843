"""Holds the law data as a rule book: dated rules, thresholds, routes, obligations, evidence and texts from `data/*.toml`.

The book has one edition for each period between two changes of the law; an edition holds the rules in force then.
"""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal

from service.law.conditions import Limit, Test
from service.law.facts import FIRST_DAY, Count, Route
from service.law.mechanisms import Mechanism
from service.law.policy import Policy
from service.law.rule_files import FollowUpRecord, ValidityRecord

DEFAULT_SERVICE_HOURS: Final = 72
"""Default service time of a stage of approval, in hours."""
Text = Mapping[Literal["en", "zh"], str]


# The book


@dataclass(frozen=True, slots=True)
class Citation:
    """Article of an instrument; None: the instrument as a whole."""

    instrument: str
    article: str | None

    def document(self) -> dict[str, str | None]:
        """Return the citation as JSON."""
        return {"instrument": self.instrument, "article": self.article}


@dataclass(frozen=True, slots=True)
class CitationSet:
    """Citations of a rule or an item, some of them under a condition."""

    always: tuple[Citation, ...]
    conditional: tuple[tuple[Test, Citation], ...] = ()

    def select(self, situation: object) -> tuple[Citation, ...]:
        """Return the citations that apply."""
        if not self.conditional:
            return self.always
        return self.always + tuple(citation for test, citation in self.conditional if test(situation))


@dataclass(frozen=True, slots=True)
class Rule:
    """Rule of an edition."""

    id: str
    step: str
    mechanism: Mechanism
    exemption: str | None
    holds: Test
    limits: tuple[Limit, ...]
    comparisons: tuple[tuple[str, str, int], ...]
    """Comparisons with the year's count: kind of persons, threshold, least count."""
    citations: CitationSet
    text: Text
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RouteOffer:
    """Route of an edition, offered if its condition holds."""

    route: Route
    holds: Test
    text: Text


@dataclass(frozen=True, slots=True)
class LawItem:
    """Obligation, kind of evidence, warning or exposure of an edition."""

    code: str
    holds: Test
    citations: CitationSet
    text: Text
    fines: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edition:
    """Rules in force between two changes of the law."""

    begins: date
    thresholds: Mapping[str, int]
    law: Mapping[str, int]
    """Thresholds of the law itself; `thresholds` may be lower by the company's policy."""
    border: tuple[Rule, ...]
    restrictions: tuple[Rule, ...]
    mechanisms: tuple[Rule, ...]
    limits: tuple[Limit, ...]
    offers: Mapping[str, tuple[RouteOffer, ...]]
    obligations: tuple[LawItem, ...]
    evidence: tuple[LawItem, ...]
    warnings: tuple[LawItem, ...]
    exposure: tuple[LawItem, ...]
    exemptions: frozenset[str]
    """Exemptions of the rules in force."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """Receipt that must follow an evidence item within a number of working days."""

    kind: str
    working_days: int


@dataclass(frozen=True, slots=True, eq=False)
class RuleBook:
    """Law data, immutable; compared by identity."""

    version: str
    """`sha256:` and the hash of the rule files."""
    instruments: tuple[Mapping[str, Any], ...]
    kinds: frozenset[str]
    """Kinds of evidence that the law or the policy requires."""
    policy: Policy | None
    """Policy of the company, which adds to the law."""
    _editions: tuple[Edition, ...]
    _days: tuple[date, ...]
    _validities: tuple[ValidityRecord, ...]
    _follow_ups: tuple[FollowUpRecord, ...]

    @property
    def days(self) -> tuple[date, ...]:
        """Days on which the law changes, in order."""
        return self._days

    def edition(self, day: date) -> Edition:
        """Return the edition of a day.

        Raises:
            ValueError: the day is before `FIRST_DAY`.

        Example:
            edition = load_rule_book(None).edition(date(2026, 1, 5))
            print(edition.thresholds["contract_persons"])
        """
        if day < FIRST_DAY:
            raise ValueError(f"The law of {day} is not in the book, which begins on {FIRST_DAY}.")
        return self._editions[bisect.bisect_right(self._days, day) - 1]

    def rules_on(self, day: date) -> list[dict[str, Any]]:
        """Return the rules in force on a day as JSON, in the order of evaluation."""
        edition = self.edition(day)
        return [dict(rule.document) for rule in (*edition.border, *edition.restrictions, *edition.mechanisms)]

    def volume_thresholds(self, day: date, count: Count) -> list[dict[str, Any]]:
        """Return the thresholds of the year's count as JSON, each with its mechanism and its headroom.

        Headroom is the most persons that can be added without reaching the threshold.
        """
        documents: list[dict[str, Any]] = []
        edition = self.edition(max(day, FIRST_DAY))
        for rule in edition.mechanisms:
            for kind, threshold, least in rule.comparisons:
                documents.append(
                    {
                        "id": threshold,
                        "kind": kind,
                        "mechanism": rule.mechanism.value,
                        "value": least,
                        "law_value": edition.law[threshold] + least - edition.thresholds[threshold],
                        "reached": int(getattr(count, kind)) >= least,
                        "headroom": max(0, least - 1 - int(getattr(count, kind))),
                    }
                )
        return documents

    def valid_until(self, kind: str, issued_on: date) -> date | None:
        """Return the last day of validity of an evidence item, by the instrument in force when it was issued; None: no rule.

        Source: SAM art. 14, CBDF art. 9 (assessment result); CERT-2022, CERT-2025 (certificate); PIPL art. 55, 56 (impact assessment).
        """
        for validity in self._validities:
            if validity.kind == kind and validity.begins <= issued_on < validity.ends:
                return validity.last_day(issued_on)
        return None

    def service_hours(self, stage: str) -> int:
        """Return the hours after which the reviewers of an open stage are reminded."""
        return DEFAULT_SERVICE_HOURS if self.policy is None else self.policy.service_hours(stage, DEFAULT_SERVICE_HOURS)

    def follow_up_of(self, kind: str, effective_on: date) -> FollowUp | None:
        """Return the receipt that must follow evidence of a kind, or None. Source: SCM art. 7."""
        for record in self._follow_ups:
            if kind in record.after and record.begins <= effective_on < record.ends:
                return FollowUp(record.kind, record.working_days)
        return None
