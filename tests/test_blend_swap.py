"""Laying one face on another: warp, blend, grain, what covers a face, the swap and its null twin."""

from collections.abc import Callable
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

from forgeline.clip import Clip, Picture, Track
from forgeline.errors import MediaError
from forgeline.mesh import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_BROW, RIGHT_EYE
from generators.blend import broad, match_colours, membrane, mix, multiband
from generators.blend_swap import BlendSwap, fitting_frames
from generators.cover import Layout, Usual
from generators.grain import blurred, excess, lay_grain, noise, sharpness, smooth
from generators.hair import bare
from generators.pose import facing, pitch, workable, yaw
from generators.self_swap import SelfSwap
from generators.warp import CLOSED, spread
from tests.people import FRAMES, HEIGHT, SHARED, UNSEEN, WIDTH, drawn, finder, footage, lip_gap, pose

EVERYWHERE = np.ones((HEIGHT, WIDTH), np.bool_)
EMBEDDER = SHARED / "weights" / "mobilefacenet" / "mobilefacenet_photo_analyze.onnx"


def track_of(clip: Clip) -> Track:
    assert clip.track is not None
    return clip.track


def painted(clip: Clip, paint: Callable[[int, Picture], None]) -> Clip:
    """The clip after something was painted into its pictures, given with their numbers."""
    pictures = [picture.copy() for picture in clip.pictures()]
    for frame, picture in enumerate(pictures):
        paint(frame, picture)
    return replace(clip, pictures=lambda: iter(pictures))


def swap(target: Clip, source: Clip, blend: str = "poisson") -> list[tuple[Picture, NDArray[np.uint8]]]:
    made = BlendSwap.model_validate({"blend": blend})([target, source], np.random.default_rng(0))
    return [(picture, mask) for picture, mask in made.pictures if mask is not None]


def place(mesh: NDArray[np.float32], *points: int) -> tuple[int, int]:
    """The middle of some points of a mesh, as pixel x and y."""
    x, y = mesh[list(points), :2].mean(0).round().astype(int)
    return int(x), int(y)


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


def test_broad_is_a_mean_of_what_is_trusted() -> None:
    values = np.full((48, 48, 3), 7, np.float32)
    trust = np.zeros((48, 48), np.float32)
    trust[10:40, 10:40] = 1
    values[trust == 0] = -90
    np.testing.assert_allclose(broad(values, trust)[10:40, 10:40], 7, atol=0.1)
    values[10:40, 10:25] = 3
    slope = broad(values, trust)[20, 10:40, 0]
    assert (np.diff(slope) > 0).all()
    assert slope[0] < 4
    assert slope[-1] > 6


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


# ---------------------------------------------------------------------------------------------------- grain


@pytest.mark.parametrize("level", [2.0, 4.0, 8.0])
def test_grain_is_measured_laid_and_taken_away(level: float) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    ramp = np.repeat((60 + 0.5 * x + 20 * np.sin(y / 9))[..., None], 3, 2).astype(np.uint8)
    ramp[60:90, 40:80] = 220
    grainy = lay_grain(ramp, level, rng)
    assert noise(grainy, EVERYWHERE) == pytest.approx(level, rel=0.15)
    clean = smooth(grainy, EVERYWHERE)
    assert noise(clean, EVERYWHERE) < 0.5 * level
    assert abs(int(clean[75, 60, 0]) - 220) < 3 + level
    assert not np.array_equal(lay_grain(ramp, level, rng), grainy), "it would stand still"


def test_sharpness_falls_with_every_blur_and_noise_is_none() -> None:
    face = next(drawn(1).pictures())
    values = [sharpness(blurred(face, deviation), EVERYWHERE) for deviation in (0, 0.5, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[0] > 1.5 * values[3]
    for deviation in (0.0, 0.7, 2.0):
        assert excess(face, EVERYWHERE, sharpness(blurred(face, deviation), EVERYWHERE)) == deviation


# ------------------------------------------------------------------------------------------ what covers a face


def look(clip: Clip, layout: Layout, frame: int) -> Picture:
    return layout(list(clip.pictures())[frame], track_of(clip).mesh[frame])


def test_a_cell_is_the_same_place_on_the_face_in_every_pose() -> None:
    clip = drawn(1, [0, 5, 10, 15, 20, 25, 30, 20, 10, 0])
    layout = Layout(track_of(clip).mesh[0])
    first = look(clip, layout, 0).astype(int)
    for frame in (3, 6):
        turned = look(clip, layout, frame).astype(int)
        off = np.abs(turned - first).mean(2)[layout.within > 0]
        assert np.median(off) < 6
    assert np.ptp(first[layout.within > 0].mean(1)) > 80, "of course, if there is nothing to see"


def test_a_spread_layout_holds_a_points_value_where_the_point_is() -> None:
    mesh = pose(0, 10, 88, 100, 96)
    layout = Layout(mesh)
    points = np.array([9, 50, 280, 101, 330, 199])
    np.testing.assert_allclose(layout.at(points, layout.spread(mesh[:, :1])[0]), mesh[points, 0], atol=1)


@pytest.mark.parametrize("light", [0.7, 1.0, 1.3])
def test_what_is_unusual_covers_and_light_does_not(light: float) -> None:
    clip = drawn(1)
    layout = Layout(track_of(clip).mesh[0])
    looks = [look(clip, layout, frame) for frame in range(FRAMES) if frame != UNSEEN]
    usual = Usual(looks, layout.within)
    lit = np.clip(looks[3] * light, 0, 255).astype(np.uint8)
    assert usual.cover(lit).mean() < 0.01
    hand = lit.copy()
    hand[40:80, 20:40] = hand[40:80, 20:40] // 2 + 20
    covered = usual.cover(hand)
    assert covered[43:77, 23:37].mean() > 0.95
    assert covered[:, 50:].mean() < 0.01
    speck = lit.copy()
    speck[60:64, 30:35] = speck[60:64, 30:35] // 2 + 20
    assert not usual.cover(speck).any()
    before = usual.colours.copy()
    usual.follow(hand, covered)
    assert np.array_equal(before[50:70, 25:35], usual.colours[50:70, 25:35]), "a hand is never usual"


@pytest.mark.parametrize("blend", ["poisson", "multiband"])
def test_what_passes_before_the_face_stays_the_targets(blend: str) -> None:
    def bar(frame: int, picture: Picture) -> None:
        x, y = place(track_of(drawn(1)).mesh[0], 50)
        if frame == 7:
            picture[y - 30 : y + 60, x - 9 : x + 9] = (40, 42, 60)

    target = painted(drawn(1), bar)
    frames = swap(target, drawn(2), blend)
    x, y = place(track_of(target).mesh[0], 50)
    original = list(target.pictures())
    kept = np.s_[y - 20 : y + 20, x - 7 : x + 7]
    assert (frames[7][1][kept] == 0).mean() > 0.95
    assert np.array_equal(frames[7][0][kept][frames[7][1][kept] == 0], original[7][kept][frames[7][1][kept] == 0])
    assert frames[6][1][kept].mean() > 150
    far = np.s_[y - 10 : y + 10, x + 25 : x + 40]
    assert np.abs(frames[7][1][far].astype(int) - frames[6][1][far]).mean() < 5


@pytest.mark.parametrize("who", ["target", "source"])
def test_a_covered_mouth_is_refused(who: str) -> None:
    def mask(person: int) -> Callable[[int, Picture], None]:
        def paint(frame: int, picture: Picture) -> None:
            if frame != UNSEEN:
                left, right, top, chin = (track_of(drawn(person)).mesh[frame, p, :2] for p in (234, 454, 1, 152))
                x0, x1, y0, y1 = (int(v) for v in (left[0], right[0], top[1], chin[1]))
                picture[y0:y1, x0:x1] = (170, 195, 215)

        return paint

    target = painted(drawn(1), mask(1)) if who == "target" else drawn(1)
    source = painted(drawn(2), mask(2)) if who == "source" else drawn(2)
    with pytest.raises(MediaError, match=f"person {1 if who == 'target' else 2}: shows a mouth that is covered"):
        BlendSwap()([target, source], np.random.default_rng(0))


def test_a_source_is_taken_from_a_frame_in_which_nothing_covers_it() -> None:
    target, source = drawn(1), drawn(2)
    best = int(fitting_frames(source, target, 35)[0])

    def hand(frame: int, picture: Picture) -> None:
        if frame == best:
            x, y = place(track_of(source).mesh[best], 50)
            picture[y - 20 : y + 40, x - 8 : x + 20] = (40, 160, 60)

    for picture, mask in swap(target, painted(source, hand)):
        green = picture[..., 1].astype(int) - picture[..., 0] > 10
        assert not green[mask == 255].any()


def test_a_strand_of_the_sources_hair_is_painted_over() -> None:
    source = drawn(2)
    mesh, picture = track_of(source).mesh[0], next(source.pictures()).copy()
    x, y = place(mesh, 234, 93)
    strand = np.s_[y - 25 : y + 15, x + 4 : x + 9]
    skin = picture[strand].mean((0, 1))
    picture[strand] = (30, 22, 18)
    layout = Layout(mesh)
    points = np.array([50, 280, 101, 330, 205, 425, 6, 197, 195, 5, 117, 346])
    clean, hidden = bare(picture, mesh, layout.at(points, layout(picture, mesh).astype(np.float32)))
    assert np.abs(clean[strand].mean((0, 1)) - skin).max() < 25
    assert hidden[strand].mean() > 200
    nose = place(mesh, 4)
    assert hidden[nose[1], nose[0]] == 0


# ---------------------------------------------------------------------------------------------- blend_swap


def test_yaw_is_measured_in_degrees() -> None:
    for turn in (-40, 0, 25):
        assert abs(yaw(pose(0, turn, 0, 0, 100))) == pytest.approx(abs(turn), abs=1)


def test_a_head_leant_to_its_shoulder_is_not_turned() -> None:
    mesh = pose(0, 20, 0, 0, 100)
    c, s = np.cos(0.8), np.sin(0.8)
    leant = mesh @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], np.float32)
    assert abs(yaw(leant)) == pytest.approx(20, abs=1)
    assert abs(pitch(leant)) < 2


def test_pitch_is_measured_in_degrees() -> None:
    mesh = pose(0, 0, 0, 0, 100)
    for lean in (-40, 25):
        c, s = np.cos(np.radians(lean)), np.sin(np.radians(lean))
        raised = mesh @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]], np.float32)
        assert abs(pitch(raised)) == pytest.approx(abs(lean), abs=2)
        assert abs(yaw(raised)) < 1


def test_a_face_that_leaves_the_picture_or_is_raised_is_refused_with_the_reason() -> None:
    clip = drawn(1)
    track = track_of(clip)
    away = replace(clip, track=replace(track, mesh=track.mesh + np.array([60, 0, 0], np.float32)))
    with pytest.raises(MediaError, match=r"person 1: .* in only 0 of 10 frames .*cut by the border in 9"):
        workable(away, 35)
    turn = np.array([[1, 0, 0], [0, np.cos(0.8), np.sin(0.8)], [0, -np.sin(0.8), np.cos(0.8)]], np.float32)
    middle = np.nanmean(track.mesh, axis=(0, 1))
    raised = replace(clip, track=replace(track, mesh=((track.mesh - middle) @ turn + middle).astype(np.float32)))
    with pytest.raises(MediaError, match=r"person 1: .* in only 0 of 10 frames .*raised or lowered too far in 9"):
        workable(raised, 35)
    with pytest.raises(MediaError, match="person 1: never shows a whole face"):
        fitting_frames(away, drawn(2), 35)


def test_at_the_limit_a_face_does_not_come_and_go() -> None:
    able = facing(track_of(drawn(1, [30, 33, 37, 33, 0, 33, 37, 33, 30, 33])), 35)
    assert able.tolist() == [True, True, False, False, False, False, False, False, True, True]


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


@pytest.mark.parametrize("mesh_shuts", [False, True])
def test_eyes_look_and_blink_as_the_targets(mesh_shuts: bool) -> None:
    open_eyed = drawn(1)
    track = track_of(open_eyed)

    def shut(frame: int, picture: Picture) -> None:
        if frame == 7:
            for eye in (RIGHT_EYE, LEFT_EYE):
                cv2.fillPoly(picture, [np.round(track.mesh[7, eye, :2]).astype(np.int32)], (150, 110, 90))

    blinking = painted(open_eyed, shut)
    if mesh_shuts:
        mesh = track.mesh.copy()
        for eye in (RIGHT_EYE, LEFT_EYE):
            mesh[6:9, eye, 1] = mesh[6:9, eye, 1].mean(1, keepdims=True)
        blinking = replace(blinking, track=replace(track, mesh=mesh))
    for clip in (open_eyed, blinking):
        original, (picture, mask) = list(clip.pictures())[7], swap(clip, drawn(2))[7]
        for eye in (RIGHT_EYE, LEFT_EYE):
            x, y = place(track.mesh[7], *eye)
            assert not mask[y - 1 : y + 2, x - 5 : x + 6].any()
            assert np.array_equal(picture[y - 1 : y + 2, x - 5 : x + 6], original[y - 1 : y + 2, x - 5 : x + 6])
            assert mask[y + 12, x] == 255, "below the eye the face is the source's"


@pytest.mark.parametrize(("blur", "level"), [(0.0, 0.0), (2.0, 0.0), (0.0, 8.0)])
def test_grain_and_sharpness_are_the_targets(blur: float, level: float) -> None:
    """A sharp source with grain of its own, on a target that is plain, soft or grainy."""
    rng = np.random.default_rng(1)
    target = painted(drawn(1), lambda _, picture: np.copyto(picture, lay_grain(blurred(picture, blur), level, rng)))
    picture, mask = swap(target, painted(drawn(2), lambda _, picture: np.copyto(picture, lay_grain(picture, 6.0, rng))))[2]
    original, core = list(target.pictures())[2], cv2.erode(mask, np.ones((5, 5), np.uint8)) == 255
    assert noise(picture, core) == pytest.approx(noise(original, core), rel=0.2, abs=0.4)
    if blur:
        assert sharpness(picture, core) < 1.3 * sharpness(original, core)


@pytest.mark.parametrize("blend", ["poisson", "multiband"])
@pytest.mark.parametrize("lit", ["target", "source"])
def test_light_is_the_targets(lit: str, blend: str) -> None:
    light = np.linspace(0.4, 1.3, WIDTH)[None, :, None]

    def from_the_side(_: int, picture: Picture) -> None:
        picture[:] = np.clip(picture * light, 0, 255)

    clips = {"target": drawn(1), "source": drawn(2)}
    clips[lit] = painted(clips[lit], from_the_side)
    (picture, mask), original = swap(clips["target"], clips["source"], blend)[0], next(clips["target"].pictures())
    off = blurred(picture, 4).astype(int) - blurred(original, 4)
    for point in (187, 411, 142, 371):  # beside the border, and beside the nose
        x, y = place(track_of(drawn(1)).mesh[0], point)
        assert mask[y, x] > 128
        assert np.abs(off[y, x]).max() < 8


def test_hair_of_the_source_is_not_taken_along() -> None:
    def strand(frame: int, picture: Picture) -> None:
        if frame != UNSEEN:
            x, y = place(track_of(drawn(2)).mesh[frame], 234, 93)
            picture[y - 30 : y + 20, x - 10 : x + 9] = (30, 22, 18)

    target = drawn(1)
    (_, with_it), (_, without) = swap(target, painted(drawn(2), strand))[0], swap(target, drawn(2))[0]
    x, y = place(track_of(target).mesh[0], 234, 93)
    there = np.s_[y - 20 : y + 10, x + 2 : x + 8]
    assert with_it[there].mean() < 0.2 * without[there].mean()
    other = np.s_[:, WIDTH // 2 :]
    assert np.abs(with_it[other].astype(int) - without[other]).mean() < 4


def test_hair_of_the_target_stays() -> None:
    def fringe(frame: int, picture: Picture) -> None:
        if frame != UNSEEN:
            x, y = place(track_of(drawn(1)).mesh[frame], 10)
            picture[y : y + 22, x - 30 : x + 30] = (30, 22, 18)

    target = painted(drawn(1), fringe)
    (picture, mask), (_, without) = swap(target, drawn(2))[0], swap(drawn(1), drawn(2))[0]
    x, y = place(track_of(target).mesh[0], 10)
    there = np.s_[y + 10 : y + 20, x - 25 : x + 25]
    assert picture[there].mean() < 50
    assert mask[there].mean() < 0.2 * without[there].mean()


def test_a_larger_source_brings_no_finer_detail() -> None:
    source, times = drawn(2), 4
    rng = np.random.default_rng(0)

    def enlarged(picture: Picture) -> Picture:
        grainy = lay_grain(np.asarray(cv2.resize(picture, None, fx=times, fy=times), np.uint8), 25.0, rng)
        return blurred(grainy, 0.7)

    pictures = [enlarged(picture) for picture in source.pictures()]
    track = replace(track_of(source), mesh=track_of(source).mesh * times + np.float32((times - 1) / 2))
    large = replace(source, width=times * WIDTH, height=times * HEIGHT, pictures=lambda: iter(pictures), track=track)
    (first, mask), (second, _) = swap(drawn(1), source)[0], swap(drawn(1), large)[0]
    assert np.abs(first.astype(int) - second)[mask == 255].mean() < 5


def test_grain_comes_from_the_rng_as_it_was_given() -> None:
    def first(seed: int, draws: int) -> Picture:
        rng = np.random.default_rng(seed)
        pictures = BlendSwap()([drawn(1), drawn(2)], rng).pictures
        rng.normal(size=draws)
        return next(pictures)[0]

    assert np.array_equal(first(0, 0), first(0, 5)), "what is drawn from it later is another's business"
    assert not np.array_equal(first(0, 0), first(1, 0))


def unsteadiness(pictures: list[Picture], masks: list[NDArray[np.uint8]]) -> float:
    """Mean second difference in time, in levels, where all of three pictures in a row are wholly replaced."""
    values = []
    for frame in range(1, len(pictures) - 1):
        before, now, after = (picture.astype(np.int16) for picture in pictures[frame - 1 : frame + 2])
        core = np.minimum.reduce(masks[frame - 1 : frame + 2]) == 255
        if core.any():
            values.append(float(np.abs(2 * now - before - after)[core].mean()))
    return float(np.mean(values))


@pytest.mark.parametrize("blend", ["poisson", "multiband"])
def test_a_still_target_becomes_no_less_still(blend: str) -> None:
    clip = drawn(1)
    track, first = track_of(clip), blurred(next(clip.pictures()), 1.0)
    mesh = np.repeat(track.mesh[:1], FRAMES, axis=0)
    still = replace(
        clip, track=replace(track, mesh=mesh, seen=np.ones(FRAMES, np.bool_)), pictures=lambda: iter([first] * FRAMES)
    )
    moving = painted(still, lambda frame, picture: np.copyto(picture, lay_grain(first, 3.0, np.random.default_rng(frame))))
    frames = swap(moving, drawn(2), blend)
    masks = [mask for _, mask in frames]
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    result = unsteadiness([picture for picture, _ in frames], masks)
    assert 0.7 < result / unsteadiness(list(moving.pictures()), masks) < 1.15


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
    frames = swap(target, source, blend)
    pictures, masks = [picture for picture, _ in frames], [mask for _, mask in frames]
    assert unsteadiness(pictures, masks) < unsteadiness(list(target.pictures()), masks)
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
