"""Glasses put on a face: a model in three dimensions that goes with the head, drawn with its arms, lenses and shadow."""

from collections.abc import Mapping
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Mask, Picture
from forgeline.mesh import LEFT_EYE, OVAL, RIGHT_EYE
from generators.expression import STIFF, similarity
from generators.warp import face_box

Floats = NDArray[np.float32]
Shape = Literal["round", "square", "aviator"]
Frame = Literal["black", "brown", "gold", "silver"]

_OUTLINES: Mapping[Shape, tuple[float, float, float, float]] = {
    "round": (0.385, 0.355, 2.0, 0.0),
    "square": (0.41, 0.29, 4.5, 0.08),
    "aviator": (0.42, 0.36, 2.6, 0.3),
}
"""Half a lens's width and height, in distances between the pupils; the power of its rounding (2: a circle; more: corners);
by how much it is narrower below."""
_METAL = ("gold", "silver")
FRAMES: Mapping[Frame, tuple[int, int, int]] = {
    "black": (26, 25, 27),
    "brown": (78, 48, 30),
    "gold": (172, 134, 72),
    "silver": (150, 152, 158),
}
"""Colours of frames in plain light, 0 … 255."""
FINER = 3
"""Times as many pixels in which frames are drawn before they are averaged."""
SHADOW, GLARE, LENS = 0.3, 0.13, 0.94
"""How dark the frame's shadow is, how bright the lens's reflection, and what share of the light goes through it."""


class Glasses:
    """A pair of glasses made for one face."""

    def __init__(self, face: Floats, shape: Shape, frame: Frame) -> None:
        """Takes the face from the front (468, 3), in any unit."""
        self._face, self._colour = face, np.array(FRAMES[frame], np.float32)
        eyes = np.stack([face[RIGHT_EYE].mean(0), face[LEFT_EYE].mean(0)])
        apart = float(eyes[1, 0] - eyes[0, 0])
        wide, high, power, taper = _OUTLINES[shape]
        rim = 0.016 if frame in _METAL else 0.032
        # Lenses rest on the bridge of the nose, before brows and lashes, and lean towards the cheeks.
        front = float(min(face[[6, 122, 351], 2].min(), face[[107, 336, 159, 386], 2].min() - 0.1 * apart)) + 0.02 * apart
        turn = np.linspace(0, 2 * np.pi, 72, endpoint=False)
        c, s = np.cos(turn), np.sin(turn)
        unit = np.stack([np.sign(c) * np.abs(c) ** (2 / power), np.sign(s) * np.abs(s) ** (2 / power)], 1)
        unit[:, 0] *= 1 - taper * unit[:, 1] * 0.6
        middle = 0.5 * float(eyes[:, 1].sum()) + 0.045 * apart

        def outline(side: int, by: float) -> Floats:
            """A lens's outline (72, 3), `by` further out."""
            x = eyes[side].mean() * 0 + float(eyes[:, 0].mean()) + (-0.53, 0.53)[side] * apart
            flat = unit * (np.array([wide, high]) + by) * apart
            flat[:, 0] *= (-1, 1)[side]
            depth = front + 0.12 * flat[:, 1] + 0.16 * np.square((flat[:, 0] * (-1, 1)[side] + 0.4 * apart) / apart) * apart
            return np.column_stack([x + flat[:, 0], middle + flat[:, 1], depth]).astype(np.float32)

        self._inner = [outline(side, -rim / 2) for side in (0, 1)]
        self._outer = [outline(side, rim / 2) for side in (0, 1)]
        start = [points[np.argmin(points[:, 0] * (1, -1)[1 - side])] for side, points in enumerate(self._outer)]
        bridge = np.linspace(start[0], start[1], 9)
        bridge[:, 1] -= 0.35 * high * apart + 0.05 * apart * np.sin(np.linspace(0, np.pi, 9))
        bridge[:, 2] -= 0.04 * apart * np.sin(np.linspace(0, np.pi, 9))
        bridge[:, 0] = np.linspace(start[0][0] - 0.06 * apart, start[1][0] + 0.06 * apart, 9)
        self._bridge, self._rim = bridge.astype(np.float32), rim * apart
        self._arms = []
        for side, temple, ear in ((0, 127, 234), (1, 356, 454)):
            points = self._outer[side]
            out = points[np.argmax(points[:, 0] * (-1, 1)[side])].copy()
            out[1] = middle - 0.4 * high * apart
            hinge = out + np.array([(-1, 1)[side] * 0.03, 0, 0.03], np.float32) * apart
            # Ears lie behind the outline; the mesh ends before them.
            end = np.array([face[temple, 0] + (-1, 1)[side] * 0.1 * apart, 0.5 * (face[temple, 1] + hinge[1]), face[ear, 2]])
            end[2] = max(end[2], hinge[2] + 0.9 * apart)
            self._arms.append(np.stack([out, hinge, 0.5 * (hinge + end), end]).astype(np.float32))

    def put_on(self, picture: Picture, mask: Mask, mesh: Floats) -> None:
        """Draw them on the face that has this mesh (468, 3), and set `mask`; both in place."""
        scale, turn = similarity(mesh[None, STIFF], self._face[STIFF])
        middle, origin = mesh[STIFF].mean(0), self._face[STIFF].mean(0)

        def seen(points: Floats) -> Floats:
            return np.asarray((points - origin) @ (scale[0] * turn[0]).T + middle, np.float32)

        inner, outer = [seen(points) for points in self._inner], [seen(points) for points in self._outer]
        arms, bridge = [seen(arm) for arm in self._arms], seen(self._bridge)
        thick = float(scale[0] * self._rim)
        box = x0, y0, x1, y1 = face_box(np.concatenate([*outer, *arms, bridge]), picture.shape, margin=0.06)
        if x1 <= x0 or y1 <= y0:
            return
        size = y1 - y0, x1 - x0
        corner = np.array([x0, y0], np.float32)
        frame = _drawn(size, [(o[:, :2] - corner, i[:, :2] - corner) for o, i in zip(outer, inner, strict=True)])
        strips = [_strip(bridge[:, :2] - corner, np.full(9, 1.1 * thick, np.float32))]
        frame = np.maximum(frame, _drawn(size, [(strip, None) for strip in strips]))
        for side, arm in enumerate(arms):
            frame = np.maximum(frame, _arm(size, arm - np.append(corner, 0), side, thick, outer[1 - side], mesh))
        lens = _drawn(size, [(points[:, :2] - corner, None) for points in inner])
        part = picture[y0:y1, x0:x1]
        self._lay(part, frame, lens, mesh[OVAL, :2] - corner, inner, corner, thick, turn[0])
        mask[box[1] : box[3], box[0] : box[2]] = 255

    def _lay(
        self,
        part: Picture,
        frame: Mask,
        lens: Mask,
        oval: Floats,
        inner: list[Floats],
        corner: Floats,
        thick: float,
        turn: Floats,
    ) -> None:
        """Shadow, lenses and frame over the part of a picture that shows them."""
        skin = cv2.fillPoly(np.zeros_like(frame), [np.round(oval * 16).astype(np.int32)], 255, shift=4)
        light = np.asarray(cv2.mean(part, skin)[:3], np.float32)
        shift = np.array([[1, 0, 0], [0, 1, 1.6 * thick]])
        soft = max(0.8 * thick, 0.7)
        shadow = cv2.warpAffine(cv2.GaussianBlur(frame, (0, 0), soft), shift, frame.shape[::-1])
        shadow = cv2.multiply(shadow, cv2.blur(skin, (5, 5)), scale=SHADOW / 255)
        through = cv2.addWeighted(lens, (1 - LENS), shadow, 1, 0)
        part[:] = cv2.multiply(part, cv2.cvtColor(cv2.bitwise_not(through), cv2.COLOR_GRAY2RGB), scale=1 / 255)
        glare = _glare(lens, inner, corner, turn)
        part[:] = cv2.add(part, cv2.cvtColor(glare, cv2.COLOR_GRAY2RGB))
        # A frame is lit from above: its upper edge shines.
        edge = cv2.subtract(
            frame, cv2.warpAffine(frame, np.array([[1, 0, 0], [0, 1, max(0.3 * thick, 0.5)]]), frame.shape[::-1])
        )
        bright = float(np.clip(light.mean() / 150, 0.35, 1.15))
        colour = np.clip(bright * self._colour, 0, 255).astype(np.uint8)
        share = frame.astype(np.float32) / 255
        shine = cv2.cvtColor(cv2.convertScaleAbs(edge, alpha=0.28 * bright), cv2.COLOR_GRAY2RGB)
        whole = cv2.add(np.broadcast_to(colour, part.shape).copy(), shine)
        part[:] = cv2.blendLinear(part, whole, 1 - share, share)


def _drawn(size: tuple[int, int], rings: list[tuple[Floats, Floats | None]]) -> Mask:
    """0 … 255 inside polygons (n, 2), but not inside their holes; exact to a fraction of a pixel."""
    plane = np.zeros((size[0] * FINER, size[1] * FINER), np.uint8)
    for outer, hole in rings:
        polygons = [np.round(((p + 0.5) * FINER - 0.5) * 16).astype(np.int32) for p in (outer, hole) if p is not None]
        cv2.fillPoly(plane, polygons, 255, shift=4)
    return np.asarray(cv2.resize(plane, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _strip(path: Floats, width: Floats) -> Floats:
    """The outline of a strip along a path (n, 2), as wide as `width` (n,) says."""
    way = np.gradient(path, axis=0)
    side = np.stack([-way[:, 1], way[:, 0]], 1) / np.maximum(np.hypot(*way.T), 1e-6)[:, None]
    off = side * width[:, None] / 2
    return np.asarray(np.concatenate([path + off, (path - off)[::-1]]), np.float32)


def _arm(size: tuple[int, int], arm: Floats, side: int, thick: float, other: Floats, mesh: Floats) -> Mask:
    """One arm, as far as it is not behind the face; it goes under the hair before the ear."""
    right = other[:, :2].mean(0) - arm[0, :2]  # from this arm towards the other lens
    inward = right / max(float(np.hypot(*right)), 1e-6)
    outside = float((arm[1, :2] - arm[3, :2]) @ inward) / max(float(np.ptp(mesh[:, 0])), 1e-6)
    share = float(np.clip((outside + 0.01) / 0.03, 0, 1))
    if share <= 0:
        return np.zeros(size, np.uint8)
    at = np.linspace(0, 3, 13)
    path = np.stack([np.interp(at, range(4), arm[:, k]) for k in (0, 1)], 1).astype(np.float32)
    plane = _drawn(size, [(_strip(path, np.full(13, 1.25 * thick, np.float32)), None)])
    # Along the arm, from its hinge to the ear, it fades.
    way = arm[3, :2] - arm[1, :2]
    x, y, wide, high = cv2.boundingRect(plane)
    columns, rows = np.arange(x, x + wide) - arm[1, 0], np.arange(y, y + high)[:, None] - arm[1, 1]
    along = (columns * way[0] + rows * way[1]) / max(float(way @ way), 1e-6)
    part = slice(y, y + high), slice(x, x + wide)
    plane[part] = (plane[part] * (share * np.clip((1.05 - along) / 0.35, 0, 1))).astype(np.uint8)
    return plane


def _glare(lens: Mask, inner: list[Floats], corner: Floats, turn: Floats) -> Mask:
    """The window that lenses mirror, a slanting band on each: it wanders as the head turns."""
    glare = np.zeros_like(lens)
    wander = 1.4 * float(turn[0, 2]) + 0.8 * float(turn[1, 2])
    for points in inner:
        flat = points[:, :2] - corner
        middle, reach = flat.mean(0), float(np.ptp(flat[:, 1])) / 2
        for start, end, strength in ((-0.75, -0.25, 1.0), (-0.12, 0.02, 0.6)):
            band = [(start, -1.3), (end, -1.3), (end - 0.7, 1.3), (start - 0.7, 1.3)]
            corners = middle + (np.array(band) + np.array([0.35 + wander, 0])) * reach
            cv2.fillPoly(glare, [np.round(corners * 16).astype(np.int32)], 255 * GLARE * strength, shift=4)
    soft = cv2.GaussianBlur(glare, (0, 0), max(0.05 * reach, 0.6))
    return np.asarray(cv2.multiply(soft, lens, scale=1 / 255), np.uint8)
