"""Sparse regression: random features on rare, power-law coordinates (arXiv 2605.23591)."""

from jaxscale.sparse import theory as theory
from jaxscale.sparse.features import Elementwise as Elementwise
from jaxscale.sparse.features import Identity as Identity
from jaxscale.sparse.features import Linear as Linear
from jaxscale.sparse.features import Relu as Relu
from jaxscale.sparse.features import Tanh as Tanh
from jaxscale.sparse.gradient import GradientDescent as GradientDescent
from jaxscale.sparse.gradient import GradientSteps as GradientSteps
from jaxscale.sparse.solvers import MinNorm as MinNorm
from jaxscale.sparse.solvers import Ridge as Ridge
from jaxscale.sparse.spectrum import Tabulated as Tabulated
from jaxscale.sparse.system import RandomFeatureRegression as RandomFeatureRegression
from jaxscale.sparse.teacher import Averaged as Averaged
from jaxscale.sparse.teacher import Sampled as Sampled

REFERENCES = ("sous2026asymmetric",)
