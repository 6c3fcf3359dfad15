"""Whether the face of a fake can be found and followed as well as its control's, frame by frame, and how far it lies from it.

What can't be found can't be aligned, and most detectors see aligned faces alone: they would never meet such a frame. The face
is looked for in the control, and the mesh net sees the same square of both, so that the fake's share can't be the larger one.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np

from evaluators.faces import FINGERPRINT, NO_FACE, Floats, faces_of
from evaluators.figure import Frames, Rows
from evaluators.pictures import NOT_ALIGNED, FrameMeans, unmeasured

MEASURES: Final = {
    "face_found": "share of frames in which the mesh net sees a face in the fake",
    "face_found_control": "share of frames in which the control has a face",
    "landmarks_inside": "share of frames in which all 468 points of the fake's face lie in the picture",
    "landmarks_inside_control": "share of frames in which all 468 points of the control's face lie in the picture",
    "landmark_shift": "mean distance of the fake's points from the control's, by that of the outer corners of its eyes",
}
"""What each figure is."""
_RIGHT, _LEFT = 33, 263


class Landmarks(FrameMeans):
    """Shares 0 to 1 (every frame), and a distance of 0 upwards over the frames in which both have a face."""

    nothing: ClassVar[str] = f"{NO_FACE}, or none in the fake's"

    @property
    def about(self) -> Mapping[str, Mapping[str, str]]:
        return {name: FINGERPRINT | {"measure": what} for name, what in MEASURES.items()}

    def rows(self, frames: Frames) -> Rows:
        if not frames.aligned:
            return unmeasured(frames, NOT_ALIGNED)
        faces = faces_of(frames)
        height, width = frames.fake.shape[1:3]
        found = {}
        for side, meshes in (("", faces.fake), ("_control", faces.control)):
            at = meshes[..., :2]
            found[f"face_found{side}"] = np.asarray(~np.isnan(at[:, 0, 0]), np.float64)
            inside = (at >= -0.5) & (at < np.array([width, height]) - 0.5)  # NaN lies nowhere
            found[f"landmarks_inside{side}"] = np.asarray(inside.all((1, 2)), np.float64)
        return found | {"landmark_shift": _shift(faces.control[..., :2], faces.fake[..., :2])}


def _shift(control: Floats, fake: Floats) -> Floats:
    """Of meshes (n, 468, 2): (n,), NaN where one has no face."""
    eyes = np.linalg.norm(control[:, _LEFT] - control[:, _RIGHT], axis=1)
    return np.asarray(np.linalg.norm(fake - control, axis=2).mean(1) / np.maximum(eyes, 1e-12))
