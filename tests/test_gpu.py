"""On an accelerator: the same results as on the CPU, at the stated precision.

`pytest -m gpu -n 0`: one process, so that only one takes the memory of the accelerator.
"""

import equinox as eqx
import jax
import numpy as np
import pytest
from checks import assert_close
from systems import SYSTEMS

import jaxscale as js

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() == "cpu", reason="no accelerator on this machine"),
]

TOLERANCE = {"float32": 2e-4, "float64": 1e-9}  # of an observable's largest value on the CPU
SOLVED = 1e-7  # the same, where a factorisation multiplies rounding by its condition number


def on_the_cpu(function, *arguments):
    with jax.default_device(jax.devices("cpu")[0]):
        return function(*arguments)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_run_equals_the_cpu(name):
    system = SYSTEMS[name]
    solved = isinstance(system, js.sparse.RandomFeatureRegression)
    tolerance = SOLVED if solved else TOLERANCE[system.dtype]
    with jax.enable_x64(system.dtype == "float64"), jax.default_matmul_precision("highest"):
        simulate = eqx.filter_jit(lambda key: system.simulate(key))
        actual = simulate(jax.random.key(0))
        expected = on_the_cpu(simulate, jax.random.key(0))
        assert_close(actual, expected, tolerance)


WITH_THEORY = [n for n in SYSTEMS if "student" not in n and n != "relu features"]


@pytest.mark.parametrize("name", WITH_THEORY)
def test_theory_equals_the_cpu(name):
    grid = js.Grid(SYSTEMS[name])
    actual, expected = js.predict(grid), on_the_cpu(js.predict, grid)
    assert_close(
        {n: v.values for n, v in actual.items()}, {n: v.values for n, v in expected.items()}, 1e-9
    )


def test_a_sweep_uses_every_device():
    grid = js.Grid(SYSTEMS["multilinear"], axes={"skill_exponent": [0.3, 0.6, 0.9]}, seeds=16)
    runs, theory = js.run(grid, progress=False), js.predict(grid)
    assert runs.attrs["device"].startswith(f"{jax.local_device_count()} x")
    assert float(abs(runs["loss"] - theory["loss"]).max()) < 0.02


@pytest.mark.parametrize("name", ["network", "least norm, few features", "relu student"])
def test_a_sweep_equals_single_runs(name):
    grid = js.Grid(SYSTEMS[name], seeds=5)
    runs = js.run(grid, progress=False)
    system, key = js.select(runs, seed=3)
    with jax.enable_x64(system.dtype == "float64"), jax.default_matmul_precision("float32"):
        alone = eqx.filter_jit(lambda key: system.simulate(key))(key)
    solved = isinstance(system, js.sparse.RandomFeatureRegression)
    swept = {n: runs[n].sel(seed=3).values.squeeze() for n in alone}
    alone = {n: np.asarray(v).squeeze() for n, v in alone.items()}
    assert_close(swept, alone, SOLVED if solved else TOLERANCE[system.dtype])


def test_a_killed_sweep_continues(tmp_path):
    grid = js.Grid(SYSTEMS["relu student"], seeds=8)
    plan = js.plan(grid, max_runs_per_chunk=2)
    uninterrupted = js.run(plan, progress=False)
    js.run(js.Grid(SYSTEMS["relu student"], seeds=4), store=tmp_path / "s.zarr", progress=False)
    continued = js.run(grid, store=tmp_path / "s.zarr", progress=False)
    for name in ("loss", "feature_strength"):
        scale = float(abs(uninterrupted[name]).max())
        np.testing.assert_allclose(continued[name], uninterrupted[name], atol=2e-4 * scale, rtol=0)
