"""A face's chart: the face as seen from the front, on which wrinkles and make-up are painted once a clip.

Laid on a picture by the face's mesh, what was painted stays at its place on the skin, whatever the pose. Paint is a factor
of the skin's own light, as folds and pigment are: it keeps the shade, and the darker the skin, the less of it shows.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Mask, Picture
from forgeline.mesh import (
    LEFT_BROW,
    LEFT_EYE,
    LEFT_EYE_CORNER,
    LIPS_OUTER,
    OVAL,
    RIGHT_BROW,
    RIGHT_EYE,
    RIGHT_EYE_CORNER,
    TRIANGLES,
)
from generators.warp import face_box, spread

Floats = NDArray[np.float32]
LipColour = Literal["red", "rose", "coral", "plum", "brown"]
EyeShadow = Literal["brown", "grey", "blue", "green", "plum"]

LIP_COLOURS: Mapping[LipColour, tuple[float, float, float]] = {
    "red": (1.0, 0.42, 0.48),
    "rose": (1.06, 0.68, 0.8),
    "coral": (1.1, 0.66, 0.56),
    "plum": (0.72, 0.42, 0.62),
    "brown": (0.78, 0.55, 0.5),
}
EYE_SHADOWS: Mapping[EyeShadow, tuple[float, float, float]] = {
    "brown": (0.72, 0.58, 0.5),
    "grey": (0.62, 0.62, 0.66),
    "blue": (0.6, 0.72, 0.95),
    "green": (0.64, 0.8, 0.66),
    "plum": (0.74, 0.52, 0.7),
}
"""What share of red, green and blue each pigment gives back, laid on thick."""
BLUSH = (1.02, 0.8, 0.82)
LINER = (0.3, 0.28, 0.28)
SIDE = 320
"""Cells of a chart's side."""


def frontal(mesh: Floats) -> Floats:
    """A mesh (468, 3) turned upright and to the front, around its middle, in distances of the eyes' outer corners."""
    across, down = mesh[LEFT_EYE_CORNER] - mesh[RIGHT_EYE_CORNER], mesh[152] - mesh[10]
    away = np.cross(across, down)
    turn = np.stack([across, np.cross(away, across), away])
    turn = turn / np.maximum(np.linalg.norm(turn, axis=1, keepdims=True), 1e-6)
    return np.asarray((mesh - mesh[OVAL].mean(0)) @ turn.T / max(float(np.linalg.norm(across)), 1e-6), np.float32)


class Chart:
    """The chart of one face, SIDE x SIDE cells, on which planes of paint are drawn."""

    def __init__(self, face: Floats) -> None:
        """Takes the face from the front (468, 3), in distances of the eyes' outer corners."""
        low, high = face[:, :2].min(0), face[:, :2].max(0)
        self.unit = float(0.94 * SIDE / max((high - low).max(), 1e-6))
        """Cells between the eyes' outer corners."""
        self.points = np.asarray((face[:, :2] - (low + high) / 2) * self.unit + SIDE / 2, np.float32)
        """(468, 2) cells, x and y."""
        filled = self.filled(OVAL)
        depth = cv2.distanceTransform((filled > 0.5).astype(np.uint8), cv2.DIST_L2, 5) / (0.16 * self.unit)
        self.inside = _eased(np.asarray(depth, np.float32))
        """1 inside the face, going to 0 at its outline."""

    def filled(self, ring: NDArray[np.int32] | Sequence[int], blur: float = 0.0) -> Floats:
        """1 inside a ring of points, 0 outside, softened over `blur` of the unit."""
        plane = np.zeros((SIDE, SIDE), np.float32)
        cv2.fillPoly(plane, [np.round(self.points[np.asarray(ring)] * 16).astype(np.int32)], 1.0, shift=4)
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), max(blur * self.unit, 0.6)), np.float32)

    def lines(self, paths: Sequence[tuple[NDArray[Any], Floats]], width: float) -> Floats:
        """Soft lines, `width` of the unit wide: each along a path (n, 2), as strong as numbers (m,) say from start to end."""
        plane = np.zeros((SIDE, SIDE), np.float32)
        for path, strength in paths:
            for _ in range(3):  # corners cut (Chaikin 1974)
                cut = np.stack([0.75 * path[:-1] + 0.25 * path[1:], 0.25 * path[:-1] + 0.75 * path[1:]], 1).reshape(-1, 2)
                path = np.concatenate([path[:1], cut, path[-1:]])
            way = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
            at = np.arange(0, max(way[-1], 0.5), 0.5)
            x, y = np.interp(at, way, path[:, 0]), np.interp(at, way, path[:, 1])
            weight = 0.5 * np.interp(at / max(way[-1], 1e-6), np.linspace(0, 1, len(strength)), strength)
            column, row = np.floor(x).astype(int), np.floor(y).astype(int)
            for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
                share = weight * np.abs(1 - i - (y - row)) * np.abs(1 - j - (x - column))
                inside = (row + i >= 0) & (row + i < SIDE) & (column + j >= 0) & (column + j < SIDE)
                np.add.at(plane, ((row + i)[inside], (column + j)[inside]), share[inside])
        deviation = width * self.unit
        return np.asarray(cv2.GaussianBlur(plane, (0, 0), deviation) * (deviation * np.sqrt(2 * np.pi)), np.float32)

    def spot(self, point: int, width: float, shift: tuple[float, float] = (0.0, 0.0)) -> Floats:
        """A round spot that fades over `width` of the unit, `shift` units right of and below a point."""
        x, y = self.points[point] + self.unit * np.array(shift)
        columns, rows = np.arange(SIDE, dtype=np.float32), np.arange(SIDE, dtype=np.float32)[:, None]
        away = (np.square(columns - x) + np.square(rows - y)) / np.float32(2 * (width * self.unit) ** 2)
        return np.asarray(np.exp(-away), np.float32)

    def skin(self) -> Floats:
        """Where skin is even: the face without lids, brows, lips and nostrils, softly."""
        parts = np.zeros((SIDE, SIDE), np.uint8)
        for ring in (RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW, LIPS_OUTER, [98, 97, 2, 326, 327]):
            hull = cv2.convexHull(np.round(self.points[np.asarray(ring)] * 16).astype(np.int32))
            cv2.fillConvexPoly(parts, hull, 255, shift=4)
        grown = 1 + 2 * round(0.05 * self.unit)
        around = cv2.dilate(parts, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grown, grown)))
        return np.asarray(self.inside * (1 - cv2.GaussianBlur(around, (0, 0), 0.03 * self.unit) / np.float32(255)), np.float32)


def lay(picture: Picture, mask: Mask, mesh: Floats, chart: Chart, paint: Floats, texture: float) -> None:
    """Multiply `picture` in place by `paint`, (SIDE, SIDE, 4): factors of three colours, and how even the skin is; set `mask`.

    Where skin is even its folds and blotches get stronger by `texture`, or go where that is negative, edges kept.
    """
    box = x0, y0, x1, y1 = face_box(mesh, picture.shape)
    (u, v), covered = spread(mesh, chart.points, TRIANGLES, box)
    part = picture[y0:y1, x0:x1]
    laid = cv2.remap(paint, u, v, cv2.INTER_LINEAR)
    factors = np.asarray(laid[..., :3])
    factors[covered == 0] = 1
    if texture:
        change = _texture(part, (x1 - x0) / 200, texture) * laid[..., 3] * covered
        factors = cv2.multiply(factors, cv2.cvtColor(1 + change, cv2.COLOR_GRAY2RGB))
    picture[y0:y1, x0:x1] = cv2.multiply(part, factors, dtype=cv2.CV_8U)
    mask[y0:y1, x0:x1] = np.maximum(mask[y0:y1, x0:x1], covered * np.uint8(255))


def _texture(part: Picture, scale: float, amount: float) -> Floats:
    """The share by which each pixel's light has to change, for folds and blotches of `scale` pixels to get stronger."""
    light = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY).astype(np.float32)
    if amount > 0:  # between two blurs, so that grain stays as it is
        narrow = cv2.GaussianBlur(light, (0, 0), max(1.6 * scale, 0.8))
        change = amount * np.clip(narrow - cv2.blur(narrow, (1 + 2 * round(6 * scale),) * 2), -14, 6)
    else:  # the guided filter (He et al. 2013) with itself as its guide, on every other pixel (He and Sun 2015)
        few = np.asarray(cv2.resize(light, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
        side = (1 + 2 * max(1, round(4 * scale)),) * 2
        mean = cv2.blur(few, side)
        varies = np.maximum(cv2.blur(few * few, side) - mean * mean, 0)
        keep = varies / (varies + 14.0**2)
        slope, rise = (
            cv2.resize(cv2.blur(plane, side), light.shape[::-1], interpolation=cv2.INTER_LINEAR)
            for plane in (keep, (1 - keep) * mean)
        )
        change = -amount * (slope * light + rise - light)
    return np.asarray(change / np.maximum(light, 24), np.float32)


# fmt: off
_FOREHEAD = (
    (63, 105, 66, 107, 9, 336, 296, 334, 293), (68, 104, 69, 108, 151, 337, 299, 333, 298),
    (54, 103, 67, 109, 10, 338, 297, 332, 284),
)
"""Rows of points over the brows, in the forehead's middle and at its top."""
_FOLDS = ((129, 203, 206, 216, 212), (358, 423, 426, 436, 432))
"""From the wings of the nose around the mouth."""
_MARIONETTE = ((57, 43, 202, 204), (287, 273, 422, 424))
"""From the mouth's corners to the chin."""
_BAGS = ((228, 229, 230, 231, 232, 233), (448, 449, 450, 451, 452, 453))
_LIDS = ((246, 161, 160, 159, 158, 157, 173), (466, 388, 387, 386, 385, 384, 398))
_SHADOWED = (
    (33, 246, 161, 160, 159, 158, 157, 173, 133, 189, 221, 222, 223, 224, 225, 113),
    (263, 466, 388, 387, 386, 385, 384, 398, 362, 413, 441, 442, 443, 444, 445, 342),
)
# fmt: on


def unpainted(chart: Chart) -> Floats:
    """Paint (SIDE, SIDE, 4) that changes nothing."""
    return np.asarray(np.dstack([np.ones((SIDE, SIDE, 3), np.float32), chart.skin()]), np.float32)


def aged(paint: Floats, chart: Chart, amount: float, rng: np.random.Generator) -> Floats:
    """The paint with the folds, hollows and blotches of an older face, by `amount` (0 … 1), or fewer of them (-1 … 0)."""
    points, unit = chart.points, chart.unit

    def wavering(strength: float) -> Floats:
        """Strong in the middle, gone at the ends, uneven between."""
        return np.asarray(strength * np.sin(np.linspace(0, np.pi, 12)) ** 0.7 * rng.uniform(0.65, 1.1, 12), np.float32)

    if amount < 0:
        light = sum(0.06 * chart.spot(row[2], 0.09) for row in _BAGS) + 0.05 * (chart.spot(206, 0.08) + chart.spot(426, 0.08))
        light = np.asarray(light * chart.inside + 0.03 * paint[..., 3])
        return _times(paint, 1 - amount * light[..., None] * np.array([1.1, 1, 1], np.float32))
    forehead, folds, bags, crows, frown = [], [], [], [], []
    low, middle, top = (points[list(row)] for row in _FOREHEAD)
    for share, strength in ((0.45, 0.7), (0.95, 1.0), (1.35, 0.55)):
        row = low + (middle - low) * share if share <= 1 else middle + (top - middle) * (share - 1)
        row = row + rng.normal(0, 0.012 * unit, (9, 2))
        forehead.append((row[rng.integers(1, 3) : 9 - rng.integers(1, 3)], wavering(strength)))
    for fold, below in zip(_FOLDS, _MARIONETTE, strict=True):
        folds += [(points[list(fold)], wavering(1.25)), (points[list(below)], wavering(0.75))]
    for bag in _BAGS:
        bags.append((points[list(bag)] + np.array([0, 0.015 * unit]), wavering(0.7)))
    for corner, out in ((33, -1), (263, 1)):
        for turn in np.radians([-30, -6, 16, 36]) + rng.normal(0, 0.06, 4):
            way = np.array([out * np.cos(turn), np.sin(turn)]) * unit
            bow = np.array([0, 0.012 * unit * np.sign(turn)])
            start = points[corner] + 0.055 * way
            path = np.stack([start, start + 0.05 * way + bow, start + rng.uniform(0.11, 0.16) * way])
            crows.append((path, wavering(0.7)))
    for brow, bridge in ((107, 55), (336, 285)):
        ends = 0.55 * points[[brow, bridge]] + 0.45 * points[[9, 8]]
        frown.append((ends + rng.normal(0, 0.01 * unit, (2, 2)), wavering(0.6)))
    grouped = ((forehead, 0.017), (folds, 0.023), (bags, 0.02), (crows, 0.011), (frown, 0.014))
    narrow = np.sum([chart.lines(paths, width) for paths, width in grouped], axis=0)
    wide = np.sum([chart.lines(paths, 2.2 * width) for paths, width in grouped], axis=0)
    # Light comes from above: over a fold's ground lies shade, under it light.
    slope = cv2.Sobel(wide, cv2.CV_32F, 0, 1, ksize=3) / 8 * (0.05 * unit)
    shade = 0.17 * narrow + 0.1 * wide + 0.16 * slope
    hollows = sum(
        0.09 * chart.spot(cheek, 0.13) + 0.08 * chart.spot(bag[3], 0.08) for cheek, bag in zip((207, 427), _BAGS, strict=True)
    )
    blotches = sum(
        weight * _spread(cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)).astype(np.float32), (0, 0), width * unit))
        for width, weight in ((0.012, 0.012), (0.035, 0.018))
    )
    soft = chart.inside
    dark = np.asarray(amount * soft * (shade + hollows), np.float32)
    mottled = np.asarray(amount * paint[..., 3] * blotches, np.float32)
    tint = np.array([0.9, 1.04, 1.1], np.float32)  # what is folded shines red
    return _times(paint, np.exp(-(dark[..., None] * tint) + mottled[..., None] * np.array([0.6, 1, 1], np.float32)))


def made_up(paint: Floats, chart: Chart, amount: float, lips: LipColour, shadow: EyeShadow) -> Floats:
    """The paint with coloured lips, blush, eye shadow and liner, by `amount` (0 … 1)."""
    points, unit = chart.points, chart.unit
    paint = _coated(paint, 0.75 * amount * chart.filled(LIPS_OUTER, 0.008), LIP_COLOURS[lips])
    cheeks = sum(chart.spot(p, 0.12) + 0.7 * chart.spot(q, 0.1) for p, q in ((50, 123), (280, 352)))
    paint = _coated(paint, 0.55 * amount * np.minimum(np.asarray(cheeks), 1) * chart.inside * paint[..., 3], BLUSH)
    for lid, rim, corner, out in zip(_SHADOWED, _LIDS, (33, 263), (-1, 1), strict=True):
        paint = _coated(paint, 0.7 * amount * chart.filled(lid, 0.022) * chart.inside, EYE_SHADOWS[shadow])
        wing = points[corner] + np.array([0.05 * out, -0.025]) * unit
        path = np.concatenate([points[list(rim)][::-1], points[[corner]], wing[None]]) - np.array([0, 0.006 * unit])
        course = np.concatenate([np.linspace(0.4, 0.9, 6), [0.9, 0]]).astype(np.float32)
        paint = _coated(paint, amount * np.minimum(chart.lines([(path, course)], 0.011), 1), LINER)
    return paint


def _coated(paint: Floats, share: NDArray[Any], pigment: tuple[float, float, float]) -> Floats:
    return _times(paint, 1 + share[..., None] * (np.array(pigment, np.float32) - 1))


def _times(paint: Floats, factors: NDArray[Any]) -> Floats:
    return np.asarray(np.dstack([paint[..., :3] * factors, paint[..., 3]]), np.float32)


def _spread(plane: NDArray[Any]) -> Floats:
    """The plane with mean 0 and deviation 1."""
    return np.asarray((plane - plane.mean()) / max(float(plane.std()), 1e-6), np.float32)


def _eased(depth: Floats) -> Floats:
    depth = np.clip(depth, 0, 1)
    return np.asarray(depth * depth * (3 - 2 * depth), np.float32)
