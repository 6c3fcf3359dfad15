"""Near-duplicates among many prints, without comparing each with each: windows with equal keys meet, and are looked at.

A key is a handful of bits of a window: signs of random projections of motion (Charikar, Similarity Estimation Techniques from
Rounding Algorithms, STOC 2002), or bits of a sound at random places. Two windows that are alike have equal keys in one of
`TABLES` tables or another; other windows hardly ever, as a key has more bits the more windows there are. So the time is that of
sorting.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log2

import numpy as np
from numpy.typing import NDArray

from forgeline.prints import LOOK, MOTION_HZ, SOUND_HZ, Print

MOTION, LOOKS_ALIKE, SOUND = 0.8, 0.95, 0.65
"""From where on two clips are one: correlation of their motion, and of their looks; share of equal bits of their sound, where
they have `SOUND_S` in common (more is asked of less). Measured: see docs/splits.md. 0.65 of 3 s is Haitsma and Kalker's own."""
SOUND_S = 3.0
STILLS_ALIKE = 0.975
"""The same of two stills, which have no motion to compare."""
SHAPE = 3.0
"""How far apart mouth, eyes, chin and lips of two stills that are one may be, in units of `TREMBLE`."""
SHORTEST_S = 1.6
"""Seconds that clips must have in common to be compared; shorter ones are not checked. Of sound 1 s, that is loud."""
TABLES = 16

_WINDOW = round(SHORTEST_S * MOTION_HZ)
_STILL = 1.0  # power of a window in units of TREMBLE: below it there is only trembling
_SOUND_WINDOW, _FEWEST_LOUD = 8, 31  # moments
_CROWD = 64
"""Of more windows than these with one key, only the nearest so many in order meet: a key that common tells nothing."""
_LEAST_BITS, _MOST_BITS = 14, 48
_CHUNK = 1 << 18  # windows whose keys are computed at once

Floats = NDArray[np.float64]
Places = NDArray[np.int64]
"""Which windows, of all that have keys."""


@dataclass(frozen=True, order=True)
class Match:
    """Two prints, by their places in the sequence, `first` < `second`; how alike they are, 0 to 1; and the second's delay in s.

    `looks` is the correlation of the looks, 1.0 where only sound is compared.
    """

    first: int
    second: int
    likeness: float
    looks: float
    delay_s: float


def same_picture(prints: Sequence[Print]) -> list[Match]:
    """Pairs of clips that show the same, sorted: the faces move alike and look alike; of stills, are of one shape and alike.

    Memory: 12 bytes a moment of motion, 2 KB a clip for its look, 50 bytes a window in one table at a time; windows are 80 ms
    apart.
    """
    return sorted([*_moving(prints), *_stills(prints)])


def tells_motion(found: Print) -> bool:
    """Whether a clip moves long and much enough to be compared by its motion."""
    return len(found.motion) >= _WINDOW and bool(_lively(found.motion.astype(np.float32)).any())


def tells_sound(found: Print) -> bool:
    """Whether a clip's sound is long and loud enough to be compared."""
    return int(found.loud.sum()) >= _FEWEST_LOUD


def same_sound(prints: Sequence[Print]) -> list[Match]:
    """Pairs of clips of which one holds the other's sound, or a part of at least 1 s up to an end of either; sorted.

    Memory: 5 bytes a moment of sound, and 40 a window in one table at a time.
    """
    lengths = np.array([len(p.sound) for p in prints], np.int64)
    owner, at = _places(lengths)
    if not len(owner):
        return []
    words = np.concatenate([p.sound for p in prints])
    loud = np.concatenate([p.loud for p in prints])
    whole = np.flatnonzero(at + _SOUND_WINDOW <= lengths[owner])
    whole = whole[loud[whole] & loud[whole + _SOUND_WINDOW - 1]]
    rng = np.random.default_rng(0)
    size = _bits(len(whole))

    def keys() -> Iterator[NDArray[np.uint64]]:
        for _ in range(TABLES):
            places = rng.permutation(_SOUND_WINDOW * 32)[:size]
            key = np.zeros(len(whole), np.uint64)
            for place in places:
                key = (key << np.uint64(1)) | ((words[whole + place // 32] >> np.uint32(place % 32)) & np.uint32(1))
            yield key

    def check(one: Print, other: Print, delay: int) -> tuple[float, float] | None:
        a, b = _overlap(len(one.sound), len(other.sound), delay)
        telling = one.loud[a] & other.loud[b]
        count = int(telling.sum())
        if count < _FEWEST_LOUD:
            return None
        share = 1 - float(np.bitwise_count(one.sound[a][telling] ^ other.sound[b][telling]).mean()) / 32
        least = 0.5 + (SOUND - 0.5) * max(1.0, (SOUND_S * SOUND_HZ / count) ** 0.5)  # as chance's spread grows
        return (share, 1.0) if share >= least else None

    def likely(one: Places, other: Places) -> NDArray[np.bool_]:
        wrong = np.zeros(len(one), np.int64)
        for later in range(_SOUND_WINDOW):
            wrong += np.bitwise_count(words[whole[one] + later] ^ words[whole[other] + later])
        return np.asarray(wrong <= (1 - SOUND) * 32 * _SOUND_WINDOW)

    meetings = _meetings(keys(), owner[whole], at[whole], likely)
    return sorted(_judged(prints, meetings, check, SOUND_HZ))


def alike(one: Print, other: Print) -> float:
    """The correlation of two looks, -1 to 1."""
    return float(_even(one.look) @ _even(other.look))


def _moving(prints: Sequence[Print]) -> Iterator[Match]:
    lengths = np.array([len(p.motion) for p in prints], np.int64)
    owner, at = _places(lengths)
    if not len(owner):
        return
    rows = np.concatenate([p.motion[:, :-1] for p in prints])
    looks = np.stack([_even(p.look) if p.look.size else np.zeros(LOOK[0] * LOOK[1]) for p in prints]).astype(np.float32)
    starts = np.flatnonzero((at + _WINDOW <= lengths[owner]) & (at % 2 == 0))
    live = [_lively(rows[some[:, None] + np.arange(_WINDOW)].astype(np.float32), True) for some in _some(starts)]
    starts = starts[np.concatenate(live)] if live else starts
    rng = np.random.default_rng(0)
    size = _bits(len(starts))

    def keys() -> Iterator[NDArray[np.uint64]]:
        for _ in range(TABLES):
            planes = rng.normal(size=(_WINDOW, rows.shape[1], size))
            planes -= planes.mean(0)  # so that it is no matter where a face rests
            flat = planes.reshape(-1, size).astype(np.float32)
            key = np.zeros(len(starts), np.uint64)
            done = 0
            for some in _some(starts):
                windows = rows[some[:, None] + np.arange(_WINDOW)].astype(np.float32).reshape(len(some), -1)
                key[done : done + len(some)] = _packed(windows @ flat > 0)
                done += len(some)
            yield key

    whose = owner[starts]

    def likely(one: Places, other: Places) -> NDArray[np.bool_]:
        return np.asarray(np.einsum("ij,ij->i", looks[whose[one]], looks[whose[other]]) >= LOOKS_ALIKE)

    def check(one: Print, other: Print, delay: int) -> tuple[float, float] | None:
        likeness = max(_together(one, other, delay + near) for near in (-1, 0, 1))
        return (likeness, alike(one, other)) if likeness >= MOTION else None

    yield from _judged(prints, _meetings(keys(), whose, at[starts], likely), check, MOTION_HZ)


def _together(one: Print, other: Print, delay: int) -> float:
    """The correlation of two motions where both are, all channels together, in units of `TREMBLE`; 0 below `SHORTEST_S`."""
    a, b = _overlap(len(one.motion), len(other.motion), delay)
    if a.stop - a.start < _WINDOW:
        return 0.0
    x, y = one.motion[a].astype(np.float64), other.motion[b].astype(np.float64)
    x, y = x - x.mean(0), y - y.mean(0)
    *upright, across = (x * y).sum(0)
    # A mirrored face moves across the other way.
    return float((sum(upright) + abs(across)) / max(float(np.sqrt(np.square(x).sum() * np.square(y).sum())), 1e-9))


def _stills(prints: Sequence[Print]) -> Iterator[Match]:
    images = np.array([at for at, p in enumerate(prints) if p.look.size and len(p.motion) < 2], np.int64)
    if len(images) < 2:
        return
    looks = np.stack([_even(prints[at].look) for at in images]).astype(np.float32)
    rng = np.random.default_rng(0)
    size = _bits(len(images))

    def keys() -> Iterator[NDArray[np.uint64]]:
        for _ in range(TABLES):
            planes = rng.normal(size=(LOOK[0] * LOOK[1], size)).astype(np.float32)
            yield _packed(looks @ planes > np.float32(0))

    def likely(one: Places, other: Places) -> NDArray[np.bool_]:
        return np.asarray(np.einsum("ij,ij->i", looks[one], looks[other]) >= STILLS_ALIKE - 0.001)

    def check(one: Print, other: Print, delay: int) -> tuple[float, float] | None:
        shape = np.abs(one.motion[0, :4].astype(np.float64) - other.motion[0, :4].astype(np.float64)).max()
        likeness = alike(one, other)
        return (likeness, likeness) if shape <= SHAPE and likeness >= STILLS_ALIKE else None

    yield from _judged(prints, _meetings(keys(), images, np.zeros(len(images), np.int64), likely), check, 1)


def _even(look: NDArray[np.uint8]) -> Floats:
    row = look.astype(np.float64).ravel()
    row = row - row.mean()
    return np.asarray(row / max(float(np.linalg.norm(row)), 1e-9))


def _bits(windows: int) -> int:
    """As many that windows by chance meet about once in sixteen, were all keys equally likely."""
    return min(max(ceil(log2(max(windows, 1))) + 4, _LEAST_BITS), _MOST_BITS)


def _places(lengths: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Of all moments in a row: whose each is, and which of theirs."""
    owner = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    starts = np.cumsum(lengths) - lengths
    return owner, (np.arange(len(owner)) - np.repeat(starts, lengths)).astype(np.int32)


def _some(starts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    step = _CHUNK // _WINDOW
    for first in range(0, len(starts), step):
        yield starts[first : first + step]


def _lively(rows: NDArray[np.float32], windows: bool = False) -> NDArray[np.bool_]:
    """Whether there is more than trembling, in each of (windows, moments, channels), or in the windows of (moments, 6)."""
    if not windows:
        rows = np.moveaxis(np.lib.stride_tricks.sliding_window_view(rows[:, :-1], _WINDOW, axis=0), 1, 2)
    return np.asarray(rows.var(1).mean(1) > _STILL)


def _overlap(one: int, other: int, delay: int) -> tuple[slice, slice]:
    """What both have of two lengths, the second of which begins `delay` after the first (or before it)."""
    start, stop = max(0, delay), min(one, other + delay)
    return slice(start, max(start, stop)), slice(start - delay, max(start, stop) - delay)


def _packed(signs: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """The bits of each row as one number; by way of floats, whose product is fast, and exact for so few bits."""
    return np.asarray(signs @ np.exp2(np.arange(signs.shape[1])), np.uint64)


def _meetings(
    keys: Iterator[NDArray[np.uint64]],
    owner: NDArray[np.integer],
    at: NDArray[np.integer],
    likely: Callable[[Places, Places], NDArray[np.bool_]],
) -> Iterator[NDArray[np.int64]]:
    """(pairs, 3) for each table: first, second, and the second's delay, of windows of two clips with one key; each once.

    `likely` is asked first, of many pairs of windows at a time.
    """
    for key in keys:
        order = np.lexsort((at, owner, key))
        k, o = key[order], owner[order]
        # A clip that moves little has the same key for some time.
        fresh = np.ones(len(k), bool)
        fresh[1:] = (k[1:] != k[:-1]) | (o[1:] != o[:-1])
        k, o, order = k[fresh], o[fresh], order[fresh]
        found = [np.zeros((0, 3), np.int64)]
        for step in range(1, min(_CROWD, len(k))):
            same = np.flatnonzero(k[step:] == k[:-step])
            if not len(same):
                break
            same = same[o[same] != o[same + step]]
            for some in _some(same):
                one, other = order[some], order[some + step]
                kept = likely(one, other)
                one, other = one[kept], other[kept]
                delay = at[one].astype(np.int64) - at[other]
                found.append(np.stack([owner[one].astype(np.int64), owner[other], delay], 1))
        yield np.unique(np.concatenate(found), axis=0)


def _judged(
    prints: Sequence[Print],
    meetings: Iterable[NDArray[np.int64]],
    check: Callable[[Print, Print, int], tuple[float, float] | None],
    rate: float,
) -> Iterable[Match]:
    """Of each pair that met and passes the check its best match, with its delay in seconds, at `rate` moments a second."""
    best: dict[tuple[int, int], Match] = {}
    looked_at: set[tuple[int, int, int]] = set()
    for some in meetings:
        for first, second, delay in map(tuple, some.tolist()):
            if (first, second, delay) in looked_at:
                continue
            looked_at.add((first, second, delay))
            passed = check(prints[first], prints[second], delay)
            if passed is not None and ((first, second) not in best or best[first, second].likeness < round(passed[0], 4)):
                best[first, second] = Match(first, second, round(passed[0], 4), round(passed[1], 4), round(delay / rate, 3))
    return best.values()
