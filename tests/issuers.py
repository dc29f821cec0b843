"""An identity provider of the tests' own: a real HTTP server whose keys, answers and delays a test decides."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
import uuid
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

Json = dict[str, Any]
AUDIENCE: Final = "https://outbound.test"
TYP: Final = "at+jwt"
_KEYS: Final[dict[str, Any]] = {
    "RS256": RSAKey.generate_key(2048),
    "ES256": ECKey.generate_key("P-256"),
    "EdDSA": OKPKey.generate_key("Ed25519"),
}
ALGORITHMS: Final = tuple(_KEYS)


def b64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def public(key: Any, kid: str | None, **more: Any) -> Json:
    return key.as_dict(private=False) | ({} if kid is None else {"kid": kid}) | more


def signed(claims: Json | bytes, key: Any, header: Json) -> str:
    payload = claims if isinstance(claims, bytes) else json.dumps(claims).encode()
    registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
    registry.max_header_length = 10_000
    return jws.serialize_compact(header, payload, key, registry=registry)


def forged(claims: Json, secret: bytes, header: Json) -> str:
    """A token whose seal is an HMAC: libraries refuse to make one with a public key, attackers do not."""
    head = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{head}.{b64(hmac.digest(secret, head.encode(), 'sha256'))}"


class Issuer:
    """Serves discovery and keys, and mints tokens."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.delay = 0.0
        self.status = 200
        self.metadata: Json = {}
        self.keys: dict[str, Any] = {f"first-{alg}": key for alg, key in _KEYS.items()}
        self.described_at = "/.well-known/openid-configuration"
        self.token_answer: Json | None = None
        self.forms: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def rotate(self, name: str) -> None:
        """Replace all keys."""
        self.keys = {
            f"{name}-RS256": RSAKey.generate_key(2048),
            f"{name}-ES256": ECKey.generate_key("P-256"),
            f"{name}-EdDSA": OKPKey.generate_key("Ed25519"),
        }

    def claims(self, subject: str = "somebody", **more: Any) -> Json:
        """Claims of an access token; one that is None is left out."""
        now = int(time.time())
        usual = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": subject,
            "client_id": "console",
            "iat": now,
            "exp": now + 300,
            "jti": uuid.uuid4().hex,
        }
        return {name: value for name, value in (usual | more).items() if value is not None}

    def key(self, alg: str) -> tuple[str, Any]:
        return next((kid, key) for kid, key in self.keys.items() if kid.endswith(alg))

    def token(self, subject: str = "somebody", alg: str = "RS256", header: Json | None = None, **more: Any) -> str:
        """An access token; headers that are None are left out."""
        kid, key = self.key(alg)
        named = {"alg": alg, "typ": TYP, "kid": kid} | (header or {})
        return signed(
            self.claims(subject, **more), key, {name: value for name, value in named.items() if value is not None}
        )

    def id_token(self, subject: str, nonce: str, **more: Any) -> str:
        kid, key = self.key("RS256")
        claims = self.claims(subject, **{"aud": "console", "client_id": None, "nonce": nonce} | more)
        return signed(claims, key, {"alg": "RS256", "typ": "JWT", "kid": kid})

    def forged(self, subject: str = "somebody", alg: str = "HS256", **header: Any) -> str:
        """A token whose shared secret is the public key, in the form in which everyone can read it."""
        kid, key = self.key("RS256")
        return forged(self.claims(subject), key.as_pem(private=False), {"alg": alg, "typ": TYP, "kid": kid} | header)

    def document(self) -> Json:
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
            "code_challenge_methods_supported": ["S256"],
        } | self.metadata

    def _handler(issuer) -> type[BaseHTTPRequestHandler]:  # noqa: N805 - `self` is the request's here
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/keys":
                    self.answer({"keys": [public(key, kid) for kid, key in issuer.keys.items()]})
                elif self.path == issuer.described_at:
                    self.answer(issuer.document())
                else:
                    self.answer({}, 404)

            def do_POST(self) -> None:
                issuer.forms.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.answer(issuer.token_answer or {"error": "invalid_grant"}, 200 if issuer.token_answer else 400)

            def answer(self, body: Json, status: int = 200) -> None:
                issuer.asked[self.path] += 1
                time.sleep(issuer.delay)  # a provider that is slow
                self.send_response(status if issuer.status == 200 else issuer.status)
                content = json.dumps(body).encode()
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler
