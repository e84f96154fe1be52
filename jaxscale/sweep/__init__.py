"""Sweeps: a grid is planned, run in compiled chunks, stored, and read back as a Dataset."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from jaxscale.sweep._execute import run as run
from jaxscale.sweep._grid import Grid as Grid, geomspace as geomspace
from jaxscale.sweep._plan import Plan as Plan, plan as plan
from jaxscale.sweep._predict import predict as predict
from jaxscale.sweep._reader import open_store as open_store
from jaxscale.sweep._select import select as select

if TYPE_CHECKING:
    import xarray


def open(path: str | Path) -> "xarray.Dataset":
    """Open a store under the old name of `open_store`; to be removed in the next release."""
    warnings.warn(
        "`js.open` is now `js.open_store`; the old name goes in the next release.",
        DeprecationWarning,
        stacklevel=2,
    )
    return open_store(path)
