"""The same roles, shown by a key, by a token of the identity provider and by a session of a browser: the same answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from service.access.tables import LinkedIdentity, Principal, Session
from service.database.ids import new_id
from service.database.session import Database, Transaction
from service.identity import sessions
from service.identity.session_rules import SessionLimits
from tests.api.test_oidc import issuer, provided
from tests.authz.asking import Answer, Line
from tests.authz.matrix import Matrix, Outcome, fits, routes, wanted_of
from tests.authz.rules import RULES, Reach, Rule
from tests.authz.things import WHOLE, Caller, Company, Shown
from tests.conftest import Clock, Served
from tests.issuers import Issuer

__all__ = ["issuer"]
LIMITS = SessionLimits(timedelta(hours=1), timedelta(hours=1), timedelta(hours=1))
CSRF = "X-CSRF-Token"
OWN = {route for route in RULES if "/session" in route}
"""They tell of the session itself, or end it."""
SAFE = ("GET", "HEAD")
WAYS = ("key", "token", "session")
DONE = "You have decided another stage"
GATE = {route for route in RULES if route.startswith("POST /access/") or route == "POST /v1/exports"}


class Ways:
    """Callers, each with a login and a session beside the key; a service that takes all three."""

    def __init__(self, company: Company, address: str, issuer: Issuer) -> None:
        self.matrix = Matrix(company, Line(address), RULES, whole=WHOLE)
        self.callers = [caller for caller in company.callers if not caller.others]
        self._address = address
        self._issuer = issuer
        self._shown: dict[tuple[str, str], Shown] = {}

    async def let_in(self, tx: Transaction) -> None:
        for caller in self.callers:
            subject = caller.principal
            operator: dict[str, Any] = {"made_by": "operator", "made_at": tx.now, "seen_by": []}
            tx.add(
                LinkedIdentity(id=new_id("lg"), principal=subject, issuer=self._issuer.url, subject=subject, **operator)
            )
            principal = await tx.get_one(Principal, caller.principal)
            cookie = await sessions.begin(tx, principal, None, "link", LIMITS, previous_token=None)
            csrf = (await tx.scalars(select(Session.csrf).where(Session.principal == principal.id))).one()
            page = {"Origin": self._address, "Sec-Fetch-Site": "same-origin", CSRF: csrf.hex()}
            self._shown[caller.label, "session"] = {"Cookie": f"outbound_session={cookie}", **page}
            token = self._issuer.token(subject, "EdDSA")
            self._shown[caller.label, "token"] = {"Authorization": f"Bearer {token}"}
            self._shown[caller.label, "key"] = caller.shown

    def asked(self, route: str, caller: Caller, way: str, **more: Any) -> Answer:
        shown = {name: value for name, value in self._shown[caller.label, way].items() if name not in more}
        answer = self.matrix.asked(route, shown, self.matrix.company.a, caller.own or "")
        self.matrix.undo(RULES[route], answer, shown)
        return answer


@pytest.fixture(scope="session")
def ways(
    company: Company,
    issuer: Issuer,
    database_url: str,
    clock: Clock,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ways]:
    async def let_in(made: Ways) -> None:
        database = Database(database_url)
        await database.transaction(made.let_in)
        await database.close()

    with Served(provided(issuer, tmp_path_factory.mktemp("ways")), database_url, clock) as address:
        made = Ways(company, address, issuer)
        asyncio.run(let_in(made))
        yield made


def askers(ways: Ways, rule: Rule) -> Iterator[tuple[Caller, Outcome]]:
    """Yield who asks a route for what is their own: one who may, and one who may not; or everybody."""
    found: set[Outcome] = set()
    for caller in ways.callers:
        wanted = wanted_of(rule, caller, "own")
        needed = caller.everywhere if rule.reach is Reach.EVERYWHERE and wanted is Outcome.PASSES else caller.is_limited
        if WHOLE or (needed and wanted not in found and len(found) < 2):
            found.add(wanted)
            yield caller, wanted


def takes_sessions(operation: Mapping[str, Any]) -> bool:
    return {"session": []} in operation["security"]


def is_given(wanted: Outcome, rule: Rule, answer: Answer) -> bool:
    """Tell whether an answer is what is wanted; an act that has been done is not done again by another way."""
    is_again = wanted is Outcome.PASSES and answer.problem == "forbidden"
    return fits(wanted, rule, answer) or (is_again and answer.json["detail"].startswith(DONE))


def test_a_token_and_a_session_are_answered_as_a_key(ways: Ways, document: Any) -> None:
    surprises: list[str] = []
    asked = 0
    for route, operation in routes(document).items():
        rule = RULES[route]
        if rule.reach is Reach.PUBLIC or route in OWN:
            continue
        order = [*WAYS[asked % 3 :], *WAYS[: asked % 3]]
        shut = set() if takes_sessions(operation) else {"session"}
        for caller, wanted in askers(ways, rule):
            is_known = wanted is Outcome.PASSES and not WHOLE  # the matrix has asked by key
            told = {way: ways.asked(route, caller, way) for way in order if not (is_known and way == "key")}
            asked += 1
            given = {
                way: is_given(Outcome.STRANGER if way in shut else wanted, rule, answer) for way, answer in told.items()
            }
            is_same = len({answer.bare()[:2] for way, answer in told.items() if way not in shut}) == 1
            if not all(given.values()) or not (is_same or wanted is Outcome.PASSES):
                surprises.append(f"{route} {caller.label}: {[f'{way}: {answer}' for way, answer in told.items()]}")
    assert not surprises, "\n".join(surprises)
    assert asked > 200


def test_what_the_gate_decides_alone_takes_no_session(document: Any) -> None:
    known = {route: operation for route, operation in routes(document).items() if operation.get("security")}
    shut = {route for route, operation in known.items() if not takes_sessions(operation)}
    assert shut == GATE


def test_no_route_that_changes_something_takes_a_session_without_its_token(ways: Ways, document: Any) -> None:
    taken: list[str] = []
    for route, operation in routes(document).items():
        if route.startswith(SAFE) or not takes_sessions(operation):
            continue
        caller = next(one for one in ways.callers if one.own in RULES[route].who)
        for without in (CSRF, "Origin") if WHOLE else (CSRF,):
            answer = ways.asked(route, caller, "session", **{without: None, "Sec-Fetch-Site": None})
            if answer.problem != "forbidden":
                taken.append(f"{route} without {without}: {answer}")
    assert not taken, "\n".join(taken)
