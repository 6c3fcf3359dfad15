"""The peak memory of a long clip on its way through blend_swap and the seal.

    python -m benchmarks.memory [SECONDS [WIDTH HEIGHT [FPS]]]

Without arguments: five minutes at 1920x1080, 25 pictures a second, with sound; that is to stay under 2 GiB, and takes a
quarter of an hour of one core. The clip is made on the fly: a drawn head on a coloured ground.
"""

import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from forgeline.clip import Clip, Picture, Sound, Track
from forgeline.faces import FaceFinder, track_faces
from forgeline.video import Encoding
from generators.blend_swap import BlendSwap
from sources.heads import Expression, Pose, frame, person, scene
from watermark.keys import DEMO, master
from watermark.metadata import Tag
from watermark.payload import Mark
from watermark.seal import Seal, seal
from watermark.tile import bits_for

LIMIT_MIB = 2048


def main(seconds: int = 300, width: int = 1920, height: int = 1080, fps: int = 25) -> None:
    target, source = (clip(number, seconds * fps, width, height, fps) for number in (0, 1))
    before = peak_mib()
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        made = BlendSwap()((target, source), np.random.default_rng(0))
        mark, key = Mark(1, bits_for(width, height)), master(DEMO).shard("memory")
        tag = Tag("0" * 20, "compositeSynthetic", "CC0-1.0", ("research",))
        sealed = seal(made, Path(folder) / "a.mp4", mark, key, tag, Seal(encoding=Encoding(preset="veryfast")))
    used = time.process_time() - start
    print("| clip | pictures | MiB if held | MiB before | peak MiB | CPU ms a picture |")
    print("|---|---|---|---|---|---|")
    held = sealed.frames * width * height * 3 / 2**20
    of_one = 1000 * used / sealed.frames
    print(f"| {width}x{height} | {sealed.frames} | {held:.0f} | {before:.0f} | {peak_mib():.0f} | {of_one:.0f} |")
    if peak_mib() > LIMIT_MIB:
        sys.exit(f"more than {LIMIT_MIB} MiB")


def peak_mib() -> float:
    """Of this program alone: `getrusage` also counts the one that started it, up to the `exec`."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def clip(number: int, frames: int, width: int, height: int, fps: int) -> Clip:
    """Somebody before a coloured ground, moving a little; one picture's face stands for all of them."""
    rng = np.random.default_rng(number)
    who, where = person(rng, *rng.random(3)), scene(rng)
    side = min(width, height) * 3 // 4
    head = frame(who, Expression(jaw=0.2), Pose(), where, side, rng)
    ground = np.asarray(cv2.resize(rng.integers(60, 190, (9, 16, 3), np.uint8), (width, height)), np.uint8)
    left, top = (width - side) // 2, (height - side) // 2
    ground[top : top + side, left : left + side] = head

    def pictures() -> Iterator[Picture]:
        for index in range(frames):
            yield np.roll(ground, index % 3, axis=0)

    whole = Clip(
        media_type="video",
        width=width,
        height=height,
        fps=Fraction(fps),
        frames=frames,
        pictures=pictures,
        sound=lambda: Sound(np.sin(np.arange(frames * 44100 // fps, dtype=np.float32) / 20), 44100),
        name=f"clip {number}",
    )
    one = replace(whole, frames=1, pictures=lambda: iter((ground,)))
    seen = track_faces(one, FaceFinder())[0]
    return replace(whole, track=Track(**{name: np.repeat(values, frames, 0) for name, values in vars(seen).items()}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
