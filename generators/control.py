"""Nothing changed: a real clip on its way through the same chain as the forgeries."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from forgeline.clip import Clip, Made, MediaType
from forgeline.sample import Role
from forgeline.section import Section
from generators.plugin import Casting, Stream


class Control(Section):
    """The target as it is, so that real and fake samples share decoder, encoder, mark and tags."""

    role: ClassVar[Role] = "control"
    content_class: ClassVar[str] = "control"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset()
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "digitalCapture"
    """Encoding and marking a capture does not make it anything else."""

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The parent's pictures and sound unchanged, with all-zero masks (none for sound alone)."""
        (target,) = parents
        untouched = np.zeros((target.height, target.width), np.uint8)
        return Made.of(target, ((picture, untouched) for picture in target.pictures()))
