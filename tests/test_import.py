"""Importing jaxscale is light and changes no setting of jax."""

import json
import subprocess
import sys

SCRIPT = """
import json, sys, jax
before = {k: str(v) for k, v in jax.config.values.items()}
import jaxscale
after = {k: str(v) for k, v in jax.config.values.items()}
changed = {k: [before.get(k), v] for k, v in after.items() if before.get(k) != v}
print(json.dumps({"modules": sorted(sys.modules), "changed": changed, "n": len(before)}))
"""


def test_import_is_light_and_changes_no_flag():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = json.loads(done.stdout)
    heavy = {"xarray", "zarr", "matplotlib", "pandas", "torch", "dask", "pytest", "rich"}
    assert not heavy & set(report["modules"])
    assert "jaxscale.sweep._execute" in report["modules"]
    assert report["n"] > 20
    assert report["changed"] == {}
