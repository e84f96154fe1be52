"""Figures and pages made from Datasets."""

from jaxscale.report._figures import plot as plot
