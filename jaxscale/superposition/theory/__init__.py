"""Closed forms of the superposition model: power-law features through a bottleneck.

Derived here, for the model introduced in arXiv 2602.01045: one latent dimension per feature
(sequential learning), the linear bottleneck, and false positives gated by trained biases.
"""

from jaxscale.superposition.theory._bottleneck import (
    bottleneck_floor as bottleneck_floor,
    bottleneck_loss as bottleneck_loss,
    bottleneck_matrix as bottleneck_matrix,
    max_learning_rate as max_learning_rate,
)
from jaxscale.superposition.theory._interference import (
    Window as Window,
    interference_loss as interference_loss,
    interference_scale as interference_scale,
    interference_window as interference_window,
    matched_gain as matched_gain,
    universal_law as universal_law,
)
from jaxscale.superposition.theory._late import (
    sequential_law as sequential_law,
    sequential_local_exponent as sequential_local_exponent,
    sequential_loss_asymptote as sequential_loss_asymptote,
)
from jaxscale.superposition.theory._progress import (
    random_max_learning_rate as random_max_learning_rate,
    shared_progress_time as shared_progress_time,
)
from jaxscale.superposition.theory._sequential import (
    sequential_loss as sequential_loss,
    sequential_strength as sequential_strength,
    sgd_loss as sgd_loss,
)
from jaxscale.superposition.theory._tails import (
    AbstractTail as AbstractTail,
    Bounded as Bounded,
    Gaussian as Gaussian,
    Laplace as Laplace,
    Pareto as Pareto,
)
