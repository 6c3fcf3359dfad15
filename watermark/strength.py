"""How strong a mark is: as faint as it may be, and yet read after what files go through.

Each picture (of a video: the first of each group that the encoder will code as one) is marked faintly, attacked as
others will attack it, and read; stronger, until the reading holds.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture
from forgeline.errors import MediaError, PromiseError
from watermark.evidence import Evidence
from watermark.keys import ShardKey
from watermark.payload import Mark
from watermark.tile import TILE, Pattern, Plane, fold, grey, half_luma, hidden

WANTED = 11.0
"""Matched score to be reached after each attack."""

_FAINTEST = 50.0  # dB
_STEP = 0.5  # dB
_STRONGEST = 30.0  # dB


class Marker:
    """Marks the pictures of one clip, given in order, with one payload.

    `gop` is how many pictures share what was found for the first of them: 1 for images, a video's key picture distance
    else. `strength_db` fixes the strength (the peak signal-to-noise ratio of what is changed, in dB: lower is stronger)
    instead of looking for it; afterwards the attribute says what was used for the newest picture.
    """

    def __init__(self, key: ShardKey, mark: Mark, gop: int = 1, strength_db: float | None = None) -> None:
        self._key, self._mark, self._gop, self._fixed = key, mark, gop, strength_db
        self._pattern = Pattern(key, mark)
        self._pictures = 0
        self._change: NDArray[np.int16] = np.empty((0, 0, 3), np.int16)
        self.strength_db = strength_db or _FAINTEST

    def __call__(self, picture: Picture) -> Picture:
        """The marked picture, (height, width, 3) uint8 like the one given; both sides at least 128 pixels.

        Raises MediaError for a picture that can't carry the mark however strong it is.
        """
        picture = np.ascontiguousarray(picture)
        height, width = picture.shape[:2]
        if min(height, width) < TILE:
            raise PromiseError(f"{width}x{height}", f"is below {TILE} pixels", "report it: `bits_for` refuses such clips")
        if self._pictures % self._gop == 0:
            self._change = self._found(grey(picture))
        if picture.shape != self._change.shape:
            what = f"changes its size to {width}x{height}"
            raise PromiseError("a clip", what, "report it: a generator must keep the size it declared")
        self._pictures += 1
        return np.asarray(cv2.add(picture, self._change, dtype=cv2.CV_8U), np.uint8)

    def _found(self, luma: NDArray[np.uint8]) -> NDArray[np.int16]:
        half = half_luma(luma)
        mask = hidden(half)

        def change(strength_db: float) -> NDArray[np.int16]:
            rms = np.float32(255 / 10 ** (strength_db / 20))
            return np.rint(self._pattern.change(half, mask * rms, *luma.shape)).astype(np.int16)

        if self._fixed is not None:
            found = change(self._fixed)
        else:
            steps = int((_FAINTEST - _floor(luma)) / _STEP)
            low, high = 0, steps  # of steps down from the faintest: `high` is taken to hold
            while low < high:
                middle = (low + high) // 2
                if self._holds(luma, change(_FAINTEST - middle * _STEP)):
                    high = middle
                else:
                    low = middle + 1
            self.strength_db = _FAINTEST - low * _STEP
            found = change(self.strength_db)
            while low == steps and not self._reads(luma, found):
                self.strength_db -= 1
                if self.strength_db < _STRONGEST:
                    what = "is too textured or too small to carry the mark"
                    raise MediaError(f"{luma.shape[1]}x{luma.shape[0]}", what, "leave the clip out")
                found = change(self.strength_db)
        return cv2.merge([found, found, found])

    def _holds(self, luma: NDArray[np.uint8], change: NDArray[np.int16]) -> bool:
        marked = np.asarray(cv2.add(luma, change, dtype=cv2.CV_8U), np.uint8)
        return all(self._evidence(attack(marked)).matched(self._key, self._mark) >= WANTED for attack in _ATTACKS)

    def _reads(self, luma: NDArray[np.uint8], change: NDArray[np.int16]) -> bool:
        marked = np.asarray(cv2.add(luma, change, dtype=cv2.CV_8U), np.uint8)
        return self._evidence(half_luma(_jpeg(marked, 75))).carries(self._key, self._mark)

    def _evidence(self, half: Plane) -> Evidence:
        plan = self._pattern.layout
        evidence = Evidence(plan)
        evidence.add(plan.bins(fold(half)))
        return evidence


def _floor(luma: NDArray[np.uint8]) -> float:
    return 42.0 - 2 * max(float(np.log2(512 / min(luma.shape))), 0.0)


def _jpeg(luma: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    coded = cv2.imencode(".jpg", luma, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE), np.uint8)


_ATTACKS: tuple[Callable[[NDArray[np.uint8]], Plane], ...] = (
    lambda luma: half_luma(_jpeg(luma, 50)),
    lambda luma: _jpeg(np.rint(half_luma(luma)).astype(np.uint8), 75).astype(np.float32),
)
"""Luma to what is left of it at half resolution: JPEG at quality 50, and half the size at quality 75."""
