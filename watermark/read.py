"""What a file is, offline: find the marks in its pictures and in its sound, whatever happened to it, and its open tag."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, erfc, sqrt
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forgeline.clip import MediaType
from forgeline.peek import Glance, Luma, peek
from watermark.evidence import Evidence, false_accept, score
from watermark.find import SMALLEST, Place, fits, moved, search, settled, upright
from watermark.keys import ShardKey
from watermark.metadata import Tag, read_tag
from watermark.payload import MAC_BITS, Mark, decode, encode, payload, proven
from watermark.sound import read_sound, sound_matched
from watermark.tile import TILE, Bins, Layout, Plane, fold, layout, signs

Folded = NDArray[np.complex64]
"""What all tiles of a picture show together: see `tile.fold`."""

FALSE_READS = 1e-6
"""How often, at most, a file that we did not mark is read as ours, whatever the number of keys: half by its pictures, half
by its sound."""

_KEY_PICTURES, _PICTURES = 24, 150  # of a video, that are looked at: more would not change what is read
_SEARCHED_PICTURES = 6  # of those, that places are searched in
_SOUND_S = 120.0  # of sound that is listened to
_VIEWS = 32  # ways, at most, in which a file's pictures are read under one key, and one more for sound
_STANDS_OUT, _STANDS_AT_ZERO = 4.3, 2.5  # the template, somewhere and just where the picture begins, worth a reading
_LIKELY = 22.0
"""The standing of a guess from which on all pictures are looked at there. In 45 marked clips of GRID that were scaled, turned,
cropped and encoded again none was read whose place stood at less than 25; in 35 clips and photographs without a mark the best
of all places stands at 10 to 27."""

_PATCHES = 400  # at most, of a picture
_CLEAR = 6.0  # standard deviations, from which a patch's agreement is 1


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
    """The marks of any of the `keys`, whatever their masters, in an image, video or sound, and the file's tag.

    Raises MediaError for a file that can't be decoded.
    """
    glance = peek(path)
    found = [one for one in (_in_pictures(glance, keys), _in_sound(glance, keys)) if one]
    return Reading(glance.media_type, glance.width, glance.height, tuple(found), read_tag(path))


def matched(path: Path, key: ShardKey, mark: Mark) -> Matched:
    """How far a known payload stands out in a file: where it was put, or where the search finds the template.

    Raises MediaError for a file that can't be decoded.
    """
    glance = peek(path)
    scores = [look.evidence.matched(key, mark) for look in _looks(glance, [layout(key.layout, mark.bits)])]
    found = [Matched("pictures", max(scores), _normal_chance(max(scores), len(scores)))] if scores else []
    sound = glance.sound(_SOUND_S)
    if sound is not None:
        heard = sound_matched(sound, key, mark)
        found.append(Matched("sound", heard, _normal_chance(heard, _VIEWS)))
    return min(found, key=lambda one: one.chance, default=Matched("pictures", 0.0, 1.0))


def _in_sound(glance: Glance, keys: Sequence[ShardKey]) -> Found | None:
    sound = glance.sound(_SOUND_S) if keys else None
    heard = read_sound(sound, keys) if sound is not None else None
    if heard is None:
        return None
    chance = false_accept(heard.mark.bits, heard.score, heard.tried)
    if chance > FALSE_READS / 2:
        return None
    return Found("sound", heard.mark, heard.key, heard.score, chance, speed=heard.speed)


@dataclass(frozen=True)
class _Look:
    """What pictures, or some of them, show at one place."""

    evidence: Evidence
    layout: Layout
    place: Place
    lumas: Sequence[Luma]


def _in_pictures(glance: Glance, keys: Sequence[ShardKey]) -> Found | None:
    """The mark that some key proves, where it also stands out enough for the number of keys and views tried."""
    secrets = dict.fromkeys(key.layout for key in keys)
    under = {id(layout(secret, bits)): [key for key in keys if key.layout == secret] for secret in secrets for bits in MAC_BITS}
    tried = _VIEWS * len(keys)
    for look in _looks(glance, [layout(secret, bits) for secret in secrets for bits in MAC_BITS]):
        bits, some = look.layout.bits, under[id(look.layout)]
        for start in range(0, len(some), 512):
            batch = some[start : start + 512]
            soft = look.evidence.soft(batch)
            for key, row, likeliest in zip(batch, soft, decode(soft), strict=True):
                mark = proven(likeliest, key.secret)
                if mark is None:
                    continue
                reached = score(row, likeliest)
                chance = false_accept(bits, reached, tried)
                if chance <= FALSE_READS / 2:
                    return Found("pictures", mark, key, reached, chance, look.place, _patches(look, key, mark))
    return None


def _normal_chance(reached: float, tried: int) -> float:
    return min(tried * erfc(reached / sqrt(2)) / 2, 1.0)


def _looks(glance: Glance, layouts: Sequence[Layout]) -> Iterator[_Look]:
    """The pictures as each layout may see them: as they are, mirrored, and at the likeliest places.

    A video's mark lives in its key pictures, so these are read first, and the others only where that was not enough.
    """
    few = _alike(list(glance.keys(_KEY_PICTURES)))
    if not few or min(few[0].shape) < SMALLEST * TILE:
        return
    unscaled = [plan for plan in layouts if fits(plan, few[0], 1.0)]
    for place in (Place(), Place(mirrored=True)):
        yield from _seen([fold(upright(luma, place)) for luma in few], place, unscaled, few)
    guesses = search(few[:: ceil(len(few) / _SEARCHED_PICTURES)], layouts)
    for guess in guesses:
        yield from _seen([fold(upright(luma, guess.place)) for luma in few], guess.place, [guess.layout], few)
    if glance.media_type == "video":
        likely = [(Place(), unscaled)]
        for guess in guesses[:2]:
            again = any(guess.place == place and guess.layout is plans[0] for place, plans in likely[1:])
            if guess.standing >= _LIKELY and not again:
                likely.append((guess.place, [guess.layout]))
        folded: list[list[Folded]] = [[] for _ in likely]
        for luma in glance.pictures(_PICTURES):
            for (place, _), all_so_far in zip(likely, folded, strict=True):
                if luma.shape == few[0].shape:
                    all_so_far.append(fold(upright(luma, place)))
        for (place, plans), pictures in zip(likely, folded, strict=True):
            yield from _seen(pictures, place, plans, few)


def _alike(lumas: list[Luma]) -> list[Luma]:
    """Those of the commonest size: pictures of another lie in another place."""
    sizes = Counter(luma.shape for luma in lumas)
    return [luma for luma in lumas if luma.shape == sizes.most_common(1)[0][0]]


def _seen(pictures: Sequence[Folded], place: Place, plans: Sequence[Layout], shown: Sequence[Luma]) -> Iterator[_Look]:
    """Pictures put upright and folded, as layouts may see them: not cropped, and cropped as the template tells."""
    for plan in plans:
        bins = [one for one in (plan.bins(picture) for picture in pictures) if one.any()]  # nothing: they are flat
        if not bins:
            continue
        # Pictures in which the template stands out (4.5 is where chance ends) say more about the place than all others.
        weights = [max(plan.locate(one)[0] - 4.5, 0.1) for one in bins]
        together = np.sum([weight * one for weight, one in zip(weights, bins, strict=True)], 0)
        peak, down, right = settled(plan, together)
        at_zero = _deviations(together[plan.sync] * np.conj(plan.template) * plan.amplitude[plan.sync])
        uncropped = place == Place() or at_zero >= _STANDS_AT_ZERO
        for wanted, begins in ((uncropped, (0.0, 0.0)), (peak >= _STANDS_OUT, (down, right))):
            if wanted:
                evidence = Evidence(plan)
                for one in bins:
                    evidence.add(moved(plan, one, *begins))
                yield _Look(evidence, plan, replace(place, down=begins[0], right=begins[1]), shown)


def _deviations(agreed: Bins) -> float:
    """How far bins, each turned back by what was expected of it, agree: in standard deviations of chance."""
    return float(agreed.real.sum() / (np.linalg.norm(agreed) / sqrt(2) + 1e-12))


def _patches(look: _Look, key: ShardKey, mark: Mark) -> tuple[Patch, ...]:
    """Where the picture shows the mark, by quarters of a tile; each is judged by a tile and a half around it."""
    plan, place = look.layout, look.place
    planes = [upright(luma, place) for luma in look.lumas[:: ceil(len(look.lumas) / _SEARCHED_PICTURES)]]
    height, width = planes[0].shape
    around = TILE // 4
    side = around * ceil(sqrt(height * width / around**2 / _PATCHES))
    code = 1 - 2 * encode(payload(mark, key.secret)).astype(np.float32)
    expected = np.zeros(len(plan.ky), np.complex64)
    expected[plan.sync] = plan.template
    expected.view(np.float32)[plan.carriers] = signs(key, plan.bits) * code[plan.code_bit]
    expected *= plan.amplitude
    found = []
    for top in range(0, height - around // 2, side):
        for left in range(0, width - around // 2, side):
            above, before = max(top - around, 0), max(left - around, 0)
            agreed = np.zeros(len(plan.ky), np.complex64)
            for plane in planes:
                seen = plan.bins(fold(plane[above : top + side + around, before : left + side + around]))
                agreed += moved(plan, seen, place.down - 2 * above, place.right - 2 * before) * np.conj(expected)
            corners = _in_file(place, (left, top, min(left + side, width), min(top + side, height)), planes[0], look.lumas[0])
            found.append(Patch(corners, min(max(_deviations(agreed) / _CLEAR, 0.0), 1.0)))
    return tuple(found)


def _in_file(place: Place, box: tuple[int, int, int, int], plane: Plane, luma: Luma) -> tuple[tuple[float, float], ...]:
    """The corners, in the file's pixels, of a box (left, top, right, bottom) in the upright plane."""
    left, top, right, bottom = box
    corners = np.array([(left, top), (right, top), (right, bottom), (left, bottom)], float)
    there = (corners - np.array(plane.shape[::-1]) / 2) @ (2 * place.matrix()).T + np.array(luma.shape[::-1]) / 2
    return tuple((float(x), float(y)) for x, y in there)
