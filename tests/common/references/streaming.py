"""One-pass SGD on random features: given modes, and the mean over features."""

import functools
import math

import gmpy2
import jax
import jax.numpy as jnp
import mpmath
import numpy as np
from mpmath import mpf

import jaxscale as js
from jaxscale.spectra import power_sum as float_power_sum
from jaxscale.streaming import theory
from jaxscale.streaming.theory import _kappa, _sums
from references._case import Axis, Case, hurwitz, over_points, power_sum
from references._mpfr import in_mpfr, powers, to_mpf, to_mpfr

N_MODES = 5
SHARE = Axis(0.02, 0.9)  # of a rate that is stable
BATCH = Axis(1.0, 256.0, (2.5,))
MOMENTUM = Axis(0.0, 0.95, (0.5,), linear=True)
PLAIN = {"share": SHARE, "input_exponent": Axis(0.1, 2.0), "batch_size": BATCH}
MODES = {**PLAIN, "momentum": MOMENTUM}
SIZE = Axis(1.0, 2000.0, (2.0, 2.5))
STEEP = Axis(0.55, 2.0)
BETA = Axis(0.6, 2.0, (0.3, 0.45))


def _eigenvalues(alpha):
    """Powers of 1..5 by numbers of either kind."""
    if isinstance(alpha, jax.Array):
        return jnp.arange(1, N_MODES + 1).astype(alpha.dtype) ** (-2.0 * alpha)
    return [mpf(j) ** (-2 * alpha) for j in range(1, N_MODES + 1)]


def _stable(share, input_exponent, batch_size=1.0, momentum=0.0, trace=None, **others):
    """A rate below the limit of stability."""
    if trace is None:
        trace = sum(j ** (-2 * input_exponent) for j in range(1, N_MODES + 1))
    r = (1 + momentum) / batch_size
    rate = share * 2 * (1 - momentum**2) / (r * trace + (1 - momentum) + r)
    named = {"input_exponent": input_exponent, "batch_size": batch_size, "momentum": momentum}
    return {"learning_rate": rate, **named, **others}


def _endless(share, input_exponent, **others):
    """A rate below the limit of infinitely many coordinates."""
    trace = float(float_power_sum(2 * input_exponent, math.inf))
    made = _stable(share, input_exponent, trace=trace, **others)
    return {k: v for k, v in made.items() if k != "momentum"}


def _norm(learning_rate, input_exponent, batch_size, momentum):
    mu, total = momentum, mpf(0)
    for lam in _eigenvalues(input_exponent):
        x = learning_rate * lam
        a = x * (1 + mu) / (batch_size * (1 - mu) * (2 * (1 + mu) - x))
        total += a / (1 - a)
    return total


def _max_rate(input_exponent, batch_size, momentum):
    """The root of N = 1 below the pole of the largest eigenvalue 1."""
    own = (1 - momentum) + (1 + momentum) / batch_size
    low, high = mpf(0), 2 * (1 - momentum**2) / own
    while high - low > high * mpf(10) ** -8:
        middle = (low + high) / 2
        above = _norm(middle, input_exponent, batch_size, momentum) > 1
        low, high = (low, middle) if above else (middle, high)

    def gap(eta):
        return 1 / _norm(eta, input_exponent, batch_size, momentum) - 1

    return mpmath.findroot(gap, (low, high), tol=mpf(10) ** -80)


def _floor(unreachable, **x):
    return unreachable / 2 / (1 - _norm(**x))


def _curve(time, unreachable, learning_rate, input_exponent, batch_size, momentum=0):
    """The mean loss of heavy ball after all of its steps, target power 1/2^i along mode i."""
    lam = _eigenvalues(input_exponent)
    eta, mu, share = learning_rate, momentum, 1 / batch_size
    a = [mpf(2) ** -i / x for i, x in enumerate(lam)]
    b, c = [mpf(0)] * N_MODES, [mpf(0)] * N_MODES
    for _ in range(int(time)):
        twice = unreachable + mpmath.fdot(lam, a)
        for i, x in enumerate(lam):
            w = mu * b[i] + x * a[i]
            c[i] = mu**2 * c[i] + 2 * mu * x * b[i] + x**2 * (1 + share) * a[i] + share * x * twice
            b[i] = w - eta * c[i]
            a[i] = a[i] - 2 * eta * w + eta**2 * c[i]
    return (unreachable + mpmath.fdot(lam, a)) / 2


def _powers():
    return 0.5 ** jnp.arange(N_MODES).astype(jnp.result_type(float))


_powers_to = functools.lru_cache(maxsize=64)(powers)


@functools.lru_cache(maxsize=4096)
def _tail(s, first, last):
    """`power_sum` of numbers of gmpy2."""
    return to_mpfr(power_sum(to_mpf(s), first, last))


def _sum(r, kappa, alpha, last, power=0):
    """Sum of j^-power (1 + kappa j^2alpha)^-r: terms, then powers of 1 / kappa as zetas."""
    p, last = 2 * alpha, math.inf if last == math.inf else int(last)
    far = max(60, 2 ** int(mpmath.ceil(mpmath.log(8 / abs(kappa), 2) / p)))
    return _summed(r, kappa, p, min(far, last), last, power)


@in_mpfr
def _summed(r, kappa, p, far, last, power):
    steps, weights = _powers_to(p, far), _powers_to(-power, far)
    total = sum((1 + kappa * x) ** -r * w for x, w in zip(steps, weights, strict=True))
    scale, k, least = kappa**-r, 0, gmpy2.mpfr(10) ** -40
    while far < last:
        term = scale * _tail(power + p * (r + k), far + 1, last)
        total += term
        if abs(term) < abs(total) * least:
            break
        scale, k = -scale * (r + k) / ((k + 1) * kappa), k + 1
    return total


def _solve(f, x, digits=25):
    """Newton's method, up to a step by which the next would change twice as many digits."""
    for _ in range(60):
        value, slope = f(x)
        step = value / slope
        x -= step
        if abs(step) < abs(x) * mpf(10) ** -digits:
            return x
    raise ArithmeticError(f"no convergence to {x}")


def _float(function, *values):
    """What a compiled function of the package returns: where Newton's method starts."""
    with jax.enable_x64(True):
        return mpmath.mpmathify(np.asarray(function(*map(jnp.asarray, values))).item())


def _kappa_where(function):
    return jax.jit(lambda x, size, alpha, last: function(x, size, _sums.inputs_of(alpha, last)))


_FIRST = {
    1: _kappa_where(lambda _, size, inputs: _kappa.kappa_floor(size, inputs)),
    2: _kappa_where(lambda upper, size, inputs: _kappa.kappa_edge(size, inputs, upper)),
}
_KAPPA = _kappa_where(_kappa.kappa_of)


def _positive(order, size, alpha, last):
    """Kappa above 0 with S_order = d: of z = 0 for 1, of the lower edge for 2."""

    def f(log):
        kappa = mpmath.exp(log)
        one, more = (_sum(r, kappa, alpha, last) for r in (order, order + 1))
        return mpmath.log(one / size), -order * (one - more) / one

    first = _float(_FIRST[order], False, *map(float, (size, alpha, last)))
    return mpmath.exp(_solve(f, mpmath.log(first), 11))


def _negative(order, goal, alpha, last):
    """Kappa below -1 with |S_order| = goal."""

    def f(log):
        kappa = -1 - mpmath.exp(log)
        one, more = (_sum(r, kappa, alpha, last) for r in (order, order + 1))
        return mpmath.log(abs(one) / goal), order * (more - one) * (kappa + 1) / (one * kappa)

    return -1 - mpmath.exp(_solve(f, -mpmath.log(goal) / order))


def _z(kappa, size, alpha, last):
    return -kappa * (1 - _sum(1, kappa, alpha, last) / size)


def _limit(last):
    def exact(n_features, input_exponent, target_exponent):
        kappa = _positive(1, n_features, input_exponent, last)
        return kappa * _sum(1, kappa, input_exponent, last, 2 * target_exponent) / 2

    return exact


def _edge(side, last):
    def exact(n_features, input_exponent):
        law = (n_features, input_exponent, last)
        kappa = _positive(2, *law) if side == "low" else _negative(2, *law)
        return _z(kappa, *law)

    return exact


def _critical(last):
    high = _edge("high", last)
    return lambda **x: power_sum(2 * x["input_exponent"], 1, last) / high(**x)


def _mean_max_rate(n_features, input_exponent, batch_size, momentum):
    """At the edge of the spectrum, or where |S_1| makes N 1 beyond it."""
    law, mu = (input_exponent, mpmath.inf), momentum
    scale = batch_size * (1 - mu) + 1 + mu
    kappa = min(_negative(1, scale / (1 + mu), *law), _negative(2, n_features, *law))
    return 2 * batch_size * (1 - mu**2) / (scale * _z(kappa, n_features, *law))


def _kappa_at(z, size, alpha, last):
    """Kappa in the half plane opposite to z, where it is unique."""

    def f(kappa):
        one, two = (_sum(r, kappa, alpha, last) for r in (1, 2))
        return kappa * (1 - one / size) + z, 1 - two / size

    kappa = _solve(f, _float(_KAPPA, complex(z), *map(float, (size, alpha, last))), 11)
    assert mpmath.im(kappa) * mpmath.im(z) < 0
    return kappa


def mean_loss(
    time, n_features, input_exponent, target_exponent, learning_rate, batch_size, noise,
    last=mpmath.inf, n_nodes=20,
):  # fmt: skip
    """The inverse of the generating function, by a contour of any number of nodes."""
    law, large = (n_features, input_exponent, last), 1 + 1 / batch_size
    total = mpf(0)
    for k in range(n_nodes):
        angle = (2 * k + 1) * mpmath.pi / (2 * n_nodes)
        turn = mpf("0.6407") * angle
        cot, imaginary = mpmath.cot(turn), mpmath.mpc(0, "0.2645")
        shape = mpf("0.5017") * angle * cot - mpf("0.6122") + imaginary * angle
        slope = mpf("0.5017") * (cot - turn / mpmath.sin(turn) ** 2) + imaginary
        p = 2 * n_nodes * shape / time
        growth, x = mpmath.expm1(p), mpmath.exp(-p)
        r = mpmath.sqrt(1 + large * growth)
        ends = -growth / (learning_rate * (1 + r)), (1 + r) / (learning_rate * large)
        target, count = [], []
        for z in ends:
            kappa = _kappa_at(z, *law)
            q = _sum(1, kappa, input_exponent, last, 2 * target_exponent)
            target.append(-kappa * q / z)
            count.append(z * _sum(1, kappa, input_exponent, last))
        forcing = (target[0] - target[1]) / (4 * learning_rate * x * r) + noise**2 / 2 / (1 - x)
        kernel = learning_rate / batch_size * (count[0] - count[1]) / (2 * x * r)
        total += mpmath.im(mpmath.exp(time * p) * slope * forcing / (1 - x * kernel))
    return 2 * total / time


def _law(time, n_features, input_exponent, target_exponent, learning_rate, batch_size):
    """Leading terms; the sums as geometric series of zeta functions, whose heads are ratios."""
    a, b, eta, p = input_exponent, target_exponent, learning_rate, 2 * input_exponent
    ratio, tau = eta * (1 + 1 / batch_size) / 2, 2 * eta * time

    def series(first):
        total, k = mpmath.fsum(j**-first / (1 - ratio * j**-p) for j in map(mpf, range(1, 21))), 0
        while (ratio * mpf(21) ** -p) ** k > mpf(10) ** -40:
            total, k = total + ratio**k * hurwitz(first + p * k, 21), k + 1
        return total

    gain = 1 / (1 - eta / (2 * batch_size) * series(p))
    e = (2 * a + 2 * b - 1) / p
    bias = mpmath.gamma(e) / (2 * p) * tau**-e
    kappa = (mpmath.pi / p / mpmath.sin(mpmath.pi / p) / (n_features + mpf("0.5"))) ** p
    if 2 * b < 1:
        share = (1 - 2 * b) / p
        return gain * (
            bias + kappa ** (1 - share) * mpmath.pi / p / mpmath.sin(mpmath.pi * share) / 2
        )
    zeta, late = mpmath.zeta(2 * b), mpmath.gamma(2 - 1 / p) / p * tau ** (1 / p - 2)
    leak = zeta * mpmath.gamma(1 - 1 / p) / (2 * p * n_features) * tau ** (1 / p - 1)
    early = series(2 * b) / (4 * eta)
    return gain * (bias + leak + zeta * kappa / 2) + gain**2 * eta**2 / batch_size * late * early


def _exponents(which):
    def exact(input_exponent, target_exponent):
        a, b = input_exponent, target_exponent
        g, q, s = 2 * a + 2 * b - 1, 3 * a + 2 * b - 1 - 2 * a * b, 2 * b - a - 2 * a * b
        return {
            "Ia": (1 / (2 * a + 1), g / (2 * a + 1)),
            "Ib": (mpf("0.5"), a + b - mpf("0.5")),
            "Ic": (g / (2 * q), a * g / q),
            "II": (b / (a + b), g / (2 * (a + b))),
            "III": (mpf("0.5"), 1 - 1 / (4 * a)),
            "IVa": (mpf("0.5"), a),
            "IVb": ((b - a) / s, (1 - 2 * a) * g / (2 * s)),
        }[_phase(a, b)][which]

    return exact


def _phase(a, b):
    if 2 * a > 1:
        return "Ia" if 2 * b < 1 else "II" if b < a else "III"
    return "Ib" if 2 * b < 1 else "Ic" if a < 0.25 else "IVa" if a > 1 - 1 / math.sqrt(2) else "IVb"


def _of_modes(function, **fixed):
    """A function of eigenvalues, over points."""

    def one(input_exponent, **x):
        return function(eigenvalues=_eigenvalues(input_exponent), **fixed, **x)

    return over_points(one)


CASES = [
    Case("streaming.kernel_norm", _of_modes(theory.kernel_norm), _norm, MODES, derive=_stable),
    Case(
        "streaming.max_learning_rate",
        _of_modes(theory.max_learning_rate),
        _max_rate,
        {k: axis for k, axis in MODES.items() if k != "share"},
        n_random=6,
    ),
    Case(
        "streaming.noise_floor",
        _of_modes(theory.noise_floor),
        _floor,
        {"unreachable": Axis(1e-6, 10.0), **MODES},
        derive=_stable,
    ),
    Case(
        "streaming.sgd_loss",
        _of_modes(lambda **x: theory.sgd_loss(target_power=_powers(), **x)),
        _curve,
        {
            "time": Axis(1.0, 300.0, (0.0,), integer=True),
            "unreachable": Axis(1e-6, 10.0),
            **PLAIN,
        },
        derive=lambda **x: {k: v for k, v in _stable(**x).items() if k != "momentum"},
        n_random=6,
    ),
    Case(
        "streaming.optimizer_loss",
        _of_modes(
            lambda momentum, **x: theory.optimizer_loss(
                target_power=_powers(), optimizer=js.Sgd(momentum=momentum), n_steps=100, **x
            )
        ),
        _curve,
        {
            "time": Axis(1.0, 100.0, (0.0,), integer=True),
            "unreachable": Axis(1e-6, 10.0),
            **MODES,
        },
        derive=_stable,
        n_random=6,
    ),
    *(
        Case(
            f"streaming.limit_loss, {'infinitely many' if last == math.inf else last} coordinates",
            functools.partial(theory.limit_loss, n_coordinates=last),
            _limit(mpf(last)),
            {"n_features": SIZE, "input_exponent": alpha, "target_exponent": BETA},
            n_random=3,
        )
        for last, alpha in ((math.inf, STEEP), (4000, Axis(0.1, 2.0, (0.5,))))
    ),
    *(
        Case(
            f"streaming.spectrum_edges, {side}",
            lambda side=side, **x: getattr(theory.spectrum_edges(**x), side),
            _edge(side, mpmath.inf),
            {"n_features": SIZE, "input_exponent": STEEP},
            n_random=4,
        )
        for side in ("low", "high")
    ),
    Case(
        "streaming.critical_batch_size",
        functools.partial(theory.critical_batch_size, n_coordinates=4000),
        _critical(mpf(4000)),
        {"n_features": SIZE, "input_exponent": Axis(0.1, 2.0, (0.5,))},
        n_random=4,
    ),
    Case(
        "streaming.mean_max_learning_rate",
        theory.mean_max_learning_rate,
        _mean_max_rate,
        {"n_features": SIZE, "input_exponent": STEEP, "batch_size": BATCH, "momentum": MOMENTUM},
        n_random=4,
    ),
    Case(
        "streaming.loss",
        theory.loss,
        mean_loss,
        {
            "time": Axis(10.0, 1e7),
            "n_features": Axis(4.0, 300.0),
            "share": Axis(0.05, 0.5),
            "input_exponent": Axis(0.6, 1.6),
            "target_exponent": BETA,
            "batch_size": Axis(1.0, 16.0),
            "noise": Axis(1e-3, 1.0, (0.0,)),
        },
        derive=_endless,
        n_random=3,
        slopes=(),
    ),
    Case(
        "streaming.loss_law",
        lambda **x: theory.loss_law(**x).loss,
        _law,
        {
            "time": Axis(1.0, 1e9),
            "n_features": Axis(1.0, 1e9),
            "share": Axis(0.02, 0.5),
            "input_exponent": Axis(0.6, 2.0),
            "target_exponent": BETA,
            "batch_size": BATCH,
        },
        derive=_endless,
    ),
    *(
        Case(
            f"streaming.optimal_exponents, {name}",
            lambda name=name, **x: getattr(theory.optimal_exponents(**x), name),
            _exponents(i),
            {"input_exponent": Axis(0.1, 2.0, (0.22, 0.4)), "target_exponent": Axis(0.42, 2.0)},
        )
        for i, name in enumerate(("n_features", "loss"))
    ),
]
