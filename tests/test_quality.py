"""How well a face is shown: each measure goes with what it is a measure of."""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pytest

from forgeline.clip import Picture
from forgeline.errors import MediaError
from forgeline.faces import track_faces, tracks_measured
from forgeline.quality import MEASURES, beside, load_quality, measure, qualities, save_qualities
from tests.people import HEIGHT, WIDTH, draw, finder, pose
from tests.test_faces import clip_of


def measures(
    picture: Picture, turn: float = 0.0, x: float = WIDTH / 2, size: float = 100.0, lean: float = 0.0
) -> Mapping[str, float]:
    mesh = pose(0.0, turn, x, HEIGHT / 2, size).astype(np.float64)
    c, s = np.cos(np.radians(lean)), np.sin(np.radians(lean))
    middle = np.array([x, HEIGHT / 2])
    mesh[:, :2] = (mesh[:, :2] - middle) @ np.array([[c, s], [-s, c]]) + middle
    return dict(zip(MEASURES, qualities([measure(picture, mesh)])[0].tolist(), strict=True))


def face(turn: float = 0.0) -> Picture:
    return draw(pose(0.0, turn, WIDTH / 2, HEIGHT / 2, 100.0), 1, np.random.default_rng(0))


def test_size_and_pose() -> None:
    plain = measures(face())
    assert plain["size"] == pytest.approx(130, abs=1)
    assert measures(face(), size=50.0)["size"] == pytest.approx(65, abs=1)
    assert [plain[name] for name in ("yaw", "roll")] == pytest.approx([0, 0], abs=0.5)
    assert abs(measures(face(), turn=25)["yaw"]) == pytest.approx(25, abs=1)
    assert measures(face(), lean=20)["roll"] == pytest.approx(20, abs=0.5)


def test_inside() -> None:
    assert measures(face())["inside"] == 1
    half = measures(face(), x=0.0)
    assert 0.3 < half["inside"] < 0.7
    assert measures(np.zeros((HEIGHT, 400, 3), np.uint8), x=300.0)["inside"] == 1
    gone = measures(face(), x=-300.0)
    assert gone["inside"] == 0
    assert np.isnan([gone[name] for name in ("sharpness", "light", "contrast", "one_sided")]).all()


def test_light() -> None:
    plain = measures(face())
    dark = measures((face() * 0.4).astype(np.uint8))
    assert dark["light"] == pytest.approx(0.4 * plain["light"], abs=2)
    assert dark["contrast"] == pytest.approx(0.4 * plain["contrast"], abs=2)
    assert dark["sharpness"] == pytest.approx(plain["sharpness"], rel=0.15), "less light is not less sharp"
    ramp = np.linspace(0.4, 1, WIDTH)[None, :, None]
    lit = measures((face() * ramp).astype(np.uint8))
    other = measures((face() * ramp[:, ::-1]).astype(np.uint8))
    assert lit["one_sided"] > 0.08
    assert other["one_sided"] < -0.08


def test_sharpness() -> None:
    softer = [measures(np.asarray(cv2.GaussianBlur(face(), (0, 0), sigma), np.uint8))["sharpness"] for sigma in (0.1, 1, 2, 4)]
    assert softer == sorted(softer, reverse=True)
    assert softer[0] > 3 * softer[-1]


@pytest.mark.parametrize("colour", [(30, 30, 34), (235, 235, 230), (40, 90, 200)])
def test_what_is_put_before_a_face_hides_it(colour: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(0)
    mesh = pose(0.0, 0.0, WIDTH / 2, HEIGHT / 2, 100.0)
    plain = np.clip(draw(mesh, 1, rng) * 0.7 + 60, 0, 255)
    shown = []
    for number in range(30):
        picture = np.clip(plain * (1 - number / 60) + rng.normal(0, 2, plain.shape), 0, 255)  # it gets darker
        if 10 <= number < 20:
            picture[HEIGHT // 2 : HEIGHT // 2 + 40, : WIDTH // 2] = colour
        shown.append(measure(picture.astype(np.uint8), mesh))
    hidden = qualities(shown)[:, -1]
    assert hidden[[*range(10), *range(20, 30)]].max() <= 0.02
    assert hidden[10:20].min() > 0.1
    assert hidden[10:20].max() < 0.35


def test_what_is_always_there_hides_nothing() -> None:
    mesh, rng = pose(0.0, 0.0, WIDTH / 2, HEIGHT / 2, 100.0), np.random.default_rng(0)
    masked = draw(mesh, 1, rng).copy()
    masked[HEIGHT // 2 :] = 200
    assert qualities([measure(masked, mesh)] * 12)[:, -1].max() == 0


def test_of_tracks_and_on_disk(tmp_path: Path) -> None:
    from sources.heads import Expression, Pose, frame, person, scene

    rng = np.random.default_rng(0)
    who, where = person(rng, *rng.random(3)), scene(rng)
    shown = frame(who, Expression(), Pose(), where, 128, rng)
    black = np.zeros_like(shown)
    clip = clip_of([shown, shown, black, shown, shown])
    ((track, pictures),) = tracks_measured(clip, finder(), measure)
    rows = qualities(pictures)
    (alone,) = track_faces(clip, finder())
    assert np.array_equal(track.mesh, alone.mesh, equal_nan=True), "measuring changes nothing"
    assert track.seen.tolist() == [True, True, False, True, True]
    assert rows.shape == (4, len(MEASURES))
    file = beside(tmp_path / "clip.npz")
    assert file.name == "clip.quality.npz"
    save_qualities(file, [track], [rows])
    whole = load_quality(file)
    assert set(whole) == set(MEASURES)
    for which, name in enumerate(MEASURES):
        assert np.isnan(whole[name][~track.seen]).all()
        assert np.array_equal(whole[name][track.seen], rows[:, which], equal_nan=True)
        assert np.isnan(rows[:, which]).any() == (name == "hidden"), "four pictures do not tell what is usual"
    before = file.read_bytes()
    save_qualities(file, [track], [rows])
    assert file.read_bytes() == before
    with pytest.raises(MediaError, match="holds no face number 1"):
        load_quality(file, 1)
    file.write_bytes(before[:100])
    with pytest.raises(MediaError, match="is no file of qualities"):
        load_quality(file)
