"""Router of every package: strict JSON, no unknown parameters, problem documents in the OpenAPI document."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from service.access.caller import Role
from service.http.exchange import Admission
from service.validation import strict_json
from service.validation.problems import MEDIA_TYPE, Invalid, Malformed, ProblemOut, UnsupportedMediaType

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class StrictRequest(Request):
    """A request whose JSON is read strictly."""

    async def json(self) -> Any:
        """Return the body's value; FastAPI lets an HTTPException through as it is."""
        try:
            return strict_json.parse(await self.body())
        except Malformed as problem:
            raise HTTPException(problem.status, problem.detail) from problem


class StrictRoute(APIRoute):
    """A route that refuses unknown query parameters, and bodies that are not strict JSON."""

    ignores_unknown: ClassVar[bool] = False
    takes_suffixes: ClassVar[bool] = True
    """True if a body may have any type `application/…+json`; else `application/json` alone."""
    stores: ClassVar[bool] = True
    """True if a POST changes something, so that it takes an Idempotency-Key."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        methods = kwargs.get("methods") or {"GET"}
        kwargs["responses"] = {**self.refusals(frozenset(methods)), **(kwargs.get("responses") or {})}
        super().__init__(*args, **kwargs)
        roles = roles_of(self.dependant)
        stated: dict[str, Any] = {
            "parameters": _headers(frozenset(methods), is_repeatable=roles is not None and self.stores),
            "x-roles": "public" if roles is None else sorted(roles),
            "security": _security(self.dependant),
        }
        self.openapi_extra = (self.openapi_extra or {}) | stated

    @classmethod
    def refusals(cls, methods: frozenset[str]) -> dict[int | str, dict[str, Any]]:
        """Return the refusals of a route with these methods, for the OpenAPI document."""
        statuses = {400, 401, 403, 404, 422, 429, 503}
        if "GET" not in methods:
            statuses |= {409, 412, 413, 415}
        if "PATCH" in methods:
            statuses.add(428)
        return {status: REFUSALS[status] for status in sorted(statuses)}

    def get_route_handler(self) -> Handler:
        """Return FastAPI's handler behind the strict checks."""
        handle = super().get_route_handler()
        allowed = {parameter.alias for part in _parts(self.dependant) for parameter in part.query_params}

        async def strict(request: Request) -> Response:
            if not self.ignores_unknown:
                _refuse_unknown_parameters(request, allowed)
            strict_request = StrictRequest(request.scope, request.receive)
            if self.body_field is not None:
                await _require_json(strict_request, takes_suffixes=self.takes_suffixes)
            return await handle(strict_request)

        return strict


def _parts(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for dependency in dependant.dependencies:
        yield from _parts(dependency)


def roles_of(dependant: Dependant) -> frozenset[Role] | None:
    """Return the roles of a route, from the dependency that enforces them; None for a public route."""
    admission = _admission(dependant)
    return None if admission is None else admission.roles


def _admission(dependant: Dependant) -> Admission | None:
    return next((part.call for part in _parts(dependant) if isinstance(part.call, Admission)), None)


def _security(dependant: Dependant) -> list[dict[str, list[str]]]:
    """Return the security requirements of a route, for the OpenAPI document."""
    admission = _admission(dependant)
    if admission is None:
        return []
    named = ["api_key", "access_token", *(["session"] if admission.takes_session else [])]
    return [{name: []} for name in named]


def _refuse_unknown_parameters(request: Request, allowed: set[str]) -> None:
    unknown = sorted(set(request.query_params) - allowed)
    if unknown:
        raise Invalid(
            "The query holds parameters that this route does not know.",
            errors=[("/" + name, "This parameter is not known here.") for name in unknown],
        )


async def _require_json(request: Request, *, takes_suffixes: bool) -> None:
    if not await request.body():
        return
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_suffixed = takes_suffixes and kind.startswith("application/") and kind.endswith("+json")
    if kind != "application/json" and not is_suffixed:
        raise UnsupportedMediaType("Send the body as application/json.")


_MEANINGS: dict[int | str, str] = {
    400: "Not well-formed.",
    401: "No valid key or token.",
    403: "Not allowed for this caller.",
    404: "No such resource that this caller may see.",
    409: "Conflict with the present state.",
    410: "Moved to a file, which the problem names.",
    412: "The resource has changed since it was read.",
    413: "Too large.",
    415: "The route does not accept this type of body.",
    422: "Fields are missing or not valid; `errors` points at each.",
    428: "If-Match is required.",
    429: "Too many requests: repeat after `Retry-After` seconds.",
    503: "The database, or the issuer of a token, does not answer: repeat after `Retry-After` seconds.",
    "default": "Any other refusal.",
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemOut, "description": meaning, "content": {MEDIA_TYPE: {}}}
    for status, meaning in _MEANINGS.items()
}


def _headers(methods: frozenset[str], *, is_repeatable: bool) -> list[dict[str, Any]]:
    """Return the request headers of a route, for the OpenAPI document."""
    if "PATCH" in methods:
        meaning = "ETag of the resource as it was read; 428 without it, 412 if it is no longer current."
        return [_header("If-Match", meaning, required=True)]
    if "POST" in methods and is_repeatable:
        meaning = "Makes a repeat safe: the same key and body get the same answer. 1 to 255 visible characters."
        form = {"minLength": 1, "maxLength": 255, "pattern": r"^[\x21-\x7e]+$"}
        return [_header("Idempotency-Key", meaning, required=False, **form)]
    return []


def _header(name: str, meaning: str, *, required: bool, **form: Any) -> dict[str, Any]:
    schema = {"type": "string", **form}
    return {"name": name, "in": "header", "required": required, "description": meaning, "schema": schema}


class QuestionRoute(StrictRoute):
    """A route that answers a question and changes nothing."""

    stores = False


def api_router(tag: str, route_class: type[StrictRoute] = StrictRoute) -> APIRouter:
    """Return the router of one package.

    Example:
        router = api_router("evidence packs")
    """
    return APIRouter(tags=[tag], route_class=route_class)
