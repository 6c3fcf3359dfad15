"""Text to speech by a team's own net, a Piper voice (VITS: Kim et al. 2021): another sentence where the target speaks.

A voice is two files, as Piper's trainer exports them: the graph, and a JSON that says how its phonemes are numbered. Text
becomes IPA by espeak-ng, each letter of it (Unicode NFD) a number or more, with padding between and marks of begin and end.
VITS draws noise inside its graph, from a source that nobody can seed; both of its scales are 0 here, so that equal texts give
equal samples, at the price of a flatter melody.
"""

import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from forgeline.clip import Clip, Made, MediaType, Sound
from forgeline.errors import ModelError
from forgeline.sample import Role
from forgeline.section import Section
from forgeline.sentences import LANGUAGES
from forgeline.speech import spell
from forgeline.weights import Given, given_weights
from generators.onnx import COUNTS, FLOATS, Floats, Net, open_net
from generators.plugin import Casting, Stream, sound_of
from generators.recording import placed
from generators.speech import drawn_text, span_of, text_of

PAD, BEGIN, END = "_", "^", "$"
SLOWEST, FASTEST = 1.6, 0.6
"""Times as long as the voice usually takes: how far it may be hurried."""
_BETWEEN_S = 0.2
_SILENCE = 0.1
_INPUTS = {"input": 2, "input_lengths": 1, "scales": 1}


class VoiceFile(Given):
    """A JSON file that belongs to a voice."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.json$")]
    """Name of the file, without a folder: .json."""


class SpeechNet(Section):
    """Another sentence in the target's place, length, level and room, in the voice of a net that the team brings."""

    voice: Given
    """The team's ONNX file of a Piper voice, of someone who agreed to be spoken as."""
    config: VoiceFile
    """The JSON file that belongs to it (`voice.onnx.json`); its espeak voice says in which language it speaks."""
    speaker: Annotated[int, Field(ge=0)] = 0
    """Number of the speaker, for voices of several."""

    role: ClassVar[Role] = "forgery"
    content_class: ClassVar[str] = "partially_synthetic"
    makes: ClassVar[MediaType] = "audio"
    casting: ClassVar[Casting] = "own"
    changes: ClassVar[frozenset[Stream]] = frozenset({"audio"})
    apparent: ClassVar[Literal["target", "source", "nobody"]] = "target"
    control: ClassVar[str] = "sound_control"
    source_type: ClassVar[str] = "compositeWithTrainedAlgorithmicMedia"

    def __call__(self, parents: Sequence[Clip], rng: np.random.Generator) -> Made:
        """Sound as long as the target's; when words are said in it is not known.

        Raises MediaError when the target can't be heard speaking, ModelError for a voice that can't be used.
        """
        (target,) = parents
        recording, span_s = sound_of(target), span_of(target)
        voice = _open(self.voice, self.config, self.speaker)
        text = drawn_text(voice.language, span_s, rng, text_of(target))
        sound = voice.say(text, span_s)
        put = placed(sound, recording, rng)
        drawn: dict[str, str | float] = {"language": voice.language, "text": text}
        return Made.heard(put.sound, put.segments, drawn)


@dataclass(frozen=True)
class PiperVoice:
    """A voice that speaks the `language` of this code, by espeak-ng's spelling in `espeak`, at `rate` Hz."""

    net: Net
    language: str
    espeak: str
    rate: int
    numbers: Mapping[str, Sequence[int]]
    speaker: int | None

    def say(self, text: str, span_s: float) -> Sound:
        """The text, as `filling` says it."""
        sentences = [self.numbered(sentence) for sentence in spell(text, self.espeak)]
        return filling(span_s, self.rate, lambda slower: [self._run(numbers, slower) for numbers in sentences])

    def numbered(self, sentence: str) -> list[int]:
        """One sentence in IPA as the net takes it; letters that it was not taught are left out."""
        known = [c for c in unicodedata.normalize("NFD", sentence) if c in self.numbers]
        between = self.numbers[PAD]
        return [*self.numbers[BEGIN], *between, *(n for c in known for n in (*self.numbers[c], *between)), *self.numbers[END]]

    def _run(self, numbers: list[int], slower: float) -> Floats:
        values = {
            "input": np.array([numbers]),
            "input_lengths": np.array([len(numbers)]),
            "scales": np.array([0, slower, 0]),  # noise, length, noise of lengths
            "sid": np.array([self.speaker or 0]),
        }
        return spoken(self.net, self.net([(port, values[port.name]) for port in self.net.inputs]))


def filling(span_s: float, rate: int, say: Callable[[float], Sequence[Floats]]) -> Sound:
    """Sentences with pauses between, about as fast as fills the span, between silences of a tenth of their length.

    `say` gives the samples of each when it is told how many times as long it takes as it usually does.
    """

    def said(slower: float) -> Floats:
        pause = np.zeros(round(_BETWEEN_S * rate), np.float32)
        samples = np.concatenate([part for sentence in say(slower) for part in (pause, sentence)][1:])
        return samples / np.float32(max(float(np.abs(samples).max()), 1.0))

    usual = said(1.0)
    slower = float(np.clip(span_s * rate / len(usual), FASTEST, SLOWEST))
    samples = usual if abs(slower - 1) < 0.02 else said(slower)
    return Sound(np.pad(samples, round(_SILENCE * len(samples))), rate)


def spoken(net: Net, made: Floats) -> Floats:
    """What a net made, as samples (n,). Raises ModelError where it is silence, or more than one row."""
    if made.size != max(made.shape, default=0):
        raise ModelError(net.name, f"makes {made.shape}, which is no row of samples", "give a net that makes speech")
    if not made.any():
        raise ModelError(net.name, "says nothing", "give a voice whose other files belong to it")
    return made.ravel()


@lru_cache(maxsize=2)
def _open(given: Given, config: VoiceFile, speaker: int) -> PiperVoice:
    """Raises WeightsError and ModelError."""
    espeak, rate, numbers, speakers = _told(config)
    language = next((code for code in LANGUAGES if code == espeak.lower().partition("-")[0]), None)
    if language is None:
        what = f"speaks as espeak-ng's {espeak!r}, and there are sentences for {', '.join(LANGUAGES)}"
        raise ModelError(config.file, what, "give a voice of one of these languages")
    net = open_net(given)
    several = any(port.name == "sid" for port in net.inputs)
    shapes = {port.name: len(port.shape) for port in net.inputs if port.type in FLOATS or port.type in COUNTS}
    if shapes != _INPUTS | ({"sid": 1} if several else {}):
        what = f"is no Piper voice: it takes {', '.join(map(str, net.inputs))}"
        raise ModelError(net.name, what, "give one that takes input, input_lengths, scales and maybe sid")
    if speaker >= speakers:
        raise ModelError(config.file, f"has {speakers} speakers, and none of number {speaker}", "name one that it has")
    return PiperVoice(net, language, espeak, rate, numbers, speaker if several else None)


def _told(config: VoiceFile) -> tuple[str, int, dict[str, tuple[int, ...]], int]:
    """What the JSON says: espeak-ng's voice, samples a second, the numbers of each letter, how many speakers. ModelError."""
    try:
        told = json.loads(given_weights(config).read_text(encoding="utf-8"))
        espeak, rate = str(told["espeak"]["voice"]), int(told["audio"]["sample_rate"])
        numbers = {str(letter): tuple(int(n) for n in several) for letter, several in told["phoneme_id_map"].items()}
        if not {PAD, BEGIN, END} <= set(numbers) or not 8000 <= rate <= 48000:
            raise ValueError(f"no numbers for {PAD} {BEGIN} {END}, or a rate of {rate}")
        return espeak, rate, numbers, int(told.get("num_speakers", 1))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"does not describe a Piper voice ({type(error).__name__}: {error})"
        raise ModelError(config.file, what, "give the JSON file that came with the voice") from error
