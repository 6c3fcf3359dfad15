"""What ingest says of a clip's sound, on speech whose every phoneme's time is known and tones whose loudness is."""

import sys
import tracemalloc
from functools import cache
from pathlib import Path

import numpy as np
import pyloudnorm
import pytest
from numpy.typing import NDArray

from flows import ingest
from flows.items import SPREAD
from forgeline.activity import LEAST_SNR_DB, MOST_SNR_DB, STEP_S, activity, heard
from forgeline.audio import SILENT_LUFS, loudness, open_sound, resample, write_sound
from forgeline.clip import MediaType, Sound
from forgeline.faces import save_tracks
from forgeline.files import sha256_of
from forgeline.hearing import span
from forgeline.sample import Sample
from forgeline.speech import speak
from forgeline.video import Encoding, VideoWriter, open_video
from tests.people import speaking
from tests.test_hearing import tone

RATE = 16000
LINES = {
    "en-us": "The quick brown fox jumps over the lazy dog. She had your dark suit in greasy wash water all year.",
    "es": "Mañana por la mañana vamos al mercado, y luego comemos juntos.",
    "hi": "मैं कल बाज़ार जाऊँगा।",
}


@cache
def said(voice: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Half a second of nothing, speech, a second of nothing; and in which frames there is a phoneme."""
    utterance = speak(LINES[voice], voice)
    samples = np.pad(resample(utterance.sound, RATE).samples, (RATE // 2, RATE))
    spoken = np.zeros(int(len(samples) / RATE / STEP_S), np.bool_)
    for phoneme in utterance.phonemes:
        spoken[round((phoneme.start_s + 0.5) / STEP_S) : round((phoneme.end_s + 0.5) / STEP_S)] = True
    return samples, spoken


def noise_at(samples: NDArray[np.float32], spoken: NDArray[np.bool_], snr_db: float, pink: bool) -> NDArray[np.float32]:
    """Noise so far below what is said from 100 Hz up."""
    spectrum = np.fft.rfft(np.random.default_rng(3).normal(size=len(samples)))
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    spectrum *= (hertz >= 100) / (np.sqrt(np.maximum(hertz, 100)) if pink else 1)
    noise = np.fft.irfft(spectrum, len(samples))
    whole = np.repeat(spoken, round(STEP_S * RATE))
    power = np.square(samples[: len(whole)][whole], dtype=np.float64).mean()
    return (noise * np.sqrt(power / np.square(noise).mean() / 10 ** (snr_db / 10))).astype(np.float32)


@pytest.mark.parametrize("voice", LINES)
@pytest.mark.parametrize("pink", [False, True])
@pytest.mark.parametrize(("snr_db", "missed"), [(30, 0.01), (20, 0.01), (10, 0.05), (0, 0.25)])
def test_speech_is_found_in_noise(voice: str, pink: bool, snr_db: float, missed: float) -> None:
    samples, spoken = said(voice)
    found = activity(Sound(samples + noise_at(samples, spoken, snr_db, pink), RATE))
    speech = found.speech[: len(spoken)]
    assert np.mean(~speech[spoken]) <= missed
    assert np.mean(speech[~spoken]) <= 0.2, "what is joined, and the edges"
    assert found.snr_db == pytest.approx(snr_db, abs=1.2)
    assert found.seconds == pytest.approx(spoken.sum() * STEP_S, rel=0.2)


@pytest.mark.parametrize("pink", [False, True])
def test_noise_alone_says_nothing(pink: bool) -> None:
    samples, spoken = said("en-us")
    found = activity(Sound(noise_at(samples, spoken, 20, pink), RATE))
    assert (found.seconds, found.snr_db) == (0, LEAST_SNR_DB)


def test_a_click_is_no_speech_and_a_stop_within_a_word_is() -> None:
    samples = np.random.default_rng(0).normal(0, 1e-3, 4 * RATE).astype(np.float32)
    samples[8000:8160] += 0.3
    assert activity(Sound(samples, RATE)).seconds == 0
    buzz = tone(200, 1.5, -20).samples
    buzz[10000:11600] = 0
    samples[16000 : 16000 + len(buzz)] += buzz
    found = np.flatnonzero(activity(Sound(samples, RATE)).speech) * STEP_S
    assert (found[0], found[-1]) == pytest.approx((1.0, 2.5), abs=0.03)
    assert len(found) == round((found[-1] - found[0]) / STEP_S) + 1


@pytest.mark.parametrize("rate", [8000, 44100])
def test_other_rates_and_levels_tell_the_same(rate: int) -> None:
    samples, spoken = said("es")
    noisy = Sound(samples + noise_at(samples, spoken, 20, False), RATE)
    one, other = activity(noisy), activity(resample(Sound(noisy.samples * np.float32(0.3), RATE), rate))
    assert len(one.speech) == pytest.approx(len(other.speech), abs=1)
    assert one.seconds == pytest.approx(other.seconds, rel=0.06)


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_a_tone_has_the_loudness_that_bs_1770_gives_it(rate: int) -> None:
    """Its calibration: in one channel, 997 Hz have the loudness of their mean square. Another implementation agrees."""
    sound = tone(997, 10, -23.0, rate)
    assert heard(sound)["loudness_lufs"] == pytest.approx(-23, abs=0.1)
    assert loudness(sound) == pytest.approx(pyloudnorm.Meter(rate).integrated_loudness(sound.samples.astype("f8")), abs=0.15)


def test_loudness_of_speech_is_another_implementations() -> None:
    """Gated: half of it is silence."""
    for voice in LINES:
        sound = Sound(np.pad(said(voice)[0], 2 * RATE), RATE)
        other = pyloudnorm.Meter(RATE).integrated_loudness(sound.samples.astype("f8"))
        assert heard(sound)["loudness_lufs"] == pytest.approx(other, abs=0.15)


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.5), (0.37, 0.0), (1.205, 0.8)])
@pytest.mark.parametrize("rate", [16000, 44100])
def test_silences_are_found_to_a_frame(before: float, after: float, rate: int) -> None:
    """A tone begins and ends at once; levels are of frames of 20 ms, one each 5."""
    whole = np.pad(tone(440, 2.0, -20, rate).samples, (round(before * rate), round(after * rate)))
    told = heard(Sound(whole, rate))
    assert told["leading_silence_s"] == pytest.approx(before, abs=0.0101)
    assert told["trailing_silence_s"] == pytest.approx(after, abs=0.0101)


@pytest.mark.parametrize("count", [0, 1, 300, 16000])
def test_silence_of_any_length_is_told_as_such(count: int) -> None:
    told = heard(Sound(np.zeros(count, np.float32), RATE))
    assert told == {
        "loudness_lufs": SILENT_LUFS,
        "leading_silence_s": round(count / RATE, 3),
        "trailing_silence_s": round(count / RATE, 3),
        "speech_s": 0,
        "snr_db": LEAST_SNR_DB,
    }


def test_without_noise_the_ratio_is_large() -> None:
    """Its pauses hold what rings on, and no more."""
    assert 35 < heard(Sound(said("en-us")[0], RATE))["snr_db"] <= MOST_SNR_DB


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_ingest_notes_it_from_one_decode(kind: MediaType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The print and what sound is like come from the same pass."""
    sound = Sound(said("hi")[0], RATE)
    if kind == "audio":
        path, track = tmp_path / "clip.flac", None
        write_sound(path, sound)
    else:
        clip = speaking(1)
        path, track = tmp_path / "clip.mp4", tmp_path / "track.npz"
        with VideoWriter(path, clip.width, clip.height, clip.fps, Encoding(crf=30, preset="ultrafast"), clip.sound()) as out:
            for picture in clip.pictures():
                out.write(picture)
        assert clip.track is not None
        save_tracks(track, [clip.track])
    opened = []
    for module, name in (("forgeline.audio", "_read"), ("forgeline.video", "_sound")):
        decode = getattr(sys.modules[module], name)
        monkeypatch.setattr(f"{module}.{name}", lambda *given, decode=decode: opened.append(given) or decode(*given))
    row = Sample(
        sample_id="it",
        media=str(path),
        media_type=kind,
        label="real",
        role="ingested",
        method="ingest",
        source="own",
        recipe="",
        track=track and str(track),
        sha256=sha256_of(path),
    )
    before = SPREAD.set(lambda work, todo: ((job, work(job)) for job in todo))
    (done,) = ingest._with_prints(tmp_path / "prints", [row], None)
    assert len(opened) == 1
    found = (open_sound if kind == "audio" else open_video)(path).sound()
    assert found is not None
    assert done.scores == heard(found)
    assert done.scores["speech_s"] > 1
    (kept,) = ingest._with_prints(tmp_path / "prints", [row], None)
    SPREAD.reset(before)
    assert (kept, len(opened)) == (done, 2), "what is up to date is not decoded again"


def test_long_sound_takes_little_memory() -> None:
    """What grows is a few copies of the samples at 16 kHz: no spectra."""
    peaks = []
    for seconds in (30, 90):
        sound = Sound(np.random.default_rng(0).normal(0, 0.02, 48000 * seconds).astype(np.float32), 48000)
        tracemalloc.start()
        heard(sound)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 5 * 60 * RATE * 4


def test_levels_do_not_hang_on_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = Sound(said("en-us")[0] + np.random.default_rng(2).normal(0, 1e-3, len(said("en-us")[0])).astype("f4"), RATE)
    whole = span(sound), activity(sound).speech.tobytes()
    monkeypatch.setattr("forgeline.hearing._BLOCK", 17)
    assert (span(sound), activity(sound).speech.tobytes()) == whole


@pytest.mark.parametrize(("start", "end"), [(44100, 16000), (22050, 16000), (16000, 5512)])
def test_resampling_is_librosas(start: int, end: int) -> None:
    """Its default is the same resampler, by way of imports that take seconds."""
    import librosa

    wave = np.random.default_rng(1).normal(0, 0.1, start).astype(np.float32)
    ours, theirs = resample(Sound(wave, start), end).samples, librosa.resample(wave, orig_sr=start, target_sr=end)
    count = min(len(ours), len(theirs))
    assert count >= end - 1
    np.testing.assert_array_equal(ours[:count], theirs[:count])
