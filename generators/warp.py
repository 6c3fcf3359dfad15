"""Warping by a triangle mesh: values at its points are spread over the pixels that its front covers."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Mask, Picture
from forgeline.mesh import LEFT_EYE, LIPS_INNER, OVAL, RIGHT_EYE, TRIANGLES

Floats = NDArray[np.float32]
Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; x1 and y1 are outside."""


def _strip(left: NDArray[np.int32], right: NDArray[np.int32]) -> NDArray[np.int32]:
    """Triangles (m, 3) between two rows of points of equal length; a point that is in both rows ends the strip."""
    pairs = list(zip(left, right, strict=True))
    corners = [t for (a, b), (c, d) in pairwise(pairs) for t in ((a, c, b), (c, d, b)) if len(set(t)) == 3]
    return np.array(corners, np.int32)


def _hole(ring: NDArray[np.int32]) -> NDArray[np.int32]:
    """Triangles that close a ring of the mesh whose first and middle points are its corners."""
    half = len(ring) // 2
    return _strip(ring[: half + 1], np.roll(ring[::-1], 1)[: half + 1])


MOUTH = _hole(LIPS_INNER)
CLOSED = np.concatenate([TRIANGLES, MOUTH, _hole(RIGHT_EYE), _hole(LEFT_EYE)])
"""The face without holes, so that a warp is defined where a soft edge reaches into one."""
_SKIRT = np.arange(468, 468 + len(OVAL), dtype=np.int32)
_SKIRTED = np.concatenate([CLOSED, _strip(np.append(OVAL, OVAL[0]), np.append(_SKIRT, _SKIRT[0]))])
STILL = 0.15
_SKIRT_SIZE = 1.4
"""How far around a face, in its sizes, the picture gives way when the face's outline moves."""


def face_box(mesh: Floats, size: tuple[int, ...], margin: float = 0.0) -> Box:
    """The part of a picture (height, width, …) that holds a mesh (n, 2 or 3), wider by `margin` of its size on every side."""
    height, width = size[:2]
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    grow = margin * float((high - low).max())
    x0, y0 = np.clip(np.floor(low - grow), 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.ceil(high + grow) + 1, 0, (width, height)).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def spread(mesh: Floats, values: Floats, triangles: NDArray[np.int32], box: Box) -> tuple[Floats, NDArray[np.uint8]]:
    """Values at the points of a mesh, interpolated linearly inside each triangle; where triangles overlap the nearest wins.

    `mesh` (n, 3): x, y in pixels (whole numbers are pixel centres), z smaller is nearer. `values` (n, k). Returns
    (k, height, width) float32 over `box`, 0 where no triangle is, and (height, width) uint8: 1 where one is, else 0.
    With a source picture's points as values, the first two planes are the maps that `cv2.remap` takes.
    """
    x0, y0, x1, y1 = box
    planes = np.zeros((values.shape[1], y1 - y0, x1 - x0), np.float32)
    depth = np.full(planes.shape[1:], np.inf, np.float32)
    points = np.ascontiguousarray(mesh, np.float32) - np.array([x0, y0, 0], np.float32)
    _compiled()(points, np.ascontiguousarray(values, np.float32), triangles, planes, depth)
    return planes, np.isfinite(depth).astype(np.uint8)


def move(picture: Picture, mask: Mask, mesh: Floats, moved: Floats) -> None:
    """Bend `picture` in place so that what lies under `mesh` (468, 3) comes to lie under `moved`, and set `mask` where it did.

    Around the face the picture gives way smoothly; whatever would move by less than STILL pixels stays as it is.
    """
    middle = mesh.mean(0)
    skirt = middle + (mesh[OVAL] - middle) * _SKIRT_SIZE
    before, after = np.concatenate([mesh, skirt]), np.concatenate([moved, skirt])
    active = _SKIRTED[(np.hypot(*(after - before)[:, :2].T)[_SKIRTED] > 0.02).any(1)]
    if not len(active):
        return
    box = x0, y0, x1, y1 = face_box(after[np.unique(active)], picture.shape)
    (map_x, map_y), covered = spread(after, before[:, :2], active, box)
    x, y = np.arange(x0, x1, dtype=np.float32), np.arange(y0, y1, dtype=np.float32)[:, None]
    bent = covered * (np.square(map_x - x) + np.square(map_y - y) > STILL**2)
    bent = np.asarray(cv2.morphologyEx(bent, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))) * covered
    laid = cv2.remap(picture, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    part = slice(y0, y1), slice(x0, x1)
    picture[part] = cv2.copyTo(laid, bent, picture[part])
    mask[part] = np.maximum(mask[part], bent * np.uint8(255))


def trim(mask: Mask, original: Picture, picture: Picture) -> None:
    """Take out of the mask, in place, where even skin came to lie on even skin: nothing changed there."""
    x, y, width, height = cv2.boundingRect(mask)
    part = slice(y, y + height), slice(x, x + width)
    red, green, blue = cv2.split(np.asarray(cv2.absdiff(picture[part], original[part]), np.uint8))
    differs = np.minimum(cv2.max(cv2.max(red, green), blue), 1)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    mask[part] *= np.asarray(cv2.morphologyEx(differs, cv2.MORPH_CLOSE, cross))


@cache
def _compiled() -> Callable[..., None]:
    # Imported at the first use: numba takes most of a second. Without fastmath, so that machines agree on every bit.
    from numba import njit

    compiled: Callable[..., None] = njit(cache=True)(_rasterise)
    return compiled


def _rasterise(points: Any, values: Any, triangles: Any, planes: Any, depth: Any) -> None:
    count, height, width = planes.shape
    rise = np.empty((count + 1, 3))  # of z and of each value: at (0, 0), a pixel to the right, a pixel down
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        xa, ya, xb, yb, xc, yc = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = float((yb - yc) * (xa - xc) + (xc - xb) * (ya - yc))
        if abs(area) < 1e-6:
            continue
        # Shares of the three corners at a pixel: u = u0 + ux x + uy y, and so on; inside the triangle none is negative.
        ux, uy, vx, vy = (yb - yc) / area, (xc - xb) / area, (yc - ya) / area, (xa - xc) / area
        u0, v0 = -ux * xc - uy * yc, -vx * xc - vy * yc
        for k in range(count + 1):
            p, q, r = (
                (points[a, 2], points[b, 2], points[c, 2]) if k == 0 else (values[a, k - 1], values[b, k - 1], values[c, k - 1])
            )
            rise[k, 0] = r + u0 * (p - r) + v0 * (q - r)
            rise[k, 1] = ux * (p - r) + vx * (q - r)
            rise[k, 2] = uy * (p - r) + vy * (q - r)
        top, bottom = max(int(np.ceil(min(ya, yb, yc))), 0), min(int(np.floor(max(ya, yb, yc))), height - 1)
        for y in range(top, bottom + 1):
            left, right = max(min(xa, xb, xc), 0.0), min(max(xa, xb, xc), width - 1.0)
            for start, step in ((u0 + uy * y, ux), (v0 + vy * y, vx), (1 - u0 - v0 - (uy + vy) * y, -ux - vx)):
                if step > 1e-9:
                    left = max(left, (-1e-4 - start) / step)
                elif step < -1e-9:
                    right = min(right, (-1e-4 - start) / step)
                elif start < -1e-4:
                    right = -1.0
            for x in range(int(np.ceil(left)), int(np.floor(right)) + 1):
                z = rise[0, 0] + rise[0, 1] * x + rise[0, 2] * y
                if z < depth[y, x]:
                    depth[y, x] = z
                    for k in range(count):
                        planes[k, y, x] = rise[k + 1, 0] + rise[k + 1, 1] * x + rise[k + 1, 2] * y
