"""Solvable models of neural scaling laws: simulation and closed-form theory, one interface."""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING, Any as _Any

from jaxscale import (
    emergence as emergence,
    fields as fields,
    paths as paths,
    sparse as sparse,
    spectra as spectra,
    streaming as streaming,
    superposition as superposition,
)
from jaxscale._compilation import keep_compiled as keep_compiled
from jaxscale._deprecated import warn_deprecated as _warn_deprecated
from jaxscale._devices import use_all_cores as use_all_cores
from jaxscale._optimizers import (
    AbstractOptimizer as AbstractOptimizer,
    Adam as Adam,
    AdamW as AdamW,
    Optax as Optax,
    Sgd as Sgd,
)
from jaxscale._references import citation as citation
from jaxscale._schedules import (
    AbstractSchedule as AbstractSchedule,
    Constant as Constant,
    Cosine as Cosine,
    LinearDecay as LinearDecay,
    StepDecay as StepDecay,
    TwoDrops as TwoDrops,
    WarmUp as WarmUp,
)
from jaxscale._status import Status as Status
from jaxscale._system import (
    AbstractSystem as AbstractSystem,
    Observable as Observable,
    Schema as Schema,
    TheoryKind as TheoryKind,
    Work as Work,
)
from jaxscale._text import nearest as _nearest
from jaxscale.analysis import (
    Calibration as Calibration,
    Claim as Claim,
    Formula as Formula,
    Frontier as Frontier,
    bounds as bounds,
    calibrate as calibrate,
    compare as compare,
    fit_loss_surface as fit_loss_surface,
    forms as forms,
    frontier as frontier,
    residuals as residuals,
    theory_of as theory_of,
)
from jaxscale.explorer import explore as explore
from jaxscale.paths import replace as replace
from jaxscale.report import plot as plot
from jaxscale.sweep import (
    Grid as Grid,
    Plan as Plan,
    geomspace as geomspace,
    open as open,
    open_state as open_state,
    open_store as open_store,
    plan as plan,
    predict as predict,
    run as run,
    select as select,
)
from jaxscale.training import AbstractTrainedSystem as AbstractTrainedSystem, train as train

__version__ = _version("jaxscale")

if not _TYPE_CHECKING:  # to a type checker, a module with `__getattr__` would have every name

    def __getattr__(name: str) -> _Any:
        if name == "Predicted":
            _warn_deprecated("Predicted", "TheoryKind")
            return TheoryKind
        hint = _nearest(name, [n for n in globals() if not n.startswith("_")])
        raise AttributeError(f"module 'jaxscale' has no attribute {name!r}{hint}")
