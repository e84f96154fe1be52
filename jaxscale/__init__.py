"""Solvable models of neural scaling laws: simulation and closed-form theory, one interface."""

from importlib.metadata import version as _version

from jaxscale import emergence as emergence
from jaxscale import fields as fields
from jaxscale import paths as paths
from jaxscale import sparse as sparse
from jaxscale import spectra as spectra
from jaxscale import superposition as superposition
from jaxscale.analysis import Calibration as Calibration
from jaxscale.analysis import Claim as Claim
from jaxscale.analysis import Formula as Formula
from jaxscale.analysis import Frontier as Frontier
from jaxscale.analysis import bounds as bounds
from jaxscale.analysis import calibrate as calibrate
from jaxscale.analysis import compare as compare
from jaxscale.analysis import fit_loss_surface as fit_loss_surface
from jaxscale.analysis import frontier as frontier
from jaxscale.analysis import residuals as residuals
from jaxscale.compilation import keep_compiled as keep_compiled
from jaxscale.devices import use_all_cores as use_all_cores
from jaxscale.optimizers import AbstractOptimizer as AbstractOptimizer
from jaxscale.optimizers import Adam as Adam
from jaxscale.optimizers import Optax as Optax
from jaxscale.optimizers import Sgd as Sgd
from jaxscale.paths import replace as replace
from jaxscale.references import citation as citation
from jaxscale.report import plot as plot
from jaxscale.schedules import AbstractSchedule as AbstractSchedule
from jaxscale.schedules import Constant as Constant
from jaxscale.schedules import Cosine as Cosine
from jaxscale.schedules import StepDecay as StepDecay
from jaxscale.schedules import TwoDrops as TwoDrops
from jaxscale.status import Status as Status
from jaxscale.sweep import Grid as Grid
from jaxscale.sweep import Plan as Plan
from jaxscale.sweep import geomspace as geomspace
from jaxscale.sweep import open as open
from jaxscale.sweep import open_store as open_store
from jaxscale.sweep import plan as plan
from jaxscale.sweep import predict as predict
from jaxscale.sweep import run as run
from jaxscale.sweep import select as select
from jaxscale.system import AbstractSystem as AbstractSystem
from jaxscale.system import Observable as Observable
from jaxscale.system import Predicted as Predicted
from jaxscale.system import Schema as Schema
from jaxscale.system import Work as Work
from jaxscale.training import AbstractTrainedSystem as AbstractTrainedSystem
from jaxscale.training import train as train

__version__ = _version("jaxscale")
