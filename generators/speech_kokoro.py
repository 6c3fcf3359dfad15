"""Text to speech by a team's own net, a Kokoro voice (StyleTTS 2: Li et al. 2023): another sentence where the target speaks.

Three files, as they are published beside each other: the graph, the JSON that numbers its phonemes (`config.json`, or the
`tokenizer.json` of transformers), and a voice: a style of 256 numbers for each count of phonemes, as bare float32. Text becomes
IPA by espeak-ng, a number a letter, between two zeros. The graph draws breath and hiss (its source is a sum of harmonics and
noise), from a source that is seeded for each sample: see `onnx.open_seeded`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from forgeline.clip import Clip, Made, MediaType, Sound
from forgeline.errors import ModelError
from forgeline.sample import Role
from forgeline.section import Section
from forgeline.sentences import LANGUAGES
from forgeline.speech import spell
from forgeline.weights import Given, given_weights
from generators.onnx import COUNTS, FLOATS, Floats, Net, Port, open_seeded
from generators.plugin import Casting, Stream, sound_of
from generators.recording import placed
from generators.speech import drawn_text, span_of, text_of
from generators.speech_net import VoiceFile, filling, spoken

RATE = 24000
"""Samples a second that the net makes."""
MOST = 510
"""Letters that it says at once."""
STYLE = 256

Spoken = Literal["en", "es", "fr", "hi", "it", "pt"]
"""Languages that it was taught in espeak-ng's spelling; of Chinese and Japanese it knows another."""

_AS_TAUGHT = str.maketrans({"r": "ɹ", "x": "k", "ɬ": "l", "ʲ": "j"})
"""Letters of espeak-ng's that it was not taught in English."""
_PAD = 0


class StyleFile(Given):
    """The file of a voice: a style for each count of phonemes."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\.(bin|npy)$")]
    """Name of the file, without a folder: .bin (bare float32) or .npy."""


class SpeechKokoro(Section):
    """Another sentence in the target's place, length, level and room, in a voice of Kokoro's kind that the team brings."""

    net: Given
    """The team's ONNX file of Kokoro: numbers of phonemes (1, n), a style (1, 256) and a speed (1) in, samples out."""
    config: VoiceFile
    """The JSON file that numbers the phonemes: `vocab`, as in config.json, or `model.vocab`, as in tokenizer.json."""
    voice: StyleFile
    """The voice, of nobody or of someone who agreed to it: (n, 1, 256) float32, a style for each count of phonemes."""
    language: Spoken = "en"
    """Code of the language that this voice speaks."""

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

        Raises MediaError when the target can't be heard speaking, ModelError for files that can't be used.
        """
        (target,) = parents
        recording, span_s = sound_of(target), span_of(target)
        voice = self.opened(rng)
        text = drawn_text(self.language, span_s, rng, text_of(target))
        put = placed(voice.say(text, span_s), recording, rng)
        drawn: dict[str, str | float] = {"language": self.language, "text": text}
        return Made.heard(put.sound, put.segments, drawn)

    def opened(self, rng: np.random.Generator) -> "KokoroVoice":
        """The voice, ready to speak; what its net draws comes from `rng`. Raises WeightsError and ModelError."""
        net = open_seeded(self.net, rng)
        return KokoroVoice(net, _ports(net), _numbers(self.config), _styles(self.voice), self.language)


@dataclass(frozen=True)
class KokoroVoice:
    """A voice by its net with ports for phonemes, style and speed; `styles` (n, STYLE)."""

    net: Net
    ports: tuple[Port, Port, Port]
    numbers: Mapping[str, int]
    styles: Floats
    language: str

    def say(self, text: str, span_s: float) -> Sound:
        """The text, as `speech_net.filling` says it. Raises ModelError where its letters have no numbers."""
        pieces = [piece for sentence in spell(text, LANGUAGES[self.language].voice) for piece in self.numbered(sentence)]
        if not pieces:
            raise ModelError(self.net.name, f"was taught no letter of {text!r}", "give the JSON file that belongs to it")
        return filling(span_s, RATE, lambda slower: [self._run(piece, slower) for piece in pieces])

    def numbered(self, sentence: str) -> Iterator[list[int]]:
        """One sentence in IPA as the net takes it, cut between words where it is too long for it.

        Letters that the net was not taught are left out.
        """
        taught = sentence.translate(_AS_TAUGHT) if self.language == "en" else sentence
        known = "".join(letter for letter in taught if letter in self.numbers).strip()
        while known:
            end = len(known) if len(known) <= MOST else known.rfind(" ", 1, MOST + 1)
            piece, known = (known[:end], known[end:].strip()) if end > 0 else (known[:MOST], known[MOST:])
            yield [self.numbers[letter] for letter in piece]

    def _run(self, piece: Sequence[int], slower: float) -> Floats:
        style = self.styles[min(len(piece), len(self.styles) - 1)]
        values = np.array([[_PAD, *piece, _PAD]]), style[None], np.array([1 / slower])
        return spoken(self.net, self.net(list(zip(self.ports, values, strict=True))))


def _ports(net: Net) -> tuple[Port, Port, Port]:
    """The inputs for phonemes, style and speed, which exports call by different names. Raises ModelError."""

    def kind(port: Port) -> tuple[bool, bool, int]:
        return port.type in COUNTS, port.type in FLOATS, len(port.shape)

    by_kind = {kind(port): port for port in net.inputs}
    wanted = (True, False, 2), (False, True, 2), (False, True, 1)
    if len(net.inputs) != len(wanted) or set(by_kind) != set(wanted) or by_kind[wanted[1]].shape[1] not in (STYLE, None):
        what = f"is no Kokoro: it takes {', '.join(map(str, net.inputs))}"
        todo = f"give one that takes phonemes (1, n) as whole numbers, and a style (1, {STYLE}) and a speed (1) as floats"
        raise ModelError(net.name, what, todo)
    phonemes, style, speed = (by_kind[one] for one in wanted)
    return phonemes, style, speed


@lru_cache(maxsize=2)
def _numbers(config: VoiceFile) -> Mapping[str, int]:
    """The number of each letter. Raises WeightsError and ModelError."""
    try:
        told: Any = json.loads(given_weights(config).read_text(encoding="utf-8"))
        vocabulary = told["vocab"] if "vocab" in told else told["model"]["vocab"]
        numbers = {str(letter): int(number) for letter, number in vocabulary.items() if number != _PAD and len(letter) == 1}
        if " " not in numbers or min(numbers.values()) < 0:
            raise ValueError("no number for a space, or one below 0")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"does not number Kokoro's phonemes ({type(error).__name__}: {error})"
        raise ModelError(config.file, what, "give its config.json or tokenizer.json") from error
    return numbers


@lru_cache(maxsize=2)
def _styles(voice: StyleFile) -> Floats:
    """(n, STYLE). Raises WeightsError and ModelError."""
    path = given_weights(voice)
    todo = f"give one voice as (n, 1, {STYLE}) float32, such as af_heart.bin of the ONNX export"
    try:
        bare = path.read_bytes() if path.suffix == ".bin" else None
        if bare is not None and bare.startswith(b"PK"):  # as kokoro-onnx ships its `voices-v1.0.bin`
            raise ValueError("it is an archive of several voices")
        stored = np.load(path, allow_pickle=False) if bare is None else np.frombuffer(bare, "<f4")
        if not isinstance(stored, np.ndarray) or stored.dtype != np.float32 or not stored.size or stored.size % STYLE:
            raise ValueError(f"no float32 in rows of {STYLE}")
        if not np.isfinite(stored).all():
            raise ValueError("numbers that are not finite")
    except (ValueError, EOFError) as error:
        raise ModelError(path.name, f"holds no styles ({' '.join(str(error).split())[:200]})", todo) from error
    return stored.reshape(-1, STYLE)
