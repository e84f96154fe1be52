"""Shared settings: two virtual devices, strict promotion, and the user's default x64 flag (off).

Compiling takes most of the time of the tests, much of it in passes that make programs faster and
change no result beyond rounding; they are left out here. `JAXSCALE_TEST_XLA_FLAGS` replaces this
choice: experiments that train for minutes compile as users do (`.ci/run`).
"""

import gc
import os
import signal

import jax
import pytest
import scipy.linalg  # noqa: F401  (loads the library that jaxlib calls)
from threadpoolctl import threadpool_limits

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a script
    signal.signal(signal.SIGINT, signal.default_int_handler)
gc.set_threshold(200_000, 50, 50)  # traces are many small objects that live long: 6 % of the time

FAST_COMPILATION = (
    "--xla_llvm_disable_expensive_passes=true --xla_backend_optimization_level=0 "
    "--xla_cpu_parallel_codegen_split_count=1"
)
FLAGS = os.environ.get("JAXSCALE_TEST_XLA_FLAGS", FAST_COMPILATION)
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()
threadpool_limits(1, user_api="blas")  # as `js.run` does: two workers share two cores
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_compilation_cache", False)  # compilations are counted
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # in processes that tests start, too
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield
