"""The rule of a verdict: it says yes of exponents near 1, and no of those that only pass there."""

import numpy as np
import pytest
import xarray

from jaxscale.analysis import Verdict
from jaxscale.papers.atlas._claims import cell_claims
from jaxscale.papers.atlas._verdicts import Kind, controls_passing, judge
from jaxscale.papers.superposition._scores import EXPONENTS

A, B = np.asarray([1.1, 1.5, 2.0]), np.asarray([0.0, 0.5, 1.0])
SEQUENTIAL = (A[:, None] + 2 * B - 1) / A[:, None]  # exponents of K = N
WINDOWS, SEEDS, NOISE = 6, 8, 0.03


def windows_of(each, alone=SEQUENTIAL):
    """What `measure` says of exponents by data (and window), with a little noise over seeds."""
    rng = np.random.default_rng(0)
    shape = (1, 3, 3, WINDOWS)
    each = np.broadcast_to(np.asarray(each, float), shape)
    alone = np.broadcast_to(alone[..., None], shape)
    flat = each.reshape(1, 9, WINDOWS)
    noise = NOISE * rng.normal(size=(2, SEEDS, 1, WINDOWS))
    data = ("rate", *EXPONENTS, "window")
    return xarray.Dataset(
        {
            "exponent": (data, each),
            "clock_exponent": (data, each),
            "control_exponent": (data, alone),
            "was_run": ("rate", [1.0]),
            "mean": (("seed", "rate", "window"), flat.mean(axis=1) + noise[0]),
            "distance": (
                ("seed", "rate", "window"),
                np.abs(flat - 1).mean(axis=1) + np.abs(noise[0]),
            ),
            "spread": (("seed", "rate", "window"), np.ptp(flat, axis=1) + noise[1]),
        }
    )


NEAR_ONE = 1 + 0.1 * (SEQUENTIAL - 1)[..., None]
RISING = np.linspace(0.0, 2.0, WINDOWS)  # the same for all data
LATE_ONLY = np.where(np.arange(WINDOWS) < 3, 0.02, 1.0)
CASES = {
    "about 1": (NEAR_ONE, Kind.one),
    "silent, then 1": (LATE_ONLY, Kind.one),
    "passes through 1": (RISING, Kind.compressed),
    "the law of K = N": (SEQUENTIAL[..., None], Kind.no),
    "half as spread": (1 + 0.5 * (SEQUENTIAL - 1)[..., None], Kind.compressed),
    "small and spread": (0.2 * SEQUENTIAL[..., None], Kind.no),
    "equal, but 1.5": (np.full(WINDOWS, 1.5), Kind.compressed),
    "1 on one window": (
        np.where(np.arange(WINDOWS) == 3, NEAR_ONE, SEQUENTIAL[..., None]),
        Kind.no,
    ),
    "1 for a decade and a half, then its floor": (
        np.where(np.arange(WINDOWS) < 2, 1.0, 0.05),
        Kind.compressed,
    ),
    "1 for two decades, then its floor": (np.where(np.arange(WINDOWS) < 3, 1.0, 0.05), Kind.one),
    "1, then a run without a loss": (np.where(np.arange(WINDOWS) < 2, 1.0, np.nan), Kind.no),
    "never learns": (np.full(WINDOWS, 0.01), Kind.flat),
}


@pytest.mark.parametrize(("each", "kind"), CASES.values(), ids=CASES)
def test_the_rule(each, kind):
    assert judge(windows_of(each)).kind == kind


def test_shares_say_how_often():
    cell = judge(windows_of(CASES["silent, then 1"][0]))
    assert (cell.n_windows, cell.one, cell.near, cell.confirmed) == (3, 1.0, 1.0, 1.0)
    cell = judge(windows_of(RISING))
    assert cell.n_windows == 5
    assert cell.one == pytest.approx(2 / 5)  # 0.8 and 1.2
    cell = judge(windows_of(NEAR_ONE + 0.24))
    assert (cell.one, cell.confirmed) == (1.0, 0.0)  # the interval crosses the bound


def test_the_control_does_not_pass():
    atlas = windows_of(NEAR_ONE).expand_dims(setup=["x"], crowding=[2.0])
    assert controls_passing(atlas) == (0, WINDOWS)
    twice = xarray.concat([atlas, atlas], "setup").assign_coords(setup=["x", "y"])
    assert controls_passing(twice) == (0, WINDOWS)  # one control of two setups
    atlas = windows_of(NEAR_ONE, alone=NEAR_ONE[..., 0]).expand_dims(setup=["x"], crowding=[2.0])
    assert controls_passing(atlas) == (WINDOWS, WINDOWS)  # it could


@pytest.mark.parametrize(
    ("each", "distance", "spread"),
    [
        (NEAR_ONE, Verdict.agrees, Verdict.agrees),
        (RISING, Verdict.disagrees, Verdict.agrees),
        (SEQUENTIAL[..., None], Verdict.disagrees, Verdict.disagrees),
        (np.where(np.arange(WINDOWS) < 4, 1.0, np.nan), Verdict.out_of_range, Verdict.out_of_range),
        (np.full(WINDOWS, 0.01), Verdict.out_of_range, Verdict.out_of_range),
    ],
)
def test_claims_of_a_cell(each, distance, spread):
    claims = cell_claims("adam-tied-common", 2.0, windows_of(each))
    assert [c.id for c in claims] == ["adam-tied-common-2-distance", "adam-tied-common-2-spread"]
    assert [c.verdict for c in claims] == [distance, spread]
