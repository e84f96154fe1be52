"""Claims on the split of compute between features and samples: three ways to measure it."""

from jaxscale.analysis._claim import Claim
from jaxscale.analysis._frontier import Frontier
from jaxscale.papers._runs import BEFORE
from jaxscale.papers.sparse._claims import DERIVED, PAPER

TRIAL = "after trial runs of other seeds, before these"
EXACT = "by the exact mean over features at the simulated data sets"
MIRROR = "; $D* = C/N*$ mirrors it"


def frontier_claims(frontier: Frontier, alpha: float, gamma: float) -> list[Claim]:
    """Growth of N*, D* and L* with compute C = N D, and of data faster than the model.

    `frontier` is that of `measure_frontier`, from runs at infinitely many features.
    """
    flat = "the minimum is flat: $N*$ is known to 10 % over 50-fold $C$, a slope of 0.03 to 0.05"
    return [
        *_growth(frontier, alpha, gamma, "frontier", EXACT, 0.06, flat, BEFORE),
        Claim.from_seeds(
            f"frontier-data-first-{alpha:g}-{gamma:g}",
            "compute favours data over parameters: $d ln D* - d ln N* = (gamma - 1)/(gamma + 1)$ "
            "per $d ln C$, where dense inputs have 0",
            PAPER,
            predicted=(gamma - 1) / (gamma + 1),
            values=frontier.exponent["n_samples"].per_seed
            - frontier.exponent["n_features"].per_seed,
            margin=0.12,
            reason="twice the margin of $N*$ and $D*$, which mirror each other at fixed $C$",
            margin_fixed=BEFORE,
        ),
    ]


def plane_claims(frontier: Frontier, alpha: float, gamma: float) -> list[Claim]:
    """Growth of N*, D* and L* with compute, from simulated losses over a plane of N and D."""
    return _growth(
        frontier, alpha, gamma, "plane", "on a plane of simulated losses", 0.06,
        "on this plane the closed form itself has 0.344 for the limit 1/3 of $gamma = 2$, 0.258 "
        "for 1/4 of $gamma = 3$ (in $L*$ 0.002, 0.004 off), and in trial runs 16 seeds scatter it "
        "by 0.025 to 0.06", TRIAL,
    )  # fmt: skip


def relu_plane_claims(
    frontier: Frontier, alpha: float, gamma: float, ridge: str, name: str = "relu-plane"
) -> list[Claim]:
    """`plane_claims` of ReLU features, which have no closed form."""
    return _growth(
        frontier, alpha, gamma, name,
        f"with ReLU features too, on a plane of simulated losses with {ridge}", 0.1,
        "ReLU lowers the dense parameter exponent from 1 to 0.75, which alone raises that of $N*$ "
        "by 0.06; the 1/2 of dense inputs stays outside", TRIAL,
    )  # fmt: skip


def _growth(
    frontier: Frontier, alpha: float, gamma: float, name: str, how: str, margin: float,
    reason: str, fixed: str,
) -> list[Claim]:  # fmt: skip
    """Exponents of N*, D* and L* in compute, against those of `theory.allocation_laws`."""
    one = 1 / (1 + gamma)
    rows = [
        ("n_features", "N", "the best $N$ grows as $C^(1/(1 + gamma))$", one, ""),
        ("n_samples", "D", "the best $D$ grows as $C^(gamma/(1 + gamma))$", gamma * one, MIRROR),
        ("loss", "L", "the best loss falls as $C^-(alpha/(1 + gamma))$", -alpha * one, ""),
    ]
    return [
        Claim.from_seeds(
            f"{name}-{letter}-{alpha:g}-{gamma:g}",
            f"{text} at $alpha = {alpha:g}$, $gamma = {gamma:g}$, {how}",
            DERIVED,
            predicted=predicted,
            values=frontier.exponent[quantity].per_seed,
            margin=margin,
            reason=reason + more,
            margin_fixed=fixed,
        )
        for quantity, letter, text, predicted, more in rows
    ]
