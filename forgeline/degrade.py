"""What happens to a video when others pass it on: it is made smaller and encoded again."""

from collections.abc import Callable, Iterator
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from forgeline.clip import Clip, Made, Mask
from forgeline.errors import MediaError
from forgeline.section import Section
from forgeline.video import Encoding


class Variant(Section):
    """A section of `variants`: the same for forgeries and controls, so that it tells nothing of the class."""

    height: Annotated[int, Field(ge=128, le=4320, multiple_of=2)] | None = None
    """Pixels to scale down to, the width in proportion; nothing is ever scaled up. Without it the size stays."""
    encoding: Encoding = Encoding(crf=23)
    """How it is encoded: crf 23 and 40 are the field's c23 and c40."""

    def __call__(self, clip: Clip, masks: Callable[[], Iterator[Mask]] | None) -> Made:
        """The clip as this variant shows it, and its masks where their size changes. MediaError where it would be enlarged."""
        if self.height is None:
            unmasked = ((picture, None) for picture in clip.pictures())
            return Made("video", clip.width, clip.height, clip.fps, clip.frames, unmasked, clip.sound())
        if self.height >= clip.height:
            what = f"is {clip.height} pixels high, and nothing is scaled up to {self.height}"
            raise MediaError(clip.name, what, "there is no such variant of it")
        width, height = max(round(clip.width * self.height / clip.height / 2), 1) * 2, self.height

        def smaller() -> Iterator[tuple[np.typing.NDArray[np.uint8], Mask | None]]:
            shrunk = iter(masks()) if masks else None
            for picture in clip.pictures():
                small = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
                mask = None
                if shrunk:
                    mask = np.asarray(cv2.resize(next(shrunk), (width, height), interpolation=cv2.INTER_AREA), np.uint8)
                yield small, mask

        return Made("video", width, height, clip.fps, clip.frames, smaller(), clip.sound())
