"""Attribute edits: each changes what it is asked to and nothing else, steadily, and only where it can."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache, lru_cache
from itertools import islice
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from benchmarks.generators.measures import Changes
from forgeline.clip import Clip, Made, Picture
from forgeline.errors import MediaError
from forgeline.mesh import LEFT_EYE, LIPS_OUTER, OVAL, RIGHT_EYE
from generators.attributes import ALL, Attributes, Edit
from generators.chart import SIDE, Chart, aged, frontal, unpainted
from generators.features import EMOTIONS, edited
from generators.glasses import Glasses
from generators.head import Head, Look, step_of
from generators.pose import axes
from tests.people import FRAMES, UNSEEN, drawn, finder, footage, lip_gap, pose, resting_mesh

Floats = NDArray[np.float32]
Frames = tuple[tuple[Picture, NDArray[np.uint8]], ...]


@cache
def filmed(name: str, frames: int = 10) -> Clip:
    clip = footage(name)
    pictures, track = tuple(islice(clip.pictures(), frames)), clip.track
    assert track is not None
    short = replace(track, **{part: values[:frames] for part, values in vars(track).items()})
    return replace(clip, frames=frames, pictures=lambda: iter(pictures), track=short)


def pairs(made: Made) -> Iterator[tuple[Picture, NDArray[np.uint8]]]:
    for picture, mask in made.pictures:
        assert mask is not None
        yield picture, mask


def meshes(clip: Clip) -> Floats:
    assert clip.track is not None
    return clip.track.mesh


def chosen(clip: Clip, edit: Edit, wanted: Callable[[Any], bool], **settings: Any) -> Made:
    """The clip with one edit whose drawn amounts are `wanted`."""
    for seed in range(100):
        made = Attributes(edits=(edit,), **settings)([clip], np.random.default_rng(seed))
        if wanted(made.drawn):
            return made
    raise AssertionError(f"{edit} was never drawn so")


def test_what_is_drawn_is_one_to_three_edits_that_fit_together() -> None:
    clip = drawn(1)
    counts, seen = set(), set()
    for seed in range(40):
        said = Attributes()([clip], np.random.default_rng(seed)).drawn
        edits = set(said) & set(ALL)
        assert len(edits & {"smile", "brow", "emotion"}) <= 1
        counts.add(len(edits))
        seen |= edits
    assert counts == {1, 2, 3}
    assert seen >= set(ALL) - {"hair_colour"}


def test_edits_are_drawn_for_each_clip() -> None:
    first = [next(Attributes()([drawn(1)], np.random.default_rng(seed)).pictures)[0] for seed in (1, 2)]
    assert not np.array_equal(first[0], first[1])


@pytest.mark.parametrize("edit", ALL)
def test_amounts_lie_between_half_and_all_of_the_strength(edit: Edit) -> None:
    if edit in ("glasses", "hair_colour"):
        return
    section, name = Attributes(), {"emotion": "emotion_amount"}.get(edit, edit)
    amounts = np.array([section.model_copy(update={"edits": (edit,)})([drawn(1)], np.random.default_rng(s)).drawn[name]
                        for s in range(30)], np.float64) / getattr(section, edit)  # fmt: skip
    assert ((np.abs(amounts) >= 0.5) & (np.abs(amounts) <= 1)).all()
    assert (amounts < 0).any() == (edit not in ("emotion", "make_up"))


# ------------------------------------------------------------------------------------------ what is moved


@pytest.mark.parametrize("edit", ["smile", "jaw", "brow"])
def test_each_edit_moves_its_own_part(edit: str) -> None:
    mesh = pose(0.0, 0, 88, 100, 96)
    moved = edited(mesh, **{edit: 0.1})
    way = np.hypot(*(moved - mesh)[:, :2].T)
    part = {"smile": [61, 291], "jaw": [172, 397], "brow": [105, 334]}[edit]
    assert way[part].min() > 0.6 * way.max() > 1
    for other in ({61, 291, 172, 397, 105, 334} - set(part)) if edit != "jaw" else {105, 334}:
        assert way[other] < 0.5 * way.max()
    assert moved[61, 1] <= mesh[61, 1] + 1e-3


@pytest.mark.parametrize(
    ("edit", "points", "to"),
    [
        ("inner", [55, 285], (0, -1)),
        ("frown", [55, 285], (0, 1)),
        ("lids", [159, 386], (0, -1)),
        ("cheeks", [118, 347], (0, -1)),
        ("gape", [14, 152], (0, 1)),
    ],
)
def test_what_emotions_are_made_of_goes_its_way(edit: str, points: list[int], to: tuple[int, int]) -> None:
    mesh = pose(0.01, 0, 88, 100, 96)
    way = (edited(mesh, **{edit: 0.1}) - mesh)[:, :2] / (0.1 * axes(mesh)[2])
    assert (way[points] @ np.array(to) > 0.6).all()
    assert np.abs(way[[10, 13 if edit == "gape" else 0, 4]]).max() < 0.1


def test_outside_the_face_nothing_moves() -> None:
    for seed in range(4):
        made = Attributes(edits=("smile", "jaw", "brow", "emotion"))([drawn(1)], np.random.default_rng(seed))
        for (_, mask), mesh in zip(pairs(made), meshes(drawn(1)), strict=True):
            if mask.any():
                y, x = np.nonzero(mask)
                middle, half = mesh[:, :2].mean(0), np.ptp(mesh[:, :2], axis=0) / 2
                assert np.abs((np.stack([x, y], 1) - middle) / half).max() < 1.5


def shapes(made: Made) -> list[Floats]:
    """The faces that a net finds in what was made, from the front."""
    return [frontal(finder().find(picture)[0].mesh) for picture, _ in made.pictures]


def lift(shape: Floats) -> float:
    """How high the mouth's corners are over its middle."""
    return float(shape[[13, 14], 1].mean() - shape[[61, 291], 1].mean())


def test_filmed_corners_of_the_mouth_go_up_and_down() -> None:
    clip = filmed("bbaf2n", 6)
    own = np.mean([lift(frontal(mesh)) for mesh in meshes(clip)])
    for sign in (-1, 1):
        made = chosen(clip, "smile", lambda said, sign=sign: said["smile"] * sign > 0)  # type: ignore[misc]
        assert sign * (np.mean([lift(shape) for shape in shapes(made)]) - own) > 0.008


def test_filmed_emotions_look_like_what_they_are_called() -> None:
    clip = filmed("bbaf2n", 6)

    def looks(shape: Floats) -> dict[str, float]:
        brows, inner = shape[[105, 334], 1].mean(), shape[[55, 285], 1].mean()
        return {"corners": lift(shape), "brows": -float(brows), "inner": -float(inner), "gap": lip_gap(shape)}

    own = [looks(frontal(mesh)) for mesh in meshes(clip)]
    seen: dict[str, list[dict[str, float]]] = {}
    for emotion in EMOTIONS:
        made = chosen(clip, "emotion", lambda d, e=emotion: d["emotion"] == e and d["emotion_amount"] > 0.8)  # type: ignore[misc]
        seen[emotion] = [looks(shape) for shape in shapes(made)]

    def more(emotion: str, what: str) -> float:
        return float(np.mean([row[what] for row in seen[emotion]]) - np.mean([row[what] for row in own]))

    assert more("happy", "corners") > 0.015
    assert more("sad", "corners") < -0.006 < 0.006 < more("sad", "inner")
    assert more("surprised", "brows") > 0.02
    assert more("surprised", "gap") > 0.02
    assert more("angry", "inner") < -0.01


# ---------------------------------------------------------------------------------------- what is painted


def roughness(picture: Picture, mesh: Floats, points: list[int]) -> float:
    """How much light varies around some points, over a twentieth of the face."""
    light = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    size = float(np.ptp(mesh[:, 1])) / 20
    fine = np.square(cv2.GaussianBlur(light, (0, 0), 0.8) - cv2.GaussianBlur(light, (0, 0), size))
    x, y = np.round(mesh[points, :2]).astype(int).T
    return float(cv2.blur(fine, (2 * round(size) + 1,) * 2)[y, x].mean())


FOLDS = [108, 151, 206, 426, 216, 436, 229, 449]
EVEN = [50, 280, 205, 425, 108, 337, 187, 411]


@pytest.mark.parametrize("name", ["bbaf2n", "swiz3n"])
def test_the_older_have_folds_and_the_younger_fewer(name: str) -> None:
    clip = filmed(name, 5)
    for older, least, most in ((True, 1.3, 9.0), (False, 0.0, 0.9)):
        made = chosen(clip, "age", lambda said, older=older: (said["age"] > 0) == older and abs(said["age"]) > 0.7)  # type: ignore[misc]
        at, rows = FOLDS if older else EVEN, zip(pairs(made), clip.pictures(), meshes(clip), strict=True)
        more = [roughness(p, m, at) / roughness(o, m, at) for (p, _), o, m in rows]
        assert least < np.mean(more) < most


def test_folds_stay_within_the_face_and_lie_where_faces_have_them() -> None:
    chart = Chart(frontal(resting_mesh()))
    paint = aged(unpainted(chart), chart, 1.0, np.random.default_rng(0))
    change = np.abs(paint[..., :3] - 1).max(2)
    assert change[chart.inside == 0].max() == 0
    x, y = np.round(chart.points[[206, 426]]).astype(int).T
    assert cv2.dilate(change, np.ones((15, 15), np.uint8))[y, x].min() > 0.15
    assert paint.shape == (SIDE, SIDE, 4)


def median(picture: Picture, mesh: Floats, points: list[int]) -> Floats:
    x, y = np.round(mesh[points, :2]).astype(int).T
    return np.asarray(np.median(cv2.blur(picture, (3, 3))[y, x], axis=0), np.float32)


CHEEKS = [50, 280, 205, 425, 151]


@pytest.mark.parametrize("name", ["bbaf2n", "swiz3n", "brbk7n"])
def test_skin_becomes_lighter_or_darker_and_the_neck_with_it(name: str) -> None:
    clip = filmed(name)
    for sign in (-1, 1):
        made = chosen(clip, "skin_tone", lambda said, sign=sign: said["skin_tone"] * sign > 0.3)  # type: ignore[misc]
        for (picture, mask), original, mesh in zip(pairs(made), clip.pictures(), meshes(clip), strict=True):
            assert sign * (median(picture, mesh, CHEEKS) - median(original, mesh, CHEEKS)).mean() > 8
            below = mesh[152] + 0.12 * (mesh[152] - mesh[10])
            neck = [float(p[round(below[1]), round(below[0])].mean()) for p in (picture, original)]
            assert sign * (neck[0] - neck[1]) > 4
            for eye in (RIGHT_EYE, LEFT_EYE):
                x, y = np.round(mesh[eye, :2].mean(0)).astype(int)
                assert np.abs(picture[y, x].astype(int) - original[y, x]).max() < 25
            assert mask[:20].max() == mask[:, :20].max() == 0, "the wall behind is no skin"


def test_lips_take_the_colour_that_is_drawn() -> None:
    clip = filmed("bbaf2n", 5)
    lips = [0, 37, 267, 17, 84, 314]
    for colour in ("red", "plum"):
        made = chosen(clip, "make_up", lambda said, colour=colour: said["lip_colour"] == colour)  # type: ignore[misc]
        for (picture, _), original, mesh in zip(pairs(made), clip.pictures(), meshes(clip), strict=True):
            between = [int(p) for p in LIPS_OUTER if p in lips]
            now, before = median(picture, mesh, between), median(original, mesh, between)
            assert now[1] < 0.92 * before[1]
            assert now[0] / now.sum() > before[0] / before.sum()
            nose = median(picture, mesh, [4, 195]) - median(original, mesh, [4, 195])
            assert np.abs(nose).max() < 3


# ------------------------------------------------------------------------------------------------ glasses


@pytest.mark.parametrize("name", ["bbaf2n", "swiz3n"])
def test_glasses_have_a_frame_around_the_eyes_that_follows_them(name: str) -> None:
    clip = filmed(name)
    made = chosen(clip, "glasses", lambda said: said["frame"] == "black")
    for (picture, mask), original, mesh in zip(pairs(made), clip.pictures(), meshes(clip), strict=True):
        light, before = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float32) for p in (picture, original))
        for eye in (RIGHT_EYE, LEFT_EYE):
            (x, y), wide = mesh[eye, :2].mean(0), float(np.ptp(mesh[eye, 0]))
            under = slice(round(y + 0.5 * wide), round(y + 1.4 * wide)), round(x)
            assert np.abs(np.diff(light[under])).max() > 20 + 2 * np.abs(np.diff(before[under])).max()
            assert (light[round(y)] < 0.5 * before[round(y)]).any()
        off = np.abs(light - before)[np.round(mesh[152, 1]).astype(int) :]
        assert off.max() == 0
        assert mask.any()


def worn(turn: int) -> Picture:
    """Glasses on a head turned by so many degrees, of which nothing else is seen."""
    picture, mask = np.full((192, 176, 3), 200, np.uint8), np.zeros((192, 176), np.uint8)
    Glasses(frontal(pose(0.0, 0, 88, 100, 96)), "square", "black").put_on(picture, mask, pose(0.0, turn, 88, 100, 96))
    return picture


def test_a_turned_head_hides_the_far_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {turn: worn(turn) for turn in (-25, 0, 25)}
    monkeypatch.setattr("generators.glasses._arm", lambda size, *_: np.zeros(size, np.uint8))
    shown = {}
    for turn, picture in whole.items():
        arms = (picture != worn(turn)).any(2)
        middle = round(float(pose(0.0, turn, 88, 100, 96)[168, 0]))
        shown[turn] = arms[:, :middle].sum(), arms[:, middle:].sum()
    assert shown[-25][0] == shown[25][1] == 0
    assert min(shown[-25][1], shown[25][0]) > 60
    assert min(shown[0]) > 20


def test_who_wears_glasses_gets_no_others() -> None:
    clip = replace(drawn(1), attributes={"glasses": "round"})
    with pytest.raises(MediaError, match=r"person 1: shows someone who wears glasses already \(round\)"):
        Attributes(edits=("glasses",))([clip], np.random.default_rng(0))
    for seed in range(20):
        assert "glasses" not in Attributes(edits=("glasses", "age"))([clip], np.random.default_rng(seed)).drawn
    none = replace(clip, attributes={"glasses": "none"})
    assert "glasses" in Attributes(edits=("glasses",))([none], np.random.default_rng(0)).drawn


# --------------------------------------------------------------------------------------------------- hair


def crown(clip: Clip, frame: int) -> tuple[int, int]:
    mesh = meshes(clip)[frame]
    x, y = mesh[10, :2] - 0.18 * (mesh[152] - mesh[10])[:2]
    return round(float(y)), round(float(x))


@pytest.mark.parametrize("name", ["bbaf2n", "lbbc2a", "pwij3p"])
def test_hair_takes_another_colour_and_the_wall_does_not(name: str) -> None:
    clip = filmed(name)
    made = chosen(clip, "hair_colour", lambda said: said["hair_amount"] > 0.8)
    for frame, ((picture, mask), original) in enumerate(zip(pairs(made), clip.pictures(), strict=True)):
        y, x = crown(clip, frame)
        there = np.s_[y - 4 : y + 5, x - 6 : x + 7]
        assert np.abs(picture[there].mean((0, 1)) - original[there].mean((0, 1))).max() > 15
        assert mask[:15].max() == mask[:, :25].max() == 0
        assert mask[np.round(meshes(clip)[frame][OVAL[9:28], 1]).astype(int).max() :].mean() < 40
        cheek = median(picture, meshes(clip)[frame], CHEEKS) - median(original, meshes(clip)[frame], CHEEKS)
        assert np.abs(cheek).max() < 3


def look(ground: tuple[int, int, int], hair: tuple[int, int, int] | None) -> Look:
    """A head with, or without, hair before a plain ground."""
    noise = np.random.default_rng(0)
    picture = np.full((200, 200, 3), ground, np.float64)
    if hair:
        cv2.ellipse(picture, (100, 88), (54, 70), 0, 0, 360, hair, -1)
    cv2.ellipse(picture, (100, 100), (40, 62), 0, 0, 360, (205, 160, 135), -1)
    if not hair:
        cv2.ellipse(picture, (100, 78), (40, 52), 0, 0, 360, (205, 160, 135), -1)
    mesh = resting_mesh() * 90 + np.array([100, 108, 0], np.float32)
    noisy = np.clip(picture + noise.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)
    return Look.at(noisy, mesh, step_of(mesh[None]))


@pytest.mark.parametrize(
    ("ground", "hair", "told"),
    [((90, 140, 200), (60, 40, 30), True), ((90, 140, 200), None, False), ((55, 38, 32), (60, 40, 30), False)],
)
def test_hair_is_told_where_it_has_a_colour_of_its_own(
    ground: tuple[int, int, int], hair: tuple[int, int, int] | None, told: bool
) -> None:
    seen = look(ground, hair)
    head = Head([seen])
    assert (head.hair is not None) == told
    if told:
        share = head.hair_in(seen)
        assert share[round(27 - seen.y), round(100 - seen.x)] > 0.9
        assert share[round(150 - seen.y), round(100 - seen.x)] < 0.05
        assert share[5, 5] < 0.05


def test_hair_that_cannot_be_told_keeps_its_colour() -> None:
    clip = filmed("swiz3n")  # cropped, and shining as the skin does
    with pytest.raises(MediaError, match="no hair that can be told"):
        Attributes(edits=("hair_colour",))([clip], np.random.default_rng(0))
    assert "age" in Attributes(edits=("hair_colour", "age"))([clip], np.random.default_rng(0)).drawn


# ------------------------------------------------------------------------------------- all of them at once


@lru_cache
def measured(name: str, edit: Edit) -> Changes:
    changes = Changes()
    for seed in (0, 1):
        made = Attributes(edits=(edit,))([filmed(name)], np.random.default_rng(seed))
        changes.add(made.pictures, filmed(name).pictures())
    return changes


@pytest.mark.parametrize("edit", ALL)
def test_nothing_changes_outside_the_mask_and_little_flickers(edit: Edit) -> None:
    changes = measured("bbaf2n", edit)
    assert changes.outside == 0
    assert changes.iou > 0.9
    # A frame of glasses is a new edge, and moves with the head.
    assert changes.flicker < (2.8 if edit == "glasses" else 1.15)


def test_a_still_image_is_edited_too() -> None:
    clip = drawn(1)
    assert clip.track is not None
    first = next(clip.pictures())
    track = replace(clip.track, **{part: values[:1] for part, values in vars(clip.track).items()})
    still = replace(clip, media_type="image", fps=Fraction(0), frames=1, pictures=lambda: iter([first]), track=track)
    for seed, edit in enumerate(e for e in ALL if e != "hair_colour"):
        made = Attributes(edits=(edit,))([still], np.random.default_rng(seed))
        ((picture, mask),) = pairs(made)
        assert mask.any()
        assert np.array_equal(picture[mask == 0], first[mask == 0])
        assert made.segments == ()


def test_a_face_at_the_border_is_edited_as_far_as_it_is_seen() -> None:
    clip = drawn(2)
    assert clip.track is not None
    off = round(float(np.nanmin(clip.track.mesh[..., 0]))) + 2
    off += off % 2

    def cut() -> Iterator[Picture]:
        return (np.ascontiguousarray(picture[:, off:]) for picture in clip.pictures())

    moved = replace(clip.track, mesh=clip.track.mesh - np.array([off, 0, 0], np.float32))
    near = replace(clip, width=clip.width - off, pictures=cut, track=moved)
    for seed in range(6):
        made = Attributes(edits=ALL[:6] + ALL[7:])([near], np.random.default_rng(seed))
        for frame, ((picture, mask), original) in enumerate(zip(pairs(made), cut(), strict=True)):
            assert picture.shape == original.shape
            assert mask.any() == (frame != UNSEEN)
        assert frame == FRAMES - 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"edits": ["smile", "beard"]}, "'smile', 'jaw', 'brow'"),
        ({"edits": ["smile", "age", "smile"]}, "names smile more than once; name each edit once"),
        ({"edits": []}, "at least 1 item"),
        ({"smile": 0.0}, "greater than 0"),
        ({"age": 1.5}, "less than or equal to 1"),
        ({"wrinkles": 1.0}, "not permitted"),
    ],
)
def test_wrong_settings_are_refused_in_words(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Attributes.model_validate(settings)


def test_settings_may_come_as_lists() -> None:
    assert Attributes.model_validate({"edits": ["age", "glasses"]}).edits == ("age", "glasses")
