"""`jaxscale show`, `presets` and `info`: what there is."""

import sys
from typing import Annotated

import typer

from jaxscale.cli._options import Devices, Imports, NoCache
from jaxscale.cli._start import import_modules, start


def show(
    store: Annotated[str, typer.Argument(help="A store, or a folder of them.")],
    imports: Imports = None,
) -> None:
    """Show what a store holds: its grid, how its runs ended, its sessions, and what remains."""
    from rich.console import Console

    from jaxscale.report._stored import shown_store

    import_modules(imports)
    console = Console()
    tables, commands = shown_store(store)
    for table in tables:
        console.print(table)
    for command in commands:
        typer.echo(f"to continue: {command}")


def presets() -> None:
    """List the sweep files that come with jaxscale."""
    from rich.console import Console

    from jaxscale._table import Column, Table
    from jaxscale.sweep._config import descriptions

    header = [Column("preset"), Column("what it simulates")]
    rows = list(descriptions().items())
    note = "jaxscale plan PRESET shows what one costs, jaxscale run PRESET runs it."
    Console().print(Table("Presets", note, header, rows))


def info(devices: Devices = None, no_cache: NoCache = False) -> None:
    """Show versions, devices, compiled programs on disk, and presets."""
    start(devices, no_cache)
    from importlib.metadata import PackageNotFoundError, version

    import jax

    from jaxscale._compilation import compiled_folder
    from jaxscale.sweep._config import preset_names
    from jaxscale.sweep._timings import PRODUCTS, read_times

    for package in ("jaxscale", "jax", "jaxlib", "equinox", "optax", "xarray", "zarr"):
        typer.echo(f"{package} {version(package)}")
    try:
        typer.echo(f"obstore {version('obstore')}, for stores in buckets")
    except PackageNotFoundError:
        typer.echo("no obstore, for stores in buckets: pip install 'jaxscale[cloud]'")
    typer.echo(f"python {sys.version.split()[0]}")
    typer.echo(f"devices: {', '.join(f'{d.device_kind} {d.id}' for d in jax.devices())}")
    typer.echo(f"float64 by default: {bool(jax.config.jax_enable_x64)}")  # pyright: ignore
    folder = compiled_folder()
    sizes = [f.stat().st_size for f in folder.glob("*") if f.is_file()] if folder else []
    where = f"{sum(sizes) / 1e6:.1f} MB in {folder}" if folder else "not kept on disk"
    typer.echo(f"compiled programs: {where}")
    names = [name.split()[0] for name in read_times() if name != PRODUCTS]
    timed = dict.fromkeys(name.partition(":")[2] for name in names)
    typer.echo(f"timed for plans: {', '.join(timed) or 'no runs yet'}")
    typer.echo(f"presets: {', '.join(preset_names())}")
