"""Browsers and sessions."""

from __future__ import annotations

from typing import Final

from tests.attacks.defences.model import Defence, Edit, one

DOOR: Final = "service/identity/authentication.py"
BROWSING: Final = "service/identity/session_cookies.py"
LOGIN_ROUTES: Final = "service/identity/sign_in_routes.py"
SITTINGS: Final = "service/identity/sessions.py"
SEATS: Final = "service/identity/session_rules.py"
SIGNING: Final = "service/identity/oidc/authorization_code.py"
TOKENS: Final = "service/identity/oidc/claims.py"
SESSIONS: Final = "tests/api/test_sessions.py::"

DEFENCES: Final = (
    one(
        "A156",
        "what changes something shows what its session knows",
        DOOR,
        "Authenticator._resume_session",
        "require_csrf(…)",
        "",
        SESSIONS + "test_what_changes_something_must_come_from_a_page_of_the_session",
    ),
    one(
        "A156",
        "what changes something comes from a page of ours",
        DOOR,
        "Authenticator._resume_session",
        "self.cookies.require_same_origin(…)",
        "",
        SESSIONS + "test_what_changes_something_must_come_from_a_page_of_the_session",
    ),
    one(
        "A157",
        "what is shown is this very session's",
        BROWSING,
        "require_csrf",
        "hmac.compare_digest(session.csrf.hex().encode(), (csrf_token or '').encode())",
        "csrf_token",
        SESSIONS + "test_the_token_of_another_session_does_not_do",
    ),
    one(
        "A158",
        "a link is used from its own page",
        LOGIN_ROUTES,
        "use_link",
        "cookies.require_same_origin(…)",
        "",
        SESSIONS + "test_a_link_is_used_from_its_own_page_alone",
    ),
    one(
        "A159",
        "a session begins with a token that nobody has seen",
        SITTINGS,
        "begin",
        "_new_token(…)",
        (
            "token = previous_token or _new_token(tx, session.id)\n"
            "    if previous_token is not None:\n"
            "        tx.add(SessionToken(sha256=hash_token(token), session=session.id, made_at=tx.now))"
        ),
        SESSIONS + "test_signing_in_gives_a_new_token_and_ends_the_session_before",
    ),
    one(
        "A159",
        "the session before ends",
        SITTINGS,
        "begin",
        "_end_by_token(…)",
        "",
        SESSIONS + "test_signing_in_gives_a_new_token_and_ends_the_session_before",
    ),
    one(
        "A160",
        "a replaced token ends its session",
        SEATS,
        "judge_token",
        "session.token_replaced_at is not None and now >= session.token_replaced_at + ROTATION_GRACE",
        "False",
        SESSIONS + "test_a_token_is_replaced_and_a_copy_of_the_old_one_ends_the_session",
    ),
    one(
        "A161",
        "a session that is not used ends",
        SEATS,
        "judge_token",
        "now >= session.seen_at + limits.idle",
        "False",
        SESSIONS + "test_a_session_ends_when_it_is_not_used_and_after_its_hours",
    ),
    Defence(
        "A161",
        "a session ends after its hours, where it is visited and where it is admitted",
        (
            Edit(
                SEATS,
                "judge_token",
                "now >= session.ends_at",
                "False",
            ),
            Edit(
                SITTINGS,
                "",
                "Session.ends_at > NOW",
                "",
            ),
        ),
        SESSIONS + "test_a_session_ends_when_it_is_not_used_and_after_its_hours",
    ),
    one(
        "A162",
        "a time before the last use is not believed",
        SEATS,
        "judge_token",
        "now < session.seen_at - CLOCK_SKEW",
        "False",
        SESSIONS + "test_a_clock_set_back_below_the_last_use_is_not_believed",
    ),
    one(
        "A163",
        "a link is used once",
        SITTINGS,
        "use_link",
        "SignInLink.used_at.is_(None)",
        "",
        SESSIONS + "test_of_several_that_use_a_link_at_once_one_gets_in",
    ),
    one(
        "A164",
        "a link ends by its time",
        SITTINGS,
        "use_link",
        "SignInLink.expires_at > tx.now",
        "",
        SESSIONS + "test_a_link_ends_by_its_time_and_with_its_person",
    ),
    Defence(
        "A165",
        "an answer is for the browser that asked: by `state`, and by the nonce in the ID token",
        (
            Edit(
                SIGNING,
                "AuthorizationCodeFlow.finish",
                "not hmac.compare_digest(parameters.get('state', '').encode(), attempt.derive('state').encode())",
                "False",
            ),
            Edit(
                TOKENS,
                "id_token",
                "not hmac.compare_digest(_text(claims, 'nonce').encode(), nonce.encode())",
                "False",
            ),
        ),
        SESSIONS + "test_an_answer_for_another_browser_or_a_second_time_is_refused",
    ),
    one(
        "A166",
        "a browser is sent to paths of ours",
        BROWSING,
        "local_path",
        "_LOCAL_PATH.fullmatch(address)",
        "address.startswith('/')",
        SESSIONS + "test_the_browser_is_sent_nowhere_else",
    ),
    one(
        "A167",
        "the gate knows no sessions",
        "service/http/exchange.py",
        "",
        "allowed(Role.EXPORTER, takes_session=False)",
        "allowed(Role.EXPORTER)",
        SESSIONS + "test_the_gate_takes_no_session",
    ),
    one(
        "A168",
        "sessions end with their person",
        "service/identity/operations.py",
        "disable_principal",
        "sessions.end_all(…)",
        "",
        SESSIONS + "test_disabling_a_person_ends_their_sessions_for_good",
    ),
    one(
        "A169",
        "a page escapes what it shows",
        "service/identity/sign_in_pages.py",
        "",
        "True",
        "False",
        SESSIONS + "test_what_a_page_shows_is_escaped",
    ),
    one(
        "A170",
        "of a token its hash is kept",
        SITTINGS,
        "hash_token",
        "hashlib.sha256(token.encode()).digest()",
        "token.encode()[:32]",
        SESSIONS + "test_tokens_are_kept_as_hashes_alone",
    ),
    one(
        "A182",
        "the answer is of the provider that was asked",
        SIGNING,
        "AuthorizationCodeFlow.finish",
        "issuer != metadata.issuer",
        "False",
        SESSIONS + "test_a_sign_in_that_is_not_this_browsers_own_is_refused",
    ),
    one(
        "A182",
        "the ID token belongs to this sign-in",
        TOKENS,
        "id_token",
        "not hmac.compare_digest(_text(claims, 'nonce').encode(), nonce.encode())",
        "False",
        SESSIONS + "test_a_sign_in_that_is_not_this_browsers_own_is_refused",
    ),
    one(
        "A182",
        "the ID token is for this client",
        TOKENS,
        "id_token",
        "party is None and _audience(claims) != {expected.audience} or party not in {None, expected.audience}",
        "False",
        SESSIONS + "test_a_sign_in_that_is_not_this_browsers_own_is_refused",
    ),
    one(
        "A183",
        "a code is changed with the verifier of the browser that asked",
        SIGNING,
        "AuthorizationCodeFlow._redeem_code",
        "'code_verifier'",
        "",
        SESSIONS + "test_a_person_signs_in_through_the_provider",
    ),
    one(
        "A184",
        "over https a cookie is of this host alone",
        BROWSING,
        "SessionCookies.__init__",
        "public_url is not None and public_url.startswith('https://')",
        "False",
        SESSIONS + "test_over_https_the_cookies_belong_to_this_host_alone",
    ),
)
