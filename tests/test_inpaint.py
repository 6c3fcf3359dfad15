"""Edits of a face that a pipeline paints once: what it is told, and that what it paints stays on the face in every frame."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from forgeline.clip import Clip, Picture, Track
from forgeline.errors import MediaError, ModelError
from forgeline.mesh import LEFT_EYE, LIPS_INNER, LIPS_OUTER, OVAL, RIGHT_EYE
from generators import inpaint
from generators.align import Place
from generators.grain import noise
from generators.inpaint import Inpaint, Region
from generators.pipeline import GivenPipeline, Pipeline
from generators.pose import steady
from tests.people import FRAMES, UNSEEN, drawn, footage, pose
from tests.tiny_pipeline import Kind, put

SIDE = 192
TURNS = (-24, -16, -8, 0, 8, 12, 16, 20, 24, 28)
FILLS = frozenset({"prompt", "image", "num_inference_steps", "mask_image", "strength", "guidance_scale", "height", "width"})
FREE = FILLS - {"mask_image", "height", "width"}
FOLLOWS = FREE - {"strength"} | {"image_guidance_scale"}
GIVEN = GivenPipeline(folder="mine", sha256="0" * 64, licence="of the tests")

Paint = Callable[[Picture], NDArray[Any]]


@dataclass
class Painted:
    """What a pipeline of diffusers gives back."""

    images: NDArray[np.float64]
    nsfw_content_detected: list[bool] | None = None


@dataclass
class Painter:
    """A pipeline that does something simple, and remembers what it was told."""

    paint: Paint
    takes: frozenset[str] = FILLS
    flags: bool = False

    def __post_init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def __call__(self, **told: Any) -> Painted:
        self.told.append(told)
        made = self.paint(np.asarray(told["image"], np.uint8))
        return Painted(made[None] / 255, [self.flags])


@pytest.fixture
def painter(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Painter]:
    """Takes what is painted, and puts such a pipeline where the team's is."""

    def given(*settings: Any, **others: Any) -> Painter:
        made = Painter(*settings, **others)
        opened = Pipeline("mine", "Fake", made.takes, SIDE, made)
        monkeypatch.setattr(inpaint, "open_pipeline", lambda _: opened)
        return made

    return given


def generator(region: Region = "face", **settings: Any) -> Inpaint:
    edits = [{"name": "edit", "prompt": "the edit", "region": region}]
    return Inpaint.model_validate({"pipeline": GIVEN, "edits": edits} | settings)


def made(target: Clip, region: Region = "face", **settings: Any) -> Iterator[tuple[int, Picture, Picture, NDArray[np.uint8]]]:
    """The frames that are changed: their number, what was there, what is there now, and the mask."""
    pictures = generator(region, **settings)([target], np.random.default_rng(1)).pictures
    for frame, ((picture, mask), original) in enumerate(zip(pictures, target.pictures(), strict=True)):
        assert mask is not None
        assert np.array_equal(picture[mask == 0], original[mask == 0])
        if mask.any():
            yield frame, original, picture, mask


def face(clip: Clip) -> Track:
    assert clip.track is not None
    return clip.track


def filled(points: NDArray[np.float32], shape: tuple[int, ...], reach: int = 0) -> NDArray[np.bool_]:
    """Inside a ring of points (n, 2), by `reach` pixels within it, or without it where that is below 0."""
    area = cv2.fillPoly(np.zeros(shape[:2], np.uint8), [np.round(points).astype(np.int32)], 1)
    near = np.ones((2 * abs(reach) + 1,) * 2, np.uint8)
    return (cv2.erode(area, near) if reach > 0 else cv2.dilate(area, near)) > 0


def brighter(by: float) -> Paint:
    return lambda seen: np.clip(seen.astype(np.float64) + by, 0, 255)


def plain(*colour: float) -> Paint:
    return lambda seen: np.broadcast_to(np.array(colour), seen.shape)


# --------------------------------------------------------------------------------------- what the pipeline is told


def test_a_pipeline_is_told_what_it_takes(painter: Callable[..., Painter]) -> None:
    for takes in (FILLS, FREE, FOLLOWS):
        one = painter(brighter(6), takes=takes)
        list(made(drawn(1), "eyes", steps=7, strength=0.5, guidance=3.0))
        (told,) = one.told
        assert set(told) - {"generator", "output_type"} == takes - {"image_guidance_scale"}
        assert (told["prompt"], told["num_inference_steps"], told["guidance_scale"]) == ("the edit", 7, 3.0)
        assert told["image"].size == (SIDE, SIDE)
        if "mask_image" in takes:
            assert told["height"] == told["width"] == SIDE
            mask = np.asarray(told["mask_image"])
            assert mask.shape == (SIDE, SIDE)
            assert set(np.unique(mask)) == {0, 255}
            assert 0.02 < (mask > 0).mean() < 0.2


def test_it_sees_an_upright_face_with_room_around_it(painter: Callable[..., Painter]) -> None:
    leant = drawn(1)
    turn = np.array([[0.9, -0.436, 40], [0.436, 0.9, -20]])

    def tilted(picture: Picture) -> Picture:
        return np.asarray(cv2.warpAffine(picture, turn, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE), np.uint8)

    mesh = face(leant).mesh.copy()
    mesh[:, :, :2] = mesh[:, :, :2] @ turn[:, :2].T + turn[:, 2]
    pictures = leant.pictures
    leant = replace(leant, track=replace(face(leant), mesh=mesh.astype(np.float32)), pictures=lambda: map(tilted, pictures()))
    seen = []
    for clip in (drawn(1), leant):
        one = painter(brighter(6))
        list(made(clip))
        seen.append(np.asarray(one.told[0]["image"], np.float32))
        there = np.argwhere(np.asarray(one.told[0]["mask_image"]) > 0)
        assert np.abs((there.min(0) + there.max(0)) / 2 - SIDE / 2).max() < 4
        assert np.ptp(there, axis=0).max() == pytest.approx(SIDE / inpaint.ROOM, abs=3)
    middle = slice(SIDE // 4, 3 * SIDE // 4)
    assert np.abs(seen[0] - seen[1])[middle, middle].mean() < 8


def test_the_frame_that_shows_most_of_the_face_is_painted() -> None:
    track = face(drawn(1, TURNS))
    able = track.seen.copy()
    assert inpaint._key(track, able) == 3
    able[3] = False
    assert inpaint._key(track, able) in (2, 5)
    still = face(drawn(1))
    first = inpaint._key(still, still.seen)
    mesh = still.mesh.copy()
    mesh[first, [145, 374]] = mesh[first, [159, 386]]
    assert inpaint._key(replace(still, mesh=mesh), still.seen) != first, "with open eyes"
    mesh = still.mesh.copy()
    mesh[first] *= 2
    assert inpaint._key(replace(still, mesh=mesh), still.seen) != first, "as near as usual"


# ----------------------------------------------------------------------------------------- what becomes of the frames


def test_a_small_change_is_added_to_every_frame(painter: Callable[..., Painter]) -> None:
    """Whatever a frame shows stays, to the level: its grain, its light, its expression."""
    painter(brighter(6))
    target = drawn(1, TURNS)
    frames = 0
    for frame, original, picture, mask in made(target):
        mesh = steady(face(target), frame)
        deep = filled(mesh[OVAL, :2], mask.shape, 14) & ~filled(mesh[LIPS_INNER, :2], mask.shape, -3)
        deep &= ~filled(mesh[RIGHT_EYE, :2], mask.shape, -2) & ~filled(mesh[LEFT_EYE, :2], mask.shape, -2)
        change = picture[deep].astype(int) - original[deep]
        assert np.median(change) == 6
        assert np.abs(change - 6).mean() < 0.5
        assert not mask[~filled(mesh[OVAL, :2], mask.shape, -2)].any()
        frames += 1
    assert frames == FRAMES - 1


def test_every_frame_keeps_as_much_grain_as_it_had(painter: Callable[..., Painter]) -> None:
    """Nets give pictures without grain: the painted frame would be the only one to lose its own."""
    painter(lambda seen: cv2.GaussianBlur(seen, (0, 0), 1.5))
    target = drawn(2)
    for frame, original, picture, mask in made(target):
        deep = filled(steady(face(target), frame)[OVAL, :2], mask.shape, 14)
        assert noise(picture, deep) == pytest.approx(noise(original, deep), rel=0.1)


def test_a_large_change_replaces_what_was_there_but_takes_its_light(painter: Callable[..., Painter]) -> None:
    painter(plain(30, 90, 200))
    bright = drawn(2)
    pictures = bright.pictures

    def dimmed() -> Iterator[Picture]:
        for frame, picture in enumerate(pictures()):
            yield picture if frame < 6 else np.clip(picture.astype(int) - 25, 0, 255).astype(np.uint8)

    light = {}
    for frame, _, picture, mask in made(replace(bright, pictures=dimmed)):
        mesh = steady(face(bright), frame)
        deep = filled(mesh[OVAL, :2], mask.shape, 20)
        colours = picture[deep].astype(float)
        light[frame] = colours.mean(0)
        assert colours.std(0).max() < 8, "nothing of eyes, lips and brows shines through"
    key = min(light, key=lambda frame: np.abs(light[frame] - (30, 90, 200)).max())
    assert np.abs(light[key] - (30, 90, 200)).max() < 4
    one, other = (np.mean([colour for frame, colour in light.items() if (frame < 6) == early], 0) for early in (True, False))
    assert np.abs(one - other - 25).max() < 8


def test_what_is_painted_stays_on_its_place_of_the_face(painter: Callable[..., Painter]) -> None:
    """A spot on the nose, another on a cheek: they go where the mesh goes, also when the head turns."""
    target = drawn(1, TURNS)
    key = inpaint._key(face(target), face(target).seen)
    mesh = steady(face(target), key)
    at: Place = inpaint._upright(mesh, SIDE)
    for point in (1, 50, 280, 199):
        x, y = np.round(at[:, :2] @ mesh[point, :2] + at[:, 2]).astype(int)

        def spot(seen: Picture, x: int = int(x), y: int = int(y)) -> NDArray[Any]:
            return np.asarray(cv2.circle(seen.copy(), (x, y), 5, (0, 255, 0), -1))

        painter(spot)
        off = []
        for frame, original, picture, _ in made(target):
            change = np.clip(picture[..., 1].astype(int) - original[..., 1], 0, None) * (picture[..., 1] > 180)
            rows, columns = np.nonzero(change)
            middle = np.average(np.stack([columns, rows], 1), axis=0, weights=change[rows, columns])
            off.append(np.abs(middle - steady(face(target), frame)[point, :2]).max())
        assert len(off) == FRAMES - 1
        assert max(off) < 1.5, point


def test_a_mouth_that_opens_further_shows_its_own_inside(painter: Callable[..., Painter]) -> None:
    shut, wide = (pose(opening, 0, 88, 100, 100) for opening in (0.0, 0.16))
    mesh = np.stack([shut] * 5 + [wide] * 5)
    talker = drawn(1)
    talker = replace(talker, track=replace(face(talker), mesh=mesh, seen=np.ones(FRAMES, np.bool_)))
    painter(plain(0, 200, 0))
    frames = {frame: (original, picture) for frame, original, picture, _ in made(talker)}
    original, picture = frames[8]
    inside = filled(wide[LIPS_INNER, :2], picture.shape, 3)
    assert inside.sum() > 50
    assert np.abs(picture[inside].astype(int) - original[inside]).mean() < 3
    assert (frames[0][1][filled(shut[LIPS_OUTER, :2], picture.shape, 2)][:, 1] > 150).mean() > 0.9


PARTS: dict[Region, tuple[list[int], list[int]]] = {
    "face": ([1, 50, 280, 151, 199, 13, 159], [10, 152]),
    "eyes": ([159, 386, 168, 105], [1, 13, 151, 152, 205]),
    "mouth": ([13, 14, 0, 17], [1, 152, 205, 168]),
    "beard": ([199, 175, 152, 136, 365], [13, 0, 17, 1, 168]),
    "hair": ([10, 338, 109], [168, 1, 159, 105]),
}
"""Points of the mesh that belong to each region, and some that don't."""


@pytest.mark.parametrize("region", list(PARTS))
def test_each_region_is_where_its_name_says(region: Region, painter: Callable[..., Painter]) -> None:
    painter(plain(0, 200, 0))
    within, without = PARTS[region]
    target = drawn(1, TURNS)
    for frame, _, _, mask in made(target, region):
        mesh = steady(face(target), frame)
        at = np.round(mesh[:, :2]).astype(int)
        assert all(mask[at[p, 1], at[p, 0]] > 60 for p in within), [mask[at[p, 1], at[p, 0]] for p in within]
        assert all(mask[at[p, 1], at[p, 0]] < 30 for p in without), [mask[at[p, 1], at[p, 0]] for p in without]
        if region == "hair":
            high = mesh[10, :2] + 0.15 * (mesh[10, :2] - mesh[1, :2])
            assert mask[tuple(np.round(high).astype(int)[::-1])] > 60
        inner = cv2.erode((mask > 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        rim = (mask > 0) & ~inner
        assert np.median(mask[rim]) < 64, "a soft edge"


def test_real_faces_wear_it_steadily(painter: Callable[..., Painter]) -> None:
    def made_up(seen: Picture) -> NDArray[Any]:
        y, x = np.mgrid[:SIDE, :SIDE]
        return np.asarray(seen * (0.7 + 0.3 * np.sin(x / 10) * np.sin(y / 10))[..., None])

    painter(made_up)
    for name in ("bbaf2n", "lbax4n"):
        target = footage(name)
        frames = list(made(target))
        assert len(frames) > 0.9 * target.frames
        common = sum(((o != p).any(2) & (m > 0)).sum() for _, o, p, m in frames)
        either = sum(((o != p).any(2) | (m > 0)).sum() for _, o, p, m in frames)
        assert common / either > 0.95
        area = np.array([(m > 0).sum() for *_, m in frames])
        assert np.abs(np.diff(area)).max() < 0.05 * area.mean()
        own = covered = 0.0
        for (_, o, p, m), (_, before_o, before_p, before_m) in zip(frames[1:], frames, strict=False):
            both = (m > 0) & (before_m > 0)
            own += float(cv2.absdiff(p, before_p)[both].mean())
            covered += float(cv2.absdiff(o, before_o)[both].mean())
        assert 0.3 * covered < own < 1.3 * covered


# ------------------------------------------------------------------------------------------------ what is drawn


def test_one_of_the_edits_is_drawn_and_recorded(painter: Callable[..., Painter]) -> None:
    one = painter(brighter(6))
    edits = [{"name": name, "prompt": f"make it {name}", "region": region} for name, region in (("a", "eyes"), ("b", "beard"))]
    many = generator().model_copy(update={"edits": Inpaint.model_validate({"pipeline": GIVEN, "edits": edits}).edits})
    seen = set()
    for seed in range(8):
        made_so = many([drawn(1)], np.random.default_rng(seed))
        seen.add((made_so.drawn["edit"], made_so.drawn["region"], one.told[-1]["prompt"]))
    assert seen == {("a", "eyes", "make it a"), ("b", "beard", "make it b")}


def test_the_pipelines_chance_is_that_of_the_rng(painter: Callable[..., Painter]) -> None:
    one = painter(brighter(6))
    for seed in (1, 1, 2):
        generator()([drawn(1)], np.random.default_rng(seed))
    seeds = [told["generator"].initial_seed() for told in one.told]
    assert seeds[0] == seeds[1] != seeds[2]


# -------------------------------------------------------------------------------------------------- what is refused


def test_what_the_safety_checker_flags_is_refused_before_the_first_picture(painter: Callable[..., Painter]) -> None:
    painter(brighter(6), flags=True)
    with pytest.raises(MediaError, match="person 1: with the edit edit is what the pipeline's safety checker flags"):
        generator()([drawn(1)], np.random.default_rng(1))


def test_a_pipeline_that_changes_nothing_is_refused(painter: Callable[..., Painter]) -> None:
    painter(lambda seen: seen)
    with pytest.raises(MediaError, match="person 1: shows nothing in the region eyes that the edit edit changes"):
        generator("eyes")([drawn(1)], np.random.default_rng(1))


def test_a_pipeline_of_another_kind_or_size_is_refused(painter: Callable[..., Painter]) -> None:
    painter(brighter(6), takes=FILLS - {"image"})
    with pytest.raises(ModelError, match="mine: is a Fake, which edits no picture"):
        generator()([drawn(1)], np.random.default_rng(1))
    painter(lambda seen: seen[:100])
    with pytest.raises(ModelError, match="mine: paints 192 x 100 pixels of 192 x 192"):
        generator()([drawn(1)], np.random.default_rng(1))
    painter(lambda seen: np.full(seen.shape, np.nan))
    with pytest.raises(ModelError, match="no finite number"):
        generator()([drawn(1)], np.random.default_rng(1))


def test_a_clip_that_ends_early_is_refused(painter: Callable[..., Painter]) -> None:
    painter(brighter(6))
    target = drawn(1, TURNS)
    cut = replace(target, pictures=lambda: iter(list(target.pictures())[:2]))
    with pytest.raises(MediaError, match="person 1: ends before its frame 3 of 10"):
        generator()([cut], np.random.default_rng(1))


def test_settings_that_cannot_be_meant_are_refused() -> None:
    edit = {"name": "old", "prompt": "old", "region": "face"}
    for settings, words in (
        ({"edits": [edit, edit]}, "two edits of one name"),
        ({"edits": []}, "at least 1 item"),
        ({"steps": 2, "strength": 0.4}, "less than one of its steps"),
        ({"edits": [edit | {"region": "ear"}]}, "'face', 'eyes', 'mouth', 'beard' or 'hair'"),
    ):
        with pytest.raises(ValidationError, match=words):
            generator(**settings)


@pytest.mark.parametrize("kind", ["inpaint", "image", "instruct"])
def test_pipelines_of_diffusers_paint(kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    settings: dict[str, Any] = {"pipeline": put(tmp_path / "tiny", kind), "steps": 2}
    first = {frame: picture for frame, _, picture, _ in made(drawn(1), "face", **settings)}
    again = {frame: picture for frame, _, picture, _ in made(drawn(1), "face", **settings)}
    assert UNSEEN not in first
    assert len(first) == FRAMES - 1
    assert all(np.array_equal(first[frame], again[frame]) for frame in first)
