"""The best parameters and tokens for a number of operations, of any form of both."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from jaxscale._convert import as_real, require_instance
from jaxscale._text import choices
from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._expansion import FITS, is_array
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._intervals import check_level, decades_outside
from jaxscale.sweep._structure import structure_key

SIZES = ("n_parameters", "n_tokens")
FLOP_PER_PARAMETER_TOKEN = 6.0
REACH = 25.0  # in ln N, on both sides of N = D
POINTS, ZOOMS = 33, 3  # of ln N in one zoom
CLOSER = 4 / (POINTS - 1)  # a zoom spans two steps of the one before, on both sides
STEP = 1e-3  # in ln C, of the exponent of the best size
HALVINGS = 45  # of the interval that the last zoom leaves, by the sign of the slope
LANES = 128  # refits and operations that are minimised at once, by one program


@dataclasses.dataclass(frozen=True)
class OptimalAllocation:
    """Best parameters and tokens of each number of operations, with intervals.

    - `flop`: C, of any shape.
    - `best`: `n_parameters`, `n_tokens` and the result of the form, by name, of that shape; NaN
      where the loss has no minimum along `C`.
    - `interval`: their low and high ends by name; NaN without resamples.
    - `exponent`, `exponent_interval`: of N* in C, d ln N* / d ln C.
    - `level`: of the intervals.
    - `decades_outside`: how far C, N* or D* lies outside of the runs that were fitted, in decades.
    """

    flop: np.ndarray
    best: dict[str, np.ndarray]
    interval: dict[str, tuple[np.ndarray, np.ndarray]]
    exponent: np.ndarray
    exponent_interval: tuple[np.ndarray, np.ndarray]
    level: float
    decades_outside: np.ndarray

    def table(self) -> Any:
        """Return a DataFrame of one row per number of operations."""
        import pandas

        columns = {"flop": self.flop.ravel()}
        for name, values in self.best.items():
            low, high = self.interval[name]
            columns |= {
                name: values.ravel(),
                f"{name}_low": low.ravel(),
                f"{name}_high": high.ravel(),
            }
        low, high = self.exponent_interval
        columns |= {"exponent": self.exponent.ravel(), "exponent_low": low.ravel()}
        columns["exponent_high"] = high.ravel()
        return pandas.DataFrame({**columns, "decades_outside": self.decades_outside.ravel()})


def allocate(
    fit: Calibration,
    flop: Float[ArrayLike, "..."] | Sequence[float],
    *,
    level: float = 0.95,
    flop_per_parameter_token: float = FLOP_PER_PARAMETER_TOKEN,
    **others: Any,
) -> OptimalAllocation:
    r"""Best parameters and tokens for a number of operations, with intervals.

    $$N^*(C) = \arg\min_N L\Bigl(N, \frac{C}{c N}\Bigr), \qquad D^* = \frac{C}{c N^*}$$

    Every refit of a resample has an optimum of its own, and their percentiles are the interval.

    **Arguments**

    - `fit`: of a form whose inputs are `n_parameters` and `n_tokens`, and perhaps others.
    - `flop`: C, positive, of any shape.
    - `level`: of confidence.
    - `flop_per_parameter_token`: c, positive.
    - `others`: values of the other inputs of the form, such as the label of a group.

    **Returns** an `OptimalAllocation`.

    **Raises** `ValueError` for a fit of anything else, no operations, operations or c that are not
    positive, other inputs that are missing, unknown, no number or outside of what the form takes,
    and a level outside (0, 1).

    **Reference** Hoffmann et al. 2022, arXiv 2203.15556, equation 4.
    """
    check_level(level)
    require_instance("fit", fit, Calibration, "js.calibrate")
    others = _others(fit, others)
    c = check_flop(flop)
    if not c.size:
        raise ValueError(f"`flop` must hold at least one number, got {flop!r}.")
    per_product = as_real("flop_per_parameter_token", flop_per_parameter_token, above=0)
    products = np.asarray(c / per_product)
    apart = products * np.exp([-STEP, 0.0, STEP]).reshape(3, *(1,) * c.ndim)
    fitted = {n: np.asarray([v]) for n, v in fit.values.items()}
    best = {n: v[0] for n, v in _optimum(fit, fitted, apart, others).items()}
    exponent = _slope(best["n_parameters"])
    best = {n: np.asarray(v[1]) for n, v in best.items()}
    nothing = np.full(c.shape, np.nan)
    ends = dict.fromkeys([*best, ""], (nothing, nothing))
    if fit.drawn is not None:
        refits = _optimum(fit, fit.refits, apart, others)
        with np.errstate(divide="ignore", invalid="ignore"):  # lost refits, a loss of 0
            logs = {n: fit.drawn.ends(np.log(v[:, 1]), level) for n, v in refits.items()}
        ends = {n: (np.asarray(np.exp(a)), np.asarray(np.exp(b))) for n, (a, b) in logs.items()}
        ends[""] = fit.drawn.ends(_slope(refits["n_parameters"], 1), level)
    runs = {name: fit.inputs[name] for name in SIZES}
    runs["products"] = np.prod([*runs.values()], axis=0)
    far = farthest_outside(runs, {**best, "products": products})
    return OptimalAllocation(c, best, ends, exponent, ends.pop(""), level, far)


def _others(fit: Calibration, given: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs besides parameters and tokens as numbers; refuse fits without those."""
    theory = fit.theory
    inputs = tuple(fit.inputs) if isinstance(theory, Formula) else ()
    if fit.each is not None or not set(SIZES) <= set(inputs):
        raise ValueError(
            "`fit` must be one fit of a form of n_parameters and n_tokens, got "
            f"{f'fits for each {fit.each}' if fit.each else ', '.join(inputs) or 'a grid'}."
        )
    assert isinstance(theory, Formula)
    own = [name for name in inputs if name not in SIZES]
    for name in given:
        if name not in own:
            hint = choices(name, own)
            raise ValueError(f"`{name}` is not an input of {theory.name} besides its sizes{hint}")
    for name in own:
        if name not in given:
            raise ValueError(f"`{name}` must have a value: the form depends on it.")
    numbers = {name: as_real(name, value) for name, value in theory.coded(given).items()}
    theory.check_inputs(numbers)
    return numbers


def _slope(n: Float[np.ndarray, "..."], axis: int = 0) -> Float[np.ndarray, "..."]:
    """Exponent of the best size in C, from sizes at the two neighbours of each C."""
    low, _, high = np.moveaxis(np.log(n), axis, 0)
    return np.asarray((high - low) / (2 * STEP))


def check_flop(flop: Any) -> np.ndarray:
    """Return numbers of operations as an array; refuse those that are not positive."""
    try:
        if np.asarray(flop).dtype.kind == "U":  # NumPy would read numbers from it
            raise TypeError
        c = np.asarray(flop, float)
    except (TypeError, ValueError):
        raise ValueError(f"`flop` must be positive numbers, got {flop!r}.") from None
    bad = ~(np.isfinite(c) & (c > 0))
    if bad.any():
        raise ValueError(f"`flop` must be positive and finite, got {c[bad][0]}.")
    return c


def _optimum(
    fit: Calibration,
    values: Mapping[str, Float[np.ndarray, " b"]],
    products: Float[np.ndarray, "*c"],
    others: Mapping[str, Any],
) -> dict[str, Float[np.ndarray, "b *c"]]:
    """Minimise along N D = products, for every refit."""
    assert isinstance(fit.theory, Formula)
    theory = fit.theory.called(fit.free)
    drawn = np.stack([values[name] for name in fit.free], axis=1)
    lanes, log_product = np.repeat(drawn, products.size, 0), np.log(products).ravel()
    with jax.enable_x64(True):
        arrays, static = eqx.partition(theory, is_array)
        find = FITS.find(
            ("allocation", structure_key(theory, is_array)), lambda: _minimiser(static)
        )
        best = _in_blocks(
            lambda *lane: find(arrays, others, *lane), lanes, np.tile(log_product, len(drawn))
        )
    shape = (len(drawn), *products.shape)
    x, loss = (v.reshape(shape) for v in best)
    x = np.where((np.abs(x - np.log(products) / 2) > REACH - 1.0) | ~np.isfinite(loss), np.nan, x)
    n = np.exp(x)
    loss = np.where(np.isnan(x), np.nan, loss)
    return {"n_parameters": n, "n_tokens": products / n, fit.theory.result: loss}


def _in_blocks(program: Any, *lanes: np.ndarray) -> list[np.ndarray]:
    """Results of a program on `LANES` lanes at once; the last block repeats the last lane."""
    n = len(lanes[0])
    blocks = []
    for first in range(0, n, LANES):
        at = np.minimum(np.arange(first, first + LANES), n - 1)
        blocks.append([np.asarray(x) for x in program(*(lane[at] for lane in lanes))])
    return [np.concatenate(x)[:n] for x in zip(*blocks, strict=True)]


def _minimiser(static: Any) -> Any:
    """Program that returns ln N* and the lowest result, of lanes of parameters and ln(N D)."""

    def one(arrays: Any, others: dict[str, Array], own: Array, product: Array) -> Any:
        theory = eqx.combine(arrays, static)

        def loss(x: Array) -> Array:
            n = jnp.exp(x)
            inputs = {"n_parameters": n, "n_tokens": jnp.exp(product) / n, **others}
            return theory(own, inputs)[theory.result]

        def zoom(i: Array, middle: Array) -> Array:
            x = middle + REACH * CLOSER**i * jnp.linspace(-1.0, 1.0, POINTS)
            at = jax.vmap(loss)(x)
            return x[jnp.argmin(jnp.where(jnp.isfinite(at), at, jnp.inf))]

        def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
            middle = (ends[0] + ends[1]) / 2
            falls = jax.grad(loss)(middle) < 0
            return jnp.where(falls, middle, ends[0]), jnp.where(falls, ends[1], middle)

        near = jax.lax.fori_loop(0, ZOOMS, zoom, product / 2)
        reach = REACH * CLOSER ** (ZOOMS - 1)
        low, high = jax.lax.fori_loop(0, HALVINGS, halve, (near - reach, near + reach))
        return (low + high) / 2, loss((low + high) / 2)

    return jax.jit(jax.vmap(one, (None, None, 0, 0)))


def farthest_outside(
    runs: Mapping[str, Float[np.ndarray, " n"]], wanted: Mapping[str, Float[np.ndarray, "*c"]]
) -> Float[np.ndarray, "*c"]:
    """Decades between runs and what is wanted, of the name where these are most; inf of no runs."""
    ends = {name: (run.min(initial=np.inf), run.max(initial=0.0)) for name, run in runs.items()}
    return np.max([decades_outside(wanted[name], *ends[name]) for name in runs], axis=0)
