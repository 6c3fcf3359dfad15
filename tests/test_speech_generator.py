"""Speech by rule in a recording's place: another sentence, its span, length and words, in the language that was asked for."""

import hashlib
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from forgeline.audio import resample
from forgeline.clip import Clip, Made, Said, Sound
from forgeline.errors import MediaError
from forgeline.sentences import LANGUAGES
from forgeline.speech import speak
from generators import speech
from generators.plugin import Generator
from generators.recording import AROUND_S, placed, speech_span
from generators.speech import FASTEST, LEAST_S, Speech, bare, say, say_word, span_of, spoken_in

ROOT = Path(__file__).resolve().parents[1]
RATE = 16000
LEAD_S, TRAIL_S = 0.4, 0.5
ROOM = 1e-3


def clip_of(text: str, language: str = "", rate: int = RATE) -> Clip:
    """A recording in a noisy room, with its words, of someone who says this."""
    known = LANGUAGES[language or "en"]
    said = speak(text, known.voice)
    spoken = resample(said.sound, rate).samples
    samples = np.concatenate([np.zeros(round(LEAD_S * rate), np.float32), spoken, np.zeros(round(TRAIL_S * rate), np.float32)])
    noise = np.random.default_rng(5).standard_normal(len(samples)) * ROOM
    sound = Sound((0.3 * samples + noise).astype(np.float32), rate)
    words = tuple(Said(LEAD_S + word.start_s, LEAD_S + word.end_s, word.text) for word in said.words)
    declared = {"language": language} if language else {}
    return Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: sound, None, "who/says.wav", declared, words)


def hum(seconds: float) -> Clip:
    """Someone who hums for so long, between two seconds of room."""
    rng = np.random.default_rng(3)
    samples = rng.standard_normal(round((2 + seconds) * RATE)) * 1e-4
    voice = np.sin(2 * np.pi * 120 / RATE * np.arange(round(seconds * RATE)))
    samples[RATE : RATE + len(voice)] += 0.3 * voice
    sound = Sound(samples.astype(np.float32), RATE)
    return Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: sound, None, "who/hums.wav")


TARGET = clip_of("The bakery around the corner opens before seven.")


def made_of(target: Clip = TARGET, seed: int = 7, **settings: Any) -> Made:
    return Speech(**settings)([target], np.random.default_rng(seed))


def sound_in(made: Made | Clip) -> Sound:
    sound = made.sound if isinstance(made, Made) else made.sound()
    assert sound is not None
    return sound


def test_it_is_a_generator_of_sound() -> None:
    made = made_of()
    assert isinstance(Speech(), Generator)
    assert made.media_type == "audio"
    assert (made.width, made.height, made.frames, made.fps) == (0, 0, 0, Fraction(0))
    assert list(made.pictures) == []


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_the_sound_has_the_targets_length_rate_and_room(rate: int) -> None:
    target = clip_of("A good map and warm shoes are all that you need.", rate=rate)
    made, before = sound_in(made_of(target)), sound_in(target)
    assert made.rate == before.rate == rate
    assert made.samples.dtype == np.float32
    assert made.samples.shape == before.samples.shape
    assert np.abs(made.samples).max() <= 1
    (segment,) = made_of(target).segments
    start, end = speech_span(before)
    assert segment.modality == "audio"
    first, last = max(start - AROUND_S, 0), min(end + AROUND_S, len(before.samples) / rate)
    assert (segment.start_s, segment.end_s) == pytest.approx((first, last), abs=1 / rate)
    for part in (slice(0, int(first * rate)), slice(int(last * rate) + 2, None)):
        np.testing.assert_array_equal(made.samples[part], before.samples[part])
    inside = slice(int(start * rate), int(end * rate))
    assert np.corrcoef(made.samples[inside], before.samples[inside])[0, 1] < 0.3
    levels = [np.sqrt(np.mean(sound.samples[inside] ** 2)) for sound in (made, before)]
    assert 0.5 < levels[0] / levels[1] < 2


def test_words_and_phonemes_are_where_the_sound_is() -> None:
    made = made_of()
    text = str(made.drawn["text"])
    assert text in LANGUAGES["en"].sentences
    assert bare("".join(word.text for word in made.words)) == bare(text)
    (segment,) = made.segments
    for said in (made.words, made.phonemes):
        times = [at for one in said for at in (one.start_s, one.end_s)]
        assert times == sorted(times)
        assert segment.start_s <= times[0] < segment.start_s + AROUND_S + 0.1
        assert segment.end_s - AROUND_S - 0.15 < times[-1] <= segment.end_s
        assert all(one.end_s > one.start_s for one in said)
    sound = sound_in(made)

    def level(which: str) -> float:
        parts = [
            sound.samples[int(one.start_s * sound.rate) : int(one.end_s * sound.rate)]
            for one in made.phonemes
            if one.text.strip("ˈˌ")[:1] in which
        ]
        return float(np.sqrt(np.mean(np.concatenate(parts) ** 2)))

    assert level("aɑɔæeɛoəʌ") > 1.5 * level("tkpsfθ")


@pytest.fixture
def unspoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is said: tests of what is drawn need no sound."""
    said = speak("Please put the blue cups back on the shelf.", "en-us")
    monkeypatch.setattr(speech, "speak", lambda *_, **__: said)


@pytest.mark.usefixtures("unspoken")
def test_it_never_says_what_the_target_says() -> None:
    for sentence in LANGUAGES["en"].sentences[:3]:
        free = {say("en", 2.5, np.random.default_rng(seed), sentence.upper().replace(" ", "  ")).text for seed in range(300)}
        assert free == {*LANGUAGES["en"].sentences} - {sentence}
    target = replace(TARGET, words=tuple(Said(0.0, 1.0, word) for word in LANGUAGES["en"].sentences[5].split()))
    drawn = {str(made_of(target, seed).drawn["text"]) for seed in range(120)}
    assert len(drawn) > 15
    assert LANGUAGES["en"].sentences[5] not in drawn


@pytest.mark.usefixtures("unspoken")
def test_a_short_span_gets_a_short_sentence() -> None:
    assert {say("de", 1.8, np.random.default_rng(seed)).text for seed in range(100)} == set(LANGUAGES["de"].short)
    assert {say("de", 2.0, np.random.default_rng(seed)).text for seed in range(200)} == set(LANGUAGES["de"].sentences)


def test_who_says_everything_is_refused() -> None:
    with pytest.raises(MediaError, match="says every sentence of this length that is shipped in Chinese"):
        say("yue", 3, np.random.default_rng(1), "".join(LANGUAGES["yue"].sentences))


@pytest.mark.parametrize("code", ["de", "ar", "hi", "ja", "cmn", "vi"])
def test_it_speaks_the_language_that_is_declared_or_asked_for(code: str) -> None:
    declared = made_of(clip_of(LANGUAGES[code].sentences[2], code))
    asked = made_of(language=code)
    for made in (declared, asked):
        assert made.drawn["language"] == code
        assert made.drawn["text"] in LANGUAGES[code].sentences
        assert str(made.drawn["voice"]).startswith(LANGUAGES[code].voice)
        assert made.drawn["voice"] in LANGUAGES[code].low + LANGUAGES[code].high


def test_what_is_asked_for_wins_and_english_is_the_last_resort() -> None:
    german = replace(TARGET, attributes={"language": "de"})
    assert (spoken_in(german, "fr"), spoken_in(german), spoken_in(TARGET)) == ("fr", "de", "en")


def test_a_language_that_is_not_shipped_is_refused() -> None:
    with pytest.raises(ValidationError, match="no sentences are shipped for it, but for en"):
        Speech(language="tlh")
    with pytest.raises(MediaError, match=r"who/says.wav: speaks 'tlh', as its corpus says"):
        made_of(replace(TARGET, attributes={"language": "tlh"}))


@pytest.mark.parametrize(("seconds", "what"), [(0.7, "speaks for 0.7"), (304.0, "speaks for 304")])
def test_who_speaks_too_shortly_or_too_long_is_refused(seconds: float, what: str) -> None:
    with pytest.raises(MediaError, match=f"who/hums.wav: {what}.* s, where sentences take 1 to 300; leave this clip out"):
        made_of(hum(seconds))
    with pytest.raises(MediaError, match="where sentences take 1 to 300"):
        say("en", seconds, np.random.default_rng(0))


@pytest.mark.parametrize("sound", [None, Sound(np.zeros(RATE, np.float32), RATE), Sound(np.zeros(0, np.float32), RATE)])
def test_who_says_nothing_is_refused(sound: Sound | None) -> None:
    with pytest.raises(MediaError, match="has no sound, or only silence"):
        made_of(replace(TARGET, sound=lambda: sound))


@pytest.mark.parametrize("seconds", [LEAST_S + 0.05, 1.5, 3.0, 12.0, 60.0])
@pytest.mark.parametrize("code", ["en", "sw", "cmn"])
def test_any_span_is_filled(code: str, seconds: float) -> None:
    """Without much stretching, but for very short ones."""
    spoken = say(code, seconds, np.random.default_rng(4))
    put = placed(spoken.utterance.sound, sound_in(hum(seconds)), np.random.default_rng(4))
    assert put.end_s - put.start_s == pytest.approx(seconds, abs=0.05)
    assert 0.6 < put.speed < (1.8 if seconds < 2 else 1.25)
    assert (len(spoken.text) > len(max(LANGUAGES[code].sentences, key=len))) == (seconds > 10)


@pytest.mark.parametrize("code", ["en", "de", "ja", "cmn"])
def test_a_word_fits_a_words_span(code: str) -> None:
    drawn = set()
    for seed in range(6):
        rng = np.random.default_rng(seed)
        sentence = say(code, 2.0, rng)
        spoken = say_word(sentence, 0.4, rng, LANGUAGES[code].words[0].upper())
        drawn.add(spoken.text)
        assert (spoken.voice, spoken.pitch) == (sentence.voice, sentence.pitch)
        assert spoken.text in LANGUAGES[code].words[1:]
        start, end = speech_span(spoken.utterance.sound)
        assert 0.15 < end - start < 0.8
        assert bare("".join(word.text for word in spoken.utterance.words)) == bare(spoken.text)
    assert len(drawn) > 3


@pytest.mark.usefixtures("unspoken")
def test_a_word_is_never_the_one_that_is_replaced() -> None:
    sentence = say("vi", 2.0, np.random.default_rng(1))
    for word in LANGUAGES["vi"].words[:2]:
        drawn = {say_word(sentence, 0.4, np.random.default_rng(seed), word.title()).text for seed in range(300)}
        assert drawn == {*LANGUAGES["vi"].words} - {word}


def test_a_span_is_what_is_spoken() -> None:
    assert span_of(hum(2)) == pytest.approx(2, abs=0.05)


def test_other_chance_says_and_sounds_otherwise() -> None:
    drawn = [say("en", 2.5, np.random.default_rng(seed)).drawn for seed in range(6)]
    assert len({one["voice"] for one in drawn}) > 2
    assert len({one["pitch"] for one in drawn}) > 2
    assert all(0 < float(one["pitch"]) < FASTEST for one in drawn)


def test_another_process_makes_the_same_sound() -> None:
    code = (
        "import hashlib; from tests.test_speech_generator import made_of, sound_in\n"
        "print(hashlib.sha256(sound_in(made_of()).samples.tobytes()).hexdigest())"
    )
    there = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()
    assert there == hashlib.sha256(sound_in(made_of()).samples.tobytes()).hexdigest()
    assert there != hashlib.sha256(sound_in(made_of(seed=8)).samples.tobytes()).hexdigest()
