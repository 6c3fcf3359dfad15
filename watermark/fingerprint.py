"""What a clip shows, in a few bits that compression, scaling and the mark itself do not change.

A mark can be copied from one file onto another, its proof with it. The fingerprint, kept in the sample's row, tells
whether the file at hand shows what was sealed. It is no secret and proves nothing by itself. Sound has none.
"""

import cv2
import numpy as np

from forgeline.clip import Picture

SAME = 0.25
"""Share of bits up to which two fingerprints are of the same content: compression and the like change up to a twentieth,
other people in the same studio differ by more than a quarter (see docs/watermark.md)."""

_PICTURES = 3
_BITS = 256
_SIDE = 32

# The lowest frequencies of a picture shrunk to _SIDE pixels, diagonal by diagonal, without its mean brightness.
_FREQUENCIES = sorted((i + j, i, j) for i in range(_SIDE) for j in range(_SIDE) if i + j)[:_BITS]
_DOWN, _RIGHT = np.array([(i, j) for _, i, j in _FREQUENCIES]).T
_MIRROR = int.from_bytes(np.packbits(_RIGHT % 2).tobytes(), "big")


class Fingerprint:
    """Collects the fingerprint of a clip of `frames` pictures while they pass: up to three of them, spread evenly."""

    def __init__(self, frames: int) -> None:
        count = min(_PICTURES, frames)
        self._chosen = {frames * (2 * index + 1) // (2 * count) for index in range(count)}
        self._passed = 0
        self._hashes: list[str] = []

    def add(self, picture: Picture) -> None:
        """Take in the next picture, (height, width, 3) uint8."""
        if self._passed in self._chosen:
            self._hashes.append(_hash(picture))
        self._passed += 1

    @property
    def hex(self) -> str:
        """64 hexadecimal digits for each chosen picture that has passed."""
        return "".join(self._hashes)


def same_content(sealed: str, seen: str) -> bool:
    """Whether two fingerprints are of the same content, as it was or mirrored. False where either is empty."""
    return difference(sealed, seen) <= SAME


def difference(sealed: str, seen: str) -> float:
    """Share of bits in which `seen` differs from `sealed`, 0 to 1; about a half for unrelated content.

    Each picture counts as the one of `sealed` that it is nearest to, so a still of a video is its content, too. Of the
    picture as seen and its mirror image, the nearer counts. 1 where either is empty.
    """
    if not (sealed and seen):
        return 1.0
    known = _split(sealed)
    as_is, mirrored = (
        sum(min((picture ^ turn ^ other).bit_count() for other in known) for picture in _split(seen)) for turn in (0, _MIRROR)
    )
    return min(as_is, mirrored) / (_BITS * len(_split(seen)))


def _split(fingerprint: str) -> list[int]:
    digits = _BITS // 4
    return [int(fingerprint[at : at + digits], 16) for at in range(0, len(fingerprint), digits)]


def _hash(picture: Picture) -> str:
    """The signs of the picture's lowest frequencies (a DCT hash: Zauner 2010, section 3.2.1)."""
    small = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    # By sign, not against the median: so mirroring a picture turns known bits over, and a change of contrast none.
    return np.packbits(cv2.dct(small.astype(np.float32))[_DOWN, _RIGHT] > 0).tobytes().hex()
