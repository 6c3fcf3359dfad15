"""Steady noise taken out of speech without making it worse: FFmpeg's `afftdn`, told what the noise is.

By its usual settings that filter does next to nothing, and told of more noise than there is it takes speech away. Here it
hears the noise of the sound's own pauses first; where there are none nothing is done. What is gained in dB is in
docs/real-data.md: it is less the less noise there is, and may be a loss where speech is 20 dB above it or more.
"""

import numpy as np
from numpy.typing import NDArray

from forgeline.activity import STEP_S, activity
from forgeline.audio import filtered
from forgeline.clip import Sound

REDUCTION_DB = 12
"""Decibels, at most, by which noise is made quieter: more gains nothing where there is little of it."""
LEAST_PAUSE_S = 0.3
"""Seconds of pauses that there have to be to know the noise by."""

_PIECE_S, _SHOWN_S = 0.1, 2.0  # pieces of pauses are joined to so much noise, which goes ahead of the sound
_LEVEL_DB = -50  # of full scale, to which noise is brought: the filter knows none below -80
_SILENCE = 1e-10  # mean square: that of dither
_HOPS = 80  # a second, of the filter; it gives each sample two hops late


def denoised(sound: Sound) -> Sound | None:
    """The sound with less noise, as long as it was and in step with it; None where its pauses do not tell the noise.

    Same input, same samples. A minute takes 0.3 s and three times its samples.
    """
    noise = _noise(sound)
    if noise is None:
        return None
    rate, count = sound.rate, len(sound.samples)
    scale = np.float32(10 ** (_LEVEL_DB / 20) / np.sqrt(np.mean(np.square(noise, dtype=np.float64))))
    delay = 2 * (rate // _HOPS)
    whole = np.concatenate([noise, sound.samples, np.zeros(4 * delay, np.float32)]) * scale
    shown = f"c='{_PIECE_S} afftdn sn start; {_SHOWN_S - _PIECE_S} afftdn sn stop'"
    quiet = filtered(Sound(whole, rate), ("asendcmd", shown), ("afftdn", f"nr={REDUCTION_DB}:nf={_LEVEL_DB}")).samples
    return Sound(quiet[len(noise) + delay :][:count] / scale, rate)


def _noise(sound: Sound) -> NDArray[np.float32] | None:
    """Two seconds of a sound's pauses, whose pieces fade into each other; None without pauses, or where these are silent."""
    rate, size = sound.rate, 2 * round(_PIECE_S / 2 * sound.rate)
    step = round(STEP_S * rate)
    pauses = ~activity(sound).speech
    wide = round(_PIECE_S / STEP_S)
    if pauses.sum() * STEP_S < LEAST_PAUSE_S or len(pauses) <= wide:
        return None
    whole = np.flatnonzero(np.lib.stride_tricks.sliding_window_view(pauses, wide).all(1))
    starts = [start for start in whole * step if start + size <= len(sound.samples)]
    if not starts:
        return None
    pieces = np.stack([sound.samples[start : start + size] for start in starts[:: max(len(starts) // 64, 1)]])
    if not float(np.median(np.square(pieces).mean(1))) > _SILENCE:
        return None
    window = np.sin(np.pi * (np.arange(size) + 0.5) / size).astype(np.float32)
    noise = np.zeros(round(_SHOWN_S * rate), np.float32)
    chosen = np.random.default_rng(0).integers(len(pieces), size=len(noise))
    for number, start in enumerate(range(0, len(noise) - size, size // 2)):
        noise[start : start + size] += window * pieces[chosen[number]]
    return noise
