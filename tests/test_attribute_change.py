"""What was changed in a face: of meshes and pictures of which it is known, and of rendered people whose truth is."""

import warnings
from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import convolve2d
from skimage.color import rgb2lab
from skimage.draw import polygon2mask
from skimage.filters import gaussian

from evaluators.attribute_change import FINE, MEASURES, SIDE, AttributeChange, look, regions, shape_changes
from evaluators.faces import cut, faces_of
from evaluators.figure import FigureError, Frames, change, score
from forgeline.clip import Picture
from forgeline.errors import WeightsError
from forgeline.faces import FaceFinder
from forgeline.mesh import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, RIGHT_BROW, RIGHT_EYE
from generators.warp import Floats as Mesh
from generators.warp import move
from sources import heads
from tests.people import draw, pose, resting_mesh
from tests.test_identity import empty, pair, person

Floats = NDArray[np.float64]

NAMES = list(MEASURES)
SHAPES = NAMES[:5]


@pytest.fixture(scope="module", autouse=True)
def nets() -> None:
    try:
        FaceFinder()
    except WeightsError as error:
        pytest.skip(f"no face nets here: {error}")


# --- Shapes


def face() -> Floats:
    return (resting_mesh() * 100 + (90, 100, 0)).astype(np.float64)


def raised(points: list[int], by: float, across: float = 0.0) -> Floats:
    """The face with some points `by` distances from nose to chin higher, and `across` more to their own side."""
    mesh = face()
    unit = mesh[152, 1] - mesh[4, 1]
    mesh[points, 1] -= by * unit
    mesh[points, 0] += across * unit * np.sign(mesh[points, 0] - 90)
    return mesh


LOWER_LIP = [p for p in {*LIPS_INNER.tolist(), *LIPS_OUTER.tolist()} if resting_mesh()[p, 1] > 0.331]
JAW = [172, 397, 136, 365, 58, 288]
LOWER_LIDS = [144, 145, 153, 373, 374, 380]


@pytest.mark.parametrize(
    ("name", "changed", "expected"),
    [
        ("change_smile", raised([61, 291], 0.1), 0.1),
        ("change_mouth_open", raised(LOWER_LIP, -0.15), 0.15),
        ("change_brow", raised([*RIGHT_BROW, *LEFT_BROW], -0.05), -0.05),
        ("change_jaw", raised(JAW, 0, across=0.04), 0.08),
        ("change_eyes_open", raised(LOWER_LIDS, -0.03), 0.03),
    ],
)
@pytest.mark.parametrize(("angle", "axis"), [(0, 1), (25, 1), (-15, 0), (30, 2)])
def test_a_shape_is_known_in_every_pose_and_size(name: str, changed: Floats, expected: float, angle: float, axis: int) -> None:
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    turn = np.roll(np.array([[1, 0, 0], [0, c, -s], [0, s, c]]), axis, (0, 1))
    found = dict(zip(SHAPES, shape_changes(face(), 1.7 * changed @ turn.T + (30, -20, 5)), strict=True))
    assert found.pop(name) == pytest.approx(expected, abs=1e-6)
    assert all(abs(other) < 1e-6 for other in found.values())


# --- Looks


@cache
def portrait() -> tuple[Picture, Floats]:
    mesh = pose(0.02, 0, 88, 100, 100)
    corner, factor = mesh[:, :2].min(0) - 4, (SIDE - 9) / np.ptp(mesh[:, 1])
    at = np.column_stack([np.eye(2) * factor, -factor * corner])
    placed = (mesh[:, :2].astype(np.float64) - corner) * factor
    return cut(draw(mesh, 1, np.random.default_rng(0)), at, SIDE), placed


def test_looks_are_what_scikit_image_says() -> None:
    picture, mesh = portrait()
    lab, parts = rgb2lab(picture), regions(mesh)
    light = lab[..., 0]
    fine = light - gaussian(light, FINE, mode="mirror", truncate=4)  # type: ignore[no-untyped-call]
    smooth, slope = np.array([1, 2, 1]) / 4, np.array([-1, 0, 1]) / 2
    padded = np.pad(light, 1, mode="reflect")
    across, along = (convolve2d(padded, kernel, "valid") for kernel in (np.outer(smooth, -slope), np.outer(-slope, smooth)))
    expected = [
        np.median(light[parts.skin]),
        np.median(lab[parts.skin][:, 2]),
        np.median(lab[parts.lips][:, 1]) - np.median(lab[parts.skin][:, 1]),
        np.hypot(across, along)[parts.around_eyes].mean(),
        np.sqrt(np.mean(fine[parts.skin] ** 2)),
    ]
    assert np.allclose(look(picture, mesh), expected, rtol=1e-4, atol=1e-3)


def test_regions_are_where_the_mesh_says() -> None:
    _, mesh = portrait()
    parts = regions(mesh)

    def filled(ring: NDArray[np.int32]) -> NDArray[np.bool_]:
        return np.asarray(polygon2mask((SIDE, SIDE), mesh[ring][:, ::-1]))  # type: ignore[no-untyped-call]

    def wider(part: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return cv2.dilate(part.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0

    lips, mouth = filled(LIPS_OUTER), filled(LIPS_INNER)
    assert not (parts.lips & (mouth | ~wider(lips))).any()
    assert not (lips & ~wider(wider(mouth)) & ~parts.lips).any()
    for inside in (RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW):
        assert not (parts.around_eyes & filled(inside)).any()
    assert not (parts.skin & parts.lips).any()
    assert all(part.sum() > 100 for part in (parts.skin, parts.lips, parts.around_eyes))


def test_a_face_off_the_cut_out_has_no_looks() -> None:
    picture, mesh = portrait()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(look(picture, mesh + 500)).all()


# --- Pictures, by the nets


SIZE = 224


@cache
def rendered(truth: str = "", amount: float = 0.0) -> Picture:
    """Someone of the demo corpus at rest, but for one expression or trait."""
    rng = np.random.default_rng(3)
    who = heads.person(rng, 0.35, 0.1, 0.3)
    who, where = replace(who, glasses="none", facial_hair="none", freckles=0.0), heads.scene(rng)
    calm = heads.Expression()
    if truth in ("jaw", "smile", "brow"):
        calm = replace(calm, **{truth: amount})
    elif truth == "blink":
        calm = replace(calm, blink_right=amount, blink_left=amount)
    elif truth == "light":
        who = replace(who, skin=tuple(min(level * amount, 1.0) for level in who.skin))  # type: ignore[arg-type]
    elif truth == "glasses":
        who = replace(who, glasses="round")
    elif truth == "age":
        who = replace(who, age=round(amount))
    elif truth == "wide":
        who = replace(who, jaw=who.jaw * amount)
    return heads.frame(who, calm, heads.Pose(), where, SIZE, np.random.default_rng(4))


@pytest.mark.parametrize(
    ("truth", "amount", "name", "least"),
    [
        ("smile", 1.0, "change_smile", 0.02),
        ("jaw", 0.9, "change_mouth_open", 0.05),
        ("brow", 1.0, "change_brow", 0.01),
        ("blink", 1.0, "change_eyes_open", -0.01),
        ("light", 0.6, "change_skin_lightness", -5.0),
        ("glasses", 1.0, "change_eye_edges", 0.3),
        ("age", 78, "change_fine_detail", 0.1),
        ("wide", 1.15, "change_jaw", 0.02),
    ],
)
def test_what_differs_between_two_renderings_is_seen(truth: str, amount: float, name: str, least: float) -> None:
    frames = Frames(rendered()[None], rendered(truth, amount)[None], None, aligned=True)
    found = AttributeChange().rows(frames)
    assert found[name][0] / least > 1


def test_painted_lips_are_redder_and_warm_skin_is_warmer() -> None:
    control = rendered()
    mesh = faces_of(Frames(control[None], control[None], None, aligned=True)).control[0]
    red, warm = control.copy(), control.astype(np.int16)
    lips = cv2.fillPoly(np.zeros(control.shape[:2], np.uint8), [np.round(mesh[LIPS_OUTER, :2]).astype(np.int32)], 1) > 0
    red[lips] = red[lips] // 2 + np.array([90, 10, 20], np.uint8)
    warm += np.array([6, 0, -12], np.int16)
    frames = Frames(np.stack([control, control]), np.stack([red, warm.clip(0, 255).astype(np.uint8)]), None, aligned=True)
    found = AttributeChange().rows(frames)
    assert found["change_lip_redness"][0] > 5 > 1 > abs(found["change_lip_redness"][1])
    assert found["change_skin_warmth"][1] > 3 > 1 > abs(found["change_skin_warmth"][0])


@pytest.mark.parametrize("by", [-0.1, 0.1])
def test_a_bent_mouth_is_seen_in_its_direction(by: float) -> None:
    control = person(1, 2)
    bent = control.copy()
    meshes = faces_of(Frames(control, control, None, aligned=True)).control
    for picture, mesh in zip(bent, meshes.astype(np.float32), strict=True):
        goal: Mesh = mesh.copy()
        for corner in (61, 291):
            near = np.exp(-np.square(np.hypot(*(mesh[:, :2] - mesh[corner, :2]).T) / 12))
            goal[:, 1] -= by * near * (mesh[152, 1] - mesh[4, 1])
        move(picture, np.zeros(picture.shape[:2], np.uint8), mesh, goal)
    found = AttributeChange().rows(Frames(control, bent, None, aligned=True))["change_smile"]
    assert (found / by > 0.1).all()


# --- Figures


def test_nothing_was_changed_where_pictures_are_equal() -> None:
    figures = score([pair(person(1), person(1).copy())], {"change": AttributeChange()}, frames=4).samples["a"]
    assert list(figures) == NAMES
    assert all(figure.value == pytest.approx(0, abs=1e-12) and figure.n == 4 for figure in figures.values())


def test_changes_elsewhere_do_not_count() -> None:
    """Both meshes come from one square around the control's face: what lies outside it can't move them."""
    control = person(1)
    fake = control.copy()
    fake[:, :8, :8] = 255
    found = AttributeChange().rows(Frames(control, fake, None, aligned=True))
    assert all(np.allclose(values, 0, atol=1e-12) for values in found.values())


def test_a_set_does_not_cancel_out() -> None:
    control = person(1, 1)
    darker, lighter = (np.asarray(control * factor, np.uint8) for factor in (0.8, 1.1))
    pairs = [pair(control, darker), replace(pair(control, lighter), sample_id="b")]
    scores = score(pairs, {"change": AttributeChange()}, frames=1)
    down, up = (scores.samples[name]["change_skin_lightness"] for name in "ab")
    both = scores.sets["swap", "master", "test"]
    assert set(both) == {f"{name}_abs" for name in NAMES}
    assert down.value is not None
    assert up.value is not None
    assert down.value < 0 < up.value
    assert both["change_skin_lightness_abs"].value == pytest.approx((up.value - down.value) / 2)
    assert both["change_skin_lightness_abs"].n == 2
    with pytest.raises(FigureError, match="over"):
        change(up, both["change_skin_lightness_abs"])


def test_frames_count_where_both_show_the_face() -> None:
    control, fake = person(1, 4), person(2, 4)
    control[0], fake[1] = empty()[0], empty()[0]
    found = AttributeChange().rows(Frames(control, fake, None, aligned=True))
    for name in NAMES:
        assert np.isnan(found[name]).tolist() == [True, True, False, False]
        assert AttributeChange().of_sample(found)[name].n == 2


def test_nothing_to_compare_is_said_with_the_reason() -> None:
    none = score([pair(person(1, 2), empty(2))], {"change": AttributeChange()}, frames=2)
    apart = score([pair(person(1, 2), person(2, 2), aligned=False)], {"change": AttributeChange()}, frames=2)
    for scores, reason in ((none, "or none in the fake"), (apart, "not made from its control")):
        for figures in (scores.samples["a"], scores.sets["swap", "master", "test"]):
            assert len(figures) == 10
            assert all(figure.value is None and reason in str(figure.reason) for figure in figures.values())


def test_each_figure_names_its_unit_and_its_nets() -> None:
    figures = score([pair(person(1, 1), person(2, 1))], {"change": AttributeChange()}, frames=1).samples["a"]
    assert [figures[name].fingerprint["unit"] for name in NAMES] == list(MEASURES.values())
    assert all(len(figure.fingerprint[net]) == 64 for figure in figures.values() for net in ("detector", "mesh"))
