"""Lip sync by computer graphics: the target's mouth is bent to the second parent's speech, and that speech is put under it.

No learned model: loudness between 250 and 1000 Hz opens the mouth, a bright spectrum widens it. What the picture does not
show (teeth and cavity of a mouth that was shut) is painted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from forgeline.audio import fit, resample
from forgeline.clip import Clip, Made, Mask, MediaType, Picture, Segment, Sound, spans
from forgeline.errors import MediaError
from forgeline.sample import Role
from forgeline.section import Section
from generators.blend import colours_at
from generators.blend_swap import SKIN
from generators.mouth import known, paint
from generators.plugin import Casting, Stream, face_of
from generators.pose import axes, steady, workable
from generators.warp import move, trim

Floats = NDArray[np.float32]

# fmt: off
_UPPER = np.array([
    0, 11, 12, 13, 37, 72, 38, 82, 39, 73, 41, 81, 40, 74, 42, 80, 185, 184, 183, 191, 267, 302, 268, 312, 269, 303, 271, 311,
    270, 304, 272, 310, 409, 408, 407, 415,
])
_LOWER = np.array([
    17, 16, 15, 14, 84, 85, 86, 87, 181, 180, 179, 178, 91, 90, 89, 88, 146, 77, 96, 95, 314, 315, 316, 317, 405, 404, 403,
    402, 321, 320, 319, 318, 375, 307, 325, 324,
])
"""Points of the two lips, without the corners."""
# fmt: on
RATE = 16000
"""Hz at which speech is analysed."""
STEPS = 100
"""Analyses a second."""
QUIET = -20.0
"""Decibels (of the band's power in one analysis) below which even the loudest sound is no speech."""
LEAST = 0.5
"""Pixels; a frame in which nothing would move further stays as it is."""


class LipSync(Section):
    """The target with the second parent's speech, and lips that follow it."""

    opening: Annotated[float, Field(gt=0, le=0.4)] = 0.16
    """Gap between the lips at the loudest, as a share of the distance from the nose's tip to the chin."""
    width: Annotated[float, Field(ge=0, le=0.3)] = 0.1
    """How much wider bright sounds (as in "tea") make the mouth, and how much narrower dark ones ("two"), as a share."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side; frames beyond it keep their mouth."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "pair"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video", "audio"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "composite"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target's picture, its mouth bent to the other's speech, which is cut or padded to the target's length."""
        target, speaker = parents
        if not target.fps:
            raise MediaError(target.name, "is a still image", "leave it out as a target")
        speech = speaker.sound()
        if speech is None or not speech.samples.any():
            raise MediaError(speaker.name, "has no sound to speak", "leave it out as a voice")
        track = face_of(target)
        able = workable(target, self.max_yaw)
        openness, brightness = follow(speech, target.frames, float(target.fps))

        def moved(frame: int) -> tuple[Floats, Floats]:
            mesh = steady(track, frame)
            return mesh, speak(mesh, openness[frame] * self.opening, 1 + self.width * (2 * brightness[frame] - 1))

        changed = np.array([bool(able[i]) and np.abs(np.subtract(*moved(i))).max() > LEAST for i in range(target.frames)])

        def pictures() -> Iterator[tuple[Picture, Mask]]:
            skin = None
            for frame, picture in enumerate(target.pictures()):
                mask = np.zeros(picture.shape[:2], np.uint8)
                if changed[frame]:
                    original, picture = picture, picture.copy()
                    mesh, spoken = moved(frame)
                    now = np.median(colours_at(picture, mesh)[SKIN], axis=0)
                    skin = now if skin is None else 0.9 * skin + 0.1 * now
                    move(picture, mask, mesh, spoken)
                    paint(picture, mask, spoken, skin, 1 - known(mesh, spoken))
                    trim(mask, original, picture)
                yield picture, mask

        seconds = float(target.duration)
        segments = (*spans(changed, target.fps, "video"), Segment(0.0, seconds, "audio"))
        return replace(Made.of(target, pictures(), segments), sound=fit(speech, seconds))


def follow(speech: Sound, frames: int, fps: float) -> tuple[Floats, Floats]:
    """What speech does to a mouth, (frames,) each in [0, 1]: how open it is, and how bright the sound (0.5 where silent).

    Openness is the level from 250 to 1000 Hz between its 15th and 95th percentile, at least 20 dB apart; brightness is the
    centroid from 800 to 2600 Hz, where the second formant lies: 1100 Hz and less is 0, 1800 Hz and more is 1.
    """
    samples = resample(speech, RATE).samples
    window = np.hanning(512).astype(np.float32)
    parts = np.lib.stride_tricks.sliding_window_view(np.pad(samples, 256), 512)[:: RATE // STEPS]
    power = np.concatenate(
        [np.square(np.abs(np.fft.rfft(part * window))) for part in np.array_split(parts, len(parts) // 1000 + 1)]
    )
    hertz = np.fft.rfftfreq(512, 1 / RATE)
    level = 10 * np.log10(power[:, (hertz > 250) & (hertz < 1000)].sum(1) + 1e-7)
    low, high = np.percentile(level, [15, 95])
    high = max(high, QUIET)
    low = min(low, high - 20)
    formant = (hertz > 800) & (hertz < 2600)
    energy = power[:, formant].sum(1)
    centroid = power[:, formant] @ hertz[formant] / (energy + 1e-9)
    openness = _smooth(np.clip((level - low) / (high - low), 0, 1), 7)
    bright = np.where(level > low, np.clip((centroid - 1100) / 700, 0, 1), 0.5)
    bright = _smooth(bright, 15)
    at = (np.arange(frames) + 0.5) / fps * STEPS
    steps = np.arange(len(level))
    return (
        np.interp(at, steps, openness, right=0).astype(np.float32),
        np.interp(at, steps, bright, right=0.5).astype(np.float32),
    )


def _smooth(values: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    weights = np.hanning(steps + 2)[1:-1]
    return np.convolve(np.pad(values, steps // 2, mode="edge"), weights / weights.sum(), mode="valid")


def speak(mesh: Floats, opening: float, width: float) -> Floats:
    """The mesh with the lips apart by `opening` (in distances from nose to chin) and the mouth `width` times as wide.

    The lower lip takes seven eighths of the way and the jaw follows it; what lies above the nose stays.
    """
    right, down, face = axes(mesh)
    offset = mesh[:, :2] - mesh[[13, 14], :2].mean(0)
    x, y = offset @ right / face, offset @ down / face
    half = float(np.abs(x[[61, 291]]).mean())
    drop = opening - float(np.hypot(*(mesh[14] - mesh[13])[:2])) / face
    reach = np.clip(1 - np.square(x / half), 0, 1)  # full in the lips' middle, nothing at the corners
    share = np.clip((y + 0.02) / 0.2, 0, 1) * np.exp(-((x / (1.8 * half)) ** 4)) * 0.75
    share[_LOWER], share[_UPPER] = 0.875 * reach[_LOWER], -0.125 * reach[_UPPER]
    wide = (width - 1) * np.exp(-((x / (1.6 * half)) ** 4) - (y / (0.7 * half)) ** 2) * x
    moved = mesh.copy()
    moved[:, :2] += face * (drop * share[:, None] * down + wide[:, None] * right)
    return moved
