"""The null twin of `onnx_swap`: the same nets, told to put the person's own face on."""

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from forgeline.clip import Clip, Made, MediaType
from forgeline.sample import Role
from generators.onnx_swap import OnnxSwap
from generators.plugin import Casting, Stream


class OnnxSelf(OnnxSwap):
    """The person's own face, made again by the team's swapper and laid back: what detectors may not take for a swap."""

    role: ClassVar[Role] = "null_twin"
    content_class: ClassVar[str] = "augmented_real"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset()
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    twin_of: ClassVar[str] = "onnx_swap"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with its own face, as the embedder knows it, in every frame where it is seen and not turned too far."""
        (target,) = parents
        return self.put_on(target, target)
