"""What a fit makes small: residuals of theory against data, and how large ones count."""

import abc

import equinox as eqx
import numpy as np
from jaxtyping import Bool, Float

from jaxscale.analysis.bounds import _deprecated_name, _derivative, _library, _Values
from jaxscale.fields import Configurable, Real, real

_NORMAL_SCATTER = 1.4826  # standard deviation of a normal law over the median of |r|
_ROUNDING = 3e-7  # of residuals that are scaled: a few units in the last place of float32


class AbstractResidual(Configurable):
    """Scale on which theory and data are subtracted."""

    @abc.abstractmethod
    def usable(self, data: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
        """Which points have a residual."""

    @abc.abstractmethod
    def unit(self, data: Float[np.ndarray, "..."]) -> float:
        """What the residual is divided by, from the usable data of one observable."""

    @abc.abstractmethod
    def scaled(self, value: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """Data or theory on the scale; not finite where it has none."""

    @abc.abstractmethod
    def shifted(
        self, value: Float[np.ndarray, "..."], residual: Float[np.ndarray, "..."]
    ) -> Float[np.ndarray, "..."]:
        """Values whose `scaled` is larger by `residual`."""

    def target(self, data: Float[np.ndarray, "n runs t"]) -> Float[np.ndarray, "n runs t"]:
        """Data on the scale, where they are usable."""
        return np.asarray(self.scaled(data))

    def derivative(self, value: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """Differentiate `scaled`."""
        return _derivative(self.scaled, value)


class Log(AbstractResidual):
    """`ln theory - ln data`: relative errors count, at every size. Data must be positive."""

    def usable(self, data: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
        """Positive, finite points."""
        return np.isfinite(data) & (data > 0)

    def unit(self, data: Float[np.ndarray, "..."]) -> float:
        """Always one."""
        return 1.0

    def scaled(self, value: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """The logarithm; NaN at zero and below, with a derivative that is finite."""
        xp = _library(value)
        positive = value > 0
        return xp.where(positive, xp.log(xp.where(positive, value, 1.0)), xp.nan)

    def shifted(
        self, value: Float[np.ndarray, "..."], residual: Float[np.ndarray, "..."]
    ) -> Float[np.ndarray, "..."]:
        """Values times `exp(residual)`."""
        return value * np.exp(residual)

    def derivative(self, value: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`1 / value`."""
        return 1 / value


class LogMean(Log):
    r"""`ln theory - ln m`, with the mean m of the runs at each point.

    Theory that is a mean over seeds is to be compared with the mean, while a mean of logarithms
    lies below by half their variance. What remains of that is about 1 / S of it for S seeds. Run s
    stands for its first-order share of ln m,

    $$\ln m + \frac{y_s - m}{m}, \qquad m = \frac1S \sum_s y_s,$$

    whose mean over the runs is ln m, and over resampled runs the logarithm of their mean to first
    order. Values may be zero or negative where their mean is positive. With squared errors alone,
    of grids with two seeds or more; 95 % intervals of logarithms that spread by .6 hold the truth
    of one point in 77 % of cases with 5 seeds, 89 % with 16, 92 % with 64.

    **Reference** Derived here (the influence function of ln m).
    """

    def usable(self, data: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
        """Finite points whose mean over runs is positive."""
        finite = np.isfinite(data)
        return finite & (_mean_of_runs(data) > 0)

    def target(self, data: Float[np.ndarray, "n runs t"]) -> Float[np.ndarray, "n runs t"]:
        """The share of each run."""
        mean = _mean_of_runs(data)
        with np.errstate(all="ignore"):
            return np.where(mean > 0, np.log(mean) + data / mean - 1, np.nan)


def _mean_of_runs(data: Float[np.ndarray, "n runs t"]) -> Float[np.ndarray, "n 1 t"]:
    """Mean of the finite runs; NaN where there is none."""
    finite = np.isfinite(data)
    number = finite.sum(axis=-2, keepdims=True)
    total = np.where(finite, data, 0.0).sum(axis=-2, keepdims=True)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan)


class Scaled(AbstractResidual):
    """`(theory - data) / rms(data)`: absolute errors count, for data of both signs.

    Every data set of `each` has a root mean square of its own.
    """

    def usable(self, data: Float[np.ndarray, "..."]) -> Bool[np.ndarray, "..."]:
        """Finite points."""
        return np.isfinite(data)

    def unit(self, data: Float[np.ndarray, "..."]) -> float:
        """Root mean square."""
        size = float(np.sqrt(np.mean(data**2))) if data.size else 1.0
        return size or 1.0

    def scaled(self, value: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """The value itself."""
        return value

    def shifted(
        self, value: Float[np.ndarray, "..."], residual: Float[np.ndarray, "..."]
    ) -> Float[np.ndarray, "..."]:
        """Values plus `residual`."""
        return value + residual

    def derivative(self, value: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """One everywhere."""
        return _library(value).ones_like(value)


class AbstractLoss(Configurable):
    """How a residual counts: `rho(r)`, written as half a square so that least squares applies."""

    bend = _deprecated_name("bend", "second_derivative")

    @abc.abstractmethod
    def root(self, residual: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`sign(r) sqrt(2 rho(r))`."""

    @abc.abstractmethod
    def influence(self, residual: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`psi(r) = rho'(r)`."""

    @abc.abstractmethod
    def second_derivative(self, residual: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`rho''(r)`."""


class Squared(AbstractLoss):
    """`rho(r) = r^2 / 2`."""

    def root(self, residual: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """The residual itself."""
        return residual

    def influence(self, residual: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """The residual itself."""
        return residual

    def second_derivative(self, residual: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """One everywhere."""
        return _library(residual).ones_like(residual)


class AdaptiveHuber(Squared):
    r"""Huber's loss whose `delta` is `tuning` times the scatter of the residuals of the fit.

    $$\delta = \text{tuning} \cdot 1.4826\, \text{median}\, |r|$$

    of the residuals of one data set, found by fitting again until it stays. At the default, normal
    errors are used 95 % as well as by squares, and outliers count by their size.

    **Reference** Huber 1964, Ann. Math. Statist. 35, 73; Holland and Welsch 1977, Comm. Statist. 6,
    813 (the tuning constant).
    """

    tuning: Real = real(1.345, above=0)

    def huber(self, residuals: Float[np.ndarray, "n ..."]) -> "Huber":
        """Losses for the residuals of data sets, a `delta` for each.

        It is infinite, which makes squares, where most residuals vanish up to rounding.
        """
        sizes = np.abs(residuals).reshape(len(residuals), -1)
        scatter = _NORMAL_SCATTER * np.nanmedian(sizes, axis=1)
        delta = np.where(scatter > _ROUNDING, float(self.tuning) * scatter, np.inf)
        return eqx.tree_at(lambda loss: loss.delta, Huber(delta=1.0), delta)


class Huber(AbstractLoss):
    r"""Outliers count by their size, not by its square.

    $$\rho(r) = r^2/2 \text{ for } |r| \le \delta, \quad \delta (|r| - \delta/2) \text{ beyond}$$

    `delta` is in units of the residual: 0.1 on a `Log` scale is an error of 10 %.

    **Reference** Huber 1964, Ann. Math. Statist. 35, 73.
    """

    delta: Real = real(above=0)

    def root(self, residual: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`r` inside, `sign(r) sqrt(2 delta |r| - delta^2)` beyond: once differentiable."""
        xp, delta, size = _library(residual), self.delta, abs(residual)
        beyond = xp.maximum(size, delta)  # keeps the derivative of the root finite inside
        outside = xp.sign(residual) * xp.sqrt(2 * delta * beyond - delta**2)
        return xp.where(size <= delta, residual, outside)

    def influence(self, residual: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """`r` clipped to `delta`."""
        return _library(residual).clip(residual, -self.delta, self.delta)

    def second_derivative(self, residual: Float[_Values, "..."]) -> Float[_Values, "..."]:
        """One inside, zero beyond."""
        return _library(residual).where(abs(residual) <= self.delta, 1.0, 0.0)
