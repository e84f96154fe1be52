"""One observable on one pair of axes: curves over seeds, theory, and what title and legend say."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxscale._labels import match_labels
from jaxscale._status import Status
from jaxscale._text import counted
from jaxscale.report._figures import (
    DASHED,
    MAX_CURVES,
    OKABE_ITO,
    band,
    dashed,
    literal,
    log_axis,
    places,
    spans_decades,
    spread_evenly,
    with_unit,
)
from jaxscale.report._legend import add_legend

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.lines
    import xarray

UNBROKEN = "\u00a0"  # a space at which no line ends
TITLE_WIDTH = 56  # characters
GREY = "#444444"  # of theory that belongs to no curve
PER_RUN = ("step", "skill", "group")  # dimensions of observables, which no grid has
PAPER: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8}
FAILED = (Status.nonfinite, Status.diverged, Status.truncated)


class Panel:
    """What is drawn of one observable: its dimensions on the x axis, as curves, at a last value."""

    def __init__(
        self, data: Any, theory: Any, x: str | None, curves: str | None, status: Any = None
    ):
        data = data if data.dims else data.expand_dims("seed")
        self.given = theory is not None
        self.theory = theory[data.name] if self.given and data.name in theory else None
        self.why = "" if not self.given else theory.attrs.get("no_theory", "")
        self.x = x or _main_dim(data, curves)
        self.data = data.sortby(self.x) if _is_numeric(data[self.x]) else data
        rest = [str(d) for d in data.dims if d not in (self.x, "seed")]
        swept = data.dims if status is None else status.dims  # the others lie within a run
        of_runs = [d for d in rest if d in swept and d not in PER_RUN and data.sizes[d] > 1]
        longest = max(of_runs or rest, key=lambda d: data.sizes[d], default=None)
        self.curves = curves or longest
        if self.curves is not None and data.sizes[self.curves] == 1 and curves is None:
            self.curves = None
        ends = {d: data.sizes[d] - 1 for d in rest if d != self.curves}
        before = ({**ends, d: i} for d in ends for i in reversed(range(ends[d])))
        shown = ((at, self.data.isel(at).compute()) for at in (ends, *before))
        some = ((at, one) for at, one in shown if np.isfinite(one).any())
        self.last, self.shown = next(some, None) or (ends, self.data.isel(ends).compute())
        shown = {} if status is None else {d: i for d, i in self.last.items() if d in status.dims}
        self.status = np.ravel([] if status is None else status.isel(shown))
        self.n_curves = 1 if self.curves is None else data.sizes[self.curves]
        one = [d for d in self.shown.dims if d != self.curves]
        drawable = np.flatnonzero(np.isfinite(self.shown).any(one))  # curves of which there is some
        self.n_drawable = n = drawable.size
        self.chosen = drawable[spread_evenly(n, MAX_CURVES)]

    def draw(self, axes: "matplotlib.axes.Axes", log: str | None, title: str | None) -> float:
        """Draw curves, theory, axes, title and legend; return inches of a legend beside them."""
        data, dim, at = self.shown, self.curves, places(self.shown[self.x])
        log_x = "x" in log if log is not None else (at > 0).sum() > 2 and spans_decades(at[at > 0])
        positive = data.isel({self.x: at > 0})
        log_x = log_x and bool(np.isfinite(positive).any())  # else such an axis would be empty
        inside = np.asarray(positive if log_x else data)
        values = inside[np.isfinite(inside)]
        log_y = spans_decades(values) if log is None else "y" in log and bool((values > 0).any())
        labels = ["simulation" if self.given else ""]
        if dim is not None:
            labels = [f"{dim} {text}" for text in short_texts(data[dim], self.chosen)]
        theory, lines = self._theory_by_curve() if self.n_drawable else None, []
        for i, (place, label) in enumerate(zip(self.chosen, labels, strict=False)):
            one = data if dim is None else data.isel({dim: place})
            color = OKABE_ITO[i % len(OKABE_ITO)]
            band(axes, one, self.x, color, label, log=log_y)
            if theory is not None and (dim in theory.dims or (dim is None and not self._at())):
                lines += self._draw_theory(axes, theory, one, color, label)
            elif theory is not None and i == 0:
                lines += self._draw_theory(axes, theory, one, GREY, ", ".join(self._at()))
        if not _is_numeric(data[self.x]):
            axes.set_xticks(at, [literal(v) for v in data[self.x].values])
        if log_x:
            log_axis(axes, "x")
        if log_y:
            _end_near(axes, values[values > 0])
            log_axis(axes, "y")
        unit = data.attrs.get("units", "")
        hidden = at[at <= 0] if log_x else at[:0]
        note = f" ({hidden[0]:g} not drawn)" if hidden.size == 1 else " (positive ones)"
        axes.set_xlabel(f"{self.x}{note if hidden.size else ''}")
        axes.set_ylabel(with_unit(str(data.name), unit))
        first = data.attrs.get("long_name", "") if title is None else title
        texts = [*first.split("\n"), *self._fixed(), "" if lines else self._without()]
        wrapped = "\n".join(s for text in texts for s in _wrapped(text))
        axes.set_title(wrapped.replace(UNBROKEN, " "), fontsize=9)
        if note := self._failed(is_note=True):
            axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", va="center",
                      fontsize=9, color=GREY, bbox=PAPER)  # fmt: skip
        return self._legend(axes, lines)

    def _theory_by_curve(self) -> Any:
        """Theory, along the dimension of the curves where it is at the value of one of them."""
        theory, dim = self.theory, self.curves
        if theory is None or dim is None or dim in theory.dims or dim not in theory.coords:
            return theory
        drawn, own = np.asarray(self.data[dim])[self.chosen], np.atleast_1d(np.asarray(theory[dim]))
        return theory.expand_dims(dim) if match_labels(drawn, own)[0] >= 0 else theory

    def _draw_theory(
        self, axes: "matplotlib.axes.Axes", theory: Any, one: Any, color: str, name: str
    ) -> "list[matplotlib.lines.Line2D]":
        """Draw the closed form of one curve, if theory has it."""
        for d in [d for d in theory.dims if d != self.x and d != "seed"]:
            if d not in one.coords:
                raise ValueError(
                    f"`theory` of {one.name} has a dimension {d!r} that runs lack: select a value."
                )
            (place,) = match_labels(np.asarray(theory[d]), np.atleast_1d(np.asarray(one[d])))
            if place < 0:
                return []
            theory = theory.isel({d: int(place)})
        if "seed" in theory.dims and self.x != "seed":
            theory = theory.mean("seed")
        if self.x not in theory.dims:
            ends = places(one[self.x])[[0, -1]]
            return [dashed(axes, ends, np.full(2, float(theory)), color, name)]
        at = places(theory[self.x])
        if not _is_numeric(one[self.x]):  # labels lie where those of the runs do
            place = match_labels(np.asarray(one[self.x]), np.asarray(theory[self.x]))
            at = np.where(place < 0, np.nan, place)
        order = np.argsort(at)[: np.isfinite(at).sum()]
        if not order.size:
            return []
        values = np.asarray(theory)[order]
        return [dashed(axes, at[order], np.where(np.isinf(values), np.nan, values), color, name)]

    def _fixed(self) -> list[str]:
        """The coordinates at which the panel is drawn."""
        at = {str(d): c for d, c in self.data.coords.items() if not c.dims}
        texts = [f"{d} = {short_texts(c, [0])[0]}" for d, c in at.items() if c.dtype.kind != "M"]
        for d in ("seed", *self.last):
            if d in self.data.coords and d in self.data.dims and d != self.x:
                size = self.data.sizes[d]
                i = self.last.get(d, size - 1)
                place = "last" if i == size - 1 else str(i + 1)
                if d != "seed" or size == 1:
                    value = short_texts(self.data[d], [i])[0]
                    texts.append(f"{d} = {value}" + (f" ({place} of {size})" if size > 1 else ""))
        if self.n_drawable < self.n_curves:
            share = f"{self.n_curves - self.n_drawable} of {self.n_curves} curves: "
            texts.append(f"{share if self.n_drawable else ''}not run, or not finite")
        texts += [failed] if (failed := self._failed(is_note=False)) else []
        return [", ".join(text.replace(" ", UNBROKEN) for text in texts)]

    def _failed(self, is_note: bool) -> str:
        """How many runs failed, for the title, or for a note on axes that show nothing of any run.

        Of a failed run the records before its end may be drawn, such as that of step 0.
        """
        codes = self.status[self.status != Status.not_run]
        n_failed = int(np.isin(codes, FAILED).sum())
        nothing = np.isfinite(self.shown).sum(self.x).max() < min(2, self.shown.sizes[self.x])
        if not n_failed or is_note != bool(nothing and n_failed == self.status.size):
            return ""
        which = (
            f"all {n_failed}"
            if n_failed == self.status.size
            else f"{n_failed} of {self.status.size}"
        )
        return (
            f"{which} runs failed: see status"
            if self.status.size > 1
            else "the run failed: see status"
        )

    def _without(self) -> str:
        """Why theory does not show this observable, where it was given."""
        if not (self.given and self.n_drawable):
            return ""
        if self.theory is not None:
            return "no curve of `theory` has the coordinates of the runs"
        reason = self.data.attrs.get("no_theory")
        return self.why or reason or "no closed form of it in `theory`"

    def _legend(
        self, axes: "matplotlib.axes.Axes", theory: "list[matplotlib.lines.Line2D]"
    ) -> float:
        """Name the curves, what is drawn of them, and the state of the theory."""
        from matplotlib.lines import Line2D

        n, drawn = self.n_drawable, self.chosen.size
        notes = [f"{drawn} of {n} values of {self.curves}"] if n > drawn else []
        if self.data.sizes.get("seed", 1) > 1 and self.x != "seed" and n:
            few, many = self._n_seeds(log_x=axes.get_xscale() == "log")
            some = f"{few} to {many} seeds" if few < many else counted(many, "seed")
            notes.append(f"mean ± s.d. of {some}")
        handles = axes.get_legend_handles_labels()[0]
        if theory:
            fields = self.theory.attrs.get("uncalibrated", "")  # pyright: ignore
            fitted = self.theory.attrs.get("calibrated", "")  # pyright: ignore
            label = f"theory, calibrated\n({fitted})" if fitted else "theory"
            label = f"theory, uncalibrated\n({fields} not fitted)" if fields else label
            label += f" at {', '.join(self._at())}" if self._at() else ""
            handles.append(Line2D([], [], color="#222222", label=label + _hidden(theory), **DASHED))
        return add_legend(axes, handles, "\n".join(notes))

    def _n_seeds(self, log_x: bool) -> tuple[int, int]:
        """Fewest and most seeds behind a drawn point: a run that fails has none from then on."""
        is_drawn = places(self.shown[self.x]) > (0 if log_x else -np.inf)
        curves = {} if self.curves is None else {self.curves: self.chosen}
        numbers = np.isfinite(self.shown.isel({self.x: is_drawn, **curves})).sum("seed").to_numpy()
        most = int(numbers.max(initial=0))
        return int(numbers[numbers > 0].min(initial=most)), most

    def _at(self) -> list[str]:
        """The coordinates of theory that are not those of all runs."""
        texts = []
        for dim, value in self.theory.coords.items() if self.theory is not None else ():
            if not value.dims and dim in self.data.coords:
                own, at = (np.atleast_1d(np.asarray(v)) for v in (self.data[dim], value))
                place = match_labels(own, at)[0] if own.size == 1 else -1
                texts += [f"{dim} = {short_texts(value, [0])[0]}"] if place < 0 else []
        return texts


def _wrapped(text: str) -> list[str]:
    """Lines of a title, as few as `TITLE_WIDTH` allows, and of about the same length."""
    lines = textwrap.wrap(text, TITLE_WIDTH)
    if len(lines) < 2:
        return lines
    widths = range(min(TITLE_WIDTH, max(map(len, text.split(" ")))), TITLE_WIDTH + 1)
    each = (textwrap.wrap(text, width) for width in widths)
    return next(narrow for narrow in each if len(narrow) == len(lines))


def _hidden(theory: "list[matplotlib.lines.Line2D]") -> str:
    """What a legend adds where theory is outside the axes."""
    axes: Any = theory[0].axes
    x, y = np.concatenate([np.asarray(line.get_xydata(), float) for line in theory]).T
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    y = y[np.isfinite(y) & (x >= left) & (x <= right)]
    outside = (y < low) | (y > high)
    return f"\n({'' if outside.all() else 'partly '}outside the axes)" if outside.any() else ""


def _end_near(axes: "matplotlib.axes.Axes", simulated: np.ndarray) -> None:
    """Let a logarithmic axis end a decade from simulated values, however far theory goes."""
    axes.set_yscale("log")
    if simulated.size:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, float(simulated.min()) / 10), min(high, float(simulated.max()) * 10))


def _main_dim(array: "xarray.DataArray", curves: str | None) -> str:
    """Dimension of the x axis: the step where it has values, else the longest numeric one."""
    if array.sizes.get("step", 0) > 2 and curves != "step":
        return "step"
    dims = [d for d in array.dims if d != curves] or list(array.dims)
    numeric = [d for d in dims if d not in ("seed", "skill") and _is_numeric(array[d])]
    rest = [d for d in dims if d != "seed"]
    return str(max(numeric or rest or dims, key=lambda d: array.sizes[d]))


def _is_numeric(coordinate: "xarray.DataArray") -> bool:
    return coordinate.dtype.kind in "iuf"


def short_texts(coordinate: Any, chosen: Sequence[int] | np.ndarray) -> list[str]:
    """Texts of some values of a coordinate, of as few digits as distinguish them, at least 3."""
    values = np.atleast_1d(np.asarray(coordinate))[list(chosen)]
    if values.dtype.kind != "f":
        return [literal(v) for v in values.tolist()]
    for digits in range(3, 17):
        texts = [f"{v:.{digits}g}" for v in values.tolist()]
        if len(set(texts)) == len(np.unique(values)):
            break
    return texts
