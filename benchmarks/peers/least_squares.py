"""Least squares one problem after the other, as NumPy, SciPy and scikit-learn solve it.

A problem is a design `Phi` (D x N) and targets `Y` (D x t). Ridge minimises
`|Phi theta - Y|^2 / (2 D) + (strength / 2) |theta|^2`, as `jaxscale.sparse.Ridge` does.
"""

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from sklearn.linear_model import Ridge

Problems = Sequence[tuple[np.ndarray, np.ndarray]]


def lstsq(problems: Problems) -> list[np.ndarray]:
    """Least-norm least squares; the default cut-off keeps what is above rounding."""
    return [np.linalg.lstsq(phi, y, rcond=None)[0] for phi, y in problems]


def lstsq_of_inputs(
    inputs: np.ndarray, projections: np.ndarray, targets: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """`lstsq` that also forms `Phi = X F^T`."""
    designs = [x @ f.T for x, f in zip(inputs, projections, strict=True)]
    return lstsq(list(zip(designs, targets, strict=True)))


def gram_cholesky(problems: Problems, strength: float) -> list[np.ndarray]:
    """Ridge through the normal equations of the smaller side, without checks or copies."""
    return [_gram_cholesky(phi, y, strength) for phi, y in problems]


def _gram_cholesky(phi: np.ndarray, y: np.ndarray, strength: float) -> np.ndarray:
    n_samples, n_features = phi.shape
    primal = n_features <= n_samples
    gram = phi.T @ phi if primal else phi @ phi.T
    gram[np.diag_indices_from(gram)] += strength * n_samples
    factor = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    right = phi.T @ y if primal else y
    solution = scipy.linalg.cho_solve(factor, right, check_finite=False)
    return solution if primal else phi.T @ solution


def sklearn_ridge(problems: Problems, strength: float, solver: str = "cholesky"):
    """Ridge of scikit-learn, whose penalty is not divided by the samples."""
    weights = []
    for phi, y in problems:
        model = Ridge(alpha=strength * len(phi), fit_intercept=False, solver=solver)
        weights.append(model.fit(phi, y).coef_.reshape(y.shape[1], -1).T)
    return weights
