"""Running: the same numbers however the grid is cut, and a bad run that harms nobody."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from checks import assert_close, count_chunks
from systems import FINITE, ONLINE

import jaxscale as js
from jaxscale.emergence import FiniteSet, MultilinearSkills, Online, ParityNetwork
from jaxscale.sweep import _execute as execute, _progress as progress
from jaxscale.sweep._failures import advice_on_failures
from jaxscale.sweep._program import Program
from jaxscale.sweep._progress import delayed_interrupt

CLOSE = {"rtol": 1e-6, "atol": 1e-7}
NETWORK = ParityNetwork(
    n_skills=2, n_bits=6, skill_size=2, batch_size=32, n_steps=5, n_evaluation=64
)
PROVENANCE = (
    "grid", "plan", "versions", "device", "dtype", "matmul_precision", "wall_seconds",
    "compile_seconds", "complete", "git_commit",
)  # fmt: skip


def test_dataset_layout_and_provenance():
    axes = {"learning_rate": [0.1, 0.2], "data.n_samples": [10, 30, 90]}
    runs = js.run(js.Grid(FINITE, axes, seeds=[3, 1]))
    assert runs["loss"].dims == ("learning_rate", "data.n_samples", "seed", "step")
    assert runs["skill_strength"].dims[-2:] == ("step", "skill")
    assert runs["status"].dims == ("learning_rate", "data.n_samples", "seed")
    assert runs["data.n_samples"].values.tolist() == [10, 30, 90]
    assert runs["seed"].values.tolist() == [3, 1]
    assert runs["skill"].values.tolist() == [1, 2, 3, 4, 5]
    assert runs["step"].values.tolist() == list(FINITE.record_steps)
    assert runs["loss"].attrs["units"] == "target²"
    assert runs["loss"].attrs["long_name"] == "population loss"
    assert runs["loss"].attrs["predicted"] == "exact"
    assert runs["status"].attrs["flag_meanings"] == " ".join(s.name for s in js.Status)
    assert runs["status"].attrs["flag_meanings"].startswith("not_run ok nonfinite diverged")
    assert runs["loss"].dtype == np.float32
    assert set(PROVENANCE) <= set(runs.attrs)
    assert runs.attrs["complete"] == 1
    assert json.loads(runs.attrs["versions"])["jax"] == jax.__version__
    assert json.loads(runs.attrs["plan"])["devices"] == 2
    assert (runs["status"] == js.Status.ok).all()


def test_a_system_is_not_sliced_again_for_every_chunk(monkeypatch):
    """It took a tenth of the time of a sweep of tiny chunks."""
    plan = js.plan(js.Grid(FINITE, seeds=3), max_runs_per_chunk=1)

    def slice_again(*_):
        raise AssertionError

    monkeypatch.setattr("jaxscale.sweep._bucket.with_micro_batches", slice_again)
    assert js.run(plan).attrs["complete"] == 1


def test_values_sit_at_their_axis_values():
    axes = {"learning_rate": [0.3, 0.1], "n_skills": [3, 5]}
    runs = js.run(js.Grid(FINITE, axes, seeds=2, key=6))
    system = js.replace(js.replace(FINITE, "learning_rate", 0.1), "n_skills", 3)
    one = js.run(js.Grid(system, seeds=[1], key=6))
    selected = runs.sel(learning_rate=0.1, n_skills=3, seed=[1])
    np.testing.assert_allclose(selected["loss"], one["loss"], rtol=1e-6)


def test_prediction_has_the_dims_of_a_run_but_the_seed():
    axes = {"learning_rate": [0.1, 0.2], "n_steps": [10, 20]}
    grid = js.Grid(ONLINE, axes, seeds=3)
    runs, theory = js.run(grid), js.predict(grid)
    for name in theory.data_vars:
        dims = tuple(d for d in runs[name].dims if d != "seed")
        assert theory[name].dims == dims
        assert theory[name].dtype == np.float64
        assert theory[name].attrs["units"] == runs[name].attrs["units"]
    system = js.replace(js.replace(ONLINE, "learning_rate", 0.2), "n_steps", 10)
    with jax.enable_x64(True):
        alone = system.predict()["loss"]
    selected = theory["loss"].sel(learning_rate=0.2, n_steps=10).dropna("step")
    np.testing.assert_allclose(selected, alone, rtol=1e-12)


def test_ragged_dimensions_are_padded():
    runs = js.run(js.Grid(ONLINE, {"n_skills": [3, 5], "record": [[0, 20], [0, 7, 20]]}))
    assert runs["skill"].size == 5
    assert runs["step"].values.tolist() == [0, 7, 20]
    short = runs["skill_strength"].isel(seed=0).sel(n_skills=3, record="[0, 20]")
    assert np.isnan(short.sel(skill=[4, 5])).all()
    assert np.isnan(short.sel(step=7)).all()
    assert np.isfinite(short.sel(skill=[1, 2, 3], step=[0, 20])).all()
    assert np.isfinite(runs["skill_strength"].isel(n_skills=1, record=1)).all()


@pytest.mark.parametrize(
    ("system", "axes", "caps"),
    [
        (FINITE, {"data.n_samples": [10, 40]}, (2, 8)),
        pytest.param(NETWORK, {"width": [3, 8]}, (), marks=pytest.mark.slow),
    ],
    ids=["multilinear", "network"],
)
def test_results_do_not_depend_on_how_the_grid_is_cut(system, axes, caps):
    grid = js.Grid(system, axes, seeds=3)
    reference = js.run(grid)
    for cap in caps:
        plan = js.plan(grid, max_runs_per_chunk=cap)
        assert plan.buckets[0].chunk <= cap
        assert_close(js.run(plan), reference, **CLOSE)
    path, values = next(iter(axes.items()))
    more = js.run(js.Grid(system, {path: [*values, 20]}, seeds=4))
    assert_close(more.sel({path: values, "seed": [0, 1, 2]}), reference, **CLOSE)
    assert not np.allclose(reference["loss"].sel(seed=0), reference["loss"].sel(seed=1), rtol=1e-6)


def test_another_key_gives_other_runs():
    one, two = js.run(js.Grid(FINITE, key=0)), js.run(js.Grid(FINITE, key=1))
    assert not np.allclose(one["loss"], two["loss"], rtol=1e-6)


@pytest.mark.parametrize(
    ("record", "dtype", "words"),
    [
        ([0, 2], "float32", 'before the first step: dtype="float64" may help'),
        ([2], "float32", 'a smaller learning rate or dtype="float64" may help'),
        ([0, 2], "float64", "a smaller learning rate may help"),
    ],
    ids=["from the start", "no start", "float64"],
)
def test_what_leaves_single_precision_is_told_the_way_out(record, dtype, words):
    system = MultilinearSkills(n_skills=2, n_steps=2, record=record, dtype=dtype)
    plan = js.plan(js.Grid(system))
    status, loss = [[int(js.Status.nonfinite)]], np.full((1, 1, len(record)), np.nan)
    dims = ("point", "seed", "step")
    runs = xarray.Dataset({"status": (dims[:2], status), "loss": (dims, loss)}, {"step": record})
    (advice,) = advice_on_failures(runs, plan)
    assert advice.endswith(words)


@pytest.mark.parametrize(
    ("bad", "how"),
    [(8.0, "2 diverged|2 nonfinite"), (1e30, "2 nonfinite")],
    ids=["diverged", "nonfinite"],
)
def test_a_bad_run_leaves_its_neighbours(bad, how):
    system = MultilinearSkills(n_skills=5, n_steps=20, target_scale=5.0)
    good = js.run(js.Grid(system, {"learning_rate": [0.01, 0.05, 0.02]}, seeds=2))
    words = rf"2 of 6 runs ended badly \(({how}); every one at learning_rate = (8|1e.30)\): see"
    with pytest.warns(UserWarning, match=words):
        runs = js.run(js.Grid(system, {"learning_rate": [0.01, bad, 0.02]}, seeds=2))
    status = runs["status"].values
    assert (status[[0, 2]] == js.Status.ok).all()
    assert np.isin(status[1], [js.Status.diverged, js.Status.nonfinite]).all()
    if bad > 1e9:
        assert (status[1] == js.Status.nonfinite).all()
    loss = runs["loss"].isel(learning_rate=1, seed=0).values
    first = int(np.argmax(np.isnan(loss)))
    assert 0 < first < len(loss)
    assert np.isnan(loss[first:]).all()
    assert np.isfinite(loss[:first]).all()
    for name in ("loss", "skill_strength", "skill_loss"):
        neighbours = runs[name].isel(learning_rate=[0, 2]).values
        np.testing.assert_array_equal(neighbours, good[name].isel(learning_rate=[0, 2]).values)


def test_interruption_returns_what_is_finished(monkeypatch):
    plan = js.plan(js.Grid(FINITE, seeds=6), max_runs_per_chunk=2)
    reference = js.run(plan)
    computed = count_chunks(monkeypatch, stop_after=2)
    words = "stopped by Ctrl-C: 4 of 6 runs are done; they are kept in this result only"
    with pytest.warns(UserWarning, match=words):
        part = js.run(plan)
    assert computed == [(0, 0), (0, 1)]
    assert part.attrs["complete"] == 0
    assert part["status"].values.tolist() == [0, 0, 0, 0, -1, -1]
    assert np.isnan(part["loss"].isel(seed=[4, 5])).all()
    assert part.isel(seed=slice(4)).equals(reference.isel(seed=slice(4)))


def test_times_are_kept_where_runs_were_computed_and_ctrl_c_loses_no_result(monkeypatch):
    calls, plan = [], js.plan(js.Grid(FINITE, seeds=6), max_runs_per_chunk=2)
    reference = js.run(plan)

    def interrupted(*_):
        calls.append(1)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(progress, "SHORTEST_TIME", 0.0)
    monkeypatch.setattr(execute, "keep_time", interrupted)
    with ThreadPoolExecutor(1) as pool:  # its times may be those of other machines
        assert js.run(plan, executor=pool).equals(reference)
    assert not calls
    assert js.run(plan).equals(reference)
    assert calls


def test_ctrl_c_does_not_let_a_thread_call_on(monkeypatch):
    before, join = threading.active_count(), threading.Thread.join

    def interrupted(self):
        signal.raise_signal(signal.SIGINT)
        join(self)

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt), progress.repeated(0.0, lambda: time.sleep(0.1)):
        pass
    assert threading.active_count() == before


def test_memory_that_xla_lacks_is_an_error_with_a_way_out(monkeypatch):
    errors = [jax.errors.JaxRuntimeError(f"{c}: no") for c in ("INTERNAL", "RESOURCE_EXHAUSTED")]
    monkeypatch.setattr(Program, "__call__", lambda *_: (_ for _ in ()).throw(errors.pop()))
    with pytest.raises(ValueError, match=r"needs more memory .* MB .* smaller size or batch"):
        js.run(js.Grid(FINITE, seeds=6))
    with pytest.raises(RuntimeError, match="INTERNAL"):
        js.run(js.Grid(FINITE, seeds=6))


def test_ctrl_c_waits_for_what_must_be_done():
    done = []

    def interrupted():
        with delayed_interrupt():
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
            done.append(1)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is before


def test_another_thread_leaves_the_signals_alone():
    with delayed_interrupt(), ThreadPoolExecutor(1) as pool:
        before = signal.getsignal(signal.SIGINT)
        pool.submit(lambda: delayed_interrupt().__enter__()).result()
        assert signal.getsignal(signal.SIGINT) is before


def test_an_error_in_what_must_be_done_is_raised():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="no space"), delayed_interrupt():
        raise ValueError("no space")
    assert signal.getsignal(signal.SIGINT) is before


class Measured(MultilinearSkills):
    """An own observable, declared and returned in several ways."""

    declared: str = eqx.field(static=True, default="spread")
    dims: tuple[str, ...] = eqx.field(static=True, default=("step",))

    @property
    def schema(self):
        return super().schema.adding(**{self.declared: js.Observable(self.dims, "", "spread")})

    def observe(self, state):
        observed = super().observe(state)
        return observed | {"spread": jnp.ptp(observed["skill_strength"])}


def test_own_observables_are_what_their_schema_declares():
    runs = js.run(js.Grid(Measured(n_skills=3, n_steps=5), seeds=2))
    assert float(runs.spread.min()) >= 0.0
    with pytest.raises(ValueError, match="`schema` of Measured declares 'spraed', which it does"):
        js.run(js.Grid(Measured(n_skills=3, n_steps=5, declared="spraed"), seeds=2))
    wrong = Measured(n_skills=3, n_steps=5, dims=("step", "skill"))
    with pytest.raises(ValueError, match=r"'spread' with shape .*, 3\), it returns shape"):
        js.run(js.Grid(wrong, seeds=2))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("learning_rate", "an axis"),
        ("skill", "a dimension of its schema"),
        *(
            (name, "what results have of every run")
            for name in ("seed", "status", "run_id", "done")
        ),
    ],
)
def test_an_observable_has_a_name_of_its_own(name, words):
    system = Measured(n_skills=3, n_steps=5, declared=name)
    message = f"observable `{name}` of Measured has the name of {words}.*: rename it in `schema`"
    with pytest.raises(ValueError, match=message):
        js.plan(js.Grid(system, {"learning_rate": [0.1, 0.2]}))


class Predicted(MultilinearSkills):
    """A closed form that may have the name of a field."""

    @property
    def schema(self):
        observable = js.Observable(("step",), "", "rate", js.TheoryKind.exact)
        return super().schema.adding(learning_rate=observable)

    def predict(self):
        predicted = super().predict()
        return {**predicted, "learning_rate": predicted["loss"]}


def test_a_closed_form_has_a_name_of_its_own():
    system = Predicted(n_skills=3, n_steps=5)
    with pytest.raises(ValueError, match="`learning_rate` of Predicted has the name of an axis"):
        js.predict(js.Grid(system, {"learning_rate": [0.1, 0.2]}))
    assert "learning_rate" in js.predict(js.Grid(system, {"n_steps": [5]}))


class Labelled(MultilinearSkills):
    """The strengths of three skills, under labels of one's own."""

    labels: tuple = eqx.field(static=True, default=("a", "b", "c"))

    @property
    def schema(self):
        own, strength = super().schema, js.Observable(("step", "label"), "1", "strength")
        coordinates = {**own.coordinates, "label": np.asarray(self.labels)}
        return js.Schema(own.observables, coordinates).adding(strength=strength)

    def observe(self, state):
        observed = super().observe(state)
        return observed | {"strength": observed["skill_strength"]}


def test_own_labels_belong_to_their_values(monkeypatch):
    runs = js.run(js.Grid(Labelled(n_skills=3, n_steps=5)))
    assert runs["label"].values.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(runs["strength"], runs["skill_strength"])
    monkeypatch.setattr(execute, "_work", None)  # nothing is compiled
    for labels, words in (
        (("b", "a", "c"), "'a' after 'b'"),
        ((1, 2, 2), "2 after 2"),
        ((0.5, 2.0, 1.0), "1.0 after 2.0"),
    ):
        system = Labelled(n_skills=3, n_steps=5, labels=labels)
        for call in (js.run, js.predict):
            with pytest.raises(ValueError, match=f"`schema` of Labelled .*'label'.*{words}"):
                call(js.Grid(system))


class Mistaken(MultilinearSkills):
    """A system whose methods return something else than they should."""

    mistake: str = eqx.field(static=True, default="")

    def observe(self, state):
        observed = super().observe(state)
        return {"lss": observed["loss"]} if self.mistake == "observe" else observed

    def predict(self):
        predicted = dict(super().predict())
        if self.mistake == "name":
            predicted["los"] = predicted.pop("loss")
        if self.mistake == "shape":
            predicted["loss"] = predicted["loss"][:-1]
        return predicted


@pytest.mark.parametrize(
    ("call", "mistake", "words"),
    [
        (js.run, "observe", "`observe` of Mistaken must return 'loss'.*it returns lss"),
        (js.predict, "name", "`predict` of Mistaken must return 'loss', as its schema says.*los"),
        (js.predict, "shape", r"must return 'loss' with dimensions \('step',\), .*got \(5,\)"),
    ],
)
def test_a_method_that_returns_something_else_is_named(call, mistake, words):
    system = Mistaken(n_skills=3, n_steps=5, mistake=mistake)
    with pytest.raises(ValueError, match=words):
        call(js.Grid(system))


def test_coordinates_have_labels():
    runs = js.run(js.Grid(FINITE, {"data.n_samples": [10, 30]}, seeds=2))
    labels = {name: c.attrs["long_name"] for name, c in runs.coords.items()}
    assert labels == {
        "data.n_samples": "n samples",
        "seed": "seed",
        "step": "step",
        "skill": "skill",
    }


def test_the_precision_flag_of_the_user_changes_nothing():
    random, plain = (js.Grid(s, {"learning_rate": [0.1, 0.7]}) for s in (FINITE, ONLINE))
    off = [js.run(random), js.predict(plain)]
    with jax.enable_x64(True):
        on = [js.run(random), js.predict(plain)]
    assert not jax.config.jax_enable_x64
    assert all(a.equals(b) for a, b in zip(off, on, strict=True))


def test_double_precision_systems_run_without_the_flag():
    grid = js.Grid(js.replace(FINITE, "dtype", "float64"))
    assert js.run(grid)["loss"].dtype == np.float64


@pytest.mark.slow
def test_online_and_finite_data_share_a_dataset():
    runs = js.run(js.Grid(FINITE, {"data": [Online(), FiniteSet(n_samples=10)]}, seeds=3))
    online, finite = runs["loss"].isel(step=-1).values
    assert np.ptp(online) == 0
    assert np.ptp(finite) > 0
