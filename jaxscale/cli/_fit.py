"""`jaxscale fit` and `jaxscale surface`: theories and loss surfaces, fitted to files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxscale.cli._options import Imports, NoCache, Text, Texts
from jaxscale.cli._start import import_modules, start, warnings_as_lines

OUTPUTS = ("json", "svg", "png")


def fit(
    data: Annotated[str, typer.Argument(help="A table (CSV, JSON), or the store of a sweep.")],
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
    bootstrap: Annotated[
        int | None, typer.Option(help="Resamples that are fitted again; by default of seeds.")
    ] = None,
    resample: Annotated[Text, typer.Option(help="Column whose values are resampled.")] = None,
    imports: Imports = None,
    out: Annotated[Text, typer.Option(help="Path of the results without ending.")] = None,
    no_cache: NoCache = False,
) -> None:
    """Fit a theory to curves: a table with intervals, a JSON file and a figure."""
    stem = output_stem(out or f"{Path(data).stem}-fit")
    start(None, no_cache)
    from rich.console import Console

    from jaxscale.report._fit_file import Request, fit_file
    from jaxscale.report._save import write_images

    import_modules(imports)
    request = Request(
        data=data, theory=theory, x=tuple(x or ()), y=y, free=tuple(free or ()),
        fix=tuple(fix or ()), bound=tuple(bound or ()), where=tuple(where or ()), each=each,
        residual=residual, huber=huber, bootstrap=bootstrap, resample=resample,
    )  # fmt: skip
    console = Console()
    with warnings_as_lines():
        calibration, draw = fit_file(request)
    console.print(calibration.table())
    calibration.to_json(f"{stem}.json")
    write_images(draw(), Path(stem))
    size = f"{_span(calibration.n_points, 'd')} points"
    rms = f"rms residual {_span(calibration.residual_rms, '.3g')}"
    console.print(f"{size}, {rms}; written: {stem}.json, .svg, .png", soft_wrap=True)


def surface(
    data: Annotated[str, typer.Argument(help="A table (CSV, JSON), a row per training run.")],
    x: Annotated[
        Texts, typer.Option("--x", help="n_parameters=column or n_tokens=column; one of each.")
    ] = None,
    y: Annotated[Text, typer.Option("--y", help="Column of the loss; by default loss.")] = None,
    where: Annotated[Texts, typer.Option(help="column=value that is used.")] = None,
    flop: Annotated[
        list[float] | None,
        typer.Option(help="Compute 6 N D to allocate, as 1e21; may be repeated."),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(help="Errors of ln loss above this are outliers; by default 1.345 sigma."),
    ] = None,
    bootstrap: Annotated[int, typer.Option(help="Resamples that are fitted again.")] = 200,
    key: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    out: Annotated[Text, typer.Option(help="Path of the results without ending.")] = None,
    no_cache: NoCache = False,
) -> None:
    """Fit L(N, D) = E + A N^-alpha + B D^-beta to training runs, and allocate compute.

    Prints the parameters and the best N and D with 95 % intervals; writes JSON and a figure.
    """
    stem = output_stem(out or f"{Path(data).stem}-surface")
    start(None, no_cache)
    from rich.console import Console

    from jaxscale.report._surface_file import SurfaceFile

    console = Console()
    with warnings_as_lines():
        fitted = SurfaceFile.fit(
            data, x or (), y, where or (), flop or (), delta=delta, bootstrap=bootstrap, key=key
        )
    for table in fitted.tables():
        console.print(table)
    fitted.write(stem)
    console.print(f"written: {stem}.json, .svg, .png", soft_wrap=True)


def output_stem(stem: str) -> str:
    """Check that results can be written, before anything runs."""
    from jaxscale._files import require_writable

    for ending in OUTPUTS:
        require_writable("out", Path(f"{stem}.{ending}"))
    return stem


def _span(value: Any, form: str) -> str:
    """A number, or the smallest and the largest of several."""
    import numpy as np

    low, high = np.min(value), np.max(value)
    return format(low, form) if low == high else f"{low:{form}} to {high:{form}}"
