"""The nets that find faces: what each says of the same picture, and when the second of two is asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forgeline.boxes import overlap
from forgeline.clip import Picture
from forgeline.detectors import FILES, Area, Detector, DetectorName, Mtcnn, Sighting, _conv, _layers, _tensor, _window, detector
from forgeline.faces import SEARCH_EVERY, FaceFinder, save_tracks, track_faces
from forgeline.weights import WEIGHTS
from sources.heads import Expression, Pose, frame, person, scene
from tests.test_faces import KODAK, clip_of, close_up, grid, real, shrunk, stage

FOLDER = Path(__file__).parents[2] / "shared" / "weights"
NAMES: tuple[DetectorName, ...] = get_args(DetectorName)
FACENET = {
    "bbaf2n": ([100, 105, 206, 252], [[131, 161], [179, 160]]),
    "lwbsza": ([112, 109, 215, 242], [[139, 156], [189, 154]]),
    "swiz3n": ([115, 87, 227, 246], [[148, 145], [198, 145]]),
    "sbia1a": ([124, 91, 234, 242], [[157, 152], [207, 154]]),
}
"""Box and eyes that facenet-pytorch 2.6.0 gives for the first pictures of some clips: `MTCNN().detect(picture, True)`."""


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The nets as they lie here; nothing is fetched for a test."""
    if not FOLDER.is_dir():
        pytest.skip("needs the nets in ../shared/weights")
    here = tmp_path_factory.mktemp("weights")
    for row in (*FILES["yunet"], *FILES["mtcnn"]):
        file = WEIGHTS[row].file
        (here / file).symlink_to(next(FOLDER.glob(f"*/{file}")))
    patch = pytest.MonkeyPatch()
    patch.setenv("FORGELINE_WEIGHTS", str(here))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def loaded(files: None) -> dict[DetectorName, Detector]:
    return {name: detector(name) for name in NAMES}


@pytest.fixture(scope="module")
def finders(files: None) -> dict[DetectorName, FaceFinder]:
    return {name: FaceFinder(name) for name in NAMES}


def whole(picture: Picture) -> Area:
    return 0, 0, picture.shape[1], picture.shape[0]


def head(seed: int, yaw: float = 0.0, pixels: int = 192) -> Picture:
    rng = np.random.default_rng(seed)
    return frame(person(rng, *rng.random(3)), Expression(), Pose(yaw=yaw), scene(rng), pixels, rng)


def surest(found: list[Sighting]) -> Sighting:
    return max(found, key=lambda sighting: sighting.score)


# One net -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", range(2))
def test_a_drawn_head(
    loaded: dict[DetectorName, Detector], finders: dict[DetectorName, FaceFinder], name: DetectorName, seed: int
) -> None:
    picture = head(seed)
    (seen,) = loaded[name](picture, whole(picture), 0.5)
    (face,) = finders["mediapipe"].find(picture)
    apart = np.linalg.norm(face.points[1] - face.points[0])
    assert np.linalg.norm(seen.eyes - face.points[:2], axis=1).max() < 0.2 * apart, "the person's right eye comes first"
    assert overlap(seen.box, face.box) > 0.5
    assert 0.5 < seen.score <= 1


@pytest.mark.parametrize("name", NAMES)
def test_an_area_is_looked_at_by_itself(loaded: dict[DetectorName, Detector], name: DetectorName) -> None:
    picture = head(0)
    placed = stage((900, 500), (picture, 40, 30), (picture, 600, 250))
    (seen,) = loaded[name](placed, (600, 250, 792, 442), 0.5)
    (alone,) = loaded[name](picture, whole(picture), 0.5)
    assert seen.box == pytest.approx(alone.box + np.array([600, 250, 600, 250]), abs=0.01)
    assert seen.eyes == pytest.approx(alone.eyes + np.array([600, 250]), abs=0.01)


@pytest.mark.parametrize("name", ["yunet", "mtcnn"])
def test_a_large_picture_is_brought_down(loaded: dict[DetectorName, Detector], name: DetectorName) -> None:
    picture = stage((640, 360), (head(1), 300, 80))
    (small,) = loaded[name](picture, whole(picture), 0.5)
    large = np.repeat(np.repeat(picture, 3, 0), 3, 1)
    (seen,) = loaded[name](large, whole(large), 0.5)
    assert seen.box == pytest.approx(3 * small.box, abs=0.01)
    assert seen.eyes == pytest.approx(3 * small.eyes, abs=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_threshold(loaded: dict[DetectorName, Detector], name: DetectorName) -> None:
    picture = head(0)
    (seen,) = loaded[name](picture, whole(picture), 0.5)
    assert loaded[name](picture, whole(picture), min(1.0, seen.score + 1e-4)) == []


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_seen_where_nobody_is(loaded: dict[DetectorName, Detector], name: DetectorName) -> None:
    for picture in (stage((320, 200)), np.zeros((90, 160, 3), np.uint8)):
        assert loaded[name](picture, whole(picture), 0.5) == []


@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 2**32 - 1))
@settings(max_examples=6, deadline=None)
def test_any_picture(loaded: dict[DetectorName, Detector], width: int, height: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    for detect in loaded.values():
        for seen in detect(noise, whole(noise), 0.05):
            assert np.isfinite(seen.box).all()
            assert np.isfinite(seen.eyes).all()


@real
@pytest.mark.parametrize("name", FACENET)
def test_mtcnn_is_that_of_facenet(loaded: dict[DetectorName, Detector], name: str) -> None:
    """Windows that are cut and scaled otherwise (there whole pixels, clamped to the picture) move a face by a few pixels."""
    (picture,) = grid(name, 1)
    (seen,) = loaded["mtcnn"](picture, whole(picture), 0.7)
    box, eyes = (np.array(each) for each in FACENET[name])
    assert overlap(seen.box, box) > 0.85
    assert np.abs(seen.eyes - eyes).max() < 3
    assert seen.score > 0.99


def test_windows_are_black_where_they_reach_out_of_the_picture() -> None:
    picture = np.full((30, 40, 3), 90, np.uint8)
    picture[0, 0] = 250
    beyond = _window(picture, np.array([-6.0, -4.0, 14.0, 16.0]), 20)
    assert beyond[4, 6].tolist() == [250] * 3, "the picture's corner"
    assert not beyond[:4].any()
    assert not beyond[:, :6].any()
    assert (beyond[5:, 6:] == 90).all()
    assert not _window(picture, np.array([30.0, 20.0, 50.0, 40.0]), 20)[10:, 10:].any()
    assert not _window(picture, np.array([90.0, 90.0, 99.0, 99.0]), 20).any(), "wholly outside"


def test_mtcnn_s_layers_by_hand(loaded: dict[DetectorName, Detector]) -> None:
    """The first net on one window of 12 pixels, in loops."""
    mtcnn = loaded["mtcnn"]
    assert isinstance(mtcnn, Mtcnn)
    net = {name: value.numpy().astype(np.float64) for name, value in mtcnn._nets[0].items()}
    picture = shrunk(head(0), 20 / 192)[:20, :20]
    window = picture[3:15, 4:16]

    def convolved(seen: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        kernels, biases = net[f"{name}.weight"], net[f"{name}.bias"]
        size = kernels.shape[2]
        out = np.zeros((len(kernels), seen.shape[1] - size + 1, seen.shape[2] - size + 1))
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                out[:, y, x] = (kernels * seen[None, :, y : y + size, x : x + size]).sum((1, 2, 3)) + biases
        return out

    def bent(seen: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        return np.where(seen > 0, seen, seen * net[f"{name}.weight"][:, None, None])

    seen = bent(convolved((window.astype(float) - 127.5).transpose(2, 0, 1) / 128, "conv1"), "prelu1")
    seen = seen.reshape(10, 5, 2, 5, 2).max((2, 4))
    seen = bent(convolved(bent(convolved(seen, "conv2"), "prelu2"), "conv3"), "prelu3")
    first, second = convolved(seen, "conv4_1").ravel()
    sure = 1 / (1 + np.exp(first - second))

    own = _conv(mtcnn._nets[0], "conv4_1", _layers(mtcnn._nets[0], _tensor(window[None]), (2, 0, 0))).softmax(1)
    assert float(own[0, 1, 0, 0]) == pytest.approx(sure, abs=1e-5)


# Finding and following ----------------------------------------------------------------------------------------------


@real
@pytest.mark.parametrize("name", ["yunet", "mtcnn"])
def test_the_mesh_is_the_same_whoever_found_the_face(finders: dict[DetectorName, FaceFinder], name: DetectorName) -> None:
    clip = clip_of(grid("lwbsza", 12))
    (track,), (usual,) = track_faces(clip, finders[name]), track_faces(clip, finders["mediapipe"])
    assert track.seen.all()
    side = (usual.box[:, 2:] - usual.box[:, :2]).max()
    assert np.linalg.norm(track.mesh - usual.mesh, axis=2).mean() < 0.01 * side


@real
def test_small_faces_need_no_tiles(finders: dict[DetectorName, FaceFinder]) -> None:
    small = stage((640, 360), (shrunk(close_up("lwbsza"), 0.25), 500, 200))
    assert finders["mediapipe"].look(small, [whole(small)]) == []
    for name in ("yunet", "mtcnn"):
        (face,) = finders[name].look(small, [whole(small)])
        assert overlap(face.box, np.array([509, 205, 535, 237])) > 0.4


class Asked:
    """A detector that counts the areas that it is asked about."""

    def __init__(self, within: Detector) -> None:
        self.within, self.side, self.times = within, within.side, 0

    def __call__(self, picture: Picture, area: Area, threshold: float) -> list[Sighting]:
        self.times += 1
        return self.within(picture, area, threshold)


def test_the_second_looks_where_the_first_finds_nothing_in_a_whole_search(loaded: dict[DetectorName, Detector]) -> None:
    finder = FaceFinder("mediapipe", "yunet")
    asked = finder._second = Asked(loaded["yunet"])
    shown, nobody = stage((320, 240), (head(0), 60, 20)), stage((320, 240))
    assert len(finder.find(shown)) == 1
    track_faces(clip_of([shown] * (SEARCH_EVERY + 2)), finder)
    assert asked.times == 0, "it costs nothing where the first finds a face"
    assert finder.find(nobody) == []
    assert asked.times == 1
    track_faces(clip_of([nobody] * (SEARCH_EVERY + 2)), finder)
    assert asked.times == 3, "once a search of the whole picture, not once a frame"


@real
@pytest.mark.parametrize("name", ["yunet", "mtcnn"])
def test_what_the_first_misses_the_second_finds(files: None, name: DetectorName) -> None:
    tiny = stage((500, 400), (shrunk(close_up("lwbsza"), 0.2), 300, 200))
    clip = clip_of([tiny] * 12)
    assert track_faces(clip, FaceFinder()) == []
    (track,) = track_faces(clip, FaceFinder("mediapipe", name))
    assert track.seen.all()


@real
def test_no_detector_sees_faces_in_a_landscape(finders: dict[DetectorName, FaceFinder]) -> None:
    from forgeline.image import open_image

    picture = next(open_image(KODAK / "kodim23.png").pictures())
    assert [finder.find(picture) for finder in finders.values()] == [[], [], []]


@pytest.mark.parametrize("name", ["yunet", "mtcnn"])
def test_same_bytes_twice(finders: dict[DetectorName, FaceFinder], tmp_path: Path, name: DetectorName) -> None:
    clip = clip_of([head(0), head(0, 0.1)])
    for file, finder in (("a", finders[name]), ("b", finders[name]), ("c", FaceFinder(name))):
        save_tracks(tmp_path / file, track_faces(clip, finder))
    assert len({(tmp_path / file).read_bytes() for file in "abc"}) == 1
