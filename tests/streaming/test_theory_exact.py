"""Exact theory of streaming regression given the features, against dense computations in NumPy."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest
from checks import largest_z
from scipy import linalg

import jaxscale as js
from jaxscale.streaming import Dana, ExponentialAverage, Nesterov, PolyakAverage, ScheduleFree
from jaxscale.streaming._optimizers import linear_form
from jaxscale.streaming.theory import (
    kernel_norm,
    max_learning_rate,
    noise_floor,
    optimizer_loss,
    sgd_loss,
)

OPTIMIZERS = {
    "sgd": js.Sgd(),
    "heavy ball": js.Sgd(momentum=0.8),
    "nesterov": Nesterov(momentum=0.7),
    "polyak": PolyakAverage(),
    "ema": ExponentialAverage(weight=0.2),
    "schedule-free": ScheduleFree(b=0.8),
    "dana": Dana(gain=0.4, decay=0.3, delta=4.0),
}


@functools.cache
def draw(d, n_coordinates, alpha=0.8, beta=0.9, seed=0):
    """Features, eigenvalues, powers of the target, and twice the smallest loss without noise."""
    rng = np.random.default_rng(seed)
    j = np.arange(1.0, n_coordinates + 1)
    features = rng.standard_normal((n_coordinates, d)) / np.sqrt(d)
    modes, roots, _ = np.linalg.svd(j[:, None] ** -alpha * features, full_matrices=False)
    target = j ** -(alpha + beta)
    power = (modes.T @ target) ** 2
    return features, roots**2, power, target @ target - power.sum()


def sgd_step(lam, eta, batch):
    """The step of the second moments of SGD."""
    own = (1 - eta * lam) ** 2 + (eta * lam) ** 2 / batch
    return np.diag(own) + eta**2 / batch * np.outer(lam, lam)


def heavy_ball_step(lam, eta, batch, mu):
    """The step of (E v^2, E v u, E u^2), and what a unit of omega adds to it."""
    d = lam.size
    eye, loss = np.eye(3 * d), np.tile(lam, (d, 1))
    a, b, c = eye[:d], eye[d : 2 * d], eye[2 * d :]
    lam = lam[:, None]
    w = mu * b + lam * a
    c_new = mu**2 * c + 2 * mu * lam * b + (1 + 1 / batch) * lam**2 * a + lam / batch * (loss @ a)
    b_new = w - eta * c_new
    a_new = a - 2 * eta * w + eta**2 * c_new
    noise = np.concatenate([eta**2 * lam, -eta * lam, lam]) / batch
    return np.concatenate([a_new, b_new, c_new]), noise[:, 0]


@pytest.mark.parametrize("batch", [1.0, 2.5, 16.0, 1e3])
@pytest.mark.parametrize("alpha", [0.4, 1.2])
def test_the_radius_of_a_step_is_one_at_the_largest_rate(x64, batch, alpha):
    _, lam, _, _ = draw(40, 160, alpha)
    eta = float(max_learning_rate(lam, batch_size=batch))
    trace, top = lam.sum(), lam.max()
    assert 2 * batch / (trace + (batch + 1) * top) <= eta
    assert eta <= min(2 * batch / trace, 2 * batch / ((batch + 2) * top))
    assert abs(np.linalg.eigvalsh(sgd_step(lam, eta, batch))[-1] - 1) < 1e-12
    assert abs(float(kernel_norm(eta, lam, batch_size=batch)) - 1) < 1e-10
    assert abs(np.linalg.eigvalsh(sgd_step(lam, 1.001 * eta, batch))[-1] - 1) > 1e-5


@pytest.mark.parametrize(("batch", "mu"), [(2.0, 0.9), (30.0, 0.5)])
def test_heavy_ball_is_unstable_above_the_largest_rate(x64, batch, mu):
    _, lam, _, _ = draw(12, 48)
    eta = float(max_learning_rate(lam, batch_size=batch, momentum=mu))
    radius = [
        np.abs(np.linalg.eigvals(heavy_ball_step(lam, s * eta, batch, mu)[0])).max()
        for s in (0.999, 1.0, 1.001)
    ]
    assert radius[0] < 1 - 1e-6
    assert abs(radius[1] - 1) < 1e-12
    assert radius[2] > 1 + 1e-6


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_full_batch_is_stable_up_to_the_largest_eigenvalue(x64, momentum):
    _, lam, power, omega = draw(12, 48)
    at = {"batch_size": np.inf, "momentum": momentum}
    eta = max_learning_rate(lam, **at)
    assert float(eta) == pytest.approx(2 * (1 + momentum) / lam.max(), rel=1e-14)
    assert kernel_norm(0.9 * eta, lam, **at) == 0
    assert noise_floor(lam, unreachable=omega, learning_rate=0.9 * eta, **at) == omega / 2
    for rate in (1.001, 3.0):
        assert noise_floor(lam, unreachable=omega, learning_rate=rate * eta, **at) == np.inf
    at = {"unreachable": omega, "learning_rate": 1.1 * 2 / lam.max(), "batch_size": np.inf}
    assert sgd_loss(np.inf, lam, power, **at) == np.inf


@pytest.mark.parametrize("batch", [1.0, 4.0])
@pytest.mark.parametrize("share", [0.3, 0.98])
def test_floors(x64, batch, share):
    _, lam, power, omega = draw(12, 48)
    eta = share * float(max_learning_rate(lam, batch_size=batch))
    step = sgd_step(lam, eta, batch)
    moments = np.linalg.solve(np.eye(lam.size) - step, eta**2 / batch * omega * lam)
    at = {"unreachable": omega, "learning_rate": eta, "batch_size": batch}
    floor = (omega + lam @ moments) / 2
    np.testing.assert_allclose(noise_floor(lam, **at), floor, rtol=1e-10)
    np.testing.assert_allclose(
        sgd_loss(np.array([np.inf, 1e9]), lam, power, **at), floor, rtol=1e-10
    )
    mu = 0.9
    eta = share * float(max_learning_rate(lam, batch_size=batch, momentum=mu))
    step, noise = heavy_ball_step(lam, eta, batch, mu)
    moments = np.linalg.solve(np.eye(3 * lam.size) - step, omega * noise)
    at["learning_rate"] = eta
    floor = (omega + lam @ moments[: lam.size]) / 2
    np.testing.assert_allclose(noise_floor(lam, momentum=mu, **at), floor, rtol=1e-10)


TIMES = np.array([0, 1, 2, 7, 30, 100, 1000, 10_000])


@pytest.mark.parametrize("batch", [1.0, 3.0, np.inf])
@pytest.mark.parametrize("share", [0.1, 0.3, 0.99])
def test_the_jump_is_the_recursion(x64, batch, share):
    _, lam, power, omega = draw(24, 96)
    eta = share * float(max_learning_rate(lam, batch_size=batch))
    at = {"unreachable": omega + 0.01, "learning_rate": eta, "batch_size": batch}
    jump = np.asarray(sgd_loss(TIMES, lam, power, **at))
    steps = np.asarray(optimizer_loss(TIMES, lam, power, optimizer=js.Sgd(), **at))
    np.testing.assert_allclose(jump, steps, rtol=1e-12)
    step, moments = sgd_step(lam, eta, batch), power / lam
    plain = [omega + 0.01 + lam @ moments]
    for _ in range(30):
        moments = step @ moments + eta**2 / batch * (omega + 0.01) * lam
        plain.append(omega + 0.01 + lam @ moments)
    np.testing.assert_allclose(jump[:5], np.array(plain)[TIMES[:5]] / 2, rtol=1e-12)


def test_at_and_above_the_largest_rate_the_loss_grows_without_end(x64):
    _, lam, power, omega = draw(24, 96)
    limit = max_learning_rate(lam)
    at = {"unreachable": omega}
    first, second, fourth = np.asarray(
        sgd_loss(np.array([1e4, 2e4, 4e4]), lam, power, learning_rate=limit, **at)
    )
    np.testing.assert_allclose(fourth - second, 2 * (second - first), rtol=1e-2)
    steps = optimizer_loss(10_000, lam, power, learning_rate=limit, optimizer=js.Sgd(), **at)
    np.testing.assert_allclose(first, steps, rtol=1e-11)
    above = sgd_loss(np.array([1e6, np.inf]), lam, power, learning_rate=1.1 * limit, **at)
    np.testing.assert_array_equal(above, np.inf)


def test_small_steps_are_the_generator(x64):
    _, lam, power, omega = draw(10, 40)
    eta, batch = 0.3, 2.0
    generator = 2 * eta * np.diag(lam) - eta**2 / batch * np.outer(lam, lam)
    end = np.linalg.solve(generator, eta**2 / batch * omega * lam)
    times = np.array([0.0, 0.7, 20.0, 300.0])
    excess = [lam @ (end + linalg.expm(-generator * t) @ (power / lam - end)) for t in times]
    at = {"unreachable": omega, "learning_rate": eta, "batch_size": batch, "discrete": False}
    got = sgd_loss(times, lam, power, **at)
    np.testing.assert_allclose(got, (omega + np.array(excess)) / 2, rtol=1e-12)


def fourth_moments(covariance):
    """E phi phi phi phi of Gaussian features by quadrature, exact for polynomials."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(4)
    d = len(covariance)
    grid = np.stack(np.meshgrid(*[nodes] * d, indexing="ij"), -1).reshape(-1, d)
    weight = np.prod(np.meshgrid(*[weights / weights.sum()] * d, indexing="ij"), 0).ravel()
    phi = grid @ np.linalg.cholesky(covariance).T
    return np.einsum("n,na,nb,nc,nd->abcd", weight, phi, phi, phi, phi, optimize=True)


def dense_losses(optimizer, covariance, fourth, error, omega, rates, batch):
    """Mean losses from E S S^T of the whole memory S (d, k), off-diagonal moments included."""
    slots, loss_at = np.array(optimizer.weights), np.array(optimizer.loss_at)
    memory = np.einsum("a,i,b,j->aibj", error, slots, error, slots)

    def loss(memory):
        return (omega + np.einsum("ab,i,j,aibj", covariance, loss_at, loss_at, memory)) / 2

    curve = [loss(memory)]
    for step, rate in enumerate(rates):
        s = optimizer.linear_step(jnp.asarray(rate), jnp.asarray(step))
        carry, push, read = (np.asarray(x) for x in (s.carry, s.push, s.read))
        v = np.einsum("i,j,aibj->ab", read, read, memory)
        square = np.einsum("abcd,bc->ad", fourth, v) + omega * covariance
        square = square / batch + (1 - 1 / batch) * covariance @ v @ covariance
        cross = np.einsum("ac,i,cibj->abj", covariance, read, memory)  # E g S
        cross = np.einsum("i,kj,abj->aibk", push, carry, cross)
        carried = np.einsum("ki,lj,aibj->akbl", carry, carry, memory)
        pushed = np.einsum("i,j,ab->aibj", push, push, square)
        memory = carried + cross + cross.transpose(2, 3, 0, 1) + pushed
        curve.append(loss(memory))
    return np.array(curve)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_against_all_fourth_moments(x64, name):
    """The factor 1 + 1/B is right: a factor 1 fails."""
    rng = np.random.default_rng(1)
    mix = rng.standard_normal((3, 3))
    covariance = mix @ mix.T / 3
    lam, vectors = np.linalg.eigh(covariance)
    error, omega, eta, batch, n = rng.standard_normal(3), 0.3, 0.12, 2.0, 12
    schedule = js.WarmUp(n_warm_up=3, then=js.Cosine(final_ratio=0.2))
    rates = eta * np.asarray(schedule.factor(jnp.arange(n), n))
    optimizer = linear_form(OPTIMIZERS[name])
    at = {"unreachable": omega, "learning_rate": eta, "optimizer": OPTIMIZERS[name]}
    power = lam * (vectors.T @ error) ** 2
    loss = optimizer_loss(
        np.arange(n + 1), lam, power, batch_size=batch, schedule=schedule, n_steps=n, **at
    )
    fourth = fourth_moments(covariance)
    dense = dense_losses(optimizer, covariance, fourth, error, omega, rates, batch)
    np.testing.assert_allclose(loss, dense, rtol=1e-12)
    planted = fourth - np.einsum("ab,cd->abcd", covariance, covariance)
    dense = dense_losses(optimizer, covariance, planted, error, omega, rates, batch)
    assert np.abs(np.asarray(loss) / dense - 1)[1:].max() > 1e-3


def simulate(optimizer, n_seeds, n_steps, record, *, eta, batch, noise, d=4, n_coordinates=12):
    """Losses (record, seed) of a linear optimizer on fresh samples in all coordinates."""
    features, *_ = draw(d, n_coordinates)
    rng = np.random.default_rng(7)
    j = np.arange(1.0, n_coordinates + 1)
    scale, target = j**-0.8, j**-0.9
    memory = np.zeros((len(optimizer.weights), n_seeds, d))
    losses = []
    for step in range(n_steps + 1):
        if step in record:
            theta = np.tensordot(optimizer.loss_at, memory, 1)
            losses.append((((theta @ features.T - target) * scale) ** 2).sum(1) / 2 + noise**2 / 2)
        x = rng.standard_normal((n_seeds, batch, n_coordinates)) * scale
        y = x @ target + noise * rng.standard_normal((n_seeds, batch))
        s = optimizer.linear_step(jnp.asarray(eta), jnp.asarray(step))
        theta = np.tensordot(np.asarray(s.read), memory, 1)
        phi = x @ features
        residual = (phi @ theta[:, :, None])[..., 0] - y
        gradient = (residual[:, None] @ phi)[:, 0] / batch
        memory = np.tensordot(np.asarray(s.carry), memory, 1)
        memory += np.multiply.outer(np.asarray(s.push), gradient)
    return np.array(losses)


RECORD = np.array([20, 50, 100, 150])


def worst_z(losses, expected):
    error = losses.std(axis=1, ddof=1) / np.sqrt(losses.shape[1])
    return np.abs((losses.mean(axis=1) - np.asarray(expected)) / error).max()


@pytest.mark.parametrize("name", ["sgd", "heavy ball", "schedule-free"])
def test_simulations_in_all_coordinates_have_the_exact_mean(x64, name):
    _, lam, power, omega = draw(4, 12)
    noise, n_seeds, batch = 0.2, 2000, 2
    eta = 0.02 if name == "heavy ball" else 0.12
    optimizer = linear_form(OPTIMIZERS[name])
    losses = simulate(optimizer, n_seeds, 150, RECORD, eta=eta, batch=batch, noise=noise)
    at = {"learning_rate": eta, "optimizer": OPTIMIZERS[name]}
    unreachable = omega + noise**2
    exact = optimizer_loss(RECORD, lam, power, unreachable=unreachable, batch_size=batch, **at)
    bound = largest_z(n_seeds, 3 * len(RECORD))
    assert worst_z(losses, exact) < bound
    quiet = optimizer_loss(RECORD, lam, power, unreachable=unreachable, batch_size=np.inf, **at)
    assert worst_z(losses, quiet) > bound  # power: no noise of the batch
    ignored = optimizer_loss(RECORD, lam, power, unreachable=noise**2, batch_size=batch, **at)
    assert worst_z(losses, ignored + omega / 2) > bound  # power: what is unreachable is noise, too
