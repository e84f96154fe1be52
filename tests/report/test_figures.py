"""Figures: every shape of result is drawn, with labels and units, and always the same bytes."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas
import pytest
import xarray
from matplotlib.figure import Figure
from systems import ONLINE as SYSTEM

import jaxscale as js
from jaxscale.emergence import FiniteSet, Online
from jaxscale.report._figures import FEW, STYLE, THEORY, band, darker, new_figure
from jaxscale.report._panel import GREY
from jaxscale.report._plot import plot
from jaxscale.report._save import figure_data, save

GRIDS = {
    "one": js.Grid(SYSTEM),
    "rates": js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2, 0.4]}, seeds=3),
    "objects": js.Grid(SYSTEM, {"data": [Online(), FiniteSet(n_samples=30)]}, seeds=3),
    "end": js.Grid(js.replace(SYSTEM, "record", [20]), {"learning_rate": [0.1, 0.4]}, seeds=2),
    "bad": js.Grid(SYSTEM, {"learning_rate": [0.1, 1e30]}, seeds=2),
}


@pytest.fixture(scope="module")
def results():
    with pytest.warns(UserWarning, match="2 of 4 runs ended badly"):  # those of "bad"
        return {name: (js.run(grid), js.predict(grid)) for name, grid in GRIDS.items()}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("with_theory", [True, False])
@pytest.mark.parametrize("shape", ["all", "one seed", "end"])
def test_every_shape_is_drawn(results, name, with_theory, shape):
    runs, theory = results[name]
    if shape == "one seed":
        runs = runs.isel(seed=0)
    if shape == "end":
        runs, theory = runs.isel(step=-1), theory.isel(step=-1)
    figure = plot(runs, theory if with_theory else None)
    assert [a.get_ylabel() for a in figure.axes] == [
        "loss [target²]",
        "skill_strength [target]",
        "skill_loss [target²]",
    ]
    for axes in figure.axes:
        assert axes.get_xlabel() in (*runs.dims, "seed")
        assert axes.get_title()
        assert axes.lines
        drawn = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines])
        assert np.isfinite(drawn).any()
        dashed = sum(line.get_linestyle() == "--" for line in axes.lines)
        assert (dashed > 0) is with_theory


def test_the_lines_are_mean_and_theory(results):
    runs, theory = results["rates"]
    axes = plot(runs, theory, observables=["loss"]).axes[0]
    mean, dashed = axes.lines[:2]
    expected = runs["loss"].isel(learning_rate=0).mean("seed")
    np.testing.assert_allclose(mean.get_ydata(), expected, rtol=1e-6)
    np.testing.assert_allclose(dashed.get_ydata(), theory["loss"].isel(learning_rate=0))
    assert dashed.get_color() == darker(mean.get_color()) != mean.get_color()
    assert dashed.get_path_effects()  # a light edge
    assert dashed.get_zorder() > mean.get_zorder()
    assert axes.get_xlabel() == "step"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["learning_rate 0.1", "learning_rate 0.2", "learning_rate 0.4", "theory"]
    assert axes.get_legend().get_title().get_text() == "mean ± s.d. of 3 seeds"


def _is_theory(line):
    return line.get_label().startswith(THEORY)


def _band(values, x, dims=("seed", "step"), **how):
    """Axes with the band of `values`."""
    axes = new_figure(1)[1][0, 0]
    curve = xarray.DataArray(values, {"step": x}, dims=dims)
    band(axes, curve, "step", "red", "label", **how)
    return axes


@pytest.mark.parametrize("log", [None, "xy"])
def test_what_is_not_run_is_neither_drawn_nor_listed(results, log):
    runs, theory = results["rates"]
    runs = runs.where(runs.learning_rate < 0.4)
    theory = theory.isel(skill=slice(2))
    axes = plot(runs, theory, log=log, observables=["loss", "skill_loss"]).axes
    labels = [text.get_text() for text in axes[0].get_legend().get_texts()]
    assert labels == ["learning_rate 0.1", "learning_rate 0.2", "theory"]
    assert axes[0].get_title().split("\n")[1] == "1 of 3 curves: not run, or not finite"
    assert len(axes[0].lines) == 4
    assert axes[1].lines
    (last,) = plot(runs, theory, log=log, observables="skill_loss", curves="skill").axes
    assert last.get_title().endswith("learning_rate = 0.2 (2 of 3)")  # the last that was run
    assert last.lines
    (blank,) = plot(runs.where(False), theory, log=log, observables="skill_loss").axes
    assert blank.get_title().endswith(", not run, or not finite")
    assert not blank.lines
    assert blank.get_xscale() == blank.get_yscale() == "linear"
    with pytest.raises(ValueError, match="at least one value of `seed`, got none"):
        plot(runs.sel(seed=[]))


def test_the_loss_is_drawn_first_and_titles_have_no_lone_word(results):
    runs, theory = results["rates"]
    others = runs[["skill_loss", "skill_strength", "loss"]]
    title = "a " * 28 + "k"
    axes = plot(others, theory[["skill_loss"]], title=title).axes
    labels = [a.get_ylabel().partition(" ")[0] for a in axes]
    assert labels == ["loss", "skill_loss", "skill_strength"]
    first, second = axes[0].get_title().split("\n")[:2]
    assert abs(len(first) - len(second)) <= 2


def test_theory_is_drawn_by_labels(results):
    runs, theory = results["rates"]
    lines = [plot(runs, t).axes[0].lines for t in (theory, theory.isel(learning_rate=[2, 0, 1]))]
    np.testing.assert_array_equal(*([line.get_ydata() for line in axes] for axes in lines))
    without = plot(runs, theory.isel(learning_rate=[0, 2])).axes[0].lines
    assert [len(without), len(lines[0])] == [5, 6]
    runs, theory = (r.isel(step=-1)["loss"] for r in results["objects"])
    theory = theory.isel(data=[1, 0]) * [2.0, 1.0]  # names on the x axis, in another order
    for given, at in ((theory, [0, 1]), (theory.isel(data=[0]), [1])):
        drawn = plot(runs, given.rename("loss"), x="data").axes[0].lines[1]
        np.testing.assert_allclose(drawn.get_xdata(), at)
        expected = given.sel(data=np.asarray(runs["data"])[at])
        np.testing.assert_allclose(drawn.get_ydata(), expected)


def test_curves_run_along_the_x_axis():
    curve = xarray.DataArray([3.0, 1.0, 2.0], {"rate": [0.3, 0.1, 0.2]}, "rate", "loss")
    for line in plot(curve, curve).axes[0].lines:
        np.testing.assert_allclose(line.get_xydata(), [[0.1, 1.0], [0.2, 2.0], [0.3, 3.0]])


@pytest.mark.parametrize(
    "call",
    [
        lambda path: plot(path),
        lambda path: js.compare(path, path),
        lambda path: js.calibrate(GRIDS["one"], path, ["learning_rate"]),
        lambda path: js.calibrate(js.Formula(lambda x, a: a * x, {"a": 1.0}), path, ["a"]),
        lambda path: js.select(path, seed=0),
    ],
)
@pytest.mark.parametrize("kind", [str, Path])
def test_the_path_of_a_store_is_to_be_opened(call, kind, tmp_path):
    with pytest.raises(ValueError, match=r"js\.open_store"):
        call(kind(tmp_path))


def test_the_band_is_one_standard_deviation_over_seeds():
    x, values = np.array([1.0, 2.0, 4.0]), np.array([[1.0, 2.0, np.nan], [3.0, 2.0, np.nan]])
    axes = _band(values, x)
    (line,), (area,) = axes.lines, axes.collections
    np.testing.assert_allclose(line.get_xydata(), [[1, 2], [2, 2]])  # no seed has the third
    edges = {tuple(v) for v in area.get_paths()[0].vertices}
    assert {(1.0, 1.0), (1.0, 3.0), (2.0, 2.0)} == edges
    assert (line.get_color(), line.get_label(), line.get_marker()) == ("red", "label", "o")
    np.testing.assert_allclose(area.get_facecolor(), [[1, 0, 0, 0.2]])


@pytest.mark.parametrize(
    ("ends", "log", "said"),
    [
        ([5, 5, 5, 5], None, "4 seeds"),
        ([1, 5, 5, 5], None, "3 seeds"),  # step 0, where all are, is not drawn
        ([1, 5, 5, 5], "y", "3 to 4 seeds"),
        ([1, 1, 1, 5], None, "1 seed"),
        ([0, 2, 3, 4], "", "1 to 3 seeds"),
    ],
)
def test_the_legend_counts_the_seeds_that_are_drawn(ends, log, said):
    values = np.where(np.arange(5) < np.asarray(ends)[:, None], 1.0, np.nan)
    runs = xarray.DataArray(values, {"step": [0, 1, 10, 100, 1000]}, ("seed", "step"), "loss")
    axes = plot(runs.expand_dims({"width": [1, 2]}), log=log).axes[0]
    assert axes.get_legend().get_title().get_text() == f"mean ± s.d. of {said}"


def test_one_point_is_a_bar_and_many_points_have_no_markers():
    axes = _band(np.array([[1.0], [3.0]]), np.array([2.0]))
    (bar,) = axes.collections
    np.testing.assert_allclose(bar.get_segments(), [[[2, 1], [2, 3]]])
    x = np.arange(FEW + 1.0)
    axes = _band(x[None] * [[1.0], [2.0]], x)
    assert axes.lines[0].get_marker() == "None"
    axes = _band(x, x, ("step",))
    assert not axes.collections
    np.testing.assert_allclose(axes.lines[0].get_ydata(), x)


def test_object_labels_become_ticks(results):
    runs, _ = results["objects"]
    axes = plot(runs.isel(step=-1), observables=["loss"]).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["Online()", "FiniteSet(n_samples=30)"]


def test_vector_files_are_deterministic(results, tmp_path):
    runs, theory = results["rates"]
    one, bitmap = save(plot(runs, theory, observables=["loss"]), tmp_path, "one")
    two, _ = save(plot(runs, theory, observables=["loss"]), tmp_path, "two")
    assert one.read_bytes() == two.read_bytes()
    assert bitmap.read_bytes()[:4] == b"\x89PNG"
    other, _ = save(plot(runs, observables=["loss"]), tmp_path, "other")
    assert other.read_bytes() != one.read_bytes()


def test_unknown_observables_are_refused(results):
    runs, _ = results["one"]
    with pytest.raises(ValueError, match=r"loss.*got 'los'"):
        plot(runs, observables=["los"])
    with pytest.raises(ValueError, match="at least one"):
        plot(runs[["status"]])


CSV = "panel,x_axis,y_axis,kind,series,x,y,value"


def test_the_data_of_a_figure_lie_beside_it(results, tmp_path):
    runs, theory = results["rates"]
    save(plot(runs, theory, observables=["loss"]), tmp_path, "one")
    table = pandas.read_csv(tmp_path / "one.csv")
    assert ",".join(table.columns) == CSV
    assert set(table["kind"]) == {"line", "theory", "area"}
    assert set(table["panel"]) == {"1 population loss"}
    for i, name in enumerate(("learning_rate 0.1", "learning_rate 0.2", "learning_rate 0.4")):
        one = table[table["series"] == name]
        expected = theory["loss"].isel(learning_rate=i)
        assert set(one["kind"]) == {"line", "theory", "area"}
        np.testing.assert_allclose(one[one["kind"] == "theory"]["y"], expected, rtol=1e-6)
    line = table[(table["series"] == "learning_rate 0.2") & (table["kind"] == "line")]
    mean = runs["loss"].sel(learning_rate=0.2).mean("seed")
    np.testing.assert_allclose(line[["x", "y"]], np.stack([mean["step"], mean], 1), rtol=1e-6)


def test_maps_points_and_bars_have_data():
    figure, ((axes,),) = new_figure(1)
    axes.pcolormesh([0, 1, 2], [0, 2], [[5.0, 7.0]])
    axes.scatter([1.0], [2.0], c=[3.0])
    axes.vlines([4.0], 1.0, 2.0, color="#ff0000")
    axes.axhline(9.0)
    axes.plot([5.0], [6.0], ":", label="dotted")
    axes.errorbar([7.0], [8.0], [1.0], fmt="o", capsize=2, label="measured")
    rows = figure_data(figure)[["kind", "series", "x", "y", "value"]].fillna(-1).to_numpy().tolist()
    assert rows == [
        ["line", "dotted", 5.0, 6.0, -1.0],
        ["points", "measured", 7.0, 8.0, -1.0],
        ["map", "", 0.5, 1.0, 5.0],
        ["map", "", 1.5, 1.0, 7.0],
        ["points", "", 1.0, 2.0, 3.0],
        ["bar", "", 4.0, 1.0, -1.0],
        ["bar", "", 4.0, 2.0, -1.0],
        ["bar", "measured", 7.0, 7.0, -1.0],
        ["bar", "measured", 7.0, 9.0, -1.0],
    ]


def test_the_title_names_every_fixed_coordinate(results):
    runs, theory = results["rates"]
    chosen = plot(runs.sel(skill=2).isel(seed=[1]), theory, observables="skill_loss")
    assert chosen.axes[0].get_title().split("\n")[1:] == ["skill = 2, seed = 1"]
    last = plot(runs, theory, observables="skill_loss", curves="learning_rate", title="mine")
    n = runs.sizes["skill"]
    long = runs.expand_dims({"a_long_name_of_an_axis": [1, 2], "another_axis": [3, 4, 5]})
    lines = plot(long, observables="loss").axes[0].get_title().split("\n")
    assert lines[1] == "a_long_name_of_an_axis = 2 (last of 2),"
    assert last.axes[0].get_title().split("\n") == ["mine", f"skill = {n} (last of {n})"]
    own = Figure().subplots()
    figure = plot(runs["loss"], theory, x="learning_rate", curves="step", log="xy", axes=own)
    assert figure is own.figure
    assert (own.get_xlabel(), own.get_xscale(), own.get_yscale()) == ("learning_rate", "log", "log")
    assert own.get_legend().get_title().get_text().startswith(f"7 of {runs.sizes['step']} values")


def test_a_swept_axis_becomes_curves_before_what_lies_within_a_run(results):
    runs, theory = results["rates"]
    assert runs.sizes["skill"] > runs.sizes["learning_rate"] == 3
    for given in (runs, runs["skill_loss"]):
        (axes,) = plot(given, theory, observables="skill_loss").axes
        assert axes.get_title().split("\n")[1].startswith("skill = ")
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert labels[:3] == [f"learning_rate {rate}" for rate in (0.1, 0.2, 0.4)]
    (axes,) = plot(results["one"][0], observables="skill_loss").axes
    assert "skill 1" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_theory_is_taken_at_the_coordinates_of_the_runs(results):
    runs, theory = results["rates"]
    axes = plot(runs.sel(learning_rate=0.2), theory, observables="loss").axes[0]
    np.testing.assert_allclose(axes.lines[1].get_ydata(), theory["loss"].sel(learning_rate=0.2))
    other = plot(runs.sel(learning_rate=0.2), theory.sel(learning_rate=0.4), observables="loss")
    assert other.axes[0].get_legend().get_texts()[-1].get_text() == "theory at learning_rate = 0.4"
    # at one value it belongs to the curve of that value; at another, or at none, to no curve
    somewhere = theory.isel(learning_rate=0).assign_coords(learning_rate=0.3)
    nowhere = somewhere.drop_vars("learning_rate")
    for given, under in ((theory.sel(learning_rate=0.4), 2), (somewhere, None), (nowhere, None)):
        *curves, one = sorted(plot(runs, given, observables="loss").axes[0].lines, key=_is_theory)
        color = GREY if under is None else curves[under].get_color()
        assert (len(curves), one.get_color()) == (3, darker(color))
        np.testing.assert_allclose(one.get_ydata(), given["loss"])
    bare = runs.sel(learning_rate=0.2, drop=True)
    with pytest.raises(ValueError, match="`theory` of loss has a dimension 'learning_rate'"):
        plot(bare, theory, observables="loss")


def test_legends_have_short_numbers():
    rates = {"rate": [0.00686123, 0.1, 0.30000001], "step": [1.0, 2.0, 3.0]}
    runs = xarray.DataArray(np.ones((3, 3)), rates, ("rate", "step"))
    texts = plot(runs).axes[0].get_legend().get_texts()
    assert [t.get_text() for t in texts] == ["rate 0.00686", "rate 0.1", "rate 0.3"]
    runs = runs.assign_coords(rate=[0.1, 0.10001, 0.2])
    texts = plot(runs).axes[0].get_legend().get_texts()
    assert [t.get_text() for t in texts] == ["rate 0.1", "rate 0.10001", "rate 0.2"]


def test_legend_and_title_say_what_theory_lacks(results):
    runs, theory = results["rates"]
    marked = theory.copy()
    marked["loss"].attrs["uncalibrated"] = "time_scale"
    axes = plot(runs, marked, observables="loss").axes[0]
    label = axes.get_legend().get_texts()[-1].get_text()
    assert label == "theory, uncalibrated\n(time_scale not fitted)"
    nothing = xarray.Dataset(attrs={"no_theory": "Model: no closed form with decoder=Relu()"})
    axes = plot(runs, nothing, observables="loss").axes[0]
    assert axes.get_title().split("\n")[1] == "Model: no closed form with decoder=Relu()"
    bare = runs["loss"].assign_attrs(predicted="none", no_theory="no closed form: a reason")
    axes = plot(bare, theory.drop_vars("loss")).axes[0]
    assert axes.get_title().split("\n")[1] == "no closed form: a reason"


@pytest.mark.parametrize("each", [None, "seed"])
def test_the_legend_says_what_was_calibrated(each):
    system = js.emergence.MultilinearSkills(n_skills=2, n_steps=20, learning_rate=0.2)
    runs = js.run(js.Grid(system, seeds=2))
    start = js.Grid(js.replace(system, "learning_rate", 0.1))
    fit = js.calibrate(start, runs, ["learning_rate"], each=each, bootstrap=0, n_starts=1)
    theory = fit.predict()
    said = (
        "learning_rate for each seed"
        if each
        else f"learning_rate = {float(fit.values['learning_rate']):.4g}"
    )
    axes = plot(runs, theory, observables="loss").axes[0]
    assert axes.get_legend().get_texts()[-1].get_text() == f"theory, calibrated\n({said})"
    theory["loss"].attrs["uncalibrated"] = "time_scale"  # another field, which decides
    axes = plot(runs, theory, observables="loss").axes[0]
    assert "uncalibrated" in axes.get_legend().get_texts()[-1].get_text()


@pytest.mark.parametrize(
    ("steps", "log", "label"),
    [
        ([0, 1, 10, 100], None, "step (0 not drawn)"),
        ([0, 1, 10, 100], "y", "step"),
        ([-1, 0, 10, 100, 1000], "x", "step (positive ones)"),
        ([1, 10, 100], None, "step"),
    ],
)
def test_the_axis_says_what_a_logarithm_hides(steps, log, label):
    runs = xarray.DataArray(np.ones(len(steps)), {"step": steps}, ("step",), "loss")
    assert plot(runs, log=log).axes[0].get_xlabel() == label


def test_bands_stay_above_zero_and_axes_near_the_data():
    values = np.array([[1e-3, 1.0], [1e-3, 1.0], [1e-3, 1.0], [1.0, 1.0]])
    area = _band(values, np.array([1.0, 2.0])).collections[0]
    assert min(y for _, y in area.get_paths()[0].vertices) == 1e-3  # mean - s.d. is -0.18
    area = _band(values, np.array([1.0, 2.0]), log=False).collections[0]
    assert min(y for _, y in area.get_paths()[0].vertices) == pytest.approx(-0.18, abs=0.01)
    runs = xarray.DataArray(values, {"step": [1.0, 2.0]}, ("seed", "step"), "loss")
    for log, low in (("", -0.18), ("y", 1e-3)):
        (area,) = plot(runs, log=log).axes[0].collections
        assert min(y for _, y in area.get_paths()[0].vertices) == pytest.approx(low, abs=0.01)


@pytest.mark.parametrize(
    ("values", "log", "label"),
    [
        ([1.0, 1e-9, 1e-30], None, "theory\n(partly outside the axes)"),
        ([1e-9, 1e-9, 1e-30], None, "theory\n(outside the axes)"),
        ([1.0, 0.5, 0.0], None, "theory\n(partly outside the axes)"),
        ([1.0, 1e200, np.inf], None, "theory\n(partly outside the axes)"),
        ([1.0, 0.5, 1e-3], None, "theory"),
        ([1.0, 0.5, 0.0], "x", "theory"),
    ],
)
def test_axes_end_near_the_data_and_the_legend_says_what_is_outside(values, log, label):
    curve = xarray.DataArray([1.0, 0.5, 0.01], {"step": [1, 10, 100]}, "step", "loss")
    axes = plot(curve, xarray.DataArray(values, curve.coords, name="loss"), log=log).axes[0]
    assert axes.get_legend().get_texts()[-1].get_text() == label
    if min(values) == 1e-30:
        assert axes.get_ylim()[0] == pytest.approx(1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"curves": "seed"}, "`curves` must be one of .*: seeds are the band, got 'seed'"),
        ({"x": "width"}, r"`x` must be a dimension of loss \(learning_rate, seed, step\)"),
        (
            {"x": "step", "curves": "step"},
            "`curves` must be another dimension than `x`, got 'step'",
        ),
        ({"log": "z"}, "`log` must be one of '', 'x', 'y', 'xy', got 'z'"),
        ({"axes": []}, "`axes` must be one for each of loss, got 0"),
        ({"theory": 3}, "`theory` must be a Dataset of `js.predict`, or a calibration, got int"),
        ({"runs": 3}, "`runs` must be a Dataset or DataArray of `js.run`.*DataFrame, got int"),
    ],
)
def test_what_cannot_be_drawn_is_refused(results, arguments, message):
    runs, theory = results["rates"]
    with pytest.raises(ValueError, match=message):
        plot(**{"runs": runs, "theory": theory, "observables": ["loss"], **arguments})


def test_files_are_those_of_savefig(tmp_path):
    def drawn():
        figure, ((axes,),) = new_figure(1)
        axes.pcolormesh(np.arange(12.0).reshape(3, 4), rasterized=True)
        axes.set(xlabel="x", ylabel="y", title="title")
        return figure

    paths, figure = save(drawn(), tmp_path, "map"), drawn()
    with mpl.rc_context(STYLE):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for path, metadata in zip(paths, ({"Date": None}, None), strict=True):
            expected = tmp_path / f"expected{path.suffix}"
            figure.savefig(expected, metadata=metadata, dpi=160)
            assert path.read_bytes() == expected.read_bytes()


def test_a_figure_of_failed_runs_says_so(results):
    runs, theory = results["bad"]
    axes = plot(runs, theory).axes
    assert all("2 of 4 runs failed: see status" in a.get_title() for a in axes if a.texts == [])
    for a in plot(runs.isel(learning_rate=[1]), theory).axes:  # only records of step 0 are finite
        assert [text.get_text() for text in a.texts] == ["all 2 runs failed: see status"]
        assert "failed" not in a.get_title()
    for a in plot(runs.isel(learning_rate=1, seed=0)).axes:
        assert [text.get_text() for text in a.texts] == ["the run failed: see status"]
    (late,) = plot(runs[["loss"]].fillna(1.0).assign(status=runs["status"] * 0 + 2)).axes
    assert late.get_title().endswith("all 4 runs failed: see status")
    assert not late.texts
    for a in plot(results["rates"][0]).axes + plot(runs["loss"]).axes:  # without a status, too
        assert "failed" not in a.get_title()
        assert not a.texts


def _legend_box(figure, axes):
    figure.draw_without_rendering()
    box = axes.get_legend().get_window_extent()
    return axes.transAxes.inverted().transform(box.get_points())


@pytest.mark.parametrize("n", [2, 7])
@pytest.mark.parametrize("corner", ["none", "upper left", "lower right"])
def test_a_legend_covers_no_curve(n, corner):
    """A free corner takes it, and where every place is covered it lies beside the axes."""
    x = np.linspace(0, 1, 101)
    free = {"none": x < -1, "upper left": x < 0.6, "lower right": x > 0.4}[corner]
    wave = np.where(np.arange(x.size) % 2, 1.0, 0.0)
    if corner == "upper left":
        wave = np.where(free, 0.1 * wave, wave)
    if corner == "lower right":
        wave = np.where(free, 0.9 + 0.1 * wave, wave)
    values = np.stack([wave * (1 - 0.001 * i) for i in range(n)])
    curves = xarray.DataArray(values, {"rate": np.arange(n), "step": x}, ("rate", "step"), "loss")
    figure = plot(curves, log="")
    (axes,) = figure.axes
    (left, bottom), (right, top) = _legend_box(figure, axes)
    assert (left > 1) == (corner == "none")
    place = axes.transData + axes.transAxes.inverted()
    for line in axes.lines:
        at, y = place.transform(line.get_xydata()).T
        fine = np.linspace(0, 1, 4001)
        height = np.interp(fine, at, y)
        inside = (fine > left) & (fine < right) & (height > bottom) & (height < top)
        assert not inside.any()
    assert figure.get_size_inches()[0] > 5 if corner == "none" else not left > 1
    figure_box = axes.get_legend().get_window_extent()
    assert figure_box.x1 <= figure.bbox.width


def test_a_legend_covers_no_band_and_stays_inside_axes_of_the_user():
    rng = np.random.default_rng(0)
    data = xarray.DataArray(rng.uniform(-1, 1, (9, 50)), dims=("seed", "step"), name="loss")
    wide = data * np.where(np.arange(50) < 25, 1.0, 0.02)
    (axes,) = (figure := plot(wide.assign_coords(step=np.arange(50)), wide, log="")).axes
    assert _legend_box(figure, axes)[0, 0] > 0.4
    own = Figure().subplots()
    plot(data.expand_dims(rate=range(6)), curves="rate", axes=own, log="")
    assert _legend_box(own.figure, own)[1, 0] < 1
