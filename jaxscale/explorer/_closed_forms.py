"""Closed forms of one structure as one compiled program that takes every number as an argument."""

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from jaxscale._status import STATUS
from jaxscale._system import AbstractSystem
from jaxscale.explorer._knobs import leaf_paths
from jaxscale.paths import get, set_leaf, set_leaves
from jaxscale.sweep._cache import PROGRAMS
from jaxscale.sweep._structure import structure_key

Values = Mapping[str, float]


class ClosedForms:
    """Predictions of the systems that have one structure, at any values of their numbers.

    **Arguments**

    - `system`: the structure, and the values where it starts.
    - `x`: path of the field along which observables are predicted, None for one point.
    - `n_points`: number of values along `x`.
    """

    def __init__(self, system: AbstractSystem, x: str | None = None, n_points: int = 1):
        self.system, self.x, self.n_points = system, x, n_points if x else 1
        self.paths = leaf_paths(system)
        self._structure = structure_key(system), tuple(self.paths)

    @property
    def used(self) -> tuple[str, ...]:
        """Paths of the numbers that the closed forms read."""
        one = self if self.x is None else ClosedForms(self.system)

        def read() -> tuple[str, ...]:
            used = _inputs_read(one._traced().jaxpr.jaxpr, len(self.paths))
            names = sorted(self.paths)  # JAX flattens a dictionary in the order of its keys
            return tuple(path for path, is_read in zip(names, used, strict=True) if is_read)

        return PROGRAMS.find(("numbers read", *self._structure), read)

    @property
    def _program(self) -> Any:
        """The compiled program."""
        key = ("closed forms", *self._structure, self.x, self.n_points)
        return PROGRAMS.find(key, lambda: self._traced().lower().compile())

    def _traced(self) -> Any:
        static = eqx.partition(self.system, eqx.is_array_like)[1]
        x = self.x

        def call(values: dict[str, Any], at: Any, leaves: Any) -> Any:
            system = set_leaves(eqx.combine(leaves, static), values)

            def one(value: Any) -> Any:
                moved = system if x is None else set_leaf(system, x, value)
                return moved.predict(), moved.within_limits()

            return one(None) if x is None else jax.vmap(one)(at)

        with jax.enable_x64(True):
            return jax.jit(call).trace(*self._arguments({}, None))

    def _arguments(self, values: Values, at: Any) -> tuple[dict[str, Any], Any, Any]:
        columns = {}
        for path in self.paths:
            own = get(self.system, path)
            columns[path] = np.asarray(values.get(path, own), own.dtype)
        leaves = eqx.partition(self.system, eqx.is_array_like)[0]  # tables and spectra, too
        if self.x is None:
            return columns, np.zeros(0), leaves
        own = get(self.system, self.x)
        at = np.full(self.n_points, own) if at is None else at
        return columns, np.asarray(at, own.dtype), leaves

    def with_claims(
        self, values: Values, at: Float[np.ndarray, " n"] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Observables with a closed form, along `x` first, and where theory makes its claim.

        Values are NaN where a closed form was not solved; claims have the same shapes.

        **Arguments**

        - `values`: numbers by path; the system's own where none is given.
        - `at`: `n_points` values of `x`.
        """
        with jax.enable_x64(True):
            predicted, claims = jax.device_get(self._program(*self._arguments(values, at)))
        status = predicted.pop(STATUS, None)
        shown = {}
        for name, value in predicted.items():
            value = np.asarray(value, float)
            if status is not None:
                bad = np.reshape(status != 0, np.shape(status) + (1,) * (value.ndim - status.ndim))
                value = np.where(bad, np.nan, value)
            shown[name] = value
        return shown, {
            name: np.broadcast_to(_expanded(claims[name], value.ndim), value.shape)
            for name, value in shown.items()
            if name in claims
        }


def _expanded(value: Any, n_dims: int) -> np.ndarray:
    value = np.asarray(value, bool)
    return value.reshape(value.shape + (1,) * (n_dims - value.ndim))


def _inputs_read(jaxpr: Any, n: int) -> list[bool]:
    """Which of the first `n` inputs the outputs depend on; calls of functions are followed."""
    return _needed(jaxpr, [True] * len(jaxpr.outvars))[:n]


def _needed(jaxpr: Any, outputs: list[bool]) -> list[bool]:
    needed = {id(v) for v, n in zip(jaxpr.outvars, outputs, strict=True) if n}
    for equation in reversed(jaxpr.eqns):
        out = [id(v) in needed for v in equation.outvars]
        if not any(out):
            continue
        inner = equation.params.get("jaxpr") if equation.primitive.name in ("jit", "pjit") else None
        read = [True] * len(equation.invars) if inner is None else _needed(inner.jaxpr, out)
        needed |= {id(v) for v, r in zip(equation.invars, read, strict=True) if r}
    return [id(v) in needed for v in jaxpr.invars]
