"""Old names of theory functions that take a spectrum, for one release."""

from collections.abc import Callable
from typing import Any

from jaxtyping import ArrayLike

from jaxscale._deprecated import warn_deprecated
from jaxscale.sparse.theory._coordinates import Coordinates
from jaxscale.sparse.theory._coverage import expected_rank, expected_seen, unseen_loss
from jaxscale.sparse.theory._descent import gd_loss, instability_probability
from jaxscale.sparse.theory._equivalent import Equivalent, deterministic_equivalent, residual_loss


def _of(function: Callable[..., Any]) -> Callable[..., Any]:
    """Old form of `function`, with the spectrum as its first argument."""
    new = function.__name__

    def old(coordinates: Coordinates, *args: Any, **kwargs: Any) -> Any:
        warn_deprecated(f"{new}_of(coordinates, ...)", f"{new}(..., spectrum=coordinates)")
        return function(*args, spectrum=coordinates, **kwargs)

    old.__name__ = old.__qualname__ = f"{new}_of"
    old.__doc__ = f"Deprecated: `{new}(..., spectrum=coordinates)`."
    return old


expected_rank_of = _of(expected_rank)
expected_seen_of = _of(expected_seen)
gd_loss_of = _of(gd_loss)
instability_probability_of = _of(instability_probability)
residual_loss_of = _of(residual_loss)
unseen_loss_of = _of(unseen_loss)


def equivalent_of(
    coordinates: Coordinates, n_features: ArrayLike, n_samples: ArrayLike, ridge: ArrayLike = 0.0
) -> Equivalent:
    """Deprecated: `deterministic_equivalent(..., spectrum=coordinates)`."""
    new = "deterministic_equivalent(..., spectrum=coordinates)"
    warn_deprecated("equivalent_of(coordinates, ...)", new)
    return deterministic_equivalent(n_features, n_samples, ridge=ridge, spectrum=coordinates)
