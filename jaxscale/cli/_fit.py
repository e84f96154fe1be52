"""`jaxscale fit` and `jaxscale surface`: theories and loss surfaces, fitted to files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from jaxscale.cli._options import Imports, NoCache, Text, Texts
from jaxscale.cli._start import import_modules, start, warnings_as_lines
from jaxscale.cli._words import table_in_shell

OUTPUTS = ("json", "svg", "png")


def fit(
    data: Annotated[str, typer.Argument(help="A table (CSV, JSON lines), or a sweep's store.")],
    theory: Annotated[Text, typer.Option(help="Theory, as superposition.sequential_loss.")] = None,
    form: Annotated[Text, typer.Option(help="Form of a scaling law, as chinchilla.")] = None,
    x: Annotated[Texts, typer.Option("--x", help="column or argument=column; repeatable.")] = None,
    y: Annotated[
        Text, typer.Option("--y", help="column or result=column, as loss=column; by default loss.")
    ] = None,
    free: Annotated[Texts, typer.Option(help="parameter=start; for a store also a field.")] = None,
    fix: Annotated[Texts, typer.Option(help="parameter=value.")] = None,
    at: Annotated[
        Texts, typer.Option(help="Compute 6 N D to allocate, or x=1e9,...; repeatable; of a form.")
    ] = None,
    bound: Annotated[Texts, typer.Option(help="parameter=low:high.")] = None,
    where: Annotated[
        Texts, typer.Option(help="Rows that are used: column=value, or !=, <, <=, >, >=.")
    ] = None,
    each: Annotated[Text, typer.Option(help="Column of separate fits.")] = None,
    weights: Annotated[Text, typer.Option(help="Column of weights of the points.")] = None,
    residual: Annotated[
        Text, typer.Option(help="log (default), scaled; of a store log_mean.")
    ] = None,
    huber: Annotated[
        float | None, typer.Option(help="Errors above this are outliers; inf: none.")
    ] = None,
    bootstrap: Annotated[
        int | None, typer.Option(help="Resamples that are fitted again; by default of seeds.")
    ] = None,
    resample: Annotated[Text, typer.Option(help="Column whose values are resampled.")] = None,
    key: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    imports: Imports = None,
    out: Annotated[Text, typer.Option(help="Path of the results without ending.")] = None,
    no_cache: NoCache = False,
) -> None:
    """Fit a theory or a form to curves or runs: tables with intervals, a JSON file, figures."""
    stem = output_stem(out or f"{Path(data).stem}-fit")
    start(None, no_cache)
    from rich.console import Console

    from jaxscale.report._fit_file import Request, fit_file
    from jaxscale.report._save import write_images

    import_modules(imports)
    request = Request(
        data=data, theory=theory, form=form, at=tuple(at or ()), x=tuple(x or ()), y=y,
        free=tuple(free or ()), fix=tuple(fix or ()), bound=tuple(bound or ()),
        where=tuple(where or ()), each=each, weights=weights, residual=residual, huber=huber,
        bootstrap=bootstrap, resample=resample, key=key,
    )  # fmt: skip
    if form is not None:
        return _print_form(request, stem)
    console = Console()
    with warnings_as_lines():
        calibration, draw = fit_file(request)
        console.print(table_in_shell(calibration.table()))
        calibration.to_json(f"{stem}.json")
        write_images(draw(), Path(stem))
    size = f"{_span(calibration.n_points, 'd')} points"
    rms = f"rms residual {_span(calibration.residual_rms, '.3g')}"
    console.print(f"{size}, {rms}; written: {stem}.json, .svg, .png", soft_wrap=True)


def surface(
    data: Annotated[str, typer.Argument(help="A table with one row per training run.")],
    x: Annotated[
        Texts, typer.Option("--x", help="n_parameters=column or n_tokens=column; one of each.")
    ] = None,
    y: Annotated[Text, typer.Option("--y", help="Column of the loss; by default loss.")] = None,
    where: Annotated[
        Texts, typer.Option(help="Rows that are used: column=value, or !=, <, <=, >, >=.")
    ] = None,
    flop: Annotated[
        Texts, typer.Option(help="Compute 6 N D to allocate, as 1e21; may be repeated.")
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option(help="Errors of ln loss above this are outliers; by default 1.345 sigma."),
    ] = None,
    bootstrap: Annotated[
        int | None, typer.Option(help="Resamples that are fitted again; by default 200.")
    ] = None,
    key: Annotated[int, typer.Option(help="Of the resamples.")] = 0,
    out: Annotated[Text, typer.Option(help="Path of the results without ending.")] = None,
    no_cache: NoCache = False,
) -> None:
    """Deprecated: `jaxscale fit RUNS --form chinchilla --at FLOP` is the same."""
    stem = output_stem(out or f"{Path(data).stem}-surface")
    start(None, no_cache)
    from jaxscale.report._fit_file import Request

    typer.echo("`surface` is deprecated: `fit --form chinchilla` is the same", err=True)
    request = Request(
        data=data, theory=None, form="chinchilla", at=tuple(flop or ()), x=tuple(x or ()), y=y,
        where=tuple(where or ()), huber=delta, bootstrap=bootstrap, key=key,
    )  # fmt: skip
    _print_form(request, stem)


def _print_form(request: Any, stem: str) -> None:
    """Fit a form, print its tables and write its files."""
    from rich.console import Console

    from jaxscale.report._fit_file import fit_form

    console = Console()
    with warnings_as_lines():
        fitted = fit_form(request)
        for table in fitted.tables():
            console.print(table_in_shell(table))
        console.print(f"written: {', '.join(fitted.write(stem))}", soft_wrap=True)


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
