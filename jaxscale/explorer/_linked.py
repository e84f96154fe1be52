"""Hover in one figure marks the same run in all others, and a click selects it."""

from collections.abc import Callable, Mapping
from typing import Any

from bokeh.models import (
    CDSView,
    ColumnDataSource,
    CustomJS,
    HoverTool,
    IndexFilter,
    TapTool,
)

MARK = """
const rows = cb_data.index;
const picked = new Set([...rows.indices, ...Object.keys(rows.multiline_indices ?? {}).map(Number),
  ...[...(rows.multiline_indices?.keys?.() ?? [])].map(Number)].map(i => source.data.point[i]));
for (let k = 0; k < sources.length; k++) {
  const points = sources[k].data.point ?? [];
  const same = [];
  for (let i = 0; i < points.length; i++)
    if (points[i] >= 0 && picked.has(points[i])) same.push(i);
  const before = filters[k].indices ?? [];
  if (same.length != before.length || same.some((v, j) => v != before[j]))
    filters[k].indices = same;
}
"""


PLACES = {"panel": "panel index", "color": "color index"}  # columns, by role


class Linked:
    """Sources whose column `point` names the grid point of each row.

    **Arguments**

    - `select`: called with the number of the grid point that was clicked, and the index of the
      panel and the colour, where the source has columns of them, `PLACES`.
    """

    def __init__(self, select: Callable[[int, Mapping[str, int]], None]):
        self._select = select
        self._sources: list[ColumnDataSource] = []
        self._filters: list[IndexFilter] = []
        self._tools: list[HoverTool] = []

    def add(self, figure: Any, renderer: Any, tips: list[tuple[str, str]], **marked: Any) -> None:
        """Link the rows of a renderer; `marked` is how its glyph looks while its run is marked."""
        source = renderer.data_source
        rows = IndexFilter(indices=[])
        glyph = renderer.glyph.clone()
        glyph.update(**marked)
        mark = figure.add_glyph(source, glyph, view=CDSView(filter=rows))
        mark.nonselection_glyph = mark.selection_glyph = None
        renderer.nonselection_glyph = renderer.selection_glyph = None
        hover = HoverTool(renderers=[renderer], tooltips=tips)
        figure.add_tools(hover, TapTool(renderers=[renderer]))
        self._sources.append(source)
        self._filters.append(rows)
        self._tools.append(hover)
        source.selected.on_change("indices", lambda _, old, new: self._clicked(source, new))

    def finish(self) -> None:
        """Let every hover mark rows of every source; call once all are added."""
        for source, tool in zip(self._sources, self._tools, strict=True):
            arguments = {"source": source, "sources": self._sources, "filters": self._filters}
            tool.callback = CustomJS(args=arguments, code=MARK)

    def _clicked(self, source: ColumnDataSource, rows: list[int]) -> None:
        if not rows:
            return
        for other in self._sources:  # a row that stays selected could not be clicked again
            other.selected.indices = []  # pyright: ignore
        data: Any = source.data
        point = int(data["point"][rows[0]])
        if point >= 0:
            columns = {role: name for role, name in PLACES.items() if name in data}
            self._select(point, {role: int(data[n][rows[0]]) for role, n in columns.items()})
