"""Kinds of devices: what a plan needs to know of them, also where there is none."""

import dataclasses
import re

import jax

from jaxscale._devices import host_memory
from jaxscale._text import unknown

HOST_SHARE, ACCELERATOR_SHARE = 0.5, 0.8  # of the memory, for a sweep
GPU_PREALLOCATED = 0.75  # of a GPU's memory, which JAX takes by default
FLOAT32_PASSES = 6  # bfloat16 products of a float32 one on a TPU


@dataclasses.dataclass(frozen=True)
class Target:
    """The devices that a plan is made for.

    - `name`: of the kind: a name of the table, or what an unlisted accelerator calls itself.
    - `memory`: bytes that a process may use, of each accelerator, or of the host and for all its
      devices together.
    - `bandwidth`: bytes per second between one device and its memory.
    - `flops`, `bfloat16_flops`: dense products per second at their peak, in float32 and bfloat16.
    - `n_devices`: devices of one process.
    - `platform`: cpu, gpu or tpu.

    That TPUs pad the last axis of an array to 128 is not counted: XLA puts a long axis there, and
    programs of networks and students for a v5e, with axes of 5 to 100, take .08 to .84 of a plan.

    **Reference**: NVIDIA's data sheets (H100 and H200 SXM, A100 SXM with 80 GB) and Google Cloud's
    pages on TPU v5e, v5p and v6e; the cpu is one core, with the product of two large matrices and
    the memory of the machine of the benchmarks.
    """

    name: str
    memory: float
    bandwidth: float
    flops: float
    bfloat16_flops: float
    n_devices: int = 1
    platform: str = "gpu"

    @classmethod
    def of_this_process(cls) -> "Target":
        """Local devices; an unlisted GPU counts as an A100, an unlisted TPU as a v5e."""
        device, n_devices = jax.local_devices()[0], jax.local_device_count()
        if device.platform == "cpu":
            return _host(n_devices)
        kind = device.device_kind
        name = next((name for mark, name in KINDS.items() if mark in kind), None)
        row = TARGETS[name or ("v5e" if device.platform == "tpu" else "a100")]
        memory = float((device.memory_stats() or {}).get("bytes_limit", row.memory))
        return dataclasses.replace(row, name=name or kind, memory=memory, n_devices=n_devices)

    @classmethod
    def named(cls, text: str) -> "Target":
        """Devices of a name of the table, as "h200", or several of them, as "8xh200"."""
        several = re.fullmatch(r"([1-9]\d{0,3})x(.*)", text) if isinstance(text, str) else None
        n_devices, name = (int(several[1]), several[2]) if several else (None, text)
        if name == "cpu":
            return _host(n_devices or len(jax.local_devices(backend="cpu")))
        if name not in TARGETS:
            raise unknown("`target`", name, ("cpu", *TARGETS), ' (or several, as "8xh200")')
        return dataclasses.replace(TARGETS[name], n_devices=n_devices or 1)

    @property
    def is_host(self) -> bool:
        """Whether these are CPU devices, which share one memory."""
        return self.platform == "cpu"

    def memory_each(self, n_devices: int) -> float:
        """Bytes of each of `n_devices` that work at once."""
        return self.memory / n_devices if self.is_host else ACCELERATOR_SHARE * self.memory

    @property
    def budget(self) -> float:
        """Bytes that a sweep may take on each device: most of an accelerator, half of a host."""
        share = HOST_SHARE if self.is_host else 1.0
        return share * self.memory_each(self.n_devices)

    @property
    def is_local(self) -> bool:
        """Whether this process has such devices, and as many."""
        local = Target.of_this_process()
        like = self.name == local.name and self.memory <= local.memory
        return like and self.n_devices <= local.n_devices

    def __str__(self) -> str:
        return f"{self.n_devices} x {self.name}"


def _host(n_devices: int) -> Target:
    """CPU devices of this machine, each with a core."""
    return Target("cpu", host_memory(), 1e10, 1.8e11, 1.8e11, n_devices, "cpu")


def _gpu(name: str, gigabytes: float, bandwidth: float, flops: float, bfloat16: float) -> Target:
    return Target(name, GPU_PREALLOCATED * 1e9 * gigabytes, bandwidth, flops, bfloat16)


def _tpu(name: str, gibibytes: float, bandwidth: float, bfloat16: float) -> Target:
    flops = bfloat16 / FLOAT32_PASSES
    return Target(name, gibibytes * 2**30, bandwidth, flops, bfloat16, platform="tpu")


TARGETS = {
    row.name: row
    for row in (
        _gpu("h100", 80, 3.35e12, 67e12, 989e12),
        _gpu("h200", 141, 4.8e12, 67e12, 989e12),
        _gpu("a100", 80, 2.04e12, 19.5e12, 312e12),
        _tpu("v5e", 16, 0.82e12, 197e12),
        _tpu("v5p", 95, 2.77e12, 459e12),
        _tpu("v6e", 32, 1.64e12, 918e12),
    )
}
KINDS = {  # what a device calls itself contains one of these; the first that fits
    "H100": "h100", "H200": "h200", "A100": "a100",
    "v5 lite": "v5e", "v5e": "v5e", "v5": "v5p", "v6": "v6e",
}  # fmt: skip
