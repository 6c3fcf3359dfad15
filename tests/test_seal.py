"""Nothing reaches disk but what has been read back from it."""

import hashlib
import resource
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from forgeline.clip import Made, Mask, Picture, Segment, Sound
from forgeline.errors import FactoryError, MediaError, PromiseError
from forgeline.image import open_image
from forgeline.video import Encoding, VideoWriter, open_video, read_masks
from tests.test_manifest import little
from watermark.gate import examine
from watermark.keys import DEMO, master
from watermark.metadata import Tag, append_to_mp4, read_tag
from watermark.payload import Mark
from watermark.read import read
from watermark.seal import Seal, Sealed, seal, seal_variant
from watermark.sound import sound_carries
from watermark.strength import Marker

WIDTH, HEIGHT, FRAMES, FPS = 176, 144, 12, Fraction(25)
KEY = master(DEMO).shard("tests")
MARK = Mark(4711, 32)
TAG = Tag("0123456789abcdef0123", "digitalCreation", "CC BY 4.0", ("research",))
SETTINGS = Seal(encoding=Encoding(preset="veryfast"))


def picture(index: int) -> Picture:
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.uniform(40, 210, (12, 15, 3)), (WIDTH + 40, HEIGHT), interpolation=cv2.INTER_CUBIC)
    scene = coarse[:, index : index + WIDTH] + rng.normal(0, 6, (HEIGHT, WIDTH + 40, 1))[:, index : index + WIDTH]
    return np.clip(scene, 0, 255).astype(np.uint8)


def mask(index: int) -> Mask:
    return np.clip(np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)) % 256 - index, 0, 255).astype(np.uint8)


def pairs(count: int = FRAMES, masks: bool = True) -> Iterator[tuple[Picture, Mask | None]]:
    for index in range(count):
        yield picture(index), mask(index) if masks else None


def tone() -> Sound:
    return Sound(np.sin(np.arange(7680) / 9).astype(np.float32) / 3, 16000)


def video(pictures: Iterator[tuple[Picture, Mask | None]], sound: Sound | None = None) -> Made:
    return Made("video", WIDTH, HEIGHT, FPS, FRAMES, pictures, sound)


def image(masks: bool = True) -> Made:
    return Made("image", WIDTH, HEIGHT, Fraction(0), 1, pairs(1, masks), None)


def test_a_video_is_sealed_with_its_masks_sound_and_tag(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    sealed = seal(video(pairs(), tone()), path, MARK, KEY, TAG, SETTINGS)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.mask.mp4", path]
    assert (sealed.path, sealed.mask) == (path, tmp_path / "a.mask.mp4")
    assert sealed.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert sealed.bytes == path.stat().st_size
    assert (sealed.width, sealed.height, sealed.fps, sealed.frames) == (WIDTH, HEIGHT, FPS, FRAMES)
    assert (sealed.duration_s, sealed.sample_rate, sealed.verdict.mark_read) == (0.48, 16000, "payload")
    assert sealed.verdict.score > 8
    assert sealed.verdict.sound_mark_read is None  # too short
    assert 34 < sealed.psnr < 56
    assert read_tag(path) == TAG
    for index, found in enumerate(read_masks(tmp_path / "a.mask.mp4")):
        assert np.array_equal(found, mask(index))
    sound = open_video(path).sound()
    assert sound is not None
    assert np.abs(sound.samples - SETTINGS.sound(tone(), 0.48).samples).max() < 1e-4


def test_a_row_tells_what_chance_decided(tmp_path: Path) -> None:
    made = replace(video(pairs()), drawn={"weather": "rain", "kelvin": 5400.0, "copies_refused": 0, "smile": -0.08125})
    row = next(iter(little()))
    sealed = seal(made, tmp_path / "a.mp4", MARK, KEY, TAG, SETTINGS)
    assert sealed.noted(row).drawn == {"weather": "rain", "kelvin": "5400", "copies_refused": "0", "smile": "-0.08125"}
    again = replace(sealed, drawn={})
    assert again.noted(sealed.noted(row)).drawn == sealed.noted(row).drawn, "a variant is of its parent's making"


def test_other_readers_still_open_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    seal(video(pairs(), tone()), path, MARK, KEY, TAG, SETTINGS)
    assert path.read_bytes()[-2048 - 20 : -2048].startswith(b"uuid")
    with av.open(str(path)) as file:
        assert sum(1 for _ in file.decode(video=0)) == FRAMES
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES
    assert capture.read()[0]
    capture.release()


def test_an_image_is_sealed_with_its_mask_and_tag(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    sealed = seal(image(), path, MARK, KEY, TAG, SETTINGS)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.mask.png", path]
    assert (sealed.frames, sealed.fps, sealed.duration_s, sealed.verdict.mark_read) == (1, 0, 0, "payload")
    assert read_tag(path) == TAG
    with Image.open(tmp_path / "a.mask.png") as found:
        assert np.array_equal(np.asarray(found), mask(0))
    marked = next(open_image(path).pictures()).astype(np.float64)
    psnr = 10 * np.log10(255**2 / np.mean((marked - picture(0)) ** 2))
    assert sealed.psnr == pytest.approx(psnr, abs=1e-6)


def test_what_is_sealed_can_be_read_by_anyone_with_the_key(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    seal(video(pairs()), path, MARK, KEY, TAG, SETTINGS)
    reading = read(path, [master(DEMO).shard("others"), KEY])
    assert [(found.mark, found.key.name) for found in reading.found] == [(MARK, "tests")]
    assert reading.tag == TAG


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        seal(video(pairs(), tone()), tmp_path / name / "x.mp4", MARK, KEY, TAG, SETTINGS)
        seal(image(), tmp_path / name / "x.png", MARK, KEY, TAG, SETTINGS)
    for file in ("x.mp4", "x.mask.mp4", "x.png", "x.mask.png"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_mark_does_not_depend_on_what_is_changed_where(tmp_path: Path) -> None:
    """A control and a forgery with equal pictures get equal pixels: the mask has no part in the mark."""
    masked = seal(video(pairs()), tmp_path / "a.mp4", MARK, KEY, TAG, SETTINGS)
    plain = seal(video(pairs(masks=False)), tmp_path / "b.mp4", MARK, KEY, TAG, SETTINGS)
    assert masked.sha256 == plain.sha256
    assert plain.mask is None


def test_a_clip_without_masks_leaves_no_old_mask_behind(tmp_path: Path) -> None:
    seal(image(), tmp_path / "a.png", MARK, KEY, TAG, SETTINGS)
    seal(image(masks=False), tmp_path / "a.png", MARK, KEY, TAG, SETTINGS)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "a.png"]


def broken_source() -> Iterator[tuple[Picture, Mask | None]]:
    yield from pairs(3)
    raise MediaError("parent.mp4", "is damaged", "replace it")


def some_masks() -> Iterator[tuple[Picture, Mask | None]]:
    for index in range(FRAMES):
        yield picture(index), mask(index) if index % 2 else None


def odd_size() -> Iterator[tuple[Picture, Mask | None]]:
    yield from pairs(3)
    yield picture(3)[:-2], mask(3)[:-2]


def odd_mask() -> Iterator[tuple[Picture, Mask | None]]:
    for index in range(FRAMES):
        yield picture(index), mask(index)[:-2]


@pytest.mark.parametrize(
    ("pictures", "error", "message"),
    [
        (iter(()), PromiseError, "has no pictures, where 12"),
        (pairs(FRAMES - 1), PromiseError, "has 11 pictures, where 12"),
        (pairs(FRAMES + 9), PromiseError, "has 13 pictures, where 12"),
        (some_masks(), PromiseError, "has 6 masks for 12 pictures"),
        (odd_size(), PromiseError, "must keep the size"),
        (odd_mask(), PromiseError, "a mask has its picture's size"),
        (broken_source(), MediaError, "is damaged"),
    ],
)
def test_a_broken_stream_leaves_nothing_behind(
    tmp_path: Path, pictures: Iterator[tuple[Picture, Mask | None]], error: type[FactoryError], message: str
) -> None:
    with pytest.raises(error, match=message):
        seal(video(pictures), tmp_path / "a.mp4", MARK, KEY, TAG, SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_a_mark_that_does_not_read_back_is_refused(tmp_path: Path) -> None:
    settings = Seal(encoding=Encoding(crf=51, preset="ultrafast"))
    with pytest.raises(MediaError, match="does not give its mark back"):
        seal(video(pairs()), tmp_path / "a.mp4", MARK, KEY, TAG, settings)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_older_file_as_it_was(tmp_path: Path) -> None:
    seal(image(), tmp_path / "a.png", MARK, KEY, TAG, SETTINGS)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    made = Made("image", WIDTH, HEIGHT, Fraction(0), 2, pairs(1), None)
    with pytest.raises(PromiseError, match="has 1 pictures, where 2"):
        seal(made, tmp_path / "a.png", Mark(4712, 32), KEY, TAG, SETTINGS)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("kind", ["mp4", "png"])
def test_no_room_on_the_disk_is_said_plainly(tmp_path: Path, kind: str) -> None:
    """A limit on file sizes stands in for a full disk: both refuse the write."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    made = image() if kind == "png" else video(pairs())
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))
    try:
        with pytest.raises(FactoryError, match="does not fit on the disk"):
            seal(made, tmp_path / f"a.{kind}", MARK, KEY, TAG, SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_marked_is_refused(tmp_path: Path) -> None:
    small = np.zeros((96, 200, 3), np.uint8)
    with pytest.raises(MediaError, match="200x96: is too small for the mark"):
        seal(Made("image", 200, 96, Fraction(0), 1, iter([(small, None)]), None), tmp_path / "a.png", MARK, KEY, TAG, SETTINGS)
    with pytest.raises(PromiseError, match="is not named"):
        seal(image(), tmp_path / "a.jpg", MARK, KEY, TAG, SETTINGS)
    assert list(tmp_path.iterdir()) == []


def variant(sealed: Path, path: Path, crf: int, mark: Mark = MARK) -> Sealed:
    def copied() -> Made:
        clip = open_video(sealed)
        return video((p, None) for p in clip.pictures())

    return seal_variant(copied, path, mark, KEY, TAG, Encoding(crf=crf, preset="veryfast"), False)


def test_a_variant_keeps_its_parents_mark(tmp_path: Path) -> None:
    seal(video(pairs()), tmp_path / "a.mp4", MARK, KEY, TAG, SETTINGS)
    light = variant(tmp_path / "a.mp4", tmp_path / "light.mp4", 23)
    assert (light.verdict.mark_read, light.psnr) == ("payload", None)  # what was there has done
    heavy = variant(tmp_path / "a.mp4", tmp_path / "heavy.mp4", 40)
    assert heavy.verdict.score > 4.75
    assert heavy.bytes < light.bytes
    assert read_tag(heavy.path) == TAG


def test_a_variant_is_strengthened_until_its_mark_is_found(tmp_path: Path) -> None:
    seal(video(pairs()), tmp_path / "a.mp4", MARK, KEY, TAG, SETTINGS)
    other = variant(tmp_path / "a.mp4", tmp_path / "b.mp4", 40, Mark(815, 32))
    assert other.psnr is not None
    assert other.verdict.score > 4.75


def test_a_variant_that_can_carry_no_mark_is_refused(tmp_path: Path) -> None:
    seal(video(pairs()), tmp_path / "a.mp4", MARK, KEY, TAG, SETTINGS)
    with pytest.raises(MediaError, match="however strong"):
        variant(tmp_path / "a.mp4", tmp_path / "b.mp4", 51)
    assert not (tmp_path / "b.mp4").exists()


def speech(seconds: float) -> Sound:
    """Harmonics that come and go, over a little noise."""
    rng, at = np.random.default_rng(1), np.arange(int(seconds * 16000)) / 16000
    voice = sum(np.sin(2 * np.pi * 140 * n * at + n) / n for n in range(1, 25)) * (0.3 + np.sin(2 * np.pi * 3 * at) ** 2)
    return Sound((0.08 * voice + rng.normal(0, 0.004, len(at))).astype(np.float32), 16000)


def long(sound: Sound, *segments: Segment) -> Made:
    pictures = ((picture(index % FRAMES), None) for index in range(75))
    return Made("video", WIDTH, HEIGHT, FPS, 75, pictures, sound, segments)


def test_sound_carries_the_mark_where_it_can(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    sealed = seal(long(speech(3)), path, MARK, KEY, TAG, SETTINGS)
    assert sealed.verdict.sound_mark_read == "payload"
    sound = open_video(path).sound()
    assert sound is not None
    assert sound_carries(sound, KEY, MARK)
    assert not sound_carries(speech(3), KEY, MARK)


def test_silence_is_sealed_unmarked_unless_it_is_said_to_be_forged(tmp_path: Path) -> None:
    silence = Sound(np.zeros(48000, np.float32), 16000)
    assert seal(long(silence), tmp_path / "a.mp4", MARK, KEY, TAG, SETTINGS).verdict.sound_mark_read is None
    with pytest.raises(MediaError):
        seal(long(silence, Segment(0, 3, "audio")), tmp_path / "b.mp4", MARK, KEY, TAG, SETTINGS)


@pytest.mark.parametrize(
    ("harm", "error"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), FactoryError),
        (lambda path: seal(video(pairs()), path, Mark(815, 32), KEY, TAG, SETTINGS), MediaError),
        (lambda path: seal(video(pairs()), path, MARK, master(DEMO).shard("other"), TAG, SETTINGS), MediaError),
        (lambda path: seal(video(pairs()), path, MARK, KEY, replace(TAG, licence="none"), SETTINGS), PromiseError),
    ],
    ids=["cut short", "another id", "another key", "another tag"],
)
def test_the_gate_refuses(tmp_path: Path, harm: Callable[[Path], object], error: type[FactoryError]) -> None:
    path = tmp_path / "a.mp4"
    seal(video(pairs()), path, MARK, KEY, TAG, SETTINGS)
    assert examine(path, KEY, MARK, TAG, sound_marked=False).mark_read == "payload"
    with pytest.raises(PromiseError, match="lost its sound"):
        examine(path, KEY, MARK, TAG, sound_marked=True)
    harm(path)
    with pytest.raises(error):
        examine(path, KEY, MARK, TAG, sound_marked=False)


def test_the_gate_refuses_a_mark_that_an_attack_takes_away(tmp_path: Path) -> None:
    """Readable as it is, yet fainter than what others do to it: there is such a strength."""
    path, smooth, said = tmp_path / "a.mp4", cv2.blur(picture(0), (25, 25)), []
    for strength_db in range(64, 44, -2):
        marker = Marker(KEY, MARK, gop=24, strength_db=strength_db)
        with VideoWriter(path, WIDTH, HEIGHT, FPS, Encoding(crf=4, preset="veryfast")) as out:
            for _ in range(4):
                out.write(marker(smooth))
        append_to_mp4(path, TAG)
        try:
            examine(path, KEY, MARK, TAG, sound_marked=False)
        except MediaError as error:
            said.append(str(error))
    assert any("after an attack" in each for each in said)
    assert len(said) < 10
