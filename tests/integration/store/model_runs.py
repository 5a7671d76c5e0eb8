"""How the stateful tests are run: how much, from which seed, and what is said when they fail.

AGENTCOORD_STORE_EXAMPLES=40 python -m pytest tests/integration/store -k model    # forty times as much
AGENTCOORD_STORE_SEED=123 ...                                                     # that run again
"""

from __future__ import annotations

import os
import random

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

TIMES = int(os.environ.get("AGENTCOORD_STORE_EXAMPLES", "1"))
"""How many times as many examples as in the default run."""


def seed_of_this_run() -> int:
    """A seed, printed so that a failing run can be repeated; `AGENTCOORD_STORE_SEED` sets it."""
    given = os.environ.get("AGENTCOORD_STORE_SEED")
    number = int(given) if given else random.randrange(1 << 32)
    print(f"AGENTCOORD_STORE_SEED={number}")
    return number


def run_machine(machine: type[RuleBasedStateMachine], *, examples: int, steps: int) -> None:
    """Run a machine with a printed seed. A failure is made small only in a longer run: it takes minutes."""
    phases = [Phase.generate] if TIMES == 1 else [Phase.generate, Phase.shrink]
    limits = settings(
        max_examples=examples * TIMES,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        phases=phases,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(seed_of_this_run())(machine), settings=limits)
