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
from service.identity.oidc.authorization_code import SECONDS, Attempt
from service.identity.oidc.claims import TokenClaims
from service.identity.oidc.jws import TokenRefusedError
from service.identity.schemas import SessionOut, SessionsEnded
from service.identity.session_cookies import local_path, require_csrf
from service.identity.sign_in_pages import page
from service.validation.problems import Forbidden, Problem, ProviderUnavailable, Unauthenticated

router = api_router("identity")
pages = APIRouter(include_in_schema=False)

CALLBACK = "/login/callback"
ATTEMPT = "outbound-login"
MAX_FORM = 8192


@router.get("/v1/session", response_model=SessionOut)
async def read_session(exchange: AnyExchange, request: Request) -> Response:
    """Read the session by which the browser came, with what its pages show as `X-CSRF-Token`."""
    authenticator: Authenticator = request.app.state.authenticator
    return await exchange.read(lambda tx, _: sessions.read(tx, exchange.credential, authenticator.browsing.limits))


@router.post("/v1/session/end", response_model=SessionOut)
async def end_session(exchange: AnyExchange, request: Request) -> Response:
    """Sign out."""
    authenticator: Authenticator = request.app.state.authenticator
    answer = await exchange.act(
        lambda tx, caller: sessions.end(tx, caller, exchange.credential, authenticator.browsing.limits)
    )
    authenticator.browsing.take_back(request)
    return answer


@router.post("/v1/sessions/end", response_model=SessionsEnded)
async def end_sessions(exchange: AnyExchange) -> Response:
    """End all sessions of the caller, wherever they were begun."""

    async def end(tx: Transaction, caller: Caller) -> SessionsEnded:
        return SessionsEnded(ended=await sessions.end_all(tx, caller, "logout", principal=caller.principal))

    return await exchange.act(end)


@pages.get("/login")
async def login(request: Request) -> HTMLResponse:
    """Show how to sign in."""
    authenticator: Authenticator = request.app.state.authenticator
    if authenticator.signing_in is None:
        text = "No identity provider is set. Ask the operator for a link that works once:"
        return page("Sign in", text, command="outbound login-link --principal NAME")
    asked = urlencode({"next": local_path(request.query_params.get("next"))})
    text = "You sign in with your company's identity provider."
    return page("Sign in", text, href=f"/login/start?{asked}", label="Sign in")


@pages.get("/login/start")
async def start(request: Request) -> Response:
    """Send the browser to the provider."""
    authenticator: Authenticator = request.app.state.authenticator
    if authenticator.signing_in is None:
        return RedirectResponse("/login", 303)
    attempt = Attempt.new(local_path(request.query_params.get("next")))
    try:
        address = await authenticator.signing_in.address(attempt, _callback(request))
    except ProviderUnavailable as away:
        return _failed(away)
    browsing = authenticator.browsing
    browsing.set_cookie(request, browsing.cookie(browsing.name(ATTEMPT), attempt.cookie, SECONDS))
    return RedirectResponse(address, 303)


@pages.get(CALLBACK)
async def callback(request: Request) -> Response:
    """Take the browser back from the provider, and begin a session."""
    authenticator: Authenticator = request.app.state.authenticator
    browsing = authenticator.browsing
    attempt = Attempt.in_cookie(request.cookies.get(browsing.name(ATTEMPT)))
    browsing.set_cookie(request, browsing.cookie(browsing.name(ATTEMPT), "", 0))
    if authenticator.signing_in is None or attempt is None:
        return _failed(Unauthenticated("This sign-in took too long, or was not begun in this browser. Begin again."))
    try:
        told = await authenticator.signing_in.finish(attempt, _once_each(request), _callback(request))
        token = await _begun(request, authenticator, told)
    except TokenRefusedError as refused:
        return _failed(Unauthenticated(str(refused)))
    except (Unauthenticated, ProviderUnavailable) as problem:
        return _failed(problem)
    browsing.hand_out(request, token)
    return RedirectResponse(local_path(attempt.then), 303)


async def _begun(request: Request, authenticator: Authenticator, told: TokenClaims) -> str:
    """Return the token of a new session of whoever has signed in."""
    database: Database = request.app.state.database
    try:
        vouched = await authenticator.vouch(told)
    except Unauthenticated:
        await database.transaction(lambda tx: linked_identities.note_refusal(tx, told), reach=EVERYWHERE)
        raise

    async def begin(tx: Transaction) -> str | None:
        await linked_identities.authenticate(tx, vouched)
        principal = await principal_of(tx, vouched.principal)
        if principal.kind != "person":
            sessions.refuse(tx, principal.id, "system")
            return None
        shown = authenticator.browsing.token_of(request)
        return await sessions.begin(
            tx, principal, vouched.login, "provider", authenticator.browsing.limits, instead_of=shown
        )

    token = await database.transaction(begin, reach=EVERYWHERE)
    if token is None:
        raise Unauthenticated("A system does not sign in with a browser.")
    return token


@pages.get("/login/link")
async def show_link(request: Request) -> HTMLResponse:
    """Show a button; only pressing it uses the link up, so that whoever previews links does not."""
    token = request.query_params.get("token", "")
    text = "This link signs you in once, in this browser."
    return page("Sign in", text, action="/login/link", label="Sign in", fields={"token": token[:100]})


@pages.post("/login/link")
async def use_link(request: Request) -> Response:
    """Use a link up, and begin a session."""
    authenticator: Authenticator = request.app.state.authenticator
    browsing = authenticator.browsing
    try:
        browsing.require_own_page(request)
    except Forbidden as problem:
        return _failed(problem)
    token, shown = (await _form(request)).get("token", ""), browsing.token_of(request)
    database: Database = request.app.state.database
    begun = await database.transaction(
        lambda tx: sessions.use_link(tx, token, browsing.limits, instead_of=shown), reach=EVERYWHERE
    )
    if begun is None:
        return _failed(
            Unauthenticated("This link has been used, is over, or was never made. Ask the operator for another.")
        )
    browsing.hand_out(request, begun)
    return RedirectResponse("/", 303)


@pages.post("/logout")
async def logout(request: Request) -> Response:
    """Sign out by a form, whose field `csrf_token` stands for the header."""
    authenticator: Authenticator = request.app.state.authenticator
    browsing, database = authenticator.browsing, request.app.state.database
    shown = browsing.token_of(request)
    given = request.headers.get("x-csrf-token") or (await _form(request)).get("csrf_token")

    async def end(tx: Transaction) -> None:
        visit = None if shown is None else await sessions.visit(tx, shown, browsing.limits)
        if visit is None:
            return
        require_csrf(visit, given)
        await sessions.sign_out(tx, visit)

    try:
        browsing.require_own_page(request)
        await database.transaction(end, reach=EVERYWHERE)
    except Forbidden as problem:
        return _failed(problem)
    browsing.take_back(request)
    return RedirectResponse("/login", 303)


def _callback(request: Request) -> str:
    base: str = request.app.state.base_url
    return base + CALLBACK


def _once_each(request: Request) -> Mapping[str, str]:
    """Return the parameters that came once: of two nobody can tell which one is meant (RFC 6749 section 3.1)."""
    found = request.query_params
    return {name: value for name, value in found.items() if len(found.getlist(name)) == 1}


async def _form(request: Request) -> Mapping[str, str]:
    body = await request.body()
    if len(body) > MAX_FORM:
        return {}
    return dict(parse_qsl(body.decode("latin-1"), max_num_fields=20))


def _failed(problem: Problem) -> HTMLResponse:
    answer = page("Not signed in", problem.detail, status=problem.status, href="/login", label="Begin again")
    answer.headers.update(problem.headers)
    return answer
