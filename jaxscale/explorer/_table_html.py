"""The one table of the package, as HTML of a page."""

from jaxscale._table import Table
from jaxscale._text import without_marks
from jaxscale.explorer._page import escaped


def table_html(table: Table) -> str:
    """Title, note and rows; the rows scroll by themselves where the page is narrow."""
    kinds = [" class=n" if column.number else "" for column in table.columns]
    head = "".join(
        f"<th{kind}>{escaped(column.name)}</th>"
        for kind, column in zip(kinds, table.columns, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(f"<td{k}>{escaped(c.text)}</td>" for k, c in zip(kinds, row, strict=True))
        + "</tr>"
        for row in table.cells
    )
    body = f"<div class=scroll><table><tr>{head}</tr>{rows}</table></div>" if rows else ""
    note = f"<p>{escaped(without_marks(table.note))}</p>" if table.note else ""
    return f"<h2>{escaped(table.title)}</h2>{body}{note}"
