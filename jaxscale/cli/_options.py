"""Options that several commands take."""

from typing import Annotated, TypeAlias

import typer

Text: TypeAlias = str | None
Texts: TypeAlias = list[str] | None
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
Key = Annotated[int | None, typer.Option(help="Seed of the root key, instead of the file's.")]
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
Store = Annotated[
    Text, typer.Option(help="Zarr store to write or continue: a folder, or s3://BUCKET/NAME.")
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
