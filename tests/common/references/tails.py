"""Laws of the interference: moments, thresholds, and the loss of the false positives."""

import jax
import mpmath
import numpy as np
from mpmath import mpf

from jaxscale.superposition import theory
from references._case import Axis, Case
from references._integrals import integrate

AXES = {
    "Gaussian": {},
    "Laplace": {},
    "Pareto": {"index": Axis(2.01, 30.0, (3.0,))},
    "Bounded": {"order": Axis(0.05, 30.0, (1.0,))},
}


def _gaussian(v, power):
    """E relu(z - v)^power: differences that cancel, with digits to spare."""
    with mpmath.extradps(10):
        above = mpmath.erfc(v / mpmath.sqrt(2)) / 2
        density = mpmath.npdf(v)
        return density - v * above if power == 1 else (1 + v**2) * above - v * density


def _moment(law, power):
    def laplace(v):
        return mpmath.exp(-v) / (2 if power == 1 else 1)

    def pareto(v, index):
        q = index
        if v < 1:
            return q / (q - 1) - v if power == 1 else q / (q - 2) - 2 * v * q / (q - 1) + v**2
        return v ** (1 - q) / (q - 1) if power == 1 else 2 * v ** (2 - q) / ((q - 1) * (q - 2))

    def bounded(v, order):
        k = order
        below = max(1 - v, mpf(0))
        return (
            below ** (k + 1) / (k + 1) if power == 1 else 2 * below ** (k + 2) / ((k + 1) * (k + 2))
        )

    return {
        "Gaussian": lambda v: _gaussian(v, power),
        "Laplace": laplace,
        "Pareto": pareto,
        "Bounded": bounded,
    }[law]


def gaussian_clock(v):
    """The time at which the Gaussian threshold reaches v: the integral of 1 / E relu(z - v)."""
    n = max(1, int(mpmath.ceil(v)))
    return integrate(lambda u: 1 / _gaussian(u, 1), [v * i / n for i in range(n + 1)])


def _threshold(law):
    def gaussian(tau):
        if tau == 0:
            return mpf(0)
        v = mpf(float(np.asarray(_jax_threshold(float(tau)))))
        for _ in range(2):  # Newton's method; a wrong start would not come back to it
            v -= (gaussian_clock(v) - tau) * _gaussian(v, 1)
        return v

    def pareto(tau, index):
        q, turn = index, mpmath.log(index)
        if tau < turn:
            return -q / (q - 1) * mpmath.expm1(-tau)
        return (1 + q * (tau - turn) / (q - 1)) ** (1 / q)

    def bounded(tau, order):
        return 1 - (1 + order * tau / (order + 1)) ** (-1 / order)

    return {
        "Gaussian": gaussian,
        "Laplace": lambda tau: mpmath.log1p(tau / 2),
        "Pareto": pareto,
        "Bounded": bounded,
    }[law]


def _jax_threshold(tau):
    with jax.enable_x64(True):
        return theory.Gaussian().threshold(tau)


def _residual(law):
    def exact(tau, **parameters):
        with mpmath.extradps(300 if law == "Bounded" else 0):
            return +_moment(law, 2)(_threshold(law)(tau, **parameters), **parameters)

    return exact


def _end(law):
    return 0.999999 if law == "Bounded" else {"Gaussian": 37.0, "Laplace": 600.0}.get(law, 1e8)


CASES = [
    *(
        Case(
            f"superposition.{law}.{method}",
            lambda v, law=law, method=method, **x: getattr(getattr(theory, law)(**x), method)(v),
            _moment(law, power),
            {"v": Axis(1e-6, _end(law), (0.0,) if law == "Bounded" else (0.0, 0.999, 3.0)), **axes},
        )
        for law, axes in AXES.items()
        for power, method in ((1, "first_moment"), (2, "second_moment"))
    ),
    *(
        Case(
            f"superposition.{law}.{method}",
            lambda tau, law=law, method=method, **x: getattr(getattr(theory, law)(**x), method)(
                tau
            ),
            exact(law),
            {
                "tau": Axis(1e-6, 1e30, (0.0, 1.0, 1e100 if law == "Gaussian" else 1e12)),
                **axes,
            },
            n_random=3 if law == "Gaussian" else 12,
            slopes=() if law == "Gaussian" else True,
        )
        for law, axes in AXES.items()
        for method, exact in (("threshold", _threshold), ("residual", _residual))
    ),
    Case(
        "superposition.interference_loss",
        lambda time, **x: theory.interference_loss(time, tail=theory.Laplace(), **x),
        lambda time, scale, bias_learning_rate, n_features: (
            n_features * scale**2 / 2 / (1 + bias_learning_rate * time / 2)
        ),
        {
            "time": Axis(1e-3, 1e12, (0.0,)),
            "scale": Axis(1e-6, 10.0),
            "bias_learning_rate": Axis(1e-3, 10.0),
            "n_features": Axis(1.0, 1e9),
        },
    ),
]
