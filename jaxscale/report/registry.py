"""Studies by system name, imported when asked for."""

import importlib

from jaxscale.report.study import Study

SYSTEMS = ("emergence",)


def find_study(system: str) -> Study:
    """The study of a system.

    **Raises** `ValueError` for a system that has none.
    """
    if system not in SYSTEMS:
        raise ValueError(f"`system` must be one of {', '.join(SYSTEMS)}, got {system!r}.")
    return importlib.import_module(f"jaxscale.{system}.study").STUDY
