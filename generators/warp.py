"""Warping by a triangle mesh: values at its points are spread over the pixels that its front covers."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""x0, y0, x1, y1 in pixels; x1 and y1 are outside."""


def face_box(mesh: NDArray[np.float32], size: tuple[int, ...], margin: float = 0.0) -> Box:
    """The part of a picture (height, width, …) that holds a mesh (n, 2 or 3), wider by `margin` of its size on every side."""
    height, width = size[:2]
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    grow = margin * float((high - low).max())
    x0, y0 = np.clip(np.floor(low - grow), 0, (width, height)).astype(int)
    x1, y1 = np.clip(np.ceil(high + grow) + 1, 0, (width, height)).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def spread(
    mesh: NDArray[np.float32], values: NDArray[np.float32], triangles: NDArray[np.int32], box: Box
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
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


@cache
def _compiled() -> Callable[..., None]:
    # Imported at the first use: numba takes most of a second. Without fastmath, so that machines agree on every bit.
    from numba import njit

    compiled: Callable[..., None] = njit(cache=True)(_rasterise)
    return compiled


def _rasterise(points: Any, values: Any, triangles: Any, planes: Any, depth: Any) -> None:
    count, height, width = planes.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        xa, ya, xb, yb, xc, yc = points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        area = (yb - yc) * (xa - xc) + (xc - xb) * (ya - yc)
        if abs(area) < 1e-6:
            continue
        left, right = max(int(np.ceil(min(xa, xb, xc))), 0), min(int(np.floor(max(xa, xb, xc))), width - 1)
        top, bottom = max(int(np.ceil(min(ya, yb, yc))), 0), min(int(np.floor(max(ya, yb, yc))), height - 1)
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                u = ((yb - yc) * (x - xc) + (xc - xb) * (y - yc)) / area
                v = ((yc - ya) * (x - xc) + (xa - xc) * (y - yc)) / area
                w = 1 - u - v
                if u < -1e-4 or v < -1e-4 or w < -1e-4:
                    continue
                z = u * points[a, 2] + v * points[b, 2] + w * points[c, 2]
                if z < depth[y, x]:
                    depth[y, x] = z
                    for k in range(count):
                        planes[k, y, x] = u * values[a, k] + v * values[b, k] + w * values[c, k]
