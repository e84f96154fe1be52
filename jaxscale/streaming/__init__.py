"""Streaming regression: one-pass SGD and its relatives on power-law random features."""

from jaxscale.streaming import theory as theory
from jaxscale.streaming._features import Modes as Modes
from jaxscale.streaming._optimizers import (
    Dana as Dana,
    ExponentialAverage as ExponentialAverage,
    Nesterov as Nesterov,
    PolyakAverage as PolyakAverage,
    ScheduleFree as ScheduleFree,
    SignSgd as SignSgd,
)
from jaxscale.streaming._spaces import Coordinates as Coordinates, Eigenbasis as Eigenbasis
from jaxscale.streaming._system import (
    StreamingRegression as StreamingRegression,
    modes_of as modes_of,
)

REFERENCES = ("paquette2024phases", "maloney2022solvable")
