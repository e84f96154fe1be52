"""What every command does: choose devices, print warnings as lines, stop on signals."""

import contextlib
import gc
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from jaxscale.cli._options import Texts
from jaxscale.cli._words import in_shell

DEPRECATED = "`.*` is deprecated, use `"  # a name of ours
INTERRUPTED = 130  # what Typer, too, ends with after Ctrl-C


def start(devices: int | None, no_cache: bool) -> None:
    """Choose the devices and keep compiled programs on disk, before JAX starts.

    There is one CPU device per core: a program spreads its runs over them. Traces are many small
    objects that live long: garbage is looked for less often, which saves 4 % of `reproduce`.
    """
    from jaxscale._compilation import keep_compiled
    from jaxscale._devices import use_all_cores

    gc.set_threshold(200_000, 50, 50)
    try:
        use_all_cores(devices)
    except ValueError:
        if devices is not None:  # else the caller started JAX: its devices are what there is
            raise
    if not no_cache:
        with warnings_as_lines():
            keep_compiled()


def stop_on_signals() -> None:
    """Stop as after Ctrl-C, keeping states, when a cluster ends the job; also in the background.

    A background job of a script ignores Ctrl-C at first.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))


@contextlib.contextmanager
def warnings_as_lines(category: type[Warning] = UserWarning) -> Iterator[None]:
    """Print warnings when they come, without a place in the source."""

    def show(message: Warning | str, *_: Any) -> None:
        typer.echo(f"warning: {in_shell(str(message))}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", category)
        warnings.filterwarnings("always", DEPRECATED, DeprecationWarning)
        warnings.showwarning = show
        yield


def leave(state: str | None) -> None:
    """End at once after Ctrl-C: XLA may still compile in a thread, which breaks an orderly exit.

    `state` is what the same command continues from, if there is anything.
    """
    how = "begins anew" if state is None else "continues"
    typer.echo(
        "; ".join(["stopped", *filter(None, [state])]) + f", the same command {how}", err=True
    )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(INTERRUPTED)


def import_modules(modules: Texts) -> None:
    from jaxscale.sweep._config import import_from

    for module in modules or ():
        import_from(Path(), module, f"`import` {module!r}")
