"""What arguments of theory functions may be, to the last digit, and what they are by default."""

import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxscale as js
from jaxscale import _theory as rules
from jaxscale._convert import require_count
from jaxscale._theories import PACKAGES
from jaxscale.emergence.theory import _checks as emergence
from jaxscale.sparse.theory import _checks as sparse
from jaxscale.streaming.theory import _checks as streaming
from jaxscale.superposition.theory import _checks as superposition

CHECKS = (emergence, sparse, streaming, superposition)
TINY, INF = math.ulp(0.0), math.inf
FRACTION, PROBABILITY = (emergence.theory_function.rules[n] for n in ("fraction", "probability"))


def _below(x):
    return math.nextafter(x, -INF)


def _above(x):
    return math.nextafter(x, INF)


def _endless(name, value):
    sparse.endless(x=(0.5, 2.0))({"x": value, "n_coordinates": INF})


@pytest.mark.parametrize(
    ("rule", "allowed", "refused"),
    [
        (rules.positive, [TINY, 1e300], [0.0, -1.0, INF]),
        (rules.positive_or_infinite, [TINY, INF], [0.0, -1.0]),
        (rules.not_negative, [0.0, 1e300], [-TINY, INF]),
        (rules.not_negative_or_infinite, [0.0, INF], [-TINY, -INF]),
        (rules.finite_count, [1, 2.0], [0, 1.5, INF, None]),
        (FRACTION, [TINY, _below(1.0)], [0.0, 1.0, -0.5, 1.5]),
        (PROBABILITY, [TINY, 1.0], [0.0, _above(1.0), -0.5]),
        (sparse.above_one, [_above(1.0), 1e300], [1.0, 0.5, INF]),
        (superposition._at_least_one, [1.0, 1.5, 1e300], [_below(1.0), 0.0, INF]),
        (_endless, [0.0, 0.5, 2.0, INF], [TINY, _below(0.5), _above(2.0), -1.0]),
    ],
)
def test_rules_have_exact_borders(rule, allowed, refused):
    for value in allowed:
        rule("x", value)
    for value in [*refused, math.nan]:
        with pytest.raises(ValueError, match="`x` must be"):
            rule("x", value)


@pytest.mark.parametrize("rule", [require_count, rules.finite_count])
@pytest.mark.parametrize("value", [jnp.asarray(50), np.asarray(50), np.asarray([50, 60])])
def test_a_length_of_a_program_is_no_array(rule, value):
    rule("n_skills", np.int64(50))
    with pytest.raises(
        ValueError, match=r"`n_skills` sets a length .* a number of Python, got .*50"
    ):
        rule("n_skills", value)


def test_a_length_is_no_tracer():
    at = {"frequency_exponent": 1.1, "importance_exponent": 0.0, "learning_rate": 0.1}
    with pytest.raises((ValueError, TypeError), match="n_features"):
        jax.jit(lambda n: js.superposition.theory.sequential_loss(10.0, n_features=n, **at))(100)


def test_infinite_data_are_a_constant_where_they_are_one_plain_number():
    assert emergence.infinite_data({"n_samples": INF}) == {"n_samples": INF}
    for value in (3.0, np.asarray([INF]), jnp.asarray(INF)):
        assert emergence.infinite_data({"n_samples": value}) == {}


def test_a_start_is_below_the_target_where_both_are_plain():
    with pytest.raises(ValueError, match="`initial_strength` must be below `target_scale` = 1"):
        emergence._check_start({"target_scale": 1.0, "initial_strength": 1.0})
    for scale, strength in ((1.0, _below(1.0)), (jnp.ones(()), jnp.ones(())), (1.0, None)):
        emergence._check_start({"target_scale": scale, "initial_strength": strength})


def _functions(system):
    package = PACKAGES[system]
    return {name: f for name, f in vars(package).items() if inspect.isroutine(f)}


SAMPLE = {
    "embedding": np.eye(3)[:2],
    "inputs": np.eye(3),
    "eigenvalues": np.ones(3),
    "learner": "minimum_norm",
    "probability": 0.5,
    "target_power": np.ones(3),
    "variances": np.ones(3),
}


@pytest.mark.parametrize("system", PACKAGES)
def test_every_function_checks_every_argument_that_has_a_rule(system):
    """Before anything compiles."""
    (checks,) = (c for c in CHECKS if c.__name__.startswith(PACKAGES[system].__name__))
    n_checked = 0
    for name, function in _functions(system).items():
        if name.endswith("_of"):  # an old name
            continue
        own = inspect.signature(function).parameters.values()
        given = {p.name: p.default for p in own if p.kind is not p.VAR_KEYWORD}
        for argument, default in given.items():
            if default is inspect.Parameter.empty or argument.endswith("exponent"):
                given[argument] = SAMPLE.get(argument, 2.0)
        for argument in given.keys() & checks.theory_function.rules.keys():
            with pytest.raises(ValueError, match=f"`{argument}` must be"):
                function(**{**given, argument: math.nan})
            n_checked += 1
    assert n_checked > len(_functions(system))


@pytest.mark.parametrize("system", PACKAGES)
def test_an_argument_has_one_default_in_all_functions_of_a_package(system):
    defaults = {}
    for name, function in _functions(system).items():
        for p in inspect.signature(function).parameters.values():
            assert p.kind is not p.POSITIONAL_ONLY, name
            if p.default is not p.empty:
                defaults.setdefault(p.name, set()).add(repr(p.default))
    defaults.pop("learner", None)  # laws start from the threshold, sets from the minimum norm
    assert {name: len(values) for name, values in defaults.items()} == dict.fromkeys(defaults, 1)
