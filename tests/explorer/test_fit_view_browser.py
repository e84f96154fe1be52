"""The fit view in a real browser."""

import functools
import re
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas
import pytest

import jaxscale as js

pytestmark = pytest.mark.browser
PUBLISHED = Path(__file__).parents[2] / "examples" / "chinchilla_runs.csv"
COLUMNS = {"n_parameters": "params", "n_tokens": "tokens"}


def compare(opened, expected):
    """The marked allocation is the one expected."""
    drawn = opened.model("allocation", "Array.from(m.data.best, Number)")
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)


def fills(opened, width):
    """The page is as wide as its window: Bokeh lays it out again a moment after a change."""
    assert opened.width() == width


@pytest.fixture
def one_variable(tmp_path):
    """Runs of one size each in two families, with which fits are quick."""
    rng = np.random.default_rng(0)
    x = np.geomspace(1e6, 1e9, 30)
    loss = (1.7 + 400 * x**-0.34) * np.exp(0.01 * rng.standard_normal(30))
    return pandas.DataFrame({"size": x, "loss": loss, "family": np.tile(["a", "b"], 15)})


def test_the_best_size_is_that_of_allocate_and_a_slider_moves_it(visit, explored):
    opened = visit(explored(str(PUBLISHED)).url + "?compute=1e22").wait_for("parameters")
    fit = js.calibrate(js.forms.chinchilla, str(PUBLISHED), columns=COLUMNS)
    for compute in (1e22, 5.88e23):
        opened.set("compute =", f"{compute:g}")
        best = js.analysis.allocate(fit, compute)
        expected = [float(best.best[n]) for n in ("n_parameters", "n_tokens")]
        opened.eventually(functools.partial(compare, opened, expected))
        opened.until("c => location.search.includes(`compute=${c}`)", f"{compute!r}".split("+")[0])
    opened.set("compute", 60)
    opened.until("best => newest('allocation').data.best[0] < best", expected[0])
    assert "95 %" in opened.model("best", "m.text")
    opened.set("compute =", "much")
    opened.wait_for_text("status", "must be a number, got")


def test_another_form_is_another_table_and_reload_restores_all(visit, explored):
    opened = visit(explored(str(PUBLISHED)).url).wait_for("parameters")
    assert "beta" in opened.model("parameters", "m.text")
    opened.set("form", "chinchilla_one_exponent")
    opened.wait_for_text("parameters", "chinchilla_one_exponent")
    assert "beta" not in opened.model("parameters", "m.text")
    opened.set("residuals against", "n_tokens")
    opened.set("compute =", "1e23")
    opened.until("() => newest('allocation').data.flop[0] == 1e23")
    opened.until("() => location.search.includes('compute=1e%2B23')")
    fit = js.calibrate(js.forms.chinchilla_one_exponent, str(PUBLISHED), columns=COLUMNS)
    loss = float(js.analysis.allocate(fit, 1e23).best["loss"])
    opened.wait_for_text("best", f"loss {loss:.4g}")
    table, best = (opened.model(name, "m.text") for name in ("parameters", "best"))
    opened.page.reload()
    opened.wait_for("parameters")
    opened.until("text => newest('parameters')?.text == text", table)
    opened.until("text => newest('best')?.text == text", best)
    assert opened.model("residuals against", "m.value") == "n_tokens"


def test_rows_scores_and_forms(visit, explored, one_variable):
    opened = visit(explored(one_variable).url).wait_for("parameters")
    opened.page.get_by_role("button", name="leave each scale out").click()
    opened.wait_for_text("held out", "Each scale of x fitted without")
    opened.page.get_by_role("button", name="compare forms").click()
    opened.wait_for_text("forms", "broken_power_law")
    assert "Each scale" in opened.model("held out", "m.text")
    opened.set("rows where", "family")
    opened.wait_for_text("parameters", "resamples of 15 points")
    opened.until("() => location.search.includes('where=family%3Da')")
    opened.until("() => newest('held out').text == ''")


def test_a_parameter_can_be_fixed_and_bounded(visit, explored, one_variable):
    opened = visit(explored(one_variable).url).wait_for("parameters")
    opened.set("fixed", "E = 1.7")
    opened.until("() => location.search.includes('fix=E+%3D+1.7')")
    opened.wait_for_text("parameters", "fixed: E = 1.7")
    opened.set("bounds", "alpha=0.4:0.3")
    opened.wait_for_text("status", "must be greater than low")
    opened.set("bounds", "alpha=0.1:0.3")
    opened.until("() => location.search.includes('bound=alpha%3D0.1%3A0.3')")
    opened.wait_for_text("warnings", "alpha lies at an end of Between")
    opened.set("fixed", "epsilon=1")
    opened.wait_for_text("status", "epsilon")


def test_the_python_and_files_are_of_the_fit(visit, explored, one_variable):
    opened = visit(explored(one_variable).url).wait_for("parameters")
    opened.wait_for_text("code", "js.calibrate")
    opened.page.get_by_role("button", name="copy as Python").click()
    opened.until("() => navigator.clipboard.readText().then(t => t.includes('js.calibrate'))")
    code = opened.page.evaluate("navigator.clipboard.readText()")
    names = {"runs": one_variable}
    exec("\n".join(li for li in code.split("\n") if not li.startswith("runs = ...")), names)
    for value in names["fit"].values.values():
        assert f"{value:.6g}" in opened.model("parameters", "m.text")
    residuals = opened.model("residuals", "Array.from(m.data.y)")
    np.testing.assert_allclose(residuals, -names["fit"].residuals.ravel(), rtol=1e-6)
    for kind, start in (("SVG", b"<?xml"), ("PNG", b"\x89PNG"), ("CSV", b"index,label,parameter")):
        with opened.page.expect_download() as download:
            opened.page.get_by_role("button", name=kind).click()
        assert Path(download.value.path()).read_bytes().startswith(start), kind


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda runs: runs.assign(loss=["oops", *runs["loss"][1:]]), "got 'oops' in row 0"),
        (lambda runs: runs[:3], "more complete rows than the 3 parameters"),
        (lambda runs: runs.assign(loss=-runs["loss"]), "no positive value of loss"),
        (lambda runs: runs[["loss"]], "two columns of numbers or more"),
        (lambda runs: runs[:0], "a row for each run"),
    ],
)
def test_damage_is_said_in_one_line(visit, explored, one_variable, damage, message):
    opened = visit(explored(damage(one_variable)).url).wait_for("status")
    shown = message.replace("'", "&#x27;")
    opened.wait_for_text("status", shown)
    assert "Traceback" not in opened.model("status", "m.text")


def test_a_page_goes_on_after_what_it_refuses(visit, explored, one_variable):
    url = explored(one_variable).url + "?column.x=nothing"
    opened = visit(url).wait_for("form")
    opened.wait_for_text("status", "no column &#x27;nothing&#x27;")
    opened.set("x", "size")
    opened.wait_for_text("parameters", "alpha")
    opened.until("() => newest('status').text == ''")


def test_a_column_that_is_not_chosen_is_asked_for(visit, explored, one_variable):
    opened = visit(explored(one_variable).url + "?column.x=none").wait_for("form")
    opened.wait_for_text("status", "choose the column of x")


def test_data_that_do_not_vary_are_warned_of(visit, explored, one_variable):
    opened = visit(explored(one_variable.assign(loss=2.0)).url).wait_for("parameters")
    assert "data that do not vary" in opened.model("warnings", "m.text")


@pytest.mark.parametrize(
    "name", ["<img src=x onerror=document.title='run'>x", "$$E=mc^2$$", "a'b\"c</script><b>"]
)
def test_a_name_of_a_column_is_a_text(visit, explored, one_variable, tmp_path, name):
    columns = {
        "size": f"{name} tokens",
        "loss": f"{name} loss",
        "family": re.sub("[=<>!]", "", f"{name} kind"),  # no relation of "rows where"
    }
    path = tmp_path / "a'$$b$$<img src=y onerror=document.title='run'>.csv"
    one_variable.rename(columns=columns).to_csv(path, index=False)
    address = explored(str(path)).url + "?form=power_law&column.x="
    opened = visit(address + quote(columns["size"])).wait_for("form")
    opened.set("loss", columns["loss"])
    opened.wait_for_text("parameters", "alpha")
    opened.set("rows where", columns["family"])
    opened.wait_for_text("parameters", "resamples of 15 points")
    opened.set("residuals against", "x")
    assert "run" not in opened.page.title().split()


def test_nothing_is_wider_than_the_window(visit, explored):
    opened = visit(explored(str(PUBLISHED)).url, width=390, dark=True).wait_for("allocation")
    opened.page.get_by_role("button", name="leave each scale out").click()
    opened.wait_for_text("held out", "Each scale of compute")
    colors = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, colors[4:-1].split(","))) < 200
    for width in (390, 820, 1280):
        opened.page.set_viewport_size({"width": width, "height": 900})
        opened.until("width => document.documentElement.clientWidth == width", width)
        opened.eventually(functools.partial(fills, opened, width))


def test_keys_move_the_slider(visit, explored):
    opened = visit(explored(str(PUBLISHED)).url).wait_for("allocation")
    before = opened.model("allocation", "m.data.best[0]")
    opened.page.get_by_role("slider", name="compute").focus()
    opened.page.keyboard.press("ArrowRight")
    opened.until("before => newest('allocation').data.best[0] > before", before)
    opened.until("() => location.search.includes('compute=')")
