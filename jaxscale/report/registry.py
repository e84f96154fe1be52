"""Studies by system name, imported when asked for."""

import importlib

from jaxscale.report.study import Study
from jaxscale.sweep.config import SYSTEM_PACKAGES


def find_study(system: str) -> Study:
    """The study of a system.

    **Raises** `ValueError` for a system that has none.
    """
    if system not in SYSTEM_PACKAGES:
        raise ValueError(f"`system` must be one of {', '.join(SYSTEM_PACKAGES)}, got {system!r}.")
    return importlib.import_module(f"jaxscale.{system}.study").STUDY
