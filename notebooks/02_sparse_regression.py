# %% [markdown]
# # What was never seen cannot be learned
#
# **The question.** Loss falls as a power of the amount of data and as a power of the size of the
# model. In the classical model of this, regression on random features of dense Gaussian inputs,
# both powers are the same and data and parameters play the same part. Features of real data are
# *sparse*: a word, a fact, a part of a picture is absent most of the time. Does that change the
# exponents?
#
# **The model** is that of Sous and Winer (2026,
# [arXiv 2605.23591](https://arxiv.org/abs/2605.23591)); the formulas were derived for jaxscale.
# An input has infinitely many coordinates. Coordinate $i$ is active with probability
# $p_i = i^{-\gamma}$, and has variance $\lambda_i = i^{-(1 + \alpha)}$ all the same: the rarer, the
# larger when it comes. A teacher weighs them all; the student is least squares on $N$ random
# features of $D$ samples. With $\gamma = 0$ every coordinate is always active: the dense model.
#
# **The theory.** Among $D$ samples, about $D^{1/\gamma}$ coordinates occur at least once. All
# others have never been seen, and their variance is a loss that no model, however large, avoids:
#
# $$L_\infty(D) \simeq \frac12 \sum_i \lambda_i (1 - p_i)^D \propto D^{-\alpha / \gamma},
# \qquad r \simeq \Gamma(1 - 1/\gamma)\, D^{1/\gamma}$$
#
# The rank $r$ of the data is far below $D$. Two things follow. The exponent in the data,
# $\alpha / \gamma$, is smaller than that in the features, which stays near $\alpha$ while
# $N \ll r$. And the double descent, whose peak lies where the model can just interpolate, moves
# from $N = D$ to $N = r$.

# %%
import matplotlib.pyplot as plt
import numpy as np

import jaxscale as js

# %% [markdown]
# ## A plane of features and samples
#
# A regression is solved, not trained, and both of its sizes are axes of a grid. `js.plan` says what
# a grid will cost before anything is compiled: programs, padding, memory, seconds. At this toy size
# compiling takes longer than running, so we ask for one program and accept the padding.

# %%
ALPHA, GAMMA = 1.0, 2.0
SAMPLES = [64, 256, 2048]
FEATURES = [6, 8, 11, 15, 20, 26, 34, 44, 58, 80, 104, 140]

model = js.sparse.RandomFeatureRegression(
    n_features=6, n_samples=64, spectrum_exponent=ALPHA, sparsity_exponent=GAMMA
)
grid = js.Grid(model, axes={"n_samples": SAMPLES, "n_features": FEATURES}, seeds=20)
plan = js.plan(grid, max_programs=1)
print(plan)

# %%
runs, theory = js.run(plan), js.predict(grid)

rank = runs["rank"].max("n_features").mean("seed")
predicted_rank = theory["rank"].max("n_features")
print("samples D   rank r   predicted")
for d in SAMPLES:
    print(
        f"{d:9d} {float(rank.sel(n_samples=d)):8.1f} {float(predicted_rank.sel(n_samples=d)):11.1f}"
    )

# %% [markdown]
# A few dozen directions out of thousands of samples: that is what a model can interpolate.
#
# ## Two exponents
#
# Every run also tells its `residual_loss`, the loss with infinitely many features on the same data.
# Its slope over $D$ is the exponent of the data. The slope of the loss over $N$ at the largest $D$,
# well below the rank, is the exponent of the features. Both are fitted to the mean over seeds, with
# an interval by jackknife; beside them the slope of the closed form *on the same window*, because
# the asymptotic exponents, $\alpha / \gamma$ and $\alpha$, are reached slowly.


# %%
def exponent(curve, dim, window):
    """Exponent of the mean over seeds in a window, and its 95 % interval."""
    values = -js.analysis.jackknife_exponents(curve, dim, window)
    interval = js.analysis.seed_interval(values)
    return f"{values.mean():.3f} ({interval.low:.3f} to {interval.high:.3f})"


def closed_form(curve, dim, window):
    """Exponent of a closed form on the same window."""
    return f"{-js.analysis.fit_exponent(curve, dim, window).value:.3f}"


over_data, over_features = (64, 2048), (6, 26)
measured, expected = (
    runs.residual_loss.isel(n_features=-1),
    theory.residual_loss.isel(n_features=-1),
)
print("exponent of     measured                 closed form   asymptotic")
print(
    f"data D          {exponent(measured, 'n_samples', over_data):25s}"
    f"{closed_form(expected, 'n_samples', over_data):14s}{ALPHA / GAMMA:.3f}"
)
measured, expected = runs.loss.sel(n_samples=2048), theory.loss.sel(n_samples=2048)
print(
    f"features N      {exponent(measured, 'n_features', over_features):25s}"
    f"{closed_form(expected, 'n_features', over_features):14s}{ALPHA:.3f}"
)

# %% [markdown]
# Data and features do not scale alike: to halve the loss, the data must grow by a larger factor
# than the features. The closed form draws the conclusion for a budget $C = N D$: the best number of
# samples grows as $C^{\gamma / (1 + \gamma)}$, that of features as $C^{1 / (1 + \gamma)}$ only.
#
# ## Double descent at the rank
#
# Near the peak the mean over data sets is infinite, for some data set always has a rank just equal
# to $N$. So we take medians, and leave out of the comparison what lies close to the peak, where the
# theory makes no claim.

# %%
peak = runs.loss.median("seed").idxmax("n_features")
for d in SAMPLES:
    print(
        f"D = {d:4d}: largest loss at N = {int(peak.sel(n_samples=d)):3d} on this grid, "
        f"rank {float(rank.sel(n_samples=d)):5.1f}"
    )

far = abs(np.log(runs.n_features / rank)) > 0.6
ratio = (runs.loss.median("seed") / theory.loss).where(far)
print(
    f"measured over theory, N at least a factor 1.8 from the rank: "
    f"{float(ratio.min()):.2f} to {float(ratio.max()):.2f}, "
    f"median {float(ratio.median()):.3f} of {int(far.sum())} points"
)

# %% [markdown]
# For contrast, dense inputs: $\gamma = 0$, and as many directions as samples.

# %%
DENSE_SAMPLES = 32
dense = js.sparse.RandomFeatureRegression(
    n_features=8,
    n_samples=DENSE_SAMPLES,
    n_coordinates=512,
    spectrum_exponent=ALPHA,
    sparsity_exponent=0.0,
)
dense_features = [8, 12, 16, 20, 24, 28, 31, 36, 40, 48, 64, 96]
dense_grid = js.Grid(dense, axes={"n_features": dense_features}, seeds=16)
dense_runs = js.run(js.plan(dense_grid, max_programs=1))
dense_peak = dense_runs.loss.median("seed").idxmax("n_features")
print(f"dense, D = {DENSE_SAMPLES}: largest loss at N = {int(dense_peak)} on this grid")

# %% [markdown]
# ## Does it survive a nonlinearity?
#
# There is no closed form for nonlinear features, so this is measured: the exponent in the data, on
# dense and on sparse inputs, with ReLU features. Linear features have $\alpha = 1$ and
# $\alpha / \gamma = 1/2$. A small ridge takes the peak away, and the loss is measured on inputs
# that the fit has not seen.

# %%
nonlinear = js.sparse.RandomFeatureRegression(
    n_features=192,
    n_samples=8,
    n_coordinates=128,
    spectrum_exponent=ALPHA,
    sparsity_exponent=GAMMA,
    features=js.sparse.Relu(),
    solver=js.sparse.Ridge(strength=1e-5),
    n_evaluation=1024,
)
axes = {"sparsity_exponent": [0.0, GAMMA], "n_samples": [8, 16, 32, 64]}
relu = js.run(js.plan(js.Grid(nonlinear, axes, seeds=16), max_programs=1), progress=False)
for inputs, gamma in (("dense", 0.0), ("sparse", GAMMA)):
    curve = relu.loss.sel(sparsity_exponent=gamma, drop=True)
    print(f"ReLU features, {inputs:6s} inputs: {exponent(curve, 'n_samples', (8, 64))}")

# %% [markdown]
# ReLU lowers the dense exponent and leaves the sparse one where it was: what was never seen cannot
# be learned by any features. The other exponent, in the number of features, and the best split of
# compute are measured by `jaxscale reproduce sparse`.
#
# The figure draws the loss over $N$, theory dashed over medians and the middle half of the seeds.
# Left, sparse inputs: the peak follows the rank (ticks on top), not the number of samples, which is
# many times larger. Right, dense inputs: the peak lies at $N = D$.

# %%
COLORS = ("#0072B2", "#D55E00", "#009E73")
DASHED = {"ls": (0, (4, 2)), "lw": 1.6}
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})


def draw(axes, loss, color):
    """Median over seeds with the band of the middle half."""
    low, middle, high = loss.quantile([0.25, 0.5, 0.75], dim="seed")
    axes.fill_between(loss.n_features, low, high, color=color, alpha=0.2, lw=0)
    axes.plot(loss.n_features, middle, color=color, lw=1.2, marker="o", ms=3)


def draw_theory(axes, n, law, threshold, color, label):
    """The closed form where it makes a claim, beside the peak; a tick at the threshold."""
    for side in (n < 0.85 * threshold, n > 1.2 * threshold):
        axes.plot(n[side], law[side], color=color, **DASHED)
    axes.plot(
        threshold,
        1.0,
        "|",
        ms=12,
        mew=2,
        color=color,
        transform=axes.get_xaxis_transform(),
        clip_on=False,
    )
    axes.annotate(
        label,
        (threshold, 1.0),
        (4, 0),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        color=color,
        fontsize=9,
        va="center",
    )


figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.9), dpi=90, layout="constrained")
fine = np.geomspace(FEATURES[0], FEATURES[-1], 80)
laws = js.sparse.theory.loss(
    fine, np.array(SAMPLES, float)[:, None], spectrum_exponent=ALPHA, sparsity_exponent=GAMMA
)
for d, law, color in zip(SAMPLES, np.asarray(laws), COLORS, strict=True):
    draw(left, runs.loss.sel(n_samples=d), color)
    draw_theory(left, fine, law, float(predicted_rank.sel(n_samples=d)), color, f"D = {d}")
draw(right, dense_runs.loss, "#000000")
fine = np.geomspace(dense_features[0], dense_features[-1], 80)
law = js.sparse.theory.dense_loss(
    fine, float(DENSE_SAMPLES), spectrum_exponent=ALPHA, n_coordinates=512
)
draw_theory(right, fine, np.asarray(law), DENSE_SAMPLES, "#000000", f"D = {DENSE_SAMPLES}")
left.set_title(f"sparse inputs, γ = {GAMMA:g}: peaks at the rank (ticks)", fontsize=10, pad=16)
right.set_title("dense inputs, γ = 0: peak at N = D (tick)", fontsize=10, pad=16)
for axes in (left, right):
    axes.set(xscale="log", yscale="log", xlabel="features N", ylabel="loss [target²]")
    axes.set_xticks([10, 20, 50, 100], labels=["10", "20", "50", "100"])
    axes.minorticks_off()
left.plot([], [], color="#444444", marker="o", ms=3, lw=1.2, label="median, middle half of seeds")
left.plot([], [], color="#444444", **DASHED, label="theory, nothing fitted")
left.legend(loc="lower left", fontsize=8)
plt.show()
