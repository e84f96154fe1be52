"""How a run ended: one code per run, never an exception from inside a compiled program."""

import enum


class Status(enum.IntEnum):
    """How a run ended. Each member says whether the recorded numbers can be used."""

    not_run = -1
    """Not computed (yet): the store is incomplete, and the numbers are NaN."""
    ok = 0
    nonfinite = 1
    """A NaN or an infinity appeared in the loss, or in what of the state must be finite."""
    diverged = 2
    """The loss exceeded `DIVERGED` times its start."""
    not_converged = 3
    """A tolerance that the system names was not met; the numbers are recorded."""
    ill_conditioned = 4
    """The problem is too ill-conditioned for its precision; the numbers are recorded."""
    truncated = 5
    """More was drawn than the padded arrays hold, a chance below 1e-8; the numbers are dropped."""


STATUS = "status"
"""Name of the observable that holds the code."""

DIVERGED = 1e3
