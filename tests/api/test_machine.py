"""All actors, all acts, any order: a short run here, a long one with `make soak`."""

import os
from collections import Counter

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.conftest import Clock
from tests.machine import Cast, Workflow
from tests.world import World

EXAMPLES = int(os.environ.get("OUTBOUND_SOAK_EXAMPLES", "8"))
STEPS = int(os.environ.get("OUTBOUND_SOAK_STEPS", "25"))


def test_no_order_of_acts_gets_anything_out_that_should_not_go(world: World, days_ahead: Clock) -> None:
    class Here(Workflow):
        pass

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
        ),
    )
    print(dict(Here.seen))  # noqa: T201 - shown by `make soak`
    wanted = {"permits", "_given", "draft"}
    if EXAMPLES >= 100:
        wanted |= {"take_back", "lend", "change", "renew", "export", "act_on_a_permit", "narrow"}
    assert wanted <= set(Here.seen)
