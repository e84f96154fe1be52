"""`jaxscale reproduce`: the claims of a paper."""

from pathlib import Path
from typing import Annotated

import typer

from jaxscale.cli._options import Devices, NoCache
from jaxscale.cli._start import start, stop_on_signals, warnings_as_lines


def reproduce(
    system: Annotated[
        str, typer.Argument(help="emergence, sparse, superposition, streaming, atlas or all")
    ],
    scale: Annotated[
        str,
        typer.Option(
            help="quick (a minute), or paper: what its authors ran, where that is public."
        ),
    ] = "quick",
    out: Annotated[Path | None, typer.Option(help="Folder for results and report.")] = None,
    devices: Devices = None,
    no_cache: NoCache = False,
) -> None:
    """Check the claims of a paper, or of all: simulate, compare with theory, write a report."""
    start(devices, no_cache)
    from rich.console import Console

    from jaxscale._files import make_folder, require_new_folder
    from jaxscale._text import unknown
    from jaxscale.papers import STUDIES
    from jaxscale.report._study import (
        check_scale,
        current_scale,
        reproduce as reproduce_study,
        reproduce_all,
    )

    if system not in (*STUDIES, "all"):
        raise unknown("`system`", system, (*STUDIES, "all"))
    with warnings_as_lines(DeprecationWarning):
        scale = current_scale(scale)
    studies = list(STUDIES.values()) if system == "all" else [STUDIES[system]]
    for study in studies:
        check_scale(study, scale)
    stop_on_signals()
    console = Console()
    folder = Path(f"jaxscale-{system}-{scale}") if out is None else out
    require_new_folder("out", folder)
    try:
        make_folder(folder)
    except OSError as error:
        raise ValueError(f"`out` {folder} cannot be written: {error.strerror}.") from None
    if system == "all":
        reproduce_all(studies, folder, scale=scale, console=console)
    else:
        reproduce_study(studies[0], folder, scale=scale, console=console).print(console)
        console.print(f"report: {folder / 'report.html'}", soft_wrap=True)
