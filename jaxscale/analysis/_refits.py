"""Fits of the resamples of data sets, with and without a floor that may be zero."""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Key

from jaxscale.analysis import _least_squares as least_squares
from jaxscale.analysis._compared import ZERO_FLOOR
from jaxscale.analysis._expansion import Expansion
from jaxscale.analysis._least_squares import FitResult
from jaxscale.analysis._levenberg import FAILED, UNFINISHED
from jaxscale.analysis.bounds import NotNegative

SMALL_FLOOR = 0.3  # of the lowest value: where it is less, refits also start from a larger one
MAY_BE_ZERO = 0.025  # share of refits without a floor from which none is possible


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
) -> tuple[Float[np.ndarray, "n b p"], int]:
    """Fit n resamples of every data set: coordinates, NaN where a refit was lost, and their blocks.

    Where a floor is small its logarithm hardly moves: these refits start from a larger one, too.
    Where it may be zero, the percentiles of refits are too narrow (the optimum lies at the edge of
    what is allowed), so a second block has refits of the form without a floor, and an interval is
    what either block says.

    **Reference** Andrews 2000, Econometrica 68, 399 (why the bootstrap fails at a boundary).
    """
    bounds, z = expand.problem.bounds, result.z[:, None]
    floors = [i for i, bound in enumerate(bounds) if isinstance(bound, NotNegative)]
    for i in floors:
        large = np.log(SMALL_FLOOR / ZERO_FLOOR * _zero(bounds[i]))
        if (z[:, 0, i] < large).any():
            z = np.concatenate([z, _cheapest(expand, starts, starts[..., i] >= large)], axis=1)
    again = _coordinates(expand, z, n, key)
    blocks = [again]
    for i in floors:
        again[..., i] = np.where(again[..., i] < np.log(_zero(bounds[i])), -np.inf, again[..., i])
        possible = np.mean(again[..., i] == -np.inf, axis=1) > MAY_BE_ZERO
        if possible.any():
            without = _without(expand, i)
            best = least_squares.fit(without, starts, least_squares.FEW_STARTS).z
            second = _coordinates(without, best[:, None], n, key)
            second[..., i] = np.where(np.isnan(second[..., i]), np.nan, -np.inf)
            blocks.append(np.where(possible[:, None, None], second, again))
    return np.concatenate(blocks, axis=1), len(blocks)


def _zero(bound: Any) -> Float[np.ndarray, ""]:
    return np.asarray(bound.zero)


def _coordinates(expand: Expansion, z: np.ndarray, n: int, key: Any) -> np.ndarray:
    again, status = least_squares.refit(expand, z, n, key)
    lost = (status == FAILED) | (status == UNFINISHED)
    return np.where(lost[..., None], np.nan, again)


def _cheapest(expand: Expansion, starts: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The start of every data set with the lowest cost among those that are allowed."""
    cost = np.where(allowed, least_squares.costs(expand, starts), np.inf)
    return np.take_along_axis(starts, cost.argmin(axis=1)[:, None, None], axis=1)


def _without(expand: Expansion, i: int) -> Expansion:
    """The same problem with the parameter number i at zero."""
    bounds = list(expand.problem.bounds)
    bounds[i] = _Zero(zero=_zero(bounds[i]))
    problem = dataclasses.replace(expand.problem, bounds=tuple(bounds))
    return Expansion(problem, expand.data, expand.n_lanes)
