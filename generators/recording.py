"""When a recording speaks, how loud and in what room; and other speech put in the place of its own.

Forged speech takes the very span in which the recording speaks, at its level, in its room. What lies further than AROUND_S from
it stays the recording itself, so that neither silence nor level nor noise tells a forgery; what was changed is its exact truth.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forgeline.audio import filtered, resample
from forgeline.clip import Clip, Said, Segment, Sound
from forgeline.errors import MediaError
from forgeline.hearing import span
from generators.plugin import sound_of

Floats = NDArray[np.float32]

SHORTEST_S = 0.08
"""Seconds; what is shorter is not taken for speech."""
AROUND_S = 0.25
"""Seconds before and after what counts as speech in which only the room is left."""
MOST_STRETCHED = 2.0
"""Times; speech that is further from the length it has to fill is refused."""

_RUMBLE_HZ = 50.0
_FADE_S = 0.01
_HEARD_HZ = 16000  # samples a second: what lies above the half of it says nothing of when somebody speaks
_NEAR_S, _TRIES = 0.004, 8  # how near silences are brought to the recording's: less than a step of what is measured
_MOST_CUT = 0.2  # of the speech, at either end
_HOP = 256  # samples
_WINDOW = np.sin(np.pi * (np.arange(2 * _HOP) + 0.5) / (2 * _HOP)).astype(np.float32)
_FLOOR_SHARE = 0.1  # of the frames, the quietest, hold the room alone
_LEFT = 0.05  # of what is no louder than the speech's own room


@dataclass(frozen=True)
class Placed:
    """Speech in its new place: the whole `sound`, when it begins and ends there, how many times as fast it was made, and from
    when to when the sound was `changed`."""

    sound: Sound
    start_s: float
    end_s: float
    changed: tuple[float, float]
    speed: float
    _before_s: float

    @property
    def segments(self) -> tuple[Segment, ...]:
        """What is not the recording's own any more."""
        return (Segment(*self.changed, "audio"),)

    def when(self, said: Said) -> Said:
        """The same word or phoneme at its new time, no longer than the speech."""
        start, end = (
            min(max(self.start_s + (at - self._before_s) / self.speed, self.start_s), self.end_s)
            for at in (said.start_s, said.end_s)
        )
        return Said(start, end, said.text)

    def all_of(self, said: Iterable[Said]) -> tuple[Said, ...]:
        """Those of the words or phonemes that are heard in the new place, at their new times."""
        return tuple(one for one in map(self.when, said) if one.end_s > one.start_s)


def speech_span(sound: Sound) -> tuple[float, float]:
    """When a recording speaks, in seconds, as `forgeline.hearing` defines it, of what lies below 8 kHz.

    Raises MediaError when it never does.
    """
    found = _span(sound)
    if found is None:
        raise MediaError(
            "sound", "says nothing that stands out of its noise", "leave it out of the methods that work on voices"
        )
    return found


def _span(sound: Sound) -> tuple[float, float] | None:
    """At the rate of most releases: a hiss that is not there would move the level that others are compared with."""
    return span(resample(sound, _HEARD_HZ) if sound.rate > _HEARD_HZ else sound)


def placed(speech: Sound, recording: Sound, rng: np.random.Generator, within: tuple[float, float] | None = None) -> Placed:
    """`speech` in place of what the recording says, or of what it says `within` two times (seconds).

    Rate and length stay the recording's. The speech loses the silence around it, what is too soft there to be heard at its
    beginning and end, and the noise of its own room, is stretched to that time (FFmpeg's atempo, which overlaps and adds waves
    that fit) and brought to the level of what was said there. The recording's room is put under it, with noise drawn from
    `rng`, and its own rumble below 50 Hz. Raises MediaError when one of the two says nothing, or the lengths are more than
    twice apart.
    """
    start_s, end_s = within or speech_span(recording)
    rate = recording.rate
    begins, ends = speech_span(speech)
    spoken = resample(speech, rate).samples[round(begins * rate) : round(ends * rate)]
    start, end = round(start_s * rate), min(round(end_s * rate), len(recording.samples))
    replaced = recording.samples[start:end]
    if len(replaced) < SHORTEST_S * rate or len(spoken) < SHORTEST_S * rate:
        raise MediaError("sound", "says too little to be replaced", "leave it out of the methods that work on voices")
    speed = len(spoken) / len(replaced)
    if not 1 / MOST_STRETCHED <= speed <= MOST_STRETCHED:
        what = f"says for {(end - start) / rate:.2f} s what is to be said in {len(spoken) / rate:.2f} s"
        raise MediaError("sound", what, f"pair what is no more than {MOST_STRETCHED:g} times as long")
    clean = _without_room(spoken, resample(speech, rate).samples)
    # Around the span it speaks softly, too: beside other speech that might be heard.
    around = 0 if within else round(AROUND_S * rate)
    first, last = max(start - around, 0), min(end + around, len(recording.samples))
    room, rumble = _room(recording.samples, last - first, rng), _rumble(recording, first, last)

    def put(cut: tuple[int, int]) -> Floats:
        part = clean[cut[0] : len(clean) - cut[1]]
        fitted = _stretched(part, rate, len(part) / len(replaced), len(replaced))
        fitted *= np.float32(_loud(replaced) / max(_loud(fitted), 1e-9))
        made = room.copy()
        made[start - first : end - first] += _faded(fitted, rate)
        made += rumble - _rumble(Sound(made, rate), 0, len(made))
        share = _faded(np.ones(len(made), np.float32), rate)
        samples = recording.samples.copy()
        samples[first:last] = share * made + (1 - share) * samples[first:last]
        peak = float(np.abs(samples).max())
        return samples / np.float32(peak) if peak > 1 else samples  # the whole of it, so that the level stays even

    cut = (0, 0) if within else _inaudible(put, rate, len(clean), speed, (start_s, end_s))
    left = len(clean) - sum(cut)
    moved = (first / rate, last / rate)
    return Placed(Sound(put(cut), rate), start / rate, end / rate, moved, left / len(replaced), begins + cut[0] / rate)


def _inaudible(
    put: Callable[[tuple[int, int]], Floats], rate: int, length: int, speed: float, wanted: tuple[float, float]
) -> tuple[int, int]:
    """How many samples to leave out, at the beginning and the end, of speech of this length and speed that is to be heard from
    one time to another (seconds), so that it is.

    What counted as speech in its own room may be too soft for another, and its edges are faded: left whole, it would be heard
    later than what was said there, and never sooner, in every forgery.
    """
    best, least, cut = (0, 0), np.inf, (0, 0)
    most = min(int(_MOST_CUT * length), int((length - length / speed / MOST_STRETCHED) / 2))
    for _ in range(_TRIES):
        found = _span(Sound(put(cut), rate))
        if found is None:
            break
        late, early = found[0] - wanted[0], wanted[1] - found[1]
        if abs(late) + abs(early) < least:
            best, least = cut, abs(late) + abs(early)
        if least < _NEAR_S:
            break
        before, after = (round(was + by * rate * speed) for was, by in zip(cut, (late, early), strict=True))
        cut = min(max(before, 0), most), min(max(after, 0), most)
    return best


def _faded(samples: Floats, rate: int) -> Floats:
    """The samples with soft ends."""
    edge = max(min(round(_FADE_S * rate), len(samples) // 4), 1)
    rise = np.sin(np.linspace(0, np.pi / 2, edge, dtype=np.float32)) ** 2
    faded = samples.copy()
    faded[:edge] *= rise
    faded[-edge:] *= rise[::-1]
    return faded


def _rumble(sound: Sound, start: int, end: int) -> Floats:
    """What of these samples lies below any voice: trains and air conditions go on while others speak."""
    # As a Butterworth filter of order 8 has it, but without delay, for which the whole spectrum is at hand.
    hertz = np.fft.rfftfreq(len(sound.samples), 1 / sound.rate)
    low = np.fft.irfft(np.fft.rfft(sound.samples) / (1 + (hertz / _RUMBLE_HZ) ** 8), len(sound.samples))
    return low.astype(np.float32)[start:end]


def _loud(samples: Floats) -> float:
    """Root mean square of the louder half of 20 ms pieces, whatever the rate may be: pauses do not count."""
    power = np.square(samples, dtype=np.float64)
    pieces = np.array([piece.mean() for piece in np.array_split(power, max(len(power) // 400, 1))])
    return float(np.sqrt(pieces[pieces >= np.median(pieces)].mean()))


def _stretched(samples: Floats, rate: int, speed: float, length: int) -> Floats:
    """The samples `speed` times as fast, and exactly so many."""
    if abs(speed - 1) > 0.005:
        samples = filtered(Sound(samples, rate), ("atempo", f"{speed:.6f}")).samples
    fitted = np.zeros(length, np.float32)
    fitted[: len(samples)] = samples[:length]
    return fitted


def _spectra(samples: Floats) -> NDArray[np.complex64]:
    """(frames, bands) under a window whose square adds up to one, hop by hop."""
    count = -(-len(samples) // _HOP) + 1
    padded = np.zeros((count + 1) * _HOP, np.float32)
    padded[_HOP : _HOP + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * _HOP)[::_HOP]
    return np.fft.rfft(frames * _WINDOW).astype(np.complex64)


def _wave(spectra: NDArray[np.complex64], length: int) -> Floats:
    """The inverse of `_spectra`."""
    halves = (np.fft.irfft(spectra).astype(np.float32) * _WINDOW).reshape(-1, 2, _HOP)
    return (halves[:-1, 1] + halves[1:, 0]).ravel()[:length]


def _floor(spectra: NDArray[np.complex64]) -> Floats:
    """(bands,) root mean power of the quietest frames."""
    power = np.square(np.abs(spectra))
    order = np.argsort(power.sum(1), kind="stable")
    quiet = order[: max(int(_FLOOR_SHARE * len(order)), 1)]
    floor: Floats = np.sqrt(power[quiet].mean(0))
    return floor


def _without_room(spoken: Floats, whole: Floats) -> Floats:
    """Speech without the noise that is left where all of its sound is quietest: spectral subtraction (Boll 1979)."""
    floor = _floor(_spectra(whole))
    if not floor.max() > 1e-6:
        return spoken
    spectra = _spectra(spoken)
    gain = np.sqrt(np.clip(1 - np.square(2 * floor / np.maximum(np.abs(spectra), 1e-9)), _LEFT**2, 1))
    return _wave(spectra * gain.astype(np.float32), len(spoken))


def _room(recording: Floats, length: int, rng: np.random.Generator) -> Floats:
    """Noise as long as asked, with the spectrum of the recording where it is quietest."""
    floor = _floor(_spectra(recording))
    white = _spectra(rng.standard_normal(length).astype(np.float32))
    return _wave((white * (floor / np.sqrt(np.square(np.abs(white)).mean()))).astype(np.complex64), length)


def dubbed(target: Clip, speaker: Clip, rng: np.random.Generator) -> tuple[Placed, tuple[Said, ...], tuple[Said, ...]]:
    """The speaker's speech where the target speaks, and its words and phonemes at their new times. MediaError as `placed`."""
    put = placed(sound_of(speaker), sound_of(target), rng)
    words, phonemes = (put.all_of(said) for said in (speaker.words, speaker.phonemes))
    return put, words, phonemes
