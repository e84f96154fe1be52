"""`select`: the system and key behind a run, which repeat it alone."""

import jax
import numpy as np
import pytest

import jaxscale as js
from jaxscale._labels import match_labels
from jaxscale.emergence import FiniteSet, MultilinearSkills, Online, ParityNetwork


@pytest.fixture(scope="module")
def runs():
    system = MultilinearSkills(n_skills=5, n_steps=20)
    axes = {"data": [Online(), FiniteSet(n_samples=30)], "learning_rate": [0.1, 0.3]}
    return js.run(js.Grid(system, axes, seeds=[2, 5]))


def test_a_selected_run_repeats_the_sweep(runs):
    data = FiniteSet(n_samples=30)
    system, key = js.select(runs, data=data, learning_rate=0.3, seed=5)
    again = system.simulate(key)
    swept = runs.sel(data="FiniteSet(n_samples=30)", learning_rate=0.3, seed=5)
    np.testing.assert_allclose(again["loss"], swept["loss"], rtol=1e-6)
    other = runs.sel(data="FiniteSet(n_samples=30)", learning_rate=0.3, seed=2)
    assert not np.allclose(again["loss"], other["loss"], rtol=1e-6)


def test_the_one_value_that_is_left_need_not_be_given(runs):
    few = runs.isel(learning_rate=[1], data=0)
    assert float(js.select(few, seed=5)[0].learning_rate) == np.float32(0.3)
    other, _ = js.select(few, learning_rate=0.1, seed=5)  # what is given outranks what is left
    assert float(other.learning_rate) == np.float32(0.1)


def test_objects_are_chosen_by_label_too(runs):
    system, _ = js.select(runs, data="Online()", learning_rate=0.1, seed=2)
    assert isinstance(system.data, Online)


def test_a_selected_network_has_its_own_width():
    network = ParityNetwork(n_skills=2, n_bits=6, skill_size=2, n_steps=5)
    system, _ = js.select(js.predict(js.Grid(network, {"width": [3, 8]})), width=3)
    assert (int(system.width), system.padded("width")) == (3, 3)


@pytest.mark.parametrize(
    ("chosen", "word"),
    [
        ({"learning_rate": 0.1, "seed": 2}, "data"),
        ({"data": "Online()", "learning_rate": 0.2, "seed": 2}, "0.2"),
        ({"data": "Offline()", "learning_rate": 0.1, "seed": 2}, "Offline"),
        ({"width": 3}, "`width` is not .*; there are data, learning_rate, seed"),
        ({"learning_rat": 0.1}, "did you mean `learning_rate`"),
        ({"data": "Online()", "learning_rate": "fast", "seed": 2}, "fast"),
    ],
)
def test_bad_choices(runs, chosen, word):
    with pytest.raises(ValueError, match=word):
        js.select(runs, **chosen)


def test_results_of_others_are_refused(runs):
    with pytest.raises(ValueError, match="grid"):
        js.select(runs.drop_attrs(), seed=2)


def test_a_selection_need_not_be_repeated():
    grid = js.Grid(
        js.emergence.MultilinearSkills(n_skills=3, n_steps=5),
        {"learning_rate": [0.1, 0.2]},
        seeds=2,
    )
    runs = js.run(grid).sel(learning_rate=0.2)
    assert float(js.select(runs, seed=1)[0].learning_rate) == 0.2
    assert float(js.select(runs, learning_rate=0.1, seed=1)[0].learning_rate) == 0.1


@pytest.mark.parametrize(
    ("labels", "wanted", "places"),
    [
        ([30.0, np.inf], [np.inf, 30.0, 31.0], [1, 0, -1]),
        ([0.3, 0.1, np.nan], np.float32([0.1, 0.3, 0.2]), [1, 0, -1]),
        ([2_000_000_000], [2_000_000_001], [-1]),
        (["a", "b"], ["b", "c"], [1, -1]),
    ],
)
def test_labels_match_up_to_rounding_alone(labels, wanted, places):
    np.testing.assert_array_equal(match_labels(np.array(labels), np.asarray(wanted)), places)


def test_training_with_a_legacy_key_is_refused_by_the_key_that_was_given():
    system = js.emergence.MultilinearSkills(n_steps=2)
    with pytest.raises(ValueError, match=r"`key` must be a typed key .*, got Array\(\[0, 0\]"):
        js.train(system, jax.random.PRNGKey(0))


def test_what_systems_make_by_themselves_is_not_offered():
    with pytest.raises(ValueError, match=r"`optimizer` must be one of .*Nesterov") as refused:
        js.streaming.StreamingRegression(learning_rate=0.1, optimizer="Nesterof")
    assert "HeavyBall" not in str(refused.value)


def test_an_iterator_is_read_once():
    system = js.emergence.MultilinearSkills(n_steps=20, record=(10 * i for i in range(3)))
    assert system.record == (0, 10, 20)


def test_arguments_of_another_type_are_named(tmp_path):
    file = tmp_path / "sweep.toml"
    file.write_text('system = "emergence.MultilinearSkills"\nfields = {n_skills = 3}\n')
    path = str(file)
    assert js.Grid.from_toml(file).to_dict() == js.Grid.from_toml(path).to_dict()
    for name in (3, None, b"a.toml"):
        with pytest.raises(ValueError, match="`name` must be the path of a TOML file or a preset"):
            js.Grid.from_toml(name)
    for argument in ("fields", "axes"):
        with pytest.raises(
            ValueError, match=rf"`{argument}` must map field paths to values, .*\[1\]"
        ):
            js.Grid.from_toml(path, **{argument: [1]})
        with pytest.raises(ValueError, match=f"`{argument}` must have field paths as keys, got 1"):
            js.Grid.from_toml(path, **{argument: {1: [2]}})
