"""Two handlers, each with one of everything, and callers for every role on one of them, on both and on none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from service.access.caller import Role
from service.database.ids import new_id
from service.database.session import Database, Transaction
from service.identity import operations as identity
from tests.packing import add_file
from tests.waiting import seen
from tests.world import Json, Person, World, day

WHOLE = bool(os.environ.get("OUTBOUND_SOAK_AUTHZ"))
"""Whether everybody asks for everything, which takes minutes; else whoever shows a hole in the shortest time."""

ROLES = (
    "registrar",
    "requester",
    "exporter",
    "auditor",
    "admin",
    "reviewer:data_owner",
    "reviewer:privacy",
    "reviewer:legal",
    "reviewer:security",
    "reviewer:executive",
)
Shown = Mapping[str, str]
"""The headers by which a caller is known."""
LENT = "reviewer:legal"
"""The role that somebody has by delegation alone."""


@dataclass
class Side:
    """What belongs to one handler, by id; whatever an act ends is there once more for each act."""

    handler: str = ""
    handler_key: str = ""
    claimant: str = ""
    """A handler that says to be of the same group."""
    dataset: str = ""
    dataset_key: str = ""
    lowered: str = ""
    """A dataset whose second grading waits for a second person."""
    edited: str = ""
    """A dataset that no transfer names: what changes it moves nothing that is in review."""
    waiting: str = ""
    """A fact that would free, and waits for a second person; beside it one that is to be refused."""
    unwanted: str = ""
    draft: str = ""
    to_submit: str = ""
    to_withdraw: str = ""
    in_review: str = ""
    revision: str = ""
    """The hash of what is in review."""
    reviewed: str = ""
    """In review, its first stage approved by the handler's own reviewer."""
    review: str = ""
    carried: str = ""
    """In review as a second revision, of which the first stage decides on nothing that the first one had not."""
    carried_revision: str = ""
    given: str = ""
    """The approval of the first."""
    termed: str = ""
    """In review, its first stage approved on terms."""
    termed_revision: str = ""
    approved: str = ""
    permit: str = ""
    stopped: str = ""
    """A permit that is suspended."""
    doomed: str = ""
    """A permit to be revoked."""
    export: str = ""
    to_complete: str = ""
    to_cancel: str = ""
    paper: str = ""
    spare_paper: str = ""
    finding: str = ""
    duty: str = ""
    to_do: str = ""
    done: str = ""
    pack: str = ""
    seq: str = ""
    """An entry of the log."""
    grant: str = ""
    to_withdraw_grant: str = ""
    pending_grant: str = ""
    delegation: str = ""
    to_end: str = ""
    pending_delegation: str = ""
    glass: str = ""
    """Break-glass access that is open."""
    to_close: str = ""
    reviewer: str = ""
    """Somebody who may decide the second stage."""

    def unknown(self) -> Side:
        """Return what there is nowhere: of each thing an id of its form, a key, a place in the log."""
        made: dict[str, str] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if value[2:3] == "_":
                made[one.name] = new_id(value[:2])
            elif value.isdigit():
                made[one.name] = str(2**40)
            else:
                made[one.name] = value if value.startswith("sha256:") else "no-" + value
        return Side(**made)

    def names(self) -> dict[str, str]:
        """Return what each value is called, for those that tell one thing from another."""
        return {getattr(self, one.name): one.name for one in fields(self) if len(getattr(self, one.name)) > 6}


def bearer(secret: str) -> Shown:
    return {"Authorization": f"Bearer {secret}"}


@dataclass(frozen=True)
class Caller:
    """Somebody with a key, and what the rules have to know of them."""

    label: str
    secret: str
    principal: str
    own: str | None = None
    """The role on the first handler, or everywhere."""
    everywhere: bool = False
    others: frozenset[str] = frozenset()
    """Roles on the second handler."""

    @property
    def shown(self) -> Shown:
        """What the caller shows to be known by."""
        return bearer(self.secret)

    @property
    def is_limited(self) -> bool:
        """Whether the caller has roles on the first handler alone, or none."""
        return not self.everywhere and not self.others


class Company:
    """Two handlers with one of everything, and everybody who may come."""

    def __init__(self, world: World, database_url: str, *, is_whole: bool = True) -> None:
        """Make it all; a company that is not whole has nothing on its second handler."""
        self.world = world
        self.recipient = world.recipient()["id"]
        self.victim = world.person().id
        self.outcast = world.person().id
        self.spare_key = str(world.admin.made("/v1/api-keys", {"principal": self.outcast})["id"])
        logins = [
            world.admin.made(
                f"/v1/principals/{self.victim}/logins",
                {"issuer": "https://issuer.invalid", "subject": world.name("subject")},
            )
            for _ in range(2)
        ]
        self.login, self.login_to_end = (login["id"] for login in logins)
        self.handlers = [world.handler(), world.handler()]
        asyncio.run(self._people(database_url))
        self._shut_out()
        self.a = self._side(0)
        self.b = self._side(1) if is_whole else self.a
        self._wait()

    async def _people(self, url: str) -> None:
        database = Database(url)
        self.callers, self.outsiders = await database.transaction(self._equipped)
        await database.close()

    async def _equipped(self, tx: Transaction) -> tuple[list[Caller], dict[str, Shown]]:
        here, there = (handler["id"] for handler in self.handlers)

        async def made(*grants: tuple[str | None, list[str]], **more: Any) -> tuple[str, str]:
            name = self.world.name("caller")
            for handler, roles in grants or ((None, []),):
                key = await identity.issue_key(tx, name, "person", [Role(role) for role in roles], handler, **more)
            return key.principal, str(key.secret)

        def equipped(label: str, key: tuple[str, str], own: str | None = None, **more: Any) -> Caller:
            return Caller(label, key[1], key[0], own, **more)

        callers: list[Caller] = []
        self.local: list[dict[str, Person]] = [{}, {}]
        for role in ROLES:
            others = [other for other in ROLES if other != role]
            for place, handler in enumerate((here, there)):
                principal, secret = await made((handler, [role]))
                self.local[place][role] = Person(self.world.http, secret, principal, role)
            callers += [
                Caller(f"{role}@A", self.local[0][role].secret, self.local[0][role].id, role),
                equipped(f"{role}@*", await made((None, [role])), role, everywhere=True),
                equipped(
                    f"{role}@A+others@B", await made((here, [role]), (there, others)), role, others=frozenset(others)
                ),
            ]
        callers.append(equipped("nobody", await made()))
        for place, handler in enumerate((here, there)):
            principal, secret = await made((handler, ["reviewer:security"]))
            self.local[place]["lender"] = Person(self.world.http, secret, principal, "lender")
            for opener in ("opener", "closer"):
                principal, secret = await made((handler, ["admin"]))
                self.local[place][opener] = Person(self.world.http, secret, principal, opener)
        self.lender, lender_secret = await made((here, [LENT]))
        self.stand_in, secret = await made()
        self.lending = Person(self.world.http, lender_secret, self.lender, "lender")
        callers.append(Caller(f"{LENT} lent for A", secret, self.stand_in, LENT))
        outsiders: dict[str, Shown] = {
            "no key": {},
            "nonsense": bearer("nonsense"),
            "of its form": bearer(f"ob_live_{'0' * 12}_{'0' * 52}"),
        }
        everything = (None, list(ROLES))
        self.disabled, secret = await made(everything)
        outsiders["disabled"] = bearer(secret)
        self.bare, secret = await made(everything)
        outsiders["revoked"] = bearer(secret)
        _, secret = await made(everything, expires_at=tx.now + timedelta(seconds=1))
        outsiders["expired"] = bearer(secret)
        self.expired_at = datetime.now(UTC) + timedelta(seconds=1.1)
        return callers, outsiders

    def _shut_out(self) -> None:
        self.world.admin.made(f"/v1/principals/{self.disabled}/disable", None)
        for key in self.world.admin.get("/v1/api-keys", principal=self.bare).json()["items"]:
            self.world.admin.made(f"/v1/api-keys/{key['id']}/revoke", None)

    def _side(self, place: int) -> Side:
        world, handler, local = self.world, self.handlers[place], self.local[place]
        dataset, lowered, edited = (world.dataset(handler, "personal") for _ in range(3))
        self._lower(lowered)
        side = Side(handler["id"], handler["key"])
        side.dataset, side.dataset_key = dataset["id"], dataset["key"]
        side.lowered, side.edited = lowered["id"], edited["id"]
        side.claimant = self._claiming(self.handlers[place])
        to = {"id": self.recipient}

        def draft(**more: Any) -> Json:
            return world.draft(handler, [dataset], to, **more)

        freed = world.registrar.patch(
            f"/v1/datasets/{edited['id']}", {"facts": {"ftz_list": "unlisted", "origin": "foreign"}}
        ).json()["pending_facts"]
        side.waiting, side.unwanted = (freed[fact]["change"] for fact in ("ftz_list", "origin"))
        side.draft, side.to_submit, side.to_withdraw = (draft(persons=3)["id"] for _ in range(3))
        side.reviewer = local["reviewer:privacy"].id
        shown = [world.submitted(handler, [dataset], to, persons=150_000) for _ in range(4)]
        for number, terms in ((1, {}), (2, {"conditions": {"terms": ["Report every month"]}}), (3, {})):
            approval = {"stage": "data_owner", "decision": "approve", "revision": shown[number]["revision"]["hash"]}
            at = f"/v1/transfers/{shown[number]['id']}/reviews"
            shown[number] = local["reviewer:data_owner"].made(at, approval | terms)
        side.in_review, side.reviewed, side.termed, side.carried = (one["id"] for one in shown)
        side.review, side.given = (shown[number]["reviews"][0]["id"] for number in (1, 3))
        shown[3] = world.requester.patch(f"/v1/transfers/{side.carried}", {"systems": ["crm"]}).json()
        side.revision, _, side.termed_revision, side.carried_revision = (one["revision"]["hash"] for one in shown)
        small = [world.submitted(handler, [dataset], to, persons=60_000, purpose=f"purpose {n}") for n in range(3)]
        side.finding = world.auditor.get("/v1/findings", handler=side.handler).json()["items"][0]["id"]
        small = [world.approve(one) for one in small]
        side.approved = small[0]["id"]
        side.permit, side.stopped, side.doomed = (one["permit"] for one in small)
        world.reviewers["legal"].made(f"/v1/permits/{side.stopped}/suspend", {"reason": "Looked at"})
        self._use(side, dataset)
        self._add_papers(side)
        self._add_duties(side, place)
        self._admit(side)
        asked = local["auditor"].post("/v1/evidence-packs", {"permit": side.permit})
        side.pack = asked.json()["id"]
        side.seq = str(world.auditor.get("/v1/audit/entries", subject=side.handler).json()["items"][0]["seq"])
        return side

    def _claiming(self, handler: Json) -> str:
        """Give a handler a group, and return another one that says to be of it."""
        group = self.world.name("group")
        assert self.world.registrar.patch(f"/v1/handlers/{handler['id']}", {"group": group}).status_code == 200
        other = self.world.handler()
        keeper = self.world.person("registrar", handler=other["id"])
        assert keeper.patch(f"/v1/handlers/{other['id']}", {"group": group}).json()["group_confirmed"] is False
        return str(other["id"])

    def _lower(self, dataset: Json) -> None:
        body = {"tags": [], "reason": "Made anonymous", "basis": "Catalogue 2026, entry 8"}
        assert self.world.registrar.made(f"/v1/datasets/{dataset['id']}/gradings", body)["state"] == "pending"

    def _use(self, side: Side, dataset: Json) -> None:
        made = [self.world.export(dataset, {"id": self.recipient}, 1, purpose="purpose 0") for _ in range(3)]
        side.export, side.to_complete, side.to_cancel = (one.json()["id"] for one in made)

    def _add_papers(self, side: Side) -> None:
        made = [add_file(self.world, {"id": side.draft}, "other", name=f"{n}.pdf") for n in range(2)]
        side.paper, side.spare_paper = (one.json()["id"] for one in made)

    def _add_duties(self, side: Side, place: int) -> None:
        world = self.world
        for _ in range(3):
            weighty = world.dataset(self.handlers[place], "important", scale=1000)
            assert world.registrar.patch(f"/v1/datasets/{weighty['id']}", {"scale": 1500}).status_code == 200
            assert world.registrar.patch(f"/v1/datasets/{weighty['id']}", {"scale": 4500}).status_code == 200
        query = {"handler": side.handler, "code": "catalogue_refiling"}
        duties = [one["id"] for one in world.auditor.get("/v1/obligations", **query).json()["items"]]
        side.duty, side.to_do, side.done = duties
        world.registrar.made(f"/v1/obligations/{side.done}/complete", {"note": "Filed"})

    def _admit(self, side: Side) -> None:
        world = self.world
        grants = [
            world.admin.made("/v1/grants", {"principal": self.victim, "role": role, "handler": side.handler})
            for role in ("auditor", "requester", "reviewer:executive")
        ]
        side.grant, side.to_withdraw_grant, side.pending_grant = (grant["id"] for grant in grants)
        lending = {"handler": side.handler, "valid_from": day(0), "valid_until": day(30), "reason": "On leave"}
        place = 0 if side.handler == self.handlers[0]["id"] else 1
        others = [self.victim, self.outcast]
        made = [
            self.local[place]["lender"].made("/v1/delegations", lending | {"delegate": other})["id"] for other in others
        ]
        side.delegation, side.to_end = made
        asked = {"delegator": self.local[place]["lender"].id, "delegate": self.outcast}
        side.pending_delegation = world.admin.made("/v1/delegations", lending | asked)["id"]
        emergency = {"role": "stop", "handler": side.handler, "reason": "Heard of a leak", "hours": 1}
        side.glass, side.to_close = (
            self.local[place][opener].made("/v1/break-glass", emergency)["id"] for opener in ("opener", "closer")
        )
        if place == 0:
            self.lending.made("/v1/delegations", lending | {"delegate": self.stand_in, "roles": [LENT]})

    def _wait(self) -> None:
        """Wait until what is made in the background is there, and the key that was to end has ended."""
        for side in (self.a, self.b):
            seen(lambda side=side: self.world.auditor.get(f"/v1/evidence-packs/{side.pack}").json()["state"] == "ready")
        seen(lambda: self.world.auditor.get(f"/v1/audit/entries/{self.b.seq}").json().get("inclusion"))
        seen(lambda: datetime.now(UTC) >= self.expired_at)
