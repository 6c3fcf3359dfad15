"""The mark in one picture: a keyed, band-limited pattern on a torus of 128 x 128 pixels, tiled over the luma.

A part of the pattern's frequencies, known to every holder of the master key, says where the tiles lie (so a crop or a
shift is found by one correlation); the others carry the code bits, each spread over many frequencies with signs of the
shard's key. The band is low enough to outlive scaling, chroma subsampling and compression. The pattern is stronger
where the picture hides it, and each code bit is made as strong as this very picture asks for: the marker looks at its
own result through the reader's eyes and mends the weak bits. How strong the whole is: see `strength`.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy import fft
from numpy.typing import NDArray

from forgeline.clip import Picture
from forgeline.errors import MediaError
from watermark.keys import ShardKey
from watermark.payload import Mark, Soft, code_length, encode, payload

Plane = NDArray[np.float32]
Bins = NDArray[np.complex64]
"""(bins of a layout,) what a picture shows at the layout's frequencies, evened out to about unit amplitude."""

TILE = 128
"""Pixels from one repetition of the pattern to the next; smaller pictures can't be marked."""

SMALL_SIDE = 400
"""Pixels; a picture whose shorter side is below carries 32 bits in a wider band, others 64."""

_HALF = TILE // 2
# Cycles a tile; the upper end by payload. Below five, pictures themselves are too strong; a quarter of the size leaves
# sixteen, and x264 at crf 32 little above twenty, but small pictures need the room (and are rarely scaled down).
_LOWEST, _HIGHEST = 5.0, {64: 19.0, 32: 26.0}
_SYNC_SHARE = 0.28
_SYNC_GAIN = np.float32(np.sqrt(2.0))
_TILT = 0.25  # amplitude rises with frequency a little, as the pictures' own falls


def bits_for(width: int, height: int) -> int:
    """Payload bits of a picture of that size: 32 below 400 pixels on the shorter side, else 64. MediaError below
    128."""
    side = min(width, height)
    if side < TILE:
        raise MediaError(
            f"{width}x{height}", f"is too small for the mark, which needs {TILE} pixels a side", "leave the clip out"
        )
    return 32 if side < SMALL_SIDE else 64


@dataclass(frozen=True)
class Layout:
    """Where on the torus's frequencies what is: made from the master key's layout secret and the payload's size.

    `ky`, `kx` int (bins,): cycles a tile, kx > 0; `ring` int (bins,): frequencies of about equal radius; `amplitude`
    float32 (bins,). `sync` int: the bins of the template, `template` complex64: their unit phases. `carriers` int: the
    real numbers (2 * bin for the real, 2 * bin + 1 for the imaginary part) that carry data, ordered by code bit;
    `starts` int (code bits,): where each code bit's carriers start; `code_bit` int (carriers,): the code bit of each.
    """

    bits: int
    ky: NDArray[np.intp]
    kx: NDArray[np.intp]
    ring: NDArray[np.intp]
    amplitude: NDArray[np.float32]
    sync: NDArray[np.intp]
    template: Bins
    carriers: NDArray[np.intp]
    starts: NDArray[np.intp]
    code_bit: NDArray[np.intp]
    half_index: NDArray[np.intp]
    half_phase: Bins
    half_gain: NDArray[np.float32]

    def bins(self, folded: NDArray[np.complex64], flip: bool = False) -> Bins:
        """The layout's view of `fold`'s result, or of its mirror image: phases kept, amplitudes evened out by ring."""
        if flip:
            seen = np.conj(folded.ravel()[(-self.ky % _HALF) * (_HALF // 2 + 1) + self.kx])
            # Mirroring pixels also moves the origin by one half-resolution pixel; the shift search absorbs it.
        else:
            seen = folded.ravel()[self.half_index]
        seen = seen * self.half_phase
        size = np.abs(seen) + np.float32(1e-9)
        mean = np.bincount(self.ring, size) / np.bincount(self.ring)
        gain: NDArray[np.float32] = np.minimum(1 / mean[self.ring], 2.2 / size).astype(np.float32)
        even: Bins = seen * gain
        return even

    def shifted(self, bins: Bins, down: int, right: int) -> Bins:
        """The bins of the picture whose tiles lie `down` and `right` pixels off, moved to where they belong."""
        if not (down or right):
            return bins
        turn = np.exp(2j * np.pi / TILE * (self.ky * down + self.kx * right))
        moved: Bins = bins * turn.astype(np.complex64)
        return moved

    def locate(self, bins: Bins) -> tuple[float, int, int]:
        """(peak, down, right): where the tiles lie, and by how many standard deviations the correlation stands out."""
        grid = np.zeros((TILE, TILE // 2 + 1), np.complex64)
        ky, kx = self.ky[self.sync] % TILE, self.kx[self.sync]
        grid[ky, kx] = bins[self.sync] * np.conj(self.template) * self.amplitude[self.sync]
        correlation = fft.irfft2(grid, (TILE, TILE))
        at = int(correlation.argmax())
        return float(correlation.flat[at] / correlation.std()), at // TILE, at % TILE

    def agreement(self, bins: Bins) -> NDArray[np.float32]:
        """(template bins,): how much each agrees with the template: 1 wholly, 0 on average in an unmarked picture."""
        agreed: NDArray[np.float32] = (bins[self.sync] * np.conj(self.template)).real
        return agreed

    def soft(self, bins: Bins, signs: NDArray[np.float32], trust: NDArray[np.float32] | None = None) -> Soft:
        """Soft code bits (…, code bits) under shards' `signs` (…, carriers), bins weighed by `trust` (bins,)."""
        weight = self.amplitude if trust is None else trust
        values = np.ascontiguousarray(bins * weight).view(np.float32)[self.carriers]
        return np.add.reduceat(values * signs, self.starts, axis=-1)

    def trust(self, bins: Bins) -> NDArray[np.float32]:
        """(bins,): the weight of each frequency, from how well the template near it has come through."""
        agreed = self.agreement(bins)
        mean = max(float(agreed.mean()), 0.02)
        rings = np.arange(self.ring.max() + 1)
        near = np.exp(-0.5 * ((rings[:, None] - rings) / 1.2) ** 2)
        total = near @ np.bincount(self.ring[self.sync], agreed, len(rings))
        count = near @ np.bincount(self.ring[self.sync], minlength=len(rings))
        prior = 8  # bins' worth of the overall mean, for rings with few template bins
        weight = np.maximum((total + prior * mean) / (count + prior), 0.1 * mean)
        chosen: NDArray[np.float32] = weight[self.ring].astype(np.float32)
        return chosen


@lru_cache(maxsize=8)
def layout(secret: bytes, bits: int) -> Layout:
    """The layout of a master key's layout secret for a payload of 32 or 64 bits."""
    highest = _HIGHEST[bits]
    reach = np.arange(-int(highest), int(highest) + 1)
    ky, kx = (axis.ravel() for axis in np.meshgrid(reach, reach[reach > 0], indexing="ij"))
    radius = np.hypot(ky, kx)
    inside = (radius >= _LOWEST) & (radius <= highest)
    ky, kx, radius = ky[inside], kx[inside], radius[inside]
    order = _shuffled(secret, f"{bits}/bins", len(radius))
    sync, data = np.sort(order[: int(len(order) * _SYNC_SHARE)]), order[int(len(order) * _SYNC_SHARE) :]
    phases = _words(secret, f"{bits}/template", len(sync)) / 2.0**64
    # Carriers are dealt from low to high frequency, a shuffled hand of all code bits at a time: each gets the same mix.
    data = data[np.argsort(radius[data], kind="stable")]
    carriers = np.stack([2 * data, 2 * data + 1], 1).ravel()
    length = code_length(bits)
    hands = -(-len(carriers) // length)
    dealt = np.concatenate([_shuffled(secret, f"{bits}/hand/{hand}", length) for hand in range(hands)])[: len(carriers)]
    by_bit = np.argsort(dealt, kind="stable")
    turn = np.pi / TILE
    return Layout(
        bits=bits,
        ky=ky,
        kx=kx,
        ring=np.maximum((radius - _LOWEST) / 1.5, 0).astype(np.intp),
        amplitude=((radius / 10) ** _TILT).astype(np.float32),
        sync=sync,
        template=np.exp(2j * np.pi * phases).astype(np.complex64),
        carriers=carriers[by_bit],
        starts=np.searchsorted(dealt[by_bit], np.arange(length)),
        code_bit=dealt[by_bit],
        half_index=(ky % _HALF) * (_HALF // 2 + 1) + kx,
        # A pixel at half resolution is the mean of 2 x 2: centred half a pixel further, and weaker at high frequencies.
        half_phase=np.exp(-1j * turn * (ky + kx)).astype(np.complex64),
        half_gain=(np.cos(turn * ky) * np.cos(turn * kx)).astype(np.float32),
    )


@lru_cache(maxsize=4096)
def signs(key: ShardKey, bits: int) -> NDArray[np.float32]:
    """The shard's data signs (carriers,), +1 or -1."""
    count = len(layout(key.layout, bits).carriers)
    stream = hashlib.shake_256(key.secret + f"/signs/{bits}".encode()).digest(-(-count // 8))
    chosen: NDArray[np.float32] = 1 - 2 * np.unpackbits(np.frombuffer(stream, np.uint8))[:count].astype(np.float32)
    return chosen


def _words(secret: bytes, purpose: str, count: int) -> NDArray[np.uint64]:
    # Not numpy's generators: their streams may change between versions, and a mark must be readable for years.
    stream = hashlib.shake_256(secret + f"/{purpose}".encode()).digest(8 * count)
    return np.frombuffer(stream, "<u8")


def _shuffled(secret: bytes, purpose: str, count: int) -> NDArray[np.intp]:
    return np.argsort(_words(secret, purpose, count), kind="stable")


class Pattern:
    """The pattern that one payload makes under one shard's key, laid into the picture it is for."""

    def __init__(self, key: ShardKey, mark: Mark) -> None:
        self.layout = layout(key.layout, mark.bits)
        self._signs = signs(key, mark.bits)
        self._code = 1 - 2 * encode(payload(mark, key.secret)).astype(np.float32)

    def change(self, luma: Plane, strength: Plane, height: int, width: int) -> Plane:
        """What to add to each channel of a picture (height, width) whose half-resolution luma is given; `strength` is how
        strong the pattern is at each place of that luma, in levels."""
        pattern = np.zeros((TILE, TILE // 2 + 1), np.complex64)
        pattern[self.layout.ky % TILE, self.layout.kx] = self._spectrum(luma, strength)
        tiles = _tiled(_plane(pattern, TILE), height, width)
        return tiles * cv2.resize(strength, (width, height), interpolation=cv2.INTER_LINEAR)

    def _spectrum(self, luma: Plane, strength: Plane) -> Bins:
        """The pattern's bins, of unit variance, the code bits strengthened that this picture speaks against.

        Once, and in part: what is done so with this picture's disturbance does not fit that of a crop.
        """
        plan = self.layout
        half = np.zeros((_HALF, _HALF // 2 + 1), np.complex64)
        even = self._mixed(np.ones(len(self._code), np.float32))
        # The inverse transform divides by the number of pixels, here a quarter as many.
        half.ravel()[plan.half_index] = even * np.conj(plan.half_phase) * plan.half_gain / 4
        tiles = _tiled(_plane(half, _HALF), *luma.shape)
        read = plan.soft(plan.bins(fold(luma + tiles * strength)), self._signs) * self._code
        mean = max(float(read.mean()), 1e-6)
        return self._mixed(np.clip(1 + np.float32(0.7) * (mean - read) / mean, 0.15, 3.5))

    def _mixed(self, gains: NDArray[np.float32]) -> Bins:
        plan = self.layout
        spectrum = np.zeros(len(plan.ky), np.complex64)
        spectrum[plan.sync] = plan.template * _SYNC_GAIN
        spectrum.view(np.float32)[plan.carriers] = self._signs * (self._code * gains)[plan.code_bit]
        spectrum *= plan.amplitude
        # Parseval: each bin stands for itself and its conjugate.
        power = 2 * float(np.vdot(spectrum, spectrum).real) / TILE**4
        return spectrum / np.float32(np.sqrt(power))


def folded(picture: Picture) -> NDArray[np.complex64]:
    """What a picture shows to every layout: see `fold`."""
    return fold(half_luma(grey(picture)))


def grey(picture: Picture) -> NDArray[np.uint8]:
    """Luma (height, width), where the mark is."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def half_luma(luma: NDArray[np.uint8]) -> Plane:
    """Luma (height, width) at half resolution: all that is read lies well below half of the pixels' band."""
    height, width = luma.shape
    even = luma[: height & ~1, : width & ~1]
    return cv2.resize(even, (width // 2, height // 2), interpolation=cv2.INTER_AREA).astype(np.float32)


def fold(luma: Plane) -> NDArray[np.complex64]:
    """What all tiles of a half-resolution luma show together, as a spectrum (64, 33)."""
    return gathered(evened(luma))


def evened(luma: Plane) -> Plane:
    """A luma freed of what varies slowly and evened out in contrast, so that no edge outweighs the rest.

    Contrast is taken over a few pixels only, and flat places count somewhat more: they carry less mark, but disturb it
    less still.
    """
    rough = luma - cv2.blur(cv2.blur(luma, (3, 3)), (3, 3))
    contrast = _root(cv2.blur(cv2.blur(rough * rough, (3, 3)), (3, 3))) + np.float32(2)
    even: Plane = np.clip(rough / contrast, np.float32(-2.5), np.float32(2.5)) / np.sqrt(contrast)
    return even


def gathered(even: Plane) -> NDArray[np.complex64]:
    """All tiles of `evened`'s result at half resolution added up, as a spectrum (64, 33)."""
    height, width = even.shape
    padded = cv2.copyMakeBorder(even, 0, -height % _HALF, 0, -width % _HALF, cv2.BORDER_CONSTANT, value=0)
    tiles = padded.reshape(padded.shape[0] // _HALF, _HALF, padded.shape[1] // _HALF, _HALF)
    return np.asarray(fft.rfft2(tiles.sum((0, 2), dtype=np.float32)), np.complex64)


def hidden(luma: Plane) -> Plane:
    """How strong the pattern may be at each place of a half-resolution luma, its power 1 on average: more in texture, in
    the dark and in the light.

    Texture is the smallest contrast of a neighbourhood: the flat side of an edge does not hide what the edge would.
    """
    rough = luma - cv2.blur(luma, (5, 5))
    contrast = cv2.erode(_root(cv2.blur(rough * rough, (7, 7))), np.ones((9, 9), np.uint8))
    light = cv2.blur(luma, (9, 9))
    allowed = 1 + np.float32(0.3) * np.minimum(contrast, np.float32(16))
    allowed *= 1 + 0.35 * np.clip((60 - light) / 60, 0, 1) + 0.25 * np.clip((light - 170) / 85, 0, 1)
    allowed = np.clip(allowed / _rms(allowed), 0.5, 2.2)
    even: Plane = (allowed / _rms(allowed)).astype(np.float32)
    return even


def _rms(plane: Plane) -> float:
    return float(np.sqrt(np.mean(plane * plane)))


def _plane(spectrum: NDArray[np.complex64], side: int) -> Plane:
    return np.asarray(fft.irfft2(spectrum, (side, side)), np.float32)


def _tiled(tile: Plane, height: int, width: int) -> Plane:
    side = len(tile)
    return np.tile(tile, (-(-height // side), -(-width // side)))[:height, :width]


def _root(plane: NDArray[Any]) -> Plane:
    # A box filter's running sums can fall below zero by rounding.
    return np.sqrt(np.maximum(plane.astype(np.float32, copy=False), np.float32(0)))
