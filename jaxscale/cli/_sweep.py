"""`jaxscale run` and `jaxscale plan`: sweep files and presets."""

import contextlib
import dataclasses
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jaxscale.cli._options import (
    Axis,
    Checkpoint,
    Chunk,
    Compiles,
    Device,
    Devices,
    File,
    Keep,
    Key,
    Longer,
    Memory,
    NoCache,
    Programs,
    Seeds,
    Set,
    Store,
    Text,
    Texts,
)  # fmt: skip
from jaxscale.cli._start import leave, start, stop_on_signals, warnings_as_lines
from jaxscale.cli._words import table_in_shell

if TYPE_CHECKING:
    from jaxscale.report._fit_file import Request
    from jaxscale.sweep._grid import Grid
    from jaxscale.sweep._plan import Options, Plan

FIGURES = (".svg", ".pdf", ".png")


def _options(
    chunk: int | None,
    programs: int | None,
    compiles: int | None,
    megabytes: float | None,
    checkpoint_seconds: float,
    keep_states: bool,
) -> "Options":
    """What the command line asks of the planner."""
    from jaxscale.fields import as_real
    from jaxscale.sweep._plan import Options

    if compiles is not None:
        if programs is not None:
            raise ValueError("`--max-compiles` is the old name of `--max-programs`: give one.")
        typer.echo("warning: --max-compiles is deprecated, use --max-programs", err=True)
        programs = compiles
    typed = int(megabytes) if megabytes is not None and megabytes.is_integer() else megabytes
    return Options(
        max_runs_per_chunk=chunk,
        max_programs=programs,
        memory=None if megabytes is None else 1e6 * float(as_real("memory", typed, above=0.0)),
        checkpoint_seconds=checkpoint_seconds,
        keep_states=keep_states,
    )


def _planned(
    file: str,
    settings: Texts,
    axes: Texts,
    seeds: int | None,
    key: int | None,
    n_steps: int | None,
    options: "Options",
    target: Text = None,
) -> "tuple[Plan, str]":
    """Plan a sweep file or preset with what the command line changes; and the file's store."""
    from jaxscale._text import once
    from jaxscale.sweep._config import default_store, parse_axis, parse_setting, read_toml
    from jaxscale.sweep._grid import grid_of_file
    from jaxscale.sweep._plan import plan

    fields = once("set", map(parse_setting, settings or []))
    values = once("axis", map(parse_axis, axes or []))
    with warnings_as_lines(DeprecationWarning):
        table = read_toml(file)
    grid = grid_of_file(file, table, fields, values, seeds, key)
    try:
        grid = grid if n_steps is None else grid.longer(n_steps)
    except ValueError as error:
        raise ValueError(str(error).replace("`n_steps` must", "`longer` must")) from None
    planned = plan(grid, target=target, **dataclasses.asdict(options))
    return planned, default_store(file, table)


def run(
    file: File,
    settings: Set = None,
    axis: Axis = None,
    seeds: Seeds = None,
    key: Key = None,
    store: Store = None,
    figure: Annotated[Path | None, typer.Option(help="Figure to write (svg, pdf, png).")] = None,
    observable: Annotated[
        Texts, typer.Option(help="Observable of the figure; may be repeated.")
    ] = None,
    curves: Annotated[
        Text, typer.Option(help="Dimension that the figure draws as curves, as width.")
    ] = None,
    calibrate: Annotated[
        Texts, typer.Option(help="field or field=start of the theory to fit; may be repeated.")
    ] = None,
    where: Annotated[
        Texts, typer.Option(help="Runs it is fitted to: dimension=value, or !=, <, <=, >, >=.")
    ] = None,
    max_runs_per_chunk: Chunk = None,
    max_programs: Programs = None,
    max_compiles: Compiles = None,
    memory: Memory = None,
    checkpoint_seconds: Checkpoint = 60.0,
    keep_states: Keep = False,
    longer: Longer = None,
    devices: Devices = None,
    no_cache: NoCache = False,
) -> None:
    """Run a sweep file or preset; results go to a Zarr store."""
    from jaxscale._files import require_writable

    if figure is not None:
        require_writable("figure", figure, FIGURES)
    for option, given in (("observable", (observable or [None])[0]), ("curves", curves)):
        if given is not None and figure is None:
            raise ValueError(f"`{option}` belongs to --figure FILE, got {given!r} alone.")
    if where and not calibrate:
        raise ValueError(f"`where` belongs to --calibrate FIELD, got {where[0]!r} alone.")
    start(devices, no_cache)
    from rich.console import Console

    from jaxscale._status import Status
    from jaxscale._text import counted, duration, unknown
    from jaxscale.report._fit_file import Request, check_request
    from jaxscale.report._stored import remaining_line
    from jaxscale.sweep._execute import run as run_plan
    from jaxscale.sweep._failures import advice_on_failures
    from jaxscale.sweep._locate import place_of, require_place
    from jaxscale.sweep._reader import open_root

    stop_on_signals()
    console = Console()
    options = _options(
        max_runs_per_chunk, max_programs, max_compiles, memory, checkpoint_seconds, keep_states
    )
    planned, default = _planned(file, settings, axis, seeds, key, longer, options)
    path = store or default
    free = tuple(calibrate or ())
    request = Request("", None, free=free, where=tuple(where or ()), bootstrap=None)
    if calibrate:
        check_request(request, planned.grid)
    drawable = planned.buckets[0].padded_system.schema.observables
    for name in observable or ():
        if name not in drawable:
            raise unknown("`observable`", name, drawable)
    dims = [drawable[name].dims for name in observable or ["loss"] if name in drawable]
    common = [d for d in dict.fromkeys(sum(dims, ())) if all(d in own for own in dims)]
    if curves is not None and curves not in (shown := [*planned.grid.axes, *common]):
        raise unknown("`curves`", curves, shown)
    require_place(path)
    typer.echo(str(planned))
    if line := remaining_line(planned, path):
        typer.echo(line)
    before = None
    with contextlib.suppress(ValueError):  # there is no store, or one that the run refuses
        before = open_root(place_of(path).current())[1].get("sessions")
    with warnings_as_lines():
        warnings.filterwarnings("ignore", "stopped by Ctrl-C")  # counted below
        runs = run_plan(planned, store=path)
    always = (Status.ok, Status.nonfinite, Status.diverged, Status.not_converged)
    counts = {code: int((runs["status"] == code).sum()) for code in Status}
    names = {code: code.name.replace("_", " ") for code in Status} | {Status.ok: "runs ok"}
    parts = [f"{n} {names[code]}" for code, n in counts.items() if n or code in always]
    took, compiling = (duration(runs.attrs[f"{n}_seconds"]) for n in ("wall", "compile"))
    cost = f"{took}, of which compiling {compiling}"
    if runs.attrs["sessions"] == before:
        cost = f"nothing was left to run (the last session took {cost})"
    console.print(f"{', '.join(parts)}; {cost}")
    console.print(f"store: {path}")
    if not runs.attrs["complete"]:
        n_done = sum(n for code, n in counts.items() if code != Status.not_run)
        n_states = len(list(place_of(path).current().states))
        more = f", and the states of {counted(n_states, 'chunk')} under way" if n_states else ""
        leave(f"{n_done} of {planned.n_runs} runs are kept{more}")
    n_failed = counts[Status.nonfinite] + counts[Status.diverged]
    if n_failed == planned.n_runs:
        advice = "; ".join(advice_on_failures(runs, planned))
        console.print(f"all {counted(n_failed, 'run')} failed: {advice}")
    try:
        _fit_and_draw(planned.grid, runs, request, figure, observable, curves)
    except KeyboardInterrupt:
        lacking = " and ".join(["the fit"] * bool(calibrate) + ["the figure"] * bool(figure))
        leave(f"all {planned.n_runs} runs are in the store, {lacking} may be missing")


def _fit_and_draw(
    grid: "Grid",
    runs: Any,
    request: "Request",
    figure: Path | None,
    observables: Texts,
    curves: Text,
) -> None:
    """Fit the theory to the runs and draw them, as far as that was asked."""
    from rich.console import Console

    from jaxscale._status import Status
    from jaxscale.report._fit_file import fit_runs, predicted_or_none
    from jaxscale.report._plot import plot
    from jaxscale.sweep._predict import predict

    console = Console()
    with warnings_as_lines():
        fit = fit_runs(request, grid, runs)[0] if request.free else None
        if fit is not None:
            console.print(table_in_shell(fit.table()))
        if figure is not None:
            theory: Any = predict(grid) if fit is None else predicted_or_none(fit)
            drawn = plot(runs, theory, observables=observables, curves=curves)
            drawn.savefig(figure, dpi=160)
            console.print(f"figure: {figure}")
            legends = [legend for a in drawn.axes if (legend := a.get_legend())]
            labels = " ".join(t.get_text() for legend in legends for t in legend.get_texts())
            failed = not (runs["status"] == Status.ok).any()
            given = {} if theory is None or failed else theory  # the figure may draw nothing of it
            fields = sorted({o.attrs.get("uncalibrated", "") for o in given.values()} - {""})
            for field in (f for f in fields if f"({f} not fitted)" in labels):
                console.print(f"theory is not calibrated: --calibrate {field} fits it to the runs")


def plan(
    file: File,
    settings: Set = None,
    axis: Axis = None,
    seeds: Seeds = None,
    key: Key = None,
    max_runs_per_chunk: Chunk = None,
    max_programs: Programs = None,
    max_compiles: Compiles = None,
    memory: Memory = None,
    checkpoint_seconds: Checkpoint = 60.0,
    keep_states: Keep = False,
    longer: Longer = None,
    store: Store = None,
    target: Device = None,
    compile_ahead: Annotated[
        bool, typer.Option("--compile", help="Compile for --target; needs its plugin.")
    ] = False,
    devices: Devices = None,
    no_cache: NoCache = False,
) -> None:
    """Show how a sweep would be cut and what it would cost; compiles nothing by default.

    The time is that of earlier runs of such a system on this machine, if they were timed.
    What its store (--store, or that of the file) holds already is said.
    For a --target that is not this machine it is an estimate; --compile adds the memory of its
    compiled programs, where the plugin is installed (the extra cuda12, cuda13 or tpu).

    Warns of a learning rate above the stability limit where the limit has a closed form: for
    MultilinearSkills, StreamingRegression, and TeacherStudent with plain Sgd. Elsewhere runs may
    end as diverged.
    """
    if compile_ahead:
        import jax

        if target is None:
            raise ValueError("`--compile` belongs to --target NAME, such as --target h200.")
        jax.config.update("jax_platforms", "cpu")  # the plugin of the target looks for no device
    start(devices, no_cache)
    options = _options(
        max_runs_per_chunk, max_programs, max_compiles, memory, checkpoint_seconds, keep_states
    )
    planned, default = _planned(file, settings, axis, seeds, key, longer, options, target)
    typer.echo(str(planned))
    if target is None:
        from jaxscale.report._stored import remaining_line

        if line := remaining_line(planned, store or default):
            typer.echo(line)
    if not compile_ahead:
        return
    from jaxscale.sweep._ahead import compiled_for
    from jaxscale.sweep._program import compiled_bytes

    for i, bucket in enumerate(planned.buckets):
        size = compiled_bytes(compiled_for(bucket, planned.target.name)) / 1e6
        typer.echo(f"bucket {i}: {size:.1f} MB per device, compiled for {planned.target.name}")
