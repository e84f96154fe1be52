"""The theory view in a real browser."""

import json

import jax
import numpy as np
import pytest

import jaxscale as js
from jaxscale.explorer._knobs import knob_of
from jaxscale.explorer._sources import example_systems

pytestmark = pytest.mark.browser
EXAMPLES = example_systems()
MOVED = {  # of each system: a slider, and an observable
    "emergence.MultilinearSkills": ("skill_exponent", "loss"),
    "emergence.ParityNetwork": ("time_scale", "skill_strength"),
    "sparse.RandomFeatureRegression": ("spectrum_exponent", "loss"),
    "superposition.TeacherStudent": ("frequency_exponent", "loss"),
}


@pytest.mark.parametrize("name", MOVED)
def test_a_slider_moves_a_curve_to_the_value_of_predict(visit, explored, name):
    path, observable = MOVED[name]
    system = EXAMPLES[name]()
    seen = visit(explored(system).url).wait_for(path)
    knob = knob_of(system, path)
    before = seen.column(f"claimed {observable}", "ys")
    seen.page.wait_for_timeout(1500)  # until curves along a field are filled in
    seen.set(path, 150)
    seen.until("() => location.search.includes('set.')")
    seen.page.wait_for_timeout(1500)
    moved = js.replace(system, path, knob.value(150))
    x = np.asarray(seen.column(f"claimed {observable}", "xs"), float)
    y = np.asarray(seen.column(f"claimed {observable}", "ys"), float)
    dashed = np.asarray(seen.column(f"not claimed {observable}", "ys"), float)
    shown = np.where(np.isnan(y), dashed, y)
    if name.startswith("sparse"):
        with jax.enable_x64(True):
            whole = [int(v) for v in x]
            expected = js.predict(js.Grid(moved, axes={"n_features": whole}))[observable].values
        assert np.isnan(y).any()  # no claim next to the threshold: dashed
    else:
        curve = js.predict(js.Grid(moved))[observable].squeeze()
        expected = curve.values if curve.ndim == 1 else curve.isel(skill=0).values
        assert y.tolist() != before
    np.testing.assert_allclose(shown[x > 0], np.asarray(expected)[x > 0], rtol=1e-6)


def test_reload_and_another_window_restore_the_state(visit, explored):
    url = explored(js.emergence.MultilinearSkills()).url
    seen = visit(url).wait_for("learning_rate")
    seen.set("learning_rate", 200)
    seen.set("reference slopes", "-0.5")
    seen.until(
        "() => location.search.includes('learning_rate') && location.search.includes('slopes')"
    )
    address = seen.page.url
    curve = seen.column("claimed loss", "ys")
    seen.page.reload()
    seen.wait_for("learning_rate")
    assert seen.column("claimed loss", "ys") == curve
    assert seen.model("learning_rate", "m.value") == pytest.approx(200, abs=0.1)
    assert seen.model("reference slopes", "m.value") == "-0.5"
    other = visit(address).wait_for("learning_rate")
    assert other.column("claimed loss", "ys") == curve


def test_two_users_do_not_disturb_each_other_and_a_tab_closes_cleanly(visit, explored):
    url = explored(js.emergence.MultilinearSkills()).url
    one, two = (visit(url).wait_for("learning_rate") for _ in range(2))
    curve = one.column("claimed loss", "ys")
    two.set("learning_rate", 30)
    two.until("() => location.search.includes('learning_rate')")
    assert one.column("claimed loss", "ys") == curve
    assert two.column("claimed loss", "ys") != curve
    two.context.close()
    one.set("learning_rate", 200)
    one.until("() => location.search.includes('learning_rate')")
    assert one.column("claimed loss", "ys") != curve


def test_another_part_is_another_theory(visit, explored):
    seen = visit(explored("RandomFeatureRegression").url).wait_for("solver")
    seen.set("solver", "Ridge")
    seen.wait_for("solver.strength")
    seen.until("() => location.search.includes('set.solver=Ridge')")
    seen.set("solver", "GradientDescent")  # of which theory knows no loss with linear features
    seen.until("() => Bokeh.documents[0].get_model_by_name('claimed loss') === null")


def test_what_a_field_refuses_is_said_and_the_page_goes_on(visit, explored):
    seen = visit(explored("MultilinearSkills").url).wait_for("learning_rate")
    curve = seen.column("claimed loss", "ys")
    seen.set("learning_rate =", -1)
    seen.until(
        "() => Bokeh.documents[0].get_model_by_name('status').text.includes('greater than 0')"
    )
    assert seen.column("claimed loss", "ys") == curve
    seen.set("learning_rate =", 0.4)
    seen.until("() => !Bokeh.documents[0].get_model_by_name('status').text.includes('greater')")
    seen.until("() => location.search.includes('learning_rate=0.4')")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 820, 1280])
def test_nothing_is_wider_than_the_window(visit, explored, width, dark):
    seen = visit(explored("MultilinearSkills").url, width=width, dark=dark).wait_for("code")
    assert seen.width() == width
    colors = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, colors[4:-1].split(","))) < 200) == dark


def test_keys_move_a_slider(visit, explored):
    seen = visit(explored("MultilinearSkills").url).wait_for("learning_rate")
    handle = seen.page.get_by_role("slider").first
    handle.focus()
    before = handle.get_attribute("aria-valuenow")
    seen.page.keyboard.press("ArrowRight")
    seen.until("() => location.search.includes('set.')")
    assert seen.page.get_by_role("slider").first.get_attribute("aria-valuenow") != before


def test_the_python_is_copied_and_files_are_handed_out(visit, explored):
    seen = visit(explored("MultilinearSkills").url).wait_for("copy as Python")
    seen.set("learning_rate", 180)
    seen.until("() => Bokeh.documents[0].get_model_by_name('code').text.includes('learning_rate=')")
    seen.page.get_by_role("button", name="copy as Python").click()
    seen.until("() => navigator.clipboard.readText().then(t => t.includes('js.predict'))")
    code = seen.page.evaluate("navigator.clipboard.readText()")
    names = {}
    exec(code, names)
    drawn = np.asarray(names["theory"].loss).ravel()[1:]
    shown = np.asarray(seen.column("claimed loss", "ys"), float)[1:]
    np.testing.assert_allclose(shown, drawn, rtol=1e-9)
    for kind, start in (("SVG", b"<?xml"), ("PNG", b"\x89PNG"), ("CSV", b"step,")):
        with seen.page.expect_download() as download:
            seen.page.get_by_role("button", name=kind).click()
        with open(download.value.path(), "rb") as file:
            assert file.read(len(start)) == start, kind


def test_a_thousand_moves_leave_memory_flat(visit, explored):
    seen = visit(explored("MultilinearSkills").url).wait_for("learning_rate")
    script = """async n => {
      const bar = Bokeh.documents[0].get_model_by_name('learning_rate');
      for (let i = 0; i < n; i++) {
        bar.value = 40 + (i * 37) % 160;
        await new Promise(r => setTimeout(r, 4));
      }
      await new Promise(r => setTimeout(r, 1500));
      return [Bokeh.documents[0]._all_models.size, performance.memory.usedJSHeapSize];
    }"""
    counts = [seen.page.evaluate(script, 500) for _ in range(3)]
    assert counts[1][0] == counts[2][0], json.dumps(counts)  # models
    assert counts[2][1] < counts[1][1] + 2e7
