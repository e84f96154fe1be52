"""Programs compiled for devices that are absent, to count their memory before a machine is hired.

XLA compiles for a GPU or TPU from a description of it, wherever the plugin of its platform is
installed. Matrix products are chosen without being timed.
"""

import dataclasses
import functools
import importlib.util
import os
import warnings
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh

from jaxscale._text import unknown
from jaxscale.sweep._bucket import Bucket
from jaxscale.sweep._program import RUNS, program_function

KIB, MIB = 2**10, 2**20
TPUS = {  # smallest slice that its compiler takes, and the name of a slice of that size
    "v5e": ("v5e:2x2", "v5litepod-4"),
    "v5p": ("v5:2x2x1", "v5p-8"),
    "v6e": ("v6e:2x2", "v6e-4"),
}


@dataclasses.dataclass(frozen=True)
class Gpu:
    """What the compiler asks of a GPU; memory in bytes, bandwidth in bytes per second."""

    capability: int
    cores: int
    units_per_core: int
    gigahertz: float
    shared_memory: int  # of a core; a block may take 1 KiB less
    cache: int
    memory: int
    bandwidth: int

    def describe(self, name: str) -> str:
        """The text form of XLA's `GpuTargetConfigProto`."""
        extension = "ACCELERATED_FEATURES" if self.capability == 9 else "NONE"
        return f"""
            gpu_device_info {{
              threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
              thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
              block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
              registers_per_block_limit: 65536 registers_per_core_limit: 65536
              shared_memory_per_block: {48 * KIB} shared_memory_per_core: {self.shared_memory}
              shared_memory_per_block_optin: {self.shared_memory - KIB}
              core_count: {self.cores} fpus_per_core: {self.units_per_core}
              clock_rate_ghz: {self.gigahertz} l2_cache_size: {self.cache}
              device_memory_size: {self.memory} memory_bandwidth: {self.bandwidth}
              cuda_compute_capability {{
                major: {self.capability} feature_extension: {extension}
              }}
              driver_version: "13.0.0" runtime_version: "12.9.0"
            }}
            platform_name: "CUDA"
            dnn_version_info {{ major: 9 minor: 10 }}
            device_description_str: "NVIDIA {name.upper()}"
        """


def _hopper(memory: int, bandwidth: int) -> Gpu:
    return Gpu(9, 132, 128, 1.98, 228 * KIB, 50 * MIB, memory, bandwidth)


GPUS = {
    "h100": _hopper(84_942_979_072, 3_352_320_000_000),
    "h200": _hopper(151_397_597_184, 4_800_000_000_000),
    "a100": Gpu(8, 108, 64, 1.41, 164 * KIB, 40 * MIB, 85_100_068_864, 2_039_040_000_000),
}
TPU_ENVIRONMENT = {  # so that libtpu looks for no device
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


def compiled_for(
    bucket: Bucket, target: str, matmul_precision: str = "float32"
) -> jax.stages.Compiled:
    """The program of `bucket`, compiled for an absent device: what each of its devices would run.

    **Arguments**

    - `bucket`: of a plan for this kind of device.
    - `target`: its kind: h100, h200, a100, v5e, v5p or v6e.
    - `matmul_precision`: as of `js.plan`.

    **Returns** the compiled program, which cannot be called: see its `memory_analysis`, `as_text`.

    **Raises** `ValueError` for another kind of device, or where the plugin that compiles for it is
    not installed.
    """
    mesh = Mesh(np.asarray(_topology(target).devices[:1]), (RUNS,), axis_types=(AxisType.Auto,))
    with (
        warnings.catch_warnings(),
        jax.enable_x64(bucket.padded_system.dtype == "float64"),
        jax.default_matmul_precision(matmul_precision),
    ):
        # of `keep_compiled`, which stores such a program but cannot read it
        warnings.filterwarnings("ignore", "Error reading persistent compilation cache")
        function, arguments = program_function(dataclasses.replace(bucket, n_devices=1), mesh)
        untimed: Any = {"xla_gpu_autotune_level": 0} if target in GPUS else None
        return jax.jit(function).lower(*arguments).compile(compiler_options=untimed)


@functools.cache
def _topology(target: str) -> Any:
    """The smallest topology of devices of a kind."""
    if target not in GPUS | TPUS:
        raise unknown("`target`", target, GPUS | TPUS)
    plugins = ("jax_cuda13_plugin", "jax_cuda12_plugin") if target in GPUS else ("libtpu",)
    if not any(importlib.util.find_spec(plugin) for plugin in plugins):
        extra = "cuda12" if target in GPUS else "tpu"
        raise ValueError(
            f"`target` {target!r} needs the plugin that compiles for it, without a device: "
            f"pip install 'jaxscale[{extra}]'."
        )
    if target in GPUS:
        return topologies.get_topology_desc(
            platform="cuda",
            topology_name=target,
            topology="1x1x1",
            target_config=GPUS[target].describe(target),
        )
    name, kind = TPUS[target]
    before = dict(os.environ)
    os.environ.update(TPU_ENVIRONMENT, TPU_ACCELERATOR_TYPE=kind)
    try:
        return topologies.get_topology_desc(platform="tpu", topology_name=name)
    finally:
        os.environ.clear()
        os.environ.update(before)
