"""How alike the pictures of a fake are to those of its control: what all that score it, frame by frame, share.

There is nothing to compare where the fake was not made from its control.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from evaluators.figure import REASON, Figure, Frames, OfFrames, Rows
from forgeline.clip import Picture

Floats = NDArray[np.float64]
Region = NDArray[np.bool_]
"""(height, width)."""

WHOLE: Final = {"region": "whole frame", "resize": "none"}
MASKED: Final = {"region": "where the mask is not 0", "resize": "none"}
NOT_ALIGNED: Final = "the fake was not made from its control frame by frame"
NO_FRAMES: Final = "nothing is masked in any of its frames"
NO_CLIPS: Final = "there are no clips"


class FrameMeans(OfFrames):
    """Some numbers a frame, each with a figure's name. A clip's figure is the mean over its frames, a set's over its clips."""

    nothing: ClassVar[str] = NO_FRAMES
    """Why a clip has no figure where none of its frames has a number."""

    @property
    @abstractmethod
    def about(self) -> Mapping[str, Mapping[str, str]]:
        """The fingerprint of each figure."""

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        return {name: mean(kept(rows, name), about, self.nothing) for name, about in self.about.items()}

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        clips = [self.of_sample(pair) for pair in rows if pair]
        return {name: mean_of_clips(clips, name, about) for name, about in self.about.items()}


class OfPictures(FrameMeans):
    """Numbers that a frame of the fake and one of the control give by their pixels."""

    least: ClassVar[int] = 1
    """Pixels that each side of a picture must have."""

    @abstractmethod
    def values(self, control: Picture, fake: Picture, changed: Region | None) -> Mapping[str, float]:
        """Each figure's number for one frame; NaN where there is none, as in a region of no pixels."""

    def rows(self, frames: Frames) -> Rows:
        if not frames.aligned:
            return unmeasured(frames, NOT_ALIGNED)
        height, width = frames.fake.shape[1:3]
        if min(height, width) < self.least:
            return unmeasured(frames, f"needs {self.least} pixels on each side, and has {width}x{height}")
        masks = frames.masks if frames.masks is not None else [None] * len(frames.fake)
        found = [
            self.values(control, fake, None if mask is None else mask > 0)
            for control, fake, mask in zip(frames.control, frames.fake, masks, strict=True)
        ]
        return {name: np.array([one[name] for one in found]) for name in found[0]}


def unmeasured(frames: Frames, reason: str) -> Rows:
    """The rows of frames that can't be measured, one a frame as all rows of frames: their figures have this reason."""
    return {REASON: np.full(len(frames.fake), reason)}


def kept(rows: Rows, name: str) -> Floats:
    """The numbers of the frames that have one."""
    values = np.asarray(rows[name], np.float64) if name in rows else np.empty(0)
    return values[~np.isnan(values)]


def mean(values: Floats, about: Mapping[str, str], reason: str) -> Figure:
    """Their mean; or the `reason` where there are none."""
    return Figure(float(values.mean()), len(values), about) if len(values) else Figure(None, 0, about, reason)


def mean_of_clips(clips: Iterable[Mapping[str, Figure]], name: str, about: Mapping[str, str]) -> Figure:
    """The mean over the clips that have the figure; the first reason where none has."""
    figures = [clip[name] for clip in clips]
    reason = next((str(figure.reason) for figure in figures if figure.reason), NO_CLIPS)
    return mean(np.array([figure.value for figure in figures if figure.value is not None]), about, reason)
