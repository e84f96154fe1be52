"""Claims on ReLU features, which have no closed form: the effect of sparsity survives them."""

from typing import TYPE_CHECKING

import numpy as np

from jaxscale.analysis._claim import Claim
from jaxscale.analysis._jackknife import jackknife_exponents
from jaxscale.papers.sparse._claims import PAPER
from jaxscale.papers.sparse._claims_allocation import TRIAL
from jaxscale.papers.sparse._scores import tuned

if TYPE_CHECKING:
    import xarray

REFERENCE = "after the reference simulation, before the runs"


def nonlinear_claims(runs: "xarray.Dataset") -> list[Claim]:
    """Sparse data exponent of ReLU features, and its gap to the dense one.

    `runs` are results of `sparse_relu`, over `sparsity_exponent` (0 and another) and samples.
    """
    d = np.asarray(runs["n_samples"], float)
    gamma = float(runs["sparsity_exponent"][-1])
    window = (d[0], d[-1])
    dense, sparse = (
        jackknife_exponents(runs["loss"].isel(sparsity_exponent=i), "n_samples", window)
        for i in (0, -1)
    )
    return [
        Claim.from_seeds(
            "relu-sparse",
            "ReLU features keep the sparse data exponent $alpha/gamma$ "
            f"($alpha = 1$, $gamma = {gamma:g}$)",
            PAPER,
            predicted=-1.0 / gamma,
            values=sparse,
            margin=0.12,
            reason="no closed form; a reference simulation has -0.375 at $D = 32..512$",
            margin_fixed=REFERENCE,
        ),
        Claim.from_seeds(
            "relu-gap",
            "the gap to the dense exponent survives ReLU, which lowers the dense one: 0.355 in a "
            "reference simulation of the same model",
            f"{PAPER}; reference simulation, $D = 32..512$",
            predicted=0.355,
            values=sparse - dense,
            margin=0.2,
            reason="half the gap of linear features is 0.33; other window and seeds",
            margin_fixed=REFERENCE,
        ),
    ]


def relu_parameter_claims(runs: "xarray.Dataset") -> list[Claim]:
    """Parameter exponent of ReLU features on sparse inputs, less that on dense ones.

    `runs` are results of `sparse_relu_parameters`, over `sparsity_exponent`, of which the first is
    0, and features. Runs of one seed share their features, so that the exponents are paired.
    """
    n = np.asarray(runs["n_features"], float)
    dense, *others = (
        jackknife_exponents(
            tuned(runs["loss"].sel(sparsity_exponent=g)), "n_features", (n[0], n[-1])
        )
        for g in runs["sparsity_exponent"]
    )
    return [
        Claim.from_seeds(
            f"relu-parameters-{gamma:g}",
            "with ReLU features, too, sparse and dense inputs have one parameter exponent "
            f"($alpha = 1$, $gamma = {gamma:g}$; dense: {dense.mean():.2f}): their difference is 0",
            PAPER,
            predicted=0.0,
            values=sparse - dense,
            margin=0.15,
            reason="linear features have 0 at infinitely many samples; trial runs of 8 seeds have "
            "0.00 to 0.05 with a standard error of 0.05 to 0.11; the data exponents are 0.23 to "
            "0.36 apart",
            margin_fixed=TRIAL,
        )
        for gamma, sparse in zip(runs["sparsity_exponent"].values[1:], others, strict=True)
    ]
