"""What happens to a clip when others pass it on: it is made smaller, encoded again, sent over poor networks."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from forgeline.clip import Clip, Made, Mask, MediaType, Picture, Segment
from forgeline.errors import MediaError
from forgeline.recode import Codec, Network, recoded, through
from forgeline.section import Section
from forgeline.video import Encoding


class Light(Section):
    """Night, as a camera sees it."""

    left: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the light that is left."""
    grey: bool = False
    """Whether colours are gone."""
    noise: Annotated[float, Field(ge=0, le=50)] = 0.0
    """Standard deviation of the sensor's noise, in levels of 255; new in every picture."""

    def __call__(self, made: Made, rng: np.random.Generator) -> Made:
        """The clip by night; its noise depends on `rng` and the size alone."""
        return replace(made, pictures=self._darkened(made, rng))

    def _darkened(self, made: Made, rng: np.random.Generator) -> Iterator[tuple[Picture, Mask | None]]:
        for picture, mask in made.pictures:
            if self.grey:
                picture = np.asarray(cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8)
            noise = rng.standard_normal((made.height, made.width, 1 if self.grey else 3), np.float32)
            seen = np.float32(self.left) * picture + np.float32(self.noise) * noise
            yield np.clip(np.rint(seen), 0, 255).astype(np.uint8), mask


class Variant(Section):
    """A section of `variants`: what becomes of sealed clips, in the order of the fields.

    The same for forgeries and controls, so that it tells nothing of the class. The file is written anew: nothing of its
    parent's container is left, as on platforms that strip what files say of themselves. Like every file that leaves the
    factory it then gets a tag of its own; what was stripped for good is read by the mark.
    """

    short_side: Annotated[int, Field(ge=128, le=4320, multiple_of=2)] | None = None
    """Pixels that the shorter side is scaled down to (the height of wide clips, the width of upright ones, as in "480p"),
    the other in proportion; nothing is ever scaled up. Without it the size stays."""
    light: Light | None = None
    """The light it was filmed in."""
    earlier: Annotated[tuple[Encoding, ...], Field(strict=False)] = ()  # a list in params
    """Encodings that it went through on its way, one after the other."""
    network: Network | None = None
    """The network it was sent over live."""
    sound_kbps: Annotated[int, Field(ge=8, le=320)] | None = None
    """Thousands of bits a second of the codec that its sound went through; what is left of it is kept without further loss.
    Sound alone has this variant only where it is given."""
    sound_codec: Codec = "aac"
    """That codec."""
    encoding: Encoding = Encoding(crf=23)
    """How it is encoded: crf 0, 23 and 40 are the field's c0, c23 and c40."""

    def alters(self, media_type: MediaType) -> bool:
        """Whether there is such a variant of clips of this kind: of every video, of no image, of sound where it has a codec."""
        return media_type == "video" or (media_type == "audio" and self.sound_kbps is not None)

    def __call__(
        self,
        clip: Clip,
        masks: Callable[[], Iterator[Mask]] | None,
        segments: tuple[Segment, ...],
        rng: np.random.Generator,
    ) -> Made:
        """The clip as this variant shows it before `encoding`, with masks and segments of what is then seen.

        The masks are None where they would be the parent's own. The same state of `rng` for all clips of a pair gives
        them the same noise and losses. MediaError where it would be enlarged.
        """
        light, network = rng.spawn(2)
        sound = clip.sound()
        if sound and self.sound_kbps:
            sound = through(sound, self.sound_codec, self.sound_kbps)
        if sound and clip.media_type == "audio":
            return Made.heard(sound, segments)
        kept = masks if self.short_side or self.network else None
        made = Made("video", clip.width, clip.height, clip.fps, clip.frames, _with_masks(clip, kept), sound, segments)
        if self.short_side is not None:
            made = _smaller(made, self.short_side, clip.name)
        if self.light:
            made = self.light(made, light)
        for encoding in self.earlier:
            made = recoded(made, encoding)
        return self.network(made, network) if self.network else made


def _with_masks(clip: Clip, masks: Callable[[], Iterator[Mask]] | None) -> Iterator[tuple[Picture, Mask | None]]:
    if masks is None:
        yield from ((picture, None) for picture in clip.pictures())
    else:
        yield from zip(clip.pictures(), masks(), strict=True)


def _smaller(made: Made, short_side: int, name: str) -> Made:
    short = min(made.width, made.height)
    if short_side >= short:
        what = f"is {short} pixels on its shorter side, and nothing is scaled up to {short_side}"
        raise MediaError(name, what, "there is no such variant of it")
    size = [short_side if side == short else round(side * short_side / short / 2) * 2 for side in (made.width, made.height)]

    def shrunk(plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)

    pictures = ((shrunk(picture), None if mask is None else shrunk(mask)) for picture, mask in made.pictures)
    return replace(made, width=size[0], height=size[1], pictures=pictures)
