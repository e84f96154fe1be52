"""Shared settings: two virtual devices, strict promotion, and the user's default x64 flag (off).

Compiling takes most of the time of the tests, a third of it in passes of LLVM that make programs
faster and change no result beyond rounding; they are left out here. `JAXSCALE_TEST_XLA_FLAGS`
replaces this choice.
"""

import os

import jax
import pytest
import scipy.linalg  # noqa: F401  (loads the library that jaxlib calls)
from threadpoolctl import threadpool_limits

FLAGS = os.environ.get("JAXSCALE_TEST_XLA_FLAGS", "--xla_llvm_disable_expensive_passes=true")
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()
threadpool_limits(1, user_api="blas")  # as `js.run` does: two workers share two cores
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield
