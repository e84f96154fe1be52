"""A slider of operations over many decades, and a field that takes numbers such as 1e22."""

from collections.abc import Callable

from jaxscale.analysis._allocation import check_flop
from jaxscale.explorer._knobs import Knob, number_of
from jaxscale.explorer._page import Page
from jaxscale.explorer._typed_slider import TypedSlider

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
        self._page, self.ends = page, ends
        typed = page.typed(TITLE, f"{value:g}", self._entered)
        typed.name = f"{NAME} ="
        knob = Knob(NAME, *ends, is_log=True)
        self._slider = TypedSlider(knob, value, typed, "{:g}".format, moved, page.styles)
        self.layout = self._slider.layout

    def _entered(self, text: str) -> None:
        if self._slider.is_following:
            return
        try:
            value = float(check_flop(number_of(NAME, text)))
        except ValueError as error:
            return self._page.say_error(error)
        self._slider.entered(value)
