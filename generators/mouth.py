"""The inside of a mouth that opens wider than its picture can show, painted: teeth, tongue and the dark behind them."""

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Mask, Picture
from forgeline.mesh import LIPS_INNER
from generators.blend import mix
from generators.pose import axes
from generators.warp import MOUTH, face_box, spread

Floats = NDArray[np.float32]


def known(mesh: Floats, moved: Floats) -> float:
    """How much of the mouth's inside the picture itself can show, 0 … 1: bent, but not blown up by more than half."""
    before, after = (float(np.hypot(*(m[14] - m[13])[:2])) for m in (mesh, moved))
    return float(np.clip(1.5 * before / max(after, 1e-6) - 0.25, 0, 1))


def paint(picture: Picture, mask: Mask, moved: Floats, skin: Floats, share: float) -> None:
    """Lay upper teeth, tongue and the dark behind them between the lips, by `share`; the light is that on the skin (3,)."""
    box = x0, y0, x1, y1 = face_box(moved[LIPS_INNER], picture.shape)
    (below, across), covered = spread(moved, _between(moved), MOUTH, box)
    below, across = below[..., None], across[..., None]
    tongue = np.clip(below / 0.1 - 1, 0, 1)
    mouth = skin * (np.array([0.28, 0.14, 0.13]) * (1 - tongue) + np.array([0.5, 0.27, 0.26]) * tongue)
    enamel = np.minimum(0.6 * skin + 0.2 * skin.mean(), 225)
    enamel = enamel * (1 - 0.6 * np.square(across)) * (0.5 + 0.5 * np.clip(below / 0.03, 0, 1))
    edge = np.minimum(0.06, 0.6 * below.max()) * (1 - 0.3 * np.square(across))
    teeth = np.clip((edge - below) / 0.02, 0, 1) * np.clip((0.85 - np.abs(across)) * 4, 0, 1)
    alpha = np.asarray(cv2.blur(covered * np.float32(255 * share), (3, 3)) * covered).round().astype(np.uint8)
    part = slice(y0, y1), slice(x0, x1)
    inner = np.clip(mouth + (enamel - mouth) * teeth, 0, 255).astype(np.uint8)
    picture[part] = mix(picture[part], inner, alpha)
    mask[part] = np.maximum(mask[part], alpha)


def _between(moved: Floats) -> Floats:
    """(468, 2) for points of the inner lips: how far below the upper lip, in faces, and across, from -1 to 1."""
    lower, upper = LIPS_INNER[:11], np.roll(LIPS_INNER[::-1], 1)[:11]
    values = np.zeros((468, 2), np.float32)
    values[lower, 0] = np.hypot(*(moved[lower] - moved[upper])[:, :2].T) / axes(moved)[2]
    values[lower, 1] = values[upper, 1] = np.linspace(-1, 1, 11)
    return values
