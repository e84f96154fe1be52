"""Multitask sparse parity as a plain PyTorch loop: one network after the other.

The task is that of `jaxscale.emergence.ParityNetwork` with `DisjointSkills()` and `Online()`. The
loop is meant to be as fast as eager PyTorch goes without batching over runs: bits are unpacked from
one random word per 32 of them (2x faster than `randint(0, 2)` per bit), nothing loops over tasks,
nothing is read back to Python inside a run, and Adam is the fused one.
"""

import dataclasses
import math
import time

import torch

WORD = 32
EVALUATION_INPUTS = 4096


@dataclasses.dataclass(frozen=True)
class Config:
    """One run; the names and defaults are those of `ParityNetwork`."""

    n_skills: int = 5
    n_bits: int = 16
    skill_size: int = 3
    skill_exponent: float = 0.6
    target_scale: float = 5.0
    width: int = 256
    init_scale: float = 0.01
    batch_size: int = 512
    n_steps: int = 12000
    learning_rate: float = 0.1
    optimizer: str = "sgd"


class Task:
    """Sampler of one run; every draw comes from its own generator."""

    def __init__(self, config: Config, generator: torch.Generator):
        self.config, self.generator = config, generator
        rank = torch.arange(1, config.n_skills + 1, dtype=torch.float64)
        weight = rank ** -(config.skill_exponent + 1)
        self.probability = (weight / weight.sum()).float()
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

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Fresh inputs and targets."""
        n = self.config.batch_size
        skill = torch.multinomial(self.probability, n, True, generator=self.generator)
        bits = self.bits(n)
        return self.inputs(skill, bits), self.target(skill, bits)


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


def make_optimizer(config: Config, network: torch.nn.Module) -> torch.optim.Optimizer:
    """SGD or Adam, in the variant that is fastest for small networks on a CPU."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=config.learning_rate)
    if config.optimizer == "adam":
        return torch.optim.Adam(network.parameters(), lr=config.learning_rate, fused=True)
    raise ValueError(f"`optimizer` must be 'sgd' or 'adam', got {config.optimizer!r}.")


def train(config: Config, seed: int) -> tuple[torch.nn.Sequential, Task]:
    """Train one run; the loss is half of `MSELoss`."""
    generator = torch.Generator().manual_seed(seed)
    task, network = Task(config, generator), build(config, generator)
    optimizer, mean_square = make_optimizer(config, network), torch.nn.MSELoss()
    for _ in range(config.n_steps):
        inputs, target = task.batch()
        optimizer.zero_grad()
        loss = 0.5 * mean_square(network(inputs), target)
        loss.backward()
        optimizer.step()
    return network, task


@torch.no_grad()
def population_loss(network: torch.nn.Module, task: Task, n: int = EVALUATION_INPUTS) -> float:
    """Loss weighted by the skill probabilities; every skill sees the same `n` inputs."""
    bits, total = task.bits(n), 0.0
    for k, probability in enumerate(task.probability.tolist()):
        skill = torch.full((n,), k)
        error = network(task.inputs(skill, bits)) - task.target(skill, bits)
        total += probability * 0.5 * error.square().mean().item()
    return total


def train_grid(config: Config, n_runs: int, threads: int) -> tuple[float, list[float]]:
    """Train `n_runs` seeds of a configuration, one after the other.

    **Arguments**

    - `config`: the run.
    - `n_runs`: seeds `0 .. n_runs - 1`.
    - `threads`: intra-op threads.

    **Returns** seconds of training (building the networks included, evaluation excluded) and the
    final losses.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        began = time.perf_counter()
        trained = [train(config, seed) for seed in range(n_runs)]
        seconds = time.perf_counter() - began
        return seconds, [population_loss(*run) for run in trained]
    finally:
        torch.set_num_threads(before)
