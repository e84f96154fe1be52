"""The sweep view in a real browser."""

import re
import shutil
import time

import numpy as np
import pytest

import jaxscale as js

pytestmark = pytest.mark.browser
PLACE = """([column, row]) => {
  const find = view => {
    if (view.model.renderers?.some(r => r.data_source?.name == "map")) return view;
    for (const child of view.child_views ?? []) { const v = find(child); if (v) return v; }
  };
  for (const root of Bokeh.index.roots) {
    const plot = find(root);
    if (plot) {
      const area = plot.canvas_view.el.getBoundingClientRect();
      const frame = plot.frame;
      return [area.x + frame.x_scale.compute(column), area.y + frame.y_scale.compute(row)];
    }
  }
}"""


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    network = js.emergence.ParityNetwork(
        n_skills=2, n_bits=6, skill_size=2, width=8, n_steps=300, batch_size=32, n_evaluation=64
    )
    grid = js.Grid(network, axes={"width": [8, 16, 64], "learning_rate": [0.03, 0.1, 0.3]},
                   seeds=5)  # fmt: skip
    path = str(tmp_path_factory.mktemp("sweep") / "parity.zarr")
    js.run(grid, store=path)
    return path


def test_curves_and_map_are_those_of_the_store(visit, explored, store):
    shown = visit(explored(store).url).wait_for("map")
    runs = js.open_store(store)
    mean = runs.loss.isel(learning_rate=-1).mean("seed")
    for k in range(3):
        drawn = np.asarray(shown.column("curves 0", "ys", k), float)
        np.testing.assert_allclose(drawn, mean.isel(width=k).values[1:], rtol=1e-6)
    final = runs.loss.isel(step=-1).mean("seed").values.ravel()
    values = np.asarray(shown.model("map", "Array.from(m.data.value)"))
    np.testing.assert_allclose(values, final, rtol=1e-6)
    assert shown.width() == 1280


def test_a_click_on_the_map_selects_the_run_whose_code_trains_it(visit, explored, store):
    shown = visit(explored(store).url).wait_for("map")
    shown.page.evaluate("newest('map').selected.indices = [5]")  # width 16, learning rate 0.3
    shown.wait_for("run")
    shown.until("() => newest('run').text.includes('width = 16, learning_rate = 0.3')")
    shown.until("() => location.search.includes('point=5')")
    runs = js.open_store(store).isel(width=1, learning_rate=2)

    def check():
        drawn = np.asarray(shown.column("run curves", "ys", 3), float)
        np.testing.assert_allclose(drawn, runs.loss.isel(seed=3).values[1:], rtol=1e-6)

    shown.eventually(check)
    code = shown.model("code of the run", "m.text")
    text = re.sub(r"</?pre>", "", code).replace("&#x27;", "'")
    names = {}
    exec(text, names)
    assert float(names["system"].learning_rate) == 0.3
    assert int(names["system"].width) == 16
    shown.page.reload()
    shown.wait_for("run")
    assert "width = 16, learning_rate = 0.3" in shown.model("run", "m.text")


def test_a_real_click_on_a_cell(visit, explored, store):
    shown = visit(explored(store).url).wait_for("map")
    x, y = _place(shown, 2, 0)
    shown.page.mouse.move(x, y)
    shown.until("() => newest('map').inspected.indices.length == 1")
    shown.page.mouse.click(x, y)
    shown.wait_for("run")
    assert "width = 64, learning_rate = 0.03" in shown.model("run", "m.text")


def _place(shown, column, row):
    """Where a cell of the map is in the window."""
    x, y = shown.page.evaluate(PLACE, [column, row])
    before = None
    while before != (x, y):  # until everything has its size
        before = x, y
        shown.page.wait_for_timeout(400)
        x, y = shown.page.evaluate(PLACE, [column, row])
    shown.page.evaluate("y => window.scrollTo(0, Math.max(0, y - 400))", y)
    return x, y - shown.page.evaluate("window.scrollY")


def test_hover_marks_the_run_everywhere(visit, explored, store):
    shown = visit(explored(store).url).wait_for("parallel")
    x, y = _place(shown, 0, 2)  # width 8, learning rate 0.3: grid point 2
    shown.page.mouse.move(x, y)
    marked = """() => [...Bokeh.documents[0]._all_models.values()]
      .filter(m => m.type == "IndexFilter").map(m => Array.from(m.indices))"""
    shown.until(f"() => ({marked})().filter(rows => rows.length == 1).length == 3")
    rows = shown.page.evaluate(marked)
    assert sorted(rows) == [[0], [2], [2]]  # its curve, its cell, its line across all axes
    shown.page.mouse.move(5, 5)


def test_one_click_calibrates(visit, explored, store):
    address = (
        explored(store).url + "?observable=skill_strength&x=step&color=learning_rate&at.skill=0"
    )
    shown = visit(address).wait_for("theory 0")
    shown.until("() => newest('note').text.includes('not calibrated: time_scale')")
    shown.page.get_by_role("button", name="calibrate theory").click()
    shown.until("() => /calibrated: time_scale = .* to .*95 %/.test(newest('note').text)")
    shown.until("() => location.search.includes('fit.time_scale')")
    fitted = float(re.search(r"fit\.time_scale=([0-9.e+-]+)", shown.page.url)[1])
    system = js.replace(js.select(js.open_store(store), width=64, learning_rate=0.3, seed=0)[0],
                        "time_scale", fitted)  # fmt: skip
    expected = js.predict(js.Grid(system)).skill_strength.isel(skill=0).values

    def check():
        drawn = np.asarray(shown.column("theory 0", "ys", 2), float)
        good = np.isfinite(drawn)
        assert good.any()
        np.testing.assert_allclose(drawn[good], expected[good], rtol=1e-6)

    shown.eventually(check)


def test_a_window_of_the_address_that_is_none_is_said_and_replaced(visit, explored, store):
    shown = visit(explored(store).url + "?window=abc").wait_for("map")
    shown.wait_for_text("status", "`window` must be a number, got &#x27;abc&#x27;")
    shown.set("window of exponents", "30, 200")
    shown.until("() => location.search.includes('window=30%2C200')")


def test_a_label_of_a_dimension_is_a_text(visit, explored):
    grid = js.Grid(js.emergence.MultilinearSkills(n_skills=3, n_steps=20), seeds=2)
    name = "<img src=x onerror=document.title='run'>"
    runs = js.run(grid, progress=False).assign_coords(skill=[name, "b", "c"])
    address = explored(runs).url + "?observable=skill_strength&x=step&color=seed&at.skill=0"
    shown = visit(address).wait_for("curves 0")
    handle = shown.page.get_by_role("slider", name="skill")

    def check():
        assert handle.get_attribute("aria-valuetext") == name

    shown.eventually(check)
    assert shown.page.title() != "run"


def test_roles_and_filters(visit, explored, store):
    shown = visit(explored(store).url).wait_for("map")
    shown.set("x axis", "learning_rate")
    shown.wait_for("points 0")
    shown.until("() => location.search.includes('x=learning_rate')")
    shown.until("() => newest('exponents').text.includes('Lowest loss')")
    shown.set("panel", "width")
    shown.wait_for("curves 2")
    shown.set("runs that count", [], attribute="active")
    shown.wait_for("nothing")
    shown.until("() => location.search.includes('status=none')")
    shown.page.reload()
    shown.wait_for("nothing")
    assert shown.model("runs that count", "m.active.length") == 0


def test_a_sweep_that_runs_is_followed(visit, explored, store, tmp_path):
    path = str(tmp_path / "grows.zarr")
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    js.run(js.Grid(system, axes={"learning_rate": [0.1, 0.2]}, seeds=2), store=path)
    complete = tmp_path / "complete.zarr"
    shutil.copytree(path, complete)
    for mark in sorted((tmp_path / "grows.zarr" / "done" / "c").iterdir())[-1:]:
        mark.unlink()
    shown = visit(explored(path).url).wait_for("note")
    shown.until("() => newest('note').text.includes('not run')")
    time.sleep(0.1)
    shutil.copytree(complete / "done", tmp_path / "grows.zarr" / "done", dirs_exist_ok=True)
    shown.until("() => newest('note').text.includes('4 runs: 4 ok')")


@pytest.mark.parametrize("what", ["empty", "damaged"])
def test_a_store_that_cannot_be_read_says_so(visit, explored, store, tmp_path, what):
    path = tmp_path / "bad.zarr"
    shutil.copytree(store, path)
    if what == "damaged":
        (path / "zarr.json").write_text("{}")
    else:
        shutil.rmtree(path)
        path.mkdir()
    shown = visit(explored(str(path)).url).wait_for("status")
    assert "bad.zarr" in shown.model("status", "m.text")
    assert "is not a jaxscale store" in shown.model("status", "m.text")


@pytest.mark.parametrize(("width", "dark"), [(390, True), (820, False)])
def test_nothing_is_wider_than_the_window(visit, explored, store, width, dark):
    shown = visit(explored(store).url + "?point=3", width=width, dark=dark).wait_for("run")
    assert shown.width() == width


def test_the_list_of_what_there_is(visit, explored, store):
    from pathlib import Path

    shown = visit(explored(Path(store).parent).url).wait_for("status")
    shown.page.get_by_role("link", name="parity.zarr").click()
    shown.wait_for("map")
    other = visit(shown.page.url.partition("?")[0] + "?source=/etc/passwd").wait_for("status")
    assert "is not offered" in other.model("status", "m.text")


def test_boxes_count_the_runs_of_a_store_that_grows(visit, explored, tmp_path):
    path, complete = tmp_path / "grows.zarr", tmp_path / "complete.zarr"
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    grid = js.Grid(system, axes={"learning_rate": [0.1, 0.2, 0.3]}, seeds=2)
    js.run(js.plan(grid, max_runs_per_chunk=2), store=str(path))
    shutil.copytree(path, complete)
    marks = sorted((path / "done" / "c").iterdir())
    assert len(marks) == 3
    for mark in marks[1:]:
        mark.unlink()
    shown = visit(explored(str(path)).url).wait_for("note")
    shown.page.get_by_label("not run (4)").wait_for()
    time.sleep(0.1)
    shutil.copy(complete / "done" / "c" / marks[1].name, path / "done" / "c")
    shown.page.get_by_label("not run (2)").wait_for()
    shown.page.get_by_label("ok (4)").wait_for()
    assert shown.page.get_by_role("checkbox").count() == 2


def test_a_click_brings_the_run_into_view_and_marks_its_cell(visit, explored, store):
    shown = visit(explored(store).url).wait_for("map")
    x, y = _place(shown, 2, 0)
    shown.page.mouse.click(x, y)
    shown.wait_for("run")
    inside = """() => {
      const card = Bokeh.index.find_one(newest("run"))?.el.getBoundingClientRect();
      return card && card.height && card.top >= 0 && card.bottom <= innerHeight;
    }"""
    shown.until(inside)
    place = "[m.data.x[0], m.data.y[0]]"
    shown.eventually(lambda: _equal(shown.model("chosen cell", place), [2, 0]))
    shown.page.reload()
    shown.wait_for("run")
    assert shown.page.evaluate("scrollY") == 0
    shown.eventually(lambda: _equal(shown.model("chosen cell", place), [2, 0]))


def _equal(value, expected):
    assert value == expected


def test_an_axis_of_the_grid_has_ticks_at_its_values(visit, explored, store):
    shown = visit(explored(store).url + "?x=width&color=learning_rate").wait_for("points 0")
    ticks = """() => { for (const m of Bokeh.documents[0]._all_models.values())
      if (m.axis_label == "width" && m.ticker.ticks.length == 3 && m.axis_label_standoff != null
          && m.major_label_overrides.get(64)) return [Array.from(m.ticker.ticks),
          [...m.major_label_overrides.values()]] }"""
    assert shown.page.evaluate(ticks) == [[8, 16, 64], ["8", "16", "64"]]


def test_runs_that_diverged_do_not_distort_the_view(visit, explored, tmp_path):
    network = js.emergence.ParityNetwork(
        n_skills=2, n_bits=6, skill_size=2, width=8, n_steps=60, batch_size=32, n_evaluation=64
    )
    path = str(tmp_path / "diverged.zarr")
    with pytest.warns(UserWarning, match="diverged"):
        js.run(js.Grid(network, axes={"learning_rate": [0.05, 0.2, 50.0, 1e6]}), store=path)
    shown = visit(explored(path).url).wait_for("curves 0")
    labels = shown.model("curves 0", "Array.from(m.data.label)")
    assert labels == ["learning_rate 0.05", "learning_rate 0.2"]
    shown.wait_for_text("note", "2 of 4 curves are not drawn")
    assert "one seed" in shown.model("note", "m.text")
    shown.set("x axis", "learning_rate")
    shown.wait_for("points 0")
    assert shown.model("window of exponents", "m.value") == "0.05, 0.2"
    shown.wait_for_text("exponents", "Lowest loss")  # the table of this axis
    assert "got 0" not in shown.model("exponents", "m.text")


def test_the_handle_of_a_dimension_says_its_value(visit, explored, store):
    shown = visit(explored(store).url).wait_for("learning_rate")
    handle = shown.page.get_by_role("slider", name="learning_rate")
    shown.eventually(lambda: _equal(handle.get_attribute("aria-valuetext"), "0.3"))
    shown.set("learning_rate", 0)
    shown.eventually(lambda: _equal(handle.get_attribute("aria-valuetext"), "0.03"))
