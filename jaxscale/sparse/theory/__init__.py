"""Theory of random-feature regression on sparse power-law inputs.

Derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer, "Asymmetric Scaling Laws
from Sparse Features"). A spectrum is given by the exponents of a power law, or as
`spectrum=Coordinates(...)`.
"""

from jaxscale.sparse.theory.allocation import (
    Allocation as Allocation,
)
from jaxscale.sparse.theory.allocation import (
    allocation_laws as allocation_laws,
)
from jaxscale.sparse.theory.allocation import (
    optimal_allocation as optimal_allocation,
)
from jaxscale.sparse.theory.conditional import (
    conditional_loss as conditional_loss,
)
from jaxscale.sparse.theory.conditional import (
    row_space_residual as row_space_residual,
)
from jaxscale.sparse.theory.coordinates import (
    Coordinates as Coordinates,
)
from jaxscale.sparse.theory.coordinates import (
    power_law_coordinates as power_law_coordinates,
)
from jaxscale.sparse.theory.coverage import (
    expected_rank as expected_rank,
)
from jaxscale.sparse.theory.coverage import (
    expected_seen as expected_seen,
)
from jaxscale.sparse.theory.coverage import (
    unseen_law as unseen_law,
)
from jaxscale.sparse.theory.coverage import (
    unseen_loss as unseen_loss,
)
from jaxscale.sparse.theory.dense import (
    AllocationLaws as AllocationLaws,
)
from jaxscale.sparse.theory.dense import (
    dense_allocation_laws as dense_allocation_laws,
)
from jaxscale.sparse.theory.dense import (
    dense_delta as dense_delta,
)
from jaxscale.sparse.theory.dense import (
    dense_law as dense_law,
)
from jaxscale.sparse.theory.dense import (
    dense_loss as dense_loss,
)
from jaxscale.sparse.theory.deprecated import (
    equivalent_of as equivalent_of,
)
from jaxscale.sparse.theory.deprecated import (
    expected_rank_of as expected_rank_of,
)
from jaxscale.sparse.theory.deprecated import (
    expected_seen_of as expected_seen_of,
)
from jaxscale.sparse.theory.deprecated import (
    gd_loss_of as gd_loss_of,
)
from jaxscale.sparse.theory.deprecated import (
    instability_probability_of as instability_probability_of,
)
from jaxscale.sparse.theory.deprecated import (
    residual_loss_of as residual_loss_of,
)
from jaxscale.sparse.theory.deprecated import (
    unseen_loss_of as unseen_loss_of,
)
from jaxscale.sparse.theory.descent import (
    gd_law as gd_law,
)
from jaxscale.sparse.theory.descent import (
    gd_loss as gd_loss,
)
from jaxscale.sparse.theory.equivalent import (
    Equivalent as Equivalent,
)
from jaxscale.sparse.theory.equivalent import (
    deterministic_equivalent as deterministic_equivalent,
)
from jaxscale.sparse.theory.equivalent import (
    loss as loss,
)
from jaxscale.sparse.theory.equivalent import (
    residual_loss as residual_loss,
)
from jaxscale.sparse.theory.instability import (
    instability_law as instability_law,
)
from jaxscale.sparse.theory.instability import (
    instability_probability as instability_probability,
)
from jaxscale.sparse.theory.instability import (
    projection_factor as projection_factor,
)
