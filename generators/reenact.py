"""Reenactment by computer graphics: the target's face, bent frame by frame to another person's expression.

No learned model: what the points of the other's mesh do against their own rest is done by the target's.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, spans
from forgeline.errors import MediaError
from forgeline.mesh import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, OVAL, RIGHT_BROW, RIGHT_EYE
from forgeline.sample import Role
from forgeline.section import Section
from generators.blend import colours_at
from generators.blend_swap import SKIN
from generators.expression import (
    LOWER_LIP,
    STIFF,
    UPPER_LIP,
    Expression,
    Replay,
    counterparts,
    expression_of,
    fade,
    settled,
    similarity,
)
from generators.eyes import close_eyes
from generators.mouth import known, paint
from generators.plugin import Casting, Stream, face_of
from generators.pose import facing, workable
from generators.warp import move, trim

Floats = NDArray[np.float32]

FULL, REACH = 0.04, 0.12
"""Heights of the face around lips, brows and jaw in which the skin goes all the way with them, and then less and less."""
BORDER = 0.2
"""Heights of the face from its outline, which stays where it is when the face turns, to where all of it turns."""
TURN = 0.12
"""Radians by which a face is turned at most."""
LEAST = 0.5
"""Pixels; a frame in which nothing would move further stays as it is."""


class Reenact(Section):
    """The target with the second parent's expression: mouth, jaw, brows and blinks, and a little of how that head turns."""

    pose: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    """Share of the way from its own turning to the other's that the face goes; hair and neck stay where they are."""
    max_yaw: Annotated[float, Field(gt=0, le=60)] = 35.0
    """Degrees that a head may be turned to the side; a target's frames beyond it stay as they are, a driver's count as lost."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "pair"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "composite"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with its face bent wherever it and the other's are seen and not turned too far; its sound stays."""
        target, driver = parents
        able, followed = castable(target, driver, self.max_yaw)
        track, fps = face_of(target), float(target.fps)
        own = expression_of(track, able, fps)
        at = counterparts(target.frames, fps, driver.frames, float(driver.fps))
        replay = Replay.of(followed, at, float(driver.fps))
        other = replay.expression(expression_of(face_of(driver), followed, float(driver.fps)))
        trust = replay.trust * fade(able, fps)
        way = ways(own, other, trust, self.pose)
        close = closing(own, other, trust)
        changed = (np.hypot(*np.moveaxis(way, 2, 0)).max(1) > LEAST) | (close.max(1) > 0.1)
        if not changed.any():
            raise MediaError(driver.name, f"does nothing but what {target.name} does", "leave it out as a driver")

        def pictures() -> Iterator[tuple[Picture, Mask]]:
            skin = None
            for frame, picture in enumerate(target.pictures()):
                mask = np.zeros(picture.shape[:2], np.uint8)
                if changed[frame]:
                    original, picture = picture, picture.copy()
                    mesh = settled(track, able, frame, fps)
                    moved = mesh.copy()
                    moved[:, :2] += way[frame]
                    now = np.median(colours_at(picture, mesh)[SKIN], axis=0)
                    skin = now if skin is None else 0.9 * skin + 0.1 * now
                    move(picture, mask, mesh, moved)
                    paint(picture, mask, moved, skin, 1 - known(mesh, moved))
                    close_eyes(picture, mask, moved, close[frame])
                    trim(mask, original, picture)
                yield picture, mask

        return Made.of(target, pictures(), spans(changed, target.fps, "video"))


def castable(target: Clip, driver: Clip, max_yaw: float) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The frames of the target that can be changed, and those of the driver that say how. Raises MediaError when too few."""
    for clip in (target, driver):
        if not clip.fps:
            raise MediaError(clip.name, "is a still image", "leave it out: an expression takes time")
    able = workable(target, max_yaw)
    followed = facing(face_of(driver), max_yaw)
    if followed.mean() < 0.5:
        what = f"shows a face turned less than {max_yaw:g} degrees in only {followed.sum()} of {driver.frames} frames"
        raise MediaError(driver.name, what, "leave it out as a driver, or allow a larger max_yaw")
    return able, followed


def ways(own: Expression, other: Expression, trust: Floats, pose: float) -> Floats:
    """How far each point but the lids' has to go for `own` to show `other`: (frames, 468, 2) in pixels, 0 where unknown.

    `other` has as many frames, and counts as much as `trust` (frames,) says. `pose` is the share of its turning.
    """
    rest, trust = own.rest, trust[:, None, None]
    size = float(np.linalg.norm(rest[152] - rest[10]))
    scale, turn = similarity(other.rest[None, STIFF], rest[STIFF])
    wanted = other.offsets @ turn[0] / scale[0]
    features = np.concatenate([LIPS_OUTER, LIPS_INNER, RIGHT_BROW, LEFT_BROW, OVAL[11:26]])
    near = np.clip((FULL + REACH - _away(rest, features) / size) / REACH, 0, 1)[:, None]
    near[np.concatenate([RIGHT_EYE, LEFT_EYE])] = 0
    way = trust * near * (wanted - own.offsets)
    shape = rest + own.offsets + way
    down = (rest[152] - rest[10]) / size
    crossed = trust * np.minimum((shape[:, LOWER_LIP] - shape[:, UPPER_LIP]) @ down, 0)[..., None]
    way[:, UPPER_LIP] += crossed / 2 * down
    way[:, LOWER_LIP] -= crossed / 2 * down
    axis = np.clip(pose * trust * (_turning(other) - _turning(own)), -TURN, TURN)
    inside = np.clip(_away(rest, OVAL) / (BORDER * size), 0, 1)[:, None]
    turned = np.cross(axis, (rest - rest.mean(0)) @ own.turn.transpose(0, 2, 1))  # what a small turn adds to a point
    way = own.scale[:, None, None] * (way @ own.turn.transpose(0, 2, 1) + inside * turned)
    return np.nan_to_num(np.asarray(way[..., :2], np.float32))


def _turning(expression: Expression) -> Floats:
    """(frames, 1, 3) by how many radians, around the picture's axes, a head is turned against its mean; for small turns."""
    against = expression.turn @ np.linalg.pinv(np.nanmean(expression.turn, axis=0))
    return np.asarray(0.5 * (against - against.transpose(0, 2, 1))[:, [[2, 0, 1]], [[1, 2, 0]]], np.float32)


def closing(own: Expression, other: Expression, trust: Floats) -> Floats:
    """By how much of what they are open the right and the left eye have to close: (frames, 2). Shut eyes can't be opened."""
    shut = trust[:, None] * other.shut
    return np.nan_to_num(np.clip((shut - own.shut) / np.maximum(1 - own.shut, 1e-6), 0, 1))


def _away(rest: Floats, points: NDArray[np.int32]) -> Floats:
    """(468,) how far each point is from the nearest of `points`."""
    return np.asarray(np.linalg.norm(rest[:, None] - rest[points], axis=2).min(1), np.float32)
