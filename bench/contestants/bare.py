"""The floor: an ASGI application that reads the body and sends a constant answer of the same size, on uvicorn, without work."""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench.servers import Server

ANSWER = "BENCH_ANSWER"
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_BODY = os.environ.get(ANSWER, "{}").encode()
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


async def app(scope: Message, receive: Receive, send: Send) -> None:
    """Answer."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


def serve(answer: str, folder: Path, workers: int = 1) -> Server:
    """Return a server of it."""
    return uvicorn("bench.contestants.bare:app", folder, {ANSWER: answer}, workers)


def uvicorn(application: str, folder: Path, environment: dict[str, str], workers: int = 1) -> Server:
    """Return uvicorn with what ours runs on: httptools, uvloop, no access log."""
    command = [sys.executable, "-m", "uvicorn", application, "--host", "127.0.0.1", "--port", "{port}"]
    command += ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "warning"]
    command += ["--no-server-header", "--workers", str(workers)]
    return Server(command, folder, environment | {"PYTHONPATH": str(Path(__file__).parents[2])})
