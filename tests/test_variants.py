"""Variants: sealed videos as others pass them on, the same for both classes, with their parents' marks."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from flows import workspace
from flows.audit import audit
from flows.matched import made, matched, varied
from flows.params import Params, load_params
from flows.variants import variants
from forgeline.clip import Clip, Made, Mask, Picture, Segment, Sound
from forgeline.degrade import Light, Variant
from forgeline.errors import FactoryError, MediaError
from forgeline.manifest import read_manifest, write_manifest
from forgeline.recode import Codec, Network, through
from forgeline.video import Encoding, open_video, read_masks
from tests.conftest import Checkout
from watermark.gate import ATTACKED
from watermark.keys import DEMO, master
from watermark.metadata import Tag
from watermark.payload import Mark
from watermark.seal import Seal, seal, seal_variant


@pytest.fixture
def params(tiny: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """A workspace with a copy of what the tiny checkout made, as current folder; and its params."""
    shutil.copy2(tiny.path / "params.yaml", tmp_path)
    for name in ("real", "plan", "made", "variants", "audit"):
        shutil.copytree(tiny.path / "data" / name, tmp_path / "data" / name)
    monkeypatch.chdir(tmp_path)
    return load_params()


def test_every_video_has_its_variant_and_keeps_its_mark(params: Params) -> None:
    masters = {s.sample_id: s for s in made(params.generators) if s.media_type == "video"}
    rows = varied(params.variants)
    assert {s.sample_id for s in rows} == {f"{name}-c40" for name in masters}
    for row in rows:
        parent = masters[row.sample_id.removesuffix("-c40")]
        same = ("label", "role", "split", "mark_id", "mark_key_id", "parents", "segments", "frames", "width", "mask")
        assert all(getattr(row, name) == getattr(parent, name) for name in same)
        assert (row.variant, row.pair_id) == ("c40", f"{parent.pair_id}-c40")
        assert row.scores["mark_score"] >= ATTACKED
        assert row.bytes < parent.bytes


def test_the_audit_misses_a_variant(params: Params) -> None:
    path = workspace.VARIANTS / "c40" / workspace.MANIFEST
    gone, *rest = read_manifest(path)
    write_manifest(path, rest)
    assert not audit(params)
    write_manifest(path, [gone, *rest])
    assert audit(params)


def test_a_variant_that_fails_takes_its_pair_with_it(params: Params) -> None:
    path = workspace.VARIANTS / "c40" / workspace.MANIFEST
    rows = read_manifest(path)
    control = next(s for s in rows if s.role == "control")
    write_manifest(path, [replace(s, reason="lost") if s == control else s for s in rows])
    assert audit(params)
    left = [s for s in matched([*made(params.generators), *varied(params.variants)]) if s.reason is None]
    assert control.pair_id not in {s.pair_id for s in left}
    assert str(control.pair_id).removesuffix("-c40") in {s.pair_id for s in left}


def test_what_would_be_enlarged_is_a_row_with_a_reason(params: Params) -> None:
    named = params.model_copy(update={"variants": {"720p": Variant(short_side=720)}})
    rows = variants("720p", named)
    assert rows
    assert all(s.reason is not None and "nothing is scaled up" in s.reason for s in rows)
    with pytest.raises(FactoryError, match="is not in params"):
        variants("240p", named)


def test_a_pair_gets_the_same_noise_and_the_same_losses(params: Params) -> None:
    call = Variant(light=Light(noise=20), network=Network(kbps=5000, skipped=0.5), encoding=Encoding(crf=10))
    named = params.model_copy(update={"variants": {"call": call}})
    repeats: dict[str | None, set[tuple[int, ...]]] = {}
    for row in variants("call", named):
        assert row.reason is None
        pictures = np.stack(list(open_video(Path(row.media)).pictures())).astype(float)
        steps = np.abs(np.diff(pictures, axis=0)).mean(axis=(1, 2, 3))  # noise is new in every picture that was sent
        repeats.setdefault(row.pair_id, set()).add(tuple(np.flatnonzero(steps < steps.max() / 3).tolist()))
    assert all(len(found) == 1 for found in repeats.values())
    assert len(set.union(*repeats.values())) == len(repeats) > 1


def clip(pictures: Sequence[Picture], sound: Sound | None = None) -> Clip:
    height, width = pictures[0].shape[:2]
    return Clip("video", width, height, Fraction(25), len(pictures), lambda: iter(pictures), lambda: sound, name="a.mp4")


def flat(width: int, height: int) -> Clip:
    return clip([np.full((height, width, 3), shade, np.uint8) for shade in (10, 200)])


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize(("width", "height", "size"), [(642, 480, (320, 240)), (480, 642, (240, 320)), (480, 480, (240, 240))])
def test_pictures_and_masks_shrink_together(width: int, height: int, size: tuple[int, int]) -> None:
    masks = [np.zeros((height, width), np.uint8), np.full((height, width), 255, np.uint8)]
    small = Variant(short_side=240)(flat(width, height), lambda: iter(masks), (), chance())
    assert (small.width, small.height) == size
    assert small.frames == 2
    for (picture, mask), shade, level in zip(small.pictures, (10, 200), (0, 255), strict=True):
        assert mask is not None
        assert picture.shape[1::-1] == mask.shape[::-1] == size
        assert (picture.min(), picture.max(), mask.min(), mask.max()) == (shade, shade, level, level)


@pytest.mark.parametrize("short_side", [480, 720])
def test_nothing_is_enlarged_or_kept_under_another_name(short_side: int) -> None:
    for wide_or_upright in (flat(642, 480), flat(480, 642)):
        with pytest.raises(MediaError, match="nothing is scaled up"):
            Variant(short_side=short_side)(wide_or_upright, None, (), chance())


def test_masks_stay_the_parents_where_nothing_moves_them() -> None:
    copy = Variant(light=Light(left=0.5))(flat(160, 128), lambda: iter([np.zeros((128, 160), np.uint8)] * 2), (), chance())
    assert [mask for _, mask in copy.pictures] == [None, None]


def test_night_is_dim_grey_and_as_noisy_in_every_clip() -> None:
    def night(shade: tuple[int, int, int]) -> list[NDArray[np.float64]]:
        day = clip([np.full((160, 160, 3), shade, np.uint8)] * 2)
        made = Variant(light=Light(left=0.5, grey=True, noise=4))(day, None, (), chance(1))
        return [picture.astype(float) for picture, _ in made.pictures]

    first, second = night((90, 90, 90))
    assert abs(first.mean() - 45) < 0.5
    assert abs(first.std() - 4) < 0.3
    assert np.ptp(first, axis=2).max() == 0
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.05
    assert np.array_equal(night((130, 130, 130))[0] - 20, first)
    assert np.ptp(night((200, 90, 30))[0], axis=2).max() == 0


def numbered(frames: int) -> tuple[Clip, list[Mask]]:
    """Flat pictures that count by their brightness, and masks that count with them."""
    levels = [20 + 3 * number for number in range(frames)]
    return clip([np.full((128, 160, 3), level, np.uint8) for level in levels]), [
        np.full((128, 160), level, np.uint8) for level in levels
    ]


def test_masks_stay_with_their_pictures_through_encodings() -> None:
    parent, masks = numbered(70)
    twice = Variant(short_side=None, earlier=(Encoding(crf=28), Encoding(crf=30, preset="fast")))
    twice = twice.model_copy(update={"network": Network(kbps=4000)})
    seen = list(twice(parent, lambda: iter(masks), (), chance()).pictures)
    assert len(seen) == 70
    for (picture, mask), own in zip(seen, masks, strict=True):
        assert mask is not None
        assert abs(picture.mean() - mask.mean()) < 1.4
        assert np.array_equal(mask, own)


def test_a_picture_that_is_not_sent_shows_the_one_before_with_its_mask() -> None:
    parent, masks = numbered(70)
    made = Network(kbps=4000, skipped=0.3)(with_masks(parent, masks), chance(3))
    levels = []
    for picture, mask in made.pictures:
        assert mask is not None
        assert abs(picture.mean() - mask.mean()) < 1.4
        levels.append(int(mask[0, 0]))
    assert (len(levels), made.frames, made.fps) == (70, 70, Fraction(25))
    assert levels == sorted(levels)
    assert 0.15 < np.mean(np.diff(levels) == 0) < 0.5


def with_masks(parent: Clip, masks: Sequence[Mask], segments: tuple[Segment, ...] = ()) -> Made:
    pictures = zip(parent.pictures(), masks, strict=True)
    return Made("video", parent.width, parent.height, parent.fps, parent.frames, pictures, parent.sound(), segments)


def test_masks_and_segments_hold_what_damage_still_shows() -> None:
    pictures: list[Picture] = []
    masks: list[Mask] = []
    rng = np.random.default_rng(0)
    room = rng.integers(60, 90, (128, 160, 1), np.uint8).repeat(3, axis=2)
    for number in range(60):
        picture, mask = room.copy(), np.zeros((128, 160), np.uint8)
        if 10 <= number < 40:  # a bright thing that moves, and is gone again
            mask[20:100, 3 * number - 20 : 3 * number + 10] = 255
            picture[mask > 0] = 230
        pictures.append(picture)
        masks.append(mask)
    changed = (Segment(0.4, 1.6, "video"), Segment(0.5, 0.7, "audio"))
    made = Network(kbps=4000, lost=0.1)(with_masks(clip(pictures), masks, changed), chance(5))
    *video, audio = made.segments
    assert audio == changed[1]
    ghosts = moved = 0
    for number, (picture, seen) in enumerate(made.pictures):
        assert seen is not None
        bright = cv2.erode((picture.mean(axis=2) > 150).astype(np.uint8), np.ones((5, 5))) > 0
        assert not (bright & (seen == 0)).any()
        ghosts += int((bright & (masks[number] == 0)).any())
        moved += int(not np.array_equal(seen, masks[number]))
        within = any(s.start_s <= number / 25 < s.end_s for s in video)
        assert within or not seen.any()
        assert within or number < 10 or number >= 40
    assert ghosts > 5
    assert moved < 50


@pytest.mark.parametrize("skipped", [0.1, 0.5])
def test_as_much_is_skipped_as_params_say_and_in_bursts(skipped: float) -> None:
    parent = clip([np.full((128, 160, 3), 2 * (number % 100), np.uint8) for number in range(2000)])
    masks = [np.full((128, 160), number % 251, np.uint8) for number in range(2000)]
    made = Network(kbps=100, skipped=skipped)(with_masks(parent, masks), chance(1))
    shown = np.array([-1 if mask is None else int(mask[0, 0]) for _, mask in made.pictures])
    stuck = shown[1:] == shown[:-1]
    assert np.mean(stuck) == pytest.approx(skipped, rel=0.25)
    begins = np.count_nonzero(stuck[1:] & ~stuck[:-1])
    assert 2 < np.count_nonzero(stuck) / begins < 4


def test_what_is_lost_does_not_depend_on_the_pictures() -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (128, 160, 3), np.uint8) for _ in range(50)]
    poor = Network(kbps=3000, skipped=0.2, lost=0.05)
    masks = [np.zeros((128, 160), np.uint8)] * 50
    assert poor(with_masks(clip(pictures), masks), chance(2)).segments == ()

    def unlike(parent: Clip) -> list[bool]:
        """Whether each picture moved on from the one before."""
        seen = [picture for picture, _ in poor(with_masks(parent, masks), chance(2)).pictures]
        return [not np.array_equal(a, b) for a, b in pairwise(seen)]

    assert unlike(clip(pictures)) == unlike(clip([255 - picture for picture in pictures]))


def test_a_bitrate_costs_detail_and_swings() -> None:
    rng = np.random.default_rng(0)
    wall = cv2.resize(rng.uniform(0, 255, (40, 200, 1)), (800, 160), interpolation=cv2.INTER_CUBIC).clip(0, 255)
    parent = clip([wall[:, 5 * n : 5 * n + 192, None].repeat(3, axis=2).astype(np.uint8) for n in range(100)])

    def errors(network: Network) -> NDArray[np.float64]:
        made = network(with_masks(parent, [np.zeros((160, 192), np.uint8)] * 100), chance(4))
        left = [np.abs(a.astype(float) - b).mean() for (a, _), b in zip(made.pictures, parent.pictures(), strict=True)]
        by_second: NDArray[np.float64] = np.array(left).reshape(4, 25).mean(axis=1)
        return by_second

    rich, poor, swinging = (errors(Network(kbps=k, swing=s)) for k, s in ((2000, 0.0), (300, 0.0), (300, 0.9)))
    assert poor.mean() > 2 * rich.mean()
    assert np.ptp(swinging) > 2 * np.ptp(poor)


@pytest.mark.parametrize("rate", [16000, 44100, 22000])
@pytest.mark.parametrize("codec", ["aac", "opus"])
def test_codecs_leave_sound_in_its_place(codec: Codec, rate: int) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, rate).astype(np.float32)
    voice = Sound(cv2.blur(noise[None], (9, 1))[0] * np.linspace(0, 1, rate, dtype=np.float32), rate)
    poor, rich = through(voice, codec, 12), through(voice, codec, 128)
    assert poor.rate == rich.rate == rate
    assert len(poor.samples) == len(rich.samples) == rate
    middle = voice.samples[rate // 2 - 2000 : rate // 2 + 2000]
    late = np.correlate(rich.samples[rate // 2 - 2050 : rate // 2 + 2050], middle, "valid").argmax() - 50
    assert late == 0
    errors = [np.std(left.samples - voice.samples) / np.std(voice.samples) for left in (rich, poor)]
    assert 3 * errors[0] < errors[1] < 1


KEY, MARK, TAG = master(DEMO).shard("tests"), Mark(4711, 32), Tag("0" * 20, "digitalCreation", "CC0-1.0", ("research",))


def voice(seconds: float) -> Sound:
    rng = np.random.default_rng(0)
    rate = 16000
    hum = sum(np.sin(2 * np.pi * 120 * k * np.arange(round(seconds * rate)) / rate) / k for k in range(1, 25))
    loud = np.abs(np.sin(np.arange(round(seconds * rate)) / 3000))
    return Sound((0.05 * hum * loud + rng.normal(0, 0.003, len(loud))).astype(np.float32), rate)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed video with a mask over its left half, and marked sound of three seconds."""
    path = tmp_path_factory.mktemp("sealed") / "a.mp4"
    rng = np.random.default_rng(0)
    still = cv2.resize(rng.uniform(40, 210, (12, 16, 3)), (336, 288), interpolation=cv2.INTER_CUBIC)
    picture = np.clip(still + rng.normal(0, 5, (288, 336, 1)), 0, 255).astype(np.uint8)
    mask = np.zeros((288, 336), np.uint8)
    mask[:, :168] = 255
    pictures = ((np.roll(picture, number // 2, axis=1), mask) for number in range(30))
    made = Made("video", 336, 288, Fraction(10), 30, pictures, voice(3), (Segment(0, 3, "video"),))
    assert seal(made, path, MARK, KEY, TAG, Seal()).verdict.sound_mark_read == "payload"
    return path


KINDS = {
    "c0": Variant(encoding=Encoding(crf=0)),
    "240p": Variant(short_side=240),
    "social_network": Variant(short_side=240, earlier=(Encoding(crf=30, gop=250),), sound_kbps=32, encoding=Encoding(crf=30)),
    "video_call": Variant(short_side=240, network=Network(kbps=200, swing=0.5, skipped=0.1, lost=0.02), sound_kbps=16),
    "cctv": Variant(
        short_side=144, light=Light(left=0.4, grey=True, noise=6), network=Network(kbps=100, lost=0.02), sound_kbps=16
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_keeps_its_mark_and_is_the_same_every_time(kind: str, sealed: Path, tmp_path: Path) -> None:
    variant, parent = KINDS[kind], open_video(sealed)

    def again() -> Made:
        return variant(parent, lambda: read_masks(sealed.with_name("a.mask.mp4")), (Segment(0, 3, "video"),), chance(7))

    one, two = (seal_variant(again, tmp_path / f"{name}.mp4", MARK, KEY, TAG, variant.encoding, True) for name in ("b", "c"))
    assert one.sha256 == two.sha256
    assert (min(one.width, one.height), one.frames, one.fps) == (variant.short_side or 288, 30, Fraction(10))
    assert one.verdict.score >= ATTACKED
    assert one.verdict.sound_mark_read is not None
    assert one.segments == (Segment(0, 3, "video"),)
    if one.mask is None:
        assert kind == "c0"
    else:
        for seen in read_masks(one.mask):
            assert seen.shape == (one.height, one.width)
            assert seen[:, : one.width // 2 - 1].min() == 255
            assert seen[:, one.width // 2 + 1 :].max() == 0


def test_c0_is_nearest_to_the_master(sealed: Path, tmp_path: Path) -> None:
    parent = open_video(sealed)

    def lost(encoding: Encoding) -> float:
        seal_variant(lambda: Variant()(parent, None, (), chance()), tmp_path / "b.mp4", MARK, KEY, TAG, encoding, False)
        pairs = zip(open_video(tmp_path / "b.mp4").pictures(), parent.pictures(), strict=True)
        return float(np.mean([np.abs(kept.astype(int).mean(axis=2) - own.mean(axis=2)).mean() for kept, own in pairs]))

    assert lost(Encoding(crf=0)) < 0.8 < 1.2 < lost(Encoding(crf=23))  # what is lost is chroma, and rounded


def test_sound_that_lost_its_mark_is_marked_again_or_says_so(sealed: Path, tmp_path: Path) -> None:
    parent, path = open_video(sealed), tmp_path / "b.mp4"

    def heard(sound: Sound, *segments: Segment) -> str | None:
        copy = Variant()(replace(parent, sound=lambda: sound), None, segments, chance())
        made = replace(copy, pictures=iter(list(copy.pictures)))
        return seal_variant(lambda: replace(made), path, MARK, KEY, TAG, Encoding(crf=23), True).verdict.sound_mark_read

    assert heard(voice(3)) == "payload"  # as it was before it was marked
    silence = Sound(np.zeros(48000, np.float32), 16000)
    assert heard(silence) is None
    with pytest.raises(MediaError, match="can't carry a mark"):
        heard(silence, Segment(1, 2, "audio"))
