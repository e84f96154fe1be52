"""Programs by structure: other numbers and more chunks compile nothing, another structure does."""

import pickle
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from checks import compilations, spawned

import jaxscale as js
from jaxscale.emergence import FiniteSet, MultilinearSkills
from jaxscale.sweep import _bucket, _program
from jaxscale.sweep._cache import PROGRAMS, ProgramCache
from jaxscale.sweep._structure import structure_key

FINITE = MultilinearSkills(n_skills=4, n_steps=10, data=FiniteSet(n_samples=20))
OFFSET = 1.0


def _shift(x):
    return x + OFFSET


class Shifted(MultilinearSkills):
    """Reads a function and a constant of its module, as a class in a notebook does."""

    def observe(self, state):
        observed = super().observe(state)
        return observed | {"loss": _shift(observed["loss"])}


def grid(system=FINITE, rates=(0.1, 0.2), **kwargs):
    return js.Grid(system, {"learning_rate": list(rates)}, **{"seeds": 4, **kwargs})


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"rates": (0.3, 0.05)},
        {"system": js.replace(FINITE, "target_scale", 3.0)},
        {"system": js.replace(FINITE, "data.n_samples", 20)},
        {"seeds": [7, 5, 3, 1]},
        {"key": 9},
    ],
    ids=["same", "axis", "field", "size", "seeds", "key"],
)
def test_a_like_grid_compiles_nothing(other):
    js.run(grid())
    with compilations() as compiled:
        runs = js.run(grid(**other))
    assert not compiled
    assert runs.attrs["compile_seconds"] == 0
    PROGRAMS.clear()
    assert runs.equals(js.run(grid(**other)))


def test_more_chunks_compile_nothing():
    js.run(js.plan(grid(), max_runs_per_chunk=4))
    with compilations() as compiled:
        runs = js.run(js.plan(grid(rates=np.linspace(0.1, 0.9, 6)), max_runs_per_chunk=4))
    assert not compiled
    assert np.ptp(runs["loss"].isel(step=-1).values) > 0


PREDICTED = MultilinearSkills(n_skills=4, n_steps=10)


def test_predictions_of_a_like_grid_compile_nothing():
    js.predict(grid(PREDICTED, np.linspace(0.1, 0.9, 70)))
    with compilations() as compiled:
        other = js.predict(
            grid(js.replace(PREDICTED, "target_scale", 2.0), np.linspace(0.1, 1, 200))
        )
        js.predict(grid(PREDICTED, np.linspace(0.2, 0.5, 33)))
    assert not compiled
    alone = js.predict(grid(js.replace(PREDICTED, "target_scale", 2.0), [0.1]))
    np.testing.assert_allclose(other["loss"].isel(learning_rate=[0]), alone["loss"], rtol=1e-12)


def test_predictions_of_another_structure_compile():
    js.predict(grid(PREDICTED))
    with compilations() as compiled:
        js.predict(js.Grid(PREDICTED, {"n_steps": [10, 12]}))
    assert len(compiled) >= 2


@pytest.mark.parametrize(
    "other",
    [
        {"n_steps": 11},
        {"n_skills": 5},
        {"dtype": "float64"},
        {"data": js.emergence.Online()},
    ],
    ids=str,
)
def test_another_structure_compiles(other):
    ((path, value),) = other.items()
    js.run(grid())
    with compilations() as compiled:
        js.run(grid(js.replace(FINITE, path, value)))
    assert compiled


def test_settings_belong_to_the_structure():
    before = structure_key(FINITE)
    assert structure_key(pickle.loads(pickle.dumps(FINITE))) == before
    with jax.enable_x64(True):
        assert structure_key(FINITE) != before
    with jax.numpy_dtype_promotion("standard"):
        assert structure_key(FINITE) != before
    js.run(grid())
    with compilations() as compiled:
        js.run(js.plan(grid(), matmul_precision="bfloat16"))
    assert compiled


@pytest.mark.parametrize("name", ["OFFSET", "_shift"])
def test_code_that_a_users_class_reads_is_not_stale(monkeypatch, name):
    system = Shifted(n_skills=3, n_steps=5)
    before = js.run(grid(system))["loss"]
    changed = {"OFFSET": 2.0, "_shift": lambda x: x + 2.0}
    monkeypatch.setitem(globals(), name, changed[name])
    np.testing.assert_allclose(js.run(grid(system))["loss"], before + 1.0, rtol=1e-6)


class Helper:
    """A class of the same module that a method builds."""

    def offset(self):
        return OFFSET


class Indirect(Shifted):
    """Reads a constant through a class, and holds a function and a static number."""

    function: Callable = eqx.field(static=True, default=_shift)
    power: float = eqx.field(static=True, default=2)

    def converged(self, history):
        return history["loss"][-1] > Helper().offset()


def test_code_behind_classes_fields_and_types_is_read(monkeypatch):
    system = Indirect(n_skills=3, n_steps=5)
    before = structure_key(system)
    assert structure_key(Indirect(n_skills=3, n_steps=5)) == before
    assert structure_key(js.replace(system, "learning_rate", 0.3)) == before
    assert structure_key(Indirect(n_skills=3, n_steps=5, power=2.0)) != before
    monkeypatch.setitem(globals(), "OFFSET", 3.0)
    assert structure_key(system) != before


def test_code_that_is_replaced_in_place_is_read(monkeypatch):
    """As `%autoreload 2` does it."""
    system = Shifted(n_skills=3, n_steps=5)
    before = structure_key(system)
    monkeypatch.setattr(_shift, "__code__", (lambda x: x - OFFSET).__code__)
    assert structure_key(system) != before


def test_functions_made_anew_from_the_same_code_share_a_program():
    """As cloudpickle makes them with every task of Dask and submitit."""
    system = Shifted(n_skills=3, n_steps=5)
    before, observe = structure_key(system), Shifted.observe
    again = types.FunctionType(
        observe.__code__, observe.__globals__, observe.__name__, None, observe.__closure__
    )
    Shifted.observe = again
    try:
        assert structure_key(system) == before
    finally:
        Shifted.observe = observe


def test_predictions_follow_code_that_is_edited(monkeypatch):
    class Predicting(MultilinearSkills):
        def predict(self):
            return {name: OFFSET * value for name, value in super().predict().items()}

    one = js.Grid(Predicting(n_skills=3, n_steps=5))
    before = js.predict(one)["loss"]
    monkeypatch.setitem(globals(), "OFFSET", 2.0)
    np.testing.assert_allclose(js.predict(one)["loss"], 2.0 * before, rtol=1e-12)


def _half(learning_rate):
    return optax.sgd(learning_rate / 2)


def _full(learning_rate):
    return optax.sgd(learning_rate)


def test_an_optimizer_of_the_users_is_not_stale(monkeypatch):
    optimizer = js.Optax(_half)
    before = structure_key(optimizer)
    monkeypatch.setitem(globals(), "_half", _full)
    assert structure_key(optimizer) != before


def test_a_program_that_is_compiled_quickly_is_another_one_with_the_same_results(monkeypatch):
    options = []
    lowered = jax.stages.Lowered.compile
    quickly = {"xla_backend_optimization_level": 2}
    monkeypatch.setattr(_program, "quick_options", lambda: quickly)  # none that the tests choose

    def spied(self, compiler_options=None):
        options.append(compiler_options)
        return lowered(self, compiler_options)

    monkeypatch.setattr(jax.stages.Lowered, "compile", spied)
    system = js.streaming.StreamingRegression(n_features=4, learning_rate=0.1, n_steps=20)
    grid = js.Grid(system, {"noise": [0.0, 0.5]}, seeds=4)
    quick = js.run(grid)
    monkeypatch.setattr(_bucket, "QUICK_SECONDS", 0.0)
    other = js.run(grid)
    assert other.attrs["compile_seconds"] > 0
    brief, full = (o for o in options if o)
    assert brief == quickly | full
    for name in quick.data_vars:
        np.testing.assert_allclose(quick[name], other[name], rtol=1e-5)


def test_threads_share_programs():
    with ThreadPoolExecutor(2) as pool:
        js.run(js.plan(grid(), max_runs_per_chunk=2), executor=pool)
        with compilations() as compiled:
            runs = js.run(js.plan(grid(rates=(0.3, 0.4)), max_runs_per_chunk=2), executor=pool)
    assert not compiled
    assert runs.attrs["compile_seconds"] == 0


@pytest.mark.dist
def test_a_worker_process_compiles_once_per_structure():

    with spawned(1) as pool:
        first = js.run(grid(), executor=pool)
        second = js.run(grid(rates=(0.3, 0.4), seeds=[5, 6, 7, 8]), executor=pool)
    assert first.attrs["compile_seconds"] > 0
    assert second.attrs["compile_seconds"] == 0


def test_the_least_recently_used_program_goes():
    cache, built = ProgramCache(2), []

    def find(key):
        return cache.find(key, lambda: built.append(key) or key)

    assert [find(k) for k in "abac"] == list("abac")
    assert cache.values() == ["a", "c"]
    find("a")
    find("b")
    assert built == list("abcb")
    assert cache.values() == ["a", "b"]


def test_a_program_is_built_once_however_many_threads_ask():
    cache, built, gate = ProgramCache(2), [], threading.Barrier(4)

    def ask(_):
        gate.wait(30)
        return cache.find("a", lambda: built.append(1) or jnp.zeros(()))

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(ask, range(4)))
    assert len(built) == 1
    assert all(r is results[0] for r in results)


def test_a_failed_build_leaves_nothing():
    cache = ProgramCache(2)
    with pytest.raises(ValueError, match="no"):
        cache.find("a", lambda: (_ for _ in ()).throw(ValueError("no")))
    assert cache.find("a", lambda: 1) == 1
