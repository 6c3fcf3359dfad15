"""Faces cut out upright, and laid back: against another implementation, and on pictures that show where they came from."""

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform

from forgeline.errors import MediaError
from generators.align import arcface, cut, ffhq, five, in_picture, inside, laid, oval, place, resized
from tests.people import FRAMES, HEIGHT, WIDTH, drawn, pose


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_place_is_the_best_similarity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, template = rng.uniform(-50, 600, (2, 5, 2))
    reference = SimilarityTransform.from_estimate(points, template)
    ours = np.vstack([place(points, template), [0, 0, 1]])
    if np.linalg.det(reference.params[:2, :2]) > 0:
        np.testing.assert_allclose(ours, reference.params, rtol=1e-6, atol=1e-6)


def test_templates_are_those_that_nets_were_taught_with() -> None:
    assert arcface(112)[0].tolist() == [38.2946, 51.6963]
    assert arcface(224)[0].tolist() == pytest.approx([2 * 38.2946, 2 * 51.6963])
    assert arcface(128)[0].tolist() == pytest.approx([38.2946 + 8, 51.6963])
    assert arcface(256)[0].tolist() == pytest.approx([2 * (38.2946 + 8), 2 * 51.6963])
    assert ffhq(512)[2].tolist() == [256.63416, 314.01935]
    assert ffhq(256)[2].tolist() == pytest.approx([128.31708, 157.009675])


@pytest.mark.parametrize("turn", [0, 25])
@pytest.mark.parametrize("size", [40, 160, 400])
@pytest.mark.parametrize(("template", "side"), [(arcface, 112), (ffhq, 256)])
def test_the_five_points_come_to_lie_on_the_template(
    turn: int, size: int, template: Callable[[int], np.ndarray], side: int
) -> None:
    mesh = pose(0.0, 0, 500, 480, size)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    mesh[:, :2] = (mesh[:, :2] - (500, 480)) @ np.array([[c, s], [-s, c]], np.float32) + (500, 480)
    points = five(mesh)
    at = place(points, template(side))
    scale = np.hypot(*at[:, 0])
    for point in points:
        picture = np.zeros((1000, 1000, 3), np.uint8)
        cv2.circle(picture, np.round(point * 16).astype(int).tolist(), round(48 / scale), (255,) * 3, -1, cv2.LINE_AA, 4)
        dot = cut(picture, at, side)[..., 0].astype(float)
        y, x = np.mgrid[:side, :side]
        middle = np.array([(dot * x).sum(), (dot * y).sum()]) / dot.sum()
        np.testing.assert_allclose(middle, at[:, :2] @ point + at[:, 2], atol=0.6)
        back = laid(cut(picture, at, side), at, (0, 0, 1000, 1000))[..., 0].astype(float)
        y, x = np.mgrid[:1000, :1000]
        np.testing.assert_allclose(np.array([(back * x).sum(), (back * y).sum()]) / back.sum(), point, atol=0.6 / scale + 0.1)


def waves(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waving = (np.sin(x / 25), np.sin(y / 31), np.cos((x + y) / 40))
    return np.stack([127 + 100 * wave for wave in waving], 2).astype(np.uint8)


@pytest.mark.parametrize("side", [64, 200, 512, 1024])
def test_what_is_cut_out_fits_back(side: int) -> None:
    picture = waves(300, 400)
    at = place(np.array([[120, 80], [220, 90]]), np.array([[0.25, 0.3], [0.7, 0.3]]) * side)
    box = (130, 90, 210, 150)
    back = laid(cut(picture, at, side), at, box).astype(int)
    assert np.abs(back - picture[90:150, 130:210]).max() <= 4
    enlarged = cv2.resize(cut(picture, at, side), (2 * side, 2 * side), interpolation=cv2.INTER_LINEAR)
    assert np.abs(laid(enlarged, resized(at, 2), box).astype(int) - back).max() <= 4


def test_soft_edges_end_at_the_outline_and_at_the_square() -> None:
    mesh, box = pose(0.0, 0, 88, 100, 100), (0, 0, WIDTH, HEIGHT)
    face = oval(mesh, box, 0.1)
    filled = np.zeros((HEIGHT, WIDTH), np.uint8)
    hull = cv2.convexHull(np.round(mesh[:, :2] * 16).astype(np.int32))
    cv2.fillPoly(filled, [hull], 1, shift=4)
    assert not face[cv2.dilate(filled, np.ones((3, 3))) == 0].any()
    assert face[100, 88] == 1
    assert np.abs(np.diff(face, axis=0)).max() < 0.25, "the edge is a step"
    at = place(five(mesh), arcface(64))
    square = inside(at, 64, box, 0.1)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    across = at[0, 0] * x + at[0, 1] * y + at[0, 2]
    assert not square[(across < 0) | (across > 63)].any()
    assert square[100, 88] == 1


def test_a_face_that_fills_the_picture_has_no_edge_where_the_picture_ends() -> None:
    mesh = pose(0.0, 0, 0, 100, 100)  # its right half lies outside
    face = oval(mesh, (0, 0, WIDTH, HEIGHT), 0.1)
    assert face[100, 0] == 1


def test_faces_outside_the_picture_are_no_work() -> None:
    clip = drawn(1)
    assert clip.track is not None
    seen = clip.track.seen
    assert np.array_equal(in_picture(clip, seen), seen)
    moved = clip.track.mesh.copy()
    moved[: FRAMES // 2, :, 0] += WIDTH
    leaving = replace(clip, track=replace(clip.track, mesh=moved))
    assert np.array_equal(in_picture(leaving, seen), seen & (np.arange(FRAMES) >= FRAMES // 2))
    for mesh in (clip.track.mesh + WIDTH, clip.track.mesh * np.float32(0.1)):
        with pytest.raises(MediaError, match=r"person 1: shows no face of 16 pixels .*larger pictures"):
            in_picture(replace(clip, track=replace(clip.track, mesh=mesh)), seen)
