"""A team's Piper voice: its files, how text is numbered for it, and what it says, by a net of which every sample is known."""

import hashlib
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from forgeline.clip import Clip, Said, Sound
from forgeline.errors import MediaError, ModelError, WeightsError
from forgeline.sentences import LANGUAGES
from forgeline.speech import spell
from generators.plugin import Generator
from generators.recording import AROUND_S, speech_span
from generators.speech_net import SpeechNet, VoiceFile, _open, spoken
from tests.tiny_voice import EACH, NUMBERS, RATE, told, voice


def given(folder: Path, graph: bytes, config: Any, **settings: int) -> SpeechNet:
    """The generator, and its two files in the folder."""
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "voice.onnx").write_bytes(graph)
    (folder / "voice.onnx.json").write_text(text, encoding="utf-8")
    return SpeechNet.model_validate(
        {
            "voice": {"file": "voice.onnx", "sha256": hashlib.sha256(graph).hexdigest(), "licence": "test"},
            "config": {"file": "voice.onnx.json", "sha256": hashlib.sha256(text.encode()).hexdigest(), "licence": "test"},
            **settings,
        }
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    return tmp_path


def hum(seconds: float = 2.5) -> Clip:
    """Someone who hums for so long, between two seconds of room."""
    samples = np.random.default_rng(3).standard_normal(round((2 + seconds) * RATE)) * 1e-4
    tone = np.sin(2 * np.pi * 120 / RATE * np.arange(round(seconds * RATE)))
    samples[RATE : RATE + len(tone)] += 0.3 * tone
    sound = Sound(samples.astype(np.float32), RATE)
    return Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: sound, None, "who/hums.wav")


def test_text_is_numbered_as_pipers_phonemizer_does(folder: Path) -> None:
    """Its own test of "licht!": ç is two letters, the mark of the begin has padding behind it, too."""
    section = given(folder, voice(), told(espeak={"voice": "de"}))
    (spelled,) = spell("licht!", "de")
    names = {number: letter for letter, (number,) in NUMBERS.items()}
    numbered = [names[n] for n in _open(section.voice, section.config, 0).numbered(spelled)]
    assert numbered == ["^", "_", "l", "_", "ˈ", "_", "ɪ", "_", "c", "_", "\u0327", "_", "t", "_", "!", "_", "$"]


def test_sentences_are_spelled_apart_with_their_signs() -> None:
    assert spell("Some tea, or milk? Fine.", "en-us") == ("sˌʌm tˈiː, ɔːɹ mˈɪlk?", "fˈaɪn.")
    (chinese,) = spell("你好，茶。", "cmn")
    assert "," in chinese
    assert chinese.endswith(".")
    assert any(c.isdigit() for c in chinese), "tones are spelled"


def test_another_sentence_is_said_where_the_target_speaks(folder: Path) -> None:
    section, target = given(folder, voice(), told()), hum()
    assert isinstance(section, Generator)
    made = section([target], np.random.default_rng(1))
    before = target.sound()
    assert made.sound is not None
    assert before is not None
    assert made.media_type == "audio"
    assert made.sound.samples.shape == before.samples.shape
    assert made.drawn["language"] == "en"
    assert made.drawn["text"] in LANGUAGES["en"].sentences
    (segment,) = made.segments
    start, end = speech_span(before)
    assert (segment.start_s, segment.end_s) == pytest.approx((start - AROUND_S, end + AROUND_S), abs=0.001)
    assert (made.words, made.phonemes) == ((), ())


def test_it_never_says_what_the_target_says(folder: Path) -> None:
    section = given(folder, voice(), told())
    said = [LANGUAGES["en"].sentences[index] for index in range(23)]
    target = replace(hum(), words=tuple(Said(0, 1, word) for word in " ".join(said).split()))
    assert section([target], np.random.default_rng(1)).drawn["text"] == LANGUAGES["en"].sentences[23]


def test_the_voice_hurries_to_fill_the_span(folder: Path) -> None:
    section = given(folder, voice(), told())
    speaker = _open(section.voice, section.config, 0)
    text = "The bakery around the corner opens before seven."
    usual = len(speaker.numbered(spell(text, "en-us")[0])) * EACH / RATE
    for wanted, seconds in ((usual, usual), (1.4 * usual, 1.4 * usual), (0.8 * usual, 0.8 * usual), (9 * usual, 1.6 * usual)):
        start, end = speech_span(speaker.say(text, wanted))
        assert end - start == pytest.approx(seconds, abs=0.05)


def test_noise_within_the_net_is_off_so_that_bytes_are_the_same(folder: Path) -> None:
    section = given(folder, voice(), told())
    first, again = (section([hum()], np.random.default_rng(1)).sound for _ in range(2))
    assert first is not None
    assert again is not None
    np.testing.assert_array_equal(first.samples, again.samples)
    speaker = _open(section.voice, section.config, 0)
    said = speaker.say("Fine.", 1.0).samples
    assert set(np.unique(np.abs(said)).tolist()) == {0.0, float(np.float32(0.2))}


def test_a_voice_of_several_is_told_who_speaks(folder: Path) -> None:
    section = given(folder, voice(speakers=3), told(num_speakers=3), speaker=2)
    speaker = _open(section.voice, section.config, 2)
    assert speaker.say("Fine.", 1.0).samples.max() == pytest.approx(0.4)
    with pytest.raises(ModelError, match="has 3 speakers, and none of number 3"):
        _open(section.voice, section.config, 3)


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ("{", "does not describe a Piper voice"),
        ("[]", "does not describe a Piper voice"),
        ({"audio": {"sample_rate": RATE}}, "does not describe a Piper voice"),
        (told(phoneme_id_map={"a": [1]}), "no numbers for"),
        (told(audio={"sample_rate": 100}), "a rate of 100"),
        (told(espeak={"voice": "tlh"}), "speaks as espeak-ng's 'tlh', and there are sentences for en"),
    ],
)
def test_a_json_that_does_not_fit_is_refused(config: Any, what: str, folder: Path) -> None:
    with pytest.raises(ModelError, match=what):
        given(folder, voice(), config)([hum()], np.random.default_rng(1))


@pytest.mark.parametrize(
    ("graph", "what"),
    [
        (b"no graph", "can't be opened"),
        (voice(inputs=("style",)), "is no Piper voice: it takes input"),
        (voice(says="silence"), "says nothing"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(graph: bytes, what: str, folder: Path) -> None:
    with pytest.raises(ModelError, match=what):
        given(folder, graph, told())([hum()], np.random.default_rng(1))


@pytest.mark.parametrize("shape", [(2, 3), (1, 0)])
def test_what_is_no_row_of_samples_is_refused(shape: tuple[int, ...], folder: Path) -> None:
    section = given(folder, voice(), told())
    net = _open(section.voice, section.config, 0).net
    with pytest.raises(ModelError, match="which is no row of samples"):
        spoken(net, np.ones(shape, np.float32))


def test_files_are_checked_and_clips_must_speak(folder: Path) -> None:
    section = given(folder, voice(), told())
    with pytest.raises(MediaError, match=r"speaks for 0\.5"):
        section([hum(0.5)], np.random.default_rng(1))
    other = section.config.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(WeightsError):
        _open(section.voice, other, 0)
    with pytest.raises(ValidationError):
        VoiceFile(file="../voice.json", sha256="0" * 64, licence="test")
    with pytest.raises(ValidationError):
        VoiceFile(file="voice.onnx", sha256="0" * 64, licence="test")
