"""A slider of operations over many decades, and a field that takes numbers such as 1e22."""

from collections.abc import Callable
from typing import Any

from bokeh.models import Column, Slider

from jaxscale.analysis._allocation import check_flop
from jaxscale.explorer._knobs import POSITIONS, Knob, number_of
from jaxscale.explorer._page import Page

NAME = "compute"
TITLE = "compute C = 6 N D, operations"


class ComputeSlider:
    """A slider and a field that follow each other; the field also takes what lies beyond.

    **Arguments**

    - `ends`: of the slider, positive.
    - `value`: where it starts.
    - `moved`: called with the number of operations.
    """

    def __init__(
        self,
        page: Page,
        ends: tuple[float, float],
        value: float,
        moved: Callable[[float], None],
    ):
        self._page, self._moved, self.ends = page, moved, ends
        self._knob = Knob(NAME, *ends, is_log=True)
        self._is_following = False
        self._typed = page.typed(TITLE, f"{value:g}", self._entered)
        self._typed.name = f"{NAME} ="
        self._bar: Any = Slider(
            start=0, end=POSITIONS, step=1, value=self._knob.position(value), name=NAME,
            show_value=False, title=None, sizing_mode="stretch_width", stylesheets=[page.styles],
        )  # fmt: skip
        self._bar.on_change("value", lambda _, old, new: self._dragged(new))
        self.layout = Column(
            children=[self._typed, self._bar], sizing_mode="stretch_width", spacing=0
        )

    def _dragged(self, position: float) -> None:
        if not self._is_following:
            value = self._knob.value(position)
            self._follow(self._typed, f"{value:g}")
            self._moved(value)

    def _entered(self, text: str) -> None:
        if self._is_following:
            return
        try:
            value = float(check_flop(number_of(NAME, text)))
        except ValueError as error:
            return self._page.say_error(error)
        self._follow(self._bar, self._knob.position(value))
        self._moved(value)

    def _follow(self, widget: Any, value: Any) -> None:
        """Set the other widget, which then asks nothing."""
        self._is_following = True
        widget.value = value
        self._is_following = False
