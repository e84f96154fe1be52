"""Means over random features: reference values, two independent routes, laws and phases."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import largest_z

import jaxscale as js
from jaxscale.spectra import power_sum
from jaxscale.streaming.theory import _kappa, _sums
from jaxscale.streaming.theory._contour import limit_of, nodes_of
from jaxscale.streaming.theory._equivalent import mean_losses, norm_of_mean

T = js.streaming.theory
TIMES = np.array([100.0, 1e3, 1e4, 1e6])
# by `mean_loss` of tests/common/references, at 30 digits: 1000 features, rate 1 / (zeta + 2)
REFERENCE = {
    (0.8, 0.3): [0.0327239903766648, 0.00673405606418387, 0.00201856400921772, 0.00116870153601793],
    (1.2, 0.8): [0.0018576164001103, 0.00011646106613973, 1.14383067081999e-5, 6.19913583884403e-7],
    (0.8, 1.2): [0.0012452347589418, 0.00018455637147467, 7.88783834227364e-5, 5.279700239429e-5],
}  # fmt: skip
FINITE = [0.1057436791799392, 0.08846629665879154, 0.08827055525320261]
pytestmark = pytest.mark.usefixtures("x64")


def rate_of(alpha):
    return 1.0 / (float(power_sum(2 * alpha, np.inf)) + 2.0)


def law_of(size, alpha, beta, last=np.inf):
    return tuple(jnp.asarray(x, jnp.float64) for x in (size, alpha, beta, last))


@pytest.mark.parametrize("kappa", [1e-20, 1e-5, 0.5, -1.3, 1e-3 + 1e-3j, -0.02 + 1e-3j])
@pytest.mark.parametrize("last", [60.0, 5000.0])
def test_sums_are_those_of_all_terms(kappa, last):
    j = np.arange(1, last + 1)
    kind = jnp.complex128 if isinstance(kappa, complex) else jnp.float64
    alpha, end = jnp.asarray(0.8), jnp.asarray(last)
    inputs = _sums.inputs_of(alpha, end)
    made = _sums.sums((1, 2, 3), jnp.asarray(kappa, kind), inputs, jnp.asarray(0.6))
    for r, value in zip((1, 2, 3), made, strict=True):
        expected = np.sum(j**-0.6 / (1 + kappa * j**1.6) ** r)
        assert abs(complex(value) / expected - 1) < 1e-13


def test_endless_sums_are_limits_of_long_ones():
    kappa, alpha = jnp.asarray(1e-4), jnp.asarray(0.8)
    endless, long = (
        _sums.s1(kappa, _sums.inputs_of(alpha, jnp.asarray(v))) for v in (np.inf, 1e30)
    )
    assert abs(endless / long - 1) < 1e-13


@pytest.mark.parametrize("exponents", REFERENCE)
def test_losses_are_those_of_many_digits(exponents):
    alpha, beta = exponents
    loss = T.loss(
        TIMES, 1000.0, input_exponent=alpha, target_exponent=beta, learning_rate=rate_of(alpha)
    )
    np.testing.assert_allclose(loss, REFERENCE[exponents], rtol=1e-11)


def test_a_finite_number_of_coordinates_is_the_stored_one():
    at = {"input_exponent": 0.4, "target_exponent": 0.9, "n_coordinates": 400.0}
    loss = T.loss(TIMES, 100.0, learning_rate=0.07072699321430662, **at)
    np.testing.assert_allclose(loss[:3], FINITE, rtol=1e-11)
    np.testing.assert_allclose(2 * T.limit_loss(100.0, **at), 0.09903762752249526, rtol=1e-11)


def test_edges_and_limit_are_the_stored_ones():
    low, high = T.spectrum_edges(1000.0, input_exponent=0.8)
    np.testing.assert_allclose([low, high], [1.83667279337e-5, 1.06575053794], rtol=1e-11)
    limit = T.limit_loss(1000.0, input_exponent=0.8, target_exponent=0.3)
    np.testing.assert_allclose(2 * limit, 1.61927974648e-3, rtol=1e-11)
    size, alpha, last = (jnp.asarray(x) for x in (1000.0, 0.8, np.inf))
    kappa = _kappa.kappa_floor(size, _sums.inputs_of(alpha, last))
    np.testing.assert_allclose(kappa, 5.29073394237e-5, rtol=1e-11)


@jax.jit
def by_recursion(law, eta, batch):
    """Mean losses of 1,000 steps on the nodes of any time."""
    optimizer = js.streaming._optimizers.Descent()
    rates = jnp.full(1000, eta)
    unreachable = limit_of(law) + 0.04
    return mean_losses(nodes_of(law), optimizer, rates, batch, unreachable)


@pytest.mark.parametrize(("exponents", "batch"), [((0.8, 0.3), 1.0), ((1.2, 0.8), 3.0)])
def test_the_contour_in_time_is_the_recursion_on_nodes(exponents, batch):
    law = law_of(1000.0, *exponents)
    curve = by_recursion(law, jnp.asarray(0.14), jnp.asarray(batch))
    times = np.array([0, 1, 9, 10, 11, 20, 30, 99, 100, 300, 1000])
    at = {"input_exponent": exponents[0], "target_exponent": exponents[1], "batch_size": batch}
    loss = T.loss(times, 1000.0, learning_rate=0.14, noise=0.2, **at)
    np.testing.assert_allclose(loss, curve[times], rtol=3e-11)


@pytest.mark.parametrize(
    ("alpha", "size"), [(0.8, 100.0), (0.8, 1e5), (2.0, 1e4), (2.0, 1e6), (3.0, 1e3), (3.0, 1e8)]
)
def test_nodes_count_modes_and_keep_both_traces(alpha, size):
    law = law_of(size, alpha, 0.3)
    nodes = jax.jit(nodes_of)(law)
    power = float(power_sum(2 * alpha + 0.6, np.inf))
    total = [
        np.sum(nodes.noise_weights).real / size,
        np.sum(nodes.noise_weights * nodes.nodes).real / float(power_sum(2 * alpha, np.inf)),
        (np.sum(nodes.target_weights).real + float(limit_of(law))) / power,
    ]
    rtol = 1e-13 + 5 * np.exp(-307 / (alpha * np.log(size)))
    np.testing.assert_allclose(total, 1.0, rtol=rtol)


@pytest.mark.parametrize(("alpha", "size"), [(1.67, 1e12), (2.5, 1e8)])
def test_slopes_hold_where_powers_of_kappa_underflow(alpha, size):
    """The least loss falls as d^(1 - 2 alpha - 2 beta), but for d^(2 beta - 1) of itself."""

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def log_loss(log_size, alpha):
        return jnp.log(limit_of(law_of(jnp.exp(log_size), alpha, 0.3)))

    at = np.array([np.log(size), alpha])
    _, slopes = log_loss(*at)
    assert abs(slopes[0] - (1 - 2 * (alpha + 0.3))) < size**-0.4
    for slope, step in zip(slopes, 1e-5 * np.eye(2), strict=True):
        below, above = (log_loss(*(at + sign * step))[0] for sign in (-1, 1))
        np.testing.assert_allclose(slope, (above - below) / 2e-5, rtol=1e-7)


def test_few_coordinates_need_not_be_whole():
    """The last of them counts in part, with a slope."""
    at = {"input_exponent": 0.4, "target_exponent": 0.9}
    ends = T.limit_loss(60.0, n_coordinates=np.array([105.0, 105.5, 106.0, 111.9999, 112.0]), **at)
    assert ends[0] < ends[1] < ends[2]
    np.testing.assert_allclose(ends[3], ends[4], rtol=1e-5)
    assert jax.grad(lambda v: T.limit_loss(60.0, n_coordinates=v, **at))(105.5) > 0
    at = {"input_exponent": 0.8, "target_exponent": 0.3}  # 112 is where panels begin
    slope = jax.grad(lambda v: T.limit_loss(50.0, n_coordinates=v, **at))(112.0)
    ends = T.limit_loss(50.0, n_coordinates=112 + 0.1 * np.array([-1, 1, 0, 0, 0]), **at)
    np.testing.assert_allclose(slope, (ends[1] - ends[0]) / 0.2, rtol=1e-2)


@pytest.mark.parametrize("number", [np.float32, np.float16, jnp.bfloat16], ids=lambda n: n.__name__)
@pytest.mark.parametrize(
    "name",
    ["limit_loss", "spectrum_edges", "spectrum_nodes", "loss", "mean_max_learning_rate",
     "critical_batch_size", "mean_optimizer_loss", "optimal_allocation"],
)  # fmt: skip
def test_means_over_features_are_in_double_precision_whatever_is_given(name, number):
    function = getattr(T, name)
    given = {"compute": 1e6, "n_features": 100.0, "target_exponent": 0.3, "time": np.array([200])}
    given |= {"learning_rate": 0.1, "optimizer": js.Sgd()}
    given = {n: given[n] for n in inspect.signature(function).parameters.keys() & given.keys()}

    def value(alpha):
        return function(input_exponent=alpha, **given)

    results = jax.tree.leaves(jax.eval_shape(value, jax.ShapeDtypeStruct((), number)))
    assert {x.dtype.name for x in results} <= {"float64", "complex128"}


@pytest.mark.parametrize("kind", [np.float32, jnp.float32])
def test_numbers_of_single_precision_are_taken(kind):
    at = {"target_exponent": 0.3}
    one, two = (T.limit_loss(100.0, input_exponent=a, **at) for a in (kind(0.8), float(kind(0.8))))
    np.testing.assert_array_equal(one, two)


def test_times_and_sizes_that_do_not_broadcast_are_named():
    at = {"input_exponent": 0.8, "target_exponent": 0.3, "learning_rate": 0.1}
    words = r"the shapes of `time` \(3,\), `n_features` \(2,\) do not broadcast"
    with pytest.raises(ValueError, match=words):
        T.loss([1e2, 1e3, 1e4], np.array([100.0, 200.0]), **at)


def test_a_large_batch_has_the_limit_of_the_upper_edge():
    high = T.spectrum_edges(256.0, input_exponent=0.8).high
    rates = T.mean_max_learning_rate(256.0, input_exponent=0.8, batch_size=np.array([1e9, 1e17]))
    np.testing.assert_allclose(rates, 2 / high, rtol=1e-8)


def test_the_cost_grows_neither_with_size_nor_with_time():
    """One program for a hundred features and for 10^8, at any time."""
    at = {"input_exponent": 0.8, "target_exponent": 0.3, "learning_rate": 0.14}
    loss = T.loss(np.array([1e2, 1e6, 1e12]), np.array([[100.0], [1e8]]), **at)
    assert np.all(np.isfinite(loss))
    assert np.all(np.diff(loss, axis=1) < 1e-12 * loss[:, 1:])  # a hundred features have converged
    law = T.loss_law(1e6, 1e8, **at).loss
    np.testing.assert_allclose(loss[1, 1], law, rtol=0.03)


def test_norm_and_limit_of_the_mean_agree():
    size, alpha, last = (jnp.asarray(x, jnp.float64) for x in (256.0, 0.8, np.inf))
    for batch, momentum in ((1.0, 0.0), (4.0, 0.0), (2.0, 0.9)):
        numbers = (jnp.asarray(batch), jnp.asarray(momentum))
        rate = T.mean_max_learning_rate(
            256.0, input_exponent=0.8, batch_size=batch, momentum=momentum
        )
        assert abs(norm_of_mean(rate, size, alpha, last, *numbers) - 1) < 1e-9
        assert norm_of_mean(0.9 * rate, size, alpha, last, *numbers) < 1


@pytest.mark.slow
def test_derivatives_are_those_of_differences():
    def log_loss(x):
        alpha, beta, rate, size, noise = x
        at = {"input_exponent": alpha, "target_exponent": beta, "learning_rate": rate}
        return jnp.log(T.loss(3000.0, jnp.exp(size), noise=noise, **at))

    x = jnp.asarray([0.8, 0.9, 0.14, np.log(300.0), 0.05])
    both = jax.jit(jax.value_and_grad(log_loss))
    slopes = both(x)[1]
    h = 1e-5
    central = [
        (both(x.at[i].add(h))[0] - both(x.at[i].add(-h))[0]) / (2 * h) for i in range(x.size)
    ]
    np.testing.assert_allclose(slopes, central, rtol=1e-6)


def test_early_steps_hold_up_to_the_limit():
    """At large batches and rates, and at few features."""
    at = {"input_exponent": 0.8, "target_exponent": 0.3, "batch_size": 64.0}
    limit = T.mean_max_learning_rate(100.0, input_exponent=0.8, batch_size=64.0)
    time = np.array([0.0, 9.0, 10.0])
    for share in (0.8, 0.93, 0.99):
        run = at | {"learning_rate": share * limit}
        loss = T.loss(time, 100.0, **run)
        np.testing.assert_allclose(loss[0], power_sum(2.2, np.inf) / 2, rtol=1e-9)
        by_nodes = T.mean_optimizer_loss(time, 100.0, optimizer=js.Sgd(), **run)
        np.testing.assert_allclose(loss, by_nodes, rtol=1e-11)
    few = T.loss(0.0, 4.0, input_exponent=0.51, target_exponent=0.9, learning_rate=0.007)
    np.testing.assert_allclose(few, power_sum(2.82, np.inf) / 2, rtol=1e-9)


def test_steps_have_digits_where_the_spectrum_is_narrow_and_the_rate_near_its_limit():
    """By both routes, against `mean_loss` of tests/common/references at 40 digits."""
    at = {"input_exponent": 0.203, "n_coordinates": 27946.0, "batch_size": 314.0}
    rate = 0.99 * T.mean_max_learning_rate(131.0, **at)
    at |= {"target_exponent": 0.967, "learning_rate": rate}
    time = np.array([36.0, 60.0, 99.0])
    exact = [11.32081447268516, 14.21208547840803, 16.16650506269025]
    np.testing.assert_allclose(T.loss(time, 131.0, **at), exact, rtol=1e-11)
    by_nodes = T.mean_optimizer_loss(time, 131.0, optimizer=js.Sgd(), **at)
    np.testing.assert_allclose(by_nodes, exact, rtol=1e-11)


def test_above_the_limit_there_is_no_late_loss():
    at = {"input_exponent": 0.8, "target_exponent": 0.3}

    @jax.jit
    @jax.value_and_grad
    def loss(eta, time):
        return T.loss(time, 1000.0, learning_rate=eta, **at)

    value, slope = loss(0.8, 3.0)
    assert np.isfinite(value)
    assert slope > 0
    assert np.isnan([loss(2.0, 9.0)[1], loss(0.8, 99.0)[1], *loss(0.8, 1000.0)]).all()
    system = js.streaming.StreamingRegression(learning_rate=0.8, n_steps=10)
    assert np.all(np.isinf(js.predict(js.Grid(system))["floor"]))


def test_slopes_hold_where_a_series_has_no_power():
    def limit(alpha):
        return T.mean_max_learning_rate(50.0, input_exponent=alpha, n_coordinates=2000.0)

    slopes = [jax.grad(limit)(jnp.asarray(alpha)) for alpha in (0.5, 0.5001)]
    np.testing.assert_allclose(slopes[0], slopes[1], rtol=1e-3)


PAIRS = {"Ia": (0.8, 0.3), "Ib": (0.4, 0.3), "Ic": (0.2, 0.8), "II": (1.2, 0.8),
         "III": (0.8, 1.2), "IVa": (0.4, 0.9), "IVb": (0.27, 0.9)}  # fmt: skip


def test_phases_are_where_they_should_be():
    assert {name: T.phase(*pair) for name, pair in PAIRS.items()} == {n: n for n in PAIRS}
    assert T.phase(0.2, 0.2) == "no limit"
    assert np.isnan(T.optimal_exponents(input_exponent=0.2, target_exponent=0.2).loss)
    with pytest.raises(ValueError, match="`input_exponent` must be positive"):
        T.phase(-1.0, 0.3)
    with pytest.raises(ValueError, match="`target_exponent` must be a number, got nan"):
        T.phase(0.8, np.nan)
    for beta in ("a", np.ones(2)):  # a TypeError where types are checked
        with pytest.raises((ValueError, TypeError), match="target_exponent"):
            T.phase(0.8, beta)
    with pytest.raises(ValueError, match="`n_features` must be a scalar, got shape"):
        T.spectrum_nodes(np.ones(2), input_exponent=0.8, target_exponent=0.3)


@pytest.mark.parametrize(
    ("pair", "low", "high"), [((0.8, 0.3), 0.97, 1.0), ((0.8, 1.2), 1.0, 1.07)]
)
def test_laws_are_near_the_equivalent(pair, low, high):
    at = {"input_exponent": pair[0], "target_exponent": pair[1], "learning_rate": rate_of(pair[0])}
    times = np.array([1e2, 1e4, 1e6])
    ratio = T.loss_law(times, 1e6, **at).loss / T.loss(times, 1e6, **at)
    assert np.all((ratio > low) & (ratio < high))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"input_exponent": 0.5}, r"`input_exponent` must be above 1/2 .*`n_coordinates`"),
        ({"target_exponent": -0.4}, "`target_exponent` must be above"),
        ({"n_coordinates": 50.0}, "`n_coordinates` must be above n_features"),
        ({"n_features": 0.0}, "`n_features`"),
    ],
)
def test_bad_input_is_refused(fields, words):
    good = {"n_features": 100.0, "input_exponent": 0.8, "target_exponent": 0.3, **fields}
    with pytest.raises(ValueError, match=words):
        T.limit_loss(good.pop("n_features"), **good)


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["Ib", "Ic", "IVb"])  # test_draws.py has the others
def test_the_mean_over_draws_is_the_equivalent(phase):
    """Within 2/d and the interval of Student's t at 1e-3, from step 100 on."""
    alpha, beta = PAIRS[phase]
    size, n_seeds = 64, 200
    last = 4 * size
    rate = 0.6 / (float(power_sum(2 * alpha, last)) + 2)
    system = js.streaming.StreamingRegression(
        n_features=size, input_exponent=alpha, target_exponent=beta, n_coordinates=last,
        learning_rate=rate, n_steps=1000, record=[0, 100, 300, 1000],
    )  # fmt: skip
    grid = js.Grid(system, seeds=n_seeds)
    ratio = js.run(grid, progress=False)["expected_loss"] / js.predict(grid)["loss"]
    mean, error = ratio.mean("seed")[1:], ratio.std("seed", ddof=1)[1:] / n_seeds**0.5
    bound = largest_z(n_seeds, 3 * len(PAIRS))
    assert np.all(abs(mean - 1) < 2 / size + bound * error)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"input_exponent": 0.4},
            r"`input_exponent` must be above 1/2 .*`coordinates_per_feature`",
        ),
        ({"compute": 50.0}, "`compute` must be at least 1000 batches"),
        ({"coordinates_per_feature": 0.5}, "`coordinates_per_feature`"),
    ],
)
def test_bad_budgets_are_refused(fields, words):
    good = {"compute": 1e6, "input_exponent": 0.8, "target_exponent": 0.9, **fields}
    with pytest.raises(ValueError, match=words):
        T.optimal_allocation(good.pop("compute"), **good)


def test_an_allocation_that_its_bound_decides_has_a_hundred_steps():
    at = {"input_exponent": 0.8, "target_exponent": 0.3}
    best = T.optimal_allocation(np.array([1e3, 1e6]), **at)
    assert best.n_steps[0] == 100 < best.n_steps[1]
    np.testing.assert_allclose(best.n_features * best.n_steps, [1e3, 1e6], rtol=1e-14)
    rate = 1 / (power_sum(1.6, np.inf) + 2)
    losses = T.loss(1e3 / np.array([8.0, 9.0, 10.0]), [8.0, 9.0, 10.0], learning_rate=rate, **at)
    assert np.all(np.diff(losses) < 0)  # it falls up to the bound
    np.testing.assert_allclose(best.loss[0], losses[-1], rtol=1e-12)


def test_far_edges_of_double_precision_have_no_loss():
    at = {"target_exponent": 0.3, "learning_rate": 0.1}
    far = np.array(
        [[100.0, np.inf, 0.8], [1e32, np.inf, 0.8], [1e2, 1e193, 0.8], [1e2, np.inf, 80]]
    )
    d, v, alpha = far.T
    loss = T.loss(1e6, d, input_exponent=alpha, n_coordinates=v, **at)
    assert np.isnan(loss).tolist() == [False, True, True, True]
