"""The Python that draws what the theory view shows."""

from jaxscale._system import AbstractSystem
from jaxscale.explorer._knobs import Knob
from jaxscale.explorer._python import axes_python, imports_of, python_of

POINTS = 48  # along a field


def theory_code(system: AbstractSystem, x: str, knob: Knob | None, log: str | None) -> str:
    """Lines that predict the observables of `system` over `x` and draw them.

    **Arguments**

    - `x`: dimension or field of the x axis; `knob` is the slider of a field.
    - `log`: axes that are logarithmic; None for those that span decades.
    """
    axes = ""
    if knob is not None:
        values = dict.fromkeys(knob.spaced(POINTS).tolist())
        integers = [int(v) for v in values] if knob.is_integer else list(values)
        axes = f", axes={axes_python({x: integers})}"
    options = f", x={x!r}" if x else ""
    options += f", log={log!r}" if log is not None else ""
    lines = [
        *imports_of(system),
        "",
        f"system = {python_of(system)}",
        f"theory = js.predict(js.Grid(system{axes}))",
        f"figure = js.plot(theory{options})",
    ]
    return "\n".join(lines)
