"""Theory of streaming regression, derived here for the model of arXiv 2405.15074.

Given the features, the mean over the data is exact: `sgd_loss`, `optimizer_loss`,
`max_learning_rate`. The mean over the features is a deterministic equivalent: `loss`,
`mean_optimizer_loss`, `limit_loss`, `spectrum_nodes`; its power laws and phases are `loss_law`,
`phase` and `optimal_exponents`.
"""

from jaxscale.streaming.theory._allocation import (
    Allocation as Allocation,
    optimal_allocation as optimal_allocation,
)
from jaxscale.streaming.theory._contour import Nodes as Nodes
from jaxscale.streaming.theory._equivalent import (
    Edges as Edges,
    critical_batch_size as critical_batch_size,
    limit_loss as limit_loss,
    loss as loss,
    mean_max_learning_rate as mean_max_learning_rate,
    spectrum_edges as spectrum_edges,
    spectrum_nodes as spectrum_nodes,
)
from jaxscale.streaming.theory._laws import (
    Exponents as Exponents,
    loss_law as loss_law,
    optimal_exponents as optimal_exponents,
    phase as phase,
)
from jaxscale.streaming.theory._mean import mean_optimizer_loss as mean_optimizer_loss
from jaxscale.streaming.theory._sgd import (
    optimizer_loss as optimizer_loss,
    sgd_loss as sgd_loss,
)
from jaxscale.streaming.theory._sign import sign_sgd_loss as sign_sgd_loss
from jaxscale.streaming.theory._stability import (
    kernel_norm as kernel_norm,
    max_learning_rate as max_learning_rate,
    noise_floor as noise_floor,
)
