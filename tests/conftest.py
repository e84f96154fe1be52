"""Shared settings: two virtual devices, strict promotion, and the user's default x64 flag (off)."""

import jax
import pytest
import scipy.linalg  # noqa: F401  (loads the library that jaxlib calls)
from threadpoolctl import threadpool_limits

threadpool_limits(1, user_api="blas")  # as `js.run` does: two workers share two cores
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield
