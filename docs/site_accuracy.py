"""How precisely formulas are computed: the worst errors that a search of their boxes found.

`PYTHONPATH=tests/common python -m references hunt` writes `docs/accuracy.json`.
"""

import json
import re
from pathlib import Path
from typing import Any

RECORD = Path(__file__).resolve().parent / "accuracy.json"
GROUPS = {  # page to the first part of the names
    "spectra": ("spectra.",),
    "emergence": ("emergence.",),
    "sparse": ("sparse.",),
    "superposition": ("superposition.",),
    "streaming": ("streaming.",),
    "forms": ("forms.", "analysis."),
}


def table(group: str) -> str:
    """Return the table of a group: function, box, and the worst errors of values and slopes."""
    record: dict[str, dict[str, Any]] = json.loads(RECORD.read_text())
    text = ["| function | box | value | slopes |", "|---|---|---|---|"]
    for name, worst in record.items():
        if not name.startswith(GROUPS[group]):
            continue
        function, _, variant = name.partition(", ")
        box = ", ".join(f"`{k}` {_range(*ends)}" for k, ends in worst["box"].items())
        of = "" if worst["relative_to"] == "value" else f" (of {worst['relative_to']})"
        slope = _number(worst["slope_error"]) if "slope_error" in worst else ""
        text.append(
            f"| `{function}`{', ' * bool(variant)}{variant} | {box} "
            f"| {_number(worst['error'])}{of} | {slope} |"
        )
    return "\n".join([*text, ""])


def _range(low: float, high: float, *infinity: None) -> str:
    return f"{_number(low, 4)} to {_number(high, 4)}{' and ∞' if infinity else ''}"


def _number(value: float, digits: int = 2) -> str:
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.{digits}g}")
