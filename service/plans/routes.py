"""HTTP of plans; nothing is stored."""

import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import Request, Response

from service.database import Transaction
from service.http.caller import ANYONE, Caller
from service.http.exchange import Exchange, allowed
from service.http.problems import Invalid
from service.http.router import QuestionRoute, room
from service.law.calendar import day_in_shanghai
from service.law.determination import determine
from service.law.explanation import answer
from service.law.facts import Facts, faults
from service.law.rules import RuleBook
from service.law.schemas import DeterminationOut, FactsIn, TextOut
from service.plans.planning import Plan, days_for, plans
from service.plans.schemas import ChangeOut, EvidenceTimeOut, PlanOut, PlansOut, StageTimeOut

router = room("plans", QuestionRoute)
NOTICE = TextOut(
    en="Times are estimates of practice. Whether a condition is true only you can know. This is not legal advice.",
    zh="时间为实务估计；条件是否成立由贵方判断。本内容不构成法律意见。",
)


@cache
def typical_times() -> Mapping[str, Mapping[str, int]]:
    """Return typical working days by kind, from `typical_times.toml`."""
    return tomllib.loads((Path(__file__).parent / "typical_times.toml").read_text(encoding="utf-8"))


@router.post("/v1/plans", response_model=PlansOut)
async def plan(exchange: Annotated[Exchange, allowed(ANYONE)], request: Request, body: FactsIn) -> Response:
    """List the ways to make a transfer lawful, cheapest first. Nothing is stored. Not legal advice."""
    book: RuleBook = request.app.state.book

    async def work(tx: Transaction, _: Caller) -> PlansOut:
        return plans_of(body, day_in_shanghai(tx.now), book)

    return await exchange.tell(work)


def plans_of(body: FactsIn, today: date, book: RuleBook) -> PlansOut:
    """Return the plans for facts as a caller sent them.

    Raises:
        Invalid: the facts contradict each other; each field is named.
    """
    facts = body.facts(today)
    wrong = faults(facts)
    if wrong:
        raise Invalid("No plan can be made on these facts.", errors=[(fault.pointer, fault.detail) for fault in wrong])
    found = plans(facts, book, typical_times())
    return PlansOut(
        as_of=facts.as_of,
        lawful_as_is=any(one.code == "as_is" for one in found),
        determination=DeterminationOut.model_validate(answer(facts, determine(facts, book), book)),
        plans=[_shown(one, book) for one in found],
        notice=NOTICE,
    )


def _shown(one: Plan, book: RuleBook) -> PlanOut:
    told = DeterminationOut.model_validate(answer(one.facts, one.determination, book))
    days, papers = typical_times()["stages"], typical_times()["evidence"]
    return PlanOut(
        code=one.code,
        text=TextOut.model_validate(one.text),
        conditions=[TextOut.model_validate(condition) for condition in one.conditions],
        changes=[ChangeOut(pointer=c.pointer, before=c.before, after=c.after) for c in one.changes],
        facts=body_of(one.facts),
        mechanism=told.mechanism,
        exemption=told.exemption,
        route=one.route,
        stages=[StageTimeOut(name=stage, working_days=days[stage]) for stage in one.stages],
        evidence=[
            EvidenceTimeOut(**item.model_dump(), working_days=days_for(papers, item.code)) for item in told.evidence
        ],
        obligations=told.obligations,
        working_days=one.working_days,
        determination=told,
    )


def body_of(facts: Facts) -> dict[str, Any]:
    """Return facts as `POST /v1/determinations` takes them."""
    body: dict[str, Any] = msgspec.to_builtins(facts)
    del body["recipient"]["key"]
    body["dataset"]["tags"] = sorted(facts.dataset.tags)
    return body
