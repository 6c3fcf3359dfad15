"""What of a face was measurably changed between a control and its fake: its shape, by two meshes, and its colours and edges,
by the regions that the meshes name.

Every figure is a difference, fake less control, with a sign. A clip's is the mean over its frames. A set's, `…_abs`, is the
mean over its clips of the figure's size, as an edit that goes either way has a mean of nothing.

Shapes are compared after the fake's mesh was turned, scaled and moved so that the points that no expression moves lie on those
of the control (Umeyama 1991): they hold for another pose, too. Colours are CIELAB's under D65.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluators.faces import FINGERPRINT, NO_FACE, cut, faces_of
from evaluators.figure import Figure, Frames, OfFrames, Rows
from evaluators.pictures import NOT_ALIGNED, mean
from forgeline.clip import Picture
from forgeline.mesh import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, NOSE_TIP, RIGHT_BROW, RIGHT_EYE

Floats = NDArray[np.float64]
Region = NDArray[np.bool_]
"""(SIDE, SIDE)."""

SIDE = 112
FINE = 2.0
"""Deviation in pixels of the cut-out of the Gaussian below which detail is fine."""

_FACE = "of the control's distance from nose to chin"
MEASURES: Final = {
    "change_smile": f"how far the mouth's corners rise over the upper lip's middle, {_FACE}",
    "change_mouth_open": f"gap between the lips, {_FACE}",
    "change_brow": f"height of the brows over the eyes' corners, {_FACE}",
    "change_jaw": f"width of the jaw at and below its angles, {_FACE}",
    "change_eyes_open": f"gap between the lids, {_FACE}",
    "change_skin_lightness": "median L* of cheeks and forehead",
    "change_skin_warmth": "median b* of cheeks and forehead",
    "change_lip_redness": "median a* of the lips less that of cheeks and forehead",
    "change_eye_edges": "mean gradient of L* around the eyes, without eyes and brows, a pixel of 112 (glasses have edges)",
    "change_fine_detail": "root mean square of L* less its Gaussian mean (2 pixels of 112) on cheeks and forehead (wrinkles)",
}
"""What each figure is, and in which unit."""

# Forehead, temples, bridge and tip of the nose, corners of the eyes: what no expression moves much.
_STIFF = np.array([10, 151, 9, 8, 168, 6, 197, 195, 5, NOSE_TIP, 33, 133, 362, 263, 127, 356, 54, 284])
_FOREHEAD, _CHIN, _RIGHT, _LEFT = 10, 152, 33, 263
_EYE_CORNERS = np.array([33, 133, 362, 263])
_JAW = np.array([[172, 397], [136, 365], [58, 288]])
_UPPER_LIDS, _LOWER_LIDS = np.array([160, 159, 158, 387, 386, 385]), np.array([144, 145, 153, 373, 374, 380])
_CHEEKS = (np.array([117, 118, 101, 36, 205, 187, 123]), np.array([346, 347, 330, 266, 425, 411, 352]))
_BROW_TO_HAIR = np.array([108, 69, 67, 109, 10, 338, 297, 299, 337, 151])
_AROUND_EYES = np.concatenate([RIGHT_BROW, LEFT_BROW, np.array([127, 117, 118, 101, 330, 347, 346, 356])])

_LEVELS = np.arange(256) / 255
_LINEAR = np.where(_LEVELS > 0.04045, ((_LEVELS + 0.055) / 1.055) ** 2.4, _LEVELS / 12.92)
_TO_XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
_TO_XYZ = _TO_XYZ / np.array([[0.95047], [1.0], [1.08883]])
"""To shares of what white has."""


class AttributeChange(OfFrames):
    """Ten differences: five of shape, five of colours and edges. Frames without a face don't count."""

    def rows(self, frames: Frames) -> Rows:
        if not frames.aligned:
            return {}
        faces = faces_of(frames)
        changes = np.full((len(frames.fake), len(MEASURES)), np.nan)
        for at, (control, fake) in enumerate(zip(frames.control, frames.fake, strict=True)):
            place = faces.place(at, SIDE)
            if place is not None and not np.isnan(faces.fake[at, 0, 0]):
                shapes = shape_changes(faces.control[at], faces.fake[at])
                looks = [
                    look(cut(picture, place, SIDE), mesh[:, :2] @ place[:, :2].T + place[:, 2])
                    for picture, mesh in ((control, faces.control[at]), (fake, faces.fake[at]))
                ]
                changes[at] = np.concatenate([shapes, looks[1] - looks[0]])
        return {name: np.ascontiguousarray(changes[:, column]) for column, name in enumerate(MEASURES)}

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        reason = f"{NO_FACE}, or none in the fake's" if rows else NOT_ALIGNED
        found = {}
        for name, what in MEASURES.items():
            values = rows[name] if rows else np.empty(0)
            found[name] = mean(values[~np.isnan(values)], FINGERPRINT | {"unit": what}, reason)
        return found

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        clips = [self.of_sample(pair) for pair in rows]
        found = {}
        for name, what in MEASURES.items():
            sizes = np.array([abs(clip[name].value or 0.0) for clip in clips if clip[name].value is not None])
            reason = next((str(clip[name].reason) for clip in clips if clip[name].reason), "there are no clips")
            fingerprint = FINGERPRINT | {"unit": what, "over": "the clips' means without their signs"}
            found[f"{name}_abs"] = mean(sizes, fingerprint, reason)
        return found


def shape_changes(control: Floats, fake: Floats) -> Floats:
    """The first five of MEASURES, of two meshes (468, 3) in pixels."""
    unit = nose_to_chin(control)
    return _shape(upright(fake, like=control) / unit) - _shape(upright(control) / unit)


def upright(mesh: Floats, like: Floats | None = None) -> Floats:
    """A mesh's points (468, 2) as seen from the front, the eyes' outer corners level, y downwards.

    One that is to lie `like` another is turned, scaled and moved so that its stiff points are nearest to that one's, before.
    """
    goal = mesh if like is None else like
    here, there = mesh[_STIFF] - mesh[_STIFF].mean(0), goal[_STIFF] - goal[_STIFF].mean(0)
    u, sizes, vt = np.linalg.svd(there.T @ here)
    straight = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    scale = (sizes * straight).sum() / max(float(np.square(here).sum()), 1e-12)
    return np.asarray(scale * (mesh - mesh[_STIFF].mean(0)) @ (u @ np.diag(straight) @ vt).T @ _axes(goal))


def nose_to_chin(mesh: Floats) -> float:
    """In the units of a mesh (468, 3), downwards along the face."""
    return max(float((mesh[_CHIN] - mesh[NOSE_TIP]) @ _axes(mesh)[:, 1]), 1e-12)


def _axes(mesh: Floats) -> Floats:
    """(3, 2): which way a face's right to left, and top to bottom, is."""
    right = mesh[_LEFT] - mesh[_RIGHT]
    right = right / max(float(np.linalg.norm(right)), 1e-12)
    down = mesh[_CHIN] - mesh[_FOREHEAD]
    down = down - (down @ right) * right
    return np.stack([right, down / max(float(np.linalg.norm(down)), 1e-12)], 1)


def _shape(at: Floats) -> Floats:
    """Of a face whose points (468, 2) lie upright, y downwards."""
    x, y = at.T
    return np.array(
        [
            y[13] - y[[61, 291]].mean(),
            y[14] - y[13],
            y[_EYE_CORNERS].mean() - y[np.concatenate([RIGHT_BROW, LEFT_BROW])].mean(),
            (x[_JAW[:, 1]] - x[_JAW[:, 0]]).mean(),
            (y[_LOWER_LIDS] - y[_UPPER_LIDS]).mean(),
        ]
    )


def look(face: Picture, mesh: Floats) -> Floats:
    """What the last five of MEASURES are of one picture: a cut-out (SIDE, SIDE, 3), with its mesh (468, 2) in pixels.

    NaN where a part of the face has no pixel in it, as in one turned far away.
    """
    parts = regions(mesh)
    if not all(part.any() for part in (parts.skin, parts.lips, parts.around_eyes)):
        return np.full(5, np.nan)
    lab = cielab(face)
    light = np.ascontiguousarray(lab[..., 0])
    skin = np.median(lab[parts.skin], axis=0)
    lips = np.median(lab[parts.lips], axis=0)
    across, along = (cv2.Sobel(light, cv2.CV_64F, *by, scale=1 / 8) for by in ((1, 0), (0, 1)))
    fine = light - cv2.GaussianBlur(light, (0, 0), FINE)
    return np.array(
        [
            skin[0],
            skin[2],
            lips[1] - skin[1],
            np.hypot(across, along)[parts.around_eyes].mean(),
            np.sqrt(np.square(fine[parts.skin]).mean()),
        ]
    )


def cielab(picture: Picture) -> Floats:
    """CIELAB (h, w, 3) of sRGB levels, under D65 (CIE 15:2004; OpenCV's own looks colours up in a coarse table)."""
    xyz = _LINEAR[picture] @ _TO_XYZ.T
    bent = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(bent, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


@dataclass(frozen=True, eq=False)
class Regions:
    """Parts of a cut-out."""

    skin: Region
    lips: Region
    around_eyes: Region


def regions(mesh: Floats) -> Regions:
    """Cheeks and forehead, lips, and what lies around the eyes, by a mesh (468, 2) in pixels of a cut-out."""
    skin = _filled(*(mesh[ring] for ring in (*_CHEEKS, _BROW_TO_HAIR)))
    lips = _filled(mesh[LIPS_OUTER]) & ~_filled(mesh[LIPS_INNER])
    eyes = _filled(*(_hull(mesh[ring]) for ring in (RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW)))
    wider = cv2.dilate(eyes.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return Regions(skin, lips, _filled(_hull(mesh[_AROUND_EYES])) & ~wider)


def _hull(points: Floats) -> Floats:
    return np.asarray(cv2.convexHull(points.astype(np.float32))[:, 0], np.float64)


def _filled(*outlines: Floats) -> Region:
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    for outline in outlines:
        cv2.fillPoly(canvas, [np.round(outline * 16).astype(np.int32)], 1, shift=4)
    return canvas > 0
