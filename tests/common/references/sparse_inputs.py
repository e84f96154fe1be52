"""Sparse inputs: few coordinates, one given set of inputs, and dense inputs."""

import math

import jax.numpy as jnp
import mpmath
import numpy as np
from mpmath import mpf

from jaxscale.sparse import theory
from references._case import Axis, Case, over_points
from references.sparse import ALL_ALPHA, dense_delta

M = 40
INPUTS = np.random.default_rng(1).standard_normal((4, 7)) * 10.0 ** -np.arange(7)
INPUTS[:, 5] = 0.0
GAMMA = Axis(0.1, 4.0, (0.0, 1.0))
ACTIVITY = Axis(1e-3, 1e3, (1.0,))


def _coordinates(alpha, gamma, c):
    """Variances and probabilities."""
    ranks = [mpf(i) for i in range(1, M + 1)]
    return [i ** -(1 + alpha) for i in ranks], [min(c * i**-gamma, mpf(1)) for i in ranks]


def _rank(n_samples, sparsity_exponent, activity):
    """The least value of a function of q, at one of the places where its slope changes sign."""
    n = n_samples
    _, p = _coordinates(mpf(1), sparsity_exponent, activity)

    def slope(y):  # of the function in q, over D, at q = exp(-y)
        return mpmath.fsum(x * mpmath.exp(-x * n * mpmath.exp(-y)) for x in p) - y

    def value(y):
        q = mpmath.exp(-y)
        covered = mpmath.fsum(-mpmath.expm1(-x * n * q) for x in p)
        return covered + n * (-mpmath.expm1(-y) - y * q)

    x, size = np.array([float(v) for v in p]), float(n)
    grid = np.linspace(0, x.sum(), 301)
    signs = np.sign([np.sum(x * np.exp(-x * size * math.exp(-y))) - y for y in grid])
    places = []
    for j in np.flatnonzero(signs[:-1] * signs[1:] <= 0):
        low, high = (mpf(float(grid[k])) for k in (j, j + 1))
        side = slope(low)
        for _ in range(90):  # the function is flat there
            middle = (low + high) / 2
            low, high = (middle, high) if slope(middle) * side > 0 else (low, middle)
        places.append(low)
    return min([value(y) for y in places] + [n])


def _unstable(n_samples, learning_rate, spectrum_exponent, sparsity_exponent, activity):
    n, rate = n_samples, learning_rate
    variance, p = _coordinates(spectrum_exponent, sparsity_exponent, activity)
    height = [n * x / (rate * v) for v, x in zip(variance, p, strict=True)]
    spikes = mpmath.fsum(
        n * x * mpmath.erfc(mpmath.sqrt(h)) for x, h in zip(p[1:], height[1:], strict=True)
    )  # fmt: skip
    bulk = mpmath.gammainc(n * p[0] / 2, height[0], regularized=True)
    return bulk - (1 - bulk) * mpmath.expm1(-spikes)


def _residual(spectrum_exponent, unseen_variance):
    """The variances outside of the row space, by the inverse of the inputs' Gram matrix."""
    x = mpmath.matrix(INPUTS.tolist())
    inverse = (x * x.T) ** -1
    total = unseen_variance
    for i in range(x.cols):
        column = x[:, i]
        outside = 1 - (column.T * inverse * column)[0]
        total += mpf(i + 1) ** -(1 + spectrum_exponent) * outside
    return total


def _given(spectrum_exponent, unseen_variance, **_):
    """Sum of all variances."""
    count = INPUTS.shape[1]
    return unseen_variance + mpmath.fsum(
        mpf(i + 1) ** -(1 + spectrum_exponent) for i in range(count)
    )


def _conditional(n_features, spectrum_exponent, unseen_variance):
    n, r = n_features, len(INPUTS)
    factor = 1 if n == mpmath.inf else (n - 1) / (n - r - 1)
    return _residual(spectrum_exponent, unseen_variance) / 2 * factor


def _dense_loss(n_features, n_samples, spectrum_exponent):
    small, large = sorted((n_features, n_samples))
    share = 0 if large == mpmath.inf else small / large
    return small * dense_delta(math.inf)(small, spectrum_exponent) / 2 / (1 - share)


def _variances(alpha):
    return jnp.arange(1.0, INPUTS.shape[1] + 1) ** -(1 + alpha)


GIVEN = {"spectrum_exponent": ALL_ALPHA, "unseen_variance": Axis(1e-9, 1.0, (0.0,))}

CASES = [
    Case(
        f"sparse.expected_rank, {M} coordinates",
        lambda **x: theory.expected_rank(n_coordinates=M, **x),
        _rank,
        {"n_samples": Axis(1.0, 1e6), "sparsity_exponent": GAMMA, "activity": ACTIVITY},
        n_random=4,
        slopes=(),
    ),
    Case(
        f"sparse.instability_probability, {M} coordinates",
        lambda **x: theory.instability_probability(n_coordinates=M, **x),
        _unstable,
        {
            "n_samples": Axis(1.0, 1e4),
            "learning_rate": Axis(1e-2, 2.0),
            "spectrum_exponent": ALL_ALPHA,
            "sparsity_exponent": GAMMA,
            "activity": ACTIVITY,
        },
        n_random=6,
        slopes=(),
    ),
    Case(
        "sparse.row_space_residual",
        over_points(
            lambda spectrum_exponent, **x: theory.row_space_residual(
                INPUTS, _variances(spectrum_exponent), **x
            )[0]
        ),
        _residual,
        GIVEN,
        size=_given,
        relative_to="sum of the variances",
        n_random=6,
    ),
    Case(
        "sparse.conditional_loss",
        over_points(
            lambda n_features, spectrum_exponent, **x: theory.conditional_loss(
                INPUTS, n_features, _variances(spectrum_exponent), **x
            )
        ),
        _conditional,
        {"n_features": Axis(6.0, 1e6, (math.inf,)), **GIVEN},
        size=_given,
        relative_to="sum of the variances",
        n_random=6,
    ),
    Case(
        "sparse.dense_loss, inf coordinates",
        theory.dense_loss,
        _dense_loss,
        {
            "n_features": Axis(0.5, 1e4, (100.0,)),
            "n_samples": Axis(0.5, 1e4, (math.inf,)),
            "spectrum_exponent": ALL_ALPHA,
        },
        n_random=4,
        slopes=(),
    ),
]
