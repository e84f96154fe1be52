"""A warning of runs that training spoilt."""

from typing import TYPE_CHECKING

from jaxscale._status import STATUS, Status
from jaxscale._warn import warn_user
from jaxscale.sweep._plan import Plan

if TYPE_CHECKING:
    import xarray

FEW_VALUES = 5  # of an axis, that the warning lists


def warn_of_failures(runs: "xarray.Dataset", plan: Plan) -> None:
    """Count the runs that training spoilt, with values at which all did and the plan's advice."""
    status, bad = runs[STATUS].compute(), (Status.nonfinite, Status.diverged)
    counts = {code: int((status == code).sum()) for code in bad}
    if n_failed := sum(counts.values()):
        how = ", ".join(f"{n} {code.name}" for code, n in counts.items() if n)
        is_bad, places = status.isin(bad), []
        for dim in (d for d in plan.grid.axes if is_bad.sizes[d] > 1):
            spoilt = is_bad[dim][is_bad.all([d for d in is_bad.dims if d != dim])].values
            shown = [f"{v:g}" if isinstance(v, float) else str(v) for v in spoilt[:FEW_VALUES]]
            dots = ", ..." if len(spoilt) > FEW_VALUES else ""
            some = 0 < len(spoilt) < is_bad.sizes[dim]
            places += [f"every one at {dim} = {', '.join(shown)}{dots}"] if some else []
        text = f"{n_failed} of {status.size} runs ended badly ({'; '.join([how, *places])})"
        see = f"{text}: see `status` (js.Status; in a shell, jaxscale show STORE)"
        warn_user("; ".join([see, *advice_on_failures(runs, plan)]))


def advice_on_failures(runs: "xarray.Dataset", plan: Plan) -> list[str]:
    """What may help the runs that training spoilt: the plan's warnings, or what their kind says."""
    bad = runs[STATUS].compute() == Status.nonfinite
    single = plan.grid.system.dtype == "float32" and bool(bad.any())
    if single and "step" in runs and "loss" in runs and int(runs["step"][0]) == 0:
        if runs["loss"].isel(step=0).where(bad).isnull().all():
            way_out = 'they are beyond float32 before the first step: dtype="float64" may help'
            return [*plan.warnings, way_out]
    either = ' or dtype="float64"' if single else ""
    return [*plan.warnings] or [f"a smaller learning rate{either} may help"]
