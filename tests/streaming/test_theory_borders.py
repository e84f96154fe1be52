"""What arguments of streaming theory may be, to the last digit."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

import jaxscale as js
from jaxscale.streaming import theory
from jaxscale.streaming.theory import (
    _checks,
    _jump,
    _kappa,
    _sgd,
    _sums,
    critical_batch_size,
    loss_law,
    max_learning_rate,
    optimal_exponents,
)

INF, TINY = math.inf, math.ulp(0.0)


def _below(x):
    return math.nextafter(x, -INF)


def _above(x):
    return math.nextafter(x, INF)


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("n_features", [1.0, 1e300], [_below(1.0), -1.0, INF]),
        ("coordinates_per_feature", [_above(1.0), INF], [1.0, 0.5]),
        ("momentum", [0.0, _below(1.0)], [-TINY, 1.0, 1.5]),
    ],
)
def test_rules_have_exact_borders(name, allowed, refused):
    rule = _checks.theory_function.rules[name]
    for value in allowed:
        rule(name, value)
    for value in [*refused, math.nan]:
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            rule(name, value)


def test_a_number_of_steps_is_an_integer_from_0_on():
    for value in (0, np.int64(7)):
        _sgd.check_length("n_steps", value)
    for value in (-1, 1.0, True, math.nan):
        with pytest.raises(ValueError, match="`n_steps` must be an integer of at least 0"):
            _sgd.check_length("n_steps", value)


PLAIN = {"input_exponent": 0.75, "target_exponent": 0.0, "n_coordinates": INF, "n_features": 8}


@pytest.mark.parametrize(
    ("name", "allowed", "refused"),
    [
        ("input_exponent", [_above(0.5)], [0.5, 0.25]),
        ("target_exponent", [-0.2499, 3.0], [-0.25, -1.0]),
        ("n_coordinates", [9, INF], [8, 1]),
    ],
)
def test_inputs_and_targets_have_a_variance_and_coordinates_outnumber_features(
    name, allowed, refused
):
    for value in allowed:
        _checks.check_data({**PLAIN, name: value})
    for value in refused:
        with pytest.raises(ValueError, match=f"`{name}` must be above"):
            _checks.check_data({**PLAIN, name: value})
        _checks.check_data({**PLAIN, name: jnp.asarray(value)})  # JAX arrays pass
        if name != "n_coordinates":
            _checks.check_data({**PLAIN, name: value, "n_coordinates": 9})


def test_a_budget_affords_a_thousand_batches():
    def check(compute):
        extra = {"coordinates_per_feature": INF, "compute": compute, "batch_size": 2.0}
        _checks.check_allocation({**PLAIN, "n_features": 0.0, **extra})

    with jax.enable_x64(True):
        check(2000.0)
        with pytest.raises(ValueError, match="`compute` must be at least 1000 batches of 2"):
            check(_below(2000.0))
    with pytest.raises(ValueError, match="need float64"):
        check(2000.0)


@pytest.mark.usefixtures("x64")
def test_a_tail_whose_integral_is_almost_a_logarithm_keeps_all_digits():
    """At alpha = 1/2 the first term of the series is 1/j."""
    j, alpha = np.arange(1, 5001), np.asarray([0.5, 0.50001, 0.5002])

    @jax.jit
    @jax.vmap
    def made(alpha):
        return _sums.s1(jnp.asarray(1.3), _sums.inputs_of(alpha, jnp.asarray(5000.0)))

    expected = np.sum(1 / (1 + 1.3 * j ** (2 * alpha[:, None])), axis=1)
    np.testing.assert_allclose(made(alpha), expected, rtol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("batch", [1.0, 1e3])
def test_the_largest_rate_has_the_unit_of_one_over_the_eigenvalues(batch):
    modes = np.arange(1, 9) ** -1.6
    rates = [max_learning_rate(c * modes, batch_size=batch) * c for c in (0.01, 1.0, 100.0)]
    np.testing.assert_allclose(rates, rates[1], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_exponents_of_every_phase_are_those_of_the_docstring():
    """In the order Ia, II, III, Ib, IVa, Ic, IVb."""
    a = np.asarray([0.8, 1.2, 0.8, 0.4, 0.4, 0.2, 0.27])
    b = np.asarray([0.3, 0.8, 1.2, 0.4, 0.8, 0.7, 0.8])
    g, q, s = 2 * a + 2 * b - 1, 3 * a + 2 * b - 1 - 2 * a * b, 2 * b - a - 2 * a * b
    half = 0.5 + 0 * a
    rows = np.arange(7)
    sizes = [1 / (2 * a + 1), b / (a + b), half, half, half, g / (2 * q), (b - a) / s]
    losses = [
        g / (2 * a + 1), g / (2 * (a + b)), 1 - 1 / (4 * a), a + b - 0.5, a, a * g / q,
        (1 - 2 * a) * g / (2 * s),
    ]  # fmt: skip
    made = optimal_exponents(input_exponent=a, target_exponent=b)
    np.testing.assert_allclose(made.n_features, np.stack(sizes)[rows, rows], rtol=1e-12)
    np.testing.assert_allclose(made.loss, np.stack(losses)[rows, rows], rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_laws_of_the_loss_are_their_formulas():
    a, b, eta, batch, t, d = 0.8, np.asarray([0.3, 1.2]), 0.2, 2.0, 1e3, 1e4
    p, e, tau, ratio = 2 * a, (2 * a + 2 * b - 1) / (2 * a), 2 * eta * t, eta * (1 + 1 / batch) / 2

    def series(first):
        return sum(ratio**k * special.zeta(first + 2 * a * k) for k in range(60))

    gain = 1 / (1 - eta / (2 * batch) * series(p))
    kappa = (np.pi / p / np.sin(np.pi / p) / (d + 0.5)) ** p
    share = (1 - 2 * b[0]) / p
    kernel = eta**2 / batch * special.gamma(2 - 1 / p) / p * tau ** (1 / p - 2)
    rich = special.zeta(2 * b[1]) * np.asarray([0.0, 1.0])
    leaked = special.gamma(1 - 1 / p) / (2 * p * d) * tau ** (1 / p - 1)
    poor = kappa ** (1 - share) * np.pi / p / np.sin(np.pi * share) / 2
    expected = [
        special.gamma(e) / (2 * p) * tau**-e * gain,
        rich * leaked * gain,
        np.asarray([poor, rich[1] * kappa / 2]) * gain,
        np.asarray([0.0, kernel * series(2 * b[1]) / (4 * eta) * gain**2]),
    ]
    made = loss_law(t, d, input_exponent=a, target_exponent=b, learning_rate=eta, batch_size=batch)
    np.testing.assert_allclose(made, [*expected, sum(expected)], rtol=1e-10)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_the_lower_edge_moves_by_its_implicit_slope():
    """S_2(kappa) = d, of forty coordinates and ten features."""
    size, alpha, last = (jnp.asarray(x, jnp.float64) for x in (10.0, 0.8, 40.0))

    @jax.jit
    def edge(size):
        inputs, lower = _sums.inputs_of(alpha, last), jnp.asarray(False)
        return jax.jvp(lambda d: jnp.log(_kappa.kappa_edge(d, inputs, lower)), (size,), (size,))

    log, slope = edge(size)
    share = 1 / (1 + np.exp(log) * np.arange(1, 41) ** 1.6)
    np.testing.assert_allclose(np.sum(share**2), 10.0, rtol=1e-12)
    np.testing.assert_allclose(slope, 10.0 / (2 * np.sum(share**3 - share**2)), rtol=1e-9)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_the_critical_batch_is_the_trace_over_the_upper_edge():
    batch = critical_batch_size(1000.0, input_exponent=0.8)
    np.testing.assert_allclose(batch, special.zeta(1.6) / 1.06575053794, rtol=1e-11)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("discrete", [False, True])
def test_noise_of_a_mode_that_does_not_move_grows_with_time(discrete):
    """(1 - q^t) / s of modes that decay by s in a unit of time, and t at s = 0."""
    s = jnp.asarray([0.0, 1e-9, 0.2, 0.7])
    share = _jump._phi(jnp.asarray(5.0), s, _jump._log_decay(s, discrete))
    decay = (1 - s[2:]) ** 5 if discrete else np.exp(-5 * s[2:])
    np.testing.assert_allclose(share, [5.0, 5.0, *(1 - decay) / s[2:]], rtol=2e-8)


GIVEN = {"unreachable": 0.1, "learning_rate": 0.01}
GIVEN_LAW = {"input_exponent": 0.8, "target_exponent": 0.3, "learning_rate": 0.1}
SIGNED = np.eye(2), np.ones(2)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: theory.sign_sgd_loss(1, *SIGNED, **GIVEN | {"learning_rate": np.ones(2)}),
            "`learning_rate` must be a scalar",
        ),
        (
            lambda: theory.sign_sgd_loss(1, np.array([[1, 0.5], [0, 1]]), np.ones(2), **GIVEN),
            "`covariance` must be symmetric and positive definite",
        ),
        (
            lambda: theory.optimizer_loss(
                jnp.asarray([-1, 2]), np.ones(2), np.ones(2), optimizer=js.Sgd(), **GIVEN
            ),
            "`time` must be whole steps from 0 on",
        ),
        (
            lambda: theory.sgd_loss(1, np.ones(2), np.ones(2), discrete="no", **GIVEN),
            "`discrete` must be True or False, got 'no'",
        ),
        (lambda: theory.max_learning_rate(np.ones(0)), r"`eigenvalues` must be .* shape \(0,\)"),
        (lambda: theory.kernel_norm(0.1, np.ones((2, 2))), "`eigenvalues` must be .*; use vmap"),
        (
            lambda: theory.sign_sgd_loss(1, np.eye(0), np.ones(0), **GIVEN),
            r"got \(0, 0\) and \(0,\), with d >= 1",
        ),
        (
            lambda: theory.loss_law(np.ones(3), np.ones((2, 1, 2)), **GIVEN_LAW),
            r"the shapes of `time` \(3,\), `n_features` \(2, 1, 2\) do not broadcast",
        ),
    ],
)
def test_what_would_be_a_wrong_number_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_steps_before_a_run_and_beyond_it_have_no_loss():
    at = {"optimizer": js.Sgd(), "n_steps": 5, **GIVEN}
    loss = jax.jit(lambda t: theory.optimizer_loss(t, np.ones(2), np.ones(2), **at))
    assert np.isnan(loss(jnp.asarray([-1, 0, 5, 6]))).tolist() == [True, False, False, True]


def test_schedule_free_is_warned_of_no_limit_of_sgd():
    system = js.streaming.StreamingRegression(learning_rate=1.5)
    assert "exceeds the stability limit" in system.warnings()[0]
    assert not js.replace(system, "optimizer", js.streaming.ScheduleFree()).warnings()


@pytest.mark.parametrize("rate", [1.9, 100.0])
def test_a_loss_that_overflows_is_infinite(rate):
    """One unstable mode, and several whose terms have both signs."""
    lam, power = np.arange(1, 33) ** -1.6, np.arange(1, 33) ** -3.4
    at, time = {"unreachable": 0.01, "batch_size": 2.0}, np.asarray([0, 1, 500, 1000])
    momentum = {"optimizer": js.Sgd(momentum=0.5)}
    functions = (theory.sgd_loss, {}), (theory.optimizer_loss, {"optimizer": js.Sgd()})
    for function, options in (*functions, (theory.optimizer_loss, momentum)):

        def loss(rate, power, function=function, options=options):
            return function(time, lam, power, learning_rate=rate, **at, **options)

        given, one = (jnp.asarray(rate),), (jnp.asarray(1.0),)
        values, slopes = jax.jvp(lambda x: loss(x, power), given, one)
        assert np.isfinite(values[:2]).all()
        assert np.isfinite(slopes[:2]).all()
        assert (values[2:] == np.inf).all()
        assert np.isnan(slopes[2:]).all()
        assert np.isnan(loss(jnp.asarray(np.nan), power)[1:]).all()
        assert np.isnan(loss(jnp.asarray(rate), jnp.full(32, jnp.nan))).all()
    assert theory.sgd_loss(np.inf, lam, power, learning_rate=rate, **at) == np.inf


def test_a_mean_over_features_that_diverges_is_none(x64):
    at = {"input_exponent": 0.8, "target_exponent": 0.3, "learning_rate": 1.9}
    loss = theory.mean_optimizer_loss(np.array([2, 2000]), 1e3, optimizer=js.Sgd(), **at)
    assert np.isfinite(loss).tolist() == [True, False]
    assert np.isnan(loss[1])
    at |= {"learning_rate": 1.2, "batch_size": 4}
    given = {"optimizer": js.Sgd(), "n_steps": 300}
    loss = np.asarray(theory.mean_optimizer_loss(np.arange(301), 8.0, **at, **given))
    least = float(theory.limit_loss(8.0, input_exponent=0.8, target_exponent=0.3))
    holds = np.isfinite(loss)
    assert 1 < holds.sum() < 300
    assert not holds[holds.sum() :].any()
    assert np.all((loss[holds] > least) & (loss[holds] < 1e3 * loss[0]))
