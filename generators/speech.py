"""Text to speech by rule: where the target speaks, a voice of espeak-ng's says another sentence.

Formants are synthesised by rule, so this is the kind of speech that is furthest from a recording; it speaks many languages on
any machine, within its length and with the true time of every word and phoneme. Only the shipped sentences are said.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator

from forgeline.clip import Clip, Made, MediaType, Said, Sound
from forgeline.errors import MediaError
from forgeline.sample import Role
from forgeline.section import Section
from forgeline.sentences import LANGUAGES
from forgeline.speech import Utterance, speak
from generators.plugin import Casting, Stream, sound_of
from generators.recording import Placed, placed, speech_span

LEAST_S, MOST_S = 1.0, 300.0
"""Seconds in which a sentence can be said, and for which sentences are said one after the other."""
USUAL_RATE, SLOWEST, FASTEST = 165, 110, 300
"""Words a minute: how a voice speaks unless it has to hurry, and what can still be understood."""

_SENTENCE_S = 2.6  # of most of them, at the usual rate
_SHORT_S = 1.9  # below which the short sentences need less of a change of pace than the others
_SILENCE = 0.1  # of the length of what is said, at either end
_NO_SENTENCE = "leave this clip out of the methods that say sentences"


def _known(code: str) -> str:
    if code and code not in LANGUAGES:
        raise ValueError(f"{code!r}: no sentences are shipped for it, but for {', '.join(LANGUAGES)}")
    return code


Code = Annotated[str, AfterValidator(_known)]


class Speech(Section):
    """Another sentence in the target's place, length, level and room, said by nobody: the voice is made by rule.

    The voice is no person's. `apparent` is the target because the recording is the target's but for what is said in it: so a
    listener who knows whose recording it is takes it for the target's speech.
    """

    language: Code = ""
    """Code of the language that is spoken; empty for the one that the corpus declares of the target (`language`), else `en`."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "audio"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset({"audio"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "sound_control"
    source_type: ClassVar[str] = "composite"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """Sound as long as the target's. MediaError when it can't be heard speaking, or in a language that isn't shipped."""
        (target,) = parents
        recording = sound_of(target)
        spoken = say(spoken_in(target, self.language), span_of(target), rng, text_of(target))
        return spoken.made(placed(spoken.utterance.sound, recording, rng))


@dataclass(frozen=True)
class Spoken:
    """An `utterance` of `text` by one of espeak-ng's voices at its `pitch`, in the language of this code."""

    utterance: Utterance
    text: str
    language: str
    voice: str
    pitch: int

    @property
    def drawn(self) -> dict[str, str | float]:
        """What chance decided."""
        return {"language": self.language, "voice": self.voice, "pitch": float(self.pitch), "text": self.text}

    def made(self, put: Placed) -> Made:
        """The sample in which it was `put` into a recording."""
        words, phonemes = (put.all_of(said) for said in (self.utterance.words, self.utterance.phonemes))
        return Made.heard(put.sound, put.segments, self.drawn, words, phonemes)


def say(language: str, span_s: float, rng: np.random.Generator, not_said: str = "") -> Spoken:
    """A `drawn_text` in a drawn voice, as fast as about fills the span; what is left is for `placed`. Raises as that does."""
    text, known = drawn_text(language, span_s, rng, not_said), LANGUAGES[language]
    voice, pitch = str(rng.choice(known.low + known.high)), int(rng.integers(35, 66))
    return _fitted(language, text, span_s, voice, pitch)


def drawn_text(language: str, span_s: float, rng: np.random.Generator, not_said: str = "") -> str:
    """As many shipped sentences as about fill the span.

    None that occurs in `not_said` is drawn, whatever its spaces, signs and capitals. Raises MediaError for a span of less than
    LEAST_S or more than MOST_S seconds, and where every sentence has been said.
    """
    if not LEAST_S <= span_s <= MOST_S:
        what = f"{span_s:.2f} s of speech, where sentences take {LEAST_S:g} to {MOST_S:g}"
        raise MediaError("the sound", what, _NO_SENTENCE)
    before = bare(not_said)
    known = LANGUAGES[language]
    free = [text for text in (known.short if span_s < _SHORT_S else known.sentences) if bare(text) not in before]
    if not free:
        raise MediaError("the sound", f"says every sentence of this length that is shipped in {known.name}", _NO_SENTENCE)
    count = max(1, round(span_s / _SENTENCE_S))
    order: list[int] = []
    while len(order) < count:
        order += rng.permutation(len(free)).tolist()
    return (" " if known.spaced else "").join(free[index] for index in order[:count])


def say_word(like: Spoken, span_s: float, rng: np.random.Generator, not_said: str) -> Spoken:
    """One word alone, out of the shipped sentences, in the voice of a sentence; another one than `not_said`.

    It is said about as fast as fills the span.
    """
    words = [word for word in LANGUAGES[like.language].words if bare(word) != bare(not_said)]
    return _fitted(like.language, words[int(rng.integers(len(words)))], span_s, like.voice, like.pitch)


def spoken_in(target: Clip, language: str = "") -> str:
    """The code of the language to speak: this one, else what is declared of the target, else English.

    Raises MediaError where the declared one isn't shipped.
    """
    code = language or target.attributes.get("language", "en")
    if code not in LANGUAGES:
        what = f"speaks {code!r}, as its corpus says, and there are sentences for {', '.join(LANGUAGES)}"
        raise MediaError(target.name, what, "name one of these as `language`, or leave this clip out")
    return code


def span_of(target: Clip) -> float:
    """For how many seconds the target speaks. Raises MediaError when it doesn't, or too shortly or long for a sentence."""
    start, end = speech_span(sound_of(target))
    if not LEAST_S <= end - start <= MOST_S:
        what = f"speaks for {end - start:.2f} s, where sentences take {LEAST_S:g} to {MOST_S:g}"
        raise MediaError(target.name, what, _NO_SENTENCE)
    return end - start


def text_of(target: Clip) -> str:
    """What the target says, as far as its corpus tells."""
    return " ".join(word.text for word in target.words)


def bare(text: str) -> str:
    """A text's letters and digits alone, in small letters."""
    composed = unicodedata.normalize("NFC", text).casefold()
    return "".join(c for c in composed if unicodedata.category(c)[0] in "LMN")


def _fitted(language: str, text: str, span_s: float, voice: str, pitch: int) -> Spoken:
    """The text in this voice, said twice where the usual rate doesn't fill the span."""
    said = speak(text, voice, rate=USUAL_RATE, pitch=pitch)
    usual = said.phonemes[-1].end_s - said.phonemes[0].start_s
    rate = int(np.clip(round(USUAL_RATE * usual / span_s), SLOWEST, FASTEST))
    if rate != USUAL_RATE:
        said = speak(text, voice, rate=rate, pitch=pitch)
    return Spoken(_with_silence(said), text, language, voice, pitch)


def _with_silence(said: Utterance) -> Utterance:
    """The same with silence before and after: by it `speech_span` tells soft beginnings and ends from a room, and no room from
    speech. espeak-ng's sound has next to none."""
    pad = round(_SILENCE * len(said.sound.samples))
    by = pad / said.sound.rate
    words, phonemes = (
        tuple(Said(one.start_s + by, one.end_s + by, one.text) for one in all_said) for all_said in (said.words, said.phonemes)
    )
    return Utterance(Sound(np.pad(said.sound.samples, pad), said.sound.rate), words, phonemes)
