"""Sparse regression: random features on rare, power-law coordinates (arXiv 2605.23591)."""

from jaxscale.sparse import theory as theory
from jaxscale.sparse._features import (
    Elementwise as Elementwise,
    Identity as Identity,
    Linear as Linear,
    Relu as Relu,
    Tanh as Tanh,
)
from jaxscale.sparse._gradient import (
    GradientDescent as GradientDescent,
    GradientSteps as GradientSteps,
)
from jaxscale.sparse._solvers import MinNorm as MinNorm, Ridge as Ridge
from jaxscale.sparse._spectrum import Tabulated as Tabulated
from jaxscale.sparse._system import RandomFeatureRegression as RandomFeatureRegression
from jaxscale.sparse._teacher import Averaged as Averaged, Sampled as Sampled

REFERENCES = ("sous2026asymmetric",)
