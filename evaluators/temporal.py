"""How a fake changes from frame to frame beside its control, where it was changed: does it flicker, and does it move as much.

Both are ratios, fake over control, of one pass over frames in a row: 1 is as much as the control, more is restless, less is
smoothed or frozen. `flicker` is of the levels' change from a frame to the next, `motion` of the optical flow's length (DIS,
Kroeger et al. 2016). A change of brightness flickers without moving; what moves more changes more, too. So the two are read
together, and a null twin's beside them. Coding noise is in both clips, and counts.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from evaluators.figure import Figure, OfClips, Pair, Rows, unmeasured
from evaluators.pictures import NOT_ALIGNED, Region, mean_of_clips
from forgeline.clip import Clip, Mask, Picture
from forgeline.errors import MediaError

Grey = NDArray[np.uint8]
"""(height, width)."""

SIDE = 128
"""Pixels of the shorter side that larger pictures are reduced to."""
LEAST = 32
"""Pixels of a side below which the flow's blocks have no room: OpenCV then ends the process, if the other side is long."""
REMEMBERED = 16
"""Controls whose reduced frames are kept: 4 MB each for 6 s of 16:9 at 25 frames a second."""
STILL: Final = {"flicker": 0.1, "motion": 0.01}
"""Levels and pixels a frame: a control that changes less has no ratio."""
SAME_PICTURES: Final = "the picture was left as it is"
NO_VIDEO: Final = "is no video"
NO_MASK: Final = "it is not known where it was changed"
ONE_FRAME: Final = "needs two frames"
STANDS_STILL: Final = "the control hardly changes there"


class Temporal(OfClips):
    """0 upwards, 1 as the control. A clip's figure is a ratio of sums over its frames, a set's the mean over its clips."""

    seconds: Annotated[int, Field(ge=1, le=60)] = 6
    """How much of a clip is looked at, from its start."""

    @property
    def about(self) -> Mapping[str, Mapping[str, str]]:
        """The fingerprint of each figure."""
        seen = {
            "colour": f"BT.601 grey, 8 bits, shorter side at most {SIDE} pixels (area)",
            "region": "where the mask of either frame is not 0",
            "looked at": f"frames in a row, the first {self.seconds} s",
        }
        flicker = {"definition": "sum of the mean absolute change of a frame, by the control's"}
        motion = {"definition": "sum of the flow's mean length, by the control's (DIS, ultrafast)"}
        still = {name: {"still": f"a control with less than {least} a frame"} for name, least in STILL.items()}
        return {"flicker": seen | flicker | still["flicker"], "motion": seen | motion | still["motion"]}

    def rows(self, pair: Pair) -> Rows:
        """One row a step from a frame to the next in which anything is masked; memory: two frames, and `_KEPT`."""
        if pair.fake.media_type != "video":
            return unmeasured(NO_VIDEO)
        if not pair.aligned:
            return unmeasured(NOT_ALIGNED)
        if "video" not in pair.changes:
            return unmeasured(SAME_PICTURES)
        if pair.masks is None:
            return unmeasured(NO_MASK)
        if min(pair.fake.width, pair.fake.height) < LEAST:
            return unmeasured(f"needs {LEAST} pixels on each side, and has {pair.fake.width}x{pair.fake.height}")
        frames = min(pair.fake.frames, max(round(self.seconds * pair.fake.fps), 1))
        if frames < 2:
            return unmeasured(ONE_FRAME)
        steps: dict[str, list[float]] = {f"{name}{side}": [] for name in STILL for side in ("", "_control")}
        before: tuple[Grey, Grey, Region] | None = None
        for now in _in_step(pair, frames):
            if before is not None and (region := before[2] | now[2]).any():
                for side, one, other in (("_control", before[0], now[0]), ("", before[1], now[1])):
                    steps[f"flicker{side}"].append(float(cv2.absdiff(one, other)[region].mean()))
                    flow = np.asarray(_flow().calc(one, other, None))[region]
                    steps[f"motion{side}"].append(float(np.hypot(flow[:, 0], flow[:, 1]).mean(dtype=np.float64)))
            before = now
        if not steps["flicker"]:
            return unmeasured(f"nothing is masked in the first {self.seconds} s")
        return {name: np.array(values) for name, values in steps.items()}

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        found = {}
        for name, about in self.about.items():
            ours, theirs = (rows[f"{name}{side}"] if rows else np.empty(0) for side in ("", "_control"))
            if len(theirs) and theirs.mean() >= STILL[name]:
                found[name] = Figure(float(ours.sum() / theirs.sum()), len(ours), about)
            else:
                found[name] = Figure(None, 0, about, STANDS_STILL if rows else NO_VIDEO)
        return found

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        clips = [self.of_sample(pair) for pair in rows if pair]
        return {name: mean_of_clips(clips, name, about) for name, about in self.about.items()}


def small(picture: Picture) -> Grey:
    """Its grey levels, the shorter side of at most `SIDE` pixels."""
    return _reduced(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8))


def _small_region(mask: Mask) -> Region:
    return _reduced((mask > 0).astype(np.uint8) * np.uint8(255)) > 0


def _reduced(plane: Grey) -> Grey:
    height, width = plane.shape
    scale = SIDE / min(height, width)
    if scale >= 1:
        return plane
    return np.asarray(cv2.resize(plane, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA), np.uint8)


def _in_step(pair: Pair, frames: int) -> Iterator[tuple[Grey, Grey, Region]]:
    """Control, fake and what is masked of the first `frames`, reduced; raises MediaError where one of them ends before."""
    streams: tuple[tuple[str, Iterator[NDArray[Any]]], ...] = (
        (pair.control.name, _of_control(pair.control, frames)),
        (pair.fake.name, map(small, pair.fake.pictures())),
        (f"mask of {pair.sample_id}", map(_small_region, pair.masks() if pair.masks else iter(()))),
    )
    for at in range(frames):
        found = []
        for name, stream in streams:
            picture = next(stream, None)
            if picture is None:
                raise MediaError(name, f"ends before its frame {at} of {pair.fake.frames}", "make it again")
            found.append(picture)
        control, fake, region = found
        yield control, fake, region


def _of_control(clip: Clip, frames: int) -> Iterator[Grey]:
    """Its first `frames`, reduced: kept where it lies in a file, as many fakes share a control and decoding costs most."""
    path = Path(clip.name)
    state = path.stat() if clip.name and path.is_file() else None
    key = state and (path, state.st_size, state.st_mtime_ns, frames)
    if key in _KEPT:
        _KEPT.move_to_end(key)
        yield from _KEPT[key]
        return
    seen: list[Grey] = []
    for picture in clip.pictures():
        seen.append(small(picture))
        if key and len(seen) == frames:
            _KEPT[key] = seen
            if len(_KEPT) > REMEMBERED:
                _KEPT.popitem(last=False)
        yield seen[-1]


_KEPT: OrderedDict[tuple[Path, int, int, int] | None, list[Grey]] = OrderedDict()


@cache
def _flow() -> Any:
    """Opened once a process, on one thread."""
    cv2.setNumThreads(1)
    library: Any = cv2  # whose types lack it
    return library.DISOpticalFlow_create(library.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
