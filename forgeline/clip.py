"""The media of one item, and the faces in it. Nothing here decodes or encodes: see `video`, `image` and `audio`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(height, width, 3) RGB, both sides even."""

Mask = NDArray[np.uint8]
"""(height, width), 0 untouched … 255 wholly replaced."""

MediaType = Literal["video", "image", "audio"]


@dataclass(frozen=True)
class Sound:
    """Mono sound: `samples` float32 (n,) in [-1, 1] at `rate` Hz."""

    samples: NDArray[np.float32]
    rate: int


@dataclass(frozen=True, slots=True)
class Said:
    """A word, or a phoneme in IPA, and when it was said: `start_s` to `end_s` seconds."""

    start_s: float
    end_s: float
    text: str


@dataclass(frozen=True)
class Track:
    """One face through one clip, frame by frame; what is not seen in a frame is NaN there and `seen` is False.

    `box` float32 (frames, 4) as x0 y0 x1 y1 in pixels; `points` float32 (frames, 5, 2): right eye, left eye, nose,
    mouth's right and left corner (the person's right is the picture's left); `mesh` float32 (frames, 468, 3), x and y in
    pixels, z in pixels towards the camera negative; `score` float32 (frames,) in [0, 1]; `seen` bool (frames,).
    """

    box: NDArray[np.float32]
    points: NDArray[np.float32]
    mesh: NDArray[np.float32]
    score: NDArray[np.float32]
    seen: NDArray[np.bool_]


@dataclass(frozen=True)
class Clip:
    """A stream of pictures and/or mono sound, never assumed to fit in memory.

    Each call of `pictures` starts a new pass and yields exactly `frames` pictures; `sound` decodes the whole sound (10 MB a
    minute at 44.1 kHz), cut or padded to the pictures' duration, or gives None. `fps` is exact; an image has one frame and
    fps 0, sound alone no size and no frames. `track` is the face to work on, where one was asked for. `attributes` are what
    its corpus declares of the person in it, by name (`glasses`: `round`), never guessed from a face; `words` and `phonemes`
    what is said in it, where the corpus says so, in order of time. `name` is for errors.
    """

    media_type: MediaType
    width: int
    height: int
    fps: Fraction
    frames: int
    pictures: Callable[[], Iterator[Picture]]
    sound: Callable[[], Sound | None]
    track: Track | None = None
    name: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    words: tuple[Said, ...] = ()
    phonemes: tuple[Said, ...] = ()

    @property
    def duration(self) -> Fraction:
        """Seconds of picture."""
        return Fraction(self.frames) / self.fps if self.fps else Fraction(0)


@dataclass(frozen=True)
class Segment:
    """When something was changed: `start_s` to `end_s` seconds, in the `video` or the `audio`."""

    start_s: float
    end_s: float
    modality: Literal["video", "audio"]


@dataclass(frozen=True)
class Made:
    """What a generator hands to `watermark.seal`: one pass over pictures, each with the mask of what was changed in it.

    `pictures` yields `frames` times (picture, mask or None); all masks are given or none is. `sound` is the whole sound.
    `drawn` is what chance decided, by name (`weather`: `rain`), `words` and `phonemes` what is said in the sound, as far as
    that is known: they go into the sample's row.
    """

    media_type: MediaType
    width: int
    height: int
    fps: Fraction
    frames: int
    pictures: Iterator[tuple[Picture, Mask | None]]
    sound: Sound | None
    segments: tuple[Segment, ...] = ()
    drawn: Mapping[str, str | float] = field(default_factory=dict)
    words: tuple[Said, ...] = ()
    phonemes: tuple[Said, ...] = ()

    @classmethod
    def of(
        cls,
        clip: Clip,
        pictures: Iterator[tuple[Picture, Mask | None]],
        segments: tuple[Segment, ...] = (),
        drawn: Mapping[str, str | float] | None = None,
    ) -> "Made":
        """Other pictures for a clip that keeps its size, rate, length and sound."""
        size = clip.width, clip.height, clip.fps, clip.frames
        return cls(clip.media_type, *size, pictures, clip.sound(), segments, drawn or {}, clip.words, clip.phonemes)

    @classmethod
    def heard(
        cls,
        sound: Sound,
        segments: tuple[Segment, ...] = (),
        drawn: Mapping[str, str | float] | None = None,
        words: tuple[Said, ...] = (),
        phonemes: tuple[Said, ...] = (),
    ) -> "Made":
        """Sound alone."""
        return cls("audio", 0, 0, Fraction(0), 0, iter(()), sound, segments, drawn or {}, words, phonemes)


def spans(changed: NDArray[np.bool_], fps: Fraction, modality: Literal["video", "audio"]) -> tuple[Segment, ...]:
    """The runs of changed frames (bool, one per frame) in seconds; none for a still image (`fps` 0)."""
    if not fps:
        return ()
    edges = np.flatnonzero(np.diff(np.concatenate([[False], changed, [False]]).astype(np.int8)))
    return tuple(
        Segment(float(Fraction(int(start)) / fps), float(Fraction(int(end)) / fps), modality)
        for start, end in edges.reshape(-1, 2)
    )
