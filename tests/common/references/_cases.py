"""All cases by name."""

from references import (
    bottleneck,
    emergence,
    emergence_laws,
    forms,
    sparse,
    spectra,
    superposition,
    tails,
)
from references._case import Case

_MODULES = (spectra, emergence, emergence_laws, sparse, superposition, bottleneck, tails, forms)
CASES: dict[str, Case] = {case.name: case for module in _MODULES for case in module.CASES}
