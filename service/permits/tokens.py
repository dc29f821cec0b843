"""The Ed25519 key that signs permit tokens, and the tokens (RFC 7519, RFC 8037)."""

import warnings
from datetime import datetime
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import SecurityWarning
from joserfc.jwk import OKPKey

from service.key_files import read_or_create

# RFC 9864 prefers the name Ed25519 for what every library still calls EdDSA; verifiers in use know the old name.
warnings.filterwarnings("ignore", message="EdDSA is deprecated", category=SecurityWarning)


class Signer:
    """Holds the private key; its id is the RFC 7638 thumbprint of the public one."""

    def __init__(self, pem: bytes) -> None:
        self._key = OKPKey.import_key(pem)
        self.kid = self._key.thumbprint()

    def __repr__(self) -> str:
        """Name the key, never show it."""
        return f"Signer({self.kid})"

    @classmethod
    def from_file(cls, path: Path) -> "Signer":
        """Read the key, or make it at first; two processes that start at once end up with the same one."""
        return cls(read_or_create(path))

    @property
    def public(self) -> dict[str, Any]:
        """The public key as a JWK."""
        return {**self._key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": "EdDSA"}

    def token(self, claims: dict[str, Any], *, issued_at: datetime, expires_at: datetime) -> str:
        """Return a signed token of type `outbound-permit+jwt`."""
        header = {"alg": "EdDSA", "kid": self.kid, "typ": "outbound-permit+jwt"}
        times = {"iat": int(issued_at.timestamp()), "exp": int(expires_at.timestamp())}
        return jwt.encode(header, claims | times, self._key, algorithms=["EdDSA"])

    def record(self, permit: dict[str, Any], *, at: datetime) -> str:
        """Return what a permit was at a moment, signed; its type says that it is no token, and lets nothing out."""
        header = {"alg": "EdDSA", "kid": self.kid, "typ": "outbound-permit-record+jwt"}
        claims = {"iat": int(at.timestamp()), "sub": permit["id"], "permit": permit}
        return jwt.encode(header, claims, self._key, algorithms=["EdDSA"])
