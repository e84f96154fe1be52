"""`reproduce`: run the presets of studies, evaluate their claims, draw figures, write a page."""

import dataclasses
import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from jaxscale._deprecated import warn_deprecated
from jaxscale._linalg import one_blas_thread
from jaxscale._status import Status
from jaxscale._table import Table
from jaxscale._text import counted, duration, unknown
from jaxscale.analysis._claim import Claim, claims_table, claims_to_json
from jaxscale.report._page import Section, write_page
from jaxscale.report._save import save
from jaxscale.sweep._execute import run
from jaxscale.sweep._extend import match_runs
from jaxscale.sweep._grid import Grid
from jaxscale.sweep._layout import grid_text
from jaxscale.sweep._local import LocalPlace
from jaxscale.sweep._longer import is_longer
from jaxscale.sweep._plan import Plan, plan as make_plan
from jaxscale.sweep._reader import StoreReader
from jaxscale.sweep._timings import untimed

if TYPE_CHECKING:
    import matplotlib.figure
    import xarray


LONG = 3600.0  # seconds, from which on the scale `paper` gives advice
MOST_TABLES = 12  # plans that are printed in full


@dataclasses.dataclass(frozen=True)
class Figure:
    """A figure, its file name and its caption."""

    name: str
    caption: str
    drawing: "matplotlib.figure.Figure"


@dataclasses.dataclass(frozen=True)
class Conclusion:
    """Results of a study: `scores` are for `scores.json`, `tables` show them to readers."""

    claims: list[Claim]
    figures: list[Figure]
    scores: dict[str, Any]
    tables: list[Table]

    def print(self, console: Console) -> None:
        """Print the claims and the tables."""
        for table in (claims_table(self.claims), *self.tables):
            console.print(table)


@dataclasses.dataclass(frozen=True)
class Study:
    """Presets of one system by scale, and the function that evaluates their results.

    `presets` are names by scale, or a function that makes grids by name; `summary` says in a few
    sentences what is simulated, `symbols` what each symbol means, `paper_scale` which of the
    authors' settings the scale `paper` has. `ahead` starts what needs no results on an executor,
    where it goes on while runs compile; what it returns is the second argument of `evaluate`.
    """

    system: str
    title: str
    source: str
    presets: Mapping[str, Sequence[str] | Callable[[], dict[str, Grid]]]
    evaluate: "Callable[..., Conclusion]"
    summary: str = ""
    symbols: dict[str, str] = dataclasses.field(default_factory=dict)
    paper_scale: str = ""
    ahead: Callable[[Executor], Any] | None = None

    def grids(self, scale: str) -> dict[str, Grid]:
        """Every grid of a scale by name, that of its group in the store."""
        presets = self.presets[scale]
        if callable(presets):
            return presets()
        return {Path(name).stem: Grid.from_toml(name) for name in presets}


def reproduce(
    study: Study, out: Path, *, scale: str = "quick", console: Console | None = None
) -> Conclusion:
    """Run a study and write its results to a folder.

    Writes `<system>.zarr` (one group per preset), `claims.json`, `scores.json`, `figures/` (each as
    SVG and PNG, with what it shows as CSV) and the self-contained `report.html`. Results that the
    folder already holds are not computed again.

    **Arguments**

    - `study`: the study.
    - `out`: folder to write to.
    - `scale`: `"quick"`, or `"paper"` (of which `"full"` is the deprecated name): what the authors
      ran, if that is public. Its plan, time and memory are printed before it runs.
    - `console`: where to print progress.

    **Returns** the `Conclusion`.

    **Raises** `ValueError` for an unknown scale or a folder with results of other settings.
    """
    scale = current_scale(scale)
    check_scale(study, scale)
    return _carry_out(study, out, scale, console or Console(stderr=True))[0]


def reproduce_all(
    studies: Sequence[Study], out: Path, *, scale: str = "quick", console: Console | None = None
) -> None:
    """Run studies and write one page of them all.

    Writes what `reproduce` writes to a folder of each system, and `report.html` with all of them,
    updated after each system. A system that fails is named there, and the others continue.

    **Arguments**: `studies`, and as for `reproduce`.

    **Raises** `ValueError` for an unknown scale; at the end, the error of the first failed system.
    """
    console = console or Console(stderr=True)
    scale = current_scale(scale)
    for study in studies:
        check_scale(study, scale)
    out.mkdir(parents=True, exist_ok=True)
    sections, failures = [], []
    for study in studies:
        try:
            conclusion, section = _carry_out(study, out / study.system, scale, console)
            conclusion.print(console)
            sections.append(section)
        except Exception as error:
            failures.append(error)
            text = f"{type(error).__name__}: {' '.join(str(error).split())}"
            console.print(f"{study.system} failed: {text}", markup=False)
            sections.append(Section(study.system, study.title, study.source, failure=text))
        write_page(out / "report.html", f"jaxscale: all systems, {scale} scale", sections)
    console.print(f"report: {out / 'report.html'}", soft_wrap=True)
    if failures:
        raise failures[0]


def current_scale(scale: str) -> str:
    """The scale by its present name."""
    if scale != "full":
        return scale
    warn_deprecated('scale="full"', 'scale="paper"')
    return "paper"


def check_scale(study: Study, scale: str) -> None:
    """Refuse a scale that a study does not have."""
    if scale not in study.presets:
        raise unknown("`scale`", scale, study.presets)


def _extent(plans: dict[str, Plan], finished: set[str]) -> str:
    """How many runs these are, and how long those take that are not there already."""
    n_runs = sum(plan.n_runs for plan in plans.values())
    remaining = [plan for name, plan in plans.items() if name not in finished]
    n_done = n_runs - sum(plan.n_runs for plan in remaining)
    if not remaining:
        return f"{n_runs} runs, which are there already"
    before = f", {n_done} of them there already" if n_done else ""
    seconds = sum(plan.seconds for plan in remaining)
    return f"{n_runs} runs{before}, about {duration(seconds)} after compilation"


def _show_plans(
    study: Study, plans: dict[str, Plan], finished: set[str], scale: str, console: Console
) -> None:
    """Say what the paper's scale is, and print plans, time and memory, before anything runs."""

    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False, highlight=False)

    if study.paper_scale:
        say(study.paper_scale)
    for name, plan in plans.items():
        line = (
            f"{plan.n_runs} runs, {counted(plan.n_programs, 'program')}, {duration(plan.seconds)}"
        )
        say(f"{name}: {plan if len(plans) <= MOST_TABLES else line}")
    device = max(b.bytes_per_device for plan in plans.values() for b in plan.buckets)
    host = max(plan.host_bytes for plan in plans.values())
    say(
        f"in all: {_extent(plans, finished)}; needed: {device / 1e6:.3g} MB on each device, "
        f"{host / 1e6:.3g} MB of host memory"
    )
    if sum(plan.seconds for name, plan in plans.items() if name not in finished) > LONG:
        say("This is long. It may be stopped and started again.")
        if not callable(study.presets[scale]):
            say(
                "jaxscale run NAME runs one preset; plan NAME --target h200 says its time on a GPU."
            )


def _finished(plans: dict[str, Plan], store: Path) -> set[str]:
    """Names of the grids whose results the folder holds; refuse it if those are of other grids."""
    finished = set()
    for name, plan in plans.items():
        try:
            stored = StoreReader(LocalPlace(store / name))
        except ValueError:  # there is none, or `run` says what is wrong with it
            continue
        if stored.attributes["grid"] == grid_text(plan.grid):
            finished |= {name} if stored.is_complete else set()
        elif not is_longer(stored.grid, plan.grid):
            try:
                match_runs(stored.grid, plan.grid, store / name)
            except ValueError as error:
                raise ValueError(f"{error} Choose another folder (`out`, --out).") from None
    return finished


@contextmanager
def _evaluator(study: Study) -> "Iterator[Callable[[dict[str, xarray.Dataset]], Conclusion]]":
    """The function that evaluates results, with what needs none under way until the block ends."""
    if study.ahead is None:
        yield study.evaluate
        return
    with one_blas_thread(), untimed():
        pool = ThreadPoolExecutor(2)
        try:
            begun = study.ahead(pool)
            yield lambda runs: study.evaluate(runs, begun)
        finally:  # after an error or Ctrl-C what has begun goes on in its thread
            pool.shutdown(wait=False, cancel_futures=True)


def _results(
    name: str, plan: Plan, store: Path, finished: set[str], console: Console
) -> "xarray.Dataset":
    """Run one grid into its group of a store, and say how it ended; raise after Ctrl-C."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".* ended badly")  # counted below
        runs = run(plan, store=store / name)
    if not runs.attrs["complete"]:
        n_done = int((runs["status"] != Status.not_run).sum())
        console.print(f"  {name}: stopped, {n_done} of {plan.n_runs} runs are done")
        raise KeyboardInterrupt
    took = duration(runs.attrs["wall_seconds"])
    how = f"were there already (they took {took})" if name in finished else f"in {took}"
    ended = statuses(runs)
    bad = [f", {ended[n]} {n}" for n in ("nonfinite", "diverged") if n in ended]
    console.print(f"  {name}: {plan.n_runs} runs {how}{''.join(bad)}")
    return runs


def _carry_out(study: Study, out: Path, scale: str, console: Console) -> tuple[Conclusion, Section]:
    """Run a study and write its results and its page to a folder."""
    import zarr

    plans = {name: make_plan(grid) for name, grid in study.grids(scale).items()}
    store = out / f"{study.system}.zarr"
    finished = _finished(plans, store)
    console.print(f"{study.title}: {_extent(plans, finished)}")
    if scale != "quick":
        _show_plans(study, plans, finished, scale, console)
    store.parent.mkdir(parents=True, exist_ok=True)
    zarr.open_group(store, mode="a", zarr_format=3)
    with _evaluator(study) as evaluate:
        runs = {
            name: _results(name, plan, store, finished, console) for name, plan in plans.items()
        }
        with console.status("fitting, evaluating, drawing"):
            conclusion = evaluate(runs)
    claims_to_json(conclusion.claims, out / "claims.json")
    scores = json.dumps(conclusion.scores, indent=2, allow_nan=False)
    (out / "scores.json").write_text(scores + "\n")
    section = Section(
        study.system,
        study.title,
        study.source,
        claims=conclusion.claims,
        figures=[
            (save(f.drawing, out / "figures", f.name)[0], f.caption) for f in conclusion.figures
        ],
        tables=conclusion.tables,
        provenance={name: _provenance(data.attrs) for name, data in runs.items()},
        seconds=sum(float(data.attrs["wall_seconds"]) for data in runs.values()),
        summary=study.summary,
        symbols=study.symbols,
    )
    write_page(out / "report.html", f"jaxscale: {study.system}, {scale} scale", [section])
    return conclusion, section


def statuses(runs: "xarray.Dataset") -> dict[str, int]:
    """Count runs by the name of their status."""
    codes, counts = np.unique(np.asarray(runs["status"]), return_counts=True)
    return {Status(int(c)).name: int(n) for c, n in zip(codes, counts, strict=True)}


def _provenance(attributes: dict[str, Any]) -> dict[str, Any]:
    hidden = ("grid", "plan", "jaxscale_format", "sessions", "slots", "complete", "versions")
    plan = json.loads(attributes["plan"])
    versions = json.loads(attributes["versions"])
    return {
        "runs": plan["runs"],
        "programs": len(plan["buckets"]),
        "megabytes": max(b["megabytes_per_device"] for b in plan["buckets"]),
        **{k: v for k, v in attributes.items() if k not in hidden},
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }
