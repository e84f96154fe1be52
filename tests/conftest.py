"""Shared settings: two virtual devices, strict promotion, and the user's default x64 flag (off).

Compiling takes most of the time of the tests, much of it in passes that make programs faster and
change no result beyond rounding; they are left out here. `JAXSCALE_TEST_XLA_FLAGS` replaces this
choice: experiments that train for minutes compile as users do (`.ci/run`).
"""

import contextlib
import gc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import jax
import pytest
import scipy.linalg  # noqa: F401  (loads the library that jaxlib calls)
from threadpoolctl import threadpool_limits

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # started in the background by a script
    signal.signal(signal.SIGINT, signal.default_int_handler)
gc.set_threshold(200_000, 50, 50)  # traces are many small objects that live long: 6 % of the time

FAST_COMPILATION = (
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true "
    "--xla_cpu_parallel_codegen_split_count=1"
)
NO_EMITTERS = "--xla_cpu_use_fusion_emitters=false"  # halves a typical compilation; jax 0.10 alone
TAKES_BOTH = {"0.10.2"}  # versions of jaxlib; others are asked, which takes two seconds


def flags_that_xla_takes():
    """The most that we want: for a flag that XLA does not know it ends the process."""
    if version("jaxlib") in TAKES_BOTH:
        return f"{FAST_COMPILATION} {NO_EMITTERS}"
    start = [sys.executable, "-c", "import jax; jax.devices()"]
    for flags in (f"{FAST_COMPILATION} {NO_EMITTERS}", FAST_COMPILATION):
        environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
        if subprocess.run(start, env=environment, capture_output=True).returncode == 0:
            return flags
    return ""


SLOW_CASES = frozenset((Path(__file__).parent / "slow_cases.txt").read_text().splitlines())
NEEDED_BYTES = 2 * 10**9  # several times what the tests write
MOST_COMPILED = 300_000_000  # bytes
OWN_FOLDER = pytest.StashKey[str]()
OWN_FLAGS = "JAXSCALE_TEST_XLA_FLAGS"
if OWN_FLAGS not in os.environ:
    os.environ[OWN_FLAGS] = flags_that_xla_takes()  # workers inherit the answer
FLAGS = os.environ[OWN_FLAGS]
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()
threadpool_limits(1, user_api="blas")  # as `js.run` does: two workers share two cores
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_dtype_promotion", "strict")


def compiled_folder(config):
    """Where compiled programs are shared; nowhere without pytest's own cache."""
    has_cache = config.pluginmanager.hasplugin("cacheprovider")
    return config.cache.mkdir("compiled") if has_cache else None


def needs_a_device(config):
    """Whether `-m` asks for the tests of `test_gpu.py`."""
    return "gpu" in config.option.markexpr.replace("not gpu", "")


def folder_in_memory():
    """A new folder that no disk holds, or None where `/dev/shm` has no room for it."""
    try:
        if shutil.disk_usage("/dev/shm").free > NEEDED_BYTES:
            return tempfile.mkdtemp(prefix="jaxscale-tests-", dir="/dev/shm")
    except OSError:
        pass
    return None


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist starts its workers
def pytest_cmdline_main(config):
    """Keep folders in memory, and use one process for an accelerator.

    A store flushes every file: on a disk, tests of sweeps wait for it two thirds of their time.
    `TMPDIR` replaces this choice. Every process takes most of the memory of an accelerator.
    """
    if "TMPDIR" not in os.environ and (folder := folder_in_memory()):
        os.environ["TMPDIR"] = config.stash[OWN_FOLDER] = folder  # workers inherit the variable
        tempfile.tempdir = None  # asks again
    if needs_a_device(config):
        config.option.numprocesses = 0


def pytest_configure(config):
    """Choose the platform; share programs between workers, what they start, and the next tests.

    Tests of the device let the processes that they start have some of its memory; all others run
    on the CPU, whatever the machine has. JAX reports a program that it loads as a compilation, too:
    counts of them do not change.
    """
    if needs_a_device(config) and os.environ.get("JAXSCALE_DEVICE_TIER") != "cpu":
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    else:
        jax.config.update("jax_platforms", os.environ.setdefault("JAX_PLATFORMS", "cpu"))
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # of processes that tests start
    if folder := compiled_folder(config):
        os.environ |= {
            "JAX_ENABLE_COMPILATION_CACHE": "true",
            "JAX_COMPILATION_CACHE_DIR": str(folder),
        }
        os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
        jax.config.update("jax_enable_compilation_cache", True)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@pytest.hookimpl(tryfirst=True)  # before `-m` deselects
def pytest_collection_modifyitems(items):
    """Mark the tests of `slow_cases.txt`: of their kind, quicker ones run by default."""
    for item in items:
        if item.nodeid in SLOW_CASES:
            item.add_marker(pytest.mark.case)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish():
    """Collect what tests have left, of which pytest still warns: it would search twice."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config):
    if folder := config.stash.get(OWN_FOLDER, None):
        shutil.rmtree(folder, ignore_errors=True)
    if hasattr(config, "workerinput") or not (folder := compiled_folder(config)):
        return
    with contextlib.suppress(OSError):  # another process deletes, too
        if sum(file.stat().st_size for file in folder.iterdir()) > MOST_COMPILED:
            # not above: jaxtyping must see the first import, of five seconds under its hook
            from jaxscale._compilation import _prune

            _prune(folder, max_bytes=MOST_COMPILED)


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield
