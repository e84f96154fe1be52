"""Seconds of the first fit in a fresh process, against SciPy, and of 1,000 warm refits.

`python -m benchmarks.fit_time --rounds 5 --against ../another-checkout`

Every number is from a process of its own, in turns. `first` is a fit from four starts with its
printed intervals; `scipy` is `scipy.optimize.least_squares` with a jitted residual and Jacobian
from one start; the parts of SciPy that each imports are counted alone, as `imports`; `refits` is
the second of two calls with 1,000 resamples, `refits by scipy` are 10 in a loop, compiled before;
`speedup` is the seconds of one of these over those of one of ours, which include the fit itself.
The case `chinchilla` is a form with 240 runs, its own starts, and 200 resamples in the first fit;
SciPy starts from the truth, and has Huber's loss with the delta of the scatter. Its refits are in
NumPy with differences for derivatives, which is faster there than a jitted Jacobian; `refits by
bfgs` are those of the published fits, `scipy.optimize.minimize`. `import jax, jaxscale, pandas` is
not counted.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
N_REFITS, N_SCIPY_REFITS = 1000, 10
CASES = ("power law", "formula", "chinchilla")
TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
SCATTER = 0.02  # of ln loss of `chinchilla`
SCIPY_LOSS = {"chinchilla": {"loss": "huber", "f_scale": 1.345 * SCATTER}}


def power_law(x: Any, scale: Any, exponent: Any) -> Any:
    """A law of one's own."""
    return scale * x**-exponent


def prepare(case: str) -> tuple[Any, Any, list[str], dict[str, Any]]:
    """Theory with its starts, noisy data, what is free, and options of the fit."""
    import numpy as np
    import pandas

    import jaxscale as js

    rng = np.random.default_rng(0)
    if case == "power law":
        x = np.geomspace(1, 1000, 40)
        data = pandas.DataFrame({"x": x, "loss": 3 * x**-0.4 * np.exp(0.02 * rng.normal(size=40))})
        law = js.Formula(power_law, {"scale": 1.0, "exponent": 1.0})
        return law, data, ["scale", "exponent"], {}
    if case == "formula":  # of the README
        values = {"skill_exponent": 1.0, "n_skills": 50, "n_samples": np.inf,
                  "n_parameters": np.inf, "learning_rate": 0.1, "target_scale": 1.0,
                  "initial_strength": 0.01}  # fmt: skip
        curve = js.Formula(js.emergence.theory.loss, values)
        # the closed form in NumPy: nothing of jaxscale is compiled before the fit
        steps, k = np.geomspace(10, 1e4, 30), np.arange(1.0, 51.0)
        share = k**-1.6 / np.sum(k**-1.6)
        strength = 1 / (1 + (1 / 0.01 - 1) * np.exp(-0.2 * steps[:, None] * share))
        loss = np.sum(share * (1 - strength) ** 2, axis=1) / 2
        noisy = loss * np.exp(0.01 * rng.normal(size=30))
        data = pandas.DataFrame({"time": steps, "loss": noisy})
        return curve, data, ["skill_exponent", "initial_strength"], {}
    if case == "chinchilla":  # 240 runs, whose starts are those of the form; SciPy gets the truth
        size = 10 ** rng.uniform(7.6, 10.2, 240)
        data = pandas.DataFrame({"n_parameters": size,
                                 "n_tokens": size * 10 ** rng.uniform(0.3, 2.3, 240)})  # fmt: skip
        noise = np.exp(SCATTER * rng.normal(size=240))
        tokens, v = data["n_tokens"], TRUTH
        exact = v["E"] + v["A"] * size ** -v["alpha"] + v["B"] * tokens ** -v["beta"]
        return js.forms.chinchilla, data.assign(loss=exact * noise), [*TRUTH], {}
    raise ValueError(f"`case` must be one of {', '.join(CASES)}, got {case!r}.")


def fit_once(case: str) -> Any:
    """The first fit of a process, and what a user prints of it."""
    import jaxscale as js

    cpu, wall = time.process_time(), time.perf_counter()
    import scipy.special

    assert scipy.special.stdtrit  # of the intervals
    imports = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    theory, data, free, options = prepare(case)

    own = None if case == "chinchilla" else free

    def call() -> Any:
        fit = js.calibrate(theory, data, own, **options)
        return str(fit), fit.interval(0.95)

    call.imports = imports
    return call


def fit_by_scipy(case: str) -> Any:
    """The same by SciPy, in logarithms of the parameters."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    cpu, wall = time.process_time(), time.perf_counter()
    from scipy.optimize import least_squares
    from scipy.special import stdtrit

    imports = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    theory, data, free, _ = prepare(case)
    jax.config.update("jax_enable_x64", True)
    start, function = _plain(theory, free)
    inputs = {n: v for n, v in data.to_dict("series").items() if n != "loss"}
    x, y = {n: v.to_numpy() for n, v in inputs.items()}, data["loss"].to_numpy()

    def residual(z: Any) -> Any:
        values = dict(zip(free, jnp.exp(z), strict=True))
        return jnp.log(function(**x, **values)) - jnp.log(y)

    def call() -> Any:
        compiled, slope = jax.jit(residual), jax.jit(jax.jacfwd(residual))
        fit = least_squares(lambda z: np.asarray(compiled(z)), start,
                            lambda z: np.asarray(slope(z)), **SCIPY_LOSS.get(case, {}))  # fmt: skip
        covariance = np.linalg.inv(fit.jac.T @ fit.jac) * 2 * fit.cost / (len(y) - len(free))
        half = stdtrit(len(y) - len(free), 0.975) * np.sqrt(np.diag(covariance))
        return np.exp(fit.x), np.exp(fit.x - half), np.exp(fit.x + half)

    call.imports = imports
    return call


def _plain(theory: Any, free: list[str]) -> tuple[Any, Any]:
    """Start in logarithms, and the function of the inputs and the free values."""
    import numpy as np

    if not hasattr(theory, "values"):  # a form
        return np.log([TRUTH[n] for n in free]), theory
    fixed = {n: v for n, v in theory.values.items() if n not in free}
    start = np.log([theory.values[n] for n in free])
    return start, lambda **named: theory.function(**fixed, **named)


def refits_by_scipy(case: str) -> Any:
    """10 resamples one after the other, compiled before, each from the optimum."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    from scipy.optimize import least_squares

    theory, data, free, _ = prepare(case)
    if case == "chinchilla":

        def huber(z: Any, rows: Any) -> Any:
            return least_squares(log_ratio, z, args=(rows,), x_scale="jac", **SCIPY_LOSS[case]).x

        return _refits_of(huber, _plain(theory, free)[0], data)
    jax.config.update("jax_enable_x64", True)
    start, function = _plain(theory, free)

    def residual(z: Any, rows: dict[str, Any]) -> Any:
        inputs = {n: v for n, v in rows.items() if n != "loss"}
        values = dict(zip(free, jnp.exp(z), strict=True))
        return jnp.log(function(**inputs, **values)) - jnp.log(rows["loss"])

    compiled, slope = jax.jit(residual), jax.jit(jax.jacfwd(residual))

    def fit(z: Any, rows: dict[str, Any]) -> Any:
        return least_squares(lambda at: np.asarray(compiled(at, rows)), z,
                             lambda at: np.asarray(slope(at, rows)), x_scale="jac",
                             **SCIPY_LOSS.get(case, {})).x  # fmt: skip

    return _refits_of(fit, start, data)


def refits_by_bfgs(case: str) -> Any:
    """The same as the published fits of the form do it: BFGS with differences for derivatives."""
    import numpy as np
    from scipy.optimize import minimize

    theory, data, free, _ = prepare(case)
    delta = SCIPY_LOSS[case]["f_scale"]

    def objective(z: Any, rows: Any) -> Any:
        size = np.abs(log_ratio(z, rows))
        return np.sum(np.where(size < delta, size**2 / 2, delta * (size - delta / 2)))

    def fit(z: Any, rows: Any) -> Any:
        return minimize(objective, z, args=(rows,), method="BFGS").x

    return _refits_of(fit, _plain(theory, free)[0], data)


def log_ratio(z: Any, rows: Any) -> Any:
    """Residuals of the Chinchilla form in NumPy."""
    import numpy as np

    e, a, b, p, q = np.exp(z)
    law = e + a * rows["n_parameters"] ** -p + b * rows["n_tokens"] ** -q
    return np.log(law / rows["loss"])


def _refits_of(fit: Any, start: Any, data: Any) -> Any:
    """A call that fits resamples from the optimum of the data, which is found before."""
    import numpy as np

    columns, rng = {n: data[n].to_numpy() for n in data}, np.random.default_rng(0)
    best = fit(start, columns)

    def call() -> Any:
        drawn = rng.integers(len(data), size=(N_SCIPY_REFITS, len(data)))
        return [fit(best, {n: v[rows] for n, v in columns.items()}) for rows in drawn]

    return call


def refits(case: str) -> Any:
    """The second call with 1,000 resamples."""
    import jaxscale as js

    theory, data, free, options = prepare(case)

    def call() -> Any:
        if case == "chinchilla":
            return js.calibrate(theory, data, bootstrap=N_REFITS)
        return js.calibrate(theory, data, free, n_starts=1, bootstrap=N_REFITS, **options)

    call()
    return call


JOBS = {
    "first": fit_once,
    "scipy": fit_by_scipy,
    "refits": refits,
    "refits by scipy": refits_by_scipy,
    "refits by bfgs": refits_by_bfgs,
}
OURS = ("first", "refits")


def measure(job: str, case: str, checkout: Path) -> dict[str, dict[str, float]]:
    """CPU and wall seconds of one job in a fresh process that imports `checkout`."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), "--child", job, "--case", case]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    seconds, imports = json.loads(done.stdout.splitlines()[-1])
    return {job: seconds} | ({} if imports is None else {f"imports of {job}": imports})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--against", type=Path, help="another checkout of jaxscale")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--child", choices=JOBS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    cases = given.case or list(CASES)
    if given.child:
        call = JOBS[given.child](cases[0])
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        seconds = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
        print(json.dumps([seconds, getattr(call, "imports", None)]))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    checkouts = {"this": ROOT}
    if given.against is not None:
        checkouts["another"] = given.against.resolve()
    load_before, results = round(os.getloadavg()[0], 2), {}
    for case in cases:
        measure("first", case, ROOT)  # writes the bytecode
        jobs = [job for job in JOBS if job != "refits by bfgs" or case in SCIPY_LOSS]
        turns = [(job, name) for job in jobs for name in checkouts if job in OURS or name == "this"]
        rounds = [
            {
                f"{what}, {name}": seconds
                for job, name in turns
                for what, seconds in measure(job, case, checkouts[name]).items()
            }
            for _ in range(given.rounds)
        ]
        results[case] = {
            turn: {
                kind: statistics.median(r[turn][kind] for r in rounds) for kind in ("cpu", "wall")
            }
            for turn in rounds[0]
        }
        for turn, seconds in results[case].items():
            print(
                f"{case}: {turn}: {seconds['cpu']:.2f} s CPU, {seconds['wall']:.2f} s", flush=True
            )
        results[case]["speedup"] = speedup(results[case])
        print(f"{case}: one refit of {N_SCIPY_REFITS} over one of {N_REFITS} of this: "
              f"{results[case]['speedup']}", flush=True)  # fmt: skip
        results[case]["facts"] = {**facts(), "rounds": given.rounds, "load_before": load_before}
    path = given.out / "fit_time.json"
    before = json.loads(path.read_text())["cases"] if path.exists() else {}
    path.write_text(json.dumps({"cases": {**before, **results}}, indent=1) + "\n")


def speedup(turns: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Seconds of one refit by each SciPy loop over those of one of this checkout."""
    ours = turns["refits, this"]
    loops = {turn: seconds for turn, seconds in turns.items() if turn.startswith("refits by")}
    return {
        turn: {k: round(v[k] / N_SCIPY_REFITS / (ours[k] / N_REFITS), 1) for k in ours}
        for turn, v in loops.items()
    }


def facts() -> dict[str, Any]:
    """Date, device, load and versions."""
    from benchmarks.machine import cpu_model, load_average, versions

    return {"date": time.strftime("%Y-%m-%d"), "processor": cpu_model(), "cores": os.cpu_count(),
            "load_after": load_average()[0], "python": platform.python_version(),
            "versions": versions()}  # fmt: skip


if __name__ == "__main__":
    main()
