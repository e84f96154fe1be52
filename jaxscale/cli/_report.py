"""`jaxscale report`: theory under sliders in one file."""

from pathlib import Path
from typing import Annotated

import typer

from jaxscale.cli._options import Devices, Imports, NoCache, Set, Text, Texts
from jaxscale.cli._start import import_modules, start


def report(
    source: Annotated[str, typer.Argument(help="A preset or sweep file, or a system.")],
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Write theory under sliders.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The file; by default the name of the source and .html.")
    ] = None,
    sliders: Annotated[
        Texts, typer.Option("--slider", help="A number that moves; may be repeated.")
    ] = None,
    x: Annotated[Text, typer.Option("--x", help="Dimension or number of the x axis.")] = None,
    settings: Set = None,
    imports: Imports = None,
    devices: Devices = None,
    no_cache: NoCache = False,
) -> None:
    """Write theory under sliders as one HTML file that needs no server and no network.

    It holds the closed forms at every position of the sliders, by default two or three: sizes and
    exponents first. `jaxscale explore` moves every number, and all the way.
    """
    if not interactive:
        raise ValueError(
            f"`report` writes interactive pages: jaxscale report --interactive {source}. Reports "
            "of the papers are written by jaxscale reproduce."
        )
    start(devices, no_cache)
    from jaxscale.explorer._report import write_report

    import_modules(imports)
    path = write_report(source, out, settings or (), sliders or (), x or "", typer.echo)
    typer.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
