"""The speech of a pair, and what all that score it share: when there is any, its pitch, and how figures come of it.

Speech is scored at 16 kHz. Fakes whose sound was left as it is are not looked at: it is that of their control.
"""

import hashlib
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from evaluators.figure import Figure, OfClips, Pair, Rows, unmeasured
from forgeline.audio import resample
from forgeline.clip import Sound

Floats = NDArray[np.float64]

RATE = 16000
"""Hz."""
STEP_S = 0.01
"""Seconds from one value of `pitch` to the next."""
LOWEST, HIGHEST = 60.0, 500.0
"""Hz of a voice."""
LEAST = 20
"""Values of `pitch` that have to be voiced, 0.2 s, before anything is said of a voice: in noise there are some, too."""

FINGERPRINT: Final = {"sound": "mono, 16 kHz (soxr HQ)"}
PITCH: Final = "WORLD: DIO and StoneMask, 60 to 500 Hz, every 10 ms"

NO_SOUND: Final = "there is no sound in the fake, or none in its control"
SAME_SOUND: Final = "the sound was left as it is"
SILENCE: Final = "the fake or its control is silent"
NOT_VOICED: Final = "less than 0.2 s are voiced in the fake, or in its control"
NO_CLIPS: Final = "there are no clips"

_SILENT = 1e-4
"""Of full scale: what is nowhere louder holds nothing but dither."""
_REMEMBERED = 64
"""Sounds whose pitch is kept: many fakes share a control."""


class OfSpeech(OfClips):
    """Scores how a pair's sounds speak: some numbers a pair, each with a figure's name. A set's are the means of its clips'."""

    of_control: ClassVar[tuple[str, ...]] = ()
    """Figures that `values` measures of the control, too, as `…_control`; they are a set's alone."""

    @property
    @abstractmethod
    def about(self) -> Mapping[str, Mapping[str, str]]:
        """The fingerprint of each figure."""

    @abstractmethod
    def values(self, pair: Pair, control: Sound, fake: Sound) -> Mapping[str, float | str]:
        """Each figure's number, or the reason why there is none; both sounds are at `RATE` and not silent."""

    def rows(self, pair: Pair) -> Rows:
        if "audio" not in pair.changes:
            return unmeasured(SAME_SOUND)
        control, fake = pair.sounds
        if control is None or fake is None:
            return unmeasured(NO_SOUND)
        sounds = resample(control, RATE), resample(fake, RATE)
        if any(np.abs(sound.samples).max(initial=0) <= _SILENT for sound in sounds):
            return unmeasured(SILENCE)
        return {name: np.array([value]) for name, value in self.values(pair, *sounds).items()}

    def of_sample(self, rows: Rows) -> dict[str, Figure]:
        return {name: mean_of([rows] if rows else [], name, about) for name, about in self.about.items()}

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        kept = [pair for pair in rows if pair]
        found = {name: mean_of(kept, name, about) for name, about in self.about.items()}
        beside = {f"{name}_control": self.about[name] for name in self.of_control}
        return found | {name: mean_of(kept, name, about) for name, about in beside.items()}


def mean_of(rows: Iterable[Rows], name: str, about: Mapping[str, str]) -> Figure:
    """The mean of those pairs' values that are numbers; the first reason where none is."""
    cells = [pair[name][0] for pair in rows]
    numbers = [float(cell) for cell in cells if not isinstance(cell, str)]
    if numbers:
        return Figure(float(np.mean(numbers)), len(numbers), about)
    return Figure(None, 0, about, next((str(cell) for cell in cells), NO_CLIPS))


def parts(samples: NDArray[np.float32], seconds: float) -> Iterator[NDArray[np.float32]]:
    """The samples at `RATE` in as few parts, all but equally long, as none is longer than `seconds`."""
    yield from np.array_split(samples, max(1, -(-len(samples) // round(seconds * RATE))))


def pitch(sound: Sound) -> Floats:
    """Hz of the voice every `STEP_S` from the beginning on; 0 where nothing is voiced.

    DIO (Morise, Kawahara and Katayose 2009), refined by StoneMask, as in WORLD (Morise, Yokomori and Ozawa 2016).
    """
    key = hashlib.blake2b(sound.samples.tobytes(), digest_size=16).digest()
    if key in _PITCHES:
        _PITCHES.move_to_end(key)
        return _PITCHES[key]
    import pyworld

    samples = sound.samples.astype(np.float64)
    rough, at = pyworld.dio(samples, sound.rate, f0_floor=LOWEST, f0_ceil=HIGHEST, frame_period=1000 * STEP_S)
    _PITCHES[key] = np.asarray(pyworld.stonemask(samples, rough, at, sound.rate), np.float64)
    if len(_PITCHES) > _REMEMBERED:
        _PITCHES.popitem(last=False)
    return _PITCHES[key]


_PITCHES: OrderedDict[bytes, Floats] = OrderedDict()
