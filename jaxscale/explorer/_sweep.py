"""Runs of a grid, and what is shown of them: read from a store as needed, followed as it grows."""

import dataclasses
import functools
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxscale._labels import match_labels
from jaxscale._status import STATUS, Status
from jaxscale._system import Schema
from jaxscale.report._figures import MAX_CURVES, places, spread_evenly
from jaxscale.report._panel import short_texts
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._locate import existing_place
from jaxscale.sweep._predict import grid_of
from jaxscale.sweep._reader import StoreReader

if TYPE_CHECKING:
    import xarray

SEED, STEP = "seed", "step"
ROLES = ("x", "color", "panel")
MAX_PANELS = 6
REMOTE_SECONDS = 30.0  # between two looks at a store in a bucket
WITHOUT_VALUES = (Status.not_run, Status.nonfinite, Status.diverged, Status.truncated)
LOADED_BYTES = 1e8  # of results that are read at once
Window: TypeAlias = tuple[float, float]  # of x, in which exponents are fitted


@dataclasses.dataclass(frozen=True)
class View:
    """What is shown: an observable, the roles of dimensions, and which runs count.

    - `x`, `color`, `panel`: dimensions, "" for none.
    - `at`: index of every other dimension.
    - `statuses`: codes of the runs that count; None for those whose values are numbers.
    """

    observable: str
    x: str
    color: str = ""
    panel: str = ""
    at: Mapping[str, int] = dataclasses.field(default_factory=dict)
    statuses: tuple[int, ...] | None = None


def inside_of(x: Float[np.ndarray, " x"], window: Window | None) -> Bool[np.ndarray, " x"]:
    """Positive points of a window."""
    if window is None:
        return np.zeros(x.shape, bool)
    return (x >= window[0]) & (x <= window[1]) & (x > 0)


@dataclasses.dataclass(frozen=True)
class Curves:
    """Curves over x: panels `p`, colours `c`, seeds `s`.

    - `values`: shape (p, c, s, x), NaN where a run does not count.
    - `panels`, `colors`: indices that are shown of these dimensions; `labels` of the colours.
    - `points`: number of the grid point, shape (p, c, x); the same along x unless x is an axis.
    """

    x: Float[np.ndarray, " x"]
    ticks: tuple[str, ...]
    values: Float[np.ndarray, "p c s x"]
    panels: Int[np.ndarray, " p"]
    colors: Int[np.ndarray, " c"]
    panel_labels: tuple[str, ...]
    labels: tuple[str, ...]
    points: Int[np.ndarray, "p c x"]

    @functools.cached_property
    def mean(self) -> Float[np.ndarray, "p c x"]:
        """Mean over the seeds that count."""
        return over_seeds(np.nanmean, self.values)

    @functools.cached_property
    def spread(self) -> Float[np.ndarray, "p c x"]:
        """Standard deviation over seeds."""
        return over_seeds(np.nanstd, self.values)

    @functools.cached_property
    def least(self) -> Float[np.ndarray, "p c x"]:
        """Smallest value of a seed."""
        return over_seeds(np.nanmin, self.values)


def over_seeds(reduce: Any, values: Float[np.ndarray, "..."], axis: int = 2) -> Any:
    """Reduce over the axis of seeds, NaN where none counts."""
    some: Any = np.isfinite(values).any(axis=axis, keepdims=True)
    filled = np.where(some, values, 0.0)
    return np.where(some.squeeze(axis), reduce(filled, axis=axis), np.nan)


def _opened(path: str) -> "xarray.Dataset":
    """Results of a store, which are read when they are shown unless they are few."""
    return StoreReader(existing_place(path)).dataset(most_bytes=LOADED_BYTES)


def _aligned(runs: Any) -> "tuple[xarray.Dataset, Grid]":
    """Runs with all dimensions of their grid, and the part of the grid that they are.

    **Raises** `ValueError` for a Dataset that lacks one, such as a mean over seeds.
    """
    grid = grid_of(runs)
    axes, seeds = {}, grid.seeds
    for dim, coordinate in grid.coordinates.items():
        if dim not in runs.coords:
            raise ValueError(f"`runs` must keep the dimension {dim!r}: select it, not reduce it.")
        runs = runs if dim in runs.dims else runs.expand_dims(dim)
        places = match_labels(coordinate, np.asarray(runs[dim]))
        if np.any(places < 0):
            raise ValueError(f"`runs` has values of {dim!r} that its grid has not.")
        if dim == SEED:
            seeds = [grid.seeds[i] for i in places]
        else:
            axes[dim] = [grid.axes[dim][i] for i in places]
    return runs, grid.replace(axes=axes, seeds=seeds)


def last_finite(values: Float[np.ndarray, "... x"]) -> Float[np.ndarray, "..."]:
    """The last number along an axis, NaN where there is none: runs may end at different steps."""
    good = np.isfinite(values)
    last = values.shape[-1] - 1 - np.argmax(good[..., ::-1], axis=-1)
    taken = np.take_along_axis(values, last[..., None], axis=-1)[..., 0]
    return np.where(good.any(axis=-1), taken, np.nan)


def one_of_each(grid: Grid) -> Grid:
    """One run of every structure of a grid."""
    structural = grid.structural_axes
    axes = {p: v if p in structural else v[:1] for p, v in grid.axes.items()}
    return grid.replace(axes=axes, seeds=grid.seeds[:1])


class Sweep:
    """A Dataset of runs, or the store that holds them.

    **Arguments**

    - `given`: result of `js.run` or `js.open_store`, or the path of a store.

    **Raises** `ValueError` for what is no sweep, or a damaged store.
    """

    def __init__(self, given: "xarray.Dataset | str"):
        self.path = given if isinstance(given, str) else None
        self._stamp = self._read_stamp()
        self.runs: Any = _opened(given) if isinstance(given, str) else given
        if STATUS not in self.runs:
            raise ValueError(
                "`runs` must hold the `status` of runs: give the result of js.run or js.open_store."
            )
        self.given_dims = frozenset(map(str, self.runs.dims))
        self.runs, self.grid = _aligned(self.runs)
        if not self.observables:
            raise ValueError("`runs` must hold at least one real observable of every run.")

    @property
    def axes(self) -> list[str]:
        """Axes of the grid with more than one value."""
        return [d for d, values in self.grid.axes.items() if len(values) > 1]

    @functools.cached_property
    def coordinates(self) -> dict[str, list[Any]]:
        """Values of all dimensions: sweeps that share them can share figures."""
        return {str(d): self.runs[d].values.tolist() for d in self.runs.dims}

    @property
    def observables(self) -> list[str]:
        """Names of what was measured of every run, the loss first."""
        names = [str(n) for n, array in self.runs.data_vars.items()
                 if array.dtype.kind == "f" and set(self.grid.dims) <= set(array.dims)]  # fmt: skip
        return sorted(names, key=lambda n: n != "loss")

    def dims(self, observable: str) -> list[str]:
        """Dimensions of an observable with more than one value, seeds apart."""
        sizes = self.runs[observable].sizes
        return [str(d) for d, n in sizes.items() if n > 1 and d != SEED]

    @functools.cached_property
    def status_counts(self) -> dict[Status, int]:
        """How many runs ended in which way."""
        codes = np.asarray(self.runs[STATUS])
        return {code: n for code in Status if (n := int((codes == code).sum()))}

    @functools.cached_property
    def _structures(self) -> Grid:
        """The grid with one value of every axis that changes no structure."""
        return one_of_each(self.grid)

    @functools.cached_property
    def schemas(self) -> list[Schema]:
        """What the systems describe, one of every structure."""
        return [self._structures.system_at(i).schema for i in range(self._structures.n_runs)]

    def last_steps(self, dims: Sequence[str], fixed: Mapping[str, int]) -> Int[np.ndarray, "..."]:
        """Index of the step at which runs end, along `dims`, of size 1 where all end alike."""
        ends = [schema.coordinates.get(STEP, [np.inf])[-1] for schema in self.schemas]
        index = np.searchsorted(np.asarray(self.runs[STEP]), ends, side="right") - 1
        every = np.maximum(index, 0).reshape(self._structures.shape[:-1])
        order = [self.grid.dims.index(d) for d in (*dims, *fixed)]
        at = [min(i, self._structures.shape[k] - 1)
              for i, k in zip(fixed.values(), order[len(dims):], strict=True)]  # fmt: skip
        return every.transpose(order)[(..., *at)]

    def newer(self) -> "Sweep | None":
        """The store read again, if something was written since; else None."""
        if self.path is None or self._read_stamp() == self._stamp:
            return None
        return Sweep(self.path)

    def _read_stamp(self) -> Any:
        """What changes when a chunk is done: times of the folder of marks and of the header."""
        if self.path is None:
            return None
        folder = getattr(existing_place(self.path), "path", None)
        if folder is None:  # objects of a bucket are read again from time to time
            return int(time.monotonic() / REMOTE_SECONDS)
        places = (Path(folder) / "done" / "c", Path(folder) / "zarr.json")
        return [os.stat(p).st_mtime_ns if p.exists() else 0 for p in places]

    def default_view(self) -> View:
        """The step on the x axis where it is recorded, else the longest axis; then a colour."""
        name = self.observables[0]
        dims = self.dims(name)
        axes = sorted((d for d in dims if d in self.grid.axes), key=lambda d: -self._size(d))
        x = STEP if STEP in dims else next(iter(axes), dims[0] if dims else SEED)
        rest = [d for d in axes if d != x]
        return View(name, x, rest[0] if rest else "", "", {})

    def _size(self, dim: str) -> int:
        return self.runs.sizes[dim]

    def settled(self, view: View, newest: Sequence[str] = ()) -> View:
        """The view with roles that its observable has, and no dimension in two of them.

        Roles in `newest` were chosen last, and stay.
        """
        dims = self.dims(view.observable)
        order = [*newest, *(r for r in ROLES if r not in newest)]
        taken: list[str] = []
        for role in order:
            dim = getattr(view, role)
            if dim not in dims or dim in taken:
                free = [d for d in dims if d not in (*taken, view.color, view.panel)]
                dim = next(iter(free or dims), SEED) if role == "x" else ""
                view = dataclasses.replace(view, **{role: dim})
            taken += [dim] if dim else []
        return view

    def last_decade(self, dim: str) -> Window | None:
        """The last decade of a dimension, for exponents: of an axis, where runs have values.

        None where no value is a positive number.
        """
        x = self.runs[dim]
        if dim in self.grid.axes:
            others = [d for d in self.grid.dims if d != dim]
            has_values = (~self.runs[STATUS].isin(WITHOUT_VALUES)).any(others)
            x = x[has_values.values] if has_values.any() else x
        values = np.asarray(x, float) if x.dtype.kind in "iuf" else np.zeros(1)
        if not np.any(values > 0):
            return None
        last = float(values.max())
        first = float(values[values > 0].min())
        return max(last / 10, first) if first < last else last / 10, last

    def sliders(self, view: View) -> list[str]:
        """Dimensions that have no other role."""
        return [d for d in self.dims(view.observable) if d not in (view.x, view.color, view.panel)]

    def indices(self, view: View) -> dict[str, int]:
        """Index of every slider: as chosen, by default the last value."""
        return {d: self.at_slider(view, d) for d in self.sliders(view)}

    def at_slider(self, view: View, dim: str) -> int:
        """Index of a dimension, whatever its role: that of its slider, by default the last."""
        last = self.runs.sizes[dim] - 1
        return min(view.at.get(dim, last), last)

    def labels(self, dim: str, chosen: Any = None) -> list[str]:
        """Texts of the values of a dimension."""
        coordinate = self.runs[dim]
        return short_texts(coordinate, np.arange(coordinate.size) if chosen is None else chosen)

    def ordered(self, dim: str) -> Int[np.ndarray, " x"]:
        """Indices of a dimension along the x axis: by increasing value, names as they are."""
        return np.argsort(places(self.runs[dim]), kind="stable")

    def shown(self, view: View, dim: str, most: int) -> Int[np.ndarray, " n"]:
        """Indices that are shown of a dimension: all, or `most` spread evenly over its runs."""
        n = self._size(dim) if dim else 1
        if n <= most or dim not in self.runs[STATUS].dims:
            return spread_evenly(n, most)
        at = {d: i for d, i in self.selection(view).items() if d in self.runs[STATUS].dims}
        status = self.runs[STATUS].isel(at)
        counts = self.counted(view, status) & np.asarray(status != Status.not_run)
        others = tuple(i for i, d in enumerate(status.dims) if d != dim)
        chosen = np.flatnonzero(counts.any(axis=others))
        return chosen[spread_evenly(chosen.size, most)] if chosen.size else spread_evenly(n, most)

    def counted(self, view: View, status: Any) -> Bool[np.ndarray, "..."]:
        """Whether runs of these codes count."""
        if view.statuses is None:
            return np.ones(np.shape(status), bool)
        return np.isin(status, view.statuses)

    def selection(self, view: View) -> dict[str, Any]:
        """Index of every dimension that has no role on the figure."""
        return {**self.indices(view), **{d: 0 for d in self._single(view)}}

    def _single(self, view: View) -> list[str]:
        roles = (view.x, view.color, view.panel, SEED)
        return [str(d) for d, n in self.runs[view.observable].sizes.items()
                if n == 1 and d not in roles]  # fmt: skip

    def curves(self, view: View) -> Curves:
        """Read the curves of a view: the chunks that hold them, and no others."""
        panels = self.shown(view, view.panel, MAX_PANELS)
        colors = self.shown(view, view.color, MAX_CURVES)
        chosen = {d: i for d, i in ((view.panel, panels), (view.color, colors)) if d}
        index = {**self.selection(view), **chosen}
        data = self.runs[view.observable].isel(index)
        status = self.runs[STATUS].isel({d: i for d, i in index.items() if d in self.grid.dims})
        status, data = status.compute(), data.compute()
        data = data.where(status.copy(data=self.counted(view, np.asarray(status))))
        roles = [d for d in (view.panel, view.color, SEED, view.x) if d]
        roles = list(dict.fromkeys(roles))
        data = data.transpose(*(d for d in roles if d in data.dims))
        values = np.asarray(data, float)
        for axis, dim in enumerate((view.panel, view.color, SEED)):
            if not dim or (dim == SEED and view.x == SEED):
                values = np.expand_dims(values, axis)
        x, order = self.runs[view.x], self.ordered(view.x)
        numeric = x.dtype.kind in "iuf"
        return Curves(
            places(x)[order], () if numeric else tuple(map(str, x.values)), values[..., order],
            panels, colors,
            tuple(self.labels(view.panel, panels)) if view.panel else ("",),
            tuple(self.labels(view.color, colors)) if view.color else ("",),
            self._points(view, panels, colors),
        )  # fmt: skip

    def _points(self, view: View, panels: Any, colors: Any) -> Int[np.ndarray, "p c x"]:
        """Numbers of the grid points that are shown."""
        shape = self.grid.shape[:-1]
        n_x = self._size(view.x)
        index = self.selection(view)
        roles = {
            view.panel: panels[:, None, None],
            view.color: colors[None, :, None],
            view.x: self.ordered(view.x)[None, None],
        }
        along = [roles.get(dim, index.get(dim, 0)) for dim in self.grid.dims[:-1]]
        total = np.zeros((len(panels), len(colors), n_x), int)
        return total + (np.ravel_multi_index(np.broadcast_arrays(*along), shape) if along else 0)

    def point_index(self, point: int) -> dict[str, int]:
        """Index along every axis of the grid of one of its points."""
        places = np.unravel_index(point, self.grid.shape[:-1] or (1,))
        return {d: int(i) for d, i in zip(self.grid.dims[:-1], places, strict=False)}

    def point_values(self, point: int) -> dict[str, Any]:
        """Coordinates of a grid point."""
        index = self.point_index(point)
        return {d: self.runs[d].values[i].item() for d, i in index.items()}
