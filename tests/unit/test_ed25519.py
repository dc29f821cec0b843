"""Ed25519 by integers alone says what the library says."""

from __future__ import annotations

import random
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.audit import ed25519

VECTORS = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
]
"""Source: RFC 8032 section 7.1, tests 1 and 2."""
ORDER = 2**252 + 27742317777372353535851937790883648493


@pytest.mark.parametrize(("public", "message", "signature"), VECTORS)
def test_it_takes_the_signatures_of_the_standard(public: str, message: str, signature: str) -> None:
    given = (bytes.fromhex(public), bytes.fromhex(signature), bytes.fromhex(message))
    assert ed25519.verified_by_integers(*given)
    assert ed25519.verified(*given)


def test_it_says_what_the_library_says_of_any_change() -> None:
    chance = random.Random(5)  # noqa: S311
    for _ in range(60):
        key = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
        public, message = key.public_key().public_bytes_raw(), chance.randbytes(chance.randrange(90))
        signature = key.sign(message)
        assert ed25519.verified_by_integers(public, signature, message)
        parts = [bytearray(public), bytearray(signature), bytearray(message + b"x")]
        part = chance.choice(parts)
        part[chance.randrange(len(part))] ^= 1 << chance.randrange(8)
        changed = (bytes(parts[0]), bytes(parts[1]), bytes(parts[2])[: len(message)])
        assert ed25519.verified_by_integers(*changed) == ed25519.verified(*changed)


def test_a_second_form_of_a_signature_is_none() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32))
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"said")
    larger = (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")
    for changed in (signature[:32] + larger, signature[:63], signature + b"\0"):
        assert not ed25519.verified_by_integers(public, changed, b"said")
        assert not ed25519.verified(public, changed, b"said")


@pytest.mark.parametrize(
    "public",
    [
        (2**255 - 19).to_bytes(32, "little"),  # y beyond the field
        (1 | 1 << 255).to_bytes(32, "little"),  # x = 0 with a sign
        (2).to_bytes(32, "little"),  # y of no point
        b"short",
    ],
)
def test_what_is_no_point_is_no_key(public: bytes) -> None:
    assert not ed25519.verified_by_integers(public, bytes(64), b"")
    assert not ed25519.verified(public, bytes(64), b"")


def test_without_the_library_integers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    assert ed25519._by_library() is None  # noqa: SLF001
