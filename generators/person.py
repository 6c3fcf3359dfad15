"""The person told from the background, so that the background can be another.

MediaPipe's selfie segmentation (a small MobileNetV3 that says how much of each pixel is a person) looks at every few
pictures; between them the matte is carried on, and each picture's own edges sharpen it (fast guided filter, He and Sun 2015).
"""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture
from forgeline.nets import Net

Floats = NDArray[np.float32]

SIDE = 256
"""Pixels a side of what the net takes and gives."""
EVERY = 4
"""Pictures from one look of the net to the next. So many are held at a time."""
RADIUS, SMOOTH = 3, 1e-3
"""Of the guided filter: cells of SIDE, and variance of the guide (0 … 1) below which nothing is an edge."""
LIKELY = 0.02
"""Variance between the colours of person and background that counts as none, on a scale of 0 … 1."""


DOUBT, CERTAIN = 0.25, 0.75
"""Of what the net says: below the one is background, above the other is person."""
EDGE = 0.2
"""How much of the sharpened matte's soft edge is cut off on either side: it is wide where their colours are alike."""
BRIGHTNESS: Floats = np.array([[0.299, 0.587, 0.114, 0]], np.float32)


class Person:
    """The net, loaded, and the direction in colour that tells this clip's person from this clip's background best."""

    def __init__(self) -> None:
        cv2.setNumThreads(1)  # equal pictures give equal bytes
        self._net = Net("selfie_segmentation", ("activation_10",))
        self._direction: Floats | None = None

    def find(self, picture: Picture) -> Floats:
        """How much of each cell (SIDE, SIDE) of the picture is the person, 0 … 1."""
        small = np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)
        (matte,) = self._net(np.asarray(small / np.float32(255), np.float32))
        found = matte.reshape(SIDE, SIDE)
        if self._direction is None:
            self._direction = _telling(small[::2, ::2].reshape(-1, 3), found[::2, ::2].ravel())
        return _whole(np.asarray(np.clip((found - DOUBT) / (CERTAIN - DOUBT), 0, 1), np.float32))

    def mattes(self, pictures: Iterator[Picture]) -> Iterator[tuple[Picture, Floats]]:
        """Each picture with its matte (SIDE, SIDE), 0 … 1; the net looks at the first and at every EVERY-th."""
        before: Floats | None = None
        held: list[Picture] = []
        for picture in pictures:
            held.append(picture)
            if before is None:
                before = self.find(held.pop())
                yield picture, before
            elif len(held) == EVERY:
                after = self.find(picture)
                yield from _between(held, before, after)
                before, held = after, []
        if held and before is not None:
            yield from _between(held, before, self.find(held[-1]))

    def sharpened(self, picture: Picture, matte: Floats) -> Floats:
        """A matte (SIDE, SIDE) at the picture's own size (h, w), 0 … 1, along the picture's edges."""
        size = picture.shape[1::-1]
        guide = cv2.transform(picture, BRIGHTNESS if self._direction is None else self._direction)
        small = np.asarray(cv2.resize(guide, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.float32) / 255
        middle, mean = _mean(small), _mean(matte)
        slope = (_mean(small * matte) - middle * mean) / (_mean(small * small) - middle * middle + SMOOTH)
        planes = cv2.merge([_mean(slope / 255), _mean(mean - slope * middle)])
        slopes, rests = cv2.split(cv2.resize(planes, size, interpolation=cv2.INTER_LINEAR))
        share = cv2.add(cv2.multiply(guide, slopes, dtype=cv2.CV_32F), rests)
        return np.asarray(np.clip((share - EDGE) / (1 - 2 * EDGE), 0, 1), np.float32)


def _between(pictures: list[Picture], before: Floats, after: Floats) -> Iterator[tuple[Picture, Floats]]:
    """The last picture has the matte `after`; the one before the first had the matte `before`."""
    for step, picture in enumerate(pictures, 1):
        share = step / len(pictures)
        yield picture, np.asarray(cv2.addWeighted(after, share, before, 1 - share, 0), np.float32)


def _whole(matte: Floats) -> Floats:
    """The matte without islands: a person is in one piece, with a soft edge."""
    _, parts, sizes, _ = cv2.connectedComponentsWithStats((matte > 0.5).astype(np.uint8))
    if len(sizes) == 1:
        return matte
    largest = (parts == 1 + int(sizes[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    return np.asarray(matte * cv2.dilate(largest, np.ones((9, 9), np.uint8)), np.float32)


def _mean(plane: NDArray[np.floating]) -> Floats:
    return np.asarray(cv2.blur(plane, (2 * RADIUS + 1, 2 * RADIUS + 1)), np.float32)


def _telling(colours: NDArray[np.uint8], share: Floats) -> Floats:
    """Fisher's discriminant of the person's colours (n, 3) from the others', (1, 4): it takes 0 … 255 to the same range."""
    values = colours.astype(np.float32) / 255
    inside, outside = share > 0.9, share < 0.1
    if min(inside.sum(), outside.sum()) < 100:
        return BRIGHTNESS
    spread = np.cov(values[inside].T) + np.cov(values[outside].T) + LIKELY * np.eye(3)
    apart = np.linalg.solve(spread, values[inside].mean(0) - values[outside].mean(0))
    apart /= max(float(np.abs(apart).sum()), 1e-6)
    return np.append(apart, -255 * apart[apart < 0].sum()).astype(np.float32)[None]
