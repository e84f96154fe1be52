"""Factorisations that are safe to `vmap`, and Gram products.

On a CPU a batched LAPACK call of jaxlib spreads its matrices over XLA's thread pool and waits for
them inside one of its threads: once every thread of the pool waits in this way, the program hangs
(with jaxlib 0.10.2 on 2 cores: two independent factorisations of 128 matrices in one program). A
single matrix is factored in the calling thread. On a CPU these functions therefore loop over the
batch, at the same speed per matrix, and leave parallelism to the devices that a sweep is spread
over; on other platforms they are batched.

LAPACK comes from SciPy's OpenBLAS, which starts threads of its own for each call. Where several
devices call it at once they wait for each other: a sweep of 1920 regressions on 2 busy cores took
89 s with them and 9 s without. `js.run` therefore runs under `one_blas_thread`. Do the same, or set
`OPENBLAS_NUM_THREADS=1`, to call `system.simulate` on many devices.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
from jaxtyping import Array, Float

BLOCK = 128  # rows from which half a product costs less than the pieces it is cut into


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep OpenBLAS and its like to one thread per call, in this process, while the block runs."""
    import scipy.linalg  # noqa: F401  (loads the library that jaxlib calls)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


def _one_at_a_time(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` with batches looped over on a CPU, as are its forward-mode derivatives.

    Derivatives have a loop of their own: that of JAX for a looped function fails where only the
    matrix or only its tangent is batched. There is no reverse mode.
    """

    def tangent(primals: Any, tangents: Any) -> Any:
        return jax.jvp(function, primals, tangents)[1]

    @jax.custom_jvp
    @functools.wraps(function)
    def call(*matrices: Array) -> Any:
        looped = jax.custom_batching.sequential_vmap(function)
        return jax.lax.platform_dependent(*matrices, cpu=looped, default=function)

    @call.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        looped = jax.custom_batching.sequential_vmap(tangent)
        pushed = jax.lax.platform_dependent(primals, tangents, cpu=looped, default=tangent)
        return call(*primals), pushed

    return call


@_one_at_a_time
def qr(matrix: Float[Array, "m n"]) -> tuple[Float[Array, "m k"], Float[Array, "k n"]]:
    """Reduced QR factorisation, `k = min(m, n)`."""
    return jnp.linalg.qr(matrix)


@_one_at_a_time
def triangular_factor(matrix: Float[Array, "m n"]) -> Float[Array, "k n"]:
    """`R` of the QR factorisation alone."""
    return jnp.linalg.qr(matrix, mode="r")


@_one_at_a_time
def eigh(matrix: Float[Array, "n n"]) -> tuple[Float[Array, " n"], Float[Array, "n n"]]:
    """Eigenvalues in ascending order and eigenvectors of a symmetric matrix."""
    return jnp.linalg.eigh(matrix)


@_one_at_a_time
def svd(
    matrix: Float[Array, "m n"],
) -> tuple[Float[Array, "m k"], Float[Array, " k"], Float[Array, "k n"]]:
    """Reduced singular value decomposition, `k = min(m, n)`."""
    return jnp.linalg.svd(matrix, full_matrices=False, compute_uv=True)


@_one_at_a_time
def full_svd(
    matrix: Float[Array, "m n"],
) -> tuple[Float[Array, "m m"], Float[Array, " k"], Float[Array, "n n"]]:
    """Singular value decomposition with complete bases, `k = min(m, n)`; it has no derivative."""
    return jnp.linalg.svd(matrix, full_matrices=True, compute_uv=True)


@_one_at_a_time
def singular_values(matrix: Float[Array, "m n"]) -> Float[Array, " k"]:
    """Singular values in descending order."""
    return jnp.linalg.svd(matrix, compute_uv=False)


@_one_at_a_time
def cholesky(matrix: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """Lower Cholesky factor; NaN where the matrix is not positive definite."""
    return jnp.linalg.cholesky(matrix)


@_one_at_a_time
def solve_lower(lower: Float[Array, "n n"], right: Float[Array, "n t"]) -> Float[Array, "n t"]:
    """Solve `L x = b`."""
    return jsl.solve_triangular(lower, right, lower=True)


@_one_at_a_time
def solve_upper(upper: Float[Array, "n n"], right: Float[Array, "n t"]) -> Float[Array, "n t"]:
    """Solve `U x = b`."""
    return jsl.solve_triangular(upper, right, lower=False)


@_one_at_a_time
def cholesky_solve(factor: Float[Array, "n n"], right: Float[Array, "n t"]) -> Float[Array, "n t"]:
    """Solve `L L^T x = b`."""
    return jsl.cho_solve((factor, True), right)


def gram(rows: Float[Array, "m n"]) -> Float[Array, "m m"]:
    """`A A^T`, of which blocks of more than `BLOCK` rows compute only one half and mirror it."""
    m = rows.shape[0]
    if m <= BLOCK:
        return rows @ rows.T
    top, bottom = rows[: m // 2], rows[m // 2 :]
    corner = bottom @ top.T
    return jnp.block([[gram(top), corner.T], [corner, gram(bottom)]])


def cumulative_sum(values: Float[Array, " n"]) -> Float[Array, " n"]:
    """`sum_{j <= i} v_j`; a scan by halves on a TPU, where XLA does not finish a float64 window."""
    scan = functools.partial(jax.lax.associative_scan, jnp.add)
    return jax.lax.platform_dependent(values, tpu=scan, default=jnp.cumsum)
