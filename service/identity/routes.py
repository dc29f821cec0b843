"""HTTP of principals, linked identities, API keys, grants, delegations and break-glass access."""

from typing import Annotated

from fastapi import Query, Request, Response

from service.access.caller import REVIEWERS, Caller, Role
from service.database.session import Transaction
from service.http.exchange import AnyExchange, Exchange, allowed
from service.http.paging import Cursor, Limit, Page
from service.http.router import api_router
from service.identity import break_glass as emergency
from service.identity import delegations, grants, linked_identities, operations
from service.identity.schemas import (
    ApiKeyIn,
    ApiKeyMade,
    ApiKeyOut,
    BreakGlassIn,
    BreakGlassOut,
    CallerOut,
    DelegationIn,
    DelegationOut,
    GrantIn,
    GrantOut,
    LinkedIdentityIn,
    LinkedIdentityOut,
    PrincipalIn,
    PrincipalOut,
)

router = api_router("identity")
AdminExchange = Annotated[Exchange, allowed(Role.ADMIN)]
LendingExchange = Annotated[Exchange, allowed(REVIEWERS, Role.ADMIN)]
WatcherExchange = Annotated[Exchange, allowed(Role.ADMIN, Role.AUDITOR)]
PrincipalQuery = Annotated[str | None, Query(max_length=500)]
PendingQuery = Annotated[bool | None, Query(description="Those that wait for a second admin, or the others.")]


@router.get("/v1/me", response_model=CallerOut)
async def me(exchange: AnyExchange) -> Response:
    """Read the caller, with the caller's roles and permissions."""

    async def present(_: Transaction, caller: Caller) -> CallerOut:
        return CallerOut.of(caller)

    return await exchange.read(present)


@router.post("/v1/principals", status_code=201, response_model=PrincipalOut)
async def create_principal(exchange: AdminExchange, body: PrincipalIn) -> Response:
    """Create a principal: a person or a system."""
    return await exchange.create(
        lambda tx, caller: operations.create_principal(tx, caller, body),
        lambda created: f"/v1/principals/{created.id}",
        gate="join",
    )


@router.get("/v1/principals", response_model=Page[PrincipalOut])
async def list_principals(exchange: AdminExchange, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List principals in the order of their making."""
    return await exchange.page(lambda tx, caller: operations.list_principals(tx, caller, cursor, limit))


@router.get("/v1/principals/{principal_id}", response_model=PrincipalOut)
async def read_principal(exchange: AdminExchange, principal_id: str) -> Response:
    """Read a principal."""
    return await exchange.read(lambda tx, caller: operations.read_principal(tx, caller, principal_id))


@router.post("/v1/principals/{principal_id}/disable", response_model=PrincipalOut)
async def disable_principal(exchange: AdminExchange, principal_id: str) -> Response:
    """Disable a principal with all of its keys and sessions, at once and on every replica."""
    return await exchange.act(
        lambda tx, caller: operations.disable_principal(tx, caller, principal_id),
        lambda tx, caller: operations.read_principal(tx, caller, principal_id, lock=True),
        gate="close",
    )


@router.post("/v1/principals/{principal_id}/enable", response_model=PrincipalOut)
async def enable_principal(exchange: AdminExchange, principal_id: str) -> Response:
    """Enable a disabled principal."""
    return await exchange.act(
        lambda tx, caller: operations.enable_principal(tx, caller, principal_id),
        lambda tx, caller: operations.read_principal(tx, caller, principal_id, lock=True),
        gate="close",
    )


@router.post("/v1/principals/{principal_id}/logins", status_code=201, response_model=LinkedIdentityOut)
async def link_login(exchange: AdminExchange, request: Request, principal_id: str, body: LinkedIdentityIn) -> Response:
    """Link a subject of the identity provider to a principal, permanently."""
    issuer: str | None = request.app.state.issuer
    return await exchange.create(
        lambda tx, caller: linked_identities.link(tx, caller, principal_id, body, issuer),
        lambda created: f"/v1/principals/{created.principal}/logins/{created.id}",
    )


@router.get("/v1/principals/{principal_id}/logins", response_model=Page[LinkedIdentityOut])
async def list_logins(exchange: AdminExchange, principal_id: str, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the logins of a principal, including ended ones."""
    return await exchange.page(
        lambda tx, caller: linked_identities.list_linked_identities(tx, caller, principal_id, cursor, limit)
    )


@router.get("/v1/principals/{principal_id}/logins/{login_id}", response_model=LinkedIdentityOut)
async def read_login(exchange: AdminExchange, principal_id: str, login_id: str) -> Response:
    """Read a login."""
    return await exchange.read(
        lambda tx, caller: linked_identities.read_linked_identity(tx, caller, principal_id, login_id)
    )


@router.post("/v1/principals/{principal_id}/logins/{login_id}/end", response_model=LinkedIdentityOut)
async def end_login(exchange: AdminExchange, principal_id: str, login_id: str) -> Response:
    """End a login at once and on every replica, with its sessions and the roles of its groups."""
    return await exchange.act(
        lambda tx, caller: linked_identities.end(tx, caller, principal_id, login_id),
        lambda tx, caller: linked_identities.read_linked_identity(tx, caller, principal_id, login_id, lock=True),
        gate="close",
    )


@router.post("/v1/api-keys", status_code=201, response_model=ApiKeyMade)
async def create_key(exchange: AdminExchange, body: ApiKeyIn) -> Response:
    """Create a key for a principal; only this answer holds the secret."""
    return await exchange.create(
        lambda tx, caller: operations.create_key(tx, caller, body),
        lambda created: f"/v1/api-keys/{created.id}",
        kept=lambda created: created.model_copy(update={"secret": None}),  # nosec B105 - what is kept is without it
        gate="join",
    )


@router.get("/v1/api-keys", response_model=Page[ApiKeyOut])
async def list_keys(
    exchange: AdminExchange, principal: PrincipalQuery = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List keys, of one principal or of all."""
    return await exchange.page(lambda tx, caller: operations.list_keys(tx, caller, principal, cursor, limit))


@router.get("/v1/api-keys/{key_id}", response_model=ApiKeyOut)
async def read_key(exchange: AdminExchange, key_id: str) -> Response:
    """Read a key, without its secret."""
    return await exchange.read(lambda tx, caller: operations.read_key(tx, caller, key_id))


@router.post("/v1/api-keys/{key_id}/revoke", response_model=ApiKeyOut)
async def revoke_key(exchange: AdminExchange, key_id: str) -> Response:
    """End a key at once, on every replica."""
    return await exchange.act(
        lambda tx, caller: operations.revoke_key(tx, caller, key_id),
        lambda tx, caller: operations.read_key(tx, caller, key_id, lock=True),
        gate="close",
    )


@router.post("/v1/grants", status_code=201, response_model=GrantOut)
async def create_grant(exchange: AdminExchange, body: GrantIn) -> Response:
    """Grant a principal a role on one handler, or on all if none is named; a reviewer's or an admin's role waits for a second admin."""
    return await exchange.create(
        lambda tx, caller: grants.create_grant(tx, caller, body),
        lambda created: f"/v1/grants/{created.id}",
        gate="join",
    )


@router.get("/v1/grants", response_model=Page[GrantOut])
async def list_grants(
    exchange: AdminExchange,
    principal: PrincipalQuery = None,
    handler: PrincipalQuery = None,
    pending: PendingQuery = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List grants, including those that are over."""
    return await exchange.page(
        lambda tx, caller: grants.list_grants(
            tx, caller, principal=principal, handler=handler, pending=pending, cursor=cursor, limit=limit
        )
    )


@router.get("/v1/grants/{grant_id}", response_model=GrantOut)
async def read_grant(exchange: AdminExchange, grant_id: str) -> Response:
    """Read a grant."""
    return await exchange.read(lambda tx, caller: grants.read_grant(tx, caller, grant_id))


@router.post("/v1/grants/{grant_id}/confirm", response_model=GrantOut)
async def confirm_grant(exchange: AdminExchange, grant_id: str) -> Response:
    """Confirm a grant that another admin has requested; to decline it, withdraw it."""
    return await exchange.act(
        lambda tx, caller: grants.confirm_grant(tx, caller, grant_id),
        lambda tx, caller: grants.read_grant(tx, caller, grant_id, lock=True),
        gate="join",
    )


@router.post("/v1/grants/{grant_id}/withdraw", response_model=GrantOut)
async def withdraw_grant(exchange: AdminExchange, grant_id: str) -> Response:
    """Withdraw a role at once, or decline a requested one; the grant stays on record."""
    return await exchange.act(
        lambda tx, caller: grants.withdraw_grant(tx, caller, grant_id),
        lambda tx, caller: grants.read_grant(tx, caller, grant_id, lock=True),
        gate="close",
    )


@router.post("/v1/delegations", status_code=201, response_model=DelegationOut)
async def delegate(exchange: LendingExchange, body: DelegationIn) -> Response:
    """Lend reviewers' roles to another person for the days of an absence."""
    return await exchange.create(
        lambda tx, caller: delegations.delegate(tx, caller, body), lambda created: f"/v1/delegations/{created.id}"
    )


@router.get("/v1/delegations", response_model=Page[DelegationOut])
async def list_delegations(exchange: AnyExchange, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the delegations that the caller has made or received; admins and auditors see all."""
    return await exchange.page(lambda tx, caller: delegations.list_delegations(tx, caller, cursor, limit))


@router.get("/v1/delegations/{delegation_id}", response_model=DelegationOut)
async def read_delegation(exchange: AnyExchange, delegation_id: str) -> Response:
    """Read a delegation."""
    return await exchange.read(lambda tx, caller: delegations.read_delegation(tx, caller, delegation_id))


@router.post("/v1/delegations/{delegation_id}/confirm", response_model=DelegationOut)
async def confirm_delegation(exchange: AnyExchange, delegation_id: str) -> Response:
    """Confirm a delegation that an admin has requested, as its delegator or as another admin."""
    return await exchange.act(
        lambda tx, caller: delegations.confirm(tx, caller, delegation_id),
        lambda tx, caller: delegations.read_delegation(tx, caller, delegation_id),
        gate="join",
    )


@router.post("/v1/delegations/{delegation_id}/end", response_model=DelegationOut)
async def end_delegation(exchange: AnyExchange, delegation_id: str) -> Response:
    """End a delegation before its last day."""
    return await exchange.act(
        lambda tx, caller: delegations.end(tx, caller, delegation_id),
        lambda tx, caller: delegations.read_delegation(tx, caller, delegation_id),
    )


@router.post("/v1/break-glass", status_code=201, response_model=BreakGlassOut)
async def break_glass(exchange: AdminExchange, body: BreakGlassIn) -> Response:
    """Take emergency access for yourself, at once and for some hours; all admins and auditors are notified."""
    return await exchange.create(
        lambda tx, caller: emergency.break_glass(tx, caller, body),
        lambda created: f"/v1/break-glass/{created.id}",
        gate="join",
    )


@router.get("/v1/break-glass", response_model=Page[BreakGlassOut])
async def list_break_glass(
    exchange: WatcherExchange, principal: PrincipalQuery = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List break-glass access to the caller's handlers, including access that is over."""
    return await exchange.page(lambda tx, caller: emergency.list_all(tx, caller, principal, cursor, limit))


@router.get("/v1/break-glass/{access_id}", response_model=BreakGlassOut)
async def read_break_glass(exchange: WatcherExchange, access_id: str) -> Response:
    """Read break-glass access."""
    return await exchange.read(lambda tx, caller: emergency.read(tx, caller, access_id))


@router.post("/v1/break-glass/{access_id}/close", response_model=BreakGlassOut)
async def close_break_glass(exchange: AdminExchange, access_id: str) -> Response:
    """End break-glass access early: your own, or as an admin that of others."""
    return await exchange.act(
        lambda tx, caller: emergency.close(tx, caller, access_id),
        lambda tx, caller: emergency.read(tx, caller, access_id, lock=True),
    )
