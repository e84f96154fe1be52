"""Theory of the multitask sparse parity problem: emergence of skills and scaling laws.

Nam, Fonseca, Lee, Mingard and Louis 2024, "An exactly solvable model for emergence and scaling
laws in the multitask sparse parity problem", arXiv 2404.17563.
"""

from jaxscale.emergence.theory.allocation import (
    Allocation as Allocation,
)
from jaxscale.emergence.theory.allocation import (
    limiting_allocation as limiting_allocation,
)
from jaxscale.emergence.theory.allocation import (
    optimal_allocation as optimal_allocation,
)
from jaxscale.emergence.theory.expectation import (
    SkillMoments as SkillMoments,
)
from jaxscale.emergence.theory.expectation import (
    expected_skill as expected_skill,
)
from jaxscale.emergence.theory.joint import (
    data_parameter_loss as data_parameter_loss,
)
from jaxscale.emergence.theory.joint import (
    parameter_loss as parameter_loss,
)
from jaxscale.emergence.theory.joint import (
    time_loss as time_loss,
)
from jaxscale.emergence.theory.joint import (
    time_parameter_loss as time_parameter_loss,
)
from jaxscale.emergence.theory.laws import (
    compute_law as compute_law,
)
from jaxscale.emergence.theory.laws import (
    data_law as data_law,
)
from jaxscale.emergence.theory.laws import (
    parameter_law as parameter_law,
)
from jaxscale.emergence.theory.laws import (
    time_law as time_law,
)
from jaxscale.emergence.theory.losses import (
    data_loss as data_loss,
)
from jaxscale.emergence.theory.losses import (
    loss as loss,
)
from jaxscale.emergence.theory.losses import (
    width_loss as width_loss,
)
from jaxscale.emergence.theory.skills import (
    Learner as Learner,
)
from jaxscale.emergence.theory.skills import (
    data_emergence as data_emergence,
)
from jaxscale.emergence.theory.skills import (
    emergence_time as emergence_time,
)
from jaxscale.emergence.theory.skills import (
    skill_probabilities as skill_probabilities,
)
from jaxscale.emergence.theory.skills import (
    skill_strength as skill_strength,
)
from jaxscale.emergence.theory.skills import (
    width_emergence as width_emergence,
)
