"""Copies are found by their prints, whatever was done to them, and nothing else is."""

import io
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, sosfiltfilt

from forgeline.audio import resample
from forgeline.clip import Clip, Sound, Track
from forgeline.errors import MediaError
from forgeline.near import same_picture, same_sound, tells_motion, tells_sound
from forgeline.prints import Print, load_print, look_of, print_of, save_print
from tests.people import HEIGHT, WIDTH, draw, pose, resting_mesh

FPS, FRAMES, RATE = 25, 75, 16000
PEOPLE, TAKES = 4, 3


@cache
def mirrored_points() -> NDArray[np.intp]:
    """Which point of a mirrored face stands for which of the face."""
    flat = resting_mesh()
    apart = np.linalg.norm((flat * (-1, 1, 1))[:, None] - flat[None], axis=2)
    return np.asarray(apart.argmin(1))


@cache
def portrait(person: int) -> NDArray[np.uint8]:
    return draw(pose(0.0, 0, WIDTH / 2, 100, 110), person, np.random.default_rng(person))


@cache
def recording(person: int, take: int) -> Clip:
    """Three seconds of a person who moves and speaks: no two takes alike."""
    rng = np.random.default_rng((person, take))
    open_, x, y = gaussian_filter1d(rng.normal(size=(3, FRAMES)), 2.5, axis=1) * [[0.08], [6], [6]]
    meshes = np.stack([pose(abs(o), 0, WIDTH / 2 + a, 100 + b, 110) for o, a, b in zip(open_, x, y, strict=True)])
    band = butter(2, [300, 2500], "bandpass", fs=RATE, output="sos")
    loud = 0.1 + np.abs(gaussian_filter1d(rng.normal(size=FRAMES * RATE // FPS), RATE / 12)) * 100
    sound = Sound((0.1 * loud * sosfiltfilt(band, rng.normal(size=len(loud)))).astype(np.float32), RATE)
    moves = list(zip(x, y, strict=True))

    def shifted(at: int) -> NDArray[np.uint8]:
        dx, dy = moves[at]
        matrix = np.array([[1, 0, dx], [0, 1, dy]])
        return np.asarray(cv2.warpAffine(portrait(person), matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE), np.uint8)

    pictures = [shifted(at) for at in range(FRAMES)]
    return clip_of(meshes, pictures, sound)


def clip_of(meshes: NDArray[np.float32], pictures: list[NDArray[np.uint8]], sound: Sound | None) -> Clip:
    n = len(meshes)
    box, points = np.zeros((n, 4), np.float32), np.zeros((n, 5, 2), np.float32)
    track = Track(box, points, meshes.astype(np.float32), np.ones(n, np.float32), np.ones(n, np.bool_))
    height, width = pictures[0].shape[:2]
    return Clip("video", width, height, Fraction(FPS), n, lambda: iter(pictures), lambda: sound, track)


def parts(clip: Clip) -> tuple[NDArray[np.float32], list[NDArray[np.uint8]], Sound]:
    assert clip.track is not None
    return clip.track.mesh, list(clip.pictures()), clip.sound() or Sound(np.zeros(0, np.float32), RATE)


def encoded(clip: Clip) -> Clip:
    meshes, pictures, sound = parts(clip)
    rng = np.random.default_rng(0)
    worn = []
    for picture in pictures:
        coded = io.BytesIO()
        Image.fromarray(picture).save(coded, "JPEG", quality=15)
        worn.append(np.asarray(Image.open(coded)))
    return clip_of(meshes + rng.normal(0, 0.35, meshes.shape).astype(np.float32), worn, sound)


def cropped(clip: Clip) -> Clip:
    meshes, pictures, sound = parts(clip)
    return clip_of(meshes - (WIDTH // 20, HEIGHT // 20, 0), [p[HEIGHT // 20 :, WIDTH // 20 :] for p in pictures], sound)


def halved(clip: Clip) -> Clip:
    meshes, pictures, sound = parts(clip)
    size = WIDTH // 2, HEIGHT // 2
    return clip_of(
        meshes / 2, [np.asarray(cv2.resize(p, size, interpolation=cv2.INTER_AREA), np.uint8) for p in pictures], sound
    )


def mirrored(clip: Clip) -> Clip:
    meshes, pictures, sound = parts(clip)
    turned = meshes[:, mirrored_points()] * (-1, 1, 1) + (WIDTH - 1, 0, 0)
    return clip_of(turned, [np.ascontiguousarray(p[:, ::-1]) for p in pictures], sound)


def trimmed(clip: Clip) -> Clip:
    meshes, pictures, sound = parts(clip)
    first, last = 13, 13 + 2 * FRAMES // 3
    heard = Sound(sound.samples[first * RATE // FPS : last * RATE // FPS], RATE)
    return clip_of(meshes[first:last], pictures[first:last], heard)


def slower(clip: Clip) -> Clip:
    """Twelve and a half frames a second instead of twenty-five."""
    meshes, pictures, sound = parts(clip)
    return replace(clip_of(meshes[::2], pictures[::2], sound), fps=Fraction(FPS, 2))


COPIES: dict[str, Callable[[Clip], Clip]] = {
    "encoded again": encoded,
    "cropped": cropped,
    "scaled": halved,
    "mirrored": mirrored,
    "trimmed": trimmed,
    "fewer frames": slower,
    "all of it": lambda clip: mirrored(trimmed(clip)),
}


@cache
def prints() -> list[Print]:
    return [print_of(recording(person, take)) for person in range(PEOPLE) for take in range(TAKES)]


def silent(found: Print) -> Print:
    return replace(found, sound=found.sound[:0], loud=found.loud[:0])


def test_different_recordings_are_not_alike() -> None:
    assert all(map(tells_motion, prints()))
    assert all(map(tells_sound, prints()))
    assert same_picture(prints()) == same_sound(prints()) == []


@pytest.mark.parametrize("change", COPIES)
def test_a_copy_is_found_by_its_picture_and_by_its_sound(change: str) -> None:
    copy = print_of(COPIES[change](recording(1, 1)))
    place = 1 * TAKES + 1
    (seen,) = same_picture([silent(p) for p in (*prints(), copy)])
    assert (seen.first, seen.second) == (place, PEOPLE * TAKES)
    (heard,) = same_sound([*prints(), copy])
    assert (heard.first, heard.second) == (place, PEOPLE * TAKES)
    delay = 13 / FPS if change in ("trimmed", "all of it") else 0
    assert seen.delay_s == pytest.approx(delay, abs=0.09)
    assert heard.delay_s == pytest.approx(delay, abs=0.05)


def test_sound_alone_that_is_used_again_is_found() -> None:
    """Softer, of another rate, with noise, from its middle on, under another person's pictures."""
    _, _, sound = parts(recording(2, 0))
    part = resample(Sound(sound.samples[RATE // 2 :] * np.float32(0.3), RATE), 11025)
    noise = np.random.default_rng(0).normal(0, 0.05 * part.samples.std(), len(part.samples)).astype(np.float32)
    reused = replace(recording(0, 0), sound=lambda: Sound(part.samples + noise, 11025))
    copy = print_of(reused)
    (heard,) = same_sound([*prints()[1:], copy])
    assert (heard.first, heard.second) == (2 * TAKES - 1, PEOPLE * TAKES - 1)
    assert heard.delay_s == pytest.approx(0.5, abs=0.05)
    only = Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: part)
    assert [(m.first, m.second) for m in same_sound([*prints(), print_of(only)])] == [(2 * TAKES, PEOPLE * TAKES)]


def test_silence_that_both_have_is_not_what_makes_them_one() -> None:
    """They begin with the same 0.6 s, go on differently for 2.4 s, and are silent for 6 s."""
    some = []
    for take in (0, 1):
        _, _, sound = parts(recording(0, take))
        samples = np.concatenate(
            [parts(recording(1, 0))[2].samples[:9600], sound.samples[:38400], np.zeros(6 * RATE, np.float32)]
        )
        whole = Sound(samples, RATE)
        some.append(print_of(Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda whole=whole: whole)))  # type: ignore[misc]
    assert all(map(tells_sound, some))
    assert same_sound(some) == []


def test_silence_and_stillness_tell_nothing() -> None:
    clip = recording(0, 0)
    mute = [print_of(replace(clip, sound=lambda: Sound(np.zeros(3 * RATE, np.float32), RATE))) for _ in range(2)]
    assert not any(map(tells_sound, mute))
    assert same_sound(mute) == []
    meshes, pictures, sound = parts(clip)
    still = [print_of(clip_of(np.repeat(meshes[:1], FRAMES, 0), pictures, sound)) for _ in range(2)]
    assert not any(map(tells_motion, still))
    assert same_picture(still) == []
    short = print_of(clip_of(meshes[:30], pictures[:30], sound))
    assert not tells_motion(short)
    brief = print_of(replace(clip, sound=lambda: Sound(sound.samples[:RATE], RATE)))
    assert not tells_sound(brief)
    assert same_sound([prints()[0], brief]) == []
    assert same_picture([prints()[0], short]) == []
    assert same_picture([]) == same_sound([]) == []


def test_stills_are_found_by_their_faces() -> None:
    def still(person: int, opening: float, turn: bool = False) -> Print:
        mesh = pose(opening, 0, WIDTH / 2, 100, 110)[None]
        pictures = [draw(mesh[0], person, np.random.default_rng(person))]
        clip = clip_of(mesh, pictures, None)
        clip = halved(mirrored(clip)) if turn else clip
        return print_of(replace(clip, media_type="image", fps=Fraction(0)))

    several = [still(0, 0.0), still(1, 0.06), still(2, 0.0), still(0, 0.03)]
    assert same_picture(several) == []
    assert [(m.first, m.second) for m in same_picture([*several, still(1, 0.06, turn=True)])] == [(1, 4)]


def test_a_look_is_that_of_the_mirrored_face() -> None:
    mesh = pose(0.02, 0, 90, 97, 105)
    one = look_of(portrait(3), mesh)
    turned = (mesh[mirrored_points()] * (-1, 1, 1) + (WIDTH - 1, 0, 0)).astype(np.float32)
    other = look_of(np.ascontiguousarray(portrait(3)[:, ::-1]), turned)
    assert np.abs(one - other).mean() < 2.5 < one.std() / 5


def test_prints_are_kept_as_they_are(tmp_path: Path) -> None:
    one, other = tmp_path / "a.npz", tmp_path / "b.npz"
    save_print(one, prints()[0])
    save_print(other, print_of(recording(0, 0)))
    assert one.read_bytes() == other.read_bytes()
    found = load_print(one)
    assert all(np.array_equal(getattr(found, n), getattr(prints()[0], n)) for n in ("motion", "look", "sound", "loud"))
    assert one.stat().st_size < 4096
    one.write_bytes(b"nothing")
    with pytest.raises(MediaError, match=r"is no print \(.*\); ingest its clip again"):
        load_print(one)
