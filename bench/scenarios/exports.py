"""Reservations of exports, all on one permit and spread over many, beside evaluations; and a quota that ends under load."""

import itertools
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from bench import load
from bench.contestants import outbound
from bench.register import Register, rows, sql
from bench.report import Bar, Section, figure, ratio_told, table
from bench.request import UUID, Request
from bench.stage import MAIN, Rounds, Stage, Target

LEAST: Final = 0.5
QUOTA: Final = 150
"""Persons left on the permit that is raced for."""

EVALUATION, HOT, MANY = "evaluations", "exports on one permit", "exports on many permits"


@dataclass(frozen=True, slots=True)
class Race:
    """What became of a quota that everybody wanted: answers by kind, and what PostgreSQL holds."""

    granted: int
    refused: int
    reserved: int

    @property
    def is_kept(self) -> bool:
        """Whether nothing went over, and each yes is a row."""
        return self.granted == self.reserved <= QUOTA


def run(stage: Stage) -> Section:
    """Measure on the middle register, each run on a lane of its own."""
    register = stage.register(stage.pace.sizes[1])
    lanes = itertools.count()
    used: list[range] = []
    with ExitStack() as stack:
        server = stage.serve(stack, register)

        def asking(*, only_first: bool) -> Callable[[], Request]:
            def asked() -> Request:
                lane = register.lane(next(lanes))
                used.append(lane[:1] if only_first else lane)
                return reservation(server.base, register, lane[0], lane[0] if only_first else lane[-1])

            return asked

        contestants = {
            EVALUATION: Target(outbound.evaluation(server.base, register.key, register.size), server),
            HOT: Target(asking(only_first=True), server),
            MANY: Target(asking(only_first=False), server),
        }
        rounds = stage.interleave("exports", contestants)
        race = _race(stage, server.base, register, register.lane(stage.pace.lanes - 2)[0])
    over = _over_quota(register)
    if not race.is_kept or over:
        stage.fail(f"exports: a quota was not kept ({race}, {over} permits over theirs)")
    return _section(rounds, race, over)


def reservation(base: str, register: Register, first: int, last: int) -> Request:
    """Reserve one person of a dataset between two numbers."""
    dataset = f"bench/{{{{ randomInt({first}, {last}) }}}}"
    body = {"dataset": dataset, "recipient": outbound.RECIPIENT, "purpose": outbound.PURPOSE, "persons": 1}
    return Request(
        url=f"{base}/v1/exports",
        body=json.dumps(body | {"sensitive_persons": 0}),
        headers=outbound.bearer(register.key) | {"Idempotency-Key": UUID},
        expects='"status":"reserved"',
        status=201,
    )


def _permit(number: int) -> str:
    return f"pm_{number:026d}"


def _race(stage: Stage, base: str, register: Register, number: int) -> Race:
    """Let everybody ask for the persons of one permit until none is left."""
    sql(register.url, f"update permits set persons = {QUOTA} where id = '{_permit(number)}'")  # noqa: S608 - our own number
    wanted = reservation(base, register, number, number)
    either = Request(wanted.url, wanted.body, wanted.expects, wanted.headers, status=201, refused=403)
    run = load.run(either, MAIN, stage.pace.seconds, stage.folder)
    if (fault := run.fault()) is not None:
        stage.fail(f"exports, the race: {fault}")
    held = rows(
        register.url, "select coalesce(sum(persons), 0)::bigint from exports where permit = $1", _permit(number)
    )
    return Race(run.statuses.get(201, 0), run.statuses.get(403, 0), int(held[0][0]))


def _over_quota(register: Register) -> int:
    """Return how many permits have more persons reserved than they allow."""
    query = """
        select count(*) from (
            select permit from exports join permits on permits.id = exports.permit
            group by permit, permits.persons having sum(exports.persons) > permits.persons
        ) as over
    """
    return int(rows(register.url, query)[0][0])


def _section(rounds: Rounds, race: Race, over: int) -> Section:
    lines = [
        [
            name,
            figure(rounds.median(name)),
            figure(rounds.ratio(name, EVALUATION), 2),
            figure(rounds.median(name, lambda run: run.median), 2),
            figure(rounds.p99(name), 2),
        ]
        for name in (EVALUATION, HOT, MANY)
    ]
    ratio = rounds.ratio(HOT, EVALUATION)
    is_kept = race.is_kept and not over
    # A quota that nobody was refused for has not been raced for: too slow a server shows nothing of it.
    was_raced = race.refused > 0 or not is_kept
    kept = ("never over quota" if was_raced else "its quota was not reached") if is_kept else "OVER QUOTA"
    return Section(
        "exports",
        {
            "table": table(("", "requests/s", "of evaluations", "median, ms", "p99, ms"), lines),
            "quota": str(QUOTA),
            "granted": f"{race.granted:,}",
            "refused": f"{race.refused:,}",
            "reserved": f"{race.reserved:,}",
            "over": str(over),
        },
        bars=[
            Bar(
                "export reservations on one hot permit, 64 connections, against evaluations",
                f"at least {LEAST}, never over quota",
                "not measured" if ratio is None else f"{ratio_told(ratio)}, {kept}",
                None if ratio is None or not was_raced else ratio >= LEAST and is_kept,
            )
        ],
    )
