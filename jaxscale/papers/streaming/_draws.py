"""Exact mean losses over the data for many draws of the features: nothing is simulated.

The random numbers of a draw are common to all sizes and exponents. Modes are drawn in float32, as
those of a run. Losses at a constant rate follow in float64; those of schedules and batches are
compensated sums in float32. Means over features are taken in groups of draws, of more draws where
there are few features, which scatter more and cost less.
"""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Mapping
from concurrent.futures import Executor, Future
from typing import TYPE_CHECKING, Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxscale._optimizers import Sgd
from jaxscale._schedules import Constant, LinearDecay, WarmUp
from jaxscale._theory import compiled_quickly
from jaxscale.keys import root_key
from jaxscale.papers._runs import in_float64
from jaxscale.spectra import power_sum
from jaxscale.streaming import theory
from jaxscale.streaming._features import COORDINATES_PER_FEATURE, Modes, draw_features
from jaxscale.streaming._optimizers import Descent
from jaxscale.streaming._system import FEATURE_STREAM
from jaxscale.streaming.theory._contour import constant_rate_loss, drawn_resolvent
from jaxscale.streaming.theory._equivalent import LATE
from jaxscale.streaming.theory._moments import drawn_modes, losses

if TYPE_CHECKING:
    import xarray

PHASES: dict[str, tuple[float, float]] = {
    "Ia": (0.8, 0.3),
    "Ib": (0.4, 0.3),
    "Ic": (0.2, 0.8),
    "II": (1.2, 0.8),
    "III": (0.8, 1.2),
    "IVa": (0.4, 0.9),
    "IVb": (0.27, 0.9),
}
DRAWN = {0.8: ("Ia", "III"), 1.2: ("II",), 0.4: ("Ib", "IVa")}  # by input exponent
DRAWS = {512: 32, 256: 128, 128: 512, 64: 1024, 32: 2048, 16: 2048}  # by number of features
LARGEST = max(DRAWS)
WIDTHS = (64, LARGEST)  # to which modes are padded for their losses
COMPARED = (32, 128)  # numbers of features whose mean is compared with the equivalent

# of compute, in which the best size of the equivalent grows from about 30 to about 160
WINDOWS = {"Ia": (3e3, 1e5), "II": (5e3, 3e5), "Ib": (2e3, 4e4)}
MOST_PHASES = max(map(len, DRAWN.values()))  # of one input exponent
GROUPS = 32
AT_ONCE = GROUPS  # draws of one program; numbers of draws are multiples
TIMES = np.unique(np.geomspace(5, 20_000, 28).round())
SCHEDULES = (Constant(), LinearDecay(), WarmUp(n_warm_up=1000, then=LinearDecay()))
DECAYED, DECAY_STEPS, DECAY_SHARE = 256, 10_000, 0.3  # features, steps, share of the largest rate
DECAY_DRAWS = 64  # the first of those of `DECAYED` features; as all numbers of draws, of `GROUPS`
NOISE_STEPS, NOISE_BATCHES, MOMENTUM_STEPS = 1000, (1.0, 2.0, 4.0), 4000
ALL_TIMES = np.union1d(TIMES, [NOISE_STEPS, MOMENTUM_STEPS, DECAY_STEPS])


class Draws(NamedTuple):
    """What was drawn: modes by phase and size, and exact losses.

    - `modes`: of every draw.
    - `loss`: means of groups of draws over (phase, n_features, step, seed).
    - `expected`: the deterministic equivalent, without seed; NaN where no claim needs it.
    - `rest`: means of groups of the loss that is left at last and of its square, over (phase,
      n_features, moment, seed).
    """

    modes: dict[tuple[str, int], Modes]
    loss: "xarray.DataArray"
    expected: "xarray.DataArray"
    rest: "xarray.DataArray"


def coordinates(phase: str, size: float) -> float:
    """Coordinates of the inputs: infinitely many where their variance is finite."""
    return np.inf if PHASES[phase][0] > 0.5 else COORDINATES_PER_FEATURE * size


def rate(phase: str, size: float) -> float:
    """`0.6 / (sum_j j^-2alpha + 2)`, about a quarter of the largest stable rate."""
    return 0.6 / (float(power_sum(2 * PHASES[phase][0], coordinates(phase, size))) + 2)


def exponents(phase: str) -> dict[str, float]:
    """Both exponents by field name."""
    return dict(zip(("input_exponent", "target_exponent"), PHASES[phase], strict=True))


@functools.partial(compiled_quickly, static_argnames=("size", "n_draws"))
def _draw(
    alphas: Float[Array, " a"],
    betas: Float[Array, "a b"],
    endless: Bool[Array, " a"],
    *,
    size: int,
    n_draws: int,
) -> Modes:
    """Modes of every draw: its normal numbers serve every input exponent."""

    def one(seed: Array) -> Modes:
        key = jr.fold_in(jr.fold_in(root_key(0), seed), FEATURE_STREAM)

        def of(alpha: Array, betas: Array, endless: Array) -> Modes:
            n_features, noise = jnp.asarray(size, jnp.int32), jnp.zeros_like(alpha)
            features = draw_features(key, n_features, size, None, alpha, betas, noise)
            tail = jax.tree.map(lambda x: jnp.where(endless, x, 0.0), features.tail)
            return dataclasses.replace(features, tail=tail).modes()

        return jax.vmap(of)(alphas, betas, endless)

    return jax.lax.map(one, jnp.arange(n_draws))


@compiled_quickly
def _losses(modes: Modes, learning_rates: Float[Array, " a"]) -> Float[Array, "n a b t"]:
    """Exact losses of plain SGD at `TIMES` and of late times, of some draws; in float64."""

    def of(modes: Modes, rate: Array) -> Array:
        lam, one = modes.eigenvalues, jnp.ones_like(rate)
        is_early = TIMES < LATE

        def of_target(power: Array, unreachable: Array) -> Array:
            early = losses(
                drawn_modes(lam, power), Descent(), jnp.full(LATE, rate),
                batch_size=one, unreachable=unreachable,
            )  # fmt: skip
            resolvent = drawn_resolvent(lam, power, unreachable)
            late = jax.vmap(lambda t: constant_rate_loss(t, resolvent, rate, one))
            last = theory.noise_floor(lam, unreachable=unreachable, learning_rate=rate)
            steps = TIMES[is_early].astype(int)
            return jnp.concatenate([early[steps], late(TIMES[~is_early]), last[None]])

        return jax.vmap(of_target)(modes.target_power, modes.unreachable)

    # as many at a time as a core's cache holds
    return jax.lax.map(lambda x: jax.vmap(of)(x, learning_rates), modes, batch_size=4)


def _losses_of(
    modes: Modes, learning_rates: Float[np.ndarray, " a"]
) -> Float[np.ndarray, "n a b t"]:
    """Those of all draws, some at a time and padded to few widths: two programs serve all."""
    n_draws, *_, size = modes.eigenvalues.shape
    missing = next(width for width in WIDTHS if width >= size) - size

    def padded(x: Any) -> np.ndarray:
        return np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, missing)])

    modes = jax.tree.map(lambda x: x.astype(float), modes)
    longer = padded(modes.eigenvalues), padded(modes.target)
    modes = eqx.tree_at(lambda m: (m.eigenvalues, m.target), modes, longer)
    parts = [
        jax.tree.map(operator.itemgetter(slice(i, i + AT_ONCE)), modes)
        for i in range(0, n_draws, AT_ONCE)
    ]
    return np.concatenate([in_float64(_losses, part, learning_rates) for part in parts])


def start_draws(pool: Executor, counts: Mapping[int, int] = DRAWS) -> Future[Draws]:
    """Draw so many W of every size for every input exponent: tasks for draws, and for theory."""
    # targets are repeated where an input exponent has fewer
    targets = [(names * MOST_PHASES)[:MOST_PHASES] for names in DRAWN.values()]
    betas = np.array([[PHASES[phase][1] for phase in names] for names in targets])
    first = [names[0] for names in targets]

    def job(size: int) -> tuple[Modes, np.ndarray]:
        rates = np.array([rate(phase, size) for phase in first])
        endless = np.array([coordinates(phase, size) == np.inf for phase in first])
        laws = (jnp.asarray(x, jnp.float32) for x in (list(DRAWN), betas))
        modes = jax.tree.map(np.asarray, _draw(*laws, endless, size=size, n_draws=counts[size]))
        return modes, _losses_of(modes, rates)

    drawn = {size: pool.submit(job, size) for size in counts}
    curves = {
        (phase, size): pool.submit(equivalent, phase, size)
        for phase, size in itertools.product(itertools.chain(*DRAWN.values()), counts)
        if size in COMPARED or phase in WINDOWS
    }

    def collected() -> Draws:
        return _collected(
            {size: task.result() for size, task in drawn.items()},
            {pair: task.result() for pair, task in curves.items()},
        )

    return pool.submit(collected)  # begins when all of them have begun


def _collected(
    drawn: dict[int, tuple[Modes, np.ndarray]], curves: dict[tuple[str, int], dict[float, float]]
) -> Draws:
    """What was drawn by size, and the equivalent by phase and size, as one."""
    import xarray

    at = {p: (i, j) for i, names in enumerate(DRAWN.values()) for j, p in enumerate(names)}
    phases, sizes = list(at), sorted(drawn)
    modes, means, squares, expected = {}, {}, {}, {}
    for phase, size in itertools.product(phases, sizes):
        (i, j), (every, loss) = at[phase], drawn[size]
        modes[phase, size] = eqx.tree_at(
            lambda m: (m.eigenvalues, m.target, m.out_of_reach, m.label_variance), every,
            (every.eigenvalues[:, i], every.target[:, i, j], every.out_of_reach[:, i, j],
             every.label_variance[:, i]),
        )  # fmt: skip
        own = loss[:, i, j]
        means[phase, size] = groups(own[:, :-1]).T
        squares[phase, size] = groups(own[:, -1:] ** [1, 2]).T
        curve = curves.get((phase, size))
        expected[phase, size] = (
            np.full(TIMES.size, np.nan) if curve is None else np.array([curve[t] for t in TIMES])
        )

    def table(values: dict[tuple[str, int], np.ndarray], *dims: str) -> "xarray.DataArray":
        coords = {"phase": phases, "n_features": sizes} | (
            {"step": TIMES} if "step" in dims else {}
        )
        rows = [[values[phase, size] for size in sizes] for phase in phases]
        return xarray.DataArray(np.array(rows), dims=("phase", "n_features", *dims), coords=coords)

    return Draws(
        modes, table(means, "step", "seed"), table(expected, "step"),
        table(squares, "moment", "seed"),
    )  # fmt: skip


def groups(values: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "g ..."]:
    """Means of groups of draws, so that a group holds every `GROUPS`-th."""
    return values.reshape(-1, GROUPS, *values.shape[1:]).mean(axis=0)


def equivalent(
    phase: str, size: float, learning_rate: float | None = None, batch_size: float = 1.0
) -> dict[float, float]:
    """Loss in the mean over features at `TIMES` and at the steps of single claims: one program."""
    chosen = rate(phase, size) if learning_rate is None else learning_rate
    at = exponents(phase) | {"n_coordinates": coordinates(phase, size)}
    curve = mean_curve(
        ALL_TIMES, n_features=size, learning_rate=chosen, batch_size=batch_size, **at
    )
    return dict(zip(ALL_TIMES.tolist(), curve.tolist(), strict=True))


def mean_curve(times: Float[np.ndarray, " t"], **at: float) -> Float[np.ndarray, " t"]:
    """Loss in the mean over features at the times of any point: one program for as many times."""
    at = {"batch_size": 1.0, "noise": 0.0, "n_coordinates": np.inf} | at
    return in_float64(theory.loss, times, **{name: float(value) for name, value in at.items()})


@functools.partial(compiled_quickly, static_argnames="n_steps")
def _excess(
    modes: Modes, learning_rate: Float[Array, " n"], batch: Float[Array, ""],
    schedule: Any, n_steps: int,
) -> Float[Array, " n"]:  # fmt: skip
    """Exact loss of every draw after some steps above what no weights reach."""

    def one(at: tuple[Modes, Array]) -> Array:
        modes, learning_rate = at
        loss = theory.optimizer_loss(
            n_steps, modes.eigenvalues, modes.target_power, unreachable=modes.unreachable,
            learning_rate=learning_rate, batch_size=batch, optimizer=Sgd(), schedule=schedule,
            n_steps=n_steps,
        )  # fmt: skip
        return loss - modes.out_of_reach / 2

    return jax.lax.map(one, (modes, learning_rate), batch_size=8)  # what a core's cache holds


def schedule_excess(draws: Draws, phases: tuple[str, ...]) -> "xarray.DataArray":
    """Loss at the end above what no weights reach over (phase, schedule, seed)."""
    import xarray

    def of(phase: str, schedule: Any) -> np.ndarray:
        modes = jax.tree.map(lambda x: x[:DECAY_DRAWS], draws.modes[phase, DECAYED])
        rates = DECAY_SHARE * jax.vmap(theory.max_learning_rate)(modes.eigenvalues)
        one = jnp.ones((), jnp.float32)
        return groups(np.asarray(_excess(modes, rates, one, schedule, DECAY_STEPS), float))

    values = np.array([[of(phase, schedule) for schedule in SCHEDULES] for phase in phases])
    names = [str(schedule).partition("(")[0] for schedule in SCHEDULES]
    coords = {"phase": list(phases), "schedule": names}
    return xarray.DataArray(values, dims=("phase", "schedule", "seed"), coords=coords)


def batch_excess(draws: Draws, phase: str) -> "xarray.DataArray":
    """Loss above what no weights reach over (batch_size, seed), at one rate."""
    import xarray

    modes = draws.modes[phase, LARGEST]
    rates = jnp.full(modes.unreachable.shape, rate(phase, LARGEST), jnp.float32)
    rows = [
        groups(np.asarray(_excess(modes, rates, jnp.float32(b), Constant(), NOISE_STEPS)))
        for b in NOISE_BATCHES
    ]
    coords = {"batch_size": list(NOISE_BATCHES)}
    return xarray.DataArray(np.array(rows, float), dims=("batch_size", "seed"), coords=coords)
