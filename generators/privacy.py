"""Whether a painted portrait is a copy of a face that was learned from: copies are painted anew, and counted.

Faces are compared by outlines and colours (`forgeline.likeness`). What a copy is, is measured on the faces themselves: one
that is as near to a face as that face is to itself when it was blurred, moved by up to two pixels, and made lighter or darker.
Mirrored faces count, too: nets learn from both. Other people are further away: among eleven speakers of GRID and eight people
of the demo by a quarter at least, whatever the frame.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture
from forgeline.errors import MediaError, ModelError
from forgeline.likeness import outlines_and_colours
from generators.portrait import NATIVE

if TYPE_CHECKING:
    from torch import Tensor

TRIES = 20
_NAME = "learned from"
_QUANTILE = 0.99
_MEASURED = 512
"""Faces on which it is measured what a copy is."""


def remember(faces: NDArray[np.uint8]) -> dict[str, "Tensor"]:
    """What `Seen` needs of the faces (n, 64, 64, 3) that a net learns from, to be kept with its model: 4 kB a face."""
    import torch

    return {
        f"{_NAME}/features": torch.from_numpy(np.stack([_features(face) for face in faces])),
        f"{_NAME}/limit": torch.tensor(_limit(faces), dtype=torch.float32),
    }


@dataclass(frozen=True)
class Seen:
    """Faces that were learned from: unit `features` (n, 1092) of each, and the distance below which a face is a copy of one."""

    features: NDArray[np.float32]
    limit: float

    @classmethod
    def of(cls, tensors: Mapping[str, "Tensor"]) -> "Seen":
        """From what `remember` gave. Raises ModelError where a model does not hold it."""
        try:
            return cls(tensors[f"{_NAME}/features"].numpy(), float(tensors[f"{_NAME}/limit"]))
        except KeyError as error:
            raise ModelError("model", "does not say which faces it learned from", "train it again") from error

    def nearness(self, portrait: Picture) -> float:
        """The distance to the nearest of the faces or their mirror images, in limits: below 1 it is a copy."""
        likeness = max(float((self.features @ _features(side)).max()) for side in (portrait, portrait[:, ::-1]))
        return _distance(likeness) / self.limit

    def nobody(
        self, paint: Callable[[np.random.Generator], Picture], rng: np.random.Generator
    ) -> tuple[Picture, dict[str, float]]:
        """A portrait (64, 64, 3) by `paint` that is no copy, and what to say of it in the sample's row.

        Raises MediaError when each of TRIES portraits is a copy.
        """
        for copies in range(TRIES):
            portrait = paint(rng)
            if (nearness := self.nearness(portrait)) >= 1:
                return portrait, {"nearest_face": nearness, "copies_refused": copies}
        what = f"is a copy of a face that was learned from, {TRIES} times out of {TRIES}"
        raise MediaError("portrait", what, "give the generator more people to learn from, or fewer steps")


def _features(portrait: Picture) -> NDArray[np.float32]:
    return outlines_and_colours(np.ascontiguousarray(portrait)).astype(np.float32)


def _distance(likeness: float) -> float:
    return float(np.sqrt(max(2 - 2 * likeness, 0.0)))


def _limit(faces: NDArray[np.uint8]) -> float:
    """The distance that 99 of 100 altered faces stay within from the face that they were."""
    rng = np.random.default_rng(len(faces))
    some = faces[rng.permutation(len(faces))[:_MEASURED]]
    return float(np.quantile([_distance(float(_features(face) @ _features(_altered(face, rng)))) for face in some], _QUANTILE))


def _altered(face: Picture, rng: np.random.Generator) -> Picture:
    """Blurred, moved by up to two pixels each way and relit by up to a fifth, as a copy by a net is."""
    move = np.array([[1, 0, rng.uniform(-2, 2)], [0, 1, rng.uniform(-2, 2)]])
    moved = cv2.warpAffine(face, move, (NATIVE, NATIVE), borderMode=cv2.BORDER_REFLECT_101)
    soft = cv2.GaussianBlur(moved, (0, 0), rng.uniform(0.3, 1.5))
    return np.asarray(cv2.convertScaleAbs(soft, alpha=rng.uniform(0.8, 1.2)), np.uint8)
