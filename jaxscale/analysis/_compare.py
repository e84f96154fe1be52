"""Simulation against closed form: one z-score per point, one threshold for all of them."""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._arguments import hinted
from jaxscale._labels import match_labels
from jaxscale._status import STATUS
from jaxscale._table import Column, Table
from jaxscale._text import as_text, counted, number, unknown
from jaxscale.analysis._claim import SEEDS_FOR_VERDICT
from jaxscale.analysis._data import USED, require_dataset, without_failed
from jaxscale.analysis._plain import plain
from jaxscale.analysis._points import ComparedPoints, resolve

if TYPE_CHECKING:
    import rich.console
    import xarray

NOT_IN_RUNS = "not in runs"  # why theory of an observable is compared with nothing


@dataclasses.dataclass(frozen=True)
class Row:
    """Comparison of one observable.

    - `predicted`: kind of its closed form (exact, asymptotic, calibrated).
    - `n_compared`: points with a z-score.
    - `n_deterministic`: points at which all seeds are equal: relative error only.
    - `n_unresolved`: points at which spread and difference are below the resolution: no z-score.
    - `n_no_theory`, `n_few_seeds`: points without a z-score for lack of theory, or of seeds.
    - `max_z`, `quantile`, `at`: the z-score that comes nearest to its quantile, and where it is.
    - `max_error`, `rms_error`: relative errors of the mean, where theory is not 0 to rounding.
    - `deterministic_error`: the largest of them at the deterministic points.
    - `uncalibrated`: fields by which the theory is to be calibrated, and has not been.
    """

    observable: str
    predicted: str
    n_compared: int
    n_deterministic: int
    n_unresolved: int
    n_no_theory: int
    n_few_seeds: int
    max_z: float
    quantile: float
    at: dict[str, Any]
    max_error: float
    rms_error: float
    deterministic_error: float
    uncalibrated: str = ""

    @property
    def passed(self) -> bool:
        """Whether there are z-scores and all of them are below the quantile."""
        return self.n_compared > 0 and abs(self.max_z) <= self.quantile


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Result of `compare`, one row per observable; print it.

    - `not_compared`: observable to the reason why it has no row.
    - `n_seeds`, `n_failed`: seeds, and runs masked because they ended badly or never ran.
    - `fewest_seeds`: at a point with a z-score, where runs are masked; `n_seeds` without one.
    - `n_comparisons`: z-scores over all observables; they share `alpha`.
    - `resolution`: fraction of max |theory| below which differences are unresolved, see `compare`.
    - `quantile`: threshold of |z| with the fewest seeds; NaN where there is no z-score.
    - `not_in_theory`: dimension to the values of `runs` that theory lacks.
    """

    rows: tuple[Row, ...]
    not_compared: dict[str, str]
    n_seeds: int
    fewest_seeds: int
    n_failed: int
    n_comparisons: int
    alpha: float
    resolution: float
    quantile: float
    not_in_theory: dict[str, list[Any]] = dataclasses.field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether there are z-scores of 8 seeds or more, all of them below the quantile."""
        if self.n_seeds < SEEDS_FOR_VERDICT:
            return False
        return self.n_comparisons > 0 and all(row.passed for row in self.rows if row.n_compared)

    @property
    def verdict(self) -> str:
        """One sentence: passed, failed, or why there is no verdict."""
        lacking = "".join(
            f", without theory of {counted(len(values), 'value')} of {dim}"
            for dim, values in self.not_in_theory.items()
        )
        if self.n_seeds < SEEDS_FOR_VERDICT:
            short = f"it takes {SEEDS_FOR_VERDICT} seeds, there are {self.n_seeds}"
            return f"no verdict: {short}{lacking}"
        if not self.n_comparisons:
            n_few = sum(row.n_few_seeds for row in self.rows)
            few = f", {counted(n_few, 'point')} with fewer than {SEEDS_FOR_VERDICT} seeds"
            return f"no verdict: no point has a z-score{few if n_few else ''}{lacking}"
        text = f"{'passed' if self.passed else 'failed'}: {self.n_comparisons} z-scores"
        fields = dict.fromkeys(row.uncalibrated for row in self.rows if row.uncalibrated)
        text += f" of a theory that is not calibrated ({', '.join(fields)})" if fields else ""
        others = [name for name, why in self.not_compared.items() if why != NOT_IN_RUNS]
        text += f", none of {', '.join(others)}" if others else ""
        unresolved = sum(row.n_unresolved for row in self.rows)
        text += f", {unresolved} points unresolved" if unresolved else ""
        untested = sum(row.n_no_theory + row.n_few_seeds for row in self.rows)
        text += f", {untested} points without one" if untested else ""
        text += lacking
        text += f", {counted(self.n_failed, 'run')} masked" if self.n_failed else ""
        fewer = f"{self.fewest_seeds} to " if self.fewest_seeds < self.n_seeds else ""
        limit = f"|z| <= {self.quantile:.2f} at alpha = {self.alpha:g}"
        return f"{text}, {fewer}{self.n_seeds} seeds, {limit}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a number that is not finite becomes None."""
        table = {**dataclasses.asdict(self), "passed": self.passed, "verdict": self.verdict}
        rows = [{**dataclasses.asdict(row), "passed": row.passed} for row in self.rows]
        return plain({**table, "rows": rows})

    def __rich__(self) -> "rich.console.Group":
        from rich.console import Group

        numbers = ("points", "max |z|", "quantile", "max error", "rms error")
        header = ["observable", Column("theory"), *numbers, Column("at")]
        rows = []
        for row in self.rows:
            at = ", ".join(f"{k}={v}" for k, v in row.at.items())
            values = (abs(row.max_z), row.quantile, row.max_error, row.rms_error)
            shown = (number(v, ".3g") for v in values)
            rows.append((row.observable, row.predicted, str(row.n_compared), *shown, at))
        table = Table("Simulation against theory", "", header, rows)
        lines = []
        for row in self.rows:
            if row.n_deterministic:
                lines.append(
                    f"{row.observable}: {row.n_deterministic} points are equal for all seeds, "
                    f"relative error at most {row.deterministic_error:.3g}"
                )
            if row.n_unresolved:
                lines.append(
                    f"{row.observable}: {row.n_unresolved} points are unresolved: "
                    f"spread and |difference| below {self.resolution:g} max |theory|"
                )
            if row.uncalibrated:
                lines.append(f"{row.observable}: theory is not calibrated, fit {row.uncalibrated}")
            few = f"with fewer than {_least(self.n_seeds)} seeds"
            whys = {"without theory": row.n_no_theory, few: row.n_few_seeds}
            if untested := [f"{counted(n, 'point')} {why}" for why, n in whys.items() if n]:
                lines.append(f"{row.observable}: no z-score at {' and '.join(untested)}")
        lines += [f"masked: {self.n_failed} failed or missing runs"] if self.n_failed else []
        for dim, values in self.not_in_theory.items():
            ends = f"{values[0]}" + (f" to {values[-1]}" if len(values) > 1 else "")
            lines.append(f"not compared: {dim} {ends}, not in theory")
        lines += [f"not compared: {name}, {why}" for name, why in self.not_compared.items()]
        return Group(table, *lines, self.verdict)

    def __str__(self) -> str:
        return as_text(self)


@hinted
def compare(
    runs: "xarray.Dataset",
    theory: "xarray.Dataset | None" = None,
    *,
    alpha: float = 1e-3,
    allowance: Mapping[str, Any] | None = None,
    resolution: float = 1e-4,
) -> Comparison:
    r"""Compare every observable that was both simulated and predicted.

    $$z = \frac{\bar y - y_\text{theory}}{s / \sqrt{n}}, \qquad
    |z| \le t_{1 - \alpha / 2 N,\, n - 1}$$

    at each of N points, with n seeds. Runs that ended badly are masked; a point that keeps fewer
    than 8 seeds has no z-score (fewer than 2 where there were no 8, and then there is no verdict).
    Points at which all seeds are equal to rounding have a relative error, no z-score and no part in
    the verdict.

    So have unresolved points: both max - min over seeds and |difference|, less its allowance, are
    below `resolution` times max |theory| of the observable. A mean over n seeds cannot see what
    happens in fewer than one of n runs: where only such runs differ, s is near 0 and z has no
    meaning. A larger difference keeps its z-score, however small the spread.

    **Arguments**

    - `runs`: result of `js.run`, with dimension `seed` and variable `status` where it has them.
    - `theory`: result of `js.predict`, matched to `runs` by coordinates; it needs no dimension on
      which it does not depend.
    - `alpha`: probability with which a correct theory is refused, over all points together.
    - `allowance`: observable to a bound on a systematic difference (a number, a DataArray or
      an array that broadcasts to the theory), taken off |difference| before the z-score.
    - `resolution`: differences below this fraction of max |theory| are not tested where all seeds
      agree to it; 0 tests them all. Lower it for a tail far below max |theory|: a wrong tail below
      it passes.

    **Returns** a `Comparison`.

    **Raises** `ValueError` for a bad `alpha`, `allowance` or `resolution`, or a `theory` that does
    not match.

    **Reference** Dunn, J. Am. Stat. Assoc. 56 (1961) 52, for the shared threshold.

    **Example**

    >>> import xarray
    >>> noise = np.random.default_rng(0).normal(size=(16, 3))
    >>> runs = xarray.Dataset({"loss": (("seed", "step"), 1 + 0.1 * noise)})
    >>> theory = xarray.Dataset({"loss": ("step", np.ones(3))})
    >>> js.compare(runs, theory).verdict
    'passed: 3 z-scores, 16 seeds, |z| <= 4.62 at alpha = 0.001'
    """
    if not 0 < alpha < 1:
        raise ValueError(f"`alpha` must lie between 0 and 1, got {alpha!r}.")
    if not 0 <= resolution < 1:
        raise ValueError(f"`resolution` must be at least 0 and below 1, got {resolution!r}.")
    if theory is None:
        raise ValueError("`theory` must be given: js.compare(runs, js.predict(grid)).")
    for name, given in (("runs", runs), ("theory", theory)):
        require_dataset(name, given)
    shared = [str(name) for name in runs.data_vars if name in theory.data_vars and name != STATUS]
    if not shared:
        reason = theory.attrs.get("no_theory", f"got {list(theory)}")
        raise ValueError(f"`theory` must predict an observable of runs; {reason}.")
    bounds = dict(allowance or {})
    for name in (name for name in bounds if name not in shared):
        raise unknown("`allowance`", name, shared)
    n_failed = int((~runs[STATUS].isin(USED)).sum()) if STATUS in runs else 0
    used = {n: without_failed(runs, n) for n in shared}
    n_seeds = runs.sizes.get("seed", 1)
    least = _least(n_seeds)
    points = [resolve(used[n], theory[n], bounds.get(n, 0.0), resolution, least) for n in shared]
    n_comparisons = sum(int(np.isfinite(p.z).sum()) for p in points)
    fewest = min((int(p.n[np.isfinite(p.z)].min(initial=n_seeds)) for p in points), default=n_seeds)
    share = alpha / (2 * max(n_comparisons, 1))
    return Comparison(
        rows=tuple(
            _row(p, share, least, theory[p.name].attrs.get("uncalibrated", "")) for p in points
        ),
        not_compared=_not_compared(runs, theory),
        n_seeds=n_seeds,
        fewest_seeds=fewest,
        n_failed=n_failed,
        n_comparisons=n_comparisons,
        alpha=alpha,
        resolution=resolution,
        quantile=float(_quantile(np.asarray(fewest), share)) if n_comparisons else math.nan,
        not_in_theory=_not_in_theory(runs, theory, shared),
    )


def _quantile(n: np.ndarray, share: float) -> Any:
    from scipy.special import stdtrit

    return -stdtrit(np.maximum(n - 1, 1), share)


def _least(n_seeds: int) -> int:
    """Seeds of a point with a z-score."""
    return SEEDS_FOR_VERDICT if n_seeds >= SEEDS_FOR_VERDICT else 2


def _row(p: ComparedPoints, share: float, least: int, uncalibrated: str) -> Row:
    has_z, has_theory = np.isfinite(p.z), np.isfinite(p.theory)
    few = (p.n < least) & ~p.deterministic & ~p.unresolved
    usable = np.isfinite(p.error)
    max_z, quantile, at = math.nan, math.nan, {}
    if has_z.any():
        quantiles = _quantile(p.n, share)
        ratio = np.where(has_z, np.abs(p.z) / quantiles, -1.0)
        worst = np.unravel_index(np.argmax(ratio), ratio.shape)
        max_z, quantile = float(p.z[worst]), float(quantiles[worst])
        point = p.mean[worst]
        at = {str(d): point[d].item() for d in p.mean.dims if d in point.coords}
    return Row(
        observable=p.name,
        predicted=p.predicted,
        n_compared=int(has_z.sum()),
        n_deterministic=int(p.deterministic.sum()),
        n_unresolved=int(p.unresolved.sum()),
        n_no_theory=int((~has_theory & (p.n > 0)).sum()),
        n_few_seeds=int((has_theory & few).sum()),
        max_z=max_z,
        quantile=quantile,
        at=at,
        max_error=_largest(p.error[usable]),
        rms_error=float(np.sqrt(np.mean(p.error[usable] ** 2))) if usable.any() else math.nan,
        deterministic_error=_largest(p.error[usable & p.deterministic]),
        uncalibrated=uncalibrated,
    )


def _largest(values: np.ndarray) -> float:
    return float(values.max()) if values.size else math.nan


def _not_in_theory(runs: Any, theory: Any, shared: list[str]) -> dict[str, list[Any]]:
    dims = dict.fromkeys(str(d) for name in shared for d in theory[name].dims)
    lacking = {}
    for dim in [d for d in dims if d in runs.indexes and d in theory.indexes]:
        given = np.asarray(runs[dim])
        if values := given[match_labels(np.asarray(theory[dim]), given) < 0].tolist():
            lacking[dim] = values
    return lacking


def _not_compared(runs: Any, theory: Any) -> dict[str, str]:
    reasons = {}
    for name in map(str, runs.data_vars):
        if name not in theory and name != STATUS:
            kind = str(runs[name].attrs.get("predicted", "none"))
            missing = f"the closed form ({kind}) is not in theory"
            why = str(runs[name].attrs.get("no_theory") or "no closed form")
            reasons[name] = why if kind == "none" else missing
    return reasons | {str(n): NOT_IN_RUNS for n in theory.data_vars if n not in runs}
