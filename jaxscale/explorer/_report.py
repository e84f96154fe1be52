"""What `jaxscale report --interactive` writes: the system that is meant, and its page."""

from collections.abc import Callable, Sequence
from pathlib import Path

from jaxscale._registry import written_name
from jaxscale._system import AbstractSystem
from jaxscale.explorer._sources import source_of
from jaxscale.fields import base_of
from jaxscale.paths import replace
from jaxscale.sweep._config import decode, parse_value


def write_report(
    source: str,
    out: Path | None,
    settings: Sequence[str],
    sliders: Sequence[str],
    x: str,
    say: Callable[[str], None],
) -> Path:
    """Write theory under sliders as one HTML file.

    **Arguments**

    - `source`: a preset, sweep file or system.
    - `out`: the file; by default the name of the source with `.html`.
    - `settings`: fields of the system as `field=value`.
    - `sliders`, `x`: fields that move, and the x axis; empty for the usual ones.
    - `say`: gets a line on what is evaluated, before it is.

    **Returns** the file.

    **Raises** `ValueError` for what has no theory.
    """
    meant = source_of(source)
    if meant.kind != "theory":
        raise ValueError(
            f"`source` {source!r} is no system: a page without a server shows the theory of a "
            "preset, sweep file or system; jaxscale explore shows stores and tables."
        )
    system = with_settings(meant.thing, settings)
    stem = Path(source).stem if Path(source).suffix == ".toml" else meant.name
    path = out if out is not None else Path(f"{stem}.html")
    try:
        from jaxscale.explorer._static_page import write_static_page
    except ImportError:
        raise ValueError("`interactive` needs Bokeh: pip install 'jaxscale[explore]'.") from None
    write_static_page(path, meant.name, system, sliders, x, say)
    return path


def with_settings(system: AbstractSystem, settings: Sequence[str]) -> AbstractSystem:
    """The system with fields as the command line writes them."""
    package = written_name(type(system)).rpartition(".")[0]
    for text in settings:
        path, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"`set` must be field=value, got {text!r}.")
        plain = decode(parse_value(value), package, base_of(system, path))
        system = replace(system, path, plain)
    return system
