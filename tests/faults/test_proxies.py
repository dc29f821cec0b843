"""Through a real nginx and a real HAProxy that share their connections: every answer belongs to its own request, and none is lost.

`make soak` sends 10,000 requests through each (`OUTBOUND_SOAK_PROXIES`) and needs both; else some hundreds are sent where they are.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.commands.listen_address import free_port
from tests.faults.racing import export, question
from tests.faults.test_direct import Line, request, served
from tests.faults.test_one_reading import EVALUATION, EXPORTS, OFFERS, Kept, chunked
from tests.world import Json, World

REQUESTS = int(os.environ.get("OUTBOUND_SOAK_PROXIES", "0"))
LINES = 16
"""Connections of callers at once; a proxy has fewer to the service."""
TURNS = 25
"""Requests of one connection."""
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"

NGINX = """
{user}
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 256; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  upstream outbound {{ server {host}:{port}; keepalive 4; }}
  server {{ listen 127.0.0.1:{listen};
    location / {{
      proxy_pass http://outbound; proxy_http_version 1.1; proxy_request_buffering {buffering};
      proxy_set_header Host $host; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_upgrade;
    }} }}
}}
"""
"""The usual recipe for websockets, with shared connections."""
HAPROXY = """
defaults
  mode http
  timeout connect 60s
  timeout client 300s
  timeout server 300s
  http-reuse always
frontend callers
  bind 127.0.0.1:{listen}
  default_backend outbound
backend outbound
  server one {host}:{port}
"""
PROXIES = {
    "nginx": ("nginx", NGINX, {"buffering": "on"}, ("-c",)),
    "nginx as it comes": ("nginx", NGINX, {"buffering": "off"}, ("-c",)),
    "haproxy": ("haproxy", HAPROXY, {}, ("-db", "-f")),
}


@contextmanager
def proxy(name: str, address: str, folder: Path) -> Iterator[str]:
    """Run a proxy in front of a service."""
    program, text, more, arguments = PROXIES[name]
    found = shutil.which(program, path=PATH)
    if found is None:
        if REQUESTS:
            pytest.fail(f"{program} is not here: install the package of that name")
        pytest.skip(f"{program} is not here")
    place, listen = urlsplit(address), free_port()
    file = folder / "proxy.conf"
    file.write_text(
        text.format(
            folder=folder,
            user="user root;" if os.geteuid() == 0 else "",
            host=place.hostname,
            port=place.port,
            listen=listen,
            **more,
        ),
        "utf-8",
    )
    process = subprocess.Popen([found, *arguments, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", listen), timeout=1).close()
                break
            with suppress(subprocess.TimeoutExpired):
                pytest.fail(f"{program} has ended with {process.wait(0.1)}")
        yield f"http://127.0.0.1:{listen}"
    finally:
        process.terminate()
        process.wait(30)


async def final_answer(line: Line) -> tuple[int, dict[str, str], bytes]:
    """Return the answer, and not what only says to go on."""
    head = (await line.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split()[1])
    if status == HTTPStatus.CONTINUE:
        return await final_answer(line)
    headers = dict(one.lower().split(": ", 1) for one in head[1:] if one)
    return status, headers, await line.reader.readexactly(int(headers["content-length"]))


@dataclass
class Mix:
    """Requests of every kind, each with a mark of its own and what its answer must be."""

    world: World
    open_: tuple[Json, Json]
    random: random.Random
    sent: int = 0
    answered: int = 0
    wrong: list[str] = field(default_factory=list)

    async def line(self, address: str) -> None:
        """Ask one thing after the other on one connection."""
        line = await Line.to(address)
        for _ in range(TURNS):
            if self.sent >= (REQUESTS or 300):
                break
            self.sent += 1
            mark = f"mark-{self.sent}"
            kind, (path, body, secret, method, status) = self.one(mark)
            for piece in self.written(path, body, secret, method, mark):
                line.writer.write(piece)
                await line.writer.drain()
                await asyncio.sleep(0)
            found, headers, answer = await final_answer(line)
            self.answered += 1
            if (found, headers.get("x-request-id")) != (status, mark) or not self.fits(kind, mark, answer):
                self.wrong.append(f"{kind} {mark}: {found} {headers.get('x-request-id')} {answer[:300]!r}")
            if headers.get("connection") == "close":
                break
        line.writer.close()

    def one(self, mark: str) -> tuple[str, tuple[str, bytes, str, str, int]]:
        world = self.world
        hidden = request("/v1/me", b"", world.admin.secret, "X-Request-ID: hidden", method="GET")
        ask, reserve = question(world.exporter, *self.open_), export(*self.open_, 0)
        long = b"\r\n" * self.random.randint(0, 20_000) + hidden
        allowed, denied = ask, ask | {"resource": {"type": "dataset", "id": f"none {mark}"}}
        kinds = {
            "allowed": (EVALUATION, json.dumps(allowed).encode(), world.exporter.secret, "POST", 200),
            "denied": (EVALUATION, json.dumps(denied).encode(), world.exporter.secret, "POST", 200),
            "export": (EXPORTS, json.dumps(reserve | {"purpose": mark}).encode(), world.exporter.secret, "POST", 201),
            "refused export": (EXPORTS, json.dumps(reserve | {"dataset": "none"}).encode(), world.exporter.secret, "POST", 403),
            "who am I": ("/v1/me", b"", world.auditor.secret, "GET", 200),
            "who am I, with a body": ("/v1/me", hidden, world.registrar.secret, "GET", 200),
            "a request as a question": (EVALUATION, hidden, world.exporter.secret, "POST", 400),
            "a long request as a question": (EVALUATION, b"\r\n" * 9000 + hidden, world.exporter.secret, "POST", 400),
            "a request as facts": ("/v1/determinations", long, world.exporter.secret, "POST", 400),
            "nobody": (EVALUATION, json.dumps(allowed).encode(), "ob_live_x", "POST", 401),
        }  # fmt: skip
        kind = self.random.choice(list(kinds))
        return kind, kinds[kind]

    def fits(self, kind: str, mark: str, answer: bytes) -> bool:
        told = json.loads(answer)
        held: dict[str, bool] = {
            "allowed": told.get("decision") is True,
            "denied": told.get("decision") is False and told.get("context", {}).get("reason") == "dataset_unknown",
            "export": told.get("purpose") == mark,
            "who am I": told.get("id") == self.world.auditor.id,
            "who am I, with a body": told.get("id") == self.world.registrar.id,
        }
        return held.get(kind, "decision" not in told)

    def written(self, path: str, body: bytes, secret: str, method: str, mark: str) -> Sequence[bytes]:
        draw = self.random
        more = [f"X-Request-ID: {mark}", *draw.choice([(), (), *OFFERS.values()])]
        if body and draw.random() < 0.1:
            more.append("Expect: 100-continue")
        if body and draw.random() < 0.3:
            data = request(path, chunked(body), secret, "Transfer-Encoding: chunked", *more, method=method)
        else:
            data = request(path, body, secret, *more, method=method)
        head = data.index(b"\r\n\r\n") + 4
        cuts = sorted({0, len(data), *draw.choice([(), (head,), (head - 2,), (head, (head + len(data)) // 2)])})
        return [data[begin:end] for begin, end in pairwise(cuts)]

    async def all(self, address: str) -> None:
        """Keep so many connections busy until all has been sent."""

        async def one_after_the_other() -> None:
            while self.sent < (REQUESTS or 300):
                await self.line(address)

        await asyncio.gather(*(one_after_the_other() for _ in range(LINES)))


@pytest.mark.parametrize("name", PROXIES)
def test_every_answer_belongs_to_its_own_request_and_none_is_lost(
    world: World, database_url: str, tmp_path: Path, name: str
) -> None:
    mix = Mix(world, (world.dataset(world.handler()), world.recipient()), random.Random(7))  # noqa: S311 - no secret
    with served(Kept, database_url, tmp_path) as service, proxy(name, service, tmp_path) as address:
        asyncio.run(asyncio.wait_for(mix.all(address), 3600))
    assert mix.wrong == []
    assert mix.answered == mix.sent == (REQUESTS or 300)
