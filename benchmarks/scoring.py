"""What scoring costs, what the shortcuts in it save over the usual implementations, and how well voices are told apart.

    OMP_NUM_THREADS=1 python -m benchmarks.scoring
    OMP_NUM_THREADS=1 python -m benchmarks.scoring VOICES

CPU seconds of one thread, least of three. VOICES is a folder of clips, with one folder a speaker or one clip a speaker beside
them: how often two clips of a speaker are more alike than those of two (the area under the curve), clips that are the same left
out.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pytorch_fid.fid_score import calculate_frechet_distance

from evaluators import speech
from evaluators.fid import Moments, frechet_distance
from evaluators.figure import OfClips, OfFrames, Pair, measure
from evaluators.speaker_similarity import alike, voiced_cepstra
from evaluators.table import EVALUATORS
from forgeline.audio import SoundForm, open_sound
from forgeline.clip import Clip, Said, Sound
from forgeline.video import open_video

Features = NDArray[np.float64]


def seconds(work: Callable[[], object], times: int = 3) -> float:
    spent = []
    for _ in range(times):
        start = time.process_time()
        work()
        spent.append(time.process_time() - start)
    return min(spent)


def distance(one: Features, other: Features) -> float:
    found = []
    for rows in (one, other):
        moments = Moments(rows.shape[1])
        moments.add(rows)
        found.append(moments.gaussian())
    return frechet_distance(*found)


def usual_distance(one: Features, other: Features) -> float:
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # sqrtm(disp=…)
        return float(calculate_frechet_distance(one.mean(0), first, other.mean(0), second))


def time_pair(rng: np.random.Generator, size: int) -> None:
    shown = rng.integers(0, 256, (75, size, size, 3), np.uint8)
    mask = np.full((75, size, size), 255, np.uint8)
    clip = Clip("video", size, size, Fraction(25), 75, lambda: iter(shown), lambda: None)
    pair = Pair("a", clip, clip, "swap", "test", masks=lambda: iter(mask))
    evaluators = {name: kind() for name, kind in EVALUATORS.items() if issubclass(kind, OfFrames)}
    few, all_ = (seconds(lambda k=k: measure(pair, evaluators, k)) for k in (8, 75))  # type: ignore[misc]
    print(f"a pair of 75 frames of {size} px, without decoding: {few:.3f} s for 8 of them, {all_:.3f} s for all")


def time_speech(rng: np.random.Generator, seconds_: int) -> None:
    """Of noise in pulses, as loud and as long as speech."""
    at = np.arange(seconds_ * speech.RATE) / speech.RATE
    control = (0.2 * np.sign(np.sin(2 * np.pi * 120 * at)) * (np.sin(2 * np.pi * 2 * at) > 0)).astype(np.float32)
    fake = (control + rng.normal(0, 0.01, len(control))).astype(np.float32)
    words = (Said(0.1, 0.4, "one"),)
    clips = [
        Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda s=samples: Sound(s, speech.RATE), words=words)  # type: ignore[misc]
        for samples in (control, fake)
    ]
    for name, kind in EVALUATORS.items():
        if issubclass(kind, speech.OfSpeech):
            evaluator: OfClips = kind()

            def work(evaluator: OfClips = evaluator) -> object:
                speech._PITCHES.clear()
                return evaluator.rows(Pair("a", clips[1], clips[0], "voice", "test", aligned=False))

            print(f"{name} of a pair of {seconds_} s: {seconds(work):.3f} s")


def tell_apart(folder: Path) -> None:
    form = SoundForm()
    speakers, cepstra, heard = [], [], set()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".mpg", ".mp4", ".wav", ".flac")):
        sound = (open_sound if path.suffix in (".wav", ".flac") else open_video)(path).sound()
        if sound is None or sound.samples.tobytes() in heard:
            continue
        heard.add(sound.samples.tobytes())
        cepstra.append(voiced_cepstra(form(sound, len(sound.samples) / sound.rate)))
        speakers.append(str(path if path.parent == folder else path.parent))
    pairs = [(speakers[a] == speakers[b], alike(cepstra[a], cepstra[b])) for a, b in combinations(range(len(cepstra)), 2)]
    same, apart = (np.array([value for is_same, value in pairs if is_same is which]) for which in (True, False))
    area = float((same[:, None] > apart).mean())
    print(f"{len(cepstra)} clips of {len(set(speakers))} speakers, mean cepstra: area under the curve {area:.3f}")
    for name, values in (("same", same), ("other", apart)):
        low, middle, high = np.percentile(values, [10, 50, 90])
        print(f"  {name} speaker, {len(values)} pairs: {low:.2f} {middle:.2f} {high:.2f} (10th, 50th, 90th percentile)")


def time_distance(rng: np.random.Generator, n: int) -> None:
    mixing = 0.05 * rng.normal(size=(256, 2048))
    one, other = (rng.normal(size=(n, 256)) @ mixing + 0.1 * rng.normal(size=(n, 2048)) for _ in range(2))
    ours, theirs = seconds(lambda: distance(one, other), 1), seconds(lambda: usual_distance(one, other), 1)
    print(f"Fréchet distance of 2 x {n} frames, 2048 features: {ours:.2f} s, pytorch-fid {theirs:.2f} s")
    print(f"  {distance(one, other):.9f}, pytorch-fid {usual_distance(one, other):.9f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voices", type=Path, nargs="?")
    voices = parser.parse_args().voices
    if voices:
        tell_apart(voices)
        return
    rng = np.random.default_rng(0)
    time_speech(rng, 3)
    for size in (256, 1080):
        time_pair(rng, size)
    for n in (500, 5000):
        time_distance(rng, n)


if __name__ == "__main__":
    main()
