"""What a clip shows, in a few bits that compression, scaling and the mark itself do not change.

A mark can be copied from one file onto another, its proof with it. The fingerprint, kept in the sample's row, tells
whether the file at hand shows what was sealed. It is no secret and proves nothing by itself. Sound has none.

There are bits of the whole picture and bits of its middle half. Of a file that was cut, the mark tells where the middle
lies, so that this can be compared. Faces changed within a scene are not noticed: fake and control of a pair have nearly the
same fingerprint.
"""

from collections.abc import Iterator
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture
from watermark.find import Place
from watermark.tile import TILE

SAME = 0.25
"""Share of bits up to which two fingerprints are of the same content: compression and the like change up to a twentieth,
other people in the same studio differ by more than a quarter (see docs/watermark.md)."""

Content = Literal["same", "different", "unknown"]
"""What a file shows, against what was sealed; unknown where too little of it is left to say."""

_PICTURES = 3
_BITS = 256
_DIGITS = _BITS // 4
_SIDE, _KEPT = 32, 128
_OUTSIDE = 0.03  # of a side, that the middle may lie outside of what is left, as places are not exact

# The lowest frequencies of a picture shrunk to _SIDE pixels, diagonal by diagonal, without its mean brightness.
_FREQUENCIES = sorted((i + j, i, j) for i in range(_SIDE) for j in range(_SIDE) if i + j)[:_BITS]
_DOWN, _RIGHT = np.array([(i, j) for _, i, j in _FREQUENCIES]).T
_MIRROR = int.from_bytes(np.packbits(_RIGHT % 2).tobytes(), "big")

Small = NDArray[np.uint8]
"""(_KEPT, _KEPT) a picture's luma, shrunk."""


class Fingerprint:
    """Collects the fingerprint of a clip of `frames` pictures while they pass: up to three of them, spread evenly."""

    def __init__(self, frames: int) -> None:
        count = min(_PICTURES, frames)
        self._chosen = {frames * (2 * index + 1) // (2 * count) for index in range(count)}
        self._passed = 0
        self._size = (0, 0)
        self._small: list[Small] = []

    def add(self, picture: Picture) -> None:
        """Take in the next picture, (height, width, 3) uint8."""
        if self._passed in self._chosen:
            self._size = (picture.shape[1], picture.shape[0])
            self._small.append(_shrunk(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), _KEPT))
        self._passed += 1

    @property
    def hex(self) -> str:
        """128 hexadecimal digits for each chosen picture that has passed: those of the whole, then of its middle."""
        quarter = _KEPT // 4
        both = ((small, small[quarter:-quarter, quarter:-quarter]) for small in self._small)
        return "".join(f"{_bits(part):0{_DIGITS}x}" for parts in both for part in parts)

    def shows(self, sealed: str, size: tuple[int, int], place: Place | None = None) -> Content:
        """Whether these pictures show what was sealed: the fingerprint `sealed` of pictures of that `size` (width, height).

        `place` is how their mark lies, where it was read. A mirrored file, a still or a cut of a video show the same.
        """
        if not (sealed and self._small):
            return "unknown"
        if difference(sealed, self.hex) <= SAME:
            return "same"
        _, middles = _split(sealed)
        hidden = False
        for where in self._middles(size, place) if place else ():
            if where is None:
                hidden = True
                continue
            cut = [_bits(cv2.warpAffine(small, where, (_KEPT, _KEPT), flags=_HOW)) for small in self._small]
            if _apart(middles, cut) <= SAME:
                return "same"
        return "unknown" if hidden else "different"

    def _middles(self, size: tuple[int, int], place: Place) -> Iterator[NDArray[np.float64] | None]:
        """Where the middle of pictures of that size may lie; None where it would not lie in what is left of them.

        Each (2, 3) leads from the middle's pixels, were it _KEPT a side, to those of what is kept of the pictures. A tile's
        corner lies where `place` says, which leaves few of them.
        """
        sealed, seen = np.array(size), np.array(self._size)
        left = seen / (place.scale_x, place.scale_y)  # of the marked pixels, along each side
        before = np.array([place.right, place.down])
        matrix = place.matrix()
        first = np.ceil((before - sealed * _OUTSIDE) / TILE).astype(int)
        last = np.floor((before + sealed * (1 + _OUTSIDE) - left) / TILE).astype(int)
        for across in range(first[0], last[0] + 1):
            for down in range(first[1], last[1] + 1):
                cut = TILE * np.array([across, down]) - before  # marked pixels that are missing at the left and the top
                start = matrix @ (sealed / 4 - cut - left / 2) + seen / 2
                step = matrix @ np.diag(sealed / 2)
                corners = np.stack([start, start + step[:, 0], start + step[:, 1], start + step.sum(1)]) / seen
                turn = step / seen[:, None]
                # Pixels are squares: the middle of the first lies half of one from the corner.
                where = np.column_stack([turn, _KEPT * corners[0] + turn @ (0.5, 0.5) - 0.5])
                yield where if (corners >= -_OUTSIDE).all() and (corners <= 1 + _OUTSIDE).all() else None


def difference(sealed: str, seen: str) -> float:
    """Share of bits in which the whole pictures of two fingerprints differ, as seen or mirrored; neither is empty.

    It is about a half where they have nothing to do with each other. Each picture of `seen` counts as the sealed one that
    it is nearest to.
    """
    (known, _), (wholes, _) = _split(sealed), _split(seen)
    return min(_apart(known, wholes), _apart(known, [bits ^ _MIRROR for bits in wholes]))


def _split(fingerprint: str) -> tuple[list[int], list[int]]:
    """The bits of the whole pictures, and those of their middles."""
    words = [int(fingerprint[at : at + _DIGITS], 16) for at in range(0, len(fingerprint), _DIGITS)]
    return words[::2], words[1::2]


def _apart(known: list[int], seen: list[int]) -> float:
    """Share of bits in which the pictures seen differ, each from that of the known ones that is nearest to it."""
    return sum(min((bits ^ other).bit_count() for other in known) for bits in seen) / (_BITS * len(seen))


_HOW = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def _shrunk(luma: NDArray[Any], side: int) -> Small:
    return np.asarray(cv2.resize(luma, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _bits(luma: NDArray[Any]) -> int:
    """The signs of a picture's lowest frequencies (a DCT hash: Zauner 2010, section 3.2.1)."""
    spectrum = cv2.dct(_shrunk(luma, _SIDE).astype(np.float32))
    # By sign, not against the median: so mirroring a picture turns known bits over, and a change of contrast none.
    return int.from_bytes(np.packbits(spectrum[_DOWN, _RIGHT] > 0).tobytes(), "big")
