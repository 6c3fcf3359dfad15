"""Speech: the same samples every time, phonemes where the sound is, and errors that say what is wrong."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgeline import speech
from forgeline.errors import FactoryError, ParamsError
from forgeline.speech import Utterance, speak

TEXT = "Mama bought a lamp."


@pytest.fixture(scope="module")
def said() -> Utterance:
    return speak(TEXT, "en-us")


def pitch_hz(utterance: Utterance) -> float:
    """The strongest period between 60 and 400 Hz of the whole sound's autocorrelation."""
    samples, rate = utterance.sound.samples.astype(np.float64), utterance.sound.rate
    spectrum = np.fft.rfft(samples, 2 * len(samples))
    correlation = np.fft.irfft(spectrum * spectrum.conj())
    low, high = rate // 400, rate // 60
    return rate / (low + int(np.argmax(correlation[low:high])))


@pytest.mark.parametrize("voice", ["en-us", "en-us+f3"])
def test_same_text_gives_same_samples_whenever_it_is_said(voice: str) -> None:
    first, second = speak(TEXT, voice), int(time.time())
    while int(time.time()) == second:  # espeak-ng seeds the breath noise of voices such as f3 with the clock's second
        speak(TEXT, voice)
    again = speak(TEXT, voice)
    np.testing.assert_array_equal(first.sound.samples, again.sound.samples)
    assert first.phonemes == again.phonemes


def test_sound_is_audible_and_in_range(said: Utterance) -> None:
    samples = said.sound.samples
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 0.2 < np.abs(samples).max() <= 1
    assert 0.8 < len(samples) / said.sound.rate < 2.5


def test_phonemes_are_ipa_in_order_of_time(said: Utterance) -> None:
    starts = [start for start, _ in said.phonemes]
    assert starts == sorted(starts)
    assert 0 <= starts[0] <= starts[-1] <= len(said.sound.samples) / said.sound.rate
    spelled = "".join(ipa for _, ipa in said.phonemes)
    assert spelled.replace("ˈ", "").replace("ˌ", "").startswith("mɑːm")


def test_vowels_are_louder_than_closed_lips(said: Utterance) -> None:
    ends = [start for start, _ in said.phonemes[1:]] + [len(said.sound.samples) / said.sound.rate]

    def level(which: str) -> float:
        parts = [
            said.sound.samples[int(start * said.sound.rate) : int(end * said.sound.rate)]
            for (start, ipa), end in zip(said.phonemes, ends, strict=True)
            if ipa.strip("ˈˌ")[:1] in which and ipa
        ]
        return float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))

    assert level("ɑɔæ") > 1.5 * level("mbp")


def test_rate_and_pitch_do_what_they_say(said: Utterance) -> None:
    assert len(speak(TEXT, "en-us", rate=300).sound.samples) < 0.75 * len(said.sound.samples)
    assert pitch_hz(speak(TEXT, "en-us", pitch=90)) > 1.2 * pitch_hz(speak(TEXT, "en-us", pitch=10))


@pytest.mark.parametrize(("text", "voice"), [("Guten Morgen", "de"), ("你好", "cmn"), ("مرحبا", "ar")])
def test_other_languages_and_scripts(text: str, voice: str) -> None:
    assert len(speak(text, voice).phonemes) > 3


@pytest.mark.parametrize("voice", ["zu", "fr-fr", "en-us+nobody", "en-us+../f1", "", "en-us+"])
def test_unknown_voice_is_an_error(voice: str) -> None:
    with pytest.raises(ParamsError, match="knows no such voice"):
        speak(TEXT, voice)


@pytest.mark.parametrize(("rate", "pitch"), [(79, 50), (451, 50), (165, -1), (165, 100)])
def test_values_out_of_bounds_are_errors(rate: int, pitch: int) -> None:
    with pytest.raises(ParamsError, match="rate of 80 to 450"):
        speak(TEXT, "en-us", rate=rate, pitch=pitch)


@given(st.text(max_size=20))
@settings(max_examples=8, deadline=None)
def test_any_text_is_said_or_refused(text: str) -> None:
    problem = ""
    try:
        assert len(speak(text, "en-us").sound.samples) > 0
    except FactoryError as error:
        problem = str(error)
    assert not problem or "nothing to say" in problem


def test_a_process_that_dies_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forgeline").mkdir()
    (tmp_path / "forgeline" / "__init__.py").write_text("")  # without it, an installed package would be taken
    (tmp_path / "forgeline" / "speech.py").write_text("raise SystemExit('no data')")
    monkeypatch.setattr(speech, "_CHECKOUT", tmp_path)
    with pytest.raises(FactoryError, match=r"died with status 1 \(no data\)"):
        speak(TEXT, "en-us")
