"""What a generator is: a frozen section of parameters that can be called with its parents and a source of chance."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from forgeline.clip import Clip, Made, MediaType, Sound, Track
from forgeline.errors import MediaError
from forgeline.sample import Role

Casting = Literal["own", "pair", "nobody"]
"""Whose clips a generator is called with: one parent, the target and then another person of its split, or none."""

Stream = Literal["video", "audio"]

Apparent = Literal["target", "source", "nobody"]


@runtime_checkable
class Generator(Protocol):
    """Parents in, a made clip and its ground truth out.

    Same parents, same settings and same `rng` state give the same bytes. Parents' pictures are streamed, never collected.
    A frame whose face is not seen is passed through with an all-zero mask. Nothing is written to disk. What is a property
    here is a class variable of most generators; one that depends on params is a property.

    A null twin of a swap also has `twin_of`, the swap's name: the same machinery with the person's own face. Params give
    both the same settings.
    """

    @property
    def role(self) -> Role:
        """What its samples are."""
        ...

    @property
    def content_class(self) -> str:
        """`control`, `augmented_real`, `partially_synthetic` or `fully_synthetic`."""
        ...

    @property
    def makes(self) -> MediaType:
        """What its samples are: a video, an image (then `size` is its side in pixels), or sound alone."""
        ...

    @property
    def casting(self) -> Casting:
        """Whose clips it is called with."""
        ...

    @property
    def changes(self) -> frozenset[Stream]:
        """The streams whose label becomes fake."""
        ...

    @property
    def apparent(self) -> Apparent:
        """Whom one sees in the result."""
        ...

    @property
    def control(self) -> str:
        """The generator that makes the matched controls: a control names itself."""
        ...

    @property
    def source_type(self) -> str:
        """The term of IPTC's digital source type vocabulary that describes the process (not the label)."""
        ...

    def settings(self) -> dict[str, Any]:
        """The parameters as plain JSON values, for the recipe."""
        ...

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """Raises MediaError when these parents can't be used, before the first picture is asked for."""
        ...


@runtime_checkable
class Trained(Generator, Protocol):
    """A generator that learns from clips first."""

    def train(self, clips: Iterable[Clip], rng: np.random.Generator, folder: Path) -> None:
        """Write the model (safetensors) into `folder`, going on from the last checkpoint there."""
        ...

    def load(self, folder: Path) -> Generator:
        """The same generator, bound to the model in `folder`. Raises ModelError."""
        ...


def face_of(clip: Clip) -> Track:
    """The clip's face. Raises MediaError when none was tracked, or it is never seen."""
    if clip.track is None or not clip.track.seen.any():
        raise MediaError(clip.name, "shows no face", "leave this clip out of the methods that work on faces")
    return clip.track


def sound_of(clip: Clip) -> Sound:
    """The clip's sound. Raises MediaError when it has none, or only digital silence."""
    sound = clip.sound()
    if sound is None or not sound.samples.any():
        raise MediaError(clip.name, "has no sound, or only silence", "leave this clip out of the methods that work on voices")
    return sound
