"""Runs of streaming regression written by hand, one after the other.

Inputs are `x_j = j^-alpha z_j` in V coordinates, features `W^T x` with entries of variance `1/d`,
the target is `sum_j j^-beta x_j` and noise; SGD takes one sample per step, from zero weights. Every
function returns losses `(runs, records)`, half the mean square error with label noise.
"""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

BLOCK = 1000  # steps whose normal numbers are drawn in one call


@dataclasses.dataclass(frozen=True)
class Point:
    """One configuration; `record` are increasing steps, the first 0 and the last that of a run."""

    n_features: int
    n_coordinates: int
    input_exponent: float
    target_exponent: float
    noise: float
    learning_rate: float
    record: tuple[int, ...]


def problem(point: Point, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features `G = D^(1/2) W` and the target `D^(1/2) b` of one run."""
    j = np.arange(1.0, point.n_coordinates + 1)
    w = rng.standard_normal((point.n_coordinates, point.n_features)) / np.sqrt(point.n_features)
    features = j[:, None] ** -point.input_exponent * w
    target = j ** -(point.input_exponent + point.target_exponent)
    return features.astype(np.float32), target.astype(np.float32)


def modes(features: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Eigenvalues of the features' covariance, the target along each, and what none reaches."""
    basis, singular, _ = np.linalg.svd(features, full_matrices=False)
    along = target @ basis
    return singular**2, along, float(np.sum((target - basis @ along) ** 2))


def in_coordinates(point: Point, seeds: Sequence[int]) -> np.ndarray:
    """NumPy as one writes the model down: inputs, features, gradient, update."""
    eta, sigma = np.float32(point.learning_rate), np.float32(point.noise)
    losses = np.empty((len(seeds), len(point.record)))
    for row, seed in zip(losses, seeds, strict=True):
        rng = np.random.default_rng(seed)
        features, target = problem(point, rng)
        theta = np.zeros(point.n_features, np.float32)
        done = 0
        for k, stop in enumerate(point.record):
            for _ in range(done, stop):
                z = rng.standard_normal(point.n_coordinates, dtype=np.float32)
                label = target @ z + sigma * rng.standard_normal(dtype=np.float32)
                phi = z @ features
                theta -= eta * (phi @ theta - label) * phi
            done = stop
            row[k] = 0.5 * (np.sum((features @ theta - target) ** 2) + sigma**2)
    return losses


def in_modes(point: Point, seeds: Sequence[int]) -> np.ndarray:
    """NumPy with as few calls per step as there can be: the modes, blocks of normal numbers.

    With `v_i = lambda_i^(1/2) u_i` the residual is `zeta.v - omega^(1/2) eps`.
    """
    losses = np.empty((len(seeds), len(point.record)))
    for row, seed in zip(losses, seeds, strict=True):
        rng = np.random.default_rng(seed)
        values, along, rest = modes(*problem(point, rng))
        omega = rest + point.noise**2
        step = (point.learning_rate * values).astype(np.float32)
        v = np.append(-along, -np.sqrt(omega)).astype(np.float32)
        step = np.append(step, np.float32(0.0))  # the last entry is the noise, and stays
        done = 0
        for k, stop in enumerate(point.record):
            while done < stop:
                size = min(BLOCK, stop - done)
                for zeta in rng.standard_normal((size, v.size), dtype=np.float32):
                    v -= zeta.dot(v) * (step * zeta)
                done += size
            row[k] = 0.5 * float(v @ v)
    return losses


@functools.partial(jax.jit, static_argnums=(0, 1))
def _run(
    n_coordinates: int, lengths: tuple[int, ...], key: jax.Array, features: jax.Array,
    target: jax.Array, eta: jax.Array, sigma: jax.Array,
) -> jax.Array:  # fmt: skip
    """One run in JAX: `lax.scan` over steps, one after the other between records."""

    def step(theta: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
        z, eps = jr.normal(key, (n_coordinates,)), jr.normal(jr.fold_in(key, 1))
        phi = z @ features
        return theta - eta * (phi @ theta - target @ z - sigma * eps) * phi, None

    def loss(theta: jax.Array) -> jax.Array:
        return 0.5 * (jnp.sum((features @ theta - target) ** 2) + sigma**2)

    theta = jnp.zeros(features.shape[1])
    losses = [loss(theta)]
    for length in lengths:
        key, now = jr.split(key)
        theta, _ = jax.lax.scan(step, theta, jr.split(now, length))
        losses.append(loss(theta))
    return jnp.stack(losses)


def jax_loop(point: Point, seeds: Sequence[int]) -> np.ndarray:
    """A jitted run, and a Python loop over runs."""
    eta, sigma = jnp.float32(point.learning_rate), jnp.float32(point.noise)
    lengths = tuple(int(n) for n in np.diff(point.record))
    losses = np.empty((len(seeds), len(point.record)))
    for row, seed in zip(losses, seeds, strict=True):
        drawn = problem(point, np.random.default_rng(seed))
        made = _run(point.n_coordinates, lengths, jr.key(seed), *drawn, eta, sigma)
        row[:] = np.asarray(made)
    return losses
