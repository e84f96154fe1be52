"""One fit of several groups: a form with shared parameters, and others of each group."""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._text import unknown
from jaxscale.analysis._data import Data, as_table, require_columns
from jaxscale.analysis._form import Form, Parameter, form_of
from jaxscale.analysis._formula import Formula, formula_of
from jaxscale.spectra import as_floats


@dataclasses.dataclass(frozen=True)
class Grouped:
    """A form for several groups: what `grouped` returns and `js.calibrate` fits.

    - `form`: that of every group.
    - `by`: name of the column with the labels of the groups.
    - `shared`: parameters that all groups share.
    """

    form: Callable[..., Any]
    by: str
    shared: tuple[str, ...]

    def of(self, labels: Sequence[Any]) -> "GroupedForm":
        """Return the form of these groups, which a `Formula` takes to fix `E[label]`.

        **Raises** `ValueError` for labels that are written alike.
        """
        names = [str(label) for label in labels]
        if len(set(names)) < len(names):
            raise ValueError(f"`labels` must be distinct as text, got {list(labels)!r}.")
        return GroupedForm(self.form, self.by, self.shared, tuple(labels))

    def of_data(self, data: Data, columns: Mapping[str, str] | None) -> "GroupedForm":
        """Return the form of the groups of a table, which have a complete row."""
        needed = columns_of(self)
        table = as_table(data, columns, needed)
        require_columns(table, needed)
        column: Any = table.dropna(subset=needed)[self.by]
        return self.of(np.unique(np.asarray(column)).tolist())


@dataclasses.dataclass(frozen=True)
class GroupedForm:
    """The form of known groups, a function of inputs, numbers of labels and named parameters."""

    function: Callable[..., Any]
    by: str
    shared: tuple[str, ...]
    labels: tuple[Any, ...]

    @functools.cached_property
    def _inner(self) -> Form:
        inner = form_of(self.function)
        assert inner is not None
        return inner

    @functools.cached_property
    def _own(self) -> dict[str, list[str]]:
        """Names of each group's values of the parameters that are not shared."""
        own = [n for n in self._inner.parameters if n not in self.shared]
        return {n: [f"{n}[{label}]" for label in self.labels] for n in own}

    @functools.cached_property
    def __form__(self) -> Form:
        inner, parameters = self._inner, dict[str, Parameter]()
        for name, parameter in inner.parameters.items():
            tied = dataclasses.replace(parameter, tie=name)
            parameters.update(dict.fromkeys(self._own.get(name, [name]), tied))
        labels = {self.by: self.labels}
        label_of = {n: i for names in self._own.values() for i, n in enumerate(names)}
        own = inner.loss, inner.reference, inner.result
        return Form(self, parameters, *own, labels, label_of, inner.rules)

    @property
    def __name__(self) -> str:
        return f"{self._inner.function.__name__} by {self.by}"

    @property
    def __signature__(self) -> inspect.Signature:
        kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
        inputs = [inspect.Parameter(n, kind) for n in (*self._inner.inputs, self.by)]
        rest = inspect.Parameter("parameters", inspect.Parameter.VAR_KEYWORD)
        return inspect.Signature([*inputs, rest])

    def __call__(self, **values: Any) -> Float[Array, "..."]:
        """The result at inputs of shapes that broadcast, with the values of all parameters."""
        arrays = dict(zip(values, as_floats(*values.values()), strict=True))
        at = jnp.broadcast_arrays(*(arrays[n] for n in (*self._inner.inputs, self.by)))
        inputs, codes = [x.ravel() for x in at[:-1]], at[-1].ravel().astype(int)
        shared = {n: arrays[n] for n in self.shared}
        own = {n: jnp.stack([arrays[k] for k in names]) for n, names in self._own.items()}

        def one(code: Array, *x: Array) -> Array:
            return self.function(*x, **shared, **{n: v[code] for n, v in own.items()})

        return jax.vmap(one)(codes, *inputs).reshape(at[0].shape)


def grouped(form: Callable[..., Any], by: str, shared: Sequence[str]) -> Grouped:
    """Fit a form to several groups at once: some parameters are shared, the others each group's.

    `js.calibrate(grouped(form, by, shared), table)` reads the groups off the column `by`, whose
    labels may be text. The shared parameters keep their names, the others are called `E[label]`.
    Fits start from the same exponents in all groups.

    **Arguments**

    - `form`: of `js.forms`, or one of your own.
    - `by`: column of the labels.
    - `shared`: names of parameters.

    **Returns** a `Grouped`; `fit.predict` and `js.analysis.allocate` of its fits take a label as
    the input `by`.

    **Raises** `ValueError` for what is not a form, parameters that it does not have, and a column
    that it takes already.

    >>> import numpy as np
    >>> import pandas
    >>> x = np.tile([1.0, 10.0, 100.0, 1000.0], 2)
    >>> table = pandas.DataFrame({"x": x, "family": np.repeat(["a", "b"], 4)})
    >>> table["loss"] = np.repeat([1.0, 2.0], 4) + 3 * x**-0.5
    >>> form = js.forms.grouped(js.forms.power_law, "family", ["alpha"])
    >>> fit = js.calibrate(form, table, bootstrap=0)
    >>> {name: round(value, 3) for name, value in fit.values.items()}
    {'E[a]': 1.0, 'E[b]': 2.0, 'A[a]': 3.0, 'A[b]': 3.0, 'alpha': 0.5}
    """
    inner = form_of(form)
    if inner is None:
        raise ValueError(f"`form` must be a form, got {form!r}.")
    for name in shared:
        if name not in inner.parameters:
            raise unknown("`shared`", name, inner.parameters)
    if by in (*inner.inputs, *inner.parameters, inner.result):
        raise ValueError(f"`by` must be another column than those of the form, got {by!r}.")
    return Grouped(form, by, tuple(n for n in inner.parameters if n in shared))


def columns_of(theory: Any) -> list[str]:
    """Columns that a form, a formula, or what `grouped` returns reads, by our names."""
    if isinstance(theory, Grouped):
        inner = form_of(theory.form)
        assert inner is not None
        return [inner.result, *inner.inputs, theory.by]
    formula = formula_of(theory)
    return [formula.result, *(formula.inputs or ("x",))]


def with_groups(
    theory: Any,
    data: Data,
    columns: Mapping[str, str] | None = None,
    wanted: str = "a Formula or a form of js.forms",
) -> Formula:
    """A form, a formula, or what `grouped` returns with the groups of the data, as a formula.

    **Raises** `ValueError` for anything else, which says what is `wanted`.
    """
    if isinstance(theory, Grouped):
        return Formula(theory.of_data(data, columns))
    return formula_of(theory, wanted)


def lacking(formula: Formula, inputs: Mapping[str, Float[np.ndarray, " n"]]) -> list[str]:
    """Groups at fewer different inputs than they have parameters of their own, as `by = label`.

    `inputs` are coded, as the function takes them.
    """
    few, form = list[str](), formula.form
    for by, labels in formula.labels.items():
        assert form is not None
        others = np.stack([x for name, x in inputs.items() if name != by], axis=1)
        for i, label in enumerate(labels):
            n_locations = len(np.unique(others[inputs[by] == i], axis=0))
            if n_locations < form.n_own(formula.unset, i):
                few.append(f"{by} = {label!r}")
    return few
