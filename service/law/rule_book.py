"""The rule book: dated rules, thresholds, routes, duties, evidence and texts, read from `data/*.toml` and checked when read.

Conditions are written in a small closed vocabulary and compiled once; nothing in a file is ever run as a program. For every stretch of
days between two changes of the law the book holds one edition with just what is in force then, so that a day costs one bisection.
"""

import bisect
import hashlib
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Protocol, Self, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from service.law.facts import (
    COUNTRIES,
    FIRST_DAY,
    Count,
    Facts,
    FtzList,
    LegalBasis,
    Necessity,
    RecipientKind,
    Route,
    Tag,
)
from service.law.policy import Policy, demand_stricter

SERVICE_HOURS: Final = 72
"""How long a stage of approval may stay open, where the company says nothing."""

DATA: Final = Path(__file__).parent / "data"
MECHANISMS: Final = (
    "not_cross_border",
    "exempt",
    "standard_contract_or_certification",
    "security_assessment",
    "authority_approval",
    "state_approval",
    "prohibited",
)
"""From free to strict."""

MechanismName = Literal[
    "not_cross_border",
    "exempt",
    "standard_contract_or_certification",
    "security_assessment",
    "authority_approval",
    "state_approval",
    "prohibited",
]
Exemption = Literal[
    "general_data",
    "foreign_origin",
    "ftz_unlisted",
    "contract",
    "hr",
    "emergency",
    "statutory_duty",
    "small_volume",
    "not_in_force",
]
Text = Mapping[Literal["en", "zh"], str]


class RuleFileError(ValueError):
    """A file of the law data that cannot be used; the message names the file and the key."""

    def __init__(self, file: str, key: str, detail: str) -> None:
        super().__init__(f"{file}: {key}: {detail}")


# What the files hold


def _whole_day(value: object) -> object:
    if type(value) is not date:
        raise ValueError("a date, written 2024-03-22 without quotes, is expected")
    return value


Day = Annotated[date, BeforeValidator(_whole_day)]
Line = Annotated[str, StringConstraints(pattern=r"\S", strict=True)]
"""Text that says something: white space alone does not."""


_NAMES: Final = ("id", "code", "kind")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, strict=True)


class _Words(_Record):
    en: Line
    zh: Line


class _Citation(_Record):
    instrument: Line
    article: Line | None = None
    begins: Day = Field(default=date.min, alias="from")
    ends: Day = Field(default=date.max, alias="to")
    when: Line | None = None


class _Dated(_Record):
    begins: Day = Field(alias="from")
    ends: Day = Field(default=date.max, alias="to")
    citations: list[_Citation] = []
    uncited: Line | None = None
    """Why there is no article to cite; one of the two must be there."""

    @model_validator(mode="after")
    def _is_cited_for_some_time(self) -> Self:
        if self.begins >= self.ends:
            raise ValueError("`to` must come after `from`")
        if bool(self.citations) == (self.uncited is not None):
            raise ValueError("give citations, or say under `uncited` why there is no article to cite")
        return self

    @property
    def identity(self) -> str:
        """What its file calls it."""
        return str(next(getattr(self, name) for name in _NAMES if hasattr(self, name)))


class _Instrument(_Record):
    code: Line
    begins: Day = Field(alias="from")
    confidence: Literal["H", "M", "L"]
    title: _Words


class _Threshold(_Dated):
    id: Line
    unit: Literal["persons", "percent"]
    value: Annotated[int, Field(gt=0)]


class _Rule(_Dated):
    id: Line
    step: Literal["border", "bar", "mechanism"]
    mechanism: MechanismName
    exemption: Exemption | None = None
    when: list[Line]
    confidence: Literal["H", "M", "L"]
    text: _Words

    @model_validator(mode="after")
    def _names_its_exemption(self) -> Self:
        if (self.mechanism == "exempt") != (self.exemption is not None):
            raise ValueError("`exemption` belongs to the mechanism exempt, and to no other")
        return self


class _RouteRecord(_Dated):
    id: Line
    route: Annotated[Route, Field(strict=False)]
    mechanism: MechanismName
    when: list[Line]
    text: _Words


class _Item(_Dated):
    when: list[Line]
    text: _Words


class _Obligation(_Item):
    code: Line


class _Warning(_Obligation):
    pass


class _Evidence(_Item):
    kind: Line


class _Life(_Dated):
    kind: Line
    years: Annotated[int, Field(gt=0)] | None = None
    """Without them it serves until the law changes, which is when this period ends."""

    def last_day(self, issued_on: date) -> date | None:
        """Return the last day of a paper issued in this period; None: no end is known."""
        if self.years is not None:
            return _years_after(issued_on, self.years)
        return None if self.ends == date.max else date.fromordinal(self.ends.toordinal() - 1)


class _FollowUp(_Dated):
    kind: Line
    after: list[Line]
    working_days: Annotated[int, Field(gt=0)]


class _Amount(_Record):
    min: int | None = None
    max: int | None = None
    turnover_share: float | None = None


class _Fine(_Record):
    ordinary: _Amount | None = None
    grave: _Amount | None = None


class _Exposure(_Obligation):
    company: _Fine
    person: _Fine | None = None


class _InstrumentFile(_Record):
    instrument: list[_Instrument]


class _ThresholdFile(_Record):
    threshold: list[_Threshold]


class _RuleFile(_Record):
    rule: list[_Rule]
    route: list[_RouteRecord]


class _ObligationFile(_Record):
    obligation: list[_Obligation]


class _EvidenceFile(_Record):
    evidence: list[_Evidence]
    life: list[_Life]
    follow_up: list[_FollowUp]


class _WarningFile(_Record):
    warning: list[_Warning]


class _ExposureFile(_Record):
    exposure: list[_Exposure]


_FILES: Final[Mapping[str, type[_Record]]] = {
    "instruments.toml": _InstrumentFile,
    "thresholds.toml": _ThresholdFile,
    "rules.toml": _RuleFile,
    "obligations.toml": _ObligationFile,
    "evidence.toml": _EvidenceFile,
    "warnings.toml": _WarningFile,
    "exposure.toml": _ExposureFile,
}


# What a condition can see


class Situation(Protocol):
    """The facts of one determination and what its earlier steps found; conditions read it."""

    facts: Facts
    edition: "Edition"
    persons: int
    sensitive_persons: int
    exemption: str | None
    mechanisms: set[str]
    routes: set[str]
    offered: set[str]
    duties: set[str]
    routes_missing: bool


Test = Callable[[Any], bool]
Measure = Callable[[Any], int]

_MEASURES: Final[Mapping[str, Measure]] = {
    "persons": lambda s: s.persons,
    "sensitive_persons": lambda s: s.sensitive_persons,
    "sensitive_persons_two_years": lambda s: s.sensitive_persons + s.facts.ledger.previous_year.sensitive_persons,
    "all_persons_two_years": lambda s: (
        s.persons
        + s.sensitive_persons
        + s.facts.ledger.previous_year.persons
        + s.facts.ledger.previous_year.sensitive_persons
    ),
    "pi_subjects": lambda s: s.facts.handler.pi_subjects or 0,
    "platform_users": lambda s: s.facts.handler.platform_users,
}

_YEAR: Final = frozenset({"persons", "sensitive_persons"})
"""Measures that are the year's count itself."""

_WORDS: Final[Mapping[str, Test]] = {
    "never": lambda _: False,
    "inside": lambda s: s.facts.recipient.country == "CN",
    "personal": lambda s: s.facts.dataset.is_personal,
    "untagged": lambda s: not s.facts.dataset.tags,
    "core": lambda s: Tag.CORE in s.facts.dataset.tags,
    "important": lambda s: Tag.IMPORTANT in s.facts.dataset.tags,
    "contains_minors": lambda s: s.facts.dataset.contains_minors,
    "foreign_origin": lambda s: s.facts.dataset.is_foreign_origin,
    "list_unlisted": lambda s: s.facts.dataset.ftz_list is FtzList.UNLISTED,
    "ftz_unlisted": lambda s: s.facts.handler.in_ftz and s.facts.dataset.ftz_list is FtzList.UNLISTED,
    "ciio": lambda s: s.facts.handler.ciio,
    "listing_abroad": lambda s: s.facts.handler.listing_abroad,
    "both_in_gba": lambda s: s.facts.handler.in_gba and s.facts.recipient.in_gba,
    "restricted_recipient": lambda s: s.facts.recipient.restricted,
    "foreign_authority": lambda s: s.facts.recipient.kind is RecipientKind.JUDICIAL_OR_ENFORCEMENT,
    "necessity_claimed": lambda s: s.facts.transfer.necessity is not None,
    "necessity_unknown": lambda s: (
        s.facts.transfer.necessity is not None and s.facts.transfer.necessity not in s.edition.exemptions
    ),
    "required": lambda s: not s.mechanisms <= {"exempt"},
    "routes_missing": lambda s: s.routes_missing,
}

_FAMILIES: Final[Mapping[str, tuple[frozenset[str] | None, Callable[[str], Test]]]] = {
    "country": (COUNTRIES, lambda code: lambda s: s.facts.recipient.country == code),
    "necessity": (frozenset(Necessity), lambda claim: lambda s: s.facts.transfer.necessity == claim),
    "basis": (frozenset(LegalBasis), lambda basis: lambda s: s.facts.transfer.legal_basis == basis),
    "requires": (frozenset(MECHANISMS), lambda mechanism: lambda s: mechanism in s.mechanisms),
    "exempt": (frozenset(get_args(Exemption)), lambda exemption: lambda s: s.exemption == exemption),
    "route": (frozenset(Route), lambda route: lambda s: route in s.routes),
    "offered": (frozenset(Route), lambda route: lambda s: route in s.offered),
    "duty": (None, lambda code: lambda s: code in s.duties),
}


@dataclass(frozen=True, slots=True)
class Limit:
    """A comparison of a count with a threshold, kept apart so that headroom can be reckoned from it."""

    measure: Measure
    least: int
    """The least count for which it holds."""


class _Condition:
    """A list of lines, all of which must hold, compiled against the thresholds of one day."""

    def __init__(self, lines: Sequence[str], thresholds: Mapping[str, int]) -> None:
        self.limits: list[Limit] = []
        self.lines: list[tuple[str, str, int]] = []
        self._thresholds = thresholds
        self._alternatives = [[self._term(term) for term in line.split(" or ")] for line in lines]
        self.holds: Test = _all([_any(terms) for terms in self._alternatives])

    def _term(self, term: str) -> Test:
        words = term.split()
        match words:
            case ["not", word]:
                test = _word(word)
                return lambda s: not test(s)
            case ["near", measure, threshold]:
                return self._near(_measure(measure), self._value(threshold), self._value("near"))
            case [measure, ">=" | ">" as comparison, threshold]:
                least = self._value(threshold) + (comparison == ">")
                if measure in _YEAR:
                    self.lines.append((measure, threshold, least))
                return self._reached(_measure(measure), least)
            case [word]:
                return _word(word)
        raise ValueError(f"the condition {term!r} is not of the vocabulary")

    def _value(self, threshold: str) -> int:
        if threshold not in self._thresholds:
            raise ValueError(f"no threshold {threshold!r} is in force during the whole of its time")
        return self._thresholds[threshold]

    def _reached(self, measure: Measure, least: int) -> Test:
        self.limits.append(Limit(measure, least))
        return lambda s: measure(s) >= least

    def _near(self, measure: Measure, limit: int, percent: int) -> Test:
        return lambda s: measure(s) < limit and measure(s) * 100 >= limit * percent


def _all(tests: Sequence[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda s: all(test(s) for test in tests)


def _any(tests: Sequence[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    return lambda s: any(test(s) for test in tests)


def _measure(name: str) -> Measure:
    if name not in _MEASURES:
        raise ValueError(f"the measure {name!r} is not of the vocabulary")
    return _MEASURES[name]


def _word(word: str) -> Test:
    family, colon, member = word.partition(":")
    if not colon and word in _WORDS:
        return _WORDS[word]
    if colon and family in _FAMILIES:
        members, test = _FAMILIES[family]
        if member and (members is None or member in members):
            return test(member)
    raise ValueError(f"the word {word!r} is not of the vocabulary")


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
class Cited:
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
    mechanism: str
    exemption: str | None
    holds: Test
    limits: tuple[Limit, ...]
    lines: tuple[tuple[str, str, int], ...]
    """Its comparisons of the year's count: kind of persons, threshold, least count."""
    cited: Cited
    text: Text
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Offer:
    """A route of one edition, for those of whom its condition holds."""

    route: Route
    holds: Test
    text: Text


@dataclass(frozen=True, slots=True)
class Entry:
    """An obligation, a kind of evidence, a warning or an exposure of one edition."""

    code: str
    holds: Test
    cited: Cited
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
    offers: Mapping[str, tuple[Offer, ...]]
    obligations: tuple[Entry, ...]
    evidence: tuple[Entry, ...]
    warnings: tuple[Entry, ...]
    exposure: tuple[Entry, ...]
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
    _lives: tuple[_Life, ...]
    _follow_ups: tuple[_FollowUp, ...]

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
                        "mechanism": rule.mechanism,
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
        return SERVICE_HOURS if self.policy is None else self.policy.service_hours(stage, SERVICE_HOURS)

    def follow_up_of(self, kind: str, effective_on: date) -> FollowUp | None:
        """Return the receipt that must follow evidence of this kind, or None. Source: SCM art. 7."""
        for duty in self._follow_ups:
            if kind in duty.after and duty.begins <= effective_on < duty.ends:
                return FollowUp(duty.kind, duty.working_days)
        return None


def _years_after(start: date, years: int) -> date:
    """Return the last day of a term of years: the day before the same date, or 28 February where there is no 29th."""
    try:
        end = start.replace(year=start.year + years)
    except ValueError:
        return date(start.year + years, 2, 28)
    return date.fromordinal(end.toordinal() - 1)


# Reading it


def load(directory: Path = DATA, policy: Policy | None = None) -> RuleBook:
    """Read, check and compile the law data, with a company's own rules on top.

    Raises:
        PolicyFileError: the company's rules would free something.
        RuleFileError: naming file and key: an unknown field, a period that overlaps another of the same id, a citation that is
            missing or of an instrument never in force with it, a missing translation, a word outside the vocabulary.
    """
    read = {name: _read(directory / name, shape) for name, shape in _FILES.items()}
    digest = hashlib.sha256()
    for name in sorted(_FILES):
        digest.update(name.encode() + b"\x00" + (directory / name).read_bytes() + b"\x00")
    return _Compiler(read, f"sha256:{digest.hexdigest()}", policy).book()


def _read(path: Path, shape: type[_Record]) -> Any:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise RuleFileError(path.name, "-", f"cannot be read: {error}") from error
    try:
        return shape.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise RuleFileError(path.name, _key(first["loc"], content), str(first["msg"])) from error


def _key(location: Sequence[int | str], content: Any) -> str:
    """Name a place: the section, the entry by its own id, and the field."""
    names: list[str] = []
    here = content
    for step in location:
        here = _member(here, step)
        named = next((here[name] for name in _NAMES if name in here), None) if isinstance(here, dict) else None
        names.append(f"{step}" if named is None else f"{step} ({named})")
    return ".".join(names)


def _member(container: Any, step: int | str) -> Any:
    try:
        return container[step]
    except (TypeError, LookupError):
        return None


Dated = TypeVar("Dated", bound=_Dated)


class _Compiler:
    def __init__(self, read: Mapping[str, Any], version: str, policy: Policy | None) -> None:
        self._version = version
        self._policy = policy
        self._instruments: list[_Instrument] = read["instruments.toml"].instrument
        self._thresholds: list[_Threshold] = read["thresholds.toml"].threshold
        self._rules: list[_Rule] = read["rules.toml"].rule
        self._routes: list[_RouteRecord] = read["rules.toml"].route
        self._obligations: list[_Obligation] = read["obligations.toml"].obligation
        self._evidence: list[_Evidence] = read["evidence.toml"].evidence
        self._lives: list[_Life] = read["evidence.toml"].life
        self._follow_ups: list[_FollowUp] = read["evidence.toml"].follow_up
        self._warnings: list[_Warning] = read["warnings.toml"].warning
        self._exposure: list[_Exposure] = read["exposure.toml"].exposure
        self._begins = {instrument.code: instrument.begins for instrument in self._instruments}

    def book(self) -> RuleBook:
        self._demand_distinct_instruments()
        for file, records in self._dated():
            _demand_disjoint(file, records)
            for record in records:
                self._demand_citations(file, record)
                self._demand_known_duties(file, record)
        self._demand_known_papers()
        if self._policy is not None:
            demand_stricter(self._policy, [self._limits(day) for day in self._change_days()])
        wanted = () if self._policy is None else self._policy.papers
        editions = tuple(self._edition(day) for day in self._change_days())
        return RuleBook(
            version=self._version,
            instruments=tuple(
                {
                    "code": instrument.code,
                    "title": instrument.title.model_dump(),
                    "in_force_from": instrument.begins,
                    "confidence": instrument.confidence,
                }
                for instrument in self._instruments
            ),
            kinds=frozenset((*(evidence.kind for evidence in self._evidence), *(paper.kind for paper in wanted))),
            policy=self._policy,
            _editions=editions,
            _days=tuple(edition.begins for edition in editions),
            _lives=tuple(self._lives),
            _follow_ups=tuple(self._follow_ups),
        )

    def _dated(self) -> Iterator[tuple[str, Sequence[_Dated]]]:
        yield "thresholds.toml", self._thresholds
        yield "rules.toml", self._rules
        yield "rules.toml", self._routes
        yield "obligations.toml", self._obligations
        yield "evidence.toml", self._evidence
        yield "evidence.toml", self._lives
        yield "evidence.toml", self._follow_ups
        yield "warnings.toml", self._warnings
        yield "exposure.toml", self._exposure

    def _demand_distinct_instruments(self) -> None:
        if len(self._begins) < len(self._instruments):
            codes = [instrument.code for instrument in self._instruments]
            twice = next(code for code in codes if codes.count(code) > 1)
            raise RuleFileError("instruments.toml", twice, "this code stands twice")

    def _demand_citations(self, file: str, record: _Dated) -> None:
        for citation in record.citations:
            begins = self._begins.get(citation.instrument)
            if begins is None:
                raise RuleFileError(
                    file, record.identity, f"cites {citation.instrument!r}, which is no known instrument"
                )
            if max(begins, citation.begins, record.begins) >= min(citation.ends, record.ends):
                raise RuleFileError(
                    file, record.identity, f"cites {citation.instrument} on no day on which both are in force"
                )

    def _demand_known_duties(self, file: str, record: _Dated) -> None:
        codes = {obligation.code for obligation in self._obligations}
        lines = (*getattr(record, "when", ()), *(citation.when or "" for citation in record.citations))
        for word in " ".join(lines).split():
            if word.startswith("duty:") and word.removeprefix("duty:") not in codes:
                raise RuleFileError(file, f"{record.identity}.when", f"asks for {word!r}, which is no known obligation")

    def _demand_known_papers(self) -> None:
        """Refuse a life or a receipt of a paper that is not there: it would bind nobody, and nobody would notice."""
        known = {evidence.kind for evidence in self._evidence}
        named = [(life.identity, life.kind) for life in self._lives]
        for duty in self._follow_ups:
            named += [(duty.identity, duty.kind), *((f"{duty.identity}.after", kind) for kind in duty.after)]
        for key, kind in named:
            if kind not in known:
                raise RuleFileError("evidence.toml", key, f"names {kind!r}, which is no known kind of evidence")

    def _change_days(self) -> list[date]:
        days = {FIRST_DAY, *self._begins.values()}
        for _, records in self._dated():
            for record in records:
                days |= {record.begins, record.ends}
                days |= {day for citation in record.citations for day in (citation.begins, citation.ends)}
        return sorted(day for day in days if FIRST_DAY <= day < date.max)

    def _limits(self, day: date) -> dict[str, int]:
        return {threshold.id: threshold.value for threshold in _on(self._thresholds, day)}

    def _edition(self, day: date) -> Edition:
        lower = {} if self._policy is None else self._policy.thresholds
        law = self._limits(day)
        thresholds = {name: min(value, lower.get(name, value)) for name, value in law.items()}
        rules = [self._rule(record, day, thresholds) for record in _on(self._rules, day)]
        mechanisms = tuple(rule for rule in rules if rule.step == "mechanism")
        return Edition(
            begins=day,
            thresholds=thresholds,
            law=law,
            border=tuple(rule for rule in rules if rule.step == "border"),
            bars=tuple(rule for rule in rules if rule.step == "bar"),
            mechanisms=mechanisms,
            limits=tuple(limit for rule in mechanisms for limit in rule.limits),
            offers=self._offers(day, thresholds),
            obligations=self._entries("obligations.toml", self._obligations, day, thresholds),
            evidence=self._entries("evidence.toml", self._evidence, day, thresholds),
            warnings=self._entries("warnings.toml", self._warnings, day, thresholds),
            exposure=self._entries("exposure.toml", self._exposure, day, thresholds),
            exemptions=frozenset(rule.exemption for rule in mechanisms if rule.exemption is not None),
        )

    def _rule(self, record: _Rule, day: date, thresholds: Mapping[str, int]) -> Rule:
        condition = _compiled("rules.toml", record.identity, record.when, thresholds)
        cited = self._cited("rules.toml", record, day, thresholds)
        _demand_text("rules.toml", record, thresholds)
        words = set(" ".join(record.when).split())
        document = {
            "id": record.id,
            "step": record.step,
            "in_force_from": record.begins,
            "in_force_until": None if record.ends == date.max else record.ends,
            "mechanism": record.mechanism,
            "exemption": record.exemption,
            "condition": record.when,
            "thresholds": {name: value for name, value in thresholds.items() if name in words},
            "law_thresholds": {name: value for name, value in self._limits(day).items() if name in words},
            "citations": [citation.document() for citation in (*cited.always, *(c for _, c in cited.sometimes))],
            "confidence": record.confidence,
            "text": record.text.model_dump(),
        }
        return Rule(
            id=record.id,
            step=record.step,
            mechanism=record.mechanism,
            exemption=record.exemption,
            holds=condition.holds,
            limits=tuple(condition.limits),
            lines=tuple(condition.lines),
            cited=cited,
            text=_text(record.text),
            document=document,
        )

    def _offers(self, day: date, thresholds: Mapping[str, int]) -> dict[str, tuple[Offer, ...]]:
        offers: dict[str, tuple[Offer, ...]] = {}
        for record in _on(self._routes, day):
            condition = _compiled("rules.toml", record.identity, record.when, thresholds)
            offer = Offer(record.route, condition.holds, _text(record.text))
            offers[record.mechanism] = (*offers.get(record.mechanism, ()), offer)
        return offers

    def _entries(
        self, file: str, records: Sequence[_Item], day: date, thresholds: Mapping[str, int]
    ) -> tuple[Entry, ...]:
        return tuple(
            Entry(
                code=record.identity,
                holds=_compiled(file, record.identity, record.when, thresholds).holds,
                cited=self._cited(file, record, day, thresholds),
                text=_text(record.text),
                fines=record.model_dump(include={"company", "person"}) if isinstance(record, _Exposure) else {},
            )
            for record in _on(records, day)
        )

    def _cited(self, file: str, record: _Dated, day: date, thresholds: Mapping[str, int]) -> Cited:
        always: list[Citation] = []
        sometimes: list[tuple[Test, Citation]] = []
        for citation in record.citations:
            if not max(citation.begins, self._begins[citation.instrument]) <= day < citation.ends:
                continue
            made = Citation(citation.instrument, citation.article)
            if citation.when is None:
                always.append(made)
            else:
                condition = _compiled(file, record.identity, [citation.when], thresholds)
                sometimes.append((condition.holds, made))
        return Cited(tuple(always), tuple(sometimes))


def _on(records: Iterable[Dated], day: date) -> list[Dated]:
    return [record for record in records if record.begins <= day < record.ends]


def _text(words: _Words) -> Text:
    return {"en": words.en, "zh": words.zh}


def _compiled(file: str, key: str, lines: Sequence[str], thresholds: Mapping[str, int]) -> _Condition:
    try:
        return _Condition(lines, thresholds)
    except ValueError as error:
        raise RuleFileError(file, f"{key}.when", str(error)) from error


def _demand_text(file: str, record: _Rule, thresholds: Mapping[str, int]) -> None:
    """Refuse a sentence that asks for a number nobody has, or for its form: numbers come written out for each language."""
    known = dict.fromkeys((*thresholds, *_MEASURES), "0")
    for language, sentence in _text(record.text).items():
        try:
            sentence.format(**known)
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            raise RuleFileError(
                file, f"{record.identity}.text.{language}", f"asks for the unknown number {error}"
            ) from error


def _demand_disjoint(file: str, records: Sequence[_Dated]) -> None:
    seen: dict[str, list[_Dated]] = {}
    for record in records:
        for other in seen.setdefault(record.identity, []):
            if record.begins < other.ends and other.begins < record.ends:
                raise RuleFileError(
                    file, record.identity, f"its period from {record.begins} overlaps the one from {other.begins}"
                )
        seen[record.identity].append(record)


def measures(situation: Situation) -> dict[str, int]:
    """Return every count that a text may name."""
    return {name: measure(situation) for name, measure in _MEASURES.items()}
