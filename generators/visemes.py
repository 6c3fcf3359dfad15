"""What a mouth does for each sound of speech: from phonemes in IPA to the shape of the lips, frame by frame.

Neighbouring sounds colour each other (coarticulation): every sound pulls the mouth towards its own shape, the more the nearer
its time is, and the mouth is where they balance (dominance functions; Cohen and Massaro 1993, "Modeling coarticulation in
synthetic visual speech", equations 1 to 3). Lips that must meet pull hard; a /k/ hardly pulls at all, so that its lips are its
neighbours'. How far the mouth opens follows the loudness too.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forgeline.clip import Said

Floats = NDArray[np.float32]


class Viseme(NamedTuple):
    """The shape of a mouth; all zero is a mouth at rest, shut."""

    opening: float = 0.0
    """How far the lips are apart, 0 … 1."""
    width: float = 0.0
    """How wide the mouth is: -1 narrow … 1 wide."""
    pucker: float = 0.0
    """How far the lips are put forward and rounded, 0 … 1."""
    lift: float = 0.0
    """How far the upper lip is raised, 0 … 1."""
    press: float = 0.0
    """How far the lips are pressed together, 0 … 1."""
    tuck: float = 0.0
    """How far the lower lip lies against the upper teeth, 0 … 1."""
    tongue: float = 0.0
    """How far the tip of the tongue is raised, 0 … 1."""
    teeth: float = 0.0
    """How far the jaw stays shut while the lips part, so that both rows of teeth show, 0 … 1."""


REST = Viseme()
PRESS, TUCK = Viseme._fields.index("press"), Viseme._fields.index("tuck")


class _Sound(NamedTuple):
    """A shape, and how strongly it holds: in all, and in how wide and round the lips are."""

    shape: Viseme
    firm: float = 1.0
    round: float = 1.0


# Vowels: opening, width, pucker. Open to close, as the chart of the IPA has them.
_VOWELS = {
    "a": (0.85, 0.15, 0), "ɑ": (0.95, 0, 0), "ɶ": (0.85, -0.2, 0.3), "æ": (0.8, 0.5, 0), "ɐ": (0.65, 0.1, 0),
    "ʌ": (0.6, 0.1, 0), "ɒ": (0.8, -0.3, 0.35), "ɛ": (0.55, 0.5, 0), "œ": (0.5, -0.4, 0.5), "ɜ": (0.45, -0.1, 0.15),
    "ɝ": (0.4, -0.3, 0.35), "ɔ": (0.6, -0.5, 0.55), "e": (0.42, 0.6, 0), "ø": (0.35, -0.6, 0.7), "ɘ": (0.35, 0.2, 0),
    "ə": (0.35, 0.05, 0), "ɚ": (0.35, -0.3, 0.35), "ɵ": (0.35, -0.5, 0.6), "ɞ": (0.5, -0.3, 0.4), "o": (0.42, -0.7, 0.75),
    "ɤ": (0.4, 0.2, 0), "ɪ": (0.3, 0.6, 0), "ʏ": (0.25, -0.7, 0.75), "ʊ": (0.28, -0.7, 0.75), "i": (0.24, 1, 0),
    "y": (0.2, -0.9, 0.95), "ɨ": (0.25, 0.4, 0), "ʉ": (0.2, -0.9, 0.95), "ɯ": (0.24, 0.3, 0), "u": (0.2, -1, 1),
}  # fmt: skip
_CLOSE = {"i": 0.5, "ɪ": 0.3, "e": 0.25, "ɨ": 0.3, "ɛ": 0.15}
"""Vowels that show the teeth."""
# Consonants by where they are made.
_CONSONANTS = {
    "pbmɓʙ": _Sound(Viseme(press=1), 3, 0.3),
    "fvɱⱱ": _Sound(Viseme(opening=0.16, width=0.1, lift=0.5, tuck=1), 4, 0.3),
    "ʋ": _Sound(Viseme(opening=0.16, lift=0.2, tuck=0.5), 2, 0.5),
    "ɸβ": _Sound(Viseme(opening=0.08, width=-0.1, pucker=0.3), 2, 0.5),
    "wʍɥ": _Sound(Viseme(opening=0.13, width=-1, pucker=1), 1.5, 1.5),
    "θð": _Sound(Viseme(opening=0.22, width=0.1, lift=0.2, tongue=1, teeth=0.3), 1.5, 0.4),
    "tdnlɾrɹɬɮɫɗɺ": _Sound(Viseme(opening=0.2, width=0.15, lift=0.1, tongue=0.8, teeth=0.4), 0.8, 0.2),
    "ɻ": _Sound(Viseme(opening=0.2, width=-0.3, pucker=0.4, tongue=0.3), 0.8, 0.6),
    "szɧ": _Sound(Viseme(opening=0.16, width=0.4, lift=0.25, teeth=1), 1.5, 0.5),
    "ɕʑ": _Sound(Viseme(opening=0.17, width=0.1, pucker=0.2, lift=0.3, teeth=1), 1.5, 0.6),
    "ʃʒʂʐ": _Sound(Viseme(opening=0.2, width=-0.5, pucker=0.65, lift=0.4, teeth=0.9), 1.5, 1),
    "ʈɖɳɭɽᶑ": _Sound(Viseme(opening=0.25, tongue=0.6, teeth=0.2), 0.6, 0.2),
    "cɟɲʎjçʝ": _Sound(Viseme(opening=0.22, width=0.5, tongue=0.3, teeth=0.4), 0.6, 0.5),
    "kɡgŋxɣqɢχʁɴʀɰʟ": _Sound(Viseme(opening=0.28), 0.25, 0.1),
    "hɦʔʕħʡʜʢɠʛ": _Sound(Viseme(opening=0.3), 0.12, 0.05),
}
SOUNDS: Mapping[str, _Sound] = {
    **{v: _Sound(Viseme(*shape)._replace(teeth=_CLOSE.get(v, 0.0))) for v, shape in _VOWELS.items()},
    **{letter: sound for letters, sound in _CONSONANTS.items() for letter in letters},
}
"""The shape of each letter of the IPA; whatever else a phoneme is written with (stress, tone, length) shows in no lips."""
_OTHER = _Sound(Viseme(opening=0.25), 0.2, 0.1)
"""A letter that is none of these."""
_PAUSE = _Sound(REST, 1.0, 0.5)
PAUSE_S = 0.1
"""A silence between phonemes that is longer shuts the mouth."""
FIRM_S, ROUND_S = 0.03, 0.08
"""How far beyond a sound its pull reaches (deviation of a Gaussian): lips round themselves long before they must."""
_ROUND = np.array([name in {"width", "pucker"} for name in Viseme._fields])
QUIET = 0.55
"""How far a quiet sound opens the mouth, of what the loudest does."""


def letters(phoneme: str) -> list[_Sound]:
    """The sounds in a phoneme as espeak-ng writes it: two in a diphthong or an affricate, none in a pause or a mark."""
    if "(" in phoneme:  # "(en)": espeak-ng reads on in another language
        return []
    found: list[_Sound] = []
    for letter in unicodedata.normalize("NFD", phoneme):
        if letter in SOUNDS:
            found.append(SOUNDS[letter])
        elif letter in "ʷᵝ" and found:
            shape = found[-1].shape
            found[-1] = found[-1]._replace(shape=shape._replace(width=-0.6, pucker=0.7), round=1)
        elif unicodedata.category(letter) == "Ll" and letter.isalpha():
            found.append(_OTHER)
    return found


def shapes(phonemes: Sequence[Said], loud: Floats, fps: float) -> Floats:
    """What a mouth does that says these phonemes: (frames, 8), the fields of a Viseme, in the middle of every frame.

    `loud` (frames,) in 0 … 1 is how loud the speech is. Of every sound whose lips must meet one frame at least shows them so,
    where it lasts that long.
    """
    frames = len(loud)
    times = (np.arange(frames) + 0.5) / fps
    total = np.zeros((frames, len(REST)))
    weight = np.full((frames, len(REST)), 1e-3)  # long before and after anything is said, the mouth rests
    held: list[tuple[int, int]] = []
    for start, end, sound in _spoken(phonemes, frames / fps):
        middle = (start + end) / 2
        at = int(np.clip(np.rint(middle * fps - 0.5), 0, frames - 1))
        if (sound.shape.press or sound.shape.tuck > 0.5) and start <= times[at] <= end:
            held.append((at, PRESS if sound.shape.press else TUCK))
            middle = float(times[at])
        core = 0.25 * (end - start) if sound is not _PAUSE else 0.5 * (end - start)
        reach = core + 3 * ROUND_S
        first, last = np.searchsorted(times, [middle - reach, middle + reach])
        away = np.maximum(np.abs(times[first:last] - middle) - core, 0)[:, None]
        pull = np.where(_ROUND, sound.round, sound.firm) * np.exp(-np.square(away / np.where(_ROUND, ROUND_S, FIRM_S)))
        total[first:last] += pull * np.array(sound.shape)
        weight[first:last] += pull
    found = total / weight
    for at, what in held:
        found[at, what] = 1
    found[:, PRESS] = np.clip((found[:, PRESS] - 0.4) / 0.4, 0, 1)
    closing = 1 - found[:, PRESS]
    found[:, 0] *= closing * np.maximum(QUIET + (1 - QUIET) * loud, found[:, TUCK])
    return np.asarray(found, np.float32)


def _spoken(phonemes: Sequence[Said], seconds: float) -> list[tuple[float, float, _Sound]]:
    """Start, end and sound of all that is said, and of the pauses around it."""
    spoken: list[tuple[float, float, _Sound]] = []
    before = -1.0
    for phoneme in phonemes:
        sounds = letters(phoneme.text)
        if not sounds or phoneme.start_s >= seconds:
            continue
        if phoneme.start_s - before > PAUSE_S:
            spoken.append((before, phoneme.start_s, _PAUSE))
        length = max(phoneme.end_s - phoneme.start_s, 0.01) / len(sounds)
        spoken += [(phoneme.start_s + i * length, phoneme.start_s + (i + 1) * length, s) for i, s in enumerate(sounds)]
        before = max(before, phoneme.end_s)
    return [*spoken, (before, seconds + 1, _PAUSE)] if seconds - before > PAUSE_S else spoken
