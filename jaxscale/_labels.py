"""Labels of an axis: where the wanted ones lie, as runs, theories and tables name them."""

import numpy as np


def match_labels(labels: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Find the place of each wanted label of an axis, -1 for none; reals agree to a millionth."""
    equal = {value: i for i, value in enumerate(labels.tolist())}
    place = np.asarray([equal.get(value, -1) for value in wanted.tolist()], int)
    kinds, finite = {labels.dtype.kind, wanted.dtype.kind}, np.flatnonzero(_is_finite(labels))
    if "f" not in kinds or not kinds <= set("iuf") or not finite.size:
        return place
    order = finite[np.argsort(labels[finite])]
    ordered = labels[order].astype(np.float64)
    nearest = np.searchsorted((ordered[1:] + ordered[:-1]) / 2, wanted)
    rounding = 1e-6 if kinds == {"f"} else 1e-9  # of float32; whole numbers lie close together
    near = np.isclose(ordered[nearest], wanted, rounding, 0.0) & (place < 0)
    return np.where(near, order[nearest], place)


def _is_finite(labels: np.ndarray) -> np.ndarray:
    return np.isfinite(labels) if labels.dtype.kind in "iuf" else np.zeros(labels.shape, bool)
