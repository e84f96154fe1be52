"""What a fit says: its table, its text, and its plain data for JSON; `fit` is a `Calibration`."""

from typing import Any

import numpy as np

from jaxscale._table import Column, Table
from jaxscale._text import DASH, counted
from jaxscale.analysis._diagnostics import undetermined
from jaxscale.analysis._plain import plain


def fit_table(fit: Any) -> Table:
    """Values with errors and 95 % intervals."""
    header = [Column(name) for name in (fit.each, "parameter") if name]
    header += [Column(n, number=True) for n in ("value", "standard error", "95 % interval")]
    rows = []
    for row in fit.rows():
        low, high = row["interval"]
        numbers = (f"{row['value']:.6g}", f"{row['standard_error']:.3g}",
                   f"{low:.5g} to {high:.5g}")  # fmt: skip
        label = [str(row["label"])] if fit.each else []
        rows.append((*label, row["parameter"], *(DASH if "nan" in n else n for n in numbers)))
    undefined = int(np.isnan([*fit.standard_error.values()]).sum()) if _has_intervals(fit) else 0
    counts = [(n_failed(fit), "fit", "did not converge"), (fit.n_left_out, "point", "left out"),
              (undefined, "standard error", "undefined")]  # fmt: skip
    said = [_intervals(fit), *(f"{counted(n, noun)} {what}" for n, noun, what in counts if n)]
    return Table("", "; ".join([*said, *_hint(fit)]), header, rows).filled


def fit_data(fit: Any) -> dict[str, Any]:
    """Plain data: infinities and NaN are None."""
    start = dict(zip(fit.free, fit.theory.start(fit.free), strict=True))
    start |= dict.fromkeys(set(fit.free) & set(fit.theory.unset))
    return plain({
        "values": fit.values,
        "theory": fit.theory.described(fit.free),
        "free": fit.free,
        "start": start,
        "coordinates": fit.coordinates,
        "each": fit.each,
        "labels": fit.labels,
        "parameters": fit.rows(),
        "covariance_of_coordinates": fit.covariance,
        "bounds": [repr(b) for b in fit.bounds],
        "residual": {name: type(kind).__name__ for name, kind in fit.residual.items()},
        "loss": type(fit.loss).__name__,
        "residual_rms": fit.residual_rms,
        "huber_delta": fit.huber_delta,
        "converged": fit.converged,
        "condition": fit.condition,
        "n_points": fit.n_points,
        "n_left_out": fit.n_left_out,
        "starts": {"status": fit.starts.status, "cost": fit.starts.cost},
        "objective": fit.objective,
        "intervals": fit.method,
        "n_lost": fit.n_lost,
        "n_resamples": 0 if fit.drawn is None else fit.drawn.n,
        "resampled": None if fit.drawn is None else fit.drawn.of,
    })  # fmt: skip


def fit_text(fit: Any) -> str:
    """Values with errors, how well they fit, and what to look at."""
    lines = [
        (f"{fit.each} {row['label']}: " if fit.each else "")
        + f"{row['parameter']} = {row['value']:.6g} ± "
        + f"{row['standard_error']:.2g}".replace("nan", DASH)
        for row in fit.rows()
    ]
    size, rms = np.sum(fit.n_points), np.max(fit.residual_rms)
    failed = n_failed(fit)
    end = f"{counted(failed, 'fit')} did not converge" if failed else "converged"
    points = f"{size} points" + (f", {fit.n_left_out} left out" if fit.n_left_out else "")
    said = [f"{points}, rms residual {rms:.3g}, {end}", _intervals(fit)]
    return "\n".join([*lines, *said, *_hint(fit)])


def _has_intervals(fit: Any) -> bool:
    return not np.isnan([*fit.interval().values()]).all()


def _intervals(fit: Any) -> str:
    """What the intervals come from, or why there are none."""
    if _has_intervals(fit):
        return f"intervals: {fit.method}"
    if fit.drawn is None:
        return "no intervals: the covariance is undefined"
    reasons = sorted({*np.ravel(fit.drawn.reasons).tolist()} - {""})
    return f"no intervals: {'; '.join(reasons) or f'too few of {fit.drawn.text}'}"


def n_failed(fit: Any) -> int:
    """How many fits did not converge."""
    return int(np.sum(~np.asarray(fit.converged)))


def _hint(fit: Any) -> list[str]:
    """What the data do not constrain, and what to do about residuals that outweigh the others."""
    loose = undetermined(fit)
    loose = [f"not constrained by the data: {', '.join(loose)}"] if loose else []
    deltas = np.atleast_1d(fit.huber_delta)
    heavy = deltas[~np.isnan(deltas)]
    if not heavy.size:
        return loose
    which = f" in {heavy.size} of {deltas.size} fits" if fit.each else ""
    delta = f"{np.median(heavy):.2g}"
    apart = "" if fit.each else " (`each=NAME` of seeds or runs fits them apart)"
    return [
        *loose,
        f"a few residuals outweigh the others{which}: look for a run that failed{apart}, or take "
        f"loss=Huber(delta={delta}) (in a shell, --huber {delta})",
    ]
