"""How often intervals cover the truth: `python -m benchmarks.coverage [CASE ...] [--sets 1000]`.

Every case draws data sets from known parameters, fits each with the default options, and counts how
often the 95 % intervals of the parameters, of predictions at ten times the largest compute or size,
and of the best allocation there hold the truth. Writes `results/coverage.json`; a case that is
measured again replaces the old one.
"""

import argparse
import dataclasses
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas

import jaxscale as js
from benchmarks.machine import about

RESULTS = Path(__file__).parent / "results" / "coverage.json"
CHINCHILLA = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
WITHOUT_FLOOR = {**CHINCHILLA, "E": 0.0}
FLOP = 6 * 10**10.2 * 10**12.5  # the largest compute of `language_models`
NOISE = 0.02  # of logarithms


def language_models(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Sizes of n runs, up to 1.6e10 parameters and 200 tokens for each of them."""
    sizes = 10 ** rng.uniform(7.6, 10.2, n)
    return {"n_parameters": sizes, "n_tokens": sizes * 10 ** rng.uniform(0.3, 2.3, n)}


def sizes(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One quantity over three decades."""
    return {"x": 10 ** rng.uniform(0, 3, n)}


@dataclasses.dataclass(frozen=True)
class Case:
    """Data sets of a form: its true values, what draws n inputs, and where it is predicted."""

    form: Callable[..., Any]
    truth: dict[str, float]
    inputs: Callable[[int, np.random.Generator], dict[str, np.ndarray]]
    n: int
    beyond: dict[str, float]
    flop: float | None = None

    def covered(self, number: int) -> dict[str, bool | None]:
        """Whether the intervals of a data set hold the truth, None where there is none."""
        rng = np.random.default_rng([number, self.n])
        x = self.inputs(self.n, rng)
        exact = np.asarray(self.form(**x, **self.truth), float)
        table = pandas.DataFrame({**x, "loss": exact * np.exp(NOISE * rng.standard_normal(self.n))})
        fit = js.calibrate(self.form, table)
        ends = dict(fit.interval())
        truth = dict(self.truth)
        row = fit.predict(**{k: np.asarray([v]) for k, v in self.beyond.items()}).iloc[0]
        truth["prediction"] = float(self.form(**self.beyond, **self.truth))
        ends["prediction"] = row["loss_low"], row["loss_high"]
        truth["new run"] = truth["prediction"] * float(np.exp(NOISE * rng.standard_normal()))
        ends["new run"] = row["new_low"], row["new_high"]
        if self.flop is not None:
            exact_fit = dataclasses.replace(fit, coordinates=_coordinates(fit, self.truth))
            best = js.analysis.allocate(exact_fit, self.flop).best
            made = js.analysis.allocate(fit, self.flop)
            for name in ("n_parameters", "n_tokens"):
                truth[f"best {name}"] = float(best[name])
                ends[f"best {name}"] = made.interval[name]
        low = {k: float(e[0]) for k, e in ends.items()}
        high = {k: float(e[1]) for k, e in ends.items()}
        none = {k for k in ends if not np.isfinite(low[k] + high[k])}
        return {k: None if k in none else low[k] <= truth[k] <= high[k] for k in truth}


def _coordinates(fit: js.Calibration, truth: dict[str, float]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log([truth[name] for name in fit.free])


def _surface(n: int, truth: dict[str, float]) -> Case:
    c = 10 * FLOP / 6
    beyond = {"n_parameters": c**0.5 / 4, "n_tokens": c**0.5 * 4}
    return Case(js.forms.chinchilla, truth, language_models, n, beyond, 10 * FLOP)


POWER = {"E": 0.5, "A": 2.0, "alpha": 0.4}
CASES: dict[str, Case] = {
    **{f"chinchilla, {n} runs": _surface(n, CHINCHILLA) for n in (15, 20, 40, 100, 240)},
    **{f"chinchilla without a floor, {n} runs": _surface(n, WITHOUT_FLOOR) for n in (40, 100, 240)},
    **{f"power law, {n} points": Case(js.forms.power_law, POWER, sizes, n, {"x": 1e4})
       for n in (9, 12, 20, 40)},
    "power law without a floor, 40 points":
        Case(js.forms.power_law, {**POWER, "E": 0.0}, sizes, 40, {"x": 1e4}),
}  # fmt: skip


def measure(case: Case, n_sets: int) -> dict[str, Any]:
    """Share of the data sets with an interval in which it holds the truth, by quantity."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of floors at 0, of few points
        sets = [case.covered(i) for i in range(n_sets)]
    shares: dict[str, Any] = {}
    for name in sets[0]:
        given = [one[name] for one in sets if one[name] is not None]
        shares[name] = {"covered": float(np.mean(given)) if given else None, "given": len(given)}
    return {"sets": n_sets, "seconds": time.perf_counter() - began, "intervals": shares}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.coverage")
    parser.add_argument("case", nargs="*", default=list(CASES))
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    old = json.loads(given.out.read_text()) if given.out.exists() else {"cases": {}}
    for name in given.case:
        old["cases"][name] = measure(CASES[name], given.sets)
        old["machine"] = about()
        given.out.write_text(json.dumps(old, indent=1) + "\n")
        shown = old["cases"][name]["intervals"].items()
        print(name, ", ".join(f"{k} {v['covered'] or np.nan:.3f}" for k, v in shown), flush=True)


if __name__ == "__main__":
    main()
