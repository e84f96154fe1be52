"""The sweep view on a page without a browser: what it reads, shows and remembers."""

import dataclasses
import queue
import shutil
import threading
import time
from urllib.parse import parse_qsl

import numpy as np
import pytest

import jaxscale as js

bokeh_document = pytest.importorskip("bokeh.document")
from jaxscale.explorer import _sweep_result, _sweep_view  # noqa: E402
from jaxscale.explorer._page import Page  # noqa: E402
from jaxscale.explorer._sweep_view import SweepView  # noqa: E402

SYSTEM = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)


class Shown:
    """A view whose callbacks run here, one after another."""

    def __init__(self, given, **address):
        self.page = Page(bokeh_document.Document(), address, "sweep")
        self.waiting = queue.Queue()
        self.page.document.add_next_tick_callback = self.waiting.put
        self.page.document.add_periodic_callback = lambda *_: None
        self.view = SweepView(self.page, given)
        self.wait()

    def wait(self):
        view, end = self.view, time.monotonic() + 60
        work = (view._newest, view._theories, view._calibration, view._looks)
        while any(newest.is_busy for newest in work) or not self.waiting.empty():
            assert time.monotonic() < end
            self.waiting.get(timeout=60)()

    def grow(self):
        self.view._looks.ask(self.view.sweep)
        self.wait()

    @property
    def address(self):
        return dict(parse_qsl(self.page._address.text))

    def model(self, name):
        return [m for m in self.page.document.models if m.name == name][-1]


def run(store=None, seeds=2, **axes):
    return js.run(js.Grid(SYSTEM, axes=axes, seeds=seeds), store=store, progress=False)


@pytest.fixture(scope="module")
def runs():
    return run(learning_rate=[0.1, 0.2], target_scale=[1.0, 2.0])


def test_a_click_in_a_panel_shows_the_run_at_its_value(runs):
    runs = runs.isel(target_scale=0)
    address = {"observable": "skill_strength", "color": "learning_rate", "panel": "skill"}
    shown = Shown(runs, **address)
    shown.model("curves 0").selected.indices = [1]
    shown.wait()
    assert "learning_rate = 0.2, target_scale = 1, skill = 1" in shown.model("run").text
    expected = runs.skill_strength.isel(learning_rate=1, skill=0, seed=1)
    drawn = shown.model("run curves").data
    np.testing.assert_array_equal(drawn["ys"][1], expected.sel(step=drawn["xs"][1]))
    assert shown.address["at.skill"] == "0"
    shown.view._set(observable="loss", x="learning_rate", at={"step": 3})
    shown.wait()
    assert f"step = {int(runs.step[3])}<" in shown.model("run").text


def test_the_same_cell_can_be_clicked_after_another_figure(runs):
    shown = Shown(runs)
    for name in ("map", "parallel", "map"):
        shown.view.state = dataclasses.replace(shown.view.state, point=None)
        shown.model(name).selected.indices = [1]
        assert shown.view.state.point == 1


def test_a_store_that_grows_keeps_the_coordinates_that_are_shown(tmp_path):
    path = str(tmp_path / "grows.zarr")
    run(path, seeds=1, learning_rate=[0.1, 0.4], target_scale=[1.0])
    shown = Shown(path, point="1", **{"at.target_scale": "0"})
    assert "learning_rate = 0.4, target_scale = 1<" in shown.model("run").text
    run(path, seeds=1, learning_rate=[0.1, 0.2, 0.4], target_scale=[0.5, 1.0])
    shown.grow()
    assert shown.page.status.text == ""
    assert "learning_rate = 0.4, target_scale = 1<" in shown.model("run").text
    view, sweep = shown.view.state.view, shown.view.sweep
    assert sweep.labels("target_scale")[sweep.at_slider(view, "target_scale")] == "1"
    assert shown.view.state.map_axes == ("learning_rate", "target_scale")
    assert len(shown.model("map").data["value"]) == 6


def test_only_a_window_that_was_typed_is_remembered(runs):
    ends = runs.isel(step=[-1], learning_rate=0, target_scale=0)
    shown = Shown(ends)
    assert shown.view.state.view.x == "seed"
    assert "window" not in shown.address
    assert Shown(ends, **shown.address).page.status.text == ""
    shown = Shown(runs, window="5,15")
    assert shown.address["window"] == "5,15"
    shown.view._set(x="learning_rate")
    assert "window" not in shown.address


@pytest.mark.parametrize(
    "address",
    [{name: text} for name in ("point", "status", "at.step") for text in ("²", "9" * 5000)],
)
def test_numerals_of_an_address_that_are_no_numbers_are_passed_over(runs, address):
    shown = Shown(runs, **address)
    assert shown.page.status.text == ""
    assert shown.view.state.view.statuses is None


@pytest.mark.parametrize(("value", "said"), [("abc", "must be a number"), ("-1", "greater than 0")])
def test_a_calibrated_field_that_is_refused_is_said(value, said):
    network = js.emergence.ParityNetwork(
        n_skills=2, n_bits=6, skill_size=2, width=8, n_steps=20, batch_size=16, n_evaluation=32
    )
    address = {"observable": "skill_strength", "fit.time_scale": value}
    shown = Shown(js.run(js.Grid(network), progress=False), **address)
    assert "time_scale" in shown.page.status.text
    assert said in shown.page.status.text
    assert "not calibrated: time_scale" in shown.model("note").text


def test_cells_are_read_once_and_not_beyond_the_bounds(runs, monkeypatch):
    reads, cells = [], _sweep_result.cells
    monkeypatch.setattr(_sweep_result, "cells", lambda *a: reads.append(a[2]) or cells(*a))
    shown = Shown(runs)
    assert reads == [("learning_rate", "target_scale")]
    assert len(shown.model("parallel").data["value"]) == 4
    monkeypatch.setattr(_sweep_result, "MOST_CELLS", 3)
    monkeypatch.setattr(_sweep_result, "MOST_READ", 10)
    reads.clear()
    assert "too many to read" in Shown(runs).model("note").text
    assert not reads


def test_tables_are_made_by_the_thread_that_reads(runs, monkeypatch):
    threads, tables = set(), _sweep_result.tables

    def made(*given):
        threads.add(threading.current_thread().name)
        return tables(*given)

    monkeypatch.setattr(_sweep_result, "tables", made)
    assert "Exponents in step" in Shown(runs).model("exponents").text
    assert threads
    assert all(name.startswith("jaxscale-explore") for name in threads)


def test_all_runs_stay_on_the_page_when_an_axis_of_their_store_grows(tmp_path):
    path = str(tmp_path / "grows.zarr")
    axes = dict.fromkeys(("learning_rate", "target_scale"), np.linspace(0.1, 1, 10).tolist())
    axes["initial_strength"] = np.linspace(0.01, 0.02, 5).tolist()
    run(path, seeds=1, **axes)
    shown = Shown(path)
    run(path, seeds=1, **{**axes, "initial_strength": [*axes["initial_strength"], 0.05]})
    shown.grow()
    assert shown.page.status.text == ""
    labels = [text.split(", ") for text in shown.model("parallel").data["label"]]
    assert any("initial_strength 0.05" in label for label in labels)


def test_names_on_the_x_axis_are_those_of_a_store_that_has_grown(tmp_path):
    path, schedules = str(tmp_path / "grows.zarr"), [js.Constant(), js.Cosine()]
    run(path, seeds=1, schedule=schedules)
    shown = Shown(path, x="schedule")
    run(path, seeds=1, schedule=[schedules[0], js.LinearDecay(), schedules[1]])
    shown.grow()
    (figure,) = shown.view.curves.children[0].children
    names = figure.xaxis.major_label_overrides
    assert [names[i].partition("(")[0] for i in range(3)] == ["Constant", "LinearDecay", "Cosine"]


def test_bands_appear_when_seeds_are_added_to_a_store(tmp_path):
    path = str(tmp_path / "grows.zarr")
    run(path, seeds=1, learning_rate=[0.1, 0.2])
    shown = Shown(path)
    run(path, seeds=3, learning_rate=[0.1, 0.2])
    shown.grow()
    assert shown.model("bands 0").data["xs"]


def test_a_click_before_a_store_that_has_grown_is_drawn_shows_the_run_that_was_drawn(tmp_path):
    path = str(tmp_path / "grows.zarr")
    run(path, seeds=1, learning_rate=[0.1, 0.4], target_scale=[1.0, 2.0])
    shown = Shown(path)
    run(path, seeds=1, learning_rate=[0.05, 0.1, 0.4], target_scale=[0.5, 1.0, 2.0])
    shown.view._follow(shown.view.sweep.newer())
    shown.model("map").selected.indices = [2]
    for _ in range(2):
        assert "learning_rate = 0.4, target_scale = 1<" in shown.model("run").text
        shown.wait()
    cells, chosen = shown.model("map").data, shown.model("chosen cell").data
    assert [cells["first"][cells["x"] == chosen["x"]][0], chosen["y"][0]] == ["0.4", 1]


def test_a_store_that_was_replaced_by_one_of_another_system_is_shown_from_its_first_view(tmp_path):
    path = tmp_path / "replaced.zarr"
    run(str(path), learning_rate=[0.1, 0.2])
    shown = Shown(str(path), observable="skill_loss", panel="skill", point="1")
    shutil.rmtree(path)
    other = js.streaming.StreamingRegression(n_features=8, n_steps=20)
    js.run(js.Grid(other), store=str(path), progress=False)
    shown.grow()
    assert shown.page.status.text == ""
    assert shown.address["observable"] == "loss"
    assert not shown.view.card.children


@pytest.mark.parametrize("window", ["5,5.000001", "0.123456789,1234567.5", "1e-07,20"])
def test_a_window_that_was_typed_keeps_all_digits_in_the_address(runs, window):
    shown = Shown(runs, window=window)
    assert shown.address["window"] == window
    assert Shown(runs, **shown.address).view.state.window == shown.view.state.window
    assert shown.model("window of exponents").value == window.replace(",", ", ")


def test_the_window_of_exponents_follows_the_runs_of_a_store(tmp_path):
    path, complete = tmp_path / "grows.zarr", tmp_path / "complete.zarr"
    grid = js.Grid(SYSTEM, axes={"learning_rate": [0.01, 0.1, 0.2]}, seeds=2)
    js.run(js.plan(grid, max_runs_per_chunk=2), store=str(path), progress=False)
    shutil.copytree(path, complete)
    marks = sorted((path / "done" / "c").iterdir())
    for mark in marks[1:]:
        mark.unlink()
    shown = Shown(str(path), x="learning_rate")
    field = shown.model("window of exponents")
    assert field.value == "0.001, 0.01"
    shutil.copy(complete / "done" / "c" / marks[1].name, path / "done" / "c")
    shown.grow()
    assert shown.model("window of exponents") is field
    assert field.value == "0.01, 0.1"
    assert shown.view.state.window is None


def test_what_was_said_of_an_address_ends_with_it(runs):
    shown = Shown(runs, point="99")
    assert "no grid point 99" in shown.page.status.text
    shown.model("map").selected.indices = [1]
    assert shown.page.status.text == ""
    shown = Shown(runs, window="abc")
    assert "`window`" in shown.page.status.text
    shown.view._set(x="learning_rate")
    shown.wait()
    assert shown.page.status.text == ""


@pytest.fixture
def calibrations(monkeypatch):
    """Outcomes of calibrations, which wait for them."""
    outcomes = queue.Queue()

    def calibrated(*_):
        outcome = outcomes.get(timeout=60)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(_sweep_view, "calibrated", calibrated)
    return outcomes


def drawn(shown, **changed):
    """Another view of a page that is drawn, while it calibrates."""
    shown.view._set(**changed)
    while shown.view._newest.is_busy or shown.view._theories.is_busy:
        shown.waiting.get(timeout=60)()


def test_a_calibration_is_said_while_it_runs_and_noted_with_its_fit(runs, calibrations):
    shown = Shown(runs)
    shown.view._calibrate()
    drawn(shown, x="learning_rate")
    assert "calibrating" in shown.page.status.text
    before = shown.view._result
    calibrations.put(({}, "fitted to 8 runs"))
    shown.wait()
    assert shown.page.status.text == ""
    assert "fitted to 8 runs" in shown.model("note").text
    shown.view._shown(before)
    assert "fitted to" not in shown.model("note").text


def test_an_error_of_a_calibration_is_said_for_its_observable_alone(runs, calibrations):
    shown = Shown(runs)
    shown.view._calibrate()
    calibrations.put(ValueError("too few runs"))
    shown.wait()
    assert "too few runs" in shown.page.status.text
    shown.view._calibrate()
    drawn(shown, observable="skill_loss")
    calibrations.put(ValueError("too few runs"))
    shown.wait()
    assert shown.page.status.text == ""


def test_one_finite_value_is_not_said_to_be_none(runs):
    shown = Shown(runs.isel(step=[-1], learning_rate=0, target_scale=0, seed=[0]))
    assert shown.view.state.view.x == "seed"
    assert "too few values" in shown.model("nothing").text
    shown.view._filtered([], list(shown.view.sweep.status_counts))
    shown.wait()
    assert "No run that counts" in shown.model("nothing").text


def test_the_last_values_of_a_run_are_listed_with_their_place(runs):
    shown = Shown(runs, observable="skill_strength", x="skill", point="1")
    value = float(runs.skill_strength[0, 1].isel(seed=0, step=-1, skill=2))
    table = shown.view.card.children[1].children[-1].text
    assert "<th>skill</th><th>skill_strength</th>" in table
    assert f"<td class=n>3</td><td class=n>{value:.5g}</td>" in table
