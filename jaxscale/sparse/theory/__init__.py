"""Theory of random-feature regression on sparse power-law inputs.

Derived here, for the model introduced in arXiv 2605.23591 (Sous & Winer, "Asymmetric Scaling Laws
from Sparse Features"). A spectrum is given by the exponents of a power law, or as
`spectrum=Coordinates(...)`.
"""

from jaxscale.sparse.theory._allocation import (
    Allocation as Allocation,
    optimal_allocation as optimal_allocation,
)
from jaxscale.sparse.theory._conditional import (
    conditional_loss as conditional_loss,
    row_space_residual as row_space_residual,
)
from jaxscale.sparse.theory._coordinates import (
    Coordinates as Coordinates,
    power_law_coordinates as power_law_coordinates,
)
from jaxscale.sparse.theory._coverage import (
    expected_rank as expected_rank,
    expected_seen as expected_seen,
    unseen_loss as unseen_loss,
)
from jaxscale.sparse.theory._dense import dense_delta as dense_delta, dense_loss as dense_loss
from jaxscale.sparse.theory._deprecated import (
    equivalent_of as equivalent_of,
    expected_rank_of as expected_rank_of,
    expected_seen_of as expected_seen_of,
    gd_loss_of as gd_loss_of,
    instability_probability_of as instability_probability_of,
    residual_loss_of as residual_loss_of,
    unseen_loss_of as unseen_loss_of,
)
from jaxscale.sparse.theory._descent import (
    gd_loss as gd_loss,
    instability_probability as instability_probability,
)
from jaxscale.sparse.theory._equivalent import (
    Equivalent as Equivalent,
    deterministic_equivalent as deterministic_equivalent,
    loss as loss,
    residual_loss as residual_loss,
)
from jaxscale.sparse.theory._laws import (
    AllocationLaws as AllocationLaws,
    allocation_laws as allocation_laws,
    dense_allocation_laws as dense_allocation_laws,
    dense_law as dense_law,
    gd_law as gd_law,
    instability_law as instability_law,
    projection_factor as projection_factor,
    unseen_law as unseen_law,
)
