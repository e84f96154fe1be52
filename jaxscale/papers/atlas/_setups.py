"""What the superposition atlas runs: setups, which of them make sense, and sizes that fit.

A setup is a way to train (`OPTIMIZERS`), a student (`STUDENTS`) and its biases (`BIASES`). What
`EXCLUDED` names is not run, for the reason that stands there. Every other setup is one grid over
the data (a, b), the dimensions K and two rates, for the clock may be the number of steps or the sum
of the rates.

**Sizes of the scale `paper`**, chosen for two hours of two CPU cores. Measured on these at batch
128, in CPU-microseconds per step of one run (tied W, B frozen in W, W joint with B): N = 256,
K = 128: 480, 290, 850; K = 4: 180, 60, 180; N = 512, K = 256: 1,700, 1,100, 2,400; N = 1024,
K = 512: 7,800 (tied); steps of a trained W have become a third cheaper since. All setups at
N = 1024 would take a day. So all are mapped at N = 256, on the crowdings N/K = 2, 4, 8 and 64, with
3 seeds and 3,162 steps, in which Adam at 1e-3 can move a weight by 3; W joint with B costs most and
has one rate. The setups of `LEADS`, named before the map was run, have 8 seeds, enough for a
verdict. That the size does not decide is checked on the strongest lead at N = 1024 (all crowdings)
and N = 4096 (N/K = 64, where N = 256 has four dimensions only). The plan is 5,900 seconds of both
cores, and about 200 programs take ten minutes to compile.

Inputs have one active feature: the loss then has a closed form, so that rare features are not
missed by an evaluation set, and K = N an exact control; one check has the independent features of
the group's own code. Pretrained embeddings take 500 steps at 3e-3, a third of the default.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jaxscale._optimizers import Adam, AdamW, Sgd
from jaxscale._schedules import Constant, Cosine, TwoDrops, WarmUp
from jaxscale.superposition import (
    Bernoulli,
    FreshBatches,
    Identity,
    Joint,
    Linear,
    OneHot,
    Pretrained,
    RandomNormal,
    RandomUnit,
    Relu,
    ScaledIdentity,
    TeacherStudent,
    Tied,
    Zeros,
)
from jaxscale.sweep._grid import Grid

BATCH = 128
PER_DECADE = 12  # records
GAIN = 1.4  # of B = gI, as in the preset `superposition_interference`
CROWDINGS = (2, 4, 8, 64)


@dataclasses.dataclass(frozen=True)
class Way:
    """How weights are trained: what it is called, fields of the system, and its rates.

    `path` is the field of the rate; `own` the fields of biases that have a rate of their own.
    """

    text: str
    fields: Mapping[str, Any]
    path: str
    rates: tuple[float, ...]
    own: Mapping[str, Any]


OPTIMIZERS = {
    # half the stability limit of each W, and a quarter of that: a schedule that is constant
    "sgd": Way(
        "SGD",
        {"optimizer": Sgd(), "schedule": TwoDrops(first_at=0.0, last_at=0.0, last_ratio=1.0)},
        "schedule.last_ratio",
        (1.0, 0.25),
        {"bias_learning_rate": 1.0},
    ),
    "adam": Way(
        "Adam",
        {"optimizer": Adam(), "schedule": Constant(), "learning_rate": 1e-3},
        "learning_rate",
        (1e-3, 3e-3),
        {"bias_rate_factor": 10.0},
    ),
    # schedule and rate of the group's earlier code, with a weaker decay (theirs is 1/9 to 1), and
    # biases slower than the matrices where they have a rate of their own
    "adamw": Way(
        "AdamW, warm-up, cosine",
        {"optimizer": AdamW(weight_decay=1e-2), "learning_rate": 1e-2},
        "learning_rate",
        (1e-2, 3e-3),
        {"bias_rate_factor": 0.1},
    ),
}
STUDENTS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "small": ("B small", {"embedding": RandomUnit(), "initial": RandomNormal(scale=0.01)}),
    "identity": ("B = gI", {"embedding": RandomUnit(), "initial": ScaledIdentity(gain=GAIN)}),
    "joint": (
        "joint W",
        {"embedding": Joint(start=RandomUnit()), "initial": RandomNormal(scale=0.01)},
    ),
    "tied": ("tied W", {"embedding": Tied(start=RandomUnit())}),
    "pretrained": (
        "pretrained W",
        {
            "embedding": Pretrained(n_steps=500, batch_size=BATCH),
            "initial": RandomNormal(scale=0.01),
        },
    ),
}
BIASES = {
    "none": "no biases",
    "common": "biases at the common rate",
    "own": "biases at their own rate",
    "random": "biases from N(0, 1)",
}


@dataclasses.dataclass(frozen=True)
class Setup:
    """A way to train, a student and its biases, by their keys."""

    optimizer: str
    student: str
    biases: str

    @property
    def name(self) -> str:
        """Key of the setup's grid."""
        return f"{self.optimizer}-{self.student}-{self.biases}"

    @property
    def way(self) -> Way:
        """How its weights are trained."""
        return OPTIMIZERS[self.optimizer]

    @property
    def text(self) -> str:
        """The setup in words."""
        return f"{STUDENTS[self.student][0]}, {BIASES[self.biases]}"


EXCLUDED = {
    "a student that starts from nothing cannot lift a bias that starts below zero: half of its "
    "outputs would answer nothing for good": lambda s: (
        s.biases == "random" and s.student in ("small", "joint", "pretrained")
    ),
    "the interference that B = gI makes is for biases to silence: without them it is B small with "
    "a larger start": lambda s: s.student == "identity" and s.biases == "none",
}
COMBINATIONS = [Setup(o, s, b) for o in OPTIMIZERS for s in STUDENTS for b in BIASES]
SETUPS = [s for s in COMBINATIONS if not any(senseless(s) for senseless in EXCLUDED.values())]
STRONGEST = Setup("adam", "tied", "common")
LEADS = (
    STRONGEST,
    Setup("sgd", "tied", "common"),
    Setup("adamw", "tied", "random"),  # after the group's earlier code
    Setup("sgd", "identity", "own"),  # where interference dominates
    Setup("sgd", "small", "common"),
    Setup("adam", "small", "common"),
    Setup("sgd", "pretrained", "common"),
)


@dataclasses.dataclass(frozen=True)
class Design:
    """Sizes of a map: what all its setups share.

    - `n_features`, `crowdings`, `a`, `b`: N, the values of N/K, and those of the exponents.
    - `n_steps`, `n_rates`: steps of a run, and how many of the rates of each way.
    - `seeds`, `lead_seeds`: of a setup, and of one that was named a lead.
    """

    setups: tuple[Setup, ...]
    n_features: int
    crowdings: tuple[int, ...]
    a: tuple[float, ...]
    b: tuple[float, ...]
    n_steps: int
    n_rates: int
    seeds: int
    lead_seeds: int

    @property
    def record(self) -> tuple[int, ...]:
        """Step 0, and 12 steps per decade, among them the ends of all windows."""
        last = round(PER_DECADE * len(str(self.n_steps)))
        steps = {round(10 ** (i / PER_DECADE)) for i in range(last + 1)}
        return (0, *sorted(s for s in steps if s <= self.n_steps))

    def grid(
        self, way: Way, fields: Mapping[str, Any], *, latent: bool, n_rates: int, seeds: int
    ) -> Grid:
        """The grid of a setup, or of its control, which has no `latent` dimensions to sweep."""
        n = self.n_features
        fields = {"inputs": OneHot(), **self._schedule(way), **fields}
        if latent:
            fields["latent_size"] = n // min(self.crowdings)
        system = TeacherStudent(
            n_features=n,
            frequency_exponent=self.a[0],
            gradient=FreshBatches(batch_size=BATCH),
            n_steps=self.n_steps,
            record=self.record,
            **fields,
        )
        sizes = [n // c for c in self.crowdings]
        axes = {"frequency_exponent": self.a, "importance_exponent": self.b}
        axes |= {"latent_size": sizes} if latent else {}
        return Grid(system, axes | {way.path: way.rates[:n_rates]}, seeds)

    def _schedule(self, way: Way) -> dict[str, Any]:
        """Fields of the way; its warm-up is a tenth of the run, then a cosine to a twentieth."""
        warm_up = WarmUp(n_warm_up=self.n_steps // 10, then=Cosine(final_ratio=0.05))
        return {"schedule": warm_up, **way.fields}

    def grid_of(self, setup: Setup, **more: Any) -> Grid:
        """The grid of a setup."""
        way = setup.way
        bias = setup.biases != "none"
        scale = 1.0 if setup.biases == "random" else 0.0
        own = way.own if setup.biases == "own" else {}
        fields = {"decoder": Relu(bias=bias, bias_scale=scale), **STUDENTS[setup.student][1], **own}
        seeds = self.lead_seeds if setup in LEADS else self.seeds
        n_rates = 1 if setup.student == "joint" else self.n_rates
        return self.grid(way, fields | more, latent=True, n_rates=n_rates, seeds=seeds)

    def control_of(self, optimizer: str) -> Grid:
        """K = N, linear, trained in the same way: the control where no closed form applies."""
        fields: dict[str, Any] = {"embedding": Identity(), "initial": Zeros()}
        fields["decoder"] = Linear()  # pyright: ignore
        way, n = OPTIMIZERS[optimizer], self.n_rates
        return self.grid(way, fields, latent=False, n_rates=n, seeds=self.seeds)


QUICK = (STRONGEST, Setup("sgd", "small", "common"), Setup("sgd", "identity", "own"))
DESIGNS = {
    "quick": Design(QUICK, 64, (2, 8), (1.1, 2.0), (0.0, 1.0), 316, 1, 8, 8),
    "paper": Design(tuple(SETUPS), 256, CROWDINGS, (1.1, 1.5, 2.0), (0.0, 0.5, 1.0), 3162, 2, 3, 8),
}


def control_name(optimizer: str) -> str:
    """Key of the grid without superposition."""
    return f"{optimizer}-control"


def builders(scale: str) -> dict[str, Callable[[], Grid]]:
    """What builds each grid of a scale, by name, in the order in which they are run.

    First the leads and controls, then checks of size and inputs, then the other setups.
    """
    design = DESIGNS[scale]
    others = {s.name: functools.partial(design.grid_of, s) for s in design.setups}
    made: dict[str, Callable[[], Grid]] = {}
    made |= {s.name: others.pop(s.name) for s in LEADS if s in design.setups}
    for optimizer in dict.fromkeys(s.optimizer for s in design.setups if s.optimizer != "sgd"):
        made[control_name(optimizer)] = functools.partial(design.control_of, optimizer)
    if scale == "quick":
        return made
    large = dataclasses.replace(design, n_features=1024, n_rates=1, lead_seeds=2)
    made[f"{STRONGEST.name}-1024"] = functools.partial(large.grid_of, STRONGEST)
    largest = dataclasses.replace(large, n_features=4096, crowdings=(64,))
    made[f"{STRONGEST.name}-4096"] = functools.partial(largest.grid_of, STRONGEST)
    recipe = dataclasses.replace(design, n_rates=1, lead_seeds=3)
    independent = functools.partial(recipe.grid_of, LEADS[2], inputs=Bernoulli())
    return made | {"adamw-tied-random-bernoulli": independent} | others


def grids(scale: str) -> dict[str, Grid]:
    """Every grid of a scale by name."""
    return {name: build() for name, build in builders(scale).items()}


def setup_of(name: str) -> tuple[Setup, str]:
    """The setup of a grid's name, and the check that it is, if any."""
    optimizer, student, biases, *check = name.split("-")
    return Setup(optimizer, student, biases), "".join(check)


def ways_of(names: Iterable[str]) -> list[str]:
    """Ways to train of the setups of these grids, in the order of `OPTIMIZERS`."""
    used = {setup_of(name)[0].optimizer for name in names}
    return [way for way in OPTIMIZERS if way in used]


def excluded_counts() -> dict[str, int]:
    """How many combinations are left out, by the reason."""
    return {why: sum(map(senseless, COMBINATIONS)) for why, senseless in EXCLUDED.items()}
