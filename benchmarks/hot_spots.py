"""Where the time of a short run goes: self time of the compiled program's instructions.

A miss of a goal is reported with this. Instructions carry the name of the JAX operation they come
from; random words are those of `jaxscale.keys.words`.
"""

import collections
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

import jaxscale as js
from benchmarks.cases import case_of, system_of
from jaxscale.sweep._cache import PROGRAMS

STEPS = 20
SHOWN = 8
INSTRUCTION = re.compile(r"%?([\w.\-]+) = .*op_name=\"([^\"]+)\"")


def prepare(name: str, optimizer: str, tiny: bool) -> tuple[dict[str, Any], dict[str, float]]:
    """Share of the time of the `SHOWN` heaviest operations of a case, in a short run."""
    case = case_of(name, tiny)
    system = system_of(case, optimizer, n_steps=STEPS, record=[0, STEPS])
    return {}, of_plan(js.plan(js.Grid(system, seeds=case.n_runs)))


def of_plan(plan: js.Plan) -> dict[str, float]:
    """Share of the time of the `SHOWN` heaviest operations of a plan of one program."""
    js.run(plan, progress=False)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            js.run(plan, progress=False)
        (trace,) = Path(folder).rglob("*.xplane.pb")
        spent = collections.Counter()
        program = PROGRAMS.values()[-1]
        labels = dict(_labels(program.text))  # nothing public has the text
        for event, nanoseconds in _self_times(jax.profiler.ProfileData.from_file(str(trace))):
            if "wait" not in event:
                spent[labels.get(event, "dispatch")] += nanoseconds
    total = spent.total()
    return {label: n / total for label, n in spent.most_common(SHOWN)}


def _labels(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        match = INSTRUCTION.search(line)
        if match:
            name, path = match.groups()
            yield name, "random words" if "/words/" in path else path.rpartition("/")[2]


def _self_times(trace: Any) -> Iterator[tuple[str, float]]:
    """Every event of XLA's threads with its duration less those nested in it."""
    lines = [line for plane in trace.planes for line in plane.lines if "XLA" in line.name]
    for line in lines:
        events = sorted((e.start_ns, -e.duration_ns, e.name) for e in line.events)
        open_events: list[list[Any]] = []  # end, name, self time
        for start, minus, name in events:
            while open_events and open_events[-1][0] <= start:
                yield tuple(open_events.pop()[1:])  # pyright: ignore
            if open_events:
                open_events[-1][2] += minus
            open_events.append([start - minus, name, -minus])
        for _, name, alone in open_events:
            yield name, alone
