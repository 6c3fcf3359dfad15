"""Sound on its own: fitting to a duration and resampling."""

import numpy as np

from forgeline.clip import Sound


def resample(sound: Sound, rate: int) -> Sound:
    """The sound at `rate` Hz, by soxr's high quality resampler."""
    if sound.rate == rate:
        return sound
    import soxr

    return Sound(np.asarray(soxr.resample(sound.samples, sound.rate, rate, quality="HQ"), np.float32), rate)


def fit(sound: Sound, seconds: float) -> Sound:
    """The sound cut, or padded with silence, to exactly `round(seconds * rate)` samples."""
    samples = np.zeros(round(seconds * sound.rate), np.float32)
    part = sound.samples[: len(samples)]
    samples[: len(part)] = part
    return Sound(samples, sound.rate)
