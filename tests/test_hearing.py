"""What is measured of a sound, on made sounds whose truth is known."""

import warnings
from dataclasses import asdict, replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from forgeline.audio import SILENT_LUFS, resample
from forgeline.clip import Sound
from forgeline.hearing import LOWEST_DB, Traits, span, spectra, traits
from forgeline.video import open_video
from tests.people import SHARED

RATE = 16000
Wave = NDArray[np.float32]


def noise(seconds: float, level_db: float, seed: int = 0, rate: int = RATE) -> Wave:
    wave = np.random.default_rng(seed).normal(size=round(seconds * rate)) * 10 ** (level_db / 20)
    return wave.astype(np.float32)


def tone(hz: float, seconds: float = 2.0, level_db: float = -20.0, rate: int = RATE) -> Sound:
    """`level_db`: of its root mean square."""
    at = np.arange(round(seconds * rate)) / rate
    return Sound((np.sin(2 * np.pi * hz * at) * 10 ** (level_db / 20) * np.sqrt(2)).astype(np.float32), rate)


def in_room(before: float, after: float, room_db: float, speech_db: float = -26.0, seconds: float = 3.0) -> Sound:
    """A burst of noise in a room's noise."""
    samples = noise(seconds, room_db)
    samples[round(before * RATE) : round((seconds - after) * RATE)] += noise(seconds - before - after, speech_db, 1)
    return Sound(samples, RATE)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_counts_and_rate_are_the_files(rate: int) -> None:
    found = traits(Sound(noise(1.5, -20, rate=rate), rate))
    assert (found.rate, found.samples) == (rate, 1.5 * rate)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_loudness_is_bs_1770s(rate: int) -> None:
    """Its own calibration: 997 Hz at full scale in one channel is -3.01 LUFS."""
    assert traits(tone(997, 5, -23.01, rate)).loudness == pytest.approx(-23.01, abs=0.1)


def test_peaks_of_samples_and_between_them() -> None:
    """A tone at a quarter of the rate, sampled between its peaks, swings 3 dB higher than any sample shows."""
    at = np.arange(RATE)
    found = traits(Sound((0.5 * np.sin(2 * np.pi * (at / 4 + 1 / 8))).astype(np.float32), RATE))
    assert found.peak == pytest.approx(-9.03, abs=0.01)
    assert found.true_peak == pytest.approx(-6.02, abs=0.3)
    assert found.clipped == 0


def test_clipping_is_two_samples_at_full_scale() -> None:
    wave = noise(1, -26)
    wave[100] = 1.0
    assert traits(Sound(wave, RATE)).clipped == 0
    assert traits(Sound(np.clip(noise(1, -3), -1, 1), RATE)).clipped > 0.04
    wave[101:104] = -1.0
    assert traits(Sound(wave, RATE)).clipped == 4 / RATE


@pytest.mark.parametrize("room_db", [-120, -70, -50, -38])
@pytest.mark.parametrize(("before", "after"), [(0.4, 0.7), (0.05, 1.2)])
def test_silence_around_speech_is_found_in_any_room(room_db: float, before: float, after: float) -> None:
    found = traits(in_room(before, after, room_db))
    assert found.leading_silence == pytest.approx(before, abs=0.012)
    assert found.trailing_silence == pytest.approx(after, abs=0.012)


def test_the_span_is_what_the_silences_leave() -> None:
    sound = in_room(0.4, 0.7, -50)
    found = traits(sound)
    assert span(sound) == pytest.approx((found.leading_silence, 3 - found.trailing_silence))
    assert span(Sound(np.full(RATE, 0.2, np.float32), RATE)) is None
    assert span(Sound(np.zeros(0, np.float32), RATE)) is None


@pytest.mark.parametrize("hum_db", [-120, -36])
def test_speech_from_end_to_end_leaves_no_silence(hum_db: float) -> None:
    found = traits(in_room(0, 0, hum_db, seconds=2))
    assert max(found.leading_silence, found.trailing_silence) <= 0.012


def test_a_click_and_rumble_are_no_speech() -> None:
    sound = in_room(0.6, 0.6, -60)
    sound.samples[1600:1760] += 0.3
    sound.samples[:] += tone(30, 3.0, -20).samples
    found = traits(sound)
    assert found.leading_silence == pytest.approx(0.6, abs=0.015)
    assert found.trailing_silence == pytest.approx(0.6, abs=0.015)


@pytest.mark.parametrize("room_db", [-66, -56, -46])
def test_noise_floor_is_relative_to_speech(room_db: float) -> None:
    found = traits(in_room(0.6, 0.6, room_db))
    assert found.noise_floor == pytest.approx(room_db + 26, abs=1.5)
    louder = in_room(0.6, 0.6, room_db)
    louder = Sound(louder.samples * np.float32(2), RATE)
    assert traits(louder).noise_floor == pytest.approx(found.noise_floor, abs=1e-3)


def test_bandwidth_of_white_noise_is_nearly_the_half_rate() -> None:
    found = traits(Sound(noise(120, -26), RATE))
    assert found.bandwidth == pytest.approx(0.99 * 8000, abs=20)
    assert found.treble == pytest.approx(10 * np.log10(1 / 8), abs=0.2)
    assert found.rumble == pytest.approx(10 * np.log10(60 / 8000), abs=0.15)


def test_what_came_from_8_khz_has_no_treble() -> None:
    sound = resample(resample(Sound(noise(3, -26), RATE), 8000), RATE)
    found = traits(sound)
    assert 3700 < found.bandwidth < 4100
    assert found.treble < -60


def test_rumble_is_what_lies_below_60_hz() -> None:
    assert traits(tone(40)).rumble == pytest.approx(0, abs=0.1)
    assert traits(tone(100)).rumble < -40
    mixed = Sound(tone(40, level_db=-30).samples + tone(1000, level_db=-20).samples, RATE)
    assert traits(mixed).rumble == pytest.approx(-10.4, abs=0.2)
    shifted = Sound(tone(1000).samples + np.float32(0.1), RATE)
    assert traits(shifted).rumble < -40, "an offset is not rumble"


def test_offset_is_the_mean() -> None:
    wave = noise(2, -26)
    assert traits(Sound(wave - wave.mean() + np.float32(0.02), RATE)).offset == pytest.approx(0.02, abs=1e-5)


def test_zeros_and_equal_samples_are_counted() -> None:
    wave = noise(1, -26)
    wave[2000:2400] = 0
    wave[5000:5800] = 0.25
    found = traits(Sound(wave, RATE))
    assert found.zeros == 400 / RATE
    assert found.zero_run == 400 / RATE
    assert found.equal_run == 800 / RATE


@pytest.mark.parametrize(("step", "share"), [(1, 0.5), (2, 0.0), (4, 0.0)])
def test_odd_samples_tell_how_it_was_quantized(step: int, share: float) -> None:
    wave = np.rint(noise(2, -40) * 32768 / step) * step / 32768
    assert traits(Sound(wave.astype(np.float32), RATE)).odd == pytest.approx(share, abs=0.02)
    assert traits(Sound(np.full(10, -3 / 32768, np.float32), RATE)).odd == 1


@pytest.mark.parametrize("count", [0, 1, 2, 30, 400, 6000])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rate", [8000, 48000])
def test_whatever_it_is_it_has_finite_traits_and_no_warning(count: int, value: float, rate: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = traits(Sound(np.full(count, value, np.float32), rate))
    assert np.isfinite(list(asdict(found).values())).all()
    seconds = count / rate
    assert (found.leading_silence, found.trailing_silence) == (seconds, seconds), "nothing that lasts is no speech"
    assert found.loudness == SILENT_LUFS
    if count and value == 0:
        assert (found.zeros, found.zero_run, found.equal_run) == (1, seconds, seconds)
        assert found.peak == found.true_peak == found.treble == found.rumble == LOWEST_DB


def test_digital_silence_around_speech_has_a_loudness_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = traits(Sound(np.pad(noise(2, -26), RATE), RATE))
    assert found.loudness > -40
    assert found.zero_run == 1


def test_traits_do_not_change_the_sound_and_are_the_same_again() -> None:
    sound = in_room(0.5, 0.5, -50)
    before = sound.samples.copy()
    first = traits(sound)
    np.testing.assert_array_equal(sound.samples, before)
    assert traits(sound) == first
    assert Traits(**asdict(first)) == first
    assert replace(first, odd=0.0) != first


def test_spectra_are_the_whole_sounds_in_blocks() -> None:
    """Parseval's theorem, over more frames than a block holds."""
    wave = noise(20, -20)
    blocks = list(spectra(wave, 256, 128))
    assert len(blocks) > 1
    total = sum(float(block[:, 1:-1].sum() * 2 + block[:, [0, -1]].sum()) for block in blocks)
    window = np.hanning(257)[:-1]
    assert total / 256 == pytest.approx(float((window**2).sum()) / 128 * float((wave.astype(np.float64) ** 2).sum()), rel=0.01)
    assert [block.shape for block in spectra(wave[:10], 256, 128)] == [(1, 129)]


def test_speech_of_real_people_begins_where_it_was_aligned() -> None:
    """GRID's alignments are by an automatic recogniser, and fricatives begin softly."""
    clips = sorted((SHARED / "media/grid/s1").glob("*.mpg"))[:6]
    if not clips:
        pytest.skip("no GRID clips are here")
    late, early = [], []
    for path in clips:
        sound = open_video(path).sound()
        assert sound is not None
        said = [line.split() for line in path.with_suffix(".align").read_text().splitlines()]
        starts, ends = zip(*((int(a) / 25000, int(b) / 25000) for a, b, word in said if word not in ("sil", "sp")), strict=True)
        found = traits(sound)
        late.append(found.leading_silence - starts[0])
        early.append(ends[-1] - (len(sound.samples) / sound.rate - found.trailing_silence))
    assert 0 < np.median(late) < 0.1
    assert 0 < np.median(early) < 0.15


def test_a_low_pass_moves_the_bandwidth() -> None:
    wave = sosfiltfilt(butter(8, 3000, fs=RATE, output="sos"), noise(3, -26)).astype(np.float32)
    assert traits(Sound(wave, RATE)).bandwidth == pytest.approx(3000, rel=0.05)
