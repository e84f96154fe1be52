"""Multitask sparse parity in PyTorch with every run of a grid trained at once.

Weights are stacked over runs and multiplied by `bmm`; gradients are written out (autograd and
`torch.func` would pass over the activations more often); one call of the sampler serves all runs.
Nothing is read back to Python during training.
"""

from functools import partial
from typing import NamedTuple

import torch

from benchmarks.peers.config import Config
from benchmarks.peers.torch_loop import Task, Trained, make_optimizer, torch_threads

FEW_SKILLS = 16


class Networks(NamedTuple):
    """Stacked parameters of `r` networks; the first rows of `weight` belong to the skills."""

    weight: torch.Tensor  # r f w
    bias: torch.Tensor  # r 1 w
    readout: torch.Tensor  # r w 1
    offset: torch.Tensor  # r 1 1

    @classmethod
    def draw(cls, config: Config, n_runs: int, generator: torch.Generator) -> "Networks":
        """Every parameter from N(0, init_scale^2)."""
        f, w = config.n_skills + config.n_bits, config.width
        shapes = ((n_runs, f, w), (n_runs, 1, w), (n_runs, w, 1), (n_runs, 1, 1))
        return cls(*(config.init_scale * torch.randn(s, generator=generator) for s in shapes))

    def run(self, r: int, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of one network for dense inputs."""
        hidden = (inputs @ self.weight[r] + self.bias[r]).relu()
        return hidden @ self.readout[r] + self.offset[r]


class Batch(NamedTuple):
    """Samples of `r` runs, `b` each; few skills enter as control bits in front of `inputs`."""

    skill: torch.Tensor  # r*b
    inputs: torch.Tensor  # r b d
    target: torch.Tensor  # r b 1


def draw_batch(task: Task, n_runs: int) -> Batch:
    """A fresh batch of every run, from one call of the sampler."""
    n = n_runs * task.config.batch_size
    skill, bits = task.skills(n), task.bits(n)
    dense = task.config.n_skills <= FEW_SKILLS
    inputs = task.inputs(skill, bits) if dense else bits.float()
    return Batch(skill, inputs.view(n_runs, -1, inputs.shape[1]),
                 task.target(skill, bits).view(n_runs, -1, 1))  # fmt: skip


def gradient(networks: Networks, batch: Batch) -> tuple[torch.Tensor, Networks]:
    """Loss of every run (half the mean square error) and the gradients of the parameters."""
    weight, bias, readout, offset = networks
    n_runs, b, d = batch.inputs.shape
    n_gathered = weight.shape[1] - d  # rows that are looked up, not multiplied
    hidden = torch.baddbmm(bias, batch.inputs, weight[:, n_gathered:])
    if n_gathered:
        row = batch.skill + n_gathered * torch.arange(n_runs).repeat_interleave(b)
        table = weight[:, :n_gathered].reshape(-1, weight.shape[2])
        hidden += table[row].view_as(hidden)
    hidden.relu_()
    error = torch.baddbmm(offset, hidden, readout) - batch.target
    loss, error = 0.5 * error.square().mean((1, 2)), error / b
    back = torch.ops.aten.threshold_backward(error * readout.mT, hidden, 0)
    d_weight = batch.inputs.mT @ back
    if n_gathered:
        rows = torch.zeros_like(table).index_add_(0, row, back.flatten(0, 1))
        d_weight = torch.cat([rows.view(n_runs, n_gathered, -1), d_weight], 1)
    sums = back.sum(1, keepdim=True), hidden.mT @ error, error.sum(1, keepdim=True)
    return loss, Networks(d_weight, *sums)


@torch.no_grad()
def train(config: Config, n_runs: int, seed: int = 0) -> tuple[Networks, Task]:
    """Train all runs; with random skills they share one draw of the subsets."""
    generator = torch.Generator().manual_seed(seed)
    task, networks = Task(config, generator), Networks.draw(config, n_runs, generator)
    optimizer = make_optimizer(config, networks)
    for _ in range(config.n_steps):
        _, gradients = gradient(networks, draw_batch(task, n_runs))
        for parameter, slope in zip(networks, gradients, strict=True):
            parameter.grad = slope
        optimizer.step()
    return networks, task


def train_grid(config: Config, n_runs: int, threads: int) -> list[Trained]:
    """Train `n_runs` networks at once; returns what that of `torch_loop` does."""
    with torch_threads(threads):
        networks, task = train(config, n_runs)
    return [(partial(networks.run, r), task) for r in range(n_runs)]
