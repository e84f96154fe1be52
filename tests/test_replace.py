"""`js.replace` converts, validates, and derives padded lengths anew."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

import jaxscale as js
from jaxscale import emergence, sparse, superposition
from jaxscale.fields import Integer, dtype_field, size, static_int
from jaxscale.paths import get, replace_together, set_leaf
from jaxscale.sweep._config import decode, encode


def test_replace_converts_and_keeps_the_rest():
    system = emergence.ParityNetwork(width=64, learning_rate=0.05)
    other = js.replace(system, "learning_rate", 1)
    assert other.learning_rate.dtype == np.float64
    assert float(other.learning_rate) == 1.0
    assert int(other.width) == 64
    assert float(system.learning_rate) == 0.05


def test_replace_of_a_size_derives_its_padded_length_anew():
    system = emergence.ParityNetwork(width=16).padded_for({"width": [64]})
    assert system.padded("width") == 64
    assert js.replace(system, "width", 32).padded("width") == 32
    assert js.replace(system, "learning_rate", 0.2).padded("width") == 64


def test_a_size_beyond_its_padded_length_is_refused():
    system = emergence.ParityNetwork(width=16)
    with pytest.raises(ValueError, match="`width` must be at most its padded length 16, got 32"):
        dataclasses.replace(system, width=32)


def test_a_traced_size_without_a_length_is_named():
    system = emergence.ParityNetwork(width=16)
    with pytest.raises(ValueError, match=r"`width` of ParityNetwork has no padded length"):
        jax.eval_shape(lambda w: js.replace(system, "width", w).work().flops, jnp.int32(3))


@pytest.mark.parametrize("name", ["max_width", "padded_width"])
def test_old_names_of_a_padded_length_read_it(name):
    system = emergence.ParityNetwork(width=16).padded_for({"width": [64]})
    with pytest.warns(DeprecationWarning, match=f"`{name}` is deprecated, use `padded"):
        assert getattr(system, name) == 64


def test_systems_are_built_with_the_old_maxima():
    with pytest.warns(DeprecationWarning, match="`max_width` is deprecated"):
        wide = emergence.ParityNetwork(width=16, max_width=64)
    assert wide.padded("width") == 64
    with pytest.warns(DeprecationWarning, match="`max_width` is deprecated"):
        wider = js.replace(wide, "max_width", 128)
    assert (int(wider.width), wider.padded("width")) == (16, 128)
    with pytest.warns(DeprecationWarning, match="is deprecated"):
        student = superposition.TeacherStudent(
            n_features=8, latent_size=2, frequency_exponent=1.0, max_latent_size=4, max_active=3
        )
    assert (student.padded("latent_size"), student.padded("active")) == (4, 3)
    with pytest.raises(ValueError, match="`width` must be at most its padded length 8, got 16"):
        with pytest.warns(DeprecationWarning, match="`max_width`"):
            emergence.ParityNetwork(width=16, max_width=8)


def test_old_maxima_work_in_files_and_in_replace():
    table = {"type": "emergence.ParityNetwork", "width": 16, "max_width": 64}
    with pytest.warns(DeprecationWarning, match="`max_width` is deprecated"):
        decoded = decode(table)
    assert decoded.padded("width") == 64
    assert "max_width" not in encode(decoded)
    with pytest.warns(DeprecationWarning, match="`max_width` is deprecated"):
        replaced = js.replace(emergence.ParityNetwork(width=16), "max_width", 32)
    assert (int(replaced.width), replaced.padded("width")) == (16, 32)
    with pytest.raises(ValueError, match="`max_heads` is not a field of ParityNetwork"):
        decode({"type": "emergence.ParityNetwork", "max_heads": 2})


def test_old_maxima_work_in_classes_of_a_user_and_as_axes():
    class Own(emergence.ParityNetwork):
        pass

    with pytest.warns(DeprecationWarning, match="`max_width` is deprecated") as caught:
        own = js.replace(Own(width=16, max_width=64), "max_width", 128)
    assert {warning.filename for warning in caught} == {__file__}
    assert own.padded("width") == 128
    with pytest.warns(DeprecationWarning, match="`max_width` is deprecated"):
        grid = js.Grid(Own(width=16), {"max_width": [32, 64], "learning_rate": [0.1, 0.2]})
    assert grid.structural_axes == ("max_width",)
    assert grid.coordinates["max_width"].tolist() == [32, 64]
    with pytest.warns(DeprecationWarning, match="`max_width` is deprecated"):
        last = grid.system_at(3)
    assert last.padded("width") == 64
    with pytest.raises(ValueError, match="`max_heads` is not a field of Own"):
        js.Grid(own, {"max_heads": [1]})


def test_the_old_name_of_theory_kind_warns():
    with pytest.warns(DeprecationWarning, match="`Predicted` is deprecated, use `TheoryKind`"):
        assert js.Predicted is js.TheoryKind
    with pytest.raises(AttributeError, match="no attribute 'emergance'; did you mean `emergence`"):
        _ = js.emergance


def test_old_names_of_other_lengths_read_them():
    model = sparse.RandomFeatureRegression(
        n_features=4, n_samples=8, spectrum_exponent=1.0, sparsity_exponent=2.0
    )
    student = superposition.TeacherStudent(n_features=8, latent_size=2, frequency_exponent=1.0)
    with pytest.warns(DeprecationWarning, match="`sizes` is deprecated, use `padding`"):
        assert model.sizes == model.padding
    with pytest.warns(DeprecationWarning, match="`enclosing` is deprecated, use `padded_for`"):
        assert model.enclosing({"n_samples": [32]}).padded("n_samples") == 32
    with pytest.warns(DeprecationWarning, match="is deprecated, use `padded"):
        assert (student.padded_latent_size, student.places) == (2, 1)


def test_a_class_that_declares_its_maximum_is_deprecated_and_works():
    with pytest.warns(DeprecationWarning, match="`Old.max_n` is deprecated, use"):

        class Old(js.AbstractSystem):
            n: Integer = size(4)
            max_n: int | None = static_int(None, optional=True)
            dtype: str = dtype_field("float32")

            def __post_init__(self):
                if self.max_n is None:
                    self.max_n = int(self.n)

            @property
            def schema(self):
                return js.Schema({"total": js.Observable((), "1", "sum of 1 to n")}, {})

            def simulate(self, key):
                number = jnp.arange(1, self.max_n + 1, dtype=jnp.int32)
                total = jnp.sum(jnp.where(number <= self.n, number, 0), dtype=jnp.int32)
                return {"total": total.astype(self.dtype), "status": jnp.asarray(0, jnp.int32)}

            def predict(self):
                return {}

            def work(self):
                return js.Work(float(self.max_n), 1.0, 1.0, 1)

    runs = js.run(js.plan(js.Grid(Old(), {"n": [2, 8, 3]}), max_programs=1))
    assert runs["total"].isel(seed=0).values.tolist() == [3, 36, 6]


@pytest.mark.parametrize("name", ["enclosing", "sliced"])
def test_a_class_that_defines_an_old_hook_is_refused(name):
    with pytest.raises(TypeError, match=f"`Old.{name}` is called no longer: define"):
        type("Old", (js.AbstractSystem,), {name: lambda self, value: self})


def test_replace_reaches_into_parts_and_hyperparameters():
    system = emergence.ParityNetwork(
        data=emergence.FiniteSet(n_samples=10), optimizer=js.Optax("adamw", weight_decay=0.1)
    )
    assert int(get(js.replace(system, "data.n_samples", 20), "data.n_samples")) == 20
    path = "optimizer.hyperparameters.weight_decay"
    assert float(get(js.replace(system, path, 0.3), path)) == 0.3
    with pytest.raises(ValueError, match="n_samples"):
        js.replace(system, "data.n_samples", -1)


def test_a_field_inside_of_another_is_not_replaced_beside_it():
    network = emergence.ParityNetwork(optimizer=js.Adam())
    values = {"optimizer": js.Adam(b2=0.5), "optimizer.b1": 0.5}
    with pytest.raises(ValueError, match=r"`optimizer\.b1` must not lie inside of `optimizer`"):
        replace_together(network, values)


@pytest.mark.parametrize("value", [np.False_, np.array("0.5")])
def test_booleans_and_texts_of_numpy_are_no_numbers(value):
    with pytest.raises(ValueError, match="`momentum` must be a real number"):
        js.Sgd(momentum=value)


def test_no_type_is_no_float_type():
    with pytest.raises(ValueError, match="`dtype` must be float32 or float64, got None"):
        emergence.MultilinearSkills(dtype=None)


def test_leaves_stay_host_float64():
    system = emergence.ParityNetwork(skill_exponent=0.6)
    assert isinstance(system.skill_exponent, np.ndarray)
    assert float(system.skill_exponent) == 0.6


def test_traced_values_pass_through():
    system = emergence.MultilinearSkills(n_steps=3)
    moved = jax.jit(lambda x: js.replace(system, "learning_rate", x).learning_rate)(0.3)
    assert float(moved) == pytest.approx(0.3)
    assert float(set_leaf(system, "learning_rate", np.float64(0.4)).learning_rate) == 0.4


def test_a_path_is_a_text():
    with pytest.raises((ValueError, TypeCheckError), match="path"):
        js.replace(js.emergence.MultilinearSkills(n_skills=3), ["learning_rate"], 0.1)
