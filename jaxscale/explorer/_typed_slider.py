"""A slider of a number and a field to type it, which follow each other."""

from collections.abc import Callable
from typing import Any

from bokeh.models import Column, CustomJSTickFormatter, InlineStyleSheet, Slider

from jaxscale.explorer._knobs import POSITIONS, Knob

# The value at a position, for the bubble of the handle and for screen readers: that of the field
# where the field was typed, which a whole position only comes near to.
VALUE = """
const at = p => {
  const share = Math.min(Math.max(p / last, 0), 1);
  const value = is_log ? low * (high / low) ** share : low + (high - low) * share;
  return is_integer ? Math.round(value) : Number(value.toPrecision(4));
};
const typed = Number(field.value);
const is_above = tick <= 0 || typed >= at(tick - 0.5);
const is_below = tick >= last || typed <= at(tick + 0.5);
return String(is_above && is_below ? typed : at(tick));
"""


class TypedSlider:
    """The slider of a field; the field also takes what lies beyond its ends.

    **Arguments**

    - `knob`: ends of the slider; `value`: where it starts.
    - `typed`: the field, whose changes call `entered`.
    - `shown`: what the field shows of a number.
    - `moved`: called with the number, after either was moved; False puts the last one back.
    """

    def __init__(
        self,
        knob: Knob,
        value: float,
        typed: Any,
        shown: Callable[[float], Any],
        moved: Callable[[float], bool | None],
        styles: InlineStyleSheet,
    ):
        self._knob, self._typed, self._shown, self._moved = knob, typed, shown, moved
        self._value = value
        self._is_following = False
        self._bar: Any = Slider(
            start=0, end=POSITIONS, step=1, value=knob.position(value), name=knob.path,
            show_value=False, title=None, sizing_mode="stretch_width", stylesheets=[styles],
            format=CustomJSTickFormatter(code=VALUE, args={
                "field": typed, "low": knob.low, "high": knob.high, "last": POSITIONS,
                "is_log": knob.is_log, "is_integer": knob.is_integer,
            }),
        )  # fmt: skip
        self._bar.on_change("value", lambda _, old, new: self._dragged(new))
        self.layout = Column(children=[typed, self._bar], sizing_mode="stretch_width", spacing=0)

    def _dragged(self, position: float) -> None:
        if not self._is_following:
            value = self._knob.value(position)
            self._follow(self._typed, self._shown(value))
            self._take(value)

    def entered(self, value: float) -> None:
        """Follow a number that was typed."""
        self._follow(self._bar, self._knob.position(value))
        self._take(value)

    def put_back(self) -> None:
        """Show the last number that was not refused."""
        self._follow(self._typed, self._shown(self._value))
        self._follow(self._bar, self._knob.position(self._value))

    def _take(self, value: float) -> None:
        """Hand a number on."""
        if self._moved(value) is False:
            self.put_back()
        else:
            self._value = value

    @property
    def is_following(self) -> bool:
        """Whether the field changes because the slider did."""
        return self._is_following

    def _follow(self, widget: Any, value: Any) -> None:
        """Set the other widget, which then asks nothing."""
        self._is_following = True
        widget.value = value
        self._is_following = False
