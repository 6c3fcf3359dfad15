"""Hair, ears and neck around a face, told by colour: what is of the face's colours or of the hair's and hangs together with it.

A person's hair is what lies close above the face and is coloured neither as the face nor as what lies far around; where no
such colours are, a bald head or black hair before black, it can't be told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Mask, Picture
from forgeline.mesh import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, OVAL, RIGHT_BROW, RIGHT_EYE
from generators.warp import Box

Floats = NDArray[np.float32]

FACE = 110
"""Cells that a face is wide, about: a cell is a square of so many whole pixels."""
LIT = (0.8, 0.9, 1.0, 1.12, 1.25)
"""Light on other parts of the face, or of what lies behind it, as factors of what most of it gets."""
WHITE = np.array([1.22, 0.97, 0.81], np.float32)
"""Skin's colour in white light, about, over its mean."""
BINS = 32
"""Steps of each channel in which colours are counted."""
SHARE, WRONG = (0.3, 0.9), 0.05
"""Which share of the band around the head hair has to be (where it is all of it, hair goes further than it can be told), and
most of the face and of what lies far around."""
HOLE = 250
"""Cells of the largest spot within the hair that is taken for hair, whatever its colour."""
STEADY = 0.6
"""How much of what was told in the last picture goes into the next one's; and by how much that may change what is told."""


@dataclass(frozen=True)
class Look:
    """A picture of a clip in cells of `step` pixels, around a face; `mesh` (468, 3) in those cells."""

    cells: Picture
    soft: Picture
    """The cells, each averaged with those next to it."""
    mesh: Floats
    step: int
    x: int
    y: int
    size: tuple[int, int]
    """Pixels (width, height) from x, y on that the cells stand for; less than whole cells at the picture's border."""

    @classmethod
    def at(cls, picture: Picture, mesh: Floats, step: int) -> "Look":
        """The head with this mesh, hair and neck with it."""
        x0, y0, x1, y1 = _around(mesh, picture.shape, step)
        part = picture[y0:y1, x0:x1]
        below, beside = -(y1 - y0) % step, -(x1 - x0) % step
        if below or beside:
            part = np.asarray(cv2.copyMakeBorder(part, 0, below, 0, beside, cv2.BORDER_REPLICATE), np.uint8)
        cells = cv2.resize(part, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA) if step > 1 else part
        points = (mesh - np.array([x0, y0, 0], np.float32) + np.array([0.5, 0.5, 0], np.float32)) / step
        soft = np.asarray(cv2.blur(cells, (3, 3)), np.uint8)
        return cls(
            np.asarray(cells, np.uint8),
            soft,
            np.asarray(points - np.array([0.5, 0.5, 0], np.float32), np.float32),
            step,
            x0,
            y0,
            (x1 - x0, y1 - y0),
        )

    @cached_property
    def place(self) -> tuple[Floats, Floats]:
        """Where each cell lies from the face's middle, to the right and to the chin, in heights of the face: (h, w) each."""
        return self._places(1)

    def _places(self, every: int) -> tuple[Floats, Floats]:
        """The places of the middles of squares of so many cells."""
        top, chin = self.mesh[10, :2], self.mesh[152, :2]
        down = (chin - top) / max(float(np.square(chin - top).sum()), 1e-6)
        shift = (every - 1) / 2 - (top + chin) / 2
        columns = np.arange(0, self.cells.shape[1], every, dtype=np.float32) + shift[0]
        rows = np.arange(0, self.cells.shape[0], every, dtype=np.float32)[:, None] + shift[1]
        return columns * down[1] - rows * down[0], columns * down[0] + rows * down[1]

    @cached_property
    def coarse(self) -> tuple[Floats, Floats]:
        """`place` of every fourth cell, for what `full` makes of it."""
        return self._places(4)

    def full(self, coarse: Floats) -> Floats:
        """What is known of every fourth cell, smoothly for all of them, (h, w)."""
        rows, columns = coarse.shape
        whole = cv2.resize(np.asarray(coarse, np.float32), (4 * columns, 4 * rows), interpolation=cv2.INTER_LINEAR)
        return np.asarray(whole, np.float32)[: self.cells.shape[0], : self.cells.shape[1]]

    @cached_property
    def bins(self) -> NDArray[np.int32]:
        """Which bin each cell's colour belongs to, (h, w)."""
        return _index(self.soft)

    def polygon(self, points: Floats) -> Mask:
        """255 inside a polygon of cells, (h, w)."""
        filled = np.zeros(self.cells.shape[:2], np.uint8)
        cv2.fillPoly(filled, [np.round(points[:, :2] * 16).astype(np.int32)], 255, shift=4)
        return filled

    def hull(self, points: Floats) -> Mask:
        """255 inside the convex hull of some points in cells, (h, w)."""
        filled = np.zeros(self.cells.shape[:2], np.uint8)
        return np.asarray(
            cv2.fillConvexPoly(filled, cv2.convexHull(np.round(points[:, :2] * 16).astype(np.int32)), 255, shift=4)
        )

    def bare(self) -> Mask:
        """255 on the face's skin, without eyes, brows and lips."""
        middle = self.mesh[OVAL].mean(0)
        skin = self.polygon(middle + 0.85 * (self.mesh[OVAL] - middle))
        parts = np.bitwise_or.reduce(
            [self.hull(self.mesh[r]) for r in (RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW, LIPS_OUTER)]
        )
        return np.asarray(cv2.subtract(skin, cv2.dilate(parts, np.ones((5, 5), np.uint8))), np.uint8)


def _around(mesh: Floats, size: tuple[int, ...], step: int) -> Box:
    (left, top), (right, bottom) = mesh[:, :2].min(0), mesh[:, :2].max(0)
    reach = bottom - top
    low = np.array([left - 0.55 * reach, top - 0.75 * reach])
    high = np.array([right + 0.55 * reach, bottom + 0.6 * reach])
    x0, y0 = (int(v) for v in np.clip(np.floor(low / step) * step, 0, (size[1], size[0])))
    x1, y1 = (int(v) for v in np.clip(np.ceil(high / step) * step, 0, (size[1], size[0])))
    return x0, y0, x1, y1


def step_of(meshes: Floats) -> int:
    """Pixels of a cell's side for a clip with these meshes (n, 468, 3)."""
    return max(1, round(float(np.median(np.ptp(meshes[:, OVAL, 0], axis=1))) / FACE))


class Head:
    """What of a person's head has which colours: learnt from a few looks, told in every further one."""

    def __init__(self, looks: Sequence[Look]) -> None:
        """Learns the colours of skin and hair."""
        counts = {name: np.zeros((BINS,) * 3, np.float32) for name in ("skin", "band", "far", "clothes")}
        seen: dict[str, list[NDArray[np.uint8]]] = {name: [] for name in counts}
        for look in looks:
            x, y = look.place
            oval = look.polygon(look.mesh[OVAL]) > 0
            rim = np.hypot(x / 0.75, (y + 0.1) / 1.0)
            places = {
                "skin": look.bare() > 0,
                "band": ~oval & (np.hypot(x / 0.47, (y + 0.15) / 0.62) < 1) & (y < -0.15),
                "far": (rim > 1.25) & (y < 0.45),
                "clothes": (y > 0.95) & (np.abs(x) < 0.9),
            }
            for name, place in places.items():
                seen[name].append(look.soft[place])
        colours = {name: np.concatenate(parts) for name, parts in seen.items()}
        share = {name: _counted(those) for name, those in colours.items()}
        # The forehead's sides lie in the band, in other light than the cheeks; and so does ground that is near.
        skin, far = (_counted(np.concatenate([_lit(colours[name], by) for by in LIT])) for name in ("skin", "far"))
        tiny = np.float32(4e-6)
        self._hair = _firm(share["band"] / (share["band"] + 3 * skin + 2 * far + share["clothes"] + tiny), 0.45, 0.7)
        self._like_skin = _firm(3 * skin / (3 * skin + share["band"] + tiny), 0.5, 0.8)
        self._like_far = _firm(far / (far + share["band"] + tiny), 0.7, 0.95)
        told = {name: self._hair.reshape(-1)[_index(those)] for name, those in colours.items()}
        covers = float(told["band"].mean()) if len(told["band"]) else 0.0
        wrong = max((float(told[name].mean()) for name in ("skin", "far") if len(told[name])), default=1.0)
        self.hair: Floats | None = None
        """The hair's usual colour (3,), 0 … 255; None where hair can't be told."""
        if SHARE[0] <= covers <= SHARE[1] and wrong <= WRONG and len(colours["far"]):
            self.hair = np.median(colours["band"][told["band"] > 0.5], axis=0).astype(np.float32)
        self.light = _cast(colours["skin"])
        """The light's colour (3,), of mean 1."""
        self.skin = np.median(colours["skin"], axis=0).astype(np.float32) if len(colours["skin"]) else np.zeros(3, np.float32)
        """The skin's usual colour (3,), 0 … 255."""
        crown = (
            share["band"] * self._hair if self.hair is not None else 0.5 * share["band"] * (share["band"] > 2 * share["skin"])
        )
        others = 1.2 * share["far"] + share["clothes"] + crown
        self._skin = _firm(share["skin"] / (share["skin"] + others + tiny), 0.3, 0.65)
        self._last: dict[str, tuple[Floats, Look]] = {}

    def skin_in(self, look: Look) -> Floats:
        """How much each cell (h, w) is skin, 0 … 1: all the face but its eyes and mouth, and what hangs together with it."""
        x, y = look.coarse
        bound = np.clip((1.15 - y) / 0.2, 0, 1) * np.clip((0.72 - np.abs(x)) / 0.15, 0, 1) * np.clip((1.0 + y) / 0.1, 0, 1)
        likely = self._told(self._skin, look) * look.full(bound)
        middle = look.mesh[OVAL].mean(0)
        face = np.asarray(cv2.blur(look.polygon(middle + 0.96 * (look.mesh[OVAL] - middle)), (5, 5)) / np.float32(255))
        inner = cv2.blur(look.polygon(middle + 0.75 * (look.mesh[OVAL] - middle)), (9, 9)) / np.float32(255)
        whole = np.maximum(likely, np.maximum(inner, face * np.minimum(0.35 + likely, 1)))
        whole = _connected(whole, inner > 0.5)
        holes = np.bitwise_or.reduce([look.polygon(look.mesh[ring]) for ring in (RIGHT_EYE, LEFT_EYE, LIPS_INNER)])
        return self._steady("skin", look, whole * (1 - cv2.blur(holes, (3, 3)) / np.float32(255)))

    def hair_in(self, look: Look) -> Floats:
        """How much each cell (h, w) is hair of the head, 0 … 1."""
        x, y = look.coarse
        bound = np.clip((1.15 - np.hypot(x / 0.95, np.minimum(y + 0.1, 0) / 0.95)) / 0.15, 0, 1)
        bound *= np.clip((0.6 - np.abs(x) + 2 * np.maximum(0.55 - y, 0)) / 0.15, 0, 1)  # shoulders are no hair
        bound *= np.clip((1.0 - y) / 0.35, 0, 1)
        likely = self._told(self._hair, look)
        middle = look.mesh[OVAL].mean(0)
        # What shines on hair may have any colour, but lies within it, and does not hang together with the face.
        few = cv2.morphologyEx(
            np.ascontiguousarray(likely[::2, ::2]), cv2.MORPH_CLOSE, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (9, 9))
        )
        within = np.asarray(cv2.resize(few, likely.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)
        ground = self._told(self._like_far, look)
        face = look.polygon(middle + 0.75 * (look.mesh[OVAL] - middle)) > 0
        skin = _connected(np.maximum(self._told(self._like_skin, look), face), face)
        likely = np.maximum(likely, within * (1 - np.maximum(skin, ground))) * look.full(bound)
        oval = cv2.blur(look.polygon(look.mesh[OVAL]), (3, 3)) / np.float32(255)
        features = np.concatenate([RIGHT_BROW, LEFT_BROW, OVAL[9:28]])
        low = cv2.blur(look.hull(middle + 0.94 * (look.mesh[features] - middle)), (5, 5)) / np.float32(255)
        beard = oval * look.full(np.clip((y + 0.12) / 0.15, 0, 1))
        whole = likely * (1 - np.maximum(low, beard))
        band = np.clip(9 - 9 * np.hypot(x / 0.47, (y + 0.15) / 0.62), 0, 1) * (y < -0.2)
        whole = _connected(whole, look.full(band) > 0.5)
        return self._steady("hair", look, np.maximum(whole, _holes(whole) * (1 - ground)))

    def brows_in(self, look: Look) -> Floats:
        """How much each cell (h, w) is hair of the brows, 0 … 1: what is darker than the skin there."""
        brows = cv2.dilate(look.hull(look.mesh[RIGHT_BROW]) | look.hull(look.mesh[LEFT_BROW]), np.ones((3, 3), np.uint8))
        light = cv2.cvtColor(look.soft, cv2.COLOR_RGB2GRAY)
        usual = max(float(cv2.cvtColor(self.skin[None, None], cv2.COLOR_RGB2GRAY)[0, 0]), 1.0)
        darker = np.clip(1.45 - np.float32(1.6 / usual) * light, 0, 1)
        return np.asarray(darker * cv2.blur(brows, (5, 5)) / np.float32(255), np.float32)

    def _told(self, table: Floats, look: Look) -> Floats:
        likely = table.reshape(-1).take(look.bins)
        return np.asarray(cv2.blur(likely, (3, 3)), np.float32)

    def _steady(self, name: str, look: Look, told: Floats) -> Floats:
        """What is told, and what was told in the last picture, moved as the face has."""
        if name in self._last:
            last, before = self._last[name]
            way = _similar(before.mesh[OVAL, :2], look.mesh[OVAL, :2])
            size = told.shape[1], told.shape[0]
            moved = cv2.warpAffine(last, way, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            told = told + STEADY * np.clip(moved - told, -STEADY, STEADY)
        self._last[name] = told, look
        return told


def dye(picture: Picture, mask: Mask, look: Look, dyes: Sequence[tuple[Floats, NDArray[np.uint8]]]) -> None:
    """Change colours of `picture` in place and set `mask`: by curves (1, 256, 3) of its levels, as far as shares (h, w) say.

    The curves are applied to what is soft, and the change is added: grain and single hairs stay as strong as they were.
    """
    change = np.zeros(look.cells.shape, np.float32)
    for share, curve in dyes:
        part = _where(share)
        soft = look.soft[part]
        if soft.size:
            other = cv2.blur(cv2.subtract(cv2.LUT(soft, curve), soft, dtype=cv2.CV_32F), (3, 3))
            change[part] += cv2.merge([share[part]] * 3) * other
    rows, columns = _where(np.maximum.reduce([share for share, _ in dyes]))
    step, (wide, high) = look.step, look.size
    shift = np.round(change[rows, columns]).astype(np.int16)
    if not shift.size:
        return
    if step > 1:
        shift = np.asarray(cv2.resize(shift, None, fx=step, fy=step, interpolation=cv2.INTER_LINEAR), np.int16)
    left, top = columns.start * step, rows.start * step
    shift = np.ascontiguousarray(shift[: high - top, : wide - left])
    there = slice(look.y + top, look.y + top + shift.shape[0]), slice(look.x + left, look.x + left + shift.shape[1])
    picture[there] = cv2.add(picture[there], shift, dtype=cv2.CV_8U)
    mask[there] = 255


def _where(share: Floats) -> tuple[slice, slice]:
    """The rows and columns that hold all shares that count, with a border of cells that don't."""
    x, y, wide, high = cv2.boundingRect((share > 1 / 255).astype(np.uint8))
    if not wide:
        return slice(0, 0), slice(0, 0)
    return slice(max(y - 3, 0), y + high + 3), slice(max(x - 3, 0), x + wide + 3)


def _index(colours: NDArray[np.uint8]) -> NDArray[np.int32]:
    """The bin of each colour (…, 3)."""
    fine = (colours >> 3).astype(np.int32)
    return np.asarray((fine[..., 0] << 10) + (fine[..., 1] << 5) + fine[..., 2], np.int32)


def _counted(colours: NDArray[np.uint8]) -> Floats:
    """How common each bin's colours are among some (n, 3), smoothed: (BINS, BINS, BINS), of sum 1, or 0 without colours."""
    counts = np.bincount(_index(colours), minlength=BINS**3).astype(np.float32)
    cube: Floats = (counts / np.float32(max(len(colours), 1))).reshape(BINS, BINS, BINS)
    for axis in range(3):
        turned = np.moveaxis(cube, axis, 0)
        flat = np.ascontiguousarray(turned).reshape(BINS, -1)
        smooth = np.asarray(cv2.GaussianBlur(flat, (1, 9), 1.3, borderType=cv2.BORDER_CONSTANT), np.float32)
        cube = np.asarray(np.moveaxis(smooth.reshape(BINS, BINS, BINS), 0, axis), np.float32)
    return np.ascontiguousarray(cube, np.float32)


def _cast(skin: NDArray[np.uint8]) -> Floats:
    """The colour of the light on skin (n, 3), of mean 1; only most of the way, because people's skin differs."""
    if not len(skin):
        return np.ones(3, np.float32)
    middle = np.median(skin, axis=0) + 1.0
    light = (middle / middle.mean() / WHITE) ** 0.6
    return np.asarray(light / light.mean(), np.float32)


def _lit(colours: NDArray[np.uint8], by: float) -> NDArray[np.uint8]:
    return np.asarray(np.clip(by * colours, 0, 255), np.uint8)


def _firm(share: Floats, low: float, high: float) -> Floats:
    share = np.clip((share - low) / (high - low), 0, 1)
    return np.ascontiguousarray(share * share * (3 - 2 * share), np.float32)


def _connected(share: Floats, seeds: NDArray[np.bool_]) -> Floats:
    """The shares in and next to those parts that are above a third and hang together with one of the seeds."""
    _, parts = cv2.connectedComponents((share[::2, ::2] > 0.33).astype(np.uint8), connectivity=4)
    kept = np.bincount(parts[seeds[::2, ::2]], minlength=int(parts.max()) + 1) >= 3
    kept[0] = False
    return np.asarray(share * cv2.dilate(_full(kept[parts], share), np.ones((5, 5), np.uint8)), np.float32)


def _holes(share: Floats) -> Floats:
    """1 in small parts that are below a half and have higher shares all around, softly."""
    _, parts, sizes, _ = cv2.connectedComponentsWithStats((share[::2, ::2] < 0.5).astype(np.uint8), connectivity=4)
    small = 4 * sizes[:, cv2.CC_STAT_AREA] < HOLE
    small[0] = False
    return np.asarray(cv2.blur(_full(small[parts], share).astype(np.float32), (3, 3)), np.float32)


def _full(every_other: NDArray[np.bool_], like: Floats) -> Mask:
    """Every other cell's value for all cells."""
    return np.asarray(cv2.resize(every_other.astype(np.uint8), like.shape[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def _similar(before: Floats, after: Floats) -> NDArray[np.float64]:
    """The turn, scale and shift (2, 3) that takes points (n, 2) nearest to others."""
    here, there = (np.asarray(p, np.float64) @ (1, 1j) for p in (before, after))
    factor = np.vdot(here - here.mean(), there - there.mean()) / max(np.square(np.abs(here - here.mean())).sum(), 1e-12)
    shift = there.mean() - factor * here.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])
