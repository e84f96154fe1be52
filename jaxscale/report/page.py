"""One static HTML page of sections: claims, figures, scores, provenance; no script, no network."""

import base64
import dataclasses
import html
import importlib.resources
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rich.table
from rich.box import SIMPLE_HEAD
from rich.markup import escape

from jaxscale.analysis.claim import Claim, Verdict

SUMMARY = ("system", "paper", "claims", *(str(v) for v in Verdict), "wall seconds")
CLAIMS = ("claim", "predicted", "measured", "95 % interval", "seeds", "verdict", "margin because")
JUDGED = (
    "Every verdict is computed from the runs: a claim agrees when its 95 % interval lies inside "
    "predicted ± margin, disagrees when it lies wholly outside, and is inconclusive otherwise; it "
    "is out of range where the runs do not reach the regime of which it speaks. Margins and their "
    "reasons were fixed before the runs."
)

Cell = tuple[str, str]  # class and HTML


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


@dataclasses.dataclass(frozen=True)
class Section:
    """What the page says of one system.

    **Arguments**

    - `name`: short name, by which the page links to the section.
    - `title`, `source`: heading and the paper.
    - `claims`: judged claims.
    - `figures`: SVG files with captions; their contents are embedded.
    - `tables`: measurements in words and numbers.
    - `provenance`: how each preset's results were made.
    - `seconds`: wall time of the runs.
    - `failure`: why there is nothing else, for a system that failed.
    """

    name: str
    title: str
    source: str
    claims: Sequence[Claim] = ()
    figures: Sequence[tuple[Path, str]] = ()
    tables: Sequence[Table] = ()
    provenance: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    seconds: float = math.nan
    failure: str = ""

    def counts(self) -> dict[str, int]:
        """Number of claims by verdict; every verdict is there."""
        found = [claim.verdict for claim in self.claims]
        return {str(v): found.count(v) for v in Verdict}


def number(value: float | None, form: str) -> str:
    """Text of a number, a dash where there is none."""
    return "–" if value is None or not math.isfinite(value) else format(value, form)


def write_page(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write a self-contained page.

    **Arguments**

    - `path`: file to write.
    - `title`: heading of the whole page.
    - `sections`: one for each system.
    """
    style = importlib.resources.files("jaxscale.report").joinpath("page.css").read_text("utf-8")
    links = [_link(name, name) for name in (*(s.name for s in sections), "top")]
    body = [
        f'<h1 id="top">{html.escape(title)}</h1>',
        f"<p>{_verdicts(sections)} {JUDGED}</p>",
        f"<nav>{' '.join(links)}</nav>",
        "<h3>Summary</h3>",
        _grid("cards", SUMMARY, [_summary(section) for section in sections]),
        *(_section(section) for section in sections),
    ]
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )
    path.write_text(page, encoding="utf-8")


def _verdicts(sections: Sequence[Section]) -> str:
    """All verdicts in a sentence."""
    total = {str(v): sum(s.counts()[str(v)] for s in sections) for v in Verdict}
    told = "".join(f", {v} {n}" for v, n in total.items() if n)
    return f"{sum(total.values())} claims{told}."


def _summary(section: Section) -> list[Cell]:
    """The row of a section in the table on top."""
    first = _link(section.name, section.name)
    if section.failure:
        first += ' <span class="failure">failed</span>'
    counts = (f"{n}" for n in section.counts().values())
    numbers = (f"{len(section.claims)}", *counts, number(section.seconds, ".0f"))
    return [("", first), ("paper", _source(section.source)), *(("number", n) for n in numbers)]


def _section(section: Section) -> str:
    """Everything of one system."""
    parts = [
        f'<section id="{html.escape(section.name)}">',
        f"<h2>{html.escape(section.title)}</h2>",
        f'<p class="soft">{_source(section.source)}</p>',
    ]
    if section.failure:
        parts += [f'<p class="failure">failed: {html.escape(section.failure)}</p>', "</section>"]
        return "\n".join(parts)
    others = [claim for claim in section.claims if claim.verdict != Verdict.agrees]
    links = [_link(f"{section.name}-{claim.id}", claim.id) for claim in others]
    parts += [
        f"<p>{_verdicts([section])} {'Not agreeing: ' if links else ''}{', '.join(links)}</p>",
        '<div class="figures">',
        *(_figure(image, caption) for image, caption in section.figures),
        "</div>",
        "<h3>Claims</h3>",
        _grid("cards", CLAIMS, [_claim(section.name, claim) for claim in section.claims]),
        *(_table(table) for table in section.tables),
        "<h3>How it was made</h3>",
        _provenance(section.provenance),
        "</section>",
    ]
    return "\n".join(parts)


def _link(anchor: str, text: str) -> str:
    return f'<a href="#{html.escape(anchor)}">{html.escape(text)}</a>'


def _source(text: str) -> str:
    """A paper, linked where its arXiv number is told."""
    link = r'<a href="https://arxiv.org/abs/\1">arXiv \1</a>'
    return re.sub(r"arXiv (\d{4}\.\d{4,5})", link, html.escape(text))


def _figure(image: Path, caption: str) -> str:
    """A picture at its own size, or as wide as the page where that is narrower."""
    content = image.read_bytes()
    size = re.search(rb'<svg[^>]*?\swidth="([\d.]+)pt"', content)
    width = f"{float(size[1]) * 4 / 3:.0f}px" if size else "100%"
    data, text = base64.b64encode(content).decode(), html.escape(caption)
    return (
        f'<figure style="--width: {width}"><div class="canvas"><img alt="{text}" '
        f'src="data:image/svg+xml;base64,{data}"></div><figcaption>{text}</figcaption></figure>'
    )


def _grid(style: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table whose cells know their column, so that rows may become cards on a narrow screen."""
    names = [html.escape(name) for name in header]
    kinds = [kind if "number" in kind else "" for kind, _ in rows[0]] if rows else [""] * len(names)
    head = [_cell("th", kind, "", name) for kind, name in zip(kinds, names, strict=True)]
    lines = [[_cell("td", k, n, c) for n, (k, c) in zip(names, row, strict=True)] for row in rows]
    body = "".join(f"<tr>{''.join(line)}</tr>" for line in lines)
    return (
        f'<div class="scroll"><table class="{style}"><thead><tr>{"".join(head)}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(tag: str, kind: str, name: str, content: str) -> str:
    """A cell with its class and the name of its column, where it has them."""
    attributes = {"class": kind, "data-name": name}
    told = "".join(f' {key}="{value}"' for key, value in attributes.items() if value)
    return f"<{tag}{told}>{content}</{tag}>"


def _claim(section: str, claim: Claim) -> list[Cell]:
    """The row of a claim."""
    kind = str(claim.verdict) if claim.verdict in ("agrees", "disagrees") else "open"
    low, high = claim.interval
    interval = f"{low:.4g} to {high:.4g}" if claim.n_seeds else "deterministic"
    said = (
        f'<span id="{html.escape(f"{section}-{claim.id}")}">{html.escape(claim.statement)}</span>'
        f'<div class="soft">{_source(claim.source)}; <code>{html.escape(claim.id)}</code></div>'
    )
    return [
        ("claim", said),
        ("number", f"{claim.predicted:.4g} ± {claim.margin:.2g}"),
        ("number", f"{claim.measured:.4g}"),
        ("number interval", interval),
        ("number seeds", f"{claim.n_seeds or '–'}"),
        (f"verdict {kind}", str(claim.verdict)),
        ("reason", html.escape(claim.reason)),
    ]


def _table(table: Table) -> str:
    rows = [
        [("", html.escape(name)), *(("number", html.escape(cell)) for cell in cells)]
        for name, *cells in table.rows
    ]
    grid = _grid("measured", table.header, rows)
    return f"<h3>{html.escape(table.title)}</h3>\n<p>{html.escape(table.note)}</p>{grid}"


def _provenance(presets: Mapping[str, Mapping[str, Any]]) -> str:
    """A row for each preset with what differs between them; what all share is told once."""
    keys = dict.fromkeys(key for table in presets.values() for key in table)
    texts = {
        key: [t if isinstance(t, str) else json.dumps(t) for t in _column(presets, key)]
        for key in keys
    }
    shared = {
        key: column[0]
        for key, column in texts.items()
        if len(set(column)) == 1 and isinstance(_column(presets, key)[0], str)
    }
    own = [key for key in keys if key not in shared]
    rows = [
        [("", f"<code>{html.escape(name)}</code>")]
        + [("number", html.escape(texts[key][i])) for key in own]
        for i, name in enumerate(presets)
    ]
    said = "".join(
        f"<dt>{html.escape(_plain(key))}</dt><dd><code>{html.escape(text)}</code></dd>"
        for key, text in shared.items()
        if text
    )
    return _grid("measured", ["preset", *map(_plain, own)], rows) + f"<dl>{said}</dl>"


def _column(presets: Mapping[str, Mapping[str, Any]], key: str) -> list[Any]:
    return [table.get(key, "") for table in presets.values()]


def _plain(key: str) -> str:
    return key.replace("_", " ")
