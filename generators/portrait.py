"""A head cut out of a picture, the way models of single faces see it, and the way back to a size that can carry a
mark; and portraits as nets learn from them and give them."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Clip, Made, Picture
from generators.training import kept, moments

if TYPE_CHECKING:  # torch takes seconds, and a photograph needs none
    from torch import Tensor

NATIVE = 64
"""Side of a portrait in pixels."""
FACES_A_CLIP = 32


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


# --- Many of them


def made_of(small: Picture, size: int, mask: int, drawn: Mapping[str, str | float] | None = None) -> Made:
    """The image that a portrait becomes, photographed or painted, with a mask of `mask` all over."""
    shown = enlarge(small, size)
    masks = np.full(shown.shape[:2], mask, np.uint8)
    return Made("image", size, size, Fraction(0), 1, iter([(shown, masks)]), None, drawn=drawn or {})


def portraits(clips: Iterable[Clip], rng: np.random.Generator, most: int) -> NDArray[np.uint8]:
    """Portraits (n, 64, 64, 3) from clips that show a face, up to FACES_A_CLIP from each; n is at most `most`.

    Of more, a sample is drawn without regard to their order. Raises MediaError when a clip is shorter than it says.
    """
    met = (
        portrait(picture, clip.track.points[frame])
        for clip in clips
        if clip.track is not None
        for frame, picture in moments(clip, FACES_A_CLIP)
    )
    faces = kept(met, most, rng)
    return np.stack(faces) if faces else np.empty((0, NATIVE, NATIVE, 3), np.uint8)


def tensor_of(pictures: NDArray[Any]) -> "Tensor":
    """Pictures (n, side, side, 3) of any type in 0 … 255 as float32 (n, 3, side, side) in -1 … 1, on the CPU."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2), np.float32) / np.float32(127.5) - 1)


def pictures_of(tensor: "Tensor") -> NDArray[np.uint8]:
    """Pictures uint8 (n, side, side, 3) from (n, 3, side, side) in -1 … 1 on any device; what lies beyond is cut off."""
    levels = (tensor.detach().float().permute(0, 2, 3, 1).cpu().numpy() + 1) * 127.5
    return np.asarray(np.ascontiguousarray(levels.round().clip(0, 255)).astype(np.uint8))


def sheet(pictures: NDArray[np.uint8]) -> Picture:
    """32 portraits (32, 64, 64, 3), eight in a row: (256, 512, 3)."""
    return np.ascontiguousarray(pictures.reshape(4, 8, NATIVE, NATIVE, 3).transpose(0, 2, 1, 3, 4).reshape(4 * NATIVE, -1, 3))
