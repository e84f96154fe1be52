"""Theory of streaming regression, derived here for the model of arXiv 2405.15074.

Given the features, the mean over the data is exact: `sgd_loss`, `optimizer_loss`,
`max_learning_rate`.
"""

from jaxscale.streaming.theory._sgd import (
    optimizer_loss as optimizer_loss,
    sgd_loss as sgd_loss,
)
from jaxscale.streaming.theory._stability import (
    kernel_norm as kernel_norm,
    max_learning_rate as max_learning_rate,
    noise_floor as noise_floor,
)
