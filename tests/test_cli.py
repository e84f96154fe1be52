"""The command line: what it writes, and one clear line for every error."""

import fnmatch
import functools
import os
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxscale as js
from jaxscale import cli
from jaxscale.cli._words import with_options_named
from jaxscale.papers import STUDIES
from jaxscale.sweep import _ahead, _execute as execute, _local as local
from jaxscale.sweep._config import preset_names

SMALL = """
system = "emergence.MultilinearSkills"
seeds = 2
[fields]
n_skills = 5
n_steps = 20
[axes]
learning_rate = [0.1, 0.2]
"""


ADAM = ["`type` must be one of Adam, AdamW, Optax, Sgd, got 'Adm'; did you mean `Adam`?"]


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
    names = ("--observable", "skill_loss", "--observable", "loss")
    code, out, err = command("run", sweep, "--store", str(store), "--figure", str(figure), *names)
    assert (code, err) == (0, "")
    assert "4 runs ok, 0 nonfinite, 0 diverged, 0 not converged" in out
    assert "nothing was left" not in out
    runs = js.open_store(store)
    assert dict(runs.sizes) == {"learning_rate": 2, "seed": 2, "step": 21, "skill": 5}
    assert figure.read_text().startswith("<?xml")
    assert "<!-- skill 2 -->" not in figure.read_text()
    curves = ("--figure", str(figure), "--observable", "skill_loss", "--curves", "skill")
    code, out, _ = command("run", sweep, "--store", str(store), *curves)
    assert code == 0
    assert "<!-- skill 2 -->" in figure.read_text()
    assert "nothing was left to run (the last session took" in out.replace("\n", " ")


def test_a_run_ends_with_a_line_where_all_failed(command, sweep):
    _, out, _ = command("run", sweep, "--set", "learning_rate=500")
    last = out.splitlines()[-1]
    assert last.startswith("all 2 runs failed: learning_rate 500 exceeds the stability limit")
    assert "failed" not in command("run", sweep, "--store", "fine.zarr")[1]


def test_run_says_that_theory_is_not_calibrated(command, tmp_path):
    (tmp_path / "tiny.toml").write_text(
        'system = "emergence.ParityNetwork"\n[fields]\n'
        "n_steps = 4\nwidth = 4\nbatch_size = 4\nn_evaluation = 16\nrecord = {every = 1}\n"
    )
    code, out, err = command("run", "tiny.toml", "--figure", "a.svg", "--set", "record=none")
    assert (code, err) == (0, "")
    assert "theory is not calibrated: --calibrate time_scale fits it to the runs" in out
    names = ("--figure", "a.svg", "--observable", "loss", "--set", "record=none")
    assert "not calibrated" not in command("run", "tiny.toml", *names)[1]  # none of the loss
    assert js.open_store("tiny.zarr").sizes["step"] == 5
    far = ("run", "tiny.toml", "--store", "far.zarr", "--figure", "b.svg")
    code, out, _ = command(*far, "--set", "learning_rate=1e30", "--set", "record=none")
    assert code == 0
    assert "not calibrated" not in out  # nothing could be fitted


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
    code, out, _ = command("plan", sweep, "--target", "8xh200")
    assert (code, "4 devices (h200)" in out) == (0, True)
    assert [p.name for p in tmp_path.iterdir()] == ["small.toml"]


def test_the_key_of_a_sweep_is_chosen(command, sweep, tmp_path):
    code, _, _ = command("run", sweep, "--key", "7", "--store", "other.zarr")
    assert code == 0
    runs = js.run(js.Grid.from_toml(sweep, key=7))
    assert js.open_store(tmp_path / "other.zarr").drop_attrs().equals(runs.drop_attrs())
    code, _, err = command("run", sweep, "--store", "other.zarr")
    assert (code, "its key is 7, not 0" in err, "Choose another store" in err) == (2, True, True)


def test_plan_compiles_for_its_target(command, sweep, monkeypatch):
    compiled = jax.jit(lambda x: x * 3).lower(np.ones(1_000_000, np.float32)).compile()
    monkeypatch.setattr(_ahead, "compiled_for", lambda *_: compiled)
    code, out, _ = command("plan", sweep, "--target", "v5e", "--compile")
    assert code == 0
    assert out.splitlines()[-1] == "bucket 0: 8.0 MB per device, compiled for v5e"


def test_the_old_name_of_max_programs_warns(command, sweep):
    code, out, err = command("plan", sweep, "--axis", "n_skills=3,5", "--max-compiles", "2")
    assert (code, "8 runs, 2 programs" in out) == (0, True)
    assert "use --max-programs" in err
    both = ("--max-compiles", "2", "--max-programs", "2")
    code, _, err = command("plan", sweep, *both)
    assert (code, "old name of `--max-programs`" in err) == (2, True)


def test_info(command, monkeypatch):
    times = {"products": [(1.0, 2.0)], "mine.models:Own Sgd": [(1.0, 2.0)]}
    monkeypatch.setattr("jaxscale.sweep._timings.read_times", lambda: times)
    code, out, _ = command("info")
    assert code == 0
    for word in (
        "jaxscale",
        f"jax {jax.__version__}",
        "devices: cpu 0, cpu 1",
        "emergence_time",
        "compiled programs:",
        "timed for plans: Own\n",
    ):
        assert word in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nosuch"], ["nosuch", "emergence_time"]),
        (["plan", "SWEEP", "--set", "n_skills=0"], ["error: `--set`: `n_skills` must", "0"]),
        (["plan", "SWEEP", "--set", "n_skills"], ["set", "field=value"]),
        (["plan", "SWEEP", "--set", "n_skils=3"], ["n_skils", "n_skills"]),
        (["plan", "SWEEP", "--axis", "learning_rate=geom:1:2"], ["geom:lo:hi:n"]),
        (["plan", "SWEEP", "--axis", "learning_rat=1,2"], ["did you mean `learning_rate`"]),
        (
            ["plan", "SWEEP", "--axis", "n_skills=geom:16:64:4"],
            ["got 25.39841683149119. Rounded: --axis n_skills=16,25,40,64."],
        ),
        (
            ["run", "SWEEP", "--store", "/proc/x.zarr"],
            ["/proc/x.zarr cannot be written: no file can be made in /proc", "another folder."],
        ),
        (["show", "smal.tml"], ["smal.tml does not exist; did you mean `small.toml`"]),
        (["plan", "SWEEP", "--seeds", "0"], ["seeds", "0"]),
        (["plan", "SWEEP", "--devices", "0"], ["error: `--devices` must be from 1", "0"]),
        (["plan", "SWEEP", "--devices", "7"], ["error: `--devices` cannot become 7"]),
        (["run", "SWEEP", "--store", "SWEEP"], ["`--store`", "must be a folder", "is a file"]),
        (["run", "SWEEP", "--figure", "nowhere/a.svg"], ["nowhere/a.svg lies in a folder that"]),
        (
            ["run", "SWEEP", "--figure", "a.xyz"],
            ["ending of `--figure` must be one of .svg, .pdf"],
        ),
        (["plan", "emergence_tme"], ["did you mean `emergence_time`"]),
        (["plan", "nosuch.toml"], ["nosuch.toml does not exist."]),
        (["plan", "smal.toml"], ["smal.toml does not exist; did you mean `small.toml`"]),
        (["plan", "."], ["must be a file, got the folder"]),
        (["plan", "SWEEP", "--set", "n_step=100"], ["did you mean `n_steps`"]),
        (["plan", "emergence_time", "--set", "optimizer={type='Adm'}"], ADAM),
        (["plan", "emergence_time", "--set", "optimizer=Adm"], ADAM),
        (["plan", "emergence_time", "--axis", "optimizer=Sgd,Adm"], ADAM),
        (
            ["plan", "emergence_time", "--set", "optimizer=3"],
            ["must be one of Sgd, Adam, AdamW, Optax"],
        ),
        (["plan", "emergence_data", "--set", "n_steps=10"], ["give `record`, too", "[0, 10]"]),
        (["plan", "SWEEP", "--memory", "-5"], ["`--memory`", "must be greater than 0, got -5."]),
        (
            ["plan", "SWEEP", "--memory", "1e-6"],
            ["its results, got 1 (1e-06 MB)"],
        ),
        (["run", "SWEEP", "--figure", "."], ["`--figure`"]),
        (["run", "SWEEP", "--store", "SWEEP/a.zarr"], ["must be a folder", "is a file"]),
        (["reproduce", "emergence", "--out", "SWEEP/out"], ["`--out`", "must be a folder"]),
        (
            ["reproduce", "emergence", "--out", "x" * 300],
            ["`--out` xxx", "cannot be written: File"],
        ),
        (["run", "SWEEP", "--observable", "loss"], ["`--observable` belongs to --figure"]),
        (
            ["run", "SWEEP", "--figure", "a.svg", "--observable", "los"],
            ["`--observable` must be one of", "did you mean `loss`"],
        ),
        (["run", "SWEEP", "--curves", "skill"], ["`--curves` belongs to --figure FILE"]),
        (
            ["run", "SWEEP", "--figure", "a.svg", "--curves", "learning_rat"],
            ["`--curves` must be one of learning_rate", "did you mean `learning_rate`"],
        ),
        (["plan", "SWEEP", "--set", "n_skills=1,2"], ["Several values make an axis"]),
        (["plan", "SWEEP", "--key", "-1"], ["`--key` must lie in 0", "got -1"]),
        (["plan", "SWEEP", "--compile"], ["`--compile` belongs to --target"]),
        (["plan", "SWEEP", "--target", "h20"], ["did you mean `h200`"]),
        (["reproduce", "emergance"], ["did you mean `emergence`"]),
        (["reproduce", "emergence", "--scale", "papr"], ["did you mean `paper`"]),
        (["show", "nosuch.zarr"], ["`store`", "does not exist"]),
        (["run", "SWEEP", "--where", "skill=1"], ["`--where` belongs to --calibrate"]),
        (["run", "SWEEP", "--calibrate", "learning_rate"], ["`--calibrate`", "no axes of"]),
        (["run", "SWEEP", "--calibrate", "target_scal=3"], ["error: `--calibrate`: `target_scal`"]),
        (["run", "SWEEP", "--calibrate", "target_scale", "--where", "skil=1"], ["mean `skill`"]),
        (
            ["run", "SWEEP", "--calibrate", "target_scale", "--where", "skill=9"],
            ["[1, 2, 3, 4, 5]"],
        ),
        (["run", "superposition_small", "--calibrate", "initial.scale"], ["decoder=Relu"]),
        (["reproduce", "nosuch"], ["system", "emergence", "nosuch"]),
        (["reproduce", "emergence", "--scale", "nosuch"], ["scale", "quick", "nosuch"]),
    ],
)
def test_errors_are_one_line(command, sweep, arguments, words):
    code, _, err = command(*(a.replace("SWEEP", sweep) for a in arguments))
    assert code == 2
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_type_may_be_written_as_a_name(command):
    code, out, _ = command("plan", "emergence_time", "--axis", "optimizer=Adam,Sgd")
    assert (code, "optimizer: 2" in out) == (0, True)


def test_an_output_that_cannot_be_written_is_refused_before_the_run(
    command, sweep, monkeypatch, tmp_path
):
    monkeypatch.setattr(local, "store_lock", lambda _: pytest.fail("it ran"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    for option, name in (("--figure", "a.svg"), ("--store", "a.zarr")):
        code, _, err = command("run", sweep, option, str(tmp_path / name))
        assert code == 2
        assert "cannot be written: permission denied" in err
        assert "another process" not in err


def test_a_sweep_file_is_read_once(command, sweep, monkeypatch):
    names, read = [], Path.read_text

    def counted(self, *arguments, **named):
        names.append((self.name, *arguments))
        return read(self, *arguments, **named)

    monkeypatch.setattr(Path, "read_text", counted)
    monkeypatch.setattr(execute, "_opened", lambda *_: sys.exit(0))
    command("run", sweep)
    own = [name for name in names if name[0] == Path(sweep).name]
    assert own == [(Path(sweep).name, "utf-8")]  # not in the encoding of the locale


def test_version_and_presets(command):
    assert command("--version") == (0, f"jaxscale {js.__version__}\n", "")
    code, out, _ = command("presets")
    assert code == 0
    described = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert set(preset_names()) <= set(described)
    assert all(described[name] for name in preset_names())


def test_git_ignores_where_reproduce_writes_by_default():
    ignored = (Path(__file__).parents[1] / ".gitignore").read_text().split()
    for system in (*STUDIES, "all"):
        for scale in next(iter(STUDIES.values())).presets:
            folder = f"/jaxscale-{system}-{scale}/"
            assert any(fnmatch.fnmatch(folder, pattern) for pattern in ignored)


def test_presets_are_completed(command, monkeypatch):
    """What a shell asks for: the names that begin so."""
    monkeypatch.setenv("_JAXSCALE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "jaxscale plan emergence_ti")
    monkeypatch.setenv("COMP_CWORD", "2")
    _, out, _ = command()
    assert out.split() == ["emergence_time", "emergence_time_paper"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "x", "--zzz"], "no such option: --zzz; see jaxscale plan --help"),
        (["plan", "x", "--hlp"], "no such option: --hlp; did you mean `--help`; see"),
        (["plan", "x", "--sedes", "3"], "no such option: --sedes; did you mean `--seeds`; see"),
        (["run", "x", "--target", "h200"], "no such option: --target; it is one of jaxscale plan"),
        (["pln"], "no such command 'pln'; did you mean 'plan'; see jaxscale --help"),
        (["run"], "missing argument 'file' (A sweep file (TOML) or a preset"),
        (["run", "x", "--seeds", "y"], "(Number of seeds, instead of the file's); see"),
        (["run", "x", "--seeds"], "option '--seeds' requires an argument; see jaxscale run --help"),
        (["run", "x", "y"], "extra argument(s) (y); see jaxscale run --help"),
    ],
)
def test_usage_errors(command, arguments, words):
    code, _, err = command(*arguments)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: ")
    assert words in err


FORMS = "must be field=v1,v2, field=geom:lo:hi:n or field=lin:lo:hi:n, got 'learning_rate="


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--set n_skills=0", "`--set`: `n_skills` must be at least 1"),
        ("--key 3 --set n_steps=9 --axis n_skills=0,2", "`--axis`: `n_skills` must be at least"),
        ("--set learning_rate=3 --axis n_skils=1", "`--axis`: `n_skils` is not a field"),
        ("--set data=Onlin", "`--set` data: `type` must be one of "),
        ("--set record=[0,5] --set n_steps=4", "`--set`: `record` must end by `n_steps` = 4"),
        ("--set record={logg=4}", "`--set`: `record` must be a list, {every = n} or {log = n}"),
        ("--set data={type=Online}", "`--set` data: '{type=Online}' is no table or list of TOML"),
        ("--axis data={type=Online,n=3}", "`--axis` data: '{type=Online,n=3}' is no table"),
        ("--axis learning_rate=geom:0:2:3", "`--axis`: axis `learning_rate`: geom needs n"),
        ("--axis learning_rate={log=[1,2,3]}", "`--axis`: axis `learning_rate` must be a list, {"),
        ("--axis learning_rate=log:1:10:3", f"`--axis` {FORMS}log:1:10:3'"),
        ("--axis learning_rate=geom:1:10", f"`--axis` {FORMS}geom:1:10'"),
        ("--axis learning_rate=np.linspace(1,10,3)", f"`--axis` {FORMS}np.linspace(1,10,3)'"),
        ("--axis learning_rate=1:10", f"`--axis` {FORMS}1:10'"),
        ("--axis learning_rate=8..16", f"`--axis` {FORMS}8..16'"),
        ("--axis learning_rate=8;16", f"`--axis` {FORMS}8;16'"),
        ("--axis learning_rate=", f"`--axis` {FORMS}'"),
        ("--axis n_skills=1 --axis n_skills=2", "`--axis` must name n_skills once, got [1] and"),
        ("--set n_skills=1 --set n_skills=2", "`--set` must name n_skills once, got 1 and 2"),
        ("--seeds 0", "`--seeds` must be at least one seed"),
        ("--key -1", "`--key` must lie in"),
    ],
)
def test_errors_name_the_option_that_was_typed(command, sweep, options, message):
    code, _, err = command("plan", sweep, *options.split())
    assert (code, err.startswith(f"error: {message}")) == (2, True), err


def test_an_option_for_a_key_of_the_sweep_is_named(command, sweep):
    _, _, err = command("plan", sweep, "--set", "seeds=3")
    assert err.endswith("`seeds` is an argument of its own (--seeds).\n")
    _, _, err = command("plan", sweep, "--set", "record=[0,99]")
    assert "Several values" not in err  # a record has several
    _, _, err = command("plan", sweep, "--axis", "learning_rate=[0.1,0.2]")
    assert err.endswith(" Several values need one pair of brackets in a file, in --axis none.\n")


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("n_skills = 5", "n_skills = 0", 5),
        ("[0.1, 0.2]", "[0.1, 'x']", 8),
        ("seeds = 2", "sedes = 2", 3),
        ("seeds = 2", "store = 2", 3),
        ('"emergence.MultilinearSkills"', "3", 2),
        ("[axes]", "[axis]", 7),
        ("n_skills = 5", 'schedule = {type = "StepDecay", ratoi = 0.5}', 5),
    ],
)
def test_errors_of_a_file_name_its_line(command, sweep, old, new, line):
    """Also where an option is given that has no part in them."""
    Path(sweep).write_text(SMALL.replace(old, new))
    for options in ([], ["--set", "n_steps=30"]):
        _, _, err = command("plan", sweep, *options)
        assert err.startswith(f"error: {sweep}, line {line}: `")


def test_an_axis_may_be_a_table(command, sweep):
    code, out, _ = command("plan", sweep, "--axis", "learning_rate={geom=[0.1,0.4,3]}")
    assert (code, "learning_rate: 3" in out) == (0, True)
    mixed = 'data={type="FiniteSet",n_samples=9},Online,PopulationLimit'
    code, _, err = command("plan", sweep, "--axis", mixed)
    assert err.startswith("error: `--axis` data: `type` must be one of ")
    assert "got 'PopulationLimit'" in err


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jaxscale", "--debug", "run", "nosuch"])
    with pytest.raises(ValueError, match="nosuch"):
        cli.main()


def test_interruption_says_how_to_continue(command, sweep, monkeypatch, tmp_path):
    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(execute, "compute", stop)
        patch.setattr(os, "_exit", lambda code: sys.exit(f"left with {code}"))
        code, _, err = command("run", sweep)
    assert code == "left with 130"
    assert err == "stopped; 0 of 4 runs are kept, the same command continues\n"
    assert js.open_store(tmp_path / "small.zarr").attrs["complete"] == 0
    code, out, _ = command("show", "small.zarr")
    assert code == 0
    assert "4 runs: 4 not run." in out
    assert "4 not run. 4 runs remain; the command that began the store continues it." in out
    assert out.splitlines()[-1] == f"to continue: jaxscale run {sweep}"
    code, _, _ = command("run", sweep)
    assert code == 0
    code, out, _ = command("show", ".")  # a folder of stores
    assert "MultilinearSkills, 4 runs: 4 ok." in out
    assert "Complete." in out
    assert "to continue" not in out
    rows = [line.split() for line in out.splitlines()]
    assert ["learning_rate", "2", "0.1", "..", "0.2"] in rows
    assert [row[-1] for row in rows if row and row[0] in "12"] == ["stopped", "complete"]
    assert js.open_store(tmp_path / "small.zarr").attrs["complete"] == 1


def test_interruption_after_the_runs_says_what_is_missing(command, sweep, monkeypatch):
    from jaxscale.report import _fit_file, _plot

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "_exit", lambda code: sys.exit(f"left with {code}"))
    monkeypatch.setattr(_plot, "plot", stop)
    code, out, err = command("run", sweep, "--figure", "a.svg")
    assert (code, "4 runs ok" in out) == ("left with 130", True)
    stored = "stopped; all 4 runs are in the store"
    assert err == f"{stored}, the figure may be missing, the same command continues\n"
    monkeypatch.setattr(_fit_file, "fit_runs", stop)
    _, _, err = command("run", sweep, "--figure", "a.svg", "--calibrate", "target_scale")
    assert err.startswith(f"{stored}, the fit and the figure may be missing, ")
    monkeypatch.setattr(_fit_file, "fit_file", stop)
    _, _, err = command("fit", "small.zarr", "--free", "target_scale")
    assert err == "stopped, the same command begins anew\n"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder in which no file can be made")
def test_an_output_where_no_file_can_be_made_is_refused_first(command, sweep, tmp_path):
    """What permissions do not tell: they allow root to write there."""
    for arguments in (
        ["run", sweep, "--figure", "/proc/a.svg"],
        ["run", sweep, "--store", "/proc/a.zarr"],
        ["fit", sweep, "--out", "/proc/a"],
        ["reproduce", "emergence", "--out", "/proc/a"],
    ):
        code, out, err = command(*arguments)
        assert (code, "runs ok" in out) == (2, False)
        assert f"error: `{arguments[-2]}` {arguments[-1]}" in err
        assert "cannot be written" in err
        assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["small.toml"]


def test_a_store_in_place_of_its_sweep_is_named(command, sweep):
    command("run", sweep)
    _, _, err = command("run", "small.zarr")
    assert "got the store small.zarr: jaxscale show tells what it holds" in err
    _, _, err = command("fit", "small.zarr")
    assert "`--free` must name at least one parameter, got none; there are skill_exponent" in err


def test_a_plan_says_what_its_store_holds(command, sweep):
    remains = "small.zarr holds 4 of 8 runs: about"
    assert " holds " not in command("run", sweep, "--store", "other.zarr")[1]
    assert (
        remains.replace("small", "other")
        in command("run", sweep, "--store", "other.zarr", "--seeds", "4")[1]
    )
    assert "small.zarr" not in command("plan", sweep)[1].splitlines()[-1]
    command("run", sweep)
    _, out, _ = command("plan", sweep)
    assert out.splitlines()[-1] == "small.zarr holds all 4 runs: nothing remains to be run, 0 s"
    for options, holds in (
        (["--seeds", "4"], True),
        (["--seeds", "4", "--store", "other.zarr"], False),
        (["--seeds", "4", "--set", "n_skills=4"], False),
        (["--seeds", "4", "--target", "h200"], False),
    ):
        assert (remains in command("plan", sweep, *options)[1]) is holds


def test_what_only_another_command_has_is_named_with_it():
    def command(**_):
        raise ValueError(
            "use it (`each` fits runs apart), or loss=Huber(1) (in a shell, --huber 1)"
        )

    with pytest.raises(ValueError, match=r"\(`jaxscale fit --each` fits") as refused:
        with_options_named(functools.wraps(cli.run)(command))(calibrate=["a"])
    assert str(refused.value).endswith("or jaxscale fit --huber 1")
    given = {"file": "emergence_time", "calibrate": ["a", "b=1"], "where": ["skill>1"]}
    fit = "jaxscale fit emergence_time.zarr --free a --free b=1 --where 'skill>1'"
    with pytest.raises(ValueError, match="or jaxscale fit") as refused:
        with_options_named(functools.wraps(cli.run)(command))(**given)
    assert str(refused.value) == f"use it (`{fit} --each` fits runs apart), or {fit} --huber 1"
    with pytest.raises(ValueError, match="or jaxscale fit mine"):
        with_options_named(functools.wraps(cli.run)(command))(**given, store="mine")


def test_without_arguments_the_help_is_shown(command):
    code, out, err = command()
    assert (code, err, "Usage: jaxscale" in out) == (0, "", True)
