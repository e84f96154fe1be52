"""Tables of what an accelerator did: one per section, and one of the device against the cores."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.markdown import table


def cell(value: Any) -> str:
    """Text, a count, or a number with three digits."""
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def of_section(name: str, rows: list[Mapping[str, Any]]) -> str:
    """A title and the rows; columns are named as in the JSON."""
    columns = list(dict.fromkeys(key for row in rows for key in row if key != "section"))
    body = [[cell(row[c]) if c in row else "" for c in columns] for row in rows]
    return f"**{name}**\n\n{table([c.replace('_', ' ') for c in columns], body)}"


def against_the_cores(rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Seconds of the device and of the host's cores for every grid that both computed."""
    by_case: dict[str, dict[str, float]] = {}
    for row in rows:
        if "where" in row:
            by_case.setdefault(row["case"], {})[row["where"]] = row["seconds"]
    compared = []
    for case, seconds in by_case.items():
        if len(seconds) == 2:
            device, cores = seconds.values()
            compared.append({"case": case, **seconds, "times_the_cores": cores / device})
    return compared


def gpu(report: Mapping[str, Any]) -> str:
    """All tables of a report."""
    sections: dict[str, list[Mapping[str, Any]]] = {}
    for row in report["rows"]:
        sections.setdefault(row["section"], []).append(row)
    compared = against_the_cores(report["rows"])
    sections |= {"against the host's cores": compared} if compared else {}
    parts = [of_section(name, rows) for name, rows in sections.items()]
    if report["not_measured"]:
        parts.append(f"Not measured: {', '.join(report['not_measured'])}.")
    return "\n\n".join(parts)


def stored(results: Path) -> str:
    """Tables of `gpu.json`, and the machine.

    **Raises** `ValueError` for results of `--tiny`, which measure nothing.
    """
    path = results / "gpu.json"
    if not path.exists():
        return "Not measured: no GPU."
    report = json.loads(path.read_text())
    if report["tiny"]:
        raise ValueError(f"`results` holds {path.name}, which was made with --tiny.")
    m = report["machine"]
    of = f"jax {m['versions']['jax']}, Python {m['python']}; {m['date']}."
    return f"{gpu(report)}\n\nThe host has {m['cores']} cores of {m['cpu']}; {of}"
