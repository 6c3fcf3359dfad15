"""Structural similarity of a fake with its control (Wang et al. 2004, "Image quality assessment", eq. 13), over
whole frames and over what was changed in them, and how evenly it holds from frame to frame.

The same definition as scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5,
use_sample_covariance=False, data_range=255)` on luma, six to seventeen times faster: four blurs in single precision instead of
five in double, of strips that stay in the cache.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluators.figure import Figure, Rows
from evaluators.pictures import MASKED, WHOLE, OfPictures, Region, kept
from forgeline.clip import Picture
from forgeline.errors import MediaError

Plane = NDArray[np.float32]
"""(height, width)."""

LUMA = np.array([[0.299, 0.587, 0.114]], np.float32)
RADIUS = 5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
STRIP = 128
"""Rows that are worked on at a time."""
FINGERPRINT: Final = {
    "definition": "Wang 2004, Gaussian window 11, sigma 1.5, data range 255",
    "colour": "luma BT.601, not rounded",
    "precision": "single",
}
SPREAD: Final = {"over frames": "standard deviation"}
ONE_FRAME: Final = "needs two frames"


class SSIM(OfPictures):
    """-1 to 1 (equal). A clip's figure is the mean over its frames, a set's the mean over its clips.

    `…_spread` is how unevenly it holds: the standard deviation (divisor n) over a clip's frames, 0 where all are alike.
    """

    least: ClassVar[int] = 2 * RADIUS + 1

    @property
    def about(self) -> Mapping[str, Mapping[str, str]]:
        regions = {"ssim": FINGERPRINT | WHOLE, "ssim_masked": FINGERPRINT | MASKED}
        return regions | {f"{name}_spread": about | SPREAD for name, about in regions.items()}

    def values(self, control: Picture, fake: Picture, changed: Region | None) -> Mapping[str, float]:
        similar = ssim_map(luma(control), luma(fake))
        inside = changed[RADIUS:-RADIUS, RADIUS:-RADIUS] if changed is not None else np.zeros_like(similar, np.bool_)
        return {
            "ssim": float(similar.mean(dtype=np.float64)),
            "ssim_masked": float(similar[inside].mean(dtype=np.float64)) if inside.any() else np.nan,
        }

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        found = super().of_sample(rows)
        for name in ("ssim", "ssim_masked"):
            values, about = kept(rows, name), self.about[f"{name}_spread"]
            spread = Figure(None, 0, about, found[name].reason or ONE_FRAME)
            found[f"{name}_spread"] = Figure(float(values.std()), len(values), about) if len(values) > 1 else spread
        return found


def luma(picture: NDArray[np.uint8]) -> Plane:
    """BT.601 luma of an RGB picture (height, width, 3), in 0 … 255, not rounded."""
    return np.asarray(cv2.transform(picture.astype(np.float32), LUMA))


def ssim_map(one: Plane, other: Plane) -> Plane:
    """SSIM around each pixel whose whole window lies inside: (height - 10, width - 10).

    Its mean is within 1e-6 of what double precision gives, a pixel of the worst pictures (edges from black to white) within
    2e-5. Raises MediaError below 11 pixels.
    """
    lightness, contrast = ssim_parts(one, other)
    return np.asarray(np.multiply(lightness, contrast, out=lightness))


def ssim_parts(one: Plane, other: Plane) -> tuple[Plane, Plane]:
    """The two factors of `ssim_map`: how alike the means are, and how alike what is around them (contrast and structure)."""
    height, width = one.shape
    if min(height, width) <= 2 * RADIUS:
        raise MediaError("picture", f"is {width}x{height}", "SSIM needs 11 pixels on each side")
    shape = (height - 2 * RADIUS, width - 2 * RADIUS)
    lightness, contrast = np.empty(shape, np.float32), np.empty(shape, np.float32)
    for top in range(0, shape[0], STRIP):
        rows = slice(top, min(top + STRIP, shape[0]))
        window = slice(top, rows.stop + 2 * RADIUS)
        _parts(one[window], other[window], lightness[rows], contrast[rows])
    return lightness, contrast


def _parts(one: Plane, other: Plane, lightness: Plane, contrast: Plane) -> None:
    """`ssim_parts` of one strip, written to the last two.

    With s = one + other and d = one - other, moments of the two need four blurs: 2·m1·m2 = (m_s² - m_d²) / 2,
    m1² + m2² = (m_s² + m_d²) / 2, and likewise the variances. Where the two are equal, d is 0 and SSIM is 1 without rounding.
    """
    shift = np.float32(round(float(one.mean()) + float(other.mean())))  # squares round least around the mean
    total, difference = one + other - shift, one - other
    mean_total, mean_difference = _blur(total), _blur(difference)
    variance_difference = _blur(difference * difference) - mean_difference * mean_difference
    variance_total = _blur(total * total) - mean_total * mean_total
    square_total, square_difference = np.square(mean_total + shift), np.square(mean_difference)
    c1, c2 = np.float32(2 * C1), np.float32(2 * C2)
    np.divide(square_total - square_difference + c1, square_total + square_difference + c1, out=lightness)
    np.divide(variance_total - variance_difference + c2, variance_total + variance_difference + c2, out=contrast)


_WINDOW = cv2.getGaussianKernel(2 * RADIUS + 1, 1.5, cv2.CV_32F)


def _blur(plane: Plane) -> Plane:
    return np.asarray(cv2.sepFilter2D(plane, cv2.CV_32F, _WINDOW, _WINDOW)[RADIUS:-RADIUS, RADIUS:-RADIUS])
