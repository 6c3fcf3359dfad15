"""What was checked of each language that voices speak.

    python -m benchmarks.voice.languages        prints the tables of docs/languages.md

Whether tones come out is measured on syllables that differ in nothing else: their pitch, in semitones above 100 Hz, at four
moments of what is voiced (its first fifth is left out), against how the tone is described.
"""

import resource
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise

import numpy as np

from forgeline.audio import fit, resample
from forgeline.clip import Clip, Sound
from forgeline.errors import ParamsError
from forgeline.sentences import LANGUAGES, Language
from forgeline.speech import Utterance, engine_version, speak
from generators.speech import Speech

Contour = list[float]
TONES: dict[str, tuple[tuple[str, str, str], ...]] = {
    "cmn": (("妈", "1, high level", "level"), ("麻", "2, rising", "rises"), ("马", "3, low, dipping", "dips"),
            ("骂", "4, falling", "falls")),
    "yue": (("詩", "1, high level", "level"), ("史", "2, high rising", "rises"), ("試", "3, mid level", "level"),
            ("時", "4, low falling", "falls"), ("市", "5, low rising", "rises"), ("事", "6, low level", "level")),
    "vi": (("ma", "ngang, level", "level"), ("má", "sắc, rising", "rises"), ("mà", "huyền, falling", "falls"),
           ("mả", "hỏi, dipping", "dips"), ("mã", "ngã, broken, rising", "rises"), ("mạ", "nặng, dropping", "falls")),
}  # fmt: skip
ORDER = {"cmn": ("妈", "马"), "yue": ("詩", "試", "事", "時"), "vi": ("mã", "ma", "mà")}
"""Syllables from the highest to the lowest, by the mean of their pitch."""
LEFT_OUT = {"th": ("คา", "ข่า", "ค่า", "ค้า", "ขา")}
FOREIGN = {"Latin": "Доброе утро", "Cyrillic": "Good morning"}

HEADS = (
    "code", "language", "voice", "script", "tonal", "sentences", "words", "seconds", "phonemes", "kinds of them",
    "same in two processes", "other script",
)  # fmt: skip

SHAPES: dict[str, Callable[[Contour], bool]] = {
    "level": lambda at: max(at) - min(at) < 1.2,
    "rises": lambda at: at[-1] - min(at[:2]) > 1,
    "falls": lambda at: at[-1] - max(at[:2]) < -0.4,
    "dips": lambda at: min(at[1:3]) < at[0] - 0.4 and at[-1] > min(at[1:3]) + 0.4,
}


def main() -> None:
    print(f"espeak-ng of espeakng-loader {engine_version()}\n")
    rows = [_row(code, language) for code, language in LANGUAGES.items()]
    _table(
        [
            "code",
            "language",
            "voice",
            "script",
            "tonal",
            "sentences",
            "words",
            "seconds",
            "short ones",
            "phonemes",
            "kinds",
            "same twice",
            "other script",
        ],
        rows,
    )
    for code in TONES:
        _tones(code)
    for code, texts in LEFT_OUT.items():
        said = {text: speak(text, code, rate=120) for text in texts}
        different = {one.sound.samples.tobytes() for one in said.values()}
        print(f"{code}: {len(texts)} syllables of five tones, {len(different)} different sounds")
        _table(["text", "phonemes"], [[text, _ipa(one)] for text, one in said.items()])
    print(_speed())


def _row(code: str, language: Language) -> list[object]:
    texts = (*language.sentences, *language.short)
    said = [speak(text, language.voice) for text in texts]
    again = [speak(text, language.voice) for text in texts]
    same = all(
        np.array_equal(a.sound.samples, b.sound.samples) and (a.words, a.phonemes) == (b.words, b.phonemes)
        for a, b in zip(said, again, strict=True)
    )
    ends = [one.phonemes[-1].end_s for one in said]
    short, ends = ends[len(language.sentences) :], ends[: len(language.sentences)]
    counts = [len(one.phonemes) for one in said]
    kinds = {p.text.lstrip("ˈˌ") for one in said for p in one.phonemes}
    try:
        speak(FOREIGN.get(language.script, FOREIGN["Cyrillic"]), language.voice)
        refused = "said"
    except ParamsError:
        refused = "refused"
    return [
        f"`{code}`", language.name, f"`{language.voice}`", language.script, "yes" if language.tonal else "no",
        len(ends), len(language.words), f"{min(ends):.1f} to {max(ends):.1f}",
        f"{len(short)}: {min(short):.1f} to {max(short):.1f}", f"{min(counts)} to {max(counts)}", len(kinds),
        "yes" if same else "NO", refused,
    ]  # fmt: skip


def _tones(code: str) -> None:
    language = LANGUAGES[code]
    voices = (language.voice, language.voice + "+m3", language.voice + "+f2")
    at = {(text, voice): contour(text, voice) for text, _, _ in TONES[code] for voice in voices}
    rows = []
    for text, tone, shape in TONES[code]:
        heard = " ".join(f"{one:.1f}" for one in at[text, voices[0]])
        rows.append([text, tone, heard, *("yes" if SHAPES[shape](at[text, voice]) else "no" for voice in voices)])
    levels = {voice: [float(np.mean(at[text, voice])) for text in ORDER[code]] for voice in voices}
    shown = " ".join(f"{one:.1f}" for one in levels[voices[0]])
    falling = ("yes" if all(a > b for a, b in pairwise(levels[voice])) else "no" for voice in voices)
    rows.append([" > ".join(ORDER[code]), "from high to low", shown, *falling])
    _table(["text", "tone", "semitones", *(f"`{voice}`" for voice in voices)], rows)


def contour(text: str, voice: str) -> Contour:
    """Four pitches in semitones above 100 Hz: medians of the last four fifths of m and vowel, by WORLD's harvest."""
    import pyworld

    said = speak(text, voice, rate=120)
    sound, start_s = said.sound, next(one.start_s for one in said.phonemes if one.text != "s")
    samples = sound.samples.astype(np.float64)
    pitch, times = pyworld.harvest(samples, sound.rate, f0_floor=50, f0_ceil=500, frame_period=5)
    pitch = pyworld.stonemask(samples, pitch, times, sound.rate)
    heard = 12 * np.log2(pitch[(pitch > 0) & (times >= start_s)] / 100)
    parts = np.array_split(heard[np.abs(heard - np.median(heard)) < 7], 5)  # further away are wrong octaves
    return [float(np.median(part)) for part in parts[1:]]


def _ipa(said: Utterance) -> str:
    return " ".join(one.text for one in said.phonemes)


def _speed(clips: int = 20, seconds: float = 3.0) -> str:
    """CPU time of `Speech`, with that of the processes it starts, on recordings of one sentence."""
    spoken = speak("The weather should be dry until the evening.", "en-us").sound
    room = np.random.default_rng(1).standard_normal(round(seconds * 16000)).astype(np.float32) * np.float32(1e-3)
    sound = Sound(fit(resample(spoken, 16000), seconds).samples + room, 16000)
    target = Clip("audio", 0, 0, Fraction(0), 0, lambda: iter(()), lambda: sound)
    Speech()([target], np.random.default_rng(0))  # what is imported and compiled once
    before, start = _cpu_s(), time.monotonic()
    for seed in range(clips):
        Speech()([target], np.random.default_rng(seed))
    spent, wall = _cpu_s() - before, time.monotonic() - start
    return (
        f"Speech: {spent / clips:.3f} CPU s ({wall / clips:.3f} s on the clock) for {seconds:g} s of sound, "
        f"{seconds * clips / spent:.0f} times as fast as it is heard on one core"
    )


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


if __name__ == "__main__":
    main()
