"""Functional forms of scaling laws: functions that know where their parameters lie and start."""

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxscale._arguments import bound_arguments
from jaxscale._convert import as_real, is_traced
from jaxscale._deprecated import warn_deprecated
from jaxscale._text import unknown
from jaxscale.analysis.bounds import AbstractBound, Positive
from jaxscale.analysis.residuals import AbstractLoss, AdaptiveHuber
from jaxscale.spectra import as_floats

P = ParamSpec("P")
STARTS = 7  # of a parameter, where two or fewer span a grid
SCATTERED = 256  # candidates, where they are more
FORMS: "dict[str, Form]" = {}
Rule = Callable[[str, Any], None]  # of a name and a plain value, which it may refuse


@dataclasses.dataclass(frozen=True)
class Parameter:
    """Where a parameter of a form may lie, and where its fits start.

    - `bound`: of its values.
    - `low`, `high`: its starts are spread between them, evenly in the logarithm.
    - `within`: name of an input whose range takes the place of `low` and `high`.
    - `linear`: the form is linear in it, so that the best start follows from the others
      (variable projection).
    - `floor`: linear, and 0 is a value like any other: the data may show no floor.
    - `tie`: parameters of one tie start at the same value.
    """

    bound: AbstractBound = dataclasses.field(default_factory=Positive)
    low: float = 0.1
    high: float = 1.0
    within: str | None = None
    linear: bool = False
    floor: bool = False
    tie: str = ""

    @property
    def varied(self) -> bool:
        """Whether there are several starts."""
        return self.within is not None or self.low < self.high

    def starts(self, inputs: Mapping[str, np.ndarray], n: int) -> Float[np.ndarray, " n"]:
        """Return `n` values from which fits start."""
        ends = (self.low, self.high)
        if self.within is not None:
            values = inputs[self.within]
            positive = values[(values > 0) & np.isfinite(values)]
            if not positive.size:
                raise ValueError(
                    f"`{self.within}` must be positive somewhere, got {values.flat[0]:g} and the "
                    "like: a parameter of the form lies in its range."
                )
            ends = (float(positive.min()), float(positive.max()))
        return np.geomspace(*ends, n + 2)[1:-1] if self.within else np.geomspace(*ends, n)

    def places(self, inputs: Mapping[str, np.ndarray], n: int) -> Float[np.ndarray, " n"]:
        """Return starts; deprecated: `starts`."""
        warn_deprecated("places", "starts")
        return self.starts(inputs, n)


def exponent(low: float = 0.1, high: float = 1.0) -> Parameter:
    """Return a positive exponent."""
    return Parameter(low=low, high=high)


def factor() -> Parameter:
    """Return a positive prefactor, in which the form is linear."""
    return Parameter(linear=True)


def floor() -> Parameter:
    """Return what is added to a law: at least 0."""
    return Parameter(linear=True, floor=True)


def scale(low: float, high: float) -> Parameter:
    """Return a positive number that may lie anywhere in `low` to `high`."""
    return Parameter(low=low, high=high)


def within(name: str) -> Parameter:
    """Return a positive number that starts in the range of the input `name`."""
    return Parameter(within=name)


def starts_at(value: float) -> Parameter:
    """Return a positive number that starts at `value`, at which the factors are linear."""
    return Parameter(low=value, high=value)


@dataclasses.dataclass(frozen=True)
class Form:
    """What a fit must know of a functional form.

    - `function`: its positional arguments are inputs, its keyword-only ones parameters.
    - `parameters`: by name.
    - `loss`: what fits make small unless they are told otherwise.
    - `reference`: where the form comes from.
    - `result`: name of what it returns, in the data and in figures.
    - `labels`: inputs that are labels, with their values; the function gets their numbers.
    - `label_of`: the number of the label that a parameter belongs to; those of all are not in it.
    - `rules`: what refuses plain values of an input, by name.
    """

    function: Callable[..., Any]
    parameters: Mapping[str, Parameter]
    loss: AbstractLoss
    reference: str
    result: str = "loss"
    labels: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    label_of: Mapping[str, int] = dataclasses.field(default_factory=dict)
    rules: Mapping[str, Rule] = dataclasses.field(default_factory=dict)

    def n_own(self, names: Iterable[str], i: int) -> int:
        """How many of `names` are parameters of the label number `i` alone."""
        return sum(self.label_of.get(name) == i for name in names)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs."""
        every = inspect.signature(self.function).parameters.values()
        return tuple(p.name for p in every if p.kind is p.POSITIONAL_OR_KEYWORD)

    def coded(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs, of labels their numbers; NaN for a label that is missing.

        **Raises** `ValueError` for one that the form does not have.
        """
        coded = dict(inputs)
        for name in self.labels.keys() & coded.keys():
            numbers = {label: i for i, label in enumerate(self.labels[name])}
            given = np.asarray(coded[name], object)
            codes = np.full(given.shape, np.nan)
            for i, label in np.ndenumerate(given):
                if label in numbers:
                    codes[i] = numbers[label]
                elif label == label and label is not None:  # not NaN
                    raise unknown(f"`{name}`", label, map(str, numbers))
            coded[name] = codes
        return coded

    def check(self, values: Mapping[str, Any]) -> None:
        """Refuse values of parameters that are no number, or outside of their bounds.

        A positive prefactor or floor may also be 0, which leaves its term out.
        """
        for name in [n for n in values if n in self.parameters and not is_traced(values[n])]:
            value, own = float(as_real(name, values[name])), self.parameters[name]
            dropped = own.linear and isinstance(own.bound, Positive) and value == 0
            if not (own.bound.contains(value) or dropped):
                where = f"lie inside {own.bound!r}"
                if isinstance(own.bound, Positive):
                    where = "be at least 0" if own.linear else "be greater than 0"
                raise ValueError(
                    f"`{name}` of {self.function.__name__} must {where}, got {value:g}."
                )

    @property
    def equation(self) -> str:
        """The displayed equation of the docstring."""
        text = inspect.getdoc(self.function) or ""
        return text.split("$$")[1].strip() if "$$" in text else ""


def form(
    *,
    loss: AbstractLoss | None = None,
    reference: str,
    result: str = "loss",
    inputs: Mapping[str, Rule] | None = None,
    **parameters: Parameter,
) -> Callable[[Callable[P, Array]], Callable[P, Array]]:
    """Make a function a form, which is fitted without starts: `js.calibrate(function, data)`.

    The function gets arrays that broadcast, its inputs by position or name, its parameters by name
    alone; it is compiled, and listed in `js.forms`.

    **Arguments**

    - `loss`: of its fits; by default `AdaptiveHuber()`.
    - `reference`: the paper, or "derived here".
    - `result`: name of what the function returns, in the data and in figures.
    - `inputs`: functions of the name and a plain value of an input, which raise `ValueError` for a
      value that the form does not take; JAX arrays pass.
    - `parameters`: what `exponent()`, `factor()`, `floor()`, `scale(low, high)`, `within(input)`
      and `starts_at(value)` return, by name.

    **Returns** a decorator.

    **Raises** `ValueError` for a parameter that the function does not take by name alone.
    """

    def decorate(function: Callable[P, Array]) -> Callable[P, Array]:
        signature = inspect.signature(function)
        own = [n for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY]
        for name in [*parameters, *own]:
            if name not in own:
                raise unknown("`parameters`", name, own)
            if name not in parameters:
                raise ValueError(f"`parameters` must say where {name!r} lies and starts.")
        compiled = jax.jit(function)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> Array:
            bound = bound_arguments(function.__name__, signature, args, kwargs).arguments
            for name in rules.keys() & bound.keys():
                rules[name](name, bound[name])
            arrays = as_floats(*bound.values())
            return compiled(**dict(zip(bound, arrays, strict=True)))

        own_parameters, rules = {n: parameters[n] for n in own}, dict(inputs or {})
        own_loss = loss or AdaptiveHuber()
        made = Form(called, own_parameters, own_loss, reference, result, rules=rules)
        FORMS[called.__name__] = made
        called.__form__ = made  # pyright: ignore[reportAttributeAccessIssue]
        return called

    return decorate


def power(x: Any, exponent: Any) -> Any:
    """Return `x^exponent` of positive x, whose derivatives cost no further power."""
    return jnp.exp(exponent * jnp.log(x))


def form_of(function: Any) -> Form | None:
    """Return what is known of a form; None for any other function."""
    return getattr(function, "__form__", None)


def nonlinear_starts(
    parameters: Sequence[Parameter], inputs: Mapping[str, np.ndarray]
) -> Float[np.ndarray, "c q"]:
    """Starts of parameters in which the form is not linear: a grid, or scattered if they are many.

    **Reference:** Halton 1960, Numer. Math. 2, 84, for the scattered ones.
    """
    names = [p.tie or str(i) for i, p in enumerate(parameters)]
    by_name = dict(zip(names, parameters, strict=True))
    varied = {n: p.starts(inputs, STARTS) for n, p in by_name.items() if p.varied}
    if len(varied) <= 2:
        values = np.asarray([*itertools.product(*varied.values())])
    else:
        from scipy.stats import qmc

        low, high = np.log([(x[0], x[-1]) for x in varied.values()]).T
        uniform = qmc.Halton(len(varied), scramble=False).fast_forward(1).random(SCATTERED)
        values = np.exp(low + uniform * (high - low))
    columns = dict(zip(varied, values.T, strict=True))
    starts = np.empty((len(values), len(parameters)))
    for i, (name, parameter) in enumerate(zip(names, parameters, strict=True)):
        starts[:, i] = columns.get(name, parameter.low)
    return starts
