"""Variables of a store that are read when they are used.

Results may be larger than the memory, so a `Dataset` holds arrays that read what is indexed.
xarray's classes for that are those that its guide "How to add a new backend" names; they live in
`xarray.core.indexing`. `_reader` imports this file when it reads, for xarray takes a while.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from jaxscale.sweep._layout import Layout

ReadRuns = Callable[[str, np.ndarray], Iterator[tuple[np.ndarray, np.ndarray]]]


def lazy_values(read_runs: ReadRuns, layout: Layout, name: str) -> Any:
    """Return an observable of all runs that xarray reads when it is used, and copies on assignment.

    `read_runs` yields, given the name and run numbers, positions in those numbers and the values of
    the runs that have finished, a part at a time.
    """
    lazy: Any = indexing.LazilyIndexedArray(StoredVariable(read_runs, layout, name))
    return indexing.CopyOnWriteArray(lazy)


class StoredVariable(BackendArray):
    """An observable of all runs, in the order of `Layout.dataset`; it holds no values.

    Indexing it reads the Zarr chunks that hold the runs asked for, and no others.
    """

    def __init__(self, read_runs: ReadRuns, layout: Layout, name: str):
        self.read_runs, self.name, self.fill = read_runs, name, layout.fill(name)
        self.shape, self.n_axes = layout.full_shape(name), len(layout.grid.shape)
        self.dtype = np.dtype(layout.dtypes[name])

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        outer = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, outer, self.read)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Return the values at a number, a slice or a list of numbers per axis, each on its own."""
        chosen = [np.arange(n)[k] for n, k in zip(self.shape, key, strict=True)]
        lists = [np.atleast_1d(c) for c in chosen]
        of_runs, of_values = lists[: self.n_axes], lists[self.n_axes :]
        ids = np.ravel_multi_index(np.ix_(*of_runs), self.shape[: self.n_axes]).reshape(-1)
        out = np.full((ids.size, *map(len, of_values)), self.fill, self.dtype)
        for rows, values in self.read_runs(self.name, ids):
            for axis, places in enumerate(of_values, start=1):
                if not np.array_equal(places, np.arange(values.shape[axis])):
                    values = values.take(places, axis)
            out[rows] = values
        return out.reshape([len(c) for c in chosen if c.ndim])
