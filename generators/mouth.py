"""Mouths that are made to move: the lips as one picture shows them shut, and what is to be seen between them.

That is taken from pictures in which the same mouth is open about as far, so that the teeth are the person's own; where there
is none, teeth, tongue and the dark behind them are painted.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Mask, Picture
from forgeline.mesh import LIPS_INNER, LIPS_OUTER
from generators.blend import mix
from generators.pose import axes
from generators.warp import CLOSED, MOUTH, Box, face_box, spread

Floats = NDArray[np.float32]

EDGE = 0.03
"""How far the upper teeth reach below an upper lip at rest, in distances from nose to chin: some two millimetres."""
BITE = 0.015
"""How far they overlap the lower ones."""
ARCH, TOOTH = 0.36, 0.12
"""Half the width of the upper row of teeth, and the width of a front tooth."""
FINE = 5.0
"""Pixels that a tooth must be wide for the gaps beside it to be painted."""
JAW = 0.85
"""How far the teeth part, of how far the lips do."""
GRAIN = 12.0
"""Levels that the grain taken from the chin may have at most: more is an edge."""
NEAR, AROUND = 0.06, 0.2
"""How far around the lips their own picture is that of shut ones, and where it is the moment's own again."""
SOFT = 0.012
"""Width of the soft edge of the lips, in distances from nose to chin."""
STRETCH = (1.4, 2.0)
"""How much higher a mouth's inside that was seen is shown at most, and how much higher not at all."""
BRIGHT = 0.5
"""Brightness of a tooth in that of the skin, at least."""


@dataclass(frozen=True)
class Look:
    """The inside of the target's own mouth as one picture shows it.

    `picture` (h, w, 3) uint8; `points` (468, 2): the mesh in it; `down` (2,), `face`: where its chin is, and pixels from nose
    to chin; `gap`: how far the lips are apart, in these distances.
    """

    picture: Picture
    points: Floats
    down: Floats
    face: float
    gap: float

    @classmethod
    def at(cls, picture: Picture, mesh: Floats) -> "Look":
        """The mouth of the face with this mesh."""
        _, down, face = upright(mesh)
        x0, y0, x1, y1 = face_box(mesh[LIPS_OUTER], picture.shape, 0.4)
        points = mesh[:, :2] - np.array([x0, y0], np.float32)
        return cls(picture[y0:y1, x0:x1].copy(), points, down, face, gap(mesh))

    def enamel(self, skin: Floats) -> Floats | None:
        """The colour (3,) of the brightest that is seen, if it is as bright as teeth."""
        if min(self.picture.shape[:2]) < 2:
            return None
        between = np.zeros(self.picture.shape[:2], np.uint8)
        cv2.fillPoly(between, [np.round(self.points[LIPS_INNER]).astype(np.int32)], 1)
        seen = self.picture[cv2.erode(between, np.ones((3, 3), np.uint8)) > 0].astype(np.float32)
        if len(seen) < 10:
            return None
        bright = seen.mean(1)
        colour = np.median(seen[bright >= np.percentile(bright, 80)], axis=0)
        return colour if float(colour.mean()) > BRIGHT * float(skin.mean()) else None


@dataclass(frozen=True)
class Inside:
    """What there is to be seen in a mouth. Distances are in those from nose to chin.

    `skin`, `lips` (3,): their colours, which the light is in. `place` (2,): where in the picture the upper lip's edge is at
    rest, which the upper teeth hang from, or None where that is not known. `jaw`: how far the lower teeth are from the upper
    ones. `tongue` 0 … 1: how far its tip is raised. `enamel` (3,): the teeth's colour, where it was seen. `looks`: the
    person's own mouth, wherever it was seen open, in the order of their gaps.
    """

    skin: Floats
    lips: Floats
    place: Floats | None = None
    jaw: float | None = None
    tongue: float = 0.0
    enamel: Floats | None = None
    looks: tuple[Look, ...] = ()


def upright(mesh: Floats) -> tuple[Floats, Floats, float]:
    """As `pose.axes`, but down is from forehead to chin: the tip of the nose lies to the side in a head that is turned."""
    down = (mesh[152] - mesh[10])[:2]
    down = down / max(float(np.hypot(*down)), 1e-6)
    return np.array([down[1], -down[0]], np.float32), down, axes(mesh)[2]


def gap(mesh: Floats) -> float:
    """How far the lips are apart in their middle, in distances from nose to chin; below 0 where they cross."""
    _, down, face = upright(mesh)
    return float((mesh[14] - mesh[13])[:2] @ down) / face


def known(mesh: Floats, moved: Floats) -> float:
    """How much of the mouth's inside the picture itself can show, 0 … 1: bent, but not blown up by more than half."""
    before, after = (float(np.hypot(*(m[14] - m[13])[:2])) for m in (mesh, moved))
    return float(np.clip(1.5 * before / max(after, 1e-6) - 0.25, 0, 1))


def paint(picture: Picture, mask: Mask, moved: Floats, skin: Floats, share: float, inside: Inside | None = None) -> None:
    """Lay what is inside a mouth between the lips, by `share`: what was seen of it, or else teeth, tongue and the dark behind.

    The light is that on the `skin` (3,). Of a mouth of which nothing more is known the upper teeth hang below the lip.
    """
    inside = inside or Inside(skin, skin * np.array([0.85, 0.6, 0.6], np.float32))
    ring = moved[LIPS_INNER]
    _, down, face = upright(moved)
    box = x0, y0, x1, y1 = face_box(ring, picture.shape, 0.1)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    alpha = _between(ring, box, face) * np.float32(share)
    if not alpha.any():
        return
    opening = gap(moved)
    nearest, known = _nearest(inside.looks, opening)
    colours = np.zeros((*alpha.shape, 3), np.float32)
    if known < 1:
        colours += np.float32(1 - known) * (_painted(moved, inside, box, opening) + _grain(picture, box, face))
    for look, weight in nearest:
        around = 1.5 + SOFT * face
        source = _widened(look.points, look.down, around * look.face / face)[:, :2]
        (map_x, map_y), covered = spread(_widened(moved, down, around), source, MOUTH, box)
        alpha *= covered
        shade = _shade(moved, box)
        seen = cv2.remap(look.picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        colours += np.float32(known * weight) * shade * seen
    part = slice(y0, y1), slice(x0, x1)
    level = (255 * alpha).round().astype(np.uint8)
    picture[part] = mix(picture[part], np.clip(colours, 0, 255).astype(np.uint8), level)
    mask[part] = np.maximum(mask[part], level)


def _shade(moved: Floats, box: Box) -> Floats:
    """How much light (h, w, 1) falls between the lips: least below the upper one."""
    face = upright(moved)[2]
    (below, _), _ = spread(moved, _lips(moved, face), MOUTH, box)
    return np.asarray(np.clip(0.6 + 0.4 * below / 0.045, 0.6, 1)[..., None], np.float32)


def around(mesh: Floats) -> Floats:
    """(468,) how near each point is to the lips: 1 up to NEAR, 0 from AROUND on."""
    _, down, face = upright(mesh)
    ring = mesh[LIPS_OUTER, :2]
    away = np.hypot(*np.moveaxis(mesh[:, None, :2] - ring, 2, 0)).min(1) / face
    away[_enclosed(ring, mesh)] = 0
    below_nose = np.clip(((mesh[:, :2] - mesh[1, :2]) @ down / face - 0.12) / 0.08, 0, 1)
    return np.asarray(np.clip((AROUND - away) / (AROUND - NEAR), 0, 1) * below_nose, np.float32)


def _enclosed(ring: Floats, mesh: Floats) -> NDArray[np.bool_]:
    """(468,) whether each point lies within a ring."""
    outline = ring.astype(np.float32)[:, None]
    return np.array([cv2.pointPolygonTest(outline, (float(x), float(y)), False) >= 0 for x, y, _ in mesh])


def lay_lips(picture: Picture, mask: Mask, moved: Floats, look: Look, near: Floats, light: Floats, share: float) -> None:
    """Lay a look's lips where those of the moved mesh are, fading out with `near` (468,); `light` (3,) is added to them."""
    triangles = CLOSED[(near[CLOSED] > 0).any(1)]
    box = x0, y0, x1, y1 = face_box(moved[near > 0], picture.shape)
    if x1 - x0 < 2 or y1 - y0 < 2 or share <= 0:
        return
    planes, covered = spread(moved, np.concatenate([look.points, near[:, None]], 1), triangles, box)
    laid = cv2.remap(look.picture, planes[0], planes[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    laid = np.clip(laid.astype(np.float32) + light, 0, 255).round().astype(np.uint8)
    alpha = (255 * share * planes[2] * covered).round().astype(np.uint8)
    part = slice(y0, y1), slice(x0, x1)
    picture[part] = mix(picture[part], laid, alpha)
    mask[part] = np.maximum(mask[part], alpha)


def _nearest(looks: tuple[Look, ...], opening: float) -> tuple[list[tuple[Look, float]], float]:
    """The one or two looks that are open about as far, with their weights, and how much of all they can tell, 0 … 1."""
    if not looks:
        return [], 0.0
    gaps = [look.gap for look in looks]
    known = float(np.clip((STRETCH[1] - opening / gaps[-1]) / (STRETCH[1] - STRETCH[0]), 0, 1))
    after = int(np.searchsorted(gaps, opening))
    if not 0 < after < len(looks):
        return ([(looks[min(after, len(looks) - 1)], 1.0)] if known else []), known
    share = (opening - gaps[after - 1]) / (gaps[after] - gaps[after - 1])
    return [(looks[after - 1], 1 - share), (looks[after], share)], known


def _painted(moved: Floats, inside: Inside, box: Box, opening: float) -> Floats:
    """What is painted of the inside, (h, w, 3) over the box."""
    right, down, face = upright(moved)
    x0, y0, x1, y1 = box
    (below, gap), _ = spread(moved, _lips(moved, face), MOUTH, box)
    x = np.arange(x0, x1, dtype=np.float32) - moved[13, 0]
    y = np.arange(y0, y1, dtype=np.float32)[:, None] - moved[13, 1]
    across = (x * right[0] + y * right[1]) / face
    v = (x * down[0] + y * down[1]) / face
    left, far = ((moved[corner, :2] - moved[13, :2]) @ right / face for corner in (78, 308))
    u = np.where(across < 0, across / max(-left, 1e-3), across / max(far, 1e-3))  # -1 … 1 from corner to corner
    if inside.place is None:
        edge = min(0.06, 0.6 * opening)
    else:
        away = inside.place - moved[13, :2]
        edge = float(away @ down) / face + EDGE
        across = across - float(away @ right) / face
    soft = max(0.012, 0.8 / face)
    jaw = opening if inside.jaw is None else inside.jaw
    curve = 0.05 * np.square(across / ARCH)  # rows of teeth are arcs: towards the corners they are further up and further back
    upper = edge - curve
    lower = edge - BITE + jaw - 0.5 * curve
    shadow = 0.65 + 0.35 * np.clip(below / 0.04, 0, 1)  # of the upper lip
    sides = np.clip(1 - 0.5 * np.square(u), 0.3, 1)
    depth = np.clip(below / np.maximum(gap, 0.02), 0, 1)
    light = np.maximum((0.2 + 0.15 * depth) * sides, 0.55 - 0.35 * np.clip(gap / 0.06, 0, 1))  # lips that hardly part are lit
    colours = light[..., None] * inside.lips
    top = lower - 0.05 - 0.05 * inside.tongue
    tip = np.clip(0.5 + (v - top - 0.06 * np.square(u / 0.6)) / (4 * soft), 0, 1) * np.clip((0.8 - np.abs(u)) * 5, 0, 1)
    lit = np.clip(0.4 + 3 * (v - top), 0.4, 0.7) * sides * shadow
    tongue = lit[..., None] * (inside.lips * np.array([1.0, 0.85, 0.85], np.float32))
    grey = float(inside.skin.mean())
    enamel = np.minimum(0.55 * inside.skin + 0.47 * grey, 230) if inside.enamel is None else inside.enamel
    row = enamel * (sides * shadow * _gaps(across, face))[..., None]
    under = np.clip((v - lower) / soft + 0.5, 0, 1) * np.clip((0.8 - np.abs(u)) * 4, 0, 1)
    over = np.clip((upper - v) / soft + 0.5, 0, 1) * np.clip((0.92 - np.abs(u)) * 5, 0, 1)
    layers = [(tongue, tip), (0.68 * row, under), (row, over)]
    if inside.tongue > 0.5:  # it comes in front of the lower teeth
        layers[:2] = layers[1::-1]
    for layer, covers in layers:
        colours += (layer - colours) * covers[..., None]
    return np.asarray(colours, np.float32)


def _gaps(across: Floats, face: float) -> Floats:
    """How bright the teeth are for the gaps between them, where there are pixels enough to see them."""
    fine = float(np.clip(TOOTH * face / FINE - 1, 0, 1))
    if not fine:
        return np.ones_like(across)
    place = np.sign(across) * (np.abs(across) / TOOTH) ** 1.15  # the arc turns away: teeth get narrower
    away = np.abs(place - np.round(place))
    return np.asarray(1 - 0.3 * fine * np.exp(-np.square(away / 0.09)), np.float32)


def _lips(moved: Floats, face: float) -> Floats:
    """(468, 2) for points of the inner lips: how far below the upper lip, and how far the lips are apart there."""
    lower, upper = LIPS_INNER[:11], np.roll(LIPS_INNER[::-1], 1)[:11]
    values = np.zeros((468, 2), np.float32)
    apart = np.hypot(*(moved[lower] - moved[upper])[:, :2].T) / face
    values[lower, 0] = values[lower, 1] = values[upper, 1] = apart
    return values


def _widened(points: Floats, down: Floats, by: float) -> Floats:
    """A mesh (468, 2 or 3) with the inner lips' ring wider by so many pixels, so that a soft edge finds something to show."""
    wide = np.zeros((len(points), 3), np.float32)
    wide[:, :2] = points[:, :2]
    wide[LIPS_INNER[1:10], :2] += by * down
    wide[LIPS_INNER[11:], :2] -= by * down
    for corner, way in ((78, -by), (308, by)):
        wide[corner, :2] += way * np.array([down[1], -down[0]], np.float32)
    return wide


def _between(ring: Floats, box: Box, face: float) -> Floats:
    """How much of each pixel of the box lies between the lips, 0 … 1, with an edge as soft as a lip's."""
    x0, y0, x1, y1 = box
    plane = np.zeros((y1 - y0, x1 - x0), np.uint8)
    points = np.round((ring[:, :2] - (x0, y0)) * 16).astype(np.int32)
    cv2.fillPoly(plane, [points], 255, cv2.LINE_AA, 4)
    side = 2 * round(SOFT * face / 2) + 1
    blurred = cv2.blur(plane, (side, side)) if side > 1 else plane
    return np.asarray(blurred / np.float32(255), np.float32)


def _grain(picture: Picture, box: Box, face: float) -> Floats:
    """The picture's own grain, from below the mouth, for a box: (h, w, 3) in levels."""
    x0, y0, x1, y1 = box
    shift = min(round(0.22 * face), picture.shape[0] - y1)
    if shift <= 0:
        return np.zeros((1, 1, 3), np.float32)
    below = picture[y0 + shift : y1 + shift, x0:x1].astype(np.float32)
    fine = below - cv2.GaussianBlur(below, (0, 0), 1.2)
    return np.asarray(np.where(np.abs(fine).max(2, keepdims=True) < GRAIN, fine, 0), np.float32)
