"""Copies are found among clips that are all alike, at a cost and in memory that what is alike does not decide."""

import tracemalloc
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import pytest

from benchmarks.splits import ONE_IN, drawn
from forgeline import near
from forgeline.near import Match, same_picture, same_sound, tells_motion
from forgeline.prints import LOOK, MOTION_HZ, SOUND_HZ, Print

ROOM = 1000  # clips of a person, as in GRID: all look alike
CLIPS, COPIES = 200, 2


@cache
def room() -> tuple[Print, ...]:
    """Clips of one person in one room, and copies of some of them: trimmed, with other bits and some noise, some mirrored."""
    return (*(drawn(n, ROOM) for n in range(CLIPS)), *(drawn(n * ONE_IN, ROOM, copied=True) for n in range(COPIES)))


PLANTED = [(n * ONE_IN, CLIPS + n) for n in range(COPIES)]


def pairs(found: Sequence[Match]) -> list[tuple[int, int]]:
    return [(match.first, match.second) for match in found]


def test_copies_are_found_where_all_clips_look_alike() -> None:
    assert min(near.alike(room()[0], other) for other in room()[1:]) >= near.LOOKS_ALIKE
    assert pairs(same_picture(room())) == pairs(same_sound(room())) == PLANTED


def test_the_delay_is_that_of_the_trim() -> None:
    whole = room()[0]
    for start, rate, search in ((30, MOTION_HZ, same_picture), (31, SOUND_HZ, same_sound)):
        rest = Print(whole.motion[start:], whole.look, whole.sound[start:], whole.loud[start:])
        (found,) = search([whole, rest])
        assert (found.likeness, found.delay_s) == (1.0, round(start / rate, 3))


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    calls: list[int] = []
    run: Callable[..., object] = getattr(near, name)

    def counting(*args: object) -> object:
        calls.append(1)
        return run(*args)

    monkeypatch.setattr(near, name, counting)
    return calls


def test_chance_meetings_are_told_before_clips_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has windows with equal keys is told by these, many at a time; few pairs are looked at as a whole."""
    compared, heard = counted(monkeypatch, "_together"), counted(monkeypatch, "_overlap")
    same_picture(room())
    assert 3 * COPIES <= len(compared) < 100 * CLIPS
    heard.clear()
    same_sound(room())
    assert COPIES <= len(heard) < 4 * CLIPS


def peak_of(search: Callable[[Sequence[Print]], object], prints: Sequence[Print]) -> int:
    tracemalloc.start()
    try:
        search(prints)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def crowd(count: int) -> list[Print]:
    """Clips that all move alike and look alike, at many delays, and are none of them copies: nods, and each its own noise."""
    rng = np.random.default_rng(0)
    nods = np.sin(np.arange(250) / 3)[:, None] * [3, 1, 3, 2, 6, 1]
    look = drawn(0, ROOM).look
    none, never = np.zeros(0, np.uint32), np.zeros(0, np.bool_)
    return [Print((nods + rng.normal(size=(250, 6))).astype(np.float16), look, none, never) for _ in range(count)]


def test_memory_is_that_of_the_windows_whatever_is_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound of `same_picture`, with less that is held at once: so many meet and are judged that keeping them takes more."""
    monkeypatch.setattr(near, "_together", lambda *_: 0.0)
    monkeypatch.setattr(near, "_CHUNK", 1 << 12)
    monkeypatch.setattr(near, "_REMEMBERED", 1 << 10)
    nodding = crowd(40)
    bound = sum(18 * len(p.motion) + 2048 + 90 * (len(p.motion) // 2) for p in nodding) + (3 << 19)
    assert peak_of(same_picture, nodding) < bound


def test_what_is_forgotten_is_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = same_picture(room()), same_sound(room())
    monkeypatch.setattr(near, "_CHUNK", 1 << 13)
    monkeypatch.setattr(near, "_REMEMBERED", 2)
    assert (same_picture(room()), same_sound(room())) == before


def stills(count: int, own: float, noise: float) -> list[Print]:
    """Faces that differ by so many grey levels, each of another expression; and copies of the first five, with noise."""
    rng = np.random.default_rng(0)
    shared, apart = drawn(0, ROOM).look.astype(np.float64), rng.normal(size=(count, *LOOK)) * own
    shape = np.zeros((count, 1, 6), np.float16)
    shape[:, 0, :4] = rng.normal(size=(count, 4)) * 100
    looks = [shared + each for each in apart] + [shared + each + rng.normal(size=LOOK) * noise for each in apart[:5]]
    none, never = np.zeros(0, np.uint32), np.zeros(0, np.bool_)
    return [Print(shape[n % count], look.clip(0, 255).round().astype(np.uint8), none, never) for n, look in enumerate(looks)]


@pytest.mark.parametrize(
    ("count", "own", "noise"),
    [(3000, 4.0, 2.0), (60, 1.0, 4.0)],
    ids=["more than a table's crowd share most of a face", "there is little but one face"],
)
def test_copies_of_stills_are_found_however_alike_faces_are(count: int, own: float, noise: float) -> None:
    assert pairs(same_picture(stills(count, own, noise))) == [(n, count + n) for n in range(5)]


def test_motion_anywhere_in_a_clip_is_told() -> None:
    rng = np.random.default_rng(0)
    rest = np.zeros((400, 6), np.float16)
    for begins in (0, 20, 199, 357):
        moves = rest.copy()
        moves[begins : begins + 43] = rng.normal(size=(43, 6)) * 1.15  # only just more than trembling, in one window of many
        found = Print(moves, np.zeros(LOOK, np.uint8), np.zeros(0, np.uint32), np.zeros(0, np.bool_))
        assert tells_motion(found)
    assert not tells_motion(Print(rest, np.zeros(LOOK, np.uint8), np.zeros(0, np.uint32), np.zeros(0, np.bool_)))
