"""Values and slopes with 50 digits, rounded, in one file."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from references._case import Case

FILE = Path(__file__).resolve().parents[2] / "data" / "references.npz"


@dataclasses.dataclass(frozen=True)
class Table:
    """What is stored of a case: points, values, sizes of errors, and slopes (NaN where none)."""

    points: list[dict[str, float]]
    values: np.ndarray
    sizes: np.ndarray
    slopes: np.ndarray


def make(case: Case) -> Table:
    """Compute the table of a case; its points are always the same."""
    points = case.points(np.random.default_rng([0, *case.name.encode()]))
    values, sizes = np.array([case.reference(p) for p in points]).T
    slopes = [[case.slope(p, k) for k in p] for p in points] if case.slopes else []
    return Table(points, values, sizes, np.array(slopes))


def write(tables: dict[str, Table]) -> None:
    """Write all tables to `FILE`."""
    arrays = {}
    for name, table in tables.items():
        names = list(table.points[0])
        arrays[f"{name}|points"] = np.array([[p[k] for k in names] for p in table.points])
        arrays[f"{name}|values"] = np.stack([table.values, table.sizes])
        arrays[f"{name}|slopes"] = table.slopes
    names = {name: list(table.points[0]) for name, table in tables.items()}
    np.savez_compressed(FILE, names=np.array(json.dumps(names)), **arrays)


def read() -> dict[str, Table]:
    """Read all tables from `FILE`."""
    with np.load(FILE) as arrays:
        return {
            name: Table(
                [
                    dict(zip(names, map(float, row), strict=True))
                    for row in arrays[f"{name}|points"]
                ],
                *arrays[f"{name}|values"],
                arrays[f"{name}|slopes"],
            )
            for name, names in json.loads(str(arrays["names"])).items()
        }
