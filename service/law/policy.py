"""A company's own rules, read from a TOML file: more stages, lower thresholds, barred countries, evidence always wanted, service times.

They can only be stricter than the law: a file that would free anything is refused when it is read.
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
    """A policy file that cannot be used; the message names the file and the key."""

    def __init__(self, file: str, key: str, detail: str) -> None:
        super().__init__(f"{file}: {key}: {detail}")


# What the file holds


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


# What is made of it


@dataclass(frozen=True, slots=True)
class Situation:
    """What a condition of a policy looks at."""

    mechanisms: frozenset[str]
    tags: frozenset[str]
    country: str
    recipient: str | None
    """Key of the recipient, where it is one of the register."""

    @classmethod
    def of(cls, mechanisms: Iterable[str], tags: Iterable[str], country: str, recipient: str | None) -> "Situation":
        """Return a situation with the tags that others imply."""
        given = frozenset(tags)
        return cls(
            frozenset(mechanisms), given | {_IMPLIED[tag] for tag in given if tag in _IMPLIED}, country, recipient
        )


@dataclass(frozen=True, slots=True)
class Condition:
    """All of the given parts must fit; of each, one member. None: any."""

    mechanisms: frozenset[str] | None = None
    tags: frozenset[str] | None = None
    countries: frozenset[str] | None = None
    recipients: frozenset[str] | None = None

    def holds(self, situation: Situation) -> bool:
        """Tell whether it fits."""
        parts: tuple[tuple[frozenset[str] | None, Collection[str]], ...] = (
            (self.mechanisms, situation.mechanisms),
            (self.tags, situation.tags),
            (self.countries, (situation.country,)),
            (self.recipients, () if situation.recipient is None else (situation.recipient,)),
        )
        return all(wanted is None or not wanted.isdisjoint(given) for wanted, given in parts)


@dataclass(frozen=True, slots=True)
class Prohibition:
    """Where nothing goes, whatever the law would allow."""

    id: str
    condition: Condition
    text: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RequiredEvidence:
    """A kind of evidence that the company wants."""

    kind: str
    condition: Condition
    text: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Policy:
    """A company's own rules, immutable."""

    hash: str
    """`sha256:` and the hash of the file."""
    file: str = "policy"
    """Name of the file, for messages."""
    stages: tuple[tuple[Stage, Condition], ...] = ()
    bars: tuple[Prohibition, ...] = ()
    papers: tuple[RequiredEvidence, ...] = ()
    thresholds: Mapping[str, int] = field(default_factory=dict)
    hours: Mapping[str, int] = field(default_factory=dict)

    @property
    def recipients(self) -> frozenset[str]:
        """Keys of recipients that its conditions name."""
        conditions = [condition for _, condition in self.stages] + [paper.condition for paper in self.papers]
        return frozenset(key for condition in conditions for key in condition.recipients or ())

    def stages_in(self, situation: Situation) -> tuple[Stage, ...]:
        """Return the stages that the company adds, in the order in which stages are taken."""
        wanted = {stage for stage, condition in self.stages if condition.holds(situation)}
        return tuple(stage for stage in Stage if stage in wanted)

    def bars_in(self, situation: Situation) -> tuple[Prohibition, ...]:
        """Return the bars that hold."""
        return tuple(bar for bar in self.bars if bar.condition.holds(situation))

    def papers_in(self, situation: Situation) -> tuple[RequiredEvidence, ...]:
        """Return the evidence that the company wants, each kind once."""
        found = {paper.kind: paper for paper in self.papers if paper.condition.holds(situation)}
        return tuple(found.values())

    def service_hours(self, stage: str, default: int) -> int:
        """Return how many hours a stage may stay open."""
        return self.hours.get(stage, default)


def load(path: Path) -> Policy:
    """Read and check a policy file; its thresholds are held against the law's when the rule book is made.

    Raises:
        PolicyFileError: naming file and key.
    """
    try:
        raw = path.read_bytes()
        content = tomllib.loads(raw.decode("utf-8-sig"))
    except (
        OSError,
        ValueError,
        RecursionError,
    ) as error:  # not UTF-8, not TOML, a number or a nesting past all measure
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
        bars=tuple(
            Prohibition(
                bar.id, Condition(countries=frozenset(bar.countries), tags=_set(bar.tags)), bar.text.model_dump()
            )
            for bar in read.bar
        ),
        papers=tuple(
            RequiredEvidence(paper.kind, _condition(paper), paper.text.model_dump()) for paper in read.evidence
        ),
        thresholds=read.thresholds,
        hours={str(stage): hours for stage, hours in read.service_times.items()},
    )


def require_stricter(policy: Policy, law: Iterable[Mapping[str, int]]) -> None:
    """Refuse thresholds that the law does not know, or that are above the law's newest.

    On days on which the law draws a line lower than the company does, the law's counts: see the rule book's editions.

    Args:
        policy: the company's rules.
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
    if any("CN" in bar.countries for bar in read.bar):
        raise PolicyFileError(file, "bar", "CN is inside mainland China: nothing crosses the border there")
    ids = [bar.id for bar in read.bar]
    if len(set(ids)) < len(ids):
        raise PolicyFileError(file, "bar", "an id stands twice")


def _condition(record: _Conditional) -> Condition:
    return Condition(_set(record.mechanisms), _set(record.tags), _set(record.countries), _set(record.recipients))


def _set(members: Collection[str] | None) -> frozenset[str] | None:
    return None if members is None else frozenset(members)
