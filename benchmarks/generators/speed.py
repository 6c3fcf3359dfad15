"""CPU time a frame of each generator at several picture sizes, beside decoding and encoding the same frames."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from math import isnan, nan
from pathlib import Path

import numpy as np

from benchmarks.generators.makers import Makers
from benchmarks.generators.people import scaled
from benchmarks.watermark.figures import Goal, table
from forgeline.clip import Clip
from forgeline.errors import MediaError
from forgeline.video import Encoding, VideoWriter, open_video

FRAMES, SIDES = 24, (256, 512, 1080)
# CPU ms a frame at 512 pixels
_MOST = {"blend_swap": 15.0, "self_swap": 15.0, "attributes": 15.0, "environment": 10.0, "restore": 10.0}
DECODE, ENCODE = "decode", "encode (x264, crf 18)"


def measure(makers: Makers, people: Sequence[Clip], scratch: Path, shown: str) -> list[Goal]:
    """Print a table, a row a generator and a column a picture size (of the shorter side), and give the goals at 512 pixels.

    The pictures lie in memory and their faces are known, so neither decoding nor tracking is in a generator's time, but
    what it does once a clip (of 24 frames here) is.
    """
    heads, columns = ["CPU ms a frame"], []
    for side in SIDES:
        target, source = (scaled(person, side, FRAMES) for person in people[:2])
        heads.append(f"{side} px (face {_face_width(target):.0f})")
        columns.append(_costs(makers, target, source, scratch / f"{side}.mp4"))
    table(f"Speed ({shown}, scaled)", heads, [(name, *(_said(c[name]) for c in columns)) for name in columns[0]])
    at_512 = columns[SIDES.index(512)]
    return [
        Goal(f"{name}, CPU ms a frame at 512 px", f"≤ {most:g}", _said(at_512[name]), at_512[name] <= most)
        for name, most in _MOST.items()
        if name in at_512
    ]


def _costs(makers: Makers, target: Clip, source: Clip, file: Path) -> dict[str, float]:
    def made(name: str) -> int:
        return sum(1 for _ in makers.make(name, target, source, 0).pictures)

    encode = _milliseconds(lambda: _encode(target, file))
    decode = _milliseconds(lambda: sum(1 for _ in open_video(file).pictures()))
    return {DECODE: decode, ENCODE: encode} | {name: _milliseconds(partial(made, name)) for name in makers.names}


def _encode(clip: Clip, file: Path) -> None:
    with VideoWriter(file, clip.width, clip.height, clip.fps, Encoding()) as out:
        for picture in clip.pictures():
            out.write(picture)


def _milliseconds(work: Callable[[], object]) -> float:
    """Of one frame, the lesser of two runs after one that compiles and trains; NaN where these parents are refused."""
    times = []
    try:
        for _ in range(3):
            start = time.process_time()
            work()
            times.append(1000 * (time.process_time() - start) / FRAMES)
    except MediaError:
        return nan
    return min(times[1:])


def _said(cost: float) -> str:
    return "refused" if isnan(cost) else f"{cost:.1f}"


def _face_width(clip: Clip) -> float:
    track = clip.track
    return float("nan") if track is None else float(np.nanmean(track.box[:, 2] - track.box[:, 0]))
