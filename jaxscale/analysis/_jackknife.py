"""Estimates made from a mean over seeds, with an interval over seeds."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import ArrayLike, Float

from jaxscale._arguments import hinted
from jaxscale.analysis._data import require_array
from jaxscale.analysis._exponents import fit_exponent

if TYPE_CHECKING:
    import xarray


@hinted
def jackknife_exponents(
    curve: "xarray.DataArray", dim: str, window: tuple[float, float]
) -> Float[np.ndarray, " s"]:
    r"""Jackknife pseudo-values of the exponent of the mean curve.

    $$v_i = n \hat\theta - (n - 1)\,\hat\theta_{-i}$$

    with the exponent fitted to the mean over all seeds, and over all seeds but one. A law states
    how the mean falls; the mean of per-seed exponents belongs to the typical curve, which lies
    below the mean by half the variance of `ln y`. Student's t interval of the pseudo-values is
    that of the mean curve's exponent.

    **Arguments**

    - `curve`: positive values over `dim` and `seed`.
    - `dim`: the dimension of x.
    - `window`: first and last x, both included, given by a formula or by the caller.

    **Returns** pseudo-values, shape `(s,)`, for `seed_interval` or `Claim.from_seeds`.

    **Raises** `ValueError` for fewer than 2 seeds, or as `fit_exponent`.

    **Reference** Tukey 1958, Ann. Math. Statist. 29, 614.
    """
    require_array("curve", curve)
    return jackknife(curve, lambda mean: fit_exponent(mean, dim, window).value)


@hinted
def jackknife(
    values: "xarray.DataArray", estimate: "Callable[[xarray.DataArray], ArrayLike]"
) -> Float[np.ndarray, "s ..."]:
    r"""Jackknife pseudo-values of any estimate from the mean over seeds.

    $$v_i = n\, \hat\theta(\bar y) - (n - 1)\, \hat\theta(\bar y_{-i})$$

    **Arguments**

    - `values`: any dimensions, and `seed`.
    - `estimate`: maps the mean over seeds, without that dimension, to a number or an array.

    **Returns** pseudo-values, shape `(s, ...)`; all NaN if a point is missing for some seeds but
    not for all, for the mean over the others would answer another question.

    **Raises** `ValueError` for fewer than 2 seeds.

    **Reference** Tukey 1958, Ann. Math. Statist. 29, 614.

    **Example**

    >>> import xarray
    >>> values = xarray.DataArray([1.0, 2.0, 3.0], dims="seed")
    >>> js.analysis.jackknife(values, lambda mean: float(mean))
    array([1., 2., 3.])
    """
    require_array("values", values)
    n = values.sizes.get("seed", 0)
    if n < 2:
        raise ValueError(f"`values` must have at least 2 seeds, got {n}.")
    missing = values.isnull()
    partly = missing & ~missing.all("seed")
    if bool(partly.any()):  # the mean over the others would forget what these seeds did
        shape = np.shape(estimate(values.fillna(1.0).mean("seed")))
        return np.full((n, *shape), np.nan)
    total = values.sum("seed", skipna=False)
    others = ((total - values.isel({"seed": i}, drop=True)) / (n - 1) for i in range(n))
    return pseudo_values(np.stack([np.asarray(estimate(m)) for m in (total / n, *others)]))


def pseudo_values(estimates: Float[np.ndarray, "r *p"]) -> Float[np.ndarray, "s *p"]:
    """Jackknife values `n theta - (n - 1) theta_i` of an estimate from all n, then without each.

    An estimate from all alone, of a single seed, is its own value.
    """
    n = len(estimates) - 1
    return n * estimates[0] - (n - 1) * estimates[1:] if n else estimates
