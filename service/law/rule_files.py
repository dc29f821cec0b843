"""Shapes of the rule files (TOML), validated when they are read."""

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from service.law.facts import Route
from service.law.mechanisms import Mechanism

MechanismName = Annotated[Mechanism, Field(strict=False)]
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


class RuleFileError(ValueError):
    """Raised for an invalid rule file; the message names the file and the key."""

    def __init__(self, file: str, key: str, detail: str) -> None:
        super().__init__(f"{file}: {key}: {detail}")


# Content of the files


def _whole_day(value: object) -> object:
    if type(value) is not date:
        raise ValueError("a date, written 2024-03-22 without quotes, is expected")
    return value


Day = Annotated[date, BeforeValidator(_whole_day)]
Line = Annotated[str, StringConstraints(pattern=r"\S", strict=True)]
"""Text with at least one character that is not white space."""


NAMES: Final = ("id", "code", "kind")


class Record(BaseModel):
    """Record of a rule file; unknown members are errors."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, strict=True)


class WordsRecord(Record):
    """A text in English and Chinese."""

    en: Line
    zh: Line


class CitationRecord(Record):
    """An article of an instrument."""

    instrument: Line
    article: Line | None = None
    begins: Day = Field(default=date.min, alias="from")
    ends: Day = Field(default=date.max, alias="to")
    when: Line | None = None


class DatedRecord(Record):
    """A record in force from one day to another."""

    begins: Day = Field(alias="from")
    ends: Day = Field(default=date.max, alias="to")
    citations: list[CitationRecord] = []
    uncited: Line | None = None
    """Reason for the lack of a citation; required if `citations` is empty."""

    @model_validator(mode="after")
    def _is_cited_for_some_time(self) -> Self:
        if self.begins >= self.ends:
            raise ValueError("`to` must come after `from`")
        if bool(self.citations) == (self.uncited is not None):
            raise ValueError("give citations, or say under `uncited` why there is no article to cite")
        return self

    @property
    def identity(self) -> str:
        """Id, code or kind of the record."""
        return str(next(getattr(self, name) for name in NAMES if hasattr(self, name)))


class InstrumentRecord(Record):
    """A law, regulation, measure or standard."""

    code: Line
    begins: Day = Field(alias="from")
    confidence: Literal["H", "M", "L"]
    title: WordsRecord


class ThresholdRecord(DatedRecord):
    """Number with which conditions compare counts."""

    id: Line
    unit: Literal["persons", "percent"]
    value: Annotated[int, Field(gt=0)]


class RuleRecord(DatedRecord):
    """Rule: its step, its condition and its mechanism."""

    id: Line
    step: Literal["border", "bar", "mechanism"]
    mechanism: MechanismName
    exemption: Exemption | None = None
    when: list[Line]
    confidence: Literal["H", "M", "L"]
    text: WordsRecord

    @model_validator(mode="after")
    def _names_its_exemption(self) -> Self:
        if (self.mechanism is Mechanism.EXEMPT) != (self.exemption is not None):
            raise ValueError("`exemption` belongs to the mechanism exempt, and to no other")
        return self


class RouteRecord(DatedRecord):
    """Route of a mechanism."""

    id: Line
    route: Annotated[Route, Field(strict=False)]
    mechanism: MechanismName
    when: list[Line]
    text: WordsRecord


class ItemRecord(DatedRecord):
    """A record with a code, a text and citations."""

    when: list[Line]
    text: WordsRecord


class ObligationRecord(ItemRecord):
    """Obligation of a determination."""

    code: Line


class WarningRecord(ObligationRecord):
    """Warning of a determination."""


class EvidenceRecord(ItemRecord):
    """Kind of evidence that a mechanism requires."""

    kind: Line


class ValidityRecord(DatedRecord):
    """Period of validity of evidence of a kind."""

    kind: Line
    years: Annotated[int, Field(gt=0)] | None = None
    """None: valid until the end of this record's period."""

    def last_day(self, issued_on: date) -> date | None:
        """Return the last day of an evidence item issued in this period; None: no end is known."""
        if self.years is not None:
            return _years_after(issued_on, self.years)
        return None if self.ends == date.max else date.fromordinal(self.ends.toordinal() - 1)


class FollowUpRecord(DatedRecord):
    """A receipt that must follow evidence of a kind."""

    kind: Line
    after: list[Line]
    working_days: Annotated[int, Field(gt=0)]


class _Amount(Record):
    min: int | None = None
    max: int | None = None
    turnover_share: float | None = None


class _Fine(Record):
    ordinary: _Amount | None = None
    grave: _Amount | None = None


class ExposureRecord(ObligationRecord):
    """Fines that a breach may bring."""

    company: _Fine
    person: _Fine | None = None


class _InstrumentFile(Record):
    instrument: list[InstrumentRecord]


class _ThresholdFile(Record):
    threshold: list[ThresholdRecord]


class _RuleFile(Record):
    rule: list[RuleRecord]
    route: list[RouteRecord]


class _ObligationFile(Record):
    obligation: list[ObligationRecord]


class _EvidenceFile(Record):
    evidence: list[EvidenceRecord]
    life: list[ValidityRecord]
    follow_up: list[FollowUpRecord]


class _WarningFile(Record):
    warning: list[WarningRecord]


class _ExposureFile(Record):
    exposure: list[ExposureRecord]


FILES: Final[Mapping[str, type[Record]]] = {
    "instruments.toml": _InstrumentFile,
    "thresholds.toml": _ThresholdFile,
    "rules.toml": _RuleFile,
    "obligations.toml": _ObligationFile,
    "evidence.toml": _EvidenceFile,
    "warnings.toml": _WarningFile,
    "exposure.toml": _ExposureFile,
}


def _years_after(start: date, years: int) -> date:
    """Return the last day of a term of years: the day before the same date, or 28 February where there is no 29th."""
    try:
        end = start.replace(year=start.year + years)
    except ValueError:
        return date(start.year + years, 2, 28)
    return date.fromordinal(end.toordinal() - 1)
