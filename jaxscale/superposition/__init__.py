"""Superposition: a student learns sparse features through a bottleneck (arXiv 2602.01045)."""

from jaxscale.superposition import theory as theory
from jaxscale.superposition.amplitudes import Fixed as Fixed, Uniform as Uniform
from jaxscale.superposition.data import Bernoulli as Bernoulli, OneHot as OneHot
from jaxscale.superposition.decoders import Linear as Linear, Relu as Relu
from jaxscale.superposition.embedding import (
    Given as Given,
    Identity as Identity,
    Joint as Joint,
    Pretrained as Pretrained,
    RandomUnit as RandomUnit,
    Tied as Tied,
    TightFrame as TightFrame,
)
from jaxscale.superposition.gradient import FreshBatches as FreshBatches, Population as Population
from jaxscale.superposition.importance import InLoss as InLoss, InTarget as InTarget
from jaxscale.superposition.student import (
    RandomNormal as RandomNormal,
    ScaledIdentity as ScaledIdentity,
    Zeros as Zeros,
)
from jaxscale.superposition.system import TeacherStudent as TeacherStudent

REFERENCES = ("chen2026superposition",)
