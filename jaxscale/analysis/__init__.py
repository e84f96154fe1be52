"""Analysis of results: exponents, simulation against theory, calibration, claims."""

from typing import TYPE_CHECKING as _TYPE_CHECKING, Any as _Any

from jaxscale._deprecated import warn_deprecated as _warn_deprecated
from jaxscale._text import nearest as _nearest
from jaxscale.analysis import forms as forms
from jaxscale.analysis._allocation import (
    OptimalAllocation as OptimalAllocation,
    allocate as allocate,
)
from jaxscale.analysis._calibrate import calibrate as calibrate
from jaxscale.analysis._calibration import Calibration as Calibration
from jaxscale.analysis._claim import (
    Claim as Claim,
    Verdict as Verdict,
    claims_table as claims_table,
    claims_to_json as claims_to_json,
)
from jaxscale.analysis._collapse import Collapse as Collapse, collapse as collapse
from jaxscale.analysis._compare import Comparison as Comparison, compare as compare
from jaxscale.analysis._compare_forms import (
    FormScores as FormScores,
    compare_forms as compare_forms,
)
from jaxscale.analysis._exponents import (
    Exponent as Exponent,
    crossing as crossing,
    fit_exponent as fit_exponent,
    fit_saturating as fit_saturating,
    local_exponent as local_exponent,
)
from jaxscale.analysis._first import First as First, first_to as first_to
from jaxscale.analysis._formula import Formula as Formula
from jaxscale.analysis._frontier import Frontier as Frontier, frontier as frontier
from jaxscale.analysis._held_out import held_out as held_out, rolled_out as rolled_out
from jaxscale.analysis._held_out_runs import HeldOut as HeldOut
from jaxscale.analysis._intervals import Interval as Interval, seed_interval as seed_interval
from jaxscale.analysis._isoflop import IsoFlop as IsoFlop, isoflop as isoflop
from jaxscale.analysis._isoflop_bias import isoflop_bias as isoflop_bias
from jaxscale.analysis._jackknife import (
    jackknife as jackknife,
    jackknife_exponents as jackknife_exponents,
)
from jaxscale.analysis._loss_surface import (
    LossSurface as LossSurface,
    fit_loss_surface as fit_loss_surface,
)
from jaxscale.analysis._noise_components import (
    NoiseComponents as NoiseComponents,
    noise_components as noise_components,
)
from jaxscale.analysis._profile import profile as profile
from jaxscale.analysis._table_file import read_table as read_table
from jaxscale.analysis._theory_of import theory_of as theory_of
from jaxscale.analysis._variances import Variance as Variance

if not _TYPE_CHECKING:  # to a type checker, a module with `__getattr__` would have every name

    def __getattr__(name: str) -> _Any:
        if name == "loss_surface":
            _warn_deprecated("js.analysis.loss_surface", "js.forms.chinchilla")
            return forms.chinchilla
        hint = _nearest(name, [n for n in globals() if not n.startswith("_")])
        raise AttributeError(f"module 'jaxscale.analysis' has no attribute {name!r}{hint}")
