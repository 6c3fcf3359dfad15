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
from forgeline.video import Encoding, VideoWriter, open_video
from watermark.evidence import Evidence, score
from watermark.keys import DEMO, ShardKey, master
from watermark.payload import Mark, code_length, decode, encode, payload, proven
from watermark.strength import Marker
from watermark.tile import bits_for, folded, layout, signs

SHARED = Path(__file__).parents[2] / "shared"
DEMO_KEY = master(DEMO)
KEY = DEMO_KEY.shard("tests")


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
    mark, marker = mark_for(side), Marker(KEY, mark_for(side), gop=24)
    release = coded([marker(picture) for picture in scene(side, 24)], tmp_path / "a.mp4", 18, gop=24)
    for crf in (23, 32):
        again = evidence(coded(release, tmp_path / "b.mp4", crf), mark)
        assert again.carries(KEY, mark), f"crf {crf}"
        assert again.matched(KEY, mark) > 0.6 * code_length(mark.bits) ** 0.5


@pytest.mark.parametrize("name", ["sbwe5n", "pwij3p"])
def test_real_faces_on_video_read_back_at_hardly_more_bytes(tmp_path: Path, name: str) -> None:
    path = SHARED / "media" / "grid" / f"{name}.mpg"
    if not path.exists():
        pytest.skip("the GRID clips are not here")
    clip = open_video(path)
    mark = Mark(0xFACE, bits_for(clip.width, clip.height))
    marker, pictures = Marker(KEY, mark, gop=24), list(clip.pictures())[:48]
    release = coded([marker(picture) for picture in pictures], tmp_path / "a.mp4", 18, gop=24)
    coded(pictures, tmp_path / "unmarked.mp4", 18, gop=24)
    assert (tmp_path / "a.mp4").stat().st_size < 1.1 * (tmp_path / "unmarked.mp4").stat().st_size
    assert evidence(coded(release, tmp_path / "b.mp4", 32), mark).carries(KEY, mark)


def test_one_good_picture_is_not_drowned_by_many_bad_ones() -> None:
    """As in moving video, where the encoder keeps the mark in the key pictures alone; a plain mean fails here."""
    mark, pictures = mark_for(256), scene(256, 40)
    shown = [Marker(KEY, mark)(pictures[0]), *pictures[1:]]
    assert evidence(shown, mark).carries(KEY, mark)
    plan = layout(KEY.layout, mark.bits)
    mean = plan.soft(np.mean([plan.bins(folded(picture)) for picture in shown], 0), signs(KEY, mark.bits))
    assert proven(decode(mean[None])[0], KEY.secret) is None


def jpeg(picture: Picture, quality: int = 50) -> Picture:
    coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(coded, cv2.IMREAD_COLOR)[..., ::-1])


def middle(picture: Picture) -> Picture:
    """What a crop to 80 % leaves, in its place."""
    left, (height, width) = np.zeros_like(picture), picture.shape[:2]
    inside = slice(height // 10, -(height // 10)), slice(width // 10, -(width // 10))
    left[inside] = picture[inside]
    return left


def scaled(picture: Picture, scale: float, quality: int = 100) -> Picture:
    """As JPEG of that quality, and back to size."""
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    back = cv2.resize(jpeg(np.asarray(small, np.uint8), quality), picture.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(back, np.uint8)


def turned(picture: Picture) -> Picture:
    """By two degrees, and back."""
    size = picture.shape[1::-1]
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), 2, 1)
    once = cv2.warpAffine(picture, turn, size, flags=cv2.INTER_LINEAR)
    return np.asarray(cv2.warpAffine(once, turn, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP), np.uint8)


def jittered(picture: Picture) -> Picture:
    """Brighter by 1.2, more colourful by 1.3, of 1.15 times the contrast."""
    bright = picture * 1.2
    grey = bright.mean(2, keepdims=True)
    return np.clip((grey + (bright - grey) * 1.3 - 128) * 1.15 + 128, 0, 255).astype(np.uint8)


def noisy(picture: Picture) -> Picture:
    return np.clip(picture + np.random.default_rng(5).normal(0, 15, picture.shape), 0, 255).astype(np.uint8)


ATTACKS: dict[str, Callable[[Picture], Picture]] = {
    "none": lambda picture: picture,
    "jpeg 50": jpeg,
    "jpeg 30": lambda picture: jpeg(picture, 30),
    "a quarter of the size": lambda picture: scaled(picture, 0.25),
    "half the size, jpeg 75": lambda picture: scaled(picture, 0.5, 75),
    "noise": noisy,
    "the middle alone": middle,
    "jitter": jittered,
    "turned": turned,
}


def photographs() -> Iterator[Picture]:
    yield scene(512, 1)[0]
    for name in ("kodim04", "kodim13"):  # a face, and the most textured of all
        path = SHARED / "media" / "kodak" / f"{name}.png"
        if path.exists():
            picture = cv2.imread(str(path))[..., ::-1]
            yield np.ascontiguousarray(picture[:512, :512])


def psnr(picture: Picture, other: Picture) -> float:
    return float(10 * np.log10(255**2 / np.mean((picture.astype(int) - other) ** 2)))


def test_an_image_is_marked_faintly_and_read_after_what_images_go_through() -> None:
    mark = mark_for(512)
    for picture in photographs():
        marker = Marker(KEY, mark)
        marked = marker(picture)
        assert psnr(marked, picture) > 42
        for name, attack in ATTACKS.items():
            assert evidence([attack(marked)], mark).carries(KEY, mark), f"{name}, {marker.strength_db} dB"


def test_a_small_image_is_read_after_jpeg_50_and_from_its_middle() -> None:
    mark = mark_for(256)
    for picture in photographs():
        small = np.asarray(cv2.resize(picture, (256, 256), interpolation=cv2.INTER_AREA), np.uint8)
        marked = Marker(KEY, mark)(small)
        for attacked in (jpeg(marked), middle(marked)):
            assert evidence([attacked], mark).carries(KEY, mark)


def rough(side: int, seed: int = 0) -> Picture:
    return np.clip(scene(side, 1)[0] + np.random.default_rng(seed).normal(0, 60, (side, side, 1)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [256, 512])
def test_a_painted_picture_is_marked_exactly_as_strongly_as_a_photograph(side: int) -> None:
    """Painted faces are smoother: a mark as faint as each picture allows would say which it is. Nor does clipping say it."""
    filmed = scene(side, 1)[0]
    painted = np.asarray(cv2.GaussianBlur(filmed, (0, 0), 3), np.uint8)
    dark = np.asarray(np.maximum(filmed, 90) - 90, np.uint8)
    for picture in (filmed, painted, dark):
        assert psnr(Marker(KEY, mark_for(side))(picture), picture) == pytest.approx(45.5 - 3.5 * np.log2(512 / side), abs=0.005)


def test_a_rough_image_and_a_rough_film_are_marked_more() -> None:
    for gop in (1, 24):
        usual, more = Marker(KEY, mark_for(512), gop), Marker(KEY, mark_for(512), gop)
        usual(scene(512, 1)[0])
        more(rough(512))
        assert usual.strength_db > more.strength_db + 1.5


@pytest.mark.parametrize("gop", [1, 24])
def test_the_faintest_strength_is_taken_that_holds(gop: int) -> None:
    """Against the definition: by trying each strength in turn."""
    picture = noisy(noisy(scene(256, 1)[0]))
    if gop == 1:
        picture = np.clip(picture + np.random.default_rng(3).normal(0, 40, (256, 256, 1)), 0, 255).astype(np.uint8)
    mark, marker = mark_for(256), Marker(KEY, mark_for(256), gop)
    marker(picture)
    assert 40.1 < marker.strength_db < (42 if gop == 1 else 48)

    def holds(strength_db: float) -> bool:
        marked = Marker(KEY, mark, strength_db=strength_db)(picture)
        attacked = [jpeg(marked, 20)] if gop > 1 else [scaled(marked, 0.5, 75), jpeg(marked, 40)]
        return all(evidence([one], mark).matched(KEY, mark) > 0.72 * 114**0.5 for one in attacked)

    held = [step / 2 for step in range(76, 101) if holds(step / 2)]
    assert marker.strength_db == pytest.approx(max(held), abs=1.0)  # JPEG of grey alone is not quite that of colours


def test_a_pattern_stays_where_the_scene_does_and_fades_where_something_moves() -> None:
    first = scene(256, 1)[0]
    second = first.copy()
    second[64:192, 128:] = scene(256, 1, seed=9)[0][64:192, 128:]
    marker = Marker(KEY, mark_for(256), gop=3)
    changes = [marker(picture).astype(int) - picture for picture in (first, second, first)]
    moved, still = (slice(80, 176), slice(150, 240)), (slice(None), slice(0, 96))
    assert np.array_equal(changes[0][still], changes[1][still])
    assert np.array_equal(changes[0], changes[2])
    assert np.abs(changes[1][moved]).mean() < 0.4 * np.abs(changes[0][moved]).mean()


def test_each_group_of_pictures_is_marked_for_itself() -> None:
    pictures = [*scene(256, 3), noisy(scene(256, 1, seed=4)[0])]
    marker = Marker(KEY, mark_for(256), gop=3)
    strengths = []
    for picture in pictures:
        marked = marker(picture)
        strengths.append(marker.strength_db)
    assert strengths[0] == strengths[1] == strengths[2] != strengths[3]
    assert np.array_equal(marked, Marker(KEY, mark_for(256), gop=3)(pictures[3]))


def test_clips_that_change_their_size_are_refused() -> None:
    marker = Marker(KEY, mark_for(256), gop=24)
    marker(scene(256, 1)[0])
    with pytest.raises(PromiseError, match="changes its size to 254x256"):
        marker(scene(256, 1)[0][:, :254])


def test_a_picture_that_drowns_any_mark_is_refused_as_the_clip_s_fault() -> None:
    dice = np.random.default_rng(0).integers(0, 2, (128, 128, 1), np.uint8) * np.full(3, 255, np.uint8)
    with pytest.raises(MediaError, match="too textured to carry the mark"):
        Marker(KEY, mark_for(128))(dice)
    Marker(KEY, mark_for(128), gop=24)(dice)  # a video's other pictures may carry it


def test_a_small_picture_of_rough_texture_is_marked_until_it_reads() -> None:
    """Far below what suits others of its size, rather than not at all."""
    mark = mark_for(128)
    for seed in range(3):
        rough = np.random.default_rng(seed).normal(0, 90, (64, 64, 1))
        picture = np.clip(128 + cv2.resize(rough, (128, 128))[..., None], 0, 255).astype(np.uint8).repeat(3, 2)
        marker = Marker(KEY, mark)
        assert evidence([jpeg(marker(picture))], mark).carries(KEY, mark)
        assert marker.strength_db < 38


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
    changes = [Marker(KEY, Mark(index * 3276, 32), strength_db=44)(picture).astype(int) - picture for index in range(20)]
    powers = [10 * np.log10(np.mean(change**2)) for change in changes]
    assert max(powers) - min(powers) < 0.2
    assert max(abs(change.mean()) for change in changes) < 0.1


def test_the_strength_is_what_was_asked_for() -> None:
    picture = scene(512, 1)[0]
    for strength in (36, 42, 46):
        marker = Marker(KEY, mark_for(512), strength_db=strength)
        assert psnr(marker(picture), picture) == pytest.approx(strength, abs=0.4)
        assert marker.strength_db == strength


@pytest.mark.parametrize("side", [128, 512])
def test_flat_black_and_white_pictures_carry_the_mark(side: int) -> None:
    for level in (0, 128, 255):
        marked = Marker(KEY, mark_for(side))(np.full((side, side, 3), level, np.uint8))
        assert evidence([jpeg(marked)], mark_for(side)).carries(KEY, mark_for(side)), level


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
        Marker(KEY, Mark(1, 32))(np.zeros((126, 200, 3), np.uint8))
    assert [bits_for(128, 900), bits_for(398, 398), bits_for(400, 400)] == [32, 32, 64]


def test_sizes_that_are_no_whole_tiles_are_marked_to_the_edge() -> None:
    picture = scene(400, 1)[0][:128, :398]
    marked = Marker(KEY, Mark(7, 32))(picture)
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
    pinned = {64: "38dfb3786ab278fc", 32: "ac2f2b228d13b58a"}
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
