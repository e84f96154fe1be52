r"""Sparse inputs `x_i = s_i z_i sigma_i`, drawn exactly and only where they are not zero.

A Bernoulli sequence is a Poisson process in disguise: put points of rate 1 on a line cut into one
cell per (coordinate, sample), of length `-log(1 - p_i)`; a cell is active if it holds a point. The
number of points is Poisson, each point picks its coordinate with probability proportional to
`-log(1 - p_i)` and its sample uniformly, and points that share a cell count once. This gives
`n_i ~ Binomial(D, p_i)` on rows without replacement, all independent, for about `D sum_i p_i`
points instead of `D x M` uniform numbers. Coordinates with `p_i > 1/2` are drawn row by row.

Shapes are static: a `Padding` bounds the samples, the row-by-row coordinates, the points and the
coordinates that are seen, for all runs of a program. Draws are counted by (sample, coordinate) or
by point, so that a wider padding changes none of them.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, Key

from jaxscale._linalg import cumulative_sum
from jaxscale.keys import index_below, normal_table, normals, uniforms, words
from jaxscale.sparse._padding import Padding
from jaxscale.sparse._spectrum import HEAD_PROBABILITY, AbstractCoordinates, PowerLawTail

CHANCE_STREAM, AMPLITUDE_STREAM, POINT_STREAM = range(3)
LAST_DISTINCT = 1e15  # floats beyond do not resolve neighbours, and no coordinate comes twice
LAST_NUMBERED = 2.0**30  # coordinates beyond are named by their order of appearance


class Inputs(eqx.Module):
    """Inputs of one run on the coordinates that were seen, one column each, test samples first.

    - `values`, `active`: `(n, d)`, zero and false where a coordinate is inactive, in padded rows
      and columns.
    - `variance`, `seen`: `lambda_i` of the columns (0 in padded ones) and which are real.
    - `ids`: a number that names the coordinate, for draws that belong to it.
    - `unseen_variance`: sum of `lambda_i` over all coordinates that have no column.
    - `complete`: whether the padding held every draw.
    """

    values: Float[Array, "n d"]
    active: Bool[Array, "n d"]
    variance: Float[Array, " d"]
    seen: Bool[Array, " d"]
    ids: Int[Array, " d"]
    unseen_variance: Float[Array, ""]
    complete: Bool[Array, ""]

    def without(self, rows: int) -> "Inputs":
        """Drop the first `rows` samples; columns that the others do not see become unseen."""
        values, active = self.values[rows:], self.active[rows:]
        seen = jnp.any(active, axis=0)
        lost = jnp.sum(jnp.where(seen, 0.0, self.variance))
        variance = jnp.where(seen, self.variance, 0.0)
        unseen = self.unseen_variance + lost
        return Inputs(values, active, variance, seen, self.ids, unseen, self.complete)

    def leading(self, columns: int) -> "Inputs":
        """Keep the first `columns` columns, of inputs whose others are padding."""
        by_column = ("values", "active", "variance", "seen", "ids")
        return dataclasses.replace(self, **{n: getattr(self, n)[..., :columns] for n in by_column})


def draw_inputs(
    key: Key[Array, ""], coordinates: AbstractCoordinates, n_rows: Int[Array, ""], padding: Padding
) -> Inputs:
    """Draw `n_rows` samples, test samples included; the rows beyond are padding."""
    n_seen = padding.seen
    rows = jnp.arange(padding.n_rows, dtype=jnp.int32)
    head = jnp.arange(1, padding.head + 1, dtype=jnp.float64)
    chance = coordinates.probability_at(head)
    often = chance > HEAD_PROBABILITY
    n_head = jnp.sum(often, dtype=jnp.int32)
    values = jnp.zeros((padding.n_rows, n_seen), jnp.float64)
    active = jnp.zeros((padding.n_rows, n_seen), bool)
    index = jnp.full((n_seen,), jnp.inf, jnp.float64)
    complete = jnp.asarray(True)
    if padding.head:
        columns = jnp.arange(padding.head, dtype=jnp.int32)
        z = normal_table(jr.fold_in(key, AMPLITUDE_STREAM), rows, columns)
        chances = jr.fold_in(key, CHANCE_STREAM)
        word = jax.vmap(lambda c: words(jr.fold_in(chances, c), rows, 2), out_axes=2)(columns)
        drawn = uniforms(word[0], word[1]) < chance  # always where the chance is 1
        drawn = drawn & (rows < n_rows)[:, None] & often
        z = jnp.where(drawn, z * jnp.sqrt(coordinates.variance_at(head) / chance), 0.0)
        values = values.at[:, : padding.head].set(z)
        active = active.at[:, : padding.head].set(drawn)
        index = index.at[: padding.head].set(jnp.where(often, head, jnp.inf))
    table = _table(coordinates, padding, n_head)
    if padding.points:
        events = _events(jr.fold_in(key, POINT_STREAM), table, n_rows, n_head, padding)
        row, column, z, where, complete = events
        scale = jnp.sqrt(coordinates.variance_at(where) / coordinates.probability_at(where))
        values = values.at[row, column].set(z * scale, mode="drop")
        active = active.at[row, column].set(True, mode="drop")
        index = index.at[column].set(where, mode="drop")
    seen = jnp.any(active, axis=0)
    index = jnp.where(seen, index, jnp.inf)
    variance = jnp.where(seen, coordinates.variance_at(jnp.where(seen, index, 1.0)), 0.0)
    in_head = jnp.where(often, coordinates.variance_at(head), 0.0)
    unseen = _missed(head, in_head, index) + _missed(table.number, table.variance, index)
    if table.tail is not None:
        beyond = jnp.sum(jnp.where(index > table.tail.table, variance, 0.0))
        unseen += jnp.maximum(table.tail.variance - beyond, 0.0)
    return Inputs(values, active, variance, seen, _ids(index), unseen, complete)


class _Table(eqx.Module):
    """Coordinates behind the head, one by one, and the tail beyond them.

    All of a short spectrum, `MIN_TABLE` behind the head of the run for a long one: neither depends
    on the padding.
    """

    number: Float[Array, " m"]
    hazard: Float[Array, " m"]
    variance: Float[Array, " m"]
    tail: PowerLawTail | None


def _table(coordinates: AbstractCoordinates, padding: Padding, n_head: Int[Array, ""]) -> _Table:
    end = n_head.astype(jnp.float64)
    number = jnp.arange(1, padding.table + 1, dtype=jnp.float64)
    tail = coordinates.tail(number[-1] + end)
    if tail is not None:
        number = number + end
    real = (number > end) & (number <= coordinates.n_coordinates)
    rare = jnp.where(real, coordinates.probability_at(number), 0.0)
    hazard = -jnp.log1p(-jnp.minimum(rare, HEAD_PROBABILITY))
    variance = jnp.where(real, coordinates.variance_at(number), 0.0)
    return _Table(number, hazard, variance, tail)


def _events(
    key: Key[Array, ""],
    table: _Table,
    n_rows: Int[Array, ""],
    n_head: Int[Array, ""],
    padding: Padding,
) -> tuple[Array, Array, Array, Array, Bool[Array, ""]]:
    """Row, column, amplitude and coordinate of Poisson many events, and whether all fit.

    In order of (coordinate, row); the first of each cell has a column, the others `padding.seen`,
    as those have that do not occur.
    """
    word = words(key, jnp.arange(padding.points, dtype=jnp.int32), 10)
    # S_i = sum_{j >= i} hazard_j, so that rare coordinates keep their relative precision
    survival = cumulative_sum(table.hazard[::-1])
    beyond = 0.0 if table.tail is None else table.tail.events
    arrival = cumulative_sum(-jnp.log(uniforms(word[0], word[1])))
    total = n_rows.astype(jnp.float64) * (survival[-1] + beyond)
    pick = uniforms(word[2], word[3]) * (survival[-1] + beyond)
    place = jnp.searchsorted(survival, pick - beyond, side="left")
    index = table.number[::-1][jnp.minimum(place, padding.table - 1)]
    active = arrival < total
    if table.tail is not None:
        uniform = jnp.clip(pick / jnp.where(beyond > 0, beyond, 1.0), 1e-300, 1.0)
        outside, occurs = table.tail.draw(uniform, uniforms(word[8], word[9]))
        active &= (pick >= beyond) | occurs
        index = jnp.where(pick < beyond, outside, index)
    index = jnp.where(active, index, jnp.inf)
    row, z = index_below(word[4], n_rows), normals(word[6], word[7])
    index, row, z = jax.lax.sort((index, row, z), num_keys=2)
    real = jnp.isfinite(index)
    first = jnp.ones((1,), bool)
    new_coordinate = jnp.concatenate([first, index[1:] != index[:-1]]) | (index > LAST_DISTINCT)
    new_cell = new_coordinate | jnp.concatenate([first, row[1:] != row[:-1]])
    column = n_head + jnp.cumsum(new_coordinate & real, dtype=jnp.int32) - 1
    fits = (arrival[-1] >= total) & jnp.all(~real | (column < padding.seen))
    column = jnp.where(real & new_cell, column, padding.seen)
    return row, column, z, jnp.where(real, index, 1.0), fits


def _ids(index: Float[Array, " d"]) -> Int[Array, " d"]:
    """Distinct int32 names: the coordinate, or its column counted from 2^30 where it is huge."""
    order = jnp.arange(index.shape[0], dtype=jnp.int32) + jnp.int32(LAST_NUMBERED)
    small = index < LAST_NUMBERED
    return jnp.where(small, jnp.where(small, index, 0.0).astype(jnp.int32), order)


def _missed(
    number: Float[Array, " m"], variance: Float[Array, " m"], index: Float[Array, " d"]
) -> Float[Array, ""]:
    """Sum the `variance` of consecutive coordinates over those that have no column."""
    size = number.shape[0]
    place = index - (number[0] if size else 1.0)
    inside = (place >= 0) & (place < size)
    place = jnp.where(inside, place, size).astype(jnp.int32)
    unseen = jnp.ones((size,), bool).at[place].set(False, mode="drop")
    return jnp.sum(jnp.where(unseen, variance, 0.0))
