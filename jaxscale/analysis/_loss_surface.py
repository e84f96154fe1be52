"""The loss of language models over parameters and tokens: a fit with honest intervals."""

import dataclasses
import itertools
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxscale.analysis import _least_squares as least_squares
from jaxscale.analysis._data import Data, as_numbers, as_table, refuse
from jaxscale.analysis._diagnostics import check_bootstrap
from jaxscale.analysis._expansion import DataSets, Expansion, FitProblem
from jaxscale.analysis._intervals import check_level
from jaxscale.analysis._levenberg import CONVERGED, FAILED
from jaxscale.analysis._plain import plain, write_json
from jaxscale.analysis.bounds import Positive
from jaxscale.analysis.residuals import Huber, Log

NAMES = ("E", "A", "B", "alpha", "beta")
COLUMNS = ("n_parameters", "n_tokens", "loss")
REFERENCES = ("hoffmann2022", "besiroglu2024")
EXPONENTS = np.linspace(0.1, 1.0, 7)  # of the starts
FLOORS = (0.3, 0.6, 0.8, 0.95)  # of the starts, as a share of the lowest loss
FLOP_PER_PARAMETER_TOKEN = 6.0
MAX_SURFACE_CONDITION = 500.0


def loss_surface(
    n_parameters: Float[ArrayLike, "..."],
    n_tokens: Float[ArrayLike, "..."],
    *,
    E: Float[ArrayLike, ""],
    A: Float[ArrayLike, ""],
    B: Float[ArrayLike, ""],
    alpha: Float[ArrayLike, ""],
    beta: Float[ArrayLike, ""],
) -> Float[Array, "..."]:
    r"""Loss of a language model by its parameters and training tokens.

    $$L(N, D) = E + A N^{-\alpha} + B D^{-\beta}$$

    **Arguments**

    - `n_parameters`, `n_tokens`: N and D, of shapes that broadcast.
    - `E`: entropy of text; `A`, `alpha`, `B`, `beta`: prefactors and exponents.

    **Returns** the loss, in the units of `E`.

    **Reference** Hoffmann et al. 2022, arXiv 2203.15556, equation 2.

    >>> round(float(loss_surface(1e9, 2e10, E=1.7, A=400.0, B=400.0, alpha=0.34, beta=0.28)), 2)
    2.57
    """
    n, d = jnp.asarray(n_parameters), jnp.asarray(n_tokens)
    return _loss(n, d, E, A, B, alpha, beta)


@jax.jit
def _loss(n: Any, d: Any, e: Any, a: Any, b: Any, alpha: Any, beta: Any) -> Array:
    terms = (jnp.log(a) - alpha * jnp.log(n), jnp.log(b) - beta * jnp.log(d), jnp.log(e))
    return jnp.exp(jax.nn.logsumexp(jnp.stack(jnp.broadcast_arrays(*terms)), axis=0))


@dataclasses.dataclass(frozen=True)
class LossSurface:
    """A fitted surface with its bootstrap.

    - `values`: `E`, `A`, `B`, `alpha`, `beta` by name.
    - `bootstrap`: refitted values by name, shape `(b,)`; NaN where a refit failed.
    - `objective`: sum of Huber losses at the optimum; `rms`: of the errors of ln loss.
    - `n_runs`, `converged`: runs that were fitted, and whether the solver met its tolerance.
    - `n_converged_starts`, `n_starts`: starts that met it, of all.
    - `condition`: of the Jacobian with columns of unit length.
    - `n_left_out`: runs without a finite loss, or without a size.
    """

    values: dict[str, float]
    bootstrap: dict[str, np.ndarray]
    objective: float
    rms: float
    n_runs: int
    converged: bool
    n_converged_starts: int
    n_starts: int
    condition: float
    n_left_out: int = 0

    @property
    def allocation(self) -> dict[str, float]:
        r"""Exponents of the best size and tokens, `N ~ C^a`, `D ~ C^b`, for `C = 6 N D`.

        $$a = \frac{\beta}{\alpha + \beta}, \qquad b = \frac{\alpha}{\alpha + \beta}$$
        """
        return {n: float(v) for n, v in _allocation(self.values).items()}

    def interval(self, level: float = 0.95) -> dict[str, tuple[float, float]]:
        """Percentile intervals of the parameters and of the allocation exponents.

        **Arguments:** `level`, of confidence.

        **Returns:** low and high end by name; `a` and `b` are the exponents of `allocation`.

        **Raises:** `ValueError` for a level outside (0, 1) or a fit without a bootstrap.
        """
        ends = self._percentiles({**self.bootstrap, **_allocation(self.bootstrap)}, level)
        return {n: (float(low), float(high)) for n, (low, high) in ends.items()}

    def loss(
        self, n_parameters: Float[ArrayLike, "..."], n_tokens: Float[ArrayLike, "..."]
    ) -> Float[np.ndarray, "..."]:
        """The fitted loss, in float64."""
        with jax.enable_x64(True):
            n, d = np.asarray(n_parameters, float), np.asarray(n_tokens, float)
            return np.asarray(loss_surface(n, d, **self.values))

    def optimal_allocation(self, flop: Float[ArrayLike, "..."]) -> dict[str, np.ndarray]:
        r"""Best parameters, tokens and loss for a number of operations `C = 6 N D`.

        $$N^* = G (C / 6)^a, \quad D^* = G^{-1} (C / 6)^b, \quad
          G = \left(\frac{\alpha A}{\beta B}\right)^{1 / (\alpha + \beta)}$$

        **Arguments:** `flop`, positive.

        **Returns:** `n_parameters`, `n_tokens` and `loss` by name, of the shape of `flop`.

        **Raises:** `ValueError` for operations that are not positive.

        **Reference:** Hoffmann et al. 2022, equation 4.
        """
        return _optimum(self.values, check_flop(flop))

    def allocation_interval(
        self, flop: Float[ArrayLike, "..."], level: float = 0.95
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Percentile intervals of `optimal_allocation`: every resample has an optimum of its own.

        **Arguments:** `flop`, positive; `level`, of confidence.

        **Returns:** low and high end of `n_parameters`, `n_tokens` and `loss`, of the shape of
        `flop`.

        **Raises:** `ValueError` for operations that are not positive, a level outside (0, 1), or a
        fit without a bootstrap.
        """
        c = check_flop(flop)
        drawn = {n: np.reshape(v, (-1, *(1,) * c.ndim)) for n, v in self.bootstrap.items()}
        return self._percentiles(_optimum(drawn, c), level)

    def to_dict(self, flop: ArrayLike | Sequence[float] = ()) -> dict[str, Any]:
        """Plain data for JSON, with the best allocation for each of `flop`."""
        drawn = self.bootstrap["E"].size
        return plain({
            "values": self.values, "allocation": self.allocation,
            "interval_95": self.interval() if drawn else None,
            "objective": self.objective, "rms": self.rms, "n_runs": self.n_runs,
            "n_left_out": self.n_left_out, "converged": self.converged,
            "condition": self.condition, "n_resamples": drawn,
            "starts": {"converged": self.n_converged_starts, "of": self.n_starts},
            "optimal_allocation": [self._allocated(float(c)) for c in np.asarray(flop)],
        })  # fmt: skip

    def to_json(self, path: Path | str, flop: ArrayLike | Sequence[float] = ()) -> None:
        """Write `to_dict` to a file."""
        write_json(self.to_dict(flop), path)

    def _allocated(self, flop: float) -> dict[str, Any]:
        ends = self.allocation_interval(flop) if self.bootstrap["E"].size else None
        return {"flop": flop, **self.optimal_allocation(flop), "interval_95": ends}

    def _percentiles(self, drawn: dict[str, np.ndarray], level: float) -> dict[str, Any]:
        check_level(level)
        if not self.bootstrap["E"].size:
            raise ValueError("`bootstrap` must be at least 1 for intervals, got 0.")
        tails = [(1 - level) / 2, (1 + level) / 2]
        with warnings.catch_warnings():  # of NumPy, where every refit failed
            warnings.simplefilter("ignore", RuntimeWarning)
            ends = {n: np.nanquantile(v, tails, axis=0) for n, v in drawn.items()}
        return {n: (np.asarray(low), np.asarray(high)) for n, (low, high) in ends.items()}

    def __str__(self) -> str:
        shown = {n: f"{n} = {v:.5g}" for n, v in {**self.values, **self.allocation}.items()}
        if self.bootstrap["E"].size:
            ends = self.interval().items()
            shown = {n: f"{shown[n]}  ({low:.4g} to {high:.4g})" for n, (low, high) in ends}
        return "\n".join(shown.values())


def fit_loss_surface(
    n_parameters: Float[ArrayLike, " n"] | Data,
    n_tokens: Float[ArrayLike, " n"] | None = None,
    loss: Float[ArrayLike, " n"] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    delta: float = 1e-3,
    bootstrap: int = 200,
    key: int = 0,
) -> LossSurface:
    r"""Fit `L(N, D) = E + A N^-alpha + B D^-beta` to training runs, robustly, with a bootstrap.

    $$\min \sum_i \text{Huber}_\delta\bigl(
        \text{LSE}(a - \alpha \ln N_i,\ b - \beta \ln D_i,\ e) - \ln L_i\bigr)$$

    with `A, B, E = exp(a, b, e)`; exponents are fitted in their logarithm, too. The starts lie on a
    grid of exponents and floors, each with the prefactors that fit it best; all are fitted. Every
    resample of the runs is fitted again from the optimum.

    **Arguments**

    - `n_parameters`, `n_tokens`, `loss`: one value per run, positive; or a DataFrame or the path of
      a CSV file alone, with columns of these names. Runs with a NaN, or whose loss is infinite
      (they diverged), are left out and counted.
    - `columns`: names of the columns of such a table by ours, as
      `{"n_parameters": "N", "n_tokens": "D"}`.
    - `delta`: errors of ln loss beyond it count by their size, not by their square.
    - `bootstrap`: number of resamples; 40 or more.
    - `key`: of the resamples.

    **Returns** a `LossSurface`.

    **Raises** `ValueError` for values that are not positive or all equal, unequal lengths, or
    under 6 runs.

    **Reference** Hoffmann et al. 2022, arXiv 2203.15556, approach 3; Besiroglu, Erdil, Barnett and
    You 2024, arXiv 2404.10102.
    """
    if n_tokens is None and loss is None:
        table = as_numbers(as_table(n_parameters, columns), COLUMNS)
        (n, d, y), n_left_out = _checked(*(table[name] for name in COLUMNS))
    elif columns is not None:
        raise ValueError("`columns` belongs to a table: give a DataFrame or the path of a file.")
    else:
        (n, d, y), n_left_out = _checked(n_parameters, n_tokens, loss)
    check_bootstrap(bootstrap)
    starts = _starts(n, d, y)
    with jax.enable_x64(True):
        kinds: Any = {"loss": Log()}
        robust = Huber(delta=np.asarray(delta))
        problem = FitProblem(_surface, (Positive(),) * 5, kinds, {"loss": np.asarray(1.0)}, robust)
        inputs = {"n_parameters": n[None], "n_tokens": d[None]}
        target, groups = np.log(y)[None, None], np.arange(len(y))[None]
        runs = DataSets(inputs, target, np.ones_like(target), groups, len(y))
        expand = Expansion(problem, runs, max(len(starts), bootstrap))
        result = least_squares.fit(expand, starts[0], starts[1:], len(starts))
        drawn = np.empty((0, 5))
        if bootstrap:
            again, status = least_squares.refit(expand, result.z, bootstrap, jax.random.key(key))
            drawn = np.where(status[0][:, None] == FAILED, np.nan, np.exp(again[0]))
    condition = float(result.condition[0])
    if not condition < MAX_SURFACE_CONDITION:
        warnings.warn(
            "the runs hardly constrain the five parameters separately: condition number "
            f"{condition:.2g} of the scaled Jacobian (published grids of runs: 200); vary N and D "
            "independently",
            stacklevel=2,
        )
    return LossSurface(
        values=dict(zip(NAMES, np.exp(result.z[0]).tolist(), strict=True)),
        bootstrap=dict(zip(NAMES, drawn.T, strict=True)),
        objective=float(result.start_cost[0].min()),
        rms=float(result.rms[0]),
        n_runs=len(y),
        converged=bool(result.status[0] == CONVERGED),
        n_converged_starts=int(np.sum(result.start_status[0] == CONVERGED)),
        n_starts=len(starts),
        condition=condition,
        n_left_out=n_left_out,
    )


def _surface(values: Float[Array, " p"], inputs: dict[str, Array]) -> dict[str, Array]:
    return {"loss": loss_surface(**inputs, **dict(zip(NAMES, values, strict=True)))}


def _allocation(values: dict[str, Any]) -> dict[str, Any]:
    total = np.add(values["alpha"], values["beta"])
    with np.errstate(all="ignore"):
        return {"a": values["beta"] / total, "b": values["alpha"] / total}


def _optimum(v: dict[str, Any], flop: np.ndarray) -> dict[str, np.ndarray]:
    """Best parameters, tokens and loss of surfaces with the values `v`; some may overflow."""
    v = {name: np.asarray(value, float) for name, value in v.items()}
    exponents, products = _allocation(v), flop / FLOP_PER_PARAMETER_TOKEN
    with np.errstate(all="ignore"):
        scale = (v["alpha"] * v["A"] / (v["beta"] * v["B"])) ** (1 / (v["alpha"] + v["beta"]))
        n = scale * products ** exponents["a"]
        d = products ** exponents["b"] / scale
        loss = v["E"] + v["A"] * n ** -v["alpha"] + v["B"] * d ** -v["beta"]
    best = {"n_parameters": n, "n_tokens": d, "loss": loss}
    return {name: np.asarray(value) for name, value in best.items()}


def check_flop(flop: Any) -> np.ndarray:
    """Return numbers of operations as an array; refuse those that are not positive."""
    c = np.asarray(flop, float)
    bad = ~(np.isfinite(c) & (c > 0))
    if bad.any():
        raise ValueError(f"`flop` must be positive and finite, got {c[bad][0]}.")
    return c


def _checked(*columns: Any) -> tuple[tuple[np.ndarray, ...], int]:
    """Parameters, tokens and losses of the runs that have all three, and how many have not."""
    given = {name: np.asarray(column) for name, column in zip(COLUMNS, columns, strict=True)}
    for name, values in given.items():
        if values.ndim != 1 or values.dtype.kind not in "iuf":
            kind = f"{values.dtype} of shape {values.shape}"
            raise ValueError(f"`{name}` must be a vector of numbers, got {kind}.")
    sizes = [len(values) for values in given.values()]
    if len(set(sizes)) > 1:
        raise ValueError(f"`loss` must have one value per run, got {sizes}.")
    n, d, loss = arrays = tuple(values.astype(float) for values in given.values())
    used = ~np.isnan(n + d) & np.isfinite(loss)
    if used.sum() < len(NAMES) + 1:
        raise ValueError(f"`loss` must be finite for at least 6 runs, got {used.sum()}.")
    for name, array in zip(COLUMNS, arrays, strict=True):
        refuse(name, "positive and finite", array, used & ~(np.isfinite(array) & (array > 0)))
        if np.ptp(array[used]) == 0:
            value = array[used][0]
            raise ValueError(
                f"`{name}` must have several values, got {value:g} for every run: such runs hold "
                "no information on the exponents."
            )
    return tuple(array[used] for array in arrays), int(np.sum(~used))


def _starts(n: np.ndarray, d: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Coordinates on a grid of exponents and floors, with the best prefactors of each."""
    from scipy.optimize import nnls

    starts = []
    for share, alpha, beta in itertools.product(FLOORS, EXPONENTS, EXPONENTS):
        floor = share * y.min()
        columns = np.stack([n**-alpha, d**-beta], axis=1) / y[:, None]
        scale = columns.max(axis=0)
        weights, _ = nnls(columns / scale, (y - floor) / y)
        prefactors = np.maximum(weights, 1e-3) / scale
        starts.append([floor, *prefactors, alpha, beta])
    return np.log(starts)
