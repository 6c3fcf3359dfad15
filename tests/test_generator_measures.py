"""What the benchmark of generators measures: on faces and pictures of which it is known."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.generators.measures import Changes, expression_error, kernel_distance, precision_recall, turned
from forgeline.clip import Mask, Picture, Track
from forgeline.mesh import LEFT_EYE_CORNER, LIPS_INNER, RIGHT_EYE_CORNER

Floats = NDArray[np.float32]


def track(meshes: Floats) -> Track:
    frames = len(meshes)
    none = np.zeros((frames, 5, 2), np.float32)
    return Track(none[:, :4, 0], none, meshes, np.ones(frames, np.float32), np.ones(frames, np.bool_))


def face(seed: int, frames: int = 6) -> Floats:
    """Someone's mesh, which opens its mouth frame by frame."""
    meshes: Floats = np.random.default_rng(seed).normal(0, 40, (1, 468, 3)).astype(np.float32).repeat(frames, axis=0)
    meshes[:, LIPS_INNER, 1] += 5 * np.arange(frames)[:, None]
    return meshes


def seen_from(meshes: Floats, yaw: float, scale: float, shift: float) -> Floats:
    a = np.radians(yaw)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    return np.asarray(scale * meshes @ turn.T + shift, np.float32)


@pytest.mark.parametrize("yaw", [0.0, 12.0, -40.0])
def test_pose_is_the_angle_whatever_size_and_place(yaw: float) -> None:
    angles = turned(track(face(1)), track(seen_from(face(1), yaw, 1.7, 300)))
    assert np.allclose(angles, abs(yaw), atol=0.1)


def test_expression_is_the_same_from_elsewhere_and_differs_by_what_moves() -> None:
    mine = face(1)
    error, still = expression_error(track(seen_from(mine, 20, 0.6, 90)), track(mine))
    assert error < 1e-3 < still
    frozen, own = expression_error(track(mine[:1].repeat(6, axis=0)), track(mine))
    assert frozen == pytest.approx(own)
    front = mine.mean(0)[:, :2]
    width = np.hypot(*(front[LEFT_EYE_CORNER] - front[RIGHT_EYE_CORNER]))
    lips = np.sqrt(np.mean(np.square(5 * (np.arange(6) - 2.5)))) * np.sqrt(len(LIPS_INNER) / 92)
    assert own == pytest.approx(lips / width, rel=0.02)


def test_frames_without_a_face_do_not_count() -> None:
    lost = replace(track(face(1)), seen=np.array([True, True, False, True, True, True]))
    lost.mesh[2] = np.nan
    assert len(turned(track(face(1)), lost)) == 5
    assert expression_error(lost, track(face(1)))[0] < 1e-4


def pictures() -> list[Picture]:
    return list(np.random.default_rng(0).integers(50, 200, (8, 20, 30, 3), np.uint8))


def changed(by: int, outside: int = 0) -> Iterator[tuple[Picture, Mask | None]]:
    """The pictures with a shifted middle, and the shift halved from picture to picture towards the first."""
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:25] = 255
    first = pictures()[0]
    for picture in pictures():
        made = picture.copy()
        made[mask > 0] = (first[mask > 0] // 2 + picture[mask > 0] // 2) + by
        made[0, 0] += outside
        yield made, mask


def test_changes_are_measured_where_they_are() -> None:
    found = Changes()
    kept = found.add(changed(5), pictures())
    assert len(kept) == 8
    assert found.psnr_outside == np.inf
    assert found.iou > 0.98
    assert found.flicker == pytest.approx(0.5, abs=0.02)
    found.add(changed(5, outside=1), pictures())
    values = 2 * 8 * 3 * (20 * 30 - 10 * 20)
    assert found.psnr_outside == pytest.approx(10 * np.log10(255**2 * values / (8 * 3)))


def test_nothing_changed_has_no_flicker_and_no_overlap() -> None:
    found = Changes()
    found.add(((picture, None) for picture in pictures()), pictures())
    assert np.isnan(found.flicker)
    assert np.isnan(found.iou)


def test_kernel_distance_is_the_mean_over_all_but_matched_rows() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0, 1, (6, 4)), rng.normal(0.5, 1, (6, 4))

    def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
        return float((x @ y / 4 + 1) ** 3)

    terms = [
        kernel(one[i], one[j]) + kernel(other[i], other[j]) - kernel(one[i], other[j]) - kernel(one[j], other[i])
        for i in range(6)
        for j in range(6)
        if i != j
    ]
    assert kernel_distance(one, other) == pytest.approx(np.mean(terms))


def test_kernel_distance_is_none_between_sets_of_one_kind_even_of_pairs() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(0, 1, (400, 4))
    assert kernel_distance(one, one) == pytest.approx(0)
    assert abs(kernel_distance(one, rng.normal(0, 1, (400, 4)))) < 0.05
    assert kernel_distance(one, one + 1) > 1


def test_precision_and_recall_count_what_lies_within_a_neighbours_reach() -> None:
    rng = np.random.default_rng(1)
    made, real = rng.normal(0, 1, (30, 3)), rng.normal(0.7, 0.5, (20, 3))

    def share(some: NDArray[np.float64], others: NDArray[np.float64]) -> float:
        reach = [sorted(np.linalg.norm(o - p) for p in others)[3] for o in others]
        return float(np.mean([any(np.linalg.norm(s - o) <= r for o, r in zip(others, reach, strict=True)) for s in some]))

    assert precision_recall(made, real) == pytest.approx((share(made, real), share(real, made)))
    assert precision_recall(made, made) == (1, 1)
    assert precision_recall(made, made + 100) == (0, 0)
    narrow = made[0] + rng.normal(0, 0.01, (30, 3))
    precision, recall = precision_recall(narrow, made)
    assert precision > 0.9 > 0.2 > recall
