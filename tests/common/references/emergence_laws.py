"""Laws of emergence: asymptotic formulas, whose own numbers are exact."""

import math

import mpmath
import numpy as np
from mpmath import mpf
from scipy import integrate, optimize, special

from jaxscale.emergence import theory
from references._case import Axis, Case, power_sum
from references._integrals import residual, residual_integral
from references.emergence import ALPHA, RATIO, START, UNIT, _flow, _start

LAW = {"skill_exponent": ALPHA, **START}
AT = 30.0  # where laws are evaluated


def _constants(alpha, n_skills=math.inf):
    """A, s and b of the package."""
    norm = 1 / power_sum(alpha + 1, 1, n_skills)
    return norm, alpha / (alpha + 1), norm ** (1 / (alpha + 1)) / alpha


def _time_law(skill_exponent, target_scale, initial_strength):
    _, s, b = _constants(skill_exponent)
    odds = (target_scale - initial_strength) / initial_strength
    return target_scale**2 / 2 * b * s * residual_integral(mpf(0), s, odds) * mpf(AT) ** -s


def _data_law(learner):
    def exact(skill_exponent, target_scale, initial_strength, shots):
        _, s, b = _constants(skill_exponent)
        value = mpmath.gammaprod([s + shots], [shots])
        if learner == "threshold":
            value *= (1 - initial_strength / target_scale) ** 2
        else:
            value *= 1 - s * (shots - 1) / (shots * (s + 1))
        return target_scale**2 / 2 * b * value * mpf(AT) ** -s

    return exact


def _parameter_law(skill_exponent, target_scale):
    norm, _, _ = _constants(skill_exponent)
    return target_scale**2 * norm / (2 * skill_exponent) * mpf(AT) ** -skill_exponent


def _start_of_root(alpha, log_odds):
    """The root of `_optimum` to some 1e-9, in floats."""
    s = alpha / (alpha + 1)

    def imbalance(y):
        u = np.exp(y)
        grid = np.concatenate([[u], u + np.geomspace(1e-6, max(log_odds, 0) / 2 + 25, 4000)])
        p = special.expit(log_odds - 2 * grid)
        moment = integrate.simpson(grid**s * 4 * p**2 * (1 - p), x=grid)
        return np.log((alpha + 1) * (1 - p[0] ** 2)) + s * y - np.log(moment)

    low = -14.0 - 40.0 / s
    high = np.log(max(log_odds, 0) / 2 + 11)
    return mpf(optimize.brentq(imbalance, low, high))


def _optimum(alpha, odds):
    """lambda* and the height of the best loss: the root of Q_F(u) = (alpha + 1) u^s (1 - F(u))."""
    norm, s, b = _constants(alpha)

    def imbalance(y):
        u = mpmath.exp(y)
        moment = s * residual_integral(u, s, odds) + u**s * residual(u, odds)
        return mpmath.log((alpha + 1) * u**s * (1 - residual(u, odds)) / moment)

    y = _start_of_root(float(alpha), float(mpmath.log(odds)))
    step = mpf("1e-8")
    for _ in range(3):  # Newton's method with a slope by differences: 1e-3, 1e-6, ... or better
        value = imbalance(y)
        y -= value * step / (imbalance(y + step) - value)
    u = mpmath.exp(y)
    size = (norm / u) ** (1 / (alpha + 1))
    return size, b * (alpha + 2) * u**s * (1 - residual(u, odds)) * size ** (alpha / (alpha + 2))


def _compute_law(skill_exponent, target_scale, initial_strength):
    alpha = skill_exponent
    _, height = _optimum(alpha, (target_scale - initial_strength) / initial_strength)
    return target_scale**2 / 2 * height * mpf(AT) ** (-alpha / (alpha + 2))


def _allocated(compute, skill_exponent, learning_rate, target_scale, initial_strength):
    alpha = skill_exponent
    size, _ = _optimum(alpha, (target_scale - initial_strength) / initial_strength)
    x = learning_rate * target_scale * compute
    return size ** ((alpha + 1) / (alpha + 2)) * x ** (1 / (alpha + 2))


def _limiting(compute, skill_exponent, learning_rate, target_scale, initial_strength):
    alpha, x = skill_exponent, learning_rate * target_scale * compute
    norm, _, _ = _constants(alpha)
    log_odds = mpmath.log((target_scale - initial_strength) / initial_strength)
    height = norm / alpha * (log_odds / (2 * norm)) ** (alpha / (alpha + 2))
    return target_scale**2 / 2 * height * x ** (-alpha / (alpha + 2))


def _two(n_skills):
    """`time_parameter_loss` from its docstring, and the sum of its positive terms."""

    def terms(
        time, skill_exponent, learning_rate, target_scale, initial_strength,
        n_parameters=mpmath.inf,
    ):  # fmt: skip
        alpha = skill_exponent
        norm, s, b = _constants(alpha, n_skills)
        odds = (target_scale - initial_strength) / initial_strength
        tau, half = learning_rate * target_scale * time, target_scale**2 / 2
        every = n_parameters >= n_skills
        low = mpf(0) if every else tau * norm * n_parameters ** -(alpha + 1)
        total = b * s * tau**-s * residual_integral(low, s, odds)
        if not every:
            total += norm / alpha * n_parameters**-alpha
        cut = mpf(0)
        if n_skills != math.inf:
            cut = norm / alpha * (n_skills + mpf("0.5")) ** -alpha
        start = (1 - initial_strength / target_scale) ** 2 if every else 1
        return half * total, half * start * cut

    def exact(**x):
        plus, minus = terms(**x)
        return plus - minus

    return exact, lambda **x: terms(**x)[0]


def _parameter_loss(n_skills):
    def exact(n_parameters, skill_exponent, target_scale):
        alpha, half = skill_exponent, mpf("0.5")
        if n_parameters >= n_skills:
            return mpf(0)
        bracket = (n_parameters + half) ** -alpha
        if n_skills != math.inf:
            bracket -= (n_skills + half) ** -alpha
        norm, _, _ = _constants(alpha, n_skills)
        return target_scale**2 * norm / (2 * alpha) * bracket

    return exact


def _data_parameter(n_samples, n_parameters, skill_exponent, target_scale, initial_strength):
    alpha = skill_exponent
    norm, s, b = _constants(alpha)
    total = norm / alpha * n_parameters**-alpha if n_parameters < mpmath.inf else mpf(0)
    if n_samples < mpmath.inf:
        x = n_samples * norm * n_parameters ** -(alpha + 1) if total else mpf(0)
        unseen = b * s * n_samples**-s * mpmath.gammainc(s, x)
        total += (1 - initial_strength / target_scale) ** 2 * unseen
    return target_scale**2 / 2 * total


SPLIT = {"compute": Axis(1e-2, 1e15), "skill_exponent": ALPHA, **UNIT, "ratio": RATIO}

CASES = [
    Case(
        "emergence.time_law",
        lambda **x: theory.time_law(**x)(AT),
        _time_law,
        LAW,
        derive=_start,
        n_random=3,
        slopes=("skill_exponent", "initial_strength"),
    ),
    *(
        Case(
            f"emergence.data_law, {learner}",
            lambda learner=learner, **x: theory.data_law(**x, learner=learner)(AT),
            _data_law(learner),
            {**LAW, "shots": Axis(1.0, 1e6, (1.0, 2.0))},
            derive=_start,
        )
        for learner in ("threshold", "minimum_norm")
    ),
    Case(
        "emergence.parameter_law",
        lambda **x: theory.parameter_law(**x, initial_strength=x["target_scale"] / 2)(AT),
        _parameter_law,
        {"skill_exponent": ALPHA, "target_scale": Axis(1e-2, 1e2)},
    ),
    Case(
        "emergence.compute_law",
        lambda **x: theory.compute_law(**x)(AT),
        _compute_law,
        LAW,
        derive=_start,
        extra=({"skill_exponent": 0.05, "ratio": 0.9999},),
        n_random=3,
        slopes=("skill_exponent",),
    ),
    Case(
        "emergence.optimal_allocation",
        lambda **x: theory.optimal_allocation(**x).n_parameters,
        _allocated,
        SPLIT,
        derive=_start,
        n_random=2,
        slopes=(),
    ),
    Case(
        "emergence.limiting_allocation",
        lambda **x: theory.limiting_allocation(**x).loss,
        _limiting,
        {**SPLIT, "ratio": Axis(1e-8, 0.49)},
        derive=_start,
    ),
    *(
        Case(
            f"emergence.time_parameter_loss, {n_skills:g} skills",
            lambda n_skills=n_skills, **x: theory.time_parameter_loss(n_skills=n_skills, **x),
            _two(n_skills)[0],
            {
                "tau": Axis(1e-2, 1e12),
                "n_parameters": Axis(0.1, 1e9, (999.0, 1000.0, math.inf)),
                "skill_exponent": ALPHA,
                **UNIT,
                "ratio": RATIO,
            },
            derive=_flow,
            size=_two(n_skills)[1],
            relative_to="largest term",
            n_random=4,
            slopes=(),
        )
        for n_skills in (1000, math.inf)
    ),
    Case(
        "emergence.time_loss",
        lambda **x: theory.time_loss(n_skills=1000, **x),
        _two(1000)[0],
        {"tau": Axis(1e-2, 1e12), "skill_exponent": ALPHA, **UNIT, "ratio": RATIO},
        derive=_flow,
        size=_two(1000)[1],
        relative_to="largest term",
        n_random=4,
        slopes=(),
    ),
    *(
        Case(
            f"emergence.parameter_loss, {n_skills:g} skills",
            lambda n_skills=n_skills, **x: theory.parameter_loss(n_skills=n_skills, **x),
            _parameter_loss(n_skills),
            {
                "n_parameters": Axis(0.1, 1e9, (0.0, 99.0, 99.999999, 100.0)),
                "skill_exponent": ALPHA,
                "target_scale": Axis(1e-2, 1e2),
            },
        )
        for n_skills in (100, math.inf)
    ),
    Case(
        "emergence.data_parameter_loss",
        theory.data_parameter_loss,
        _data_parameter,
        {
            "n_samples": Axis(1e-2, 1e12, (math.inf,)),
            "n_parameters": Axis(1e-1, 1e9, (math.inf,)),
            "skill_exponent": ALPHA,
            **START,
        },
        derive=_start,
    ),
]
