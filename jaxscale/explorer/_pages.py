"""Which view a page shows, by what was given and what its address says."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from jaxscale.explorer._fit_view import FitView
from jaxscale.explorer._newest import THREADS
from jaxscale.explorer._page import Page
from jaxscale.explorer._sources import Source, source_of
from jaxscale.explorer._start_view import StartView, offered
from jaxscale.explorer._sweep_view import SweepView
from jaxscale.explorer._theory_request import compiled
from jaxscale.explorer._theory_view import TheoryView


def page_maker(source: Source) -> Callable[[Any], None]:
    """Return what fills a document that a browser asks for; theory compiles before one does."""
    if source.kind == "theory":
        THREADS.submit(compiled, (source.thing, source.thing, ""))

    def make(document: Any) -> None:
        request = document.session_context.request
        arguments = request.arguments if request else {}
        given = {n: v[-1].decode(errors="replace") for n, v in arguments.items()}
        asked, links = source, []
        name = given.get("source") if source.kind == "start" else None
        error: Exception | None = None
        try:
            if name is not None:
                links = [("all", "?" + urlencode({k: v for k, v in given.items() if k == "theme"}))]
                if name not in offered(source.thing):
                    raise ValueError(f"`source` {name!r} is not offered: open one of the list.")
                asked = source_of(name)
        except ValueError as refused:
            error = refused
        page = Page(document, given, asked.name, links)
        try:
            if error is not None:
                raise error
            document.session_context.view = VIEWS[asked.kind](page, asked.thing)
        except Exception as error:  # of a damaged store, or an address that says something else
            page.show([], [])
            page.say_error(error)

    return make


VIEWS: dict[str, Callable[[Page, Any], Any]] = {
    "start": StartView,
    "theory": TheoryView,
    "sweep": SweepView,
    "fit": FitView,
}
