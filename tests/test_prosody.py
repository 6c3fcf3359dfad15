"""The manner of speaking, on voices whose pitch, length and gaps are known."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluators import prosody, speech
from evaluators.prosody import MEASURES, Prosody
from evaluators.speech import pitch
from forgeline.clip import Sound
from tests.spoken import RATE, clip_of, figures, noisy, pair, said, set_figures, value, voice


def test_the_pitch_is_the_voices() -> None:
    """At every moment, of one that glides by an octave."""
    found = pitch(Sound(voice((100.0, 200.0), seconds=2.0, quiet=0.5), RATE))
    assert len(found) == 301
    at = np.arange(len(found)) * 0.01
    inside = (at > 0.6) & (at < 2.4)
    truth = 100 * 2 ** ((at - 0.5) / 2)
    assert (found[inside] > 0).mean() > 0.95
    voiced = inside & (found > 0)
    assert np.median(np.abs(np.log2(found[voiced] / truth[voiced]))) < 0.005
    assert not found[at < 0.4].any()


def test_an_octave_is_twelve_semitones() -> None:
    figure = figures(pair(voice(110.0), voice(220.0)), Prosody())
    assert value(figure["prosody_f0_median"]) == pytest.approx(12, abs=0.1)
    assert value(figure["prosody_f0_range"]) == pytest.approx(0, abs=0.3)
    back = figures(pair(voice(220.0), voice(110.0)), Prosody())
    assert value(back["prosody_f0_median"]) == pytest.approx(-12, abs=0.1)


def test_a_glide_has_a_range() -> None:
    """From a tenth to nine tenths of an octave."""
    figure = figures(pair(voice(140.0), voice((100.0, 200.0))), Prosody())
    assert value(figure["prosody_f0_range"]) == pytest.approx(0.8 * 12, abs=0.5)


def test_length_voice_and_rate() -> None:
    one, other = voice(120.0, seconds=1.0), voice(120.0, seconds=1.6)
    other[round(0.6 * RATE) : round(1.0 * RATE)] = noisy(np.zeros(round(0.4 * RATE), np.float32), 0.03)  # of 1.6 s
    pairs = pair(clip_of(one, phonemes=said(*"abcdefghij")), clip_of(other, phonemes=said(*"abcdefgh")))
    figure = figures(pairs, Prosody())
    assert value(figure["prosody_speech"]) == pytest.approx(0.6, abs=0.05)
    assert value(figure["prosody_voiced"]) == pytest.approx(-0.25, abs=0.06)
    assert value(figure["prosody_rate"]) == pytest.approx(8 / 1.6 - 10 / 1.0, abs=0.5)


def test_what_is_not_known_has_the_reason() -> None:
    """DIO hears a voice of some frames in noise."""
    whisper = noisy(np.zeros(RATE, np.float32), 0.1)
    figure = figures(pair(voice(), whisper), Prosody())
    assert figure["prosody_f0_median"].reason == speech.NOT_VOICED
    assert figure["prosody_rate"].reason == prosody.NO_PHONEMES
    assert value(figure["prosody_voiced"]) < -0.7


def test_a_set_is_the_mean_of_sizes() -> None:
    pairs = [pair(voice(110.0), voice(220.0), "a"), pair(voice(220.0), voice(110.0), "b")]
    found = set_figures(pairs, Prosody())
    assert set(found) == {f"{name}_abs" for name in MEASURES}
    assert value(found["prosody_f0_median_abs"]) == pytest.approx(12, abs=0.1)
    assert found["prosody_f0_median_abs"].n == 2
    assert found["prosody_rate_abs"].reason == prosody.NO_PHONEMES


def test_equal_speech_does_not_differ() -> None:
    spoken = voice((90.0, 130.0))
    figure = figures(pair(spoken, spoken), Prosody())
    assert {f.value for f in figure.values()} == {0.0, None}


def test_a_controls_pitch_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyworld

    looked: list[int] = []
    real = pyworld.dio

    def dio(samples: NDArray[np.float64], *rest: Any, **more: Any) -> Any:
        looked.append(len(samples))
        return real(samples, *rest, **more)

    monkeypatch.setattr(pyworld, "dio", dio)
    monkeypatch.setattr(speech, "_PITCHES", type(speech._PITCHES)())
    control = voice(111.0)
    for other in (130.0, 140.0, 150.0):
        figures(pair(control, voice(other)), Prosody())
    assert len(looked) == 4
    monkeypatch.setattr(speech, "_REMEMBERED", 1)
    figures(pair(control, voice(160.0)), Prosody())
    assert len(speech._PITCHES) <= 5
