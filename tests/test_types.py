"""What a type checker says of calls of constructors: it knows their fields, ours and the users'."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CALLS = """
import numpy as np
import jaxscale as js
from jaxscale.fields import Real, real

class Mine(js.emergence.MultilinearSkills):
    rate: Real = real(0.1)

js.emergence.MultilinearSkills(nskills=3)  # error
js.emergence.ParityNetwork(width="wide")  # error
js.Sgd(momentun=0.9)  # error
Mine(rte=0.2)  # error
Mine(rate=0.2).rte  # error
skills = js.emergence.MultilinearSkills(n_skills=3, learning_rate=0.1, record=[0, 10])
js.emergence.ParityNetwork(width=np.int64(8), data=js.emergence.FiniteSet(n_samples=300))
js.superposition.TeacherStudent(embedding=js.superposition.Given(matrix=np.eye(3)))
js.Grid(Mine(rate=0.2), {"rate": [0.1]})
float(skills.learning_rate) + skills.n_skills + Mine().rate
"""


@pytest.mark.slow
def test_pyright_reads_constructors_from_fields(tmp_path):
    pytest.importorskip("pyright")
    path = tmp_path / "calls.py"
    path.write_text(CALLS)
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([*command, path], cwd=root, capture_output=True, text=True)
    refused = {
        error["range"]["start"]["line"]
        for error in json.loads(done.stdout)["generalDiagnostics"]
        if error["severity"] == "error"
    }
    assert refused == {i for i, line in enumerate(CALLS.splitlines()) if "# error" in line}
