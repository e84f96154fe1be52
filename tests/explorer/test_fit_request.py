"""The fit of the page is that of `jaxscale fit`, and of the Python that it hands out."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas
import pytest

import jaxscale as js
from jaxscale.explorer._fit_code import fit_code
from jaxscale.explorer._fit_request import (
    FitRequest,
    ends_of,
    first_request,
    fitted,
    grouping_columns,
    numeric_columns,
    offered_forms,
)
from jaxscale.explorer._fit_state import restored, state_of
from jaxscale.report._fit_file import Request, fit_form

PUBLISHED = Path(__file__).parents[2] / "examples" / "chinchilla_runs.csv"


@pytest.fixture
def power_law(tmp_path):
    """Runs of two families, one of them with a blank loss."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.geomspace(1e6, 1e9, 12), 2)
    loss = (1.7 + 400 * x**-0.34) * np.exp(0.01 * rng.standard_normal(24))
    loss[5] = np.nan
    runs = pandas.DataFrame({"size": x, "val_loss": loss, "family": np.tile(["a", "b"], 12)})
    runs.to_csv(tmp_path / "runs.csv", index=False, sep=";")
    return tmp_path / "runs.csv"


def of_shell(path, request):
    """What `jaxscale fit` makes of the same options."""
    return fit_form(
        Request(
            data=str(path), theory=None, form=request.form, y=request.columns["loss"],
            x=tuple(f"{n}={c}" for n, c in request.columns.items() if n != "loss"),
            where=(request.where,) if request.where else (), residual=request.residual or None,
            bootstrap=int(request.bootstrap) if request.bootstrap else None,
            resample=request.resample or None, weights=request.weights or None,
            huber=float(request.huber) if request.huber else None,
            fix=tuple(request.fix.split(", ")) if request.fix else (),
            bound=tuple(request.bound.split(", ")) if request.bound else (),
        )
    ).fit  # fmt: skip


def executed(code):
    names = {}
    exec(code, names)
    return names


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*have no standard error")
@pytest.mark.parametrize(
    ("where", "residual"), [("", ""), ("family=a", "scaled"), ("size<3e7", "")]
)
def test_a_fit_is_that_of_the_shell_and_of_the_python(power_law, where, residual):
    table = js.analysis._data.as_table(power_law)
    columns = {"x": "size", "loss": "val_loss"}
    request = FitRequest("power_law", columns, where, residual=residual, bootstrap="0")
    fit = fitted(table, request).file.fit
    names = executed(fit_code(request, str(power_law)))
    assert fit.values == of_shell(power_law, request).values == names["fit"].values
    assert fit.n_points == {"": 23, "family=a": 12, "size<3e7": 11}[where]
    assert len(names["table"]) == 3
    assert names["figure"].axes


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*have no standard error")
@pytest.mark.parametrize(
    "options",
    [
        {"huber": "0.001"},
        {"huber": "inf", "weights": "errors"},
        {"fix": "E=1.7, alpha=.34"},
        {"bound": "E=1.5:1.9, alpha=.1:.6"},
    ],
)
def test_options_are_those_of_the_shell_and_of_the_python(power_law, options):
    table = pandas.read_csv(power_law, sep=";").assign(errors=np.linspace(1, 3, 24))
    table.to_csv(power_law, index=False, sep=";")
    columns = {"x": "size", "loss": "val_loss"}
    request = FitRequest("power_law", columns, bootstrap="0", **options)
    made = fitted(js.analysis._data.as_table(power_law), request)
    names = executed(fit_code(request, str(power_law)))
    values = made.file.fit.values
    assert values == of_shell(power_law, request).values == names["fit"].values
    plain = fitted(js.analysis._data.as_table(power_law), FitRequest("power_law", columns))
    assert values != plain.file.fit.values
    assert ("fixed: E = 1.7, alpha" in made.file.parameters_table().note) == ("fix" in options)
    if "weights" in options:
        assert made.compared()[0].table().rows


@pytest.mark.slow
def test_a_fit_to_published_runs_is_that_of_the_shell_and_of_the_python():
    table = pandas.read_csv(PUBLISHED, comment="#")
    request = first_request("chinchilla", numeric_columns(table))
    assert request.columns == {"n_parameters": "params", "n_tokens": "tokens", "loss": "loss"}
    made = fitted(table, request)
    other = of_shell(PUBLISHED, request)
    code = fit_code(request, str(PUBLISHED), compute=1e22, ends=made.ends)
    names = executed(code)
    assert made.file.fit.interval() == other.interval() == names["fit"].interval()
    best = names["best"]
    shown = made.at(1e22).allocated.best["n_parameters"]
    np.testing.assert_array_equal(best.best["n_parameters"][best.flop == 1e22], shown)


@pytest.mark.slow
def test_tokens_follow_from_compute_also_in_the_python(tmp_path):
    n = np.tile(np.geomspace(1e7, 1e9, 5), 4)
    c = np.repeat(np.geomspace(1e18, 1e21, 4), 5)
    loss = 1.7 + 400 * n**-0.34 + 2000 * (c / 6 / n) ** -0.37
    pandas.DataFrame({"N": n, "FLOPs": c, "loss": loss}).to_csv(tmp_path / "r.csv", index=False)
    table = pandas.read_csv(tmp_path / "r.csv")
    request = first_request("chinchilla", numeric_columns(table))
    request = FitRequest(request.form, request.columns, bootstrap="0")
    made = fitted(table, request)
    assert request.derived == "n_tokens"
    assert made.file.fit.values["alpha"] == pytest.approx(0.34, rel=1e-3)
    names = executed(fit_code(request, str(tmp_path / "r.csv"), ends=made.ends))
    assert names["fit"].values == made.file.fit.values


def test_a_size_follows_from_compute_and_the_other():
    request = first_request("chinchilla", ["params", "flops", "loss"])
    assert (request.derived, request.missing) == ("n_tokens", [])
    table = pandas.DataFrame({"params": [1e6, 2e6], "flops": [6e15, 1.2e16], "loss": [3.0, 2.0]})
    assert request.runs(table)["n_tokens"].tolist() == [1e9, 1e9]
    request = first_request("chinchilla", ["tokens", "flops", "loss"])
    assert (request.derived, request.missing) == ("n_parameters", [])
    request = first_request("chinchilla", ["params", "tokens", "flops", "loss"])
    assert (request.derived, "compute" in request.columns) == ("", False)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("loss", "oops", "`loss` must be a column of numbers, got 'oops' in row 3"),
        ("flops", "oops", "`compute` must be a column of numbers, got 'oops' in row 3"),
        ("params", -1.0, "must be positive and finite, got -"),
    ],
)
def test_damaged_columns_are_named(column, value, message):
    runs = {n: [float(v) for v in range(1, 10)] for n in ("params", "flops", "loss")}
    runs[column][3] = value
    table = pandas.DataFrame(runs)
    assert numeric_columns(table) == [*runs]
    with pytest.raises(ValueError, match=message):
        fitted(table, first_request("chinchilla", [*runs]))


def test_columns_that_are_missing_are_named():
    table = pandas.DataFrame({"a": [1.0], "loss": [1.0]})
    with pytest.raises(ValueError, match="no column for n_parameters, n_tokens: choose"):
        fitted(table, first_request("chinchilla", ["loss"]))
    with pytest.raises(ValueError, match="no column 'b'"):
        fitted(table, FitRequest("power_law", {"x": "b", "loss": "loss"}))


def test_forms_are_offered_where_columns_suffice():
    assert offered_forms(["x"]) == []
    assert set(offered_forms(["a", "loss"])) == {"power_law", "broken_power_law", "critical_batch"}
    offered = offered_forms(["params", "tokens", "loss"])
    assert offered[0] == "chinchilla"
    assert "precision" not in offered


def test_columns_of_few_values_choose_rows():
    table = pandas.DataFrame({
        "x": np.arange(8.0), "seed": [0, 1] * 4, "kind": list("aabbaabb"),
        "ema": [True, False] * 4, "name": list("abcdefgh"), "one": [1] * 8,
    })  # fmt: skip
    expected = {"seed": ["0", "1"], "kind": ["a", "b"], "ema": ["false", "true"]}
    assert grouping_columns(table) == expected


def test_a_slider_reaches_far_beyond_the_runs():
    assert ends_of(np.asarray([1e18, 1e20])) == (1e18, 1e26)
    assert ends_of(np.asarray([1e18, 1e25])) == pytest.approx((1e18, 1e28))


@pytest.mark.parametrize("ending", ["csv", "tsv", "json", "jsonl"])
def test_the_python_reads_the_file(tmp_path, ending):
    kinds = ["run#1"] * 5 + ["NA"] * 5
    table = pandas.DataFrame({"x": [1.0, 2.0, 4.0, 8.0, 16.0] * 2, "kind": kinds})
    table["loss"] = 1 + table["x"] ** -0.5
    path = tmp_path / f"runs.{ending}"
    if ending in ("csv", "tsv"):
        path.write_text("# a comment\n" + table.to_csv(sep="\t" if ending == "tsv" else ","))
    else:
        table.to_json(path, orient="records", lines=ending == "jsonl")
    for kind, rows in (("run#1", slice(5)), ("NA", slice(5, 10))):
        request = FitRequest("power_law", {"x": "x", "loss": "loss"}, f"kind={kind}")
        names = executed("\n".join(fit_code(request, str(path)).split("\n")[:-3]))
        assert names["runs"]["kind"].tolist() == [kind] * 5
        np.testing.assert_allclose(
            names["runs"][["x", "loss"]], table[["x", "loss"]][rows], rtol=1e-9
        )


def test_the_python_of_a_table_that_was_given_leaves_it_to_the_user():
    code = fit_code(FitRequest("power_law", {"x": "x", "loss": "loss"}), None)
    assert "runs = ...  # the table" in code
    assert code.endswith("figure = js.report.residuals_figure(fit)")
    assert "fit = js.calibrate(js.forms.power_law, runs)" in code


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"columns": {"n_parameters": "params", "compute": "flops", "loss": "loss"}},
        {"columns": {"loss": "loss"}, "where": "kind=a=b"},
        {"form": "kaplan", "residual": "scaled", "resample": "seed", "bootstrap": "0"},
        {"huber": "0.01", "weights": "flops", "fix": "E=0", "bound": "alpha=0:1, beta=0:1"},
    ],
)
def test_an_address_restores_a_request(changed):
    columns = ["params", "tokens", "flops", "loss"]
    request = dataclasses.replace(first_request("chinchilla", columns), **changed)
    assert restored(state_of(request, columns), offered_forms(columns), columns) == request


def test_an_address_that_says_nonsense_is_what_names_suggest():
    columns = ["params", "tokens", "loss"]
    given = {
        "form": "nonsense",
        "residual": "nonsense",
        "refits": "-1",
        "huber": "-1",
        "theme": "dark",
    }
    made = restored(given, offered_forms(columns), columns)
    assert made == first_request("chinchilla", columns)


def test_a_column_called_none_can_be_chosen_by_address():
    columns = ["none", "size", "loss"]
    request = first_request("power_law", columns)
    for chosen in ({"loss": "loss", "x": "none"}, {"loss": "loss"}):
        asked = dataclasses.replace(request, columns=chosen)
        assert restored(state_of(asked, columns), ["power_law"], columns) == asked
    given = {"form": "power_law", "column.x": "none"}
    assert restored(given, ["power_law"], columns).columns["x"] == "none"
