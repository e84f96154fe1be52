"""What a run of a teacher-student system costs, counted from its shapes."""

from jaxscale._system import Work
from jaxscale.superposition._data import Bernoulli
from jaxscale.superposition._embedding import (
    TIGHTENINGS,
    Identity,
    Pretrained,
    TightFrame,
    start_of,
)
from jaxscale.superposition._interface import ACTIVE, AbstractTeacherStudent
from jaxscale.superposition._losses import (
    BLOCK_FLOATS,
    SAMPLE_BLOCK,
    FreshBatches,
    has_exact_losses,
)
from jaxscale.superposition._outputs import Linear
from jaxscale.superposition._student import MATRIX, READOUT

EIGENVALUES = 10.0  # of a (K, K) matrix, in products of such matrices


def work(system: AbstractTeacherStudent) -> Work:
    """Count the products with W and B of every step, the losses at the records, and the start.

    Per sample a step reads W at the active features, applies B and `W^T` (or V), and goes back
    through both for the gradient of B, and of W where it trains. A population step of a
    nonlinear student touches every column of M, one of a linear student `(K, K)` matrices.
    """
    n, k = system.n_features, system.padded("latent_size")
    flat, start = isinstance(system.embedding, Identity), start_of(system.embedding)
    trains, name = system.embedding.trains, system.embedding.matrix_name
    matrix, untied = name == MATRIX, name == READOUT
    batches = system.gradient if isinstance(system.gradient, FreshBatches) else None
    batch, places = batches.slice_length if batches else n, system.padded(ACTIVE)
    quick = batches is None and isinstance(system.decoder, Linear) and not trains
    if quick:
        step, working = (4.0 * n * n, 3.0 * n * n) if flat else (4.0 * k**3, 6.0 * k * k)
        held = 6.0 * n * n if flat else 10.0 * k * k + n * k
    else:
        product = 4.0 * n * k + (6.0 if trains else 4.0) * k * k * matrix
        per_sample = 4.0 * n * n if flat else product
        per_sample += 12.0 * n + (2.0 * n * k + 4.0 * places * k if trains else 2.0 * places * k)
        step = batch * per_sample * (1.0 if batches else 2.0)
        working = batch * n + (n * k if trains else 0.0) + (2.0 * n * n if flat else 0.0)
        held = 4.0 * batch * (n + k) + batch * places * (k + 6)
        held += (3.0 * n * n if flat else 8.0 * k * k) + 8.0 * n
        held += (8.0 if trains else 2.0) * n * k + (6.0 if untied else 0.0) * n * k
    if has_exact_losses(system.decoder, system.inputs):
        record_flops = (4.0 if flat else 2.0 * k + 12.0) * n * n
        record_floats = 1.2 * min(n * n, BLOCK_FLOATS) + n * k
    else:
        per_sample = 2.0 * n * (n if flat else k) + 2.0 * k * k + 12.0 * n
        record_flops = system.n_evaluation * per_sample
        block = min(SAMPLE_BLOCK, system.n_evaluation)
        record_floats = 4.0 * block * n + block * places * (k + 6)
    drawn = 40.0 * n * k + 4.0 * n * k * k + 2 * EIGENVALUES * k**3
    init = 60.0 * n * n if flat else drawn
    if isinstance(start, TightFrame):
        init += TIGHTENINGS * 4.0 * n * k * k
    if isinstance(start, Pretrained):
        init += start.n_steps * start.batch_size * 8.0 * n * k
        held = max(held, start.batch_size * 2.5 * n + 5.0 * n * k)
    if batches and isinstance(system.inputs, Bernoulli):
        step += 40.0 * batch * places
    return Work(
        flops=system.n_steps * step + len(system.record_steps) * record_flops + init,
        working_floats=working,
        resident_floats=max(held, record_floats + 2.0 * n * k + 3.0 * k * k),
        n_steps=system.n_steps,
        quick=True,
    )
