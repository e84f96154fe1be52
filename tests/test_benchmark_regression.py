"""The peers of the regression benchmark return the weights that jaxscale returns."""

from pathlib import Path

import jax
import numpy as np
import pytest

import jaxscale as js

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow  # not about the package


@pytest.fixture
def regression(monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import regression

    return regression


@pytest.mark.parametrize("sizes", [(6, 20), (20, 6)])
def test_ridge_peers(regression, sizes):
    peers, strength = regression.least_squares, 0.03
    problems = regression.dense_problems(*sizes, 3)
    with jax.enable_x64(True):
        solver = js.sparse.Ridge(strength=strength)
        ours = [regression.weights(solver, *map(jax.numpy.asarray, p))[0] for p in problems]
    for peer in (peers.gram_cholesky, peers.sklearn_ridge):
        assert regression.largest_difference(ours, peer(problems, strength)) < 1e-10
        assert regression.largest_difference(ours, peer(problems, 2 * strength)) > 1e-3


@pytest.mark.parametrize("teacher", ["sampled", "averaged"])
@pytest.mark.parametrize("sizes", [(4, 24), (24, 8)])
def test_min_norm_peers(regression, teacher, sizes):
    with jax.enable_x64(True):
        system = js.sparse.RandomFeatureRegression(
            n_features=sizes[0],
            n_samples=sizes[1],
            teacher=regression.TEACHERS[teacher],
            **regression.SPARSE,
        )
        drawn, f, w = regression.draw(system, 3)

        def solve(one):
            return regression.weights_of_inputs(system.solver, *one, system.padding)[0]

        ours = jax.jit(lambda *runs: jax.lax.map(solve, runs))(drawn, f, w)
        x = drawn.values
        inputs, projections, targets = np.asarray(x), np.asarray(f), np.asarray(x @ w)
    theirs = regression.least_squares.lstsq_of_inputs(inputs, projections, targets)
    assert regression.largest_difference(ours, theirs) < 1e-10
    designs = [a @ b.T for a, b in zip(inputs, projections, strict=True)]
    again = regression.least_squares.lstsq(list(zip(designs, targets, strict=True)))
    np.testing.assert_array_equal(theirs, again)
