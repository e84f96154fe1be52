"""One static HTML page of sections: claims, figures, scores, provenance; no script, no network.

Its parts are in the folder `templates`: `page.html`, the macros of `parts.html`, and `page.css`.
"""

import base64
import dataclasses
import functools
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxscale._table import Cell, Column, Table
from jaxscale._text import number, without_marks
from jaxscale.analysis._claim import Claim, Verdict, claims_table
from jaxscale.report._maths import formula_to_mathml, formulas_to_mathml

if TYPE_CHECKING:
    from markupsafe import Markup

VERDICTS = (*(v for v in Verdict if v != Verdict.agrees), Verdict.agrees)
SUMMARY = ("system", "paper", "claims", *(str(v) for v in Verdict), "wall seconds")


@dataclasses.dataclass(frozen=True)
class Section:
    """What the page says about one system.

    **Arguments**

    - `name`: short name, by which the page links to the section.
    - `title`, `source`: heading and the paper.
    - `summary`, `symbols`: what was simulated in a few sentences, and what each symbol means.
    - `claims`: claims with their verdicts.
    - `figures`: SVG files with captions; their contents are embedded.
    - `tables`: measurements in words and numbers.
    - `provenance`: how each preset's results were made.
    - `seconds`: wall time of the runs.
    - `failure`: the error of a system that failed, which then has nothing else.
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
    summary: str = ""
    symbols: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Return the number of claims of every verdict."""
        return {str(v): sum(c.verdict == v for c in self.claims) for v in Verdict}

    @property
    def open_claims(self) -> list[str]:
        """Ids of the claims that do not agree, in the order of the page."""
        return [c.id for v in VERDICTS for c in self.claims if c.verdict == v != Verdict.agrees]

    def claim_groups(self) -> list[tuple[Verdict, Table]]:
        """The claims of every verdict; those that agree come last.

        The anchors of the claims begin with the section's name.
        """
        groups = [(v, [c for c in self.claims if c.verdict == v]) for v in VERDICTS]
        return [(verdict, claims_table(some, self.name)) for verdict, some in groups if some]


def write_page(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write a self-contained page with a section for each system."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxscale.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    embedded = functools.partial(embed, folder=path.parent)
    environment.filters.update(
        prose=prose, plain=without_marks, formula=formula_to_mathml, embed=embedded
    )
    page = environment.get_template("page.html").render(
        title=title,
        sections=sections,
        count_verdicts=count_verdicts,
        summary=summary_table(sections),
        provenance_table=provenance_table,
        shared_provenance=shared_provenance,
    )
    path.write_text(page, encoding="utf-8")


def prose(text: str) -> "Markup":
    """Escape a text for HTML, link every arXiv number in it, and set its formulas as MathML."""
    from markupsafe import Markup

    parts = re.split(r"arXiv (\d{4}\.\d{4,5})", text)  # every second one is a number
    link = Markup('<a href="https://arxiv.org/abs/{0}">arXiv {0}</a>')
    shown = [link.format(p) if i % 2 else formulas_to_mathml(p) for i, p in enumerate(parts)]
    return Markup("").join(shown)


def embed(image: Path, folder: Path) -> dict[str, Any]:
    """Return an SVG file as a data URI, its name and width, and its files relative to `folder`."""
    content = image.read_bytes()
    files = {name: image.with_suffix(f".{name.lower()}") for name in ("SVG", "PNG", "CSV")}
    size = re.search(rb'<svg[^>]*?\swidth="([\d.]+)pt"', content)
    return {
        "width": f"{float(size[1]) * 4 / 3:.0f}px" if size else "100%",
        "name": image.stem,
        "files": {k: os.path.relpath(file, folder) for k, file in files.items() if file.is_file()},
        "uri": f"data:image/svg+xml;base64,{base64.b64encode(content).decode()}",
    }


def count_verdicts(sections: Sequence[Section]) -> str:
    """Return the number of claims and of each verdict as a sentence."""
    total = {str(v): sum(s.counts()[str(v)] for s in sections) for v in Verdict}
    counts = [f"{verdict} {n}" for verdict, n in total.items() if n]
    return ", ".join([f"{sum(total.values())} claims", *counts]) + "."


def summary_table(sections: Sequence[Section]) -> Table:
    """Return a row for each section: its paper, verdicts and wall time."""
    rows = [
        [
            Cell(f"{s.name} failed", "failure", s.name) if s.failure else Cell(s.name, link=s.name),
            s.source,
            *map(str, (len(s.claims), *s.counts().values())),
            number(s.seconds, ".0f"),
        ]
        for s in sections
    ]
    first, paper, *others = SUMMARY
    header = [Column(first), Column(paper, style="paper"), *others]
    return Table("", "", header, rows)


def provenance_table(presets: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return a row for each preset with what differs between presets."""
    shared = shared_provenance(presets)
    keys = dict.fromkeys(k for p in presets.values() for k in p if _plain(k) not in shared)
    rows = [[name, *(_text(p.get(key, "")) for key in keys)] for name, p in presets.items()]
    return Table("", "", ["preset", *map(_plain, keys)], rows)


def shared_provenance(presets: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Return the texts that are equal for all presets, by name."""
    tables = list(presets.values())
    first = tables[0] if tables else {}
    return {
        _plain(key): value
        for key, value in first.items()
        if isinstance(value, str) and all(preset.get(key, "") == value for preset in tables)
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _plain(key: str) -> str:
    return key.replace("_", " ")
