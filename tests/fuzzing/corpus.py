"""Where a fuzz begins: a company with one of everything, somebody of each kind to call, and for each operation requests that it takes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.authz.matrix import Line, Matrix
from tests.authz.rules import RULES
from tests.authz.things import ROLES, Company, Side
from tests.world import Json, World

EVERYTHING = (*(role for role in ROLES if role != "exporter"), "exporter")


def corpus(world: World, company: Company, address: str) -> Json:
    """Return what the hooks have to know.

    `callers`: who may call, and how often of ten; `kept`: the ids of what the callers live by, by parameter, and what stands in for it;
    `examples`: for each operation requests that it takes, as whoever may make them; `things`: known ids by what they are called.
    """
    persons = [world.person(*EVERYTHING) for _ in range(3)]
    system = world.person("exporter", "requester", kind="system")
    narrow = world.person("requester", "registrar", handler=company.a.handler)
    callers = [*persons, system, narrow]
    matrix = Matrix(company, Line(address), RULES, whole=True)
    sides = (company.a,) if company.b is company.a else (company.a, company.b)
    return {
        "callers": [
            *({"secret": person.secret, "weight": 5} for person in persons),
            {"secret": system.secret, "weight": 2},
            {"secret": narrow.secret, "weight": 2},
            {"secret": None, "weight": 1},
            {"secret": f"ob_live_{'0' * 12}_{'0' * 52}", "weight": 1},
        ],
        "kept": {
            "principal_id": [[one.id for one in callers], company.bare],
            "key_id": [[key for one in callers for key in _keys(world, one.id)], company.spare_key],
            "grant_id": [[grant for one in callers for grant in _grants(world, one.id)], company.a.to_withdraw_grant],
        },
        "examples": {
            route: [matrix.example(route, side, role) for side in sides for role in sorted(rule.who)[:2] or [""]]
            for route, rule in RULES.items()
        },
        "things": _things(company, sides),
    }


def _keys(world: World, principal: str) -> list[str]:
    return [key["id"] for key in world.admin.get("/v1/api-keys", principal=principal).json()["items"]]


def _grants(world: World, principal: str) -> list[str]:
    return [grant["id"] for grant in world.admin.get("/v1/grants", principal=principal).json()["items"]]


def _things(company: Company, sides: tuple[Side, ...]) -> dict[str, list[str]]:
    """Return ids by the names of the members and the parameters that take them."""
    made: dict[str, list[str]] = {
        "handler": [side.handler for side in sides],
        "dataset": [one for side in sides for one in (side.dataset, side.lowered)],
        "recipient": [company.recipient],
        "transfer": [
            one
            for side in sides
            for one in (side.draft, side.to_submit, side.in_review, side.reviewed, side.termed, side.approved)
        ],
        "permit": [one for side in sides for one in (side.permit, side.stopped, side.doomed)],
        "principal": [company.victim, company.outcast, company.stand_in, company.lender],
        "revision": [one for side in sides for one in (side.revision, side.termed_revision, side.carried_revision)],
        "export": [one for side in sides for one in (side.export, side.to_complete, side.to_cancel)],
    }
    alike = {
        "datasets": "dataset",
        "transfers": "transfer",
        "permits": "permit",
        "delegate": "principal",
        "delegator": "principal",
        "owner": "principal",
        "reviewer": "principal",
        "subject": "handler",
    }
    return made | {name: made[kind] for name, kind in alike.items()}


def write(path: Path, found: Json, salt: int) -> None:
    """Hand it to the hooks, which run in a process of their own."""
    path.write_text(json.dumps(found | {"salt": salt}), encoding="utf-8")
