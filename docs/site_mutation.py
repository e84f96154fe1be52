"""Which changes of the code the tests notice, as `python -m benchmarks.mutation` recorded it."""

import json
from pathlib import Path
from typing import Any

RECORD = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "mutation.json"


def counts_of(row: dict[str, Any]) -> list[int]:
    """Mutants of a module, killed, killed by time, equivalent to the code."""
    same = sum(reason.startswith("equivalent") for reason in row["survivors"].values())
    return [row["mutants"], row["killed"], row["timed_out"], same]


def table() -> str:
    """Return the counts of every module, then the mutants that survived and why."""
    record: dict[str, Any] = json.loads(RECORD.read_text())
    rows = record["modules"]
    counts = [counts_of(row) for row in rows.values()]
    total = [sum(column) for column in zip(*counts, strict=True)]
    shown = [*zip(rows, counts, strict=True), ("all", total)]
    seed = next(iter(rows.values()))["seed"]
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    text = [
        f"Of {total[0]} mutants, {total[3]} are equivalent to the code, and the tests kill "
        f"{total[1]} of the others: {total[1] / (total[0] - total[3]):.0%}.",
        f"Sampled from seed {seed} with {versions}.\n",
        "| module | mutants | killed | of these by time | equivalent | survived |",
        "|---|---|---|---|---|---|",
        *(
            f"| `{m}` | {n} | {killed} | {late} | {same} | {n - killed - same} |"
            for m, (n, killed, late, same) in shown
        ),
        "\n| survivor | why |\n|---|---|",
    ]
    for module, row in rows.items():
        for change, reason in row["survivors"].items():
            code = change.replace("|", "\\|")
            text.append(f"| `{Path(module).stem}`, `{code}` | {reason or 'open'} |")
    return "\n".join([*text, ""])
