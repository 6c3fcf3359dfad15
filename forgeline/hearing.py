"""What a detector could learn of a sound instead of the forgery: its level, its silences, its noise, how it was quantized.

None of it says whether somebody said these words. A dataset in which one of these numbers tells fakes from real sound
teaches that number and nothing else, as leading silence did in FakeAVCeleb: `flows.audit` compares them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgeline.audio import SILENT_LUFS, filtered, loudness, resample
from forgeline.clip import Sound

LOWEST_DB = -120.0
"""Stands for the logarithm of nothing."""

_FRAME_S, _STEP_S = 0.02, 0.005
_AUDIBLE_HZ = 100
_QUIETEST, _SPEECH = 10, 95  # percentiles of the frames' levels
_FAR_DB, _NEAR_DB = 30.0, 6.0  # below the speech level
_NO_SPEECH_DB = -70.0  # of full scale: dither alone is at -96
_LASTS_S = 0.05  # a click is no speech
_SPECTRUM_S = 0.125  # bins of 8 Hz
_BLOCK = 2048  # spectra in memory at once
_BANDWIDTH_SHARE = 0.99
_HIGH_HZ, _LOW_HZ = 7000, 60
_FULL = 32767 / 32768


@dataclass(frozen=True)
class Traits:
    """The numbers of one sound; all are finite, also for silence, one sample or none.

    Levels are of frames of 20 ms, one each 5 ms, of what lies above 100 Hz: rumble would hide where somebody begins to speak.
    The *speech level* is what 5 % of the frames exceed. A frame is *silent* where it is 30 dB below the speech level or, in a
    noisy room, nearer to the noise floor than to the speech level in dB (but at least 6 dB below it); where less than 50 ms in
    a row are louder, that is silent all the same. Soft onsets count from where they are loud enough: some 40 ms after GRID's
    alignments.
    """

    rate: float
    """Samples a second."""
    samples: float
    """How many there are."""
    loudness: float
    """Integrated loudness in LUFS (ITU-R BS.1770-4, mono), not below `SILENT_LUFS`."""
    peak: float
    """Largest sample, dB of full scale, not below `LOWEST_DB`."""
    true_peak: float
    """Largest value of the wave between the samples, dB of full scale: BS.1770-4's annex 2, four times oversampled."""
    clipped: float
    """Share of samples at full scale that have a neighbour there, too."""
    leading_silence: float
    """Seconds until the first sound that is not silent; the whole length where everything is."""
    trailing_silence: float
    """Seconds after the last one; the whole length where everything is silent."""
    noise_floor: float
    """Power of the quietest tenth of the frames, dB relative to the speech level (negative); 0 where there is no speech."""
    bandwidth: float
    """Hz below which 99 % of the energy lie."""
    treble: float
    """Energy above 7 kHz, dB relative to all, not below `LOWEST_DB`."""
    rumble: float
    """Energy below 60 Hz (without the mean), dB relative to all, not below `LOWEST_DB`."""
    offset: float
    """Mean of the samples, of full scale."""
    zeros: float
    """Share of samples that are exactly 0."""
    zero_run: float
    """Seconds of the longest stretch of samples that are exactly 0."""
    equal_run: float
    """Seconds of the longest stretch of equal samples."""
    odd: float
    """Share of samples that are odd as 16-bit integers: about 0.5 after dither."""


def traits(sound: Sound) -> Traits:
    """Measure a sound of any length and rate. A minute at 16 kHz takes a tenth of a second and 100 MB."""
    samples, rate = sound.samples, sound.rate
    count = len(samples)
    offset, centred = _centred(samples)
    speech, leading, trailing, floor = _levels(centred, rate)
    bandwidth, treble, rumble = _bands(centred, rate)
    full = np.abs(samples) >= _FULL
    clipped = full & (np.append(full[1:], False) | np.append(False, full[:-1])) if count else full
    zero = samples == 0
    integers = np.rint(samples * np.float32(32768)).astype(np.int32)
    return Traits(
        rate=float(rate),
        samples=float(count),
        loudness=SILENT_LUFS if speech is None else loudness(sound),
        peak=_decibels(float(np.abs(samples).max(initial=0)) ** 2),
        true_peak=_true_peak(sound),
        clipped=_share(clipped),
        leading_silence=leading,
        trailing_silence=trailing,
        noise_floor=floor,
        bandwidth=bandwidth,
        treble=treble,
        rumble=rumble,
        offset=offset,
        zeros=_share(zero),
        zero_run=_longest(zero) / rate,
        equal_run=(_longest(samples[1:] == samples[:-1]) + 1) / rate if count else 0.0,
        odd=_share((integers & 1).astype(np.bool_)),
    )


def span(sound: Sound) -> tuple[float, float] | None:
    """From when to when it is not silent, in seconds, as `Traits` has it; None where it always is."""
    _, leading, trailing, _ = _levels(_centred(sound.samples)[1], sound.rate)
    seconds = len(sound.samples) / sound.rate
    return (leading, seconds - trailing) if leading < seconds else None


def spectra(samples: NDArray[np.float32], size: int, step: int) -> Iterator[NDArray[np.float32]]:
    """Power spectra (frames, size // 2 + 1) under a Hann window of `size` samples each `step`, in blocks of a few megabytes.

    Sound that is shorter than a window is padded with zeros; otherwise what is left at the end is not looked at.
    """
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    window = np.hanning(size + 1)[:-1].astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(samples, size)[::step]
    for start in range(0, len(windows), _BLOCK):
        block = np.fft.rfft(windows[start : start + _BLOCK] * window, axis=1)
        yield (block.real**2 + block.imag**2).astype(np.float32)


def _centred(samples: NDArray[np.float32]) -> tuple[float, NDArray[np.float32]]:
    """The mean, and the samples without it."""
    offset = float(samples.mean(dtype=np.float64)) if len(samples) else 0.0
    return offset, samples - np.float32(offset)


def _levels(centred: NDArray[np.float32], rate: int) -> tuple[float | None, float, float, float]:
    """Speech level (dB of full scale, None without speech), leading and trailing silence (s), noise floor (dB)."""
    seconds = len(centred) / rate
    size, step = min(round(_FRAME_S * rate), len(centred)), max(round(_STEP_S * rate), 1)
    if not size:
        return None, seconds, seconds, 0.0
    audible = filtered(Sound(centred, rate), ("highpass", f"f={_AUDIBLE_HZ}")).samples
    power = np.concatenate([*_powers(audible, size, step)])
    level = 10 * np.log10(np.maximum(power, 10 ** (LOWEST_DB / 10)))
    speech = float(np.percentile(level, _SPEECH))
    if speech < _NO_SPEECH_DB:
        return None, seconds, seconds, 0.0
    quiet = power[level <= np.percentile(level, _QUIETEST)]
    floor = _decibels(float(quiet.mean())) - speech
    loud = np.flatnonzero(_lasting(level > speech + min(max(floor / 2, -_FAR_DB), -_NEAR_DB), round(_LASTS_S * rate / step)))
    if not len(loud):
        return speech, seconds, seconds, floor
    # A frame stands for its middle.
    first, last = (float(loud[at] * step + size / 2) / rate for at in (0, -1))
    return speech, first, max(seconds - last, 0.0), floor


def _powers(samples: NDArray[np.float32], size: int, step: int) -> Iterator[NDArray[np.float64]]:
    """Mean square of each frame of `size` samples, one each `step`, in blocks of a few megabytes."""
    frames = (len(samples) - size) // step + 1
    for first in range(0, frames, _BLOCK):
        count = min(_BLOCK, frames - first)
        part = samples[first * step : (first + count - 1) * step + size]
        sums = np.concatenate([[0.0], np.cumsum(np.square(part, dtype=np.float64))])
        yield np.maximum(sums[size:] - sums[:-size], 0)[::step] / size


def _lasting(flags: NDArray[np.bool_], least: int) -> NDArray[np.bool_]:
    """The flags without runs that are shorter than `least`, unless they are no longer than that themselves."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8))).reshape(-1, 2)
    kept = np.zeros_like(flags)
    for start, end in edges:
        kept[start:end] = end - start >= min(least, len(flags))
    return kept


def _true_peak(sound: Sound) -> float:
    if not len(sound.samples):
        return LOWEST_DB
    between = resample(sound, 4 * sound.rate).samples
    return _decibels(max(float(np.abs(wave).max(initial=0)) for wave in (sound.samples, between)) ** 2)


def _bands(centred: NDArray[np.float32], rate: int) -> tuple[float, float, float]:
    """Hz below which 99 % of the energy lie; energy above 7 kHz and below 60 Hz, dB relative to all."""
    size = max(round(_SPECTRUM_S * rate), 2)
    energy = np.zeros(size // 2 + 1)
    for block in spectra(centred, size, max(size // 2, 1)):
        energy += block.sum(0, dtype=np.float64)
    energy[1:] *= 2  # a real wave has them twice, its mean once
    total = float(energy.sum())
    if total <= 0:
        return 0.0, LOWEST_DB, LOWEST_DB
    frequency = np.arange(len(energy)) * rate / size
    bandwidth = float(frequency[np.searchsorted(np.cumsum(energy), _BANDWIDTH_SHARE * total)])
    treble, rumble = (float(energy[part].sum()) / total for part in (frequency > _HIGH_HZ, frequency < _LOW_HZ))
    return bandwidth, _decibels(treble), _decibels(rumble)


def _decibels(power: float) -> float:
    return float(10 * np.log10(max(power, 10 ** (LOWEST_DB / 10))))


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else 0.0


def _longest(flags: NDArray[np.bool_]) -> int:
    """Length of the longest run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))
