"""Laying one face on another: warp, blend, the swap and its null twin."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.interpolate import LinearNDInterpolator
from scipy.sparse.linalg import spsolve

from forgeline.clip import Picture
from forgeline.errors import MediaError
from forgeline.mesh import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_BROW, RIGHT_EYE
from generators.blend import match_colours, membrane, mix, multiband
from generators.blend_swap import BlendSwap, fitting_frames
from generators.pose import yaw
from generators.self_swap import SelfSwap
from generators.warp import CLOSED, spread
from tests.people import FRAMES, HEIGHT, SHARED, UNSEEN, WIDTH, drawn, finder, footage, lip_gap, pose

EMBEDDER = SHARED / "weights" / "mobilefacenet" / "mobilefacenet_photo_analyze.onnx"

# --------------------------------------------------------------------------------------------- warp and blend


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_spread_is_linear_interpolation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.uniform(-5, 45, (6, 2)).astype(np.float32)
    mesh = np.concatenate([points, np.zeros((6, 1), np.float32)], 1)
    values = rng.normal(size=(6, 2)).astype(np.float32)
    reference = LinearNDInterpolator(points, values)
    planes, covered = spread(mesh, values, reference.tri.simplices.astype(np.int32), (3, 5, 37, 41))
    y, x = np.mgrid[5:41, 3:37]
    wanted = reference(x, y)
    inside = np.isfinite(wanted[..., 0])
    thin = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0  # rounding on the outline
    assert np.array_equal(covered[~thin] > 0, inside[~thin])
    sure = inside & (covered > 0) & ~thin
    np.testing.assert_allclose(np.moveaxis(planes, 0, 2)[sure], wanted[sure], atol=1e-2)


def test_spread_shows_the_nearer_triangle() -> None:
    mesh = np.array([[0, 0, 5], [20, 0, 5], [0, 20, 5], [0, 0, -5], [20, 0, -5], [0, 20, -5]], np.float32)
    values = np.array([[1], [1], [1], [2], [2], [2]], np.float32)
    for order in ([[0, 1, 2], [3, 4, 5]], [[3, 4, 5], [0, 1, 2]]):
        planes, covered = spread(mesh, values, np.array(order, np.int32), (0, 0, 20, 20))
        assert np.array_equal(planes[0] == 2, covered > 0)
        assert planes[0].max() == 2


def test_membrane_solves_its_equation() -> None:
    rng = np.random.default_rng(0)
    height, width = 40, 33
    trust = np.zeros((height, width), np.float32)
    trust[[5, 34]], trust[:, [4, 28]] = 100, 100
    y, x = np.mgrid[:height, :width]
    values = np.stack([x * 2.0, y - x, 20 * np.sin(y / 6)], 2).astype(np.float32) + rng.normal(0, 1, (height, width, 3))

    def line(n: int) -> Any:
        step = sparse.diags([-np.ones(n - 1), np.ones(n - 1)], [0, 1], shape=(n - 1, n))
        return step.T @ step

    laplace = sparse.kron(line(height), sparse.eye(width)) + sparse.kron(sparse.eye(height), line(width))
    system = (laplace + sparse.diags(trust.ravel())).tocsc()
    wanted = spsolve(system, (values * trust[..., None]).reshape(-1, 3)).reshape(height, width, 3)
    error = membrane(values.astype(np.float32), trust) - wanted
    assert np.abs(error).max() < 0.02 * np.ptp(wanted)


def test_blends_meet_at_the_ends_of_alpha() -> None:
    rng = np.random.default_rng(0)
    under, over = rng.integers(0, 256, (2, 64, 48, 3), np.uint8)
    alpha = np.zeros((64, 48), np.uint8)
    alpha[16:48, 12:36] = 255
    assert np.array_equal(mix(under, over, alpha)[alpha == 0], under[alpha == 0])
    assert np.array_equal(mix(under, over, alpha)[alpha == 255], over[alpha == 255])
    assert np.array_equal(multiband(under, under, alpha), under)
    assert np.array_equal(multiband(under, over, alpha)[alpha == 0], under[alpha == 0])


@given(st.lists(st.integers(0, 255), min_size=6, max_size=6))
def test_matched_colours_keep_their_order_and_their_black(levels: list[int]) -> None:
    own, wanted = np.array(levels[:3], np.float32), np.array(levels[3:], np.float32)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    matched = match_colours(ramp, own, wanted).astype(int)
    assert (np.diff(matched, axis=1) >= 0).all()
    assert not matched[0, 0].any()
    for channel in range(3):
        if 6 <= own[channel] <= 249 and 6 <= wanted[channel] <= 249:
            assert abs(matched[0, int(own[channel]), channel] - wanted[channel]) <= 1


# ---------------------------------------------------------------------------------------------- blend_swap


def test_yaw_is_measured_in_degrees() -> None:
    for turn in (-40, 0, 25):
        assert abs(yaw(pose(0, turn, 0, 0, 100))) == pytest.approx(abs(turn), abs=1)


def test_the_source_frame_is_turned_like_the_target_and_has_open_eyes() -> None:
    target, source = drawn(1, [20] * FRAMES), drawn(2, [0, -20, 10, 18, 22, 40, 30, 5, 0, 0])
    best = fitting_frames(source, target, 35)
    assert best[0] in (3, 6)
    assert set(best) == {0, 1, 2, 3, 6, 7, 8, 9}, "neither unseen nor turned too far"
    assert source.track is not None
    blinking = source.track.mesh.copy()
    for lower, upper in ((145, 159), (374, 386)):
        blinking[best[0], lower] = blinking[best[0], upper]
    shut = replace(source, track=replace(source.track, mesh=blinking))
    assert fitting_frames(shut, target, 35)[0] != best[0]


@pytest.mark.parametrize("blend", ["poisson", "multiband"])
def test_the_swap_shows_the_source(blend: str) -> None:
    target, source = drawn(1), drawn(2)
    track = target.track
    assert track is not None
    made = BlendSwap.model_validate({"blend": blend})([target, source], np.random.default_rng(0))
    frame = int(fitting_frames(source, target, 35)[0])
    assert source.track is not None
    own = list(source.pictures())[frame]
    features = np.isin(np.arange(468), np.concatenate([RIGHT_BROW, LEFT_BROW, RIGHT_EYE, LEFT_EYE, LIPS_OUTER, LIPS_INNER]))
    values = np.concatenate([source.track.mesh[frame][:, :2], features[:, None]], 1)
    planes, _ = spread(track.mesh[0], values, CLOSED, (0, 0, WIDTH, HEIGHT))
    ideal = cv2.remap(own, planes[0], planes[1], cv2.INTER_LINEAR)
    picture, mask = next(made.pictures)
    assert mask is not None
    core = (cv2.erode(mask, np.ones((25, 25), np.uint8)) == 255) & (cv2.dilate(planes[2], np.ones((9, 9))) == 0)

    def detail(picture: NDArray[Any]) -> Any:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
        return np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), 3))[core]

    both = np.stack([detail(np.asarray(ideal)), detail(next(target.pictures()))], 1)
    of_source, of_target = np.linalg.lstsq(both, detail(picture))[0]
    assert core.sum() > 300
    assert of_source > 0.4
    assert abs(of_target) < 0.1


def test_the_mouth_stays_the_targets() -> None:
    target = drawn(1)
    frames = list(BlendSwap()([target, drawn(2)], np.random.default_rng(7)).pictures)
    track = target.track
    assert track is not None
    frame = int(np.nanargmax(track.mesh[:, 14, 1] - track.mesh[:, 13, 1]))
    _, mask = frames[frame]
    x, y = track.mesh[frame][[13, 14], :2].mean(0).round().astype(int)
    assert mask is not None
    assert mask[y, x] == 0
    assert mask[y - 30, x] == 255


def test_frames_turned_too_far_pass_through() -> None:
    turns = [0, 10, 20, 30, 40, 50, 50, 20, 10, 0]
    target = drawn(1, turns)
    made = BlendSwap()([target, drawn(2)], np.random.default_rng(0))
    changed = [mask is not None and mask.any() for _, mask in made.pictures]
    assert changed == [abs(t) <= 35 and i != UNSEEN for i, t in enumerate(turns)]
    with pytest.raises(MediaError, match="in only 3 of 10 frames"):
        BlendSwap(max_yaw=15)([drawn(1, [10, 10, 10, 20, 20, 20, 20, 20, 20, 20]), drawn(2)], np.random.default_rng(0))
    with pytest.raises(MediaError, match="person 2"):
        BlendSwap(max_yaw=15)([drawn(1), drawn(2, [25] * FRAMES)], np.random.default_rng(0))


# ----------------------------------------------------------------------------------------------- self_swap


def test_the_twin_is_the_same_person_at_a_drawn_moment() -> None:
    target = drawn(1)
    pictures = [next(SelfSwap()([target], np.random.default_rng(seed)).pictures)[0] for seed in range(6)]
    assert len({picture.tobytes() for picture in pictures}) > 1
    for picture in pictures:
        change = np.abs(picture.astype(int) - next(target.pictures())).mean(axis=2)
        assert 0 < change.mean() < 1
        assert np.percentile(change, 99) < 20


# ------------------------------------------------------------------------------------------ real footage


def identity(picture: Picture, face: NDArray[np.float32]) -> NDArray[np.float32]:
    """MobileFaceNet's embedding (Chen et al. 2018) of the face with this mesh, of length 1."""
    places = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]], np.float32)
    points = np.stack([face[p, :2].mean(0) for p in ([33, 133], [362, 263], [4], [61], [291])])
    turn, _ = cv2.estimateAffinePartial2D(points, places, method=cv2.LMEDS)
    net = cv2.dnn.readNetFromONNX(str(EMBEDDER))
    net.setInput(cv2.dnn.blobFromImage(cv2.warpAffine(picture, turn, (112, 112)), 1 / 127.5, mean=(127.5,) * 3))
    embedding = net.forward().ravel()
    return np.asarray(embedding / np.linalg.norm(embedding), np.float32)


@pytest.mark.parametrize("blend", ["poisson", "multiband"])
def test_a_real_swap_takes_the_face_and_leaves_the_expression(blend: str) -> None:
    target, source = footage("sbwe5n"), footage("lwbsza")
    swap = BlendSwap.model_validate({"blend": blend})
    pictures = [picture for picture, _ in swap([target, source], np.random.default_rng(0)).pictures]
    assert target.track is not None
    assert source.track is not None
    meshes = [finder().find(picture)[0].mesh for picture in pictures]
    gaps = [[lip_gap(a), lip_gap(b)] for a, b in zip(meshes, target.track.mesh, strict=True)]
    assert np.corrcoef(np.array(gaps).T)[0, 1] > 0.8
    if not EMBEDDER.exists():
        pytest.skip("needs the MobileFaceNet weights in ../shared/weights")
    swapped = identity(pictures[10], meshes[10])
    of_source = identity(list(source.pictures())[10], source.track.mesh[10])
    of_target = identity(list(target.pictures())[10], target.track.mesh[10])
    assert swapped @ of_source > swapped @ of_target + 0.2
