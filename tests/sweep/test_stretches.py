"""Long runs are trained in stretches of steps: the same results wherever they are cut."""

import dataclasses
import signal
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import SYSTEMS

import jaxscale as js
from jaxscale.emergence import MultilinearSkills
from jaxscale.report._stored import shown_store
from jaxscale.sweep import _bucket as bucket, _local as local, _stretches as stretches
from jaxscale.sweep._compute import Pace, Task, compute
from jaxscale.sweep._progress import Progress
from jaxscale.sweep._states import States
from jaxscale.sweep._stretches import State

ROOT = np.zeros(2, np.uint32)
SYSTEM = MultilinearSkills(n_skills=3, n_steps=50, record=(0, 1, 7, 20, 50))
GRID = js.Grid(SYSTEM, {"learning_rate": [0.1, 0.3, 5e3]}, seeds=2)  # the last one diverges
LIKE_ANOTHER = {"network, float64", "gathered control bits", "relu student"}  # in their states
TRAINED = [
    name
    for name, s in SYSTEMS.items()
    if isinstance(s, js.AbstractTrainedSystem) and name not in LIKE_ANOTHER
]
FIRST = ("multilinear", "network")  # the others take as long

pytestmark = pytest.mark.filterwarnings("ignore:.* ended badly")  # as one of GRID is to


@pytest.fixture(autouse=True)
def every_run_is_long(monkeypatch):
    monkeypatch.setattr(bucket, "LONG_SECONDS", 0.0)


@pytest.fixture(scope="module")
def expected():
    """The same runs, each in one piece."""
    return js.run(GRID)


def equal(actual, expected):
    assert set(actual) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name])


def task_of(plan, state=None):
    return Task(plan.buckets[0].only(0), ROOT, plan.options, state)


def in_pieces(plan, pieces):
    """Values of a chunk, and its state after every one of `pieces` calls of a few steps each."""
    states, answer = [], None
    while answer is None or not answer.values:
        task = task_of(plan, answer and answer.state)
        answer = compute(task, stopped=lambda: len(states) < pieces)
        states.append(answer.state)
    return answer.values, states


@pytest.mark.parametrize(
    "name",
    [n if n in FIRST else pytest.param(n, marks=pytest.mark.slow) for n in TRAINED],
)
def test_results_do_not_depend_on_where_runs_are_cut(name):
    """Of every kind of trained system: a step at first, then all others; and all at once."""
    plan = js.plan(js.Grid(SYSTEMS[name], seeds=3))
    assert plan.buckets[0].stretched
    values, states = in_pieces(plan, 1)
    assert states[0].step == 1
    again = compute(task_of(plan)).values
    assert not set(values) ^ set(again)
    for observable in values:
        np.testing.assert_array_equal(values[observable], again[observable])


def test_they_equal_runs_in_one_piece(expected):
    runs = js.run(GRID, progress=False)
    equal(runs, expected)
    assert runs["status"].values.max() > 0  # one of them diverged


def test_a_plan_says_which_runs_are_cut(monkeypatch):
    plan = js.plan(GRID)
    assert plan.buckets[0].stretched
    assert plan.buckets[0].chunk == plan.buckets[0].group * plan.buckets[0].n_devices
    monkeypatch.setattr(bucket, "LONG_SECONDS", 1e9)
    assert not js.plan(GRID).buckets[0].stretched
    assert js.plan(GRID, keep_states=True).buckets[0].stretched
    solved = js.plan(js.Grid(SYSTEMS["least norm, few features"]), keep_states=True)
    assert not solved.buckets[0].stretched


def test_a_chunk_is_kept_after_every_stretch(tmp_path, expected, monkeypatch):
    steps, write = [], States.write
    monkeypatch.setattr(stretches, "CALL_SECONDS", 0.0)  # a step per call
    monkeypatch.setattr(
        States, "write", lambda *arguments: steps.append(arguments[-1].step) or write(*arguments)
    )
    plan = js.plan(GRID, checkpoint_seconds=1e-9, max_runs_per_chunk=4)
    runs = js.run(plan, store=tmp_path / "s.zarr", progress=False)
    equal(runs, expected)
    assert steps == [*range(1, 50)] * plan.buckets[0].n_chunks  # every step but the last
    assert list(States(tmp_path / "s.zarr")) == []
    assert not list((tmp_path / "s.zarr").rglob("*.npz"))


def interrupt_after(monkeypatch, n):
    """Ctrl-C comes while the state of stretch `n` is written."""
    write, count = States.write, []

    def interrupted(*arguments):
        count.append(None)
        if len(count) == n:
            signal.raise_signal(signal.SIGINT)
        write(*arguments)

    monkeypatch.setattr(States, "write", interrupted)


def test_ctrl_c_keeps_the_state_and_what_was_recorded(tmp_path, expected, monkeypatch):
    path = tmp_path / "s.zarr"
    plan = js.plan(GRID, checkpoint_seconds=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(stretches, "CALL_SECONDS", 0.0)  # a step per call
        interrupt_after(patch, 3)
        with pytest.warns(UserWarning, match="0 of 6 runs are done, 6 are under way"):
            runs = js.run(plan, store=path, progress=False)
    assert (runs["status"] == -1).all()
    for read in (runs, js.open_store(path)):
        np.testing.assert_array_equal(read["loss"][..., :2], expected["loss"][..., :2])
        assert np.isnan(read["loss"][..., 2:]).all()
    assert "1 chunk of them at step 3" in shown_store(path)[0][0].note
    equal(js.run(GRID, store=path, progress=False), expected)
    assert list(States(path)) == []


def test_a_bigger_grid_continues_runs_under_way(tmp_path, monkeypatch):
    path = tmp_path / "s.zarr"
    larger = GRID.replace(seeds=3)
    expected = js.run(larger, progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(stretches, "CALL_SECONDS", 0.0)
        interrupt_after(patch, 3)
        with pytest.warns(UserWarning, match="under way"):
            js.run(js.plan(GRID, checkpoint_seconds=1e-9), store=path, progress=False)
    begun = []
    train = stretches.StretchProgram.train

    def watched(program, bucket, root, state, **how):
        begun.append(0 if state is None else state.step)
        return train(program, bucket, root, state, **how)

    monkeypatch.setattr(stretches.StretchProgram, "train", watched)
    equal(js.run(larger, store=path, progress=False), expected)
    assert sorted(begun) == [0, 3]


@pytest.mark.parametrize("harm", ["cut", "altered", "empty"])
def test_a_damaged_state_is_refused(tmp_path, harm, monkeypatch):
    path = tmp_path / "s.zarr"
    with monkeypatch.context() as patch:
        interrupt_after(patch, 1)
        with pytest.warns(UserWarning, match="under way"):
            js.run(js.plan(GRID, checkpoint_seconds=1e-9), store=path, progress=False)
    file = States(path).file(0, 0)
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 1
    file.write_bytes({"cut": data[: len(data) // 2], "altered": data, "empty": b""}[harm])
    with pytest.raises(ValueError, match=r"damaged state .*0-0\.npz .*delete it"):
        js.run(GRID, store=path, progress=False)


def test_a_state_of_another_class_is_refused():
    plan = js.plan(GRID)
    _, (state, *_) = in_pieces(plan, 1)
    shorter = {name: leaf[:, :-1] if leaf.ndim > 1 else leaf for name, leaf in state.leaves.items()}
    renamed = {f"other {name}": leaf for name, leaf in state.leaves.items()}
    for leaves in (shorter, renamed):
        other = dataclasses.replace(state, leaves=leaves)
        with pytest.raises(ValueError, match="its class was changed; delete the folder"):
            compute(task_of(plan, other))


def test_a_half_written_state_is_never_read(tmp_path, monkeypatch):
    path, state = tmp_path / "s.zarr", State(3, {".a": np.arange(4.0)}, {"loss": np.zeros((4, 2))})
    (path / "done").mkdir(parents=True)
    states = States(path)
    states.write(0, 1, state)

    def killed(*arguments, **arrays):
        arguments[0].write(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", killed)
        with pytest.raises(KeyboardInterrupt):
            states.write(0, 1, dataclasses.replace(state, step=4))
    assert list(states) == [(0, 1)]
    assert states.step(0, 1) == 3
    np.testing.assert_array_equal(states.read(0, 1).leaves[".a"], np.arange(4.0))
    assert [file.suffix for file in states.folder.iterdir()].count(".new") == 1
    local.LocalPlace(path).remove_unfinished()
    assert [file.name for file in states.folder.iterdir()] == ["0-1.npz"]


def test_an_executor_returns_stretches(tmp_path, expected):
    plan = js.plan(GRID, checkpoint_seconds=1e-9, max_runs_per_chunk=2)
    with ThreadPoolExecutor(1) as executor:
        runs = js.run(plan, store=tmp_path / "s.zarr", executor=executor, progress=False)
    equal(runs, expected)


class Keyed(MultilinearSkills):
    """Its state has a key and numbers of two types."""

    def init(self, key):
        return super().init(key), key, jnp.zeros(2, jnp.bfloat16)

    def step(self, state, key):
        skills, own, half = state
        return super().step(skills, key), jax.random.split(own)[0], half + 1

    def observe(self, state):
        noise = jax.random.normal(state[1], (), self.dtype)
        observed = super().observe(state[0])
        return observed | {"loss": observed["loss"] * (1 + 0.01 * noise)}


def test_keys_and_short_floats_survive_the_disk(tmp_path):
    grid = js.Grid(Keyed(n_skills=3, n_steps=30), seeds=2)
    expected = js.run(grid, progress=False)
    plan = js.plan(grid, checkpoint_seconds=1e-9)
    states = States(tmp_path)
    (tmp_path / "done").mkdir()
    answer = None
    while answer is None or not answer.values:
        answer = compute(task_of(plan, answer and states.read(0, 0)))
        if answer.state is not None:
            states.write(0, 0, answer.state)
    again = js.run(plan, store=tmp_path / "s.zarr", progress=False)
    equal(again, expected)


@pytest.fixture
def finished(tmp_path):
    """A store of finished runs that keeps their final states."""
    path = tmp_path / "s.zarr"
    js.run(js.plan(GRID, keep_states=True), store=path, progress=False)
    assert list(States(path)) == [(0, 0)]
    return path


def test_finished_runs_are_trained_longer(finished, monkeypatch):
    longer = GRID.longer(90)
    steps, train = [], stretches.StretchProgram.train

    def watched(program, bucket, root, state, **how):
        steps.append(state.step)
        return train(program, bucket, root, state, **how)

    monkeypatch.setattr(stretches.StretchProgram, "train", watched)
    runs = js.run(js.plan(longer, keep_states=True), store=finished, progress=False)
    assert steps == [50]
    equal(
        js.run(js.plan(longer.longer(120)), store=finished, progress=False).sel(step=slice(90)),
        runs,
    )
    assert list(States(finished)) == []  # the last plan does not keep them
    monkeypatch.undo()
    equal(runs, js.run(longer, progress=False))


def test_records_that_were_not_made_are_refused(finished):
    system = js.replace(SYSTEM, "n_steps", 60)
    other = GRID.replace(system=js.replace(system, "record", [9, 60]))
    with pytest.raises(ValueError, match="`record` asks for step 9"):
        js.run(other, store=finished, progress=False)
    fewer = js.run(GRID.replace(system=system), store=finished, progress=False)
    assert fewer["step"].values.tolist() == [0, 1, 7, 20, 50]  # none beyond the old end


def test_a_schedule_that_stretches_is_refused(tmp_path):
    grid = js.Grid(js.replace(SYSTEM, "schedule", js.TwoDrops()))
    path = tmp_path / "s.zarr"
    before = js.run(js.plan(grid, keep_states=True), store=path, progress=False)
    with pytest.raises(ValueError, match="a step of this system depends on it"):
        js.run(grid.longer(90), store=path, progress=False)
    equal(js.open_store(path), before)


def test_without_final_states_longer_runs_are_refused(tmp_path):
    js.run(GRID, store=tmp_path / "s.zarr", progress=False)
    with pytest.raises(ValueError, match=r"does not keep the final state.*keep_states"):
        js.run(GRID.longer(90), store=tmp_path / "s.zarr", progress=False)


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (lambda: GRID.longer(50), "`n_steps` must be greater than 50, got 50"),
        (lambda: js.Grid(SYSTEMS["ridge"]).longer(50), "needs a trained system"),
        (lambda: js.Grid(SYSTEM, {"n_steps": [50, 60]}).longer(90), "it is an axis"),
        (lambda: js.plan(GRID, checkpoint_seconds=0), "`checkpoint_seconds` must be greater"),
        (lambda: js.run(js.plan(GRID, keep_states=True)), "`store` must be given"),
    ],
)
def test_bad_input(grid, message):
    with pytest.raises(ValueError, match=message):
        grid()


@pytest.mark.parametrize(
    "name", ["network", pytest.param("linear student, float64", marks=pytest.mark.slow)]
)
def test_the_state_of_a_run_is_that_of_training_it_alone(tmp_path, name):
    runs = js.run(
        js.plan(js.Grid(SYSTEMS[name], seeds=3), keep_states=True), store=tmp_path / "s.zarr"
    )
    step, state = js.open_state(tmp_path / "s.zarr", seed=2)
    alone = js.train(*js.select(runs, seed=2))
    assert step == SYSTEMS[name].n_steps
    assert jax.tree.structure(state) == jax.tree.structure(alone)
    for one, two in zip(jax.tree.leaves(state), jax.tree.leaves(alone), strict=True):
        if not jnp.issubdtype(one.dtype, jax.dtypes.prng_key):
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_a_run_without_a_state(tmp_path):
    js.run(GRID, store=tmp_path / "s.zarr", progress=False)
    with pytest.raises(ValueError, match="no state of this run: only long runs"):
        js.open_state(tmp_path / "s.zarr", learning_rate=0.1, seed=0)
    with pytest.raises(ValueError, match="`learning_rate` has no value 7"):
        js.open_state(tmp_path / "s.zarr", learning_rate=7, seed=0)


class Lost(MultilinearSkills):
    """Declares an observable that it does not return."""

    @property
    def schema(self):
        return super().schema.adding(lost=js.Observable(("step",), "1", "lost"))


def test_what_the_schema_declares_is_checked():
    with pytest.raises(ValueError, match="declares 'lost', which it does not return"):
        js.run(js.Grid(Lost(n_skills=3, n_steps=5)), progress=False)


class Otherwise(MultilinearSkills):
    """Its runs do more than their steps."""

    def simulate(self, key):
        values = super().simulate(key)
        return values | {"loss": values["loss"] + 7.0}


def test_runs_that_do_more_than_their_steps_are_not_cut():
    plan = js.plan(js.Grid(Otherwise(n_skills=3, n_steps=5)), keep_states=True)
    assert not plan.buckets[0].stretched
    assert float(js.run(plan.grid, progress=False)["loss"].min()) > 6.0


class Scalars(MultilinearSkills):
    """Its state has a Python number and a key of another generator; it converges early."""

    @property
    def checkpoints(self):
        return (2,)

    def init(self, key):
        return super().init(key), 0.5, jax.random.key(3, impl="rbg")

    def step(self, state, key):
        return super().step(state[0], key), state[1], state[2]

    def observe(self, state):
        return super().observe(state[0])


def test_states_of_any_leaves(monkeypatch):
    grid = js.Grid(Scalars(n_skills=3, n_steps=20, record=[0, 10]))
    runs = js.run(grid, progress=False)
    monkeypatch.setattr(bucket, "LONG_SECONDS", 1e9)
    equal(runs, js.run(grid, progress=False))


def test_a_kill_before_the_mark_costs_nothing(finished):
    """The final state is there, and the mark is not: as after the advice for a damaged file."""
    before = js.open_store(finished).load()
    (finished / "done" / "c" / "0").unlink()
    assert (js.open_store(finished)["status"] == -1).all()
    equal(js.run(js.plan(GRID, keep_states=True), store=finished, progress=False), before)


def test_a_kill_after_the_mark_leaves_no_state(tmp_path, monkeypatch):
    path = tmp_path / "s.zarr"
    monkeypatch.setattr(stretches, "CALL_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(States, "remove", lambda *where: None)
        js.run(js.plan(GRID, checkpoint_seconds=1e-9), store=path, progress=False)
    assert list(States(path)) == [(0, 0)]  # one step before the end
    axes = {name: values[0] for name, values in GRID.axes.items()}
    with pytest.raises(ValueError, match="has no state of this run"):
        js.open_state(path, **axes, seed=0)
    js.run(GRID.replace(seeds=3), store=path, progress=False)
    assert list(States(path)) == []


def test_the_mark_is_on_disk_before_the_state_is_removed(tmp_path, monkeypatch):
    events, flush, remove = [], local.flush, States.remove
    monkeypatch.setattr(
        local, "flush", lambda paths: events.extend(p.parts[-3:] for p in paths) or flush(paths)
    )
    monkeypatch.setattr(States, "remove", lambda *a: events.append("removed") or remove(*a))
    monkeypatch.setattr(stretches, "CALL_SECONDS", 0.0)
    plan = js.plan(GRID, checkpoint_seconds=1e-9)
    js.run(plan, store=tmp_path / "s.zarr", progress=False)
    assert ("done", "c", "0") in events[: events.index("removed")]


@pytest.mark.slow
def test_a_smaller_store_keeps_its_final_states(finished):
    larger = GRID.replace(seeds=3)
    runs = js.run(js.plan(larger, keep_states=True), store=finished, progress=False)
    assert all(js.open_state(finished, learning_rate=0.1, seed=s)[0] == 50 for s in range(3))
    longer = js.run(larger.longer(60), store=finished, progress=False)
    equal(longer.sel(step=slice(50)), runs)


def test_unfinished_runs_are_not_trained_longer(tmp_path, monkeypatch):
    path = tmp_path / "s.zarr"
    monkeypatch.setattr(stretches, "CALL_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 3)
        with pytest.warns(UserWarning, match="under way"):
            js.run(js.plan(GRID, checkpoint_seconds=1e-9, keep_states=True), store=path)
    with pytest.raises(ValueError, match="must be finished"):
        js.run(GRID.longer(90), store=path, progress=False)


class Tabulated(MultilinearSkills):
    """Its steps read a table that stretches with their number, inside a program of its own."""

    def step(self, state, key):
        table = np.linspace(1.0, 0.0, self.n_steps, dtype=np.float32)
        factor = jax.jit(lambda count: jnp.asarray(table)[count])(state.count)
        new = super().step(state, key)
        return jax.tree.map(
            lambda a, b: a + (factor * (b - a)).astype(a.dtype) if a.ndim else b, state, new
        )


@pytest.mark.slow
def test_a_table_that_stretches_is_refused(tmp_path):
    grid = js.Grid(Tabulated(n_skills=3, n_steps=50, record=[0, 50]))
    js.run(js.plan(grid, keep_states=True), store=tmp_path / "s.zarr", progress=False)
    with pytest.raises(ValueError, match="a step of this system depends on it"):
        js.run(grid.longer(60), store=tmp_path / "s.zarr", progress=False)


@pytest.mark.slow
def test_an_executor_finishes_runs_before_it_begins_others(tmp_path, monkeypatch):
    alive, write = [], States.write

    def counted(states, *arguments):
        write(states, *arguments)
        alive.append(len(list(states)))

    monkeypatch.setattr(States, "write", counted)
    monkeypatch.setattr(stretches, "CALL_SECONDS", 0.0)
    plan = js.plan(GRID, checkpoint_seconds=1e-9, max_runs_per_chunk=2)
    assert plan.buckets[0].n_chunks >= 3
    with ThreadPoolExecutor(1) as executor:
        js.run(plan, store=tmp_path / "s.zarr", executor=executor, progress=False)
    assert max(alive) <= 2  # tasks of the one worker: one runs, one waits


def test_progress_goes_on_where_runs_were(tmp_path, monkeypatch):
    path, shown = tmp_path / "s.zarr", []
    monkeypatch.setattr(stretches, "CALL_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        interrupt_after(patch, 25)
        with pytest.warns(UserWarning, match="under way"):
            js.run(js.plan(GRID, checkpoint_seconds=1e-9), store=path, progress=False)
    advance = Progress.advance

    def watched(progress, *arguments):
        shown.append(progress.done / progress.total)
        advance(progress, *arguments)
        shown.append(progress.done / progress.total)

    monkeypatch.setattr(Progress, "advance", watched)
    js.run(GRID, store=path, progress=False)
    assert shown[0] == pytest.approx(0.5)
    assert shown[-1] == pytest.approx(1.0)


def test_the_start_of_a_run_is_no_time_of_its_steps():
    """The first call takes 10 s, every other one 1 s."""
    seconds = iter([0.0, 10.0, *(10.0 + s for s in range(1, 200) for _ in range(2))])
    called, pace = [], Pace()
    plan = js.plan(GRID)
    compute(task_of(plan), pace, clock=lambda: next(seconds), advanced=lambda *c: called.append(c))
    assert called[0][1] == 0.0
    assert pace.seconds < 60.0
