"""The people in tests of generators: drawn ones, whose truth is known exactly, and those of the GRID corpus."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.audio import fit, resample
from forgeline.clip import Clip, Picture, Said, Sound, Track
from forgeline.errors import WeightsError
from forgeline.faces import FaceFinder, track_faces
from forgeline.mesh import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, OVAL, RIGHT_BROW, RIGHT_EYE, TRIANGLES
from forgeline.speech import speak
from forgeline.video import open_video
from generators.warp import CLOSED, spread

SHARED = Path(__file__).parents[2] / "shared"
WIDTH, HEIGHT, FRAMES, UNSEEN = 176, 192, 10, 4
FPS = Fraction(30000, 1001)


@cache
def resting_mesh() -> NDArray[np.float32]:
    """A face of width 1 around (0, 0): rings where faces have them, every other point in the middle of its neighbours."""
    places: dict[int, tuple[float, float]] = {}

    def ring(points: NDArray[np.int32], x: float, y: float, wide: float, high: float, start: float) -> None:
        for point, angle in zip(points, start - np.arange(len(points)) * 2 * np.pi / len(points), strict=True):
            places[int(point)] = x + wide * np.cos(angle), y - high * np.sin(angle)

    ring(OVAL, 0, 0, 0.5, 0.65, np.pi / 2)
    ring(LIPS_OUTER, 0, 0.33, 0.16, 0.07, np.pi)
    ring(LIPS_INNER, 0, 0.33, 0.12, 0.02, np.pi)
    places |= {p: (x, 2 * 0.33 - y) for p, (x, y) in places.items() if p in {*LIPS_OUTER, *LIPS_INNER}}
    ring(RIGHT_EYE, -0.22, -0.12, 0.08, 0.03, np.pi)
    ring(LEFT_EYE, 0.22, -0.12, -0.08, 0.03, np.pi)
    ring(RIGHT_BROW, -0.22, -0.26, 0.11, 0.02, np.pi)
    ring(LEFT_BROW, 0.22, -0.26, -0.11, 0.02, np.pi)
    for eye in (RIGHT_EYE, LEFT_EYE):  # lower lid first, as in the list of points
        places |= {int(p): (places[int(p)][0], -0.24 - places[int(p)][1]) for p in eye}
    places |= {1: (0.0, 0.12), 4: (0.0, 0.09)}
    edges = {(int(a), int(b)) for t in CLOSED for a in t for b in t if a != b}
    system, wanted = np.eye(468), np.zeros((468, 2))
    for point in range(468):
        if point in places:
            wanted[point] = places[point]
        else:
            near = [b for a, b in edges if a == point]
            system[point, near] = -1 / len(near)
    flat = np.linalg.solve(system, wanted)
    depth = 0.6 * np.square(flat / (0.5, 0.65)).sum(1)[:, None]
    return np.concatenate([flat, depth], 1).astype(np.float32)


def pose(opening: float, turn: float, x: float, y: float, size: float) -> NDArray[np.float32]:
    """The mesh (468, 3) in pixels: mouth open by `opening`, head turned by `turn` degrees."""
    mesh = resting_mesh().copy()
    lower = np.isin(np.arange(468), [p for p in {*LIPS_INNER, *LIPS_OUTER} if mesh[p, 1] > 0.331])
    mesh[lower, 1] += opening
    mesh[:, 2] -= 0.3
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    mesh[:, 0], mesh[:, 2] = c * mesh[:, 0] - s * mesh[:, 2], s * mesh[:, 0] + c * mesh[:, 2]
    return (mesh * size + (x, y, 0)).astype(np.float32)


def draw(mesh: NDArray[np.float32], person: int, noise: np.random.Generator) -> Picture:
    """The person whose face has this mesh, on a plain ground."""
    look = np.random.default_rng(person)
    skin = np.array([200, 150, 125]) * look.uniform(0.6, 1.1) + look.uniform(-10, 10, 3)
    colours = np.clip(skin * look.normal(1, 0.06, (468, 1)), 0, 255).astype(np.float32)
    for part, colour in ((RIGHT_BROW, 60), (LEFT_BROW, 60), (RIGHT_EYE, 90), (LEFT_EYE, 90), (LIPS_OUTER, (150, 70, 80))):
        colours[part] = colour
    picture = np.full((HEIGHT, WIDTH, 3), look.uniform(40, 200, 3), np.float32)
    middle, size = mesh[:, :2].mean(0), np.ptp(mesh[:, 1])
    hair = (round(float(middle[0])), round(float(middle[1] - 0.1 * size)))
    cv2.ellipse(picture, hair, (round(size * 0.48), round(size * 0.56)), 0, 0, 360, look.uniform(20, 60, 3).tolist(), -1)
    planes, covered = spread(mesh, colours, TRIANGLES, (0, 0, WIDTH, HEIGHT))
    picture[covered > 0] = np.moveaxis(planes, 0, 2)[covered > 0]
    cv2.fillPoly(picture, [np.round(mesh[LIPS_INNER, :2]).astype(np.int32)], (40, 15, 20))
    for eye in (RIGHT_EYE, LEFT_EYE):
        cv2.fillPoly(picture, [np.round(mesh[eye, :2]).astype(np.int32)], (230, 230, 225))
    return np.clip(picture + noise.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


class Passes:
    """A clip's pictures; counts how often they were asked for."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures, self.count = pictures, 0

    def __call__(self) -> Iterator[Picture]:
        self.count += 1
        return iter(self.pictures)


@cache
def _drawn(person: int, turns: tuple[float, ...]) -> tuple[Track, tuple[Picture, ...], Sound]:
    rng = np.random.default_rng(1000 + person)
    openings = 0.06 * np.square(np.sin(np.arange(len(turns)) * 0.4 + person))
    steps = np.arange(len(turns))
    meshes = np.stack(
        [pose(o, t, 88 + 4 * np.sin(i / 4), 100, 96 + 4 * person) for i, (o, t) in enumerate(zip(openings, turns, strict=True))]
    )
    pictures = tuple(draw(mesh, person, rng) for mesh in meshes)
    for picture in pictures:
        picture.flags.writeable = False
    seen = steps != UNSEEN
    meshes[~seen] = np.nan
    box = np.concatenate([meshes[:, :, :2].min(1), meshes[:, :, :2].max(1)], 1)
    points = np.stack([meshes[:, p, :2].mean(1) for p in (RIGHT_EYE, LEFT_EYE, [4], [61], [291])], 1)
    rate = 16000
    times = np.arange(round(len(turns) / FPS * rate)) / rate
    loud = np.interp(times, steps / float(FPS), openings / 0.06)
    sound = Sound(
        (0.3 * loud * np.sin(2 * np.pi * (120 + 40 * person) * times * [[1], [4], [9]]).mean(0)).astype(np.float32), rate
    )
    return Track(box, points, meshes, np.where(seen, 0.99, np.nan).astype(np.float32), seen), pictures, sound


def drawn(person: int, turns: Sequence[float] = (0,) * FRAMES) -> Clip:
    """A drawn person who talks, the head turned by so many degrees frame by frame; no face is seen in frame UNSEEN."""
    track, pictures, sound = _drawn(person, tuple(turns))
    return Clip("video", WIDTH, HEIGHT, FPS, len(turns), Passes(pictures), lambda: sound, track, f"person {person}")


SPEAKING = 90
"""Frames of a clip in which somebody says a sentence."""

_SENTENCES = (
    ("en-us", "Our train leaves at nine, so there is time for tea."),
    ("en-us+f2", "She reads a chapter of her book every morning."),
    ("en-us+m3", "He painted the garden fence a warm shade of green."),
    ("en-us+f4", "They moved the piano to the room with big windows."),
)


@cache
def _speech(person: int) -> tuple[Sound, tuple[Said, ...], tuple[Said, ...]]:
    """A sentence in a quiet room, as long as SPEAKING frames, its words and phonemes."""
    voice, text = _SENTENCES[person % len(_SENTENCES)]
    said, lead = speak(text, voice), 0.2
    samples = np.concatenate([np.zeros(round(lead * 16000), np.float32), resample(said.sound, 16000).samples])
    whole = fit(Sound(samples, 16000), float(SPEAKING / FPS))
    room = np.random.default_rng(person).normal(0, 1e-3, len(whole.samples)).astype(np.float32)
    later = (tuple(Said(s.start_s + lead, s.end_s + lead, s.text) for s in some) for some in (said.words, said.phonemes))
    words, phonemes = (tuple(s for s in some if s.end_s < SPEAKING / FPS) for some in later)
    return Sound((0.7 * whole.samples + room).astype(np.float32), 16000), words, phonemes


def speaking(person: int) -> Clip:
    """A drawn person who says a sentence in English: what methods that work on voices are given."""
    sound, words, phonemes = _speech(person)
    clip = drawn(person, (0,) * SPEAKING)
    return replace(clip, sound=lambda: sound, words=words, phonemes=phonemes, attributes={"language": "en"})


GRID = SHARED / "media" / "grid"


@cache
def finder() -> FaceFinder:
    if not GRID.exists():
        pytest.skip("needs the GRID clips in ../shared/media")
    try:
        return FaceFinder()
    except WeightsError as error:
        pytest.skip(f"no face nets here: {error}")


def footage(name: str) -> Clip:
    """Every third frame of a GRID clip, tracked; skips the test where there are none."""
    face_finder = finder()
    clip = open_video(GRID / f"{name}.mpg")
    pictures = tuple(clip.pictures())[::3]
    clip = replace(clip, frames=len(pictures), fps=clip.fps / 3, pictures=lambda: iter(pictures))
    return replace(clip, track=track_faces(clip, face_finder)[0])


def lip_gap(mesh: NDArray[np.float32]) -> float:
    """How far the lips are apart, in heights of the face."""
    return float(np.hypot(*(mesh[13] - mesh[14])[:2]) / np.hypot(*(mesh[10] - mesh[152])[:2]))
