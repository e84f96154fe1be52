"""Samples of multitask sparse parity against brute force, and their independence of cutting."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxscale import keys
from jaxscale.emergence import (
    DisjointSkills,
    FiniteSet,
    Online,
    RandomSkills,
    ShuffledSkills,
    _data as data,
)
from jaxscale.keys import categorical, words

EXPONENT = jnp.asarray(0.6, jnp.float32)


@pytest.mark.parametrize(
    ("skills", "n_bits", "n_skills", "size"),
    [
        (DisjointSkills(), 8, 2, 3),
        (DisjointSkills(), 33, 8, 4),
        (ShuffledSkills(), 33, 8, 4),
        (RandomSkills(), 32, 5, 3),
        (RandomSkills(), 100, 40, 5),
    ],
)
def test_parity_by_popcount_is_the_parity_of_the_bits(skills, n_bits, n_skills, size):

    @jax.jit
    def draw(key, exponent):
        members = skills.bits(jr.key(5), n_skills, size, n_bits)
        masks = data.packed_masks(members, n_bits)
        drawn = words(key, jnp.arange(300), 1 + data.n_bit_words(n_bits))
        survival = data.skill_frequencies(exponent, n_skills)[1]
        return members, drawn, data.decode(drawn, survival, masks, n_bits, "float32")

    members, drawn, batch = draw(jr.key(0), EXPONENT)
    members = np.asarray(members)
    bits, skill = np.asarray(batch.inputs)[:, -n_bits:].astype(int), np.asarray(batch.skill)
    control = np.asarray(batch.inputs)[:, :-n_bits]
    one_hot = np.eye(n_skills)[skill]  # the rows of later skills are gathered instead
    np.testing.assert_array_equal(control, one_hot[:, : data.n_control_bits(n_skills)])
    expected_bits = (np.asarray(drawn[1:]).T[:, :, None] >> np.arange(32)) & 1
    np.testing.assert_array_equal(bits, expected_bits.reshape(300, -1)[:, :n_bits])
    assert bits.shape == (300, n_bits)
    expected = [(-1.0) ** bits[i, members[skill[i]]].sum() for i in range(300)]
    np.testing.assert_array_equal(batch.sign, expected)
    assert set(np.unique(bits)) == {0, 1}
    assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)


def test_disjoint_skills_share_no_bit_and_random_ones_repeat_none():
    disjoint = np.asarray(DisjointSkills().bits(jr.key(0), 5, 3, 16))
    assert len(np.unique(disjoint)) == 15
    shuffled = np.asarray([ShuffledSkills().bits(jr.key(i), 5, 3, 16) for i in range(2)])
    assert all(len(np.unique(bits)) == 15 for bits in shuffled)
    assert shuffled.max() < 16
    assert np.any(shuffled[0] != shuffled[1])

    def many(n):
        return np.asarray(jax.jit(lambda key: RandomSkills().bits(key, n, 3, 100))(jr.key(0)))

    random = many(500)
    assert all(len(set(row)) == 3 for row in random.tolist())
    assert len({tuple(sorted(row)) for row in random.tolist()}) > 490
    assert random.min() >= 0
    assert random.max() < 100
    np.testing.assert_array_equal(many(600)[:500], random)


@pytest.mark.parametrize("n_skills", [5, 16, 17, 500])
def test_skill_frequencies(n_skills):
    """Both branches (compares, search) draw `P_k`; the chi-square sees alpha off by 0.1."""
    n = 200_000

    @jax.jit
    def draw(key):
        survival = data.skill_frequencies(EXPONENT, n_skills)[1]
        return categorical(words(key, jnp.arange(n), 1)[0], survival)

    skill = np.asarray(draw(jr.key(0)))
    counts = np.bincount(skill, minlength=n_skills)

    def chi_square(alpha: float) -> float:
        p = np.arange(1.0, n_skills + 1) ** -(alpha + 1)
        expected = n * p / p.sum()
        first = expected >= 20
        rest = np.array([counts[~first].sum(), expected[~first].sum()])
        c, e = np.append(counts[first], rest[0]), np.append(expected[first], rest[1])
        return float(np.sum((c - e)[e > 0] ** 2 / e[e > 0]) / first.sum())

    assert chi_square(0.6) < 2.5
    assert chi_square(0.7) > 10


def test_rare_skills_keep_their_relative_frequency():
    """In float32 a cumulative sum from the common end would round these to multiples of 6e-8."""
    survival = jax.jit(lambda a: data.skill_frequencies(a, 1000)[1])(np.float32(2.0))
    p = np.arange(1.0, 1001) ** -3
    exact = np.cumsum((p / p.sum())[::-1])[::-1]
    np.testing.assert_allclose(survival, exact, rtol=2e-6)
    word = jnp.asarray(np.ceil(exact[990:] * 2**32).astype(np.uint32) - 1)
    below = np.asarray(jax.jit(categorical)(word, survival))
    assert np.all(np.diff(below) >= 0)
    assert below[0] >= 989


def test_both_branches_of_the_skill_search_agree(monkeypatch):

    def draw():
        @jax.jit
        def both(key):
            survival = data.skill_frequencies(EXPONENT, 12)[1]
            return categorical(words(key, jnp.arange(5000), 1)[0], survival)

        return np.asarray(both(jr.key(1)))

    few = draw()
    monkeypatch.setattr(keys, "COMPARED", 0)
    np.testing.assert_array_equal(few, draw())


def test_a_finite_set_repeats_its_samples_and_contains_smaller_sets():

    @jax.jit
    def draw(set_key, step_key):
        arguments = set_key, step_key, jnp.arange(400), 2
        members = words(set_key, jnp.arange(10), 2)
        return FiniteSet(n_samples=10).batch(*arguments), members, Online().batch(*arguments)

    batch, members, fresh = map(np.asarray, draw(jr.key(7), jr.key(1)))
    members = members.T
    drawn = {tuple(row) for row in np.asarray(batch).T.tolist()}
    assert drawn == {tuple(row) for row in members.tolist()}
    assert len({tuple(row) for row in np.asarray(fresh).T.tolist()}) == 400


@pytest.mark.parametrize("n_samples", [1, 5, 4096, 4097, 10000])
def test_frequencies_of_a_set_count_its_samples(n_samples):

    @jax.jit
    def draw(key):
        skills = data.skill_frequencies(EXPONENT, 20)
        drawn = categorical(words(key, jnp.arange(n_samples), 1)[0], skills.survival)
        share = FiniteSet(n_samples=n_samples).frequencies(key, skills)
        return share, drawn, Online().frequencies(key, skills)

    share, drawn, probability = map(np.asarray, draw(jr.key(3)))
    counts = np.bincount(drawn, minlength=20)
    np.testing.assert_allclose(share * n_samples, counts, atol=1e-3)
    expected = np.arange(1.0, 21) ** -1.6
    np.testing.assert_allclose(probability, expected / expected.sum(), rtol=1e-6)
