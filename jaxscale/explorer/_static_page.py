"""A page of theory under sliders in one file, which needs no server and no network."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from bokeh.embed import json_item
from bokeh.models import Div
from bokeh.resources import Resources

from jaxscale._system import AbstractSystem
from jaxscale.explorer._curve_figure import CurveFigure
from jaxscale.explorer._curves import kind_of, log_axes, theory_table
from jaxscale.explorer._page import shipped
from jaxscale.explorer._tables import CurveTable, Tables, encoded, encoded_bits, tabulated
from jaxscale.explorer._themes import THEMES, Theme
from jaxscale.explorer._theory_code import theory_code
from jaxscale.paths import get
from jaxscale.report._figures import with_unit

PAGE_BYTES = 6_000_000  # of a file at most: Bokeh takes 1.3 MB, tables at most 4 MB
DRAWN = Theme("drawn", "#010101", "#020202", "#030303", THEMES["light"].curves)  # to be replaced
THEORY = "theory = "  # begins the line of the code that sliders go before


def write_static_page(
    path: Path,
    name: str,
    system: AbstractSystem,
    sliders: Sequence[str] = (),
    x: str = "",
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Write the theory of `system` under sliders as one HTML file of at most 6 MB.

    **Arguments**

    - `path`: the file.
    - `name`: its heading.
    - `sliders`, `x`, `say`: as for `tabulated`.

    **Raises** `ValueError` as `tabulated`, and for a `path` in no folder.
    """
    if not path.parent.is_dir():
        raise ValueError(f"`out` {str(path)!r}: there is no folder {str(path.parent)!r}.")
    tables = tabulated(system, sliders, x, say=say)
    path.write_text(static_page(name, tables), encoding="utf-8")


def static_page(name: str, tables: Tables) -> str:
    """The page of `tables` as HTML."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    drawn = [table for table in tables.curves if not table.is_constant]
    observables = tables.system.schema.observables
    figures = [
        {
            "name": table.first.name,
            "title": observables[table.first.name].description,
            "kind": kind_of(tables.system, table.first.name, tables.x),
            "limits": observables[table.first.name].limits,
        }
        for table in drawn
    ]
    sliders = [
        {"path": slide.path, "last": len(slide.values) - 1, "start": slide.start,
         "value": _written(tables, slide.path, slide.values[slide.start])}
        for slide in tables.slides
    ]  # fmt: skip
    page = environment.from_string(shipped("static.html")).render(
        name=name, x=tables.x, figures=figures, sliders=sliders,
        constants=[t.first.name for t in tables.curves if t.is_constant],
        descriptions={n: o.description for n, o in observables.items()},
        theory=theory_table(tables.system),
        css=shipped("page.css") + shipped("static.css"),
        bokeh=Resources(mode="inline", components=["bokeh"]).render_js(),
        data=_as_json(_data(tables)),
        script=shipped("static.js"),
    )  # fmt: skip
    if len(page.encode()) > PAGE_BYTES:
        raise ValueError(
            f"`slider`: the page takes {len(page.encode()) / 1e6:.1f} MB, and at most "
            f"{PAGE_BYTES / 1e6:g} MB are written; name fewer sliders, or record fewer steps."
        )
    return page


def _data(tables: Tables) -> dict[str, Any]:
    """What the script of the page reads."""
    code = theory_code(tables.system, tables.x, tables.knob, None)
    before, _, after = code.partition(f"\n{THEORY}")
    return {
        "shape": list(tables.shape),
        "sliders": [
            {"path": s.path, "start": s.start,
             "values": [_written(tables, s.path, value) for value in s.values]}
            for s in tables.slides
        ],
        "curves": [_curve(tables, table) for table in tables.curves],
        "refused": tables.refused,
        "code": [before + "\n", THEORY + after],
        "drawn": dataclasses.asdict(DRAWN),
        "themes": {name: dataclasses.asdict(theme) for name, theme in THEMES.items()},
    }  # fmt: skip


def _curve(tables: Tables, table: CurveTable) -> dict[str, Any]:
    """One observable: its tables, and its figure unless it does not depend on x."""
    first = table.first
    data = {
        "name": first.name, "labels": list(first.labels), "x": first.x.tolist(),
        "values": encoded(table.lines), "claimed": encoded_bits(table.claimed),
    }  # fmt: skip
    if table.is_constant:
        return data
    log, observable = log_axes(first), tables.system.schema.observables[first.name]
    figure = CurveFigure(
        first, DRAWN, x=tables.x, y=with_unit(first.name, observable.units), title=Div(), log=log,
        why=observable.limits,
    )  # fmt: skip
    figure.layout.children = figure.layout.children[1:]  # its title is text of the page
    return {**data, "log": log, "item": json_item(figure.layout)}


def _written(tables: Tables, path: str, value: float) -> str:
    """A value of a slider as Python."""
    return repr(int(value) if get(tables.system, path).dtype.kind == "i" else value)


def _as_json(data: Any) -> str:
    """JSON that ends no script."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
