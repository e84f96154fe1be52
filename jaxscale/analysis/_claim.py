"""Claims: a statement of a paper, what was measured, and a verdict that nobody writes."""

import dataclasses
import enum
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import ArrayLike

from jaxscale._arguments import hinted
from jaxscale._deprecated import warn_deprecated
from jaxscale._table import Cell, Column, Table
from jaxscale._text import without_marks
from jaxscale.analysis._intervals import Number, mean, seed_interval
from jaxscale.analysis._plain import plain, write_json

SEEDS_FOR_VERDICT = 8
TEXTS = ("statement", "source", "reason")  # in which formulas are between dollar signs


class Verdict(enum.StrEnum):
    """What a measurement says about a claim."""

    agrees = "agrees"
    """The interval lies inside predicted ± margin."""
    disagrees = "disagrees"
    """The interval lies entirely outside predicted ± margin."""
    inconclusive = "inconclusive"
    """The interval crosses an end of predicted ± margin, or there is no measurement."""
    out_of_range = "out of range"
    """The grid does not reach the regime that the claim is about."""
    no_verdict = "no verdict"
    """A random quantity with fewer than 8 seeds."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    r"""One claim and its measurement; the verdict follows from them.

    $$[\text{low}, \text{high}] \subseteq \text{predicted} \pm \text{margin}$$

    is the test of equivalence: `agrees` inside (ends included), `disagrees` entirely outside, else
    `inconclusive`. Before it come `out of range`, then `no verdict` under 8 seeds, then
    `inconclusive` for a measurement or an interval that is NaN or infinite.

    **Arguments**

    - `id`, `statement`, `source`: short name, sentence, and paper with equation or figure; what is
      between dollar signs, such as `$t^-(1 - 2 xi)$`, is a formula on the page of a report. Two
      dollar signs are always those of a formula and are dropped elsewhere: write "5 USD, 6 USD".
    - `predicted`: the number of the theory.
    - `measured`, `interval`: the measured number and its 95 % interval (low, high).
    - `margin`, `reason`: how far apart still counts as equal, and why.
    - `n_seeds`: seeds behind the interval; None or 0 for a deterministic measurement.
    - `out_of_range`: whether the grid does not reach the regime of the claim.
    - `margin_fixed`: when the margin was fixed, such as `"before the runs"`; empty if not said.
    - `n_omitted`: seeds without an estimate, which are not among `n_seeds`.

    **Raises** `ValueError` for an empty text, a `predicted` that is not finite, a `margin` that is
    not positive and finite, an `interval` with low above high, or a negative number of seeds.

    **Reference** Schuirmann, J. Pharmacokinet. Biopharm. 15 (1987) 657, for equivalence tests.

    **Example**

    >>> claim = js.Claim(
    ...     id="slope",
    ...     statement="The loss falls as 1/t.",
    ...     source="this example",
    ...     predicted=1.0,
    ...     measured=0.98,
    ...     interval=(0.95, 1.01),
    ...     margin=0.1,
    ...     reason="a tenth is not visible in the figure",
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
    margin_fixed: str = ""
    n_omitted: int = 0

    def __post_init__(self) -> None:
        for name in ("id", *TEXTS):
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
        if self.n_omitted < 0:
            raise ValueError(f"`n_omitted` must be at least 0, got {self.n_omitted!r}.")

    @property
    def seeds(self) -> str:
        """Seeds with an estimate, such as `64` or `62 of 64`; empty where nothing is random."""
        n = self.n_seeds or 0
        return f"{n} of {n + self.n_omitted}" if self.n_omitted else str(n or "")

    @classmethod
    def from_seeds(
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
        margin_fixed: str = "",
    ) -> "Claim":
        r"""Make a claim that is measured by one estimate per seed.

        $$\text{measured} = \frac{1}{s} \sum_i \text{values}_i$$

        with the 95 % interval of `seed_interval`. An infinite value counts: neither the mean nor
        the interval is finite then, and the verdict is `inconclusive`.

        **Arguments**

        - `id`, `statement`, `source`, `predicted`, `margin`, `reason`, `out_of_range`,
          `margin_fixed`: see `Claim`.
        - `values`: shape (s,), of which NaN is omitted and counted as `n_omitted`; or one
          deterministic number.

        **Returns** a `Claim`.

        **Raises** `ValueError` as `Claim` and `seed_interval` do.

        **Example**

        >>> claim = js.Claim.from_seeds(
        ...     "slope",
        ...     "The loss falls as 1/t.",
        ...     "this example",
        ...     predicted=1.0,
        ...     values=[0.7, 0.71, 0.69, 0.7, 0.72, 0.7, 0.68, 0.7],
        ...     margin=0.1,
        ...     reason="a tenth is not visible in the figure",
        ... )
        >>> print(claim.verdict)
        disagrees
        """
        array = np.asarray(values, np.float64)
        ends = seed_interval(array)
        given = array[~np.isnan(array)]
        with np.errstate(invalid="ignore"):  # infinite values of both signs
            measured = mean(given)
        return cls(
            id=id,
            statement=statement,
            source=source,
            predicted=predicted,
            measured=measured,
            interval=(ends.low, ends.high),
            margin=margin,
            reason=reason,
            n_seeds=given.size if array.ndim else None,
            out_of_range=out_of_range,
            margin_fixed=margin_fixed,
            n_omitted=array.size - given.size if array.ndim else 0,
        )

    @classmethod
    def judge(cls, *args: Any, **kwargs: Any) -> "Claim":
        """Deprecated name of `Claim.from_seeds`."""
        warn_deprecated("Claim.judge", "Claim.from_seeds")
        return cls.from_seeds(*args, **kwargs)

    @property
    def verdict(self) -> Verdict:
        """The verdict, computed from the numbers at each access."""
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
        """Return plain data for JSON with the verdict; a number that is not finite is None."""
        texts = {name: without_marks(getattr(self, name)) for name in TEXTS}
        return plain({**dataclasses.asdict(self), **texts, "verdict": str(self.verdict)})


@hinted
def claims_to_json(claims: Sequence[Claim], path: str | Path) -> None:
    """Write claims and their verdicts to a JSON file, as a list.

    **Arguments**

    - `claims`: claims with distinct ids.
    - `path`: the file to write.

    **Raises** `ValueError` for ids that occur twice.
    """
    ids = [claim.id for claim in claims]
    if len(set(ids)) < len(ids):
        raise ValueError(f"`claims` must have distinct ids, got {ids}.")
    write_json([claim.to_dict() for claim in claims], path)


@hinted
def claims_table(claims: Sequence[Claim], section: str = "") -> Table:
    """Return claims as a table, for the terminal (`rich.print`) and for the page.

    **Arguments**

    - `claims`: the claims, one row each.
    - `section`: name of the page's section, which begins the anchor of every claim.

    **Returns** a `Table`, which `rich.print` prints.
    """
    return Table("", "", COLUMNS, [_row(claim, section) for claim in claims])


COLUMNS = (
    Column("claim", style="claim"),
    Column("predicted", number=True),
    Column("measured", number=True),
    Column("95 % interval", number=True, style="interval"),
    Column("seeds", number=True, style="seeds", page_only=True),
    Column("verdict", style="verdict"),
    Column("margin because", style="reason", page_only=True),
)


def _row(claim: Claim, section: str) -> list[Cell]:
    low, high = claim.interval
    decided = claim.verdict in (Verdict.agrees, Verdict.disagrees)
    return [
        Cell(
            claim.id, statement=claim.statement, source=claim.source, anchor=f"{section}-{claim.id}"
        ),
        Cell(f"{claim.predicted:.4g} ± {claim.margin:.2g}"),
        Cell(f"{claim.measured:.4g}"),
        Cell(f"{low:.4g} to {high:.4g}" if claim.seeds else "deterministic"),
        Cell(claim.seeds or "–"),
        Cell(str(claim.verdict), style=str(claim.verdict) if decided else "open"),
        Cell(claim.reason + (f" (fixed {claim.margin_fixed})" if claim.margin_fixed else "")),
    ]
