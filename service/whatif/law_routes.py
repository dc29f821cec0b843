"""HTTP of the law engine; nothing is stored."""

from datetime import date
from typing import Annotated

from fastapi import Query, Request, Response

from service.access.caller import Caller
from service.clock import day_in_shanghai
from service.database.session import Transaction
from service.http.exchange import AnyExchange
from service.http.router import QuestionRoute, api_router
from service.law.calendar import CalendarNotCovered, working_days_after, working_days_before
from service.law.determination import determine
from service.law.explanation import render_determination
from service.law.facts import FIRST_DAY, find_faults
from service.law.rule_book import RuleBook
from service.law.schemas import Day, DeterminationOut, FactsIn, InstrumentsOut, RulesOut, WorkingDaysOut
from service.validation.problems import Invalid
from service.validation.text_types import NearDay

router = api_router("law", QuestionRoute)


@router.post("/v1/determinations", response_model=DeterminationOut)
async def determine_facts(exchange: AnyExchange, request: Request, body: FactsIn) -> Response:
    """Determine what the law asks for, given facts. Nothing is stored. Not legal advice."""
    book: RuleBook = request.app.state.book

    async def work(tx: Transaction, _: Caller) -> DeterminationOut:
        return determination_of(body, day_in_shanghai(tx.now), book)

    return await exchange.answer_question(work)


def determination_of(body: FactsIn, today: date, book: RuleBook) -> DeterminationOut:
    """Return the determination of facts as a caller sent them.

    Raises:
        Invalid: the facts contradict each other; each field is named.
    """
    facts = body.facts(today)
    wrong = find_faults(facts)
    if wrong:
        raise Invalid(
            "No determination can be made on these facts.", errors=[(fault.pointer, fault.detail) for fault in wrong]
        )
    return DeterminationOut.model_validate(render_determination(facts, determine(facts, book), book))


@router.get("/v1/law/rules", response_model=RulesOut)
async def rules(exchange: AnyExchange, request: Request, as_of: Annotated[Day | None, Query()] = None) -> Response:
    """List the rules in force on a day, in the order in which they are asked."""
    book: RuleBook = request.app.state.book

    async def work(tx: Transaction, _: Caller) -> RulesOut:
        day = as_of or day_in_shanghai(tx.now)
        if day < FIRST_DAY:
            raise Invalid(
                "The service knows the law from 2021-09-01.", errors=[("/as_of", "Choose 2021-09-01 or later.")]
            )
        version, own = book.version, None if book.policy is None else book.policy.hash
        content = {"as_of": day, "rules_version": version, "policy": own, "items": book.rules_on(day)}
        return RulesOut.model_validate(content)

    return await exchange.read(work)


@router.get("/v1/law/instruments", response_model=InstrumentsOut)
async def instruments(exchange: AnyExchange, request: Request) -> Response:
    """List the laws, regulations and standards that the rules cite."""
    book: RuleBook = request.app.state.book

    async def work(_: Transaction, __: Caller) -> InstrumentsOut:
        return InstrumentsOut.model_validate({"rules_version": book.version, "items": list(book.instruments)})

    return await exchange.read(work)


@router.get("/v1/law/working-days", response_model=WorkingDaysOut)
async def working_days(
    exchange: AnyExchange,
    start: Annotated[NearDay, Query(description="The day before the term begins.")],
    days: Annotated[int, Query(ge=-400, le=400, description="Working days; below zero: before `start`.")],
) -> Response:
    """Count working days with the State Council's holidays and make-up days; 422 where a year's are not known yet."""

    async def work(_: Transaction, __: Caller) -> WorkingDaysOut:
        try:
            end = working_days_after(start, days) if days >= 0 else working_days_before(start, -days)
        except CalendarNotCovered as gap:
            raise Invalid(
                f"{gap} Choose a term within the years whose holidays are published.", errors=[("/days", str(gap))]
            ) from gap
        return WorkingDaysOut(start=start, days=days, end=end)

    return await exchange.read(work)
