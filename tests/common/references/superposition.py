"""Superposition without a bottleneck, interference, tails, and scales that need no matrix."""

import math

import mpmath
from mpmath import mpf

from jaxscale.superposition import theory
from references._case import Axis, Case, power_sum

N = 40
EXPONENTS = {"frequency_exponent": Axis(0.0, 4.0, (1.0, 1 + 1e-9), linear=True),
             "importance_exponent": Axis(0.0, 3.0, (0.5,), linear=True)}  # fmt: skip
DECAYING = {"frequency_exponent": Axis(1.001, 4.0, (2.0,)),
            "importance_exponent": Axis(0.01, 3.0, (0.0, 0.5))}  # fmt: skip
INPUTS = {"second_moment": Axis(0.1, 10.0), "mean_active": Axis(0.1, 10.0)}
TIME = Axis(1e-6, 1e9, (0.0, math.inf))


def _stable(speed, **values):
    """The learning rate in units of the largest stable one."""
    energy = values["second_moment"] * values.get("mean_active", 1.0)
    return values | {"learning_rate": speed / energy}


def _features(a, b, n, loss_weighted):
    """Share, target and weight of every feature."""
    norm = power_sum(a, 1, n)
    for i in (mpf(k) for k in range(1, n + 1)):
        weighted = (mpf(1), i ** (-2 * b)) if loss_weighted else (i**-b, mpf(1))
        yield i**-a / norm, *weighted


def _decay(rate, time, discrete):
    if time == mpmath.inf:
        return mpf(0)
    if not discrete:
        return mpmath.exp(-rate * time)
    size = abs(1 - rate) ** time
    return -size if rate > 1 and int(mpmath.nint(time)) % 2 else size


def _loss(loss_weighted, discrete):
    def exact(
        time, frequency_exponent, importance_exponent, learning_rate, second_moment, mean_active,
        initial_strength,
    ):  # fmt: skip
        total = mpf(0)
        each = _features(frequency_exponent, importance_exponent, N, loss_weighted)
        for share, target, weight in each:
            rate = weight * mean_active * second_moment * share
            gap = _decay(learning_rate * rate, time, discrete) * (target - initial_strength)
            total += rate * gap**2 / 2
        return total

    return exact


def _strength(loss_weighted, discrete):
    def exact(
        time, rank, frequency_exponent, importance_exponent, learning_rate, second_moment,
        mean_active, initial_strength,
    ):  # fmt: skip
        weight = rank ** (-2 * importance_exponent) if loss_weighted else 1
        target = 1 if loss_weighted else rank**-importance_exponent
        share = rank**-frequency_exponent / power_sum(frequency_exponent, 1, N)
        rate = learning_rate * weight * mean_active * second_moment * share
        remaining = _decay(rate, time, discrete)
        return 1 - (1 - initial_strength / target) * remaining

    return exact


def _sgd(
    time, batch_size, frequency_exponent, importance_exponent, learning_rate, second_moment,
    fourth_moment, initial_strength,
):  # fmt: skip
    total = mpf(0)
    for p, target, _ in _features(frequency_exponent, importance_exponent, N, False):
        x = second_moment * p
        spread = learning_rate**2 / batch_size * (p * fourth_moment - x**2)
        factor = (1 - learning_rate * x) ** 2 + spread
        power = mpf(0) if time == mpmath.inf else factor**time
        total += x * (target - initial_strength) ** 2 / 2 * power
    return total


def _sgd_arguments(speed, batch_size, kurtosis, time, **values):
    """A kurtosis of the amplitudes of at least 1; steps that shrink every mode."""
    second = values["second_moment"]
    rate = speed / (second * kurtosis)
    fourth = kurtosis * second**2
    return values | {
        "learning_rate": rate, "fourth_moment": fourth, "batch_size": batch_size, "time": time,
    }  # fmt: skip


def _scales(a, b, n, energy, loss_weighted=False):
    rate = a + 2 * b if loss_weighted else a
    return rate, (a + 2 * b - 1) / rate, energy / power_sum(a, 1, n)


def _law(n, loss_weighted):
    def exact(frequency_exponent, importance_exponent, second_moment, mean_active):
        a, b, energy = frequency_exponent, importance_exponent, mean_active * second_moment
        rate, beta, c = _scales(a, b, n, energy, loss_weighted)
        return c / (2 * rate) * mpmath.gamma(beta) * mpf(30) ** -beta

    return exact


def _asymptote(
    time, frequency_exponent, importance_exponent, learning_rate, second_moment, mean_active
):
    a, b, energy = frequency_exponent, importance_exponent, mean_active * second_moment
    rate, beta, c = _scales(a, b, N, energy)
    if time == mpmath.inf:
        return mpf(0)
    if time == 0:
        power = a + 2 * b - 1
        if power == 0:
            return c / 2 * mpmath.log(2 * N + 1)
        return c / 2 * (mpf(2) ** power - (N + mpf("0.5")) ** -power) / power
    tau = 2 * learning_rate * c * time
    between = mpmath.gammainc(beta, tau * (N + mpf("0.5")) ** -rate, tau * 2**rate)
    return c / (2 * rate) * tau**-beta * between


def _local(
    time, frequency_exponent, importance_exponent, learning_rate, second_moment, mean_active
):
    a, b, energy = frequency_exponent, importance_exponent, mean_active * second_moment
    rate, beta, c = _scales(a, b, N, energy)
    x = 2 * learning_rate * c * time * mpf(N) ** -rate
    return beta + (x**beta * mpmath.exp(-x) / mpmath.gammainc(beta, x) if x else 0)


def _late(speed, margin, **values):
    """Exponents of a loss that decays: a + 2 b is above 1 by the margin, unless a is alone."""
    b = max(margin + 1 - values["frequency_exponent"], 0.0) / 2
    return _stable(speed, importance_exponent=b, **values)


def _progress(latent_size, fraction, frequency_exponent, learning_rate, second_moment, mean_active):
    shares = [p for p, _, _ in _features(frequency_exponent, mpf(0), N, False)]

    goal = time = latent_size * fraction
    for _ in range(
        500
    ):  # the sum of what is learned is concave: from below, Newton's method is monotone
        remaining = [mpmath.exp(-p * time) for p in shares]
        step = (goal - N + mpmath.fsum(remaining)) / mpmath.fdot(shares, remaining)
        time += step
        if abs(step) < time * mpf(10) ** -45:
            break
    return time / (learning_rate * mean_active * second_moment)


def _random_rate(tight):
    def exact(latent_size, frequency_exponent, importance_exponent, second_moment, mean_active):
        a, b = frequency_exponent, importance_exponent
        shares = [p for p, _, _ in _features(a, b, N, False)]
        moment = shares[0] + mpmath.fsum(shares[1:]) / latent_size
        load = N / latent_size
        gram = load if tight else (1 + mpmath.sqrt(load)) ** 2
        return 2 / (gram * moment * mean_active * second_moment)

    return exact


def _top(weights, latent_size):
    """The top of sum_i w_i w_i^T i^-2b: where the falling branch of z ends, or the spike."""
    first, rest = weights[0], weights[1:]

    def falls(s):
        return mpmath.fsum((w * s / (1 - w * s)) ** 2 for w in rest) < latent_size

    low, high = mpf(0), 1 / rest[0]
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if falls(middle) else (low, middle)
    s = min(low, 1 / first)
    return 1 / s + mpmath.fsum(w / (1 - w * s) for w in rest) / latent_size


def _weighted_rate(tight):
    def exact(latent_size, frequency_exponent, importance_exponent, second_moment, mean_active):
        features = _features(frequency_exponent, importance_exponent, N, True)
        shares, _, weights = zip(*features, strict=True)
        shared = weights[0] + mpmath.fsum(weights[1:]) / latent_size
        gram = min(shared, N / latent_size) if tight else _top(weights, latent_size)
        moment = shares[0] + mpmath.fsum(shares[1:]) / latent_size
        return 2 / (gram * moment * mean_active * second_moment)

    return exact


FLOW = {"time": TIME, **EXPONENTS, **INPUTS, "initial_strength": Axis(0.01, 2.0, (0.0, 1.0))}
LATE = {
    "margin": Axis(1e-6, 6.0, (0.0,)),
    "time": Axis(1e-3, 1e9),
    "frequency_exponent": Axis(0.05, 4.0, (1.0, 2.0)),
    **INPUTS,
}

CASES = [
    *(
        Case(
            f"superposition.sequential_loss{', loss weighted' * weighted}{', steps' * steps}",
            lambda weighted=weighted, steps=steps, **x: theory.sequential_loss(
                n_features=N, loss_weighted=weighted, discrete=steps, **x
            ),
            _loss(weighted, steps),
            {"speed": Axis(1e-3, 0.99), **FLOW},
            derive=_stable,
        )
        for weighted, steps in ((False, False), (False, True), (True, False))
    ),
    *(
        Case(
            f"superposition.sequential_strength{', loss weighted' * weighted}{', steps' * steps}",
            lambda weighted=weighted, steps=steps, **x: theory.sequential_strength(
                n_features=N, loss_weighted=weighted, discrete=steps, **x
            ),
            _strength(weighted, steps),
            {"speed": Axis(1e-3, 0.99), "rank": Axis(1.0, N), **FLOW},
            derive=_stable,
            extra=({"time": 1e-6, "initial_strength": 0.0}, {"time": 1e-6}),
        )
        for weighted, steps in ((False, False), (False, True), (True, False))
    ),
    Case(
        "superposition.sgd_loss",
        lambda **x: theory.sgd_loss(n_features=N, **x),
        _sgd,
        {
            "speed": Axis(1e-3, 0.5),
            "batch_size": Axis(1.0, 1e6, (math.inf,)),
            "kurtosis": Axis(1.0, 10.0),
            "time": Axis(1.0, 1e9, (0.0, 0.5, math.inf)),
            **EXPONENTS,
            "second_moment": Axis(0.1, 10.0),
            "initial_strength": Axis(0.01, 2.0, (0.0, 1.0)),
        },
        derive=_sgd_arguments,
    ),
    *(
        Case(
            f"superposition.sequential_law{', loss weighted' * weighted}, {n:g} features",
            lambda n=n, weighted=weighted, **x: theory.sequential_law(
                n_features=n, loss_weighted=weighted, **x
            )(30.0),
            _law(n, weighted),
            {**DECAYING, **INPUTS},
        )
        for n, weighted in ((N, False), (math.inf, False), (math.inf, True))
    ),
    Case(
        "superposition.sequential_loss_asymptote",
        lambda **x: theory.sequential_loss_asymptote(n_features=N, **x),
        _asymptote,
        {"speed": Axis(1e-3, 0.99), **LATE, "time": Axis(1e-3, 1e9, (0.0, math.inf))},
        derive=_late,
    ),
    Case(
        "superposition.sequential_local_exponent",
        lambda **x: theory.sequential_local_exponent(n_features=N, **x),
        _local,
        {"speed": Axis(1e-3, 0.99), **LATE},
        derive=_late,
    ),
    Case(
        "superposition.interference_scale",
        theory.interference_scale,
        lambda latent_size, gain, energy: gain * mpmath.sqrt(energy / latent_size),
        {"latent_size": Axis(1.0, 1e6), "gain": Axis(1e-3, 10.0), "energy": Axis(1e-6, 1e3)},
    ),
    Case(
        "superposition.universal_law",
        theory.universal_law,
        lambda tail_index: 1 - 2 * tail_index,
        {"tail_index": Axis(-10.0, 0.49, linear=True)},
    ),
    Case(
        "superposition.matched_gain",
        lambda latent_size, threshold: theory.matched_gain(latent_size, threshold=threshold),
        lambda latent_size, threshold: 1 / (1 - threshold / mpmath.sqrt(latent_size)),
        {"ratio": Axis(1.001, 1e6), "threshold": Axis(1e-3, 10.0)},
        derive=lambda ratio, threshold: {
            "latent_size": ratio * max(threshold**2, 1.0),
            "threshold": threshold,
        },
    ),
    Case(
        "superposition.shared_progress_time",
        lambda **x: theory.shared_progress_time(n_features=N, **x),
        _progress,
        {
            "latent_size": Axis(1.0, N * 0.99),
            "fraction": Axis(0.01, 0.999, (1.0,)),
            "frequency_exponent": Axis(0.0, 4.0, (1.0,), linear=True),
            "learning_rate": Axis(1e-3, 1.0),
            **INPUTS,
        },
    ),
    *(
        Case(
            f"superposition.random_max_learning_rate{', tight' * tight}",
            lambda tight=tight, **x: theory.random_max_learning_rate(
                n_features=N, tight=tight, **x
            ),
            _random_rate(tight),
            {"latent_size": Axis(1.0, 1e4), **EXPONENTS, **INPUTS},
        )
        for tight in (False, True)
    ),
    *(
        Case(
            f"superposition.random_max_learning_rate, loss weighted{', tight' * tight}",
            lambda tight=tight, **x: theory.random_max_learning_rate(
                n_features=N, tight=tight, loss_weighted=True, **x
            ),
            _weighted_rate(tight),
            {"latent_size": Axis(1.0, 1e4), **EXPONENTS, **INPUTS},
            n_random=6,
            slopes=True if tight else (),
        )
        for tight in (False, True)
    ),
]
