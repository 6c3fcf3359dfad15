"""Reenactment: on drawn faces, whose expression is known exactly, and on real ones, tracked anew."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from forgeline.clip import Clip, Mask, Picture, Track
from forgeline.errors import MediaError
from forgeline.mesh import LEFT_EYE, LIPS_INNER, LIPS_OUTER, OVAL, RIGHT_EYE
from generators.expression import STIFF, Expression, Replay, counterparts, expression_of, settled, similarity
from generators.eyes import LOWER_LIDS, UPPER_LIDS, close_eyes
from generators.reenact import LEAST, Reenact, closing, ways
from tests.people import FPS, HEIGHT, UNSEEN, WIDTH, draw, drawn, finder, footage, pose

Floats = NDArray[np.float32]
TALK = 0.06 * np.square(np.sin(np.arange(40) * 0.4))


def tracked(meshes: Sequence[Floats], seen: Sequence[bool] | None = None) -> Track:
    mesh, there = np.stack(meshes), np.ones(len(meshes), np.bool_) if seen is None else np.array(seen)
    mesh[~there] = np.nan
    box = np.concatenate([mesh[:, :, :2].min(1), mesh[:, :, :2].max(1)], 1)
    return Track(box, mesh[:, :5, :2], mesh, np.where(there, 1, np.nan).astype(np.float32), there)


def acted(person: int, meshes: Sequence[Floats], fps: Fraction = FPS, seen: Sequence[bool] | None = None) -> Clip:
    pictures = [draw(mesh, person, np.random.default_rng(i)) for i, mesh in enumerate(meshes)]
    track = tracked(meshes, seen)
    return Clip("video", WIDTH, HEIGHT, fps, len(meshes), lambda: iter(pictures), lambda: None, track, f"person {person}")


def talking(openings: Sequence[float] | NDArray[np.float64], turn: float = 0, size: float = 100) -> list[Floats]:
    return [pose(opening, turn, 88, 100, size) for opening in openings]


def shown(track: Track) -> Expression:
    return expression_of(track, track.seen, float(FPS))


def gap(mesh: Floats) -> Floats:
    """How far the lips are apart, in heights of the face."""
    return np.asarray(
        np.linalg.norm(mesh[..., 13, :] - mesh[..., 14, :], axis=-1)
        / np.linalg.norm(mesh[..., 10, :] - mesh[..., 152, :], axis=-1)
    )


def blinking(openness: Sequence[float]) -> list[Floats]:
    """A face that rests, its upper lids lowered so that the eyes are as far open as given."""
    meshes = talking([0.01] * len(openness))
    for mesh, share in zip(meshes, openness, strict=True):
        mesh[UPPER_LIDS] += (1 - share) * (mesh[LOWER_LIDS] - mesh[UPPER_LIDS])
    return meshes


# ------------------------------------------------------------------------------------------ expression


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.2, 5), st.floats(0, 2))
def test_similarity_is_the_best_there_is(seed: int, size: float, noise: float) -> None:
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(20, 3))
    points = size * reference @ Rotation.random(rng=rng).as_matrix().T + size * noise * rng.normal(size=(20, 3)) + 10
    if noise > 1.5:
        points[:, 0] *= -1  # the best fit would be a reflection
    (scale,), (turn,) = similarity(points[None].astype(np.float32), reference.astype(np.float32))
    points -= points.mean(0)
    reference -= reference.mean(0)
    best, _ = Rotation.align_vectors(points, reference)
    np.testing.assert_allclose(turn, best.as_matrix(), atol=2e-3)
    assert scale == pytest.approx((points * best.apply(reference)).sum() / np.square(reference).sum(), rel=1e-3, abs=1e-3)


def test_the_face_at_rest_has_its_lips_together() -> None:
    expression = shown(tracked(talking(TALK, turn=12)))
    assert gap(expression.rest) == pytest.approx(gap(pose(0.002, 12, 88, 100, 100)), abs=0.004)
    moved = np.linalg.norm(expression.offsets, axis=2)
    assert moved[:, STIFF].max() < 0.5
    assert moved[:, 14].max() > 4


def test_where_a_head_lies_is_no_expression() -> None:
    still = talking(TALK)
    moving = [
        mesh * (1 + 0.3 * np.sin(i / 9)) @ Rotation.from_rotvec(np.sin([i / 7, i / 5, i / 8]) * (0.2, 0.3, 0.4)).as_matrix()
        + (i, -i, 0)
        for i, mesh in enumerate(still)
    ]
    wanted, found = shown(tracked(still)), shown(tracked(moving))
    scale, turn = similarity(found.rest[None], wanted.rest)
    np.testing.assert_allclose(found.offsets @ turn[0] / scale[0], wanted.offsets, atol=0.3)
    assert not found.shut.any()


@pytest.mark.parametrize(("depth", "shut"), [(1.0, 0.0), (0.95, 0.0), (0.7, 1.0), (0.0, 1.0)])
def test_blinks_are_told_from_small_changes(depth: float, shut: float) -> None:
    expression = shown(tracked(blinking([1] * 20 + [depth] * 3 + [1] * 20)))
    assert expression.shut[21] == pytest.approx([shut, shut], abs=1e-3)
    assert not expression.shut[[5, 18, 24, 40]].any()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(5, 60), st.integers(1, 60), st.integers(5, 60))
def test_frames_are_matched_by_seconds_and_a_short_driver_goes_back_and_forth(
    frames: int, fps: int, other_frames: int, other_fps: int
) -> None:
    at = counterparts(frames, fps, other_frames, other_fps)
    assert at.shape == (frames,)
    assert at.min() >= 0
    assert at.max() <= max(other_frames - 1, 1)
    assert np.abs(np.diff(at)).max(initial=0) <= other_fps / fps + 1e-9
    first = (np.arange(frames) + 0.5) / fps
    inside = (first > 0.5 / other_fps) & (first * other_fps < other_frames - 0.5)
    np.testing.assert_allclose((at[inside] + 0.5) / other_fps, first[inside])


def test_the_same_fps_matches_frame_by_frame() -> None:
    np.testing.assert_allclose(counterparts(7, 25, 3, 25), [0, 1, 2, 1, 0, 1, 2], atol=1e-9)


def test_a_lost_face_is_bridged_held_and_then_let_go() -> None:
    seen = [True] * 10 + [False] * 5 + [True] * 10 + [False] * 30
    expression = shown(tracked(talking(np.linspace(0, 0.06, 55)), seen))
    replay = Replay.of(np.array(seen), np.arange(55.0), float(FPS))
    found, trust = replay.expression(expression), replay.trust
    assert np.isfinite(found.offsets).all()
    opening = found.offsets[:, 14, 1] - found.offsets[:, 13, 1]
    np.testing.assert_allclose(np.diff(opening[9:16]), float(opening[15] - opening[9]) / 6, atol=1e-4)
    assert np.all(opening[25:] == opening[24])
    assert np.all(trust[:32] == 1)
    assert np.all(np.diff(trust[34:42]) < 0)
    assert not trust[43:].any()


# -------------------------------------------------------------------------------------------- transfer


@pytest.mark.parametrize("turn", [0, 15])
@pytest.mark.parametrize("size", [70, 110])
def test_the_mouth_follows_the_driver(turn: float, size: float) -> None:
    target, driver = tracked(talking(0.03 * np.roll(TALK, 3) / 0.06, turn)), tracked(talking(TALK, -turn / 2, size))
    own, other = shown(target), shown(driver)
    way = ways(own, other, np.ones(40, np.float32), 0.0)
    moved = np.stack([settled(target, target.seen, i, float(FPS)) for i in range(40)])
    moved[..., :2] += way
    wanted = np.stack([settled(driver, driver.seen, i, float(FPS)) for i in range(40)])
    np.testing.assert_allclose(gap(moved)[2:-2], gap(wanted)[2:-2], atol=0.006)


def test_the_targets_own_shape_stays() -> None:
    broad = [mesh * np.array([1.3, 0.9, 1], np.float32) for mesh in talking([0.01] * 20)]
    target = tracked(talking(TALK[:20]))
    own = shown(target)
    way = ways(own, shown(tracked(broad)), np.ones(20, np.float32), 0.0)
    moved = np.stack([settled(target, target.seen, i, float(FPS)) for i in range(20)])
    moved[..., :2] += way
    assert np.abs(moved - own.rest)[..., :2].max() < 0.3, "a driver at rest leaves the target at rest"
    assert np.abs(own.rest - pose(0, 0, 88, 100, 100)).max() < 1.5


def test_lips_never_cross() -> None:
    shut = talking([0.0] * 20)
    for mesh in shut[10:]:  # pressed together further than the target's can be
        mesh[LIPS_INNER[1:10], 1] -= 6
    target = tracked(talking([0.01] * 20))
    way = ways(shown(target), shown(tracked(shut)), np.ones(20, np.float32), 0.0)
    moved = target.mesh[..., :2] + way
    assert (moved[:, LIPS_INNER[1:10], 1] - moved[:, LIPS_INNER[:10:-1], 1]).min() > -0.01


def test_a_share_of_the_drivers_turning_is_taken_on_inside_the_outline() -> None:
    turns = np.linspace(-10, 10, 21)
    driver = tracked([pose(0.01, turn, 88, 100, 100) for turn in turns])
    target = tracked(talking([0.01] * 21))
    own, other = shown(target), shown(driver)
    for share in (0.0, 0.2):
        way = ways(own, other, np.ones(21, np.float32), share)
        wanted = share * (driver.mesh[:, 4, 0] - driver.mesh[..., 0].mean(1))
        np.testing.assert_allclose(way[:, 4, 0] - way[10, 4, 0], wanted - wanted[10], atol=0.05)
        assert np.abs(way[:, OVAL]).max() < 0.35


def test_eyes_close_with_the_driver_and_are_never_opened() -> None:
    target = shown(tracked(blinking([1] * 10 + [0.6] * 3 + [1] * 27)))
    driver = shown(tracked(blinking([1] * 25 + [0.6] * 3 + [1] * 12)))
    close = closing(target, driver, np.ones(40, np.float32))
    assert close[26] == pytest.approx([1, 1])
    assert not close[:24].any()
    assert closing(target, driver, np.full(40, 0.5, np.float32))[26] == pytest.approx([0.5, 0.5])
    half = replace(target, shut=np.full((40, 2), 0.5, np.float32))
    assert not closing(half, half, np.ones(40, np.float32)).any()
    assert closing(half, driver, np.ones(40, np.float32))[26] == pytest.approx([1, 1])
    assert closing(half, replace(half, shut=half.shut + 0.25), np.ones(40, np.float32)) == pytest.approx(0.5)


def whites(picture: Picture, mesh: Floats, eye: NDArray[np.int32]) -> int:
    """Pixels of an open eye."""
    x, y = mesh[eye, :2].mean(0).astype(int)
    return int((picture[y - 8 : y + 8, x - 14 : x + 14].min(2) > 200).sum())


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_lids_cover_the_eyeball_as_far_as_asked(share: float) -> None:
    mesh = pose(0.01, 0, 88, 100, 140)
    before = draw(mesh, 1, np.random.default_rng(0))
    picture, mask = before.copy(), np.zeros(before.shape[:2], np.uint8)
    close_eyes(picture, mask, mesh, np.array([share, 0], np.float32))

    open_eye = whites(before, mesh, RIGHT_EYE)
    assert whites(picture, mesh, LEFT_EYE) == whites(before, mesh, LEFT_EYE)
    assert (0.6 - share) * open_eye < whites(picture, mesh, RIGHT_EYE) < (1.1 - share) * open_eye
    assert np.array_equal(picture[mask == 0], before[mask == 0])
    assert not mask[:, round(float(mesh[6, 0])) :].any()


# ----------------------------------------------------------------------------------------- whole clips


def frames_of(made: object) -> list[tuple[Picture, Mask]]:
    return [(picture, mask) for picture, mask in made.pictures]  # type: ignore[attr-defined]


def dark(picture: Picture) -> int:
    """Pixels of an open mouth."""
    return int((picture[115:150, 60:116].max(2) < 90).sum())


def test_the_picture_shows_the_drivers_mouth() -> None:
    target, driver = acted(1, talking([0.01] * 40)), acted(2, talking(TALK))
    frames = frames_of(Reenact()([target, driver], np.random.default_rng(0)))
    assert np.corrcoef([dark(picture) for picture, _ in frames], TALK)[0, 1] > 0.9


def test_the_picture_shows_the_drivers_blink() -> None:
    target, driver = acted(1, talking([0.01] * 40)), acted(2, blinking([1] * 20 + [0.5] * 3 + [1] * 17))
    assert target.track is not None
    frames = frames_of(Reenact()([target, driver], np.random.default_rng(0)))
    for eye in (RIGHT_EYE, LEFT_EYE):
        found = np.array([whites(picture, target.track.mesh[0], eye) for picture, _ in frames])
        assert found[21] < 0.1 * found[0]
        assert np.ptp(found[[0, 10, 18, 24, 39]]) < 0.1 * found[0]


def test_a_mouth_that_was_shut_opens_onto_what_is_painted() -> None:
    mesh = pose(0.0, 0, 88, 100, 100)
    mesh[LIPS_INNER[11:], 1] = mesh[LIPS_INNER[9:0:-1], 1]
    before = draw(mesh, 1, np.random.default_rng(0))
    cv2.fillPoly(before, [np.round(mesh[LIPS_OUTER, :2]).astype(np.int32)], (150, 70, 80))
    target = replace(acted(1, [mesh] * 40), pictures=lambda: iter([before] * 40))
    frames = frames_of(Reenact()([target, acted(2, talking(TALK))], np.random.default_rng(0)))
    at = round(float(mesh[14, 1])) + 4, 88
    for (picture, mask), opening in zip(frames, TALK, strict=True):
        if opening > 0.055:
            assert picture[at].mean() < 0.7 * before[at].mean()
            assert mask[at] == 255
        elif opening < 0.001:
            assert picture[at].mean() > 0.9 * before[at].mean()


@pytest.mark.parametrize(("fps", "count"), [(Fraction(60), 80), (Fraction(12), 8), (Fraction(25), 90)])
def test_a_driver_of_another_rate_and_length_speaks_at_its_own_pace(fps: Fraction, count: int) -> None:
    seconds = (np.arange(count) + 0.5) / float(fps)
    target, driver = acted(1, talking([0.01] * 40)), acted(2, talking(0.03 - 0.03 * np.cos(9 * seconds)), fps)
    made = Reenact()([target, driver], np.random.default_rng(0))
    frames = frames_of(made)
    assert len(frames) == made.frames == 40
    assert made.fps == FPS
    while_it_lasts = (np.arange(40) + 0.5) / float(FPS)
    while_it_lasts = while_it_lasts[while_it_lasts < count / float(fps)]
    found = [dark(picture) for picture, _ in frames[: len(while_it_lasts)]]
    assert np.corrcoef(found, 0.03 - 0.03 * np.cos(9 * while_it_lasts))[0, 1] > 0.85


def test_frames_that_cannot_be_bent_stay_and_others_fade_in() -> None:
    turns = [0] * 12 + [50] * 4 + [0] * 12
    target = drawn(1, turns)
    driver = acted(2, talking([0.0] * 10 + [0.06] * 6 + [0.15] * 12))
    frames = frames_of(Reenact()([target, driver], np.random.default_rng(0)))
    for (picture, mask), original, turn, i in zip(frames, target.pictures(), turns, range(28), strict=True):
        if turn or i == UNSEEN:
            assert np.array_equal(picture, original)
            assert not mask.any()
    change = [np.abs(p.astype(int) - o).mean() for (p, _), o in zip(frames, target.pictures(), strict=True)]
    assert 0 < change[16] < change[17] < change[18] < change[19]
    assert change[16] < 0.3 * change[19]


def test_what_lies_far_from_the_face_is_left_alone() -> None:
    target = drawn(1, (0,) * 30)
    assert target.track is not None
    for (_, mask), mesh in zip(
        frames_of(Reenact()([target, drawn(2, (0,) * 30)], np.random.default_rng(0))), target.track.mesh, strict=True
    ):
        if mask.any():
            y, x = np.nonzero(mask)
            middle, half = mesh[:, :2].mean(0), np.ptp(mesh[:, :2], axis=0) / 2
            assert np.abs((np.stack([x, y], 1) - middle) / half).max() < 1.5


def test_the_mask_is_where_something_changed() -> None:
    even = np.full((HEIGHT, WIDTH, 3), 150, np.uint8)
    even[:, :100] = draw(pose(0.01, 0, 88, 100, 100), 1, np.random.default_rng(0))[:, :100]
    target = replace(acted(1, talking([0.01] * 40)), pictures=lambda: iter([even] * 40))
    for picture, mask in frames_of(Reenact()([target, acted(2, talking(TALK))], np.random.default_rng(0))):
        changed = (picture != even).any(2)
        assert not changed[mask == 0].any()
        assert (changed & (mask > 0)).sum() >= 0.9 * (mask > 0).sum()


def test_a_person_driven_by_themselves_does_what_they_do() -> None:
    clip = drawn(1, (0, 3, 6, 9, 12, 9, 6, 3, 0) * 3)
    assert clip.track is not None
    own = shown(clip.track)
    replay = Replay.of(clip.track.seen, counterparts(27, float(FPS), 27, float(FPS)), float(FPS))
    assert np.abs(ways(own, replay.expression(own), replay.trust, 0.5)[clip.track.seen]).max() < LEAST
    with pytest.raises(MediaError, match="person 1: does nothing but what person 1 does"):
        Reenact()([clip, clip], np.random.default_rng(0))


def test_clips_that_cannot_drive_are_refused_with_the_reason() -> None:
    target = drawn(1)
    with pytest.raises(MediaError, match="person 2: shows no face"):
        Reenact()([target, replace(drawn(2), track=None)], np.random.default_rng(0))
    with pytest.raises(MediaError, match="person 2: shows a face turned less than 35 degrees in only 0 of 10 frames"):
        Reenact()([target, drawn(2, [50] * 10)], np.random.default_rng(0))
    with pytest.raises(MediaError, match="person 2: is a still image"):
        Reenact()([target, replace(drawn(2), fps=Fraction(0), media_type="image")], np.random.default_rng(0))
    with pytest.raises(MediaError, match="person 1: is a still image"):
        Reenact()([replace(target, fps=Fraction(0), media_type="image"), drawn(2)], np.random.default_rng(0))


# ---------------------------------------------------------------------------------------- real footage


def test_real_lips_follow_the_driver() -> None:
    target, driver = footage("lbax4n"), footage("bbaf2n")
    assert target.track is not None
    assert driver.track is not None
    frames = frames_of(Reenact()([target, driver], np.random.default_rng(0)))
    found = np.array([gap(finder().find(picture)[0].mesh) for picture, _ in frames])
    of_driver, of_target = gap(driver.track.mesh), gap(target.track.mesh)
    assert np.corrcoef(found, of_driver)[0, 1] > 0.75
    assert np.corrcoef(found, of_driver)[0, 1] > np.corrcoef(found, of_target)[0, 1] + 0.2
