"""What is measured on results of random-feature regression: frontiers, peaks, instabilities."""

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

from jaxscale.analysis._frontier import Frontier, frontier

if TYPE_CHECKING:
    import xarray

BLOCKS = 20
STRENGTH = "solver.strength"
PLANE_COMPUTE = np.geomspace(1e3, 3e4, 7)


def measure_frontier(runs: "xarray.Dataset", compute: Float[np.ndarray, " c"]) -> Frontier:
    r"""Best split of compute into features and samples, from runs at infinitely many features.

    $$\mathbb E_F L = L_\infty(X)\, \frac{N - 1}{N - r - 1}, \qquad N \ge r + 2$$

    is exact for every data set, so N needs no runs of its own. The measured means of `L_inf` and of
    the rank are smoothed by parabolas in logarithms (single points scatter by more than the minimum
    is deep), and the loss is minimised over D at fixed `C = N D`, beyond the peak. The mean over
    data sets of the factor is replaced by the factor at the mean rank: at the optimum, N = (3 to
    5) r, they differ by less than 1 %.

    `runs` hold `residual_loss` and `rank` over `n_samples` and `seed`. The `Frontier` has size N
    and time D; NaN where the optimum is at an end of the range of `n_samples`.
    """
    both = runs[["residual_loss", "rank"]].to_dataarray("quantity")
    log_d = np.log(np.asarray(runs["n_samples"], float))
    fine = np.linspace(log_d[0], log_d[-1], 4001)

    def optimum(mean: "xarray.DataArray") -> Float[np.ndarray, "2 c"]:
        smooth = [
            np.exp(np.polyval(np.polyfit(log_d, np.log(np.asarray(mean.sel(quantity=q))), 2), fine))
            for q in ("residual_loss", "rank")
        ]
        vertices = []
        for c in compute:
            n = c / np.exp(fine)
            beyond = n >= smooth[1] + 2
            pole = np.where(beyond, n - smooth[1] - 1, 1.0)
            loss = np.where(beyond, smooth[0] * (n - 1) / pole, np.inf)
            at = int(np.argmin(loss))
            if not (0 < at < fine.size - 1 and np.isfinite(loss[at - 1 : at + 2]).all()):
                vertices.append((np.nan, np.nan))
                continue
            # between the points: what a jackknife multiplies must not be their spacing
            a, b, d = np.polyfit((-1, 0, 1), np.log(loss[at - 1 : at + 2]), 2)
            moved = -b / (2 * a) if a > 0 else 0.0
            place = fine[at] + moved * (fine[1] - fine[0])
            vertices.append((d + b * moved / 2, np.log(c) - place))
        return np.asarray(vertices).T

    return Frontier.of(both, optimum, compute, size="n_features", time="n_samples")


def tuned(loss: "xarray.DataArray") -> "xarray.DataArray":
    """Loss at the swept ridge strength whose mean over seeds is lowest, point by point."""
    if STRENGTH not in loss.dims:
        return loss
    return loss.isel({STRENGTH: loss.mean("seed").argmin(STRENGTH)})


def measure_plane(loss: "xarray.DataArray") -> Frontier:
    """Frontier of simulated losses over `n_features`, `n_samples`, seeds, and ridge strengths.

    The window of compute is that in which both best sizes lie inside the planes of the presets.
    """
    return frontier(tuned(loss), PLANE_COMPUTE, size="n_features", time="n_samples")


def peak_over(loss: "xarray.DataArray", unit: "xarray.DataArray") -> Float[np.ndarray, " s"]:
    """Where each seed's loss is largest along `n_features`, in units of `unit` of that seed.

    NaN for a seed of which a loss is missing, for that may be the largest.
    """
    where = loss["n_features"].isel(n_features=loss.fillna(-np.inf).argmax("n_features"))
    return np.asarray((where / unit).where(loss.notnull().all("n_features")), float)


@dataclasses.dataclass(frozen=True)
class Instability:
    """Counts of unstable runs over learning rates and samples, and their binomial intervals.

    - `learning_rate`, `n_samples`: the axes.
    - `n_runs`: runs with an eigenvalue at each number of samples (the rates share them).
    - `count`, `low`, `high`: unstable runs, and Clopper-Pearson 95 % limits of the probability.
    - `share`: per block of runs, shape (blocks, rates, samples).
    """

    learning_rate: Float[np.ndarray, " e"]
    n_samples: Float[np.ndarray, " d"]
    n_runs: Int[np.ndarray, " d"]
    count: Float[np.ndarray, "e d"]
    low: Float[np.ndarray, "e d"]
    high: Float[np.ndarray, "e d"]
    share: "xarray.DataArray"

    @property
    def runs(self) -> str:
        """Their number in words, such as `2000` or `1998 to 2000`."""
        return " to ".join(str(n) for n in sorted({int(self.n_runs.min()), int(self.n_runs.max())}))


def measure_instability(
    largest: "xarray.DataArray", learning_rate: Float[np.ndarray, " e"]
) -> Instability:
    """Count runs with `learning_rate * largest_eigenvalue > 2`.

    `largest` is `largest_eigenvalue` over `n_samples` and `seed`, the same runs for every rate.
    Runs are in blocks so that exponents have a jackknife.

    **Raises** `ValueError` for fewer runs than blocks.
    """
    import xarray
    from scipy.stats import beta

    rate = xarray.DataArray(learning_rate, dims="learning_rate")
    # a run without an eigenvalue makes its block, and so the claims, NaN
    unstable = (rate * largest > 2.0).astype(float).where(largest.notnull())
    unstable = unstable.transpose("seed", "learning_rate", "n_samples")
    if unstable.sizes["seed"] < BLOCKS:
        n_seeds = unstable.sizes["seed"]
        raise ValueError(f"`largest` must have at least {BLOCKS} seeds, got {n_seeds}.")
    n = np.asarray(largest.notnull().sum("seed"))
    count = np.asarray(unstable.sum("seed", min_count=1), float)
    low = np.where(count > 0, beta.ppf(0.025, np.maximum(count, 1), n - count + 1), 0.0)
    high = np.where(count < n, beta.ppf(0.975, count + 1, np.maximum(n - count, 1)), 1.0)
    blocks = np.array_split(np.asarray(unstable, float), BLOCKS)
    share = np.stack([block.mean(axis=0) for block in blocks])
    return Instability(
        np.asarray(learning_rate, float),
        np.asarray(largest["n_samples"], float),
        n,
        count,
        low,
        high,
        xarray.DataArray(share, dims=("seed", "learning_rate", "n_samples")),
    )
