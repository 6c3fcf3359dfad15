"""The mark in pictures: that it is read after what files go through, and never where it is not."""

import hashlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import kstest

from forgeline.clip import Picture
from forgeline.errors import MediaError, PromiseError
from forgeline.image import write_image
from forgeline.video import Encoding, VideoWriter, open_video
from watermark.evidence import Evidence, score
from watermark.keys import DEMO, MasterKey, ShardKey, master
from watermark.payload import Mark, decode, encode, payload, proven
from watermark.read import read
from watermark.strength import Marker
from watermark.tile import bits_for, folded, layout, signs

SHARED = Path(__file__).parents[2] / "shared"
DEMO_KEY = master(DEMO)
KEY = DEMO_KEY.shard("tests")
STRENGTH = 44.0


def texture(height: int, width: int, seed: int) -> np.ndarray:
    """Coloured detail at all scales, as photographs have: amplitude falls with frequency."""
    rng = np.random.default_rng(seed)
    total = np.full((height, width, 3), 120.0)
    size = 3
    while size < max(height, width):
        rough = rng.normal(0, 40 * (3 / size) ** 0.6, (size, size, 3))
        total += cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
        size *= 2
    return total


def scene(side: int, frames: int, seed: int = 0) -> list[Picture]:
    """A slow pan with a disc that moves the other way, and sensor noise."""
    far, near = texture(side, side + 2 * frames, seed), texture(side, side + 2 * frames, seed + 1)
    rng = np.random.default_rng(seed + 2)
    disc = np.zeros((side, side, 1))
    cv2.circle(disc, (side // 2, side // 2), side // 4, 1.0, -1, cv2.LINE_AA)
    made = []
    for index in range(frames):
        back, front = far[:, 2 * index : 2 * index + side], near[:, 2 * frames - 2 * index :][:, :side]
        mixed = back + (front - back) * disc + rng.normal(0, 1.5, (side, side, 1))
        made.append(np.clip(mixed, 0, 255).astype(np.uint8))
    return made


def mark_for(side: int) -> Mark:
    return Mark(0xBEEF, bits_for(side, side))


def coded(pictures: list[Picture], path: Path, crf: int, gop: int = 250) -> list[Picture]:
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, width, height, Fraction(25), Encoding(crf=crf, gop=gop, preset="veryfast")) as out:
        for picture in pictures:
            out.write(picture)
    return list(open_video(path).pictures())


def evidence(pictures: list[Picture], mark: Mark, key: ShardKey = KEY) -> Evidence:
    plan = layout(key.layout, mark.bits)
    found = Evidence(plan)
    for picture in pictures:
        found.add(plan.bins(folded(picture)))
    return found


@pytest.mark.parametrize("side", [128, 256, 512])
def test_video_reads_back_from_the_release_and_from_another_encode(tmp_path: Path, side: int) -> None:
    mark, marker = mark_for(side), Marker(KEY, mark_for(side), strength_db=STRENGTH)
    release = coded([marker(picture) for picture in scene(side, 24)], tmp_path / "a.mp4", 18, gop=24)
    assert evidence(release, mark).carries(KEY, mark)
    for crf in (23, 28):
        again = evidence(coded(release, tmp_path / "b.mp4", crf), mark)
        assert again.carries(KEY, mark), f"crf {crf}"
        assert again.matched(KEY, mark) > (8 if side < 512 else 10)


@pytest.mark.parametrize("name", ["sbwe5n", "pwij3p"])
def test_real_faces_on_video_read_back(tmp_path: Path, name: str) -> None:
    path = SHARED / "media" / "grid" / f"{name}.mpg"
    if not path.exists():
        pytest.skip("the GRID clips are not here")
    clip = open_video(path)
    mark = Mark(0xFACE, bits_for(clip.width, clip.height))
    marker = Marker(KEY, mark, strength_db=STRENGTH)
    release = coded([marker(picture) for picture in clip.pictures()][:48], tmp_path / "a.mp4", 18, gop=24)
    again = evidence(coded(release, tmp_path / "b.mp4", 28), mark)
    assert again.carries(KEY, mark)
    assert again.matched(KEY, mark) > 8


def test_one_good_picture_is_not_drowned_by_many_bad_ones() -> None:
    """As in moving video, where the encoder keeps the mark in the key pictures alone; a plain mean fails here."""
    mark, pictures = mark_for(256), scene(256, 40)
    shown = [Marker(KEY, mark, strength_db=STRENGTH)(pictures[0]), *pictures[1:]]
    assert evidence(shown, mark).carries(KEY, mark)
    plan = layout(KEY.layout, mark.bits)
    mean = plan.soft(np.mean([plan.bins(folded(picture)) for picture in shown], 0), signs(KEY, mark.bits))
    assert proven(decode(mean[None])[0], KEY.secret) is None


def jpeg(picture: Picture, quality: int = 50) -> Picture:
    coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])


def cropped(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    top, left = height // 10 + 3, width // 10 + 6
    return picture[top : top + height * 8 // 10 & ~1, left : left + width * 8 // 10 & ~1].copy()


ATTACKS: dict[str, Callable[[Picture], Picture]] = {
    "none": lambda picture: picture,
    "jpeg 50": jpeg,
    "half size": lambda picture: cv2.resize(picture, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "mirrored": lambda picture: picture[:, ::-1].copy(),
    "cropped to 80 %": cropped,
    "cropped and back to size": lambda picture: cv2.resize(cropped(picture), picture.shape[1::-1]),
    "mirrored, cropped, jpeg 75": lambda picture: jpeg(cropped(picture[:, ::-1]), 75),
}


def photographs() -> Iterator[Picture]:
    yield scene(512, 1)[0]
    for name in ("kodim04", "kodim13"):  # a face, and the most textured of all
        path = SHARED / "media" / "kodak" / f"{name}.png"
        if path.exists():
            picture = cv2.imread(str(path))[..., ::-1]
            yield np.ascontiguousarray(picture[:512, :512])


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_image_is_read_blindly_after(tmp_path: Path, attack: str) -> None:
    mark = mark_for(512)
    for picture in photographs():
        path = tmp_path / "a.png"
        write_image(path, ATTACKS[attack](Marker(KEY, mark)(picture)))
        reading = read(path, DEMO_KEY, ["first", "tests", "last"])
        assert reading is not None
        assert (reading.mark, reading.shard, reading.tag) == (mark, "tests", None)


def test_a_small_image_is_read_blindly_after_half_the_quality(tmp_path: Path) -> None:
    mark, path = mark_for(256), tmp_path / "a.png"
    write_image(path, jpeg(cropped(Marker(KEY, mark)(scene(256, 1)[0]))))
    reading = read(path, DEMO_KEY, ["tests"])
    assert reading is not None
    assert reading.mark == mark


def test_a_video_is_read_blindly_after_crop_and_scaling(tmp_path: Path) -> None:
    marker = Marker(KEY, mark_for(512), strength_db=STRENGTH)
    smaller = [ATTACKS["half size"](cropped(marker(picture))) for picture in scene(512, 24)]
    coded([picture[: len(picture) & ~1, : picture.shape[1] & ~1] for picture in smaller], tmp_path / "a.mp4", 23)
    reading = read(tmp_path / "a.mp4", DEMO_KEY, ["tests"])
    assert reading is not None
    assert (reading.mark, reading.shard) == (mark_for(512), "tests")


def test_the_wrong_key_reads_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    write_image(path, Marker(KEY, mark_for(512), strength_db=STRENGTH)(scene(512, 1)[0]))
    assert read(path, DEMO_KEY, ["tests"]) is not None
    assert read(path, DEMO_KEY, [f"other {index}" for index in range(500)]) is None
    assert read(path, DEMO_KEY, []) is None
    assert read(path, MasterKey("000000000000", b"\1" * 32), ["tests"]) is None


def test_unmarked_pictures_look_like_chance_to_any_key() -> None:
    """Scores of random keys are standard normal, so thresholds mean what they say; and no payload is proven."""
    mark = mark_for(512)
    keys = [DEMO_KEY.shard(f"chance {index}") for index in range(1500)]
    expected = [payload(mark, key.secret) for key in keys]
    for picture in photographs():
        soft = evidence([picture], mark).soft(keys)
        scores = [score(row, bits) for row, bits in zip(soft, expected, strict=True)]
        assert kstest(scores, "norm").pvalue > 1e-4
        assert max(scores) < 5
        likeliest = decode(soft)
        assert not any(proven(bits, key.secret) for bits, key in zip(likeliest, keys, strict=True))


def test_the_mark_says_nothing_of_what_it_is_in() -> None:
    """Whatever id a sample has, the change is equally strong: a label can't be seen in it, as only the id differs."""
    picture = scene(256, 1)[0]
    changes = [Marker(KEY, Mark(index * 3276, 32), strength_db=STRENGTH)(picture).astype(int) - picture for index in range(20)]
    powers = [10 * np.log10(np.mean(change**2)) for change in changes]
    assert max(powers) - min(powers) < 0.2
    assert max(abs(change.mean()) for change in changes) < 0.1


def test_the_strength_is_what_was_asked_for() -> None:
    picture = scene(512, 1)[0]

    def psnr(strength: float) -> float:
        marked = Marker(KEY, mark_for(512), strength_db=strength)(picture).astype(int)
        return float(10 * np.log10(255**2 / np.mean((marked - picture) ** 2)))

    for strength in (38, 42, 46):
        assert psnr(strength) == pytest.approx(strength, abs=0.4)


def test_flat_black_and_white_pictures_carry_the_mark() -> None:
    for level in (0, 128, 255):
        marked = Marker(KEY, mark_for(256), strength_db=STRENGTH)(np.full((256, 256, 3), level, np.uint8))
        assert evidence([marked], mark_for(256)).carries(KEY, mark_for(256)), level


def test_flat_beside_rough_gives_no_nan() -> None:
    """A box filter over squares can end below zero by rounding, and a root of that is no number."""
    for seed in (1, 4, 7, 10):
        luma = np.full((512, 512), 100 + seed, np.uint8)
        rows = 100 + 20 * (seed % 4)
        luma[:rows] = np.random.default_rng(seed).integers(0, 256, (rows, 512))
        coded = cv2.imencode(".jpg", luma, [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
        assert np.isfinite(folded(cv2.imdecode(coded, cv2.IMREAD_COLOR))).all()


def test_pictures_that_are_too_small_are_refused() -> None:
    with pytest.raises(MediaError, match="too small"):
        bits_for(1000, 126)
    with pytest.raises(PromiseError, match="below 128"):
        Marker(KEY, Mark(1, 32), strength_db=STRENGTH)(np.zeros((126, 200, 3), np.uint8))
    assert [bits_for(128, 900), bits_for(398, 398), bits_for(400, 400)] == [32, 32, 64]


def test_sizes_that_are_no_whole_tiles_are_marked_to_the_edge() -> None:
    picture = scene(400, 1)[0][:302, :398]
    marked = Marker(KEY, Mark(7, 32), strength_db=STRENGTH)(picture)
    assert marked.shape == picture.shape
    assert (marked[-8:] != picture[-8:]).any()
    assert (marked[:, -8:] != picture[:, -8:]).any()
    assert evidence([marked], Mark(7, 32)).carries(KEY, Mark(7, 32))


@pytest.mark.parametrize("bits", [64, 32])
def test_the_layout_is_what_it_was(bits: int) -> None:
    """A released mark must be readable by every later version, whatever numpy's generators become."""
    plan = layout(KEY.layout, bits)
    parts = [plan.ky, plan.kx, plan.sync, plan.carriers, plan.code_bit, signs(KEY, bits)]
    text = b"".join(np.asarray(part, "<i4").tobytes() for part in parts)
    pinned = {64: "d4a559c91ae0e753", 32: "dc9aa16e5c3a3113"}
    assert hashlib.sha256(text).hexdigest()[:16] == pinned[bits]


@pytest.mark.parametrize("bits", [64, 32])
def test_every_code_bit_has_its_share_of_the_band(bits: int) -> None:
    plan = layout(KEY.layout, bits)
    counts = np.bincount(plan.code_bit)
    assert counts.max() - counts.min() <= 1
    assert not set(plan.sync) & set(plan.carriers // 2)
    radius = np.hypot(plan.ky, plan.kx)[plan.carriers // 2]
    means = np.bincount(plan.code_bit, radius) / counts
    assert means.std() < 0.12 * radius.mean()


def test_soft_bits_are_plain_correlations() -> None:
    """Against the definition: the sum of a code bit's carriers, each times its sign and weight."""
    plan = layout(KEY.layout, 32)
    rng = np.random.default_rng(3)
    bins = (rng.normal(size=len(plan.ky)) + 1j * rng.normal(size=len(plan.ky))).astype(np.complex64)
    chosen = signs(KEY, 32)
    expected = np.zeros(len(encode(payload(Mark(1, 32), KEY.secret))))
    for carrier, bit, sign in zip(plan.carriers, plan.code_bit, chosen, strict=True):
        value = bins[carrier // 2].imag if carrier % 2 else bins[carrier // 2].real
        expected[bit] += value * sign * plan.amplitude[carrier // 2]
    assert np.allclose(plan.soft(bins, chosen), expected, atol=1e-4)
