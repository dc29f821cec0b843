"""Defines the facts of a determination as plain values, and finds contradictions among them.

Source: PRC law as restated in the service's law data. The shape is that of `POST /v1/determinations`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Final

import pycountry
from msgspec import Struct

FIRST_DAY: Final = date(2021, 9, 1)
"""First day of the Data Security Law, and of the law data. Source: DSL art. 55."""

PI_SUBJECTS_UNTIL: Final = date(2024, 3, 22)
"""First day on which the handler's total no longer decides. Source: SAM art. 4(3); CBDF art. 7, 8."""

SENSITIVE_FROM: Final = date(2021, 11, 1)
"""First day on which sensitive personal information is a separate category. Source: PIPL art. 28, 74."""

COUNTRIES: Final = frozenset(country.alpha_2 for country in pycountry.countries)


class Tag(StrEnum):
    """Tags of a dataset, set by its grading; none: general data. Source: GB/T 43697-2024; PIPL art. 4, 28."""

    CORE = "core"
    IMPORTANT = "important"
    PERSONAL = "personal"
    SENSITIVE = "sensitive"


class Origin(StrEnum):
    """Place of collection or generation of personal information. Source: CBDF art. 4."""

    DOMESTIC = "domestic"
    FOREIGN = "foreign"


class FtzList(StrEnum):
    """Result of the check against the free-trade zone's negative list. Source: CBDF art. 6."""

    LISTED = "listed"
    UNLISTED = "unlisted"


class RecipientKind(StrEnum):
    """Kinds of recipients. Source: DSL art. 36 for the last one."""

    COMPANY = "company"
    AFFILIATE = "affiliate"
    PUBLIC_BODY = "public_body"
    JUDICIAL_OR_ENFORCEMENT = "judicial_or_enforcement"


class Method(StrEnum):
    """Methods of export."""

    TRANSMISSION = "transmission"
    REMOTE_ACCESS = "remote_access"
    OVERSEAS_COLLECTION = "overseas_collection"


class Necessity(StrEnum):
    """Grounds of an exemption that a requester can claim. Source: CBDF art. 5(1); NDSMR art. 35."""

    CONTRACT = "contract"
    HR = "hr"
    EMERGENCY = "emergency"
    STATUTORY_DUTY = "statutory_duty"


class LegalBasis(StrEnum):
    """Legal bases for handling personal information. Source: PIPL art. 13."""

    CONSENT = "consent"
    CONTRACT = "contract"
    HR = "hr"
    STATUTORY_DUTY = "statutory_duty"
    EMERGENCY = "emergency"
    PUBLIC_INTEREST = "public_interest"
    DISCLOSED_BY_PERSON = "disclosed_by_person"


class Route(StrEnum):
    """Routes by which a requirement can be met."""

    STATE_APPROVAL = "state_approval"
    AUTHORITY_APPROVAL = "authority_approval"
    SECURITY_ASSESSMENT = "security_assessment"
    STANDARD_CONTRACT = "standard_contract"
    CERTIFICATION = "certification"
    GBA_STANDARD_CONTRACT = "gba_standard_contract"


@dataclass(frozen=True, slots=True)
class HandlerFacts:
    """Facts of the legal entity that handles the data."""

    ciio: bool
    pi_subjects: int | None = None
    in_ftz: bool = False
    in_gba: bool = False
    listing_abroad: bool = False
    platform_users: int = 0


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """Facts of the data."""

    tags: frozenset[Tag] = frozenset()
    origin: Origin = Origin.DOMESTIC
    domestic_data_added: bool = True
    ftz_list: FtzList | None = None
    contains_minors: bool = False

    @property
    def is_personal(self) -> bool:
        """True for personal information, the sensitive kind included. Source: PIPL art. 28."""
        return Tag.PERSONAL in self.tags or Tag.SENSITIVE in self.tags

    @property
    def is_foreign_origin(self) -> bool:
        """True if it was collected abroad and no domestic data was added. Source: CBDF art. 4."""
        return self.origin is Origin.FOREIGN and not self.domestic_data_added


@dataclass(frozen=True, slots=True)
class RecipientFacts:
    """Facts of the recipient."""

    country: str
    kind: RecipientKind = RecipientKind.COMPANY
    in_gba: bool = False
    restricted: bool = False
    key: str | None = None
    """Key in the register, for the company's policy; the law does not depend on it."""
    name: str | None = None
    """Name that reviewers approve; None: not recorded. The law does not depend on it."""


@dataclass(frozen=True, slots=True)
class TransferFacts:
    """Facts of the transfer; the counts are distinct persons of each kind in it."""

    method: Method = Method.TRANSMISSION
    necessity: Necessity | None = None
    legal_basis: LegalBasis = LegalBasis.CONSENT
    persons: int = 0
    sensitive_persons: int = 0
    sensitive_left_out: bool = False
    """Statement by a person that no sensitive field of data tagged sensitive is sent."""


class Count(Struct, frozen=True, gc=False):
    """Distinct persons, counted separately with and without sensitive information."""

    # A Struct: the gate creates many, and a frozen dataclass takes ten times as long to create.

    persons: int = 0
    sensitive_persons: int = 0


NO_PERSONS: Final = Count()


@dataclass(frozen=True, slots=True)
class Ledger:
    """Persons exported by the handler since 1 January and in the year before, without exempt exports."""

    this_year: Count = NO_PERSONS
    previous_year: Count = NO_PERSONS


@dataclass(frozen=True, slots=True)
class Facts:
    """Input of a determination, besides the rules."""

    as_of: date
    handler: HandlerFacts
    dataset: DatasetFacts
    recipient: RecipientFacts
    transfer: TransferFacts = field(default_factory=TransferFacts)
    ledger: Ledger = field(default_factory=Ledger)


@dataclass(frozen=True, slots=True)
class Fault:
    """Contradiction or gap in the facts: RFC 6901 pointer and explanation."""

    pointer: str
    detail: str


def find_faults(facts: Facts) -> tuple[Fault, ...]:
    """Find all contradictions and gaps; `determine` requires facts without any."""
    return (*_day_faults(facts), *_count_faults(facts), *_person_faults(facts), *_sensitive_faults(facts))


def _day_faults(facts: Facts) -> Iterator[Fault]:
    if facts.as_of < FIRST_DAY:
        yield Fault("/as_of", "The service knows the law from 2021-09-01, when the Data Security Law came into force.")
    if facts.recipient.country not in COUNTRIES:
        yield Fault("/recipient/country", "Send an ISO 3166-1 alpha-2 code in capitals, such as SG.")
    if facts.as_of < PI_SUBJECTS_UNTIL and facts.dataset.is_personal and facts.handler.pi_subjects is None:
        yield Fault(
            "/handler/pi_subjects",
            "Before 2024-03-22 the law counts everybody whose information the handler holds: state how many.",
        )


def _count_faults(facts: Facts) -> Iterator[Fault]:
    counts = {
        "/handler/pi_subjects": facts.handler.pi_subjects or 0,
        "/handler/platform_users": facts.handler.platform_users,
        "/transfer/persons": facts.transfer.persons,
        "/transfer/sensitive_persons": facts.transfer.sensitive_persons,
        "/ledger/this_year/persons": facts.ledger.this_year.persons,
        "/ledger/this_year/sensitive_persons": facts.ledger.this_year.sensitive_persons,
        "/ledger/previous_year/persons": facts.ledger.previous_year.persons,
        "/ledger/previous_year/sensitive_persons": facts.ledger.previous_year.sensitive_persons,
    }
    for pointer, count in counts.items():
        if count < 0:
            yield Fault(pointer, "A count of persons is 0 or more.")


def _person_faults(facts: Facts) -> Iterator[Fault]:
    transfer, dataset = facts.transfer, facts.dataset
    if transfer.sensitive_persons > 0 and Tag.SENSITIVE not in dataset.tags:
        yield Fault(
            "/transfer/sensitive_persons", "The data is not tagged sensitive, so no sensitive persons can be in it."
        )
    if transfer.persons > 0 and not dataset.is_personal:
        yield Fault("/transfer/persons", "The data is not tagged personal, so no persons can be in it.")
    if dataset.is_personal and transfer.persons == 0 and transfer.sensitive_persons == 0:
        yield Fault("/transfer/persons", "Personal data concerns somebody: state how many persons.")


def _sensitive_faults(facts: Facts) -> Iterator[Fault]:
    """Require persons for sensitive data, and the tag for information about persons under 14. Source: PIPL art. 28."""
    transfer, dataset = facts.transfer, facts.dataset
    is_sensitive, is_in_force = Tag.SENSITIVE in dataset.tags, facts.as_of >= SENSITIVE_FROM
    if is_in_force and dataset.contains_minors and not is_sensitive:
        yield Fault("/dataset/tags", "All information about persons under 14 is sensitive (PIPL art. 28): tag it so.")
    if is_in_force and is_sensitive and transfer.sensitive_persons == 0:
        if dataset.contains_minors:
            yield Fault(
                "/transfer/sensitive_persons",
                "All information about persons under 14 is sensitive (PIPL art. 28): state how many there are.",
            )
        elif not transfer.sensitive_left_out:
            yield Fault(
                "/transfer/sensitive_persons",
                "The data is tagged sensitive: state of how many persons sensitive information goes, or state with "
                "`sensitive_left_out` that only fields go that are not sensitive.",
            )
    if transfer.sensitive_left_out and (transfer.sensitive_persons > 0 or dataset.contains_minors or not is_sensitive):
        yield Fault(
            "/transfer/sensitive_left_out",
            "This is for data that is tagged sensitive, is not about persons under 14, and of which nothing sensitive goes.",
        )


def merge_datasets(datasets: Sequence[DatasetFacts]) -> DatasetFacts:
    """Merge the facts of several datasets, with the stricter value of each fact and the tags of all.

    The result is foreign in origin, unlisted or without minors only if each dataset is.
    """
    # An empty sequence gives the strictest facts: nothing is known.
    foreign = bool(datasets) and all(dataset.is_foreign_origin for dataset in datasets)
    return DatasetFacts(
        tags=frozenset().union(*(dataset.tags for dataset in datasets)),
        origin=Origin.FOREIGN if foreign else Origin.DOMESTIC,
        domestic_data_added=not foreign,
        ftz_list=_merge_ftz_lists([dataset.ftz_list for dataset in datasets]),
        contains_minors=any(dataset.contains_minors for dataset in datasets),
    )


def _merge_ftz_lists(lists: Sequence[FtzList | None]) -> FtzList | None:
    if FtzList.LISTED in lists:
        return FtzList.LISTED
    return FtzList.UNLISTED if all(lists) and lists else None
