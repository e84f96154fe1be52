"""`jaxscale surface`: training runs in a CSV file, the fitted loss surface, and its allocation."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from jaxscale._files import require_file
from jaxscale._table import Column, Table
from jaxscale._text import choices, counted, number, unknown
from jaxscale.analysis._allocation import FLOP_PER_PARAMETER_TOKEN, check_flop
from jaxscale.analysis._data import as_numbers, as_table
from jaxscale.analysis._loss_surface import COLUMNS, LossSurface, fit_loss_surface
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
from jaxscale.report._fit_file import pairs, selected_rows
from jaxscale.report._save import write_images

if TYPE_CHECKING:
    import matplotlib.figure
    import pandas

N_PLACES = 60  # of the curves over compute
POINTS: dict[str, Any] = {"ls": "", "marker": "o", "ms": 3, "mew": 0, "alpha": 0.45}


@dataclasses.dataclass(frozen=True)
class SurfaceFile:
    """A surface fitted to a table, and the operations to allocate."""

    surface: LossSurface
    runs: "pandas.DataFrame"
    flop: tuple[float, ...]

    @classmethod
    def fit(
        cls,
        data: str,
        x: Sequence[str],
        y: str | None,
        where: Sequence[str],
        flop: Sequence[float],
        **options: Any,
    ) -> "SurfaceFile":
        """Fit the surface to a CSV file; `options` are those of `fit_loss_surface`.

        **Raises** `ValueError` that names an invalid option, before the fit.
        """
        check_flop(flop)
        require_file("data", Path(data))
        columns = {} if y is None else {"loss": y}
        for name, column in pairs("x", x):
            if name not in COLUMNS[:2]:
                raise unknown("`x`", name, COLUMNS[:2])
            columns[name] = column
        table = as_table(data, columns)
        for name, option in zip(
            COLUMNS, ("--x n_parameters=", "--x n_tokens=", "--y "), strict=True
        ):
            if name not in table:
                hint = choices(name, map(str, table.columns))
                raise ValueError(f"`data` has no column {name!r}: give {option}COLUMN{hint}")
        runs = as_numbers(selected_rows(table, where), COLUMNS)
        surface = fit_loss_surface(runs, **options)
        used: Any = runs[np.isfinite(runs[[*COLUMNS]]).all(axis=1)]
        return cls(surface, used, tuple(flop))

    @property
    def sizes(self) -> list[Float[np.ndarray, " n"]]:
        """Parameters and tokens of the runs."""
        return [self.runs[name].to_numpy(float) for name in COLUMNS[:2]]

    @property
    def compute(self) -> Float[np.ndarray, " n"]:
        """Operations C = 6 N D of the runs."""
        n, d = self.sizes
        return FLOP_PER_PARAMETER_TOKEN * n * d

    def tables(self) -> list[Table]:
        """The parameters, and the best allocation of every number of operations."""
        fitted = self.surface.to_dict(self.flop)
        values = {**fitted["values"], **fitted["allocation"]}
        header = [
            Column("parameter"),
            *(Column(n, number=True) for n in ("value", "95 % by bootstrap")),
        ]
        rows = [(n, number(v, ".5g"), _ends(fitted, n, ".4g")) for n, v in values.items()]
        parts = [
            counted(fitted["n_runs"], "run"),
            f"rms error of ln loss {number(fitted['rms'], '.3g')}",
        ]
        n_left_out = fitted["n_left_out"]
        parts += [f"{n_left_out} left out"] if n_left_out else []
        parts += [] if fitted["converged"] else ["the fit did not converge"]
        parts += [f"intervals: {self.surface.fit.method}"]
        end = "." if self.flop else "; --flop C prints them."
        note = f"{', '.join(parts)}. The best N grows as C^a, the best D as C^b, C = 6 N D{end}"
        tables = [Table("L(N, D) = E + A N^-alpha + B D^-beta", note, header, rows)]
        if self.flop:
            low, high = self.compute.min(), self.compute.max()
            outside = [f"{c:g}" for c in self.flop if not low <= c <= high]
            note = f"The runs have C from {low:.2g} to {high:.2g}"
            note += f": {', '.join(outside)} is extrapolated." if outside else "."
            rows = [
                (f"{best['flop']:g}", name, number(best[name], ".4g"), _ends(best, name, ".3g"))
                for best in fitted["optimal_allocation"]
                for name in COLUMNS
            ]
            header = [Column("flop"), Column("best"), *header[1:]]
            tables.append(Table("Allocation", note, header, rows))
        return tables

    def figure(self) -> "matplotlib.figure.Figure":
        """Draw loss and allocation over compute, with 95 % bands, and measured over fitted loss.

        Titles say which curves are infinite or undefined somewhere, and are not drawn there.
        """
        blue, orange = OKABE_ITO[:2]
        figure, grid = new_figure(3)
        c = self.compute
        spanned = np.concatenate([c, self.flop])
        places = np.geomspace(spanned.min(), spanned.max(), N_PLACES)
        best = self.surface.optimal_allocation(places)
        resampled = self.surface.fit.drawn is not None
        bands = self.surface.allocation_interval(places) if resampled else {}
        ends, hidden = [], ([], [], [])
        for name, i, text, color in (
            ("loss", 0, "", blue), ("n_parameters", 1, "best N", blue),
            ("n_tokens", 1, "best D", orange),
        ):  # fmt: skip
            axes, curve = grid[0, i], drawable(best[name], log=True)
            ends += [(float(places[-1]), float(curve[-1]), text, darker(color))] if i else []
            axes.plot(c, self.runs[name], color=color, label=name, **POINTS)
            dashed(axes, places, curve, color, name, **BELOW)
            band = [drawable(end, log=True) for end in bands.get(name, ())]
            if band:
                axes.fill_between(places, *band, color=color, alpha=0.2, lw=0)
            for what, values in ((text or name, [curve]), (f"band of {text or name}", band)):
                hidden[i].extend([what] if np.isnan(values).any() else [])
        with np.errstate(all="ignore"):
            ratio = drawable(self.runs["loss"] / self.surface.loss(*self.sizes))
        hidden[2].extend([counted(n, "run")] if (n := int(np.isnan(ratio).sum())) else [])
        grid[0, 2].plot(c, ratio, color=blue, **POINTS)
        grid[0, 2].axhline(1.0, color="#444444", lw=1.0)
        logs(grid[0, 0])
        logs(grid[0, 1])
        grid[0, 2].set_xscale("linear" if np.isnan(ratio).all() else "log")
        label_ends(grid[0, 1], ends)
        labels = ("loss", "parameters N, tokens D", "measured loss / fitted")
        band = ", 95 % band" if bands else ""
        titles = (f"runs; dashed, at the best N and D{band}", f"runs; dashed, the best{band}", "")
        for axes, label, title, out in zip(grid[0], labels, titles, hidden, strict=True):
            axes.set_xlabel("C = 6 N D, operations")
            axes.set_ylabel(label)
            axes.set_title(f"{title}{not_drawn(out)}".strip(), fontsize=9)
        return figure

    def write(self, stem: str) -> None:
        """Write the numbers as JSON, the figure as SVG and PNG."""
        self.surface.to_json(f"{stem}.json", self.flop)
        write_images(self.figure(), Path(stem))


def _ends(fitted: dict[str, Any], name: str, form: str) -> str:
    """The interval of a number, or a dash without a bootstrap."""
    ends = fitted["interval_95"]
    return "–" if ends is None else " to ".join(number(end, form) for end in ends[name])
