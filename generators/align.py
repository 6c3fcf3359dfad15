"""Faces cut out of pictures upright, the way nets were taught to see them, and laid back where they came from.

A place is a (2, 3) matrix that takes points of the picture to points of the cut-out; whole numbers are pixel centres.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Clip, Mask, Picture
from forgeline.errors import MediaError
from forgeline.mesh import LEFT_EYE, LEFT_MOUTH_CORNER, NOSE_TIP, OVAL, RIGHT_EYE, RIGHT_MOUTH_CORNER
from generators.plugin import face_of
from generators.warp import Box

Floats = NDArray[np.float32]
Place = NDArray[np.float64]

_ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
"""Where the five points lie in 112 x 112 pixels for nets that know people by ArcFace (Deng et al. 2019)."""
_FFHQ = np.array(
    [[192.98138, 239.94708], [318.90277, 240.1936], [256.63416, 314.01935], [201.26117, 371.41043], [313.08905, 371.15118]]
)
"""Where the five points lie in 512 x 512 pixels for nets taught on FFHQ (Karras et al. 2019), such as GFPGAN."""

LEAST = 16
"""Width of a face in pixels below which there is nothing to work on."""


def in_picture(clip: Clip, frames: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Those of some frames (frames,) in which the middle of the face lies in the picture, and the face is not tiny.

    Raises MediaError when there are none.
    """
    mesh = np.nan_to_num(face_of(clip).mesh[:, :, :2], nan=-1)
    middle = mesh.mean(1)
    within = ((middle >= 0) & (middle <= (clip.width - 1, clip.height - 1))).all(1)
    left = np.asarray(frames & within & (np.ptp(mesh[:, :, 0], axis=1) >= LEAST), np.bool_)
    if not left.any():
        what = f"shows no face of {LEAST} pixels or more that lies in the picture where it can be worked on"
        raise MediaError(clip.name, what, "leave it out, or ingest it in larger pictures")
    return left


def arcface(side: int) -> Place:
    """The five points (5, 2) in a cut-out of `side` pixels as recognition and swapping nets have them.

    A side of 112 or a multiple shows the square of ArcFace; any other, as swapping nets are taught, is taken as 128, of
    which 112 show that square: there are 8 pixels more on its left and right, and 16 below.
    """
    return _ARCFACE * side / 112 if side % 112 == 0 else (_ARCFACE + np.array([8, 0])) * side / 128


def ffhq(side: int) -> Place:
    """The five points (5, 2) in a cut-out of `side` pixels as nets taught on FFHQ have them."""
    return _FFHQ * side / 512


def five(mesh: Floats) -> Floats:
    """The five points (5, 2) of a mesh: right eye, left eye, nose, mouth's right and left corner."""
    flat = mesh[:, :2]
    return np.stack(
        [flat[RIGHT_EYE].mean(0), flat[LEFT_EYE].mean(0), flat[NOSE_TIP], flat[RIGHT_MOUTH_CORNER], flat[LEFT_MOUTH_CORNER]]
    )


def place(points: Floats, template: Place) -> Place:
    """The turn, scale and shift that takes `points` (n, 2) nearest to `template` (n, 2), by least squares.

    With points as complex numbers around their means it is one factor (Umeyama 1991, without a reflection).
    """
    here, there = (np.asarray(p, np.float64) @ (1, 1j) for p in (points, template))
    factor = np.vdot(here - here.mean(), there - there.mean()) / max(np.square(np.abs(here - here.mean())).sum(), 1e-12)
    shift = there.mean() - factor * here.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def cut(picture: Picture, at: Place, side: int) -> Picture:
    """The square (side, side, 3) at a place. What lies outside the picture is its mirror image."""
    fine = max(1, int(1 / _scale(at)))  # as fine as the picture, then pixels are averaged
    cut_out = cv2.warpAffine(
        picture, resized(at, fine), (side * fine, side * fine), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(cv2.resize(cut_out, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def laid(cut_out: Picture, at: Place, box: Box) -> Picture:
    """A square cut-out (side, side, 3) as it lies in the picture, over `box` of it; outside the square its edge goes on."""
    x0, y0, x1, y1 = box
    coarse = max(1, int(_scale(at)))
    side = cut_out.shape[0] // coarse
    small = cv2.resize(cut_out, (side, side), interpolation=cv2.INTER_AREA)
    here = resized(at, side / cut_out.shape[0])
    here[:, 2] += here[:, :2] @ (x0, y0)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(small, here, (x1 - x0, y1 - y0), flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def inside(at: Place, side: int, box: Box, edge: float) -> Floats:
    """(h, w) over `box`: 0 outside the square of a place, 1 in its middle, rising smoothly over `edge` of its side."""
    x0, y0, x1, y1 = box
    y, x = np.mgrid[y0:y1, x0:x1]
    across, down = (row[0] * x + row[1] * y + row[2] for row in at)
    depth = np.minimum(np.minimum(across, side - 1 - across), np.minimum(down, side - 1 - down)) / (edge * side)
    return _eased(depth)


def oval(mesh: Floats, box: Box, edge: float) -> Floats:
    """(h, w) over `box`: 0 outside a face's outline, 1 in its middle, rising smoothly over `edge` of the face's width."""
    x0, y0, x1, y1 = box
    outline = np.round((mesh[OVAL, :2] - (x0, y0)) * 16).astype(np.int32)
    filled = cv2.fillPoly(np.zeros((y1 - y0, x1 - x0), np.uint8), [outline], 1, shift=4)
    return _eased(cv2.distanceTransform(filled, cv2.DIST_L2, 5) / max(edge * float(np.ptp(mesh[OVAL, 0])), 1.0))


def mask_of(share: Floats) -> Mask:
    """Shares 0 … 1 as a mask."""
    return np.asarray(share * 255, np.float32).round().astype(np.uint8)


def _eased(depth: Any) -> Floats:
    depth = np.clip(np.asarray(depth, np.float32), 0, 1)
    return np.asarray(depth * depth * (3 - 2 * depth), np.float32)


def _scale(at: Place) -> float:
    """Pixels of the cut-out in one of the picture."""
    return max(float(np.hypot(*at[:, 0])), 1e-6)


def resized(at: Place, factor: float) -> Place:
    """The place in a cut-out with `factor` times as many pixels a side."""
    bigger = at * factor
    bigger[:, 2] += (factor - 1) / 2
    return bigger
