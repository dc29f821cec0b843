"""Who may call what: one rule for each route, written by hand from what the service promises, and never from its code.

A rule says which of the ten roles may call a route, how far a role that is limited to some handlers reaches, and how the route is asked
for what belongs to a handler. `test_matrix` asks it as everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from tests.authz.things import ROLES, Side
from tests.world import day

ANYONE = frozenset(ROLES)
"""Whoever has a key that stands, even without a role."""
READERS = ANYONE - {"admin"}
REVIEWERS = frozenset(role for role in ROLES if role.startswith("reviewer:"))
KEEPERS = frozenset({"registrar", "requester", "reviewer:privacy", "reviewer:legal", "reviewer:security"})
RESTORERS = frozenset({"reviewer:legal", "reviewer:security"})
WATCHERS = frozenset({"admin", "auditor"})
AMENDERS = REVIEWERS | {"requester"}


def only(*roles: str) -> frozenset[str]:
    return frozenset(roles)


class Reach(Enum):
    """How far a role reaches that is limited to some handlers."""

    PUBLIC = "nobody is asked for a key"
    THING = "the path names what belongs to a handler: of any other there is nothing, 404"
    NAMED = "the body or the query names what belongs to a handler: of any other there is nothing"
    LIST = "a list of what belongs to handlers: of any other nothing is in it"
    SHARED = "the same for all handlers"
    EVERYWHERE = "takes the role for all handlers"


Body = Callable[[Side, str], Any]


@dataclass(frozen=True)
class Rule:
    """Who may call a route, and how it is asked."""

    who: frozenset[str]
    reach: Reach
    ids: Mapping[str, str] = field(default_factory=dict)
    """Parameter of the path or of the query -> what stands there; what is of no handler stands there with `=` before it."""
    body: Body | None = None
    """The body, given what belongs to a handler and the caller's role."""
    media: str = "application/json"
    sight: frozenset[str] = READERS
    """Roles that may know on their handler that the thing is there: without the right one they are told so (403), others are not (404)."""
    blind: frozenset[str] = frozenset()
    """Roles that may call the route, and see there only what is about the caller."""
    lists: str | None = None
    """What stands in the list of its own handler."""
    filters: Mapping[str, str] = field(default_factory=dict)
    """Filters of a list that name things -> what they name."""
    barred: tuple[str, ...] = ()
    """How a refusal begins that is about the person and not about the role."""
    told: frozenset[str] = frozenset()
    """What of its own handler a list tells even to whom it is not for, since it was addressed to them."""
    undo: str = ""
    """Where to post to, so that what was made widens nothing that the caller is asked for later."""
    refusal: tuple[str, ...] = ("forbidden",)
    """The problems that say no to a role."""
    is_told: Callable[[Any], bool] = lambda _: False
    """Whether a body that names something foreign is answered as for something unknown with 200."""


def thing(who: frozenset[str], **more: Any) -> Rule:
    return Rule(who, Reach.THING, **more)


def named(who: frozenset[str], body: Body | None, **more: Any) -> Rule:
    return Rule(who, Reach.NAMED, body=body, **more)


def listed(who: frozenset[str], lists: str | None, **more: Any) -> Rule:
    return Rule(who, Reach.LIST, lists=lists, **more)


def shared(who: frozenset[str], body: Body | None = None, **more: Any) -> Rule:
    return Rule(who, Reach.SHARED, body=body, **more)


def everywhere(who: frozenset[str], body: Body | None = None, **more: Any) -> Rule:
    return Rule(who, Reach.EVERYWHERE, body=body, **more)


PUBLIC = Rule(frozenset(), Reach.PUBLIC)


def fresh(kind: str) -> str:
    """Return a name that nothing has yet."""
    fresh.count += 1  # type: ignore[attr-defined]
    return f"authz-{kind}-{fresh.count}-{day(0)}"  # type: ignore[attr-defined]


fresh.count = 0  # type: ignore[attr-defined]


def question(side: Side, _: str) -> Any:
    return {
        "subject": {"type": "system", "id": "somebody"},
        "action": {"name": "export"},
        "resource": {"type": "dataset", "id": side.dataset},
        "context": {"recipient": "=recipient", "purpose": "purpose 0", "persons": 1},
    }


def search(side: Side, *parts: str) -> Any:
    """Return a search: its parts as in a question, but for the one that is sought, of which the kind alone is told."""
    whole = question(side, "") | {"subject": {"type": "system"}} if "subject" not in parts else question(side, "")
    if "resource" not in parts:
        whole |= {"resource": {"type": "dataset"}}
    if "action" not in parts:
        del whole["action"]
    return whole


def is_unknown(answer: Any) -> bool:
    told = answer.get("evaluations", [answer])
    return any(one.get("context", {}).get("reason") == "dataset_unknown" for one in told)


def is_nothing(answer: Any) -> bool:
    return answer["results"] == []


def transfer(side: Side, _: str) -> Any:
    return {
        "handler": side.handler,
        "datasets": [side.dataset],
        "recipient": "=recipient",
        "purpose": "analytics",
        "description": "Weekly figures",
        "persons": 2,
        "valid_from": day(0),
        "valid_until": day(100),
    }


def grading(_: Side, __: str) -> Any:
    return {"tags": ["personal"], "reason": "Looked at each field", "basis": "Catalogue 2026, entry 7"}


def dataset(side: Side, _: str) -> Any:
    key = f"postgres://authz:5432/{fresh('dataset')}"
    return {"key": key, "handler": side.handler, "title": "Orders", "owner": "Order team", "fields": []}


def rows(_: Side, __: str) -> Any:
    return f"key,title,owner,fields\npostgres://authz:5432/{fresh('imported')},Orders,Order team,city:text\n"


def export(side: Side, _: str) -> Any:
    numbers = {"persons": 1, "sensitive_persons": 0}
    return {"dataset": side.dataset, "recipient": "=recipient", "purpose": "purpose 0", "permit": side.permit} | numbers


def review(side: Side, role: str) -> Any:
    stage = role.removeprefix("reviewer:") if role in REVIEWERS else "privacy"
    return {"stage": stage, "decision": "approve", "revision": side.revision, "comment": "Seen"}


def assignment(side: Side, _: str) -> Any:
    return {"stage": "privacy", "reviewer": side.reviewer, "reason": "Knows the case"}


def paper(_: Side, __: str) -> Any:
    return {"kind": "other", "reference": "No. 1", "issuer": "Legal", "issued_on": day(0)}


def absence(side: Side, role: str) -> Any:
    days = {"valid_from": day(1), "valid_until": day(9), "reason": "On leave"}
    own = {"delegator": side.reviewer} if role == "admin" else {}
    return {"delegate": "=outcast", "handler": side.handler} | own | days


def facts(_: Side, __: str) -> Any:
    return {"handler": {"ciio": False}, "recipient": {"country": "SG"}}


def says(**body: Any) -> Body:
    return lambda _, __: body


REASON = says(reason="Looked at it")
TRANSFER = {"transfer_id": "draft"}

RULES: Mapping[str, Rule] = {
    # What anybody may read
    "GET /livez": PUBLIC,
    "GET /readyz": PUBLIC,
    "GET /.well-known/authzen-configuration": PUBLIC,
    "GET /.well-known/jwks.json": PUBLIC,
    "GET /tlog/vkey": PUBLIC,
    # The law: nothing of anybody's is in it
    "POST /v1/determinations": shared(ANYONE, facts),
    "POST /v1/plans": shared(ANYONE, facts),
    "GET /v1/law/rules": shared(ANYONE),
    "GET /v1/law/instruments": shared(ANYONE),
    "GET /v1/law/working-days": shared(ANYONE, ids={"start": "=today", "days": "=3"}),
    # The gate: exporters ask and export
    "POST /access/v1/evaluation": named(only("exporter"), question, sight=only("exporter"), is_told=is_unknown),
    "POST /access/v1/evaluations": named(
        only("exporter"),
        lambda side, role: {"evaluations": [question(side, role)] * 2},
        sight=only("exporter"),
        is_told=is_unknown,
    ),
    "POST /access/v1/search/action": named(
        only("exporter"),
        lambda side, _: search(side, "subject", "resource"),
        sight=only("exporter"),
        is_told=is_nothing,
    ),
    "POST /access/v1/search/subject": named(
        only("exporter"), lambda side, _: search(side, "action", "resource"), sight=only("exporter"), is_told=is_nothing
    ),
    "POST /access/v1/search/resource": listed(
        only("exporter"), "dataset", body=lambda side, _: search(side, "subject", "action")
    ),
    "POST /v1/exports": named(only("exporter"), export, sight=only("exporter"), is_told=is_unknown),
    "GET /v1/exports": listed(
        READERS, "export", filters={"handler": "handler", "dataset": "dataset", "permit": "permit"}
    ),
    "GET /v1/exports/{export_id}": thing(READERS, ids={"export_id": "export"}),
    "POST /v1/exports/{export_id}/cancel": thing(only("exporter"), ids={"export_id": "to_cancel"}),
    "POST /v1/exports/{export_id}/complete": thing(
        only("exporter"), ids={"export_id": "to_complete"}, body=says(persons=1, sensitive_persons=0)
    ),
    # The register: registrars keep it, whoever has a role but the admins reads it
    "POST /v1/handlers": everywhere(
        only("registrar"), lambda *_: {"key": fresh("handler"), "name": "Invented", "facts": {"ciio": False}}
    ),
    "GET /v1/handlers": listed(READERS, "handler", filters={"text": "handler_key", "group": "handler_key"}),
    "GET /v1/handlers/{handler_id}": thing(READERS, ids={"handler_id": "handler"}),
    "PATCH /v1/handlers/{handler_id}": thing(
        only("registrar"), ids={"handler_id": "handler"}, body=says(name="Invented Mobility")
    ),
    "GET /v1/handlers/{handler_id}/history": thing(READERS, ids={"handler_id": "handler"}),
    "GET /v1/handlers/{handler_id}/group-claims": thing(only("registrar"), ids={"handler_id": "handler"}),
    "POST /v1/handlers/{handler_id}/group-claims/{claimant_id}/confirm": thing(
        only("registrar"), ids={"handler_id": "handler", "claimant_id": "claimant"}
    ),
    "GET /v1/handlers/{handler_id}/ledger": thing(READERS, ids={"handler_id": "handler"}),
    "GET /v1/handlers/{handler_id}/person-key": thing(only("exporter"), ids={"handler_id": "handler"}),
    "POST /v1/datasets": named(only("registrar"), dataset),
    "GET /v1/datasets": listed(
        READERS, "dataset", filters={"handler": "handler", "key": "dataset_key", "text": "dataset_key"}
    ),
    "POST /v1/datasets/import": named(
        only("registrar"),
        rows,
        ids={"handler": "handler", "owner": "=Order team"},
        media="text/csv",
        refusal=("forbidden", "import-refused"),
    ),
    "GET /v1/datasets/{dataset_id}": thing(READERS, ids={"dataset_id": "dataset"}),
    "PATCH /v1/datasets/{dataset_id}": thing(
        only("registrar"), ids={"dataset_id": "edited"}, body=says(title="Orders of the year")
    ),
    "GET /v1/datasets/{dataset_id}/history": thing(READERS, ids={"dataset_id": "dataset"}),
    "GET /v1/datasets/{dataset_id}/gradings": thing(READERS, ids={"dataset_id": "dataset"}),
    "POST /v1/datasets/{dataset_id}/gradings": thing(only("registrar"), ids={"dataset_id": "edited"}, body=grading),
    "GET /v1/datasets/{dataset_id}/gradings/{number}": thing(READERS, ids={"dataset_id": "dataset", "number": "=1"}),
    "POST /v1/datasets/{dataset_id}/gradings/{number}/confirm": thing(
        only("registrar"), ids={"dataset_id": "lowered", "number": "=2"}, body=says()
    ),
    "GET /v1/contradictions": listed(
        READERS, None, filters={"handler": "handler", "dataset": "dataset", "kind": "handler_key"}
    ),
    "GET /v1/gradings": listed(READERS, "dataset", filters={"handler": "handler", "dataset": "dataset"}),
    "POST /v1/gradings": named(only("registrar"), lambda side, _: grading(side, "") | {"datasets": [side.edited]}),
    "GET /v1/fact-changes": listed(READERS, "waiting", filters={"handler": "handler", "subject": "edited"}),
    "GET /v1/fact-changes/{change_id}": thing(READERS, ids={"change_id": "waiting"}),
    "POST /v1/fact-changes/{change_id}/confirm": thing(only("registrar"), ids={"change_id": "waiting"}, body=says()),
    "POST /v1/fact-changes/{change_id}/refuse": thing(only("registrar"), ids={"change_id": "unwanted"}, body=says()),
    "GET /v1/recipients": shared(READERS, filters={"country": "=SG", "text": "handler_key"}),
    "POST /v1/recipients": shared(
        only("registrar"), lambda *_: {"key": fresh("recipient"), "name": "Invented Partner", "country": "SG"}
    ),
    "GET /v1/recipients/{recipient_id}": shared(READERS, ids={"recipient_id": "=recipient"}),
    "PATCH /v1/recipients/{recipient_id}": everywhere(
        only("registrar"), says(name="Invented Partner"), ids={"recipient_id": "=recipient"}
    ),
    "GET /v1/recipients/{recipient_id}/history": shared(READERS, ids={"recipient_id": "=recipient"}),
    # Transfers: requesters file and add evidence, reviewers review
    "POST /v1/transfers": named(only("requester"), transfer),
    "GET /v1/transfers": listed(
        READERS,
        "draft",
        filters={
            "handler": "handler",
            "dataset": "dataset",
            "recipient": "=recipient",
            "requester": "reviewer",
            "text": "handler_key",
        },
    ),
    "GET /v1/transfers/{transfer_id}": thing(READERS, ids=TRANSFER),
    "PATCH /v1/transfers/{transfer_id}": thing(
        only("requester"), ids=TRANSFER, body=says(description="Monthly figures")
    ),
    "POST /v1/transfers/{transfer_id}/submit": thing(only("requester"), ids={"transfer_id": "to_submit"}),
    "POST /v1/transfers/{transfer_id}/withdraw": thing(
        only("requester"), ids={"transfer_id": "to_withdraw"}, body=REASON
    ),
    "POST /v1/transfers/{transfer_id}/renew": thing(
        only("requester"), ids={"transfer_id": "approved"}, body=says(valid_from=day(201), valid_until=day(300))
    ),
    "POST /v1/transfers/{transfer_id}/terms/accept": thing(
        only("requester"),
        ids={"transfer_id": "termed"},
        body=lambda side, _: {"revision": side.termed_revision},
    ),
    "POST /v1/transfers/{transfer_id}/assign": thing(AMENDERS, ids={"transfer_id": "in_review"}, body=assignment),
    "POST /v1/transfers/{transfer_id}/reviews": thing(REVIEWERS, ids={"transfer_id": "in_review"}, body=review),
    "POST /v1/transfers/{transfer_id}/reviews/{review_id}/carry-over": thing(
        REVIEWERS,
        ids={"transfer_id": "carried", "review_id": "given"},
        body=lambda side, _: {"revision": side.carried_revision},
        barred=("Only the reviewer who gave an approval",),
    ),
    "POST /v1/transfers/{transfer_id}/reviews/{review_id}/take-back": thing(
        REVIEWERS,
        ids={"transfer_id": "reviewed", "review_id": "review"},
        body=REASON,
        barred=("Only the reviewer who gave an approval",),
    ),
    "POST /v1/transfers/{transfer_id}/recuse": thing(REVIEWERS, ids=TRANSFER, body=REASON),
    "GET /v1/transfers/{transfer_id}/reviewers": thing(READERS, ids=TRANSFER | {"stage": "=privacy"}),
    "GET /v1/transfers/{transfer_id}/comments": thing(READERS, ids=TRANSFER),
    "POST /v1/transfers/{transfer_id}/comments": thing(
        READERS - {"exporter"},
        ids=TRANSFER,
        body=lambda side, _: {"text": "Which region?", "mentions": [side.reviewer]},
    ),
    "GET /v1/transfers/{transfer_id}/history": thing(READERS, ids=TRANSFER),
    "GET /v1/transfers/{transfer_id}/outlook": thing(READERS, ids=TRANSFER),
    "GET /v1/transfers/{transfer_id}/revisions": thing(READERS, ids={"transfer_id": "in_review"}),
    "GET /v1/transfers/{transfer_id}/revisions/{number}": thing(
        READERS, ids={"transfer_id": "in_review", "number": "=1"}
    ),
    "GET /v1/transfers/{transfer_id}/revisions/{number}/diff": thing(
        READERS, ids={"transfer_id": "in_review", "number": "=1"}
    ),
    "GET /v1/transfers/{transfer_id}/evidence": thing(READERS, ids=TRANSFER),
    "POST /v1/transfers/{transfer_id}/evidence": thing(only("requester"), ids=TRANSFER, body=paper),
    "GET /v1/transfers/{transfer_id}/evidence/{evidence_id}": thing(READERS, ids=TRANSFER | {"evidence_id": "paper"}),
    "GET /v1/transfers/{transfer_id}/evidence/{evidence_id}/file": thing(
        READERS - {"exporter"}, ids=TRANSFER | {"evidence_id": "paper"}
    ),
    "POST /v1/transfers/{transfer_id}/evidence/{evidence_id}/verify": thing(
        REVIEWERS, ids=TRANSFER | {"evidence_id": "paper"}
    ),
    "POST /v1/transfers/{transfer_id}/evidence/{evidence_id}/withdraw": thing(
        AMENDERS, ids=TRANSFER | {"evidence_id": "spare_paper"}, body=REASON
    ),
    "GET /v1/queue": listed(REVIEWERS, None, filters={"handler": "handler"}),
    "GET /v1/findings": listed(READERS, "finding", filters={"handler": "handler", "transfer": "in_review"}),
    "GET /v1/findings/{finding_id}": thing(READERS, ids={"finding_id": "finding"}),
    "POST /v1/findings/{finding_id}/answer": thing(
        only("reviewer:legal"), ids={"finding_id": "finding"}, body=says(answer="justified", reason="Two teams")
    ),
    # Permits: any reviewer stops one, legal and security let it hold again or end it
    "GET /v1/permits": listed(
        READERS,
        "permit",
        filters={"handler": "handler", "dataset": "dataset", "recipient": "=recipient", "transfer": "approved"},
    ),
    "GET /v1/permits/{permit_id}": thing(READERS, ids={"permit_id": "permit"}),
    "GET /v1/permits/{permit_id}/history": thing(READERS, ids={"permit_id": "permit"}),
    "GET /v1/permits/{permit_id}/outlook": thing(READERS, ids={"permit_id": "permit"}),
    "GET /v1/permits/{permit_id}/report": thing(READERS, ids={"permit_id": "permit"}),
    "GET /v1/permits/{permit_id}/token": thing(READERS, ids={"permit_id": "permit"}),
    "POST /v1/permits/{permit_id}/amend": thing(
        AMENDERS, ids={"permit_id": "permit"}, body=says(persons=50_000, reason="Fewer will do")
    ),
    "POST /v1/permits/{permit_id}/suspend": thing(REVIEWERS, ids={"permit_id": "doomed"}, body=REASON),
    "POST /v1/permits/{permit_id}/resume": thing(RESTORERS, ids={"permit_id": "stopped"}, body=REASON),
    "POST /v1/permits/{permit_id}/revoke": thing(RESTORERS, ids={"permit_id": "doomed"}, body=REASON),
    # Duties
    "GET /v1/obligations": listed(
        READERS,
        "duty",
        filters={"handler": "handler", "transfer": "approved", "permit": "permit", "owner": "reviewer"},
    ),
    "GET /v1/obligations/{obligation_id}": thing(READERS, ids={"obligation_id": "duty"}),
    "POST /v1/obligations/{obligation_id}/assign": thing(
        KEEPERS, ids={"obligation_id": "duty"}, body=lambda side, _: {"owner": side.reviewer}
    ),
    "POST /v1/obligations/{obligation_id}/complete": thing(
        KEEPERS, ids={"obligation_id": "to_do"}, body=says(note="Filed as No. 8")
    ),
    "POST /v1/obligations/{obligation_id}/reopen": thing(RESTORERS, ids={"obligation_id": "done"}, body=REASON),
    # The log: auditors read all of what is of their handlers; what is of no handler, if they are auditors of all
    "GET /v1/audit/entries": listed(
        only("auditor"),
        "dataset",
        filters={"handler": "handler", "subject": "draft", "actor": "reviewer", "action": "handler_key"},
    ),
    "GET /v1/audit/entries/{seq}": thing(only("auditor"), ids={"seq": "seq"}, sight=only("auditor")),
    "GET /v1/audit/checkpoint": shared(only("auditor")),
    "GET /v1/audit/checkpoints": shared(only("auditor")),
    "GET /v1/audit/health": shared(only("auditor")),
    "GET /v1/audit/proofs/inclusion": shared(only("auditor"), ids={"leaf": "=0", "size": "=1"}),
    "GET /v1/audit/proofs/consistency": shared(only("auditor"), ids={"from": "=1", "to": "=1"}),
    "GET /tlog/checkpoint": everywhere(only("auditor")),
    "GET /tlog/tile/{path}": everywhere(only("auditor"), ids={"path": "=tile"}),
    "POST /v1/evidence-packs": named(only("auditor"), lambda side, _: {"permit": side.permit}, sight=READERS),
    "GET /v1/evidence-packs": listed(only("auditor"), "pack"),
    "GET /v1/evidence-packs/{pack}": thing(only("auditor"), ids={"pack": "pack"}, sight=only("auditor")),
    "GET /v1/evidence-packs/{pack}/content": thing(only("auditor"), ids={"pack": "pack"}, sight=only("auditor")),
    # Events: of handlers that the caller reads, and what is about the caller
    "GET /v1/events": listed(
        ANYONE,
        "dataset",
        blind=only("admin"),
        filters={"subject": "draft", "kind": "handler_key"},
        told=frozenset({"pending_grant", "reviewer", "glass", "to_close"}),
    ),
    # Principals and keys: an admin of all handlers makes them; one of some finds the people to give roles to
    "GET /v1/me": shared(ANYONE),
    # Sessions: whoever comes by a key has none
    "GET /v1/session": thing(ANYONE, blind=ANYONE),
    "POST /v1/session/end": thing(ANYONE, blind=ANYONE),
    "POST /v1/sessions/end": shared(ANYONE),
    "GET /v1/principals": shared(only("admin")),
    "GET /v1/principals/{principal_id}": shared(only("admin"), ids={"principal_id": "=victim"}),
    "POST /v1/principals": everywhere(only("admin"), lambda *_: {"name": fresh("principal")}),
    "POST /v1/principals/{principal_id}/disable": everywhere(
        only("admin"), ids={"principal_id": "=outcast"}, refusal=("forbidden", "not-found")
    ),
    "POST /v1/principals/{principal_id}/enable": everywhere(
        only("admin"), ids={"principal_id": "=outcast"}, refusal=("forbidden", "not-found")
    ),
    "GET /v1/principals/{principal_id}/logins": everywhere(only("admin"), ids={"principal_id": "=victim"}),
    "POST /v1/principals/{principal_id}/logins": everywhere(
        only("admin"),
        lambda *_: {"issuer": "https://issuer.invalid", "subject": fresh("subject")},
        ids={"principal_id": "=victim"},
    ),
    "GET /v1/principals/{principal_id}/logins/{login_id}": everywhere(
        only("admin"), ids={"principal_id": "=victim", "login_id": "=login"}
    ),
    "POST /v1/principals/{principal_id}/logins/{login_id}/end": everywhere(
        only("admin"), ids={"principal_id": "=victim", "login_id": "=login_to_end"}
    ),
    "GET /v1/api-keys": everywhere(only("admin"), filters={"principal": "=victim"}),
    "POST /v1/api-keys": everywhere(only("admin"), says(principal="=victim")),
    "GET /v1/api-keys/{key_id}": everywhere(only("admin"), ids={"key_id": "=spare_key"}),
    "POST /v1/api-keys/{key_id}/revoke": everywhere(only("admin"), ids={"key_id": "=spare_key"}),
    # Grants: of the admin's handlers
    "GET /v1/grants": listed(only("admin"), "grant", filters={"handler": "handler", "principal": "=victim"}),
    "GET /v1/grants/{grant_id}": thing(only("admin"), ids={"grant_id": "grant"}, sight=only("admin")),
    "POST /v1/grants": named(
        only("admin"),
        lambda side, _: {"principal": "=victim", "role": "exporter", "handler": side.handler},
        sight=only("admin"),
    ),
    "POST /v1/grants/{grant_id}/confirm": thing(only("admin"), ids={"grant_id": "pending_grant"}, sight=only("admin")),
    "POST /v1/grants/{grant_id}/withdraw": thing(
        only("admin"), ids={"grant_id": "to_withdraw_grant"}, sight=only("admin")
    ),
    # Break-glass: admins take it for themselves where they are admins; auditors watch
    "GET /v1/break-glass": listed(WATCHERS, "glass", filters={"principal": "=victim"}),
    "GET /v1/break-glass/{access_id}": thing(WATCHERS, ids={"access_id": "glass"}, sight=WATCHERS),
    "POST /v1/break-glass": named(
        only("admin"),
        lambda side, _: {"role": "stop", "handler": side.handler, "reason": "Heard of a leak", "hours": 1},
        sight=only("admin"),
        undo="/v1/break-glass/{id}/close",
    ),
    "POST /v1/break-glass/{access_id}/close": thing(only("admin"), ids={"access_id": "to_close"}, sight=WATCHERS),
    # Delegations: of the parties; admins end, auditors read those of their handlers
    "GET /v1/delegations": listed(ANYONE, "delegation", blind=ANYONE - {"admin", "auditor"}),
    "GET /v1/delegations/{delegation_id}": thing(
        ANYONE,
        ids={"delegation_id": "delegation"},
        blind=ANYONE - {"admin", "auditor"},
        sight=only("admin", "auditor"),
    ),
    "POST /v1/delegations/{delegation_id}/confirm": thing(
        ANYONE,
        ids={"delegation_id": "pending_delegation"},
        blind=ANYONE - {"admin"},
        sight=only("admin"),
        barred=("This takes whoever lends the roles, or an admin of all handlers",),
    ),
    "POST /v1/delegations/{delegation_id}/end": thing(
        ANYONE, ids={"delegation_id": "to_end"}, blind=ANYONE - {"admin"}, sight=only("admin")
    ),
    "POST /v1/delegations": named(
        REVIEWERS | {"admin"},
        absence,
        barred=("This takes the role admin for all handlers", "Only roles that the delegator has can be lent"),
    ),
}
