"""Peak signal-to-noise ratio of a fake over its control, in dB, over whole frames and over what was changed in them.

10·log10(255² / e), e the mean squared error of all pixels and of the three colours. A clip's errors are averaged before the
logarithm (as ffmpeg's `psnr` filter does): a frame that equals its control, whose own ratio would be infinite, counts as an
error of 0. A clip in which nothing differs has no figure, and a set's mean is that of the others: its `n` says of how many.
"""

from collections.abc import Mapping
from typing import Final

import cv2
import numpy as np

from evaluators.figure import Figure, Rows
from evaluators.pictures import MASKED, NO_FRAMES, WHOLE, OfPictures, Region, kept
from forgeline.clip import Picture

FINGERPRINT: Final = {
    "definition": "10 log10(255² / mean squared error); errors averaged over frames, ratios over clips",
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
        found = {}
        for name, about in self.about.items():
            errors = kept(rows, name)
            if errors.any():
                found[name] = Figure(float(10 * np.log10(255**2 / errors.mean())), len(errors), about)
            else:
                found[name] = Figure(None, 0, about, EQUAL if len(errors) else NO_FRAMES)
        return found
