"""The peers train what jaxscale trains, and the benchmark table shows the stored numbers."""

import dataclasses
import functools
import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

import jaxscale as js
from jaxscale.emergence._data import Samples, n_control_bits
from jaxscale.emergence._student import Network, half_squared_error

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow  # not about the package
TASK = {"n_skills": 3, "n_bits": 8, "skill_size": 2, "width": 32, "batch_size": 64}
START = {"target_scale": 1.0, "init_scale": 0.1}
MANY = {**TASK, "n_skills": 20, "random_skills": True}  # control bits are gathered
N_RUNS, N_PEERS = 32, 16
CASES = {
    "sgd": (js.Sgd(), {"learning_rate": 0.3, "n_steps": 200}),
    "adam": (js.Adam(), {"learning_rate": 0.01, "n_steps": 60}),
}
PEERS = ("torch_loop", "torch_ensemble", "jit_vmap")


@pytest.fixture
def load(monkeypatch):
    """A module of `benchmarks`, which is no installed package."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # two threads wait for each other on a busy machine
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.{name}")


def losses(load, peer, config):
    """Final population losses of `N_PEERS` runs, all measured by the same function."""
    torch, torch_loop = pytest.importorskip("torch"), load("peers.torch_loop")
    module = load(f"peers.{peer}")
    if peer != "jit_vmap":
        trained = module.train_grid(config, N_PEERS, threads=1)
        return np.asarray([torch_loop.population_loss(*run) for run in trained])
    keys = jr.split(jr.key(0), N_PEERS)
    params, _ = module.make_grid(config)(keys, np.int32(config.n_steps))
    task = torch_loop.Task(config, torch.Generator().manual_seed(0))

    def network(inputs, r):
        p = {name: torch.tensor(np.asarray(leaf[r])) for name, leaf in params.items()}
        hidden = (inputs @ torch.cat([p["control"], p["bits"]]) + p["bias"]).relu()
        return (hidden @ p["readout"] + p["offset"])[:, None]

    run = torch_loop.population_loss
    return np.asarray([run(lambda x, r=r: network(x, r), task) for r in range(N_PEERS)])


@functools.cache
def our_losses(optimizer):
    chosen, numbers = CASES[optimizer]
    fields = {**TASK, **START, **numbers}
    end = [0, fields["n_steps"]]
    system = js.emergence.ParityNetwork(**fields, optimizer=chosen, record=end, n_evaluation=1024)
    return js.run(js.Grid(system, seeds=N_RUNS), progress=False)["loss"].values[:, -1]


@pytest.mark.parametrize("optimizer", CASES)
@pytest.mark.parametrize("peer", PEERS)
def test_peers_learn_the_same(load, peer, optimizer):
    ours, fields = our_losses(optimizer), {**TASK, **START, **CASES[optimizer][1]}
    config = load("peers.config").Config(**fields, optimizer=optimizer)
    # without the half in the loss (twice the SGD step) the same runs are told apart
    other = dataclasses.replace(config, learning_rate=2 * fields["learning_rate"])

    def p_value(config):
        theirs = losses(load, peer, config)
        return scipy.stats.ttest_ind(ours, theirs, equal_var=False).pvalue

    assert np.mean(ours) < 0.6 * 0.5 * fields["target_scale"] ** 2  # they do learn
    assert p_value(config) > 1e-3 / (len(CASES) * len(PEERS))
    assert p_value(other) < 1e-3 / (len(CASES) * len(PEERS))


def expected(weight, bias, readout, offset, skill, bits, target):
    """Loss and gradient of jaxscale for one network on a batch of ours or a peer's."""
    network = Network(*(jnp.asarray(x) for x in (weight, bias, readout, offset)))
    one = jnp.asarray(1.0, jnp.float32)  # the scale is in the target
    n_skills = weight.shape[0] - bits.shape[1]
    skill, inputs = jnp.asarray(skill, jnp.int32), jnp.asarray(bits)
    control = jax.nn.one_hot(skill, n_skills, dtype=inputs.dtype)[:, : n_control_bits(n_skills)]
    inputs = jnp.concatenate([control, inputs], axis=1)
    samples = Samples(skill, inputs, jnp.asarray(target, jnp.float32))

    def loss(network):
        return jnp.mean(half_squared_error(network, samples, one, n_skills))

    value, gradient = jax.value_and_grad(loss)(network)
    return value, jax.tree.leaves(gradient)


def assert_same(actual, wanted):
    np.testing.assert_allclose(actual[0], wanted[0], rtol=1e-5)
    for ours, theirs in zip(actual[1], wanted[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_torch_loop_has_the_same_loss_and_gradient(load):
    torch, torch_loop = pytest.importorskip("torch"), load("peers.torch_loop")
    config = torch_loop.Config(**TASK, init_scale=0.3)
    generator = torch.Generator().manual_seed(0)
    task, network = torch_loop.Task(config, generator), torch_loop.build(config, generator)
    inputs, target = task.batch()
    loss = 0.5 * torch.nn.MSELoss()(network(inputs), target)
    loss.backward()

    def leaves(weight, bias, readout, offset):
        return [x.numpy() for x in (weight.T, bias, readout[0], offset[0])]

    skill, bits = inputs[:, : config.n_skills].argmax(1), inputs[:, config.n_skills :]
    batch = skill.numpy(), bits.numpy(), target[:, 0].numpy()
    assert set(np.unique(batch[2])) == {-config.target_scale, config.target_scale}
    wanted = expected(*leaves(*(p.detach() for p in network.parameters())), *batch)
    assert_same((loss.item(), leaves(*(p.grad for p in network.parameters()))), wanted)


@pytest.mark.parametrize("task", [TASK, MANY], ids=["few", "many"])
def test_torch_ensemble_has_the_same_loss_and_gradient(load, task):
    torch, ensemble = pytest.importorskip("torch"), load("peers.torch_ensemble")
    config = load("peers.config").Config(**task, init_scale=0.3)
    generator = torch.Generator().manual_seed(0)
    task, networks = ensemble.Task(config, generator), ensemble.Networks.draw(config, 3, generator)
    batch = ensemble.draw_batch(task, 3)
    loss, gradients = ensemble.gradient(networks, batch)

    def leaves(of, r):
        return [of.weight[r].numpy(), of.bias[r, 0].numpy(), of.readout[r, :, 0].numpy(),
                of.offset[r, 0, 0].numpy()]  # fmt: skip

    for r in range(3):
        skill, bits = batch.skill.view(3, -1)[r], batch.inputs[r, :, -config.n_bits :]
        one = skill.numpy(), bits.numpy(), batch.target[r, :, 0].numpy()
        assert_same((loss[r], leaves(gradients, r)), expected(*leaves(networks, r), *one))


@pytest.mark.parametrize("task", [TASK, MANY], ids=["few", "many"])
def test_jit_vmap_has_the_same_loss_and_gradient(load, task):
    hand = load("peers.jit_vmap")
    config = load("peers.config").Config(**task, init_scale=0.3)
    params = hand.init(config, jr.key(0))
    batch = hand.draw_batch(config, hand.skill_bits(config, jr.key(1)), jr.key(2))
    value, gradient = jax.value_and_grad(hand.loss)(params, *batch)

    def leaves(of):
        weight = np.concatenate([of["control"], of["bits"]])
        return [weight, of["bias"], of["readout"], of["offset"]]

    assert_same((value, leaves(gradient)), expected(*leaves(params), *batch))


def assert_sampled(skill, bits, target, config):
    counts = np.bincount(skill, minlength=config.n_skills)
    probability = np.arange(1.0, config.n_skills + 1) ** -(config.skill_exponent + 1)
    wanted = counts.sum() * probability / probability.sum()
    assert scipy.stats.chisquare(counts, wanted).pvalue > 1e-3 / len(PEERS)
    assert bits.shape[1] == config.n_bits
    z = (bits.mean(0) - 0.5) / (0.5 / np.sqrt(len(bits)))
    assert np.max(np.abs(z)) < scipy.stats.norm.isf(1e-3 / 2 / config.n_bits / len(PEERS))
    read = np.arange(config.n_skills * config.skill_size).reshape(config.n_skills, -1)[skill]
    sign = (-1.0) ** np.take_along_axis(bits, read, 1).sum(1)
    np.testing.assert_array_equal(target, config.target_scale * sign)


@pytest.mark.parametrize("peer", PEERS)
def test_samplers_draw_the_task(load, peer):
    module, config = (load(f"peers.{name}") for name in (peer, "config"))
    config = config.Config(**{**TASK, "batch_size": 100_000, "n_bits": 40})
    if peer == "jit_vmap":
        read = module.skill_bits(config, jr.key(0))
        skill, bits, target = map(np.asarray, module.draw_batch(config, read, jr.key(0)))
        assert_sampled(skill, bits, target, config)
        return
    task = module.Task(config, pytest.importorskip("torch").Generator().manual_seed(0))
    if peer == "torch_ensemble":
        inputs, target = (x[0].numpy() for x in module.draw_batch(task, 1)[1:])
    else:
        inputs, target = (x.numpy() for x in task.batch())
    skill, bits = inputs[:, : config.n_skills].argmax(1), inputs[:, config.n_skills :]
    assert_sampled(skill, bits, target[:, 0], config)


def test_config_refuses_an_unknown_optimizer(load):
    with pytest.raises(ValueError, match="`optimizer`"):
        load("peers.config").Config(**TASK, optimizer="lion")


def test_cases_tell_the_peers_the_same_run(load):
    cases = load("cases")
    for name, case in cases.CASES.items():
        system = cases.system_of(case, "adam")
        config = cases.config_of(system, "adam")
        assert (config.width, config.n_bits) == (int(system.width), system.n_bits)
        assert config.optimizer == "adam"
        assert config.random_skills == (name == "T5")
        assert config.learning_rate == pytest.approx(float(system.learning_rate))


def test_readme_shows_the_stored_results(load):
    table = load("table")
    text = (ROOT / "benchmarks" / "README.md").read_text()
    assert text.count(table.BEGIN) == text.count(table.END) == 1
    assert text == table.rewrite(text, table.block())


def test_table_refuses_tiny_results(load, tmp_path):
    entry = {"group": "memory", "extra_info": {"tiny": True}}
    (tmp_path / "memory.json").write_text(json.dumps({"benchmarks": [entry]}))
    with pytest.raises(ValueError, match="tiny"):
        load("table").block(tmp_path)
    (tmp_path / "memory.json").unlink()
    assert "Not measured: no GPU." in load("table").block(tmp_path)
