"""One device or two: the same results."""

import subprocess
import sys

import jax
import numpy as np

import jaxscale as js

GRID = """
from jaxscale.emergence import FiniteSet, MultilinearSkills
system = MultilinearSkills(n_skills=5, n_steps=20, data=FiniteSet(n_samples=30))
grid = js.Grid(system, {"data.n_samples": [10, 30], "learning_rate": [0.1, 1e30]}, seeds=3)
"""
SCRIPT = f"""
import sys
import jax
import numpy as np
jax.config.update("jax_num_cpu_devices", 1)
import jaxscale as js
{GRID}
assert jax.local_device_count() == 1
np.savez(sys.argv[1], **{{k: v.values for k, v in js.run(grid).items()}})
"""


def test_one_device_and_two_agree(tmp_path):
    path = tmp_path / "one.npz"
    subprocess.run([sys.executable, "-c", SCRIPT, str(path)], check=True, capture_output=True)
    assert jax.local_device_count() == 2
    scope = {"js": js}
    exec(GRID, scope)
    runs, saved = js.run(scope["grid"]), np.load(path)
    assert set(saved.files) == set(runs.data_vars)
    np.testing.assert_array_equal(runs["status"], saved["status"])
    for key in saved.files:
        np.testing.assert_allclose(runs[key], saved[key], rtol=1e-6, atol=1e-7)
    assert (saved["status"][:, 1] == js.Status.nonfinite).all()
    assert np.isfinite(saved["loss"][:, 0]).all()
