"""Cost of a teacher-student run, counted from its shapes, for the planner."""

from typing import Any

from jaxscale.superposition.data import Bernoulli, OneHot
from jaxscale.superposition.decoders import Linear
from jaxscale.superposition.embedding import Identity, Joint, Pretrained, TightFrame
from jaxscale.superposition.gradient import Population
from jaxscale.superposition.losses import BLOCK_FLOATS, SAMPLE_BLOCK
from jaxscale.system import Work

EIGENVALUES = 10.0  # of a (K, K) matrix, in products of such matrices


def work_of(system: Any) -> Work:
    """Products with W and B of every step, the losses at the records, and the start.

    Per sample a step reads W at the active features, applies B and `W^T`, and goes back through
    both for the gradient of B (through W, too, where it trains). A population step of a nonlinear
    student touches every column of M, one of a linear student `(K, K)` matrices alone.
    """
    n, k = system.n_features, system.padded_latent_size
    embedding, inputs = system.embedding, system.inputs
    flat = isinstance(embedding, Identity)
    trains, matrix = embedding.trains, embedding.has_matrix
    linear = isinstance(system.decoder, Linear)
    population = isinstance(system.gradient, Population)
    quick = population and linear and not trains
    batch, places = system.gradient.batch(n), system.places
    if quick:
        step, working = (4.0 * n * n, 3.0 * n * n) if flat else (4.0 * k**3, 6.0 * k * k)
        held = 6.0 * n * n if flat else 10.0 * k * k + n * k
    else:
        per_sample = (
            4.0 * n * n if flat else 4.0 * n * k + (6.0 if trains else 4.0) * k * k * matrix
        )
        per_sample += 12.0 * n + (4.0 * n * k if trains else 2.0 * places * k)
        step = batch * per_sample * (2.0 if population else 1.0)
        working = batch * n + (n * k if trains else 0.0) + (2.0 * n * n if flat else 0.0)
        held = 4.0 * batch * (n + k) + batch * places * (k + 6)
        held += (3.0 * n * n if flat else 8.0 * k * k) + 8.0 * n + (8.0 if trains else 2.0) * n * k
    exact = linear or isinstance(inputs, OneHot)
    if exact:
        looked = (4.0 if flat else 2.0 * k + 12.0) * n * n
        seen = 1.2 * min(n * n, BLOCK_FLOATS) + n * k
    else:
        looked = system.n_evaluation * (2.0 * n * (n if flat else k) + 2.0 * k * k + 12.0 * n)
        block = min(SAMPLE_BLOCK, system.n_evaluation)
        seen = 4.0 * block * n + block * places * (k + 6)
    start = 40.0 * n * k + 4.0 * n * k * k + 2 * EIGENVALUES * k**3 if not flat else 60.0 * n * n
    drawn = embedding.start if isinstance(embedding, Joint) else embedding
    if isinstance(drawn, TightFrame):
        start += 64 * 4.0 * n * k * k
    if isinstance(drawn, Pretrained):
        start += drawn.n_steps * drawn.batch_size * 8.0 * n * k
        held = max(held, drawn.batch_size * 2.5 * n + 5.0 * n * k)
    if isinstance(inputs, Bernoulli):
        step += 40.0 * batch * places * (0.0 if population else 1.0)
    return Work(
        flops=system.n_steps * step + len(system.record_steps) * looked + start,
        working_floats=working,
        resident_floats=max(held, seen + 2.0 * n * k + 3.0 * k * k),
        n_steps=system.n_steps,
    )
