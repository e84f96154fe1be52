# %% [markdown]
# # Skills emerge one after another
#
# **The question.** A network that is trained on many skills at once does not get better at all of
# them evenly. It learns one, then the next, and each of them rather suddenly. *When* does a skill
# emerge, and can the first one tell us when the others will follow?
#
# **The task.** In *multitask sparse parity* an input names a skill $k$ and holds random bits. Each
# skill has three bits of its own, and the answer is their parity, $+S$ or $-S$. Skills are not
# equally frequent: skill $k$ occurs with probability $P_k \propto k^{-(\alpha + 1)}$, as words do.
#
# **The theory.** Nam et al. (2024, [arXiv 2404.17563](https://arxiv.org/abs/2404.17563)) replace
# the network by a model with one product $a_k b_k$ of two weights per skill. Its gradient flow is
# solved exactly. The *strength* $R_k$ of a skill, its correlation with the target, is a sigmoid of
# time whose rate is proportional to the frequency of the skill:
#
# $$\frac{R_k(t)}{S} = \frac{1}{1 + (S / r - 1)\, e^{-2 \eta B^2 S P_k t}},
# \qquad t_k \propto \frac{1}{P_k} \propto k^{\alpha + 1}$$
#
# with the learning rate $\eta$ and the strength $r$ at the start. The number $B^2$ is one for the
# model. For a network it is unknown: it says how much slower a real network is.

# %%
import matplotlib.pyplot as plt
import numpy as np

import jaxscale as js

# %% [markdown]
# ## The model that is solved
#
# `MultilinearSkills` trains the products by gradient descent; `js.predict` evaluates the sigmoids.
# A system goes into a grid, a grid is run, and the result is an `xarray.Dataset`.

# %%
model = js.emergence.MultilinearSkills(n_skills=5, learning_rate=0.01, n_steps=20_000)
grid = js.Grid(model)
runs, theory = js.run(grid), js.predict(grid)

difference = float(abs(runs.skill_strength - theory.skill_strength).max())
print(f"descent and closed form differ by at most {difference:.4f} of the target")

# %% [markdown]
# The small difference is that of small steps from a flow; it is proportional to the learning rate.
# When does each skill pass one half of its target?

# %%
probability = np.asarray(js.emergence.theory.skill_probabilities(0.6, 5))
half = js.analysis.crossing(runs.skill_strength.isel(seed=0), "step", 0.5).values
print("skill  frequency  half point  half point x frequency")
for k, (p, t) in enumerate(zip(probability, half, strict=True), 1):
    print(f"{k:5d} {p:10.3f} {t:11.0f} {t * p:23.0f}")

# %% [markdown]
# The last column is the same for all skills: in this model a skill emerges after a fixed number of
# *its own* samples. That is the whole mechanism.
#
# ## A network that knows nothing of skills
#
# Now a two-layer ReLU network, trained by SGD on fresh samples of the raw bits. It is given neither
# parities nor products. Four seeds are trained at once by one compiled program.

# %%
network = js.emergence.ParityNetwork(
    n_skills=5,
    n_bits=16,
    skill_exponent=0.6,
    width=128,
    batch_size=384,
    n_steps=10_000,
    learning_rate=0.1,
    n_evaluation=1024,
    record=np.unique(np.geomspace(50, 10_000, 80).astype(int)).tolist(),
)
network_grid = js.Grid(network, seeds=4)
trained = js.run(network_grid)
strength = trained.skill_strength / network.target_scale
print("strength R/S at the end, mean of the seeds, skills 1 to 5:")
print(strength.isel(step=-1).mean("seed").values.round(2))

# %% [markdown]
# ## One number, fitted on the first skill
#
# The theory has one unknown, $B^2$, here `time_scale`. We show the fit skill 1 alone, and keep the
# other four for the test.

# %%
fit = js.calibrate(network_grid, trained.sel(skill=[1]), free=["time_scale"])
print(fit)
print(f"this network is {1 / fit.values['time_scale']:.0f} times slower than the model")

# %% [markdown]
# With this number the sigmoids of skills 2 to 5 are predictions. We compare the steps at which the
# mean over seeds passes one half; $\delta$ is the logarithm of measured over predicted, so that
# $0.1$ is ten per cent late.

# %%
predicted = fit.predict().skill_strength / network.target_scale
measured_half = js.analysis.crossing(strength.mean("seed"), "step", 0.5).values
predicted_half = js.analysis.crossing(predicted, "step", 0.5).values
delta = np.log(measured_half / predicted_half)
print("skill  measured  predicted   delta")
for k in range(5):
    note = "  (fitted)" if k == 0 else ""
    print(f"{k + 1:5d} {measured_half[k]:9.0f} {predicted_half[k]:10.0f} {delta[k]:+7.2f}{note}")
print(f"rms of delta over the predicted skills: {np.sqrt(np.mean(delta[1:] ** 2)):.2f}")

worst = abs(strength.mean("seed") - predicted).max("step").sel(skill=slice(2, 5))
print("largest |R - prediction| / S, skills 2 to 5:", worst.values.round(2))

# %% [markdown]
# **What holds, and what does not.** Order and spacing come out right: the half points stretch over
# more than a decade, and one number places them to within $\delta$. The *shape* does not come out:
# a network learns more gradually than a sigmoid, so that at the front the two differ by the last
# line above. The loss of the network is not predicted at all, because part of its error lies
# outside the skills.
#
# This is a toy. `jaxscale reproduce emergence` trains the network of the README, with eight seeds
# and intervals, and checks four scaling laws besides.

# %%
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False})

figure, axes = plt.subplots(figsize=(7.5, 3.9), dpi=100, layout="constrained")
for k, color in enumerate(COLORS, 1):
    of_skill = strength.sel(skill=k)
    mean, spread = of_skill.mean("seed"), of_skill.std("seed")
    axes.fill_between(mean.step, mean - spread, mean + spread, color=color, alpha=0.2, lw=0)
    axes.plot(mean.step, mean, color=color, lw=1.5)
    axes.plot(predicted.step, predicted.sel(skill=k), color=color, ls=(0, (4, 2)), lw=1.5)
    axes.annotate(f"skill {k}", (measured_half[k - 1], 1.08), color=color, ha="center", fontsize=9)
axes.plot([], [], color="#444444", lw=1.5, label="network, mean ± s.d. of 4 seeds")
axes.plot([], [], color="#444444", ls=(0, (4, 2)), lw=1.5, label="theory, fitted on skill 1 alone")
axes.set(xscale="log", xlim=(100, 10_500), ylim=(-0.08, 1.15))
axes.set(xlabel="training step", ylabel="skill strength R / S")
axes.legend(loc="upper left", bbox_to_anchor=(0.0, 0.9), fontsize=8)
plt.show()
