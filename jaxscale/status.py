"""How a run ended: one code per run, never an exception from inside a compiled program."""

import enum


class Status(enum.IntEnum):
    """Result code of a run; every code but `ok` masks what follows it with NaN."""

    ok = 0
    nonfinite = 1
    """A NaN or an infinity appeared in the state or the loss."""
    diverged = 2
    """The loss exceeded `DIVERGED` times its start."""
    not_converged = 3
    """A tolerance that the system names was not met; the numbers are kept."""


DIVERGED = 1e3
