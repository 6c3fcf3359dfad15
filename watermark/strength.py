"""How strong a mark is: enough to be read after what files go through.

All images of a size are marked alike, with what suffices for nearly all photographs. A smooth picture would do with less;
but painted faces are smoother than filmed ones, and a mark as faint as its picture allows would tell them apart. A rough
one that needs more is marked, attacked as others will attack it, and read, and the faintest strength is taken that holds.

For a video that is looked for from fainter on: a forgery shows its control's scene, which decides the strength of both. It
is marked in groups of pictures as its encoder codes them: the first of a group is coded by itself and carries the mark
through compression, so it alone is measured, and the others repeat its pattern where they show what it shows. That
costs the encoder nothing there; where something moves, a pattern that stays would cost bits, and not be read any better.
"""

from collections.abc import Callable, Sequence
from math import log2, sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture
from forgeline.errors import MediaError, PromiseError
from watermark.evidence import Evidence
from watermark.keys import ShardKey
from watermark.payload import Mark, code_length
from watermark.tile import TILE, Pattern, Plane, fold, grey, half_luma, hidden

Luma = NDArray[np.uint8]
Change = NDArray[np.int16]

WANTED = 0.72
"""Of the highest possible score, what is to be reached after each attack, and the payload read: most are from 0.6."""

_LARGE = 512  # pixels of the shorter side: in smaller pictures fewer carry the mark, and it must be stronger
_IMAGE_DB, _IMAGE_HALVING = 45.5, 3.5  # dB of large images, and less for each halving: five in six of Kodak's hold then
_FAINTEST_FILM_DB = 50.0
_STEP = 0.5  # dB
_FLOOR_DB, _FLOOR_HALVING = 42.1, 2.0  # dB where the attacks are no longer asked, and less for each halving
_LAST = 30.0  # dB; beyond, a mark is seen by everyone
_ROUNDS = 2

_STILL, _MOVED, _LEFT = 1.0, 3.0, 0.25  # levels of grey where a pattern begins to fade and is faintest; what is left then


class Marker:
    """Marks the pictures of one clip, given in order, with one payload.

    `gop` is how many pictures the encoder codes as a group, 1 for images. `strength_db` fixes the strength (the peak
    signal-to-noise ratio of what is changed, in dB: lower is stronger) instead of looking for it; afterwards the
    attribute says what the newest group was marked with.
    """

    def __init__(self, key: ShardKey, mark: Mark, gop: int = 1, strength_db: float | None = None) -> None:
        self._key, self._mark, self._gop, self._fixed = key, mark, gop, strength_db
        self._pattern = Pattern(key, mark)
        self._pictures = 0
        self._first: Plane = np.empty((0, 0), np.float32)
        self._change: Change = np.empty((0, 0), np.int16)
        self.strength_db = strength_db or _IMAGE_DB

    def __call__(self, picture: Picture) -> Picture:
        """The marked picture, (height, width, 3) uint8 like the one given; both sides at least 128 pixels.

        Raises MediaError for an image that can't carry the mark however strong it is.
        """
        height, width = picture.shape[:2]
        if min(height, width) < TILE:
            raise PromiseError(f"{width}x{height}", f"is below {TILE} pixels", "report it: `bits_for` refuses such clips")
        luma = grey(np.ascontiguousarray(picture))
        half = half_luma(luma)
        if self._pictures % self._gop == 0:
            self._first = np.asarray(cv2.blur(half, (5, 5)), np.float32)
            self._change = change = self._found(picture, luma, half)
        elif luma.shape == self._change.shape:
            still = cv2.resize(self._still(half), (width, height), interpolation=cv2.INTER_LINEAR)
            change = np.asarray(cv2.multiply(self._change, still, dtype=cv2.CV_16S), np.int16)
        else:
            what = f"changes its size to {width}x{height}"
            raise PromiseError("a clip", what, "report it: a generator must keep the size it declared")
        self._pictures += 1
        return _laid(picture, change)

    def _still(self, half: Plane) -> Plane:
        """How much of the pattern each place of a half-resolution luma keeps: 1 where the group's first showed the
        same."""
        moved = cv2.absdiff(cv2.blur(half, (5, 5)), self._first)
        moved = cv2.blur(cv2.dilate(moved, np.ones((5, 5), np.uint8)), (15, 15))
        return np.asarray(np.clip(1 - (moved - _STILL) / (_MOVED - _STILL), _LEFT, 1), np.float32)

    def _found(self, picture: Picture, luma: Luma, half: Plane) -> Change:
        """What to add to a picture: as strong as its size asks for, as the attacks do, and as reading it at all does."""
        mask = hidden(half)

        def change(strength_db: float) -> Change:
            rms = np.float32(255 / 10 ** (strength_db / 20))
            return np.rint(self._pattern.change(half, mask * rms, *luma.shape)).astype(np.int16)

        if self._fixed is not None:
            return change(self._fixed)
        attacks = (_ON_VIDEO if self._gop > 1 else _ON_IMAGES)[self._mark.bits]
        halvings = max(log2(_LARGE / min(luma.shape)), 0)
        faintest = _FAINTEST_FILM_DB if self._gop > 1 else _IMAGE_DB - _IMAGE_HALVING * halvings
        floor = _FLOOR_DB - _FLOOR_HALVING * halvings
        steps = [*np.arange(faintest, floor, -_STEP).tolist(), floor]
        faint, strong = 0, len(steps) - 1  # the last is taken to hold
        if self._gop == 1 and self._holds(luma, change(faintest), attacks):
            strong = 0
        while faint < strong:
            middle = (faint + strong) // 2
            if self._holds(luma, change(steps[middle]), attacks):
                strong = middle
            else:
                faint = middle + 1

        def settled(strength_db: float) -> Change:
            """Of an image exactly as strong: rounding and clipping take away more in some than in others."""
            found, asked = change(strength_db), strength_db
            for _ in range(_ROUNDS if self._gop == 1 else 0):
                asked += strength_db - cv2.PSNR(picture, _laid(picture, found))
                found = change(asked)
            return found

        self.strength_db = steps[strong]
        found = settled(self.strength_db)
        while not self._reads(luma, found):
            if self.strength_db <= _LAST:
                if self._gop > 1:  # other groups may carry what this one can't
                    break
                what = "is too small or too textured to carry the mark"
                raise MediaError(f"{luma.shape[1]}x{luma.shape[0]}", what, "leave the clip out")
            self.strength_db = max(self.strength_db - 1, _LAST)
            found = settled(self.strength_db)
        return found

    def _holds(self, luma: Luma, change: Change, attacks: Sequence[Callable[[Luma], Plane]]) -> bool:
        marked, wanted = _added(luma, change), WANTED * sqrt(code_length(self._mark.bits))
        seen = (self._evidence(attack(marked)) for attack in attacks)
        return all(one.matched(self._key, self._mark) >= wanted and one.carries(self._key, self._mark) for one in seen)

    def _reads(self, luma: Luma, change: Change) -> bool:
        return self._evidence(half_luma(_jpeg(_added(luma, change), 50))).carries(self._key, self._mark)

    def _evidence(self, half: Plane) -> Evidence:
        evidence = Evidence(self._pattern.layout)
        evidence.add(self._pattern.layout.bins(fold(half)))
        return evidence


def _laid(picture: Picture, change: Change) -> Picture:
    return np.asarray(cv2.add(picture, cv2.merge([change, change, change]), dtype=cv2.CV_8U), np.uint8)


def _added(luma: Luma, change: Change) -> Luma:
    return np.asarray(cv2.add(luma, change, dtype=cv2.CV_8U), np.uint8)


def _jpeg(luma: Luma, quality: int) -> Luma:
    coded = cv2.imencode(".jpg", luma, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)


def _quarter(luma: Luma) -> Plane:
    half = half_luma(luma)
    small = cv2.resize(half, (half.shape[1] // 2, half.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, half.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _half_and_jpeg(luma: Luma) -> Plane:
    return _jpeg(np.rint(half_luma(luma)).astype(np.uint8), 75).astype(np.float32)


# Luma to what an attack leaves of it at half resolution, for images by their payload's bits: small ones are hardly scaled
# to a quarter.
_ON_IMAGES: dict[int, tuple[Callable[[Luma], Plane], ...]] = {
    64: (_quarter, _half_and_jpeg, lambda luma: half_luma(_jpeg(luma, 40))),
    32: (_half_and_jpeg, lambda luma: half_luma(_jpeg(luma, 40))),
}
# x264 at crf 32 as people call it, with key pictures 250 apart and a generation after crf 18: of strengths found with JPEG's
# quality 20, two in five films were lost to it; with 14, one of 24 small films and two of six large ones.
_ON_VIDEO: dict[int, tuple[Callable[[Luma], Plane], ...]] = {
    64: (lambda luma: half_luma(_jpeg(luma, 11)),),
    32: (lambda luma: half_luma(_jpeg(luma, 14)),),
}
