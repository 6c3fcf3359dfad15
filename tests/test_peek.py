"""A look into any file: it takes what can be had, and says so where nothing can."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from av.stream import Disposition
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from forgeline.clip import Sound
from forgeline.errors import MediaError
from forgeline.peek import Glance, peek
from forgeline.video import Encoding, VideoWriter

RAMP = np.linspace(0, 255, 40 * 30).astype(np.uint8).reshape(30, 40)
COLOURS = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


def luma(glance: Glance) -> np.ndarray:
    (only,) = glance.pictures(5)
    return only


def film(path: Path, count: int, gop: int, sound: Sound | None = None) -> Path:
    with VideoWriter(path, 64, 48, Fraction(25), Encoding(crf=10, gop=gop, preset="veryfast"), sound) as out:
        for index in range(count):
            out.write(np.full((48, 64, 3), 10 + 2 * index, np.uint8))
    return path


IMAGES: dict[str, tuple[Image.Image, np.ndarray]] = {
    "grey": (Image.fromarray(RAMP), RAMP),
    "16 bits": (Image.fromarray(RAMP.astype(np.uint16) * 257), RAMP),
    "alpha": (Image.fromarray(np.dstack([RAMP] * 3 + [255 - RAMP])), RAMP),
    "grey and alpha": (Image.fromarray(np.dstack([RAMP, 255 - RAMP]), "LA"), RAMP),
    "palette": (Image.fromarray(RAMP).convert("P"), RAMP),
    "one bit": (Image.fromarray(RAMP).point(lambda value: 255 * (value > 99)).convert("1"), np.where(RAMP > 99, 255, 0)),
}


@pytest.mark.parametrize("kind", IMAGES)
def test_images_of_any_kind_give_their_luma(tmp_path: Path, kind: str) -> None:
    image, expected = IMAGES[kind]
    image.save(tmp_path / "a.png")
    glance = peek(tmp_path / "a.png")
    assert (glance.media_type, glance.width, glance.height, glance.sound(1)) == ("image", 40, 30, None)
    assert np.array_equal(luma(glance), expected)
    assert len(list(glance.keys(3))) == 1


def test_numbers_that_are_no_pixels_do_not_matter(tmp_path: Path) -> None:
    values = RAMP.astype(np.float32) / 255
    values[0] = np.nan
    values[1] = np.inf
    Image.fromarray(values).save(tmp_path / "a.tiff")
    assert np.abs(luma(peek(tmp_path / "a.tiff"))[2:].astype(int) - RAMP[2:]).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "GIF", "WEBP"])
def test_of_an_animated_image_the_first_picture_counts(tmp_path: Path, kind: str) -> None:
    frames = [Image.fromarray(np.roll(RAMP, 9 * index, 1)) for index in range(3)]
    frames[0].save(tmp_path / "a", kind, save_all=True, append_images=frames[1:], lossless=True)
    assert np.abs(luma(peek(tmp_path / "a")).astype(int) - RAMP).max() <= 2


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("RGB", "JPEG"), ("RGB", "WEBP"), ("CMYK", "TIFF")])
def test_colours_become_luma(tmp_path: Path, mode: str, kind: str) -> None:
    smooth = np.asarray(Image.fromarray(COLOURS[:3, :4]).resize((40, 30), Image.Resampling.BILINEAR))
    Image.fromarray(smooth).convert(mode).save(tmp_path / "a", kind, quality=98)
    expected = smooth @ np.array([0.299, 0.587, 0.114])
    assert np.abs(luma(peek(tmp_path / "a")) - expected).mean() < 3


def test_a_phone_picture_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(luma(peek(tmp_path / "a.png")), np.rot90(RAMP, -1))


def test_key_pictures_are_spread_over_the_whole_video(tmp_path: Path) -> None:
    glance = peek(film(tmp_path / "a.mp4", 60, 5))
    assert (glance.media_type, glance.width, glance.height) == ("video", 64, 48)
    with av.open(str(tmp_path / "a.mp4")) as file:
        every = [frame.to_ndarray(format="gray") for frame in file.decode(video=0) if frame.key_frame]
    assert len(every) >= 12
    assert same(glance.keys(100), every)
    third = len(every) / 3
    assert same(glance.keys(3), [every[int(third * part)] for part in (0.5, 1.5, 2.5)])
    pictures = list(glance.pictures(100))
    assert len(pictures) == 60
    assert same(glance.pictures(7), pictures[:7])


def same(some: Iterable[np.ndarray], others: list[np.ndarray]) -> bool:
    """Whether pictures are the same, but for how far their range was stretched."""
    found = list(some)
    return len(found) == len(others) and all(
        abs(float(one.mean()) - float(other.mean())) < 1 for one, other in zip(found, others, strict=True)
    )


def test_what_is_cut_off_or_damaged_gives_what_is_left(tmp_path: Path) -> None:
    whole = film(tmp_path / "a.mp4", 60, 5)
    stream = tmp_path / "a.ts"
    with av.open(str(whole)) as file, av.open(str(stream), "w") as out:
        copy = out.add_stream_from_template(file.streams.video[0])
        for packet in file.demux(file.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    data = bytearray(stream.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 400] = bytes(400)
    stream.write_bytes(data[: len(data) * 2 // 3])
    assert 3 < sum(1 for _ in peek(stream).pictures(100)) < 60


def tone(seconds: float, rate: int = 16_000) -> Sound:
    return Sound((0.4 * np.sin(np.arange(round(seconds * rate)) / 7)).astype(np.float32), rate)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_comes_in_one_channel_and_no_longer_than_asked(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([tone(2).samples] * channels, 1), 16_000)
    glance = peek(path)
    assert (glance.media_type, glance.width, list(glance.pictures(3)), list(glance.keys(3))) == ("audio", 0, [], [])
    sound = glance.sound(1.5)
    assert sound is not None
    assert (len(sound.samples), sound.rate) == (24_000, 16_000)
    assert np.std(sound.samples) == pytest.approx(0.4 / np.sqrt(2), rel=0.05)


def test_a_video_s_sound_is_heard(tmp_path: Path) -> None:
    heard = peek(film(tmp_path / "a.mp4", 25, 5, tone(1))).sound(60)
    assert heard is not None
    assert np.abs(heard.samples - tone(1).samples).max() < 1e-3
    assert peek(film(tmp_path / "b.mp4", 5, 5)).sound(60) is None


def test_a_song_s_cover_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="mp4") as song:
        cover = song.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 64, 48, "yuvj420p", Disposition.attached_pic
        sound = song.add_stream("aac", rate=16_000, layout="mono")
        song.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
        for start in range(0, 16_000, 1024):
            frame = av.AudioFrame.from_ndarray(tone(1).samples[None, start : start + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, start
            song.mux(sound.encode(frame))
        for stream in (cover, sound):
            song.mux(stream.encode(None))
    with av.open(str(path)) as file:
        assert len(file.streams.video) == 1
    assert peek(path).media_type == "audio"


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: None, "is not there"),
    "folder": (Path.mkdir, "is no file"),
    "empty": (Path.touch, "is empty"),
    "text": (lambda p: p.write_text("no media" * 99), "no picture, video or sound"),
    "playlist": (lambda p: p.write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"), "no picture, video or sound"),
    "bomb": (lambda p: Image.new("1", (30_000, 30_000)).save(p, "PNG"), "could be|million pixels"),
    "silence of no length": (lambda p: soundfile.write(p, np.zeros(0), 8000, format="WAV"), "no picture and no sound"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_one_clear_line(tmp_path: Path, kind: str) -> None:
    make, says = BAD[kind]
    make(tmp_path / "bad")
    with pytest.raises(MediaError, match=says) as caught:
        peek(tmp_path / "bad")
    assert caught.value.which == str(tmp_path / "bad")
    assert "\n" not in str(caught.value)


def bytes_of(kind: str) -> bytes:
    out = BytesIO()
    if kind in ("WAV", "FLAC", "OGG"):
        soundfile.write(out, tone(0.3).samples, 16_000, format=kind)
    else:
        Image.fromarray(COLOURS).save(out, kind)
    return out.getvalue()


FILES = {kind: bytes_of(kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "WAV", "FLAC", "OGG")}


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.data())
def test_damaged_bytes_give_something_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject
) -> None:
    whole = bytearray(FILES[kind])
    for _ in range(data.draw(st.integers(0, 6))):
        whole[data.draw(st.integers(0, min(len(whole), 400) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    said, seen, sound = "", [], None
    try:
        glance = peek(path)
        seen, sound = list(glance.pictures(3)), glance.sound(1)
    except MediaError as error:
        said = str(error)
    assert "\n" not in said
    assert said or seen or sound is not None
    assert all(one.dtype == np.uint8 and one.ndim == 2 for one in seen)
    assert sound is None or np.isfinite(sound.samples).all()
