"""Hair that hangs into a face: told from skin by its colours, kept where it is the target's, taken out of a source's face."""

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Mask, Picture
from forgeline.mesh import LEFT_BROW, LEFT_EYE, OVAL, RIGHT_BROW, RIGHT_EYE, TRIANGLES
from generators.blend import membrane, mix, shrink
from generators.warp import CLOSED, spread

Floats = NDArray[np.float32]


def _near(points: NDArray[np.int32], edges: int) -> NDArray[np.bool_]:
    """(468,) which points of the mesh are at most so many edges from some of `points`."""
    near = np.isin(np.arange(468), points)
    for _ in range(edges):
        near[TRIANGLES[near[TRIANGLES].any(1)]] = True
    return near


INSIDE = (2 - _near(OVAL, 0) - _near(OVAL, 1).astype(np.float32)) / 2
"""(468,) how far inside the face each point is: 0 on its outline, 0.5 one edge inwards, 1 from there on."""
_BROWS_AND_EYES = np.concatenate([RIGHT_BROW, LEFT_BROW, RIGHT_EYE, LEFT_EYE])
HAIR = _near(OVAL, 1) | (_near(OVAL, 2) & ~_near(_BROWS_AND_EYES, 1))
"""(468,) where a target's hair may hang into the face and is left as it is; brows are hair that belongs there."""
STRAND = _near(OVAL, 3) & ~_near(_BROWS_AND_EYES, 0)
"""(468,) where a source's hair is painted over: further inside, because here nothing but a strand would be lost."""


def bare(picture: Picture, mesh: Floats, skin: Floats) -> tuple[Picture, Mask]:
    """The face with this mesh with smooth skin for the hair that hangs into it, and where that was, 0 … 255.

    Hair is what is not of the skin's colours (n, 3) near the outline.
    """
    (hair,), covered = spread(mesh, STRAND[:, None].astype(np.float32), CLOSED, (0, 0, *picture.shape[1::-1]))
    reach, thin = 1 + 2 * round(0.02 * max(picture.shape)), 1 + 2 * round(0.01 * max(picture.shape))
    sure = np.asarray(cv2.erode(likeness(picture, skin, thin), np.ones((reach, reach), np.uint8)), np.float32)
    wrong = (1 - sure) * np.maximum(np.minimum(2 * hair, 1), 1 - covered)
    painted = membrane(shrink(picture), 10 * shrink(sure))
    painted = np.clip(cv2.resize(painted, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR), 0, 255)
    alpha = np.asarray(cv2.blur(wrong, (reach, reach)) * 255).astype(np.uint8)
    return mix(picture, painted.astype(np.uint8), alpha), alpha


def likeness(picture: NDArray[np.uint8] | Floats, skin: Floats, thin: int) -> Floats:
    """How much each pixel (h, w, 3) looks like the colours `skin` (n, 3), 0 … 1: hair and background do not.

    Lines of less than `thin` pixels count as what is around them: a frame of glasses that is half hair is no glasses.
    """

    def split(colours: NDArray[np.uint8] | Floats) -> Floats:
        light = colours.mean(-1, dtype=np.float32)
        return np.stack([light, colours[..., 0] - light, colours[..., 2] - light], -1)

    parts = split(skin)
    middle = np.median(parts, axis=0)
    width = np.maximum(1.5 * np.median(np.abs(parts - middle), axis=0), (12, 5, 5))
    distance = np.sqrt(np.square((split(picture) - middle) / width).sum(-1))
    alike = np.clip((5 - distance) / 2, 0, 1).astype(np.float32)
    return np.asarray(cv2.morphologyEx(alike, cv2.MORPH_CLOSE, np.ones((thin, thin), np.uint8)), np.float32)
