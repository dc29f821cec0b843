"""The gate's plain decoding: for any body it either declines, or has read what the strict reading reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from service.exports.schemas import ExportIn
from service.gate.batch_decisions import encode
from service.gate.fast_path import eligible_json
from service.gate.questions import Export, Options, Question, convert, questions_of
from service.gate.schemas import EvaluationIn, EvaluationsIn, FailedOut
from service.law.schemas import MAX_PERSONS
from service.validation import strict_json
from service.validation.problems import Malformed

Read = list[bytes] | None
"""The questions as they would be recorded; None: refused, or declined."""


# The two readings


def strictly(kind: type[BaseModel], body: bytes) -> BaseModel | None:
    try:
        return kind.model_validate(strict_json.parse(body))
    except (Malformed, ValidationError):
        return None


def recorded(kind: type[msgspec.Struct], read: BaseModel) -> bytes:
    return encode(convert(kind, read.model_dump(exclude_unset=True)))


def strict_question(body: bytes) -> Read:
    read = strictly(EvaluationIn, body)
    return None if read is None else [recorded(Question, read)]


def strict_questions(body: bytes) -> Read:
    read = strictly(EvaluationsIn, body)
    if not isinstance(read, EvaluationsIn):
        return None
    # Without `evaluations` it is a single question, however several are to be answered.
    try:
        questions = read.questions() if read.evaluations else [read.single()]
    except ValidationError:
        return None
    if any(isinstance(question, FailedOut) for question in questions):
        return None
    asked = [recorded(Question, question) for question in questions]
    return [*asked, read.semantic.encode() if read.evaluations else b"single"]


def strict_export(body: bytes) -> Read:
    read = strictly(ExportIn, body)
    return None if read is None else [recorded(Export, read)]


def plain_question(body: bytes) -> Read:
    read = eligible_json.decode_question(body)
    return None if read is None else [encode(read)]


def plain_questions(body: bytes) -> Read:
    read = eligible_json.decode_questions(body)
    asked = None if read is None else questions_of(read)
    if read is None or asked is None:
        return None
    semantic = (read.options or Options()).evaluations_semantic or "execute_all"
    return [*map(encode, asked), semantic.encode() if read.evaluations else b"single"]


def plain_export(body: bytes) -> Read:
    read = eligible_json.decode_export(body)
    return None if read is None else [encode(read)]


# Bodies: documents as systems send them, with up to two things that are wrong or odd about them, as some encoder may write them


@dataclass(frozen=True)
class Written:
    """JSON text that is put down as it stands."""

    text: str


class Members(list[Any]):
    """An object: pairs of a name and a value; a name may come twice."""


names = st.sampled_from(["a", "orders", "analytics", "export", "hive://dw/ads", "深圳 orders", "x: y", "😀"])
odd = st.sampled_from(list(' ab"\\:{}[],/\x00\x1f\x7f\u00a0\u00ad\u200b\u2028\u3000\ufeff\ue000\U000e0001é深😀'))
odd_texts = st.one_of(
    st.text(odd, max_size=6),
    st.sampled_from([" a", "a ", "x :y", "", "a" * 200, "a" * 201, "a" * 500, "a" * 501, "深" * 200, "😀" * 201]),
    st.text(max_size=4),
)
odd_numbers = st.one_of(
    st.sampled_from([-1, MAX_PERSONS, MAX_PERSONS + 1, 2**63, 2**64, 10**70, 1.0, 0.5, 1e300]),
    st.sampled_from(["1e2", "1E400", "-0", "-0.0", "01", "1.", "NaN", "Infinity", "0" * 65, "1" * 65]).map(Written),
)
odd_values = st.one_of(
    st.none(),
    st.booleans(),
    odd_texts,
    odd_numbers,
    st.lists(odd_texts, max_size=2),
    st.lists(st.tuples(odd_texts, odd_numbers | odd_texts), max_size=2).map(lambda pairs: Members(map(list, pairs))),
)
persons = st.none() | st.integers(0, 9) | st.just(MAX_PERSONS)
fields = st.none() | st.lists(names, max_size=3)
party = st.fixed_dictionaries({"type": st.just("dataset") | names, "id": names})
action = st.fixed_dictionaries({"name": names})
context = st.fixed_dictionaries(
    {},
    optional={
        "recipient": st.none() | names,
        "purpose": st.none() | names,
        "persons": persons,
        "sensitive_persons": persons,
        "fields": fields,
    },
)
asked = {"subject": party, "action": action, "resource": party}
question = st.fixed_dictionaries(asked, optional={"context": context})
item = st.fixed_dictionaries(
    {}, optional={name: st.none() | one for name, one in {**asked, "context": context}.items()}
)
semantics = st.sampled_from(["execute_all", "deny_on_first_deny", "permit_on_first_permit", "other"])
several = {
    "context": context,
    "evaluations": st.lists(item, max_size=3),
    "options": st.fixed_dictionaries({}, optional={"evaluations_semantic": semantics}),
}
questions = st.fixed_dictionaries(asked, optional=several) | st.fixed_dictionaries({}, optional={**asked, **several})
export = st.fixed_dictionaries(
    {"dataset": names, "recipient": names, "purpose": names},
    optional={"persons": persons, "sensitive_persons": persons, "fields": fields, "permit": st.none() | names},
)


def opened(value: Any) -> Any:
    """Return a document with its objects as members."""
    if isinstance(value, dict):
        return Members([name, opened(member)] for name, member in value.items())
    return [opened(one) for one in value] if isinstance(value, list) else value


def objects_in(value: Any) -> list[Members]:
    found = [value] if isinstance(value, Members) else []
    parts = [member for _, member in value] if isinstance(value, Members) else value
    return found + [one for part in parts for one in objects_in(part)] if isinstance(value, list) else found


@st.composite
def spoiled(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    """Return a document with up to two faults."""
    document = opened(draw(documents))
    for fault in draw(st.lists(st.sampled_from(["value", "twice", "unknown", "order"]), max_size=2)):
        members = draw(st.sampled_from(objects_in(document)))
        if fault == "unknown":
            members.append([draw(st.sampled_from(["more", "permit", "context"]) | odd_texts), draw(odd_values)])
        elif fault == "order":
            members.reverse()
        elif members:
            member = draw(st.sampled_from(list(members)))
            if fault == "twice":
                members.append([member[0], draw(st.just(member[1]) | odd_values)])
            else:
                member[1] = draw(odd_values)
    return document


class Writing:
    """JSON as an encoder writes it: `spaces` stand at the place with that number, or at every place, if it is 0."""

    def __init__(self, spaces: str, place: int, *, is_ascii: bool) -> None:
        self.spaces, self.place, self.is_ascii = spaces, place, is_ascii
        self.pieces: list[str] = []

    def space(self) -> None:
        if self.place in {len(self.pieces), 0}:
            self.pieces.append(self.spaces)

    def write(self, value: Any) -> None:
        if isinstance(value, Members):
            self.pieces.append("{")
            for number, (name, member) in enumerate(value):
                self.pieces.append("," if number else "")
                self.space()
                self.pieces.append(json.dumps(name, ensure_ascii=self.is_ascii))
                self.space()
                self.pieces.append(":")
                self.write(member)
            self.pieces.append("}")
        elif isinstance(value, list):
            self.pieces.append("[")
            for number, one in enumerate(value):
                self.pieces.append("," if number else "")
                self.write(one)
            self.pieces.append("]")
        else:
            self.space()
            self.pieces.append(
                value.text if isinstance(value, Written) else json.dumps(value, ensure_ascii=self.is_ascii)
            )
            self.space()


@st.composite
def bodies(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> bytes:
    spaces = draw(st.sampled_from(["", "", " ", "\n  ", "\t", "\r", "\x0b", "\xa0", "\ufeff"]))
    writing = Writing(spaces, draw(st.integers(0, 30)), is_ascii=draw(st.integers(0, 7)) == 0)
    writing.write(draw(spoiled(documents)))
    writing.space()
    return "".join(writing.pieces).encode("utf-8", "surrogatepass")


def check(plain: Callable[[bytes], Read], strict: Callable[[bytes], Read], body: bytes) -> None:
    read = plain(body)
    event("declined" if read is None else "read")
    if read is not None:
        assert read == strict(body)


EXAMPLES = settings(max_examples=1000)


@EXAMPLES
@given(bodies(question))
@example(b'{"subject":{"type":"a","id":"b"},"action":{"name":"c"},"resource":{"type":"d","id":"e"},"x" :1}')
def test_a_question_that_is_read_plainly_is_read_right(body: bytes) -> None:
    check(plain_question, strict_question, body)


@EXAMPLES
@given(bodies(questions))
def test_several_questions_that_are_read_plainly_are_read_right(body: bytes) -> None:
    check(plain_questions, strict_questions, body)


@EXAMPLES
@given(bodies(export))
@example(b'{"dataset":"a","recipient":"b","purpose":"c","unknown" :1}')
@example(b'{"dataset":"a","recipient":"b","purpose":"c","purpose"\t:"d"}')
def test_an_export_that_is_read_plainly_is_read_right(body: bytes) -> None:
    check(plain_export, strict_export, body)


@EXAMPLES
@given(st.one_of(st.binary(max_size=40), st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))))
def test_any_bytes_at_all_are_declined_or_read_right(body: bytes) -> None:
    check(plain_question, strict_question, body)
    check(plain_questions, strict_questions, body)
    check(plain_export, strict_export, body)


QUESTION = {
    "subject": {"type": "system", "id": "crm-export"},
    "action": {"name": "export"},
    "resource": {"type": "dataset", "id": "hive://dw/ads.orders"},
    "context": {"recipient": "partner", "purpose": "analytics", "persons": 5, "fields": ["city", "深圳"]},
}
EXPORT = {"dataset": "a/b", "recipient": "partner", "purpose": "analytics", "persons": 5, "sensitive_persons": None}


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("indent", [None, 2])
def test_what_systems_send_is_read_plainly(separators: tuple[str, str], indent: int | None) -> None:
    def written(document: Any) -> bytes:
        return json.dumps(document, ensure_ascii=False, separators=separators, indent=indent).encode()

    several = {**QUESTION, "evaluations": [QUESTION, {}], "options": {"evaluations_semantic": "execute_all"}}
    assert plain_question(written(QUESTION)) == strict_question(written(QUESTION)) is not None
    assert plain_questions(written(several)) == strict_questions(written(several)) is not None
    assert plain_export(written(EXPORT)) == strict_export(written(EXPORT)) is not None


@pytest.mark.parametrize(
    "nested",
    [b"[" * 5000 + b"]" * 5000, b"[" * 200_000, b'{"a":' * 3000 + b"1" + b"}" * 3000],
    ids=["deep", "open", "objects"],
)
def test_a_body_that_nests_deep_is_declined(nested: bytes) -> None:
    readers: Sequence[Callable[[bytes], Read]] = (plain_question, plain_questions, plain_export)
    assert [read(nested) for read in readers] == [None] * 3
    assert plain_export(b'{"dataset":"a","recipient":"b","purpose":"c","unknown":' + nested + b"}") is None
