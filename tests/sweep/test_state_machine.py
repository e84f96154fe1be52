"""Whatever happens to a store, in any order: no wrong number, and nothing finished is lost."""

import os
import secrets

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import Machine
from server import Server

LONG = int(os.environ.get("JAXSCALE_TEST_STEPS", "2000"))  # of the machine, in the slow step
STEPS = 25  # of one store


class Small(Machine):
    """Sweeps that need few programs."""

    axes, most_longer = ("offset",), 1


def let_run(machine, n_steps, number):
    """Do at least so many steps with stores of a machine, drawn with a seed."""
    Machine.n_steps = 0
    Machine.tally.clear()
    while Machine.n_steps < n_steps:
        options = settings(
            max_examples=max(1, (n_steps - Machine.n_steps) // STEPS),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        run_state_machine_as_test(seed(number)(machine), settings=options)
        number += 1
    return Machine.n_steps


def test_a_store_survives_what_may_happen_to_it():
    n_steps = let_run(Small, 100, 0)
    assert n_steps >= 100
    for what in ("complete", "stop", "kill", "full", "forbidden", "flip, refused"):
        assert Machine.tally[what] > 0, what


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, None], ids=["fixed", "random"])
def test_a_store_survives_whatever_happens_to_it(number, capsys, monkeypatch):
    number = secrets.randbelow(10**6) if number is None else number
    with capsys.disabled(), Server() as server:
        print(f"\nseed {number}: ", end="", flush=True)
        monkeypatch.setattr(Machine, "server", server)
        print(f"{let_run(Machine, LONG, number)} steps, {dict(Machine.tally)}")
    for what in ("longer", "SIGKILL", "ctrl-c") if LONG >= 2000 else ():
        assert Machine.tally[what] > 0, what
