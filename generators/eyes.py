"""Eyes that close further than their picture shows them: the lids are painted."""

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Mask, Picture
from forgeline.mesh import LEFT_EYE, RIGHT_EYE
from generators.blend import mix
from generators.warp import face_box, spread

Floats = NDArray[np.float32]

UPPER_LIDS = np.stack([RIGHT_EYE[:8:-1], LEFT_EYE[:8:-1]])
LOWER_LIDS = np.stack([RIGHT_EYE[1:8], LEFT_EYE[1:8]])
"""(2, 7) the rims of the right and the left eye's lids without their corners, point by point above each other."""
_ABOVE = np.array([[247, 30, 29, 27, 28, 56, 190], [467, 260, 259, 257, 258, 286, 414]])
_BELOW = np.array([[25, 110, 24, 23, 22, 26, 112], [255, 339, 254, 253, 252, 256, 341]])
"""(2, 7) the points next to those, on the skin above and below the eye."""
MEET = 0.85
"""Where the lids meet: the upper one's share of the way."""
FADE, SKIN = 0.5, 0.8
"""How far outside those next points, in their distances from the rim, the lids end, and where their colour is taken."""
LASHES = 0.15
"""How wide the dark rim of the upper lid is, as a share of the open eye."""


def _quads(rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """Triangles (n, 3) between neighbouring rows of points."""
    a, b, c, d = rows[:-1, :-1], rows[:-1, 1:], rows[1:, :-1], rows[1:, 1:]
    return np.concatenate([np.stack([c, a, b], -1), np.stack([c, b, d], -1)]).reshape(-1, 3)


_POINTS = np.arange(8 * 9, dtype=np.int32).reshape(8, 9)
_LIDS = np.concatenate([_quads(_POINTS[:5]), _quads(_POINTS[5:])])
"""Between eight rows of nine points, from above the eye to below it; between the fifth and the sixth it is open."""


def close_eyes(picture: Picture, mask: Mask, mesh: Floats, close: Floats) -> None:
    """Paint lids over the right and the left eye of `mesh` (468, 3), as far as `close` (2,) says, 0 … 1; both in place."""
    for eye in np.flatnonzero(close > 0):
        _close(picture, mask, mesh, int(eye), float(close[eye]))


def _close(picture: Picture, mask: Mask, mesh: Floats, eye: int, share: float) -> None:
    above, upper, lower, below = (mesh[rows[eye]] for rows in (_ABOVE, UPPER_LIDS, LOWER_LIDS, _BELOW))
    gap, way = lower - upper, share * MEET
    rows = [above + FADE * (above - upper), above, upper, upper + max(way - LASHES, 0) * gap, upper + way * gap]
    rows += [lower - share * (1 - MEET) * gap, below, below + FADE * (below - lower)]
    outer, inner = mesh[(RIGHT_EYE, LEFT_EYE)[eye][[0, 8]]]
    points = np.concatenate([np.concatenate([[outer], row, [inner]]) for row in rows])
    box = x0, y0, x1, y1 = face_box(points, picture.shape, margin=0.3)
    part = slice(y0, y1), slice(x0, x1)
    blur = 1 + 2 * round((x1 - x0) / 30)
    smooth = np.asarray(cv2.blur(picture[part], (blur, blur)), np.float32)

    def colour(rim: Floats, next_to: Floats) -> Floats:
        at = np.round(next_to + SKIN * (next_to - rim))[:, :2].astype(int) - (x0, y0)
        around = smooth[np.clip(at[:, 1], 0, y1 - y0 - 1), np.clip(at[:, 0], 0, x1 - x0 - 1)]
        middle = np.median(around, axis=0)  # a brow, or a frame of glasses, is none of the skin
        return np.asarray(np.clip(around, 0.9 * middle, 1.1 * middle))[[0, *range(7), 6]]

    # Colours around the eye at the border, where a step would show, and a mean of them between: above lies a brow's shadow.
    high, low = colour(upper, above), colour(lower, below)
    lid = np.asarray(0.3 * high + 0.7 * low)
    soft = 255 * min(2 * share, 1)
    shades = np.concatenate([high, high, 0.6 * high + 0.4 * lid, lid, 0.4 * lid, 0.85 * low, low, low])
    values = np.column_stack([shades, np.repeat([0, soft, soft, 255, 255, 255, soft, 0], 9)])
    planes, covered = spread(points, values.astype(np.float32), _LIDS, box)
    # At this size a rim is a pixel wide: without softening it would be a broken line.
    red, green, blue, alpha, weight = (cv2.blur(plane, (3, 3)) for plane in (*planes, covered.astype(np.float32)))
    painted = np.stack([red, green, blue], 2) / np.maximum(weight, 1e-6)[..., None]
    alpha = np.asarray(alpha).round().astype(np.uint8)
    picture[part] = mix(picture[part], painted.round().astype(np.uint8), alpha)
    mask[part] = np.maximum(mask[part], alpha)
