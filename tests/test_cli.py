"""The command line: what it writes, and one clear line for every error."""

import sys

import jax
import pytest

import jaxscale as js
from jaxscale import cli
from jaxscale.sweep import _execute as execute

SMALL = """
system = "emergence.MultilinearSkills"
seeds = 2
[fields]
n_skills = 5
n_steps = 20
[axes]
learning_rate = [0.1, 0.2]
"""


@pytest.fixture
def sweep(tmp_path):
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return str(path)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        jax.devices()
        monkeypatch.setattr(sys, "argv", ["jaxscale", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return call


def test_run_writes_store_and_figure(command, sweep, tmp_path):
    store, figure = tmp_path / "a.zarr", tmp_path / "a.svg"
    code, out, err = command("run", sweep, "--store", str(store), "--figure", str(figure))
    assert (code, err) == (0, "")
    assert "4 runs ok, 0 nonfinite, 0 diverged, 0 not converged" in out
    assert "nothing was left" not in out
    runs = js.open_store(store)
    assert dict(runs.sizes) == {"learning_rate": 2, "seed": 2, "step": 21, "skill": 5}
    assert figure.read_text().startswith("<?xml")
    code, out, _ = command("run", sweep, "--store", str(store))
    assert code == 0
    assert "nothing was left to run (the last session took" in out.replace("\n", " ")


def test_run_says_that_theory_is_not_calibrated(command, tmp_path):
    (tmp_path / "tiny.toml").write_text(
        'system = "emergence.ParityNetwork"\n[fields]\n'
        "n_steps = 4\nwidth = 4\nbatch_size = 4\nn_evaluation = 16\nrecord = {every = 1}\n"
    )
    code, out, err = command("run", "tiny.toml", "--figure", "a.svg", "--set", "record=none")
    assert (code, err) == (0, "")
    assert "theory is not calibrated: --calibrate time_scale fits it to the runs" in out
    assert js.open_store("tiny.zarr").sizes["step"] == 5


def test_run_overrides(command, sweep, tmp_path):
    options = ("--set", "n_skills=3", "--axis", "learning_rate=geom:0.1:0.4:3", "--seeds", "1")
    code, _, _ = command("run", sweep, *options)
    assert code == 0
    runs = js.open_store(tmp_path / "small.zarr")
    assert dict(runs.sizes) == {"learning_rate": 3, "seed": 1, "step": 21, "skill": 3}
    assert runs["learning_rate"].values == pytest.approx([0.1, 0.2, 0.4])


def test_plan_computes_nothing(command, sweep, monkeypatch, tmp_path):
    def fail(*_):
        raise AssertionError("compiled")

    monkeypatch.setattr(execute, "compute", fail)
    monkeypatch.setattr(jax.stages.Lowered, "compile", fail)
    code, out, _ = command("plan", sweep, "--axis", "n_skills=3,5")
    assert code == 0
    assert "8 runs, 2 programs" in out
    assert [p.name for p in tmp_path.iterdir()] == ["small.toml"]


def test_the_old_name_of_max_programs_warns(command, sweep):
    code, out, err = command("plan", sweep, "--axis", "n_skills=3,5", "--max-compiles", "2")
    assert (code, "8 runs, 2 programs" in out) == (0, True)
    assert "use --max-programs" in err
    both = ("--max-compiles", "2", "--max-programs", "2")
    code, _, err = command("plan", sweep, *both)
    assert (code, "old name of `--max-programs`" in err) == (2, True)


def test_info(command):
    code, out, _ = command("info")
    assert code == 0
    for word in (
        "jaxscale",
        f"jax {jax.__version__}",
        "devices: cpu 0, cpu 1",
        "emergence_time",
        "compiled programs:",
    ):
        assert word in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nosuch"], ["nosuch", "emergence_time"]),
        (["plan", "SWEEP", "--set", "n_skills=0"], ["n_skills", "0", "small.toml"]),
        (["plan", "SWEEP", "--set", "n_skills"], ["set", "field=value"]),
        (["plan", "SWEEP", "--set", "n_skils=3"], ["n_skils", "n_skills"]),
        (["plan", "SWEEP", "--axis", "learning_rate=geom:1:2"], ["geom:lo:hi:n"]),
        (["plan", "SWEEP", "--axis", "learning_rat=1,2"], ["did you mean `learning_rate`"]),
        (["plan", "SWEEP", "--seeds", "0"], ["seeds", "0"]),
        (["plan", "SWEEP", "--devices", "0"], ["devices", "0"]),
        (["plan", "SWEEP", "--devices", "7"], ["devices", "7"]),
        (["run", "SWEEP", "--store", "SWEEP"], ["not a jaxscale store"]),
        (["run", "SWEEP", "--figure", "nowhere/a.svg"], ["nowhere"]),
        (["run", "SWEEP", "--figure", "a.xyz"], ["`figure` must end in .svg, .pdf or .png"]),
        (["run", "SWEEP", "--where", "skill=1"], ["`where` belongs to --calibrate"]),
        (["run", "SWEEP", "--calibrate", "learning_rate"], ["no axes of the grid"]),
        (["run", "SWEEP", "--calibrate", "initial_strength", "--where", "skil=1"], ["`where`"]),
        (["reproduce", "nosuch"], ["system", "emergence", "nosuch"]),
        (["reproduce", "emergence", "--scale", "nosuch"], ["scale", "quick", "nosuch"]),
    ],
)
def test_errors_are_one_line(command, sweep, arguments, words):
    code, _, err = command(*(sweep if a == "SWEEP" else a for a in arguments))
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize("arguments", [["plan", "x", "--nosuch"], ["nosuch"], ["run"]])
def test_usage_errors(command, arguments):
    code, _, err = command(*arguments)
    assert code == 2
    assert "Traceback" not in err
    assert err


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jaxscale", "--debug", "run", "nosuch"])
    with pytest.raises(ValueError, match="nosuch"):
        cli.main()


def test_interruption_says_how_to_continue(command, sweep, monkeypatch, tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(execute, "compute", stop)
        patch.setattr(cli, "_leave", sys.exit)  # which would end this process
        code, _, err = command("run", sweep)
    assert code == 130
    assert "the same command continues" in err
    assert js.open_store(tmp_path / "small.zarr").attrs["complete"] == 0
    code, _, _ = command("run", sweep)
    assert code == 0
    assert js.open_store(tmp_path / "small.zarr").attrs["complete"] == 1
