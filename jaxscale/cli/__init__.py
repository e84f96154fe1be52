"""The command line: `jaxscale reproduce | run | plan | explore | report | fit | ... | info`."""

import sys
import warnings
from typing import Annotated

import typer

from jaxscale.cli._explore import explore
from jaxscale.cli._fit import fit, surface
from jaxscale.cli._report import report
from jaxscale.cli._reproduce import reproduce
from jaxscale.cli._show import info, presets, show
from jaxscale.cli._start import INTERRUPTED, leave
from jaxscale.cli._sweep import plan, run
from jaxscale.cli._words import usage_error, with_options_named

app = typer.Typer(
    pretty_exceptions_enable=False,
    help="Solvable models of neural scaling laws: simulation and closed-form theory.",
)  # fmt: skip

for command in (reproduce, run, plan, explore, report, fit, surface, show, presets, info):
    app.command()(with_options_named(command))


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


def main() -> None:
    """Entry point: one clear line and exit code 2 for an error, the traceback with `--debug`."""
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"] or ["--help"]
    warnings.filterwarnings("ignore", "stopped by Ctrl-C")  # `leave` says it
    try:
        code = app(arguments, prog_name="jaxscale", standalone_mode=False)
    except Exception as error:
        usage = hasattr(error, "format_message")  # an error of Typer's, of the options
        if debug or not (usage or isinstance(error, ValueError | OSError)):
            raise
        text = " ".join(str(error).split())
        if usage:
            text = usage_error(error, f"jaxscale {arguments[0]}")
        typer.echo(f"error: {text}", err=True)
        sys.exit(2)
    if code == INTERRUPTED:
        computes = arguments[0] in ("run", "reproduce")
        leave("finished chunks are kept" if computes else None)
    sys.exit(code)
