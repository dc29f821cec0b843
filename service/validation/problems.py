"""Problem documents (RFC 9457): the form of every refusal and fault of the service.

Example:
    raise Conflict("The permit is suspended. Ask its reviewers to resume it.")
    raise Invalid("A field needs another value.", errors=[("/name", "Send 1 to 200 characters.")])
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails
from sqlalchemy.exc import DBAPIError, IntegrityError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from service.database.faults import DatabaseUnavailableError, LockTimeoutError

log = structlog.get_logger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 1
PROVIDER_RETRY_SECONDS: Final = 5


class FieldError(BaseModel):
    """One field that is wrong: an RFC 6901 pointer into the body (or the parameter's name), and why."""

    model_config = ConfigDict(extra="allow")

    pointer: str
    detail: str


class ProblemOut(BaseModel):
    """The shape of every problem document."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="What kind of problem, for programs; a path below this service.")
    title: str
    status: int
    detail: str = Field(description="What happened and what to do next, for people.")
    instance: str
    errors: list[FieldError] | None = None


REGISTRY: Final[dict[str, type["Problem"]]] = {}
"""Every problem type by its slug."""


class Problem(Exception):  # noqa: N818 - the field calls it a problem
    """A refusal that a caller can act on; each subclass is one problem type.

    Args:
        detail: what happened and what to do next.
        errors: the fields at fault, as (pointer, detail).
        more: further members of the document.
    """

    slug: ClassVar[str] = "problem"
    title: ClassVar[str] = "The request could not be carried out"
    status: ClassVar[int] = 400

    def __init_subclass__(cls) -> None:
        """Make the type known by its slug."""
        REGISTRY[cls.slug] = cls

    def __init__(self, detail: str, *, errors: Sequence[tuple[str, str]] = (), **more: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = [{"pointer": pointer, "detail": reason} for pointer, reason in errors]
        self.more = more
        self.headers: dict[str, str] = {}
        self.listed: str | None = None
        """Many errors as JSON that is made already; it takes the place of `errors`."""

    def document(self, instance: str) -> dict[str, Any]:
        """Return the document's members; `instance` is the path that was asked for."""
        members: dict[str, Any] = {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.errors:
            members["errors"] = self.errors
        return members | self.more


class Malformed(Problem):
    """The request is not what HTTP or JSON calls well-formed."""

    slug, title, status = "malformed", "The request is not well-formed", 400


class Unauthenticated(Problem):
    """No key or token, or one that is not valid."""

    slug, title, status = "unauthenticated", "A valid key or token is needed", 401

    def __init__(self, detail: str, *, error: str | None = None) -> None:
        super().__init__(detail)
        parameter = "" if error is None else f', error="{error}"'
        self.headers = {"WWW-Authenticate": f'Bearer realm="outbound"{parameter}'}


class Forbidden(Problem):
    """The caller is authenticated, and may not do this."""

    slug, title, status = "forbidden", "Not allowed for this caller", 403


class NotFound(Problem):
    """There is no such resource that the caller may see."""

    slug, title, status = "not-found", "Nothing found", 404


class MethodNotAllowed(Problem):
    """The path has no such method."""

    slug, title, status = "method-not-allowed", "Method not allowed here", 405


class Conflict(Problem):
    """The request conflicts with the present state of the resource."""

    slug, title, status = "conflict", "Not possible in the present state", 409


class AlreadyExists(Conflict):
    """Another resource has the same unique value."""

    slug, title = "already-exists", "There is one with this value already"


class Archived(Problem):
    """An entry that has been moved to a file; `file` and `sha256` name it, and the operator keeps it."""

    slug, title, status = "archived", "The entry has been moved to a file", 410


class PreconditionFailed(Problem):
    """`If-Match` names a version that is no longer the current one."""

    slug, title, status = "precondition-failed", "The resource has changed since it was read", 412


class TooLarge(Problem):
    """The body is larger than the service takes."""

    slug, title, status = "too-large", "The body is too large", 413


class UnsupportedMediaType(Problem):
    """The route does not accept the type of the body."""

    slug, title, status = "unsupported-media-type", "The body is of another type than this route reads", 415


class Invalid(Problem):
    """Fields are missing or not valid; the errors name each one."""

    slug, title, status = "invalid", "Fields are missing or not valid", 422


class PreconditionRequired(Problem):
    """A change without `If-Match`."""

    slug, title, status = "precondition-required", "If-Match is required", 428


class TooManyRequests(Problem):
    """A rate limit of a credential or an address is reached; `Retry-After` says when to repeat the request."""

    slug, title, status = "too-many-requests", "Too many requests", 429

    def __init__(self, seconds: int) -> None:
        super().__init__(f"Come back in {seconds} second(s), and ask less often.")
        self.headers = {"Retry-After": str(seconds)}


class DatabaseUnavailable(Problem):
    """The database does not answer; nothing was allowed and nothing done."""

    slug, title, status = "database-away", "The database does not answer", 503

    def __init__(self) -> None:
        super().__init__("Nothing was decided and nothing allowed. Ask again in a moment.")
        self.headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}


class ProviderUnavailable(Problem):
    """The identity provider does not answer, and the token cannot be checked without it. API keys and sessions still work."""

    slug, title, status = "provider-away", "The identity provider does not answer", 503

    def __init__(self) -> None:
        super().__init__("Nothing was decided and nothing allowed. Ask again in a few seconds, or with an API key.")
        self.headers = {"Retry-After": str(PROVIDER_RETRY_SECONDS)}


class Busy(Problem):
    """The queue is full, or other requests hold the needed locks; nothing was allowed and nothing done."""

    slug, title, status = "busy", "Too much is waiting", 503

    def __init__(self) -> None:
        super().__init__("Nothing was decided and nothing allowed. Ask again in a moment.")
        self.headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}


class TookTooLong(Problem):
    """The service gave up on a request that took too long; what was not finished is undone.

    If the time ended during a commit, the outcome is unknown. The same request with the same `Idempotency-Key` shows it.
    """

    slug, title, status = "took-too-long", "The request took too long", 503

    def __init__(self) -> None:
        super().__init__(
            "What was not finished is undone, and nothing was allowed. Ask again in a moment; if it was a change, with the same "
            "Idempotency-Key, or look first whether it was made."
        )
        self.headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}


class InternalError(Problem):
    """A fault of the service itself."""

    slug, title, status = "internal-error", "The service made a mistake", 500


class OtherRefusal(Problem):
    """Any other refusal of HTTP."""

    slug, title, status = "refused", "The request was refused", 400


_UNIQUE: Final = "23505"
_DATA: Final = "22"

_BY_STATUS: Final[Mapping[int, type[Problem]]] = {
    400: Malformed,
    404: NotFound,
    405: MethodNotAllowed,
    413: TooLarge,
    415: UnsupportedMediaType,
}


def pointer_to(location: Sequence[int | str]) -> str:
    """Return the RFC 6901 pointer of a place in a body."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in location)


def invalid_from(errors: Sequence[ErrorDetails | dict[str, Any]], *, prefix: Sequence[int | str] = ()) -> Invalid:
    """Return pydantic's errors as one problem that names each field, and never repeats a value."""
    reasons = [(pointer_to([*prefix, *_within(error["loc"])]), _sentence(error)) for error in errors]
    problem = Invalid(f"{len(reasons)} field(s) need another value; `errors` says which and why.", errors=reasons)
    for entry, error in zip(problem.errors, errors, strict=True):
        if error["loc"] and error["loc"][0] in {"query", "path", "header"}:
            entry["in"] = str(error["loc"][0])
    return problem


def _within(location: Sequence[int | str]) -> Sequence[int | str]:
    return location[1:] if location and location[0] in {"body", "query", "path", "header"} else location


def _sentence(error: ErrorDetails | dict[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "This field is not known here."
    if error["type"] == "missing":
        return "This field is required."
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if message.endswith(".") else message + "."


def response(problem: Problem, instance: str) -> Response:
    """Return the HTTP answer that carries a problem."""
    content = json.dumps(problem.document(instance), ensure_ascii=False, separators=(",", ":"))
    if problem.listed is not None:
        content = f'{content[:-1]},"errors":{problem.listed}}}'
    return Response(content, status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every refusal and every fault of the application with a problem document."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = as_problem(error)
        if isinstance(problem, MethodNotAllowed):
            problem.headers = {"Allow": ", ".join(_methods_at(request))}
        if problem.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("request failed", problem=problem.slug, error=type(error).__name__, path=_template(request))
        return response(problem, request.url.path)

    for kind in (
        Problem,
        RequestValidationError,
        HTTPException,
        DatabaseUnavailableError,
        LockTimeoutError,
        DBAPIError,
    ):
        app.add_exception_handler(kind, answer)


def _methods_at(request: Request) -> list[str]:
    """Return the methods of all routes of a path; the framework names those of the first one alone.

    Where paths with and without parameters fit, the address is the one with fewer (OpenAPI 3.1, 4.8.8.2).
    """
    matches = [route for route in _routes(request.app.router) if route.matches(request.scope)[0] is not Match.NONE]
    path = min((str(getattr(route, "path", "")) for route in matches), key=lambda path: path.count("{"), default="")
    same = (route for route in matches if getattr(route, "path", "") == path)
    return sorted({method for route in same for method in getattr(route, "methods", None) or ()})


def _routes(router: Any) -> Iterator[BaseRoute]:
    for route in router.routes:
        included = getattr(route, "original_router", None)
        yield from [route] if included is None else _routes(included)


def _template(request: Request) -> str:
    return str(getattr(request.scope.get("route"), "path", ""))


def as_problem(error: Exception) -> Problem:
    """Return the problem for an error."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return invalid_from(error.errors())
    if isinstance(error, DatabaseUnavailableError):
        return DatabaseUnavailable()
    if isinstance(error, LockTimeoutError):
        return Busy()
    if isinstance(error, HTTPException):
        return _from_http(error)
    if isinstance(error, IntegrityError) and _state(error) == _UNIQUE:
        return _from_unique(error)
    if isinstance(error, DBAPIError) and _state(error).startswith(_DATA):
        return Invalid("A value is of a form that cannot be kept.")
    return InternalError("The fault is ours and has been logged. Nothing was allowed.")


def _state(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlstate", ""))


def _from_unique(error: IntegrityError) -> Problem:
    cause = getattr(error.orig, "__cause__", None)
    constraint = str(getattr(cause, "constraint_name", ""))
    table = str(getattr(cause, "table_name", ""))
    field = constraint.removeprefix(f"uq_{table}_")
    return AlreadyExists(
        "Take another value, or work on the one that is there.",
        errors=[(f"/{field}", "This value is taken.")],
    )


def _from_http(error: HTTPException) -> Problem:
    kind = _BY_STATUS.get(error.status_code, OtherRefusal)
    problem = kind(str(error.detail) or HTTPStatus(error.status_code).phrase)
    if kind is OtherRefusal:
        problem.status = error.status_code  # type: ignore[misc]
    problem.headers = dict(error.headers or {})
    return problem
