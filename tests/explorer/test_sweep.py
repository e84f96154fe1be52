"""What a sweep shows is what the Dataset holds, read only where it is shown."""

import dataclasses

import numpy as np
import pytest
import xarray
from scipy.special import stdtrit
from systems import regression

import jaxscale as js
from jaxscale._status import Status
from jaxscale.explorer._exponent_table import exponent_table, lowest
from jaxscale.explorer._export import export
from jaxscale.explorer._sweep import Sweep, View
from jaxscale.explorer._sweep_code import run_code, sweep_code
from jaxscale.explorer._sweep_map import cells
from jaxscale.explorer._sweep_theory import calibrated, fitted_fields, theory_of_view
from jaxscale.sweep._variable import StoredVariable


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=60)
    grid = js.Grid(system, axes={"learning_rate": [0.1, 0.2, 0.4], "target_scale": [1.0, 2.0]},
                   seeds=3)  # fmt: skip
    path = str(tmp_path_factory.mktemp("sweep") / "skills.zarr")
    js.run(grid, store=path)
    return path


@pytest.fixture(scope="module")
def sweep(stored):
    return Sweep(stored)


def test_the_first_view(sweep):
    view = sweep.default_view()
    assert view == View("loss", "step", "learning_rate", "", {})
    assert sweep.sliders(view) == ["target_scale"]
    assert sweep.indices(view) == {"target_scale": 1}
    assert sweep.observables[0] == "loss"


def test_curves_are_those_of_the_dataset(sweep):
    view = View("skill_strength", "step", "learning_rate", "skill", {"target_scale": 0})
    curves = sweep.curves(view)
    runs = js.open_store(sweep.path).skill_strength.isel(target_scale=0)
    expected = runs.transpose("skill", "learning_rate", "seed", "step").values
    np.testing.assert_array_equal(curves.values, expected)
    np.testing.assert_allclose(curves.mean, expected.mean(axis=2), rtol=1e-6)
    np.testing.assert_allclose(curves.spread, expected.std(axis=2), rtol=1e-5, atol=1e-6)
    assert curves.labels == ("0.1", "0.2", "0.4")
    assert curves.panel_labels == ("1", "2", "3")
    assert curves.points[0, :, 0].tolist() == [0, 2, 4]  # rows of (learning_rate, target_scale)


def test_an_axis_along_x_has_a_point_for_every_value(sweep):
    curves = sweep.curves(View("loss", "target_scale", "", "", {"learning_rate": 1, "step": 3}))
    assert curves.points.tolist() == [[[2, 3]]]
    assert sweep.point_values(3) == {"learning_rate": 0.2, "target_scale": 2.0}
    runs = js.open_store(sweep.path).loss.isel(learning_rate=1, step=3)
    np.testing.assert_array_equal(curves.values[0, 0], runs.transpose("seed", "target_scale"))


def test_only_the_runs_that_are_shown_are_read(stored, monkeypatch):
    monkeypatch.setattr("jaxscale.explorer._sweep.LOADED_BYTES", 0)  # results stay on disk
    read, sweep = [], Sweep(stored)
    original = StoredVariable.read

    def counting(self, key):
        values = original(self, key)
        read.append((self.name, values.size))
        return values

    monkeypatch.setattr(StoredVariable, "read", counting)
    sweep.curves(View("loss", "step", "", "", {"learning_rate": 0, "target_scale": 0}))
    assert dict(read) == {"loss": 3 * sweep.runs.sizes["step"], "status": 3}


def test_runs_of_other_statuses_do_not_count(sweep):
    view = View("loss", "step", "", "", {}, statuses=(1,))
    assert np.isnan(sweep.curves(view).values).all()
    assert np.isnan(sweep.curves(view).mean).all()
    view = View("loss", "step", "", "", {}, statuses=(0,))
    assert np.isfinite(sweep.curves(view).values).all()


def test_theory_is_that_of_predict(sweep):
    view = View("skill_loss", "step", "skill", "target_scale", {"learning_rate": 0})
    curves = sweep.curves(view)
    theory = theory_of_view(sweep, view, curves, {})
    expected = js.predict(sweep.grid).skill_loss.isel(learning_rate=0)
    expected = expected.transpose("target_scale", "skill", "step")
    np.testing.assert_allclose(theory.values, expected, rtol=1e-12)
    assert theory.note.startswith("theory: exact; gradient flow")
    assert fitted_fields(sweep, view) == []


def test_a_map_holds_final_values_and_exponents(sweep):
    view, axes = sweep.default_view(), ("target_scale", "learning_rate")
    final = cells(sweep, view, axes, "final value", (6.0, 60.0))
    runs = js.open_store(sweep.path).loss
    expected = runs.isel(step=-1).mean("seed").transpose(*axes).values.ravel()
    np.testing.assert_allclose(final.values, expected, rtol=1e-6)
    for point, (scale, rate) in zip(final.points, final.index, strict=True):
        assert sweep.point_index(int(point)) == {"learning_rate": rate, "target_scale": scale}
    slopes = cells(sweep, view, axes, "exponent", (6.0, 60.0))
    inside = runs.sel(step=slice(6, 60)).mean("seed")
    x, y = np.log(inside.step.values), np.log(inside.isel(target_scale=1, learning_rate=2).values)
    assert slopes.values[-1] == pytest.approx(np.polyfit(x, y, 1)[0], rel=1e-4)


def test_exponents_stand_beside_those_of_theory(sweep):
    view = sweep.default_view()
    curves = sweep.curves(view)  # the same for all seeds: they get slopes of their own
    tilt = np.maximum(curves.x, 1.0) ** np.asarray([[0.0], [0.01], [0.03]])
    curves = dataclasses.replace(curves, values=curves.values * tilt)
    theory = theory_of_view(sweep, view, curves, {})
    text = exponent_table(view, curves, theory.values, (6.0, 60.0))
    assert "learning_rate 0.1" in text
    first = xarray.DataArray(curves.values[0, 0], {"step": curves.x}, ("seed", "step"))
    fit = js.analysis.fit_exponent(first, "step", (6.0, 60.0))
    assert f"{fit.value:.4g}" in text
    slope = np.polyfit(*(np.log(v[(curves.x >= 6) & (curves.x <= 60)])
                         for v in (curves.x, theory.values[0, 0])), 1)[0]  # fmt: skip
    error = fit.per_seed.std(ddof=1) / np.sqrt(fit.per_seed.size)
    half = stdtrit(fit.per_seed.size - 1, 0.975) * error
    assert f"{fit.value - half:.4g} to {fit.value + half:.4g}" in text
    where = "inside" if abs(slope - fit.value) <= half else "outside"
    assert f"{where} the interval, {abs(slope - fit.value) / error:.1f} standard errors" in text
    assert "window" in exponent_table(view, curves, None, (1e5, 2e5))


def test_exponents_of_one_seed_and_of_rounding_are_told_apart(sweep):
    view = sweep.default_view()
    curves = sweep.curves(view)
    theory = theory_of_view(sweep, view, curves, {}).values
    one = dataclasses.replace(curves, values=curves.values[:, :, :1])
    assert "one seed" in exponent_table(view, one, theory, (6.0, 60.0))
    for n in (2, 3, 5, 7):  # whose slopes may differ by rounding
        same = dataclasses.replace(curves, values=np.repeat(one.values, n, axis=2))
        text = exponent_table(view, same, theory, (6.0, 60.0))
        assert text.count("equal seeds") == curves.mean[..., 0].size, n
        assert "standard errors" not in text
    small = np.where(curves.x > 20, 1e-12 * curves.values, curves.values)
    text = exponent_table(view, dataclasses.replace(curves, values=small), theory, (6.0, 60.0))
    assert "flattened by rounding" in text
    assert "the interval" not in text


def test_the_lowest_value_is_named(sweep):
    view = View("loss", "learning_rate", "", "", {"target_scale": 0})
    text = lowest(view, sweep.curves(view), sweep)
    best = js.open_store(sweep.path).loss.isel(target_scale=0, step=-1).mean("seed")
    assert f"learning_rate = {float(best.idxmin()):g}: {float(best.min()):.4g}" in text


@pytest.mark.parametrize("panel", ["", "learning_rate"])
def test_the_copied_python_draws_the_curves(sweep, panel):
    view = View("loss", "step", "target_scale", panel, {"learning_rate": 1})
    curves = sweep.curves(view)
    theory = theory_of_view(sweep, view, curves, {})
    code = sweep_code(sweep, view, {}, True, None)
    names = {}
    exec(code, names)
    axes = names["figure"].axes
    assert len(axes) == len(curves.panels)
    for i, ax in enumerate(axes):
        drawn = {str(line.get_label()): line for line in ax.lines}
        for k, label in enumerate(curves.labels):
            line = drawn[f"target_scale {label}"]
            np.testing.assert_allclose(line.get_ydata(), curves.mean[i, k], rtol=1e-6)
            formula = drawn[f"_theory: target_scale {label}"]
            np.testing.assert_allclose(formula.get_ydata(), theory.values[i, k], rtol=1e-9)


def test_the_copied_python_gets_a_run_again(sweep):
    code = run_code(sweep, {"learning_rate": 0.2, "target_scale": 1.0}, 2, True)
    assert "js.select(runs, learning_rate=0.2, target_scale=1.0, seed=2)" in code
    names = {}
    exec(code, names)
    stored = js.open_store(sweep.path).skill_strength.isel(step=-1)
    stored = stored.sel(learning_rate=0.2, target_scale=1.0, seed=2)
    strength = names["state"].a * names["state"].b
    np.testing.assert_allclose(strength, stored, rtol=1e-4)


def test_one_click_calibrates():
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=60)
    runs = js.run(js.Grid(system, axes={"learning_rate": [0.2]}, seeds=2))
    assert fitted_fields(Sweep(runs), Sweep(runs).default_view()) == []
    network = js.emergence.ParityNetwork(
        n_skills=2, n_bits=6, skill_size=2, width=8, n_steps=40, batch_size=16, n_evaluation=32
    )
    runs = js.run(js.Grid(network, axes={"learning_rate": [0.05, 0.1]}, seeds=5))
    sweep, view = Sweep(runs), View("skill_strength", "step", "learning_rate", "", {"skill": 0})
    assert fitted_fields(sweep, view) == ["time_scale"]
    curves = sweep.curves(view)
    assert "not calibrated: time_scale" in theory_of_view(sweep, view, curves, {}).note
    values, line = calibrated(sweep, view, curves)
    with pytest.warns(UserWarning, match="at an end of"):  # these runs are too short
        direct = js.calibrate(
            js.Grid(network, axes={"learning_rate": [0.05, 0.1]}), runs.isel(skill=[0]),
            ["time_scale"], observables=["skill_strength"],
        )  # fmt: skip
    assert values["time_scale"] == pytest.approx(float(direct.values["time_scale"]))
    assert f"time_scale = {values['time_scale']:.4g} (" in line
    assert "at an end of" in line
    note = theory_of_view(sweep, view, curves, values).note
    assert f"calibrated: time_scale = {values['time_scale']:.4g}" in note


def test_a_sweep_without_axes_or_steps():
    runs = js.run(js.Grid(regression(), seeds=2))
    sweep = Sweep(runs)
    view = sweep.default_view()
    assert view.x == "seed"
    assert sweep.curves(view).values.shape == (1, 1, 1, 2)


def test_a_store_that_grows_is_read_again(tmp_path):
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    path = str(tmp_path / "grows.zarr")
    js.run(js.Grid(system, seeds=2), store=path)
    sweep = Sweep(path)
    assert sweep.newer() is None
    js.run(js.Grid(system, seeds=4), store=path)
    newer = sweep.newer()
    assert newer.runs.sizes["seed"] == 4
    assert newer.newer() is None
    grid = js.Grid(system, axes={"learning_rate": [0.05, 0.2]}, seeds=2)
    path = str(tmp_path / "axes.zarr")
    js.run(grid, store=path)
    sweep = Sweep(path)
    js.run(grid.replace(axes={"learning_rate": [0.05, 0.1, 0.2]}), store=path)
    newer = sweep.newer()
    view = newer.default_view()
    theory = theory_of_view(newer, view, newer.curves(view), {})
    np.testing.assert_allclose(theory.values[0], js.predict(newer.grid).loss, rtol=1e-12)


def test_theory_of_a_selection_is_that_of_its_coordinates():
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    grid = js.Grid(system, axes={"learning_rate": [0.1, 0.2, 0.4], "target_scale": [1.0, 2.0]})
    runs = js.run(grid).isel(learning_rate=slice(1, 3), target_scale=0)
    sweep = Sweep(runs)
    view = View("loss", "step", "learning_rate")
    theory = theory_of_view(sweep, view, sweep.curves(view), {})
    expected = js.predict(grid).loss.isel(learning_rate=slice(1, 3), target_scale=0)
    np.testing.assert_allclose(theory.values[0], expected, rtol=1e-12)
    with pytest.raises(ValueError, match="keep the dimension 'seed'"):
        Sweep(js.run(grid).mean("seed", keep_attrs=True))
    with pytest.raises(ValueError, match="must hold the `status`"):
        Sweep(js.predict(grid))


def test_runs_of_other_lengths_end_at_their_own_step():
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    runs = js.run(js.Grid(system, axes={"n_steps": [20, 30], "learning_rate": [0.1, 0.2]}))
    sweep = Sweep(runs)
    shown = cells(sweep, sweep.default_view(), ("n_steps", "learning_rate"), "final value", (1, 9))
    expected = [runs.loss.isel(seed=0, n_steps=i).sel(step=n) for i, n in enumerate((20, 30))]
    np.testing.assert_allclose(shown.values, np.concatenate(expected), rtol=1e-6)
    view = dataclasses.replace(sweep.default_view(), at={"n_steps": 0})
    shown = cells(sweep, view, ("learning_rate",), "final value", (1, 9))
    np.testing.assert_allclose(shown.values, expected[0], rtol=1e-6)


def test_no_dimension_has_two_roles(sweep):
    view = View("loss", "learning_rate", "learning_rate", "learning_rate")
    assert sweep.settled(view) == View("loss", "learning_rate")
    assert sweep.settled(view, ["panel"]) == View("loss", "target_scale", "", "learning_rate")
    assert sweep.settled(View("loss", "skill")).x == "learning_rate"


def test_filtered_runs_are_copied_as_they_are_shown(sweep):
    view = View("loss", "step", "", "", {"learning_rate": 0, "target_scale": 0}, statuses=(0,))
    names = {}
    exec(sweep_code(sweep, view, {}, False, None), names)
    assert np.isfinite(names["shown"].loss).all()
    assert names["shown"].status.dtype.kind == "i"


def test_one_seed_has_no_error():
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    sweep = Sweep(js.run(js.Grid(system, axes={"learning_rate": [0.1, 0.2]})))
    text = lowest(View("loss", "learning_rate"), sweep.curves(View("loss", "learning_rate")), sweep)
    assert "±" not in text
    assert "standard errors" not in text


def test_parallel_coordinates_have_room_for_the_labels_at_their_ends(sweep):
    bokeh_document = pytest.importorskip("bokeh.document")
    from jaxscale.explorer._linked import Linked
    from jaxscale.explorer._page import Page
    from jaxscale.explorer._sweep_map import ParallelFigure

    page = Page(bokeh_document.Document(), {}, "sweep")
    shown = cells(sweep, sweep.default_view(), tuple(sweep.axes), "final value", (6.0, 60.0))
    ends = ParallelFigure(page, sweep, shown, Linked(print)).layout.x_range
    assert -ends.start / (ends.end - ends.start) > 0.1  # of 390 pixels, half a label


def test_the_window_of_exponents_is_where_runs_have_values(sweep):
    assert sweep.last_decade("learning_rate") == (0.1, 0.4)
    runs = js.open_store(sweep.path).load()
    dims = runs.status.dims
    diverged = runs.status.where(runs.learning_rate < 0.3, 2).transpose(*dims).astype(np.int32)
    other = Sweep(runs.assign(status=diverged))
    assert other.last_decade("learning_rate") == (0.1, 0.2)
    diverged = runs.status.where(runs.learning_rate < 0.15, 2).transpose(*dims).astype(np.int32)
    low, high = Sweep(runs.assign(status=diverged)).last_decade("learning_rate")
    assert (low, high) == (pytest.approx(0.01), 0.1)  # a window has a width


def copied(sweep, view):
    """The names that the copied lines make of the Dataset that was given."""
    code = sweep_code(sweep, view, {}, False, None)
    names = {"runs": sweep.runs.isel({d: 0 for d in sweep.runs.dims if d not in sweep.given_dims})}
    exec(code.replace("runs = ...", "# "), names)
    return names


def test_the_slope_of_theory_is_over_the_points_that_runs_have(sweep):
    view = sweep.default_view()
    curves = sweep.curves(view)
    theory = theory_of_view(sweep, view, curves, {}).values
    short = dataclasses.replace(curves, values=np.where(curves.x > 20, np.nan, curves.values))
    ends = (curves.x >= 6) & (curves.x <= 20)
    slope = np.polyfit(np.log(curves.x[ends]), np.log(theory[0, 0, ends]), 1)[0]
    assert f"<td>{slope:.4g}</td>" in exponent_table(view, short, theory, (6.0, 60.0))


def test_failed_runs_have_no_final_value_whatever_the_axes(sweep):
    runs = js.open_store(sweep.path).load()
    before = runs.loss.where((runs.learning_rate < 0.3) | (runs.step < 9))
    status = xarray.where(runs.learning_rate < 0.3, 0, Status.diverged).broadcast_like(runs.status)
    other = Sweep(runs.assign(loss=before.transpose(*runs.loss.dims), status=status.astype("i4")))
    axes, view = ("learning_rate", "target_scale"), other.default_view()
    plain = cells(other, view, axes, "final value", None).values
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxscale.explorer._sweep_map._ends_vary", lambda _: True)
        structural = cells(other, view, axes, "final value", None).values
    np.testing.assert_array_equal(structural, plain)
    assert np.isnan(plain).tolist() == [False] * 4 + [True] * 2
    runs = js.open_store(sweep.path).load()
    other = Sweep(runs.assign(loss=runs.loss.where(runs.step < 50)))
    with pytest.MonkeyPatch.context() as patch:  # a run that did not fail has none of its last step
        patch.setattr("jaxscale.explorer._sweep_map._ends_vary", lambda _: True)
        assert np.isnan(cells(other, view, axes, "final value", None).values).all()


def test_an_axis_that_is_not_sorted_is_drawn_in_order():
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    rates = [0.4, 0.1, 0.2]
    runs = js.run(js.Grid(system, axes={"learning_rate": rates}, seeds=2), progress=False)
    sweep, view = Sweep(runs), View("loss", "learning_rate")
    curves = sweep.curves(view)
    assert curves.x.tolist() == [0.1, 0.2, 0.4]
    assert curves.points.tolist() == [[[1, 2, 0]]]
    ordered = runs.loss.isel(step=-1).sortby("learning_rate").transpose("seed", ...)
    np.testing.assert_array_equal(curves.values[0, 0], ordered)
    theory = theory_of_view(sweep, view, curves, {}).values
    expected = js.predict(sweep.grid).loss.isel(step=-1).sortby("learning_rate")
    np.testing.assert_allclose(theory[0, 0], expected, rtol=1e-12)
    best = float(ordered.mean("seed").idxmin())
    assert f"learning_rate = {best:g}:" in lowest(view, curves, sweep)


@pytest.mark.parametrize("first", [0, 1])
def test_theory_of_one_structure_is_shown_beside_others(first):
    parts = [js.superposition.Linear(), js.superposition.Relu()]
    system = js.superposition.TeacherStudent(
        n_features=8, frequency_exponent=1.5, n_steps=10, embedding=js.superposition.Identity(),
        decoder=parts[0],
    )  # fmt: skip
    grid = js.Grid(system, axes={"decoder": [parts[first], parts[1 - first]]})
    sweep = Sweep(js.run(grid, progress=False))
    view = sweep.default_view()
    theory = theory_of_view(sweep, view, sweep.curves(view), {}).values
    assert np.isfinite(theory).any(axis=(0, 2)).tolist() == [first == 0, first == 1]


def test_curves_are_chosen_of_values_that_ran_and_copied_as_they_are_shown():
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    rates = np.geomspace(0.05, 0.5, 14).tolist()
    runs = js.run(js.Grid(system, axes={"learning_rate": rates}), progress=False)
    status = runs.status.where(runs.learning_rate > 0.2, Status.not_run).astype("i4")
    runs = runs.assign(loss=runs.loss.where(status == 0), status=status)
    sweep, view = Sweep(runs), View("loss", "step", "learning_rate")
    curves = sweep.curves(view)
    assert np.isfinite(curves.mean).all()
    (axes,) = copied(sweep, view)["figure"].axes
    drawn = [line.get_label() for line in axes.lines if not line.get_label().startswith("_")]
    assert drawn == [f"learning_rate {label}" for label in curves.labels]


def test_the_copied_python_takes_runs_without_an_axis(sweep):
    runs = js.open_store(sweep.path).isel(target_scale=0)
    shown = copied(Sweep(runs), View("loss", "step", "learning_rate"))["shown"]
    np.testing.assert_array_equal(shown.loss, runs.loss)


def test_only_what_was_measured_of_every_run_is_listed(sweep):
    runs = js.open_store(sweep.path)
    own = {"mean": runs.loss.mean("seed"), "ratio": runs.loss / runs.loss.isel(step=0, drop=True)}
    assert set(Sweep(runs.assign(own)).observables) == {*sweep.observables, "ratio"}


def test_a_csv_has_no_formulas(sweep):
    runs = js.open_store(sweep.path).load().assign_coords(skill=["=1+1", "@SUM(A1)", "c"])
    other = Sweep(runs.isel(step=[-1], seed=[0]))
    code = sweep_code(other, View("skill_strength", "learning_rate", "skill"), {}, False, None)
    body = export("csv", code, {"runs": other.runs})[2].decode()
    assert ",'=1+1," in body
    assert ",'@SUM(A1)," in body
    assert ",=" not in body
