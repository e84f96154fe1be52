"""The command line: `jaxscale reproduce | run | plan | fit | surface | show | presets | info`."""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

if TYPE_CHECKING:
    from jaxscale.sweep._plan import Plan

app = typer.Typer(
    no_args_is_help=True, pretty_exceptions_enable=False,
    help="Solvable models of neural scaling laws: simulation and closed-form theory.",
)  # fmt: skip

INTERRUPTED = 130  # what Typer, too, ends with after Ctrl-C
FIGURES = (".svg", ".pdf", ".png")
OUTPUTS = ("json", "svg", "png")  # of a fit

Text: TypeAlias = str | None
Texts: TypeAlias = list[str] | None
Bounds: TypeAlias = tuple[int | None, int | None, int | None, float | None]

Devices = Annotated[
    int | None, typer.Option(help="Virtual CPU devices; by default one per core without a GPU.")
]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", help="Use no compiled programs and no times of the user's cache folder."
    ),
]
AXIS = "field=v1,v2 or geom:lo:hi:n or lin:lo:hi:n; may be repeated."
Set = Annotated[Texts, typer.Option("--set", help="field=value; may be repeated.")]
Axis = Annotated[Texts, typer.Option("--axis", help=AXIS)]
Seeds = Annotated[int | None, typer.Option(help="Number of seeds, instead of the file's.")]
Chunk = Annotated[int | None, typer.Option(help="Most runs per call of a program.")]
Programs = Annotated[int | None, typer.Option(help="Most programs to compile.")]
Compiles = Annotated[int | None, typer.Option("--max-compiles", hidden=True)]  # the old name
Memory = Annotated[float | None, typer.Option(help="Megabytes of a call, per device.")]
Checkpoint = Annotated[
    float, typer.Option(help="Seconds between two states of long runs in the store.")
]
Keep = Annotated[bool, typer.Option("--keep-states", help="Keep the final states, for --longer.")]
Longer = Annotated[
    int | None, typer.Option(help="Train to so many steps, with records of the file and beyond.")
]
Device = Annotated[
    Text, typer.Option("--target", help="Devices that need not be there: h200, 8xh200, v5e, ...")
]


def _presets(incomplete: str) -> list[str]:
    """Names of presets that begin so, for the shell; the shell itself completes files."""
    from jaxscale.sweep._config import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


File = Annotated[
    str,
    typer.Argument(
        help="A sweep file (TOML) or a preset (`jaxscale presets`).", autocompletion=_presets
    ),
]
Imports = Annotated[
    Texts, typer.Option("--import", help="Module with classes of a store; may be repeated.")
]


def _print_version(asked: bool | None) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"jaxscale {version('jaxscale')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool | None,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = None,
) -> None:
    pass


def _start(devices: int | None, no_cache: bool) -> None:
    """Choose the devices and keep compiled programs on disk, before JAX starts.

    There is one CPU device per core: a program spreads its runs over them.
    """
    from jaxscale._compilation import keep_compiled
    from jaxscale._devices import use_all_cores

    try:
        use_all_cores(devices)
    except ValueError as error:
        if devices is not None:  # else the caller started JAX: its devices are what there is
            raise ValueError(str(error).replace("`n_devices`", "`--devices`")) from None
    if not no_cache:
        with _warnings_as_lines():
            keep_compiled()


def _stop_on_signals() -> None:
    """Stop as after Ctrl-C, keeping states, when a cluster ends the job; also in the background.

    A background job of a script ignores Ctrl-C at first.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


@contextlib.contextmanager
def _warnings_as_lines(category: type[Warning] = UserWarning) -> Iterator[None]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", category)
        yield
    for warning in caught:
        typer.echo(f"warning: {warning.message}", err=True)


def _planned(
    file: str,
    settings: Texts,
    axes: Texts,
    seeds: int | None,
    bounds: Bounds,
    stretches: tuple[float, bool, int | None],
    target: Text = None,
) -> "tuple[Plan, str]":
    """Plan a sweep file or preset with what the command line changes; and the file's store."""
    from jaxscale.fields import as_real
    from jaxscale.sweep._config import parse_axis, parse_value, read_toml
    from jaxscale.sweep._grid import grid_of_file
    from jaxscale.sweep._plan import plan

    chunk, programs, compiles, megabytes = bounds
    fields = {}
    for text in settings or []:
        path, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"`set` must be field=value, got {text!r}.")
        fields[path] = parse_value(value)
    if compiles is not None:
        if programs is not None:
            raise ValueError("`--max-compiles` is the old name of `--max-programs`: give one.")
        typer.echo("warning: --max-compiles is deprecated, use --max-programs", err=True)
        programs = compiles
    with _warnings_as_lines(DeprecationWarning):
        table = read_toml(file)
    grid = grid_of_file(file, table, fields, dict(parse_axis(a) for a in axes or []), seeds)
    memory = None if megabytes is None else 1e6 * float(as_real("memory", megabytes, above=0.0))
    checkpoint_seconds, keep_states, n_steps = stretches
    planned = plan(
        grid if n_steps is None else grid.longer(n_steps),
        max_runs_per_chunk=chunk,
        max_programs=programs,
        memory=memory,
        checkpoint_seconds=checkpoint_seconds,
        keep_states=keep_states,
        target=target,
    )
    return planned, table.get("store", f"{Path(file).stem}.zarr")


@app.command()
def reproduce(
    system: Annotated[str, typer.Argument(help="emergence, sparse, superposition, atlas or all")],
    scale: Annotated[
        str, typer.Option(help="quick (a minute) or paper (what its authors ran).")
    ] = "quick",
    out: Annotated[Path | None, typer.Option(help="Folder for results and report.")] = None,
    devices: Devices = None,
    no_cache: NoCache = False,
) -> None:
    """Check the claims of a paper, or of all: simulate, compare with theory, write a report."""
    _start(devices, no_cache)
    from rich.console import Console

    from jaxscale._files import require_folder
    from jaxscale._text import unknown
    from jaxscale.papers import STUDIES
    from jaxscale.report._study import reproduce as reproduce_study, reproduce_all

    if system not in (*STUDIES, "all"):
        raise unknown("`system`", system, (*STUDIES, "all"))
    if scale == "full":
        typer.echo("warning: --scale full is deprecated, use --scale paper", err=True)
        scale = "paper"
    _stop_on_signals()
    console = Console()
    folder = Path(f"jaxscale-{system}-{scale}") if out is None else out
    require_folder("out", folder)
    if system == "all":
        reproduce_all(list(STUDIES.values()), folder, scale=scale, console=console)
    else:
        reproduce_study(STUDIES[system], folder, scale=scale, console=console).print(console)
        console.print(f"report: {folder / 'report.html'}", soft_wrap=True)


@app.command()
def run(
    file: File,
    settings: Set = None,
    axis: Axis = None,
    seeds: Seeds = None,
    store: Annotated[Path | None, typer.Option(help="Zarr store to write or continue.")] = None,
    figure: Annotated[Path | None, typer.Option(help="Figure to write (svg, pdf, png).")] = None,
    observable: Annotated[
        Texts, typer.Option(help="Observable of the figure; may be repeated.")
    ] = None,
    calibrate: Annotated[
        Texts, typer.Option(help="field or field=start of the theory to fit; may be repeated.")
    ] = None,
    where: Annotated[
        Texts, typer.Option(help="dimension=value of the runs it is fitted to.")
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
    if observable and figure is None:
        raise ValueError(f"`observable` belongs to --figure FILE, got {observable[0]!r} alone.")
    if where and not calibrate:
        raise ValueError(f"`where` belongs to --calibrate FIELD, got {where[0]!r} alone.")
    _start(devices, no_cache)
    from rich.console import Console

    from jaxscale._status import Status
    from jaxscale._text import counted, unknown
    from jaxscale.report._fit_file import Request, check_request, fit_runs
    from jaxscale.report._plot import plot
    from jaxscale.sweep._execute import run as run_plan
    from jaxscale.sweep._predict import predict
    from jaxscale.sweep._reader import read_attributes, store_path
    from jaxscale.sweep._states import States

    _stop_on_signals()
    console = Console()
    bounds = (max_runs_per_chunk, max_programs, max_compiles, memory)
    stretches = (checkpoint_seconds, keep_states, longer)
    planned, default = _planned(file, settings, axis, seeds, bounds, stretches)
    path = store or Path(default)
    free = tuple(calibrate or ())
    request = Request("", None, free=free, where=tuple(where or ()), bootstrap=None)
    if calibrate:
        check_request(request, planned.grid)
    drawable = planned.buckets[0].padded_system.schema.observables
    for name in observable or ():
        if name not in drawable:
            raise unknown("`observable`", name, drawable)
    typer.echo(str(planned))
    before = None
    with contextlib.suppress(ValueError):  # there is no store, or one that the run refuses
        before = read_attributes(store_path(path)).get("sessions")
    runs = run_plan(planned, store=path)
    always = (Status.ok, Status.nonfinite, Status.diverged, Status.not_converged)
    counts = {code: int((runs["status"] == code).sum()) for code in Status}
    names = {code: code.name.replace("_", " ") for code in Status} | {Status.ok: "runs ok"}
    parts = [f"{n} {names[code]}" for code, n in counts.items() if n or code in always]
    cost = f"{runs.attrs['wall_seconds']} s, of which compiling {runs.attrs['compile_seconds']} s"
    if runs.attrs["sessions"] == before:
        cost = f"nothing was left to run (the last session took {cost})"
    console.print(f"{', '.join(parts)}; {cost}")
    console.print(f"store: {path}")
    if not runs.attrs["complete"]:
        n_done = sum(n for code, n in counts.items() if code != Status.not_run)
        n_states = len(list(States(store_path(path))))
        more = f", and the states of {counted(n_states, 'chunk')} under way" if n_states else ""
        _leave(f"{n_done} of {planned.n_runs} runs are kept{more}")
    with _warnings_as_lines():
        fit = fit_runs(request, planned.grid, runs)[0] if calibrate else None
        if fit is not None:
            console.print(fit.table())
        if figure is not None:
            theory: Any = predict(planned.grid) if fit is None else fit.predict()
            plot(runs, theory, observables=observable).savefig(figure, dpi=160)
            console.print(f"figure: {figure}")
            for field in sorted({o.attrs.get("uncalibrated", "") for o in theory.values()} - {""}):
                console.print(f"theory is not calibrated: --calibrate {field} fits it to the runs")


@app.command()
def plan(
    file: File,
    settings: Set = None,
    axis: Axis = None,
    seeds: Seeds = None,
    max_runs_per_chunk: Chunk = None,
    max_programs: Programs = None,
    max_compiles: Compiles = None,
    memory: Memory = None,
    checkpoint_seconds: Checkpoint = 60.0,
    keep_states: Keep = False,
    longer: Longer = None,
    target: Device = None,
    compile_ahead: Annotated[
        bool, typer.Option("--compile", help="Compile for --target; needs its plugin.")
    ] = False,
    devices: Devices = None,
    no_cache: NoCache = False,
) -> None:
    """Show how a sweep would be cut and what it would cost; compiles nothing by default.

    The time is that of earlier runs of the same class on this machine, if they were timed.
    For a --target that is not this machine it is an estimate; --compile adds the memory of its
    compiled programs, where the plugin is installed (the extra cuda12, cuda13 or tpu).

    Warns of a learning rate above the stability limit where the limit has a closed form: for
    MultilinearSkills, and for TeacherStudent with plain Sgd. Elsewhere runs may end as diverged.
    """
    if compile_ahead:
        import jax

        if target is None:
            raise ValueError("`--compile` belongs to --target NAME, such as --target h200.")
        jax.config.update("jax_platforms", "cpu")  # the plugin of the target looks for no device
    _start(devices, no_cache)
    bounds = (max_runs_per_chunk, max_programs, max_compiles, memory)
    stretches = (checkpoint_seconds, keep_states, longer)
    planned = _planned(file, settings, axis, seeds, bounds, stretches, target)[0]
    typer.echo(str(planned))
    if not compile_ahead:
        return
    from jaxscale.sweep._ahead import compiled_for
    from jaxscale.sweep._program import compiled_bytes

    for i, bucket in enumerate(planned.buckets):
        size = compiled_bytes(compiled_for(bucket, planned.target.name)) / 1e6
        typer.echo(f"bucket {i}: {size:.1f} MB per device, compiled for {planned.target.name}")


@app.command()
def fit(
    data: Annotated[str, typer.Argument(help="A CSV file, or the store of a sweep.")],
    theory: Annotated[Text, typer.Option(help="Theory, as superposition.sequential_loss.")] = None,
    x: Annotated[Texts, typer.Option("--x", help="column or argument=column; repeatable.")] = None,
    y: Annotated[Text, typer.Option("--y", help="Column of theory; by default loss.")] = None,
    free: Annotated[Texts, typer.Option(help="parameter=start; for a store also a field.")] = None,
    fix: Annotated[Texts, typer.Option(help="parameter=value.")] = None,
    bound: Annotated[Texts, typer.Option(help="parameter=low:high.")] = None,
    where: Annotated[Texts, typer.Option(help="column=value that is used.")] = None,
    each: Annotated[Text, typer.Option(help="Column of separate fits.")] = None,
    residual: Annotated[Text, typer.Option(help="log (default) or scaled.")] = None,
    huber: Annotated[float | None, typer.Option(help="Errors above this are outliers.")] = None,
    bootstrap: Annotated[int, typer.Option(help="Resamples that are fitted again.")] = 0,
    resample: Annotated[Text, typer.Option(help="Column whose values are resampled.")] = None,
    imports: Imports = None,
    out: Annotated[Text, typer.Option(help="Path of the results without ending.")] = None,
    no_cache: NoCache = False,
) -> None:
    """Fit a theory to curves: a table with intervals, a JSON file and a figure."""
    stem = _output_stem(out or f"{Path(data).stem}-fit")
    _start(None, no_cache)
    from rich.console import Console

    from jaxscale.report._fit_file import Request, fit_file
    from jaxscale.report._save import write_images

    _import(imports)
    request = Request(
        data=data, theory=theory, x=tuple(x or ()), y=y, free=tuple(free or ()),
        fix=tuple(fix or ()), bound=tuple(bound or ()), where=tuple(where or ()), each=each,
        residual=residual, huber=huber, bootstrap=bootstrap, resample=resample,
    )  # fmt: skip
    console = Console()
    with _warnings_as_lines():
        calibration, draw = fit_file(request)
    console.print(calibration.table())
    calibration.to_json(f"{stem}.json")
    write_images(draw(), Path(stem))
    size = f"{_span(calibration.n_points, 'd')} points"
    rms = f"rms residual {_span(calibration.residual_rms, '.3g')}"
    console.print(f"{size}, {rms}; written: {stem}.json, .svg, .png", soft_wrap=True)


@app.command()
def surface(
    data: Annotated[str, typer.Argument(help="A CSV file with one row per training run.")],
    x: Annotated[
        Texts, typer.Option("--x", help="n_parameters=column or n_tokens=column; one of each.")
    ] = None,
    y: Annotated[Text, typer.Option("--y", help="Column of the loss; by default loss.")] = None,
    where: Annotated[Texts, typer.Option(help="column=value that is used.")] = None,
    flop: Annotated[
        list[float] | None,
        typer.Option(help="Compute 6 N D to allocate, as 1e21; may be repeated."),
    ] = None,
    delta: Annotated[float, typer.Option(help="Errors of ln loss above this are outliers.")] = 1e-3,
    bootstrap: Annotated[int, typer.Option(help="Resamples that are fitted again.")] = 200,
    key: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    out: Annotated[Text, typer.Option(help="Path of the results without ending.")] = None,
    no_cache: NoCache = False,
) -> None:
    """Fit L(N, D) = E + A N^-alpha + B D^-beta to training runs, and allocate compute.

    Prints the parameters and the best N and D with 95 % intervals; writes JSON and a figure.
    """
    stem = _output_stem(out or f"{Path(data).stem}-surface")
    _start(None, no_cache)
    from rich.console import Console

    from jaxscale.report._surface_file import SurfaceFile

    console = Console()
    with _warnings_as_lines():
        fitted = SurfaceFile.fit(
            data, x or (), y, where or (), flop or (), delta=delta, bootstrap=bootstrap, key=key
        )
    for table in fitted.tables():
        console.print(table)
    fitted.write(stem)
    console.print(f"written: {stem}.json, .svg, .png", soft_wrap=True)


def _output_stem(stem: str) -> str:
    """Check that results can be written, before anything runs."""
    from jaxscale._files import require_writable

    for ending in OUTPUTS:
        require_writable("out", Path(f"{stem}.{ending}"))
    return stem


def _import(modules: Texts) -> None:
    from jaxscale.sweep._config import import_from

    for module in modules or ():
        import_from(Path(), module, f"`import` {module!r}")


def _span(value: Any, form: str) -> str:
    """A number, or the smallest and the largest of several."""
    import numpy as np

    low, high = np.min(value), np.max(value)
    return format(low, form) if low == high else f"{low:{form}} to {high:{form}}"


@app.command()
def show(
    store: Annotated[Path, typer.Argument(help="A store, or a folder of them.")],
    imports: Imports = None,
) -> None:
    """Show what a store holds: its grid, how its runs ended, its sessions, and what remains."""
    from rich.console import Console

    from jaxscale.report._stored import stored_tables

    _import(imports)
    console = Console()
    for table in stored_tables(store):
        console.print(table)


@app.command()
def presets() -> None:
    """List the sweep files that come with jaxscale."""
    from rich.console import Console

    from jaxscale._table import Column, Table
    from jaxscale.sweep._config import descriptions

    header = [Column("preset"), Column("what it simulates")]
    rows = list(descriptions().items())
    note = "jaxscale plan PRESET shows what one costs, jaxscale run PRESET runs it."
    Console().print(Table("Presets", note, header, rows))


@app.command()
def info(devices: Devices = None, no_cache: NoCache = False) -> None:
    """Show versions, devices, compiled programs on disk, and presets."""
    _start(devices, no_cache)
    from importlib.metadata import version

    import jax

    from jaxscale._compilation import compiled_folder
    from jaxscale.sweep._config import preset_names
    from jaxscale.sweep._timings import read_times

    for package in ("jaxscale", "jax", "jaxlib", "equinox", "optax", "xarray", "zarr"):
        typer.echo(f"{package} {version(package)}")
    typer.echo(f"python {sys.version.split()[0]}")
    typer.echo(f"devices: {', '.join(f'{d.device_kind} {d.id}' for d in jax.devices())}")
    typer.echo(f"float64 by default: {bool(jax.config.jax_enable_x64)}")  # pyright: ignore
    folder = compiled_folder()
    sizes = [f.stat().st_size for f in folder.glob("*") if f.is_file()] if folder else []
    where = f"{sum(sizes) / 1e6:.1f} MB in {folder}" if folder else "not kept on disk"
    typer.echo(f"compiled programs: {where}")
    times = read_times()
    typer.echo(f"timed for plans: {', '.join(n.partition(':')[2] for n in times) or 'no runs yet'}")
    typer.echo(f"presets: {', '.join(preset_names())}")


def _leave(state: str) -> None:
    """End at once after Ctrl-C: XLA may still compile in a thread, which breaks an orderly exit."""
    typer.echo(f"stopped; {state}, the same command continues", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def main() -> None:
    """Entry point: one clear line and exit code 2 for an error, the traceback with `--debug`."""
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    warnings.filterwarnings("ignore", "stopped by Ctrl-C")  # `_leave` says it
    try:
        app(arguments, prog_name="jaxscale")
    except (ValueError, OSError) as error:
        if debug:
            raise
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            _leave("finished chunks are kept")
        raise
