"""The cost of fits around points: a theory and its Jacobian are compiled, the rest is NumPy.

A lane is a data set, how often each of its groups counts, and a point. What is compiled depends on
the theory and its inputs alone: bounds, scales, losses and sums over the data would take longer to
compile than theory and Jacobian, and run no faster.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxscale.analysis._levenberg import QuadraticModel
from jaxscale.analysis.bounds import AbstractBound
from jaxscale.analysis.residuals import AbstractLoss, AbstractResidual, Squared
from jaxscale.sweep._cache import ProgramCache
from jaxscale.sweep._structure import structure_key

FEW_LANES = 32  # that are evaluated one by one: a program of one compiles in 3/4 of the time
LANES = 128  # of a block
FITS = ProgramCache(64)  # apart from those of sweeps, which take seconds to compile
BLOCK_FLOATS = 2**16  # residuals and Jacobians of a block that stay in cache


@dataclasses.dataclass(frozen=True)
class DataSets:
    """Data sets `n`: where theory is evaluated, the data on the scale of their residuals, weights.

    There are as many data `o` at each value `t` of the theory, whose observables follow one
    another by name; what is missing has no weight, and the weights of a set have a mean of one.
    Every array of `inputs` has the axis `n`. `groups` numbers what is resampled together.
    """

    inputs: Any
    target: Float[np.ndarray, "n o t"]
    weight: Float[np.ndarray, "n o t"]
    groups: Int[np.ndarray, "n o t"]
    n_groups: int

    def weighted(self, weight: Float[np.ndarray, "n o t"]) -> "DataSets":
        """The same with weights in these ratios."""
        number = np.sum(weight > 0, axis=(1, 2), keepdims=True)
        total = np.where(number > 0, weight.sum(axis=(1, 2), keepdims=True), 1.0)
        return dataclasses.replace(self, weight=weight * number / total)

    @property
    def points_by_group(self) -> Int[np.ndarray, "n u"]:
        """Number of points with weight in each group."""
        pairs = zip(self.groups, self.weight > 0, strict=True)
        return np.stack([np.bincount(g[used], minlength=self.n_groups) for g, used in pairs])


def _call(module: Any, method: str, values: np.ndarray) -> np.ndarray:
    """Call a method of a module, without the cost of a bound one, which is a module, too."""
    return np.asarray(getattr(type(module), method)(module, values))


@dataclasses.dataclass(frozen=True)
class FitProblem:
    """A theory, a function of `(values, inputs)`, and how it is compared with data.

    `units` and `loss` are one for all data sets, or have (leaves with) a leading axis of them.
    """

    theory: Callable[[Array, Any], dict[str, Array]]
    bounds: tuple[AbstractBound, ...]
    residuals: dict[str, AbstractResidual]
    units: dict[str, Any]
    loss: AbstractLoss

    def by_parameter(self, method: str, z: Float[np.ndarray, "l p"]) -> Float[np.ndarray, "l p"]:
        """Apply a method of the bounds to the coordinates `z`."""
        return np.stack([_call(b, method, z[:, i]) for i, b in enumerate(self.bounds)], axis=1)

    def scaled(
        self,
        theory: dict[str, np.ndarray],
        jacobian: dict[str, np.ndarray],
        z: Float[np.ndarray, "l p"],
        sets: Int[np.ndarray, " l"],
    ) -> tuple[Float[np.ndarray, "l t"], Float[np.ndarray, "l p t"]]:
        """Theory on the scale of its residuals, and its Jacobian by coordinates `z`, of lanes."""
        expected, slopes = [], []
        for name in sorted(theory):
            kind = self.residuals[name]
            unit = np.reshape(of_sets(self.units[name], sets), (-1, 1))
            expected.append(_call(kind, "scaled", theory[name]) / unit)
            slope = _call(kind, "derivative", theory[name]) / unit
            slopes.append(jacobian[name] * slope[:, None])
        by_value = np.concatenate(slopes, axis=2)
        by_coordinate = by_value * self.by_parameter("derivative", z)[..., None]
        return np.concatenate(expected, axis=1), by_coordinate

    def compared(
        self, target: Float[np.ndarray, "l o t"], weight: Float[np.ndarray, "l o t"]
    ) -> tuple[np.ndarray, np.ndarray, Float[np.ndarray, " l"]]:
        """Data, weights, and squares that no theory changes.

        With squared losses, many data at one value of the theory are their mean and their scatter.
        """
        if type(self.loss) is not Squared:
            return target, weight, np.zeros(len(target))
        total = weight.sum(axis=1, keepdims=True)
        mean = (weight * target).sum(axis=1, keepdims=True) / np.where(total > 0, total, 1.0)
        return mean, total, np.einsum("lot,lot->l", weight, (target - mean) ** 2)

    def expand(
        self,
        expected: Float[np.ndarray, "l t"],
        jacobian: Float[np.ndarray, "l p t"],
        target: Float[np.ndarray, "l o t"],
        weight: Float[np.ndarray, "l o t"],
        scatter: Float[np.ndarray, " l"],
        loss: AbstractLoss,
    ) -> QuadraticModel:
        """Expand the costs of lanes around a theory, given `compared` data and their losses."""
        defined, used = np.isfinite(expected), weight > 0
        jacobian = np.where((defined & used.any(axis=1))[:, None], jacobian, 0.0)
        r = np.where(used, np.where(defined, expected, 0.0)[:, None] - target, 0.0)
        undefined = np.any(~defined[:, None] & used, axis=(1, 2))
        root, influence = _call(loss, "root", r), _call(loss, "influence", r)
        # d root / d r = psi / root, and 1 where both vanish
        slope = np.divide(influence, root, out=np.ones_like(r), where=root != 0)

        def total(*factors: np.ndarray) -> np.ndarray:
            return np.einsum(",".join(["lot"] * len(factors)) + "->l", *factors)

        def products(by_theory: np.ndarray) -> np.ndarray:
            return (jacobian * by_theory[:, None]) @ jacobian.swapaxes(1, 2)

        return QuadraticModel(
            cost=np.where(undefined, np.inf, (total(weight, root, root) + scatter) / 2),
            gradient=np.einsum("lpt,lt->lp", jacobian, (weight * influence).sum(axis=1)),
            curvature=products((weight * slope**2).sum(axis=1)),
            jtj=products(weight.sum(axis=1)),
            influence_squares=total(weight, influence, influence) + scatter,
            second_derivatives=total(weight, _call(loss, "second_derivative", r)),
            squares=total(weight, r, r) + scatter,
        )


def of_sets(loss: Any, sets: Int[np.ndarray, " l"] | int) -> Any:
    """Losses or units of lanes or of one data set; they may have a leading axis of sets."""
    return jax.tree.map(lambda x: x[sets] if np.ndim(x) else x, loss)


def is_array(leaf: Any) -> bool:
    """Whether a leaf of a theory or of its inputs is data of a program, not part of it."""
    return isinstance(leaf, jax.Array | np.ndarray | np.generic)


def _programs(static: Any, treedef: Any) -> tuple[Any, Any]:
    """A theory and its Jacobian by leaves: of one data set, and of many lanes by their sets."""

    def one(theory: list[Array], inputs: list[Array], values: Float[Array, " p"]) -> Any:
        function, own = eqx.combine(jax.tree.unflatten(treedef, theory + inputs), static)

        def flat(at: Float[Array, " p"]) -> dict[str, Array]:
            return {name: v.ravel() for name, v in function(at, own).items()}

        push = jax.vmap(lambda v: jax.jvp(flat, (values,), (v,)), out_axes=(None, 0))
        return push(np.eye(values.size, dtype=values.dtype))

    def many(theory: list[Array], inputs: list[Array], values: Array, sets: Array) -> Any:
        return jax.vmap(one, (None, 0, 0))(theory, [x[sets] for x in inputs], values)

    return jax.jit(one), jax.jit(many)


class Expansion:
    """Quadratic models of data sets.

    **Arguments**

    - `problem`, `data`: theory and loss, and the data sets.
    - `n_lanes`: how many are followed at once: few are evaluated one by one, more in blocks.
    """

    def __init__(self, problem: FitProblem, data: DataSets, n_lanes: int):
        self.problem, self.data, self.n_lanes = problem, data, n_lanes
        self.points_by_group = data.points_by_group
        traced = problem.theory, data.inputs
        arrays, static = eqx.partition(traced, is_array)
        leaves, treedef = jax.tree.flatten(arrays)
        key = structure_key(traced, is_array)
        self._one, self._many = FITS.find(key, lambda: _programs(static, treedef))
        n_theory = len(jax.tree.leaves(arrays[0]))
        self._theory, self._inputs = jax.device_put((leaves[:n_theory], leaves[n_theory:]))
        self._compared = problem.compared(data.target, data.weight)
        self._losses = jax.tree.map(lambda x: x[:, None, None] if x.ndim else x, problem.loss)
        _, o, t = self._compared[0].shape
        most = BLOCK_FLOATS // max(1, t * (o + len(problem.bounds) + 1))
        self._size = max(1, min(most, LANES, 1 << (n_lanes - 1).bit_length()))
        self._few = n_lanes <= FEW_LANES and jax.default_backend() == "cpu"
        if self._few:
            inputs, sets = jax.device_get(leaves[n_theory:]), range(len(data.target))
            self._sets = [jax.device_put([x[i] for x in inputs]) for i in sets]

    def _evaluate(self, values: np.ndarray, sets: np.ndarray) -> Any:
        """Theory of a block of lanes and its Jacobian; a short block repeats its last lane."""
        if self._few:
            lanes = zip(sets, values, strict=True)
            models = [self._one(self._theory, self._sets[i], at) for i, at in lanes]
            return jax.tree.map(lambda *x: np.stack(x), *models)
        at = np.minimum(np.arange(self._size), len(sets) - 1)
        return self._many(self._theory, self._inputs, values[at], sets[at])

    def _run(self, z: np.ndarray, sets: np.ndarray) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Numbers of lanes, their theory and its Jacobian, a block in memory at a time."""
        values, n = self.problem.by_parameter("constrain", z), len(z)
        for first in range(0, n, self._size):
            at = np.arange(first, min(first + self._size, n))
            block = self._evaluate(values[at], sets[at])
            yield at, *jax.tree.map(lambda x, m=at.size: np.asarray(x)[:m], block)

    def evaluate(
        self, values: Float[np.ndarray, "l p"], sets: Int[np.ndarray, " l"]
    ) -> tuple[Float[np.ndarray, "l t"], Float[np.ndarray, "l p t"]]:
        """Theory and its Jacobian at values of the parameters, observables by name."""
        blocks = []
        for first in range(0, len(values), self._size):
            at = slice(first, first + self._size)
            theory, jacobian = self._evaluate(values[at], sets[at])
            names, n = sorted(theory), len(values[at])
            blocks.append([np.concatenate([np.asarray(x[k])[:n] for k in names], axis=-1)
                           for x in (theory, jacobian)])  # fmt: skip
        theory, jacobian = (np.concatenate(x) for x in zip(*blocks, strict=True))
        return theory, jacobian

    def lanes(
        self, sets: Int[np.ndarray, " l"], counts: Float[np.ndarray, "l u"] | None = None
    ) -> Callable[[np.ndarray, np.ndarray], QuadraticModel]:
        """Models as a function of coordinates and numbers of lanes, for `levenberg_marquardt`.

        **Arguments:** data sets of lanes `l`, and how often each of their groups counts.
        """
        compared, row = self._compared, sets
        if counts is not None:
            groups = self.data.groups[sets].reshape(len(sets), -1)
            drawn = np.take_along_axis(counts, groups, axis=1)
            weight = self.data.weight[sets] * drawn.reshape(-1, *self.data.weight.shape[1:])
            compared = self.problem.compared(self.data.target[sets], weight)
            row = np.arange(len(sets))

        def expand(z: np.ndarray, at: np.ndarray) -> QuadraticModel:
            models = []
            with np.errstate(all="ignore"):  # the solver refuses what is not finite
                for block, theory, jacobian in self._run(z, sets[at]):
                    scaled = self.problem.scaled(theory, jacobian, z[block], sets[at[block]])
                    own = (x[row[at[block]]] for x in compared)
                    loss = of_sets(self._losses, sets[at[block]])
                    models.append(self.problem.expand(*scaled, *own, loss=loss))
            return QuadraticModel(*(np.concatenate(x) for x in zip(*models, strict=True)))

        return expand

    def residuals(self, z: Float[np.ndarray, "n p"]) -> Float[np.ndarray, "n o t"]:
        """Theory less data at the coordinates `z` of each data set; NaN where there are no data."""
        expected = np.empty((len(z), self.data.target.shape[2]))
        with np.errstate(all="ignore"):
            for block, theory, jacobian in self._run(z, np.arange(len(z))):
                expected[block], _ = self.problem.scaled(theory, jacobian, z[block], block)
        return np.where(self.data.weight > 0, expected[:, None] - self.data.target, np.nan)

    def moved_by(
        self, z: Float[np.ndarray, "n p"], shift: Float[np.ndarray, "n t"]
    ) -> Float[np.ndarray, "n p"]:
        """First-order change of the optimum `z` of each data set, were its data higher by `shift`.

        In values of the parameters, of squared losses.
        """
        change = np.empty_like(z)
        with np.errstate(all="ignore"):
            for block, theory, jacobian in self._run(z, np.arange(len(z))):
                expected, slopes = self.problem.scaled(theory, jacobian, z[block], block)
                weight = self.data.weight[block].sum(axis=1)
                used = (weight > 0) & np.isfinite(expected) & np.isfinite(slopes).all(axis=1)
                slopes = np.where(used[:, None], slopes, 0.0)
                weighted = slopes * weight[:, None]
                inverse = np.linalg.pinv(weighted @ slopes.swapaxes(1, 2))
                push = np.einsum("lpt,lt->lp", weighted, shift[block])
                change[block] = np.einsum("lpq,lq->lp", inverse, push)
        return change * self.problem.by_parameter("derivative", z)

    def theory_at(
        self, z: Float[np.ndarray, " p"]
    ) -> tuple[Float[np.ndarray, "n t"], Float[np.ndarray, "n t"], Bool[np.ndarray, "n t"]]:
        """Theory of every data set at `z`, as it is and on the scale of its residuals.

        The last array says where a derivative is not finite.
        """
        n = len(self.data.target)
        lanes = np.tile(z, (n, 1))
        raw, scaled, steep = [], [], []
        with np.errstate(all="ignore"):
            for block, theory, jacobian in self._run(lanes, np.arange(n)):
                scaled.append(self.problem.scaled(theory, jacobian, lanes[block], block)[0])
                names = sorted(theory)
                raw.append(np.concatenate([theory[name] for name in names], axis=1))
                slopes = np.concatenate([jacobian[name] for name in names], axis=2)
                steep.append(~np.isfinite(slopes).all(axis=1))
        return np.concatenate(raw), np.concatenate(scaled), np.concatenate(steep)
