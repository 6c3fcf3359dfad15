"""Whether faces are found and lie in the picture, on drawn people who were moved, cut off and painted over."""

from collections.abc import Mapping
from fractions import Fraction

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluators.faces import faces_of
from evaluators.figure import Figure, Frames, Pair, score
from evaluators.landmarks import Landmarks
from forgeline.clip import Clip
from forgeline.errors import WeightsError
from forgeline.faces import FaceFinder
from tests.people import drawn

Pictures = NDArray[np.uint8]


@pytest.fixture(scope="module", autouse=True)
def nets() -> None:
    try:
        FaceFinder()
    except WeightsError as error:
        pytest.skip(f"no face nets here: {error}")


@pytest.fixture(scope="module")
def me() -> Pictures:
    return np.stack(list(drawn(1).pictures())[:4])


def clip_of(pictures: Pictures) -> Clip:
    n, height, width = pictures.shape[:3]
    return Clip("video", width, height, Fraction(25), n, lambda: iter(pictures), lambda: None, name="a clip")


def pair(control: Pictures, fake: Pictures, sample_id: str = "a", *, aligned: bool = True) -> Pair:
    return Pair(sample_id, clip_of(fake), clip_of(control), "swap", "test", aligned=aligned)


def figures(control: Pictures, fake: Pictures) -> Mapping[str, Figure]:
    return score([pair(control, fake)], {"it": Landmarks()}, 8).samples["a"]


def values(control: Pictures, fake: Pictures) -> list[float | None]:
    return [figure.value for figure in figures(control, fake).values()]


def test_a_face_that_was_left_alone_is_all_there(me: Pictures) -> None:
    assert values(me, me) == [1, 1, 1, 1, 0]
    assert {figure.n for figure in figures(me, me).values()} == {4}


def test_frames_without_a_face_are_counted(me: Pictures) -> None:
    gone = me.copy()
    gone[1] = 90
    assert values(me, gone)[:4] == [0.75, 1, 0.75, 1]
    assert values(gone, me)[:4] == [0.75, 0.75, 0.75, 0.75]  # it is not known where to look in the fake
    assert figures(me, gone)["landmark_shift"].n == 3


def test_no_face_at_all_is_0_and_not_nothing(me: Pictures) -> None:
    empty = np.full_like(me, 90)
    assert values(empty, me) == [0, 0, 0, 0, None]
    assert "no face is found" in str(figures(empty, me)["landmark_shift"].reason)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("end", [False, True])
def test_a_face_that_is_cut_off_is_not_inside(me: Pictures, axis: int, end: bool) -> None:
    mesh = faces_of(Frames(me[:1], me[:1], None, aligned=True)).control[0, :, 2 - axis]
    near = np.take(me, range(round(mesh.min()) + 8, me.shape[axis]), axis)
    far = np.take(me, range(round(mesh.max()) - 8), axis)
    cut = far if end else near
    found = values(cut, cut)
    assert found[:2] == [1, 1]  # the net still sees it
    assert found[2:4] == [0, 0]


def test_a_shift_is_in_distances_of_the_eyes(me: Pictures) -> None:
    mesh = faces_of(Frames(me[:1], me[:1], None, aligned=True)).control[0]
    eyes = np.hypot(*(mesh[263, :2] - mesh[33, :2]))
    found = figures(me, np.roll(me, (3, 4), axis=(1, 2)))["landmark_shift"].value
    assert found == pytest.approx(5 / eyes, rel=0.15)


def test_a_set_is_the_mean_of_its_clips(me: Pictures) -> None:
    gone = me.copy()
    gone[:3] = 90
    pairs = [pair(me, me, "a"), pair(me[:2], gone[:2], "b"), pair(me, gone, "c"), pair(me, me, "d", aligned=False)]
    found = score(pairs, {"it": Landmarks()}, 8).sets["swap", "master", "test"]
    assert found["face_found"].value == pytest.approx((1 + 0 + 0.25) / 3)
    assert found["landmark_shift"].n == 2
    alone = score(pairs[3:], {"it": Landmarks()}, 8).sets["swap", "master", "test"]
    assert {figure.reason for figure in alone.values()} == {"the fake was not made from its control frame by frame"}
