"""Which indices of a power law to evaluate, and with which weights, to sum over all of them."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxscale._quadrature import ENDS, OFFSETS, gauss_legendre

_N_EXACT = 60  # indices listed one by one
_N_SMALL = 192  # a spectrum of at most this many is listed in full
_N_BEFORE, _N_AFTER = 4, 8  # indices listed one by one around the kink of min(1, c i^-gamma)
_FINE = 2e7  # crossovers up to this index are resolved
_CLOSEST = 1e-12  # share of the kink's index behind it that counts as nothing
_NODES = 16
_TAIL_PANELS, _TAIL_NODES = 5, 10


def _joined(pieces: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Points and weights of all pieces of a quadrature rule."""
    points, weights = (jnp.concatenate(p) for p in zip(*pieces, strict=True))
    return points, weights


def _panels(low: Array, high: Array, n_panels: int, n_nodes: int = _NODES) -> tuple[Array, Array]:
    """Composite Gauss-Legendre nodes and weights, with d(index) = index d(log index)."""
    unit, weights = (jnp.asarray(v, low.dtype) for v in gauss_legendre(n_panels, n_nodes))
    x = jnp.exp(low + (high - low) * unit)
    return x, (high - low) * weights * x


def _graded(low: Array, high: Array) -> tuple[Array, Array]:
    """Nodes on panels that double in length: a feature far out is as wide as it is far."""
    edges = (2.0 ** np.arange(_TAIL_PANELS + 1) - 1) / (2.0**_TAIL_PANELS - 1)
    ends = [low + (high - low) * edge for edge in edges.tolist()]
    return _joined([_panels(a, b, 1, _TAIL_NODES) for a, b in itertools.pairwise(ends)])


def _ends(half: Array) -> tuple[Array, Array]:
    """Euler-Maclaurin correction of a sum that starts at a half-integer."""
    return half + jnp.asarray(OFFSETS, half.dtype), jnp.asarray(ENDS, half.dtype)


def _range(
    start: Array, stop: Array, n_panels: int, origin: float | Array = 0.0
) -> tuple[Array, Array]:
    """Points and weights that sum a function between two half-integers; weights 0 when empty.

    The function is smooth in the logarithm of the distance to `origin`.
    """
    empty = stop < start
    stop = jnp.where(empty, start + 1, stop)
    after, ends = _ends(stop)
    x, weights = _panels(jnp.log(start - origin), jnp.log(stop - origin), n_panels)
    points, weights = _joined([(origin + x, weights), _ends(start), (after, -ends)])
    return points, jnp.where(empty, 0.0, weights)


def room(x: Array) -> float:
    """Minus the logarithm of the smallest number whose reciprocal is safe, too."""
    return 600.0 if x.dtype == jnp.float64 else 70.0


def indices(
    alpha: Array,
    gamma: Array,
    c: Array,
    n_coordinates: int | float,
    clipped: bool,
    panels: tuple[int, int],
) -> tuple[Array, Array, Array | None]:
    """Points and weights that sum over a power law, and ln of the index where it is cut, if it is.

    By the midpoint Euler-Maclaurin formula (DLMF 2.10), with integrals over ln i.
    """
    if n_coordinates <= _N_SMALL:
        points = jnp.arange(1, int(n_coordinates) + 1, dtype=alpha.dtype)
        return points, jnp.ones_like(points), None
    n_panels, n_tail = panels
    exact = jnp.arange(1, _N_EXACT + 1, dtype=alpha.dtype)
    pieces = [(exact, jnp.ones_like(exact))]
    start, origin = jnp.asarray(_N_EXACT + 0.5, alpha.dtype), 0.0
    safe = room(alpha) / jnp.maximum(1 + alpha, gamma)  # largest ln i
    if clipped:
        # ln i of the kink; without a kink in reach all of the range is smooth
        log_kink = jnp.log(c) / jnp.maximum(gamma, 1e-3)
        reached = (log_kink > math.log(_N_EXACT)) & (log_kink < safe - 4)
        kink = jnp.where(reached, jnp.exp(jnp.where(reached, log_kink, 1.0)), _N_EXACT)
        kink = jnp.minimum(jnp.floor(jax.lax.stop_gradient(kink)), float(n_coordinates))
        near = kink + 1 + jnp.arange(-_N_BEFORE, _N_AFTER, dtype=alpha.dtype)
        listed = (near > _N_EXACT) & (near <= n_coordinates)
        listed = jnp.where(listed, 1.0, 0.0).astype(alpha.dtype)
        pieces += [_range(start, kink + 0.5 - _N_BEFORE, n_panels + n_tail), (near, listed)]
        # behind it a function starts as a power of the distance
        origin, start = kink, kink + jnp.maximum(_N_AFTER + 0.5, _CLOSEST * kink)
    if n_coordinates <= _FINE:
        stop = jnp.asarray(n_coordinates + 0.5, alpha.dtype)
        return *_joined([*pieces, _range(start, stop, n_panels, origin)]), None
    low = jnp.log(start - origin)
    middle = jnp.maximum(math.log(_FINE), jnp.log(start) + 3.0)
    if n_coordinates == math.inf:
        # to where lambda is negligible and p D too, for D up to 1e9, or 1e6 on few nodes
        rare = ((50.0 if n_tail else 30.0) + jnp.log(c)) / jnp.maximum(gamma, 0.1)
        high = jnp.maximum(middle + 20.0 / jnp.maximum(alpha, 0.2), rare)
        high = jnp.maximum(jnp.minimum(high, safe), middle + 0.5)
    else:
        high = jnp.log(n_coordinates + 0.5 - origin)
    tail = _panels(middle, high, n_tail) if n_tail else _graded(middle, high)
    points, weights = _joined([_panels(low, middle, n_panels), tail])
    pieces += [(origin + points, weights), _ends(start)]
    return *_joined(pieces), jnp.log(origin + jnp.exp(high)) if n_coordinates == math.inf else None
