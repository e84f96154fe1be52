"""`jaxscale fit`, `surface`: tables, stores, what they print and write, and what they refuse."""

import json
import warnings
from typing import Annotated

import numpy as np
import pandas
import pytest
import typer

import jaxscale as js
from jaxscale import cli
from jaxscale._theories import theories
from jaxscale.analysis._diagnostics import warn_logarithms
from jaxscale.cli._words import in_shell, with_options_named
from jaxscale.emergence import MultilinearSkills
from jaxscale.report._fit_file import Request, _places, fit_runs, selected_rows

SEQUENTIAL = (
    "fit curves.csv --theory superposition.sequential_loss --x time=iteration --y train "
    "--free frequency_exponent=1.2 --free learning_rate=0.3 --fix importance_exponent=0.0 "
    "--fix n_features=64"
)

POWER = "fit curves.csv --form power_law --x iteration --y train"
SURFACE = "fit curves.csv --form chinchilla --x n_parameters=iteration --x n_tokens=run --y train"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with five runs of noisy curves, as the working directory."""
    steps = np.unique(np.geomspace(1, 300, 20).round())
    exact = js.superposition.theory.sequential_loss(
        steps, frequency_exponent=1.5, importance_exponent=0.0, n_features=64, learning_rate=0.1
    )
    rng, rows = np.random.default_rng(0), []
    for run in range(5):
        loss = np.asarray(exact) * np.exp(0.02 * rng.standard_normal(len(steps)))
        rows.append(pandas.DataFrame({"iteration": steps, "train": loss, "run": run}))
    pandas.concat(rows).to_csv(tmp_path / "curves.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _call(monkeypatch, line):
    monkeypatch.setattr("sys.argv", ["jaxscale", *line.split()])
    with pytest.raises(SystemExit) as done:
        cli.main()
    return done.value.code or 0


def test_a_table_is_fitted_printed_and_drawn(folder, capsys, monkeypatch):
    assert _call(monkeypatch, f"{SEQUENTIAL} --bootstrap 40 --resample run") == 0
    output = capsys.readouterr().out
    assert "\nfrequency_exponent  " in output
    assert "90 points" in output
    written = json.loads((folder / "curves-fit.json").read_text())
    values = {p["parameter"]: p["value"] for p in written["parameters"]}
    assert values["frequency_exponent"] == pytest.approx(1.5, rel=0.1)
    assert values["learning_rate"] == pytest.approx(0.1, rel=0.2)
    assert written["n_resamples"] == 40
    low, high = written["parameters"][0]["interval"]
    assert low < written["parameters"][0]["value"] < high
    assert (folder / "curves-fit.png").stat().st_size > 5000
    assert (folder / "curves-fit.svg").read_text().startswith("<?xml")


def test_the_result_of_a_form_may_be_named(folder, capsys, monkeypatch):
    written = []
    for line in (POWER, POWER.replace("--y train", "--y loss=train")):
        assert _call(monkeypatch, f"{line} --out mine") == 0
        written.append(json.loads((folder / "mine.json").read_text()))
    assert written[0] == written[1]


@pytest.mark.slow
def test_options_reach_the_fit(folder, capsys, monkeypatch):
    line = f"{SEQUENTIAL} --each run --huber 0.02 --bound frequency_exponent=1.0:3.0 --out mine"
    assert _call(monkeypatch, line) == 0
    assert "18 points" in capsys.readouterr().out
    written = json.loads((folder / "mine.json").read_text())
    assert [p["label"] for p in written["parameters"]] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert written["parameters"][0]["value"] == pytest.approx(1.5, rel=0.1)
    assert _call(monkeypatch, f"{SEQUENTIAL} --where run=1 --residual scaled --out one") == 0
    assert json.loads((folder / "one.json").read_text())["n_points"] == 18


@pytest.mark.slow
def test_several_inputs_draw_what_is_left(folder, monkeypatch):
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform(7, 9, 40), 10 ** rng.uniform(9, 11, 40)
    truth = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
    loss = js.forms.chinchilla(n, d, **truth) * np.exp(0.01 * rng.standard_normal(40))
    pandas.DataFrame({"N": n, "D": d, "loss": np.asarray(loss)}).to_csv("llm.csv", index=False)
    line = ("fit llm.csv --theory chinchilla --x n_parameters=N --x n_tokens=D --huber 0.02 "
            "--free E=1.5 --free A=100 --free alpha=0.3")  # fmt: skip
    assert _call(monkeypatch, f"{line} --fix B=2100.0 --fix beta=0.37") == 0
    written = json.loads((folder / "llm-fit.json").read_text())
    for row in written["parameters"]:
        assert abs(row["value"] - truth[row["parameter"]]) < 4 * row["standard_error"]
    assert (folder / "llm-fit.png").is_file()


def test_a_form_is_fitted_and_allocated(folder, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform(7, 9, 24), 10 ** rng.uniform(9, 11, 24)
    truth = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
    loss = js.forms.chinchilla(n, d, **truth) * np.exp(0.01 * rng.standard_normal(24))
    table = pandas.DataFrame({"N": n, "n_tokens": d, "final": np.asarray(loss), "set": "used"})
    spoiled = table.head(3).assign(set="spoiled", final=9.0)
    failed = table.head(3).assign(final=[np.nan, np.inf, 2.0], N=[1e8, 1e8, np.nan])
    pandas.concat([failed, table, spoiled]).to_csv("llm.csv", index=False)
    line = "llm.csv --x n_parameters=N --y final --where set=used --bootstrap 40 --key 1"
    at = "--at 1e19 --at 1e25 --at n_parameters=1e9,n_tokens=2e10"
    assert _call(monkeypatch, f"fit {line} --form chinchilla {at}") == 0
    output = " ".join(capsys.readouterr().out.split())
    surface = js.fit_loss_surface(n, d, np.asarray(loss), bootstrap=40, key=1)
    written = json.loads((folder / "llm-fit.json").read_text())
    assert (written["n_points"], written["n_left_out"]) == (24, 3)
    assert "intervals: percentiles of 40 resamples of 24 points; 3 points left out" in output
    for name, value in surface.values.items():
        assert written["values"][name] == pytest.approx(value, rel=1e-6)
        assert f"{name} {value:.6g}" in output
    best, ends = surface.optimal_allocation(1e19), surface.allocation_interval(1e19)
    for name, value in best.items():
        low, high = (float(end) for end in ends[name])
        row = written["optimal_allocation"][0]
        numbers = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
        assert numbers == pytest.approx([float(value), low, high], rel=1e-6)
        assert f"1e+19 {name} {value:.4g} {low:.3g} to {high:.3g}" in output
    assert "; C, N or D outside of theirs: 1e+25 by" in output
    predicted = written["predictions"][0]
    assert predicted["loss"] == pytest.approx(float(surface.loss(1e9, 2e10)), rel=1e-6)
    assert predicted["new_low"] < predicted["loss_low"] < predicted["loss"]
    assert (folder / "llm-fit.png").stat().st_size > 10_000
    assert (folder / "llm-fit.svg").read_text().startswith("<?xml")
    # the old command has the same numbers, and says its new name
    assert _call(monkeypatch, f"surface {line} --flop 1e19") == 0
    assert "`fit --form chinchilla` is the same" in capsys.readouterr().err
    again = json.loads((folder / "llm-surface.json").read_text())
    assert again["values"] == written["values"]


@pytest.mark.slow
def test_a_warning_of_a_fit_is_one_line_once(folder, capsys, monkeypatch):
    """Also of what is computed when it is printed, as parabolas are."""
    n, d = (x.ravel() for x in np.meshgrid(np.geomspace(1e7, 1e9, 5), np.geomspace(1e9, 1e11, 6)))
    loss = 1.7 + 400 * n**-0.34 + 410 * d**-0.28
    pandas.DataFrame({"n_parameters": n, "n_tokens": d, "loss": loss}).to_csv("llm.csv")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert _call(monkeypatch, "fit llm.csv --form chinchilla --huber 1 --bootstrap 3") == 0
    output, errors = capsys.readouterr()
    assert all(line.startswith("warning: ") for line in errors.splitlines())
    assert f"{output}{errors}".count("resamples are too few") == 1


def test_an_old_name_of_a_theory_is_said(folder, capsys, monkeypatch):
    n, d = np.geomspace(1e7, 1e9, 8), np.geomspace(1e10, 1e11, 8)
    table = pandas.DataFrame({"n_parameters": n, "n_tokens": d, "loss": 1 + n**-0.5 + d**-0.5})
    table.to_csv("llm.csv", index=False)
    fixed = "--fix A=1.0 --fix B=1.0 --fix alpha=0.5 --fix beta=0.5"
    assert _call(monkeypatch, f"fit llm.csv --theory loss_surface --free E=2 {fixed}") == 0
    assert "warning: `loss_surface` is deprecated, use `chinchilla`." in capsys.readouterr().err


@pytest.mark.slow
def test_a_store_is_fitted_by_its_own_theory(folder, capsys, monkeypatch):
    record = range(0, 1001, 100)
    system = MultilinearSkills(n_skills=3, n_steps=1000, learning_rate=0.01, record=record)
    js.run(js.Grid(system, seeds=2), store="sweep.zarr", progress=False)
    assert _call(monkeypatch, "fit sweep.zarr --free skill_exponent=1.0 --out store") == 0
    written = json.loads((folder / "store.json").read_text())
    assert written["parameters"][0]["value"] == pytest.approx(0.6, rel=0.05)
    assert (folder / "store.svg").is_file()
    assert _call(monkeypatch, "fit sweep.zarr --free skill_exponent --where skill=1 --out s") == 0
    capsys.readouterr()
    assert _call(monkeypatch, "fit sweep.zarr --free skill_exponent --where colour=1") == 2
    assert "`--where` must name a dimension" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (SEQUENTIAL.replace("sequential_", "sequental_"), "did you mean `superposition.seq"),
        (SEQUENTIAL.replace("curves.csv", "none.csv"), "`data` none.csv does not exist"),
        (SEQUENTIAL.replace("iteration", "step"), "no column 'step'"),
        (SEQUENTIAL.replace("learning_rate=0.3", "learning_rate"), "must be parameter=start"),
        (SEQUENTIAL.replace("learning_rate=0.3", "learning_rate=fast"), "must be name=number"),
        (SEQUENTIAL + " --bound learning_rate=3", "must be name=low:high"),
        (SEQUENTIAL + " --where run=7", "must leave rows of curves.csv, got"),
        (SEQUENTIAL + " --residual lin", "`--residual` must be one of log, scaled"),
        (SEQUENTIAL.replace("train", "trian"), "did you mean `train`"),
        (SEQUENTIAL + " --out nowhere/fit", "lies in a folder that does not exist"),
        (
            "fit curves.csv --theory chinchilla --x n_parameters=run --x n_tokens=iteration "
            "--y train --free E=1 --free A=1 --free B=1 --free alpha=1",
            "`beta` of chinchilla has no value: free it (--free beta=...) or fix it",
        ),
        ("fit none.csv --theory nosuch", "`data` none.csv does not exist"),
        (
            SEQUENTIAL.replace("--free frequency_exponent=1.2", ""),
            "`frequency_exponent` of sequential_loss has neither a value nor a column (iteration",
        ),
        (SEQUENTIAL + " --fix n_feature=3", "did you mean `n_features`"),
        ("fit none.csv --form chinchilla", "`data` none.csv does not exist"),
        (SURFACE.replace(" --y train", ""), "no column 'loss': give --y COLUMN; there are iter"),
        (SURFACE.replace("train", "trian"), "`--y`: there is no column 'trian' in curves.csv; did"),
        (SURFACE.replace("--y train", "--y loss=trian"), "`--y`: there is no column 'trian'"),
        (SURFACE.replace("=iteration", "=iter"), "`--x`: there is no column 'iter'"),
        (SURFACE.replace("--y train", "--y lss=train"), "`--y` must be COLUMN or loss=COLUMN, got"),
        (SEQUENTIAL.replace("--y train", "--y loss=trian"), "did you mean `train`"),
        (SURFACE.replace("n_tokens=", "n_token="), "did you mean `n_tokens`"),
        (
            SURFACE.replace("n_tokens=", ""),
            "`--x` must be argument=column for chinchilla (n_parameters, n_tokens), got 'run'",
        ),
        (SURFACE + " --where run=7", "must leave rows"),
        (SURFACE, "`n_tokens` must be positive and finite, got 0.0 in line 2 of curves.csv"),
        (SURFACE + " --at 0", "`--at` must be positive and finite, got 0.0"),
        (
            SURFACE + " --at x=1e9",
            "`--at` must give n_parameters=number,n_tokens=number (the inputs of chinchilla, "
            "whatever their columns are called), got 'x=1e9'",
        ),
        (
            POWER + " --at 1e22",
            "`--at` must give x=number, got 1e+22: power_law allocates no compute",
        ),
        (
            POWER + " --at iteration=3",
            "`--at` must give x=number (the inputs of power_law, whatever",
        ),
        (POWER + " --at x=1,x=2", "`--at` must give x=number (the inputs of power_law, whatever"),
        (POWER + " --x run", "`--x` must name x once, got 'iteration' and 'run'"),
        (SURFACE + " --x n_tokens=run", "`--x` must name n_tokens once, got 'run' and 'run'"),
        (SURFACE + " --fix E=1 --fix E=2", "`--fix` must name E once, got '1' and '2'"),
        (SEQUENTIAL + " --free learning_rate=1", "`--free` must name learning_rate once, got"),
        (SURFACE + " --at much", "`--at` must be a number or input=number, got 'much'"),
        (
            SURFACE + " --free expnent",
            "`--free` belongs to a theory: chinchilla frees what --fix does not, of E, A, B, alpha",
        ),
        (
            SURFACE + " --free E --free A --free B --free alpha",
            "To fix beta: jaxscale fit curves.csv --form chinchilla --fix beta=VALUE",
        ),
        (SURFACE + " --fix G", "`--fix`: `G` is not an argument of chinchilla; there are n_param"),
        (SURFACE + " --fix alpha", "`--fix` must be name=value, got 'alpha'"),
        (SEQUENTIAL + " --free expnent", "`--free`: `expnent` is not an argument of sequential"),
        (SEQUENTIAL + " --fix learning_rat", "`--fix`: `learning_rat` is not an argument of sequ"),
        (SURFACE.replace("chinchilla", "chinchila"), "did you mean `chinchilla`"),
        (SEQUENTIAL + " --at 1e22", "`--at` belongs to a form: add --form"),
        (
            POWER + " --resample run --bootstrap 0",
            "`--bootstrap` must be given with `--resample`, got --resample run.",
        ),
        (
            POWER + " --each run --at x=3 --weights rnu",
            "`--weights` must be one of the columns of curves.csv: iteration",
        ),
        (POWER + " --where iteration=1 --where run=0", "`data` curves.csv must hold more"),
        (POWER + " --bound alpha=3:1", "`--bound` of alpha, '3:1': `high` must be greater"),
        (POWER + " --bound alpha=1:x", "`--bound` must be name=low:high of two numbers, got alpha"),
        (
            POWER + " --bound alpha=1",
            "`--bound` must be name=low:high of two numbers, got alpha='1'",
        ),
        (
            SURFACE + " --at 1e21,1e22",
            "input=number; give each an --at of its own, got '1e21,1e22'",
        ),
        (POWER + " --bound alfa=1:3", "`--bound` must be of free parameters, got 'alfa'"),
        (POWER + " --huber -1", "`--huber` must be greater than 0, got -1"),
        (
            POWER + " --where colour=3",
            "`--where`: there is no column 'colour' in curves.csv; there",
        ),
        (POWER.replace("train", "trian"), "there is no column 'trian' in curves.csv; did you"),
        ("fit . --theory chinchilla --x n_parameters=N --free E=1", "a store, use no --theory"),
        (SURFACE + " --out nowhere/fit", "lies in a folder that does not exist"),
        ("fit curves.csv --free a=1", "`--theory` (--theory NAME) must be given for a"),
        ("fit curves.csv --theory emergence.loss --x loss", "`--free` must name at least one"),
    ],
)
def test_what_cannot_be_followed_is_one_line(folder, capsys, monkeypatch, line, message):
    assert _call(monkeypatch, line) == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1


def test_a_bad_row_is_named_by_its_line_of_the_file(folder, capsys, monkeypatch):
    rows = ["n,loss,set", "1,5,a", "# later", "2,4,b", "3,-1,b", "-3,2,a", "4,fast,b"]
    (folder / "runs.csv").write_text("\n".join(rows))
    line = "fit runs.csv --form power_law --x x=n --y loss"
    assert _call(monkeypatch, line) == 2
    assert (
        "`loss` must be a column of numbers, got 'fast' in line 7 of runs"
        in capsys.readouterr().err
    )
    (folder / "runs.jsonl").write_text('{"n": 1, "loss": 2}\n{"n": "x", "loss": 2}\n')
    assert _call(monkeypatch, line.replace("csv", "jsonl")) == 2
    assert "got 'x' in line 2 of runs.jsonl" in capsys.readouterr().err
    (folder / "sizes.csv").write_text("\n".join(["N,D,loss,set", "1,1,1,a", "2,2,2,b", "0,3,1,b"]))
    line = "fit sizes.csv --form chinchilla --x n_parameters=N --x n_tokens=D --where set=b"
    assert _call(monkeypatch, line) == 2
    assert "got 0.0 in line 4 of sizes.csv" in capsys.readouterr().err


def test_a_fit_without_intervals_says_why_in_place_of_their_columns(folder, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    n, d = 10 ** rng.uniform(7, 9, 24), 10 ** rng.uniform(9, 11, 24)
    loss = 1.8 + 480 * n**-0.35 + 2100 * d**-0.37 + 0.01 * rng.standard_normal(24)
    pandas.DataFrame({"N": n, "D": d, "loss": loss, "run": 1}).to_csv("one.csv", index=False)
    line = "fit one.csv --form chinchilla --x n_parameters=N --x n_tokens=D --bootstrap 40"
    assert _call(monkeypatch, f"{line} --resample run --at 1e20") == 0
    captured = capsys.readouterr()
    output = " ".join(captured.out.split())
    why = "1 value of run is too few to be resampled; take 5 or more"
    assert f"no intervals: {why} parameter value ─" in output
    assert "flop best value ─" in output
    assert "95" not in output
    assert "–" not in output
    assert f"warning: 1 of 1 fit: no interval, for {why}" in captured.err
    assert "RuntimeWarning" not in captured.err


def test_hints_name_options(folder, capsys, monkeypatch):
    table = pandas.read_csv("curves.csv")
    table.loc[table["run"].eq(3) & table["iteration"].gt(100), "train"] = 1e3
    table.to_csv("curves.csv", index=False)
    assert _call(monkeypatch, SEQUENTIAL) == 0
    note = " ".join(capsys.readouterr().out.split())
    apart = "(`--each NAME` of seeds or runs fits them apart)"
    assert f"look for a run that failed {apart}, or take --huber " in note
    assert "delta" not in note


def test_messages_are_those_of_python_outside_of_a_command():
    text = (
        "`resample` must be a dimension, or take residual=Scaled() (in a shell, --residual scaled)"
    )
    assert in_shell(text) == text

    def command(
        file: str,
        resample: Annotated[str | None, typer.Option()] = None,
        residual: Annotated[str | None, typer.Option("--residual")] = None,
        settings: Annotated[str | None, typer.Option("--set")] = None,
        seeds: Annotated[int | None, typer.Option()] = None,
    ) -> None:
        raise ValueError(file)

    def said(text, **given):
        with pytest.raises(ValueError) as refused:
            with_options_named(command)(file=text, **given)
        return str(refused.value)

    assert said(text) == "`--resample` must be a dimension, or take --residual scaled"
    assert (
        said("no `seeds` (`seeds`, --seeds), got seeds='a'")
        == "no `--seeds` (--seeds), got --seeds a"
    )
    assert said("`set` must be field=value") == "`--set` must be field=value"
    # fields, columns and keys of a file keep their names
    for same in ("f.toml: `seeds` must be whole", "`seeds` is a key", "x; did you mean `seeds`?"):
        assert said(same) == same
    assert said("f.toml: `seeds` must be whole", seeds=3) == "f.toml: `--seeds` must be whole"
    assert said("take a, or fit runs.mean('seed')") == "take a"
    assert (
        said("no interval for 1 of 2 fits, see `max_lost`: look")
        == "no interval for 1 of 2 fits: look"
    )
    for squares, options in ((True, "scaled"), (False, "scaled --huber inf")):
        with pytest.warns(UserWarning, match="logarithm") as caught:
            warn_logarithms("loss", np.linspace(-1, 1, 50)[None, None], squares)
        assert said(str(caught[0].message)).endswith(f"take --residual {options} --bootstrap 200")
    assert said("set it (in a shell, --set M)") == "set it (--set M)"
    assert said("take loss=Huber() (in a shell, --huber 1)") == "take jaxscale fit --huber 1"
    assert said("one of , ; | or tabs") == "one of , ; | or tabs"
    assert said("import it (in a shell, --import M).") == "import it."  # which has no such option


@pytest.mark.slow
def test_constant_data_have_a_figure_without_a_band(folder, capsys, monkeypatch):
    pandas.DataFrame({"x": [1, 2, 3, 4, 5], "loss": 2.0}).to_csv("same.csv", index=False)
    for law in ("parameter_law", "time_law"):
        line = f"fit same.csv --theory emergence.{law} --x x --free skill_exponent=1"
        assert _call(monkeypatch, line) == 0
    assert "did not converge" in capsys.readouterr().err


def test_a_fit_to_runs_resamples_seeds_where_there_are_five():
    system = MultilinearSkills(n_skills=2, n_steps=100, record=range(0, 101, 10))
    start = js.Grid(js.replace(system, "target_scale", 0.8))
    scattered = js.predict(js.Grid(system, {"target_scale": [0.95, 0.98, 1.0, 1.02, 1.05]}))
    runs = scattered[["loss"]].rename(target_scale="seed").assign_coords(seed=range(5))
    request = Request("", None, free=("target_scale",))
    fit, _ = fit_runs(request, start, runs)
    assert fit.method == "percentiles of 200 resamples of 5 values of seed"
    (low, high), (first, last) = (
        ends["target_scale"] for ends in (fit.covariance_interval(), fit.interval())
    )
    assert last - first > 1.5 * (high - low)
    same = fit_runs(request, start, runs.isel(seed=[0] * 5))[0]  # they say nothing of runs
    few = fit_runs(request, start, runs.isel(seed=[0, 1, 2, 3]))[0]
    for other in (same, few):
        assert other.resamples is None
        assert other.method == "covariance, which takes all points for independent"


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        (["n>1"], [2, 3]), (["n>=2", "n<3"], [2]), (["n!=2"], [1, 3]), (["n<=1e0"], [1]),
        (["kind!=a"], [2, 3]), (["kind = b"], [2, 3]), (["kind==a=b"], []), (["n>9"], []),
    ],
)  # fmt: skip
def test_rows_are_selected_by_relations(where, rows):
    table = pandas.DataFrame({"n": [1, 2, 3], "kind": ["a", "b", "b"]})
    if rows:
        assert selected_rows(table, where)["n"].tolist() == rows
        return
    with pytest.raises(ValueError, match=f"`where` must leave rows, got {where[0]}"):
        selected_rows(table, where)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("n", "`where` must be name=value, or with one of !=, <, <=, >, >=, got 'n'"),
        ("n>b", "`where` must compare with a number, as n>1e9, got 'n>b'"),
        ("kind>1", "`where=kind` must be a column of numbers"),
        ("m>1", "`where`: there is no column 'm'"),
    ],
)
def test_relations_of_anything_but_numbers_are_refused(where, message):
    with pytest.raises(ValueError, match=message):
        selected_rows(pandas.DataFrame({"n": [1, 2], "kind": ["a", "b"]}), [where])


def test_values_of_a_sweep_are_selected_by_relations():
    system = MultilinearSkills(n_skills=3, n_steps=10)
    data = [js.emergence.Online(), js.emergence.FiniteSet(n_samples=30)]
    grid = js.Grid(system, {"learning_rate": [0.1, 0.2, 0.4], "data": data})

    def places(*where):
        return _places(Request("", None, where=where), {**grid.coordinates, "skill": [1, 2, 3]})

    assert places("learning_rate<.3") == {"learning_rate": [0, 1]}
    assert places("skill>1", "skill!=3") == {"skill": [1]}
    for bad, message in [
        (("data<1",), "takes = and !=: its values"),
        (("skill>3",), "must leave a value of skill"),
        (("skill!=9",), "must be a value of skill"),
    ]:
        with pytest.raises(ValueError, match=f"`where`.*{message}"):
            places(*bad)


def test_the_help_of_x_shows_both_of_its_forms(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert _call(monkeypatch, "fit --help") == 0
    assert "column or argument=column" in capsys.readouterr().out


def test_every_name_is_a_function():
    functions = theories()
    assert functions["chinchilla"] is js.forms.chinchilla
    assert functions["superposition.sequential_loss"] is js.superposition.theory.sequential_loss
    assert {"emergence.time_law", "sparse.unseen_loss"} <= set(functions)
    assert all(callable(function) for function in functions.values())
