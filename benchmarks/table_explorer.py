"""The table of the explorer."""

import json
from pathlib import Path

from benchmarks import markdown


def stored(results: Path) -> str:
    """Seconds to the first picture, milliseconds from a slider to new curves, idle processor."""
    path = results / "explorer.json"
    if not path.exists():
        return "Not measured."
    measured = json.loads(path.read_text())
    rows = []
    for name, entry in measured["cases"].items():
        cold, warm = entry["cold"], entry["warm"]
        moves = f"{warm['move_ms']:.0f} ({warm['move_ms_90']:.0f})" if "move_ms" in warm else ""
        seconds = (f"{cold['picture_seconds']:.1f}", f"{warm['picture_seconds']:.1f}")
        rows.append((name, *seconds, moves, f"{warm['idle_share']:.1%}"))
    head = ("page", "first picture, cold s", "warm s", "slider to curve, median (90 %) ms", "idle")
    about, load = measured["machine"], measured["load_after"][0]
    note = f"{measured['moves']} moves; {about['cores']} cores of {about['cpu']}, load {load}."
    return f"{markdown.table(head, rows)}\n\n{note}"
