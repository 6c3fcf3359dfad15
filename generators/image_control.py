"""A real portrait on its way through the same scaling, encoder and seal as portraits of people who don't exist."""

from collections.abc import Sequence
from itertools import islice
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from forgeline.clip import Clip, Made, MediaType
from forgeline.errors import MediaError
from forgeline.sample import Role
from forgeline.section import Section
from generators.plugin import Casting, Stream, face_of
from generators.portrait import made_of, portrait


class ImageControl(Section):
    """One frame of the target, cut to the head and scaled down and up again."""

    size: Annotated[int, Field(ge=256, le=1024, multiple_of=2)] = 256
    """Side of the picture in pixels: that of the generator whose control it is."""

    role: ClassVar[Role] = "control"
    content_class: ClassVar[str] = "control"
    makes: ClassVar[MediaType] = "image"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset()
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "image_control"
    source_type: ClassVar[str] = "digitalCapture"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """A picture of a frame drawn from those in which the face is seen, with an all-zero mask."""
        (target,) = parents
        track = face_of(target)
        frame = int(rng.choice(np.flatnonzero(track.seen)))
        picture = next(islice(target.pictures(), frame, None), None)
        if picture is None:
            raise MediaError(target.name, f"ends before its frame {frame} of {target.frames}", "ingest it again")
        return made_of(portrait(picture, track.points[frame]), self.size, mask=0)
