"""Whose voice is heard after a conversion, what it costs, and whether it sounds whole: espeak's voices and, if given, GRID's.

    python -m benchmarks.voice.conversion [--clips FOLDER]

`FOLDER` holds one clip a speaker. Pitch is measured by WORLD's Dio, in the bounds of De Looze and Hirst (2008), not by that of
the generators. A voice is told by mixtures of Gaussians on mel cepstra, taught with other sentences where there are some, as
speakers were told before there were nets (Reynolds and Rose 1995).
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.watermark.figures import Rate, table
from forgeline.audio import resample
from forgeline.clip import Clip, Sound
from forgeline.speech import speak
from forgeline.video import open_video
from generators.pitch import RATE
from generators.voice import as_spoken_by
from generators.voice_net import VoiceNet

Convert = Callable[[Sound, Sound], Sound]
Doubles = NDArray[np.float64]

SAID: Mapping[str, tuple[str, ...]] = {
    "en": (
        "The quick brown fox jumps over the lazy dog, and nobody minded at all.",
        "She sells sea shells by the shore, while we were waiting for the bus in the rain.",
        "Every morning the children walk along the river to their small old school.",
    ),
    "de": (
        "Guten Morgen, wie geht es dir heute? Ich gehe nach Hause und koche Suppe.",
        "Der Zug fährt heute leider erst um halb neun ab, wir warten noch.",
        "Am Abend sitzen die Kinder unter dem großen Baum und lesen Bücher.",
    ),
    "fr": (
        "Bonjour tout le monde, il fait beau et nous allons partir à la mer.",
        "Le petit chat dort sur la chaise pendant que la pluie tombe dehors.",
        "Demain matin, je prendrai le train pour voir ma grand-mère.",
    ),
}
LEARNT = ("en-us", "en-us+f2", "en-us+m3", "de", "de+f4", "fr", "fr+f3", "en-gb-x-rp+f5")
"""What `voice_net` learns from: the first two sentences of each, a minute and a half of speech."""
PAIRS = (
    ("low to high", "en-us+m7", "en-us+f4"),
    ("low to high", "de+m4", "de+f2"),
    ("high to low", "en-us+f4", "en-us+m7"),
    ("high to low", "fr+f1", "fr+m2"),
    ("across languages", "de+m4", "fr+f1"),
    ("across languages", "fr+f1", "en-us+m7"),
    ("across languages", "en-us+f4", "de+m4"),
    ("across languages", "fr+m2", "en-us+f4"),
)
"""None of these voices is among those learned from."""


@dataclass(frozen=True)
class Voice:
    """What is told of a voice in one sound."""

    pitch: Doubles
    envelope: Doubles
    cepstra: Doubles
    flatness: float
    harmonic: float
    step: float

    @classmethod
    def of(cls, sound: Sound) -> "Voice":
        """`harmonic`: decibels of what is periodic above what is not, by the autocorrelation at one period (Boersma 1993)."""
        import librosa
        import pyworld

        sound = resample(sound, RATE)
        samples = sound.samples.astype(np.float64)
        pitch, times = pyworld.dio(samples, RATE, f0_floor=60.0, f0_ceil=500.0)
        low, high = np.percentile(pitch[pitch > 0], [25, 75])
        pitch, times = pyworld.dio(samples, RATE, f0_floor=max(50.0, 0.65 * low), f0_ceil=min(600.0, 2 * high))
        pitch = pyworld.stonemask(samples, pitch, times, RATE)
        envelope = np.log(pyworld.cheaptrick(samples, pitch, times, RATE))[pitch > 0].mean(0)
        settings: dict[str, Any] = {"y": sound.samples, "n_fft": 512, "hop_length": 160}
        level = librosa.feature.rms(y=sound.samples, frame_length=512, hop_length=160)[0]
        loud = level > 0.05 * np.percentile(level, 95)
        cepstra = librosa.feature.mfcc(**settings, sr=RATE, n_mfcc=20, n_mels=40)[1:, loud].T
        flat = librosa.feature.spectral_flatness(**settings)[0, loud]
        step = float(np.abs(np.diff(samples)).max() / np.abs(samples).max())
        return cls(pitch, envelope[7:480], cepstra, float(np.mean(flat)), _harmonic(samples, pitch), step)

    @property
    def mean(self) -> float:
        """Hz."""
        return float(self.pitch[self.pitch > 0].mean())


def _harmonic(samples: Doubles, pitch: Doubles) -> float:
    found = []
    for frame in np.flatnonzero(pitch > 0)[::4]:
        period = round(RATE / pitch[frame])
        piece = samples[max(frame * 80 - 2 * period, 0) :][: 4 * period]
        if len(piece) == 4 * period and piece.any():
            one, two = piece[:-period], piece[period:]
            alike = float(one @ two / np.sqrt((one @ one) * (two @ two) + 1e-18))
            found.append(10 * np.log10(max(alike, 1e-3) / max(1 - alike, 1e-3)))
    return float(np.median(found))


def _apart(one: Voice, other: Voice) -> float:
    """Decibels between two mean envelopes, 100 … 7500 Hz, level apart."""
    return float((one.envelope - other.envelope).std() * 10 / np.log(10))


def _mixture(cepstra: Sequence[Doubles]) -> Any:
    from sklearn.mixture import GaussianMixture

    mixture = GaussianMixture(8, covariance_type="diag", reg_covar=0.1, random_state=0)
    return mixture.fit(np.concatenate(cepstra))


@dataclass(frozen=True)
class Pair:
    """A sentence, a sound of the voice that is to say it, and mixtures that tell the two voices."""

    kind: str
    speech: Sound
    voice: Sound
    own: Any
    other: Any


def _drawn_pairs() -> list[Pair]:
    names = sorted({name for _, *pair in PAIRS for name in pair})
    sounds = {name: [speak(text, name).sound for text in SAID[name[:2]]] for name in names}
    told = {name: _mixture([Voice.of(s).cepstra for s in few[1:]]) for name, few in sounds.items()}
    return [Pair(kind, sounds[a][0], sounds[b][1], told[a], told[b]) for kind, a, b in PAIRS]


def _recorded_pairs(folder: Path) -> list[Pair]:
    """Each speaker with the next but one; one clip a speaker has to do for both its voice and the mixture that tells it."""
    sounds = [sound for path in sorted(folder.glob("*.mpg")) if (sound := open_video(path).sound()) is not None]
    told = [_mixture([Voice.of(sound).cepstra]) for sound in sounds]
    pairs = [(i, (i + by) % len(sounds)) for i in range(len(sounds)) for by in (2, 5)]
    return [Pair("recordings", sounds[a], sounds[b], told[a], told[b]) for a, b in pairs]


def _row(name: str, kind: str, pairs: Sequence[Pair], convert: Convert) -> tuple[str, ...]:
    convert(pairs[0].speech, pairs[0].voice)  # what is loaded once is loaded now
    before, wanted = (
        [Voice.of(sound) for sound in sounds] for sounds in zip(*((p.speech, p.voice) for p in pairs), strict=True)
    )
    start = time.process_time()
    made = [convert(pair.speech, pair.voice) for pair in pairs]
    spent = (time.process_time() - start) / sum(len(p.speech.samples) / p.speech.rate for p in pairs)
    after = [Voice.of(sound) for sound in made]

    def nearer(voice: Voice, pair: Pair) -> float:
        return float(pair.other.score(voice.cepstra) - pair.own.score(voice.cepstra))

    errors, moved = [], []
    for one, other, to in zip(before, after, wanted, strict=True):
        both = (one.pitch > 0) & (other.pitch > 0)
        expected, found = (np.log2(v[both]) * 12 for v in (one.pitch, other.pitch))
        errors.append(float(np.sqrt(np.mean(np.square((found - found.mean()) - (expected - expected.mean()))))))
        moved.append(abs(other.mean / to.mean - 1))
    likelier = [(nearer(b, p), nearer(a, p)) for b, a, p in zip(before, after, pairs, strict=True)]
    distances = [(_apart(b, w), _apart(a, w)) for b, a, w in zip(before, after, wanted, strict=True)]
    f0 = "{:.0f} → {:.0f} ({:.0f})".format(*(np.mean([v.mean for v in voices]) for voices in (before, after, wanted)))
    return (
        name,
        kind,
        f0,
        f"{100 * np.mean(moved):.1f} %",
        f"{np.mean(errors):.2f}",
        "{:.1f} → {:.1f}".format(*np.mean(distances, 0)),
        "{:+.1f} → {:+.1f}".format(*np.mean(likelier, 0)),
        str(Rate.of(after > 0 for _, after in likelier)),
        f"{np.mean([v.flatness for v in before]):.3f} → {np.mean([v.flatness for v in after]):.3f}",
        f"{np.mean([v.harmonic for v in before]):.1f} → {np.mean([v.harmonic for v in after]):.1f}",
        f"{max(v.step for v in before):.2f} → {max(v.step for v in after):.2f}",
        f"{spent:.3f}",
    )


def main() -> None:
    """Print one table."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser(prog="python -m benchmarks.voice.conversion", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clips", type=Path, help="folder with one clip (.mpg) a speaker")
    parser.add_argument("--steps", type=int, default=VoiceNet().steps, help="of voice_net's training")
    asked = parser.parse_args()
    pairs = _drawn_pairs() + (_recorded_pairs(asked.clips) if asked.clips else [])
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        net = _learnt(asked.steps, Path(folder))
        print(f"voice_net: {asked.steps} steps of training took {time.process_time() - start:.0f} CPU seconds\n")
        makers: dict[str, Convert] = {
            "voice, world": partial(as_spoken_by, engine="world"),
            "voice, stft": partial(as_spoken_by, engine="stft"),
            "voice_net, world": net.as_spoken_by,
        }
        kinds = list(dict.fromkeys(pair.kind for pair in pairs))
        rows = [
            _row(name, kind, [pair for pair in pairs if pair.kind == kind], convert)
            for kind in kinds
            for name, convert in makers.items()
        ]
    heads = (
        "engine", "pairs", "F0, Hz (target)", "F0 error", "F0 RMSE, semitones", "envelope to target, dB",
        "likelier the target", "nearer the target", "flatness", "HNR, dB", "largest step", "CPU s a second",
    )  # fmt: skip
    table("Voice conversion", heads, rows)


def _learnt(steps: int, folder: Path) -> VoiceNet:
    sounds = [(f"{name} {i}", speak(text, name).sound) for name in LEARNT for i, text in enumerate(SAID[name[:2]][:2])]
    net = VoiceNet(steps=steps)
    net.train((_clip(name, sound) for name, sound in sounds), np.random.default_rng(0), folder)
    return net.load(folder)


def _clip(name: str, sound: Sound) -> Clip:
    return Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: sound, None, name)


if __name__ == "__main__":
    main()
