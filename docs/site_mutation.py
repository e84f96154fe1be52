"""Which changes of the code the tests notice, as `python -m benchmarks.mutation` recorded it."""

import json
from pathlib import Path
from typing import Any

RECORD = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "mutation.json"


def table() -> str:
    """Return the counts of every module, then the mutants that survived and why."""
    record: dict[str, Any] = json.loads(RECORD.read_text())
    rows = record["modules"]
    counts = [[row["mutants"], row["killed"], row["timed_out"]] for row in rows.values()]
    total = [sum(column) for column in zip(*counts, strict=True)]
    shown = [*zip(rows, counts, strict=True), ("all", total)]
    seed = next(iter(rows.values()))["seed"]
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    text = [
        f"{total[1]} of {total[0]} mutants are killed. Sampled from seed {seed} with {versions}.",
        "Why the others survive was found by reading.\n",
        "| module | mutants | killed | of these by time | survived |\n|---|---|---|---|---|",
        *(f"| `{m}` | {n} | {killed} | {late} | {n - killed} |" for m, (n, killed, late) in shown),
        "\n| survivor | why |\n|---|---|",
    ]
    for module, row in rows.items():
        for change, reason in row["survivors"].items():
            code = change.replace("|", "\\|")
            text.append(f"| `{Path(module).stem}`, `{code}` | {reason or 'open'} |")
    return "\n".join([*text, ""])
