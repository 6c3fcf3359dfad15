"""What covers a face: hands, microphones, strands that swing. Whatever a face does not look like most of the time.

A net that tells persons from background does not help: to MediaPipe's selfie segmentation hands, strands and a microphone
before a face were all person, every pixel of them.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Mask, Picture
from generators.warp import CLOSED, face_box, spread

Floats = NDArray[np.float32]

CELLS = 96
"""Cells a side of a face's layout."""
LEAST = 8.0
"""Levels by which even the steadiest cell of a face may be off its usual colour."""
SPECK = 60
"""Cells; what is smaller is the edge of a lip or of glasses that has moved, and covers nothing."""
FOLLOW = 0.1
"""How much of each new frame goes into what is usual: light changes within a second."""


class Layout:
    """One face's skin spread out on CELLS x CELLS cells, as it lies in one picture: the same cell is the same place on the
    face in every frame, whatever its pose there.
    """

    def __init__(self, mesh: Floats) -> None:
        """Takes the mesh (468, 3) as which the face is laid out, in any unit."""
        low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
        self.mesh = mesh.copy()
        """(468, 3), x and y in cells."""
        self.mesh[:, :2] = (mesh[:, :2] - low) * (CELLS - 1) / (high - low)
        _, self.within = spread(self.mesh, self.mesh[:, :1], CLOSED, (0, 0, CELLS, CELLS))

    def spread(self, values: Floats) -> Floats:
        """Values (468, k) at the mesh's points as planes (k, CELLS, CELLS), 0 outside the face."""
        return spread(self.mesh, values, CLOSED, (0, 0, CELLS, CELLS))[0]

    def at(self, points: NDArray[np.int32], plane: Floats) -> Floats:
        """What a plane (CELLS, CELLS, …) holds at some points of the mesh."""
        x, y = np.clip(np.round(self.mesh[points, :2]).astype(int), 0, CELLS - 1).T
        return np.asarray(plane[y, x], np.float32)

    def __call__(self, picture: Picture, mesh: Floats) -> Picture:
        """The face that has this mesh in `picture`, laid out: (CELLS, CELLS, 3)."""
        x0, y0, x1, y1 = face_box(mesh, picture.shape)
        part = picture[y0:y1, x0:x1]
        step = max(part.shape[:2]) / (2 * CELLS)
        if step > 1:  # no more than two pixels a cell, or single pixels decide
            part = np.asarray(cv2.resize(part, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA), np.uint8)
        scale = np.array(part.shape[1::-1]) / (x1 - x0, y1 - y0)
        at_x, at_y = self.spread(((mesh[:, :2] - (x0, y0) + 0.5) * scale - 0.5).astype(np.float32))
        return np.asarray(cv2.remap(part, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


class Usual:
    """How a face usually looks, cell by cell of its layout: `colours`, float32 (CELLS, CELLS, 3)."""

    def __init__(self, samples: list[Picture], within: Mask) -> None:
        """Learns from pictures of one face in one layout; what covers it in less than a quarter of them is not learnt."""
        stack = np.stack(samples).astype(np.float32)
        self.colours = np.asarray(np.median(stack, axis=0), np.float32)
        varies = np.percentile(np.abs(stack - self.colours), 75, axis=0).astype(np.float32)
        self._tolerance = np.asarray(LEAST + 2 * cv2.dilate(varies, np.ones((3, 3), np.uint8)), np.float32)
        self._within = within

    def cover(self, seen: Picture) -> Floats:
        """How much each cell of the face that is `seen` (CELLS, CELLS, 3) is covered, 0 … 1."""
        some = self._within[::3, ::3] > 0
        light = np.median((seen[::3, ::3][some] + 8.0) / (self.colours[::3, ::3][some] + 8), axis=0)
        usual = self.colours * light.astype(np.float32)
        near = np.ones((5, 5), np.uint8)  # a brow, a lip or the frame of glasses may have moved by so many cells
        off = np.maximum(seen - cv2.dilate(usual, near), cv2.erode(usual, near) - seen)
        off = np.clip(off / self._tolerance, 0, 2).max(axis=2)
        strange = (cv2.blur(off, (3, 3)) > 0.7).astype(np.uint8) * self._within
        # The edge of a hand is strange, its middle often is not.
        whole = cv2.morphologyEx(strange, cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (21, 21)))
        _, parts, sizes, _ = cv2.connectedComponentsWithStats(whole)
        whole *= (sizes[:, cv2.CC_STAT_AREA] >= SPECK)[parts]
        if whole.sum() > 0.8 * self._within.sum():  # a face so covered could not be followed: the light has changed
            whole = np.zeros_like(whole)
        return np.asarray(cv2.blur(whole.astype(np.float32), (3, 3)), np.float32)

    def follow(self, seen: Picture, covered: Floats) -> None:
        """Take what is seen and not covered for a little more usual."""
        self.colours += FOLLOW * (1 - covered[..., None]) * (seen - self.colours)
