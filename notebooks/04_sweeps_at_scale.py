# %% [markdown]
# # Sweeps at scale
#
# **The question.** A scaling law is a statement about many runs: sizes, rates, seeds. How are
# thousands of them planned, run, interrupted, continued, checked, and turned into one curve? And,
# the question every budget asks: given so much compute, how large should the model be and how long
# should it train?
#
# **The theory.** We sweep the solvable model of multitask sparse parity
# ([arXiv 2404.17563](https://arxiv.org/abs/2404.17563), see the first notebook): $N$ parameters
# hold the $N$ most frequent of 1000 skills, and skill $k$ is learned after a time
# $\propto k^{\alpha + 1}$. A model that is too small saturates; one that is too large has no time
# left. With compute $C = N T$, parameters times steps, the best of all splits obeys
#
# $$L^*(C) \propto C^{-\alpha / (\alpha + 2)}, \qquad N^*(C) \propto C^{1 / (\alpha + 2)}$$
#
# with prefactors in closed form. We measure both sides.

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import jaxscale as js

folder = tempfile.TemporaryDirectory()
store = Path(folder.name) / "sweep.zarr"

# %% [markdown]
# ## From a system to a plan
#
# A system is one model at one setting. A grid names what is swept, by the names of its fields;
# seeds are an axis of their own. Learning rates and exponents are inputs of one compiled program,
# and sizes are padded, so that a grid needs few programs, often one.

# %%
ALPHA, RATE = 0.6, 0.02
system = js.emergence.MultilinearSkills(
    n_skills=1000,
    skill_exponent=ALPHA,
    learning_rate=RATE,
    data=js.emergence.FiniteSet(n_samples=100_000),
    n_steps=60_000,
    record=[0, *np.unique(np.geomspace(20, 60_000, 70).astype(int)).tolist()],
)
first = js.Grid(system, axes={"n_parameters": [4, 8, 16, 32]}, seeds=4)
plan = js.plan(first)
print(plan)

# %% [markdown]
# Nothing has been compiled yet; the plan is arithmetic. A chunk is written when it is done:
# the most that is lost if the machine dies. `memory=` and `max_runs_per_chunk=` bound it.
#
# **Several devices.** All local accelerators are used as they are. On a CPU, ask for one device per
# core before anything starts JAX, as the command line does by itself:
#
# ```python
# js.use_all_cores()
# ```
#
# For several processes or machines, `js.run(plan, executor=...)` takes a process pool, Dask or
# SLURM; [docs/sweeps.md](../docs/sweeps.md) tells how.
#
# ## Run into a store, and extend it
#
# With a store every finished chunk is on disk before it counts. A sweep that was killed continues
# with the same command, and so does one that turns out to be too small: give a larger grid and the
# same store, and only what is missing runs. What is there is not computed again, nor changed.

# %%
before = js.run(plan, store=store)
print(f"first grid: {before.status.size} runs in the store")

sizes = [4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 64]
grid = js.Grid(system, axes={"n_parameters": sizes}, seeds=8)
runs = js.run(grid, store=store)
print(f"larger grid: {runs.status.size} runs")

shared = runs.loss.sel(n_parameters=before.n_parameters, seed=before.seed)
print("largest change of what was there:", float(abs(shared - before.loss).max()))

# %% [markdown]
# The same command once more finds everything done. That is all there is to continuing, whether the
# process ended by itself, by Ctrl-C or by a power cut.

# %%
again = js.run(grid, store=store)
print("identical:", again.loss.identical(runs.loss), "| complete:", bool(again.attrs["complete"]))

opened = js.open_store(store)  # later, or on another machine
print("from disk:", dict(opened.sizes))
print("bad runs:", int((opened.status != js.Status.ok).sum()))

# %% [markdown]
# ## One run out of the sweep
#
# The sweep keeps curves, not weights. Any run can be trained again alone, from its own key, and
# then all of its state is there.

# %%
chosen, key = js.select(runs, n_parameters=16, seed=3)
state = js.train(chosen, key)
weights = np.asarray(state.a * state.b)
print("products of skills 1, 8, 16, 17:", weights[[0, 7, 15, 16]].round(3))

swept = runs.skill_strength.sel(n_parameters=16, seed=3).isel(step=-1).values
print(f"largest difference from the sweep: {np.abs(weights - swept).max():.1e}")

# %% [markdown]
# Skill 17 has no parameters in a model of 16: its product stays zero.
#
# ## Does the simulation agree with theory?
#
# `js.compare` holds the mean over seeds against the closed form at every point, in standard errors,
# with one threshold for all points. Its errors are relative.

# %%
theory = js.predict(grid)
checked = {"n_parameters": [4, 16, 64], "step": runs.step[10::10]}
comparison = js.compare(runs[["loss"]].sel(checked), theory[["loss"]].sel(checked))
row = comparison.rows[0]
print(comparison.verdict)
print(f"largest relative error {row.max_error:.4f}, rms {row.rms_error:.4f}")

# %% [markdown]
# ## The compute-optimal frontier
#
# `js.frontier` interpolates every curve to a given compute, fits a parabola through the best sizes,
# and returns the lowest loss, the best size and the best time, with exponents and with intervals
# over seeds. The closed form is for infinitely many skills, so we add the known loss of those
# beyond the 1000 that we train, which nothing here can learn.

# %%
law_options = {"skill_exponent": ALPHA, "target_scale": 1.0}
tail = float(js.emergence.theory.parameter_loss(1000.0, n_skills=np.inf, **law_options))
print(f"loss of the skills beyond 1000: {tail:.4f}")

compute = np.geomspace(2e4, 1e6, 8)
frontier = js.frontier(runs.loss + tail, compute, size="n_parameters", time="step")
law = js.emergence.theory.optimal_allocation(
    compute, learning_rate=RATE, initial_strength=0.01, **law_options
)
law_loss, law_size = np.asarray(law.loss), np.asarray(law.n_parameters)

print("compute C    best N   by theory   lowest loss   by theory")
for i, c in enumerate(compute):
    print(
        f"{c:9.0f} {frontier.n_parameters[i]:9.2f} {law_size[i]:11.2f} "
        f"{frontier.loss[i]:13.4f} {law_loss[i]:11.4f}"
    )
for name, asymptotic in (("loss", -ALPHA / (ALPHA + 2)), ("size", 1 / (ALPHA + 2))):
    fitted = frontier.exponent["n_parameters" if name == "size" else name]
    low, high = fitted.interval
    print(
        f"exponent of the {name}: {fitted.value:.4f} ({low:.4f} to {high:.4f} over seeds), "
        f"theory {asymptotic:.4f}"
    )

# %% [markdown]
# The intervals are those of the seeds, that is of the data sets, and very narrow. What separates
# them from the theory is not noise: the law holds for large $N$, more exactly for $N + 1/2$, and
# the best $N$ here is between a handful and a few dozen.
#
# `print(js.citation(runs))` gives the BibTeX of what a result rests on.

# %%
print([line for line in js.citation(runs).splitlines() if line.startswith("@")])
folder.cleanup()

# %% [markdown]
# Left, the loss of every size against compute (thin, mean of the seeds), the lowest loss (points)
# and the closed form (dashed). Right, the size that reaches it. Nothing is fitted.

# %%
BLUE, ORANGE = "#0072B2", "#D55E00"
DASHED = {"ls": (0, (4, 2)), "lw": 1.6}
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})

figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.8), dpi=90, layout="constrained")
trained = (runs.loss + tail).mean("seed").isel(step=slice(1, None))
for n in sizes:
    curve = trained.sel(n_parameters=n)
    left.plot(n * curve.step, curve, color="#999999", lw=0.8)
left.plot(compute, frontier.loss, "o", color=BLUE, ms=5, label="best of all sizes")
left.plot(compute, law_loss, color=BLUE, label="theory", **DASHED)
left.plot([], [], color="#999999", lw=0.8, label="one size N, over its training")
for n in (sizes[0], sizes[-1]):
    curve = trained.sel(n_parameters=n)
    end = (n * float(curve.step[-1]), float(curve[-1]))
    left.annotate(
        f"N = {n}",
        end,
        (4, 0),
        textcoords="offset points",
        fontsize=8,
        color="#666666",
        va="center",
    )
left.set(xlim=(5e3, 4e6), ylim=(0.04, 0.3), ylabel="loss [target²]")
left.legend(fontsize=8, loc="upper right")

right.vlines(compute, *frontier.interval["n_parameters"], color=ORANGE, lw=1.5)
right.plot(compute, frontier.n_parameters, "o", color=ORANGE, ms=5, label="best size, 8 seeds")
right.plot(compute, law_size, color=ORANGE, label="theory", **DASHED)
right.set(ylabel="best number of parameters N*")
right.legend(fontsize=8, loc="upper left")
for axes in (left, right):
    axes.set(xscale="log", yscale="log", xlabel="compute C = N T [parameters × steps]")
left.set_yticks([0.05, 0.1, 0.2], labels=["0.05", "0.1", "0.2"])
right.set_yticks([5, 10, 20, 50], labels=["5", "10", "20", "50"])
for axes in (left, right):
    axes.yaxis.set_minor_formatter("")
plt.show()
