"""Which observables of a system have a theory, how far it goes, and where its functions are."""

from collections import Counter

from jaxscale._arguments import hinted
from jaxscale._system import AbstractSystem
from jaxscale._table import Column, Table
from jaxscale._text import described


@hinted
def theory_of(system: AbstractSystem) -> Table:
    """Table of what theory says of every observable of a system, with its parts as they are.

    **Arguments**

    - `system`: a system; another optimizer, decoder or solver may have another theory.

    **Returns** a table, to be printed: observable, kind of its closed form (exact, asymptotic,
    calibrated, none), the limits within which it holds or the part that has none, and the theory
    functions with it, as attributes of `jaxscale`.

    **Raises** `ValueError` for what is not a system.

    **Example**

    >>> network = js.emergence.ParityNetwork(optimizer=js.Sgd(momentum=0.9))
    >>> print(js.theory_of(network).rows[1][:2])
    ('skill_strength', 'calibrated')
    """
    if not isinstance(system, AbstractSystem):
        hint = "; `grid.system` is the one of a Grid" if hasattr(system, "system") else ""
        raise ValueError(f"`system` must be a system, got {described(system)}{hint}.")
    rows, observables = [], system.schema.observables
    reasons = Counter(o.no_theory for o in observables.values() if o.no_theory)
    common = [reason for reason, n in reasons.items() if n > 1]
    note = ". ".join(
        f"{', '.join(n for n, o in observables.items() if o.no_theory == reason)}: {reason}"
        for reason in common
    )
    for name, o in observables.items():
        fitted = f"; calibrate {', '.join(o.fitted)}" if o.fitted else ""
        limits = "as above" if o.no_theory in common else (o.limits or o.no_theory) + fitted
        rows.append((name, str(o.predicted), limits, ", ".join(o.functions)))
    header = [Column(n) for n in ("observable", "theory", "limits, or what has none", "functions")]
    return Table(f"Theory of {type(system).__name__}", f"{note}." if note else "", header, rows)
