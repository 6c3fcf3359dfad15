"""The swap's machinery with the person's own face: what a detector may not mistake for a forgery's traces.

A face of another moment of the same clip is warped, recoloured and blended in just as `blend_swap` does it. Whoever tells
these from controls sees the machinery; whoever tells forgeries from these sees the exchange of persons.
"""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from forgeline.clip import Clip, Made, MediaType
from forgeline.sample import Role
from forgeline.section import Section
from generators.blend_swap import Blend, fitting_frames, lay_face
from generators.plugin import Casting, Stream


class SelfSwap(Section):
    """The person's own face of another moment, laid on by the machinery of `blend_swap`."""

    blend: Blend = "poisson"
    """How the seam is hidden, as in `blend_swap`."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side, as in `blend_swap`."""

    twin_of: ClassVar[str] = "blend_swap"
    role: ClassVar[Role] = "null_twin"
    content_class: ClassVar[str] = "augmented_real"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset()
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "compositeCapture"
    """Every part of the picture was captured."""

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with its own face of one moment, drawn from the better half of those that fit."""
        (target,) = parents
        ranking = fitting_frames(target, target, self.max_yaw)
        moments = rng.permutation(ranking[: (len(ranking) + 1) // 2])
        return lay_face(target, target, moments, self.blend, self.max_yaw, rng)
