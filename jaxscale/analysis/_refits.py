"""Fits of the resamples of data sets, with and without a floor that may be zero."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Key

from jaxscale.analysis import _least_squares as least_squares
from jaxscale.analysis._expansion import Expansion
from jaxscale.analysis._least_squares import FitResult
from jaxscale.analysis._levenberg import FAILED, UNFINISHED
from jaxscale.analysis.bounds import NotNegative


class _Zero(NotNegative):
    """Zero at every coordinate."""

    def constrain(self, coordinate: Any) -> Any:
        """0."""
        return 0 * coordinate

    def derivative(self, coordinate: Any) -> Any:
        """0, too."""
        return 0 * coordinate


def refitted(
    expand: Expansion,
    result: FitResult,
    starts: Float[np.ndarray, "n c p"],
    n: int,
    key: Key[Array, ""],
) -> tuple[Float[np.ndarray, "n b p"], Float[np.ndarray, "n k"]]:
    """Fit n resamples of every data set: coordinates, NaN where a refit was lost, and block shares.

    Where a floor is small its logarithm hardly moves: these refits start from a larger one, too.
    Where floors may be zero, the percentiles of refits are too narrow (the optimum lies at the edge
    of what is allowed), so further blocks have refits of the form without each of them, and without
    all. The share of a block is that of the refits whose floors of this kind are 0 by themselves:
    it says up to which level an interval must hold what the block says.

    **Reference** Andrews 2000, Econometrica 68, 399 (why the bootstrap fails at a boundary).
    """
    z = result.z[:, None]
    floors = {i: b for i, b in enumerate(expand.problem.bounds) if isinstance(b, NotNegative)}
    for i, bound in floors.items():
        large = np.log(bound.small)
        if (z[:, 0, i] < large).any():
            z = np.concatenate([z, _cheapest(expand, starts, starts[..., i] >= large)], axis=1)
    again = _coordinates(expand, z, n, key)
    blocks, shares = [again], [np.ones(len(again))]
    at_zero = {i: np.mean(again[..., i] == -np.inf, axis=1) for i in floors}
    possible = tuple(i for i in floors if at_zero[i].any())
    together = [possible] if len(possible) > 1 else []
    for zeros in [*((i,) for i in possible), *together]:
        without = _without(expand, zeros)
        best = least_squares.fit(without, starts, least_squares.FEW_STARTS).z
        others = _coordinates(without, best[:, None], n, key)
        shares.append(np.min([at_zero[i] for i in zeros], axis=0))
        blocks.append(np.where(shares[-1][:, None, None] > 0, others, again))
    return np.concatenate(blocks, axis=1), np.stack(shares, axis=1)


def _coordinates(expand: Expansion, z: np.ndarray, n: int, key: Any) -> np.ndarray:
    """Coordinates of refits: minus infinity for a floor of zero, NaN for one that was lost."""
    again, status = least_squares.refit(expand, z, n, key)
    for i, bound in enumerate(expand.problem.bounds):
        if isinstance(bound, NotNegative):
            is_zero = again[..., i] < np.log(bound.zero)
            again[..., i] = np.where(is_zero | isinstance(bound, _Zero), -np.inf, again[..., i])
    lost = (status == FAILED) | (status == UNFINISHED)
    return np.where(lost[..., None], np.nan, again)


def _cheapest(expand: Expansion, starts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The start of every data set with the lowest cost among those that are allowed."""
    cost = np.where(allowed, least_squares.costs(expand, starts), np.inf)
    return np.take_along_axis(starts, cost.argmin(axis=1)[:, None, None], axis=1)


def _without(expand: Expansion, zeros: Sequence[int]) -> Expansion:
    """The same problem with the parameters of these numbers at zero."""
    bounds: list[Any] = [*expand.problem.bounds]
    for i in zeros:
        bounds[i] = _Zero(zero=bounds[i].zero)
    problem = dataclasses.replace(expand.problem, bounds=tuple(bounds))
    return Expansion(problem, expand.data, expand.n_lanes)
