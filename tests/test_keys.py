"""Draws are indexed by counters: cutting, padding and order change nothing."""

import jax
import jax.extend.random as jex_random
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxscale import keys
from jaxscale.keys import (
    categorical,
    index_below,
    normal_table,
    normals_by_row,
    root_key,
    unit_normals,
    word_pairs,
)

words = jax.jit(keys.words, static_argnums=2)  # one program rather than twenty


@pytest.mark.parametrize("x64", [False, True])
def test_a_root_key_holds_all_64_bits_of_its_seed(x64):
    with jax.enable_x64(x64):
        for seed in (0, 5, 2**31, 2**32 - 1):
            key = root_key(seed)
            assert key.dtype == jr.key(0, impl=keys.IMPLEMENTATION).dtype
            expected = jr.key_data(jr.key(seed, impl=keys.IMPLEMENTATION))
            np.testing.assert_array_equal(jr.key_data(key), expected)
            np.testing.assert_array_equal(jr.key_data(key), [0, seed])
        for seed in (2**32, 2**53 + 1, 2**63 - 1):
            expected = [seed >> 32, seed & (2**32 - 1)]
            np.testing.assert_array_equal(jr.key_data(root_key(seed)), expected)
        np.testing.assert_array_equal(jr.key_data(root_key(-1)), [2**32 - 1, 2**32 - 1])


def test_root_keys_inside_of_programs():
    def data(seed):
        return jr.key_data(root_key(seed))

    inside = jax.jit(data, static_argnums=0)
    np.testing.assert_array_equal(inside(2**40 + 3), data(2**40 + 3))
    each = jax.vmap(data)(jnp.arange(3))
    np.testing.assert_array_equal(each, [data(i) for i in range(3)])
    for seed in (2.5, 2**64, None):
        with pytest.raises((ValueError, TypeError), match="seed"):
            root_key(seed)


def test_words_depend_on_the_sample_only():
    key = jr.key(3)
    all_words = np.asarray(words(key, jnp.arange(100), 5))
    assert all_words.shape == (5, 100)
    part = np.asarray(words(key, jnp.arange(40, 60), 5))
    np.testing.assert_array_equal(all_words[:, 40:60], part)
    shuffled = np.asarray(words(key, jnp.asarray([7, 3, 99]), 5))
    np.testing.assert_array_equal(all_words[:, [7, 3, 99]], shuffled)


def test_words_are_those_of_jax():
    key, samples = jr.key(3), jnp.asarray([0, 7, 2**31 - 1])
    first, second = jnp.meshgrid(jnp.arange(2), samples, indexing="ij")
    counters = jnp.stack([first, second]).astype(jnp.uint32)
    hashed = jex_random.threefry_2x32(jr.key_data(key), counters.ravel()).reshape(2, 2, 3)
    np.testing.assert_array_equal(words(key, samples, 4), hashed.swapaxes(0, 1).reshape(4, 3))


def test_more_words_extend_fewer():
    key, samples = jr.key(0), jnp.arange(10)
    np.testing.assert_array_equal(words(key, samples, 3), words(key, samples, 6)[:3])


def test_both_words_of_a_pair_are_entries_of_the_table():
    key, samples, pairs = jr.key(0), jnp.asarray([4, 0, 9]), jnp.asarray([3, 0, 1])
    table, pair = np.asarray(words(key, samples, 8)), np.asarray(pairs)
    drawn = word_pairs(key, pairs[:, None], samples)
    np.testing.assert_array_equal(drawn, [table[2 * pair], table[2 * pair + 1]])


def test_words_are_uniform_and_distinct():
    drawn = np.asarray(words(jr.key(0), jnp.arange(20000), 4)).astype(np.float64) / 2**32
    z = (drawn.mean(axis=1) - 0.5) * np.sqrt(12 * 20000)
    assert np.abs(z).max() < 4.5
    correlation = np.corrcoef(drawn)
    assert np.abs(correlation[np.triu_indices(4, 1)]).max() < 5 / np.sqrt(20000)
    assert len(np.unique(drawn)) > 79900


@pytest.mark.parametrize("bound", [1, 2, 3, 1000, 65535, 65536, 65537, 2**31 - 1])
def test_index_below_is_the_high_half_of_the_product(bound):
    word = np.random.default_rng(0).integers(0, 2**32, 5000, dtype=np.uint32)
    word[:3] = [0, 1, 2**32 - 1]
    actual = np.asarray(index_below(jnp.asarray(word), jnp.asarray(bound, jnp.int32)))
    expected = (word.astype(object) * bound) >> 32
    np.testing.assert_array_equal(actual, expected.astype(np.int64))


@pytest.mark.parametrize("n", [1, 16, 17, 250])
def test_a_category_is_the_number_of_later_ones_that_a_word_reaches(n):
    """Bit for bit, however it is searched; an accelerator searches without a loop."""
    rng = np.random.default_rng(0)
    survival = np.sort(rng.uniform(size=n).astype(np.float32))[::-1] ** 4
    survival[0] = 1
    word = rng.integers(0, 2**32, 300, dtype=np.uint32)
    word[:2] = [0, 2**32 - 1]
    word[2 : n + 1] = (survival[1 : len(word) - 1] * np.float32(2**32)).astype(np.uint64)  # ties
    uniform = word.astype(np.float32) * np.float32(2.0**-32)
    wanted = np.sum(uniform[:, None] < survival[1:], axis=1)
    np.testing.assert_array_equal(jax.jit(categorical)(word, survival), wanted)
    exported = jax.export.export(jax.jit(categorical), platforms=["cuda", "tpu"])(word, survival)
    assert "while" not in exported.mlir_module()


def test_units_do_not_see_the_padding():
    narrow = normals_by_row(jr.key(1), jnp.arange(8), 6, "float32")
    wide = normals_by_row(jr.key(1), jnp.arange(32), 6, "float32")
    np.testing.assert_array_equal(narrow, wide[:8])
    assert np.abs(np.asarray(wide).mean()) < 4 / np.sqrt(wide.size)
    with pytest.warns(DeprecationWarning, match="use `normals_by_row`"):
        np.testing.assert_array_equal(unit_normals(jr.key(1), jnp.arange(8), 6, "float32"), narrow)


def test_draws_do_not_follow_the_x64_flag():
    with jax.enable_x64(False):
        off = np.asarray(words(jr.key(2), jnp.arange(9), 2))
    with jax.enable_x64(True):
        on = np.asarray(words(jr.key(2), jnp.arange(9), 2))
    np.testing.assert_array_equal(off, on)


@pytest.mark.parametrize(
    ("word", "dtype"),
    [(0, "float32"), (0xFFFFFFFF, "float32"), (0, "float64"), (0xFFFFFFFF, "float64")],
)
def test_no_word_makes_an_infinite_normal(monkeypatch, word, dtype):
    def constant(key, pairs, samples):
        return jnp.full((2, *jnp.broadcast_shapes(pairs.shape, samples.shape)), word, jnp.uint32)

    monkeypatch.setattr("jaxscale.keys.word_pairs", constant)
    one = jnp.arange(1)
    with jax.enable_x64(True):
        drawn = normal_table(root_key(0), one, one, dtype)
    assert drawn.dtype == dtype
    assert np.isfinite(drawn[0, 0])
    assert abs(float(drawn[0, 0])) > 5


@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_a_table_has_the_type_that_was_asked_for(dtype):
    one = jnp.arange(1)
    with jax.enable_x64(False), pytest.raises(ValueError, match="`dtype`"):
        normal_table(root_key(0), one, one, dtype)


def test_a_float32_table_is_normal_and_depends_on_its_indices_only():
    rows = jnp.arange(300)
    table = np.asarray(normal_table(root_key(0), rows, rows, "float32"), float)
    assert abs(table.mean()) < 4 / 300
    assert abs(table.std() - 1) < 4 / 300 / np.sqrt(2)
    part = normal_table(root_key(0), rows[7:9], rows[3:5], "float32")
    np.testing.assert_array_equal(part, np.asarray(table, np.float32)[7:9, 3:5])
