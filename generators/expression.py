"""What a face does, apart from whose it is and how the head lies: offsets of a mesh's points from its own rest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Track
from forgeline.mesh import LIPS_INNER, OVAL
from generators.eyes import LOWER_LIDS, UPPER_LIDS

Floats = NDArray[np.float32]

# fmt: off
STIFF = np.concatenate([OVAL[:9], OVAL[-8:], [
    9, 8, 168, 6, 197, 195, 5, 4, 1, 2, 97, 326, 193, 417, 122, 351, 33, 133, 263, 362, 116, 345, 227, 447, 34, 264,
]])
"""Points that no expression moves: temples, forehead, nose, corners of the eyes, cheekbones."""
# fmt: on
UPPER_LIP, LOWER_LIP = LIPS_INNER[:10:-1], LIPS_INNER[1:10]
"""The inner lips without their corners, point by point above each other."""
REST = 0.25
"""The share of a clip's frames, those with the lips closest together, whose median is the face at rest."""
AROUND_S = 1.0
"""Seconds on either side with which the opening of an eye is compared."""
OPEN, SHUT = 0.9, 0.75
"""The openings, as shares of what is usual around, from which on the lids begin to close, and at which they are shut: the
mesh net never lets them meet."""
HOLD_S, FADE_S = 0.3, 0.3
"""Seconds for which an expression is held when its face is lost, and in which it then goes."""
EDGE_S = 0.12
"""Seconds in which the bending comes and goes where the target's face does."""


@dataclass(frozen=True)
class Expression:
    """A face through a clip, frame by frame; NaN where it was not followed.

    `rest` (468, 3): the mesh at rest, in pixels. Frame i's mesh is `scale[i] * shape @ turn[i].T` moved to its place, where
    shape is `rest + offsets[i]`: `scale` (frames,), `turn` (frames, 3, 3), `offsets` (frames, 468, 3) in pixels of `rest`.
    `shut` (frames, 2): how far the right and the left eye's lids are closed, 0 … 1.
    """

    rest: Floats
    scale: Floats
    turn: Floats
    offsets: Floats
    shut: Floats


def expression_of(track: Track, frames: NDArray[np.bool_], fps: float) -> Expression:
    """The expression in `frames` (bool, at least one of them true); NaN in the others.

    All but the lids is that of `settled` meshes.
    """
    at = np.flatnonzero(frames)
    meshes = np.stack([settled(track, frames, int(frame), fps) for frame in at])
    heights = np.linalg.norm(meshes[:, 152] - meshes[:, 10], axis=1)
    gaps = np.linalg.norm(meshes[:, UPPER_LIP] - meshes[:, LOWER_LIP], axis=2).mean(1) / heights
    calm = np.argsort(gaps, kind="stable")[: max(1, round(REST * len(at)))]
    rest = meshes[calm[0]]
    for _ in range(3):
        scale, turn = similarity(meshes[:, STIFF], rest[STIFF])
        shapes = (meshes - meshes[:, STIFF].mean(1, keepdims=True)) @ turn / scale[:, None, None] + rest[STIFF].mean(0)
        rest = np.median(shapes[calm], axis=0)
    measured = track.mesh[at] / scale[:, None, None]  # not averaged: a blink lasts three frames
    lids = np.linalg.norm(measured[:, UPPER_LIDS] - measured[:, LOWER_LIDS], axis=3).mean(2)

    def spread(values: Floats) -> Floats:
        rows = np.full((len(frames), *values.shape[1:]), np.nan, np.float32)
        rows[at] = values
        return rows

    return Expression(rest, spread(scale), spread(turn), spread(shapes - rest), spread(_shut(lids, at, fps)))


def settled(track: Track, frames: NDArray[np.bool_], frame: int, fps: float) -> Floats:
    """The mesh (468, 3) of one of `frames` (bool), averaged with its neighbours among them: the net's points tremble.

    A neighbour counts less the longer ago it is: at 25 frames a second half as much as the frame, at 10 hardly.
    """
    near = [i for i in (frame - 1, frame + 1) if 0 <= i < len(frames) and frames[i]]
    weight = 0.5 ** ((25 / fps) ** 2)
    total = track.mesh[frame] + weight * sum(track.mesh[i] for i in near)
    return np.asarray(total / (1 + weight * len(near)), np.float32)


def similarity(points: Floats, reference: Floats) -> tuple[Floats, Floats]:
    """Scales (m,) and rotations (m, 3, 3) that bring `reference` (n, 3), centred, closest to each of `points` (m, n, 3).

    Least squares (Umeyama 1991, equations 40 to 42); without reflections.
    """
    centred = (reference - reference.mean(0)).astype(np.float64)
    left, strength, right = np.linalg.svd((points - points.mean(1, keepdims=True)).transpose(0, 2, 1) @ centred)
    sign = np.ones_like(strength)
    sign[:, 2] = np.sign(np.linalg.det(left @ right))
    scale = (strength * sign).sum(1) / np.square(centred).sum()
    return scale.astype(np.float32), ((left * sign[:, None]) @ right).astype(np.float32)


def _shut(lids: Floats, at: NDArray[np.intp], fps: float) -> Floats:
    """How far eyes (n, 2) are shut whose lids are so far apart in frames `at` (n,)."""
    reach = AROUND_S * fps
    starts, ends = np.searchsorted(at, at - reach), np.searchsorted(at, at + reach, "right")
    usual = np.stack([np.median(lids[start:end], axis=0) for start, end in zip(starts, ends, strict=True)])
    return np.asarray(np.clip((OPEN - lids / np.maximum(usual, 1e-6)) / (OPEN - SHUT), 0, 1), np.float32)


def counterparts(frames: int, fps: float, other_frames: int, other_fps: float) -> NDArray[np.float64]:
    """Where in another clip each frame falls, (frames,) in its frames: by seconds, and back and forth where it is shorter."""
    last = max(other_frames - 1, 1)
    at = np.maximum((np.arange(frames) + 0.5) / fps * other_fps - 0.5, 0) % (2 * last)
    return np.asarray(np.minimum(at, 2 * last - at))


@dataclass(frozen=True)
class Replay:
    """What was known of some frames of a clip, at other moments (n,): between frames `before` and `after`, by `share`.

    Where the face was lost, what was known goes over from the last frame to the next one. `trust` (n,), 0 … 1: it is trusted
    for HOLD_S seconds after the one and before the other, then less and less, and FADE_S later no more.
    """

    before: NDArray[np.intp]
    after: NDArray[np.intp]
    share: Floats
    trust: Floats

    @classmethod
    def of(cls, known: NDArray[np.bool_], at: NDArray[np.float64], fps: float) -> "Replay":
        """At moments `at` (n,), in frames, of a clip in some of whose frames, at least one, something is `known`."""
        there = np.flatnonzero(known)
        index = np.minimum(np.searchsorted(there, at), len(there) - 1)
        before, after = there[np.maximum(index - (there[index] > at), 0)], there[index]
        share = np.clip((at - before) / np.maximum(after - before, 1), 0, 1)
        away = np.minimum(np.abs(at - before), np.abs(at - after)) / fps
        trust = np.clip(1 - (away - HOLD_S) / FADE_S, 0, 1)
        return cls(before, after, share.astype(np.float32), trust.astype(np.float32))

    def __call__(self, values: Floats) -> Floats:
        """Values (n, …) out of those of the clip's frames (frames, …)."""
        part = self.share.reshape(-1, *[1] * (values.ndim - 1))
        return np.asarray((1 - part) * values[self.before] + part * values[self.after])

    def expression(self, of: Expression) -> Expression:
        return Expression(of.rest, self(of.scale), self(of.turn), self(of.offsets), self(of.shut))


def fade(able: NDArray[np.bool_], fps: float) -> Floats:
    """(frames,) how much a frame is to be bent: 0 where it can't be, rising to 1 within EDGE_S beside such frames."""
    lost = np.flatnonzero(~able)
    frames = np.arange(len(able))
    after = np.searchsorted(lost, frames)
    around = np.concatenate([[-np.inf], lost, [np.inf]])
    away = np.minimum(frames - around[after], around[after + 1] - frames)
    return np.asarray(np.clip(away / (1 + EDGE_S * fps), 0, 1), np.float32)
