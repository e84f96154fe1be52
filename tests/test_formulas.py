"""Theory functions against stored values with 50 digits.

`tests/common/references` says how the tables are made; `python -m references` makes them anew.
"""

import inspect
import json

import numpy as np
import pytest
from references import RECORD, _tables
from references._case import relative
from references._cases import CASES, NO_CASE

from jaxscale._theories import PACKAGES

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
EACH = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES]


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


@pytest.mark.parametrize("name", EACH)
def test_values(name):
    case, table = CASES[name], TABLES[name]
    errors = relative(case.values(table.points), table.values, table.sizes)
    worst = int(np.argmax(errors))
    print(f"{name}: {errors[worst]:.1e} at {table.points[worst]}")
    assert errors[worst] <= case.bound
    changed = table.values * (1 + 1e-9)  # power check
    assert np.max(relative(case.values(table.points), changed, table.sizes)) > 1e-10
