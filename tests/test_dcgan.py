"""Portraits of nobody: the same after an interruption, and cut, scaled and sized like the photographs they are paired with."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.clip import Clip, Track
from forgeline.errors import MediaError, ModelError
from generators import training
from generators.dcgan import DCGAN
from generators.image_control import ImageControl
from generators.plugin import Generator, Trained
from generators.portrait import NATIVE, enlarge, portrait, portraits

RNG = np.random.default_rng
POINTS = np.array([[48, 56], [80, 56], [64, 72], [52, 90], [76, 90]], np.float32)
SMALL = DCGAN(steps=6, batch=4)


def head(skin: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A drawn face at POINTS in a picture of 128 pixels."""
    picture = np.full((128, 128, 3), (60, 90, 120), np.uint8)
    cv2.ellipse(picture, (64, 70), (34, 44), 0, 0, 360, skin, -1)
    for x, y in POINTS[:2].astype(int).tolist():
        cv2.circle(picture, (x, y), 5, (20, 20, 20), -1)
    cv2.line(picture, (52, 90), (76, 90), (150, 30, 30), 3)
    return picture


def clip_of(skin: tuple[int, int, int] = (200, 150, 120), seen: tuple[bool, ...] = (True,) * 5) -> Clip:
    n = len(seen)
    shifts = np.arange(n)
    track = Track(
        box=np.tile(np.array([30, 26, 98, 114], np.float32), (n, 1)),
        points=(POINTS + shifts[:, None, None]).astype(np.float32),
        mesh=np.zeros((n, 468, 3), np.float32),
        score=np.ones(n, np.float32),
        seen=np.array(seen),
    )
    track.points[~track.seen] = np.nan
    pictures = [np.roll(head(skin), shift, axis=(0, 1)) for shift in shifts]
    return Clip("video", 128, 128, Fraction(25), n, lambda: iter(pictures), lambda: None, track, "a clip")


def clips() -> list[Clip]:
    """Two people so different that their mean is no copy of either."""
    other = clip_of((120, 80, 60))
    return [clip_of(), replace(other, pictures=lambda: (255 - picture for picture in other.pictures()))]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_STEPS", 2)
        SMALL.train(clips(), RNG(0), folder)
    return folder


@pytest.mark.parametrize("step", [2, 4, 6])
def test_an_interruption_changes_nothing(step: int, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(name: str, losses: list[object], *_: object) -> None:
        if len(losses) == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 2)
    with monkeypatch.context() as patch:
        patch.setattr(training, "_report", interrupt)
        with pytest.raises(KeyboardInterrupt):
            SMALL.train(clips(), RNG(0), tmp_path)
    assert (tmp_path / training.CHECKPOINT).exists()
    assert not (tmp_path / training.MODEL).exists()
    SMALL.train(clips(), RNG(0), tmp_path)
    assert files(tmp_path) == files(model)


def test_a_model_hangs_on_faces_settings_and_chance_alone(model: Path, tmp_path: Path) -> None:
    others: list[tuple[DCGAN, list[Clip], int]] = [
        (SMALL, clips(), 0),
        (SMALL, clips(), 1),
        (SMALL, [clip_of((10, 200, 10))], 0),
        (SMALL.model_copy(update={"learning_rate": 1e-2}), clips(), 0),
    ]
    for number, (settings, faces, seed) in enumerate(others):
        settings.train(faces, RNG(seed), tmp_path / str(number))
    made = [files(tmp_path / str(number))[training.MODEL] for number in range(len(others))]
    assert made[0] == files(model)[training.MODEL]
    assert len(set(made)) == len(others)


def test_a_finished_model_is_left_alone(model: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in model.iterdir()}
    SMALL.train(clips(), RNG(0), model)
    assert {path.name: path.stat().st_mtime_ns for path in model.iterdir()} == before


def test_it_learns_the_colours_of_its_faces(tmp_path: Path) -> None:
    DCGAN(steps=25, batch=4).train([clip_of((220, 30, 30))], RNG(0), tmp_path)
    bound = DCGAN().load(tmp_path)
    assert bound._painter is not None
    painted = bound._painter.paint(RNG(0).standard_normal((6, 64)))
    assert np.abs(painted[:, 30:35, 30:35].mean((0, 1, 2)) - (220, 30, 30)).max() < 40


def test_a_picture_is_made_whole_and_only_by_its_rng(model: Path) -> None:
    bound = SMALL.load(model)
    made = bound((), RNG(1))
    ((picture, mask),) = made.pictures
    assert made.media_type == "image"
    assert (made.frames, made.fps, made.width, made.height) == (1, Fraction(0), 256, 256)
    assert picture.shape == (256, 256, 3)
    assert mask is not None
    assert mask.min() == 255
    assert np.array_equal(next(iter(bound((), RNG(1)).pictures))[0], picture)
    assert not np.array_equal(next(iter(bound((), RNG(2)).pictures))[0], picture)
    assert isinstance(bound, Trained)
    assert bound.settings() == SMALL.settings()


def test_without_a_model_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train it"):
        DCGAN()((), RNG(0))
    with pytest.raises(ModelError, match="run the train stage"):
        DCGAN().load(tmp_path)
    (tmp_path / training.MODEL).write_bytes(b"not a model")
    with pytest.raises(ModelError, match="is not a model"):
        DCGAN().load(tmp_path)


def test_too_few_faces_are_refused(tmp_path: Path) -> None:
    blind = replace(clip_of(), track=None)
    with pytest.raises(ModelError, match="there are 3 faces"):
        SMALL.train([clip_of(seen=(True, True, True)), blind], RNG(0), tmp_path)
    assert not list(tmp_path.iterdir())


def test_of_many_faces_a_sample_is_kept() -> None:
    faces = portraits([clip_of((at, at, at), (True,)) for at in range(0, 250, 5)], RNG(0), 6)
    assert len(faces) == 6
    skins = faces[:, NATIVE // 2, NATIVE // 2, 0].tolist()
    assert max(skins) > 100  # not just the first ones


def test_unseen_frames_are_not_learned_from() -> None:
    assert len(portraits([clip_of(seen=(True, False, True, False))], RNG(0), 9)) == 2


def test_a_portrait_is_upright_and_centred() -> None:
    picture = head((200, 150, 120))
    straight = portrait(picture, POINTS)
    turn = cv2.getRotationMatrix2D((64, 64), 25, 1.5) + np.array([[0, 0, 40], [0, 0, 30]])
    turned = cv2.warpAffine(picture, turn, (300, 300), borderMode=cv2.BORDER_REPLICATE)
    points = cv2.transform(POINTS[None], turn)[0]
    again = portrait(np.asarray(turned, np.uint8), points)
    inner = slice(12, -12)
    assert np.abs(again[inner, inner].astype(int) - straight[inner, inner]).mean() < 4
    eyes = np.argwhere(straight[:40].max(-1) < 60).mean(0)
    assert abs(eyes[1] - (NATIVE - 1) / 2) < 1


def test_the_control_is_a_portrait_of_a_frame_that_shows_the_face() -> None:
    clip = clip_of(seen=(False, False, True, False))
    made = ImageControl()([clip], RNG(0))
    ((picture, mask),) = made.pictures
    frame = list(clip.pictures())[2]
    assert clip.track is not None
    assert np.array_equal(picture, enlarge(portrait(frame, clip.track.points[2]), 256))
    assert mask is not None
    assert not mask.any()
    assert made.media_type == "image"
    assert (made.frames, made.fps) == (1, Fraction(0))
    assert made.width == made.height == DCGAN().size == ImageControl().size
    assert isinstance(ImageControl(), Generator)


def test_the_control_needs_a_face() -> None:
    with pytest.raises(MediaError, match="shows no face"):
        ImageControl()([clip_of(seen=(False, False))], RNG(0))
    with pytest.raises(MediaError, match="ends before its frame"):
        ImageControl()([replace(clip_of(), pictures=lambda: iter(()))], RNG(0))
