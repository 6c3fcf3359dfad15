"""Copies of faces that were learned from are known, other people are not taken for copies, and nobody's face is made anew."""

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.errors import MediaError, ModelError
from generators.portrait import NATIVE, portrait
from generators.privacy import TRIES, Seen, remember
from tests.people import drawn, finder, footage

Faces = NDArray[np.uint8]


def portraits(person: int, count: int = 8) -> Faces:
    """The head of a drawn person in some frames."""
    clip = drawn(person)
    assert clip.track is not None
    frames = np.flatnonzero(clip.track.seen)[:count]
    pictures = list(clip.pictures())
    return np.stack([portrait(pictures[frame], clip.track.points[frame]) for frame in frames])


def altered(face: Faces) -> Iterator[tuple[str, Faces]]:
    """What is still a copy."""
    yield "itself", face
    yield "mirrored", face[:, ::-1]
    yield "blurred", np.asarray(cv2.GaussianBlur(face, (0, 0), 1.2), np.uint8)
    yield "moved", np.roll(face, (1, 1), axis=(0, 1))
    yield "darker", np.asarray(cv2.convertScaleAbs(face, alpha=0.85), np.uint8)
    noise = np.random.default_rng(0).normal(0, 3, face.shape)
    yield "noisy", np.clip(face + noise, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def filmed() -> dict[str, Faces]:
    """The heads of three speakers of GRID."""
    people = {}
    for name in ("bbaf2n", "lbax4n", "pwij3p"):
        clip = footage(name)
        pictures = [picture for at, picture in enumerate(clip.pictures()) if at % 5 == 0]
        people[name] = np.stack([portrait(p, finder().find(p)[0].points) for p in pictures])
    return people


@pytest.mark.parametrize("how", [name for name, _ in altered(np.zeros((NATIVE, NATIVE, 3), np.uint8))])
def test_a_copy_is_known_however_it_was_altered(filmed: dict[str, Faces], how: str) -> None:
    faces = filmed["bbaf2n"]
    seen = Seen.of(remember(faces))
    nearness = [seen.nearness(np.ascontiguousarray(dict(altered(face))[how])) for face in faces]
    assert max(nearness) < 1
    if how == "itself":
        assert max(nearness) < 0.01


def test_other_people_are_no_copies(filmed: dict[str, Faces]) -> None:
    for name, faces in filmed.items():
        seen = Seen.of(remember(np.concatenate([f for other, f in filmed.items() if other != name])))
        assert min(seen.nearness(face) for face in faces) > 1.1


def test_a_copy_is_painted_anew_and_counted() -> None:
    faces = portraits(1)
    stranger = portraits(4)[0]
    seen = Seen.of(remember(faces))
    asked: list[int] = []

    def paint(rng: np.random.Generator) -> Faces:
        asked.append(int(rng.integers(100)))
        return faces[len(asked)] if len(asked) < 4 else stranger

    painted, said = seen.nobody(paint, np.random.default_rng(1))
    assert np.array_equal(painted, stranger)
    assert said["copies_refused"] == 3
    assert said["nearest_face"] == pytest.approx(seen.nearness(stranger))
    assert said["nearest_face"] >= 1
    assert len(set(asked)) == 4, "each try goes on with the same chance"


def test_a_net_that_paints_nothing_but_copies_is_refused() -> None:
    faces = portraits(1)
    asked = []
    with pytest.raises(MediaError, match=f"a copy of a face that was learned from, {TRIES} times"):
        Seen.of(remember(faces)).nobody(lambda rng: asked.append(0) or faces[0], np.random.default_rng(1))  # type: ignore[func-returns-value]
    assert len(asked) == TRIES


def test_what_is_kept_is_the_same_every_time_and_of_all_faces() -> None:
    faces = portraits(2)
    one, two = remember(faces), remember(faces)
    assert one.keys() == two.keys()
    assert all(bool((one[name] == two[name]).all()) for name in one)
    assert len(Seen.of(one).features) == len(faces)
    assert np.allclose(np.linalg.norm(Seen.of(one).features, axis=1), 1, atol=1e-4)


def test_a_model_without_faces_says_so() -> None:
    with pytest.raises(ModelError, match="which faces it learned from; train it again"):
        Seen.of({})
