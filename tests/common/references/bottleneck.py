"""The linear bottleneck: eigenvectors of small matrices with 50 digits."""

import functools
import itertools
import math

import mpmath
import numpy as np
from mpmath import mpf

from jaxscale.superposition import theory
from references._case import Axis, Case, over_points
from references.superposition import EXPONENTS, INPUTS, _features

W = np.random.default_rng(0).standard_normal((3, 5)) / 2
KINDS = {
    "random": W,
    "tight": np.linalg.qr(W.T)[0].T,
    "one row nearly dependent": np.stack([W[0], W[1], W[0] + 1e-4 * W[2]]),
    "a row of zeros": W * np.array([[1.0], [1.0], [0.0]]),
}


def _problem(w, a, b, energy, weighted):
    """Eigenvalues of G and M, the limit and the loss of every mode, and the loss at the limit."""
    rows, columns = w.shape
    embedding = mpmath.matrix(w.tolist())
    share, target, weight = zip(*_features(a, b, columns, weighted), strict=True)
    variance = [energy * p for p in share]

    def weighted_gram(x):
        return embedding * mpmath.diag(list(x)) * embedding.T

    g, u = mpmath.eigsy(weighted_gram(weight))
    m, v = mpmath.eigsy(weighted_gram(variance))
    products = [x * y * z for x, y, z in zip(weight, target, variance, strict=True)]
    drive = u.T * weighted_gram(products) * v
    power = mpmath.fsum(
        x * y**2 * z for x, y, z in zip(weight, target, variance, strict=True)
    )  # fmt: skip
    least = mpf("1e-30")
    modes = []
    for i in range(rows):
        for j in range(rows):
            alive = g[i] > least and m[j] > least
            limit = drive[i, j] / (g[i] * m[j]) if alive else mpf(0)
            modes.append((g[i] * m[j] if alive else mpf(0), limit))
    floor = power - mpmath.fsum(rate * limit**2 for rate, limit in modes)
    return modes, floor / 2, max(g) * max(m), (u, v)


def _loss(w, weighted, discrete):
    def exact(
        time, frequency_exponent, importance_exponent, learning_rate, second_moment, mean_active
    ):
        energy = second_moment * mean_active
        modes, floor, *_ = _problem(w, frequency_exponent, importance_exponent, energy, weighted)
        total = floor
        for rate, limit in modes:
            if time != mpmath.inf:
                x = learning_rate * rate
                rest = abs(1 - x) ** time if discrete else mpmath.exp(-x * time)
                total += rate * (limit * rest) ** 2 / 2
        return total

    return exact


def _floor(w, weighted):
    def exact(frequency_exponent, importance_exponent, second_moment, mean_active):
        energy = second_moment * mean_active
        return _problem(w, frequency_exponent, importance_exponent, energy, weighted)[1]

    return exact


def _largest_rate(w):
    def exact(frequency_exponent, importance_exponent, second_moment, mean_active):
        energy = second_moment * mean_active
        return 2 / _problem(w, frequency_exponent, importance_exponent, energy, True)[2]

    return exact


def _entry_of(
    time, frequency_exponent, importance_exponent, learning_rate, second_moment, mean_active, size
):  # fmt: skip
    """First row, second column of B: a sum over modes of terms, or of their sizes."""
    energy = second_moment * mean_active
    modes, _, _, (u, v) = _problem(W, frequency_exponent, importance_exponent, energy, False)
    rows = range(len(W))
    total = mpf(0)
    for (rate, limit), (i, j) in zip(modes, itertools.product(rows, rows), strict=True):
        learned = 1 if time == mpmath.inf else -mpmath.expm1(-learning_rate * rate * time)
        total += size(u[0, i] * limit * learned * v[1, j])
    return total


def _slow(speed, **values):
    """A learning rate that is stable: the largest rate of a mode is below 20 times the energy."""
    return values | {"learning_rate": speed / values["second_moment"] / values["mean_active"] / 20}


CASES = [
    *(
        Case(
            f"superposition.bottleneck_loss, {kind}{', steps' * steps}{', weighted' * weighted}",
            over_points(
                lambda time, w=w, steps=steps, weighted=weighted, **x: theory.bottleneck_loss(
                    time, w, discrete=steps, loss_weighted=weighted, **x
                )
            ),
            _loss(w, weighted, steps),
            {
                "speed": Axis(1e-2, 1.0),
                "time": Axis(1e-3, 1e9, (0.0, math.inf)),
                **EXPONENTS,
                **INPUTS,
            },
            derive=_slow,
            n_random=8,
            slopes=() if "dependent" in kind else True,
        )
        for (kind, w), steps, weighted in zip(
            KINDS.items(), (False, False, True, False), (False, True, False, False), strict=True
        )
    ),
    *(
        Case(
            f"superposition.bottleneck_floor, {kind}",
            over_points(lambda w=w, **x: theory.bottleneck_floor(w, **x)),
            _floor(w, False),
            {**EXPONENTS, **INPUTS},
            n_random=6,
        )
        for kind, w in KINDS.items()
        if kind in ("random", "tight")
    ),
    Case(
        "superposition.bottleneck_matrix",
        over_points(lambda time, **x: theory.bottleneck_matrix(time, W, **x)[0, 1]),
        functools.partial(_entry_of, size=lambda term: term),
        {
            "speed": Axis(1e-2, 1.0),
            "time": Axis(1e-3, 1e9, (0.0, math.inf)),
            **EXPONENTS,
            **INPUTS,
        },
        derive=_slow,
        size=functools.partial(_entry_of, size=abs),
        relative_to="sum of the sizes of all modes",
        n_random=6,
    ),
    Case(
        "superposition.max_learning_rate, loss weighted",
        over_points(lambda **x: theory.max_learning_rate(W, loss_weighted=True, **x)),
        _largest_rate(W),
        {**EXPONENTS, **INPUTS},
        n_random=6,
    ),
]
