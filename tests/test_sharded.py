"""One device or two: the same results."""

import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxscale as js

GRIDS = """
from jaxscale.emergence import FiniteSet, MultilinearSkills, ParityNetwork
small = MultilinearSkills(n_skills=5, n_steps=20, data=FiniteSet(n_samples=30))
network = ParityNetwork(
    n_skills=2, n_bits=6, skill_size=2, batch_size=32, n_steps=5, n_evaluation=64
)
grids = {
    "small": js.Grid(small, {"learning_rate": [0.1, 0.5, 1e30]}, seeds=3),
    "network": js.Grid(network, {"width": [3, 8]}, seeds=2),
}
"""
SCRIPT = f"""
import sys
import jax
import numpy as np
jax.config.update("jax_num_cpu_devices", 1)
import jaxscale as js
{GRIDS}
assert jax.local_device_count() == 1
for name, grid in grids.items():
    runs = js.run(grid)
    np.savez(f"{{sys.argv[1]}}/{{name}}.npz", **{{k: v.values for k, v in runs.items()}})
"""


@pytest.fixture(scope="module")
def one_device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("name", ["small", "network"])
def test_one_device_and_two_agree(one_device, name):
    assert jax.local_device_count() == 2
    scope = {"js": js}
    exec(GRIDS, scope)
    runs, saved = js.run(scope["grids"][name]), np.load(one_device / f"{name}.npz")
    assert set(saved.files) == set(runs.data_vars)
    np.testing.assert_array_equal(runs["status"], saved["status"])
    for key in saved.files:
        np.testing.assert_allclose(runs[key], saved[key], rtol=1e-6, atol=1e-7)
    assert np.isfinite(saved["loss"]).sum() > 0
