"""Sliders, choices and shapes of every system, and the Python that makes it again."""

import equinox as eqx
import numpy as np
import pytest
from systems import SYSTEMS

import jaxscale as js
from jaxscale.explorer._knobs import (
    POSITIONS,
    choices_in,
    chosen,
    knob_of,
    leaf_paths,
    number_of,
    shapes_in,
)
from jaxscale.explorer._python import imports_of, python_of
from jaxscale.explorer._sources import example_systems, source_of
from jaxscale.paths import get, replace

EXAMPLES = example_systems()


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_slider_stands_at_the_value_of_its_field_and_takes_both_ends(name):
    system = SYSTEMS[name]
    for path in leaf_paths(system):
        knob, value = knob_of(system, path), float(get(system, path))
        assert knob.low <= value <= knob.high, path
        assert 0 <= knob.position(value) <= POSITIONS
        places = [knob.position(knob.value(p)) for p in (0, 80, POSITIONS)]
        slack = 30 if knob.is_integer else 1e-2 * POSITIONS
        np.testing.assert_allclose(places, [0, 80, POSITIONS], atol=slack, err_msg=path)
        assert knob.spaced(5)[0] == pytest.approx(knob.low)
        if knob.is_integer:
            assert all(float(v).is_integer() for v in knob.spaced(5))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_values_of_sliders_are_values_of_the_fields(name):
    system, refused = EXAMPLES[name](), []
    for path in leaf_paths(system):
        knob = knob_of(system, path)
        for position in (0.25 * POSITIONS, 0.5 * POSITIONS):
            try:
                replace(system, path, knob.value(position))
            except ValueError as error:
                refused.append(str(error))
    # one field may bound another, which the page then says
    assert all("must be a multiple of n_heads" in r or "greater than low" in r for r in refused)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_python_of_a_system_makes_it_again(name):
    system = SYSTEMS[name]
    names = {"np": np, "js": js}
    assert imports_of(system)[-1] == "import jaxscale as js"
    assert js.Grid(eval(python_of(system), names)).to_dict() == js.Grid(system).to_dict()
    assert len(python_of(system)) <= len(repr(system))  # defaults are left out


def test_every_choice_can_be_made():
    for system in (SYSTEMS["least norm, few features"], SYSTEMS["multilinear"]):
        listed = choices_in(system)
        assert listed
        for choice in listed:
            assert choice.value in choice.options
            for option in choice.options:
                other = chosen(system, choice.path, option)
                assert option in (type(get(other, choice.path)).__name__, get(other, choice.path))
    with pytest.raises(ValueError, match="`solver` has no option 'Adam'"):
        chosen(SYSTEMS["least norm, few features"], "solver", "Adam")


def test_a_part_of_the_system_itself_is_an_option_with_its_numbers():
    system = js.replace(
        SYSTEMS["least norm, few features"], "solver", js.sparse.Ridge(strength=3.0)
    )
    other = chosen(system, "solver", "MinNorm", system)
    assert float(chosen(other, "solver", "Ridge", system).solver.strength) == 3


class Cube(eqx.Module):
    """A module of the user's own."""

    def __call__(self, x):
        return x**3


class Refuses(eqx.Module):
    """A module that no page may make."""

    def __init__(self):
        raise RuntimeError


def test_a_module_that_is_not_ours_is_written_and_no_choice():
    features = js.sparse.Elementwise(module=Cube())
    system = js.replace(SYSTEMS["least norm, few features"], "features", features)
    assert "features.module" not in [choice.path for choice in choices_in(system)]
    names = {}
    exec("\n".join([*imports_of(system), f"system = {python_of(system)}"]), names)
    assert names["system"].features.module == Cube()


def test_dictionaries_are_written():
    optimizer = js.Optax("adamw", weight_decay=1e-4)
    assert python_of(optimizer) == (
        "js.Optax(factory='adamw', hyperparameters={'weight_decay': 0.0001})"
    )


def test_shapes_are_the_whole_numbers_that_need_another_program():
    shapes = {s.path: (s.value, s.low) for s in shapes_in(SYSTEMS["multilinear"])}
    assert shapes["n_steps"] == (500, 1)
    assert "dtype" not in shapes
    assert "learning_rate" not in shapes


def test_what_is_no_number_is_refused_by_name():
    assert number_of("width", "1e3") == 1000
    with pytest.raises(ValueError, match="`width` must be a number, got 'wide'"):
        number_of("width", "wide")


def test_sources(tmp_path):
    grid = js.Grid(SYSTEMS["multilinear"])
    assert source_of(None).kind == "start"
    assert source_of(grid).kind == source_of(grid.system).kind == "theory"
    assert source_of("MultilinearSkills").thing == js.emergence.MultilinearSkills()
    assert source_of("emergence_time").kind == "theory"
    assert source_of(js.run(grid)).kind == "sweep"
    js.run(grid, store=str(tmp_path / "one.zarr"))
    assert source_of(str(tmp_path / "one.zarr")).kind == "sweep"
    assert source_of(tmp_path).kind == "start"  # a folder of stores
    table = tmp_path / "runs.csv"
    table.write_text("params,loss\n1,2\n")
    assert source_of(table).kind == "fit"


@pytest.mark.parametrize(
    "name", ["runs.csv.gz", "runs.ndjson", "RUNS.CSV", "noending", "runs.parquet", "a.csv.XZ"]
)
def test_files_that_calibrate_reads_are_tables(name, tmp_path):
    (tmp_path / name).touch()
    source = source_of(tmp_path / name)
    assert (source.kind, source.name, source.thing) == ("fit", name, str(tmp_path / name))
    folder = source_of(tmp_path) if name != "noending" else None
    assert folder is None or (folder.kind, folder.thing) == ("start", tmp_path)


def test_a_folder_hides_a_preset_only_if_it_holds_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("emergence_time", "MultilinearSkills"):
        (tmp_path / name).mkdir()
        assert source_of(name).kind == "theory"
    with pytest.raises(ValueError, match=r"emergence_time holds no store and no table"):
        source_of("./emergence_time")
    js.run(js.Grid(SYSTEMS["multilinear"]), store="emergence_time")
    assert source_of("emergence_time").kind == "sweep"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("MultilinearSkils", "did you mean"),
        ("nothere.csv", "`source` nothere.csv does not exist"),
        ("nothere.zarr", "does not exist"),
        ("notes.txtt", "`source` notes.txtt does not exist; did you mean `notes.txt`"),
        (3, "`runs_or_grid` must be"),
    ],
)
def test_what_cannot_be_explored_is_refused(given, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match=message):
        source_of(given)
