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


def compare(shown, system):
    """The curve of the loss is that of `predict`."""
    drawn = np.asarray(shown.column("claimed loss", "ys"), float)
    np.testing.assert_allclose(drawn[1:], js.predict(js.Grid(system)).loss[1:], rtol=1e-6)


@pytest.mark.parametrize("name", MOVED)
def test_a_slider_moves_a_curve_to_the_value_of_predict(visit, explored, name):
    path, observable = MOVED[name]
    system = EXAMPLES[name]()
    shown = visit(explored(system).url).wait_for(path)
    knob = knob_of(system, path)
    shown.wait_for(f"claimed {observable}")
    before = shown.column(f"claimed {observable}", "ys")
    shown.set(path, 150)
    moved = js.replace(system, path, knob.value(150))

    def check():
        x, y, dashed = (
            np.asarray(shown.column(f"{claim} {observable}", column), float)
            for claim, column in (("claimed", "xs"), ("claimed", "ys"), ("not claimed", "ys"))
        )
        if name.startswith("sparse"):
            with jax.enable_x64(True):
                sizes = [int(v) for v in x]
                expected = js.predict(js.Grid(moved, axes={"n_features": sizes}))[observable].values
            assert np.isnan(y).any()  # no claim next to the threshold: dashed
        else:
            curve = js.predict(js.Grid(moved))[observable].squeeze()
            expected = curve.values if curve.ndim == 1 else curve.isel(skill=0).values
            assert y.tolist() != before
        drawn = np.where(np.isnan(y), dashed, y)
        np.testing.assert_allclose(drawn[x > 0], np.asarray(expected)[x > 0], rtol=1e-6)

    shown.eventually(check)
    shown.until("() => location.search.includes('set.')")


def test_reload_and_another_window_restore_the_state(visit, explored):
    url = explored(js.emergence.MultilinearSkills()).url
    shown = visit(url).wait_for("learning_rate")
    shown.set("learning_rate", 200)
    shown.set("reference slopes", "-0.5")
    shown.until(
        "() => location.search.includes('learning_rate') && location.search.includes('slopes')"
    )
    address = shown.page.url
    moved = js.emergence.MultilinearSkills(
        learning_rate=knob_of(js.emergence.MultilinearSkills(), "learning_rate").value(200)
    )
    shown.eventually(lambda: compare(shown, moved))
    curve = shown.column("claimed loss", "ys")
    shown.page.reload()
    shown.wait_for("learning_rate")
    assert shown.column("claimed loss", "ys") == curve
    assert shown.model("learning_rate", "m.value") == pytest.approx(200, abs=0.1)
    assert shown.model("reference slopes", "m.value") == "-0.5"
    other = visit(address).wait_for("learning_rate")
    assert other.column("claimed loss", "ys") == curve


def test_two_users_do_not_disturb_each_other_and_a_tab_closes_cleanly(visit, explored):
    url = explored(js.emergence.MultilinearSkills()).url
    one, two = (visit(url).wait_for("learning_rate") for _ in range(2))
    curve = one.column("claimed loss", "ys")
    two.wait_for("claimed loss").set("learning_rate", 30)
    changed = "curve => newest('claimed loss').data.ys[0].at(-1) != curve.at(-1)"
    two.until(changed, curve)
    two.until("() => location.search.includes('learning_rate')")
    assert one.column("claimed loss", "ys") == curve
    two.context.close()
    one.set("learning_rate", 200)
    one.until(changed, curve)


def test_another_part_is_another_theory(visit, explored):
    shown = visit(explored("RandomFeatureRegression").url).wait_for("solver")
    shown.set("solver", "Ridge")
    shown.wait_for("solver.strength")
    shown.until("() => location.search.includes('set.solver=Ridge')")
    shown.set("solver", "GradientDescent")  # of which theory knows no loss with linear features
    shown.until("() => location.search.includes('set.solver=GradientDescent')")
    shown.until("() => newest('controls').children.every(c => c.name != 'solver.strength')")


def test_what_a_field_refuses_is_said_and_the_page_goes_on(visit, explored):
    shown = visit(explored("MultilinearSkills").url).wait_for("learning_rate")
    curve = shown.column("claimed loss", "ys")
    shown.set("learning_rate =", "-1")
    shown.until("() => newest('status').text.includes('greater than 0')")
    assert shown.column("claimed loss", "ys") == curve
    shown.until("() => newest('learning_rate =').value == '0.1'")
    shown.until("() => newest('learning_rate').value == 120")
    for path, text in (("n_skills", "1.5"), ("learning_rate =", "0,01"), ("n_steps", "nan")):
        shown.set(path, text)
        shown.until("text => newest('status').text.includes(text)", f"got &#x27;{text}&#x27;")
    shown.set("n_skills", "1e1")
    shown.until("() => location.search.includes('n_skills=1e1')")
    shown.set("learning_rate =", "0.4")
    shown.until("() => !newest('status').text.includes('greater')")
    shown.until("() => location.search.includes('learning_rate=0.4')")


@pytest.mark.parametrize(
    ("asked", "message"),
    [("set.learning_rate=-3", "greater than 0"), ("set.learning_rate=abc", "must be a number")],
)
def test_what_an_address_asks_in_vain_is_said(visit, explored, asked, message):
    shown = visit(f"{explored('MultilinearSkills').url}?{asked}").wait_for("claimed loss")
    shown.until("message => newest('status').text.includes(message)", message)


@pytest.mark.parametrize(("width", "dark"), [(390, True), (820, False), (1280, True)])
def test_nothing_is_wider_than_the_window(visit, explored, width, dark):
    shown = visit(explored("MultilinearSkills").url, width=width, dark=dark).wait_for("code")
    assert shown.width() == width
    colors = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, colors[4:-1].split(","))) < 200) == dark


def test_keys_move_a_slider(visit, explored):
    shown = visit(explored("MultilinearSkills").url).wait_for("learning_rate")
    handle = shown.page.get_by_role("slider", name="learning_rate")
    handle.focus()
    before = handle.get_attribute("aria-valuenow")
    shown.page.keyboard.press("ArrowRight")
    shown.until("() => location.search.includes('set.learning_rate')")
    assert handle.get_attribute("aria-valuenow") != before


def test_the_python_is_copied_and_files_are_handed_out(visit, explored):
    shown = visit(explored("MultilinearSkills").url).wait_for("copy as Python")
    shown.set("learning_rate", 180)
    shown.until("() => newest('code').text.includes('learning_rate=')")
    shown.page.get_by_role("button", name="copy as Python").click()
    shown.until("() => navigator.clipboard.readText().then(t => t.includes('js.predict'))")
    code = shown.page.evaluate("navigator.clipboard.readText()")
    names = {}
    exec(code, names)
    copied = np.asarray(names["theory"].loss).ravel()[1:]

    def check():
        drawn = np.asarray(shown.column("claimed loss", "ys"), float)[1:]
        np.testing.assert_allclose(drawn, copied, rtol=1e-9)

    shown.eventually(check)
    for kind, start in (("SVG", b"<?xml"), ("PNG", b"\x89PNG"), ("CSV", b"step,")):
        with shown.page.expect_download() as download:
            shown.page.get_by_role("button", name=kind).click()
        with open(download.value.path(), "rb") as file:
            assert file.read(len(start)) == start, kind


def test_what_a_browser_sends_is_never_run(visit, explored, tmp_path):
    mark, shown = tmp_path / "run", visit(explored("MultilinearSkills").url).wait_for("CSV")
    shown.set("code", f"import pathlib; pathlib.Path({str(mark)!r}).touch()", attribute="text")
    with shown.page.expect_download() as download:
        shown.page.get_by_role("button", name="CSV").click()
    assert download.value.path()
    assert not mark.exists()
    address = shown.page.url.partition("?")[0]
    script = "<script>document.title='changed'</script>"
    other = visit(f"{address}?source={script}&log=x',1)&x=nosuch&set.nosuch=3").wait_for("status")
    assert "changed" not in other.page.title()
    assert "log='x'" not in other.model("status", "m.text")


def test_a_slider_that_moves_while_a_shape_compiles_is_followed(visit, explored):
    shown = visit(explored(js.emergence.MultilinearSkills()).url).wait_for("n_skills")
    shown.wait_for("learning_rate =")
    shown.page.evaluate(
        "() => { newest('n_skills').value = '40'; newest('learning_rate =').value = '0.01' }"
    )
    shown.until("() => location.search.includes('n_skills=40')")
    system = js.emergence.MultilinearSkills(n_skills=40, learning_rate=0.01)
    shown.eventually(lambda: compare(shown, system))


def test_hundreds_of_moves_leave_memory_flat(visit, explored):
    shown = visit(explored("MultilinearSkills").url).wait_for("learning_rate")
    script = """async n => {
      const bar = newest('learning_rate');
      for (let i = 0; i < n; i++) {
        bar.value = 40 + (i * 37) % 160;
        await new Promise(r => setTimeout(r, 4));
      }
      await new Promise(r => setTimeout(r, 1500));
      return Bokeh.documents[0]._all_models.size;
    }"""
    inspector, counts = shown.context.new_cdp_session(shown.page), []
    for n in (50, 50, 200):  # the last is measured; those before it fill what is filled once
        n_models = shown.page.evaluate(script, n)
        inspector.send("HeapProfiler.collectGarbage")  # else garbage counts
        counts.append((n_models, inspector.send("Runtime.getHeapUsage")["usedSize"]))
    assert counts[1][0] == counts[2][0], json.dumps(counts)
    assert counts[2][1] < counts[1][1] + 6e6, json.dumps(counts)


def test_handles_say_the_value_and_not_their_place(visit, explored):
    shown = visit(explored("MultilinearSkills").url).wait_for("learning_rate")
    handle = shown.page.get_by_role("slider", name="learning_rate")
    bubble = handle.locator(".noUi-tooltip")
    knob = knob_of(js.emergence.MultilinearSkills(), "learning_rate")
    said = "aria-valuetext"

    def says(value):
        assert float(handle.get_attribute(said)) == value
        assert float(bubble.text_content()) == value

    shown.set("learning_rate", 150)
    shown.until("text => newest('learning_rate =').value == text", f"{knob.value(150):.12g}")
    shown.eventually(lambda: says(knob.value(150)))
    shown.set("learning_rate =", "0.4321")  # between two places of the slider
    shown.eventually(lambda: says(0.4321))


def test_the_copy_button_says_that_it_copied(visit, explored):
    shown = visit(explored("MultilinearSkills").url).wait_for("copy as Python")
    shown.page.get_by_role("button", name="copy as Python").click()
    shown.page.get_by_role("button", name="copied").wait_for()
    shown.page.get_by_role("button", name="copy as Python").wait_for()


def test_the_x_axis_that_was_asked_for_returns(visit, explored):
    shown = visit(explored("MultilinearSkills").url).wait_for("n_steps")
    assert shown.model("x axis", "m.value") == "step"
    shown.set("n_steps", "1")
    shown.until("() => newest('x axis').value != 'step'")
    shown.until("() => newest('status').text.includes('no curve can be drawn over step')")
    shown.until("() => location.search.includes('x=step')")
    shown.set("n_steps", "100")
    shown.until("() => newest('x axis').value == 'step'")
    shown.until("() => !newest('status').text")


def test_the_arrow_of_a_list_is_light_in_dark(visit, explored):
    for dark, color in ((False, "%23222"), (True, "%23e4e4e4")):
        shown = visit(explored("MultilinearSkills").url, dark=dark).wait_for("x axis")
        axis = shown.page.get_by_label("x axis")
        arrow = axis.evaluate("e => getComputedStyle(e).backgroundImage")
        assert color in arrow


def test_a_wide_table_scrolls_and_shows_that_it_does(visit, explored):
    shown = visit(explored("MultilinearSkills").url, width=390).wait_for("code")
    table = shown.page.locator(".scroll").last
    assert table.evaluate("e => e.scrollWidth > e.clientWidth")
    assert "local" in table.evaluate("e => getComputedStyle(e).backgroundAttachment")
    table.evaluate("e => { e.scrollLeft = 1e4 }")
    last = table.locator("th").last.bounding_box()
    assert last["x"] + last["width"] <= 390
