"""The pitch of a voice, five milliseconds by five milliseconds, and where there is none.

By the autocorrelation of short pieces, divided by that of their window (Boersma 1993), and the likeliest way through all
pieces' peaks (Talkin 1995). A voice keeps within an octave or so of its middle, which the first way tells: a second way
prefers what lies near it (after De Looze and Hirst 2008). Without that, creaks and harmonics are taken for the voice one octave
off, and a voice's mean and spread, by which another one is brought to it, are wrong.
"""

import numpy as np
from numpy.typing import NDArray

RATE = 16000
"""Hz at which speech is worked on: all that the factory's sound keeps."""
STEP = 80
"""Samples from one frame to the next; frame `i` is around sample `i * STEP`."""
LOW, HIGH = 60.0, 500.0
"""Hz."""

Doubles = NDArray[np.float64]

_WINDOW, _FFT = 640, 2048
_AT_ONCE = 2000
"""Frames analysed in one go."""
_WAYS = 5
"""Peaks that a frame may take its pitch from."""
_VOICED = 0.45
"""Share of a frame that has to be periodic; more in one that is quiet beside the loudest."""
_QUIET = 0.05
"""Of the loudest twentieth's level, below which frames are the less likely to be voiced."""
_OCTAVE = 0.03
"""By how much of a peak the higher one of two octaves is preferred."""
_LEAP, _TURN = 1.5, 0.12
"""What an octave's leap costs from one frame to the next, and what the beginning or end of voice does."""
_HOME = 0.25
"""What an octave's distance from the voice's middle costs."""
_SHORTEST = 6
"""Frames of voice on end, below which it is noise that repeated itself by chance."""


def pitch_of(samples: Doubles) -> Doubles:
    """Hz (len // STEP + 1,) of mono samples (n,) at RATE, LOW to HIGH; 0 where there is no voice."""
    from scipy.signal import butter, sosfiltfilt

    band = sosfiltfilt(butter(2, [70, 1000], "bandpass", fs=RATE, output="sos"), np.pad(samples, _WINDOW // 2))
    pieces = np.lib.stride_tricks.sliding_window_view(np.pad(band, (0, STEP)), _WINDOW)[::STEP][: len(samples) // STEP + 1]
    parts = [_peaks(pieces[first : first + _AT_ONCE]) for first in range(0, len(pieces), _AT_ONCE)]
    hertz, strength, level = (np.concatenate(column) for column in zip(*parts, strict=True))
    loudest = np.percentile(level, 95)
    silent = _VOICED + np.maximum(1 - level / (_QUIET * loudest + 1e-9), 0)
    first = _way(hertz, strength, silent)
    if not first.any():
        return first
    found = _way(hertz, strength - _HOME * np.square(np.log2(hertz / np.median(first[first > 0]))), silent)
    for start, end in runs(found > 0):
        if end - start < _SHORTEST:
            found[start:end] = 0
    return found


def runs(flags: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """The first of each run of set flags (n,), and the one after its last."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def _peaks(pieces: NDArray[np.float64]) -> tuple[Doubles, Doubles, Doubles]:
    """Of pieces (n, _WINDOW): the pitches of their highest peaks (n, _WAYS), the peaks' heights, and the levels (n,)."""
    low, high = int(RATE / HIGH), int(RATE / LOW) + 1
    window = np.hanning(_WINDOW)
    own = np.fft.irfft(np.square(np.abs(np.fft.rfft(window, _FFT))))[: high + 2]
    alike = np.fft.irfft(np.square(np.abs(np.fft.rfft(pieces * window, _FFT))))[:, : high + 2]
    level = np.sqrt(np.maximum(alike[:, 0], 0))
    alike = alike / (alike[:, :1] + 1e-12) * (own[0] / own)
    middle = alike[:, low : high + 1]
    peak = (middle >= alike[:, low - 1 : high]) & (middle > alike[:, low + 1 : high + 2]) & (middle > 0.2)
    height = np.where(peak, middle + _OCTAVE * np.log2(RATE / 100 / np.arange(low, high + 1)), -10.0)
    best = np.argsort(-height, 1, kind="stable")[:, :_WAYS]
    rows, lag = np.arange(len(pieces))[:, None], best + low
    before, at, after = (alike[rows, lag + by] for by in (-1, 0, 1))
    bend = before - 2 * at + after
    between = np.clip(0.5 * (before - after) / np.where(np.abs(bend) < 1e-9, -1e-9, bend), -0.5, 0.5)
    return RATE / (lag + between), height[rows, best], level


def _way(hertz: Doubles, strength: Doubles, silent: Doubles) -> Doubles:
    """The pitches (n,) along the way of the greatest sum; `silent` (n,) is what a frame without voice is worth."""
    count, ways = hertz.shape
    octaves = np.log2(hertz)
    came = np.zeros((count, ways + 1), np.intp)
    worth = np.concatenate([strength, silent[:, None]], 1)
    step, everyone = np.zeros((ways + 1, ways + 1)), np.arange(ways + 1)
    step[-1, :-1] = step[:-1, -1] = -_TURN
    best = worth[0]
    for frame in range(1, count):
        step[:-1, :-1] = -_LEAP * np.abs(octaves[frame - 1][:, None] - octaves[frame])
        sums = best[:, None] + step
        came[frame] = sums.argmax(0)
        best = sums[came[frame], everyone] + worth[frame]
    at, found = int(best.argmax()), np.zeros(count)
    for frame in range(count - 1, -1, -1):
        found[frame] = hertz[frame, at] if at < ways else 0.0
        at = int(came[frame, at])
    return found
