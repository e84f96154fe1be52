"""Whatever happens to a store, in any order: no wrong number, and nothing finished is lost."""

import os
import secrets

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from machine import AnyMachine, Machine
from object_machine import ObjectMachine
from server import Server

LONG = int(os.environ.get("JAXSCALE_TEST_STEPS", "250"))  # of each machine and seed
RANDOM = int(os.environ.get("JAXSCALE_TEST_STEPS", "60"))  # where the seed is another every time
STEPS, STORES = 25, 4  # of one store, of killed processes


class Small(Machine):
    """Sweeps that need few programs."""

    axes, most_longer, chunks = ("offset",), 1, (1, 2)


def let_run(machine, n_steps, number):
    """Do at least so many steps with stores of a machine, drawn with a seed."""
    AnyMachine.n_steps = 0
    AnyMachine.tally.clear()
    while AnyMachine.n_steps < n_steps:
        options = settings(
            max_examples=max(1, (n_steps - AnyMachine.n_steps) // STEPS),
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        )
        run_state_machine_as_test(seed(number)(machine), settings=options)
        number += 1
    return AnyMachine.n_steps


def test_a_store_survives_what_may_happen_to_it():
    n_steps = let_run(Small, 100, 0)
    assert n_steps >= 100
    faults = ("stop", "kill", "full", "forbidden", "flip, refused")
    assert Machine.tally["complete"] > 0
    assert sum(Machine.tally[what] > 0 for what in faults) >= 3, Machine.tally  # few of each kind


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "rare"),
    [
        (Machine, ("longer", "ctrl-c")),
        (ObjectMachine, ("longer", "taken over")),
    ],
    ids=["disk", "objects"],
)
@pytest.mark.parametrize("number", [1, None], ids=["fixed", "random"])
def test_a_store_survives_whatever_happens_to_it(machine, rare, number, capsys):
    is_fixed, number = number is not None, secrets.randbelow(10**6) if number is None else number
    with capsys.disabled():
        print(f"\nseed {number}: ", end="", flush=True)
        n_steps = let_run(machine, LONG if is_fixed else RANDOM, number)
        print(f"{n_steps} steps, {dict(AnyMachine.tally)}")
    for what in rare if LONG >= 250 and is_fixed else ():  # chance may leave one out
        assert AnyMachine.tally[what] > 0, what


@pytest.mark.slow
def test_processes_are_killed_between_other_faults():
    rng, kills = np.random.default_rng(0), 0
    with Server() as server:
        for _ in range(STORES):
            machine = Machine()
            for fault in ("kill", "full", "forbidden", "ctrl-c", None):
                kills += machine.kill_a_process(server, rng)
                machine.attempt(machine.sweep, fault and (fault, int(rng.integers(1, 60))))
            assert machine.exists
            machine.teardown()
    assert kills >= STORES // 2  # others end before the kill
