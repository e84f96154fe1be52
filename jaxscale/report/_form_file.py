"""`jaxscale fit --form`: a form fitted to runs, the best allocation of compute, and figures."""

import dataclasses
import functools
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxscale._table import Column, Table
from jaxscale._text import DASH, choices, number, plain_equation, unknown
from jaxscale.analysis._allocation import (
    FLOP_PER_PARAMETER_TOKEN,
    SIZES,
    OptimalAllocation,
    allocate,
    check_flop,
)
from jaxscale.analysis._calibrate import calibrate
from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._data import refuse
from jaxscale.analysis._form import FORMS, Form
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._held_out import HeldOut, held_out
from jaxscale.analysis._isoflop import LOSS, MINIMA, IsoFlop, TooFewRuns, isoflop
from jaxscale.analysis._plain import plain, write_json
from jaxscale.analysis._scales import COMPUTE
from jaxscale.report._fitted import fit_figure
from jaxscale.report._form_figure import form_figure
from jaxscale.report._form_rows import complete_rows, fitted_rows
from jaxscale.report._isoflop import isoflop_figure
from jaxscale.report._residuals import residuals_figure
from jaxscale.report._save import write_images

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

HELD_OUT = ("loss", "residual", "bounds", "weights", "bootstrap", "resample", "key")
SCALES, FEW_RUNS = 5, 4  # bins that are left out, and the fewest runs of each on average
TOO_FEW = ".* resamples are too few"  # of a warning that one fit gives for all
N_LOCATIONS = 60  # of the curves over compute


def form_named(name: str) -> Form:
    """Return a form of `js.forms`, or one that an imported module has made.

    **Raises** `ValueError` with the nearest names if there is none.
    """
    if name not in FORMS:
        raise unknown("`form`", name, FORMS)
    return FORMS[name]


@dataclasses.dataclass(frozen=True)
class FormFile:
    """A form fitted to a table.

    - `fit`: the calibration; `runs`: the rows that it has, with the names of the form.
    - `flop`: numbers of operations to allocate; `places`: inputs at which it is predicted.
    - `omitted`: how many rows it has not, by reason.
    - `held_out`: predictions of each scale by fits without it; None where `not_held_out` says why.
    - `held_out_warnings`: of these fits, which concern nothing else.
    - `options`: of `calibrate`.
    """

    fit: Calibration
    runs: "pandas.DataFrame"
    flop: tuple[float, ...] = ()
    places: tuple[Mapping[str, float], ...] = ()
    omitted: Mapping[str, int] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    held_out: HeldOut | None = None
    not_held_out: str = ""
    held_out_warnings: tuple[str, ...] = ()

    @classmethod
    def make(cls, form: Form, table: "pandas.DataFrame", *args: Any, **options: Any) -> "FormFile":
        """What `fitted` returns, `with_held_out`."""
        return cls.fitted(form, table, *args, **options).with_held_out()

    @classmethod
    def fitted(
        cls,
        form: Form,
        table: "pandas.DataFrame",
        at: Sequence[str] = (),
        fixed: Mapping[str, Any] | None = None,
        inputs: Sequence[str] = (),
        **options: Any,
    ) -> "FormFile":
        """Fit a form to a table whose columns have its names; `options` are those of `calibrate`.

        **Arguments:** `at`: numbers of operations, or places as `x=1e9,y=2e10`; `inputs`: those
        with a default of which the table has a column.

        **Raises** `ValueError` that names an invalid option, before the fit.
        """
        formula = Formula(form.function, dict(fixed or {}))
        if not formula.unset:
            raise ValueError(f"`fix` must leave a parameter of {formula.name} to fit, got all.")
        names = tuple(dict.fromkeys([*formula.inputs, *inputs]))
        flop, places = _parsed(formula.name, names, at)
        if flop and options.get("each") is not None:
            raise ValueError(
                f"`at` allocates one fit, got each={options['each']!r}: select one with --where."
            )
        _require(table, formula.result, names)
        columns = (*names, formula.result)
        aside = [options.get(n) for n in ("each", "resample", "weights")]
        runs, complete, omitted = complete_rows(table, columns, aside)
        for name in set(names) & set(SIZES):
            refuse(name, "positive and finite", runs[name], complete & ~(runs[name] > 0))
        used: Any = runs[complete]
        if len(used) < len(formula.unset) + 1:
            raise ValueError(
                f"`data` must hold more complete rows than the {len(formula.unset)} parameters of "
                f"{formula.name}, got {len(used)}{_listed(omitted)}."
            )
        fit = calibrate(formula, used, columns={n: n for n in columns}, **options)
        fitted, dropped = fitted_rows(fit, used)
        fit = dataclasses.replace(fit, n_left_out=len(table) - len(fitted))
        return cls(fit, fitted, flop, places, {**omitted, **dropped}, options)

    def with_held_out(self) -> "FormFile":
        """Add predictions of each scale by fits without it, or why there are none."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            warnings.filterwarnings("ignore", TOO_FEW)
            scores, why = self._without_scales()
        said = tuple(dict.fromkeys(str(warning.message) for warning in caught))
        parts = {"held_out": scores, "not_held_out": why, "held_out_warnings": said}
        return dataclasses.replace(self, **parts)

    def _without_scales(self) -> tuple[HeldOut | None, str]:
        """Leave scales of compute, or of the first input, out of the fit; else say why not."""
        if self.fit.each is not None:
            return None, f"there is one fit for each {self.fit.each}: select one with --where"
        by, fewest = COMPUTE if self.allocates else self.inputs[0], FEW_RUNS * SCALES
        n_locations = len(self.runs.drop_duplicates([*self.inputs]))
        if n_locations < fewest:
            needed = f"{SCALES} scales need runs at {fewest} different inputs"
            return None, f"{needed}, got {n_locations}"
        own = {n: self.options[n] for n in HELD_OUT if n in self.options}
        columns = {n: n for n in (*self.inputs, self.formula.result)}
        try:
            return held_out(self.formula, self.runs, by, n_bins=SCALES, columns=columns, **own), ""
        except ValueError as error:
            return None, str(error).rstrip(".").replace("`by`", by)

    @property
    def formula(self) -> Formula:
        """The form with its fixed values."""
        assert isinstance(self.fit.theory, Formula)
        return self.fit.theory

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs that the runs have."""
        return tuple(self.fit.inputs)

    @property
    def allocates(self) -> bool:
        """Whether the form has parameters and tokens to allocate, and nothing else."""
        return self.fit.each is None and set(self.inputs) == set(SIZES)

    @property
    def compute(self) -> Float[np.ndarray, " n"]:
        """Operations C = 6 N D of the runs."""
        n, d = (self.runs[name].to_numpy(float) for name in SIZES)
        return FLOP_PER_PARAMETER_TOKEN * n * d

    def tables(self) -> list[Table]:
        """The parameters, and what the form says of the operations and places."""
        tables = [self.parameters_table()]
        if self.flop:
            tables.append(self.allocation_table())
        if self.allocates and self.isoflop is not None:
            tables.append(Table("Runs of equal compute", self.two_exponents(self.isoflop), [], []))
        if self.places:
            tables.append(self._predictions())
        return [*tables, *self.held_out_tables()]

    def parameters_table(self) -> Table:
        """The fitted parameters with their intervals, and below them those that are fixed."""
        own = self.fit.table()
        names = [n for n in self.formula.values if n not in self.fit.free]
        fixed = ", ".join(f"{n} = {self.formula.values[n]:g}" for n in names)
        said = f"; fixed: {fixed}" if fixed else ""
        note = f"{own.note}{said}{_listed(self.omitted)}"
        return dataclasses.replace(own, title=_title(self.formula), note=note)

    def held_out_tables(self) -> list[Table]:
        """The scores of scales that were left out, or why there are none."""
        if self.held_out is not None:
            own = self.held_out.table()
            said = "".join(f"; of these fits, {text}" for text in self.held_out_warnings)
            note = f"Each scale of {self.held_out.by} fitted without: {own.note}{said}"
            return [dataclasses.replace(own, title="Held out", note=note)]
        why = self.not_held_out
        return [Table("Held out", f"no scores: {why}", [], [])] if why else []

    def two_exponents(self, parabolas: IsoFlop) -> str:
        """What parabolas say of the best N beside what the form says."""
        middle = np.exp(np.log(self.compute).mean(keepdims=True))
        own = allocate(self.fit, middle)
        low, high = (float(end[0]) for end in own.exponent_interval)
        ends = f" ({low:.3f} to {high:.3f})" if np.isfinite(low) else ""
        return (
            f"{parabolas}. By the form the exponent is {own.exponent[0]:.3f}{ends}: where the two "
            "differ beyond their intervals, the form or the parabolas fail for these runs."
        )

    @functools.cached_property
    def allocated(self) -> OptimalAllocation:
        """The best allocation of the operations."""
        return allocate(self.fit, np.asarray(self.flop))

    def allocation_table(self) -> Table:
        """The best allocation of the operations."""
        best, rows = self.allocated, []
        for i, c in enumerate(self.flop):
            for name, values in best.best.items():
                low, high = (float(end[i]) for end in best.interval[name])
                rows.append((f"{c:g}", name, number(float(values[i]), ".4g"), _ends(low, high)))
            low, high = (float(end[i]) for end in best.exponent_interval)
            exponent = number(float(best.exponent[i]), ".3f")
            rows.append((f"{c:g}", "exponent of N", exponent, _ends(low, high)))
        span = f"The runs have C from {self.compute.min():.2g} to {self.compute.max():.2g}"
        outside = zip(self.flop, best.decades_outside, strict=True)
        far = [f"{c:g} by {d:.1f} decades" for c, d in outside if d > 0]
        beyond = f"; C, N or D outside of theirs: {', '.join(far)}" if far else ""
        note = f"{span}{beyond}."
        header = [Column("flop"), Column("best"), Column("value", True), Column("95 %", True)]
        return Table("Best allocation of C = 6 N D", note, header, rows).filled

    def _predictions(self) -> Table:
        y, each = self.formula.result, self.fit.each

        def label(row: Mapping[Any, Any]) -> list[str]:
            return [] if each is None else [f"{each}={row[each]}"]

        rows = [
            (
                ", ".join([*label(row), *(f"{n}={row[n]:g}" for n in self.inputs)]),
                number(row[y], ".5g"),
                _ends(row[f"{y}_low"], row[f"{y}_high"]),
                _ends(row["new_low"], row["new_high"]),
                f"{row['decades_outside']:.1f}",
            )
            for row in self._predicted.to_dict("records")
        ]
        header = [Column("at"), *(Column(n, True) for n in (y, "95 %", "a new run", "decades"))]
        table = Table("Predictions", "", header, rows).filled
        given = ["95 % of the mean and of a new run"] * (len(table.header) == len(header))
        note = "; ".join([*given, "decades outside of the inputs of the runs"])
        return dataclasses.replace(table, note=note)

    @functools.cached_property
    def _predicted(self) -> "pandas.DataFrame":
        """What the form says at the places."""
        columns: dict[str, Any] = {n: [place[n] for place in self.places] for n in self.inputs}
        return self.fit.predict(**columns)

    def figures(self) -> "dict[str, Callable[[], matplotlib.figure.Figure]]":
        """What draws each figure, by the end of its file name."""
        drawn: dict[str, Callable[[], Any]] = {"": self._fit_figure}
        if self.allocates:
            drawn[""] = self.allocation_figure
            drawn |= {} if self.isoflop is None else {"isoflop": self._isoflop_figure}
        return {**drawn, "residuals": lambda: residuals_figure(self.fit)}

    @functools.cached_property
    def isoflop(self) -> IsoFlop | None:
        """Parabolas of the runs of each compute, 6 N D; None for under three minima.

        Also for what is no loss, or not positive.
        """
        if self.formula.result != LOSS or not np.all(self.runs[LOSS] > 0):
            return None
        own = {n: self.options.get(n) for n in ("bootstrap", "key")}
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", TOO_FEW)  # the fit said so
                runs = self.runs[[*SIZES, LOSS]]
                made = isoflop(runs, **{n: v for n, v in own.items() if v is not None})
        except TooFewRuns:
            return None
        return made if len(made.groups) - made.n_without >= MINIMA else None

    def _isoflop_figure(self) -> "matplotlib.figure.Figure":
        assert self.isoflop is not None
        return isoflop_figure(self.isoflop)

    def _fit_figure(self) -> "matplotlib.figure.Figure":
        return fit_figure(self.fit, self.runs, {n: n for n in self.inputs})

    def allocation_figure(self) -> "matplotlib.figure.Figure":
        """Draw loss and allocation over compute, with 95 % bands, and measured over fitted loss."""
        spanned = np.concatenate([self.compute, self.flop])
        flop = np.geomspace(spanned.min(), spanned.max(), N_LOCATIONS)
        return form_figure(self.fit, self.runs, self.compute, allocate(self.fit, flop))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        numbers: dict[str, Any] = self.fit.to_dict()
        if self.flop:
            rows = self.allocated.table().to_dict("records")
            numbers["optimal_allocation"] = [plain(row) for row in rows]
        if self.places:
            numbers["predictions"] = [plain(row) for row in self._predicted.to_dict("records")]
        numbers |= {"left_out": dict(self.omitted), "held_out": None}
        if self.allocates and (parabolas := self.isoflop) is not None:
            best = {"exponent": parabolas.a, "interval": parabolas.interval}
            best["interval_by"] = "scatter of the minima" if parabolas.by_scatter else "refits"
            counts = {"groups": len(parabolas.groups), "without_minimum": parabolas.n_without}
            numbers["isoflop"] = plain({**best, **counts})
        if self.held_out is not None:
            scores = {n: getattr(self.held_out, n) for n in ("rms", "bias", "coverage", "by")}
            rows = self.held_out.scales.to_dict("records")
            said = {"warnings": self.held_out_warnings}
            numbers["held_out"] = plain({**scores, "scales": rows, **said})
        return numbers

    def write(self, stem: str) -> list[str]:
        """Write the numbers as JSON, figures as SVG and PNG; return the paths."""
        write_json(self.to_dict(), f"{stem}.json")
        paths = [f"{stem}.json"]
        for end, draw in self.figures().items():
            path = f"{stem}-{end}" if end else stem
            write_images(draw(), Path(path))
            paths += [f"{path}.svg", f"{path}.png"]
        return paths


def _title(formula: Formula) -> str:
    equation = "" if formula.form is None else formula.form.equation
    return f"{formula.name}: {plain_equation(equation)}" if equation else formula.name


def _ends(low: float, high: float) -> str:
    """An interval, or a dash where there is none."""
    return DASH if np.isnan(low + high) else f"{low:.3g} to {high:.3g}"


def _require(table: "pandas.DataFrame", result: str, inputs: Sequence[str]) -> None:
    """Refuse a table that lacks a column, with the option that names it."""
    for name in (*inputs, result):
        if name not in table:
            option = "--y COLUMN" if name == result else f"--x {name}=COLUMN"
            hint = choices(name, map(str, table.columns))
            raise ValueError(f"`data` has no column {name!r}: give {option}{hint}")


def _listed(omitted: Mapping[str, int]) -> str:
    """The end of a sentence that says how many rows are left out for what reason."""
    parts = [f"{n} {why}" for why, n in omitted.items()]
    return f"; rows left out: {', '.join(parts)}" if parts else ""


def _parsed(
    form: str, names: Sequence[str], at: Sequence[str]
) -> tuple[tuple[float, ...], tuple[dict[str, float], ...]]:
    """Numbers of operations, and places, of the texts of `--at`."""
    flop: list[float] = []
    places: list[dict[str, float]] = []
    wanted = ",".join(f"{n}=number" for n in names)
    for text in at:
        try:
            if "=" not in text:
                flop.append(float(text))
                continue
            parts = [part.partition("=") for part in text.split(",")]
            place = {n.strip(): float(v) for n, _, v in parts}
        except ValueError:
            several = "; give each an --at of its own" if "," in text and "=" not in text else ""
            forms = f"a number or input=number{several}"
            raise ValueError(f"`at` must be {forms}, got {text!r}.") from None
        if set(place) != set(names) or len(place) < len(parts):
            own = f"the inputs of {form}, whatever their columns are called"
            raise ValueError(f"`at` must give {wanted} ({own}), got {text!r}.")
        places.append(place)
    if flop and set(names) != set(SIZES):
        raise ValueError(f"`at` must give {wanted}, got {flop[0]:g}: {form} allocates no compute.")
    check_flop(flop)
    return tuple(flop), tuple(places)
