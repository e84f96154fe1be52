"""What the decorator of theory functions does to a formula, shown on functions of the package."""

import inspect
import math
from importlib.metadata import version

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from checks import compilations

import jaxscale as js
from jaxscale import _compilation, _theory
from jaxscale._convert import is_traced
from jaxscale._theory import TheoryFunction, number, positive, symbols
from jaxscale.sparse import theory as sparse
from jaxscale.streaming import theory as streaming

theory_function = TheoryFunction({"x": positive, "n": number(lambda v: v > 0, "positive")})
N_TRACES = {"sum": 0}


@theory_function("n")
def power(x: float, y: float = 2.0, *, n: int = 1) -> jax.Array:
    """Document it."""
    N_TRACES["sum"] += 1
    base, exponent = symbols(x, y)
    return n * base**exponent


def test_signature_docstring_and_name_survive():
    assert str(inspect.signature(power)).startswith("(x: float, y: float = 2.0, *, n: int = 1)")
    assert (power.__name__, power.__doc__, power.__module__) == ("power", "Document it.", __name__)
    loss = js.emergence.theory.loss
    assert inspect.isfunction(loss)
    assert inspect.signature(loss).parameters["n_skills"].default == math.inf


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [((), {}), ((1.0, 2.0, 3), {}), ((1.0,), {"x": 1.0}), ((1.0,), {"z": 1.0}), ((), {"z": 1.0})],
)
def test_calls_that_do_not_fit_the_signature_are_refused_as_python_does(args, kwargs):
    with pytest.raises(TypeError):
        power(*args, **kwargs)


def test_bad_values_are_refused_before_anything_compiles():
    with compilations(traces=True) as compiled:
        for call, message in (
            (lambda: power(-1.0), "`x` must be positive and finite, got -1.0"),
            (lambda: power("one"), "`x` must be positive and finite, got 'one'"),
            (lambda: power(1.0, n=0), "`n` must be positive, got 0"),
            (lambda: power([[1.0], [1.0, 2.0]]), "`x` must be positive and finite, got .*1.0"),
            (lambda: power(10**400), "`x` must be positive and finite, got 1000"),
            (lambda: power(1.0, [[1.0], [2.0, 1.0]]), "`y` must be a number or an array of n"),
            (lambda: power(1.0, 10**400), "`y` must be a number or an array of numbers, got 100"),
            (
                lambda: sparse.unseen_loss(3.0, spectrum_exponent=1.0, sparsity_exponent=[-1.0]),
                "at",
            ),
        ):
            with pytest.raises(ValueError, match=message):
                call()
    assert not compiled


def test_one_program_for_all_values_of_one_shape():
    N_TRACES["sum"] = 0
    for x in (1.0, 2, np.float32(3.0), np.int64(4)):
        assert float(power(x)) == float(x) ** 2
    assert N_TRACES["sum"] == 1
    assert power(3.0, n=2) == 18.0
    assert N_TRACES["sum"] == 2


def test_arrays_broadcast_and_traced_values_pass():
    x, y = np.arange(1.0, 4.0), np.asarray([[1.0], [2.0]])
    np.testing.assert_allclose(power(x, y), x**y, rtol=1e-6)
    assert power(jnp.float32(2.0), 3).dtype == jnp.float32
    for half in (np.float16, jnp.bfloat16):
        assert power(jnp.asarray(3e4, half)).dtype == jnp.float32  # its square is beyond float16
    slope = jax.jit(jax.vmap(jax.grad(power)))(jnp.asarray([-1.0, 2.0]))
    np.testing.assert_allclose(slope, [-2.0, 4.0], rtol=1e-6)
    with jax.enable_x64(True):
        assert power(2.0).dtype == np.float64
        assert power(jnp.float32(2.0)).dtype == np.float32


def test_results_may_be_pytrees():
    class Pair(eqx.Module):
        low: jax.Array
        high: jax.Array

    @theory_function()
    def around(x: float) -> Pair:
        """Two numbers."""
        (base,) = symbols(x)
        return Pair(base - 1, base + 1)

    pair = around(np.asarray([1.0, 2.0]))
    np.testing.assert_array_equal(pair.low, [0.0, 1.0])
    np.testing.assert_array_equal(pair.high, [2.0, 3.0])


EXPONENTS = {"spectrum_exponent": 1.0, "sparsity_exponent": 2.0}


def test_a_spectrum_is_given_in_one_way():
    spectrum = sparse.power_law_coordinates(**EXPONENTS, n_coordinates=50)
    same = sparse.expected_rank(100, sparsity_exponent=2.0, n_coordinates=50)
    np.testing.assert_allclose(sparse.expected_rank(100, spectrum=spectrum), same, rtol=1e-6)
    for call, name in (
        (lambda: sparse.unseen_loss(9.0, spectrum=spectrum, **EXPONENTS), "spectrum_exponent"),
        (lambda: sparse.unseen_loss(9.0, spectrum=spectrum, activity=2.0), "activity"),
        (lambda: sparse.unseen_loss(9.0, spectrum=spectrum, n_coordinates=9), "n_coordinates"),
        (lambda: sparse.unseen_loss(9.0, spectrum_exponent=1.0), "sparsity_exponent"),
        (lambda: sparse.unseen_loss(9.0), "spectrum_exponent"),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must .* `spectrum`"):
            call()


@pytest.mark.parametrize(
    ("old", "new", "values"),
    [
        (sparse.expected_rank_of, sparse.expected_rank, (9.0,)),
        (sparse.expected_seen_of, sparse.expected_seen, (9.0,)),
        (sparse.unseen_loss_of, sparse.unseen_loss, (9.0,)),
    ],
)
def test_old_names_of_functions_of_a_spectrum_are_deprecated(old, new, values):
    spectrum = sparse.Coordinates(*np.asarray([[1.0, 0.5], [0.9, 0.5], [1.0, 1.0]]))
    with pytest.warns(DeprecationWarning, match=rf"`{new.__name__}\(\.\.\., spectrum="):
        before = old(spectrum, *values)
    assert before == new(*values, spectrum=spectrum)


@pytest.mark.parametrize("name", ["gd_loss", "instability_probability", "residual_loss"])
def test_every_function_of_a_spectrum_has_its_old_name(name):
    assert "spectrum" in inspect.signature(getattr(sparse, name)).parameters
    assert getattr(sparse, f"{name}_of").__doc__.startswith(f"Deprecated: `{name}(")


def test_the_decorator_adds_the_sections_that_a_docstring_lacks():
    """Help says what is raised and the source of the package, once, where results are described."""
    for function in (sparse.unseen_law, sparse.conditional_loss, sparse.row_space_residual):
        text = inspect.getdoc(function)
        assert text.count("**Reference:**") == 1
        assert text.index("**Returns:**") < text.index("**Reference:**") < text.index("**Example**")
    assert "`ValueError` for a plain number out of range." in inspect.getdoc(sparse.unseen_law)
    assert "**Raises:**" not in inspect.getdoc(sparse.row_space_residual)  # it checks nothing
    assert inspect.getdoc(sparse.conditional_loss).count("**Raises:**") == 1  # its own


def test_a_function_that_compiles_quickly_is_part_of_any_program():
    """Arguments that a program closes over are no tracers, and options are for no part of one."""
    with jax.enable_x64(True):
        at = {"input_exponent": jnp.float64(0.8), "target_exponent": jnp.float64(0.3)}
        size, last = jnp.float64(100.0), jnp.float64(np.inf)
        alone = streaming.limit_loss(size, n_coordinates=last, **at)

        def scaled(x):
            return x * streaming.limit_loss(size, n_coordinates=last, **at)

        np.testing.assert_allclose(jax.jit(scaled)(2.0), 2 * alone, rtol=1e-12)
        np.testing.assert_allclose(jax.vmap(scaled)(jnp.ones(3)), alone, rtol=1e-12)
        np.testing.assert_allclose(jax.grad(scaled)(1.0), alone, rtol=1e-12)


def test_options_that_compile_quickly_are_those_of_xla_that_nobody_chose(monkeypatch):
    def refused(*args, **options):
        raise jax.errors.JaxRuntimeError("INVALID_ARGUMENT: No such compile option")

    _compilation.quick_options.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(jax, "jit", refused)
        patch.setenv("XLA_FLAGS", "")
        assert _compilation.quick_options() == {}
    level = {"xla_backend_optimization_level": 2}
    both = {"xla_cpu_use_fusion_emitters": False, **level}
    if int(version("jaxlib").split(".")[1]) >= 12:  # which has no other emitters
        both = level
    for flags, options in (("", both), ("--xla_cpu_use_fusion_emitters=true", level)):
        _compilation.quick_options.cache_clear()
        monkeypatch.setenv("XLA_FLAGS", flags)
        assert _compilation.quick_options() == options
    _compilation.quick_options.cache_clear()


def test_the_mean_over_features_at_several_times_compiles_quickly(monkeypatch):
    """`vmap` is inside of what compiles, not around it, where its tracers look like a program."""
    inside = []

    def spied(*values):
        inside.append(is_traced(*values))
        return inside[-1]

    monkeypatch.setattr(_theory, "is_traced", spied)
    with jax.enable_x64(True):
        at = {"input_exponent": 0.8, "target_exponent": 0.3, "learning_rate": 0.1}
        jax.block_until_ready(streaming.loss(np.array([50.0, 1e4]), 100.0, **at))
    assert inside
    assert not any(inside)


def test_a_hint_names_no_argument_that_is_given():
    call = js.streaming.theory.critical_batch_size
    with pytest.raises(TypeError, match=r"'target_exponent'") as caught:
        call(n_features=100, input_exponent=0.8, target_exponent=1.2)
    assert "did you mean `input_exponent`" not in str(caught.value)
