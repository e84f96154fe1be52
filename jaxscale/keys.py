"""Random words by counter: what a sample is never depends on how the work is cut.

Training draws are indexed by (run key, step, sample), fixed data sets by (run key, sample), initial
weights by (run key, unit). Padding, chunking, micro-batching and the number of devices therefore
leave every draw where it was.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.random as jex_random
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxscale._convert import as_int, is_traced, require_float64, require_float_type
from jaxscale._deprecated import warn_deprecated

IMPLEMENTATION = "threefry2x32"
ROTATIONS, PARITY = ((13, 15, 26, 6), (17, 29, 16, 24)), 0x1BD11BDA  # of threefry2x32
COMPARED = 16  # indices up to which comparing with all is faster than searching


def root_key(seed: int | Int[Array, ""]) -> Key[Array, ""]:
    """Typed threefry key of an integer of 64 bits, all of which count without x64, too."""
    if is_traced(seed):
        return jr.key(seed, impl=IMPLEMENTATION)
    number = as_int("seed", seed, at_least=-(2**63), below=2**63)
    data = np.asarray(divmod(number % 2**64, 2**32), np.uint32)  # the high word, the low one
    return jr.wrap_key_data(jnp.asarray(data), impl=IMPLEMENTATION)


def check_key(key: Key[Array, ""]) -> None:
    """Refuse legacy keys, several, and other generators: words are indexed by threefry counters."""
    dtype = getattr(key, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jax.dtypes.prng_key):
        raise ValueError(f"`key` must be a typed key such as jax.random.key(0), got {key!r}.")
    if key.shape:
        raise ValueError(f"`key` must be a single key, got shape {key.shape}: use jax.vmap.")
    if str(jr.key_impl(key)) != IMPLEMENTATION:
        raise ValueError(f"`key` must use {IMPLEMENTATION}, got {jr.key_impl(key)}.")


def words(
    key: Key[Array, ""], samples: Int[Array, " n"], n_words: int
) -> UInt32[Array, "n_words n"]:
    """Random 32-bit words of samples: threefry of the counter (pair of words, sample).

    **Arguments**

    - `key`: key of the step, or of the fixed data set.
    - `samples`: sample indices, shape `(n,)`.
    - `n_words`: words per sample.

    **Returns** words of shape `(n_words, n)`; column `j` depends on `key` and `samples[j]` only.
    """
    n_pairs = -(-n_words // 2)
    hashed = word_pairs(key, jnp.arange(n_pairs)[:, None], samples)
    return hashed.swapaxes(0, 1).reshape(2 * n_pairs, -1)[:n_words]


def word_pairs(
    key: Key[Array, ""], pairs: Int[Array, "..."], samples: Int[Array, "..."]
) -> UInt32[Array, "2 ..."]:
    """Both words of pairs: entries 2 i and 2 i + 1 of `words` for pair i.

    **Arguments**

    - `key`: key of the step, or of the fixed data set.
    - `pairs`, `samples`: index of the pair and of the sample, broadcast.

    **Returns** words, shape 2 and that of both.
    """
    both = jnp.broadcast_arrays(pairs, samples)
    counters = jnp.stack([index.astype(jnp.uint32) for index in both])
    return jax.lax.platform_dependent(
        jr.key_data(key), counters, cpu=_threefry, default=_threefry_of_jax
    )


def _threefry_of_jax(key: UInt32[Array, "2"], counters: UInt32[Array, "2 ..."]) -> Any:
    """JAX's own: a kernel on a GPU, and on a CPU a loop that copies all words in each round."""
    return jex_random.threefry_2x32(key, counters.ravel()).reshape(counters.shape)


def _threefry(key: UInt32[Array, "2"], counters: UInt32[Array, "2 ..."]) -> Any:
    """The same words by one loop over the counters, all rounds written out.

    The barrier keeps XLA from hashing again wherever a word is used.
    """
    keys = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(PARITY))
    high, low = counters[0] + keys[0], counters[1] + keys[1]
    for i in range(5):
        for rotation in ROTATIONS[i % 2]:
            high = high + low
            turned = (low << jnp.uint32(rotation)) | (low >> jnp.uint32(32 - rotation))
            low = high ^ turned
        high, low = high + keys[(i + 1) % 3], low + keys[(i + 2) % 3] + jnp.uint32(i + 1)
    return jnp.stack(jax.lax.optimization_barrier((high, low)))


def index_below(word: UInt32[Array, " n"], bound: Int[Array, ""]) -> Int[Array, " n"]:
    """Uniform index in `0 .. bound-1` from one word: the high half of `word * bound`.

    By halves of 16 bits, in 32-bit arithmetic (jax 0.10 cannot lower `lax.mulhi` on the CPU).
    """
    half, low = jnp.uint32(16), jnp.uint32(0xFFFF)
    limit = bound.astype(jnp.uint32)
    word_high, word_low = word >> half, word & low
    limit_high, limit_low = limit >> half, limit & low
    cross, other = word_high * limit_low, word_low * limit_high
    carry = ((cross & low) + (other & low) + ((word_low * limit_low) >> half)) >> half
    return (word_high * limit_high + (cross >> half) + (other >> half) + carry).astype(jnp.int32)


def categorical(word: UInt32[Array, " n"], survival: Float[Array, " k"]) -> Int[Array, " n"]:
    """Index drawn by one word: the number of later indices whose survival exceeds the uniform.

    `survival[k] = P(index >= k)` is summed from the rare end and compared with small uniforms, so
    that rare indices keep their relative frequency in float32 (a cumulative sum from the common end
    would round them to multiples of 6e-8).

    **Arguments**

    - `word`: random words, shape `(n,)`.
    - `survival`: decreasing from 1, shape `(k,)`.

    **Returns** indices `0 .. k-1`, shape `(n,)`.
    """
    uniform = word.astype(survival.dtype) * jnp.asarray(2.0**-32, survival.dtype)
    later = survival[1:]
    if survival.shape[0] <= COMPARED:
        return jnp.sum(uniform[:, None] < later, axis=-1, dtype=jnp.int32)
    n_below = jax.lax.platform_dependent(
        later[::-1], uniform, cpu=_bisected("scan"), default=_bisected("scan_unrolled")
    )
    return (later.shape[0] - n_below).astype(jnp.int32)


def _bisected(method: str) -> Callable[..., Int[Array, " n"]]:
    """Count of ascending values up to each query.

    A loop of few launches per bisection would be most of the launches of a step on an accelerator;
    on a CPU it is faster than the same unrolled.
    """
    return functools.partial(jnp.searchsorted, side="right", method=method)


def normals_by_row(
    key: Key[Array, ""], units: Int[Array, " n"], width: int, dtype: str
) -> Float[Array, "n width"]:
    """Standard normal rows, row `j` keyed by `fold_in(key, units[j])`.

    **Arguments**

    - `key`: key of the run, or of a part of it.
    - `units`: index of each row, shape `(n,)`.
    - `width`: numbers per row; a row depends on it.
    - `dtype`: float32 or float64.

    **Returns** rows, shape `(n, width)`.
    """
    return jax.vmap(lambda unit: jr.normal(jr.fold_in(key, unit), (width,), dtype))(units)


def uniforms(high: UInt32[Array, "..."], low: UInt32[Array, "..."]) -> Float[Array, "..."]:
    """Uniform float64 numbers between 0 and 1, neither of them, from two words: 53 bits.

    **Raises** `ValueError` where JAX has float64 disabled.
    """
    require_float64("float64")
    scale = jnp.asarray(2.0**-53, jnp.float64)
    top = (high >> jnp.uint32(5)).astype(jnp.float64) * 2.0**26
    number = (top + (low >> jnp.uint32(6)).astype(jnp.float64) + 0.5) * scale
    return jnp.minimum(number, 1 - 2.0**-53)  # the half of the largest rounds up to 1


def normal_table(
    key: Key[Array, ""], rows: Int[Array, " n"], columns: Int[Array, " k"], dtype: str = "float64"
) -> Float[Array, "n k"]:
    """Standard normal entries; entry (i, j) depends on `rows[i]` and `columns[j]` only.

    **Arguments**

    - `key`: key of the run, or of a part of it.
    - `rows`, `columns`: indices, shapes `(n,)` and `(k,)`.
    - `dtype`: float32 or float64.

    **Returns** entries, shape `(n, k)`.

    **Raises** `ValueError` for another `dtype`, and for float64 where JAX has it disabled.
    """
    dtype = require_float_type("dtype", dtype)
    high, low = word_pairs(key, rows[:, None], columns)
    if dtype == "float64":
        return normals(high, low)
    return float32_normals(high)


def float32_normals(word: UInt32[Array, "..."]) -> Float[Array, "..."]:
    """Standard normal float32 numbers from a word each, by the inverse error function."""
    # 23 bits and a half are exact in float32: neither 0 nor 1, whose normals are infinite
    unit = ((word >> jnp.uint32(9)).astype(jnp.float32) + 0.5) * jnp.float32(2.0**-23)
    return jnp.float32(np.sqrt(2.0)) * jax.scipy.special.erfinv(2 * unit - 1)


def normals(high: UInt32[Array, "..."], low: UInt32[Array, "..."]) -> Float[Array, "..."]:
    """Standard normal float64 numbers from two words each, by the inverse error function."""
    return np.sqrt(2.0) * jax.scipy.special.erfinv(2 * uniforms(high, low) - 1)


def words_at(
    key: Key[Array, ""], index: Int[Array, "..."], samples: Int[Array, "..."]
) -> UInt32[Array, "..."]:
    """Deprecated: `word_pairs`."""
    warn_deprecated("words_at", "word_pairs")
    index, samples = jnp.broadcast_arrays(index, samples)
    high, low = word_pairs(key, index >> 1, samples)
    return jnp.where(index & 1 == 0, high, low)


def unit_normals(
    key: Key[Array, ""], units: Int[Array, " n"], width: int, dtype: str
) -> Float[Array, "n width"]:
    """Deprecated: `normals_by_row`."""
    warn_deprecated("unit_normals", "normals_by_row")
    return normals_by_row(key, units, width, dtype)
