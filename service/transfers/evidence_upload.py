"""Reads uploads of evidence: a JSON record, or multipart with the record in `document` and the file in `file`."""

import asyncio
from typing import Any, Final

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from service.http.helper_processes import hash_content, helper_for
from service.http.idempotency import Sent
from service.transfers.evidence import Upload
from service.transfers.file_types import (
    ACCEPTED_FORMATS,
    MAX_BYTES,
    MAX_BYTES_IN_PROCESS,
    MEDIA_TYPES,
    FileInspection,
    safe_name,
)
from service.transfers.schemas import EvidenceIn
from service.validation import strict_json
from service.validation.problems import Invalid, Malformed, TooLarge, UnsupportedMediaType, invalid_from

MULTIPART: Final = "multipart/form-data"
MAX_RECORD: Final = 64 * 1024
MAX_BODY: Final = MAX_BYTES + 1024 * 1024
"""Bytes of a whole body: the file, its record and the multipart boundaries."""

_RECORD: Final = EvidenceIn.model_json_schema()
BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": _RECORD},
            MULTIPART: {
                "schema": {
                    "type": "object",
                    "required": ["document"],
                    "additionalProperties": False,
                    "properties": {
                        "document": _RECORD,
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": f"At most 20 MiB. {ACCEPTED_FORMATS}.",
                        },
                    },
                },
                "encoding": {"document": {"contentType": "application/json"}},
            },
        },
    }
}
FILE: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The bytes, always as an attachment.",
        "content": {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in MEDIA_TYPES},
    }
}


async def read(request: Request, client_key: str) -> tuple[EvidenceIn, Upload | None]:
    """Read the record and the file of a request, and inspect the file.

    Call it before the transaction, so that no row and no gate is locked while a file is inspected.

    Raises:
        Malformed: neither JSON nor multipart.
        Invalid: parts or fields that are missing, unknown or wrong, or a file that is not accepted.
        TooLarge: a part exceeds its limit.
        UnsupportedMediaType: another content type.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == MULTIPART:
        # The parser streams large files to disk; the whole body is never in memory.
        form = await _form(request)
        try:
            return await _parts(request, client_key, form)
        finally:
            await form.close()
    body = await request.body()
    if body and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise UnsupportedMediaType(f"Send the record as application/json, or with its file as {MULTIPART}.")
    return _record(body, ()), None


def fingerprint(record: EvidenceIn, upload: Upload | None) -> Sent:
    """Return the fingerprint of a request for idempotent repeats, independent of its multipart boundary."""
    sent = record.model_dump_json().encode()
    if upload is not None:
        sent += upload.name.encode() + b"\x00" + upload.sha256
    return Sent.plain(sent)


class _WholeParser(MultiPartParser):
    """Parses multipart and notes its closing boundary; without the note a truncated body would pass as one without a file."""

    has_ended = False

    def on_end(self) -> None:
        """Note the closing boundary."""
        self.has_ended = True


async def _form(request: Request) -> FormData:
    parser = _WholeParser(request.headers, request.stream(), max_files=2, max_fields=2, max_part_size=MAX_RECORD)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Malformed(error.message) from error
    if not parser.has_ended:
        await form.close()
        raise Malformed("The body breaks off: its closing boundary is missing.")
    return form


async def _parts(request: Request, client_key: str, form: FormData) -> tuple[EvidenceIn, Upload | None]:
    unknown = sorted({name for name, _ in form.multi_items()} - {"document", "file"})
    repeated = [name for name in ("document", "file") if len(form.getlist(name)) > 1]
    errors = [(f"/{name}", "This part is unknown.") for name in unknown]
    errors += [(f"/{name}", "Send this part once.") for name in repeated]
    if "document" not in form:
        errors.append(("/document", "This part is required: the record as JSON."))
    if errors:
        raise Invalid("The body has missing, unknown or repeated parts.", errors=errors)
    record = _record(await _bytes(form["document"], MAX_RECORD), ("document",))
    sent = form.get("file")
    if sent is None:
        return record, None
    if record.document is not None:
        raise Invalid(
            "Send a file or the hash of one, not both.",
            errors=[("/document/document", "Leave it out: the request has a file.")],
        )
    if isinstance(sent, str):
        raise Invalid("The file has no name.", errors=[("/file", "Send the file with its file name.")])
    content = await _bytes(sent, MAX_BYTES)
    # Inspected in a helper process: a hostile file takes long, and a thread would hold the interpreter lock and slow the gate.
    async with helper_for(
        request, client_key, FileInspection, content, few=len(content) <= MAX_BYTES_IN_PROCESS
    ) as inspection:
        media_type, refusal = await inspection.ask("media_type")
    if refusal:
        raise Invalid("The file is not accepted.", errors=[("/file", refusal)])
    sha256 = await asyncio.to_thread(hash_content, content)
    return record, Upload(safe_name(sent.filename, media_type), media_type, sha256, content)


async def _bytes(part: UploadFile | str, limit: int) -> bytes:
    content = part.encode() if isinstance(part, str) else await part.read(limit + 1)
    if len(content) > limit:
        raise TooLarge(f"A part of this body may have {limit} bytes at most.")
    return content


def _record(body: bytes, within: tuple[str, ...]) -> EvidenceIn:
    if not body:
        raise Invalid("The record is missing.", errors=[("", "This field is required.")])
    try:
        return EvidenceIn.model_validate(strict_json.parse(body))
    except ValidationError as error:
        raise invalid_from(error.errors(), prefix=within) from error
