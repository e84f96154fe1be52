"""Long runs that are killed at any moment go on from their last state, bit for bit."""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from server import Server, when

import jaxscale as js
from jaxscale.emergence import FiniteSet, ParityNetwork
from jaxscale.superposition import FreshBatches, TeacherStudent
from jaxscale.sweep._states import States

STRETCH = 0.1  # seconds between two states, of calls that last a fifth of it
KILLS = int(os.environ.get("JAXSCALE_TEST_KILLS", "3"))  # of each system
NETWORK = {"n_skills": 3, "n_bits": 8, "skill_size": 2, "width": 8, "n_evaluation": 32}
SYSTEMS = {
    "network, momentum": ParityNetwork(
        **NETWORK, batch_size=16, n_steps=4_000,
        optimizer=js.Sgd(momentum=0.9), learning_rate=0.01,
    ),
    "network on a set, Adam": ParityNetwork(
        **NETWORK, batch_size=16, n_steps=4_000,
        data=FiniteSet(n_samples=100), optimizer=js.Adam(), learning_rate=0.001,
    ),
    "student on fresh batches": TeacherStudent(
        n_features=16, latent_size=4, frequency_exponent=1.5,
        gradient=FreshBatches(batch_size=16), n_steps=4_000,
    ),
}  # fmt: skip


def _request(folder, name, system):
    grid = js.Grid(system, {"learning_rate": [0.002, 0.01, 3e6]}, seeds=2)
    return {
        "grid": grid.to_dict(), "store": str(folder / name), "log": str(folder / "log"),
        "outcome": str(folder / "outcome"), "stretch_seconds": STRETCH,
    }  # fmt: skip


def _logged(folder):
    """Step that the first chunk went on from, last step on disk, and seconds of calls since."""
    begun, last, calls = [], 0, []
    for line in (folder / "log").read_text().splitlines():
        what, *values = line.split()
        if what == "from":
            begun.append(int(values[0]))
        elif what == "state":
            last, calls = int(values[-1]), []
        else:
            calls.append(float(values[0]))
    return begun, last, calls


@pytest.mark.slow  # trains for seconds, many times
@pytest.mark.parametrize("name", SYSTEMS)
def test_killed_runs_go_on_bit_for_bit(tmp_path, name):
    system, kills, under_way = SYSTEMS[name], 0, 0
    rng = np.random.default_rng(list(SYSTEMS).index(name))
    request = _request(tmp_path, "killed.zarr", system)
    with Server() as server:
        assert server.finish(**_request(tmp_path, "reference.zarr", system)) == 0
        reference = js.open_store(tmp_path / "reference.zarr")
        store, log, code = tmp_path / "killed.zarr", tmp_path / "log", 0
        while kills < KILLS or code != 0:
            if code == 0:  # the runs ended before they were killed: anew
                shutil.rmtree(store, ignore_errors=True)
            log.write_text("")
            (tmp_path / "outcome").unlink(missing_ok=True)
            before = {w: States(store).step(*w) for w in States(store)}
            pid = server.start(**request)
            if kills < KILLS:
                alive = Path(f"/proc/{pid}").exists
                n_lines = int(rng.integers(1, 20))
                when(lambda n=n_lines: log.read_text().count("\n") >= n, alive=alive)
                time.sleep(rng.uniform(0.0, 0.5 * STRETCH))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            code = server.wait()
            assert code in (0, -signal.SIGKILL), (tmp_path / "outcome").read_text()
            kills += code != 0
            begun, last, calls = _logged(tmp_path)
            if before and begun:  # it went on from what was on disk, not from the start
                assert begun[0] == next(iter(before.values())) > 0
            if code != 0:
                assert sum(calls[:-1]) <= STRETCH  # what was lost: at most one stretch
                after = [States(store).step(*w) for w in States(store)]
                under_way += bool(after)
                assert not after or after[0] >= last
        result = js.open_store(store)
    assert under_way >= KILLS // 2  # most were killed in the middle of a run
    for observable in reference:
        np.testing.assert_array_equal(result[observable], reference[observable])
    assert set(np.unique(reference["status"])) & {1, 2}  # one of them went bad
    assert not list(store.rglob("*.npz"))
