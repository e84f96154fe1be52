"""`jaxscale show`: what a store holds, how its runs ended, and what remains."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxscale._status import Status
from jaxscale._table import Column, Table
from jaxscale._text import counted, duration
from jaxscale.sweep._axes import label
from jaxscale.sweep._extend import match_runs
from jaxscale.sweep._locate import existing_places, place_of
from jaxscale.sweep._plan import Options, Plan
from jaxscale.sweep._reader import StoreReader


def shown_store(store: str | Path) -> tuple[list[Table], list[str]]:
    """Tables of a store, or of every store in a folder, and commands that continue incomplete ones.

    **Raises** `ValueError` where there is none, or a damaged one.
    """
    readers = [StoreReader(place) for place in existing_places(store)]
    tables = [table for stored in readers for table in _tables(stored)]
    return tables, [command for stored in readers if (command := _continuing(stored))]


def _tables(stored: StoreReader) -> Iterator[Table]:
    """The grid, and the sessions that computed it."""
    grid = stored.grid
    codes = np.full(grid.n_runs, Status.not_run)
    for runs, values in stored.of_runs("status", np.arange(grid.n_runs)):
        codes[runs] = values
    counts = {code: int((codes == code).sum()) for code in Status}
    ended = [f"{n} {code.name.replace('_', ' ')}" for code, n in counts.items() if n]
    rows = [[path, str(len(values)), _ends(values)] for path, values in grid.axes.items()]
    rows.append(["seed", str(len(grid.seeds)), _ends(grid.seeds)])
    runs = f"{type(grid.system).__name__}, {counted(grid.n_runs, 'run')}: {', '.join(ended)}."
    sessions = json.loads(str(stored.attributes.get("sessions", "[]")))
    remaining, seconds = counts[Status.not_run], _seconds(sessions)
    verb = "remains" if remaining == 1 else "remain"
    note = "Complete." if not remaining else f"{counted(remaining, 'run')} {verb}"
    done = float(grid.n_runs - remaining)
    plan = stored.plan(Options()) if remaining else None
    if plan is not None and (states := stored.under_way(stored.layout(plan))):
        steps = sorted({state.step for state in states.values()})
        at = " to ".join(f"{step:,}" for step in dict.fromkeys((steps[0], steps[-1])))
        note += f", {counted(len(states), 'chunk')} of them at step {at}"
        for (bucket, chunk), state in states.items():
            system: Any = plan.buckets[bucket].padded_system
            done += len(plan.buckets[bucket].ids_of(chunk)) * state.step / system.n_steps
    if 0 < done < grid.n_runs:
        remains = seconds / done * (grid.n_runs - done)
        note += f", about {duration(remains)} at the pace so far"
    ends = [_end(s) for s in sessions]
    doing = "the command that began the store continues it"
    if remaining and stored.place.is_locked():
        doing, ends[-1:] = "a session is running", ["running"]
    note += f"; {doing}." if remaining else ""
    header = [Column("axis"), Column("values", number=True), Column("range")]
    yield Table(str(stored.place), f"{runs} {note}", header, rows)
    names = ("session", "device", "wall s", "compile s", "jaxscale", "ended")
    numbers = ("wall s", "compile s")
    rows = [
        [
            str(i), str(s.get("device", "")), f"{s['wall_seconds']:.1f}",
            f"{s['compile_seconds']:.1f}", json.loads(s["versions"])["jaxscale"],
            end,
        ]
        for i, (s, end) in enumerate(zip(sessions, ends, strict=False), start=1)
    ]  # fmt: skip
    yield Table("Sessions", "", [Column(n, number=n in numbers) for n in names], rows)


def _continuing(stored: StoreReader) -> str:
    """The command that began a store that is not complete; nothing of one begun in Python."""
    sessions = json.loads(str(stored.attributes.get("sessions", "[]")))
    is_open = sessions and not sessions[-1]["complete"]
    return sessions[0].get("command", "") if is_open else ""


def remaining_line(plan: Plan, store: str | Path) -> str:
    """What a plan has still to run where its store holds some of it; else an empty string."""
    place = place_of(store)
    try:
        stored = StoreReader(place, plan.grid)
        match_runs(stored.grid, plan.grid, place)
        done = sum(
            int((codes != Status.not_run).sum())
            for _, codes in stored.of_runs("status", np.arange(stored.grid.n_runs))
        )
    except ValueError:  # there is none, or one that a run refuses
        return ""
    if done == plan.n_runs:
        return f"{store} holds all {plan.n_runs} runs: nothing remains to be run, 0 s"
    seconds = plan.seconds * (1 - done / plan.n_runs)
    held = f"{store} holds {done} of {counted(plan.n_runs, 'run')}"
    return f"{held}: about {duration(seconds)} remain, on top of which comes compilation"


def _end(session: dict[str, Any]) -> str:
    """How a session ended; older ones do not say whether they were killed."""
    if session["complete"]:
        return "complete"
    return "stopped" if session.get("ended", True) else "killed"


def _seconds(sessions: Sequence[dict[str, Any]]) -> float:
    """Time that the sessions ran, without compiling."""
    return sum(max(0.0, s["wall_seconds"] - s["compile_seconds"]) for s in sessions)


def _ends(values: Sequence[Any]) -> str:
    """First and last of some values."""
    first, last = (label(v) for v in (values[0], values[-1]))
    one, two = (f"{v:g}" if isinstance(v, int | float) else v for v in (first, last))
    return str(one) if len(values) == 1 else f"{one} .. {two}"
