"""How often intervals cover the truth: `python -m benchmarks.coverage [--case NAME] [--sets 1000]`.

Every case draws data sets from known parameters, fits each with the default options, and counts how
often the 95 % intervals of the parameters, of predictions at ten times the largest compute or size,
and of the best allocation there hold the truth. Those of a simulation are sets of its seeds, to
which an exact theory is fitted. `--case` may be given several times; a part of a name takes all
cases that have it, and without it all are measured. Writes `results/coverage.json`; a case that is
measured again replaces the old one.
"""

import abc
import argparse
import dataclasses
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
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


def wide_sizes(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One quantity over four decades, of which the second half lies beyond the break."""
    return {"x": 10 ** rng.uniform(0, 4, n)}


class AbstractCase(abc.ABC):
    """Data sets whose truth is known."""

    @abc.abstractmethod
    def sets(self, n: int) -> Iterator[dict[str, bool | None]]:
        """Whether the intervals of each of n data sets hold the truth, None where there is none."""


def holds(ends: Mapping[str, tuple[Any, Any]], truth: dict[str, float]) -> dict[str, bool | None]:
    """Whether each interval holds the truth, None where there is none."""
    pairs = {k: (float(low), float(high)) for k, (low, high) in ends.items()}
    given = {k: bool(np.isfinite(low + high)) for k, (low, high) in pairs.items()}
    return {k: pairs[k][0] <= v <= pairs[k][1] if given[k] else None for k, v in truth.items()}


@dataclasses.dataclass(frozen=True)
class Seeds(AbstractCase):
    """Sets of n seeds of a simulation whose mean over seeds is known: its theory is fitted.

    Every seed is one draw of the initial matrix and of all batches, so the points of its curve are
    not independent. The fit resamples seeds by itself.
    """

    n: int

    def sets(self, n: int) -> Iterator[dict[str, bool | None]]:
        """Simulate all seeds at once, and fit the exponent of the frequencies to each set."""
        runs = js.run(js.Grid(STUDENT, seeds=n * self.n))
        for i in range(n):
            own = runs.isel(seed=slice(i * self.n, (i + 1) * self.n))
            fit = js.calibrate(js.Grid(STUDENT), own, ["frequency_exponent"])
            yield holds(fit.interval(), {"frequency_exponent": EXPONENT})


@dataclasses.dataclass(frozen=True)
class Case(AbstractCase):
    """Data sets of a form: its true values, what draws n inputs, and where it is predicted."""

    form: Callable[..., Any]
    truth: dict[str, float]
    inputs: Callable[[int, np.random.Generator], dict[str, np.ndarray]]
    n: int
    beyond: dict[str, float]
    flop: float | None = None

    def sets(self, n: int) -> Iterator[dict[str, bool | None]]:
        """Draw and fit data sets one by one."""
        return map(self._covered, range(n))

    def _covered(self, number: int) -> dict[str, bool | None]:
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
        return holds(ends, truth)


def _coordinates(fit: js.Calibration, truth: dict[str, float]) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log([truth[name] for name in fit.free])


def _surface(n: int, truth: dict[str, float]) -> Case:
    c = 10 * FLOP / 6
    beyond = {"n_parameters": c**0.5 / 4, "n_tokens": c**0.5 * 4}
    return Case(js.forms.chinchilla, truth, language_models, n, beyond, 10 * FLOP)


POWER = {"E": 0.5, "A": 2.0, "alpha": 0.4}
BROKEN = {"E": 0.5, "A": 4.0, "alpha": 0.2, "beta": 0.8, "x_break": 60.0, "width": 0.3}
EXPONENT = 1.5
STUDENT = js.superposition.TeacherStudent(
    n_features=32, latent_size=32, frequency_exponent=EXPONENT, learning_rate=0.3, n_steps=32,
    record=[1, 2, 4, 8, 16, 32], embedding=js.superposition.Identity(),
    decoder=js.superposition.Linear(), gradient=js.superposition.FreshBatches(batch_size=64),
)  # fmt: skip
CASES: dict[str, AbstractCase] = {
    **{f"chinchilla, {n} runs": _surface(n, CHINCHILLA) for n in (15, 20, 40, 100, 240)},
    **{f"chinchilla without a floor, {n} runs": _surface(n, WITHOUT_FLOOR) for n in (40, 100, 240)},
    **{f"power law, {n} points": Case(js.forms.power_law, POWER, sizes, n, {"x": 1e4})
       for n in (9, 12, 20, 40)},
    "power law without a floor, 40 points":
        Case(js.forms.power_law, {**POWER, "E": 0.0}, sizes, 40, {"x": 1e4}),
    **{f"broken power law, {n} points":
       Case(js.forms.broken_power_law, BROKEN, wide_sizes, n, {"x": 1e5}) for n in (40, 100)},
    **{f"superposition, {n} seeds": Seeds(n) for n in (5, 8, 20)},
}  # fmt: skip


def measure(case: AbstractCase, n_sets: int) -> dict[str, Any]:
    """Share of the data sets with an interval in which it holds the truth, by quantity."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of floors at 0, of few points
        sets = [*case.sets(n_sets)]
    shares: dict[str, Any] = {}
    for name in sets[0]:
        given = [one[name] for one in sets if one[name] is not None]
        shares[name] = {"covered": float(np.mean(given)) if given else None, "given": len(given)}
    return {"sets": n_sets, "seconds": time.perf_counter() - began, "intervals": shares}


def chosen(parts: Sequence[str]) -> list[str]:
    """Names of the cases that have one of the parts, or are it; all without one.

    **Raises** `ValueError` for a part that no case has.
    """
    names = []
    for part in parts or [""]:
        own = [part] if part in CASES else [name for name in CASES if part in name]
        if not own:
            raise ValueError(f"`case` must be part of one of {', '.join(CASES)}, got {part!r}.")
        names += own
    return list(dict.fromkeys(names))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.coverage")
    parser.add_argument("--case", action="append", default=[])
    parser.add_argument("--sets", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()
    old = json.loads(given.out.read_text()) if given.out.exists() else {"cases": {}}
    for name in chosen(given.case):
        old["cases"][name] = measure(CASES[name], given.sets)
        old["machine"] = about()
        given.out.write_text(json.dumps(old, indent=1) + "\n")
        shown = old["cases"][name]["intervals"].items()
        print(name, ", ".join(f"{k} {v['covered'] or np.nan:.3f}" for k, v in shown), flush=True)


if __name__ == "__main__":
    main()
