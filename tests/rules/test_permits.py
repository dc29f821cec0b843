"""Permits: where one stands is the same in Python, in queries, at the gate and for the verifier, on generated rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime
from itertools import product
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import insert, select

from service.clock import day_in_shanghai
from service.gate.batch_read import READ, SEPARATOR
from service.gate.decide import PermitState, _state_denial
from service.law.facts import Count
from service.obligations import obligation_rules
from service.obligations.queries import state_condition
from service.obligations.tables import Obligation
from service.permits.queries import not_ended, status_condition
from service.permits.standing import Standing, has_ended, is_effective, is_personal, is_weighty, standing
from service.permits.tables import Permit, PermitDataset
from service.registry.tables import Dataset, Handler, Recipient
from service.transfers.tables import Evidence
from service.verifier.replay import compute_standing
from tests.rules.rows import DAY, INSTANTS, TICK, filled, written_and_taken_back

Row = dict[str, Any]
CASES = 600
TAGS = ["core", "important", "personal", "sensitive"]


def state_of(row: Row, today: date) -> obligation_rules.State:
    """The state of an obligation by the rule in Python."""
    return obligation_rules.standing(row["state"], row["due_on"], today, Obligation(**row).settles_on)


@dataclass(frozen=True)
class Case:
    """A permit with its rows."""

    permit: Row
    datasets: list[Row]
    obligations: list[Row]
    evidence: list[Row]

    @property
    def tags(self) -> list[str]:
        return [tag for dataset in self.datasets for tag in dataset["tags"]]

    def is_overdue(self, today: date) -> bool:
        """True if an overdue obligation suspends the permit, by the rule of obligations in Python."""
        return any(
            row["blocks"]
            and (row["permit"] == self.permit["id"] or (row["permit"] is None and is_weighty(self.tags)))
            and state_of(row, today) is obligation_rules.State.OVERDUE
            for row in self.obligations
        )

    def standing(self, today: date) -> Standing:
        row = self.permit
        return standing(
            row["status"],
            row["valid_until"],
            Count(row["persons"], row["sensitive_persons"]),
            Count(row["sent_persons"], row["sent_sensitive_persons"]),
            today,
            is_overdue=self.is_overdue(today) or any(one["ended_at"] is not None for one in self.evidence),
            is_personal=is_personal(self.tags),
        )

    def verified(self, now: datetime) -> str:
        """The status that the verifier computes from records."""
        row = self.permit
        names = ("id", "handler", "persons", "sensitive_persons", "evidence")
        sent = {"persons": row["sent_persons"], "sensitive_persons": row["sent_sensitive_persons"]}
        record = {name: row[name] for name in names} | {"stored_status": row["status"], "sent": sent}
        record |= {"valid_until": row["valid_until"].isoformat(), "datasets": self.datasets}
        instants = [
            one | {"due_on": one["due_on"].isoformat(), "ended_at": one["ended_at"] and one["ended_at"].isoformat()}
            for one in self.obligations
        ]
        status: str = compute_standing(record, instants, {one["id"]: one for one in self.evidence}, now)["status"]
        return status


def case_of(number: int, random: Random, now: datetime) -> Case:
    """Return a permit of a handler of its own, with each value on an edge."""
    today, handler, permit = day_in_shanghai(now), f"hd_{number:026}", f"pm_{number:026}"
    days = [today - DAY, today, today + DAY]
    begins = datetime.combine(today, datetime.min.time(), now.tzinfo) - 8 * (DAY / 24)  # of the day, in Shanghai
    evidence = [
        filled(Evidence, id=f"ev_{number:024}_{place}", ended_at=random.choice([None, None, None, now - DAY]))
        for place in range(random.randrange(3))
    ]
    quota = random.choice([(0, 0), (10, 0), (10, 5)])
    sent = [random.choice([0, max(0, most - 1), most, most + 1]) for most in quota]
    row = filled(
        Permit,
        id=permit,
        transfer=f"tr_{number:026}",
        handler=handler,
        recipient="rc_1",
        persons=quota[0],
        sensitive_persons=quota[1],
        sent_persons=sent[0],
        sent_sensitive_persons=sent[1],
        valid_from=random.choice(days),
        valid_until=random.choice(days),
        status=random.choice(["active", "active", "active", "suspended", "revoked"]),
        evidence=[one["id"] for one in evidence],
        claims={},
        requirements=[],
        conditions=[],
    )
    datasets = [
        filled(
            PermitDataset,
            permit=permit,
            dataset=f"ds_{number:024}_{place}",
            recipient="rc_1",
            tags=random.sample(TAGS, random.randrange(3)),
            fields=[],
        )
        for place in range(random.choice([1, 2]))
    ]
    obligations = [
        filled(
            Obligation,
            id=f"ob_{number:024}_{place}",
            handler=handler,
            permit=random.choice([permit, permit, None, None, "pm_another"]),
            due_on=random.choice([today - DAY, today - DAY, today, today + DAY]),
            blocks=random.random() < 0.8,
            state=random.choice(["open", "open", "open", "done", "void"]),
            ended_at=random.choice([None, None, begins - TICK, begins, begins + DAY - TICK, begins + DAY, now]),
        )
        for place in range(random.choice([0, 0, 1, 2]))
    ]
    return Case(row, datasets, obligations, evidence)


async def permits_at_the_gate(connection: Any, cases: list[Case], now: datetime, today: date) -> dict[str, Any]:
    """Return what the gate reads of each permit, by a question about its first dataset."""
    questions = [["-"] * len(cases), [case.datasets[0]["dataset"] for case in cases], [""] * len(cases)]
    questions += [["rc_1"] * len(cases), [""] * len(cases), [""] * len(cases)]
    raw = await connection.get_raw_connection()
    arguments = [SEPARATOR.join(texts) for texts in questions]
    rows = await raw.driver_connection.fetch(READ, *arguments, now, today, None, None)
    return {row["permit"]: row for row in rows}


@pytest.mark.parametrize("now", INSTANTS)
def test_a_permit_stands_in_sql_where_it_stands_in_python(empty_database: str, now: datetime) -> None:
    random, today = Random(7), day_in_shanghai(now)  # noqa: S311 - the same rows on each run
    cases = [case_of(number, random, now) for number in range(CASES)]

    async def run() -> tuple[dict[str, set[Standing]], set[str], dict[str, Any]]:
        async with written_and_taken_back(empty_database) as connection:
            await connection.execute(insert(Recipient), [filled(Recipient, id="rc_1", key="partner")])
            for case in cases:
                await connection.execute(
                    insert(Handler), [filled(Handler, id=case.permit["handler"], key=case.permit["handler"])]
                )
            rows = [row for case in cases for row in case.datasets]
            await connection.execute(
                insert(Dataset),
                [
                    filled(Dataset, id=row["dataset"], key=row["dataset"], handler=case.permit["handler"])
                    for case in cases
                    for row in case.datasets
                ],
            )
            await connection.execute(insert(Permit), [case.permit for case in cases])
            await connection.execute(insert(PermitDataset), rows)
            await connection.execute(insert(Obligation), [row for case in cases for row in case.obligations])
            await connection.execute(insert(Evidence), [row for case in cases for row in case.evidence])
            in_queries: dict[str, set[Standing]] = {case.permit["id"]: set() for case in cases}
            for status in Standing:
                for (ident,) in await connection.execute(select(Permit.id).where(status_condition(status, today))):
                    in_queries[ident].add(status)
            for state in obligation_rules.State:
                found = await connection.execute(select(Obligation.id).where(state_condition(state, today)))
                wanted = {row["id"] for case in cases for row in case.obligations if state_of(row, today) is state}
                assert {row[0] for row in found} == wanted, state
            alive = {row[0] for row in await connection.execute(select(Permit.id).where(not_ended(today)))}
            return in_queries, alive, await permits_at_the_gate(connection, cases, now, today)

    in_queries, alive, at_the_gate = asyncio.run(run())
    seen = Counter(case.standing(today) for case in cases)
    assert min(seen[status] for status in Standing) >= 20, seen
    for case in cases:
        wanted, permit = case.standing(today), case.permit
        assert in_queries[permit["id"]] == {wanted}, case
        assert (permit["id"] in alive) is not has_ended(permit["status"], permit["valid_until"], today), case
        assert has_ended(permit["status"], permit["valid_until"], today) is (
            wanted in {Standing.REVOKED, Standing.EXPIRED}
        )
        assert case.verified(now) == wanted, case
        row = at_the_gate[permit["id"]]
        assert row["permit_is_overdue"] is case.is_overdue(today), case
        assert row["permit_has_evidence"] is all(one["ended_at"] is None for one in case.evidence), case


TODAY = day_in_shanghai(INSTANTS[0])
DAYS = [TODAY - DAY, TODAY, TODAY + DAY]


@pytest.mark.parametrize(
    ("stored", "first", "last", "is_overdue"),
    list(product(["active", "suspended", "revoked"], DAYS, DAYS, [False, True])),
)
def test_the_gate_lets_nothing_go_under_a_permit_that_does_not_stand(
    stored: str, first: date, last: date, *, is_overdue: bool
) -> None:
    """The reason may be another: the gate reports a suspension before an end."""
    anybody = Count(10, 10)
    permit = cast(
        "PermitState", SimpleNamespace(status=stored, valid_from=first, valid_until=last, is_overdue=is_overdue)
    )
    stands = standing(stored, last, anybody, Count(), TODAY, is_overdue=is_overdue) is Standing.ACTIVE
    assert (_state_denial(permit, TODAY) is None) is (stands and first <= TODAY)
    assert is_effective(stored, first, last, TODAY) is (
        standing(stored, last, anybody, Count(), TODAY) is Standing.ACTIVE and first <= TODAY
    )
