"""Values of theory functions with 50 digits, and what differs from them in float64.

`_case` says what a case is: a function of the package, the same formula in mpmath, and the box of
its arguments. Modules without an underscore list the cases. `python -m references tables` stores
values and slopes in `tests/data/references.npz`, `python -m references hunt` searches the boxes for
the worst errors and records them in `docs/accuracy.json`, from which the site makes its tables.
"""

from pathlib import Path

RECORD = Path(__file__).resolve().parents[3] / "docs" / "accuracy.json"
