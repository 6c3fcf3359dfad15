"""Voices whose pitch and throat are known exactly, and pairs of sounds, for tests of what is scored in speech."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from evaluators.figure import Evaluator, Figure, Pair, score
from forgeline.clip import Clip, Said, Sound

RATE = 16000
Samples = NDArray[np.float32]
SYLLABLES = ((700, 1200), (300, 2300), (500, 900), (400, 2000), (600, 1700))
"""Hz of the first two formants of each syllable, 0.2 s long, again and again."""


def voice(pitch: float | Sequence[float] = 120.0, seconds: float = 1.6, throat: float = 1.0, quiet: float = 0.2) -> Samples:
    """A buzz of this pitch in Hz (or gliding evenly from one to another), with a throat of this relative shortness.

    `quiet` seconds of faint noise come before and after it.
    """
    from scipy.signal import lfilter

    count = round(seconds * RATE)
    low, high = (pitch, pitch) if isinstance(pitch, float) else pitch
    phase = np.cumsum(low * (high / low) ** np.linspace(0, 1, count)) / RATE
    pulses = np.diff(np.floor(phase), prepend=0.0)
    spoken = np.zeros(count)
    for at, start in enumerate(range(0, count, RATE // 5)):
        part = pulses[start : start + RATE // 5]
        for hertz in (*SYLLABLES[at % len(SYLLABLES)], 2900, 3700, 4900):
            turn, decay = 2 * np.pi * hertz * throat / RATE, np.exp(-np.pi * 90 / RATE)
            part = lfilter([1 - decay], [1, -2 * decay * np.cos(turn), decay**2], part)
        spoken[start : start + RATE // 5] = part / np.abs(part).max()
    rest = round(quiet * RATE)
    whole = np.pad(0.3 * spoken, rest) + np.random.default_rng(1).normal(0, 1e-4, count + 2 * rest)
    return np.asarray(whole, np.float32)


def noisy(samples: Samples, level: float, seed: int = 0) -> Samples:
    return np.asarray(samples + np.random.default_rng(seed).normal(0, level, len(samples)), np.float32)


def said(*texts: str, start: float = 0.2, each: float = 0.3) -> tuple[Said, ...]:
    return tuple(Said(start + at * each, start + (at + 1) * each, text) for at, text in enumerate(texts))


def clip_of(samples: Samples | None, words: tuple[Said, ...] = (), phonemes: tuple[Said, ...] = (), rate: int = RATE) -> Clip:
    """Sound alone, or what is not even that."""
    sound = None if samples is None else Sound(samples, rate)
    return Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: sound, words=words, phonemes=phonemes)


def pair(control: Clip | Samples, fake: Clip | Samples, sample_id: str = "a") -> Pair:
    """Whose words are the same where sounds alone are given."""
    clips = [clip if isinstance(clip, Clip) else clip_of(clip, said("one", "two")) for clip in (control, fake)]
    changes = frozenset({"audio"})
    return Pair(sample_id, clips[1], clips[0], "voice", "test", aligned=False, changes=changes)


def figures(one: Pair, evaluator: Evaluator) -> dict[str, Figure]:
    """Of a sample."""
    return dict(score([one], {"it": evaluator}, 8).samples[one.sample_id])


def set_figures(pairs: Sequence[Pair], evaluator: Evaluator) -> dict[str, Figure]:
    return dict(score(pairs, {"it": evaluator}, 8).sets["voice", "master", "test"])


def value(figure: Figure) -> float:
    """Where there must be one."""
    if figure.value is None:
        raise ValueError(figure.reason)
    return figure.value
