"""What ingest costs beside decoding, and beside a detector on every frame: frames/s of one core, all in one run.

    python -m benchmarks.ingest.media [VIDEO ...]

Each video is first made one of 1280x720, H.264 at crf 23 with AAC; without any a head is drawn that talks, turns and moves,
and its sound is noise. `ingest` is the stage's own work on a file: hash, decode, find, follow, measure, sound, and the files
that it leaves; below it is what the same stage does besides, in passes of their own: to look for marks (with three keys) and to
take its print. The others decode and look at every frame by themselves; DeepfakeBench's preprocessing looks for a face once
more in what it cut out, and for landmarks, which is not counted here. dlib (`pip install dlib-bin`) and facenet-pytorch
take part where they can be imported; they are no dependencies. Nets that this machine lacks are fetched. Recall is of the
frames in which the project's own nets, asked anew in every frame, find a face, and a face counts where it overlaps that one
by 0.3; the eyes' error is against the same, in shares of the eyes' distance. CPU time of one process and thread, least of two
passes.
"""

import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from flows.ingest import _Job, _look, _MarkJob, _print, _PrintJob, _read_marks
from forgeline.boxes import Floats, overlap
from forgeline.clip import Clip, Picture, Sound
from forgeline.detectors import DetectorName, detector
from forgeline.faces import FaceFinder, load_track
from forgeline.files import sha256_of
from forgeline.sample import Sample
from forgeline.video import Encoding, VideoWriter, open_video
from sources.heads import Expression, Pose, frame, person, scene

WIDTH, HEIGHT = 1280, 720
FRAMES = 150
LIBAV, OURS = "decode to RGB, libav's usual way", "decode to RGB, as the project does (exact chroma)"

Seen = tuple[Floats, Floats | None]
"""A face's box, and its eyes (2, 2) where they are told."""
Each = Callable[[Picture], list[Seen]]


@dataclass(frozen=True)
class Row:
    """One way through a clip: CPU ms a frame, and per frame what it saw (None: it does not look)."""

    name: str
    ms: float
    seen: list[list[Seen]] | None


def main(paths: list[Path]) -> None:
    cv2.setNumThreads(1)
    finder = FaceFinder()
    with tempfile.TemporaryDirectory() as folder:
        sources: list[Path | None] = [*paths] or [None]
        for source in sources:
            path = Path(folder) / f"{source.stem if source else 'drawn'}.mp4"
            film(path, source)
            clip = open_video(path)
            rows = [
                decoded(path, clip, "yuv"),
                decoded(path, clip, "rgb24"),
                Row(OURS, passed(clip), None),
                *ingested(path, clip),
            ]
            for name, each in ways(finder):
                rows.append(looked(name, clip, each))
            show(path.stem, clip, rows)


def show(name: str, clip: Clip, rows: list[Row]) -> None:
    usual, exact = (next(row.ms for row in rows if row.name == name) for name in (LIBAV, OURS))
    truth = next(row.seen for row in rows if row.name.startswith("MediaPipe")) or []
    print(f"\n{name}, {clip.width}x{clip.height}, {clip.frames} frames, of which {sum(map(bool, truth))} show a face\n")
    print("| way | ms a frame | frames/s | of libav's decode | of the project's | recall | eyes off | other faces |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        rates = f"{1000 / row.ms:.0f}", f"{usual / row.ms:.0%}", f"{exact / row.ms:.0%}"
        cells = [row.name, f"{row.ms:.1f}", *rates, *agreement(truth, row.seen)]
        print(f"| {' | '.join(cells)} |", flush=True)


def agreement(truth: list[list[Seen]], seen: list[list[Seen]] | None) -> list[str]:
    """Recall, the eyes' mean error and how many faces are nobody's."""
    if seen is None:
        return ["", "", ""]
    hits, others, errors = 0, 0, []
    for wanted, found in zip(truth, seen, strict=True):
        near = [each for each in found if wanted and overlap(each[0], wanted[0][0]) > 0.3]
        hits += bool(near)
        others += len(found) - len(near)
        for _, eyes in near[:1]:
            if eyes is not None and wanted[0][1] is not None:
                apart = float(np.hypot(*(wanted[0][1][1] - wanted[0][1][0])))
                errors.append(float(np.linalg.norm(eyes - wanted[0][1], axis=1).mean()) / apart)
    shown = sum(map(bool, truth))
    return [f"{hits / max(shown, 1):.1%}", f"{np.mean(errors):.1%}" if errors else "", str(others)]


def least(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU milliseconds of the quicker of two passes, and what it gave."""
    spent = math.inf
    for _ in range(2):
        start = time.process_time()
        given = work()
        spent = min(spent, 1000 * (time.process_time() - start))
    return spent, given


def decoded(path: Path, clip: Clip, form: str) -> Row:
    """libav by itself: pictures left as they come, or brought to a form by its quickest conversion."""

    def work() -> None:
        with av.open(str(path)) as file:
            file.streams.video[0].thread_count = 1
            for picture in file.decode(video=0):
                if form != "yuv":
                    picture.to_ndarray(format=form)

    return Row("decode, pictures left as YUV" if form == "yuv" else LIBAV, least(work)[0] / clip.frames, None)


def passed(clip: Clip) -> float:
    return least(lambda: [None for _ in clip.pictures()])[0] / clip.frames


def ingested(path: Path, clip: Clip) -> list[Row]:
    sample = Sample(
        sample_id="clip",
        media=str(path),
        media_type="video",
        label="real",
        role="ingested",
        method="ingest",
        source="own",
        recipe="",
        sha256=sha256_of(path),
    )
    with tempfile.TemporaryDirectory() as folder:
        ms, done = least(lambda: _look(_Job("clip", "", sample, Path(folder), 0.5)))
        if done.sample.reason:
            raise RuntimeError(done.sample.reason)
        track = load_track(Path(folder) / "clip.npz")
        (Path(folder) / "prints").mkdir()
        marks, _ = least(lambda: _read_marks(_MarkJob("clip", "", done.sample, 1)))
        prints, _ = least(lambda: _print(_PrintJob("clip", "", done.sample, Path(folder) / "prints", None)))
    seen: list[list[Seen]] = [[(track.box[at], track.points[at, :2])] if track.seen[at] else [] for at in range(clip.frames)]
    return [
        Row("**ingest**", ms / clip.frames, seen),
        Row("… and marks", marks / clip.frames, None),
        Row("… and its print, and what its sound is like", prints / clip.frames, None),
    ]


def looked(name: str, clip: Clip, each: Each) -> Row:
    ms, seen = least(lambda: [each(picture) for picture in clip.pictures()])
    return Row(name, ms / clip.frames, seen)


def ways(finder: FaceFinder) -> Iterator[tuple[str, Each]]:
    """What others do with every frame, with MediaPipe's nets as the project runs them first."""
    yield "MediaPipe's detector and mesh", lambda p: [(face.box, face.points[:2]) for face in finder.find(p)]
    names: tuple[DetectorName, ...] = ("yunet", "mtcnn")
    for name in names:
        yield f"{name}, this project's", by_detector(name)
    try:
        from facenet_pytorch.models.mtcnn import MTCNN  # type: ignore[import-not-found]
    except ImportError:
        pass
    else:
        net = MTCNN()

        def facenet(picture: Picture) -> list[Seen]:
            boxes, _, points = net.detect(picture, landmarks=True)
            return [] if boxes is None else [(b.astype(float), p[:2].astype(float)) for b, p in zip(boxes, points, strict=True)]

        yield "MTCNN, facenet-pytorch's", facenet
    try:
        import dlib  # type: ignore[import-not-found]
    except ImportError:
        pass
    else:
        hog = dlib.get_frontal_face_detector()

        def by_hog(picture: Picture) -> list[Seen]:
            found = hog(picture, 1)
            return [(np.array([r.left(), r.top(), r.right(), r.bottom()], float), None) for r in found]

        yield "dlib's HOG, enlarged once, as DeepfakeBench has it", by_hog
    data = Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_default.xml"
    if data.exists():
        cascade = cv2.CascadeClassifier(str(data))

        def haar(picture: Picture) -> list[Seen]:
            found = cascade.detectMultiScale(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), 1.1, 5, minSize=(40, 40))
            return [(np.array([x, y, x + w, y + h], float), None) for x, y, w, h in found]

        yield "OpenCV's Haar cascade", haar


def by_detector(name: DetectorName) -> Each:
    detect = detector(name)

    def each(picture: Picture) -> list[Seen]:
        found = detect(picture, (0, 0, picture.shape[1], picture.shape[0]), 0.7)
        return [(seen.box, seen.eyes) for seen in sorted(found, key=lambda seen: -seen.score)]

    return each


def film(path: Path, source: Path | None) -> None:
    """The clip that is measured, from a video or from nothing."""
    rng = np.random.default_rng(0)
    if source is None:
        noise = Sound((rng.normal(0, 0.05, 44100 * FRAMES // 25)).astype(np.float32), 44100)
        pictures, fps, sound = drawn(rng), Fraction(25), noise
    else:
        clip = open_video(source)
        pictures, fps, sound = (
            (wide(picture) for picture in clip.pictures()),
            clip.fps,
            clip.sound() or Sound(np.zeros(1, np.float32), 44100),
        )
    with VideoWriter(path, WIDTH, HEIGHT, fps, Encoding(crf=23), sound) as out:
        for picture in pictures:
            out.write(picture)


def wide(picture: Picture) -> Picture:
    """A picture as high as the stage, between what is left and right of it, mirrored and soft."""
    scale = HEIGHT / picture.shape[0]
    width = min(WIDTH, round(picture.shape[1] * scale))
    whole = np.asarray(cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_CUBIC), np.uint8)
    left = (WIDTH - width) // 2
    padded = cv2.copyMakeBorder(whole, 0, 0, left, WIDTH - width - left, cv2.BORDER_REFLECT_101)
    soft = np.asarray(cv2.blur(padded, (31, 31)), np.uint8)
    soft[:, left : left + width] = whole
    return soft


def drawn(rng: np.random.Generator) -> Iterator[Picture]:
    """A head of 360 pixels that talks, looks up to 40 degrees to the side and crosses a still room, with a camera's noise."""
    who, where = person(rng, *rng.random(3)), scene(rng)
    turns = [(jaw, yaw) for yaw in (-0.7, -0.35, 0.0, 0.35, 0.7) for jaw in (0.0, 0.25, 0.5)]
    heads = [frame(who, Expression(jaw=jaw), Pose(yaw=yaw), where, 360, rng) for jaw, yaw in turns]
    colours = rng.integers(60, 190, (9, 16, 3), dtype=np.uint8)
    room = np.asarray(cv2.resize(colours, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC), np.float32)
    for number in range(FRAMES):
        picture, left = room.copy(), 300 + 2 * number
        picture[180:540, left : left + 360] = heads[3 * (number // 12 % 5) + number // 2 % 3]
        yield np.clip(picture + rng.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main([Path(name) for name in sys.argv[1:]])
