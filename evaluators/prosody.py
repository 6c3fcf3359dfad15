"""How a fake's manner of speaking differs from its control's: the pitch and its range, how much is voiced, how long it speaks
and how fast.

Every figure is a difference, fake less control, with a sign. A set's, `…_abs`, is the mean over its clips of the figure's size.
Other words have another melody and another length: where a fake says what its control does not, a difference is no fault.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from evaluators.figure import Figure, Pair, Rows
from evaluators.speech import FINGERPRINT, LEAST, NOT_VOICED, PITCH, STEP_S, OfSpeech, mean_of, pitch
from forgeline.clip import Sound
from forgeline.hearing import traits

NO_PHONEMES: Final = "the phonemes of the fake are not known, or its control's"
NO_SPEECH: Final = "the fake speaks nowhere, or its control"

MEASURES: Final = {
    "prosody_f0_median": "semitones between the medians of the pitch",
    "prosody_f0_range": "semitones from the pitch's 10th to its 90th percentile",
    "prosody_voiced": "share of the time from the first to the last speech that is voiced",
    "prosody_speech": "seconds from the first to the last speech",
    "prosody_rate": "phonemes a second from the first to the last speech",
}
"""What each figure is the difference of, and in which unit."""


class Prosody(OfSpeech):
    """Five differences. Pitch needs something voiced, the rate phonemes that are known."""

    @property
    def about(self) -> Mapping[str, Mapping[str, str]]:
        return {name: FINGERPRINT | {"unit": what, "pitch": PITCH} for name, what in MEASURES.items()}

    def values(self, pair: Pair, control: Sound, fake: Sound) -> Mapping[str, float | str]:
        before, after = manner(control, len(pair.control.phonemes)), manner(fake, len(pair.fake.phonemes))
        found: dict[str, float | str] = dict.fromkeys(MEASURES, NO_SPEECH)
        if not before.seconds or not after.seconds:
            return found
        found["prosody_f0_median"] = found["prosody_f0_range"] = NOT_VOICED
        if before.median and after.median:
            found["prosody_f0_median"] = float(12 * np.log2(after.median / before.median))
            found["prosody_f0_range"] = after.range - before.range
        found["prosody_voiced"] = after.voiced - before.voiced
        found["prosody_speech"] = after.seconds - before.seconds
        known = pair.control.phonemes and pair.fake.phonemes
        found["prosody_rate"] = after.rate - before.rate if known else NO_PHONEMES
        return found

    def of_set(self, rows: Iterable[Rows]) -> dict[str, Figure]:
        sizes = [{name: np.abs(v) if v.dtype.kind == "f" else v for name, v in pair.items()} for pair in rows if pair]
        over = {"over": "the clips' differences without their signs"}
        return {f"{name}_abs": mean_of(sizes, name, {**about, **over}) for name, about in self.about.items()}


@dataclass(frozen=True)
class Manner:
    """How one sound speaks: its pitch in Hz and the range in semitones, both 0 without a voice, and the other three."""

    median: float
    range: float
    voiced: float
    seconds: float
    rate: float


def manner(sound: Sound, phonemes: int) -> Manner:
    """Of a sound with so many phonemes in it. What is voiced before or after the speech, as noise may be, doesn't count."""
    heard = traits(sound)
    seconds = len(sound.samples) / sound.rate - heard.leading_silence - heard.trailing_silence
    if seconds <= 0:
        return Manner(0, 0, 0, 0, 0)
    first = round(heard.leading_silence / STEP_S)
    spoken = pitch(sound)[first : first + max(1, round(seconds / STEP_S))]
    voice = spoken[spoken > 0]
    low, middle, high = np.percentile(voice, [10, 50, 90]) if len(voice) >= LEAST else (1.0, 0.0, 1.0)
    share = len(voice) / max(len(spoken), 1)
    return Manner(float(middle), float(12 * np.log2(high / low)), share, seconds, phonemes / seconds)
