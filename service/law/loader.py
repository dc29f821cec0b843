"""Loads rule files and compiles them into a rule book."""

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from service.law import policy as policies
from service.law.conditions import MEASURES, Condition, Test
from service.law.facts import FIRST_DAY
from service.law.policy import Policy, require_stricter
from service.law.rule_book import Citation, CitationSet, Edition, LawItem, RouteOffer, Rule, RuleBook, Text
from service.law.rule_files import (
    FILES,
    NAMES,
    DatedRecord,
    EvidenceRecord,
    ExposureRecord,
    FollowUpRecord,
    InstrumentRecord,
    ItemRecord,
    ObligationRecord,
    Record,
    RouteRecord,
    RuleFileError,
    RuleRecord,
    ThresholdRecord,
    ValidityRecord,
    WarningRecord,
    WordsRecord,
)

DATA_DIRECTORY: Final = Path(__file__).parent / "data"


# Reading it


def load(directory: Path = DATA_DIRECTORY, policy: Policy | None = None) -> RuleBook:
    """Read, check and compile the law data, with a company's own rules on top.

    Raises:
        PolicyFileError: the company's rules would free something.
        RuleFileError: naming file and key: an unknown field, a period that overlaps another of the same id, a citation that is
            missing or of an instrument never in force with it, a missing translation, a word outside the vocabulary.
    """
    read = {name: _read(directory / name, shape) for name, shape in FILES.items()}
    digest = hashlib.sha256()
    for name in sorted(FILES):
        digest.update(name.encode() + b"\x00" + (directory / name).read_bytes() + b"\x00")
    return _Compiler(read, f"sha256:{digest.hexdigest()}", policy).book()


def _read(path: Path, shape: type[Record]) -> Any:
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
        named = next((here[name] for name in NAMES if name in here), None) if isinstance(here, dict) else None
        names.append(f"{step}" if named is None else f"{step} ({named})")
    return ".".join(names)


def _member(container: Any, step: int | str) -> Any:
    try:
        return container[step]
    except (TypeError, LookupError):
        return None


Dated = TypeVar("Dated", bound=DatedRecord)


class _Compiler:
    def __init__(self, read: Mapping[str, Any], version: str, policy: Policy | None) -> None:
        self._version = version
        self._policy = policy
        self._instruments: list[InstrumentRecord] = read["instruments.toml"].instrument
        self._thresholds: list[ThresholdRecord] = read["thresholds.toml"].threshold
        self._rules: list[RuleRecord] = read["rules.toml"].rule
        self._routes: list[RouteRecord] = read["rules.toml"].route
        self._obligations: list[ObligationRecord] = read["obligations.toml"].obligation
        self._evidence: list[EvidenceRecord] = read["evidence.toml"].evidence
        self._lives: list[ValidityRecord] = read["evidence.toml"].life
        self._follow_ups: list[FollowUpRecord] = read["evidence.toml"].follow_up
        self._warnings: list[WarningRecord] = read["warnings.toml"].warning
        self._exposure: list[ExposureRecord] = read["exposure.toml"].exposure
        self._begins = {instrument.code: instrument.begins for instrument in self._instruments}

    def book(self) -> RuleBook:
        self._require_distinct_instruments()
        for file, records in self._dated():
            _require_disjoint(file, records)
            for record in records:
                self._require_citations(file, record)
                self._require_known_duties(file, record)
        self._require_known_papers()
        if self._policy is not None:
            require_stricter(self._policy, [self._limits(day) for day in self._change_days()])
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

    def _dated(self) -> Iterator[tuple[str, Sequence[DatedRecord]]]:
        yield "thresholds.toml", self._thresholds
        yield "rules.toml", self._rules
        yield "rules.toml", self._routes
        yield "obligations.toml", self._obligations
        yield "evidence.toml", self._evidence
        yield "evidence.toml", self._lives
        yield "evidence.toml", self._follow_ups
        yield "warnings.toml", self._warnings
        yield "exposure.toml", self._exposure

    def _require_distinct_instruments(self) -> None:
        if len(self._begins) < len(self._instruments):
            codes = [instrument.code for instrument in self._instruments]
            twice = next(code for code in codes if codes.count(code) > 1)
            raise RuleFileError("instruments.toml", twice, "this code stands twice")

    def _require_citations(self, file: str, record: DatedRecord) -> None:
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

    def _require_known_duties(self, file: str, record: DatedRecord) -> None:
        codes = {obligation.code for obligation in self._obligations}
        lines = (*getattr(record, "when", ()), *(citation.when or "" for citation in record.citations))
        for word in " ".join(lines).split():
            if word.startswith("duty:") and word.removeprefix("duty:") not in codes:
                raise RuleFileError(file, f"{record.identity}.when", f"asks for {word!r}, which is no known obligation")

    def _require_known_papers(self) -> None:
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
        return {threshold.id: threshold.value for threshold in _in_force_on(self._thresholds, day)}

    def _edition(self, day: date) -> Edition:
        lower = {} if self._policy is None else self._policy.thresholds
        law = self._limits(day)
        thresholds = {name: min(value, lower.get(name, value)) for name, value in law.items()}
        rules = [self._rule(record, day, thresholds) for record in _in_force_on(self._rules, day)]
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

    def _rule(self, record: RuleRecord, day: date, thresholds: Mapping[str, int]) -> Rule:
        condition = _compile("rules.toml", record.identity, record.when, thresholds)
        cited = self._cited("rules.toml", record, day, thresholds)
        _require_text("rules.toml", record, thresholds)
        words = set(" ".join(record.when).split())
        document = {
            "id": record.id,
            "step": record.step,
            "in_force_from": record.begins,
            "in_force_until": None if record.ends == date.max else record.ends,
            "mechanism": record.mechanism.value,
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

    def _offers(self, day: date, thresholds: Mapping[str, int]) -> dict[str, tuple[RouteOffer, ...]]:
        offers: dict[str, tuple[RouteOffer, ...]] = {}
        for record in _in_force_on(self._routes, day):
            condition = _compile("rules.toml", record.identity, record.when, thresholds)
            offer = RouteOffer(record.route, condition.holds, _text(record.text))
            offers[record.mechanism] = (*offers.get(record.mechanism, ()), offer)
        return offers

    def _entries(
        self, file: str, records: Sequence[ItemRecord], day: date, thresholds: Mapping[str, int]
    ) -> tuple[LawItem, ...]:
        return tuple(
            LawItem(
                code=record.identity,
                holds=_compile(file, record.identity, record.when, thresholds).holds,
                cited=self._cited(file, record, day, thresholds),
                text=_text(record.text),
                fines=record.model_dump(include={"company", "person"}) if isinstance(record, ExposureRecord) else {},
            )
            for record in _in_force_on(records, day)
        )

    def _cited(self, file: str, record: DatedRecord, day: date, thresholds: Mapping[str, int]) -> CitationSet:
        always: list[Citation] = []
        sometimes: list[tuple[Test, Citation]] = []
        for citation in record.citations:
            if not max(citation.begins, self._begins[citation.instrument]) <= day < citation.ends:
                continue
            made = Citation(citation.instrument, citation.article)
            if citation.when is None:
                always.append(made)
            else:
                condition = _compile(file, record.identity, [citation.when], thresholds)
                sometimes.append((condition.holds, made))
        return CitationSet(tuple(always), tuple(sometimes))


def _in_force_on(records: Iterable[Dated], day: date) -> list[Dated]:
    return [record for record in records if record.begins <= day < record.ends]


def _text(words: WordsRecord) -> Text:
    return {"en": words.en, "zh": words.zh}


def _compile(file: str, key: str, lines: Sequence[str], thresholds: Mapping[str, int]) -> Condition:
    try:
        return Condition(lines, thresholds)
    except ValueError as error:
        raise RuleFileError(file, f"{key}.when", str(error)) from error


def _require_text(file: str, record: RuleRecord, thresholds: Mapping[str, int]) -> None:
    """Refuse a sentence that asks for a number nobody has, or for its form: numbers come written out for each language."""
    known = dict.fromkeys((*thresholds, *MEASURES), "0")
    for language, sentence in _text(record.text).items():
        try:
            sentence.format(**known)
        except (LookupError, ValueError, AttributeError, TypeError) as error:
            raise RuleFileError(
                file, f"{record.identity}.text.{language}", f"asks for the unknown number {error}"
            ) from error


def _require_disjoint(file: str, records: Sequence[DatedRecord]) -> None:
    seen: dict[str, list[DatedRecord]] = {}
    for record in records:
        for other in seen.setdefault(record.identity, []):
            if record.begins < other.ends and other.begins < record.ends:
                raise RuleFileError(
                    file, record.identity, f"its period from {record.begins} overlaps the one from {other.begins}"
                )
        seen[record.identity].append(record)


def load_rule_book(policy_file: Path | None) -> RuleBook:
    """Return the law with the company's own rules on top.

    Args:
        policy_file: where its own rules are; None: it has none.

    Raises:
        RuleFileError, PolicyFileError: the files cannot be used; nothing starts with them.
    """
    return load(policy=None if policy_file is None else policies.load(policy_file))
