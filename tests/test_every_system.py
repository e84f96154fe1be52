"""What holds of every system: a second run of the same structure compiles nothing."""

import pytest
from checks import compilations
from systems import SYSTEMS

import jaxscale as js

ONE_OF_A_KIND = {"network", "multilinear on a finite set", "gradient descent", "relu student"}
LIKE_ANOTHER = {"network, float64", "gathered control bits", "least norm, many features"}


@pytest.mark.parametrize(
    "name",
    [
        n if n in ONE_OF_A_KIND else pytest.param(n, marks=pytest.mark.slow)
        for n in SYSTEMS
        if n not in LIKE_ANOTHER
    ],
)
def test_a_second_run_compiles_nothing(name):
    system = SYSTEMS[name]
    first = js.run(js.Grid(system, seeds=[0, 1]), progress=False)
    assert (first["status"] == js.Status.ok).all()
    with compilations() as compiled:
        second = js.run(js.Grid(system, seeds=[1, 2]), progress=False)
        js.run(js.Grid(system, seeds=[1, 2], key=7), progress=False)
    assert not compiled
    assert second.attrs["compile_seconds"] == 0
    assert second.sel(seed=1).equals(first.sel(seed=1))
