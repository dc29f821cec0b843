"""Calls to addresses that somebody else has named, on real sockets: pinned, bounded, and never inside."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from service.http.egress import Answer, EgressClient, UnansweredError
from service.http.egress_policy import BlockedAddressError

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HOST = "idp.example.test"
"""A name that no resolver knows: whoever looks it up a second time finds nothing."""


class Names:
    """A resolver that gives one answer after the other, and remembers who asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0)


def a_certificate(folder: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


def trusting(file: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(file))


@asynccontextmanager
async def listening(serve: Serve, certificate: Path | None = None) -> AsyncIterator[int]:
    tls = None
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def replying(answer: bytes, seen: list[bytes] | None = None) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if seen is not None:
            seen.append(head)
        writer.write(answer)
        await writer.drain()
        writer.close()

    return serve


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 30))  # type: ignore[arg-type]


def test_a_call_goes_to_the_address_that_was_resolved_with_the_name_in_tls_and_host(tmp_path: Path) -> None:
    async def work() -> None:
        file, seen, names = a_certificate(tmp_path, HOST), list[bytes](), Names(["127.0.0.1"])
        async with listening(replying(OK, seen), file) as port:
            out = EgressClient({HOST}, resolve=names, tls=trusting(file))
            answer = await out.fetch(f"https://{HOST}:{port}/jwks?x=1", headers={"host": "other", "X-A": "b"})
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"{}", "application/json")
        head = seen[0].decode().lower()
        assert head.startswith("get /jwks?x=1 http/1.1\r\n")
        assert f"host: {HOST}:{port}\r\n" in head
        assert "x-a: b\r\n" in head
        assert "other" not in head
        assert names.asked == [(HOST, port)], "one look-up"

    run(work)


def test_a_certificate_for_another_name_is_no_answer(tmp_path: Path) -> None:
    async def work() -> None:
        file = a_certificate(tmp_path, "other.example.test")
        async with listening(replying(OK), file) as port:
            out = EgressClient({HOST}, resolve=Names(["127.0.0.1"]), tls=trusting(file))
            with pytest.raises(UnansweredError):
                await out.fetch(f"https://{HOST}:{port}/")

    run(work)


def test_a_certificate_of_nobody_known_is_no_answer(tmp_path: Path) -> None:
    async def work() -> None:
        async with listening(replying(OK), a_certificate(tmp_path, HOST)) as port:
            with pytest.raises(UnansweredError):
                await EgressClient({HOST}, resolve=Names(["127.0.0.1"])).fetch(f"https://{HOST}:{port}/")

    run(work)


def test_a_name_that_is_public_first_and_private_then_is_never_called_inside() -> None:
    """DNS rebinding: within a call there is no second look-up, and the next call is refused."""
    called: list[httpx.Request] = []

    async def caught(request: httpx.Request) -> httpx.Response:
        called.append(request)
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"))

    async def work() -> None:
        names = Names(["1.1.1.1"], ["127.0.0.1"])
        out = EgressClient(resolve=names, transport=httpx.MockTransport(caught))
        assert (await out.fetch("https://rebinding.example/x")).status == 200
        with pytest.raises(BlockedAddressError):
            await out.fetch("https://rebinding.example/x")
        assert [str(request.url) for request in called] == ["https://1.1.1.1/x"]
        assert called[0].headers["host"] == "rebinding.example"
        assert called[0].extensions["sni_hostname"] == "rebinding.example"
        assert len(names.asked) == 2

    run(work)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["1.1.1.1", "::1"], ["::ffff:127.0.0.1"], ["169.254.169.254"]])
def test_nothing_is_sent_where_one_address_is_inside(addresses: list[str]) -> None:
    async def work() -> None:
        connections: list[int] = []

        async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(1)
            writer.close()

        async with listening(serve) as port:
            with pytest.raises((BlockedAddressError, UnansweredError)) as refused:
                await EgressClient(resolve=Names(addresses)).fetch(f"https://{HOST}:{port}/")
            assert isinstance(refused.value, BlockedAddressError), "it was called"
        assert not connections

    run(work)


@pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f.1", "[::1]", "127.0.0.1"])
def test_names_of_this_machine_are_barred_by_the_systems_own_resolver(host: str) -> None:
    async def work() -> None:
        with pytest.raises(BlockedAddressError):
            await EgressClient().fetch(f"https://{host}:1/")

    run(work)


def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    async def work() -> None:
        moved = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest\r\nContent-Length: 0\r\n\r\n"
        async with listening(replying(moved)) as port:
            answer = await EgressClient({HOST}, resolve=Names(["127.0.0.1"])).fetch(f"http://{HOST}:{port}/")
        assert answer.status == 302

    run(work)


def test_a_proxy_of_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    answers: list[Answer] = []

    async def work() -> None:
        async with listening(replying(OK)) as port:
            answers.append(await EgressClient({HOST}, resolve=Names(["127.0.0.1"])).fetch(f"http://{HOST}:{port}/"))

    run(work)
    assert answers[0].status == 200


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_000_000 + b"\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"",
    ],
    ids=["long", "endless", "encoded", "headers", "nonsense", "nothing"],
)
def test_an_answer_that_cannot_be_used_is_no_answer(answer: bytes) -> None:
    async def work() -> None:
        async with listening(replying(answer)) as port:
            out = EgressClient({HOST}, resolve=Names(["127.0.0.1"]))
            with pytest.raises(UnansweredError):
                await out.fetch(f"http://{HOST}:{port}/", max_bytes=1000)

    run(work)


def test_an_answer_that_drips_is_given_up_in_time() -> None:
    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.02)  # the pace of a server that drips

    async def work() -> None:
        async with listening(dripping) as port:
            out = EgressClient({HOST}, resolve=Names(["127.0.0.1"]))
            with pytest.raises(UnansweredError, match="within"):
                await out.fetch(f"http://{HOST}:{port}/", seconds=0.5)

    run(work)


def test_the_next_address_is_tried_where_one_is_not_there() -> None:
    async def work() -> None:
        async with listening(replying(OK)) as port:
            out = EgressClient({HOST}, resolve=Names(["127.0.0.2", "127.0.0.1"]))
            assert (await out.fetch(f"http://{HOST}:{port}/", method="POST", content=b"a")).status == 200
            with pytest.raises(UnansweredError):
                await EgressClient({HOST}, resolve=Names([])).fetch(f"http://{HOST}:{port}/")

    run(work)


def test_a_host_that_nobody_knows_is_no_answer() -> None:
    async def nobody(_: str, __: int) -> Sequence[str]:
        raise OSError

    async def work() -> None:
        with pytest.raises(UnansweredError, match="not known"):
            await EgressClient(resolve=nobody).fetch("https://nobody.example/")

    run(work)


def test_an_ipv6_address_is_called_in_brackets() -> None:
    seen: list[str] = []

    async def caught(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(204, stream=httpx.ByteStream(b""))

    async def work() -> None:
        out = EgressClient(resolve=Names(["2606:4700::1111"]), transport=httpx.MockTransport(caught))
        await out.fetch("https://six.example:8443/x")
        out.check("https://six.example:8443/x")
        with pytest.raises(BlockedAddressError):
            out.check("https://user:word@six.example/")

    run(work)
    assert seen == ["https://[2606:4700::1111]:8443/x"]
    assert ipaddress.ip_address("2606:4700::1111").is_global
