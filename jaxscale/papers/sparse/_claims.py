"""The claims of Sous and Winer 2026 (arXiv 2605.23591), each with its margin, from Datasets."""

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from jaxscale.analysis._claim import Claim
from jaxscale.analysis._jackknife import jackknife_exponents
from jaxscale.papers._runs import BEFORE, points
from jaxscale.papers.sparse._scores import peak_over
from jaxscale.papers.sparse._theory import EXPONENTS, exponents_of, plane, slope
from jaxscale.sparse._system import RandomFeatureRegression

if TYPE_CHECKING:
    import xarray

PAPER = "Sous and Winer 2026, arXiv 2605.23591"
DERIVED = f"derived here, for the model of {PAPER}"


def data_claims(data: "xarray.Dataset", dense: "xarray.Dataset") -> list[Claim]:
    """Exponents in samples, and at spectrum exponent 1 their gap to those of dense inputs.

    `data` and `dense` are results of `sparse_data` and `sparse_dense`.
    """
    claims = []
    d = np.asarray(data["n_samples"], float)
    window = (64.0, float(d[-1]))
    inside = d[(d >= window[0]) & (d <= window[1])]
    dense_d = np.asarray(dense["n_samples"], float)
    everything = dense["residual_loss"].isel(n_features=0, drop=True)
    dense_slopes = jackknife_exponents(everything, "n_samples", (dense_d[0], dense_d[-1]))
    for at in points(data, *EXPONENTS):
        alpha, gamma = at["spectrum_exponent"], at["sparsity_exponent"]
        curve = data["residual_loss"].sel(at, drop=True)
        measured = jackknife_exponents(curve, "n_samples", window)
        expected = slope(inside, plane(np.inf, inside, **at))
        claims.append(
            Claim.from_seeds(
                f"data-{alpha:g}-{gamma:g}",
                f"$L$ falls with $D$ as the closed form does, near $D^-(alpha/gamma) = "
                f"D^-{alpha / gamma:.3f}$ ($alpha = {alpha:g}$, $gamma = {gamma:g}$)",
                DERIVED,
                predicted=expected,
                values=measured,
                margin=0.05,
                reason="a fifth of the smallest gap to the dense exponent, $alpha(1 - 1/gamma)$",
                margin_fixed=BEFORE,
            )
        )
        if alpha == 1.0:
            claims.append(_gap_claim(measured, dense_slopes, gamma))
    return claims


def _gap_claim(
    sparse: Float[np.ndarray, " s"], dense: Float[np.ndarray, " d"], gamma: float
) -> Claim:
    """Difference of two independent exponents, with Welch's interval."""
    from scipy.stats import ttest_ind

    low, high = ttest_ind(sparse, dense, equal_var=False).confidence_interval(0.95)
    return Claim(
        id=f"data-gap-{gamma:g}",
        statement="sparse activations flatten the data exponent by $alpha(1 - 1/gamma)$ "
        f"($alpha = 1$, $gamma = {gamma:g}$)",
        source=PAPER,
        predicted=1.0 - 1.0 / gamma,
        measured=float(sparse.mean() - dense.mean()),
        interval=(float(low), float(high)),
        margin=0.1,
        reason="finite windows: the closed forms' slopes are within 0.05 of the limits",
        n_seeds=min(sparse.size, dense.size),
        margin_fixed=BEFORE,
    )


def parameter_claims(runs: "xarray.Dataset", system: RandomFeatureRegression) -> list[Claim]:
    """Exponents in features below the peak, from results of `sparse_parameters`."""
    n = np.asarray(runs["n_features"], float)
    d, own = float(system.n_samples), exponents_of(system)
    claims = []
    for at in points(runs, *EXPONENTS):
        expected = slope(n, plane(n, d, **(own | at)))
        alpha = at["spectrum_exponent"]
        curve = runs["loss"].sel(at, drop=True)
        claims.append(
            Claim.from_seeds(
                f"parameters-{alpha:g}",
                f"below the peak $L$ falls from $N = {n[0]:g}$ to {n[-1]:g} as the closed form "
                f"does there (its limit $N^-{alpha:g}$ needs $N$ far below the rank)",
                DERIVED,
                predicted=expected,
                values=jackknife_exponents(curve, "n_features", (n[0], n[-1])),
                margin=0.1,
                reason="the closed form is within 6 %, over a factor 4 in $N$ a slope of 0.09",
                margin_fixed=BEFORE,
            )
        )
    return claims


def peak_claims(peak: "xarray.Dataset", dense: "xarray.Dataset") -> list[Claim]:
    """Peaks at the rank of the inputs, for dense inputs at the number of samples.

    `peak` and `dense` are results of `sparse_peak` and `sparse_dense`.
    """
    full = peak["rank"].max("n_features")  # min(N, r) is r where there are enough features
    d = int(dense["n_samples"][-1])
    loss = dense["loss"].isel(n_samples=-1)
    return [
        Claim.from_seeds(
            "peak-sparse",
            "the loss of each run peaks where $N$ is the rank of its inputs: $N_peak / r = 1$, "
            "not at $N = D$",
            PAPER,
            predicted=1.0,
            values=peak_over(peak["loss"], full),
            margin=0.15,
            reason="the steps of $N$ around the rank are 0.15 of it",
            margin_fixed=BEFORE,
        ),
        Claim.from_seeds(
            "peak-dense",
            f"dense inputs peak at $N = D$: $N_peak / D = 1$ ($D = {d}$)",
            "double descent of random features; the dense limit of the model",
            predicted=1.0,
            values=peak_over(loss, loss.isel(n_features=0) * 0 + d),
            margin=0.15,
            reason="the steps of $N$ around $D$ are 0.13 of it",
            margin_fixed=BEFORE,
        ),
    ]
