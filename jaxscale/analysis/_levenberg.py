r"""The method of Levenberg and Marquardt on many lanes: a data set, weights and a start for each.

The loop runs in NumPy; only the theory and its Jacobian are compiled, once, for blocks of lanes.
First starts, candidates, and refits share that program. A loop that is compiled whole is faster on
refits once it is compiled, and its first call takes two to four times as long.
"""

from collections.abc import Callable, Hashable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxscale.analysis.bounds import AbstractBound
from jaxscale.analysis.residuals import AbstractLoss, AbstractResidual
from jaxscale.sweep._program import code_read

CONVERGED, UNFINISHED, FAILED, STUCK = 0, 1, 2, 3
MAX_STEPS = 512
NEGLIGIBLE = 1e-13  # share of the cost that a full step could still save
ROUNDING = 1e-24  # and what it may save in any case: residuals of 1e-12 are rounding
MAX_DAMPING = 1e14  # beyond it no step helps
FIRST_DAMPING = 3e-3
LANES = 64  # of a block
BLOCK_FLOATS = 2**16  # Jacobians of a block that stay in cache
EPS, TINY = np.finfo(np.float64).eps, np.finfo(np.float64).tiny


class DataSets(eqx.Module):
    """Where theory is evaluated, the data on the scale of their residuals, and their weights.

    `target` and `weight` hold, by observable, arrays of shape `(others, theory)`: as many data as
    there are at each value of the theory, flattened. Observables with fewer others are padded by
    points without weight. All arrays may have a leading axis `n` of data sets.
    """

    inputs: Any
    target: dict[str, Float[Array | np.ndarray, "... o t"]]
    weight: dict[str, Float[Array | np.ndarray, "... o t"]]


class QuadraticModel(eqx.Module):
    r"""The cost around a point: its value, gradient and curvature, and sums for the covariance.

    `curvature` is that of Gauss and Newton with the loss, `jtj` the `J^T W J` without it.
    """

    cost: Float[Array | np.ndarray, "..."]
    gradient: Float[Array | np.ndarray, "... p"]
    curvature: Float[Array | np.ndarray, "... p p"]
    jtj: Float[Array | np.ndarray, "... p p"]
    influence_squares: Float[Array | np.ndarray, "..."]
    second_derivatives: Float[Array | np.ndarray, "..."]
    squares: Float[Array | np.ndarray, "..."]

    @property
    def usable(self) -> Bool[np.ndarray, "..."]:
        """Whether a step can start from this point."""
        finite = np.isfinite(self.gradient).all(-1) & np.isfinite(self.curvature).all((-1, -2))
        return finite & np.isfinite(self.cost)

    def flat(self) -> Float[Array, " k"]:
        """All numbers of one lane in a row, so that one array leaves the program."""
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(self)])

    @classmethod
    def from_flat(cls, rows: Float[np.ndarray, "l k"], p: int) -> "QuadraticModel":
        """Models of lanes `l` from their rows."""
        shapes = ((), (p,), (p, p), (p, p), (), (), ())
        parts = np.split(rows, np.cumsum([int(np.prod(s)) for s in shapes])[:-1], axis=1)
        return cls(*(x.reshape(len(rows), *s) for x, s in zip(parts, shapes, strict=True)))


class FitProblem(eqx.Module):
    """A theory, a function of `(values, inputs)`, and how it is compared with data."""

    theory: Callable[[Array, Any], dict[str, Array]]
    bounds: tuple[AbstractBound, ...]
    residuals: dict[str, AbstractResidual]
    units: dict[str, Any]
    loss: AbstractLoss

    def expand(
        self, z: Float[Array, " p"], data: DataSets
    ) -> tuple[QuadraticModel, dict[str, tuple[Bool[Array, " t"], Bool[Array, " t"]]]]:
        """Expand the cost at coordinates `z`, with one pass through the theory.

        Many data at one value of the theory (seeds) share a row of the Jacobian.

        **Arguments:** `z`, and one data set.

        **Returns:** the model; by observable, where theory makes a statement (is not NaN), and
        where that has a residual.
        """

        def theory(at: Float[Array, " p"]) -> tuple[Array, tuple[Array, dict[str, Any]]]:
            values = jnp.stack([b.constrain(at[i]) for i, b in enumerate(self.bounds)])
            raw = {n: v.ravel() for n, v in self.theory(values, data.inputs).items()}
            scaled = {n: self.residuals[n].scaled(v) / self.units[n] for n, v in raw.items()}
            stated = {n: (~jnp.isnan(raw[n]), jnp.isfinite(v)) for n, v in scaled.items()}
            expected = jnp.concatenate(list(scaled.values()))
            return expected, (expected, stated)

        jacobian, (expected, stated) = jax.jacfwd(theory, has_aux=True)(z)
        defined = jnp.isfinite(expected)
        jacobian = jnp.where(defined[:, None], jacobian, 0.0)
        sides = (data.target.values(), data.weight.values())
        target, w = (jnp.concatenate(list(side), axis=-1) for side in sides)
        r = jnp.where(w > 0, jnp.where(defined, expected, 0.0) - target, 0.0)
        undefined = jnp.any(~defined & (w > 0))
        root, influence = self.loss.root(r), self.loss.influence(r)
        # d root / d r = psi / root, and 1 where both vanish
        slope = jnp.where(root == 0, 1.0, influence / jnp.where(root == 0, 1.0, root))
        curvature = jnp.sum(w * slope**2, axis=0)
        model = QuadraticModel(
            cost=jnp.sum(w * root**2) / 2 + jnp.where(undefined, jnp.inf, 0.0),
            gradient=jacobian.T @ jnp.sum(w * influence, axis=0),
            curvature=(jacobian * curvature[:, None]).T @ jacobian,
            jtj=(jacobian * jnp.sum(w, axis=0)[:, None]).T @ jacobian,
            influence_squares=jnp.sum(w * influence**2),
            second_derivatives=jnp.sum(w * self.loss.second_derivative(r)),
            squares=jnp.sum(w * r**2),
        )
        return model, stated


class _Structure:
    """What a program is compiled for: a pytree without its arrays, hashed once."""

    def __init__(self, treedef: Any, leaves: list[Any], code: Hashable):
        self.filling = (treedef, *(None if _is_array(leaf) else leaf for leaf in leaves))
        self.key = (*self.filling, code)
        self.hash = hash(self.key)

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, _Structure) and self.key == other.key)

    def filled(self, arrays: list[Array]) -> Any:
        """The pytree with `arrays` in their places."""
        treedef, *leaves = self.filling
        rest = iter(arrays)
        return jax.tree.unflatten(treedef, [next(rest) if x is None else x for x in leaves])


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def _expand(
    structure: _Structure, arrays: list[Array], z: Float[Array, "b p"], lane: Int[Array, " b"],
    counts: Float[Array, "b u"], n: Int[Array, ""],
) -> tuple[Float[Array, "b k"], dict[str, Any]]:  # fmt: skip
    """Expand the first `n` lanes of a block."""
    problem, data, groups = structure.filled(arrays)

    def one(z: Array, lane: Array, counts: Array) -> tuple[Array, Any]:
        own = jax.tree.map(lambda x: x[lane], data)
        weight = {n: w * counts[groups[n]] for n, w in own.weight.items()}
        model, stated = problem.expand(z, DataSets(own.inputs, own.target, weight))
        return model.flat(), stated

    if jax.default_backend() != "cpu":
        return jax.vmap(one)(z, lane, counts)

    # one after the other: traced and compiled in 2/3 of the time of vmap, and no slower
    def fill(i: Array, rows: Any) -> Any:
        row = one(z[i], lane[i], counts[i])
        return jax.tree.map(lambda x, value: x.at[i].set(value), rows, row)

    size, p = z.shape
    stated = {k: jnp.zeros((size, t.shape[-1]), bool) for k, t in data.target.items()}
    rows = (jnp.zeros((size, 4 + p + 2 * p**2)), {k: (x, x) for k, x in stated.items()})
    return jax.lax.fori_loop(0, n, fill, rows)


_expand_jit = jax.jit(_expand, static_argnums=0)


class Expansion:
    """Quadratic models of data sets, from one compiled program for blocks of lanes.

    **Arguments**

    - `problem`: theory and loss.
    - `data`: data sets `n`.
    - `groups`: by observable, the number of the group that each point is resampled with.
    - `n_groups`: how many there are.
    """

    def __init__(
        self, problem: FitProblem, data: DataSets, groups: dict[str, np.ndarray], n_groups: int
    ):
        leaves, treedef = jax.tree.flatten((problem, data, groups))
        self._structure = _Structure(treedef, leaves, code_read(problem))
        self._arrays = [jnp.asarray(leaf) for leaf in leaves if _is_array(leaf)]
        shapes, p = [t.shape for t in data.target.values()], len(problem.bounds)
        floats = sum(t * (o + p + 1) for _, o, t in shapes)
        self._size = max(1, min(LANES, BLOCK_FLOATS // max(floats, 1)))
        self._ones = jnp.ones((self._size, n_groups))
        self.n_sets, self.n_groups = shapes[0][0], n_groups
        weights = np.concatenate([w.reshape(self.n_sets, -1) for w in data.weight.values()], axis=1)
        group = np.concatenate([groups[name].ravel() for name in data.weight])
        self.points_by_group = np.stack([np.bincount(group, w, n_groups) for w in weights])

    def _run(self, z: np.ndarray, sets: np.ndarray, counts: np.ndarray | None) -> list[Any]:
        """Outputs of all blocks; the last one repeats its last lane."""
        outputs = []
        for first in range(0, len(z), self._size):
            at = np.minimum(np.arange(first, first + self._size), len(z) - 1)
            count = self._ones if counts is None else counts[at]
            n = np.asarray(min(self._size, len(z) - first))
            outputs.append(_expand_jit(self._structure, self._arrays, z[at], sets[at], count, n))
        return outputs

    def __call__(
        self,
        z: Float[np.ndarray, "l p"],
        sets: Int[np.ndarray, " l"],
        counts: Float[np.ndarray, "l u"] | None = None,
    ) -> QuadraticModel:
        """Models of lanes `l`: their coordinates, data sets, and how often each group counts."""
        rows = np.concatenate([np.asarray(flat) for flat, _ in self._run(z, sets, counts)])
        return QuadraticModel.from_flat(rows[: len(z)], z.shape[1])

    def lanes(
        self, sets: Int[np.ndarray, " l"], counts: Float[np.ndarray, "l u"] | None = None
    ) -> Callable[[np.ndarray, np.ndarray], QuadraticModel]:
        """Models as a function of coordinates and numbers of lanes, for `levenberg_marquardt`."""
        return lambda z, at: self(z, sets[at], None if counts is None else counts[at])

    def stated(self, z: Float[np.ndarray, " p"]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Where theory makes a statement at `z`, and has a residual: shapes `(n, t)`."""
        n = self.n_sets
        parts = [s for _, s in self._run(np.tile(z, (n, 1)), np.arange(n), None)]
        return jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)


def levenberg_marquardt(
    expand: Callable[[np.ndarray, np.ndarray], QuadraticModel], z: Float[np.ndarray, "l p"]
) -> tuple[Float[np.ndarray, "l p"], QuadraticModel, Int[np.ndarray, " l"]]:
    """Minimise costs by the method of Levenberg and Marquardt, lane by lane.

    **Arguments:** `expand`, which returns models at given coordinates of given lanes, and starts.

    **Returns:** coordinates, the model around them, and a status code per lane.

    **Reference:** Nielsen 1999, IMM-REP-1999-05 (damping); Moré 1978 (scaling by the curvature).
    """
    n_lanes, p = z.shape
    z, status = z.copy(), np.full(n_lanes, UNFINISHED, np.int32)
    trial, saving = z.copy(), np.zeros(n_lanes)
    damping, nu = np.full(n_lanes, FIRST_DAMPING), np.full(n_lanes, 2.0)
    best: Any = None

    def step(a: np.ndarray) -> np.ndarray:
        """Look at the trial points of lanes `a`, choose the next ones, and return who goes on."""
        nonlocal best
        new = expand(trial[a], a)
        if best is None:
            best = jax.tree.map(lambda x: np.full_like(x, np.inf), new)
        old = jax.tree.map(lambda x: x[a], best)
        saved = old.cost - new.cost
        better = new.usable & (saved >= 0)
        # the first look leaves the damping alone
        gain = np.where(saving[a] > 0, saved / np.where(saving[a] > 0, saving[a], 1.0), 0.5)
        calmer = np.maximum(1 / 3, 1 - (2 * np.clip(gain, 0, 1.26) - 1) ** 3)
        damping[a] *= np.where(better, calmer, nu[a])
        nu[a] = np.where(better, 2.0, 2 * nu[a])
        z[a[better]] = trial[a[better]]
        for kept, x in zip(jax.tree.leaves(best), jax.tree.leaves(new), strict=True):
            kept[a[better]] = x[better]
        model = jax.tree.map(lambda x: x[a], best)
        diagonal = np.diagonal(model.curvature, axis1=-2, axis2=-1)
        ridge = np.maximum(damping[a, None] * diagonal, TINY)
        move = -solve_positive(model.curvature + ridge[..., None] * np.eye(p), model.gradient)
        move = np.where(np.isfinite(move), move, 0.0)
        saving[a] = np.sum(move * (ridge * move - model.gradient), -1) / 2
        trial[a] = z[a] + move
        # judged by the full step of Gauss and Newton: a short one may only be a damped one
        regular = model.curvature + (EPS * diagonal + TINY)[..., None] * np.eye(p)
        full = np.sum(model.gradient * solve_positive(regular, model.gradient), -1) / 2
        finished = model.usable & (full <= NEGLIGIBLE * model.cost + ROUNDING)
        lost, stuck = ~model.usable, damping[a] > MAX_DAMPING
        status[a] = np.select([finished, lost, stuck], [CONVERGED, FAILED, STUCK], UNFINISHED)
        return a[status[a] == UNFINISHED]

    active, n_steps = np.arange(n_lanes), 0
    with np.errstate(all="ignore"):
        while active.size and n_steps < MAX_STEPS:
            active, n_steps = step(active), n_steps + 1
    return z, best, status


def solve_positive(
    matrix: Float[np.ndarray, "l p p"], right: Float[np.ndarray, "l p"]
) -> Float[np.ndarray, "l p"]:
    """Solve symmetric positive definite systems, each scaled to a unit diagonal.

    By elimination on all lanes: a singular one gets numbers that are not finite, and no other
    notices, where `numpy.linalg.solve` would refuse them all.
    """
    p = matrix.shape[-1]
    scale = 1 / np.sqrt(np.maximum(np.diagonal(matrix, axis1=-2, axis2=-1), TINY))
    a = matrix * scale[:, :, None] * scale[:, None, :]
    x = right * scale
    for i in range(p):
        for j in range(i + 1, p):
            factor = a[:, j, i] / a[:, i, i]
            a[:, j] -= factor[:, None] * a[:, i]
            x[:, j] -= factor * x[:, i]
    for i in reversed(range(p)):
        x[:, i] = (x[:, i] - np.sum(a[:, i, i + 1 :] * x[:, i + 1 :], -1)) / a[:, i, i]
    return x * scale
