"""What arguments of streaming theory may be, to the last digit."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxscale.streaming.theory import _checks, _kappa, _sgd, _sums, max_learning_rate

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
        _sgd._check_length("n_steps", value)
    for value in (-1, 1.0, True, None, math.nan):
        with pytest.raises(ValueError, match="`n_steps` must be an integer of at least 0"):
            _sgd._check_length("n_steps", value)


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
        return _sums.s1(jnp.asarray(1.3), alpha, jnp.asarray(5000.0))

    expected = np.sum(1 / (1 + 1.3 * j ** (2 * alpha[:, None])), axis=1)
    np.testing.assert_allclose(made(alpha), expected, rtol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("batch", [1.0, 1e3])
def test_the_largest_rate_has_the_unit_of_one_over_the_eigenvalues(batch):
    modes = np.arange(1, 9) ** -1.6
    rates = [max_learning_rate(c * modes, batch_size=batch) * c for c in (0.01, 1.0, 100.0)]
    np.testing.assert_allclose(rates, rates[1], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_the_lower_edge_moves_by_its_implicit_slope():
    """S_2(kappa) = d, of forty coordinates and ten features."""
    size, alpha, last = (jnp.asarray(x, jnp.float64) for x in (10.0, 0.8, 40.0))

    @jax.jit
    def edge(size):
        return jax.jvp(lambda d: _kappa.log_kappa_lowest(d, alpha, last), (size,), (size,))

    log, slope = edge(size)
    share = 1 / (1 + np.exp(log) * np.arange(1, 41) ** 1.6)
    np.testing.assert_allclose(np.sum(share**2), 10.0, rtol=1e-12)
    np.testing.assert_allclose(slope, 10.0 / (2 * np.sum(share**3 - share**2)), rtol=1e-9)
