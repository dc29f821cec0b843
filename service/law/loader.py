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


# Reading


def load(directory: Path = DATA_DIRECTORY, policy: Policy | None = None) -> RuleBook:
    """Read, validate and compile the law data, with the policy of a company.

    Raises:
        PolicyFileError: the policy would be freer than the law.
        RuleFileError: naming file and key: an unknown field, overlapping periods of one id, a missing citation, a citation of an
            instrument that is never in force with the record, a missing translation, a word outside the vocabulary.
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
    """Return the key of an error: section, id of the record, and field."""
    parts: list[str] = []
    member = content
    for step in location:
        member = _member(member, step)
        name = next((member[name] for name in NAMES if name in member), None) if isinstance(member, dict) else None
        parts.append(f"{step}" if name is None else f"{step} ({name})")
    return ".".join(parts)


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
        self._validities: list[ValidityRecord] = read["evidence.toml"].life
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
                self._require_existing_obligations(file, record)
        self._require_existing_evidence()
        if self._policy is not None:
            require_stricter(self._policy, [self._limits(day) for day in self._change_days()])
        policy_evidence = () if self._policy is None else self._policy.evidence
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
            kinds=frozenset(record.kind for record in self._evidence) | {item.kind for item in policy_evidence},
            policy=self._policy,
            _editions=editions,
            _days=tuple(edition.begins for edition in editions),
            _validities=tuple(self._validities),
            _follow_ups=tuple(self._follow_ups),
        )

    def _dated(self) -> Iterator[tuple[str, Sequence[DatedRecord]]]:
        yield "thresholds.toml", self._thresholds
        yield "rules.toml", self._rules
        yield "rules.toml", self._routes
        yield "obligations.toml", self._obligations
        yield "evidence.toml", self._evidence
        yield "evidence.toml", self._validities
        yield "evidence.toml", self._follow_ups
        yield "warnings.toml", self._warnings
        yield "exposure.toml", self._exposure

    def _require_distinct_instruments(self) -> None:
        if len(self._begins) < len(self._instruments):
            codes = [instrument.code for instrument in self._instruments]
            duplicate = next(code for code in codes if codes.count(code) > 1)
            raise RuleFileError("instruments.toml", duplicate, "this code stands twice")

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

    def _require_existing_obligations(self, file: str, record: DatedRecord) -> None:
        codes = {obligation.code for obligation in self._obligations}
        lines = (*getattr(record, "when", ()), *(citation.when or "" for citation in record.citations))
        for word in " ".join(lines).split():
            if word.startswith("duty:") and word.removeprefix("duty:") not in codes:
                raise RuleFileError(file, f"{record.identity}.when", f"asks for {word!r}, which is no known obligation")

    def _require_existing_evidence(self) -> None:
        """Reject a period of validity or a receipt of an unknown kind of evidence, which would silently have no effect."""
        kinds = {evidence.kind for evidence in self._evidence}
        references = [(validity.identity, validity.kind) for validity in self._validities]
        for receipt in self._follow_ups:
            references += [
                (receipt.identity, receipt.kind),
                *((f"{receipt.identity}.after", kind) for kind in receipt.after),
            ]
        for key, kind in references:
            if kind not in kinds:
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
            restrictions=tuple(rule for rule in rules if rule.step == "bar"),
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
        citations = self._citations("rules.toml", record, day, thresholds)
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
            "citations": [
                citation.document() for citation in (*citations.always, *(c for _, c in citations.conditional))
            ],
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
            comparisons=tuple(condition.comparisons),
            citations=citations,
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
                citations=self._citations(file, record, day, thresholds),
                text=_text(record.text),
                fines=record.model_dump(include={"company", "person"}) if isinstance(record, ExposureRecord) else {},
            )
            for record in _in_force_on(records, day)
        )

    def _citations(self, file: str, record: DatedRecord, day: date, thresholds: Mapping[str, int]) -> CitationSet:
        always: list[Citation] = []
        conditional: list[tuple[Test, Citation]] = []
        for citation in record.citations:
            if not max(citation.begins, self._begins[citation.instrument]) <= day < citation.ends:
                continue
            compiled = Citation(citation.instrument, citation.article)
            if citation.when is None:
                always.append(compiled)
            else:
                condition = _compile(file, record.identity, [citation.when], thresholds)
                conditional.append((condition.holds, compiled))
        return CitationSet(tuple(always), tuple(conditional))


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
    """Reject a sentence with an unknown number, or with a format of its own: numbers are formatted for each language."""
    numbers = dict.fromkeys((*thresholds, *MEASURES), "0")
    for language, sentence in _text(record.text).items():
        try:
            sentence.format(**numbers)
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
    """Load the rule book of the service, with the policy of the company.

    Args:
        policy_file: the policy; None: there is none.

    Raises:
        RuleFileError, PolicyFileError: a file is invalid; the service does not start.

    Example:
        book = load_rule_book(Path("policy.toml"))
        determination = determine(facts, book)
    """
    return load(policy=None if policy_file is None else policies.load(policy_file))
