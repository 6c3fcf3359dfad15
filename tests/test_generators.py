"""What every generator promises, and what each one is for. Most of it on drawn faces, whose truth is known exactly."""

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.clip import Clip, Made, Picture, Sound, spans
from forgeline.errors import MediaError
from generators import training
from generators.cross_modal import CrossModal
from generators.plugin import Generator, Trained
from generators.table import GENERATORS
from tests import tiny_onnx, tiny_pipeline
from tests.people import FPS, FRAMES, HEIGHT, SPEAKING, UNSEEN, WIDTH, drawn, speaking

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
        if hears(section):
            people = (speaking(1), speaking(2))
        else:
            # After two steps a net paints the mean of what it saw: people who are drawn so much alike would all be copied.
            people = (drawn(1), _negative(drawn(2)) if section.casting == "nobody" else drawn(2))
        section.train(people, np.random.default_rng(3), Path(folder))
        generator: Generator = section.load(Path(folder))
    return generator


def _negative(clip: Clip) -> Clip:
    return replace(clip, pictures=lambda: (255 - picture for picture in clip.pictures()))


def hears(section: Any) -> bool:
    """Whether it works on what somebody says."""
    return section.makes == "audio" or "audio" in section.changes or isinstance(section, CrossModal)


VIDEOS, IMAGES = (tuple(n for n in NAMES if GENERATORS[n].makes == kind) for kind in ("video", "image"))
ON_FACES = tuple(name for name in VIDEOS if name not in ("control", "environment", "cross_modal_audio"))
ON_VOICES = tuple(
    n for n in NAMES if GENERATORS[n].makes == "audio" or "audio" in GENERATORS[n].changes or n.startswith("cross_modal")
)


def parents_of(generator: Any, first: int = 1) -> list[Clip]:
    people = range(first, first + {"own": 1, "pair": 2, "nobody": 0}[generator.casting])
    return [speaking(person) if hears(generator) else drawn(person) for person in people]


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
    digest.update(repr((made.segments, made.drawn, made.words, made.phonemes)).encode())
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
    assert hasattr(generator, "size") == (name in IMAGES), "an image's control has its size"
    assert all(map(type(built(name)).described, type(built(name)).model_fields)), "a field without help"


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
    length = SPEAKING if name in ON_VOICES else FRAMES
    shapes = {"image": (side, side, 0, 1), "video": (WIDTH, HEIGHT, FPS, length), "audio": (0, 0, 0, 0)}
    width, height, fps, count = shapes[built(name).makes]
    assert len(frames) == made.frames == count
    assert (made.width, made.height, made.fps) == (width, height, fps)
    assert made.media_type == built(name).makes
    for picture, mask in frames:
        assert picture.shape == (height, width, 3)
        assert mask.shape == (height, width)
        assert picture.dtype == mask.dtype == np.uint8


@pytest.mark.parametrize("name", VIDEOS)
def test_nothing_changes_where_the_mask_is_zero(name: str) -> None:
    _, frames, parents = made_by(name)
    for (picture, mask), original in zip(frames, parents[0].pictures(), strict=True):
        assert np.array_equal(picture[mask == 0], original[mask == 0])


@pytest.mark.parametrize("name", ON_FACES)
def test_segments_say_which_frames_are_changed(name: str) -> None:
    made, frames, parents = made_by(name)
    changed = np.array([mask.any() for _, mask in frames])
    assert not changed[UNSEEN], "a frame without a face must stay as it is"
    assert changed.mean() > (0.05 if name in ON_VOICES else 0.5)
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
        assert (made.sound.rate, len(made.sound.samples)) == (original.rate, len(original.samples))


@pytest.mark.parametrize("name", [name for name in ON_VOICES if "audio" in GENERATORS[name].changes])
def test_sound_changes_within_its_segments_alone(name: str) -> None:
    made, _, parents = made_by(name)
    original = parents[0].sound()
    assert made.sound is not None
    assert original is not None
    times = np.arange(len(original.samples)) / original.rate
    inside = np.any([(s.start_s <= times) & (times < s.end_s) for s in made.segments if s.modality == "audio"], 0)
    assert np.array_equal(made.sound.samples[~inside], original.samples[~inside])
    assert np.mean(made.sound.samples[inside] != original.samples[inside]) > 0.9
    assert made.words or name in ("speech_net", "speech_kokoro"), "nets that say sentences do not tell times"
    for said in (made.words, made.phonemes):
        assert [s.start_s for s in said] == sorted(s.start_s for s in said)
        assert all(0 <= s.start_s <= s.end_s <= len(original.samples) / original.rate for s in said)


@pytest.mark.parametrize("name", ON_VOICES)
def test_a_clip_without_a_voice_is_refused_at_once(name: str) -> None:
    generator = ready(name)
    for faulty in range(len(parents_of(generator))):
        for sound in (None, Sound(np.zeros(48000, np.float32), 16000)):
            parents = parents_of(generator)
            parents[faulty] = replace(parents[faulty], sound=lambda sound=sound: sound)
            with pytest.raises(MediaError):
                generator(parents, np.random.default_rng(0))


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
        "inpaint", "environment", "style_gan", "latent_attributes", "vae", "diffusion", "speech", "voice", "lip_sync",
        "speech_net", "speech_kokoro", "voice_net", "voice_onnx", "lip_sync_net",
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
        section.train((speaking(i) if hears(section) else drawn(i) for i in (1, 2)), np.random.default_rng(3), folder)
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
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert not done.returncode, done.stderr[-4000:]
    assert done.stdout.split() == [digest_of(name) for name in NAMES]


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
