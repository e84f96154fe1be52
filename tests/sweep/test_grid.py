"""Grids: axes, coordinates, errors before anything compiles, plain data and pickles."""

import itertools
import json
import pickle

import jax
import numpy as np
import pytest
from systems import ONLINE as SMALL

import jaxscale as js
from jaxscale.emergence import (
    DataLimited,
    DisjointSkills,
    FiniteSet,
    Online,
    ParityNetwork,
    RandomSkills,
    TimeLimited,
    WidthLimited,
)

NETWORK = ParityNetwork(
    n_skills=2, n_bits=6, skill_size=2, width=8, batch_size=32, n_steps=5, n_evaluation=64
)


def test_dims_follow_the_axes_and_end_with_the_seed():
    axes = {"learning_rate": [0.1, 0.2, 0.3], "n_skills": [3, 5]}
    grid = js.Grid(SMALL, axes, seeds=[7, 3], key=5)
    assert grid.dims == ("learning_rate", "n_skills", "seed")
    assert grid.shape == (3, 2, 2)
    assert grid.n_runs == 12
    assert grid.leaf_axes == ("learning_rate",)
    assert grid.structural_axes == ("n_skills",)
    assert grid.coordinates["seed"].tolist() == [7, 3]
    system = grid.system_at(11)
    assert (float(system.learning_rate), system.n_skills) == (0.3, 5)


def test_object_axes_are_structural_and_labelled():
    grid = js.Grid(SMALL, {"data": [Online(), FiniteSet(n_samples=100)]})
    assert grid.structural_axes == ("data",)
    assert grid.coordinates["data"].tolist() == ["Online()", "FiniteSet(n_samples=100)"]


def test_seeds_as_a_count_are_the_first_ones():
    assert js.Grid(SMALL, seeds=3).seeds == (0, 1, 2)
    assert js.Grid(SMALL, seeds=[2**32 - 1]).seeds == (2**32 - 1,)


def test_the_key_of_a_run_depends_on_the_seed_only():
    one = js.Grid(SMALL, {"learning_rate": [0.1, 0.2]}, seeds=9, key=4).run_key(7)
    other = js.Grid(SMALL, seeds=[7], key=4).run_key(7)
    assert (jax.random.key_data(one) == jax.random.key_data(other)).all()
    expected = jax.random.fold_in(jax.random.key(4, impl="threefry2x32"), 7)
    assert (jax.random.key_data(one) == jax.random.key_data(expected)).all()


@pytest.mark.parametrize("key", [2**32, 2**53 + 1, 2**63 - 1])
def test_keys_of_63_bits_are_keys_of_their_own(key):
    grid, low = js.Grid(SMALL, key=key), js.Grid(SMALL, key=key & (2**32 - 1))
    assert grid.key == key
    assert js.Grid.from_dict(json.loads(json.dumps(grid.to_dict()))).key == key
    one = jax.random.key_data(grid.run_key(0))
    assert (one != jax.random.key_data(low.run_key(0))).any()
    with jax.enable_x64(True):
        assert (one == jax.random.key_data(grid.run_key(0))).all()


@pytest.mark.parametrize(
    ("axes", "options", "words"),
    [
        ({"learning_rate": [0.1, 0.1]}, {}, ["learning_rate", "distinct", "0.1"]),
        ({"learning_rate": []}, {}, ["learning_rate", "at least one"]),
        ({"learning_rate": "0.1"}, {}, ["learning_rate", "sequence", "0.1"]),
        ({"lerning_rate": [0.1]}, {}, ["lerning_rate", "did you mean `learning_rate`"]),
        ({"data.n_samples": [10]}, {}, ["n_samples", "Online"]),
        (
            {"data.n_samples": [5, 6], "data": [FiniteSet(n_samples=100)]},
            {},
            ["axis `data.n_samples` must not lie inside of axis `data`", "leave one"],
        ),
        ({"learning_rate": [0.1, -1.0]}, {}, ["learning_rate", "-1.0"]),
        ({"n_skills": [3, 2.5]}, {}, ["n_skills", "2.5"]),
        ({"data": [3]}, {}, ["data", "Online, FiniteSet", "3"]),
        ({"n_skills": [3, 5], "n_parameters": [2, 4]}, {}, ["n_parameters", "3", "4"]),
        ({}, {"seeds": 0}, ["seeds", "0"]),
        ({}, {"seeds": [1, 1]}, ["seeds", "distinct"]),
        ({}, {"seeds": [-1]}, ["seeds", "-1"]),
        ({}, {"seeds": [1_000_000_000.5]}, ["seeds", "whole number", "1000000000.5"]),
        ({}, {"key": -1}, ["key", "-1"]),
        ({}, {"key": 2**63}, ["key", "2**63 - 1", "9223372036854775808"]),
        ({}, {"key": 10**400}, ["key", "whole number"]),
    ],
)
def test_bad_grids_name_field_and_value(axes, options, words):
    with pytest.raises(ValueError) as caught:
        js.Grid(SMALL, axes, **options)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("system", "axes"),
    [
        (SMALL, {"n_skills": [10, 20], "n_parameters": [7, 9]}),
        (SMALL, {"n_parameters": [7, 9], "learning_rate": [0.1], "n_skills": [10, 20]}),
        (js.replace(SMALL, "n_parameters", 5), {"n_skills": [2, 3], "n_parameters": [2, 1]}),
        (js.replace(SMALL, "record", [0, 20]), {"n_steps": [10, 12], "record": [[0, 10], [2]]}),
        (SMALL, {"record": [[0, 30], [2]], "n_steps": [40, 30]}),
    ],
)
def test_values_are_valid_that_are_so_together(system, axes):
    grid = js.Grid(system, axes)
    combinations = itertools.product(*axes.values())
    for run_id, values in enumerate(combinations):
        for path, value in zip(axes, values, strict=True):
            np.testing.assert_array_equal(getattr(grid.system_at(run_id), path), value)
    assert js.plan(grid).n_runs == grid.n_runs
    assert js.Grid.from_dict(json.loads(json.dumps(grid.to_dict()))).to_dict() == grid.to_dict()


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"n_skills": [10, 8], "n_parameters": [12]}, "at most n_skills = 10, got 12"),
        ({"n_skills": [10, 8], "n_parameters": [7, 9]}, "at most n_skills = 8, got 9"),
        ({"n_parameters": iter([7, 9]), "n_skills": iter([10, 8])}, "at most n_skills = 8, got 9"),
        ({"n_skills": [10], "n_parameters": [7], "learning_rate": []}, "`learning_rate` must have"),
        ({"n_skills": [2.5, 8], "n_parameters": [1, 2]}, r"Rounded: n_skills=\[2,8\]"),
    ],
)
def test_values_that_exclude_each_other_are_named_as_they_meet(axes, message):
    with pytest.raises(ValueError, match=message):
        js.Grid(SMALL, axes)


def test_values_that_exclude_each_other_are_found_in_long_axes():
    axes = {
        "initial_strength": np.geomspace(0.01, 0.9, 60),
        "target_scale": np.linspace(0.5, 5, 60),
    }
    with pytest.raises(ValueError, match="initial_strength"):
        js.Grid(SMALL, axes)


@pytest.mark.parametrize(
    "grid",
    [
        js.Grid(SMALL),
        js.Grid(SMALL, {"data": [Online(), FiniteSet(n_samples=100)]}, seeds=[4, 2], key=3),
        js.Grid(
            js.replace(NETWORK, "optimizer", js.Optax("adamw", weight_decay=1e-3)),
            {
                "width": [2, 4],
                "schedule": [js.Constant(), js.StepDecay(ratio=0.3, every=2), js.WarmUp()],
                "optimizer.hyperparameters.weight_decay": [0.1, 0.2],
            },
            seeds=2,
        ),
        js.Grid(NETWORK, {"record": [[0, 5], [1, 2, 5]], "n_steps": [5, 6]}),
        js.Grid(SMALL, {"n_parameters": [None, 3]}),
    ],
    ids=["plain", "objects", "nested", "records", "optional"],
)
def test_plain_data_round_trip(grid):
    table = json.loads(json.dumps(grid.to_dict()))
    back = js.Grid.from_dict(table)
    assert back.to_dict() == table
    assert back.dims == grid.dims
    for name, values in grid.coordinates.items():
        assert back.coordinates[name].tolist() == values.tolist()
    for run_id in range(grid.n_runs):
        one, two = back.system_at(run_id), grid.system_at(run_id)
        assert jax.tree.structure(one) == jax.tree.structure(two)
        assert jax.tree.leaves(one) == jax.tree.leaves(two)


def test_geomspace():
    assert js.geomspace(1e-2, 1.0, 3) == pytest.approx([1e-2, 1e-1, 1.0], rel=1e-12)
    for bad in ((0.0, 1.0, 3), (1.0, -1.0, 3), (1.0, 2.0, 0), (1.0, float("inf"), 2)):
        with pytest.raises(ValueError, match="must be"):
            js.geomspace(*bad)
    for bad in ("1", np.array([1, 2]), None, 10**400):
        with pytest.raises(ValueError, match="`low` must be a"):
            js.geomspace(bad, 2, 3)


@pytest.mark.parametrize(
    "part",
    [
        SMALL, NETWORK, Online(), FiniteSet(n_samples=3), DisjointSkills(), RandomSkills(),
        js.emergence.ShuffledSkills(), js.emergence.Covariance(),
        js.Sgd(momentum=0.5), js.Adam(), js.AdamW(row_length=1.0),
        js.Optax("lion", weight_decay=0.1), js.Constant(), js.StepDecay(), js.TwoDrops(),
        js.WarmUp(then=js.Cosine()), TimeLimited(), DataLimited(), WidthLimited(),
    ],
    ids=lambda p: type(p).__name__,
)  # fmt: skip
def test_parts_pickle(part):
    back = pickle.loads(pickle.dumps(part))
    assert jax.tree.structure(back) == jax.tree.structure(part)
    assert jax.tree.leaves(back) == jax.tree.leaves(part)


def test_a_pickled_grid_runs_alike():
    system = js.replace(SMALL, "data", FiniteSet(n_samples=30))
    grid = js.Grid(system, {"data.n_samples": [10, 30]}, seeds=2)
    one, two = js.run(grid), js.run(pickle.loads(pickle.dumps(grid)))
    assert one.equals(two)


def test_replace_changes_what_is_given_and_validates_it():
    system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    grid = js.Grid(system, {"learning_rate": [0.1, 0.2]}, seeds=[3, 5], key=7)
    assert grid.replace().to_dict() == grid.to_dict()
    one = grid.replace(seeds=1)
    assert (one.seeds, one.key, one.axes) == ((0,), 7, grid.axes)
    longer = grid.replace(system=js.replace(system, "n_steps", 40), key=8)
    assert (longer.system.n_steps, longer.key, longer.seeds) == (40, 8, (3, 5))
    assert grid.replace(axes={}).n_runs == 2
    with pytest.raises(ValueError, match="axis `learning_rate` must have distinct values"):
        grid.replace(axes={"learning_rate": [0.1, 0.1]})
    with pytest.raises(ValueError, match="`seeds` must be at least one seed"):
        grid.replace(seeds=[])
    with pytest.raises(ValueError, match="`key` must lie in"):
        grid.replace(key=-1)


def test_numbers_of_points_are_whole():
    with pytest.raises(ValueError, match=r"`n_steps` must be a whole number, got 10\.5"):
        js.training.log_spaced_steps(10.5, 6)
    with pytest.raises(ValueError, match=r"`n` must be a whole number, got 2\.5"):
        js.geomspace(1, 10, 2.5)
