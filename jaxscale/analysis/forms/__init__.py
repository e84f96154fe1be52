"""Functional forms of scaling laws, which are fitted without starts: `js.calibrate(form, data)`."""

from jaxscale.analysis._form import (
    Form as Form,
    Parameter as Parameter,
    exponent as exponent,
    factor as factor,
    floor as floor,
    form as form,
    scale as scale,
    within as within,
)
from jaxscale.analysis.forms._compute import chinchilla as chinchilla
from jaxscale.analysis.forms._power import power_law as power_law
