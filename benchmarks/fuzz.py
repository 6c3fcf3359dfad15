"""Damaged files of every container that is read: each must give a result or a MediaError, in bounded memory and time.

    python -m benchmarks.fuzz [--minutes N] [--first SEED] [--workers N]

Small files of each kind are made (`KINDS`), then bytes are flipped, cut out, doubled, put in, and fields near the containers'
tags blown up. All that reads foreign files reads the damaged ones, in child processes of MEMORY bytes of address space that
are killed after SECONDS for one file. A seed makes the same file on every machine; `--seed` shows what becomes of one.
"""

import argparse
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from forgeline.audio import open_sound
from forgeline.clip import Picture
from forgeline.errors import MediaError
from forgeline.image import open_image
from forgeline.peek import peek
from forgeline.video import Encoding, MaskWriter, VideoWriter, key_pictures, open_video, read_masks
from watermark.keys import DEMO, master
from watermark.metadata import Tag, append_to_mp4, packet, read_tag
from watermark.read import read

MEMORY = 3 << 30
"""Bytes of address space in which any small file is read, libraries included."""
SECONDS = 20
"""For one file, after which its reading counts as hung."""

_SIDE = 64
_RATE = 16000
_TAG = re.compile(rb"[A-Za-z][A-Za-z0-9 ]{3}|\x1a\x45\xdf\xa3|[\x14-\x1f]\x43[\xb6\x67\x75]")
_EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


CHILD = "from benchmarks.fuzz import child; child({}, {}, {})"
"""What a child process runs; the first seed, how many files, and the step from one seed to the next are filled in."""


# What is damaged ---------------------------------------------------------------------------------------------------------


def _pictures(count: int = 8) -> list[Picture]:
    rng = np.random.default_rng(0)
    grounds = np.kron(rng.integers(0, 256, (8, 8, 3), np.uint8), np.ones((_SIDE // 8, _SIDE // 8, 1), np.uint8))
    return [np.ascontiguousarray(np.roll(grounds, 3 * number, 1)) for number in range(count)]


def _film(format: str, video: str, audio: str = "", options: dict[str, str] | None = None, **how: str) -> bytes:
    """Eight pictures, and a quarter of a second of a tone."""
    file = io.BytesIO()
    with av.open(file, "w", format=format, options=options or {}) as container:
        quiet = {"x265-params": "log-level=none"} if video == "libx265" else {}
        stream: Any = container.add_stream(video, rate=25, options=how | quiet)
        stream.width = stream.height = _SIDE
        stream.pix_fmt = {"mjpeg": "yuvj420p", "ffv1": "gray"}.get(video, "yuv420p")
        stream.codec_context.thread_count = 1
        heard: Any = container.add_stream(audio, rate=48000, layout="mono") if audio else None
        for number, picture in enumerate(_pictures()):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if heard:
            _tone(container, heard)
    return file.getvalue()


def _sound(format: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=format) as container:
        _tone(container, container.add_stream(codec, rate=48000, layout="mono"))
    return file.getvalue()


def _tone(container: Any, stream: Any) -> None:
    samples = (0.3 * np.sin(np.arange(12000) / 20)).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = 48000, 0, Fraction(1, 48000)
    fifo = av.AudioFifo()
    for piece in av.AudioResampler(stream.codec_context.format, "mono", 48000).resample(frame):
        fifo.write(piece)
    while (part := fifo.read(stream.codec_context.frame_size or 1024, partial=True)) is not None:
        container.mux(stream.encode(part))
    container.mux(stream.encode(None))


def _own(masks: bool = False) -> bytes:
    """What the factory itself writes, with its tag."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.mkv" if masks else "a.mp4")
        if masks:
            with MaskWriter(path, _SIDE, _SIDE, Fraction(25)) as writer:
                for picture in _pictures():
                    writer.write(np.ascontiguousarray(picture[..., 0]))
        else:
            with VideoWriter(path, _SIDE, _SIDE, Fraction(30000, 1001), Encoding(preset="ultrafast")) as out:
                for picture in _pictures():
                    out.write(picture)
            append_to_mp4(path, _tag())
        return path.read_bytes()


def _tag() -> Tag:
    return Tag("0123456789abcdef0123", "digitalCapture", "CC0-1.0", ("detection",))


def _image(format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(_pictures(1)[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # the orientation
    exif[0x010E] = "a description"
    image.save(file, format, exif=exif, xmp=packet(_tag()).encode(), **options)
    return file.getvalue()


KINDS: dict[str, Callable[[], bytes]] = {
    "own.mp4": _own,
    "masks.mkv": partial(_own, masks=True),
    "h264.mp4": partial(_film, "mp4", "libx264", "aac", bf="2", preset="ultrafast"),
    "fragmented.mp4": partial(_film, "mp4", "libx264", "aac", {"movflags": "frag_keyframe+empty_moov"}, g="3"),
    "hevc.mp4": partial(_film, "mp4", "libx265", "", {}, preset="ultrafast"),
    "mpeg4.mp4": partial(_film, "mp4", "mpeg4", "libmp3lame"),
    "h264.mkv": partial(_film, "matroska", "libx264", "flac", preset="ultrafast"),
    "vp9.webm": partial(_film, "webm", "libvpx-vp9", "libopus", {}, deadline="realtime"),
    "vp8.webm": partial(_film, "webm", "libvpx", "libopus", {}, deadline="realtime"),
    "mpeg4.avi": partial(_film, "avi", "mpeg4", "libmp3lame"),
    "mjpeg.avi": partial(_film, "avi", "mjpeg", "pcm_s16le"),
    "mjpeg.mov": partial(_film, "mov", "mjpeg", "pcm_s16le"),
    "mpeg1.mpg": partial(_film, "mpeg", "mpeg1video", "mp2"),
    "h264.ts": partial(_film, "mpegts", "libx264", "aac", preset="ultrafast"),
    "opus.ogg": partial(_sound, "ogg", "libopus"),
    "a.flac": partial(_sound, "flac", "flac"),
    "a.wav": partial(_sound, "wav", "pcm_s16le"),
    "a.mp3": partial(_sound, "mp3", "libmp3lame"),
    "a.m4a": partial(_sound, "ipod", "aac"),
    "a.jpg": partial(_image, "JPEG", quality=90),
    "progressive.jpg": partial(_image, "JPEG", progressive=True),
    "a.png": partial(_image, "PNG"),
    "a.webp": partial(_image, "WEBP"),
    "lossless.webp": partial(_image, "WEBP", lossless=True),
    "a.tif": partial(_image, "TIFF", compression="tiff_deflate"),
    "a.bmp": lambda: _plain("BMP"),
    "a.gif": lambda: _plain("GIF"),
    "a.jp2": lambda: _plain("JPEG2000"),
    "a.avif": lambda: _plain("AVIF"),
}
"""A small file of each container and codec, by name."""


def _plain(format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(_pictures(1)[0]).save(file, format)
    return file.getvalue()


@cache
def whole(kind: str) -> bytes:
    """A file of this kind as it was made."""
    return KINDS[kind]()


def damaged(seed: int) -> tuple[str, bytes]:
    """Kind and bytes of a file. The same for a seed wherever the encoders are."""
    rng = np.random.default_rng(seed)
    kind = list(KINDS)[seed % len(KINDS)]
    data = bytearray(whole(kind))
    for _ in range(int(rng.choice([1, 1, 2, 4, 8, 30]))):
        _damage(data, rng)
    return kind, bytes(data)


def _damage(data: bytearray, rng: np.random.Generator) -> None:
    size = len(data)
    if not size:
        return
    # Half of all damage is done where the containers keep their books.
    books = [found.start() for found in _TAG.finditer(bytes(data[: 1 << 16]))]
    at = int(rng.choice(books) + rng.integers(-8, 48)) if books and rng.random() < 0.5 else int(rng.integers(size))
    at = min(max(at, 0), size - 1)
    length = int(min(rng.geometric(0.02), size - at))
    match int(rng.integers(8)):
        case 0:
            data[at] ^= 1 << int(rng.integers(8))
        case 1:
            data[at] = int(rng.integers(256))
        case 2 | 3:
            value, width = int(rng.choice([*_EXTREMES, size, size - at])), int(rng.choice([1, 2, 4, 4, 8]))
            order = "big" if rng.random() < 0.7 else "little"
            data[at : at + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, order)  # type: ignore[arg-type]
        case 4:
            del data[at : at + length]
        case 5:
            data[at:at] = rng.integers(0, 256, length, np.uint8).tobytes()
        case 6:
            data[at:at] = data[at : at + length]
        case 7:
            if rng.random() < 0.3:
                del data[at:]
            else:
                data[at : at + length] = bytes(length)


# Who reads it ------------------------------------------------------------------------------------------------------------


def _video(path: Path) -> None:
    clip = open_video(path)
    seen = 0
    for picture in clip.pictures():
        if picture.shape != (clip.height, clip.width, 3) or picture.dtype != np.uint8:
            raise AssertionError(f"a picture of {picture.shape} in a clip of {clip.width}x{clip.height}")
        seen += 1
    if seen != clip.frames or clip.width % 2 or clip.height % 2 or clip.fps <= 0:
        raise AssertionError(f"{seen} of {clip.frames} pictures at {clip.fps}")
    _heard(clip.sound())


def _picture(path: Path) -> None:
    clip = open_image(path)
    (picture,) = clip.pictures()
    if picture.shape != (clip.height, clip.width, 3):
        raise AssertionError(f"a picture of {picture.shape} in a clip of {clip.width}x{clip.height}")


def _heard(sound: Any) -> None:
    if sound is not None and not (np.isfinite(sound.samples).all() and np.abs(sound.samples).max(initial=0) <= 1):
        raise AssertionError("sound beyond full scale")


def _glance(path: Path) -> None:
    glance = peek(path)
    for lumas in (glance.keys(4), glance.pictures(4)):
        for luma in lumas:
            if luma.ndim != 2 or luma.dtype != np.uint8:
                raise AssertionError(f"luma of {luma.shape}")
    _heard(glance.sound(1.0))


READERS: dict[str, Callable[[Path], object]] = {
    "open_video": _video,
    "key_pictures": lambda path: sum(1 for _ in key_pictures(path)),
    "read_masks": lambda path: sum(1 for _ in read_masks(path)),
    "open_image": _picture,
    "open_sound": lambda path: _heard(open_sound(path).sound()),
    "peek": _glance,
    "read_tag": read_tag,
    "read": lambda path: read(path, [master(DEMO).shard("fuzz")]),
}
"""All that reads foreign files, by name."""


def child(first: int, count: int, step: int = 1) -> None:
    """Read so many damaged files, and print a JSON line before and after each."""
    warnings.simplefilter("ignore")
    av.logging.set_level(None)
    _read_all()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for seed in range(first, first + count * step, step):
        kind, data = damaged(seed)
        print(json.dumps({"seed": seed, "kind": kind}), flush=True)
        signal.setitimer(signal.ITIMER_REAL, SECONDS)  # whose default is to end the process: nothing can swallow it
        began = time.monotonic()
        found = _read(data, kind, seed)
        signal.setitimer(signal.ITIMER_REAL, 0)
        rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps({"seed": seed, "found": found, "s": time.monotonic() - began, "mib": rss}), flush=True)


def _read_all() -> None:
    """Make every kind, and read some, so that what encoders and readers import is not charged to the first damaged file."""
    for kind in KINDS:
        whole(kind)
    for kind in ("h264.mp4", "a.png", "a.wav"):
        _read(whole(kind), kind, -1)


def _read(data: bytes, kind: str, seed: int) -> dict[str, str]:
    """What each reader made of it: `ok`, `refused`, or the end of a traceback."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"damaged.{kind.rpartition('.')[2]}"
        path.write_bytes(data)
        for name, reader in READERS.items():
            if name == "read" and seed % 10 and seed >= 0:
                continue  # it takes most of the time, and what opens files in it is `peek`
            try:
                reader(path)
                found[name] = "ok"
            except MediaError as error:
                found[name] = "refused" if "\n" not in str(error) else f"a reason of several lines: {error}"
            except BaseException:
                found[name] = traceback.format_exc()[-900:]
    return found


def fuzz(first: int, count: int, step: int = 1) -> Iterator[dict[str, Any]]:
    """What became of each of so many files, read in a child process; one that died has `died`, and another goes on after it."""
    end = first + count * step
    env = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    while first < end:
        code = CHILD.format(first, (end - first) // step, step)
        command = [sys.executable, "-X", "faulthandler", "-c", code]
        started: dict[str, Any] = {}
        with (
            tempfile.TemporaryFile("w+") as said,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, env=env, text=True) as process,
        ):
            try:
                for line in process.stdout or ():
                    told = json.loads(line)
                    if "found" in told:
                        yield started | told
                        first, started = told["seed"] + step, {}
                    else:
                        started = told
            except GeneratorExit:  # nobody wants to know more
                process.kill()
                raise
            status = process.wait()
            said.seek(0)
            if first < end:
                if not started:
                    raise RuntimeError(f"the child ended before it read anything: {said.read()[-2000:]}")
                why = "hung" if status == -signal.SIGALRM else f"ended with {status}: {said.read()[:900]}"
                yield started | {"found": {}, "died": why}
                first = started["seed"] + step


def wrong(told: dict[str, Any]) -> str:
    """What is wrong with how a damaged file was read; empty where nothing is."""
    if "died" in told:
        return f"seed {told['seed']} ({told['kind']}): {told['died']}"
    bad = [f"{name}: {what}" for name, what in told["found"].items() if what not in ("ok", "refused")]
    return f"seed {told['seed']} ({told['kind']}): {'; '.join(bad)}" if bad else ""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seed", type=int, help="read the file of this seed alone, and say what became of it")
    options = parser.parse_args(arguments)
    if options.seed is not None:
        for told in fuzz(options.seed, 1):
            print(json.dumps(told, indent=1).replace("\\n", "\n"))
        return 0
    until = time.monotonic() + 60 * options.minutes
    outcomes: Counter[str] = Counter()
    causes: dict[str, list[str]] = {}
    slowest, largest, files = (0.0, -1), (0, -1), 0

    def work(worker: int) -> None:
        nonlocal slowest, largest, files
        for told in fuzz(options.first + worker, 1 << 40, options.workers):
            files += 1
            outcomes.update(f"{name} {what if what in ('ok', 'refused') else 'failed'}" for name, what in told["found"].items())
            slowest = max(slowest, (told.get("s", 0.0), told["seed"]))
            largest = max(largest, (told.get("mib", 0), told["seed"]))
            if what := wrong(told):
                cause = what.strip().splitlines()[-1][-160:]
                causes.setdefault(cause, []).append(what)
                if len(causes[cause]) == 1:
                    print(what, flush=True)
            if time.monotonic() > until:
                return

    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(work, range(options.workers)))
    print(f"{files} files; slowest {slowest[0]:.1f} s (seed {slowest[1]}); most memory {largest[0]} MiB (seed {largest[1]})")
    print("; ".join(f"{name}: {count}" for name, count in sorted(outcomes.items())))
    for cause, whats in causes.items():
        print(f"{len(whats)} times: {cause}")
    return bool(causes)


if __name__ == "__main__":
    sys.exit(main())
