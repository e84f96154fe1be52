"""Theory functions against stored values with 50 digits, and a search for their worst errors.

`tests/common/references` says how the tables are made; `python -m references` makes them anew.
"""

import json
import secrets

import numpy as np
import pytest
from references import RECORD, _tables
from references._case import relative
from references._cases import CASES
from references._hunt import compare_slopes, hunt

TABLES = _tables.read()
SLOW = {  # seconds of compilation
    name for name in CASES if name.startswith(("emergence.loss", "emergence.data_loss"))
}
EACH = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CASES]


def test_every_case_has_a_table_and_a_record():
    record = json.loads(RECORD.read_text())
    assert list(TABLES) == list(record) == list(CASES)
    for name, worst in record.items():
        assert worst["error"] <= CASES[name].bound, name
        assert worst.get("slope_error", 0.0) <= CASES[name].slope_bound, name


@pytest.mark.parametrize("name", EACH)
def test_values(name):
    case, table = CASES[name], TABLES[name]
    errors = relative(case.values(table.points), table.values, table.sizes)
    worst = int(np.argmax(errors))
    print(f"{name}: {errors[worst]:.1e} at {table.points[worst]}")
    assert errors[worst] <= case.bound
    changed = table.values * (1 + 1e-9)  # power check
    assert np.max(relative(case.values(table.points), changed, table.sizes)) > 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, case in CASES.items() if case.slopes])
def test_slopes(name):
    case, table = CASES[name], TABLES[name]
    slopes = case.gradients(table.points)
    errors = compare_slopes(slopes, table.slopes, table.sizes, table.points)
    point, argument = np.unravel_index(np.argmax(errors), errors.shape)
    where = f"in {list(table.points[0])[argument]} at {table.points[point]}"
    print(f"{name}: {errors.max():.1e} {where}")
    assert errors.max() <= case.slope_bound, where


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(secrets.randbits(32), id="random")])
@pytest.mark.parametrize("name", CASES)
def test_hunt(name, seed):
    worst = hunt(CASES[name], seed)
    print(f"{name}, seed {seed}: {worst}")
    assert worst.error <= CASES[name].bound, f"seed {seed}: {worst}"
    assert worst.slope_error <= CASES[name].slope_bound, f"seed {seed}: {worst}"
