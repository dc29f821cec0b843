"""Routes of the register: handlers, datasets, gradings, recipients, imports and changes of facts."""

import asyncio
from typing import Annotated, Literal

from fastapi import Path, Query, Request, Response

from service.access.caller import Caller, Role
from service.audit.schemas import EntryOut
from service.database.session import Transaction
from service.http.client_disconnect import cancel_on_disconnect
from service.http.exchange import Exchange, ExporterExchange, ReaderExchange, allowed, reply_of
from service.http.helper_processes import hash_content, helper_for
from service.http.idempotency import Reply, Sent
from service.http.paging import Cursor, Limit, Page
from service.http.references import Filter
from service.http.router import api_router
from service.law.facts import Tag
from service.law.rule_book import RuleBook
from service.registry import (
    bulk,
    contradictions,
    fact_changes,
    gradings,
    groups,
    import_files,
    import_plan,
    imports,
    operations,
)
from service.registry.schemas import (
    BulkGradingIn,
    ConfirmIn,
    ContradictionOut,
    DatasetNewIn,
    DatasetOut,
    DatasetPatch,
    FactChangeOut,
    GradingIn,
    GradingOut,
    GradingsOut,
    GroupClaimOut,
    HandlerNewIn,
    HandlerOut,
    HandlerPatch,
    ImportOut,
    LedgerOut,
    PersonKeyOut,
    RecipientNewIn,
    RecipientOut,
    RecipientPatch,
    SettleIn,
)
from service.validation.text_types import NearDay

router = api_router("register")
Keeping = Annotated[Exchange, allowed(Role.REGISTRAR)]
Ref = Annotated[str, Path(description="Id or key.")]
DatasetId = Annotated[str, Path()]
Words = Annotated[str | None, Query(min_length=1, max_length=200, description="Text that a name or a key contains.")]
Named = Annotated[str | None, Query(max_length=200, description="Id or key.")]
ChangeId = Annotated[str, Path()]
Number = Annotated[int, Path(ge=1, lt=2**31)]
Tagged = Annotated[
    Literal["core", "important", "personal", "sensitive", "general", "ungraded"] | None,
    Query(description="`general`: graded with no tag; `ungraded`: not graded."),
]
AsOf = Annotated[NearDay | None, Query(description="Gradings in effect at the end of this day in Asia/Shanghai.")]
Country = Annotated[str | None, Query(pattern="^[A-Z]{2}$")]


@router.post("/v1/handlers", status_code=201, response_model=HandlerOut)
async def create_handler(exchange: Keeping, body: HandlerNewIn) -> Response:
    """Register a handler."""
    return await exchange.create(
        lambda tx, caller: operations.create_handler(tx, caller, body), lambda created: f"/v1/handlers/{created.id}"
    )


@router.get("/v1/handlers", response_model=Page[HandlerOut])
async def list_handlers(
    exchange: ReaderExchange, text: Words = None, group: Words = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List handlers."""
    return await exchange.page(lambda tx, _: operations.list_handlers(tx, text, group, cursor, limit))


@router.get("/v1/handlers/{handler_id}", response_model=HandlerOut)
async def read_handler(exchange: ReaderExchange, handler_id: Ref) -> Response:
    """Read a handler."""
    return await exchange.read(lambda tx, caller: operations.read_handler(tx, caller, handler_id))


@router.patch("/v1/handlers/{handler_id}", response_model=HandlerOut)
async def change_handler(exchange: Keeping, handler_id: Ref, body: HandlerPatch) -> Response:
    """Change a handler; `facts` are merged."""
    return await exchange.change(
        lambda tx, caller: operations.change_handler(tx, caller, handler_id, body),
        lambda tx, caller: operations.read_handler(tx, caller, handler_id, lock=True),
    )


@router.get("/v1/handlers/{handler_id}/history", response_model=Page[EntryOut])
async def handler_history(
    exchange: ReaderExchange, handler_id: Ref, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List every change of a handler."""
    return await exchange.page(lambda tx, caller: operations.handler_history(tx, caller, handler_id, cursor, limit))


@router.get("/v1/handlers/{handler_id}/group-claims", response_model=Page[GroupClaimOut])
async def list_group_claims(exchange: Keeping, handler_id: Ref, cursor: Cursor = None, limit: Limit = 50) -> Response:
    """List the handlers whose claim to belong to the same group is not confirmed."""
    return await exchange.page(lambda tx, caller: groups.list_claims(tx, caller, handler_id, cursor, limit))


@router.post("/v1/handlers/{handler_id}/group-claims/{claimant_id}/confirm", response_model=GroupClaimOut)
async def confirm_group_claim(exchange: Keeping, handler_id: Ref, claimant_id: Ref) -> Response:
    """Confirm, for a handler of the group, the claim of another one: their requests are examined together from now on."""
    return await exchange.act(lambda tx, caller: groups.confirm(tx, caller, handler_id, claimant_id))


@router.get("/v1/handlers/{handler_id}/ledger", response_model=LedgerOut)
async def handler_ledger(
    exchange: ReaderExchange,
    request: Request,
    handler_id: Ref,
    year: Annotated[int | None, Query(ge=2021, le=9999, description="In Asia/Shanghai; this one, if missing.")] = None,
) -> Response:
    """Read the year's count of persons, its thresholds, and the headroom."""
    book: RuleBook = request.app.state.book
    return await exchange.read(lambda tx, caller: operations.handler_ledger(tx, caller, book, handler_id, year))


@router.get("/v1/handlers/{handler_id}/person-key", response_model=PersonKeyOut)
async def handler_person_key(exchange: ExporterExchange, handler_id: Ref) -> Response:
    """Read the key that hashes identifiers of persons; the first request creates it."""
    return await exchange.read(lambda tx, caller: operations.handler_person_key(tx, caller, handler_id))


@router.post("/v1/datasets", status_code=201, response_model=DatasetOut)
async def create_dataset(exchange: Keeping, body: DatasetNewIn) -> Response:
    """Register a dataset; it is denied at the gate until it is graded."""
    return await exchange.create(
        lambda tx, caller: operations.create_dataset(tx, caller, body), lambda created: f"/v1/datasets/{created.id}"
    )


@router.get("/v1/datasets", response_model=Page[DatasetOut])
async def list_datasets(
    exchange: ReaderExchange,
    tag: Tagged = None,
    handler: Named = None,
    key: Annotated[str | None, Query(max_length=500, description="Exactly this key.")] = None,
    text: Words = None,
    outdated: Annotated[
        bool | None, Query(description="True: graded ones with fields that no grading has examined. False: all others.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List datasets."""
    return await exchange.page(
        lambda tx, caller: operations.list_datasets(
            tx, caller, tag=tag, handler=handler, key=key, words=text, outdated=outdated, cursor=cursor, limit=limit
        )
    )


IMPORT_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "text/csv": {"schema": {"type": "string"}},
            "application/yaml": {"schema": {"type": "string", "description": "Fides datasets."}},
        },
    }
}


@router.get("/v1/contradictions", response_model=Page[ContradictionOut])
async def find_contradictions(
    exchange: ReaderExchange,
    handler: Named = None,
    dataset: Named = None,
    kind: Annotated[str | None, Query(max_length=40, description="Kind of the contradiction.")] = None,
    open: Annotated[bool | None, Query(description="True: the grading is in effect. False: the others.")] = None,  # noqa: A002
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List statements of systems that contradict the tags of datasets. The next grading of a dataset answers them."""
    return await exchange.page(
        lambda tx, _: contradictions.find_contradictions(
            tx, handler=handler, dataset=dataset, kind=kind, is_open=open, cursor=cursor, limit=limit
        )
    )


@router.post("/v1/datasets/import", response_model=ImportOut, openapi_extra=IMPORT_BODY)
async def import_datasets(
    exchange: Keeping,
    request: Request,
    handler: Named = None,
    owner: Annotated[str | None, Query(max_length=200)] = None,
    dry_run: bool = False,  # noqa: FBT001 - a query parameter
) -> Response:
    """Import datasets from CSV or Fides YAML: all rows, or none and a list of the faults.

    `handler` and `owner` are defaults for rows that name none. Existing datasets are updated; gradings never change.
    """
    kind = import_files.format_of(request.headers.get("content-type", ""))
    content = await request.body()

    async def answered() -> Response:
        sent = await asyncio.to_thread(hash_content, content)
        async with helper_for(
            request, exchange.client_key, import_plan.ImportPlan, content, kind, handler, owner
        ) as reading:

            async def work(tx: Transaction, caller: Caller) -> Reply:
                return reply_of(200, await imports.load(tx, caller, reading, dry_run=dry_run))

            return await exchange.once(work, sent=Sent.plain(sent))

    return await cancel_on_disconnect(request, answered())


@router.get("/v1/datasets/{dataset_id}", response_model=DatasetOut)
async def read_dataset(exchange: ReaderExchange, dataset_id: DatasetId) -> Response:
    """Read a dataset."""
    return await exchange.read(lambda tx, caller: operations.read_dataset(tx, caller, dataset_id))


@router.patch("/v1/datasets/{dataset_id}", response_model=DatasetOut)
async def change_dataset(exchange: Keeping, dataset_id: DatasetId, body: DatasetPatch) -> Response:
    """Change a dataset; `facts` are merged, tags are set by gradings alone."""
    return await exchange.change(
        lambda tx, caller: operations.change_dataset(tx, caller, dataset_id, body),
        lambda tx, caller: operations.read_dataset(tx, caller, dataset_id, lock=True),
    )


@router.get("/v1/datasets/{dataset_id}/history", response_model=Page[EntryOut])
async def dataset_history(
    exchange: ReaderExchange, dataset_id: DatasetId, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List every change and grading of a dataset."""
    return await exchange.page(lambda tx, caller: operations.dataset_history(tx, caller, dataset_id, cursor, limit))


@router.post("/v1/datasets/{dataset_id}/gradings", status_code=201, response_model=GradingOut)
async def grade(exchange: Keeping, dataset_id: DatasetId, body: GradingIn) -> Response:
    """Grade a dataset: raising takes effect at once, lowering waits for a second person."""
    return await exchange.create(
        lambda tx, caller: gradings.grade(tx, caller, dataset_id, body),
        lambda created: f"/v1/datasets/{created.dataset}/gradings/{created.number}",
    )


@router.post("/v1/gradings", status_code=201, response_model=GradingsOut)
async def grade_many(exchange: Keeping, request: Request, body: BulkGradingIn) -> Response:
    """Give many datasets one grading: all of them, or none."""

    async def answered() -> Response:
        async with helper_for(
            request, exchange.client_key, bulk.GradingPlan, body, few=len(body.datasets) <= bulk.MAX_WITHOUT_WORKER
        ) as planning:

            async def work(tx: Transaction, caller: Caller) -> Reply:
                return reply_of(201, await bulk.grade_many(tx, caller, body, planning))

            return await exchange.once(work)

    return await cancel_on_disconnect(request, answered())


@router.get("/v1/gradings", response_model=Page[GradingOut])
async def find_gradings(
    exchange: ReaderExchange,
    state: Annotated[Literal["effective", "pending", "superseded"] | None, Query()] = None,
    handler: Filter = None,
    dataset: Filter = None,
    tag: Annotated[Tag | None, Query()] = None,
    overdue: Annotated[bool | None, Query(description="The day of the next review has passed.")] = None,
    review_before: Annotated[NearDay | None, Query(description="Day of review before this day.")] = None,
    as_of: AsOf = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List gradings of all datasets: overdue for review, pending, or in effect on a day."""
    return await exchange.page(
        lambda tx, _: gradings.find_gradings(
            tx,
            state=state,
            handler=handler,
            dataset=dataset,
            tag=tag,
            overdue=overdue,
            review_before=review_before,
            as_of=as_of,
            cursor=cursor,
            limit=limit,
        )
    )


@router.get("/v1/datasets/{dataset_id}/gradings", response_model=Page[GradingOut])
async def list_gradings(
    exchange: ReaderExchange, dataset_id: DatasetId, as_of: AsOf = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List the gradings of a dataset; with `as_of`, the one in effect at the end of that day."""
    return await exchange.page(lambda tx, caller: gradings.list_gradings(tx, caller, dataset_id, as_of, cursor, limit))


@router.get("/v1/datasets/{dataset_id}/gradings/{number}", response_model=GradingOut)
async def read_grading(exchange: ReaderExchange, dataset_id: DatasetId, number: Number) -> Response:
    """Read a grading."""
    return await exchange.read(lambda tx, caller: gradings.read_grading(tx, caller, dataset_id, number))


@router.post("/v1/datasets/{dataset_id}/gradings/{number}/confirm", response_model=GradingOut)
async def confirm_grading(
    exchange: Keeping, dataset_id: DatasetId, number: Number, body: ConfirmIn | None = None
) -> Response:
    """Confirm a pending grading, as a second person."""
    confirmation = body or ConfirmIn()
    return await exchange.act(
        lambda tx, caller: gradings.confirm_grading(tx, caller, dataset_id, number, confirmation),
        lambda tx, caller: gradings.read_grading(tx, caller, dataset_id, number),
    )


@router.post("/v1/recipients", status_code=201, response_model=RecipientOut)
async def create_recipient(exchange: Keeping, body: RecipientNewIn) -> Response:
    """Register a recipient."""
    return await exchange.create(
        lambda tx, caller: operations.create_recipient(tx, caller, body), lambda created: f"/v1/recipients/{created.id}"
    )


@router.get("/v1/recipients", response_model=Page[RecipientOut])
async def list_recipients(
    exchange: ReaderExchange, country: Country = None, text: Words = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List recipients."""
    return await exchange.page(lambda tx, _: operations.list_recipients(tx, country, text, cursor, limit))


@router.get("/v1/recipients/{recipient_id}", response_model=RecipientOut)
async def read_recipient(exchange: ReaderExchange, recipient_id: Ref) -> Response:
    """Read a recipient."""
    return await exchange.read(lambda tx, _: operations.read_recipient(tx, recipient_id))


@router.patch("/v1/recipients/{recipient_id}", response_model=RecipientOut)
async def change_recipient(exchange: Keeping, recipient_id: Ref, body: RecipientPatch) -> Response:
    """Change a recipient; `facts` are merged."""
    return await exchange.change(
        lambda tx, caller: operations.change_recipient(tx, caller, recipient_id, body),
        lambda tx, _: operations.read_recipient(tx, recipient_id, lock=True),
    )


@router.get("/v1/recipients/{recipient_id}/history", response_model=Page[EntryOut])
async def recipient_history(
    exchange: ReaderExchange, recipient_id: Ref, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """List every change of a recipient."""
    return await exchange.page(lambda tx, _: operations.recipient_history(tx, recipient_id, cursor, limit))


@router.get("/v1/fact-changes", response_model=Page[FactChangeOut])
async def list_fact_changes(
    exchange: ReaderExchange,
    state: Annotated[Literal["pending", "effective", "refused", "overtaken"] | None, Query()] = None,
    handler: Filter = None,
    subject: Annotated[str | None, Query(max_length=200, description="Id of a handler, dataset or recipient.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List changes of facts that free: pending, effective, refused or overtaken."""
    return await exchange.page(
        lambda tx, _: fact_changes.list_changes(
            tx, state=state, handler=handler, subject=subject, cursor=cursor, limit=limit
        )
    )


@router.get("/v1/fact-changes/{change_id}", response_model=FactChangeOut)
async def read_fact_change(exchange: ReaderExchange, change_id: ChangeId) -> Response:
    """Read a change of a fact."""
    return await exchange.read(lambda tx, _: fact_changes.read(tx, change_id))


@router.post("/v1/fact-changes/{change_id}/confirm", response_model=FactChangeOut)
async def confirm_fact_change(exchange: Keeping, change_id: ChangeId, body: SettleIn | None = None) -> Response:
    """Confirm a pending fact, as a second person."""
    settlement = body or SettleIn()
    return await exchange.act(
        lambda tx, caller: fact_changes.confirm(tx, caller, change_id, settlement),
        lambda tx, _: fact_changes.read(tx, change_id),
    )


@router.post("/v1/fact-changes/{change_id}/refuse", response_model=FactChangeOut)
async def refuse_fact_change(exchange: Keeping, change_id: ChangeId, body: SettleIn | None = None) -> Response:
    """Refuse a pending fact; the person who stated it may do so, too."""
    settlement = body or SettleIn()
    return await exchange.act(
        lambda tx, caller: fact_changes.refuse(tx, caller, change_id, settlement),
        lambda tx, _: fact_changes.read(tx, change_id),
    )
