"""Figures and pages made from Datasets."""

from jaxscale.report._isoflop import (
    allocation_figure as allocation_figure,
    isoflop_figure as isoflop_figure,
)
from jaxscale.report._plot import plot as plot
from jaxscale.report._residuals import residuals_figure as residuals_figure
