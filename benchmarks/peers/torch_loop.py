"""Multitask sparse parity as a plain PyTorch loop: one network after the other.

The task is that of `jaxscale.emergence.ParityNetwork` with `Online()` data. The loop is meant to be
as fast as eager PyTorch goes without batching over runs: bits are unpacked from one random word per
32 of them (2x faster than `randint(0, 2)` per bit), nothing loops over tasks, nothing is read back
to Python inside a run, and Adam is the fused one.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator

import torch

from benchmarks.peers.config import Config

WORD = 32
EVALUATION_INPUTS = 4096


class Task:
    """Sampler of one run; every draw comes from its own generator."""

    def __init__(self, config: Config, generator: torch.Generator):
        self.config, self.generator = config, generator
        rank = torch.arange(1, config.n_skills + 1, dtype=torch.float64)
        weight = rank ** -(config.skill_exponent + 1)
        self.probability = (weight / weight.sum()).float()
        if config.random_skills:
            order = torch.rand(config.n_skills, config.n_bits, generator=generator).argsort(1)
            self.skill_bits = order[:, : config.skill_size]
        else:
            n_used = config.n_skills * config.skill_size
            self.skill_bits = torch.arange(n_used).view(config.n_skills, config.skill_size)
        self.control = torch.eye(config.n_skills)
        self.shift = torch.arange(WORD, dtype=torch.int32)

    def bits(self, n: int) -> torch.Tensor:
        """Uniform bits as 0 and 1, shape `(n, n_bits)`."""
        shape = (n, math.ceil(self.config.n_bits / WORD), 1)
        low, high = -(2 ** (WORD - 1)), 2 ** (WORD - 1)
        words = torch.randint(low, high, shape, dtype=torch.int32, generator=self.generator)
        return ((words >> self.shift) & 1).flatten(1)[:, : self.config.n_bits]

    def target(self, skill: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
        """`S (-1)^parity` of every sample, shape `(n, 1)`."""
        ones = bits.gather(1, self.skill_bits[skill]).sum(1, keepdim=True)
        return self.config.target_scale * (1 - 2 * (ones & 1).float())

    def inputs(self, skill: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
        """One-hot control bits followed by the skill bits."""
        return torch.cat([self.control[skill], bits], 1)

    def skills(self, n: int) -> torch.Tensor:
        """Skills with their probabilities, shape `(n,)`."""
        return torch.multinomial(self.probability, n, True, generator=self.generator)

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Fresh inputs and targets."""
        n = self.config.batch_size
        skill, bits = self.skills(n), self.bits(n)
        return self.inputs(skill, bits), self.target(skill, bits)


Trained = tuple[Callable[[torch.Tensor], torch.Tensor], Task]


def build(config: Config, generator: torch.Generator) -> torch.nn.Sequential:
    """Network with every parameter drawn from N(0, init_scale^2)."""
    network = torch.nn.Sequential(
        torch.nn.Linear(config.n_skills + config.n_bits, config.width),
        torch.nn.ReLU(),
        torch.nn.Linear(config.width, 1),
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, config.init_scale, generator=generator)
    return network


def make_optimizer(config: Config, parameters: Iterable[torch.Tensor]) -> torch.optim.Optimizer:
    """SGD or Adam, in the variant that is fastest for small networks on a CPU."""
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=config.learning_rate, fused=True)
    return torch.optim.SGD(parameters, lr=config.learning_rate)


@contextlib.contextmanager
def torch_threads(n: int) -> Iterator[None]:
    """`n` intra-op threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def train(config: Config, seed: int) -> tuple[torch.nn.Sequential, Task]:
    """Train one run; the loss is half of `MSELoss`."""
    generator = torch.Generator().manual_seed(seed)
    task, network = Task(config, generator), build(config, generator)
    optimizer, mean_square = make_optimizer(config, network.parameters()), torch.nn.MSELoss()
    for _ in range(config.n_steps):
        inputs, target = task.batch()
        optimizer.zero_grad()
        loss = 0.5 * mean_square(network(inputs), target)
        loss.backward()
        optimizer.step()
    return network, task


@torch.no_grad()
def population_loss(
    network: Callable[[torch.Tensor], torch.Tensor], task: Task, n: int = EVALUATION_INPUTS
) -> float:
    """Loss weighted by the skill probabilities; every skill sees the same `n` inputs."""
    bits, total = task.bits(n), 0.0
    for k, probability in enumerate(task.probability.tolist()):
        skill = torch.full((n,), k)
        error = network(task.inputs(skill, bits)) - task.target(skill, bits)
        total += probability * 0.5 * error.square().mean().item()
    return total


def train_grid(config: Config, n_runs: int, threads: int) -> list[Trained]:
    """Train `n_runs` seeds of a configuration, one after the other.

    **Arguments**

    - `config`: the run.
    - `n_runs`: seeds `0 .. n_runs - 1`.
    - `threads`: intra-op threads.

    **Returns** the network of every run with its task, for `population_loss`.
    """
    with torch_threads(threads):
        return [train(config, seed) for seed in range(n_runs)]
