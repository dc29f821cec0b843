"""What a sitting leaves: each record is RFC 8785 to the byte, and rows of the one read fall into the asks that they belong to."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from service.access.caller import Caller, Role
from service.clock import rfc3339
from service.exports.schemas import ExportIn, ExportOut
from service.gate import questions
from service.gate.batch_decisions import LEASE_STEPS, DecisionBatch, ReservedExport, encode, lapse_time
from service.gate.batch_read import COLUMNS, SEPARATOR, Lookup, Snapshot, parse_rows
from service.gate.decide import DatasetState, DecisionInputs
from service.gate.schemas import EvaluationIn
from service.law import loader
from service.law.facts import Count, RecipientFacts
from service.law.schemas import MAX_PERSONS, HandlerFactsIn, OriginFactsIn, RecipientFactsIn
from service.registry.fields import NO_FIELDS

BOOK = loader.load()
NOW = datetime(2026, 3, 1, 4, 5, 6, 789, tzinfo=UTC)
TODAY = date(2026, 3, 1)
CALLER = Caller("pr_1", "crm", "system", {Role.EXPORTER: "*"})
SHOWN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def is_readable(text: str) -> bool:
    return text.strip() == text != "" and not any(unicodedata.category(one) in SHOWN for one in text)


texts = st.text(st.sampled_from(list('ab"\\/{}:é深😀ﬀ€\u0301')) | st.characters(), min_size=1, max_size=5).filter(
    is_readable
)
persons = st.none() | st.integers(0, MAX_PERSONS)
more = {
    "persons": persons,
    "sensitive_persons": persons,
    "fields": st.none() | st.lists(texts, min_size=1, max_size=3, unique=True),
}
party = st.fixed_dictionaries({"type": texts, "id": texts})
context = st.fixed_dictionaries({}, optional={"recipient": texts, "purpose": st.none() | texts, **more})
moments = st.datetimes(timezones=st.just(UTC)) | st.just(NOW.replace(microsecond=0))
question = st.fixed_dictionaries(
    {"subject": party, "action": st.fixed_dictionaries({"name": st.just("export") | texts}), "resource": party},
    optional={"context": context},
)
export = st.fixed_dictionaries(
    {"dataset": texts, "recipient": texts, "purpose": texts}, optional={**more, "permit": st.none() | texts}
)


def general_data() -> DatasetState:
    return DatasetState(HandlerFactsIn(ciio=False).facts(), OriginFactsIn().dataset(frozenset()), NO_FIELDS)


def partner() -> RecipientFacts:
    return RecipientFactsIn.model_validate({"country": "SG", "kind": "company"}).facts("partner")


NOTHING = Snapshot(None, None, None, None, has_year=False, inputs=DecisionInputs(TODAY, None, None, (), Count()))
GENERAL = Snapshot(
    None,
    "ds_1",
    "hd_1",
    "rc_1",
    has_year=True,
    inputs=DecisionInputs(TODAY, general_data(), partner(), (), Count(12, 3)),
)
found = st.sampled_from([NOTHING, GENERAL])


def check(sitting: DecisionBatch) -> dict[str, Any]:
    """Hold the one record against the canonical form of what it says, and return that."""
    (body,) = sitting.entries.body
    said: dict[str, Any] = json.loads(body)
    assert body.encode() == rfc8785.dumps(said)
    assert sitting.entries.sha256 == [hashlib.sha256(body.encode()).digest()]
    return said


@given(question, found)
def test_the_record_of_a_question_is_canonical_and_holds_it_as_it_was_asked(
    asked: dict[str, Any], seen: Snapshot
) -> None:
    sitting = DecisionBatch(BOOK, NOW, NOW)
    read = EvaluationIn.model_validate(asked).model_dump(exclude_unset=True)
    sitting.evaluate(questions.convert(questions.Question, read), seen, CALLER)
    assert check(sitting)["details"]["question"] == asked


@given(export, found)
def test_the_record_of_an_export_is_canonical_and_holds_it_as_it_was_asked(
    asked: dict[str, Any], seen: Snapshot
) -> None:
    sitting = DecisionBatch(BOOK, NOW, NOW + timedelta(hours=1))
    read = ExportIn.model_validate(asked).model_dump(exclude_unset=True)
    sitting.reserve(questions.convert(questions.Export, read), seen, CALLER)
    said = check(sitting)
    assert said["details"]["question"] == asked
    assert said["action"] in ({"export.reserved", "export.refused"} if seen is GENERAL else {"export.refused"})


@given(export, moments, moments)
def test_an_export_is_told_as_it_reads_later(asked: dict[str, Any], now: datetime, until: datetime) -> None:
    read = ExportIn.model_validate(asked).model_dump(exclude_unset=True)
    made = DecisionBatch(BOOK, now, until).reserve(questions.convert(questions.Export, read), GENERAL, CALLER)
    if isinstance(made, ReservedExport):
        assert encode(made) == ExportOut.model_validate_json(encode(made)).model_dump_json().encode()
        assert (made.reserved_at, made.expires_at) == (rfc3339(now), rfc3339(until))


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - the zone is given beside
    st.integers(1, 30 * 24 * 3600).map(lambda seconds: timedelta(seconds=seconds)),
    st.floats(0, 1),
)
def test_a_reservation_lapses_within_its_lease_at_one_of_few_moments(
    now: datetime, lease: timedelta, part: float
) -> None:
    first, later = lapse_time(now, lease), lapse_time(now + lease * part, lease)
    step = lease // LEASE_STEPS
    assert now + lease - step < first <= now + lease
    assert (later - first) % step == timedelta()
    assert first <= later <= first + lease


# The one read


NAMES = ["city", "amount, in yuan"]


def row(number: int, permit: str | None, dataset: str | None, names: list[str] = NAMES) -> tuple[Any, ...]:
    """A row of `READ`: what stands in the other columns has no part in the grouping."""
    handler = None if dataset is None else "hd_1"
    facts = SEPARATOR.join(
        ["" if dataset is None else '{"ciio": false}', "{personal}", "{}", "{}", "SG", "company", "partner", "Partner"]
    )
    claims = '{"method": "transmission", "necessity": null, "legal_basis": "consent"}'
    day = str(TODAY.toordinal() - 1)
    scope = [day, day, '["city"]', "null", "\x1e".join(names)]
    document = SEPARATOR.join([*scope, "{personal}", "{}", "{}", "", claims, "partner"])
    columns = {
        "ask": number,
        "dataset": dataset,
        "handler": handler,
        "recipient": "rc_1",
        "facts": facts,
        "fields": "[]\x1f\x1f",
        "year_is_begun": True,
        "year_persons": 0,
        "year_sensitive_persons": 0,
        "permit": permit,
        "permit_status": "active",
        "permit_purpose": "analytics",
        "permit_persons": 10,
        "permit_sensitive_persons": 0,
        "permit_used_persons": 0,
        "permit_used_sensitive_persons": 0,
        "permit_document": document,
        "permit_is_overdue": False,
        "permit_has_evidence": True,
    }
    return tuple(columns.get(column) for column in COLUMNS)


@given(
    st.lists(st.tuples(st.booleans(), st.lists(st.sampled_from(["pm_1", "pm_2", "pm_3"]), unique=True)), max_size=8),
    st.randoms(use_true_random=False),
)
def test_every_ask_finds_its_own_permits_and_none_of_its_neighbours(
    asks: list[tuple[bool, list[str]]], random: Random
) -> None:
    """Neighbours may well ask the same: only the number tells them apart, however their rows come mixed."""
    none: list[str | None] = [None]
    expected = [permits if exists else [] for exists, permits in asks]
    rows: list[Any] = [
        row(number, permit, "ds_1" if exists else None)
        for number, ((exists, _), permits) in enumerate(zip(asks, expected, strict=True), 1)
        for permit in permits or none
    ]
    places = [one[0] for one in rows]
    random.shuffle(places)
    rows_of = {number: iter([one for one in rows if one[0] == number]) for number in places}
    read = parse_rows([next(rows_of[number]) for number in places], [Lookup("bench", None)] * len(asks), TODAY)
    assert [[permit.id for permit in one.inputs.permits] for one in read] == expected
    assert [one.dataset is not None for one in read] == [exists for exists, _ in asks]
    for permit in (permit for one in read for permit in one.inputs.permits):
        assert (permit.valid_from, permit.valid_until) == (TODAY, TODAY)
        assert (permit.fields, permit.systems, permit.registered) == (["city"], None, NAMES)


@pytest.mark.parametrize(("count", "is_kept"), [(0, True), (1, True), (1_000, False)])
def test_of_wide_tables_nothing_is_kept(count: int, is_kept: bool) -> None:  # noqa: FBT001
    names = [f"field_{number}" for number in range(count)]
    rows: list[Any] = [row(1, "pm_1", "ds_1", names)]
    first, again = (parse_rows(rows, [Lookup("bench", None)], TODAY)[0].inputs.permits[0] for _ in range(2))
    assert first.registered == again.registered == names
    assert (first.registered is again.registered) is is_kept
    assert first.terms is again.terms
