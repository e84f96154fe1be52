"""Figures and pages made from Datasets."""

from jaxscale.report.figures import plot as plot
