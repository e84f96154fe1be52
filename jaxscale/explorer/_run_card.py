"""One grid point: curves of its runs, how they ended, how long they took, how to get one again."""

import json
from typing import Any

import numpy as np
from bokeh.models import ColumnDataSource

from jaxscale._status import STATUS, Status
from jaxscale._text import duration
from jaxscale.explorer._page import Page, escaped
from jaxscale.explorer._sweep import SEED, Sweep, View, last_finite
from jaxscale.explorer._sweep_code import run_code
from jaxscale.explorer._themes import dress_legend, new_figure
from jaxscale.report._figures import places, spans_decades
from jaxscale.training import AbstractTrainedSystem

STYLES = ("solid", "dashed", "dotted")
MOST_SEEDS = 20  # that are listed and drawn


def run_card(page: Page, sweep: Sweep, view: View, point: int) -> list[Any]:
    """Show the runs of a grid point."""
    index, values = sweep.point_index(point), sweep.point_values(point)
    runs = sweep.runs.isel(index)
    where = ", ".join(f"{d} = {v:g}" if isinstance(v, float) else f"{d} = {v}"
                      for d, v in values.items()) or "the only grid point"  # fmt: skip
    codes = np.atleast_1d(np.asarray(runs[STATUS]))
    seeds = np.atleast_1d(np.asarray(runs[SEED]))[:MOST_SEEDS]
    within = {d: sweep.at_slider(view, d) for d in map(str, runs[view.observable].dims)
              if d not in (SEED, view.x)}  # fmt: skip
    data = runs[view.observable].isel(within).compute()
    shown = "".join(f", {d} = {sweep.labels(d, [i])[0]}" for d, i in within.items())
    final, parts, along = data, [], [""] * len(seeds)
    if view.x in data.dims and view.x != SEED:
        parts.append(_figure(page, view, data, seeds, codes))
        lines = np.asarray(data.transpose(..., view.x), float)[: len(seeds)]
        final = last_finite(lines)
        last = last_finite(np.where(np.isfinite(lines), np.arange(lines.shape[-1]), np.nan))
        along = [_cell("" if np.isnan(i) else sweep.labels(view.x, [int(i)])[0]) for i in last]
    rows = "".join(
        f"<tr>{_cell(s)}<td>{Status(int(c)).name.replace('_', ' ')}</td>{x}{_cell(f'{v:.5g}')}</tr>"
        for s, c, x, v in zip(seeds, codes, along, np.atleast_1d(final).tolist(), strict=False)
    )
    more = f"<p>{MOST_SEEDS} of {codes.size} seeds</p>" if codes.size > MOST_SEEDS else ""
    names = ["seed", "status", *([view.x] if parts else []), view.observable]
    head = f"<tr>{''.join(f'<th>{escaped(name)}</th>' for name in names)}</tr>"
    table = f"<div class=scroll><table>{head}{rows}</table></div>{more}"
    system = sweep.grid.system_at(point * len(sweep.grid.seeds))
    code = run_code(sweep, values, int(seeds[0]), isinstance(system, AbstractTrainedSystem))
    heading = page.text(
        f"<h2>Runs at {escaped(where + shown)}</h2><p>{escaped(_seconds(sweep))}</p>", name="run"
    )
    lines = page.text(f"<pre>{escaped(code)}</pre>", name="code of the run")
    return [heading, page.grid([*parts, page.text(table)]), lines]


def _cell(text: Any) -> str:
    return f"<td class=n>{escaped(str(text))}</td>"


def _figure(page: Page, view: View, data: Any, seeds: Any, codes: Any) -> Any:
    """Draw the curve of every seed."""
    data = data.transpose(..., view.x) if SEED in data.dims else data.expand_dims(SEED)
    x, lines = places(data[view.x]), np.asarray(data, float)[: len(seeds)]
    good = lines[np.isfinite(lines)]
    log = ("x" if spans_decades(x[x > 0]) else "") + ("y" if spans_decades(good) else "")
    figure = new_figure(page.theme, x=view.x, y=view.observable, log=log, height=260)
    shown = (x > 0) | ("x" not in log)
    source = ColumnDataSource(name="run curves", data={
        "xs": [x[shown]] * len(lines), "ys": [line[shown] for line in lines],
        "color": [page.theme.curves[k % 7] for k in range(len(lines))],
        "dash": [STYLES[0] if c == Status.ok else STYLES[1] for c in codes[: len(lines)]],
        "label": [f"seed {s}" for s in seeds],
    })  # fmt: skip
    figure.multi_line("xs", "ys", source=source, line_color="color", line_width=1.5,
                      line_dash="dash", legend_field="label")  # fmt: skip
    dress_legend(figure, page.theme)
    return figure


def _seconds(sweep: Sweep) -> str:
    """Wall time of a run on average: runs are computed together."""
    attributes = sweep.runs.attrs
    sessions = json.loads(str(attributes.get("sessions", "[]"))) or [attributes]
    try:
        wall = sum(float(s["wall_seconds"]) for s in sessions)
        compiled = sum(float(s["compile_seconds"]) for s in sessions)
    except KeyError:
        return "how long it took is not recorded"
    n_done = sum(n for code, n in sweep.status_counts.items() if code != Status.not_run)
    share = max(0.0, wall - compiled) / max(1, n_done)
    return (
        f"A run took {share:.2g} s on average over the {n_done} of this sweep, which were computed "
        f"together in {duration(max(0.0, wall - compiled))}; compilation took {duration(compiled)}."
    )
