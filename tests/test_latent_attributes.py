"""Edits among codes: directions are those of the attribute, names that mean nothing are refused, and mouths do open."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from forgeline.clip import Clip
from forgeline.errors import ModelError
from generators import training
from generators.latent_attributes import MEASURED, LatentAttributes, _direction, _told, measured, seen_by_nets, upright
from generators.plugin import Trained
from tests.people import FRAMES, drawn, finder, footage, lip_gap, pose

RNG = np.random.default_rng
OLD = {"age": "70", "glasses": "round"}
YOUNG = {"age": "20", "glasses": "none"}


def told(person: int, declared: Mapping[str, str]) -> Clip:
    return replace(drawn(person), attributes=declared)


def people() -> list[Clip]:
    return [told(1, OLD), told(2, YOUNG), told(3, OLD), told(4, YOUNG)]


def small(*attributes: str) -> LatentAttributes:
    return LatentAttributes(attributes=attributes, steps=3, batch=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    small("open_mouth", "age", "glasses=round").train(people(), RNG(0), folder)
    return folder


# --- What is measured


def test_the_measures_follow_the_face_whatever_its_size_and_lean() -> None:
    shut, wide = pose(0.0, 0, 88, 100, 96), pose(0.1, 0, 88, 100, 96)
    openness = MEASURED.index("open_mouth")
    assert measured(wide)[openness] == pytest.approx(measured(shut)[openness] + 0.1 / 0.44, abs=0.01)
    turn = cv2.getRotationMatrix2D((88, 100), 25, 1.7)
    leant = np.column_stack([wide[:, :2] @ turn[:, :2].T + turn[:, 2], wide[:, 2]]).astype(np.float32)
    assert measured(leant) == pytest.approx(measured(wide), abs=1e-4)
    grin = shut.copy()
    grin[[61, 291], 1] -= 4
    assert measured(grin)[0] - measured(shut)[0] == pytest.approx(4 / (0.44 * 96), abs=0.01)


def test_what_a_face_does_does_not_move_its_place() -> None:
    assert np.array_equal(upright(pose(0.0, 0, 88, 100, 96)), upright(pose(0.2, 0, 88, 100, 96)))


def test_nets_see_a_face_without_its_surroundings() -> None:
    clip = drawn(1)
    assert clip.track is not None
    picture, mesh = next(iter(clip.pictures())), clip.track.mesh[0]
    outside = np.where(seen_by_nets(np.full_like(picture, 255), mesh)[..., :1] == 128, 1, 0)
    assert 0.1 < outside.mean() < 0.6
    one, other = (seen_by_nets(each, mesh) for each in (picture, 255 - picture))
    assert np.array_equal(one * outside, other * outside)


# --- Directions


def test_a_direction_is_that_of_its_attribute_alone() -> None:
    rng = RNG(0)
    one, other = (rng.standard_normal(64) for _ in range(2))
    labels = rng.standard_normal((400, 2))
    labels[:, 1] += labels[:, 0]  # who smiles raises the brows
    codes = (labels @ np.stack([one, other]) + 0.3 * rng.standard_normal((400, 64))).astype(np.float32)
    direction = _direction(codes, labels.astype(np.float32))
    assert direction == pytest.approx(one, abs=0.2)


def test_a_direction_makes_up_for_labels_that_tremble() -> None:
    rng = RNG(0)
    true, step = rng.standard_normal(400), np.eye(64)[0]
    codes = (true[:, None] * step + 0.01 * rng.standard_normal((400, 64))).astype(np.float32)
    noisy = (true + rng.standard_normal(400)).astype(np.float32)[:, None]
    assert _direction(codes, noisy)[0] == pytest.approx(noisy.std(), rel=0.1)


def test_it_is_said_how_well_codes_tell_an_attribute() -> None:
    rng = RNG(0)
    whose = np.repeat(np.arange(8), 40)
    codes = rng.standard_normal((320, 64)).astype(np.float32)
    weights = rng.standard_normal(64).astype(np.float32)
    assert _told(codes, codes @ weights, whose)[1] > 0.99
    figure, value = _told(codes, (codes @ weights > 0).astype(np.float32), whose)
    assert figure == "AUC"
    assert value > 0.95
    assert _told(codes, rng.standard_normal(320).astype(np.float32), whose)[1] < 0.1


# --- What is refused


@pytest.mark.parametrize(
    ("attribute", "what"),
    [
        ("halo", "is not declared of anyone.*smile, open_mouth.*age, glasses"),
        ("halo=bright", "is not declared of anyone"),
        ("glasses", "is declared in words .none, round.; say which, as in glasses=none"),
        ("glasses=square", "is a value that nobody has .glasses is none, round."),
    ],
)
def test_names_that_mean_nothing_are_refused_before_training(attribute: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=what):
        small("smile", attribute).train(people(), RNG(0), tmp_path)
    assert not list(tmp_path.iterdir())


def test_faces_that_are_all_alike_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="attribute age: is the same in all clips"):
        small("age").train([told(1, OLD), told(2, OLD)], RNG(0), tmp_path)
    clip = drawn(1)
    assert clip.track is not None
    still = replace(clip, track=replace(clip.track, mesh=np.stack([pose(0, 0, 88, 100, 96)] * FRAMES)))
    with pytest.raises(ModelError, match="attribute smile: is the same in all faces"):
        small("smile").train([still], RNG(0), tmp_path)
    assert not list(tmp_path.iterdir())


def test_too_few_faces_are_refused(tmp_path: Path) -> None:
    clip = drawn(1)
    assert clip.track is not None
    three = replace(clip, track=replace(clip.track, seen=np.arange(FRAMES) < 3))
    with pytest.raises(ModelError, match="there are 3 faces"):
        small("smile").train([three, replace(clip, track=None)], RNG(0), tmp_path)
    assert not list(tmp_path.iterdir())


def test_attributes_are_named_once_and_plainly() -> None:
    for names in ([], ["smile", "smile"], ["glasses="], ["=round"]):
        with pytest.raises(ValidationError):
            LatentAttributes.model_validate({"attributes": names})
    assert LatentAttributes.model_validate({"attributes": ["smile", "glasses=round"]}).attributes[1] == "glasses=round"


def test_without_its_model_it_says_what_to_do(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train it"):
        small("smile")([drawn(1)], RNG(0))
    with pytest.raises(ModelError, match="run the train stage"):
        small("smile").load(tmp_path)
    with pytest.raises(ModelError, match="holds no direction for smile"):
        small("age", "smile").load(model)
    assert isinstance(small("age").load(model), Trained)


# --- Edits


def test_a_clip_gets_one_amount_towards_what_its_person_lacks(model: Path) -> None:
    bound = small("glasses=round").load(model)
    amounts = {}
    for name, declared in {"old": OLD, "young": YOUNG, "unknown": {}}.items():
        drawn_now = [bound([told(1, declared)], RNG(seed)).drawn for seed in range(4)]
        assert all(each["attribute"] == "glasses=round" for each in drawn_now)
        amounts[name] = np.array([float(each["amount"]) for each in drawn_now])
    assert amounts["old"].max() < 0 < min(amounts["young"].min(), amounts["unknown"].min())
    both = np.array([float(small("age").load(model)([drawn(1)], RNG(seed)).drawn["amount"]) for seed in range(8)])
    assert both.min() < 0 < both.max()
    assert 0.5 * bound.strength <= np.abs(both).min() <= np.abs(both).max() <= bound.strength


def test_stills_are_told_from_each_other(tmp_path: Path) -> None:
    """Of a still there is no usual face of its person: it is compared with the other stills."""
    stills = []
    for person in (1, 2, 3, 4):
        clip = drawn(person)
        assert clip.track is not None
        stills.append(replace(clip, track=replace(clip.track, seen=np.arange(FRAMES) == 2 * person - 1)))
    small("open_mouth").train(stills, RNG(0), tmp_path)
    assert (tmp_path / training.MODEL).exists()


def test_real_mouths_open_and_all_else_stays(tmp_path: Path) -> None:
    learned, target = [footage("brbk7n"), footage("lbax4n")], footage("bbaf2n")
    LatentAttributes(attributes=("open_mouth",), steps=5).train(learned, RNG(0), tmp_path)
    bound = LatentAttributes(attributes=("open_mouth",)).load(tmp_path)
    gaps, before = [], []
    for (picture, mask), original in zip(bound([target], RNG(0)).pictures, target.pictures(), strict=True):
        assert mask is not None
        assert np.array_equal(picture[mask == 0], original[mask == 0])
        gaps.append(lip_gap(finder().find(picture)[0].mesh))
        before.append(lip_gap(finder().find(original)[0].mesh))
    assert np.mean(gaps) > np.mean(before) + 0.005
