"""Sharpness and grain: what tells a face laid on a picture from the picture when colours already match."""

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture

Area = NDArray[np.bool_]
"""(height, width), where in a picture something is measured."""

BLURS = (0.0, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
"""Deviations in pixels of the blurs that are tried."""
EDGES = 97
"""Percentile of a picture's detail that counts as its edges: noise is below it, and every face has lids, brows and lips."""


def noise(picture: Picture, where: Area) -> float:
    """Deviation of a picture's grain in levels of brightness (Immerkær 1996, by a median, so that edges do not count)."""
    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    grey = cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY)
    return float(np.median(np.abs(cv2.filter2D(grey, -1, kernel))[where]) / 0.6745 / 6)


def sharpness(picture: Picture, where: Area) -> float:
    """How much finer a picture's edges are than a blur of one pixel: about 1 when sharp, 0.4 when enlarged twofold."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    coarse = cv2.GaussianBlur(grey, (0, 0), 1)
    coarser = cv2.GaussianBlur(coarse, (0, 0), 2)
    fine, rest = (np.percentile(np.abs(detail)[where], EDGES) for detail in (grey - coarse, coarse - coarser))
    return float(fine / max(rest, 1e-6))


def excess(picture: Picture, where: Area, wanted: float) -> float:
    """Deviation in pixels of the least of BLURS that makes a picture no sharper than `wanted`."""
    return next((blur for blur in BLURS if sharpness(blurred(picture, blur), where) <= wanted), BLURS[-1])


def blurred(picture: Picture, deviation: float) -> Picture:
    """The picture after a Gaussian blur of this deviation in pixels; 0 leaves it as it is."""
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), deviation), np.uint8) if deviation else picture


def smooth(picture: Picture, where: Area) -> Picture:
    """The picture without the grain that it has `where`, its edges kept (bilateral filter, Tomasi and Manduchi 1998)."""
    likeness = 9 * noise(picture, where)  # it adds up the differences of three channels
    return np.asarray(cv2.bilateralFilter(picture, 5, likeness, 1.5), np.uint8)


def lay_grain(picture: Picture, level: float, rng: np.random.Generator) -> Picture:
    """The picture with new grain of this deviation, the same in all channels, as that of a camera's brightness is."""
    grain = np.float32(level) * rng.standard_normal(picture.shape[:2], dtype=np.float32)
    return np.asarray(cv2.add(picture, cv2.merge([grain] * 3), dtype=cv2.CV_8U), np.uint8)
