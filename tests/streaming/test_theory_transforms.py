"""Exact theory of streaming regression as a program: gradients, padding, precision, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxscale as js
from jaxscale.streaming import Dana, Nesterov, PolyakAverage
from jaxscale.streaming._optimizers import linear_form
from jaxscale.streaming.theory import (
    kernel_norm,
    max_learning_rate,
    noise_floor,
    optimizer_loss,
    sgd_loss,
)
from jaxscale.streaming.theory._moments import contour_modes, losses

K = np.arange(1.0, 9.0)
LAM, POWER = K**-1.4, K**-2.6
EQUAL = np.array([1.0, 0.4, 0.4, 0.4, 0.1, 0.1, 1e-9, 0.0, 0.0])  # degenerate, and padded
EQUAL_POWER = np.array([1.0, 0.3, 0.2, 0.1, 0.05, 0.0, 1e-9, 0.0, 0.0])
AT = {"unreachable": 0.1, "learning_rate": 0.3, "batch_size": 2.0}
TIMES = (1.0, 7.0, 60.0, 4e3)


def compare_slopes(function, arguments, rtol=2e-7):
    """Derivatives in every argument are those of central differences, relative to the largest."""
    gradient = jax.jit(jax.grad(function))(arguments)
    for name, value in arguments.items():
        flat, slopes = np.ravel(value), np.ravel(gradient[name])
        assert np.isfinite(slopes).all()
        differences = []
        for i, x in enumerate(flat):
            step = 2e-5 * x
            ends = []
            for sign in (-1, 1):
                moved = flat.copy()
                moved[i] += sign * step
                ends.append(float(function(arguments | {name: moved.reshape(np.shape(value))})))
            differences.append((ends[1] - ends[0]) / (2 * step) if step else slopes[i])
        scale = np.abs(differences).max()
        np.testing.assert_allclose(slopes, differences, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("discrete", [True, False])
@pytest.mark.parametrize("equal", [True, False])
def test_slopes_of_the_jump(x64, discrete, equal):
    lam = np.where(EQUAL == 1e-9, 0.02, EQUAL) if equal else LAM  # differences see it
    power = np.where(EQUAL == 1e-9, 0.02, EQUAL_POWER) if equal else POWER
    arguments = {"eigenvalues": lam, "target_power": power, **AT, "time": np.array(TIMES)}

    @jax.jit
    def function(arguments):
        return jnp.sum(jnp.log(sgd_loss(**arguments, discrete=discrete)))

    compare_slopes(function, jax.tree.map(jnp.asarray, arguments))


def test_slopes_of_the_jump_are_those_of_the_recursion(x64):
    """Also where eigenvalues coincide exactly, where differences of one of them see a kink."""
    times = np.array([1, 2, 5, 40, 200])

    def total(lam, power, at, function, **options):
        return jnp.sum(function(times, lam, power, **at, **options) * jnp.arange(1.0, 6.0))

    each = []
    for function, options in (
        (sgd_loss, {}),
        (optimizer_loss, {"optimizer": js.Sgd(), "n_steps": 200}),
    ):
        for lam in (LAM, EQUAL[:7]):
            slopes = jax.grad(total, argnums=(0, 1, 2))(
                jnp.asarray(lam), jnp.asarray(POWER[: lam.size]), AT, function, **options
            )
            each.append(np.concatenate([np.ravel(x) for x in jax.tree.leaves(slopes)]))
    for jump, steps in zip(each[:2], each[2:], strict=True):
        np.testing.assert_allclose(jump, steps, rtol=1e-9, atol=1e-11 * np.abs(steps).max())


def test_slopes_of_stability(x64):
    def norm(x):
        return kernel_norm(**x)

    def floor(x):
        return noise_floor(**x)

    def rate(x):
        return max_learning_rate(**x)

    base = {"eigenvalues": jnp.asarray(LAM), "batch_size": jnp.asarray(2.0)}
    base["momentum"] = jnp.asarray(0.6)
    eta = {"learning_rate": jnp.asarray(0.1)}
    compare_slopes(norm, base | eta)
    compare_slopes(floor, base | eta | {"unreachable": jnp.asarray(0.3)})
    compare_slopes(rate, base)
    compare_slopes(rate, base | {"batch_size": jnp.asarray(1e4)})
    slope = jax.grad(lambda lam: max_learning_rate(lam))(jnp.asarray(EQUAL))
    assert np.isfinite(slope).all()
    assert np.unique(np.asarray(slope)[1:4]).size == 1


def test_slopes_reach_the_schedule_and_the_optimizer(x64):
    def function(x):
        return optimizer_loss(
            np.array([5, 40]), LAM, POWER, unreachable=x["unreachable"],
            learning_rate=x["learning_rate"], batch_size=x["batch_size"], n_steps=40,
            optimizer=Nesterov(momentum=x["momentum"]),
            schedule=js.Cosine(final_ratio=x["final_ratio"]),
        )[1]  # fmt: skip

    numbers = {**AT, "learning_rate": 0.03, "momentum": 0.8, "final_ratio": 0.1}
    compare_slopes(jax.jit(function), jax.tree.map(jnp.asarray, numbers))


@pytest.mark.parametrize("optimizer", [js.Sgd(momentum=0.5), PolyakAverage(), Dana(decay=0.6)])
def test_zeros_change_nothing(x64, optimizer):
    pad = np.zeros(3)
    lam, power = (
        np.concatenate([LAM[:4], pad, LAM[4:]]),
        np.concatenate([POWER[:4], pad, POWER[4:]]),
    )
    at = {**AT, "learning_rate": 0.1}
    for function, options in (
        (sgd_loss, {}),
        (sgd_loss, {"discrete": False}),
        (optimizer_loss, {"optimizer": optimizer}),
    ):
        times = np.array([0, 3, 50, np.inf][: 4 if function is sgd_loss else 3])
        padded = function(times, lam, power, **at, **options)
        np.testing.assert_allclose(padded, function(times, LAM, POWER, **at, **options), rtol=1e-14)
    np.testing.assert_allclose(max_learning_rate(lam), max_learning_rate(LAM), rtol=1e-14)
    np.testing.assert_allclose(noise_floor(lam, **at), noise_floor(LAM, **at), rtol=1e-14)
    assert max_learning_rate(pad) == np.inf
    constant = sgd_loss(np.array([0, 9]), pad, pad, **at)
    np.testing.assert_allclose(constant, 0.05, rtol=1e-14)


def test_a_target_that_no_feature_moves_is_unreachable(x64):
    lam, power = np.append(LAM, 0.0), np.append(POWER, 0.02)
    more = {**AT, "unreachable": AT["unreachable"] + 0.02}
    for function, options in ((sgd_loss, {}), (optimizer_loss, {"optimizer": js.Sgd()})):
        got = function(np.array([0, 3, 500]), lam, power, **AT, **options)
        expected = function(np.array([0, 3, 500]), LAM, POWER, **more, **options)
        np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_grids_by_vmap(x64):
    rng = np.random.default_rng(0)
    lam = jnp.asarray(LAM * rng.uniform(0.5, 1, (3, LAM.size)))
    rates = jnp.asarray([0.1, 0.2, 0.3])
    times = np.array([0, 3, 50])

    def both(lam, rate):
        at = {"unreachable": 0.1, "learning_rate": rate}
        recursion = optimizer_loss(times, lam, POWER, optimizer=PolyakAverage(), **at)
        slope = jax.grad(lambda r: sgd_loss(9.0, lam, POWER, unreachable=0.1, learning_rate=r))
        return sgd_loss(times, lam, POWER, **at), recursion, max_learning_rate(lam), slope(rate)

    batched = jax.jit(jax.vmap(both))(lam, rates)
    for i, rate in enumerate(rates):
        for many, one in zip(batched, both(lam[i], rate), strict=True):
            np.testing.assert_allclose(many[i], one, rtol=1e-12)


def test_a_contour_of_complex_nodes_is_the_sum_over_modes(x64):
    """Schedules, averages and momentum on two tracks around the spectrum."""
    power, n = 0.3 * LAM**1.7, 400
    middle = np.log(LAM[[0, -1]]).mean()
    angle = 2 * np.pi * (np.arange(n) + 0.5) / n
    ellipse = 1.9 * np.cos(angle) + 1j * np.sin(angle)  # in ln z, around all eigenvalues
    slope = -1.9 * np.sin(angle) + 1j * np.cos(angle)
    upper = angle < np.pi
    z = np.exp(middle + ellipse)[upper]
    weight = 2 * (np.exp(middle + ellipse) * slope)[upper] / (1j * n)  # of Re sum f(z) r(z)
    resolvent = 1 / (z[:, None] - LAM)
    target_weights, noise_weights = weight * (resolvent @ power), weight * resolvent.sum(1)
    modes = contour_modes(*map(jnp.asarray, (z, target_weights, noise_weights)))
    assert np.real(target_weights).sum() == pytest.approx(power.sum(), rel=1e-12)
    steps = np.array([0, 1, 10, 60])
    schedule = js.WarmUp(n_warm_up=5, then=js.Cosine())
    rates = 0.1 * np.asarray(schedule.factor(jnp.arange(60), 60))
    numbers = {"batch_size": jnp.asarray(2.0), "unreachable": jnp.asarray(0.1)}
    for optimizer in (js.Sgd(), js.Sgd(momentum=0.5), PolyakAverage()):
        curve = losses(modes, linear_form(optimizer), jnp.asarray(rates), **numbers)[steps]
        exact = optimizer_loss(
            steps, LAM, power, learning_rate=0.1, optimizer=optimizer, schedule=schedule, **numbers
        )
        assert curve.dtype == np.float64
        np.testing.assert_allclose(curve, exact, rtol=1e-11)


def test_single_precision_keeps_its_digits_over_many_steps():
    """A mode that moves by 1e-8 of itself per step; plain sums would not move it at all."""
    lam, power = np.append(LAM, 5e-8), np.append(POWER, 0.05)
    at = {"unreachable": 0.01, "learning_rate": 0.03}
    times = np.array([0, 10, 1000, 300_000])
    optimizers = {"sgd": js.Sgd(), "momentum": js.Sgd(momentum=0.9), "average": PolyakAverage()}

    def curves():
        return {
            name: np.asarray(optimizer_loss(times, lam, power, optimizer=optimizer, **at))
            for name, optimizer in optimizers.items()
        } | {"jump": np.asarray(sgd_loss(times, lam, power, **at))}

    with jax.enable_x64(True):
        double = curves()
    with jax.enable_x64(False):
        single = curves()
        limit = max_learning_rate(lam)
    for name, curve in single.items():
        assert curve.dtype == np.float32
        bound = 1e-4 if name == "average" else 2e-6  # its step holds 1 - 1/t, rounded
        np.testing.assert_allclose(curve, double[name], rtol=bound, err_msg=name)
    assert limit.dtype == np.float32
    with jax.enable_x64(True):
        np.testing.assert_allclose(limit, max_learning_rate(lam), rtol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sgd_loss(-1, LAM, POWER, **AT), "`time` must be at least 0"),
        (lambda: sgd_loss(1, LAM[None], POWER, **AT), r"`eigenvalues` must be a vector .*vmap"),
        (lambda: sgd_loss(1, LAM, POWER[:3], **AT), "`target_power` must have the shape"),
        (lambda: sgd_loss(1, -LAM, POWER, **AT), "`eigenvalues` must be at least 0"),
        (
            lambda: sgd_loss(1, LAM, POWER, unreachable=0.0, learning_rate=np.array([0.1, 0.2])),
            "`learning_rate` must be a scalar, got shape .*vmap",
        ),
        (lambda: max_learning_rate(LAM, momentum=1.0), "`momentum` must be at least 0 and below 1"),
        (lambda: kernel_norm(0.0, LAM), "`learning_rate` must be positive"),
        (lambda: noise_floor(LAM, unreachable=-1.0, learning_rate=0.1), "`unreachable` must be"),
        (
            lambda: optimizer_loss(1, LAM, POWER, **AT, optimizer=js.Adam()),
            "`optimizer` must have a step that is linear in the gradient, got Adam",
        ),
        (lambda: optimizer_loss(1, LAM, POWER, **AT, optimizer="sgd"), "`optimizer` must"),
        (
            lambda: optimizer_loss(1, LAM, POWER, **AT, optimizer=js.Sgd(), schedule=0.5),
            "`schedule` must be a schedule",
        ),
        (
            lambda: optimizer_loss(1.5, LAM, POWER, **AT, optimizer=js.Sgd()),
            "`time` must be whole steps",
        ),
        (
            lambda: optimizer_loss(9, LAM, POWER, **AT, optimizer=js.Sgd(), n_steps=5),
            "`time` must be at most `n_steps` = 5",
        ),
        (
            lambda: optimizer_loss(9, LAM, POWER, **AT, optimizer=js.Sgd(), n_steps=5.5),
            "`n_steps` must be an integer",
        ),
        (
            lambda: jax.jit(lambda t: optimizer_loss(t, LAM, POWER, **AT, optimizer=js.Sgd()))(3),
            "`n_steps` must be given where `time` is traced",
        ),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_times_beyond_a_traced_run_are_not_a_number():
    def at(t):
        return optimizer_loss(t, LAM, POWER, **AT, optimizer=js.Sgd(), n_steps=5)

    loss = jax.jit(at)(np.array([0, 5, 6]))
    np.testing.assert_array_equal(np.isnan(loss), [False, False, True])
    np.testing.assert_allclose(loss[:2], at(np.array([0, 5])), rtol=1e-6)
