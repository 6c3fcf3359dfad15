"""Enhancement of faces: what it takes out, what it raises, and that nothing else changes."""

from collections.abc import Sequence
from dataclasses import fields, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from forgeline.clip import Clip, Picture, Track
from forgeline.errors import MediaError, ModelError, WeightsError
from forgeline.faces import track_faces
from forgeline.video import open_video
from generators.align import ffhq, five, place
from generators.restore import Restore
from tests import tiny_onnx
from tests.people import FRAMES, GRID, HEIGHT, UNSEEN, WIDTH, drawn, finder
from tests.tiny_onnx import enlarger, put, restorer

Frames = list[tuple[Picture, NDArray[np.uint8]]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    return tmp_path


def by_net(folder: Path, method: str, content: bytes, **settings: Any) -> Restore:
    return Restore.model_validate({"method": method, "net": put(folder, "net.onnx", content), **settings})


def restored(generator: Restore, clip: Clip, seed: int = 0) -> Frames:
    return [(picture, mask) for picture, mask in generator([clip], np.random.default_rng(seed)).pictures if mask is not None]


def still(pictures: Sequence[Picture], clip: Clip) -> Clip:
    """These pictures with the face of the clip's first frame, wherever they show it."""
    assert clip.track is not None
    rows = np.zeros(len(pictures), int)
    track = Track(*(getattr(clip.track, field.name)[rows] for field in fields(Track)))
    return replace(clip, frames=len(pictures), pictures=lambda: iter(pictures), track=track)


def detail(picture: Picture, where: NDArray[np.bool_]) -> float:
    light = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(np.abs(light - cv2.GaussianBlur(light, (0, 0), 4))[where].mean())


# --------------------------------------------------------------------------------------------- classical


def test_only_the_face_changes_and_only_where_it_is_seen() -> None:
    clip = drawn(1)
    frames = restored(Restore(), clip)
    for number, ((picture, mask), original) in enumerate(zip(frames, clip.pictures(), strict=True)):
        assert np.array_equal(picture[mask == 0], original[mask == 0])
        assert mask.any() == (number != UNSEEN)
        if number != UNSEEN:
            assert (picture != original).any(2)[mask == 255].mean() > 0.6
            assert clip.track is not None
            y, x = np.nonzero(mask)
            box = clip.track.box[number]
            assert x.min() >= box[0] - 4
            assert x.max() <= box[2] + 4
            assert y.min() >= box[1] - 4
            assert y.max() <= box[3] + 4


def test_detail_is_raised_and_noise_is_not() -> None:
    clip = drawn(1)
    clean = cv2.GaussianBlur(next(iter(clip.pictures())), (0, 0), 2)
    rng = np.random.default_rng(0)
    noisy = [np.clip(clean + rng.normal(0, 3, clean.shape), 0, 255).astype(np.uint8) for _ in range(12)]
    frames = restored(Restore(detail=1.0), still(noisy, clip))
    face = frames[0][1] == 255
    mean = np.mean([picture for picture, _ in frames[4:]], axis=0).astype(np.uint8)
    assert detail(mean, face) > 1.15 * detail(np.mean(noisy[4:], axis=0).astype(np.uint8), face)
    flicker = [np.std([picture[face].mean(1) for picture in pictures], axis=0).mean() for pictures in (
        [picture for picture, _ in frames[4:]], noisy[4:])]  # fmt: skip
    assert flicker[0] < 0.7 * flicker[1]


def test_it_follows_a_face_that_moves() -> None:
    """A face that moves by whole pixels is enhanced just as if it stood still: what is remembered moves with it, also when
    the picture's edge cuts off more and more of it."""
    clip, steps = drawn(1), -5 * np.arange(12)
    first = next(iter(clip.pictures()))
    standing = still([first] * len(steps), clip)
    assert standing.track is not None
    mesh = standing.track.mesh + steps.astype(np.float32)[:, None, None] * np.array([1, 0, 0], np.float32)
    moving = still([np.roll(first, step, axis=1) for step in steps], clip)
    moving = replace(moving, track=replace(standing.track, mesh=mesh))
    there, here = restored(Restore(), moving), restored(Restore(), standing)
    for number in (9, 10):  # the smoothed mesh lags behind at first, and what was remembered then fades
        back = np.roll(there[number][0], -steps[number], axis=1).astype(int)
        assert np.abs(back - here[number][0])[:, 25 - steps[number] :].max() <= 2


def test_another_scene_shows_nothing_of_the_one_before() -> None:
    clip = drawn(1)
    first = next(iter(clip.pictures()))
    other = np.clip(first[:, ::-1].astype(int) + 40, 0, 255).astype(np.uint8)
    mixed, alone = restored(Restore(), still([first] * 3 + [other] * 2, clip)), restored(Restore(), still([other] * 2, clip))
    assert np.abs(mixed[3][0].astype(int) - alone[0][0]).max() <= 4


def test_each_clip_gets_an_amount_of_its_own() -> None:
    clip = drawn(2)
    one, again, other = (restored(Restore(), clip, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one[0], again[0], strict=True))
    assert not np.array_equal(one[0][0], other[0][0])
    assert np.array_equal(one[0][1], other[0][1])


def test_a_clip_without_a_track_is_all_face() -> None:
    clip = drawn(1)
    portrait = next(iter(clip.pictures()))
    picture = Clip("image", WIDTH, HEIGHT, clip.fps * 0, 1, lambda: iter([portrait]), lambda: None)
    made = Restore()([picture], np.random.default_rng(0))
    ((enhanced, mask),) = made.pictures
    assert made.media_type == "image"
    assert made.segments == ()
    assert mask is not None
    assert (mask == 255).all()
    assert detail(enhanced, mask == 255) > 1.1 * detail(portrait, mask == 255)


def test_faces_that_cannot_be_worked_on() -> None:
    clip = drawn(1)
    assert clip.track is not None
    blind = replace(clip, track=replace(clip.track, seen=np.zeros(FRAMES, np.bool_)))
    with pytest.raises(MediaError, match="person 1: shows no face"):
        Restore()([blind], np.random.default_rng(0))
    outside = replace(clip, track=replace(clip.track, mesh=clip.track.mesh + WIDTH))
    with pytest.raises(MediaError, match="person 1: shows no face of 16 pixels"):
        Restore()([outside], np.random.default_rng(0))


def test_a_face_that_leaves_the_picture_is_worked_on_while_its_middle_is_there() -> None:
    clip = drawn(1)
    assert clip.track is not None
    away = np.linspace(0, 1.2 * WIDTH, FRAMES, dtype=np.float32)[:, None, None] * np.array([1, 0, 0], np.float32)
    leaving = replace(clip, track=replace(clip.track, mesh=clip.track.mesh + away))
    frames = restored(Restore(), leaving)
    changed = [bool(mask.any()) for _, mask in frames]
    assert changed[0]
    assert not changed[-1]
    assert frames[3][1][:, -1].any(), "a face that the picture cuts off has no edge there"


@pytest.mark.parametrize("name", ["bbaf2n", "pwij3p"])
def test_footage_flickers_no_more_than_it_did(name: str) -> None:
    face_finder = finder()
    before = list(islice(open_video(GRID / f"{name}.mpg").pictures(), 16))
    height, width = before[0].shape[:2]
    clip = Clip("video", width, height, Fraction(25), len(before), lambda: iter(before), lambda: None, name=name)
    frames = restored(Restore(), replace(clip, track=track_faces(clip, face_finder)[0]))

    def flicker(pictures: Sequence[Picture]) -> float:
        light = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) for picture in pictures]
        rough = [np.abs(a - 2 * b + c) for a, b, c in zip(light, light[1:], light[2:], strict=False)]
        return float(np.mean([r[mask == 255].mean() for r, (_, mask) in zip(rough, frames[1:], strict=False)]))

    assert flicker([picture for picture, _ in frames]) < flicker(before)
    sharper = [detail(new, mask == 255) / detail(old, mask == 255) for (new, mask), old in zip(frames, before, strict=True)]
    assert np.mean(sharper) > 1.15


# --------------------------------------------------------------------------------------------- by a net


@pytest.mark.parametrize("scale", [1, 2, 4])
@pytest.mark.parametrize("side", [None, 64])
def test_super_resolution_comes_back_at_the_size_it_came_from(folder: Path, scale: int, side: int | None) -> None:
    clip = drawn(1)
    frames = restored(by_net(folder, "super_resolution", enlarger(scale, brighter=0.1, side=side)), clip)
    for number, ((picture, mask), original) in enumerate(zip(frames, clip.pictures(), strict=True)):
        assert picture.shape == original.shape
        assert np.array_equal(picture[mask == 0], original[mask == 0])
        assert mask.any() == (number != UNSEEN)
        if mask.any():
            smooth = (cv2.GaussianBlur(p, (0, 0), 2).astype(int) for p in (picture, original))
            gained = np.subtract(*smooth)[cv2.erode(mask, np.ones((9, 9))) == 255]
            assert abs(np.median(gained) - 25.5) < 1.5
            assert np.percentile(np.abs(gained - 25.5), 95) < 6


def test_face_restoration_sees_the_face_as_ffhq_shows_it(folder: Path) -> None:
    """A net that paints a dot where each of the five points should be, and black elsewhere: they lie on the face's own."""
    side = 128
    y, x = np.mgrid[:side, :side]
    dots = sum(np.exp(-(np.square(x - px) + np.square(y - py)) / 8) for px, py in ffhq(side))
    generator = by_net(folder, "face_restoration", restorer(side, 0.0, np.stack([2 * dots - 1] * 3)))
    clip = drawn(1)
    assert clip.track is not None
    for number, (picture, mask) in enumerate(restored(generator, clip)):
        if not mask.any() or number in (UNSEEN - 1, UNSEEN + 1):  # beside it the mesh is smoothed over fewer frames
            continue
        mesh = clip.track.mesh[number]
        at = place(five(mesh), ffhq(side))
        wanted = np.linalg.solve(at[:, :2], (ffhq(side) - at[:, 2]).T).T
        for px, py in wanted:
            window = picture[round(py) - 3 : round(py) + 4, round(px) - 3 : round(px) + 4, 0].astype(float)
            assert window.max() > 150
            offset = np.mgrid[-3:4, -3:4]
            found = (offset * window).sum((1, 2)) / window.sum() + (round(py), round(px))
            np.testing.assert_allclose(found, (py, px), atol=0.75)


@pytest.mark.parametrize(("levels", "grey"), [(None, 127.5), ("-1..1", 127.5), ("0..1", 0)])
def test_levels_are_what_the_net_takes_and_gives(folder: Path, levels: str | None, grey: float) -> None:
    frames = restored(by_net(folder, "face_restoration", restorer(64, 0.0), levels=levels), drawn(1))
    picture, mask = frames[0]
    assert np.abs(picture[mask == 255] - grey).max() <= 0.5
    kept = restored(by_net(folder, "face_restoration", restorer(256), levels=levels), drawn(1))
    original = next(iter(drawn(1).pictures())).astype(int)
    assert (
        np.abs(
            cv2.GaussianBlur(kept[0][0], (0, 0), 2).astype(int) - cv2.GaussianBlur(original.astype(np.uint8), (0, 0), 2)
        ).max()
        < 6
    )


@pytest.mark.parametrize("method", ["super_resolution", "face_restoration"])
def test_a_painted_portrait_is_restored_whole(folder: Path, method: str) -> None:
    portrait = next(iter(drawn(1).pictures()))[:176]
    picture = Clip("image", WIDTH, 176, drawn(1).fps * 0, 1, lambda: iter([portrait]), lambda: None)
    content = restorer(176) if method == "face_restoration" else enlarger(2)
    ((kept, mask),) = restored(by_net(folder, method, content), picture)
    assert (mask == 255).all()
    difference = np.abs(kept.astype(int) - portrait)
    assert difference.max() <= (0 if method == "face_restoration" else 60)
    assert np.median(difference) <= 2


def test_what_its_process_is_called_depends_on_the_net(folder: Path) -> None:
    assert Restore().source_type == "algorithmicallyEnhanced"
    assert by_net(folder, "super_resolution", enlarger(2)).source_type == "compositeWithTrainedAlgorithmicMedia"


@pytest.mark.parametrize(
    ("method", "content", "said"),
    [
        ("face_restoration", enlarger(2, side=64), r"is no net for face_restoration: it makes \(1, 3, 128, 128\).*same size"),
        ("super_resolution", enlarger(16), "is no net for super_resolution: .*larger by a whole number"),
        ("super_resolution", tiny_onnx.embedder(), r"is no net for super_resolution: it makes \(1, 512\)"),
        ("super_resolution", tiny_onnx.swapper(0.5), "is no net for super_resolution: it takes target"),
        ("super_resolution", b"no net", "can't be opened"),
    ],
    ids=["wrong method", "too large", "embedder", "swapper", "no net"],
)
def test_a_net_that_does_something_else_is_refused(folder: Path, method: str, content: bytes, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        by_net(folder, method, content)([drawn(1)], np.random.default_rng(0))


def test_a_file_that_is_not_there_or_another_is_refused(folder: Path) -> None:
    generator = by_net(folder, "super_resolution", enlarger(3, brighter=0.01))
    (folder / "net.onnx").write_bytes(enlarger(2))
    with pytest.raises(WeightsError, match=r"net\.onnx: has SHA-256"):
        generator([drawn(1)], np.random.default_rng(0))
    (folder / "net.onnx").unlink()
    with pytest.raises(WeightsError, match=r"net\.onnx: is not on this machine"):
        generator([drawn(1)], np.random.default_rng(0))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"method": "super_resolution"}, "names no net for super_resolution"),
        ({"net": {"file": "a.onnx", "sha256": "0" * 64, "licence": "ours"}}, "has a net without a method that uses it"),
        ({"levels": "0..1"}, "has levels, but no net"),
        ({"detail": 0.0}, "greater than 0"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Restore.model_validate(settings)
