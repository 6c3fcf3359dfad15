"""Text to speech by a team's own net, a Piper voice (VITS: Kim et al. 2021): another sentence where the target speaks.

A voice is two files, as Piper's trainer exports them: the graph, and a JSON that says how its phonemes are numbered. Text
becomes IPA by espeak-ng, each letter of it (Unicode NFD) a number or more, with padding between and marks of begin and end.
VITS draws noise inside its graph, from a source that nobody can seed; both of its scales are 0 here, so that equal texts give
equal samples, at the price of a flatter melody.
"""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from forgeline.clip import Clip, Made, MediaType, Sound
from forgeline.errors import ModelError
from forgeline.sample import Role
from forgeline.section import Section
from forgeline.sentences import LANGUAGES
from forgeline.speech import spell
from forgeline.weights import Given, given_weights
from generators.onnx import Net, open_net
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
    """The JSON file of a Piper voice."""

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
        """The text, about as fast as fills the span, between silences of a tenth of its length."""
        sentences = spell(text, self.espeak)
        usual = self._said(sentences, 1.0)
        slower = float(np.clip(span_s * self.rate / len(usual), FASTEST, SLOWEST))
        samples = usual if abs(slower - 1) < 0.02 else self._said(sentences, slower)
        return Sound(np.pad(samples, round(_SILENCE * len(samples))), self.rate)

    def numbered(self, sentence: str) -> list[int]:
        """One sentence in IPA as the net takes it; letters that it was not taught are left out."""
        known = [c for c in unicodedata.normalize("NFD", sentence) if c in self.numbers]
        between = self.numbers[PAD]
        return [*self.numbers[BEGIN], *between, *(n for c in known for n in (*self.numbers[c], *between)), *self.numbers[END]]

    def _said(self, sentences: Sequence[str], slower: float) -> NDArray[np.float32]:
        between = np.zeros(round(_BETWEEN_S * self.rate), np.float32)
        parts = [part for sentence in sentences for part in (between, self._run(self.numbered(sentence), slower))]
        samples = np.concatenate(parts[1:])
        return samples / np.float32(max(float(np.abs(samples).max()), 1.0))

    def _run(self, numbers: list[int], slower: float) -> NDArray[np.float32]:
        values: dict[str, NDArray[Any]] = {
            "input": np.array([numbers], np.int64),
            "input_lengths": np.array([len(numbers)], np.int64),
            "scales": np.array([0, slower, 0], np.float32),  # noise, length, noise of lengths
        }
        if self.speaker is not None:
            values["sid"] = np.array([self.speaker], np.int64)
        made = _answer(self.net, values).ravel()
        if not made.size or not made.any():
            raise ModelError(self.net.name, "says nothing", "give a voice whose JSON belongs to it")
        return made


def _answer(net: Net, values: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """The net's first output. Raises ModelError when it fails or gives no numbers."""
    try:
        made, *_ = net._session.run(None, values)  # a call of the net takes floats alone
    except Exception as error:  # onnxruntime's errors have no class of their own
        line = " ".join(str(error).split())[:300]
        raise ModelError(net.name, f"fails ({line})", "give a net that works in onnxruntime on this machine") from error
    if not isinstance(made, np.ndarray) or not np.issubdtype(made.dtype, np.floating) or not np.isfinite(made).all():
        raise ModelError(net.name, "gives something that is no finite number", "give a net that works in float32")
    return made.astype(np.float32)


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
    shapes = {port.name: len(port.shape) for port in net.inputs}
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
