"""Claims: a statement of a paper, what was measured, and a verdict that nobody writes.

The margin within which prediction and measurement count as equal, and the reason for it, are part
of the claim and are fixed before anything runs.
"""

import dataclasses
import enum
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import ArrayLike
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from jaxscale.analysis.exponents import Number, seed_interval

SEEDS_FOR_VERDICT = 8


class Verdict(enum.StrEnum):
    """What a measurement says of a claim."""

    agrees = "agrees"
    """The interval lies inside predicted ± margin."""
    disagrees = "disagrees"
    """The interval lies wholly outside predicted ± margin."""
    inconclusive = "inconclusive"
    """The interval reaches over an end of predicted ± margin, or there is no measurement."""
    out_of_range = "out of range"
    """The grid does not reach the regime of which the claim speaks."""
    no_verdict = "no verdict"
    """A random quantity with fewer than 8 seeds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    r"""One claim and its measurement; the verdict follows from them.

    $$[\text{low}, \text{high}] \subseteq \text{predicted} \pm \text{margin}$$

    is the test of equivalence: `agrees` inside (ends included), `disagrees` wholly outside, else
    `inconclusive`. Before it come `out of range`, then `no verdict` under 8 seeds, then
    `inconclusive` for a measurement or an interval that is NaN or infinite.

    **Arguments**

    - `id`, `statement`, `source`: short name, sentence, and paper with equation or figure.
    - `predicted`: the number of the theory.
    - `measured`, `interval`: the measured number and its 95 % interval (low, high).
    - `margin`, `reason`: how far apart still counts as equal, and why; fixed before running.
    - `n_seeds`: seeds behind the interval; None or 0 for a deterministic measurement.
    - `out_of_range`: whether the grid does not reach the regime of the claim.

    **Raises** `ValueError` for an empty text, a `predicted` that is not finite, a `margin` that is
    not positive and finite, an `interval` with low above high, or a negative `n_seeds`.

    **Reference** Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987) 657, for equivalence tests.

    **Example**

    >>> claim = js.Claim(
    ...     id="slope",
    ...     statement="The loss falls as 1/t.",
    ...     source="here",
    ...     predicted=1.0,
    ...     measured=0.98,
    ...     interval=(0.95, 1.01),
    ...     margin=0.1,
    ...     reason="a tenth cannot be told apart by eye",
    ...     n_seeds=8,
    ... )
    >>> print(claim.verdict)
    agrees
    """

    id: str
    statement: str
    source: str
    predicted: Number
    measured: Number
    interval: tuple[Number, Number]
    margin: Number
    reason: str
    n_seeds: int | None
    out_of_range: bool = False

    def __post_init__(self) -> None:
        for name in ("id", "statement", "source", "reason"):
            if not getattr(self, name).strip():
                raise ValueError(f"`{name}` must not be empty, got {getattr(self, name)!r}.")
        if not math.isfinite(self.predicted):
            raise ValueError(f"`predicted` must be finite, got {self.predicted!r}.")
        if not (math.isfinite(self.margin) and self.margin > 0):
            raise ValueError(f"`margin` must be positive and finite, got {self.margin!r}.")
        if self.interval[0] > self.interval[1]:
            raise ValueError(f"`interval` must be (low, high), got {self.interval!r}.")
        if self.n_seeds is not None and self.n_seeds < 0:
            raise ValueError(f"`n_seeds` must be at least 0 or None, got {self.n_seeds!r}.")

    @classmethod
    def judge(
        cls,
        id: str,
        statement: str,
        source: str,
        *,
        predicted: Number,
        values: ArrayLike | Sequence[float],
        margin: Number,
        reason: str,
        out_of_range: bool = False,
    ) -> "Claim":
        r"""Claim measured by one estimate per seed.

        $$\text{measured} = \frac{1}{s} \sum_i \text{values}_i$$

        with the 95 % interval of `seed_interval`.

        **Arguments**

        - `id`, `statement`, `source`, `predicted`, `margin`, `reason`, `out_of_range`: see `Claim`.
        - `values`: shape (s,), NaN left out; or one deterministic number.

        **Returns** a `Claim`.

        **Raises** `ValueError` as `Claim` and `seed_interval` do.

        **Example**

        >>> claim = js.Claim.judge(
        ...     "slope",
        ...     "The loss falls as 1/t.",
        ...     "here",
        ...     predicted=1.0,
        ...     values=[0.7, 0.71, 0.69, 0.7, 0.72, 0.7, 0.68, 0.7],
        ...     margin=0.1,
        ...     reason="a tenth cannot be told apart by eye",
        ... )
        >>> print(claim.verdict)
        disagrees
        """
        array = np.asarray(values, np.float64)
        found = seed_interval(array)
        finite = array[np.isfinite(array)]
        return cls(
            id=id,
            statement=statement,
            source=source,
            predicted=predicted,
            measured=float(finite.mean()) if finite.size else math.nan,
            interval=(found.low, found.high),
            margin=margin,
            reason=reason,
            n_seeds=finite.size if array.ndim else None,
            out_of_range=out_of_range,
        )

    @property
    def verdict(self) -> Verdict:
        """The verdict, computed from the numbers each time it is asked for."""
        if self.out_of_range:
            return Verdict.out_of_range
        if self.n_seeds and self.n_seeds < SEEDS_FOR_VERDICT:
            return Verdict.no_verdict
        low, high = self.interval
        if not all(math.isfinite(v) for v in (self.measured, low, high)):
            return Verdict.inconclusive
        bottom, top = self.predicted - self.margin, self.predicted + self.margin
        if bottom <= low and high <= top:
            return Verdict.agrees
        if high < bottom or low > top:
            return Verdict.disagrees
        return Verdict.inconclusive

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, verdict included; a number that is not finite becomes None."""
        table = {**dataclasses.asdict(self), "verdict": str(self.verdict)}
        table["measured"] = _finite(self.measured)
        table["interval"] = [_finite(v) for v in self.interval]
        return table


def claims_to_json(claims: Sequence[Claim], path: str | Path) -> None:
    """Write claims and their verdicts to a JSON file, as a list.

    **Arguments**

    - `claims`: claims with distinct ids.
    - `path`: the file to write.

    **Returns** nothing.

    **Raises** `ValueError` for ids that occur twice.
    """
    ids = [claim.id for claim in claims]
    if len(set(ids)) < len(ids):
        raise ValueError(f"`claims` must have distinct ids, got {ids}.")
    text = json.dumps(
        [claim.to_dict() for claim in claims], indent=2, ensure_ascii=False, allow_nan=False
    )
    Path(path).write_text(text + "\n", encoding="utf-8")


def claims_table(claims: Sequence[Claim]) -> Table:
    """Claims as a table for the terminal.

    **Arguments**

    - `claims`: the claims, one row each.

    **Returns** a `rich.table.Table`, for `rich.print`.
    """
    table = Table(box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("claim", no_wrap=True)
    for name in ("predicted", "measured", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for claim in claims:
        low, high = claim.interval
        table.add_row(
            escape(claim.id),
            f"{claim.predicted:.3g} ± {claim.margin:.2g}",
            f"{claim.measured:.4g}",
            f"{low:.3f} .. {high:.3f}" if high > low else "-",
            f"[{_COLOURS[claim.verdict]}]{claim.verdict}[/]",
        )
    return table


_COLOURS = {
    Verdict.agrees: "green",
    Verdict.disagrees: "red",
    Verdict.inconclusive: "yellow",
    Verdict.out_of_range: "yellow",
    Verdict.no_verdict: "yellow",
}


def _finite(value: Number) -> float | None:
    return float(value) if math.isfinite(value) else None
