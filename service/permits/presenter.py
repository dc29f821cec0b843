"""Presents permits: their API shape, report and signed token."""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta

from msgspec import structs

from service.access.caller import Caller
from service.audit import operations as audit
from service.clock import SHANGHAI, day_in_shanghai
from service.database.session import Transaction
from service.ledger import operations as ledger
from service.ledger.operations import Share
from service.obligations import queries as obligations
from service.permits import queries
from service.permits.queries import permit_of
from service.permits.schemas import CountOut, ExportsOut, HistoryOut, PermitOut, ReportOut, ShareOut, TokenOut
from service.permits.standing import Standing
from service.permits.tables import Permit
from service.permits.tokens import Signer
from service.validation.problems import Conflict

TOKEN_LIFE = timedelta(hours=24)
_ENDED = frozenset({Standing.REVOKED, Standing.EXPIRED, Standing.EXHAUSTED})
_CHANGING = {"reason", "sent", "reserved", "headroom", "updated_at", "status", "overdue", "lost_evidence"}
"""Members of a permit that may change while a token of it is valid."""


async def present(tx: Transaction, permits: Sequence[Permit]) -> list[PermitOut]:
    """Return permits as their readers see them.

    Example:
        permit = await operations.revoke(tx, caller, "pm_01JD", "The recipient was sold.")
        (shown,) = await presenter.present(tx, [permit])
    """
    today = day_in_shanghai(tx.now)
    return [PermitOut.of(row, today) for row in await queries.load_rows(tx, permits)]


async def present_one(tx: Transaction, permit: Permit) -> PermitOut:
    """Return a permit as its readers see it."""
    return (await present(tx, [permit]))[0]


async def present_report(tx: Transaction, caller: Caller, permit_id: str) -> ReportOut:
    """Return the report of a permit, planned against exported; it is closed once nothing more can go or be reported."""
    permit = await permit_of(tx, caller, permit_id)
    presented = await present_one(tx, permit)
    shares = await ledger.shares_of_permit(tx, permit.id)
    datasets = [dataset.id for dataset in presented.datasets]
    months = sorted({share.month for share in shares})
    history = await audit.actions_of(tx, permit.id)
    requested = await queries.requested_of(tx, permit)
    return ReportOut(
        permit=presented,
        closed=presented.status in _ENDED and not any(share.status == "reserved" for share in shares),
        requested=CountOut(**structs.asdict(requested)),
        planned=CountOut(persons=permit.persons, sensitive_persons=permit.sensitive_persons),
        exported=presented.sent,
        unused=CountOut(
            persons=max(0, permit.persons - permit.sent_persons),
            sensitive_persons=max(0, permit.sensitive_persons - permit.sent_sensitive_persons),
        ),
        exports=ExportsOut(
            **{
                status: sum(share.exports for share in shares if share.status == status)
                for status in ("completed", "cancelled", "reserved", "lapsed")
            }
        ),
        by_dataset=[_share(dataset, [share for share in shares if share.dataset == dataset]) for dataset in datasets],
        by_month=[_share(month, [share for share in shares if share.month == month]) for month in months],
        first_export_at=min((share.first_at for share in shares), default=None),
        last_export_at=max((share.last_at for share in shares), default=None),
        history=[HistoryOut(at=at, action=action, actor=actor) for at, action, actor in history],
        obligations=[
            obligation.id
            for obligation in await obligations.of_transfer(tx, [permit.transfer])
            if obligation.permit == permit.id
        ],
    )


def _share(name: str, shares: Sequence[Share]) -> ShareOut:
    sent = [share for share in shares if share.status == "completed"]
    return ShareOut(
        name=name,
        exports=sum(share.exports for share in sent),
        persons=sum(share.sent.persons for share in sent),
        sensitive_persons=sum(share.sent.sensitive_persons for share in sent),
    )


async def present_token(tx: Transaction, caller: Caller, permit_id: str, signer: Signer, issuer: str) -> TokenOut:
    """Return an active permit as a signed token, good for a day at most and never past the permit.

    Raises:
        Conflict: the permit does not hold now, or has not begun.
    """
    presented = await present_one(tx, await permit_of(tx, caller, permit_id))
    if presented.status != Standing.ACTIVE:
        raise Conflict(f"The permit is {presented.status}; there is no token for it.")
    if presented.valid_from > day_in_shanghai(tx.now):
        raise Conflict(f"The permit begins on {presented.valid_from}; there is no token for it before that day.")
    past_its_end = datetime.combine(presented.valid_until + timedelta(days=1), time(), SHANGHAI).astimezone(UTC)
    expires_at = min(tx.now.replace(microsecond=0) + TOKEN_LIFE, past_its_end)
    scope = presented.model_dump(mode="json", exclude=_CHANGING)
    begins = datetime.combine(presented.valid_from, time(), SHANGHAI)
    claims = {"iss": issuer, "sub": presented.id, "nbf": int(begins.timestamp()), "permit": scope}
    return TokenOut(token=signer.token(claims, issued_at=tx.now, expires_at=expires_at), expires_at=expires_at)
