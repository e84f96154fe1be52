"""The peers train what jaxscale trains, and the benchmark table shows the stored numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import jaxscale as js
from jaxscale.emergence.data import Samples
from jaxscale.emergence.student import Network, half_squared_error

ROOT = Path(__file__).parents[1]
TASK = {"n_skills": 3, "n_bits": 8, "skill_size": 2, "width": 32, "batch_size": 64}
START = {"target_scale": 1.0, "init_scale": 0.1}
N_RUNS, N_PEERS = 32, 16
CASES = {
    "sgd": (js.Sgd(), {"learning_rate": 0.3, "n_steps": 200}),
    "adam": (js.Adam(), {"learning_rate": 0.01, "n_steps": 60}),
}


@pytest.fixture
def torch_loop(monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks.peers import torch_loop

    return torch_loop


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import table

    return table


@pytest.mark.parametrize("optimizer", CASES)
def test_torch_loop_learns_the_same(torch_loop, optimizer):
    chosen, numbers = CASES[optimizer]
    fields = {**TASK, **START, **numbers}
    end = [0, fields["n_steps"]]
    system = js.emergence.ParityNetwork(**fields, optimizer=chosen, record=end, n_evaluation=1024)
    ours = js.run(js.Grid(system, seeds=N_RUNS), progress=False)["loss"].values[:, -1]

    def peer(**changed):
        config = torch_loop.Config(**{**fields, **changed}, optimizer=optimizer)
        return np.asarray(torch_loop.train_grid(config, N_PEERS, threads=1)[1])

    same = scipy.stats.ttest_ind(ours, peer(), equal_var=False)
    assert np.mean(ours) < 0.6 * 0.5 * fields["target_scale"] ** 2  # they do learn
    assert same.pvalue > 1e-3 / len(CASES)
    # power: without the half in the loss (twice the SGD step) the same runs are told apart
    other = scipy.stats.ttest_ind(
        ours, peer(learning_rate=2 * fields["learning_rate"]), equal_var=False
    )
    assert other.pvalue < 1e-3 / len(CASES)


def test_torch_loop_has_the_same_loss_and_gradient(torch_loop):
    import torch

    config = torch_loop.Config(**TASK, init_scale=0.3)
    generator = torch.Generator().manual_seed(0)
    task, network = torch_loop.Task(config, generator), torch_loop.build(config, generator)
    inputs, target = task.batch()
    loss = 0.5 * torch.nn.MSELoss()(network(inputs), target)
    loss.backward()

    n_skills, drawn = TASK["n_skills"], inputs.numpy()
    skill, bits = drawn[:, :n_skills].argmax(1), drawn[:, n_skills:]
    read = np.arange(n_skills * TASK["skill_size"]).reshape(n_skills, -1)[skill]
    sign = (-1.0) ** np.take_along_axis(bits, read, 1).sum(1)
    samples = Samples(
        jnp.asarray(skill, jnp.int32), jnp.asarray(bits), jnp.asarray(sign, jnp.float32)
    )

    def ours(parameters):
        scale = jnp.asarray(config.target_scale, jnp.float32)
        return jnp.mean(half_squared_error(parameters, samples, scale, n_skills))

    def as_network(weight, bias, readout, offset):
        leaves = (weight.T, bias, readout[0], offset[0])
        return Network(*(jnp.asarray(x.detach().numpy()) for x in leaves))

    value, gradient = jax.value_and_grad(ours)(as_network(*network.parameters()))
    expected = as_network(*(p.grad for p in network.parameters()))
    np.testing.assert_allclose(value, loss.item(), rtol=1e-5)
    for found, wanted in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_torch_sampler_draws_the_probabilities(torch_loop):
    import torch

    config = torch_loop.Config(**{**TASK, "batch_size": 100_000, "n_bits": 40})
    inputs, target = torch_loop.Task(config, torch.Generator().manual_seed(0)).batch()
    counts = inputs[:, : config.n_skills].sum(0).numpy()
    probability = np.arange(1.0, config.n_skills + 1) ** -(config.skill_exponent + 1)
    expected = counts.sum() * probability / probability.sum()
    assert scipy.stats.chisquare(counts, expected).pvalue > 1e-3
    ones = inputs[:, config.n_skills :].mean(0).numpy()
    assert ones.shape == (40,)
    z = (ones - 0.5) / (0.5 / np.sqrt(config.batch_size))
    assert np.max(np.abs(z)) < scipy.stats.norm.isf(1e-3 / 2 / 40)  # two-sided
    assert set(target.unique().tolist()) == {-config.target_scale, config.target_scale}


def test_torch_loop_refuses_an_unknown_optimizer(torch_loop):
    config = torch_loop.Config(**TASK, n_steps=1, optimizer="lion")
    with pytest.raises(ValueError, match="`optimizer`"):
        torch_loop.train_grid(config, 1, threads=1)


def test_readme_shows_the_stored_results(table):
    text = (ROOT / "benchmarks" / "README.md").read_text()
    assert text.count(table.BEGIN) == text.count(table.END) == 1
    assert text == table.rewrite(text, table.block())
