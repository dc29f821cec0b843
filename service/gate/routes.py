"""HTTP of the gate."""

from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from service.access.caller import READERS, Caller, Role
from service.exports import completion, operations, person_counts, reservation_body
from service.gate import questions as wire
from service.gate import search
from service.gate.fast_path.asgi import EVALUATION_PATH, EVALUATIONS_PATH
from service.gate.group_commit import Gate
from service.gate.jobs import EXPORTS_PATH, Evaluation, Evaluations, Failed, Job, Reservation
from service.gate.schemas import (
    ActionSearchIn,
    ActionSearchOut,
    EvaluationIn,
    EvaluationOut,
    EvaluationsIn,
    EvaluationsOut,
    ExportOut,
    FailedOut,
    MetadataOut,
    ResourceSearchIn,
    ResourceSearchOut,
    SubjectSearchIn,
    SubjectSearchOut,
)
from service.http import idempotency
from service.http.exchange import JSON, Exchange, allowed
from service.http.paging import Cursor, Limit, Page
from service.http.references import Filter
from service.http.router import REFUSALS, Handler, StrictRoute, room
from service.law.facts import Count
from service.law.rule_book import RuleBook
from service.law.schemas import NearDay
from service.validation.problems import Malformed, UnsupportedMediaType, invalid_from
from service.whatif import outlook


class AuthZenRoute(StrictRoute):
    """A route as AuthZEN has it: unknown fields and parameters are ignored, whatever is malformed is 400."""

    ignores_unknown = True
    takes_suffixes = False
    stores = False

    @classmethod
    def refusals(cls, methods: frozenset[str]) -> dict[int | str, dict[str, Any]]:
        """Return the refusals that AuthZEN has: 400 for whatever is wrong with a request, and never 415 or 422."""
        known: tuple[int | str, ...] = ("default",) if "GET" in methods else (400, 401, 403, 413, 503, "default")
        return {status: REFUSALS[status] for status in known}

    def get_route_handler(self) -> Handler:
        """Wrap the strict handler."""
        handle = super().get_route_handler()

        async def lenient(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                raise _malformed(error) from error
            except UnsupportedMediaType as problem:
                raise Malformed(problem.detail) from problem

        return lenient


def _malformed(error: RequestValidationError | ValidationError) -> Malformed:
    found = invalid_from(error.errors())
    return Malformed(found.detail, errors=[(told["pointer"], told["detail"]) for told in found.errors])


SUBJECT_SEARCH_PATH: Final = "/access/v1/search/subject"
RESOURCE_SEARCH_PATH: Final = "/access/v1/search/resource"
ACTION_SEARCH_PATH: Final = "/access/v1/search/action"
METADATA_SECONDS: Final = 600
"""How long callers may keep the metadata."""

authzen = APIRouter(tags=["gate"], route_class=AuthZenRoute)
router = room("gate")
Asking = Annotated[Exchange, allowed(Role.EXPORTER, takes_session=False)]
Exporting = Annotated[Exchange, allowed(Role.EXPORTER)]
Reading = Annotated[Exchange, allowed(READERS)]
ExportId = Annotated[str, Path()]
Named = Annotated[str | None, Query(max_length=29)]


@authzen.post(EVALUATION_PATH, response_model=EvaluationOut)
async def evaluation(exchange: Asking, request: Request, body: EvaluationIn) -> Response:
    """May this system export this dataset to that recipient? The answer was recorded before it was given."""
    return await _decided(exchange, request, Evaluation(exchange.proof, _question(body)))


@authzen.post(EVALUATIONS_PATH, response_model=EvaluationsOut | EvaluationOut)
async def evaluations(exchange: Asking, request: Request, body: EvaluationsIn) -> Response:
    """Answer several questions in one transaction; without `evaluations` it behaves as a single one."""
    proof = exchange.proof
    if not body.evaluations:
        try:
            asked = body.single()
        except ValidationError as error:
            raise _malformed(error) from error
        return await _decided(exchange, request, Evaluation(proof, _question(asked)))
    questions = [
        Failed(msgspec.Raw(one.model_dump_json().encode())) if isinstance(one, FailedOut) else _question(one)
        for one in body.asked()
    ]
    return await _decided(exchange, request, Evaluations(proof, questions, body.semantic))


def _question(body: EvaluationIn) -> wire.Question:
    return wire.of(wire.Question, body.model_dump(exclude_unset=True))


async def _decided(_: Exchange, request: Request, job: Job) -> Response:
    """Answer once a batch has decided: it looks the caller up again, with everything else."""
    gate: Gate = request.app.state.gate
    reply = await gate.decide(job)
    return Response(reply.body, reply.status, reply.headers, None if "Content-Type" in reply.headers else JSON)


def _seeker(exchange: Exchange, request: Request, caller: Caller) -> search.Seeker:
    return search.Seeker(caller, exchange.proof, request.app.state.book)


@authzen.post(SUBJECT_SEARCH_PATH, response_model=SubjectSearchOut)
async def search_subject(exchange: Asking, request: Request, body: SubjectSearchIn) -> Response:
    """Which systems may export this dataset to that recipient? Asked by an exporter of the dataset's handler."""
    return await exchange.tell(
        lambda tx, caller: search.subjects(tx, _seeker(exchange, request, caller), body), gate="join"
    )


@authzen.post(RESOURCE_SEARCH_PATH, response_model=ResourceSearchOut)
async def search_resource(exchange: Asking, request: Request, body: ResourceSearchIn) -> Response:
    """Which datasets may this system send to that recipient? Of the handlers for which the caller is an exporter."""
    return await exchange.tell(
        lambda tx, caller: search.resources(tx, _seeker(exchange, request, caller), body), gate="join"
    )


@authzen.post(ACTION_SEARCH_PATH, response_model=ActionSearchOut)
async def search_action(exchange: Asking, request: Request, body: ActionSearchIn) -> Response:
    """What may this system do to this dataset: export it to that recipient, or nothing?"""
    return await exchange.tell(
        lambda tx, caller: search.actions(tx, _seeker(exchange, request, caller), body), gate="join"
    )


@authzen.get("/.well-known/authzen-configuration")
async def metadata(request: Request, response: Response) -> MetadataOut:
    """Tell where this decision point answers."""
    base: str = request.app.state.base_url
    response.headers["Cache-Control"] = f"max-age={METADATA_SECONDS}"
    return MetadataOut(
        policy_decision_point=base,
        access_evaluation_endpoint=base + EVALUATION_PATH,
        access_evaluations_endpoint=base + EVALUATIONS_PATH,
        search_subject_endpoint=base + SUBJECT_SEARCH_PATH,
        search_resource_endpoint=base + RESOURCE_SEARCH_PATH,
        search_action_endpoint=base + ACTION_SEARCH_PATH,
    )


@router.post(EXPORTS_PATH, status_code=201, response_model=ExportOut, openapi_extra=reservation_body.BODY)
async def reserve(exchange: Asking, request: Request) -> Response:
    """Reserve an export; refused with 403 `export-refused`, a `reason` and the id of the recorded evaluation.

    A number is held in full. Persons announced by hash are held as far as they are new: to the permit, and to the year.
    """
    key = idempotency.key_of(request)
    body = await reservation_body.Reserving.read(request, request.app.state.body_limit)
    job = Reservation(exchange.proof, body.asked, key, body.sent, body.announced)
    return await _decided(exchange, request, job)


@router.get("/v1/exports", response_model=Page[ExportOut])
async def list_exports(
    exchange: Reading,
    handler: Filter = None,
    dataset: Filter = None,
    permit: Named = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """List exports, by the ids of what they are about."""
    return await exchange.page(
        lambda tx, _: operations.list_exports(
            tx, handler=handler, dataset=dataset, permit=permit, cursor=cursor, limit=limit
        )
    )


@router.get("/v1/exports/{export_id}", response_model=ExportOut)
async def read_export(exchange: Reading, export_id: ExportId) -> Response:
    """Read an export."""
    return await exchange.read(lambda tx, caller: operations.read_export(tx, caller, export_id))


@router.post("/v1/exports/{export_id}/complete", response_model=ExportOut, openapi_extra=person_counts.BODY)
async def complete(
    exchange: Exporting, request: Request, export_id: ExportId, stated: person_counts.StatedIn
) -> Response:
    """Report the persons that really went; the rest of the reservation is given back.

    Numbers add up with every report. Persons told by hash, in JSON or as a stream of bytes, count once a year and once a permit.
    What went always counts, also when it is reported late or is more than was reserved; above the permit's quota the permit is suspended.
    """
    body = await person_counts.Body.read(request, stated)
    try:
        return await exchange.decide(
            lambda tx, caller: completion.complete(tx, caller, export_id, body.completion), 200, sent=body.sent
        )
    except completion.GateNeededError:
        return await exchange.decide(
            lambda tx, caller: completion.complete(tx, caller, export_id, body.completion, is_gate_closed=True),
            200,
            gate="close",
            sent=body.sent,
        )


@router.post("/v1/exports/{export_id}/cancel", response_model=ExportOut)
async def cancel(exchange: Exporting, export_id: ExportId) -> Response:
    """Give a reservation back."""
    return await exchange.act(lambda tx, caller: operations.cancel(tx, caller, export_id))


def _asked(
    on: Annotated[NearDay | None, Query(description="A later day.")] = None,
    more_persons: Annotated[int, Query(ge=0, lt=2**53, description="So many persons more in the year's count.")] = 0,
    more_sensitive_persons: Annotated[int, Query(ge=0, lt=2**53)] = 0,
) -> outlook.Asked:
    return outlook.Asked(on=on, more=Count(more_persons, more_sensitive_persons))


Asked = Annotated[outlook.Asked, Depends(_asked)]


@router.get("/v1/transfers/{transfer_id}/outlook", response_model=outlook.TransferOutlook)
async def transfer_outlook(
    exchange: Reading, request: Request, transfer_id: Annotated[str, Path()], asked: Asked
) -> Response:
    """Tell what the law would say of a transfer today, on a later day, with a higher count, and when and why that changes."""
    book: RuleBook = request.app.state.book
    return await exchange.read(lambda tx, caller: outlook.of_transfer(tx, caller, book, transfer_id, asked))


@router.get("/v1/permits/{permit_id}/outlook", response_model=outlook.PermitOutlook)
async def permit_outlook(
    exchange: Reading, request: Request, permit_id: Annotated[str, Path()], asked: Asked
) -> Response:
    """Tell whether a permit stands today, on a later day and with a higher count, and when and why that changes."""
    book: RuleBook = request.app.state.book
    return await exchange.read(lambda tx, caller: outlook.of_permit(tx, caller, book, permit_id, asked))
