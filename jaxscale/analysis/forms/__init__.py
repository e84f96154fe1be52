"""Functional forms of scaling laws, which are fitted without starts: `js.calibrate(form, data)`."""

from jaxscale.analysis._form import (
    Form as Form,
    Parameter as Parameter,
    exponent as exponent,
    factor as factor,
    floor as floor,
    form as form,
    scale as scale,
    starts_at as starts_at,
    within as within,
)
from jaxscale.analysis._grouped import Grouped as Grouped, grouped as grouped
from jaxscale.analysis.forms._architecture import (
    mixture_of_experts as mixture_of_experts,
    precision as precision,
    sparsity as sparsity,
)
from jaxscale.analysis.forms._compute import (
    chinchilla as chinchilla,
    chinchilla_coupled as chinchilla_coupled,
    chinchilla_one_exponent as chinchilla_one_exponent,
    kaplan as kaplan,
)
from jaxscale.analysis.forms._data import data_constrained as data_constrained
from jaxscale.analysis.forms._power import (
    broken_power_law as broken_power_law,
    power_law as power_law,
)
from jaxscale.analysis.forms._table import table as table
from jaxscale.analysis.forms._training import (
    annealing as annealing,
    annealing_areas as annealing_areas,
    critical_batch as critical_batch,
)
