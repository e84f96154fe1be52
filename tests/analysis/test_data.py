"""Data of one's own: files of any make, bad rows, step 0, float32, and data that say nothing."""

import json

import numpy as np
import pandas
import pytest
import xarray

import jaxscale as js
from jaxscale._status import Status
from jaxscale.analysis._data import as_table, of_failed

N = np.asarray([1.0, 2.0, 4.0, 8.0, 16.0])
CURVE = pandas.DataFrame({"n": N, "loss": 3.0 * N**-0.5})
LAW = js.Formula(lambda n, a, b: a * n**-b, {"a": 1.0, "b": 1.0})
FREE = ["a", "b"]


def _lines(mark=","):
    return [mark.join(("n", "loss")), *(f"{n:g}{mark}{y!r}" for n, y in CURVE.to_numpy().tolist())]


def _records():
    return CURVE.to_dict("records")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "\n".join(_lines())),
        ("a.csv", "\n".join(_lines(";"))),
        ("a.tsv", "\n".join(_lines("\t"))),
        ("a.txt", "\n".join(_lines(" | "))),
        ("a.csv", "\ufeff# of run 7, in nats\n#\n\n" + "\r\n".join(_lines(" , ")) + "\n\n"),
        ("a.csv", "\n".join(_lines()).replace("n,loss", '" n ", loss ')),
        ("a.csv", "\n".join(_lines(", ")).replace("loss", '"loss"').replace("3.0", '"3.0"')),
        ("a.jsonl", "\n".join(json.dumps(r) for r in _records())),
        ("a.ndjson", "\n".join(json.dumps(r) for r in _records()) + "\n"),
        ("a.json", json.dumps(_records(), indent=1)),
    ],
)
def test_files_of_every_make_hold_one_table(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    table = as_table(tmp_path / name).reset_index(drop=True)
    pandas.testing.assert_frame_equal(table, CURVE, check_dtype=False)


def test_values_of_failed_runs_are_left_out_whatever_their_name():
    codes = [Status.ok, Status.diverged, Status.not_run, Status.not_converged]
    once, each_step = ("seed", np.arange(4.0)), (("seed", "step"), np.ones((4, 2)))
    runs = xarray.Dataset({"loss": each_step, "zone": each_step, "area": once, "weight": once})
    runs["status"] = "seed", [int(code) for code in codes]
    for name in ("loss", "zone"):  # before and after `status` in the alphabet
        assert of_failed(runs, name)[:, 0].values.tolist() == [False, True, True, False]
    for name in ("area", "weight"):  # recorded before a run diverges
        assert of_failed(runs, name).values.tolist() == [False, False, True, False]
    for name, source in (("status", runs), ("loss", runs.drop_vars("status"))):
        assert not of_failed(source, name).any()


def test_packed_files_and_text_columns_are_read_as_they_are(tmp_path):
    path = tmp_path / "a.csv.gz"
    CURVE.assign(run=" first ").to_csv(path, index=False)
    table = as_table(str(path), {"time": "n"})
    assert set(table["run"]) == {"first"}
    np.testing.assert_array_equal(table["time"], N)


def test_a_label_may_be_any_text_and_an_empty_cell_is_none(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("n,family,loss\n1,NA,3.0\n2,None,NA\n3,,nan\n4,b,\n5, null ,1.0\n")
    table = as_table(path)
    assert table["family"].fillna("missing").tolist() == ["NA", "None", "missing", "b", "null"]
    np.testing.assert_array_equal(table["loss"], [3.0, np.nan, np.nan, np.nan, 1.0])
    x = np.tile(np.geomspace(1, 1e3, 8), 2)
    runs = pandas.DataFrame({"x": x, "family": np.repeat(["NA", "b"], 8), "loss": 1 + x**-0.5})
    runs.to_csv(path, index=False)
    form = js.forms.grouped(js.forms.power_law, "family", ["alpha"])
    fit = js.calibrate(form, path, bootstrap=0, loss=js.residuals.Squared())
    assert {"A[NA]", "A[b]"} < set(fit.values)
    assert fit.n_left_out == 0


def test_lines_between_rows_that_are_none_are_counted(tmp_path):
    path, lines = tmp_path / "a.csv", _lines()
    path.write_text("\n".join([*lines[:3], "# restarted", "", *lines[3:], "# end"]))
    with pytest.warns(UserWarning, match=r"2 lines between rows of a\.csv, comments \(#\) or bl"):
        table = as_table(path)
    np.testing.assert_array_equal(table["n"], N)


def test_blank_rows_are_counted_by_the_fit(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("\n".join([*_lines(), ",", "32,"]))
    fit = js.calibrate(LAW, path, FREE, n_starts=1)
    assert (fit.n_points, fit.n_left_out) == (5, 2)
    assert fit.values["b"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "n,loss\n# x\n1,2\n2,1,0\n", r"must have 2 cells in each row \(n, loss\), got 3 i"
         "n line 4"),
        ("a.csv", "n,loss\n1,2\n2\n", "must have 2 cells .* got 1 in line 3"),
        ("a.csv", "n,loss,loss \n1,2,3\n", "must name each column once, got 'loss' twice"),
        ("a.csv", "# n loss\n1,2\n2,1\n", "must name its columns .* the numbers 1, 2 in line 2"),
        ("a.csv", "n loss\n1 2\n2 1\n", r"must be separated by one of .*'n loss'.*sep=r'\\s\+'"),
        ("a.csv", "n;loss\n1;2,5\n2;1\n", r"decimals with a point, got '2,5' for 'loss' in "
         r"line 2; .*sep=';', decimal=','"),
        ("a.csv", "# nothing\n\n", "has no rows"),
        ("a.csv", b"\xff\xfe\x00", "is not a table"),
        ("a.csv.gz", "n,loss\n1,2\n", "is not a table"),
        ("a.csv", 'n,loss\n1,"2\n', "is not a table"),
        ("a.jsonl", '{"n": 1, "loss": 2}\n\n[1, 2]\n', r"one JSON object .* '\[1, 2\]' in line 3"),
        ("a.jsonl", '{"n": 1, "loss": 2}\n{"n": 2, "los\n', "one JSON object .* in line 2: "),
        ("a.jsonl", '{"n": 1, "n": 2}\n', "in line 1: .*each column once, got 'n' twice"),
        ("a.json", '{"n": [1, 2]}', "must be a JSON list of records, .* got a dict"),
        ("a.json", '[{"n": 1}, 2]', r"must be a JSON list of records, .* got '2' in row 1"),
        ("a.json", f'[{{"n": 1}}, "{"x" * 99}"]', f"got '{'x' * 60}' in row 1"),
        ("a.json", '{"n": 1}\n{"n": 2}\n', r"JSON lines have the ending \.jsonl"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:1 line between rows")
def test_files_that_hold_no_table_are_refused_with_the_line(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        as_table(path)


def test_parquet_without_its_library_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1")

    def read(path):
        raise ImportError("no engine")

    monkeypatch.setattr(pandas, "read_parquet", read)
    with pytest.raises(ValueError, match=r"Parquet needs pyarrow.*or write the table as CSV"):
        as_table(path)


def test_frames_name_each_column_once():
    twice = pandas.DataFrame([[1.0, 2.0, 3.0]], columns=["n", "loss", "loss"])
    with pytest.raises(ValueError, match="`data` must name each column once, got 'loss' twice"):
        js.calibrate(LAW, twice, FREE)


SYSTEM = js.emergence.MultilinearSkills(n_skills=3, n_steps=40, record=[0, 10, 40])
SURFACE = pandas.DataFrame({"n_parameters": 1e7 * N, "n_tokens": 1e9 * N, "loss": 3.0 * N**-0.1})


@pytest.mark.parametrize(
    "fit",
    [
        lambda data: js.calibrate(LAW, data.rename(columns={"step": "n"}), FREE),
        lambda data: js.calibrate(js.Grid(SYSTEM), data, ["learning_rate"]),
        lambda data: js.fit_loss_surface(SURFACE.assign(loss=data["loss"])),
    ],
    ids=["formula", "grid", "surface"],
)
def test_a_text_among_numbers_is_refused_with_its_row(fit):
    data = pandas.DataFrame({"step": [1, 2, 3, 10, 40], "loss": [1.0, 0.5, "diverged", 0.1, None]})
    with pytest.raises(
        ValueError, match=r"`loss` must be .*, got 'diverged' in row 2 \(counted from 0\)"
    ):
        fit(data)


def test_a_text_in_an_axis_and_dates_are_refused_with_their_row():
    data = pandas.DataFrame({"step": [0, "ten", 40], "loss": [1.0, 0.5, 0.1]})
    with pytest.raises(ValueError, match=r"`step` .*'ten' in row 1"):
        js.calibrate(js.Grid(SYSTEM), data, ["skill_exponent"])
    data = pandas.DataFrame({"step": 40, "loss": [1.0, 0.5], "learning_rate": [0.1, "fast"]})
    with pytest.raises(ValueError, match=r"`learning_rate` .*'fast' in row 1"):
        js.calibrate(js.Grid(SYSTEM, {"learning_rate": [0.1, 0.2]}), data, ["skill_exponent"])
    dated = CURVE.assign(n=pandas.date_range("2026-01-01", periods=5))
    with pytest.raises(ValueError, match=r"`n` must be a column of numbers, got .* in row 0"):
        js.calibrate(LAW, dated, FREE)


def test_a_row_at_step_0_of_a_power_law_is_left_out_and_counted():
    start = pandas.DataFrame({"n": [0.0, 0.0], "loss": [5.0, 6.0]})
    both = pandas.concat([start, CURVE])
    with pytest.warns(UserWarning, match="2 rows with n = 0, where the theory is infinite: left"):
        fit = js.calibrate(LAW, both, FREE, n_starts=1)
    assert (fit.n_points, fit.n_left_out) == (5, 2)
    assert fit.values["b"] == pytest.approx(0.5)
    undefined = js.Formula(lambda n, a, b: a * n**-b * n / n, LAW.values)
    with pytest.warns(UserWarning, match=r"1 row with n = 0, where the theory is not a number"):
        fit = js.calibrate(undefined, both.iloc[1:], FREE, n_starts=1)
    assert fit.n_left_out == 1
    finite = js.Formula(lambda n, a, b: a * (1 + n) ** -b, LAW.values)
    assert js.calibrate(finite, both, FREE, n_starts=1).n_points == 7
    pole = js.Formula(lambda n, a, b: a * (n - 1) ** -b, LAW.values)
    with pytest.raises(ValueError, match="zero, negative or infinite at 1 points"):
        js.calibrate(pole, CURVE, FREE, n_starts=1)


FLOOR = js.Formula(lambda n, a, b, e: e + a * n**-b, {**LAW.values, "e": 0.5})


def test_data_without_information_on_an_exponent_say_so():
    constant = CURVE.assign(loss=2.0)
    with pytest.warns(UserWarning, match=r"loss is 2 at every point: .* an exponent, .* a, b, e"):
        js.calibrate(FLOOR, constant, [*FREE, "e"], n_starts=1)
    runs = pandas.concat([CURVE.assign(run=0), constant.assign(run=1)])
    bounds = {"b": js.bounds.Unbounded()}
    with pytest.warns(UserWarning, match="loss is 2 at every point in 1 of 2 fits"):
        fit = js.calibrate(LAW, runs, FREE, each="run", bounds=bounds, n_starts=1)
    np.testing.assert_allclose(fit.values["b"], [0.5, 0.0], atol=1e-9)


def test_data_at_too_few_sizes_are_refused():
    few = CURVE.assign(n=10.0)
    with pytest.raises(ValueError, match=r"at least 2 different values of n .* a, b, got n = 10: "):
        js.calibrate(LAW, few, FREE, n_starts=1)
    two = CURVE.assign(n=[10.0, 10.0, 20.0, 20.0, 20.0], run=7)
    with pytest.raises(ValueError, match=r"at least 3 different .* a, b, e, got 2 for 7: they"):
        js.calibrate(FLOOR, two, [*FREE, "e"], each="run", n_starts=1)
    with pytest.raises(ValueError, match=r"`n_tokens` must have several .* no information on"):
        js.fit_loss_surface(pandas.concat([SURFACE.assign(n_tokens=1e9)] * 2))


@pytest.mark.filterwarnings("ignore::UserWarning")  # the fit also ends at a bound
def test_one_size_among_several_inputs_is_named():
    runs = pandas.concat([SURFACE] * 2).assign(n_parameters=1e8)
    law = js.Formula(js.forms.chinchilla, dict(E=1.0, A=9.0, B=9.0, alpha=0.3, beta=0.3))
    with pytest.warns(UserWarning, match=r"^n_parameters is 1e.08 at every point: the data hold"):
        js.calibrate(law, runs, ["A", "alpha", "B", "beta"], n_starts=1)


def test_a_constant_curve_has_no_exponent():
    flat = CURVE.set_index("n")["loss"].to_xarray() * 0 + 2
    with pytest.warns(UserWarning, match=r"constant in the window .* no information on an expo"):
        assert np.isnan(js.analysis.fit_saturating(flat, "n", (1, 16)).value)
    assert js.analysis.fit_exponent(flat, "n", (1, 16)).value == pytest.approx(0, abs=1e-12)


def test_json_holds_the_fit_under_values_and_the_start_under_start():
    law = js.Formula(LAW.function, {"a": 3.0, "b": 0.2})
    written = js.calibrate(law, CURVE, ["b"], n_starts=1).to_dict()
    assert written["values"] == {"b": pytest.approx(0.5)}
    assert written["start"] == {"b": 0.2}
    assert (written["n_resamples"], written["resampled"]) == (0, None)
    assert written["theory"] == {"formula": "<lambda>", "fixed": {"a": 3.0}, "result": "loss"}
    runs = pandas.concat([CURVE.assign(run=0), CURVE.assign(run=1, loss=3.0 / N)])
    written = js.calibrate(law, runs, ["b"], each="run", n_starts=1).to_dict()
    assert written["values"] == {"b": [pytest.approx(0.5), pytest.approx(1.0)]}
    assert written["labels"] == [0, 1]


def test_json_of_a_grid_holds_no_start_among_its_fields():
    system = js.replace(SYSTEM, "data", js.emergence.FiniteSet(n_samples=50))
    grid = js.Grid(js.replace(system, "learning_rate", 0.05))
    free = ["learning_rate"]
    written = js.calibrate(grid, js.predict(js.Grid(system)), free, n_starts=1).to_dict()
    assert written["values"] == {"learning_rate": pytest.approx(float(system.learning_rate))}
    assert written["start"] == {"learning_rate": 0.05}
    fields = written["theory"]["grid"]["fields"]
    assert "learning_rate" not in fields
    assert fields["data"]["n_samples"] == 50


@pytest.mark.parametrize("as_data", ["table", "dataset"])
def test_coordinates_of_float32_match_those_of_the_grid(as_data):
    axes = {"learning_rate": [0.1, 0.2, 0.3]}
    exact = js.predict(js.Grid(SYSTEM, axes))[["loss"]]
    rounded = exact.assign_coords(learning_rate=exact["learning_rate"].astype(np.float32))
    assert float(rounded["learning_rate"][0]) != 0.1
    data = rounded if as_data == "dataset" else rounded.to_dataframe().reset_index()
    grid = js.Grid(js.replace(SYSTEM, "skill_exponent", 1.0), axes)
    fit = js.calibrate(grid, data, ["skill_exponent"], n_starts=1)
    assert fit.n_points == 9
    assert fit.values["skill_exponent"] == pytest.approx(float(SYSTEM.skill_exponent), rel=1e-5)
    other = js.Grid(grid.system, {"learning_rate": [0.1, 0.2, 0.31]})
    with pytest.raises(ValueError, match=r"`data` has learning_rate = 0.3.*, which the grid does"):
        js.calibrate(other, data, ["skill_exponent"])


def test_a_table_of_float32_is_fitted_and_drawn_by_its_labels():
    runs = pandas.concat([CURVE.assign(rate=0.1), CURVE.assign(rate=0.2, loss=3.0 / N)])
    single = runs.astype(np.float32)
    fit = js.calibrate(LAW, single, FREE, each="rate", n_starts=1)
    np.testing.assert_allclose(fit.values["b"], [0.5, 1.0], rtol=1e-5)
    figure = js.plot(single, fit)
    assert [len(line.get_xdata()) for line in figure.axes[0].lines[::2]] == [5, 5]
