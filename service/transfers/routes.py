"""Routes of transfers, their reviews, evidence, findings and the queue of reviewers."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Literal, TypeVar

from fastapi import Path, Query, Request, Response

from service.access.caller import READERS, REVIEWERS, Caller, Role
from service.audit.schemas import EntryOut
from service.database.session import Transaction
from service.http.exchange import Download, Exchange, ReaderExchange, allowed
from service.http.idempotency import Reply
from service.http.paging import Cursor, Limit, Page
from service.http.references import Filter
from service.http.router import api_router
from service.law.rule_book import RuleBook
from service.law.stages import Stage
from service.transfers import evidence, evidence_upload, presenter, requests, reviews, structuring_findings
from service.transfers import reviewers as reviewer_acts
from service.transfers.queries import transfer_of
from service.transfers.schemas import (
    AcceptIn,
    AnswerIn,
    AssignIn,
    CarryIn,
    CommentIn,
    CommentOut,
    DiffOut,
    EvidenceOut,
    FindingOut,
    QueueOut,
    RecuseIn,
    RenewIn,
    ReviewersOut,
    ReviewIn,
    RevisionOut,
    StageRole,
    TakeBackIn,
    TransferIn,
    TransferOut,
    TransferPatch,
    WithdrawEvidenceIn,
    WithdrawIn,
)
from service.transfers.tables import Evidence, StructuringFinding, Transfer
from service.transfers.workflow import Status

router = api_router("transfers")
Requesting = Annotated[Exchange, allowed(Role.REQUESTER)]
Reviewing = Annotated[Exchange, allowed(REVIEWERS)]
TransferId = Annotated[str, Path()]
ReviewId = Annotated[str, Path()]
EvidenceId = Annotated[str, Path()]
Number = Annotated[int, Path(ge=1, lt=2**31)]
Named = Annotated[str | None, Query(max_length=29)]
Result = TypeVar("Result")
Act = Callable[[Transaction, Caller], Awaitable[Result]]


def _book(request: Request) -> RuleBook:
    book: RuleBook = request.app.state.book
    return book


def _transfer(book: RuleBook, act: Act[Transfer]) -> Act[TransferOut]:
    """Wrap an act so that its transfer is presented in the same transaction."""

    async def work(tx: Transaction, caller: Caller) -> TransferOut:
        return await presenter.present(tx, caller, await act(tx, caller), book)

    return work


def _current(book: RuleBook, transfer_id: str) -> Act[TransferOut]:
    """Return the locking read of a transfer that `If-Match` is compared with."""
    return _transfer(book, lambda tx, caller: transfer_of(tx, caller, transfer_id, lock=True))


def _evidence(book: RuleBook, act: Act[Evidence]) -> Act[EvidenceOut]:
    """Wrap an act so that its record of evidence is presented in the same transaction."""

    async def work(tx: Transaction, caller: Caller) -> EvidenceOut:
        return (await presenter.present_evidence(tx, [await act(tx, caller)], book))[0]

    return work


def _finding(act: Act[StructuringFinding]) -> Act[FindingOut]:
    """Wrap an act so that its finding is presented in the same transaction."""

    async def work(tx: Transaction, caller: Caller) -> FindingOut:
        return presenter.present_findings(caller, [await act(tx, caller)])[0]

    return work


@router.post("/v1/transfers", status_code=201, response_model=TransferOut)
async def create_transfer(exchange: Requesting, request: Request, body: TransferIn) -> Response:
    """Write a transfer request down as a draft."""
    book = _book(request)
    return await exchange.create(
        _transfer(book, lambda tx, caller: requests.create_transfer(tx, caller, body)),
        lambda transfer: f"/v1/transfers/{transfer.id}",
    )


@router.get("/v1/transfers", response_model=Page[TransferOut])
async def list_transfers(
    exchange: ReaderExchange,
    request: Request,
    status: Annotated[Status | None, Query()] = None,
    stage_role: Annotated[StageRole | None, Query(description="Transfers that wait for this stage's reviewer.")] = None,
    handler: Filter = None,
    dataset: Filter = None,
    recipient: Filter = None,
    requester: Named = None,
    text: Annotated[
        str | None, Query(min_length=1, max_length=200, description="Text of the purpose, description or reason.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List transfers; with `stage_role`, a reviewer's queue."""
    book = _book(request)
    stage = None if stage_role is None else Stage(stage_role.removeprefix("reviewer:"))

    async def work(tx: Transaction, caller: Caller) -> tuple[Sequence[TransferOut], str | None]:
        transfers, following = await requests.list_transfers(
            tx,
            status=status,
            stage=stage,
            handler=handler,
            dataset=dataset,
            recipient=recipient,
            requester=requester,
            words=text,
            cursor=cursor,
            limit=limit,
        )
        return await presenter.present_many(tx, caller, transfers, book), following

    return await exchange.page(work)


@router.get("/v1/transfers/{transfer_id}", response_model=TransferOut)
async def read_transfer(exchange: ReaderExchange, request: Request, transfer_id: TransferId) -> Response:
    """Read a transfer."""
    book = _book(request)
    return await exchange.read(_transfer(book, lambda tx, caller: transfer_of(tx, caller, transfer_id)))


@router.patch("/v1/transfers/{transfer_id}", response_model=TransferOut)
async def change_transfer(
    exchange: Requesting, request: Request, transfer_id: TransferId, body: TransferPatch
) -> Response:
    """Change a transfer; in review it becomes a new revision and its stages restart."""
    book = _book(request)
    return await exchange.change(
        _transfer(book, lambda tx, caller: requests.change_transfer(tx, caller, book, transfer_id, body)),
        _current(book, transfer_id),
    )


@router.post("/v1/transfers/{transfer_id}/submit", response_model=TransferOut)
async def submit(exchange: Requesting, request: Request, transfer_id: TransferId) -> Response:
    """Submit a transfer: freezes a revision, determines the mechanism and opens the first stage."""
    book = _book(request)
    return await exchange.act(
        _transfer(book, lambda tx, caller: requests.submit(tx, caller, book, transfer_id)),
        _current(book, transfer_id),
    )


@router.post("/v1/transfers/{transfer_id}/withdraw", response_model=TransferOut)
async def withdraw(
    exchange: Requesting, request: Request, transfer_id: TransferId, body: WithdrawIn | None = None
) -> Response:
    """Withdraw a transfer before it is decided."""
    book = _book(request)
    reason = None if body is None else body.reason
    return await exchange.act(
        _transfer(book, lambda tx, caller: requests.withdraw(tx, caller, transfer_id, reason)),
        _current(book, transfer_id),
    )


@router.post("/v1/transfers/{transfer_id}/renew", status_code=201, response_model=TransferOut)
async def renew(exchange: Requesting, request: Request, transfer_id: TransferId, body: RenewIn) -> Response:
    """Begin the renewal of an approved transfer: its content with the changes sent, and its evidence that is still valid."""
    book = _book(request)
    return await exchange.create(
        _transfer(book, lambda tx, caller: requests.renew(tx, caller, book, transfer_id, body)),
        lambda transfer: f"/v1/transfers/{transfer.id}",
    )


@router.post("/v1/transfers/{transfer_id}/reviews", status_code=201, response_model=TransferOut)
async def review(exchange: Reviewing, request: Request, transfer_id: TransferId, body: ReviewIn) -> Response:
    """Approve, return or reject the open stage of the revision that was read; an approval may carry conditions."""
    book = _book(request)
    answer = exchange.create(
        _transfer(book, lambda tx, caller: reviews.review(tx, caller, book, transfer_id, body)),
        lambda transfer: f"/v1/transfers/{transfer.id}",
    )
    return await _with_findings(exchange, book, transfer_id, answer)


@router.post("/v1/transfers/{transfer_id}/reviews/{review_id}/carry-over", status_code=201, response_model=TransferOut)
async def carry_over(
    exchange: Reviewing, request: Request, transfer_id: TransferId, review_id: ReviewId, body: CarryIn
) -> Response:
    """Confirm an approval of an earlier revision for the current one, if no input of its stage has changed."""
    book = _book(request)
    answer = exchange.create(
        _transfer(book, lambda tx, caller: reviews.carry_over(tx, caller, book, transfer_id, review_id, body)),
        lambda transfer: f"/v1/transfers/{transfer.id}",
    )
    return await _with_findings(exchange, book, transfer_id, answer)


@router.post("/v1/transfers/{transfer_id}/reviews/{review_id}/take-back", response_model=TransferOut)
async def take_back(
    exchange: Reviewing, request: Request, transfer_id: TransferId, review_id: ReviewId, body: TakeBackIn
) -> Response:
    """Take an approval back before the permit is issued."""
    book = _book(request)
    return await exchange.act(
        _transfer(book, lambda tx, caller: reviews.take_back(tx, caller, transfer_id, review_id, body))
    )


@router.post("/v1/transfers/{transfer_id}/terms/accept", response_model=TransferOut)
async def accept_terms(exchange: Requesting, request: Request, transfer_id: TransferId, body: AcceptIn) -> Response:
    """Accept the terms of approvals: the next stage opens, or the permit is issued."""
    book = _book(request)
    answer = exchange.act(_transfer(book, lambda tx, caller: reviews.accept_terms(tx, caller, book, transfer_id, body)))
    return await _with_findings(exchange, book, transfer_id, answer)


async def _with_findings(exchange: Exchange, book: RuleBook, transfer_id: str, answer: Awaitable[Response]) -> Response:
    """Raise findings in a transaction of their own if the permit is refused and the approval rolled back."""

    async def work(tx: Transaction, caller: Caller) -> Reply:
        await reviews.raise_findings(tx, caller, book, transfer_id)
        return Reply(204, b"", {})

    try:
        return await answer
    except reviews.PERMIT_REFUSALS:
        await exchange.send(work)
        raise


@router.get("/v1/transfers/{transfer_id}/reviewers", response_model=ReviewersOut)
async def reviewers(exchange: ReaderExchange, transfer_id: TransferId, stage: Annotated[Stage, Query()]) -> Response:
    """List the people who may decide a stage, by their roles and the separation of duties."""

    async def work(tx: Transaction, caller: Caller) -> ReviewersOut:
        return presenter.present_reviewers(stage, await reviewer_acts.list_reviewers(tx, caller, transfer_id, stage))

    return await exchange.read(work)


@router.post("/v1/transfers/{transfer_id}/assign", response_model=TransferOut)
async def assign(
    exchange: Annotated[Exchange, allowed(REVIEWERS, Role.REQUESTER)],
    request: Request,
    transfer_id: TransferId,
    body: AssignIn,
) -> Response:
    """Assign a stage to a person who may decide it."""
    book = _book(request)
    return await exchange.act(_transfer(book, lambda tx, caller: reviewer_acts.assign(tx, caller, transfer_id, body)))


@router.post("/v1/transfers/{transfer_id}/recuse", response_model=TransferOut)
async def recuse(exchange: Reviewing, request: Request, transfer_id: TransferId, body: RecuseIn) -> Response:
    """Recuse yourself from a request, permanently."""
    book = _book(request)
    return await exchange.act(
        _transfer(book, lambda tx, caller: reviewer_acts.recuse(tx, caller, transfer_id, body.reason))
    )


@router.post("/v1/transfers/{transfer_id}/comments", status_code=201, response_model=CommentOut)
async def comment(
    exchange: Annotated[Exchange, allowed(READERS - {Role.EXPORTER})], transfer_id: TransferId, body: CommentIn
) -> Response:
    """Comment on a request; the people mentioned are notified."""

    async def work(tx: Transaction, caller: Caller) -> CommentOut:
        return presenter.present_comment(await reviewer_acts.add_comment(tx, caller, transfer_id, body))

    return await exchange.create(work, lambda comment: f"/v1/transfers/{comment.transfer}/comments")


@router.get("/v1/transfers/{transfer_id}/comments", response_model=Page[CommentOut])
async def list_comments(
    exchange: ReaderExchange, transfer_id: TransferId, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List the comments on a request."""

    async def work(tx: Transaction, caller: Caller) -> tuple[Sequence[CommentOut], str | None]:
        comments, following = await reviewer_acts.list_comments(tx, caller, transfer_id, cursor, limit)
        return [presenter.present_comment(row) for row in comments], following

    return await exchange.page(work)


@router.get("/v1/queue", response_model=QueueOut)
async def queue(
    exchange: Reviewing,
    request: Request,
    stage: Annotated[Stage | None, Query()] = None,
    handler: Filter = None,
    overdue: Annotated[bool | None, Query(description="Past its service time, or not.")] = None,
    assigned: Annotated[bool | None, Query(description="Assigned to the caller, or not.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List the open stages that the caller may decide, oldest first, with counts of all of them."""
    book = _book(request)
    return await exchange.answer_question(
        lambda tx, caller: reviewer_acts.list_queue(
            tx,
            caller,
            book,
            stage=stage,
            handler=handler,
            overdue=overdue,
            assigned=assigned,
            after=cursor,
            limit=limit,
        )
    )


@router.get("/v1/findings", response_model=Page[FindingOut])
async def list_findings(
    exchange: ReaderExchange,
    state: Annotated[Literal["open", "answered"] | None, Query()] = None,
    handler: Filter = None,
    transfer: Named = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List findings: requests that are each below a threshold and reach it together, and exceeded quotas."""
    is_open = None if state is None else state == "open"

    async def work(tx: Transaction, caller: Caller) -> tuple[Sequence[FindingOut], str | None]:
        findings, following = await structuring_findings.list_findings(
            tx, is_open=is_open, handler=handler, transfer=transfer, cursor=cursor, limit=limit
        )
        return presenter.present_findings(caller, findings), following

    return await exchange.page(work)


@router.get("/v1/findings/{finding_id}", response_model=FindingOut)
async def read_finding(exchange: ReaderExchange, finding_id: Annotated[str, Path()]) -> Response:
    """Read a finding."""
    return await exchange.read(_finding(lambda tx, caller: structuring_findings.read_finding(tx, caller, finding_id)))


@router.post("/v1/findings/{finding_id}/answer", response_model=FindingOut)
async def answer_finding(
    exchange: Annotated[Exchange, allowed(Role.LEGAL)], finding_id: Annotated[str, Path()], body: AnswerIn
) -> Response:
    """Answer a finding as a reviewer of `legal`."""
    return await exchange.act(
        _finding(lambda tx, caller: structuring_findings.answer(tx, caller, finding_id, body)),
        _finding(lambda tx, caller: structuring_findings.read_finding(tx, caller, finding_id, lock=True)),
    )


@router.post(
    "/v1/transfers/{transfer_id}/evidence",
    status_code=201,
    response_model=EvidenceOut,
    openapi_extra=evidence_upload.BODY,
)
async def add_evidence(exchange: Requesting, request: Request, transfer_id: TransferId) -> Response:
    """Add a record of evidence as JSON, or with its file as multipart: the record in part `document`, the bytes in `file`."""
    book = _book(request)
    body, upload = await evidence_upload.read(request, exchange.client_key)
    return await exchange.create(
        _evidence(book, lambda tx, caller: evidence.add_evidence(tx, caller, book, transfer_id, body, upload)),
        lambda record: f"/v1/transfers/{record.transfer}/evidence/{record.id}",
        sent=evidence_upload.fingerprint(body, upload),
    )


@router.get("/v1/transfers/{transfer_id}/evidence", response_model=Page[EvidenceOut])
async def list_evidence(
    exchange: ReaderExchange, request: Request, transfer_id: TransferId, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List the evidence of a transfer."""
    book = _book(request)

    async def work(tx: Transaction, caller: Caller) -> tuple[Sequence[EvidenceOut], str | None]:
        records, following = await evidence.list_evidence(tx, caller, transfer_id, cursor, limit)
        return await presenter.present_evidence(tx, records, book), following

    return await exchange.page(work)


@router.get("/v1/transfers/{transfer_id}/evidence/{evidence_id}", response_model=EvidenceOut)
async def read_evidence(
    exchange: ReaderExchange, request: Request, transfer_id: TransferId, evidence_id: EvidenceId
) -> Response:
    """Read a record of evidence."""
    book = _book(request)
    return await exchange.read(
        _evidence(book, lambda tx, caller: evidence.read_evidence(tx, caller, transfer_id, evidence_id))
    )


@router.get("/v1/transfers/{transfer_id}/evidence/{evidence_id}/file", responses=evidence_upload.FILE)
async def read_file(
    exchange: Annotated[Exchange, allowed(evidence.FILE_READERS)],
    transfer_id: TransferId,
    evidence_id: EvidenceId,
) -> Response:
    """Download the file of a record, always as an attachment."""

    async def work(tx: Transaction, caller: Caller) -> Download:
        kept = await evidence.read_file(tx, caller, transfer_id, evidence_id)
        return Download(kept.name, kept.media_type, kept.sha256, kept.content)

    return await exchange.download(work)


@router.post("/v1/transfers/{transfer_id}/evidence/{evidence_id}/verify", response_model=EvidenceOut)
async def verify_evidence(
    exchange: Reviewing, request: Request, transfer_id: TransferId, evidence_id: EvidenceId
) -> Response:
    """Verify, as a reviewer, that evidence matches its record."""
    book = _book(request)
    return await exchange.act(
        _evidence(book, lambda tx, caller: evidence.verify(tx, caller, book, transfer_id, evidence_id))
    )


@router.post("/v1/transfers/{transfer_id}/evidence/{evidence_id}/withdraw", response_model=EvidenceOut)
async def withdraw_evidence(
    exchange: Annotated[Exchange, allowed(REVIEWERS, Role.REQUESTER)],
    request: Request,
    transfer_id: TransferId,
    evidence_id: EvidenceId,
    body: WithdrawEvidenceIn,
) -> Response:
    """Withdraw evidence: permits that rest on it are denied from now on, until it is replaced."""
    book = _book(request)
    return await exchange.act(
        _evidence(book, lambda tx, caller: evidence.withdraw(tx, caller, book, transfer_id, evidence_id, body.reason))
    )


@router.get("/v1/transfers/{transfer_id}/revisions", response_model=Page[RevisionOut])
async def list_revisions(
    exchange: ReaderExchange, transfer_id: TransferId, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List the revisions of a transfer."""

    async def work(tx: Transaction, caller: Caller) -> tuple[Sequence[RevisionOut], str | None]:
        revisions, following = await requests.list_revisions(tx, caller, transfer_id, cursor, limit)
        return [presenter.present_revision(revision) for revision in revisions], following

    return await exchange.page(work)


@router.get("/v1/transfers/{transfer_id}/revisions/{number}", response_model=RevisionOut)
async def read_revision(exchange: ReaderExchange, transfer_id: TransferId, number: Number) -> Response:
    """Read a revision as it was submitted."""

    async def work(tx: Transaction, caller: Caller) -> RevisionOut:
        return presenter.present_revision(await requests.read_revision(tx, caller, transfer_id, number))

    return await exchange.read(work)


@router.get("/v1/transfers/{transfer_id}/revisions/{number}/diff", response_model=DiffOut)
async def diff(
    exchange: ReaderExchange,
    transfer_id: TransferId,
    number: Number,
    since: Annotated[int | None, Query(ge=1, lt=2**31, description="An earlier revision than the one before.")] = None,
) -> Response:
    """Compare a revision with an earlier one: each change as a sentence, and the stages that it affects."""
    return await exchange.read(lambda tx, caller: requests.read_diff(tx, caller, transfer_id, number, since))


@router.get("/v1/transfers/{transfer_id}/history", response_model=Page[EntryOut])
async def history(
    exchange: ReaderExchange, transfer_id: TransferId, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List the audit entries of a transfer."""
    return await exchange.page(lambda tx, caller: requests.list_history(tx, caller, transfer_id, cursor, limit))
