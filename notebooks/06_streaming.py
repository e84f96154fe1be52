# %% [markdown]
# # One pass over the data
#
# **The question.** Language models see every token once. How does the loss of one pass of SGD fall,
# how far from its mean is a single run, and when does momentum change anything?
#
# **The model.** An input has coordinates $x_j = j^{-\alpha} z_j$ with normal $z_j$, the target is
# $\sum_j j^{-\beta} x_j$, and the student is linear in $d$ random features of the input (Maloney,
# Roberts and Sully 2022, [arXiv 2210.16859](https://arxiv.org/abs/2210.16859); Paquette, Paquette,
# Xiao and Pennington 2024, [arXiv 2405.15074](https://arxiv.org/abs/2405.15074)). Each step is on
# fresh samples.
#
# **The theory for given features** is exact. Along mode $i$ of the features, with eigenvalue
# $\lambda_i$, the mean square $m_i$ of the error obeys
#
# $$m_i' = \left[(1 - \eta\lambda_i)^2 + \frac{(\eta\lambda_i)^2}{B}\right] m_i
#   + \frac{2\eta^2}{B} \lambda_i L, \qquad 2 L = \omega + \sum_i \lambda_i m_i$$
#
# and $\omega$ is what no weights of these features reach. The loss feeds itself: its noise, of the
# size of the loss, is what small batches add.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxscale as js

st = js.streaming

# %% [markdown]
# ## Runs against the exact curves of their own features
#
# Every seed draws its features and its data. `loss` is the run, `expected_loss` the exact mean over
# the data for the features that it drew. The ratio is 1 in the mean, at every step.

# %%
one_pass = st.StreamingRegression(
    n_features=64, input_exponent=0.8, target_exponent=1.2, learning_rate=0.14, n_steps=3000
)
grid = js.Grid(one_pass, axes={"input_exponent": [0.8, 1.2]}, seeds=256)
runs = js.run(grid)

ratio = (runs.loss / runs.expected_loss).sel(step=slice(100, None))
z = (ratio.mean("seed") - 1) / (ratio.std("seed", ddof=1) / 16)
print(f"largest |z| of {z.size} means over 256 seeds: {float(abs(z).max()):.1f}")
spread = np.log(runs.expected_loss.sel(step=3000)).std("seed", ddof=1).values
print(f"exact curves of different features differ by {spread.round(2)} of themselves")

# %% [markdown]
# Features matter more than data: the curves of two draws of $W$ differ by about a fifth at $d = 64$
# (the scatter falls as $d^{-1/2}$). That is why a run is compared with its own curve, and not with
# the mean of all.
#
# ## A single run is not its mean
#
# The mean loss converges up to a largest learning rate, which is known exactly. Near it the mean is
# carried by runs so rare that none of these may be one: the median falls away from the mean.

# %%
shares = [0.1, 0.3, 0.5, 0.7, 0.9]
with jax.enable_x64(True):  # of the mean over features
    limit = float(st.theory.mean_max_learning_rate(64, input_exponent=0.8))
hot = js.run(
    js.Grid(
        js.replace(one_pass, "n_steps", 1000),
        axes={"learning_rate": [share * limit for share in shares]},
        seeds=256,
    )
)
last = (hot.loss / hot.expected_loss).sel(step=1000)
print(f"largest rate {limit:.3f}")
print("share of the largest rate   median / exact mean   diverged")
for i, share in enumerate(shares):
    diverged = int((hot.status[i] == js.Status.diverged).sum())
    print(f"{share:25.1f} {float(last[i].median('seed')):21.2f} {diverged:10d}")

# %% [markdown]
# ## Momentum, averages, DANA
#
# The recursion holds for every optimizer that is linear in the gradient: two numbers per mode
# instead of one. Where the bias limits the loss, in phase II, a momentum whose memory grows with
# time (DANA, Ferbach et al. 2025, [arXiv 2505.16098](https://arxiv.org/abs/2505.16098)) gains most.

# %%
OPTIMIZERS = {
    "SGD": js.Sgd(),
    "heavy ball": js.Sgd(momentum=0.9),
    "schedule-free": st.ScheduleFree(),
    "DANA": st.Dana(decay=1 / 2.4),
}
bias_limited = st.StreamingRegression(
    n_features=256, input_exponent=1.2, target_exponent=0.8, n_steps=1
)
state = js.train(bias_limited, jax.random.key(0))
steps = np.unique(np.geomspace(1, 3000, 25).astype(int))
curves = {
    name: np.asarray(
        st.theory.optimizer_loss(
            steps, state.modes.eigenvalues, state.modes.target_power,
            unreachable=state.modes.unreachable, optimizer=optimizer,
            learning_rate=0.014 if name == "heavy ball" else 0.14,
        )
    )
    for name, optimizer in OPTIMIZERS.items()
}  # fmt: skip
for name, curve in curves.items():
    print(f"{name:14s} {curve[-1]:.2e}")

# %% [markdown]
# Heavy ball at a tenth of the rate is SGD once its start is forgotten: a fixed momentum changes no
# exponent.
#
# ## Simulation and theory

# %%
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
late = runs.step > 0
for i, alpha in enumerate(runs.input_exponent.values):
    color = f"C{i}"
    loss, exact = runs.loss[i][:, late], runs.expected_loss[i][:, late].mean("seed")
    left.fill_between(
        exact.step, loss.quantile(0.1, "seed"), loss.quantile(0.9, "seed"), color=color, alpha=0.2
    )
    left.plot(exact.step, loss.mean("seed"), color=color, label=f"α = {alpha:g}, 256 runs")
    left.plot(exact.step, exact, "--", color="black", lw=1)
for name, curve in curves.items():
    right.plot(steps, curve, label=name)
for axes, title in ((left, "mean of runs; dashed, exact"), (right, "phase II, exact curves")):
    axes.set(xscale="log", yscale="log", xlabel="step", ylabel="loss", title=title)
    axes.legend(frameon=False)
plt.show()
