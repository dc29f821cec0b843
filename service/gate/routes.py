"""HTTP of the gate."""

from typing import Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from service.access.caller import Caller
from service.gate import search
from service.gate.group_commit import Gate
from service.gate.jobs import (
    EVALUATION_PATH,
    EVALUATIONS_PATH,
    Evaluation,
    Evaluations,
    Failed,
    Job,
)
from service.gate.questions import Question, convert
from service.gate.schemas import (
    ActionSearchIn,
    ActionSearchOut,
    EvaluationIn,
    EvaluationOut,
    EvaluationsIn,
    EvaluationsOut,
    FailedOut,
    MetadataOut,
    ResourceSearchIn,
    ResourceSearchOut,
    SubjectSearchIn,
    SubjectSearchOut,
)
from service.http.exchange import JSON, Exchange, SystemExchange
from service.http.router import REFUSALS, Handler, StrictRoute
from service.validation.problems import Malformed, UnsupportedMediaType, invalid_from


class AuthZenRoute(StrictRoute):
    """Route with the rules of AuthZEN: unknown fields and parameters are ignored, and malformed requests get 400."""

    ignores_unknown = True
    takes_suffixes = False
    stores = False

    @classmethod
    def refusals(cls, methods: frozenset[str]) -> dict[int | str, dict[str, Any]]:
        """Return the refusals of AuthZEN: 400 for any malformed request, and never 415 or 422."""
        statuses: tuple[int | str, ...] = ("default",) if "GET" in methods else (400, 401, 403, 413, 503, "default")
        return {status: REFUSALS[status] for status in statuses}

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
    invalid = invalid_from(error.errors())
    return Malformed(invalid.detail, errors=[(field["pointer"], field["detail"]) for field in invalid.errors])


SUBJECT_SEARCH_PATH: Final = "/access/v1/search/subject"
RESOURCE_SEARCH_PATH: Final = "/access/v1/search/resource"
ACTION_SEARCH_PATH: Final = "/access/v1/search/action"
METADATA_SECONDS: Final = 600
"""Seconds for which callers may cache the metadata."""

authzen = APIRouter(tags=["gate"], route_class=AuthZenRoute)


@authzen.post(EVALUATION_PATH, response_model=EvaluationOut)
async def evaluation(exchange: SystemExchange, request: Request, body: EvaluationIn) -> Response:
    """Decide whether a system may export a dataset to a recipient. The answer is recorded before it is sent."""
    return await decide_job(exchange, request, Evaluation(exchange.credential, _question(body)))


@authzen.post(EVALUATIONS_PATH, response_model=EvaluationsOut | EvaluationOut)
async def evaluations(exchange: SystemExchange, request: Request, body: EvaluationsIn) -> Response:
    """Answer several questions in one transaction; without `evaluations` it behaves as a single one."""
    proof = exchange.credential
    if not body.evaluations:
        try:
            single = body.single()
        except ValidationError as error:
            raise _malformed(error) from error
        return await decide_job(exchange, request, Evaluation(proof, _question(single)))
    questions = [
        Failed(msgspec.Raw(item.model_dump_json().encode())) if isinstance(item, FailedOut) else _question(item)
        for item in body.questions()
    ]
    return await decide_job(exchange, request, Evaluations(proof, questions, body.semantic))


def _question(body: EvaluationIn) -> Question:
    return convert(Question, body.model_dump(exclude_unset=True))


async def decide_job(_: Exchange, request: Request, job: Job) -> Response:
    """Answer a job after a batch has decided it; the batch looks the caller up anew, with all other rows."""
    gate: Gate = request.app.state.gate
    reply = await gate.decide(job)
    return Response(reply.body, reply.status, reply.headers, None if "Content-Type" in reply.headers else JSON)


def _searcher(exchange: Exchange, request: Request, caller: Caller) -> search.Searcher:
    return search.Searcher(caller, exchange.credential, request.app.state.book)


@authzen.post(SUBJECT_SEARCH_PATH, response_model=SubjectSearchOut)
async def search_subject(exchange: SystemExchange, request: Request, body: SubjectSearchIn) -> Response:
    """List the systems that may export a dataset to a recipient. For exporters of the dataset's handler."""
    return await exchange.answer_question(
        lambda tx, caller: search.subjects(tx, _searcher(exchange, request, caller), body), gate="join"
    )


@authzen.post(RESOURCE_SEARCH_PATH, response_model=ResourceSearchOut)
async def search_resource(exchange: SystemExchange, request: Request, body: ResourceSearchIn) -> Response:
    """List the datasets that a system may export to a recipient, of handlers for which the caller is an exporter."""
    return await exchange.answer_question(
        lambda tx, caller: search.resources(tx, _searcher(exchange, request, caller), body), gate="join"
    )


@authzen.post(ACTION_SEARCH_PATH, response_model=ActionSearchOut)
async def search_action(exchange: SystemExchange, request: Request, body: ActionSearchIn) -> Response:
    """List the actions that a system may take on a dataset: `export` to the recipient, or none."""
    return await exchange.answer_question(
        lambda tx, caller: search.actions(tx, _searcher(exchange, request, caller), body), gate="join"
    )


@authzen.get("/.well-known/authzen-configuration")
async def metadata(request: Request, response: Response) -> MetadataOut:
    """Return the endpoints of this decision point."""
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
