"""What taking noise out gains, and whether forged speech leaves the silence around it as it was.

    python -m benchmarks.voice.noise [FOLDER]

Of espeak-ng's voices, and of the first eight videos in FOLDER (GRID). Noise of four kinds is added at eight levels, and rows
are by the ratio of speech to noise that ingest measures: how much closer (SI-SDR, in dB) `denoised` brings the clip to what it
was. Then the speech of each clip is put in the place of two others', as `lip_sync` does, and silences are measured as the audit
does, in the form that the seal gives to sound: the forged one's less the recording's, in ms.
"""

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forgeline.activity import activity
from forgeline.audio import SoundForm, resample
from forgeline.clip import Sound
from forgeline.denoise import denoised
from forgeline.errors import MediaError
from forgeline.hearing import traits
from forgeline.sentences import LANGUAGES
from forgeline.speech import speak
from forgeline.video import open_video
from generators.recording import placed

RATE = 16000
LEVELS = (-5, 0, 5, 10, 15, 20, 25, 30)
BOUNDS = (-20, 5, 10, 15, 20, 25, 30, 80)
Wave = NDArray[np.float64]


def main(folder: Path | None) -> None:
    clips = list(speech(folder))
    print(f"{len(clips)} clips\n\n| snr_db | mixtures | mean gain | least gain |\n|---|---|---|---|")
    gains = [gain for clip in clips for gain in denoising(clip)]
    for low, high in pairwise(BOUNDS):
        some = [gain for snr, gain in gains if low <= snr < high]
        if some:
            print(f"| {low} to {high} | {len(some)} | {np.mean(some):.1f} | {min(some):.1f} |")
    print("\n| silence | pairs | mean | spread | furthest | longer | shorter |\n|---|---|---|---|---|---|---|")
    for name, off in zip(("before", "after"), zip(*silences(clips), strict=True), strict=True):
        ms = 1000 * np.array(off)
        counts = f"{np.mean(ms > 1):.0%} | {np.mean(ms < -1):.0%}"
        print(f"| {name} | {len(ms)} | {ms.mean():+.1f} | {ms.std():.1f} | {np.abs(ms).max():.0f} | {counts} |")


def speech(folder: Path | None) -> Iterator[Sound]:
    for language, voice in (("en", "en-us"), ("de", "de+f3"), ("es", "es"), ("hi", "hi")):
        said = resample(speak(" ".join(LANGUAGES[language].sentences[:2]), voice).sound, RATE).samples
        yield Sound(np.pad(said, RATE // 2), RATE)
    for path in sorted(folder.rglob("*.mpg"))[:8] if folder else ():
        sound = open_video(path).sound()
        if sound is not None:
            yield resample(sound, RATE)


def denoising(clip: Sound) -> Iterator[tuple[float, float]]:
    """The measured ratio, and the gain, of each mixture that tells its noise."""
    clean = clip.samples.astype(np.float64)
    for noise in noises(len(clean)):
        for level in LEVELS:
            scale = np.sqrt(np.square(clean).mean() / np.square(noise).mean()) * 10 ** (-level / 20)
            mixed = Sound((clean + scale * noise).astype(np.float32), RATE)
            quiet = denoised(mixed)
            if quiet is not None:
                yield activity(mixed).snr_db, nearness(clean, quiet) - nearness(clean, mixed)


def noises(count: int) -> Iterator[Wave]:
    """White, pink, brown, and white that swells."""
    white = np.random.default_rng(3).normal(size=count)
    hertz = np.maximum(np.fft.rfftfreq(count, 1 / RATE), 60)
    spectrum = np.fft.rfft(white)
    yield white
    yield np.fft.irfft(spectrum / np.sqrt(hertz), count)
    yield np.fft.irfft(spectrum / hertz, count)
    yield white * (1 + 0.8 * np.sin(np.pi * np.arange(count) / RATE))


def nearness(clean: Wave, heard: Sound) -> float:
    """SI-SDR (Le Roux, Wisdom, Erdogan and Hershey 2019)."""
    found = heard.samples.astype(np.float64)
    part = (clean @ found) / (clean @ clean) * clean
    return float(10 * np.log10((part @ part) / np.square(found - part).sum()))


def silences(clips: list[Sound]) -> Iterator[tuple[float, float]]:
    form = SoundForm()
    for at, recording in enumerate(clips):
        seconds = len(recording.samples) / recording.rate
        for further in (1, 2):
            try:
                put = placed(clips[(at + further) % len(clips)], recording, np.random.default_rng(at))
            except MediaError:
                continue  # one is more than twice as long as the other
            made, own = traits(form(put.sound, seconds)), traits(form(recording, seconds))
            yield made.leading_silence - own.leading_silence, made.trailing_silence - own.trailing_silence


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    main(parser.parse_args().folder)
