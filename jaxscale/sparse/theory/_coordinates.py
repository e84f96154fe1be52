"""The spectrum as a short list of weighted coordinates, so that every sum is one dot product."""

import functools
import inspect
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypedDict, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Real

from jaxscale._theory import Check, symbols
from jaxscale.sparse.theory._checks import theory_function
from jaxscale.sparse.theory._indices import indices, room
from jaxscale.spectra import as_floats, require

P = ParamSpec("P")
R = TypeVar("R")
_PANELS = (8, 0)
POWER_LAW: Any = None  # a `spectrum` that the exponents describe
_DEFAULTS: dict[str, Any] = {
    "spectrum_exponent": None,
    "sparsity_exponent": None,
    "activity": 1.0,
    "n_coordinates": math.inf,
}


def _vector(name: str, ok: Callable[[Any], Any], what: str) -> Any:
    """Declare a field: a vector whose values are `what`, so that `ok` holds of them."""

    def convert(value: Any) -> Array:
        if np.ndim(value) != 1 or not np.size(value):
            raise ValueError(f"`{name}` must be a non-empty vector, got shape {np.shape(value)}.")
        if not isinstance(value, jax.Array):
            value = np.asarray(value)
        if not isinstance(value, Tracer):
            require(name, np.asarray(value), ok, what)
        return as_floats(value)[0]

    return eqx.field(converter=convert)


class Coordinates(eqx.Module):
    r"""A spectrum: variances, probabilities of being active, and quadrature weights.

    $$\sum_{i=1}^{M} h(\lambda_i, p_i) \approx \sum_k w_k\, h(\lambda_k, p_k)$$

    A spectrum given coordinate by coordinate has weights 1. Weights may be negative (ends of a
    quadrature rule). The first entry must be the coordinate active most often.

    **Arguments:**

    - `variance`: lambda, `(k,)`, mean square of a coordinate, in squared units of the target.
    - `probability`: p in (0, 1], `(k,)`.
    - `weight`: w, `(k,)`, number of coordinates that the entry stands for.

    **Raises:** `ValueError` for values out of range, unequal lengths, or another first entry.
    """

    variance: Float[Array, " k"] = _vector(
        "variance", lambda v: (v >= 0) & (v < np.inf), "at least 0 and finite"
    )
    probability: Float[Array, " k"] = _vector(
        "probability",
        lambda v: (v > 0) & (v <= 1) & (v <= v[0]),
        "in (0, 1], the largest first",
    )
    weight: Float[Array, " k"] = _vector("weight", np.isfinite, "finite")

    def __check_init__(self):
        lengths = [len(self.variance), len(self.probability), len(self.weight)]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"`variance`, `probability` and `weight` must have one length, got {lengths}."
            )

    def sum(self, values: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
        """Sum `values`, one per entry, over every coordinate that the entries stand for."""
        return jnp.sum(values * self.weight, axis=-1)

    @property
    def amplitude(self) -> Float[Array, " k"]:
        """Mean square of a coordinate while it is active, lambda / p."""
        # not a quotient: p^2 of its gradient underflows for rare coordinates
        return self.variance * jnp.exp(-jnp.log(self.probability))


def build(
    spectrum_exponent: ArrayLike,
    sparsity_exponent: ArrayLike,
    activity: ArrayLike,
    n_coordinates: int | float,
    clipped: bool,
    panels: tuple[int, int] = _PANELS,
) -> Coordinates:
    """Build `power_law_coordinates` from scalars of one dtype.

    `clipped` says whether c may exceed 1; `panels` are those of the resolved range and beyond,
    where 0 stands for five that double in length.
    """
    alpha, gamma, c = symbols(spectrum_exponent, sparsity_exponent, activity)
    points, weights, cut = indices(alpha, gamma, c, n_coordinates, clipped, panels)
    log_i = jnp.log(points)
    variance = jnp.exp(-(1 + alpha) * log_i)
    log_p = jnp.maximum(jnp.log(c) - gamma * log_i, -room(gamma))
    # p = 1 exactly at i = 1, c = 1; the slope in c there is that from below
    probability = jnp.where(log_p > 0, 1.0, jnp.exp(jnp.where(log_p > 0, 0.0, log_p)))
    if cut is not None:
        # everything beyond: one entry with the right sum of lambda and, if finite, of p
        slope = jnp.where(gamma > 1, gamma - 1, alpha)
        last = jnp.exp(cut) / slope
        rest = jnp.exp(-(1 + alpha) * cut) * slope / alpha
        weights = jnp.append(weights, last)
        variance = jnp.append(variance, rest)
        log_last = jnp.clip(jnp.log(c) - gamma * cut, -room(gamma), 0.0)
        probability = jnp.append(probability, jnp.exp(log_last))
    return Coordinates(variance, probability, weights)


def may_clip(activity: Any) -> bool:
    """Whether min(1, c i^-gamma) may have a kink: only concrete values at most 1 exclude it."""
    if isinstance(activity, Tracer):
        return True
    values = np.asarray(activity)
    return values.dtype.kind in "fiub" and bool(np.any(values > 1))


_build = theory_function("n_coordinates", "clipped", "panels", vectorize=False)(build)


def power_law_coordinates(
    *,
    spectrum_exponent: Real[ArrayLike, ""],
    sparsity_exponent: Real[ArrayLike, ""],
    activity: Real[ArrayLike, ""] = 1.0,
    n_coordinates: int | float = math.inf,
) -> Coordinates:
    r"""Spectrum with power-law variances and power-law probabilities of being active.

    $$\lambda_i = i^{-(1+\alpha)}, \qquad p_i = \min(1, c\,i^{-\gamma}), \qquad i = 1..M$$

    The first 32 coordinates one by one, then about 150 Gauss-Legendre nodes in ln i with
    Euler-Maclaurin ends (and, for activity above 1, the kink resolved by exact terms behind it),
    for infinite M one more entry for the far tail. In float64 the sums of this package are within
    1e-6 for alpha in 0.2..3, gamma in 0..4, crossovers up to index 1e6 (tested).

    **Arguments:** (scalars)

    - `spectrum_exponent`: alpha > 0.
    - `sparsity_exponent`: gamma >= 0; 0 with activity 1 is dense Gaussian data.
    - `activity`: c > 0, probability of the first coordinate when below 1.
    - `n_coordinates`: M, a Python integer or `math.inf`. With gamma <= 1 an infinite spectrum has
      no finite sum of p_i; only sums that converge are then represented.

    **Returns:** the coordinates, `k` about 190 (`k = M` up to M = 192).

    **Raises:** `ValueError` for a plain number out of range.

    **Reference:** derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer).

    **Example**

    >>> at = dict(spectrum_exponent=1.0, sparsity_exponent=2.0, n_coordinates=3)
    >>> spectrum = js.sparse.theory.power_law_coordinates(**at)
    >>> print(np.asarray(spectrum.variance).round(3), np.asarray(spectrum.probability).round(3))
    [1.    0.25  0.111] [1.    0.25  0.111]
    """
    clipped = may_clip(activity)
    return _build(spectrum_exponent, sparsity_exponent, activity, n_coordinates, clipped)


class SparsityFields(TypedDict, total=False):
    """How often the coordinates of a power-law spectrum are active, and their number."""

    sparsity_exponent: Real[ArrayLike, "..."] | None
    activity: Real[ArrayLike, "..."]
    n_coordinates: int | float


class PowerLawFields(SparsityFields, total=False):
    """What describes a power-law spectrum, as in `power_law_coordinates`, in any shapes."""

    spectrum_exponent: Real[ArrayLike, "..."] | None


def endless_gamma(power_law: Mapping[str, Any]) -> Any:
    """Gamma of a power law of infinitely many coordinates; None of any other spectrum."""
    return power_law["sparsity_exponent"] if power_law["n_coordinates"] == math.inf else None


def _check_one_spectrum(values: Mapping[str, Any]) -> None:
    """Check that a spectrum is given either as such or by the exponents of a power law."""
    if values["spectrum"] is not POWER_LAW and not isinstance(values["spectrum"], Coordinates):
        raise ValueError(f"`spectrum` must be Coordinates, got {values['spectrum']!r}.")
    for name in (n for n in _DEFAULTS if n in values):
        value, default = values[name], _DEFAULTS[name]
        if values["spectrum"] is POWER_LAW:
            if value is None:
                raise ValueError(f"`{name}` must be given, or a `spectrum` instead, got None.")
        elif value is not default and (not isinstance(value, int | float) or value != default):
            raise ValueError(f"`{name}` must not be given together with a `spectrum`, got {value}.")


def lists_power_law(function: Callable[P, R]) -> Callable[P, R]:
    """Let the signature of `function` list the fields behind its `**power_law`."""
    signature = inspect.signature(function)
    *own, power_law = signature.parameters.values()
    (fields,) = typing.get_args(power_law.annotation)
    keyword = inspect.Parameter.KEYWORD_ONLY
    named = [
        inspect.Parameter(n, keyword, default=default, annotation=fields.__annotations__[n])
        for n, default in _DEFAULTS.items()
        if n in fields.__annotations__
    ]
    function.__signature__ = signature.replace(parameters=[*own, *named])  # pyright: ignore
    return function


def of_spectrum(
    *, panels: tuple[int, int] = _PANELS, check: Check = _check_one_spectrum
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a theory function of a `spectrum`, or of the `**power_law` that describes one.

    The formula gets `Coordinates` in `spectrum`, whichever way the caller describes it; `panels`
    are those of `build`, `check` is one more of all arguments.
    """

    def check_all(values: Mapping[str, Any]) -> None:
        _check_one_spectrum(values)
        check(values)

    decorator = theory_function(
        "n_coordinates",
        trees=("spectrum",),
        cast_trees=True,
        plain=lambda values: {"clipped": may_clip(values["activity"])},
        check=check_all,
    )

    def decorate(formula: Callable[..., Any]) -> Callable[..., Any]:
        @lists_power_law
        @functools.wraps(formula)
        def with_spectrum(*, clipped: bool, **values: Any) -> Any:
            if values["spectrum"] is POWER_LAW:
                gamma = values["sparsity_exponent"]
                # of a number of coordinates: their variances do not enter
                alpha = values.get("spectrum_exponent", jnp.ones_like(gamma))
                given = (alpha, gamma, values["activity"], values["n_coordinates"])
                values["spectrum"] = build(*given, clipped, panels)
            return formula(**values)

        return decorator(with_spectrum)

    return decorate
