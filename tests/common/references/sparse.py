"""Sparse inputs: sums over the coordinates of a power law, and laws."""

import functools
import math

import gmpy2
import mpmath
from mpmath import mpf

from jaxscale.sparse import theory
from references._case import Axis, Case, power_sum
from references._integrals import long_sum
from references._mpfr import digits, to_mpfr

ALPHA = Axis(0.2, 3.0, (1.0,))
ALL_ALPHA = Axis(0.1, 10.0, (1.0,))
ALL_GAMMA = Axis(0.1, 10.0, (0.0, 1.0, 2.0))
TINY = mpf("1e-20")
SAMPLES = Axis(1e-2, 1e9, (math.inf,))
STEEP = {"spectrum_exponent": ALPHA, "sparsity_exponent": Axis(1.02, 4.0, (2.0,))}


def _unseen(power, n, c, gamma, last):
    """Sum of k^-power (1 - min(1, c k^-gamma))^n from 1 to `last`."""
    if n == mpmath.inf:
        return mpf(0)
    kink = int(mpmath.floor(c ** (1 / gamma))) if c >= 1 and gamma else 0
    if not gamma:
        return mpf(0) if c >= 1 else (1 - c) ** n * power_sum(power, 1, last)
    far = max(
        kink + 1, 30, int(mpmath.ceil((max(n, 3) * c) ** (1 / gamma)))
    )  # p < 1/3, n p < 1 beyond

    with digits():
        s, count, scale, decay = map(to_mpfr, (power, n, c, gamma))

    def h(k):
        p = scale * k**-decay
        return k**-s * gmpy2.exp(count * gmpy2.log1p(-p)) if p < 1 else gmpy2.mpfr(0)

    steepness = power + gamma * (1 + min(n, 60))
    total = long_sum(h, kink + 1, int(min(far, last)), steepness, kink)
    if far >= last:
        return total
    choose = mpf(1)
    for j in range(200):
        term = choose * (-c) ** j * power_sum(power + gamma * j, far + 1, last)
        total += term
        choose = choose * (n - j) / (j + 1)
        if abs(term) < abs(total) * mpf(10) ** -40 or not choose:
            return total
    raise ArithmeticError("no convergence")


def _unseen_loss(last):
    def exact(n_samples, spectrum_exponent, sparsity_exponent, activity):
        power = 1 + spectrum_exponent
        return _unseen(power, n_samples, activity, sparsity_exponent, last) / 2

    return exact


def _expected_seen(last):
    """Direct below n p = 1; the series of 1 - (1 - p)^n beyond."""

    def exact(n_samples, sparsity_exponent, activity):
        n, gamma, c = n_samples, sparsity_exponent, activity
        kink = int(mpmath.floor(c ** (1 / gamma))) if c >= 1 else 0
        far = max(kink + 1, 30, int(mpmath.ceil((max(n, 3) * c) ** (1 / gamma))))

        with digits():
            count, scale, decay = map(to_mpfr, (n, c, gamma))

        def h(k):
            p = scale * k**-decay
            return -gmpy2.expm1(count * gmpy2.log1p(-p)) if p < 1 else gmpy2.mpfr(1)

        kink = int(min(kink, last))
        steepness = gamma * (1 + min(n, 60))
        total = kink + long_sum(h, kink + 1, int(min(far, last)), steepness, kink)
        if far >= last:
            return total
        choose = n
        for j in range(1, 200):
            term = -choose * (-c) ** j * power_sum(gamma * j, far + 1, last)
            total += term
            choose = choose * (n - j) / (j + 1)
            if abs(term) < abs(total) * mpf(10) ** -40 or not choose:
                return total
        raise ArithmeticError("no convergence")

    return exact


def _freedom(delta, power, last):
    """Sum of 1 / (1 + delta k^power) and its slope in ln delta."""
    far = max(30, int(mpmath.ceil((4 / delta) ** (1 / power))))

    with digits():
        scale, exponent = to_mpfr(delta), to_mpfr(power)

    @functools.cache  # for both sums
    def term(k, precision):
        return 1 / (1 + scale * k**exponent)

    def h(k):
        return term(k, gmpy2.get_context().precision)

    def slope(k):
        x = h(k)
        return x * (1 - x)

    near = int(min(far, last))
    total, change = (long_sum(f, 1, near, power) for f in (h, slope))
    if far < last:
        for j in range(1, 200):
            term = -((-1 / delta) ** j) * power_sum(power * j, far + 1, last)
            total, change = total + term, change + j * term
            if abs(term) < abs(total) * mpf(10) ** -40:
                break
    return total, change


def dense_delta(last):
    def exact(n, spectrum_exponent):
        power = 1 + spectrum_exponent
        if n >= last:
            return mpf(0)
        angle = mpmath.pi / power
        x = -power * mpmath.log((n + mpf("0.5")) * mpmath.sin(angle) / angle)
        for _ in range(60):
            freedom, slope = _freedom(mpmath.exp(x), power, last)
            step = mpmath.log(freedom / n) * freedom / slope
            x += max(min(step, mpf(2)), mpf(-2))
            if abs(step) < mpf("1e-22"):
                return mpmath.exp(x)
        raise ArithmeticError("no root")

    return exact


def _gd_loss(last):
    """Without data less what is learned, of which there is little far out."""

    def exact(time, n_samples, learning_rate, spectrum_exponent, sparsity_exponent, activity):
        alpha, gamma, c, n = spectrum_exponent, sparsity_exponent, activity, n_samples

        with digits():
            scale, decay, steep, count = map(to_mpfr, (c, gamma, -1 - alpha, n))
            rate = to_mpfr(4 * learning_rate * time / n)

        def learned(k):
            p = min(scale * k**-decay, 1)
            variance = k**steep
            shrink = 1 / gmpy2.sqrt(1 + rate * variance / p) - 1
            return -variance * gmpy2.expm1(count * gmpy2.log1p(p * shrink))

        end = int(min(last, mpf(10) ** int(25 / (1 + 2 * alpha) + 10)))  # beyond 1e-25
        kink = int(min(mpmath.floor(c ** (1 / gamma)), end)) if c >= 1 and gamma else 0
        steepness = 8 * (1 + alpha + gamma)
        total = power_sum(1 + alpha, 1, last)
        for first, stop in ((1, kink), (kink + 1, end)):
            if stop >= first:
                total -= long_sum(learned, first, stop, steepness)
        return total / 2

    return exact


def _gamma_law(skill, gamma, c, at):
    return mpmath.gamma(skill / gamma) / (2 * gamma) * (c * at) ** (-skill / gamma)


def _allocated(part):
    def exact(spectrum_exponent, sparsity_exponent, activity):
        alpha, gamma, c, budget = spectrum_exponent, sparsity_exponent, activity, mpf(1e6)
        ratio = 1 + (1 + gamma) / alpha
        n = (ratio * mpmath.gamma(1 - 1 / gamma) * c ** (1 / gamma)) ** (gamma / (1 + gamma))
        n *= budget ** (1 / (1 + gamma))
        loss = _gamma_law(alpha, gamma, c, budget / n) * ratio / (ratio - 1)
        return {"n_features": n, "n_samples": budget / n, "loss": loss}[part]

    return exact


def _dense_law(spectrum_exponent, at=30):
    angle = mpmath.pi / (1 + spectrum_exponent)
    factor = angle / mpmath.sin(angle)
    return factor ** (1 + spectrum_exponent) / 2 * mpf(at) ** -spectrum_exponent


def _dense_allocated(spectrum_exponent):
    ratio = 1 + 2 / spectrum_exponent
    d = mpf(30) / mpmath.sqrt(ratio * 30)
    return _dense_law(spectrum_exponent, d) * ratio / (ratio - 1)


def _instability(learning_rate, spectrum_exponent, sparsity_exponent, activity):
    alpha, gamma, c = spectrum_exponent, sparsity_exponent, activity
    k = (gamma - 1) / (gamma - 1 - alpha)
    moment = 2**k * mpmath.gamma(k + mpf("0.5")) / mpmath.sqrt(mpmath.pi)
    return 30 * c / (gamma - 1) * moment * (60 * c / learning_rate) ** -k


ACTIVITY = Axis(1e-3, 1e3, (1.0, 1 - 1e-9, 1 + 1e-9))
ANY_ACTIVITY = Axis(1e-6, 1e6, (1.0, 1 - 1e-9, 1 + 1e-9))

CASES = [
    *(
        Case(
            f"sparse.unseen_loss, {last:g} coordinates",
            lambda last=last, **x: theory.unseen_loss(n_coordinates=last, **x),
            _unseen_loss(last),
            {
                "n_samples": SAMPLES,
                "spectrum_exponent": ALL_ALPHA,
                "sparsity_exponent": ALL_GAMMA,
                "activity": ANY_ACTIVITY,
            },
            size=lambda spectrum_exponent, last=last, **_: (
                power_sum(1 + spectrum_exponent, 1, last) * TINY
            ),
            relative_to="loss, at least 1e-20 of that without data",
            extra=(  # kinks in the middle of the spectrum and far out
                {"n_samples": 1.2, "activity": 20.0, "sparsity_exponent": 0.3},
                {"n_samples": 1.3, "activity": 500.0, "sparsity_exponent": 0.2},
            ),
            n_random=4,
            slopes=("spectrum_exponent", "sparsity_exponent") if last == math.inf else (),
        )
        for last in (100, 10**5, math.inf)
    ),
    *(
        Case(
            f"sparse.expected_seen, {last:g} coordinates",
            lambda last=last, **x: theory.expected_seen(n_coordinates=last, **x),
            _expected_seen(last),
            {
                "n_samples": Axis(1e-2, 1e9),
                "sparsity_exponent": Axis(1.001, 10.0, (2.0,)),
                "activity": ANY_ACTIVITY,
            },
            slopes=True if last == math.inf else (),
        )
        for last in (100, 10**5, math.inf)
    ),
    *(
        Case(
            f"sparse.dense_delta, {last:g} coordinates",
            lambda last=last, **x: theory.dense_delta(n_coordinates=last, **x),
            dense_delta(last),
            {"n": Axis(0.5, 1e6, (1.0, 99.0, 99.99)), "spectrum_exponent": ALL_ALPHA},
            n_random=4,
            slopes=(),
        )
        for last in (100, 10**5, math.inf)
    ),
    *(
        Case(
            f"sparse.gd_loss, {last:g} coordinates",
            lambda last=last, **x: theory.gd_loss(n_coordinates=last, **x),
            _gd_loss(last),
            {
                "time": Axis(1e-2, 1e8, (0.0,)),
                "n_samples": Axis(1e-2, 1e9),
                "learning_rate": Axis(1e-3, 2.0),
                "spectrum_exponent": ALL_ALPHA,
                "sparsity_exponent": ALL_GAMMA,
                "activity": ANY_ACTIVITY,
            },
            size=lambda spectrum_exponent, last=last, **_: (
                power_sum(1 + spectrum_exponent, 1, last) * TINY
            ),
            relative_to="loss, at least 1e-20 of that without data",
            n_random=2,
            slopes=(),
        )
        for last in (100, 10**5, math.inf)
    ),
    Case(
        "sparse.unseen_law",
        lambda **x: theory.unseen_law(**x)(30.0),
        lambda spectrum_exponent, sparsity_exponent, activity: _gamma_law(
            spectrum_exponent, sparsity_exponent, activity, 30
        ),
        {**STEEP, "activity": ACTIVITY},
    ),
    *(
        Case(
            f"sparse.allocation_laws, {part}",
            lambda part=part, **x: getattr(theory.allocation_laws(**x), part)(1e6),
            _allocated(part),
            {**STEEP, "activity": ACTIVITY},
        )
        for part in ("n_features", "n_samples", "loss")
    ),
    Case(
        "sparse.dense_law",
        lambda **x: theory.dense_law(**x)(30.0),
        _dense_law,
        {"spectrum_exponent": Axis(0.02, 10.0, (1.0,))},
    ),
    Case(
        "sparse.dense_allocation_laws, loss",
        lambda **x: theory.dense_allocation_laws(**x).loss(30.0),
        _dense_allocated,
        {"spectrum_exponent": Axis(0.02, 10.0, (1.0,))},
    ),
    Case(
        "sparse.gd_law",
        lambda **x: theory.gd_law(**x)(30.0),
        lambda spectrum_exponent: (
            mpmath.gamma(spectrum_exponent / (1 + spectrum_exponent))
            / (2 * (1 + spectrum_exponent))
            * mpf(60) ** (-spectrum_exponent / (1 + spectrum_exponent))
        ),
        {"spectrum_exponent": Axis(0.02, 10.0, (1.0,))},
    ),
    Case(
        "sparse.projection_factor",
        theory.projection_factor,
        lambda n_features, moment: (
            mpmath.gammaprod([n_features / 2 + moment], [n_features / 2])
            * (2 / n_features) ** moment
        ),
        {"n_features": Axis(1.0, 1e9), "moment": Axis(0.5, 30.0, (1.0,))},
    ),
    Case(
        "sparse.instability_law",
        lambda **x: theory.instability_law(**x)(30.0),
        _instability,
        {
            "learning_rate": Axis(1e-2, 2.0),
            "spectrum_exponent": ALPHA,
            "excess": Axis(0.05, 4.0),
            "activity": Axis(1e-3, 1e3),
        },
        derive=lambda excess, **x: x | {"sparsity_exponent": 1 + x["spectrum_exponent"] + excess},
        extra=({"spectrum_exponent": 3.0, "excess": 0.05, "activity": 1e3},),
    ),
]
