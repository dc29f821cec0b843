"""HTTP of sign-in, sign-out and sessions: pages for a browser, and the session in the API."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode

from fastapi import APIRouter, Request, Response
from starlette.responses import HTMLResponse, RedirectResponse

from service.access.caller import Caller
from service.access.lookup import principal_of
from service.database.row_security import EVERYWHERE
from service.database.session import Database, Transaction
from service.http.exchange import AnyExchange
from service.http.router import api_router
from service.identity import linked_identities, sessions
from service.identity.authentication import Authenticator
from service.identity.oidc.authorization_code import SIGN_IN_SECONDS, SignInAttempt
from service.identity.oidc.claims import TokenClaims
from service.identity.oidc.jws import TokenRefusedError
from service.identity.schemas import SessionOut, SessionsEnded
from service.identity.session_cookies import local_path, require_csrf
from service.identity.sign_in_pages import page
from service.validation.problems import Forbidden, Problem, ProviderUnavailable, Unauthenticated

router = api_router("identity")
pages = APIRouter(include_in_schema=False)

CALLBACK = "/login/callback"
ATTEMPT_COOKIE = "outbound-login"
MAX_FORM_BYTES = 8192


@router.get("/v1/session", response_model=SessionOut)
async def read_session(exchange: AnyExchange, request: Request) -> Response:
    """Read the session of the browser, with the token that its pages send as `X-CSRF-Token`."""
    authenticator: Authenticator = request.app.state.authenticator
    return await exchange.read(lambda tx, _: sessions.read(tx, exchange.credential, authenticator.cookies.limits))


@router.post("/v1/session/end", response_model=SessionOut)
async def end_session(exchange: AnyExchange, request: Request) -> Response:
    """Sign out."""
    authenticator: Authenticator = request.app.state.authenticator
    answer = await exchange.act(
        lambda tx, caller: sessions.end(tx, caller, exchange.credential, authenticator.cookies.limits)
    )
    authenticator.cookies.clear_token(request)
    return answer


@router.post("/v1/sessions/end", response_model=SessionsEnded)
async def end_sessions(exchange: AnyExchange) -> Response:
    """End all sessions of the caller, in every browser."""

    async def end(tx: Transaction, caller: Caller) -> SessionsEnded:
        return SessionsEnded(ended=await sessions.end_all(tx, caller, "logout", principal=caller.principal))

    return await exchange.act(end)


@pages.get("/login")
async def show_sign_in(request: Request) -> HTMLResponse:
    """Show the sign-in page."""
    authenticator: Authenticator = request.app.state.authenticator
    if authenticator.code_flow is None:
        text = "No identity provider is set. Ask the operator for a link that works once:"
        return page("Sign in", text, command="outbound login-link --principal NAME")
    query = urlencode({"next": local_path(request.query_params.get("next"))})
    text = "You sign in with your company's identity provider."
    return page("Sign in", text, href=f"/login/start?{query}", label="Sign in")


@pages.get("/login/start")
async def start(request: Request) -> Response:
    """Redirect the browser to the identity provider."""
    authenticator: Authenticator = request.app.state.authenticator
    if authenticator.code_flow is None:
        return RedirectResponse("/login", 303)
    attempt = SignInAttempt.new(local_path(request.query_params.get("next")))
    try:
        authorization_url = await authenticator.code_flow.authorization_url(attempt, _callback(request))
    except ProviderUnavailable as problem:
        return _failure_page(problem)
    cookies = authenticator.cookies
    cookies.set_cookie(
        request, cookies.format_cookie(cookies.cookie_name(ATTEMPT_COOKIE), attempt.cookie, SIGN_IN_SECONDS)
    )
    return RedirectResponse(authorization_url, 303)


@pages.get(CALLBACK)
async def callback(request: Request) -> Response:
    """Complete the sign-in when the browser comes back from the identity provider, and begin a session."""
    authenticator: Authenticator = request.app.state.authenticator
    cookies = authenticator.cookies
    attempt = SignInAttempt.in_cookie(request.cookies.get(cookies.cookie_name(ATTEMPT_COOKIE)))
    cookies.set_cookie(request, cookies.format_cookie(cookies.cookie_name(ATTEMPT_COOKIE), "", 0))
    if authenticator.code_flow is None or attempt is None:
        return _failure_page(
            Unauthenticated("This sign-in took too long, or was not begun in this browser. Begin again.")
        )
    try:
        claims = await authenticator.code_flow.finish(attempt, _single_parameters(request), _callback(request))
        token = await _begin_session(request, authenticator, claims)
    except TokenRefusedError as refused:
        return _failure_page(Unauthenticated(str(refused)))
    except (Unauthenticated, ProviderUnavailable) as problem:
        return _failure_page(problem)
    cookies.set_token(request, token)
    return RedirectResponse(local_path(attempt.return_path), 303)


async def _begin_session(request: Request, authenticator: Authenticator, claims: TokenClaims) -> str:
    """Begin a session for the subject of an ID token and return the session's token."""
    database: Database = request.app.state.database
    try:
        credential = await authenticator.recognize(claims)
    except Unauthenticated:
        await database.transaction(lambda tx: linked_identities.record_refusal(tx, claims), handlers=EVERYWHERE)
        raise

    async def begin(tx: Transaction) -> str | None:
        await linked_identities.authenticate(tx, credential)
        principal = await principal_of(tx, credential.principal)
        if principal.kind != "person":
            sessions.record_refusal(tx, principal.id, "system")
            return None
        previous_token = authenticator.cookies.token_of(request)
        return await sessions.begin(
            tx,
            principal,
            credential.linked_identity,
            "provider",
            authenticator.cookies.limits,
            previous_token=previous_token,
        )

    token = await database.transaction(begin, handlers=EVERYWHERE)
    if token is None:
        raise Unauthenticated("A system does not sign in with a browser.")
    return token


@pages.get("/login/link")
async def show_link(request: Request) -> HTMLResponse:
    """Show a button that uses the link. Opening the page alone does not, since mail programs open links for previews."""
    token = request.query_params.get("token", "")
    text = "This link signs you in once, in this browser."
    return page("Sign in", text, action="/login/link", label="Sign in", fields={"token": token[:100]})


@pages.post("/login/link")
async def use_link(request: Request) -> Response:
    """Use a one-time link and begin a session."""
    authenticator: Authenticator = request.app.state.authenticator
    cookies = authenticator.cookies
    try:
        cookies.require_same_origin(request)
    except Forbidden as problem:
        return _failure_page(problem)
    token, previous_token = (await _form(request)).get("token", ""), cookies.token_of(request)
    database: Database = request.app.state.database
    session_token = await database.transaction(
        lambda tx: sessions.use_link(tx, token, cookies.limits, previous_token=previous_token), handlers=EVERYWHERE
    )
    if session_token is None:
        return _failure_page(Unauthenticated("This link is used, expired or unknown. Ask the operator for another."))
    cookies.set_token(request, session_token)
    return RedirectResponse("/", 303)


@pages.post("/logout")
async def logout(request: Request) -> Response:
    """Sign out by a form, whose field `csrf_token` replaces the header `X-CSRF-Token`."""
    authenticator: Authenticator = request.app.state.authenticator
    cookies, database = authenticator.cookies, request.app.state.database
    token = cookies.token_of(request)
    csrf_token = request.headers.get("x-csrf-token") or (await _form(request)).get("csrf_token")

    async def end(tx: Transaction) -> None:
        session = None if token is None else await sessions.resume(tx, token, cookies.limits)
        if session is None:
            return
        require_csrf(session, csrf_token)
        await sessions.sign_out(tx, session)

    try:
        cookies.require_same_origin(request)
        await database.transaction(end, handlers=EVERYWHERE)
    except Forbidden as problem:
        return _failure_page(problem)
    cookies.clear_token(request)
    return RedirectResponse("/login", 303)


def _callback(request: Request) -> str:
    base: str = request.app.state.base_url
    return base + CALLBACK


def _single_parameters(request: Request) -> Mapping[str, str]:
    """Return the query parameters without repeated ones, which are ambiguous (RFC 6749 section 3.1)."""
    parameters = request.query_params
    return {name: value for name, value in parameters.items() if len(parameters.getlist(name)) == 1}


async def _form(request: Request) -> Mapping[str, str]:
    body = await request.body()
    if len(body) > MAX_FORM_BYTES:
        return {}
    return dict(parse_qsl(body.decode("latin-1"), max_num_fields=20))


def _failure_page(problem: Problem) -> HTMLResponse:
    answer = page("Not signed in", problem.detail, status=problem.status, href="/login", label="Begin again")
    answer.headers.update(problem.headers)
    return answer
