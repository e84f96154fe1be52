"""A search for the worst errors of theory functions, from another seed every time.

The worst of the fixed seed are in `docs/accuracy.json`: `python -m references hunt` writes it.
"""

import secrets

import pytest
from references._cases import CASES
from references._hunt import hunt

SEED = secrets.randbits(32)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_hunt(name):
    worst = hunt(CASES[name], SEED)
    print(f"{name}, seed {SEED}: {worst}")
    assert worst.error <= CASES[name].bound, f"seed {SEED}: {worst}"
    assert worst.slope_error <= CASES[name].slope_bound, f"seed {SEED}: {worst}"
