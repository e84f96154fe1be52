"""`jaxscale fit --form`: which rows it has, what it says where it cannot, and its options."""

import dataclasses
import json

import numpy as np
import pandas
import pytest

import jaxscale as js
from jaxscale._text import as_text
from jaxscale.report import _form_file
from jaxscale.report._fit_file import Request, fit_form
from jaxscale.report._form_file import FormFile, form_named

LAW = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
CHINCHILLA, POWER_LAW = form_named("chinchilla"), form_named("power_law")


def _runs(n=24):
    rng = np.random.default_rng(0)
    size, tokens = 10 ** rng.uniform(7, 10, n), 10 ** rng.uniform(9, 11.5, n)
    noise = np.exp(0.02 * rng.standard_normal(n))
    loss = np.asarray(js.forms.chinchilla(size, tokens, **LAW)) * noise
    return pandas.DataFrame({"n_parameters": size, "n_tokens": tokens, "loss": loss})


def _curve(x):
    x = np.asarray(x, float)
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(len(x)))
    return pandas.DataFrame({"x": x, "loss": (1 + (1 + x) ** -0.5) * noise})


def _texts(file):
    return " ".join(as_text(*file.tables()).split())


@pytest.mark.parametrize(
    ("x", "why"),
    [
        (np.repeat(np.geomspace(1, 9, 4), 5), "5 scales need runs at 20 different inputs, got 4"),
        (np.r_[80 * [1.0], np.geomspace(1.1, 99, 20)], "at least 3 different values of x for the"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_form_without_held_out_scales_is_fitted_all_the_same(tmp_path, x, why):
    file = FormFile.make(POWER_LAW, _curve(x), bootstrap=0)
    assert file.held_out is None
    assert "Held out no scores: " in _texts(file)
    assert why in _texts(file)
    file.write(str(tmp_path / "fit"))
    assert json.loads((tmp_path / "fit.json").read_text())["held_out"] is None


def test_held_out_scales_have_the_options_of_the_fit(monkeypatch):
    given = {}

    def called(*args, **options):
        given.update(options)
        raise ValueError("`by` must have scales.")

    monkeypatch.setattr(_form_file, "held_out", called)
    runs = _runs().assign(run=np.repeat(np.arange(8), 3))
    file = FormFile.make(CHINCHILLA, runs, bootstrap=40, key=3, resample="run")
    assert (given["bootstrap"], given["key"], given["resample"]) == (40, 3, "run")
    assert "no scores: compute must have scales" in _texts(file)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key", [0, -1])
def test_runs_of_equal_compute_have_parabolas_whatever_the_key(key):
    flop = np.repeat(np.geomspace(1e19, 1e21, 3), 6)
    size = np.sqrt(flop / 120) * np.tile(np.geomspace(0.2, 5, 6), 3)
    runs = pandas.DataFrame({"n_parameters": size, "n_tokens": flop / 6 / size})
    noise = np.exp(0.002 * np.random.default_rng(0).standard_normal(18))
    runs["loss"] = np.asarray(js.forms.chinchilla(runs["n_parameters"], runs["n_tokens"], **LAW))
    named = runs.assign(loss=runs["loss"] * noise, compute="much")  # a column that nothing reads
    file = FormFile.fitted(CHINCHILLA, named, bootstrap=40, key=key)
    assert "Runs of equal compute" in _texts(file)
    assert file.isoflop.n_without == 0
    below = dataclasses.replace(file, runs=named.assign(loss=-1.0))
    assert below.isoflop is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* values? of loss without a logarithm", "ignore:.*were lost")
def test_rows_that_are_left_out_are_used_nowhere_and_named():
    spoiled = _runs(7)
    spoiled.loc[0, "loss"], spoiled.loc[1, "n_tokens"] = -1.0, np.nan
    spoiled.loc[2, "loss"], spoiled.loc[3, "w"], spoiled.loc[4, "run"] = np.inf, np.nan, None
    spoiled.loc[[0, 1, 2, 4, 5, 6], "w"], spoiled.loc[[0, 1, 2, 3, 5, 6], "run"] = 1.0, 99.0
    spoiled.loc[5, "loss"] = 0.0
    good = _runs().assign(w=1.0, run=np.repeat(np.arange(8.0), 3))
    table = pandas.concat([spoiled.head(6), good], ignore_index=True)
    options = {"weights": "w", "resample": "run", "bootstrap": 40}
    file = FormFile.make(CHINCHILLA, table, ["1e20"], **options)
    alone = FormFile.make(CHINCHILLA, good, ["1e20"], **options)
    assert file.omitted == {
        "n_tokens blank or infinite": 1,
        "loss blank or infinite": 1,
        "run blank": 1,
        "w blank": 1,
        "loss not positive": 2,
    }
    assert file.fit.n_left_out == 6
    assert "6 points left out; rows left out: 1 n_tokens blank or infinite, 1" in _texts(file)
    assert file.to_dict()["left_out"] == file.omitted
    assert file.runs["loss"].tolist() == good["loss"].tolist()
    assert file.compute.tolist() == alone.compute.tolist()
    assert file.held_out.runs["error"].tolist() == alone.held_out.runs["error"].tolist()
    drawn = [[line.get_xydata() for line in axes.lines] for axes in file.allocation_figure().axes]
    other = [[line.get_xydata() for line in axes.lines] for axes in alone.allocation_figure().axes]
    for lines, expected in zip(drawn, other, strict=True):
        for one, two in zip(lines, expected, strict=True):
            assert np.allclose(one, two, rtol=1e-4, equal_nan=True)


@pytest.mark.filterwarnings("ignore:.*row with x = 0", "ignore:.*no standard error")
def test_a_row_of_which_a_form_says_nothing_is_named():
    table = _curve(np.r_[0.0, np.geomspace(1, 100, 24)]).assign(family="a")
    table = pandas.concat([table, table.assign(family="b").iloc[1:]], ignore_index=True)
    file = FormFile.make(POWER_LAW, table, each="family", bootstrap=0)
    assert file.omitted == {"without a statement of the form": 1}
    assert file.runs["x"].min() == 1.0
    assert len(file.runs) == 48
    assert "no scores: there is one fit for each family" in _texts(file)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:E is 0 in 1 fit of 1")
def test_warnings_of_held_out_fits_are_said_with_their_scores():
    x = np.geomspace(1, 1e4, 24)
    noise = np.exp(0.1 * np.random.default_rng(3).standard_normal(24))
    file = FormFile.make(
        POWER_LAW, pandas.DataFrame({"x": x, "loss": x**-0.5 * noise}), bootstrap=40
    )
    (said,) = file.held_out_warnings
    assert "E is 0 in " in said
    assert "of 6: the data show none" in said
    assert f"of these fits, {said}" in _texts(file)
    assert file.to_dict()["held_out"]["warnings"] == [said]


def test_an_input_with_a_default_is_read_where_it_is_named(tmp_path):
    @js.forms.form(A=js.forms.factor(), alpha=js.forms.exponent(), reference="of this test")
    def scaled_law(x, scale=1.0, *, A, alpha):
        return A * scale * x**-alpha

    try:
        x = np.geomspace(1, 100, 24)
        table = pandas.DataFrame({"x": x, "s": np.tile([1.0, 3.0], 12)})
        table.assign(loss=4 * table["s"] * x**-0.5).to_csv(tmp_path / "runs.csv", index=False)
        request = Request(
            str(tmp_path / "runs.csv"), None, form="scaled_law", x=("x=x", "scale=s"),
            at=("x=4,scale=3",), bootstrap=0,
        )  # fmt: skip
        file = fit_form(request)
        assert file.fit.values["A"] == pytest.approx(4.0)
        assert file.to_dict()["predictions"][0]["loss"] == pytest.approx(6.0)
        assert file.to_dict()["held_out"]["rms"] < 1e-6
        for draw in file.figures().values():
            assert draw().axes
    finally:
        del js.analysis._form.FORMS["scaled_law"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fix": ("E=abc",)}, "`fix` must be name=number, got 'E=abc'"),
        ({"fix": ("E=-1.8",)}, r"`E` of chinchilla must be at least 0, got -1\.8"),
        (
            {"fix": tuple(f"{n}={v}" for n, v in LAW.items())},
            "`fix` must leave a parameter of chinchilla to fit, got all",
        ),
        ({"resample": "rnu"}, "`resample` must be one of .*did you mean `run`"),
        ({"weights": "rnu"}, "`weights` must be one of .*did you mean `run`"),
        ({"each": "rnu"}, "`each` must be one of .*did you mean `run`"),
        ({"each": "run", "at": ("1e20",)}, "`at` allocates one fit, got each='run': select one"),
        (
            {"weights": "text"},
            "`weights=text` must be a column of numbers, got 'a' in line 2 of runs.csv",
        ),
    ],
)
def test_options_are_refused_by_name_and_value(tmp_path, options, message):
    table = _runs().assign(run=1, text="a")
    table.to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(ValueError, match=message):
        fit_form(Request(str(tmp_path / "runs.csv"), None, form="chinchilla", **options))


@pytest.mark.filterwarnings("ignore:.*no standard error")
def test_the_result_has_the_name_that_the_form_gives_it(tmp_path):
    size = np.geomspace(64, 1e5, 12)
    noise = np.exp(0.01 * np.random.default_rng(0).standard_normal(12))
    table = pandas.DataFrame({"batch_size": size, "n": 1000 * (1 + 2048 / size) * noise})
    table.to_csv(tmp_path / "runs.csv", index=False)
    path = str(tmp_path / "runs.csv")
    named, bare = (
        fit_form(Request(path, None, form="critical_batch", y=y, bootstrap=0)).fit.values
        for y in ("steps=n", "n")
    )
    assert named == bare
    assert named["B_crit"] == pytest.approx(2048, rel=0.1)
    with pytest.raises(ValueError, match="`y` must be COLUMN or steps=COLUMN, got 'loss=n'"):
        fit_form(Request(path, None, form="critical_batch", y="loss=n"))


@pytest.mark.filterwarnings("ignore:.*has no standard error", "ignore:.*inside the Huber")
def test_a_row_is_counted_in_the_table_that_was_given():
    table = pandas.concat([_runs().head(2).assign(loss=np.nan), _runs()], ignore_index=True)
    table.loc[5, "n_tokens"] = -1.0
    with pytest.raises(
        ValueError, match=r"`n_tokens` must be positive and finite, got -1\.0 in row 5"
    ):
        FormFile.make(CHINCHILLA, table)
