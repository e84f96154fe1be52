"""Emergence and scaling laws of multitask sparse parity (Nam et al. 2024, arXiv 2404.17563)."""

from jaxscale.emergence import theory as theory
from jaxscale.emergence._data import (
    DisjointSkills as DisjointSkills,
    FiniteSet as FiniteSet,
    Online as Online,
    RandomSkills as RandomSkills,
    ShuffledSkills as ShuffledSkills,
)
from jaxscale.emergence._multilinear import MultilinearSkills as MultilinearSkills
from jaxscale.emergence._regimes import (
    DataLimited as DataLimited,
    TimeLimited as TimeLimited,
    WidthLimited as WidthLimited,
)
from jaxscale.emergence._strength import Correlation as Correlation, Covariance as Covariance
from jaxscale.emergence._system import ParityNetwork as ParityNetwork

REFERENCES = ("nam2024emergence",)
