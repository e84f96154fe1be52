"""The Python that draws what the theory view shows."""

from collections.abc import Sequence

from jaxscale._system import AbstractSystem
from jaxscale.explorer._curves import picked
from jaxscale.explorer._knobs import Knob, taken
from jaxscale.explorer._python import axes_python, imports_of, python_of

POINTS = 48  # along a field
SLOPES = """for axes in figure.axes:
    if axes.lines and axes.get_xscale() == axes.get_yscale() == "log":
        x, y = (np.asarray(values, float) for values in axes.lines[0].get_data())
        x, y = x[(x > 0) & (y > 0)], y[(x > 0) & (y > 0)]
        for slope in {slopes!r} if x.size > 1 else []:
            reference = y[x.size // 2] * (x / x[x.size // 2]) ** slope
            axes.plot(x, reference, "k:", linewidth=1, scaley=False)"""


def theory_code(
    system: AbstractSystem, x: str, knob: Knob | None, log: str | None, slopes: Sequence[float] = ()
) -> str:
    """Lines that predict the observables of `system` over `x` and draw them.

    **Arguments**

    - `x`: dimension or field of the x axis; `knob` is the slider of a field.
    - `log`: axes that are logarithmic; None for those that span decades.
    - `slopes`: exponents of the dotted lines.
    """
    axes = ""
    if knob is not None:
        values = dict.fromkeys(taken(system, knob, POINTS).tolist())
        integers = [int(v) for v in values] if knob.is_integer else list(values)
        axes = f", axes={axes_python({x: integers})}"
    options = f", x={x!r}" if x else ""
    options += f", log={log!r}" if log is not None else ""
    imports = imports_of(system)
    numpy = ["import numpy as np"] if slopes and "import numpy as np" not in imports else []
    chosen = picked(system, x)
    lines = [
        *numpy,
        *imports,
        "",
        f"system = {python_of(system)}",
        f"theory = js.predict(js.Grid(system{axes}))",
        *([f"theory = theory.isel({chosen!r})"] if chosen else []),
        f"figure = js.plot(theory{options})",
        *(SLOPES.format(slopes=list(slopes)).split("\n") if slopes else []),
    ]
    return "\n".join(lines)
