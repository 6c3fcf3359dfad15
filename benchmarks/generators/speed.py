"""CPU time a frame of each generator at several picture sizes, beside decoding and encoding the same frames."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.generators.makers import Makers
from benchmarks.generators.people import scaled
from benchmarks.watermark.figures import table
from forgeline.clip import Clip
from forgeline.errors import MediaError
from forgeline.video import Encoding, VideoWriter, open_video

FRAMES, SIDES = 24, (256, 512, 1080)
_FACE = "face"


def measure(makers: Makers, people: Sequence[Clip], scratch: Path, shown: str) -> None:
    """Print a table: a row a generator, a column a picture size (of the shorter side).

    The pictures lie in memory and their faces are known, so neither decoding nor tracking is in a generator's time, but
    for what a generator does a clip (of 24 frames here) is.
    """
    columns = [_at(side, makers, people, scratch) for side in SIDES]
    names = [name for name in columns[0] if name != _FACE]
    head = ("CPU ms a frame", *(f"{side} px (face {cost[_FACE]})" for side, cost in zip(SIDES, columns, strict=True)))
    table(f"Speed ({shown}, scaled)", head, [(name, *(cost[name] for cost in columns)) for name in names])


def _at(side: int, makers: Makers, people: Sequence[Clip], scratch: Path) -> dict[str, str]:
    target, source = (scaled(person, side, FRAMES) for person in people[:2])
    file = scratch / f"{side}.mp4"
    encode = _milliseconds(lambda: _encode(target, file))
    decode = _milliseconds(lambda: sum(1 for _ in open_video(file).pictures()))
    cost = {_FACE: f"{_face_width(target):.0f}", "decode": decode, "encode (x264, crf 18)": encode}

    def make(name: str) -> int:
        return sum(1 for _ in makers.make(name, target, source, 0).pictures)

    return cost | {name: _milliseconds(partial(make, name)) for name in makers.names}


def _encode(clip: Clip, file: Path) -> None:
    with VideoWriter(file, clip.width, clip.height, clip.fps, Encoding()) as out:
        for picture in clip.pictures():
            out.write(picture)


def _milliseconds(work: Callable[[], object]) -> str:
    """Of one frame, the lesser of two runs after one that compiles."""
    times = []
    try:
        for _ in range(3):
            start = time.process_time()
            work()
            times.append(1000 * (time.process_time() - start) / FRAMES)
    except MediaError as error:
        return f"refused ({error.what})"
    return f"{min(times[1:]):.1f}"


def _face_width(clip: Clip) -> float:
    track = clip.track
    return float("nan") if track is None else float(np.nanmean(track.box[:, 2] - track.box[:, 0]))
