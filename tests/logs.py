"""Small logs for tests of notes, witnesses and proofs: a tree, a key, and signed checkpoints of any size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from service.audit.tlog import merkle, signed_note
from service.audit.tlog.signed_note import COSIGNATURE, Checkpoint, Signer
from service.audit.tlog.witness_protocol import Submission

MADE = datetime(2026, 11, 25, 13, 21, 16, tzinfo=UTC)


def pem(seed: bytes) -> bytes:
    """Return a private key that is the same in every run."""
    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(seed).digest())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def a_witness(name: str = "witness.example/w1") -> Signer:
    return Signer(pem(name.encode()), name, COSIGNATURE)


class SmallLog:
    """A log of made-up leaves; `forked_at` is the first leaf that differs from those of other logs."""

    def __init__(
        self, origin: str = "example.com/log", *, forked_at: int | None = None, seed: bytes | None = None
    ) -> None:
        self.origin = origin
        self.signer = Signer(pem(seed or origin.encode()), origin)
        self._forked_at = forked_at

    def leaves(self, size: int) -> Sequence[bytes]:
        fork = self._forked_at
        names = [f"{leaf} rewritten" if fork is not None and leaf >= fork else str(leaf) for leaf in range(size)]
        return [merkle.leaf_hash(name.encode()) for name in names]

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint.at(self.origin, size, merkle.root_of(self.leaves(size)), MADE)

    def note(self, size: int) -> str:
        return signed_note.sign(self.checkpoint(size).text(), self.signer)

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        leaves = self.leaves(new)

        def node(level: int, index: int) -> bytes:
            return merkle.root_of(leaves[index << level : (index + 1) << level])

        return tuple(merkle.consistency_proof(old, new, node))

    def submission(self, old: int, new: int) -> Submission:
        return Submission(old, self.proof(old, new), self.note(new))
