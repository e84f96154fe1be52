"""A theory function with values for its arguments: what can be fitted without a system."""

import contextlib
import copy
import dataclasses
import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._convert import ArrayAsLength
from jaxscale._text import choices, described
from jaxscale.analysis._data import Data, as_numbers, as_table, require_columns, with_named
from jaxscale.analysis._fit_data import FitData
from jaxscale.analysis._form import Form, form_of
from jaxscale.analysis._table_file import of_file
from jaxscale.spectra import PowerLaw

if TYPE_CHECKING:
    import pandas


@dataclasses.dataclass(frozen=True)
class Formula:
    r"""A function of columns and parameters, to be fitted: `y = function(x, ..., parameters)`.

    Arguments without a value and without a default come from the data; a function without such
    arguments must return a `PowerLaw`, which is evaluated at the column `x`. A form of `js.forms`
    knows its parameters: those with a value here are fixed, the others fitted.

    **Arguments**

    - `function`: any theory function, or one of your own, of arrays that JAX can trace. An object
      with `__call__` must not change afterwards: its program stays that of its first attributes.
    - `values`: values of its parameters by name: the fixed ones, and the starts of the free ones.
    - `result`: name of what it returns, in the data and in figures; by default that of the form,
      else `"loss"`.

    **Raises** `ValueError` for a name that is not an argument, and for values of a form outside
    of its bounds.

    >>> import jaxscale as js
    >>> law = js.Formula(js.emergence.theory.skill_strength, {"learning_rate": 0.1})
    >>> law.inputs
    ('time', 'probability')
    """

    function: Callable[..., Any]
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    result: str = ""

    def __post_init__(self):
        if not callable(self.function):
            raise ValueError(f"`function` must be callable, got {self.function!r}.")
        self._check_names(self.values)
        if self.form:
            self.form.check(self.values)
        result = self.form.result if self.form else "loss"
        object.__setattr__(self, "result", self.result or result)

    def _check_names(self, values: Mapping[str, Any]) -> None:
        for name in values:
            if name not in self._parameters and not self._takes_any:
                raise ValueError(
                    f"`{name}` is not an argument of {self.name}{choices(name, self._parameters)}"
                )

    @property
    def name(self) -> str:
        """Name of the function."""
        return getattr(self.function, "__name__", type(self.function).__name__)

    @property
    def _parameters(self) -> dict[str, inspect.Parameter]:
        """Named arguments of the function."""
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        every = inspect.signature(self.function).parameters
        return {n: p for n, p in every.items() if p.kind in kinds}

    @property
    def _takes_any(self) -> bool:
        every = inspect.signature(self.function).parameters.values()
        return any(p.kind is p.VAR_KEYWORD for p in every)

    @property
    def form(self) -> Form | None:
        """What is known of a form; None for any other function."""
        return form_of(self.function)

    @property
    def labels(self) -> Mapping[str, tuple[Any, ...]]:
        """Inputs that are labels of groups, with all of their values."""
        return self.form.labels if self.form else {}

    @property
    def unset(self) -> tuple[str, ...]:
        """Parameters of a form that have no value here."""
        form = self.form
        return () if form is None else tuple(n for n in form.parameters if n not in self.values)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Arguments that come from the data."""
        bare = [n for n, p in self._parameters.items() if p.default is p.empty]
        return tuple(n for n in bare if n not in self.values and n not in self.unset)

    def __call__(self, **inputs: Any) -> Float[Array, "..."]:
        """The result at `inputs`, with the values of this formula for everything else."""
        arrays = {n: jnp.asarray(v, float) for n, v in self.coded(inputs).items()}
        return _evaluate(self.function, dict(self.values), arrays)

    def coded(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs, of the labels of groups their numbers."""
        return self.form.coded(inputs) if self.form else dict(inputs)

    def check_inputs(self, inputs: Mapping[str, Any]) -> None:
        """Refuse plain values of inputs that a form does not take, with a `ValueError`."""
        rules = self.form.rules if self.form else {}
        for name in [n for n in inputs if n in rules]:
            rules[name](name, inputs[name])

    def start(self, free: Sequence[str]) -> np.ndarray:
        """Values of the free parameters.

        **Raises** `ValueError` for one without a real value to start from.
        """
        for name in free:
            value = self.values.get(name, 1.0 if name in self.unset else None)
            if not isinstance(value, int | float | np.number) or isinstance(value, bool):
                others = [n for n in (*self.values, *self.unset) if n != name]
                raise ValueError(
                    f"`free` must name parameters with a value to start from, got {name!r}"
                    f"{choices(name, others)}"
                )
        for name in self.unset:
            if name not in free:
                raise ValueError(
                    f"`{name}` of {self.name} has no value: free it (--free {name}=...) or fix it "
                    f"(--fix {name}=...)."
                )
        return np.asarray([float(self.values.get(name, 1.0)) for name in free])

    def replaced(self, values: Mapping[str, Any]) -> "Formula":
        """The same with other values; those of a fit may have had wider bounds than a form."""
        self._check_names(values)
        same = copy.copy(self)
        object.__setattr__(same, "values", {**self.values, **values})
        return same

    def observe(
        self, data: Data, free: Sequence[str], columns: Mapping[str, str] | None,
        observables: Sequence[str] | None, each: str | None, resample: str | None,
        weights: str | None,
    ) -> tuple["Formula", FitData]:  # fmt: skip
        """The formula, and points of a table, one data set per value of `each`."""
        if observables is not None and list(observables) != [self.result]:
            raise ValueError(
                f"`observables` of a formula is its result {self.result!r}, got {observables!r}."
            )
        mapped = dict(columns or {})
        aside = [n for n in (each, resample, weights) if n is not None]
        self.check_columns(mapped, aside)
        table = as_table(data, mapped, [self.result, *self._named(mapped), *aside])
        inputs = self.columns(mapped, table)
        table = table.assign(**self.coded({n: table[n] for n in inputs}))
        table = with_named(table, each=each, resample=resample, weights=weights)
        start = self.start(free)
        table = as_numbers(table, [self.result, *inputs])
        n_rows = len(table)
        infinite = [np.isinf(table[n]) for n in inputs if table[n].dtype.kind == "f"]
        finite: Any = table[~np.any([*infinite, np.zeros(n_rows, bool)], axis=0)]
        table = finite.dropna(subset=[self.result, *inputs, *aside])
        if not len(table):
            named = ", ".join((self.result, *inputs))
            raise ValueError(f"`data` has no complete row of {named}.")
        labels, sets = (), np.zeros(len(table), int)
        if each is not None:
            labels, sets = np.unique(np.asarray(table[each]), return_inverse=True)
        result, groups = _padded(table[self.result], sets), _groups(table, sets, resample)
        self._check(result.shape[1], inputs, dict(zip(free, start, strict=True)))
        return self, FitData(
            theory=self.called(free),
            start=start,
            data={self.result: result[:, None]},
            inputs={n: _padded(table[n], sets, repeat=True) for n in inputs},
            groups=groups[:, None],
            n_groups=int(groups.max()) + 1,
            labels=tuple(np.asarray(labels).tolist()),
            signed=frozenset(),
            bounds={},
            n_left_out=n_rows - len(table),
            weights=None if weights is None else _padded(table[weights], sets)[:, None],
        )

    def columns(self, mapped: Mapping[str, str], table: "pandas.DataFrame") -> list[str]:
        """Columns that are read: the inputs, and arguments with a default that the user maps."""
        named = self._named(mapped)
        for name in named:
            if name in self._parameters and name not in table:
                columns = [str(c) for c in table.columns if c not in mapped]
                near = (difflib.get_close_matches(name, columns, n=1) or ["..."])[0]
                raise ValueError(
                    f"`{name}` of {self.name} has neither a value nor a column "
                    f"({', '.join(columns)}{of_file(table)}): name its column with "
                    f"columns=dict({name}={near!r}) (in a shell, --x {name}={near}), or give it a "
                    f"value or a start (in a shell, --fix {name}=... or --free {name}=...)."
                )
        require_columns(table, [self.result, *named])
        return named

    def columns_of(self, mapped: Mapping[str, str]) -> dict[str, str]:
        """Arguments that a map names, of a table whose columns have our names already."""
        return {n: n for n in mapped if n in self._parameters or n == self.result}

    def _named(self, mapped: Mapping[str, str]) -> list[str]:
        own = [n for n in mapped if n in self._parameters]
        return list(dict.fromkeys([*self.inputs, *own])) or ["x"]

    def check_columns(self, mapped: Mapping[str, str], others: Sequence[str] = ()) -> None:
        """Refuse columns for what has a value already, and for what is not an argument."""
        for name in mapped:
            if name in self.values:
                raise ValueError(f"`columns` must not map {name!r}, which has a value.")
            allowed = [*self._parameters, self.result, *others, *self._named({})]
            if name not in allowed and not self._takes_any:
                raise ValueError(
                    f"`columns` must map arguments of {self.name} or its result, got "
                    f"{name!r}{choices(name, dict.fromkeys(allowed))}"
                )

    def _check(self, n: int, names: Sequence[str], start: Mapping[str, float]) -> None:
        """Trace the function with its values as they are, so that it can refuse them."""
        shapes = {name: jax.ShapeDtypeStruct((n,), float) for name in names}
        with _traceable(self.name, [*start]):
            shape = jax.eval_shape(
                lambda inputs: _evaluate(self.function, {**start, **self.values}, inputs), shapes
            ).shape
        if shape != (n,):
            raise ValueError(
                f"`function` must return one value per row, shape {(n,)}, got {shape}."
            )

    def called(self, free: Sequence[str]) -> "_Called":
        """The formula as a function of the values of its free parameters, and of its inputs."""
        fixed = {n: v for n, v in self.values.items() if n not in free}
        return _Called(self.function, fixed, tuple(free), self.result)

    def evaluated(self, values: Mapping[str, Any], inputs: Mapping[str, Any]) -> Array:
        """The result at `inputs` with other values of some parameters; JAX can trace it."""
        return _evaluate(self.function, {**self.values, **values}, dict(inputs))

    def predicted(self, **inputs: Any) -> "pandas.DataFrame":
        """The result at `inputs`, in float64, as a table."""
        import pandas

        kinds = {n: None if n in self.labels else float for n in inputs}
        arrays = {n: np.asarray(v, kinds[n]) for n, v in inputs.items()}
        with jax.enable_x64(True):
            result = np.asarray(self(**arrays))
        return pandas.DataFrame({**arrays, self.result: result})

    def described(self, free: Sequence[str]) -> dict[str, Any]:
        """Name and values of what is not free, as plain data."""
        fixed = {n: v if isinstance(v, int | float | str) else repr(v)
                 for n, v in self.values.items() if n not in free}  # fmt: skip
        return {"formula": self.name, "fixed": fixed, "result": self.result}

    @staticmethod
    def joined(
        tables: "Sequence[pandas.DataFrame]", each: str, labels: Sequence[Any]
    ) -> "pandas.DataFrame":
        """Tables below one another, with a column `each` of their labels."""
        import pandas

        pairs = zip(labels, tables, strict=True)
        return pandas.concat([t.assign(**{each: at}) for at, t in pairs], ignore_index=True)


def formula_of(theory: Any, wanted: str = "a Formula or a form of js.forms") -> Formula:
    """A form or a formula as a formula.

    **Raises** `ValueError` for anything else, which says what is `wanted`.
    """
    if isinstance(theory, Formula):
        return theory
    if form_of(theory) is None:
        raise ValueError(f"`theory` must be {wanted}, got {described(theory)}.")
    return Formula(theory)


class _Called(eqx.Module):
    """A function of the free values and the inputs; fixed numbers are constants of the program."""

    function: Callable[..., Any] = eqx.field(static=True)
    fixed: dict[str, Any]
    free: tuple[str, ...] = eqx.field(static=True)
    result: str = eqx.field(static=True)

    def __call__(self, values: Float[Array, " p"], inputs: dict[str, Array]) -> dict[str, Array]:
        named = {name: values[i] for i, name in enumerate(self.free)}
        with _traceable(getattr(self.function, "__name__", "it"), self.free):
            return {self.result: _evaluate(self.function, {**self.fixed, **named}, inputs)}


@contextlib.contextmanager
def _traceable(name: str, free: Sequence[str]) -> Iterator[None]:
    """Refuse free values that the function needs as plain numbers, such as sizes."""
    try:
        yield
    except (TypeError, jax.errors.JAXTypeError, ArrayAsLength) as error:
        raise ValueError(
            f"`free` ({', '.join(free)}) must be numbers that JAX can differentiate: {name} needs "
            "one of them, or an input, as a plain number (a size is fixed; your own functions use "
            f"jax.numpy): {str(error).splitlines()[0]}"
        ) from error


def _evaluate(function: Callable[..., Any], values: dict[str, Any], inputs: Any) -> Array:
    if set(inputs) != {"x"} or "x" in inspect.signature(function).parameters:
        result = function(**inputs, **values)
        if not isinstance(result, Array | np.ndarray | float | int | np.number):
            raise ValueError(f"`function` must return one value per row, got {result!r}.")
        return jnp.asarray(result)
    law = function(**values)
    if not isinstance(law, PowerLaw):
        raise ValueError(
            f"`function` without arguments from the data must return a PowerLaw, got {law!r}."
        )
    return law(inputs["x"])


def _padded(column: Any, sets: np.ndarray, repeat: bool = False) -> np.ndarray:
    """Rows of a column by the number of their set; short sets end in NaN, or repeat their first."""
    rows = [np.asarray(column, np.float64)[sets == i] for i in range(sets.max() + 1)]
    longest = max(map(len, rows))
    blanks = [row[0] if repeat else np.nan for row in rows]
    return np.stack([np.pad(row, (0, longest - len(row)), constant_values=blank)
                     for row, blank in zip(rows, blanks, strict=True)])  # fmt: skip


def _groups(table: "pandas.DataFrame", sets: np.ndarray, resample: str | None) -> np.ndarray:
    """Number the group that each point of a data set is resampled with: its own, or a column's."""
    if resample is None:
        return np.tile(np.arange(np.bincount(sets).max()), (sets.max() + 1, 1))
    groups = np.empty(len(sets), int)
    for i in range(sets.max() + 1):
        own = np.asarray(table[resample])[sets == i]
        groups[sets == i] = np.unique(own, return_inverse=True)[1]
    return _padded(groups, sets, repeat=True).astype(int)
