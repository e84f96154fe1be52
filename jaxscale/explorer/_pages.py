"""Which view a page shows, by what was given and what its address says."""

from collections.abc import Callable
from typing import Any

from jaxscale.explorer._page import Page
from jaxscale.explorer._sources import Source, source_of
from jaxscale.explorer._theory_view import TheoryView


def page_maker(source: Source) -> Callable[[Any], None]:
    """Return what fills a document that a browser asks for."""

    def make(document: Any) -> None:
        request = document.session_context.request
        given = {n: v[-1].decode() for n, v in request.arguments.items()} if request else {}
        asked = source_of(given["source"]) if "source" in given else source
        page = Page(document, given, asked.name)
        view = VIEWS[asked.kind](page, asked.thing)
        document.session_context.view = view

    return make


VIEWS: dict[str, Callable[[Page, Any], Any]] = {"theory": TheoryView}
