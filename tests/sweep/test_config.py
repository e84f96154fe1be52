"""Sweep files: shipped presets, clear errors, overrides."""

import pytest
from jaxtyping import TypeCheckError

import jaxscale as js
from jaxscale.papers import STUDIES
from jaxscale.sweep._config import parse_axis, parse_value, preset_names, preset_path

PRESETS = preset_names()
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
def write(tmp_path):
    def to(text):
        path = tmp_path / "sweep.toml"
        path.write_text(text)
        return str(path)

    return to


def test_every_preset_of_a_study_is_listed():
    listed = [names for study in STUDIES.values() for names in study.presets.values()]
    run = {name for names in listed if not callable(names) for name in names}
    assert run <= set(PRESETS)
    alone = {"emergence_data", "emergence_width"}  # in the slow tests
    for_accelerators = {"emergence_transformer_paper"}
    assert set(PRESETS) - run == alone | {f"{name}_reduced" for name in alone} | for_accelerators
    assert sum(name.endswith("_paper") for name in PRESETS) == 28


def _slow(name):
    """Plans of two-dimensional grids take a second or two."""
    return name.startswith("sparse") and name.endswith(("plane", "_paper"))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if _slow(n) else n for n in PRESETS]
)
def test_presets_plan(name):
    grid = js.Grid.from_toml(name)
    by_path = preset_path(name)[0].with_stem(name)
    assert grid.to_dict() == js.Grid.from_toml(str(by_path)).to_dict()
    assert js.Grid.from_dict(grid.to_dict()).to_dict() == grid.to_dict()
    plan = js.plan(grid)
    assert plan.n_runs == grid.n_runs
    assert not plan.warnings


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("system = 3 x", ["sweep.toml: line 1, 'system = 3 x', is not TOML: more follows after"]),
        (SMALL.replace("= 20", "= fast"), ["sweep.toml: line ", "is not TOML: it is no value"]),
        (SMALL.replace("[0.1, 0.2]", "[0.1, 0.2"), ["is not TOML: a bracket is not closed, or"]),
        (SMALL + "seeds = 'x", ["a text has no closing quote"]),
        (SMALL + "[fields]", ["'[fields]', is not TOML: the table is there already, further up"]),
        (SMALL + "lambda: 3", ["'lambda: 3', is not TOML: a line is `name = value`, `[table]` or"]),
        ("seeds = 2", ["sweep.toml", "`system` is missing"]),
        ("system = 3", ["sweep.toml", "`system`", "3"]),
        (SMALL.replace("seeds", "sedes"), ["sweep.toml", "`sedes`", "did you mean `seeds`"]),
        (SMALL.replace("n_skills", "n_skils"), ["sweep.toml", "`n_skils`", "n_skills"]),
        (SMALL.replace("= 20", "= 2.5"), ["sweep.toml", "`n_steps`", "2.5"]),
        (SMALL.replace("Multi", "Mulit"), ["sweep.toml", "MulitlinearSkills", "ParityNetwork"]),
        (
            SMALL.replace("n_steps", 'data = {type = "Finite"}\nn_steps'),
            ["sweep.toml", "'Finite'", "FiniteSet", "Online", "did you mean"],
        ),
        (
            SMALL.replace("n_steps", 'data = {type = "FiniteSet", n = 3}\nn_steps'),
            ["sweep.toml", "`n`", "n_samples"],
        ),
        (
            SMALL.replace("n_steps", 'data = {type = "FiniteSet"}\nn_steps'),
            ["sweep.toml", "FiniteSet", "n_samples"],
        ),
        (
            SMALL.replace("[0.1, 0.2]", "{goem = [1, 2, 3]}"),
            ["sweep.toml", "learning_rate", "did you mean `geom`"],
        ),
        (
            SMALL.replace("learning_rate", "data.n_samples"),
            ["sweep.toml", "axis `data` must be a list", 'write "data.n_samples" in quotes.'],
        ),
        (
            SMALL.replace("learning_rate = [0.1, 0.2]", "data.n_samples.geom = [1, 100, 3]"),
            ['write "data.n_samples" in quotes.'],
        ),
        (
            SMALL.replace("n_steps", "data.n_samples = 5\nn_steps"),
            [
                "sweep.toml",
                "`data` must be",
                '5}: write FiniteSet(...), in a file data = {type = "FiniteSet"',
            ],
        ),
        (SMALL.replace("[0.1, 0.2]", "{geom = [1, 2]}"), ["sweep.toml", "learning_rate", "lo, hi"]),
        (SMALL.replace("[0.1, 0.2]", "{geom = [0, 1, 3]}"), ["learning_rate", "positive"]),
        (SMALL.replace("[0.1, 0.2]", '{lin = [0.1, "a", 3]}'), ["learning_rate", "'a'"]),
        (SMALL.replace("[0.1, 0.2]", "{lin = [0.1, 1, 2.5]}"), ["learning_rate", "2.5"]),
        (SMALL.replace("learning_rate", "learning_rat"), ["sweep.toml", "learning_rat", "did you"]),
        (SMALL + "[paper]\nsystem = 3", ["sweep.toml", "`paper.system`", "axes"]),
        (SMALL + "[paper]\nfields = 3", ["sweep.toml", "`paper.fields`", "table"]),
        ("paper = 3\n" + SMALL, ["sweep.toml", "`paper`", "table"]),
        ("fields = 3\n" + SMALL.partition("[fields]")[0], ["sweep.toml", "`fields`", "table"]),
        (SMALL.replace("n_steps = 20", "record = {log = 3}"), ["sweep.toml", "record", "n_steps"]),
        (SMALL.replace("n_steps", "record = {lin = 3}\nn_steps"), ["record", "every", "lin"]),
        (SMALL.replace("n_steps", "record = {every = 0}\nn_steps"), ["record.every", "0"]),
    ],
)
def test_errors_name_the_file_and_the_key(write, text, words):
    with pytest.raises(ValueError) as caught:
        js.Grid.from_toml(write(text))
    for word in words:
        assert word in str(caught.value)


def test_the_advice_to_a_path_without_quotes_is_of_quotes_alone(write):
    text = SMALL.replace("n_steps", 'data = {type = "FiniteSet", n_samples = 3}\nn_steps')
    with pytest.raises(ValueError, match=r'write "data\.n_samples" in quotes\.$'):
        js.Grid.from_toml(write(text.replace("learning_rate =", "data.n_samples =")))
    quoted = text.replace("learning_rate = [0.1, 0.2]", '"data.n_samples" = [5, 6]')
    assert js.Grid.from_toml(write(quoted)).dims == ("data.n_samples", "seed")


def test_a_missing_file_lists_the_presets():
    with pytest.raises(ValueError, match="'nosuch'") as caught:
        js.Grid.from_toml("nosuch")
    assert "emergence_time" in str(caught.value)


PAPER = """
[paper]
seeds = 3
[paper.fields]
n_steps = 40
data = {type = "FiniteSet", n_samples = 9}
[paper.axes]
learning_rate = [0.3]
n_parameters = [2, 3]
"""


def test_the_table_paper_replaces_single_fields_and_axes(write):
    path = write(SMALL + PAPER)
    small, large = js.Grid.from_toml(path), js.Grid.from_toml(path.replace(".toml", "_paper.toml"))
    assert small.shape == (2, 2)
    assert small.system.n_steps == 20
    assert large.dims == ("learning_rate", "n_parameters", "seed")
    assert large.coordinates["learning_rate"].tolist() == [0.3]
    assert (large.shape, large.system.n_steps, int(large.system.n_skills)) == ((1, 2, 3), 40, 5)
    assert int(large.system.data.n_samples) == 9


def test_the_old_name_of_the_table_and_of_presets_warns(write):
    path = write(SMALL + PAPER)
    large = js.Grid.from_toml(path.replace(".toml", "_paper.toml")).to_dict()
    write(SMALL + PAPER.replace("paper", "full"))
    with pytest.warns(DeprecationWarning, match=r"`\[full\]` is deprecated, use `\[paper\]`"):
        js.Grid.from_toml(path)
    with pytest.warns(DeprecationWarning, match="is deprecated") as caught:
        assert js.Grid.from_toml(path.replace(".toml", "_full.toml")).to_dict() == large
    assert any("_paper.toml`" in str(warning.message) for warning in caught)
    for name in ("emergence_time", "superposition_adam"):
        current = js.Grid.from_toml(f"{name}_paper").to_dict()
        with pytest.warns(DeprecationWarning, match=f"`{name}_full` .* use `{name}_paper`"):
            assert js.Grid.from_toml(f"{name}_full").to_dict() == current


def test_paper_without_a_table_is_no_file(write):
    path = write(SMALL).replace(".toml", "_paper.toml")
    with pytest.raises(
        ValueError, match=r"sweep_paper.toml does not exist; did you mean `sweep.toml`"
    ):
        js.Grid.from_toml(path)
    with pytest.raises(ValueError, match="'emergence_laws_full'"):
        js.Grid.from_toml("emergence_laws_full")


def test_record_shorthands(write):
    every = js.Grid.from_toml(write(SMALL.replace("n_steps", "record = {every = 6}\nn_steps")))
    assert every.system.record == (0, 6, 12, 18, 20)
    log = js.Grid.from_toml(write(SMALL.replace("n_steps", "record = {log = 3}\nn_steps")))
    assert log.system.record == (0, 1, 4, 20)


def test_axes_shorthands(write):
    grid = js.Grid.from_toml(write(SMALL.replace("[0.1, 0.2]", "{geom = [0.01, 1, 3]}")))
    assert grid.coordinates["learning_rate"] == pytest.approx([0.01, 0.1, 1.0])
    grid = js.Grid.from_toml(write(SMALL.replace("[0.1, 0.2]", "{lin = [0.2, 0.4, 3]}")))
    assert grid.coordinates["learning_rate"] == pytest.approx([0.2, 0.3, 0.4])


def test_overrides(write):
    path = write(SMALL)
    grid = js.Grid.from_toml(path, {"learning_rate": 0.3}, seeds=5)
    assert (grid.dims, len(grid.seeds)) == (("seed",), 5)
    assert float(grid.system.learning_rate) == 0.3
    grid = js.Grid.from_toml(path, axes={"learning_rate": [0.5], "n_skills": [3, 4]})
    assert grid.dims == ("learning_rate", "n_skills", "seed")
    assert grid.coordinates["learning_rate"].tolist() == [0.5]
    data = {"type": "FiniteSet", "n_samples": 9}
    grid = js.Grid.from_toml(path, {"data": data, "data.n_samples": 7})
    assert int(grid.system.data.n_samples) == 7
    grid = js.Grid.from_toml(path, {"record": {"log": 3}})
    assert grid.system.record == (0, 1, 4, 20)
    grid = js.Grid.from_toml(path, axes={"data": [{"type": "Online"}, data]})
    assert grid.coordinates["data"].tolist() == ["Online()", "FiniteSet(n_samples=9)"]


def test_an_overridden_axis_of_the_file_is_not_checked(write):
    path = write(SMALL.replace("learning_rate = [0.1, 0.2]", "n_parameters = [4, 5]"))
    grid = js.Grid.from_toml(path, {"n_skills": 3}, {"n_parameters": [2, 3]})
    assert grid.coordinates["n_parameters"].tolist() == [2, 3]
    with pytest.raises(ValueError, match="n_parameters"):
        js.Grid.from_toml(path, {"n_skills": 3})


def test_command_line_values():
    assert parse_value("3") == 3
    assert [parse_value(t) for t in ("0.5", ".5", "64.", "-.5e-3")] == [0.5, 0.5, 64.0, -5e-4]
    assert parse_value("float64") == "float64"
    assert parse_value('{type = "Online"}') == {"type": "Online"}
    assert parse_axis("a.b=1,2.5") == ("a.b", [1, 2.5])
    assert parse_axis("dtype=float32,float64") == ("dtype", ["float32", "float64"])
    two = parse_axis('data={type = "Online"},{type = "FiniteSet", n_samples = 3}')
    assert two == ("data", [{"type": "Online"}, {"type": "FiniteSet", "n_samples": 3}])
    path, values = parse_axis("x=geom:1:100:3")
    assert (path, values) == ("x", pytest.approx([1, 10, 100]))
    assert parse_axis("x=lin:1:2:3") == ("x", [1.0, 1.5, 2.0])


@pytest.mark.parametrize(
    "text", ["x", "x=", "=1", "x=geom:1:2", "x=geom:a:2:3", "x=lin:1:2:b", "x=geom:-1:2:3"]
)
def test_bad_command_line_axes(text):
    with pytest.raises(ValueError, match=r"axis|`x\."):
        parse_axis(text)


def test_old_names_of_lengths_are_read_from_files(write):
    text = 'system = "emergence.ParityNetwork"\nfields = {width = 16, max_width = 64}\n'
    with pytest.warns(DeprecationWarning, match="`max_width` is deprecated"):
        grid = js.Grid.from_toml(write(text))
    assert grid.system.padded("width") == 64


def test_user_classes_are_written_by_module():
    grid = js.Grid(_Mine(n_skills=3, n_steps=5))
    table = grid.to_dict()
    assert table["system"].endswith("test_config:_Mine")
    assert isinstance(js.Grid.from_dict(table).system, _Mine)
    with pytest.raises(ValueError, match=r"nowhere:Thing"):
        js.Grid.from_dict({**table, "system": "nowhere:Thing"})
    with pytest.raises(ValueError, match=r"`system` must be a name, beside its `fields`, got {"):
        js.Grid.from_dict({"system": {"type": table["system"]}})


class _Mine(js.emergence.MultilinearSkills):
    pass


@pytest.mark.parametrize("value", [0.1, "fast", {"type": "FiniteSet", "n_samples": 3}, None])
def test_one_value_is_no_axis_wherever_it_stands(write, value):
    grid = js.Grid.from_toml(write(SMALL))
    words = "axis `learning_rate` must be a sequence of values, got .* one value in brackets"
    words += "|whilst typechecking parameter 'axes'"  # where beartype looks first
    calls = [
        lambda: js.Grid(grid.system, {"learning_rate": value}),
        lambda: js.Grid.from_toml(write(SMALL), axes={"learning_rate": value}),
        lambda: js.Grid.from_dict(grid.to_dict() | {"axes": {"learning_rate": value}}),
    ]
    for call in calls:
        with pytest.raises((ValueError, TypeCheckError), match=words):
            call()


def test_one_value_in_a_file_is_no_axis(write):
    with pytest.raises(
        ValueError, match=r"toml, line 8: axis `learning_rate` must be a seq.* got 0\.1: "
    ):
        js.Grid.from_toml(write(SMALL.replace("[0.1, 0.2]", "0.1")))
    assert js.Grid.from_toml(write(SMALL.replace("[0.1, 0.2]", "[0.1]"))).shape[0] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fields": {"n_skills": 0}}, "^`fields`: `n_skills` must be at least 1"),
        ({"fields": {"n_steps": 9}, "axes": {"n_skils": [1]}}, "^`axes`: `n_skils` is not a field"),
        ({"seeds": 0, "fields": {"n_steps": 9}}, "^`seeds` must be at least one seed"),
        ({"fields": {"key": 3}}, r"`key` is an argument of its own \(in a shell, --key\)"),
    ],
)
def test_errors_name_the_argument_that_replaced_the_file(write, changes, message):
    with pytest.raises(ValueError, match=message):
        js.Grid.from_toml(write(SMALL), **changes)
