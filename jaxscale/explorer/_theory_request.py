"""What a theory page evaluates in threads: the closed forms of a system along an axis."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxscale._system import AbstractSystem
from jaxscale.explorer._closed_forms import ClosedForms
from jaxscale.explorer._curves import x_options
from jaxscale.explorer._knobs import Knob, knob_of, taken
from jaxscale.paths import get

COARSE = 16  # points along a field while a slider moves, half as many where these are slow
SLOW = 0.025  # seconds


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be evaluated: a program, a system with its numbers, and the axis."""

    forms: ClosedForms
    system: AbstractSystem
    knob: Knob | None
    at: np.ndarray | None = None


def compiled(start: tuple[AbstractSystem, AbstractSystem, str]) -> Any:
    """The program of a structure, at one point or along a field, and its first values.

    `start` holds the system before its numbers were moved, the system, and the x axis.
    """
    base, system, x = start
    one = ClosedForms(system)
    knobs = {path: slider_of(base, system, path) for path in one.used}
    options = x_options(system, knobs)
    x = x if x in options else next(iter(options), "")
    forms = ClosedForms(system, x, COARSE) if x in knobs else one
    first = evaluated(request_of(system, forms, knobs, x))
    if x in knobs:
        began = time.perf_counter()
        evaluated(first[0])
        if time.perf_counter() - began > SLOW:
            forms = ClosedForms(system, x, COARSE // 2)
            first = evaluated(request_of(system, forms, knobs, x))
    return system, forms, knobs, options, x, first


def request_of(
    system: AbstractSystem, forms: ClosedForms, knobs: Mapping[str, Knob], x: str
) -> Request:
    """The request for the values of a system, along its x axis where that is a number."""
    return Request(forms, system, knobs.get(x))


def evaluated(request: Request) -> tuple[Request, Any]:
    """A request and its values and claims, at those values of the axis that the system takes."""
    forms, system, knob = request.forms, request.system, request.knob
    values = {path: float(get(system, path)) for path in forms.paths}
    at = None if knob is None else taken(system, knob, forms.n_points)
    return dataclasses.replace(request, at=at), forms.with_claims(values, at)


def slider_of(base: AbstractSystem, system: AbstractSystem, path: str) -> Knob:
    """Slider about the value that a field has before it is moved, which also reaches where it is.

    So a page that is opened again has its sliders where they were.
    """
    if isinstance(get(base, path), np.ndarray):
        knob, value = knob_of(base, path), float(get(system, path))
        low = min(knob.low, value) if value > 0 or not knob.is_log else knob.low
        return dataclasses.replace(knob, low=low, high=max(knob.high, value))
    return knob_of(system, path)
