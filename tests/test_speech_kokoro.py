"""A team's Kokoro voice: its three files, how text is numbered for it, and what it says, by a net of known samples."""

import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from pydantic import ValidationError

from forgeline.clip import Clip, Said, Sound
from forgeline.errors import MediaError, ModelError, WeightsError
from forgeline.sentences import LANGUAGES
from forgeline.speech import spell
from generators.plugin import Generator
from generators.recording import speech_span
from generators.speech_kokoro import MOST, RATE, KokoroVoice, SpeechKokoro, StyleFile
from tests import tiny_onnx
from tests.tiny_voice import EACH, KOKORO, kokoro, styles


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FORGELINE_WEIGHTS", str(tmp_path))
    return tmp_path


def given(
    folder: Path, net: bytes | None = None, config: Any = None, voice: bytes | None = None, name: str = "v.bin", **settings: str
) -> SpeechKokoro:
    """The generator, and its three files in the folder."""
    files = {
        "net": tiny_onnx.put(folder, "kokoro.onnx", kokoro() if net is None else net),
        "config": tiny_onnx.put(folder, "config.json", json.dumps(KOKORO if config is None else config).encode()),
        "voice": tiny_onnx.put(folder, name, styles().tobytes() if voice is None else voice),
    }
    return SpeechKokoro.model_validate(files | settings)


def opened(section: SpeechKokoro) -> KokoroVoice:
    return section.opened(np.random.default_rng(1))


def hum(seconds: float = 2.5) -> Clip:
    """Someone who hums for so long, between two seconds of room."""
    samples = np.random.default_rng(3).standard_normal(round((2 + seconds) * 16000)) * 1e-4
    tone = np.sin(2 * np.pi * 120 / 16000 * np.arange(round(seconds * 16000)))
    samples[16000 : 16000 + len(tone)] += 0.3 * tone
    sound = Sound(samples.astype(np.float32), 16000)
    return Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: sound, None, "who/hums.wav")


def npy(values: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def test_another_sentence_is_said_where_the_target_speaks(folder: Path) -> None:
    section, target = given(folder), hum()
    assert isinstance(section, Generator)
    made = section([target], np.random.default_rng(1))
    before = target.sound()
    assert made.sound is not None
    assert before is not None
    assert made.sound.samples.shape == before.samples.shape
    assert made.drawn["language"] == "en"
    assert made.drawn["text"] in LANGUAGES["en"].sentences
    assert (made.words, made.phonemes) == ((), ())


def test_it_never_says_what_the_target_says(folder: Path) -> None:
    said = LANGUAGES["en"].sentences[:23]
    target = replace(hum(), words=tuple(Said(0, 1, word) for word in " ".join(said).split()))
    assert given(folder)([target], np.random.default_rng(1)).drawn["text"] == LANGUAGES["en"].sentences[23]


def test_letters_are_numbered_as_the_net_was_taught(folder: Path) -> None:
    """English r and x of espeak-ng's are others in Kokoro's; other languages keep them; what is unknown is left out."""
    numbers = {"vocab": {"$": 0, " ": 16, "ɹ": 123, "r": 60, "k": 53, "x": 66, "a": 43, "\u0303": 17}}
    english = opened(given(folder, config=numbers))
    assert list(english.numbered("r\u0361xa?")) == [[123, 53, 43]]
    spanish = opened(given(folder, config=numbers, language="es"))
    assert list(spanish.numbered(" rxã ")) == [[60, 66]]
    assert list(spanish.numbered("rxa\u0303")) == [[60, 66, 43, 17]]
    assert list(spanish.numbered("??")) == []


def test_the_table_may_be_that_of_transformers(folder: Path) -> None:
    voice = opened(given(folder, config={"version": "1.0", "model": KOKORO}))
    assert voice.numbers == opened(given(folder)).numbers
    assert 0 not in voice.numbers.values()


def test_long_sentences_are_cut_between_words(folder: Path) -> None:
    voice = opened(given(folder))
    number = voice.numbers
    words = ["ab" * 100, "cd" * 100, "ef" * 100, "hi" * 300]
    pieces = list(voice.numbered(" ".join(words)))
    assert pieces == [[number[c] for c in text] for text in (" ".join(words[:2]), words[2], words[3][:MOST], words[3][MOST:])]
    assert [len(piece) for piece in voice.numbered("a" * MOST)] == [MOST]
    assert [len(piece) for piece in voice.numbered("a" * (MOST - 1) + " b")] == [MOST - 1, 1]
    assert [len(piece) for piece in voice.numbered("a" * MOST + " b")] == [MOST, 1]


def test_the_style_is_that_of_the_count_of_letters(folder: Path) -> None:
    """Between two zeros: with ten letters, the net gets twelve numbers and the tenth style."""
    voice = opened(given(folder))
    made = voice._run([5] * 10, 1.0)
    assert len(made) == 12 * EACH
    assert float(made.max()) == pytest.approx(0.2 + 10 / 10000)
    assert float(voice._run([5] * MOST, 1.0).max()) == pytest.approx(0.2 + 509 / 10000), "the last there is"
    assert len(voice._run([5] * 10, 1.5)) == pytest.approx(18 * EACH, abs=1), "the speed is the inverse"


def test_the_voice_hurries_to_fill_the_span(folder: Path) -> None:
    voice = opened(given(folder))
    text = "The bakery around the corner opens before seven."
    (letters,) = voice.numbered(spell(text, "en-us")[0])
    usual = (len(letters) + 2) * EACH / RATE
    for wanted, seconds in ((usual, usual), (1.4 * usual, 1.4 * usual), (0.8 * usual, 0.8 * usual), (9 * usual, 1.6 * usual)):
        start, end = speech_span(voice.say(text, wanted))
        assert end - start == pytest.approx(seconds, abs=0.05)


def test_its_noise_hangs_on_the_rng_and_not_on_what_it_said_before(folder: Path) -> None:
    section = given(folder, kokoro(noise=0.05))

    def said(text: str, seed: int) -> Any:
        return section.opened(np.random.default_rng(seed)).say(text, 1.0).samples

    first = said("Fine.", 1)
    said("Some tea, or milk?", 2)
    np.testing.assert_array_equal(said("Fine.", 1), first)
    assert not np.array_equal(said("Fine.", 2), first)
    assert np.std(first[first > 0.1]) > 0.02


@pytest.mark.parametrize("names", [("tokens", "style", "speed"), ("input_ids", "ref_s", "speed")])
def test_inputs_are_told_by_what_they_are(folder: Path, names: tuple[str, str, str]) -> None:
    assert len(opened(given(folder, kokoro(names=names)))._run([5], 1.0)) == 3 * EACH


def test_a_voice_may_be_an_array_of_numpys(folder: Path) -> None:
    voice = opened(given(folder, voice=npy(styles(7)), name="v.npy"))
    np.testing.assert_array_equal(voice.styles, styles(7)[:, 0])


@pytest.mark.parametrize(
    ("name", "voice", "what"),
    [
        ("v.bin", b"", "holds no styles"),
        ("v.bin", b"PK\x03\x04" + bytes(1020), "an archive of several voices"),
        ("v.bin", styles(2).tobytes()[:-4], "no float32 in rows of 256"),
        ("v.bin", styles(2).tobytes()[:-3], "holds no styles"),
        ("v.bin", np.full(256, np.nan, np.float32).tobytes(), "numbers that are not finite"),
        ("v.npy", npy(styles(2).astype(np.float64)), "no float32 in rows of 256"),
        ("v.npy", npy(np.array([{"a": 1}])), "holds no styles .*allow_pickle"),
        ("v.npy", b"no array", "holds no styles"),
        ("v.npy", b"", "holds no styles"),
    ],
)
def test_a_voice_that_is_none_is_refused(folder: Path, name: str, voice: bytes, what: str) -> None:
    with pytest.raises(ModelError, match=what):
        opened(given(folder, voice=voice, name=name))


@pytest.mark.parametrize(
    "config",
    [[], {}, {"vocab": []}, {"vocab": {"a": 1}}, {"vocab": {" ": "x"}}, {"vocab": {" ": -1}}, {"model": {}}, "text"],
)
def test_a_table_that_is_none_is_refused(folder: Path, config: Any) -> None:
    with pytest.raises(ModelError, match="does not number Kokoro's phonemes"):
        opened(given(folder, config=config))


@pytest.mark.parametrize(
    ("net", "what"),
    [
        (b"no graph", "can't be opened"),
        (kokoro(speed=TensorProto.INT64), r"is no Kokoro: it takes .*; give one that takes phonemes \(1, n\)"),
        (tiny_onnx.embedder(), "is no Kokoro: it takes face"),
    ],
)
def test_a_graph_that_is_none_is_refused(folder: Path, net: bytes, what: str) -> None:
    with pytest.raises(ModelError, match=what):
        given(folder, net)([hum()], np.random.default_rng(1))


def test_a_table_of_other_letters_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="was taught no letter of"):
        opened(given(folder, config={"vocab": {" ": 16, "ы": 2}})).say("Fine.", 1.0)


def test_a_voice_of_silence_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match="says nothing"):
        given(folder, voice=np.zeros((510, 256), np.float32).tobytes())([hum()], np.random.default_rng(1))


def test_files_are_checked_and_clips_must_speak(folder: Path) -> None:
    section = given(folder)
    with pytest.raises(MediaError, match=r"speaks for 0\.5"):
        section([hum(0.5)], np.random.default_rng(1))
    with pytest.raises(WeightsError):
        opened(section.model_copy(update={"voice": section.voice.model_copy(update={"sha256": "0" * 64})}))
    with pytest.raises(ValidationError):
        StyleFile(file="voices.pt", sha256="0" * 64, licence="test")
    with pytest.raises(ValidationError):
        given(folder, language="ja")
