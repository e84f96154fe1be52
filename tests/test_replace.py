"""`js.replace` converts, validates, and re-derives padded sizes."""

import jax
import numpy as np
import pytest

import jaxscale as js
from jaxscale import emergence
from jaxscale.paths import get, set_leaf


def test_replace_converts_and_keeps_the_rest():
    system = emergence.ParityNetwork(width=64, learning_rate=0.05)
    other = js.replace(system, "learning_rate", 1)
    assert other.learning_rate.dtype == np.float64
    assert float(other.learning_rate) == 1.0
    assert int(other.width) == 64
    assert float(system.learning_rate) == 0.05


def test_replace_of_a_size_rederives_its_maximum():
    system = emergence.ParityNetwork(width=16, max_width=64)
    assert system.padded_width == 64
    assert js.replace(system, "width", 32).padded_width == 32
    assert js.replace(system, "learning_rate", 0.2).padded_width == 64


def test_replace_reaches_into_parts_and_hyperparameters():
    system = emergence.ParityNetwork(
        data=emergence.FiniteSet(n_samples=10), optimizer=js.Optax("adamw", weight_decay=0.1)
    )
    assert int(get(js.replace(system, "data.n_samples", 20), "data.n_samples")) == 20
    path = "optimizer.hyperparameters.weight_decay"
    assert float(get(js.replace(system, path, 0.3), path)) == 0.3
    with pytest.raises(ValueError, match="n_samples"):
        js.replace(system, "data.n_samples", -1)


def test_leaves_stay_host_float64():
    system = emergence.ParityNetwork(skill_exponent=0.6)
    assert isinstance(system.skill_exponent, np.ndarray)
    assert float(system.skill_exponent) == 0.6


def test_traced_values_pass_through():
    system = emergence.MultilinearSkills(n_steps=3)
    moved = jax.jit(lambda x: js.replace(system, "learning_rate", x).learning_rate)(0.3)
    assert float(moved) == pytest.approx(0.3)
    assert float(set_leaf(system, "learning_rate", np.float64(0.4)).learning_rate) == 0.4
