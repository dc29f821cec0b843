"""What was really asked: counted where it arrives, by operation and by what it was answered."""

from __future__ import annotations

from collections import Counter
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from service.app import Outbound
from service.gate.fast_path.asgi import ParsedHead, SendAnswer, VaryingHeaders
from tests.conftest import Served


class Counting:
    """Wraps an application and counts its answers, those too that it gives without ASGI (`service.gate.fast_path.http_protocol`)."""

    def __init__(self, app: Outbound, paths: dict[str, Any]) -> None:
        self._app = app
        self.fast_path = self
        self.varying, self.accepts = app.fast_path.varying, app.fast_path.accepts
        self.parse_head = app.fast_path.parse_head
        self._paths = paths
        self.is_on = False
        self.answers: Counter[tuple[str, int]] = Counter()
        """Operation, as `GET /v1/handlers/{handler_id}`, and status -> answers; an empty operation: none of the document."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._app(scope, receive, told)
        if scope["type"] == "http" and self.is_on:
            self.answers[self._operation(scope), status] += 1

    def begin(
        self, head: ParsedHead, varying: VaryingHeaders, body: bytes, client: Any, send_answer: SendAnswer
    ) -> bool:
        """Have a request answered without ASGI."""

        def told(status: int, lines: bytes, answer: bytes) -> None:
            if self.is_on:
                self.answers[f"POST {head.path}", status] += 1
            send_answer(status, lines, answer)

        return self._app.fast_path.begin(head, varying, body, client, told)

    def _operation(self, scope: Scope) -> str:
        path = getattr(scope.get("route"), "path", scope["path"]).replace(":path}", "}")
        return f"{scope['method']} {path}" if scope["method"].lower() in self._paths.get(path, ()) else ""


class Tally:
    """The counts of some runs together."""

    def __init__(self, document: Any) -> None:
        self.operations = {
            f"{method.upper()} {path}" for path, operations in document["paths"].items() for method in operations
        }
        self.answers: Counter[tuple[str, int]] = Counter()

    @property
    def requests(self) -> int:
        return self.answers.total()

    @property
    def faults(self) -> list[str]:
        return sorted(f"{operation} {status}" for operation, status in self.answers if status >= 500 or status == 0)

    @property
    def reached(self) -> set[str]:
        """Operations that did what they are for at least once."""
        return {operation for operation, status in self.answers if 200 <= status < 300} & self.operations

    def told(self) -> str:
        """Return the figures for whoever runs it."""
        classes: Counter[str] = Counter()
        for (_, status), count in self.answers.items():
            classes[f"{status // 100}xx"] += count
        statuses: Counter[int] = Counter()
        for (_, status), count in self.answers.items():
            statuses[status] += count
        missing = sorted(self.operations - self.reached)
        return (
            f"{self.requests} requests: {dict(sorted(classes.items()))}; {dict(sorted(statuses.items()))}; "
            f"{len(self.reached)} of {len(self.operations)} operations with a 2xx; without: {missing}"
        )


class Counted(Served):
    """The service, with its answers counted."""

    counting: Counting

    def __enter__(self) -> str:
        self.counting = Counting(self.app, self.app.openapi()["paths"])
        self.config.app = self.counting
        return super().__enter__()
