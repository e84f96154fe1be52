"""The papers' experiments, from the stores of presets with their authors' settings.

`python docs/site_papers.py NAME STORE` reduces the store of the preset NAME to what claims and
figures need (`benchmarks/results/papers/NAME.nc`) and evaluates it; without arguments, what was
reduced before is evaluated again. The page is made from these files: it computes the verdicts.
"""

import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import xarray

import jaxscale as js
from jaxscale.papers.emergence._study import evaluate
from jaxscale.sweep._config import descriptions
from jaxscale.sweep._predict import grid_of

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "benchmarks" / "results" / "papers"
SHOWN = {  # presets of the page in its order, and which records of their curves are kept
    "emergence_time_paper": 1,
    "emergence_one_skill_paper": 1,
    "emergence_starts_paper": 2,
    "emergence_data_reduced": 1,
    "emergence_width_reduced": 1,
}
ATTRIBUTES = ("grid", "versions", "wall_seconds")


def reduce(name: str, store: Path) -> None:
    """Write the skill strengths of the seeds whose runs have all ended."""
    runs = js.open_store(store)
    ended = (runs["status"] != js.Status.not_run).all(
        [d for d in runs["status"].dims if d != "seed"]
    )
    chosen = runs[["skill_strength", "status"]].isel(seed=np.flatnonzero(ended))
    chosen = chosen.isel(step=slice(None, None, SHOWN[name])).load()
    chosen.attrs = {key: runs.attrs[key] for key in ATTRIBUTES}
    chosen["status"] = chosen["status"].astype(np.int8)
    chosen["skill_strength"] = chosen["skill_strength"].astype(np.float32)
    for variable in chosen.variables.values():
        variable.encoding.clear()
    RESULTS.mkdir(parents=True, exist_ok=True)
    chosen.to_netcdf(RESULTS / f"{name}.nc", engine="scipy", format="NETCDF3_CLASSIC")


def load(name: str) -> xarray.Dataset:
    """Return reduced results."""
    return xarray.load_dataset(RESULTS / f"{name}.nc", engine="scipy")


def record(name: str) -> None:
    """Evaluate reduced results: claims and tables as JSON, the figure as a small picture."""
    from draw_figures import draw_small

    runs = load(name)
    conclusion = evaluate({name: runs})
    tables = [
        {"note": t.note, "header": [str(getattr(c, "name", c)) for c in t.header], "rows": t.rows}
        for t in conclusion.tables
    ]
    draw_small(conclusion.figures)
    recorded = {
        "seeds": f"{runs.sizes['seed']} of {len(grid_of(runs).seeds)} seeds",
        "hours": round(float(runs.attrs["wall_seconds"]) / 3600, 2),
        "captions": {figure.name: figure.caption for figure in conclusion.figures},
        "claims": [claim.to_dict() for claim in conclusion.claims],
        "tables": tables,
    }
    text = json.dumps(recorded, indent=1, ensure_ascii=False, allow_nan=False)
    (RESULTS / f"{name}.json").write_text(text + "\n")


def experiments() -> str:
    """Return the part of a page: every experiment with its figure, claims and tables."""
    from site_claims import recorded_claim

    texts, parts = descriptions(), []
    for name in SHOWN:
        path = RESULTS / f"{name}.json"
        parts += [f"### `{name}`", "", texts[name], ""]
        if not path.exists():
            parts += [f"Not run yet: `jaxscale run {name}`.", ""]
            continue
        recorded = json.loads(path.read_text())
        hours = f"{recorded['hours']:g} h on two CPU cores that also did other work"
        parts += [f"{recorded['seeds']}, {hours}.", ""]
        for figure, caption in recorded["captions"].items():
            parts += [f"![{texts[name]}](figures/{figure}.png)", "", caption, ""]
        parts += claim_lines([recorded_claim(values) for values in recorded["claims"]])
        for table in recorded["tables"]:
            parts += ["", table["note"], "", *table_lines(table["header"], table["rows"])]
        parts.append("")
    return "\n".join(parts)


def table_lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table."""
    first, *others = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return [first, "|---" * len(header) + "|", *others]


def claim_lines(claims: list[js.Claim]) -> list[str]:
    """Return the lines of a table of claims; none without any."""

    def shown(value: float) -> str:
        form = ",.0f" if abs(value) >= 1000 else ".4g"
        return format(value, form) if math.isfinite(value) else "–"

    header = ("claim", "predicted", "measured", "95 % interval", "verdict", "margin because")
    rows = [
        (
            c.statement,
            f"{shown(c.predicted)} ± {shown(c.margin)}",
            shown(c.measured),
            " to ".join(map(shown, c.interval)),
            c.verdict,
            c.reason,
        )
        for c in claims
    ]
    return table_lines(header, rows) if claims else []


if __name__ == "__main__":
    if sys.argv[1:]:
        reduce(sys.argv[1], Path(sys.argv[2]))
    for name in sys.argv[1:2] or [path.stem for path in sorted(RESULTS.glob("*.nc"))]:
        record(name)
