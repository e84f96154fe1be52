"""What files of others may make jaxscale do: hostile stores, sweep files, tables and labels.

`docs/security.md` says what holds; each of its promises has a test here.
"""

import gzip
import json
import pickle
import shutil
import sys
import zipfile

import numpy as np
import pandas
import pytest
import xarray
import zarr
from rich.console import Console

import jaxscale as js
from jaxscale._table import Table
from jaxscale.report._page import Section, write_page
from jaxscale.report._save import save
from jaxscale.sweep._layout import CHECKSUM, checksum

GRID = js.Grid(js.emergence.MultilinearSkills(n_skills=3, n_steps=20), seeds=2)
EVIL = "raise SystemExit('it was imported')\n"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "runs.zarr"
    js.run(GRID, store=path)
    return path


@pytest.fixture
def store(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "runs.zarr")


def _with_grid(store, change):
    """Rewrite the grid that the header of a store holds."""
    grid = json.loads(str(zarr.open_group(store, mode="r").attrs["grid"]))
    change(grid)
    _with_text(store, json.dumps(grid))


def _with_text(store, text):
    """Write a grid into the header of a store, with the checksum that belongs to it."""
    root = zarr.open_group(store, mode="r+")
    attributes = {**root.attrs.asdict(), "grid": text}
    root.update_attributes({**attributes, CHECKSUM: checksum(attributes)})


class _Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize(
    "type_", ["subprocess:Popen", "builtins:exec", "equinox.nn:MLP", "xarray:Dataset", "os:system"]
)
def test_a_store_makes_nothing_but_systems_and_their_parts(store, type_, monkeypatch):
    called = []
    monkeypatch.setattr("subprocess.Popen.__init__", lambda *a, **k: called.append(a))
    size = {"in_size": 1, "out_size": 1, "width_size": 1, "depth": 1, "args": "true"}
    for change in (
        lambda grid: grid.update(system=type_, fields={}),
        lambda grid: grid["fields"].update(schedule={"type": type_, **size}),
        lambda grid: grid["axes"].update(schedule=[{"type": type_, **size}]),
    ):
        _with_grid(store, change)
        with pytest.raises(ValueError, match="no readable grid"):
            js.open_store(store)
    assert not called


@pytest.mark.parametrize("type_", ["equinox.nn:MLP", "equinox.nn:Lambda", "xarray:Dataset"])
def test_an_activation_of_a_store_is_built_from_numbers(type_):
    size = {"in_size": 1, "out_size": 1, "width_size": 1, "depth": 1, "fn": "exec"}
    fields = {k: v for k, v in size.items() if (k == "fn") == (type_ == "equinox.nn:Lambda")}
    module = {"type": type_, **fields}
    system = js.sparse.RandomFeatureRegression(
        n_features=3, n_samples=9, spectrum_exponent=1.0, sparsity_exponent=2.0
    )
    grid = js.Grid(system).to_dict()
    grid["fields"]["features"] = {"type": "Elementwise", "module": module}
    with pytest.raises(ValueError, match=r"has no class|must be"):
        js.Grid.from_dict(grid)


@pytest.mark.parametrize(
    "factory", ["os:abort", "sys:exit", "sys:breakpointhook", "builtins:dict", "posix:abort"]
)
def test_a_store_calls_no_function_of_python(store, factory):
    sgd = js.emergence.ParityNetwork(n_steps=5, optimizer=js.Optax("sgd"))
    grid = js.Grid(sgd).to_dict()
    grid["fields"]["optimizer"]["factory"] = factory
    with pytest.raises(ValueError, match="must make an optax transformation"):
        js.Grid.from_dict(grid)
    _with_grid(store, lambda own: own.update(grid))
    with pytest.raises(ValueError, match="no readable grid"):
        js.open_store(store)
    with pytest.raises(ValueError, match="must name a function of optax"):
        js.Optax("a_module_that_is_not_imported:chain")


def test_a_store_imports_nothing(store, tmp_path, monkeypatch):
    (tmp_path / "evil_module.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    _with_grid(store, lambda grid: grid.update(system="evil_module:Model", fields={}))
    shell = r"\(in a shell, --import evil_module\)\.$"
    with pytest.raises(ValueError, match=rf"no readable grid: `type` 'evil_.* first {shell}"):
        js.open_store(store)
    assert "evil_module" not in sys.modules


def test_a_sweep_file_imports_the_module_that_it_names(tmp_path):
    """It is a program, as the site says: it runs what it names."""
    (tmp_path / "named_module.py").write_text("raise RuntimeError('it was imported')\n")
    (tmp_path / "sweep.toml").write_text('system = "named_module:Model"\n')
    with pytest.raises(ValueError, match="it was imported"):
        js.Grid.from_toml(str(tmp_path / "sweep.toml"))


@pytest.mark.parametrize("slot", ["compressor", "filters"])
def test_a_store_unpickles_nothing(sound, tmp_path, slot):
    """The second format of Zarr may name pickle for its arrays."""
    path, touched = tmp_path / "old.zarr", tmp_path / "touched"
    (path / "run_id").mkdir(parents=True)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    attributes = zarr.open_group(sound, mode="r").attrs.asdict()
    (path / ".zattrs").write_text(json.dumps(attributes))
    codec = {"id": "pickle", "protocol": 4}
    header = {"zarr_format": 2, "shape": [2], "chunks": [2], "dtype": "<i8", "fill_value": 0,
              "order": "C", "compressor": None, "filters": None}  # fmt: skip
    header[slot] = codec if slot == "compressor" else [codec]
    (path / "run_id" / ".zarray").write_text(json.dumps(header))
    (path / "run_id" / "0").write_bytes(pickle.dumps([_Touch(touched), "|O", [2]]))
    with pytest.raises(ValueError, match="is not a jaxscale store"):
        js.open_store(path)
    assert not touched.exists()


def test_states_unpickle_nothing_and_are_not_unpacked(tmp_path):
    path, touched = tmp_path / "states.zarr", tmp_path / "touched"
    js.run(js.plan(GRID, keep_states=True), store=path)
    (file,) = path.rglob("*.npz")
    untouched = file.read_bytes()
    with np.load(file) as arrays:
        parts = dict(arrays)
    with zipfile.ZipFile(file, "a") as opened:
        opened.writestr("leaf x.npy", _pickled_array(_Touch(touched)))
    with pytest.raises(ValueError, match="damaged state"):
        js.open_state(path, seed=0)
    assert not touched.exists()
    np.savez_compressed(file, **parts)
    with pytest.raises(ValueError, match="its parts are compressed"):
        js.open_state(path, seed=0)
    file.write_bytes(untouched)
    assert js.open_state(path, seed=0)[0] == 20


def _pickled_array(value):
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (63 - (10 + len(header)) % 64) + b"\n"
    size = len(header).to_bytes(2, "little")
    return b"\x93NUMPY\x01\x00" + size + header + pickle.dumps(np.array([value], object))


def test_headers_that_claim_much_take_no_memory(store):
    header = store / "run_id" / "zarr.json"
    claims = json.loads(header.read_text())
    claims["shape"] = [10**14]
    header.write_text(json.dumps(claims))
    with pytest.raises(ValueError, match=r"its header says that it has 8e\+14 bytes"):
        js.open_store(store)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seeds": 10**12}, "`seeds` must be at most 1e8"),
        ({"axes": {"learning_rate": {"geom": [1, 2, 10**12]}}}, "n from 1 to 1e8"),
        ({"axes": {"learning_rate": {"lin": [1, 2, 10**12]}}}, "n from 1 to 1e8"),
        ({"axes": {"__class__": [1]}}, "is not a field"),
        ({"axes": {"data.__class__.__init__": [1]}}, "is not a field"),
        ({"axes": {"../../etc": [1]}}, "is not a field"),
    ],
)
def test_grids_that_claim_much_or_reach_out_are_refused(change, why):
    with pytest.raises(ValueError, match=why):
        js.Grid.from_dict({**GRID.to_dict(), **change})


@pytest.mark.parametrize("record", [{"log": 10**12}, {"every": 1}])
def test_records_that_claim_much_are_refused(record):
    table = GRID.to_dict()
    table["fields"] |= {"n_steps": 10**12, "record": record}
    with pytest.raises(ValueError, match="`record` must make at most 1e8 steps"):
        js.Grid.from_dict(table)


def test_nested_headers_are_refused(store):
    _with_text(store, "[" * 100_000 + "]" * 100_000)
    with pytest.raises(ValueError, match="no readable grid"):
        js.open_store(store)


def test_a_table_comes_from_a_file_only():
    for address in ("http://127.0.0.1:9/runs.csv", "s3://bucket/runs.csv", "file:///etc/passwd"):
        with pytest.raises(ValueError, match="does not exist"):
            js.calibrate(js.forms.power_law, address)


def test_a_packed_table_is_unpacked_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxscale.analysis._table_file.host_memory", lambda: 10**6)
    file = tmp_path / "runs.csv.gz"
    with gzip.open(file, "wt") as opened:
        opened.write("x,loss\n" + 10**6 * "1,2\n")
    assert file.stat().st_size < 10**5
    with pytest.raises(ValueError, match=r"has more than 1e\+05 characters"):
        js.calibrate(js.forms.power_law, file)


def test_links_inside_a_store_are_not_written_through(store, tmp_path):
    """A folder of a variable that is a link would send results elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    for link in (store / "loss", store / "skill_loss" / "c"):
        shutil.move(link, elsewhere)
        before = {file: file.stat().st_mtime_ns for file in elsewhere.rglob("*")}
        link.symlink_to(elsewhere, target_is_directory=True)
        assert js.open_store(store).sizes["seed"] == 2
        marks = shutil.move(store / "done" / "c", tmp_path / "marks")  # so that all runs are due
        with pytest.raises(ValueError, match=f"has a link, {link.name}: nothing was written"):
            js.run(GRID, store=store)
        shutil.move(marks, store / "done" / "c")
        assert {file: file.stat().st_mtime_ns for file in elsewhere.rglob("*")} == before
        link.unlink()
        shutil.move(elsewhere, link)


HOSTILE = ["<script>alert(1)</script>", "=HYPERLINK(1)", r"$\frac{$", "\x1b]0;title\x07", "{{7*7}}"]


def test_labels_are_text_on_pages_in_figures_and_in_tables(tmp_path):
    values = np.linspace(2.0, 1.0, 5)[:, None] * np.ones(len(HOSTILE))
    runs = xarray.Dataset(
        {"loss": (("step", "label"), values)},
        coords={"step": [1, 10, 100, 1000, 10000], "label": HOSTILE},
    )
    svg, _ = save(js.plot(runs), tmp_path, "figure")
    assert "<script" not in svg.read_text()
    rows = pandas.read_csv(tmp_path / "figure.csv", dtype=str, keep_default_na=False)
    texts = rows[["panel", "x_axis", "y_axis", "series"]].to_numpy().ravel()
    assert any("HYPERLINK" in text for text in texts)
    assert not any(text.startswith("=") for text in texts)
    table = Table("", "", ["label", "n"], [(label, "1") for label in HOSTILE])
    section = Section("system", "Title", "", [], [(svg, HOSTILE[0])], [table], {}, 1.0)
    write_page(tmp_path / "report.html", HOSTILE[0], [section])
    page = (tmp_path / "report.html").read_text()
    assert "<script>alert" not in page
    assert "{{7*7}}" in page  # a template would have made 49 of it
    console = Console(width=80, force_terminal=True, color_system=None, record=True)
    with console.capture() as captured:
        console.print(table)
    assert "\x1b]" not in captured.get()
    assert "\x07" not in captured.get()
