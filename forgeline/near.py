"""Near-duplicates among many prints, without comparing each with each: windows with equal keys meet, and are looked at.

A key is a handful of bits of a window: signs of random projections of motion (Charikar, Similarity Estimation Techniques from
Rounding Algorithms, STOC 2002), or bits of a sound at random places. Two windows that are alike have equal keys in one of
`TABLES` tables or another; other windows hardly ever, as a key has more bits the more windows there are. Those that do
are told by the windows themselves, many at a time. So the time is that of sorting.

Memory is bounded by what is compared, whatever is alike: windows wait in one table at a time, and what meets is judged a chunk
at a time. Beyond that only what was found is kept.
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
_CHUNK = 1 << 18  # moments that are looked at at once, and meetings that wait
_AT_ONCE = 4  # tables whose keys are computed together
_CLOSE = 0.6
"""What windows that met must correlate by before all that their clips have in common is looked at."""
_HEARD, _CLOSE_SOUND = 32, 0.57
"""The same of sound: moments before and after where two met, and their share of equal bits where both are loud."""
_REMEMBERED = 1 << 19
"""Judgements that are remembered, so that nothing is judged twice; after so many, they are forgotten."""

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

    Memory: 18 bytes a moment of motion, 2 KB a clip for its look, 90 bytes a window (80 ms), and 100 MB whatever there is.
    """
    return sorted([*_moving(prints), *_stills(prints)])


def tells_motion(found: Print) -> bool:
    """Whether a clip moves long and much enough to be compared by its motion."""
    rows = found.motion.astype(np.float32)
    if len(rows) < _WINDOW:
        return False
    some = rows[: len(rows) // _WINDOW * _WINDOW, :-1].reshape(-1, _WINDOW, rows.shape[1] - 1)  # mostly enough, and quick
    return bool(_lively(some, True).any() or _lively(rows).any())


def tells_sound(found: Print) -> bool:
    """Whether a clip's sound is long and loud enough to be compared."""
    return int(found.loud.sum()) >= _FEWEST_LOUD


def same_sound(prints: Sequence[Print]) -> list[Match]:
    """Pairs of clips of which one holds the other's sound, or a part of at least 1 s up to an end of either; sorted.

    Memory: 13 bytes a moment of sound, 60 a window (each moment that is loud), and 100 MB whatever there is.
    """
    lengths = np.array([len(p.sound) for p in prints], np.int64)
    owner, at = _places(lengths)
    if not len(owner):
        return []
    words = np.concatenate([p.sound for p in prints])
    loud = np.concatenate([p.loud for p in prints])
    ends = np.cumsum(lengths)
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
        one, other = whole[one], whole[other]
        wrong = np.zeros(len(one), np.int64)
        for later in range(_SOUND_WINDOW):
            wrong += np.bitwise_count(words[one + later] ^ words[other + later])
        close = np.flatnonzero(wrong <= (1 - SOUND) * 32 * _SOUND_WINDOW)
        one, other = one[close], other[close]
        before = np.minimum(at[one], at[other])
        after = np.minimum(ends[owner[one]] - one, ends[owner[other]] - other)
        equal, told = np.zeros(len(one), np.int64), np.zeros(len(one), np.int64)
        for later in range(-_HEARD, _HEARD):
            a, b = (np.clip(each + later, 0, len(words) - 1) for each in (one, other))
            telling = (-later <= before) & (later < after) & loud[a] & loud[b]
            equal += np.where(telling, 32 - np.bitwise_count(words[a] ^ words[b]).astype(np.int64), 0)
            told += telling
        found = np.zeros(len(wrong), np.bool_)
        found[close[equal >= _CLOSE_SOUND * 32 * told]] = True
        return found

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
    live = [_lively(_windows(rows, some).reshape(len(some), _WINDOW, -1), True) for some in _some(starts)]
    starts = starts[np.concatenate(live)] if live else starts
    rng = np.random.default_rng(0)
    size = _bits(len(starts))

    def keys() -> Iterator[NDArray[np.uint64]]:
        for _ in range(0, TABLES, _AT_ONCE):
            planes = rng.normal(size=(_AT_ONCE, _WINDOW, rows.shape[1], size))
            planes -= planes.mean(1, keepdims=True)  # so that it is no matter where a face rests
            flat = np.moveaxis(planes, 0, 2).reshape(-1, _AT_ONCE * size).astype(np.float32)
            some_keys = np.empty((_AT_ONCE, len(starts)), np.uint64)
            done = 0
            for some in _some(starts):
                above = (_windows(rows, some) @ flat > 0).reshape(len(some), _AT_ONCE, size)
                some_keys[:, done : done + len(some)] = _packed(above).T
                done += len(some)
            yield from some_keys

    whose = owner[starts]

    def likely(one: Places, other: Places) -> NDArray[np.bool_]:
        found = np.einsum("ij,ij->i", looks[whose[one]], looks[whose[other]]) >= LOOKS_ALIKE
        close = np.flatnonzero(found)
        x, y = (_even_windows(_windows(rows, starts[each[close]])) for each in (one, other))
        found[close] = np.einsum("ij,ij->i", x, y) >= _CLOSE
        return np.asarray(found)

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
    apart = looks - looks.mean(0)
    shapes = np.stack([prints[at].motion[0, :4] for at in images]).astype(np.float64)
    rng = np.random.default_rng(0)
    size = _bits(len(images))

    def keys() -> Iterator[NDArray[np.uint64]]:
        # All faces are somewhat alike, and would meet by what they share; but where most are one person's, little else is left.
        for faces in (apart, looks):
            for _ in range(TABLES):
                planes = rng.normal(size=(LOOK[0] * LOOK[1], size)).astype(np.float32)
                yield _packed(faces @ planes > np.float32(0))

    def likely(one: Places, other: Places) -> NDArray[np.bool_]:
        found = np.abs(shapes[one] - shapes[other]).max(1) <= SHAPE
        close = np.flatnonzero(found)
        found[close] = np.einsum("ij,ij->i", looks[one[close]], looks[other[close]]) >= STILLS_ALIKE - 0.001
        return np.asarray(found)

    def check(one: Print, other: Print, delay: int) -> tuple[float, float] | None:
        likeness = alike(one, other)
        return (likeness, likeness) if likeness >= STILLS_ALIKE else None

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


def _windows(rows: NDArray[np.float16], starts: Places) -> NDArray[np.float32]:
    """(windows, moments times channels) from these moments on, a row each."""
    if not len(starts):
        return np.zeros((0, _WINDOW * rows.shape[1]), np.float32)
    flat = np.lib.stride_tricks.sliding_window_view(rows.reshape(-1), _WINDOW * rows.shape[1])
    return np.asarray(flat[starts * rows.shape[1]], np.float32)


def _even_windows(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """With each channel's mean taken out, and of length 1."""
    each = windows.reshape(len(windows), _WINDOW, windows.shape[1] // _WINDOW)
    each = each - each.mean(1, keepdims=True)
    even = each.reshape(windows.shape)
    return np.asarray(even / np.maximum(np.linalg.norm(even, axis=1, keepdims=True), 1e-9), np.float32)


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
    """The bits of the last axis as one number; by way of floats, whose product is fast, and exact for so few bits."""
    return np.asarray(signs @ np.exp2(np.arange(signs.shape[-1])), np.uint64)


def _meetings(
    keys: Iterator[NDArray[np.uint64]],
    owner: NDArray[np.integer],
    at: NDArray[np.integer],
    likely: Callable[[Places, Places], NDArray[np.bool_]],
) -> Iterator[NDArray[np.int64]]:
    """(pairs, 3), a chunk at a time: first, second, and the second's delay, of windows of two clips with one key.

    Windows are in the order of their clips, and in each of time. `likely` is asked first, of many pairs of windows at a time.
    """
    count, span = (int(each.max(initial=0)) + 1 for each in (owner, at))
    for key in keys:
        order = np.argsort(key, kind="stable")
        k, o = key[order], owner[order]
        # A clip that moves little has the same key for some time.
        fresh = np.ones(len(k), bool)
        fresh[1:] = (k[1:] != k[:-1]) | (o[1:] != o[:-1])
        k, o, order = k[fresh], o[fresh], order[fresh]
        waiting, many = [np.zeros(0, np.int64)], 0
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
                waiting.append((owner[one].astype(np.int64) * count + owner[other]) * 2 * span + delay + span)
                many += len(one)
                if many >= _CHUNK:
                    yield _apart(waiting, count, span)
                    waiting, many = [np.zeros(0, np.int64)], 0
        yield _apart(waiting, count, span)


def _apart(waiting: Sequence[NDArray[np.int64]], count: int, span: int) -> NDArray[np.int64]:
    """First, second and delay of each number, which holds all three; each once."""
    pairs, delay = np.divmod(np.unique(np.concatenate(waiting)), 2 * span)
    return np.stack([pairs // count, pairs % count, delay - span], 1)


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
            if len(looked_at) >= _REMEMBERED:
                looked_at.clear()
            looked_at.add((first, second, delay))
            passed = check(prints[first], prints[second], delay)
            if passed is not None and ((first, second) not in best or best[first, second].likeness < round(passed[0], 4)):
                best[first, second] = Match(first, second, round(passed[0], 4), round(passed[1], 4), round(delay / rate, 3))
    return best.values()
