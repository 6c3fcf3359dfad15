"""Voice conversion by nets: what they learn, whose voice is heard, and that it is the same model every time."""

import csv
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.audio import resample
from forgeline.clip import Clip, Sound
from forgeline.errors import MediaError, ModelError
from forgeline.speech import speak
from generators import training, voice_net
from generators.pitch import RATE, pitch_of
from generators.plugin import Trained
from generators.vocoder import BINS, analyse
from generators.voice_net import BANDS, LENGTH, RATIOS, VoiceNet
from tests.people import drawn
from tests.test_voice import clip

RNG = np.random.default_rng
SAID = ("She sells sea shells by the shore.", "Every morning the children walk along the river.", "We wait for the old bus.")
LEARNT = ("en-us", "en-us+f4", "en-us+m3", "en-us+f2")
UNHEARD = ("en-gb-x-rp", "en-us+f5")
"""Voices that the training never hears."""
SMALL = VoiceNet(engine="stft", steps=4, batch=4, width=16)


@cache
def said(name: str, text: int) -> Sound:
    return resample(speak(SAID[text], name).sound, RATE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.fixture(scope="module")
def learnt(folder: Path) -> VoiceNet:
    settings = VoiceNet(engine="stft", steps=150, batch=8, width=48)
    settings.train((clip(said(name, text), name) for name in LEARNT for text in (0, 1)), RNG(0), folder)
    return settings.load(folder)


def means(sound: Sound) -> NDArray[np.float32]:
    """Its mean envelope where it is voiced, 150 … 7000 Hz, in decibels."""
    speech = analyse(sound, "world")
    return np.asarray(speech.envelope[speech.voiced].mean(0)[10:450] * 10 / np.log(10), np.float32)


def test_it_is_a_generator_that_learns() -> None:
    assert isinstance(SMALL, Trained)
    assert (SMALL.makes, SMALL.casting, SMALL.control, SMALL.apparent) == ("audio", "pair", "sound_control", "target")


def test_bands_are_of_the_mel_scale_and_back() -> None:
    to_mel, from_mel = voice_net._to_mel(), voice_net._from_mel()
    assert to_mel.shape == (BANDS, BINS)
    assert np.allclose(to_mel.sum(1), 1, atol=1e-5)
    assert np.allclose(from_mel.sum(1), 1, atol=1e-5)
    curve = np.cos(np.arange(BINS) / 60).astype(np.float32)
    assert np.abs(from_mel @ (to_mel @ curve) - curve).max() < 0.1
    wide = np.diff(voice_net._centres())
    assert wide[-1] > 5 * wide[0]


@pytest.mark.parametrize("index", [0, 8, 16])
def test_moves_bring_formants_to_their_ratio(index: int) -> None:
    peak = np.exp(-np.square((np.arange(BINS) - 100) / 12)).astype(np.float32)
    moved = voice_net._from_mel() @ (voice_net._moves()[index] @ (voice_net._to_mel() @ peak))
    assert int(moved.argmax()) == pytest.approx(100 * RATIOS[index], abs=4)


def test_the_nets_tell_what_is_said_from_whose_voice_it_is(learnt: VoiceNet, folder: Path) -> None:
    with (folder / training.LOSSES).open() as file:
        rows = list(csv.DictReader(file))
    errors = [float(row["error"]) for row in rows]
    assert np.mean(errors[-20:]) < 0.75 * np.mean(errors[:5])
    assert float(rows[-1]["same"]) < 0.1, "the same words are the same, however long the vocal tract is"


@pytest.mark.parametrize("there", [True, False])
def test_it_speaks_in_voices_that_it_never_heard(learnt: VoiceNet, there: bool) -> None:
    names = UNHEARD if there else UNHEARD[::-1]
    speech, voice = said(names[0], 2), said(names[1], 1)
    made = learnt.as_spoken_by(speech, voice)
    assert (made.rate, len(made.samples), made.samples.dtype) == (speech.rate, len(speech.samples), np.float32)
    assert np.abs(made.samples).max() <= 1
    found, wanted = (pitch_of(sound.samples.astype(np.float64)) for sound in (made, voice))
    assert found[found > 0].mean() == pytest.approx(wanted[wanted > 0].mean(), rel=0.05)
    assert (means(made) - means(voice)).std() < 0.5 * (means(speech) - means(voice)).std()


def test_what_was_learned_moves_formants(learnt: VoiceNet) -> None:
    """Beyond what is usual: with formants moved up in the target, the nets move those of the speech."""
    nets = learnt._nets
    assert nets is not None
    speech = analyse(said("en-us", 2), "stft")
    own = voice_net.Voice.of(speech, voice_net.Manner.of(speech))

    def moved(index: int) -> voice_net.Voice:
        move = voice_net._moves()[index]
        return voice_net.Voice(own.frames @ move.T, own.loud, move @ own.usual)

    assert np.allclose(voice_net._difference(nets, own, own), 0, atol=1e-5), "in its own voice nothing changes"
    heard = own.loud > 0.3
    for index in (2, 14):
        other = moved(index)
        truth = (other.frames - other.usual) - (own.frames - own.usual)
        made = voice_net._difference(nets, own, other)
        assert np.corrcoef(truth[heard].ravel(), made[heard].ravel())[0, 1] > 0.25


def test_long_speech_is_converted_in_parts_without_seams(learnt: VoiceNet, monkeypatch: pytest.MonkeyPatch) -> None:
    nets = learnt._nets
    assert nets is not None
    own, other = (
        voice_net.Voice.of(s, voice_net.Manner.of(s))
        for s in (analyse(said(name, 1), "stft") for name in ("en-us", "en-us+f4"))
    )
    whole = voice_net._difference(nets, own, other)
    who = voice_net._who
    monkeypatch.setattr(voice_net, "AT_ONCE", 64)
    voices: list[object] = []
    monkeypatch.setattr(voice_net, "_who", lambda *told: voices.append(told) or who(*told))
    early = replace(own, frames=own.frames[:256], loud=own.loud[:256])
    parts = voice_net._difference(nets, early, replace(other, frames=other.frames[:256], loud=other.loud[:256]))
    monkeypatch.setattr(voice_net, "AT_ONCE", 1024)
    again = voice_net._difference(nets, early, replace(other, frames=other.frames[:256], loud=other.loud[:256]))
    assert len(voices) == 4
    assert np.allclose(parts, again, atol=1e-4)
    assert whole.shape == own.frames.shape


def test_a_clip_shorter_than_what_is_learned_from_is_heard_over_and_over() -> None:
    short = voice_net.Voice(
        np.arange(30 * BANDS, dtype=np.float32).reshape(30, BANDS), np.ones(30, np.float32), np.zeros(BANDS)
    )
    frames, loud = voice_net._piece(short, RNG(0))
    assert frames.shape == (LENGTH, BANDS)
    assert loud.shape == (LENGTH,)
    assert np.array_equal(frames[30], frames[0])


def files(train: Callable[[Path], None], folder: Path) -> dict[str, bytes]:
    train(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_interrupted_training_comes_to_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 1)

    def train(folder: Path, seed: int = 3) -> None:
        SMALL.train((drawn(1), drawn(2)), RNG(seed), folder)

    whole = files(train, tmp_path / "whole")
    assert files(lambda folder: train(folder, 4), tmp_path / "other")[training.MODEL] != whole[training.MODEL]
    report = training._report
    monkeypatch.setattr(training, "_report", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut")
    assert (tmp_path / "cut" / training.CHECKPOINT).exists()
    monkeypatch.setattr(training, "_report", report)
    assert files(train, tmp_path / "cut") == whole
    assert {training.MODEL, training.LOSSES, training.SAMPLES} <= whole.keys()


def test_clips_without_a_voice_are_passed_over(tmp_path: Path) -> None:
    silent = clip(Sound(np.zeros(RATE, np.float32), RATE), "silent")
    with pytest.raises(ModelError, match="there is no speech to learn from"):
        SMALL.train((silent, clip(None, "mute")), RNG(0), tmp_path)
    SMALL.train((silent, drawn(1), clip(None, "mute")), RNG(0), tmp_path)
    assert (tmp_path / training.MODEL).exists()


def test_what_cannot_be_spoken_is_said(tmp_path: Path, learnt: VoiceNet) -> None:
    speaker: Clip = clip(said("en-us", 0), "speaker")
    silent = clip(Sound(np.zeros(RATE, np.float32), RATE), "silent")
    with pytest.raises(ModelError, match="has no model yet"):
        SMALL((speaker, speaker), RNG(0))
    with pytest.raises(ModelError, match="run the train stage of voice_net"):
        SMALL.load(tmp_path)
    for parents in ((silent, speaker), (speaker, silent)):
        with pytest.raises(MediaError, match=r"^silent: "):
            learnt(parents, RNG(0))


def test_the_target_says_it_in_its_recording(learnt: VoiceNet) -> None:
    target = clip(said("en-us+f4", 1), "target")
    one, two = (learnt((target, clip(said("en-us", 1), "speaker")), RNG(2)).sound for _ in range(2))
    assert one is not None
    assert two is not None
    assert len(one.samples) == len(said("en-us+f4", 1).samples)
    assert np.array_equal(one.samples, two.samples)
