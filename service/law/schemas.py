"""Defines the API shapes of the law engine."""

import re
from datetime import date
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from service.law.facts import (
    Count,
    DatasetFacts,
    Facts,
    FtzList,
    HandlerFacts,
    Ledger,
    LegalBasis,
    Method,
    Necessity,
    Origin,
    RecipientFacts,
    RecipientKind,
    Tag,
    TransferFacts,
)

MAX_PERSONS: Final = 10**15
_WRITTEN_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Persons = Annotated[int, Field(strict=True, ge=0, le=MAX_PERSONS)]
Truth = Annotated[bool, Field(strict=True)]


def _iso_date(value: object) -> object:
    if isinstance(value, date):
        return value
    # pydantic would read ten digits as seconds since 1970.
    if not isinstance(value, str) or not _WRITTEN_DAY.fullmatch(value):
        raise ValueError("Send a date as YYYY-MM-DD.")
    return value


Day = Annotated[date, BeforeValidator(_iso_date)]
"""Calendar day in Asia/Shanghai, as YYYY-MM-DD."""


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class HandlerFactsIn(_In):
    """Facts of a handler."""

    ciio: Truth = Field(description="Notified as operator of critical information infrastructure.")
    pi_subjects: Persons | None = Field(
        default=None, description="All persons whose information it handles; required before 2024-03-22."
    )
    in_ftz: Truth = Field(default=False, description="Registered in a pilot free-trade zone with a negative list.")
    in_gba: Truth = Field(default=False, description="Registered in a mainland city of the Greater Bay Area.")
    listing_abroad: Truth = Field(default=False, description="Plans to list in a foreign country (not Hong Kong).")
    platform_users: Persons = Field(default=0, description="Persons whose information the platform holds.")

    def facts(self) -> HandlerFacts:
        """Return the facts as plain values."""
        return HandlerFacts(**self.model_dump(include=set(HandlerFactsIn.model_fields)))


class OriginFactsIn(_In):
    """Facts of a dataset, besides its tags."""

    origin: Origin = Field(default=Origin.DOMESTIC, description="Where the personal information was collected.")
    domestic_data_added: Truth = Field(default=True, description="Domestic personal or important data was added.")
    ftz_list: FtzList | None = Field(
        default=None, description="Result of the check against the zone's negative list; null: unchecked."
    )
    contains_minors: Truth = Field(default=False, description="Persons under 14.")

    def dataset(self, tags: frozenset[Tag]) -> DatasetFacts:
        """Return the facts of a dataset with these tags."""
        return DatasetFacts(tags=tags, **self.model_dump(include=set(OriginFactsIn.model_fields)))


class RecipientMarksIn(_In):
    """Facts of a recipient, besides its country and kind."""

    in_gba: Truth = Field(default=False, description="Registered in Hong Kong or Macao.")
    restricted: Truth = Field(default=False, description="On the state's list of restricted recipients (PIPL art. 42).")


class DatasetFactsIn(OriginFactsIn):
    """Facts of the data."""

    tags: list[Tag] = Field(default=[], max_length=32, description="Empty: general data.")


class RecipientFactsIn(RecipientMarksIn):
    """Facts of the recipient."""

    country: Annotated[str, Field(strict=True, max_length=2)] = Field(description="ISO 3166-1 alpha-2.")
    kind: RecipientKind = RecipientKind.COMPANY

    def facts(self, key: str | None = None, name: str | None = None) -> RecipientFacts:
        """Return the facts, with the key and the name of the recipient in the register."""
        return RecipientFacts(**self.model_dump(), key=key, name=name)


class TransferFactsIn(_In):
    """Facts of the transfer."""

    method: Method = Method.TRANSMISSION
    necessity: Necessity | None = Field(default=None, description="The exemption that is claimed.")
    legal_basis: LegalBasis = LegalBasis.CONSENT
    persons: Persons = Field(default=0, description="Distinct persons whose non-sensitive information is sent.")
    sensitive_persons: Persons = Field(
        default=0,
        description="Distinct persons whose sensitive information is sent. Not 0 if the data is tagged sensitive, unless "
        "`sensitive_left_out` is true.",
    )
    sensitive_left_out: Truth = Field(
        default=False,
        description="A person states that no sensitive field of data tagged sensitive is sent (PIPL art. 28).",
    )

    def facts(self) -> TransferFacts:
        """Return the facts as plain values."""
        return TransferFacts(**self.model_dump())


class CountIn(_In):
    """Persons exported in a year."""

    persons: Persons = 0
    sensitive_persons: Persons = 0

    def count(self) -> Count:
        """Return the facts as plain values."""
        return Count(self.persons, self.sensitive_persons)


class LedgerIn(_In):
    """Persons exported by the handler, without exempt exports."""

    this_year: CountIn = CountIn()
    previous_year: CountIn = CountIn()


class FactsIn(_In):
    """Facts of a determination; no default makes the determination freer."""

    as_of: Day | None = Field(default=None, description="The day whose law applies; today in Asia/Shanghai.")
    handler: HandlerFactsIn
    dataset: DatasetFactsIn = DatasetFactsIn()
    recipient: RecipientFactsIn
    transfer: TransferFactsIn = TransferFactsIn()
    ledger: LedgerIn = LedgerIn()

    def facts(self, today: date) -> Facts:
        """Return the facts, as of today (in Asia/Shanghai) unless a day is stated."""
        return Facts(
            as_of=self.as_of or today,
            handler=self.handler.facts(),
            dataset=self.dataset.dataset(frozenset(self.dataset.tags)),
            recipient=self.recipient.facts(),
            transfer=self.transfer.facts(),
            ledger=Ledger(self.ledger.this_year.count(), self.ledger.previous_year.count()),
        )


class CitationOut(BaseModel):
    """An article of an instrument."""

    instrument: str
    article: str | None = Field(description="Null: the instrument as a whole.")


class TextOut(BaseModel):
    """Text in English and Chinese."""

    en: str
    zh: str


class RequirementOut(BaseModel):
    """Requirement of the law; all of them must be met."""

    rule: str
    mechanism: str
    routes: list[str] = Field(description="Routes by which it can be met; the requester chooses one.")
    citations: list[CitationOut]


class ItemOut(BaseModel):
    """An obligation, a kind of evidence, or a warning."""

    code: str
    citations: list[CitationOut]
    text: TextOut


class HeadroomOut(BaseModel):
    """Most persons that can be added without a stricter mechanism; null: any number."""

    persons: int | None
    sensitive_persons: int | None


class AmountOut(BaseModel):
    """A range of fines in yuan."""

    min: int | None
    max: int | None
    turnover_share: float | None = Field(default=None, description="Or this share of last year's turnover.")


class FineOut(BaseModel):
    """Fines for the ordinary and for the grave case."""

    ordinary: AmountOut | None
    grave: AmountOut | None


class ExposureOut(BaseModel):
    """Exposure of a handler that exports without meeting a requirement."""

    code: str
    citations: list[CitationOut]
    company: FineOut
    person: FineOut | None
    text: TextOut


class DeterminationOut(BaseModel):
    """Requirements of the law for given facts on a day. Not legal advice."""

    as_of: date
    mechanism: str
    exemption: str | None
    counts_toward_ledger: bool
    requirements: list[RequirementOut]
    obligations: list[ItemOut]
    evidence: list[ItemOut]
    warnings: list[ItemOut]
    headroom: HeadroomOut
    exposure: list[ExposureOut]
    explanation: TextOut
    rules_version: str
    policy: str | None = Field(default=None, description="Hash of the company's policy that was applied.")
    policy_stages: list[str] = Field(default=[], description="Stages of approval that the company's policy adds.")


class InstrumentOut(BaseModel):
    """A law, regulation or standard that rules cite."""

    code: str
    title: TextOut
    in_force_from: date
    confidence: str


class RuleOut(BaseModel):
    """Rule in force on a day."""

    id: str
    step: str
    in_force_from: date
    in_force_until: date | None = Field(description="The first day on which it is no longer in force.")
    mechanism: str
    exemption: str | None
    condition: list[str]
    thresholds: dict[str, int] = Field(description="Values in effect; a company's policy may lower them.")
    law_thresholds: dict[str, int] = Field(description="Values of the law.")
    citations: list[CitationOut]
    confidence: str
    text: TextOut


class RulesOut(BaseModel):
    """Rules in force on a day, in the order of evaluation."""

    as_of: date
    rules_version: str
    policy: str | None = Field(description="Hash of the company's policy that is applied.")
    items: list[RuleOut]


class InstrumentsOut(BaseModel):
    """Instruments that the rules cite."""

    rules_version: str
    items: list[InstrumentOut]


class WorkingDaysOut(BaseModel):
    """A term of working days."""

    start: date
    days: int
    end: date = Field(description="Its last day; for a term before `start`, its first.")
