"""Slopes of theory functions against stored values with 50 digits."""

import numpy as np
import pytest
from references import _tables
from references._cases import CASES
from references._hunt import compare_slopes

TABLES = _tables.read()


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
