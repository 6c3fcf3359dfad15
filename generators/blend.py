"""Laying one picture over another without a visible seam. Everything here works on the face's box, never on a whole frame."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Mask, Picture

Floats = NDArray[np.float32]

GRID = 64
"""Cells a side of the grid on which what varies slowly is worked out."""
SWEEPS = 12
BANDS = 4
STIFFNESS, RETURN = 100.0, 0.005
"""How strongly the seam holds what is laid on, and how strongly the inside keeps its own colours; 1 is a neighbour's pull."""
FAR = 50.0
"""Levels by which a difference of colour has to be unusual for it to count little."""


def colours_at(picture: Picture, mesh: Floats) -> Floats:
    """Mean colours (468, 3) of a picture around the points of a face's mesh, over a GRID-th of the face's box."""
    low, high = mesh[:, :2].min(0), mesh[:, :2].max(0)
    x0, y0 = np.clip(low, 0, np.array(picture.shape[1::-1]) - 1).astype(int)
    x1, y1 = np.clip(high, (x0, y0), picture.shape[1::-1]).astype(int) + 1
    at = ((mesh[:, :2] - (x0, y0)) * GRID / (x1 - x0, y1 - y0)).astype(int)
    at = np.clip(at, 0, GRID - 1)
    colours: Floats = shrink(picture[y0:y1, x0:x1])[at[:, 1], at[:, 0]]
    return colours


def match_colours(picture: Picture, own: Floats, wanted: Floats) -> Picture:
    """The picture with each channel's curve bent so that the colour `own` (3,) becomes `wanted` (3,), both in 0 … 255.

    Darker by a factor; brighter between a factor, which burns out, and a power, which washes out: halfway when a little
    brighter, by the power alone from twice as bright on, or the light and shade on dark skin would double. (Moving mean
    and deviation of each channel, as Reinhard et al. 2001 do, gives purple lips where only one of the skins is blotchy.)
    """
    level = np.arange(256, dtype=np.float32)[:, None] / 255
    own, wanted = np.clip(own / 255, 0.02, 0.98), np.clip(wanted / 255, 0.02, 0.98)
    factor = np.minimum(level * wanted / own, 1)
    power = level ** (np.log(wanted) / np.log(own))
    share = np.clip(wanted / own / 2, 0.5, 1)
    curve = np.where(wanted < own, factor, (1 - share) * factor + share * power)
    return np.asarray(cv2.LUT(picture, (curve * 255).round().astype(np.uint8)[None]), np.uint8)


def shrink(plane: NDArray[np.uint8] | Floats) -> Floats:
    """A plane or picture of the face's box, averaged onto GRID x GRID cells: a cell is the same place in every frame."""
    step = max(1, min(plane.shape[:2]) // (2 * GRID))  # at least two samples a side and cell; all of them cost four times more
    return np.asarray(cv2.resize(plane[::step, ::step], (GRID, GRID), interpolation=cv2.INTER_AREA), np.float32)


def half(plane: Floats) -> Floats:
    """A plane or picture at half its size."""
    return np.asarray(cv2.resize(plane, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.float32)


def membrane(values: Floats, trust: Floats) -> Floats:
    """The smoothest surface through `values` (h, w, 3) where `trust` (h, w) is large; where it is 0 they do not count.

    It minimises the sum over cells of trust·(m - value)² plus the sum over neighbours of the squared difference, with free
    edges. With trust on a region's border this is the correction that Poisson cloning adds to the pasted picture (Pérez
    et al. 2003, section 2). Solved by Jacobi sweeps on ever finer grids.
    """
    pulls, holds = [values * trust[..., None]], [trust]
    while min(holds[-1].shape) >= 8:
        # A coarse cell has the trust of the four it stands for; a difference between neighbours weighs the same everywhere.
        half = (holds[-1].shape[1] + 1) // 2, (holds[-1].shape[0] + 1) // 2
        area = holds[-1].size / (half[0] * half[1])
        pulls.append(area * cv2.resize(pulls[-1], half, interpolation=cv2.INTER_AREA))
        holds.append(area * cv2.resize(holds[-1], half, interpolation=cv2.INTER_AREA))
    cross = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], np.float32)
    surface = np.broadcast_to(pulls[-1].sum((0, 1)) / max(float(holds[-1].sum()), 1e-6), pulls[-1].shape)
    for pull, hold in zip(reversed(pulls), reversed(holds), strict=True):
        surface = cv2.resize(surface, hold.shape[::-1], interpolation=cv2.INTER_LINEAR)
        share = np.repeat(1 / (4 + hold)[..., None], 3, axis=2)
        pull = pull * share
        for _ in range(SWEEPS):
            surface = cv2.filter2D(surface, -1, cross, borderType=cv2.BORDER_REPLICATE) * share + pull
    return np.asarray(surface, np.float32)


def broad(values: Floats, trust: Floats) -> Floats:
    """What values (h, w, 3) are around each place where `trust` (h, w) is high, over an eighth of the width."""
    deviation = trust.shape[1] / 8
    total = cv2.GaussianBlur(values * trust[..., None], (0, 0), deviation)
    return np.asarray(total / (cv2.GaussianBlur(trust, (0, 0), deviation)[..., None] + 1e-3), np.float32)


def poisson_bend(difference: Floats, trust: Floats) -> Floats:
    """What to add to a picture so that its border meets another's where `trust` (h, w, 0 … 1) is high: (h, w, 3) levels.

    `difference` (h, w, 3) is the other less the picture. Trust belongs where both show the same surface: where one shows
    hair and the other skin, their difference must not be spread over the face. Unusual differences count less for the same
    reason, and far from the border the bend goes back to 0 (a screened Poisson equation).
    """
    middle = (difference * trust[..., None]).sum((0, 1)) / max(float(trust.sum()), 1e-6)
    trust = STIFFNESS * trust * np.exp(-np.square((difference - middle) / FAR).sum(2))
    share = trust / (trust + RETURN)
    return membrane(difference * share[..., None], trust + RETURN)


def multiband(under: Picture, over: Picture, alpha: Mask) -> Picture:
    """`over` laid on `under`, coarse detail over a wide seam and fine detail over a narrow one (Burt and Adelson 1983).

    Nothing changes where `alpha` is 0, so the wide seams lie inside it.
    """
    lower: Any = under.astype(np.float32)
    upper: Any = over.astype(np.float32)
    seam: Any = alpha.astype(np.float32) / 255
    details = []
    for _ in range(BANDS):
        size = lower.shape[1::-1]
        half_lower, half_upper = cv2.pyrDown(lower), cv2.pyrDown(upper)
        gap = (upper - cv2.pyrUp(half_upper, dstsize=size)) - (lower - cv2.pyrUp(half_lower, dstsize=size))
        details.append(gap * seam[..., None])
        lower, upper, seam = half_lower, half_upper, cv2.pyrDown(seam)
    change = (upper - lower) * seam[..., None]
    for detail in reversed(details):
        change = cv2.pyrUp(change, dstsize=detail.shape[1::-1]) + detail
    inside = np.minimum(alpha, 127) * 2 + alpha // 128
    return mix(under, np.clip(under + change + 0.5, 0, 255).astype(np.uint8), inside)


def mix(under: Picture, over: Picture, alpha: Mask) -> Picture:
    """`under` where alpha is 0, `over` where it is 255, and their weighted mean between."""
    share = alpha.astype(np.float32) / 255
    return np.asarray(cv2.blendLinear(under, over, 1 - share, share), np.uint8)
