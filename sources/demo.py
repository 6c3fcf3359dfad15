"""The demo corpus: people who do not exist say neutral sentences. Rendered here, so that everything can be tried at once.

Everyone speaks one language: those of `languages` in turn, from person to person.

`jobs` says what there is to render, `render` renders one clip. A clip is `<person>/<clip>.mp4` (p00/c0.mp4) with its ground
truth beside it in `<clip>.truth.json`. What a person looks like follows from the seed and the person's number, a clip from
those and its own number: more people or more clips change none that are there.
"""

import json
import math
import unicodedata
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from forgeline.audio import fit, resample
from forgeline.clip import Said, Sound
from forgeline.code import code_digest, library_versions
from forgeline.files import replacing, write_text
from forgeline.recipe import digest
from forgeline.section import Section
from forgeline.sentences import LANGUAGES, Language
from forgeline.speech import Utterance, engine_version, speak
from forgeline.video import Encoding, VideoWriter

if TYPE_CHECKING:  # it imports numba, which takes a second
    from sources.heads import Expression, Pose

Floats = NDArray[np.float64]

_SOUND_RATE = 48000
_ENCODING = Encoding(crf=10)
_SPREAD = np.array([math.sqrt(2), 3 / 8, math.sqrt(7)])
"""Steps from person to person in skin tone, hair style and age: any few people in a row are spread out over each (the
fractional parts of an irrational number's multiples are), and eight go through all eight styles."""
_FLOOR = 3e-4  # a room is never digitally silent
_LONGEST_S = 360  # as much as is said at once


class Demo(Section):
    """How much of the demo corpus is rendered. It has no people, so it has no terms."""

    people: Annotated[int, Field(ge=1, le=1000)] = 8
    clips: Annotated[int, Field(ge=1, le=100)] = 2
    """Clips a person."""
    frames: Annotated[int, Field(ge=2, le=9000)] = 75
    """Pictures a clip."""
    size: Annotated[int, Field(ge=64, le=1024, multiple_of=2)] = 256
    """Sides of the picture, in pixels."""
    fps: Annotated[int, Field(ge=5, le=60)] = 25
    seed: Annotated[int, Field(ge=0)] = 1
    long_clips: Annotated[tuple[Annotated[int, Field(ge=2, le=9000)], ...], Field(strict=False)] = ()
    """Pictures of further clips: the first person has one more of the first length, the second one of the second."""
    languages: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] = ("en",)
    """Codes of `forgeline.sentences`: the first person speaks the first of them, the next one the next, and so on again."""

    @field_validator("languages")
    @classmethod
    def _known(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        if unknown := [code for code in languages if code not in LANGUAGES]:
            raise ValueError(f"{', '.join(unknown)}: no sentences are shipped for it, but for {', '.join(LANGUAGES)}")
        return languages

    @model_validator(mode="after")
    def _not_too_long(self) -> Self:
        longest = max(self.frames, *self.long_clips, 0)
        if longest > _LONGEST_S * self.fps:
            raise ValueError(f"a clip of {longest / self.fps:.0f} s: at most {_LONGEST_S} s are spoken")
        if len(self.long_clips) > self.people:
            raise ValueError(f"{len(self.long_clips)} long clips: there are {self.people} people")
        return self


@dataclass(frozen=True)
class Job:
    """One clip to render: its `path` below the corpus, with `/`, and a `key` of everything that makes its bytes."""

    path: str
    key: str
    demo: Demo
    person: int
    clip: int


def jobs(demo: Demo) -> list[Job]:
    """One job a clip, in the order of their paths' numbers. FactoryError where there is nothing to speak with."""
    makers = {"code": code_digest("sources.demo"), "libraries": library_versions(), "espeakng-loader": engine_version()}
    there = []
    for person in range(demo.people):
        lengths = [demo.frames] * demo.clips + list(demo.long_clips[person : person + 1])
        for clip, frames in enumerate(lengths):
            told = demo.model_copy(update={"frames": frames, "long_clips": ()})
            key = digest([makers, told.model_dump(exclude={"people", "clips"}), person, clip])
            there.append(Job(f"p{person:02d}/c{clip}.mp4", key, told, person, clip))
    return there


def render(job: Job, folder: Path) -> None:
    """Renders one clip to `folder / job.path`, after its `.truth.json`; each file is whole or not there."""
    from sources import heads

    demo = job.demo
    person_rng = np.random.default_rng([demo.seed, job.person, 0])
    rng = np.random.default_rng([demo.seed, job.person, 1 + job.clip])
    start = np.random.default_rng([demo.seed, 2**32 - 1]).random(3)
    tone, style, years = ((start + job.person * _SPREAD) % 1).tolist()
    who = heads.person(person_rng, tone, style, years)
    code = demo.languages[job.person % len(demo.languages)]
    language = LANGUAGES[code]
    voice = str(person_rng.choice(language.low if who.jaw >= 1 else language.high))
    pitch = int(person_rng.integers(35, 66))

    seconds = demo.frames / demo.fps
    text = _text(job, seconds, language)
    sound, words, phonemes = _sound(text, voice, pitch, seconds, rng)
    scene = heads.scene(rng)
    poses, expressions = _act(demo, sound, phonemes, rng)

    target = folder / job.path
    truth = {
        "person": Path(job.path).parent.name,
        "seed": demo.seed,
        "attributes": {**who.attributes(), "language": code},
        "proportions": asdict(who),
        "scene": asdict(scene),
        "voice": {"name": voice, "pitch": pitch},
        "text": text,
        "words": [[round(said.start_s, 4), round(said.end_s, 4), said.text] for said in words],
        "phonemes": [[round(said.start_s, 4), round(said.end_s, 4), said.text] for said in phonemes],
        "frames": [
            {"pose": asdict(pose), "expression": asdict(expression)}
            for pose, expression in zip(poses, expressions, strict=True)
        ],
    }
    write_text(target.with_suffix(".truth.json"), json.dumps(truth, ensure_ascii=False, indent=1) + "\n")
    with (
        replacing(target) as part,
        VideoWriter(part, demo.size, demo.size, Fraction(demo.fps), _ENCODING, sound) as out,
    ):
        for pose, expression in zip(poses, expressions, strict=True):
            out.write(heads.frame(who, expression, pose, scene, demo.size, rng))


def _text(job: Job, seconds: float, language: Language) -> str:
    """As many sentences as about fill the clip: other ones for each clip of a person, and for the next person's, too."""
    sentences = language.sentences
    order = np.random.default_rng([job.demo.seed, 2**32 - 2]).permutation(len(sentences))
    count = max(1, round(seconds / 3.2))
    first = 2 * job.person + job.clip * count
    return (" " if language.spaced else "").join(sentences[order[(first + i) % len(sentences)]] for i in range(count))


def _sound(
    text: str, voice: str, pitch: int, seconds: float, rng: np.random.Generator
) -> tuple[Sound, tuple[Said, ...], tuple[Said, ...]]:
    """The sentence, spoken so fast that it fills the clip but for short silences around it; its words and phonemes."""
    lead, trail = rng.uniform(0.06, 0.30, 2) * min(1.0, seconds / 3)
    usual = _voiced_s(speak(text, voice, pitch=pitch))
    rate = int(np.clip(165 * usual / (seconds - lead - trail), 130, 215))
    said = speak(text, voice, rate=rate, pitch=pitch)
    spoken = resample(said.sound, _SOUND_RATE).samples
    whole = fit(Sound(np.concatenate([np.zeros(round(lead * _SOUND_RATE), np.float32), spoken]), _SOUND_RATE), seconds)
    fade = np.clip(np.arange(len(whole.samples), 0, -1) / (0.08 * _SOUND_RATE), 0, 1)
    room = rng.standard_normal(len(whole.samples)) * _FLOOR
    gain = rng.uniform(0.6, 0.9)
    samples = np.clip(whole.samples * (fade * fade * (3 - 2 * fade)) * gain + room, -1, 1).astype(np.float32)
    return Sound(samples, _SOUND_RATE), _later(said.words, lead, seconds), _later(said.phonemes, lead, seconds)


def _later(said: tuple[Said, ...], by: float, seconds: float) -> tuple[Said, ...]:
    """The same, later, as far as the clip goes."""
    return tuple(
        Said(by + one.start_s, min(by + one.end_s, seconds), one.text) for one in said if by + one.start_s < seconds - 1e-3
    )


def _voiced_s(said: Utterance) -> float:
    """Seconds until the last sample that can be heard."""
    loud = np.flatnonzero(np.abs(said.sound.samples) > 0.01)
    return (int(loud[-1]) + 1) / said.sound.rate if len(loud) else len(said.sound.samples) / said.sound.rate


# How the mouth looks in the middle of a phoneme: jaw open, smile, pucker. What is not here is like its class below.
_VISEMES = {
    "a": (0.85, 0.2, 0.0), "ɑ": (0.95, 0.1, 0.0), "æ": (0.85, 0.4, 0.0), "ɐ": (0.65, 0.2, 0.0), "ʌ": (0.65, 0.2, 0.0),
    "ə": (0.40, 0.2, 0.0), "ɚ": (0.40, 0.0, 0.3), "ɜ": (0.45, 0.0, 0.3), "e": (0.50, 0.5, 0.0), "ɛ": (0.55, 0.4, 0.0),
    "i": (0.28, 0.8, 0.0), "ɪ": (0.32, 0.6, 0.0), "o": (0.55, 0.0, 0.7), "ɔ": (0.65, 0.0, 0.6), "u": (0.28, 0.0, 1.0),
    "ʊ": (0.35, 0.0, 0.8), "ɒ": (0.80, 0.0, 0.3), "y": (0.28, 0.0, 0.9), "ʏ": (0.32, 0.0, 0.8), "ø": (0.45, 0.0, 0.7),
    "œ": (0.55, 0.0, 0.6), "ʉ": (0.28, 0.0, 0.9), "ɵ": (0.42, 0.0, 0.7), "w": (0.15, 0.0, 1.0), "ɥ": (0.15, 0.0, 1.0),
    "m": (0.0, 0.1, 0.0), "b": (0.0, 0.1, 0.0), "p": (0.0, 0.1, 0.0), "ɓ": (0.0, 0.1, 0.0), "f": (0.05, 0.2, 0.0),
    "v": (0.05, 0.2, 0.0), "β": (0.05, 0.1, 0.0), "ɸ": (0.05, 0.1, 0.0), "ʋ": (0.08, 0.2, 0.0), "ʃ": (0.15, 0.0, 0.6),
    "ʒ": (0.15, 0.0, 0.6), "ʂ": (0.15, 0.0, 0.4), "ʐ": (0.15, 0.0, 0.4), "ɕ": (0.15, 0.3, 0.2), "_": (0.0, 0.1, 0.0),
}  # fmt: skip
_OTHER_VOWELS = frozenset("ɨɯɤɘɞɶ")
_VOWEL = (0.45, 0.2, 0.1)
_CONSONANT = (0.12, 0.2, 0.1)  # teeth apart a little
_PAUSE_S = 0.1  # lips that have less do not meet


def viseme(ipa: str) -> tuple[float, float, float]:
    """Jaw, smile and pucker in the middle of a phoneme, by its first letter; marks of stress, tone and length are skipped."""
    letters = [c for c in unicodedata.normalize("NFD", ipa) if unicodedata.category(c) in ("Ll", "Lu", "Lo")]
    if not letters:
        return _VISEMES["_"]
    return _VISEMES.get(letters[0], _VOWEL if letters[0] in _OTHER_VOWELS else _CONSONANT)


def _act(
    demo: Demo, sound: Sound, phonemes: tuple[Said, ...], rng: np.random.Generator
) -> tuple[list["Pose"], list["Expression"]]:
    """Pose and expression of every frame: the mouth follows phonemes and loudness, the rest lives."""
    from sources.heads import Expression, Pose

    times = (np.arange(demo.frames) + 0.5) / demo.fps
    loud = _loudness(sound, demo.frames)
    jaw, smile, pucker = _mouth(times, demo.frames / demo.fps, phonemes)
    jaw = loud * (0.7 * jaw + 0.3 * np.minimum(jaw / 0.12, 1))  # loud sounds open the mouth, but lips that close stay closed
    mood = rng.uniform(-0.05, 0.35)
    calm = _smooth(loud, 4)
    stress = _smooth(np.clip(loud - calm, 0, 1), 2)

    yaw = rng.uniform(-0.20, 0.20) + _sway(times, 0.16, rng)
    pitch = _sway(times, 0.05, rng) - 0.10 * stress
    roll = rng.uniform(-0.03, 0.03) + _sway(times, 0.035, rng) + 0.12 * yaw
    x, y = _sway(times, 0.05, rng), _sway(times, 0.025, rng) - 0.05 * stress
    blink = _blinks(times, rng)
    brow = np.clip(_sway(times, 0.35, rng) + 0.9 * stress, -1, 1)
    gaze_x, gaze_y = _gaze(times, rng) - 1.2 * yaw, 0.5 * _gaze(times, rng)
    return (
        [Pose(*row) for row in _rows(yaw, pitch, roll, x, y)],
        [
            Expression(*row)
            for row in _rows(
                jaw, np.clip(mood + 0.6 * smile, -1, 1), pucker, blink, blink, brow, np.clip(gaze_x, -1, 1), gaze_y
            )
        ],
    )


def _rows(*columns: Floats) -> list[list[float]]:
    """Frame by frame, rounded to what the ground truth says."""
    rows: list[list[float]] = np.round(np.stack(columns, axis=1), 4).tolist()
    return rows


def _loudness(sound: Sound, frames: int) -> Floats:
    """0 to 1 a frame: how loud it is, as the root of the mean square against the clip's loudest tenth."""
    parts = np.array_split(sound.samples.astype(np.float64), frames)
    level = np.sqrt([float(np.mean(part * part)) for part in parts])
    return np.clip(level / max(float(np.quantile(level, 0.9)), 0.01), 0, 1)


def _mouth(times: Floats, seconds: float, phonemes: tuple[Said, ...]) -> tuple[Floats, Floats, Floats]:
    """Jaw, smile and pucker at `times`, between the phonemes' middles, closed before, after and in pauses."""
    closed = _VISEMES["_"]
    keys = [(max(phonemes[0].start_s - 0.10, 0.0), *closed)]
    for said, after in zip(phonemes, [said.start_s for said in phonemes[1:]] + [seconds], strict=True):
        keys.append((said.start_s + 0.5 * min(said.end_s - said.start_s, 0.2), *viseme(said.text)))
        if after - said.end_s > _PAUSE_S:
            keys.append(((said.end_s + after) / 2, *closed))
    keys.append((seconds, *closed))
    at, *shapes = np.array(keys).T
    jaw, smile, pucker = (_smooth(np.interp(times, at, shape), 0.6) for shape in shapes)
    return jaw, smile, pucker


def _smooth(values: Floats, frames: float) -> Floats:
    """The values under a Gaussian of this many frames' deviation; the ends are held."""
    reach = math.ceil(3 * frames)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / frames) ** 2)
    smooth: Floats = np.convolve(np.pad(values, reach, mode="edge"), kernel / kernel.sum(), "valid")
    return smooth


def _sway(times: Floats, most: float, rng: np.random.Generator) -> Floats:
    """Slow movement within ±`most`: three sines without a common period."""
    waves = [
        share * np.sin(2 * math.pi * (hertz * rng.uniform(0.8, 1.2) * times + rng.uniform()))
        for share, hertz in ((0.55, 0.23), (0.30, 0.47), (0.15, 0.9))
    ]
    sway: Floats = most * np.sum(waves, axis=0)
    return sway


def _blinks(times: Floats, rng: np.random.Generator) -> Floats:
    """0 open, 1 shut: a blink of a fifth of a second every two to five seconds, the first within the first two."""
    shut = np.zeros_like(times)
    at = rng.uniform(0.3, 1.8)
    while at < times[-1]:
        shut = np.maximum(shut, np.clip(1.6 - np.abs(times - at) / 0.065, 0, 1))
        at += rng.uniform(2, 5)
    return shut


def _gaze(times: Floats, rng: np.random.Generator) -> Floats:
    """Where the eyes rest, -1 to 1: a jump every half to one and a half seconds, mostly back to the middle."""
    rest = np.zeros_like(times)
    at = 0.0
    while at < times[-1]:
        rest[times >= at] = rng.uniform(-0.5, 0.5) if rng.random() < 0.5 else rng.uniform(-0.08, 0.08)
        at += rng.uniform(0.5, 1.5)
    return rest
