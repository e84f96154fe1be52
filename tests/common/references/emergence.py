"""Emergence of skills: one skill, losses as sums over skills, and their laws."""

import math

import jax.numpy as jnp
import mpmath
from mpmath import mpf

from jaxscale.emergence import theory
from references._case import Axis, Case, power_sum
from references._integrals import binomial, fresh_sum, residual, skill_sum

ALPHA = Axis(0.05, 4.0, (0.3, 1.0, 1.0 - 1e-9))
RATIO = Axis(1e-8, 0.9999, (0.5, 0.01))  # of the initial to the final strength
UNIT = {"learning_rate": Axis(1e-3, 3.0), "target_scale": Axis(1e-2, 1e2)}
START = {"target_scale": Axis(1e-2, 1e2), "ratio": RATIO}
ENDLESS = {"n_skills": math.inf}


def _start(ratio, **values):
    """The initial strength as a share of the final one."""
    return values | {"initial_strength": ratio * values["target_scale"]}


def _flow(tau, ratio, **values):
    """Time in units of the rate of a skill of probability 1."""
    rate = values["learning_rate"] * values["target_scale"]
    return _start(ratio, **values) | {"time": tau / rate}


def _counted(mean, n_samples, **values):
    """The probability by the mean count, so that sums over counts are short."""
    return values | {"n_samples": n_samples, "probability": min(1.0, mean / n_samples)}


def _odds(scale, strength):
    return (scale - strength) / strength


def _norm(alpha, n_skills=math.inf):
    return 1 / power_sum(alpha + 1, 1, n_skills)


def _strength(time, probability, learning_rate, target_scale, initial_strength):
    if time == mpmath.inf:
        return target_scale
    u = learning_rate * target_scale * probability * time
    return target_scale / (1 + _odds(target_scale, initial_strength) * mpmath.exp(-2 * u))


def _emergence_time(probability, learning_rate, target_scale, initial_strength, fraction):
    odds = _odds(target_scale, initial_strength) * fraction / (1 - fraction)
    return mpmath.log(odds) / (2 * learning_rate * target_scale * probability)


def _emergence_terms(probability, learning_rate, target_scale, initial_strength, fraction):
    """What a rounding of the initial strength or of the fraction changes, in units of it."""
    terms = 1 + abs(mpmath.log(fraction / (1 - fraction)))
    return terms / (2 * learning_rate * target_scale * probability)


def _expected(power):
    def exact(time, n_samples, probability, learning_rate, target_scale, initial_strength):
        odds = _odds(target_scale, initial_strength)

        def of(share):
            if power == 1:
                return _strength(time, share, learning_rate, target_scale, initial_strength)
            u = learning_rate * target_scale * time * share
            return target_scale**2 / 2 * residual(u, odds)

        n = int(n_samples)
        return mpmath.fsum(m * of(mpf(d) / n) for d, m in binomial(n, probability))

    return exact


def _learned(phi):
    def exact(n_samples, probability, shots):
        counts = binomial(n_samples, probability)
        return mpmath.fsum(m * phi(mpf(d), shots) for d, m in counts)

    return exact


def _paper(d, c):
    return 1 - mpmath.sqrt(max(1 - d / c, mpf(0)))


def _threshold(n_samples, probability, shots):
    if n_samples <= shots - 1:
        return mpf(0)
    return mpmath.betainc(shots, n_samples - shots + 1, 0, probability, regularized=True)


def _width(width, units_per_skill):
    return min(max(width / units_per_skill - 2, mpf(0)), mpf(1))


def _fresh_loss(n_skills, n_fitted=None):
    """Infinite data; every skill has a parameter unless `n_fitted` says how many."""

    def exact(
        time, skill_exponent, learning_rate, target_scale, initial_strength, n_parameters=None
    ):
        alpha, odds = skill_exponent, _odds(target_scale, initial_strength)
        tau, norm = learning_rate * target_scale * time, _norm(skill_exponent, n_skills)
        if n_parameters is None or n_parameters >= n_skills:
            return target_scale**2 / 2 * fresh_sum(tau, odds, alpha, n_skills, norm)
        floor = int(n_parameters)
        total = fresh_sum(tau, odds, alpha, floor, norm) if floor else mpf(0)
        total += norm * power_sum(alpha + 1, floor + 1, n_skills)
        p = norm * (floor + 1) ** -(alpha + 1)
        total -= (n_parameters - floor) * p * (1 - residual(tau * p, odds))
        return target_scale**2 / 2 * total

    return exact


def _sampled_loss(n_skills):
    def exact(time, n_samples, skill_exponent, learning_rate, target_scale, initial_strength):
        tau, odds = learning_rate * target_scale * time, _odds(target_scale, initial_strength)
        norm, n = _norm(skill_exponent, n_skills), int(n_samples)

        def f(d):
            return residual(tau * d / n, odds)

        total = skill_sum(f, n, skill_exponent, 1, n_skills, norm)
        return target_scale**2 / 2 * total

    return exact


def _data_loss(n_skills):
    def exact(n_samples, skill_exponent, shots, target_scale):
        norm = _norm(skill_exponent, n_skills)

        def f(d):
            return max(1 - d / shots, mpf(0))

        total = skill_sum(f, n_samples, skill_exponent, 1, n_skills, norm)
        return target_scale**2 / 2 * total

    return exact


def _width_loss(n_skills):
    def exact(width, skill_exponent, units_per_skill, target_scale):
        learned = width / units_per_skill
        floor = int(learned)
        if floor >= n_skills:
            return mpf(0)
        total = power_sum(skill_exponent + 1, floor + 2, n_skills)
        total += (1 - (learned - floor)) * mpf(floor + 1) ** -(skill_exponent + 1)
        return target_scale**2 / 2 * total * _norm(skill_exponent, n_skills)

    return exact


def _least(target_scale, **_):
    """What a mean over data sets leaves out, in units of the target: sets beyond 9 deviations."""
    return target_scale**2 * mpf("1e-16")


TIME = Axis(1e-3, 1e4, (1e-12, 20.0))


def _third_probability(skill_exponent):
    return jnp.vectorize(lambda a: theory.skill_probabilities(a, 200)[2])(skill_exponent)


CASES = [
    Case(
        "emergence.skill_probabilities",
        _third_probability,
        lambda skill_exponent: mpf(3) ** -(skill_exponent + 1) * _norm(skill_exponent, 200),
        {"skill_exponent": ALPHA},
    ),
    Case(
        "emergence.skill_strength",
        theory.skill_strength,
        _strength,
        {
            "tau": Axis(1e-6, 1e4, (0.0, math.inf)),
            "probability": Axis(1e-9, 1.0),
            **UNIT,
            "ratio": RATIO,
        },
        derive=_flow,
    ),
    Case(
        "emergence.emergence_time",
        theory.emergence_time,
        _emergence_time,
        {
            "probability": Axis(1e-9, 1.0),
            **UNIT,
            "ratio": RATIO,
            "fraction": Axis(1e-6, 1 - 1e-6, (0.5,), linear=True),
        },
        derive=_start,
        size=_emergence_terms,
        relative_to="largest term",
    ),
    *(
        Case(
            f"emergence.expected_skill, {name}",
            lambda name=name, **x: getattr(theory.expected_skill(**x), name),
            _expected(power),
            {
                "tau": Axis(1e-2, 1e5, (0.0,)),
                "n_samples": Axis(1.0, 1e9, (10.0,), integer=True),
                "mean": Axis(1e-3, 3e3),
                **UNIT,
                "ratio": Axis(1e-4, 0.99, (0.5,)),
            },
            derive=lambda mean, n_samples, **x: _flow(**_counted(mean, n_samples, **x)),
            size=_least,
            relative_to="value, at least 1e-16 S^2",
            n_random=8,
            slopes=(),
        )
        for power, name in ((1, "strength"), (2, "loss"))
    ),
    *(
        Case(
            f"emergence.data_emergence, {learner}",
            lambda learner=learner, **x: theory.data_emergence(**x, learner=learner),
            exact,
            {
                "n_samples": Axis(1.0, 1e9, (2.0, 500.0), integer=True),
                "mean": Axis(1e-6, 5e3),
                "shots": Axis(1.0, 1e4, (2.0, 3.7, 100.0)),
            },
            derive=_counted,
            n_random=16,
            slopes=(),
        )
        for learner, exact in (
            ("minimum_norm", _learned(lambda d, c: min(d / c, mpf(1)))),
            ("paper", _learned(_paper)),
            (
                "expected_count",
                lambda n_samples, probability, shots: _paper(n_samples * probability, shots),
            ),
            ("threshold", _threshold),
        )
    ),
    Case(
        "emergence.width_emergence",
        lambda width, units_per_skill: theory.width_emergence(width, 5, units_per_skill)[..., 2],
        _width,
        {"width": Axis(0.1, 1e3, (0.0,)), "units_per_skill": Axis(0.1, 1e3)},
    ),
    *(
        Case(
            f"emergence.loss, infinite data, {n_skills:g} skills",
            lambda n_skills=n_skills, **x: theory.loss(
                n_samples=math.inf, n_parameters=math.inf, n_skills=n_skills, **x
            ),
            _fresh_loss(n_skills),
            {"tau": TIME, "skill_exponent": Axis(0.25, 4.0), **UNIT, "ratio": RATIO},
            derive=_flow,
            n_random=4,
            slopes=("skill_exponent", "time"),
        )
        for n_skills in (1, 3000, math.inf)
    ),
    *(
        Case(
            f"emergence.loss, infinite data, N parameters, {n_skills:g} skills",
            lambda n_skills=n_skills, **x: theory.loss(n_samples=math.inf, n_skills=n_skills, **x),
            _fresh_loss(n_skills),
            {
                "tau": TIME,
                "n_parameters": Axis(0.1, 1e5, (1.0, 1023.5, 1024.0, 1024.5, 2999.5, 2999.999999)),
                "skill_exponent": Axis(0.25, 4.0),
                **UNIT,
                "ratio": RATIO,
            },
            derive=_flow,
            size=_least,
            relative_to="loss, at least 1e-16 S^2",
            n_random=4,
            slopes=(),
        )
        for n_skills in (3000, math.inf)
    ),
    *(
        Case(
            f"emergence.loss, D samples, {n_skills:g} skills",
            lambda n_skills=n_skills, **x: theory.loss(
                n_parameters=math.inf, n_skills=n_skills, **x
            ),
            _sampled_loss(n_skills),
            {
                "tau": Axis(1e-3, 1e6, (1e-12,)),
                "n_samples": Axis(1.0, 60.0, integer=True),
                "skill_exponent": Axis(0.05, 4.0),
                **UNIT,
                "ratio": RATIO,
            },
            derive=_flow,
            size=_least,
            relative_to="loss, at least 1e-16 S^2",
            n_random=8,
            slopes=(),
        )
        for n_skills in (3000, math.inf)
    ),
    *(
        Case(
            f"emergence.data_loss, {n_skills:g} skills",
            lambda n_skills=n_skills, **x: theory.data_loss(n_skills=n_skills, **x),
            _data_loss(n_skills),
            {
                "n_samples": Axis(1.0, 60.0, integer=True),
                "skill_exponent": ALPHA,
                "shots": Axis(1.0, 1e3, (2.0, 3.5, 60.0)),
                "target_scale": Axis(1e-2, 1e2),
            },
            size=_least,
            relative_to="loss, at least 1e-16 S^2",
            n_random=8,
            slopes=(),
        )
        for n_skills in (1000, math.inf)
    ),
    *(
        Case(
            f"emergence.width_loss, {n_skills:g} skills",
            lambda n_skills=n_skills, **x: theory.width_loss(n_skills=n_skills, **x),
            _width_loss(n_skills),
            {
                "width": Axis(0.1, 1e6, (99.0, 99.5, 99.99999, 100.0)),
                "skill_exponent": ALPHA,
                "units_per_skill": Axis(0.1, 1e3, (1.0,)),
                "target_scale": Axis(1e-2, 1e2),
            },
            extra=({"width": 99.99999, "units_per_skill": 1.0},),
        )
        for n_skills in (100, math.inf)
    ),
]
