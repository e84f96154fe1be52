"""On an accelerator: the same results as on the CPU, at the stated precision."""

import equinox as eqx
import jax
import numpy as np
import pytest

import jaxscale as js

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(jax.default_backend() == "cpu", reason="no accelerator on this machine"),
]

SYSTEMS = {
    "network": js.emergence.ParityNetwork(
        width=16, n_steps=200, batch_size=64, n_evaluation=256, record=[0, 200]
    ),
    "gather": js.emergence.ParityNetwork(
        n_skills=20, n_bits=60, width=16, n_steps=100, batch_size=64, n_evaluation=64,
        record=[0, 100],
    ),
    "multilinear": js.emergence.MultilinearSkills(n_steps=500),
    "sampled": js.emergence.MultilinearSkills(
        n_steps=500, data=js.emergence.FiniteSet(n_samples=300)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_run_equals_the_cpu(name):
    system, key = SYSTEMS[name], jax.random.key(0)
    with jax.default_matmul_precision("highest"):
        here = eqx.filter_jit(system.simulate)(key)
        with jax.default_device(jax.devices("cpu")[0]):
            there = eqx.filter_jit(system.simulate)(key)
    for observable, value in there.items():
        scale = max(float(np.abs(np.asarray(value)).max()), 1.0)
        np.testing.assert_allclose(here[observable], value, atol=2e-4 * scale, rtol=0)


def test_a_sweep_uses_every_device():
    grid = js.Grid(SYSTEMS["multilinear"], axes={"skill_exponent": [0.3, 0.6, 0.9]}, seeds=16)
    runs, theory = js.run(grid, progress=False), js.predict(grid)
    assert runs.attrs["device"].startswith(f"{jax.local_device_count()} x")
    assert float(abs(runs["loss"] - theory["loss"]).max()) < 0.02
