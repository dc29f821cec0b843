"""Verifies Ed25519 signatures: by `cryptography` where it is installed, else by integers alone.

The verifier in one file has nothing but Python; both ways accept the same signatures.

Source: RFC 8032 section 5.1.7, without the cofactor, as OpenSSL verifies: the encoding of `[S]B - [k]A` must be the signature's first half.
"""

import hashlib
from collections.abc import Callable
from typing import Final, TypeAlias

KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64

Point: TypeAlias = tuple[int, int, int, int]
"""Extended coordinates X, Y, Z, T with x = X/Z, y = Y/Z, x*y = T/Z."""

_P: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT: Final = pow(2, (_P - 1) // 4, _P)
"""A square root of -1."""
_NEUTRAL: Final[Point] = (0, 1, 1, 0)
_SIGN: Final = 1 << 255


def verified_by_integers(public: bytes, signature: bytes, message: bytes) -> bool:
    """Return True if a signature (64 bytes) is that of a message by a public key (32 bytes), with Python's integers alone."""
    if len(public) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    point, scalar = _decoded(public), int.from_bytes(signature[KEY_SIZE:], "little")
    if point is None or scalar >= _ORDER:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:KEY_SIZE] + public + message).digest(), "little") % _ORDER
    x, y, z, t = point
    expected = _sum(_multiple(scalar, _BASE), _multiple(challenge, (-x % _P, y, z, -t % _P)))
    return _encoded(expected) == signature[:KEY_SIZE]


def _sum(first: Point, second: Point) -> Point:
    a = (first[1] - first[0]) * (second[1] - second[0]) % _P
    b = (first[1] + first[0]) * (second[1] + second[0]) % _P
    c = 2 * first[3] * second[3] * _D % _P
    d = 2 * first[2] * second[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _multiple(factor: int, point: Point) -> Point:
    result = _NEUTRAL
    while factor:
        if factor & 1:
            result = _sum(result, point)
        point = _sum(point, point)
        factor >>= 1
    return result


def _encoded(point: Point) -> bytes:
    inverse = pow(point[2], _P - 2, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (_SIGN if x & 1 else 0)).to_bytes(KEY_SIZE, "little")


def _decoded(encoded: bytes) -> Point | None:
    """Return the point that 32 bytes stand for, or None where they stand for none."""
    number = int.from_bytes(encoded, "little")
    y, is_odd = number & (_SIGN - 1), bool(number & _SIGN)
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P or (x == 0 and is_odd):
        return None
    if bool(x & 1) != is_odd:
        x = _P - x
    return x, y, 1, x * y % _P


def _base() -> Point:
    point = _decoded((4 * pow(5, _P - 2, _P) % _P).to_bytes(KEY_SIZE, "little"))
    if point is None:  # pragma: no cover - a constant of the curve
        raise AssertionError
    return point


_BASE: Final = _base()


def _by_library() -> Callable[[bytes, bytes, bytes], bool] | None:
    """Return how `cryptography` verifies, or None where it is not installed."""
    try:
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415
    except ImportError:
        return None

    def verified(public: bytes, signature: bytes, message: bytes) -> bool:
        if int.from_bytes(public, "little") & (_SIGN - 1) >= _P:
            return False  # a second form of a key, which the library takes
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True

    return verified


verified: Final = _by_library() or verified_by_integers
"""Tells whether a signature (64 bytes) is that of a message by a public key (32 bytes)."""
