"""What the 468 points of a face mesh stand for (MediaPipe Face Mesh topology, Kartynnik et al. 2019).

Rings are point indices in drawing order, closed from the last to the first. Right and left are the person's.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Ring = NDArray[np.int32]


def _ring(*points: int) -> Ring:
    return np.array(points, np.int32)


# fmt: off
OVAL: Final = _ring(
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)
"""The outline of the face, from the middle of the forehead."""
LIPS_OUTER: Final = _ring(
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
)
"""Where the lips meet the skin, from the right corner along the lower lip."""
LIPS_INNER: Final = _ring(
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
)
"""Where the lips meet the mouth's opening, from the right corner along the lower lip."""
RIGHT_EYE: Final = _ring(33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
"""Where the lids meet the eyeball, from the outer corner along the lower lid."""
LEFT_EYE: Final = _ring(263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
"""Where the lids meet the eyeball, from the outer corner along the lower lid."""
RIGHT_BROW: Final = _ring(46, 53, 52, 65, 55, 107, 66, 105, 63, 70)
LEFT_BROW: Final = _ring(276, 283, 282, 295, 285, 336, 296, 334, 293, 300)
# fmt: on
NOSE_TIP: Final = 4
RIGHT_MOUTH_CORNER: Final = 61
LEFT_MOUTH_CORNER: Final = 291
RIGHT_EYE_CORNER: Final = 33
LEFT_EYE_CORNER: Final = 263
