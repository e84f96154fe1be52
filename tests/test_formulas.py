"""Theory functions and their slopes against values with 50 digits: stored ones, and a search.

`tests/common/references` says how the tables are made; `python -m references tables` makes them
anew. The worst errors are in `docs/accuracy.json`: `python -m references hunt` searches longer than
the tests and writes it. Another seed, such as `JAXSCALE_TEST_SEED=1002136092`, searches elsewhere.
All tests are in one file, for they share programs.
"""

import dataclasses
import inspect
import json
import os

import jax.numpy as jnp
import numpy as np
import pytest
from references import RECORD, _tables
from references._case import relative
from references._cases import CASES, NO_CASE
from references._hunt import SHORT, compare_slopes, hunt

from jaxscale._theories import PACKAGES

SEED = int(os.environ.get("JAXSCALE_TEST_SEED", "0"))
TABLES = _tables.read()
HEAVY = (  # to compile
    "emergence.loss",
    "emergence.data_loss",
    "sparse.row_space_residual",
    "sparse.instability_probability",
    "sparse.expected_rank",
    "superposition.bottleneck_loss",
    "superposition.bottleneck_matrix",
    "streaming.loss",
)
FIRST = {name.partition(",")[0]: name for name in reversed(CASES)}  # case of every function
RESULTS = (", loss", ", n_samples")  # other results of a function, not other arguments
SLOW = {
    name
    for name in CASES
    if name.startswith(HEAVY) or not (name in FIRST.values() or name.endswith(RESULTS))
}
PLAIN = [  # calls without slopes; those of other cases have the same parts
    pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n
    for n, case in CASES.items()
    if n not in SLOW or n in FIRST.values() or not case.slopes
]


def test_every_case_has_a_table_and_a_record():
    record = json.loads(RECORD.read_text())
    assert list(TABLES) == list(record) == list(CASES)
    for name, worst in record.items():
        assert worst["error"] <= CASES[name].bound, name
        assert worst.get("slope_error", 0.0) <= CASES[name].slope_bound, name


def test_every_theory_function_has_a_case_or_a_reason():
    names = {
        f"{system}.{name}"
        for system, package in PACKAGES.items()
        for name, value in vars(package).items()
        if inspect.isroutine(value) and "Deprecated" not in (value.__doc__ or "")
    }
    assert names - set(FIRST) == set(NO_CASE)


@pytest.mark.parametrize("name", PLAIN)
def test_values(name):
    case, table = CASES[name], TABLES[name]
    values = case.values(table.points)
    errors = relative(values, table.values, table.sizes)
    worst = int(np.argmax(errors))
    print(f"{name}: {errors[worst]:.1e} at {table.points[worst]}")
    assert errors[worst] <= case.bound
    changed = table.values * (1 + 1e-9)  # power check
    assert np.max(relative(values, changed, table.sizes)) > 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.slopes])
def test_slopes(name):
    case, table = CASES[name], TABLES[name]
    values, slopes = case.with_gradients(table.points)
    assert relative(values, table.values, table.sizes).max() <= case.bound
    errors = compare_slopes(slopes, table.slopes, table.sizes, table.points)
    point, argument = np.unravel_index(np.argmax(errors), errors.shape)
    where = f"in {list(table.points[0])[argument]} at {table.points[point]}"
    print(f"{name}: {errors.max():.1e} {where}")
    assert errors.max() <= case.slope_bound, where


def test_a_hunt_sees_an_error_in_a_corner():
    case = CASES["spectra.hurwitz_zeta"]

    def wrong(s, q):
        return case.compute(s=s, q=q) * jnp.where(q > 1e10, 1 + 1e-6, 1.0)

    worst = hunt(dataclasses.replace(case, compute=wrong, slopes=()), 0, SHORT)
    assert worst.at["q"] > 1e10
    assert worst.error > 1e-7


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_hunt(name):
    case, compiled = CASES[name], name in SLOW and CASES[name].slopes  # by `test_slopes`
    values = (lambda points: case.with_gradients(points)[0]) if compiled else None
    worst = hunt(case, SEED, SHORT, TABLES[name], values)
    print(f"{name}, seed {SEED}: {worst}")
    assert worst.error <= case.bound, f"seed {SEED}: {worst}"
    assert worst.slope_error <= case.slope_bound, f"seed {SEED}: {worst}"
