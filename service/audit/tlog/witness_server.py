"""The witness as a process of its own: its memory in a file, and the two routes of C2SP tlog-witness. Knows no database."""

import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import fasteners
import structlog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service.audit.tlog import signed_note, witness_protocol
from service.audit.tlog.signed_note import Checkpoint, Signer, VerifiedNote, Verifier
from service.audit.tlog.witness_protocol import Refusal, Submission
from service.key_files import sync_folder, write_durably

log = structlog.get_logger("outbound.witness")


class Memory:
    """The largest checkpoint of each log that was cosigned, in a file that no crash can tear or turn back.

    Used by one process at a time (`with`).

    Args:
        path: the file, a JSON object of the notes by origin.
        logs: the keys of each log that is looked after, by origin.
        is_new: whether the witness has never cosigned anything, so that there may be no file yet.
    """

    def __init__(self, path: Path, logs: Mapping[str, Collection[Verifier]], *, is_new: bool) -> None:
        self._path = path
        self._is_new = is_new
        self._logs = logs
        self._lock = fasteners.InterProcessLock(path.with_name(f"{path.name}.lock"))
        self.notes: dict[str, str] = {}
        self.seen: dict[str, Checkpoint] = {}

    def __enter__(self) -> Self:
        """Read the file; where there is none yet, make it.

        Raises:
            ValueError: it cannot be believed, or another process uses it.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if not self._lock.acquire(blocking=False):
            raise ValueError(f"Another witness uses {self._path}.")
        try:
            if self._path.exists() or not self._is_new:
                self._read()
            else:
                self._write({})
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        """Let the file go."""
        self._lock.release()

    def _read(self) -> None:
        try:
            self.notes = json.loads(self._path.read_bytes())
            for origin in self._logs.keys() & self.notes.keys():
                self.seen[origin] = _checkpoint_of(origin, self.notes[origin], self._logs[origin])
        except FileNotFoundError as error:
            raise ValueError(
                f"{self._path} is not there, but the key is: a witness that has forgotten what it cosigned is none. "
                "Bring back the file; if this key has never cosigned anything, begin with --new."
            ) from error
        except (ValueError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self._path} cannot be believed: {error} Bring it back as it was; if the log has changed its key, "
                "name the former one as well."
            ) from error

    def keep(self, checkpoint: Checkpoint, note: str) -> None:
        """Remember a checkpoint, and return once no crash can undo it.

        Raises:
            OSError: it could not be written; nothing is remembered.
        """
        self._write(self.notes | {checkpoint.origin: note})
        self.notes[checkpoint.origin] = note
        self.seen[checkpoint.origin] = checkpoint

    def _write(self, content: Mapping[str, str]) -> None:
        draft = self._path.with_name(f"{self._path.name}.draft")
        write_durably(draft, json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True).encode())
        os.replace(draft, self._path)  # noqa: PTH105 - the name says that it replaces
        sync_folder(self._path.parent)


def _checkpoint_of(origin: str, note: str, keys: Collection[Verifier]) -> Checkpoint:
    checkpoint = Checkpoint.of(signed_note.open(note, keys).text)
    if checkpoint.origin != origin:
        raise ValueError(f"The checkpoint of {origin} is one of {checkpoint.origin}.")
    return checkpoint


class Witness:
    """Cosigns what is consistent with all that it has cosigned before, and nothing else.

    Args:
        signer: its key.
        logs: the keys of each log that it looks after, by origin.
        memory: what it has cosigned.
        clock: returns the present moment in UTC.
    """

    def __init__(
        self, signer: Signer, logs: Mapping[str, Collection[Verifier]], memory: Memory, clock: Callable[[], datetime]
    ) -> None:
        if signer.verifier.public in {key.public for keys in logs.values() for key in keys}:
            raise ValueError("A witness needs a key of its own: this one is a log's.")
        self._signer = signer
        self._logs = logs
        self._memory = memory
        self._clock = clock

    def add(self, body: bytes) -> str:
        """Return the cosignature line for what was submitted; it is remembered before.

        There is no await in here: what is looked up stands until it is remembered.

        Raises:
            Refusal: it is not cosigned.
            OSError: it could not be remembered, and is not cosigned.
        """
        try:
            submission = Submission.of(body)
        except ValueError as error:
            raise Refusal(400, str(error)) from error
        try:
            checkpoint, verified_note = witness_protocol.verify_submission(submission, self._logs, self._memory.seen)
        except Refusal as refusal:
            self._log_refusal(refusal, submission)
            raise
        line = signed_note.cosign(verified_note.text, self._signer, int(self._clock().timestamp()))
        self._memory.keep(checkpoint, _signed(submission.note, verified_note) + line)
        log.info("cosigned", origin=checkpoint.origin, size=checkpoint.size)
        return line

    def _log_refusal(self, refusal: Refusal, submission: Submission) -> None:
        """Write down what was refused, but nothing that the log itself has not signed."""
        if refusal.is_fork:
            # Both are signed by the log: together they convict it before anybody.
            origin = Checkpoint.of(signed_note.parts_of(submission.note)[0]).origin
            refused = _signed(submission.note, signed_note.open(submission.note, self._logs[origin]))
            log.critical("FORK", origin=origin, cosigned=self._memory.notes.get(origin), refused=refused)
        else:
            log.warning(
                "refused", status=refusal.status, detail=None if refusal.status in {400, 404} else refusal.detail
            )

    def newest(self, origin_hash: str) -> str | None:
        """Return the newest cosigned checkpoint of the log whose origin has this SHA-256 (hexadecimal), if there is one."""
        for origin, note in self._memory.notes.items():
            if origin in self._logs and hashlib.sha256(origin.encode()).hexdigest() == origin_hash:
                return note
        return None


def _signed(note: str, verified_note: VerifiedNote) -> str:
    """Return the note with the signatures that were verified, and no others."""
    own = (each.line for each in signed_note.signatures_of(note) if any(map(each.is_by, verified_note.keys)))
    return f"{verified_note.text}\n{''.join(own)}"


def application(cosigner: Witness) -> Starlette:
    """Return the routes of a witness.

    Source: C2SP tlog-witness, `add-checkpoint` and the checkpoint for monitors.
    """

    async def add_checkpoint(request: Request) -> Response:
        try:
            body = await _body(request)
            return Response(cosigner.add(body), media_type="text/plain")
        except Refusal as refusal:
            if refusal.size is not None:
                return Response(
                    f"{refusal.size}\n", refusal.status, headers={"Content-Type": witness_protocol.SIZE_TYPE}
                )
            return Response(f"{refusal.detail}\n", refusal.status, media_type="text/plain")
        except OSError as error:
            log.error("cannot remember", error=str(error))  # noqa: TRY400 - the sentence says it all
            return Response("This witness cannot write down what it cosigns.\n", 503, media_type="text/plain")

    async def checkpoint(request: Request) -> Response:
        note = cosigner.newest(request.path_params["origin_hash"])
        if note is None:
            return Response("This witness has cosigned no such log.\n", 404, media_type="text/plain")
        return Response(note, media_type="text/plain")

    return Starlette(
        routes=[
            Route("/add-checkpoint", add_checkpoint, methods=["POST"]),
            Route("/{origin_hash}/checkpoint", checkpoint, methods=["GET"]),
        ]
    )


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > witness_protocol.MAX_BODY:
            raise Refusal(413, f"A body has at most {witness_protocol.MAX_BODY} bytes.")
    return bytes(body)


def name_of(public: bytes) -> str:
    """Return the name of a witness that was given none: one that only its key has."""
    return f"outbound.local/witness/{hashlib.sha256(public).hexdigest()[:8]}"
