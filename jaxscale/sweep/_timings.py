"""Times that this machine has taken, for the estimates of later plans: of runs, and of products.

They are kept with the compiled programs (`js.keep_compiled`), in one small file per machine: kind
of device, cores and version of JAX. Where no programs are kept, neither are times.
"""

import contextlib
import contextvars
import functools
import json
import math
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._compilation import compiled_folder
from jaxscale._system import AbstractSystem
from jaxscale.fields import field_names

MOST_TIMES = 20  # of each class, the latest
SAME = math.log(1.5)  # estimates that are nearer than this are of the same size
LIKE = math.log(4.0)  # estimates that are nearer than this are off by about the same factor
PRODUCTS = "products"  # what stands for the class of a system where these were timed
N_PRODUCTS, SIZE, N_TIMES = 200, 64, 20  # products of eight matrices each, and times of them all
PRODUCT_FLOPS = 64e9  # per second, on a core that runs systems as fast as is estimated
_ALONE = contextvars.ContextVar("alone", default=True)  # whether runs have the machine
Times: TypeAlias = dict[str, list[tuple[float, float]]]  # estimated and measured, of a run


def read_times() -> Times:
    """Estimated and measured seconds per run, by classes of systems; empty if none are kept."""
    file = _file()
    with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, OverflowError):
        if file is not None:
            times = {}
            for name, pairs in json.loads(file.read_text("utf-8")).items():
                numbers = [(float(e), float(m)) for e, m in pairs]
                times[name] = [p for p in numbers if all(0 < x < math.inf for x in p)]
            return times
    return {}


def measured_ratio(system: AbstractSystem, estimated: float) -> float | None:
    """Measured over estimated seconds of the run of these classes whose estimate was nearest.

    None if no estimate was within a factor of four: small runs say nothing of large ones.
    """
    pairs = read_times().get(_name(system), []) if estimated > 0 else []
    apart = {pair: abs(math.log(pair[0] / estimated)) for pair in pairs}
    nearest = min(apart, key=lambda pair: apart[pair], default=None)
    if nearest is None or apart[nearest] > LIKE:
        return None
    return nearest[1] / nearest[0]


def products_ratio() -> float:
    """Measured over expected seconds of products of small matrices, on all local devices at once.

    Cores of two machines differ by a factor of three. They are timed once per machine, or per
    process where no times are kept, which takes a fifth of a second.
    """
    times = read_times().get(PRODUCTS, [])
    if not times:
        times = [(N_PRODUCTS * 8 * 2.0 * SIZE**3 / PRODUCT_FLOPS, _product_seconds())]
        _keep(PRODUCTS, *times[0])
    return times[0][1] / times[0][0]


@functools.cache
def _product_seconds() -> float:
    """The shortest of some times of the processor: what other processes do does not count."""
    matrices = np.random.default_rng(0).standard_normal((8, SIZE, SIZE), np.float32) / SIZE**0.5
    each = [jax.device_put(matrices, device) for device in jax.local_devices()]
    shortest = math.inf
    for _ in range(1 + N_TIMES):  # the first compiles
        begin = time.process_time()
        jax.block_until_ready([_products(matrices) for matrices in each])
        shortest = min(shortest, (time.process_time() - begin) / len(each))
    return shortest


@jax.jit
def _products(matrices: Float[Array, "b n n"]) -> Float[Array, "b n n"]:
    def once(product: Float[Array, "b n n"], _: None) -> tuple[Float[Array, "b n n"], None]:
        return jnp.matmul(product, matrices), None

    return jax.lax.scan(once, matrices, None, length=N_PRODUCTS)[0]


def keep_time(system: AbstractSystem, estimated: float, measured: float) -> None:
    """Keep the seconds per run of a session; they replace those of runs of the same size."""
    if _ALONE.get():
        _keep(_name(system), estimated, measured)


@contextlib.contextmanager
def untimed() -> Iterator[None]:
    """Keep no times of what runs in the block: other threads of this process compute, too."""
    token = _ALONE.set(False)
    try:
        yield
    finally:
        _ALONE.reset(token)


def _keep(name: str, estimated: float, measured: float) -> None:
    file = _file()
    if file is None or min(estimated, measured) <= 0:
        return
    times = read_times()
    others = [p for p in times.get(name, []) if abs(math.log(p[0] / estimated)) > SAME]
    times[name] = [*others, (estimated, measured)][-MOST_TIMES:]
    with contextlib.suppress(OSError):  # estimates are no reason to fail
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            (Path(folder) / file.name).write_text(json.dumps(times), "utf-8")
            (Path(folder) / file.name).replace(file)


def _name(system: AbstractSystem) -> str:
    """Class of a system and of its parts: a solver's estimate may be off by another factor."""
    parts = [getattr(system, name) for name in field_names(system)]
    names = [type(part).__qualname__ for part in parts if isinstance(part, eqx.Module)]
    return " ".join([f"{type(system).__module__}:{type(system).__qualname__}", *names])


def _file() -> Path | None:
    folder, device = compiled_folder(), jax.local_devices()[0].device_kind
    machine = f"{device} {os.cpu_count()} {jax.local_device_count()} {jax.__version__}"
    name = re.sub(r"[^\w.-]+", "-", machine)  # some kinds of device have a slash
    return None if folder is None else folder / f"times-{name}.json"
