"""Theory of the multitask sparse parity problem: emergence of skills and scaling laws.

Nam, Fonseca, Lee, Mingard and Louis 2024, "An exactly solvable model for emergence and scaling
laws in the multitask sparse parity problem", arXiv 2404.17563.
"""

from jaxscale.emergence.theory._allocation import (
    Allocation as Allocation,
    limiting_allocation as limiting_allocation,
    optimal_allocation as optimal_allocation,
)
from jaxscale.emergence.theory._joint import (
    data_parameter_loss as data_parameter_loss,
    parameter_loss as parameter_loss,
    time_loss as time_loss,
    time_parameter_loss as time_parameter_loss,
)
from jaxscale.emergence.theory._laws import (
    compute_law as compute_law,
    data_law as data_law,
    parameter_law as parameter_law,
    time_law as time_law,
)
from jaxscale.emergence.theory._losses import (
    data_loss as data_loss,
    loss as loss,
    width_loss as width_loss,
)
from jaxscale.emergence.theory._skills import (
    Learner as Learner,
    SkillMoments as SkillMoments,
    data_emergence as data_emergence,
    emergence_time as emergence_time,
    expected_skill as expected_skill,
    skill_probabilities as skill_probabilities,
    skill_strength as skill_strength,
    width_emergence as width_emergence,
)
