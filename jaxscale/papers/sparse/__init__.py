"""Asymmetric scaling laws of sparse regression: claims, scores, figures, study, presets."""
