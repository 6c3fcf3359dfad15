"""Files whose bytes are damaged give a result or one line: no crash, no hang, no memory beyond a limit."""

import io
import json
import resource
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import benchmarks.fuzz
from benchmarks.fuzz import KINDS, READERS, damaged, fuzz, whole, wrong
from forgeline.errors import MediaError
from forgeline.peek import peek
from forgeline.video import key_pictures, open_video, read_masks
from tests.limits import in_child

ROUNDS = 8
"""Files of each kind; `python -m benchmarks.fuzz` reads more."""


def test_damaged_files_of_every_kind_give_a_result_or_one_line() -> None:
    """Whatever was found to go wrong for a seed can be seen by `python -m benchmarks.fuzz --seed N`."""
    told = list(fuzz(0, ROUNDS * len(KINDS)))
    assert not [what for what in map(wrong, told) if what]
    assert {each["kind"] for each in told} == {*KINDS}
    outcomes = {(name, what) for each in told for name, what in each["found"].items()}
    assert outcomes >= {(name, what) for name in READERS for what in ("ok", "refused")} - {("read_tag", "refused")}


def test_a_child_that_dies_or_hangs_is_told_of_and_the_rest_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the test above rests on."""
    reader = "lambda path: os.abort() if path.suffix == '.mp4' else time.sleep(9) if path.suffix == '.mkv' else None"
    change = f"import os, time, benchmarks.fuzz as f; f.READERS, f.SECONDS, f._read_all = dict(x={reader}), 1, int; "
    monkeypatch.setattr(benchmarks.fuzz, "CHILD", change + benchmarks.fuzz.CHILD)
    seeds = [list(KINDS).index(kind) for kind in ("own.mp4", "masks.mkv", "a.wav")]
    told = [each for seed in seeds for each in fuzz(seed, 1)]
    assert [each["seed"] for each in told] == seeds
    assert "ended with -6" in told[0]["died"]
    assert told[1]["died"] == "hung"
    assert told[2]["found"] == {"x": "ok"}
    assert [bool(wrong(each)) for each in told] == [True, True, False]


def test_a_seed_is_the_same_file_again() -> None:
    assert [damaged(seed) for seed in range(60)] == [damaged(seed) for seed in range(60)]
    assert sum(data != whole(kind) for kind, data in map(damaged, range(60))) > 50


# What was found ------------------------------------------------------------------------------------------------------


def film(path: Path, times: list[int], tick: Fraction = Fraction(1, 1000), sound: bool = False) -> Path:
    """A film with pictures at these times, in ticks, whatever its encoder thought."""
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        heard: Any = file.add_stream("aac", rate=48000, layout="mono") if sound else None
        picture = np.zeros((64, 64, 3), np.uint8)
        packets = [packet for _ in times for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))]
        for packet, time in zip([*packets, *stream.encode(None)], times, strict=False):
            packet.pts, packet.dts, packet.time_base = time, time, tick
            file.mux(packet)
        if heard:
            tone = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            tone.sample_rate, tone.pts = 48000, 0
            for piece in (*heard.encode(tone), *heard.encode(None)):
                file.mux(piece)
    return path


def test_pictures_of_one_time_are_refused(tmp_path: Path) -> None:
    """Seed 100433: a rate of one picture in no time."""
    path = tmp_path / "a.mkv"
    data = film(path, [0, 40, 80]).read_bytes()
    # The clusters' and blocks' times: `E7 81` time, and after `A3 .. 81` two bytes.
    with av.open(str(path)) as file:
        times = [packet.pts for packet in file.demux(video=0) if packet.size]
    assert times == [0, 40, 80]
    for time in (40, 80):
        data = data.replace(b"\x81" + time.to_bytes(2) + b"\x00", b"\x81\x00\x00\x00").replace(
            b"\x81" + time.to_bytes(2) + b"\x80", b"\x81\x00\x00\x80"
        )
    path.write_bytes(data)
    with pytest.raises(MediaError, match="pictures that are all of one time"):
        open_video(path)


def test_pictures_that_are_hours_apart_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="half an hour apart"):
        open_video(film(tmp_path / "a.mkv", [0, 10**10, 2 * 10**10]))


def test_sound_of_a_week_is_refused_before_there_is_room_for_it(tmp_path: Path) -> None:
    times = list(range(0, 1000 * 900_000, 900_000))  # 1000 pictures, a quarter of an hour apart
    clip = open_video(film(tmp_path / "a.mkv", times, sound=True))
    with pytest.raises(MediaError, match="lasts longer than its sound can be held in memory"):
        clip.sound()


@pytest.mark.parametrize("reader", [key_pictures, read_masks])
def test_a_file_of_sound_alone_has_no_pictures(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    """Seeds of sound: a mask may be anything, and ended the stage."""
    (tmp_path / "a.m4a").write_bytes(whole("a.m4a"))
    with pytest.raises(MediaError, match="has no picture stream"):
        list(reader(tmp_path / "a.m4a"))


@pytest.mark.parametrize("reader", [key_pictures, read_masks])
def test_pictures_of_an_unknown_codec_are_one_line(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    (tmp_path / "a.mp4").write_bytes(whole("h264.mp4").replace(b"avc1", b"xxxx").replace(b"avcC", b"xxxx"))
    with pytest.raises(MediaError, match="codec that is not known"):
        list(reader(tmp_path / "a.mp4"))


def jpeg(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (side, side), 90).save(file, "JPEG", quality=30)
    return file.getvalue()


def look(path: str) -> None:
    """In a child: read it every way, and say what that took."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    told = {}
    for name in ("open_video", "key_pictures", "read_masks", "peek"):
        try:
            READERS[name](Path(path))
            told[name] = "ok"
        except MediaError as error:
            told[name] = error.what
    print(json.dumps(told | {"mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10) - before}))


def test_a_picture_that_is_larger_than_its_container_says_takes_no_memory(tmp_path: Path) -> None:
    """Four pictures, the first of 64 pixels and three of 11000."""
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream("mjpeg", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        for number, data in enumerate([jpeg(64), *[jpeg(11000)] * 3]):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.time_base, packet.is_keyframe = (
                stream,
                number,
                number,
                Fraction(1, 25),
                True,
            )
            file.mux(packet)
    (told,) = in_child("tests.test_fuzz:look", str(path), memory=3 << 30, seconds=60)
    assert told.pop("mib") < 200
    assert told.pop("peek") == "ok"
    assert all("broken, cut off or no video" in what for what in told.values()), told


def test_sound_of_many_channels_is_heard(tmp_path: Path) -> None:
    """Seed 203654: PyAV crashes on more than eight channels that lie apart."""
    with av.open(str(tmp_path / "a.wav"), "w") as file:
        stream: Any = file.add_stream("pcm_s16le", rate=8000, layout="22.2")
        frame = av.AudioFrame.from_ndarray(np.full((1, 24 * 800), 8192, np.int16), format="s16", layout="22.2")
        frame.sample_rate, frame.pts = 8000, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            file.mux(packet)
    (told,) = in_child("tests.test_fuzz:hear", str(tmp_path / "a.wav"), memory=3 << 30, seconds=60)
    assert told == {"samples": 800, "level": 0.25}


def hear(path: str) -> None:
    sound = peek(Path(path)).sound(1.0)
    assert sound is not None
    print(json.dumps({"samples": len(sound.samples), "level": float(sound.samples.mean())}))


def test_sound_that_changes_its_form_is_one_line(tmp_path: Path) -> None:
    """Seed 105282: PyAV refuses such a frame with a ValueError."""
    path = tmp_path / "a.mp3"
    parts = []
    for rate, layout in ((48000, "mono"), (32000, "stereo")):
        file = io.BytesIO()
        with av.open(file, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as container:
            stream: Any = container.add_stream("libmp3lame", rate=rate, layout=layout)
            channels = 2 if layout == "stereo" else 1
            for at in range(0, 20 * 1152, 1152):
                frame = av.AudioFrame.from_ndarray(np.full((channels, 1152), 0.1, np.float32), format="fltp", layout=layout)
                frame.sample_rate, frame.pts = rate, at
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        parts.append(file.getvalue())
    path.write_bytes(b"".join(parts))
    with pytest.raises(MediaError, match="sound that changes its form"):
        READERS["open_sound"](path)
    heard = peek(path).sound(10.0)
    assert heard is not None
    assert len(heard.samples) % 1152 == 0, "whole frames of one form"


@pytest.mark.parametrize("tag", [0x011A, 0x0213])
def test_broken_exif_is_one_line(tmp_path: Path, tag: int) -> None:
    """Seeds 103492 and 104651: a number that is text; Pillow's own errors were TypeError and struct.error."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[tag] = 72
    path = tmp_path / "a.jpg"
    Image.new("RGB", (16, 16)).save(path, exif=exif)
    data = bytearray(path.read_bytes())
    at = data.index(tag.to_bytes(2, "little" if b"II*\0" in data else "big"), data.index(b"Exif"))
    data[at + 2 : at + 4] = (2).to_bytes(2, "little" if b"II*\0" in data else "big")
    path.write_bytes(data)
    for reader in ("open_image", "peek"):
        with pytest.raises(MediaError, match="broken"):
            READERS[reader](path)


@pytest.mark.parametrize("box", [b"iloc", b"iinf", b"pitm"])
def test_a_broken_avif_is_one_line(tmp_path: Path, box: bytes) -> None:
    """Seed 101441: Pillow's own error was RuntimeError."""
    path = tmp_path / "a.avif"
    path.write_bytes(whole("a.avif").replace(box, b"free"))
    with pytest.raises(MediaError, match="is no image that can be read"):
        peek(path)


def test_a_rate_that_no_sound_has_is_refused(tmp_path: Path) -> None:
    data = bytearray(whole("a.wav"))
    data[24:28] = (400_000).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(data)
    with pytest.raises(MediaError, match="400000 samples a second"):
        READERS["open_sound"](tmp_path / "a.wav")


def test_a_want_of_memory_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A length of two gigabytes in a small file: reading so much at once fails where memory is limited."""
    (tmp_path / "a.mp4").write_bytes(whole("h264.mp4"))

    def opened(*_: Any, **__: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(av, "open", opened)
    for reader in ("open_video", "open_sound", "peek"):
        with pytest.raises(MediaError, match="MemoryError"):
            READERS[reader](tmp_path / "a.mp4")
