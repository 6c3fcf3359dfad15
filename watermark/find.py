"""Where the tiles lie in a picture that was cropped, mirrored, scaled, stretched or turned on its way.

All tiles added up at a supposed place are, to their spectrum, the whole picture's spectrum at the frequencies that such
tiles have. So one transform of the picture serves all suppositions: each takes the few hundred values at the template's
frequencies, and one small inverse transform tells whether the template is there, wherever its tiles begin (phase
correlation, Kuglin and Hines 1975). That takes a few microseconds, so all places are tried in steps that a part of the
picture tells apart; the best are refined on more of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, cos, degrees, exp, log, log2, radians, sin
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.peek import Luma
from watermark.tile import SMALL_SIDE, TILE, Bins, Layout, Plane, evened, half_luma

SCALES = (0.4, 1.7)
"""The smallest and the largest scale that is searched, in the file's pixels for one marked pixel."""

SMALLEST = 0.24
"""The smallest scale that is searched of what is neither turned nor stretched."""

TURN, STRETCH = 3.0, 0.055
"""Degrees either way, and how much width and height may be scaled against each other, that is searched."""

LARGEST = 4096
"""Marked pixels a side; of larger pictures the middle is read."""

_LEVELS = 4  # times that the picture is brought to about half of the marked resolution
_WINDOW = 256  # pixels of that which are searched at a time: more would ask for finer steps
_SLACK = 1.3  # times the window, that a picture may have and still be searched as one
_WIDE = 512  # pixels of that which places are refined on
_STEP = 0.8  # of the shortest waves across what is searched
_COARSEST = 0.035  # step of scale, stretch and turn, however small a picture is
_BETTER = 60  # places of each grid that are looked at once more
_KEPT = 6  # places that are refined
_BATCH = 64  # places at a time, so that their transforms stay in the processor's cache
_SIMPLER = 8.0  # how much of its squared peak a place may lose to be simpler: e**4 as likely beforehand

Places = NDArray[np.float64]
"""(n, 4) supposed places: -1 where mirrored, else 1; logarithm of the scale; logarithm of width's scale over height's;
turn in radians, clockwise as seen."""


@dataclass(frozen=True)
class Place:
    """How a picture came from what was marked: mirrored, then scaled, then turned, then cropped.

    `scale_x` and `scale_y` are the file's pixels for one marked pixel; `turn` is in degrees, clockwise as seen. A corner
    of the pattern's tiles lies `right` and `down` of the upright picture's top left corner, in marked pixels below 128.
    """

    mirrored: bool = False
    scale_x: float = 1.0
    scale_y: float = 1.0
    turn: float = 0.0
    right: float = 0.0
    down: float = 0.0

    def matrix(self) -> NDArray[np.float64]:
        """(2, 2): from marked to the file's pixels, both as (x, y) from the picture's middle."""
        c, s = cos(radians(self.turn)), sin(radians(self.turn))
        across = -self.scale_x if self.mirrored else self.scale_x
        return np.array([[c * across, -s * self.scale_y], [s * across, c * self.scale_y]])


@dataclass(frozen=True)
class Guess:
    """A place where a layout's template stands out: `standing` is the square of its standard deviations above chance,
    less what so many beginnings of the tiles as were tried there explain."""

    standing: float
    layout: Layout
    place: Place


@dataclass(frozen=True)
class _View:
    """A picture at about half of the marked resolution, or its middle, as a spectrum whose phases are about one pixel.

    All (x, y) in the file's pixels: `size` of the picture; `shrunk`, what one of the view's pixels is; `about`, where
    that pixel is from the picture's middle. `across` is the longer side, in tiles.
    """

    spectrum: NDArray[np.complex64]
    size: tuple[int, int]
    shrunk: tuple[float, float]
    about: tuple[float, float]
    across: float

    def step(self, plan: Layout) -> float:
        """What is told apart of scale, stretch and turn (radians): about one of the shortest waves across the view."""
        return float(min(_STEP / (self.across * plan.ky.max()), _COARSEST))


def search(lumas: Sequence[Luma], layouts: Sequence[Layout]) -> list[Guess]:
    """The places where a layout's template stands out most, the likeliest first. All `lumas` are taken to lie alike."""
    edges = [log(SMALLEST), *np.linspace(log(SCALES[0]), log(SCALES[1]), _LEVELS + 1)]
    tried: list[tuple[float, Layout, Places, _View]] = []
    for low, high in pairwise(edges):
        scale = exp((low + high) / 2)
        plane, shrunk = _together(lumas, scale)
        wide = _view(lumas[0], plane, shrunk, scale, _WIDE)
        part = wide if max(plane.shape) <= _SLACK * _WINDOW else _view(lumas[0], plane, shrunk, scale, _WINDOW)
        for plan in layouts:
            if not fits(plan, lumas[0], exp(high)):
                continue
            fine = wide.step(plan)
            grids = [(wide, _places(low, high, fine, turn=0.0, stretch=0.0))]
            if low >= log(SCALES[0]):
                grids.append((part, _places(low, high, part.step(plan))))
                if part is not wide:  # which takes too many steps to be searched for what is both turned and stretched
                    either = [_places(low, high, fine, turn=0.0), _places(low, high, fine, stretch=0.0)]
                    grids.append((wide, np.concatenate(either)))
            for view, places in grids:
                # The best of more places stands out more by chance: in squares, by twice the logarithm of their number.
                tops = _tops(view, plan, places)
                tried += [(standing - 2 * log(len(places)), plan, place, wide) for standing, place in tops]
    tried.sort(key=lambda one: -one[0])
    guesses = [_refined(view, plan, place) for _, plan, place, view in tried[:_KEPT]]
    return sorted(guesses, key=lambda guess: -guess.standing)


def fits(plan: Layout, luma: Luma, scale: float) -> bool:
    """Whether a picture may have been so small when it was marked, and was scaled since, that it carries so few bits."""
    return plan.bits > 32 or min(luma.shape) < SMALL_SIDE * scale


def settled(plan: Layout, bins: Bins) -> tuple[float, float, float]:
    """(peak, down, right): where the tiles lie, to a quarter of a pixel, and how far the template stands out there."""
    peak, down, right = plan.locate(bins)
    near = np.arange(-3, 4) / 4
    moves = np.exp(2j * np.pi / TILE * np.multiply.outer(near, np.stack([plan.ky, plan.kx])[:, plan.sync]))
    there = moved(plan, bins, down, right)
    agreed = there[plan.sync] * np.conj(plan.template) * plan.trust(there)[plan.sync]
    fit = np.einsum("ik,jk,k->ij", moves[:, 0], moves[:, 1], agreed).real
    at_down, at_right = divmod(int(fit.argmax()), len(near))
    return peak, float(down + near[at_down]) % TILE, float(right + near[at_right]) % TILE


def moved(plan: Layout, bins: Bins, down: float, right: float) -> Bins:
    """The bins of a picture whose tiles lie `down` and `right` pixels off, moved to where they belong."""
    return np.asarray(bins * np.exp(2j * np.pi / TILE * (plan.ky * down + plan.kx * right)), np.complex64)


def upright(luma: Luma, place: Place) -> Plane:
    """The picture as it was marked, at half resolution, but for where its tiles begin."""
    luma = _middle(luma, int(LARGEST * min(place.scale_x, place.scale_y)))
    height, width = luma.shape
    if (place.mirrored, place.scale_x, place.scale_y, place.turn) == (False, 1.0, 1.0, 0.0):
        return half_luma(luma)
    size = max(round(width / 2 / place.scale_x), 2), max(round(height / 2 / place.scale_y), 2)
    plane, shrunk = _resized(luma, size)
    turn = place.matrix() * 2 / np.array(shrunk)[:, None]
    middle = (np.array(plane.shape[::-1]) - 1) / 2
    to_plane = np.column_stack([turn, middle - turn @ ((np.array(size) - 1) / 2)])
    way = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(plane, to_plane, size, flags=way, borderMode=cv2.BORDER_REFLECT_101), np.float32)


def _middle(plane: NDArray[Any], side: int) -> NDArray[Any]:
    height, width = plane.shape
    top, left = max(height - side, 0) // 2, max(width - side, 0) // 2
    return plane[top : top + side, left : left + side]


def _resized(luma: Luma, size: tuple[int, int]) -> tuple[Plane, tuple[float, float]]:
    """Luma brought to `size` (width, height) or to its own where that is smaller; and by how much it was shrunk."""
    height, width = luma.shape
    size = min(size[0], width), min(size[1], height)
    plane = luma.astype(np.float32)
    if size != (width, height):
        plane = np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.float32)
    return plane, (width / size[0], height / size[1])


def _together(lumas: Sequence[Luma], scale: float) -> tuple[Plane, tuple[float, float]]:
    """The pictures evened out at half of the marked resolution, and added up; and by how much they were shrunk."""
    planes = []
    for luma in lumas:
        part = _middle(luma, ceil(2 * _WIDE * scale))
        size = max(round(part.shape[1] / 2 / scale), 8), max(round(part.shape[0] / 2 / scale), 8)
        plane, shrunk = _resized(part, size)
        planes.append(evened(plane))
    return np.sum(planes, 0, dtype=np.float32), shrunk


def _view(luma: Luma, plane: Plane, shrunk: tuple[float, float], scale: float, side: int) -> _View:
    """The middle of a `plane` that was made from the middle of pictures like `luma`, up to `side` pixels a side."""
    from scipy import fft  # a sixth of a second, in every process: most never look for a place

    part = _middle(plane, side)
    height, width = part.shape
    # Twice the picture's size, so that its spectrum is sampled finely enough to take the nearest value.
    size = max(2 * 2 ** ceil(log2(max(part.shape) / _SLACK)), 128)
    padded = np.zeros((size, size), np.float32)
    padded[:height, :width] = part
    seen = fft.fft2(np.roll(padded, (-(height // 2), -(width // 2)), (0, 1)))
    strength = np.abs(seen)
    level = cv2.blur(strength, (15, 15)) + np.float32(1e-9)
    even = seen * np.minimum(1 / level, 2.2 / (strength + np.float32(1e-9)))
    y, x = (
        _aside(luma.shape[axis], round(plane.shape[axis] * shrunk[1 - axis]))
        + shrunk[1 - axis] * (_aside(plane.shape[axis], part.shape[axis]) + (1 - part.shape[axis] % 2) / 2)
        for axis in (0, 1)
    )
    return _View(even.astype(np.complex64), luma.shape[::-1], shrunk, (x, y), max(part.shape) * shrunk[0] / scale / TILE)


def _aside(whole: int, part: int) -> float:
    """By how much the middle of `_middle`'s part is beside the whole's."""
    return (whole - part) // 2 + part / 2 - whole / 2


def _places(low: float, high: float, step: float, turn: float = radians(TURN), stretch: float = STRETCH) -> Places:
    """A grid of places with logarithms of the scale from `low` to `high`."""
    scales = low + (np.arange(ceil((high - low) / step)) + 0.5) * step
    around = [np.arange(-count, count + 1) * step for count in (round(stretch / step), round(turn / step))]
    return np.stack(np.meshgrid([1.0, -1.0], scales, *around, indexing="ij"), -1).reshape(-1, 4)


def _tops(view: _View, plan: Layout, places: Places) -> list[tuple[float, Places]]:
    """The best places that are no neighbours: looked at roughly, and then the better of them finely."""
    better = places[np.argsort(-_standings(view, plan, places), kind="stable")[:_BETTER]]
    standings = _standings(view, plan, better, fine=True)
    found: list[tuple[float, Places]] = []
    for at in np.argsort(-standings, kind="stable"):
        if all(np.abs(better[at] - other).max() > 2.1 * view.step(plan) for _, other in found):
            found.append((float(standings[at]), better[at]))
        if len(found) == _KEPT:
            break
    return found


def _refined(view: _View, plan: Layout, place: Places) -> Guess:
    """The place nearby where the template stands out most, or about as much but simpler: not turned, not stretched."""
    around = np.stack(np.meshgrid([0.0], *[[-1.0, 0.0, 1.0]] * 3, indexing="ij"), -1).reshape(-1, 4)
    finest = view.step(plan) / 8
    standing, step = 0.0, max(view.step(plan), _STEP / (_WINDOW / (TILE // 2) * plan.ky.max())) / 2
    while step >= finest:
        standing, place = _best(view, plan, place + step * around)
        step /= 2
    mirrored, scale, stretch, turn = place
    scales = scale + finest * np.arange(-6, 7)
    for simple in (
        [[mirrored, 0.0, 0.0, 0.0]],
        [[mirrored, other, 0.0, 0.0] for other in scales],
        [[mirrored, 0.0, 0.0, turn]],
        [[mirrored, other, 0.0, turn] for other in scales],
        [[mirrored, other, stretch, 0.0] for other in scales],
    ):
        lower, other = _best(view, plan, np.array(simple))
        if lower > standing - _SIMPLER:
            standing, place = lower, other
            break
    mirrored, scale, stretch, turn = (float(value) for value in place)
    return Guess(standing, plan, Place(mirrored < 0, exp(scale + stretch / 2), exp(scale - stretch / 2), degrees(turn)))


def _best(view: _View, plan: Layout, places: Places) -> tuple[float, Places]:
    standings = _standings(view, plan, places, fine=True)
    return float(standings.max()), places[standings.argmax()]


def _standings(view: _View, plan: Layout, places: Places, fine: bool = False) -> NDArray[np.float32]:
    """(places,): how far the template stands out at each, see `Guess`: either wherever its tiles begin, or right where
    they do in a picture of which nothing was cropped.

    `fine` looks between the spectrum's values, and between the beginnings that the template's frequencies just tell
    apart; else a peak is found at three quarters of its height or more.
    """
    from scipy import fft

    k = np.stack([plan.kx, plan.ky])[:, plan.sync].astype(np.float32)
    expected = (np.conj(plan.template) * plan.amplitude[plan.sync]).astype(np.complex64)
    rough = 2 * int(plan.ky.max()) + 1
    side = fft.next_fast_len(2 * rough if fine else rough, real=True)
    at = (plan.ky[plan.sync] % side) * (side // 2 + 1) + plan.kx[plan.sync]
    mirrored, scale, stretch, turn = places.T
    across, along = mirrored * np.exp(scale + stretch / 2), np.exp(scale - stretch / 2)
    # Where pixels move by a matrix, a wave's cycles a pixel move by the transpose of its inverse.
    x, y = (shrunk * len(view.spectrum) / TILE for shrunk in view.shrunk)
    c, s = np.cos(turn), np.sin(turn)
    waves = np.stack([x * c / across, -x * s / along, y * s / across, y * c / along], 1).astype(np.float32)
    # The marked pixel that the spectrum's phases are about, if the picture's corner is that of what was marked.
    begin = [
        (size / 2 + about * sign) / scaled - 0.5
        for size, about, sign, scaled in zip(view.size, view.about, (mirrored, 1.0), (np.abs(across), along), strict=True)
    ]
    phases = (2 * np.pi / TILE * np.stack(begin, 1)).astype(np.float32)
    standings = np.empty(len(places), np.float32)
    for start in range(0, len(places), _BATCH):
        batch = slice(start, start + _BATCH)
        right, down = waves[batch, :2] @ k, waves[batch, 2:] @ k
        values = (_between if fine else _nearest)(view.spectrum, right, down) * expected
        values[np.maximum(np.abs(right), np.abs(down)) >= len(view.spectrum) / 2] = 0  # finer than the picture's pixels
        power = 2 * (values.real**2 + values.imag**2).sum(1) + np.float32(1e-12)
        phase = phases[batch] @ k
        uncropped = 2 * (values.real * np.cos(phase) + values.imag * np.sin(phase)).sum(1)
        grid = np.zeros((len(values), side * (side // 2 + 1)), np.complex64)
        grid[:, at] = values
        fit = fft.irfft2(grid.reshape(-1, side, side // 2 + 1), (side, side), overwrite_x=True)
        anywhere = fit.reshape(len(values), -1).max(1) * side**2
        standings[batch] = np.maximum(anywhere**2 / power - 2 * log(rough**2), np.maximum(uncropped, 0) ** 2 / power)
    return standings


def _nearest(spectrum: Bins, right: Plane, down: Plane) -> Bins:
    side = len(spectrum)  # a power of two, so that masking counts negative frequencies from the end
    return spectrum.ravel()[
        (np.rint(down).astype(np.int32) & (side - 1)) * side + (np.rint(right).astype(np.int32) & (side - 1))
    ]


def _between(spectrum: Bins, right: Plane, down: Plane) -> Bins:
    left, top = np.floor(right), np.floor(down)
    x, y = right - left, down - top
    upper = (1 - x) * _nearest(spectrum, left, top) + x * _nearest(spectrum, left + 1, top)
    lower = (1 - x) * _nearest(spectrum, left, top + 1) + x * _nearest(spectrum, left + 1, top + 1)
    return np.asarray((1 - y) * upper + y * lower, np.complex64)
