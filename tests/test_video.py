"""Video files in and out: the right pictures, upright and in time, the sound in sync, the same bytes every time, and one
clear line for everything that can't be used."""

import gc
import hashlib
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace, Interpolation
from numpy.typing import NDArray
from PIL import Image

from forgeline.audio import fit, resample, to_int16
from forgeline.clip import Clip, Mask, Picture, Sound
from forgeline.errors import MediaError, PromiseError
from forgeline.video import Encoding, MaskWriter, VideoWriter, key_pictures, open_video, picture_of, pictures_at, read_masks

WIDTH, HEIGHT = 96, 64
FAST = Encoding(crf=10, preset="ultrafast")
NTSC = Fraction(30000, 1001)


def picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> Picture:
    """A smooth coloured picture with a bright bar that moves by 8 pixels a frame."""
    y, x = np.mgrid[0:height, 0:width]
    made = np.stack([60 + 100 * x / width, 60 + 100 * y / height, np.full(x.shape, 90.0)], -1)
    made[:, 8 * index % width : 8 * index % width + 8] = 220
    return made.astype(np.uint8)


def bar(shown: Picture) -> int:
    """Which picture it is, by its bar."""
    return int(shown.mean((0, 2)).reshape(-1, 8).mean(1).argmax())


def video(path: Path, count: int = 12, fps: Fraction = Fraction(25), sound: Sound | None = None) -> Path:
    with VideoWriter(path, WIDTH, HEIGHT, fps, FAST, sound) as out:
        for index in range(count):
            out.write(picture(index))
    return path


def foreign(
    path: Path,
    pictures: Sequence[Picture],
    times: Sequence[int] | None = None,
    rate: Fraction = Fraction(25),
    tick: Fraction = Fraction(1, 90000),
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    sound: tuple[str, Sound, int] | None = None,
) -> Path:
    """A file as others write it: `times` in ticks, and `sound` as codec, samples and the sample at which it starts."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate, options={"crf": "10", **(options or {})})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = stream.time_base = tick
        heard = None
        if sound:
            heard = file.add_stream(sound[0], rate=sound[1].rate, layout="mono")
        for index, shown in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24").reformat(format=pixels)
            frame.pts = times[index] if times else round(index / rate / tick)
            frame.time_base = tick
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if sound and heard:
            _, whole, start = sound
            for at in range(0, len(whole.samples), 1024):
                piece = av.AudioFrame.from_ndarray(whole.samples[None, at : at + 1024], format="fltp", layout="mono")
                piece.sample_rate, piece.pts, piece.time_base = whole.rate, start + at, Fraction(1, whole.rate)
                file.mux(heard.encode(piece))
            file.mux(heard.encode(None))
    return path


def all_of(clip: Clip) -> list[Picture]:
    return list(clip.pictures())


def click(rate: int, at: int, length: int) -> Sound:
    """Silence with one click of a few samples at `at`."""
    samples = np.zeros(length, np.float32)
    samples[at : at + 8] = 0.8
    return Sound(samples, rate)


def heard_at(clip: Clip) -> int:
    """The sample where the click begins."""
    sound = clip.sound()
    assert sound is not None
    loud = np.flatnonzero(np.abs(sound.samples) > 0.4)
    assert len(loud)
    return int(loud[0])


# ------------------------------------------------------------------------------------------------------ what is written


def test_a_written_video_comes_back(tmp_path: Path) -> None:
    tone = Sound((np.sin(np.arange(16000) / 7) / 2).astype(np.float32), 32000)
    clip = open_video(video(tmp_path / "a.mp4", 12, Fraction(25), tone))
    assert (clip.media_type, clip.width, clip.height, clip.fps, clip.frames) == ("video", WIDTH, HEIGHT, 25, 12)
    assert clip.duration == Fraction(12, 25)
    for _ in range(2):  # each call is a new pass
        shown = all_of(clip)
        assert len(shown) == 12
        for index, found in enumerate(shown):
            assert found.dtype == np.uint8
            assert found.flags.c_contiguous
            error = np.abs(found.astype(int) - picture(index))
            assert np.median(error) <= 2  # chroma is halved at the bar's edges
            assert bar(found) == index
    sound = clip.sound()
    assert sound is not None
    assert sound.rate == 32000
    assert len(sound.samples) == 15360  # cut to 0.48 s
    assert np.abs(sound.samples - tone.samples[:15360]).max() <= 1 / 32768


def test_short_sound_is_padded_with_silence(tmp_path: Path) -> None:
    clip = open_video(video(tmp_path / "a.mp4", 25, sound=Sound(np.full(100, 0.5, np.float32), 8000)))
    sound = clip.sound()
    assert sound is not None
    assert len(sound.samples) == 8000
    assert np.abs(sound.samples[:100] - 0.5).max() < 1e-4
    assert not sound.samples[100:].any()


def test_frame_rates_are_fractions(tmp_path: Path) -> None:
    clip = open_video(video(tmp_path / "a.mp4", 31, NTSC, Sound(np.zeros(48000, np.float32), 48000)))
    assert clip.fps == NTSC
    assert clip.duration == 31 * Fraction(1001, 30000)
    sound = clip.sound()
    assert sound is not None
    assert len(sound.samples) == round(31 * 1001 / 30000 * 48000)


@pytest.mark.parametrize("count", [2, 47, 48, 49])
def test_every_picture_comes_back_however_many_there_are(tmp_path: Path, count: int) -> None:
    clip = open_video(video(tmp_path / "a.mp4", count))
    assert [bar(p) for p in clip.pictures()] == [index % 12 for index in range(count)]


def test_masks_come_back_bit_for_bit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 256, (50, 38), np.uint8) for _ in range(3)]
    masks += [np.zeros((50, 38), np.uint8), np.full((50, 38), 255, np.uint8)]
    with MaskWriter(tmp_path / "m.mp4", 38, 50, NTSC) as out:
        for mask in masks:
            out.write(mask)
    found = list(read_masks(tmp_path / "m.mp4"))
    assert len(found) == 5
    assert all(np.array_equal(a, b) for a, b in zip(found, masks, strict=True))


def test_writers_refuse_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(PromiseError, match="not even"):
        VideoWriter(tmp_path / "a.mp4", 95, 64, Fraction(25), FAST)
    with VideoWriter(tmp_path / "a.mp4", WIDTH, HEIGHT, Fraction(25), FAST) as out:
        out.write(picture(0))
        with pytest.raises(PromiseError, match="keep the size"):
            out.write(picture(0, 48))
        with pytest.raises(PromiseError, match="keep the size"):
            out.write(picture(0).astype(np.float32))  # type: ignore[arg-type]
    with MaskWriter(tmp_path / "m.mp4", 38, 50, NTSC) as masks, pytest.raises(PromiseError, match="its picture's size"):
        masks.write(np.zeros((50, 40), np.uint8))


def test_int16_rounds_and_clips() -> None:
    samples = np.array([-2, -1, -0.5 / 32768, 0.4 / 32768, 0.6 / 32768, 1, 2], np.float32)
    assert to_int16(samples).tolist() == [-32768, -32768, 0, 0, 1, 32767, 32767]


def test_sound_is_fitted_and_resampled() -> None:
    tone = Sound(np.sin(2 * np.pi * 440 * np.arange(44100) / 44100).astype(np.float32), 44100)
    assert resample(tone, 44100) is tone
    lower = resample(tone, 16000)
    assert (lower.rate, len(lower.samples), lower.samples.dtype) == (16000, 16000, np.float32)
    true = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(lower.samples - true)[100:-100].max() < 1e-3
    assert len(fit(tone, 0.5).samples) == 22050
    longer = fit(tone, 1.5)
    assert np.array_equal(longer.samples[:44100], tone.samples)
    assert not longer.samples[44100:].any()


# ------------------------------------------------------------------------------------------------------ always the same

_WRITE = """
import sys
from fractions import Fraction
from pathlib import Path
import numpy as np
from forgeline.clip import Sound
from forgeline.video import Encoding, MaskWriter, VideoWriter
folder, width, height = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
rng = np.random.default_rng(0)
scene = rng.integers(0, 256, (height // 8, width // 8 + 16, 3), np.uint8).repeat(8, 0).repeat(8, 1)
scene = np.pad(scene, ((0, 8), (0, 0), (0, 0)), mode="edge")
sound = Sound(rng.uniform(-1, 1, 16000).astype(np.float32), 16000)
with VideoWriter(folder / "a.mp4", width, height, Fraction(25), Encoding(crf=23, preset=sys.argv[4]), sound) as out:
    for index in range(8):
        out.write(np.ascontiguousarray(scene[:height, 3 * index : 3 * index + width]))
with MaskWriter(folder / "m.mp4", width, height, Fraction(25)) as out:
    for index in range(4):
        out.write(np.ascontiguousarray(scene[:height, 3 * index : 3 * index + width, 0]))
"""


@pytest.mark.parametrize(("width", "height", "preset"), [(360, 202, "medium"), (130, 98, "medium"), (854, 120, "medium")])
def test_same_input_same_bytes_whatever_lies_in_memory(tmp_path: Path, width: int, height: int, preset: str) -> None:
    found = set()
    for filling in ("85", "170", None):
        folder = tmp_path / str(filling)
        folder.mkdir()
        env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
        env |= {"MALLOC_PERTURB_": filling} if filling else {}
        subprocess.run([sys.executable, "-c", _WRITE, str(folder), str(width), str(height), preset], check=True, env=env)
        found.add(tuple(hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in ("a.mp4", "m.mp4")))
    assert len(found) == 1


# ------------------------------------------------------------------------------------------------------ what others write


@pytest.mark.parametrize("start", [0, 0.2])
@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "aac"), ("a.mkv", "flac"), ("a.mkv", "libopus"), ("a.mp4", "libmp3lame")]
)
def test_sound_is_in_sync_with_the_picture(tmp_path: Path, name: str, codec: str, start: float) -> None:
    """A click with picture 15, at 0.6 s, in sound that begins with the picture or later, has padding or not."""
    rate, first = 48000, round(start * 48000)
    whole = click(rate, round(0.6 * rate) - first, round(0.9 * rate) - first)
    clip = open_video(foreign(tmp_path / name, [picture(i) for i in range(25)], sound=(codec, whole, first)))
    sound = clip.sound()
    assert sound is not None
    assert len(sound.samples) == rate  # padded to the picture's end
    # Lossy codecs smear a click by a few samples; mkv, and mp4 where a stream starts late, round to a millisecond.
    assert abs(heard_at(clip) - 0.6 * rate) <= (4 if name == "a.mp4" and not start else 56)


def test_sound_that_is_longer_than_the_picture_is_cut(tmp_path: Path) -> None:
    whole = click(48000, 24000, 96000)
    clip = open_video(foreign(tmp_path / "a.mp4", [picture(i) for i in range(25)], sound=("aac", whole, 0)))
    sound = clip.sound()
    assert sound is not None
    assert len(sound.samples) == 48000
    assert abs(heard_at(clip) - 24000) <= 4


def test_a_gap_in_the_sound_stays_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        heard = file.add_stream("flac", rate=48000, layout="mono", format="s16")
        for index in range(25):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        file.mux(stream.encode(None))
        for at in (0, 4608, 4608 + 24000):  # half a second is missing before the third block
            block = np.full((1, 4608), 3277, np.int16)
            piece = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            piece.sample_rate, piece.pts, piece.time_base = 48000, at, Fraction(1, 48000)
            file.mux(heard.encode(piece))
        file.mux(heard.encode(None))
    sound = open_video(path).sound()
    assert sound is not None
    loud = np.flatnonzero(sound.samples > 0.05)
    assert loud[0] == 0
    assert loud[-1] == 4608 + 24000 + 4608 - 1


def test_a_variable_rate_becomes_constant(tmp_path: Path) -> None:
    """Pictures at 0, 1, 2, 3, 7, 8, 9, 12 … of a grid of 25 Hz: each is shown until the next one's time."""
    slots = [0, 1, 2, 3, 7, 8, 9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24]
    shown = [picture(slot) for slot in slots]
    path = foreign(tmp_path / "a.mp4", shown, [3600 * slot for slot in slots], options={"bf": "0"})
    clip = open_video(path)
    pictures = all_of(clip)
    assert len(pictures) == clip.frames
    assert float(clip.duration) == pytest.approx(1, abs=0.06)
    for index, found in enumerate(pictures):
        time = float(index / clip.fps)
        slot = max(s for s in slots if s / 25 <= time + 0.5 / float(clip.fps) + 1e-9)
        assert bar(found) == slot % 12


def test_dropped_pictures_in_a_coarse_container_leave_the_rest_in_time(tmp_path: Path) -> None:
    """Matroska with one picture dropped and avi, whose ticks are whole pictures, are no constant rate."""
    slots = [*range(6), *range(7, 13), *range(14, 26)]
    for name, tick in (("a.avi", Fraction(1, 25)), ("a.nut", Fraction(1, 25)), ("a.mkv", Fraction(1, 1000))):
        times = [round(slot / 25 / tick) for slot in slots]
        path = foreign(tmp_path / name, [picture(s) for s in slots], times, tick=tick, options={"bf": "0"})
        clip = open_video(path)
        assert float(clip.duration) == pytest.approx(26 / 25, abs=0.05), name
        assert bar(all_of(clip)[-1]) == 25 % 12


def test_a_rate_that_is_nearly_nominal_does_not_drift(tmp_path: Path) -> None:
    """30 Hz is announced; the pictures come 0.3 % slower. After 400 of them that is more than one picture."""
    times = [round(3009 * i / 90) for i in range(400)]
    path = foreign(tmp_path / "a.mkv", [picture(i) for i in range(400)], times, Fraction(30), Fraction(1, 1000))
    clip = open_video(path)
    assert clip.frames == 400
    assert abs(float(clip.duration) - 400 * 3009 / 90000) < 0.5 / 30


def test_rounded_time_stamps_are_one_constant_rate(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.mkv", [picture(i) for i in range(50)], rate=NTSC, tick=Fraction(1, 1000))
    clip = open_video(path)
    assert (clip.fps, clip.frames) == (NTSC, 50)
    assert [bar(p) for p in clip.pictures()] == [i % 12 for i in range(50)]


def turn(path: Path, matrix: tuple[int, ...]) -> None:
    """Patch the display matrix (ISO 14496-12, 8.3.2) of the only track: a b u c d v x y w."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4
    assert data[at] == 0  # version
    struct.pack_into(">9i", data, at + 4 + 20 + 16, *matrix)
    path.write_bytes(data)


@pytest.mark.parametrize("quarter_turns_clockwise", [1, 2, 3])
def test_a_phone_video_is_turned_upright(tmp_path: Path, quarter_turns_clockwise: int) -> None:
    scene = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    scene[:16, :32] = 220  # the upper left corner
    path = foreign(tmp_path / "a.mp4", [scene] * 4)
    one, whole = 1 << 16, 1 << 30
    matrix = {
        1: (0, one, 0, -one, 0, 0, HEIGHT * one, 0, whole),
        2: (-one, 0, 0, 0, -one, 0, WIDTH * one, HEIGHT * one, whole),
        3: (0, -one, 0, one, 0, 0, 0, WIDTH * one, whole),
    }[quarter_turns_clockwise]
    turn(path, matrix)
    clip = open_video(path)
    expected = np.rot90(scene, -quarter_turns_clockwise)
    found = next(clip.pictures())
    assert (clip.height, clip.width) == expected.shape[:2] == found.shape[:2]
    assert np.abs(found.astype(int) - expected).mean() < 4


@pytest.mark.parametrize(("width", "height"), [(95, 63), (95, 64), (96, 63)])
def test_odd_sizes_are_cut_to_even(tmp_path: Path, width: int, height: int) -> None:
    path = foreign(tmp_path / "a.mkv", [picture(0, 96, 64)[:height, :width]] * 3, pixels="yuv444p")
    clip = open_video(path)
    assert (clip.width, clip.height) == (width & ~1, height & ~1)
    found = next(clip.pictures())
    assert np.abs(found.astype(int) - picture(0, 96, 64)[: clip.height, : clip.width]).mean() < 3


@pytest.mark.parametrize(
    ("codec", "pixels"), [("libx264", "yuv444p"), ("libx264", "yuv422p10le"), ("libx264", "yuvj420p"), ("libx264rgb", "rgb24")]
)
def test_other_pixel_formats_have_the_same_colours(tmp_path: Path, codec: str, pixels: str) -> None:
    path = foreign(tmp_path / "a.mkv", [picture(3)] * 3, codec=codec, pixels=pixels, options={"crf": "0"})
    error = np.abs(next(open_video(path).pictures()).astype(int) - picture(3))
    if pixels == "rgb24":
        assert not error.any()
    else:
        assert np.median(error) <= 3


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv420p10le", "nv12", "gray", "bgr24", "yuv410p"]
)
def test_a_picture_is_what_libswscale_converts_pixel_by_pixel(pixels: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (122, 170, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixels)
    full = ColorRange.JPEG if pixels == "yuvj420p" else ColorRange.MPEG
    exact = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.BITEXACT | Interpolation.FULL_CHR_H_INT
    slow = frame.reformat(
        format="rgb24",
        src_colorspace=Colorspace.ITU601,
        src_color_range=full,
        dst_color_range=ColorRange.JPEG,
        interpolation=exact,
    )
    assert np.array_equal(picture_of(frame), slow.to_ndarray())


def test_a_part_of_matroska_is_no_shorter_film(tmp_path: Path) -> None:
    sound = "flac", Sound(np.zeros(3 * 16000, np.float32), 16000), 0
    heard = foreign(tmp_path / "a.mkv", [picture(i) for i in range(25)], sound=sound)
    assert open_video(heard).frames == 25  # its sound goes on
    film = foreign(tmp_path / "b.mkv", [picture(i) for i in range(75)])
    assert open_video(film).frames == 75
    film.write_bytes(film.read_bytes()[: film.stat().st_size * 6 // 10])
    with pytest.raises(MediaError, match=r"ends after 1\.\d of 3\.0 s"):
        open_video(film)


@pytest.mark.parametrize(("lines", "matrix"), [(64, cv2.COLOR_YUV2RGB_I420), (720, None)])
def test_untagged_colours_follow_the_players_convention(tmp_path: Path, lines: int, matrix: int | None) -> None:
    """A flat red of known luma and chroma: BT.601 below 720 lines, BT.709 from there (ITU-R formulas)."""
    y, u, v = 90, 100, 190
    plane = np.full((lines * 3 // 2, 64), y, np.uint8)
    plane[lines : lines + lines // 4], plane[lines + lines // 4 :] = u, v
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=25, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, lines, "yuv420p"
        for _ in range(3):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(plane, format="yuv420p")))
        file.mux(stream.encode(None))
    red, blue = (0.299, 0.114) if matrix is not None else (0.2126, 0.0722)
    green = 1 - red - blue
    luma, cb, cr = (y - 16) / 219, (u - 128) / 224, (v - 128) / 224
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    expected = 255 * np.clip([r, (luma - red * r - blue * b) / green, b], 0, 1)
    found = next(open_video(path).pictures()).reshape(-1, 3).mean(0)
    assert np.abs(found - expected).max() < 1  # the other matrix is 12 off, an inexact conversion 2


# ------------------------------------------------------------------------------------------------------ what can't be used


def sound_alone(path: Path) -> None:
    with av.open(str(path), "w", format="mp4") as file:
        heard = file.add_stream("aac", rate=48000, layout="mono")
        piece = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        piece.sample_rate, piece.pts = 48000, 0
        file.mux(heard.encode(piece))
        file.mux(heard.encode(None))


def truncated(path: Path, share: float) -> None:
    whole = video(path.with_name("whole.mp4"), 40)
    path.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])


def end_cut_off_behind_the_index(path: Path) -> None:
    """VideoWriter puts the index first: the file opens, and the last pictures are not there."""
    truncated(path, 0.8)


def of_unknown_codec(path: Path, codec: bytes) -> None:
    whole = foreign(path.with_name("whole.mp4"), [picture(i) for i in range(4)], sound=("aac", click(48000, 500, 9000), 0))
    path.write_bytes(whole.read_bytes().replace(codec, b"xxxx").replace(b"esds", b"xxxx"))


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut in the index": (lambda p: truncated(p, 0.02), "broken"),
    "cut behind the index": (end_cut_off_behind_the_index, "cut|broken|damaged|ends after"),
    "empty": (lambda p: p.touch(), "is empty"),
    "text": (lambda p: p.write_text("This is no video.\n" * 100), "broken, cut off or no video"),
    "zeros": (lambda p: p.write_bytes(bytes(10_000)), "broken, cut off or no video"),
    "png": (lambda p: Image.new("RGB", (64, 64)).save(p, format="PNG"), "broken, cut off or no video"),
    "pictures of an unknown codec": (lambda p: of_unknown_codec(p, b"avc1"), "codec that is not known"),
    "sound of an unknown codec": (lambda p: of_unknown_codec(p, b"mp4a"), "sound that is broken, or of a codec"),
    "sound alone": (sound_alone, "no picture stream"),
    "one picture": (lambda p: video(p, 1), "only one picture"),
    "folder": (lambda p: p.mkdir(), "broken, cut off or no video"),
    "missing": (lambda p: None, "is not there"),
}


def use(path: Path) -> tuple[Clip, list[Picture], Sound | None]:
    clip = open_video(path)
    return clip, all_of(clip), clip.sound()


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    make, says = BAD[kind]
    path = tmp_path / "bad.mp4"
    make(path)
    with pytest.raises(MediaError, match=says) as caught:
        use(path)
    assert str(path) in caught.value.which
    assert "\n" not in str(caught.value)
    assert caught.value.todo


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{secret}'\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
    'bandwidth="1"><BaseURL>{secret}</BaseURL></Representation></AdaptationSet></Period></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_never_opens_another_file(tmp_path: Path, kind: str) -> None:
    secret = video(tmp_path / "secret.mp4")
    for name in (f"list.{kind}", "list.mp4"):
        path = tmp_path / name
        path.write_text(PLAYLISTS[kind].format(secret=secret))
        opened = opened_while(lambda path=path: refuse(path), secret)  # type: ignore[misc]
        assert not opened


def refuse(path: Path) -> None:
    with pytest.raises(MediaError, match="broken, cut off or no video") as caught:
        open_video(path)
    assert "\n" not in str(caught.value)


def opened_while(work: Callable[[], None], file: Path) -> bool:
    """Whether a file was read: its access time is set to long ago and looked at again."""
    os.utime(file, (0, file.stat().st_mtime))
    work()
    return file.stat().st_atime > 0


def test_access_times_are_kept_here(tmp_path: Path) -> None:
    """What the test above rests on."""
    secret = video(tmp_path / "secret.mp4")
    if not opened_while(lambda: secret.read_bytes() and None, secret):
        pytest.skip("this file system keeps no access times")


@pytest.mark.parametrize("name", ["concat:a.mp4|b.mp4", "http:example.mp4", "file:a.mp4", "data:text,a.mp4", "pipe:0", "-"])
def test_a_name_that_looks_like_a_protocol_is_a_name(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("a.mp4", "b.mp4"):
        video(tmp_path / other, 5)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MediaError, match="is not there"):
        open_video(Path(name))
    shutil.copy(video(tmp_path / "real.mp4", 9), name)
    assert open_video(Path(name)).frames == 9


def test_a_picture_that_changes_its_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    parts = []
    for index, width in enumerate((96, 128)):
        times = [90000 * index + 3600 * i for i in range(12)]
        part = foreign(tmp_path / f"{index}.ts", [picture(i, width) for i in range(12)], times)
        parts.append(part.read_bytes())
    path.write_bytes(b"".join(parts))
    with pytest.raises(MediaError, match=r"changes its picture size|damaged|jumps"):
        all_of(open_video(path))


def test_jumps_in_time_are_refused(tmp_path: Path) -> None:
    times = [*range(0, 36000, 3600), *range(90000 * 3600, 90000 * 3600 + 36000, 3600)]
    path = foreign(tmp_path / "a.mkv", [picture(i) for i in range(20)], times)
    with pytest.raises(MediaError, match="jumps in its time stamps"):
        open_video(path)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = foreign(tmp_path / "a.mkv", [np.zeros((16, 8200, 3), np.uint8)] * 3, options={"preset": "ultrafast"})
    with pytest.raises(MediaError, match="larger than 8192"):
        open_video(path)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_bytes_never_give_anything_but_pictures_or_one_line(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(video(tmp_path / "a.mp4", 8, sound=click(8000, 500, 2000)).read_bytes())
    for at in rng.integers(0, len(data), 1 + seed * 4):
        data[at] = rng.integers(256)
    (tmp_path / "a.mp4").write_bytes(data)
    try:
        clip, shown, sound = use(tmp_path / "a.mp4")
    except MediaError as error:
        said = str(error)
    else:
        said = ""
        assert len(shown) == clip.frames
        assert sound is None or len(sound.samples) == round(clip.duration * sound.rate)
    assert "\n" not in said


def open_files() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_passes_that_are_left_early_leave_nothing_open(tmp_path: Path) -> None:
    clip = open_video(video(tmp_path / "a.mp4", 40))

    def taste(passes: int) -> Iterator[NDArray[np.uint8]]:
        for _ in range(passes):
            pictures = clip.pictures()
            yield next(pictures)
            pictures.close()  # type: ignore[attr-defined]

    list(taste(2))
    before = open_files()
    assert len(list(taste(20))) == 20
    assert open_files() == before


def test_key_pictures_are_the_clips_own(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with VideoWriter(path, WIDTH, HEIGHT, Fraction(25), Encoding(gop=10)) as out:
        for index in range(25):
            out.write(picture(index % 2))
    every = all_of(open_video(path))
    for found, number in zip(key_pictures(path), (0, 10, 20), strict=True):
        assert np.array_equal(found, every[number])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(MediaError):
        list(key_pictures(path))


@pytest.mark.parametrize("slots", [range(12), [0, 1, 2, 3, 7, 8, 9, 12]], ids=["constant rate", "variable rate"])
def test_some_pictures_are_those_of_a_whole_pass(tmp_path: Path, slots: Sequence[int]) -> None:
    times = [3600 * slot for slot in slots]
    path = foreign(tmp_path / "a.mp4", [picture(slot) for slot in slots], times, options={"bf": "0"})
    whole = list(open_video(path).pictures())
    some = list(pictures_at(path, {len(whole) - 1, 2, 5}))
    assert len(some) == 3
    assert all(np.array_equal(each, whole[at]) for each, at in zip(some, (2, 5, len(whole) - 1), strict=True))
    assert list(pictures_at(path, ())) == []


def test_a_mask_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    mask: Mask = np.random.default_rng(0).integers(0, 256, (64, 96), np.uint8)
    with MaskWriter(tmp_path / "m.mp4", 96, 64, Fraction(25)) as out:
        for _ in range(5):
            out.write(mask)
            mask = np.roll(mask, 7)
    data = (tmp_path / "m.mp4").read_bytes()
    (tmp_path / "m.mp4").write_bytes(data[: len(data) // 20])
    with pytest.raises(MediaError):
        list(read_masks(tmp_path / "m.mp4"))


def test_memory_does_not_grow_with_length() -> None:
    """Through blend_swap and the seal: the longer clip has 100 pictures more, which would be 49 MiB if they were held.

    Without sound it takes 4 MiB more; the twenty seconds of sound, which is held whole and worked on in copies, 20.
    """
    peaks = []
    for seconds in (8, 28):
        command = [sys.executable, "-m", "benchmarks.memory", str(seconds), "480", "360", "5"]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=Path(__file__).parents[1], env=env, capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout.splitlines()[-1].split("|")[5]))
    assert peaks[1] - peaks[0] < 40


def test_channels_are_mixed_without_leaving_full_scale(tmp_path: Path) -> None:
    """Both ears hear the same: mixed to one, it is what each heard."""
    path = tmp_path / "a.mkv"
    level = np.sin(np.arange(24000) / 9).astype(np.float32) * 0.98
    with av.open(str(path), "w") as file:
        seen = file.add_stream("libx264", rate=25, width=64, height=64)
        heard = file.add_stream("pcm_s16le", rate=48000, layout="stereo")
        for _ in range(12):
            file.mux(seen.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        block = np.repeat((level * 32767).astype(np.int16), 2)[None]
        frame = av.AudioFrame.from_ndarray(block, format="s16", layout="stereo")
        frame.sample_rate = 48000
        file.mux(heard.encode(frame))
        for stream in (seen, heard):
            file.mux(stream.encode(None))
    sound = open_video(path).sound()
    assert sound is not None
    assert np.abs(sound.samples[:23000] - level[:23000]).max() < 1e-3
