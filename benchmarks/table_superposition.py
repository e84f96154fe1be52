"""Tables of the superposition benchmarks."""

from typing import Any

from benchmarks.markdown import table

Results = list[dict[str, Any]]


def _verdict(met: bool) -> str:
    return "met" if met else "**missed**"


def exact(results: Results) -> str:
    """Exact curves against descent."""
    columns = ("case", "steps", "descent (ms)", "exact (ms)", "ratio (rounds)", "goal", "distance")
    rows = []
    for f in results:
        spent, rounds = f["median_seconds"], f["against"]["rounds"]
        rows.append(
            [
                "N = 256, K = 64, float64, 1 core",
                f"{f['steps']:,}",
                f"{1e3 * spent['descent']:,.1f}",
                f"{1e3 * spent['exact']:,.2f}",
                f"**{f['against']['ratio']:.0f}x** ({min(rounds):.0f} to {max(rounds):.0f})",
                f"{f['goal']:.0f}x, {_verdict(f['against']['ratio'] >= f['goal'])}",
                f"{f['distance']:.0e}, {_verdict(f['distance'] <= f['goal_distance'])}",
            ]
        )
    return table(columns, rows)


def student(results: Results) -> str:
    """Share of the peak of matrix products that training reaches."""
    columns = ("case", "ms per step", "GFLOP/s", "of GEMM peak (rounds)", "goal")
    rows = []
    for f in results:
        spent, rounds = f["median_seconds"]["student"], f["share_of_rounds"]
        share = f["share_of_gemm_peak"]
        rows.append(
            [
                "N = 512, K = 256, batch 128, float32, 1 core",
                f"{1e3 * spent / f['steps']:.2f}",
                f"{1e-9 * f['flops'] / spent:.0f}",
                f"**{share:.0%}** ({min(rounds):.0%} to {max(rounds):.0%})",
                f"{f['goal']:.0%}, {_verdict(share >= f['goal'])}",
            ]
        )
    return table(columns, rows)
