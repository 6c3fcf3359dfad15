"""Voice conversion: whose voice it is afterwards, what stays of the speech, and what is refused."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.audio import resample
from forgeline.clip import Clip, Said, Sound
from forgeline.errors import MediaError, ParamsError
from forgeline.speech import speak
from generators import vocoder
from generators.pitch import RATE, STEP, pitch_of
from generators.recording import AROUND_S, speech_span
from generators.vocoder import BINS, Engine, analyse, synthesise
from generators.voice import LEAST_S, LOUDEST, Manner, Voice, as_spoken_by, tract_ratio, warped

RNG = np.random.default_rng
SAID = {
    "en-us": "The quick brown fox jumps over the lazy dog, and nobody minded.",
    "de": "Der Zug fährt heute leider erst um halb neun ab, wir warten noch.",
    "fr": "Bonjour tout le monde, il fait beau et nous allons partir.",
}
MAN, WOMAN, GERMAN, FRENCHWOMAN = "en-us", "en-us+f4", "de", "fr+f3"
PAIRS = [(MAN, WOMAN), (WOMAN, MAN), (GERMAN, FRENCHWOMAN), (FRENCHWOMAN, GERMAN), (GERMAN, WOMAN)]
"""High and low both ways; the last three say it in another language than the voice speaks."""
ENGINES: tuple[Engine, ...] = ("world", "stft")


@cache
def voice(name: str, rate: int = RATE) -> Sound:
    return resample(speak(SAID[name.split("+")[0]], name).sound, rate)


@cache
def converted(speech: str, other: str, engine: Engine) -> Sound:
    return as_spoken_by(voice(speech), voice(other), engine)


def levels(sound: Sound) -> NDArray[np.float64]:
    """Decibels of full scale of each whole 20 ms."""
    size = round(0.02 * sound.rate)
    whole = len(sound.samples) // size * size
    power = np.square(sound.samples[:whole], dtype=np.float64).reshape(-1, size).mean(1)
    decibels: NDArray[np.float64] = 10 * np.log10(power + 1e-12)
    return decibels


def clip(sound: Sound | None, name: str = "clip", words: tuple[Said, ...] = ()) -> Clip:
    return Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: sound, None, name, {}, words)


def tone(hertz: float, seconds: float = 1.0) -> NDArray[np.float64]:
    """A buzz: ten harmonics."""
    times = np.arange(round(seconds * RATE)) / RATE
    return np.asarray(0.05 * sum(np.sin(2 * np.pi * hertz * k * times) for k in range(1, 11)))


def sound_of(samples: NDArray[np.float64]) -> Sound:
    return Sound(samples.astype(np.float32), RATE)


def pitches(sound: Sound) -> NDArray[np.float64]:
    found = pitch_of(sound.samples.astype(np.float64))
    return found[found > 0]


def apart(one: Sound, other: Sound) -> float:
    """Decibels between two mean envelopes of what is voiced, 150 … 7000 Hz, level apart."""
    means = [analyse(sound, "world") for sound in (one, other)]
    lines = [s.envelope[s.voiced].mean(0)[10:450] * 10 / np.log(10) for s in means]
    return float((lines[0] - lines[1]).std())


# ----------------------------------------------------------------------------------------------------------------- pitch


@pytest.mark.parametrize("hertz", [70, 120, 233, 450])
def test_a_tones_pitch_is_its_own(hertz: float) -> None:
    found = pitch_of(tone(hertz))[10:-10]
    assert np.abs(found / hertz - 1).max() < 0.005


def test_a_gliding_pitch_is_followed_without_leaps() -> None:
    hertz = np.geomspace(100, 200, 2 * RATE)
    phase = 2 * np.pi * np.cumsum(hertz) / RATE
    found = pitch_of(np.asarray(sum(np.sin(k * phase) / k for k in range(1, 8))) * 0.1)[10:-10]
    assert np.abs(found / hertz[STEP * 10 :: STEP][: len(found)] - 1).max() < 0.01


def test_a_creak_an_octave_below_does_not_move_a_voices_middle() -> None:
    """Every other pulse louder, as voices do at their ends: an octave lower by itself, but not within such a voice."""
    pulses = np.zeros(RATE)
    pulses[::100] = 1.0
    pulses[12000::200] = 1.5
    found = pitch_of(np.convolve(pulses, np.exp(-np.arange(60) / 12), "same"))
    assert np.median(found[20:-20]) == pytest.approx(160, rel=0.01)
    assert (np.abs(found[found > 0] / 160 - 1) < 0.05).mean() > 0.98


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fault", ["silence", "white noise", "pink noise", "a click", "too short"])
def test_what_has_no_voice_is_refused_by_name(fault: str, engine: Engine) -> None:
    rng = RNG(0)
    noise = np.fft.rfft(rng.normal(0, 0.1, 3 * RATE))
    samples = {
        "silence": np.zeros(RATE),
        "white noise": np.fft.irfft(noise),
        "pink noise": np.fft.irfft(noise / np.sqrt(np.arange(len(noise)) + 1)) * 20,
        "a click": np.eye(1, RATE, 5000)[0],
        "too short": np.pad(tone(150, LEAST_S - 0.1), RATE // 2),
    }[fault]
    with pytest.raises(MediaError, match=r"^somebody: has 0\.\d\d s of voice in it, and 0\.3 are needed; leave"):
        as_spoken_by(voice(MAN), sound_of(samples), engine, ("anybody", "somebody"))
    with pytest.raises(MediaError, match=r"^anybody: "):
        as_spoken_by(sound_of(samples), voice(MAN), engine, ("anybody", "somebody"))


# --------------------------------------------------------------------------------------------------------------- vocoder


@pytest.mark.parametrize("engine", ENGINES)
def test_without_a_change_the_envelopes_stay(engine: Engine) -> None:
    hiss = RNG(0).normal(0, 0.01, RATE // 2)
    sound = sound_of(np.concatenate([hiss, voice(MAN).samples, hiss]))
    speech = analyse(sound, engine)
    made = synthesise(speech, engine, speech.pitch, lambda part: np.zeros((part.stop - part.start, BINS), np.float32))
    assert apart(sound_of(made), sound) < 2
    assert np.allclose(made[: RATE // 3], sound.samples[: RATE // 3], atol=1e-4), "what has no pitch is the recording's own"
    assert np.allclose(made[-RATE // 3 :], sound.samples[-RATE // 3 :], atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.8])
def test_pitch_is_moved_alone(engine: Engine, ratio: float) -> None:
    speech = analyse(voice(GERMAN), engine)
    made = synthesise(speech, engine, speech.pitch * ratio, lambda part: np.zeros((part.stop - part.start, BINS), np.float32))
    found = pitch_of(made)
    both = (found > 0) & speech.voiced
    assert both.sum() > 0.75 * speech.voiced.sum()
    assert np.median(found[both] / speech.pitch[both]) == pytest.approx(ratio, rel=0.02)
    assert np.mean(np.abs(np.log(found[both] / speech.pitch[both] / ratio)) > 0.1) < 0.1
    assert apart(sound_of(made), voice(GERMAN)) < 4


@pytest.mark.parametrize("engine", ENGINES)
def test_blocks_leave_no_seams(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tone that is longer than a block has no steps where blocks meet."""
    sound = sound_of(np.tile(tone(125, 1.0), 3))
    nothing = lambda part: np.zeros((part.stop - part.start, BINS), np.float32)  # noqa: E731
    whole = analyse(sound, engine)
    expected = synthesise(whole, engine, whole.pitch * 1.3, nothing)
    monkeypatch.setattr(vocoder, "AT_ONCE", 150)
    parts = analyse(sound, engine)
    made = synthesise(parts, engine, parts.pitch * 1.3, nothing)
    assert np.abs(np.diff(made)).max() < 1.25 * np.abs(np.diff(expected)).max()
    loud = levels(sound_of(made))[10:-10]
    assert loud.max() - loud.min() < 4
    assert np.allclose(parts.envelope[20:-20, :80], whole.envelope[20:-20, :80], atol=0.1)


def test_an_engine_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyworld", None)
    with pytest.raises(ParamsError, match="pip install pyworld-prebuilt, or set engine: stft"):
        as_spoken_by(voice(MAN), voice(WOMAN), "world")
    expected = hashlib.sha256(converted(MAN, WOMAN, "stft").samples.tobytes()).hexdigest()
    assert hashlib.sha256(as_spoken_by(voice(MAN), voice(WOMAN), "stft").samples.tobytes()).hexdigest() == expected


# -------------------------------------------------------------------------------------------------------- whose voice it is


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("speech", "other"), PAIRS)
def test_it_has_the_others_pitch_and_spectrum(speech: str, other: str, engine: Engine) -> None:
    made = converted(speech, other, engine)
    assert pitches(made).mean() == pytest.approx(pitches(voice(other)).mean(), rel=0.05)
    assert np.log(pitches(made)).std() == pytest.approx(np.log(pitches(voice(other))).std(), rel=0.5)
    assert apart(made, voice(other)) < 0.5 * apart(voice(speech), voice(other))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("speech", "other"), PAIRS)
def test_words_and_rhythm_stay(speech: str, other: str, engine: Engine) -> None:
    before, after = (levels(sound) for sound in (voice(speech), converted(speech, other, engine)))
    heard = before > before.max() - 40
    assert np.corrcoef(before[heard], after[heard])[0, 1] > 0.8
    one, two = (analyse(s, "world") for s in (voice(speech), converted(speech, other, engine)))
    both = one.voiced & two.voiced
    assert both.sum() > 0.75 * one.voiced.sum()
    ratio = tract_ratio(Manner.of(one), Manner.of(analyse(voice(other), "world")))
    envelopes = warped(one.envelope[both], ratio), two.envelope[both]
    shapes = [e - e.mean(0) for e in envelopes]
    alike = [np.corrcoef(a[6:200], b[6:200])[0, 1] for a, b in zip(*shapes, strict=True)]
    assert np.median(alike) > 0.5, "formants no longer move as the words want them to"


@pytest.mark.parametrize("engine", ENGINES)
def test_it_does_not_click_or_clip_and_is_as_loud(engine: Engine) -> None:
    made, speech = converted(GERMAN, FRENCHWOMAN, engine), voice(GERMAN)
    assert np.isfinite(made.samples).all()
    assert np.abs(made.samples).max() <= 1
    assert np.abs(np.diff(made.samples)).max() < 0.5
    assert np.sqrt(np.mean(made.samples**2)) == pytest.approx(np.sqrt(np.mean(speech.samples**2)), rel=0.15)
    loud = replace(speech, samples=speech.samples / np.abs(speech.samples).max())
    assert np.abs(as_spoken_by(loud, voice(WOMAN), engine).samples).max() <= LOUDEST + 1e-6


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
def test_rate_and_length_are_the_speechs(rate: int) -> None:
    speech = voice(MAN, rate)
    speech = replace(speech, samples=speech.samples[: len(speech.samples) // 2 * 2 - 1001])
    made = as_spoken_by(speech, voice(WOMAN, 44100), "stft")
    assert made.rate == rate
    assert len(made.samples) == len(speech.samples)
    assert made.samples.dtype == np.float32
    assert pitches(resample(made, RATE)).mean() == pytest.approx(pitches(voice(WOMAN)).mean(), rel=0.05)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_second_of_a_voice_is_enough(engine: Engine) -> None:
    target = voice(FRENCHWOMAN)
    short = replace(target, samples=target.samples[RATE // 2 : RATE // 2 + RATE])
    made = as_spoken_by(voice(MAN), short, engine)
    assert pitches(made).mean() == pytest.approx(pitches(target).mean(), rel=0.1)
    assert apart(made, target) < 0.75 * apart(voice(MAN), target)


@pytest.mark.parametrize("ratio", [0.86, 1.0, 1.17])
def test_a_longer_vocal_tract_is_found(ratio: float) -> None:
    own = Manner.of(analyse(voice(GERMAN), "world"))
    tilt = np.linspace(0, 3, BINS)
    other = replace(own, envelope=warped(own.envelope[None], ratio)[0] + tilt)
    assert tract_ratio(own, other) == pytest.approx(ratio, abs=0.025)


def test_outliers_do_not_move_a_voices_pitch() -> None:
    speech = analyse(voice(MAN), "stft")
    wrong = speech.pitch.copy()
    frames = np.flatnonzero(speech.voiced)[::20]
    wrong[frames] *= 2
    assert Manner.of(replace(speech, pitch=wrong)).pitch == pytest.approx(Manner.of(speech).pitch, abs=0.01)
    assert Manner.of(replace(speech, pitch=wrong)).spread == pytest.approx(Manner.of(speech).spread, rel=0.1)


# ----------------------------------------------------------------------------------------------------------- the generator


def test_the_others_words_stand_where_the_target_spoke() -> None:
    said = speak(SAID["en-us"], MAN)
    recording = np.pad(voice(FRENCHWOMAN).samples, (RATE, RATE // 2)) + RNG(1).normal(
        0, 0.001, len(voice(FRENCHWOMAN).samples) + 3 * RATE // 2
    )
    target = sound_of(recording)
    made = Voice()([clip(target, "target"), clip(said.sound, "speaker", said.words)], RNG(5))
    assert made.sound is not None
    assert (made.media_type, made.sound.rate, len(made.sound.samples)) == ("audio", RATE, len(recording))
    start, end = speech_span(target)
    (segment,) = made.segments
    assert (segment.start_s, segment.end_s) == pytest.approx((start - AROUND_S, end + AROUND_S))
    assert segment.modality == "audio"
    assert [word.text for word in made.words] == [word.text for word in said.words]
    times = [at for word in made.words for at in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert start - 1e-6 <= times[0] < start + 0.3
    assert end - 0.3 < times[-1] <= end + 1e-6
    assert pitches(made.sound).mean() == pytest.approx(pitches(target).mean(), rel=0.06)
    before = slice(0, round((start - AROUND_S) * RATE))
    assert np.array_equal(made.sound.samples[before], target.samples[before])


def test_clips_that_say_nothing_are_refused_by_their_names() -> None:
    speaker, silent = clip(voice(MAN), "speaker"), clip(sound_of(np.zeros(RATE)), "silent")
    humming = clip(sound_of(RNG(0).normal(0, 0.05, RATE)), "hissing")
    for parents, name in (
        ((silent, speaker), "silent"), ((speaker, silent), "silent"), ((speaker, clip(None, "mute")), "mute"),
        ((humming, speaker), "hissing"), ((speaker, humming), "hissing"),
    ):  # fmt: skip
        with pytest.raises(MediaError, match=f"^{name}: "):
            Voice(engine="stft")(parents, RNG(0))


def elsewhere(code: str) -> str:
    folders = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    env = {**os.environ, "PYTHONPATH": folders, "PYTHONHASHSEED": "99"}
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout


def test_another_process_makes_the_same_bytes() -> None:
    def digest(engine: Engine) -> str:
        return hashlib.sha256(converted(MAN, WOMAN, engine).samples.tobytes()).hexdigest()

    said = "hashlib.sha256(t.converted(t.MAN, t.WOMAN, e).samples.tobytes()).hexdigest()"
    out = elsewhere(f"import hashlib, test_voice as t\nfor e in t.ENGINES: print({said})")
    assert out.split() == [digest(engine) for engine in ENGINES]


def test_length_costs_little_memory() -> None:
    """A minute more takes less than 150 MB more: five minutes stay below a GB."""
    code = (
        "import resource, numpy as np, test_voice as t\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "speech, voice = t.sound_of(np.tile(t.tone(110), 12)), t.sound_of(t.tone(180))\n"
        "t.as_spoken_by(speech, voice)\n"
        "before = peak()\n"
        "t.as_spoken_by(t.sound_of(np.tile(speech.samples, 3)), voice)\n"
        "print(peak() - before)"
    )
    assert 0 <= int(elsewhere(code)) < 150 * 24 / 60
