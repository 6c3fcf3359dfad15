"""When somebody speaks in a sound, and how far that stands out of its noise.

A voice activity detector by likelihoods, after Sohn and Sung (A Voice Activity Detector Employing Soft Decision Based Noise
Spectrum Adaptation, ICASSP 1998, section 2): how much likelier is a spectrum with speech in it than one of the noise alone? The
noise is what the quietest tenth of the sound shows, so noise that swells counts as speech. It knows nothing of languages and
voices: music and doors are speech to it, too.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgeline.audio import loudness, resample
from forgeline.clip import Sound
from forgeline.hearing import span, spectra

STEP_S = 0.01
"""Seconds from frame to frame of what `activity` tells."""
LEAST_SNR_DB, MOST_SNR_DB = -20.0, 80.0
"""What a ratio to the noise is kept within, and what stands for no speech and for no noise."""

_RATE, _WINDOW_S = 16000, 0.032
_AUDIBLE_HZ, _VOICE_HZ = 100, 4000  # rumble is neither speech nor noise; above, most rooms' noise has other colours
_QUIETEST = 0.1  # of the frames
_SILENCE = 1e-8  # power of a frame of 512 samples that dither is far above: no room is known by it
_SPEECH, _FAR = 0.95, 1e-3  # of the frames; 30 dB below, which is breath, as `forgeline.hearing` has it
_LIKELIER = 0.6  # mean of the logarithms over the bins; noise alone reaches 0.2
_SHORTEST_S, _JOINED_S = 0.05, 0.2  # a click is no speech; the stop in the middle of a word is
_KNOWN_S = 0.2  # of noise, to measure it by
_MOST_RATIO = 1e3


@dataclass(frozen=True, eq=False)
class Activity:
    """`speech` bool (frames,): whether somebody speaks, each `STEP_S`; `snr_db`, speech to noise from 100 Hz to 8 kHz."""

    speech: NDArray[np.bool_]
    snr_db: float

    @property
    def seconds(self) -> float:
        """How long somebody speaks."""
        return float(self.speech.sum()) * STEP_S


def activity(sound: Sound) -> Activity:
    """When somebody speaks in a sound of any length and rate; never in silence. Noise that never pauses is taken for none.

    A minute takes 0.1 s and, beside its samples at 16 kHz, as much again.
    """
    samples = resample(sound, _RATE).samples
    window, step = round(_WINDOW_S * _RATE), round(STEP_S * _RATE)
    # A frame stands for its middle.
    padded = np.pad(samples, (window // 2, window // 2))
    frequency = np.fft.rfftfreq(window, 1 / _RATE)
    heard, voiced = frequency >= _AUDIBLE_HZ, (frequency >= _AUDIBLE_HZ) & (frequency <= _VOICE_HZ)
    power = np.concatenate([block[:, heard].sum(1, dtype=np.float64) for block in spectra(padded, window, step)])
    sounding = power > _SILENCE
    if not sounding.any():
        return Activity(np.zeros(len(power), np.bool_), LEAST_SNR_DB)
    quiet = sounding & (power <= np.quantile(power[sounding], _QUIETEST))
    noise, at = np.zeros(voiced.sum()), 0
    for block in spectra(padded, window, step):
        noise += block[quiet[at : at + len(block)]][:, voiced].sum(0, dtype=np.float64)
        at += len(block)
    noise = np.maximum(noise / quiet.sum(), _SILENCE / len(noise))
    likelier = np.concatenate([_ratio(block[:, voiced] / noise) for block in spectra(padded, window, step)])
    near = power > _FAR * np.quantile(power, _SPEECH)
    speech = _without_runs(near & (likelier > _LIKELIER), False, round(_JOINED_S / STEP_S))
    speech = _without_runs(speech, True, round(_SHORTEST_S / STEP_S))
    return Activity(speech, _snr(power, speech, quiet))


def _ratio(over_noise: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean over the bins of the logarithm of how much likelier speech makes them, its power being the likeliest there is."""
    over = np.clip(over_noise, 1, _MOST_RATIO)
    return np.asarray((over - np.log(over) - 1).mean(1), np.float64)


def _without_runs(flags: NDArray[np.bool_], value: bool, least: int) -> NDArray[np.bool_]:
    """The flags, where runs of `value` that are shorter than `least` are turned; of False only those between others."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags == value, [False]]).astype(np.int8))).reshape(-1, 2)
    kept = flags.copy()
    for start, end in edges:
        if end - start < least and (value or 0 < start < end < len(flags)):
            kept[start:end] = not value
    return kept


def _snr(power: NDArray[np.float64], speech: NDArray[np.bool_], quiet: NDArray[np.bool_]) -> float:
    """Decibels of what the frames of speech have more than the noise, over the noise."""
    if not speech.any():
        return LEAST_SNR_DB
    pauses = ~speech if (~speech).sum() * STEP_S >= _KNOWN_S else quiet
    noise = float(power[pauses].mean())
    ratio = 10 * np.log10(max(float(power[speech].mean()) / max(noise, 1e-30) - 1, 1e-9))
    return float(np.clip(ratio, LEAST_SNR_DB, MOST_SNR_DB))


def heard(sound: Sound) -> dict[str, float]:
    """What a recording's sound is like, as the scores of its row have it, of any length and rate, silence as well.

    A minute takes 0.2 s and 16 MB beside its samples.

    `loudness_lufs` as `forgeline.audio.loudness` has it (EBU R 128); `leading_silence_s` and `trailing_silence_s` as
    `forgeline.hearing` does, of what lies below 8 kHz; `speech_s` and `snr_db` as `activity` does.
    """
    level = loudness(sound)
    low = Sound(resample(sound, _RATE).samples, _RATE)
    seconds = len(low.samples) / _RATE
    start, end = span(low) or (seconds, 0.0)
    spoken = activity(low)
    told = {
        "loudness_lufs": level,
        "leading_silence_s": start,
        "trailing_silence_s": seconds - end,
        "speech_s": spoken.seconds,
        "snr_db": spoken.snr_db,
    }
    return {name: round(value, 3) for name, value in told.items()}
