# %% [markdown]
# # Fitting theory to curves
#
# **The question.** A scaling law is fitted to a few dozen training runs and then extrapolated by
# orders of magnitude. How well are its numbers known? Which of them do the data determine at all,
# and what does one bad run do to them?
#
# **The tools.** `js.calibrate` fits any parameters of a theory by nonlinear least squares, from
# several starts, with gradients through the closed form:
#
# $$\hat\theta = \arg\min_\theta \sum_i \rho(r_i), \qquad r_i = \ln y_\theta(x_i) - \ln y_i$$
#
# The theory is either a *system* of jaxscale or a *formula* of your own. We begin with a system
# whose true parameters we know, go on to a CSV file, and end with the loss of language models,
#
# $$L(N, D) = E + A N^{-\alpha} + B D^{-\beta}$$
#
# (Hoffmann et al. 2022, [arXiv 2203.15556](https://arxiv.org/abs/2203.15556); Besiroglu et al.
# 2024, [arXiv 2404.10102](https://arxiv.org/abs/2404.10102)). **All data here are synthetic,** made
# from numbers that we choose, so that every interval can be held against the truth.

# %%
import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas

import jaxscale as js

# %% [markdown]
# ## A system
#
# Training curves of a student without superposition (third notebook), eight seeds. Two exponents
# govern them: that of the frequencies, 1.5, and that of the importance, 0.3. We start from wrong
# values of both.

# %%
sp = js.superposition
truth = sp.TeacherStudent(
    n_features=128,
    frequency_exponent=1.5,
    importance_exponent=0.3,
    inputs=sp.OneHot(amplitude=sp.Fixed()),
    embedding=sp.Identity(),
    decoder=sp.Linear(),
    initial=sp.Zeros(),
    gradient=sp.FreshBatches(batch_size=32),
    n_steps=300,
    record=[0, 1, 2, 3, 5, 8, 12, 20, 30, 50, 80, 120, 200, 300],
)
runs = js.run(js.Grid(truth, seeds=8))

wrong = js.replace(js.replace(truth, "frequency_exponent", 1.2), "importance_exponent", 0.1)
system_fit = js.calibrate(
    js.Grid(wrong, seeds=8),
    runs[["loss"]],
    free=["frequency_exponent", "importance_exponent"],
    n_starts=4,
)
print(system_fit)
print("status of every start:", ", ".join(system_fit.starts.status))

# %% [markdown]
# The covariance behind these errors takes all points as independent. Points along one training
# curve are not, for they share its seed. Over seeds prefer a bootstrap that resamples whole seeds,
# as below, or separate fits, `each="seed"`.
#
# ## A CSV file and a formula
#
# Suppose you have a table of test losses over the number of samples, from some other program, ten
# runs each. We write one: $L = 0.5 + 3\, n^{-0.45}$, every run 3 % better or worse than the mean
# as a whole, 1 % of scatter, and two evaluations that went wrong.

# %%
rng = np.random.default_rng(0)
rows = []
for run in range(10):
    luck = np.exp(0.03 * rng.standard_normal())
    for n in 100 * 2 ** np.arange(8):
        scatter = np.exp(0.01 * rng.standard_normal())
        rows.append((run, n, (0.5 + 3.0 * n**-0.45) * luck * scatter))
table = pandas.DataFrame(rows, columns=["run", "samples", "test_loss"])
table.loc[[14, 47], "test_loss"] *= 1.6  # two outliers

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "losses.csv"
table.to_csv(path, index=False)
print(table.head(3).to_string(index=False))


# %% [markdown]
# A `Formula` is any function that JAX can trace, with values to start from. `columns` maps its
# names to those of the file, and `bounds` say where a parameter may lie.


# %%
def saturating(n_samples, floor, prefactor, exponent):
    """A power law above a floor."""
    return floor + prefactor * n_samples**-exponent


law = js.Formula(saturating, {"floor": 0.1, "prefactor": 1.0, "exponent": 1.0})
options = {
    "free": ["floor", "prefactor", "exponent"],
    "columns": {"n_samples": "samples", "loss": "test_loss"},
    "bounds": {"exponent": js.bounds.Between(low=0.05, high=2.0)},
    "n_starts": 6,
}
plain = js.calibrate(law, path, **options)
robust = js.calibrate(
    law, path, loss=js.residuals.Huber(delta=0.05), bootstrap=100, resample="run", **options
)
covariance, resampled = robust.covariance_interval(), robust.interval()
print("            truth   squares   Huber   95 %, covariance    95 %, runs resampled")
for name, true in (("floor", 0.5), ("prefactor", 3.0), ("exponent", 0.45)):
    print(
        f"{name:10s} {true:6.2f} {plain.values[name]:9.3f} {robust.values[name]:7.3f}   "
        f"{covariance[name][0]:6.3f} to {covariance[name][1]:6.3f}    "
        f"{resampled[name][0]:6.3f} to {resampled[name][1]:6.3f}"
    )
print("starts, Huber:", ", ".join(robust.starts.status))

# %% [markdown]
# Squares count an outlier by its square; Huber's loss counts residuals beyond `delta` (here 5 %, on
# the scale of logarithms) by their size only. Compare both with the truth.
#
# ## What the data do not tell
#
# Keep only the small data sets of the file. With fewer of them the curve hardly bends, and a
# smaller exponent with a lower floor fits as well. `js.calibrate` measures this by the condition
# number of the problem, and warns where it cannot tell parameters apart, naming them; fewer sizes
# than parameters are refused. Here we catch the warnings to print them.

# %%
for largest in (1600, 400):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        few = table[table.samples <= largest]
        narrow = js.calibrate(law, few, loss=js.residuals.Huber(delta=0.05), **options)
    low, high = narrow.interval()["exponent"]
    print(
        f"samples up to {largest}: exponent {narrow.values['exponent']:.2f}, "
        f"95 % interval {low:.2f} to {high:.2f}, condition {narrow.condition:.2g}"
    )
    print("  starts:", ", ".join(narrow.starts.status))
    for warning in caught:
        print("  warning:", warning.message)

# %% [markdown]
# A fit returns numbers all the same. It is the interval, and in the end the warning, that say how
# little they mean.
#
# ## The loss surface of language models
#
# `js.fit_loss_surface` fits the five numbers of $L(N, D)$ to training runs: Huber's loss on the
# logarithm, starts of its own, and a bootstrap whose every resample is fitted again. Seventy-two
# runs are made from $E = 1.8$, $A = 480$, $B = 2100$, $\alpha = 0.35$, $\beta = 0.37$ with 3 % of
# scatter, and three of them are spoiled.

# %%
TRUTH = {"E": 1.8, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
rng = np.random.default_rng(0)
sizes, tokens = np.geomspace(1e7, 1e10, 9), np.geomspace(2e8, 1e12, 8)
n_parameters, n_tokens = (x.ravel() for x in np.meshgrid(sizes, tokens, indexing="ij"))
clean = np.asarray(js.forms.chinchilla(n_parameters, n_tokens, **TRUTH))
loss = clean * np.exp(0.03 * rng.standard_normal(len(clean)))
spoiled = [10, 37, 62]
loss[spoiled] *= [1.25, 1.35, 1.2]

surface = js.fit_loss_surface(n_parameters, n_tokens, loss, bootstrap=200)
print(f"{surface.n_runs} runs, {surface.n_converged_starts} of {surface.n_starts} starts converged")

# %% [markdown]
# The exponents of the best allocation, $N^* \propto C^a$ and $D^* \propto C^b$ for $C = 6 N D$,
# follow from $\alpha$ and $\beta$, and so do their intervals.

# %%
sum_ = TRUTH["alpha"] + TRUTH["beta"]
true_values = {**TRUTH, "a": TRUTH["beta"] / sum_, "b": TRUTH["alpha"] / sum_}
fitted_values = {**surface.values, **surface.allocation}
intervals = surface.interval()
print("          truth     fitted     95 % by bootstrap     covers the truth")
for name, true in true_values.items():
    low, high = intervals[name]
    print(
        f"{name:6s} {true:8.4g} {fitted_values[name]:10.4g}   {low:9.4g} to {high:9.4g}      "
        f"{'yes' if low <= true <= high else 'no'}"
    )
print(f"condition number {surface.condition:.0f}")

# %% [markdown]
# The prefactors are known least, by factors, because an error of the exponent is made good by the
# prefactor: the two are not to be quoted one by one. The floor and the exponents of the allocation
# are known better. Extrapolation stays as uncertain as the fit, which the band of the figure shows.
#
# Left, loss over tokens for four of the nine sizes: data, fit, and the band of 95 % of the
# resamples; crosses are spoiled runs. Right, the intervals over the truth.

# %%
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9.4, 4.0), dpi=90, layout="constrained", width_ratios=(1.7, 1)
)
fine = np.geomspace(1e8, 1e13, 60)
for i, color in zip((0, 2, 4, 8), COLORS, strict=True):
    bootstrap = {name: draws[:, None] for name, draws in surface.bootstrap.items()}
    curves = np.asarray(js.forms.chinchilla(sizes[i], fine, **bootstrap))
    low, high = np.nanquantile(curves, [0.025, 0.975], axis=0)
    left.fill_between(fine, low, high, color=color, alpha=0.2, lw=0)
    left.plot(fine, surface.loss(sizes[i], fine), color=color, ls=(0, (4, 2)), lw=1.5)
    of_size = np.flatnonzero(n_parameters == sizes[i])
    good = np.setdiff1d(of_size, spoiled)
    left.plot(n_tokens[good], loss[good], "o", color=color, ms=4)
    bad = np.intersect1d(of_size, spoiled)
    left.plot(n_tokens[bad], loss[bad], "x", color=color, ms=7, mew=2)
    millions = f"N = {sizes[i] / 1e6:,.0f} M"
    left.annotate(
        millions,
        (fine[-1], surface.loss(sizes[i], fine[-1])),
        (5, 0),
        textcoords="offset points",
        color=color,
        fontsize=9,
        va="center",
    )
left.axhline(TRUTH["E"], color="#777777", lw=0.9)
left.annotate(
    "E, the truth",
    (1.2e8, TRUTH["E"]),
    (0, 4),
    textcoords="offset points",
    fontsize=8,
    color="#555555",
)
left.plot([], [], "o", color="#444444", ms=4, label="synthetic runs")
left.plot([], [], color="#444444", ls=(0, (4, 2)), lw=1.5, label="fit, band of 95 %")
left.legend(fontsize=8, loc="upper right")
left.set(xscale="log", xlabel="training tokens D", ylabel="loss [nats per token]")

symbols = {"alpha": "α", "beta": "β", "a": "a = β / (α + β)", "b": "b = α / (α + β)"}
for place, (name, true) in enumerate(true_values.items()):
    low, high = (end / true for end in intervals[name])
    right.plot([low, high], [place, place], color=COLORS[0], lw=2)
    right.plot(fitted_values[name] / true, place, "o", color=COLORS[0], ms=5)
right.axvline(1.0, color="#777777", lw=0.9)
right.set_yticks(range(len(true_values)), labels=[symbols.get(n, n) for n in true_values])
right.invert_yaxis()
right.set(xscale="log", xlabel="fitted / true, with 95 % interval")
right.set_xticks([0.1, 0.3, 1, 3, 10], labels=["0.1", "0.3", "1", "3", "10"])
right.minorticks_off()
folder.cleanup()
plt.show()
