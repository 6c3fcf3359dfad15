"""Speech in the place of other speech: where it lies, how loud it is, and what stays."""

import numpy as np
import pytest
from numpy.typing import NDArray

from forgeline.audio import resample
from forgeline.clip import Said, Sound
from forgeline.errors import MediaError
from generators.recording import placed, speech_span

RATE = 16000


def hum(seconds: float, gain: float = 0.1, pitch: float = 120.0) -> NDArray[np.float32]:
    times = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * k * times) / k for k in range(1, 12))
    return (gain * tones * (1 + 0.6 * np.sin(25 * times))).astype(np.float32)


def recorded(before: float, speech: NDArray[np.float32], after: float, noise: float = 1e-3) -> Sound:
    parts = [np.zeros(round(before * RATE)), speech, np.zeros(round(after * RATE))]
    samples = np.concatenate(parts)
    return Sound((samples + np.random.default_rng(1).normal(0, noise, len(samples))).astype(np.float32), RATE)


def rms(samples: NDArray[np.float32]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("gain", [0.01, 0.1, 0.3])
@pytest.mark.parametrize("noise", [0.0, 1e-4, 1e-3])
def test_the_span_is_where_somebody_speaks(gain: float, noise: float) -> None:
    start, end = speech_span(recorded(0.5, hum(1.5, gain), 0.8, noise))
    assert start == pytest.approx(0.5, abs=0.03)
    assert end == pytest.approx(2.0, abs=0.08)


@pytest.mark.parametrize("samples", [np.zeros(48000), np.zeros(0), np.full(48000, 0.3), np.zeros(100)])
def test_what_says_nothing_is_refused(samples: NDArray[np.float64]) -> None:
    with pytest.raises(MediaError, match="says nothing"):
        speech_span(Sound(samples.astype(np.float32), RATE))


def test_rumble_is_no_speech() -> None:
    clean = recorded(0.5, hum(1.5), 0.8)
    train = 0.1 * np.sin(2 * np.pi * 40 * np.arange(len(clean.samples)) / RATE).astype(np.float32)
    rumbling = Sound(clean.samples + train, RATE)
    assert speech_span(rumbling) == pytest.approx(speech_span(clean), abs=0.1)
    put = placed(recorded(0.2, hum(1.2, 0.1, 200), 0.1), rumbling, np.random.default_rng(0))
    start, end = round(put.start_s * RATE) + 4000, round(put.end_s * RATE) - 4000
    tone = np.exp(-2j * np.pi * 40 * np.arange(start, end) / RATE)
    assert abs(np.vdot(tone, put.sound.samples[start:end]) / np.vdot(tone, train[start:end])) == pytest.approx(1, abs=0.2)


def test_the_rest_of_the_recording_stays() -> None:
    recording = recorded(0.5, hum(1.5), 0.8)
    put = placed(recorded(0.2, hum(1.2, 0.02, 200), 0.1), recording, np.random.default_rng(0))
    assert (put.sound.rate, len(put.sound.samples)) == (recording.rate, len(recording.samples))
    start, end = round(put.start_s * RATE), round(put.end_s * RATE)
    (changed,) = put.segments
    first, last = round(changed.start_s * RATE), round(changed.end_s * RATE)
    assert np.array_equal(put.sound.samples[:first], recording.samples[:first])
    assert np.array_equal(put.sound.samples[last:], recording.samples[last:])
    assert np.mean(put.sound.samples[first:last] != recording.samples[first:last]) > 0.99
    assert (start - first, last - end) == (4000, 4000)
    assert rms(put.sound.samples[start:end]) == pytest.approx(rms(recording.samples[start:end]), rel=0.1), "as loud"
    assert speech_span(put.sound) == pytest.approx(speech_span(recording), abs=0.041)


@pytest.mark.parametrize("rate", [16000, 44100])
@pytest.mark.parametrize("soft_s", [0.05, 0.25])
def test_silence_before_and_after_is_the_recordings(rate: int, soft_s: float) -> None:
    """Speech that begins and ends softly in a quiet room is not heard later, nor ends sooner, in a louder one."""
    rise = np.minimum(np.arange(24000) / (soft_s * RATE), 1) ** 2
    soft = recorded(0.3, (hum(1.5, 0.1, 200) * rise * rise[::-1]).astype(np.float32), 0.3, noise=1e-6)
    recording = recorded(0.5, hum(1.5), 0.8, noise=3e-3)
    high = resample(recording, rate)
    put = placed(soft, high, np.random.default_rng(0))
    assert speech_span(put.sound) == pytest.approx(speech_span(high), abs=0.0101)
    assert (put.start_s, put.end_s) == pytest.approx(speech_span(high), abs=1e-4), "it lies where it is heard"
    late = put.when(Said(0.3, 0.3 + soft_s / 4, "soft"))
    assert late.end_s - late.start_s < soft_s / 4, "what is left out is no longer said"


def test_soft_speech_around_the_span_goes_too() -> None:
    """A recording that begins to speak below what counts as speech does not show it beside quieter speech."""
    soft = recorded(0.5, np.concatenate([0.02 * hum(0.2), hum(1.5)]), 0.8, noise=1e-4)
    start, _ = speech_span(soft)
    assert start == pytest.approx(0.7, abs=0.03)
    put = placed(
        recorded(0.2, 0.2 * hum(1.2, 0.1, 200) * np.linspace(0.05, 1, 19200, dtype=np.float32), 0.1),
        soft,
        np.random.default_rng(0),
    )
    assert 3 * rms(put.sound.samples[8200:10500]) < rms(soft.samples[8200:10500])


def test_the_room_is_the_recordings() -> None:
    """Speech from a digitally silent studio pauses in the noise of the place that it is put into."""
    word = hum(0.5)
    speech = Sound(np.concatenate([word, np.zeros(8000, np.float32), word]), RATE)
    recording = recorded(0.5, hum(1.5), 0.8, noise=3e-3)
    put = placed(speech, recording, np.random.default_rng(0))
    middle = round((put.start_s + put.end_s) / 2 * RATE)
    assert rms(put.sound.samples[middle - 2000 : middle + 2000]) == pytest.approx(3e-3, rel=0.3)
    other = placed(speech, recording, np.random.default_rng(1))
    assert not np.array_equal(put.sound.samples, other.sound.samples), "noise comes from the rng"
    assert np.array_equal(put.sound.samples, placed(speech, recording, np.random.default_rng(0)).sound.samples)


def test_the_speechs_own_room_is_left_behind() -> None:
    word = hum(0.5)
    pause = np.zeros(8000, np.float32)
    loud_room = Sound(np.concatenate([pause, word, pause, word, pause]), RATE)
    noisy = Sound(loud_room.samples + np.random.default_rng(5).normal(0, 5e-3, len(loud_room.samples)).astype(np.float32), RATE)
    put = placed(noisy, recorded(0.5, hum(1.5), 0.8, noise=1e-4), np.random.default_rng(0))
    middle = round((put.start_s + put.end_s) / 2 * RATE)
    assert rms(put.sound.samples[middle - 2000 : middle + 2000]) < 2.5e-3


def test_a_span_of_one_word_is_enough() -> None:
    recording = recorded(0.5, hum(1.5), 0.8)
    put = placed(recorded(0.1, hum(0.4, 0.1, 200), 0.1), recording, np.random.default_rng(0), (1.0, 1.3))
    changed = np.flatnonzero(put.sound.samples != recording.samples) / RATE
    assert changed.min() >= 1.0
    assert changed.max() <= 1.3
    assert (put.start_s, put.end_s) == (1.0, 1.3)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_words_come_to_lie_where_they_are_heard(rate: int) -> None:
    """A click within the speech is found where its time was moved to, whatever the rates."""
    said = hum(1.0, 0.05)
    said[12000:12400] += 0.5 * np.sin(0.4 * np.arange(400))
    speech = recorded(0.3, said, 0.2)
    target = recorded(0.5, hum(1.6), 0.8)
    recording = Sound(
        np.interp(np.arange(round(2.9 * rate)) / rate, np.arange(46400) / RATE, target.samples).astype("f4"), rate
    )
    put = placed(speech, recording, np.random.default_rng(0))
    moved = put.when(Said(0.3 + 0.75, 0.3 + 0.775, "click"))
    loud = np.abs(put.sound.samples)
    found = float(np.mean(np.argsort(loud)[-50:])) / rate
    assert moved.start_s - 0.03 < found < moved.end_s + 0.03
    assert put.speed == pytest.approx(1.0 / 1.6, rel=0.06)
    late = put.when(Said(5.0, 6.0, "late"))
    assert (late.start_s, late.end_s) == (put.end_s, put.end_s)


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(MediaError, match=r"is to be said in 3\.9"):
        placed(recorded(0.1, hum(4), 0.1), recorded(0.5, hum(1.5), 0.8), np.random.default_rng(0))
    with pytest.raises(MediaError, match="says too little"):
        placed(recorded(0.1, hum(1), 0.1), recorded(0.5, hum(1.5), 0.8), np.random.default_rng(0), (1.0, 1.01))


def test_nothing_is_cut_off() -> None:
    """Speech of high peaks in the place of speech that has none is made quieter, with all around it."""
    flat = recorded(0.5, np.clip(9 * hum(1.5), -0.9, 0.9), 0.8)
    peaks = recorded(0.1, hum(1) ** 3, 0.1, noise=1e-5)
    put = placed(peaks, flat, np.random.default_rng(0))
    assert np.abs(put.sound.samples).max() == pytest.approx(1)
