"""Faces on real footage and on heads that do not exist, and the mesh they are described by."""

import subprocess
import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forgeline.boxes import overlap
from forgeline.clip import Clip, Picture, Track
from forgeline.errors import MediaError, WeightsError
from forgeline.faces import Face, FaceFinder, face_share, load_track, save_tracks, track_faces, under_mask
from forgeline.image import open_image
from forgeline.mesh import (
    EYE_TRIANGLES,
    LEFT_BROW,
    LEFT_EYE,
    LIPS_INNER,
    LIPS_OUTER,
    MOUTH_TRIANGLES,
    OVAL,
    RIGHT_BROW,
    RIGHT_EYE,
    TRIANGLES,
    Ring,
)
from forgeline.video import open_video
from sources.heads import Expression, Pose, frame, person, scene

SHARED = Path(__file__).parents[2] / "shared"
GRID = SHARED / "media" / "grid"
KODAK = SHARED / "media" / "kodak"
YUNET = SHARED / "weights" / "yunet" / "face_detection_yunet_2026may.onnx"
real = pytest.mark.skipif(not GRID.is_dir(), reason="needs the real footage in ../shared/media")


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    try:
        return FaceFinder()
    except WeightsError as error:
        pytest.skip(str(error))


def clip_of(pictures: Sequence[Picture]) -> Clip:
    height, width = pictures[0].shape[:2]
    return Clip("video", width, height, Fraction(25), len(pictures), lambda: iter(pictures), lambda: None)


def grid(name: str, frames: int) -> list[Picture]:
    return [picture for picture, _ in zip(open_video(GRID / f"{name}.mpg").pictures(), range(frames), strict=False)]


def close_up(name: str) -> Picture:
    """A person's face, 160x160."""
    picture = grid(name, 1)[0]
    return picture[100:260, 80:240]


def shrunk(picture: Picture, zoom: float) -> Picture:
    return np.asarray(cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)


def stage(size: tuple[int, int], *placed: tuple[Picture, int, int]) -> Picture:
    """A grey picture of some width and height with pictures in it, the later ones in front."""
    canvas = np.full((size[1], size[0], 3), 120, np.uint8)
    for picture, left, top in placed:
        canvas[top : top + len(picture), left : left + picture.shape[1]] = picture
    return canvas


def frames_seen(tracks: Sequence[Track]) -> list[list[int]]:
    return sorted(np.flatnonzero(track.seen).tolist() for track in tracks)


def side(face: Face) -> float:
    return float((face.box[2:] - face.box[:2]).max())


def same(a: Track, b: Track) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name), equal_nan=name != "seen") for name in vars(a))


# Finding -----------------------------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize("name", ["kodim04", "kodim15"])
def test_portraits(finder: FaceFinder, name: str) -> None:
    clip = open_image(KODAK / f"{name}.png")
    (track,) = track_faces(clip, finder)
    assert track.seen.tolist() == [True]
    (face,) = finder.find(next(clip.pictures()))
    assert np.array_equal(track.mesh[0], face.mesh)
    right, left, nose, mouth_right, mouth_left = face.points
    assert right[0] < nose[0] < left[0], "the person's right is the picture's left"
    assert mouth_right[0] < mouth_left[0]
    assert max(right[1], left[1]) < nose[1] < min(mouth_right[1], mouth_left[1])
    inside = (face.box[:2] <= face.mesh[:, :2]) & (face.mesh[:, :2] <= face.box[2:])
    assert inside.all()
    assert face.mesh[4, 2] < face.mesh[[234, 454], 2].min(), "the nose is nearer than the ears"


@real
@pytest.mark.skipif(not YUNET.exists(), reason="needs the YuNet weights in ../shared/weights")
@pytest.mark.parametrize("name", ["bbaf2n", "lwbsza", "swiz3n"])
def test_points_agree_with_another_net(finder: FaceFinder, name: str) -> None:
    (picture,) = grid(name, 1)
    (face,) = finder.find(picture)
    yunet = cv2.FaceDetectorYN.create(str(YUNET), "", picture.shape[1::-1], 0.7)
    (row,) = yunet.detect(picture[..., ::-1].copy())[1]
    off = np.linalg.norm(face.points - row[4:14].reshape(5, 2), axis=1)
    # YuNet's corners of the mouth lie up to a quarter of the eyes' distance too high; its eyes and nose agree better.
    apart = np.linalg.norm(face.points[1] - face.points[0])
    assert off[:3].max() < 0.2 * apart
    assert off.max() < 0.3 * apart
    x, y, width, height = row[:4]
    assert overlap(face.box, np.array([x, y, x + width, y + height])) > 0.6


@real
@pytest.mark.parametrize(("name", "share"), [("bbaf2n", 0.04), ("lrwp9a", 0.05), ("lwbsza", 0.1), ("sbia1a", 0.08)])
def test_small_faces(finder: FaceFinder, name: str, share: float) -> None:
    (picture,) = grid(name, 1)
    (large,) = finder.find(picture)
    zoom = share * 1920 / side(large)
    small = shrunk(picture, zoom)
    # In the middle, where tiles that did not overlap would cut it.
    left, top = (np.array([960, 540]) - (large.box[:2] + large.box[2:]) / 2 * zoom).astype(int)
    (face,) = finder.find(stage((1920, 1080), (small, left, top)))
    off = np.linalg.norm(face.mesh[:, :2] - (large.mesh[:, :2] * zoom + (left, top)), axis=1)
    assert off.mean() < 0.01 * side(face)


@pytest.mark.parametrize("seed", range(3))
def test_drawn_heads(finder: FaceFinder, seed: int) -> None:
    rng = np.random.default_rng(seed)
    who, where = person(rng, *rng.random(3)), scene(rng)

    def seen(yaw: float, jaw: float) -> tuple[float, float]:
        """The nose's way to the side and the lips' way apart, in distances of the eyes."""
        (face,) = finder.find(frame(who, Expression(jaw=jaw), Pose(yaw=yaw), where, 192, rng))
        right, left, nose = face.points[:3]
        apart = np.linalg.norm(left - right)
        gap = np.linalg.norm(face.mesh[LIPS_INNER[5], :2] - face.mesh[LIPS_INNER[15], :2])
        return float((nose - (right + left) / 2)[0] / apart), float(gap / apart)

    rest, open_mouth, turned_right, turned_left = seen(0, 0), seen(0, 0.8), seen(0.4, 0), seen(-0.4, 0)
    assert abs(rest[0]) < 0.05
    assert turned_right[0] > 0.2
    assert turned_left[0] < -0.2
    assert rest[1] < 0.06
    assert open_mouth[1] > 0.12


@real
def test_mirror(finder: FaceFinder) -> None:
    (picture,) = grid("lbax4n", 1)
    (face,) = finder.find(picture)
    (other,) = finder.find(picture[:, ::-1].copy())
    back = other.points[[1, 0, 2, 4, 3]] * (-1, 1) + (picture.shape[1] - 1, 0)
    assert np.linalg.norm(back - face.points, axis=1).max() < 0.05 * side(face)


@real
def test_no_face(finder: FaceFinder) -> None:
    for name in ("kodim23", "kodim08"):
        assert track_faces(open_image(KODAK / f"{name}.png"), finder) == []


@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
@settings(max_examples=12, deadline=None)
def test_any_picture(finder: FaceFinder, width: int, height: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for face in finder.find(noise):
        assert np.isfinite(face.mesh).all()


# Following ---------------------------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize("name", ["bbaf2n", "brbk7n", "id2_vcd_swwp2s", "sbia1a"])
def test_every_frame(finder: FaceFinder, name: str) -> None:
    clip = open_video(GRID / f"{name}.mpg")
    (track,) = track_faces(clip, finder)
    assert face_share(track) == 1
    assert track.mesh.shape == (clip.frames, 468, 3)
    assert track.score.min() > 0.9
    steps = np.linalg.norm(np.diff(track.points, axis=0), axis=2)
    assert steps.max() < 0.15 * (track.box[:, 3] - track.box[:, 1]).min(), "a talking head does not jump"


@real
def test_two_people(finder: FaceFinder) -> None:
    left, right = grid("bbaf2n", 24), grid("sbia1a", 24)
    tracks = track_faces(clip_of([np.hstack(pair) for pair in zip(left, right, strict=True)]), finder)
    assert [face_share(track) for track in tracks] == [1, 1]
    for track, pictures, shift in zip(tracks, (left, right), (0, 360), strict=True):
        (alone,) = track_faces(clip_of(pictures), finder)
        assert np.abs(track.points - (shift, 0) - alone.points).max() < 6
    areas = [float(np.prod(track.box[:, 2:] - track.box[:, :2], axis=1).sum()) for track in tracks]
    assert areas == sorted(areas, reverse=True)


@real
def test_people_passing_each_other_keep_their_tracks(finder: FaceFinder) -> None:
    here, there = close_up("bbaf2n"), close_up("sbia1a")
    pictures = [stage((800, 600), (here, 16 * step, 50), (there, 640 - 16 * step, 340)) for step in range(40)]
    tracks = track_faces(clip_of(pictures), finder)
    assert [face_share(track) for track in tracks] == [1, 1]
    for track in tracks:
        assert np.ptp(track.points[:, 2, 1]) < 10


@real
@pytest.mark.parametrize("step", [8, 16, 30])
@pytest.mark.parametrize("nearer", ["bbaf2n", "sbia1a"])
def test_people_who_cross_keep_their_tracks(finder: FaceFinder, step: int, nearer: str) -> None:
    """One passes in front of the other, each by up to a third of a face a frame; both are the same people afterwards."""
    places = {"bbaf2n": range(10, 630, step), "sbia1a": range(620, 0, -step)}
    order = sorted(places, key=lambda name: name == nearer)
    people = {name: close_up(name) for name in places}
    count = min(map(len, places.values()))
    pictures = [stage((800, 460), *((people[name], places[name][i], 150) for name in order)) for i in range(count)]
    tracks = track_faces(clip_of(pictures), finder)[:2]
    ends = []
    for track in tracks:
        assert track.seen[[1, -2]].all()
        middles = track.box[[1, -2]].reshape(2, 2, 2).mean(1)[:, 0] - 80
        told = [min(places, key=lambda name: abs(places[name][at] - x)) for at, x in zip((1, count - 2), middles, strict=True)]
        assert told[0] == told[1]
        ends.append(told[0])
    assert set(ends) == set(places)


@real
def test_one_face_is_not_two_tracks(finder: FaceFinder) -> None:
    front, behind = close_up("bbaf2n"), close_up("sbia1a")
    pictures = [stage((800, 400), (behind, 8 * step, 100), (front, 300, 100)) for step in range(45)]
    tracks = track_faces(clip_of(pictures), finder)
    assert len(tracks) >= 2
    for a, b in combinations(tracks, 2):
        both = np.flatnonzero(a.seen & b.seen)
        assert all(overlap(a.box[frame], b.box[frame]) < 0.5 for frame in both)


@real
def test_crowd(finder: FaceFinder) -> None:
    face = close_up("swiz3n")
    crowd = stage((600, 600), *((face, 20 + 190 * column, 20 + 190 * row) for row in range(3) for column in range(3)))
    assert len(finder.find(crowd)) == 9
    assert [face_share(track) for track in track_faces(clip_of([crowd] * 4), finder)] == [1] * 8


@real
def test_hidden_face_is_not_seen(finder: FaceFinder) -> None:
    shown, hidden = stage((640, 480), (close_up("lbax4n"), 100, 100)), stage((640, 480))
    (track,) = track_faces(clip_of([*[shown] * 14, *[hidden] * 5, *[shown] * 5]), finder)
    assert frames_seen([track]) == [[*range(14), *range(19, 24)]]


@real
def test_face_elsewhere_is_another(finder: FaceFinder) -> None:
    face = close_up("lbax4n")
    here, nobody, there = stage((640, 480), (face, 60, 100)), stage((640, 480)), stage((640, 480), (face, 420, 260))
    tracks = track_faces(clip_of([*[here] * 8, *[nobody] * 3, *[there] * 12]), finder)
    assert frames_seen(tracks) == [list(range(8)), list(range(11, 23))]
    assert tracks[0].seen[-1], "the one that is seen longer is the main face"


@real
def test_flicker_is_no_face(finder: FaceFinder) -> None:
    shown, nobody = stage((640, 480), (close_up("lbax4n"), 100, 100)), stage((640, 480))
    assert track_faces(clip_of([*[nobody] * 4, *[shown] * 2, *[nobody] * 4]), finder) == []


@real
def test_lost_and_regained(finder: FaceFinder) -> None:
    pictures = grid("lbbc2a", 45)
    for gone in (*range(12, 17), 30):
        pictures[gone] = np.zeros_like(pictures[gone])
    (track,) = track_faces(clip_of(pictures), finder)
    assert np.flatnonzero(~track.seen).tolist() == [12, 13, 14, 15, 16, 30]
    for values in (track.box, track.points, track.mesh, track.score):
        assert np.isnan(values[~track.seen]).all()
        assert np.isfinite(values[track.seen]).all()
        assert values.dtype == np.float32


@real
def test_cut_starts_a_new_track(finder: FaceFinder) -> None:
    tracks = track_faces(clip_of([*grid("bbaf2n", 12), *grid("lrwp9a", 20)]), finder)
    assert frames_seen(tracks) == [list(range(12)), list(range(12, 32))]


@real
def test_late_face(finder: FaceFinder) -> None:
    appears = [stage((640, 480))] * 7 + [stage((640, 480), (close_up("lwbsza"), 300, 200))] * 6
    assert frames_seen(track_faces(clip_of(appears), finder)) == [list(range(7, 13))]
    small = shrunk(close_up("lwbsza"), 0.4)
    cut = [np.zeros((600, 800, 3), np.uint8)] * 3 + [stage((800, 600), (small, 300, 200))] * 5
    assert finder.look(cut[-1], [(0, 0, 800, 600)]) == [], "too small for the detector without tiles"
    assert frames_seen(track_faces(clip_of(cut), finder)) == [list(range(3, 8))]


@real
def test_one_pass_and_few_pictures_in_memory(finder: FaceFinder) -> None:
    pictures, passes, alive = grid("pwij3p", 3), [], []

    def stream() -> Iterator[Picture]:
        passes.append(1)
        kept: list[weakref.ref[Picture]] = []
        for number in range(60):
            picture = pictures[number % 3].copy()
            kept.append(weakref.ref(picture))
            alive.append(sum(reference() is not None for reference in kept))
            yield picture

    track_faces(Clip("video", 360, 288, Fraction(25), 60, stream, lambda: None), finder)
    assert len(passes) == 1
    assert max(alive) <= 3


@real
def test_same_bytes_twice(finder: FaceFinder, tmp_path: Path) -> None:
    clip = clip_of(grid("swiz3n", 12))
    for name, by in (("a", finder), ("b", finder), ("c", FaceFinder())):
        save_tracks(tmp_path / name, track_faces(clip, by))
    assert len({(tmp_path / name).read_bytes() for name in "abc"}) == 1


# The manipulated face ----------------------------------------------------------------------------------------------


def at(*boxes: tuple[float, float, float, float] | None) -> Track:
    """A track of these boxes, one a frame."""
    rows = np.array([box or (np.nan,) * 4 for box in boxes], np.float32)
    seen = np.isfinite(rows[:, 0])
    rest = np.zeros((len(rows), 5, 2), np.float32), np.zeros((len(rows), 468, 3), np.float32)
    return Track(rows, *rest, np.ones(len(rows), np.float32), seen)


def masks_of(*boxes: tuple[int, int, int, int] | None, size: tuple[int, int] = (200, 100)) -> list[NDArray[np.uint8]]:
    """White on black, as a lossy file in studio range has them: 235 and up to 40."""
    out = np.full((len(boxes), size[1], size[0]), 40, np.uint8)
    for mask, box in zip(out, boxes, strict=True):
        if box:
            mask[box[1] : box[3], box[0] : box[2]] = 235
    return list(out)


LARGE, SMALL = (10, 10, 90, 90), (130, 30, 170, 70)


def test_the_face_under_the_mask_comes_first() -> None:
    real_one, fake, other = at(LARGE, LARGE, LARGE), at(SMALL, SMALL, SMALL), at((100, 0, 110, 10), None, None)
    tracks = [real_one, other, fake]
    assert under_mask(tracks, masks_of(SMALL, SMALL, SMALL), (200, 100)) == [fake, real_one, other]
    assert under_mask(tracks, masks_of(SMALL), (200, 100))[0] is fake, "a mask that ends before the clip"
    assert under_mask(tracks, masks_of(SMALL, SMALL, SMALL, *[LARGE] * 9), (200, 100))[0] is fake, "or goes on after it"
    assert under_mask(tracks, masks_of(None, SMALL, None), (200, 100))[0] is fake, "or is empty in some frames"
    half = masks_of((65, 15, 85, 35), size=(100, 50))
    assert under_mask(tracks, half, (200, 100))[0] is fake, "masks of another size than the clip"


def test_nobody_is_under_a_mask_that_lies_beside_all_faces() -> None:
    tracks, beside = [at(LARGE, None), at(SMALL, None)], (190, 0, 200, 10)
    assert under_mask(tracks, masks_of(beside, beside), (200, 100)) == []
    for masks in ([], masks_of(None, None), masks_of(None, beside)):
        assert under_mask(tracks, masks, (200, 100)) == tracks, "nothing is masked while a face is seen"


def test_of_one_face_no_more_masks_are_read_than_it_takes() -> None:
    masks = iter(masks_of(None, SMALL, SMALL, SMALL))
    alone = [at(SMALL, SMALL, SMALL, SMALL)]
    assert under_mask(alone, masks, (200, 100)) == alone
    assert len(list(masks)) == 2


def test_a_large_face_is_not_under_a_small_mask_that_it_holds() -> None:
    around, within = at((100, 0, 200, 100)), at(SMALL)
    assert under_mask([around, within], masks_of(SMALL), (200, 100))[0] is within


def test_the_overlap_is_over_the_clip() -> None:
    """Who passes through the masked place once is not the one who is in it."""
    passer, fake = at(SMALL, LARGE, LARGE), at(None, SMALL, (132, 30, 172, 70))
    assert under_mask([passer, fake], masks_of(SMALL, SMALL, SMALL), (200, 100))[0] is fake


# Tracks on disk ----------------------------------------------------------------------------------------------------


def made_up(seen: Sequence[bool], seed: int) -> Track:
    rng = np.random.default_rng(seed)
    shown = np.array(seen, np.bool_)

    def values(*shape: int) -> NDArray[np.float32]:
        rows = rng.normal(100, 50, (len(shown), *shape)).astype(np.float32)
        rows[~shown] = np.nan
        return rows

    return Track(values(4), values(5, 2), values(468, 3), values(), shown)


@given(st.lists(st.lists(st.booleans(), min_size=1, max_size=6), max_size=3), st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, faces: list[list[bool]], seed: int) -> None:
    path = tmp_path_factory.mktemp("tracks") / "clip.npz"
    tracks = [made_up(seen, seed + face) for face, seen in enumerate(faces)]
    save_tracks(path, tracks)
    first = path.read_bytes()
    for face, track in enumerate(tracks):
        assert same(load_track(path, face), track)
    with pytest.raises(MediaError, match="holds no face"):
        load_track(path, len(tracks))
    save_tracks(path, tracks)
    assert path.read_bytes() == first
    assert [entry.name for entry in path.parent.iterdir()] == ["clip.npz"]


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 cut short"], ids=["empty", "text", "cut"])
def test_not_a_file_of_tracks(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.npz"
    with pytest.raises(MediaError, match="is not a file of tracks"):
        load_track(path)
    path.write_bytes(content)
    with pytest.raises(MediaError, match="is not a file of tracks"):
        load_track(path)


# The mesh ----------------------------------------------------------------------------------------------------------


def sides(rings_or_triangles: NDArray[np.int32]) -> Counter[tuple[int, int]]:
    """How many of the polygons (n, corners) have each side."""
    polygons = np.atleast_2d(rings_or_triangles)
    pairs = np.stack([polygons, np.roll(polygons, -1, 1)], -1).reshape(-1, 2)
    return Counter(tuple(pair) for pair in np.sort(pairs, 1).tolist())


def test_triangles_make_a_face_with_three_holes() -> None:
    edges = sides(TRIANGLES)
    assert np.array_equal(np.unique(TRIANGLES), np.arange(468))
    assert 468 - len(edges) + len(TRIANGLES) == 1 - 3, "Euler's formula for a disc with three holes"
    border = {edge for edge, count in edges.items() if count == 1}
    assert max(edges.values()) == 2
    rings: tuple[Ring, ...] = (OVAL, LIPS_INNER, RIGHT_EYE, LEFT_EYE)
    assert border == {edge for ring in rings for edge in sides(ring)}


def test_triangles_fill_the_holes() -> None:
    holes = [*EYE_TRIANGLES, *MOUTH_TRIANGLES]
    edges = sides(np.stack([*TRIANGLES, *holes]))
    assert {edge for edge, count in edges.items() if count == 1} == set(sides(OVAL))
    assert len(MOUTH_TRIANGLES) == len(LIPS_INNER) - 2
    assert len(EYE_TRIANGLES) == len(RIGHT_EYE) + len(LEFT_EYE) - 4


@pytest.mark.parametrize("ring", [LIPS_OUTER, RIGHT_BROW, LEFT_BROW], ids=["lips", "right brow", "left brow"])
def test_no_triangle_crosses_a_ring(ring: Ring) -> None:
    assert set(sides(ring)) <= set(sides(TRIANGLES))


@real
def test_triangles_face_the_camera(finder: FaceFinder) -> None:
    for name in ("bbaf2n", "lbbc2a", "lwbsza", "sbia1a"):
        (face,) = finder.find(grid(name, 1)[0])
        a, b, c = (face.mesh[TRIANGLES[:, corner], :2] for corner in range(3))
        areas = np.cross(np.pad(b - a, ((0, 0), (0, 1))), np.pad(c - a, ((0, 0), (0, 1))))[:, 2]
        assert -areas[areas < 0].sum() < 0.01 * areas.sum()


def test_lips_open_between_the_rings() -> None:
    assert not set(LIPS_INNER.tolist()) & set(LIPS_OUTER.tolist())
    for ring in (OVAL, LIPS_OUTER, LIPS_INNER, RIGHT_EYE, LEFT_EYE, RIGHT_BROW, LEFT_BROW):
        assert len(set(ring.tolist())) == len(ring)


def test_nothing_slow_is_imported() -> None:
    heavy = {"scipy", "torch", "av", "numba"}
    script = "import sys, forgeline.faces; print(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not heavy & set(run.stdout.split())
