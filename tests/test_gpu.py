"""On an accelerator: the same results as on the CPU, at the stated precision.

`pytest -m gpu`, in one process (`conftest.py` sees to it). Without an accelerator all of it is
skipped, unless `JAXSCALE_DEVICE_TIER=cpu` runs it on the CPU, which shows that the tests work.
"""

import json
import os
import signal
import subprocess
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from checks import assert_close
from kinds import KINDS
from systems import SYSTEMS

import jaxscale as js

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        jax.default_backend() == "cpu" and os.environ.get("JAXSCALE_DEVICE_TIER") != "cpu",
        reason="no accelerator on this machine",
    ),
]

EVERY = SYSTEMS | KINDS
TOLERANCE = {"float32": 2e-4, "float64": 1e-9}  # of an observable's largest value on the CPU
SOLVED = 1e-7  # the same, where a factorisation multiplies rounding by its condition number


def tolerance_of(system):
    solved = isinstance(system, js.sparse.RandomFeatureRegression)
    return SOLVED if solved else TOLERANCE[system.dtype]


def on_the_cpu(function, *arguments):
    with jax.default_device(jax.devices("cpu")[0]):
        return function(*arguments)


@pytest.mark.parametrize("name", EVERY)
def test_a_run_equals_the_cpu(name):
    system = EVERY[name]
    with jax.enable_x64(system.dtype == "float64"), jax.default_matmul_precision("highest"):
        simulate = eqx.filter_jit(lambda key: system.simulate(key))
        actual = simulate(jr.key(0))
        expected = on_the_cpu(simulate, jr.key(0))
        assert_close(actual, expected, tolerance_of(system))


def in_float64(state):
    def leaf(x):
        return x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x

    return jax.tree.map(leaf, state)


def trained(system, state):
    """Observables after 100 steps from `state`; the draws of a step depend on no precision."""
    keys = jr.split(jr.key(1), 100)
    return system.observe(jax.lax.scan(lambda s, k: (system.step(s, k), None), state, keys)[0])


@pytest.mark.parametrize("name", ["network", "network on a finite set", "relu student"])
def test_float32_equals_float64_on_the_cpu(name):
    system = EVERY[name]
    state = eqx.filter_jit(lambda system: system.init(jr.key(0)))(system)
    actual = eqx.filter_jit(trained)(system, state)
    exact = js.replace(system, "dtype", "float64")
    with jax.enable_x64(True):
        wide = jax.device_put(in_float64(state), jax.devices("cpu")[0])
        assert_close(actual, on_the_cpu(eqx.filter_jit(trained), exact, wide), 2e-4)


WITH_THEORY = [  # a system for every closed form
    "network", "two drops on a finite set", "random skills, Adam by optax, cosine", "multilinear",
    "multilinear on a finite set", "least norm, few features", "least norm, many features",
    "ridge", "gradient descent", "tabulated spectrum, features of one's own", "given embedding",
]  # fmt: skip


@pytest.mark.parametrize("name", WITH_THEORY)
def test_theory_equals_the_cpu(name):
    grid = js.Grid(EVERY[name])
    actual, expected = js.predict(grid), on_the_cpu(js.predict, grid)
    assert_close(
        {n: v.values for n, v in actual.items()}, {n: v.values for n, v in expected.items()}, 1e-9
    )


def test_a_sweep_uses_every_device():
    grid = js.Grid(SYSTEMS["multilinear"], axes={"skill_exponent": [0.3, 0.6, 0.9]}, seeds=16)
    runs, theory = js.run(grid, progress=False), js.predict(grid)
    assert runs.attrs["device"].startswith(f"{jax.local_device_count()} x")
    assert float(abs(runs["loss"] - theory["loss"]).max()) < 0.02


@pytest.mark.parametrize(
    "name", ["network", "least norm, few features", "least norm, many features", "relu student"]
)
def test_a_sweep_equals_single_runs(name):
    grid = js.Grid(SYSTEMS[name], seeds=5)
    runs = js.run(grid, progress=False)
    system, key = js.select(runs, seed=3)
    with jax.enable_x64(system.dtype == "float64"), jax.default_matmul_precision("float32"):
        alone = eqx.filter_jit(lambda key: system.simulate(key))(key)
    swept = {n: runs[n].sel(seed=3).values.squeeze() for n in alone}
    alone = {n: np.asarray(v).squeeze() for n, v in alone.items()}
    assert_close(swept, alone, tolerance_of(system))


@pytest.mark.parametrize("name", ["network", "student on fresh batches"])
def test_large_groups_equal_groups_of_one(name):
    grid = js.Grid(SYSTEMS[name], seeds=8 * jax.local_device_count())
    together, apart = js.plan(grid), js.plan(grid, max_runs_per_chunk=1)
    assert together.buckets[0].group > apart.buckets[0].group == 1
    together, apart = (js.run(plan, progress=False) for plan in (together, apart))
    assert_close(together.data_vars, apart.data_vars, tolerance_of(SYSTEMS[name]))


@pytest.mark.parametrize("name", ["network", "multilinear on a finite set"])
def test_runs_that_diverge_harm_nobody(name):
    rates = [0.01, 0.03, 0.02]
    good = js.run(js.Grid(SYSTEMS[name], {"learning_rate": rates}, seeds=3), progress=False)
    rates[1] = 1e30
    with pytest.warns(UserWarning, match="3 of 9 runs ended badly"):
        runs = js.run(js.Grid(SYSTEMS[name], {"learning_rate": rates}, seeds=3), progress=False)
    assert (good["status"] == js.Status.ok).all()
    assert (runs["status"].isel(learning_rate=1) != js.Status.ok).all()
    for variable in runs.data_vars:
        neighbours = runs[variable].isel(learning_rate=[0, 2])
        np.testing.assert_array_equal(neighbours, good[variable].isel(learning_rate=[0, 2]))


# processes that are killed, of systems without sums whose order a GPU leaves open (scattered ones)

SCRIPT = """
import json, sys
import jax
import jaxscale as js

jax.config.update("jax_num_cpu_devices", 2)
given = json.loads(sys.argv[1])
plan = js.plan(js.Grid.from_dict(given["grid"]), **given["options"])
js.run(plan, store=given["store"], progress=False)
"""


def killed(options, grid, path, first, pause):
    """Run a sweep in a process of its own, and kill it `pause` seconds after `first` holds."""
    given = {"grid": grid.to_dict(), "options": options, "store": str(path)}
    folder = jax.config.jax_compilation_cache_dir  # the same program to the last bit, as a user has
    environment = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "true"} | (
        {"JAX_COMPILATION_CACHE_DIR": folder} if folder else {}
    )
    environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    command = [sys.executable, "-c", SCRIPT, json.dumps(given)]
    process = subprocess.Popen(command, env=environment)
    while process.poll() is None and not first():
        time.sleep(0.01)
    time.sleep(pause)
    process.kill()
    assert process.wait() == -signal.SIGKILL


STRETCHES = {"checkpoint_seconds": 0.2}  # several in what the tests train
alone_on_the_device = pytest.mark.skipif(
    jax.default_backend() == "tpu", reason="a TPU serves one process at a time"
)


@alone_on_the_device
def test_a_killed_sweep_continues(tmp_path):
    grid, options = js.Grid(SYSTEMS["relu student"], seeds=128), {"max_runs_per_chunk": 2}
    uninterrupted = js.run(js.plan(grid, **options), progress=False)
    path, pause = tmp_path / "a.zarr", np.random.default_rng().uniform(0.0, 0.2)
    killed(options, grid, path, lambda: any(path.glob("status/c/*")), pause)
    n_done = int((js.open_store(path)["status"] >= 0).sum())
    assert 0 < n_done < grid.n_runs
    continued = js.run(js.plan(grid, **options), store=path, progress=False)
    assert continued.equals(uninterrupted)


@alone_on_the_device
def test_a_killed_run_continues_in_the_middle(tmp_path):
    system = js.replace(SYSTEMS["network on a finite set"], "n_steps", 100_000)
    grid = js.Grid(js.replace(system, "record", [0, 100_000]), seeds=2)
    uninterrupted = js.run(js.plan(grid, **STRETCHES), store=tmp_path / "a.zarr", progress=False)
    path, pause = tmp_path / "b.zarr", np.random.default_rng().uniform(0.0, 0.5)
    killed(STRETCHES, grid, path, lambda: any(path.rglob("*.npz")), pause)  # a state is on disk
    assert (js.open_store(path)["status"] < 0).all()
    continued = js.run(js.plan(grid, **STRETCHES), store=path, progress=False)
    assert continued.equals(uninterrupted)


def test_stretches_change_nothing(tmp_path):
    n_steps = 500_000 if jax.default_backend() == "cpu" else 100_000  # seconds on either
    system = js.replace(SYSTEMS["multilinear on a finite set"], "n_steps", n_steps)
    grid = js.Grid(system, seeds=4)
    cut = js.run(js.plan(grid, **STRETCHES), store=tmp_path / "a.zarr", progress=False)
    uncut = js.run(js.plan(grid, checkpoint_seconds=1e6), progress=False)
    assert_close(cut.data_vars, uncut.data_vars, tolerance_of(system))
