"""Runs of one compute, or of one number of tokens, and the fitted form along them."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from jaxscale.analysis._allocation import FLOP_PER_PARAMETER_TOKEN, SIZES
from jaxscale.analysis._isoflop_groups import grouped_by
from jaxscale.report._form_file import FormFile

FEWEST = 3  # sizes of a group that has a curve
MOST = 9  # curves, of the groups of most runs
N_PLACES = 60  # of a curve
SIZE, TOKENS = SIZES


@dataclasses.dataclass(frozen=True)
class Groups:
    """Runs that share what they are grouped `by`, in words, and one curve per group.

    - `at`: what each run is grouped by.
    - `shared`: what the group of each curve shares; `sizes`, `losses`: the curves.
    """

    by: str
    at: Float[np.ndarray, " n"]
    shared: list[float]
    sizes: list[Float[np.ndarray, " p"]]
    losses: list[Float[np.ndarray, " p"]]


def groups_of(file: FormFile) -> Groups:
    """Group the runs of a fit that allocates: by compute, else by tokens where more repeat."""
    tokens = file.runs[TOKENS].to_numpy(float)
    by_compute, by_tokens = (grouped_by(np.log(x), None) for x in (file.compute, tokens))
    size = file.runs[SIZE].to_numpy(float)
    is_compute = len(_long(by_compute, size)) >= len(_long(by_tokens, size))
    at, group = (file.compute, by_compute) if is_compute else (tokens, by_tokens)
    numbers = _long(group, size)
    largest = sorted(numbers, key=lambda g: -np.sum(group == g))[:MOST]
    shared, sizes, losses = [], [], []
    for number in sorted(largest):
        own = group == number
        middle = float(np.exp(np.log(at[own]).mean()))
        n = np.geomspace(size[own].min(), size[own].max(), N_PLACES)
        d = middle / (FLOP_PER_PARAMETER_TOKEN * n) if is_compute else np.full_like(n, middle)
        shared.append(middle)
        sizes.append(n)
        losses.append(fitted_values(file, {SIZE: n, TOKENS: d}))
    by = "C = 6 N D" if is_compute else "tokens D"
    return Groups(by, at, shared, sizes, losses)


def fitted_values(
    file: FormFile, inputs: dict[str, Float[np.ndarray, " n"]]
) -> Float[np.ndarray, " n"]:
    """The fitted form at some inputs."""
    with np.errstate(all="ignore"):
        fitted = file.formula.replaced(file.fit.values).predicted(**inputs)
    return fitted[file.formula.result].to_numpy(float)


def _long(group: Int[np.ndarray, " n"], size: Float[np.ndarray, " n"]) -> list[int]:
    """Numbers of the groups of enough different sizes."""
    return [int(g) for g in np.unique(group) if len(np.unique(size[group == g])) >= FEWEST]
