"""A head cut out of a picture, the way models of single faces see it, and the way back to a size that can carry a
mark."""

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Picture

NATIVE = 64
"""Side of a portrait in pixels."""


def portrait(picture: Picture, points: NDArray[np.float32]) -> Picture:
    """The head around a face's five `points` (as in a Track), upright and centred: (64, 64, 3).

    The square of FFHQ (Karras et al. 2019, appendix A): level with the eyes, four times their distance or 3.6 times
    that from eyes to mouth wide, whichever is more. What lies outside the picture is its mirror image.
    """
    eyes, mouth = points[:2].mean(0), points[3:].mean(0)
    across, down = points[1] - points[0], mouth - eyes
    level = across + np.array([down[1], -down[0]])
    level = level / np.hypot(*level)
    side = max(4.0 * np.hypot(*across), 3.6 * np.hypot(*down))
    middle = eyes + 0.1 * down
    fine = NATIVE * int(np.clip(np.ceil(side / NATIVE), 1, 16))  # as fine as the picture; then pixels are averaged
    step = side / fine
    turn = step * np.array([[level[0], -level[1]], [level[1], level[0]]])
    start = middle - turn @ np.full(2, (fine - 1) / 2)
    cut = cv2.warpAffine(
        picture,
        np.column_stack([turn, start]),
        (fine, fine),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    return np.asarray(cv2.resize(cut, (NATIVE, NATIVE), interpolation=cv2.INTER_AREA))


def enlarge(small: Picture, size: int) -> Picture:
    """A portrait scaled up to (size, size, 3), bicubic: the only way, for portraits that were photographed and for
    those that were made, so that scaling tells nothing.
    """
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC))
