"""One request, one transaction: authenticate, do one thing, answer; the routes of every room are built on this.

What shows who is calling is found first, outside of any transaction: a token may take a call to its issuer. The caller is then looked up
twice: before the body is read, so that a stranger learns nothing, and again inside the transaction that does the work, so that a key
withdrawn in between does nothing.
"""

import base64
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from fastapi import Depends, Request, Response
from fastapi.responses import FileResponse
from msgspec import structs
from pydantic import BaseModel

from service.access.caller import ANYONE, READERS, Authenticate, Caller, Credential, Identify, Role, named
from service.database.row_security import NOWHERE, RowScope, joined
from service.database.session import Database, MovedError, Transaction, close_gate, join_gate
from service.http import conditional, idempotency
from service.http.idempotency import Once, Reply, Sent
from service.http.paging import Page
from service.http.rate_limits import note_let_in
from service.validation.problems import MEDIA_TYPE, Forbidden, Problem

Shown = TypeVar("Shown", bound=BaseModel)
Item = TypeVar("Item", bound=BaseModel)
Work = Callable[[Transaction, Caller], Awaitable[Shown]]
Gate = Literal["join", "close"] | None
Decided = Callable[[Transaction, Caller], Awaitable[Shown | Problem]]
Listing = Callable[[Transaction, Caller], Awaitable[tuple[Sequence[Item], str | None]]]
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Download:
    """A file to send."""

    name: str
    media_type: str
    sha256: str
    content: bytes | Path
    """The bytes, or the file that holds them, which is sent piece by piece."""

    @property
    def headers(self) -> dict[str, str]:
        """What tells the file's name, type and hash."""
        ascii_name = self.name.encode("ascii", "replace").decode().replace("?", "_")
        return {
            "Content-Type": self.media_type,
            "Content-Disposition": f"attachment; filename=\"{ascii_name}\"; filename*=UTF-8''{quote(self.name, safe='')}",
            "ETag": f'"{self.sha256[:32]}"',
            "Digest": f"sha-256={base64.b64encode(bytes.fromhex(self.sha256)).decode()}",
        }


class Exchange:
    """A request of a caller who has one of the route's roles, and the ways to answer it."""

    def __init__(self, request: Request, roles: frozenset[Role], proof: Credential, *, or_stops: bool = False) -> None:
        self._request = request
        self._roles = roles
        self._or_stops = or_stops
        self.proof = proof
        self._database: Database = request.app.state.database
        # An admin's grants are of the handlers that it keeps the grants of; to read their register takes another role.
        self._seen_by = READERS if roles == ANYONE else READERS | roles

    @property
    def who(self) -> str:
        """Whose request it is, for what is shared out among callers."""
        return self.proof.counted.hex()

    async def admit(self, tx: Transaction) -> Caller:
        """Return the caller.

        Raises:
            Unauthenticated: no key, or none that stands.
            Forbidden: none of the route's roles.
        """
        authenticate: Authenticate = self._request.app.state.authenticate
        caller = await authenticate(tx, self.proof)
        note_let_in(self._request.scope)
        stops = self._or_stops and bool(caller.stops)
        if self._roles != ANYONE and not stops and not caller.has(self._roles):
            raise Forbidden(f"This takes one of the roles: {named(self._roles)}.")
        # Whoever stops a permit must come to its rows, on the routes that stop one.
        reach = joined(caller.reach(self._seen_by), caller.stops if self._or_stops else NOWHERE)
        await tx.look(RowScope(reach, caller.principal))
        return caller

    async def read(self, work: Work[Shown]) -> Response:
        """Reply 200 with what `work` returns and its ETag, or 304 when the caller holds it already."""
        answer = await self._run(lambda tx, caller: self._answer(200, work, tx, caller))
        if conditional.is_unchanged(self._request, answer.headers["ETag"]):
            return Response(status_code=304, headers={"ETag": answer.headers["ETag"]})
        return _sent(answer)

    async def tell(self, work: Work[Shown], *, gate: Gate = None) -> Response:
        """Reply 200 to a question that is no resource: without ETag, and never from an earlier answer."""

        async def told(tx: Transaction, caller: Caller) -> Reply:
            return Reply(200, _encoded(await work(tx, caller)), {})

        return _sent(await self._run(told, gate=gate))

    async def page(self, work: Listing[Item]) -> Response:
        """Reply 200 with one page of a list."""

        async def listed(tx: Transaction, caller: Caller) -> Reply:
            items, cursor = await work(tx, caller)
            return Reply(200, Page(items=list(items), next_cursor=cursor).model_dump_json().encode(), {})

        return _sent(await self._run(listed))

    async def download(self, work: Callable[[Transaction, Caller], Awaitable[Download]]) -> Response:
        """Reply 200 with a file, as an attachment of the type that was found in it, or 304 when the caller holds it already."""

        async def admitted(tx: Transaction) -> Download:
            return await work(tx, await self.admit(tx))

        file = await self._database.transaction(admitted)
        if conditional.is_unchanged(self._request, file.headers["ETag"]):
            return Response(status_code=304, headers={"ETag": file.headers["ETag"]})
        if isinstance(file.content, Path):
            return FileResponse(file.content, headers=file.headers)
        return Response(file.content, headers=file.headers)

    async def send(self, work: Callable[[Transaction, Caller], Awaitable[Reply]]) -> Response:
        """Reply with what `work` makes: bytes of another type than JSON."""
        return _sent(await self._run(work))

    async def create(
        self,
        work: Work[Shown],
        location: Callable[[Shown], str] | None = None,
        *,
        kept: Callable[[Shown], Shown] | None = None,
        gate: Gate = None,
        sent: Sent | None = None,
    ) -> Response:
        """Reply 201 with what was made, its ETag and, where it has an address, its `Location`; once for an `Idempotency-Key`.

        Args:
            work: makes it.
            location: its path.
            kept: what a repeat is answered, where that differs.
            gate: whether the work joins or closes the gate, which must come before anything that it reads or locks.
            sent: what a repeat has the same as the first request; the body, if None.
        """
        return await self.once(
            lambda tx, caller: self._answer(201, work, tx, caller, location=location, kept=kept), gate=gate, sent=sent
        )

    async def act(self, work: Work[Shown], current: Work[Any] | None = None, *, gate: Gate = None) -> Response:
        """Reply 200 with what the act left; `If-Match` is looked at when sent, `Idempotency-Key` too."""
        return await self.once(lambda tx, caller: self._changed(tx, caller, work, current, required=False), gate=gate)

    async def change(self, work: Work[Shown], current: Work[Any], *, gate: Gate = None) -> Response:
        """Reply 200 with what the change left; `If-Match` must name what `current` returns, which locks it."""
        answer = await self._run(lambda tx, caller: self._changed(tx, caller, work, current, required=True), gate=gate)
        return _sent(answer)

    async def decide(
        self,
        work: Decided[Shown],
        status: int,
        location: Callable[[Shown], str] | None = None,
        *,
        gate: Gate = None,
        sent: Sent | None = None,
    ) -> Response:
        """Reply with what `work` returns, or with the problem that it returns: that one is committed as well.

        `sent` is what a repeat has the same as the first request; the body, if None.
        """

        async def decided(tx: Transaction, caller: Caller) -> Reply:
            result = await work(tx, caller)
            if isinstance(result, Problem):
                document = json.dumps(result.document(self._request.url.path), ensure_ascii=False).encode()
                return Reply(result.status, document, {"Content-Type": MEDIA_TYPE})
            return _answer_of(status, result, location)

        return await self.once(decided, gate=gate, sent=sent)

    async def once(
        self,
        work: Callable[[Transaction, Caller], Awaitable[Reply]],
        *,
        gate: Gate = None,
        sent: Sent | None = None,
    ) -> Response:
        """Run `work`, or give the answer again that its `Idempotency-Key` was given before."""
        key = idempotency.key_of(self._request)
        if key is None:
            return _sent(await self._run(work, gate=gate))
        whole = await _sent_in(self._request) if sent is None else sent

        async def guarded(tx: Transaction, caller: Caller) -> Reply:
            use = Once(self._request, caller.principal, key, whole)
            earlier = await use.earlier(tx)
            if earlier is not None:
                return earlier
            answer = await work(tx, caller)
            use.keep(tx, answer)
            return answer

        return _sent(await self._run(guarded, gate=gate))

    async def _run(self, work: Callable[[Transaction, Caller], Awaitable[Reply]], *, gate: Gate = None) -> Reply:
        async def admitted(tx: Transaction) -> Reply:
            if gate == "close":
                await close_gate(tx)
            elif gate == "join":
                await join_gate(tx)
            caller = await self.admit(tx)
            tx.look_again = lambda: self._still(tx, caller)
            return await work(tx, caller)

        return await self._database.transaction(admitted)

    async def _still(self, tx: Transaction, caller: Caller) -> None:
        """Look the caller up once more with the gate closed: whoever withdraws a role closes it too, and comes before or after.

        Raises:
            MovedError: the caller has other rights now than the act began with.
        """
        if await self.admit(tx) != caller:
            raise MovedError

    async def _changed(
        self, tx: Transaction, caller: Caller, work: Work[Shown], current: Work[Any] | None, *, required: bool
    ) -> Reply:
        if current is not None:
            seen = _encoded(await current(tx, caller))
            conditional.require_match(self._request, conditional.etag_of(seen), required=required)
        return await self._answer(200, work, tx, caller)

    async def _answer(
        self,
        status: int,
        work: Work[Shown],
        tx: Transaction,
        caller: Caller,
        *,
        location: Callable[[Shown], str] | None = None,
        kept: Callable[[Shown], Shown] | None = None,
    ) -> Reply:
        shown = await work(tx, caller)
        answer = _answer_of(status, shown, location)
        return answer if kept is None else structs.replace(answer, kept=_encoded(kept(shown)))


def reply_of(status: int, body: bytes) -> Reply:
    """Return the reply whose body is made already."""
    return Reply(status, body, {"ETag": conditional.etag_of(body)})


async def _sent_in(request: Request) -> Sent:
    """Return what the body of a request sends: a value, where it is JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind == JSON or (kind.startswith("application/") and kind.endswith("+json"))
    body = await request.body()
    return Sent.json(body) if is_json else Sent.plain(body)


def _answer_of(status: int, shown: Shown, location: Callable[[Shown], str] | None) -> Reply:
    body = _encoded(shown)
    headers = {"ETag": conditional.etag_of(body)}
    if location is not None:
        headers["Location"] = location(shown)
    return Reply(status, body, headers)


def _encoded(shown: BaseModel) -> bytes:
    return shown.model_dump_json().encode()


def _sent(answer: Reply) -> Response:
    return Response(answer.body, status_code=answer.status, headers=answer.headers, media_type=JSON)


class Admission:
    """The dependency that a route states its roles with; the OpenAPI document reads them from here."""

    def __init__(self, roles: frozenset[Role], *, or_stops: bool = False, takes_session: bool = True) -> None:
        self.roles = roles
        self.or_stops = or_stops
        self.takes_session = takes_session

    async def __call__(self, request: Request) -> Exchange:
        """Admit the caller, or refuse before anything of the body is looked at."""
        identify: Identify = request.app.state.identify
        proof = await identify(request, self.takes_session)
        exchange = Exchange(request, self.roles, proof, or_stops=self.or_stops)
        database: Database = request.app.state.database
        await database.transaction(exchange.admit)
        return exchange


def allowed(*roles: Role | frozenset[Role], or_stops: bool = False, takes_session: bool = True) -> Any:
    """Return the dependency of a route that any of these roles may call.

    Args:
        roles: who may.
        or_stops: whether whoever may stop permits by break-glass access may call it as well.
        takes_session: whether a session in a browser will do; else it takes a key or a token.
    """
    wanted: frozenset[Role] = frozenset().union(*({role} if isinstance(role, Role) else role for role in roles))
    return Depends(Admission(wanted, or_stops=or_stops, takes_session=takes_session))
