"""`jaxscale fit --form`: a form fitted to runs, the best allocation of compute, and figures."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxscale._table import Column, Table
from jaxscale._text import choices, counted, number, unknown
from jaxscale.analysis._allocation import (
    FLOP_PER_PARAMETER_TOKEN,
    SIZES,
    OptimalAllocation,
    allocate,
    check_flop,
)
from jaxscale.analysis._calibrate import calibrate
from jaxscale.analysis._calibration import Calibration
from jaxscale.analysis._data import as_numbers, refuse
from jaxscale.analysis._form import FORMS, Form
from jaxscale.analysis._formula import Formula
from jaxscale.analysis._held_out import HeldOut, held_out
from jaxscale.analysis._isoflop import IsoFlop, isoflop
from jaxscale.analysis._plain import plain, write_json
from jaxscale.analysis._scales import COMPUTE
from jaxscale.report._figures import (
    BELOW,
    OKABE_ITO,
    darker,
    dashed,
    drawable,
    label_ends,
    logs,
    new_figure,
    not_drawn,
)
from jaxscale.report._fitted import fit_figure
from jaxscale.report._isoflop import isoflop_figure
from jaxscale.report._residuals import residuals_figure
from jaxscale.report._save import write_images

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

SCALES, FEW_RUNS = 5, 4  # bins that are left out, and the fewest runs of each on average
N_PLACES = 60  # of the curves over compute
POINTS: dict[str, Any] = {"ls": "", "marker": "o", "ms": 3, "mew": 0, "alpha": 0.45}


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

    - `fit`: the calibration; `runs`: the rows that were fitted, with the names of the form.
    - `flop`: numbers of operations to allocate; `places`: inputs at which it is predicted.
    - `held_out`: predictions of each scale by fits without it; None where there are too few.
    """

    fit: Calibration
    runs: "pandas.DataFrame"
    flop: tuple[float, ...] = ()
    places: tuple[Mapping[str, float], ...] = ()
    held_out: HeldOut | None = None

    @classmethod
    def make(
        cls,
        form: Form,
        table: "pandas.DataFrame",
        at: Sequence[str] = (),
        fixed: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> "FormFile":
        """Fit a form to a table whose columns have its names; `options` are those of `calibrate`.

        **Arguments:** `at`: numbers of operations, or places as `x=1e9,y=2e10`.

        **Raises** `ValueError` that names an invalid option, before the fit.
        """
        formula = Formula(form.function, dict(fixed or {}))
        flop, places = _parsed(formula, at)
        if flop and options.get("each") is not None:
            raise ValueError(
                f"`at` allocates one fit, got each={options['each']!r}: select one with --where."
            )
        for name in (*formula.inputs, formula.result):
            if name not in table:
                option = "--y COLUMN" if name == formula.result else f"--x {name}=COLUMN"
                hint = choices(name, map(str, table.columns))
                raise ValueError(f"`data` has no column {name!r}: give {option}{hint}")
        runs = as_numbers(table, [*formula.inputs, formula.result])
        used: Any = runs[np.isfinite(runs[[*formula.inputs, formula.result]]).all(axis=1)]
        for name in set(formula.inputs) & set(SIZES):
            refuse(name, "positive and finite", used[name], ~(used[name] > 0))
        if len(used) < len(formula.unset) + 1:
            raise ValueError(
                f"`data` must hold more complete rows than the {len(formula.unset)} parameters of "
                f"{formula.name}, got {len(used)}."
            )
        columns = {n: n for n in (*formula.inputs, formula.result)}
        fit = calibrate(formula, used, columns=columns, **options)
        n_left_out = fit.n_left_out + len(runs) - len(used)
        made = cls(dataclasses.replace(fit, n_left_out=n_left_out), used, flop, places)
        return dataclasses.replace(made, held_out=made._without_scales(options))

    def _without_scales(self, options: Mapping[str, Any]) -> HeldOut | None:
        """Leave scales of compute, or of the first input, out of the fit."""
        by = COMPUTE if self.allocates else self.formula.inputs[0]
        n_places = len(self.runs.drop_duplicates([*self.formula.inputs]))
        if self.fit.each is not None or n_places < FEW_RUNS * SCALES:
            return None
        own = {n: options[n] for n in ("loss", "residual", "bounds", "weights") if n in options}
        names = (*self.formula.inputs, self.formula.result)
        return held_out(
            self.formula, self.runs, by, n_bins=SCALES, columns={n: n for n in names}, **own
        )

    @property
    def formula(self) -> Formula:
        """The form with its fixed values."""
        assert isinstance(self.fit.theory, Formula)
        return self.fit.theory

    @property
    def allocates(self) -> bool:
        """Whether the form has parameters and tokens to allocate, and nothing else."""
        return self.fit.each is None and set(self.formula.inputs) == set(SIZES)

    @property
    def compute(self) -> Float[np.ndarray, " n"]:
        """Operations C = 6 N D of the runs."""
        n, d = (self.runs[name].to_numpy(float) for name in SIZES)
        return FLOP_PER_PARAMETER_TOKEN * n * d

    def tables(self) -> list[Table]:
        """The parameters, and what the form says of the operations and places."""
        tables = [dataclasses.replace(self.fit.table(), title=_title(self.formula))]
        if self.flop:
            tables.append(self._allocation_table())
        if self.places:
            tables.append(self._predictions())
        if self.held_out is not None:
            own = self.held_out.table()
            note = f"Each scale of {self.held_out.by} fitted without: {own.note}"
            tables.append(dataclasses.replace(own, title="Held out", note=note))
        return tables

    @functools.cached_property
    def _allocated(self) -> OptimalAllocation:
        """The best allocation of the operations."""
        return allocate(self.fit, np.asarray(self.flop))

    def _allocation_table(self) -> Table:
        best, rows = self._allocated, []
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
        note = f"{span}; {', '.join(far)} beyond." if far else f"{span}."
        header = [Column("flop"), Column("best"), Column("value", True), Column("95 %", True)]
        return Table("Best allocation of C = 6 N D", note, header, rows)

    def _predictions(self) -> Table:
        y, each = self.formula.result, self.fit.each

        def label(row: Mapping[Any, Any]) -> list[str]:
            return [] if each is None else [f"{each}={row[each]}"]

        rows = [
            (
                ", ".join([*label(row), *(f"{n}={row[n]:g}" for n in self.formula.inputs)]),
                number(row[y], ".5g"),
                _ends(row[f"{y}_low"], row[f"{y}_high"]),
                _ends(row["new_low"], row["new_high"]),
                f"{row['decades_outside']:.1f}",
            )
            for row in self._predicted.to_dict("records")
        ]
        header = [Column("at"), *(Column(n, True) for n in (y, "95 %", "a new run", "decades"))]
        note = "95 % of the mean and of a new run; decades outside of the inputs of the runs"
        return Table("Predictions", note, header, rows)

    @functools.cached_property
    def _predicted(self) -> "pandas.DataFrame":
        """What the form says at the places."""
        columns: dict[str, Any] = {
            n: [place[n] for place in self.places] for n in self.formula.inputs
        }
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
        """Parabolas of the runs of each compute; None for under three minima."""
        try:
            made = isoflop(self.runs)
        except ValueError:
            return None
        return made if np.isfinite(made.interval).all() else None

    def _isoflop_figure(self) -> "matplotlib.figure.Figure":
        assert self.isoflop is not None
        return isoflop_figure(self.isoflop)

    def _fit_figure(self) -> "matplotlib.figure.Figure":
        return fit_figure(self.fit, self.runs)

    def allocation_figure(self) -> "matplotlib.figure.Figure":
        """Draw loss and allocation over compute, with 95 % bands, and measured over fitted loss.

        Titles say which curves are infinite or undefined somewhere, and are not drawn there.
        """
        blue, orange = OKABE_ITO[:2]
        figure, grid = new_figure(3)
        y, c = self.formula.result, self.compute
        spanned = np.concatenate([c, self.flop])
        places = np.geomspace(spanned.min(), spanned.max(), N_PLACES)
        made = allocate(self.fit, places)
        ends: list[Any] = []
        hidden: tuple[list[str], ...] = ([], [], [])
        for name, i, text, color in (
            (y, 0, "", blue), ("n_parameters", 1, "best N", blue), ("n_tokens", 1, "best D", orange)
        ):  # fmt: skip
            axes, curve = grid[0, i], drawable(made.best[name], log=True)
            ends += [(float(places[-1]), float(curve[-1]), text, darker(color))] if i else []
            axes.plot(c, self.runs[name], color=color, label=name, **POINTS)
            dashed(axes, places, curve, color, name, **BELOW)
            band = [drawable(end, log=True) for end in made.interval[name]]
            if not np.isnan(band).all():
                axes.fill_between(places, *band, color=color, alpha=0.2, lw=0)
            for what, values in ((text or name, [curve]), (f"band of {text or name}", band)):
                hidden[i].extend([what] if np.isnan(values).any() else [])
        with np.errstate(all="ignore"):
            fitted = self.formula.replaced(self.fit.values).predicted(
                **{n: self.runs[n].to_numpy(float) for n in self.formula.inputs}
            )
            ratio = drawable(self.runs[y].to_numpy(float) / fitted[y].to_numpy(float))
        hidden[2].extend([counted(n, "run")] if (n := int(np.isnan(ratio).sum())) else [])
        grid[0, 2].plot(c, ratio, color=blue, **POINTS)
        grid[0, 2].axhline(1.0, color="#444444", lw=1.0)
        logs(grid[0, 0])
        logs(grid[0, 1])
        grid[0, 2].set_xscale("linear" if np.isnan(ratio).all() else "log")
        label_ends(grid[0, 1], ends)
        labels = (y, "parameters N, tokens D", f"measured {y} / fitted")
        titles = (
            "runs; dashed, at the best N and D, 95 % band",
            "runs; dashed, the best, 95 % band",
            "",
        )
        for axes, label, title, out in zip(grid[0], labels, titles, hidden, strict=True):
            axes.set_xlabel("C = 6 N D, operations")
            axes.set_ylabel(label)
            axes.set_title(f"{title}{not_drawn(out)}".strip(), fontsize=9)
        return figure

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        numbers: dict[str, Any] = self.fit.to_dict()
        if self.flop:
            rows = self._allocated.table().to_dict("records")
            numbers["optimal_allocation"] = [plain(row) for row in rows]
        if self.places:
            numbers["predictions"] = [plain(row) for row in self._predicted.to_dict("records")]
        if self.held_out is not None:
            scores = {n: getattr(self.held_out, n) for n in ("rms", "bias", "coverage", "by")}
            rows = self.held_out.scales.to_dict("records")
            numbers["held_out"] = plain({**scores, "scales": rows})
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
    return f"{formula.name}: {equation}" if equation else formula.name


def _ends(low: float, high: float) -> str:
    """An interval, or a dash where there is none."""
    return "–" if np.isnan(low + high) else f"{low:.3g} to {high:.3g}"


def _parsed(
    formula: Formula, at: Sequence[str]
) -> tuple[tuple[float, ...], tuple[dict[str, float], ...]]:
    """Numbers of operations, and places, of the texts of `--at`."""
    names = formula.inputs
    flop: list[float] = []
    places: list[dict[str, float]] = []
    for text in at:
        try:
            if "=" not in text and len(names) > 1:
                flop.append(float(text))
                continue
            parts = (text if "=" in text else f"{''.join(names)}={text}").split(",")
            place = {n.strip(): float(v) for n, _, v in (p.partition("=") for p in parts)}
        except ValueError:
            raise ValueError(f"`at` must be a number or input=number, got {text!r}.") from None
        if set(place) != set(names):
            raise ValueError(f"`at` must give {', '.join(names)}, got {text!r}.")
        places.append(place)
    if flop and set(names) != set(SIZES):
        wanted = ", ".join(f"{n}=number" for n in names)
        raise ValueError(f"`at` must give {wanted}: {formula.name} allocates no compute.")
    check_flop(flop)
    return tuple(flop), tuple(places)
