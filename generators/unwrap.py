"""A face laid flat: the same point of every face comes to the same place of a square picture, whatever its pose and expression.

Mouth and eyes are drawn open there, so that what shows in them has a place of its own; while they are shut it is a smear of
the lips and lids, and is of no size when the square is laid back.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture
from forgeline.mesh import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, NOSE_TIP, OVAL, RIGHT_BROW, RIGHT_EYE, TRIANGLES
from generators.warp import CLOSED, spread

Floats = NDArray[np.float32]

RADIUS = 0.48
"""Of the face's outline, a circle around the middle of the square, in sides of the square."""


@cache
def places() -> Floats:
    """Where the 468 points of a mesh lie in the square, (468, 2), 0 … 1 from its left top corner.

    Outline, lips, eyes and brows lie on ellipses where faces have them; every other point in the middle of its neighbours
    (Tutte 1963).
    """
    fixed: dict[int, tuple[float, float]] = {}

    def ring(points: NDArray[np.int32], x: float, y: float, wide: float, high: float, start: float) -> None:
        for point, angle in zip(points, start + np.arange(len(points)) * 2 * np.pi / len(points), strict=True):
            fixed[int(point)] = x + wide * np.cos(angle), y + high * np.sin(angle)

    ring(OVAL, 0.5, 0.5, RADIUS, RADIUS, -np.pi / 2)
    ring(LIPS_OUTER, 0.5, 0.74, 0.155, -0.08, np.pi)
    ring(LIPS_INNER, 0.5, 0.74, 0.12, -0.04, np.pi)
    for x, side, eye, brow in ((0.315, 1, RIGHT_EYE, RIGHT_BROW), (0.685, -1, LEFT_EYE, LEFT_BROW)):
        ring(eye, x, 0.41, side * 0.075, -0.036, np.pi)
        ring(brow, x - side * 0.015, 0.30, side * 0.12, -0.02, np.pi)
    fixed |= {NOSE_TIP: (0.5, 0.56), 1: (0.5, 0.575)}
    system, wanted = np.eye(468), np.zeros((468, 2))
    edges = {(int(a), int(b)) for corners in CLOSED for a in corners for b in corners if a != b}
    neighbours: dict[int, list[int]] = {point: [] for point in range(468)}
    for a, b in sorted(edges):
        neighbours[a].append(b)
    for point, near in neighbours.items():
        if point in fixed:
            wanted[point] = fixed[point]
        else:
            system[point, near] = -1 / len(near)
    return np.asarray(np.linalg.solve(system, wanted), np.float32)


def laid(side: int) -> Floats:
    """The mesh (468, 3) of every face that is laid flat in a square of `side` pixels."""
    return np.concatenate([places() * side - 0.5, np.zeros((468, 1), np.float32)], 1)


def unwrap(picture: Picture, mesh: Floats, side: int) -> Picture:
    """The face with this mesh (468, 3), laid flat: (side, side, 3)."""
    (map_x, map_y), _ = spread(laid(side), mesh[:, :2], CLOSED, (0, 0, side, side))
    return np.asarray(cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def shown(mesh: Floats, side: int) -> Floats:
    """How well each place of the square (side, side) is seen: the cosine of the surface's slope, 0 where it is hidden."""
    corners = mesh[TRIANGLES]
    slopes = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros((468, 3), np.float32)
    for corner in range(3):
        np.add.at(normals, TRIANGLES[:, corner], slopes)
    cosines = normals[:, 2] / np.maximum(np.linalg.norm(normals, axis=1), 1e-9)
    (seen,), _ = spread(laid(side), np.maximum(cosines, 0)[:, None], CLOSED, (0, 0, side, side))
    return np.asarray(seen)


@cache
def depth(side: int) -> Floats:
    """How far inside the outline each place of the square (side, side) is: 0 on it and outside, 1 in the middle."""
    at = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    return np.asarray(np.maximum(1 - np.hypot(at, at[:, None]) / RADIUS, 0), np.float32)
