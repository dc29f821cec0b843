"""API shapes of the register."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, Self

import pycountry
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    computed_field,
    field_validator,
    model_validator,
)
from stdnum.cn import uscc as stdnum_uscc
from stdnum.exceptions import ValidationError as StdnumError

from service.law.facts import RecipientKind, Tag
from service.law.schemas import CitationOut, HandlerFactsIn, OriginFactsIn, RecipientMarksIn
from service.registry.outdated_fields import outdated_of
from service.registry.tables import Dataset, FactChange, Grading, Handler, Recipient
from service.validation.confusables import Flag, flags_of_all
from service.validation.text_types import (
    DatasetKey,
    Key,
    Name,
    NearDay,
    OptionalProse,
    Prose,
    Reference,
    drop_defaults,
)

MAX_FIELDS = 5000


def _real_uscc(value: str) -> str:
    try:
        return str(stdnum_uscc.validate(value))
    except StdnumError as error:
        raise ValueError("This is not a unified social credit code; check its 18 characters.") from error


def _real_country(value: str) -> str:
    if pycountry.countries.get(alpha_2=value) is None or value != value.upper():
        raise ValueError("Send an ISO 3166-1 alpha-2 code in capitals, such as SG.")
    return value


Uscc = Annotated[str, StringConstraints(strict=True, max_length=40), AfterValidator(_real_uscc)]
Country = Annotated[str, StringConstraints(strict=True, max_length=2), AfterValidator(_real_country)]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _PatchPart(BaseModel):
    """A part of a merge patch; omitted members stay unchanged."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=drop_defaults)


class _Patch(_PatchPart):
    """A JSON merge patch (RFC 7396) limited to the fields named here."""

    @model_validator(mode="after")
    def _holds_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("Send at least one field to change.")
        return self

    def changes(self) -> dict[str, Any]:
        """Return the members that the caller sent."""
        return self.model_dump(mode="json", exclude_unset=True)


class PendingFact(BaseModel):
    """A fact that frees, pending a second person."""

    value: bool | int | str | None = Field(description="The value once confirmed.")
    change: str = Field(description="Id of the change, which another registrar confirms or refuses.")


PendingFacts = Annotated[
    dict[str, PendingFact],
    Field(description="Facts that free: they take effect once a second person confirms them."),
]


class _Distinct(BaseModel):
    """The statement that a key is distinct from a registered spelling."""

    distinct_from: Reference | None = Field(
        default=None, description="Id or key of another spelling of this key that names a different thing."
    )
    reason: Prose | None = Field(default=None, description="Why the two are not one thing.")

    @model_validator(mode="after")
    def _says_why(self) -> Self:
        if (self.distinct_from is None) != (self.reason is None):
            raise ValueError("Send `distinct_from` and `reason` together.")
        return self


DISTINCT: Final = set(_Distinct.model_fields)


class HandlerIn(_In):
    """A legal entity that handles data."""

    key: Key
    name: Name
    uscc: Uscc | None = Field(default=None, description="Unified social credit code, 18 characters.")
    group: Name | None = Field(default=None, description="The group of companies that it belongs to.")
    facts: HandlerFactsIn


class HandlerNewIn(HandlerIn, _Distinct):
    """A legal entity that handles data, to be registered."""


class HandlerFactsPatch(_PatchPart):
    """Facts of a handler to change."""

    ciio: bool = Field(default=False, strict=True)
    pi_subjects: int | None = Field(default=None, strict=True)
    in_ftz: bool = Field(default=False, strict=True)
    in_gba: bool = Field(default=False, strict=True)
    listing_abroad: bool = Field(default=False, strict=True)
    platform_users: int = Field(default=0, strict=True)


class HandlerPatch(_Patch):
    """A merge patch of a handler."""

    name: Name = ""
    uscc: Uscc | None = None
    group: Name | None = None
    facts: HandlerFactsPatch = HandlerFactsPatch()


class HandlerOut(BaseModel):
    """A handler."""

    id: str
    key: str
    name: str
    uscc: str | None
    group: str | None
    group_confirmed: bool = Field(
        description="True if a registrar of all handlers, or of another handler of the group, has confirmed the group."
    )
    facts: HandlerFactsIn
    pending_facts: PendingFacts
    created_at: datetime
    updated_at: datetime

    @computed_field  # type: ignore[prop-decorator]
    @property
    def flags(self) -> list[Flag]:
        """Warnings about the name: `mixed_script`; `looks_latin`: letters that only look Latin."""
        return flags_of_all(self.name)

    @classmethod
    def of(cls, handler: Handler) -> Self:
        """Return the shape of a row."""
        return cls.model_validate(handler, from_attributes=True)


class GroupClaimOut(BaseModel):
    """A handler's claim to belong to a group."""

    id: str
    key: str
    name: str
    group: str | None
    group_confirmed: bool

    @classmethod
    def of(cls, handler: Handler) -> Self:
        """Return the shape of a row."""
        return cls.model_validate(handler, from_attributes=True)


class FieldIn(_In):
    """A field of a dataset; a nested one is named with dots."""

    name: Name
    type: Name
    category: Name | None = Field(default=None, description="Data category, for instance `user.contact.email`.")


def _named_once(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("Name each field once.")
    return names


def _distinct(fields: list[FieldIn]) -> list[FieldIn]:
    seen: set[str] = set()
    for field in fields:
        if field.name in seen:
            raise ValueError(f"The field name {field.name} stands twice.")
        seen.add(field.name)
    return fields


Fields = Annotated[list[FieldIn], Field(max_length=MAX_FIELDS), AfterValidator(_distinct)]


Scale = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
SCALE_MEANING = "Records or persons that it holds. Important or core data whose scale changes by 30 % or more is filed anew (MIIT art. 12)."


class DatasetIn(_In):
    """A dataset; its tags come from a grading, never from here."""

    key: DatasetKey = Field(description="Its name in the data platform, `<namespace>/<name>` (OpenLineage naming).")
    handler: Reference
    title: Name
    owner: Name
    description: OptionalProse | None = None
    fields: Fields
    facts: OriginFactsIn = OriginFactsIn()
    scale: Scale | None = Field(default=None, description=SCALE_MEANING)


class DatasetNewIn(DatasetIn, _Distinct):
    """A dataset to be registered."""


class OriginFactsPatch(_PatchPart):
    """Origin facts of a dataset to change."""

    origin: Literal["domestic", "foreign"] = "domestic"
    domestic_data_added: bool = Field(default=True, strict=True)
    ftz_list: Literal["listed", "unlisted"] | None = None
    contains_minors: bool = Field(default=False, strict=True)


class DatasetPatch(_Distinct, _Patch):
    """A merge patch of a dataset; only a grading changes tags."""

    title: Name = ""
    owner: Name = ""
    description: OptionalProse | None = None
    fields: Fields = []
    facts: OriginFactsPatch = OriginFactsPatch()
    scale: Scale | None = Field(default=None, description=SCALE_MEANING)


class DatasetOut(BaseModel):
    """A dataset; `tags` is null until it is graded."""

    id: str
    key: str
    handler: str
    title: str
    owner: str
    description: str | None
    fields: list[FieldIn]
    facts: OriginFactsIn
    pending_facts: PendingFacts
    scale: int | None = Field(description="Records or persons that it holds.")
    tags: list[Tag] | None = Field(description="Tags of the effective grading; null: ungraded.")
    grading: int | None = Field(description="Number of the effective grading.")
    outdated_fields: list[str] = Field(
        description="Fields that were added or changed after the effective grading: neither they nor all fields may be exported before "
        "the next grading."
    )
    twins: list[str] = Field(
        description="Datasets whose keys are other spellings of this one's: the stricter grading holds for each, in `tags`."
    )
    distinct_from: list[str] = Field(description="Other spellings that two persons have declared distinct.")
    created_at: datetime
    updated_at: datetime

    @computed_field  # type: ignore[prop-decorator]
    @property
    def flags(self) -> list[Flag]:
        """Warnings about the name: `mixed_script`; `looks_latin`: letters that only look Latin."""
        return flags_of_all(self.title, self.owner)

    @classmethod
    def of(cls, dataset: Dataset) -> Self:
        """Return the shape of a row."""
        columns = {name: getattr(dataset, name) for name in cls.model_fields if name in Dataset.__table__.columns}
        return cls.model_validate(columns | {"outdated_fields": outdated_of(dataset)})


NOT_NOTIFIED = "not_notified_as_important"
"""Data that no authority has notified or published as important need not be declared as such. Source: CBDF art. 2, NDSMR art. 37."""

BASES: Mapping[str, list[dict[str, str | None]]] = {
    NOT_NOTIFIED: [{"instrument": "CBDF", "article": "2"}, {"instrument": "NDSMR", "article": "37"}]
}


class GradingIn(_In):
    """The reasoned act that sets a dataset's tags."""

    tags: list[Tag] = Field(description="Empty: general data.", max_length=len(Tag))
    reason: Prose
    basis: Prose = Field(
        description="What it rests on: the catalogue and its entry, the standard, the notice; or `not_notified_as_important`."
    )
    catalogue: Name | None = Field(
        default=None,
        description="The catalogue that was consulted; required where `not_notified_as_important` lowers a grade. Of another lowering "
        "the basis, where it is not named.",
    )
    review_by: NearDay | None = Field(default=None, description="The day by which the grading must be reviewed.")
    sensitive_fields: (
        Annotated[list[Name], Field(min_length=1, max_length=MAX_FIELDS), AfterValidator(_named_once)] | None
    ) = Field(
        default=None,
        description="With the tag `sensitive`: the fields that are. Left out: those whose category says so and, if none does, all.",
    )

    @model_validator(mode="after")
    def _names_fields_of_sensitive_data(self) -> Self:
        if self.sensitive_fields is not None and Tag.SENSITIVE not in self.tags:
            raise ValueError("Sensitive fields are named together with the tag sensitive.")
        return self

    @field_validator("basis")
    @classmethod
    def _fits_the_tags(cls, basis: str, info: ValidationInfo) -> str:
        if basis == NOT_NOTIFIED and {Tag.CORE, Tag.IMPORTANT} & set(info.data.get("tags", [])):
            raise ValueError("Data that is tagged important or core cannot rest on nobody having notified it as such.")
        return basis


class BulkGradingIn(GradingIn):
    """One grading for many datasets: all of them get it, or none."""

    datasets: Annotated[list[Reference], Field(min_length=1, max_length=1000)] = Field(description="Ids or keys.")


class ConfirmIn(_In):
    """Statements of the second person."""

    reason: Prose | None = None
    catalogue: Name | None = Field(default=None, description="The catalogue that the second person consulted.")


class GradingOut(BaseModel):
    """A grading."""

    id: str
    dataset: str
    number: int
    tags: list[Tag]
    fields: list[FieldIn] | None = Field(description="The fields that it examined, as they were; null: not recorded.")
    sensitive_fields: list[str] | None = Field(
        description="Those that it named as sensitive. Null: those whose category says so and, if none does, all."
    )
    reason: str
    basis: str
    basis_code: Literal["not_notified_as_important"] | None = Field(
        description="The basis, where it is one that the law knows."
    )
    citations: list[CitationOut]
    catalogue: str | None
    review_by: date | None
    state: Literal["effective", "pending", "superseded"]
    graded_by: str
    graded_at: datetime
    confirmed_by: str | None
    confirmed_reason: str | None
    effective_at: datetime | None
    ended_at: datetime | None = Field(description="Instant at which another grading superseded it.")

    @classmethod
    def of(cls, grading: Grading) -> Self:
        """Return the shape of a row."""
        columns = {name: getattr(grading, name) for name in cls.model_fields if name in Grading.__table__.columns}
        is_coded_basis = grading.basis in BASES
        return cls.model_validate(
            columns
            | {"basis_code": grading.basis if is_coded_basis else None, "citations": BASES.get(grading.basis, [])}
        )


class GradingsOut(BaseModel):
    """Gradings that were made together."""

    items: list[GradingOut]


class ContradictionOut(BaseModel):
    """A statement that contradicts a dataset's tags."""

    dataset: str
    key: str
    handler: str
    grading: int = Field(description="Number of the grading that it contradicts.")
    kind: Literal[
        "persons_of_general_data", "sensitive_persons_without_tag", "no_sensitive_persons", "minors_without_tag"
    ]
    principal: str = Field(description="Principal that stated it.")
    subject: str = Field(description="The evaluation, or the export, that stated it first on that day.")
    persons: int
    sensitive_persons: int
    at: datetime
    is_open: bool = Field(description="True while the grading is in effect; the next one answers it.")


class RecipientIn(_In):
    """A party abroad that receives data or can read it."""

    key: Key
    name: Name
    country: Country
    kind: RecipientKind = RecipientKind.COMPANY
    group: Name | None = Field(default=None, description="The group of companies that it belongs to.")
    facts: RecipientMarksIn = RecipientMarksIn()


class RecipientNewIn(RecipientIn, _Distinct):
    """A recipient to be registered."""


class RecipientMarksPatch(_PatchPart):
    """Facts of a recipient to change."""

    in_gba: bool = Field(default=False, strict=True)
    restricted: bool = Field(default=False, strict=True)


class RecipientPatch(_Patch):
    """A merge patch of a recipient."""

    name: Name = ""
    country: Country = ""
    kind: RecipientKind = RecipientKind.COMPANY
    group: Name | None = None
    facts: RecipientMarksPatch = RecipientMarksPatch()


class RecipientOut(BaseModel):
    """A recipient."""

    id: str
    key: str
    name: str
    country: str
    kind: RecipientKind
    group: str | None
    facts: RecipientMarksIn
    pending_facts: PendingFacts
    created_at: datetime
    updated_at: datetime

    @computed_field  # type: ignore[prop-decorator]
    @property
    def flags(self) -> list[Flag]:
        """Warnings about the name: `mixed_script`; `looks_latin`: letters that only look Latin."""
        return flags_of_all(self.name)

    @classmethod
    def of(cls, recipient: Recipient) -> Self:
        """Return the shape of a row."""
        return cls.model_validate(recipient, from_attributes=True)


class SettleIn(_In):
    """Statements of the second person."""

    reason: Prose | None = None


class FactChangeOut(BaseModel):
    """A change of a fact that frees, and its state."""

    id: str
    subject: str = Field(description="The handler, dataset or recipient that it is a fact of.")
    handler: str | None = Field(description="Null: of a recipient, which all handlers share.")
    fact: str
    before: bool | int | str | None
    after: bool | int | str | None
    state: Literal["pending", "effective", "refused", "overtaken"] = Field(
        description="`overtaken`: the same fact was stated anew before anybody confirmed this."
    )
    asked_by: str
    asked_at: datetime
    settled_by: str | None
    settled_at: datetime | None
    reason: str | None = Field(description="Reason of the confirmation or refusal.")
    stated_reason: str | None = Field(description="Reason of the statement.")

    @classmethod
    def of(cls, change: FactChange) -> Self:
        """Return the shape of a row."""
        return cls.model_validate(change, from_attributes=True)


class ImportOut(BaseModel):
    """The outcome of an import, or of its `dry_run`."""

    dry_run: bool
    created: int
    updated: int
    unchanged: int
    keys: list[str] = Field(description="Keys of the datasets that were created or updated.")


class CountOut(BaseModel):
    """Persons of each kind."""

    persons: int
    sensitive_persons: int


class AheadOut(BaseModel):
    """Persons of each kind, or null for any number."""

    persons: int | None
    sensitive_persons: int | None


class ThresholdOut(BaseModel):
    """A threshold, and the year's distance from it."""

    id: str
    kind: Literal["persons", "sensitive_persons"]
    mechanism: str = Field(description="The mechanism that the law requires from this many persons on.")
    value: int = Field(description="As it is applied: the company's own may be lower than the law's.")
    law_value: int
    reached: bool
    headroom: int = Field(description="Persons that can be added with the line not yet reached.")


class KindOut(BaseModel):
    """The year's persons of one kind, by source."""

    plain: int = Field(description="The sum of the reports that came as numbers.")
    estimate: int = Field(description="Distinct persons reported by hash; exact up to 131,072.")
    lower: int = Field(description="They are at least so many, at three standard deviations.")
    upper: int = Field(description="They are at most so many, at three standard deviations.")
    reserved: int = Field(description="Held by exports that have not reported yet.")
    total: int = Field(description="`plain`, `upper` and `reserved`: the number that thresholds are compared with.")
    thresholds: list[ThresholdOut]


class LedgerOut(BaseModel):
    """A handler's count of persons exported in a year; exports under an exemption other than small volume are not in it."""

    handler: str
    year: int
    reported: CountOut = Field(description="Reported as sent; persons by hash at their upper bound.")
    reserved: CountOut = Field(description="Held by exports that have not reported yet.")
    persons: int = Field(description="Reported and reserved: the number that thresholds are compared with.")
    sensitive_persons: int
    kinds: dict[Literal["persons", "sensitive_persons"], KindOut] = Field(description="The same by kind, with bounds.")
    thresholds: list[ThresholdOut]
    headroom: AheadOut = Field(description="Persons that can be added before the next threshold; null: none follows.")


class PersonKeyOut(BaseModel):
    """The key with which a handler's exporters hash identifiers of persons. Secret: its holder can test for a person."""

    handler: str
    algorithm: Literal["HMAC-SHA-256"] = "HMAC-SHA-256"
    key: str = Field(description="The key, 32 bytes in hexadecimal digits.")
    bytes: Literal[16] = Field(default=16, description="The first so many bytes of the result are the hash.")
    sketch: Literal["theta"] = Field(default="theta", description="Family of Apache DataSketches that `sketch` takes.")
    sketch_lg_k: Literal[17] = Field(
        default=17, description="At least; its items are the hashes as 32 lower-case digits."
    )
    created_at: datetime
