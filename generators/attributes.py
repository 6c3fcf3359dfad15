"""Attribute edits by a mesh: the same person with another smile, jaw and brow, all through the clip."""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from forgeline.clip import Clip, Made, Mask, Picture, spans
from forgeline.mesh import LEFT_BROW, RIGHT_BROW
from forgeline.sample import Role
from forgeline.section import Section
from generators.plugin import Casting, Stream, face_of
from generators.pose import axes, steady, workable
from generators.warp import move, trim

Floats = NDArray[np.float32]
Share = Annotated[float, Field(ge=0, le=0.3)]


class Attributes(Section):
    """The target with a face that smiles, is wide or raises its brows more, or less, than its own.

    Each amount is drawn once a clip, between half of the value given here and all of it, in either direction, and swells
    and ebbs by a fifth over some seconds. Amounts are shares of the distance from the nose's tip to the chin.
    """

    smile: Share = 0.09
    """How far the corners of the mouth go up and out, or down and in."""
    jaw: Share = 0.1
    """How much wider, or narrower, the jaw becomes at its angles."""
    brow: Share = 0.09
    """How far the brows go up, or down."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side; frames beyond it stay as they are."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "composite"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with its face bent in every frame where it is seen and not turned too far."""
        (target,) = parents
        changed = workable(target, self.max_yaw)
        largest = np.array([self.smile, self.jaw, self.brow])
        amounts = largest * rng.uniform(0.5, 1, 3) * rng.choice([-1, 1], 3)
        period, phase = rng.uniform(2, 5), rng.uniform(0, 2 * np.pi)

        def pictures() -> Iterator[tuple[Picture, Mask]]:
            for frame, picture in enumerate(target.pictures()):
                mask = np.zeros(picture.shape[:2], np.uint8)
                if changed[frame]:
                    original, picture = picture, picture.copy()
                    mesh = steady(face_of(target), frame)
                    seconds = frame / float(target.fps) if target.fps else 0.0
                    swell = 1 + 0.2 * np.sin(2 * np.pi * seconds / period + phase)
                    move(picture, mask, mesh, edited(mesh, *(float(amount) for amount in amounts * swell)))
                    trim(mask, original, picture)
                yield picture, mask

        return Made.of(target, pictures(), spans(changed, target.fps, "video"))


def edited(mesh: Floats, smile: float, jaw: float, brow: float) -> Floats:
    """The mesh (468, 3) with these amounts of each edit, as shares of the distance from nose to chin."""
    right, down, size = axes(mesh)
    place = (mesh[:, :2] - mesh[1, :2]) / size
    x, y = place @ right, place @ down
    across, along = np.zeros(468), np.zeros(468)
    for corner in (61, 291):
        near = _bell(np.hypot(x - x[corner], y - y[corner]), 0.2)
        across += 0.6 * smile * near * np.sign(x[corner])
        along -= smile * near
    angle = float(np.abs(x[[172, 397]]).mean())
    low = np.clip((y + 0.1) / 0.5, 0, 1)
    across += jaw * x / angle * low * low * (3 - 2 * low)
    for ring in (RIGHT_BROW, LEFT_BROW):
        off = np.hypot(x[:, None] - x[ring], y[:, None] - y[ring]).min(1)
        along -= brow * _bell(off, 0.16)
    moved = mesh.copy()
    moved[:, :2] += (size * (across[:, None] * right + along[:, None] * down)).astype(np.float32)
    return moved


def _bell(distance: Floats, width: float) -> Floats:
    return np.asarray(np.exp(-np.square(distance / width)), np.float32)
