"""Peak signal-to-noise ratio of a fake over its control, in dB, over whole frames and over what was changed in them.

10·log10(255² / e), e the mean squared error of all pixels and of the three colours. Errors are averaged before the logarithm
(as ffmpeg's `psnr` filter does), over a clip's frames and then over a set's clips: a frame that equals its control, whose own
ratio would be infinite, counts as an error of 0. Where nothing differs at all there is no figure.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import cv2
import numpy as np

from evaluators.figure import Figure, Rows
from evaluators.pictures import MASKED, NO_CLIPS, NO_FRAMES, WHOLE, Floats, OfPictures, Region, kept
from forgeline.clip import Picture

FINGERPRINT: Final = {
    "definition": "10 log10(255² / mean squared error); errors averaged over frames, then over clips",
    "colour": "RGB, 8 bits, the mean of three",
}
EQUAL: Final = "no pixel differs: the ratio is infinite"


class PSNR(OfPictures):
    """dB, the higher the more alike: about 48 where every colour is off by 1, 0 from black to white."""

    @property
    def about(self) -> Mapping[str, Mapping[str, str]]:
        return {"psnr": FINGERPRINT | WHOLE, "psnr_masked": FINGERPRINT | MASKED}

    def values(self, control: Picture, fake: Picture, changed: Region | None) -> Mapping[str, float]:
        """Mean squared errors, under their figures' names."""
        pixels = 0 if changed is None else int(changed.sum())
        masked = cv2.norm(control, fake, cv2.NORM_L2SQR, np.asarray(changed, np.uint8)) / (3 * pixels) if pixels else np.nan
        return {"psnr": cv2.norm(control, fake, cv2.NORM_L2SQR) / control.size, "psnr_masked": masked}

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        return {name: _ratio(kept(rows, name), about, NO_FRAMES) for name, about in self.about.items()}

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        clips = [{name: kept(pair, name) for name in self.about} for pair in rows if pair]
        errors = {name: np.array([clip[name].mean() for clip in clips if len(clip[name])]) for name in self.about}
        reason = NO_FRAMES if clips else NO_CLIPS
        return {name: _ratio(errors[name], about, reason) for name, about in self.about.items()}


def _ratio(errors: Floats, about: Mapping[str, str], reason: str) -> Figure:
    if not len(errors) or not errors.any():
        return Figure(None, 0, about, EQUAL if len(errors) else reason)
    return Figure(float(10 * np.log10(255**2 / errors.mean())), len(errors), about)
