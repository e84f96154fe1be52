"""Sparse regression: random features on rare, power-law coordinates (arXiv 2605.23591)."""

from jaxscale.sparse import theory as theory
from jaxscale.sparse.features import (
    Elementwise as Elementwise,
    Identity as Identity,
    Linear as Linear,
    Relu as Relu,
    Tanh as Tanh,
)
from jaxscale.sparse.gradient import (
    GradientDescent as GradientDescent,
    GradientSteps as GradientSteps,
)
from jaxscale.sparse.solvers import MinNorm as MinNorm, Ridge as Ridge
from jaxscale.sparse.spectrum import Tabulated as Tabulated
from jaxscale.sparse.system import RandomFeatureRegression as RandomFeatureRegression
from jaxscale.sparse.teacher import Averaged as Averaged, Sampled as Sampled

REFERENCES = ("sous2026asymmetric",)
