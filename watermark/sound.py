"""The mark in sound: a keyed, noise-like carrier that repeats every 1.024 s and follows the host's short-time spectrum.

The carrier is defined in Hz (300 to 4000), and found in sound of any rate: all work is done at 16 kHz, and what is added
is brought up to the host's rate, so that nothing above changes. A part of its frequencies, known to every holder of the
master key, says where a period begins and how fast the sound is played; the others carry the code bits, each spread
over many frequencies with signs of the shard's key.

The reader evens out the short-time spectrum, adds up all periods, and finds their beginning by one correlation. Where
that fails it searches for another speed of playing. The marker looks at its own result through the reader's eyes: it
strengthens the code bits that this very sound speaks against. How strong the whole is beside its host is always the same,
enough for a recorded voice through noise like a codec's: a rendered voice would do with less, and a mark that were as faint as
its voice allows would tell the two apart.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy import fft
from numpy.typing import NDArray

from forgeline.audio import resample
from forgeline.clip import Sound
from forgeline.errors import MediaError
from watermark.evidence import score
from watermark.keys import ShardKey
from watermark.payload import MAC_BITS, Mark, Soft, code_length, decode, encode, payload, proven

Wave = NDArray[np.float32]
"""(samples,) sound at 16 kHz."""

Spectra = NDArray[np.complex64]
"""(frames, bands) short-time spectrum of a wave, 31.25 Hz a band, within the carrier's reach."""

Bins = NDArray[np.complex64]
"""(bins,) what sound shows at the carrier's frequencies, evened out to about unit amplitude."""

LONG_S, SHORT_S = 5.0, 3.0
"""Seconds from which sound carries 64 and 32 bits."""

LOWEST_RATE = 8_000
"""Hz; sound of a lower rate does not reach up to the carrier."""

_RATE = 16_000  # Hz, at which all is done
_PERIOD = 16_384  # samples from one repetition of the carrier to the next
_FRAME, _HOP = 512, 256  # samples
_CYCLE = _PERIOD // _HOP  # frames a period
_WINDOW = np.sin(np.pi * (np.arange(_FRAME) + 0.5) / _FRAME).astype(np.float32)
_LOWEST, _HIGHEST = 300, 4000  # Hz
_BANDS = slice(_LOWEST * _FRAME // _RATE, _HIGHEST * _FRAME // _RATE + 1)
# Between the low harmonics of a voice a change is heard the most.
_EASE = np.minimum(np.arange(_BANDS.start, _BANDS.stop) * (_RATE / _FRAME / 1500), 1).astype(np.float32)
_RING = 250  # Hz; frequencies this near come through about equally well
_SYNC_SHARE = 0.25
_SYNC_GAIN = np.float32(np.sqrt(2.0))
_SILENT = 10 ** (-65 / 20)  # of full scale: quieter frames keep nothing through 16 bits and a codec
_LOUD_S = {64: 2.0, 32: 1.2}  # seconds that must not be silent

_PART_S = 15  # long sound is marked in parts of about this length, each for itself
_STRENGTH_DB = -11.0  # carrier over host, band by band
_ROUNDS = 3

_FALSE = 1e-6  # unmarked files that may be read as marked, of all; every hypothesis that may be tried is counted
_SHORTEST = _RATE  # samples; less is not looked at
_BEGINNINGS = 3  # candidates that are decoded
_SURE = 9.0  # standard deviations: the template is there, and no other speed need be tried
_FASTEST = 0.0205  # change of speed, each way, that is searched
_COARSE = 3072  # cycles a period; the lower part of the template, which is enough to find a speed
_CLOSER_LOOKS = 8  # speeds
_WORTH = 5.0  # standard deviations: speeds at which the template fits less are not decoded
_WINDOW_S, _WINDOWS = 10, 2  # speed is searched in the loudest two stretches of about 10 s


def bits_for_sound(seconds: float) -> int | None:
    """Payload bits of sound that lasts so long: 64 from 5 s, 32 from 3 s, None below."""
    return 64 if seconds >= LONG_S else 32 if seconds >= SHORT_S else None


def sound_bits(sound: Sound) -> int | None:
    """Payload bits that a sound can carry: as `bits_for_sound`, but less or None where too much of it is silent.

    MediaError for sound that is not one channel of finite numbers.
    """
    wave = _wave(sound)
    longest = bits_for_sound(len(sound.samples) / sound.rate)
    if longest is None or sound.rate < LOWEST_RATE:
        return None
    loud_s = np.count_nonzero(_level(_spectra(wave)) > _SILENT) * _HOP / _RATE
    return next((bits for bits in (64, 32) if bits <= longest and loud_s >= _LOUD_S[bits]), None)


def mark_sound(sound: Sound, key: ShardKey, mark: Mark) -> Sound:
    """The marked sound, of the same rate and length, float32 within [-1, 1]. Same input, same samples.

    Raises MediaError for sound that can't carry the mark: too short or too quiet for so many bits, not one channel of
    finite numbers, or of a kind that the mark does not read back from.
    """
    able = sound_bits(sound)
    if able is None or able < mark.bits:
        what = f"can't carry a mark of {mark.bits} bits: it is too short, or too much of it is silent"
        raise MediaError("sound", what, f"give at least {LONG_S if mark.bits == 64 else SHORT_S:.0f} s that can be heard")
    host = _spectra(_wave(sound))
    parts = np.array_split(np.arange(len(host)), max(round(len(host) * _HOP / _RATE / _PART_S), 1))
    change = np.concatenate([_change(host[frames], int(frames[0]), key, mark) for frames in parts])
    added = resample(Sound(_wave_of(change), _RATE), sound.rate).samples
    samples = np.clip(sound.samples, -1, 1).astype(np.float32)
    length = min(len(samples), len(added))
    samples[:length] += added[:length]
    marked = Sound(np.clip(samples, -1, 1), sound.rate)
    if not sound_carries(marked, key, mark):
        raise MediaError("sound", "is of a kind that no mark can be read back from", "leave it out")
    return marked


@dataclass(frozen=True)
class Heard:
    """A mark that was read from sound: `mark` of `key`, and how sure that is.

    `score` in standard deviations of chance, after `tried` hypotheses; `speed` above 1 for sound that is played faster
    than it was marked; `offset_s`: when in the sound the carrier begins anew, below 1.1 s.
    """

    mark: Mark
    key: ShardKey
    score: float
    tried: int
    speed: float
    offset_s: float


def read_sound(sound: Sound, keys: Sequence[ShardKey]) -> Heard | None:
    """The mark in a sound under any of the keys, wherever it was cut and at up to 2 % another speed; None without one.

    MediaError for sound that is not one channel of finite numbers.
    """
    wave = _wave(sound)
    tried, most = 0, len(keys) * len(MAC_BITS) * _BEGINNINGS * (1 + _WINDOWS)
    for secret in dict.fromkeys(key.layout for key in keys):
        group = [key for key in keys if key.layout == secret]
        for view in _views(wave, secret):
            for bits in MAC_BITS:
                soft = view.soft(group, bits)
                tried += len(group)
                for key, values, found in zip(group, soft, decode(soft), strict=True):
                    mark = proven(found, key.secret)
                    if mark is not None:
                        reached = score(values, found)
                        if reached >= needed(bits, most):
                            return Heard(mark, key, reached, tried, view.speed, view.offset_s)
    return None


def sound_matched(sound: Sound, key: ShardKey, mark: Mark) -> float:
    """How far an expected mark stands out: standard normal where it is not there, and at most sqrt(code bits).

    Where the carrier begins, and at what speed, is judged by the template alone, which says nothing of the data.
    """
    best = max(_views(_wave(sound), key.layout), key=lambda view: view.peak, default=None)
    if best is None:
        return 0.0
    return score(best.soft([key], mark.bits)[0], payload(mark, key.secret))


def sound_carries(sound: Sound, key: ShardKey, mark: Mark) -> bool:
    """Whether the payload that is read, without knowing what to expect, is this mark's to the last bit."""
    views = _views(_wave(sound), key.layout)
    return any(proven(decode(view.soft([key], mark.bits))[0], key.secret) == mark for view in views)


@dataclass(frozen=True)
class Layout:
    """Where on the carrier's frequencies what is: made from the master key's layout secret and the payload's size.

    `index` int (bins,): frequencies in cycles a period; `ring` int (bins,): frequencies of about equal height. `sync`
    int: the bins of the template, `template` complex64: their unit phases; both are the same for every payload's size.
    `carriers` int: the real numbers (2 * bin for the real, 2 * bin + 1 for the imaginary part) that carry data, ordered
    by code bit; `starts` int (code bits,): where each code bit's carriers start; `code_bit` int (carriers,): the code
    bit of each.
    """

    index: NDArray[np.intp]
    ring: NDArray[np.intp]
    sync: NDArray[np.intp]
    template: Bins
    carriers: NDArray[np.intp]
    starts: NDArray[np.intp]
    code_bit: NDArray[np.intp]

    def even(self, seen: Bins) -> Bins:
        """Bins (bins,) with their phases kept and their amplitudes evened out by ring."""
        size = np.abs(seen) + np.float32(1e-12)
        level = (np.bincount(self.ring, size) / np.bincount(self.ring)).astype(np.float32)
        evened: Bins = seen * np.minimum(1 / level[self.ring], np.float32(2.2) / size)
        return evened

    def fit(self, bins: Bins) -> NDArray[np.float32]:
        """(16384,): how well the template fits at each beginning of a period, in standard deviations of chance.

        Negative where it fits sound that is upside down.
        """
        grid = np.zeros(_PERIOD // 2 + 1, np.complex64)
        grid[self.index[self.sync]] = bins[self.sync] * np.conj(self.template)
        found = fft.irfft(grid, _PERIOD)
        fitness: NDArray[np.float32] = (found / (found.std() + 1e-12)).astype(np.float32)
        return fitness

    def moved(self, bins: Bins, late: int, sign: float) -> Bins:
        """The bins of sound whose periods begin `late` samples late, moved to where they belong, and up where `sign` is
        not positive."""
        turn = np.copysign(1, sign) * np.exp(2j * np.pi / _PERIOD * (self.index * late % _PERIOD))
        at_home: Bins = bins * turn.astype(np.complex64)
        return at_home

    def soft(self, bins: Bins, signs: NDArray[np.float32]) -> Soft:
        """Soft code bits (…, code bits) under shards' `signs` (…, carriers)."""
        values = np.ascontiguousarray(bins, np.complex64).view(np.float32)[self.carriers]
        return np.add.reduceat(values * signs, self.starts, axis=-1)


@lru_cache(maxsize=8)
def layout(secret: bytes, bits: int) -> Layout:
    """The layout of a master key's layout secret for a payload of 32 or 64 bits."""
    index = np.arange(_LOWEST * _PERIOD // _RATE + 1, _HIGHEST * _PERIOD // _RATE)
    order = _shuffled(secret, "sync", len(index))
    share = int(len(index) * _SYNC_SHARE)
    sync, data = np.sort(order[:share]), np.sort(order[share:])
    phases = _words(secret, "template", len(sync)) / 2.0**64
    # Carriers are dealt from low to high frequency, a shuffled hand of all code bits at a time: each gets the same mix.
    carriers = np.stack([2 * data, 2 * data + 1], 1).ravel()
    length = code_length(bits)
    hands = -(-len(carriers) // length)
    dealt = np.concatenate([_shuffled(secret, f"{bits}/hand/{hand}", length) for hand in range(hands)])[: len(carriers)]
    by_bit = np.argsort(dealt, kind="stable")
    return Layout(
        index=index,
        ring=((index * _RATE / _PERIOD - _LOWEST) / _RING).astype(np.intp),
        sync=sync,
        template=np.exp(2j * np.pi * phases).astype(np.complex64),
        carriers=carriers[by_bit],
        starts=np.searchsorted(dealt[by_bit], np.arange(length)),
        code_bit=dealt[by_bit],
    )


@lru_cache(maxsize=4096)
def signs(key: ShardKey, bits: int) -> NDArray[np.float32]:
    """The shard's data signs (carriers,), +1 or -1."""
    count = len(layout(key.layout, bits).carriers)
    stream = hashlib.shake_256(key.secret + f"/sound/signs/{bits}".encode()).digest(-(-count // 8))
    chosen: NDArray[np.float32] = 1 - 2 * np.unpackbits(np.frombuffer(stream, np.uint8))[:count].astype(np.float32)
    return chosen


def _words(secret: bytes, purpose: str, count: int) -> NDArray[np.uint64]:
    # Not numpy's generators: their streams may change between versions, and a mark must be readable for years.
    return np.frombuffer(hashlib.shake_256(secret + f"/sound/{purpose}".encode()).digest(8 * count), "<u8")


def _shuffled(secret: bytes, purpose: str, count: int) -> NDArray[np.intp]:
    return np.argsort(_words(secret, purpose, count), kind="stable")


def _change(host: Spectra, first: int, key: ShardKey, mark: Mark) -> Spectra:
    """What to add to a part of the host that starts with frame `first`, the weak code bits mended."""
    plan = layout(key.layout, mark.bits)
    every = signs(key, mark.bits)
    code = 1 - 2 * encode(payload(mark, key.secret)).astype(np.float32)
    turns = (np.arange(len(host)) + first) % _CYCLE
    scaled = _hull(host) * np.float32(10 ** (_STRENGTH_DB / 20))
    gains = np.ones(len(code), np.float32)
    for _ in range(_ROUNDS):
        change = scaled * _carrier(plan, every * (code * gains)[plan.code_bit])[turns]
        read = plan.soft(_folded(plan, _whitened(host + change), first), every) * code
        mean = max(float(read.mean()), 1e-6)
        gains = np.clip(gains + 0.7 * (mean - read) / mean, 0.1, 4).astype(np.float32)
        gains /= np.sqrt(np.mean(gains * gains))
    final: Spectra = scaled * _carrier(plan, every * (code * gains)[plan.code_bit])[turns]
    return final


def _hull(host: Spectra) -> NDArray[np.float32]:
    """(frames, bands): how strong the carrier may be, in the host's own unit.

    It follows the host's envelope, but less steeply, as masking spreads in frequency. Where the sound begins or ends it
    follows the quieter neighbour in time: a carrier that comes before its host is what one hears first.
    """
    envelope = cv2.blur(np.abs(host), (9, 1))
    envelope = envelope**0.7 * envelope.mean(1, keepdims=True) ** 0.3 * _EASE
    envelope = np.minimum(envelope, 2 * cv2.erode(envelope, np.ones((3, 1))))
    loud = _level(host)
    hull: NDArray[np.float32] = envelope * (loud / (loud + np.float32(1e-3) * loud.max() + np.float32(1e-9)))[:, None]
    return hull


def _carrier(plan: Layout, values: NDArray[np.float32]) -> Spectra:
    """(64, bands): the spectra of one period of the carrier, of unit variance, with `values` (carriers,) as its data."""
    grid = np.zeros(_PERIOD // 2 + 1, np.complex64)
    bins = np.zeros(len(plan.index), np.complex64)
    bins[plan.sync] = plan.template * _SYNC_GAIN
    bins.view(np.float32)[plan.carriers] = values
    grid[plan.index] = bins
    period = fft.irfft(grid, _PERIOD).astype(np.float32)
    spectra = _spectra(np.concatenate([period[-_HOP:], period]))[1 : _CYCLE + 1]
    even: Spectra = spectra / np.sqrt(np.mean(np.abs(spectra) ** 2))
    return even


@dataclass(frozen=True)
class _View:
    """A way to look at a sound: its bins under one beginning and speed, and how far the template stands out there."""

    bins: Bins
    peak: float
    speed: float
    offset_s: float

    def soft(self, keys: Sequence[ShardKey], bits: int) -> Soft:
        """(keys, code bits): the soft code bits under each of the keys, which are of one master."""
        return layout(keys[0].layout, bits).soft(self.bins, np.stack([signs(key, bits) for key in keys]))


def _views(wave: Wave, secret: bytes) -> Iterator[_View]:
    """The ways to look at a sound in which a mark may be read: at the speed of marking, and then at others."""
    if len(wave) < _SHORTEST:
        return
    plan = layout(secret, 64)
    white = _whitened(_spectra(wave))
    seen = _folded(plan, white)
    fit = plan.fit(seen)
    peaks = np.abs(fit)
    tops = np.where((peaks >= np.roll(peaks, 1)) & (peaks >= np.roll(peaks, -1)), peaks, 0)
    for late in np.argsort(-tops, kind="stable")[:_BEGINNINGS].tolist():
        yield _View(plan.moved(seen, late, fit[late]), float(peaks[late]), 1.0, late / _RATE)
    if peaks.max() >= _SURE:
        return
    windows = np.array_split(np.arange(len(white)), max(round(len(white) * _HOP / _RATE / _WINDOW_S), 1))
    windows.sort(key=lambda frames: -float(np.linalg.norm(white[frames])))
    for frames in windows[:_WINDOWS]:
        yield from _at_speeds(_wave_of(white[frames]), int(frames[0]) * _HOP, plan)


def _at_speeds(white: Wave, start: int, plan: Layout) -> list[_View]:
    """The likeliest views of a window of whitened sound, which starts with sample `start`, at other speeds.

    A carrier that is played faster keeps its phases, at frequencies higher by as much: one long transform shows it at
    all speeds. The lower part of the template is enough to find those worth a closer look.
    """
    size = 1 << (2 * len(white) - 1).bit_length()
    middle = len(white) // 2
    centred = np.zeros(size, np.float32)  # the middle at time 0, so that the phase varies little from bin to bin
    centred[: len(white) - middle], centred[size - middle :] = white[middle:], white[:middle]
    spectrum = np.asarray(fft.rfft(centred), np.complex64)

    def seen(speeds: Any, index: NDArray[np.intp]) -> NDArray[np.complex64]:
        """The spectrum at `index` cycles a period of a carrier that is played at one speed, or at several (…, bins)."""
        return np.asarray(spectrum[np.rint(np.multiply.outer(speeds, index) * (size / _PERIOD)).astype(np.intp)])

    step = 1.2 * _PERIOD / (len(white) * _COARSE)  # at which the highest of these frequencies has gone by one cycle
    speeds = 1 + step * np.arange(-round(_FASTEST / step), round(_FASTEST / step) + 1)
    low = plan.index[plan.sync][plan.index[plan.sync] < _COARSE]
    template = np.conj(plan.template[: len(low)])
    peaks = np.empty(len(speeds))
    for block in np.array_split(np.arange(len(speeds)), -(-len(speeds) // 64)):
        bins = seen(speeds[block], low)
        amplitude = np.abs(bins) + np.float32(1e-12)
        grid = np.zeros((len(block), _COARSE + 1), np.complex64)
        grid[:, low] = bins * np.minimum(1 / amplitude.mean(1, keepdims=True), 2.2 / amplitude) * template
        fits = fft.irfft(grid, 2 * _COARSE)
        peaks[block] = np.abs(fits).max(1) / (fits.std(1) + 1e-12)
    peaks[1:-1][(peaks[1:-1] < peaks[:-2]) | (peaks[1:-1] < peaks[2:])] = 0
    views = []
    for near in np.argsort(-peaks, kind="stable")[:_CLOSER_LOOKS]:
        closer = []
        for speed in (speeds[near] + step * np.linspace(-0.75, 0.75, 7)).tolist():
            even = plan.even(seen(speed, plan.index))
            fit = plan.fit(even)
            late = int(np.abs(fit).argmax())
            closer.append((float(fit[late]), late, speed, even))
        peak, late, speed, even = max(closer, key=lambda look: abs(look[0]))
        if abs(peak) >= _WORTH:
            offset = (start + middle + late / speed) % (_PERIOD / speed) / _RATE
            views.append(_View(plan.moved(even, late, peak), abs(peak), speed, offset))
    return sorted(views, key=lambda view: -view.peak)[:_BEGINNINGS]


def needed(bits: int, hypotheses: int) -> float:
    """The score at which a proven payload is believed: chance brings one as high up in less than one file of 10**6.

    Under a key that is not the sound's own, each soft code bit is as likely positive as negative, whatever its size. The
    score of any one payload is then a weighted sum of random signs, whose tail is below 3.18 times the normal one (Bentkus
    and Dzindzalieta 2015, Bernoulli 21, theorem 1.1); this is summed over all ids, each of which has one proven payload.
    """
    payloads = hypotheses << (bits - MAC_BITS[bits])
    return -NormalDist().inv_cdf(_FALSE / (3.18 * payloads))


def _wave(sound: Sound) -> Wave:
    samples = np.asarray(sound.samples, np.float32)
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise MediaError("sound", "is not one channel of finite numbers", "repair or replace the file")
    if not len(samples):
        return samples
    # A constant offset would show in all bands as soon as it begins or ends.
    return resample(Sound(np.clip(samples, -1, 1) - samples.mean(), sound.rate), _RATE).samples


def _spectra(wave: Wave) -> Spectra:
    """Frame m covers the samples from (m - 1) * 256 to (m + 1) * 256."""
    count = -(-len(wave) // _HOP) + 1
    padded = np.zeros((count + 1) * _HOP, np.float32)
    padded[_HOP : _HOP + len(wave)] = wave
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    return np.ascontiguousarray(fft.rfft(frames * _WINDOW)[:, _BANDS], np.complex64)


def _wave_of(spectra: Spectra) -> Wave:
    """The inverse of `_spectra`, within the bands: (frames - 1) * 256 samples."""
    halves = _halves(spectra)
    return (halves[:-1, 1] + halves[1:, 0]).ravel()


def _halves(spectra: Spectra) -> NDArray[np.float32]:
    """(frames, 2, 256): what each frame adds to the 256 samples before its middle, and to those after."""
    whole = np.zeros((len(spectra), _FRAME // 2 + 1), np.complex64)
    whole[:, _BANDS] = spectra
    halves: NDArray[np.float32] = (fft.irfft(whole, _FRAME).astype(np.float32) * _WINDOW).reshape(-1, 2, _HOP)
    return halves


def _level(spectra: Spectra) -> NDArray[np.float32]:
    """(frames,): root mean square of the sound within the bands; 1 is full scale."""
    level: NDArray[np.float32] = np.linalg.norm(spectra, axis=1) * np.float32(2 / _FRAME)
    return level


def _whitened(spectra: Spectra) -> Spectra:
    """The spectra as the reader weighs them: each value by the carrier's likely share in it.

    The carrier follows the host's envelope, so a value far above the envelope is host alone, and counts little.
    Near-silence counts less, as codecs fill it with noise of their own.
    """
    size = np.abs(spectra)
    level = cv2.blur(size, (7, 3)) + np.float32(1e-3 * np.sqrt(np.mean(size * size)) + 1e-6)
    loud = _level(spectra)
    gate = loud / (loud + np.float32(0.01) * loud.max() + np.float32(1e-9))
    white: Spectra = spectra * (gate[:, None] / (level * (1 + np.float32(4) * (size / level) ** 2)))
    return white


def _folded(plan: Layout, white: Spectra, first: int = 0) -> Bins:
    """All periods of whitened sound, which starts with frame `first`, added up: the bins that this gives."""
    before = first % _CYCLE
    whole = np.zeros((-(-(before + len(white)) // _CYCLE) * _CYCLE, white.shape[1]), np.complex64)
    whole[before : before + len(white)] = white
    halves = _halves(whole.reshape(-1, _CYCLE, white.shape[1]).sum(0))
    period = halves[:, 1] + np.roll(halves[:, 0], -1, 0)
    return plan.even(np.asarray(fft.rfft(period.ravel())[plan.index], np.complex64))
