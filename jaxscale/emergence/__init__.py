"""Emergence and scaling laws of multitask sparse parity (Nam et al. 2024, arXiv 2404.17563)."""

from jaxscale.emergence import theory as theory
from jaxscale.emergence.data import DisjointSkills as DisjointSkills
from jaxscale.emergence.data import FiniteSet as FiniteSet
from jaxscale.emergence.data import Online as Online
from jaxscale.emergence.data import RandomSkills as RandomSkills
from jaxscale.emergence.multilinear import MultilinearSkills as MultilinearSkills
from jaxscale.emergence.regimes import DataLimited as DataLimited
from jaxscale.emergence.regimes import TimeLimited as TimeLimited
from jaxscale.emergence.regimes import WidthLimited as WidthLimited
from jaxscale.emergence.system import ParityNetwork as ParityNetwork

REFERENCES = ("nam2024emergence",)
