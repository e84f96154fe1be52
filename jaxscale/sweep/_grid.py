"""`Grid`: a system, axes over its fields, seeds and one root key."""

import itertools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np
from jaxtyping import Array, Key

from jaxscale._arguments import hinted
from jaxscale._system import AbstractSystem
from jaxscale._text import described, nested
from jaxscale.fields import as_int, base_of, is_traced
from jaxscale.keys import root_key
from jaxscale.paths import is_static, replace
from jaxscale.sweep._axes import (
    MOST_RUNS,
    Values,
    at_first_values,
    axis_of,
    is_leaf,
    label,
    seeds_of,
)
from jaxscale.sweep._config import (
    axis_values,
    check_system,
    decode,
    encode,
    preset_path,
    read_toml,
    record_steps,
    require_values,
)
from jaxscale.sweep._toml_error import place
from jaxscale.training import AbstractTrainedSystem, log_spaced_steps

PAIRS_CHECKED = 2000


class Grid:
    """All combinations of axis values and seeds of one system.

    A run's key is `fold_in(key(root), seed)`: it depends on the seed only, so grid points are
    paired, and adding a value or a seed changes nothing that is there.

    **Arguments**

    - `system`: the system whose fields the axes replace. `grid.system` is at the first value of
      every axis where it refuses one that is valid only with other axes.
    - `axes`: field path to a sequence of values, such as `{"width": [16, 64], "data.n_samples":
      [100, 1000]}`; one value is a sequence, too: `[16]`.
    - `seeds`: a count (`0 .. seeds-1`) or a sequence of distinct seeds.
    - `key`: integer seed of the root key.

    **Raises** `ValueError` naming the field and the value for anything the system refuses.

    **Example**

    >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
    >>> js.Grid(system, axes={"learning_rate": [0.1, 0.2], "n_parameters": [1, 2, 3]}, seeds=4)
    Grid(MultilinearSkills, {learning_rate: 2, n_parameters: 3}, seeds=4)
    >>> js.Grid(system, axes={"learning_rat": [0.1]})
    Traceback (most recent call last):
        ...
    ValueError: `learning_rat` is not a field of ...; did you mean `learning_rate`?
    """

    @hinted
    def __init__(
        self,
        system: AbstractSystem,
        axes: Mapping[str, Values] | None = None,
        seeds: int | Sequence[int] = 1,
        key: int = 0,
    ):
        if not isinstance(system, AbstractSystem):
            raise ValueError(f"`system` must be an AbstractSystem, got {described(system)}.")
        if axes is not None and not isinstance(axes, Mapping):
            raise ValueError(f"`axes` must map field paths to values, got {axes!r}.")
        axes = {p: list(v) if isinstance(v, Iterator) else v for p, v in (axes or {}).items()}
        if is_traced(*jax.tree.leaves((system, axes))):
            raise ValueError(
                "`system` and `axes` must hold plain numbers, got a traced one: differentiate or "
                "map `system.predict()` or `system.simulate(key)`, without a grid."
            )
        self.system = system
        self.key = as_int("key", key)
        if not 0 <= self.key < 2**63:
            raise ValueError(f"`key` must lie in 0 .. 2**63 - 1, got {self.key}.")
        self.seeds = seeds_of(seeds)
        for inner, outer in nested(axes):
            raise ValueError(
                f"axis `{inner}` must not lie inside of axis `{outer}`: give `{outer}` a value "
                f"for each `{inner}`, or leave one of the axes out."
            )
        try:
            self._set_axes(axes)
        except ValueError as alone:
            try:
                self.system = at_first_values(system, axes)
                self._set_axes(axes)
            except ValueError as together:
                same = str(alone).startswith(str(together))
                raise (alone if same else together) from None

    @hinted
    def replace(
        self,
        *,
        system: AbstractSystem | None = None,
        axes: Mapping[str, Values] | None = None,
        seeds: int | Sequence[int] | None = None,
        key: int | None = None,
    ) -> "Grid":
        """Return the grid with some of its parts replaced, validated as by the constructor.

        **Arguments**: as for `Grid`; what is None stays as it is.

        **Returns** a new `Grid`; `axes` replaces all axes, `{**grid.axes, name: values}` one.

        **Raises** `ValueError` as `Grid`.

        **Example**

        >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20)
        >>> grid = js.Grid(system, axes={"learning_rate": [0.1, 0.2]}, seeds=4)
        >>> grid.replace(axes={**grid.axes, "n_parameters": [1, 2, 3]}, seeds=8)
        Grid(MultilinearSkills, {learning_rate: 2, n_parameters: 3}, seeds=8)
        """
        return Grid(
            self.system if system is None else system,
            self.axes if axes is None else axes,
            self.seeds if seeds is None else seeds,
            self.key if key is None else key,
        )

    @hinted
    def longer(self, n_steps: int) -> "Grid":
        """Return the grid with more steps per run: the same records, then log-spaced ones.

        With a store that keeps final states, `js.run(js.plan(grid.longer(n), keep_states=True),
        store=...)` trains its runs on instead of anew, unless a schedule depends on `n_steps`.

        **Arguments**

        - `n_steps`: steps of a run, more than now.

        **Returns** a new `Grid`.

        **Raises** `ValueError` for fewer steps, for a system that is not trained step by step, and
        where `n_steps` or `record` is an axis.

        **Example**

        >>> system = js.emergence.MultilinearSkills(n_skills=3, n_steps=20, record=[0, 5, 20])
        >>> js.Grid(system).longer(200).system.record[:5]
        (0, 5, 20, 21, 23)
        """
        system, n_steps = self.system, as_int("n_steps", n_steps)
        if not isinstance(system, AbstractTrainedSystem):
            raise ValueError(f"`longer` needs a trained system, got {type(system).__name__}.")
        for path in ("n_steps", "record"):
            if path in self.axes:
                raise ValueError(f"`longer` needs one `{path}` for all runs, it is an axis.")
        if n_steps <= system.n_steps:
            raise ValueError(f"`n_steps` must be greater than {system.n_steps}, got {n_steps}.")
        later = [step for step in log_spaced_steps(n_steps) if step > system.n_steps]
        record = [*system.record_steps, *later]
        return self.replace(system=replace(replace(system, "n_steps", n_steps), "record", record))

    @classmethod
    @hinted
    def from_toml(
        cls,
        name: str,
        fields: Mapping[str, Any] | None = None,
        axes: Mapping[str, Any] | None = None,
        seeds: int | Sequence[int] | None = None,
        key: int | None = None,
    ) -> "Grid":
        """Grid of a sweep file or shipped preset, with its fields, axes, seeds or key replaced.

        **Arguments**

        - `name`: path of a TOML file, or name of a preset.
        - `fields`: values by field path, instead of the file's; a field that was an axis is none.
        - `axes`: values by field path, instead of the file's or in addition.
        - `seeds`, `key`: instead of the file's.

        **Returns** the `Grid`.

        **Raises** `ValueError` naming the file, or the argument, and what it is about.
        """
        if not isinstance(name, str | Path):
            raise ValueError(f"`name` must be the path of a TOML file or a preset, got {name!r}.")
        for argument, given in (("fields", fields), ("axes", axes)):
            if given is not None and not isinstance(given, Mapping):
                raise ValueError(f"`{argument}` must map field paths to values, got {given!r}.")
            for path in given or {}:
                if not isinstance(path, str):
                    raise ValueError(f"`{argument}` must have field paths as keys, got {path!r}.")
        return grid_of_file(str(name), read_toml(str(name)), fields, axes, seeds, key)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "Grid":
        """Grid of the plain data that `to_dict` writes."""
        name = check_system(table.get("system"))
        package = name.rpartition(".")[0]
        fields = dict(table.get("fields", {}))
        if isinstance(fields.get("record"), Mapping):
            if "n_steps" not in fields:
                raise ValueError(f"`record` {fields['record']!r} needs the field `n_steps`.")
            fields["record"] = record_steps(fields["record"], as_int("n_steps", fields["n_steps"]))
        system = decode({"type": name, **fields}, package)
        listed = {path: axis_values(path, v) for path, v in table.get("axes", {}).items()}
        axes = {path: _decoded(system, path, vs, package) for path, vs in listed.items()}
        return cls(system, axes, table.get("seeds", 1), table.get("key", 0))

    def to_dict(self) -> dict[str, Any]:
        """Plain data (JSON, TOML) from which `from_dict` rebuilds the grid."""
        fields = encode(self.system)
        return {
            "system": fields.pop("type"),
            "fields": fields,
            "axes": {path: [encode(v) for v in values] for path, values in self.axes.items()},
            "seeds": list(self.seeds),
            "key": self.key,
        }

    @property
    def dims(self) -> tuple[str, ...]:
        """Dimensions of the run axis: the axes in order, then `seed`."""
        return (*self.axes, "seed")

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values along `dims`."""
        return (*(len(v) for v in self.axes.values()), len(self.seeds))

    @property
    def n_runs(self) -> int:
        """Number of runs."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Coordinate of every dimension."""
        values = {p: np.asarray([label(v) for v in vs]) for p, vs in self.axes.items()}
        return {**values, "seed": np.asarray(self.seeds)}

    @property
    def leaf_axes(self) -> tuple[str, ...]:
        """Axes that become columns of one program."""
        return tuple(
            path
            for path, values in self.axes.items()
            if all(is_leaf(v) for v in values) and not is_static(self.system, path)
        )

    @property
    def structural_axes(self) -> tuple[str, ...]:
        """Axes over static fields or objects: every combination is a program of its own."""
        leaf_axes = self.leaf_axes
        return tuple(path for path in self.axes if path not in leaf_axes)

    def run_key(self, seed: int) -> Key[Array, ""]:
        """Key of the runs with this seed."""
        return jr.fold_in(root_key(self.key), seed)

    def _at(self, values: Mapping[str, Any]) -> AbstractSystem:
        system = self.system
        for path, value in values.items():
            system = replace(system, path, value)
        return system

    def system_at(self, run_id: int) -> AbstractSystem:
        """System of one run, at its own sizes."""
        index = positions(self, np.asarray([run_id]))
        return self._at({path: values[int(index[path][0])] for path, values in self.axes.items()})

    def _set_axes(self, axes: Mapping[str, Values]) -> None:
        """Take the axes, all of whose values, and pairs of them, must be valid in the system."""
        self.axes = {path: axis_of(self.system, path, values) for path, values in axes.items()}
        if self.n_runs > MOST_RUNS:
            raise ValueError(f"`axes` and `seeds` must make at most 1e8 runs, got {self.n_runs:g}.")
        self._check_pairs()

    def _check_pairs(self) -> None:
        """Two fields may exclude each other: build every pair of values, or of extreme values."""
        for (p, vs), (q, ws) in itertools.combinations(self.axes.items(), 2):
            if len(vs) * len(ws) > PAIRS_CHECKED:
                vs, ws = ([min(values), max(values)] if path in self.leaf_axes else values
                          for path, values in ((p, vs), (q, ws)))  # fmt: skip
            for v, w in itertools.product(vs, ws):
                self._at({p: v, q: w})

    def __repr__(self) -> str:
        axes = ", ".join(f"{p}: {len(v)}" for p, v in self.axes.items())
        return f"Grid({type(self.system).__name__}, {{{axes}}}, seeds={len(self.seeds)})"


def positions(grid: Grid, run_ids: np.ndarray) -> dict[str, np.ndarray]:
    """For every dimension, the index of the value that each of some runs has."""
    return dict(zip(grid.dims, np.unravel_index(run_ids, grid.shape), strict=True))


def grid_of_file(
    file: str,
    table: Mapping[str, Any],
    fields: Mapping[str, Any] | None = None,
    axes: Mapping[str, Any] | None = None,
    seeds: int | Sequence[int] | None = None,
    key: int | None = None,
) -> Grid:
    """`Grid.from_toml` of the plain data of a file, which is read once."""
    given = {"fields": fields or {}, "axes": axes or {}, "seeds": seeds, "key": key}
    try:
        return _grid_of_table(table, **given)
    except ValueError as error:
        raise ValueError(f"{_source(file, table, given, str(error))}{error}") from None


def _grid_of_table(
    table: Mapping[str, Any],
    fields: Mapping[str, Any],
    axes: Mapping[str, Any],
    seeds: int | Sequence[int] | None,
    key: int | None,
) -> Grid:
    package = str(table["system"]).rpartition(".")[0]
    of_system = {path: value for path, value in fields.items() if "." not in path}
    listed = {p: v for p, v in table.get("axes", {}).items() if p not in fields or p in axes}
    bare = {**table, "fields": table.get("fields", {}) | of_system, "axes": {}}
    try:
        grid = Grid.from_dict(bare).replace(seeds=seeds, key=key)
        system = grid.system
        for path in (path for path in fields if "." in path):
            (value,) = _decoded(system, path, [fields[path]], package)
            system = replace(system, path, value)
        for path, values in axes.items():
            require_values(path, values)
        read = {p: axis_values(p, v, base_of(system, p)) for p, v in listed.items()}
        listed = read | {**axes}
        read = {path: _decoded(system, path, vs, package) for path, vs in listed.items()}
        return grid.replace(system=system, axes=read)
    except ValueError as error:
        several = [p for p, v in bare["fields"].items() if isinstance(v, list) or "," in str(v)]
        refused = any(f"`{path}` " in str(error) for path in several if path != "record")
        refused = refused and not str(error).startswith("axis ")
        hint = " Several values make an axis ([axes], --axis)." if refused else ""
        nested = [p for p, vs in listed.items() if isinstance(vs, list) and len(vs) == 1]
        if any(isinstance(listed[p][0], list) and f"`{p}`" in str(error) for p in nested):
            hint = " Several values need one pair of brackets in a file, in --axis none."
        for name in {"store", "description"} & {*bare["fields"], *listed}:
            hint = f" `{name}` is a key of the sweep: write it above [fields] and [axes]."
        for name in {"seeds", "key"} & {*bare["fields"], *listed}:
            own = name in fields or name in axes
            what = f"an argument of its own (in a shell, --{name})" if own else "a key of the sweep"
            hint = f" `{name}` is {what}{'' if own else ': write it above [fields] and [axes]'}."
        raise ValueError(f"{error}{hint}") from None


def _source(file: str, table: Mapping[str, Any], given: Mapping[str, Any], refused: str) -> str:
    """The start of an error: the argument without which it would not come, else the file."""

    def comes(name: str, value: Any) -> bool:
        try:
            _grid_of_table(table, **{**given, name: value})
        except ValueError as error:
            return str(error) == refused
        return False

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the grid, not of what is wrong with it
        for name in ("seeds", "key"):
            if given[name] is not None and not comes(name, None):
                return ""  # the error names it
        for name in ("fields", "axes"):
            for path in given[name]:
                if not comes(name, {p: v for p, v in given[name].items() if p != path}):
                    return f"`{name}`: " if f"`{path}" in refused else f"`{name}` {path}: "
    named = re.search(r"`([\w.]+)`", refused)
    return f"{place(file, preset_path(file)[0], named[1] if named else '')}: "


def _decoded(system: AbstractSystem, path: str, values: Sequence[Any], package: str) -> list[Any]:
    """Values of a field, or of a field of a part, that a file writes as plain data."""
    base = base_of(system, path)
    return [decode(value, package, base) for value in values]
