"""Voice conversion by signal processing: what the second parent says, in the target's voice, in place of what the target says.

Five things make most of whose voice it is, and all are measured on a few seconds of it, in whatever language: how high it is
and how lively (mean and spread of the logarithm of its pitch), how long its vocal tract is (which moves all formants alike: Lee
and Rose 1998), its mean spectrum with pitch and without, and how breathy it is. The speech gets the target's; its words, its
rhythm and its melody stay. The second parent says in it what is said in its recording, and nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from forgeline.audio import fit, resample
from forgeline.clip import Clip, Made, MediaType, Sound
from forgeline.errors import MediaError
from forgeline.sample import Role
from forgeline.section import Section
from generators.pitch import RATE, STEP, Doubles
from generators.plugin import Casting, Stream, sound_of
from generators.recording import placed
from generators.vocoder import BINS, Change, Engine, Floats, Speech, analyse, synthesise

LEAST_S = 0.3
"""Seconds of voice that have to be heard of each: about one of speech. Of less, the mean spectrum is that of single vowels."""
LEAST_HISS_S = 0.1
"""Seconds without pitch below which nothing is known of how a voice hisses."""
LIVELIER = (0.5, 2.0)
"""By how much, at the least and at the most, the spread of the pitch is multiplied."""
PITCHES = (50.0, 600.0)
"""Hz that a voice may be given."""
RATIOS = np.exp(np.arange(-12, 13) * 0.02)
"""By how much formants may be moved."""
_UNLIKELY = 2.0
"""By how much a move to the double is the less likely, in correlations: short speech may match by chance."""
MOST = 30 * np.log(10) / 10
"""By how much (30 dB, as a natural logarithm of power) a spectrum is changed at the most."""
LIKER = 0.5
"""Share of the way to how much the target's spectrum comes and goes."""
BREATHIER = 0.5
"""Share of the way to the target's breath."""
LOUDEST = 0.99
"""What peaks are brought down to."""
_BROAD, _BROADER = 13, 33
"""Bins (200 and 500 Hz) over which the difference of two voices' mean spectra is smoothed, with pitch and without."""
_TILT = 15 * np.log(10) / 10
"""By how much the spectrum of what has no pitch is changed at the most."""


class Voice(Section):
    """The second parent's words in the target's voice, within the target's recording."""

    engine: Engine = "world"
    """`world` makes voiced sounds anew (WORLD's vocoder); `stft` filters them and moves their pulses, and needs no pyworld."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "audio"
    casting: ClassVar[Casting] = "pair"
    changes: ClassVar[frozenset[Stream]] = frozenset({"audio"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "sound_control"
    source_type: ClassVar[str] = "composite"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """Sound as long as the target's. Raises MediaError when one of the two can't be heard speaking."""
        target, speaker = parents
        recording = sound_of(target)
        speech = as_spoken_by(sound_of(speaker), recording, self.engine, (speaker.name, target.name))
        return in_place(speech, recording, speaker, rng)


def in_place(speech: Sound, recording: Sound, speaker: Clip, rng: np.random.Generator) -> Made:
    """Another voice's `speech` of what `speaker` says, put where the `recording` speaks."""
    put = placed(speech, recording, rng)
    words, phonemes = (put.all_of(said) for said in (speaker.words, speaker.phonemes))
    return Made.heard(put.sound, put.segments, {}, words, phonemes)


def as_spoken_by(
    speech: Sound, voice: Sound, engine: Engine = "world", names: tuple[str, str] = ("the speech", "the voice")
) -> Sound:
    """What `speech` says in the voice that speaks in `voice`, as long as `speech` and at its rate; nothing above 8 kHz.

    As loud as it was, or less where it would be cut off. Takes half a GB for five minutes. Raises MediaError, with one of the
    `names`, where less than LEAST_S seconds of either have a pitch (silence, noise, whispers), and ParamsError where the
    engine is not installed.
    """
    said, other = (heard(sound, engine, name) for sound, name in zip((speech, voice), names, strict=True))
    own, wanted = Manner.of(said), Manner.of(other)
    return spoken(speech, said, engine, own, wanted, change_to(said, own, wanted))


def heard(sound: Sound, engine: Engine, name: str) -> Speech:
    """A sound taken apart. Raises MediaError when too little of it has a pitch."""
    speech = analyse(sound, engine)
    seconds = float(speech.voiced.sum()) * STEP / RATE
    if seconds < LEAST_S:
        what = f"has {seconds:.2f} s of voice in it, and {LEAST_S} are needed"
        raise MediaError(name, what, "leave this clip out of the methods that work on voices")
    return speech


def spoken(speech: Sound, said: Speech, engine: Engine, own: "Manner", other: "Manner", change: Change) -> Sound:
    """`speech`, taken apart as `said`, in another manner than its `own`: see `as_spoken_by`."""
    breath = BREATHIER * (other.breath - own.breath)
    made = synthesise(said, engine, pitch_like(said, own, other), change, breath).astype(np.float32)
    sound = fit(resample(Sound(made, RATE), speech.rate), len(speech.samples) / speech.rate)
    peak = float(np.abs(sound.samples).max(initial=0))
    return sound if peak <= LOUDEST else replace(sound, samples=sound.samples * np.float32(LOUDEST / peak))


@dataclass(frozen=True)
class Manner:
    """What is usual for a voice.

    `pitch` and `spread`: mean and deviation of its logarithm. `envelope`, `lively` (BINS,): mean and deviation of the
    envelopes of what has a pitch; `hiss` (BINS,): mean of those of the rest, None where there is too little. `breath`: mean,
    in decibels.
    """

    pitch: float
    spread: float
    envelope: Doubles
    lively: Doubles
    hiss: Doubles | None
    breath: float

    @classmethod
    def of(cls, speech: Speech) -> "Manner":
        """Loud frames tell more of a spectrum than quiet ones, and outliers nothing of a pitch."""
        octaves = np.log(speech.pitch[speech.voiced])
        middle = float(np.median(octaves))
        spread = 1.4826 * float(np.median(np.abs(octaves - middle)))
        usual = octaves[np.abs(octaves - middle) <= 3 * max(spread, 0.05)]
        level = speech.envelope.max(1)
        loud = float(np.percentile(level[speech.voiced], 95))
        shares = np.clip((level - loud) / MOST + 1, 0.01, 1) * speech.voiced
        shares /= shares.sum()
        envelope = shares @ speech.envelope
        lively = np.sqrt(np.maximum(shares @ np.square(speech.envelope - envelope.astype(np.float32)), 1e-6))
        hiss = speech.envelope[~speech.voiced & (level > loud - MOST)]
        return cls(
            float(usual.mean()),
            max(float(usual.std()), 0.02),
            envelope,
            lively,
            hiss.mean(0, dtype=np.float64) if len(hiss) * STEP / RATE >= LEAST_HISS_S else None,
            float(shares @ speech.breath),
        )


def pitch_like(said: Speech, own: Manner, other: Manner) -> Doubles:
    """The pitch of `said` (frames,), of which `own` is the manner, brought to the height and the liveliness of another."""
    livelier = np.clip(other.spread / own.spread, *LIVELIER)
    pitch = np.zeros(len(said.pitch))
    pitch[said.voiced] = np.exp((np.log(said.pitch[said.voiced]) - own.pitch) * livelier + other.pitch).clip(*PITCHES)
    return pitch


def change_to(said: Speech, own: Manner, other: Manner) -> Change:
    """What brings the envelopes of `said`, of which `own` is the manner, to another."""
    ratio = tract_ratio(own, other)
    usual, lively = warped(np.stack([own.envelope, own.lively]), ratio)
    livelier = np.clip(_smooth(other.lively, _BROADER) / _smooth(lively, _BROADER), *LIVELIER) ** LIKER
    usual, wanted = usual.astype(np.float32), (usual + _smooth(other.envelope - usual, _BROAD)).astype(np.float32)
    livelier, hiss = livelier.astype(np.float32), hiss_to(own, other)

    def change(part: slice) -> Floats:
        now, voiced = said.envelope[part], said.voiced[part, None]
        then = (warped(now, ratio) - usual) * livelier + wanted
        return np.where(voiced, np.clip(then - now, -MOST, MOST), hiss)

    return change


def hiss_to(own: Manner, other: Manner) -> Floats:
    """What brings the spectrum of what has no pitch to that of another manner (BINS,), at the same level."""
    if own.hiss is None or other.hiss is None:
        return np.zeros(BINS, np.float32)
    moved = _smooth(other.hiss - own.hiss, _BROADER)
    moved -= np.log(np.exp(own.hiss + moved).sum() / np.exp(own.hiss).sum())
    return np.clip(moved, -_TILT, _TILT).astype(np.float32)


def tract_ratio(own: Manner, other: Manner) -> float:
    """By how much the formants of `own` have to be moved up to lie where those of `other` do."""
    band = np.arange(10, 320)  # 150 … 5000 Hz
    bent = np.stack([np.ones(len(band)), band, band**2], 1) / len(band)  # how a spectrum tilts and sags is no formant
    flat = np.eye(len(band)) - bent @ np.linalg.pinv(bent)
    wanted = flat @ _smooth(other.envelope, _BROAD)[band]
    moved = [flat @ _smooth(curve, _BROAD)[band] for curve in (warped(own.envelope[None], ratio)[0] for ratio in RATIOS)]
    alike = [float(m @ wanted / max(float(np.linalg.norm(m) * np.linalg.norm(wanted)), 1e-12)) for m in moved]
    return float(RATIOS[int(np.argmax(np.array(alike) - _UNLIKELY * np.square(np.log(RATIOS))))])


def warped(envelopes: NDArray[Any], ratio: float) -> NDArray[Any]:
    """Envelopes (n, BINS) whose formants lie `ratio` times as high."""
    at = np.minimum(np.arange(BINS) / ratio, BINS - 1)
    low = np.minimum(at.astype(int), BINS - 2)
    share = (at - low).astype(envelopes.dtype)
    return np.asarray(envelopes[:, low] * (1 - share) + envelopes[:, low + 1] * share)


def _smooth(curve: Doubles, bins: int) -> Doubles:
    """The curve (BINS,), averaged over an odd number of bins."""
    bell = np.hanning(bins + 2)[1:-1]
    return np.convolve(np.pad(curve, bins // 2, "edge"), bell / bell.sum(), "valid")
