"""Multitask sparse parity: which bits a skill reads, and where training samples come from.

A sample is a few random 32-bit words: the first chooses the skill, the others are the bits. Words
are indexed by counters (`jaxscale.keys`), so a fixed data set of any size is never stored: sample
`i` is drawn again from `(key, i)` whenever it is needed.
"""

import abc
import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

from jaxscale._linalg import cumulative_sum
from jaxscale.fields import Configurable, Integer, Real, count, is_traced
from jaxscale.keys import categorical, index_below, words

Bits = Int[Array, "k m"]
Index = Int[Array, " b"]
ScalarKey = Key[Array, ""]
Words = UInt32[Array, "n b"]
WORD = 32
FEW_SKILLS, FREQUENT_SKILLS = 16, 4
COUNT_BLOCK = 4096


def n_control_bits(n_skills: int) -> int:
    """Control bits among the inputs: of every skill if they are few, else of the first ones."""
    return n_skills if n_skills <= FEW_SKILLS else FREQUENT_SKILLS


def n_bit_words(n_bits: int) -> int:
    """Words that hold the bits of one sample."""
    return math.ceil(n_bits / WORD)


class Frequencies(NamedTuple):
    """Of skills in the population: `P_k`, and `P(skill >= k)`, summed from the rare end."""

    probability: Float[Array, " k"]
    survival: Float[Array, " k"]


def check_strength(strength: Real | None, target_scale: Real) -> None:
    """Refuse an initial strength that is not below the scale of the target."""
    if strength is not None and not is_traced(strength, target_scale) and strength >= target_scale:
        raise ValueError(
            f"`initial_strength` must be less than target_scale = {float(target_scale)}, "
            f"got {float(strength)}."
        )


class AbstractData(Configurable):
    """Where training samples come from."""

    @abc.abstractmethod
    def batch(self, set_key: ScalarKey, step_key: ScalarKey, samples: Index, n: int) -> Words:
        """Words of the batch positions `samples` at one step, `n` words each."""

    @abc.abstractmethod
    def frequencies(self, set_key: ScalarKey, skills: Frequencies) -> Float[Array, " k"]:
        """Share of each skill in the data: `P_k`, or `d_k / D` of the drawn set."""


class Online(AbstractData):
    """A fresh sample every time."""

    def batch(self, set_key: ScalarKey, step_key: ScalarKey, samples: Index, n: int) -> Words:
        """Words indexed by (step, sample)."""
        return words(step_key, samples, n)

    def frequencies(self, set_key: ScalarKey, skills: Frequencies) -> Float[Array, " k"]:
        return skills.probability


class FiniteSet(AbstractData):
    """A fixed set of `n_samples` samples, drawn with replacement for every batch.

    Sample `i` depends on the run's key and `i` only: a larger set contains the smaller one.
    """

    n_samples: Integer = count()

    def batch(self, set_key: ScalarKey, step_key: ScalarKey, samples: Index, n: int) -> Words:
        """Words of `n_samples`-bounded indices, themselves indexed by (step, sample)."""
        chosen = index_below(words(step_key, samples, 1)[0], jnp.asarray(self.n_samples))
        return words(set_key, chosen, n)

    def frequencies(self, set_key: ScalarKey, skills: Frequencies) -> Float[Array, " k"]:
        """`d_k / D`: skills of the whole set, counted block by block."""
        n_samples, survival = jnp.asarray(self.n_samples), skills.survival
        block = jnp.arange(COUNT_BLOCK, dtype=jnp.int32)

        def add(i: Int[Array, ""], counts: Int[Array, " k"]) -> Int[Array, " k"]:
            samples = i * COUNT_BLOCK + block
            skill = categorical(words(set_key, samples, 1)[0], survival)
            return counts.at[skill].add((samples < n_samples).astype(jnp.int32))

        n_blocks = (n_samples + COUNT_BLOCK - 1) // COUNT_BLOCK
        counts = jax.lax.fori_loop(0, n_blocks, add, jnp.zeros(survival.shape, jnp.int32))
        return counts.astype(survival.dtype) / n_samples.astype(survival.dtype)


def skill_frequencies(skill_exponent: Float[Array, ""], n_skills: int) -> Frequencies:
    """`P_k` proportional to `k^-(skill_exponent + 1)`."""
    rank = jnp.arange(1, n_skills + 1, dtype=skill_exponent.dtype)
    weight = rank ** -(skill_exponent + 1)
    tail = cumulative_sum(weight[::-1])[::-1]
    return Frequencies(weight / tail[0], tail / tail[0])


def bits_of_words(packed: Words, n_bits: int, dtype: str) -> Float[Array, "b d"]:
    """Bits of packed words as 0 and 1 in `dtype`, shape `(b, n_bits)`."""
    shift = jnp.arange(WORD, dtype=jnp.uint32)
    bits = (packed.T[:, :, None] >> shift) & jnp.uint32(1)
    return bits.reshape(packed.shape[1], -1)[:, :n_bits].astype(dtype)


class AbstractSkills(Configurable):
    """Which bits each skill reads."""

    @abc.abstractmethod
    def check(self, n_skills: int, skill_size: int, n_bits: int) -> None:
        """Raise `ValueError` if the skills do not fit."""

    @abc.abstractmethod
    def bits(self, key: ScalarKey, n_skills: int, skill_size: int, n_bits: int) -> Bits:
        """Bit positions of every skill."""


class DisjointSkills(AbstractSkills):
    """Skill `k` reads bits `m k .. m k + m - 1`; needs `n_skills * skill_size <= n_bits`."""

    def check(self, n_skills: int, skill_size: int, n_bits: int) -> None:
        _check_disjoint(self, n_skills, skill_size, n_bits)

    def bits(self, key: ScalarKey, n_skills: int, skill_size: int, n_bits: int) -> Bits:
        return jnp.arange(n_skills * skill_size, dtype=jnp.int32).reshape(n_skills, skill_size)


class ShuffledSkills(AbstractSkills):
    """Disjoint skills whose bits every run draws anew; needs `n_skills * skill_size <= n_bits`."""

    def check(self, n_skills: int, skill_size: int, n_bits: int) -> None:
        _check_disjoint(self, n_skills, skill_size, n_bits)

    def bits(self, key: ScalarKey, n_skills: int, skill_size: int, n_bits: int) -> Bits:
        shuffled = jr.permutation(key, n_bits)[: n_skills * skill_size]
        return shuffled.reshape(n_skills, skill_size).astype(jnp.int32)


def _check_disjoint(skills: AbstractSkills, n_skills: int, skill_size: int, n_bits: int) -> None:
    if n_skills * skill_size > n_bits:
        raise ValueError(
            f"`n_bits` must be at least n_skills * skill_size = {n_skills * skill_size} for "
            f"{type(skills).__name__}, got {n_bits}; use RandomSkills() for overlapping skills."
        )


class RandomSkills(AbstractSkills):
    """Every skill reads a random subset of the bits; subsets of different skills may overlap."""

    def check(self, n_skills: int, skill_size: int, n_bits: int) -> None:
        if skill_size > n_bits:
            raise ValueError(f"`skill_size` must be at most n_bits = {n_bits}, got {skill_size}.")

    def bits(self, key: ScalarKey, n_skills: int, skill_size: int, n_bits: int) -> Bits:
        """Subsets without repetition, keyed by the skill's index."""

        def subset(k: Int[Array, ""]) -> Int[Array, " m"]:
            return jr.permutation(jr.fold_in(key, k), n_bits)[:skill_size].astype(jnp.int32)

        return jax.vmap(subset)(jnp.arange(n_skills, dtype=jnp.int32))


def packed_masks(bits: Bits, n_bits: int) -> UInt32[Array, "k n"]:
    """Words with the bits of each skill set, for parity by population count."""
    word = jnp.arange(n_bit_words(n_bits), dtype=jnp.int32)
    one = jnp.left_shift(jnp.uint32(1), (bits % WORD).astype(jnp.uint32))
    in_word = (bits // WORD)[:, :, None] == word
    return jnp.sum(jnp.where(in_word, one[:, :, None], jnp.uint32(0)), axis=1, dtype=jnp.uint32)


def parity_sign(packed: Words, masks: UInt32[Array, "#b n"], dtype: str) -> Float[Array, " b"]:
    """`(-1)^(sum of the masked bits)` of every sample, by population count."""
    ones = jax.lax.population_count(packed.T & masks)
    odd = jnp.sum(ones, axis=-1, dtype=jnp.uint32) & jnp.uint32(1)
    return 1 - 2 * odd.astype(dtype)


def select_rows(table: UInt32[Array, "k n"], index: Index) -> UInt32[Array, "b n"]:
    """Rows of a small table: a sum of compares for few skills, a gather above."""
    if table.shape[0] > FEW_SKILLS:
        return table[index]
    chosen = index[:, None] == jnp.arange(table.shape[0], dtype=jnp.int32)
    picked = jnp.where(chosen[:, :, None], table[None], jnp.uint32(0))
    return jnp.sum(picked, axis=1, dtype=jnp.uint32)


def inputs_of_words(
    skill: Index, packed: Words, n_skills: int, n_bits: int, dtype: str
) -> Float[Array, "b f"]:
    """What the network reads: `n_control_bits` control bits, then the skill bits.

    All are 0 or 1. The control bits are one more word `1 << skill` (0 for a later skill), so that
    every input is a shifted word and nothing is put together in memory.
    """
    n_control = n_control_bits(n_skills)
    place = np.arange(n_control + n_bits)
    shift = np.where(place < n_control, place, (place - n_control) % WORD).astype(np.uint32)
    word = packed[-1][:, None]
    for i in reversed(range(packed.shape[0] - 1)):
        word = jnp.where(place < n_control + (i + 1) * WORD, packed[i][:, None], word)
    control = jnp.left_shift(jnp.uint32(1), jnp.minimum(skill, WORD - 1).astype(jnp.uint32))
    word = jnp.where(place < n_control, control[:, None], word)
    return ((word >> shift) & jnp.uint32(1)).astype(dtype)


class Samples(eqx.Module):
    """One batch: skills, network inputs and the sign of each sample's parity."""

    skill: Index
    inputs: Float[Array, "b f"]
    sign: Float[Array, " b"]


def decode(
    drawn: Words,
    survival: Float[Array, " k"],
    masks: UInt32[Array, "k m"],
    n_bits: int,
    dtype: str,
) -> Samples:
    """Samples from their words: word 0 the skill, the others the bits."""
    skill, packed = categorical(drawn[0], survival), drawn[1:]
    sign = parity_sign(packed, select_rows(masks, skill), dtype)
    inputs = inputs_of_words(skill, packed, survival.shape[0], n_bits, dtype)
    return Samples(skill, inputs, sign)
