"""Boxes, x0 y0 x1 y1 in pixels: how large they are, and how much of each other they cover."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def overlap(a: Floats, b: Floats) -> float:
    """Intersection over union of two boxes."""
    common = area_of(np.concatenate([np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])]))
    return common / max(area_of(a) + area_of(b) - common, 1e-9)


def area_of(box: Floats) -> float:
    """Square pixels; 0 for a box that is turned inside out."""
    return float(np.clip(box[2] - box[0], 0, None) * np.clip(box[3] - box[1], 0, None))


def middle_of(box: Floats) -> Floats:
    """x and y of a box's centre."""
    return np.asarray((box[:2] + box[2:]) / 2)
