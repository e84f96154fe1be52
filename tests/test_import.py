"""A process of its own: importing jaxscale is light, and one device computes what two do."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

import jaxscale as js

GRID = """
from jaxscale.emergence import FiniteSet, MultilinearSkills
system = MultilinearSkills(n_skills=5, n_steps=20, data=FiniteSet(n_samples=30))
grid = js.Grid(system, {"data.n_samples": [10, 30], "learning_rate": [0.1, 1e30]}, seeds=3)
"""
SCRIPT = f"""
import json, sys, jax
before = {{k: str(v) for k, v in jax.config.values.items()}}
import jaxscale as js
after = {{k: str(v) for k, v in jax.config.values.items()}}
changed = {{k: [before.get(k), v] for k, v in after.items() if before.get(k) != v}}
print(json.dumps({{"modules": sorted(sys.modules), "changed": changed, "n": len(before)}}))

import numpy as np
jax.config.update("jax_num_cpu_devices", 1)
{GRID}
assert jax.local_device_count() == 1
np.savez(sys.argv[1], **{{k: v.values for k, v in js.run(grid).items()}})
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    """What the import of jaxscale does to a process, and the runs of its one device."""
    path = tmp_path_factory.mktemp("process") / "one.npz"
    command = [sys.executable, "-c", SCRIPT, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[0]), np.load(path)


def test_import_is_light_and_changes_no_flag(process):
    report, _ = process
    heavy = {"xarray", "zarr", "matplotlib", "pandas", "torch", "dask", "pytest", "rich"}
    assert not heavy & set(report["modules"])
    assert "jaxscale.sweep._execute" in report["modules"]
    assert report["n"] > 20
    assert report["changed"] == {}


def test_one_device_and_two_agree(process):
    _, saved = process
    assert jax.local_device_count() == 2
    scope = {"js": js}
    exec(GRID, scope)
    with pytest.warns(UserWarning, match="6 of 12 runs ended badly"):
        runs = js.run(scope["grid"])
    assert set(saved.files) == set(runs.data_vars)
    np.testing.assert_array_equal(runs["status"], saved["status"])
    for key in saved.files:
        np.testing.assert_allclose(runs[key], saved[key], rtol=1e-6, atol=1e-7)
    assert (saved["status"][:, 1] == js.Status.nonfinite).all()
    assert np.isfinite(saved["loss"][:, 0]).all()
