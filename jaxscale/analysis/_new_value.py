"""Where a new measurement lies: the interval of the curve, and the noise on top of it."""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

IN_TAIL = 2  # independent residuals beyond an end that is read from the residuals


class Noise(NamedTuple):
    """Variance of one measurement around the curve, and the degrees of freedom of its estimate."""

    variance: float
    df: float


def ends_of_new(
    fit: Any,
    i: int,
    value: Float[np.ndarray, " k"],
    ends: Float[np.ndarray, "2 k"],
    level: float,
) -> Float[np.ndarray, "2 k"]:
    r"""Ends of a new measurement, from those of the curve of the fit number `i` of `each`.

    $$S(y_\pm) = S(y) \pm \sqrt{\bigl(S(y^{mean}_\pm) - S(y)\bigr)^2 + (q_\pm\, t_\nu\, s)^2}$$

    on the scale S of the residuals. The two parts are independent, each has its own interval, and
    so each is widened for its own number of points or groups alone. The noise has the variance
    $s^2$ with $\nu$ degrees of freedom (`noise_of`), and $t_\nu$ is the quantile of Student's t.
    Noise need not be normal: $q_\pm$ is a quantile of the residuals over that of a normal law of
    the same size, and 1 where fewer than 2 of $\nu$ lie in a tail.

    **Reference** Howe 1974, J. Am. Statist. Assoc. 69, 789 (the sum of two such variables).
    """
    from scipy.special import ndtri, stdtrit

    (name,) = fit.residual
    kind, unit = fit.residual[name], np.atleast_1d(fit.units[name])[i]
    own = np.asarray(fit.residuals).reshape(-1, np.shape(fit.residuals)[-1])[i]
    groups = None
    if fit.drawn is not None and fit.drawn.groups is not None:
        groups = fit.drawn.of_set(i).groups[0]
    used = np.isfinite(own)
    inputs = np.stack([np.atleast_2d(x)[i] for x in fit.inputs.values()])
    location = np.unique(inputs, axis=1, return_inverse=True)[1].reshape(-1)
    group = np.arange(len(own)) if groups is None else groups
    noise = noise_of(own[used], group[used], location[used], len(fit.free))
    tail = (1 - level) / 2
    half = np.full((2, 1), stdtrit(noise.df, 1 - tail) * math.sqrt(noise.variance))
    size = np.sqrt(np.mean(own[used] ** 2))
    if noise.df * tail >= IN_TAIL and size > 0:
        half *= _tails(own[used] / size, tail)[:, None] / ndtri(1 - tail)
    with np.errstate(all="ignore"):
        mean = kind.scaled(ends) / unit - kind.scaled(value) / unit
        shift = np.sqrt(mean**2 + half**2) * [[-1.0], [1.0]]
        new = kind.shifted(np.stack([value, value]), shift * unit)
    # the value of a fit may lie outside of the percentiles of its refits, and an end may be 0
    return np.stack([np.fmin(new[0], ends[0]), np.fmax(new[1], ends[1])])


def _tails(residuals: Float[np.ndarray, " n"], tail: float) -> Float[np.ndarray, "2"]:
    """Distances from 0 of the quantiles of minus the residuals, averaged over order statistics.

    **Reference** Harrell and Davis 1982, Biometrika 69, 635.
    """
    from scipy.special import betainc

    n, a = len(residuals), (len(residuals) + 1) * tail
    weight = np.diff(betainc(a, n + 1 - a, np.arange(n + 1) / n))
    ordered = np.sort(residuals)
    return np.abs([ordered[::-1] @ weight, ordered @ weight])


def noise_of(
    residuals: Float[np.ndarray, " n"],
    group: Int[np.ndarray, " n"],
    location: Int[np.ndarray, " n"],
    n_free: int,
) -> Noise:
    r"""Estimate the noise of one measurement, which residuals of a group may share.

    $$s^2 = V + (1 - h) W, \qquad V = \frac{\sum_g \bar r_g^2}{G - p_b}, \qquad
      W = \frac{\sum (r_{gi} - \bar r_g)^2}{n - G - p + p_b}, \qquad
      \frac{s^4}{\nu} = \frac{V^2}{G - p_b} + \frac{(1 - h)^2 W^2}{n - G - p + p_b}$$

    for n residuals in G groups, h the mean of one over their sizes, and p parameters, of which
    $p_b$ move the means of groups apart: no more than there are different sets of locations of the
    groups, one where each group is measured at the same locations. Of single points
    $s^2 = \sum r^2 / (n - p)$ and $\nu = n - p$.

    **Reference** Satterthwaite 1946, Biometrics Bull. 2, 110.
    """
    number, counts = np.unique(group, return_inverse=True, return_counts=True)[1:]
    n, n_groups = len(residuals), len(counts)
    if n == n_groups:
        df = max(n - n_free, 1)
        return Noise(float(np.sum(residuals**2) / df), df)
    sets = {tuple(np.unique(location[number == g])) for g in range(n_groups)}
    between = min(n_free, len(sets))
    means = np.bincount(number, residuals) / counts
    df = max(n_groups - between, 1), max(n - n_groups - n_free + between, 1)
    parts = (
        np.sum(means**2) / df[0],
        (1 - np.mean(1 / counts)) * np.sum((residuals - means[number]) ** 2) / df[1],
    )
    variance = sum(parts)
    uncertain = sum(part**2 / own for part, own in zip(parts, df, strict=True))
    return Noise(float(variance), float(variance**2 / uncertain) if uncertain else n - n_free)
