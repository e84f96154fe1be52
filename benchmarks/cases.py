"""Cases T1 to T5: what is trained, on which cores, and the ratio to reach."""

import dataclasses
from typing import Any

import numpy as np

import jaxscale as js
from benchmarks.peers.config import Config
from jaxscale.emergence._data import n_control_bits

LEARNING_RATES = {"sgd": 0.1, "adam": 1e-3}
OPTIMIZERS = {"sgd": js.Sgd(), "adam": js.Adam()}
FEW_INPUTS = 64  # per skill: an evaluation that is meant to cost nothing
LEARNS_AFTER = 500  # steps


@dataclasses.dataclass(frozen=True)
class Case:
    """A grid of `n_runs` seeds of one network; `cores=None` is every core.

    `n_steps` keeps one call near a second on two cores; where evaluation is timed, `n_records` of
    `n_inputs` per skill are spread over it. `goal` is the ratio to reach, for any optimizer,
    and `most_bytes` what a run in flight may take.
    """

    width: int
    batch_size: int
    n_runs: int
    n_steps: int
    goal: float
    n_skills: int = 5
    n_bits: int = 32
    n_records: int = 20
    n_inputs: int = 4096
    cores: int | None = None
    most_bytes: float | None = None

    def tiny(self) -> "Case":
        """The same case cut to what shows that it works."""
        return dataclasses.replace(
            self,
            batch_size=min(self.batch_size, 200),
            n_runs=min(self.n_runs, 4),
            n_steps=min(self.n_steps, 8),
            n_records=2,
            n_inputs=FEW_INPUTS,
        )

    @property
    def flops(self) -> float:
        """Per run-step: forward, gradient of the hidden and of the output layer.

        Control bits of the first skills cost a product, those of the others a gather.
        """
        n_inputs = self.n_bits + n_control_bits(self.n_skills)
        return self.batch_size * self.width * (4.0 * n_inputs + 8.0)


CASES = {
    "T1": Case(16, 256, n_runs=64, n_steps=1000, goal=45),
    "T2": Case(64, 256, n_runs=32, n_steps=1000, goal=25),
    "T3a": Case(64, 2000, n_runs=8, n_steps=500, goal=7.5),
    "T3b": Case(256, 2000, n_runs=4, n_steps=300, goal=4),
    "T4": Case(1000, 20_000, n_runs=2, n_steps=12, goal=6, n_records=2, most_bytes=16 * 2**20),
    "T5": Case(
        256, 20_000, n_runs=2, n_steps=12, goal=6.5, n_skills=500, n_bits=100, n_records=2,
        n_inputs=1024, cores=1,
    ),
}  # fmt: skip


def case_of(name: str, tiny: bool) -> Case:
    """A case by name, in full or tiny."""
    return CASES[name].tiny() if tiny else CASES[name]


def system_of(case: Case, optimizer: str, **more: Any) -> js.emergence.ParityNetwork:
    """The system of a case; it records its first and last step on few inputs unless told else."""
    disjoint = case.n_skills * 3 <= case.n_bits
    fields = {
        "n_skills": case.n_skills,
        "n_bits": case.n_bits,
        "skills": js.emergence.DisjointSkills() if disjoint else js.emergence.RandomSkills(),
        "width": case.width,
        "batch_size": case.batch_size,
        "n_steps": case.n_steps,
        "learning_rate": LEARNING_RATES[optimizer],
        "optimizer": OPTIMIZERS[optimizer],
        "record": [0, case.n_steps],
        "n_evaluation": FEW_INPUTS,
    }
    return js.emergence.ParityNetwork(**{**fields, **more})


def config_of(system: js.emergence.ParityNetwork, optimizer: str) -> Config:
    """The same run for the peers."""
    random = isinstance(system.skills, js.emergence.RandomSkills)
    given = {"optimizer": optimizer, "random_skills": random}
    same = [f.name for f in dataclasses.fields(Config) if f.name not in given]
    return Config(**{n: np.asarray(getattr(system, n)).item() for n in same}, **given)


def check_trained(runs: Any) -> None:
    """Every run is finite and has moved, and long ones have learned: nothing was optimised away."""
    loss = runs["loss"].transpose("step", ...)
    start, end = loss.values[0], loss.values[-1]
    failed = bool((runs["status"] != js.Status.ok).any()) or bool((start == end).any())
    if failed or (runs["step"].values[-1] >= LEARNS_AFTER and end.mean() > 0.99 * start.mean()):
        raise RuntimeError(f"the runs did not train: loss {start.mean()} to {end.mean()}")


class Sweep:
    """A planned grid of seeds: compiled and checked when made, called for trained results."""

    def __init__(self, system: js.emergence.ParityNetwork, n_runs: int):
        self.run_steps = n_runs * system.n_steps
        self.plan = js.plan(js.Grid(system, seeds=n_runs))
        runs = self()
        check_trained(runs)
        self.compile_seconds = float(runs.attrs["compile_seconds"])
        self.device, self.commit = runs.attrs["device"], runs.attrs["git_commit"]

    def __call__(self) -> Any:
        """Train every run once."""
        return js.run(self.plan, progress=False)
