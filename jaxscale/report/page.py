"""One static HTML page: claims, figures, scores, provenance; no script, no network."""

import base64
import dataclasses
import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import rich.table
from rich.box import SIMPLE_HEAD
from rich.markup import escape

from jaxscale.analysis.claim import Claim

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; margin: 0 auto; max-width: 62rem;
  padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; }
.source, figcaption, footer { color: #555; }
.table { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0;
  border-bottom: 1px solid #ddd; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.verdict { font-weight: 600; white-space: nowrap; }
.agrees { color: #006b4b; } .disagrees { color: #a83c00; } .open { color: #7a5c00; }
figure { margin: 1.2rem 0; } figure img { width: 100%; height: auto; }
figcaption { font-size: .9rem; max-width: 48rem; }
code { font-size: .85em; overflow-wrap: anywhere; }
.reason { color: #555; font-size: .8rem; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } figure, tr {
  break-inside: avoid; } }
"""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of the page: its heading, what it shows, and its cells as text."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def for_terminal(self) -> rich.table.Table:
        """The same for the terminal."""
        shown = rich.table.Table(
            box=SIMPLE_HEAD, padding=(0, 1), title=self.title, caption=escape(self.note)
        )
        for i, name in enumerate(self.header):
            shown.add_column(escape(name), justify="right" if i else "left")
        for row in self.rows:
            shown.add_row(*(escape(cell) for cell in row))
        return shown


def number(value: float | None, form: str) -> str:
    """Text of a number, a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def write_page(
    path: Path,
    *,
    title: str,
    source: str,
    claims: Sequence[Claim],
    figures: Sequence[tuple[Path, str]],
    tables: Sequence[Table],
    provenance: dict[str, dict[str, Any]],
) -> None:
    """Write a self-contained page.

    **Arguments**

    - `path`: file to write.
    - `title`, `source`: heading and the paper.
    - `claims`: judged claims.
    - `figures`: SVG files with captions; their contents are embedded.
    - `tables`: measurements in words and numbers.
    - `provenance`: how each preset's results were made.
    """
    verdicts = [str(c.verdict) for c in claims]
    counts = ", ".join(f"{v} {verdicts.count(v)}" for v in dict.fromkeys(verdicts))
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="source">{html.escape(source)}</p>',
        f"<p>{len(claims)} claims; verdicts: {html.escape(counts)}. Every verdict is computed "
        "from the runs: a claim agrees when its 95 % interval lies inside predicted ± margin, "
        "disagrees when it lies wholly outside, and is inconclusive otherwise. Margins and their "
        "reasons were fixed before the runs.</p>",
        *[_figure(image, caption) for image, caption in figures],
        "<h2>Claims</h2>",
        _claims(claims),
        *[_table(table) for table in tables],
        "<h2>How it was made</h2>",
        *[_provenance(name, table) for name, table in provenance.items()],
    ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )
    path.write_text(page, encoding="utf-8")


def _figure(image: Path, caption: str) -> str:
    data = base64.b64encode(image.read_bytes()).decode()
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="data:image/svg+xml;base64,{data}">'
        f"<figcaption>{text}</figcaption></figure>"
    )


def _claims(claims: Sequence[Claim]) -> str:
    rows = []
    for claim in claims:
        kind = str(claim.verdict) if claim.verdict in ("agrees", "disagrees") else "open"
        low, high = claim.interval
        interval = f"{low:.4g} to {high:.4g}" if claim.n_seeds else "deterministic"
        rows.append(
            f"<tr><td>{html.escape(claim.statement)}"
            f'<div class="reason">{html.escape(claim.source)}</div></td>'
            f'<td class="number">{claim.predicted:.4g} ± {claim.margin:.2g}</td>'
            f'<td class="number">{claim.measured:.4g}</td><td class="number">{interval}</td>'
            f'<td class="number">{claim.n_seeds or "–"}</td>'
            f'<td class="verdict {kind}">{claim.verdict}</td>'
            f'<td class="reason">{html.escape(claim.reason)}</td></tr>'
        )
    names = (
        "claim",
        "predicted",
        "measured",
        "95 % interval",
        "seeds",
        "verdict",
        "margin because",
    )
    head = "".join(f"<th>{name}</th>" for name in names)
    return f'<div class="table"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td>"
        + "".join(f'<td class="number">{html.escape(cell)}</td>' for cell in cells)
        + "</tr>"
        for name, *cells in table.rows
    )
    return (
        f"<h2>{html.escape(table.title)}</h2>\n<p>{html.escape(table.note)}</p>"
        f'<div class="table"><table><tr>{head}</tr>{rows}</table></div>'
    )


def _provenance(name: str, table: dict[str, Any]) -> str:
    values = {k: v if isinstance(v, str) else json.dumps(v) for k, v in table.items()}
    rows = "".join(
        f"<tr><td>{html.escape(k)}</td><td><code>{html.escape(v)}</code></td></tr>"
        for k, v in values.items()
        if v
    )
    return f'<h3>{html.escape(name)}</h3><div class="table"><table>{rows}</table></div>'
