"""The atlas as one Dataset: measured from runs, and as a small file that figures are drawn from."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxscale.papers._runs import system_of
from jaxscale.papers.atlas._measures import mean_control, measure
from jaxscale.papers.atlas._setups import LEADS, control_name, setup_of
from jaxscale.papers.atlas._verdicts import Cells, judge
from jaxscale.superposition import TeacherStudent

if TYPE_CHECKING:
    import xarray

CURVES = ("loss", "loss_alone")


def measure_atlas(runs: "Mapping[str, xarray.Dataset]") -> "xarray.Dataset":
    """Measure every setup of an atlas.

    **Arguments**

    - `runs`: results by the names of `grids`, controls among them.

    **Returns** the Datasets of `measure` along `setup`, NaN where a setup was not run; the curves
    are those of the leads alone. Without its control an adaptive setup is never compressed.
    """
    import xarray

    measured, names = [], [name for name in runs if not name.endswith("-control")]
    for name in names:
        setup, check = setup_of(name)
        trained = runs.get(control_name(setup.optimizer))
        missing = bool(check) or (trained is None and setup.optimizer != "sgd")
        control = None if missing else mean_control(setup, runs[name], trained)
        one = measure(setup, runs[name], control)
        measured.append(one if setup in LEADS else one.drop_vars(CURVES))
    atlas = xarray.concat(measured, "setup", join="outer", coords="minimal", compat="override")
    atlas = atlas.assign_coords(setup=names)
    first = runs[names[0]]
    system = system_of(first, TeacherStudent)
    atlas.attrs = {"n_steps": system.n_steps, "n_features": system.n_features}
    atlas.attrs |= {k: str(first.attrs[k]) for k in ("device", "versions") if k in first.attrs}
    return atlas


def write_atlas(atlas: "xarray.Dataset", path: Path) -> None:
    """Write a reduced atlas in single precision as netCDF 3, which needs SciPy alone."""
    small = atlas.map(lambda v: v.astype(np.float32) if v.dtype.kind == "f" else v, keep_attrs=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    small.to_netcdf(path, format="NETCDF3_64BIT", engine="scipy")


def read_atlas(path: str | Path) -> "xarray.Dataset":
    """Read what `write_atlas` wrote, in double precision."""
    import xarray

    with xarray.open_dataset(path, engine="scipy") as stored:
        atlas = stored.load()
    return atlas.map(lambda v: v.astype(float) if v.dtype.kind == "f" else v, keep_attrs=True)


def cells_of(atlas: "xarray.Dataset") -> Cells:
    """The verdict of every setup at every crowding that it was run at."""
    cells = {}
    for name in atlas["setup"].values.tolist():
        one = atlas.sel(setup=name, drop=True)
        for crowding in one["crowding"].values.tolist():
            windows = one.sel(crowding=crowding, drop=True)
            if bool((windows["was_run"] == 1).any()):
                cells[name, crowding] = judge(windows)
    return cells
