"""Sweeps: a grid is planned, run in compiled chunks, stored, and read back as a Dataset."""

from jaxscale.sweep.execute import run as run
from jaxscale.sweep.grid import Grid as Grid
from jaxscale.sweep.grid import geomspace as geomspace
from jaxscale.sweep.plan import Plan as Plan
from jaxscale.sweep.plan import plan as plan
from jaxscale.sweep.predict import predict as predict
from jaxscale.sweep.reading import open_store as open  # noqa: F401  # pyright: ignore
from jaxscale.sweep.select import select as select
