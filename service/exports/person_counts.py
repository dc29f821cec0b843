"""Decodes persons in requests: numbers, hashes or sketches in JSON, or hashes alone as a stream of bytes.

No hash is stored, logged or returned. A stream is counted as it arrives. The long lists of a large JSON body are counted in pieces, with
a yield to other tasks in between, so that a million hashes block nobody.
"""

import asyncio
import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Final, Self, TypeVar, get_args

import msgspec
from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError, WithJsonSchema, model_validator

from service.exports.completion import Completion, KindReport, Way
from service.http import idempotency
from service.http.idempotency import Sent
from service.law.schemas import MAX_PERSONS, Persons
from service.ledger import counting
from service.ledger.counting import (
    HASH_BYTES,
    HASH_DIGITS,
    MAX_SKETCH_BYTES,
    HashCollector,
    Kind,
    Report,
    SketchError,
)
from service.validation import strict_json
from service.validation.problems import Invalid, Malformed, TooLarge, UnsupportedMediaType, invalid_from

Shape = TypeVar("Shape", bound=BaseModel)

OCTETS: Final = "application/octet-stream"
MAX_HASHES: Final = 1_000_000
MAX_STREAM: Final = MAX_HASHES * HASH_BYTES
MAX_PLAIN: Final = 256 * 1024
"""Maximum bytes of a JSON body without its hashes and sketches; a body up to this length is parsed at once."""
MAX_BODY: Final = 2 * MAX_HASHES * (HASH_DIGITS + 8) + MAX_PLAIN
"""Maximum bytes of a whole body: hashes of both kinds with quotes, comma and indentation."""

_PIECE_BYTES: Final = 256 * 1024
_LIST_OR_SKETCH: Final = re.compile(rb'"(person_hashes|sensitive_person_hashes|sketch|sensitive_sketch)"\s*:\s*([\["])')
_ENDS: Final = {b"[": b"]", b'"': b'"'}
_WRONG_HASH: Final = f"is not {HASH_DIGITS} hexadecimal digits"
_TOO_MANY: Final = f"One request takes {MAX_HASHES} hashes at most."


def _hashes(value: object) -> Report:
    """Return the report of a list of hashes; a long list is counted already."""
    if isinstance(value, Report):
        return value
    if not isinstance(value, list):
        raise ValueError("Input should be a list of hashes")  # noqa: TRY004 - pydantic tells of a ValueError
    gathering = HashCollector()
    gathering.add(_bytes_of(value, 0))
    return _report(gathering)


def _bytes_of(hashes: list[Any], first: int) -> bytes:
    """Return concatenated hashes; `first` is the index of the first one in the whole list."""
    try:
        joined = bytes.fromhex("".join(hashes))
        if len(joined) == HASH_BYTES * len(hashes) and {HASH_DIGITS}.issuperset(map(len, hashes)):
            return joined
    except (ValueError, TypeError):
        pass
    wrong = next((place for place, value in enumerate(hashes) if not _is_hash(value)), 0)
    raise ValueError(f"Number {first + wrong}, counted from 0, {_WRONG_HASH}")


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(f"[0-9a-fA-F]{{{HASH_DIGITS}}}", value) is not None


def _report(gathering: HashCollector) -> Report:
    return Report(sketch=gathering.sketch(), at_most=gathering.hashes)


def _sketch(value: object) -> Report:
    if isinstance(value, Report):
        return value
    if not isinstance(value, str):
        raise ValueError("Input should be the base64 of a sketch")  # noqa: TRY004 - pydantic tells of a ValueError
    return _parse_sketch(value.encode())


def _parse_sketch(text: bytes) -> Report:
    try:
        return Report.of_sketch(counting.parse_sketch(base64.b64decode(text, validate=True)))
    except binascii.Error as error:
        raise ValueError("This is not base64") from error
    except SketchError as error:
        raise ValueError(str(error)) from error


_HASHES_SCHEMA: Final[dict[str, Any]] = {
    "type": "array",
    "maxItems": MAX_HASHES,
    "description": f"The first {HASH_BYTES} bytes of HMAC-SHA-256 under the handler's person key: each counts once.",
    "items": {"type": "string", "pattern": f"^[0-9a-fA-F]{{{HASH_DIGITS}}}$"},
}
_SKETCH_SCHEMA: Final[dict[str, Any]] = {
    "type": "string",
    "contentEncoding": "base64",
    "maxLength": 4 * (MAX_SKETCH_BYTES + 2) // 3,
    "description": "A compact, ordered Apache DataSketches Theta sketch of lg_k 17 over the hashes as 32 lower-case digits.",
}
Hashes = Annotated[Report, PlainValidator(_hashes), WithJsonSchema(_HASHES_SCHEMA)]
SketchOf = Annotated[Report, PlainValidator(_sketch), WithJsonSchema(_SKETCH_SCHEMA)]


class ByHash(BaseModel):
    """For each kind of persons hashes or a sketch, in place of a number."""

    model_config = ConfigDict(extra="forbid")

    person_hashes: Hashes = Field(default_factory=Report)
    sensitive_person_hashes: Hashes = Field(default_factory=Report)
    sketch: SketchOf = Field(default_factory=Report)
    sensitive_sketch: SketchOf = Field(default_factory=Report)

    def completion(self) -> Completion:
        """Return the report of each kind; the number zero where there is none.

        Raises:
            Invalid: one kind is reported in two forms.
        """
        errors: list[tuple[str, str]] = []
        completion: Completion = {}
        for kind, names in _NAMES.items():
            stated_names = [name for name in names if name in self.model_fields_set and getattr(self, name) is not None]
            errors += [
                (f"/{other}", f"Leave it out: `{stated_names[0]}` tells the same persons.")
                for other in stated_names[1:]
            ]
            completion[kind] = self._report_of((stated_names or names)[0])
        if errors:
            raise Invalid("Tell each kind in one way only.", errors=errors)
        return completion

    def _report_of(self, name: str) -> KindReport:
        value = getattr(self, name)
        way = _WAYS[name]
        return KindReport(Report(number=value or 0) if way == "number" else value, way, f"/{name}")


class CompleteIn(ByHash):
    """Persons that were sent, even if more than reserved; for each kind a number, hashes or a sketch."""

    persons: Persons = Field(default=0, description="As a number: it adds up with every report.")
    sensitive_persons: Persons = Field(default=0, description="The same of persons whose sensitive information went.")

    @model_validator(mode="before")
    @classmethod
    def _says_something(cls, body: Any) -> Any:
        if isinstance(body, dict) and not body:
            raise ValueError("Say how many persons really went: `persons`, `sensitive_persons`.")
        return body


_NAMES: Final[dict[Kind, tuple[str, ...]]] = {
    "persons": ("persons", "person_hashes", "sketch"),
    "sensitive_persons": ("sensitive_persons", "sensitive_person_hashes", "sensitive_sketch"),
}
_WAYS: Final[dict[str, Way]] = {
    name: way for names in _NAMES.values() for name, way in zip(names, get_args(Way), strict=True)
}
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": CompleteIn.model_json_schema()},
            OCTETS: {
                "schema": {
                    "type": "string",
                    "format": "binary",
                    "minLength": HASH_BYTES,
                    "maxLength": MAX_STREAM,
                    "description": f"Hashes of {HASH_BYTES} bytes, one after the other.",
                }
            },
        },
    }
}
Number = Annotated[int | None, Query(ge=0, le=MAX_PERSONS, description="With a stream of the other kind's hashes.")]


class StreamQuery:
    """Query parameters of a stream of hashes."""

    def __init__(
        self,
        kind: Annotated[
            Kind | None, Query(description="With a stream: whose hashes these are; persons, if missing.")
        ] = None,
        persons: Number = None,
        sensitive_persons: Number = None,
    ) -> None:
        self.kind: Kind = kind or "persons"
        self.numbers: dict[Kind, int | None] = {"persons": persons, "sensitive_persons": sensitive_persons}
        stated = {"kind": kind, "persons": persons, "sensitive_persons": sensitive_persons}
        self.names = [name for name, value in stated.items() if value is not None]

    def completion(self, streamed: Report) -> Completion:
        """Return the completion of a stream with its query.

        Raises:
            Invalid: the kind of the stream is reported as a number too.
        """
        if self.numbers[self.kind] is not None:
            detail = f"Leave it out: the body tells the same {self.kind}."
            raise Invalid("Tell each kind in one way only.", errors=[(f"/{self.kind}", detail)])
        completion: Completion = {
            kind: KindReport(Report(number=number or 0), "number", f"/{kind}") for kind, number in self.numbers.items()
        }
        completion[self.kind] = KindReport(streamed, "hashes", "")
        return completion


StreamQueryIn = Annotated[StreamQuery, Depends()]


class CompletionBody:
    """Completion, with the content that a repeat of the request must equal."""

    def __init__(self, completion: Completion, sent: Sent) -> None:
        self.completion = completion
        self.sent = sent

    @classmethod
    async def read(cls, request: Request, stated: StreamQuery) -> Self:
        """Read the body of a completion.

        Raises:
            Malformed: no JSON.
            Invalid: fields, hashes or sketches that are missing, unknown or wrong.
            TooLarge: more than `MAX_HASHES` hashes in a stream.
            UnsupportedMediaType: another type of body.
        """
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == OCTETS:
            report, digest = await _count_stream(request)
            return cls(stated.completion(report), Sent.plain(digest))
        value, sent = await read_json(request, f"Send the report as application/json, or hashes as {OCTETS}.")
        if stated.names:
            errors = [(f"/{name}", f"In the query it goes with {OCTETS} only.") for name in stated.names]
            raise Invalid("The query holds what belongs into the body.", errors=errors)
        return cls(validate_body(CompleteIn, value).completion(), sent)


async def read_json(request: Request, media_types: str, *, limit: int = MAX_PLAIN) -> tuple[object, Sent]:
    """Return the value of a JSON body, None if there is none, and the content that a repeat must equal.

    In a long body, the lists of hashes and the sketches are counted already.

    Args:
        request: whose body has not been read.
        media_types: the detail of the refusal of another type.
        limit: maximum bytes without hashes and sketches; a repeat of a longer body is compared by digest.

    Raises:
        Malformed: no JSON.
        Invalid: hashes or sketches that are wrong.
        TooLarge: the rest of the body is too long.
        UnsupportedMediaType: another type of body.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body, digest = await _read_body(request)
    if body and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType(media_types)
    exact = bytes(body) if len(body) <= limit else digest
    if len(body) > MAX_PLAIN:
        value = await _read_long_body(body, limit)
        return value, Sent(exact, _content(value))
    whole = bytes(body)
    return strict_json.parse(whole) if body else None, Sent(exact, idempotency.canonical(whole))


def _content(value: object) -> bytes:
    """Return the canonical content of a long body, where a sketch stands for hashes in any order and notation."""
    if isinstance(value, dict):
        value = {
            name: [hashlib.sha256(item.sketch.content).hexdigest(), item.at_most] if isinstance(item, Report) else item
            for name, item in value.items()
        }
    return idempotency.canonical(json.dumps(value).encode())


async def _count_stream(request: Request) -> tuple[Report, bytes]:
    """Count a stream of hashes as it arrives."""
    gathering, digest, rest = HashCollector(), hashlib.sha256(), b""
    async for chunk in request.stream():
        digest.update(chunk)
        received = rest + chunk
        whole = len(received) - len(received) % HASH_BYTES
        if gathering.hashes * HASH_BYTES + len(received) > MAX_STREAM:
            raise TooLarge(_TOO_MANY)
        for start in range(0, whole, _PIECE_BYTES):
            gathering.add(memoryview(received)[start : min(start + _PIECE_BYTES, whole)])
            await asyncio.sleep(0)
        rest = received[whole:]
    if rest or not gathering.hashes:
        detail = f"Send 1 to {MAX_HASHES} hashes of {HASH_BYTES} bytes, one after the other."
        raise Invalid("The body does not hold whole hashes.", errors=[("", detail)])
    return _report(gathering), digest.digest()


async def _read_body(request: Request) -> tuple[bytearray, bytes]:
    body, digest = bytearray(), hashlib.sha256()
    async for chunk in request.stream():
        digest.update(chunk)
        body += chunk
    return body, digest.digest()


def validate_body(shape: type[Shape], value: object) -> Shape:
    """Validate a body.

    Raises:
        Invalid: it is missing, or fields are missing, unknown or wrong.
    """
    if value is None:
        raise Invalid("The body is missing.", errors=[("", "This field is required.")])
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        raise invalid_from(error.errors(include_input=False)) from error


async def _read_long_body(body: bytearray, limit: int) -> object:
    """Parse a long JSON body: extract and count its hashes and sketches, and parse the rest."""
    rest, parts = _extract_lists(body)
    if len(rest) > limit:
        raise TooLarge(f"A body may have {limit} bytes beside its hashes and sketches.")
    value = strict_json.parse(rest)
    if isinstance(value, dict):
        for name in parts.keys() & value.keys():
            value[name] = await _count_part(name, parts[name])
    return value


def _extract_lists(body: bytearray) -> tuple[bytes, dict[str, memoryview]]:
    """Return a body with empty lists of hashes and sketches, and their contents."""
    rest: list[bytes] = []
    parts: dict[str, memoryview] = {}
    at = 0
    while (match := _LIST_OR_SKETCH.search(body, at)) is not None:
        end = body.find(_ENDS[match[2]], match.end())
        if end < 0:
            raise Malformed("The body is not JSON: it ends within a list of hashes or a sketch.")
        rest.append(bytes(memoryview(body)[at : match.end()]))
        parts[match[1].decode()] = memoryview(body)[match.end() : end]
        at = end
    rest.append(bytes(memoryview(body)[at:]))
    return b"".join(rest), parts


async def _count_part(name: str, text: memoryview) -> Report:
    try:
        if name.endswith("sketch"):
            return _parse_sketch(bytes(text).replace(rb"\/", b"/"))
        gathering = HashCollector()
        for hashes in _pieces(text):
            _require_capacity(gathering.hashes + len(hashes))
            gathering.add(_bytes_of(hashes, gathering.hashes))
            await asyncio.sleep(0)
    except ValueError as error:
        detail = str(error).removesuffix(".") + "."
        raise Invalid(
            "1 field(s) need another value; `errors` says which and why.", errors=[(f"/{name}", detail)]
        ) from error
    return _report(gathering)


def _require_capacity(hashes: int) -> None:
    if hashes > MAX_HASHES:
        raise ValueError(_TOO_MANY)


def _pieces(text: memoryview) -> Iterator[list[Any]]:
    """Yield the values of a long JSON list, some thousands at a time."""
    at = 0
    while at <= len(text):
        piece = bytes(text[at : at + _PIECE_BYTES])
        is_last = at + len(piece) == len(text)
        cut = len(piece) if is_last else piece.rfind(b",")
        if cut < 0 or (at and not piece[:cut].strip()):
            raise Malformed("The body is not JSON: a value is missing, or far too long, in a list of hashes.")
        try:
            yield msgspec.json.decode(b"[" + piece[:cut] + b"]", type=list)
        except msgspec.DecodeError as error:
            raise Malformed("The body is not JSON: a list of hashes cannot be read.") from error
        at += cut + 1
