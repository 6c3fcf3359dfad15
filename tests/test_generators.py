"""What every generator promises, and what each one is for. Most of it on drawn faces, whose truth is known exactly."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
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

from forgeline.clip import Clip, Made, Picture, Sound, Track
from forgeline.errors import MediaError, WeightsError
from forgeline.faces import FaceFinder, track_faces
from forgeline.mesh import LEFT_BROW, LEFT_EYE, LIPS_INNER, LIPS_OUTER, OVAL, RIGHT_BROW, RIGHT_EYE, TRIANGLES
from forgeline.video import open_video
from generators.attributes import Attributes, edited
from generators.blend import match_colours, membrane, mix, multiband
from generators.blend_swap import BlendSwap, fitting_frames
from generators.lip_sync import LipSync, follow, speak
from generators.plugin import Generator, Trained, spans
from generators.pose import axes, yaw
from generators.self_swap import SelfSwap
from generators.table import GENERATORS
from generators.warp import CLOSED, spread

SHARED = Path(__file__).parents[2] / "shared"
WIDTH, HEIGHT, FRAMES, UNSEEN = 176, 192, 10, 4
FPS = Fraction(30000, 1001)

# --------------------------------------------------------------------------------------------- drawn faces


@cache
def resting_mesh() -> NDArray[np.float32]:
    """A face of width 1 around (0, 0): rings where faces have them, every other point in the middle of its neighbours."""
    places: dict[int, tuple[float, float]] = {}

    def ring(points: NDArray[np.int32], x: float, y: float, wide: float, high: float, start: float) -> None:
        for point, angle in zip(points, start - np.arange(len(points)) * 2 * np.pi / len(points), strict=True):
            places[int(point)] = x + wide * np.cos(angle), y - high * np.sin(angle)

    ring(OVAL, 0, 0, 0.5, 0.65, np.pi / 2)
    ring(LIPS_OUTER, 0, 0.33, 0.16, 0.07, np.pi)
    ring(LIPS_INNER, 0, 0.33, 0.12, 0.02, np.pi)
    places |= {p: (x, 2 * 0.33 - y) for p, (x, y) in places.items() if p in {*LIPS_OUTER, *LIPS_INNER}}
    ring(RIGHT_EYE, -0.22, -0.12, 0.08, 0.03, np.pi)
    ring(LEFT_EYE, 0.22, -0.12, -0.08, 0.03, np.pi)
    ring(RIGHT_BROW, -0.22, -0.26, 0.11, 0.02, np.pi)
    ring(LEFT_BROW, 0.22, -0.26, -0.11, 0.02, np.pi)
    for eye in (RIGHT_EYE, LEFT_EYE):  # lower lid first, as in the list of points
        places |= {int(p): (places[int(p)][0], -0.24 - places[int(p)][1]) for p in eye}
    places |= {1: (0.0, 0.12), 4: (0.0, 0.09)}
    edges = {(int(a), int(b)) for t in CLOSED for a in t for b in t if a != b}
    system, wanted = np.eye(468), np.zeros((468, 2))
    for point in range(468):
        if point in places:
            wanted[point] = places[point]
        else:
            near = [b for a, b in edges if a == point]
            system[point, near] = -1 / len(near)
    flat = np.linalg.solve(system, wanted)
    depth = 0.6 * np.square(flat / (0.5, 0.65)).sum(1)[:, None]
    return np.concatenate([flat, depth], 1).astype(np.float32)


def pose(opening: float, turn: float, x: float, y: float, size: float) -> NDArray[np.float32]:
    """The mesh (468, 3) in pixels: mouth open by `opening`, head turned by `turn` degrees."""
    mesh = resting_mesh().copy()
    lower = np.isin(np.arange(468), [p for p in {*LIPS_INNER, *LIPS_OUTER} if mesh[p, 1] > 0.331])
    mesh[lower, 1] += opening
    mesh[:, 2] -= 0.3
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    mesh[:, 0], mesh[:, 2] = c * mesh[:, 0] - s * mesh[:, 2], s * mesh[:, 0] + c * mesh[:, 2]
    return (mesh * size + (x, y, 0)).astype(np.float32)


def draw(mesh: NDArray[np.float32], person: int, noise: np.random.Generator) -> Picture:
    look = np.random.default_rng(person)
    skin = np.array([200, 150, 125]) * look.uniform(0.6, 1.1) + look.uniform(-10, 10, 3)
    colours = np.clip(skin * look.normal(1, 0.06, (468, 1)), 0, 255).astype(np.float32)
    for part, colour in ((RIGHT_BROW, 60), (LEFT_BROW, 60), (RIGHT_EYE, 90), (LEFT_EYE, 90), (LIPS_OUTER, (150, 70, 80))):
        colours[part] = colour
    picture = np.full((HEIGHT, WIDTH, 3), look.uniform(40, 200, 3), np.float32)
    middle, size = mesh[:, :2].mean(0), np.ptp(mesh[:, 1])
    hair = (round(float(middle[0])), round(float(middle[1] - 0.1 * size)))
    cv2.ellipse(picture, hair, (round(size * 0.48), round(size * 0.56)), 0, 0, 360, look.uniform(20, 60, 3).tolist(), -1)
    planes, covered = spread(mesh, colours, TRIANGLES, (0, 0, WIDTH, HEIGHT))
    picture[covered > 0] = np.moveaxis(planes, 0, 2)[covered > 0]
    cv2.fillPoly(picture, [np.round(mesh[LIPS_INNER, :2]).astype(np.int32)], (40, 15, 20))
    for eye in (RIGHT_EYE, LEFT_EYE):
        cv2.fillPoly(picture, [np.round(mesh[eye, :2]).astype(np.int32)], (230, 230, 225))
    return np.clip(picture + noise.normal(0, 2, picture.shape), 0, 255).astype(np.uint8)


class Passes:
    """A clip's pictures; counts how often they were asked for."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self.pictures, self.count = pictures, 0

    def __call__(self) -> Iterator[Picture]:
        self.count += 1
        return iter(self.pictures)


@cache
def _drawn(person: int, turns: tuple[float, ...]) -> tuple[Track, tuple[Picture, ...], Sound]:
    rng = np.random.default_rng(1000 + person)
    openings = 0.06 * np.square(np.sin(np.arange(len(turns)) * 0.4 + person))
    steps = np.arange(len(turns))
    meshes = np.stack(
        [pose(o, t, 88 + 4 * np.sin(i / 4), 100, 96 + 4 * person) for i, (o, t) in enumerate(zip(openings, turns, strict=True))]
    )
    pictures = tuple(draw(mesh, person, rng) for mesh in meshes)
    for picture in pictures:
        picture.flags.writeable = False
    seen = steps != UNSEEN
    meshes[~seen] = np.nan
    box = np.concatenate([meshes[:, :, :2].min(1), meshes[:, :, :2].max(1)], 1)
    points = np.stack([meshes[:, p, :2].mean(1) for p in (RIGHT_EYE, LEFT_EYE, [4], [61], [291])], 1)
    rate = 16000
    times = np.arange(round(len(turns) / FPS * rate)) / rate
    loud = np.interp(times, steps / float(FPS), openings / 0.06)
    sound = Sound(
        (0.3 * loud * np.sin(2 * np.pi * (120 + 40 * person) * times * [[1], [4], [9]]).mean(0)).astype(np.float32), rate
    )
    return Track(box, points, meshes, np.where(seen, 0.99, np.nan).astype(np.float32), seen), pictures, sound


def drawn(person: int, turns: Sequence[float] = (0,) * FRAMES) -> Clip:
    track, pictures, sound = _drawn(person, tuple(turns))
    return Clip("video", WIDTH, HEIGHT, FPS, len(turns), Passes(pictures), lambda: sound, track, f"person {person}")


# ------------------------------------------------------------------------------- what every generator promises

NAMES = tuple(GENERATORS)


def built(name: str) -> Any:
    return GENERATORS[name]()


def ready(name: str) -> Generator:
    """The generator as a worker has it: one that learns is bound to a model of the fewest steps."""
    generator = built(name)
    return _taught(name) if isinstance(generator, Trained) else generator


@cache
def _taught(name: str) -> Generator:
    with tempfile.TemporaryDirectory() as folder:
        section = GENERATORS[name].model_validate({"steps": 2, "batch": 4})
        section.train((drawn(i) for i in (1, 2)), np.random.default_rng(3), Path(folder))  # type: ignore[attr-defined]
        generator: Generator = section.load(Path(folder))  # type: ignore[attr-defined]
    return generator


IMAGES = tuple(name for name in NAMES if "size" in GENERATORS[name].model_fields)
ON_FACES = tuple(name for name in NAMES if name not in ("control", *IMAGES))


def parents_of(generator: Any, first: int = 1) -> list[Clip]:
    return [drawn(first + i) for i in range({"own": 1, "pair": 2, "nobody": 0}[generator.casting])]


@cache
def made_by(name: str) -> tuple[Made, tuple[tuple[Picture, NDArray[np.uint8]], ...], list[Clip]]:
    generator = ready(name)
    parents = parents_of(generator)
    made = generator(parents, np.random.default_rng(7))
    return made, tuple(made.pictures), parents


def digest_of(name: str) -> str:
    generator = ready(name)
    made = generator(parents_of(generator), np.random.default_rng(7))
    digest = hashlib.sha256(made.sound.samples.tobytes() if made.sound else b"")
    for picture, mask in made.pictures:
        digest.update(picture.tobytes() + mask.tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_says_what_it_is(name: str) -> None:
    generator = built(name)
    assert isinstance(generator, Generator)
    labels = {"control": "control", "null_twin": "augmented_real", "augmentation": "augmented_real"}
    if generator.role == "forgery":
        assert generator.changes
        assert generator.content_class in {"partially_synthetic", "fully_synthetic"}
    else:
        assert not generator.changes
        assert generator.content_class == labels[generator.role]
    assert (generator.casting == "nobody") == (generator.apparent == "nobody")
    assert generator.source_type in {
        "digitalCapture", "compositeCapture", "composite", "trainedAlgorithmicMedia", "algorithmicallyEnhanced",
    }  # fmt: skip
    assert type(generator).__doc__
    assert all(field.description for field in type(built(name)).model_fields.values()), "a field without help"


@pytest.mark.parametrize("name", NAMES)
def test_settings_survive_a_round_trip_through_json(name: str) -> None:
    generator = built(name)
    assert GENERATORS[name].model_validate(generator.settings()) == generator


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_has_its_size_and_its_mask(name: str) -> None:
    made, frames, _ = made_by(name)
    side = getattr(built(name), "size", 0)
    width, height, fps, count = (side, side, 0, 1) if name in IMAGES else (WIDTH, HEIGHT, FPS, FRAMES)
    assert len(frames) == made.frames == count
    assert (made.width, made.height, made.fps) == (width, height, fps)
    assert made.media_type == ("image" if name in IMAGES else "video")
    for picture, mask in frames:
        assert picture.shape == (height, width, 3)
        assert mask.shape == (height, width)
        assert picture.dtype == mask.dtype == np.uint8


@pytest.mark.parametrize("name", [name for name in NAMES if name not in IMAGES])
def test_nothing_changes_where_the_mask_is_zero(name: str) -> None:
    _, frames, parents = made_by(name)
    for (picture, mask), original in zip(frames, parents[0].pictures(), strict=True):
        assert np.array_equal(picture[mask == 0], original[mask == 0])


@pytest.mark.parametrize("name", ON_FACES)
def test_segments_say_which_frames_are_changed(name: str) -> None:
    made, frames, parents = made_by(name)
    changed = np.array([mask.any() for _, mask in frames])
    assert not changed[UNSEEN], "a frame without a face must stay as it is"
    assert changed.mean() > 0.5
    assert tuple(s for s in made.segments if s.modality == "video") == spans(changed, FPS, "video")
    differs = [not np.array_equal(p, o) for (p, _), o in zip(frames, parents[0].pictures(), strict=True)]
    assert np.array_equal(differs, changed)


@pytest.mark.parametrize("name", NAMES)
def test_sound_changes_only_where_it_is_said_to(name: str) -> None:
    made, _, parents = made_by(name)
    original = parents[0].sound() if parents and name not in IMAGES else None
    assert (made.sound is None) == (original is None)
    if made.sound is not None and original is not None:
        assert made.sound.samples.dtype == np.float32
        same = made.sound.rate == original.rate and np.array_equal(made.sound.samples, original.samples)
        assert same != ("audio" in built(name).changes)
        assert any(s.modality == "audio" for s in made.segments) != same


@pytest.mark.parametrize("name", NAMES)
def test_streams_are_opened_a_bounded_number_of_times(name: str) -> None:
    _, _, parents = made_by(name)
    assert all(parent.pictures.count <= 4 for parent in parents)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", NAMES)
def test_same_chance_gives_same_bytes_and_leaves_no_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest_of(name)  # whatever is compiled once is compiled now
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert digest_of(name) == digest_of(name)
    assert not list(tmp_path.iterdir())


def test_another_process_makes_the_same_bytes() -> None:
    code = "import test_generators as t; print(*[t.digest_of(n) for n in t.NAMES])"
    folders = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    env = {**os.environ, "PYTHONPATH": folders, "PYTHONHASHSEED": "99"}
    out = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert out.split() == [digest_of(name) for name in NAMES]


@pytest.mark.parametrize("name", [*ON_FACES, "image_control"])
@pytest.mark.parametrize("fault", ["no track", "never seen"])
def test_a_clip_without_a_face_is_refused_at_once(name: str, fault: str) -> None:
    generator = built(name)
    parents = parents_of(generator)
    track = parents[0].track
    assert track is not None
    blind = replace(track, seen=np.zeros(FRAMES, np.bool_), mesh=np.full_like(track.mesh, np.nan))
    parents[0] = replace(parents[0], track=None if fault == "no track" else blind)
    with pytest.raises(MediaError, match="person 1"):
        generator(parents, np.random.default_rng(0))


# ------------------------------------------------------------------------------------------------ control


def test_control_changes_nothing() -> None:
    made, frames, parents = made_by("control")
    for (picture, mask), original in zip(frames, parents[0].pictures(), strict=True):
        assert np.array_equal(picture, original)
        assert not mask.any()
    assert made.segments == ()


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


def test_spans_are_runs_in_seconds() -> None:
    changed = np.array([1, 1, 0, 1], np.bool_)
    assert [(s.start_s, s.end_s) for s in spans(changed, Fraction(2), "video")] == [(0, 1), (1.5, 2)]
    assert spans(changed, Fraction(0), "video") == ()


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
    assert core.sum() > 500
    assert of_source > 0.4
    assert abs(of_target) < 0.1


def test_the_mouth_stays_the_targets() -> None:
    _, frames, parents = made_by("blend_swap")
    track = parents[0].track
    assert track is not None
    frame = int(np.nanargmax(track.mesh[:, 14, 1] - track.mesh[:, 13, 1]))
    _, mask = frames[frame]
    x, y = track.mesh[frame][[13, 14], :2].mean(0).round().astype(int)
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


# ----------------------------------------------------------------------------------------------- lip_sync


def test_the_mouth_opens_with_the_speech() -> None:
    speaker = drawn(2, (0,) * 40)
    sound = speaker.sound()
    assert speaker.track is not None
    assert sound is not None
    openness, brightness = follow(sound, 40, float(FPS))
    gap = speaker.track.mesh[:, 14, 1] - speaker.track.mesh[:, 13, 1]
    seen = speaker.track.seen
    assert np.corrcoef(openness[seen], gap[seen])[0, 1] > 0.8
    assert openness.min() >= 0
    assert openness.max() <= 1
    assert brightness.min() >= 0
    assert brightness.max() <= 1
    longer, _ = follow(sound, 60, float(FPS))
    assert not longer[43:].any(), "where the sound has ended the mouth is shut"
    silence, _ = follow(Sound(np.zeros(16000, np.float32), 16000), 25, 25.0)
    assert not silence.any()


@pytest.mark.parametrize("opening", [0.0, 0.1, 0.25])
def test_lips_part_as_far_as_asked(opening: float) -> None:
    mesh = pose(0.03, 10, 88, 100, 96)
    moved = speak(mesh, opening, 1.0)
    _, down, size = axes(mesh)
    assert (moved[14] - moved[13])[:2] @ down / size == pytest.approx(opening, abs=0.01)
    high = mesh[:, 1] < mesh[1, 1]
    assert np.array_equal(moved[high], mesh[high])


def test_a_mouth_that_was_shut_opens_onto_painted_dark_only_when_there_is_speech() -> None:
    target, mesh = drawn(1), pose(0.0, 0, 88, 100, 100)
    mesh[LIPS_INNER[11:], 1] = mesh[LIPS_INNER[9:0:-1], 1]
    picture = draw(mesh, 1, np.random.default_rng(0))
    cv2.fillPoly(picture, [np.round(mesh[LIPS_OUTER, :2]).astype(np.int32)], (150, 70, 80))
    assert target.track is not None
    shut = replace(target, track=replace(target.track, mesh=np.stack([mesh] * FRAMES), seen=np.ones(FRAMES, np.bool_)))
    shut = replace(shut, pictures=lambda: iter([picture] * FRAMES))
    speech = 0.3 * np.sin(np.arange(16000) * 0.2).astype(np.float32)
    speech[: round(16000 * 5 / FPS)] = 0
    made = LipSync(width=0)([shut, replace(drawn(2), sound=lambda: Sound(speech, 16000))], np.random.default_rng(0))
    frames = list(made.pictures)
    changed = np.array([mask is not None and mask.any() for _, mask in frames])
    assert not changed[:3].any()
    assert changed[6:].all()
    assert [s for s in made.segments if s.modality == "video"] == list(spans(changed, FPS, "video"))
    laid, mask = frames[8]
    assert mask is not None
    openness, _ = follow(Sound(speech, 16000), FRAMES, float(FPS))
    lips = speak(mesh, 0.16 * float(openness[8]), 1)
    x, y = (0.2 * lips[13] + 0.8 * lips[14])[:2].round().astype(int)
    assert mask[y, x] == 255
    assert laid[y, x].mean() < 0.7 * picture[round(float(mesh[14, 1])), 88].mean()


def test_a_still_image_cannot_speak() -> None:
    still = replace(drawn(1), media_type="image", fps=Fraction(0))
    with pytest.raises(MediaError, match="person 1: is a still image"):
        LipSync()([still, drawn(2)], np.random.default_rng(0))


def _same(sound: Sound | None) -> Sound | None:
    return sound


def test_a_speaker_without_sound_is_refused() -> None:
    for sound in (None, Sound(np.zeros(100, np.float32), 16000)):
        with pytest.raises(MediaError, match="person 2: has no sound"):
            LipSync()([drawn(1), replace(drawn(2), sound=partial(_same, sound))], np.random.default_rng(0))


# --------------------------------------------------------------------------------------------- attributes


@pytest.mark.parametrize("edit", ["smile", "jaw", "brow"])
def test_each_edit_moves_its_own_part(edit: str) -> None:
    mesh = pose(0.0, 0, 88, 100, 96)
    moved = edited(mesh, **{"smile": 0.0, "jaw": 0.0, "brow": 0.0, edit: 0.1})
    way = np.hypot(*(moved - mesh)[:, :2].T)
    part = {"smile": [61, 291], "jaw": [172, 397], "brow": [105, 334]}[edit]
    assert way[part].min() > 0.6 * way.max() > 1
    for other in ({61, 291, 172, 397, 105, 334} - set(part)) if edit != "jaw" else {105, 334}:
        assert way[other] < 0.5 * way.max()
    assert moved[61, 1] <= mesh[61, 1] + 1e-3


def test_outside_the_face_nothing_moves() -> None:
    _, frames, parents = made_by("attributes")
    track = parents[0].track
    assert track is not None
    for (_, mask), mesh in zip(frames, track.mesh, strict=True):
        if mask.any():
            y, x = np.nonzero(mask)
            middle, half = mesh[:, :2].mean(0), np.ptp(mesh[:, :2], axis=0) / 2
            assert np.abs((np.stack([x, y], 1) - middle) / half).max() < 1.5


def test_edits_are_drawn_for_each_clip() -> None:
    first = [next(Attributes()([drawn(1)], np.random.default_rng(seed)).pictures)[0] for seed in (1, 2)]
    assert not np.array_equal(first[0], first[1])


# ------------------------------------------------------------------------------------------ real footage

GRID = SHARED / "media" / "grid"
EMBEDDER = SHARED / "weights" / "mobilefacenet" / "mobilefacenet_photo_analyze.onnx"


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    if not GRID.exists():
        pytest.skip("needs the GRID clips in ../shared/media")
    try:
        return FaceFinder()
    except WeightsError as error:
        pytest.skip(f"no face nets here: {error}")


def footage(name: str, finder: FaceFinder) -> Clip:
    clip = open_video(GRID / f"{name}.mpg")
    pictures = tuple(clip.pictures())[::3]
    clip = replace(clip, frames=len(pictures), fps=clip.fps / 3, pictures=lambda: iter(pictures))
    return replace(clip, track=track_faces(clip, finder)[0])


def lip_gap(mesh: NDArray[np.float32]) -> float:
    return float(np.hypot(*(mesh[13] - mesh[14])[:2]) / np.hypot(*(mesh[10] - mesh[152])[:2]))


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
def test_a_real_swap_takes_the_face_and_leaves_the_expression(finder: FaceFinder, blend: str) -> None:
    target, source = footage("sbwe5n", finder), footage("lwbsza", finder)
    swap = BlendSwap.model_validate({"blend": blend})
    pictures = [picture for picture, _ in swap([target, source], np.random.default_rng(0)).pictures]
    assert target.track is not None
    assert source.track is not None
    meshes = [finder.find(picture)[0].mesh for picture in pictures]
    gaps = [[lip_gap(a), lip_gap(b)] for a, b in zip(meshes, target.track.mesh, strict=True)]
    assert np.corrcoef(np.array(gaps).T)[0, 1] > 0.8
    if not EMBEDDER.exists():
        pytest.skip("needs the MobileFaceNet weights in ../shared/weights")
    swapped = identity(pictures[10], meshes[10])
    of_source = identity(list(source.pictures())[10], source.track.mesh[10])
    of_target = identity(list(target.pictures())[10], target.track.mesh[10])
    assert swapped @ of_source > swapped @ of_target + 0.2


def test_real_lips_follow_the_speech(finder: FaceFinder) -> None:
    target, speaker = footage("bbaf2n", finder), footage("lbax4n", finder)
    made = LipSync()([target, speaker], np.random.default_rng(0))
    gaps = [lip_gap(finder.find(picture)[0].mesh) for picture, _ in made.pictures]
    speech = speaker.sound()
    assert speech is not None
    openness, _ = follow(speech, target.frames, float(target.fps))
    assert np.corrcoef(gaps, openness)[0, 1] > 0.8
