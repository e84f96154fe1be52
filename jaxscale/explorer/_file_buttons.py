"""Buttons that hand out what a page shows: its Python, its data and its figures."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from bokeh.models import CustomJS, Div

from jaxscale.explorer._export import EXPORTS, export
from jaxscale.explorer._newest import LONG, Newest
from jaxscale.explorer._page import COPY, Page


def file_buttons(
    page: Page, code: Div, python: Callable[[], str], given: Mapping[str, Any] | None = None
) -> list[Any]:
    """Make the buttons "copy as Python", CSV, SVG and PNG.

    **Arguments**

    - `code`: the text that is copied.
    - `python`: makes the same lines anew for a file: what a browser sends is never run.
    - `given`: names that these lines use and do not make.
    """
    files = Newest(
        page.document, lambda asked: export(*asked), lambda file: page.download(*file),
        page.say_error, LONG,
    )  # fmt: skip

    def hand_out(kind: str) -> None:
        try:
            files.ask((kind, python(), dict(given or {})))
        except Exception as error:  # before the first curves
            page.say_error(error)

    buttons = [page.button("copy as Python")]
    buttons[0].js_on_click(CustomJS(args={"text_of": code, "button": buttons[0]}, code=COPY))
    for kind in EXPORTS:
        buttons.append(page.button(kind.upper()))
        buttons[-1].on_click(functools.partial(hand_out, kind))
    return buttons
