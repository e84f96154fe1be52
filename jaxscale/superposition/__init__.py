"""Superposition: a student learns sparse features through a bottleneck (arXiv 2602.01045)."""

from jaxscale.superposition import theory as theory
from jaxscale.superposition._data import (
    AbstractInputs as AbstractInputs,
    Bernoulli as Bernoulli,
    OneHot as OneHot,
    Samples as Samples,
    Source as Source,
)
from jaxscale.superposition._embedding import (
    Given as Given,
    Identity as Identity,
    Joint as Joint,
    Pretrained as Pretrained,
    RandomGaussian as RandomGaussian,
    RandomUnit as RandomUnit,
    Tied as Tied,
    TightFrame as TightFrame,
    Untied as Untied,
)
from jaxscale.superposition._losses import (
    FreshBatches as FreshBatches,
    MeanOverOutputs as MeanOverOutputs,
    Population as Population,
    SumOverOutputs as SumOverOutputs,
)
from jaxscale.superposition._outputs import (
    Fixed as Fixed,
    Linear as Linear,
    Relu as Relu,
    Uniform as Uniform,
)
from jaxscale.superposition._student import (
    InLoss as InLoss,
    InTarget as InTarget,
    RandomNormal as RandomNormal,
    ScaledIdentity as ScaledIdentity,
    Zeros as Zeros,
)
from jaxscale.superposition._system import TeacherStudent as TeacherStudent

REFERENCES = ("chen2026superposition",)
