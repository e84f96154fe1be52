"""Superposition: a student learns sparse features through a bottleneck (arXiv 2602.01045)."""

from jaxscale.superposition import theory as theory
from jaxscale.superposition.amplitudes import Fixed as Fixed
from jaxscale.superposition.amplitudes import Uniform as Uniform
from jaxscale.superposition.data import Bernoulli as Bernoulli
from jaxscale.superposition.data import OneHot as OneHot
from jaxscale.superposition.decoders import Linear as Linear
from jaxscale.superposition.decoders import Relu as Relu
from jaxscale.superposition.embedding import Given as Given
from jaxscale.superposition.embedding import Identity as Identity
from jaxscale.superposition.embedding import Joint as Joint
from jaxscale.superposition.embedding import Pretrained as Pretrained
from jaxscale.superposition.embedding import RandomUnit as RandomUnit
from jaxscale.superposition.embedding import Tied as Tied
from jaxscale.superposition.embedding import TightFrame as TightFrame
from jaxscale.superposition.gradient import FreshBatches as FreshBatches
from jaxscale.superposition.gradient import Population as Population
from jaxscale.superposition.importance import InLoss as InLoss
from jaxscale.superposition.importance import InTarget as InTarget
from jaxscale.superposition.student import RandomNormal as RandomNormal
from jaxscale.superposition.student import ScaledIdentity as ScaledIdentity
from jaxscale.superposition.student import Zeros as Zeros
from jaxscale.superposition.system import TeacherStudent as TeacherStudent

REFERENCES = ("chen2026superposition",)
