"""Speech taken apart into pitch, spectral envelope and breath, changed, and put together again.

Two engines, and which one is a parameter, never what happens to be installed. `world` measures envelope and breath and makes
the voice anew from them (WORLD: Morise et al. 2016). `stft` needs no library for it: it divides short spectra by their envelope
(true envelope: Röbel and Rodet 2005), sets what is left, a train of pulses, further apart or closer together (PSOLA: Moulines
and Charpentier 1990), and multiplies it with the new envelope. With both, what has no pitch (hiss, breath, the room) stays the
recording's own, but for a filter.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from forgeline.audio import resample
from forgeline.clip import Sound
from forgeline.errors import ParamsError
from generators.pitch import LOW, RATE, STEP, Doubles, pitch_of, runs

Floats = NDArray[np.float32]
Engine = Literal["world", "stft"]

FFT = 1024
BINS = FFT // 2 + 1
AT_ONCE = 2000
"""Frames (ten seconds) whose spectra are held in double precision at a time."""
_AROUND = 40
"""Frames beyond these that are looked at with them."""
_WINDOW = 6 * STEP
"""Samples of a short spectrum; six hops, so that its windows add up to one height."""
_EASE = 3
"""Frames over which voice begins or ends in what is put together."""
_ROUNDS = 8
"""Of the true envelope: its dips are filled in a little more with each."""
_BREATH = (-60.0, -0.1)
"""Decibels of aperiodicity that a voice may have at 3 kHz."""

Change = Callable[[slice], Floats]
"""What to add to the envelopes (n, BINS) of some frames."""


@dataclass(frozen=True)
class Speech:
    """Speech as `analyse` takes it apart, one frame every STEP samples.

    `samples` float64 (n,) at RATE; `pitch` Hz (frames,), 0 where there is no voice; `envelope` (frames, BINS): natural
    logarithms of power; `breath` (frames,): decibels of what is not periodic at 3 kHz (of `world` only, else 0).
    """

    samples: Doubles
    pitch: Doubles
    envelope: Floats
    breath: Floats

    @property
    def voiced(self) -> NDArray[np.bool_]:
        """Where there is a pitch, bool (frames,)."""
        return self.pitch > 0


def analyse(sound: Sound, engine: Engine) -> Speech:
    """A sound at any rate, taken apart at RATE. 60 MB a minute. Raises ParamsError where `world` is not installed."""
    if engine == "world":
        _world()
    samples = np.asarray(resample(sound, RATE).samples, np.float64)
    pitch = pitch_of(samples)
    envelope, breath = np.zeros((len(pitch), BINS), np.float32), np.zeros(len(pitch), np.float32)
    for part in _parts(len(pitch)):
        if engine == "world":
            envelope[part], breath[part] = _measured(samples, pitch, part)
        else:
            envelope[part] = _true_envelope(_spectra(samples, part), pitch[part])
    return Speech(samples, pitch, envelope, breath)


def synthesise(speech: Speech, engine: Engine, pitch: Doubles, change: Change, breath: float = 0.0) -> Doubles:
    """The samples (n,) with another `pitch` (frames,), voiced where it was, and `change` added to the envelopes.

    `breath` decibels are added to what is not periodic, by `world` only. Voiced parts together are as loud as they were.
    """
    voice = _eased(speech.voiced)
    shares = np.interp(np.arange(len(speech.samples)), np.arange(len(voice)) * STEP, voice)
    made = _filtered(speech.samples, lambda part: change(part) * (1 - voice[part, None]), len(voice))
    if engine == "world":
        said = _spoken(speech, pitch, change, breath)
    else:
        flat = _filtered(speech.samples, lambda part: -speech.envelope[part], len(voice))
        said = _pulsed(flat, speech, pitch)
        said = _filtered(said, lambda part: speech.envelope[part] + change(part), len(voice))
    before, after = (float(np.sum(shares * np.square(x))) for x in (speech.samples, said))
    louder = np.sqrt(before / after) if after > 0 else 1.0
    return np.asarray(made * (1 - shares) + said * (louder * shares))


def _parts(frames: int) -> Iterator[slice]:
    return (slice(first, min(first + AT_ONCE, frames)) for first in range(0, frames, AT_ONCE))


def _eased(voiced: NDArray[np.bool_]) -> Floats:
    """1 where there is voice, falling to 0 in the frames around."""
    wide = np.convolve(voiced, np.ones(2 * _EASE + 1), "same") > 0
    return np.convolve(np.pad(wide, _EASE, "edge"), np.ones(2 * _EASE + 1) / (2 * _EASE + 1), "valid").astype(np.float32)


# --- Short spectra


def _spectra(samples: Doubles, part: slice) -> NDArray[np.complex128]:
    """Spectra (n, BINS) of the pieces around some frames, each in the middle of its FFT."""
    first, end = part.start * STEP - _WINDOW // 2, (part.stop - 1) * STEP + _WINDOW // 2
    around = np.pad(samples[max(first, 0) : end], (max(-first, 0), max(end - len(samples), 0)))
    pieces = np.lib.stride_tricks.sliding_window_view(around, _WINDOW)[::STEP] * _WINDOWED
    edge = (FFT - _WINDOW) // 2
    return np.asarray(np.fft.rfft(np.pad(pieces, ((0, 0), (edge, FFT - _WINDOW - edge)))))


_WINDOWED = np.hanning(_WINDOW + 1)[:-1]


def _filtered(samples: Doubles, change: Change, frames: int) -> Doubles:
    """The samples after `change` was added to the logarithms of their short spectra's power."""
    hops = -(-FFT // STEP)
    total = np.zeros((frames + hops, STEP))
    for part in _parts(frames):
        spectra = _spectra(samples, part) * np.exp(change(part) / 2)
        pieces = np.pad(np.fft.irfft(spectra), ((0, 0), (0, hops * STEP - FFT))).reshape(-1, hops, STEP)
        for hop in range(hops):
            total[part.start + hop : part.stop + hop] += pieces[:, hop]
    inner = slice(FFT // 2, FFT // 2 + len(samples))
    return np.asarray(total.ravel()[inner] / _height(len(samples), frames))


def _height(length: int, frames: int) -> Doubles:
    """What all windows add up to at each of so many samples: less at both ends, where there are fewer."""
    height = np.zeros((frames + 5, STEP))
    for hop in range(6):
        height[hop : hop + frames] += _WINDOWED[hop * STEP : (hop + 1) * STEP]
    return height.ravel()[_WINDOW // 2 : _WINDOW // 2 + length]


def _true_envelope(spectra: NDArray[np.complex128], pitch: Doubles) -> Floats:
    """Logarithms of power (n, BINS): the smoothest curve over the harmonics' tops, as fine as the `pitch` (n,) allows."""
    power = np.log(np.square(np.abs(spectra)) + 1e-12)
    finest = np.where(pitch > 0, 0.5 * RATE / np.maximum(pitch, 1), 40)[:, None]
    order = np.minimum(np.arange(FFT), FFT - np.arange(FFT))
    kept = np.clip((1.25 * finest - order) / (0.5 * finest), 0, 1)
    smooth = power
    for _ in range(_ROUNDS):
        smooth = np.fft.rfft(np.fft.irfft(np.maximum(power, smooth)) * kept).real
    return np.asarray(smooth, np.float32)


# --- What is voiced


def _sung(speech: Speech, pitch: Doubles) -> Iterator[tuple[int, int, Doubles]]:
    """Stretches of frames in which there is some voice, with a pitch for each of their frames."""
    voiced = np.flatnonzero(speech.voiced)
    for first, end in runs(_eased(speech.voiced) > 0):
        yield first, end, np.exp(np.interp(np.arange(first, end), voiced, np.log(pitch[voiced])))


# --- By pulses set anew


def _pulsed(flat: Doubles, speech: Speech, pitch: Doubles) -> Doubles:
    """A signal without envelope whose voiced parts have another pitch."""
    out = flat * (1 - np.interp(np.arange(len(flat)), np.arange(len(pitch)) * STEP, _eased(speech.voiced)))
    before = {first: hertz for first, _, hertz in _sung(speech, speech.pitch)}
    for first, end, hertz in _sung(speech, pitch):
        start, stop = first * STEP, min(end * STEP, len(flat))
        if stop - start > RATE / LOW:
            fade = np.interp(np.arange(start, stop), np.arange(len(pitch)) * STEP, _eased(speech.voiced))
            out[start:stop] += fade * _rearranged(flat[start:stop], RATE / before[first], RATE / hertz)
    return out


def _rearranged(flat: Doubles, period: Doubles, wanted: Doubles) -> Doubles:
    """A voiced stretch with pulses every `wanted` samples, where they were every `period` samples: one of each a frame."""
    marks = _marks(flat, period)
    out = np.zeros(len(flat))
    at = float(marks[0] % wanted[0])
    while at < len(flat):
        frame = min(int(at) // STEP, len(wanted) - 1)
        mark, half = int(marks[np.abs(marks - at).argmin()]), round(period[frame])
        into = round(at)
        low = -min(half, mark, into)
        high = min(half, len(flat) - mark, len(flat) - into)
        window = 0.5 + 0.5 * np.cos(np.pi * np.arange(low, high) / half)
        out[into + low : into + high] += flat[mark + low : mark + high] * window * np.sqrt(wanted[frame] / period[frame])
        at += wanted[frame]
    return out


def _marks(flat: Doubles, period: Doubles) -> NDArray[np.int64]:
    """Where the pulses are, a `period` apart or nearly so: from the highest one to both sides."""
    upright = flat if np.sum(flat**3) >= 0 else -flat
    start = int(upright.argmax())
    found = [start]
    for way in (1, -1):
        at = start
        while True:
            length = period[min(at // STEP, len(period) - 1)]
            low, high = (round(at + way * share * length) for share in ((0.8, 1.2) if way > 0 else (1.2, 0.8)))
            if low < 0 or high >= len(flat):
                break
            near = upright[low : high + 1]
            likely = 1 - 0.5 * np.abs(np.linspace(-1, 1, len(near)))
            at = low + int(np.argmax((near - near.min()) * likely))
            found.append(at)
    return np.array(sorted(found))


# --- By WORLD


def _world() -> Any:
    """The module. Raises ParamsError where it is not installed."""
    try:
        import pyworld
    except ImportError as error:
        todo = "run: pip install pyworld-prebuilt, or set engine: stft, which makes other sound"
        raise ParamsError("pyworld", f"the engine world can't be used ({error})", todo) from error
    return pyworld


def _measured(samples: Doubles, pitch: Doubles, part: slice) -> tuple[Floats, Floats]:
    """Envelope (n, BINS) and breath (n,) of some frames."""
    world = _world()
    first, end = max(part.start - _AROUND, 0), min(part.stop + _AROUND, len(pitch))
    piece, hertz = np.ascontiguousarray(samples[first * STEP : end * STEP]), np.ascontiguousarray(pitch[first:end])
    times = np.arange(len(hertz)) * (STEP / RATE)
    power = world.cheaptrick(piece, hertz, times, RATE, fft_size=FFT)
    breath = world.code_aperiodicity(world.d4c(piece, hertz, times, RATE, threshold=0.0, fft_size=FFT), RATE)
    inner = slice(part.start - first, part.stop - first)
    return np.log(power[inner]).astype(np.float32), breath[inner, 0].astype(np.float32)


def _spoken(speech: Speech, pitch: Doubles, change: Change, breath: float) -> Doubles:
    """The voiced parts made anew; zeros where there is no voice."""
    world = _world()
    total = np.zeros(len(speech.samples))
    overlap = 2 * _EASE
    for first, end, hertz in _sung(speech, pitch):
        for start in range(first, end, AT_ONCE):
            stop = min(start + AT_ONCE + overlap, end)
            part = slice(start, stop)
            power = np.exp(speech.envelope[part].astype(np.float64) + change(part))
            coded = np.clip(speech.breath[part, None].astype(np.float64) + breath, *_BREATH)
            noise = world.decode_aperiodicity(np.ascontiguousarray(coded), RATE, FFT)
            made = world.synthesize(
                np.ascontiguousarray(hertz[start - first : stop - first]), power, noise, RATE, 1000 * STEP / RATE
            )
            into = total[start * STEP : stop * STEP]
            made = made[: len(into)]
            ramp = np.linspace(0, 1, overlap * STEP)
            if start > first:
                made[: len(ramp)] *= ramp[: len(made)]
            if stop < end:
                made[len(made) - len(ramp) :] *= ramp[::-1]
            into[: len(made)] += made
    return total
