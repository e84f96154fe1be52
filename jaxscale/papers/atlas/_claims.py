"""Claims of the atlas: whether the exponent is about 1 for all data, by setup and crowding.

A map of three seeds makes no claim: its cells are leads. The setups that were named before the run
have eight seeds and two claims at each crowding, over all windows that count and all rates: how far
the exponents are from 1, and how much they differ between the data. Neither can be met by passing
through 1, nor by data on both sides of it (as K = N has), for distances do not cancel.
"""

from typing import TYPE_CHECKING

import numpy as np

from jaxscale.analysis._claim import SEEDS_FOR_VERDICT, Claim
from jaxscale.papers._runs import BEFORE
from jaxscale.papers.atlas._setups import setup_of
from jaxscale.papers.atlas._verdicts import NEAR, SPREAD, falls, judge, over_data
from jaxscale.papers.superposition._claims import PAPER

if TYPE_CHECKING:
    import xarray

# the mean over the data was claimed before, which K = N meets; the margin is the same
AFTER_ONE = "before the runs, for the mean over the data; for distances after a look at one setup"


def atlas_claims(atlas: "xarray.Dataset") -> list[Claim]:
    """Claims of every setup with enough seeds, two at each crowding."""
    judged = []
    for name in atlas["setup"].values.tolist():
        windows = atlas.sel(setup=name, drop=True)
        if int(windows["n_seeds"]) >= SEEDS_FOR_VERDICT and not setup_of(name)[1]:
            for crowding in windows["crowding"].values.tolist():
                judged += cell_claims(name, crowding, windows.sel(crowding=crowding, drop=True))
    return judged


def cell_claims(name: str, crowding: float, windows: "xarray.Dataset") -> list[Claim]:
    """The two claims of a setup at one crowding."""
    setup, cell = setup_of(name)[0], judge(windows)
    order = ("seed", "rate", "window")
    counts = falls(over_data(windows["exponent"])[0])
    none = np.full(windows.sizes["seed"], np.nan)
    away, apart = (
        windows[name].transpose(*order).values[:, counts].mean(axis=1) if counts.any() else none
        for name in ("distance", "spread")
    )
    where = (
        f"{setup.way.text}, {setup.text}, N/K = {crowding:g}: over "
        f"{cell.n_windows} windows of a decade in which the loss falls, "
    )
    share = f" (verdict {cell.kind}; about 1 for all data in {cell.one:.0%} of the windows)"
    rows = (
        ("distance", "the exponent is 1 (mean distance over the data)", away, NEAR, AFTER_ONE),
        ("spread", "the exponent is the same for all data (mean spread)", apart, SPREAD, BEFORE),
    )
    return [
        Claim.from_seeds(
            f"{name}-{crowding:g}-{what}",
            where + text + share,
            PAPER,
            predicted=0.0,
            values=values,
            margin=margin,
            reason="the map's rule of a window: within 0.25 of 1, spread below 0.3",
            out_of_range=not counts.any() or cell.n_bad > 0,
            margin_fixed=fixed,
        )
        for what, text, values, margin, fixed in rows
    ]
