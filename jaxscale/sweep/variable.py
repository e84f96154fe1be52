"""`StoredVariable`: one observable of a store on the axes of its grid, read when it is looked at.

Results may be larger than the memory. xarray takes any array that can be indexed along its axes:
this one finds the runs that are asked for, reads the Zarr chunks that hold them and no others, and
keeps nothing.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from xarray.backends import BackendArray
from xarray.core import indexing

from jaxscale.sweep.layout import Layout

if TYPE_CHECKING:
    from jaxscale.sweep.reader import StoreReader


class StoredVariable(BackendArray):
    """An observable of all runs, in the order of `Layout.dataset`; it holds no values.

    - `stored`: the store.
    - `layout`: of its results.
    - `name`: of the observable.
    """

    def __init__(self, stored: "StoreReader", layout: Layout, name: str):
        self.stored, self.name, self.fill = stored, name, layout.fill(name)
        self.shape, self.n_axes = layout.full_shape(name), len(layout.grid.shape)
        self.dtype = np.dtype(layout.dtypes[name])

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        outer = indexing.IndexingSupport.OUTER
        return indexing.explicit_indexing_adapter(key, self.shape, outer, self.read)

    def read(self, key: tuple[Any, ...]) -> np.ndarray:
        """Values at a number, a slice or a list of numbers per axis, each axis on its own."""
        chosen = [np.arange(n)[k] for n, k in zip(self.shape, key, strict=True)]
        lists = [np.atleast_1d(c) for c in chosen]
        of_runs, of_values = lists[: self.n_axes], lists[self.n_axes :]
        ids = np.ravel_multi_index(np.ix_(*of_runs), self.shape[: self.n_axes]).reshape(-1)
        out = np.full((ids.size, *map(len, of_values)), self.fill, self.dtype)
        for here, values in self.stored.of_runs(self.name, ids):
            for axis, places in enumerate(of_values, start=1):
                if not np.array_equal(places, np.arange(values.shape[axis])):
                    values = values.take(places, axis)
            out[here] = values
        return out.reshape([len(c) for c in chosen if c.ndim])
