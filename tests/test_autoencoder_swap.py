"""The swap by an autoencoder: faces laid flat, what the nets learn, whom they paint, and what they leave alone."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.clip import Clip, Picture, Track
from forgeline.errors import MediaError, ModelError
from forgeline.mesh import LIPS_INNER
from generators import training
from generators.autoencoder_self import AutoencoderSelf
from generators.autoencoder_swap import AutoencoderSwap, _lit, meet
from generators.grain import noise
from generators.plugin import Trained
from generators.unwrap import depth, laid, places, shown, unwrap
from generators.warp import CLOSED, spread
from tests.people import FRAMES, UNSEEN, drawn, pose

RNG = np.random.default_rng
SMALL = AutoencoderSwap(steps=4, batch=4, side=32, width=8)
LEARNT = AutoencoderSwap(steps=150, batch=8, side=32, width=8)
Frames = list[tuple[Picture, NDArray[np.uint8]]]


def taught(settings: AutoencoderSwap, folder: Path, seed: int = 0, people: Sequence[int] = (1, 2)) -> AutoencoderSwap:
    settings.train((drawn(person) for person in people), RNG(seed), folder)
    return settings.load(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def learnt(folder: Path) -> AutoencoderSwap:
    return taught(LEARNT, folder)


def frames_of(generator: AutoencoderSwap, *parents: Clip, seed: int = 0) -> Frames:
    return [(picture, mask) for picture, mask in generator(parents, RNG(seed)).pictures if mask is not None]


def track_of(clip: Clip) -> Track:
    assert clip.track is not None
    return clip.track


def painted(clip: Clip, paint: Callable[[int, Picture], object]) -> Clip:
    """The clip after something was painted into its pictures, given with their numbers."""
    pictures = [picture.copy() for picture in clip.pictures()]
    for frame, picture in enumerate(pictures):
        paint(frame, picture)
    return replace(clip, pictures=lambda: iter(pictures))


def cut(clip: Clip, frames: Sequence[int]) -> Clip:
    """Some frames of a clip."""
    track = Track(**{part: values[list(frames)] for part, values in vars(track_of(clip)).items()})
    pictures = [picture for frame, picture in enumerate(clip.pictures()) if frame in frames]
    return replace(clip, frames=len(frames), track=track, pictures=lambda: iter(pictures))


# ------------------------------------------------------------------------------------------------ faces laid flat


def test_points_lie_where_they_are_laid_whatever_the_pose() -> None:
    """A picture whose colours are the numbers of the mesh's places shows these places when it is laid flat."""
    side = 64
    for opening, turn in ((0.0, 0), (0.06, -20), (0.03, 25)):
        mesh = pose(opening, turn, 88, 100, 110)
        values = np.concatenate([places(), np.zeros((468, 1), np.float32)], 1) * 255
        planes, _ = spread(mesh, values, CLOSED, (0, 0, 176, 192))
        flat = unwrap(np.moveaxis(planes, 0, 2).round().astype(np.uint8), mesh, side) / 255
        at = (np.arange(side) + 0.5) / side
        wanted = np.stack(np.meshgrid(at, at), 2)
        sure = (shown(mesh, side) > 0.4) & (depth(side) > 0.1)
        mouth = np.zeros((side, side), np.uint8)
        cv2.fillPoly(mouth, [(places()[LIPS_INNER] * side).astype(np.int32)], 1)
        sure &= cv2.dilate(mouth, np.ones((9, 9))) == 0  # shut lips have no place of their own
        assert sure.mean() > 0.3
        assert np.percentile(np.abs(flat[..., :2] - wanted)[sure], 95) < 0.03


def test_mouth_and_eyes_have_a_place_and_nothing_is_folded() -> None:
    corners = places()[CLOSED]
    ahead, aside = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    areas = np.abs(ahead[:, 0] * aside[:, 1] - ahead[:, 1] * aside[:, 0]) / 2
    assert areas.sum() == pytest.approx(np.pi * 0.48**2, rel=0.02)  # folds would count twice
    _, covered = spread(laid(200), laid(200)[:, :1], CLOSED, (0, 0, 200, 200))
    assert (covered[depth(200) > 0.02] == 1).all()


@pytest.mark.parametrize("turn", [-35, 35])
def test_the_side_that_is_turned_away_is_not_shown(turn: int) -> None:
    mesh = pose(0, turn, 0, 0, 100)
    wide = np.abs(mesh[[127, 356], 0] - mesh[4, 0])  # from the nose to the outline, right and left
    seen = shown(mesh, 64)[16:48]
    sides = seen[:, :16].mean(), seen[:, 48:].mean()
    assert sides[int(wide.argmax())] > 3 * sides[int(wide.argmin())]
    assert 0 <= seen.min() <= seen.max() <= 1


# ------------------------------------------------------------------------------------------------------- learning


def test_it_learns(learnt: AutoencoderSwap, folder: Path) -> None:
    head, *rows = csv.reader((folder / training.LOSSES).read_text().splitlines())
    losses = np.array(rows, float)
    assert head == ["step", "l1", "mask", "ssim"]
    for column in (1, 2, 3):
        assert losses[-20:, column].mean() < 0.8 * losses[:20, column].mean()
    assert isinstance(learnt, Trained)


def test_a_model_hangs_on_faces_settings_and_chance_alone(tmp_path: Path) -> None:
    other = SMALL.model_copy(update={"variational": True})
    cases = [(SMALL, 0, (1, 2)), (SMALL, 0, (1, 2)), (SMALL, 1, (1, 2)), (SMALL, 0, (1, 3)), (other, 0, (1, 2))]
    made = []
    for number, (settings, seed, people) in enumerate(cases):
        taught(settings, tmp_path / str(number), seed, people)
        made.append((tmp_path / str(number) / training.MODEL).read_bytes())
    assert made[0] == made[1]
    assert len(set(made)) == len(cases) - 1


def test_its_twin_learns_the_same_model(tmp_path: Path) -> None:
    twin = AutoencoderSelf.model_validate(SMALL.settings())
    for name, settings in (("swap", SMALL), ("twin", twin)):
        settings.train((drawn(person) for person in (1, 2)), RNG(0), tmp_path / name)
    assert {p.name: p.read_bytes() for p in (tmp_path / "swap").iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "twin").iterdir()
    }
    assert twin.twin_of == "autoencoder_swap"


def test_what_is_no_number_stops_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 1)
    wild = SMALL.model_copy(update={"learning_rate": 0.99, "variational": True, "steps": 50})
    with pytest.raises(
        ModelError, match=r"autoencoder_swap: \w+ is no longer a number at step .* is kept .* lower .*learning_rate"
    ):
        wild.train((drawn(person) for person in (1, 2)), RNG(0), tmp_path)
    assert (tmp_path / training.CHECKPOINT).exists()
    assert not (tmp_path / training.MODEL).exists()


def test_clips_without_faces_teach_nothing(tmp_path: Path) -> None:
    blind = replace(drawn(1), track=None)
    turned = drawn(2, [50] * FRAMES)
    with pytest.raises(ModelError, match="there are 0 faces to learn from, fewer than a batch of 4"):
        SMALL.train([blind, turned], RNG(0), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_model_of_another_shape_is_refused(learnt: AutoencoderSwap, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train it"):
        AutoencoderSwap()((drawn(1), drawn(2)), RNG(0))
    with pytest.raises(ModelError, match="run the train stage of autoencoder_swap"):
        SMALL.load(tmp_path)
    for other in ({"width": 16}, {"variational": True}):
        with pytest.raises(ModelError, match="is not a model of this generator"):
            LEARNT.model_copy(update=other).load(folder)


# ------------------------------------------------------------------------------------------------------- swapping


def detail(flat: Picture) -> NDArray[np.float32]:
    """What is left of a flat face without its colour and light, in the part that is surely replaced."""
    grey = cv2.cvtColor(flat, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray((grey - cv2.GaussianBlur(grey, (0, 0), 4))[depth(len(flat)) > 0.35])


def test_people_whom_it_never_saw_are_swapped(learnt: AutoencoderSwap) -> None:
    target, source = drawn(3), drawn(4)
    mesh, own = track_of(target).mesh, track_of(source).mesh
    theirs = detail(unwrap(next(source.pictures()), own[0], 64))
    before = detail(unwrap(next(target.pictures()), mesh[0], 64))
    after = detail(unwrap(frames_of(learnt, target, source)[0][0], mesh[0], 64))
    of_source, of_target = np.linalg.lstsq(np.stack([theirs, before], 1), after)[0]
    assert of_source > 0.4
    assert of_source > 3 * of_target


def test_the_twin_is_the_person(learnt: AutoencoderSwap, folder: Path) -> None:
    target = drawn(3)
    twin = AutoencoderSelf.model_validate(LEARNT.settings()).load(folder)
    originals = list(target.pictures())
    changes = [
        np.mean([np.abs(picture.astype(int) - original)[mask > 200].mean() for (picture, mask), original in
                 zip(frames, originals, strict=True) if mask.any()])
        for frames in (frames_of(twin, target), frames_of(learnt, target, drawn(4)))
    ]  # fmt: skip
    assert changes[0] < 6
    assert changes[0] < 0.5 * changes[1]


def test_same_chance_same_pixels_and_fitting_is_by_chance(folder: Path, learnt: AutoencoderSwap) -> None:
    parents = drawn(3), drawn(4)
    fitting = LEARNT.model_copy(update={"fit": 3}).load(folder)
    made = [
        b"".join(picture.tobytes() for picture, _ in frames_of(generator, *parents, seed=seed))
        for generator, seed in ((learnt, 0), (learnt, 1), (fitting, 0), (fitting, 0), (fitting, 1))
    ]
    assert made[2] == made[3]
    assert len(set(made)) == 4


def test_fitting_brings_the_twin_nearer(folder: Path, learnt: AutoencoderSwap) -> None:
    target = drawn(5)
    errors = []
    for fit in (0, 60):
        twin = AutoencoderSelf.model_validate(LEARNT.settings() | {"fit": fit}).load(folder)
        pairs = zip(frames_of(twin, target), target.pictures(), strict=True)
        errors.append(np.mean([np.abs(p.astype(int) - o)[m > 200].mean() for (p, m), o in pairs if m.any()]))
    assert errors[1] < errors[0]


def test_frames_that_show_no_face_from_the_front_are_untouched(learnt: AutoencoderSwap) -> None:
    turns = [0, 10, 20, 30, 40, 50, 50, 20, 10, 0]
    target = drawn(1, turns)
    for frame, ((picture, mask), original) in enumerate(
        zip(frames_of(learnt, target, drawn(2)), target.pictures(), strict=True)
    ):
        assert mask.any() == (abs(turns[frame]) <= 35 and frame != UNSEEN)
        assert np.array_equal(picture[mask == 0], original[mask == 0])
    with pytest.raises(MediaError, match="person 2: is never turned less than 35 degrees"):
        learnt((drawn(1), drawn(2, [50] * FRAMES)), RNG(0))
    with pytest.raises(MediaError, match="person 1"):
        learnt((drawn(1, [50] * FRAMES), drawn(2)), RNG(0))


@pytest.mark.parametrize("frames", [[0], [0, 1], [0, 1, 2, UNSEEN]])
def test_few_frames_are_enough(frames: list[int], learnt: AutoencoderSwap) -> None:
    target, source = cut(drawn(1), frames), cut(drawn(2), [3])
    made = frames_of(learnt, target, source)
    assert [mask.any() for _, mask in made] == [frame != UNSEEN for frame in frames]


def test_the_number_of_frames_at_a_time_changes_nothing_much(learnt: AutoencoderSwap, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = frames_of(learnt, drawn(1), drawn(2))
    monkeypatch.setattr("generators.autoencoder_swap.AHEAD", 3)
    for (a, _), (b, _) in zip(frames_of(learnt, drawn(1), drawn(2)), whole, strict=True):
        assert np.abs(a.astype(int) - b).max() <= 3


def test_what_is_held_before_a_face_stays_before_it(tmp_path: Path) -> None:
    model = taught(AutoencoderSwap(steps=300, batch=8, side=32, width=16), tmp_path, people=(1, 2, 3, 4))
    clip = drawn(5)
    x, y = track_of(clip).mesh[0, [50, 205], :2].mean(0).round().astype(int)

    def hold(frame: int, picture: Picture) -> None:
        if frame in (7, 8):
            picture[y - 16 : y + 16, x - 16 : x + 16] = 15, 60, 200

    masks = [mask[y - 8 : y + 8, x - 8 : x + 8].mean() for _, mask in frames_of(model, painted(clip, hold), drawn(6))]
    assert max(masks[7:9]) < 0.5 * min(masks[:UNSEEN])


def test_hair_that_hangs_into_the_targets_face_stays(tmp_path: Path) -> None:
    clip, mesh = drawn(3), track_of(drawn(3)).mesh
    fresh = taught(SMALL, tmp_path)  # whose nets do not know yet what may hang before a face

    def fringe(frame: int, picture: Picture) -> None:
        if frame != UNSEEN:
            brow = int(mesh[frame, [105, 334], 1].mean()) - 8
            outline = cv2.convexHull(mesh[frame, :, :2].round().astype(np.int32))
            hair = cv2.fillConvexPoly(np.zeros(picture.shape[:2], np.uint8), outline, 1)
            hair[brow:] = 0
            picture[hair > 0] = 25, 15, 10

    for (_, mask), face in zip(frames_of(fresh, painted(clip, fringe), drawn(4)), mesh, strict=True):
        if mask.any():
            x, brow = int(face[9, 0]), int(face[[105, 334], 1].mean())
            assert mask[brow - 16 : brow - 11, x - 5 : x + 5].mean() < 60
            nose_x, nose_y = face[4, :2].round().astype(int)
            assert mask[nose_y, nose_x] > 200


def test_a_face_is_lit_as_the_targets_is() -> None:
    rng = RNG(0)
    x, y = np.meshgrid(np.linspace(-1, 1, 64), np.linspace(-1, 1, 64))
    faces = [rng.normal(0, 0.05, (64, 64, 3)) + light[..., None] for light in (0.5 * x - 0.3 * y * y, 0.2 * x * y - 0.4 * x)]
    source, target = (face.astype(np.float32) for face in faces)
    lit = _lit(np.asarray(cv2.resize(source, (128, 128)), np.float32), source, target)
    inside = depth(64) > 0.3
    smooth = cv2.GaussianBlur(cv2.resize(lit, (64, 64)), (0, 0), 4) - cv2.GaussianBlur(target, (0, 0), 4)
    before = cv2.GaussianBlur(source, (0, 0), 4) - cv2.GaussianBlur(target, (0, 0), 4)
    assert np.abs(smooth[inside]).mean() < 0.1 * np.abs(before[inside]).mean()


def test_what_is_painted_has_the_grain_of_the_picture(learnt: AutoencoderSwap) -> None:
    rng = RNG(1)
    noisy = painted(drawn(3), lambda _, picture: cv2.add(picture, rng.normal(0, 6, picture.shape), picture, dtype=cv2.CV_8U))
    for target, least, most in ((noisy, 3.5, 8.0), (drawn(3), 0.7, 2.8)):
        picture, mask = frames_of(learnt, target, drawn(4))[0]
        assert least < noise(picture, mask > 240) < most


def test_a_usual_face_shows_the_mouth_open() -> None:
    mesh = track_of(drawn(1)).mesh
    widest = int(np.nan_to_num(mesh[:, 14, 1] - mesh[:, 13, 1]).argmax())

    def shut(frame: int, picture: Picture) -> None:
        if frame not in (widest, UNSEEN):
            outline = cv2.convexHull(mesh[frame, LIPS_INNER, :2].round().astype(np.int32))
            cv2.fillConvexPoly(picture, outline, (150, 70, 80))

    clip = painted(drawn(1), shut)
    mouths = []
    for frames in ([f for f in range(FRAMES) if f != widest], range(FRAMES)):
        usual = meet(cut(clip, list(frames)), LEARNT).usual
        x, y = (places()[[13, 14]].mean(0) * len(usual)).astype(int)
        mouths.append(usual[y - 2 : y + 3, x - 2 : x + 3].mean())
    assert mouths[1] < mouths[0] - 0.3  # it is dark in there


def test_a_face_has_no_hole_where_it_was_never_seen() -> None:
    person = meet(drawn(2, [30] * FRAMES), LEARNT)
    assert np.isfinite(person.usual).all()
    inside = depth(len(person.usual)) > 0.1
    assert np.abs(person.usual[inside]).max() < 2.5
    assert len(person.pictures) == FRAMES - 1
    assert list(islice(person.pictures.shape, 1, 4)) == [32, 32, 4]
