"""Figures and pages made from Datasets."""

from jaxscale.report._plot import plot as plot
