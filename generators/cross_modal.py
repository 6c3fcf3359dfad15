"""What was never said, in the target's voice and on its lips: text to speech, then voice conversion, then lip sync.

The four cells of real and forged sound and picture are made of the same streams: `cross_modal` has both forged ones,
`cross_modal_audio` the forged sound under the real picture, `cross_modal_video` the forged picture over the real sound; the
control has both real ones. So what tells a cell from another is which stream was forged, and nothing else. To that end all
that chance decides here hangs on the target's sound alone, not on the recipe, which differs from cell to cell.

Where the corpus says when which word is said, in some clips one word alone is exchanged, and all around it stays.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from forgeline.audio import resample
from forgeline.clip import Clip, Made, MediaType, Said, Segment, Sound, spans
from forgeline.errors import MediaError
from forgeline.sample import Role
from forgeline.section import Section
from generators.lip_sync import LipSync, speaking
from generators.plugin import Casting, Stream, face_of, sound_of
from generators.recording import Placed, placed
from generators.speech import Code, say, say_word, span_of, spoken_in, text_of
from generators.vocoder import Engine
from generators.voice import as_spoken_by

WORD_S = (0.18, 0.9)
"""Seconds that a word may last to be exchanged: shorter ones have no room for another, longer ones are pauses as well."""
_PAUSE_S = 0.1


class CrossModal(Section):
    """A sentence or a word that the target never said, in its voice and on its lips."""

    words: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the clips in which one word alone, not the first or last, is exchanged, of those whose corpus says when which
    word is said."""
    language: Code = ""
    """As `speech` has it."""
    engine: Engine = "world"
    """As `voice` has it."""
    lips: LipSync = LipSync()
    """How the lips move."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "video"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset({"video", "audio"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "control"
    source_type: ClassVar[str] = "composite"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """The target with what this cell forges. MediaError where it isn't heard speaking, or shows no face."""
        (target,) = parents
        if not target.fps:
            raise MediaError(target.name, "is a still image", "leave it out of the methods that make it speak")
        face_of(target)
        forged = _forged(target, self)
        made = Made.of(target, iter(()), drawn=forged.drawn)
        segments: tuple[Segment, ...] = ()
        if "audio" in self.changes:
            made = replace(made, sound=forged.put.sound, words=forged.words, phonemes=forged.phonemes)
            segments = forged.put.segments
        if "video" in self.changes:
            # Around a sentence too: mouths move before they are heard, and what is heard is no longer what they were to say.
            during = [(forged.put.start_s, forged.put.end_s)] if forged.one_word else None
            spoken = speaking(target, forged.put.sound, forged.phonemes, self.lips, during)
            return replace(made, pictures=spoken.pictures, segments=(*spans(spoken.changed, target.fps, "video"), *segments))
        untouched = np.zeros((target.height, target.width), np.uint8)
        return replace(made, pictures=((picture, untouched) for picture in target.pictures()), segments=segments)


class CrossModalAudio(CrossModal):
    """The forged sound of `cross_modal` under the target's own picture: lips and speech say different things."""

    changes: ClassVar[frozenset[Stream]] = frozenset({"audio"})


class CrossModalVideo(CrossModal):
    """The forged picture of `cross_modal` over the target's own sound: lips and speech say different things."""

    changes: ClassVar[frozenset[Stream]] = frozenset({"video"})


@dataclass(frozen=True)
class _Forged:
    """The forged speech in its place, what is then said in the whole sound, what was drawn, and whether it is one word."""

    put: Placed
    words: tuple[Said, ...]
    phonemes: tuple[Said, ...]
    drawn: dict[str, str | float]
    one_word: bool


def _forged(target: Clip, settings: CrossModal) -> _Forged:
    """The same for all cells: what is drawn hangs on the target's sound."""
    recording = sound_of(target)
    rng = np.random.default_rng(int(hashlib.sha256(recording.samples.tobytes()).hexdigest(), 16))
    language = spoken_in(target, settings.language)
    one_word = float(rng.random()) < settings.words
    least, most = WORD_S
    seconds = len(recording.samples) / recording.rate
    # The first and the last word decide how much silence there is before and after: they stay.
    fitting = [word for word in target.words[1:-1] if least <= word.end_s - word.start_s <= most and word.end_s <= seconds]
    sentence = say(language, span_of(target), rng, text_of(target))
    if not (one_word and fitting):
        speech = as_spoken_by(sentence.utterance.sound, recording, settings.engine, ("the speech", target.name))
        put = placed(speech, recording, rng)
        words, phonemes = (put.all_of(said) for said in (sentence.utterance.words, sentence.utterance.phonemes))
        return _Forged(put, words, phonemes, {**sentence.drawn, "unit": "sentence"}, False)
    old = fitting[int(rng.integers(len(fitting)))]
    new = say_word(sentence, old.end_s - old.start_s, rng, old.text)
    # A word is too short to know a voice by: it is converted together with a whole sentence.
    speech = _after(new.utterance.sound, sentence.utterance.sound)
    speech = as_spoken_by(speech, recording, settings.engine, ("the speech", target.name))
    alone = Sound(speech.samples[: len(new.utterance.sound.samples)], speech.rate)
    put = placed(alone, recording, rng, (old.start_s, old.end_s))
    words = _exchanged(target.words, put.all_of(new.utterance.words), old)
    phonemes = _exchanged(target.phonemes, put.all_of(new.utterance.phonemes), old)
    return _Forged(put, words, phonemes, {**new.drawn, "unit": "word", "instead_of": old.text}, True)


def _after(word: Sound, sentence: Sound) -> Sound:
    """A word, a pause, and a sentence of the same voice."""
    pause = np.zeros(round(_PAUSE_S * word.rate), np.float32)
    return Sound(np.concatenate([word.samples, pause, resample(sentence, word.rate).samples]), word.rate)


def _exchanged(said: Sequence[Said], new: Iterable[Said], old: Said) -> tuple[Said, ...]:
    """What is said, with the `new` in place of all that begins within `old`; in order of time."""
    kept = [one for one in said if not old.start_s <= one.start_s < old.end_s]
    return tuple(sorted([*kept, *new], key=lambda one: one.start_s))
