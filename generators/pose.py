"""How a face lies in a picture, and in which frames of a clip it can be worked on."""

import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Clip, Track
from forgeline.errors import MediaError
from forgeline.mesh import OVAL, turned
from generators.plugin import face_of

Floats = NDArray[np.float32]

MAX_PITCH = 35.0
"""Degrees that a head may be raised or lowered: beyond it brows or lips are hidden behind forehead or nose."""
BACK = 0.9
"""Share of a limit below which a face that was beyond it counts as facing again."""
FEWEST_INSIDE = 0.9
"""Share of the face's outline that must lie in the picture: of what lies outside, the mesh is a guess."""


def yaw(mesh: Floats) -> Floats:
    """Degrees that each head of (…, 468, 3) is turned to the side, 0 facing the camera."""
    return turned(mesh)[0]


def pitch(mesh: Floats) -> Floats:
    """Degrees that each head of (…, 468, 3) is raised or lowered, about 0 facing the camera."""
    return turned(mesh)[1]


def facing(track: Track, max_yaw: float) -> NDArray[np.bool_]:
    """(frames,) whether the face is seen, turned by at most `max_yaw` degrees and raised by at most MAX_PITCH.

    A face that was turned too far has to come back a little further, or it would come and go at the limit.
    """
    sideways, upwards = np.abs(turned(track.mesh))
    able, limit = np.zeros(len(track.seen), np.bool_), 1.0
    for frame in np.flatnonzero(track.seen):
        able[frame] = sideways[frame] <= limit * max_yaw and upwards[frame] <= limit * MAX_PITCH
        limit = 1.0 if able[frame] else BACK
    return able


def inside(clip: Clip) -> NDArray[np.bool_]:
    """(frames,) whether the clip's face is seen and not cut by the picture's border."""
    outline = np.nan_to_num(face_of(clip).mesh[:, OVAL, :2], nan=-1)
    return np.asarray(((outline >= 0) & (outline < (clip.width, clip.height))).all(2).mean(1) >= FEWEST_INSIDE)


def workable(target: Clip, max_yaw: float) -> NDArray[np.bool_]:
    """The target's `facing` frames with the face `inside` them. Raises MediaError when they are fewer than half."""
    track, whole = face_of(target), inside(target)
    turned = track.seen & ~facing(track, max_yaw)
    frames = whole & facing(track, max_yaw)
    if frames.mean() < 0.5:
        what = f"shows a whole face turned less than {max_yaw:g} degrees in only {frames.sum()} of {target.frames} frames"
        why = f" (turned, raised or lowered too far in {turned.sum()}, cut by the border in {(track.seen & ~whole).sum()})"
        raise MediaError(target.name, what + why, "leave it out as a target, or allow a larger max_yaw")
    return frames


def steady(track: Track, frame: int) -> Floats:
    """The mesh of a frame in which the face is seen, smoothed a little over its neighbours: the net's points tremble."""
    near = [i for i in (frame - 1, frame + 1) if 0 <= i < len(track.seen) and track.seen[i]]
    return np.asarray((2 * track.mesh[frame] + sum(track.mesh[i] for i in near)) / (2 + len(near)), np.float32)


def axes(mesh: Floats) -> tuple[Floats, Floats, float]:
    """A face's own axes: unit vectors (2,) to the picture's right and to the chin, and pixels from nose to chin."""
    down = (mesh[152] - mesh[1])[:2]
    size = max(float(np.hypot(*down)), 1e-6)
    down = down / size
    right = np.array([down[1], -down[0]], np.float32)
    return right, down, size
