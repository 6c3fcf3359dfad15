"""The autoencoder's machinery with the person's own face: what a detector may not mistake for a forgery's traces.

The face is encoded, decoded as its own and laid back just as `autoencoder_swap` does it, with the same nets.
"""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from forgeline.clip import Clip, Made, MediaType
from forgeline.sample import Role
from generators.autoencoder_swap import AutoencoderSwap
from generators.plugin import Casting, Stream


class AutoencoderSelf(AutoencoderSwap):
    """The person's own face, painted by the nets of `autoencoder_swap`."""

    role: ClassVar[Role] = "null_twin"
    content_class: ClassVar[str] = "augmented_real"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset()
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    twin_of: ClassVar[str] = "autoencoder_swap"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with its own face, encoded and decoded."""
        (target,) = parents
        return self.swap(target, target, rng)
