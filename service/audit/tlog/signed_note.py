"""Signed notes, checkpoints and cosignatures, pure: texts and keys in, texts and answers out.

A note is a text, an empty line and signature lines (`— name base64(4 bytes of key id, signature)`). A checkpoint is a note of at least
three lines: origin, size, root. A cosignature is a signature line of a witness over a checkpoint and the moment it was made.

Source: C2SP signed-note, tlog-checkpoint and tlog-cosignature.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from service.audit import ed25519

Kind: TypeAlias = Literal[1, 4]
"""Type of a key: signs the text of a note (0x01), or a checkpoint with a time (0x04)."""

ED25519: Kind = 1
COSIGNATURE: Kind = 4

MAX_SIGNATURES = 100
KEY_SIZE = 32
ID_SIZE = 4
TIME_SIZE = 8
ROOT_SIZE = 32
MAX_SIZE = 2**63 - 1
DASH = "—"
TIME = "time "

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME_LINE = re.compile(r"time \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class SignatureError(ValueError):
    """The note is well formed, but no known key has signed it, or the signature of a known key is wrong."""


@dataclass(frozen=True)
class Verifier:
    """Verifier key: a name, an Ed25519 public key (32 bytes) and the type of the key."""

    name: str
    public: bytes
    kind: Kind = ED25519

    def __post_init__(self) -> None:
        """Demand a name and a key that a vkey can hold."""
        _require_name(self.name)
        if len(self.public) != KEY_SIZE:
            raise ValueError(f"The public key of {self.name} has {len(self.public)} bytes, an Ed25519 key has 32.")

    @classmethod
    def of(cls, vkey: str) -> "Verifier":
        """Read a verifier key: `<name>+<id, 8 hexadecimal digits>+<base64 of kind and key>`.

        Raises:
            ValueError: it is not one, or its id is not that of its name and key.
        """
        parts = vkey.split("+", 2)
        if len(parts) != 3:  # noqa: PLR2004
            raise ValueError(f"`{vkey}` is no verifier key: it must be <name>+<id>+<key>.")
        name, key_id, material = parts[0], parts[1], _bytes_of(parts[2])
        kind = next((candidate for candidate in (ED25519, COSIGNATURE) if material[:1] == bytes([candidate])), None)
        if kind is None:
            raise ValueError(f"The verifier key of {name} is neither of Ed25519 (0x01) nor of cosignatures (0x04).")
        verifier = cls(name, material[1:], kind)
        if verifier.vkey != vkey:
            raise ValueError(f"The verifier key of {name} has the id {key_id}, its key has {verifier.id.hex()}.")
        return verifier

    @property
    def id(self) -> bytes:
        """The first 4 bytes of the hash over name, kind and key: with the name, what a signature line names its key by."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:ID_SIZE]

    @property
    def vkey(self) -> str:
        """The verifier key as text."""
        return f"{self.name}+{self.id.hex()}+{_text_of(bytes([self.kind]) + self.public)}"

    def has_signed(self, text: str, signature: bytes) -> bool:
        """Return True if the bytes after the key id of a signature line are this key's signature of the text."""
        if self.kind == COSIGNATURE:
            time, signature = int.from_bytes(signature[:TIME_SIZE]), signature[TIME_SIZE:]
            if time > MAX_SIZE:
                return False
            text = _cosigned(text, time)
        return ed25519.verified(self.public, signature, text.encode())


class Signer:
    """Holds an Ed25519 private key (PEM) and the name it signs by."""

    def __init__(self, pem: bytes, name: str, kind: Kind = ED25519) -> None:
        # Verifying needs none of these: it works where they are not installed.
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415
        from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

        key = load_pem_private_key(pem, password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"The key of {name} is not an Ed25519 key.")  # noqa: TRY004
        self._key = key
        self.verifier = Verifier(name, key.public_key().public_bytes_raw(), kind)

    def __repr__(self) -> str:
        """Name the key, never show it."""
        return f"Signer({self.verifier.vkey})"

    @property
    def name(self) -> str:
        """The name in its signature lines."""
        return self.verifier.name

    @property
    def vkey(self) -> str:
        """The verifier key of what it signs."""
        return self.verifier.vkey

    def line(self, text: str) -> str:
        """Return its signature line for the text of a note, with the newline.

        Raises:
            ValueError: the text cannot be that of a note, or the key is one of cosignatures.
        """
        _require_text(text)
        if self.verifier.kind != ED25519:
            raise ValueError(f"{self.name} signs cosignatures, not notes.")
        return self._line(self._key.sign(text.encode()))

    def cosignature(self, text: str, time: int) -> str:
        """Return its cosignature line for the text of a checkpoint and a POSIX time; see `cosign`."""
        if self.verifier.kind != COSIGNATURE:
            raise ValueError(f"{self.name} signs notes, not cosignatures.")
        if not 0 < time <= MAX_SIZE:
            raise ValueError(f"{time} is no time of a cosignature.")
        return self._line(time.to_bytes(TIME_SIZE) + self._key.sign(_cosigned(text, time).encode()))

    def _line(self, signature: bytes) -> str:
        return f"{DASH} {self.name} {_text_of(self.verifier.id + signature)}\n"


@dataclass(frozen=True)
class Signature:
    """One signature line, taken apart; nothing of it has been verified."""

    name: str
    id: bytes
    signature: bytes
    line: str
    """As it stands in the note, with the newline."""

    def is_by(self, verifier: Verifier) -> bool:
        """Return True if it names this key."""
        return (self.name, self.id) == (verifier.name, verifier.id)


@dataclass(frozen=True)
class VerifiedNote:
    """The text of a note, and who has signed it: each signature of a key that was asked for was verified."""

    text: str
    keys: frozenset[Verifier]

    @property
    def by(self) -> frozenset[str]:
        """The names of the keys."""
        return frozenset(key.name for key in self.keys)


def sign(text: str, *signers: Signer) -> str:
    """Return the note: the text (which ends with a newline), an empty line and a signature line by each."""
    return text + "\n" + "".join(signer.line(text) for signer in signers)


def parts_of(note: str) -> tuple[str, list[Signature]]:
    """Take a note apart into its text and its signature lines; nothing is verified.

    Raises:
        ValueError: it is no note.
    """
    _require_text(note)
    end = note.rfind("\n\n")
    lines = note[end + 2 :].split("\n")[:-1]
    if end < 0 or not lines:
        raise ValueError("A note is a text, an empty line and signature lines.")
    if len(lines) > MAX_SIGNATURES:
        raise ValueError(f"A note has at most {MAX_SIGNATURES} signatures.")
    return note[: end + 1], [_signature(line) for line in lines]


def signatures_of(note: str) -> list[Signature]:
    """Return the signature lines of a note; nothing is verified.

    Raises:
        ValueError: it is no note.
    """
    return parts_of(note)[1]


def open(note: str, verifiers: Iterable[Verifier]) -> VerifiedNote:  # noqa: A001
    """Return the text of a note that at least one of these keys has signed; lines of other keys are passed over.

    Raises:
        ValueError: it is no note.
        SignatureError: none of the keys has signed it, or a line that names one of them does not hold its signature.
    """
    text, signatures = parts_of(note)
    by_key = {(verifier.name, verifier.id): verifier for verifier in verifiers}
    keys = set()
    for each in signatures:
        verifier = by_key.get((each.name, each.id))
        if verifier is None:
            continue
        if not verifier.has_signed(text, each.signature):
            raise SignatureError(f"The signature of {each.name} ({each.id.hex()}) is wrong.")
        keys.add(verifier)
    if not keys:
        raise SignatureError("None of the known keys has signed the note.")
    return VerifiedNote(text, frozenset(keys))


def with_lines(note: str, lines: Iterable[str]) -> str:
    """Return the note with more signature lines below, but none that it has already."""
    there = {each.line for each in signatures_of(note)}
    return note + "".join(line for line in dict.fromkeys(lines) if line not in there)


@dataclass(frozen=True)
class Checkpoint:
    """A tree of a log: the log's origin, the number of leaves, the root (32 bytes), and further lines."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Demand what the lines of a note can say."""
        for line in (self.origin, *self.extensions):
            if not line or "\n" in line:
                raise ValueError("The lines of a checkpoint are not empty.")
            _require_text(line + "\n")
        if not 0 <= self.size <= MAX_SIZE:
            raise ValueError(f"{self.size} is no size of a log.")
        if len(self.root) != ROOT_SIZE:
            raise ValueError(f"The root has {len(self.root)} bytes, a SHA-256 hash has 32.")

    @classmethod
    def at(cls, origin: str, size: int, root: bytes, time: datetime) -> "Checkpoint":
        """Return the checkpoint of a tree with the line `time <RFC 3339 in UTC, seconds>`."""
        return cls(origin, size, root, (f"{TIME}{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",))

    @classmethod
    def of(cls, text: str) -> "Checkpoint":
        """Read the text of a checkpoint (not the note with its signatures).

        Raises:
            ValueError: it is none.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1]:  # noqa: PLR2004
            raise ValueError("A checkpoint is the lines origin, size and root.")
        return cls(lines[0], decimal(lines[1]), _bytes_of(lines[2]), tuple(lines[3:-1]))

    def text(self) -> str:
        """Return what is signed."""
        return "".join(f"{line}\n" for line in (self.origin, str(self.size), _text_of(self.root), *self.extensions))

    @property
    def time(self) -> datetime | None:
        """The moment that the line `time …` tells, or None where there is no such line."""
        time_line = next((line for line in self.extensions if _TIME_LINE.fullmatch(line)), None)
        return None if time_line is None else datetime.fromisoformat(time_line.removeprefix(TIME))


def cosign(text: str, signer: Signer, time: int) -> str:
    """Return the line by which a witness says: at this time this was the largest tree of the log, and it held all that came before.

    Args:
        text: the text of the checkpoint.
        signer: a key of the kind `COSIGNATURE`.
        time: POSIX time, whole seconds, more than 0.

    Raises:
        ValueError: the text is no checkpoint, or the key or the time is of the wrong kind.
    """
    Checkpoint.of(text)
    return signer.cosignature(text, time)


def cosigned_at(note: str, verifier: Verifier) -> int | None:
    """Return the POSIX time of a witness' newest cosignature under a checkpoint, or None where it has not cosigned.

    Raises:
        ValueError: it is no note, or the verifier's key is not one of cosignatures.
        SignatureError: a line that names the witness' key does not hold its signature.
    """
    if verifier.kind != COSIGNATURE:
        raise ValueError(f"The key of {verifier.name} is not one of cosignatures (0x04).")
    text, signatures = parts_of(note)
    lines = [each for each in signatures if each.is_by(verifier)]
    for each in lines:
        if not verifier.has_signed(text, each.signature):
            raise SignatureError(f"The cosignature of {verifier.name} is wrong.")
    return max((int.from_bytes(each.signature[:TIME_SIZE]) for each in lines), default=None)


def decimal(text: str) -> int:
    """Read a size: ASCII digits without leading zeroes.

    Raises:
        ValueError: it is none.
    """
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"`{text[:40]}` is no size: digits without leading zeroes.")
    return int(text)


def hash_of(line: str) -> bytes:
    """Read a hash of 32 bytes in base64.

    Raises:
        ValueError: it is none.
    """
    read = _bytes_of(line)
    if len(read) != ROOT_SIZE:
        raise ValueError(f"A hash has 32 bytes, not {len(read)}.")
    return read


def _cosigned(text: str, time: int) -> str:
    return f"cosignature/v1\n{TIME}{time}\n{text}"


def _signature(line: str) -> Signature:
    parts = line.split(" ")
    if len(parts) != 3 or parts[0] != DASH:  # noqa: PLR2004
        raise ValueError("A signature line is `— name base64`.")
    _require_name(parts[1])
    content = _bytes_of(parts[2])
    if len(content) <= ID_SIZE:
        raise ValueError("A signature line holds 4 bytes of key id and a signature.")
    return Signature(parts[1], content[:ID_SIZE], content[ID_SIZE:], f"{line}\n")


def _require_name(name: str) -> None:
    if not name or "+" in name or any(character.isspace() for character in name):
        raise ValueError("The name of a key is not empty and has neither spaces nor `+`.")
    _require_text(name + "\n")


def _require_text(text: str) -> None:
    text.encode()  # what is not UTF-8 cannot be signed
    if not text.endswith("\n") or any(character < " " and character != "\n" for character in text):
        raise ValueError("The text of a note ends with a newline and has no other control characters.")


def _text_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _bytes_of(text: str) -> bytes:
    """Read base64 (RFC 4648 section 4) that has only one way to be written."""
    try:
        read = base64.b64decode(text.encode(), validate=True)
    except binascii.Error as error:
        raise ValueError(f"`{text[:60]}` is not base64.") from error
    if _text_of(read) != text:
        raise ValueError(f"`{text[:60]}` is not base64 as it is written.")
    return read
