"""Reads a company's policy from a TOML file: stages, lower thresholds, prohibited countries, required evidence, service times.

A policy can only be stricter than the law; a file that would make anything freer is rejected when it is read.
"""

import hashlib
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from service.law.facts import COUNTRIES, Tag
from service.law.mechanisms import Mechanism
from service.law.stages import Stage

_WITHOUT_REVIEW: Final = {Mechanism.NOT_CROSS_BORDER, Mechanism.PROHIBITED}
if TYPE_CHECKING:
    MechanismName = str
else:  # a type checker accepts only members that are written out
    MechanismName = Literal[tuple(name.value for name in Mechanism if name not in _WITHOUT_REVIEW)]
StageName = Annotated[Stage, Field(strict=False)]
TagName = Annotated[Tag, Field(strict=False)]
_IMPLIED: Final = {"core": "important", "sensitive": "personal"}


class PolicyFileError(ValueError):
    """Raised for an invalid policy file; the message names the file and the key."""

    def __init__(self, file: str, key: str, detail: str) -> None:
        super().__init__(f"{file}: {key}: {detail}")


# Content of the file


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Word = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,59}$")]
Sentence = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1000)]


class _Words(_Record):
    en: Sentence
    zh: Sentence


class _Conditional(_Record):
    mechanisms: Annotated[list[MechanismName], Field(min_length=1)] | None = None
    tags: Annotated[list[TagName], Field(min_length=1)] | None = None
    countries: Annotated[list[str], Field(min_length=1)] | None = None
    recipients: Annotated[list[str], Field(min_length=1)] | None = None


class _Stage(_Conditional):
    role: StageName


class _Evidence(_Conditional):
    kind: Word
    text: _Words


class _Prohibition(_Record):
    id: Word
    countries: Annotated[list[str], Field(min_length=1)]
    tags: Annotated[list[TagName], Field(min_length=1)] | None = None
    text: _Words


class _File(_Record):
    stage: list[_Stage] = []
    evidence: list[_Evidence] = []
    bar: list[_Prohibition] = []
    thresholds: dict[str, Annotated[int, Field(ge=1)]] = {}
    service_times: dict[StageName, Annotated[int, Field(ge=1, le=8760)]] = {}


# Compiled policy


@dataclass(frozen=True, slots=True)
class Situation:
    """Input of the conditions of a policy."""

    mechanisms: frozenset[str]
    tags: frozenset[str]
    country: str
    recipient: str | None
    """Key of the recipient in the register; None: not registered."""

    @classmethod
    def of(cls, mechanisms: Iterable[str], tags: Iterable[str], country: str, recipient: str | None) -> "Situation":
        """Return a situation, with the implied tags added."""
        stated = frozenset(tags)
        return cls(
            frozenset(mechanisms), stated | {_IMPLIED[tag] for tag in stated if tag in _IMPLIED}, country, recipient
        )


@dataclass(frozen=True, slots=True)
class Condition:
    """Condition of a policy: each part must have a member in common with the situation; None: any."""

    mechanisms: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    countries: frozenset[str] | None = None
    recipients: frozenset[str] | None = None

    def holds(self, situation: Situation) -> bool:
        """Return True if all parts match."""
        parts: tuple[tuple[frozenset[str] | None, Collection[str]], ...] = (
            (self.mechanisms, situation.mechanisms),
            (self.tags, situation.tags),
            (self.countries, (situation.country,)),
            (self.recipients, () if situation.recipient is None else (situation.recipient,)),
        )
        return all(accepted is None or not accepted.isdisjoint(actual) for accepted, actual in parts)


@dataclass(frozen=True, slots=True)
class Prohibition:
    """Prohibition of exports that the law would allow."""

    id: str
    condition: Condition
    text: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RequiredEvidence:
    """Kind of evidence that the company requires."""

    kind: str
    condition: Condition
    text: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Policy:
    """Policy of a company, immutable."""

    hash: str
    """`sha256:` and the hash of the file."""
    file: str = "policy"
    """Name of the file, for messages."""
    stages: tuple[tuple[Stage, Condition], ...] = ()
    prohibitions: tuple[Prohibition, ...] = ()
    evidence: tuple[RequiredEvidence, ...] = ()
    thresholds: Mapping[str, int] = field(default_factory=dict)
    hours: Mapping[str, int] = field(default_factory=dict)

    @property
    def recipients(self) -> frozenset[str]:
        """Keys of the recipients that conditions name."""
        conditions = [condition for _, condition in self.stages] + [item.condition for item in self.evidence]
        return frozenset(key for condition in conditions for key in condition.recipients or ())

    def stages_in(self, situation: Situation) -> tuple[Stage, ...]:
        """Return the stages that the company adds, in the order of approval."""
        added = {stage for stage, condition in self.stages if condition.holds(situation)}
        return tuple(stage for stage in Stage if stage in added)

    def prohibitions_in(self, situation: Situation) -> tuple[Prohibition, ...]:
        """Return the prohibitions that apply."""
        return tuple(prohibition for prohibition in self.prohibitions if prohibition.condition.holds(situation))

    def evidence_in(self, situation: Situation) -> tuple[RequiredEvidence, ...]:
        """Return the evidence that the company requires, each kind once."""
        by_kind = {item.kind: item for item in self.evidence if item.condition.holds(situation)}
        return tuple(by_kind.values())

    def service_hours(self, stage: str, default: int) -> int:
        """Return the service time of a stage in hours."""
        return self.hours.get(stage, default)


def load(path: Path) -> Policy:
    """Read and validate a policy file; the rule book compares its thresholds with the law's (`require_stricter`).

    Raises:
        PolicyFileError: naming file and key.

    Example:
        book = loader.load(policy=policy.load(Path("policy.toml")))
    """
    try:
        raw = path.read_bytes()
        content = tomllib.loads(raw.decode("utf-8-sig"))
    except (
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # not UTF-8, not TOML, a number too long, a nesting too deep
        raise PolicyFileError(path.name, "-", f"cannot be read: {error}") from error
    try:
        read = _File.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise PolicyFileError(path.name, ".".join(str(step) for step in first["loc"]), str(first["msg"])) from error
    _require_countries(path.name, read)
    return Policy(
        hash=f"sha256:{hashlib.sha256(raw).hexdigest()}",
        file=path.name,
        stages=tuple((stage.role, _condition(stage)) for stage in read.stage),
        prohibitions=tuple(
            Prohibition(
                record.id,
                Condition(countries=frozenset(record.countries), tags=_set(record.tags)),
                record.text.model_dump(),
            )
            for record in read.bar
        ),
        evidence=tuple(
            RequiredEvidence(record.kind, _condition(record), record.text.model_dump()) for record in read.evidence
        ),
        thresholds=read.thresholds,
        hours={str(stage): hours for stage, hours in read.service_times.items()},
    )


def require_stricter(policy: Policy, law: Iterable[Mapping[str, int]]) -> None:
    """Reject thresholds that the law does not have, or that are above the law's newest value.

    On days on which the law's value is lower, that value counts: see the rule book's editions.

    Args:
        policy: the company's policy.
        law: the thresholds of each edition of the law, the newest last.

    Raises:
        PolicyFileError: naming the threshold.
    """
    newest: dict[str, int] = {}
    for edition in law:
        newest |= edition
    for name, value in policy.thresholds.items():
        if name not in newest:
            raise PolicyFileError(
                policy.file, f"thresholds.{name}", f"is no threshold; known: {', '.join(sorted(newest))}"
            )
        if value > newest[name]:
            raise PolicyFileError(policy.file, f"thresholds.{name}", f"must not be above the law's {newest[name]}")


def _require_countries(file: str, read: _File) -> None:
    sections: tuple[tuple[str, list[Any]], ...] = (
        ("stage", list(read.stage)),
        ("evidence", list(read.evidence)),
        ("bar", list(read.bar)),
    )
    for section, records in sections:
        for place, record in enumerate(records):
            unknown = [code for code in record.countries or () if code not in COUNTRIES]
            if unknown:
                raise PolicyFileError(file, f"{section}.{place}.countries", f"{unknown[0]!r} is no country code")
    if any("CN" in record.countries for record in read.bar):
        raise PolicyFileError(file, "bar", "CN is inside mainland China: nothing crosses the border there")
    ids = [record.id for record in read.bar]
    if len(set(ids)) < len(ids):
        raise PolicyFileError(file, "bar", "an id stands twice")


def _condition(record: _Conditional) -> Condition:
    return Condition(_set(record.mechanisms), _set(record.tags), _set(record.countries), _set(record.recipients))


def _set(members: Collection[str] | None) -> frozenset[str] | None:
    return None if members is None else frozenset(members)
