"""A real recording alone on its way through the same form and seal as forged speech."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from forgeline.clip import Clip, Made, MediaType
from forgeline.sample import Role
from forgeline.section import Section
from generators.plugin import Casting, Stream, sound_of


class SoundControl(Section):
    """The target's sound as it is, without its pictures."""

    role: ClassVar[Role] = "control"
    content_class: ClassVar[str] = "control"
    makes: ClassVar[MediaType] = "audio"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset()
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "sound_control"
    source_type: ClassVar[str] = "digitalCapture"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The sound and what is said in it. MediaError for a clip that has none, or only silence."""
        (target,) = parents
        return Made.heard(sound_of(target), words=target.words, phonemes=target.phonemes)
