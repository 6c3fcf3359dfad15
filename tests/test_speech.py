"""Speech: the same samples every time, words and phonemes where the sound is, and errors that say what is wrong."""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgeline import speech
from forgeline.clip import Said
from forgeline.errors import FactoryError, ParamsError
from forgeline.speech import MOST_LETTERS, Utterance, heard, speak

ROOT = Path(__file__).resolve().parents[1]
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
    assert (first.words, first.phonemes) == (again.words, again.phonemes)


def test_sound_is_audible_and_in_range(said: Utterance) -> None:
    samples = said.sound.samples
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert 0.2 < np.abs(samples).max() <= 1
    assert 0.8 < len(samples) / said.sound.rate < 2.5


def in_order(said: tuple[Said, ...], seconds: float) -> bool:
    times = [at for one in said for at in (one.start_s, one.end_s)]
    return times == sorted(times) and times[0] >= 0 and times[-1] <= seconds and all(s.end_s > s.start_s for s in said)


def test_phonemes_are_ipa_in_order_of_time(said: Utterance) -> None:
    assert in_order(said.phonemes, len(said.sound.samples) / said.sound.rate)
    spelled = "".join(one.text for one in said.phonemes)
    assert spelled.replace("ˈ", "").replace("ˌ", "").startswith("mɑːm")


def test_words_are_the_texts_and_hold_their_phonemes(said: Utterance) -> None:
    assert in_order(said.words, len(said.sound.samples) / said.sound.rate)
    assert [word.text for word in said.words] == ["Mama", "bought", "a", "lamp"]
    lamp = [one.text.strip("ˈ") for one in said.phonemes if one.start_s >= said.words[3].start_s]
    assert lamp == ["l", "æ", "m", "p"]
    assert said.words[3].end_s == said.phonemes[-1].end_s


def test_vowels_are_louder_than_closed_lips(said: Utterance) -> None:
    def level(which: str) -> float:
        parts = [
            said.sound.samples[int(one.start_s * said.sound.rate) : int(one.end_s * said.sound.rate)]
            for one in said.phonemes
            if one.text.strip("ˈˌ")[:1] in which
        ]
        return float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))

    assert level("ɑɔæ") > 1.5 * level("mbp")


def test_a_pause_is_a_gap_and_silent() -> None:
    said = speak("Some tea, or milk.", "en-us")
    tea, after = said.words[1], said.words[2]
    assert (tea.text, after.text) == ("tea", "or")
    assert after.start_s - tea.end_s > 0.1
    rate = said.sound.rate
    pause = said.sound.samples[int((tea.end_s + 0.05) * rate) : int(after.start_s * rate)]
    assert np.abs(pause).max() < 0.02 * np.abs(said.sound.samples).max()


def test_numbers_are_read_out_as_one_word() -> None:
    said = speak("It takes 25 minutes—or three.", "en-us")
    assert [word.text for word in said.words] == ["It", "takes", "25", "minutes", "or", "three"]
    digits = said.words[2]
    inside = [one for one in said.phonemes if digits.start_s <= one.start_s < digits.end_s]
    assert len(inside) > 6  # twenty-five


def test_events_become_words_and_phonemes() -> None:
    """A nameless tone lengthens what it stands behind, what takes no time shares its neighbour's, a pause and a switch go."""
    events = [
        (1, 1, 0, ""), (7, 1, 10, "m"), (7, 1, 20, "ˈɑ"), (7, 1, 40, ""), (1, 2, 50, ""), (7, 2, 50, "ɓ"), (7, 2, 50, "e"),
        (7, 2, 70, "l"), (1, 4, 70, ""), (7, 4, 70, "(en)"), (7, 4, 80, "r"), (7, 4, 90, "ʲ"), (7, 9, 96, ""), (7, 9, 99, ""),
    ]  # fmt: skip
    words, phonemes = heard(events, "妈b, r.", 100, 100)
    assert words == (Said(0, 0.5, "妈"), Said(0.5, 0.7, "b"), Said(0.7, 0.96, "r"))
    expected = (("m", 10, 20), ("ˈɑ", 20, 50), ("ɓ", 50, 60), ("e", 60, 65), ("l", 65, 70), ("rʲ", 80, 96))
    assert [one.text for one in phonemes] == [ipa for ipa, _, _ in expected]
    for one, (_, start, end) in zip(phonemes, expected, strict=True):
        assert (one.start_s, one.end_s) == pytest.approx((start / 100, end / 100))


def test_rate_and_pitch_do_what_they_say(said: Utterance) -> None:
    assert len(speak(TEXT, "en-us", rate=300).sound.samples) < 0.75 * len(said.sound.samples)
    assert pitch_hz(speak(TEXT, "en-us", pitch=90)) > 1.2 * pitch_hz(speak(TEXT, "en-us", pitch=10))


@pytest.mark.parametrize(
    ("text", "voice", "words"),
    [
        ("Guten Morgen", "de", 2),
        ("你好", "cmn", 1),
        ("مرحبا", "ar", 1),
        ("ni3 hao3", "cmn-latn-pinyin", 2),
        ("Καλημέρα", "el", 1),
    ],
)
def test_other_languages_and_scripts(text: str, voice: str, words: int) -> None:
    said = speak(text, voice)
    assert len(said.phonemes) > 3
    assert len(said.words) >= words


@pytest.mark.parametrize("voice", ["zu", "fr-fr", "en-us+nobody", "en-us+../f1", "", "en-us+"])
def test_unknown_voice_is_an_error(voice: str) -> None:
    with pytest.raises(ParamsError, match="knows no such voice"):
        speak(TEXT, voice)


@pytest.mark.parametrize(("rate", "pitch"), [(79, 50), (451, 50), (165, -1), (165, 100)])
def test_values_out_of_bounds_are_errors(rate: int, pitch: int) -> None:
    with pytest.raises(ParamsError, match="rate of 80 to 450"):
        speak(TEXT, "en-us", rate=rate, pitch=pitch)


@pytest.fixture
def no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize(
    ("text", "voice"),
    [("Доброе утро", "en-us"), ("Good утро", "en-gb+f2"), ("Good morning", "ru"), ("hello 你好", "cmn"), ("你好", "ja"),
     ("你好", "cmn-latn-pinyin"), ("Xin chào", "ar"), ("नमस्ते", "ar"), ("สวัสดี", "vi-vn-x-south")],
)  # fmt: skip
def test_a_script_that_the_voice_does_not_read_is_an_error(text: str, voice: str) -> None:
    with pytest.raises(ParamsError, match=r"it can't read '.' \([a-z]+.*\) in .*; give a text in \w+ script"):
        speak(text, voice)


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize("text", ["", "  \n", "...", "?! —", "\0", "।", "。、", "🙂", "\u0301"])
def test_nothing_to_say_is_an_error(text: str) -> None:
    with pytest.raises(ParamsError, match="nothing to say"):
        speak(text, "en-us")


@pytest.mark.usefixtures("no_process")
@pytest.mark.parametrize(
    ("text", "voice"),
    [("so " * 6000, "en-us"), ("好" * 5400, "cmn"), ("1" * 2400, "de"), ("あ" * 4100, "ja"), ("α" * 8001, "el")],
)
def test_twenty_minutes_at_once_are_refused(text: str, voice: str) -> None:
    with pytest.raises(ParamsError, match="more than nine minutes; say it in pieces"):
        speak(text, voice)


def test_a_long_text_is_said() -> None:
    text = "A good map and warm shoes are all that you need. " * 100
    assert len(text.replace(" ", "")) < MOST_LETTERS
    said = speak(text, "en-us")
    assert [word.text for word in said.words][-4:-1] == ["all", "that", "you"]
    assert len(said.sound.samples) / said.sound.rate > 200


@given(st.text(st.characters(max_codepoint=0x17F), max_size=20))
@settings(max_examples=20, deadline=None)
def test_any_text_is_said_or_refused(text: str) -> None:
    problem = ""
    try:
        said = speak(text, "en-us")
        assert in_order(said.phonemes, len(said.sound.samples) / said.sound.rate)
        assert all(word.text in text.replace("\0", " ") or word.end_s > word.start_s for word in said.words)
    except ParamsError as error:
        problem = str(error)
    assert not problem or "nothing to say" in problem or "can't read" in problem


def test_the_speaking_process_needs_no_package_of_ours() -> None:
    code = "import sys, runpy; runpy.run_path(sys.argv[1]); print(sorted({'numpy', 'forgeline'} & set(sys.modules)))"
    command = [sys.executable, "-I", "-S", "-c", code, str(ROOT / "forgeline" / "espeak.py")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_a_process_that_dies_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dies.py").write_text("raise SystemExit('no data')")
    monkeypatch.setattr(speech, "_SPEAKER", str(tmp_path / "dies.py"))
    with pytest.raises(FactoryError, match=r"died with status 1 \(no data\)"):
        speak(TEXT, "en-us")
