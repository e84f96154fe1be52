"""Sums of powers."""

import jax
import jax.numpy as jnp
from mpmath import mpf

from jaxscale import spectra
from references._case import Axis, Case, hurwitz, power_sum

EXPONENT = Axis(1.02, 30.0, (1 + 1e-12, 1 + 1e-6, 1.001, 2.0, 12.0))
ANY = Axis(-2.5, 12.0, (-1.0, 0.0, 1.0, 1 - 1e-9, 1 + 1e-9, 1 + 1e-5, 1 - 1e-4), linear=True)


def _range(exponent, first, length):
    return {"exponent": exponent, "first": first, "last": first + length - 1}


def _continued(s, q):
    """The largest of the first term and the integral: they cancel for s < 1."""
    return max(q**-s, q ** (1 - s) / abs(s - 1), mpf(1))


def _seventh_share(exponent: jax.Array) -> jax.Array:
    return jnp.vectorize(lambda s: spectra.power_law_probabilities(s, 1000)[6])(exponent)


CASES = [
    Case(
        "spectra.hurwitz_zeta",
        spectra.hurwitz_zeta,
        hurwitz,
        {"s": EXPONENT, "q": Axis(1e-3, 1e12, (1.0, 0.5, 16.0))},
    ),
    Case(
        "spectra.hurwitz_zeta, s < 1",
        spectra.hurwitz_zeta,
        hurwitz,
        {"s": Axis(-2.5, 0.99, (0.0, -1.0, 1 - 1e-9), linear=True), "q": Axis(0.1, 1e6, (1.0,))},
        size=_continued,
        relative_to="largest term",
    ),
    Case(
        "spectra.power_tail",
        spectra.power_tail,
        lambda exponent, first, last: power_sum(exponent, first, last),
        {
            "exponent": ANY,
            "first": Axis(1.0, 1e9, integer=True),
            "length": Axis(1.0, 1e9, (2.0, 17.0), integer=True),
        },
        derive=_range,
    ),
    Case(
        "spectra.power_tail, infinite",
        lambda exponent, first: spectra.power_tail(exponent, first),
        lambda exponent, first: power_sum(exponent, first, float("inf")),
        {"exponent": EXPONENT, "first": Axis(1.0, 1e12)},
    ),
    Case(
        "spectra.power_sum",
        lambda exponent: spectra.power_sum(exponent, 1000),
        lambda exponent: power_sum(exponent, 1, 1000),
        {"exponent": ANY},
    ),
    Case(
        "spectra.power_law_probabilities",
        _seventh_share,
        lambda exponent: 7**-exponent / power_sum(exponent, 1, 1000),
        {"exponent": ANY},
    ),
]
