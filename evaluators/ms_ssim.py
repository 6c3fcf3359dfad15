"""Structural similarity over five scales (Wang, Simoncelli and Bovik 2003, "Multi-scale structural similarity for image quality
assessment", eq. 7 and section 3.2), which depends less on how near one sits than SSIM does.

Contrast and structure of each scale, and the lightness of the coarsest alone, are averaged over the picture, raised to the
paper's weights and multiplied. A scale is the mean of 2 x 2 pixels of the finer one; what is odd at the right and at the bottom
is left out. A mean below 0, which has no such power, counts as 0.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

import cv2
import numpy as np

from evaluators.pictures import WHOLE, OfPictures, Region
from evaluators.ssim import FINGERPRINT, RADIUS, Plane, luma, ssim_parts
from forgeline.clip import Picture

WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


class MSSSIM(OfPictures):
    """0 to 1 (equal). A clip's figure is the mean over its frames, a set's the mean over its clips."""

    least: ClassVar[int] = (2 * RADIUS + 1) * 2 ** (len(WEIGHTS) - 1)

    @property
    def about(self) -> Mapping[str, Mapping[str, str]]:
        scales = {"scales": "5, means of 2 x 2, weights of Wang 2003, negative means count as 0"}
        return {"ms_ssim": FINGERPRINT | WHOLE | scales}

    def values(self, control: Picture, fake: Picture, changed: Region | None) -> Mapping[str, float]:
        return {"ms_ssim": ms_ssim(luma(control), luma(fake))}


def ms_ssim(one: Plane, other: Plane) -> float:
    """Of two planes of at least 176 pixels on each side."""
    found = 1.0
    for weight in WEIGHTS[:-1]:
        _, contrast = ssim_parts(one, other)
        found *= max(float(contrast.mean(dtype=np.float64)), 0.0) ** weight
        one, other = _halved(one), _halved(other)
    lightness, contrast = ssim_parts(one, other)
    return float(found * max(float((lightness * contrast).mean(dtype=np.float64)), 0.0) ** WEIGHTS[-1])


def _halved(plane: Plane) -> Plane:
    height, width = (side // 2 for side in plane.shape)
    return np.asarray(cv2.resize(plane[: 2 * height, : 2 * width], (width, height), interpolation=cv2.INTER_AREA))
