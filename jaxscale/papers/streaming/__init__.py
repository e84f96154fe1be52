"""Streaming regression: claims, scores, figures, study, presets."""
