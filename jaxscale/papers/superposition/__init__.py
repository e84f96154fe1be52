"""Superposition and power-law training: claims, scores, figures, study, presets."""
