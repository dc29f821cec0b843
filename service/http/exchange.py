"""Runs each request in one transaction: authenticate the caller, do the work, build the response. Routes are built on it.

The credential is read first, outside of any transaction, since a token may need a call to its issuer. The caller is then authenticated
twice: before the body is read, so that an unauthenticated caller learns nothing, and in the transaction that does the work, so that a
key revoked in between has no effect.

Example:
    @router.get("/v1/handlers/{reference}")
    async def read_handler(reference: str, exchange: Annotated[Exchange, allowed(READERS)]) -> Response:
        return await exchange.read(lambda tx, caller: queries.read_handler(tx, reference))
"""

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import quote

from fastapi import Depends, Request, Response
from fastapi.responses import FileResponse
from msgspec import structs
from pydantic import BaseModel

from service.access.caller import ANYONE, READERS, Authenticate, Caller, Credential, Identify, Role, format_roles
from service.database.row_security import NOWHERE, RowScope, merge_scopes
from service.database.session import ConcurrentChangeError, Database, Transaction, close_gate, join_gate
from service.http import conditional, idempotency
from service.http.idempotency import Once, Reply, Sent
from service.http.paging import Page
from service.http.rate_limits import note_authenticated
from service.validation.problems import MEDIA_TYPE, Forbidden, Problem

Resource = TypeVar("Resource", bound=BaseModel)
Item = TypeVar("Item", bound=BaseModel)
Work = Callable[[Transaction, Caller], Awaitable[Resource]]
Gate = Literal["join", "close"] | None
DecidingWork = Callable[[Transaction, Caller], Awaitable[Resource | Problem]]
Listing = Callable[[Transaction, Caller], Awaitable[tuple[Sequence[Item], str | None]]]
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Download:
    """A file to send as an attachment."""

    name: str
    media_type: str
    sha256: str
    content: bytes | Path
    """The bytes, or the path of a file, which is streamed."""

    @property
    def headers(self) -> dict[str, str]:
        """Headers with the file's name, type and hash."""
        ascii_name = self.name.encode("ascii", "replace").decode().replace("?", "_")
        return {
            "Content-Type": self.media_type,
            "Content-Disposition": f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(self.name, safe='')}",
            "ETag": f'"{self.sha256[:32]}"',
            "Digest": f"sha-256={base64.b64encode(bytes.fromhex(self.sha256)).decode()}",
        }


class Exchange:
    """A request to a route with roles, and the ways to answer it."""

    def __init__(
        self, request: Request, roles: frozenset[Role], credential: Credential, *, or_stops: bool = False
    ) -> None:
        self._request = request
        self._roles = roles
        self._or_stops = or_stops
        self.credential = credential
        self._database: Database = request.app.state.database
        # An admin's handlers are those whose grants it manages; it takes another role to read their register.
        self._seen_by = READERS if roles == ANYONE else READERS | roles

    @property
    def client_key(self) -> str:
        """Key of the caller's credential, for resources that are shared out among callers."""
        return self.credential.rate_limit_key.hex()

    async def admit(self, tx: Transaction) -> Caller:
        """Return the caller, and limit the transaction to the rows that the caller may see.

        Raises:
            Unauthenticated: no credential, or none that is valid.
            Forbidden: the caller has none of the route's roles.
        """
        authenticate: Authenticate = self._request.app.state.authenticate
        caller = await authenticate(tx, self.credential)
        note_authenticated(self._request.scope)
        stops = self._or_stops and bool(caller.stop_scope)
        if self._roles != ANYONE and not stops and not caller.has(self._roles):
            raise Forbidden(f"This takes one of the roles: {format_roles(self._roles)}.")
        # On routes that stop a permit, break-glass access includes the permit's rows.
        handlers = merge_scopes(caller.scope(self._seen_by), caller.stop_scope if self._or_stops else NOWHERE)
        await tx.set_scope(RowScope(handlers, caller.principal))
        return caller

    async def read(self, work: Work[Resource]) -> Response:
        """Reply 200 with the resource that `work` returns and its ETag, or 304 if the caller has it already."""
        answer = await self._run(lambda tx, caller: self._answer(200, work, tx, caller))
        if conditional.is_unchanged(self._request, answer.headers["ETag"]):
            return Response(status_code=304, headers={"ETag": answer.headers["ETag"]})
        return _response(answer)

    async def answer_question(self, work: Work[Resource], *, gate: Gate = None) -> Response:
        """Reply 200 to a question that is no resource: without ETag, and computed anew each time."""

        async def answered(tx: Transaction, caller: Caller) -> Reply:
            return Reply(200, _encode(await work(tx, caller)), {})

        return _response(await self._run(answered, gate=gate))

    async def page(self, work: Listing[Item]) -> Response:
        """Reply 200 with one page of a list."""

        async def listed(tx: Transaction, caller: Caller) -> Reply:
            items, cursor = await work(tx, caller)
            return Reply(200, Page(items=list(items), next_cursor=cursor).model_dump_json().encode(), {})

        return _response(await self._run(listed))

    async def download(self, work: Callable[[Transaction, Caller], Awaitable[Download]]) -> Response:
        """Reply 200 with a file as an attachment, or 304 if the caller has it already."""

        async def admitted(tx: Transaction) -> Download:
            return await work(tx, await self.admit(tx))

        file = await self._database.transaction(admitted)
        if conditional.is_unchanged(self._request, file.headers["ETag"]):
            return Response(status_code=304, headers={"ETag": file.headers["ETag"]})
        if isinstance(file.content, Path):
            return FileResponse(file.content, headers=file.headers)
        return Response(file.content, headers=file.headers)

    async def send(self, work: Callable[[Transaction, Caller], Awaitable[Reply]]) -> Response:
        """Reply with the reply of `work`, which may have another type than JSON."""
        return _response(await self._run(work))

    async def create(
        self,
        work: Work[Resource],
        location: Callable[[Resource], str] | None = None,
        *,
        kept: Callable[[Resource], Resource] | None = None,
        gate: Gate = None,
        sent: Sent | None = None,
    ) -> Response:
        """Reply 201 with the created resource, its ETag and, if it has a path, its `Location`; once for an `Idempotency-Key`.

        Args:
            work: creates the resource.
            location: returns its path.
            kept: returns the answer to a repeat, where that differs.
            gate: `join` or `close` the gate, before the work reads or locks anything.
            sent: the content that a repeat must share with the first request; the body, if None.
        """
        return await self.once(
            lambda tx, caller: self._answer(201, work, tx, caller, location=location, kept=kept), gate=gate, sent=sent
        )

    async def act(self, work: Work[Resource], current: Work[Any] | None = None, *, gate: Gate = None) -> Response:
        """Reply 200 with the resource after an act; `If-Match` and `Idempotency-Key` are optional."""
        return await self.once(lambda tx, caller: self._changed(tx, caller, work, current, required=False), gate=gate)

    async def change(self, work: Work[Resource], current: Work[Any], *, gate: Gate = None) -> Response:
        """Reply 200 with the changed resource; `If-Match` must be the ETag of `current`, which locks the resource."""
        answer = await self._run(lambda tx, caller: self._changed(tx, caller, work, current, required=True), gate=gate)
        return _response(answer)

    async def decide(
        self,
        work: DecidingWork[Resource],
        status: int,
        location: Callable[[Resource], str] | None = None,
        *,
        gate: Gate = None,
        sent: Sent | None = None,
    ) -> Response:
        """Reply with the resource or the problem that `work` returns; the transaction is committed for both.

        `sent` is the content that a repeat must share with the first request; the body, if None.
        """

        async def decided(tx: Transaction, caller: Caller) -> Reply:
            result = await work(tx, caller)
            if isinstance(result, Problem):
                document = json.dumps(result.document(self._request.url.path), ensure_ascii=False).encode()
                return Reply(result.status, document, {"Content-Type": MEDIA_TYPE})
            return _reply(status, result, location)

        return await self.once(decided, gate=gate, sent=sent)

    async def once(
        self,
        work: Callable[[Transaction, Caller], Awaitable[Reply]],
        *,
        gate: Gate = None,
        sent: Sent | None = None,
    ) -> Response:
        """Run `work`, or repeat the stored answer of its `Idempotency-Key`."""
        key = idempotency.key_of(self._request)
        if key is None:
            return _response(await self._run(work, gate=gate))
        content = await _read_sent(self._request) if sent is None else sent

        async def guarded(tx: Transaction, caller: Caller) -> Reply:
            use = Once(self._request, caller.principal, key, content)
            earlier = await use.earlier(tx)
            if earlier is not None:
                return earlier
            answer = await work(tx, caller)
            use.keep(tx, answer)
            return answer

        return _response(await self._run(guarded, gate=gate))

    async def _run(self, work: Callable[[Transaction, Caller], Awaitable[Reply]], *, gate: Gate = None) -> Reply:
        async def admitted(tx: Transaction) -> Reply:
            if gate == "close":
                await close_gate(tx)
            elif gate == "join":
                await join_gate(tx)
            caller = await self.admit(tx)
            tx.recheck = lambda: self._require_same_caller(tx, caller)
            return await work(tx, caller)

        return await self._database.transaction(admitted)

    async def _require_same_caller(self, tx: Transaction, caller: Caller) -> None:
        """Authenticate the caller again with the gate closed. A withdrawal of a role closes it too, so it comes before or after.

        Raises:
            ConcurrentChangeError: the caller's rights have changed since the act began.
        """
        if await self.admit(tx) != caller:
            raise ConcurrentChangeError

    async def _changed(
        self, tx: Transaction, caller: Caller, work: Work[Resource], current: Work[Any] | None, *, required: bool
    ) -> Reply:
        if current is not None and (required or conditional.has_precondition(self._request)):
            body = _encode(await current(tx, caller))
            conditional.require_match(self._request, conditional.etag_of(body), required=required)
        return await self._answer(200, work, tx, caller)

    async def _answer(
        self,
        status: int,
        work: Work[Resource],
        tx: Transaction,
        caller: Caller,
        *,
        location: Callable[[Resource], str] | None = None,
        kept: Callable[[Resource], Resource] | None = None,
    ) -> Reply:
        resource = await work(tx, caller)
        answer = _reply(status, resource, location)
        return answer if kept is None else structs.replace(answer, kept=_encode(kept(resource)))


def reply_of(status: int, body: bytes) -> Reply:
    """Return the reply with an encoded body."""
    return Reply(status, body, {"ETag": conditional.etag_of(body)})


async def _read_sent(request: Request) -> Sent:
    """Return the content of a request's body: its value, if it is JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))
    body = await request.body()
    return Sent.json(body) if is_json else Sent.plain(body)


def _reply(status: int, resource: Resource, location: Callable[[Resource], str] | None) -> Reply:
    body = _encode(resource)
    headers = {"ETag": conditional.etag_of(body)}
    if location is not None:
        headers["Location"] = location(resource)
    return Reply(status, body, headers)


def _encode(resource: BaseModel) -> bytes:
    return resource.model_dump_json().encode()


def _response(answer: Reply) -> Response:
    return Response(answer.body, status_code=answer.status, headers=answer.headers, media_type=JSON)


class Admission:
    """Dependency that states the roles of a route; the OpenAPI document reads them from it."""

    def __init__(self, roles: frozenset[Role], *, or_stops: bool = False, takes_session: bool = True) -> None:
        self.roles = roles
        self.or_stops = or_stops
        self.takes_session = takes_session

    async def __call__(self, request: Request) -> Exchange:
        """Authenticate the caller, or refuse, before the body is read."""
        identify: Identify = request.app.state.identify
        credential = await identify(request, self.takes_session)
        exchange = Exchange(request, self.roles, credential, or_stops=self.or_stops)
        database: Database = request.app.state.database
        await database.transaction(exchange.admit)
        return exchange


def allowed(*roles: Role | frozenset[Role], or_stops: bool = False, takes_session: bool = True) -> Any:
    """Return the dependency of a route that callers with any of these roles may call.

    Args:
        roles: the roles, or sets of roles.
        or_stops: True if break-glass access to stop permits is enough as well.
        takes_session: False if a browser session is refused, and the route takes a key or a token alone.
    """
    admitted: frozenset[Role] = frozenset().union(*({role} if isinstance(role, Role) else role for role in roles))
    return Depends(Admission(admitted, or_stops=or_stops, takes_session=takes_session))


AnyExchange = Annotated[Exchange, allowed(ANYONE)]
ReaderExchange = Annotated[Exchange, allowed(READERS)]
AuditorExchange = Annotated[Exchange, allowed(Role.AUDITOR)]
ExporterExchange = Annotated[Exchange, allowed(Role.EXPORTER)]
SystemExchange = Annotated[Exchange, allowed(Role.EXPORTER, takes_session=False)]
"""The exchange of a route by the roles that may call it. `SystemExchange` takes a key or a token, and no browser session."""
