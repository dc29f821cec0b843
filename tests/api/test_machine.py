"""All actors, all acts, any order: a short run here, a long one with `make soak`."""

import os
from collections import Counter

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import Clock
from tests.machine import TAKEN, Cast, Workflow
from tests.world import World

EXAMPLES = int(os.environ.get("OUTBOUND_SOAK_EXAMPLES", "5"))
STEPS = int(os.environ.get("OUTBOUND_SOAK_STEPS", "25"))

WANTED = {"approve", "draft", "permits", "submit"}
"""What must have been done in a run for it to show anything."""

if EXAMPLES >= 100:
    WANTED |= {
        *{"accept_terms", "answer_finding", "assign", "carry_over", "change", "reject", "renew", "return", "take_back"},
        *{"add_evidence", "replace_evidence", "verify_evidence", "withdraw_evidence", "recuse", "withdraw"},
        *{"end_a_delegation", "give_a_role", "lend", "withdraw_a_role"},
        *{
            "suspend",
            "resume",
            "revoke",
            "narrow",
            "grade",
            "confirm",
            "change_facts",
            "change_scale",
            "move_recipient",
        },
        *{"ask", "export", "complete", "cancel", "complete_duty", "reopen_duty", "assign_duty", "queue", "comment"},
    }


def test_no_order_of_acts_gets_anything_out_that_should_not_go(
    world: World, database_url: str, days_ahead: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    class Here(Workflow):
        pass

    Here.database_url = database_url
    Here.world, Here.clock, Here.cast, Here.seen = world, days_ahead, Cast(world), Counter()
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize="OUTBOUND_SOAK_EXAMPLES" not in os.environ,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
            phases=[Phase.generate],
            report_multiple_bugs=False,
        ),
    )
    if EXAMPLES >= 100:
        with capsys.disabled():
            print(dict(sorted(Here.seen.items())))  # noqa: T201 - what was done, for whoever runs `make soak`
    assert WANTED - set(+Here.seen) == set()


@pytest.mark.parametrize("what", TAKEN)
def test_each_thing_that_is_taken_away_is_seen_at_once(
    world: World, database_url: str, days_ahead: Clock, what: str
) -> None:
    class Here(Workflow):
        pass

    Here.database_url = database_url
    Here.world, Here.clock, Here.cast, Here.seen = world, days_ahead, Cast(world), Counter()
    walked = 0 if what in {"delegation", "lender", "reviewer"} else 5
    machine = Here()
    machine.begin(0, 0, 150_000, walked, what, None, None, 0, fields=True)
    machine.everything_is_right()
    assert len(machine.permits) == (walked > 0)
