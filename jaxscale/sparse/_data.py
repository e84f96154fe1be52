r"""Sparse inputs `x_i = s_i z_i sigma_i`, drawn exactly and only where they are not zero.

A Bernoulli sequence is a Poisson process in disguise: put points of rate 1 on a line cut into one
cell per (coordinate, sample), of length `-log(1 - p_i)`; a cell is active if it holds a point. The
number of points is Poisson, each point picks its coordinate with probability proportional to
`-log(1 - p_i)` and its sample uniformly, and points that share a cell count once. This gives
`n_i ~ Binomial(D, p_i)` on rows without replacement, all independent, for about `D sum_i p_i`
points instead of `D x M` uniform numbers. Coordinates with `p_i > 1/2` are drawn row by row.

Shapes are static: a `Padding` bounds the samples, the features, the row-by-row coordinates, the
points and the coordinates that are seen, for all runs of a program. Draws are counted by (sample,
coordinate) or by point, so that a wider padding changes none of them.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, Key

from jaxscale.keys import index_below, normal_table, normals, uniforms, words
from jaxscale.sparse._padding import Padding
from jaxscale.sparse._spectrum import HEAD_PROBABILITY, AbstractCoordinates

CHANCE_STREAM, AMPLITUDE_STREAM, POINT_STREAM = range(3)
ALONE = 1e15  # beyond this a float no longer tells neighbours apart, and no coordinate comes twice
IDS = 2.0**30  # coordinates beyond this are named by their order of appearance


class Inputs(eqx.Module):
    """Inputs of one run on the coordinates that were seen, one column each, test samples first.

    - `values`, `active`: `(rows, k)`, zero and false where a coordinate is inactive, in padded rows
      and columns.
    - `variance`, `seen`: `lambda_i` of the columns (0 in padded ones) and which are real.
    - `ids`: a number that names the coordinate, for draws that belong to it.
    - `unseen_variance`: sum of `lambda_i` over all coordinates that have no column.
    - `complete`: whether the padding held every draw.
    """

    values: Float[Array, "d k"]
    active: Bool[Array, "d k"]
    variance: Float[Array, " k"]
    seen: Bool[Array, " k"]
    ids: Int[Array, " k"]
    unseen_variance: Float[Array, ""]
    complete: Bool[Array, ""]

    def without(self, rows: int) -> "Inputs":
        """All but the first `rows` samples; columns that the others do not see become unseen."""
        values, active = self.values[rows:], self.active[rows:]
        seen = jnp.any(active, axis=0)
        lost = jnp.sum(jnp.where(seen, 0.0, self.variance))
        return Inputs(
            values,
            active,
            jnp.where(seen, self.variance, 0.0),
            seen,
            self.ids,
            self.unseen_variance + lost,
            self.complete,
        )

    def leading(self, columns: int) -> "Inputs":
        """The first `columns` columns, of inputs whose others are padding."""
        return Inputs(
            self.values[:, :columns],
            self.active[:, :columns],
            self.variance[:columns],
            self.seen[:columns],
            self.ids[:columns],
            self.unseen_variance,
            self.complete,
        )


def draw_inputs(
    key: Key[Array, ""],
    coordinates: AbstractCoordinates,
    n_rows: Int[Array, ""],
    padding: Padding,
) -> Inputs:
    """Draw inputs.

    **Arguments**

    - `key`: key of the data set.
    - `coordinates`: the spectrum.
    - `n_rows`: samples, test samples included; the rows beyond are padding.
    - `padding`: static sizes.

    **Returns** `Inputs`.
    """
    n_seen = padding.seen
    rows = jnp.arange(padding.n_rows, dtype=jnp.int32)
    head = jnp.arange(1, padding.head + 1, dtype=jnp.float64)
    chance = coordinates.probability(head)
    often = chance > HEAD_PROBABILITY
    n_head = jnp.sum(often, dtype=jnp.int32)
    values = jnp.zeros((padding.n_rows, n_seen), jnp.float64)
    active = jnp.zeros((padding.n_rows, n_seen), bool)
    index = jnp.full((n_seen,), jnp.inf, jnp.float64)
    complete = jnp.asarray(True)
    if padding.head:
        columns = jnp.arange(padding.head, dtype=jnp.int32)
        z = normal_table(jr.fold_in(key, AMPLITUDE_STREAM), rows, columns)
        drawn = _bernoulli(jr.fold_in(key, CHANCE_STREAM), rows, columns, chance)
        drawn = drawn & (rows < n_rows)[:, None] & often
        z = jnp.where(drawn, z * jnp.sqrt(coordinates.variance(head) / chance), 0.0)
        values = values.at[:, : padding.head].set(z)
        active = active.at[:, : padding.head].set(drawn)
        index = index.at[: padding.head].set(jnp.where(often, head, jnp.inf))
    table = _table(coordinates, padding, n_head)
    if padding.points:
        points = _points(jr.fold_in(key, POINT_STREAM), coordinates, table, n_rows, padding)
        row, column, z, where, complete = _cells(points, n_head, n_seen)
        scale = jnp.sqrt(coordinates.variance(where) / coordinates.probability(where))
        values = values.at[row, column].set(z * scale, mode="drop")
        active = active.at[row, column].set(True, mode="drop")
        index = index.at[column].set(where, mode="drop")
    seen = jnp.any(active, axis=0)
    index = jnp.where(seen, index, jnp.inf)
    variance = jnp.where(seen, coordinates.variance(jnp.where(seen, index, 1.0)), 0.0)
    unseen = _unseen_variance(coordinates, head, often, table, index, variance)
    return Inputs(values, active, variance, seen, _ids(index), unseen, complete)


class _Table(eqx.Module):
    """Coordinates behind the head, one by one; `last` is where the closed-form tail begins.

    A short spectrum is tabulated in full; of a long one the `MIN_TABLE` coordinates behind the
    head of the run. Neither depends on the padding.
    """

    number: Float[Array, " m"]
    hazard: Float[Array, " m"]
    variance: Float[Array, " m"]
    last: Float[Array, ""]


def _table(coordinates: AbstractCoordinates, padding: Padding, n_head: Int[Array, ""]) -> _Table:
    end = n_head.astype(jnp.float64)
    number = jnp.arange(1, padding.table + 1, dtype=jnp.float64)
    if not coordinates.is_tabulated:
        number = number + end
    real = (number > end) & (number <= coordinates.n_coordinates)
    rare = jnp.where(real, coordinates.probability(number), 0.0)
    hazard = -jnp.log1p(-jnp.minimum(rare, HEAD_PROBABILITY))
    variance = jnp.where(real, coordinates.variance(number), 0.0)
    return _Table(number, hazard, variance, number[-1])


def _bernoulli(
    key: Key[Array, ""],
    rows: Int[Array, " d"],
    columns: Int[Array, " k"],
    chance: Float[Array, " k"],
) -> Bool[Array, "d k"]:
    """Entries that are true with their column's chance, a chance of 1 always."""
    word = jax.vmap(lambda c: words(jr.fold_in(key, c), rows, 2), out_axes=2)(columns)
    return uniforms(word[0], word[1]) < chance


class _Points(eqx.Module):
    """Events in order of (coordinate, row); those that do not occur have coordinate infinity."""

    index: Float[Array, " e"]
    row: Int[Array, " e"]
    z: Float[Array, " e"]
    complete: Bool[Array, ""]


def _points(
    key: Key[Array, ""],
    coordinates: AbstractCoordinates,
    table: _Table,
    n_rows: Int[Array, ""],
    padding: Padding,
) -> _Points:
    """Poisson many events over table and tail."""
    word = words(key, jnp.arange(padding.points, dtype=jnp.int32), 10)
    # S_i = sum_{j >= i} hazard_j, so that rare coordinates keep their relative precision
    survival = jnp.cumsum(table.hazard[::-1])
    tail = coordinates.tail_events(table.last)
    arrival = jnp.cumsum(-jnp.log(uniforms(word[0], word[1])))
    total = n_rows.astype(jnp.float64) * (survival[-1] + tail)
    pick = uniforms(word[2], word[3]) * (survival[-1] + tail)
    place = jnp.searchsorted(survival, pick - tail, side="left")
    inside = table.number[::-1][jnp.minimum(place, padding.table - 1)]
    share = jnp.clip(pick / jnp.where(tail > 0, tail, 1.0), 1e-300, 1.0)
    outside, occurs = coordinates.tail_draw(table.last, share, uniforms(word[8], word[9]))
    in_tail = pick < tail
    active = (arrival < total) & (~in_tail | occurs)
    index = jnp.where(active, jnp.where(in_tail, outside, inside), jnp.inf)
    row = index_below(word[4], n_rows)
    z = normals(word[6], word[7])
    index, row, z = jax.lax.sort((index, row, z), num_keys=2)
    return _Points(index, row, z, arrival[-1] >= total)


def _cells(
    points: _Points, n_head: Int[Array, ""], n_seen: int
) -> tuple[Array, Array, Array, Array, Bool[Array, ""]]:
    """Row, column, amplitude and coordinate of each active cell; columns beyond `n_seen` drop."""
    first = jnp.ones((1,), bool)
    new_coordinate = jnp.concatenate([first, points.index[1:] != points.index[:-1]])
    new_cell = new_coordinate | jnp.concatenate([first, points.row[1:] != points.row[:-1]])
    real = jnp.isfinite(points.index)
    new_coordinate |= points.index > ALONE
    new_cell |= new_coordinate
    rank = jnp.cumsum(new_coordinate & real, dtype=jnp.int32) - 1
    column = n_head + rank
    fits = jnp.all(~real | (column < n_seen))
    column = jnp.where(real & new_cell, column, n_seen)
    where = jnp.where(real, points.index, 1.0)
    return points.row, column, points.z, where, points.complete & fits


def _ids(index: Float[Array, " k"]) -> Int[Array, " k"]:
    """Distinct int32 names: the coordinate, or its column counted from 2^30 where it is huge."""
    order = jnp.arange(index.shape[0], dtype=jnp.int32) + jnp.int32(IDS)
    small = index < IDS
    return jnp.where(small, jnp.where(small, index, 0.0).astype(jnp.int32), order)


def _unseen_variance(
    coordinates: AbstractCoordinates,
    head: Float[Array, " h"],
    often: Bool[Array, " h"],
    table: _Table,
    index: Float[Array, " k"],
    variance: Float[Array, " k"],
) -> Float[Array, ""]:
    """Sum of `lambda_i` over the coordinates without a column: head, table and tail apart."""

    def missed(number: Float[Array, " m"], variances: Float[Array, " m"]) -> Float[Array, ""]:
        size = number.shape[0]
        first = number[0] if size else jnp.asarray(1.0)
        place = index - first
        inside = (place >= 0) & (place < size)
        place = jnp.where(inside, place, size).astype(jnp.int32)
        unseen = jnp.ones((size,), bool).at[place].set(False, mode="drop")
        return jnp.sum(jnp.where(unseen, variances, 0.0))

    in_head = jnp.where(often, coordinates.variance(head), 0.0)
    beyond = jnp.sum(jnp.where(index > table.last, variance, 0.0))
    outside = jnp.maximum(coordinates.tail_variance(table.last) - beyond, 0.0)
    return missed(head, in_head) + missed(table.number, table.variance) + outside
