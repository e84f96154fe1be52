"""Where the parabola of an isoFLOP curve misses the minimum of a Chinchilla surface."""

import numpy as np
from jaxtyping import ArrayLike, Float

from jaxscale._arguments import hinted


@hinted
def isoflop_bias(
    *,
    alpha: Float[ArrayLike, "..."],
    beta: Float[ArrayLike, "..."],
    width: Float[ArrayLike, "..."],
    offset: Float[ArrayLike, "..."] = 0.0,
) -> Float[np.ndarray, "..."]:
    r"""Bias of ln N* of a parabola in ln N that is fitted to an isoFLOP curve.

    At a compute C, with $u = \ln N - \ln N^*$, the Chinchilla surface is

    $$L(u) = L_0 + g \Bigl(\frac{e^{-\alpha u}}{\alpha} + \frac{e^{\beta u}}{\beta}\Bigr), \qquad
      g = \alpha A N^{*-\alpha}$$

    whatever C is: its third derivative over its second, at the minimum, is $\beta - \alpha$. The
    parabola of least squares over runs that fill a window of half width $h = w / 2$ around $u = m$
    evenly follows from the projections on the Legendre polynomials $P_1$ and $P_2$, which are the
    modified spherical Bessel functions $i_1$ and $i_2$. Its minimum lies at

    $$\hat u = m - \frac{h}{5}\,
      \frac{q\, i_1(\beta h) / \beta - p\, i_1(\alpha h) / \alpha}
           {q\, i_2(\beta h) / \beta + p\, i_2(\alpha h) / \alpha},
      \qquad p = e^{-\alpha m},\ q = e^{\beta m}$$

    $$\hat u \approx (\beta - \alpha) \Bigl(\frac{m^2}{2} - \frac{w^2}{40}\Bigr)$$

    for narrow windows near the minimum. Windows of one width that lie alike around every minimum
    shift all N* by one factor, and leave their exponent in C as it is; windows that drift with C do
    not. No number of runs removes it; alpha = beta and m = 0 do, and narrower windows.

    **Arguments**

    - `alpha`, `beta`: exponents of N and D, positive.
    - `width`: w, of the window in ln N, positive.
    - `offset`: m, of its middle from ln N*.

    **Returns** the bias, to be subtracted from ln N of the parabola's minimum; NaN for values that
    are not positive.

    **Reference** Derived here; Hoffmann et al. 2022, arXiv 2203.15556, approach 2, is the parabola.

    >>> round(float(js.analysis.isoflop_bias(alpha=0.34, beta=0.28, width=np.log(16))), 4)
    0.0115
    """
    from scipy.special import spherical_in

    a, b, w, m = np.broadcast_arrays(*(np.asarray(x, float) for x in (alpha, beta, width, offset)))
    with np.errstate(all="ignore"):
        x, y = np.asarray(a * w / 2), np.asarray(b * w / 2)
        p, q = np.exp(-a * m), np.exp(b * m)
        # slope and curvature in units of h/3 and h^2/15
        slope = np.expm1(b * m) - np.expm1(-a * m) + q * _first_excess(y) - p * _first_excess(x)
        curvature = b * q * spherical_in(2, y) / y**2 + a * p * spherical_in(2, x) / x**2
        bias = m - slope / (15 * curvature)
    return np.where((a > 0) & (b > 0) & (w > 0), bias, np.nan)


def _first_excess(x: Float[np.ndarray, "*s"]) -> Float[np.ndarray, "*s"]:
    """Return 3 i_1(x) / x - 1 without cancellation: a series below 1."""
    from scipy.special import spherical_in

    low = np.minimum(x, 1.0) ** 2 / 2
    series = np.zeros_like(x)
    for k in range(8, 0, -1):  # ratios of terms: (x^2/2) / (k (2k + 3))
        series = (series + 1) * low / (k * (2 * k + 3))
    return np.where(x < 1, series, 3 * spherical_in(1, x) / x - 1)
