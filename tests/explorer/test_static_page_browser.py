"""The page in a browser: from a file, without a network, sliders show what theory predicts."""

import json

import numpy as np
import pytest

import jaxscale as js

pytest.importorskip("bokeh", reason="needs the extra explore")

from bokeh.models import Div

from jaxscale.analysis._exponents import log_slopes
from jaxscale.explorer._curve_figure import CurveFigure, Shown
from jaxscale.explorer._curves import log_axes
from jaxscale.explorer._static_page import static_page
from jaxscale.explorer._tables import CurveTable, Slide, Tables, tabulated
from jaxscale.explorer._themes import THEMES

SYSTEM = js.emergence.MultilinearSkills(n_skills=4, n_steps=1000)
SLIDERS = ("learning_rate", "skill_exponent")
READY = ".page[data-ready]"
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def tables():
    return tabulated(SYSTEM, SLIDERS, n_combinations=49)


@pytest.fixture(scope="module")
def file(tables, tmp_path_factory):
    path = tmp_path_factory.mktemp("static") / "skills.html"
    path.write_text(static_page("skills", tables), encoding="utf-8")
    return path


@pytest.fixture
def opened(chromium, file):
    """Open a page at a width in a color scheme; nothing is fetched, nothing goes wrong."""
    contexts, wrong = [], []

    def open_page(width=1280, scheme="light", file=file):
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: wrong.append(m.text) if m.type in ("error", "warning") else 0)
        page.on("pageerror", lambda e: wrong.append(str(e)))
        page.on("request", lambda r: wrong.append(r.url) if r.url.startswith("http") else 0)
        page.goto(file.as_uri())
        page.wait_for_selector(READY)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


def drawn(page, kind, name):
    """Curves of a figure, shape (k, n)."""
    text = page.evaluate(
        """([kind, name]) => JSON.stringify(Bokeh.documents.map(
            d => d.get_model_by_name(`${kind} ${name}`)).filter(Boolean).at(-1).data.ys,
            (_, v) => typeof v === "number" && !Number.isFinite(v) ? "nan" : v)""",
        [kind, name],
    )
    return np.asarray(json.loads(text), float)


def predicted(name, **values):
    system = SYSTEM
    for path, value in values.items():
        system = js.replace(system, path, value)
    theory = js.predict(js.Grid(system))[name]
    dims = [d for d in theory.dims if d != "step"]
    return theory["step"].values, theory.transpose(*dims, "step").values.reshape(
        -1, theory["step"].size
    )


def test_sliders_show_what_theory_predicts(opened, tables):
    page = opened()
    page.focus("#slider-0")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.focus("#slider-1")
    page.keyboard.press("Home")
    rate = tables.slides[0].values[tables.slides[0].start + 2]
    exponent = tables.slides[1].values[0]
    values = {"learning_rate": rate, "skill_exponent": exponent}
    for name in ("loss", "skill_strength", "skill_loss"):
        x, exact = predicted(name, **values)
        curves = drawn(page, "claimed", name)
        good = np.isfinite(curves)
        assert good.sum() > 0.8 * curves.size
        assert np.all(exact[~good] <= 0)  # on a logarithmic axis
        np.testing.assert_allclose(curves[good], exact[good], rtol=1e-6)
        slopes = drawn(page, "slopes", name)
        np.testing.assert_allclose(slopes, log_slopes(x, exact), atol=1e-4)
    outputs = page.locator("output").all_text_contents()
    assert [float(text) for text in outputs] == [rate, exponent]
    code = page.locator("#code").text_content()
    names = {}
    exec(code.partition("figure = ")[0], names)
    np.testing.assert_allclose(names["theory"]["loss"].values, predicted("loss", **values)[1][0])
    page.click("#reset")
    _, exact = predicted("loss")
    np.testing.assert_allclose(drawn(page, "claimed", "loss")[:, 1:], exact[:, 1:], rtol=1e-6)
    assert "js.replace" not in page.locator("#code").text_content()


@pytest.mark.parametrize("is_log", [True, False])
def test_curves_are_drawn_as_by_the_explorer(opened, tmp_path, is_log):
    x = np.geomspace(1, 1000, 12) if is_log else np.linspace(0, 6, 12)
    lines = np.stack([[2 * np.exp(-2 * x * rate), np.cos(x * rate)] for rate in (0.3, 1.0, 7.0)])
    lines = np.abs(lines) ** 0.3 if is_log else lines
    lines[1, 0, 4] = np.nan
    claimed = (np.arange(lines.size).reshape(lines.shape) % 7 > 1) & np.isfinite(lines)
    first = Shown("loss", x, lines[0], claimed[0], ("a", "b"))
    slides = (Slide("learning_rate", (0.1, 0.2, 0.3), 0),)
    curves = (CurveTable(first, lines, claimed),)
    tables = Tables(SYSTEM, "step", None, slides, curves, {2: "refused"})
    (tmp_path / "page.html").write_text(static_page("page", tables), encoding="utf-8")
    page = opened(file=tmp_path / "page.html")
    page.focus("#slider-0")
    for i in range(3):
        shown = Shown("loss", x, lines[i], claimed[i], ("a", "b"))
        log = log_axes(first)
        assert ("x" in log) == is_log
        figure = CurveFigure(shown, THEMES["light"], x="step", y="", title=Div(), log=log)
        sources = {"claimed": figure.claimed, "not claimed": figure.other,
                   "slopes": figure.slopes, "slopes not claimed": figure.other_slopes}  # fmt: skip
        for kind, source in sources.items():
            expected = np.asarray(list(source.data["ys"]), float)
            np.testing.assert_allclose(drawn(page, kind, "loss"), expected, 1e-6, 1e-4)
        assert page.locator("#status").text_content() == ("refused" if i == 2 else "")
        page.keyboard.press("ArrowRight")


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (820, "light"), (1280, "dark")])
def test_nothing_is_wider_than_the_window(opened, width, scheme):
    page = opened(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    canvas = page.locator("canvas").first.bounding_box()
    assert canvas["width"] > 250


def test_colors_follow_the_system_and_the_button(opened):
    page = opened(scheme="dark")

    def background():
        page.wait_for_selector(READY)
        page.wait_for_timeout(100)
        return page.evaluate("Bokeh.documents.at(-1).roots()[0].children[0].background_fill_color")

    assert background() == "#15181d"
    page.click("#theme")
    assert background() == "#ffffff"
    page.click("#theme")
    assert background() == "#15181d"
    page.focus("#slider-0")
    page.keyboard.press("End")
    page.emulate_media(color_scheme="light")
    page.wait_for_selector('.page[data-theme="light"][data-ready]')
    assert background() == "#ffffff"
    value = page.locator("output").first.text_content()
    assert page.get_attribute("#slider-0", "aria-valuetext") == value
