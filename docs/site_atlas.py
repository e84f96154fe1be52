"""The superposition atlas on the site, from the stores of `jaxscale reproduce atlas`.

`python docs/site_atlas.py FOLDER [SCALE]` reduces what FOLDER holds (scale `paper` by default; of
an interrupted run the setups that have ended) to `benchmarks/results/papers/atlas/map.nc`, keeps
the setups of that scale that are there and not in FOLDER, and draws its figures; without arguments,
they are drawn again. The page is made from these files: it
computes claims and verdicts.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import xarray

import jaxscale as js
from jaxscale._text import without_marks
from jaxscale.papers.atlas._claims import atlas_claims
from jaxscale.papers.atlas._reduced import cells_of, measure_atlas, read_atlas, write_atlas
from jaxscale.papers.atlas._setups import builders
from jaxscale.papers.atlas._study import figures_of, multiplicity, tables_of
from jaxscale.papers.atlas._verdicts import Kind

HERE = Path(__file__).resolve().parent
REDUCED = HERE.parent / "benchmarks" / "results" / "papers" / "atlas" / "map.nc"


def ended(folder: Path, scale: str) -> Iterator[tuple[str, xarray.Dataset]]:
    """Results of the grids of a scale whose runs have all ended, by name."""
    for name in builders(scale):
        store = folder / "atlas.zarr" / name
        if store.exists():
            runs = js.open_store(store)
            if bool((runs["status"] != js.Status.not_run).all()):
                yield name, runs.load()


def reduce(folder: Path, scale: str) -> None:
    """Write the reduced atlas: setups of FOLDER, and those that were reduced before."""
    atlas = measure_atlas(dict(ended(folder, scale)))
    before = read_atlas(REDUCED) if REDUCED.exists() else None
    if before is not None and before.attrs["scale"] == scale:
        new = set(atlas["setup"].values.tolist())
        kept = [name for name in before["setup"].values.tolist() if name not in new]
        both = [before.sel(setup=kept), atlas]
        atlas = xarray.concat(both, "setup", join="outer", combine_attrs="override")
    order = [name for name in builders(scale) if name in atlas["setup"].values]
    atlas = atlas.sel(setup=order)
    planned = [name for name in builders(scale) if not name.endswith("-control")]
    atlas.attrs |= {"scale": scale, "n_setups": len(planned)}
    write_atlas(atlas, REDUCED)


def draw() -> None:
    """Draw the figures of the reduced atlas as small pictures."""
    from draw_figures import draw_small

    atlas = read_atlas(REDUCED)
    draw_small(figures_of(atlas, cells_of(atlas)))


def part() -> str:
    """Return the part of a page: how much was run, verdicts, figures, claims and tables."""
    from site_papers import claim_lines, table_lines

    atlas = read_atlas(REDUCED)
    cells = cells_of(atlas)
    kinds = Counter(cell.kind for cell in cells.values())
    counts = ", ".join(f"*{kind}* {kinds[kind]}" for kind in Kind if kinds[kind])
    lines = [_extent(atlas), "", f"Cells by verdict: {counts}. {multiplicity(atlas, cells)}", ""]
    for figure in figures_of(atlas, cells):
        lines += [f"![{figure.name}](figures/{figure.name}.png)", "", figure.caption, ""]
    claims = atlas_claims(atlas)
    lines += [f":::{{dropdown}} Claims of the setups with eight seeds ({len(claims)})", ""]
    lines += [*claim_lines(claims), ":::", ""]
    for table in tables_of(atlas, cells):
        lines += [f":::{{dropdown}} {table.title}", "", without_marks(table.note), ""]
        names = [column.name or " " for column in table.columns]
        lines += [*table_lines(names, ([cell.text for cell in row] for row in table.cells))]
        lines += [":::", ""]
    return "\n".join(lines)


def _extent(atlas: xarray.Dataset) -> str:
    run, planned = atlas.sizes["setup"], int(atlas.attrs["n_setups"])
    size = f"N = {int(atlas.attrs['n_features'])}, {int(atlas.attrs['n_steps'])} steps"
    if atlas.attrs["scale"] == "quick":
        return (
            f"**Not the map yet**: this is the quick subset, {run} setups at {size}; the whole is "
            "`jaxscale reproduce atlas --scale paper`."
        )
    rest = "" if run == planned else f" of {planned}: the run has not ended"
    return f"{run} setups{rest}, {size}."


if __name__ == "__main__":
    if sys.argv[1:]:
        reduce(Path(sys.argv[1]), sys.argv[2] if sys.argv[2:] else "paper")
    draw()
