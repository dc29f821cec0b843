"""HTTP of plans; nothing is stored."""

import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from fastapi import Request, Response
from pydantic import RootModel, model_validator

from service.access.caller import Caller
from service.clock import day_in_shanghai
from service.database.session import Transaction
from service.http.exchange import AnyExchange
from service.http.router import QuestionRoute, api_router
from service.law.determination import determine
from service.law.explanation import render_determination
from service.law.facts import Facts, find_faults
from service.law.rule_book import RuleBook
from service.law.schemas import DeterminationOut, FactsIn, TextOut
from service.transfers.case import case_of, facts_of
from service.transfers.requests import resolve_planned_content
from service.transfers.tables import Transfer
from service.validation.problems import Invalid
from service.whatif.plan_schemas import ChangeOut, EvidenceTimeOut, PlanOut, PlansOut, RegisteredIn, StageTimeOut
from service.whatif.plans import Plan, days_for, plans

router = api_router("plans", QuestionRoute)
NOTICE = TextOut(
    en="Times are estimates of practice. Whether a condition is true only you can know. This is not legal advice.",
    zh="时间为实务估计；条件是否成立由贵方判断。本内容不构成法律意见。",
)


@cache
def typical_times() -> Mapping[str, Mapping[str, int]]:
    """Return typical working days by kind, from `typical_times.toml`."""
    return tomllib.loads((Path(__file__).parent / "typical_times.toml").read_text(encoding="utf-8"))


class PlanIn(RootModel[FactsIn | RegisteredIn]):
    """Facts, or references to the register: the type of `handler` decides, an object of facts or a name."""

    @model_validator(mode="wrap")
    @classmethod
    def _is_one_of_two(cls, value: Any, _: Any) -> Any:
        is_named = isinstance(value, dict) and ("datasets" in value or isinstance(value.get("handler"), str))
        return cls.model_construct((RegisteredIn if is_named else FactsIn).model_validate(value))


@router.post("/v1/plans", response_model=PlansOut)
async def plan(exchange: AnyExchange, request: Request, body: PlanIn) -> Response:
    """List the ways to make a transfer lawful, cheapest first. Nothing is stored. Not legal advice.

    Of facts as they are stated or, where `handler`, `datasets` and `recipient` are named by id or key, as they are registered.
    """
    book: RuleBook = request.app.state.book

    async def work(tx: Transaction, caller: Caller) -> PlansOut:
        today = day_in_shanghai(tx.now)
        if isinstance(body.root, RegisteredIn):
            return plans_on(await registered_facts(tx, caller, body.root), book)
        return plans_of(body.root, today, book)

    return await exchange.answer_question(work)


async def registered_facts(tx: Transaction, caller: Caller, registered: RegisteredIn) -> Facts:
    """Return the facts of a transfer of what is registered, with the year's count so far.

    Raises:
        Invalid: something is not registered, or what is stated contradicts it; each field is named.
    """
    transfer = Transfer(
        **await resolve_planned_content(tx, caller, registered.model_dump(exclude={"as_of", "purpose"}))
    )
    return facts_of(await case_of(tx, transfer), registered.as_of or day_in_shanghai(tx.now))


def plans_of(body: FactsIn, today: date, book: RuleBook) -> PlansOut:
    """Return the plans for facts as a caller sent them.

    Raises:
        Invalid: the facts contradict each other; each field is named.
    """
    facts = body.facts(today)
    wrong = find_faults(facts)
    if wrong:
        raise Invalid("No plan can be made on these facts.", errors=[(fault.pointer, fault.detail) for fault in wrong])
    return plans_on(facts, book)


def plans_on(facts: Facts, book: RuleBook) -> PlansOut:
    """Return the plans for facts without faults."""
    options = plans(facts, book, typical_times())
    return PlansOut(
        as_of=facts.as_of,
        lawful_as_is=any(option.code == "as_is" for option in options),
        determination=DeterminationOut.model_validate(render_determination(facts, determine(facts, book), book)),
        plans=[_present_plan(option, book) for option in options],
        notice=NOTICE,
    )


def _present_plan(option: Plan, book: RuleBook) -> PlanOut:
    determination = DeterminationOut.model_validate(render_determination(option.facts, option.determination, book))
    days, evidence_days = typical_times()["stages"], typical_times()["evidence"]
    return PlanOut(
        code=option.code,
        text=TextOut.model_validate(option.text),
        conditions=[TextOut.model_validate(condition) for condition in option.conditions],
        changes=[ChangeOut(pointer=c.pointer, before=c.before, after=c.after) for c in option.changes],
        facts=body_of(option.facts),
        mechanism=determination.mechanism,
        exemption=determination.exemption,
        route=option.route,
        stages=[StageTimeOut(name=stage, working_days=days[stage]) for stage in option.stages],
        evidence=[
            EvidenceTimeOut(**item.model_dump(), working_days=days_for(evidence_days, item.code))
            for item in determination.evidence
        ],
        obligations=determination.obligations,
        working_days=option.working_days,
        determination=determination,
    )


def body_of(facts: Facts) -> dict[str, Any]:
    """Return facts as `POST /v1/determinations` takes them."""
    body: dict[str, Any] = msgspec.to_builtins(facts)
    del body["recipient"]["key"], body["recipient"]["name"]
    body["dataset"]["tags"] = sorted(facts.dataset.tags)
    return body
