"""What the whole chain costs a clip, against decoding and encoding it alone: the limit that can't be beaten.

    python -m benchmarks.chain [TARGET SOURCE [GENERATOR ...]]

The chain is all that happens to a target clip between its corpus and its sealed file: decode and track (ingest); decode,
generate, mark, encode, tag, and read everything back from the file (generate). The limit is libav handing decoded pictures
to x264 with the seal's settings, without a single conversion. Without files it renders two demo people at 512 pixels, which
takes a minute. CPU time of one thread, the least of five rounds; in a round chain and limit take turns, so that a busy
machine slows both. The parts are measured one by one and need not add up to the whole.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from forgeline.clip import Clip
from forgeline.faces import FaceFinder, load_track, save_tracks, track_faces
from forgeline.video import Encoding, MaskWriter, VideoWriter, open_video
from generators.table import GENERATORS
from sources.demo import Demo, jobs, render
from watermark.keys import DEMO, master
from watermark.metadata import Tag
from watermark.payload import Mark
from watermark.seal import Seal, seal
from watermark.strength import Marker
from watermark.tile import bits_for

FRAMES, SIZE, ROUNDS = 48, 512, 5
KEY = master(DEMO).shard("benchmark")


def rendered(folder: Path) -> tuple[Path, Path]:
    """Clips of two demo people."""
    target, source = jobs(Demo(people=2, clips=1, frames=FRAMES, size=SIZE))
    for job in (target, source):
        render(job, folder)
    return folder / target.path, folder / source.path


def ingested(path: Path, finder: FaceFinder) -> None:
    """What ingest does with a clip."""
    clip = open_video(path)
    tracks = track_faces(clip, finder)
    clip.sound()
    save_tracks(path.with_suffix(".npz"), tracks)


def sealed(cast: list[Path], name: str) -> None:
    """What the stage `generate` does with a planned sample."""
    parents = [open_video(path, load_track(path.with_suffix(".npz"))) for path in cast]
    made = GENERATORS[name]()(parents, np.random.default_rng(0))  # type: ignore[operator]
    mark = Mark(1, bits_for(made.width, made.height))
    tag = Tag("0" * 20, "compositeSynthetic", "CC0-1.0", ())
    seal(made, cast[0].with_suffix(".made.mp4"), mark, KEY, tag, Seal())


def limit(path: Path) -> None:
    """Decode and encode, and nothing else."""
    with av.open(str(path)) as source, av.open(str(path.with_suffix(".limit.mp4")), "w") as out:
        pictures = source.streams.video[0]
        pictures.codec_context.thread_count = 1
        encoding = Encoding()
        options = {"crf": str(encoding.crf), "preset": encoding.preset, "g": str(encoding.gop), "threads": "1", "mbtree": "0"}
        stream = out.add_stream("libx264", rate=pictures.average_rate, options=options)
        stream.width, stream.height, stream.pix_fmt = pictures.width & ~1, pictures.height & ~1, "yuv420p"
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(source.decode(pictures)):
            frame.pts, frame.time_base = number, 1 / Fraction(pictures.average_rate or 25)
            frame.pict_type = av.video.frame.PictureType.NONE  # not the key pictures of the file that was read
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def spent(work: Callable[[], object]) -> float:
    """CPU seconds."""
    start = time.process_time()
    work()
    return time.process_time() - start


def parts(clip: Clip, finder: FaceFinder, cast: list[Path], name: str, folder: Path) -> dict[str, float]:
    """CPU seconds of each step by itself, the least of three."""
    parents = [open_video(path, load_track(path.with_suffix(".npz"))) for path in cast]

    def generated() -> list[tuple[object, object]]:
        return list(GENERATORS[name]()(parents, np.random.default_rng(0)).pictures)  # type: ignore[operator]

    pairs = list(GENERATORS[name]()(parents, np.random.default_rng(0)).pictures)  # type: ignore[operator]
    marker = Marker(KEY, Mark(1, bits_for(clip.width, clip.height)), Seal().encoding.gop)
    marked = [marker(picture) for picture, _ in pairs]
    held = replace(clip, pictures=lambda: iter([picture for picture, _ in pairs]))

    def encoded() -> None:
        with VideoWriter(folder / "part.mp4", clip.width, clip.height, clip.fps, Encoding(), clip.sound()) as out:
            for picture in marked:
                out.write(picture)

    def masked() -> None:
        with MaskWriter(folder / "mask.mp4", clip.width, clip.height, clip.fps) as out:
            for _, mask in pairs:
                out.write(mask)

    def least(work: Callable[[], object]) -> float:
        return min(spent(work) for _ in range(3))

    decode = least(lambda: [None for _ in clip.pictures()])
    return {
        "decode": decode,
        "track": least(lambda: track_faces(held, finder)),
        "generate": least(generated) - decode,
        "mark": least(lambda: [marker(picture) for picture, _ in pairs]),
        "encode": least(encoded),
        "write masks": least(masked),
    }


def main(arguments: list[str]) -> None:
    """Print a table for each generator: CPU seconds of the clip, milliseconds a frame, share of the limit."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = [Path(path) for path in arguments[:2]] or list(rendered(folder))
        cast = []
        for number, path in enumerate(given):
            cast.append(folder / f"{number}{path.suffix}")
            cast[-1].symlink_to(path.resolve())
        finder = FaceFinder()
        for path in cast:
            ingested(path, finder)
        clip = open_video(cast[0])
        print(f"{clip.width}x{clip.height}, {clip.frames} frames; CPU of one thread")
        for generator in arguments[2:] or ["blend_swap", "control"]:
            own = cast[:1] if GENERATORS[generator].casting == "own" else cast  # type: ignore[attr-defined]
            sealed(own, generator)  # compiles
            steps: list[Callable[[], None]] = [
                partial(limit, cast[0]),
                partial(ingested, cast[0], finder),
                partial(sealed, own, generator),
            ]
            rounds = [[spent(step) for step in steps] for _ in range(ROUNDS)]
            bare, ingest, make = (min(column) for column in zip(*rounds, strict=True))
            rows = parts(clip, finder, own, generator, folder)
            seal_alone = make - rows["generate"] - rows["decode"]
            rows["read back, tag and sync"] = seal_alone - rows["mark"] - rows["encode"] - rows["write masks"]
            rows |= {"ingest": ingest, "generate and seal": make, "seal": seal_alone, "limit": bare, "chain": ingest + make}
            print(f"\n{generator:<26} {'s':>7} {'ms/frame':>9} {'x limit':>8}")
            for step, seconds in rows.items():
                print(f"{step:<26} {seconds:>7.3f} {1000 * seconds / clip.frames:>9.2f} {seconds / bare:>8.2f}")


if __name__ == "__main__":
    main(sys.argv[1:])
