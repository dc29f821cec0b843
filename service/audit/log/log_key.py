"""Manages the Ed25519 key that signs checkpoints: a file of the operator, never in the database. The public key is published."""

import os
from pathlib import Path

import asyncpg

from service.audit.tlog import signed_note
from service.audit.tlog.signed_note import Signer
from service.key_files import read_or_create, sync_folder


class LogKeyError(Exception):
    """This process may not sign for the log; the message says why and what to do."""


class LogKey:
    """Key file, with the earlier keys in files of the same name and the key id as suffix.

    Args:
        path: key file; created if missing.
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
        """Return inode and time of the file, which change when another key replaces it."""
        status = self.path.stat()
        return status.st_ino, status.st_mtime_ns

    def signers(self, origin: str, newest: str | None) -> tuple[Signer, ...]:
        """Return the signers of the next checkpoint: the key in force and, after a rotation, the earlier key once.

        The common checkpoint lets a holder of the older key trust the newer one.
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
        """Return the next key, created if missing; it stays in a file of its own until `replace`."""
        return Signer(read_or_create(self._next), origin)

    def replace(self, origin: str) -> None:
        """Replace the key in force by the next one, and keep it under its id."""
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
    """Require that a key is the current key of the log; register the first one.

    Raises:
        LogKeyError: another key is current.
    """
    keys = await connection.fetch("select vkey, until from log_keys")
    if not keys:
        await connection.execute("insert into log_keys (vkey, since) values ($1, now())", signer.vkey)
    elif not any(row["vkey"] == signer.vkey and row["until"] is None for row in keys):
        raise LogKeyError(
            f"The key of this process ({signer.vkey}) is not the log's: give each server process the same "
            "OUTBOUND_LOG_KEY_FILE, or make this key the log's with `outbound audit rotate-key`."
        )
