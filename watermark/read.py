"""What a file is, offline: find the mark wherever the file was cropped, scaled or mirrored, and read it and the open
tag.

Speed changes, turns by more than half a degree and unequal scaling of width and height are beyond this search. A mark
in the sound would be looked for here as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from math import erfc, exp, log, sqrt
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Clip, MediaType
from forgeline.image import open_image
from forgeline.video import open_video
from watermark.evidence import Evidence, score
from watermark.keys import ShardKey
from watermark.metadata import Tag, read_tag
from watermark.payload import MAC_BITS, Mark, decode, proven
from watermark.tile import Layout, fold, folded, grey, half_luma, layout

FALSE_READS = 1e-6
"""How often, at most, a file that we did not mark is read as ours, whatever the number of shards tried."""

_MOST_PICTURES = 300  # of a video; more would not change what is read
_SCALES = np.exp(np.arange(log(0.4), log(1.7), 0.006))
_SEARCHED = 512  # pixels a side of the cut-out in which scales are tried
_SEARCHED_PICTURES = 3
_PROMISING = 6
_VIEWS = 4 + _PROMISING

# Score of the likeliest payload in pure noise, by its bits: what is exceeded once in 1000 (of 200 000 trials each), and
# how fast it grows rarer from there: per unit by a factor of e**score, as for the best of many normal deviates.
_CHANCE = {64: 8.74, 32: 6.50}

Folded = NDArray[np.complex64]


@dataclass(frozen=True)
class Place:
    """How a picture came from what was marked: mirrored, then scaled, then turned, then cropped.

    `scale_x` and `scale_y` are the file's pixels for one marked pixel; `turn` is in degrees, clockwise as seen. A corner
    of the pattern's tiles lies `right` and `down` of the picture's top left corner, in marked pixels, from 0 to 128.
    """

    mirrored: bool
    scale_x: float
    scale_y: float
    turn: float
    right: float
    down: float


@dataclass(frozen=True)
class Patch:
    """A part of the picture, by its four `corners` (x, y) in the file's pixels, in order around it.

    `agreement` is 0 where there is no more of the mark than in any picture, and 1 where there is no doubt of it.
    """

    corners: tuple[tuple[float, float], ...]
    agreement: float


@dataclass(frozen=True)
class Found:
    """A mark that was read, and the shard's `key` that proves it.

    `score` is in standard deviations above chance; `chance` is the probability that a file without a mark reads like
    this, all that was tried counted. Pictures tell their `place` and the `patches` that show the mark; sound tells its
    `speed`: how many times as fast it is played as it was marked.
    """

    carrier: Literal["pictures", "sound"]
    mark: Mark
    key: ShardKey
    score: float
    chance: float
    place: Place | None = None
    patches: tuple[Patch, ...] = ()
    speed: float | None = None


@dataclass(frozen=True)
class Reading:
    """What a file says: the marks `found`, the pictures' before the sound's, and the open `tag`, which proves nothing.

    `width` and `height` are those of the picture, upright, that patches lie on; 0 for sound without pictures.
    """

    media_type: MediaType
    width: int
    height: int
    found: tuple[Found, ...]
    tag: Tag | None


@dataclass(frozen=True)
class Matched:
    """How far a known payload stands out in a file: its `score` in standard deviations, and the probability that a file
    without it scores as high, all that was tried counted."""

    carrier: Literal["pictures", "sound"]
    score: float
    chance: float


def read(path: Path, keys: Sequence[ShardKey]) -> Reading:
    """The marks of any of the `keys`, whatever their master, in an image, video or sound, and the file's tag.

    Raises MediaError for a file that can't be decoded.
    """
    clip = open_image(path) if cv2.haveImageReader(str(path)) else open_video(path)
    tag = read_tag(path)
    for secret in dict.fromkeys(key.layout for key in keys):
        some = [key for key in keys if key.layout == secret]
        for evidence, bits in _views(clip, [layout(secret, bits) for bits in MAC_BITS]):
            found = _proven(evidence, bits, some)
            if found:
                mark, key, score = found
                chance = len(keys) * _VIEWS * 2.0 ** -MAC_BITS[bits] * 1e-3 * exp(_CHANCE[bits] * (_CHANCE[bits] - score))
                marks = (Found("pictures", mark, key, score, chance),)
                return Reading(clip.media_type, clip.width, clip.height, marks, tag)
    return Reading(clip.media_type, clip.width, clip.height, (), tag)


def matched(path: Path, key: ShardKey, mark: Mark) -> Matched:
    """How far a known payload stands out in a file where it was put, or where the search finds the template."""
    clip = open_image(path) if cv2.haveImageReader(str(path)) else open_video(path)
    scores = [evidence.matched(key, mark) for evidence, _ in _views(clip, [layout(key.layout, mark.bits)])]
    return Matched("pictures", max(scores), min(len(scores) * erfc(max(scores) / sqrt(2)) / 2, 1.0))


def _proven(evidence: Evidence, bits: int, keys: list[ShardKey]) -> tuple[Mark, ShardKey, float] | None:
    """The mark that some key proves, where it also stands out enough for the number of keys and views tried."""
    # A wrong key's proof holds by chance once in 2**MAC_BITS, and its score is that of noise.
    rare = FALSE_READS * 2.0 ** MAC_BITS[bits] / max(len(keys) * _VIEWS, 1)
    needed = _CHANCE[bits] + log(1e-3 / rare) / _CHANCE[bits]
    for start in range(0, len(keys), 512):
        some = keys[start : start + 512]
        soft = evidence.soft(some)
        for key, row, likeliest in zip(some, soft, decode(soft), strict=True):
            mark, found = proven(likeliest, key.secret), score(row, likeliest)
            if mark and found >= needed:
                return mark, key, found
    return None


def _views(clip: Clip, plans: list[Layout]) -> Iterator[tuple[Evidence, int]]:
    """The clip as each layout may see it, aligned: first as it is, then mirrored, then at the most promising scales."""
    as_is = [folded(picture) for picture in islice(clip.pictures(), _MOST_PICTURES)]
    for flip in (False, True):
        for plan in plans:
            yield _aligned(as_is, plan, flip), plan.bits
    for scale, plan, flip in _promising(clip, plans):
        at_scale = [fold(_scaled(grey(picture), scale)) for picture in islice(clip.pictures(), _MOST_PICTURES)]
        yield _aligned(at_scale, plan, flip), plan.bits


def _aligned(pictures: list[Folded], plan: Layout, flip: bool) -> Evidence:
    """The evidence of pictures whose tiles all lie in the same, unknown place."""
    bins = [plan.bins(picture, flip) for picture in pictures]
    # Pictures in which the template stands out (4.5 is where chance ends) say more about the place than all others.
    weights = [max(plan.locate(one)[0] - 4.5, 0.1) for one in bins]
    _, down, right = plan.locate(np.sum([weight * one for weight, one in zip(weights, bins, strict=True)], 0))
    evidence = Evidence(plan)
    for one in bins:
        evidence.add(plan.shifted(one, down, right))
    return evidence


def _promising(clip: Clip, plans: list[Layout]) -> list[tuple[float, Layout, bool]]:
    """The scales (1: as marked), layouts and mirrorings at which the template stands out most, the best first."""
    step = max(clip.frames // _SEARCHED_PICTURES, 1)
    lumas = [grey(picture) for picture in islice(clip.pictures(), 0, _SEARCHED_PICTURES * step, step)]

    def peaks(scale: float, side: int) -> list[tuple[float, float, int, bool]]:
        seen = [fold(_scaled(_cut(luma, round(side * scale)), scale)) for luma in lumas]
        return [
            (plan.locate(np.sum([plan.bins(one, flip) for one in seen], 0))[0], scale, index, flip)
            for index, plan in enumerate(plans)
            for flip in (False, True)
        ]

    best = sorted((peak for scale in _SCALES for peak in peaks(float(scale), _SEARCHED)), reverse=True)[:_PROMISING]
    refined = []
    for peak in best:
        # First within a step of the search, then as finely as a large picture asks for.
        for step_size, side in ((0.001, _SEARCHED), (0.0003, 1 << 16)):
            near = [peaks(peak[1] * (1 + step_size * move), side) for move in range(-4, 5)]
            peak = max(other for group in near for other in group if other[2:] == peak[2:])
        refined.append(peak)
    return [(scale, plans[index], flip) for _, scale, index, flip in sorted(refined, reverse=True)]


def _cut(luma: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = luma.shape
    top, left = max(height - side, 0) // 2, max(width - side, 0) // 2
    return luma[top : top + side, left : left + side]


def _scaled(luma: NDArray[np.uint8], scale: float) -> NDArray[np.float32]:
    """The half-resolution luma that a picture had before it was scaled by `scale`."""
    height, width = luma.shape
    size = (max(round(width / scale), 2), max(round(height / scale), 2))
    way = cv2.INTER_LINEAR if scale < 1 else cv2.INTER_AREA
    return half_luma(np.asarray(cv2.resize(luma, size, interpolation=way), np.uint8))
