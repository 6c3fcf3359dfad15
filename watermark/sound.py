"""The mark in sound: a keyed, noise-like carrier that repeats every 1.024 s and follows the host's short-time spectrum.

The carrier is defined in Hz (300 to 4000), and found in sound of any rate: all work is done at 16 kHz, and what is
added is brought up to the host's rate, so that nothing above changes. A part of its frequencies, known to every holder
of the master key, says where a period begins, and at what speed the sound is played; the others carry the code bits,
each spread over many frequencies with signs of the shard's key.

The reader evens out the short-time spectrum, adds up all periods, and finds their beginning by one correlation. The
marker looks at its own result through the reader's eyes: it strengthens the code bits that this very sound speaks
against, and starts faint and grows stronger until the mark reads through noise like a codec's.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy import fft
from numpy.typing import NDArray

from forgeline.audio import resample
from forgeline.clip import Sound
from forgeline.errors import MediaError
from watermark.keys import ShardKey
from watermark.payload import Mark, Soft, code_length, decode, encode, payload, proven

Spectra = NDArray[np.complex64]
"""(frames, bands) short-time spectrum of sound at 16 kHz, 31.25 Hz a band, within the carrier's reach."""

Bins = NDArray[np.complex64]
"""(bins,) what sound shows at the carrier's frequencies, evened out to about unit amplitude."""

LONG_S, SHORT_S = 5.0, 3.0
"""Seconds from which sound carries 64 and 32 bits."""

_RATE = 16_000  # Hz, at which all is done
_PERIOD = 16_384  # samples from one repetition of the carrier to the next
_FRAME, _HOP = 512, 256  # samples
_CYCLE = _PERIOD // _HOP  # frames a period
_LOWEST, _HIGHEST = 300, 4000  # Hz
_BANDS = slice(_LOWEST * _FRAME // _RATE, _HIGHEST * _FRAME // _RATE + 1)
_RING = 250  # Hz
_WINDOW = np.sin(np.pi * (np.arange(_FRAME) + 0.5) / _FRAME).astype(np.float32)
_SYNC_SHARE = 0.25
_SYNC_GAIN = np.float32(np.sqrt(2.0))
_ROUNDS = 4
_PART_S = 20.0  # long sound is marked and read in parts of up to this
_SILENCE = 1e-3  # of full scale; frames below carry nothing that outlives a codec
_FASTEST = 0.021  # speed changes that are searched, each way


def bits_for_sound(seconds: float) -> int | None:
    """Payload bits of sound that lasts so long: 64 from 5 s, 32 from 3 s, None below."""
    return 64 if seconds >= LONG_S else 32 if seconds >= SHORT_S else None


def sound_bits(sound: Sound) -> int | None:
    """Payload bits that a sound can carry: as `bits_for_sound`, but None too where less than a third of it is loud."""
    bits = bits_for_sound(len(sound.samples) / sound.rate)
    if bits is None:
        return None
    loud = _level(_spectra(_at_work_rate(sound))) > _SILENCE
    return bits if loud.mean() > 1 / 3 else None


@dataclass(frozen=True)
class Layout:
    """Where on the carrier's frequencies what is: made from the master key's layout secret and the payload's size.

    `index` int (bins,): frequencies in periods; `ring` int (bins,): frequencies of about equal height. `sync` int: the
    bins of the template, `template` complex64: their unit phases. `carriers` int: the real numbers (2 * bin for the
    real, 2 * bin + 1 for the imaginary part) that carry data, ordered by code bit; `starts` int (code bits,): where
    each code bit's carriers start; `code_bit` int (carriers,): the code bit of each.
    """

    bits: int
    index: NDArray[np.intp]
    ring: NDArray[np.intp]
    sync: NDArray[np.intp]
    template: Bins
    carriers: NDArray[np.intp]
    starts: NDArray[np.intp]
    code_bit: NDArray[np.intp]

    def even(self, seen: Bins) -> Bins:
        """A folded spectrum's bins with phases kept and amplitudes evened out by ring."""
        size = np.abs(seen) + np.float32(1e-12)
        mean = np.bincount(self.ring, size) / np.bincount(self.ring)
        level = mean.astype(np.float32)[self.ring]
        return np.asarray(seen * np.minimum(1 / level, 2.2 / size), np.complex64)

    def locate(self, bins: Bins) -> NDArray[np.float32]:
        """(16384,): how well the template fits at each beginning of a period, in standard deviations of chance."""
        grid = np.zeros(_PERIOD // 2 + 1, np.complex64)
        grid[self.index[self.sync]] = bins[self.sync] * np.conj(self.template)
        fit = fft.irfft(grid, _PERIOD)
        return np.asarray(fit / (np.sqrt(np.mean(fit * fit)) + 1e-30), np.float32)

    def moved(self, bins: Bins, shift: int) -> Bins:
        """The bins of sound whose periods begin `shift` samples late, moved to where they belong."""
        turn = np.exp(2j * np.pi / _PERIOD * (self.index * shift % _PERIOD))
        return np.asarray(bins * turn, np.complex64)

    def soft(self, bins: Bins, signs: NDArray[np.float32]) -> Soft:
        """Soft code bits (…, code bits) under shards' `signs` (…, carriers)."""
        values = np.ascontiguousarray(bins).view(np.float32)[self.carriers]
        return np.add.reduceat(values * signs, self.starts, axis=-1)

    def trust(self, bins: Bins) -> NDArray[np.float32]:
        """(bins,): the weight of each frequency, from how well the template near it has come through."""
        agreed = (bins[self.sync] * np.conj(self.template)).real
        mean = max(float(agreed.mean()), 0.02)
        rings = np.arange(self.ring.max() + 1)
        near = np.exp(-0.5 * (rings[:, None] - rings) ** 2)
        total = near @ np.bincount(self.ring[self.sync], agreed, len(rings))
        count = near @ np.bincount(self.ring[self.sync], minlength=len(rings))
        prior = 20  # bins' worth of the overall mean, for rings with few template bins
        weight = np.maximum((total + prior * mean) / (count + prior), 0.1 * mean)
        return np.asarray(weight[self.ring], np.float32)


@lru_cache(maxsize=8)
def layout(secret: bytes, bits: int) -> Layout:
    """The layout of a master key's layout secret for a payload of 32 or 64 bits."""
    index = np.arange(_LOWEST * _PERIOD // _RATE + 1, _HIGHEST * _PERIOD // _RATE)
    order = _shuffled(secret, "sync", len(index))
    sync, data = np.sort(order[: int(len(index) * _SYNC_SHARE)]), np.sort(order[int(len(index) * _SYNC_SHARE) :])
    phases = _words(secret, "template", len(sync)) / 2.0**64
    # Carriers are dealt from low to high frequency, a shuffled hand of all code bits at a time: each gets the same mix.
    carriers = np.stack([2 * data, 2 * data + 1], 1).ravel()
    length = code_length(bits)
    hands = -(-len(carriers) // length)
    dealt = np.concatenate([_shuffled(secret, f"{bits}/hand/{hand}", length) for hand in range(hands)])[: len(carriers)]
    by_bit = np.argsort(dealt, kind="stable")
    return Layout(
        bits=bits,
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
    stream = hashlib.shake_256(key.secret + f"/sound signs/{bits}".encode()).digest(-(-count // 8))
    return np.asarray(1 - 2.0 * np.unpackbits(np.frombuffer(stream, np.uint8))[:count], np.float32)


def _words(secret: bytes, purpose: str, count: int) -> NDArray[np.uint64]:
    # Not numpy's generators: their streams may change between versions, and a mark must be readable for years.
    return np.frombuffer(hashlib.shake_256(secret + f"/sound/{purpose}".encode()).digest(8 * count), "<u8")


def _shuffled(secret: bytes, purpose: str, count: int) -> NDArray[np.intp]:
    return np.argsort(_words(secret, purpose, count), kind="stable")


def _at_work_rate(sound: Sound) -> NDArray[np.float32]:
    samples = sound.samples
    if samples.ndim != 1 or not np.isfinite(samples).all():
        raise MediaError("sound", "is not one channel of finite samples", "repair or replace the file")
    return resample(Sound(np.asarray(samples, np.float32), sound.rate), _RATE).samples


def _spectra(samples: NDArray[np.float32]) -> Spectra:
    """Frame m covers the samples from (m - 1) * 256 to (m + 1) * 256."""
    count = -(-len(samples) // _HOP) + 1
    padded = np.zeros((count + 1) * _HOP, np.float32)
    padded[_HOP : _HOP + len(samples)] = samples
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    return np.ascontiguousarray(fft.rfft(frames * _WINDOW)[:, _BANDS])


def _halves(spectra: Spectra) -> NDArray[np.float32]:
    """(frames, 2, 256): the samples that each frame adds to the hop before its middle, and to the one after."""
    whole = np.zeros((len(spectra), _FRAME // 2 + 1), np.complex64)
    whole[:, _BANDS] = spectra
    return (fft.irfft(whole, _FRAME).astype(np.float32) * _WINDOW).reshape(-1, 2, _HOP)


def _samples(spectra: Spectra) -> NDArray[np.float32]:
    """The inverse of `_spectra`, within the bands: (frames - 1) * 256 samples."""
    halves = _halves(spectra)
    return (halves[:-1, 1] + halves[1:, 0]).ravel()


def _level(spectra: Spectra) -> NDArray[np.float32]:
    """(frames,): root mean square of the sound within the bands, 1 at full scale."""
    return np.asarray(np.sqrt(2 * (np.abs(spectra) ** 2).sum(1) / (_FRAME * _FRAME / 2)), np.float32)


def _whitened(spectra: Spectra) -> Spectra:
    size = np.abs(spectra)
    level = cv2.blur(size, (7, 3)) + np.float32(1e-3 * np.sqrt(np.mean(size * size)) + 1e-6)
    ratio = size / level
    loud = _level(spectra)
    gate = loud / (loud + 0.01 * loud.max() + 1e-9)
    return np.asarray(spectra * (np.minimum(1, 2.5 / (ratio + 1e-9)) / level) * gate[:, None], np.complex64)


def _folded(plan: Layout, spectra: Spectra) -> Bins:
    """All periods of a whitened sound added up: the plan's bins."""
    whole = np.zeros((-(-len(spectra) // _CYCLE) * _CYCLE, spectra.shape[1]), np.complex64)
    whole[: len(spectra)] = spectra
    halves = _halves(whole.reshape(-1, _CYCLE, spectra.shape[1]).sum(0))
    period = halves[:, 1] + np.roll(halves[:, 0], -1, 0)
    return plan.even(fft.rfft(period.ravel())[plan.index])


def _carrier(plan: Layout, values: NDArray[np.float32]) -> Spectra:
    """(64, bands): the short-time spectrum of one period of the carrier with these values (carriers,) as its data."""
    bins = np.zeros(len(plan.index), np.complex64)
    bins[plan.sync] = plan.template * _SYNC_GAIN
    bins.view(np.float32)[plan.carriers] = values
    grid = np.zeros(_PERIOD // 2 + 1, np.complex64)
    grid[plan.index] = bins
    period = fft.irfft(grid, _PERIOD).astype(np.float32)
    period /= np.sqrt(np.mean(period * period))
    return _spectra(np.concatenate([period[-_HOP:], period]))[1 : _CYCLE + 1]


STRENGTH_DB = 25.0


def mark_sound(sound: Sound, key: ShardKey, mark: Mark) -> Sound:
    """The marked sound, of the same rate and length.

    Raises MediaError for sound that can't carry so many bits: too short, silent, or not of finite numbers.
    """
    able = sound_bits(sound)
    if able is None or able < mark.bits:
        raise MediaError("sound", f"can't carry a mark of {mark.bits} bits", "leave it out")
    work = _at_work_rate(sound)
    parts = max(int(len(work) / _RATE // (_PART_S / 2)), 1)
    change = _change(work, key, mark)
    up = resample(Sound(change, _RATE), sound.rate).samples
    marked = np.array(sound.samples, np.float32)
    length = min(len(up), len(marked))
    marked[:length] += up[:length]
    return Sound(np.clip(marked, -1, 1), sound.rate)


def _change(work: NDArray[np.float32], key: ShardKey, mark: Mark) -> NDArray[np.float32]:
    plan = layout(key.layout, mark.bits)
    every = signs(key, mark.bits)
    code = 1 - 2 * encode(payload(mark, key.secret)).astype(np.float32)
    host = _spectra(work)
    size = np.abs(host)
    loud = _level(host)
    hull = cv2.blur(size, (5, 1)) * (loud / (loud + 0.003 * loud.max()))[:, None]
    turns = np.arange(len(host)) % _CYCLE
    gains = np.ones(len(code), np.float32)
    rms = float(np.sqrt(np.mean(work * work))) * 10 ** (-STRENGTH_DB / 20)
    for step in range(_ROUNDS + 1):
        change = hull * _carrier(plan, every * (code * gains)[plan.code_bit])[turns]
        power = (np.abs(change) ** 2).sum() * 2 / (_FRAME * _FRAME / 2) / len(host)
        change *= np.float32(rms / np.sqrt(power))
        if step == _ROUNDS:
            return _samples(change)[: len(work)]
        read = plan.soft(_folded(plan, _whitened(host + change)), every) * code
        mean = max(float(read.mean()), 1e-6)
        gains = np.clip(gains + 0.7 * (mean - read) / mean, 0.1, 4)
        gains /= np.sqrt(np.mean(gains * gains))
    raise AssertionError


@dataclass(frozen=True)
class SoundReading:
    """A mark that was read: whose, how sure, and where.

    `score` in standard deviations of chance, for `tried` hypotheses; `speed` how much faster than it was marked the
    sound is played; `offset_s` where in it the first whole period begins.
    """

    mark: Mark
    key: ShardKey
    score: float
    tried: int
    speed: float
    offset_s: float


def read_sound(sound: Sound, keys: Sequence[ShardKey]) -> SoundReading | None:
    work = _at_work_rate(sound)
    if len(work) < _PERIOD:
        return None
    tried = 0
    white = _whitened(_spectra(work))
    for bits in (64, 32):
        plan = layout(keys[0].layout, bits)
        seen = _folded(plan, white)
        fit = plan.locate(seen)
        for shift in np.argsort(-fit, kind="stable")[:3]:
            bins = plan.moved(seen, int(shift))
            soft = plan.soft(bins * plan.trust(bins), np.stack([signs(key, bits) for key in keys]))
            for key, values, found in zip(keys, soft, decode(soft), strict=True):
                tried += 1
                mark = proven(found, key.secret)
                if mark:
                    return SoundReading(mark, key, _score(values, found), tried, 1.0, int(shift) / _RATE)
    return None


def sound_matched(sound: Sound, key: ShardKey, mark: Mark) -> float:
    plan = layout(key.layout, mark.bits)
    seen = _folded(plan, _whitened(_spectra(_at_work_rate(sound))))
    soft = plan.soft(seen * plan.trust(seen), signs(key, mark.bits))
    return _score(soft, payload(mark, key.secret))


def sound_carries(sound: Sound, key: ShardKey, mark: Mark) -> bool:
    found = read_sound(sound, [key])
    return found is not None and found.mark == mark


def _score(soft: Soft, bits: NDArray[np.uint8]) -> float:
    code = 1 - 2 * encode(bits).astype(np.float32)
    return float(soft @ code / (np.linalg.norm(soft) + 1e-12))
