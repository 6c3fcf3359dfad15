"""Swaps by a team's own nets: tiny ones, whose every pixel is known, and a real embedder where there is one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from forgeline.clip import Clip, Picture
from forgeline.errors import MediaError, ModelError, WeightsError
from forgeline.files import sha256_of
from generators.align import arcface, cut, five, place
from generators.onnx_self import OnnxSelf
from generators.onnx_swap import OnnxSwap
from generators.pose import steady
from tests import tiny_onnx
from tests.people import FRAMES, SHARED, UNSEEN, Passes, drawn, footage
from tests.tiny_onnx import MAP, embedder, put, swapper

Frames = list[tuple[Picture, NDArray[np.uint8]]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    return tmp_path


def nets(folder: Path, swap: bytes, embed: bytes | None = None, **settings: Any) -> dict[str, Any]:
    embed = embed if embed is not None else embedder()
    return {"swapper": put(folder, "swap.onnx", swap), "embedder": put(folder, "embed.onnx", embed), **settings}


def made(generator: OnnxSwap, *parents: Clip) -> Frames:
    return [(picture, mask) for picture, mask in generator(parents, np.random.default_rng(0)).pictures if mask is not None]


def mean_colour(clip: Clip, frames: list[int], side: int = 112) -> NDArray[np.float64]:
    """Of the cut-out face over some frames of a clip, worked out without any net."""
    assert clip.track is not None
    meshes = [steady(clip.track, frame) for frame in frames]
    pictures = list(clip.pictures())
    cuts = [cut(pictures[f], place(five(mesh), arcface(side)), side) for f, mesh in zip(frames, meshes, strict=True)]
    return np.mean([face.mean((0, 1)) for face in cuts], axis=0)


SEEN = [frame for frame in range(FRAMES) if frame != UNSEEN]


@pytest.mark.parametrize("side", [64, 112, 128, 256])
def test_a_swapper_that_changes_nothing_gives_the_target_back(folder: Path, side: int) -> None:
    target = drawn(1)
    generator = OnnxSwap.model_validate(nets(folder, swapper(0, side=side)))
    frames = made(generator, target, drawn(2))
    for number, ((picture, mask), original) in enumerate(zip(frames, target.pictures(), strict=True)):
        assert np.array_equal(picture[mask == 0], original[mask == 0])
        assert mask.any() == (number != UNSEEN)
        if mask.any():
            there, before = (cv2.GaussianBlur(p, (0, 0), 2).mean(2, dtype=np.float32) for p in (picture, original))
            assert np.abs(there - before).max() < (16 if side < 112 else 6)
            inner = cv2.erode(mask, np.ones((9, 9))) == 255
            down, right = (slope[inner] for slope in np.gradient(before))
            moved = np.linalg.lstsq(np.stack([right, down], 1), (before - there)[inner], rcond=None)[0]
            assert np.abs(moved).max() < 0.06, "laid back beside where it was cut out"


def test_the_embedding_is_the_sources(folder: Path) -> None:
    """A swapper that paints the colour which the embedder saw: the mean over eight frames of the source's face."""
    target, source = drawn(1), drawn(2)
    frames = made(OnnxSwap.model_validate(nets(folder, swapper(1.0))), target, source)
    wanted = mean_colour(source, SEEN)
    assert np.abs(wanted - mean_colour(target, SEEN)).max() > 12, "two people who look the same prove nothing"
    for picture, mask in frames:
        if mask.any():
            assert np.abs(picture[mask == 255] - wanted).max() < 2


def test_the_twin_is_told_its_own_face(folder: Path) -> None:
    target = drawn(1)
    twin = OnnxSelf.model_validate(nets(folder, swapper(1.0)))
    picture, mask = made(twin, target)[0]
    assert np.abs(picture[mask == 255] - mean_colour(target, SEEN)).max() < 2
    assert twin.twin_of == "onnx_swap"
    whole = OnnxSwap.model_validate(twin.settings())
    both = zip(made(twin, target), made(whole, target, target), strict=True)
    assert all(np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1]) for a, b in both)


def test_the_face_that_is_known_is_the_one_that_looks_ahead(folder: Path) -> None:
    turns = (30, 20, 10, 0, 30, 30, 30, 30, 30, 5) * 2
    source = drawn(2, turns)
    picture, mask = made(OnnxSwap.model_validate(nets(folder, swapper(1.0))), drawn(1), source)[0]
    # Seen are all but frame 4; in eight parts of them the least turned are:
    parts = np.array_split([frame for frame in range(20) if frame != UNSEEN], 8)
    best = [int(min(part, key=lambda frame: turns[frame])) for part in parts]
    assert np.abs(picture[mask == 255] - mean_colour(source, best)).max() < 2
    assert np.abs(mean_colour(source, best) - mean_colour(source, list(range(20, 0, -1))[1:8])).max() > 0.5


def test_every_moment_of_the_source_counts_alike(folder: Path) -> None:
    """Embeddings are of one length, so that the ones of this colour embedder count less the further it is from grey."""
    dark = [picture // 6 if number % 2 else picture for number, picture in enumerate(drawn(2).pictures())]
    source = replace(drawn(2), pictures=Passes(dark))
    picture, mask = made(OnnxSwap.model_validate(nets(folder, swapper(1.0))), drawn(1), source)[0]
    part_of = np.array_split(SEEN, 8)
    colours = np.stack([mean_colour(source, [int(part[0])]) for part in part_of]) / 127.5 - 1
    weights = 1 / np.sqrt(np.square(colours).sum(1) + 1)
    wanted = ((colours * weights[:, None]).sum(0) / weights.sum() + 1) * 127.5
    assert np.abs(wanted - (colours.mean(0) + 1) * 127.5).max() > 4
    assert np.abs(picture[mask == 255] - wanted).max() < 2


def test_embeddings_are_multiplied_by_the_graphs_array_where_it_is_named(folder: Path) -> None:
    target, source = drawn(1), drawn(2)
    wanted = mean_colour(source, SEEN)
    told = nets(folder, swapper(1.0, mapped=True), matrix=MAP)
    picture, mask = made(OnnxSwap.model_validate(told), target, source)[0]
    assert np.abs(picture[mask == 255] - wanted).max() < 2


def test_levels_are_what_the_swapper_takes_and_gives(folder: Path) -> None:
    target = drawn(1)
    for levels in ("0..1", "-1..1"):
        told = nets(folder, swapper(0, side=256), levels=levels)
        picture, _ = made(OnnxSwap.model_validate(told), target, drawn(2))[0]
        assert np.abs(picture.astype(int) - next(iter(target.pictures()))).mean() < 1
    # The colour that the net paints is of 0 … 1; read as of -1 … 1 it is the lighter half of the range.
    picture, mask = made(OnnxSwap.model_validate(nets(folder, swapper(1.0), levels="-1..1")), target, drawn(2))[0]
    assert np.abs(picture[mask == 255] - (127.5 + mean_colour(drawn(2), SEEN) / 2)).max() < 2


def test_the_edge_is_soft_and_ends_with_the_face(folder: Path) -> None:
    target = drawn(1)
    frames = made(OnnxSwap.model_validate(nets(folder, swapper(1.0))), target, drawn(2))
    assert target.track is not None
    for number, (_, mask) in enumerate(frames):
        if not mask.any():
            continue
        x0, y0, x1, y1 = target.track.box[number]
        y, x = np.nonzero(mask)
        assert (x.min(), y.min()) >= (x0 - 4, y0 - 4)
        assert (x.max(), y.max()) <= (x1 + 4, y1 + 4)
        assert np.abs(np.diff(mask.astype(int), axis=0)).max() < 90
        assert np.abs(np.diff(mask.astype(int), axis=1)).max() < 90


def test_frames_turned_too_far_stay_as_they_are(folder: Path) -> None:
    target = drawn(1, (0, 0, 0, 0, 0, 0, 0, 50, 50, 50))
    told = nets(folder, swapper(1.0))
    frames = made(OnnxSwap.model_validate(told), target, drawn(2))
    for number, ((picture, mask), original) in enumerate(zip(frames, target.pictures(), strict=True)):
        assert mask.any() == (number < 7 and number != UNSEEN)
        assert np.array_equal(picture, original) != mask.any()
    wider = made(OnnxSwap.model_validate({**told, "max_yaw": 60.0}), target, drawn(2))
    assert wider[9][1].any()


def test_clips_that_cannot_be_used(folder: Path) -> None:
    generator, rng = OnnxSwap.model_validate(nets(folder, swapper(0.5))), np.random.default_rng(0)
    away, near = drawn(3, (50,) * FRAMES), drawn(1)
    with pytest.raises(MediaError, match=r"person 3: shows .* turned less than 35 degrees in only 0"):
        generator([away, near], rng)
    with pytest.raises(MediaError, match="person 3: is never turned less than 35 degrees"):
        generator([near, away], rng)
    for parents in ([replace(near, track=None), near], [near, replace(near, track=None)]):
        with pytest.raises(MediaError, match="person 1: shows no face"):
            generator(parents, rng)
    assert near.track is not None
    beside = replace(near, track=replace(near.track, mesh=near.track.mesh + 400))
    with pytest.raises(MediaError, match="person 1: shows no face of 16 pixels or more that lies in the picture"):
        generator([drawn(2), beside], rng)
    pictures = list(drawn(2).pictures())
    with pytest.raises(MediaError, match="person 2: ends before its frame 9 of 10"):
        generator([near, replace(drawn(2), pictures=Passes(pictures[:5]))], rng)


def test_pictures_are_streamed(folder: Path) -> None:
    taken = []

    def counted() -> Iterator[Picture]:
        for number, picture in enumerate(drawn(1).pictures()):
            taken.append(number)
            yield picture

    target = replace(drawn(1), pictures=counted)
    pictures = OnnxSwap.model_validate(nets(folder, swapper(0.5)))([target, drawn(2)], np.random.default_rng(0)).pictures
    assert not taken
    next(iter(pictures))
    assert taken == [0]


@pytest.mark.parametrize(
    ("swap", "embed", "settings", "said"),
    [
        (swapper(0.5, numbers=512), embedder(numbers=128), {}, "takes an embedding of 512 numbers, and the embedder makes 128"),
        (swapper(0.5, side="any"), embedder(), {}, "pictures of any size, .*size that it was trained at"),
        (swapper(0.5, batch=8), embedder(), {}, r"swap\.onnx: does not take one picture at a time"),
        (swapper(0.5), embedder(batch=4), {}, r"embed\.onnx: does not take one picture at a time"),
        (embedder(), embedder(), {}, r"swap\.onnx: is no one-shot swapper: it takes face"),
        (swapper(0.5), swapper(0.5), {}, r"embed\.onnx: is no embedder of faces: it takes target"),
        (swapper(0.5), tiny_onnx.enlarger(2), {}, r"embed\.onnx: is no embedder of faces: it makes \(1, 3, 224, 224\)"),
        (swapper(0.5), embedder(), {"matrix": "emap"}, "stores nothing called 'emap'"),
        (swapper(0.5), embedder(), {"matrix": "share"}, r"stores share as \(\), which can't be multiplied with 512 numbers"),
        (swapper(0.5), b"no net", {}, r"embed\.onnx: can't be opened"),
    ],
    ids=["lengths", "any size", "batch", "batch of faces", "embedder", "swapper", "enlarger", "no array", "scalar", "no net"],
)
def test_nets_that_do_not_fit(folder: Path, swap: bytes, embed: bytes, settings: dict[str, Any], said: str) -> None:
    generator = OnnxSwap.model_validate(nets(folder, swap, embed, **settings))
    with pytest.raises(ModelError, match=said):
        generator([drawn(1), drawn(2)], np.random.default_rng(0))


def test_nets_for_any_number_of_faces_work(folder: Path) -> None:
    one = made(OnnxSwap.model_validate(nets(folder, swapper(0.5))), drawn(1), drawn(2))
    free = made(OnnxSwap.model_validate(nets(folder, swapper(0.5, batch="n"), embedder("s", batch="n"))), drawn(1), drawn(2))
    assert all(np.array_equal(a, b) for a, b in zip(one[0], free[0], strict=True))


def test_another_file_than_the_one_that_was_named(folder: Path) -> None:
    generator = OnnxSwap.model_validate(nets(folder, swapper(0.25)))
    put(folder, "swap.onnx", swapper(0.75))
    with pytest.raises(WeightsError, match=r"swap\.onnx: has SHA-256 .*; replace it"):
        generator([drawn(1), drawn(2)], np.random.default_rng(0))


def test_a_section_names_its_files(folder: Path) -> None:
    with pytest.raises(ValidationError, match=r"swapper\n.*Field required"):
        OnnxSwap.model_validate({})
    told = nets(folder, swapper(0.5))
    assert OnnxSwap.model_validate(OnnxSwap.model_validate(told).settings()).settings()["swapper"]["sha256"]


EMBEDDER = SHARED / "weights" / "mobilefacenet" / "mobilefacenet_photo_analyze.onnx"


def test_a_real_embedder_knows_people_by_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Embeddings of another moment of the same speaker are much nearer than those of another speaker."""
    from forgeline.weights import Given
    from generators.onnx_swap import _good_frames, _open_embedder

    if not EMBEDDER.is_file():
        pytest.skip("needs an embedder of faces in ../shared/weights")
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(EMBEDDER.parent))
    embed = _open_embedder(Given(file=EMBEDDER.name, sha256=sha256_of(EMBEDDER), licence="for measuring"))
    clips = [footage(name) for name in ("bbaf2n", "lrwp9a", "pwij3p")]
    halves = [[embed(clip, part) for part in np.array_split(_good_frames(clip, 35.0), 2)] for clip in clips]  # type: ignore[arg-type]
    own = [float(a @ b) for a, b in halves]
    others = [float(halves[i][0] @ halves[j][1]) for i in range(3) for j in range(3) if i != j]
    assert min(own) > 0.7
    assert max(others) < 0.4
