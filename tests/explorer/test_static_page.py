"""Theory under sliders in one file: its tables are those of `js.predict`, and it is bounded."""

import base64
import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

import jaxscale as js

pytest.importorskip("bokeh", reason="needs the extra explore")

from jaxscale.cli import app
from jaxscale.explorer import _static_page, _tables
from jaxscale.explorer._closed_forms import ClosedForms
from jaxscale.explorer._knobs import knob_of
from jaxscale.explorer._sources import source_of
from jaxscale.explorer._static_page import static_page
from jaxscale.explorer._tables import encoded, encoded_bits, tabulated

SYSTEM = js.emergence.MultilinearSkills(n_skills=4, n_steps=100)
SLIDERS = ("learning_rate", "skill_exponent")


@pytest.fixture(scope="module")
def tables():
    return tabulated(SYSTEM, SLIDERS, n_combinations=30)


def decoded(table):
    """Numbers as the script of the page reads them."""
    if "text" in table:
        flat = [float(v) if v else np.nan for v in table["text"].split(",")]
    else:
        (kind,) = {"f4", "f8"} & set(table)
        flat = np.frombuffer(base64.b64decode(table[kind]), f"<{kind}")
    return np.asarray(flat, float).reshape(table["shape"])


def test_tables_are_the_predictions_at_every_position(tables):
    assert tables.shape == (5, 5)
    axes = {slide.path: slide.values for slide in tables.slides}
    theory = js.predict(js.Grid(SYSTEM, axes=axes))
    for table in tables.curves:
        name = table.first.name
        own = [d for d in theory[name].dims if d not in (*SLIDERS, "step")]
        exact = theory[name].transpose(*SLIDERS, *own, "step").values.reshape(5, 5, -1, 40)
        shown = decoded(encoded(table.lines))
        np.testing.assert_allclose(np.broadcast_to(shown, exact.shape), exact, rtol=1e-6)


def test_the_start_is_the_system_itself(tables):
    for slide in tables.slides:
        assert slide.values[slide.start] == pytest.approx(js.paths.get(SYSTEM, slide.path))
        assert list(slide.values) == sorted(set(slide.values))
    start = tuple(slide.start for slide in tables.slides)
    for table in tables.curves:
        np.testing.assert_array_equal(table.at(start)[0], table.first.lines)


def test_an_axis_has_only_values_that_the_system_takes():
    tables = tabulated(SYSTEM, ["learning_rate"], "initial_strength", n_combinations=5)
    (loss,) = (table for table in tables.curves if table.first.name == "loss")
    assert loss.first.x.size == 47  # of 48: the last is the target
    assert float(loss.first.x[-1]) < float(SYSTEM.target_scale)
    assert loss.lines.shape[-1] == 47


def test_curves_over_a_field_are_the_predictions_there():
    system = js.sparse.RandomFeatureRegression(
        n_features=20, n_samples=50, spectrum_exponent=1.0, sparsity_exponent=2.0
    )
    tables = tabulated(system, ["n_samples"], n_combinations=5)
    assert (tables.x, tables.shape) == ("n_features", (5,))
    at = tables.curves[0].first.x.astype(int).tolist()
    samples = [int(v) for v in tables.slides[0].values]
    theory = js.predict(js.Grid(system, axes={"n_samples": samples, "n_features": at}))
    for table in tables.curves:
        exact = theory[table.first.name].values
        assert exact.shape == (5, len(at))
        np.testing.assert_allclose(
            np.broadcast_to(table.lines[:, 0], exact.shape), exact, rtol=1e-6
        )
    claims = {t.first.name: t.claimed for t in tables.curves}
    assert not claims["loss"].all()
    assert claims["loss"].any()


def test_an_axis_on_which_nothing_depends_is_stored_once():
    shown = _tables.Shown("a", np.arange(3.0), np.ones((1, 3)), np.ones((1, 3), bool), ("",))
    lines = np.broadcast_to([[[1.0, 2.0, 3.0]], [[2.0, 3.0, np.nan]]], (4, 2, 1, 3)).copy()
    table = _tables._narrowed(shown, lines, np.isfinite(lines))
    assert (table.lines.shape, table.claimed.shape) == ((1, 2, 1, 3), (1, 2, 1, 3))
    assert not table.is_constant
    np.testing.assert_array_equal(table.at((3, 1))[0], lines[3, 1])
    lines[2, 0, 0, 0] = 7.0
    assert _tables._narrowed(shown, lines, lines > 0).lines.shape == (4, 2, 1, 3)
    flat = _tables._narrowed(shown, lines[..., :1] + np.zeros(3), np.ones(lines.shape, bool))
    assert flat.is_constant


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.pi ** np.linspace(-9, 9, 40), "f4"),
        (np.pi ** np.linspace(-300, 300, 40), "f8"),
        (np.asarray([0.0, 1.0, np.nan, 0.0]), "text"),
    ],
)
def test_numbers_are_written_in_the_shortest_way_that_holds_them(values, kind):
    written = encoded(values.reshape(2, -1))
    assert kind in written
    assert len(written[kind]) < _tables.NUMBER_BYTES * values.size
    np.testing.assert_allclose(decoded(written).ravel(), values, rtol=1e-7)


def test_claims_are_bits():
    claimed = np.arange(20).reshape(2, 10) % 3 > 0
    bits = np.frombuffer(base64.b64decode(encoded_bits(claimed)["bits"]), np.uint8)
    np.testing.assert_array_equal(np.unpackbits(bits, bitorder="little")[:20], claimed.ravel())
    assert encoded_bits(np.ones((2, 3), bool)) == {"shape": [2, 3], "bits": ""}


def test_the_usual_sliders_are_sizes_and_exponents():
    knobs = {path: knob_of(SYSTEM, path) for path in ("learning_rate", "skill_exponent")}
    assert _tables._by_weight(knobs) == ["skill_exponent", "learning_rate"]
    streaming = js.streaming.StreamingRegression(n_features=8, n_steps=10)
    paths = ("noise", "input_exponent", "n_features", "target_exponent")
    knobs = {path: knob_of(streaming, path) for path in paths}
    ordered = _tables._by_weight(knobs)
    assert ordered == ["n_features", "input_exponent", "target_exponent", "noise"]
    assert _tables._how_many(ordered, knobs) == 3
    assert _tables._how_many(["noise", "input_exponent"], knobs) == 2


def test_a_page_is_smaller_than_its_bound_and_loads_nothing(tables):
    page = static_page("skills <b>", tables)
    assert 1.2e6 < len(page.encode()) < 1.6e6
    assert "skills &lt;b&gt;</h1>" in page
    for attribute in re.findall(r"<(?:script|link|img|iframe)\b[^>]*", page):
        assert "http" not in attribute
    (text,) = re.findall(r'<script id="tables"[^>]*>(.*?)</script>', page, re.S)
    data = json.loads(text)
    for curve, table in zip(data["curves"], tables.curves, strict=True):
        np.testing.assert_allclose(decoded(curve["values"]), table.lines, rtol=1e-7)


def test_a_page_above_the_bound_is_refused(tables, monkeypatch):
    monkeypatch.setattr(_static_page, "PAGE_BYTES", 1_000_000)
    with pytest.raises(ValueError, match=r"`slider`: the page takes 1\.\d MB, and at most 1 MB"):
        static_page("skills", tables)


def test_tables_are_thinned_to_their_bound():
    assert _tables._n_positions(2, 100, 400) == 20
    assert _tables._n_positions(2, 100, 99) == 9
    assert _tables._n_positions(3, 100, 343) == 7
    assert _tables._n_positions(1, 100, 10_000) == _tables.MOST
    largest = (_tables.TABLE_BYTES // _tables.NUMBER_BYTES) * _tables.NUMBER_BYTES
    assert largest + 1_600_000 < _static_page.PAGE_BYTES


def test_nothing_is_evaluated_for_tables_that_are_too_large(monkeypatch):
    monkeypatch.setattr(ClosedForms, "_program", None)
    n = 40 * (1 + 4 + 4)
    with pytest.raises(ValueError, match=rf"`slider`: 5 .* 25 positions of {n} numbers.* for 24;"):
        tabulated(SYSTEM, SLIDERS, n_bytes=24 * n * _tables.NUMBER_BYTES)
    fields = [*SLIDERS, "initial_strength", "target_scale"]
    with pytest.raises(ValueError, match=r"5 positions .* 4 sliders are 625 .* for 400;"):
        tabulated(SYSTEM, fields)


def test_sliders_end_where_fields_do():
    system = source_of("StreamingRegression").thing
    slide = _tables._slide(system, knob_of(system, "input_exponent"), 10)
    assert len(slide.values) == 10
    assert 0.5 < slide.values[0] < 0.53
    assert slide.values[-1] == 3.0


def test_positions_without_a_system_say_why():
    system = source_of("TeacherStudent").thing
    sliders = ["inputs.amplitude.low", "inputs.amplitude.high"]
    tables = tabulated(system, sliders, n_combinations=25)
    low, high = np.meshgrid(*(slide.values for slide in tables.slides), indexing="ij")
    none = (low >= high) | (low >= 2.0)  # fields change in turn, and `high` starts at 2
    assert sorted(tables.refused) == np.flatnonzero(none).tolist()
    assert all("greater than low" in why for why in tables.refused.values())
    for table in tables.curves:
        drawn = np.broadcast_to(table.lines, (5, 5, *table.lines.shape[2:]))
        assert np.all(np.isnan(drawn[none]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["MultilinearSkills"], "`report` writes interactive pages: jaxscale report --interactive"),
        (["--interactive", "MultilinearSkils"], "is no store, table, preset or system"),
        (["--interactive", "ParityTransformer"], "`source` ParityTransformer has no closed form"),
        (["--interactive", "MultilinearSkills", "--set", "a"], "`--set` must be field=value"),
        (["--interactive", "MultilinearSkills", "--slider", "skill_exponen"],
         "`--slider` 'skill_exponen' is no number .*did you mean `skill_exponent`"),
        (["--interactive", "MultilinearSkills", "--x", "skill"], "`--x` 'skill' is no axis"),
        (["--interactive", "MultilinearSkills", "--out", "no/folder.html"],
         "`--out` 'no/folder.html': there is no folder 'no'"),
        (["--interactive", "table.csv"], "`source` 'table.csv' is no system: .* jaxscale explore"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    done = CliRunner().invoke(app, ["report", "--no-cache", *options])
    assert isinstance(done.exception, ValueError)
    assert re.search(message, str(done.exception))
    assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]


def test_the_command_writes_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ["--set", "n_steps=50", "--set", "n_skills=3", "--slider", "target_scale"]
    done = CliRunner().invoke(
        app, ["report", "--no-cache", "--interactive", "MultilinearSkills", *options]
    )
    assert done.exception is None
    file = tmp_path / "MultilinearSkills.html"
    size = file.stat().st_size
    positions = "61 positions of target_scale, over step"
    assert done.stdout == f"{positions}\nMultilinearSkills.html: {size / 1e6:.1f} MB\n"
    assert "js.emergence.MultilinearSkills(n_skills=3, n_steps=50)" in file.read_text()
