"""How alike two faces look, without a net: by their outlines and colours."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture

SIDE, CELLS = 64, 16


def outlines_and_colours(face: Picture) -> NDArray[np.float64]:
    """A face (64, 64, 3) as a unit vector (1092,), so that a product of two is their likeness, -1 to 1 (equal).

    Half of its square is the outlines' (histograms of oriented gradients, Dalal and Triggs 2005), half the colours' of 16 x 16
    cells less their mean, whatever light there is.
    """
    outlines = np.asarray(_descriptor().compute(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)), np.float64).ravel()
    cells = cv2.resize(face, (CELLS, CELLS), interpolation=cv2.INTER_AREA).astype(np.float64)
    return np.asarray(np.concatenate([_unit(outlines), _unit((cells - cells.mean((0, 1))).ravel())]) * np.sqrt(0.5))


@cache
def _descriptor() -> cv2.HOGDescriptor:
    return cv2.HOGDescriptor((SIDE, SIDE), (32, 32), (16, 16), (16, 16), 9)


def _unit(row: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(row / max(float(np.linalg.norm(row)), 1e-12))
