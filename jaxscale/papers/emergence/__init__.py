"""Emergence and scaling laws of multitask sparse parity: claims, scores, figures, study."""
