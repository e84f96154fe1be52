"""Sweeps: a grid is planned, run in compiled chunks, stored, and read back as a Dataset."""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxscale._deprecated import warn_deprecated
from jaxscale.sweep._axes import geomspace as geomspace
from jaxscale.sweep._execute import run as run
from jaxscale.sweep._grid import Grid as Grid
from jaxscale.sweep._open import open_state as open_state, open_store as open_store
from jaxscale.sweep._plan import Plan as Plan, plan as plan
from jaxscale.sweep._predict import predict as predict, select as select

if TYPE_CHECKING:
    import xarray


def open(path: str | Path) -> "xarray.Dataset":
    """Deprecated name of `open_store`."""
    warn_deprecated("js.open", "js.open_store")
    return open_store(path)
