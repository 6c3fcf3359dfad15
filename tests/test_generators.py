"""What every generator promises, and what each one is for. Most of it on drawn faces, whose truth is known exactly."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.clip import Clip, Made, Picture, Sound, spans
from forgeline.errors import MediaError
from forgeline.mesh import LIPS_INNER, LIPS_OUTER
from generators import training
from generators.lip_sync import LipSync, follow, speak
from generators.plugin import Generator, Trained
from generators.pose import axes
from generators.table import GENERATORS
from tests import tiny_onnx, tiny_pipeline
from tests.people import FPS, FRAMES, HEIGHT, UNSEEN, WIDTH, draw, drawn, finder, footage, lip_gap, pose

# ------------------------------------------------------------------------------- what every generator promises

NAMES = tuple(GENERATORS)


@pytest.fixture(scope="module", autouse=True)
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What teams bring themselves, for the generators that need it."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("weights")
        for name, value in tiny_onnx.place(folder).items():
            patch.setenv(name, value)
        tiny_pipeline.place(folder)
        yield


def built(name: str, **settings: int) -> Any:
    return GENERATORS[name].model_validate(tiny_onnx.settings().get(name, {}) | tiny_pipeline.settings(name) | settings)


def ready(name: str) -> Generator:
    """The generator as a worker has it: one that learns is bound to a model of the fewest steps."""
    generator = built(name)
    return _taught(name) if isinstance(generator, Trained) else generator


@cache
def _taught(name: str) -> Generator:
    with tempfile.TemporaryDirectory() as folder:
        section = built(name, steps=2, batch=4)
        # After two steps a net paints the mean of what it saw: people who are drawn so much alike would all be copied.
        people = (drawn(1), _negative(drawn(2)) if section.casting == "nobody" else drawn(2))
        section.train(people, np.random.default_rng(3), Path(folder))
        generator: Generator = section.load(Path(folder))
    return generator


def _negative(clip: Clip) -> Clip:
    return replace(clip, pictures=lambda: (255 - picture for picture in clip.pictures()))


IMAGES = tuple(name for name in NAMES if "size" in GENERATORS[name].model_fields)
ON_FACES = tuple(name for name in NAMES if name not in ("control", "environment", *IMAGES))


def parents_of(generator: Any, first: int = 1) -> list[Clip]:
    return [drawn(first + i) for i in range({"own": 1, "pair": 2, "nobody": 0}[generator.casting])]


@cache
def made_by(name: str) -> tuple[Made, tuple[tuple[Picture, NDArray[np.uint8]], ...], list[Clip]]:
    generator = ready(name)
    parents = parents_of(generator)
    made = generator(parents, np.random.default_rng(7))
    return made, tuple(made.pictures), parents


def digest_of(name: str, seed: int = 7) -> str:
    generator = ready(name)
    made = generator(parents_of(generator), np.random.default_rng(seed))
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
        "digitalCapture", "compositeCapture", "composite", "compositeWithTrainedAlgorithmicMedia", "trainedAlgorithmicMedia",
        "algorithmicallyEnhanced",
    }  # fmt: skip
    assert type(generator).__doc__
    assert hasattr(generator, "size") == (name in IMAGES), "the plan takes what has a size for a maker of images"
    assert all(field.description for field in type(built(name)).model_fields.values()), "a field without help"


@pytest.mark.parametrize("name", NAMES)
def test_settings_survive_a_round_trip_through_json(name: str) -> None:
    generator = built(name)
    again = GENERATORS[name].model_validate(generator.settings())
    assert again == generator
    assert hash(again) == hash(generator), "a worker keeps generators by their settings"


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


@pytest.mark.parametrize("name", NAMES)
def test_chance_is_drawn_from_the_rng_alone(name: str) -> None:
    """What the parents decide does not hang on it; everything else does."""
    drawn_from = {
        "blend_swap", "self_swap", "autoencoder_swap", "autoencoder_self", "attributes", "restore", "image_control", "dcgan",
        "inpaint", "environment", "style_gan", "latent_attributes", "vae", "diffusion",
    }  # fmt: skip
    assert (digest_of(name, 7) != digest_of(name, 8)) == (name in drawn_from)


@pytest.mark.parametrize("name", ON_FACES)
def test_the_mask_is_where_pixels_changed(name: str) -> None:
    _, frames, parents = made_by(name)
    common = either = 0
    for (picture, mask), original in zip(frames, parents[0].pictures(), strict=True):
        changed = (picture != original).any(2)
        common += int((changed & (mask > 0)).sum())
        either += int((changed | (mask > 0)).sum())
    assert common / either > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_parents_are_left_as_they_are(name: str) -> None:
    """Their pictures can't be written to at all."""
    generator = ready(name)
    parents = parents_of(generator)
    before = [{part: values.copy() for part, values in vars(parent.track).items()} for parent in parents]
    for _ in generator(parents, np.random.default_rng(7)).pictures:
        pass
    for parent, parts in zip(parents, before, strict=True):
        assert all(np.array_equal(vars(parent.track)[part], values, equal_nan=True) for part, values in parts.items())


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(GENERATORS[name], "train")])
def test_an_interrupted_training_comes_to_the_same_model(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 1)
    section = built(name, steps=3, batch=4)

    def train(folder: Path) -> dict[str, bytes]:
        section.train((drawn(i) for i in (1, 2)), np.random.default_rng(3), folder)
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    whole = train(tmp_path / "whole")
    report = training._report
    monkeypatch.setattr(training, "_report", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut")
    assert (tmp_path / "cut" / training.CHECKPOINT).exists()
    monkeypatch.setattr(training, "_report", report)
    assert train(tmp_path / "cut") == whole


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


def test_spans_are_runs_in_seconds() -> None:
    changed = np.array([1, 1, 0, 1], np.bool_)
    assert [(s.start_s, s.end_s) for s in spans(changed, Fraction(2), "video")] == [(0, 1), (1.5, 2)]
    assert spans(changed, Fraction(0), "video") == ()


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


def test_real_lips_follow_the_speech() -> None:
    target, speaker = footage("bbaf2n"), footage("lbax4n")
    made = LipSync()([target, speaker], np.random.default_rng(0))
    gaps = [lip_gap(finder().find(picture)[0].mesh) for picture, _ in made.pictures]
    speech = speaker.sound()
    assert speech is not None
    openness, _ = follow(speech, target.frames, float(target.fps))
    assert np.corrcoef(gaps, openness)[0, 1] > 0.8
