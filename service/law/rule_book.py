"""The rule book: dated rules, thresholds, routes, duties, evidence and texts, read from `data/*.toml` and checked when read.

Conditions are written in a small closed vocabulary and compiled once; nothing in a file is ever run as a program. For every stretch of
days between two changes of the law the book holds one edition with just what is in force then, so that a day costs one bisection.
"""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final, Literal

from service.law.conditions import Limit, Test
from service.law.facts import (
    FIRST_DAY,
    Count,
    Route,
)
from service.law.mechanisms import Mechanism
from service.law.policy import Policy
from service.law.rule_files import FollowUpRecord, ValidityRecord

DEFAULT_SERVICE_HOURS: Final = 72
"""How long a stage of approval may stay open, where the company says nothing."""
Text = Mapping[Literal["en", "zh"], str]


# The book


@dataclass(frozen=True, slots=True)
class Citation:
    """An article of an instrument; None: the instrument as a whole."""

    instrument: str
    article: str | None

    def document(self) -> dict[str, str | None]:
        """Return it as JSON."""
        return {"instrument": self.instrument, "article": self.article}


@dataclass(frozen=True, slots=True)
class CitationSet:
    """Citations of one entry on one day, some of them only under a condition."""

    always: tuple[Citation, ...]
    sometimes: tuple[tuple[Test, Citation], ...] = ()

    def of(self, situation: object) -> tuple[Citation, ...]:
        """Return the citations that hold."""
        if not self.sometimes:
            return self.always
        return self.always + tuple(citation for test, citation in self.sometimes if test(situation))


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of one edition."""

    id: str
    step: str
    mechanism: Mechanism
    exemption: str | None
    holds: Test
    limits: tuple[Limit, ...]
    lines: tuple[tuple[str, str, int], ...]
    """Its comparisons of the year's count: kind of persons, threshold, least count."""
    cited: CitationSet
    text: Text
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RouteOffer:
    """A route of one edition, for those of whom its condition holds."""

    route: Route
    holds: Test
    text: Text


@dataclass(frozen=True, slots=True)
class LawItem:
    """An obligation, a kind of evidence, a warning or an exposure of one edition."""

    code: str
    holds: Test
    cited: CitationSet
    text: Text
    fines: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Edition:
    """The law between two changes of it."""

    begins: date
    thresholds: Mapping[str, int]
    law: Mapping[str, int]
    """The thresholds of the law itself, which the company's own may be below."""
    border: tuple[Rule, ...]
    bars: tuple[Rule, ...]
    mechanisms: tuple[Rule, ...]
    limits: tuple[Limit, ...]
    offers: Mapping[str, tuple[RouteOffer, ...]]
    obligations: tuple[LawItem, ...]
    evidence: tuple[LawItem, ...]
    warnings: tuple[LawItem, ...]
    exposure: tuple[LawItem, ...]
    exemptions: frozenset[str]
    """Exemptions that a rule in force can give."""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A receipt that must follow a piece of evidence within so many working days."""

    kind: str
    working_days: int


@dataclass(frozen=True, slots=True, eq=False)
class RuleBook:
    """All of the law data, immutable; a book is itself alone."""

    version: str
    """`sha256:` and the hash of the files that it was read from."""
    instruments: tuple[Mapping[str, Any], ...]
    kinds: frozenset[str]
    """Kinds of evidence that the law knows."""
    policy: Policy | None
    """The company's own rules, applied on top."""
    _editions: tuple[Edition, ...]
    _days: tuple[date, ...]
    _lives: tuple[ValidityRecord, ...]
    _follow_ups: tuple[FollowUpRecord, ...]

    @property
    def days(self) -> tuple[date, ...]:
        """The days on which the law changes, the first one first."""
        return self._days

    def edition(self, day: date) -> Edition:
        """Return the law of a day.

        Raises:
            ValueError: the day is before `FIRST_DAY`, of which the book says nothing.
        """
        if day < FIRST_DAY:
            raise ValueError(f"The law of {day} is not in the book, which begins on {FIRST_DAY}.")
        return self._editions[bisect.bisect_right(self._days, day) - 1]

    def rules_on(self, day: date) -> list[dict[str, Any]]:
        """Return the rules in force on a day as JSON, in the order in which they are asked."""
        edition = self.edition(day)
        return [dict(rule.document) for rule in (*edition.border, *edition.bars, *edition.mechanisms)]

    def volume_lines(self, day: date, count: Count) -> list[dict[str, Any]]:
        """Return the lines at which the year's count makes the law ask for more, as JSON, each with its distance.

        Headroom is the most persons that can be added with the line not yet reached.
        """
        lines: list[dict[str, Any]] = []
        edition = self.edition(max(day, FIRST_DAY))
        for rule in edition.mechanisms:
            for kind, threshold, least in rule.lines:
                lines.append(
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
        return lines

    def valid_until(self, kind: str, issued_on: date) -> date | None:
        """Return the last day of a paper's life under the instrument in force when it was issued; None: the paper says so.

        Source: SAM art. 14, CBDF art. 9 (assessment result); CERT-2022, CERT-2025 (certificate); PIPL art. 55, 56 (impact assessment).
        """
        for life in self._lives:
            if life.kind == kind and life.begins <= issued_on < life.ends:
                return life.last_day(issued_on)
        return None

    def service_hours(self, stage: str) -> int:
        """Return how many hours a stage of approval may stay open before its reviewers are reminded."""
        return DEFAULT_SERVICE_HOURS if self.policy is None else self.policy.service_hours(stage, DEFAULT_SERVICE_HOURS)

    def follow_up_of(self, kind: str, effective_on: date) -> FollowUp | None:
        """Return the receipt that must follow evidence of this kind, or None. Source: SCM art. 7."""
        for duty in self._follow_ups:
            if kind in duty.after and duty.begins <= effective_on < duty.ends:
                return FollowUp(duty.kind, duty.working_days)
        return None
