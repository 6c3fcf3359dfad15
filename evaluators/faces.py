"""The face that a pair is about, found once for every evaluator that looks at faces.

It is looked for in the control alone. The mesh net then sees the same square of the control and of the fake, so that the two
meshes differ by what the pictures show there, and not at all where nothing was changed.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from functools import cache
from typing import Final
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluators.figure import Frames
from forgeline.clip import Mask, Picture
from forgeline.faces import CONFIDENCE, Face, FaceFinder
from forgeline.mesh import LEFT_EYE, LEFT_MOUTH_CORNER, NOSE_TIP, RIGHT_EYE, RIGHT_MOUTH_CORNER
from forgeline.weights import WEIGHTS

Floats = NDArray[np.float64]
Place = NDArray[np.float64]
"""(2, 3): takes points of a picture to points of a cut-out; whole numbers are pixel centres."""

FINGERPRINT: Final = {
    "face": "found in the control, the one that the mask covers most, or the largest; both meshes from one square",
    "detector": WEIGHTS["face_detector"].sha256_prefix,
    "mesh": WEIGHTS["face_mesh"].sha256_prefix,
}
NO_FACE: Final = "no face is found in the control's frames"
_ARCFACE: Final = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
"""Where eyes, nose and corners of the mouth lie in 112 x 112 pixels for ArcFace (Deng et al. 2019)."""
_REMEMBERED = 1024
"""Pictures of controls whose faces are kept: 6 KB each. Many fakes share a control, and finding its face costs most."""


@dataclass(frozen=True, eq=False)
class Faces:
    """One face in n frames: `control` and `fake` (n, 468, 3) as in a Track, NaN where it isn't found.

    That of the fake may be missing where the control's is there.
    """

    control: Floats
    fake: Floats

    def place(self, frame: int, side: int) -> Place | None:
        """Where ArcFace's square lies, `side` pixels of it, by the control's face; None where there is none."""
        mesh = self.control[frame]
        return None if np.isnan(mesh[0, 0]) else _place(mesh[:, :2], _ARCFACE * side / 112)


def faces_of(frames: Frames) -> Faces:
    """The faces of an aligned pair's frames, found once however many evaluators ask."""
    if frames not in _FOUND:
        masks = frames.masks if frames.masks is not None else [None] * len(frames.control)
        pairs = [_pair(c, f, m) for c, f, m in zip(frames.control, frames.fake, masks, strict=True)]
        _FOUND[frames] = Faces(np.stack([c for c, _ in pairs]), np.stack([f for _, f in pairs]))
    return _FOUND[frames]


_FOUND: WeakKeyDictionary[Frames, Faces] = WeakKeyDictionary()


def cut(picture: Picture, at: Place, side: int) -> Picture:
    """The square (side, side, 3) at a place. What lies outside the picture is its mirror image."""
    fine = max(1, int(1 / max(float(np.hypot(*at[:, 0])), 1e-6)))  # as fine as the picture, then pixels are averaged
    larger = at * fine
    larger[:, 2] += (fine - 1) / 2
    shape = (side * fine, side * fine)
    cut_out = cv2.warpAffine(picture, larger, shape, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.resize(cut_out, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _pair(control: Picture, fake: Picture, mask: Mask | None) -> tuple[Floats, Floats]:
    """The meshes (468, 3) of the face in both pictures; NaN where there is none."""
    nothing = np.full((468, 3), np.nan)
    seen = [(face, own) for face, own in _seen_in(control) if own.score >= CONFIDENCE]
    if not seen:
        return nothing, nothing
    face, own = max(seen, key=lambda one: _covered(mask, one[0]))  # the largest comes first, and wins a draw
    other = own if np.array_equal(control, fake) else _finder().follow(fake, face)
    return own.mesh.astype(np.float64), other.mesh.astype(np.float64) if other.score >= CONFIDENCE else nothing


def _seen_in(picture: Picture) -> list[tuple[Face, Face]]:
    """The faces found, the largest first, each with what the mesh net says of the square that this one names."""
    key = hashlib.blake2b(picture.tobytes(), digest_size=16).digest() + bytes(str(picture.shape), "ascii")
    if key in _SEEN:
        _SEEN.move_to_end(key)
    else:
        _SEEN[key] = [(face, _finder().follow(picture, face)) for face in _finder().find(picture)]
        if len(_SEEN) > _REMEMBERED:
            _SEEN.popitem(last=False)
    return _SEEN[key]


_SEEN: OrderedDict[bytes, list[tuple[Face, Face]]] = OrderedDict()


@cache
def _finder() -> FaceFinder:
    return FaceFinder()


def _covered(mask: Mask | None, face: Face) -> float:
    if mask is None:
        return 0.0
    x0, y0, x1, y1 = np.clip(face.box, 0, None).astype(int)
    return float(mask[y0:y1, x0:x1].sum(dtype=np.float64))


def _place(mesh: Floats, goal: Floats) -> Place:
    """The turn, scale and shift that takes a mesh's five points nearest to `goal` (5, 2), by least squares.

    With points as complex numbers around their means it is one factor (Umeyama 1991, without a reflection).
    """
    points = [
        mesh[RIGHT_EYE].mean(0),
        mesh[LEFT_EYE].mean(0),
        mesh[NOSE_TIP],
        mesh[RIGHT_MOUTH_CORNER],
        mesh[LEFT_MOUTH_CORNER],
    ]
    here, there = np.stack(points) @ (1, 1j), goal @ (1, 1j)
    factor = np.vdot(here - here.mean(), there - there.mean()) / max(np.square(np.abs(here - here.mean())).sum(), 1e-12)
    shift = there.mean() - factor * here.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
