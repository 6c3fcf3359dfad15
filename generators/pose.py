"""How a face lies in a picture, and in which frames of a clip it can be worked on."""

import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Clip, Track
from forgeline.errors import MediaError
from generators.plugin import face_of

Floats = NDArray[np.float32]


def yaw(mesh: Floats) -> Floats:
    """Degrees that each head of (…, 468, 3) is turned to the side, 0 facing the camera."""
    across, down = mesh[..., 263, :] - mesh[..., 33, :], mesh[..., 152, :] - mesh[..., 10, :]
    normal = np.cross(across, down)
    return np.asarray(np.degrees(np.arctan2(normal[..., 0], normal[..., 2])), np.float32)


def facing(track: Track, max_yaw: float) -> NDArray[np.bool_]:
    """(frames,) whether the face is seen and turned by at most `max_yaw` degrees."""
    return track.seen & (np.abs(np.nan_to_num(yaw(track.mesh), nan=np.inf)) <= max_yaw)


def workable(target: Clip, max_yaw: float) -> NDArray[np.bool_]:
    """The target's `facing` frames. Raises MediaError when they are fewer than half."""
    frames = facing(face_of(target), max_yaw)
    if frames.mean() < 0.5:
        what = f"shows a face turned less than {max_yaw:g} degrees in only {frames.sum()} of {target.frames} frames"
        raise MediaError(target.name, what, "leave it out as a target, or allow a larger max_yaw")
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
