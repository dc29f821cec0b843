"""The Ed25519 key that signs checkpoints: a file of the operator's, never in the database; its public part is told to everybody."""

import os
from pathlib import Path

import asyncpg

from service.audit.tlog import signed_note
from service.audit.tlog.signed_note import Signer
from service.key_files import read_or_create, sync_folder


class LogKeyError(Exception):
    """This process may not sign for the log; the message says why and what to do."""


class LogKey:
    """The key file, and beside it the keys that it held before, each with its id at the end of its name.

    Args:
        path: made at first, if there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def signer(self, origin: str) -> Signer:
        """Return the key in force, under the name of the log.

        Raises:
            OSError, ValueError: the file cannot be used.
        """
        return Signer(read_or_create(self.path), origin)

    def mark(self) -> tuple[int, int]:
        """Return what changes when another key takes the file's place."""
        status = self.path.stat()
        return status.st_ino, status.st_mtime_ns

    def signers(self, origin: str, newest: str | None) -> tuple[Signer, ...]:
        """Return who signs the next checkpoint: the key in force, and the one before it, if that alone has signed the newest note.

        So whoever trusts the older key learns from a checkpoint that it vouched for the newer one.
        """
        signer = self.signer(origin)
        if newest is None:
            return (signer,)
        signatures = signed_note.signatures_of(newest)
        if any(each.is_by(signer.verifier) for each in signatures):
            return (signer,)
        kept = [self._kept(each.id.hex()) for each in signatures if each.name == origin]
        return (*(Signer(path.read_bytes(), origin) for path in kept if path.exists()), signer)

    def following(self, origin: str) -> Signer:
        """Return the key that is to follow, made when there is none: it waits in a file of its own until `replace`."""
        return Signer(read_or_create(self._next), origin)

    def replace(self, origin: str) -> None:
        """Put the key that is to follow in the place of the one in force, which is kept beside it."""
        kept = self._kept(self.signer(origin).verifier.id.hex())
        if not kept.exists():
            os.link(self.path, kept)
        self._next.replace(self.path)
        sync_folder(self.path.parent)

    @property
    def _next(self) -> Path:
        return self.path.with_name(f"{self.path.name}.next")

    def _kept(self, key_id: str) -> Path:
        return self.path.with_name(f"{self.path.name}.{key_id}")


async def require_current_key(connection: asyncpg.Connection, signer: Signer) -> None:
    """Demand that a key signs for the log; the first one ever comes to do so here.

    Raises:
        LogKeyError: others do, not this one.
    """
    keys = await connection.fetch("select vkey, until from log_keys")
    if not keys:
        await connection.execute("insert into log_keys (vkey, since) values ($1, now())", signer.vkey)
    elif not any(row["vkey"] == signer.vkey and row["until"] is None for row in keys):
        raise LogKeyError(
            f"The key of this process ({signer.vkey}) is not the log's: give each server process the same "
            "OUTBOUND_LOG_KEY_FILE, or make this key the log's with `outbound audit rotate-key`."
        )
