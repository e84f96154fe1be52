"""`jaxscale explore`: a page on which theory follows a slider."""

import os
import sys
from typing import Annotated

import typer

from jaxscale.cli._options import Devices, Imports, NoCache
from jaxscale.cli._start import import_modules, start


def explore(
    source: Annotated[
        str | None,
        typer.Argument(help="A store, a table of runs, a preset or sweep file, or a system."),
    ] = None,
    port: Annotated[int, typer.Option(help="Port of 127.0.0.1; by default a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
    imports: Imports = None,
    devices: Devices = 1,
    no_cache: NoCache = False,
) -> None:
    """Open a page: theory under sliders, a sweep with theory over it, or fits of a table of runs.

    It is served to this machine alone, until Ctrl-C.
    """
    start(devices, no_cache)
    from jaxscale.explorer import explore as explore_source

    import_modules(imports)
    explorer = explore_source(source, show=browser, port=port)
    typer.echo(f"{explorer.url}\nCtrl-C ends it")
    explorer.wait()
    sys.stdout.flush()
    os._exit(0)  # a fit or a compilation in a thread is not waited for
