"""What faces cost at ingest: decoding, finding and following, in CPU time of one core.

    python -m benchmarks.faces [VIDEO ...]

Without files it draws one: 1280x720, 25 fps, 100 frames of a drawn head on a larger background. Times are CPU
milliseconds a frame of one single-threaded process, so a busy machine changes them little; the first pass warms up.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from forgeline.faces import FaceFinder, face_share, track_faces
from forgeline.video import Encoding, VideoWriter, open_video
from sources.heads import Expression, Pose, frame, person, scene


def main(paths: list[Path]) -> None:
    finder = FaceFinder()
    print("| clip | faces | seen | decode | track | find | find, in vain | follow | frames/s | decode's share |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for path in paths or [draw(Path(folder) / "drawn.mp4")]:
            print(row(path, finder))


def row(path: Path, finder: FaceFinder) -> str:
    clip = open_video(path)
    tracks = track_faces(clip, finder)
    decode = cpu_ms(lambda: [None for _ in clip.pictures()]) / clip.frames
    ingest = cpu_ms(lambda: track_faces(clip, finder)) / clip.frames
    picture = next(clip.pictures())
    blank = np.full_like(picture, 100)
    faces = finder.find(picture)
    find = cpu_ms(lambda: [finder.find(picture) for _ in range(20)]) / 20
    tiles = cpu_ms(lambda: finder.find(blank))
    follow = cpu_ms(lambda: [finder.follow(picture, faces[0]) for _ in range(20)]) / 20 if faces else float("nan")
    seen = face_share(tracks[0]) if tracks else 0.0
    times = " | ".join(f"{value:.2f} ms" for value in (decode, ingest - decode, find, tiles, follow))
    name = f"{path.name} {clip.width}x{clip.height}"
    return f"| {name} | {len(tracks)} | {seen:.0%} | {times} | {1000 / ingest:.0f} | {decode / ingest:.0%} |"


def cpu_ms(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return 1000 * (time.process_time() - start)


def draw(path: Path) -> Path:
    rng = np.random.default_rng(0)
    who, where = person(rng, *rng.random(3)), scene(rng)
    talk = [Expression(jaw=jaw) for jaw in (0.0, 0.2, 0.5, 0.3)]
    heads = [frame(who, expression, Pose(), where, 360, rng) for expression in talk]
    colours = rng.integers(60, 190, (9, 16, 3), dtype=np.uint8)
    backdrop = np.asarray(cv2.resize(colours, (1280, 720), interpolation=cv2.INTER_CUBIC), np.uint8)
    with VideoWriter(path, 1280, 720, Fraction(25), Encoding(), None) as out:
        for number in range(100):
            picture, left = backdrop.copy(), 300 + number
            picture[180:540, left : left + 360] = heads[number // 2 % 4]
            out.write(picture)
    return path


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
