"""`python -m benchmarks gpu`: every section works, rows are on disk at once, the clock counts."""

import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow  # not about the package
SECTIONS = (
    "device", "grid", "run S", "groups", "agreement", "regression", "small runs", "stretches",
    "other systems", "grid in TF32",
)  # fmt: skip


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import gpu

    return gpu


@pytest.mark.parametrize("name", SECTIONS[:-1])
def test_every_section_works(gpu, monkeypatch, name):
    """The last one is the second with other products, which `run S` has, too."""
    listed = SimpleNamespace(of_this_process=lambda: gpu.TARGETS["h200"])
    monkeypatch.setattr(gpu, "Target", listed)  # fractions of the limits of a device in the table
    assert set(SECTIONS) == set(gpu.SECTIONS) == {n for _, names in gpu.SCHEDULE for n in names}
    rows = list(gpu.SECTIONS[name](True))
    assert rows or name == "stretches"
    for row in rows:
        numbers = [value for value in row.values() if not isinstance(value, str)]
        assert numbers
        assert all(math.isfinite(value) and value >= 0 for value in numbers)
        assert ("of_bandwidth" in row) == ("kernels_per_step" in row)


def test_the_clock_stops_it_and_rows_are_on_disk(gpu, monkeypatch, tmp_path):
    """The second process is killed before it has measured anything."""
    from benchmarks import __main__ as benchmarks

    schedule = ((gpu.DEVICE, ("device",)), (gpu.CORES, ("regression",)))
    monkeypatch.setattr(gpu, "SCHEDULE", schedule)
    clock = iter([0.0, 0.0, 59.5])  # of which the first process may have 60 seconds
    monkeypatch.setattr(gpu, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    options = ["--minutes", "1", "--tiny", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "gpu", *options])
    benchmarks.main()
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert report["tiny"]
    assert [row["section"] for row in report["rows"]] == ["device"]
    assert "error" not in report["rows"][0]
    assert report["not_measured"] == ["regression on the cores of the host"]
    table = (tmp_path / "gpu.md").read_text()
    assert table.startswith("**device**")
    assert report["not_measured"][0] in table


def test_a_machine_without_an_accelerator_is_refused(gpu, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    monkeypatch.delenv("JAX_PLATFORMS")  # by which the host's own processes are told apart
    with pytest.raises(SystemExit, match="JAX has no accelerator here; --tiny"):
        gpu.work(["device"], False)
    monkeypatch.setattr(gpu, "rows_within", lambda *_: iter(()))
    with pytest.raises(SystemExit, match="nothing was measured"):
        gpu.main(["--out", str(tmp_path)])


def test_an_error_costs_its_section_only(gpu, monkeypatch, capfd):
    def fails(tiny):
        yield {"case": "one", "seconds": 1.0}
        raise RuntimeError("no memory")

    for name in ("grid", "run S"):
        monkeypatch.setitem(gpu.SECTIONS, name, fails)
    stdout = sys.stdout
    gpu.work(["grid", "run S"], True)
    monkeypatch.setattr(sys, "stdout", stdout)
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [row["section"] for row in rows] == ["grid", "grid", "run S", "run S"]
    assert rows[3] == {"section": "run S", "finished": True, "error": "RuntimeError: no memory"}


def test_the_table_compares_the_device_with_the_cores(gpu):
    ridge = {"section": "regression", "case": "ridge", "where": "H200", "seconds": 0.5}
    report = {"rows": [ridge, ridge | {"where": "16 cores", "seconds": 1.0}], "not_measured": []}
    assert "| ridge | 0.5 | 1 | 2 |" in gpu.table_gpu.gpu(report)
