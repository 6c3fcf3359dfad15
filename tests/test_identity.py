"""How alike two faces are: by hand, by nets of a few numbers, and on faces that were bent, moved and swapped."""

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.transform import SimilarityTransform

import evaluators.figure
from evaluators import faces
from evaluators.attribute_change import AttributeChange
from evaluators.faces import cut, faces_of
from evaluators.figure import FigureError, Frames, Pair, change, measure, score
from evaluators.identity import Identity
from forgeline.clip import Clip
from forgeline.errors import ModelError, WeightsError
from forgeline.faces import Face, FaceFinder
from forgeline.likeness import outlines_and_colours
from forgeline.mesh import LEFT_EYE, RIGHT_EYE
from forgeline.weights import Given
from tests.people import HEIGHT, WIDTH, drawn, footage
from tests.tiny_onnx import embedder, put

Pictures = NDArray[np.uint8]


@pytest.fixture(scope="module", autouse=True)
def nets() -> None:
    try:
        FaceFinder()
    except WeightsError as error:
        pytest.skip(f"no face nets here: {error}")


def person(number: int, n: int = 4) -> Pictures:
    return np.stack(list(drawn(number).pictures())[:n])


def empty(n: int = 1) -> Pictures:
    return np.full((n, HEIGHT, WIDTH, 3), 90, np.uint8)


def clip_of(pictures: Pictures) -> Clip:
    n, height, width = pictures.shape[:3]
    return Clip("video", width, height, Fraction(25), n, lambda: iter(pictures), lambda: None, name="a clip")


def pair(control: Pictures, fake: Pictures, **more: object) -> Pair:
    return replace(Pair("a", clip_of(fake), clip_of(control), "swap", "test"), **more)  # type: ignore[arg-type]


def alike(control: Pictures, fake: Pictures, masks: Pictures | None = None) -> NDArray[np.float64]:
    return Identity().rows(Frames(control, fake, masks, aligned=True))["identity_similarity_hog"]


def given(folder: Path, name: str, content: bytes) -> Given:
    return Given.model_validate(put(folder, name, content))


# --- What the figure says


def test_the_same_face_is_alike_and_another_is_not() -> None:
    me, you = person(1), person(2)
    same, other = alike(me, me), alike(me, you)
    softer = alike(me, np.stack([cv2.GaussianBlur(p, (0, 0), 0.7) for p in me]).astype(np.uint8))
    assert np.allclose(same, 1)
    assert (other < softer - 0.02).all()
    assert (softer < 1).all()


def test_filmed_people_are_told_apart() -> None:
    one, other = footage("bbaf2n"), footage("brbk7n")
    me, you = (np.stack(list(clip.pictures())[:6]) for clip in (one, other))
    moved = alike(me[:3], me[3:])
    assert (alike(me[:3], you[:3]) < moved - 0.05).all()
    assert (moved > 0.9).all()


def test_both_are_cut_where_the_control_is() -> None:
    me = person(1, 1)
    aside = np.roll(me, 5, axis=2)  # the face is as it was, and elsewhere
    assert alike(me, aside)[0] < 0.98
    assert alike(me, empty())[0] < 0.5  # a fake without a face is not like it, and it counts


def test_a_place_is_the_least_squares_similarity() -> None:
    me = person(1, 1)
    found = faces_of(Frames(me, me, None, aligned=True))
    mesh = found.control[0, :, :2]
    points = np.stack([mesh[RIGHT_EYE].mean(0), mesh[LEFT_EYE].mean(0), mesh[4], mesh[61], mesh[291]])
    expected = SimilarityTransform.from_estimate(points, faces._ARCFACE * 64 / 112)
    place = found.place(0, 64)
    assert place is not None
    assert np.allclose(place, expected.params[:2])


def test_a_cut_out_averages_what_it_leaves_out() -> None:
    fine = np.zeros((64, 64, 3), np.uint8)
    fine[::2] = 200
    at = np.array([[0.25, 0, 0.25 * 0.5 - 0.5], [0, 0.25, 0.25 * 0.5 - 0.5]])
    assert np.abs(cut(fine, at, 16).astype(int) - 100).max() <= 1


def test_outlines_and_colours_have_half_a_say_each_and_light_has_none() -> None:
    face = cv2.resize(person(1, 1)[0], (64, 64), interpolation=cv2.INTER_AREA)
    row = outlines_and_colours(face)
    assert np.linalg.norm(row) == pytest.approx(1)
    means = face.reshape(16, 4, 16, 4, 3).astype(float).mean((1, 3))
    colours = (means - means.mean((0, 1))).ravel()
    assert np.allclose(row[-768:], np.sqrt(0.5) * colours / np.linalg.norm(colours), atol=2e-3)
    darker = outlines_and_colours((face * 0.7).astype(np.uint8))
    assert row @ darker > 0.995
    grey = np.full_like(face, 128)
    assert np.isfinite(outlines_and_colours(grey)).all()


def test_frames_without_a_face_do_not_count() -> None:
    me = person(1, 3)
    me[1] = 90
    rows = Identity().rows(Frames(me, person(2, 3), None, aligned=True))
    assert np.isnan(rows["identity_similarity_hog"]).tolist() == [False, True, False]
    figure = Identity().of_sample(rows)["identity_similarity_hog"]
    assert figure.n == 2
    assert figure.value == pytest.approx(rows["identity_similarity_hog"][[0, 2]].mean())


def test_nothing_to_compare_is_said_with_the_reason() -> None:
    none = score([pair(empty(2), person(1, 2))], {"identity": Identity()}, frames=2)
    apart = score([pair(person(1, 2), person(2, 2), aligned=False)], {"identity": Identity()}, frames=2)
    for scores, reason in ((none, "no face is found"), (apart, "not made from its control")):
        for figures in (scores.samples["a"], scores.sets["swap", "master", "test"]):
            assert figures["identity_similarity_hog"].value is None
            assert reason in str(figures["identity_similarity_hog"].reason)


def test_a_set_is_the_mean_of_its_clips() -> None:
    me, you = person(1, 4), person(2, 4)
    scores = score(
        [pair(me, you), replace(pair(me[:1], me[:1]), sample_id="b"), replace(pair(empty(), empty()), sample_id="c")],
        {"identity": Identity()},
        frames=4,
    )
    figure = scores.sets["swap", "master", "test"]["identity_similarity_hog"]
    assert figure.n == 2
    assert figure.value == pytest.approx((alike(me, you).mean() + 1) / 2)


# --- Of whom the face is to be


def test_a_swap_is_like_its_source_and_its_control_is_not() -> None:
    target, source = person(1, 3), person(2, 8)
    turned = source[[5, 3, 1]]  # the source's face, in other frames than those that are looked at
    one = pair(target, turned, source=clip_of(source))
    found = score([one], {"identity": Identity()}, frames=3).samples["a"]
    ours, theirs = (found[f"identity_similarity_hog_source{side}"].value or 0 for side in ("", "_control"))
    assert theirs < ours - 0.05
    assert ours == pytest.approx(alike(source[[1, 3, 5]], turned).mean(), abs=0.2)
    same = score([replace(one, fake=one.control)], {"identity": Identity()}, frames=3).samples["a"]
    assert same["identity_similarity_hog_source"].value == pytest.approx(theirs, abs=1e-12)


def test_a_source_is_the_mean_of_four_of_its_frames_where_its_face_is(folder: Path) -> None:
    """By the net that knows mean colours, and a source that stands elsewhere and has another size."""
    target, source = person(1, 2), np.stack([cv2.copyMakeBorder(p, 30, 10, 50, 0, cv2.BORDER_REPLICATE) for p in person(2, 10)])
    evaluator = Identity(net=given(folder, "colour.onnx", embedder()))
    found = score([pair(target, person(3, 2), source=clip_of(source))], {"it": evaluator}, frames=2).samples["a"]

    def embedded(pictures: Pictures, places: Pictures) -> NDArray[np.float64]:
        faces = faces_of(Frames(places, places, None, aligned=True))
        at = [faces.place(n, 112) for n in range(len(pictures))]
        rows = [
            np.append((cut(p, a, 112).mean((0, 1)) - 127.5) / 127.5, 1)
            for p, a in zip(pictures, at, strict=True)
            if a is not None
        ]
        return np.stack([row / np.linalg.norm(row) for row in rows])

    looked_at = source[[1, 3, 6, 8]]
    template = embedded(looked_at, looked_at).mean(0)
    template = template / np.linalg.norm(template)
    for name, pictures in (("_source", person(3, 2)), ("_source_control", target)):
        expected = (embedded(pictures, target) @ template).mean()
        assert found[f"identity_similarity{name}"].value == pytest.approx(expected, abs=1e-5)


def test_why_nothing_is_said_of_a_source() -> None:
    me = person(1, 2)
    for source, reason in ((None, "nobody else"), (clip_of(empty(3)), "or of the source")):
        found = score([pair(me, me, source=source)], {"it": Identity()}, frames=2)
        for figures in (found.samples["a"], found.sets["swap", "master", "test"]):
            assert figures["identity_similarity_hog"].value == 1.0
            assert reason in str(figures["identity_similarity_hog_source"].reason)


def test_batches_leave_no_trace_of_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    one = pair(person(1, 5), person(2, 5), source=clip_of(person(2, 7)))
    expected = measure(one, {"it": Identity()}, frames=5)["it"]
    monkeypatch.setattr(evaluators.figure, "BATCH", 2)
    found = measure(one, {"it": Identity()}, frames=5)["it"]
    assert list(found) == list(expected)
    assert all(np.array_equal(values, found[name]) for name, values in expected.items())


# --- Which face, and how often it is looked for


def test_of_two_people_the_one_who_was_changed_counts() -> None:
    control = np.concatenate([person(3, 1), person(1, 1)], axis=2)  # the first has the larger face
    fake, masks = control.copy(), np.zeros(control.shape[:3], np.uint8)
    fake[:, :, WIDTH:] = person(2, 1)
    masks[:, 40:160, WIDTH + 30 : WIDTH + 150] = 255
    assert alike(control, fake)[0] == pytest.approx(1)
    assert alike(control, fake, masks)[0] < 0.98


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> list[Pictures]:
    """Every picture in which a face is looked for."""
    found: list[Pictures] = []
    find = FaceFinder.find

    def counted(self: FaceFinder, picture: Pictures) -> list[Face]:
        found.append(picture)
        return find(self, picture)

    monkeypatch.setattr(FaceFinder, "find", counted)
    monkeypatch.setattr(faces, "_SEEN", type(faces._SEEN)())
    return found


def test_a_face_is_looked_for_once(searched: list[Pictures]) -> None:
    me, you = person(1, 2), person(2, 2)
    both = {"identity": Identity(), "attribute_change": AttributeChange()}
    first = measure(pair(me, you), both, frames=2)
    assert len(searched) == 2  # in the control's frames
    again = measure(pair(me, you), both, frames=2)
    assert len(searched) == 2  # whatever fake is made of it
    for name, rows in first.items():
        assert all(np.array_equal(values, again[name][key]) for key, values in rows.items())


def test_pictures_of_long_ago_are_forgotten(searched: list[Pictures], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faces, "_REMEMBERED", 2)
    for frame in (0, 1, 2, 2, 1, 0):
        me = person(1, 3)[frame : frame + 1]
        alike(me, me)
    assert len(searched) == 4
    assert len(faces._SEEN) == 2


@pytest.mark.parametrize("batch", [1, 3])
def test_batches_leave_no_trace(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one, both = pair(person(1, 5), person(2, 5)), {"identity": Identity(), "attribute_change": AttributeChange()}
    expected = measure(one, both, frames=5)
    monkeypatch.setattr(evaluators.figure, "BATCH", batch)
    monkeypatch.setattr(faces, "_SEEN", type(faces._SEEN)())
    found = measure(one, both, frames=5)
    assert all(np.array_equal(v, found[name][key]) for name, rows in expected.items() for key, v in rows.items())


# --- A team's net


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a team's files lie, beside those found before."""
    for path in Path(os.environ.get("FORGELINE_WEIGHTS", tmp_path)).iterdir():
        (tmp_path / path.name).symlink_to(path.resolve())
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    return tmp_path


def test_a_net_says_how_alike_they_are(folder: Path) -> None:
    """This one knows faces by their mean colour: what it says can be reckoned by hand."""
    me, you = person(1, 2), person(2, 2)
    evaluator = Identity(net=given(folder, "colour.onnx", embedder()))
    scores = score([pair(me, you)], {"identity": evaluator}, frames=2)
    figure = scores.samples["a"]["identity_similarity"]
    found = faces_of(Frames(me, you, None, aligned=True))
    expected = []
    for at in range(2):
        place = found.place(at, 112)
        assert place is not None
        rows = [np.append((cut(p[at], place, 112).mean((0, 1)) - 127.5) / 127.5, 1) for p in (me, you)]
        expected.append(rows[0] @ rows[1] / np.linalg.norm(rows[0]) / np.linalg.norm(rows[1]))
    assert figure.value == pytest.approx(np.mean(expected), abs=1e-5)
    assert evaluator.net is not None
    assert figure.fingerprint["weights"] == evaluator.net.sha256
    names = {"identity_similarity", "identity_similarity_source", "identity_similarity_source_control"}
    assert set(scores.sets["swap", "master", "test"]) == names


def test_outlines_are_not_called_identity_and_not_compared_with_it(folder: Path) -> None:
    me = person(1, 1)
    figures = score([pair(me, me)], {"identity": Identity()}, frames=1).sets["swap", "master", "test"]
    assert "give identity a net" in str(figures["identity_similarity"].reason)
    by_net = Identity(net=given(folder, "colour.onnx", embedder()))
    named = score([pair(me, me)], {"identity": by_net}, frames=1).sets["swap", "master", "test"]["identity_similarity"]
    with pytest.raises(FigureError, match="alignment, embedding, weights"):
        change(figures["identity_similarity_hog"], named)


def test_a_net_that_is_not_there_is_refused_even_where_no_face_is(folder: Path) -> None:
    missing = Identity(net=Given(file="nowhere.onnx", sha256="0" * 64, licence="none"))
    with pytest.raises(WeightsError, match=r"nowhere.onnx: is not on this machine; set FORGELINE_WEIGHTS"):
        measure(pair(empty(), empty()), {"identity": missing}, frames=1)
    wrong = Identity(net=given(folder, "colour.onnx", embedder(numbers=9)))
    (folder / "colour.onnx").write_bytes(embedder(numbers=8))
    with pytest.raises(WeightsError, match="has SHA-256"):
        measure(pair(empty(), empty()), {"identity": wrong}, frames=1)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (embedder(side=96), r"takes face tensor\(float\) \[1, 3, 96, 96\]"),
        (embedder(batch=4), r"takes face tensor\(float\) \[4, 3, 112, 112\]"),
        (b"no graph", "can't be opened"),
    ],
)
def test_another_kind_of_net_is_refused(folder: Path, content: bytes, said: str) -> None:
    evaluator = Identity(net=given(folder, "other.onnx", content))
    with pytest.raises(ModelError, match=said):
        measure(pair(empty(), empty()), {"identity": evaluator}, frames=1)


def test_a_net_of_any_batch_will_do(folder: Path) -> None:
    evaluator = Identity(net=given(folder, "free.onnx", embedder(side=None, batch="n")))
    assert (
        measure(pair(person(1, 1), person(1, 1)), {"identity": evaluator}, frames=1)["identity"]["identity_similarity"][0]
        > 0.999
    )
