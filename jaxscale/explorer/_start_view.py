"""What there is to explore: systems, presets, and the stores and tables of a folder."""

from pathlib import Path
from urllib.parse import urlencode

from jaxscale._registry import class_named
from jaxscale.explorer._page import Page, escaped, html_table
from jaxscale.explorer._sources import example_systems, stores_in, tables_in
from jaxscale.sweep._config import descriptions

MOST_FILES = 200  # of each kind that are listed of a folder


class StartView:
    """A page of links.

    **Arguments**

    - `page`: the open page.
    - `folder`: whose stores and tables are listed.
    """

    def __init__(self, page: Page, folder: Path):
        self.page = page
        page.document.template_variables["plain"] = True
        systems = {name: (make.__doc__ or "") for name, make in _classes().items()}
        sections = {
            "Theory of a system": systems,
            "Stores here": {name: "" for name in stores_in(folder)},
            "Tables here": {name: "" for name in tables_in(folder)},
            "Theory of a preset": descriptions(),
        }
        page.show([], [page.text(self._listed(t, names)) for t, names in sections.items() if names])

    def _listed(self, title: str, names: dict[str, str]) -> str:
        theme = {"theme": self.page.given["theme"]} if "theme" in self.page.given else {}
        rows = []
        for name, text in [*names.items()][:MOST_FILES]:
            address = escaped(urlencode({"source": name, **theme}))
            link = f'<a href="?{address}">{escaped(name)}</a>'
            rows.append(f"<tr><td>{link}</td><td>{escaped(text.partition(chr(10))[0])}</td></tr>")
        if len(names) > MOST_FILES:
            more = f"and {len(names) - MOST_FILES} more: jaxscale explore NAME opens one"
            rows.append(f"<tr><td colspan=2>{more}</td></tr>")
        return html_table(title, rows)


def _classes() -> dict[str, type]:
    classes = {name: class_named(name) for name in example_systems()}
    return {name: cls for name, cls in classes.items() if cls is not None}


def offered(folder: Path) -> list[str]:
    """Names that a page of links may open: nothing else of this machine."""
    return [*example_systems(), *descriptions(), *stores_in(folder), *tables_in(folder)]
